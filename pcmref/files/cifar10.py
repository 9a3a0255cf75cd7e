"""CIFAR-10: found on disk, checked against its published MD5s, read into `Samples`.

Nothing is downloaded here (`pcmref.fetch` does that) and nothing is unpacked to disk.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from pcmref.arrays import Int64, UInt8
from pcmref.errors import DataError, FileError, ParameterError, describe, path_of
from pcmref.files.archives import members_of
from pcmref.files.pickles import Recorded, unpickled
from pcmref.files.regular import content_of
from pcmref.network.images import Samples

__all__ = ["CLASSES", "LOCATION_VARIABLE", "MD5", "find_cifar10", "load_cifar10", "md5_of", "user_cache"]

#: Names of the classes; a label is a position here.
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

#: The environment variable that says where the data set is.
LOCATION_VARIABLE = "PCMREF_DATA"

#: Published MD5s, by file name; none was published for the batches of the binary format.
MD5: Mapping[str, str] = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
}

BATCHES: Mapping[str, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}

#: Bytes of one image: three planes of 32 x 32 pixels.
PIXELS = 3 * 32 * 32
#: Bytes of a genuine batch in the binary format: 10,000 records of a label and an image.
BINARY_SIZE = 10_000 * (1 + PIXELS)
#: No batch may have more bytes (the genuine ones have 31 MB).
BATCH_LIMIT = 1 << 25
#: All that a pickle of a batch may call: the genuine files use the first three, NumPy 2 writes the fourth.
PICKLED_NAMES = (
    "numpy.core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "numpy._core.multiarray._reconstruct",
)

Batch: TypeAlias = tuple[UInt8, Int64]


def user_cache() -> Path:
    """Return pcmref's directory among the user's caches, as the operating system places them.

    Raises
    ------
    DataError
        If the user has no home directory.
    """
    variable, below_home = {
        "win32": ("LOCALAPPDATA", "AppData/Local"),
        "darwin": ("", "Library/Caches"),
    }.get(sys.platform, ("XDG_CACHE_HOME", ".cache"))
    if named := os.environ.get(variable):
        return Path(named) / "pcmref"
    try:
        return Path.home() / below_home / "pcmref"
    except RuntimeError as error:
        raise DataError("the user cache", "a home directory", str(error)) from error


def find_cifar10(location: str | Path | None = None) -> Path:
    """Return the directory of batches, or else the archive, that holds CIFAR-10.

    Parameters
    ----------
    location : str or Path, optional
        The directory of batches, its parent, a directory with an archive, or an archive.  By default what
        the environment variable ``PCMREF_DATA`` names, or else the user cache.

    Raises
    ------
    DataError
        If there is none; the message says where and for what `find_cifar10` looked.
    """
    if location is not None:
        base, origin = path_of("location", location), ""
    elif named := os.environ.get(LOCATION_VARIABLE):
        base, origin = Path(named), f"{LOCATION_VARIABLE}="
    else:
        base, origin = user_cache(), "the user cache "
    if isfile(base):
        return base
    for folder in (base, *(base / form.folder for form in FORMS)):
        if any(isfile(folder / name) for form in FORMS for name in form.names):
            return folder
    for form in FORMS:
        if isfile(base / form.archive):
            return base / form.archive
    raise DataError(
        f"CIFAR-10 in {origin}{base}",
        " or ".join([form.folder for form in FORMS] + [form.archive for form in FORMS]),
        "none of them; 'pcmref fetch cifar10' downloads it into the user cache",
    )


def load_cifar10(
    location: str | Path | None = None,
    *,
    split: Literal["train", "test"],
    md5: Mapping[str, str] | None = MD5,
) -> Samples:
    """Read one split of CIFAR-10, in the python or the binary format.

    Parameters
    ----------
    location : str or Path, optional
        As for `find_cifar10`.
    split : {"train", "test"}
        50,000 or 10,000 images.
    md5 : mapping of file name to MD5, optional
        What each file (batches and archives) must have; a batch without an entry must have the exact size
        of the genuine binary format instead.  None reads home-made files of either format, of any length.

    Returns
    -------
    Samples
        Images of shape ``(n, 32, 32, 3)``, red first, in the order of the batches.

    Raises
    ------
    DataError
        Naming the file that is missing, damaged or of the wrong form.
    ParameterError
        If there is no such split.
    """
    if split not in BATCHES:
        raise ParameterError("split", " or ".join(map(repr, BATCHES)), describe(split))
    place = find_cifar10(location)
    if isfile(place) and md5 is not None:
        _expect_md5(str(place), md5_of(place), md5.get(place.name))
    batches: list[Batch] = []
    for form, name, where, raw in (_from_archive if isfile(place) else _from_folder)(place, BATCHES[split]):
        if md5 is not None:
            _expect_genuine(raw, where, md5.get(name))
        batches.append(form.parse(raw, where))
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return Samples(images=images, labels=labels, where=f"CIFAR-10 {split} in {place}")


def md5_of(path: Path) -> str:
    """Return the MD5 of a file as 32 hexadecimal digits, or raise `DataError` if it cannot be read."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise _unreadable(str(path), error) from error
    return digest.hexdigest()


def _expect_md5(where: str, found: str, expected: str | None) -> None:
    if expected is not None and found != expected:
        raise DataError(where, f"the MD5 {expected}", f"{found}: a damaged or incomplete file")


def _expect_genuine(raw: bytes, where: str, md5: str | None) -> None:
    """Check a batch by its published MD5, or by its size where no MD5 was published."""
    _expect_md5(where, hashlib.md5(raw, usedforsecurity=False).hexdigest(), md5)
    if md5 is None and len(raw) != BINARY_SIZE:
        raise DataError(where, f"{BINARY_SIZE} bytes (10,000 records)", f"{len(raw)} bytes")


def _unreadable(where: str, error: Exception) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else None
    return DataError(where, "a readable file", reason or describe(str(error), 160))


def _from_folder(place: Path, batches: tuple[str, ...]) -> Iterator[tuple[_Form, str, str, bytes]]:
    """Yield format, file name, full name and content of each of the `batches` in a directory."""
    form = next(form for form in FORMS if any(isfile(place / name) for name in form.names))
    for batch in batches:
        path = place / (batch + form.suffix)
        try:
            raw = content_of(path, BATCH_LIMIT)
        except OSError as error:
            raise _unreadable(str(path), error) from error
        except FileError as error:
            raise DataError(error.where, error.expected, error.found) from None
        yield form, path.name, str(path), raw


def _from_archive(place: Path, batches: tuple[str, ...]) -> Iterator[tuple[_Form, str, str, bytes]]:
    """Yield the same from an archive."""
    wanted = {f"{form.folder}/{batch}{form.suffix}" for form in FORMS for batch in batches}
    try:
        names, contents = members_of(place, wanted, most=BATCH_LIMIT)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _unreadable(str(place), error) from error
    form = next((form for form in FORMS if any(f"{form.folder}/{name}" in names for name in form.names)), None)
    if form is None:
        folders = " or ".join(form.folder for form in FORMS)
        raise DataError(str(place), f"batches in {folders}", describe(sorted(names)))
    for batch in batches:
        path = f"{form.folder}/{batch}{form.suffix}"
        if path not in contents:
            raise DataError(f"{place}: {path}", "a readable file", "no such member")
        yield form, batch + form.suffix, f"{place}: {path}", contents[path]


def _parse_binary(raw: bytes, where: str) -> Batch:
    """Parse records of one byte of label and `PIXELS` bytes of image."""
    if not raw or len(raw) % (1 + PIXELS):
        raise DataError(where, f"whole records of {1 + PIXELS} bytes", f"{len(raw)} bytes")
    records = np.frombuffer(raw, np.uint8).reshape(-1, 1 + PIXELS)
    return _batch(records[:, 1:], records[:, 0].tolist(), where)


def _parse_python(raw: bytes, where: str) -> Batch:
    """Parse a pickled dictionary with ``data`` (uint8, shape ``(n, PIXELS)``) and ``labels`` (a list)."""
    try:
        content = unpickled(io.BytesIO(raw), dict.fromkeys(PICKLED_NAMES, Recorded))
    except Exception as error:  # a damaged pickle may raise anything: pickletools promises no list
        wanted = "a pickle of one uint8 array, dict, list, bytes and int"
        raise DataError(where, wanted, describe(error, 160)) from error
    if not isinstance(content, dict):
        raise DataError(where, "a pickled dict", type(content).__name__)
    parts = {key.decode("latin-1") if isinstance(key, bytes) else key: content[key] for key in content}
    match parts:
        case {"data": data, "labels": labels}:
            return _batch(_pixels(data, f"{where}: data"), labels, where)
    raise DataError(where, "the keys 'data' and 'labels'", describe([k for k in parts if isinstance(k, str)]))


def _pixels(data: object, where: str) -> UInt8:
    """Return the array that NumPy pickled as (version, shape, dtype, Fortran order?, bytes)."""
    match data:
        case Recorded(state=(_, (int(rows), int(columns)), Recorded(args=(b"u1" | "u1", *_)), False, bytes(raw))):
            if rows > 0 and columns == PIXELS and len(raw) == rows * columns:
                return np.frombuffer(raw, np.uint8).reshape(rows, columns)
            found = f"{len(raw)} bytes for shape ({rows}, {columns})"
        case Recorded():
            found = "an array of another type or order"
        case _:
            found = type(data).__name__
    raise DataError(where, f"a uint8 array of shape (n, {PIXELS})", found)


def _batch(planes: UInt8, labels: object, where: str) -> Batch:
    """Turn planes (red, green, blue, each row by row) into channels-last images; check the labels."""
    if not isinstance(labels, list) or len(labels) != len(planes):
        found = f"{len(labels)} labels" if isinstance(labels, list) else type(labels).__name__
        raise DataError(f"{where}: labels", f"a list of {len(planes)} labels", found)
    for position, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < len(CLASSES):
            found = str(label) if type(label) is int else type(label).__name__
            raise DataError(f"{where}: labels[{position}]", f"an integer from 0 to {len(CLASSES) - 1}", found)
    images = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.array(labels, np.int64)


@dataclass(frozen=True)
class _Form:
    """One of the two formats in which CIFAR-10 is published."""

    folder: str
    archive: str
    suffix: str
    parse: Callable[[bytes, str], Batch]

    @property
    def names(self) -> list[str]:
        """Names of all batch files."""
        return [batch + self.suffix for batches in BATCHES.values() for batch in batches]


FORMS = (
    _Form("cifar-10-batches-py", "cifar-10-python.tar.gz", "", _parse_python),
    _Form("cifar-10-batches-bin", "cifar-10-binary.tar.gz", ".bin", _parse_binary),
)
