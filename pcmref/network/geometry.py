"""Convolution geometry: which element of the padded input each crossbar row and pixel reads; SPEC.md, section 6.

The input of a crossbar layer is kept as one padded, channels-last buffer.  Row r of the crossbar at output
pixel p sees element ``pixel[p] + row[r]`` of it, so that no patch matrix need ever be stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcmref.arrays import Float32, Int64
from pcmref.network.layers import Conv, CrossbarLayer, Shape
from pcmref.network.windows import Windows

__all__ = ["Geometry", "geometry"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """Where a crossbar layer reads its input.

    Parameters
    ----------
    height, width, channels : int
        Of the input, without padding.
    padding : (top, left, bottom, right)
        Zero pixels on each side.
    bias : bool
        Whether every pixel, padding included, has one more channel that holds the constant 1.
    out_shape : tuple of int
        Output of one image.
    groups : int
        Groups of channels, each of which its own columns read.
    row : int64, shape (rows,), or (groups, rows) if there are several
        Offset of each crossbar row within the buffer, relative to a pixel.
    pixel : int64, shape (pixels,)
        Offset of each output pixel.
    """

    height: int
    width: int
    channels: int
    padding: tuple[int, int, int, int]
    bias: bool
    groups: int
    out_shape: Shape
    row: Int64
    pixel: Int64

    @property
    def padded_shape(self) -> tuple[int, int, int]:
        """Shape of the buffer: padding all around, channels rounded up to an even number."""
        (top, left, bottom, right), channels = self.padding, self.channels + self.bias
        return self.height + top + bottom, self.width + left + right, channels + channels % 2

    def maps(self, x: Float32) -> Float32:
        """Return inputs of shape (n, ...) as feature maps; a vector is one pixel."""
        return x.reshape(len(x), self.height, self.width, self.channels)


def geometry(layer: CrossbarLayer, in_shape: Shape, out_shape: Shape) -> Geometry:
    """Return the geometry of `layer`; a linear layer is a 1 x 1 convolution of one pixel."""
    if isinstance(layer, Conv):
        (height, width, channels), (out_height, out_width) = in_shape, out_shape[:2]
        windows, groups = layer.windows, layer.groups
    else:
        (height, width, channels), (out_height, out_width) = (1, 1, in_shape[0]), (1, 1)
        windows, groups = Windows.of(1, 1, 0), 1
    bias, (down, right) = layer.bias is not None, windows.stride
    step_x = channels + bias + (channels + bias) % 2
    step_y = windows.padded(height, width)[1] * step_x
    i, j, channel = np.indices((*windows.kernel, channels // groups), np.int64).reshape(3, -1)
    y, x = np.indices((out_height, out_width), np.int64).reshape(2, -1)
    row = windows.dilation[0] * i * step_y + windows.dilation[1] * j * step_x + channel
    if groups > 1:
        row = row + np.arange(groups)[:, None] * (channels // groups)
    constant = np.full((*row.shape[:-1], int(bias)), channels)
    return Geometry(
        height=height,
        width=width,
        channels=channels,
        padding=windows.padding,
        bias=bias,
        groups=groups,
        out_shape=out_shape,
        row=np.concatenate([row, constant], axis=-1),
        pixel=down * y * step_y + right * x * step_x,
    )
