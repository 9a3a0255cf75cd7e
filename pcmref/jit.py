"""The one way in which numba compiles a kernel."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from typing import Any

import numba

__all__ = ["compiled"]


def compiled(function: Callable[..., Any]) -> Any:
    """Compile: the one policy.  Never fastmath, which would let the compiler reorder and fuse.

    Machine code is kept on disk; where there is no place for it, or what is there is damaged, it is made again.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        fast = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no directory that can be written
        return numba.njit(**options)(function)
    cache = getattr(fast, "_cache", None)
    for name in ("load_overload", "save_overload"):
        if hasattr(cache, name):
            setattr(cache, name, _forgiving(getattr(cache, name)))
    return fast


def _forgiving(method: Callable[..., Any]) -> Callable[..., Any]:
    def tried(*arguments: Any) -> Any:
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError, ValueError, KeyError, IndexError):
            return method(*arguments)
        return None

    return tried
