"""Accuracy over two swept axes and more: a table in shades, for each value of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcmref.studies.axes import compensations_of, coordinate, is_numeric, label, swept, value_text
from pcmref.studies.drawing import (
    CHARACTERS_PER_INCH,
    NAME_MOST,
    PANELS,
    WIDTH_IN,
    Chart,
    heading,
    left_out,
    mark_names,
    panels,
)
from pcmref.studies.plots import LABELS
from pcmref.studies.report import time_text
from pcmref.studies.results import Coordinate, Results

__all__ = ["over_axes"]

#: Most columns and rows of a panel, and most fields of a figure.
COLUMNS, ROWS, FIELDS = 14, 20, 400
#: Up to so many columns two panels stand beside each other.
NARROW = 9
#: Least percentage points from the lightest to the darkest: tiny differences look tiny.
LEAST_SPAN = 2.0


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What one panel shows: means in % by row and column."""

    heading: str
    compensation: str
    means: Mapping[tuple[Coordinate, Coordinate], float]


def over_axes(results: Results, t_s: float) -> Chart:
    """Return accuracy at one time over the two axes with the most values, a panel for each value of the rest."""
    axes = swept(results)
    longest = sorted(axes, key=lambda name: (len(axes[name]), is_numeric(axes[name])))[-2:]
    down, across = longest
    rest = [name for name in axes if name not in longest]
    rows, columns = axes[down][:ROWS], axes[across][:COLUMNS]
    found: dict[tuple[str, str], dict[tuple[Coordinate, Coordinate], float]] = {}
    for cell in results.cells:
        setting = results.settings[cell.setting]
        row, column = coordinate(setting, down), coordinate(setting, across)
        if cell.t_s == t_s:
            means = found.setdefault((label(setting, rest), cell.compensation), {})
            means[row, column] = 100 * cell.correct / (cell.chips * setting.images)
    order = list(dict.fromkeys(label(setting, rest) for setting in results.settings))
    rank = {key: (order.index(key[0]), compensations_of(results).index(key[1])) for key in found}
    whole = [
        Panel(heading=", ".join(filter(None, (heading, LABELS[name]))), compensation=name, means=found[heading, name])
        for heading, name in sorted(found, key=rank.__getitem__)
    ]
    chosen = whole[: max(1, min(PANELS, FIELDS // (len(rows) * len(columns))))]
    caption = (
        f"Mean over chips in %, {time_text(t_s)} after programming; darker is more accurate, without compensation on a "
        f"scale of its own. An empty field has no chips yet, or is not asked for."
        + left_out(axes[down], rows, f"values of {value_text(down)}")
        + left_out(axes[across], columns, f"values of {value_text(across)}")
        + left_out(whole, chosen, "panels")
    )
    names = (value_text(down), value_text(across))
    title = f"Accuracy over {names[0]} and {names[1]}"
    return Chart(name="setting", title=title, caption=caption, draw=lambda: _drawn(chosen, rows, columns, names))


def _drawn(
    contents: Sequence[Panel], rows: Sequence[Coordinate], columns: Sequence[Coordinate], names: tuple[str, str]
) -> Any:
    """Draw panels with a number in every field."""
    row_names, column_names = [value_text(value) for value in rows], [value_text(value) for value in columns]
    beside = 1 if len(contents) == 1 or len(columns) > NARROW else 2
    beside_names = min(max(map(len, row_names)), NAME_MOST) / CHARACTERS_PER_INCH
    room = CHARACTERS_PER_INCH * (WIDTH_IN / beside - beside_names - 0.3) / len(columns)
    below_in = 0.0 if max(map(len, column_names)) < room else min(max(map(len, column_names)), NAME_MOST) / 14
    drawing, found = panels(len(contents), columns=beside, height_in=0.24 * len(rows) + 0.65 + below_in)
    for axes, panel in zip(found, contents, strict=True):
        means = np.array([[panel.means.get((row, column), np.nan) for column in columns] for row in rows])
        none = panel.compensation == "none"
        low, high = _scale([other for other in contents if (other.compensation == "none") is none])
        axes.imshow(means, cmap="Blues", vmin=low - 0.15 * (high - low), vmax=high, aspect="auto")
        for (y, x), mean in np.ndenumerate(means):
            if not np.isnan(mean):
                colour = "white" if mean > low + 0.55 * (high - low) else "black"
                text = axes.text(x, y, f"{mean:.2f}", ha="center", va="center", color=colour, fontsize=8)
                text.set_in_layout(False)  # which would be measured, to no avail
        mark_names(axes.xaxis, range(len(columns)), column_names, room)
        mark_names(axes.yaxis, range(len(rows)), row_names, NAME_MOST + 1)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        heading(axes, panel.heading, WIDTH_IN / beside - 0.6)
        axes.set_xlabel(names[1])
        axes.set_ylabel(names[0])
    return drawing


def _scale(contents: Sequence[Panel]) -> tuple[float, float]:
    """Return the percentages that are lightest and darkest in some panels."""
    means = [mean for panel in contents for mean in panel.means.values()]
    return min(min(means), max(means) - LEAST_SPAN), max(means)
