"""Operands of the kernels, drawn by Hypothesis and laid out in the plainest way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from pcmref.arithmetic import reference
from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.arithmetic.operands import Adc, Conversions, Dac, Digital, Matrix, Noise, Table, Tiles, Window, filled

fast = pytest.importorskip("pcmref.arithmetic.fast")

both = pytest.mark.parametrize("kernels", [reference, fast], ids=["reference", "fast"])
#: Without JIT the fast kernels are Python, whose scalars warn of what the kernels mean to do.
quiet = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
laws = settings(max_examples=settings.default.max_examples // 2)

LANES = 16
PIXELS = 16
CODE_LIMIT = 32767
seeds = st.integers(0, 2**32 - 1)
word = st.integers(0, 2**32 - 1)
keys = st.tuples(word, word)
addresses = st.integers(0, 2**64 - 1)
#: Values at the ends of float32, and ordinary ones.
special = st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 2.0**-100, 3.4e38, -3.4e38])
finite = st.floats(width=32, allow_nan=False, allow_infinity=False) | special


def same(found, expected):
    """Equal values bit for bit; integers may differ in width."""
    assert found.shape == expected.shape
    if found.dtype.kind == expected.dtype.kind == "i":
        assert np.array_equal(found, expected)
    else:
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()


def codes(rng, shape, kind="any", limit=CODE_LIMIT):
    """Codes: anything, all of the largest size, all the largest, or few and small."""
    if kind == "largest":
        return rng.choice(np.array([-limit, limit], np.int16), shape)
    if kind == "one sign":
        return np.full(shape, limit, np.int16)
    if kind == "sparse":
        small = min(limit, 3)
        return (rng.integers(-small, small + 1, shape) * (rng.random(shape) < 0.2)).astype(np.int16)
    return rng.integers(-limit, limit + 1, shape).astype(np.int16)


KINDS = st.sampled_from(["any", "largest", "one sign", "sparse"])


def lanes(columns):
    """Columns with those that fill up."""
    return -(-columns // LANES) * LANES


def noise_of(key, *, split=False):
    return Noise(k0=np.uint64(key[0]), k1=np.uint64(key[1]), split=split)


def dac_of(bits=8, top=0.0, *, codes="symmetric", drive="parallel"):
    """How a layer is driven; codes and drive as the readout names them."""
    half = 2 ** (bits - 1)
    low, high = {"symmetric": (1 - half, half - 1), "unsigned": (0, 2 * half - 1)}.get(codes, (-half, half - 1))
    phases = {"parallel": 1, "two-phase": 2, "bit-serial": bits}[drive]
    offset = half if codes == "offset" else 0
    return Dac(np.float32(top), np.float32(low), np.float32(high), offset, phases, drive == "bit-serial")


def largest(dac):
    """Largest size of what drives a row at once."""
    return 1 if dac.serial else max(int(dac.high) + dac.offset, -int(dac.low) - dac.offset)


def adc_of(gain, bits, columns, *, offset=0, low=None, rounding="half-even"):
    """How sums become codes; gain and offset of shape (columns,) or (conversions, columns), or one for all."""
    gain, offset = np.atleast_2d(gain), np.atleast_2d(offset)
    filled = np.zeros((2, max(len(gain), len(offset)), lanes(columns)))
    filled[0, :, :columns], filled[1, :, :columns] = gain, offset
    low = 1 - 2 ** (bits - 1) if low is None else low
    high = 2 ** (bits - 1) - 1 if low < 0 else 2**bits - 1
    return Adc(*filled, low=float(low), high=float(high), rounding=ROUNDINGS.index(rounding))


#: Roundings of an ADC, and of which code it starts: symmetric, one more below, or from 0 on.
ROUNDING = st.sampled_from(ROUNDINGS)


def lows(bits):
    return st.sampled_from([1 - 2 ** (bits - 1), -(2 ** (bits - 1)), 0])


def table_of(rng, size, conversions, columns, count, low=0):
    """Random thresholds, some of them several times, filled up to one less than a power of 2."""
    thresholds = rng.integers(-size, size, (conversions, columns, count), endpoint=True)
    thresholds[..., 1 : count // 2] = thresholds[..., : count // 2 - 1]
    return filled_table(np.sort(thresholds, axis=2), low)


def filled_table(thresholds, low):
    """A table of thresholds, shape (conversions, columns, high - low)."""
    thresholds = np.asarray(thresholds)
    count = thresholds.shape[2]
    whole = np.full((*thresholds.shape[:2], 2 ** count.bit_length() - 1), 2**63 - 1)
    whole[..., :count] = thresholds
    return Table(thresholds=whole, low=low, high=low + count)


def plain_conversions(tiles, columns):
    """One conversion a tile, all of the same weight."""
    zero = np.zeros((tiles, columns), np.int64)
    return Conversions(np.arange(tiles), np.zeros(tiles, np.int64), np.ones(tiles, np.int64), zero)


def digital_of(unit, *, scale=None, offset=None, rectify=False):
    """What follows the codes of a layer: 1 and -0 where no batch normalisation does."""
    scale = np.ones_like(unit) if scale is None else scale
    offset = np.full_like(unit, -0.0) if offset is None else offset
    return Digital(unit=unit, scale=scale, offset=offset, rectify=rectify)


def window_of(*, pixel=(0,), padding=0, bias=False, height, width, channels):
    pixel = np.asarray(pixel)
    return Window(padding, padding, height, width, channels, bias, filled(pixel), len(pixel))


def panelled(matrix):
    """A matrix of a multiple of 16 columns in panels of 16, one after the other."""
    return np.stack([matrix[:, column : column + LANES] for column in range(0, matrix.shape[1], LANES)])


def segments_for(packed, inputs):
    """Bounds of groups of pairs, cut as late as 32-bit sums of these inputs allow."""
    bounds, size = [0], np.zeros(packed.shape[1], np.int64)
    for pair, line in enumerate(np.abs(packed.astype(np.int64)).sum(axis=2) * inputs):
        if (size + line).max() >= 2**31:
            bounds.append(pair)
            size = np.zeros_like(size)
        size = size + line
    return np.array([*bounds, len(packed)])


@dataclass(frozen=True)
class Laid:
    """A matrix laid out for `accumulate`."""

    pair: np.ndarray
    packed: np.ndarray
    segment: np.ndarray


def lay_out(row, matrix, limit):
    """Put each row where the pair of its input is, one element after the other."""
    pair = np.array(sorted({int(r) // 2 for r in row}))
    packed = np.zeros((len(pair), lanes(matrix.shape[1]), 2), np.int16)
    for r, values in zip(row, matrix, strict=True):
        packed[list(pair).index(r // 2), : matrix.shape[1], r % 2] = values
    return Laid(pair, packed, segments_for(packed, limit))


def tiles_of(row, conductance, variance, tile_rows, limit):
    """Cut matrices, one a line, into tiles; `limit` is the largest size of what drives a row."""
    parts = [slice(start, start + tile_rows) for start in range(0, len(row), tile_rows)]
    square = min(limit * limit, 2**15 - 1)

    def joined(matrices, largest):
        laid = [lay_out(row[part], matrix[part], largest) for part in parts for matrix in matrices]
        cut = np.cumsum([0, *(len(tile.segment) for tile in laid)])
        packed = np.concatenate([panelled(tile.packed).reshape(-1, LANES, 2) for tile in laid])
        return laid, Matrix(packed=packed, segment=np.concatenate([tile.segment for tile in laid]), cut=cut)

    laid, g = joined(conductance, limit)
    return Tiles(
        bound=np.cumsum([0, *(len(tile.pair) for tile in laid)]),
        pair=np.concatenate([tile.pair for tile in laid]),
        columns=conductance.shape[2],
        conductance=g,
        variance=g if variance is None else joined(variance, square)[1],
    )
