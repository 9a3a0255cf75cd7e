"""Small things to train with on a GPU."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import pcmref
from pcmref.importers.resnet import Architecture

torch = pytest.importorskip("torch")
torch.backends.mkldnn.enabled = False  # oneDNN's bfloat16 on one thread corrupts memory without AVX-512 (PyTorch 2.13)
sys.path.append(str(Path(__file__).resolve().parent.parent))
data, feed, model = map(importlib.import_module, ("data", "feed", "model"))
torch.set_num_threads(1)  # sums in one order, whatever ran before in this process
CPU, META = torch.device("cpu"), torch.device("meta")


def network():
    """A network whose blocks have both kinds of shortcut, and no two equal numbers."""
    torch.manual_seed(1)
    net = model.ResNet(Architecture(blocks=(2, 1), channels=(4, 6), shortcut="conv"), 3, 5)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.ndim == 1:
                tensor += torch.rand_like(tensor)
    return net


def fed(batch=6, shape=(8, 8, 3), classes=5, steps=3):
    """A feed of random images, begun from progress 0.3 to 0.6."""
    torch.manual_seed(2)
    food = feed.Feed(batch * steps, batch, shape, classes, CPU, torch.float32)
    targets, answers = torch.randn(2, batch * steps, classes).softmax(dim=2)
    food.fill((torch.randn(batch * steps, *shape), targets, 3 * answers), 0.3, 0.6)
    return food


def samples(count):
    rng = np.random.default_rng(5)
    images = rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
    return data.without_test(pcmref.Samples(images=images, labels=rng.integers(10, size=count)), "files")
