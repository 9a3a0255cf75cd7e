"""Accuracy over time and over one swept axis, as lines; where they lie together, once more from close up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcmref.studies.axes import (
    cells_by_place,
    compensations_of,
    coordinate,
    is_numeric,
    label,
    swept,
    times_of,
    value_text,
)
from pcmref.studies.drawing import (
    CHARACTERS_PER_INCH,
    NAME_MOST,
    PANELS,
    WIDTH_IN,
    Chart,
    finish,
    heading,
    left_out,
    limits,
    line_style,
    mark,
    mark_names,
    mark_times,
    panels,
    positions,
)
from pcmref.studies.plots import COLOURS
from pcmref.studies.report import time_text
from pcmref.studies.results import Cell, Coordinate, Results
from pcmref.studies.statistics import Statistics, summary

__all__ = ["over_axis", "over_time"]

#: Most panels with a time each, and most names along an axis.
TIMES, NAMES = 6, 24
#: A close-up shows more if what it leaves out makes the axis so many times as long.
CLOSER = 2


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What one panel shows: statistics by compensation and position, the digital baseline in % by position."""

    heading: str
    lines: Mapping[str, Mapping[float, Statistics]]
    digital: Mapping[float, float]

    def extent(self, compensations: Iterable[str]) -> list[float]:
        """Return percentages between which the lines of these compensations lie, with their bands."""
        found = [s for name in compensations for s in self.lines[name].values()]
        return [100 * share for s in found for share in (s.least, s.most)]


def over_time(results: Results) -> list[Chart]:
    """Return accuracy over time, a panel for each setting, and a close-up if that shows more."""
    axes, times, places = swept(results), times_of(results), cells_by_place(results)
    where = positions(times)
    present = list(dict.fromkeys(setting for setting, _, _ in places))
    chosen = present[:PANELS]

    def panel(n: int) -> Panel:
        cells = {
            name: {where[t]: places[n, t, name] for t in times if (n, t, name) in places}
            for name in compensations_of(results)
        }
        baseline = _digital(results, n)
        digital = {} if baseline is None else dict.fromkeys(where.values(), baseline)
        return Panel(heading=label(results.settings[n], axes), lines=_summaries(results, cells), digital=digital)

    def axis(drawn: Any, width_in: float) -> None:
        mark_times(drawn, times, width_in)

    shown = left_out(present, chosen, "settings")
    return _charts("retention", "Accuracy over time", [panel(n) for n in chosen], axis, shown)


def over_axis(results: Results) -> list[Chart]:
    """Return accuracy along the only axis that is swept, a panel for each time, and a close-up if that shows more."""
    ((axis_name, values),) = swept(results).items()
    numeric = is_numeric(values)
    along = values if numeric else values[:NAMES]
    where = _where(along)
    setting_at = {coordinate(setting, axis_name): n for n, setting in enumerate(results.settings)}
    times, places, compensations = times_of(results), cells_by_place(results), compensations_of(results)
    chosen = [times[n] for n in np.unique(np.linspace(0, len(times) - 1, min(TIMES, len(times))).astype(int))]

    def panel(t_s: float) -> Panel:
        cells: dict[str, dict[float, Cell]] = {}
        for number, name in enumerate(compensations):
            aside = 0.0 if numeric else 0.12 * (number - (len(compensations) - 1) / 2)
            found = {where[value] + aside: places.get((setting_at[value], t_s, name)) for value in along}
            cells[name] = {x: cell for x, cell in found.items() if cell is not None}
        digital = {where[value]: _digital(results, setting_at[value]) for value in along}
        known = {x: percent for x, percent in digital.items() if percent is not None}
        return Panel(heading=time_text(t_s), lines=_summaries(results, cells), digital=known)

    def axis(drawn: Any, width_in: float) -> None:
        names = {value: value_text(value) for value in along}
        if numeric:
            mark(drawn, where, names, width_in)  # type: ignore[arg-type]  # all are numbers
        else:
            mark_names(
                drawn.xaxis, list(where.values()), list(names.values()), CHARACTERS_PER_INCH * width_in / len(along)
            )
            drawn.set_xlim(-0.5, len(along) - 0.5)
        drawn.set_xlabel(value_text(axis_name))

    shown = left_out(values, along, "values") + left_out(times, chosen, "times")
    title = f"Accuracy over {value_text(axis_name)}"
    longest = 0 if numeric else min(NAME_MOST, max(len(value_text(value)) for value in along))
    return _charts("setting", title, [panel(t) for t in chosen], axis, shown, joined=numeric, below_in=longest / 14)


def _where(values: Sequence[Coordinate]) -> dict[Coordinate, float]:
    """Return where values stand: numbers as such, names one after the other."""
    if is_numeric(values):
        return dict(zip(values, positions([float(value) for value in values]).values(), strict=True))
    return {value: float(n) for n, value in enumerate(values)}


def _digital(results: Results, setting: int) -> float | None:
    """Return the digital baseline of a setting in %, if it is known."""
    of = results.settings[setting]
    return None if of.digital_correct is None else 100 * of.digital_correct / of.images


def _summaries(results: Results, cells: Mapping[str, Mapping[float, Cell]]) -> dict[str, dict[float, Statistics]]:
    """Return the statistics of the cells of each line."""
    return {
        name: {x: summary(cell, results.settings[cell.setting].images) for x, cell in line.items()}
        for name, line in cells.items()
    }


def _charts(
    name: str,
    title: str,
    contents: Sequence[Panel],
    axis: Callable[[Any, float], None],
    shown: str,
    *,
    joined: bool = True,
    below_in: float = 0.0,
) -> list[Chart]:
    """Return a figure of some panels, and a close-up if what compensation keeps is a small part of the axis.

    Lines join what stands on an axis of numbers, and names may take some inches below it.
    """
    baselines = [percent for panel in contents for percent in panel.digital.values()]
    whole = [percent for panel in contents for percent in panel.extent(panel.lines)] + baselines
    kept = [percent for panel in contents for percent in panel.extent(set(panel.lines) - {"none"})]
    several = any(s.chips > 1 for panel in contents for line in panel.lines.values() for s in line.values())
    reading = (
        "Mean over chips with its 95 % interval; bands reach from the worst chip to the best."
        if several
        else "One chip."
    ) + shown

    def chart(name: str, title: str, reading: str, extent: Sequence[float]) -> Chart:
        return Chart(
            name=name, title=title, caption=reading, draw=lambda: _drawn(contents, axis, extent, joined, below_in)
        )

    found = [chart(name, title, reading, whole)]
    if kept and np.ptp(whole) > CLOSER * np.ptp(kept + baselines) + 1:
        closer = f"{reading} The axis has what compensation keeps; other lines leave it below."
        found.append(chart(f"{name}-close", f"{title}, close-up", closer, kept + baselines))
    return found


def _drawn(
    contents: Sequence[Panel],
    axis: Callable[[Any, float], None],
    extent: Sequence[float],
    joined: bool,
    below_in: float,
) -> Any:
    """Draw panels beside and below each other, with one axis of accuracy for all."""
    columns = 1 if len(contents) == 1 else 2 if len(contents) <= 4 else 3
    height_in = (3.4, 2.7, 2.2)[columns - 1] + below_in
    drawing, found = panels(len(contents), columns=columns, height_in=height_in, sharey=True)
    for axes, panel in zip(found, contents, strict=True):
        for compensation, line in panel.lines.items():
            if line:
                _draw_line(axes, compensation, line, joined)
        look = {"color": "0.45", "linewidth": 1.2, "label": "digital", "zorder": 1}
        if len(set(panel.digital.values())) == 1:
            axes.axhline(next(iter(panel.digital.values())), linestyle=(0, (1, 1)), **look)
        elif panel.digital:
            dashes = {"linestyle": (0, (1, 1))} if joined else {"linestyle": "none", "marker": "_", "markersize": 14}
            axes.plot(list(panel.digital), list(panel.digital.values()), **look, **dashes)
        axis(axes, WIDTH_IN / columns - 0.6)
        heading(axes, panel.heading, WIDTH_IN / columns - 0.6)
        axes.set_ylim(limits(extent))
    for axes in found[:-columns]:
        axes.set_xlabel("")
    for axes in found[::columns]:
        axes.set_ylabel("accuracy, %")
    finish(drawing)
    return drawing


def _draw_line(axes: Any, compensation: str, line: Mapping[float, Statistics], joined: bool) -> None:
    """Draw means with their intervals, and a band from the worst to the best chip."""
    colour, x, of = COLOURS[compensation], list(line), list(line.values())
    axes.plot(x, [100 * s.mean for s in of], **line_style(compensation) | ({} if joined else {"linestyle": "none"}))
    known = [(at, s.mean, s.interval) for at, s in zip(x, of, strict=True) if s.interval is not None]
    if known:
        means = [100 * mean for _, mean, _ in known]
        bars = [[100 * abs(mean - interval[end]) for _, mean, interval in known] for end in (0, 1)]
        axes.errorbar([at for at, _, _ in known], means, bars, fmt="none", ecolor=colour, elinewidth=1, capsize=2)
    low, high = [100 * s.least for s in of], [100 * s.most for s in of]
    if joined:
        axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    else:
        axes.vlines(x, low, high, color=colour, alpha=0.25, lw=5)
