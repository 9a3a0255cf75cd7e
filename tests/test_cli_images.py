"""``pcmref images`` as a person meets it."""

from __future__ import annotations

import hashlib
import json
import sys

import h5py
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


@pytest.fixture
def classes(tmp_path):
    """The six photographs in folders of three classes, as torchvision's ImageFolder has them."""
    place = tmp_path / "classes"
    for number, name in enumerate(["b/1.png", "B1/2.png", "a/3.PNG", "b/0.png", "a/1.png", "a/0.png"]):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[number]).save(place / name)
    return place


def test_folders_are_classes_in_the_order_of_their_names(classes, tmp_path, capsys):
    command = ["images", str(classes), str(path := tmp_path / "out.h5"), "--recipe", "none"]
    assert cli.main(command) == 0
    assert "\nclasses from 0 on: B1, a, b\n" in capsys.readouterr().out
    samples, _ = load_samples(path)
    assert samples.labels.tolist() == [0, 1, 1, 1, 2, 2]
    assert samples.images.tobytes() == PIXELS[[1, 5, 4, 2, 3, 0]].tobytes()
    with h5py.File(path) as file:
        record = json.loads(file.attrs["provenance"])
    assert json.loads(record["classes"]) == ["B1", "a", "b"]
    assert record["order"] == "of the classes"
    assert cli.main([*command, "--shuffle", "1", "--calibrate", "2"]) == 0
    shuffled, calibration = load_samples(path)
    names = ["B1/2.png", "a/0.png", "a/1.png", "a/3.PNG", "b/0.png", "b/1.png"]
    order = sorted(range(6), key=lambda number: hashlib.sha256(f"1 {names[number]}".encode()).digest())
    both = np.concatenate([calibration.images, shuffled.images])
    assert both.tobytes() == samples.images[order].tobytes()
    assert [*calibration.labels, *shuffled.labels] == samples.labels[order].tolist()


def test_a_table_is_taken_where_there_is_one(folder, tmp_path):
    (folder / "originals").mkdir()
    assert cli.main(["images", str(folder), str(tmp_path / "out.h5"), "--recipe", "none"]) == 0
    assert load_samples(tmp_path / "out.h5")[0].labels.tolist() == [0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda place: (place / "c").mkdir(), [], "c: expected photographs (.jpg, .jpeg, .png), found none"),
        (lambda place: (place / "a" / "deep.png").mkdir(), [], "a: expected photographs alone, found the folder"),
        (
            lambda place: (place / "5.png").touch(),
            [],
            "expected each photograph in the folder of its class, found '5.png'",
        ),
        (lambda place: None, ["--classes", "2"], "expected 1 to 2 folders, one for each class, found 3"),
        (lambda place: None, ["--calibrate", "2"], "--calibrate: expected --shuffle SEED beside it"),
        (lambda place: (place / "a" / "9.png").touch(), [], "9.png: expected an intact JPEG or PNG file"),
    ],
)
def test_folders_that_are_no_classes(classes, tmp_path, capsys, change, options, message):
    change(classes)
    assert message in fails(capsys, classes, tmp_path / "out.h5", "--recipe", "none", *options)
    assert not (tmp_path / "out.h5").exists()


def test_files_in_folders_that_are_no_photographs_are_named(classes, tmp_path, capsys):
    (classes / "b" / "notes.txt").touch()
    assert cli.main(["images", str(classes), str(tmp_path / "out.h5"), "--recipe", "none"]) == 0
    assert "no JPEG or PNG, and left out: b/notes.txt" in capsys.readouterr().err
    assert len(load_samples(tmp_path / "out.h5")[0]) == 6
