"""Images and labels of one's own, in an HDF5 file; SPEC.md, appendix A."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pcmref.arrays import Int64, UInt8, UInt32
from pcmref.errors import FileError, integer, path_of
from pcmref.files.atomic import replacing
from pcmref.files.hdf5 import Contents, digest_of, fixed_text, line_of, opened
from pcmref.network.images import Images, Samples, StoredImages

if TYPE_CHECKING:
    import h5py

__all__ = ["load_samples", "save_samples"]

#: Images of more bytes together stay in their file; not those in chunks, nor those of fewer bytes each than the second,
#: whose check sums would be many.
HELD_MOST, SMALL = 1 << 26, 1 << 10


def load_samples(path: str | Path, *, images: int | None = None) -> tuple[Samples, Samples | None]:
    """Read images to judge by and, if there are some, to calibrate with.

    All are read, and the file's digest checked, but those of more than 64 MiB are not held: they are `StoredImages`,
    unless they lie in chunks or are tiny.

    Parameters
    ----------
    path : str or Path
        An HDF5 file with ``images``, uint8 of shape (n, height, width, channels), and ``labels``, integers of shape
        (n,); and with ``calibration/images`` and ``calibration/labels`` likewise.
    images : int, optional
        Hold no more than the first so many to judge by; all by default.

    Returns
    -------
    (Samples, Samples or None)

    Raises
    ------
    FileError
        Naming the place in the file, what belongs there and what was found.
    """
    path = path_of("path", path)
    if images is not None:
        images = integer("images", images, "an integer from 0", 0, 1 << 62)
    with opened(path) as contents:
        contents.expect_members("", required={"images", "labels"}, optional={"calibration"})
        contents.expect_sizes()
        calibration = None
        if "calibration" in contents.members(""):
            contents.expect_members("calibration", required={"images", "labels"})
            calibration = _samples(contents, "calibration/", path)
        samples = _samples(contents, "", path, images)
        contents.expect_digest(required=False)
        return samples, calibration


def save_samples(
    path: str | Path,
    images: Iterable[UInt8],
    labels: Int64,
    *,
    shape: tuple[int, int, int],
    calibration: int = 0,
    provenance: Mapping[str, str],
) -> str:
    """Write images as they come, none of which is kept, and their labels; return the digest of the file.

    Parameters
    ----------
    path : str or Path
        Replaced only when the new file is complete.
    images : iterable of uint8 arrays
        As many as there are labels, each of the same `shape`.
    labels : int64, shape (n,)
    shape : (height, width, channels)
    calibration : int
        How many, of the first, are to calibrate with; the others are to judge by.
    provenance : mapping of str to str
        Kept in an attribute, which no reader looks at.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import h5py

    images = iter(images)
    lines: dict[str, str] = {}
    with replacing(path_of("path", path)) as temporary, h5py.File(temporary, "w") as file:
        for group, part in (("calibration/", labels[:calibration]), ("", labels[calibration:])):
            if group == "" or len(part):
                lines |= _write(file, group, islice(images, len(part)), part, shape)
        file.attrs["provenance"] = fixed_text("provenance", dict(provenance))
        file.attrs["digest"] = np.bytes_(digest := digest_of(lines))
    return digest


def _write(
    file: h5py.File, group: str, images: Iterable[UInt8], labels: Int64, shape: tuple[int, int, int]
) -> dict[str, str]:
    """Write images and labels; return their lines in the digest."""
    stored = file.create_dataset(f"{group}images", (len(labels), *shape), np.uint8)
    pixels = hashlib.sha256()
    for place, image in enumerate(images):
        stored[place] = image
        pixels.update(np.ascontiguousarray(image).data)
    file[f"{group}labels"] = labels
    hashes = {"images": (stored, pixels), "labels": (labels, hashlib.sha256(labels.astype("<i8").tobytes()))}
    return {
        f"{group}{name}": line_of(f"{group}{name}", values.dtype, values.shape, found.hexdigest())
        for name, (values, found) in hashes.items()
    }


@dataclass(frozen=True, eq=False)
class _Reader:
    """What reads some images of a file again, and notices when they have changed.

    Parameters
    ----------
    path : Path
    name : str
        Of the dataset.
    shape : tuple of int
    sums : uint32, one for each image that may be read
        CRC-32 of its pixels.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    sums: UInt32

    def __call__(self, start: int, stop: int) -> UInt8:
        with opened(self.path) as contents:
            contents.expect_array(self.name, np.uint8, shape=self.shape)
            dataset = contents.dataset(self.name)
            if dataset.sides is not None:
                raise FileError(self.name, "images that lie one after the other, as before", "chunks")
            images: UInt8 = dataset.rows(start, stop)
        for place, image in enumerate(images, start):
            if zlib.crc32(image.data) != self.sums[place]:
                where = f"{self.path}: {self.name}[{place}]"
                raise FileError(where, "the image that was there when the file was opened", "another")
        return images


def _sums(blocks: Iterable[UInt8], count: int) -> UInt32:
    """Return the CRC-32 of each of the first so many images of all that come."""
    sums, place = np.zeros(count, np.uint32), 0
    for block in blocks:
        for image in block[: max(0, count - place)]:
            sums[place] = zlib.crc32(image.data)
            place += 1
    return sums


def _samples(contents: Contents, group: str, path: Path, most: int | None = None) -> Samples:
    name = f"{group}images"
    contents.expect_array(name, np.uint8, shape=(None,) * 4)
    dataset = contents.dataset(name)
    count, *sides = dataset.shape or ()
    kept = count if most is None else min(most, count)
    images: Images
    if kept * prod(sides) > HELD_MOST and prod(sides) >= SMALL and dataset.sides is None:
        sums = _sums(contents.blocks(name), kept)
        reader = _Reader(path=path.absolute(), name=name, shape=(count, *sides), sums=sums)
        images = StoredImages(shape=(kept, *sides), read=reader)
    else:
        images = contents.array(name, np.uint8, shape=(None,) * 4, most=most)
    labels = _labels(contents, f"{group}labels", count)[:kept]
    return Samples(images=images, labels=labels, where=f"{path}: {name}")


def _labels(contents: Contents, name: str, count: int) -> Int64:
    """Return labels of any type of integer as int64."""
    found = contents.dataset(name)
    if found.dtype is None or found.dtype.kind not in "iu" or found.shape != (count,):
        raise FileError(name, f"{count} integers", f"{found.dtype} of shape {found.shape}")
    return contents.read(name).astype(np.int64)  # beyond 2^63 they are negative, which no label is
