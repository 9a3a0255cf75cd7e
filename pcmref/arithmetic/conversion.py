"""From the sum of a column to its code, in plain NumPy: read noise, register and ADC; SPEC.md, section 8."""

from __future__ import annotations

import numpy as np

from pcmref.arithmetic.codes import ROUNDINGS, adc_codes, limited, read_noise, table_codes
from pcmref.arithmetic.draws import normals, philox
from pcmref.arithmetic.operands import Adc, Noise, Register, Table
from pcmref.arrays import Int64, UInt64

__all__ = ["add_read_noise", "compare", "digitise", "digitise_noisy", "hold"]


def add_read_noise(sums: Int64, variance: Int64, columns: int, noise: Noise, number: int, image: UInt64) -> Int64:
    """Add fresh read noise to the sums of a tile.

    Parameters
    ----------
    sums, variance : int64 or int32, shape (n, pixels, at least columns)
        Sums of codes times conductance codes, and of squared codes times variance codes.
    columns : int
        How many columns the layer has.
    noise : Noise
        The stream of the layer.  Output ``pixel * columns + column`` takes word ``output % 4`` of the block at
        counter ``(output // 4, number, image low, image high)``.
    number : int
        Of the conversion.
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
    counter[..., 1] = number
    counter[..., 2] = (image & np.uint64(0xFFFFFFFF))[:, None]
    counter[..., 3] = (image >> np.uint64(32))[:, None]
    words = philox(counter, (int(noise.k0), int(noise.k1))).reshape(n, 4 * blocks)[:, : pixels * columns]
    z = normals(words).reshape(n, pixels, columns)
    return sums[..., :columns].astype(np.int64) + read_noise(z, variance[..., :columns])


def hold(sums: Int64, register: Register) -> Int64:
    """Return what the register before the ADC holds of sums of any shape."""
    return limited(sums.astype(np.int64), register.bits, register.saturates)


def digitise(sums: Int64, columns: int, adc: Adc, number: int) -> Int64:
    """Convert sums to ADC codes.

    Parameters
    ----------
    sums : integers, shape (..., at least columns)
    columns : int
        How many columns the layer has.
    adc : Adc
    number : int
        Of the conversion.

    Returns
    -------
    int64, shape (..., columns)
    """
    gain, offset = adc.gain[number, :columns], adc.offset[number, :columns]
    return adc_codes(sums[..., :columns], gain, offset, adc.low, adc.high, ROUNDINGS[adc.rounding])


def compare(sums: Int64, columns: int, table: Table, number: int) -> Int64:
    """Convert sums to ADC codes by thresholds; parameters and result as of `digitise`."""
    return table_codes(sums[..., :columns], table.thresholds[number], table.low)


def digitise_noisy(
    sums: Int64, variance: Int64, columns: int, noise: Noise, number: int, image: UInt64, adc: Adc
) -> Int64:
    """Convert sums with fresh read noise to ADC codes: `digitise` of what `add_read_noise` gives.

    The noisy sums themselves are not handed out, so that a fast kernel need not make them.  Parameters as there; the
    last axis of `sums` and `variance` is a multiple of `operands.LANES`.
    """
    return digitise(add_read_noise(sums, variance, columns, noise, number, image), columns, adc, number)
