"""The rules of a product: each compiled one, for one number, has the bits of its twin for arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pcmref.arithmetic import codes, periphery
from tests.arithmetic.operands import filled_table

rules = pytest.importorskip("pcmref.arithmetic.fast.rules")

laws = settings(max_examples=2 * settings.default.max_examples)
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # of scalars, without JIT

f32 = np.float32
#: Any finite float32: zeros of either sign, subnormals and the largest among them.
number = st.floats(width=32, allow_nan=False, allow_infinity=False).map(f32)
#: Multiples of a half, so that ties come often.
half = st.integers(-(2**17), 2**17).map(lambda k: f32(k / 2))
size = st.floats(0, width=32, allow_nan=False, allow_infinity=False).map(f32)
dac_limit = st.integers(2, 16).map(lambda bits: 2 ** (bits - 1) - 1)
adc_limit = st.integers(2, 24).map(lambda bits: float(2 ** (bits - 1) - 1))
rounding = st.sampled_from(codes.ROUNDINGS)
integer = st.integers(-(2**62), 2**62) | st.integers(-100, 100)
LARGEST = np.finfo(np.float32).max


def same(found, expected):
    """The same bits; integers of any width, since a single code has the least that it needs."""
    (expected,) = np.asarray(expected)
    if isinstance(expected, np.integer):
        assert int(found) == int(expected)
    else:
        assert np.asarray(found, expected.dtype).tobytes() == expected.tobytes()
        assert float(found) == float(expected) or math.isnan(expected)


def test_each_rule_of_a_product_is_there_twice():
    singular = {"dac_codes": "dac_code", "adc_codes": "adc_code", "table_codes": "table_code"}
    stages = {"dac_gain", "dac_codes", "read_noise", "limited", "rounded", "adc_codes", "table_codes"}
    fused = {"scaled", "normalised", "added", "rectified"}  # what follows a layer in one call
    twice = {*stages, *fused}
    assert fused < set(periphery.__all__)
    assert twice < {*codes.__all__, *periphery.__all__}
    assert set(rules.__all__) == {singular.get(name, name) for name in twice}


# DAC


@laws
@given(size, dac_limit)
@example(f32(0), 127)
@example(f32(2.0**-100), 32767)
@example(np.nextafter(f32(2.0**-100), f32(0)), 1)
@example(f32(1e-45), 127)
@example(LARGEST, 2047)
def test_dac_gain(top, limit):
    for found, expected in zip(rules.dac_gain(top, f32(limit)), codes.dac_gain(np.array([top]), limit), strict=True):
        assert expected.dtype == np.float32
        same(found, expected)


@laws
@given(number | half, size | st.sampled_from([0, 0.5, 1, 2]).map(f32), dac_limit, st.sampled_from([0, 1, None]))
@example(f32(-0.0), f32(1), 127, 0)
@example(f32(1e-45), LARGEST, 127, 0)
@example(LARGEST, LARGEST, 127, 1)
@example(-LARGEST, f32(1), 32767, 1)
@example(-LARGEST, LARGEST, 32767, None)
@example(f32(0.49999997), f32(1), 127, None)
def test_dac_code(x, gain, high, more):
    low = 0 if more is None else -high - more
    same(rules.dac_code(x, gain, f32(low), f32(high)), codes.dac_codes(np.array([x]), gain, low, high))


def each(rule, values, *rest):
    """Apply a rule to one number after the other."""
    return np.array([rule(value, *rest) for value in values])


@pytest.mark.parametrize("bits", range(2, 13))
def test_every_code_of_a_dac(bits):
    """On a grid of eighths of a code, two codes beyond each end."""
    limit = 2 ** (bits - 1) - 1
    x = np.arange(-8 * (limit + 2), 8 * (limit + 2) + 1, dtype=np.float32) / f32(8)
    wanted = [max(-limit, min(limit, round(v))) for v in x.tolist()]  # Python rounds ties to even too
    assert set(wanted) == set(range(-limit, limit + 1))
    for gain in (1.0, 2.0**-20, 2.0**90):  # exact scales
        scaled = x / f32(gain)
        for found in (
            codes.dac_codes(scaled, f32(gain), -limit, limit),
            each(rules.dac_code, scaled, f32(gain), f32(-limit), f32(limit)),
        ):
            assert found.tolist() == wanted
    for top in f32([0.1, 1, 3, 1e-20]):  # any scale
        x = np.linspace(-1.5, 1.5, 2 * limit + 99, dtype=np.float32) * top
        gain, _ = codes.dac_gain(np.array([top]), limit)
        found = codes.dac_codes(x, gain, -limit, limit).astype(int)
        assert found.tolist() == each(rules.dac_code, x, gain[0], f32(-limit), f32(limit)).tolist()
        assert (np.diff(found) >= 0).all()
        assert (found == -codes.dac_codes(-x, gain, -limit, limit)).all()
        assert (found[np.abs(x) >= top] == np.sign(x[np.abs(x) >= top]) * limit).all()


# Read noise


@laws
@given(st.floats(-6.34, 6.34), st.integers(0, 2**58))
@example(-0.0, 2**31)
@example(0.5 / 8, 1)
@example(1.5 / 8, 1)
@example(-6.34, 0)
@example(6.34, 2**58)
def test_read_noise(z, variance):
    kinds = [np.int64] + [np.int32] * (variance < 2**31)
    for kind in kinds:
        same(rules.read_noise(z, kind(variance)), codes.read_noise(np.array([z]), np.array([variance], kind)))


# Register and ADC


@laws
@given(integer, st.integers(2, 60), st.booleans())
@example(2**59, 60, False)
@example(-(2**59) - 1, 60, True)
@example(2**31 - 1, 32, False)
def test_limited(total, bits, saturates):
    kinds = [np.int64] + [np.int32] * (abs(total) < 2**31)
    for kind in kinds:
        expected = codes.limited(np.array([total]), bits, saturates)
        same(rules.limited(kind(total), bits, saturates), expected)


@laws
@given(st.floats(-(2.0**60), 2.0**60) | half.map(float) | st.floats(-2, 2), rounding)
@example(-0.0, "half-up")
@example(0.49999999999999994, "half-away")
@example(-0.49999999999999994, "half-up")
@example(-5e-324, "half-up")
@example(2.0**52 + 0.5, "half-away")
@example(-(2.0**53), "half-up")
def test_rounded(value, rule):
    same(rules.rounded(value, codes.ROUNDINGS.index(rule)), codes.rounded(np.array([value]), rule))


@laws
@given(
    integer,
    st.floats(0, 1e308) | st.sampled_from([0.5, 1.0, 2.0**-20, 5e-324, 1e300]),
    st.sampled_from([0, 0, 1, -(2**52) + 1, 2**52 - 1, 10**6]),
    adc_limit,
    st.sampled_from([0.0, 1.0, None]),
    rounding,
)
@example(2**53 + 1, 2.0**-53, 0, 127.0, 0.0, "half-even")
@example(-(2**62), 1.7e308, 0, 1.0, 1.0, "floor")
@example(-(2**62), 1.7e308, 0, 1.0, None, "toward-zero")
def test_adc_code(total, gain, offset, high, more, rule):
    kinds = [np.int64] + [np.int32] * (abs(total) < 2**31)
    low = 0.0 if more is None else -high - more
    for kind in kinds:
        expected = codes.adc_codes(np.array([[total]], kind), np.array([gain]), np.array([offset]), low, high, rule)
        found = rules.adc_code(kind(total), gain, float(offset), low, high, codes.ROUNDINGS.index(rule))
        same(found, expected[0])


@laws
@given(integer, st.floats(-1.2, 1.2), adc_limit, rounding)
@example(2**25 + 5, (2**22 + 0.625) / (2**23 - 1), 2.0**23 - 1, "half-even")  # in float32 a tie
def test_adc_code_of_sums_within_the_converter(total, share, limit, rule):
    gain = abs(share) * limit / max(abs(total), 1)
    expected = codes.adc_codes(np.array([[total]]), np.array([gain]), np.zeros(1), -limit, limit, rule)
    same(rules.adc_code(np.int64(total), gain, 0.0, -limit, limit, codes.ROUNDINGS.index(rule)), expected[0])


@laws
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40), st.integers(-60, 60), st.sampled_from([0, -7]))
def test_table_code(thresholds, total, low):
    table = filled_table([[[0] * len(thresholds), sorted(thresholds)]], low)
    for kind in (np.int32, np.int64):
        expected = codes.table_codes(np.array([[total]], kind), table.thresholds[0, 1:], low)
        same(rules.table_code(kind(total), table.thresholds[0], 1, low), expected[0])
        assert expected[0] == low + sum(t <= total for t in thresholds)


@pytest.mark.parametrize("bits", range(2, 13))
@pytest.mark.parametrize("lsb", [1, 2, 8])
def test_every_code_of_an_adc(bits, lsb):
    """All sums, from two codes below the one end to two codes beyond the other."""
    limit = 2 ** (bits - 1) - 1
    sums = np.arange(-lsb * (limit + 2), lsb * (limit + 2) + 1)
    wanted = [max(-limit, min(limit, round(int(s) / lsb))) for s in sums]
    assert set(wanted) == set(range(-limit, limit + 1))

    def code(gain, rule="half-even"):
        found = codes.adc_codes(sums[:, None], np.array([gain]), np.zeros(1), -limit, limit, rule)[:, 0]
        number = codes.ROUNDINGS.index(rule)
        assert found.tolist() == each(rules.adc_code, sums, gain, 0.0, float(-limit), float(limit), number).tolist()
        assert (np.diff(found) >= 0).all()
        return found

    for gain in (1 / lsb, np.nextafter(1 / lsb, 0), 0.7 / lsb):
        found = code(gain)
        assert found.tolist() == (-found[::-1]).tolist()
        if gain == 1 / lsb:
            assert found.tolist() == wanted
            beyond = np.abs(sums) >= lsb * limit
            assert (found[beyond] == np.sign(sums[beyond]) * limit).all()
    if bits < 8:
        for rule in codes.ROUNDINGS[1:]:
            assert set(code(1 / lsb, rule).tolist()) == set(wanted)


# Digital periphery


@laws
@given(integer | number, number)
@example(2**24 + 1, f32(1))
@example(f32(-0.0), f32(1))
@example(3, f32(1e-45))
@example(LARGEST, LARGEST)
def test_scaled(code, factor):
    code = code if isinstance(code, np.float32) else np.int64(code)
    with np.errstate(over="ignore"):
        expected = periphery.scaled(np.array([code]), factor)
    assert expected.dtype == np.float32
    same(rules.scaled(code, factor), expected)
    if isinstance(code, np.int64) and abs(code) < 2**31:
        same(rules.scaled(np.int32(code), factor), expected)


@laws
@given(number, number, number)
@example(f32(1 + 2.0**-23), f32(1 + 2.0**-23), f32(-1))  # fused, it would end otherwise
@example(f32(0), f32(-1), f32(0))
@example(f32(-0.0), f32(1), f32(-0.0))
@example(f32(1e-45), f32(0.5), f32(1e-45))
def test_normalised(x, scale, offset):
    with np.errstate(over="ignore"):
        expected = periphery.normalised(np.array([x]), np.array([scale]), np.array([offset]))
    assert expected.dtype == np.float32
    same(rules.normalised(x, scale, offset), expected)


def test_normalised_rounds_after_the_product():
    x = f32(1 + 2.0**-12)
    assert float(x) * float(x) - 1 != float(x * x) - 1
    assert rules.normalised(x, x, f32(-1)) == periphery.normalised(np.array([x]), x, f32(-1))[0] == x * x - f32(1)


@laws
@given(number, number)
@example(f32(-0.0), f32(-0.0))
@example(f32(-0.0), f32(0))
@example(LARGEST, LARGEST)
@example(f32(1e-45), f32(-1e-45))
def test_added(x, y):
    with np.errstate(over="ignore"):
        same(rules.added(x, y), periphery.added(np.array([x]), np.array([y])))


@laws
@given(number)
@example(f32(0))
@example(f32(-0.0))
@example(f32(1e-45))
@example(f32(-1e-45))
@example(-LARGEST)
def test_rectified(x):
    expected = periphery.rectified(np.array([x]))
    assert expected.dtype == np.float32
    same(rules.rectified(x, f32(0)), expected)
    same(rules.rectified(x, f32(-np.inf)), np.array([x]))
    assert expected[0] == max(x, 0)
    assert not np.signbit(expected[0])
