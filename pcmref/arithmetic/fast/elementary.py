"""The elementary functions of ``elementary.py`` as numba loops, with the same bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.elementary import (
    ARTANH_SERIES,
    EXP_LIMIT,
    EXP_SERIES,
    INVERSE_LN2,
    LN2_HIGH,
    LN2_LOW,
    SQRT_HALF,
)
from pcmref.arithmetic.fast.compiler import compiled
from pcmref.arrays import Float64

__all__ = ["exp", "fill_ln", "ln", "power"]

#: Where a float64 has its exponent, and that of the numbers from 1/2 to 1.
EXPONENT, OF_HALF = 52, 1022
MANTISSA = (1 << EXPONENT) - 1


def ln(x: npt.ArrayLike) -> Float64:
    """Return the natural logarithm; see the twin."""
    x = np.asarray(x, np.float64)
    out = np.empty(x.shape)
    fill_ln(np.ascontiguousarray(x).reshape(-1), out.reshape(-1))
    return out


def exp(x: npt.ArrayLike) -> Float64:
    """Return the exponential function; see the twin."""
    x = np.asarray(x, np.float64)
    out = np.empty(x.shape)
    _fill_exp(np.ascontiguousarray(x).reshape(-1), out.reshape(-1))
    return out


def power(base: npt.ArrayLike, exponent: npt.ArrayLike) -> Float64:
    """Return a power of a positive base; see the twin."""
    return exp(np.asarray(exponent, np.float64) * ln(base))


@compiled
def fill_ln(x, out):  # type: ignore[no-untyped-def]
    """Fill `out`, which does not overlap x, with the logarithms of a row; NaN where x is infinite or NaN."""
    taken, bits = x.view(np.int64), out.view(np.int64)
    for i in range(len(x)):
        # x = mantissa 2^exponent with the mantissa in [1/2, 1), as frexp gives it, without a call
        exponent = np.float64(np.int32((taken[i] >> EXPONENT) - OF_HALF))
        bits[i] = (taken[i] & MANTISSA) | (OF_HALF << EXPONENT)
        low = out[i] < SQRT_HALF
        mantissa = out[i] + out[i] if low else out[i]
        e = exponent - 1.0 if low else exponent
        s = (mantissa - 1.0) / (mantissa + 1.0)
        square = s * s
        tail = s * square * _artanh(square)
        value = e * LN2_HIGH + ((s + s) + ((tail + tail) + e * LN2_LOW))
        out[i] = value if x[i] - x[i] == 0.0 else np.nan


@compiled
def _fill_exp(x, out):  # type: ignore[no-untyped-def]
    bits = out.view(np.int64)
    for i in range(len(x)):
        clipped = min(max(x[i], -EXP_LIMIT), EXP_LIMIT)
        k = np.rint(clipped * INVERSE_LN2)
        out[i] = _series((clipped - k * LN2_HIGH) - k * LN2_LOW)
        bits[i] += np.int64(np.int32(k)) << EXPONENT  # times 2^k, as no result is subnormal or infinite


@compiled
def _artanh(x):  # type: ignore[no-untyped-def]
    # written out, so that the loops around it can be vectorised
    c = ARTANH_SERIES
    value = (((((c[0] * x + c[1]) * x + c[2]) * x + c[3]) * x + c[4]) * x + c[5]) * x + c[6]
    return (((value * x + c[7]) * x + c[8]) * x + c[9]) * x + c[10]


@compiled
def _series(x):  # type: ignore[no-untyped-def]
    c = EXP_SERIES
    value = ((((((c[0] * x + c[1]) * x + c[2]) * x + c[3]) * x + c[4]) * x + c[5]) * x + c[6]) * x + c[7]
    return ((((((value * x + c[8]) * x + c[9]) * x + c[10]) * x + c[11]) * x + c[12]) * x + c[13]) * x + c[14]
