"""Images with their labels, and how pixels become the input of a network; SPEC.md, section 2."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np

from pcmref.arrays import Float32, Int64, ReadOnly, UInt8, overflowing, read_only, refuse_masked
from pcmref.errors import (
    DataError,
    NetworkError,
    ParameterError,
    PcmrefWarning,
    called,
    describe,
    instance,
    integer,
    real,
)

__all__ = ["Images", "Normalisation", "Samples", "StoredImages"]


#: Least difference between the inputs of black and white, most such differences between them and 0, and largest input.
SPAN_LEAST, DISTANCE_MOST, SIZE_MOST = 0.1, 4.0, 256.0
#: Images that are hashed at a time.
HASHED_AT_ONCE = 64


def _is_likely(low: float, high: float) -> bool:
    """Return whether a network may have been trained with inputs from `low` to `high`."""
    span, distance = high - low, max(low, -high)
    return span >= SPAN_LEAST and distance <= DISTANCE_MOST * span and max(-low, high) <= SIZE_MOST


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """``x = (pixel / full_scale - mean) / std`` per channel, for uint8 pixels."""

    full_scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "full_scale", real("full_scale", self.full_scale, "a finite number"))
            for name in ("mean", "std"):
                numbers = tuple(real(name, number, "finite numbers") for number in getattr(self, name))
                object.__setattr__(self, name, numbers)
        except (ParameterError, TypeError) as error:
            found = describe((self.full_scale, self.mean, self.std))
            raise NetworkError("normalisation", "finite numbers", found) from error
        numbers = (self.full_scale, *self.mean, *self.std)
        if self.full_scale <= 0 or not self.std or min(self.std) <= 0:
            raise NetworkError("normalisation", "a positive full_scale and std", describe(numbers))
        if len(self.mean) != len(self.std):
            raise NetworkError("normalisation", "as many means as stds", f"{len(self.mean)} and {len(self.std)}")
        self._warn_of_units()

    def _warn_of_units(self) -> None:
        """Warn where inputs would be almost constant, far from 0 or huge, as no training leaves them.

        Whether the brightest pixel is 255 or full_scale.
        """
        for mean, std in zip(self.mean, self.std, strict=True):
            ends = [(-mean / std, (pixel / self.full_scale - mean) / std) for pixel in (255.0, self.full_scale)]
            if not any(_is_likely(*end) for end in ends):
                low, high = ends[0]
                text = (
                    f"normalisation: pixels from 0 to 255 become inputs from {low:.4g} to {high:.4g}; "
                    f"mean and std are of pixels divided by full_scale, which is {self.full_scale:g}"
                )
                warnings.warn(text, PcmrefWarning, stacklevel=4)
                return

    @overflowing()
    def table(self) -> Float32:
        """Return the normalised value of every pixel value and channel, shape ``(256, channels)``.

        Computed in float64, rounded once to float32.
        """
        pixel = np.arange(256.0)[:, None] / self.full_scale
        return np.asarray((pixel - np.array(self.mean)) / np.array(self.std), np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredImages:
    """Images that stay where they are stored, too many to hold; a slice of them is an array, read when it is asked for.

    Parameters
    ----------
    shape : (n, height, width, channels)
    read : callable
        ``read(start, stop)`` returns those images, uint8, or raises `FileError` if they are no longer what they were.
    """

    shape: tuple[int, ...]
    read: Callable[[int, int], UInt8]

    dtype: ClassVar[np.dtype[np.uint8]] = np.dtype(np.uint8)

    def __post_init__(self) -> None:
        called("read", self.read)
        sizes = self.shape if isinstance(self.shape, tuple) else ()
        if len(sizes) != 4 or not all(isinstance(n, int) and n >= 0 for n in sizes):
            raise ParameterError("shape", "(n, height, width, channels)", describe(self.shape))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> UInt8:
        """Read a slice; `ParameterError` for any other part."""
        if not isinstance(part, slice):
            raise ParameterError("images", "a slice of them (numpy.asarray reads all)", describe(part))
        start, stop, step = part.indices(len(self))
        if step == 1:
            return self.read(start, max(start, stop))
        several = [self.read(place, place + 1) for place in range(start, stop, step)]
        return np.concatenate([self.read(0, 0), *several])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Read all of them."""
        if copy is False:
            raise ValueError("stored images are read, which makes a copy")
        return np.asarray(self[:], dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and send the pixels, all of them: another machine may not have the file."""
        return np.asarray, (self[:],)


#: Images as an array, or stored: what is sliced, a few at a time.
Images: TypeAlias = UInt8 | StoredImages


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples(ReadOnly):
    """Images and their labels, which cannot be written to.

    Parameters
    ----------
    images : uint8, shape (n, height, width, channels), or StoredImages
    labels : int64, shape (n,)
    where : str
        Where they come from, for messages.
    """

    images: Images
    labels: Int64
    where: str = "samples"

    def __post_init__(self) -> None:
        for name in ("images", "labels"):
            if name == "images" and isinstance(self.images, StoredImages):
                continue
            instance(f"{self.where}/{name}", getattr(self, name), np.ndarray)
            refuse_masked(f"{self.where}/{name}", getattr(self, name))
            object.__setattr__(self, name, read_only(getattr(self, name)))
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise DataError(
                f"{self.where}/images",
                "uint8 images of shape (n, height, width, channels)",
                f"{self.images.dtype} of shape {self.images.shape}",
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"{self.where}/labels",
                f"{len(self.images)} int64 labels",
                f"{self.labels.dtype} of shape {self.labels.shape}",
            )
        if len(self.labels) and self.labels.min() < 0:
            raise DataError(f"{self.where}/labels", "no negative label", str(int(self.labels.min())))

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the images."""
        pixels = hashlib.sha256()
        for start in range(0, len(self), HASHED_AT_ONCE):
            pixels.update(np.ascontiguousarray(self.images[start : start + HASHED_AT_ONCE]).data)
        return pixels.hexdigest()

    @cached_property
    def labels_sha256(self) -> str:
        """SHA-256 of the labels, as little-endian int64."""
        return hashlib.sha256(self.labels.astype("<i8").tobytes()).hexdigest()

    def first(self, count: int) -> Samples:
        """Return a copy of the first `count` samples, so that the others can be forgotten, if there are others."""
        count = integer("count", count, "an integer from 0", 0, 1 << 62)
        if count >= len(self):
            return self
        return Samples(images=self.images[:count].copy(), labels=self.labels[:count].copy(), where=self.where)
