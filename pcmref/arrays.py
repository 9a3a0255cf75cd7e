"""Names for the array types in signatures, checks of arrays, and values whose arrays cannot be changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from pcmref.errors import ParameterError, describe

__all__ = [
    "Bool",
    "Float32",
    "Float64",
    "Frozen",
    "Int16",
    "Int64",
    "IntegerArray",
    "Numbers",
    "ReadOnly",
    "Scalar",
    "UInt8",
    "UInt32",
    "UInt64",
    "check_array",
    "frozen",
    "in_parts",
    "overflowing",
    "read_only",
    "refuse_masked",
]

Bool: TypeAlias = npt.NDArray[np.bool_]
Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Int16: TypeAlias = npt.NDArray[np.int16]
Int64: TypeAlias = npt.NDArray[np.int64]
IntegerArray: TypeAlias = npt.NDArray[np.integer[Any]]
Numbers: TypeAlias = npt.NDArray[np.integer[Any] | np.floating[Any]]
UInt8: TypeAlias = npt.NDArray[np.uint8]
UInt32: TypeAlias = npt.NDArray[np.uint32]
UInt64: TypeAlias = npt.NDArray[np.uint64]

Scalar = TypeVar("Scalar", bound=np.generic)
#: How many numbers are computed at a time, so that the steps between find them in the cache.
PART = 1 << 14


class ReadOnly:
    """Base of a frozen dataclass whose arrays are views that cannot be written to: in another process, either.

    Whoever makes one gives its arrays away.
    """

    def __post_init__(self) -> None:
        _replace_arrays(self, read_only)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            self.__dict__[name] = read_only(value) if isinstance(value, np.ndarray) else value


class Frozen(ReadOnly):
    """Base of a frozen dataclass whose arrays are copies that cannot be written to either.

    Another value is made with `dataclasses.replace`, from a changed copy of the array.
    """

    def __post_init__(self) -> None:
        _replace_arrays(self, frozen)


def _replace_arrays(values: Any, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> None:
    for field in fields(values):
        if isinstance(value := getattr(values, field.name), np.ndarray):
            object.__setattr__(values, field.name, change(value))


def check_array(
    where: str, value: object, dtype: type[np.generic], shape: tuple[int | None, ...], least: float
) -> None:
    """Raise `ParameterError` unless `value` is an array of this dtype and shape of finite numbers from `least` on.

    None in `shape` stands for any length.
    """
    lengths = ", ".join("any" if n is None else str(n) for n in shape)
    form = f"{np.dtype(dtype)} of shape ({lengths}{',' * (len(shape) == 1)})"
    if not isinstance(value, np.ndarray):
        raise ParameterError(where, form, describe(value))
    refuse_masked(where, value)
    fits = len(value.shape) == len(shape) and all(n in (None, m) for n, m in zip(shape, value.shape, strict=True))
    if value.dtype != dtype or not fits:
        raise ParameterError(where, form, f"{value.dtype} of shape {value.shape}")
    if value.size and not (least <= (low := value.min()) and math.isfinite(low) and math.isfinite(value.max())):
        place = tuple(int(i) for i in np.argwhere(~(np.isfinite(value) & (value >= least)))[0])
        expected = "finite numbers" if least == -np.inf else f"finite numbers from {least:g} on"
        raise ParameterError(where, expected, f"{value[place]} at {list(place)}")


def overflowing() -> np.errstate:
    """Return a context, or a decorator, of arithmetic whose overflows are found, and told, by their infinities."""
    return np.errstate(over="ignore", invalid="ignore")


def in_parts(
    compute: Callable[..., Sequence[npt.NDArray[Any]]], *several: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], ...]:
    """Return what a function computes of arrays, element by element: in parts that a processor's cache holds.

    The same bits, in a quarter of the time for millions of numbers.
    """
    count = len(several[0])
    found = compute(*(values[:PART] for values in several))
    results = tuple(np.empty(count, part.dtype) for part in found)
    for start in range(0, count, PART):
        if start:
            found = compute(*(values[start : start + PART] for values in several))
        for whole, part in zip(results, found, strict=True):
            whole[start : start + PART] = part
    return results


def refuse_masked(where: str, value: object) -> None:
    """Raise `ParameterError` for an array some of whose elements are masked: what is behind the mask is no number."""
    if np.ma.is_masked(value):
        raise ParameterError(where, "an array without masked elements", "some")


def frozen(value: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return a copy that cannot be written to."""
    return read_only(value.copy())


def read_only(value: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return a view that cannot be written to."""
    view = value.view()
    view.flags.writeable = False
    return view
