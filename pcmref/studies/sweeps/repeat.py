"""One row of a sweep alone, in this process: what failed elsewhere, or is to be checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pcmref.errors import DataError, ParameterError
from pcmref.studies.report import time_text
from pcmref.studies.retention import rows_of
from pcmref.studies.study import Case
from pcmref.studies.sweeps.grid import Question
from pcmref.studies.sweeps.opening import read
from pcmref.studies.sweeps.points import KEY_DIGITS, Point, points_of, row_key

__all__ = ["repeat"]

#: Fewest digits of a key that are taken for it.
DIGITS_LEAST = 6


def repeat(question: Question, key: str, path: Path | None = None, *, threads: int | None = None) -> str:
    """Find one row, compare it with that of a database, and return what to say of it.

    Parameters
    ----------
    question : Question
    key : str
        Of the row, or its first digits.
    path : Path, optional
        A database of the study.
    threads : int, optional

    Raises
    ------
    ParameterError
        If the study has no such row, or several.
    DataError
        If the database has another result.
    """
    point, case = _row_of(question, key)
    seed, t_s, compensation = case
    study = replace(point.study, seeds=(seed,))
    (row,) = rows_of(study, [case], study.ranged_readout(threads), threads=threads)
    where = ", ".join(f"{name} {value}" for name, value in point.coordinates.items())
    text = f"row {row_key(point.digest, case)}: {where}, seed {seed}, {time_text(t_s)}, {compensation}\n"
    text += f"{row.correct:,} of {row.images:,} images ({row.accuracy:.2%})"
    if path is None:
        return text
    kept = _kept(path, point.digest, case)
    if kept is None:
        return f"{text}; not in {path} yet"
    if kept != row.correct:
        raise DataError(f"{path}: row {row_key(point.digest, case)}", f"{row.correct} correct images", str(kept))
    return f"{text}, as in {path}"


def _row_of(question: Question, key: str) -> tuple[Point, Case]:
    if not DIGITS_LEAST <= len(key) <= KEY_DIGITS:
        raise ParameterError(
            "--row", f"{DIGITS_LEAST} to {KEY_DIGITS} hexadecimal digits of the key of a row", repr(key)
        )
    found = [
        (point, case)
        for point in points_of(question)
        for case in point.cases
        if row_key(point.digest, case).startswith(key.lower())
    ]
    if len(found) != 1:
        raise ParameterError(
            "--row",
            f"the key of one row of {question.path} (`pcmref report FILE.db OUT --rows FILE.csv` lists them)",
            f"{len(found)} rows of {key}",
        )
    return found[0]


def _kept(path: Path, setting: str, case: Case) -> int | None:
    with read(path) as database:
        found = [row for asked in database.asked() if asked.digest == setting for row in database.rows(asked)]
    return next((correct for *of, correct, _ in found if tuple(of) == case), None)
