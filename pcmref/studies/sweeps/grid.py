"""What a sweep asks, as its author writes it: a TOML file whose lists are the axes of a grid."""

from __future__ import annotations

import difflib
import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from math import prod
from pathlib import Path
from typing import Any

from pcmref.crossbar.converters import Accumulator, Dac
from pcmref.devices.pcm import PcmModel
from pcmref.devices.published import NANDAKUMAR_2019
from pcmref.errors import FileError, ParameterError, describe, require
from pcmref.files.regular import content_of
from pcmref.inference.compensation import COMPENSATIONS
from pcmref.studies.named import time_s
from pcmref.studies.results import Coordinate
from pcmref.studies.study import TIMES_S

__all__ = ["Grid", "Question", "read_question"]

#: Most bytes of a study.
STUDY_LIMIT = 1 << 20
#: Seeds are below this, as the integers of a database are.
SEED_LIMIT = 1 << 63
#: Most chips of a grid.
CHIPS_MOST = 100_000

#: Axes that name a thing, and what stands there if nothing is said.
NAMED: Mapping[str, str] = {
    "network": "",
    "digital": "none",
    "preset": "paper",
    "model": NANDAKUMAR_2019.name,
    "scale": "layer",
    "significance": "1",
    "gdc": "absolute",
}
#: Fields of converters that one number or word of a study can set.
_CONVERTERS = {
    "dac": [field.name for field in fields(Dac)],
    "adc": ["bits", "low", "high", "rounding", "gain_bits", "offset"],
    "accumulator": [field.name for field in fields(Accumulator)],
}
#: Axes that change a preset, or a set of device parameters.
CHANGES = (
    *(f"readout.{name}" for name in ("tile_rows", "tile_columns", "lines", "read_noise")),
    *(f"readout.{converter}.{name}" for converter, names in _CONVERTERS.items() for name in names),
    *(f"devices.{f.name}" for f in fields(PcmModel) if f.type in ("float", "bool")),
)
#: What is no axis: lists of these are asked of every point.
OTHERS = ("name", "data", "times", "compensation", "chips", "seed")
KEYS = (*OTHERS, *NAMED, "images", *CHANGES)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One grid: every combination of what is on its axes, for these times, compensations and chips.

    Parameters
    ----------
    axes : mapping of str to tuple of Coordinate
        All of `NAMED`, ``images``, and those of `CHANGES` that are said.
    times_s : tuple of float
    compensations : tuple of str
    seeds : range
        One chip each.
    data : str, optional
        Where the images are, if not in the network file.
    """

    axes: Mapping[str, tuple[Coordinate, ...]]
    times_s: tuple[float, ...]
    compensations: tuple[str, ...]
    seeds: range
    data: str | None

    @property
    def settings(self) -> int:
        """How many points there are."""
        return prod(map(len, self.axes.values()))

    @property
    def rows(self) -> int:
        """How many rows are asked for: one for each point, time, compensation and chip."""
        return self.settings * len(self.times_s) * len(self.compensations) * (self.seeds.stop - self.seeds.start)

    @property
    def points(self) -> Iterator[dict[str, Coordinate]]:
        """Every point, the last axis fastest."""
        return (dict(zip(self.axes, values, strict=True)) for values in itertools.product(*self.axes.values()))


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a sweep asks.

    Parameters
    ----------
    name : str
        Of the study: a database belongs to one.
    grids : tuple of Grid
    text : str
        As its author wrote it.
    path : Path
        Of the file; names of files in it are relative to its folder.
    """

    name: str
    grids: tuple[Grid, ...]
    text: str = field(repr=False)
    path: Path

    @property
    def rows(self) -> int:
        """How many rows are asked for, those that two grids share counted twice."""
        return sum(grid.rows for grid in self.grids)


def read_question(path: Path) -> Question:
    """Read a study.

    Each key has a value or a list of them.  What stands outside of tables holds for all grids; each table ``[[grid]]``
    is a grid of its own, which may say more or something else; without one there is one grid.

    Raises
    ------
    FileError
        If the file is no TOML, has a key that is not known, or one twice.
    ParameterError
        If a value is of a wrong type, or an axis is empty.
    MissingExtraError
        Before Python 3.11, without tomli.
    """
    toml = require("tomllib" if sys.version_info >= (3, 11) else "tomli", "cli")
    try:
        text = content_of(path, STUDY_LIMIT).decode("utf-8")
        document = toml.loads(text)
    except (OSError, UnicodeDecodeError, toml.TOMLDecodeError, RecursionError) as error:
        raise FileError(str(path), "a study as TOML", describe(str(error), 100)) from None
    grids = document.pop("grid", [{}])
    if not (isinstance(grids, list) and grids and all(isinstance(grid, dict) for grid in grids)):
        raise ParameterError(f"{path}: grid", "tables [[grid]]", describe(grids))
    said = _flat(path, document)
    name = said.pop("name", None)
    if not (isinstance(name, str) and name and name.isprintable()):
        found = "none" if name is None else describe(name)
        raise ParameterError(f"{path}: name", "a name of the study, which its database keeps", found)
    several = [_flat(path, grid) for grid in grids]
    if any("name" in grid for grid in several):
        raise FileError(f"{path}: name", "one for the study, before its grids", "one in a grid")
    return Question(name=name, grids=tuple(_grid(path, said | grid) for grid in several), text=text, path=path)


def _flat(path: Path, document: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the values in tables under their full names, like ``readout.adc.bits``, if those are known."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        name = above + key
        if isinstance(value, dict) and any(known.startswith(f"{name}.") for known in KEYS):
            found |= _flat(path, value, f"{name}.")
        elif name in KEYS:
            found[name] = value
        else:
            near = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.0)[0]
            raise FileError(f"{path}: {name}", f"a key that is known, such as {near}", "one that is not")
    return found


def _grid(path: Path, said: Mapping[str, Any]) -> Grid:
    def values(name: str, default: tuple[Any, ...], kinds: tuple[type, ...], what: str) -> tuple[Any, ...]:
        given = said.get(name, list(default))
        given = given if isinstance(given, list) else [given]
        if not given:
            raise ParameterError(f"{path}: {name}", f"{what}, or a list of one or more", "an empty list")
        for value in given:
            if type(value) not in kinds:
                raise ParameterError(f"{path}: {name}", f"{what}, or a list of such", describe(value))
        if len(set(given)) < len(given):
            raise ParameterError(f"{path}: {name}", "each value once", describe(given))
        return tuple(given)

    def number(name: str, default: int, least: int, most: int) -> int:
        (*_, value) = values(name, (default,), (int,), "an integer")
        if isinstance(said.get(name), list) or not least <= value <= most:
            raise ParameterError(f"{path}: {name}", f"one integer from {least} to {most}", describe(said[name]))
        return int(value)

    if "network" not in said:
        raise ParameterError(f"{path}: network", "a network file, or a name that comes with pcmref", "none")
    texts = {name: values(name, (default,), (str,), "a text") for name, default in NAMED.items()}
    images = values("images", ("all",), (int, str), "how many images, or 'all'")
    changes = {name: values(name, (), (int, float, bool, str), "a value") for name in CHANGES if name in said}
    times = values("times", tuple(f"{t_s:.0f}s" for t_s in TIMES_S), (str,), "a time with its unit, such as '25s'")
    first, chips = number("seed", 0, 0, SEED_LIMIT - 1), number("chips", 1, 1, CHIPS_MOST)
    if first + chips > SEED_LIMIT:
        raise ParameterError(f"{path}: seed", f"seeds below 2^63 for {chips} chips", str(first))
    data = said.get("data")
    if not (data is None or isinstance(data, str)):
        raise ParameterError(f"{path}: data", "one place of images", describe(data))
    return Grid(
        axes={**texts, "images": images, **changes},
        times_s=tuple(time_s(text, f"{path}: times") for text in times),
        compensations=values("compensation", COMPENSATIONS, (str,), "a compensation"),
        seeds=range(first, first + chips),
        data=data,
    )
