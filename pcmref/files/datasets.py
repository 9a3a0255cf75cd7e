"""One dataset of an HDF5 file that may be damaged or hostile: measured first, its chunks counted, then read."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from pcmref.errors import FileError

if TYPE_CHECKING:
    import h5py

__all__ = ["Dataset", "dataset_of"]

#: Bytes that the HDF5 library itself takes for a chunk, stored or not.
CHUNK_COST = 1 << 12
#: Bytes inflated, or read in blocks, at a time.
BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """What is said of a dataset.

    Parameters
    ----------
    name : str
        Its full name.
    id : h5py.h5d.DatasetID
    dtype : numpy.dtype, optional
        Numbers or texts of fixed length; None for elements of any other kind.
    shape : tuple of int, optional
        None if it has none.
    sides : tuple of int, optional
        The shape of the chunks, if it lies in some.
    foreign : bool
        Whether any of it would come from another file.
    """

    name: str
    id: h5py.h5d.DatasetID
    dtype: np.dtype[Any] | None
    shape: tuple[int, ...] | None
    sides: tuple[int, ...] | None
    foreign: bool

    @property
    def cost(self) -> int:
        """Bytes that reading it takes: those of whole chunks, if it lies in some."""
        size = 0 if self.dtype is None else self.dtype.itemsize
        if self.sides is None:
            return prod(self.shape or ()) * size
        chunks = prod(-(-length // side) for length, side in zip(self.shape or (), self.sides, strict=True))
        return chunks * max(prod(self.sides) * size, CHUNK_COST)

    def read(self) -> np.ndarray[Any, Any]:
        """Return what it holds, in the byte order of the machine."""
        import h5py

        assert self.dtype is not None
        self._expect_whole_chunks()
        values = np.empty(self.shape or (), self.dtype.newbyteorder("="))
        if values.size:
            kind = self.id.get_type() if self.dtype.kind == "S" else None  # texts are not converted
            self.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values, mtype=kind)
        return values

    def blocks(self) -> Iterator[np.ndarray[Any, Any]]:
        """Yield what an array of numbers holds, some rows at a time: those of whole chunks."""
        assert self.dtype is not None
        assert self.shape
        self._expect_whole_chunks()
        count, *sides = self.shape
        rows = max(1, BLOCK // max(1, prod(sides) * self.dtype.itemsize))
        if self.sides is not None:  # no chunk is inflated twice
            rows = -(-rows // self.sides[0]) * self.sides[0]
        for start in range(0, count, rows):
            yield self.rows(start, min(start + rows, count))

    def rows(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """Return some rows of an array of numbers, whose chunks were counted before, if it lies in some."""
        import h5py

        assert self.dtype is not None
        assert self.shape
        values = np.empty((stop - start, *self.shape[1:]), self.dtype.newbyteorder("="))
        if values.size:
            place = self.id.get_space()
            place.select_hyperslab((start, *(0 for _ in self.shape[1:])), values.shape)
            self.id.read(h5py.h5s.create_simple(values.shape), place, values)
        return values

    def _expect_whole_chunks(self) -> None:
        """Raise `FileError` unless each chunk holds just the bytes that a chunk has.

        The HDF5 library would let 64 bytes inflate to gigabytes, or copy more than they inflate to.
        """
        import h5py

        if self.sides is None or self.dtype is None:
            return
        size, filters = prod(self.sides) * self.dtype.itemsize, self._filters()
        chunks: list[h5py.h5d.StoreInfo] = []
        self.id.chunk_iter(chunks.append)
        for chunk in chunks:
            used = [code for place, code in enumerate(filters) if not chunk.filter_mask >> place & 1]
            sums = [
                code for code in used if code == h5py.h5z.FILTER_FLETCHER32
            ]  # four bytes, added before gzip or after
            if h5py.h5z.FILTER_DEFLATE in used:
                before = sums and used.index(sums[0]) < used.index(h5py.h5z.FILTER_DEFLATE)
                wanted = size + 4 * bool(before)
                found = _inflated(self.id.read_direct_chunk(chunk.chunk_offset)[1], wanted)
            else:
                found, wanted = chunk.size, size + 4 * len(sums)
            if found != wanted:
                place = ", ".join(map(str, chunk.chunk_offset))
                size_found = "damaged" if found < 0 else f"of {'more' if found > wanted else found} bytes"
                raise FileError(self.name, f"chunks of {wanted} bytes", f"one {size_found} at [{place}]")

    def _filters(self) -> list[int]:
        """Return the codes of the filters, if they are of those whose output can be counted."""
        import h5py

        known = {
            h5py.h5z.FILTER_DEFLATE: "gzip",
            h5py.h5z.FILTER_SHUFFLE: "shuffle",
            h5py.h5z.FILTER_FLETCHER32: "fletcher32",
        }
        layout = self.id.get_create_plist()
        filters = [layout.get_filter(place) for place in range(layout.get_nfilters())]
        codes = [code for code, *_ in filters]
        if len(set(codes)) < len(codes) or not set(codes) <= set(known):
            names = ", ".join(known.get(code, repr(name.decode(errors="replace"))) for code, *_, name in filters)
            raise FileError(self.name, f"no filters but {', '.join(known.values())}, each once", names)
        return codes


def dataset_of(name: str, identifier: h5py.h5d.DatasetID) -> Dataset:
    """Measure a dataset; nothing of it is read."""
    import h5py

    layout = identifier.get_create_plist()
    form = layout.get_layout()
    return Dataset(
        name=name,
        id=identifier,
        dtype=_dtype(identifier.get_type()),
        shape=identifier.shape,
        sides=tuple(layout.get_chunk()) if form == h5py.h5d.CHUNKED else None,
        foreign=form == h5py.h5d.VIRTUAL or layout.get_external_count() > 0,
    )


def _dtype(kind: h5py.h5t.TypeID) -> np.dtype[Any] | None:
    """Return a type that is one of numbers or of texts of fixed length; of no other is it asked what it consists of."""
    import h5py

    form, size = kind.get_class(), kind.get_size()
    if form in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) and size <= 8:
        return kind.dtype
    return np.dtype(f"S{size}") if form == h5py.h5t.STRING and not kind.is_variable_str() else None


def _inflated(raw: bytes, most: int) -> int:
    """Return how many bytes a zlib stream gives, or some number above `most` if it gives more; -1 if it is damaged."""
    stream, count = zlib.decompressobj(), 0
    try:
        while not stream.eof and count <= most:
            if not (block := stream.decompress(raw, min(BLOCK, most + 1))):
                break
            raw, count = stream.unconsumed_tail, count + len(block)
    except zlib.error:
        return -1
    return count if stream.eof or count > most else -1
