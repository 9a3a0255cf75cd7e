"""What a run of ``pcmref retention`` leaves when it is interrupted, and how the same command goes on from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pcmref.converters import Readout
from pcmref.errors import DataError, describe
from pcmref.evaluate import Row
from pcmref.files import replacing

__all__ = ["part_of", "rows_left", "write_document"]


def part_of(path: Path) -> Path:
    """Return the name that the document called `path` has until it is complete."""
    return Path(f"{path}.part")


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a run as JSON.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def rows_left(path: Path, inputs: Mapping[str, Any], readout: Readout) -> list[Row]:
    """Return the rows in the incomplete document `path`; none if there is no such file.

    Parameters
    ----------
    path : Path
    inputs : mapping
        `pcmref.report.retention_inputs` of the run that wants to go on.
    readout : Readout
        Its ranges are not compared: they follow from the rest.

    Raises
    ------
    DataError
        If the file is damaged, or was left by a run with other inputs.
    """
    try:
        left = json.loads(path.read_bytes())
        rows = [_row(values) for values in left["rows"]]
        left["readout"].pop("ranges")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            str(path), "the rows of an unfinished run (without the file it begins anew)", describe(error)
        ) from error
    wanted = json.loads(json.dumps({**inputs, "readout": asdict(readout)}))
    wanted["readout"].pop("ranges")
    for name, value in wanted.items():
        if left.get(name) != value:
            place, mine, other = _difference(name, value, left.get(name))
            expected = f"what this run has: {describe(mine)} (without the file it begins anew)"
            raise DataError(f"{path}: {place}", expected, describe(other))
    return rows


def _row(values: Mapping[str, Any]) -> Row:
    """Return a row as `pcmref.report.retention_document` has written it."""
    row = Row(**{field.name: values[field.name] for field in fields(Row)})
    for name, kind in (("t_s", float), ("compensation", str), ("seed", int), ("images", int), ("correct", int)):
        if type(value := getattr(row, name)) is not kind:
            raise ValueError(f"{name}: {describe(value)}")
    if not 0 <= row.correct <= row.images:
        raise ValueError("more images are correct than there are")
    return row


def _difference(place: str, mine: object, other: object) -> tuple[str, object, object]:
    """Return the first place at which two JSON values that differ do so, and what each has there."""
    if isinstance(mine, dict) and isinstance(other, dict):
        for name in {**mine, **other}:
            if mine.get(name) != other.get(name):
                return _difference(f"{place}.{name}", mine.get(name), other.get(name))
    return place, mine, other
