"""How a readout becomes conversions: their order and weights, the code of no input, registers, gains and tables."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref.arithmetic.codes import ROUNDINGS, Range
from pcmref.arithmetic.operands import UNREACHED
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.layout import cut
from pcmref.crossbar.readout import Readout
from pcmref.crossbar.wiring import chain_of, codes_of, dac_of, gains_of, input_step, lsb_us, noise_of
from pcmref.devices.chip import SnapshotLayer
from pcmref.errors import ParameterError
from tests.crossbar.hardware import dacs
from tests.helpers import naive

laws = settings(max_examples=settings.default.max_examples // 2)
RANGE = Range(input_top=2.0, sum_top_us=500.0)
STEP_US = 2.0**-9
KEY = (3, 4)


def readout(dac=None, **changes):
    return Readout(name="mine", dac=dac or Dac(bits=4), **changes)


def chain(one, codes, variance=None, *, tile_rows=None, significance=(1,), gains=None, **options):
    """Conversions of a matrix of codes, one a line."""
    parts = cut(codes.shape[1], tile_rows, len(significance))
    noise = noise_of(one, KEY)
    return chain_of(
        one, "here", codes, variance, parts=parts, significance=significance, gains=gains, noise=noise, **options
    )


# Order and weights


@laws
@given(
    dacs(),
    st.sampled_from(["pair", "separate"]),
    st.integers(1, 9),
    st.none() | st.integers(1, 10),
    st.sampled_from([(1,), (2, 1), (1, 1, 5)]),
)
def test_conversions_come_tile_by_tile_line_by_line_phase_by_phase(dac, lines, rows, tile_rows, significance):
    signs = [1] if lines == "pair" else [1, -1]
    codes = np.ones((len(signs), rows * len(significance), 2), np.int16)
    found = chain(readout(dac, lines=lines), codes, tile_rows=tile_rows, significance=significance).conversions
    _, weights = naive.phases(0, dac)
    expected = []
    tile = 0
    for factor in significance:
        for _ in range(0, rows, min(tile_rows or rows, rows)):
            for line, sign in enumerate(signs):
                for phase, weight in enumerate(weights):
                    expected.append((tile * len(signs) + line, phase, factor * sign * weight))
            tile += 1
    assert list(zip(found.tile.tolist(), found.phase.tolist(), found.weight.tolist(), strict=True)) == expected
    assert found.zero.shape == (len(expected), 2)


def test_codes_that_are_multiplied():
    rng = np.random.default_rng(1)
    mean, read, variance = rng.integers(0, 32767, (3, 2, 4, 3), endpoint=True).astype(np.int16)
    layer = SnapshotLayer(
        name="x", g_mean_code=mean, g_read_code=read, g_variance_code=variance, weight_per_us=np.ones(3)
    )
    both = np.minimum(variance.astype(int).sum(axis=0), 32767)
    for noise, one in (("frozen", read), ("fresh", mean)):
        codes, squares = codes_of(layer, readout(read_noise=noise))
        assert codes.tolist() == [(one[0].astype(int) - one[1]).tolist()]
        assert squares is None if noise == "frozen" else squares.tolist() == [both.tolist()]
        codes, squares = codes_of(layer, readout(read_noise=noise, lines="separate"))
        assert codes.tolist() == one.tolist()
        assert squares is None if noise == "frozen" else squares.tolist() == variance.tolist()


@pytest.mark.parametrize("codes", ["symmetric", "signed", "offset", "unsigned"])
@pytest.mark.parametrize("drive", ["parallel", "two-phase", "bit-serial"])
def test_how_a_layer_is_driven(codes, drive):
    if drive == "two-phase" and codes in ("offset", "unsigned"):
        return
    dac = Dac(bits=5, codes=codes, drive=drive)
    found = dac_of(readout(dac), RANGE)
    assert (found.low, found.high, found.offset) == naive.code_limits(dac)
    assert (found.top, found.phases, found.serial) == (2.0, len(naive.phases(0, dac)[1]), drive == "bit-serial")
    assert {type(value) for value in (found.top, found.low, found.high)} == {np.float32}
    assert dac_of(readout(dac), None).top == 0


# Read noise


def test_the_stream_of_fresh_read_noise():
    fresh = readout(read_noise="fresh")
    assert noise_of(readout(), KEY) is None
    found = noise_of(fresh, [np.int64(3), 2**32 - 1])
    assert (found.k0, found.k1, found.split) == (3, 2**32 - 1, False)
    assert type(found.k0) is type(found.k1) is np.uint64
    for dac, split in (
        (Dac(bits=8), False),
        (Dac(bits=9), True),
        (Dac(bits=16), True),
        (Dac(bits=8, codes="signed"), False),
        (Dac(bits=8, codes="unsigned"), True),
        (Dac(bits=7, codes="offset"), False),
        (Dac(bits=8, codes="offset"), True),
        (Dac(bits=16, drive="bit-serial"), False),
        (Dac(bits=16, drive="two-phase"), True),
    ):
        assert noise_of(replace(fresh, dac=dac), KEY).split == split
    for bad in ((1,), (1, 2, 3), (-1, 0), (0, 2**32), 5, "12", (1.0, 2), None):
        for one in (readout(), fresh):
            with pytest.raises(ParameterError, match=r"^stream: expected two integers from 0 to 2\*\*32 - 1, found "):
                noise_of(one, bad)


# An input of zeros

OFFSET = [Dac(bits=4, codes="offset"), Dac(bits=4, codes="offset", drive="bit-serial")]


@pytest.mark.parametrize("dac", OFFSET, ids=["parallel", "bit-serial"])
@pytest.mark.parametrize("lines", ["pair", "separate"])
@pytest.mark.parametrize("kind", ["sums", "adc", "table"])
@pytest.mark.parametrize("beyond", [None, "saturate", "wrap"])
def test_the_codes_of_no_input_are_those_of_the_offset(dac, lines, kind, beyond):
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 3000, (1 if lines == "pair" else 2, 7, 3)).astype(np.int16)
    adc = {
        "sums": None,
        "adc": Adc(bits=8, gain=[1e-3, 2e-3, 3e-3], offset=[1, -20_000, 30_000], rounding="floor"),
        "table": Adc(bits=2, thresholds=[[0, 9000], [-9000, 9000], [50_000, 60_000]]),
    }[kind]
    register = None if beyond is None else Accumulator(bits=16, beyond=beyond)
    one = readout(dac, lines=lines, adc=adc, accumulator=register)
    gains = None if adc is None else adc.gains(3)
    found = chain(one, codes, tile_rows=3, gains=gains)
    number = 0
    for rows, line in itertools.product((range(3), range(3, 6), range(6, 7)), range(len(codes))):
        for driven in naive.phases(8, dac)[0]:
            for column in range(3):
                exact = sum(driven * int(codes[line, r, column]) for r in rows)
                total = naive.held(exact, register)
                code = total if adc is None else naive.adc(total, adc, column)
                assert found.zero_sums[number, column] == exact
                assert found.conversions.zero[number, column] == code
            number += 1
    assert number == len(found.conversions.zero)


def test_a_register_that_cannot_hold_the_sums_of_no_input_is_refused():
    """If that is an error: with offset codes every product would be one."""
    codes = np.array([[[1, 3], [2, -18]]], np.int16)  # 8 times 3 and -15
    for bits in (7, 8, 9):
        for beyond in ("error", "saturate", "wrap"):
            one = readout(Dac(bits=4, codes="offset"), accumulator=Accumulator(bits=bits, beyond=beyond))
            if (bits, beyond) == (7, "error"):
                message = r"^accumulator: expected bits for the sums of an input of zeros, found 7 bits$"
                with pytest.raises(ParameterError, match=message):
                    chain(one, codes)
            else:
                held = {"saturate": [24, -64], "wrap": [24, 8]}.get(beyond) if bits == 7 else [24, -120]
                assert chain(one, codes).conversions.zero.tolist() == [held]


@laws
@given(dacs(drives=[(c, d) for c in ("symmetric", "signed", "unsigned") for d in ("parallel", "bit-serial")]))
def test_no_input_is_taken_off_where_nothing_drives_it(dac):
    """What an ADC makes of a sum of 0 stays in the output code."""
    adc = Adc(bits=8, gain=1.0, offset=50)
    found = chain(readout(dac, adc=adc), np.ones((1, 3, 2), np.int16), gains=np.ones(2))
    assert not found.zero_sums.any()
    assert not found.conversions.zero.any()


# Registers


def test_what_a_register_does_with_a_sum_that_it_cannot_hold():
    codes = np.full((1, 3, 2), 99, np.int16)
    for beyond in ("error", "saturate", "wrap"):
        found = chain(readout(accumulator=Accumulator(bits=6, beyond=beyond)), codes).register
        assert (found.bits, found.saturates, found.refuses) == (6, beyond != "wrap", beyond == "error")
    assert chain(readout(), codes).register is None


def test_a_register_that_every_sum_fits_is_left_out():
    """Sums of up to 9 * 7 = 63 need 7 bits; with 64 they might need 8."""

    def found(bits, dac, codes, variance=None, **changes):
        one = readout(dac, accumulator=Accumulator(bits=bits), **changes)
        return chain(one, codes, variance, tile_rows=2).register

    codes = np.array([[[-5, 1], [4, 2], [7, 0]]], np.int16)
    assert found(6, Dac(bits=4), codes).bits == 6
    assert found(7, Dac(bits=4), codes) is None
    assert found(7, Dac(bits=4, codes="signed"), codes).bits == 7
    assert found(8, Dac(bits=4, codes="signed"), codes) is None
    assert found(8, Dac(bits=4, codes="offset"), codes).bits == 8  # 9 * 15 = 135
    assert found(9, Dac(bits=4, codes="offset"), codes) is None
    assert found(5, Dac(bits=4, drive="bit-serial"), codes) is None
    assert found(4, Dac(bits=4, drive="bit-serial"), codes).bits == 4
    lines = np.abs(np.concatenate([codes * 0, codes]))
    assert found(6, Dac(bits=4), lines, lines="separate").bits == 6
    assert found(7, Dac(bits=4), lines, lines="separate") is None
    assert found(7, Dac(bits=4), codes * 0) is None
    just = np.array([[[-5], [3]]], np.int16)  # 8 * 8 = 64, which 7 bits hold with a minus only
    assert found(7, Dac(bits=4, codes="signed"), just).bits == 7
    assert found(8, Dac(bits=4, codes="signed"), just) is None


@laws
@given(st.integers(2, 10), st.integers(1, 6), st.integers(0, 2**32 - 1), st.booleans())
def test_a_register_is_only_left_out_where_no_sum_needs_it(bits, rows, seed, separate):
    """Noise of the largest normal number included."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(-200, 200, (1, rows, 3)).astype(np.int16)
    variance = rng.integers(0, 300, codes.shape).astype(np.int16)
    one = readout(Dac(bits=bits), read_noise="fresh")
    largest = 2 ** (bits - 1) - 1
    worst = max(
        largest * int(np.abs(codes[0, :, c].astype(int)).sum())
        + round(6.34 * math.sqrt(64 * largest**2 * int(variance[0, :, c].astype(int).sum())))
        for c in range(3)
    )
    for width in range(2, 40):
        found = chain(replace(one, accumulator=Accumulator(bits=width)), codes, variance).register
        if worst >= 2 ** (width - 1):
            assert found is not None
    assert found is None


# Full scales and gains


def test_what_a_code_stands_for():
    adc = Adc(bits=8)
    assert lsb_us(readout(adc=adc), "x", RANGE, 3, STEP_US).tolist() == [500 / 127] * 3
    assert lsb_us(readout(adc=Adc(bits=8, low=0, high=255)), "x", RANGE, 1, STEP_US).tolist() == [500 / 255]
    assert lsb_us(readout(adc=Adc(bits=2, thresholds=[0, 1])), "x", RANGE, 1, STEP_US).tolist() == [500.0]
    tops = replace(RANGE, sum_top_us=(127.0, 254.0, 381.0))
    for columns, expected in ((5, [1, 1, 2, 2, 3]), (6, [1, 1, 2, 2, 3, 3])):
        assert lsb_us(readout(adc=adc, tile_columns=2), "x", tops, columns, STEP_US).tolist() == expected
    one = replace(RANGE, sum_top_us=127.0)
    for width in (None, 1, 2, 99):
        assert lsb_us(readout(adc=adc, tile_columns=width), "x", one, 5, STEP_US).tolist() == [1.0] * 5
    for columns, width, groups in ((5, None, 1), (5, 99, 1), (5, 1, 5), (7, 2, 4), (4, 2, 2)):
        expected = rf"^ranges of 'x': expected 1 sum_top_us, or {groups}, one a tile, found 3$"
        with pytest.raises(ParameterError, match=expected):
            lsb_us(readout(adc=adc, tile_columns=width), "x", tops, columns, STEP_US)


def test_a_gain_of_its_own_says_what_a_code_stands_for():
    adc = Adc(bits=8, gain=[FixedPoint(1, 3), 0.5])
    step = float(np.float32(2) / np.float32(7))
    assert input_step(readout(), RANGE) == step
    for full in (RANGE, replace(RANGE, sum_top_us=(1.0, 2.0, 3.0))):  # which does not matter
        found = lsb_us(readout(adc=adc), "x", full, 2, STEP_US)
        assert found.tolist() == [step * STEP_US / 0.125, step * STEP_US / 0.5]
        assert gains_of(readout(adc=adc), full, found, STEP_US).tolist() == [0.125, 0.5]


@laws
@given(st.floats(0.1, 10), st.lists(st.floats(1, 1e4), min_size=1, max_size=4), st.none() | st.integers(8, 20))
def test_the_gain_of_a_range_takes_its_full_scale_to_the_largest_code(top, sums, bits):
    one = readout(adc=Adc(bits=8, gain_bits=bits), tile_columns=1)
    full = Range(input_top=top, sum_top_us=sums)
    lsb = lsb_us(one, "x", full, len(sums), STEP_US)
    gains = gains_of(one, full, lsb, STEP_US)
    step = float(np.float32(top) / np.float32(7))
    for gain, total in zip(gains.tolist(), np.atleast_1d(full.sum_top_us).tolist(), strict=True):
        exact = step * STEP_US / (total / 127)
        assert gain == (exact if bits is None else float(naive.snapped(exact, bits)))


# ADCs of conversions


def test_each_conversion_has_its_adc():
    """Of the tile and the line, whatever the phase."""
    codes = np.ones((2, 4, 3), np.int16)
    measured = tuple(Adc(bits=8, gain=[k, k + 0.5, k + 0.25], offset=-k, rounding="half-up") for k in range(1, 5))
    nominal = Adc(bits=8, gain=9.0)
    one = readout(Dac(bits=3, drive="bit-serial"), adc=nominal, lines="separate")
    found = chain(one, codes, tile_rows=2, gains=np.full(3, 9.0), measured=measured).adc
    assert found.gain.shape == found.offset.shape == (12, 16)
    expected = np.repeat([[k, k + 0.5, k + 0.25] for k in range(1, 5)], 3, axis=0)
    assert found.gain[:, :3].tolist() == expected.tolist()
    assert found.offset[:, :3].tolist() == np.repeat([[-k] * 3 for k in range(1, 5)], 3, axis=0).tolist()
    assert not found.gain[:, 3:].any()
    assert not found.offset[:, 3:].any()
    assert (found.low, found.high, ROUNDINGS[found.rounding]) == (-127.0, 127.0, "half-up")
    for rounding in ROUNDINGS:
        for adc in (Adc(bits=3, low=-4, rounding=rounding, gain=7.0), Adc(bits=3, low=0, high=7, rounding=rounding)):
            other = chain(replace(one, adc=adc), codes, gains=np.full(3, 7.0)).adc
            assert (other.low, other.high, ROUNDINGS[other.rounding]) == (adc.low, adc.high, rounding)
            assert (other.gain[:, :3] == 7).all()


def test_measured_adcs_without_gains_have_those_of_the_readout():
    codes, gains = np.ones((1, 4, 2), np.int16), np.array([0.5, 0.25])
    one = readout(adc=Adc(bits=8))
    found = chain(one, codes, tile_rows=2, gains=gains, measured=(Adc(bits=8, offset=3, rounding="floor"),))
    assert found.adc.gain[:, :2].tolist() == [[0.5, 0.25]] * 2
    assert found.adc.offset[:, :2].tolist() == [[3, 3]] * 2
    assert ROUNDINGS[found.adc.rounding] == "floor"


def test_thresholds_become_tables():
    codes = np.ones((1, 4, 2), np.int16)
    tables = (
        Adc(bits=3, low=0, high=4, thresholds=[1, 2, 3, 4]),
        Adc(bits=3, low=0, high=4, thresholds=[[5, 6, 7, 8]] * 2),
    )
    found = chain(readout(adc=tables[0]), codes, tile_rows=2)
    assert found.adc is None
    fill = [UNREACHED] * 3
    assert found.table.thresholds.tolist() == [[[1, 2, 3, 4, *fill]] * 2] * 2
    assert (found.table.low, found.table.high) == (0, 4)
    found = chain(readout(adc=Adc(bits=3, low=0, high=4)), codes, tile_rows=2, gains=np.ones(2), measured=tables)
    assert found.adc is None
    assert found.table.thresholds.tolist() == [[[1, 2, 3, 4, *fill]] * 2, [[5, 6, 7, 8, *fill]] * 2]
    whole = chain(readout(adc=Adc(bits=3, low=-3, thresholds=[1, 2, 3, 4, 5, 6])), codes).table
    assert (whole.thresholds.shape, whole.low, whole.high) == ((1, 2, 7), -3, 3)
    full = chain(readout(adc=Adc(bits=3, low=-4, thresholds=[1, 2, 3, 4, 5, 6, 7])), codes).table
    assert full.thresholds.tolist() == [[[1, 2, 3, 4, 5, 6, 7]] * 2]
    assert chain(readout(), codes).table is None


@pytest.mark.parametrize(("lines", "expected"), [("pair", 2), ("separate", 4)])
def test_another_number_of_measured_adcs_is_refused(lines, expected):
    codes = np.ones((1 if lines == "pair" else 2, 4, 2), np.int16)
    one = readout(adc=Adc(bits=8), lines=lines)
    for count in (3, 5):
        message = rf"^here: measured: expected 1 ADC, or {expected}, one for each tile and line, found {count}$"
        with pytest.raises(ParameterError, match=message):
            chain(one, codes, tile_rows=2, gains=np.ones(2), measured=(Adc(bits=8),) * count)


def test_numbers_of_another_count_of_columns_are_refused():
    codes = np.ones((1, 4, 2), np.int16)
    for adc, name in (
        (Adc(bits=8, gain=[1.0, 2.0, 3.0]), "gain"),
        (Adc(bits=8, offset=[1, 2, 3]), "offset"),
        (Adc(bits=2, low=-1, thresholds=[[1, 2]] * 3), "thresholds"),
    ):
        with pytest.raises(ParameterError, match=rf"^adc: {name}: expected .*2.* a column, found 3$"):
            chain(readout(adc=adc), codes, gains=np.ones(2))
