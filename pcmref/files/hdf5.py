"""HDF5 files that may be damaged or hostile: all that is in one is listed and measured before anything is read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from os.path import isdir, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcmref.errors import FileError, PcmrefError, describe
from pcmref.files.datasets import Dataset, dataset_of
from pcmref.files.json_text import parsed

if TYPE_CHECKING:
    import h5py

__all__ = ["Contents", "digest_of", "fixed_text", "is_hdf5", "line_of", "opened", "written"]

#: No file may have more groups and datasets, or names of more parts.
ENTRY_LIMIT, DEPTH_LIMIT = 10_000, 8
#: No text may be longer, in bytes.
TEXT_LIMIT = 1 << 22
#: Arrays of bytes, which are images, may take so many bytes together, or so many times those of their file if that is
#: more; arrays of wider numbers likewise.
IMAGES_MOST, IMAGES_RATIO = 1 << 26, 8
NUMBERS_MOST, NUMBERS_RATIO = 1 << 24, 1.5


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins as one of HDF5 does, whatever it is called."""
    import h5py

    return isfile(path) and bool(h5py.is_hdf5(path))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Contents]:
    """Open a file for reading; every error inside the block becomes a `FileError` with the path."""
    import h5py

    if not isfile(path):
        raise FileError(str(path), "an HDF5 file", "a directory" if isdir(path) else "nothing")
    try:
        with h5py.File(path, "r", rdcc_nbytes=0) as file:
            yield _contents(file)
    except PcmrefError as error:
        raise FileError(f"{path}: {error.where}", error.expected, error.found) from None
    except Exception as error:  # a damaged file may raise anything: the HDF5 library promises no list
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(str(path), "an intact HDF5 file", describe(reason, 160)) from error


def written(form: str, version: int, write: Callable[[h5py.File], None], **options: Any) -> bytes:
    """Return the bytes of a file that `write` fills, with header and digest; refuse what could not be read again."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        file.attrs["format"] = np.bytes_(form)
        file.attrs["version"] = version
        write(file)
        contents = _contents(file)
        for name in contents.datasets:
            contents.read(name)
        file.attrs["digest"] = np.bytes_(contents.digest)
    with h5py.File(buffer, "r") as file:
        _contents(file).expect_sizes()
    return buffer.getvalue()


def fixed_text(where: str, value: object) -> np.bytes_:
    """Return `value` as JSON of fixed length, for writing; refuse what `Contents.json` would."""
    text = json.dumps(value)
    if len(text) > TEXT_LIMIT:
        raise FileError(where, f"at most {TEXT_LIMIT} bytes", f"{len(text)} bytes")
    return np.bytes_(text)


def digest_of(lines: Mapping[str, str]) -> str:
    """Return the digest of a file: SHA-256 of its lines, in the order of names."""
    return hashlib.sha256("".join(lines[name] for name in sorted(lines, key=str.encode)).encode()).hexdigest()


def line_of(name: str, kind: np.dtype[Any], shape: tuple[int, ...], sha256: str) -> str:
    """Return what the digest says of numbers whose little-endian bytes have this SHA-256."""
    return f"{sha256} {kind.name}({','.join(map(str, shape))}) {name}\n"


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """What is in a file, by its full name; nothing is read before it is asked for.

    Parameters
    ----------
    file : h5py.File
    groups : mapping of str to list of str
        The names in each group; "" is the root.
    datasets : mapping of str to Dataset
    others : mapping of str to str
        Of anything else, what it is.
    lines : dict
        Of what has been read, its line in the digest.
    """

    file: h5py.File
    groups: Mapping[str, list[str]]
    datasets: Mapping[str, Dataset]
    others: Mapping[str, str]
    lines: dict[str, str] = field(default_factory=dict)

    def expect_header(self, form: str, version: int) -> None:
        """Check the attributes 'format' and 'version' of the root group."""
        for attribute, wanted in (("format", form), ("version", version)):
            found = self.attribute(attribute)
            if type(found) is not type(wanted) or found != wanted:
                raise FileError(f"/ attribute {attribute!r}", repr(wanted), describe(found))

    def expect_members(self, parent: str, *, required: Collection[str] = (), optional: Collection[str] = ()) -> None:
        """Check that a group has all required entries and no unknown ones."""
        members = set(self.members(parent))
        if missing := sorted(set(required) - members):
            raise FileError(_full(parent, missing[0]), "an entry of this name", "none")
        if unknown := sorted(members - set(required) - set(optional)):
            names = describe(sorted({*required, *optional}), 400)
            raise FileError(_full(parent, unknown[0]), f"only {names}", "an unknown entry")

    def expect_sizes(self) -> None:
        """Raise `FileError` if all arrays, whole chunks counted, are together too large for their file."""
        size = self.file.id.get_filesize()
        limits = {
            "bytes": max(IMAGES_MOST, IMAGES_RATIO * size),
            "numbers": max(NUMBERS_MOST, int(NUMBERS_RATIO * size)),
        }
        totals = dict.fromkeys(limits, 0)
        for name, dataset in self.datasets.items():
            if dataset.dtype is None or dataset.dtype.kind == "S":
                continue
            what = "bytes" if dataset.dtype.itemsize == 1 else "numbers"
            totals[what] += dataset.cost
            if totals[what] > limits[what]:
                expected = f"arrays of {what} that take at most {limits[what]} bytes, in a file of {size}"
                raise FileError(name, expected, f"{totals[what]} bytes with this one")

    def expect_digest(self, *, required: bool) -> None:
        """Check the digest of what has been read, which is all that there is; it may be missing unless `required`."""
        found = self.attribute("digest")
        if found != self.digest and (required or found is not None):
            expected = f"{self.digest}, the digest of what the file holds"
            raise FileError("/ attribute 'digest'", expected, f"{describe(found, 80)}: the file was changed")

    @property
    def digest(self) -> str:
        """SHA-256 of the lines of all that has been read."""
        return digest_of(self.lines)

    def members(self, parent: str) -> list[str]:
        """Return the names in a group."""
        if parent not in self.groups:
            raise self._refused(parent, "a group")
        return self.groups[parent]

    def dataset(self, name: str) -> Dataset:
        """Return a dataset that is stored in this very file."""
        if name not in self.datasets:
            raise self._refused(name, "a dataset")
        if self.datasets[name].foreign:
            raise FileError(name, "data stored in this file", "external or virtual storage")
        return self.datasets[name]

    def array(
        self, name: str, dtype: type[np.generic], *, shape: tuple[int | None, ...], most: int | None = None
    ) -> np.ndarray[Any, Any]:
        """Return an array of exactly this type and shape, in which None stands for any length.

        Or its first `most` rows: all of it is read, for the digest, but no more held.
        """
        self.expect_array(name, dtype, shape=shape)
        return self.read(name) if most is None else self._first(name, most)

    def expect_array(self, name: str, dtype: type[np.generic], *, shape: tuple[int | None, ...]) -> None:
        """Check the type and the shape of a dataset, in which None stands for any length."""
        kind, found = self.dataset(name).dtype, self.dataset(name).shape
        fits = found is not None and len(found) == len(shape)
        fits = fits and all(n in (None, m) for n, m in zip(shape, found or (), strict=True))
        if kind is None or kind.newbyteorder("=") != np.dtype(dtype) or not fits:
            raise FileError(name, f"{np.dtype(dtype)} {_shown(shape)}", f"{_other(kind)} of shape {describe(found)}")

    def json(self, name: str, kind: type) -> Any:
        """Return the JSON value of type `kind` that a text of fixed length holds.

        Texts of variable length lie in a heap that the HDF5 library does not check: a damaged one makes it hang.
        """
        found, shape = self.dataset(name).dtype, self.dataset(name).shape
        if found is None or found.kind != "S" or shape != ():
            raise FileError(name, "one text of fixed length", f"{_other(found)} of shape {describe(shape)}")
        if found.itemsize > TEXT_LIMIT:
            raise FileError(name, f"at most {TEXT_LIMIT} bytes", f"{found.itemsize} bytes")
        try:
            value = parsed(self.read(name).item().decode())
        except ValueError as error:
            raise FileError(name, "valid JSON", str(error)[:200]) from None
        if not isinstance(value, kind):
            raise FileError(name, f"a JSON {kind.__name__}", type(value).__name__)
        return value

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """Return what a dataset holds, and note its line in the digest."""
        values = self.dataset(name).read()
        self.lines[name] = _line(name, values)
        return values

    def blocks(self, name: str) -> Iterator[np.ndarray[Any, Any]]:
        """Yield an array of numbers, some rows at a time, then note the line of all of it in the digest."""
        dataset, content = self.dataset(name), hashlib.sha256()
        assert dataset.dtype is not None
        assert dataset.shape
        for block in dataset.blocks():
            content.update(_little_endian(block))
            yield block
        self.lines[name] = line_of(name, dataset.dtype.newbyteorder("="), dataset.shape, content.hexdigest())

    def _first(self, name: str, most: int) -> np.ndarray[Any, Any]:
        """Return the first rows of an array of numbers, all of which is read."""
        dataset = self.dataset(name)
        assert dataset.dtype is not None
        assert dataset.shape
        values = np.empty((min(most, dataset.shape[0]), *dataset.shape[1:]), dataset.dtype.newbyteorder("="))
        start = 0
        for block in self.blocks(name):
            values[start : start + len(block)] = block[: max(0, most - start)]
            start += len(block)
        return values

    def attribute(self, name: str) -> object:
        """Return an attribute of the root group: a number, a text, bytes if it is anything else, None if missing."""
        import h5py

        if name not in self.file.attrs:
            return None
        attribute = self.file.attrs.get_id(name)
        kind = attribute.get_type()
        form = kind.get_class()
        text = form == h5py.h5t.STRING and not kind.is_variable_str()
        if attribute.shape != () or not (text or form in (h5py.h5t.INTEGER, h5py.h5t.FLOAT)):
            return b"another value"
        value = self.file.attrs[name].item()
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    def _refused(self, name: str, expected: str) -> FileError:
        """Return the error of an entry that is not what is expected."""
        if name in self.groups or name in self.datasets:
            return FileError(name, expected, "a group" if name in self.groups else "a dataset")
        if name not in self.others:
            return FileError(name, "an entry of this name", "none")
        found = self.others[name]
        return FileError(name, "data stored in this file" if "link" in found else expected, found)


def _contents(file: h5py.File) -> Contents:
    """List a file.  Links are not followed; what is linked twice counts twice."""
    import h5py

    kinds = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}
    groups: dict[str, list[str]] = {}
    datasets: dict[str, Dataset] = {}
    others: dict[str, str] = {}
    waiting, count = [("", h5py.h5g.open(file.id, b"/"))], 0
    for parent, group in waiting:  # which grows meanwhile
        if (count := count + group.get_num_objs()) > ENTRY_LIMIT or parent.count("/") >= DEPTH_LIMIT:
            expected = f"at most {ENTRY_LIMIT} groups and datasets, {DEPTH_LIMIT} deep"
            raise FileError(parent or "/", expected, "more")
        groups[parent] = []
        for raw in group:
            groups[parent].append(last := raw.decode(errors="surrogateescape"))
            name = _full(parent, last)
            if (link := group.links.get_info(raw).type) != h5py.h5l.TYPE_HARD:
                others[name] = kinds.get(link, "another link")
                continue
            match h5py.h5o.open(group, raw):
                case h5py.h5g.GroupID() as found:
                    waiting.append((name, found))
                case h5py.h5d.DatasetID() as found:
                    datasets[name] = dataset_of(name, found)
                case _:
                    others[name] = "a datatype"
    return Contents(file=file, groups=groups, datasets=datasets, others=others)


def _full(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def _line(name: str, values: np.ndarray[Any, Any]) -> str:
    """Return what the digest says of a dataset: the SHA-256 of a text, or of numbers as little-endian bytes."""
    if values.dtype.kind == "S":
        return f"{hashlib.sha256(values.tobytes().rstrip(bytes(1))).hexdigest()} text {name}\n"
    return line_of(name, values.dtype, values.shape, hashlib.sha256(_little_endian(values)).hexdigest())


def _little_endian(values: np.ndarray[Any, Any]) -> memoryview:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def _shown(shape: tuple[int | None, ...]) -> str:
    """Return a wanted shape, for messages."""
    if set(shape) <= {None}:
        return f"with {len(shape)} axes"
    return f"of shape ({', '.join('any' if n is None else str(n) for n in shape)}{',' * (len(shape) == 1)})"


def _other(kind: np.dtype[Any] | None) -> str:
    return "elements of another kind" if kind is None else str(kind)
