"""The kernels in plain NumPy: the reference that the fast ones in ``kernels.py`` equal bit for bit.

`weight_words` and `normals` are those of ``draws.py``.  ``accumulate_float`` alone, which serves only the digital
baseline, agrees to rounding.
"""

from __future__ import annotations

import numpy as np

from pcmref.arrays import Float32, Float64, Int16, Int64, UInt64
from pcmref.converters import adc_codes as digitise
from pcmref.draws import Key, normals, philox, weight_words

__all__ = [
    "accumulate",
    "accumulate_float",
    "add_read_noise",
    "digitise",
    "digitise_noisy",
    "finish",
    "largest",
    "moments",
    "normals",
    "to_codes",
    "weight_words",
]

#: Columns of packed matrices are filled up to a multiple of this with zeros: what one vector of 512 bits holds.
LANES = 16


def largest(x: Float32) -> Float32:
    """Return the largest size of an element of each image, shape ``(n,)``, for `x` of shape ``(n, ...)``."""
    return np.asarray(np.abs(x.reshape(len(x), -1)).max(axis=1), np.float32)


def to_codes(x: Float32, gain: Float32, limit: int, one: Int16 | None, padding: int, channels: int) -> Int16:
    """Convert activations to DAC codes in a padded buffer: ``clip(rint(x gain), -limit, limit)``.

    Parameters
    ----------
    x : float32, shape (n, height, width, c)
    gain : float32, shape (n,)
        Codes per unit of x, one an image.
    limit : int
        Largest code.
    one : int16, shape (n,), or None
        Code of the constant input 1, written to channel c of every pixel where the layer has a bias.
    padding : int
        Pixels of code 0 on each side.
    channels : int
        Channels of the buffer; those beyond c, but for the constant, are 0.

    Returns
    -------
    int16, shape (n, height + 2 padding, width + 2 padding, channels)
    """
    n, height, width, c = x.shape
    codes = np.zeros((n, height + 2 * padding, width + 2 * padding, channels), np.int16)
    inside = codes[:, padding : padding + height, padding : padding + width, :c]
    inside[...] = np.clip(np.rint(x * gain[:, None, None, None]), -limit, limit)
    if one is not None:
        codes[..., c] = one[:, None, None]
    return codes


def accumulate(codes: Int16, pixel: Int64, pair: Int64, packed: Int16, segment: Int64) -> Int64:
    """Sum codes times conductance codes, exactly.

    Parameters
    ----------
    codes : int16, shape (n, ...)
        DAC codes (or parts of their squares) in padded buffers of even size.
    pixel : int64, shape (pixels,)
        Offset of each output pixel in the buffer; even.
    pair : int64, shape (pairs,)
        Half the offset, relative to a pixel, of each pair of neighbouring inputs.
    packed : int16, shape (pairs, columns, 2)
        Conductance (or variance) codes of each pair of inputs; columns is a multiple of 16.
    segment : int64, shape (segments + 1,)
        Bounds of groups of pairs whose sums fit 32 bits; used by the fast kernel only.

    Returns
    -------
    int64, shape (n, pixels, columns)
        The fast kernel may return int32 where the sum fits.
    """
    del segment
    pairs, columns, _ = packed.shape
    offset = pixel[:, None] + (2 * pair[:, None] + np.arange(2)).reshape(-1)
    matrix = packed.transpose(0, 2, 1).reshape(2 * pairs, columns).astype(np.float64)
    sums = np.empty((len(codes), len(pixel), columns), np.int64)
    for image, total in zip(codes.reshape(len(codes), -1), sums, strict=True):
        # integers below 2**53 all the way: 2**15 * 2**15 * rows < 2**53 for fewer than 2**23 rows
        total[...] = image[offset].astype(np.float64) @ matrix
    return sums


def accumulate_float(x: Float32, pixel: Int64, row: Int64, matrix: Float32) -> Float32:
    """Sum float32 inputs times weights, for the digital baseline.

    Parameters
    ----------
    x : float32, shape (n, ...)
        Padded buffers.
    pixel : int64, shape (pixels,)
    row : int64, shape (rows,)
    matrix : float32, shape (rows, columns)
        Columns is a multiple of 16.

    Returns
    -------
    float32, shape (n, pixels, columns)
    """
    return x.reshape(len(x), -1)[:, pixel[:, None] + row] @ matrix


def add_read_noise(sums: Int64, variance: Int64, columns: int, key: Key, tile: int, image: UInt64) -> Int64:
    """Add fresh read noise to the sums of a tile: ``sum + rint(z sqrt(64 variance))``.

    Parameters
    ----------
    sums, variance : int64 or int32, shape (n, pixels, at least columns)
        Sums of codes times conductance codes, and of squared codes times variance codes.
    columns : int
        How many columns the layer has.
    key : (int, int)
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
    counter = np.zeros((n, -(-pixels * columns // 4), 4), np.uint32)
    counter[..., 0] = np.arange(counter.shape[1])
    counter[..., 1] = tile
    counter[..., 2] = (image & np.uint64(0xFFFFFFFF))[:, None]
    counter[..., 3] = (image >> np.uint64(32))[:, None]
    z = normals(philox(counter, key).reshape(n, -1)[:, : pixels * columns]).reshape(n, pixels, columns)
    noise = np.rint(z * np.sqrt(64.0 * variance[..., :columns]))
    return sums[..., :columns].astype(np.int64) + noise.astype(np.int64)


def digitise_noisy(
    sums: Int64, variance: Int64, columns: int, key: Key, tile: int, image: UInt64, gain: float, bits: int
) -> Int64:
    """Convert sums with fresh read noise to ADC codes: `digitise` of what `add_read_noise` gives.

    The noisy sums themselves are not handed out, so that a fast kernel need not make them.  Parameters as there; the
    last axis of `sums` and `variance` is a multiple of 16.
    """
    return digitise(add_read_noise(sums, variance, columns, key, tile, image), gain, bits)


def finish(
    sums: Int64,
    step: Float32,
    unit: Float32,
    norm: tuple[Float32, Float32] | None,
    other: Float32 | None,
    rectify: bool,
) -> Float32:
    """Turn output codes into activations: digital scale, batch normalisation, residual, ReLU.

    ``y = float32(sum) (step unit)``, then ``y scale + offset``, ``y + other`` and ``0 if y <= 0 else y``, each
    operation rounded to float32.

    Parameters
    ----------
    sums : int64, int32 or float32, shape (n, pixels, at least columns)
    step : float32, shape (n,)
    unit : float32, shape (columns,)
    norm : (scale, offset), float32, each of shape (columns,), or None
    other : float32, shape (n, pixels, columns), or None
    rectify : bool

    Returns
    -------
    float32, shape (n, pixels, columns)
    """
    y = sums[..., : len(unit)].astype(np.float32) * (step[:, None, None] * unit)
    if norm is not None:
        y = y * norm[0] + norm[1]
    if other is not None:
        y = y + other
    # the larger of -0 and 0 may be either; the sum is +0
    return np.maximum(y, np.float32(0)) + np.float32(0) if rectify else y


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
