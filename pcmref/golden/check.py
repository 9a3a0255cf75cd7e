"""Checking answers against a case, and finding out what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.crossbar.converters import Adc
from pcmref.errors import FileError, ParameterError
from pcmref.golden.aimed import TIED
from pcmref.golden.answers import MissingError, read_answers
from pcmref.golden.cases import ArrayEntry, Case, Contract
from pcmref.golden.datapath import adc_of
from pcmref.golden.diagnosis import diagnose
from pcmref.golden.folders import read_case
from pcmref.golden.readouts import readout_of
from pcmref.golden.verdicts import ArrayVerdict, Converted, Diagnosis, Mismatch, Status, Verdict

__all__ = ["check", "compare"]

#: Differences that are told apart in a histogram.
DIFFERENCES = 8


def check(case: str | Path, got: str | Path, *, partial: bool = False) -> Verdict:
    """Check answers against a case.

    Parameters
    ----------
    case : str or Path
        The folder of a case.
    got : str or Path
        Answers outside of it: ``.npy``, ``.npz``, HDF5, words for ``$readmemh``, or a folder of them.
    partial : bool
        Compare what is there; the verdict says what is not.

    Returns
    -------
    Verdict
        "equal" if every expected array is there and all that is there fulfils the contract.

    Raises
    ------
    FileError
        If the case itself is damaged.
    ParameterError
        If the answers lie in the case: its own answers prove nothing.
    """
    folder, answers = Path(case).resolve(), Path(got).resolve()
    if answers == folder or folder in answers.parents:
        raise ParameterError("got", "answers of a device under test", "a path inside the case itself")
    golden = read_case(case)
    try:
        found = read_answers(got, golden, partial=partial)
    except FileError as error:
        status: Status = "missing" if isinstance(error, MissingError) else "malformed"
        return Verdict(status=status, case=golden.digest, contract=golden.contract, message=str(error))
    return compare(golden, found, partial=partial)


def compare(case: Case, found: Mapping[str, npt.NDArray[Any]], *, partial: bool = False) -> Verdict:
    """Compare arrays, as `read_answers` returns them, with those of a case.

    Internal arrays are held to the contract "exact" only: with another one they just say where a difference begins.
    """
    names = [entry.name for entry in case.arrays.values() if entry.section != "prompt" and entry.name in found]
    absent = tuple(entry.name for entry in case.section("expected") if entry.name not in found)
    if absent and not (partial and names):
        raise ParameterError("found", f"the array {absent[0]}", ", ".join(found) or "no array")
    arrays = tuple(_compared(case, case.arrays[name], found[name]) for name in names)
    judged = [a for a in arrays if case.contract.kind == "exact" or case.arrays[a.name].section == "expected"]
    if not any(array.mismatches for array in judged):
        return Verdict(status="equal", case=case.digest, contract=case.contract, arrays=arrays, absent=absent)
    first = next(array.first for array in arrays if array.first is not None)
    vector = _vector(case.arrays[first.array], first)
    return Verdict(
        status="different",
        case=case.digest,
        contract=case.contract,
        arrays=arrays,
        absent=absent,
        group=next((group for group in case.groups if group.first <= vector < group.last), None),
        converted=_converted(case, first),
        diagnosis=_diagnosis(case, arrays, found),
    )


def _diagnosis(case: Case, arrays: tuple[ArrayVerdict, ...], found: Mapping[str, npt.NDArray[Any]]) -> Diagnosis | None:
    """Diagnose the first expected array of integers that differs."""
    for array in arrays:
        entry = case.arrays[array.name]
        if array.mismatches and entry.section == "expected" and entry.number == "integer":
            return diagnose(case, entry, found[entry.name])
    return None


def _compared(case: Case, entry: ArrayEntry, found: npt.NDArray[Any]) -> ArrayVerdict:
    right, others, within = case.values[entry.name], 0, 0
    differences: tuple[tuple[int, int], ...] = ()
    if found.shape != right.shape:
        raise ParameterError(f"found: {entry.name}", f"shape {right.shape}", str(found.shape))
    if entry.number == "float":  # bit by bit: -0.0 is not 0.0
        bits = f"u{entry.bits // 8}"
        wrong = found.view(bits) != right.view(bits)
    else:
        contract = case.contract if entry.section == "expected" else Contract()
        apart = _apart(found, right)
        wrong = np.abs(apart) > contract.n
        within = int(np.count_nonzero(apart)) - int(np.count_nonzero(wrong))
        values, counts = np.unique(apart[wrong], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        differences = tuple((int(values[n]), int(counts[n])) for n in order[:DIFFERENCES])
        others = int(counts[order[DIFFERENCES:]].sum())
    places = np.flatnonzero(wrong)
    return ArrayVerdict(
        name=entry.name,
        letter=entry.letter,
        elements=entry.size,
        mismatches=len(places),
        first=_mismatch(entry, right, found, int(places[0])) if len(places) else None,
        differences=differences,
        others=others,
        within=within,
        columns=tuple(int(column) for column in np.unique(places % entry.shape[-1])) if len(places) else (),
    )


def _apart(found: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return found minus expected, exactly: with Python's integers where 64 bits would not do."""
    if right.dtype.itemsize < 8 and (found.size == 0 or -(1 << 62) < int(found.min()) <= int(found.max()) < 1 << 62):
        return found.astype(np.int64) - right
    return found.astype(object) - right.astype(object)


def _mismatch(entry: ArrayEntry, right: npt.NDArray[Any], found: npt.NDArray[Any], place: int) -> Mismatch:
    index = np.unravel_index(place, entry.shape)
    return Mismatch(
        array=entry.name,
        place=tuple((axis, int(i)) for axis, i in zip(entry.axes, index, strict=True)),
        expected=right[index].item(),
        found=found[index].item(),
        expected_hex=_hex(entry, right[index]),
        found_hex=_hex(entry, found[index]),
    )


def _hex(entry: ArrayEntry, value: Any) -> str:
    """Return an element as its bits."""
    if entry.number == "float":
        return f"0x{int(value.view(f'u{entry.bits // 8}')):0{entry.bits // 4}x}"
    number, (low, high) = int(value), entry.range
    if not low <= number <= high:
        return f"beyond {entry.bits} bits"
    return f"0x{number & ((1 << entry.bits) - 1):0{-(-entry.bits // 4)}x}"


def _vector(entry: ArrayEntry, first: Mismatch) -> int:
    """Return which vector a mismatch is in, as groups count them: by all axes but the columns and the conversions."""
    vector = 0
    for (axis, index), length in zip(first.place[:-1], entry.shape, strict=False):
        if axis != "conversion":
            vector = vector * length + index
    return vector


def _converted(case: Case, first: Mismatch) -> tuple[Converted, ...]:
    """Return what the ADC sees at a mismatch, in each conversion."""
    tile = first.array.rpartition("/")[0]
    sums = case.arrays.get(f"{tile}/A")
    if sums is None or not case.readout or sums.number != "integer" or (adc := readout_of(case.readout).adc) is None:
        return ()
    try:
        adc = adc_of(case, tile, adc)
    except ParameterError:  # one of its own for each line
        return ()
    place = dict(first.place)
    several = sums.axes[0] == "conversion"
    if set(sums.axes) - {"conversion"} != set(place) - {"conversion"}:
        return ()
    numbers = [place["conversion"]] if several and "conversion" in place else range(sums.shape[0] if several else 1)
    found = []
    for number in numbers:
        index = tuple({**place, "conversion": number}[axis] for axis in sums.axes)
        found.append(_place(adc, number, int(case.values[sums.name][index]), place["column"], sums.shape[-1]))
    return tuple(found)


def _place(adc: Adc, conversion: int, value: int, column: int, columns: int) -> Converted:
    """Return where a sum lies between the steps and the limits of its ADC."""
    low, high = adc.limits
    if (tables := adc.tables(columns)) is not None:
        row = [int(step) for step in tables[column]]
        nearest = min(abs(value - step) for step in row)
        return Converted(
            conversion=conversion,
            sum=value,
            code=None,
            edge=nearest,
            below=value - row[0],
            above=row[-1] - 1 - value,
            ties=False,
        )
    gains = adc.gains(columns)
    if gains is None:
        raise AssertionError
    code = (value + int(adc.offsets(columns)[column])) * Fraction(float(gains[column]))
    ties = adc.rounding in TIED
    half = Fraction(1, 2) if ties else Fraction(0)
    edge = abs(code - half - round(code - half))
    return Converted(
        conversion=conversion,
        sum=value,
        code=float(code),
        edge=float(edge),
        below=float(code - low + half),
        above=float(high + half - code) if ties else float(high + 1 - code),
        ties=ties,
    )
