"""The rounding of the digital periphery, in float32, one rounding an operation: SPEC.md, sections 8 and 9.

`pcmref.arithmetic.fast.rules` has the same rules for one number at a time.
"""

from __future__ import annotations

import numpy as np

from pcmref.arithmetic.elementary import exp, power
from pcmref.arrays import Float32, Numbers

__all__ = [
    "added",
    "clipped",
    "hard_sigmoid",
    "hyperbolic_tangent",
    "leaky",
    "local_response",
    "multiplied",
    "normalised",
    "rectified",
    "scaled",
    "sigmoid",
]

#: Below this, tanh x rounds to x: the next term of its series, x^3 / 3, is less than half a unit in the last place.
TANH_IS_X_BELOW = 2.0**-12


def scaled(codes: Numbers, factor: Float32) -> Float32:
    """Return ``float32(code) factor``, the digital scale; `factor` is ``unit`` or ``step unit``."""
    return codes.astype(np.float32) * factor


def normalised(x: Float32, scale: Float32, offset: Float32) -> Float32:
    """Return ``x scale + offset``, rounded after the product and after the sum: a folded batch normalisation."""
    y = x * scale
    y += offset
    return y


def added(x: Float32, y: Float32) -> Float32:
    """Return ``x + y``."""
    return np.asarray(x + y)


def rectified(x: Float32) -> Float32:
    """Return +0 where ``x <= 0``, else x: the ReLU."""
    y = np.maximum(x, np.float32(0))
    y += np.float32(0)  # the larger of -0 and 0 may be either; the sum is +0
    return y


def multiplied(x: Float32, y: Float32) -> Float32:
    """Return ``x y``; y may have one factor for each channel of a map."""
    return np.asarray(x * (y if y.ndim == x.ndim else y[:, None, None]))


def leaky(x: Float32, slope: float) -> Float32:
    """Return x where ``x > 0``, else ``slope x``."""
    return np.where(x > 0, x, x * np.float32(slope))


def clipped(x: Float32, low: float, high: float) -> Float32:
    """Return `low` where x is below it, `high` where it is above it, else x."""
    low, high = np.float32(low), np.float32(high)
    return np.where(x < low, low, np.where(x > high, high, x))


def hard_sigmoid(x: Float32, slope: float, offset: float) -> Float32:
    """Return ``x slope + offset``, rounded after the product and after the sum, between 0 and 1."""
    return clipped(normalised(x, np.float32(slope), np.float32(offset)), 0.0, 1.0)


def sigmoid(x: Float32) -> Float32:
    """Return ``1 / (1 + exp(-x))``, in float64, rounded to float32."""
    return np.asarray(1.0 / (1.0 + exp(-x.astype(np.float64))), np.float32)


def hyperbolic_tangent(x: Float32) -> Float32:
    """Return tanh x: x below 2^-12, else, with ``e = exp(-2 |x|)``, ``(1 - e) / (1 + e)`` with x's sign, in float64."""
    size = np.abs(x.astype(np.float64))
    e = exp(-2.0 * size)
    value = np.where(size < TANH_IS_X_BELOW, size, (1.0 - e) / (1.0 + e))
    return np.asarray(np.copysign(value, x), np.float32)


def local_response(x: Float32, size: int, alpha: float, beta: float, bias: float) -> Float32:
    """Return ``x / (bias + alpha / size sum of x^2)^beta``, in float64, rounded to float32.

    The sum runs over the channels from ``floor((size - 1) / 2)`` before to ``floor(size / 2)`` after, where there are
    any, in order, from 0 on.
    """
    exact, channels = x.astype(np.float64), x.shape[-1]
    squares = exact * exact
    total = np.zeros_like(exact)
    for shift in range(-((size - 1) // 2), size // 2 + 1):
        first, last = max(0, -shift), min(channels, channels - shift)
        if first < last:
            total[..., first:last] += squares[..., first + shift : last + shift]
    return np.asarray(exact / power(bias + alpha / size * total, beta), np.float32)
