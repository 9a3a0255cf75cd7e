"""Along what the settings of a study differ, and what its cells are called in figures and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pcmref.errors import ParameterError
from pcmref.studies.plots import LABELS
from pcmref.studies.report import time_text
from pcmref.studies.results import Cell, Coordinate, Results, Setting

__all__ = [
    "cells_by_place",
    "compensations_of",
    "coordinate",
    "is_numeric",
    "label",
    "shown",
    "swept",
    "time_shown",
    "times_of",
    "value_text",
]

#: Axes whose values speak for themselves.
NAMES = ("network", "preset", "model")
#: The axis of settings that no coordinate tells apart: the first digits of their digests.
SETTING, DIGITS = "setting", 12
#: A setting by its position, a time and a compensation.
Place = tuple[int, float, str]


def swept(results: Results) -> dict[str, list[Coordinate]]:
    """Return the names of coordinates that tell settings apart, each with its values: numbers in order, names as met.

    What another coordinate decides is left out, as the number of images is that each network is judged by.  Settings
    that no coordinate tells apart, because they have other images, are told apart by their digest.
    """
    settings = results.settings
    columns = {
        name: [setting.coordinates[name] for setting in settings]
        for name in (settings[0].coordinates if settings else ())
        if len({setting.coordinates[name] for setting in settings}) > 1
    }
    for name in reversed(list(columns)):
        if any(_decides(column, columns[name]) for other, column in columns.items() if other != name):
            del columns[name]
    if len(set(zip(*columns.values(), strict=True))) < len(settings) > 1:
        columns[SETTING] = [coordinate(setting, SETTING) for setting in settings]
    axes = {name: list(dict.fromkeys(column)) for name, column in columns.items()}
    return {name: sorted(values, key=float) if is_numeric(values) else values for name, values in axes.items()}


def _decides(one: Sequence[Coordinate], other: Sequence[Coordinate]) -> bool:
    """Return whether each value of a column has but one beside it in another."""
    return len(set(zip(one, other, strict=True))) == len(set(one))


def coordinate(setting: Setting, name: str) -> Coordinate:
    """Return where a setting lies on an axis that `swept` has found."""
    return setting.digest[:DIGITS] if name == SETTING else setting.coordinates[name]


def is_numeric(values: Iterable[Coordinate]) -> bool:
    """Return whether all are numbers that an axis can have; True and False are names."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def times_of(results: Results) -> list[float]:
    """Return the times of all cells, in order."""
    return sorted({cell.t_s for cell in results.cells})


def compensations_of(results: Results) -> list[str]:
    """Return the compensations of all cells, in their order everywhere."""
    found = {cell.compensation for cell in results.cells}
    return [name for name in LABELS if name in found]


def cells_by_place(results: Results) -> dict[Place, Cell]:
    """Return the cells by their setting, time and compensation, in this order."""
    rank = list(LABELS).index
    ordered = sorted(results.cells, key=lambda cell: (cell.setting, cell.t_s, rank(cell.compensation)))
    return {(cell.setting, cell.t_s, cell.compensation): cell for cell in ordered}


def time_shown(results: Results, t_s: float | None = None) -> float:
    """Return the time of figures that show one: `t_s`, or the last of those at which a cell has the most chips.

    Raises
    ------
    ParameterError
        If there is nothing at that time.
    """
    times = times_of(results)
    if t_s is None:
        most = max(cell.chips for cell in results.cells)
        return max(cell.t_s for cell in results.cells if cell.chips == most)
    if t_s not in times:
        raise ParameterError("time", f"one of {', '.join(map(time_text, times))}", time_text(t_s))
    return t_s


# Texts


def shown(text: object) -> str:
    """Return a text as one line that can be shown anywhere: names of files can be any bytes."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in str(text))


def value_text(value: Coordinate) -> str:
    """Return what a value on an axis is called."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.10g}" if isinstance(value, float) else shown(value)


def label(setting: Setting, axes: Sequence[str] | Mapping[str, object]) -> str:
    """Return what tells a setting from the others: its values on some axes, with the end of the name of each."""
    parts = []
    for name in axes:
        text = value_text(coordinate(setting, name))
        end = ".".join(name.split(".")[-2:])
        called = end if sum(other.endswith(end) for other in axes) == 1 else name
        parts.append(text if name in NAMES else f"{shown(called)} {text}")
    return ", ".join(parts)
