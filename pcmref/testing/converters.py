"""Strategies for converters and readouts: every kind that a tile may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

from pcmref.arithmetic.codes import CODE_LIMIT, ROUNDINGS
from pcmref.crossbar.converters import Accumulator, Adc, Beyond, Dac, FixedPoint
from pcmref.crossbar.readout import Readout

__all__ = ["DRIVES", "SIZES", "Strategy", "accumulators", "adcs", "dacs", "readouts"]

Strategy: TypeAlias = st.SearchStrategy[Any]

#: Codes and drives that go together: the usual ones first, as Hypothesis shrinks to them.
DRIVES = (
    ("symmetric", "parallel"),
    *((codes, "parallel") for codes in ("signed", "unsigned", "offset")),
    *((codes, "two-phase") for codes in ("symmetric", "signed")),
    *((codes, "bit-serial") for codes in ("symmetric", "signed", "unsigned", "offset")),
)
#: Sizes of conductance codes: small ones, with which sums meet ties and steps, first.
SIZES = (1, 3, 100, CODE_LIMIT)


@st.composite
def dacs(draw: st.DrawFn, most: int = 16, *, serial: int = 8, drives: Sequence[tuple[str, str]] = DRIVES) -> Dac:
    """Draw DACs.

    Parameters
    ----------
    most, serial : int
        Most bits; of those that drive bit by bit.
    drives : sequence of (codes, drive)
        Which kinds.
    """
    kind, drive = draw(st.sampled_from(drives))
    limits = (most, serial if drive == "bit-serial" else 16, 16 if kind == "symmetric" else 15)
    return Dac(bits=draw(st.integers(2, min(limits))), codes=kind, drive=drive)  # type: ignore[arg-type]


@st.composite
def adcs(draw: st.DrawFn, largest: int, columns: int | None = None, *, most: int = 24, own: bool = True) -> Adc:
    """Draw ADCs.

    Parameters
    ----------
    largest : int
        Size of the largest sum that they see; smaller ones are seen too, and far larger ones saturate.
    columns : int, optional
        Draw numbers for each column, too; by default all columns are alike.
    most : int
        Most bits.
    own : bool
        With a gain or thresholds of their own; else those of a range, as in a network.
    """
    bits = draw(st.integers(2, most))
    half = 1 << (bits - 1)
    low = draw(st.sampled_from((1 - half, -half, 0, -1)))
    high = draw(st.just(half - 1) | st.integers(1, 2 * half - 1 + low))
    shared: dict[str, Any] = {
        "bits": bits,
        "low": low,
        "high": max(high, 1),
        "rounding": draw(st.sampled_from(ROUNDINGS)),
    }

    def column_of(each: Strategy) -> Any:
        several = columns is not None and draw(st.booleans())
        return tuple(draw(each) for _ in range(columns or 1)) if several else draw(each)

    if bits <= 5 and own and draw(st.integers(0, 3)) == 3:
        steps = high - low
        table = st.lists(st.integers(-largest, largest), min_size=steps, max_size=steps).map(sorted).map(tuple)
        rows = column_of(table)
        shared |= {"rounding": ROUNDINGS[0], "thresholds": rows if rows and isinstance(rows[0], tuple) else (rows,)}
        return Adc(**shared)
    shared["offset"] = column_of(st.just(0) | st.integers(-largest, largest))
    if own:
        return Adc(**shared, gain=column_of(_gains(largest, max(-low, high))))
    return Adc(**shared, gain_bits=draw(st.none() | st.integers(8, 12)) if bits <= 12 else None)


@st.composite
def _gains(draw: st.DrawFn, largest: int, most: int) -> FixedPoint | float:
    """Gains with which some sums up to `largest` have codes up to `most`, ties among them."""
    shifts = min(52, 53 - (most + 1).bit_length())
    shift = draw(st.integers(1, max(1, min(shifts, largest.bit_length() + 8))))
    multiplier = draw(st.integers(1, max(1, min((1 << 31) - 1, (most << shift) // max(1, largest) * 4 + 4))))
    return FixedPoint(multiplier, shift) if draw(st.integers(0, 3)) < 3 else multiplier / 3 * 2.0**-shift


@st.composite
def accumulators(draw: st.DrawFn, largest: int) -> Accumulator | None:
    """Draw no register, or one about as wide as sums up to `largest` need, which saturates or wraps."""
    choices: tuple[Beyond | None, ...] = (None, "saturate", "wrap")
    beyond = draw(st.sampled_from(choices))
    if beyond is None:
        return None
    bits = max(2, min(60, largest.bit_length() + draw(st.integers(-3, 3))))
    return Accumulator(bits=bits, beyond=beyond)


@st.composite
def readouts(draw: st.DrawFn, rows: int, columns: int | None = None, *, most: int = 16, serial: int = 5) -> Readout:
    """Draw readouts of one tile of so many rows, with converters of their own."""
    dac = draw(dacs(most, serial=serial))
    largest = rows * dac.largest * CODE_LIMIT
    return Readout(
        name="drawn",
        dac=dac,
        adc=draw(st.none() | st.sampled_from(SIZES).flatmap(lambda size: adcs(rows * dac.largest * size, columns))),
        lines=draw(st.sampled_from(("pair", "separate"))),
        accumulator=draw(accumulators(largest)),
        read_noise=draw(st.sampled_from(("frozen", "fresh"))),
    )
