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
from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.arithmetic.draws import Key, Purpose, stream_key
from pcmref.arithmetic.operands import PIXELS, Dac, Noise, Tiles
from pcmref.arrays import Float64, Int16, IntegerArray, UInt64, refuse_masked
from pcmref.crossbar.converters import Adc
from pcmref.crossbar.layout import cut, lay_out
from pcmref.crossbar.product import TileProduct, analog_sums, combined, converted
from pcmref.crossbar.readout import Readout
from pcmref.crossbar.wiring import Chain, chain_of, check_measured, codes_of, dac_of, gains_of, lsb_us, noise_of
from pcmref.devices.chip import Snapshot
from pcmref.errors import ParameterError, describe, instance, integer

__all__ = ["Tile", "tile", "tile_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tile:
    """A tile, ready to multiply: call it with DAC codes.  `tile` makes it."""

    rows: int
    columns: int
    readout: Readout
    number: int
    dac: Dac
    tiles: Tiles
    chain: Chain

    def __call__(self, codes: npt.ArrayLike, address: int | Sequence[int] | UInt64 | None = None) -> TileProduct:
        """Multiply vectors of DAC codes.

        Parameters
        ----------
        codes : integers, shape (rows,) or (n, rows)
            Codes of the readout's DAC; that of a bias row, if any, among them.
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
        PcmrefError
            If the accumulator cannot hold a sum, and that is an error.
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
        kernel = kernels()
        if (bad := kernel.load_codes(vectors, self.dac, buffer[0])) >= 0:
            vector, row = divmod(bad, self.rows)
            found = f"{vectors[vector, row]} at {[row] if single else [vector, row]}"
            dac = self.readout.dac
            raise ParameterError("codes", f"integers from {dac.low} to {dac.high}", found)
        driven, pixel = kernel.phases(buffer, self.dac), np.arange(0, pixels * pairs, pairs)
        numbers, parts = range(len(self.chain.conversions.tile)), []
        for number in numbers:
            sums, variances = analog_sums(driven, pixel, self.tiles, self.chain, number)
            noise_free = sums[0, :count, None]
            variance = None if variances is None else variances[0, :count, None]
            draw = self.number * len(numbers) + number
            parts.append(converted(noise_free, variance, self.columns, self.chain, number, image, draw=draw))
        product = combined(parts, self.chain)
        return product[0, 0] if single else product[:, 0]


def tile(
    devices: npt.ArrayLike,
    readout: Readout,
    *,
    variance_code: npt.ArrayLike | None = None,
    stream: Key | None = None,
    number: int = 0,
) -> Tile:
    """Prepare one tile.

    Parameters
    ----------
    devices : integers, shape (rows, columns)
        Conductance codes of the pairs, ``n(G+) - n(G-)``: r of SPEC.md, section 7, or m for fresh read noise; no more
        rows and columns than the readout's tiles have.  With an ADC on each line, those of the lines, ``n(G+)`` and
        ``n(G-)``, shape (2, rows, columns).
    readout : Readout
        Its ranges are those of layers; the ADC of a tile has its own gain, or thresholds.
    variance_code : integers, of the shape of `devices`, optional
        ``V``; needed for fresh read noise.
    stream : (int, int)
        Key of the stream of fresh read noise, two 32-bit words; needed for it.  `pcmref.arithmetic.draws.stream_key`
        computes that of a layer of a chip.
    number : int
        Of the tile within its layer, from 0: it is part of the address of its draws.

    Returns
    -------
    Tile

    Raises
    ------
    ParameterError
        If a setting is missing, not used by the readout, or out of range.

    See Also
    --------
    tile_of : A tile of a chip.
    """
    instance("readout", readout, Readout, "pcmref.PRESETS")
    fresh, separate = readout.read_noise == "fresh", readout.lines == "separate"
    _expect("variance_code", variance_code, wanted=fresh, why=f"read noise is {readout.read_noise}")
    if fresh:
        _expect("stream", stream, wanted=True, why="read noise is fresh")
    codes = _codes("devices", devices, 2 if separate else None, 0 if separate else -CODE_LIMIT)
    variance = None
    if variance_code is not None:
        variance = _codes("variance_code", variance_code, 2 if separate else None, 0)
        if variance.shape != codes.shape:
            raise ParameterError("variance_code", f"integers of shape {np.shape(devices)}", _form(variance_code))
    for axis, most in ((1, readout.tile_rows), (2, readout.tile_columns)):
        if most is not None and codes.shape[axis] > most:
            name = ("rows", "columns")[axis - 1]
            raise ParameterError("devices", f"at most {most} {name}, as tiles have", str(codes.shape[axis]))
    if (adc := readout.adc) is not None and adc.thresholds is None and adc.gain is None:
        raise ParameterError("readout: adc", "a gain or thresholds, as a tile has no ranges", describe(adc))
    noise = None if stream is None else noise_of(readout, stream)
    return _tile(readout, codes, variance, number=number, gains=None, noise=noise)


def tile_of(snapshot: Snapshot, layer: str, readout: Readout, number: int = 0) -> Tile:
    """Prepare one tile of a chip: its devices, ADC and draws are those that an inference has.

    Parameters
    ----------
    snapshot : Snapshot
    layer : str
        Name of a crossbar layer.
    readout : Readout
        With the ranges of the layer, if it has converters that need some.
    number : int
        Of the tile within the layer, from 0, in the order of the rows, slice by slice; it has all columns of the layer.

    Returns
    -------
    Tile
        An image's draws at the first output pixel are those of its address.

    Raises
    ------
    ParameterError
        If there is no such layer or tile, or ranges are missing.
    """
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("readout", readout, Readout, "pcmref.PRESETS")
    names = [found.name for found in snapshot.layers]
    readout.check_layers(names)
    if layer not in names:
        raise ParameterError("layer", f"one of {', '.join(names)}", describe(layer))
    address = names.index(layer)
    devices = snapshot.layers[address]
    slices = len(snapshot.significance)
    parts = cut(devices.shape[0], readout.tile_rows, slices)
    expected = f"one of the {len(parts)} tiles of layer {layer!r}, from 0"
    number = integer("number", number, expected, 0, len(parts) - 1)
    part, factor = parts[number], snapshot.significance[number * slices // len(parts)]
    codes, variance = codes_of(devices, readout)
    gains, full_scale = None, readout.range_of(layer)
    if full_scale is not None and readout.adc is not None:
        lsb = lsb_us(readout, layer, full_scale, devices.shape[1], snapshot.model.g_step_us)
        gains = gains_of(readout, full_scale, lsb, snapshot.model.g_step_us)
    key = stream_key(snapshot.seed, Purpose.PRODUCT, address, t_s=snapshot.t_s, read=snapshot.read)
    measured = readout.measured_of(layer)
    if measured is not None and len(measured) > 1:
        lines = len(codes)
        check_measured(f"layer {layer!r}", measured, len(parts) * lines)
        measured = measured[number * lines : (number + 1) * lines]
    return _tile(
        readout,
        codes[:, part],
        None if variance is None else variance[:, part],
        number=number,
        gains=gains,
        noise=noise_of(readout, key),
        measured=measured,
        significance=(factor,),
    )


def _tile(
    readout: Readout,
    codes: Int16,
    variance: Int16 | None,
    *,
    number: int,
    gains: Float64 | None,
    noise: Noise | None,
    measured: tuple[Adc, ...] | None = None,
    significance: tuple[int, ...] = (1,),
) -> Tile:
    """Return a tile of these codes, shape (lines, rows, columns)."""
    _, rows, columns = codes.shape
    parts = cut(rows, None)
    chain = chain_of(
        readout,
        "tile",
        codes,
        variance,
        parts=parts,
        significance=significance,
        gains=gains,
        noise=noise,
        measured=measured,
    )
    return Tile(
        rows=rows,
        columns=columns,
        readout=readout,
        number=integer("number", number, "an integer from 0 to 2**26 - 1", 0, (1 << 26) - 1),
        dac=dac_of(readout, None),
        tiles=lay_out(np.arange(rows), codes, variance, parts=parts, limit=readout.dac.largest),
        chain=chain,
    )


def _expect(name: str, value: object, *, wanted: bool, why: str) -> None:
    """Refuse a setting that is missing, or that nothing would use."""
    if (value is not None) != wanted:
        raise ParameterError(name, f"{'a value' if wanted else 'None'}, as {why}", describe(value))


def _codes(name: str, values: npt.ArrayLike, lines: int | None, least: int) -> Int16:
    """Return matrices of codes from `least` to 32767 as int16, shape (lines, rows, columns)."""
    array = _integers(name, values)
    if lines is None and array.ndim == 2:
        array = array[None]
        lines = 1
    if array.ndim != 3 or len(array) != lines or 0 in array.shape:
        form = "(rows, columns)" if lines in (None, 1) else "(2, rows, columns), as each line has its ADC"
        raise ParameterError(name, f"integers of shape {form}", _form(values))
    if (bad := (array < least) | (array > CODE_LIMIT)).any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        found = f"{array[place]} at {list(place[3 - np.ndim(values) :])}"
        raise ParameterError(name, f"integers from {least} to {CODE_LIMIT}", found)
    return array.astype(np.int16)


def _integers(name: str, values: npt.ArrayLike) -> IntegerArray:
    """Return an array of integers, in the byte order of the machine."""
    refuse_masked(name, values)
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
