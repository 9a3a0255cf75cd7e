"""Names for the array types in signatures, and values whose arrays cannot be changed."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["Float32", "Float64", "Frozen", "Int16", "Int64", "UInt8", "UInt32", "UInt64", "frozen", "read_only"]

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Int16: TypeAlias = npt.NDArray[np.int16]
Int64: TypeAlias = npt.NDArray[np.int64]
UInt8: TypeAlias = npt.NDArray[np.uint8]
UInt32: TypeAlias = npt.NDArray[np.uint32]
UInt64: TypeAlias = npt.NDArray[np.uint64]

Scalar = TypeVar("Scalar", bound=np.generic)


class Frozen:
    """Base of a frozen dataclass: its arrays are copies that cannot be written to either.

    Another value is made with `dataclasses.replace`, from a changed copy of the array.
    """

    def __post_init__(self) -> None:
        values: Any = self
        for field in fields(values):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, field.name, frozen(value))


def frozen(value: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return a copy that cannot be written to."""
    return read_only(value.copy())


def read_only(value: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return a view that cannot be written to."""
    view = value.view()
    view.flags.writeable = False
    return view
