"""PyTorch checkpoints, read without PyTorch: no code in them is run, and no more is read than there is in the file.

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
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pcmref.errors import FileError, describe, path_of
from pcmref.files.pickles import Name, Recorded, UnknownNameError, unpickled
from pcmref.files.regular import open_regular

__all__ = ["read_checkpoint"]

#: Where a PyTorch checkpoint may keep its state dict, if it is not one itself.
STATE_DICT_KEYS = ("state_dict", "model")
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


@dataclass(frozen=True)
class _Storage:
    """Numbers that tensors share: name of the type, and how many."""

    kind: str
    key: str
    count: int

    @property
    def size(self) -> int:
        return self.count * np.dtype(STORAGES[self.kind]).itemsize


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Checkpoint:
    """What a file says, and the storages that it speaks of."""

    content: Any
    storages: Mapping[str, _Storage]
    bytes_of: Callable[[_Storage], bytes]


def read_checkpoint(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """Read the tensors of a PyTorch checkpoint; no code in it is ever run, and PyTorch is not needed.

    Parameters
    ----------
    path : str or Path
        A file written by ``torch.save``: a state dict, or a dict that holds one as ``"state_dict"`` or
        ``"model"``.

    Returns
    -------
    dict of str to array
        Numbers of any floating-point type as float32, others as they are.  The prefix ``module.`` that
        ``torch.nn.DataParallel`` gives to all names is removed.

    Raises
    ------
    FileError
        If the file is missing or damaged, no checkpoint, without tensors, or holds Python objects, or tensors with more
        elements than it has bytes.
    """
    path = path_of("path", path)
    if not path.is_file():
        raise FileError(str(path), "a PyTorch checkpoint", "a directory" if path.is_dir() else "nothing")
    try:
        with open_regular(path) as file:
            zipped = file.read(len(ZIP_START)) == ZIP_START
            file.seek(0)
            return _tensors(path, _zipped(file) if zipped else _legacy(file))
    except FileError:
        raise
    except UnknownNameError as error:
        found = f"{str(error).removeprefix('the name ')}, which only running code could load"
        raise FileError(str(path), "a PyTorch checkpoint of tensors alone", found) from error
    except Exception as error:  # a foreign file can fail in any way
        found = f"a foreign or damaged file ({type(error).__name__})"
        raise FileError(str(path), "a PyTorch checkpoint of tensors alone", found) from error


def _tensors(path: Path, checkpoint: _Checkpoint) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors of a checkpoint as arrays."""
    size = path.stat().st_size
    if (claimed := sum(storage.size for storage in checkpoint.storages.values())) > size:
        raise FileError(str(path), f"storages of at most {size} bytes, as the file has", f"{claimed} bytes")
    state = _state_dict(checkpoint.content)
    tensors = {name: value for name, value in state.items() if isinstance(value, (_Tensor, Recorded))}
    if not tensors:
        found = f"the keys {describe(list(state))}" if state else describe(type(checkpoint.content).__name__)
        raise FileError(str(path), f"a dict of tensors, bare or under one of {list(STATE_DICT_KEYS)}", found)
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    arrays, left = {}, size
    for name, tensor in tensors.items():
        if not isinstance(tensor, _Tensor):
            raise FileError(f"{path}: {name}", "a dense tensor", "another object")
        if (left := left - prod(tensor.size)) < 0:
            raise FileError(f"{path}: {name}", f"at most {size} elements, as the file has bytes", "more with this one")
        arrays[name.removeprefix(prefix)] = _array(tensor, checkpoint.bytes_of(tensor.storage))
    return arrays


def _state_dict(content: object) -> dict[str, Any]:
    """Return the dict that should hold the tensors; an empty one if there is none."""
    if isinstance(content, dict):
        content = next((content[key] for key in STATE_DICT_KEYS if key in content), content)
    if not isinstance(content, dict):
        return {}
    return {str(name): value for name, value in content.items()}


def _array(tensor: _Tensor, raw: bytes) -> npt.NDArray[Any]:
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


def _zipped(file: IO[bytes]) -> _Checkpoint:
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
    storages: dict[str, _Storage] = {}
    stream = io.BytesIO(content_of(pickled))
    content = unpickled(stream, CALLS, persistent=lambda said: _storage(said, storages))
    bytes_of = cache(lambda storage: content_of(f"{folder}data/{storage.key}"))  # tensors share storages
    return _Checkpoint(content=content, storages=storages, bytes_of=bytes_of)


def _legacy(file: IO[bytes]) -> _Checkpoint:
    """Read a checkpoint of the format before version 1.6: pickles, one after another, then the storages."""
    begins = [unpickled(file, {}) for _ in range(3)]
    match begins:
        case [int(number), int(version), {"little_endian": True}] if (number, version) == (MAGIC_NUMBER, PROTOCOL):
            pass
        case _:
            raise ValueError("another format")
    storages: dict[str, _Storage] = {}
    content = unpickled(file, CALLS, persistent=lambda said: _storage(said, storages))
    places = {}
    for key in unpickled(file, {}):
        (count,) = struct.unpack("<q", file.read(8))
        if count != storages[key].count:
            raise ValueError("a storage of another length")
        places[key] = file.tell()
        file.seek(storages[key].size, 1)

    @cache
    def bytes_of(storage: _Storage) -> bytes:
        file.seek(places[storage.key])
        return file.read(storage.size)

    return _Checkpoint(content=content, storages=storages, bytes_of=bytes_of)


def _storage(said: Any, storages: dict[str, _Storage]) -> _Storage:
    """Return the storage that a persistent identifier speaks of."""
    match said:
        case ("storage", Name() as kind, str(key), str(), int(count), *view) if kind.name in STORAGES and count >= 0:
            if view not in ([], [None]):
                raise ValueError("a view of a storage")
            return storages.setdefault(key, _Storage(kind=kind.name, key=key, count=count))
    raise ValueError("a storage of another kind")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    numbers = [offset, *size, *stride]
    if not isinstance(storage, _Storage) or len(size) != len(stride) or len(size) > 8:
        raise ValueError("a tensor of another kind")
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers):
        raise ValueError("a size or stride that cannot be")
    return _Tensor(storage=storage, offset=offset, size=tuple(size), stride=tuple(stride))


#: What a checkpoint may name, and what is called in place of it.
CALLS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": lambda: {},
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._utils._rebuild_sparse_tensor": Recorded,
    "torch._utils._rebuild_qtensor": Recorded,
    "torch.serialization._get_layout": Recorded,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch.device": Recorded,
    **{f"torch.{name}": Recorded for name in ("float16", "bfloat16", "float32", "float64", "int64", "int32", "uint8")},
    **dict.fromkeys(STORAGES, Recorded),
}
