"""A tile in plain integers, stage by stage as SPEC.md, section 8, says: the body on which faults are planted.

It shares no rule with the kernels.  What a contract of integers asks for is computed in integers alone: the gain of an
ADC in fixed point is a product, a shift and a comparison with half.  (A gain that is float64 by contract is one product
in float64.)  Nothing here checks its input, since faults make of it what no readout allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.codes import Rounding
from pcmref.arrays import Float64, Int64, IntegerArray
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.readout import Readout

__all__ = [
    "Conversion",
    "PlainAdc",
    "Trial",
    "answers",
    "codes_of_sums",
    "conversions",
    "drives",
    "multiplied",
    "plain_adc",
    "trial",
    "width_of",
]

#: Products below this fit 64 bits with room for a rounding; what is larger is computed in Python's integers.
PRODUCT_MOST = 1 << 61


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainAdc:
    """An ADC: numbers for each column.

    Parameters
    ----------
    low, high : int
    rounding : Rounding
    multiplier, shift : int64, shape (columns,), or None
        Gain ``multiplier / 2^shift``.
    gain : float64, shape (columns,), or None
        Gain by contract in float64.
    offset : int64, shape (columns,)
    thresholds : int64, shape (columns, high - low), or None
    wraps : bool
        Whether codes beyond the limits lose their high bits instead: no contract says so.
    """

    low: int
    high: int
    rounding: Rounding
    multiplier: Int64 | None
    shift: Int64 | None
    gain: Float64 | None
    offset: Int64
    thresholds: Int64 | None
    wraps: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """Vectors, and the plain tile that multiplies them.

    Parameters
    ----------
    conductance : int64, shape (sets, lines, rows, columns)
        What the tile is loaded with, one set after another.  One line stands for the pair.
    chosen : int64, shape (n,)
        The set that each vector meets.
    codes : int32, shape (n, rows)
    noise : int64, shape (conversions, n, columns), or None
    dac : Dac
    adc : PlainAdc, optional
    accumulator : Accumulator, optional
    products : int64, shape (conversions, n, columns), or None
        A before noise, where it is known already: most faults leave it alone.
    """

    conductance: Int64
    chosen: Int64
    codes: IntegerArray
    noise: Int64 | None
    dac: Dac
    adc: PlainAdc | None
    accumulator: Accumulator | None
    products: Int64 | None = None

    def __getitem__(self, vectors: Any) -> Trial:
        """Return the same tile with some of the vectors."""
        some = replace(self, chosen=self.chosen[vectors], codes=self.codes[vectors])
        noise, products = (None if v is None else v[:, vectors] for v in (self.noise, self.products))
        return replace(some, noise=noise, products=products)


class Conversion(NamedTuple):
    """The stages of one conversion, shape (n, columns)."""

    weight: int
    #: A before noise; A as the register holds it; D.
    noise_free: Int64
    sums: Int64
    codes: Int64
    #: D of an input of zeros, which is taken off, shape (columns,) of each set, by vector.
    zero: Int64


def width_of(low: int, high: int) -> tuple[int, bool]:
    """Return how many bits integers from `low` to `high` take, and whether in two's complement."""
    if low >= 0:
        return max(high.bit_length(), 1), False
    return max((-low - 1).bit_length(), high.bit_length()) + 1, True


def trial(
    conductance: IntegerArray, readout: Readout, codes: IntegerArray, *, chosen: Int64 | None = None, noise: Any = None
) -> Trial:
    """Return vectors on a plain tile; conductance codes of shape (sets, lines, rows, columns)."""
    columns = conductance.shape[-1]
    return Trial(
        conductance=conductance.astype(np.int64),
        chosen=np.zeros(len(codes), np.int64) if chosen is None else chosen,
        codes=codes.astype(np.int32),
        noise=noise,
        dac=readout.dac,
        adc=None if readout.adc is None else plain_adc(readout.adc, columns),
        accumulator=readout.accumulator,
    )


def multiplied(work: Trial) -> Trial:
    """Return the same trial with its products known."""
    return replace(work, products=np.stack([conversion.noise_free for conversion in conversions(work)]))


def plain_adc(adc: Adc, columns: int) -> PlainAdc:
    """Return an ADC as numbers for each column."""
    gains = adc.gain if isinstance(adc.gain, tuple) else (adc.gain,) * columns
    fixed = [gain for gain in gains if isinstance(gain, FixedPoint)]
    integers = len(fixed) == columns
    return PlainAdc(
        low=adc.limits[0],
        high=adc.limits[1],
        rounding=adc.rounding,
        multiplier=np.array([gain.multiplier for gain in fixed]) if integers else None,
        shift=np.array([gain.shift for gain in fixed]) if integers else None,
        gain=None if integers else adc.gains(columns),
        offset=adc.offsets(columns).astype(np.int64),
        thresholds=adc.tables(columns),
    )


def answers(work: Trial, weigh: Callable[[list[int]], list[int]] = lambda weights: weights) -> Int64:
    """Return D of every vector: the codes of all conversions, less those of an input of zeros, each by its weight.

    `weigh` makes other weights of the right ones.
    """
    found = list(conversions(work))
    total = np.zeros((len(work.codes), work.conductance.shape[-1]), np.int64)
    for weight, conversion in zip(weigh([part.weight for part in found]), found, strict=True):
        total += weight * (conversion.codes - conversion.zero)
    return total


def conversions(work: Trial) -> Iterator[Conversion]:
    """Give the stages of one conversion after another: line by line, and of each phase by phase."""
    phases = list(drives(work.codes, work.dac))
    rest = list(drives(np.zeros((1, work.codes.shape[1]), np.int64), work.dac))
    number = 0
    for line in range(work.conductance.shape[1]):
        for (driven, weight), (idle, _) in zip(phases, rest, strict=True):
            noise_free = _products(work, line, driven) if work.products is None else work.products[number]
            zero = _converted(work, _idle(work, line, idle)) if work.dac.offset else np.zeros_like(noise_free[:1])
            noisy = noise_free if work.noise is None else noise_free + work.noise[number]
            held = _held(noisy, work.accumulator)
            yield Conversion(
                weight=(1, -1)[line] * weight,
                noise_free=noise_free,
                sums=held,
                codes=held if work.adc is None else codes_of_sums(held, work.adc),
                zero=zero,
            )
            number += 1


def drives(codes: IntegerArray, dac: Dac) -> Iterator[tuple[IntegerArray, int]]:
    """Give what drives the rows in each phase, and its weight."""
    driven = codes + dac.offset
    if dac.drive == "parallel":
        yield driven, 1
    elif dac.drive == "two-phase":
        yield np.where(driven > 0, driven, 0), 1
        yield np.where(driven < 0, -driven, 0), -1
    else:
        top = dac.bits - 1
        signed = dac.low + dac.offset < 0
        for bit in range(dac.bits):
            yield (driven >> bit) & 1, (-1 if signed and bit == top else 1) << bit


def _products(work: Trial, line: int, driven: IntegerArray) -> Int64:
    """Return the sum over rows of what drives them times conductance codes."""
    total = np.empty((len(driven), work.conductance.shape[-1]), np.int64)
    bounds = [0, *(np.flatnonzero(np.diff(work.chosen)) + 1), len(driven)]
    for first, last in pairwise(bounds if len(driven) else [0]):
        conductance = work.conductance[work.chosen[first], line]
        # integers below 2^53 in size, sums included, which float64 multiplies exactly in any order
        total[first:last] = driven[first:last].astype(np.float64) @ conductance.astype(np.float64)
    return total


def _idle(work: Trial, line: int, idle: IntegerArray) -> Int64:
    """Return the sums of an input of zeros, for each vector."""
    each = np.stack([idle[0] @ conductance for conductance in work.conductance[:, line]])
    return each[work.chosen]


def _converted(work: Trial, sums: Int64) -> Int64:
    held = _held(sums, work.accumulator)
    return held if work.adc is None else codes_of_sums(held, work.adc)


def _held(sums: Int64, accumulator: Accumulator | None) -> Int64:
    """Return what the register holds; where more is an error, the nearest that it can."""
    if accumulator is None:
        return sums
    half = 1 << (accumulator.bits - 1)
    if accumulator.beyond == "wrap":
        return ((sums + half) & (2 * half - 1)) - half
    return np.clip(sums, -half, half - 1)


def codes_of_sums(sums: Int64, adc: PlainAdc) -> Int64:
    """Return the code of each sum, shape (..., columns)."""
    if adc.thresholds is not None:
        each = [np.searchsorted(row, sums[..., c], side="right") for c, row in enumerate(adc.thresholds)]
        return adc.low + np.stack(each, axis=-1)
    down, rest, half = _divided(sums, adc)
    values = down + _rounds_up(down, rest, half, adc.rounding)
    if adc.wraps:
        bits, signed = width_of(adc.low, adc.high)
        base = -(1 << (bits - 1)) if signed else 0
        integers = np.clip(values, -(2.0**62), 2.0**62).astype(np.int64) if values.dtype == np.float64 else values
        return (((integers - base) & ((1 << bits) - 1)) + base).astype(np.int64)
    return np.clip(values, adc.low, adc.high).astype(np.int64)


def on_tie(sums: Int64, adc: PlainAdc) -> npt.NDArray[np.bool_]:
    """Return which sums, shape (..., columns), have codes that end in a half, before they are rounded and limited."""
    if adc.thresholds is not None:
        return np.zeros(sums.shape, np.bool_)
    _, rest, half = _divided(sums, adc)
    return np.asarray(rest == half, np.bool_)


def _divided(sums: Int64, adc: PlainAdc) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Any]:
    """Return the code of each sum rounded down, what was cut off, and what half a code is in its unit.

    In integers, Python's where 64 bits would not do; in float64 for a gain in float64, where all but the one product is
    exact.
    """
    if adc.multiplier is None or adc.shift is None:
        v = (sums + adc.offset).astype(np.float64) * np.asarray(adc.gain)
        down = np.floor(v)
        return down, v - down, 0.5
    largest = int(np.abs(sums + adc.offset).max(initial=0)) * int(adc.multiplier.max(initial=0))
    kind = np.int64 if largest < PRODUCT_MOST else object
    # doubled, so that half a code is an integer without a shift, too
    double, shift = 2 * (sums + adc.offset).astype(kind) * adc.multiplier.astype(kind), (adc.shift + 1).astype(kind)
    floor = double >> shift
    return floor, double - (floor << shift), (np.ones_like(shift) << shift) >> 1


def _rounds_up(down: npt.NDArray[Any], rest: npt.NDArray[Any], half: Any, rounding: Rounding) -> npt.NDArray[Any]:
    """Return whether a code that was rounded down goes up by one instead."""
    if rounding == "floor":
        return np.zeros(down.shape, np.int64)
    if rounding == "toward-zero":
        return (down < 0) & (rest > 0)
    if rounding == "half-up":
        return np.asarray(rest >= half)
    to = down >= 0 if rounding == "half-away" else np.mod(down, 2) == 1
    return (rest > half) | ((rest == half) & to)
