"""DACs, gains, ADCs and registers: what they are, and every one that is refused."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint, fixed_point
from pcmref.errors import ParameterError
from tests.helpers import naive

laws = settings(max_examples=2 * settings.default.max_examples)


def refused(where, message, make):
    """Making something is refused at this place, with a message that begins so."""
    with pytest.raises(ParameterError) as caught:
        make()
    assert caught.value.where == where
    assert f"expected {caught.value.expected}, found {caught.value.found}".startswith(f"expected {message}")


# DAC


@pytest.mark.parametrize(
    ("codes", "low", "high", "offset", "largest"),
    [
        ("symmetric", -7, 7, 0, 7),
        ("signed", -8, 7, 0, 8),
        ("offset", -8, 7, 8, 15),
        ("unsigned", 0, 15, 0, 15),
    ],
)
def test_the_codes_of_a_4_bit_dac(codes, low, high, offset, largest):
    dac = Dac(bits=4, codes=codes)
    assert (dac.low, dac.high, dac.offset, dac.largest, dac.weights) == (low, high, offset, largest, (1,))
    assert Dac(bits=4, codes=codes, drive="bit-serial").largest == 1


@pytest.mark.parametrize("codes", ["symmetric", "signed", "offset", "unsigned"])
@pytest.mark.parametrize("bits", range(2, 17))
def test_the_codes_of_every_width(codes, bits):
    if bits == 16 and codes != "symmetric":
        refused("dac: bits", "from 2 to 15, found 16", lambda: Dac(bits=bits, codes=codes))
        return
    dac = Dac(bits=np.int64(bits), codes=codes)
    assert type(dac.bits) is int
    assert (dac.low, dac.high, dac.offset) == naive.code_limits(dac)
    assert dac.largest == max(dac.high + dac.offset, -dac.low - dac.offset) <= 32767
    assert dac.high - dac.low == 2**bits - (2 if codes == "symmetric" else 1)


def test_weights_of_the_phases():
    assert Dac(bits=4, drive="two-phase").weights == (1, -1)
    assert Dac(bits=4, codes="signed", drive="two-phase").largest == 8
    assert Dac(bits=4, drive="two-phase").largest == 7
    for codes, top in (("symmetric", -8), ("signed", -8), ("offset", 8), ("unsigned", 8)):
        assert Dac(bits=4, codes=codes, drive="bit-serial").weights == (1, 2, 4, top)


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        *(({"bits": bits}, "bits", "from 2 to 16, found") for bits in (1, 17, 0, -8, True, 8.0, None, "8")),
        ({"codes": "twos"}, "codes", "one of symmetric, signed, offset, unsigned, found 'twos'"),
        ({"codes": None}, "codes", "one of symmetric, signed, offset, unsigned, found None"),
        ({"drive": "serial"}, "drive", "one of parallel, two-phase, bit-serial, found 'serial'"),
        *(
            (
                {"codes": codes, "drive": "two-phase"},
                "drive",
                f"another than 'two-phase', as {codes} codes drive no negative part, found 'two-phase'",
            )
            for codes in ("offset", "unsigned")
        ),
    ],
)
def test_dacs_that_are_refused(changes, place, message):
    refused(f"dac: {place}", message, lambda: Dac(**{"bits": 8} | changes))


# Gains in fixed point


def test_a_fixed_point_gain_is_a_multiplier_and_a_shift():
    gain = FixedPoint(40001, 33)
    assert (float(gain), str(gain)) == (40001 / 2**33, "40001/2^33")
    assert FixedPoint.parse(str(gain)) == gain
    assert FixedPoint.parse(" 7 / 2 ** 3 ") == FixedPoint.parse("7/2**3") == FixedPoint(7, 3)
    assert float(FixedPoint(2**31 - 1, 0)) == 2**31 - 1
    assert float(FixedPoint(1, 52)) == 2.0**-52
    assert FixedPoint(1, 3) < FixedPoint(1, 4) < FixedPoint(2, 0)
    other = FixedPoint(np.int32(3), np.uint8(4))
    assert {type(value) for value in (other.multiplier, other.shift)} == {int}


@pytest.mark.parametrize(
    "text",
    ["", "7", "7/2", "7/2^", "/2^3", "7/3^2", "7*2^3", "-7/2^3", "7/2^-3", "7.5/2^3", "7/2^3x", "1e3/2^3", "7/23"],
)
def test_texts_that_are_no_gain(text):
    refused("gain", f"MULTIPLIER/2^SHIFT, for example 40001/2^33, found {text!r}", lambda: FixedPoint.parse(text))


@pytest.mark.parametrize(
    ("multiplier", "shift", "place", "message"),
    [
        *((m, 5, "multiplier", "from 1 to 2^31 - 1, found") for m in (0, -1, 2**31, 1.0, True, "3", None)),
        *((5, s, "shift", "from 0 to 52, found") for s in (-1, 53, 1.0, False, "3", None)),
    ],
)
def test_gains_that_are_refused(multiplier, shift, place, message):
    refused(f"gain: {place}", message, lambda: FixedPoint(multiplier, shift))


def test_texts_of_gains_out_of_range():
    refused("gain: multiplier", "from 1 to 2^31 - 1, found 0", lambda: FixedPoint.parse("0/2^3"))
    refused("gain: multiplier", "from 1 to 2^31 - 1, found 2147483648", lambda: FixedPoint.parse("2147483648/2^3"))
    refused("gain: shift", "from 0 to 52, found 53", lambda: FixedPoint.parse("1/2^53"))


@laws
@given(st.floats(2.0**-21, 0.99), st.integers(2, 31))
def test_the_nearest_gain_has_a_multiplier_of_so_many_bits(gain, bits):
    found = fixed_point(gain, bits)
    assert 2 ** (bits - 1) <= found.multiplier < 2**bits
    exact, value = Fraction(gain), Fraction(found.multiplier, 2**found.shift)
    assert value == naive.snapped(gain, bits)
    assert abs(value - exact) <= Fraction(1, 2 ** (found.shift + 1))
    assert fixed_point(float(found), bits) == found


def test_gains_next_to_a_power_of_two():
    """A multiplier that is rounded up to one bit more has one less at a shift that is one less."""
    assert fixed_point(0.5, 8) == FixedPoint(128, 8)
    assert fixed_point(np.nextafter(0.5, 0), 8) == FixedPoint(128, 8)
    assert fixed_point(255.5 / 512, 8) == FixedPoint(128, 8)  # a tie, to even
    assert fixed_point(254.5 / 512, 8) == FixedPoint(254, 9)  # a tie, to even
    assert fixed_point(3.0, 2) == FixedPoint(3, 0)
    assert fixed_point(1.0, 31) == FixedPoint(2**30, 30)
    assert fixed_point(2.0**-22, 31) == FixedPoint(2**30, 52)
    for gain, bits in ((2.0**-23, 31), (4.0, 2), (1e9, 8), (1e-30, 16)):
        refused("gain: shift", "from 0 to 52, found", lambda gain=gain, bits=bits: fixed_point(gain, bits))


# ADC


def test_an_adc_of_so_many_bits():
    adc = Adc(bits=8)
    assert (adc.low, adc.high, adc.limits, adc.codes) == (-127, 127, (-127, 127), 255)
    assert (adc.rounding, adc.gain, adc.gain_bits, adc.offset, adc.thresholds) == ("half-even", None, None, 0, None)
    assert adc == Adc(bits=8, low=-127, high=127)
    assert Adc(bits=2).limits == (-1, 1)
    assert Adc(bits=24).limits == (-(2**23) + 1, 2**23 - 1)
    assert (
        Adc(bits=8, low=0, high=255).codes == Adc(bits=8, low=-128).codes == Adc(bits=8, low=-254, high=1).codes == 256
    )
    assert Adc(bits=8, low=-3, high=5).limits == (-3, 5)
    with pytest.raises(FrozenInstanceError):
        adc.low = 0


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        *(
            ({"bits": b}, "bits", "from 2 to 24, or no ADC at all (None), found")
            for b in (1, 25, 0, True, 8.0, None, "8")
        ),
        *(({"low": low}, "low", "from -255 to 0, found") for low in (1, -256, 0.0, "0", True)),
        ({"high": 0}, "high", "from 1 to 128, as low is -127, found 0"),
        ({"high": 129}, "high", "from 1 to 128, as low is -127, found 129"),
        ({"high": 1.0}, "high", "from 1 to 128, as low is -127, found 1.0"),
        ({"low": -255}, "high", "from 1 to 0, as low is -255, found 127"),
        ({"low": 0, "high": 256}, "high", "from 1 to 255, as low is 0, found 256"),
        ({"low": -128, "high": -1}, "high", "from 1 to 127, as low is -128, found -1"),
        ({"low": -129}, "high", "from 1 to 126, as low is -129, found 127"),
        *(({"rounding": r}, "rounding", f"one of {', '.join(ROUNDINGS)}, found") for r in ("round", None, 0)),
        *(({"gain_bits": bits}, "gain_bits", "from 2 to 31, found") for bits in (1, 32, True, 16.0, "16")),
        ({"gain": 1.0, "gain_bits": 8}, "gain_bits", "none beside a gain, found 8"),
        ({"gain": FixedPoint(1, 1), "gain_bits": 8}, "gain_bits", "none beside a gain, found 8"),
        *(
            ({"gain": gain}, "gain", "FixedPoint(multiplier, shift), or a number from 2^-100 to 2^100, found")
            for gain in (
                0,
                0.0,
                -1.0,
                math.nan,
                math.inf,
                "1",
                True,
                5e-324,
                2.0**-101,
                2.0**101,
                [1.0, 0.0],
                (1, None),
            )
        ),
        *(
            (
                {"gain": gain},
                "gain",
                f"a shift at which the codes beyond -127 and 127 times 2^shift are at most 2^53, found {shown}",
            )
            for gain, shown in ((FixedPoint(1, 47), "1/2^47"), ([FixedPoint(1, 2), FixedPoint(5, 52)], "5/2^52"))
        ),
        *(
            ({"offset": offset}, "offset", "integers below 2^52 in size, found")
            for offset in (2**52, -(2**52), 1.0, "1", True, None, [0, 2**52], (1, 0.5))
        ),
    ],
    ids=str,
)
def test_adcs_that_are_refused(changes, place, message):
    refused(f"adc: {place}", message, lambda: Adc(**{"bits": 8} | changes))


@pytest.mark.parametrize(("bits", "low"), [(2, None), (2, -2), (8, None), (8, -128), (8, 0), (24, None), (24, 0)])
def test_the_largest_shift_is_the_one_at_which_codes_beyond_reach_2_to_the_53(bits, low):
    high = 2**bits - 1 if low == 0 else None
    most = max(2**bits - 1 if low == 0 else 2 ** (bits - 1) - 1, -(low or 0))
    shift = max(s for s in range(53) if (most + 1) * 2**s <= 2**53)
    assert Adc(bits=bits, low=low, high=high, gain=FixedPoint(3, shift)).gain == FixedPoint(3, shift)
    if shift < 52:
        refused(
            "adc: gain",
            "a shift at which the codes beyond",
            lambda: Adc(bits=bits, low=low, high=high, gain=FixedPoint(3, shift + 1)),
        )


def test_gains_and_offsets_of_columns():
    adc = Adc(bits=8, gain=np.array([0.5, 2, 1e-3]), offset=[1, np.int8(-2), 2**52 - 1])
    assert adc.gain == (0.5, 2.0, 1e-3)
    assert adc.offset == (1, -2, 2**52 - 1)
    assert {type(value) for value in adc.gain} == {float}
    assert {type(value) for value in adc.offset} == {int}
    assert adc.gains(3).tolist() == [0.5, 2.0, 1e-3]
    assert adc.offsets(3).tolist() == [1.0, -2.0, 2.0**52 - 1]
    mixed = Adc(bits=8, gain=[FixedPoint(3, 2), 0.1])
    assert mixed.gains(2).tolist() == [0.75, 0.1]
    assert Adc(bits=8, gain=np.float32(0.25)).gain == 0.25
    assert Adc(bits=8, gain=2, offset=np.array(7)).gains(3).tolist() == [2.0] * 3
    assert Adc(bits=8, gain=2, offset=np.array(7)).offsets(3).tolist() == [7.0] * 3
    assert Adc(bits=8, gain=FixedPoint(7, 3)).gains(2).dtype == np.float64
    assert Adc(bits=8).gains(3) is None
    assert Adc(bits=8).offsets(2).tolist() == [0.0, 0.0]
    assert Adc(bits=8, gain=2.0**-100).gains(1).tolist() == [2.0**-100]
    assert hash(adc) == hash(replace(adc))


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_numbers_of_another_count_of_columns_are_refused(columns):
    message = f"one, or {columns}, one a column, found 3"
    adc = Adc(bits=8, gain=[1, 2, 3], offset=[1, 2, 3])
    assert adc.gains(3).tolist() == adc.offsets(3).tolist() == [1.0, 2.0, 3.0]
    refused("adc: gain", message, lambda: adc.gains(columns))
    refused("adc: offset", message, lambda: adc.offsets(columns))


def test_thresholds_of_one_or_of_each_column():
    one, each = Adc(bits=2, thresholds=[-5, 7]), Adc(bits=2, thresholds=np.array([[-5, 7], [0, 0], [1, 2]], np.int16))
    assert one.thresholds == ((-5, 7),)
    assert each.thresholds == ((-5, 7), (0, 0), (1, 2))
    assert {type(value) for row in each.thresholds for value in row} == {int}
    assert one.tables(3).tolist() == [[-5, 7]] * 3
    assert each.tables(3).tolist() == [[-5, 7], [0, 0], [1, 2]]
    assert each.tables(3).dtype == np.int64
    assert Adc(bits=2).tables(3) is None
    assert one.gains(3) is None
    assert Adc(bits=2, low=0, high=3, thresholds=[1, 2, 2**52 - 1]).codes == 4
    for columns in (1, 2, 4):
        expected = f"1 or {columns} rows, one a column, found 3"
        refused("adc: thresholds", expected, lambda columns=columns: each.tables(columns))


FORM = "integers of shape (2,) or (columns, 2), one less than there are codes, found"


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ([1], f"{FORM} int64 of shape (1, 1)"),
        ([1, 2, 3], f"{FORM} int64 of shape (1, 3)"),
        ([[1, 2], [3]], FORM),
        ([[[1, 2]]], f"{FORM} int64 of shape (1, 1, 2)"),
        ([], FORM),
        (np.zeros((0, 2), int), f"{FORM} int64 of shape (0, 2)"),
        (5, FORM),
        ([1.0, 2.0], f"{FORM} float64 of shape (1, 2)"),
        ([True, False], f"{FORM} bool of shape (1, 2)"),
        (["1", "2"], FORM),
        ([2**70, 2**71], FORM),
        ([2, 1], "numbers that do not fall, found 1 after 2 at [0, 1]"),
        ([[0, 1], [5, -5]], "numbers that do not fall, found -5 after 5 at [1, 1]"),
        ([0, 2**52], f"integers below 2^52 in size, found {2**52} at [0, 1]"),
        ([[0, 1], [-(2**52), 0]], f"integers below 2^52 in size, found {-(2**52)} at [1, 0]"),
        (np.array([0, 2**64 - 1], np.uint64), f"integers below 2^52 in size, found {2**64 - 1} at [0, 1]"),
    ],
    ids=str,
)
def test_thresholds_that_are_refused(thresholds, message):
    refused("adc: thresholds", message, lambda: Adc(bits=2, thresholds=thresholds))


def test_masked_thresholds_are_refused():
    masked = np.ma.masked_array([0, 1, 2], [False, True, False])
    refused("adc: thresholds", "an array without masked elements, found some", lambda: Adc(bits=2, thresholds=masked))


@pytest.mark.parametrize(
    ("name", "value"),
    [("gain", 1.0), ("gain", FixedPoint(1, 2)), ("gain", [1.0]), ("gain_bits", 8), ("offset", 3), ("offset", [0, 1])],
)
def test_nothing_that_thresholds_replace_stands_beside_them(name, value):
    message = "none beside thresholds, which replace it, found"
    refused(f"adc: {name}", message, lambda: Adc(bits=2, thresholds=[0, 1], **{name: value}))


def test_the_gain_that_serves_for_one():
    assert Adc(bits=8).derived(0.1) == 0.1
    assert Adc(bits=8, gain_bits=16).derived(0.1) == 52429 / 2**19
    assert Adc(bits=8, gain_bits=2).derived(0.1) == 3 / 2**5
    refused("adc: gain", "a shift at which the codes beyond -127", lambda: Adc(bits=8, gain_bits=31).derived(2.0**-20))
    refused("gain: shift", "from 0 to 52, found", lambda: Adc(bits=8, gain_bits=8).derived(2.0**-60))
    refused("gain: shift", "from 0 to 52, found", lambda: Adc(bits=8, gain_bits=8).derived(300.0))


# Register


def test_registers():
    assert (Accumulator(bits=24).bits, Accumulator(bits=24).beyond) == (24, "error")
    assert type(Accumulator(bits=np.int8(24), beyond="wrap").bits) is int
    for bits in (1, 61, True, 24.0, None):
        refused("accumulator: bits", "from 2 to 60, found", lambda bits=bits: Accumulator(bits=bits))
    for beyond in ("clip", None, ""):
        message = "one of error, saturate, wrap, found"
        refused("accumulator: beyond", message, lambda beyond=beyond: Accumulator(bits=24, beyond=beyond))
