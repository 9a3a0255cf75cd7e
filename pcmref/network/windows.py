"""Windows that move over a map: kernel, stride, dilation and padding, and how many fit; SPEC.md, section 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pcmref.errors import NetworkError, ParameterError, describe, integer

__all__ = ["AXIS_LIMIT", "MAP_LIMIT", "Pair", "Sides", "Windows", "check_size", "check_sizes"]

#: Largest stride, padding, window, or number of pixels along one axis of the input.
AXIS_LIMIT = 1 << 16
#: Most elements of a feature map of one image, padded or not.
MAP_LIMIT = 1 << 26

#: One number for both axes, or (vertical, horizontal).
Pair: TypeAlias = int | tuple[int, int]
#: One number for all sides, or (top, left, bottom, right).
Sides: TypeAlias = int | tuple[int, int, int, int]


def check_size(where: str, value: object, least: int = 1) -> int:
    """Return `value` as an int if it is an integer from `least` to `AXIS_LIMIT`."""
    expected = f"an integer from {least} to {AXIS_LIMIT}"
    try:
        return integer(where, value, expected, least, AXIS_LIMIT)
    except ParameterError as error:
        raise NetworkError(where, expected, error.found) from None


def check_sizes(where: str, value: object, count: int, least: int = 1) -> int | tuple[int, ...]:
    """Return one size, or so many of them; all alike are one."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return check_size(where, value, least)
    if len(value) != count:
        raise NetworkError(where, f"an integer, or {count} of them", describe(value))
    sizes = tuple(check_size(where, size, least) for size in value)
    return sizes[0] if len(set(sizes)) == 1 else sizes


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of one size, one a pixel of the output.

    Parameters
    ----------
    kernel, stride, dilation : (vertical, horizontal)
        Elements of a window, the distance between two windows, and that between two elements of one.
    padding : (top, left, bottom, right)
        Pixels around the input.
    ceil : bool
        Whether a last window that only begins in the input, or in the padding before it, counts as well.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    ceil: bool = False

    @classmethod
    def of(cls, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair = 1, *, ceil: bool = False) -> Windows:
        """Return windows of sizes as layers have them."""
        top, left, bottom, right = _spread(padding, 4)
        return cls(
            kernel=_pair(kernel),
            stride=_pair(stride),
            dilation=_pair(dilation),
            padding=(top, left, bottom, right),
            ceil=ceil,
        )

    @property
    def extent(self) -> tuple[int, int]:
        """Pixels from the first to the last element of a window: ``dilation (kernel - 1) + 1``."""
        (height, width), (down, right) = self.kernel, self.dilation
        return down * (height - 1) + 1, right * (width - 1) + 1

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of an input with its padding."""
        top, left, bottom, right = self.padding
        return height + top + bottom, width + left + right

    def overhang(self, height: int, width: int) -> tuple[int, int]:
        """Return how far the last windows reach beyond the padded input: not at all without `ceil`."""
        size, steps = self.padded(height, width), self.steps(height, width)
        reached = ((n - 1) * s + e for n, s, e in zip(steps, self.stride, self.extent, strict=True))
        below, beside = (max(end - pixels, 0) for end, pixels in zip(reached, size, strict=True))
        return below, beside

    def steps(self, height: int, width: int) -> tuple[int, int]:
        """Return how many windows there are along each axis: of a padded input that holds one.

        ``floor((padded - extent) / stride) + 1``; with `ceil` the quotient is rounded up, but for a window that would
        begin beyond the input.
        """
        found = []
        for axis, (size, pixels) in enumerate(zip(self.padded(height, width), (height, width), strict=True)):
            extent, stride, before = self.extent[axis], self.stride[axis], self.padding[axis]
            steps = (size - extent) // stride + 1
            if self.ceil and (size - extent) % stride and steps * stride < before + pixels:
                steps += 1
            found.append(steps)
        return found[0], found[1]

    def see_pixels(self, height: int, width: int) -> bool:
        """Return whether every window sees a pixel of the input, not padding alone."""
        for axis, pixels in enumerate((height, width)):
            dilation = self.dilation[axis]
            first = np.arange(self.steps(height, width)[axis]) * self.stride[axis] - self.padding[axis]
            element = -(np.minimum(first, 0) // dilation)  # the first that is not before the input
            if ((element >= self.kernel[axis]) | (first + element * dilation >= pixels)).any():
                return False
        return True

    def check(self, node: str, height: int, width: int, channels: int) -> None:
        """Raise `NetworkError` if a padded map is too large, or does not hold a window."""
        size = self.padded(height, width)
        if size[0] * size[1] * channels > MAP_LIMIT:
            expected = f"at most {MAP_LIMIT} padded elements an image"
            raise NetworkError(f"graph/{node}/padding", expected, str(size[0] * size[1] * channels))
        for padded, extent, pixels in zip(size, self.extent, (height, width), strict=True):
            if padded < extent:
                raise NetworkError(
                    f"graph/{node}", f"an input of at least {extent - padded + pixels} pixels", str(pixels)
                )


def _pair(sizes: Pair) -> tuple[int, int]:
    first, second = _spread(sizes, 2)
    return first, second


def _spread(sizes: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return one number so many times, or as many as there are."""
    return (sizes,) * count if isinstance(sizes, int) else sizes
