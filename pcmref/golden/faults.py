"""Faulty tiles: what goes wrong in an RTL, each planted on the plain tile.

Which vectors catch which fault is measured, not claimed: `catches`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from pcmref.arrays import Int64
from pcmref.golden.array_faults import ARRAY_FAULTS
from pcmref.golden.converter_faults import CONVERTER_FAULTS
from pcmref.golden.plain import Trial, answers, multiplied
from pcmref.golden.planting import Fault

__all__ = ["FAULTS", "Fault", "catches", "fault"]

#: All of them.
FAULTS = (*CONVERTER_FAULTS, *ARRAY_FAULTS)
#: Vectors that are looked at first, since most faults show at once, and then in one go.
AT_FIRST, AT_ONCE = 64, 1024


def fault(name: str) -> Fault:
    """Return the fault of this name."""
    return next(found for found in FAULTS if found.name == name)


def catches(work: Trial, groups: Mapping[str, slice]) -> dict[str, tuple[str, ...]]:
    """Return which groups of vectors catch each fault that the tile can have.

    Parameters
    ----------
    work : Trial
    groups : mapping of name to slice
        The vectors of each group.
    """
    work = multiplied(work)
    right = answers(work)
    return {
        each.name: tuple(name for name, part in groups.items() if _caught(each, work, right, part))
        for each in FAULTS
        if each.applies(work)
    }


def _caught(each: Fault, work: Trial, right: Int64, part: slice) -> bool:
    bounds = [part.start, *range(part.start + AT_FIRST, part.stop, AT_ONCE), part.stop]
    pieces = (slice(first, last) for first, last in pairwise(bounds))
    return any((each.answers(work[vectors]) != right[vectors]).any() for vectors in pieces)
