"""The rounding of the digital periphery, in float32, one rounding an operation: SPEC.md, sections 8 and 9.

`pcmref.arithmetic.fast.rules` has the same rules for one number at a time.
"""

from __future__ import annotations

import numpy as np

from pcmref.arrays import Float32, Numbers

__all__ = ["added", "normalised", "rectified", "scaled"]


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
