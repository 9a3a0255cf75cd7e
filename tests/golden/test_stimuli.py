"""Directed vectors do what their names say."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pcmref
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.errors import ParameterError
from pcmref.golden.aimed import at_boundaries, at_steps, at_ties, at_zero, drive_range, tie_spacing
from pcmref.golden.plain import codes_of_sums, conversions, on_tie, plain_adc, trial
from pcmref.golden.stimuli import aimed, alternating, corners, drawn, one_hot, patterns, walking, widest
from pcmref.golden.weights import directed_conductance, drawn_conductance, drawn_variance, full_conductance
from tests.golden.setups import COLUMNS, GAIN, READOUTS, readout

#: Enough for sums of both signs with codes of one.
ROWS = 32

DACS = sorted({r.dac for r in READOUTS.values()}, key=str)
EXACT = pcmref.Readout(name="exact", dac=Dac(bits=8))


def weights_of(settings):
    return directed_conductance(ROWS, COLUMNS, lines=settings.lines)


def seen(settings, conductance, codes):
    """What the ADC sees in the first conversion."""
    shaped = conductance.reshape(1, -1, *conductance.shape[-2:])
    return next(conversions(trial(shaped, settings, codes))).sums


# All groups


@pytest.mark.parametrize("name", READOUTS)
def test_all_vectors_are_codes_of_the_dac_and_every_group_says_what_it_catches(name):
    settings = READOUTS[name]
    conductance = drawn_conductance(ROWS, COLUMNS, lines=settings.lines)
    groups = [*patterns(ROWS, settings.dac), widest(conductance, settings), *aimed(conductance, settings)]
    groups.append(drawn(ROWS, settings.dac, 50))
    assert len({group.name for group in groups}) == len(groups)
    for group in groups:
        assert group.codes.dtype == np.int16
        assert group.codes.shape == (len(group.codes), ROWS)
        assert len(group.codes) > 0
        assert group.codes.min() >= settings.dac.low
        assert group.codes.max() <= settings.dac.high
        assert group.catches.endswith(".")
        with pytest.raises(ValueError, match="read-only"):
            group.codes[0, 0] = 0


def test_one_row_and_one_column_have_all_groups():
    groups = [*patterns(1, EXACT.dac), widest(np.array([[3]]), EXACT), *aimed(np.array([[3]]), readout())]
    assert {len(group.codes.T) for group in groups} == {1}


@pytest.mark.parametrize(
    ("conductance", "found"),
    [(np.ones((2, 3, 4), int), r"int64 of shape \(2, 3, 4\)"), (np.ones((3, 4)), "float64"), ([], "float64")],
)
def test_conductances_of_another_form_are_refused(conductance, found):
    with pytest.raises(
        ParameterError, match=rf"conductance: expected integers of shape \(rows, columns\), found {found}"
    ):
        widest(np.asarray(conductance), EXACT)


# Patterns


@pytest.mark.parametrize("dac", DACS, ids=str)
def test_one_hot_vectors_read_every_conductance_at_each_level(dac):
    levels = [code for code in (dac.high, dac.low, 1) if code]
    found = one_hot(7, dac).codes.reshape(len(levels), 7, 7)
    assert (found == np.array(levels)[:, None, None] * np.eye(7)).all()


@pytest.mark.parametrize("dac", DACS, ids=str)
def test_walking_ones_set_each_bit_of_each_row_once(dac):
    codes = walking(9, dac).codes
    bits = (dac.high - dac.low).bit_length()
    assert len(codes) == 2 * bits
    alone, walked = codes[:bits], codes[bits:]
    assert (alone == alone[:, :1]).all()
    assert alone[:, 0].tolist() == [1 << bit for bit in range(dac.high.bit_length())] + [dac.low] * (dac.low < 0)
    for row in walked.T:
        assert sorted(row) == sorted(alone[:, 0])
    assert (walked[:, 1:] != walked[:, :-1]).all()


@pytest.mark.parametrize("rows", [1, 2, 5, 32])
def test_alternating_rows_tell_any_two_rows_apart(rows):
    codes = alternating(rows, Dac(bits=8)).codes
    assert set(np.unique(codes)) == {-127, 127}
    assert len({tuple(row) for row in codes.T}) == rows
    assert (codes[::2] == -codes[1::2]).all()


def test_corners_have_each_code_alone_and_a_ramp():
    codes = corners(4, Dac(bits=3, codes="signed")).codes.tolist()
    for vector in ([0] * 4, [-4] * 4, [3] * 4, [1] * 4, [-1] * 4, [-4, 0, 0, 0], [0, 0, 0, 3], [-4, -3, -2, -1]):
        assert vector in codes


def test_more_drawn_vectors_leave_the_first_ones_alone():
    few, many = (drawn(5, Dac(bits=8), n, seed=3).codes for n in (10, 1000))
    assert (many[:10] == few).all()
    assert set(np.unique(many)) == set(range(-127, 128))
    assert (drawn(5, Dac(bits=8), 10, seed=4).codes != few).any()
    assert (drawn(5, Dac(bits=8), 10, seed=3 + 2**32).codes != few).any()


@pytest.mark.parametrize("name", ["pair", "signed", "unsigned", "offset", "lines", "two-phase", "bit-serial"])
def test_widest_vectors_make_the_largest_and_the_smallest_sum_of_each_column(name):
    settings = READOUTS[name]
    conductance = drawn_conductance(ROWS, COLUMNS, lines=settings.lines)
    pairs = conductance if conductance.ndim == 2 else conductance[0] - conductance[1]
    sums = widest(conductance, settings).codes.astype(int) @ pairs
    low, high = settings.dac.low, settings.dac.high
    assert (sums.max(axis=0) == np.where(pairs > 0, high * pairs, low * pairs).sum(axis=0)).all()
    assert (sums.min(axis=0) == np.where(pairs > 0, low * pairs, high * pairs).sum(axis=0)).all()


# Ties


@given(st.integers(1, 60), st.integers(0, 8))
def test_ties_are_at_the_odd_multiples_of_a_sum(multiplier, shift):
    gain = Fraction(multiplier, 1 << shift)
    tied = [value for value in range(1200) if (value * gain).denominator == 2]
    if (spacing := tie_spacing(gain)) is None:
        assert tied == []
    else:
        each, twice = spacing
        assert tied == list(range(each, 1200, 2 * each))
        assert all(value * gain == Fraction(value // each * twice, 2) for value in tied)


@pytest.mark.parametrize(
    "name", ["pair", "half-up", "half-away", "columns", "lines", "two-phase", "bit-serial", "offset"]
)
def test_tied_sums_are_reached_in_every_column_with_their_neighbours(name):
    settings = READOUTS[name]
    conductance = weights_of(settings)
    sums = seen(settings, conductance, at_ties(conductance.reshape(-1, ROWS, COLUMNS), settings))
    adc = plain_adc(settings.adc, COLUMNS)
    for column in range(COLUMNS):
        values = set(sums[:, column].tolist())
        one = [value for value in values if on_tie(np.full((1, COLUMNS), value), adc)[0, column]]
        full = [value for value in one if {value - 1, value + 1} <= values]
        assert len(full) >= 2
        lower = [codes_of_sums(np.full((1, COLUMNS), value - 1), adc)[0, column] for value in full]
        assert {int(code) % 2 for code in lower} == {0, 1}


@pytest.mark.parametrize("name", ["pair", "half-up", "half-away", "columns"])
def test_every_third_vector_ties_within_the_limits(name):
    settings = READOUTS[name]
    conductance = weights_of(settings)
    sums = seen(settings, conductance, at_ties(conductance[None], settings))
    adc = plain_adc(settings.adc, COLUMNS)
    assert on_tie(sums, adc)[1::3].any(axis=1).all()
    tied = ((sums + adc.offset) * adc.multiplier / 2**16)[on_tie(sums, adc)]
    low, high = settings.adc.limits
    assert ((tied > low) & (tied < high)).all()


def test_ties_of_both_lines_are_reached():
    settings = READOUTS["lines"]
    conductance = weights_of(settings)
    work = trial(conductance[None], settings, at_ties(conductance, settings))
    plus, minus = (on_tie(part.sums, plain_adc(settings.adc, COLUMNS)).sum(axis=0) for part in conversions(work))
    assert plus.min() >= 4
    assert minus.min() >= 4


def test_tied_sums_have_both_signs_and_the_offset_is_counted():
    settings = READOUTS["half-away"]
    conductance = weights_of(settings)
    sums = seen(settings, conductance, at_ties(conductance[None], settings))
    tied = (sums + settings.adc.offset)[on_tie(sums, plain_adc(settings.adc, COLUMNS))]
    assert set(np.sign(tied)) == {-1, 1}
    assert (tied % 2**15 == 0).all()


@pytest.mark.parametrize(
    "adc",
    [
        Adc(bits=8, gain=FixedPoint(40001, 33)),  # ties at 2^32 and beyond 20,000 codes
        Adc(bits=8, gain=FixedPoint(4, 2)),
        Adc(bits=8, gain=1e-4),
        Adc(bits=8, gain=GAIN, rounding="floor"),
        READOUTS["thresholds"].adc,
        None,
    ],
    ids=str,
)
def test_where_nothing_within_reach_ties_there_is_no_such_group(adc):
    settings = readout(adc=adc)
    assert at_ties(weights_of(settings)[None], settings).shape == (0, ROWS)
    assert "ties" not in [group.name for group in aimed(weights_of(settings), settings)]


def test_a_float64_gain_that_is_a_small_fraction_ties_too():
    settings = readout(adc=Adc(bits=8, gain=5 / 2**16))
    conductance = weights_of(settings)
    assert on_tie(
        seen(settings, conductance, at_ties(conductance[None], settings)), plain_adc(settings.adc, COLUMNS)
    ).any()


# Steps and limits


@pytest.mark.parametrize("name", ["pair", "floor", "float64", "thresholds", "columns", "two-phase", "lines"])
def test_steps_are_met_from_both_sides_with_no_sum_between(name):
    settings = READOUTS[name]
    conductance = weights_of(settings)
    sums = seen(settings, conductance, at_steps(conductance.reshape(-1, ROWS, COLUMNS), settings))
    codes = codes_of_sums(sums, plain_adc(settings.adc, COLUMNS))
    met = set()
    for column in range(COLUMNS):
        code = dict(zip(sums[:, column].tolist(), codes[:, column].tolist(), strict=True))
        met |= {code[value] for value in code if value - 1 in code and code[value - 1] < code[value]}
    low, high = settings.adc.limits
    least = 0 if settings.lines == "separate" else low
    missing = 2 if name == "thresholds" else 0  # two thresholds at one place: a code that no sum has
    assert len(met) >= high - max(least, low) - missing


@pytest.mark.parametrize("name", ["pair", "half-up", "floor", "float64", "thresholds", "columns", "two-phase"])
def test_both_limits_are_met_from_both_sides(name):
    settings = READOUTS[name]
    conductance = weights_of(settings)
    sums = seen(settings, conductance, at_boundaries(conductance[None], settings))
    adc = plain_adc(settings.adc, COLUMNS)
    low, high = settings.adc.limits
    ends = {low: (low, low + 1), high: (high - 1, high)}
    if adc.thresholds is None:
        adc = plain_adc(settings.adc, COLUMNS)
        object.__setattr__(adc, "low", low - 9)
        object.__setattr__(adc, "high", high + 9)
        ends |= {low - 1: (low - 1, low), high + 1: (high, high + 1)}
    codes = codes_of_sums(sums, adc)
    for column in range(COLUMNS):
        code = dict(zip(sums[:, column].tolist(), codes[:, column].tolist(), strict=True))
        pairs = {(code[value - 1], code[value]) for value in code if value - 1 in code}
        assert pairs >= set(ends.values())


def test_limits_near_the_largest_sum_are_met_too():
    conductance = directed_conductance(ROWS, 1)
    largest = int(np.abs(conductance).sum() * 127)
    settings = readout(adc=Adc(bits=8, gain=127 / (0.9 * largest)))
    sums = seen(settings, conductance, at_boundaries(conductance[None], settings))
    assert np.sum(sums > 0.8 * largest) == np.sum(sums < -0.8 * largest) == 4


@pytest.mark.parametrize("beyond", ["saturate", "wrap"])
def test_the_limits_of_the_register_are_met_from_both_sides(beyond):
    settings = readout(accumulator=Accumulator(bits=20, beyond=beyond))
    conductance = weights_of(settings)
    exact = at_boundaries(conductance[None], settings) @ conductance
    for column in exact.T:
        assert {-(2**19) - 1, -(2**19), 2**19 - 1, 2**19} <= set(column.tolist())


def test_cancelling_vectors_have_large_products_and_no_sum():
    conductance = drawn_conductance(ROWS, COLUMNS)
    codes = at_zero(conductance[None], readout())
    sums = codes @ conductance
    sizes = np.abs(codes) @ np.abs(conductance)
    assert len(codes) == 3 * COLUMNS
    for column in range(COLUMNS):
        some = slice(3 * column, 3 * column + 3)
        assert sums[some, column].tolist() == [-1, 0, 1]
        assert (sizes[some, column] > 0.4 * 127 * np.abs(conductance[:, column]).sum()).all()


@pytest.mark.parametrize(
    ("dac", "ends"),
    [
        (Dac(bits=8), (-127, 127)),
        (Dac(bits=8, codes="signed"), (-128, 127)),
        (Dac(bits=8, codes="offset"), (0, 255)),
        (Dac(bits=8, codes="unsigned"), (0, 255)),
        (Dac(bits=8, drive="two-phase"), (0, 127)),
        (Dac(bits=8, codes="signed", drive="bit-serial"), (0, 1)),
    ],
    ids=str,
)
def test_what_drives_a_row_in_the_first_phase(dac, ends):
    assert drive_range(dac) == ends


# Conductances


@pytest.mark.parametrize("lines", ["pair", "separate"])
@pytest.mark.parametrize("make", [directed_conductance, drawn_conductance, full_conductance, drawn_variance])
def test_conductances_are_codes_of_the_right_shape(make, lines):
    codes = make(20, 3, lines=lines)
    assert codes.shape == ((20, 3) if lines == "pair" else (2, 20, 3))
    unsigned = lines == "separate" or make is drawn_variance
    assert codes.min() >= (0 if unsigned else -32767)
    assert codes.max() <= 32767
    assert make(1, 1, lines=lines).size == (1 if lines == "pair" else 2)
    assert len(np.unique(codes, axis=-1)) == len(codes)
    assert (codes[..., 0] != codes[..., 1]).any()


def test_directed_conductances_have_all_powers_of_two_in_each_column_and_differ_between_rows():
    codes = directed_conductance(40, 5)
    for column in codes.T:
        assert {1 << n for n in range(15)} <= set(np.abs(column).tolist())
    assert len({tuple(row) for row in codes}) == 40
    assert len({int(np.flatnonzero(np.abs(column) == 1)[0]) for column in codes.T}) == 5


def test_the_widest_sums_of_full_conductances_are_those_that_the_width_is_for():
    conductance = full_conductance(ROWS, COLUMNS)
    sums = widest(conductance, EXACT).codes.astype(int) @ conductance
    assert (conductance[:, 0] == 32767).all()
    assert (conductance[:, 1] == -32767).all()
    assert (sums.max(axis=0) == ROWS * 127 * 32767).all()
    assert (sums.min(axis=0) == -ROWS * 127 * 32767).all()


def test_drawn_weights_are_roughly_normal_and_depend_on_the_seed():
    codes = drawn_conductance(256, 64)
    assert abs(codes.mean()) < 5 * 4000 / 128
    assert abs(codes.std() - 4000) < 5 * 4000 / 181
    assert (drawn_conductance(256, 64, seed=1) != codes).any()
    lines = drawn_conductance(256, 64, lines="separate")
    assert np.abs(lines[0] - lines[1] - codes).max() <= 63
