"""Real input: our CIFAR-10 network and the public checkpoints, on CIFAR-10's test images.

Needs ``PCMREF_DATA`` (CIFAR-10); the checkpoints of the He-style ResNets also ``PCMREF_PRETRAINED`` and PyTorch.
"""

import os
from pathlib import Path

import numpy as np
import pytest

import pcmref
from pcmref.files.cifar10 import LOCATION_VARIABLE, load_cifar10
from pcmref.importers.checkpoints import convert

FOLDER = os.environ.get("PCMREF_PRETRAINED")
pytestmark = pytest.mark.skipif(
    LOCATION_VARIABLE not in os.environ, reason=f"{LOCATION_VARIABLE} (CIFAR-10) is not set"
)
needs_checkpoints = pytest.mark.skipif(not FOLDER, reason="PCMREF_PRETRAINED (public checkpoints) is not set")
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def test_images():
    return load_cifar10(split="test")


def torch_logits(path, images, blocks):
    """The same network in PyTorch, written out, in float64: its float32 differs from processor to processor."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    state = {name.removeprefix("module."): tensor.double() for name, tensor in state.items()}
    mean, std = (torch.tensor(v).double().view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

    def norm(x, name):
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, False, 0.0, 1e-5)

    def block(x, name, stride):
        y = F.relu(norm(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
        y = norm(F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
        if stride == 2:
            half = x.shape[1] // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
        return F.relu(x + y)

    outputs = []
    with torch.no_grad():
        for start in range(0, len(images), 200):
            x = torch.tensor(images[start : start + 200]).permute(0, 3, 1, 2).double() / 255
            x = F.relu(norm(F.conv2d((x - mean) / std, state["conv1.weight"], padding=1), "bn1"))
            for stage in (1, 2, 3):
                for number in range(blocks):
                    x = block(x, f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1)
            outputs.append(F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"]).numpy())
    return np.concatenate(outputs)


CHECKPOINTS = {"he-resnet20": ("resnet20-12fca82f.th", 3, 9173), "he-resnet32": ("resnet32-d509ac18.th", 5, 9263)}


@needs_checkpoints
@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("arch", CHECKPOINTS)
def test_digital_agrees_with_torch(arch, count, test_images):
    name, blocks, correct = CHECKPOINTS[arch]
    path, samples = Path(FOLDER) / name, test_images.first(count)
    ours = pcmref.digital(convert(path, arch), samples.images)
    theirs = torch_logits(path, samples.images, blocks)
    assert np.abs(ours - theirs).max() < 5e-5  # 2e-5 measured
    assert int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum()) <= 3 * count / 10_000
    if count == 10_000:
        assert int((ours.argmax(axis=1) == samples.labels).sum()) == correct


@needs_checkpoints
def test_compensation_on_real_images(test_images):
    """A network that was not trained for noise: chance after a day, most of it kept with GDC and AdaBS."""
    compensations = ("none", "gdc", "gdc+adabs")
    result = pcmref.retention(
        pcmref.Study(
            network=convert(Path(FOLDER) / "resnet20-12fca82f.th", "he-resnet20"),
            samples=test_images.first(500),
            calibration=load_cifar10(split="train").first(1000),
            times_s=(25.0, DAY_S),
            compensations=compensations,
        )
    )
    day = {c: result.accuracies(DAY_S, c)[0] for c in compensations}
    assert result.accuracies(25.0, "none")[0] > 0.8
    assert day["none"] < 0.2
    assert day["gdc"] > 0.7
    assert day["gdc+adabs"] > day["gdc"] - 0.03


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_the_bundled_network_has_the_accuracy_that_it_claims(count, test_images):
    net = pcmref.load(pcmref.bundled("resnet32-cifar10"))
    assert (net.weights, net.devices) == (361_722, 723_444)  # the paper's
    samples = test_images.first(count)
    correct = int((pcmref.digital(net, samples.images).argmax(axis=1) == samples.labels).sum())
    claimed = float(net.provenance["digital accuracy"].partition(" %")[0]) / 100
    spread = np.sqrt(claimed * (1 - claimed) * count)
    # of all images PyTorch, which rounds otherwise, may have a few other ones right
    assert abs(correct - claimed * count) <= (3 if count == 10_000 else 5 * spread)


@pytest.mark.parametrize(
    ("preset", "count"),
    [("paper", 500), ("chip8", 500), *(pytest.param(p, 2000, marks=pytest.mark.soak) for p in ("paper", "chip8"))],
)
def test_the_bundled_network_bears_a_day(preset, count, test_images):
    """Chip 0: within 2 points of the digital baseline. The bits are fixed, so chance has no part."""
    net = pcmref.load(pcmref.bundled("resnet32-cifar10"))
    result = pcmref.retention(
        pcmref.Study(
            network=net,
            samples=test_images.first(count),
            calibration=load_cifar10(split="train").first(2600 if count > 500 else 600),
            times_s=(DAY_S,),
            compensations=("none", "gdc+adabs"),
            readout=pcmref.PRESETS[preset],
        )
    )
    assert result.accuracies(DAY_S, "gdc+adabs")[0] > result.digital_accuracy - 0.02
    assert result.accuracies(DAY_S, "none")[0] < 0.5
    assert result.readout.ranges is None or set(result.readout.ranges) == set(net.ranges["chip8"])
