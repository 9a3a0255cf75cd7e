"""The conformance suite and the self-check: what came is what this machine makes, and a difference shows."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from pcmref.errors import FileError, PcmrefError
from pcmref.files.networks import load, save
from pcmref.golden import selfcheck as module
from pcmref.golden.cases import Contract
from pcmref.golden.folders import read_case
from pcmref.golden.readouts import readout_fields, readout_of
from pcmref.golden.selfcheck import selfcheck, selfcheck_text
from pcmref.golden.specimen import specimen
from pcmref.golden.suite import CASES, NETWORK, REFUSED, SEED, _changed, read_suite, suite_folder, write_suite
from pcmref.references import SPEC_VERSION


@pytest.fixture(scope="module")
def result():
    return selfcheck()


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the suite, which the self-check then takes."""
    folder = tmp_path / "conformance"
    shutil.copytree(suite_folder(), folder)
    monkeypatch.setattr(module, "suite_folder", lambda: folder)
    return folder


def only(monkeypatch, *names):
    monkeypatch.setattr(module, "CASES", {name: CASES[name] for name in names})


def test_this_machine_passes(result):
    assert result.passed
    assert [name for name, _, _ in result.verdicts] == list(CASES)
    assert {verdict.status for _, _, verdict in result.verdicts} == {"equal"}
    assert "as it must be" in selfcheck_text(result)
    assert result.digest == read_suite(suite_folder())["digest"]


def test_every_readout_to_refuse_is_refused_for_the_one_thing_that_is_wrong(result):
    assert all(refused for _, refused in result.refused)
    good = _changed("lines", "pair")
    readout_of(good)
    for what, readout in REFUSED.items():
        both = ({name: json.dumps(value) for name, value in fields.items()} for fields in (readout, good))
        mine, theirs = both
        different = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
        assert len(different) == 1, what
        with pytest.raises(PcmrefError):
            readout_of(readout)


def test_the_folder_has_the_cases_that_it_says_and_no_others():
    said = read_suite(suite_folder())
    assert [case["folder"] for case in said["cases"]] == list(CASES)
    assert said["spec"] == SPEC_VERSION
    assert {path.name for path in suite_folder().iterdir() if path.is_dir()} == set(CASES)
    for case in said["cases"]:
        assert read_case(suite_folder() / case["folder"]).digest == case["digest"]
    assert {case["what"]: case["readout"] for case in said["refused"]} == json.loads(json.dumps(REFUSED))


def test_it_is_small():
    assert sum(path.stat().st_size for path in suite_folder().rglob("*") if path.is_file()) < 2_000_000


def test_its_network_is_the_specimen(tmp_path):
    save(tmp_path / "net.h5", specimen(SEED))
    ours, theirs = load(tmp_path / "net.h5"), load(suite_folder() / NETWORK)
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        for name in one.tensors:
            tensor = name.rstrip("?")
            assert np.array_equal(getattr(one, tensor), getattr(other, tensor))
    assert (ours.calibration.images == theirs.calibration.images).all()


def test_writing_it_again_gives_the_same(tmp_path, monkeypatch):
    names = ["elementary", "tile-half-even", "network-rtl8"]
    monkeypatch.setattr("pcmref.golden.suite.CASES", {name: CASES[name] for name in names})
    write_suite(tmp_path / "again", suite_folder() / NETWORK)
    for name in names:
        assert read_case(tmp_path / "again" / name).digest == read_case(suite_folder() / name).digest
    digest = write_suite(tmp_path / "again", tmp_path / "again" / NETWORK)  # over itself
    assert digest == read_suite(tmp_path / "again")["digest"]


def test_another_bit_in_a_stored_case_is_an_error_not_a_verdict(copied, monkeypatch):
    only(monkeypatch, "tile-floor")
    path = copied / "tile-floor" / "expected" / "tile0" / "D.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(FileError, match=r"D\.npy"):
        selfcheck()


def test_another_result_of_this_machine_shows(copied, monkeypatch):
    only(monkeypatch, "tile-half-even", "tile-floor")
    monkeypatch.setitem(module.CASES, "tile-half-even", CASES["tile-half-away"])
    found = selfcheck()
    assert not found.passed
    assert [verdict.status for _, _, verdict in found.verdicts] == ["missing", "equal"]
    assert "do not trust this machine" in selfcheck_text(found)


def test_one_wrong_code_of_this_machine_shows_with_its_place(copied, monkeypatch):
    only(monkeypatch, "tile-half-even")
    right = module.compare

    def one_wrong(case, arrays):
        codes = arrays["tile0/D"].copy()
        codes[-1, -1] ^= 1
        return right(case, {**arrays, "tile0/D": codes})

    monkeypatch.setattr(module, "compare", one_wrong)
    found = selfcheck()
    assert not found.passed
    assert "column 3" in selfcheck_text(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(version=2),
        lambda said: said.update(spec=2),
        lambda said: said.update(schema="other"),
        lambda said: said.pop("spec"),
    ],
)
def test_a_suite_of_another_version_is_refused(copied, change):
    path = copied / "suite.json"
    said = json.loads(path.read_bytes())
    change(said)
    path.write_text(json.dumps(said))
    with pytest.raises(FileError, match=r"suite\.json"):
        selfcheck()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_a_damaged_suite_is_refused(copied, content):
    (copied / "suite.json").write_bytes(content)
    with pytest.raises(FileError, match=r"suite\.json"):
        selfcheck()


def test_a_case_that_is_missing_is_an_error(copied, monkeypatch):
    only(monkeypatch, "tile-floor")
    shutil.rmtree(copied / "tile-floor")
    with pytest.raises(FileError, match="tile-floor"):
        selfcheck()


def test_readouts_go_through_json_and_back():
    for name in CASES:
        case = read_case(suite_folder() / name)
        if case.readout:
            assert readout_fields(readout_of(case.readout)) == case.readout
        assert case.contract == Contract()
