"""What the kernels of a layer take: arrays and numbers, grouped by what they are for.

Tuples, since compiled code takes no other groups.  `pcmref.crossbar.layer` makes them of a layer of a chip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from pcmref.arrays import Float32, Float64, Int16, Int64, UInt64

__all__ = [
    "LANES",
    "PIXELS",
    "SQUARE_BITS",
    "UNREACHED",
    "Adc",
    "AnalogLayer",
    "Conversions",
    "Dac",
    "Digital",
    "LayerCall",
    "Matrix",
    "Noise",
    "Register",
    "Table",
    "Tiles",
    "Window",
    "filled",
    "filled_columns",
    "panels",
]

Number = TypeVar("Number", bound=np.generic)

#: Columns of a panel, the part of a matrix that is multiplied at a time: what one vector of 512 bits holds.
LANES = 16
#: Output pixels are filled up to a multiple of this: no less than the fast kernels compute at a time, and a multiple of
#: the 4 draws of a block.
PIXELS = 16
#: A threshold that no sum reaches.
UNREACHED = (1 << 63) - 1
#: Squares of DAC codes are multiplied in parts of at most so many bits.
SQUARE_BITS = 15


class Window(NamedTuple):
    """Where a layer reads its input: a buffer, padding included, channels last."""

    #: Zero pixels above the input and to the left of it.
    top: int
    left: int
    #: Size of the buffer, padding included; channels with the constant of a bias.
    height: int
    width: int
    channels: int
    #: Whether the constant 1 follows the channels of the input at every pixel.
    bias: bool
    #: Offset of each output pixel in the buffer, in pairs of codes (analog, one group) or in numbers; `filled`.
    pixel: Int64
    #: How many of them are meant.
    pixels: int


class Dac(NamedTuple):
    """How activations become codes, and how codes drive their rows."""

    #: Activation at full scale; 0: the largest of each image.
    top: np.float32
    #: Smallest and largest code.
    low: np.float32
    high: np.float32
    #: Added to a code before it drives its row.
    offset: int
    #: Phases of a product: 1; 2, positive parts before negative ones; or the bits of what drives a row, lowest first.
    phases: int
    serial: bool


class Matrix(NamedTuple):
    """Conductance or variance codes of all tiles, in pairs of neighbouring inputs, or row by row in groups."""

    #: Tile by tile, and of each panel by panel, shape (pairs of all panels, `LANES`, 2); or (rows, groups, columns of a
    #: group).
    packed: Int16
    #: Bounds of parts of a tile's pairs (rows) whose sums fit 32 bits, one tile after the other, each from 0 on.
    segment: Int64
    #: Where the bounds of each tile begin; shape (tiles + 1,).
    cut: Int64


class Tiles(NamedTuple):
    """The tiles of a layer, one below the other; where each line has its own ADC, + line and - line of each."""

    #: First pair (row) of each tile or line; shape (tiles + 1,).
    bound: Int64
    #: Offset of each pair of inputs relative to a pixel, in pairs; or, in numbers, of the input of each row in each
    #: group, shape (rows, groups).
    pair: Int64
    #: Columns without those that fill up.
    columns: int
    conductance: Matrix
    #: Without fresh read noise the conductances again, which nobody reads.
    variance: Matrix

    def matrix(self, number: int, matrix: Matrix) -> tuple[Int64, Int16, Int64]:
        """Return pairs, packed codes and segments of one tile."""
        first, last = self.bound[number], self.bound[number + 1]
        segment = matrix.segment[matrix.cut[number] : matrix.cut[number + 1]]
        if self.pair.ndim == 2:
            return self.pair[first:last], matrix.packed[first:last], segment
        count = filled_columns(self.columns) // LANES
        packed = matrix.packed[count * first : count * last].reshape(count, last - first, LANES, 2)
        return self.pair[first:last], packed, segment


class Noise(NamedTuple):
    """Fresh read noise: its stream."""

    k0: np.uint64
    k1: np.uint64
    #: Whether squares of codes have more than 15 bits, and are multiplied in two parts.
    split: bool


class Conversions(NamedTuple):
    """What is converted in turn, and what the codes count; their number is the tile of the draws."""

    #: Tile or line, and phase of the drive; shape (conversions,).
    tile: Int64
    phase: Int64
    #: Factor on the codes.
    weight: Int64
    #: Code of an input of zeros, which is taken off; shape (conversions, columns).
    zero: Int64


class Register(NamedTuple):
    """The register that holds a sum."""

    bits: int
    #: What happens beyond: the nearest number that fits, or the low bits.
    saturates: bool
    #: Whether that is an error.
    refuses: bool


class Adc(NamedTuple):
    """How sums become codes."""

    #: Codes per unit of the sum, and what is added to it first; shape (conversions, columns), a multiple of `LANES`.
    gain: Float64
    offset: Float64
    #: Smallest and largest code.
    low: float
    high: float
    #: Position in `codes.ROUNDINGS`.
    rounding: int


class Table(NamedTuple):
    """How sums become codes by thresholds."""

    #: Shape (conversions, columns, high - low), filled up to one less than a power of 2 with `UNREACHED`.
    thresholds: Int64
    #: Smallest and largest code.
    low: int
    high: int


class AnalogLayer(NamedTuple):
    """A layer of a chip, up to its output codes."""

    window: Window
    dac: Dac
    tiles: Tiles
    conversions: Conversions
    #: None: read noise is frozen in the codes.
    noise: Noise | None
    #: None: wide enough.
    register: Register | None
    #: None and no table: the sums are handed on.
    adc: Adc | None
    table: Table | None


class Digital(NamedTuple):
    """What follows the output codes of a layer, column by column."""

    #: Value of an output code at a step of 1.
    unit: Float32
    #: Folded scale and offset of the batch normalisation that follows; 1 and -0, which change nothing, if none does.
    scale: Float32
    offset: Float32
    #: Whether a ReLU ends it.
    rectify: bool


#: What takes a batch through a layer: of x, shape (n, height, width, channels), the residual or None, shape (n, pixels,
#: columns), and the images' addresses in the draws of fresh read noise, shape (n,), it gives the activations, shape (n,
#: pixels, columns), the position of the first image with an input that is not finite, whose activations mean nothing,
#: and of the first with a sum that the register could not hold; -1 if there is none.
LayerCall: TypeAlias = Callable[[Float32, "Float32 | None", UInt64], tuple[Float32, int, int]]


def filled(pixel: Int64) -> Int64:
    """Return offsets of pixels, the last one repeated up to a multiple of `PIXELS`."""
    return np.append(pixel, np.full(-len(pixel) % PIXELS, pixel[-1]))


def filled_columns(columns: int) -> int:
    """Return a number of columns, rounded up to a multiple of `LANES`."""
    return -(-columns // LANES) * LANES


def panels(matrix: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Return a matrix, shape (rows, columns, ...), in panels of `LANES` columns: (panels, rows, `LANES`, ...).

    The rows of a panel lie next to each other, so that a product streams through them; zeros fill up the last panel.
    """
    rows, columns, *rest = matrix.shape
    filling = [(0, 0), (0, filled_columns(columns) - columns), *((0, 0) for _ in rest)]
    parts = np.pad(matrix, filling).reshape(rows, -1, LANES, *rest)
    return np.ascontiguousarray(parts.swapaxes(0, 1))
