"""The example trainer: its laws, and a network trained for two epochs."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import json
import math
import os
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import pcmref
from pcmref import digital
from pcmref.devices import pcm
from pcmref.importers.resnet import Architecture, architecture, network_from_tensors
from pcmref.network.images import Normalisation
from pcmref.network.layers import BatchNorm
from pcmref.network.operations import MaxPool
from tests.helpers.nets import tiny

torch = pytest.importorskip("torch")
HERE = Path(__file__).resolve().parent.parent
#: The bundled network with a quarter of its training images, so that an epoch is short.
DIGITS = Path(tempfile.gettempdir()) / f"pcmref-digits-{os.getpid()}.h5"
sys.path.append(str(HERE))  # the scripts import each other by these names
MODULES = ("checkpoint", "data", "export", "judge", "measure", "model", "noise", "optimiser", "train")
checkpoint, data, export, judge, measure, model, noise, optimiser, train = map(importlib.import_module, MODULES)


@pytest.fixture(scope="module", autouse=True)
def _fewer_digits():
    network = pcmref.load(pcmref.bundled())
    fewer = {"calibration": network.calibration.first(250), "evaluation": network.evaluation.first(100)}
    pcmref.save(DIGITS, dataclasses.replace(network, **fewer))
    yield
    DIGITS.unlink()


def network(shortcut="conv"):
    torch.manual_seed(1)
    return model.ResNet(Architecture(blocks=(1, 2), channels=(4, 6), shortcut=shortcut), 1, 3)


def matrices(net):
    """Return a copy of each crossbar matrix, flat."""
    return [torch.cat([p.detach().flatten() for p in matrix]) for matrix in noise.crossbars(net)]


def run(*arguments):
    assert train.main([str(argument) for argument in arguments]) == 0


def pretrain(out, *arguments, epochs=2):
    run("pretrain", "--data", DIGITS, "--out", out, "--epochs", epochs, "--device", "cpu", *arguments)


def tensors(checkpoint, which="model"):
    return torch.load(checkpoint, weights_only=True)[which]


def test_every_weight_of_a_crossbar_is_on_pcm():
    names = {name for name, _ in network().named_parameters() if "bn" not in name and ".1." not in name}
    assert names == {
        *("conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight", "fc.weight", "fc.bias"),
        *("layer2.0.conv1.weight", "layer2.0.conv2.weight", "layer2.0.downsample.0.weight"),
    }
    assert len(noise.crossbars(network())) == 9


def on_chips(net, disturbance, chips=1):
    """The disturbed parameters of each crossbar matrix as an array with one row for each chip."""
    weights = noise.noisy(net, disturbance, chips)
    names = {parameter: name for name, parameter in net.named_parameters()}
    return [
        torch.cat([weights[names[p]].detach().reshape(chips, -1) for p in matrix], dim=1)
        for matrix in noise.crossbars(net)
    ]


def test_noise_is_gaussian_in_proportion_to_the_largest_weight():
    net, eta, chips = network(), 0.1, 200
    with torch.no_grad():
        net.fc.bias[0] = 5.0  # the largest weight of its matrix
    for values, drawn in zip(matrices(net), on_chips(net, noise.gaussian(eta), chips), strict=True):
        z = (drawn - values).double() / (eta * values.abs().max())
        assert abs(z.mean()) < 5 / math.sqrt(z.numel())
        assert abs(z.square().mean() - 1) < 5 * math.sqrt(2 / z.numel())
        assert abs(z.pow(4).mean() - 3) < 5 * math.sqrt(96 / z.numel())
        assert abs((z[0] * z[1]).mean()) < 5 / math.sqrt(z.shape[1])  # each chip has its own


def test_clean_weights_stay_as_they_are():
    net = network()
    clean = matrices(net)
    assert not any(map(torch.equal, (drawn[0] for drawn in on_chips(net, noise.gaussian(0.1))), clean))
    assert all(map(torch.equal, matrices(net), clean))


def test_gradients_are_those_at_the_noisy_weights():
    net, chips = network(), 3
    weights = noise.noisy(net, noise.gaussian(0.1), chips)
    sum(w.square().sum() / 2 for w in weights.values()).backward()
    for name, weight in weights.items():
        expected = weight.detach().unflatten(0, (chips, -1)).sum(dim=0)
        torch.testing.assert_close(net.get_parameter(name).grad, expected)


def test_accuracy_is_that_of_the_disturbed_network():
    images = digits()
    torch.manual_seed(1)
    net = model.ResNet(architecture("joshi-resnet8"), 1, 10)
    with torch.no_grad():
        net.fc.bias[3] = 1e3
    found = {3: measure.accuracy(net, images)}
    found[0] = measure.accuracy(net, images, lambda weights, chips: torch.zeros(chips, len(weights)))
    for label, share in found.items():
        assert share == 100 * int((images.labels == label).sum()) / len(images)


def test_without_a_disturbance_nothing_happens():
    assert noise.noisy(network(), None) == {}


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_each_chip_gets_its_part_of_the_images(shortcut):
    net, chips = network(shortcut=shortcut).eval(), 3
    weights = noise.noisy(net, noise.gaussian(0.1), chips)
    images = torch.randn(11, 1, 8, 8, generator=torch.Generator().manual_seed(8))
    found = torch.func.functional_call(net, weights, images)
    parts = []
    for chip, part in enumerate(images.tensor_split(chips)):
        alone = {name: weight.unflatten(0, (chips, -1))[chip] for name, weight in weights.items()}
        parts.append(torch.func.functional_call(net, alone, part))
    torch.testing.assert_close(found, torch.cat(parts))
    assert not torch.allclose(found, net(images))


@pytest.mark.parametrize("name", pcmref.MODELS)
@pytest.mark.parametrize("t_s", [60.0, 3.15e7])
def test_devices_err_as_pcmref_s_do(name, t_s):
    """The mean and the spread of weights of one size, against pairs of devices by pcmref's equations."""
    model = pcmref.MODELS[name]
    sizes = np.array([0.0, 0.02, 0.1, 0.3, 0.7, 1.0])
    count = 40_000
    weight = np.tile(sizes * [1, 1, -1, 1, -1, 1], (count, 1))
    torch.manual_seed(5)
    drawn = noise.devices(model, t_s, t_s)(torch.from_numpy(weight.ravel()).float(), 1).numpy().reshape(weight.shape)
    rng = np.random.default_rng(6)

    def read(target):
        z = rng.standard_normal((3, *target.shape))
        programmed_us = pcm.programmed_us(model, target * model.g_max_us, z[0])
        nu = pcm.drift_exponent(model, target, z[1])
        q_s = pcm.relative_read_noise(
            model, programmed_us / model.g_max_us if model.read_noise_of_programmed else target
        )
        drifted_us = pcm.drifted_us(model, programmed_us, nu, t_s)
        spread_us = pcm.read_noise_spread_us(model, drifted_us, q_s, t_s)
        read_us = pcm.read_us(drifted_us, spread_us, z[2]) / model.g_max_us
        return read_us if model.programs_zero else np.where(target > 0, read_us, 0.0)

    expected = read(np.maximum(weight, 0)) - read(np.maximum(-weight, 0))
    expected *= np.abs(weight).sum() / np.abs(expected).sum()
    for column in range(len(sizes)):
        ours, theirs = drawn[:, column], expected[:, column]
        sigma = theirs.std()
        assert abs(ours.mean() - theirs.mean()) <= 5 * sigma * math.sqrt(2 / count) + 1e-3 * sizes[column]
        assert abs(ours.std() - sigma) <= (5 * math.sqrt(1 / count) + 0.01) * sigma


@pytest.mark.parametrize("times", [(-5, 10), (0, 1), (1e-8, 1), (10, 5), (1, math.nan), (1, 1e13)])
def test_times_at_which_devices_cannot_be_read(times):
    with pytest.raises(pcmref.PcmrefError):
        noise.devices(pcmref.MODELS["NANDAKUMAR_2019"], *times)


def test_devices_change_the_sizes_of_weights_and_not_their_signs():
    weights = torch.linspace(-1, 1, 201)
    found = noise.devices(pcmref.MODELS["NANDAKUMAR_2019"], 25.0, 3.15e7)(weights, 4)
    assert (found * weights >= 0).all()
    torch.testing.assert_close(found.abs().sum(dim=1), weights.abs().sum().expand(4))
    assert not torch.equal(found[0], found[1])


def test_each_chip_has_a_time_of_its_own():
    disturbed = noise.devices(pcmref.MODELS["NANDAKUMAR_2019"].ideal(), 25.0, 3.15e7)
    weights = torch.linspace(-1, 1, 201)
    torch.testing.assert_close(disturbed(weights, 3), weights.expand(3, -1))  # without noise, at any time
    disturbed = noise.devices(pcmref.MODELS["NANDAKUMAR_2019"], 25.0, 1e12)
    torch.manual_seed(7)
    # the later the read, the more small weights have lost beside large ones
    found = disturbed(torch.cat([torch.full((5000,), 0.01), torch.ones(5000)]), 20)
    shares = found[:, :5000].mean(dim=1) / found.mean(dim=1)
    assert shares.max() > 1.5 * shares.min()


def test_fresh_chips_are_read_at_the_first_time_as_they_are():
    model, weights = pcmref.MODELS["NANDAKUMAR_2019"], torch.linspace(-3, 3, 20_001)
    torch.manual_seed(8)
    found = noise.devices(model, 1e3, 1e9, 2)(weights, 4)
    shares = found.abs().sum(dim=1) / weights.abs().sum()
    torch.testing.assert_close(shares[2:], torch.ones(2))
    large = weights.abs() > 2  # clear of 0
    drift = (1e3 / model.t_c_s) ** -model.exponent_mean(weights[large].abs().numpy() / 3)
    expected = float((weights[large].abs().numpy() * drift).sum())
    for chip in found[:2]:
        assert abs(float(chip[large].abs().sum()) / expected - 1) < 0.01
    assert shares[:2].max() < 0.9


def test_as_many_fresh_chips_as_asked_for(tmp_path):
    options = ["--model", "NANDAKUMAR_2019", "--times", 25, 26, "--chips", 3, "--fresh", 2]
    pretrain(tmp_path, epochs=1)
    run("noise", "--from", tmp_path / "pretrain.pt", "--epochs", 1, "--device", "cpu", *options)
    begun = torch.load(tmp_path / "noise.pt", weights_only=True)["options"]
    weights = torch.linspace(-1, 1, 2001)
    sums = train.disturbance_of(begun)(weights, 3).abs().sum(dim=1) / weights.abs().sum()
    assert torch.equal((sums - 1).abs() > 1e-3, torch.tensor([True, True, False]))


def test_validation_is_on_compensated_chips(tmp_path, monkeypatch):
    pretrain(tmp_path, epochs=1)
    seen = []
    monkeypatch.setattr(train, "accuracy", lambda model, images, how=None, **_: seen.append(how) or 50.0)
    options = ["--model", "NANDAKUMAR_2019", "--times", 1e6, 1e6, "--chips", 2, "--fresh", 1]
    run("noise", "--from", tmp_path / "pretrain.pt", "--epochs", 1, "--device", "cpu", *options)
    weights = torch.linspace(-1, 1, 2001)
    (compensated,) = filter(None, seen)
    torch.testing.assert_close(compensated(weights, 1).abs().sum(), weights.abs().sum())


@pytest.mark.parametrize("options", [["--fresh", "1"], ["--model", "JOSHI_2020", "--chips", "2", "--fresh", "3"]])
def test_no_more_fresh_chips_than_chips(tmp_path, capsys, options):
    pretrain(tmp_path, epochs=1)
    assert train.main(["noise", "--from", str(tmp_path / "pretrain.pt"), *options]) == 2
    assert "fresh: expected no more than --chips, with --model, found" in capsys.readouterr().err


@pytest.mark.parametrize("alpha", [1.0, 2.0, math.inf])
def test_clipping(alpha):
    net = network()
    before = matrices(net)
    noise.clip(net, alpha)
    for found, values in zip(matrices(net), before, strict=True):
        limit = alpha * values.std(correction=0)
        torch.testing.assert_close(found, values.clamp(-limit, limit), rtol=0, atol=0)


def test_clipped_after_every_step(tmp_path):
    pretrain(tmp_path, epochs=1)
    run("noise", "--from", tmp_path / "pretrain.pt", "--epochs", 1, "--clip", 1.5, "--device", "cpu")
    for name, tensor in tensors(tmp_path / "noise.pt").items():
        if "conv" in name:
            # the spread of a clipped matrix is smaller than that which it was clipped by
            assert tensor.abs().max() <= 2.5 * tensor.std(correction=0), name


@pytest.mark.parametrize("shortcut", ["conv", "pad"])
def test_architecture_is_that_of_network_files(shortcut):
    net = network(shortcut).eval()
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.ndim == 1:
                tensor += torch.rand_like(tensor)
    images = np.random.default_rng(2).integers(256, size=(5, 9, 7, 1), dtype=np.uint8)
    normalisation = Normalisation(full_scale=255.0, mean=(0.4,), std=(0.2,))
    converted = network_from_tensors(
        {name: tensor.numpy() for name, tensor in net.state_dict().items()},
        Architecture(blocks=(1, 2), channels=(4, 6), shortcut=shortcut),
        input_shape=(9, 7, 1),
        normalisation=normalisation,
        classes=("a", "b", "c"),
    )
    batch = torch.from_numpy((images.transpose(0, 3, 1, 2) / np.float32(255) - 0.4) / 0.2)
    with torch.no_grad():
        expected = net(batch.float()).numpy()
    np.testing.assert_allclose(digital(converted, images), expected, rtol=1e-4, atol=1e-4)


def test_trained_network_is_exported(tmp_path, capsys):
    pretrain(tmp_path, "--lr", 0.2)
    run("noise", "--from", tmp_path / "pretrain.pt", "--epochs", 2, "--eta", 0.05, "--device", "cpu", "--seed", 6)
    run("export", tmp_path / "noise.pt", tmp_path / "network.h5")

    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["epoch"]) for line in log] == [
        *(("pretrain", 1), ("pretrain", 2), ("noise", 1), ("noise", 2))
    ]
    assert log[-1]["loss"] < log[0]["loss"]

    bundled, exported = pcmref.load(DIGITS), pcmref.load(tmp_path / "network.h5")
    for part in ("calibration", "evaluation"):
        np.testing.assert_array_equal(getattr(exported, part).images, getattr(bundled, part).images)
        np.testing.assert_array_equal(getattr(exported, part).labels, getattr(bundled, part).labels)
    found = digital(exported, exported.evaluation.images).argmax(axis=1) == exported.evaluation.labels
    assert f"{100 * found.mean():.2f} %" in exported.provenance["digital accuracy"]
    assert f"{100 * found.mean():.2f} %" in capsys.readouterr().out
    assert exported.provenance["commands"].count("train.py") == 3

    run("export", tmp_path / "network.h5", tmp_path / "again.h5")
    again = pcmref.load(tmp_path / "again.h5").provenance
    assert again["commands"].count("train.py") == 4
    assert again | {"commands": ""} == exported.provenance | {"commands": ""}
    assert again["seed"] == "6"
    assert again["split"] == "200 training images, 50 for validation, 100 held out"
    assert again["hardware"] == f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


@pytest.mark.parametrize("stage", ["teacher", "pretrain", "noise"])
def test_interrupted_training_ends_the_same(tmp_path, monkeypatch, stage):
    start = ["--data", DIGITS]
    if stage == "noise":
        pretrain(tmp_path, epochs=1)
        begun = tmp_path / "pretrain.pt"
        start = ["--from", begun, "--teacher", begun, "--views", 2, "--chips", 2, "--model", "NANDAKUMAR_2019"]

    def trained(out, *arguments):
        run(stage, *start, "--out", out, "--epochs", 2, "--batch", 50, "--device", "cpu", *arguments)

    trained(tmp_path / "once", "--average", 0.9)
    whole_epoch = train.Training.epoch

    def interrupted(training, images, epoch):
        loss = whole_epoch(training, images, epoch)
        if epoch == 1:
            raise KeyboardInterrupt
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(train.Training, "epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "twice", "--average", 0.9)
    assert (tmp_path / "twice" / f"{stage}.pt").is_file()
    torch.manual_seed(99)  # what the process did before must not matter
    trained(tmp_path / "twice", "--average", 0.9)
    for which in ("model", "average"):
        once, twice = (tensors(tmp_path / name / f"{stage}.pt", which) for name in ("once", "twice"))
        assert once.keys() == twice.keys()
        assert all(torch.equal(once[name], twice[name]) for name in once)


def test_other_options_do_not_go_on(tmp_path, capsys):
    pretrain(tmp_path, epochs=1)
    assert train.main(["pretrain", "--data", str(DIGITS), "--out", str(tmp_path), "--epochs", "2"]) == 2
    assert "epochs: expected 1" in capsys.readouterr().err


def test_missing_checkpoint(tmp_path, capsys):
    assert train.main(["noise", "--from", str(tmp_path / "pretrain.pt")]) == 2
    assert "expected the checkpoint of an earlier stage, found nothing" in capsys.readouterr().err


def test_other_checkpoints_do_not_go_on(tmp_path, capsys):
    for name, rate in (("a", 0.01), ("b", 0.02)):
        pretrain(tmp_path / name, "--lr", rate, epochs=1)
    common = ["--epochs", "1", "--device", "cpu", "--out", str(tmp_path)]
    run("noise", "--from", tmp_path / "a" / "pretrain.pt", *common)
    assert train.main(["noise", "--from", str(tmp_path / "b" / "pretrain.pt"), *common]) == 2
    assert f"from and teacher: expected the checkpoints with which {tmp_path / 'noise.pt'}" in capsys.readouterr().err
    assert train.main(["noise", "--from", str(tmp_path / "noise.pt"), *common]) == 2
    assert "out: expected another directory" in capsys.readouterr().err
    run("noise", "--from", tmp_path / "a" / "pretrain.pt", *common)  # complete: nothing to do


def test_a_network_keeps_its_data_and_its_shape(tmp_path, capsys):
    pretrain(tmp_path / "a", epochs=1)
    on = ["pretrain", "--from", str(tmp_path / "a" / "pretrain.pt"), "--out", str(tmp_path / "b"), "--epochs", "1"]
    for option, value, own in (("data", "cifar10", str(DIGITS)), ("arch", "joshi-resnet14", "joshi-resnet8")):
        assert train.main([*on, f"--{option}", value]) == 2
        assert f"{option}: expected {own!r}, that of the checkpoint" in capsys.readouterr().err


def test_teachers_and_networks_for_crossbars_do_not_mix(tmp_path, capsys):
    pretrain(tmp_path, epochs=1)
    few = ["--out", str(tmp_path / "x"), "--epochs", "1", "--device", "cpu"]
    run("teacher", "--data", DIGITS, "--widths", 8, 12, *few)
    teacher, network = str(tmp_path / "x" / "teacher.pt"), str(tmp_path / "pretrain.pt")
    for stage, source, expected in (
        ("noise", teacher, "a network for crossbars, found a teacher"),
        ("pretrain", teacher, "a network for crossbars, found a teacher"),
        ("teacher", network, "a teacher, found a network for crossbars"),
    ):
        assert train.main([stage, "--from", source, *few]) == 2
        assert f"{source}: expected {expected}" in capsys.readouterr().err
    assert train.main(["export", teacher, str(tmp_path / "x.h5")]) == 2
    assert "expected a network for crossbars" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--chips", "--batch", "--epochs"])
def test_counts_are_at_least_1(option, capsys):
    with pytest.raises(SystemExit):
        train.main(["noise", "--from", "x", option, "0"])
    assert f"argument {option}: invalid count value: '0'" in capsys.readouterr().err


def test_training_that_diverges_stops_and_keeps_the_last_epoch(tmp_path, capsys, monkeypatch):
    pretrain(tmp_path, epochs=1)
    kept = (tmp_path / "pretrain.pt").read_bytes()
    losses = iter([2.5, math.nan])
    monkeypatch.setattr(train.Training, "epoch", lambda *_: next(losses))
    command = ["noise", "--from", str(tmp_path / "pretrain.pt"), "--epochs", "3"]
    assert train.main(command) == 2
    assert "loss of noise 2/3: expected a number (earlier epochs are kept;" in capsys.readouterr().err
    assert (tmp_path / "pretrain.pt").read_bytes() == kept
    assert torch.load(tmp_path / "noise.pt", weights_only=True)["epoch"] == 1


def test_broken_checkpoint(tmp_path, capsys):
    pretrain(tmp_path, epochs=1)
    path = tmp_path / "pretrain.pt"
    whole = path.read_bytes()
    for part in (whole[:-1000], whole[:100], b"", b"text"):
        path.write_bytes(part)
        assert train.main(["noise", "--from", str(path)]) == 2
        error = capsys.readouterr().err
        assert f"{path}: expected the checkpoint of an earlier stage, found" in error
        assert "weights_only" not in error


def test_every_stretch_of_the_digits_is_balanced():
    labels = np.random.default_rng(3).permutation(np.repeat(np.arange(4), [40, 50, 60, 70]))
    order = data.balanced(labels, seed=0)
    assert sorted(order) == list(range(len(labels)))
    for begin, end in [(0, 20), (0, 110), (30, 190), (200, 220)]:
        counts = np.bincount(labels[order[begin:end]], minlength=4)
        share = np.bincount(labels) * (end - begin) / len(labels)
        assert np.abs(counts - share).max() <= 2


def test_crops():
    torch.manual_seed(4)
    side, shift = 12, 4
    rows, columns = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    crops = data.crop_and_flip(torch.stack([rows, columns]).repeat(400, 1, 1, 1))
    assert crops.shape == (400, 2, side, side)
    assert (crops[:, 0] == crops[:, 0, :, :1]).all()
    assert (crops[:, 1] == crops[:, 1, :1]).all()
    down, right = crops[:, 0, :, 0], crops[:, 1, 0]  # where each row and column comes from
    reflected = torch.arange(-side, 2 * side).sub(side - 1).abs().sub(side - 1).abs()
    windows = {tuple(reflected[side + k : side + k + side].tolist()) for k in range(-shift, shift + 1)}
    assert {tuple(row.int().tolist()) for row in down} == windows
    seen = {tuple(row.int().tolist()) for row in right}
    assert seen == windows | {window[::-1] for window in windows}


def test_augmentations():
    torch.manual_seed(4)
    images = torch.rand(64, 3, 12, 10) + 1
    hidden = (data.cut_out(images, 8) == 0).sum(dim=(2, 3))
    assert (hidden == hidden[:, :1]).all()
    assert hidden.min() >= 16
    assert hidden.max() == 64
    torch.testing.assert_close(data.wobble(torch.ones(64, 1, 8, 8))[:, :, 3:5, 3:5], torch.ones(64, 1, 2, 2))


def test_cut_mix_takes_rectangles_and_mixes_the_targets_by_their_area():
    torch.manual_seed(4)
    count, height, width = 2000, 12, 10
    numbers = torch.arange(float(count))
    images = numbers.view(-1, 1, 1, 1).expand(-1, 3, height, width)
    mixed, targets = data.cut_mix(images, torch.eye(count), 0.75)
    assert (mixed == mixed[:, :1]).all()
    foreign = mixed[:, 0] != numbers.view(-1, 1, 1)
    rows, columns = foreign.any(dim=2), foreign.any(dim=1)
    assert torch.equal(foreign, rows[:, :, None] & columns[:, None, :])
    for side in (rows, columns):  # in one piece
        assert (side.int().diff(dim=1).ne(0).sum(dim=1) <= 2).all()
    origins = mixed[:, 0].flatten(1).long()
    shares = torch.zeros(count, count).scatter_add_(1, origins, torch.ones(origins.shape) / (height * width))
    torch.testing.assert_close(targets, shares)
    assert (targets.count_nonzero(dim=1) <= 2).all()
    touched = foreign.flatten(1).any(dim=1)
    assert 0.6 < touched.float().mean() <= 0.75 + 5 * math.sqrt(0.75 * 0.25 / count)
    area = foreign.float().mean(dim=(1, 2))[touched]
    assert 0.3 < area.mean() < 0.45  # half, less what hangs over the border
    assert area.max() > 0.8  # rectangles have odd sides
    same, kept = data.cut_mix(images, torch.eye(count), 0.0)
    assert torch.equal(same, images)
    assert torch.equal(kept, torch.eye(count))


def digits():
    return data.Images(pcmref.load(DIGITS).calibration, data.load(str(DIGITS), None), torch.device("cpu"))


def test_muon_steps_are_orthogonal():
    torch.manual_seed(7)
    net = network().to(memory_format=torch.channels_last)
    take = optimiser.Optimiser(net, lr=0.3, muon=0.02, weight_decay=0.1, batch=250)
    assert take.parts[1].param_groups[0]["momentum"] == pytest.approx(0.95)
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randn(value.shape))
            if value.dim() == 4:
                value.mul_(len(value) ** 0.5 / value.norm())
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    for value in net.parameters():
        value.grad = torch.randn_like(value, memory_format=torch.preserve_format)
    take.step(0.5)
    for name, value in net.named_parameters():
        if value.dim() != 4:
            # Nesterov's first step: (1 + 0.9) times the gradient, weight decay included
            gradient = value.grad + 0.1 * before[name]
            torch.testing.assert_close(value.detach(), before[name] - 0.5 * 0.3 * 1.9 * gradient, msg=name)
            continue
        matrix = value.detach().flatten(1)
        assert matrix.square().sum(dim=1).mean().item() == pytest.approx(1, abs=1e-5)
        tall = max(1, matrix.shape[0] / matrix.shape[1]) ** 0.5
        step = before[name].flatten(1) - matrix * ((before[name].flatten(1) * matrix).sum() / matrix.square().sum())
        lengths = torch.linalg.svdvals(step) / (0.5 * 0.02 * tall)
        assert lengths.min() > 0.5, name
        assert lengths.max() < 1.4, name


def test_the_learning_rate_rises_and_falls_as_a_cosine(tmp_path, monkeypatch):
    rates, step = [], optimiser.Optimiser.step
    monkeypatch.setattr(optimiser.Optimiser, "step", lambda self, rate: rates.append(rate) or step(self, rate))
    pretrain(tmp_path, "--batch", 10, epochs=5)
    progress = np.arange(100) / 100  # 200 images, 20 steps an epoch
    falling = 0.5 + 0.5 * np.cos(np.pi * (progress - 0.05) / 0.95)
    np.testing.assert_allclose(rates, np.where(progress < 0.05, progress / 0.05, falling), atol=1e-12)


def test_the_teacher_learns_by_muon():
    torch.manual_seed(7)
    options = vars(train.parser().parse_args(["teacher", "--out", "x", "--batch", "100"]))
    net = model.Teacher(8, 1, 10, (6, 7))
    training = train.Training(net, [], options, torch.device("cpu"))
    before = {name: value.clone() for name, value in net.named_parameters()}
    training.epoch(digits(), epoch=0)
    changed = {name for name, value in net.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name, value in net.named_parameters() if value.requires_grad}
    assert set(before) - changed == {"whiten.weight", *(f"groups.{g}.norms.{n}.weight" for g in (0, 1) for n in (0, 1))}
    for group in net.groups:
        for conv in group.convs:
            assert conv.weight.square().sum(dim=(1, 2, 3)).mean().item() == pytest.approx(1, abs=1e-5)


def test_stages_have_defaults_of_their_own():
    lines = (["teacher", "--out", "x"], ["pretrain", "--out", "x"], ["noise", "--from", "x"])
    parsed = [train.parser().parse_args(line) for line in lines]
    assert [options.weight_decay for options in parsed] == [1e-3, 5e-4, 5e-4]
    assert [options.batch for options in parsed] == [1000, 128, 128]
    assert [options.muon for options in parsed] == [0.17, 0, 0]
    assert [options.lr for options in parsed] == [0.2, 0.05, 0.005]


def test_groups_begin_with_copies_of_their_inputs():
    first = model.Group(3, 5).convs[0].weight.detach()[:3]
    assert torch.equal(first, torch.nn.init.dirac_(torch.empty(3, 3, 3, 3)))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_pytorch_s(training):
    rng = torch.Generator().manual_seed(5)
    fast, plain = model.BatchNorm(6).train(training), torch.nn.BatchNorm2d(6).train(training)
    found = []
    for norm in (fast, plain):
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(0.5, 2, 6))
            norm.bias.copy_(torch.linspace(-1, 1, 6))
        rng.manual_seed(5)
        for _ in range(2):
            x = (3 + 2 * torch.randn(9, 6, 4, 5, generator=rng)).requires_grad_()
            y = norm(x) if norm is plain else torch.cat(norm(x.split([2, 3, 4])))
        (y**2 * torch.rand(y.shape, generator=rng)).sum().backward()
        found.append([y, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_views_come_again(tmp_path, monkeypatch):
    run("teacher", "--data", DIGITS, "--widths", 8, 12, "--out", tmp_path, "--epochs", 1, "--device", "cpu")
    seen, variants = [], data.Images.variants

    def record(images):
        found = variants(images)
        seen.append(found[0])
        return found

    monkeypatch.setattr(data.Images, "variants", record)
    asked, forward = [], model.Teacher.forward
    monkeypatch.setattr(model.Teacher, "forward", lambda *args: asked.append(1) or forward(*args))
    pretrain(tmp_path / "a", "--teacher", tmp_path / "teacher.pt", "--views", 2, epochs=5)
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])
    assert len(asked) == 2  # each view once
    fresh = len(seen)
    pretrain(tmp_path / "b", "--teacher", tmp_path / "teacher.pt", epochs=3)
    assert not torch.equal(seen[fresh], seen[fresh + 2])
    assert len(asked) == 2 + 3


def test_random_numbers_for_each_purpose_and_epoch():
    def drawn(run_seed, what, number):
        checkpoint.seed({"seed": run_seed}, what, number)
        return torch.rand(()).item()

    cases = list(itertools.product((0, 1), (train.VARIANTS, train.STEPS), (0, 1, 2)))
    numbers = {case: drawn(*case) for case in cases}
    assert len(set(numbers.values())) == len(cases)
    assert all(drawn(*case) == number for case, number in numbers.items())


def test_teachers_answer_with_the_mean_of_their_logits():
    torch.manual_seed(8)
    one, other = model.Teacher(8, 1, 3, (6, 7)), network()
    options = vars(train.parser().parse_args(["pretrain", "--out", "x"]))
    training = train.Training(network(), [one, other], options, torch.device("cpu"))
    x = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        answers = [one(x), other(x)]
    expected = sum(answers) / 2
    torch.testing.assert_close(training.taught(x, view=0), expected)
    assert not any(torch.allclose(expected, answer, atol=1e-3) for answer in answers)


@pytest.mark.parametrize(
    "command",
    [
        ["noise", "--from", "x", "--model", "AIHWKIT", "--chips", "2", "--fresh", "1", "--muon", "0.01"],
        ["noise", "--from", "x", "--eta", "0.04", "--clip", "2"],
        ["teacher", "--out", "x"],
    ],
)
def test_all_that_computes_is_on_one_device(monkeypatch, command):
    """PyTorch's device without memory does not mix with the CPU either: an epoch gets as far as its first number."""
    options = vars(train.parser().parse_args([*command, "--average", "0.9"]))
    monkeypatch.setattr(train.Training, "autocast", lambda *_: contextlib.nullcontext())  # unknown there
    images = dataclasses.replace(data.load(str(DIGITS), None), cutmix=0.5, cutout=2)
    device = torch.device("meta")
    teachers = [model.Teacher(8, 1, 10, (6, 7)), model.ResNet(architecture("joshi-resnet8"), 1, 10)]
    student = model.Teacher(8, 1, 10, (6, 7)) if command[0] == "teacher" else teachers[1]
    training = train.Training(student, teachers, {**options, "distill": 0.9, "temperature": 4.0}, device)
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):
        training.epoch(data.Images(images.training, images, device), 0)


def test_all_networks_are_compiled_but_wide_teachers(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **_: compiled.append(module))
    options = vars(train.parser().parse_args(["pretrain", "--out", "x", "--compile"]))
    taught, wide, other = network(), model.Teacher(8, 1, 3, (6, 7)), network()
    training = train.Training(taught, [wide, other], options, torch.device("cpu"))
    assert compiled == [taught, training.average.module, other]


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
@pytest.mark.parametrize("flag", ["--bf16", "--no-bf16"])
def test_a_stage_says_that_bfloat16_is_slow_here(tmp_path, capsys, monkeypatch, capability, flag):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    pretrain(tmp_path, flag, epochs=1)
    slow = (capability, flag) == ("AVX2", "--bf16")
    assert slow == ("faster without --bf16" in capsys.readouterr().err)
    assert not train.emulates_bf16(torch.device("cuda"))


def test_a_stage_goes_on_from_another(tmp_path):
    pretrain(tmp_path / "a", epochs=1)
    pretrain(tmp_path / "b", "--from", tmp_path / "a" / "pretrain.pt", "--lr", 0, epochs=1)
    one, other = (tensors(tmp_path / name / "pretrain.pt")["fc.weight"] for name in "ab")
    assert torch.equal(one, other)
    assert [line["stage"] for line in tensors(tmp_path / "b" / "pretrain.pt", "log")] == ["pretrain"] * 2


def tensors_of(network):
    """The tensors of a network's layers, by the layer's number and the tensor's name."""
    for number, layer in enumerate(network.layers):
        for name in (name.rstrip("?") for name in layer.tensors):
            if (tensor := getattr(layer, name)) is not None:
                yield (number, name), tensor


FEW = ["--epochs", 1, "--device", "cpu"]
STILL = [*FEW, "--lr", 0, "--clip", "inf"]


def test_a_stage_starts_from_a_network_file(tmp_path):
    run("noise", "--from", DIGITS, "--out", tmp_path / "on", *STILL)
    source, options = pcmref.load(DIGITS), tensors(tmp_path / "on" / "noise.pt", "options")
    assert (options["arch"], options["data"], options["all_data"]) == ("joshi-resnet8", str(DIGITS), True)
    run("export", tmp_path / "on" / "noise.pt", tmp_path / "on.h5")
    again = pcmref.load(tmp_path / "on.h5")
    found = dict(tensors_of(again))
    for name, tensor in tensors_of(source):
        if name[1] not in {"mean", "var"}:  # those follow the images
            np.testing.assert_array_equal(found[name], tensor)
    assert again.provenance["epochs"] == f"{source.provenance['epochs']}; then 0 without noise, 1 with noise"
    commands = again.provenance["commands"].splitlines()
    assert commands[:-2] == source.provenance["commands"].splitlines()
    assert [command.split()[1] for command in commands[-2:]] == ["noise", "export"]


def test_dead_channels_start_anew():
    net, images = network().eval(), torch.rand(5, 1, 8, 8)
    block = net.layer2[0]
    with torch.no_grad():
        block.conv1.weight *= 1e-3
        net.layer1[0].conv1.weight[2] = 0
        for dead in (1, 4):
            block.conv1.weight[dead] *= 1e-4
            block.bn1.weight[dead], block.bn1.bias[dead] = 0.3, -1.0
            block.bn1.running_var[dead] = 1e-9
        before = [parameter.clone() for parameter in net.parameters()]
        logits = net(images)
        assert model.revive(net) == 3
        torch.testing.assert_close(net(images), logits)
        sizes = block.conv1.weight.std(dim=(1, 2, 3))
        assert sizes.max() < 2 * sizes.min()
        assert not torch.equal(block.conv1.weight[1], block.conv1.weight[4])
        assert (block.bn1.bias == 0).all()
        assert block.bn1.running_var.min() > 0.1
    pairs = zip(net.named_parameters(), before, strict=True)
    changed = [name for (name, parameter), earlier in pairs if (parameter != earlier).any()]
    assert changed == [
        *("layer1.0.conv1.weight", "layer1.0.conv2.weight"),
        *(f"layer2.0.{name}" for name in ("conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight")),
    ]
    assert (block.conv2.weight[:, [1, 4]] == 0).all()
    assert (block.conv2.weight[:, [0, 2, 3, 5]] != 0).any()
    assert model.revive(net) == 0


def test_a_stage_revives_channels(tmp_path, capsys):
    pretrain(tmp_path, epochs=1)
    state = torch.load(tmp_path / "pretrain.pt", weights_only=True)
    state["average"]["layer1.0.conv1.weight"][3] = 0
    torch.save(state, tmp_path / "pretrain.pt")
    for flags in ([], ["--revive"]):
        out = tmp_path / f"{len(flags)}"
        run("noise", "--from", tmp_path / "pretrain.pt", "--out", out, *STILL, *flags)
        assert bool(flags) == tensors(out / "noise.pt")["layer1.0.conv1.weight"][3].any()
        assert bool(flags) == ("noise: 1 dead channels start anew" in capsys.readouterr().err)
    run("noise", "--from", tmp_path / "pretrain.pt", "--out", out, *STILL, *flags)  # goes on
    assert "dead" not in capsys.readouterr().err


def test_a_network_file_is_exported_with_statistics_of_fresh_chips(tmp_path):
    command = ["export", DIGITS, tmp_path / "again.h5", "--statistics", "NANDAKUMAR_2019"]
    run(*command)
    source, again = (pcmref.load(path) for path in (DIGITS, tmp_path / "again.h5"))
    for name in ("title", "epochs"):
        assert again.provenance[name] == source.provenance[name]
    assert again.provenance["commands"].endswith("again.h5 --statistics NANDAKUMAR_2019")
    first, second = (dict(tensors_of(network)) for network in (source, again))
    for name, tensor in first.items():
        assert np.array_equal(second[name], tensor) == (name[1] not in {"mean", "var"}), name
    run(*command)
    for name, tensor in tensors_of(pcmref.load(tmp_path / "again.h5")):
        np.testing.assert_array_equal(tensor, second[name])


def test_new_statistics_are_those_of_training_images_on_fresh_chips(tmp_path, monkeypatch):
    weights, seen = torch.linspace(-1, 1, 20), []

    def spy(_, images, disturbance):
        seen.extend([images.pixels, disturbance(weights, measure.CHIPS)])

    monkeypatch.setattr(export, "measure_statistics", spy)
    run("export", DIGITS, tmp_path / "again.h5", "--statistics", "NANDAKUMAR_2019")
    images, chips = seen
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1), pcmref.load(DIGITS).calibration.images)
    checkpoint.seed({"seed": 0}, checkpoint.STATISTICS, 0)
    fresh = noise.devices(pcmref.MODELS["NANDAKUMAR_2019"], 25, 25, fresh=measure.CHIPS)
    assert torch.equal(chips, fresh(weights, measure.CHIPS))


def test_statistics_are_means_over_batches_and_chips(monkeypatch):
    monkeypatch.setattr(measure, "CHUNK", 80)
    digits = data.load(str(DIGITS), None)
    images = data.Images(digits.training.first(240), digits, torch.device("cpu"))
    net = network().eval()
    batches = [images.batch(slice(start, start + 80))[0] for start in (0, 80, 160)]

    def expected(sizes):
        found = []
        for batch in batches:
            parts = zip(batch.tensor_split(len(sizes)), sizes, strict=True)
            with torch.no_grad():
                x = torch.cat([size * net.conv1([part])[0] for part, size in parts])
            found.append(torch.stack([x.mean(dim=(0, 2, 3)), x.transpose(0, 1).flatten(1).var(dim=1)]))
        return torch.stack(found).mean(dim=0)

    def uneven(weights, chips):
        return torch.stack([weights * (0.5 + chip) for chip in range(chips)])

    for disturbance, sizes in ((None, [1]), (uneven, [0.5, 1.5, 2.5, 3.5, 4.5])):
        measure.measure_statistics(net, images, disturbance)
        found = torch.stack([net.bn1.running_mean, net.bn1.running_var])
        torch.testing.assert_close(found, expected(sizes), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shortcut", ["joshi", "he"])
def test_a_network_file_holds_what_a_checkpoint_does(tmp_path, shortcut):
    pretrain(tmp_path, "--arch", f"{shortcut}-resnet14", "--all-data", epochs=1)
    run("export", tmp_path / "pretrain.pt", tmp_path / "network.h5")
    whole, found = (
        checkpoint.read_checkpoint(tmp_path / name, torch.device("cpu")) for name in ("pretrain.pt", "network.h5")
    )
    assert found["options"]["arch"] == whole["options"]["arch"] == f"{shortcut}-resnet14"
    assert found["normalisation"] == whole["normalisation"]
    assert found["earlier"]["validation"] == "none"
    for name, tensor in whole["average"].items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(found["average"][name], tensor)


def test_a_network_file_teaches(tmp_path):
    student = ["noise", "--from", DIGITS, *FEW]
    run(*student, "--out", tmp_path / "alone")
    run(*student, "--out", tmp_path / "taught", "--teacher", DIGITS)
    alone, taught = (tensors(tmp_path / name / "noise.pt")["fc.weight"] for name in ("alone", "taught"))
    assert not torch.equal(alone, taught)


def test_a_stage_starts_from_the_mean(tmp_path):
    for name, rate in (("a", 0.01), ("b", 0.05)):
        pretrain(tmp_path / name, "--lr", rate, epochs=1)
    sources = [tmp_path / name / "pretrain.pt" for name in "ab"]
    run("noise", "--from", *sources, "--out", tmp_path / "mean", *STILL)
    one, other = map(tensors, sources)
    mean = tmp_path / "mean" / "noise.pt"
    for name in ("conv1.weight", "layer3.0.bn2.weight", "fc.bias"):
        torch.testing.assert_close(tensors(mean)[name], (one[name] + other[name]) / 2)
    assert [command.split()[1] for command in tensors(mean, "commands")] == ["pretrain", "pretrain", "noise"]
    assert [line["stage"] for line in tensors(mean, "log")] == ["pretrain", "noise"]


def test_validation_images_that_one_of_several_has_seen_are_seen(tmp_path):
    pretrain(tmp_path / "a", epochs=1)
    pretrain(tmp_path / "b", "--all-data", epochs=1)
    run("noise", "--from", *(tmp_path / name / "pretrain.pt" for name in "ab"), "--out", tmp_path, *FEW)
    assert tensors(tmp_path / "noise.pt", "options")["all_data"]
    assert "accuracy" not in tensors(tmp_path / "noise.pt", "log")[-1]


def refusal(capsys, *arguments):
    assert train.main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def test_networks_without_a_mean(tmp_path, capsys):
    pretrain(tmp_path / "a", epochs=1)
    pretrain(tmp_path / "b", "--arch", "joshi-resnet14", epochs=1)
    one, other = (tmp_path / name / "pretrain.pt" for name in "ab")
    error = refusal(capsys, "noise", "--from", one, other, "--out", tmp_path, *FEW)
    assert f"arch of {other}: expected 'joshi-resnet8', as of {one}, found 'joshi-resnet14'" in error
    run("teacher", "--data", DIGITS, "--widths", 8, 12, "--out", tmp_path, *FEW)
    error = refusal(capsys, "noise", "--from", one, tmp_path / "teacher.pt", "--out", tmp_path, *FEW)
    assert "expected a network for crossbars, found a teacher" in error


def test_results_go_elsewhere_than_beside_a_network_file(capsys):
    assert "out: expected a directory, to start from a network file" in refusal(capsys, "noise", "--from", DIGITS)


def changed(path, **changes):
    """Write the bundled network with changes of its values."""
    pcmref.save(path, dataclasses.replace(pcmref.load(DIGITS), **changes))
    return path


def test_network_files_of_other_networks(tmp_path, capsys):
    digits = pcmref.load(DIGITS)
    *front, last = digits.layers
    renamed = (*front, dataclasses.replace(last, name="linear"))
    softened = tuple(
        dataclasses.replace(layer, eps=1e-3) if isinstance(layer, BatchNorm) else layer for layer in digits.layers
    )
    pooled = tuple(
        MaxPool(name=layer.name, inputs=layer.inputs, kernel=1, stride=1, padding=0) if layer.name == "relu1" else layer
        for layer in digits.layers
    )
    pcmref.save(tmp_path / "tiny.h5", tiny(calibration=None, evaluation=None))
    for path, expected in (
        (changed(tmp_path / "renamed.h5", layers=renamed), "expected the layers of joshi-resnet8, found others"),
        (changed(tmp_path / "pooled.h5", layers=pooled), "expected the layers of joshi-resnet8, found others"),
        (changed(tmp_path / "eps.h5", layers=softened), "expected the layers of joshi-resnet8, found others"),
        (tmp_path / "tiny.h5", "expected a residual network for CIFAR-10 or with its images, found another"),
        (
            changed(tmp_path / "bare.h5", calibration=None, evaluation=None),
            "expected a residual network for CIFAR-10 or with its images, found another",
        ),
    ):
        assert f"{path}: {expected}" in refusal(capsys, "noise", "--from", path, "--out", tmp_path, *FEW)
    (tmp_path / "cut.h5").write_bytes(DIGITS.read_bytes()[:5000])
    assert "cut.h5" in refusal(capsys, "noise", "--from", tmp_path / "cut.h5", "--out", tmp_path, *FEW)


def test_images_of_another_scale(tmp_path, capsys):
    scale = Normalisation(full_scale=16.0, mean=(0.25,), std=(0.5,))
    path = changed(tmp_path / "other.h5", normalisation=scale)
    state = checkpoint.read_checkpoint(path, torch.device("cpu"))
    state["options"] = {**state["options"], "data": str(DIGITS)}
    torch.save(state, tmp_path / "other.pt")
    own = ["--from", DIGITS, "--out", tmp_path / "x", *FEW]
    assert "normalisation of the network" in refusal(capsys, "noise", *own, "--teacher", tmp_path / "other.pt")
    mixed = ["--from", tmp_path / "other.pt", "--out", tmp_path / "x", *FEW]
    assert "normalisation of the network" in refusal(capsys, "noise", *mixed)
    pretrain(tmp_path, epochs=1)
    early = checkpoint.read_checkpoint(tmp_path / "pretrain.pt", torch.device("cpu"))
    del early["normalisation"]
    torch.save(early, tmp_path / "early.pt")
    for both in itertools.permutations([tmp_path / "early.pt", DIGITS]):
        run("noise", "--from", *both, "--out", tmp_path / both[0].stem, *STILL)
        written = checkpoint.read_checkpoint(tmp_path / both[0].stem / "noise.pt", torch.device("cpu"))
        assert written["normalisation"] == checkpoint.read_checkpoint(DIGITS, torch.device("cpu"))["normalisation"]
    several = ["--from", tmp_path / "pretrain.pt", tmp_path / "other.pt", "--out", tmp_path / "x", *FEW]
    assert f"normalisation of {tmp_path / 'other.pt'}: expected" in refusal(capsys, "noise", *several)


@pytest.mark.parametrize(("option", "value"), [("--cutout", 3), ("--cutmix", 0.5)])
def test_parts_of_the_images_can_be_blanked_or_exchanged(tmp_path, option, value):
    pretrain(tmp_path / "off", epochs=1)
    pretrain(tmp_path / "none", option, 0, epochs=1)
    pretrain(tmp_path / "some", option, value, epochs=1)
    off, none, some = (tensors(tmp_path / name / "pretrain.pt")["fc.weight"] for name in ("off", "none", "some"))
    assert torch.equal(off, none)
    assert not torch.equal(off, some)


@pytest.mark.parametrize(
    ("option", "value"), [("--views", "-1"), ("--cutout", "-1"), ("--cutout", "1.5"), ("--average", "1")]
)
def test_numbers_out_of_range(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit):
        train.main(["pretrain", "--out", str(tmp_path), f"{option}={value}"])
    assert f"argument {option}: invalid " in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--cutmix", "--distill", "--average", "--smoothing"])
@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan"])
def test_shares_are_from_0_to_1(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit):
        train.main(["pretrain", "--out", str(tmp_path), f"{option}={value}"])
    assert f"argument {option}: invalid " in capsys.readouterr().err


def test_running_average(tmp_path):
    pretrain(tmp_path / "off", epochs=1)
    model, average = (tensors(tmp_path / "off" / "pretrain.pt", which) for which in ("model", "average"))
    assert all(torch.equal(model[name], average[name]) for name in model)
    pretrain(tmp_path / "on", "--average", 0.5, epochs=1)
    averaged = tensors(tmp_path / "on" / "pretrain.pt", "average")
    assert torch.equal(tensors(tmp_path / "on" / "pretrain.pt")["fc.weight"], model["fc.weight"])
    assert not torch.equal(averaged["fc.weight"], model["fc.weight"])
    assert not torch.equal(averaged["bn1.running_var"], model["bn1.running_var"])


def test_a_teacher_is_heard(tmp_path, capsys):
    run("teacher", "--data", DIGITS, "--widths", 8, 12, "--out", tmp_path, "--epochs", 2, "--device", "cpu")
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in log] == ["teacher", "teacher"]
    teacher = tmp_path / "teacher.pt"
    pretrain(tmp_path / "alone", epochs=1)
    pretrain(tmp_path / "taught", "--teacher", teacher, epochs=1)
    pretrain(tmp_path / "deaf", "--teacher", teacher, "--distill", 0, epochs=1)
    alone, taught, deaf = (
        tensors(tmp_path / name / "pretrain.pt")["fc.weight"] for name in ("alone", "taught", "deaf")
    )
    assert not torch.equal(taught, alone)
    torch.testing.assert_close(deaf, alone)
    student = tmp_path / "taught" / "pretrain.pt"
    run("noise", "--from", student, "--teacher", teacher, student, "--epochs", 1, "--device", "cpu")
    assert tensors(tmp_path / "taught" / "noise.pt", "options")["teacher"] == [str(teacher), str(student)]
    commands = tensors(tmp_path / "taught" / "noise.pt", "commands")
    assert [command.split()[1] for command in commands] == ["teacher", "pretrain", "noise"]
    few = ["--epochs", 1, "--device", "cpu"]
    later = tmp_path / "taught" / "noise.pt"
    run("noise", "--from", student, "--teacher", later, "--out", tmp_path / "again", *few)
    history = tensors(tmp_path / "again" / "noise.pt", "commands")
    assert history[:-1] == commands  # a teacher that went on from the same student comes after it
    copy = tmp_path / "copy.h5"
    copy.write_bytes(DIGITS.read_bytes())
    assert train.main(["pretrain", "--data", str(copy), "--out", str(tmp_path / "x"), "--teacher", str(teacher)]) == 2
    assert f"data of the teacher: expected {str(copy)!r}, found {str(DIGITS)!r}" in capsys.readouterr().err


def test_validation_images_stay_unseen(tmp_path, capsys):
    few, alone = ["--data", str(DIGITS), "--epochs", 1, "--device", "cpu"], tmp_path / "alone"
    run("teacher", *few, "--all-data", "--widths", 8, 12, "--out", tmp_path)
    pretrain(alone, epochs=1)
    other = ["noise", "--from", str(alone / "pretrain.pt"), "--teacher", str(tmp_path / "teacher.pt")]
    assert train.main(other) == 2
    assert "all_data of the teacher: expected False" in capsys.readouterr().err
    assert "accuracy" in tensors(alone / "pretrain.pt", "log")[-1]
    run(*other, "--all-data", "--epochs", 1, "--out", tmp_path / "all", "--device", "cpu")
    run("noise", "--from", tmp_path / "all" / "noise.pt", "--epochs", 1, "--out", tmp_path / "on", "--device", "cpu")
    for name in ("all", "on"):
        assert "accuracy" not in tensors(tmp_path / name / "noise.pt", "log")[-1]


@pytest.mark.parametrize("place", [["--data-dir", "/home/me/data"], ["--data-dir=/home/me/data"], []])
def test_commands_are_kept_without_places(place):
    command = ["teacher", "--data", "cifar10", *place, "--out", "a b", "--epochs", "20"]
    assert train.recorded(command) == "train.py teacher --data cifar10 --out 'a b' --epochs 20"


def test_loss_with_a_teacher():
    options = {"smoothing": 0.0, "distill": 0.25, "temperature": 3.0}
    rng = torch.Generator().manual_seed(8)
    logits, taught = torch.randn(2, 5, 4, generator=rng, dtype=torch.float64)
    targets = torch.softmax(torch.randn(5, 4, generator=rng, dtype=torch.float64), dim=1)
    p, q = (torch.softmax(v / 3, dim=1) for v in (taught, logits))
    own = -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()
    heard = (p * (p / q).log()).sum(dim=1).mean()
    assert train.loss_of(logits, targets, taught, options) == pytest.approx(0.75 * own + 0.25 * 9 * heard)
    assert train.loss_of(logits, targets, None, options) == pytest.approx(own)


def test_the_teacher_s_first_layer_whitens():
    images, teacher = digits(), model.Teacher(8, 1, 10, (6, 7))
    teacher.whiten_as(images, count=500, floor=0.0)
    with torch.no_grad():
        out = teacher.whiten(images.batch(slice(500))[0])
    rows = out.transpose(0, 1).flatten(1)
    assert out.shape[1] == 8
    torch.testing.assert_close(rows[:4], -rows[4:])
    torch.testing.assert_close(rows[:4] @ rows[:4].T / rows.shape[1], torch.eye(4), rtol=0, atol=1e-4)


def test_trained_with_the_errors_of_devices(tmp_path):
    pretrain(tmp_path, epochs=1)
    model = ["--model", "NANDAKUMAR_2019", "--times", 25, 1e6, "--device", "cpu"]
    run("noise", "--from", tmp_path / "pretrain.pt", "--epochs", 1, "--out", tmp_path / "devices", *model)
    run("noise", "--from", tmp_path / "pretrain.pt", "--epochs", 1, "--out", tmp_path / "gauss", "--device", "cpu")
    devices, gauss = (tensors(tmp_path / name / "noise.pt")["conv1.weight"] for name in ("devices", "gauss"))
    assert not torch.equal(devices, gauss)
    assert train.main(["noise", "--from", str(tmp_path / "pretrain.pt"), "--model", "x", "--out", str(tmp_path)]) == 2


def test_chips_share_each_batch(tmp_path, monkeypatch):
    shares = []

    class Spy(model.BatchNorm):
        def forward(self, batches):
            shares.append([len(batch) for batch in batches])
            return super().forward(batches)

    pretrain(tmp_path, epochs=1)
    monkeypatch.setattr(model, "BatchNorm", Spy)
    run("noise", "--from", tmp_path / "pretrain.pt", "--epochs", 1, "--chips", 3, "--batch", 100, "--device", "cpu")
    assert [34, 33, 33] in shares  # a step
    assert [50] in shares  # the validation images
    assert tensors(tmp_path / "noise.pt", "options")["chips"] == 3


def test_distortions():
    images = torch.rand(4, 2, 9, 9, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(judge.turned(images), images)
    torch.testing.assert_close(judge.turned(images, degrees=90), images.rot90(-1, dims=(2, 3)))  # clockwise
    disc = ((torch.arange(9.0) - 4) ** 2)[:, None] + (torch.arange(9.0) - 4) ** 2
    ball = (disc < 10).float().expand(1, 1, 9, 9)
    assert judge.turned(ball, zoom=1.5).sum() < 0.7 * ball.sum() < ball.sum() < judge.turned(ball, zoom=0.8).sum()
    pale = judge.faded(images, 0.6)
    torch.testing.assert_close(pale.mean(dim=(2, 3)), images.mean(dim=(2, 3)))
    torch.testing.assert_close(pale.std(dim=(2, 3)), 0.6 * images.std(dim=(2, 3)))
    blurred = judge.blurred(images)
    assert blurred.shape == images.shape
    torch.testing.assert_close(blurred[:, :, 3, 5], images[:, :, 3:5, 5:7].mean(dim=(2, 3)))
    for name, change in judge.DISTORTIONS.items():
        assert not torch.allclose(change(images), images, atol=0.05), name


def test_networks_are_judged_by_distorted_training_images(tmp_path, capsys):
    bundled = pcmref.load(DIGITS)
    assert judge.main([str(DIGITS), "--images", "200"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    *found, path = line.split()
    assert path == str(DIGITS)
    assert header.split()[-1] == "mean"
    first = bundled.calibration.first(200)
    expected = [100 * pcmref.accuracy(digital(bundled, first.images), first.labels)]
    for name in judge.DISTORTIONS:
        images = judge.distorted(first, name, 16.0).images
        expected.append(100 * pcmref.accuracy(digital(bundled, images), first.labels))
    assert found == [f"{value:.2f}" for value in [*expected, np.mean(expected[1:])]]
    assert len(set(found)) > 2
    assert judge.main([str(tmp_path / "none.pt")]) == 2
    assert "expected the checkpoint of an earlier stage, found nothing" in capsys.readouterr().err


def test_networks_are_judged_on_the_same_chips(capsys, monkeypatch):
    monkeypatch.setattr(judge, "DISTORTIONS", {name: judge.DISTORTIONS[name] for name in ("+12 deg", "faded")})
    arguments = ["--images", "150", "--model", "NANDAKUMAR_2019", "--chips", "3"]
    assert judge.main([str(DIGITS), str(DIGITS), *arguments]) == 0
    header, line, again = capsys.readouterr().out.splitlines()
    assert line == again
    assert header.split()[-5:] == ["mean", "25", "s", "1", "d"]
    bundled = pcmref.load(DIGITS)
    first, samples = bundled.calibration.first(150), data.load(str(DIGITS), None)
    net = checkpoint.restored(checkpoint.read_checkpoint(DIGITS, torch.device("cpu")), samples)
    for found, (t_s, fresh) in zip(line.split()[-3:-1], ((25.0, 1), (86_400.0, 0)), strict=True):
        correct = []
        for chip, name in itertools.product(range(3), judge.DISTORTIONS):
            changed = data.Images(judge.distorted(first, name, 16.0), samples, torch.device("cpu"))
            torch.manual_seed(chip)
            errors = noise.devices(pcmref.MODELS["NANDAKUMAR_2019"], t_s, t_s, fresh)
            correct.append(measure.accuracy(net, changed, errors))
        assert found == f"{np.mean(correct):.2f}"
        assert len(set(correct)) > 1
    assert judge.main([str(DIGITS), "--model", "PCM"]) == 2
    assert "model: expected " in capsys.readouterr().err
