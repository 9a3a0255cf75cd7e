"""The kernels in plain NumPy, the stages of SPEC.md, section 8: the fast ones in ``fast/`` equal them bit for bit.

`weight_words` and `normals` are those of ``draws.py``.  `accumulate_float` and `float_layer` alone, which serve only
the digital baseline, agree to rounding.
"""

from __future__ import annotations

import numpy as np

from pcmref.arithmetic.codes import adc_codes, dac_codes, dac_gain, read_noise
from pcmref.arithmetic.draws import normals, philox, weight_words
from pcmref.arithmetic.operands import SQUARE_BITS, Adc, AnalogLayer, Dac, Digital, Noise, Window
from pcmref.arithmetic.periphery import added, normalised, rectified, scaled
from pcmref.arrays import Float32, Float64, Int16, Int64, IntegerArray, Numbers, UInt64

__all__ = [
    "accumulate",
    "accumulate_float",
    "accumulate_squares",
    "add_read_noise",
    "analog_layer",
    "digitise",
    "digitise_noisy",
    "drive",
    "finish",
    "float_layer",
    "load_codes",
    "moments",
    "normals",
    "weight_words",
]


def load_codes(vectors: IntegerArray, limit: int, codes: Int16) -> int:
    """Put vectors of codes into a buffer, if all are from -limit to limit.

    Parameters
    ----------
    vectors : integers, shape (n, rows)
    limit : int
    codes : int16, shape (at least n, at least rows)
        The buffer.

    Returns
    -------
    int
        Position of the first code that is out of range, in the order of memory; -1 if there is none.
    """
    bad = np.flatnonzero((vectors < -limit) | (vectors > limit))
    if len(bad):
        return int(bad[0])
    codes[: len(vectors), : vectors.shape[1]] = vectors
    return -1


def drive(x: Float32, window: Window, dac: Dac) -> tuple[Int16, Float32, Float32]:
    """Convert activations to DAC codes in a padded buffer.

    Parameters
    ----------
    x : float32, shape (n, height, width, channels)
    window : Window
    dac : Dac

    Returns
    -------
    codes : int16, shape (n, window.height, window.width, window.channels)
        Padding has code 0; channels beyond those of x, but for the constant of a bias, too.
    step : float32, shape (n,)
        Activation that one code stands for.
    top : float32, shape (n,)
        Largest size of an element of each image; where it is not finite, codes mean nothing.
    """
    n, height, width, channels = x.shape
    top = np.abs(x.reshape(n, -1)).max(axis=1)
    full = np.full(n, dac.top) if dac.top > 0 else np.maximum(top, np.float32(1)) if window.bias else top
    limit = int(dac.limit)
    gain, step = dac_gain(full, limit)
    codes = np.zeros((n, window.height, window.width, window.channels), np.int16)
    rows, columns = (slice(window.padding, window.padding + size) for size in (height, width))
    with np.errstate(invalid="ignore"):  # said by `top`
        codes[:, rows, columns, :channels] = dac_codes(x, gain[:, None, None, None], limit)
    if window.bias:
        codes[..., channels] = dac_codes(np.float32(1), gain, limit)[:, None, None]
    return codes, step, top


def accumulate(codes: Int16, pixel: Int64, pair: Int64, packed: Int16, segment: Int64) -> Int64:
    """Sum codes times conductance codes, exactly.

    Parameters
    ----------
    codes : int16, shape (n, ...)
        DAC codes in padded buffers of even size.
    pixel : int64, shape (pixels,)
        Offset of each output pixel in the buffer, in pairs; a multiple of `operands.PIXELS` of them.
    pair : int64, shape (pairs,)
        Offset, relative to a pixel, of each pair of neighbouring inputs.
    packed : int16, shape (pairs, columns, 2)
        Conductance (or variance) codes of each pair of inputs; columns is a multiple of `operands.LANES`.
    segment : int64, shape (segments + 1,)
        Bounds of groups of pairs whose sums fit 32 bits; used by the fast kernel only.

    Returns
    -------
    int64, shape (n, pixels, columns)
        The fast kernel may return int32 where the sum fits.
    """
    del segment
    pairs, columns, _ = packed.shape
    offset = 2 * pixel[:, None] + (2 * pair[:, None] + np.arange(2)).reshape(-1)
    matrix = packed.transpose(0, 2, 1).reshape(2 * pairs, columns).astype(np.float64)
    sums = np.empty((len(codes), len(pixel), columns), np.int64)
    for image, total in zip(codes.reshape(len(codes), -1), sums, strict=True):
        # integers below 2**53 all the way: 2**15 * 2**15 * rows < 2**53 for fewer than 2**23 rows
        total[...] = image[offset].astype(np.float64) @ matrix
    return sums


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
    row : int64, shape (rows,)
    matrix : float32, shape (rows, columns)
        Columns is a multiple of `operands.LANES`.

    Returns
    -------
    float32, shape (n, pixels, columns)
    """
    return x.reshape(len(x), -1)[:, pixel[:, None] + row] @ matrix


def add_read_noise(sums: Int64, variance: Int64, columns: int, noise: Noise, tile: int, image: UInt64) -> Int64:
    """Add fresh read noise to the sums of a tile.

    Parameters
    ----------
    sums, variance : int64 or int32, shape (n, pixels, at least columns)
        Sums of codes times conductance codes, and of squared codes times variance codes.
    columns : int
        How many columns the layer has.
    noise : Noise
        The stream of the layer.  Output ``pixel * columns + column`` takes word ``output % 4`` of the block at
        counter ``(output // 4, tile, image low, image high)``.
    tile : int
    image : uint64, shape (n,)
        Address of each image.

    Returns
    -------
    int64, shape (n, pixels, columns)
    """
    n, pixels, _ = sums.shape
    blocks = -(-pixels * columns // 4)
    counter = np.zeros((n, blocks, 4), np.uint32)
    counter[..., 0] = np.arange(blocks)
    counter[..., 1] = tile
    counter[..., 2] = (image & np.uint64(0xFFFFFFFF))[:, None]
    counter[..., 3] = (image >> np.uint64(32))[:, None]
    words = philox(counter, (int(noise.k0), int(noise.k1))).reshape(n, 4 * blocks)[:, : pixels * columns]
    z = normals(words).reshape(n, pixels, columns)
    return sums[..., :columns].astype(np.int64) + read_noise(z, variance[..., :columns])


def digitise(sums: Int64, adc: Adc) -> Int64:
    """Convert sums of any shape to ADC codes."""
    return adc_codes(sums, adc.gain, adc.limit)


def digitise_noisy(
    sums: Int64, variance: Int64, columns: int, noise: Noise, tile: int, image: UInt64, adc: Adc
) -> Int64:
    """Convert sums with fresh read noise to ADC codes: `digitise` of what `add_read_noise` gives.

    The noisy sums themselves are not handed out, so that a fast kernel need not make them.  Parameters as there; the
    last axis of `sums` and `variance` is a multiple of `operands.LANES`.
    """
    return digitise(add_read_noise(sums, variance, columns, noise, tile, image), adc)


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
    if digital.normed:
        y = normalised(y, digital.scale, digital.offset)
    if other is not None:
        y = added(y, other)
    return rectified(y) if digital.rectify else y


def analog_layer(
    x: Float32, other: Float32 | None, image: UInt64, layer: AnalogLayer, digital: Digital
) -> tuple[Float32, Float32]:
    """Take a batch through a layer of a chip: DAC, tiles, read noise, ADC, and what follows digitally.

    Parameters
    ----------
    x : float32, shape (n, height, width, channels)
    other : float32, shape (n, pixels, columns), or None
        The residual.
    image : uint64, shape (n,)
        Address of each image in the draws of fresh read noise.
    layer : AnalogLayer
    digital : Digital

    Returns
    -------
    activations : float32, shape (n, pixels, columns)
    top : float32, shape (n,)
        Largest size of an input of each image; where it is not finite, so are not the activations.
    """
    window, tiles, noise, adc = layer.window, layer.tiles, layer.noise, layer.adc
    codes, step, top = drive(x, window, layer.dac)
    total = np.zeros((len(x), window.pixels, tiles.columns), np.int64)
    for number in range(len(tiles.bound) - 1):
        sums = accumulate(codes, window.pixel, *tiles.matrix(number, tiles.conductance))[:, : window.pixels]
        if noise is not None:
            operands = tiles.matrix(number, tiles.variance)
            variance = accumulate_squares(codes, window.pixel, *operands, noise.split)[:, : window.pixels]
            sums = add_read_noise(sums, variance, tiles.columns, noise, number, image)
        total += digitise(sums[..., : tiles.columns], adc) if adc is not None else sums[..., : tiles.columns]
    return finish(total, np.ones_like(step) if adc is not None else step, digital, other), top


def float_layer(
    x: Float32, other: Float32 | None, window: Window, row: Int64, matrix: Float32, digital: Digital
) -> Float32:
    """Take a batch through a layer of the digital baseline.

    Parameters
    ----------
    x, other, digital
        As for `analog_layer`.
    window : Window
    row : int64, shape (rows,)
        Offset of each row relative to a pixel, in numbers.
    matrix : float32, shape (rows, columns)
        Columns is a multiple of `operands.LANES`.

    Returns
    -------
    float32, shape (n, pixels, columns)
    """
    n, height, width, channels = x.shape
    padded = np.zeros((n, window.height, window.width, window.channels), np.float32)
    rows, columns = (slice(window.padding, window.padding + size) for size in (height, width))
    padded[:, rows, columns, :channels] = x
    if window.bias:
        padded[..., channels] = 1
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
