"""What a database holds, as the value that tables, figures and pages are made of: read once, with flat memory."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pcmref.arrays import Int64
from pcmref.errors import DataError, describe
from pcmref.files.atomic import replacing
from pcmref.studies.results import Cell, Results, Setting, cells_of, digest_of
from pcmref.studies.sweeps.database import Asked, Database
from pcmref.studies.sweeps.opening import read
from pcmref.studies.sweeps.points import row_key

__all__ = ["results", "write_rows"]


def results(path: Path) -> Results:
    """Return what a sweep has found so far of what its last study asks for.

    Raises
    ------
    DataError
        If the file is damaged, a row was changed, or it is no database of a sweep.
    OutputError
        If it cannot be read.
    """
    with read(path) as database:
        facts = database.facts()
        asked = tuple(database.asked())
        cells: list[Cell] = []
        digests: dict[str, str] = {}
        for position, setting in enumerate(asked):
            of_setting, digests[setting.digest] = _cells(database, position, setting)
            cells += of_setting
    try:
        name, text, spec, version = facts["name"], facts["text"], int(facts["spec"]), facts["pcmref"]
    except (KeyError, ValueError) as error:
        raise DataError(str(path), "the facts of a sweep", describe(error)) from None
    return Results(
        name=name,
        asked=text,
        command=f"pcmref report {path} {{figure}}.svg --figure {{figure}}",
        spec=spec,
        version=version,
        settings=tuple(_setting(setting) for setting in asked),
        cells=tuple(cells),
        rows=sum(cell.chips for cell in cells),
        wanted=sum(setting.wanted for setting in asked),
        digest=digest_of(digests),
        chips=lambda cell: _chips(path, asked[cell.setting], cell),
    )


def write_rows(path: Path, out: Path) -> None:
    """Write every row that a study asks for and is there as CSV, each with its key and its coordinates.

    Raises
    ------
    DataError, OutputError
        As `results`, or if `out` cannot be written.
    """
    with read(path) as database, replacing(out) as temporary:
        asked = tuple(database.asked())
        names = list(asked[0].coordinates) if asked else []
        with temporary.open("w", encoding="utf-8", errors="replace", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["key", *names, "seed", "t_s", "compensation", "correct", "images"])
            for setting in asked:
                where = [setting.coordinates[name] for name in names]
                for seed, t_s, compensation, correct, _ in database.rows(setting):
                    key = row_key(setting.digest, (seed, t_s, compensation))
                    writer.writerow([key, *where, seed, t_s, compensation, correct, setting.images])


def _cells(database: Database, position: int, setting: Asked) -> tuple[list[Cell], str]:
    """Return the cells of a setting, and the digest of its rows."""
    digest = hashlib.sha256()

    def rows() -> Iterator[tuple[float, str, int]]:
        for _, t_s, compensation, correct, of_row in database.rows(setting):
            digest.update(of_row.encode())
            yield t_s, compensation, correct

    return cells_of(position, _order(setting.blocks), rows()), digest.hexdigest()


def _order(blocks: Sequence[Mapping[str, Sequence[object]]]) -> list[tuple[float, str]]:
    """Return the times and compensations that are asked for."""
    return [(t_s, c) for block in blocks for t_s in block["times_s"] for c in block["compensations"]]  # type: ignore[misc]


def _setting(asked: Asked) -> Setting:
    return Setting(
        coordinates=asked.coordinates,
        facts=asked.facts,
        digest=asked.digest,
        images=asked.images,
        digital_correct=asked.digital_correct,
    )


def _chips(path: Path, setting: Asked, cell: Cell) -> Int64:
    """Return what each chip of a cell classifies correctly, in the order of seeds."""
    with read(path, again=True) as database:
        found = [correct for *_, correct, _ in database.rows(setting, at=(cell.t_s, cell.compensation))]
    return np.array(found, np.int64)
