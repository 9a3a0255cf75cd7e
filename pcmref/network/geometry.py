"""Convolution geometry: which element of the padded input each crossbar row and pixel reads; SPEC.md, section 6.

The input of a crossbar layer is kept as one padded, channels-last buffer.  Row r of the crossbar at output
pixel p sees element ``pixel[p] + row[r]`` of it, so that no patch matrix need ever be stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcmref.arrays import Float32, Int64
from pcmref.network.layers import Conv, CrossbarLayer, Shape

__all__ = ["Geometry", "geometry"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """Where a crossbar layer reads its input.

    Parameters
    ----------
    height, width, channels : int
        Of the input, without padding.
    padding : int
        Zero pixels on each side.
    bias : bool
        Whether every pixel, padding included, has one more channel that holds the constant 1.
    out_shape : tuple of int
        Output of one image.
    row : int64, shape (rows,)
        Offset of each crossbar row within the buffer, relative to a pixel.
    pixel : int64, shape (pixels,)
        Offset of each output pixel.
    """

    height: int
    width: int
    channels: int
    padding: int
    bias: bool
    out_shape: Shape
    row: Int64
    pixel: Int64

    @property
    def padded_shape(self) -> tuple[int, int, int]:
        """Shape of the buffer: padding all around, channels rounded up to an even number."""
        channels = self.channels + self.bias
        return self.height + 2 * self.padding, self.width + 2 * self.padding, channels + channels % 2

    def maps(self, x: Float32) -> Float32:
        """Return inputs of shape (n, ...) as feature maps; a vector is one pixel."""
        return x.reshape(len(x), self.height, self.width, self.channels)


def geometry(layer: CrossbarLayer, in_shape: Shape, out_shape: Shape) -> Geometry:
    """Return the geometry of `layer`; a linear layer is a 1 x 1 convolution of one pixel."""
    if isinstance(layer, Conv):
        (height, width, channels), (out_height, out_width) = in_shape, out_shape[:2]
        kernel, stride, padding = layer.kernel, layer.stride, layer.padding
    else:
        (height, width, channels), (out_height, out_width) = (1, 1, in_shape[0]), (1, 1)
        kernel, stride, padding = (1, 1), 1, 0
    bias = layer.bias is not None
    step_x = channels + bias + (channels + bias) % 2
    step_y = (width + 2 * padding) * step_x
    i, j, channel = np.indices((*kernel, channels), np.int64).reshape(3, -1)
    y, x = np.indices((out_height, out_width), np.int64).reshape(2, -1) * stride
    row = i * step_y + j * step_x + channel
    return Geometry(
        height=height,
        width=width,
        channels=channels,
        padding=padding,
        bias=bias,
        out_shape=out_shape,
        row=np.append(row, channels) if bias else row,
        pixel=y * step_y + x * step_x,
    )
