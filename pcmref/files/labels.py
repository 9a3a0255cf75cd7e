"""What photographs show: a table in CSV of the names of files and their labels, or a folder for each class."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pcmref.errors import DataError, PcmrefError, PcmrefWarning, describe, integer, listed, path_of
from pcmref.files.regular import content_of

__all__ = ["SUFFIXES", "Photograph", "class_folders", "read_folders", "read_labels", "shuffled"]

#: What files of photographs are called.
SUFFIXES = (".jpg", ".jpeg", ".png")

#: Most bytes of a table.
TABLE_MOST = 1 << 26
#: Names that the columns of a table may have.
NAME_COLUMNS, LABEL_COLUMNS = ("file", "filename", "name", "image"), ("label", "class", "class_index")


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """The name of a file, ``FOLDER/FILE`` in a folder for its class, and the class of what it shows."""

    name: str
    label: int


def read_labels(path: str | Path, *, classes: int) -> tuple[Photograph, ...]:
    """Read a table of labels.

    Parameters
    ----------
    path : str or Path
        CSV in UTF-8, a row for each photograph: the name of its file and its label, an integer from 0 on.  They are the
        first two columns; or, below a header, those that are called ``file``, ``filename``, ``name`` or ``image`` and
        ``label``, ``class`` or ``class_index``.  The first row is a header if it has no integer in second place.
    classes : int
        How many there are: labels are below.

    Returns
    -------
    tuple of Photograph
        In the order of the rows.

    Raises
    ------
    DataError
        Naming the line, what belongs there and what was found.
    """
    path = path_of("path", path)
    classes = integer("classes", classes, "an integer from 1 to 2^20", 1, 1 << 20)
    try:
        rows = _rows(content_of(path, TABLE_MOST).decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, csv.Error, PcmrefError) as error:
        raise DataError(str(path), "a table of names and labels as CSV", describe(str(error), 160)) from None
    columns = _columns(f"{path}, line {rows[0][0]}", rows[0][1]) if rows else None
    found: dict[str, Photograph] = {}
    for line, row in rows[columns is not None :]:
        where, places = f"{path}, line {line}", columns or (0, 1)
        if len(row) <= max(places):
            raise DataError(where, "the name of a file and a label", describe(row))
        name, label = (row[place].strip() for place in places)
        if name in found:
            raise DataError(where, "each file once", f"{describe(name)} again")
        found[name] = Photograph(name=_plain(where, name), label=_label(where, label, classes))
    if not found:
        raise DataError(str(path), "a row for each photograph", "none")
    return tuple(found.values())


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in a folder, sorted, as torchvision numbers the classes."""
    return tuple(entry.name for entry in _entries(folder) if entry.is_dir()) if folder.is_dir() else ()


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, in the order of names."""
    try:
        return sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(str(folder), "a folder of photographs", error.strerror or str(error)) from None


def read_folders(path: str | Path, *, classes: int) -> tuple[Photograph, ...]:
    """Find the photographs of a folder that has a folder for each class.

    Parameters
    ----------
    path : str or Path
    classes : int
        How many there may be.

    Returns
    -------
    tuple of Photograph
        Class by class, the names of files sorted; the label is the number of the folder in `class_folders`.

    Raises
    ------
    DataError
        If there are more folders, or one without photographs, or one with folders in it; or photographs beside them.

    Warns
    -----
    PcmrefWarning
        Naming files that are no photographs.
    """
    folder = path_of("path", path)
    names = class_folders(folder)
    if not 1 <= len(names) <= classes:
        raise DataError(str(folder), f"1 to {classes} folders, one for each class", str(len(names)))
    if stray := [entry.name for entry in _entries(folder) if _is_photograph(entry)]:
        raise DataError(str(folder), "each photograph in the folder of its class", describe(stray[0]))
    found: list[Photograph] = []
    others: list[str] = []
    for label, name in enumerate(names):
        inside = _entries(folder / name)
        if deeper := [entry.name for entry in inside if entry.is_dir()]:
            raise DataError(str(folder / name), "photographs alone", f"the folder {describe(deeper[0])}")
        files = [_plain(str(folder / name), entry.name) for entry in inside if _is_photograph(entry)]
        if not files:
            raise DataError(str(folder / name), f"photographs ({', '.join(SUFFIXES)})", "none")
        found += [Photograph(name=f"{_plain(str(folder), name)}/{file}", label=label) for file in files]
        others += [f"{name}/{entry.name}" for entry in inside if not _is_photograph(entry)]
    if others:
        warnings.warn(f"{folder}: no JPEG or PNG, and left out: {listed(others)}", PcmrefWarning, stacklevel=2)
    return tuple(found)


def _is_photograph(entry: Path) -> bool:
    return entry.suffix.lower() in SUFFIXES and not entry.is_dir()


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Return the rows of a table that are not empty, and on which line each ends."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    return [(reader.line_num, row) for row in reader if row]


def _columns(where: str, first: Sequence[str]) -> tuple[int, int] | None:
    """Return the places of names and labels that a first row tells; None if it is no header."""
    if len(first) > 1 and re.fullmatch(r"\s*-?[0-9]+\s*", first[1]):
        return None
    titles = [title.strip().lower() for title in first]
    names, labels = ([titles.index(t) for t in known if t in titles] for known in (NAME_COLUMNS, LABEL_COLUMNS))
    if not (names and labels):
        expected = f"columns called {' or '.join(NAME_COLUMNS)} and {' or '.join(LABEL_COLUMNS)}"
        raise DataError(where, expected, describe(list(first)))
    return names[0], labels[0]


def _plain(where: str, name: str) -> str:
    """Return a name if it is one in the folder itself: no table can name another place."""
    if name in ("", ".", "..") or not name.isprintable() or set(name) & set("/\\:"):
        raise DataError(where, "the name of a file in the folder, without a path", describe(name))
    return name


def _label(where: str, text: str, classes: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) >= classes:
        raise DataError(where, f"a label from 0 to {classes - 1}", describe(text))
    return int(text)


def shuffled(photographs: Sequence[Photograph], seed: int) -> tuple[Photograph, ...]:
    """Return photographs in an order that a seed decides, not the table: that of the SHA-256 of ``SEED NAME``."""
    seed = integer("seed", seed, "an integer from 0 to 2**64 - 1", 0, (1 << 64) - 1)
    return tuple(sorted(photographs, key=lambda photo: hashlib.sha256(f"{seed} {photo.name}".encode()).digest()))
