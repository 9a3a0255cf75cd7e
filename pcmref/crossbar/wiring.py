"""What the kernels need of a readout, as numbers and arrays: DAC, conversions, register, ADCs; SPEC.md, section 8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pcmref.arithmetic import reference
from pcmref.arithmetic.codes import ROUNDINGS, Range, adc_gain, dac_gain, read_noise
from pcmref.arithmetic.draws import Key
from pcmref.arithmetic.operands import UNREACHED, Adc, Conversions, Dac, Noise, Register, Table, filled_columns
from pcmref.arrays import Float64, Int16, Int64
from pcmref.crossbar import converters
from pcmref.crossbar.layout import is_split
from pcmref.crossbar.readout import Readout
from pcmref.devices.chip import SnapshotLayer
from pcmref.errors import ParameterError, describe, integer

__all__ = ["Chain", "chain_of", "check_measured", "codes_of", "dac_of", "gains_of", "input_step", "lsb_us", "noise_of"]

#: Larger in size than every normal number of a draw, which are at most 6.34.
NORMAL_MOST = 6.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """The chain of conversions of a layer or a tile.

    Parameters
    ----------
    conversions : Conversions
    zero_sums : int64, shape (conversions, columns)
        Sums of an input of zeros, without noise: 0 unless codes are driven with an offset.
    noise : Noise, optional
    register : Register, optional
    adc : Adc, optional
    table : Table, optional
    """

    conversions: Conversions
    zero_sums: Int64
    noise: Noise | None
    register: Register | None
    adc: Adc | None
    table: Table | None


def codes_of(layer: SnapshotLayer, readout: Readout) -> tuple[Int16, Int16 | None]:
    """Return the conductance codes that are multiplied, and for fresh read noise the variance codes.

    Of the pairs, shape (1, rows, columns), or of the + and the - line, (2, rows, columns).
    """
    fresh = readout.read_noise == "fresh"
    used = ("g_mean_code", "g_variance_code") if fresh else ("g_read_code",)
    layer.check_replaced(used, f"{readout.read_noise} read noise")
    if readout.lines == "separate":
        return (layer.g_mean_code, layer.g_variance_code) if fresh else (layer.g_read_code, None)
    return (layer.mean_code[None], layer.variance_code[None]) if fresh else (layer.read_code[None], None)


def dac_of(readout: Readout, full_scale: Range | None) -> Dac:
    """Return how a layer is driven."""
    dac = readout.dac
    return Dac(
        top=np.float32(0 if full_scale is None else full_scale.input_top),
        low=np.float32(dac.low),
        high=np.float32(dac.high),
        offset=dac.offset,
        phases=len(dac.weights),
        serial=dac.drive == "bit-serial",
    )


def noise_of(readout: Readout, stream: Key) -> Noise | None:
    """Return how fresh read noise is added, None where it is frozen; `stream` is the key of its draws."""
    expected = "two integers from 0 to 2**32 - 1"
    if not isinstance(stream, Sequence) or len(stream) != 2:
        raise ParameterError("stream", expected, describe(stream))
    k0, k1 = (np.uint64(integer("stream", word, expected, 0, (1 << 32) - 1)) for word in stream)
    if readout.read_noise == "frozen":
        return None
    return Noise(k0=k0, k1=k1, split=is_split(readout.dac.largest))


def lsb_us(readout: Readout, name: str, full_scale: Range, columns: int, g_step_us: float) -> Float64:
    """Return what one ADC code of each column of a layer stands for, activation times uS (SPEC.md, section 8).

    ``sum_top / adc_high``, or ``step g_step / gain`` where the ADC has a gain of its own.
    """
    if readout.adc is None:
        raise AssertionError
    if (gains := readout.adc.gains(columns)) is not None:
        return input_step(readout, full_scale) * g_step_us / gains
    tops = np.atleast_1d(np.array(full_scale.sum_top_us, np.float64))
    width = min(readout.tile_columns or columns, columns)
    groups = -(-columns // width)
    if len(tops) not in (1, groups):
        raise ParameterError(f"ranges of {name!r}", f"1 sum_top_us, or {groups}, one a tile", str(len(tops)))
    each = np.repeat(tops, width)[:columns] if len(tops) > 1 else np.broadcast_to(tops, columns)
    return each / readout.adc.limits[1]


def gains_of(readout: Readout, full_scale: Range, lsb: Float64, g_step_us: float) -> Float64:
    """Return the gain of each column's ADC as the readout has it: ``step g_step / lsb``, or that of its own."""
    if readout.adc is None:
        raise AssertionError
    if (gains := readout.adc.gains(len(lsb))) is not None:
        return gains
    step = input_step(readout, full_scale)
    nominal = {value: readout.adc.derived(adc_gain(step, g_step_us, value)) for value in set(lsb.tolist())}
    return np.array([nominal[value] for value in lsb.tolist()])


def input_step(readout: Readout, full_scale: Range) -> float:
    """Return the activation that one DAC code stands for, a float32 number."""
    _, step = dac_gain(np.full(1, full_scale.input_top, np.float32), readout.dac.high)
    return float(step[0])


def chain_of(
    readout: Readout,
    where: str,
    codes: Int16,
    variance: Int16 | None,
    *,
    parts: Sequence[slice],
    significance: tuple[int, ...] = (1,),
    gains: Float64 | None,
    noise: Noise | None,
    measured: tuple[converters.Adc, ...] | None = None,
) -> Chain:
    """Return the conversions of a layer or a tile.

    Parameters
    ----------
    readout : Readout
    where : str
        What it is called in errors.
    codes : int16, shape (lines, rows, columns)
        Conductance codes.
    variance : int16, shape (lines, rows, columns), or None
        Variance codes, for fresh read noise.
    parts : sequence of slice
        The rows of each tile: `layout.cut`.
    significance : tuple of int
        Of the slices, of as many tiles each.
    gains : float64, shape (columns,), or None
        Of the ADCs, where they have some.
    noise : Noise, optional
    measured : tuple of Adc, optional
        What converts in their place.
    """
    lines, _, columns = codes.shape
    factors = np.repeat(significance, len(parts) // len(significance))
    tile, phase, weight = _order(factors, (1, -1)[:lines], readout.dac.weights)
    adcs = _adcs(where, readout, measured, len(parts) * lines)
    adc, table = (None, None) if adcs is None else _adc_of([adcs[n] for n in tile], columns, gains)
    register = _register_of(readout, codes, variance, parts)
    zero_sums = _zero_sums(readout, codes, parts, tile, phase)
    zero = zero_sums
    if readout.dac.offset:
        zero = np.stack([_code(sums, n, register, adc, table) for n, sums in enumerate(zero_sums)])
    conversions = Conversions(tile=tile, phase=phase, weight=weight, zero=zero)
    return Chain(conversions=conversions, zero_sums=zero_sums, noise=noise, register=register, adc=adc, table=table)


def _order(tiles: Int64, lines: Sequence[int], phases: Sequence[int]) -> tuple[Int64, Int64, Int64]:
    """Return tile or line, phase and weight of all conversions: tile by tile, line by line, phase by phase."""
    tile, line, phase = (grid.reshape(-1) for grid in np.indices((len(tiles), len(lines), len(phases))))
    return tile * len(lines) + line, phase, tiles[tile] * np.array(lines)[line] * np.array(phases)[phase]


def _register_of(readout: Readout, codes: Int16, variance: Int16 | None, parts: Sequence[slice]) -> Register | None:
    """Return the register before the ADC; None where every sum fits."""
    if (held := readout.accumulator) is None:
        return None
    starts, largest = [part.start for part in parts], readout.dac.largest
    sums = largest * np.add.reduceat(np.abs(codes.astype(np.int64)), starts, axis=1)
    if variance is not None:
        squares = largest**2 * np.add.reduceat(variance.astype(np.int64), starts, axis=1)
        sums += np.abs(read_noise(np.float64(NORMAL_MOST), squares)) + 1
    if sums.max() < 1 << (held.bits - 1):
        return None
    return Register(bits=held.bits, saturates=held.beyond != "wrap", refuses=held.beyond == "error")


def _zero_sums(readout: Readout, codes: Int16, parts: Sequence[slice], tile: Int64, phase: Int64) -> Int64:
    """Return the sums of each conversion for an input of zeros, without noise, shape (conversions, columns)."""
    if readout.dac.offset == 0:
        return np.zeros((len(tile), codes.shape[2]), np.int64)
    driven = reference.phases(np.full(1, readout.dac.offset, np.int16), dac_of(readout, None))[:, 0]
    starts = [part.start for part in parts]
    totals = np.add.reduceat(codes.astype(np.int64), starts, axis=1).transpose(1, 0, 2).reshape(-1, codes.shape[2])
    return totals[tile] * driven.astype(np.int64)[phase, None]


def _adcs(
    where: str, readout: Readout, measured: tuple[converters.Adc, ...] | None, count: int
) -> tuple[converters.Adc, ...] | None:
    """Return the ADC of each tile or line; None where there are none."""
    found = (readout.adc,) if measured is None and readout.adc is not None else measured
    if found is None:
        return None
    check_measured(where, found, count)
    return found * count if len(found) == 1 else found


def check_measured(where: str, measured: tuple[converters.Adc, ...], count: int) -> None:
    """Raise `ParameterError` unless there is one measured ADC, or one for each of `count` tiles and lines."""
    if len(measured) not in (1, count):
        raise ParameterError(f"{where}: measured", f"1 ADC, or {count}, one for each tile and line", str(len(measured)))


def _adc_of(adcs: Sequence[converters.Adc], columns: int, gains: Float64 | None) -> tuple[Adc | None, Table | None]:
    """Return the ADCs of all conversions as arrays: with gains, or with thresholds."""
    low, high = adcs[0].limits
    tables = [table for adc in adcs if (table := adc.tables(columns)) is not None]
    if tables:
        filled = np.full((len(adcs), columns, (1 << (high - low).bit_length()) - 1), UNREACHED)
        filled[..., : high - low] = tables
        return None, Table(thresholds=filled, low=low, high=high)
    gain, offset = np.zeros((2, len(adcs), filled_columns(columns)))
    for number, adc in enumerate(adcs):
        own = adc.gains(columns)
        gain[number, :columns] = gains if own is None else own
        offset[number, :columns] = adc.offsets(columns)
    rounding = ROUNDINGS.index(adcs[0].rounding)
    return Adc(gain=gain, offset=offset, low=float(low), high=float(high), rounding=rounding), None


def _code(sums: Int64, number: int, register: Register | None, adc: Adc | None, table: Table | None) -> Int64:
    """Return the codes of sums without noise."""
    if register is not None:
        held = reference.hold(sums, register)
        if register.refuses and (held != sums).any():
            raise ParameterError("accumulator", "bits for the sums of an input of zeros", f"{register.bits} bits")
        sums = held
    if adc is not None:
        return reference.digitise(sums, len(sums), adc, number)
    return sums if table is None else reference.compare(sums, len(sums), table, number)
