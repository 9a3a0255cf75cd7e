"""Codes of conductances and converters: the laws of SPEC.md, sections 7 and 8."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref.arithmetic.codes import (
    CODE_LIMIT,
    ROUNDINGS,
    VARIANCE_STEP,
    Range,
    adc_codes,
    adc_gain,
    bit_planes,
    conductance_codes,
    dac_codes,
    dac_gain,
    limited,
    polarities,
    read_noise,
    rounded,
    table_codes,
    variance_codes,
)
from pcmref.crossbar.converters import Adc, Dac, FixedPoint
from pcmref.errors import ParameterError
from tests.helpers import naive

laws = settings(max_examples=2 * settings.default.max_examples)
dac_bits = st.integers(2, 16)
adc_bits = st.integers(2, 24)
#: Full scales that are not silent, and that no code overflows.
top = st.floats(2.0**-100, 2.0**100, width=32)
share = st.floats(-1, 1, width=32)
STEP_US = 2.0**-9


def largest_code(bits):
    return 2 ** (bits - 1) - 1


# Grids of conductance and variance


def test_the_limits_are_those_of_16_bits():
    assert np.iinfo(np.int16).max == CODE_LIMIT
    assert VARIANCE_STEP == 64


@laws
@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_conductance_codes_are_the_conductance_to_half_a_step_or_saturated(g_us):
    codes = conductance_codes(np.array(g_us), STEP_US)
    assert codes.dtype == np.int16
    assert codes.tolist() == [min(round(g / STEP_US), 32767) for g in g_us]
    assert variance_codes(np.array(g_us), STEP_US).tolist() == [min(round(g / 2.0**-12), 32767) for g in g_us]


@pytest.mark.parametrize(("grid", "step"), [(conductance_codes, STEP_US), (variance_codes, 64 * STEP_US**2)])
def test_grids_round_ties_to_even_and_saturate(grid, step):
    values = np.array([0.0, 0.5, 1.5, 2.5, 32766.5, 32767.0, 32767.5, 32768.0, 65536.0, 1e30]) * step
    codes = grid(values, STEP_US)
    assert codes.dtype == np.int16
    assert codes.tolist() == [0, 0, 2, 2, 32766, 32767, 32767, 32767, 32767, 32767]


# DAC


def dac(x, top, bits):
    """Codes of activations, and the activation of one code."""
    gain, step = dac_gain(np.array([top], np.float32), largest_code(bits))
    return dac_codes(np.asarray(x, np.float32), gain, -largest_code(bits), largest_code(bits)), step[0]


@laws
@given(top, dac_bits)
def test_the_gain_is_the_quotient_in_float32(top, bits):
    gain, step = dac_gain(np.array([top], np.float32), largest_code(bits))
    assert gain.dtype == step.dtype == np.float32
    limit = np.float32(2 ** (bits - 1) - 1)
    assert (gain[0], step[0]) == (limit / np.float32(top), np.float32(top) / limit)
    assert float(gain[0]) * float(step[0]) == pytest.approx(1, rel=2**-23)


@laws
@given(st.lists(top, min_size=1, max_size=5), dac_bits)
def test_each_image_has_its_own_gain(tops, bits):
    together = dac_gain(np.array(tops, np.float32), largest_code(bits))
    for position, top in enumerate(tops):
        alone = dac_gain(np.array([top], np.float32), largest_code(bits))
        assert [part[position] for part in together] == [part[0] for part in alone]


@pytest.mark.parametrize("bits", [2, 8, 12, 16])
def test_the_full_scale_has_the_largest_code(bits):
    for top in np.float32([2.0**-100, 1e-3, 0.1, 1, 3, 1e30]):
        codes, step = dac([top, -top], top, bits)
        assert codes.tolist() == [largest_code(bits), -largest_code(bits)]
        assert float(step) * largest_code(bits) == pytest.approx(float(top), rel=2**-23)


@pytest.mark.parametrize("top", [0.0, 1e-45, 1e-38, np.nextafter(np.float32(2.0**-100), np.float32(0))])
def test_silent_inputs_have_no_gain_and_no_step(top):
    for part in dac_gain(np.array([top, 1], np.float32), 127):
        assert part.dtype == np.float32
        assert part[0] == 0
        assert part[1] > 0
    codes, step = dac([top, -top, 0.0], top, 8)
    assert codes.tolist() == [0, 0, 0]
    assert step == 0


def test_the_smallest_input_that_is_not_silent():
    gain, step = dac_gain(np.array([2.0**-100], np.float32), 32767)
    assert gain[0] == 32767 * 2.0**100
    assert step[0] == np.float32(2.0**-100) / np.float32(32767) > 0


@laws
@given(st.lists(share, min_size=1, max_size=20), top, dac_bits)
def test_dac_laws(shares, top, bits):
    x = np.sort(np.float32(shares) * np.float32(top))
    codes, step = dac(x, top, bits)
    assert codes.dtype == np.int16
    limit = largest_code(bits)
    assert np.abs(codes).max() <= limit
    assert (np.diff(codes.astype(np.int64)) >= 0).all()
    assert np.array_equal(dac(-x, top, bits)[0], -codes)
    error = np.abs(x.astype(float) - codes * float(step)) / float(step)
    assert error.max() <= 0.5 + limit * 2.0**-22
    assert codes.tolist() == [naive.dac(float(v), float(np.float32(top)), -limit, limit)[0] for v in x]


@laws
@given(st.floats(1, 2.0**20), dac_bits)
def test_beyond_the_full_scale_the_dac_saturates(times, bits):
    codes, _ = dac([times, -times], 1.0, bits)
    assert codes.tolist() == [largest_code(bits), -largest_code(bits)]


def test_every_code_of_an_8_bit_dac():
    codes = np.arange(-127, 128)
    step = dac_gain(np.array([127], np.float32), 127)[1][0]
    assert step == 1
    assert np.array_equal(dac(codes, 127, 8)[0], codes)
    assert np.array_equal(dac(codes + 0.4375, 127, 8)[0], codes)
    assert np.array_equal(dac(codes - 0.4375, 127, 8)[0], codes)
    half = codes + 0.5  # ties to even
    assert np.array_equal(dac(half, 127, 8)[0], np.clip(2 * np.round(half / 2), -127, 127))


# Read noise


@laws
@given(st.floats(-6.34, 6.34), st.integers(0, 2**58))
def test_read_noise_is_that_of_the_summed_variance(z, variance):
    (noise,) = read_noise(np.array([z]), np.array([variance]))
    assert noise == round(z * math.sqrt(64.0 * variance))
    (other,) = read_noise(np.array([-z]), np.array([variance]))
    assert other == -noise


def test_read_noise_has_the_type_of_sums_and_rounds_ties_to_even():
    # sqrt(64 * 4) = 16
    noise = read_noise(np.array([0.5, 1.5, 2.5, -0.5, -1.5]) / 16, np.full(5, 4, np.int32))
    assert noise.dtype == np.int64
    assert noise.tolist() == [0, 2, 2, 0, -2]


# Drives


@laws
@given(st.integers(2, 16), st.sampled_from(["symmetric", "signed", "unsigned", "offset"]), st.data())
def test_phases_times_their_weights_are_what_drives_the_row(bits, coding, data):
    for drive, split in (("two-phase", lambda v, _: polarities(v)), ("bit-serial", bit_planes)):
        if drive == "two-phase" and coding in ("unsigned", "offset"):
            continue
        dac = Dac(bits=min(bits, 16 if coding == "symmetric" else 15), codes=coding, drive=drive)
        codes = data.draw(st.lists(st.integers(dac.low, dac.high), min_size=1, max_size=9))
        driven = np.array([dac.low, dac.high, 0, *codes]) + dac.offset
        phases = split(driven.astype(np.int16), dac.bits)
        assert phases.dtype == np.int16
        assert len(phases) == len(dac.weights)
        assert 0 <= phases.min() <= phases.max() <= dac.largest
        weights = np.array(dac.weights)[:, None]
        assert (weights * phases.astype(np.int64)).sum(axis=0).tolist() == driven.tolist()


def test_polarities_of_every_code():
    driven = np.arange(-CODE_LIMIT, CODE_LIMIT + 1, dtype=np.int16)
    assert polarities(driven).tolist() == [[max(v, 0) for v in driven.tolist()], [max(-v, 0) for v in driven.tolist()]]


def test_bit_planes_of_every_code_are_its_twos_complement():
    driven = np.arange(-128, 256, dtype=np.int16)
    for code, bits in zip(driven.tolist(), bit_planes(driven, 8).T.tolist(), strict=True):
        assert bits == [(code % 256) // 2**k % 2 for k in range(8)]


# Register


@laws
@given(st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=9), st.integers(2, 60))
def test_a_register_saturates_or_keeps_the_low_bits(sums, bits):
    half = 2 ** (bits - 1)
    ends = [half - 1, half, -half, -half - 1, *sums]
    array = np.array(ends)
    assert limited(array, bits, True).tolist() == [max(-half, min(half - 1, v)) for v in ends]
    found = limited(array, bits, False)
    assert found.dtype == np.int64
    assert all(-half <= v < half and (v - exact) % 2**bits == 0 for v, exact in zip(found.tolist(), ends, strict=True))


@laws
@given(st.lists(st.integers(-(2**57), 2**57), min_size=1, max_size=9), st.integers(2, 60))
def test_a_register_that_wraps_can_take_the_terms_one_by_one_in_any_order(terms, bits):
    total = np.zeros(1, np.int64)
    for term in reversed(terms):
        total = limited(total + limited(np.array([term]), bits, False), bits, False)
    assert total.tolist() == limited(np.array([sum(terms)]), bits, False).tolist()


# Rounding


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_numbers_around_every_tie_and_every_integer(rounding):
    centres = np.concatenate([np.arange(-600, 601) / 4, 2.0**51 + np.arange(-8, 9) / 2, -(2.0**52) + np.arange(-8, 9)])
    around = [centres, np.nextafter(centres, np.inf), np.nextafter(centres, -np.inf), centres + 2.0**-40]
    values = np.concatenate([*around, [2.0**53, -(2.0**60), 5e-324, -5e-324, 1e300]])
    found = rounded(values, rounding)
    assert [int(v) for v in found] == [naive.rounded(Fraction(v), rounding) for v in values.tolist()]
    assert found.dtype == np.float64


@laws
@given(st.floats(-(2.0**60), 2.0**60) | st.floats(-3, 3), st.sampled_from(ROUNDINGS))
def test_any_number_is_rounded_as_it_is_called(value, rounding):
    (found,) = rounded(np.array([value]), rounding)
    assert int(found) == naive.rounded(Fraction(value), rounding)


def test_the_roundings_differ_at_ties_and_below_zero_alone():
    ties = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, -1.25, 1.25])
    assert {rounding: rounded(ties, rounding).astype(int).tolist() for rounding in ROUNDINGS} == {
        "half-even": [-2, -2, 0, 0, 2, 2, -1, 1],
        "half-away": [-3, -2, -1, 1, 2, 3, -1, 1],
        "half-up": [-2, -1, 0, 1, 2, 3, -1, 1],
        "floor": [-3, -2, -1, 0, 1, 2, -2, 1],
        "toward-zero": [-2, -1, 0, 0, 1, 2, -1, 1],
    }


# ADC


def adc(sums, gain, limit, *, low=None, offset=0.0, rounding="half-even"):
    """Codes of one column."""
    sums = np.asarray(sums)
    found = adc_codes(sums[..., None], np.array([gain]), np.array([float(offset)]), low or -limit, limit, rounding)
    return found[..., 0]


@pytest.mark.parametrize("lsb", [1, 2, 16, 1024])
def test_every_sum_of_an_8_bit_adc(lsb):
    sums = np.arange(-200 * lsb, 200 * lsb + 1)
    codes = adc(sums, 1 / lsb, 127)
    assert codes.dtype == np.int64
    assert codes.tolist() == [max(-127, min(127, round(int(s) / lsb))) for s in sums]
    assert set(codes.tolist()) == set(range(-127, 128))


@laws
@given(
    st.lists(st.integers(-(2**45), 2**45), min_size=1, max_size=20),
    st.floats(2.0**-50, 1.0),
    adc_bits,
    st.sampled_from(ROUNDINGS),
)
def test_adc_laws(sums, gain, bits, rounding):
    sums, limit = np.sort(np.array(sums, np.int64)), largest_code(bits)
    codes = adc(sums, gain, limit, rounding=rounding)
    assert np.abs(codes).max() <= limit
    assert (np.diff(codes) >= 0).all()
    exact = sums * gain
    inside = np.abs(exact) <= limit
    assert (np.abs(codes - exact)[inside] <= (0.5 if rounding.startswith("half") else 1)).all()
    assert np.array_equal(codes[~inside], limit * np.sign(sums[~inside]))
    expected = [naive.adc(int(s), Adc(bits=bits, rounding=rounding, gain=gain), 0) for s in sums]
    assert codes.tolist() == expected
    if rounding in ("half-even", "half-away", "toward-zero"):
        assert np.array_equal(adc(-sums, gain, limit, rounding=rounding), -codes)


@laws
@given(
    st.lists(st.integers(-(2**45), 2**45), min_size=1, max_size=20),
    st.integers(-(2**45), 2**45),
    st.floats(2.0**-50, 1.0),
    st.sampled_from(ROUNDINGS),
)
def test_an_offset_is_added_to_the_sum(sums, offset, gain, rounding):
    sums = np.array(sums)
    shifted = adc(sums, gain, 2**23 - 1, offset=offset, rounding=rounding)
    assert np.array_equal(shifted, adc(sums + offset, gain, 2**23 - 1, rounding=rounding))


@pytest.mark.parametrize("bits", [2, 8, 24])
def test_the_adc_rounds_ties_to_even_and_saturates(bits):
    limit = largest_code(bits)
    assert adc([0, 1, -1, 3, -3], 0.5, 2**23 - 1).tolist() == [0, 0, 0, 2, -2]
    ends = np.array([limit, limit + 1, 2**62, -limit, -limit - 1, -(2**62)])
    assert adc(ends, 1.0, limit).tolist() == [limit] * 3 + [-limit] * 3
    assert adc(ends, 1e300, limit).tolist() == [limit] * 3 + [-limit] * 3
    assert adc(ends, 1.0, limit, low=-limit - 1).tolist() == [limit] * 3 + [-limit] + [-limit - 1] * 2


def test_the_shape_is_kept_and_each_column_has_its_gain_and_offset():
    gain, offset = np.array([1.0, 2.0, 0.5]), np.array([0.0, 3.0, -8.0])
    sums = np.arange(24).reshape(2, 4, 3)
    found = adc_codes(sums, gain, offset, -9, 9, "floor")
    assert found.tolist() == [
        [[min(v[0], 9), min(2 * (v[1] + 3), 9), min((v[2] - 8) // 2, 9)] for v in image] for image in sums.tolist()
    ]
    assert adc_codes(np.zeros((2, 3), np.int32), gain, offset, -9, 9, "floor").dtype == np.int64


@st.composite
def fixed_points(draw):
    """ADCs with a fixed-point gain, of every kind that is allowed."""
    bits = draw(st.integers(2, 24))
    low, high = 1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1
    if draw(st.booleans()):
        low = draw(st.sampled_from([0, -(2 ** (bits - 1))]) | st.integers(2 - 2**bits, 0))
        top = 2**bits - 1 + low
        high = draw(st.just(top) | st.integers(1, top))
    deepest = 53 - max(-low, high).bit_length()  # the code beyond is at most 2^bit_length
    shift = draw(st.integers(0, min(deepest, 52)) | st.just(min(deepest, 52)))
    gain = FixedPoint(draw(st.integers(1, 2**31 - 1) | st.just(2**31 - 1)), shift)
    offset = draw(st.sampled_from([0, 1, 1 - 2**52, 2**52 - 1]) | st.integers(-(2**40), 2**40))
    return Adc(bits=bits, low=low, high=high, rounding=draw(st.sampled_from(ROUNDINGS)), gain=gain, offset=offset)


@settings(max_examples=4 * settings.default.max_examples)
@given(fixed_points(), st.lists(st.integers(1 - 2**52, 2**52 - 1), max_size=5), st.data())
def test_a_fixed_point_gain_has_the_codes_of_exact_integers(converter, sums, data):
    """Sums next to the bounds between two codes among them, and codes next to the ends."""
    multiplier, shift = converter.gain.multiplier, converter.gain.shift
    low, high = converter.limits
    ends = st.sampled_from([low - 1, low, 0, high, high + 1])
    for code in data.draw(st.lists(st.integers(low - 1, high + 1) | ends, max_size=8)):
        for bound in (2 * code, 2 * code + 1):  # halves of a code
            near = (bound << shift) // (2 * multiplier) - converter.offset
            sums += [s for s in range(near - 1, near + 3) if abs(s) < 2**52]
    array = np.array(sums, np.int64)[:, None]
    gain, offset = converter.gains(1), converter.offsets(1)
    found = adc_codes(array, gain, offset, float(low), float(high), converter.rounding)
    expected = [
        max(low, min(high, naive.rounded(Fraction((s + converter.offset) * multiplier, 2**shift), converter.rounding)))
        for s in sums
    ]
    assert found[:, 0].tolist() == expected == [naive.adc(s, converter, 0) for s in sums]


def test_a_gain_finer_than_what_is_allowed_has_other_codes_in_float64():
    """The product needs 54 bits here, so that it reaches 3 before it should: `Adc` refuses such a gain."""
    multiplier, shift = 11 * 95_230_081, 52
    total = (3 * 2**52 - 1) // multiplier
    assert total * multiplier == 3 * 2**52 - 1
    assert (total * multiplier) // 2**shift == 2
    assert adc([total], multiplier / 2**shift, 127, rounding="floor").tolist() == [3]
    with pytest.raises(ParameterError, match=r"^adc: gain: expected a shift at which"):
        Adc(bits=8, gain=FixedPoint(multiplier, shift))


def test_a_gain_that_is_a_float_means_the_product_in_float64():
    """5 times the float 0.1 is more than a half, but rounds to it."""
    assert 5 * Fraction(0.1) > Fraction(1, 2)
    assert adc([5], 0.1, 127).tolist() == [0]
    assert adc([5], 0.1, 127, rounding="half-away").tolist() == [1]


# Thresholds


@laws
@given(
    st.lists(st.lists(st.integers(-40, 40), min_size=3, max_size=3).map(sorted), min_size=1, max_size=4),
    st.lists(st.integers(-42, 42), min_size=1, max_size=9),
    st.integers(-3, 0),
)
def test_a_table_counts_the_thresholds_that_a_sum_reaches(rows, sums, low):
    array = np.array(sums)[:, None] + np.zeros(len(rows), np.int64)
    found = table_codes(array, np.array(rows), low)
    assert found.dtype == np.int64
    assert found.tolist() == [[low + sum(t <= s for t in row) for row in rows] for s in sums]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("gain", [FixedPoint(1, 0), FixedPoint(3, 1), FixedPoint(5, 6), FixedPoint(37, 9)], ids=str)
def test_the_thresholds_of_a_gain_have_its_codes(gain, rounding):
    """Each is the least sum that has its code; over all sums from one end to the other."""
    sums = np.arange(-2000, 2000)
    codes = adc(sums, float(gain), 15, low=-16, rounding=rounding, offset=3)
    thresholds = [int(sums[np.searchsorted(codes, code)]) for code in range(-15, 16)]
    assert table_codes(sums[:, None], np.array([thresholds]), -16)[:, 0].tolist() == codes.tolist()


# Gain of a range


@laws
@given(st.floats(1e-6, 1e6), st.floats(1e-3, 1e9), dac_bits, adc_bits)
def test_an_adc_s_gain_takes_a_sum_to_its_share_of_the_full_scale(input_top, sum_top_us, bits, more_bits):
    lsb_us = sum_top_us / (2 ** (more_bits - 1) - 1)
    step = float(np.float32(input_top) / np.float32(2 ** (bits - 1) - 1))
    gain = adc_gain(step, STEP_US, lsb_us)
    assert type(gain) is float
    assert gain == step * STEP_US / lsb_us
    assert gain * 2**9 * lsb_us == pytest.approx(input_top / (2 ** (bits - 1) - 1), rel=2**-22)


# Ranges


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["input_top", "sum_top_us"])
def test_ranges_that_are_refused(name, value):
    with pytest.raises(ParameterError, match=rf"^range {name}: expected a number from 2\^-1[02][06] to 2\^100"):
        Range(**{"input_top": 1.0, "sum_top_us": 1.0} | {name: value})


def test_ranges_of_any_type_of_number_become_floats():
    found = Range(input_top=np.float32(1.5), sum_top_us=2)
    assert (found.input_top, found.sum_top_us) == (1.5, 2.0)
    assert type(found.input_top) is type(found.sum_top_us) is float
    with pytest.raises(ParameterError, match=r"range input_top: expected a number from 2\^-1[02][06] to 2\^100"):
        Range(input_top="1", sum_top_us=2.0)


def test_full_scales_of_inputs_that_would_count_as_zero_are_refused():
    assert Range(input_top=2.0**-100, sum_top_us=2.0**-126).input_top == 2.0**-100
    assert Range(input_top=2.0**100, sum_top_us=2.0**100).sum_top_us == 2.0**100
    for changes in (
        {"input_top": np.nextafter(2.0**-100, 0)},
        {"sum_top_us": np.nextafter(2.0**-126, 0)},
        {"input_top": np.nextafter(2.0**100, math.inf)},
        {"sum_top_us": np.nextafter(2.0**100, math.inf)},
    ):
        with pytest.raises(ParameterError, match=r"range (input_top|sum_top_us): expected a number from 2"):
            Range(**{"input_top": 1.0, "sum_top_us": 1.0} | changes)


def test_full_scales_of_groups_of_columns():
    found = Range(input_top=1.0, sum_top_us=[1, np.float32(2.5)])
    assert found.sum_top_us == (1.0, 2.5)
    assert {type(top) for top in found.sum_top_us} == {float}
    assert Range(input_top=1.0, sum_top_us=(3,)).sum_top_us == 3.0  # of all columns
    for bad in ((), [], (1.0, 0.0), (1.0, "2"), "12", [None]):
        with pytest.raises(ParameterError, match=r"^range sum_top_us: expected a number"):
            Range(input_top=1.0, sum_top_us=bad)
