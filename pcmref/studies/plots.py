"""Plots; they need the extra ``cli``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pcmref.errors import ParameterError, require
from pcmref.files.atomic import replacing
from pcmref.studies.retention import Retention
from pcmref.studies.study import DAY_S, HOUR_S, YEAR_S

__all__ = ["check_format", "figure", "plot_retention", "save_figure"]

#: Colour-blind safe (Okabe and Ito), one for each compensation.
COLOURS = {"none": "#000000", "gdc": "#E69F00", "adabs": "#0072B2", "gdc+adabs": "#009E73"}
#: And what tells their lines apart in grey.
LINES = {"none": ("o", "-"), "gdc": ("s", "--"), "adabs": ("^", "-."), "gdc+adabs": ("D", ":")}
LABELS = {"none": "none", "gdc": "GDC", "adabs": "AdaBS", "gdc+adabs": "GDC+AdaBS"}
#: Formats of pictures that need nothing but matplotlib.
FORMATS = (".pdf", ".png", ".svg")
#: What leaves out the date.
DATELESS = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
#: Marks of the time axis, seconds.
MARKS = {"1 min": 60.0, "1 h": HOUR_S, "1 day": DAY_S, "30 days": 30 * DAY_S, "1 year": YEAR_S}


def figure(*, figsize: tuple[float, float], **grid: Any) -> tuple[Any, Any]:
    """Return a new figure of `figsize` inches and its `grid` of axes, without touching the user's own figures.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    drawing = require("matplotlib.figure", "cli").Figure(figsize=figsize, layout="constrained")
    return drawing, drawing.subplots(**grid)


def check_format(path: Path) -> None:
    """Raise `ParameterError` now rather than after hours of work if `path` names no format of pictures.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    require("matplotlib", "cli")
    if path.suffix.lower() not in FORMATS:
        raise ParameterError(str(path), f"a suffix out of {', '.join(FORMATS)}", repr(path.suffix))


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure; its format follows the suffix of `path`.  It has no date: equal figures are equal files."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, metadata=DATELESS.get(path.suffix.lower()))


def plot_retention(result: Retention, path: Path, *, title: str) -> None:
    """Draw accuracy over time: a line for the mean over chips, a band from the worst to the best.

    The left panel shows everything, the right one what compensation keeps. Times are above 0: the axis is logarithmic.
    """
    drawing, panels = figure(figsize=(10.5, 4.5), ncols=2)
    times = sorted({row.t_s for row in result.rows})
    kept = [100 * result.digital_accuracy]
    for compensation in dict.fromkeys(row.compensation for row in result.rows):
        values = 100 * np.array([result.accuracies(t, compensation) for t in times])
        colour = COLOURS[compensation]
        for axes in panels:
            axes.plot(times, values.mean(axis=1), "o-", color=colour, label=LABELS[compensation], markersize=4)
            axes.fill_between(times, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.2, lw=0)
        if compensation != "none":
            kept += values.ravel().tolist()
    low, high = times[0] / 1.5, times[-1] * 1.5
    marks = {name: t for name, t in MARKS.items() if low <= t <= high}
    for axes in panels:
        axes.axhline(100 * result.digital_accuracy, color="0.4", ls="--", lw=1, label="digital")
        axes.set_xscale("log")
        if len(marks) > 1:
            axes.set_xticks(list(marks.values()), list(marks))
            axes.minorticks_off()
        axes.set_xlim(low, high)
        axes.set_xlabel("time since programming")
        axes.grid(color="0.9")
    panels[0].set_ylabel(f"accuracy, % of {result.images:,} images")
    panels[0].legend()
    margin = 0.05 * max(max(kept) - min(kept), 1.0)
    panels[1].set_ylim(min(kept) - margin, max(kept) + margin)
    panels[1].set_title("close-up")
    chips = len({row.seed for row in result.rows})
    title = title.encode("utf-8", "replace").decode("utf-8")  # names of files can be any bytes
    text = f"{title}: {chips} chip{'s' if chips > 1 else ''}, preset {result.readout.name}"
    drawing.suptitle(text, parse_math=False)
    save_figure(drawing, path)
