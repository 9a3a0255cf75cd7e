"""What a sweep or a retention run has found, as tables, figures and pages need it: sums over the chips of each cell."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pcmref.arrays import Int64

__all__ = ["DIGEST_DIGITS", "Cell", "Coordinate", "Results", "Setting", "cells_of", "digest_of", "row_digests"]

#: Hexadecimal digits of the digest of a row.
DIGEST_DIGITS = 32
#: A value on an axis of a grid: a name, a number, or a text that says several.
Coordinate: TypeAlias = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One point of a grid, times, compensations and chips apart.

    Parameters
    ----------
    coordinates : mapping of str to Coordinate
        What the study says of it, for example ``{"network": "digits-resnet8", "readout.adc.bits": 6}``.  All settings
        of a sweep have the same names.
    facts : mapping
        All that decides a result besides seed, time and compensation, as JSON has it.
    digest : str
        SHA-256 of what in the facts decides a bit.
    images : int
        How many images judge it.
    digital_correct : int, optional
        How many of them the digital baseline classifies correctly, where that is known yet.
    """

    coordinates: Mapping[str, Coordinate]
    facts: Mapping[str, Any]
    digest: str
    images: int
    digital_correct: int | None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The chips of a setting at one time under one compensation, as sums: integers, so that order does not matter.

    Parameters
    ----------
    setting : int
        Position in `Results.settings`.
    t_s : float
    compensation : str
    chips : int
        How many chips there are, at least 1.
    correct, squares : int
        Sum over chips of the images that are classified correctly, and of the square of that number.
    least, most : int
        Of the images that a chip classifies correctly.
    """

    setting: int
    t_s: float
    compensation: str
    chips: int
    correct: int
    squares: int
    least: int
    most: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """The answer to a sweep, or to a retention run, so far.

    Parameters
    ----------
    name : str
        Of the study.
    asked : str
        The study as its author wrote it: the TOML file, or the command.
    command : str
        What makes the figure called ``{figure}`` again, with that placeholder; or, without one, all figures.
    spec : int
        Version of SPEC.md.
    version : str
        Of pcmref.
    settings : tuple of Setting
    cells : tuple of Cell
        In the order of settings, times and compensations; those without any chip yet are missing.
    rows, wanted : int
        How many rows there are of those that the study asks for.
    digest : str
        Of all rows; the same on every machine, and in whatever order they came.
    chips : callable
        ``chips(cell)`` are the images that each chip of a cell classifies correctly, int64, in the order of seeds.
    """

    name: str
    asked: str
    command: str
    spec: int
    version: str
    settings: tuple[Setting, ...]
    cells: tuple[Cell, ...]
    rows: int
    wanted: int
    digest: str
    chips: Callable[[Cell], Int64]


def cells_of(setting: int, order: Iterable[tuple[float, str]], rows: Iterable[tuple[float, str, int]]) -> list[Cell]:
    """Return the cells of a setting, in this order: sums over rows of time, compensation and correct images."""
    found: dict[tuple[float, str], list[int]] = {}
    for t_s, compensation, correct in rows:
        sums = found.setdefault((t_s, compensation), [0, 0, 0, correct, correct])
        sums[0] += 1
        sums[1] += correct
        sums[2] += correct**2
        sums[3] = min(sums[3], correct)
        sums[4] = max(sums[4], correct)
    names = ("chips", "correct", "squares", "least", "most")
    return [
        Cell(setting=setting, t_s=t_s, compensation=compensation, **dict(zip(names, of_cell, strict=True)))
        for t_s, compensation in dict.fromkeys(order)
        if (of_cell := found.get((t_s, compensation))) is not None
    ]


def row_digests(setting: str, images: int) -> Callable[[int, float, str, int], str]:
    """Return what gives the digest of a row of a setting: of all that decides it, and of what was found.

    It takes seed, time, compensation and correct images.
    """
    texts: dict[float, str] = {}

    def digest(seed: int, t_s: float, compensation: str, correct: int) -> str:
        if (time_text := texts.get(t_s)) is None:
            time_text = texts[t_s] = t_s.hex()
        said = f"{setting} {seed} {time_text} {compensation} {images} {correct}"
        return hashlib.sha256(said.encode()).hexdigest()[:DIGEST_DIGITS]

    return digest


def digest_of(settings: Mapping[str, str]) -> str:
    """Return the digest of all rows: of each setting's digest and that of its rows, in the order of the former."""
    whole = "".join(f"{setting} {rows}\n" for setting, rows in sorted(settings.items()))
    return hashlib.sha256(whole.encode()).hexdigest()
