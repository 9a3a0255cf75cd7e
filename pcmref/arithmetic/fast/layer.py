"""A layer in one call: all stages for one image after the other, so that they meet in the processor's cache."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.fast.compiler import compiled
from pcmref.arithmetic.fast.stages import (
    digitised,
    digitised_noisy,
    drive_image,
    finished,
    noisy_sums,
    square_parts,
    sum_products,
    sum_type,
)
from pcmref.arithmetic.operands import SQUARE_BITS, AnalogLayer, Digital, Window
from pcmref.arrays import Float32, Int64, UInt64

__all__ = ["analog_layer", "float_layer"]


class _Scratch(NamedTuple):
    """Arrays for the stages of one image."""

    codes: npt.NDArray[np.int16]
    #: Squares of the codes: their low and their high bits.
    low: npt.NDArray[np.int16]
    high: npt.NDArray[np.int16]
    sums: npt.NDArray[Any]
    variance: npt.NDArray[Any]
    high_variance: npt.NDArray[Any]
    #: What a tile hands on, and the sum of it over the tiles.
    output: npt.NDArray[Any]
    total: npt.NDArray[Any]


def analog_layer(
    x: Float32, other: Float32 | None, image: UInt64, layer: AnalogLayer, digital: Digital
) -> tuple[Float32, Float32]:
    """Take a batch through a layer of a chip; see the twin."""
    residual = np.empty((len(x), 0, 0), np.float32) if other is None else np.ascontiguousarray(other)
    scratch, x = _scratch(layer), np.ascontiguousarray(x)
    out, top = _analog(x, residual, other is not None, image, layer, layer.noise, layer.adc, digital, scratch)
    return out, top


def _scratch(layer: AnalogLayer) -> _Scratch:
    """Return arrays of types that hold what a layer may compute; those that it does not use are others again."""
    window, tiles, noise, adc = layer.window, layer.tiles, layer.noise, layer.adc
    count = len(tiles.bound) - 1
    low = high = codes = np.zeros((window.height, window.width, window.channels), np.int16)
    shape = (1, len(window.pixel), tiles.conductance.packed.shape[1])
    high_variance = variance = output = sums = np.empty(shape, sum_type(tiles.conductance.segment, count))
    if noise is not None:
        low, high = np.empty_like(codes), np.empty_like(codes)
        variance = np.empty(shape, np.int64 if noise.split else sum_type(tiles.variance.segment, count))
        high_variance = np.empty_like(variance)
    if adc is not None:
        output = np.empty(shape, np.int32)
    elif noise is not None:
        output = np.empty(shape, np.int64)
    total = output
    if count > 1:
        fits = adc is not None and count * adc.limit < 1 << 31
        total = np.empty(shape, np.int32 if fits else np.int64)
    return _Scratch(codes, low, high, sums, variance, high_variance, output, total)


@compiled
def _analog(x, other, adds, image, layer, noise, adc, digital, scratch):  # type: ignore[no-untyped-def]
    # noise and adc are arguments of their own, so that what is None is not compiled
    window, tiles, pixel = layer.window, layer.tiles, layer.window.pixel
    out, top = np.empty((len(x), window.pixels, tiles.columns), np.float32), np.empty(len(x), np.float32)
    bits, factor = x.reshape(len(x), -1).view(np.int32), np.empty_like(digital.unit)
    sums, variance, output = scratch.sums, scratch.variance, scratch.output
    for i in range(len(x)):
        step, top[i] = drive_image(x[i], bits[i], window, layer.dac, scratch.codes)
        if noise is not None:
            square_parts(scratch.codes.reshape(-1), noise.split, scratch.low.reshape(-1), scratch.high.reshape(-1))
        for t in range(len(tiles.bound) - 1):
            _multiply(t, scratch.codes, pixel, tiles, tiles.conductance, sums)
            if noise is not None:
                _multiply(t, scratch.low, pixel, tiles, tiles.variance, variance)
                if noise.split:
                    _multiply(t, scratch.high, pixel, tiles, tiles.variance, scratch.high_variance)
                    _add_high(scratch.high_variance.reshape(-1), variance.reshape(-1))
                if adc is not None:
                    columns, tile = tiles.columns, np.uint64(t)
                    digitised_noisy(sums[0], variance[0], columns, noise, tile, image[i], adc, output[0])
                else:
                    noisy = output[0, : window.pixels, : tiles.columns]
                    noisy_sums(sums[0], variance[0], noise, np.uint64(t), image[i], noisy)
            elif adc is not None:
                digitised(sums.reshape(-1), adc, output.reshape(-1))
            if len(tiles.bound) > 2:
                _add(output[0], t == 0, window.pixels, tiles.columns, scratch.total[0])
        if adc is not None:
            step = np.float32(1)
        finished(scratch.total[0], step, factor, digital, adds, other[i], out[i])
    return out, top


@compiled
def _multiply(t, codes, pixel, tiles, matrix, sums):  # type: ignore[no-untyped-def]
    rows = slice(tiles.bound[t], tiles.bound[t + 1])
    segment = matrix.segment[matrix.cut[t] : matrix.cut[t + 1]]
    packed = matrix.packed.reshape(len(tiles.pair), -1)
    sum_products(codes.reshape(-1).view(np.int32).reshape(1, -1), pixel, tiles.pair[rows], packed[rows], segment, sums)


@compiled
def _add_high(high, variance):  # type: ignore[no-untyped-def]
    for k in range(len(variance)):
        variance[k] += np.int64(high[k]) << SQUARE_BITS


@compiled
def _add(output, first, pixels, columns, total):  # type: ignore[no-untyped-def]
    for p in range(pixels):
        for c in range(columns):
            total[p, c] = output[p, c] if first else total[p, c] + output[p, c]


def float_layer(
    x: Float32, other: Float32 | None, window: Window, row: Int64, matrix: Float32, digital: Digital
) -> Float32:
    """Take a batch through a layer of the digital baseline; see the twin."""
    buffer = np.zeros((window.height, window.width, window.channels), np.float32)
    if window.bias:
        buffer[..., x.shape[-1]] = 1
    sums = np.empty((1, len(window.pixel), matrix.shape[1]), np.float32)
    out = np.empty((len(x), window.pixels, len(digital.unit)), np.float32)
    residual = np.empty((len(x), 0, 0), np.float32) if other is None else np.ascontiguousarray(other)
    _floats(np.ascontiguousarray(x), residual, other is not None, window, row, matrix, digital, buffer, sums, out)
    return out


@compiled
def _floats(x, other, adds, window, row, matrix, digital, buffer, sums, out):  # type: ignore[no-untyped-def]
    n, height, width, channels = x.shape
    inputs, segment, factor = buffer.reshape(1, -1), np.array([0, len(row)]), np.empty_like(digital.unit)
    for i in range(n):
        for y in range(height):
            for z in range(width):
                for c in range(channels):
                    buffer[y + window.padding, z + window.padding, c] = x[i, y, z, c]
        sum_products(inputs, window.pixel, row, matrix, segment, sums)
        finished(sums[0], np.float32(1), factor, digital, adds, other[i], out[i])
