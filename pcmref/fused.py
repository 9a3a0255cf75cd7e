"""A crossbar layer in one call: all stages for one image after the other, so that they meet in the processor's cache.

The stages are those of ``kernels.py``, in the order of `pcmref.crossbar.multiply`, and so are the bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pcmref.arrays import Float32, Int64, UInt64
from pcmref.converters import SMALLEST_INPUT, largest_code
from pcmref.jit import compiled
from pcmref.kernels import (
    BLOCK_1,
    _accumulate,
    _digitise,
    _digitise_noisy,
    _finish,
    _largest,
    _to_codes,
)

if TYPE_CHECKING:
    from pcmref.crossbar import Crossbar
    from pcmref.im2col import Geometry

__all__ = ["analog", "floats"]

#: ``layer(x, other, image)`` gives the activations of a batch, shape ``(n, pixels, columns)``; `other` is a residual
#: or None.  On a chip also the largest size of an input of each image, shape ``(n,)``.
Analog: TypeAlias = "Callable[[Float32, Float32 | None, UInt64], tuple[Float32, Float32]]"
Floats: TypeAlias = "Callable[[Float32, Float32 | None, UInt64], Float32]"

#: SHA-256 of the files that the machine code depends on besides this one, as in ``kernels.py``.
SOURCES = "63854a8938db62630be19f0dff4ffc4aeeb393ac183958bda8bb73870885adfe"


def analog(crossbar: Crossbar, norm: tuple[Float32, Float32] | None, rectify: bool) -> Analog | None:
    """Return a layer of a chip in one call; None for the few readouts that need a stage of their own.

    These are fresh read noise without an ADC or with a DAC of more than 8 bits, and so many tiles that the sum of
    their ADC codes might not fit 32 bits.

    Parameters
    ----------
    crossbar : Crossbar
    norm : (scale, offset), float32, each of shape (columns,), or None
    rectify : bool
    """
    readout, tiles, shape = crossbar.readout, crossbar.tiles, crossbar.geometry
    limit = largest_code(readout.dac_bits)
    noisy, converted = tiles[0].variance is not None, crossbar.adc_gain is not None
    adc_limit = largest_code(readout.adc_bits or 2)
    if (noisy and (not converted or limit * limit > np.iinfo(np.int16).max)) or len(tiles) * adc_limit >= 1 << 31:
        return None

    pair = np.concatenate([tile.pair for tile in tiles])
    bounds = np.cumsum([0, *(len(tile.pair) for tile in tiles)])
    packed, cuts, segments = _joined([tile.conductance for tile in tiles])
    variances = [tile.variance for tile in tiles if tile.variance is not None]
    v_packed, v_cuts, v_segments = _joined(variances) if noisy else (packed, cuts, segments)
    tile_data = bounds, pair, packed, cuts, segments, noisy, v_packed, v_cuts, v_segments
    pixel, width = _filled(shape.pixel // 2), tiles[0].conductance.packed.shape[1]
    sum_type, v_type = (np.int32 if len(s) == 2 * len(tiles) else np.int64 for s in (segments, v_segments))
    seen_type = np.int32 if converted else sum_type
    total_type = seen_type if converted or len(tiles) == 1 else np.int64
    dac = (
        np.float32(0.0 if crossbar.input_top is None else crossbar.input_top),
        np.float32(limit),
        shape.padding,
        shape.bias,
    )
    keys = np.uint64(crossbar.key[0]), np.uint64(crossbar.key[1])
    adc = converted, float(crossbar.adc_gain or 0.0), float(adc_limit), *keys
    scale, offset = norm if norm is not None else (crossbar.unit, crossbar.unit)
    digital = crossbar.columns, crossbar.unit, norm is not None, scale, offset, rectify

    def layer(x: Float32, other: Float32 | None, image: UInt64) -> tuple[Float32, Float32]:
        codes = np.zeros((2 if noisy else 1, 1, *shape.padded_shape), np.int16)
        sums = np.empty((1, len(pixel), width), sum_type)
        variance = np.empty(sums.shape, v_type) if noisy else sums
        seen = np.empty(sums.shape, seen_type) if converted else sums
        total = np.empty(sums.shape, total_type) if len(tiles) > 1 else seen
        out = np.empty((len(x), len(shape.pixel), crossbar.columns), np.float32)
        top = np.empty(len(x), np.float32)
        added = out if other is None else np.ascontiguousarray(other)
        scratch = codes, sums, variance, seen, total
        x = np.ascontiguousarray(x)
        _analog(x, image, *dac, pixel, *tile_data, *adc, *digital, other is not None, added, *scratch, top, out)
        return out, top

    return layer


@compiled
def _analog(  # type: ignore[no-untyped-def]
    x, image, input_top, limit, padding, bias, pixel,
    bounds, pair, packed, cuts, segments, noisy, v_packed, v_cuts, v_segments,
    converted, adc_gain, adc_limit, k0, k1, columns, unit, normed, scale, offset, rectify, add, other,
    codes, sums, variance, seen, total, top, out,
):  # fmt: skip
    n, _, _, channels = x.shape
    tiles = len(bounds) - 1
    flat = x.reshape(n, -1).view(np.int32)
    gain, step = np.empty(1, np.float32), np.ones(1, np.float32)
    buffer = codes[0]
    inputs = buffer.reshape(1, -1).view(np.int32)
    squares = codes[-1].reshape(1, -1)
    square_pairs = squares.view(np.int32)
    for i in range(n):
        _largest(flat[i : i + 1], top[i : i + 1].view(np.int32))
        full = top[i]
        if input_top > 0:
            full = input_top
        elif bias:
            full = max(full, np.float32(1))
        silent = full < SMALLEST_INPUT
        gain[0] = np.float32(0) if silent else limit / full
        if not converted:
            step[0] = np.float32(0) if silent else full / limit
        _to_codes(x[i : i + 1], gain, limit, padding, buffer)
        if bias:
            buffer[:, :, :, channels] = np.int16(min(np.rint(gain[0]), limit))
        if noisy:
            numbers = buffer.reshape(1, -1)
            for k in range(numbers.shape[1]):
                squares[0, k] = numbers[0, k] * numbers[0, k]
        for t in range(tiles):
            rows, cut, v_cut = (
                slice(bounds[t], bounds[t + 1]),
                slice(cuts[t], cuts[t + 1]),
                slice(v_cuts[t], v_cuts[t + 1]),
            )
            _accumulate(inputs, pixel, pair[rows], packed[rows], segments[cut], sums)
            if noisy:
                _accumulate(square_pairs, pixel, pair[rows], v_packed[rows], v_segments[v_cut], variance)
                address = image[i : i + 1]
                _digitise_noisy(sums, variance, columns, k0, k1, np.uint64(t), address, adc_gain, adc_limit, seen)
            elif converted:
                _digitise(sums, adc_gain, adc_limit, seen)
            if tiles > 1:
                _add(seen[0], t == 0, total[0])
        one = slice(i, i + 1)
        _finish(total, step, unit, normed, scale, offset, add, other[one], rectify, out[one])


@compiled
def _add(seen, first, total):  # type: ignore[no-untyped-def]
    pixels, columns = seen.shape
    for p in range(pixels):
        for c in range(columns):
            total[p, c] = seen[p, c] if first else total[p, c] + seen[p, c]


def floats(
    shape: Geometry, matrix: Float32, columns: int, norm: tuple[Float32, Float32] | None, rectify: bool
) -> Floats:
    """Return a layer of the digital baseline in one call.

    Parameters
    ----------
    shape : Geometry
    matrix : float32, shape (rows, at least columns)
        Filled up with zero columns to a multiple of 16.
    columns : int
    norm, rectify
        As for `analog`.
    """
    pixel, segment, one = _filled(shape.pixel), np.array([0, len(shape.row)]), np.ones(columns, np.float32)
    scale, offset = norm if norm is not None else (one, one)
    digital = one, norm is not None, scale, offset, rectify

    def layer(x: Float32, other: Float32 | None, image: UInt64) -> Float32:
        buffer = np.zeros((1, *shape.padded_shape), np.float32)
        if shape.bias:
            buffer[..., shape.channels] = 1
        sums = np.empty((1, len(pixel), matrix.shape[1]), np.float32)
        out = np.empty((len(x), len(shape.pixel), columns), np.float32)
        added = out if other is None else np.ascontiguousarray(other)
        x = np.ascontiguousarray(x)
        _floats(
            x, shape.padding, pixel, shape.row, matrix, segment, *digital, other is not None, added, buffer, sums, out
        )
        return out

    return layer


@compiled
def _floats(  # type: ignore[no-untyped-def]
    x, padding, pixel, row, matrix, segment, unit, normed, scale, offset, rectify, add, other, buffer, sums, out
):  # fmt: skip
    n, height, width, channels = x.shape
    inputs = buffer.reshape(1, -1)
    for i in range(n):
        for y in range(height):
            for z in range(width):
                for c in range(channels):
                    buffer[0, y + padding, z + padding, c] = x[i, y, z, c]
        _accumulate(inputs, pixel, row, matrix, segment, sums)
        one = slice(i, i + 1)
        _finish(sums, unit[:1], unit, normed, scale, offset, add, other[one], rectify, out[one])


def _filled(pixel: Int64) -> Int64:
    """Return `pixel`, its last one repeated up to a whole number of register blocks."""
    return np.append(pixel, np.full(-len(pixel) % BLOCK_1, pixel[-1]))


def _joined(matrices: list[Any]) -> tuple[Any, Int64, Int64]:
    """Return the rows of all tiles, where the segments of each begin, and the segments."""
    packed = np.concatenate([matrix.packed.reshape(len(matrix.packed), -1) for matrix in matrices])
    cuts = np.cumsum([0, *(len(matrix.segment) for matrix in matrices)])
    return packed, cuts, np.concatenate([matrix.segment for matrix in matrices])
