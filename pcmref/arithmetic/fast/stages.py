"""The stages of a layer one by one, for a batch of images: loops over the rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.fast.compiler import compiled
from pcmref.arithmetic.fast.draws import DRAWS, fill_normals, fill_words
from pcmref.arithmetic.fast.multiply_add import register_block
from pcmref.arithmetic.fast.noisy_adc import approximate_codes
from pcmref.arithmetic.fast.rules import (
    HALF_EVEN,
    adc_code,
    added,
    dac_code,
    dac_gain,
    limited,
    normalised,
    read_noise,
    rectified,
    scaled,
    table_code,
)
from pcmref.arithmetic.operands import LANES, PIXELS, SQUARE_BITS, Adc, Dac, Digital, Noise, Register, Table, Window
from pcmref.arrays import Float32, Float64, Int16, Int64, IntegerArray, UInt64

__all__ = [
    "accumulate",
    "accumulate_float",
    "accumulate_squares",
    "add_read_noise",
    "compare",
    "digitise",
    "digitise_noisy",
    "drive",
    "finish",
    "hold",
    "load_codes",
    "moments",
    "phases",
]

#: Pixels of a register block with one vector of columns, and with two.
BLOCK_1 = PIXELS
BLOCK_2 = PIXELS // 2
#: What makes each of `codes.ROUNDINGS` one to the nearest: it is taken off the number, and off its size.
BIAS = np.array([[0, 0], [0, 0], [0, 0], [0.5, 0], [0, 0.5]], np.float32)


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
        # without its sign bit, a finite float compares like an integer
        largest = max(largest, bits[k] & np.int32(0x7FFFFFFF))
    top = np.full(1, largest, np.int32).view(np.float32)[0]
    full = top
    if dac.top > 0:
        full = dac.top
    elif window.bias:
        full = max(top, np.float32(1))
    gain, step = dac_gain(full, high)
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                driven[i + window.padding, j + window.padding, c] = dac_code(x[i, j, c], gain, low, high) + offset
    if window.bias:
        driven[:, :, channels] = dac_code(np.float32(1), gain, low, high) + offset
    return step, top


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
    out = np.empty((len(codes), len(pixel), packed.shape[1]), sum_type(segment, 1))
    sum_products(pairs(codes), pixel, pair, packed.reshape(len(packed), -1), segment, out)
    return out


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
    """Sum float32 inputs times weights with fused multiply-adds in row order; see the twin."""
    out = np.empty((len(x), len(pixel), matrix.shape[1]), np.float32)
    sum_products(x.reshape(len(x), -1), pixel, row, matrix, np.array([0, len(row)]), out)
    return out


def pairs(codes: Int16) -> npt.NDArray[np.int32]:
    """Return a row of pairs of neighbouring codes for each image."""
    return codes.reshape(len(codes), -1).view(np.int32)


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
def sum_products(x, pixel, row, weights, segment, out):  # type: ignore[no-untyped-def]
    """Sum inputs times weights, block by block; of codes in pairs, or of floats."""
    vectors = out.shape[2] // LANES
    for image in range(x.shape[0]):
        for s in range(len(segment) - 1):
            first, last = segment[s], segment[s + 1]
            for p in range(0, len(pixel), BLOCK_1):
                for v in range(0, vectors - 1, 2):
                    _block_2(x[image], pixel, row, weights, out[image], p, v, first, last)
                    _block_2(x[image], pixel, row, weights, out[image], p + BLOCK_2, v, first, last)
                if vectors % 2 == 1:
                    _block_1(x[image], pixel, row, weights, out[image], p, vectors - 1, first, last)


# Read noise, register and ADC


def add_read_noise(
    sums: npt.NDArray[Any], variance: npt.NDArray[Any], columns: int, noise: Noise, number: int, image: UInt64
) -> Int64:
    """Add fresh read noise to sums; see the twin."""
    out = np.empty((*sums.shape[:2], columns), np.int64)
    _add_read_noise(sums, variance, noise, np.uint64(number), image, out)
    return out


@compiled
def _add_read_noise(sums, variance, noise, number, image, out):  # type: ignore[no-untyped-def]
    for i in range(len(sums)):
        noisy_sums(sums[i], variance[i], noise, number, image[i], out[i])


@compiled
def noisy_sums(sums, variance, noise, number, image, out):  # type: ignore[no-untyped-def]
    """Add read noise to the sums of one image."""
    pixels, columns = out.shape
    size = min(DRAWS, (pixels * columns + 3) // 4 * 4)
    words = np.empty(size, np.uint32)
    z = np.empty(size)
    tail = np.empty(size)
    place = np.empty(size, np.int64)
    p = 0
    c = 0
    for start in range(0, pixels * columns, size):
        fill_words(start // 4, number, image, noise.k0, noise.k1, words)
        fill_normals(words, z, tail, place)
        j = 0
        while j < size and p < pixels:
            count = min(columns - c, size - j)
            for k in range(count):
                out[p, c + k] = np.int64(sums[p, c + k]) + read_noise(z[j + k], variance[p, c + k])
            j += count
            c += count
            if c == columns:
                c = 0
                p += 1


def hold(sums: npt.NDArray[Any], register: Register) -> Int64:
    """Return what the register before the ADC holds; see the twin."""
    held = sums.astype(np.int64)
    held_sums(held.reshape(1, -1), held.size, register)
    return held


@compiled
def held_sums(sums, columns, register):  # type: ignore[no-untyped-def]
    """Put sums into the register, in place; return whether some did not fit."""
    beyond = False
    for p in range(len(sums)):
        for c in range(columns):
            held = limited(sums[p, c], register.bits, register.saturates)
            beyond |= held != sums[p, c]
            sums[p, c] = held
    return beyond


def digitise(sums: npt.NDArray[Any], columns: int, adc: Adc, number: int) -> npt.NDArray[np.int32]:
    """Convert sums to ADC codes; see the twin."""
    out = np.empty((*sums.shape[:-1], columns), np.int32)
    rows = np.ascontiguousarray(sums[..., :columns]).reshape(-1, columns)
    digitised(rows, columns, adc, number, out.reshape(-1, columns))
    return out


@compiled
def digitised(sums, columns, adc, number, out):  # type: ignore[no-untyped-def]
    """Convert rows of sums."""
    gain, offset, low, high, rounding = adc.gain[number], adc.offset[number], adc.low, adc.high, adc.rounding
    if rounding == HALF_EVEN:  # the usual one without branches
        for p in range(len(sums)):
            for c in range(columns):
                out[p, c] = adc_code(sums[p, c], gain[c], offset[c], low, high, HALF_EVEN)
    else:
        for p in range(len(sums)):
            for c in range(columns):
                out[p, c] = adc_code(sums[p, c], gain[c], offset[c], low, high, rounding)


def compare(sums: npt.NDArray[Any], columns: int, table: Table, number: int) -> npt.NDArray[np.int32]:
    """Convert sums to ADC codes by thresholds; see the twin."""
    out = np.empty((*sums.shape[:-1], columns), np.int32)
    rows = np.ascontiguousarray(sums[..., :columns]).reshape(-1, columns)
    compared(rows, columns, table, number, out.reshape(-1, columns))
    return out


@compiled
def compared(sums, columns, table, number, out):  # type: ignore[no-untyped-def]
    """Convert rows of sums by thresholds."""
    thresholds = table.thresholds[number]
    for p in range(len(sums)):
        for c in range(columns):
            out[p, c] = table_code(sums[p, c], thresholds, c, table.low)


def digitise_noisy(
    sums: npt.NDArray[Any],
    variance: npt.NDArray[Any],
    columns: int,
    noise: Noise,
    number: int,
    image: UInt64,
    adc: Adc,
) -> npt.NDArray[np.int32]:
    """Convert sums with fresh read noise to ADC codes; see the twin."""
    out = np.empty(sums.shape, np.int32)
    sums, variance = np.ascontiguousarray(sums), np.ascontiguousarray(variance)
    _digitise_noisy(sums, variance, columns, noise, number, image, adc, out)
    return out[..., :columns]


@compiled
def _digitise_noisy(sums, variance, columns, noise, number, image, adc, out):  # type: ignore[no-untyped-def]
    for i in range(len(sums)):
        digitised_noisy(sums[i], variance[i], columns, noise, number, image[i], adc, out[i])


_codes = approximate_codes(plain=False)
_plain_codes = approximate_codes(plain=True)


@compiled
def digitised_noisy(sums, variance, columns, noise, number, image, adc, out):  # type: ignore[no-untyped-def]
    """Convert the sums of one image: nearly all in single precision, those in doubt in full."""
    pixels, padded = sums.shape
    gain, offset, low, high, rounding = adc.gain[number], adc.offset[number], adc.low, adc.high, adc.rounding
    single, shift = gain.astype(np.float32), (offset * gain).astype(np.float32)
    bottom, top, down, inward = np.float32(low), np.float32(high), BIAS[rounding, 0], BIAS[rounding, 1]
    plain = down == 0 and inward == 0 and not shift.any()
    rows = 4 * max(1, DRAWS // (4 * columns))  # a multiple of 4, so that they start with a block of draws
    words = np.zeros(rows * columns + LANES, np.uint32)
    one, z, tail, place = words[:1].copy(), np.empty(1), np.empty(1), np.empty(1, np.int64)
    for start in range(0, pixels, rows):
        stop = min(start + rows, pixels)
        drawn = words[: ((stop - start) * columns + 3) // 4 * 4]
        fill_words(start * columns // 4, np.uint64(number), image, noise.k0, noise.k1, drawn)
        for p in range(start, stop):
            for v in range(0, padded, LANES):
                w, at = (p - start) * columns + v, p * padded + v
                args = words, w, sums, variance, out, at, single, shift, v, bottom, top, down, inward
                doubt = _plain_codes(*args) if plain else _codes(*args)
                c = v
                while doubt != 0 and c < columns:
                    if doubt & 1:
                        one[0] = words[w + c - v]
                        fill_normals(one, z, tail, place)
                        total = np.int64(sums[p, c]) + read_noise(z[0], variance[p, c])
                        out[p, c] = adc_code(total, gain[c], offset[c], low, high, rounding)
                    doubt >>= 1
                    c += 1


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
    """Finish one image; `factor` is room for a number a column."""
    pixels, columns = out.shape
    for c in range(columns):
        factor[c] = step * digital.unit[c]
    for p in range(pixels):
        for c in range(columns):
            y = scaled(sums[p, c], factor[c])
            if digital.normed:
                y = normalised(y, digital.scale[c], digital.offset[c])
            if adds:
                y = added(y, other[p, c])
            if digital.rectify:
                y = rectified(y)
            out[p, c] = y


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
