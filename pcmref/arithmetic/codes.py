"""Integer codes of conductances and converters: each rule of SPEC.md, sections 7 and 8, once, in plain NumPy.

`pcmref.arithmetic.fast.rules` has the rules of a product again, for one number at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from pcmref.arrays import Float32, Float64, Int16, Int64
from pcmref.errors import ParameterError, describe, real

__all__ = [
    "CODE_LIMIT",
    "ROUNDINGS",
    "SMALLEST_INPUT",
    "VARIANCE_STEP",
    "Range",
    "Rounding",
    "adc_codes",
    "adc_gain",
    "bit_planes",
    "conductance_codes",
    "dac_codes",
    "dac_gain",
    "limited",
    "polarities",
    "read_noise",
    "rounded",
    "table_codes",
    "variance_codes",
]

#: How a number becomes an integer: to the nearest, ties to the even one, away from zero, or up; down; toward zero.
Rounding: TypeAlias = Literal["half-even", "half-away", "half-up", "floor", "toward-zero"]
#: All of them; the kernels know them by their position.
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)

#: Largest conductance code and variance code: both are 16-bit integers.
CODE_LIMIT = 32767
#: Step of the variance grid in units of the squared conductance step.
VARIANCE_STEP = 64
#: Inputs that are smaller than this throughout an image count as 0.
SMALLEST_INPUT = np.float32(2.0**-100)
#: Full scales that float32 arithmetic bears, as powers of 2: of the activation, as of an input that is heard, and of
#: the sum.
RANGE_LEAST, RANGE_MOST = {"input_top": -100, "sum_top_us": -126}, 100


@dataclass(frozen=True, kw_only=True)
class Range:
    """Full scale of the converters of one layer.

    Parameters
    ----------
    input_top : float
        Activation that the largest DAC code stands for.
    sum_top_us : float or tuple of float
        Partial sum that the largest ADC code stands for: activation times uS; or one for each group of columns that
        share tiles, from the left.
    """

    input_top: float
    sum_top_us: float | tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_top", _top("input_top", self.input_top))
        tops = self.sum_top_us
        if not isinstance(tops, Sequence) or isinstance(tops, str):
            object.__setattr__(self, "sum_top_us", _top("sum_top_us", tops))
        elif not tops:
            raise ParameterError("range sum_top_us", "a number, or one for each group of columns", describe(tops))
        else:
            each = tuple(_top("sum_top_us", top) for top in tops)
            object.__setattr__(self, "sum_top_us", each if len(each) > 1 else each[0])


def _top(name: str, value: object) -> float:
    least = RANGE_LEAST[name]
    ends = math.ldexp(1.0, least), math.ldexp(1.0, RANGE_MOST)
    return real(f"range {name}", value, f"a number from 2^{least} to 2^{RANGE_MOST}", *ends)


def conductance_codes(g_us: Float64, g_step_us: float) -> Int16:
    """Return ``n(G) = min(rint(G / g_step), 32767)``, ties to even (SPEC.md, section 7).

    Parameters
    ----------
    g_us : float64
        Conductances from 0 on, uS.
    g_step_us : float
        Step of the grid, uS.
    """
    return _grid(g_us, g_step_us)


def variance_codes(variance_us2: Float64, g_step_us: float) -> Int16:
    """Return ``V = min(rint(sigma^2 / v_step), 32767)``, ``v_step = 64 g_step^2``, ties to even (SPEC.md, section 7).

    Parameters
    ----------
    variance_us2 : float64
        Variance of the read noise of each device, uS^2.
    g_step_us : float
        Step of the conductance grid, uS.
    """
    return _grid(variance_us2, VARIANCE_STEP * g_step_us**2)


def _grid(values: Float64, step: float) -> Int16:
    return np.minimum(np.rint(values / step), CODE_LIMIT).astype(np.int16)


def dac_gain(top: Float32, high: int) -> tuple[Float32, Float32]:
    """Return the DAC's codes per unit and units per code, ``dac_high / top`` and ``top / dac_high``, in float32.

    Where `top`, the full scale of each image, is below 2^-100 both are 0 (SPEC.md, section 8).
    """
    silent = top < SMALLEST_INPUT
    divisor, zero = np.where(silent, np.float32(1), top), np.float32(0)
    return np.where(silent, zero, np.float32(high) / divisor), np.where(silent, zero, divisor / np.float32(high))


def dac_codes(x: Float32, gain: Float32, low: int, high: int) -> Int16:
    """Return ``clip(rint(x gain), dac_low, dac_high)``, in float32, ties to even (SPEC.md, section 8)."""
    with np.errstate(over="ignore"):  # what overflows saturates
        return np.clip(np.rint(x * gain), low, high).astype(np.int16)


def polarities(driven: Int16) -> Int16:
    """Return the phases of a two-phase drive: the positive part of what drives a row, and its negative part."""
    return np.stack([np.maximum(driven, 0), np.maximum(-driven, 0)])


def bit_planes(driven: Int16, bits: int) -> Int16:
    """Return the phases of a bit-serial drive: the bits of what drives a row, in two's complement, the lowest first."""
    return np.stack([(driven >> bit) & 1 for bit in range(bits)])


def read_noise(z: Float64, variance: Int64) -> Int64:
    """Return the fresh read noise of a sum: ``rint(z sqrt(64 B))``, in float64 (SPEC.md, section 8).

    Parameters
    ----------
    z : float64
        Standard normal numbers.
    variance : integers
        ``B``, the sum of squared codes times variance codes.
    """
    return np.rint(z * np.sqrt(VARIANCE_STEP * variance.astype(np.float64))).astype(np.int64)


def limited(sums: Int64, bits: int, saturates: bool) -> Int64:
    """Return what a register of two's complement holds of a sum: its low bits, or the nearest that fits.

    SPEC.md, section 8.
    """
    half = 1 << (bits - 1)
    if saturates:
        return np.clip(sums, -half, half - 1)
    return ((sums + half) & ((1 << bits) - 1)) - half


def adc_gain(input_step: float, g_step_us: float, lsb_us: float) -> float:
    """Return the ADC's codes per unit of the integer sum: ``step g_step / lsb``, in float64 (SPEC.md, section 8).

    Parameters
    ----------
    input_step : float
        Activation that one DAC code stands for; a float32 number.
    g_step_us : float
        Step of the conductance grid, uS.
    lsb_us : float
        What one ADC code stands for, activation times uS.
    """
    return input_step * g_step_us / lsb_us


def rounded(v: Float64, rounding: Rounding) -> Float64:
    """Return numbers rounded to integers (SPEC.md, section 8).

    ``v - floor(v)`` is exact in float64, or so close to 1 that it does not matter, so the rules are those of the
    numbers themselves.
    """
    if rounding == "half-even":
        return np.rint(v)
    if rounding == "floor":
        return np.floor(v)
    if rounding == "toward-zero":
        return np.trunc(v)
    size = np.abs(v) if rounding == "half-away" else v
    down = np.floor(size)
    nearest = down + (size - down >= 0.5)
    return np.copysign(nearest, v) if rounding == "half-away" else nearest


def adc_codes(sums: Int64, gain: Float64, offset: Float64, low: float, high: float, rounding: Rounding) -> Int64:
    """Return ``clip(round((sum + offset) gain), adc_low, adc_high)``, in float64 (SPEC.md, section 8).

    With ``gain = m / 2^s`` and codes beyond which ``2^s`` times the code is at most ``2^53`` this is the code of exact
    integers: a product below ``2^53`` is exact, and a larger one, rounded or not, saturates.

    Parameters
    ----------
    sums : integers, shape (..., columns)
    gain : float64, shape (columns,)
    offset : float64, shape (columns,)
    low, high : float
    rounding : Rounding
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows saturates
        return np.clip(rounded((sums + offset) * gain, rounding), low, high).astype(np.int64)


def table_codes(sums: Int64, thresholds: Int64, low: int) -> Int64:
    """Return ``adc_low`` plus the number of thresholds that each sum reaches (SPEC.md, section 8).

    Parameters
    ----------
    sums : integers, shape (..., columns)
    thresholds : int64, shape (columns, high - low)
        They do not fall.
    low : int
    """
    columns = [np.searchsorted(row, sums[..., c], side="right") for c, row in enumerate(thresholds)]
    return np.stack(columns, axis=-1).astype(np.int64) + low
