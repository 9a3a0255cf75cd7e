"""Each example runs, in a small setting, and README's Python prints what README says."""

import doctest
import hashlib
import importlib.util
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pcmref
from pcmref.studies.sweeps.grid import read_question

ROOT = Path(__file__).resolve().parent.parent


def run(name, *arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_device(tmp_path):
    run("one_device.py", str(tmp_path / "out.png"))
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_one_tile():
    rows = [[int(n) for n in re.findall(r"-?\d+", line)] for line in run("one_tile.py").splitlines()]
    codes, exact, noisy, converted = (np.array(rows[start : start + 2]) for start in (1, 4, 7, 10))
    assert codes.tolist() == [[127, 64, 32, 0], [0, -127, 0, 5]]
    assert exact[:, 0].tolist() == [127 * 5120 - 64 * 2488, 127 * 2488 + 5 * 1280]
    assert exact[:, 1].tolist() == [-127 * 4447 + 64 * 4639 + 32 * 5200, -127 * 4639 - 5 * 5120]
    assert ((exact != noisy) & (abs(noisy - exact) < 20_000)).all()
    assert (converted == np.rint(noisy * 127 / 2**20)).all()


def test_own_model(monkeypatch, capsys):
    assert "EQUAL: all 928 elements of tile0/D" in run("own_model.py")
    spec = importlib.util.spec_from_file_location("own_model", ROOT / "examples" / "own_model.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert example.main() == 0
    monkeypatch.setattr(example, "model", lambda code, g, mult, shift: ((code @ g * mult) >> shift).clip(-127, 127))
    assert example.main() == 1
    assert "rounds down (rounds-floor)" in capsys.readouterr().out


def test_saturation(tmp_path):
    out = run("sweeps/saturation.py", "--tasks", "40", "--json", str(tmp_path / "out.json"))
    assert re.match(r"client: \d+\.\d\d ms a task and -?\d+ us a row: \d+ tasks of 100 rows a second\n", out)
    table = json.loads((tmp_path / "out.json").read_text())["busy"]
    for row in table:
        assert row["share"] == sorted(row["share"])  # longer tasks, less waiting
    for few, many in itertools.pairwise(table):
        assert all(a >= b - 0.01 for a, b in zip(few["share"], many["share"], strict=True))
    assert min(table[0]["share"]) > 0.95


def test_saturation_is_what_the_slower_of_two_servers_allows():
    spec = importlib.util.spec_from_file_location("saturation", ROOT / "examples" / "sweeps" / "saturation.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    # 5 ms of the client a task: 200 tasks a second, which are 400 workers of 2 s
    assert example.busy(200, 2.0, 0.005, 0.0) == pytest.approx(1.0, abs=0.02)
    assert example.busy(1600, 2.0, 0.005, 0.0) == pytest.approx(0.25, abs=0.01)
    # two messages of 2.5 ms of the scheduler: the same
    assert example.busy(1600, 2.0, 0.0, 0.0025) == pytest.approx(0.25, abs=0.01)


def test_the_study_of_adc_bits():
    question = read_question(ROOT / "examples" / "sweeps" / "adc_bits.toml")
    assert (question.name, question.rows) == ("adc-bits", 4 * 3 * 3 * 2 * 10)


def test_retention(tmp_path):
    out = run("retention.py", str(tmp_path / "out.png"), "--chips", "1", "--images", "20")
    assert len(out.splitlines()) == 6
    assert (tmp_path / "out.png").stat().st_size > 10_000


def test_scaling(tmp_path):
    out = run("scaling.py", str(tmp_path / "out.png"), "--images", "4,8", "--chips", "1")
    assert out.count("ms an image") >= 2
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_tolerance(tmp_path):
    picture = tmp_path / "out.png"
    out = run("tolerance.py", "--plot", str(picture), "--images", "100", "--draws", "2", "--etas", "0,5,80")
    rows = [[float(n) for n in re.findall(r"[\d.]+", line)] for line in out.splitlines()[3:]]
    (eta, clean, none), (_, noisy, _), (_, lost, spread) = rows
    assert (eta, none) == (0.0, 0.0)
    assert clean >= noisy > 80 > lost
    assert spread > 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_tolerance_of_two_networks_of_one_name(tmp_path):
    network = str(ROOT / "weights" / "digits-resnet8.h5")
    small = ["--images", "20", "--draws", "1", "--etas", "0", "--plot", str(tmp_path / "out.png")]
    _, _, header, row = run("tolerance.py", network, network, *small).splitlines()
    assert header.split() == ["eta", "digits-resnet8", "digits-resnet8"]
    assert row.count("100.00 ± 0.00") == 2


@pytest.mark.parametrize("path", ["README.md", "examples/README.md"])
def test_readme_python(path):
    found = doctest.testfile(str(ROOT / path), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted >= 10
    assert found.failed == 0


@pytest.mark.parametrize("path", sorted((ROOT / "weights").glob("*.h5")), ids=lambda path: path.name)
def test_weights_are_the_documented_ones(path):
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"`{sha256}`" in (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
    net = pcmref.load(path)
    assert net.sha256 == sha256
    assert {"data", "date", "licence", "software"} <= set(net.provenance)
    assert path.stat().st_size < 3_000_000
