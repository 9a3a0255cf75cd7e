"""Converters as hardware has them: codes and drive of a DAC; gain, limits, rounding or thresholds of an ADC.

SPEC.md, section 8.  The rules themselves are in `pcmref.arithmetic.codes`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from pcmref.arithmetic.codes import ROUNDINGS, Rounding
from pcmref.arrays import Float64, Int64, refuse_masked
from pcmref.errors import ParameterError, describe, instance, integer, one_of, real

__all__ = ["Accumulator", "Adc", "Dac", "FixedPoint", "Gain", "converters_of", "fixed_point"]

#: Codes of a DAC of b bits.  "symmetric": ``-(2^(b-1) - 1)`` to ``2^(b-1) - 1``; "signed": ``-2^(b-1)`` to
#: ``2^(b-1) - 1``; "offset": the same codes, driven as ``code + 2^(b-1)``; "unsigned": 0 to ``2^b - 1``.
Codes: TypeAlias = Literal["symmetric", "signed", "offset", "unsigned"]
#: How a code drives its row.  "parallel": at once; "two-phase": its positive part, then its negative part;
#: "bit-serial": one bit of its two's complement after another.
Drive: TypeAlias = Literal["parallel", "two-phase", "bit-serial"]
#: What an accumulator does with a sum that it cannot hold.
Beyond: TypeAlias = Literal["error", "saturate", "wrap"]

#: Products of sums and multipliers stay below this while codes do not saturate, so that float64 holds them.
PRODUCT_MOST = 1 << 53
#: Codes per unit of the sum that float64 arithmetic bears, as powers of 2.
GAIN_LEAST, GAIN_MOST = -100, 100
#: Offsets and thresholds are smaller than this in size.
OFFSET_MOST = 1 << 52


@dataclass(frozen=True, kw_only=True)
class Dac:
    """How a crossbar is driven.

    Parameters
    ----------
    bits : int
        2 to 16, at most 15 unless codes are symmetric.
    codes : "symmetric", "signed", "offset" or "unsigned"
        Which codes there are.  Unsigned ones know no negative input: it counts as 0.
    drive : "parallel", "two-phase" or "bit-serial"
        With "two-phase" and "bit-serial" a product takes several conversions, whose codes are added digitally.
    """

    bits: int
    codes: Codes = "symmetric"
    drive: Drive = "parallel"

    def __post_init__(self) -> None:
        one_of("dac: codes", self.codes, get_args(Codes))
        one_of("dac: drive", self.drive, get_args(Drive))
        most = 16 if self.codes == "symmetric" else 15
        object.__setattr__(self, "bits", integer("dac: bits", self.bits, f"from 2 to {most}", 2, most))
        if self.drive == "two-phase" and self.codes in ("offset", "unsigned"):
            raise ParameterError(
                "dac: drive",
                f"another than 'two-phase', as {self.codes} codes drive no negative part",
                describe(self.drive),
            )

    @property
    def low(self) -> int:
        """Smallest code."""
        return {"symmetric": -self.high, "unsigned": 0}.get(self.codes, -(1 << (self.bits - 1)))

    @property
    def high(self) -> int:
        """Largest code: that of the full scale."""
        return (1 << (self.bits - (self.codes != "unsigned"))) - 1

    @property
    def offset(self) -> int:
        """What is added to a code before it drives its row."""
        return -self.low if self.codes == "offset" else 0

    @property
    def weights(self) -> tuple[int, ...]:
        """Weight of each phase of a product: the sum of the phases, each times its weight, is the driven code."""
        if self.drive == "parallel":
            return (1,)
        if self.drive == "two-phase":
            return (1, -1)
        top = self.bits - 1
        return (*(1 << k for k in range(top)), (1 if self.low + self.offset == 0 else -1) << top)

    @property
    def largest(self) -> int:
        """Largest size of what drives a row at once."""
        if self.drive == "bit-serial":
            return 1
        return max(self.high, -self.low) if self.offset == 0 else self.high + self.offset


@dataclass(frozen=True, order=True)
class FixedPoint:
    """A gain as hardware holds it: ``multiplier / 2^shift``.

    Parameters
    ----------
    multiplier : int
        1 to 2^31 - 1.
    shift : int
        0 to 52.
    """

    multiplier: int
    shift: int

    def __post_init__(self) -> None:
        most = (1 << 31) - 1
        multiplier = integer("gain: multiplier", self.multiplier, "from 1 to 2^31 - 1", 1, most)
        object.__setattr__(self, "multiplier", multiplier)
        object.__setattr__(self, "shift", integer("gain: shift", self.shift, "from 0 to 52", 0, 52))

    @classmethod
    def parse(cls, text: str) -> FixedPoint:
        """Return the gain that a text like ``40001/2^33`` says."""
        match = re.fullmatch(r"\s*([0-9]{1,12})\s*/\s*2\s*(?:\^|\*\*)\s*([0-9]{1,4})\s*", text)
        if match is None:
            raise ParameterError("gain", "MULTIPLIER/2^SHIFT, for example 40001/2^33", describe(text))
        return cls(int(match[1]), int(match[2]))

    def __float__(self) -> float:
        return math.ldexp(self.multiplier, -self.shift)

    def __str__(self) -> str:
        return f"{self.multiplier}/2^{self.shift}"


#: ADC codes per unit of the integer sum.
Gain: TypeAlias = FixedPoint | float


def fixed_point(gain: float, bits: int) -> FixedPoint:
    """Return the nearest gain with a multiplier of so many bits, its top bit set (SPEC.md, section 8).

    With ``gain = f 2^e``, ``1/2 <= f < 1``: ``multiplier = rint(f 2^bits)``, ``shift = bits - e``; a multiplier of
    ``2^bits`` is ``2^(bits-1)`` at a shift that is one less.

    Raises
    ------
    ParameterError
        If the shift is out of range.
    """
    fraction, exponent = math.frexp(gain)
    multiplier, shift = round(math.ldexp(fraction, bits)), bits - exponent
    if multiplier == 1 << bits:
        multiplier, shift = multiplier >> 1, shift - 1
    return FixedPoint(multiplier, shift)


@dataclass(frozen=True, kw_only=True)
class Adc:
    """How the sum of a column becomes a code: ``clip(round((sum + offset) gain), low, high)``.

    Parameters
    ----------
    bits : int
        2 to 24.
    low, high : int, optional
        Smallest and largest code, ``low <= 0 < high``, at most ``2^bits`` codes.  By default ``-(2^(bits-1) - 1)`` and
        ``2^(bits-1) - 1``.
    rounding : "half-even", "half-away", "half-up", "floor" or "toward-zero"
        To the nearest code, ties to the even one, away from zero or up; down; toward zero.
    gain : FixedPoint or float, or one a column, optional
        Codes per unit of the sum.  By default, in a network, that of the layer's range.
    gain_bits : int, optional
        Width of the multiplier of gains that come from ranges, 2 to 31; None: gains are float64.
    offset : int, or one a column
        Added to the sum, in its units.
    thresholds : integers, shape (high - low,) or (columns, high - low), optional
        In place of gain, offset and rounding: the code is `low` plus the number of thresholds that the sum reaches.
        They do not fall.

    Raises
    ------
    ParameterError
        If something is out of range, or a gain so fine that its product with a sum might not be exact.
    """

    bits: int
    low: int | None = None
    high: int | None = None
    rounding: Rounding = "half-even"
    gain: Gain | tuple[Gain, ...] | None = None
    gain_bits: int | None = None
    offset: int | tuple[int, ...] = 0
    thresholds: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "bits", integer("adc: bits", self.bits, "from 2 to 24, or no ADC at all (None)", 2, 24))
        one_of("adc: rounding", self.rounding, ROUNDINGS)
        most, limit = 1 << self.bits, (1 << (self.bits - 1)) - 1
        low = -limit if self.low is None else integer("adc: low", self.low, f"from {1 - most} to 0", 1 - most, 0)
        top = most - 1 + low
        high = limit if self.high is None else self.high
        put(self, "low", low)
        put(self, "high", integer("adc: high", high, f"from 1 to {top}, as low is {low}", 1, top))
        if self.gain_bits is not None:
            put(self, "gain_bits", integer("adc: gain_bits", self.gain_bits, "from 2 to 31", 2, 31))
        if self.gain is not None:
            put(self, "gain", _each(self.gain, self._gain))
        put(self, "offset", _each(self.offset, _offset))
        if self.thresholds is not None:
            put(self, "thresholds", _thresholds(self.thresholds, self.codes - 1))
        replaced = {"gain": self.gain, "gain_bits": self.gain_bits, "offset": self.offset or None}
        for name, value in replaced.items():
            if value is not None and self.thresholds is not None:
                raise ParameterError(f"adc: {name}", "none beside thresholds, which replace it", describe(value))
        if self.gain is not None and self.gain_bits is not None:
            raise ParameterError("adc: gain_bits", "none beside a gain", describe(self.gain_bits))

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return self.limits[1] - self.limits[0] + 1

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest code."""
        if self.low is None or self.high is None:  # both are set when it is made
            raise AssertionError
        return self.low, self.high

    def gains(self, columns: int) -> Float64 | None:
        """Return the gain of each column as float64, exactly; None where it is that of a range."""
        if self.gain is None:
            return None
        return np.broadcast_to(_per_column("gain", self.gain, columns), columns).astype(np.float64)

    def offsets(self, columns: int) -> Float64:
        """Return the offset of each column."""
        return np.broadcast_to(_per_column("offset", self.offset, columns), columns).astype(np.float64)

    def tables(self, columns: int) -> Int64 | None:
        """Return the thresholds of each column, shape (columns, high - low); None where there are none."""
        if self.thresholds is None:
            return None
        if len(self.thresholds) not in (1, columns):
            raise ParameterError("adc: thresholds", f"1 or {columns} rows, one a column", str(len(self.thresholds)))
        return np.broadcast_to(np.array(self.thresholds, np.int64), (columns, self.codes - 1)).copy()

    def derived(self, gain: float) -> float:
        """Return the gain that serves for this one: the nearest of `gain_bits`, if it has any."""
        return gain if self.gain_bits is None else float(self._gain(fixed_point(gain, self.gain_bits)))

    def _gain(self, gain: object) -> Gain:
        """Return a gain that is exact in float64 for all sums whose codes do not saturate (SPEC.md, section 8)."""
        if not isinstance(gain, FixedPoint):
            expected = f"FixedPoint(multiplier, shift), or a number from 2^{GAIN_LEAST} to 2^{GAIN_MOST}"
            return real("adc: gain", gain, expected, math.ldexp(1.0, GAIN_LEAST), math.ldexp(1.0, GAIN_MOST))
        low, high = self.limits
        if (max(-low, high) + 1) << gain.shift > PRODUCT_MOST:
            expected = f"a shift at which the codes beyond {low} and {high} times 2^shift are at most 2^53"
            raise ParameterError("adc: gain", expected, str(gain))
        return gain


@dataclass(frozen=True, kw_only=True)
class Accumulator:
    """The register that holds the sum of a column, read noise included, when the ADC sees it.

    Parameters
    ----------
    bits : int
        2 to 60, two's complement.
    beyond : "error", "saturate" or "wrap"
        What becomes of a sum that it cannot hold: the product is refused; the nearest number that it can hold; the low
        bits.
    """

    bits: int
    beyond: Beyond = "error"

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", integer("accumulator: bits", self.bits, "from 2 to 60", 2, 60))
        one_of("accumulator: beyond", self.beyond, get_args(Beyond))


def converters_of(where: str, value: object, nominal: Adc | None) -> tuple[Adc, ...]:
    """Return the measured ADCs of a layer, one for all of its tiles and lines or one for each."""
    several: tuple[object, ...] = tuple(value) if isinstance(value, Sequence) else (value,)
    for adc in several:
        instance(where, adc, Adc)
    found: tuple[Any, ...] = several
    if not found:
        raise ParameterError(where, "an Adc, or one a tile", describe(value))
    for adc in found:
        if nominal is None or adc.limits != nominal.limits or (adc.thresholds is None) != (found[0].thresholds is None):
            expected = "the limits of the readout's ADC; thresholds for all tiles or for none"
            raise ParameterError(where, expected, "others")
        if adc.gain_bits is not None:
            raise ParameterError(where, "ADCs as measured, without gain_bits", describe(adc.gain_bits))
        if adc.rounding != found[0].rounding or (adc.gain is None) != (found[0].gain is None):
            raise ParameterError(where, "one rounding for all tiles; gains for all tiles or for none", "others")
    return found


def _each(value: Any, check: Any) -> Any:
    """Return a checked value, or a tuple of them, one a column."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(check(v) for v in value)
    return check(value)


def _offset(value: object) -> int:
    return integer("adc: offset", value, "integers below 2^52 in size", 1 - OFFSET_MOST, OFFSET_MOST - 1)


def _thresholds(values: Any, count: int) -> tuple[tuple[int, ...], ...]:
    """Return rows of thresholds that do not fall."""
    refuse_masked("adc: thresholds", values)
    try:
        table = np.asarray(values)
    except ValueError:  # rows of several lengths
        table = np.empty(0)
    table = table[None] if table.ndim == 1 else table
    if table.dtype.kind not in "iu" or table.ndim != 2 or 0 in table.shape or table.shape[1] != count:
        form = f"integers of shape ({count},) or (columns, {count}), one less than there are codes"
        raise ParameterError("adc: thresholds", form, f"{table.dtype} of shape {np.shape(table)}")
    if (beyond := np.argwhere((table >= OFFSET_MOST) | (table <= -OFFSET_MOST))).size:
        row, place = (int(i) for i in beyond[0])
        raise ParameterError("adc: thresholds", "integers below 2^52 in size", f"{table[row, place]} at {[row, place]}")
    table = table.astype(np.int64)
    if (falls := np.argwhere(np.diff(table, axis=1) < 0)).size:
        row, place = (int(i) for i in falls[0])
        found = f"{table[row, place + 1]} after {table[row, place]} at {[row, place + 1]}"
        raise ParameterError("adc: thresholds", "numbers that do not fall", found)
    return tuple(tuple(row) for row in table.tolist())


def _per_column(name: str, value: Any, columns: int) -> Any:
    """Return one value, or as many as there are columns, as numbers."""
    if not isinstance(value, tuple):
        return float(value) if name == "gain" else value
    if len(value) != columns:
        raise ParameterError(f"adc: {name}", f"one, or {columns}, one a column", str(len(value)))
    return [float(v) for v in value] if name == "gain" else list(value)
