"""The stages of a product, conversion by conversion, and what they add up to; SPEC.md, section 8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.operands import Tiles
from pcmref.arrays import Int16, Int64, UInt64, read_only
from pcmref.crossbar.wiring import Chain
from pcmref.errors import PcmrefError

__all__ = ["TileProduct", "analog_sums", "combined", "converted"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TileProduct:
    """The stages of one tile: int64, in arrays that cannot be written to.

    Their shape is (n, columns) or, for a single vector, (columns,); in the trace of a layer (n, pixels, columns).

    Parameters
    ----------
    noise_free : int64
        ``A = sum of code g_code`` over the tile's rows.
    variance : int64, optional
        ``B = sum of code^2 V``; None unless read noise is fresh.
    sums : int64
        What the ADC sees: A, with fresh read noise ``A + rint(z sqrt(64 B))``, as the register holds it.
    codes : int64
        What the ADC makes of it, D; without an ADC, `sums`.
    parts : tuple of TileProduct
        The conversions, where there are several (phases, lines) or an offset of the DAC is taken off; then the stages
        of the tile are theirs less those of an input of zeros, each times its weight, added up.
    """

    noise_free: Int64
    variance: Int64 | None
    sums: Int64
    codes: Int64
    parts: tuple[TileProduct, ...] = ()

    def __getitem__(self, place: Any) -> TileProduct:
        """Return the same part of every stage."""
        return TileProduct(
            noise_free=self.noise_free[place],
            variance=None if self.variance is None else self.variance[place],
            sums=self.sums[place],
            codes=self.codes[place],
            parts=tuple(part[place] for part in self.parts),
        )


def analog_sums(
    codes: Int16, pixel: Int64, tiles: Tiles, chain: Chain, number: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Return A before noise and B of a conversion; filling pixels and columns included.

    Parameters
    ----------
    codes : int16, shape (phases, n, ...)
        What drives the rows.
    pixel : int64, shape (pixels,)
    tiles : Tiles
    chain : Chain
    number : int
        Of the conversion.
    """
    kernel, tile = kernels(), int(chain.conversions.tile[number])
    driven = codes[chain.conversions.phase[number]]
    sums = kernel.accumulate(driven, pixel, *tiles.matrix(tile, tiles.conductance))
    if chain.noise is None:
        return sums, None
    return sums, kernel.accumulate_squares(driven, pixel, *tiles.matrix(tile, tiles.variance), chain.noise.split)


def converted(
    noise_free: npt.NDArray[Any],
    variance: npt.NDArray[Any] | None,
    columns: int,
    chain: Chain,
    number: int,
    image: UInt64,
    *,
    draw: int | None = None,
) -> TileProduct:
    """Return all stages of a conversion from its `analog_sums`, shape (n, pixels, at least columns).

    Parameters
    ----------
    draw : int, optional
        Number of the conversion in the draws of read noise, where that is another.

    Raises
    ------
    PcmrefError
        If the register cannot hold a sum, and that is an error.
    """
    kernel = kernels()
    sums = exact = _stage(noise_free[..., :columns])
    if variance is not None:
        drawn = number if draw is None else draw
        sums = _stage(kernel.add_read_noise(noise_free, variance, columns, chain.noise, drawn, image))
    if chain.register is not None:
        held = _stage(kernel.hold(sums, chain.register))
        if chain.register.refuses and (beyond := np.argwhere(held != sums)).size:
            place = tuple(beyond[0])
            raise PcmrefError(
                "accumulator", f"sums of {chain.register.bits} bits", f"{sums[place]} for image {image[place[0]]}"
            )
        sums = held
    codes = sums
    if chain.adc is not None:
        codes = _stage(kernel.digitise(sums, columns, chain.adc, number))
    elif chain.table is not None:
        codes = _stage(kernel.compare(sums, columns, chain.table, number))
    return TileProduct(
        noise_free=exact, variance=None if variance is None else _stage(variance[..., :columns]), sums=sums, codes=codes
    )


def combined(parts: Sequence[TileProduct], chain: Chain, first: int = 0) -> TileProduct:
    """Return the stages of a tile from those of its conversions, which are number `first` of the chain and so on."""
    numbers = range(first, first + len(parts))
    weight, zero = chain.conversions.weight, chain.conversions.zero
    register = chain.register
    held = chain.zero_sums if register is None else kernels().hold(chain.zero_sums, register)
    idle = chain.zero_sums[first].any() or zero[first].any()
    if len(parts) == 1 and weight[first] == 1 and not idle:
        return parts[0]

    def total(stage: str, taken_off: Int64) -> Int64:
        values = (weight[n] * (getattr(part, stage) - taken_off[n]) for n, part in zip(numbers, parts, strict=True))
        return read_only(np.sum(list(values), axis=0))

    variance = None
    if parts[0].variance is not None:
        squares = (int(weight[n]) ** 2 * np.asarray(p.variance) for n, p in zip(numbers, parts, strict=True))
        variance = read_only(np.sum(list(squares), axis=0))
    return TileProduct(
        noise_free=total("noise_free", chain.zero_sums),
        variance=variance,
        sums=total("sums", held),
        codes=total("codes", zero),
        parts=tuple(parts),
    )


def _stage(values: npt.NDArray[Any]) -> Int64:
    return read_only(values.astype(np.int64, copy=False))
