"""Vectors that are aimed at sums: at ties of the ADC, at its steps, at its limits and the register's, and at zero.

A *target* is a sum that one conversion sees: of the first phase, or of the bit plane of weight 1.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from pcmref.arrays import Int64
from pcmref.crossbar.converters import Dac
from pcmref.crossbar.readout import Readout
from pcmref.golden.plain import PlainAdc, codes_of_sums, plain_adc
from pcmref.golden.sums import vectors_of_sums

__all__ = [
    "TIED",
    "at_boundaries",
    "at_steps",
    "at_ties",
    "at_zero",
    "drive_range",
    "reach_of",
    "tie_spacing",
    "ties_within",
]

#: Roundings that treat a half in a way of their own.
TIED = ("half-even", "half-away", "half-up")
#: Sums beyond this size are not asked for.
SUM_MOST = 1 << 52
#: About how many ties and steps are tried in all columns together, and how many ties in one.
TIES, STEPS, TIES_OF_COLUMN = 512, 512, 6
#: Which starting vectors.
FOR_TIES, FOR_STEPS, FOR_BOUNDARIES, FOR_ZERO = 16, 17, 18, 19


def drive_range(dac: Dac) -> tuple[int, int]:
    """Return the smallest and the largest of what drives a row in the first phase of a product."""
    if dac.drive == "bit-serial":
        return 0, 1
    return 0 if dac.drive == "two-phase" else dac.low + dac.offset, dac.high + dac.offset


def tie_spacing(gain: Fraction) -> tuple[int, int] | None:
    """Return where the sums are whose codes are an integer and a half: at the odd multiples of a sum.

    With ``gain = odd 2^k / 2^s`` a code ends in a half where the sum is an odd multiple of ``2^(s-k-1)``;
    the code is then the same multiple of ``odd / 2``.

    Returns
    -------
    (int, int) or None
        The sum, and twice its code; None where all codes are integers, as ``s <= k``.
    """
    if gain.denominator == 1:
        return None
    return gain.denominator // 2, gain.numerator


def at_ties(conductance: Int64, readout: Readout) -> Int64:
    """Return vectors that give, in some column, a sum whose code ends in a half, and the sums beside it.

    Parameters
    ----------
    conductance : int64, shape (lines, rows, columns)
    readout : Readout

    Returns
    -------
    int64, shape (n, rows)
        DAC codes; none where no such sum is within the limits and within reach.
    """
    adc, columns = readout.adc, conductance.shape[2]
    if adc is None or adc.thresholds is not None or adc.rounding not in TIED:
        return _aimed(conductance, readout.dac, [[]] * columns, FOR_TIES)
    reach, offsets = reach_of(conductance, readout.dac), adc.offsets(columns)
    gains = adc.gain if isinstance(adc.gain, tuple) else (adc.gain,) * columns
    most = max(2, min(TIES_OF_COLUMN, TIES // columns))
    found = []
    for column, gain in enumerate(gains):
        ties = [] if gain is None else ties_within(Fraction(float(gain)), adc.limits, int(reach[column]))[:most]
        found.append([near - int(offsets[column]) for tie in ties for near in (tie - 1, tie, tie + 1)])
    return _aimed(conductance, readout.dac, found, FOR_TIES)


def ties_within(gain: Fraction, limits: tuple[int, int], reach: int) -> list[int]:
    """Return sums, the offset included, whose codes end in a half: the smallest and the largest, if there are any."""
    if (spacing := tie_spacing(gain)) is None:
        return []
    each, twice = spacing
    low, high = limits
    last = min(reach // each, max(2 * high - 1, -2 * low - 1) // twice)
    last -= 1 - last % 2
    places = [place * sign for place in sorted({1, 3, last}) for sign in (1, -1) if 0 < place <= last]
    return [each * place for place in places if 2 * low < twice * place < 2 * high]


def at_steps(conductance: Int64, readout: Readout) -> Int64:
    """Return vectors that give sums on both sides of a step between two codes; parameters and result as of `at_ties`.

    Neighbouring columns have other steps, so that many codes are met.
    """
    adc, columns = readout.adc, conductance.shape[2]
    if adc is None:
        return _aimed(conductance, readout.dac, [[]] * columns, FOR_STEPS)
    steps = adc.codes - 1
    each = -(-min(steps, STEPS) // columns)
    places = (np.arange(each)[:, None] * columns + np.arange(columns)) * steps // (each * columns)
    first = _first_sums(plain_adc(adc, columns), adc.limits[0] + 1 + places, reach_of(conductance, readout.dac))
    wanted = [[near for step in column for near in (step - 1, step)] for column in first]
    return _aimed(conductance, readout.dac, wanted, FOR_STEPS)


def at_boundaries(conductance: Int64, readout: Readout) -> Int64:
    """Return vectors that give the last sums within the limits of the ADC and the register and the first ones beyond.

    Parameters and result as of `at_ties`.
    """
    columns = conductance.shape[2]
    wanted: list[list[int]] = [[] for _ in range(columns)]
    if (adc := readout.adc) is not None:
        low, high = adc.limits
        plain = plain_adc(adc, columns)
        ends: tuple[int, ...] = (low + 1, high)
        if plain.thresholds is None:  # without limits, the codes beyond would come here
            ends, plain = (low, low + 1, high, high + 1), replace(plain, low=low - 1, high=high + 1)
        first = _first_sums(
            plain, np.array(ends)[:, None] + np.zeros(columns, np.int64), reach_of(conductance, readout.dac)
        )
        wanted = [[near for step in column for near in (step - 1, step)] for column in first]
    if (register := readout.accumulator) is not None:
        half = 1 << (register.bits - 1)
        for column in wanted:
            column += [-half - 1, -half, half - 1, half]
    return _aimed(conductance, readout.dac, wanted, FOR_BOUNDARIES)


def at_zero(conductance: Int64, readout: Readout) -> Int64:
    """Return vectors of the smallest and largest codes whose products cancel, to 0 and to 1 on both sides.

    Parameters and result as of `at_ties`.
    """
    return _aimed(conductance, readout.dac, [[-1, 0, 1]] * conductance.shape[2], FOR_ZERO, extreme=True)


def reach_of(conductance: Int64, dac: Dac) -> Int64:
    """Return what no sum of a column exceeds in size, in the first phase of a product."""
    low, high = drive_range(dac)
    return np.minimum(np.abs(conductance).sum(axis=1).max(axis=0) * max(high, -low), SUM_MOST)


def _first_sums(adc: PlainAdc, codes: Int64, reach: Int64) -> list[list[int]]:
    """Return the smallest sums with at least these codes, shape (k, columns), by column, where they are in reach."""
    low, high = -reach - 1 + 0 * codes, reach + 1 + 0 * codes
    found = (codes_of_sums(low, adc) < codes) & (codes_of_sums(high, adc) >= codes)
    while (high - low > 1).any():
        middle = (low + high) >> 1
        reached = codes_of_sums(middle, adc) >= codes
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return [high[found[:, column], column].tolist() for column in range(high.shape[1])]


def _aimed(conductance: Int64, dac: Dac, wanted: list[list[int]], use: int, *, extreme: bool = False) -> Int64:
    """Return vectors of DAC codes that give the wanted sums of each column, on each line, where they are in reach."""
    low, high = drive_range(dac)
    longest = max(len(column) for column in wanted)
    targets = np.zeros((len(wanted), longest), np.int64)
    asked = np.zeros(targets.shape, np.bool_)
    for place, column in enumerate(wanted):
        targets[place, : len(column)] = column
        asked[place, : len(column)] = True
    found = []
    for line in conductance:
        vectors, reached = vectors_of_sums(line, targets, low, high, use=use, extreme=extreme)
        found.append(vectors[asked & reached])
    return np.concatenate(found) - dac.offset
