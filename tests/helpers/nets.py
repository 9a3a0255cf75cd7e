"""Small example networks, and what the tests do with them."""

from __future__ import annotations

import dataclasses

import numpy as np

from pcmref.importers.resnet import Architecture
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.layers import BatchNorm, Conv, Linear
from pcmref.network.operations import Add, GlobalAveragePool, MaxPool, PadShortcut, Relu

RGB = Normalisation(full_scale=255.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
#: Residual networks, by the shortcut where a stage begins.
RESIDUAL = {
    shortcut: Architecture(blocks=(1, 2, 1), channels=(2, 4, 8), shortcut=shortcut) for shortcut in ("conv", "pad")
}


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def conv(rng, name, source, channels, out, kernel=(3, 3), *, bias=False, **numbers):
    weight = normal(rng, out, channels, *kernel)
    return Conv(name=name, inputs=(source,), weight=weight, bias=normal(rng, out) if bias else None, **numbers)


def batch_norm(rng, name, source, channels):
    tensors = {tensor: normal(rng, channels) for tensor in ("gamma", "beta", "mean")}
    var = rng.uniform(0.1, 2.0, channels).astype(np.float32)
    return BatchNorm(name=name, inputs=(source,), **tensors, var=var)


def samples(rng, count, shape, classes, where):
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    return Samples(images=images, labels=rng.integers(0, classes, count), where=where)


def tiny(seed=0, **changes):
    """Every operation of residual networks, odd sizes, five crossbar layers: two with a bias, one of them no conv."""
    rng = np.random.default_rng(seed)
    shape = (6, 6, 3)
    network = Network(
        input_shape=shape,
        normalisation=RGB,
        classes=("ant", "bee", "cat", "dög"),
        provenance={"recipe": "random numbers", "seed": str(seed)},
        layers=(
            conv(rng, "conv1", "input", 3, 5, padding=1),
            batch_norm(rng, "bn1", "conv1", 5),
            Relu(name="relu1", inputs=("bn1",)),
            MaxPool(name="pool", inputs=("relu1",), kernel=3, stride=1, padding=1),
            conv(rng, "conv2", "pool", 5, 7, stride=2, padding=1),
            batch_norm(rng, "bn2", "conv2", 7),
            conv(rng, "short", "pool", 5, 7, (1, 1), stride=2, bias=True),
            Add(name="add1", inputs=("bn2", "short")),
            Relu(name="relu2", inputs=("add1",)),
            conv(rng, "conv3", "relu2", 7, 10, (3, 2), stride=2, padding=1),
            batch_norm(rng, "bn3", "conv3", 10),
            PadShortcut(name="pad", inputs=("relu2",), stride=2, before=1, after=2),
            Add(name="add2", inputs=("bn3", "pad")),
            Relu(name="relu3", inputs=("add2",)),
            GlobalAveragePool(name="mean", inputs=("relu3",)),
            Linear(name="fc", inputs=("mean",), weight=normal(rng, 4, 10), bias=normal(rng, 4)),
        ),
        evaluation=samples(rng, 5, shape, 4, "evaluation"),
        calibration=samples(rng, 3, shape, 4, "calibration"),
    )
    return dataclasses.replace(network, **changes)


def replace_layer(network, name, **changes):
    """The same network with other numbers or tensors in one layer."""
    layers = (dataclasses.replace(layer, **changes) if layer.name == name else layer for layer in network.layers)
    return dataclasses.replace(network, layers=tuple(layers))


def assert_same(one, other, where=""):
    """Fail, naming the place, unless two values are equal in every field, type and bit."""
    assert type(one) is type(other), where
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), where
    elif isinstance(one, tuple):
        assert len(one) == len(other), where
        for position, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{position}]")
    else:
        assert one == other, where


def random_tensors(arch, inputs=3, outputs=10, *, shortcut="downsample", last="linear", seed=0):
    """The state dict of a network, with batch norms whose four tensors differ in every channel."""
    rng = np.random.default_rng(seed)
    tensors = {}

    def put(name, *shape, low=-0.5, high=0.5):
        tensors[name] = rng.uniform(low, high, shape).astype(np.float32)

    def put_conv_bn(conv, bn, *shape):
        put(f"{conv}.weight", *shape)
        for part in ("weight", "bias", "running_mean"):
            put(f"{bn}.{part}", shape[0])
        put(f"{bn}.running_var", shape[0], low=0.1, high=2.0)
        tensors[f"{bn}.num_batches_tracked"] = np.array(7)

    width = arch.channels[0]
    put_conv_bn("conv1", "bn1", width, inputs, 3, 3)
    for stage, (blocks, channels) in enumerate(zip(arch.blocks, arch.channels, strict=True)):
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            put_conv_bn(f"{at}.conv1", f"{at}.bn1", channels, width, 3, 3)
            put_conv_bn(f"{at}.conv2", f"{at}.bn2", channels, channels, 3, 3)
            if arch.shortcut == "conv" and stage > 0 and block == 0:
                put_conv_bn(f"{at}.{shortcut}.0", f"{at}.{shortcut}.1", channels, width, 1, 1)
            width = channels
    put(f"{last}.weight", outputs, width)
    put(f"{last}.bias", outputs)
    return tensors
