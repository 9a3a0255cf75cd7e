"""A small network that has every operation, made of drawn numbers: what the conformance suite runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from pcmref.arithmetic.draws import Purpose, stream_key
from pcmref.arithmetic.reference import weight_words
from pcmref.arrays import Float32, UInt32
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.layers import BatchNorm, Conv, Layer, Linear
from pcmref.network.operations import Add, GlobalAveragePool, MaxPool, PadShortcut, Relu

__all__ = ["specimen"]

#: Height, width and channels of the images, and how many there are.
SHAPE, IMAGES = (6, 6, 3), 200


def specimen(seed: int) -> Network:
    """Return the network: four crossbar layers, two of them with a bias, an identity and a padded shortcut."""
    streams = iter(range(1 << 20))

    def words(count: int) -> UInt32:
        return np.asarray(weight_words(stream_key(seed, Purpose.PROGRAM, next(streams)), count)[0])

    def numbers(*shape: int, low: float = -1.0, high: float = 1.0) -> Float32:
        """Return evenly spread numbers."""
        u = (words(math.prod(shape)).astype(np.float64) + 0.5) * 2.0**-32
        return (low + (high - low) * u).astype(np.float32).reshape(shape)

    def convolution(name: str, source: str, shape: tuple[int, ...], bias: bool = False, **sizes: Any) -> Conv:
        weight = numbers(*shape) * np.float32(2.0 / math.sqrt(math.prod(shape[1:])))
        return Conv(name=name, inputs=(source,), weight=weight, bias=numbers(shape[0]) if bias else None, **sizes)

    def norm(name: str, source: str, channels: int) -> BatchNorm:
        return BatchNorm(
            name=name,
            inputs=(source,),
            gamma=numbers(channels, low=0.5),
            beta=numbers(channels),
            mean=numbers(channels),
            var=numbers(channels, low=0.5, high=2.0),
        )

    def layers() -> Iterator[Layer]:
        yield convolution("conv1", "input", (5, 3, 3, 3), padding=1)
        yield norm("norm1", "conv1", 5)
        yield Relu(name="relu1", inputs=("norm1",))
        yield MaxPool(name="pool", inputs=("relu1",), kernel=3, stride=1, padding=1)
        yield convolution("conv2", "pool", (8, 5, 3, 3), bias=True, stride=2, padding=1)
        yield norm("norm2", "conv2", 8)
        yield PadShortcut(name="shortcut", inputs=("pool",), stride=2, before=1, after=2)
        yield Add(name="sum1", inputs=("norm2", "shortcut"))
        yield Relu(name="relu2", inputs=("sum1",))
        yield convolution("conv3", "relu2", (8, 8, 1, 1))
        yield Add(name="sum2", inputs=("conv3", "relu2"))
        yield Relu(name="relu3", inputs=("sum2",))
        yield GlobalAveragePool(name="mean", inputs=("relu3",))
        yield Linear(name="classes", inputs=("mean",), weight=numbers(4, 8), bias=numbers(4))

    pixels = (words(IMAGES * math.prod(SHAPE)) >> np.uint32(24)).astype(np.uint8)
    return Network(
        input_shape=SHAPE,
        normalisation=Normalisation(full_scale=255.0, mean=(0.5, 0.5, 0.25), std=(0.25, 0.5, 0.25)),
        classes=("ant", "bee", "crab", "dog"),
        provenance={"recipe": "drawn numbers, not trained", "seed": str(seed)},
        layers=tuple(layers()),
        calibration=Samples(
            images=pixels.reshape(IMAGES, *SHAPE), labels=np.arange(IMAGES, dtype=np.int64) % 4, where="calibration"
        ),
    )
