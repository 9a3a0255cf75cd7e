import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref.converters import PRESETS, Range, Readout, adc_codes, input_gain, largest_code, preset
from pcmref.errors import ParameterError
from pcmref.kernels_numpy import to_codes
from tests import naive

laws = settings(max_examples=200, deadline=None, derandomize=True, database=None)
dac_bits = st.integers(2, 16)
adc_bits = st.integers(2, 24)
#: Full scales that are not silent, and that no code overflows.
top = st.floats(2.0**-100, 2.0**100, width=32)
share = st.floats(-1, 1, width=32)


@pytest.mark.parametrize("bits", range(2, 25))
def test_full_scale_is_symmetric_two_complement(bits):
    assert largest_code(bits) == 2 ** (bits - 1) - 1


# DAC


def dac(x, top, bits):
    """Codes of activations, and the activation of one code."""
    gain, step = input_gain(np.array([top], np.float32), bits)
    x = np.asarray(x, np.float32).reshape(1, 1, 1, -1)
    return to_codes(x, gain, largest_code(bits), None, 0, x.size).ravel(), step[0]


@laws
@given(top, dac_bits)
def test_the_gain_is_the_quotient_in_float32(top, bits):
    gain, step = input_gain(np.array([top], np.float32), bits)
    assert gain.dtype == step.dtype == np.float32
    limit = np.float32(2 ** (bits - 1) - 1)
    assert (gain[0], step[0]) == (limit / np.float32(top), np.float32(top) / limit)
    assert float(gain[0]) * float(step[0]) == pytest.approx(1, rel=2**-23)


@laws
@given(st.lists(top, min_size=1, max_size=5), dac_bits)
def test_each_image_has_its_own_gain(tops, bits):
    together = input_gain(np.array(tops, np.float32), bits)
    for position, top in enumerate(tops):
        alone = input_gain(np.array([top], np.float32), bits)
        assert [part[position] for part in together] == [part[0] for part in alone]


@pytest.mark.parametrize("bits", [2, 8, 12, 16])
def test_the_full_scale_has_the_largest_code(bits):
    for top in np.float32([2.0**-100, 1e-3, 0.1, 1, 3, 1e30]):
        codes, step = dac([top, -top], top, bits)
        assert codes.tolist() == [largest_code(bits), -largest_code(bits)]
        assert float(step) * largest_code(bits) == pytest.approx(float(top), rel=2**-23)


@pytest.mark.parametrize("top", [0.0, 1e-45, 1e-38, np.nextafter(np.float32(2.0**-100), np.float32(0))])
def test_silent_inputs_have_no_gain_and_no_step(top):
    for part in input_gain(np.array([top, 1], np.float32), 8):
        assert part[0] == 0
        assert part[1] > 0
    codes, step = dac([top, -top, 0.0], top, 8)
    assert codes.tolist() == [0, 0, 0]
    assert step == 0


def test_the_smallest_input_that_is_not_silent():
    gain, step = input_gain(np.array([2.0**-100], np.float32), 16)
    assert gain[0] == 32767 * 2.0**100
    assert step[0] == np.float32(2.0**-100) / np.float32(32767) > 0


@laws
@given(st.lists(share, min_size=1, max_size=20), top, dac_bits)
def test_dac_laws(shares, top, bits):
    x = np.sort(np.float32(shares) * np.float32(top))
    codes, step = dac(x, top, bits)
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
    step = input_gain(np.array([127], np.float32), 8)[1][0]
    assert step == 1
    assert np.array_equal(dac(codes, 127, 8)[0], codes)
    assert np.array_equal(dac(codes + 0.4375, 127, 8)[0], codes)
    assert np.array_equal(dac(codes - 0.4375, 127, 8)[0], codes)
    half = codes + 0.5  # ties to even
    assert np.array_equal(dac(half, 127, 8)[0], np.clip(2 * np.round(half / 2), -127, 127))


# ADC


@pytest.mark.parametrize("lsb", [1, 2, 16, 1024])
def test_every_sum_of_an_8_bit_adc(lsb):
    sums = np.arange(-200 * lsb, 200 * lsb + 1)
    codes = adc_codes(sums, 1 / lsb, 8)
    assert codes.dtype == np.int64
    assert codes.tolist() == [max(-127, min(127, round(int(s) / lsb))) for s in sums]
    assert set(codes.tolist()) == set(range(-127, 128))


@laws
@given(st.lists(st.integers(-(2**45), 2**45), min_size=1, max_size=20), st.floats(2.0**-50, 1.0), adc_bits)
def test_adc_laws(sums, gain, bits):
    sums, limit = np.sort(np.array(sums, np.int64)), largest_code(bits)
    codes = adc_codes(sums, gain, bits)
    assert np.abs(codes).max() <= limit
    assert (np.diff(codes) >= 0).all()
    assert np.array_equal(adc_codes(-sums, gain, bits), -codes)
    exact = sums * gain
    inside = np.abs(exact) <= limit
    assert (np.abs(codes - exact)[inside] <= 0.5).all()
    assert np.array_equal(codes[~inside], limit * np.sign(sums[~inside]))
    assert codes.tolist() == [naive.adc(int(s), gain, bits) for s in sums]


@pytest.mark.parametrize("bits", [2, 8, 24])
def test_the_adc_rounds_ties_to_even_and_saturates(bits):
    limit = largest_code(bits)
    assert adc_codes(np.array([0, 1, -1, 3, -3]), 0.5, 24).tolist() == [0, 0, 0, 2, -2]
    ends = np.array([limit, limit + 1, 2**62, -limit, -limit - 1, -(2**62)])
    assert adc_codes(ends, 1.0, bits).tolist() == [limit] * 3 + [-limit] * 3


def test_the_shape_is_kept():
    assert adc_codes(np.zeros((2, 3, 4), np.int64), 1.0, 8).shape == (2, 3, 4)
    assert adc_codes(np.zeros((2, 3), np.int32), 1.0, 8).dtype == np.int64


# Readout


def test_presets():
    assert set(PRESETS) == {"paper", "chip8"}
    for name, readout in PRESETS.items():
        assert preset(name) is readout
        assert (readout.name, readout.ranges) == (name, None)
    paper, chip8 = PRESETS["paper"], PRESETS["chip8"]
    assert (paper.dac_bits, paper.adc_bits, paper.tile_rows, paper.read_noise) == (12, None, None, "frozen")
    assert (chip8.dac_bits, chip8.adc_bits, chip8.tile_rows, chip8.read_noise) == (8, 8, 256, "fresh")


@pytest.mark.parametrize("name", ["Paper", "", "chip"])
def test_an_unknown_preset(name):
    with pytest.raises(ParameterError, match=r"^preset: expected one of paper, chip8, found "):
        preset(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({"dac_bits": bits}, "dac_bits: expected from 2 to 16") for bits in (1, 17, 0, -8, True, 8.0, None, "8")),
        *(({"adc_bits": bits}, "adc_bits: expected from 2 to 24") for bits in (1, 25, 0, -8, True, 8.0, "8")),
        *(({"tile_rows": rows}, "tile_rows: expected a positive integer") for rows in (0, -1, 1.0, "1")),
        *(({"read_noise": x}, "read_noise: expected one of frozen, fresh") for x in ("none", "", None, True)),
    ],
    ids=str,
)
def test_readouts_that_are_refused(changes, message):
    with pytest.raises(ParameterError, match=f"^readout mine: {message}"):
        Readout(**{"name": "mine", "dac_bits": 8} | changes)


@pytest.mark.parametrize(
    "changes", [{"dac_bits": 2}, {"dac_bits": 16}, {"adc_bits": 2}, {"adc_bits": 24}, {"tile_rows": 1}]
)
def test_readouts_at_the_ends_of_their_ranges(changes):
    ((name, value),) = changes.items()
    assert getattr(Readout(**{"name": "mine", "dac_bits": 8} | changes), name) == value


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["input_top", "sum_top_us"])
def test_ranges_that_are_refused(name, value):
    with pytest.raises(ParameterError, match=rf"^range {name}: expected a number from 2\^-1[02][06] to 2\^100"):
        Range(**{"input_top": 1.0, "sum_top_us": 1.0} | {name: value})


RANGE = Range(input_top=1.0, sum_top_us=2.0)


@pytest.mark.parametrize("adc_bits", [None, 8])
def test_range_of(adc_bits):
    readout = Readout(name="mine", dac_bits=8, adc_bits=adc_bits, ranges={"a": RANGE})
    assert readout.range_of("a") is RANGE
    with pytest.raises(ParameterError, match="readout mine: expected calibrated ranges for layer 'b'"):
        readout.range_of("b")


def test_ranges_of_any_type_of_number_become_floats():
    found = Range(input_top=np.float32(1.5), sum_top_us=2)
    assert (found.input_top, found.sum_top_us) == (1.5, 2.0)
    assert type(found.input_top) is type(found.sum_top_us) is float
    with pytest.raises(ParameterError, match=r"range input_top: expected a number from 2\^-1[02][06] to 2\^100"):
        Range(input_top="1", sum_top_us=2.0)


def test_presets_cannot_be_changed():
    with pytest.raises(TypeError):
        PRESETS["paper"] = PRESETS["chip8"]


def test_range_of_a_readout_without_ranges():
    assert Readout(name="mine", dac_bits=8).range_of("a") is None
    with pytest.raises(ParameterError, match=r"readout mine: expected calibrated ranges for layer 'a' .*, found none"):
        Readout(name="mine", dac_bits=8, adc_bits=8).range_of("a")


def test_full_scales_of_inputs_that_would_count_as_zero_are_refused():
    assert Range(input_top=2.0**-100, sum_top_us=2.0**-126).input_top == 2.0**-100
    for changes in ({"input_top": np.nextafter(2.0**-100, 0)}, {"sum_top_us": np.nextafter(2.0**-126, 0)}):
        with pytest.raises(ParameterError, match=r"range (input_top|sum_top_us): expected a number from 2"):
            Range(**{"input_top": 1.0, "sum_top_us": 1.0} | changes)


def test_a_readout_keeps_its_own_ranges():
    ranges = {"a": RANGE}
    readout = Readout(name="mine", dac_bits=8, ranges=ranges)
    ranges["a"] = Range(input_top=9.0, sum_top_us=9.0)
    assert readout.range_of("a") is RANGE
    for bad, message in (([RANGE], "ranges: expected a Mapping"), ({"a": (1, 2)}, "ranges of 'a': expected a Range")):
        with pytest.raises(ParameterError, match=message):
            Readout(name="mine", dac_bits=8, ranges=bad)
