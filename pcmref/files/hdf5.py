"""Reading HDF5 files that may be damaged or hostile: every entry is checked before it is read."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from math import prod
from os.path import isdir, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcmref.errors import FileError, PcmrefError, describe

if TYPE_CHECKING:
    import h5py

__all__ = [
    "array",
    "expect_header",
    "expect_members",
    "fixed_text",
    "group",
    "header",
    "json_text",
    "opened",
    "put_array",
]

#: No array may have more elements than this (2 GiB of float32).
ELEMENT_LIMIT = 1 << 29
#: No array may lie in more chunks: HDF5 takes about 4 kB of memory for each, stored or not.
CHUNK_LIMIT = 1 << 14
#: No text may be longer, in bytes.
TEXT_LIMIT = 1 << 22


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; every error inside the block becomes a `FileError` with the path."""
    import h5py

    if not isfile(path):
        raise FileError(str(path), "an HDF5 file", "a directory" if isdir(path) else "nothing")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except PcmrefError as error:
        raise FileError(f"{path}: {error.where}", error.expected, error.found) from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(str(path), "an intact HDF5 file", describe(reason, 160)) from error


def header(file: h5py.File, name: str, version: int) -> None:
    """Write the attributes 'format' and 'version' of the root group."""
    file.attrs["format"] = np.bytes_(name)
    file.attrs["version"] = version


def expect_header(file: h5py.File, name: str, version: int) -> None:
    """Check the attributes 'format' and 'version' of the root group."""
    for attribute, wanted in (("format", name), ("version", version)):
        found = _attribute(file, attribute)
        if type(found) is not type(wanted) or found != wanted:
            raise FileError(f"/ attribute {attribute!r}", repr(wanted), describe(found))


def expect_members(parent: h5py.Group, *, required: Collection[str] = (), optional: Collection[str] = ()) -> None:
    """Check that a group has all required entries and no unknown ones."""
    members = set(parent)
    if missing := sorted(set(required) - members):
        raise FileError(_where(parent, missing[0]), "an entry of this name", "none")
    if unknown := sorted(members - set(required) - set(optional)):
        raise FileError(_where(parent, unknown[0]), f"only {sorted({*required, *optional})}", "an unknown entry")


def group(parent: h5py.Group, name: str) -> h5py.Group:
    """Return a group that is stored in this very file."""
    import h5py

    entry = _entry(parent, name)
    if not isinstance(entry, h5py.Group):
        raise FileError(_where(parent, name), "a group", type(entry).__name__)
    return entry


def array(parent: h5py.Group, name: str, dtype: type[np.generic], *, axes: int) -> np.ndarray[Any, Any]:
    """Return an array of exactly this dtype and number of axes."""
    entry, where = _dataset(parent, name), _where(parent, name)
    if entry.dtype.newbyteorder("=") != np.dtype(dtype) or entry.shape is None or len(entry.shape) != axes:
        raise FileError(where, f"{np.dtype(dtype)} with {axes} axes", f"{entry.dtype} of shape {entry.shape}")
    if entry.size > ELEMENT_LIMIT:
        raise FileError(where, f"at most {ELEMENT_LIMIT} elements", f"shape {entry.shape}")
    sides = zip(entry.shape, entry.chunks or entry.shape, strict=True)
    chunks = prod(-(-length // side) for length, side in sides if side)
    if chunks > CHUNK_LIMIT:
        raise FileError(where, f"at most {CHUNK_LIMIT} chunks", f"{chunks}")
    return np.asarray(entry[()], dtype)


def json_text(parent: h5py.Group, name: str, kind: type) -> Any:
    """Return the JSON value of type `kind` that a text of fixed length holds.

    Texts of variable length lie in a heap that the HDF5 library does not check: a damaged one makes it hang.
    """
    import h5py

    entry, where = _dataset(parent, name), _where(parent, name)
    string = h5py.check_string_dtype(entry.dtype)
    if entry.shape != () or string is None or string.length is None:
        raise FileError(where, "one text of fixed length", f"{entry.dtype} of shape {entry.shape}")
    if string.length > TEXT_LIMIT:
        raise FileError(where, f"at most {TEXT_LIMIT} bytes", f"{string.length} bytes")
    try:
        value = json.loads(entry[()].decode(), object_pairs_hook=_each_name_once)
    except (ValueError, RecursionError) as error:
        raise FileError(where, "valid JSON", str(error)) from None
    if not isinstance(value, kind):
        raise FileError(where, f"a JSON {kind.__name__}", type(value).__name__)
    return value


def fixed_text(where: str, value: object) -> np.bytes_:
    """Return `value` as JSON of fixed length, for writing; refuse what `json_text` would."""
    text = json.dumps(value)
    if len(text) > TEXT_LIMIT:
        raise FileError(where, f"at most {TEXT_LIMIT} bytes", f"{len(text)} bytes")
    return np.bytes_(text)


def put_array(parent: h5py.Group, name: str, values: np.ndarray[Any, Any], **options: Any) -> None:
    """Write an array; refuse what `array` would."""
    if values.size > ELEMENT_LIMIT:
        raise FileError(_where(parent, name), f"at most {ELEMENT_LIMIT} elements", f"shape {values.shape}")
    parent.create_dataset(name, data=values, **options)


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} twice in an object")
    return found


def _attribute(file: h5py.File, name: str) -> object:
    if name not in file.attrs:
        return None
    if file.attrs.get_id(name).dtype.hasobject:
        return "a value of variable length"
    found = file.attrs[name]
    found = found.item() if isinstance(found, np.generic) else found
    return found.decode(errors="replace") if isinstance(found, bytes) else found


def _where(parent: h5py.Group, name: str) -> str:
    return f"{parent.name}/{name}".lstrip("/")


def _entry(parent: h5py.Group, name: str) -> Any:
    """Return a member that is no soft or external link."""
    import h5py

    link = parent.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise FileError(
            _where(parent, name), "data stored in this file", "none" if link is None else type(link).__name__
        )
    return parent[name]


def _dataset(parent: h5py.Group, name: str) -> h5py.Dataset:
    import h5py

    entry = _entry(parent, name)
    if not isinstance(entry, h5py.Dataset):
        raise FileError(_where(parent, name), "a dataset", type(entry).__name__)
    if entry.external is not None or entry.is_virtual:
        raise FileError(_where(parent, name), "data stored in this file", "external or virtual storage")
    return entry
