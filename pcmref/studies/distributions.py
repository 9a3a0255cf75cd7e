"""How the accuracies of chips are distributed at one time: a row for each setting and compensation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcmref.arrays import Float64
from pcmref.studies.axes import cells_by_place, compensations_of, label, swept
from pcmref.studies.drawing import Chart, left_out, limits, panels, within
from pcmref.studies.plots import COLOURS, LABELS, LINES
from pcmref.studies.report import time_text
from pcmref.studies.results import Cell, Results
from pcmref.studies.statistics import summary

__all__ = ["over_chips"]

#: Most rows of a figure, and most characters of the name of one.
ROWS, NAME_MOST = 24, 40
#: Up to so many chips are strokes, more are a histogram of so many bars across the axis.
STROKES, BARS = 40, 80


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What one panel shows: cells, a row each, and between which percentages they and their like lie."""

    heading: str
    rows: Sequence[tuple[str, Cell]]
    limits: tuple[float, float]


def over_chips(results: Results, t_s: float) -> Chart:
    """Return the distribution over chips at one time; without compensation it has an axis of its own."""
    axes = swept(results)
    cells = [cell for cell in cells_by_place(results).values() if cell.t_s == t_s]
    present = list(dict.fromkeys(cell.setting for cell in cells))
    chosen = present[: max(1, ROWS // len(compensations_of(results)))]
    cells = [cell for cell in cells if cell.setting in chosen]
    contents = []
    for group in ([cell for cell in cells if (cell.compensation == "none") is none] for none in (True, False)):
        if not group:
            continue
        extent = limits(
            100 * n / results.settings[cell.setting].images for cell in group for n in (cell.least, cell.most)
        )
        if len(chosen) == 1:
            rows = [(LABELS[cell.compensation], cell) for cell in group]
            contents.append(Panel(heading="", rows=rows, limits=extent))
            continue
        for name in compensations_of(results):
            rows = [(label(results.settings[cell.setting], axes), cell) for cell in group if cell.compensation == name]
            if rows:
                contents.append(Panel(heading=LABELS[name], rows=rows, limits=extent))
    counts = sorted({cell.chips for cell in cells})
    chips = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    caption = (
        f"{chips} chip{'s' if counts[-1] > 1 else ''} a row, {time_text(t_s)} after programming: "
        + ("each a stroke" if counts[0] <= STROKES else "")
        + (", or, if they are many, " if counts[0] <= STROKES < counts[-1] else "")
        + ("a histogram" if counts[-1] > STROKES else "")
        + "; below, their mean with its 95 % interval."
        + left_out(present, chosen, "settings")
    )
    title = "Distribution over chips"
    return Chart(name="distribution", title=title, caption=caption, draw=lambda: _drawn(results, contents))


def _drawn(results: Results, contents: Sequence[Panel]) -> Any:
    """Draw panels, one below the other."""
    ratios = [len(panel.rows) + 1.2 for panel in contents]
    drawing, found = panels(len(contents), columns=1, height_in=0.34, ratios=ratios)
    for axes, panel in zip(found, contents, strict=True):
        axes.set_xlim(panel.limits)
        for y, (_, cell) in enumerate(panel.rows):
            images = results.settings[cell.setting].images
            _draw_row(axes, -y, cell, 100 * results.chips(cell) / images, images)
        axes.set_yticks([-y for y in range(len(panel.rows))], [within(name, NAME_MOST) for name, _ in panel.rows])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-len(panel.rows) + 0.6, 0.8)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        axes.set_title(panel.heading, loc="left")
    found[-1].set_xlabel("accuracy, %")
    return drawing


def _draw_row(axes: Any, y: float, cell: Cell, percents: Float64, images: int) -> None:
    """Draw the chips of a cell above `y`, their mean below."""
    colour, of = COLOURS[cell.compensation], summary(cell, images)
    if cell.chips <= STROKES:
        axes.vlines(percents, y, y + 0.5, color=colour, alpha=0.7, lw=1)
    else:
        low, high = axes.get_xlim()
        counts, edges = np.histogram(percents, np.linspace(low, high, BARS + 1))
        axes.stairs(y + 0.6 * counts / counts.max(), edges, baseline=y, fill=True, color=colour, alpha=0.4)
    bars = None if of.interval is None else [[100 * abs(of.mean - end)] for end in of.interval]
    look = {"marker": LINES[cell.compensation][0], "markersize": 5, "color": colour, "capsize": 3, "zorder": 3}
    axes.errorbar([100 * of.mean], [y - 0.15], xerr=bars, **look)
