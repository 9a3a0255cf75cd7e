"""The digital operations between crossbars, in float32, element by element; SPEC.md, section 9."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.periphery import added, rectified
from pcmref.arrays import Float32, overflowing
from pcmref.errors import ParameterError, describe
from pcmref.inference.corrections import Corrections, Statistics, stored_statistics
from pcmref.network.layers import Add, BatchNorm, GlobalAveragePool, Layer, MaxPool, PadShortcut, Relu

__all__ = ["fold", "folded", "global_average_pool", "max_pool", "operation", "pad_shortcut"]


def operation(layer: Layer) -> Callable[..., Float32]:
    """Return the function of a digital node but a batch normalisation: of what it reads, shape (n, ...) each."""
    match layer:
        case Relu():
            return rectified
        case Add():
            return added
        case PadShortcut():
            return lambda x: pad_shortcut(layer, x)
        case MaxPool():
            return lambda x: max_pool(layer, x)
        case GlobalAveragePool():
            return global_average_pool
    raise ParameterError(f"graph/{layer.name}", "a known operation", describe(layer.op))


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


def pad_shortcut(layer: PadShortcut, x: Float32) -> Float32:
    """Return every `stride`-th pixel with zero channels before and after (option A of [H16])."""
    return np.pad(x[:, :: layer.stride, :: layer.stride], ((0, 0), (0, 0), (0, 0), (layer.before, layer.after)))


def max_pool(layer: MaxPool, x: Float32) -> Float32:
    """Return the largest value of each window, a zero as +0, shape ``(n, out_height, out_width, channels)``."""
    border = (layer.padding, layer.padding)
    padded = np.pad(x, ((0, 0), border, border, (0, 0)), constant_values=-np.inf)
    y = _largest(layer, _largest(layer, padded, axis=1), axis=2)
    y += np.float32(0)  # the larger of -0 and 0 may be either; the sum is +0
    return y


def _largest(layer: MaxPool, x: Float32, axis: int) -> Float32:
    """Return the largest value of each window along one axis of the image."""
    steps = (x.shape[axis] - layer.kernel) // layer.stride
    first = np.moveaxis(x, axis, 0)
    y = first[: steps * layer.stride + 1 : layer.stride].copy()
    for place in range(1, layer.kernel):
        np.maximum(y, first[place : place + steps * layer.stride + 1 : layer.stride], out=y)
    return np.moveaxis(y, 0, axis)


def global_average_pool(x: Float32) -> Float32:
    """Return the mean over pixels: summed in float64 in raster order, divided, rounded to float32."""
    n, height, width, channels = x.shape
    sums = kernels().moments(x.reshape(n, height * width, channels))[:, 0]
    return np.asarray(sums / (height * width), np.float32)
