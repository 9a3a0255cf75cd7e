"""Cases as folders: ``case.json``, an ``.npy`` for each array and, on demand, a file for ``$readmemh``.

::

    case.json   prompt/tile0/code.npy   expected/tile0/D.npy   internal/tile0/A.npy   hex/expected/tile0/D.hex

Whatever is read is checked before it is believed: names, sizes before contents, SHA-256.  Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import IO, Any, get_args

import numpy as np
import numpy.typing as npt

from pcmref.errors import FileError, OutputError, PcmrefError, describe, path_of
from pcmref.files.json_text import parsed
from pcmref.files.regular import content_of, open_regular
from pcmref.golden.cases import (
    SCHEMA,
    SCHEMA_VERSION,
    ArrayEntry,
    Case,
    Contract,
    FaultEntry,
    GroupEntry,
    Section,
    digest_of,
    document_of,
    little_endian,
    stored_type,
)
from pcmref.golden.header import header_names, headers, loads, tiles_of
from pcmref.golden.memory import memory_size, memory_words
from pcmref.golden.readouts import readout_of
from pcmref.references import SPEC_VERSION

__all__ = ["DOCUMENT", "npy_array", "npy_description", "read_case", "size_of", "write_case"]

DOCUMENT = "case.json"
#: All that a folder of a case has at its top.
MEMBERS = {DOCUMENT, "hex", *get_args(Section)}
#: Largest ``case.json``, in bytes.
DOCUMENT_LIMIT = 1 << 26
#: Largest header of an ``.npy`` file, in bytes.
HEADER_LIMIT = 10_000


def size_of(case: Case, *, hex: bool = False) -> int:
    """Return how many bytes the folder of a case takes, ``case.json`` included."""
    total = len(_document_text(case))
    for entry in case.arrays.values():
        total += len(_npy_header(entry)) + entry.size * stored_type(entry).itemsize
        total += memory_size(entry.size, entry.bits) if hex else 0
    for tile in tiles_of(case) if hex else ():
        total += sum(memory_size(entry.size, entry.bits) for entry in loads(case, tile))
    return total + sum(len(text.encode()) for text in (headers(case).values() if hex else ()))


def write_case(path: str | Path, case: Case, *, hex: bool = False) -> None:
    """Write a case as a folder.

    Parameters
    ----------
    path : str or Path
        Nothing may be there, or a case, which is replaced when the new one is complete.
    case : Case
    hex : bool
        Write a file for ``$readmemh`` beside each array, too.

    Raises
    ------
    OutputError
        If something else is there, or the folder cannot be written; nothing has changed then.
    """
    target = path_of("path", path).absolute()
    _expect_free(target)
    temporary = target.with_name(f".pcmref-{secrets.token_hex(4)}")
    try:
        temporary.mkdir()
        for entry in case.arrays.values():
            _put(
                temporary / entry.section / f"{entry.name}.npy",
                _npy_header(entry),
                little_endian(case.values[entry.name]),
            )
            if hex:
                _put(temporary / "hex" / entry.section / f"{entry.name}.hex", _words(case, entry))
        for tile in tiles_of(case) if hex else ():
            matrices = (_words(case, entry) for entry in loads(case, tile))
            _put(temporary / "hex" / "prompt" / tile / "g.hex", *matrices)
        for name, text in headers(case).items() if hex else ():
            _put(temporary / "hex" / name, text.encode())
        _put(temporary / DOCUMENT, _document_text(case))
        _replace(temporary, target)
    except OSError as error:
        raise OutputError(str(path), "a complete write", error.strerror or str(error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _words(case: Case, entry: ArrayEntry) -> bytes:
    """Return an array as words for ``$readmemh``: floats as their bits."""
    values = case.values[entry.name]
    return memory_words(values if entry.number == "integer" else values.view(f"u{entry.bits // 8}"), bits=entry.bits)


def _expect_free(target: Path) -> None:
    """Raise `OutputError` if something is there that is not a case, or a case with other files in it."""
    if not target.parent.is_dir():
        raise OutputError(str(target), "a folder to put it into", f"no folder {target.parent}")
    if not os.path.lexists(target):
        return
    expected = "nothing, or the folder of a case, which would be replaced"
    if target.is_symlink() or not target.is_dir():
        raise OutputError(str(target), expected, "a link" if target.is_symlink() else "a file")
    found = {entry.name for entry in target.iterdir()}
    if not found:
        target.rmdir()  # an empty one is as good as none
        return
    try:
        is_case = parsed(content_of(target / DOCUMENT, DOCUMENT_LIMIT)).get("schema") == SCHEMA
    except (OSError, FileError, ValueError, AttributeError):
        is_case = False
    if not is_case:
        raise OutputError(str(target), expected, "another folder")
    for other in sorted(_files(target) - _own(target)):
        raise OutputError(str(target / other), "only a case's own files in a folder that is replaced", "another")


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def _own(target: Path) -> set[str]:
    """Return the files that a case of these arrays has, as far as its own words can be read."""
    try:
        arrays = parsed(content_of(target / DOCUMENT, DOCUMENT_LIMIT))["arrays"]
        names = [(str(each["section"]), str(each["name"])) for each in arrays]
    except (OSError, FileError, ValueError, KeyError, TypeError):
        names = []
    tiles = sorted({name.partition("/g-")[0] for _, name in names if "/g-" in name})
    own = {DOCUMENT, *(f"{section}/{name}.npy" for section, name in names)}
    own |= {f"hex/{section}/{name}.hex" for section, name in names}
    own |= {f"hex/prompt/{tile}/g.hex" for tile in tiles}
    return own | {f"hex/{name}" for name in header_names(tiles).values()}


def _put(path: Path, *parts: bytes | memoryview) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _replace(temporary: Path, target: Path) -> None:
    """Rename a folder to its final name; what was there is renamed away first, and back if that fails."""
    if not target.exists():
        temporary.rename(target)
        return
    old = target.with_name(f".pcmref-{secrets.token_hex(4)}")
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _document_text(case: Case) -> bytes:
    """Return ``case.json``: a member a line, and of lists an element a line."""
    document = document_of(case)
    document["digest"] = digest_of(document)

    def lines(value: object) -> str:
        if not isinstance(value, list) or not value:
            return json.dumps(value, ensure_ascii=True)
        return "[\n  " + ",\n  ".join(json.dumps(each, ensure_ascii=True) for each in value) + "\n ]"

    members = (f" {json.dumps(name)}: {lines(value)}" for name, value in document.items())
    return ("{\n" + ",\n".join(members) + "\n}\n").encode()


def _npy_header(entry: ArrayEntry) -> bytes:
    buffer = BytesIO()
    descr = np.lib.format.dtype_to_descr(stored_type(entry).newbyteorder("<"))
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": entry.shape})
    return buffer.getvalue()


def read_case(path: str | Path) -> Case:
    """Read a case, and check all of it.

    Parameters
    ----------
    path : str or Path
        Its folder.

    Raises
    ------
    FileError
        Naming the file, what belongs there and what was found: another version, a missing or additional array, one that
        is not the one that ``case.json`` describes, or a ``case.json`` that is not the one that was written.
    """
    folder = path_of("path", path)
    document = _document(folder / DOCUMENT)
    try:
        arrays = {entry.name: entry for entry in (_value(ArrayEntry, each) for each in document["arrays"])}
        if len(arrays) < len(document["arrays"]):
            raise FileError("arrays", "names that differ", "one twice")
        values = _arrays(folder, arrays)
        said = {name: document[name] for name in Case.__dataclass_fields__ if name != "values"} | {
            "arrays": arrays,
            "values": values,
            "contract": _value(Contract, document["contract"]),
            "groups": tuple(_value(GroupEntry, each) for each in document["groups"]),
            "faults": tuple(_value(FaultEntry, each) for each in document["faults"]),
        }
        if document["readout"]:
            readout_of(document["readout"])
        case = Case(**said)
        _check_words(folder, case)
        return case
    except PcmrefError as error:
        where = error.where if error.where.startswith(str(folder)) else f"{folder / DOCUMENT}: {error.where}"
        raise FileError(where, error.expected, error.found) from None


def _check_words(folder: Path, case: Case) -> None:
    """Raise `FileError` if there are words for ``$readmemh`` that are not those of the arrays."""
    if not (folder / "hex").exists():
        return
    each = case.arrays.values()
    wanted: dict[str, tuple[ArrayEntry, ...]] = {f"{entry.section}/{entry.name}.hex": (entry,) for entry in each}
    wanted |= {f"prompt/{tile}/g.hex": loads(case, tile) for tile in tiles_of(case)}
    for name, entries in wanted.items():
        path = folder / "hex" / name
        try:
            words = b"".join(_words(case, entry) for entry in entries)
            same = content_of(path, len(words)) == words
        except OSError as error:
            raise FileError(str(path), "the words of the array", error.strerror or str(error)) from None
        if not same:
            raise FileError(str(path), "the words of the array", "others")


def _document(path: Path) -> dict[str, Any]:
    """Return ``case.json``, checked to be whole."""
    try:
        document = parsed(content_of(path, DOCUMENT_LIMIT), parse_constant=_no_number)
    except OSError as error:
        raise FileError(str(path), "the description of a case", error.strerror or str(error)) from None
    except ValueError as error:
        raise FileError(str(path), "valid JSON", describe(str(error), 100)) from None
    if not isinstance(document, dict):
        raise FileError(str(path), "a JSON object", type(document).__name__)
    for name, wanted in (("schema", SCHEMA), ("version", SCHEMA_VERSION), ("spec", SPEC_VERSION)):
        if (found := document.get(name)) != wanted or isinstance(found, bool):
            raise FileError(f"{path}: {name}", repr(wanted), describe(found))
    names = {"schema", "version", "digest", *(set(Case.__dataclass_fields__) - {"values"})}
    if set(document) != names:
        raise FileError(str(path), f"the members {', '.join(sorted(names))}", ", ".join(sorted(document)))
    for name in ("arrays", "groups", "faults"):
        if not isinstance(document[name], list):
            raise FileError(f"{path}: {name}", "a list", describe(document[name]))
    if (digest := digest_of(document)) != document["digest"]:
        expected = f"{digest}, the digest of what it says"
        raise FileError(f"{path}: digest", expected, f"{describe(document['digest'], 70)}: the file was changed")
    return document


def _value(kind: type[Any], said: object) -> Any:
    """Return a value from its fields, if they are those of its kind; lists become tuples."""
    names = {field.name for field in fields(kind)}
    if not isinstance(said, Mapping) or set(said) != names:
        raise FileError(kind.__name__, f"an object of {', '.join(sorted(names))}", describe(said))
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in said.items()})


def _arrays(folder: Path, arrays: Mapping[str, ArrayEntry]) -> dict[str, npt.NDArray[Any]]:
    """Return all arrays of a case, each checked against what is said of it."""
    paths = {folder / entry.section / f"{entry.name}.npy": entry for entry in arrays.values()}
    for section in get_args(Section):
        for path in sorted((folder / section).rglob("*")):
            if path.is_file() and path not in paths:
                raise FileError(str(path), f"only arrays that {DOCUMENT} describes", "another")
    found = {}
    for path, entry in paths.items():
        values = npy_array(path, entry)
        if (sha256 := hashlib.sha256(little_endian(values)).hexdigest()) != entry.sha256:
            raise FileError(str(path), f"elements with the SHA-256 {entry.sha256}", sha256)
        found[entry.name] = values
    return found


def npy_array(path: Path, entry: ArrayEntry) -> npt.NDArray[Any]:
    """Read the ``.npy`` file that an entry describes: type, shape, order and size are checked before its elements."""
    wanted = stored_type(entry).newbyteorder("<")
    try:
        with open_regular(path) as file:
            shape, fortran, dtype = npy_description(str(path), file)
            if shape != entry.shape or fortran or dtype != wanted:
                found = f"{dtype} of shape {describe(shape)}{' in Fortran order' if fortran else ''}"
                raise FileError(str(path), f"{wanted} of shape {entry.shape}", found)
            size, left = entry.size * wanted.itemsize, os.fstat(file.fileno()).st_size - file.tell()
            if left != size:
                raise FileError(str(path), f"{size} bytes after the header", f"{left}")
            values = np.frombuffer(file.read(size), wanted).reshape(shape)
    except OSError as error:
        raise FileError(str(path), "an array", error.strerror or str(error)) from None
    return values.astype(stored_type(entry), copy=False)


def npy_description(where: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return what the header of an ``.npy`` file says."""
    try:
        major, _ = np.lib.format.read_magic(file)
        if major == 1:
            return np.lib.format.read_array_header_1_0(file, max_header_size=HEADER_LIMIT)
        return np.lib.format.read_array_header_2_0(file, max_header_size=HEADER_LIMIT)
    except Exception as error:  # NumPy has Python parse it, and promises no list
        raise FileError(where, "an .npy file", describe(str(error), 100)) from None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number in JSON")
