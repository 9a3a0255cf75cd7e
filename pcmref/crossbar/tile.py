"""One tile: DAC codes in, every stage of a product out, as plain integers; SPEC.md, section 8.

It needs no network: conductance codes, a readout, and the addresses of the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.codes import CODE_LIMIT, largest_code
from pcmref.arithmetic.draws import Key
from pcmref.arithmetic.operands import PIXELS, Adc, Noise, Tiles
from pcmref.arrays import Int16, Int64, IntegerArray, UInt64, read_only
from pcmref.crossbar.layout import is_split, lay_out
from pcmref.crossbar.readout import Readout
from pcmref.devices.chip import SnapshotLayer
from pcmref.errors import ParameterError, describe, instance, integer, real

__all__ = ["Tile", "TileProduct", "adc_of", "analog_sums", "converted", "noise_of", "tile"]


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
        What the ADC sees: A, with fresh read noise ``A + rint(z sqrt(64 B))``.
    codes : int64
        What the ADC makes of it, D; without an ADC, `sums`.
    """

    noise_free: Int64
    variance: Int64 | None
    sums: Int64
    codes: Int64

    def __getitem__(self, place: Any) -> TileProduct:
        """Return the same part of every stage."""
        return TileProduct(
            noise_free=self.noise_free[place],
            variance=None if self.variance is None else self.variance[place],
            sums=self.sums[place],
            codes=self.codes[place],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Tile:
    """A tile, ready to multiply: call it with DAC codes.  `tile` makes it."""

    rows: int
    columns: int
    readout: Readout
    number: int
    tiles: Tiles
    noise: Noise | None
    adc: Adc | None

    def __call__(self, codes: npt.ArrayLike, address: int | Sequence[int] | UInt64 | None = None) -> TileProduct:
        """Multiply vectors of DAC codes.

        Parameters
        ----------
        codes : integers, shape (rows,) or (n, rows)
            From ``-limit`` to ``limit`` of the readout's DAC; the code of a bias row, if any, among them.
        address : integer, or n integers, optional
            Where in the draws of fresh read noise each vector is: the image of SPEC.md, section 4, at pixel 0.  By
            default its position.

        Returns
        -------
        TileProduct
            Of shape (columns,) or (n, columns).

        Raises
        ------
        ParameterError
            If codes or addresses are of another type, shape or range.
        """
        vectors = _integers("codes", codes)
        single = vectors.ndim == 1
        if single:
            vectors = vectors[None]
        if vectors.ndim != 2 or vectors.shape[1] != self.rows:
            raise ParameterError("codes", f"integers of shape ({self.rows},) or (n, {self.rows})", _form(codes))
        count = len(vectors)
        image = _addresses(address, count)
        # the vectors are the pixels of one image in the buffer; their draws are those of the first pixel of n images
        pixels = -(-max(count, 1) // PIXELS) * PIXELS
        pairs = -(-self.rows // 2)
        buffer = np.zeros((1, pixels, 2 * pairs), np.int16)
        limit = largest_code(self.readout.dac_bits)
        if (bad := kernels().load_codes(vectors, limit, buffer[0])) >= 0:
            vector, row = divmod(bad, self.rows)
            found = f"{vectors[vector, row]} at {[row] if single else [vector, row]}"
            raise ParameterError("codes", f"integers from {-limit} to {limit}", found)
        pixel = np.arange(0, pixels * pairs, pairs)
        sums, variances = analog_sums(buffer, pixel, self.tiles, self.noise, 0)
        noise_free = sums[0, :count, None]
        variance = None if variances is None else variances[0, :count, None]
        product = converted(noise_free, variance, self.columns, self.noise, self.adc, self.number, image)
        return product[0, 0] if single else product[:, 0]


def tile(
    devices: SnapshotLayer | npt.ArrayLike,
    readout: Readout,
    *,
    variance_code: npt.ArrayLike | None = None,
    adc_gain: float | None = None,
    stream: Key | None = None,
    number: int = 0,
) -> Tile:
    """Prepare one tile.

    Parameters
    ----------
    devices : integers, shape (rows, columns), or SnapshotLayer
        Conductance codes of the pairs, ``n(G+) - n(G-)``: r of SPEC.md, section 7, or m for fresh read noise; no more
        rows than the readout's tiles have.  Of a layer of a snapshot, the rows of tile `number` and the codes that the
        readout asks for.
    readout : Readout
        DAC and ADC bits, rows of a tile, frozen or fresh read noise.  Its ranges are those of layers; a tile has
        `adc_gain` instead.
    variance_code : integers, shape (rows, columns), optional
        ``V`` of the pairs; needed for fresh read noise where `devices` are codes.
    adc_gain : float, optional
        ADC codes per unit of the integer sum; needed where the readout has an ADC.
        `pcmref.arithmetic.codes.adc_gain` computes that of a range.
    stream : (int, int)
        Key of the stream of fresh read noise, two 32-bit words; needed for it.  `pcmref.arithmetic.draws.stream_key`
        computes that of a layer of a chip.
    number : int
        Of the tile within its layer, from 0: one word of the address of its draws.

    Returns
    -------
    Tile

    Raises
    ------
    ParameterError
        If a setting is missing, not used by the readout, or out of range.
    """
    instance("readout", readout, Readout, "pcmref.PRESETS")
    number = integer("number", number, "an integer from 0 to 2**32 - 1", 0, (1 << 32) - 1)
    fresh = readout.read_noise == "fresh"
    if isinstance(devices, SnapshotLayer):
        _expect("variance_code", variance_code, wanted=False, why="it is that of the layer")
        g_code, variance = _rows_of(devices, readout, number)
    else:
        _expect("variance_code", variance_code, wanted=fresh, why=f"read noise is {readout.read_noise}")
        g_code = _codes("devices", devices, None, -CODE_LIMIT)
        variance = None if variance_code is None else _codes("variance_code", variance_code, g_code.shape, 0)
        if len(g_code) > (readout.tile_rows or len(g_code)):
            raise ParameterError("devices", f"at most {readout.tile_rows} rows, as tiles have", str(len(g_code)))
    if fresh:
        _expect("stream", stream, wanted=True, why="read noise is fresh")
    converts = "the readout has an ADC" if readout.adc_bits is not None else "the readout has no ADC"
    _expect("adc_gain", adc_gain, wanted=readout.adc_bits is not None, why=converts)
    if adc_gain is not None:
        adc_gain = real("adc_gain", adc_gain, "a positive number", 2.0**-1022)
    limit = largest_code(readout.dac_bits)
    rows, columns = g_code.shape
    return Tile(
        rows=rows,
        columns=columns,
        readout=readout,
        number=number,
        tiles=lay_out(np.arange(rows), g_code, variance, tile_rows=rows, limit=limit),
        noise=None if stream is None else noise_of(readout, stream),
        adc=adc_of(readout, adc_gain),
    )


def noise_of(readout: Readout, stream: Key) -> Noise | None:
    """Return how fresh read noise is added, None where it is frozen; `stream` is the key of its draws."""
    expected = "two integers from 0 to 2**32 - 1"
    if not isinstance(stream, Sequence) or len(stream) != 2:
        raise ParameterError("stream", expected, describe(stream))
    k0, k1 = (np.uint64(integer("stream", word, expected, 0, (1 << 32) - 1)) for word in stream)
    if readout.read_noise == "frozen":
        return None
    return Noise(k0=k0, k1=k1, split=is_split(largest_code(readout.dac_bits)))


def adc_of(readout: Readout, gain: float | None) -> Adc | None:
    """Return how sums become codes, None where there is no ADC; `gain` is in codes per unit of the sum."""
    if readout.adc_bits is None or gain is None:
        return None
    return Adc(gain=gain, limit=float(largest_code(readout.adc_bits)))


def analog_sums(
    codes: Int16, pixel: Int64, tiles: Tiles, noise: Noise | None, number: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Return A before noise and B of one of the `tiles`; filling pixels and columns included."""
    kernel = kernels()
    sums = kernel.accumulate(codes, pixel, *tiles.matrix(number, tiles.conductance))
    if noise is None:
        return sums, None
    return sums, kernel.accumulate_squares(codes, pixel, *tiles.matrix(number, tiles.variance), noise.split)


def converted(
    noise_free: npt.NDArray[Any],
    variance: npt.NDArray[Any] | None,
    columns: int,
    noise: Noise | None,
    adc: Adc | None,
    number: int,
    image: UInt64,
) -> TileProduct:
    """Return all stages of a tile from its `analog_sums`, shape (n, pixels, at least columns)."""
    kernel = kernels()
    sums = exact = _stage(noise_free[..., :columns])
    if variance is not None:
        sums = _stage(kernel.add_read_noise(noise_free, variance, columns, noise, number, image))
    return TileProduct(
        noise_free=exact,
        variance=None if variance is None else _stage(variance[..., :columns]),
        sums=sums,
        codes=sums if adc is None else _stage(kernel.digitise(sums, adc)),
    )


def _stage(values: npt.NDArray[Any]) -> Int64:
    return read_only(values.astype(np.int64, copy=False))


def _rows_of(layer: SnapshotLayer, readout: Readout, number: int) -> tuple[Int16, Int16 | None]:
    """Return conductance and variance codes of one tile of a layer."""
    tile_rows = readout.tile_rows or layer.shape[0]
    part = slice(number * tile_rows, (number + 1) * tile_rows)
    if part.start >= layer.shape[0]:
        tiles = -(-layer.shape[0] // tile_rows)
        raise ParameterError("number", f"one of the {tiles} tiles of layer {layer.name!r}, from 0", str(number))
    if readout.read_noise == "fresh":
        return layer.mean_code[part], layer.variance_code[part]
    return layer.read_code[part], None


def _expect(name: str, value: object, *, wanted: bool, why: str) -> None:
    """Refuse a setting that is missing, or that nothing would use."""
    if (value is not None) != wanted:
        raise ParameterError(name, f"{'a value' if wanted else 'None'}, as {why}", describe(value))


def _codes(name: str, values: npt.ArrayLike, shape: tuple[int, ...] | None, least: int) -> Int16:
    """Return a matrix of codes from `least` to 32767 as int16."""
    array = _integers(name, values)
    if array.ndim != 2 or 0 in array.shape or shape not in (None, array.shape):
        form = "integers of shape (rows, columns)" if shape is None else f"integers of shape {shape}"
        raise ParameterError(name, form, _form(values))
    if (bad := (array < least) | (array > CODE_LIMIT)).any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ParameterError(name, f"integers from {least} to {CODE_LIMIT}", f"{array[place]} at {list(place)}")
    return array.astype(np.int16)


def _integers(name: str, values: npt.ArrayLike) -> IntegerArray:
    """Return an array of integers, in the byte order of the machine."""
    try:
        array = np.asarray(values)
    except ValueError:  # rows of several lengths
        array = np.empty(0)
    if array.dtype.kind not in "iu":
        raise ParameterError(name, "an array of integers", _form(values))
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder())


def _addresses(address: Any, count: int) -> UInt64:
    """Return the address of each vector."""
    if address is None:
        return np.arange(count, dtype=np.uint64)
    array = isinstance(address, np.ndarray) and address.ndim > 0
    if array and address.dtype == np.uint64 and address.shape == (count,):  # no need to look at each
        return address.copy()
    addresses = address if array or isinstance(address, Sequence) else [address]
    if len(addresses) != count:
        raise ParameterError("address", f"{count} of them", str(len(addresses)))
    expected = "integers from 0 to 2**64 - 1"
    return np.array([integer("address", a, expected, 0, (1 << 64) - 1) for a in addresses], np.uint64)


def _form(values: object) -> str:
    """Describe an array by type and shape, anything else as it is."""
    if isinstance(values, np.ndarray):
        return f"{values.dtype} of shape {values.shape}"
    return describe(values)
