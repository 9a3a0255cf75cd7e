"""The forms of published laws: how a quantity of a device depends on its relative conductance g.

A law takes an array of g and returns a value for each, in float64, in the order written; SPEC.md, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pcmref.arithmetic.choice import kernels_for
from pcmref.arrays import Float64

__all__ = ["G_SMALLEST", "Constant", "Law", "Logarithm", "Piecewise", "Polynomial", "PowerLaw"]

#: Smallest relative conductance that the logarithm and the power law see (aihwkit's limit).  It keeps ln 0 away; every
#: published law is clipped there.
G_SMALLEST = 1e-7


class Law(Protocol):
    """A published dependence on the relative conductance g."""

    def __call__(self, g: Float64) -> Float64:
        """Return the value at each g."""
        ...


@dataclass(frozen=True)
class Constant:
    """``value``, whatever g."""

    value: float

    def __call__(self, g: Float64) -> Float64:
        """Return `value` at each g."""
        return np.full_like(g, self.value)


@dataclass(frozen=True)
class Polynomial:
    """``max(c0 + c1 g + c2 g^2 + ..., 0)``, computed by Horner's rule; `coefficients` in rising powers."""

    coefficients: tuple[float, ...]

    def __call__(self, g: Float64) -> Float64:
        """Return the polynomial at each g, at least 0."""
        value = np.full_like(g, self.coefficients[-1])
        for coefficient in reversed(self.coefficients[:-1]):
            value = value * g + coefficient
        return np.maximum(value, 0.0)


@dataclass(frozen=True)
class Logarithm:
    """``clip(slope ln g + offset, low, high)``."""

    slope: float
    offset: float
    low: float
    high: float

    def __call__(self, g: Float64) -> Float64:
        """Return the clipped logarithm at each g."""
        return np.clip(self.slope * kernels_for(g).ln(np.maximum(g, G_SMALLEST)) + self.offset, self.low, self.high)


@dataclass(frozen=True)
class PowerLaw:
    """``min(factor g^exponent, high)``."""

    factor: float
    exponent: float
    high: float

    def __call__(self, g: Float64) -> Float64:
        """Return the capped power at each g."""
        return np.minimum(self.factor * kernels_for(g).power(np.maximum(g, G_SMALLEST), self.exponent), self.high)


@dataclass(frozen=True)
class Piecewise:
    """`below` where ``g < split``, `above` elsewhere."""

    split: float
    below: Law
    above: Law

    def __call__(self, g: Float64) -> Float64:
        """Return the law that holds at each g."""
        return np.where(g < self.split, self.below(g), self.above(g))
