"""The answer to a study as a JSON document: written whole, or in part so that the same study goes on from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pcmref.errors import DataError, FileError, describe
from pcmref.files.atomic import replacing
from pcmref.files.json_text import is_same, json_digest, parsed
from pcmref.files.regular import content_of
from pcmref.references import VERSION
from pcmref.studies.retention import Retention, Row
from pcmref.studies.study import Study

__all__ = ["part_of", "rows_left", "write_document"]

#: Name and version of the document.
FORMAT = {"format": "pcmref-retention", "version": 3}
#: No document may have more bytes.
DOCUMENT_LIMIT = 1 << 26


def part_of(path: Path) -> Path:
    """Return the name that the document called `path` has until it is complete."""
    return Path(f"{path}.part")


def write_document(path: Path, result: Retention) -> None:
    """Write an answer, or what is known of it so far.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    document = json.loads(json.dumps(_document(result)))
    document["digest"] = json_digest(document)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def rows_left(path: Path, study: Study, *, threads: int | None = None) -> list[Row]:
    """Return the rows in the incomplete document `path`; none if there is no such file.

    Raises
    ------
    DataError
        If the file is damaged or was changed, or was left by another study: other seeds, times and compensations may
        be asked for now, but not other converters (if their ranges are found with calibration images, they are found
        again).
    """
    try:
        left = parsed(content_of(path, DOCUMENT_LIMIT))
        rows = [_row(values) for values in left["rows"]]
    except FileNotFoundError:
        return []
    except FileError as error:
        raise DataError(error.where, error.expected, error.found) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            str(path), "the rows of an unfinished run (without the file it begins anew)", describe(error)
        ) from error
    wanted = json.loads(json.dumps({**_header(study), "readout": asdict(study.ranged_readout(threads))}))
    for name, value in wanted.items():
        if not is_same(value, left.get(name)):
            place, mine, other = _difference(name, value, left.get(name))
            expected = f"what this run has: {describe(mine)} (without the file it begins anew)"
            raise DataError(f"{path}: {place}", expected, describe(other))
    if left.get("digest") != (digest := json_digest(left)):
        expected = f"{digest}, the digest of what it says (without the file the run begins anew)"
        raise DataError(f"{path}: digest", expected, f"{describe(left.get('digest'), 80)}: the file was changed")
    if len({(row.seed, row.t_s, row.compensation) for row in rows}) < len(rows):
        raise DataError(f"{path}: rows", "one for each seed, time and compensation", "two of one")
    return rows


def _header(study: Study) -> dict[str, Any]:
    return {**FORMAT, "pcmref": VERSION, **study.identity()}


def _document(result: Retention) -> dict[str, Any]:
    return {
        **_header(result.study),
        "readout": asdict(result.readout),
        "digital": {
            "images": result.images,
            "correct": result.digital_correct,
            "accuracy": result.digital_accuracy,
        },
        "rows": [{**asdict(row), "accuracy": row.accuracy} for row in result.rows],
    }


def _row(values: Mapping[str, Any]) -> Row:
    """Return a row as `write_document` has written it."""
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
