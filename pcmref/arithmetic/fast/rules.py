"""The rules of a product for one number at a time: the compiled twins of ``codes.py`` and ``periphery.py``.

Same names in the singular, same order, same bits; the loops of `stages` and `layer` call them, and LLVM inlines them.
"""

from __future__ import annotations

import math

import numpy as np

from pcmref.arithmetic.codes import ROUNDINGS, SMALLEST_INPUT, VARIANCE_STEP
from pcmref.arithmetic.fast.compiler import compiled

__all__ = [
    "adc_code",
    "added",
    "dac_code",
    "dac_gain",
    "limited",
    "normalised",
    "read_noise",
    "rectified",
    "rounded",
    "scaled",
    "table_code",
]

HALF_EVEN, HALF_AWAY, HALF_UP, FLOOR, TOWARD_ZERO = range(len(ROUNDINGS))


@compiled
def dac_gain(top, high):  # type: ignore[no-untyped-def]
    """``dac_high / top`` and ``top / dac_high``, in float32; both 0 where `top` is below 2^-100."""
    if top < SMALLEST_INPUT:
        return np.float32(0), np.float32(0)
    return high / top, top / high


@compiled
def dac_code(x, gain, low, high):  # type: ignore[no-untyped-def]
    """``clip(rint(x gain), low, high)``, in float32."""
    return np.int16(min(max(np.rint(x * gain), low), high))


@compiled
def read_noise(z, variance):  # type: ignore[no-untyped-def]
    """``rint(z sqrt(64 B))``, in float64."""
    return np.int64(np.rint(z * math.sqrt(VARIANCE_STEP * np.float64(variance))))


@compiled
def limited(total, bits, saturates):  # type: ignore[no-untyped-def]
    """Put a sum into a register of two's complement: the nearest number that fits, or the low bits."""
    half = np.int64(1) << (bits - 1)
    if saturates:
        return min(max(np.int64(total), -half), half - 1)
    return ((np.int64(total) + half) & (2 * half - 1)) - half


@compiled
def rounded(v, rounding):  # type: ignore[no-untyped-def]
    """``round(v)`` by the rule of this position in `ROUNDINGS`."""
    if rounding == HALF_EVEN:
        return np.rint(v)
    if rounding == FLOOR:
        return np.floor(v)
    if rounding == TOWARD_ZERO:
        return np.trunc(v)
    size = abs(v) if rounding == HALF_AWAY else v
    down = np.floor(size)
    nearest = down + np.float64(size - down >= 0.5)
    return math.copysign(nearest, v) if rounding == HALF_AWAY else nearest


@compiled
def adc_code(total, gain, offset, low, high, rounding):  # type: ignore[no-untyped-def]
    """``clip(round((sum + offset) gain), low, high)``, in float64."""
    return np.int32(min(max(rounded((np.float64(total) + offset) * gain, rounding), low), high))


@compiled
def table_code(total, thresholds, column, low):  # type: ignore[no-untyped-def]
    """`low` plus the number of a column's thresholds, which do not fall, that the sum reaches; one less than 2^k."""
    reached, step = 0, (thresholds.shape[1] + 1) // 2
    while step > 0:  # without branches that a processor would guess
        reached += step * (thresholds[column, reached + step - 1] <= total)
        step //= 2
    return np.int32(low + reached)


@compiled
def scaled(code, factor):  # type: ignore[no-untyped-def]
    """``float32(code) factor``."""
    return np.float32(code) * factor


@compiled
def normalised(x, scale, offset):  # type: ignore[no-untyped-def]
    """``x scale + offset``, rounded after the product and after the sum."""
    return x * scale + offset


@compiled
def added(x, y):  # type: ignore[no-untyped-def]
    """``x + y``."""
    return x + y


@compiled
def rectified(x, floor):  # type: ignore[no-untyped-def]
    """`floor` where ``x <= floor``, else x: the ReLU if that is +0, nothing if it is minus infinity."""
    return floor if x <= floor else x
