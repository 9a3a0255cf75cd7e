"""The answer to one study as a sweep of a single setting, for tables, figures and pages."""

from __future__ import annotations

import hashlib

import numpy as np

from pcmref.golden.readouts import readout_fields
from pcmref.references import SPEC_VERSION, VERSION
from pcmref.studies.results import Cell, Coordinate, Results, Setting
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
    counts: dict[tuple[float, str], list[int]] = {
        (t_s, name): [] for t_s in study.times_s for name in study.compensations
    }
    digest = hashlib.sha256()
    for row in rows:
        counts[row.t_s, row.compensation].append(row.correct)
        digest.update(f"{row.seed} {row.t_s.hex()} {row.compensation} {row.correct}\n".encode())
    cells = [
        Cell(
            setting=0,
            t_s=t_s,
            compensation=name,
            chips=len(found),
            correct=sum(found),
            squares=sum(correct**2 for correct in found),
            least=min(found),
            most=max(found),
        )
        for (t_s, name), found in counts.items()
        if found
    ]
    return Results(
        name=study.title,
        asked=command,
        command=command,
        spec=SPEC_VERSION,
        version=VERSION,
        settings=(setting,),
        cells=tuple(cells),
        rows=len(rows),
        wanted=len(study.cases),
        digest=hashlib.sha256(f"{setting.digest} {digest.hexdigest()}\n".encode()).hexdigest(),
        chips=lambda cell: np.array(counts[cell.t_s, cell.compensation], np.int64),
    )
