"""Results of studies that never were: chips whose accuracies are drawn, for figures, tables and pages."""

from __future__ import annotations

import itertools

import numpy as np

from pcmref.references import SPEC_VERSION, VERSION
from pcmref.studies.results import Cell, Results, Setting

DAY_S = 86400.0
TIMES_S = (25.0, 3600.0, DAY_S, 30 * DAY_S, 365 * DAY_S)
COMPENSATIONS = ("none", "gdc", "adabs", "gdc+adabs")
#: Points of accuracy that are lost in a decade of time.
LOST = {"none": 30.0, "gdc": 0.25, "adabs": 0.12, "gdc+adabs": 0.08}


def cell_of(setting, t_s, compensation, counts):
    """The cell of chips that classify as many images correctly."""
    counts = [int(count) for count in counts]
    return Cell(
        setting=setting,
        t_s=t_s,
        compensation=compensation,
        chips=len(counts),
        correct=sum(counts),
        squares=sum(count * count for count in counts),
        least=min(counts),
        most=max(counts),
    )


def findings(
    axes=None,
    *,
    times_s=TIMES_S,
    compensations=COMPENSATIONS,
    chips=20,
    images=10_000,
    missing=lambda setting, t_s, compensation: False,
    name="A sweep",
    asked="[grid]\n",
    digital=True,
):
    """Return results over a grid of axes (name -> values), and the counts of chips of each cell."""
    rng = np.random.default_rng(0)
    axes = {"network": ["digits-resnet8"]} if axes is None else axes
    settings, cells, counts = [], [], {}
    for number, values in enumerate(itertools.product(*axes.values())):
        coordinates = dict(zip(axes, values, strict=True))
        worse = 6 * rng.random()
        settings.append(
            Setting(
                coordinates=coordinates,
                facts={
                    "spec": SPEC_VERSION,
                    "network": {"file": str(values[0]), "sha256": "a" * 64, "digest": f"{number:064x}", "digital": []},
                    "images": {"source": "evaluation", "count": images, "sha256": "b" * 64, "labels_sha256": "c" * 64},
                    "calibration": None,
                    "model": {"name": "NANDAKUMAR_2019"},
                    "scale": "layer",
                    "readout": {"name": "chip8"},
                },
                digest=f"{number:064x}",
                images=images,
                digital_correct=int(0.998 * images) if digital else None,
            )
        )
        for t_s, compensation in itertools.product(times_s, compensations):
            if missing(number, t_s, compensation):
                continue
            mean = 99 - worse - LOST[compensation] * np.log10(max(t_s, 1.0))
            share = np.clip(rng.normal(max(mean, 10), 0.4, chips) / 100, 0, 1)
            counts[number, t_s, compensation] = np.rint(images * share).astype(np.int64)
            cells.append(cell_of(number, t_s, compensation, counts[number, t_s, compensation]))
    wanted = len(settings) * len(times_s) * len(compensations) * chips
    return Results(
        name=name,
        asked=asked,
        command="pcmref report sweep.db {figure}.svg --figure {figure}",
        spec=SPEC_VERSION,
        version=VERSION,
        settings=tuple(settings),
        cells=tuple(cells),
        rows=sum(cell.chips for cell in cells),
        wanted=wanted,
        digest="d" * 64,
        chips=lambda cell: counts[cell.setting, cell.t_s, cell.compensation],
    )
