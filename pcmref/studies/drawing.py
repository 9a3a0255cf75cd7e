"""How figures of a report are made: their style, panels, axes and legend, and SVG that can stand within a page."""

from __future__ import annotations

import contextlib
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

from pcmref.errors import require
from pcmref.studies.plots import COLOURS, DATELESS, LABELS, LINES, MARKS, figure
from pcmref.studies.report import time_text

__all__ = [
    "CHARACTERS_PER_INCH",
    "NAME_MOST",
    "PANELS",
    "WIDTH_IN",
    "Chart",
    "finish",
    "heading",
    "left_out",
    "limits",
    "line_style",
    "mark",
    "mark_names",
    "mark_times",
    "panels",
    "positions",
    "style",
    "svg",
    "within",
]

#: Width of a figure, inches, and most panels in it.
WIDTH_IN, PANELS = 8.0, 9
#: Text stays text, whatever is in it, and equal figures are equal files.
STYLE = {
    "axes.edgecolor": "0.4",
    "axes.grid": True,
    "axes.labelcolor": "0.2",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.5,
    "font.size": 9.0,
    "grid.color": "0.9",
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "pcmref",
    "text.parse_math": False,
    "xtick.color": "0.3",
    "ytick.color": "0.3",
}
#: Characters of a text of this size on an inch.
CHARACTERS_PER_INCH = 13
#: Most characters of a name on an axis.
NAME_MOST = 28
#: Up to so many times are marks themselves.
TIMES_MARKED = 8
#: Numbers that span this factor, or more, stand on a logarithmic axis.
DECADES_FACTOR = 50
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure that can be drawn.

    Parameters
    ----------
    name : str
        What ``--figure`` calls it.
    title, caption : str
        What it shows, in a few words; how to read it, and what is left out.
    draw : callable
        Returns a figure of matplotlib.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], Any]


def left_out(whole: Sized, part: Sized, what: str) -> str:
    """Return what a caption says if only part of something is shown."""
    return "" if len(part) == len(whole) else f" Shown are {len(part):,} of {len(whole):,} {what}."


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in the style of pcmref, not in the user's; afterwards all is as it was.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    matplotlib = require("matplotlib", "cli")
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names may have letters that its font lacks
        yield


def panels(
    count: int, *, columns: int, height_in: float, ratios: Sequence[float] = (), **grid: Any
) -> tuple[Any, list[Any]]:
    """Return a figure of some panels, in rows of as many `columns` at most, each row `height_in` inches high.

    With `ratios` the panels are one column of rows that are so many times as high.
    """
    columns = min(count, columns)
    rows = math.ceil(count / columns)
    shares = list(ratios) or [1.0] * rows
    size = (WIDTH_IN, height_in * sum(shares) + 0.8)
    drawing, axes = figure(figsize=size, nrows=rows, ncols=columns, squeeze=False, height_ratios=shares, **grid)
    found = list(axes.ravel())
    for unused in found[count:]:
        unused.remove()
    return drawing, found[:count]


def line_style(compensation: str) -> dict[str, Any]:
    """Return how the line of a compensation looks: told apart by colour, by mark and by dashes."""
    marker, dashes = LINES[compensation]
    return {
        "color": COLOURS[compensation],
        "label": LABELS[compensation],
        "linestyle": dashes,
        "linewidth": 1.3,
        "marker": marker,
        "markersize": 4,
    }


def finish(drawing: Any) -> None:
    """Give a figure one legend for all its panels, above them."""
    entries: dict[str, Any] = {}
    for axes in drawing.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    if entries:
        drawing.legend(entries.values(), entries, loc="outside upper center", ncols=len(entries))


def within(text: str, most: int) -> str:
    """Return a text of at most so many characters: of a longer one, its ends."""
    return (
        text
        if len(text) <= most
        else f"{text[: most // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) + 1 - (most + 1) // 2 :]}"
    )


def heading(axes: Any, text: str, width_in: float) -> None:
    """Give a panel its heading, in two lines at most."""
    columns = int(CHARACTERS_PER_INCH * width_in)
    axes.set_title(textwrap.fill(within(text, 2 * columns - 12), columns), loc="left")


def limits(values: Iterable[float], least_span: float = 0.5) -> tuple[float, float]:
    """Return where an axis of percentages begins and ends: a little beyond its values, hardly beyond 0 and 100."""
    low, high = min(found := list(values)), max(found)
    margin = max(0.06 * (high - low), (least_span - (high - low)) / 2)
    beyond = 0.05 * (high - low + 2 * margin)
    return max(low - margin, -beyond), min(high + margin, 100.0 + beyond)


# Axes of numbers


def positions(values: Sequence[float]) -> dict[float, float]:
    """Return where numbers stand on an axis: at their logarithms if they span decades, and 0 a step before those."""
    positive = [value for value in values if value > 0]
    wide = len(positive) > 1 and max(positive) >= DECADES_FACTOR * min(positive)
    if not wide or min(values) < 0:
        return {value: float(value) for value in values}
    start, end = math.log10(min(positive)), math.log10(max(positive))
    return {value: math.log10(value) if value > 0 else start - 0.15 * (end - start) for value in values}


def mark(axes: Any, where: Mapping[float, float], names: Mapping[float, str], width_in: float) -> None:
    """Name numbers at their positions on the horizontal axis of a panel: as many as there is room for, the last first.

    Ends of the axis are a little beyond them.
    """
    low, high = min(where.values()), max(where.values())
    span = (high - low) or 1.0
    room = CHARACTERS_PER_INCH * width_in / (1.1 * span)
    kept: list[float] = []
    for value in sorted(names, key=where.__getitem__, reverse=True):
        needed = 1.5 + (len(names[value]) + len(names[kept[-1]])) / 2 if kept else 0.0
        if not kept or room * (where[kept[-1]] - where[value]) >= needed:
            kept.append(value)
    axes.set_xticks([where[value] for value in kept], [names[value] for value in kept])
    axes.set_xlim(low - 0.06 * span, high + 0.06 * span)


def mark_names(axis: Any, where: Sequence[float], names: Sequence[str], room: float) -> int:
    """Name every value of an axis; return how many characters a name has that is turned, as there is no `room` for it.

    `room` is the number of characters from a value to the next.
    """
    names = [within(name, NAME_MOST) for name in names]
    longest = max(map(len, names))
    turned = longest + 1 > room
    axis.set_ticks(where, names, rotation=90 if turned else 0)
    return longest if turned else 0


def mark_times(axes: Any, times_s: Sequence[float], width_in: float) -> dict[float, float]:
    """Give a panel its axis of time, and return where each time stands."""
    where = positions(times_s)
    first = next((t for t in times_s if t > 0), 0.0)
    marks = {t: name for name, t in MARKS.items() if first <= t <= times_s[-1]}
    if len(times_s) <= TIMES_MARKED or len(marks) < 2:
        mark(axes, where, {t: time_text(t) for t in times_s}, width_in)
    else:
        wide = positions([*times_s, *marks])
        mark(axes, wide, marks if times_s[0] > 0 else {0.0: "0 s", **marks}, width_in)
    axes.set_xlabel("time since programming")
    return where


# Files and pages


def svg(drawing: Any, name: str, text: str) -> str:
    """Return a figure as an SVG element of a page: without date and style of its own, each id beginning with `name`.

    `text` is what it is called where it cannot be seen.
    """
    buffer = BytesIO()
    drawing.savefig(buffer, format="svg", metadata=DATELESS[".svg"])
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        element.attrib.update({key: _prefixed(key, value, name) for key, value in element.attrib.items()})
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib.update({"role": "img", "aria-label": text})
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _prefixed(key: str, value: str, name: str) -> str:
    """Return the value of an attribute; if it is an id, or refers to one, with a name before it."""
    if key == "id":
        return f"{name}-{value}"
    if key == f"{{{XLINK}}}href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    return re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", value)
