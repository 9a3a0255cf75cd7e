"""Real input: our CIFAR-10 network and the public checkpoints, on CIFAR-10's test images.

Needs ``PCMREF_DATA`` (CIFAR-10); the checkpoints of the He-style ResNets also ``PCMREF_PRETRAINED`` and PyTorch.
"""

import os
from pathlib import Path

import numpy as np
import pytest

import pcmref
from pcmref.convert import convert
from pcmref.datasets import LOCATION_VARIABLE, load_cifar10

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
    """The same network in PyTorch, written out."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

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
            x = torch.tensor(images[start : start + 200]).permute(0, 3, 1, 2).float() / 255
            x = F.relu(norm(F.conv2d((x - mean) / std, state["conv1.weight"], padding=1), "bn1"))
            for stage in (1, 2, 3):
                for number in range(blocks):
                    x = block(x, f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1)
            outputs.append(F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"]).numpy())
    return np.concatenate(outputs)


@needs_checkpoints
@pytest.mark.parametrize(
    ("name", "arch", "blocks", "correct"),
    [("resnet20-12fca82f.th", "he-resnet20", 3, 9173), ("resnet32-d509ac18.th", "he-resnet32", 5, 9263)],
)
def test_digital_agrees_with_torch(name, arch, blocks, correct, test_images):
    path = Path(FOLDER) / name
    ours = pcmref.digital(convert(path, arch), test_images.images)
    assert int((ours.argmax(axis=1) == test_images.labels).sum()) == correct
    theirs = torch_logits(path, test_images.images, blocks)
    assert np.abs(ours - theirs).max() < 1e-4
    assert int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum()) <= 3


@needs_checkpoints
def test_compensation_on_real_images(test_images):
    """A network that was not trained for noise: chance after a day, most of it kept with GDC and AdaBS."""
    net = convert(Path(FOLDER) / "resnet20-12fca82f.th", "he-resnet20")
    result = pcmref.retention(
        net,
        test_images.first(1000),
        calibration=load_cifar10(split="train").first(2600),
        times_s=(25.0, 86400.0),
        compensations=("none", "gdc", "gdc+adabs"),
    )
    day = {c: result.accuracies(86400.0, c)[0] for c in ("none", "gdc", "gdc+adabs")}
    assert result.accuracies(25.0, "none")[0] > 0.8
    assert day["none"] < 0.2
    assert day["gdc"] > 0.7
    assert day["gdc+adabs"] > day["gdc"] - 0.03


def test_the_bundled_network_has_the_accuracy_that_it_claims(test_images):
    net = pcmref.load(pcmref.bundled("resnet32-cifar10"))
    assert (net.weights, net.devices) == (361_722, 723_444)  # the paper's
    correct = int((pcmref.digital(net, test_images.images).argmax(axis=1) == test_images.labels).sum())
    claimed = float(net.provenance["digital accuracy"].partition(" %")[0])
    assert abs(correct - 100 * claimed) <= 3  # images; PyTorch rounds otherwise


@pytest.mark.parametrize("preset", ["paper", "chip8"])
def test_the_bundled_network_bears_a_day(preset, test_images):
    """Chip 0 on 2,000 images: within 2 points of the digital baseline. The bits are fixed, so chance has no part."""
    net = pcmref.load(pcmref.bundled("resnet32-cifar10"))
    result = pcmref.retention(
        net,
        test_images.first(2000),
        calibration=load_cifar10(split="train").first(2600),
        times_s=(DAY_S,),
        compensations=("none", "gdc+adabs"),
        readout=pcmref.PRESETS[preset],
    )
    assert result.accuracies(DAY_S, "gdc+adabs")[0] > result.digital_accuracy - 0.02
    assert result.accuracies(DAY_S, "none")[0] < 0.5
    assert result.readout.ranges is None or set(result.readout.ranges) == set(net.ranges["chip8"])
