"""Codes of conductances and converters: the laws of SPEC.md, sections 7 and 8."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref.arithmetic.codes import (
    CODE_LIMIT,
    VARIANCE_STEP,
    Range,
    adc_codes,
    adc_gain,
    adc_lsb_us,
    conductance_codes,
    dac_codes,
    dac_gain,
    largest_code,
    read_noise,
    variance_codes,
)
from pcmref.errors import ParameterError
from tests.helpers import naive

laws = settings(max_examples=2 * settings.default.max_examples)
dac_bits = st.integers(2, 16)
adc_bits = st.integers(2, 24)
#: Full scales that are not silent, and that no code overflows.
top = st.floats(2.0**-100, 2.0**100, width=32)
share = st.floats(-1, 1, width=32)
STEP_US = 2.0**-9


@pytest.mark.parametrize("bits", range(2, 25))
def test_full_scale_is_symmetric_two_complement(bits):
    assert largest_code(bits) == 2 ** (bits - 1) - 1


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
    return dac_codes(np.asarray(x, np.float32), gain, largest_code(bits)), step[0]


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
    assert codes.tolist() == [naive.dac(float(v), float(np.float32(top)), bits)[0] for v in x]


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


# ADC


@pytest.mark.parametrize("lsb", [1, 2, 16, 1024])
def test_every_sum_of_an_8_bit_adc(lsb):
    sums = np.arange(-200 * lsb, 200 * lsb + 1)
    codes = adc_codes(sums, 1 / lsb, 127)
    assert codes.dtype == np.int64
    assert codes.tolist() == [max(-127, min(127, round(int(s) / lsb))) for s in sums]
    assert set(codes.tolist()) == set(range(-127, 128))


@laws
@given(st.lists(st.integers(-(2**45), 2**45), min_size=1, max_size=20), st.floats(2.0**-50, 1.0), adc_bits)
def test_adc_laws(sums, gain, bits):
    sums, limit = np.sort(np.array(sums, np.int64)), largest_code(bits)
    codes = adc_codes(sums, gain, limit)
    assert np.abs(codes).max() <= limit
    assert (np.diff(codes) >= 0).all()
    assert np.array_equal(adc_codes(-sums, gain, limit), -codes)
    exact = sums * gain
    inside = np.abs(exact) <= limit
    assert (np.abs(codes - exact)[inside] <= 0.5).all()
    assert np.array_equal(codes[~inside], limit * np.sign(sums[~inside]))
    assert codes.tolist() == [naive.adc(int(s), gain, bits) for s in sums]


@pytest.mark.parametrize("bits", [2, 8, 24])
def test_the_adc_rounds_ties_to_even_and_saturates(bits):
    limit = largest_code(bits)
    assert adc_codes(np.array([0, 1, -1, 3, -3]), 0.5, 2**23 - 1).tolist() == [0, 0, 0, 2, -2]
    ends = np.array([limit, limit + 1, 2**62, -limit, -limit - 1, -(2**62)])
    assert adc_codes(ends, 1.0, limit).tolist() == [limit] * 3 + [-limit] * 3
    assert adc_codes(ends, 1e300, limit).tolist() == [limit] * 3 + [-limit] * 3


def test_the_shape_is_kept():
    assert adc_codes(np.zeros((2, 3, 4), np.int64), 1.0, 127).shape == (2, 3, 4)
    assert adc_codes(np.zeros((2, 3), np.int32), 1.0, 127).dtype == np.int64


@laws
@given(st.floats(1e-6, 1e6), st.floats(1e-3, 1e9), dac_bits, adc_bits)
def test_an_adc_s_gain_takes_a_sum_to_its_share_of_the_full_scale(input_top, sum_top_us, bits, more_bits):
    full = Range(input_top=input_top, sum_top_us=sum_top_us)
    lsb_us = sum_top_us / (2 ** (more_bits - 1) - 1)
    assert adc_lsb_us(full, more_bits) == lsb_us
    gain = adc_gain(full, dac_bits=bits, adc_bits=more_bits, g_step_us=STEP_US)
    assert type(gain) is float
    step = np.float32(input_top) / np.float32(2 ** (bits - 1) - 1)
    assert gain == float(step) * STEP_US / lsb_us
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
