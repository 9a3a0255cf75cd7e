"""The kernels in plain NumPy, the stages of SPEC.md, section 8: the fast ones in ``fast/`` equal them bit for bit.

`weight_words` and `normals` are those of ``draws.py``; `ln`, `exp` and `power` those of ``elementary.py``.
`accumulate_float` and `float_layer` alone agree to rounding, where they have no groups: those serve the digital
baseline only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.codes import bit_planes, dac_codes, dac_gain, polarities
from pcmref.arithmetic.conversion import add_read_noise, compare, digitise, digitise_noisy, hold
from pcmref.arithmetic.draws import normals, weight_words
from pcmref.arithmetic.elementary import exp, ln, power
from pcmref.arithmetic.operands import SQUARE_BITS, AnalogLayer, Dac, Digital, LayerCall, Window, filled_columns
from pcmref.arithmetic.periphery import added, normalised, rectified, scaled
from pcmref.arrays import Float32, Float64, Int16, Int64, IntegerArray, Numbers, UInt64

__all__ = [
    "accumulate",
    "accumulate_float",
    "accumulate_squares",
    "add_read_noise",
    "analog_layer",
    "compare",
    "digitise",
    "digitise_noisy",
    "drive",
    "exp",
    "finish",
    "float_layer",
    "hold",
    "ln",
    "load_codes",
    "moments",
    "normals",
    "phases",
    "power",
    "weight_words",
]


def load_codes(vectors: IntegerArray, dac: Dac, driven: Int16) -> int:
    """Put vectors of codes, as they drive their rows, into a buffer, if all are codes of the DAC.

    Parameters
    ----------
    vectors : integers, shape (n, rows)
    dac : Dac
    driven : int16, shape (at least n, at least rows)
        The buffer.

    Returns
    -------
    int
        Position of the first code that is out of range, in the order of memory; -1 if there is none.
    """
    bad = np.flatnonzero((vectors < dac.low) | (vectors > dac.high))
    if len(bad):
        return int(bad[0])
    driven[: len(vectors), : vectors.shape[1]] = vectors.astype(np.int64) + dac.offset
    return -1


def drive(x: Float32, window: Window, dac: Dac) -> tuple[Int16, Float32, Float32]:
    """Convert activations to DAC codes, and to what drives the rows, in a padded buffer.

    Parameters
    ----------
    x : float32, shape (n, height, width, channels)
    window : Window
    dac : Dac

    Returns
    -------
    driven : int16, shape (n, window.height, window.width, window.channels)
        Codes plus the DAC's offset.  Padding has code 0; channels beyond those of x, but for the constant of a bias,
        too.
    step : float32, shape (n,)
        Activation that one code stands for.
    top : float32, shape (n,)
        Largest size of an element of each image; where it is not finite, codes mean nothing.
    """
    n, _, _, channels = x.shape
    top = np.abs(x.reshape(n, -1)).max(axis=1)
    full = np.full(n, dac.top) if dac.top > 0 else np.maximum(top, np.float32(1)) if window.bias else top
    low, high = int(dac.low), int(dac.high)
    gain, step = dac_gain(full, high)
    codes = np.zeros((n, window.height, window.width, window.channels), np.int16)
    with np.errstate(invalid="ignore"):  # said by `top`
        _inside(codes, x, window)[...] = dac_codes(x, gain[:, None, None, None], low, high)
    if window.bias:
        codes[..., channels] = dac_codes(np.float32(1), gain, low, high)[:, None, None]
    codes += np.int16(dac.offset)
    return codes, step, top


def _inside(buffer: npt.NDArray[Any], x: Float32, window: Window) -> npt.NDArray[Any]:
    """Return the part of padded buffers where the inputs go."""
    _, height, width, channels = x.shape
    return buffer[:, window.top : window.top + height, window.left : window.left + width, :channels]


def phases(driven: Int16, dac: Dac) -> Int16:
    """Return what drives the rows in each phase of a product, shape (phases, ...)."""
    if dac.serial:
        return bit_planes(driven, dac.phases)
    return polarities(driven) if dac.phases == 2 else driven[None]


def accumulate(codes: Int16, pixel: Int64, pair: Int64, packed: Int16, segment: Int64) -> Int64:
    """Sum codes times conductance codes, exactly.

    Parameters
    ----------
    codes : int16, shape (n, ...)
        DAC codes in padded buffers of even size.
    pixel : int64, shape (pixels,)
        Offset of each output pixel in the buffer, in pairs, or in numbers with groups; a multiple of `operands.PIXELS`
        of them.
    pair : int64, shape (pairs,), or (rows, groups)
        Offset, relative to a pixel, of each pair of neighbouring inputs; or of the input of each row in each group.
    packed : int16, shape (panels, pairs, `operands.LANES`, 2), or (rows, groups, columns of a group)
        Conductance (or variance) codes of each pair of inputs, in panels of columns; or of each row.
    segment : int64, shape (segments + 1,)
        Bounds of parts of the pairs or rows whose sums fit 32 bits; used by the fast kernel only.

    Returns
    -------
    int64, shape (n, pixels, columns)
        The fast kernel may return int32 where the sum fits.
    """
    del segment
    if pair.ndim == 2:
        return _grouped(codes, pixel, pair, packed, np.int64)
    offset = 2 * pixel[:, None] + (2 * pair[:, None] + np.arange(2)).reshape(-1)
    matrix = packed.transpose(1, 3, 0, 2).reshape(2 * len(pair), -1).astype(np.float64)
    sums = np.empty((len(codes), len(pixel), matrix.shape[1]), np.int64)
    for image, total in zip(codes.reshape(len(codes), -1), sums, strict=True):
        # integers below 2**53 all the way: 2**15 * 2**15 * rows < 2**53 for fewer than 2**23 rows
        total[...] = image[offset].astype(np.float64) @ matrix
    return sums


def _grouped(
    x: npt.NDArray[Any], pixel: Int64, offset: Int64, matrix: npt.NDArray[Any], kind: type[np.generic]
) -> npt.NDArray[Any]:
    """Sum inputs times weights row after row from 0 on, each group of columns with its own inputs."""
    rows, groups, each = matrix.shape
    sums, flat = np.zeros((len(x), len(pixel), groups, each), kind), x.reshape(len(x), -1)
    for row in range(rows):
        sums += flat[:, pixel[:, None] + offset[row], None].astype(kind) * matrix[row].astype(kind)
    filling = filled_columns(groups * each) - groups * each
    return np.pad(sums.reshape(len(x), len(pixel), -1), ((0, 0), (0, 0), (0, filling)))


def accumulate_squares(codes: Int16, pixel: Int64, pair: Int64, packed: Int16, segment: Int64, split: bool) -> Int64:
    """Sum squared codes times variance codes, exactly; parameters and result as of `accumulate`.

    With `split` a square of up to 30 bits is multiplied in two parts of 15; otherwise it has at most 15.
    """
    squares = codes.astype(np.int32) ** 2
    low, high = squares & ((1 << SQUARE_BITS) - 1), squares >> SQUARE_BITS
    sums = accumulate(low.astype(np.int16), pixel, pair, packed, segment)
    if split:
        sums += accumulate(high.astype(np.int16), pixel, pair, packed, segment) << SQUARE_BITS
    return sums


def accumulate_float(x: Float32, pixel: Int64, row: Int64, matrix: Float32) -> Float32:
    """Sum float32 inputs times weights, for the digital baseline.

    Parameters
    ----------
    x : float32, shape (n, ...)
        Padded buffers.
    pixel : int64, shape (pixels,)
        A multiple of `operands.PIXELS` of them.
    row : int64, shape (rows,), or (rows, groups)
    matrix : float32, shape (panels, rows, `operands.LANES`), or (rows, groups, columns of a group)

    Returns
    -------
    float32, shape (n, pixels, columns)
        With groups, one or more, exactly so: from 0 on in the order of the rows, each product and each sum rounded.
        Otherwise the order is free.
    """
    if row.ndim == 2:
        return _grouped(x, pixel, row, matrix, np.float32)
    whole = matrix.swapaxes(0, 1).reshape(len(row), -1)
    return np.asarray(x.reshape(len(x), -1)[:, pixel[:, None] + row] @ whole)


def finish(sums: Numbers, step: Float32, digital: Digital, other: Float32 | None) -> Float32:
    """Turn output codes into activations: digital scale, batch normalisation, residual, ReLU, in this order.

    Parameters
    ----------
    sums : int64, int32 or float32, shape (n, pixels, at least columns)
    step : float32, shape (n,)
    digital : Digital
    other : float32, shape (n, pixels, columns), or None
        The residual.

    Returns
    -------
    float32, shape (n, pixels, columns)
    """
    y = scaled(sums[..., : len(digital.unit)], step[:, None, None] * digital.unit)
    y = normalised(y, digital.scale, digital.offset)
    if other is not None:
        y = added(y, other)
    return rectified(y) if digital.rectify else y


def analog_layer(layer: AnalogLayer, digital: Digital) -> LayerCall:
    """Return what takes batches through a layer of a chip: DAC, tiles, read noise, ADC, and what follows digitally."""
    window, tiles, conversions, noise = layer.window, layer.tiles, layer.conversions, layer.noise

    def compute(x: Float32, other: Float32 | None, image: UInt64) -> tuple[Float32, int, int]:
        driven, step, top = drive(x, window, layer.dac)
        codes, columns, beyond = phases(driven, layer.dac), tiles.columns, np.zeros(len(x), np.bool_)
        total = np.zeros((len(x), window.pixels, columns), np.int64)
        for number, (tile, phase, weight, zero) in enumerate(zip(*conversions, strict=True)):
            sums = accumulate(codes[phase], window.pixel, *tiles.matrix(tile, tiles.conductance))[:, : window.pixels]
            if noise is not None:
                operands = tiles.matrix(tile, tiles.variance)
                variance = accumulate_squares(codes[phase], window.pixel, *operands, noise.split)[:, : window.pixels]
                sums = add_read_noise(sums, variance, columns, noise, number, image)
            sums = sums[..., :columns]
            if layer.register is not None:
                held = hold(sums, layer.register)
                beyond |= (held != sums).any(axis=(1, 2))
                sums = held
            if layer.adc is not None:
                sums = digitise(sums, columns, layer.adc, number)
            elif layer.table is not None:
                sums = compare(sums, columns, layer.table, number)
            total += weight * (sums - zero)
        digital_step = step if layer.adc is None and layer.table is None else np.ones_like(step)
        return finish(total, digital_step, digital, other), _first(~np.isfinite(top)), _first(beyond)

    return compute


def _first(which: npt.NDArray[np.bool_]) -> int:
    """Return the position of the first that is true; -1 if none is."""
    return int(np.argmax(which)) if which.any() else -1


def float_layer(
    x: Float32, other: Float32 | None, window: Window, row: Int64, matrix: Float32, digital: Digital
) -> Float32:
    """Take a batch through a layer of the digital baseline.

    Parameters
    ----------
    x : float32, shape (n, height, width, channels)
    other : float32, shape (n, pixels, columns), or None
        The residual.
    digital : Digital
    window : Window
    row : int64, shape (rows,), or (rows, groups)
        Offset of each row relative to a pixel, in numbers.
    matrix : float32, shape (panels, rows, `operands.LANES`), or (rows, groups, columns of a group)
        As for `accumulate_float`.

    Returns
    -------
    float32, shape (n, pixels, columns)
    """
    n = len(x)
    padded = np.zeros((n, window.height, window.width, window.channels), np.float32)
    _inside(padded, x, window)[...] = x
    if window.bias:
        padded[..., x.shape[-1]] = 1
    sums = accumulate_float(padded, window.pixel, row, matrix)[:, : window.pixels]
    return finish(sums, np.ones(n, np.float32), digital, other)


def moments(x: Float32) -> Float64:
    """Return the sums over pixels of x and x squared, in float64, one pixel after the other.

    Parameters
    ----------
    x : float32, shape (n, pixels, channels)

    Returns
    -------
    float64, shape (n, 2, channels)
    """
    exact = x.astype(np.float64)
    # accumulate adds in order; sum would be free to add pairwise
    return np.stack([np.add.accumulate(v, axis=1)[:, -1] for v in (exact, exact * exact)], axis=1)
