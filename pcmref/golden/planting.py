"""How a fault is planted on the plain tile: in its ADC, its vectors, its conductances, its noise, or its answers.

Each function takes a trial and returns wrong answers, or returns a function that does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from pcmref.arithmetic.codes import CODE_LIMIT, Rounding
from pcmref.arrays import Int64, IntegerArray
from pcmref.crossbar.converters import Accumulator, Beyond
from pcmref.golden.plain import PlainAdc, Trial, answers, conversions

__all__ = [
    "COLUMN_SETTINGS",
    "Answers",
    "Fault",
    "in_adc",
    "in_answers",
    "in_codes",
    "in_conductance",
    "in_limits",
    "in_noise",
    "in_weights",
    "narrow",
    "neighbour",
    "noise_late",
    "not_cleared",
    "previous",
    "products_cut",
    "register_that",
    "rounds",
    "times",
    "without",
    "zero_kept",
]

Answers: TypeAlias = Callable[[Trial], Int64]

#: What each column of an ADC may have of its own.
COLUMN_SETTINGS = ("multiplier", "shift", "gain", "offset", "thresholds")
#: Low bits that a product loses where products are cut.
CUT_BITS = 2


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is wrong with a tile.

    Parameters
    ----------
    name : str
    meaning : str
        What the tile does, after "the tile".
    answers : callable
        What it answers to a trial.
    applies : callable
        Whether a tile like that of the trial can have it.
    remembers : bool
        Whether an answer depends on the vectors before it.
    """

    name: str
    meaning: str
    answers: Answers
    applies: Callable[[Trial], bool] = lambda work: True
    remembers: bool = False


def in_adc(change: Callable[[PlainAdc], PlainAdc]) -> Answers:
    """Plant a fault in the ADC."""
    return lambda work: answers(work if work.adc is None else replace(work, adc=change(work.adc)))


def in_codes(change: Callable[[IntegerArray, Trial], IntegerArray]) -> Answers:
    """Plant a fault in the vectors."""
    return lambda work: answers(replace(work, codes=change(work.codes, work), products=None))


def in_conductance(change: Callable[[Int64], Int64]) -> Answers:
    """Plant a fault in the conductances, shape (sets, lines, rows, columns)."""
    return lambda work: answers(replace(work, conductance=change(work.conductance), products=None))


def in_noise(change: Callable[[Int64], Int64]) -> Answers:
    """Plant a fault in the noise, shape (conversions, n, columns)."""
    return lambda work: answers(replace(work, noise=None if work.noise is None else change(work.noise)))


def in_weights(weigh: Callable[[list[int], Trial], list[int]]) -> Answers:
    """Plant a fault in what the codes of the conversions count."""
    return lambda work: answers(work, lambda weights: weigh(weights, work))


def in_answers(change: Callable[[Int64], Int64]) -> Answers:
    """Plant a fault in the answers."""
    return lambda work: change(answers(work))


def rounds(rounding: Rounding) -> Answers:
    """Round in another way."""
    return in_adc(lambda adc: replace(adc, rounding=rounding))


def times(change: Callable[[Int64], Int64]) -> Answers:
    """Change the multiplier of a gain in fixed point."""
    return in_adc(lambda adc: replace(adc, multiplier=None if adc.multiplier is None else change(adc.multiplier)))


def in_limits(low: int, high: int) -> Answers:
    """Move the limits of the ADC; thresholds beyond them are lost."""

    def change(adc: PlainAdc) -> PlainAdc:
        kept = None if adc.thresholds is None else adc.thresholds[:, low : adc.thresholds.shape[1] + high]
        return replace(adc, low=adc.low + low, high=adc.high + high, thresholds=kept)

    return in_adc(change)


def neighbour(adc: PlainAdc) -> PlainAdc:
    """Return an ADC in which each column has the settings of the column before it."""
    settings = {name: getattr(adc, name) for name in COLUMN_SETTINGS}
    return replace(adc, **{name: np.roll(v, 1, axis=0) for name, v in settings.items() if v is not None})


def previous(values: Any, axis: int = 0) -> Any:
    """Return what came before along an axis; zeros before the first."""
    before = np.roll(values, 1, axis=axis)
    before[(slice(None),) * axis + (slice(0, 1),)] = 0
    return before


def without(row: int) -> Answers:
    """Leave a row out."""

    def change(conductance: Int64) -> Int64:
        kept = conductance.copy()
        kept[:, :, row] = 0
        return kept

    return in_conductance(change)


def register_that(beyond: Beyond) -> Answers:
    """Let the accumulator do something else with a sum that it cannot hold."""

    def wrong(work: Trial) -> Int64:
        held = work.accumulator
        return answers(work if held is None else replace(work, accumulator=replace(held, beyond=beyond)))

    return wrong


def narrow(fewer: int) -> Answers:
    """Let the accumulator wrap, so many bits narrower than its contract, or than any sum of so many rows, asks for."""

    def wrong(work: Trial) -> Int64:
        bits = (work.conductance.shape[2] * work.dac.largest * CODE_LIMIT).bit_length() + 1
        if work.accumulator is not None:
            bits = min(bits, work.accumulator.bits)
        return answers(replace(work, accumulator=Accumulator(bits=max(bits - fewer, 2), beyond="wrap")))

    return wrong


def not_cleared(work: Trial) -> Int64:
    """Start each sum from that of the vector before."""
    sums = np.stack([conversion.noise_free for conversion in conversions(work)])
    return answers(replace(work, noise=_added(work, previous(np.cumsum(sums, axis=1), axis=1))))


def products_cut(work: Trial) -> Int64:
    """Drop the low bits of each product; they follow from the operands' low bits alone."""
    values = 1 << CUT_BITS
    codes = work.codes % values
    lost = np.zeros((1, len(codes), work.conductance.shape[-1]), np.int64)
    for number, (conductance,) in enumerate(work.conductance % values):
        met = work.chosen == number
        for low in range(1, values):
            rest = ((low * conductance) % values).astype(np.float32)  # at most 3 a row, exact
            lost[0, met] += ((codes[met] == low).astype(np.float32) @ rest).astype(np.int64)
    return answers(replace(work, noise=_added(work, -lost)))


def zero_kept(work: Trial) -> Int64:
    """Take nothing off the codes for an input of zeros."""
    return np.sum([part.weight * part.codes for part in conversions(work)], axis=0)


def noise_late(work: Trial) -> Int64:
    """Add the noise of the one conversion to its codes."""
    if work.noise is None or work.adc is None:
        return answers(work)
    late = answers(replace(work, noise=None)) + work.noise[0]
    return np.clip(late, work.adc.low, work.adc.high)


def _added(work: Trial, more: Int64) -> Int64:
    """Return the noise with something added to it, which a sum then has, too."""
    return more if work.noise is None else work.noise + more
