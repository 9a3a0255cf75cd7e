"""The one way in which numba compiles a kernel, and when the machine code that it keeps is still right."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
import numpy as np

__all__ = ["bound", "compiled", "digest_of"]

#: The folder of all sources from which machine code is made.
ROOM = Path(__file__).resolve().parent.parent


def compiled(function: Callable[..., Any]) -> Any:
    """Compile: the one policy.  Never fastmath, which would let the compiler reorder and fuse.

    Machine code is kept on disk for as long as no file of ``pcmref/arithmetic`` changes; where there is no place for
    it, or what is there is damaged, it is made again.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        fast = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no directory that can be written
        return numba.njit(**options)(function)
    cache = getattr(fast, "_cache", None)
    if cache is None:  # NUMBA_DISABLE_JIT
        return fast
    if not hasattr(getattr(cache, "_cache_file", None), "_source_stamp"):  # a numba that keeps it otherwise
        return numba.njit(**options)(function)
    # numba looks at the file of the function alone, but constants and functions of other files are compiled into it
    cache._cache_file._source_stamp = digest_of(ROOM)
    for name in ("load_overload", "save_overload"):
        setattr(cache, name, _forgiving(getattr(cache, name), cache.flush))
    return fast


def bound(kernel: Any, *arguments: Any) -> Callable[..., Any]:
    """Return a compiled kernel for arguments of the types of these, and for no others.

    It does not look at them again, which for thirty arrays takes longer than the work of a small layer.
    """
    compile_for = getattr(kernel, "compile", None)
    if compile_for is None:  # NUMBA_DISABLE_JIT
        return kernel
    types = kernel, *map(_type_of, arguments)
    if types not in _bound:  # numba takes milliseconds to find its own
        _bound[types] = compile_for(tuple(map(numba.typeof, arguments)))
    return _bound[types]


#: Kernels by themselves and the types of their arguments.
_bound: dict[tuple[Any, ...], Callable[..., Any]] = {}


def _type_of(value: Any) -> Any:
    """Return what tells values of different types apart."""
    if isinstance(value, tuple):
        return type(value), *map(_type_of, value)
    if isinstance(value, np.ndarray):
        return value.dtype, value.ndim, value.flags.c_contiguous
    return type(value)


@lru_cache
def digest_of(room: Path) -> str:
    """Return the SHA-256 of the sources in a folder: names and contents."""
    digest = hashlib.sha256()
    for path in sorted(room.rglob("*.py")):
        digest.update(path.relative_to(room).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _forgiving(method: Callable[..., Any], forget: Callable[[], None]) -> Callable[..., Any]:
    """Return a method of a cache that gives None where it fails, and forgets what is kept, as it may be damaged."""

    def tried(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except Exception:  # a damaged pickle raises anything
            with contextlib.suppress(OSError):
                forget()
            return None

    return tried
