"""The fast twin of `pcmref.arithmetic.conversion`: read noise, register and ADC, as loops over the rules."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.fast.compiler import compiled
from pcmref.arithmetic.fast.draws import DRAWS, fill_normals, fill_words
from pcmref.arithmetic.fast.noisy_adc import approximate_codes, approximate_normals
from pcmref.arithmetic.fast.rules import HALF_EVEN, adc_code, limited, read_noise, table_code
from pcmref.arithmetic.operands import LANES, Adc, Noise, Register, Table
from pcmref.arrays import Float32, Float64, Int64, UInt32, UInt64

__all__ = ["add_read_noise", "compare", "digitise", "digitise_noisy", "hold"]

#: What makes each of `codes.ROUNDINGS` one to the nearest: it is taken off the number, and off its size.
BIAS = np.array([[0, 0], [0, 0], [0, 0], [0.5, 0], [0, 0.5]], np.float32)


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
        noisy_sums(sums[i], variance[i], 0, noise, number, image[i], out[i])


@compiled
def noisy_sums(sums, variance, first, noise, number, image, out):  # type: ignore[no-untyped-def]
    """Add read noise to the sums of one image, from pixel `first` on, a multiple of 4."""
    pixels, columns = out.shape
    size = min(DRAWS, (pixels * columns + 3) // 4 * 4)
    words = np.empty(size, np.uint32)
    z = np.empty(size)
    tail = np.empty((2, size))
    place = np.empty(size, np.int64)
    p = 0
    c = 0
    for start in range(0, pixels * columns, size):
        fill_words((first * columns + start) // 4, number, image, noise.k0, noise.k1, words)
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
    noisy = prepared_adc(adc, columns)
    for i in range(len(sums)):
        digitised_noisy(sums[i], variance[i], columns, 0, noise, number, image[i], adc, noisy, out[i])


class NoisyAdc(NamedTuple):
    """What `approximate_codes` need of an ADC, and room for draws."""

    #: Low, high, and what makes the rounding one to the nearest.
    limits: Float32
    #: Gain and shift, shape (conversions, panels, 2, `LANES`).
    scales: Float32
    #: Whether the rounding is one to the nearest and every shift is 0.
    plain: bool
    #: Pixels whose draws are made at a time.
    rows: int
    words: UInt32
    approximate: Float32
    #: Room for the draw of an output in doubt.
    one: UInt32
    z: Float64
    tail: Float64
    place: Int64


@compiled
def prepared_adc(adc, columns):  # type: ignore[no-untyped-def]
    """Prepare an ADC for noisy sums of so many columns."""
    limits = np.array([adc.low, adc.high, BIAS[adc.rounding, 0], BIAS[adc.rounding, 1]], np.float32)
    conversions, padded = adc.gain.shape
    scales = np.empty((conversions, padded // LANES, 2, LANES), np.float32)
    for number in range(conversions):
        for c in range(padded):
            gain, offset = adc.gain[number, c], adc.offset[number, c]
            scales[number, c // LANES, 0, c % LANES], scales[number, c // LANES, 1, c % LANES] = gain, offset * gain
    plain = limits[2] == 0 and limits[3] == 0 and not scales[:, :, 1].any()
    rows = 4 * max(1, DRAWS // (4 * columns))  # a multiple of 4, so that they start with a block of draws
    size = rows * columns + LANES
    words, approximate = np.zeros(size, np.uint32), np.zeros(size, np.float32)
    one, z, tail, place = np.empty(1, np.uint32), np.empty(1), np.empty((2, 1)), np.empty(1, np.int64)
    return NoisyAdc(limits, scales, plain, rows, words, approximate, one, z, tail, place)


_normals = approximate_normals()
_codes = approximate_codes(plain=False)
_plain_codes = approximate_codes(plain=True)


@compiled
def digitised_noisy(sums, variance, columns, first, noise, number, image, adc, noisy, out):  # type: ignore[no-untyped-def]
    """Convert the sums of one image, from pixel `first` on: nearly all in single precision, those in doubt in full."""
    pixels, padded = sums.shape
    gain, offset, low, high, rounding = adc.gain[number], adc.offset[number], adc.low, adc.high, adc.rounding
    limits, scales, rows, words, approximate = (
        noisy.limits,
        noisy.scales[number],
        noisy.rows,
        noisy.words,
        noisy.approximate,
    )
    one, z, tail, place = noisy.one, noisy.z, noisy.tail, noisy.place
    for start in range(0, pixels, rows):
        stop = min(start + rows, pixels)
        drawn = words[: ((stop - start) * columns + 3) // 4 * 4]
        fill_words((first + start) * columns // 4, np.uint64(number), image, noise.k0, noise.k1, drawn)
        for w in range(0, len(drawn), LANES):
            _normals(words, w, approximate)
        for p in range(start, stop):
            for v in range(0, padded, LANES):
                w, at = (p - start) * columns + v, p * padded + v
                args = approximate, w, sums, variance, out, at, scales, v, limits
                doubt = _plain_codes(*args) if noisy.plain else _codes(*args)
                c = v
                while doubt != 0 and c < columns:
                    if doubt & 1:
                        one[0] = words[w + c - v]
                        fill_normals(one, z, tail, place)
                        total = np.int64(sums[p, c]) + read_noise(z[0], variance[p, c])
                        out[p, c] = adc_code(total, gain[c], offset[c], low, high, rounding)
                    doubt >>= 1
                    c += 1
