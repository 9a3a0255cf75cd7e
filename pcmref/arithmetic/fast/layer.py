"""A layer in one call: all stages for a part of one image after the other, so that they meet in the processor's cache.

Parts are of whole pixels.  What a pixel gets depends on its number alone: not on the part that it is in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.fast.compiler import bound, compiled
from pcmref.arithmetic.fast.conversion import (
    compared,
    digitised,
    digitised_noisy,
    held_sums,
    noisy_sums,
    prepared_adc,
)
from pcmref.arithmetic.fast.stages import (
    drive_image,
    finished,
    split_phases,
    square_parts,
    sum_grouped,
    sum_products,
    sum_type,
)
from pcmref.arithmetic.operands import (
    LANES,
    PIXELS,
    SQUARE_BITS,
    Adc,
    AnalogLayer,
    Conversions,
    Digital,
    LayerCall,
    Table,
    Window,
    filled_columns,
)
from pcmref.arrays import Float32, Int64, UInt64

__all__ = ["analog_layer", "float_layer"]


#: Output pixels of an image that go through all stages together, at most: their sums stay in the cache.
AT_ONCE = 192


class _Scratch(NamedTuple):
    """Arrays for the stages of one image, and of some of its output pixels."""

    #: What drives the rows, and the same in each phase.
    driven: npt.NDArray[np.int16]
    codes: npt.NDArray[np.int16]
    #: Squares of the codes in each phase: their low and their high bits.
    low: npt.NDArray[np.int16]
    high: npt.NDArray[np.int16]
    #: Of a part of the pixels, from here on.
    sums: npt.NDArray[Any]
    variance: npt.NDArray[Any]
    high_variance: npt.NDArray[Any]
    #: Sums with read noise; what a conversion hands on, and the sum of it over the conversions.
    noisy: npt.NDArray[Any]
    output: npt.NDArray[Any]
    total: npt.NDArray[Any]


def analog_layer(layer: AnalogLayer, digital: Digital) -> LayerCall:
    """Return what takes batches through a layer of a chip; see the twin."""
    plain, pixels, columns = _is_plain(layer.conversions), layer.window.pixels, layer.tiles.columns
    serial = layer.dac.serial if layer.dac.phases > 1 else None
    # with converters it is told at run time: most readouts have layers of one tile and of several
    several = None if plain and layer.adc is None and layer.table is None else not plain
    operands = layer[:4], serial, several, layer.noise, layer.register, layer.adc, layer.table, digital
    idle = [_scratch(layer, plain)]  # what no thread works with now
    maps = np.empty((0, 0, 0), np.float32)
    kernel = bound(_analog, (maps[None], maps, True, np.empty(0, np.uint64), maps), *operands, idle[0])

    def compute(x: Float32, other: Float32 | None, image: UInt64) -> tuple[Float32, int, int]:
        try:
            scratch = idle.pop()
        except IndexError:
            scratch = _scratch(layer, plain)
        out = np.empty((len(x), pixels, columns), np.float32)
        residual = out if other is None else np.ascontiguousarray(other, np.float32)
        x, image = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(image, np.uint64)
        infinite, beyond = kernel((x, residual, other is not None, image, out), *operands, scratch)
        idle.append(scratch)
        return out, infinite, beyond

    return compute


def _scratch(layer: AnalogLayer, plain: bool) -> _Scratch:
    """Return arrays of types that hold what a layer may compute; those that it does not use are others again."""
    window, dac, tiles, conversions, noise, register, adc, table = layer
    count = len(tiles.bound) - 1
    low = high = driven = np.full((window.height, window.width, window.channels), dac.offset, np.int16)
    codes = driven[None] if dac.phases == 1 else np.zeros((dac.phases, *driven.shape), np.int16)
    shape = _part(window.pixels), filled_columns(tiles.columns)
    high_variance = variance = sums = np.empty(shape, sum_type(tiles.conductance.segment, count))
    if noise is not None:
        low, high = np.empty_like(codes), np.empty_like(codes)
        variance = np.empty_like(sums, np.int64 if noise.split else sum_type(tiles.variance.segment, count))
        high_variance = np.empty_like(variance)
    noisy = output = sums
    if noise is not None and (register is not None or adc is None):
        noisy = output = np.empty(shape, np.int64)
    if adc is not None or table is not None:
        output = np.empty(shape, np.int32)
    total = output
    if not plain:
        largest = 2 * int(np.abs(conversions.weight).sum()) * _largest_code(adc, table)
        total = np.empty(shape, np.int32 if largest < 1 << 31 else np.int64)
    return _Scratch(driven, codes, low, high, sums, variance, high_variance, noisy, output, total)


def _part(pixels: int) -> int:
    """Return how many output pixels are a part: nearly equally many in each."""
    parts = -(-pixels // AT_ONCE)
    return -(-pixels // (parts * PIXELS)) * PIXELS


def _largest_code(adc: Adc | None, table: Table | None) -> int:
    """Return the largest size of a code; of sums that are handed on, what makes 64 bits of them."""
    if adc is not None:
        return int(max(-adc.low, adc.high))
    return 1 << 53 if table is None else max(-table.low, table.high)


def _is_plain(conversions: Conversions) -> bool:
    """Return whether there is one conversion, whose codes are those of the layer."""
    return len(conversions.weight) == 1 and conversions.weight[0] == 1 and not conversions.zero.any()


@compiled
def _analog(batch, layer, serial, several, noise, register, adc, table, digital, scratch):  # type: ignore[no-untyped-def]
    # what may be None are arguments of their own, so that what is None is not compiled
    x, other, adds, image, out = batch
    window, dac, tiles, conversions = layer
    pixels, part, noisy = window.pixels, len(scratch.sums), _prepared_adc(noise, register, adc, tiles.columns)
    bits, factor, infinite, beyond = x.reshape(len(x), -1).view(np.int32), np.empty_like(digital.unit), -1, -1
    for i in range(len(x)):
        step, top = drive_image(x[i], bits[i], window, dac, scratch.driven)
        if infinite < 0 and not np.isfinite(top):
            infinite = i
        if serial is not None:
            split_phases(scratch.driven.reshape(-1), serial, scratch.codes.reshape(dac.phases, -1))
        if noise is not None:
            square_parts(scratch.codes.reshape(-1), noise.split, scratch.low.reshape(-1), scratch.high.reshape(-1))
        if adc is not None or table is not None:
            step = np.float32(1)
        for first in range(0, pixels, part):
            last = min(first + part, pixels)
            for number in range(len(conversions.weight)):
                lost = _convert(number, (first, last), image[i], layer, noise, register, adc, noisy, table, scratch)
                if lost and beyond < 0:
                    beyond = i
                if several is not None:  # noqa: SIM102  (numba leaves out what is None branch by branch)
                    if several:
                        weight, zero = conversions.weight[number], conversions.zero[number]
                        _add(scratch.output, number == 0, weight, zero, last - first, scratch.total)
            finished(scratch.total, step, factor, digital, adds, other[i, first:last], out[i, first:last])
    return infinite, beyond


@compiled
def _convert(number, place, image, layer, noise, register, adc, noisy, table, scratch):  # type: ignore[no-untyped-def]
    """Make one conversion for the pixels from one to another; return whether the register could not hold a sum."""
    (first, last), (window, _, tiles, conversions) = place, layer
    t, phase, columns, output = conversions.tile[number], conversions.phase[number], tiles.columns, scratch.output
    pixel, pixels, pair = window.pixel[first:], last - first, tiles.pair
    sums, variance = scratch.sums, scratch.variance
    _multiply(t, scratch.codes[phase], pixel, pixels, pair, tiles.bound, tiles.conductance, sums)
    if noise is None:
        return _converted(sums[:pixels], columns, number, register, adc, table, output)
    _multiply(t, scratch.low[phase], pixel, pixels, pair, tiles.bound, tiles.variance, variance)
    if noise.split:
        high = scratch.high_variance
        _multiply(t, scratch.high[phase], pixel, pixels, pair, tiles.bound, tiles.variance, high)
        _add_high(high[:pixels].reshape(-1), variance[:pixels].reshape(-1))
    if register is None:  # noqa: SIM102  (numba leaves out what is None branch by branch)
        if adc is not None:
            digitised_noisy(sums[:pixels], variance[:pixels], columns, first, noise, number, image, adc, noisy, output)
            return False
    total = scratch.noisy[:pixels]
    noisy_sums(sums, variance, first, noise, np.uint64(number), image, total[:, :columns])
    return _converted(total, columns, number, register, adc, table, output)


@compiled
def _prepared_adc(noise, register, adc, columns):  # type: ignore[no-untyped-def]
    """Prepare the ADC of noisy sums; None where no register comes between."""
    if noise is not None:  # noqa: SIM102  (numba leaves out what is None branch by branch)
        if register is None:  # noqa: SIM102
            if adc is not None:
                return prepared_adc(adc, columns)
    return None


@compiled
def _converted(sums, columns, number, register, adc, table, output):  # type: ignore[no-untyped-def]
    """Put sums through the register and the ADC; return whether the register could not hold one."""
    beyond = False
    if register is not None:
        beyond = held_sums(sums, columns, register)
    if adc is not None:
        digitised(sums, sums.shape[1], adc, number, output)
    if table is not None:
        compared(sums, columns, table, number, output)
    return beyond


@compiled
def _multiply(t, codes, pixel, pixels, pair, bound, matrix, sums):  # type: ignore[no-untyped-def]
    first, last = bound[t], bound[t + 1]
    if pair.ndim == 2:  # an argument of its own: numba compiles one branch only
        sum_grouped(codes.reshape(-1), pixel, pixels, pair[first:last], matrix.packed[first:last], sums)
    else:
        inputs, count = codes.reshape(-1).view(np.int32), sums.shape[1] // LANES
        panels = matrix.packed[count * first : count * last].reshape(count, last - first, 2 * LANES)
        segment = matrix.segment[matrix.cut[t] : matrix.cut[t + 1]]
        sum_products(inputs, pixel, pixels, pair[first:last], panels, segment, sums)


@compiled
def _add_high(high, variance):  # type: ignore[no-untyped-def]
    for k in range(len(variance)):
        variance[k] += np.int64(high[k]) << SQUARE_BITS


@compiled
def _add(output, first, weight, zero, pixels, total):  # type: ignore[no-untyped-def]
    columns = len(zero)
    if weight == 1 and not zero.any():  # tiles one below the other, without products
        for p in range(pixels):
            for c in range(columns):
                total[p, c] = output[p, c] if first else total[p, c] + output[p, c]
    else:
        for p in range(pixels):
            for c in range(columns):
                code = weight * (output[p, c] - zero[c])
                total[p, c] = code if first else total[p, c] + code


def float_layer(
    x: Float32, other: Float32 | None, window: Window, row: Int64, matrix: Float32, digital: Digital
) -> Float32:
    """Take a batch through a layer of the digital baseline; see the twin."""
    buffer = np.zeros((window.height, window.width, window.channels), np.float32)
    if window.bias:
        buffer[..., x.shape[-1]] = 1
    sums = np.empty((_part(window.pixels), filled_columns(len(digital.unit))), np.float32)
    out = np.empty((len(x), window.pixels, len(digital.unit)), np.float32)
    residual = np.empty((len(x), 0, 0), np.float32) if other is None else np.ascontiguousarray(other)
    _floats(np.ascontiguousarray(x), residual, other is not None, window, row, matrix, digital, buffer, sums, out)
    return out


@compiled
def _floats(x, other, adds, window, row, matrix, digital, buffer, sums, out):  # type: ignore[no-untyped-def]
    n, height, width, channels = x.shape
    inputs, segment, factor = buffer.reshape(-1), np.array([0, len(row)]), np.empty_like(digital.unit)
    part, one = len(sums), np.float32(1)
    for i in range(n):
        for y in range(height):
            for z in range(width):
                for c in range(channels):
                    buffer[y + window.top, z + window.left, c] = x[i, y, z, c]
        for first in range(0, window.pixels, part):
            last = min(first + part, window.pixels)
            if row.ndim == 2:
                sum_grouped(inputs, window.pixel[first:], last - first, row, matrix, sums)
            else:
                sum_products(inputs, window.pixel[first:], last - first, row, matrix, segment, sums)
            finished(sums, one, factor, digital, adds, other[i, first:last], out[i, first:last])
