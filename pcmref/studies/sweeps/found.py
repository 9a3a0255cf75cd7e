"""What a database holds, as the value that tables, figures and pages are made of: read once, with flat memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pcmref.arrays import Int64
from pcmref.errors import DataError, describe
from pcmref.studies.results import Cell, Results, Setting
from pcmref.studies.sweeps.database import Asked, Database
from pcmref.studies.sweeps.opening import read

__all__ = ["results"]


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
    whole = "".join(f"{setting} {digests[setting]}\n" for setting in sorted(digests))
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
        digest=hashlib.sha256(whole.encode()).hexdigest(),
        chips=lambda cell: _chips(path, asked[cell.setting], cell),
    )


def _cells(database: Database, position: int, setting: Asked) -> tuple[list[Cell], str]:
    """Return the cells of a setting, and the digest of its rows."""
    digest = hashlib.sha256()
    found: dict[tuple[float, str], list[int]] = {}
    for row in database.rows(setting.id, setting.digest, setting.images):
        if setting.wants((row.seed, row.t_s, row.compensation)):
            digest.update(f"{row.seed} {row.t_s.hex()} {row.compensation} {row.correct}\n".encode())
            sums = found.setdefault((row.t_s, row.compensation), [0, 0, 0, row.correct, row.correct])
            sums[0] += 1
            sums[1] += row.correct
            sums[2] += row.correct**2
            sums[3] = min(sums[3], row.correct)
            sums[4] = max(sums[4], row.correct)
    cells = []
    for t_s, compensation in _order(setting.blocks):
        if (t_s, compensation) in found:
            chips, correct, squares, least, most = found[t_s, compensation]
            cell = Cell(
                setting=position,
                t_s=t_s,
                compensation=compensation,
                chips=chips,
                correct=correct,
                squares=squares,
                least=least,
                most=most,
            )
            cells.append(cell)
    return cells, digest.hexdigest()


def _order(blocks: Sequence[Mapping[str, Sequence[object]]]) -> list[tuple[float, str]]:
    """Return the times and compensations that are asked for, each pair once."""
    pairs = [(t_s, c) for block in blocks for t_s in block["times_s"] for c in block["compensations"]]
    return list(dict.fromkeys(pairs))  # type: ignore[arg-type]


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
    with read(path) as database:
        rows = database.rows(setting.id, setting.digest, setting.images)
        found = [
            row.correct
            for row in rows
            if (row.t_s, row.compensation) == (cell.t_s, cell.compensation)
            and setting.wants((row.seed, row.t_s, row.compensation))
        ]
    return np.array(found, np.int64)
