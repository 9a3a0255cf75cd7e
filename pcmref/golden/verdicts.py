"""What a check found, and how it is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from pcmref.golden.cases import Contract, GroupEntry, listed

__all__ = ["EXIT", "ArrayVerdict", "Converted", "Diagnosis", "Mismatch", "Status", "Verdict", "verdict_text"]

Status: TypeAlias = Literal["equal", "different", "missing", "malformed"]

#: Exit status of the command for each: 1 and 2 are those of an error and of a wrong command line.
EXIT: Mapping[Status, int] = MappingProxyType({"equal": 0, "different": 3, "missing": 4, "malformed": 5})

#: Most stages that are told by their letters: those of one tile.
STAGES = 6
#: Most columns that are told by their numbers.
COLUMNS = 2


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """An element that is not as it should be.

    Parameters
    ----------
    array : str
    place : tuple of (str, int)
        Axis and index, for each axis.
    expected, found : int or float
    expected_hex, found_hex : str
        In two's complement, as wide as the array; a value that is wider is marked.
    """

    array: str
    place: tuple[tuple[str, int], ...]
    expected: int | float
    found: int | float
    expected_hex: str
    found_hex: str


@dataclass(frozen=True, kw_only=True)
class ArrayVerdict:
    """How one array compares.

    Parameters
    ----------
    name, letter : str
    elements, mismatches : int
    first : Mismatch, optional
    differences : tuple of (int, int)
        Found minus expected, and how often, the most frequent first.
    others : int
        Mismatches of other differences.
    columns : tuple of int
        Where they are along the last axis.
    within : int
        Elements that differ, but by no more than the contract allows.
    """

    name: str
    letter: str
    elements: int
    mismatches: int
    first: Mismatch | None
    differences: tuple[tuple[int | float, int], ...]
    others: int
    columns: tuple[int, ...] = ()
    within: int = 0


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A sum that an ADC sees, and where it lies.

    Parameters
    ----------
    conversion : int
    sum : int
    code : float, optional
        Before it is rounded and limited, to float64; None with thresholds.
    edge : float
        Distance from the nearest tie, in codes; from the nearest step where the ADC does not round to the nearest; with
        thresholds from the nearest of them, in units of the sum.
    below, above : float
        How far it lies above the lower and below the upper limit, in the same unit; negative beyond it.
    ties : bool
        Whether the edge is a tie.
    """

    conversion: int
    sum: int
    code: float | None
    edge: float
    below: float
    above: float
    ties: bool


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What would explain the answers.

    Parameters
    ----------
    faults : tuple of (str, str)
        Names and meanings; several that give the same answers to these vectors.
    exact : bool
        Whether all answers are as such a tile gives them; otherwise it is a guess.
    explained, mismatches : int
        How many of the mismatches it explains.
    """

    faults: tuple[tuple[str, str], ...]
    exact: bool
    explained: int
    mismatches: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check found.

    Parameters
    ----------
    status : "equal", "different", "missing" or "malformed"
    case : str
        Digest of the case.
    contract : Contract
    message : str
        What is missing or malformed.
    arrays : tuple of ArrayVerdict
        Those that were compared, in the order of the datapath.
    absent : tuple of str
        Expected arrays that were not given, where that is allowed.
    group : GroupEntry, optional
        That of the first mismatch.
    converted : tuple of Converted
        The sums behind it.
    diagnosis : Diagnosis, optional
    """

    status: Status
    case: str
    contract: Contract
    message: str = ""
    arrays: tuple[ArrayVerdict, ...] = ()
    absent: tuple[str, ...] = ()
    group: GroupEntry | None = None
    converted: tuple[Converted, ...] = ()
    diagnosis: Diagnosis | None = None

    @property
    def exit(self) -> int:
        """Exit status of the command."""
        return EXIT[self.status]

    @property
    def stage(self) -> ArrayVerdict | None:
        """The earliest array that differs."""
        return next((array for array in self.arrays if array.mismatches), None)


def verdict_text(verdict: Verdict) -> str:
    """Return a verdict as text, several lines."""
    return "\n".join(_lines(verdict))


def _lines(verdict: Verdict) -> Iterator[str]:
    yield f"{verdict.status.upper()}: {_summary(verdict)}"
    yield f"case {verdict.case[:16]}, contract: {verdict.contract}"
    if verdict.message:
        yield verdict.message
    if verdict.absent:
        yield f"not given, hence not compared: {listed(verdict.absent)}"
    if verdict.status == "different":
        yield from _first(verdict)
        for array in verdict.arrays:
            if array.mismatches:
                yield f"  differences of {array.name}, found minus expected: {_differences(array)}"
                if len(array.columns) <= COLUMNS:
                    yield f"    all of them in column {' and '.join(str(column) for column in array.columns)}"
        yield from _stages(verdict)
        yield from _diagnosis(verdict.diagnosis)


def _summary(verdict: Verdict) -> str:
    if not verdict.arrays:
        return "no answer was compared"
    elements = sum(array.elements for array in verdict.arrays)
    wrong = sum(array.mismatches for array in verdict.arrays)
    names = listed([array.name for array in verdict.arrays])
    if verdict.status == "equal":
        unequal = wrong + sum(array.within for array in verdict.arrays)
        return f"all {elements:,} elements of {names}" + (f", of which {unequal:,} differ" if unequal else "")
    return f"{wrong:,} of {elements:,} elements ({100 * wrong / elements:.3g} %) of {names}"


def _first(verdict: Verdict) -> Iterator[str]:
    first = None if verdict.stage is None else verdict.stage.first
    if first is None:
        return
    yield f"  first: {first.array} at {', '.join(f'{axis} {index}' for axis, index in first.place)}"
    width = max(len(str(first.expected)), len(str(first.found)))
    yield f"    expected  {first.expected!s:>{width}}  {first.expected_hex}"
    yield f"    found     {first.found!s:>{width}}  {first.found_hex}"
    for place in verdict.converted:
        yield f"    {_sum(place, len(verdict.converted) > 1)}"
    if (group := verdict.group) is not None:
        yield f"    in the group {group.name}, which catches"
        yield f"      {group.catches}"


def _sum(place: Converted, several: bool) -> str:
    text = f"sum {place.sum}" + (f" in conversion {place.conversion}" if several else "")
    unit, edge = ("of the sum", "threshold") if place.code is None else ("codes", "tie" if place.ties else "step")
    if place.code is not None:
        text += f" = {place.code:.10g} codes"
    text += f": on a {edge}" if place.edge == 0 else f": {place.edge:.4g} {unit} from a {edge}"
    if place.below < 0 or place.above < 0:
        return f"{text}, beyond the limit by {-min(place.below, place.above):.4g}"
    return f"{text}, within the limits by {min(place.below, place.above):.4g}"


def _differences(array: ArrayVerdict) -> str:
    parts = [f"{difference:+} in {count:,}" for difference, count in array.differences]
    return ", ".join(parts + ([f"others in {array.others:,}"] if array.others else []))


def _stages(verdict: Verdict) -> Iterator[str]:
    """Say where it begins, if more than the answer is there to say it."""
    if len(verdict.arrays) > 1 and verdict.stage is not None:
        position = verdict.arrays.index(verdict.stage)
        before = [array.letter for array in verdict.arrays[:position]]
        equal = f"; {', '.join(before)} agree{'s' * (position == 1)}" if before else ""
        if position > STAGES:
            equal = f"; the {position} arrays before it agree"
        yield f"  earliest stage that differs: {verdict.stage.letter} ({verdict.stage.name}){equal}"


def _diagnosis(diagnosis: Diagnosis | None) -> Iterator[str]:
    if diagnosis is None:
        yield "  diagnosis: none of the known faults explains it"
        return
    meanings = [f"the tile {meaning} ({name})" for name, meaning in diagnosis.faults]
    if diagnosis.exact:
        yield f"  diagnosis: {meanings[0]}"
        for other in meanings[1:]:
            yield f"    or, to these vectors the same: {other}"
        yield "    Every answer is as this fault makes it."
    else:
        share = 100 * diagnosis.explained / diagnosis.mismatches
        yield f"  diagnosis, a guess: {meanings[0]}"
        yield f"    It explains {diagnosis.explained:,} of {diagnosis.mismatches:,} mismatches, {share:.3g} %."
