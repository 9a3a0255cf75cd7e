"""The rules of a product for one number at a time: the compiled twins of ``codes.py`` and ``periphery.py``.

Same names in the singular, same order, same bits; the loops of `stages` and `layer` call them, and LLVM inlines them.
"""

from __future__ import annotations

import math

import numpy as np

from pcmref.arithmetic.codes import SMALLEST_INPUT, VARIANCE_STEP
from pcmref.arithmetic.fast.compiler import compiled

__all__ = ["adc_code", "added", "dac_code", "dac_gain", "normalised", "read_noise", "rectified", "scaled"]


@compiled
def dac_gain(top, limit):  # type: ignore[no-untyped-def]
    """``limit / top`` and ``top / limit``, in float32; both 0 where `top` is below 2^-100."""
    if top < SMALLEST_INPUT:
        return np.float32(0), np.float32(0)
    return limit / top, top / limit


@compiled
def dac_code(x, gain, limit):  # type: ignore[no-untyped-def]
    """``clip(rint(x gain), -limit, limit)``, in float32."""
    return np.int16(min(max(np.rint(x * gain), -limit), limit))


@compiled
def read_noise(z, variance):  # type: ignore[no-untyped-def]
    """``rint(z sqrt(64 B))``, in float64."""
    return np.int64(np.rint(z * math.sqrt(VARIANCE_STEP * np.float64(variance))))


@compiled
def adc_code(total, gain, limit):  # type: ignore[no-untyped-def]
    """``clip(rint(sum gain), -limit, limit)``, in float64."""
    return np.int32(min(max(np.rint(np.float64(total) * gain), -limit), limit))


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
def rectified(x):  # type: ignore[no-untyped-def]
    """+0 where ``x <= 0``, else x."""
    return np.float32(0) if x <= np.float32(0) else x
