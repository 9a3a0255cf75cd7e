"""What ``torch.save`` writes, in both formats, read without PyTorch: no code is run, no more is read than there is.

PyTorch itself expands what is repeated, inflates what is deflated, and makes storages as large as they are said to be.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pcmref.files.pickles import Name, Recorded, unpickled

__all__ = ["Saved", "Tensor", "array_of", "read_saved"]

#: Types of storages, by PyTorch's names; of bfloat16 the upper halves of float32 are stored.
STORAGES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1",
    "torch.BoolStorage": "?",
}
#: What a file of the format before version 1.6 begins with: a number, the version, and what the machine was like.
MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
#: What a zip file begins with.
ZIP_START = b"PK\x03\x04"


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Numbers that tensors share: name of the type, and how many."""

    kind: str
    key: str
    count: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.count * np.dtype(STORAGES[self.kind]).itemsize


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A view of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What a file says, and the storages that it speaks of."""

    content: Any
    storages: Mapping[str, Storage]
    bytes_of: Callable[[Storage], bytes]


def read_saved(file: IO[bytes]) -> Saved:
    """Read what a file says, and where its storages are.

    Raises
    ------
    Exception
        Of any kind, if the file is foreign or damaged.
    """
    zipped = file.read(len(ZIP_START)) == ZIP_START
    file.seek(0)
    return _zipped(file) if zipped else _legacy(file)


def array_of(tensor: Tensor, raw: bytes) -> npt.NDArray[Any]:
    """Return a tensor as an array of its own, if it lies within its storage."""
    numbers = np.frombuffer(raw, STORAGES[tensor.storage.kind])
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    if len(numbers) != tensor.storage.count or (0 not in tensor.size and last >= len(numbers)):
        raise ValueError("a tensor beyond its storage")
    steps = [step * numbers.itemsize for step in tensor.stride]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.size, steps, writeable=False)
    if tensor.storage.kind == "torch.BFloat16Storage":
        view = (view.astype(np.uint32) << 16).view(np.float32)
    return np.array(view, np.float32 if view.dtype.kind == "f" else view.dtype.newbyteorder("="), order="C")


def _zipped(file: IO[bytes]) -> Saved:
    """Read a checkpoint of today's format: a zip file in which nothing is deflated."""
    size = os.fstat(file.fileno()).st_size
    archive = zipfile.ZipFile(file)
    members = {member.filename: member for member in archive.infolist()}
    (pickled,) = (name for name in members if name.endswith("/data.pkl"))
    folder = pickled.removesuffix("data.pkl")

    def content_of(name: str) -> bytes:
        if members[name].compress_type != zipfile.ZIP_STORED or members[name].file_size > size:
            raise ValueError("a member that is deflated, or larger than the file")
        return archive.read(name)

    if f"{folder}byteorder" in members and content_of(f"{folder}byteorder") != b"little":
        raise ValueError("numbers that are not little-endian")
    storages: dict[str, Storage] = {}
    stream = io.BytesIO(content_of(pickled))
    content = unpickled(stream, CALLS, persistent=lambda said: _storage(said, storages), foreign=True)
    bytes_of = cache(lambda storage: content_of(f"{folder}data/{storage.key}"))  # tensors share storages
    return Saved(content=content, storages=storages, bytes_of=bytes_of)


def _legacy(file: IO[bytes]) -> Saved:
    """Read a checkpoint of the format before version 1.6: pickles, one after another, then the storages."""
    begins = [unpickled(file, {}) for _ in range(3)]
    match begins:
        case [int(number), int(version), {"little_endian": True}] if (number, version) == (MAGIC_NUMBER, PROTOCOL):
            pass
        case _:
            raise ValueError("another format")
    storages: dict[str, Storage] = {}
    content = unpickled(file, CALLS, persistent=lambda said: _storage(said, storages), foreign=True)
    places = {}
    for key in unpickled(file, {}):
        (count,) = struct.unpack("<q", file.read(8))
        if count != storages[key].count:
            raise ValueError("a storage of another length")
        places[key] = file.tell()
        file.seek(storages[key].size, 1)

    @cache
    def bytes_of(storage: Storage) -> bytes:
        file.seek(places[storage.key])
        return file.read(storage.size)

    return Saved(content=content, storages=storages, bytes_of=bytes_of)


def _storage(said: Any, storages: dict[str, Storage]) -> Storage:
    """Return the storage that a persistent identifier speaks of."""
    match said:
        case ("storage", Name() as kind, str(key), str(), int(count), *view) if kind.name in STORAGES and count >= 0:
            if view not in ([], [None]):
                raise ValueError("a view of a storage")
            return storages.setdefault(key, Storage(kind=kind.name, key=key, count=count))
    raise ValueError("a storage of another kind")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    numbers = [offset, *size, *stride]
    if not isinstance(storage, Storage) or len(size) != len(stride) or len(size) > 8:
        raise ValueError("a tensor of another kind")
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers):
        raise ValueError("a size or stride that cannot be")
    return Tensor(storage=storage, offset=offset, size=tuple(size), stride=tuple(stride))


#: What a checkpoint may call, and what is called in place of it.
CALLS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": lambda: {},
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._utils._rebuild_sparse_tensor": Recorded,
    "torch._utils._rebuild_qtensor": Recorded,
    "torch.Size": lambda sizes=(): tuple(sizes),
}
