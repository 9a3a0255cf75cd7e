"""``pcmref images`` as a person meets it."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

import pcmref
from pcmref import cli
from pcmref.files.samples import load_samples
from tests.helpers.nets import tiny

PIXELS = np.random.default_rng(1).integers(0, 256, (6, 20, 24, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Six photographs and their labels."""
    place = tmp_path / "photos"
    place.mkdir()
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(place / f"{number}.png")
    rows = [f"{number}.png,{number % 4},someone" for number in range(len(PIXELS))]
    (place / "labels.csv").write_text("\n".join(["file,label,author", *rows]))
    return place


def fails(capsys, *arguments):
    """Run a command that must fail; return its one line of complaint."""
    assert cli.main(["images", *map(str, arguments)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pcmref: error: ")
    assert err.count("\n") == 1
    return err


def test_it_prints_what_it_made(folder, tmp_path, capsys):
    path = tmp_path / "out.h5"
    assert cli.main(["images", str(folder), str(path), "--recipe", "none", "--calibrate", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: 4 images, 2 more to calibrate with, 24 x 20"
    assert lines[1].startswith("digest ")
    assert lines[2].startswith("decoded by Pillow ")
    samples, calibration = load_samples(path)
    assert (calibration.images == PIXELS[:2]).all()
    assert (samples.images == PIXELS[2:]).all()
    assert samples.labels.tolist() == [2, 3, 0, 1]


def test_the_recipe_of_torchvision_is_the_default(folder, tmp_path):
    assert cli.main(["images", str(folder), str(tmp_path / "out.h5")]) == 0
    samples, calibration = load_samples(tmp_path / "out.h5")
    assert samples.images.shape == (6, 224, 224, 3)
    assert calibration is None


def test_numbers_of_a_recipe_can_be_changed(folder, tmp_path):
    path = tmp_path / "out.h5"
    assert cli.main(["images", str(folder), str(path), "--resize", "10", "--crop", "8"]) == 0
    assert load_samples(path)[0].images.shape == (6, 8, 8, 3)
    assert cli.main(["images", str(folder), str(path), "--recipe", "none", "--crop", "8"]) == 0
    assert (load_samples(path)[0].images == PIXELS[:, 6:14, 8:16]).all()


def test_a_shuffled_split_is_the_same_for_every_order_of_the_table(folder, tmp_path):
    header, *rows = (folder / "labels.csv").read_text().splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join([header, *rows[::-1]]))
    found = []
    for table, seed in ((folder / "labels.csv", 3), (other, 3), (other, 4)):
        options = ["--labels", str(table), "--recipe", "none", "--shuffle", str(seed), "--calibrate", "3"]
        assert cli.main(["images", str(folder), str(tmp_path / "out.h5"), *options]) == 0
        found.append([part.images.tobytes() for part in load_samples(tmp_path / "out.h5")])
    assert found[0] == found[1] != found[2]


def test_retention_judges_by_the_frozen_pixels(folder, tmp_path, capsys):
    net, path = tmp_path / "net.h5", tmp_path / "out.h5"
    pcmref.save(net, tiny(evaluation=None, calibration=None))
    assert cli.main(["images", str(folder), str(path), "--recipe", "none", "--crop", "6"]) == 0
    command = ["retention", str(net), "--data", str(path), "--times", "1d", "--compensation", "gdc"]
    assert cli.main([*command, "--json", str(tmp_path / "out.json")]) == 0
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    chip = pcmref.program(pcmref.load(net), seed=0)
    snapshot, images = chip.at(86_400.0), PIXELS[:, 7:13, 9:15]
    gdc = pcmref.calibrate(snapshot, "gdc", reference=chip.reference())
    found = pcmref.logits(snapshot, images, corrections=gdc).argmax(axis=1)
    assert (row["images"], row["correct"]) == (6, (found == np.arange(6) % 4).sum())


def test_what_cannot_be(folder, tmp_path, capsys):
    out = tmp_path / "out.h5"
    assert "labels from 0" not in fails(capsys, folder, out, "--labels", tmp_path / "none.csv")
    assert "a label from 0 to 2, found '3'" in fails(capsys, folder, out, "--classes", "3")
    assert "--classes: expected at least 1" in fails(capsys, folder, out, "--classes", "0")
    assert "one of torchvision, none" in fails(capsys, folder, out, "--recipe", "caffe")
    assert "resize: expected an integer" in fails(capsys, folder, out, "--resize", "0")
    assert "crop: expected an integer" in fails(capsys, folder, out, "--crop", "-1")
    assert "seed: expected an integer" in fails(capsys, folder, out, "--shuffle", "-1")
    assert "an integer from 0 to 5: one must be left" in fails(capsys, folder, out, "--calibrate", "6")
    assert "no input" in fails(capsys, folder, folder / "labels.csv")
    (tmp_path / "empty").mkdir()
    assert "an empty folder" in fails(capsys, tmp_path / "empty", out, "--labels", folder / "labels.csv")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:300])
    assert "3.png: expected an intact JPEG or PNG file" in fails(capsys, folder, out)
    assert not out.exists()


def test_without_pillow(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert "pip install 'pcmref[images]'" in fails(capsys, folder, tmp_path / "out.h5")
