"""The digital operations between crossbars, in float32; SPEC.md, section 9.

Those that work element by element are in ``pcmref/arithmetic/periphery.py``; here are those that know where elements
lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from pcmref.arithmetic import periphery
from pcmref.arithmetic.choice import kernels
from pcmref.arrays import Float32, Float64, overflowing
from pcmref.errors import ParameterError, describe
from pcmref.inference.corrections import Corrections, Statistics, stored_statistics
from pcmref.network.layers import BatchNorm, Layer
from pcmref.network.operations import (
    Add,
    Affine,
    AveragePool,
    ChannelShuffle,
    Clip,
    Concat,
    Flatten,
    GlobalAveragePool,
    HardSigmoid,
    LeakyRelu,
    LocalResponseNorm,
    MaxPool,
    Multiply,
    PadShortcut,
    Relu,
    Sigmoid,
    TakeChannels,
    Tanh,
)
from pcmref.network.windows import Windows

__all__ = [
    "average_pool",
    "channel_shuffle",
    "concatenated",
    "flattened",
    "fold",
    "folded",
    "global_average_pool",
    "max_pool",
    "operation",
    "pad_shortcut",
    "take_channels",
]


def operation(layer: Layer) -> Callable[..., Float32]:
    """Return the function of a digital node but a batch normalisation: of what it reads, shape (n, ...) each."""
    compute = _OPERATIONS.get(type(layer))
    if compute is None:
        raise ParameterError(f"graph/{layer.name}", "a known operation", describe(layer.op))
    return partial(compute, layer)


# Batch normalisation


def folded(layer: BatchNorm, corrections: Corrections) -> tuple[Float32, Float32]:
    """Return scale and offset of a batch normalisation with its corrected statistics, or else the stored ones."""
    return fold(layer, corrections.statistics.get(layer.name) or stored_statistics(layer))


@overflowing()
def fold(layer: BatchNorm, statistics: Statistics) -> tuple[Float32, Float32]:
    """Return scale and offset of a batch normalisation, computed in float64, rounded to float32.

    ``scale = gamma / sqrt(var + eps)``, ``offset = beta - mean scale``.
    """
    scale = layer.gamma.astype(np.float64) / np.sqrt(statistics.var + layer.eps)
    offset = layer.beta.astype(np.float64) - statistics.mean * scale
    return scale.astype(np.float32), offset.astype(np.float32)


# Where elements lie


def pad_shortcut(layer: PadShortcut, x: Float32) -> Float32:
    """Return every `stride`-th pixel with zero channels before and after (option A of [H16])."""
    return np.pad(x[:, :: layer.stride, :: layer.stride], ((0, 0), (0, 0), (0, 0), (layer.before, layer.after)))


def channel_shuffle(layer: ChannelShuffle, x: Float32) -> Float32:
    """Return the channels of all groups in turn: ``k groups + q`` is the input's ``q channels / groups + k``."""
    groups = x.reshape(*x.shape[:-1], layer.groups, -1)
    return groups.swapaxes(-1, -2).reshape(x.shape)


def take_channels(layer: TakeChannels, x: Float32) -> Float32:
    """Return channels `first` to ``first + count - 1``."""
    return np.ascontiguousarray(x[..., layer.first : layer.first + layer.count])


def concatenated(*several: Float32) -> Float32:
    """Return the channels of several inputs, one input after the other."""
    return np.concatenate(several, axis=-1)


def flattened(x: Float32) -> Float32:
    """Return maps as vectors, channel by channel, in each row by row."""
    return np.moveaxis(x, -1, 1).reshape(len(x), -1)


# Pooling


def max_pool(layer: MaxPool, x: Float32) -> Float32:
    """Return the largest value of each window, a zero as +0, shape ``(n, out_height, out_width, channels)``."""
    padded, windows = _padded(layer.windows, x, -np.inf), layer.windows
    y = _largest(windows, _largest(windows, padded, axis=0), axis=1)
    y += np.float32(0)  # the larger of -0 and 0 may be either; the sum is +0
    return y


def _largest(windows: Windows, x: Float32, axis: int) -> Float32:
    """Return the largest value of each window along one axis of the image."""
    stride, dilation, extent = (pair[axis] for pair in (windows.stride, windows.dilation, windows.extent))
    first = np.moveaxis(x, axis + 1, 0)
    last = (len(first) - extent) // stride * stride + 1
    y = first[:last:stride].copy()
    for place in range(dilation, extent, dilation):
        np.maximum(y, first[place : place + last : stride], out=y)
    return np.moveaxis(y, 0, axis + 1)


def average_pool(layer: AveragePool, x: Float32) -> Float32:
    """Return the mean of each window: summed in float64 in raster order, divided, rounded to float32."""
    count = _sums(layer.windows, np.ones((1, *x.shape[1:3], 1)), 1.0 if layer.count_padding else 0.0)
    return np.asarray(_sums(layer.windows, x.astype(np.float64), 0.0) / count, np.float32)


def _sums(windows: Windows, x: Float64, padding: float) -> Float64:
    """Return the sum of each window over pixels and padding, in raster order from 0 on; beyond the padding is 0."""
    height, width = x.shape[1:3]
    top, left, bottom, right = windows.padding
    below, beside = windows.overhang(height, width)
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=padding)
    padded = np.pad(padded, ((0, 0), (0, below), (0, beside), (0, 0)))
    (down, across), (rows, columns) = windows.stride, windows.steps(height, width)
    y = np.zeros((len(x), rows, columns, x.shape[-1]))
    for i in range(windows.kernel[0]):
        for j in range(windows.kernel[1]):
            y += padded[:, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * across + 1 : across]
    return y


def global_average_pool(x: Float32) -> Float32:
    """Return the mean over pixels: summed in float64 in raster order, divided, rounded to float32."""
    n, height, width, channels = x.shape
    sums = kernels().moments(x.reshape(n, height * width, channels))[:, 0]
    return np.asarray(sums / (height * width), np.float32)


def _padded(windows: Windows, x: Float32, value: float) -> Float32:
    """Return maps with their padding, and as far beyond it as windows reach."""
    top, left, bottom, right = windows.padding
    below, beside = windows.overhang(*x.shape[1:3])
    return np.pad(x, ((0, 0), (top, bottom + below), (left, right + beside), (0, 0)), constant_values=value)


#: What a node computes, of the layer and of what it reads.
_OPERATIONS: Mapping[type[Layer], Callable[..., Float32]] = {
    Relu: lambda _, x: periphery.rectified(x),
    LeakyRelu: lambda layer, x: periphery.leaky(x, layer.slope),
    Clip: lambda layer, x: periphery.clipped(x, layer.low, layer.high),
    Sigmoid: lambda _, x: periphery.sigmoid(x),
    HardSigmoid: lambda layer, x: periphery.hard_sigmoid(x, layer.slope, layer.offset),
    Tanh: lambda _, x: periphery.hyperbolic_tangent(x),
    Affine: lambda layer, x: periphery.normalised(x, layer.scale, layer.shift),
    LocalResponseNorm: lambda layer, x: periphery.local_response(x, layer.size, layer.alpha, layer.beta, layer.bias),
    Add: lambda _, x, y: periphery.added(x, y),
    Multiply: lambda _, x, y: periphery.multiplied(x, y),
    Concat: lambda _, *several: concatenated(*several),
    PadShortcut: pad_shortcut,
    ChannelShuffle: channel_shuffle,
    TakeChannels: take_channels,
    Flatten: lambda _, x: flattened(x),
    MaxPool: max_pool,
    AveragePool: average_pool,
    GlobalAveragePool: lambda _, x: global_average_pool(x),
}
