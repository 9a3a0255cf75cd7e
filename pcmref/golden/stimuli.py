"""Directed vectors of DAC codes for one tile: groups, each of which says what it catches.

Drawn vectors alone prove little: a wrong rounding of ties passes all of them where a tie is one sum in 2^20.  What each
group catches is measured on faulty tiles: `pcmref.golden.faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pcmref.arrays import Frozen, Int16, Int64
from pcmref.crossbar.converters import Dac
from pcmref.crossbar.readout import Readout
from pcmref.errors import ParameterError, describe, instance, integer
from pcmref.golden.aimed import at_boundaries, at_steps, at_ties, at_zero
from pcmref.golden.sums import drawn_codes
from pcmref.golden.weights import directed_conductance, drawn_conductance, full_conductance

__all__ = [
    "AIMED",
    "Group",
    "aimed",
    "alternating",
    "corners",
    "directed_conductance",
    "drawn",
    "drawn_conductance",
    "full_conductance",
    "one_hot",
    "patterns",
    "walking",
    "widest",
]

#: Which drawn vectors.
FOR_VECTORS = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Group(Frozen):
    """Vectors that are there for the same reason.

    Parameters
    ----------
    name : str
    catches : str
        The faults that it is made to catch, in a sentence.
    codes : int16, shape (n, rows)
        DAC codes.
    """

    name: str
    catches: str
    codes: Int16


def patterns(rows: int, dac: Dac) -> tuple[Group, ...]:
    """Return the groups that know nothing of the conductances."""
    return corners(rows, dac), one_hot(rows, dac), walking(rows, dac), alternating(rows, dac)


def corners(rows: int, dac: Dac) -> Group:
    """Return vectors of one code each, single codes at the ends, and a ramp."""
    rows = integer("rows", rows, "a positive integer", 1, 1 << 20)
    every = [np.full(rows, code) for code in (0, dac.low, dac.high, min(1, dac.high), max(-1, dac.low))]
    ends = np.zeros((4, rows), np.int64)
    ends[:2, 0] = ends[2:, -1] = dac.low, dac.high
    ramp = dac.low + np.arange(rows) % (dac.high - dac.low + 1)
    return _group(
        "corners",
        "a zero that is not zero, saturation, the sign of the smallest code, the first and last row, reversed rows.",
        np.array([*every, *ends, ramp, ramp[::-1]]),
    )


def one_hot(rows: int, dac: Dac) -> Group:
    """Return vectors with one row at the largest code, at the smallest, or at 1, and all others at 0."""
    levels = [code for code in (dac.high, dac.low, 1) if code]
    return _group(
        "one-hot",
        "rows or columns that are missing, swapped, in another order or loaded with the conductance of others.",
        np.concatenate([level * np.eye(rows, dtype=np.int64) for level in levels]),
    )


def walking(rows: int, dac: Dac) -> Group:
    """Return vectors with one bit set in every code: the same bit, then bits that walk along the rows."""
    bits = [1 << bit for bit in range(dac.high.bit_length())] + ([dac.low] if dac.low < 0 else [])
    steps = np.array(bits)
    places = (np.arange(rows) + np.arange(len(bits))[:, None]) % len(bits)
    return _group(
        "walking-ones",
        "bits of a code that are stuck, swapped, cut off or of the wrong weight or sign.",
        np.concatenate([np.repeat(steps[:, None], rows, axis=1), steps[places]]),
    )


def alternating(rows: int, dac: Dac) -> Group:
    """Return vectors whose rows are at the largest and the smallest code in turn: one by one, in twos, in fours."""
    row, found = np.arange(rows), []
    for power in range(max(1, (rows - 1).bit_length())):
        high = (row >> power) % 2 == 0
        found += [np.where(high, dac.high, dac.low), np.where(high, dac.low, dac.high)]
    return _group(
        "alternating",
        "sums that overflow on the way although the whole fits, rows whose address lacks a bit, and stale codes.",
        np.array(found),
    )


def drawn(rows: int, dac: Dac, count: int, *, seed: int = 0) -> Group:
    """Return `count` vectors of codes that are drawn, all as likely: the group "random"."""
    return _group(
        "random",
        "whatever shows in many sums; seldom what shows in one of a million, like ties.",
        drawn_codes((count, rows), dac.low, dac.high, seed=seed, use=FOR_VECTORS),
    )


def widest(conductance: npt.ArrayLike, readout: Readout) -> Group:
    """Return vectors that make the largest and the smallest sum of each column, with codes of both signs and of one."""
    lines = _lines(conductance, readout)
    dac, found = readout.dac, []
    pairs = lines[0] if len(lines) == 1 else lines[0] - lines[1]
    for column in pairs.T:
        found += [np.where(column > 0, dac.high, dac.low), np.where(column > 0, dac.low, dac.high)]
        if dac.drive != "parallel":
            found += [np.where(column > 0, dac.high, 0), np.where(column > 0, 0, dac.high)]
    return _group("widest", "an accumulator that is too narrow, and its sign.", np.unique(found, axis=0))


#: Vectors that are aimed at sums: name, what the group catches, and how it is made.
AIMED: tuple[tuple[str, str, Callable[[Int64, Readout], Int64]], ...] = (
    ("cancelling", "sums that overflow on the way, products that are cut, a sign that is lost.", at_zero),
    ("ties", "a rounder that treats ties in another way: half up for half to even, for example.", at_ties),
    ("steps", "anything that moves a step between two codes by one unit of the sum.", at_steps),
    ("boundaries", "limits of the ADC or the register that are one off, or missing.", at_boundaries),
)


def aimed(conductance: npt.ArrayLike, readout: Readout) -> tuple[Group, ...]:
    """Return the groups that are aimed at sums of these conductances; without those that no vector of the tile reaches.

    Parameters
    ----------
    conductance : integers, shape (rows, columns) or, with an ADC on each line, (2, rows, columns)
    readout : Readout
        Its ADC has a gain or thresholds.
    """
    lines = _lines(conductance, readout)
    made = [(name, text, make(lines, readout)) for name, text, make in AIMED]
    return tuple(_group(name, text, codes) for name, text, codes in made if len(codes))


def _group(name: str, text: str, codes: Int64) -> Group:
    return Group(name=name, catches=text, codes=codes.astype(np.int16))


def _lines(conductance: npt.ArrayLike, readout: Readout) -> Int64:
    """Return conductance codes as int64, shape (lines, rows, columns)."""
    instance("readout", readout, Readout, "pcmref.PRESETS")
    if readout.adc is not None and readout.adc.gain is None and readout.adc.thresholds is None:
        raise ParameterError("readout: adc", "a gain or thresholds, as a tile has no ranges", describe(readout.adc))
    array, separate = np.asarray(conductance), readout.lines == "separate"
    if array.dtype.kind not in "iu" or array.ndim != 2 + separate or 0 in array.shape or (separate and len(array) != 2):
        form = "(2, rows, columns), as each line has its ADC" if separate else "(rows, columns)"
        found = (
            f"{array.dtype} of shape {array.shape}" if isinstance(conductance, np.ndarray) else describe(conductance)
        )
        raise ParameterError("conductance", f"integers of shape {form}", found)
    return array.astype(np.int64).reshape(1 + separate, *array.shape[-2:])
