"""A whole run of training on a GPU, on the CPU and tiny: two calls, whatever fails in them."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pcmref

torch = pytest.importorskip("torch")
sys.path.append(str(Path(__file__).resolve().parent.parent))
MODULES = ("budget", "data", "feed", "finish", "on_gpu", "pack", "recipe")
budget, data, feed, finish, on_gpu, pack, recipe = map(importlib.import_module, MODULES)
TINY = recipe.tiny()
#: What the clock of most tests goes on by when it is looked at, seconds; an epoch looks five times.
TICK_S = 5.0


@pytest.fixture(scope="module", autouse=True)
def quick():
    """One thread, and a clock that does not depend on how busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        clock = functools.partial(next, itertools.count(0.0, TICK_S))
        patch.setattr(on_gpu, "Budget", functools.partial(budget.Budget, now=clock))
        patch.setattr(on_gpu, "alarm", lambda seconds: contextlib.nullcontext())  # of the real clock
        torch.set_num_threads(1)
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Packed images: noise, with a bar whose place is the class."""
    rng = np.random.default_rng(1)
    labels = rng.integers(10, size=400)
    pixels = rng.integers(128, size=(400, 32, 32, 3), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[3 * label : 3 * label + 3] += 100
    place = tmp_path_factory.mktemp("packed")
    whole = data.without_test(pcmref.Samples(images=pixels, labels=labels), "files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "DOWN", 2)
        assert len(list(pack.pack(whole, place))) == 2
    return place


def call(which, images, out, *arguments):
    command = [which, "--data", images, "--out", out, "--device", "cpu", *arguments]
    return on_gpu.main([str(word) for word in command], TINY)


def log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def epochs(out, stage):
    return [line for line in log(out) if line["what"].startswith(f"{stage} ") and "loss" in line]


@pytest.fixture(scope="module")
def first(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("one")
    assert call("first", images, out) == 0
    return out


@pytest.fixture(scope="module")
def second(images, first, tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    assert call("second", images, out, "--start", first) == 0
    return out


def test_the_first_call_leaves_what_the_second_needs(first):
    names = {path.name for path in first.iterdir()}
    assert names == {"teacher-1.npz", "teacher-2.npz", "student.pt", "network.h5", "log.jsonl"}
    state = torch.load(first / "student.pt", weights_only=True)
    assert (state["stage"], state["progress"]) == ("plain", 1.0)
    for stage in ("teacher-1", "teacher-2", "plain"):
        lines = epochs(first, stage)
        assert lines[-1]["progress"] == 1
        assert lines[-1]["loss"] < lines[0]["loss"]
        assert lines[-1]["left"] > 0


def test_the_second_call_ends_with_a_network(first, second):
    assert {path.name for path in second.iterdir()} == {"student.pt", "network.h5", "log.jsonl"}
    assert [epochs(second, stage)[-1]["progress"] for stage in ("noise", "small")] == [1, 1]
    network = pcmref.load(second / "network.h5")
    commands = network.provenance["commands"].splitlines()
    assert [command.split()[1] for command in commands] == ["first", "second"]
    assert "stage small, to 100 %" in network.provenance["title"]
    assert "chip8" in network.ranges
    weights = [torch.load(out / "student.pt", weights_only=True)["network"]["fc.weight"] for out in (first, second)]
    np.testing.assert_array_equal(network.layers[-1].weight, weights[1].numpy())
    assert not torch.equal(*weights)
    rows = {line["what"]: line["accuracy"] for line in log(second) if line["what"].startswith("table")}
    assert list(rows) == [f"table, {name}" for name in ("digital", "25 s", "1 day, GDC", "1 day, AdaBS")]
    assert all(0 <= value <= 100 for value in rows.values())
    assert not any("FAILED" in line["what"] or "ATTENTION" in line["what"] for line in log(second))


def test_the_table_s_digital_row_is_that_of_the_file(images, second):
    network = pcmref.load(second / "network.h5")
    held_out = pack.training_data(images).training
    last = slice(200, 250)  # held out
    found = pcmref.accuracy(pcmref.digital(network, held_out.images[last]), held_out.labels[last])
    (row,) = (line["accuracy"] for line in log(second) if line["what"] == "table, digital")
    assert row == pytest.approx(100 * found)


@pytest.mark.soak
def test_a_call_goes_on_where_it_was(images, first, tmp_path, capsys):
    state = torch.load(first / "student.pt", weights_only=True)
    for teacher in first.glob("teacher-*.npz"):
        (tmp_path / teacher.name).write_bytes(teacher.read_bytes())
    torch.save(state | {"progress": 0.5}, tmp_path / "student.pt")
    assert call("first", images, tmp_path) == 0
    assert not epochs(tmp_path, "teacher")
    assert epochs(tmp_path, "plain")[0]["progress"] > 0.5
    assert torch.load(tmp_path / "student.pt", weights_only=True)["progress"] == 1


@pytest.mark.soak
@pytest.mark.parametrize("how", ["raises", "diverges"])
def test_a_stage_that_fails_is_left_out(images, first, tmp_path, monkeypatch, capsys, how):
    """The last good student goes on to the next stage, and is exported."""
    whole, mean_loss = on_gpu.train_stage, feed.Feed.mean_loss

    def failing(run, stage, *arguments, **options):
        if stage.name == "noise" and how == "raises":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        with pytest.MonkeyPatch.context() as patch:
            if stage.name == "noise":
                losses = iter([2.0, math.nan])
                patch.setattr(feed.Feed, "mean_loss", lambda self: mean_loss(self) and next(losses))
            whole(run, stage, *arguments, **options)

    monkeypatch.setattr(on_gpu, "train_stage", failing)
    assert call("second", images, tmp_path, "--start", first) == 0
    assert "FAILED: noise" in [line["what"] for line in log(tmp_path)]
    assert "Error" in capsys.readouterr().err
    assert len(epochs(tmp_path, "noise")) == (how == "diverges")
    assert epochs(tmp_path, "small")[-1]["progress"] == 1
    assert "stage small" in pcmref.load(tmp_path / "network.h5").provenance["title"]


def test_a_stage_that_hangs_is_stopped(images, first, tmp_path, monkeypatch):
    monkeypatch.setattr(on_gpu, "alarm", budget.alarm)
    monkeypatch.setattr(on_gpu, "train_stage", lambda *_, **__: time.sleep(60))
    monkeypatch.setattr(on_gpu, "LATE", 0.0)
    monkeypatch.setattr(on_gpu, "LATE_S", 0.2)
    begin = time.monotonic()
    assert call("second", images, tmp_path, "--start", first) == 0
    assert time.monotonic() - begin < 50
    assert "stage plain" in pcmref.load(tmp_path / "network.h5").provenance["title"]


@pytest.mark.soak
def test_a_call_ends_in_time(images, first, tmp_path, monkeypatch):
    """By the real clock."""
    monkeypatch.setattr(on_gpu, "Budget", budget.Budget)
    monkeypatch.setattr(on_gpu, "alarm", budget.alarm)
    monkeypatch.setattr(on_gpu, "START_S", 0.0)
    monkeypatch.setattr(on_gpu, "RESERVE_S", 2.0)
    begin = time.monotonic()
    assert call("second", images, tmp_path, "--start", first, "--seconds", "9") == 0
    assert time.monotonic() - begin < 25  # a busy machine may take its time between two looks at the clock


def test_a_device_that_fails_at_the_end_is_replaced_by_the_cpu(images, first, tmp_path, monkeypatch):
    whole, failed = finish.with_statistics, []

    def failing(run, tensors, device):
        if device is run.device:
            failed.append(1)
            raise RuntimeError("CUDA error")
        return whole(run, tensors, device)

    monkeypatch.setattr(finish, "with_statistics", failing)
    monkeypatch.setattr(on_gpu, "train_stage", lambda *_, **__: None)
    assert call("second", images, tmp_path, "--start", first) == 0
    assert len(failed) == 3
    assert pcmref.load(tmp_path / "network.h5").layers


def test_an_export_that_fails_is_told(images, first, tmp_path, monkeypatch):
    monkeypatch.setattr(on_gpu, "train_stage", lambda *_, **__: None)
    monkeypatch.setattr(on_gpu, "export", lambda *_: 1 / 0)
    assert call("second", images, tmp_path, "--start", first) == 1
    assert (tmp_path / "student.pt").is_file()


@pytest.mark.soak
def test_without_teachers_the_labels_teach(images, first, tmp_path, monkeypatch):
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "student.pt").write_bytes((first / "student.pt").read_bytes())
    (tmp_path / "start" / "teacher-1.npz").write_bytes((first / "teacher-1.npz").read_bytes()[:5000])
    taught = []
    student = on_gpu.Student
    monkeypatch.setattr(on_gpu, "Student", lambda *a, **k: taught.append(k["taught"]) or student(*a, **k))
    assert call("second", images, tmp_path / "out", "--start", tmp_path / "start") == 0
    assert set(taught) == {False}
    told = [line["what"] for line in log(tmp_path / "out")]
    assert {"FAILED: teacher-1.npz", "ATTENTION: 0 teachers instead of 2"} <= set(told)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--device", "cuda"], "device: expected a GPU that PyTorch sees"),
        (["--start", "none"], "start: expected the folder with student.pt of the first call"),
        ([], "PyTorch: expected 2.9 or later, found 2.8.1"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(images, tmp_path, monkeypatch, capsys, arguments, expected):
    if not arguments:
        monkeypatch.setattr(torch, "__version__", "2.8.1+cu130")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    begin = time.monotonic()
    assert call("second", images, tmp_path, *arguments) == 2
    assert time.monotonic() - begin < 1
    assert expected in capsys.readouterr().err


def test_missing_images_are_told(images, tmp_path, capsys):
    (tmp_path / "part-1").symlink_to(images / "part-1")
    assert call("first", tmp_path, tmp_path / "out") == 2
    assert "400 images that were packed" in capsys.readouterr().err


def test_every_stage_has_its_share():
    shares, left = [], 1.0
    for stage in (*recipe.FULL.teachers, recipe.FULL.plain):
        shares.append(stage.share * left)
        left -= shares[-1]
    assert shares == pytest.approx([0.125, 0.125, 0.125, 0.625])
    assert recipe.FULL.hard[-1].share == 1
    for stage in (*recipe.FULL.teachers, recipe.FULL.plain, *recipe.FULL.hard):
        assert stage.batch % max(1, stage.chips) == 0
        assert stage.fresh <= stage.chips
        assert (stage.disturbance() is None) == (stage.clip == math.inf)
