"""What a case says of a tile's wires and registers: how wide sums are, and what its ADCs are set to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.arrays import Float64, Int64
from pcmref.crossbar.converters import Adc, FixedPoint, Gain, fixed_point
from pcmref.crossbar.readout import Readout
from pcmref.errors import ParameterError
from pcmref.golden.cases import ArrayEntry, Case, entry_of
from pcmref.golden.plain import plain_adc, width_of

__all__ = ["NOISE_MOST", "adc_of", "ends_of", "output_most", "settings_of", "with_gains"]

#: No noise exceeds this, times ``sqrt(64 B)``, in size (SPEC.md, section 4).
NOISE_MOST = 6.34


def ends_of(shape: tuple[int, ...], readout: Readout) -> tuple[tuple[int, int], int, int]:
    """Return the ends of A before noise, and the largest noise and B, of any tile of shape (lines, rows, ...)."""
    _, rows, *_ = shape
    dac = readout.dac
    levels = (dac.low + dac.offset, dac.high + dac.offset) if dac.drive == "parallel" else (0, dac.largest)
    codes = (0 if readout.lines == "separate" else -CODE_LIMIT, CODE_LIMIT)
    products = [rows * level * code for level in levels for code in codes]
    squares = rows * dac.largest**2 * CODE_LIMIT
    return (min(products), max(products)), math.ceil(NOISE_MOST * 8 * math.sqrt(squares)), squares


def output_most(readout: Readout, weights: Sequence[int], limits: tuple[int, int]) -> int:
    """Return the largest size of a sum of D - D0, each times its weight, with D between these limits."""
    low, high = limits
    each = high - low if readout.dac.offset else max(high, -low)
    return sum(abs(int(weight)) for weight in weights) * each


def with_gains(adc: Adc, gains: Float64) -> Adc:
    """Return an ADC with the gains that it takes from ranges, shape (columns,); one that has its own as it is."""
    if adc.gain is not None or adc.thresholds is not None:
        return adc
    own: tuple[Gain, ...] = tuple(gains.tolist())
    if adc.gain_bits is not None:
        own = tuple(fixed_point(gain, adc.gain_bits) for gain in gains.tolist())
    return replace(adc, gain=own, gain_bits=None)


def settings_of(tile: str, adcs: Sequence[Adc], columns: int) -> Iterator[tuple[ArrayEntry, npt.NDArray[Any]]]:
    """Give what the registers of a tile's ADCs hold: of one for all lines, or of one for each line."""
    plain = [plain_adc(adc, columns) for adc in adcs]
    table = any(adc.thresholds is not None for adc in plain)
    fixed = all(adc.multiplier is not None for adc in plain)
    moved = any(adc.offset.any() for adc in plain)
    for there, name, letter, values, what in (
        (fixed, "multiplier", "mult", [adc.multiplier for adc in plain], "Multiplier of each column's gain."),
        (fixed, "shift", "shift", [adc.shift for adc in plain], "Shift of each column's gain."),
        (not fixed and not table, "gain", "adc_gain", [adc.gains(columns) for adc in adcs], "ADC codes per unit of A."),
        (moved, "offset", "adc_offset", [adc.offset for adc in plain], "Added to the sum of each column."),
        (table, "thresholds", "thresholds", [adc.thresholds for adc in plain], "Sums at which codes begin."),
    ):
        if there and values:
            yield _setting(f"{tile}/{name}", letter, [np.asarray(value) for value in values], what)


def _setting(
    name: str, letter: str, values: Sequence[npt.NDArray[Any]], meaning: str
) -> tuple[ArrayEntry, npt.NDArray[Any]]:
    """Return what is said of a register, and its contents: with an axis of lines if there are several."""
    axes = ("column", "step")[: values[0].ndim]
    array = values[0] if len(values) == 1 else np.stack(values)
    axes = axes if len(values) == 1 else ("line", *axes)
    least = -1 if letter in ("adc_offset", "thresholds") else 0  # two's complement even if none is negative
    ends = (64, True) if array.dtype.kind == "f" else width_of(min(least, int(array.min())), int(array.max()))
    bits, signed = ends
    return entry_of(name, array, section="prompt", letter=letter, meaning=meaning, axes=axes, bits=bits, signed=signed)


def adc_of(case: Case, tile: str, adc: Adc) -> Adc:
    """Return the ADC that the registers of a tile make of the readout's.

    Raises
    ------
    ParameterError
        If each line has one of its own, or there are no gains.
    """

    def column(name: str) -> Int64 | None:
        value = case.values.get(f"{tile}/{name}")
        if value is not None and value.ndim != (2 if name == "thresholds" else 1):
            raise ParameterError(f"case: {tile}/{name}", "one ADC for all lines", f"shape {value.shape}")
        return None if value is None else value.astype(np.int64)

    multiplier, shift, offset, table = (column(name) for name in ("multiplier", "shift", "offset", "thresholds"))
    if table is not None:
        rows = tuple(tuple(row) for row in table.tolist())
        return replace(adc, gain=None, gain_bits=None, thresholds=rows)
    gains = case.values.get(f"{tile}/gain")
    if multiplier is not None and shift is not None:
        own: Any = tuple(FixedPoint(int(m), int(s)) for m, s in zip(multiplier, shift, strict=True))
    elif gains is not None and gains.ndim == 1:
        own = tuple(gains.tolist())
    else:
        raise ParameterError(f"case: {tile}", "the gain of each column's ADC", "none")
    moved = 0 if offset is None else tuple(offset.tolist())
    return replace(adc, gain=own, gain_bits=None, thresholds=None, offset=moved)
