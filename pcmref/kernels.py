"""The fast kernels: numba loops with the names, signatures and bits of ``kernels_numpy.py``.

They run serially and release the interpreter lock; `pcmref.simulate` runs several at a time, on different
images.  Sums are exact integers, so blocking and vector width change nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arrays import Float32, Float64, Int16, Int64, UInt64
from pcmref.blocks import register_block
from pcmref.converters import largest_code
from pcmref.doubt import approximate_codes
from pcmref.draws import Key
from pcmref.fast_draws import DRAWS, fill_normals, fill_words, normals, weight_words
from pcmref.jit import compiled
from pcmref.kernels_numpy import LANES

__all__ = [
    "accumulate",
    "accumulate_float",
    "add_read_noise",
    "digitise",
    "digitise_noisy",
    "finish",
    "largest",
    "moments",
    "normals",
    "to_codes",
    "weight_words",
]

#: SHA-256 of the files that the machine code depends on besides this one, as in ``fast_draws.py``.
SOURCES = "42d09e26faacdef9e301547df8bde495705fe3870c4d71cd81be8baf9939f091"

#: Pixels of a register block with one vector of columns, and with two.
BLOCK_1 = 16
BLOCK_2 = 8


def largest(x: Float32) -> Float32:
    """Return the largest size of an element of each image; see the twin."""
    flat = np.ascontiguousarray(x).reshape(len(x), -1)
    out = np.empty(len(flat), np.float32)
    _largest(flat.view(np.int32), out.view(np.int32))
    return out


@compiled
def _largest(x, out):  # type: ignore[no-untyped-def]
    # without its sign bit, a finite float compares like an integer
    for image in range(x.shape[0]):
        top = np.int32(0)
        for i in range(x.shape[1]):
            top = max(top, x[image, i] & np.int32(0x7FFFFFFF))
        out[image] = top


def to_codes(x: Float32, gain: Float32, limit: int, one: Int16 | None, padding: int, channels: int) -> Int16:
    """Convert activations to DAC codes in a padded buffer; see the twin."""
    n, height, width, c = x.shape
    codes = np.zeros((n, height + 2 * padding, width + 2 * padding, channels), np.int16)
    _to_codes(np.ascontiguousarray(x), gain, np.float32(limit), padding, codes)
    if one is not None:
        codes[..., c] = one[:, None, None]
    return codes


@compiled
def _to_codes(x, gain, limit, padding, codes):  # type: ignore[no-untyped-def]
    n, height, width, channels = x.shape
    for image in range(n):
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    code = np.rint(x[image, i, j, c] * gain[image])
                    code = min(max(code, -limit), limit)
                    codes[image, i + padding, j + padding, c] = np.int16(code)


def accumulate(codes: Int16, pixel: Int64, pair: Int64, packed: Int16, segment: Int64) -> npt.NDArray[Any]:
    """Sum codes times conductance codes, exactly; see the twin."""
    pixels = len(pixel)
    padded = np.append(pixel // 2, np.full(-pixels % BLOCK_1, pixel[-1] // 2))
    dtype = np.int32 if len(segment) == 2 else np.int64
    out = np.empty((len(codes), len(padded), packed.shape[1]), dtype)
    inputs = codes.reshape(len(codes), -1).view(np.int32)
    _accumulate(inputs, padded, pair, packed.reshape(len(packed), -1), segment, out)
    return out[:, :pixels]


def accumulate_float(x: Float32, pixel: Int64, row: Int64, matrix: Float32) -> Float32:
    """Sum float32 inputs times weights with fused multiply-adds in row order; see the twin."""
    pixels = len(pixel)
    padded = np.append(pixel, np.full(-pixels % BLOCK_1, pixel[-1]))
    out = np.empty((len(x), len(padded), matrix.shape[1]), np.float32)
    _accumulate(x.reshape(len(x), -1), padded, row, matrix, np.array([0, len(row)]), out)
    return out[:, :pixels]


_block_1 = register_block(BLOCK_1, 1)
_block_2 = register_block(BLOCK_2, 2)


@compiled
def _accumulate(x, pixel, row, weights, segment, out):  # type: ignore[no-untyped-def]
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


def add_read_noise(
    sums: npt.NDArray[Any],
    variance: npt.NDArray[Any],
    columns: int,
    key: Key,
    tile: int,
    image: UInt64,
) -> Int64:
    """Add fresh read noise to the sums of a tile; see the twin."""
    n, pixels, padded = sums.shape
    out = np.empty((n, pixels, columns), np.int64)
    # without filling, the outputs of an image are one long row, and the inner loop has the longest way
    rows = (n, 1, pixels * columns) if columns == padded else (n, pixels, padded)
    keys = np.uint64(key[0]), np.uint64(key[1]), np.uint64(tile)
    _add_read_noise(sums.reshape(rows), variance.reshape(rows), *keys, image, out.reshape(n, rows[1], -1))
    return out


@compiled
def _add_read_noise(sums, variance, k0, k1, tile, image, out):  # type: ignore[no-untyped-def]
    n, pixels, columns = out.shape
    words = np.empty(DRAWS, np.uint32)
    z = np.empty(DRAWS)
    tail = np.empty(DRAWS)
    place = np.empty(DRAWS, np.int64)
    for i in range(n):
        p = 0
        c = 0
        for start in range(0, pixels * columns, DRAWS):
            fill_words(start // 4, tile, image[i], k0, k1, words)
            fill_normals(words, z, tail, place)
            j = 0
            while j < DRAWS and p < pixels:
                count = min(columns - c, DRAWS - j)
                for k in range(count):
                    noise = np.rint(z[j + k] * math.sqrt(64.0 * np.float64(variance[i, p, c + k])))
                    out[i, p, c + k] = np.int64(sums[i, p, c + k]) + np.int64(noise)
                j += count
                c += count
                if c == columns:
                    c = 0
                    p += 1


def digitise(sums: npt.NDArray[Any], gain: float, bits: int) -> npt.NDArray[np.int32]:
    """Convert sums to ADC codes; see the twin."""
    out = np.empty(sums.shape, np.int32)
    _digitise(sums, gain, float(largest_code(bits)), out)
    return out


@compiled
def _digitise(sums, gain, limit, out):  # type: ignore[no-untyped-def]
    n, pixels, columns = sums.shape
    for i in range(n):
        for p in range(pixels):
            for c in range(columns):
                code = np.rint(np.float64(sums[i, p, c]) * gain)
                out[i, p, c] = np.int32(min(max(code, -limit), limit))


def digitise_noisy(
    sums: npt.NDArray[Any],
    variance: npt.NDArray[Any],
    columns: int,
    key: Key,
    tile: int,
    image: UInt64,
    gain: float,
    bits: int,
) -> npt.NDArray[np.int32]:
    """Convert sums with fresh read noise to ADC codes; see the twin."""
    out = np.empty(sums.shape, np.int32)
    keys = np.uint64(key[0]), np.uint64(key[1]), np.uint64(tile)
    sums, variance = np.ascontiguousarray(sums), np.ascontiguousarray(variance)
    _digitise_noisy(sums, variance, columns, *keys, image, gain, float(largest_code(bits)), out)
    return out[..., :columns]


_approximate_codes = approximate_codes()


@compiled
def _digitise_noisy(sums, variance, columns, k0, k1, tile, image, gain, limit, out):  # type: ignore[no-untyped-def]
    n, pixels, padded = sums.shape
    rows = 4 * max(1, DRAWS // (4 * columns))  # a multiple of 4, so that they start with a block of draws
    words = np.zeros(rows * columns + LANES, np.uint32)
    one, z, tail, place = words[:1].copy(), np.empty(1), np.empty(1), np.empty(1, np.int64)
    for i in range(n):
        for start in range(0, pixels, rows):
            stop = min(start + rows, pixels)
            drawn = words[: ((stop - start) * columns + 3) // 4 * 4]
            fill_words(start * columns // 4, tile, image[i], k0, k1, drawn)
            for p in range(start, stop):
                for v in range(0, padded, LANES):
                    w = (p - start) * columns + v
                    at = (i * pixels + p) * padded + v
                    doubt = _approximate_codes(words, w, sums, variance, out, at, np.float32(gain), np.float32(limit))
                    c = v
                    while doubt != 0 and c < columns:
                        if doubt & 1:
                            one[0] = words[w + c - v]
                            fill_normals(one, z, tail, place)
                            noise = np.rint(z[0] * math.sqrt(64.0 * np.float64(variance[i, p, c])))
                            total = np.int64(sums[i, p, c]) + np.int64(noise)
                            code = np.rint(np.float64(total) * gain)
                            out[i, p, c] = np.int32(min(max(code, -limit), limit))
                        doubt >>= 1
                        c += 1


def finish(
    sums: npt.NDArray[Any],
    step: Float32,
    unit: Float32,
    norm: tuple[Float32, Float32] | None,
    other: Float32 | None,
    rectify: bool,
) -> Float32:
    """Turn output codes into activations; see the twin."""
    n, pixels, _ = sums.shape
    out = np.empty((n, pixels, len(unit)), np.float32)
    scale, offset = norm if norm is not None else (unit, unit)
    added = out if other is None else np.ascontiguousarray(other)
    _finish(sums, step, unit, norm is not None, scale, offset, other is not None, added, rectify, out)
    return out


@compiled
def _finish(sums, step, unit, normed, scale, offset, add, other, rectify, out):  # type: ignore[no-untyped-def]
    n, pixels, columns = out.shape
    factor = np.empty(columns, np.float32)
    for image in range(n):
        for c in range(columns):
            factor[c] = step[image] * unit[c]
        for p in range(pixels):
            for c in range(columns):
                y = np.float32(sums[image, p, c]) * factor[c]
                if normed:
                    y = y * scale[c]
                    y = y + offset[c]
                if add:
                    y = y + other[image, p, c]
                if rectify:
                    y = np.float32(0) if y <= np.float32(0) else y
                out[image, p, c] = y


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
