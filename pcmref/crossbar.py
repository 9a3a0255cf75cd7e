"""One matrix-vector product: DAC, exact sums of the tiles, read noise, ADC, digital scale.

Everything up to the ADC's codes is an integer; the digital value is ``float32(codes) * scale``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pcmref.arrays import Float32, Float64, Int16, Int64, UInt64, read_only
from pcmref.backend import kernels
from pcmref.chip import SnapshotLayer
from pcmref.converters import Readout, input_gain, largest_code
from pcmref.draws import Key
from pcmref.errors import PcmrefError
from pcmref.im2col import Geometry
from pcmref.kernels_numpy import LANES
from pcmref.profiling import stage

__all__ = ["Crossbar", "Matrix", "Product", "Tile", "TileProduct", "build", "check_finite", "multiply"]


#: The square of a DAC code is split into two numbers of at most 15 bits.
SQUARE_BITS = 15


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """Integers of one tile, laid out for the kernels: see ``kernels_numpy.accumulate``."""

    packed: Int16
    segment: Int64


@dataclass(frozen=True, kw_only=True, eq=False)
class Tile:
    """The rows of a layer that share one ADC."""

    pair: Int64
    conductance: Matrix
    variance: Matrix | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossbar:
    """One layer of a snapshot, ready to multiply.

    Parameters
    ----------
    name : str
    geometry : Geometry
    columns : int
    tiles : tuple of Tile
    readout : Readout
    input_top : float, optional
        The DAC's full scale; None follows each image.
    adc_gain : float, optional
        ADC codes per unit of the integer sum.
    unit : float32, shape (columns,)
        Digital value of one output code at an output step of 1.
    key : (int, int)
        Stream of the fresh read noise.
    """

    name: str
    geometry: Geometry
    columns: int
    tiles: tuple[Tile, ...]
    readout: Readout
    input_top: float | None
    adc_gain: float | None
    unit: Float32
    key: Key


@dataclass(frozen=True, kw_only=True, eq=False)
class TileProduct:
    """The stages of one tile: integers of shape (n, pixels, columns), int64 (elsewhere than in taps int32 if enough).

    Parameters
    ----------
    noise_free : int64
        ``A = sum of code g_code`` over the tile's rows.
    variance : int64, optional
        ``B = sum of code^2 V``; None unless read noise is fresh.
    sums : int64
        What the ADC sees: A, with fresh read noise ``A + rint(z sqrt(64 B))``.
    codes : int64
        What the ADC makes of it, D; without an ADC, `sums`.
    """

    noise_free: Int64
    variance: Int64 | None
    sums: Int64
    codes: Int64

    def seen(self) -> TileProduct:
        """Return the same stages as int64, in arrays that cannot be written to."""
        return TileProduct(
            noise_free=_wide(self.noise_free),
            variance=None if self.variance is None else _wide(self.variance),
            sums=_wide(self.sums),
            codes=_wide(self.codes),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """All stages of a product, for n images.

    Parameters
    ----------
    input_codes : int16, shape (n, padded height, padded width, channels)
        DAC codes with padding.  A layer with a bias has one more channel, which holds the code of the constant 1 at
        every pixel; a channel of 0 makes their number even.  `pcmref.im2col.geometry` tells which element drives which
        crossbar row.
    input_step : float32, shape (n,)
        Activation that one DAC code stands for.
    tiles : tuple of TileProduct
        In the order of their rows; none if they were not asked for.
    output_codes : int64 (elsewhere than in taps int32 if enough), shape (n, pixels, columns)
        Sum of the tiles' codes.
    output_step : float32, shape (n,)
        Factor on the digital scale: `input_step` without an ADC, else 1.
    """

    input_codes: Int16
    input_step: Float32
    tiles: tuple[TileProduct, ...]
    output_codes: Int64
    output_step: Float32

    def seen(self) -> Product:
        """Return the same product as taps see it: in arrays that cannot be written to, sums as int64."""
        return Product(
            input_codes=read_only(self.input_codes),
            input_step=read_only(self.input_step),
            tiles=tuple(tile.seen() for tile in self.tiles),
            output_codes=_wide(self.output_codes),
            output_step=read_only(self.output_step),
        )


def _wide(values: Int64) -> Int64:
    return read_only(values.astype(np.int64))


def build(
    layer: SnapshotLayer,
    geometry: Geometry,
    readout: Readout,
    *,
    g_step_us: float,
    gain: Float64,
    key: Key,
) -> Crossbar:
    """Prepare one layer of a snapshot.

    Parameters
    ----------
    layer : SnapshotLayer
    geometry : Geometry
    readout : Readout
    g_step_us : float
    gain : float64, shape (1,) or (columns,)
        Digital drift compensation.
    key : (int, int)
    """
    fresh = readout.read_noise == "fresh"
    codes = layer.mean_code if fresh else layer.read_code
    rows, columns = codes.shape
    limit = largest_code(readout.dac_bits)
    tile_rows = readout.tile_rows or rows
    tiles = []
    for start in range(0, rows, tile_rows):
        part = slice(start, start + tile_rows)
        pair, place = np.unique(geometry.row[part] // 2, return_inverse=True)
        odd = geometry.row[part] % 2
        tiles.append(
            Tile(
                pair=pair,
                conductance=_pack(codes[part], len(pair), place, odd, limit),
                variance=_pack(
                    layer.variance_code[part],
                    len(pair),
                    place,
                    odd,
                    min(limit * limit, (1 << SQUARE_BITS) - 1),
                )
                if fresh
                else None,
            )
        )
    top = readout.range_of(layer.name)
    value_us, adc_gain = g_step_us, None
    if top is not None and readout.adc_bits is not None:
        value_us = top.sum_top_us / largest_code(readout.adc_bits)
        _, step = input_gain(np.full(1, top.input_top, np.float32), readout.dac_bits)
        adc_gain = float(step[0]) * g_step_us / value_us
    value = value_us * layer.weight_per_us * gain
    unit = value.astype(np.float32)
    lost = np.abs(value[(np.abs(unit) < np.finfo(np.float32).tiny) & (value != 0)])
    if lost.size:
        expected = "weights and full scales whose output codes stand for 2^-126 or more"
        raise PcmrefError(f"layer {layer.name!r}", expected, f"{lost.min():.3g} in {lost.size} of {columns} columns")
    return Crossbar(
        name=layer.name,
        geometry=geometry,
        columns=columns,
        tiles=tuple(tiles),
        readout=readout,
        input_top=None if top is None else top.input_top,
        adc_gain=adc_gain,
        unit=unit,
        key=key,
    )


def multiply(crossbar: Crossbar, x: Float32, image: UInt64, *, keep_tiles: bool = True) -> Product:
    """Multiply a batch of inputs.

    Parameters
    ----------
    crossbar : Crossbar
    x : float32, shape (n, height, width, channels)
    image : uint64, shape (n,)
        Address of each image in the draws of fresh read noise.
    keep_tiles : bool
        Whether the product holds the stages of its tiles; the output codes alone cost less.
    """
    fast = kernels()
    shape = crossbar.geometry
    bits = crossbar.readout.dac_bits
    limit = largest_code(bits)
    with stage("DAC"):
        top = fast.largest(x)
        check_finite(crossbar, top, image)
        if crossbar.input_top is not None:
            top = np.full(len(x), crossbar.input_top, np.float32)
        elif shape.bias:
            top = np.maximum(top, np.float32(1))
        gain, step = input_gain(top, bits)
        one = np.clip(np.rint(gain), -limit, limit).astype(np.int16) if shape.bias else None
        codes = fast.to_codes(x, gain, limit, one, shape.padding, shape.padded_shape[2])
    numbers = range(len(crossbar.tiles))
    tiles = tuple(_tile_product(crossbar, number, codes, image) for number in numbers) if keep_tiles else ()
    outputs = [tile.codes for tile in tiles] or [_tile_codes(crossbar, number, codes, image) for number in numbers]
    total = outputs[0]
    for other in outputs[1:]:
        total = total.astype(np.int64) + other
    return Product(
        input_codes=codes,
        input_step=step,
        tiles=tiles,
        output_codes=total,
        output_step=step if crossbar.adc_gain is None else np.ones_like(step),
    )


def check_finite(crossbar: Crossbar, top: Float32, image: UInt64) -> None:
    """Raise `PcmrefError`, with the address of the image, where the largest input of an image is no number."""
    finite = np.isfinite(top)
    if not finite.all():
        place = int(image[np.argmin(finite)])
        raise PcmrefError(f"input of {crossbar.name}", "finite numbers", f"an overflow for image {place}")


def _tile_product(crossbar: Crossbar, number: int, codes: Int16, image: UInt64) -> TileProduct:
    """Return the stages of a tile."""
    noise_free, variance = _noise_free(crossbar, crossbar.tiles[number], codes)
    columns = crossbar.columns
    sums = noise_free[..., :columns]
    if variance is not None:
        with stage("read noise"):
            sums = kernels().add_read_noise(noise_free, variance, columns, crossbar.key, number, image)
    return TileProduct(
        noise_free=noise_free[..., :columns],
        variance=None if variance is None else variance[..., :columns],
        sums=sums,
        codes=_digitised(crossbar, sums),
    )


def _tile_codes(crossbar: Crossbar, number: int, codes: Int16, image: UInt64) -> Int64:
    """Return the codes of a tile's ADC, with read noise and ADC in one pass."""
    gain, bits = crossbar.adc_gain, crossbar.readout.adc_bits
    if gain is None or crossbar.tiles[number].variance is None:
        return _tile_product(crossbar, number, codes, image).codes
    sums, variance = _noise_free(crossbar, crossbar.tiles[number], codes)
    with stage("read noise, ADC"):
        return np.asarray(
            kernels().digitise_noisy(sums, variance, crossbar.columns, crossbar.key, number, image, gain, bits)
        )


def _digitised(crossbar: Crossbar, sums: Int64) -> Int64:
    """Return the ADC's codes; the sums themselves without an ADC."""
    if crossbar.adc_gain is None:
        return sums
    with stage("ADC"):
        return np.asarray(kernels().digitise(sums, crossbar.adc_gain, crossbar.readout.adc_bits))


def _noise_free(crossbar: Crossbar, tile: Tile, codes: Int16) -> tuple[Int64, Int64 | None]:
    """Return the exact sums of a tile and, for fresh read noise, its variance; filling columns included."""
    with stage("product"):
        sums = _accumulate(crossbar, tile, codes, tile.conductance)
    if tile.variance is None:
        return sums, None
    with stage("noise variance"):
        limit = largest_code(crossbar.readout.dac_bits)
        if limit * limit >> SQUARE_BITS == 0:
            return sums, _accumulate(crossbar, tile, codes * codes, tile.variance)
        squares = codes.astype(np.int32) ** 2
        parts = squares & ((1 << SQUARE_BITS) - 1), squares >> SQUARE_BITS
        low, high = (_accumulate(crossbar, tile, part.astype(np.int16), tile.variance) for part in parts)
        return sums, low.astype(np.int64) + (high.astype(np.int64) << SQUARE_BITS)


def _accumulate(crossbar: Crossbar, tile: Tile, codes: Int16, matrix: Matrix) -> Int64:
    pixel = crossbar.geometry.pixel
    return np.asarray(kernels().accumulate(codes, pixel, tile.pair, matrix.packed, matrix.segment))


def _pack(codes: Int16, pairs: int, place: Int64, odd: Int64, limit: int) -> Matrix:
    """Lay out the codes of a tile's rows in pairs of neighbouring inputs; cut where 32 bits might overflow."""
    columns = codes.shape[1]
    packed = np.zeros((pairs, -(-columns // LANES) * LANES, 2), np.int16)
    packed[place, :columns, odd] = codes
    size = np.abs(packed.astype(np.int64)).sum(axis=2) * limit
    return Matrix(packed=packed, segment=_segments(size))


def _segments(size: Int64) -> Int64:
    """Return the bounds of groups of rows of `size`, as long as possible, whose column sums stay below 2^31."""
    bounds, before = [0], np.zeros(size.shape[1], np.int64)
    total = np.cumsum(size, axis=0)
    while (total[-1] - before).max() >= 1 << 31:
        first_beyond = int(np.argmax((total - before).max(axis=1) >= 1 << 31))
        bounds.append(first_beyond)
        before = total[first_beyond - 1]
    return np.array([*bounds, len(size)])
