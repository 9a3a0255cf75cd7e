"""The stages of a layer one by one, for a batch of images: loops over the rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.fast.compiler import compiled
from pcmref.arithmetic.fast.multiply_add import BLOCK_1, BLOCK_2, register_block
from pcmref.arithmetic.fast.rules import added, dac_code, dac_gain, normalised, rectified, scaled
from pcmref.arithmetic.operands import SQUARE_BITS, Dac, Digital, Window, filled_columns
from pcmref.arrays import Float32, Float64, Int16, Int64, IntegerArray

__all__ = [
    "accumulate",
    "accumulate_float",
    "accumulate_squares",
    "drive",
    "finish",
    "load_codes",
    "moments",
    "phases",
]


# DAC


def load_codes(vectors: IntegerArray, dac: Dac, driven: Int16) -> int:
    """Put vectors of codes into a buffer, if all are codes of the DAC; see the twin."""
    return int(_load_codes(vectors, int(dac.low), int(dac.high), dac.offset, driven))


@compiled
def _load_codes(vectors, low, high, offset, driven):  # type: ignore[no-untyped-def]
    n, rows = vectors.shape
    for i in range(n):
        beyond = False
        for k in range(rows):
            beyond |= vectors[i, k] < low or vectors[i, k] > high
        if beyond:
            for k in range(rows):
                if vectors[i, k] < low or vectors[i, k] > high:
                    return i * rows + k
        for k in range(rows):
            driven[i, k] = np.int64(vectors[i, k]) + offset
    return -1


def drive(x: Float32, window: Window, dac: Dac) -> tuple[Int16, Float32, Float32]:
    """Convert activations to what drives the rows, in a padded buffer; see the twin."""
    driven = np.full((len(x), window.height, window.width, window.channels), dac.offset, np.int16)
    step, top = np.empty(len(x), np.float32), np.empty(len(x), np.float32)
    _drive(np.ascontiguousarray(x), window, dac, driven, step, top)
    return driven, step, top


@compiled
def _drive(x, window, dac, driven, step, top):  # type: ignore[no-untyped-def]
    bits = x.reshape(len(x), -1).view(np.int32)
    for i in range(len(x)):
        step[i], top[i] = drive_image(x[i], bits[i], window, dac, driven[i])


@compiled
def drive_image(x, bits, window, dac, driven):  # type: ignore[no-untyped-def]
    """Fill `driven` with one image; `bits` are those of x, in one row.  Return step and largest size."""
    height, width, channels = x.shape
    offset, low, high = np.int16(dac.offset), dac.low, dac.high
    largest = np.int32(0)
    for k in range(len(bits)):
        # without its sign bit, a finite float compares like an integer; of 32 bits, as `max` would make it 64
        size = np.int32(bits[k] & np.int32(0x7FFFFFFF))
        if size > largest:
            largest = size
    top = np.full(1, largest, np.int32).view(np.float32)[0]
    full = top
    if dac.top > 0:
        full = dac.top
    elif window.bias:
        full = max(top, np.float32(1))
    gain, step = dac_gain(full, high)
    for i in range(height):
        row = driven[i + window.top, window.left : window.left + width]
        if channels == window.channels:  # one loop, long enough for vectors
            _code(x[i].reshape(-1), gain, low, high, offset, row.reshape(-1))
        else:
            for j in range(width):
                _code(x[i, j], gain, low, high, offset, row[j])
    if window.bias:
        driven[:, :, channels] = dac_code(np.float32(1), gain, low, high) + offset
    return step, top


@compiled
def _code(x, gain, low, high, offset, codes):  # type: ignore[no-untyped-def]
    for k in range(len(x)):
        codes[k] = dac_code(x[k], gain, low, high) + offset


def phases(driven: Int16, dac: Dac) -> Int16:
    """Return what drives the rows in each phase of a product; see the twin."""
    if dac.phases == 1:
        return driven[None]
    parts = np.empty((dac.phases, *driven.shape), np.int16)
    split_phases(driven.reshape(-1), dac.serial, parts.reshape(dac.phases, -1))
    return parts


@compiled
def split_phases(driven, serial, parts):  # type: ignore[no-untyped-def]
    """Fill the phases of a row of codes."""
    for phase in range(len(parts)):
        for k in range(len(driven)):
            if serial:
                parts[phase, k] = (driven[k] >> phase) & 1
            else:
                parts[phase, k] = max(driven[k] if phase == 0 else -driven[k], 0)


# Sums


def accumulate(codes: Int16, pixel: Int64, pair: Int64, packed: Int16, segment: Int64) -> npt.NDArray[Any]:
    """Sum codes times conductance codes, exactly; see the twin."""
    if pair.ndim == 2:
        return _grouped(codes, pixel, pair, packed, sum_type(segment, 1))
    inputs, panels = codes.reshape(len(codes), -1).view(np.int32), packed.reshape(*packed.shape[:2], -1)
    return _summed(inputs, pixel, pair, panels, segment, sum_type(segment, 1))


def accumulate_squares(
    codes: Int16, pixel: Int64, pair: Int64, packed: Int16, segment: Int64, split: bool
) -> npt.NDArray[Any]:
    """Sum squared codes times variance codes, exactly; see the twin."""
    low = np.empty_like(codes)
    high = np.empty_like(codes) if split else low
    square_parts(codes.reshape(-1), split, low.reshape(-1), high.reshape(-1))
    sums = accumulate(low, pixel, pair, packed, segment)
    if split:
        sums = sums + (accumulate(high, pixel, pair, packed, segment).astype(np.int64) << SQUARE_BITS)
    return sums


def accumulate_float(x: Float32, pixel: Int64, row: Int64, matrix: Float32) -> Float32:
    """Sum float32 inputs times weights in row order, without groups with fused multiply-adds; see the twin."""
    if row.ndim == 2:
        return _grouped(x, pixel, row, matrix, np.float32)
    return _summed(x.reshape(len(x), -1), pixel, row, matrix, np.array([0, len(row)]), np.float32)


def _summed(
    inputs: npt.NDArray[Any],
    pixel: Int64,
    row: Int64,
    panels: npt.NDArray[Any],
    segment: Int64,
    kind: type[np.generic],
) -> npt.NDArray[Any]:
    out = np.empty((len(inputs), len(pixel), filled_columns(1) * len(panels)), kind)
    for image, sums in zip(inputs, out, strict=True):
        sum_products(image, pixel, len(pixel), row, panels, segment, sums)
    return out


def _grouped(
    x: npt.NDArray[Any], pixel: Int64, offset: Int64, matrix: npt.NDArray[Any], kind: type[np.generic]
) -> npt.NDArray[Any]:
    _, groups, each = matrix.shape
    out = np.zeros((len(x), len(pixel), filled_columns(groups * each)), kind)
    for image, sums in zip(x.reshape(len(x), -1), out, strict=True):
        sum_grouped(image, pixel, len(pixel), offset, matrix, sums)
    return out


def sum_type(segment: Int64, tiles: int) -> type[np.signedinteger[Any]]:
    """Return what holds the sums of some tiles: 32 bits where each is one segment."""
    return np.int32 if len(segment) == 2 * tiles else np.int64


@compiled
def square_parts(codes, split, low, high):  # type: ignore[no-untyped-def]
    """Square a row of codes into 15 bits; what is above them, if anything, into 15 more."""
    if split:
        for k in range(len(codes)):
            square = np.int32(codes[k]) * np.int32(codes[k])
            low[k] = square & ((1 << SQUARE_BITS) - 1)
            high[k] = square >> SQUARE_BITS
    else:
        for k in range(len(codes)):
            low[k] = codes[k] * codes[k]


_block_1 = register_block(BLOCK_1, 1)
_block_2 = register_block(BLOCK_2, 2)


@compiled
def sum_products(x, pixel, pixels, row, weights, segment, out):  # type: ignore[no-untyped-def]
    """Sum inputs times weights for the first pixels, block by block; of codes in pairs, or of floats; for one image.

    The last block of a panel begins early enough to end with the last pixel, so some sums are computed twice.
    """
    single = 0
    if BLOCK_2 > 0:
        single = len(weights) // 2 * 2
        for v in range(0, single, 2):
            for p in range(0, pixels, BLOCK_2):
                for s in range(len(segment) - 1):
                    start = max(0, min(p, pixels - BLOCK_2))
                    _block_2(x, pixel, row, weights, out, start, v, segment[s], segment[s + 1])
    for v in range(single, len(weights)):
        for p in range(0, pixels, BLOCK_1):
            for s in range(len(segment) - 1):
                start = max(0, min(p, pixels - BLOCK_1))
                _block_1(x, pixel, row, weights, out, start, v, segment[s], segment[s + 1])


@compiled
def sum_grouped(x, pixel, pixels, offset, matrix, out):  # type: ignore[no-untyped-def]
    """Sum inputs times weights row after row from 0 on, each group of columns with its own inputs; for one image."""
    rows, groups, each = matrix.shape
    for p in range(pixels):
        total = out[p]
        total[:] = 0
        for row in range(rows):
            first = pixel[p] + offset[row, 0]
            if each == 1 and offset[row, groups - 1] - offset[row, 0] == groups - 1:  # side by side: in vectors
                for c in range(groups):
                    total[c] += total.dtype.type(x[first + c]) * total.dtype.type(matrix[row, c, 0])
            else:
                for group in range(groups):
                    value = total.dtype.type(x[pixel[p] + offset[row, group]])
                    for k in range(each):
                        total[group * each + k] += value * total.dtype.type(matrix[row, group, k])


# Digital periphery


def finish(sums: npt.NDArray[Any], step: Float32, digital: Digital, other: Float32 | None) -> Float32:
    """Turn output codes into activations; see the twin."""
    n, pixels, _ = sums.shape
    out = np.empty((n, pixels, len(digital.unit)), np.float32)
    residual = out if other is None else np.ascontiguousarray(other)
    _finish(sums, step, digital, other is not None, residual, out)
    return out


@compiled
def _finish(sums, step, digital, adds, other, out):  # type: ignore[no-untyped-def]
    factor = np.empty_like(digital.unit)
    for i in range(len(sums)):
        finished(sums[i], step[i], factor, digital, adds, other[i], out[i])


@compiled
def finished(sums, step, factor, digital, adds, other, out):  # type: ignore[no-untyped-def]
    """Finish pixels of one image; `factor` is room for a number a column."""
    pixels, columns = out.shape
    # a number rather than a branch, which LLVM would make two loops of
    floor = np.float32(0) if digital.rectify else np.float32(-np.inf)
    for c in range(columns):
        factor[c] = step * digital.unit[c]
    for p in range(pixels):
        for c in range(columns):
            y = normalised(scaled(sums[p, c], factor[c]), digital.scale[c], digital.offset[c])
            if adds:
                y = added(y, other[p, c])
            out[p, c] = rectified(y, floor)


def moments(x: Float32) -> Float64:
    """Return the sums over pixels of x and x squared; see the twin."""
    out = np.full((len(x), 2, x.shape[2]), -0.0)  # -0 + x is x, -0 included
    _moments(np.ascontiguousarray(x), out)
    return out


@compiled
def _moments(x, out):  # type: ignore[no-untyped-def]
    for image in range(x.shape[0]):
        for p in range(x.shape[1]):
            for c in range(x.shape[2]):
                value = np.float64(x[image, p, c])
                out[image, 0, c] += value
                out[image, 1, c] += value * value
