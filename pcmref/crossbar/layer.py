"""A crossbar layer of a snapshot: its matrix cut into tiles, and products with all stages or in one call.

Everything up to the ADC's codes is an integer; the digital value is ``float32(codes) * scale``.  SPEC.md, section 8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.draws import Key
from pcmref.arithmetic.operands import AnalogLayer, Digital, Window, filled
from pcmref.arrays import Float32, Float64, Int16, Int64, UInt64, overflowing, read_only
from pcmref.crossbar.layout import cut, lay_out
from pcmref.crossbar.product import TileProduct, analog_sums, combined, converted
from pcmref.crossbar.readout import Readout
from pcmref.crossbar.wiring import Chain, chain_of, codes_of, dac_of, gains_of, lsb_us, noise_of
from pcmref.devices.chip import SnapshotLayer
from pcmref.errors import PcmrefError
from pcmref.network.geometry import Geometry

__all__ = ["Crossbar", "Product", "activations", "build", "multiply", "window"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossbar:
    """One layer of a snapshot, ready to multiply.

    Parameters
    ----------
    name : str
    geometry : Geometry
    operands : AnalogLayer
    chain : Chain
        Its conversions, which `operands` have, and what the stages need besides.
    tiles : int
        How many, of all slices.
    unit : float32, shape (columns,)
        Digital value of one output code at an output step of 1.
    """

    name: str
    geometry: Geometry
    operands: AnalogLayer
    chain: Chain
    tiles: int
    unit: Float32


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """All stages of a product, for n images, in arrays that cannot be written to.

    Parameters
    ----------
    input_codes : int16, shape (n, padded height, padded width, channels)
        DAC codes with padding, plus the DAC's offset, if it has one.  A layer with a bias has one more channel, which
        holds the code of the constant 1 at every pixel; a channel of 0 makes their number even.
        `pcmref.network.geometry` tells which element drives which crossbar row.
    input_step : float32, shape (n,)
        Activation that one DAC code stands for.
    tiles : tuple of TileProduct
        In the order of their rows.
    output_codes : int64, shape (n, pixels, columns)
        Sum of the tiles' codes.
    output_step : float32, shape (n,)
        Factor on the digital scale: `input_step` without an ADC, else 1.
    """

    input_codes: Int16
    input_step: Float32
    tiles: tuple[TileProduct, ...]
    output_codes: Int64
    output_step: Float32


def build(
    layer: SnapshotLayer,
    geometry: Geometry,
    readout: Readout,
    *,
    g_step_us: float,
    significance: tuple[int, ...],
    gain: Float64,
    stream: Key,
) -> Crossbar:
    """Prepare one layer of a snapshot.

    Parameters
    ----------
    layer : SnapshotLayer
    geometry : Geometry
    readout : Readout
    g_step_us : float
    significance : tuple of int
        Of the slices.
    gain : float64, shape (1,) or (columns,)
        Digital drift compensation.
    stream : (int, int)
        Key of the stream of fresh read noise.

    Raises
    ------
    ParameterError
        If the readout lacks the ranges of the layer.
    PcmrefError
        If an output code stands for less than float32 can hold.
    """
    codes, variance = codes_of(layer, readout)
    rows, columns = layer.shape
    parts, full_scale = cut(rows, readout.tile_rows, len(significance)), readout.range_of(layer.name)
    value_us, gains = np.full(columns, g_step_us), None
    if full_scale is not None and readout.adc is not None:
        value_us = lsb_us(readout, layer.name, full_scale, columns, g_step_us)
        gains = gains_of(readout, full_scale, value_us, g_step_us)
    chain = chain_of(
        readout,
        f"layer {layer.name!r}",
        codes,
        variance,
        parts=parts,
        significance=significance,
        gains=gains,
        noise=noise_of(readout, stream),
        measured=readout.measured_of(layer.name),
    )
    row = np.tile(geometry.row, len(significance))  # along the last axis
    operands = AnalogLayer(
        window=window(geometry, geometry.pixel // 2 if geometry.groups == 1 else geometry.pixel),
        dac=dac_of(readout, full_scale),
        tiles=lay_out(row, codes, variance, parts=parts, limit=readout.dac.largest),
        conversions=chain.conversions,
        noise=chain.noise,
        register=chain.register,
        adc=chain.adc,
        table=chain.table,
    )
    with overflowing():
        unit = _unit(layer.name, value_us * layer.weight_per_us * gain)
    return Crossbar(name=layer.name, geometry=geometry, operands=operands, chain=chain, tiles=len(parts), unit=unit)


def window(geometry: Geometry, pixel: Int64) -> Window:
    """Return where a layer reads its input, at these offsets of pixels."""
    height, width, channels = geometry.padded_shape
    return Window(
        top=geometry.padding[0],
        left=geometry.padding[1],
        height=height,
        width=width,
        channels=channels,
        bias=geometry.bias,
        pixel=filled(pixel),
        pixels=len(pixel),
    )


def _unit(name: str, value: Float64) -> Float32:
    """Return the value of an output code in each column as float32."""
    unit = value.astype(np.float32)
    lost = np.abs(value[(np.abs(unit) < np.finfo(np.float32).tiny) & (value != 0)])
    if lost.size:
        expected = "weights and full scales whose output codes stand for 2^-126 or more"
        raise PcmrefError(f"layer {name!r}", expected, f"{lost.min():.3g} in {lost.size} of {len(unit)} columns")
    return unit


def activations(crossbar: Crossbar, digital: Digital) -> Callable[[Float32, Float32 | None, UInt64], Float32]:
    """Return what takes batches through the layer and what follows it digitally, in one call.

    It takes x, float32, shape (n, height, width, channels); the residual, float32, shape (n, pixels, columns), or None;
    and the address of each image in the draws of fresh read noise, uint64, shape (n,).  It returns float32, shape (n,
    pixels, columns), or raises `PcmrefError` where an input is not finite or a sum overflows, with the address of its
    image.
    """
    layer, register = kernels().analog_layer(crossbar.operands, digital), crossbar.operands.register

    def compute(x: Float32, other: Float32 | None, image: UInt64) -> Float32:
        values, infinite, beyond = layer(x, other, image)
        if infinite >= 0:
            raise _not_finite(crossbar, image[infinite])
        if beyond >= 0 and register is not None and register.refuses:
            found = f"an overflow for image {image[beyond]}"
            raise PcmrefError(f"accumulator of {crossbar.name}", f"sums of {register.bits} bits", found)
        return values

    return compute


def multiply(crossbar: Crossbar, x: Float32, image: UInt64) -> Product:
    """Multiply a batch of inputs, stage by stage; an input that is not finite is an error."""
    window, dac, tiles, conversions, *_ = crossbar.operands
    chain, kernel = crossbar.chain, kernels()
    driven, step, top = kernel.drive(x, window, dac)
    if not np.isfinite(top).all():
        raise _not_finite(crossbar, image[np.argmin(np.isfinite(top))])
    codes, parts = kernel.phases(driven, dac), []
    for number in range(len(conversions.tile)):
        noise_free, variance = analog_sums(codes, window.pixel, tiles, chain, number)
        noise_free = noise_free[:, : window.pixels]
        variance = None if variance is None else variance[:, : window.pixels]
        parts.append(converted(noise_free, variance, tiles.columns, chain, number, image))
    each = len(parts) // crossbar.tiles
    found = [combined(parts[first : first + each], chain, first) for first in range(0, len(parts), each)]
    has_adc = chain.adc is not None or chain.table is not None
    return Product(
        input_codes=read_only(driven),
        input_step=read_only(step),
        tiles=tuple(found),
        output_codes=read_only(np.sum([tile.codes for tile in found], axis=0)),
        output_step=read_only(np.ones_like(step) if has_adc else step),
    )


def _not_finite(crossbar: Crossbar, address: np.uint64) -> PcmrefError:
    """Return the error of an input that is no number, with the address of its image."""
    return PcmrefError(f"input of {crossbar.name}", "finite numbers", f"an overflow for image {address}")
