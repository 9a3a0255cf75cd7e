"""The answer to one study as a sweep of a single setting, for tables, figures and pages."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np

from pcmref.arrays import Int64
from pcmref.golden.readouts import readout_fields
from pcmref.references import SPEC_VERSION, VERSION
from pcmref.studies.results import Cell, Coordinate, Results, Setting, cells_of, digest_of, row_digests
from pcmref.studies.retention import Retention
from pcmref.studies.sweeps.points import Point

__all__ = ["results_of"]


def results_of(retention: Retention, command: str) -> Results:
    """Return what a study has found; `command` is what asked for it.

    Digests are those of a sweep: one that has the same rows has the same.
    """
    study = retention.study
    coordinates: dict[str, Coordinate] = {
        "network": study.title,
        "preset": retention.readout.name,
        "model": study.model.name,
        "images": retention.images,
    }
    point = Point(coordinates=coordinates, study=study, blocks=())
    setting = Setting(
        coordinates=coordinates,
        facts={**point.facts, "readout": readout_fields(retention.readout)},
        digest=point.digest,
        images=retention.images,
        digital_correct=retention.digital_correct,
    )
    rows = sorted(retention.rows, key=lambda row: (row.seed, row.t_s, row.compensation))
    digest_of_row, digest = row_digests(point.digest, retention.images), hashlib.sha256()
    for row in rows:
        digest.update(digest_of_row(row.seed, row.t_s, row.compensation, row.correct).encode())
    order = itertools.product(study.times_s, study.compensations)

    def chips(cell: Cell) -> Int64:
        found = [row.correct for row in rows if (row.t_s, row.compensation) == (cell.t_s, cell.compensation)]
        return np.array(found, np.int64)

    return Results(
        name=study.title,
        asked=command,
        command=command,
        spec=SPEC_VERSION,
        version=VERSION,
        settings=(setting,),
        cells=tuple(cells_of(0, order, ((row.t_s, row.compensation, row.correct) for row in rows))),
        rows=len(rows),
        wanted=len(study.cases),
        digest=digest_of({setting.digest: digest.hexdigest()}),
        chips=chips,
    )
