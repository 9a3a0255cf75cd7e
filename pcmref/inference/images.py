"""Images on their way in: checked, addressed, and normalised; SPEC.md, sections 2 and 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pcmref.arrays import Float32, UInt8, UInt64, refuse_masked
from pcmref.errors import DataError, ParameterError, describe, integer
from pcmref.network.graph import Network
from pcmref.network.images import Images, StoredImages

__all__ = ["array_of", "batches", "normalise"]


def normalise(network: Network, images: UInt8) -> Float32:
    """Return the input of the first layer: a table of 256 values a channel, looked up."""
    table = network.normalisation.table()
    return table[images, np.arange(table.shape[1])]


def batches(network: Network, images: Images, addresses: Sequence[int] | None) -> tuple[Images, UInt64]:
    """Check images and their addresses."""
    if not isinstance(images, StoredImages):
        images = array_of("images", images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != network.input_shape:
        raise DataError(
            "images",
            f"uint8 of shape (n, {', '.join(map(str, network.input_shape))})",
            f"{images.dtype} of shape {images.shape}",
        )
    if addresses is None:
        return images, np.arange(len(images), dtype=np.uint64)
    if not isinstance(addresses, (Sequence, np.ndarray)) or getattr(addresses, "ndim", 1) != 1:
        raise ParameterError("addresses", "a sequence of integers", describe(addresses))
    if len(addresses) != len(images):
        raise ParameterError("addresses", f"{len(images)} of them", str(len(addresses)))
    expected = "integers from 0 to 2**64 - 1"
    return images, np.array([integer("addresses", a, expected, 0, (1 << 64) - 1) for a in addresses], np.uint64)


def array_of(name: str, values: object) -> np.ndarray[Any, Any]:
    """Return `values` as an array, or raise `DataError`; or `ParameterError` if some are masked."""
    refuse_masked(name, values)
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise DataError(name, "an array", describe(values)) from error
