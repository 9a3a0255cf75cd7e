"""Integer codes of conductances and converters: each rule of SPEC.md, sections 7 and 8, once, in plain NumPy.

`pcmref.arithmetic.fast.rules` has the rules of a product again, for one number at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pcmref.arrays import Float32, Float64, Int16, Int64
from pcmref.errors import real

__all__ = [
    "CODE_LIMIT",
    "SMALLEST_INPUT",
    "VARIANCE_STEP",
    "Range",
    "adc_codes",
    "adc_gain",
    "adc_lsb_us",
    "conductance_codes",
    "dac_codes",
    "dac_gain",
    "largest_code",
    "read_noise",
    "variance_codes",
]

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
    sum_top_us : float
        Partial sum that the largest ADC code stands for: activation times uS.
    """

    input_top: float
    sum_top_us: float

    def __post_init__(self) -> None:
        for name, least in RANGE_LEAST.items():
            expected = f"a number from 2^{least} to 2^{RANGE_MOST}"
            ends = math.ldexp(1.0, least), math.ldexp(1.0, RANGE_MOST)
            object.__setattr__(self, name, real(f"range {name}", getattr(self, name), expected, *ends))


def largest_code(bits: int) -> int:
    """Return the largest code of a converter: ``2^(bits-1) - 1`` (SPEC.md, section 8)."""
    return (1 << (bits - 1)) - 1


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
        Variance of the read noise of each pair, uS^2.
    g_step_us : float
        Step of the conductance grid, uS.
    """
    return _grid(variance_us2, VARIANCE_STEP * g_step_us**2)


def _grid(values: Float64, step: float) -> Int16:
    return np.minimum(np.rint(values / step), CODE_LIMIT).astype(np.int16)


def dac_gain(top: Float32, limit: int) -> tuple[Float32, Float32]:
    """Return the DAC's codes per unit and units per code, ``limit / top`` and ``top / limit``, in float32.

    Where `top`, the full scale of each image, is below 2^-100 both are 0 (SPEC.md, section 8).
    """
    silent = top < SMALLEST_INPUT
    divisor, zero = np.where(silent, np.float32(1), top), np.float32(0)
    return np.where(silent, zero, np.float32(limit) / divisor), np.where(silent, zero, divisor / np.float32(limit))


def dac_codes(x: Float32, gain: Float32, limit: int) -> Int16:
    """Return ``clip(rint(x gain), -limit, limit)``, in float32, ties to even (SPEC.md, section 8)."""
    with np.errstate(over="ignore"):  # what overflows saturates
        return np.clip(np.rint(x * gain), -limit, limit).astype(np.int16)


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


def adc_lsb_us(full_scale: Range, adc_bits: int) -> float:
    """Return what one ADC code stands for, activation times uS: ``sum_top / limit`` (SPEC.md, section 8)."""
    return full_scale.sum_top_us / largest_code(adc_bits)


def adc_gain(full_scale: Range, *, dac_bits: int, adc_bits: int, g_step_us: float) -> float:
    """Return the ADC's codes per unit of the integer sum: ``step g_step / lsb``, in float64 (SPEC.md, section 8)."""
    _, step = dac_gain(np.full(1, full_scale.input_top, np.float32), largest_code(dac_bits))
    return float(step[0]) * g_step_us / adc_lsb_us(full_scale, adc_bits)


def adc_codes(sums: Int64, gain: float, limit: float) -> Int64:
    """Return ``clip(rint(sum gain), -limit, limit)``, in float64, ties to even (SPEC.md, section 8)."""
    with np.errstate(over="ignore"):  # what overflows saturates
        return np.clip(np.rint(sums * gain), -limit, limit).astype(np.int64)
