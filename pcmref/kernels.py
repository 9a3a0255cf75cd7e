"""The fast kernels: numba loops with the names, signatures and bits of ``kernels_numpy.py``.

They run serially and release the interpreter lock; `pcmref.simulate` runs several at a time, on different
images.  Sums are exact integers, so blocking and vector width change nothing.
"""

from __future__ import annotations

import contextlib
import math
import pickle
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pcmref.arrays import Float32, Float64, Int16, Int64, UInt32, UInt64
from pcmref.blocks import register_block
from pcmref.converters import largest_code
from pcmref.doubt import approximate_codes
from pcmref.draws import MULTIPLIERS, WEYL, WORD, Key
from pcmref.elementary import (
    ARTANH_SERIES,
    LN2_HIGH,
    LN2_LOW,
    QUANTILE_CENTRE,
    QUANTILE_NEAR,
    QUANTILE_NEAR_SHIFT,
    QUANTILE_SPLIT,
    QUANTILE_SPLIT_SQUARED,
    SQRT_HALF,
)
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


#: SHA-256 of the files that the machine code depends on besides this one.  numba's cache looks at this file only; a
#: change of those must change it too, and a test sees to that.
SOURCES = "ddd5fe8971fdff12139d138d297dd7d700be6dc35e2306ac3dd8779c72f6905d"


def compiled(function: Callable[..., Any]) -> Any:
    """Compile: the one policy.  Never fastmath, which would let the compiler reorder and fuse.

    Machine code is kept on disk; where there is no place for it, or what is there is damaged, it is made again.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        fast = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no directory that can be written
        return numba.njit(**options)(function)
    cache = getattr(fast, "_cache", None)
    for name in ("load_overload", "save_overload"):
        if hasattr(cache, name):
            setattr(cache, name, _forgiving(getattr(cache, name)))
    return fast


def _forgiving(method: Callable[..., Any]) -> Callable[..., Any]:
    def tried(*arguments: Any) -> Any:
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError, ValueError, KeyError, IndexError):
            return method(*arguments)
        return None

    return tried


#: Draws of read noise made at a time; a multiple of 4.
DRAWS = 1024
#: Words whose normal number comes from the centre of the quantile: ``|u - 1/2| <= 0.425``.
CENTRE_FIRST = np.uint32(math.ceil((0.5 - QUANTILE_SPLIT) / WORD - 0.5))
CENTRE_LAST = np.uint32(0xFFFFFFFF - CENTRE_FIRST)
#: Constants of the generator as the unsigned 64-bit numbers that it computes with.
M0, M1 = (np.uint64(number) for number in MULTIPLIERS)
W0, W1 = (np.uint64(number) for number in WEYL)
MASK, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
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
            _philox(start // 4, tile, image[i] & MASK, image[i] >> HALF, k0, k1, words)
            _normals(words, z, tail, place)
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


@compiled
def _philox(first, tile, low, high, k0, k1, words):  # type: ignore[no-untyped-def]
    """Fill `words` with the blocks at counters ``(first, ...), (first + 1, ...), ...``."""
    # the rounds are written out and their keys made beforehand, so that the loop over blocks can be vectorised
    a0, b0 = k0, k1
    a1, b1 = (a0 + W0) & MASK, (b0 + W1) & MASK
    a2, b2 = (a1 + W0) & MASK, (b1 + W1) & MASK
    a3, b3 = (a2 + W0) & MASK, (b2 + W1) & MASK
    a4, b4 = (a3 + W0) & MASK, (b3 + W1) & MASK
    a5, b5 = (a4 + W0) & MASK, (b4 + W1) & MASK
    a6, b6 = (a5 + W0) & MASK, (b5 + W1) & MASK
    a7, b7 = (a6 + W0) & MASK, (b6 + W1) & MASK
    a8, b8 = (a7 + W0) & MASK, (b7 + W1) & MASK
    a9, b9 = (a8 + W0) & MASK, (b8 + W1) & MASK
    for block in range(len(words) // 4):
        c0, c1, c2, c3 = _round(np.uint64(first + block), tile, low, high, a0, b0)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a1, b1)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a2, b2)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a3, b3)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a4, b4)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a5, b5)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a6, b6)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a7, b7)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a8, b8)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a9, b9)
        words[4 * block] = np.uint32(c0)
        words[4 * block + 1] = np.uint32(c1)
        words[4 * block + 2] = np.uint32(c2)
        words[4 * block + 3] = np.uint32(c3)


@compiled
def _round(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    # the high halves of the words are never looked at
    even = (c0 & MASK) * M0
    odd = (c2 & MASK) * M1
    return (odd >> HALF) ^ c1 ^ k0, odd, (even >> HALF) ^ c3 ^ k1, even


@compiled
def _normals(words, z, tail, place):  # type: ignore[no-untyped-def]
    """Fill `z` with one normal number a word: all as if in the centre, then those of the tails again.

    A 32-bit word never reaches the far tail of the quantile: ``sqrt(-ln 2^-33) = 4.78 < 5``.
    """
    tails = 0
    for i in range(len(words)):
        q = (np.float64(words[i]) + 0.5) * WORD - 0.5
        t = QUANTILE_SPLIT_SQUARED - q * q
        z[i] = q * (_polynomial(QUANTILE_CENTRE[0], t) / _polynomial(QUANTILE_CENTRE[1], t))
    for i in range(len(words)):
        place[tails] = i
        tails += words[i] < CENTRE_FIRST or words[i] > CENTRE_LAST
    for i in range(tails):
        p = (np.float64(words[place[i]]) + 0.5) * WORD
        tail[i] = min(p, 1.0 - p)
    bits = tail.view(np.int64)
    for i in range(tails):
        # x = mantissa 2^exponent with the mantissa in [1/2, 1), as frexp gives it, without a call
        exponent = np.float64((bits[i] >> 52) - 1022)
        bits[i] = (bits[i] & 0xFFFFFFFFFFFFF) | (1022 << 52)
        low = tail[i] < SQRT_HALF
        mantissa = tail[i] + tail[i] if low else tail[i]
        e = exponent - 1.0 if low else exponent
        s = (mantissa - 1.0) / (mantissa + 1.0)
        square = s * s
        rest = s * square * _artanh(square)
        ln = e * LN2_HIGH + ((s + s) + ((rest + rest) + e * LN2_LOW))
        t = math.sqrt(-ln) - QUANTILE_NEAR_SHIFT
        tail[i] = _polynomial(QUANTILE_NEAR[0], t) / _polynomial(QUANTILE_NEAR[1], t)
    for i in range(tails):
        z[place[i]] = -tail[i] if words[place[i]] < CENTRE_FIRST else tail[i]


def weight_words(key: Key, weights: int) -> UInt32:
    """Return one block a weight; see the twin."""
    words = np.empty((weights, 4), np.uint32)
    zero = np.uint64(0)
    _philox(0, zero, zero, zero, np.uint64(key[0]), np.uint64(key[1]), words.reshape(-1))
    return np.ascontiguousarray(words.T)


def normals(words: UInt32) -> Float64:
    """Return one standard normal number a word; see the twin."""
    z = np.empty(words.shape)
    _all_normals(np.ascontiguousarray(words).reshape(-1), z.reshape(-1))
    return z


@compiled
def _all_normals(words, z):  # type: ignore[no-untyped-def]
    tail, place = np.empty(DRAWS), np.empty(DRAWS, np.int64)
    for start in range(0, len(words), DRAWS):
        _normals(words[start : start + DRAWS], z[start : start + DRAWS], tail, place)


@compiled
def _polynomial(c, x):  # type: ignore[no-untyped-def]
    # written out, so that the loops around it can be vectorised
    return ((((((c[0] * x + c[1]) * x + c[2]) * x + c[3]) * x + c[4]) * x + c[5]) * x + c[6]) * x + c[7]


@compiled
def _artanh(x):  # type: ignore[no-untyped-def]
    c = ARTANH_SERIES
    value = (((((c[0] * x + c[1]) * x + c[2]) * x + c[3]) * x + c[4]) * x + c[5]) * x + c[6]
    return (((value * x + c[7]) * x + c[8]) * x + c[9]) * x + c[10]


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
            _philox(start * columns // 4, tile, image[i] & MASK, image[i] >> HALF, k0, k1, drawn)
            for p in range(start, stop):
                for v in range(0, padded, LANES):
                    w = (p - start) * columns + v
                    at = (i * pixels + p) * padded + v
                    doubt = _approximate_codes(words, w, sums, variance, out, at, np.float32(gain), np.float32(limit))
                    c = v
                    while doubt != 0 and c < columns:
                        if doubt & 1:
                            one[0] = words[w + c - v]
                            _normals(one, z, tail, place)
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
