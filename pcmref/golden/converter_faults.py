"""Faults of what follows the sum: read noise, accumulator, ADC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pcmref.arithmetic.codes import ROUNDINGS, Rounding
from pcmref.crossbar.converters import Beyond
from pcmref.golden import planting as plant
from pcmref.golden.plain import Trial
from pcmref.golden.planting import Fault

__all__ = ["CONVERTER_FAULTS"]

#: What a tile does that rounds so.
ROUNDS = {
    "half-even": "rounds to the nearest code, ties to the even one",
    "half-away": "rounds to the nearest code, ties away from zero",
    "half-up": "rounds to the nearest code, ties up",
    "floor": "rounds down",
    "toward-zero": "rounds toward zero",
}


def _converts(work: Trial) -> bool:
    return work.adc is not None


def _scales(work: Trial) -> bool:
    return work.adc is not None and work.adc.thresholds is None


def _scales_in_integers(work: Trial) -> bool:
    return work.adc is not None and work.adc.multiplier is not None


def _has_bits(mask: int) -> Callable[[Trial], bool]:
    def applies(work: Trial) -> bool:
        return work.adc is not None and work.adc.multiplier is not None and bool((work.adc.multiplier & mask).any())

    return applies


def _scales_in_floats(work: Trial) -> bool:
    return work.adc is not None and work.adc.gain is not None


def _compares(work: Trial) -> bool:
    return work.adc is not None and work.adc.thresholds is not None


def _offsets(work: Trial) -> bool:
    return work.adc is not None and bool(work.adc.offset.any())


def _own_settings(work: Trial) -> bool:
    settings = (getattr(work.adc, name, None) for name in plant.COLUMN_SETTINGS)
    return any(values is not None and bool((values != values[:1]).any()) for values in settings)


def _noisy(work: Trial) -> bool:
    return work.noise is not None and bool(work.noise.any())


def _noisy_columns(work: Trial) -> bool:
    return _noisy(work) and _columns(work)


def _noisy_code(work: Trial) -> bool:
    return _noisy(work) and _converts(work) and work.noise is not None and len(work.noise) == 1


def _columns(work: Trial) -> bool:
    return work.conductance.shape[3] > 1


def _holds(beyond: Beyond) -> Callable[[Trial], bool]:
    return lambda work: work.accumulator is not None and work.accumulator.beyond == beyond


def _rounds_otherwise(rounding: Rounding) -> Callable[[Trial], bool]:
    return lambda work: work.adc is not None and work.adc.thresholds is None and work.adc.rounding != rounding


#: All of them.
CONVERTER_FAULTS = (
    *(
        Fault(
            name=f"rounds-{rounding}",
            meaning=ROUNDS[rounding],
            answers=plant.rounds(rounding),
            applies=_rounds_otherwise(rounding),
        )
        for rounding in ROUNDINGS
    ),
    Fault(
        name="saturation-missing",
        meaning="drops the high bits of a code that is beyond the limits instead of limiting it",
        answers=plant.in_adc(lambda adc: replace(adc, wraps=True)),
        applies=_scales,
    ),
    Fault(
        name="high-limit-one-more",
        meaning="limits codes one above the largest code",
        answers=plant.in_limits(0, 1),
        applies=_scales,
    ),
    Fault(
        name="high-limit-one-less",
        meaning="limits codes one below the largest code",
        answers=plant.in_limits(0, -1),
        applies=_converts,
    ),
    Fault(
        name="low-limit-one-less",
        meaning="limits codes one below the smallest code",
        answers=plant.in_limits(-1, 0),
        applies=_scales,
    ),
    Fault(
        name="low-limit-one-more",
        meaning="limits codes one above the smallest code",
        answers=plant.in_limits(1, 0),
        applies=_converts,
    ),
    Fault(
        name="gain-doubled",
        meaning="shifts one place too few: its gain is twice as large",
        answers=plant.times(lambda m: 2 * m),
        applies=_scales_in_integers,
    ),
    Fault(
        name="gain-halved",
        meaning="shifts one place too many: its gain is half as large",
        answers=plant.in_adc(lambda adc: replace(adc, shift=None if adc.shift is None else adc.shift + 1)),
        applies=_scales_in_integers,
    ),
    Fault(
        name="multiplier-low-bit-lost",
        meaning="takes the lowest bit of the gain's multiplier for 0",
        answers=plant.times(lambda m: m & ~1),
        applies=_has_bits(1),
    ),
    Fault(
        name="multiplier-low-byte-lost",
        meaning="takes the lowest byte of the gain's multiplier for 0",
        answers=plant.times(lambda m: m & ~0xFF),
        applies=_has_bits(0xFF),
    ),
    Fault(
        name="gain-in-float32",
        meaning="has its gain rounded to float32",
        answers=plant.in_adc(
            lambda adc: replace(adc, gain=None if adc.gain is None else adc.gain.astype(np.float32).astype(np.float64))
        ),
        applies=_scales_in_floats,
    ),
    Fault(
        name="converter-of-neighbour",
        meaning="converts each column with the settings of the column before it",
        answers=plant.in_adc(plant.neighbour),
        applies=_own_settings,
    ),
    Fault(
        name="threshold-exceeded",
        meaning="counts a threshold only when the sum exceeds it",
        answers=plant.in_adc(
            lambda adc: replace(adc, thresholds=None if adc.thresholds is None else adc.thresholds + 1)
        ),
        applies=_compares,
    ),
    Fault(
        name="offset-ignored",
        meaning="adds no offset to the sum",
        answers=plant.in_adc(lambda adc: replace(adc, offset=0 * adc.offset)),
        applies=_offsets,
    ),
    Fault(
        name="offset-subtracted",
        meaning="subtracts the offset from the sum",
        answers=plant.in_adc(lambda adc: replace(adc, offset=-adc.offset)),
        applies=_offsets,
    ),
    Fault(
        name="accumulator-one-bit-narrow",
        meaning="wraps in an accumulator that is one bit too narrow",
        answers=plant.narrow(1),
    ),
    Fault(
        name="accumulator-four-bits-narrow",
        meaning="wraps in an accumulator that is four bits too narrow",
        answers=plant.narrow(4),
    ),
    Fault(
        name="accumulator-wraps",
        meaning="drops the high bits of a sum that its accumulator cannot hold",
        answers=plant.register_that("wrap"),
        applies=_holds("saturate"),
    ),
    Fault(
        name="accumulator-saturates",
        meaning="saturates at a sum that its accumulator cannot hold",
        answers=plant.register_that("saturate"),
        applies=_holds("wrap"),
    ),
    Fault(
        name="noise-missing",
        meaning="adds no read noise",
        answers=plant.in_noise(lambda noise: 0 * noise),
        applies=_noisy,
    ),
    Fault(
        name="noise-twice",
        meaning="adds the read noise twice",
        answers=plant.in_noise(lambda noise: 2 * noise),
        applies=_noisy,
    ),
    Fault(
        name="noise-subtracted",
        meaning="subtracts the read noise",
        answers=plant.in_noise(lambda noise: -noise),
        applies=_noisy,
    ),
    Fault(
        name="noise-of-neighbour",
        meaning="adds the read noise of the column before",
        answers=plant.in_noise(lambda noise: np.roll(noise, 1, axis=2)),
        applies=_noisy_columns,
    ),
    Fault(
        name="noise-stale",
        meaning="adds the read noise of the vector before",
        answers=plant.in_noise(lambda noise: plant.previous(noise, axis=1)),
        applies=_noisy,
        remembers=True,
    ),
    Fault(
        name="noise-after-adc",
        meaning="adds the read noise to the code instead of the sum",
        answers=plant.noise_late,
        applies=_noisy_code,
    ),
)
