"""Faults of what makes the sum: vectors, conductances, rows and columns, phases; and of the order of vectors."""

from __future__ import annotations

import numpy as np

from pcmref.arrays import Int64, IntegerArray
from pcmref.golden import planting as plant
from pcmref.golden.plain import Trial
from pcmref.golden.planting import Fault

__all__ = ["ARRAY_FAULTS"]


def _pairs(work: Trial) -> bool:
    return work.conductance.shape[1] == 1


def _separate(work: Trial) -> bool:
    return not _pairs(work)


def _rows(work: Trial) -> bool:
    return work.conductance.shape[2] > 1


def _columns(work: Trial) -> bool:
    return work.conductance.shape[3] > 1


def _signed(work: Trial) -> bool:
    return work.dac.low < 0 and work.dac.offset == 0


def _signed_words(work: Trial) -> bool:
    return _signed(work) and work.dac.drive != "bit-serial"


def _lowest(work: Trial) -> bool:
    return work.dac.low == -(1 << (work.dac.bits - 1))


def _multiplies(work: Trial) -> bool:
    return _pairs(work) and work.dac.offset == 0 and work.dac.drive == "parallel"


def _signed_phases(work: Trial) -> bool:
    return min(work.dac.weights) < 0


def _serial(work: Trial) -> bool:
    return work.dac.drive == "bit-serial"


def _driven_offset(work: Trial) -> bool:
    return work.dac.offset != 0


def _first_row_stale(codes: IntegerArray, work: Trial) -> IntegerArray:
    stale = codes.copy()
    stale[:, 0] = plant.previous(codes[:, 0])
    return stale


def _first_rows_swapped(conductance: Int64) -> Int64:
    return conductance[:, :, [1, 0, *range(2, conductance.shape[2])]]


def _lines_added(weights: list[int], work: Trial) -> list[int]:
    half = len(weights) // 2
    return weights[:half] * 2


def _planes_reversed(weights: list[int], work: Trial) -> list[int]:
    bits = work.dac.bits
    return [weight for first in range(0, len(weights), bits) for weight in reversed(weights[first : first + bits])]


def _phases_unsigned(weights: list[int], work: Trial) -> list[int]:
    phases = len(work.dac.weights)
    return [abs(weight) * (1 if number < phases else -1) for number, weight in enumerate(weights)]


#: All of them.
ARRAY_FAULTS = (
    Fault(
        name="accumulator-not-cleared",
        meaning="starts each sum from that of the vector before",
        answers=plant.not_cleared,
        remembers=True,
    ),
    Fault(
        name="products-cut",
        meaning=f"drops the low {plant.CUT_BITS} bits of each product",
        answers=plant.products_cut,
        applies=_multiplies,
    ),
    Fault(
        name="codes-unsigned",
        meaning="takes DAC codes for unsigned",
        answers=plant.in_codes(lambda codes, work: codes & ((1 << work.dac.bits) - 1)),
        applies=_signed_words,
    ),
    Fault(
        name="code-low-bit-lost",
        meaning="takes the lowest bit of a DAC code for 0",
        answers=plant.in_codes(lambda codes, work: codes & ~1),
    ),
    Fault(
        name="lowest-code-lost",
        meaning="takes the smallest DAC code for the one above it",
        answers=plant.in_codes(lambda codes, work: np.maximum(codes, work.dac.low + 1)),
        applies=_lowest,
    ),
    Fault(
        name="conductance-unsigned",
        meaning="takes conductance codes for unsigned",
        answers=plant.in_conductance(lambda g: g & 0xFFFF),
        applies=_pairs,
    ),
    Fault(
        name="conductance-8-bits",
        meaning="keeps 8 bits of a conductance code",
        answers=plant.in_conductance(lambda g: ((g + 128) & 0xFF) - 128),
    ),
    Fault(
        name="conductance-low-bit-lost",
        meaning="takes the lowest bit of a conductance code for 0",
        answers=plant.in_conductance(lambda g: g & ~1),
    ),
    Fault(
        name="lines-swapped",
        meaning="takes the + line for the - line",
        answers=plant.in_conductance(lambda g: -g if g.shape[1] == 1 else g[:, ::-1]),
    ),
    Fault(
        name="plus-line-only",
        meaning="has no current on the - line",
        answers=plant.in_conductance(
            lambda g: np.maximum(g, 0) if g.shape[1] == 1 else g * np.array([1, 0])[:, None, None]
        ),
    ),
    Fault(
        name="minus-line-only",
        meaning="has no current on the + line",
        answers=plant.in_conductance(
            lambda g: np.minimum(g, 0) if g.shape[1] == 1 else g * np.array([0, 1])[:, None, None]
        ),
    ),
    Fault(
        name="lines-added",
        meaning="adds the codes of the - line instead of subtracting them",
        answers=plant.in_weights(_lines_added),
        applies=_separate,
    ),
    Fault(
        name="rows-reversed",
        meaning="has its rows in the opposite order",
        answers=plant.in_conductance(lambda g: g[:, :, ::-1]),
        applies=_rows,
    ),
    Fault(
        name="first-rows-swapped",
        meaning="has rows 0 and 1 swapped",
        answers=plant.in_conductance(_first_rows_swapped),
        applies=_rows,
    ),
    Fault(name="first-row-missing", meaning="leaves out its first row", answers=plant.without(0)),
    Fault(
        name="last-row-missing",
        meaning="leaves out its last row, where a bias is",
        answers=plant.without(-1),
        applies=_rows,
    ),
    Fault(
        name="columns-reversed",
        meaning="answers with its columns in the opposite order",
        answers=plant.in_answers(lambda codes: codes[:, ::-1]),
        applies=_columns,
    ),
    Fault(
        name="columns-shifted",
        meaning="answers in each column with the code of the column before it",
        answers=plant.in_answers(lambda codes: np.roll(codes, 1, axis=1)),
        applies=_columns,
    ),
    Fault(
        name="vector-stale",
        meaning="multiplies the vector before",
        answers=plant.in_codes(lambda codes, work: plant.previous(codes)),
        remembers=True,
    ),
    Fault(
        name="first-row-stale",
        meaning="drives its first row with the code of the vector before",
        answers=plant.in_codes(_first_row_stale),
        remembers=True,
    ),
    Fault(
        name="answer-stale",
        meaning="answers with the codes of the vector before",
        answers=plant.in_answers(plant.previous),
        remembers=True,
    ),
    Fault(
        name="sign-of-phase-lost",
        meaning="adds the codes of the negative phase, or sign plane, instead of subtracting them",
        answers=plant.in_weights(_phases_unsigned),
        applies=_signed_phases,
    ),
    Fault(
        name="planes-reversed",
        meaning="weighs the bit planes in the opposite order",
        answers=plant.in_weights(_planes_reversed),
        applies=_serial,
    ),
    Fault(
        name="zero-kept",
        meaning="does not take off the code of an input of zeros",
        answers=plant.zero_kept,
        applies=_driven_offset,
    ),
)
