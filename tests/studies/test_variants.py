"""What no tensor tells, measured; and `pcmref convert` as a person meets it."""

import re

import h5py
import numpy as np
import pytest

import pcmref
from pcmref import cli
from pcmref.errors import DataError
from pcmref.importers.checkpoints import Assumptions, open_checkpoint
from pcmref.network.images import Normalisation, Samples
from pcmref.studies.variants import (
    NORMALISATIONS,
    Score,
    _best,
    assumptions_text,
    findings_text,
    measured,
    refuse_guessing,
)

COUNT = 60


def normalisation(name):
    full_scale, mean, std = NORMALISATIONS[name]
    return Normalisation(full_scale=full_scale, mean=mean, std=std)


def labelled(torch, tmp_path, truth, *, kind="pad-both", channels=(8, 16, 32), name="net.pt", classes=10, count=COUNT):
    """A checkpoint of random weights, and images that it classifies as labelled under these assumptions alone."""
    from tests.helpers import torch_nets

    model = torch_nets.randomised(torch_nets.ResNet((1, 1, 1), channels, kind=kind, classes=classes))
    torch.save(model.state_dict(), tmp_path / name)
    checkpoint = open_checkpoint(tmp_path / name)
    rng = np.random.default_rng(5)
    grey = rng.integers(0, 256, (count, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    images = (grey * rng.uniform(0.2, 1, (count, 1, 1, 3))).astype(np.uint8)
    logits = pcmref.digital(checkpoint.network(truth), images)
    labels = (logits - logits.mean(axis=0)).argmax(axis=1)
    # the labels of a random network are nearly always the same; a shifted bias spreads them
    state = model.state_dict()
    state["fc.bias"] -= torch.tensor(logits.mean(axis=0))
    torch.save(state, tmp_path / name)
    return open_checkpoint(tmp_path / name), Samples(images=images, labels=labels.astype(np.int64))


@pytest.mark.parametrize("shortcut", ["pad-both", "pad-after"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("scale", ["ImageNet", "CIFAR-10, std of images", "0 to 1", "0 to 255"])
def test_the_assumptions_of_the_training_are_found(torch, tmp_path, shortcut, order, scale):
    truth = Assumptions(shortcut=shortcut, order=order, normalisation=normalisation(scale))
    checkpoint, samples = labelled(torch, tmp_path, truth)
    findings = measured(checkpoint, samples, Assumptions())
    assert findings.scores[findings.taken].accuracy == 1.0
    assert findings.taken == findings.best == truth
    assert next(iter(findings.scores)) == Assumptions()
    refuse_guessing(checkpoint, findings, samples)


def test_what_is_fixed_is_tried_and_not_taken(torch, tmp_path):
    truth = Assumptions(shortcut="pad-after", order="bgr")
    checkpoint, samples = labelled(torch, tmp_path, truth)
    told = []
    findings = measured(
        checkpoint,
        samples,
        Assumptions(order="bgr"),
        fixed=frozenset({"shortcut", "normalisation", "order"}),
        progress=lambda done, total: told.append((done, total)),
    )
    assert findings.taken == Assumptions(order="bgr")
    assert findings.best == truth
    for fixed in ("shortcut", "normalisation", "order"):
        found = measured(checkpoint, samples, Assumptions(), fixed=frozenset({fixed})).taken
        assert getattr(found, fixed) == getattr(Assumptions(), fixed)
    assert told == [(number, 0) for number in range(1, len(findings.scores) + 1)]
    text = findings_text(checkpoint, findings, samples)
    assert text.splitlines()[-1] == "as asked for, though pad-after, BGR, ImageNet would be better"
    assert next(line for line in text.splitlines() if line.endswith("taken")).startswith("pad-both   BGR ")
    with pytest.raises(
        DataError, match=r"net.pt: expected an accuracy of at least .* found .* but 100.0 % with pad-after"
    ):
        refuse_guessing(checkpoint, findings, samples)


def test_a_network_that_guesses_is_refused(torch, tmp_path):
    checkpoint, samples = labelled(torch, tmp_path, Assumptions())
    labels = np.random.default_rng(0).permutation(np.arange(COUNT) % 10)
    findings = measured(checkpoint, Samples(images=samples.images, labels=labels), Assumptions())
    least = 0.1 + 0.25 * 0.9 + 3 * (0.1 * 0.9 / COUNT) ** 0.5
    message = rf"at least {100 * least:.1f} % on {COUNT} images, where guessing gives 10.0 %, found \d"
    with pytest.raises(DataError, match=message) as caught:
        refuse_guessing(checkpoint, findings, Samples(images=samples.images, labels=labels))
    assert "but" not in caught.value.found


def test_the_most_frequent_label_is_a_guess(torch, tmp_path):
    checkpoint, samples = labelled(torch, tmp_path, Assumptions(), classes=2)
    labels = np.append(np.zeros(COUNT - 4, np.int64), [1, 1, 1, 1])
    samples = Samples(images=samples.images, labels=labels)
    with pytest.raises(DataError, match=r"guessing gives 93.3 %"):
        refuse_guessing(checkpoint, measured(checkpoint, samples, Assumptions()), samples)


def test_only_what_tensors_leave_open_is_tried(torch, tmp_path):
    checkpoint, samples = labelled(torch, tmp_path, Assumptions(), kind="conv")
    findings = measured(checkpoint, samples, Assumptions())
    assert {each.shortcut for each in findings.scores} == {"pad-both"}
    assert assumptions_text(checkpoint, findings.taken) == "RGB, ImageNet"
    odd = Assumptions(shortcut="pad-after")
    checkpoint, samples = labelled(torch, tmp_path, odd, kind="pad-after", channels=(8, 15, 32))
    assert {each.shortcut for each in measured(checkpoint, samples, odd).scores} == {"pad-after"}


def test_of_accuracies_within_a_standard_error_the_smallest_loss_counts():
    def best(count, *scores, start=-1, spread=0.0):
        tried = [Assumptions(normalisation=normalisation(name)) for name in NORMALISATIONS]
        wave = spread * np.tile([1.0, -1.0], count // 2)
        found = {
            each: Score(accuracy=a, losses=np.full(count, b) + number * wave)
            for number, (each, (a, b)) in enumerate(zip(tried, scores, strict=False))
        }
        return tried.index(_best(found, tried[start], count))

    assert best(100, (0.5, 1.0), (0.54, 2.0)) == 0  # within 0.05
    assert best(100, (0.5, 1.0), (0.56, 2.0)) == 1
    assert best(10_000, (0.5, 1.0), (0.51, 2.0)) == 1
    assert best(100, (1.0, 0.2), (1.0, 0.1), (0.99, 0.0)) == 1
    assert best(100, (0.9, 0.1), (0.9, 0.1)) == 0
    # what was assumed stays if the difference is less than two standard errors: here 2 * 1 / 10
    assert best(100, (0.9, 0.3), (0.9, 0.11), start=0, spread=1.0) == 0
    assert best(100, (0.9, 0.3), (0.9, 0.09), start=0, spread=1.0) == 1
    assert best(100, (0.5, 0.3), (0.9, 0.2), start=0, spread=9.0) == 1  # not with another accuracy


# The command


@pytest.fixture
def padded_after(torch, tmp_path):
    """A checkpoint whose zeros lie after the channels, and a file of images: labels to judge by are wrong."""
    checkpoint, samples = labelled(torch, tmp_path, Assumptions(shortcut="pad-after"))
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["calibration/images"], file["calibration/labels"] = samples.images, samples.labels
        file["images"], file["labels"] = samples.images, (samples.labels + 1) % 10
    return checkpoint


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_convert_takes_what_is_right_of_training_images(padded_after, tmp_path, capsys):
    path, out = tmp_path / "net.pt", tmp_path / "out.h5"
    status, text, _ = run(capsys, "convert", path, out, "--check", "50", "--data", tmp_path / "images.h5")
    assert status == 0
    lines = text.splitlines()
    assert lines[0] == "net.pt: 44 tensors"
    assert lines[1] == "ResNet-8: 1 + 1 + 1 basic blocks, channels 8, 16, 32, padded shortcuts, 10 classes, eps 1e-05"
    assert re.fullmatch(r"accuracy and cross-entropy of 50 images \(.*calibration/images\):", lines[2])
    assert lines[3].split() == ["shortcut", "colours", "normalisation", "accuracy", "loss"]
    assert re.fullmatch(r"pad-after  RGB +ImageNet +100.0 % +\d.\d{3} +taken", lines[4])
    assert re.fullmatch(
        rf"{re.escape(str(out))}: [\d,]+ weights, mean 0.485/0.456/0.406, std 0.229/0.224/0.225", lines[-1]
    )
    network = pcmref.load(out)
    assert [layer.before for layer in network.layers if layer.op == "pad_shortcut"] == [0, 0]
    assert network.provenance["shortcut"] == "pad-after"


def test_convert_says_what_it_assumes(padded_after, tmp_path, capsys):
    path, out = tmp_path / "net.pt", tmp_path / "out.h5"
    status, text, _ = run(capsys, "convert", path, out)
    assert (status, text.splitlines()[2]) == (0, "assumed: pad-both, RGB, ImageNet (--check N measures)")
    options = (
        "--shortcut",
        "pad-after",
        "--order",
        "bgr",
        "--mean",
        "0.5,0.5,0.4",
        "--eps",
        "1e-3",
        "--eps",
        "bn1=0.1",
    )
    status, text, _ = run(capsys, "convert", path, out, *options)
    expected = "assumed: pad-after, BGR, mean 0.5/0.5/0.4 std 0.229/0.224/0.225 (--check N measures)"
    assert (status, text.splitlines()[2]) == (0, expected)
    assert text.splitlines()[1].endswith(", 10 classes, eps 0.001, bn1 0.1")
    layers = {layer.name: layer for layer in pcmref.load(out).layers}
    assert (layers["bn1"].eps, layers["stage1.block1.bn1"].eps) == (0.1, 1e-3)


def test_convert_does_what_it_is_told_unless_that_guesses(padded_after, tmp_path, capsys):
    path, out = tmp_path / "net.pt", tmp_path / "out.h5"
    check = ("--check", "60", "--data", tmp_path / "images.h5")
    status, text, err = run(capsys, "convert", path, out, *check, "--shortcut", "pad-both")
    assert status == 1
    assert not out.exists()
    assert "pad-after  RGB" in text
    assert re.search(r"error: .*net.pt: expected an accuracy of at least .*, found .* but 100.0 % with pad-after", err)
    assert err.count("\n") == 1
    status, text, _ = run(capsys, "convert", path, out, *check, "--mean", "0.48,0.45,0.4")
    assert status == 0
    assert re.search(r"pad-after  RGB +mean 0.48/0.45/0.4 std 0.229/0.224/0.225  .* taken", text)
    assert pcmref.load(out).normalisation.mean == (0.48, 0.45, 0.4)


def test_convert_of_a_size_of_its_own(padded_after, tmp_path, capsys):
    assert run(capsys, "convert", tmp_path / "net.pt", tmp_path / "out.h5", "--size", "16x24")[0] == 0
    assert pcmref.load(tmp_path / "out.h5").input_shape == (16, 24, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "32"), "--size: expected HEIGHTxWIDTH"),
        (("--eps", "x"), "--eps: expected a number, or NAME=NUMBER, found 'x'"),
        (("--eps", "bn9=0.1"), "eps: expected the name of a batch norm"),
        (("--eps", "2"), "eps: expected a number between 0 and 1, found 2"),
        (("--key", "net"), "key: expected one of"),
        (("--check", "49"), "--check: expected at least 50 images"),
        (("--check", "50", "--data", "absent.h5"), "--data: expected CIFAR-10, or an HDF5 file"),
        (("--arch", "resnet18"), "a first convolution of 7x7"),
        (("--shortcut", "conv"), "shortcuts: expected 'conv', as asked for"),
    ],
)
def test_convert_refuses(padded_after, tmp_path, capsys, options, message):
    status, text, err = run(capsys, "convert", tmp_path / "net.pt", tmp_path / "out.h5", *options)
    assert (status, text) == (1, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.h5").exists()


def test_convert_names_other_state_dicts_and_objects(torch, padded_after, tmp_path, capsys):
    state = torch.load(tmp_path / "net.pt")
    torch.save({"ema": state, "net": state, "best": np.float64(3)}, tmp_path / "more.pt")
    status, text, _ = run(capsys, "convert", tmp_path / "more.pt", tmp_path / "out.h5")
    assert status == 0
    lines = text.splitlines()
    assert lines[0] == "more.pt: 44 tensors under 'net'"
    assert lines[2] == "other state dicts: ema (--key takes one)"
    assert re.fullmatch(r"passed over, without running code: best \(numpy.*scalar\)", lines[3])
    assert pcmref.load(tmp_path / "out.h5").provenance["key"] == "net"
    status, text, _ = run(capsys, "convert", tmp_path / "more.pt", tmp_path / "out.h5", "--key", "ema")
    assert text.splitlines()[0] == "more.pt: 44 tensors under 'ema'"
