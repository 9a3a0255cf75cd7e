"""The plain tile: it equals `pcmref.tile` and exact arithmetic."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcmref
from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.golden.plain import answers, codes_of_sums, conversions, multiplied, on_tie, plain_adc, trial, width_of
from tests.golden.setups import readout

laws = settings(max_examples=settings.default.max_examples // 2)
KEY = (0x12345678, 0x9ABCDEF0)


@st.composite
def adcs(draw, columns):
    bits = draw(st.integers(3, 9))
    low = draw(st.none() | st.integers(1 - 2 ** (bits - 1), 0))
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        count = Adc(bits=bits, low=low).codes - 1
        return Adc(bits=bits, low=low, thresholds=np.sort(rng.integers(-200_000, 200_000, (columns, count)), axis=1))
    gain = st.one_of(
        st.builds(FixedPoint, st.integers(1, 40), st.integers(10, 16)), st.floats(2.0**-15, 2.0**-9), st.just(2.0**-11)
    )
    offset = st.integers(-5000, 5000)
    return Adc(
        bits=bits,
        low=low,
        rounding=draw(st.sampled_from(ROUNDINGS)),
        gain=draw(st.one_of(gain, st.lists(gain, min_size=columns, max_size=columns).map(tuple))),
        offset=draw(st.one_of(offset, st.lists(offset, min_size=columns, max_size=columns).map(tuple))),
    )


@st.composite
def tiles(draw):
    """A readout, conductances, variance codes or None, vectors."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns, n = draw(st.integers(1, 20)), draw(st.integers(1, 4)), draw(st.integers(1, 6))
    codes = draw(st.sampled_from(["symmetric", "signed", "offset", "unsigned"]))
    drives = ["parallel", "bit-serial"] + ["two-phase"] * (codes in ("symmetric", "signed"))
    separate, fresh = draw(st.booleans()), draw(st.booleans())
    readout = pcmref.Readout(
        name="test",
        dac=Dac(bits=draw(st.integers(2, 8)), codes=codes, drive=draw(st.sampled_from(drives))),
        adc=draw(st.none() | adcs(columns)),
        lines="separate" if separate else "pair",
        accumulator=draw(
            st.none() | st.builds(Accumulator, bits=st.integers(8, 20), beyond=st.sampled_from(["saturate", "wrap"]))
        ),
        read_noise="fresh" if fresh else "frozen",
    )
    shape = (2, rows, columns) if separate else (rows, columns)
    conductance = rng.integers(0 if separate else -32767, 32768, shape)
    variance = rng.integers(0, 32768, shape) if fresh else None
    return readout, conductance, variance, rng.integers(readout.dac.low, readout.dac.high + 1, (n, rows))


@laws
@given(tiles())
def test_it_equals_the_tile_in_every_stage(case):
    readout, conductance, variance, codes = case
    settings = {"variance_code": variance, "stream": None if variance is None else KEY}
    product = pcmref.tile(conductance, readout, **settings)(codes)
    noise = None
    if variance is not None:
        noisy = pcmref.tile(conductance, replace(readout, accumulator=None), **settings)(codes)
        noise = np.stack([part.sums - part.noise_free for part in noisy.parts or (noisy,)])
    work = trial(conductance.reshape(1, -1, *conductance.shape[-2:]), readout, codes, noise=noise)
    for part, conversion in zip(product.parts or (product,), conversions(work), strict=True):
        assert (part.noise_free == conversion.noise_free).all()
        assert (part.sums == conversion.sums).all()
        assert (part.codes == conversion.codes).all()
    assert (product.codes == answers(work)).all()
    assert (product.codes == answers(multiplied(work))).all()
    assert (product.codes[1:] == answers(work[1:])).all()


def exactly(v, rounding):
    """Round a fraction."""
    down = math.floor(v)
    if rounding == "half-even":
        return round(v)
    if rounding == "half-away":
        return math.floor(abs(v) + Fraction(1, 2)) * (1 if v > 0 else -1)
    return {"half-up": math.floor(v + Fraction(1, 2)), "floor": down, "toward-zero": math.trunc(v)}[rounding]


SMALL = (range(-40, 41), range(1, 9), range(5))
#: Products from 2^53, which float64 would round, to beyond 64 bits.
LARGE = ([2**53 + 1, 2**53, -(2**52) - 3, 2**40 + 1, -(2**31) + 1], [3, 2**31 - 1, 2**30], [0, 1, 23, 50, 52])


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("sums", "multipliers", "shifts"), [SMALL, LARGE], ids=["small", "large"])
def test_fixed_point_is_exact_at_any_size(sums, multipliers, shifts, rounding):
    # some of these a readout would refuse: plain integers have no bound
    given = plain_adc(Adc(bits=8, gain=FixedPoint(1, 1), offset=-3, rounding=rounding), 1)
    column = np.array(sums)[:, None]
    for multiplier, shift in itertools.product(multipliers, shifts):
        adc = replace(given, multiplier=np.array([multiplier]), shift=np.array([shift]))
        exact = [Fraction((value - 3) * multiplier, 1 << shift) for value in sums]
        expected = [exactly(v, rounding) for v in exact]
        assert codes_of_sums(column, adc)[:, 0].tolist() == [min(max(code, -127), 127) for code in expected]
        assert codes_of_sums(column, replace(adc, wraps=True))[:, 0].tolist() == [
            (c + 128) % 256 - 128 for c in expected
        ]
        assert on_tie(column, adc)[:, 0].tolist() == [v.denominator == 2 for v in exact]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("gain", [0.5, 0.25, 0.1, 1 / 3])
def test_a_float64_gain_is_one_product_rounded_once(gain, rounding):
    adc = plain_adc(Adc(bits=8, gain=gain, rounding=rounding), 1)
    column = np.arange(-400, 401)[:, None]
    products = [Fraction(float(value) * gain) for value in range(-400, 401)]
    assert codes_of_sums(column, adc)[:, 0].tolist() == [min(max(exactly(v, rounding), -127), 127) for v in products]
    assert on_tie(column, adc)[:, 0].tolist() == [v.denominator == 2 for v in products]


def test_each_vector_meets_its_own_matrix():
    conductance = np.array([[[[1]]], [[[10]]], [[[100]]]])
    work = trial(conductance, readout(adc=None), np.ones((5, 1), int), chosen=np.array([2, 0, 0, 1, 2]))
    assert answers(work)[:, 0].tolist() == [100, 1, 1, 10, 100]
    assert answers(work[[4, 3, 1]])[:, 0].tolist() == [100, 10, 1]
    assert answers(work[:0]).shape == (0, 1)


@pytest.mark.parametrize(
    ("ends", "width"),
    [
        ((-127, 127), (8, True)),
        ((-128, 127), (8, True)),
        ((-129, 0), (9, True)),
        ((-1, 128), (9, True)),
        ((-1, 0), (1, True)),
        ((0, 255), (8, False)),
        ((0, 256), (9, False)),
        ((0, 0), (1, False)),
    ],
)
def test_widths(ends, width):
    assert width_of(*ends) == width


def test_unlimited_codes_of_unsigned_converters_wrap_from_zero():
    adc = replace(plain_adc(Adc(bits=8, low=0, high=255, gain=FixedPoint(1, 0)), 1), wraps=True)
    assert codes_of_sums(np.array([[255], [256], [-1], [511]]), adc)[:, 0].tolist() == [255, 0, 255, 255]
