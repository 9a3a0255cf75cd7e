"""Reading the answers of a device under test: ``.npy``, ``.npz``, HDF5, words for ``$readmemh``, or a folder of them.

Arrays have the names that they have in the case, or the last part of them if that is enough: ``tile0/D`` or ``D``.
Every header is checked before what follows it is read.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pcmref.errors import FileError, PcmrefError, describe, path_of
from pcmref.files.hdf5 import Contents, opened
from pcmref.files.regular import open_regular
from pcmref.golden.cases import ArrayEntry, Case, listed
from pcmref.golden.folders import DOCUMENT, npy_description
from pcmref.golden.memory import read_memory

__all__ = ["MissingError", "read_answers"]

#: What files of words are called.
WORDS = (".hex", ".mem")
#: Parts of a path that a folder of answers may have before an array's name, as a case has them.
SECTIONS = ("hex/expected/", "hex/internal/", "expected/", "internal/")

#: An array that was found: its name, or "" if it has none, where it is, and how it is read as an entry asks.
Found: TypeAlias = tuple[str, str, Callable[[ArrayEntry], npt.NDArray[Any]]]


class MissingError(FileError):
    """Answers that are not there."""


def read_answers(path: str | Path, case: Case, *, partial: bool = False) -> dict[str, npt.NDArray[Any]]:
    """Read answers, and check that they have the form of those of a case.

    Parameters
    ----------
    path : str or Path
        A file, or a folder of files.
    case : Case
    partial : bool
        Whether one array is enough.

    Returns
    -------
    dict
        All expected arrays, or with `partial` some, and those internal ones that were found, in the order of the case:
        int64, or float32 or float64 where the case has them.

    Raises
    ------
    MissingError
        If there is nothing, or an expected array is not among what there is.
    FileError
        If an array is unknown, there twice, or of another shape, type or width.
    """
    path = path_of("path", path)
    found: dict[str, npt.NDArray[Any]] = {}
    if path.is_dir():
        _read(_folder(path, case), case, found)
    elif not path.is_file():
        raise MissingError(str(path), "answers", "nothing" if not os.path.lexists(path) else "no regular file")
    elif path.suffix in (".h5", ".hdf5"):
        with opened(path) as contents:
            _read(_datasets(contents), case, found)
    elif path.suffix == ".npz":
        try:
            with zipfile.ZipFile(path) as archive:
                _read(_members(path, archive), case, found)
        except PcmrefError:
            raise
        except Exception as error:  # a damaged file may raise anything: zipfile promises no list
            raise FileError(str(path), "an .npz file", describe(str(error), 100)) from None
    else:
        _read(_single(path, case), case, found)
    for entry in case.section("expected"):
        if entry.name not in found and not (partial and found):
            raise MissingError(str(path), f"the array {entry.name}", f"{', '.join(found) or 'no array'}")
    return {name: found[name] for name in case.arrays if name in found}


def _read(arrays: Iterator[Found], case: Case, found: dict[str, npt.NDArray[Any]]) -> None:
    for name, where, read in arrays:
        entry = _named(name, where, case)
        if entry.name in found:
            raise FileError(where, "each array once", f"{entry.name} again")
        found[entry.name] = read(entry)


def _named(name: str, where: str, case: Case) -> ArrayEntry:
    """Return the array of the case that is meant."""
    wanted = [*case.section("expected"), *case.section("internal")]
    if not name and len(case.section("expected")) == 1:
        return wanted[0]
    for entry in wanted:
        if entry.name == name:
            return entry
    short = [entry for entry in wanted if entry.name.rpartition("/")[2] == name]
    if len(short) != 1:
        names = listed([entry.name for entry in wanted])
        raise FileError(where, f"one of the arrays {names}", describe(name) if name else "one without a name")
    return short[0]


def _single(path: Path, case: Case) -> Iterator[Found]:
    """Give the array of a file that holds one; its name says which, if it is that of one."""
    try:
        name = _named(path.stem, str(path), case).name
    except FileError:
        name = ""
    yield name, str(path), _file(path)


def _folder(folder: Path, case: Case) -> Iterator[Found]:
    """Give the arrays of a folder; its files may lie as in a case, but a case itself is no answer."""
    if (folder / DOCUMENT).exists():
        raise FileError(str(folder), "answers", f"a case (it has a {DOCUMENT})")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".npy", *WORDS):
            name = path.relative_to(folder).with_suffix("").as_posix()
            for section in SECTIONS:
                name = name.removeprefix(section)
            yield name, str(path), _file(path)


def _file(path: Path) -> Callable[[ArrayEntry], npt.NDArray[Any]]:
    if path.suffix == ".npy":
        return lambda entry: _npy_file(path, entry)
    if path.suffix in WORDS:
        return lambda entry: _words(path, entry)
    raise FileError(str(path), f"a folder or a file .npy, .npz, .h5, .hdf5 or {' or '.join(WORDS)}", "another suffix")


def _words(path: Path, entry: ArrayEntry) -> npt.NDArray[Any]:
    signed = entry.signed and entry.number == "integer"
    values = read_memory(path, bits=entry.bits, signed=signed, count=entry.size).reshape(entry.shape)
    return values if entry.number == "integer" else values.astype(f"u{entry.bits // 8}").view(f"f{entry.bits // 8}")


def _npy_file(path: Path, entry: ArrayEntry) -> npt.NDArray[Any]:
    try:
        with open_regular(path) as file:
            return _npy(str(path), file, os.fstat(file.fileno()).st_size, entry)
    except OSError as error:
        raise FileError(str(path), "an array", error.strerror or str(error)) from None


def _members(path: Path, archive: zipfile.ZipFile) -> Iterator[Found]:
    for member in archive.infolist():

        def read(entry: ArrayEntry, member: zipfile.ZipInfo = member) -> npt.NDArray[Any]:
            with archive.open(member) as file:
                return _npy(f"{path}: {member.filename}", file, member.file_size, entry)

        yield member.filename.removesuffix(".npy"), f"{path}: {member.filename}", read


def _npy(where: str, file: IO[bytes], size: int, entry: ArrayEntry) -> npt.NDArray[Any]:
    """Return the array of an ``.npy`` file of so many bytes."""
    shape, fortran, dtype = npy_description(where, file)
    _expect_form(where, dtype, shape, entry)
    count = entry.size * dtype.itemsize
    if size - file.tell() != count:
        raise FileError(where, f"{count} bytes after the header", f"{size - file.tell()}")
    return _native(where, np.frombuffer(file.read(count), dtype).reshape(shape, order="F" if fortran else "C"), entry)


def _datasets(contents: Contents) -> Iterator[Found]:
    """Give the datasets that are stored in an HDF5 file; links are not followed."""
    for name in contents.datasets:

        def read(entry: ArrayEntry, name: str = name) -> npt.NDArray[Any]:
            dataset = contents.dataset(name)
            _expect_form(name, dataset.dtype, dataset.shape, entry)
            return _native(name, contents.read(name), entry)

        yield name, name, read


def _expect_form(where: str, dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None, entry: ArrayEntry) -> None:
    """Refuse an array of another shape, or whose numbers are of another kind."""
    if dtype is None:
        raise FileError(where, "numbers", "elements of another kind")
    if entry.number == "float":
        fits, expected = dtype.newbyteorder("=") == np.dtype(f"f{entry.bits // 8}"), f"float{entry.bits}"
    else:
        fits, expected = dtype.kind in "iu", "integers (a float might hide a fraction that no hardware has)"
    if not fits:
        raise FileError(where, expected, str(dtype))
    if shape != entry.shape:
        hint = ", the axes in the opposite order" if shape == entry.shape[::-1] else ""
        raise FileError(where, f"shape {entry.shape}: {', '.join(entry.axes)}", f"{describe(shape)}{hint}")


def _native(where: str, values: npt.NDArray[Any], entry: ArrayEntry) -> npt.NDArray[Any]:
    """Return integers as int64, floats as they are, in the byte order of the machine."""
    if entry.number == "float":
        return np.ascontiguousarray(values, np.dtype(f"f{entry.bits // 8}"))
    if entry.bits < 64 and values.dtype.kind == "u" and values.dtype.itemsize == 8 and (values >> np.uint64(63)).any():
        raise FileError(where, f"integers of {entry.bits} bits", "some above 2^63")
    return np.ascontiguousarray(values, np.int64)
