"""The device model: every equation and every published number, written down a second time."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcmref.devices import pcm, published
from pcmref.devices.laws import Constant, Logarithm, Piecewise, Polynomial, PowerLaw
from pcmref.devices.published import AIHWKIT, MODELS, NANDAKUMAR_2019, model
from pcmref.errors import ParameterError
from pcmref.references import REFERENCES

exactly = {"rel": 1e-13, "abs": 1e-15}

HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
TIMES = (20.0, HOUR, DAY, YEAR)
CONDUCTANCES = (0.01, 0.1, 0.3, 0.5, 1.0)

relative = st.floats(1e-6, 1.0)
normal = st.floats(-6.34, 6.34)
time = st.floats(1.0, 1e10)
exponent = st.floats(-0.2, 0.4)
any_model = st.sampled_from(sorted(MODELS)).map(MODELS.get)


def array(*values):
    return np.array(values, np.float64)


def clip(value, low, high):
    return min(max(value, low), high)


# The published laws, in plain Python: [N19], then the code of aihwkit


def n19_spread(g):
    return max(-1.1731 * g**2 + 1.9650 * g + 0.2635, 0)


def n19_mean(g):
    return clip(-0.0155 * math.log(g) + 0.0244, 0.049, 0.1)


def n19_sigma(g):
    return clip(-0.0125 * math.log(g) - 0.0059, 0.008, 0.045)


def n19_noise(g):
    return min(0.0088 / g**0.65, 0.2)


def hermes_mean(g):
    if g < 0.0945:
        return clip(-0.0387 * math.log(g) - 0.0182, 0.0720, 0.13)
    return -0.0436 * g**2 - 0.0126 * g + 0.0736


def hermes_1_sigma(g):
    return clip(-0.0120 * math.log(g) - 0.0023, 0.0124, 0.04) if g < 0.3039 else -0.0165 * g**2 + 0.0116 * g + 0.0104


def hermes_2_sigma(g):
    return clip(-0.0117 * math.log(g) - 0.0057, 0.0091, 0.04) if g < 0.3055 else -0.0118 * g**2 + 0.0093 * g + 0.0073


def hermes_1_noise(g):
    if g < 0.1591:
        return clip(-0.0078 * math.log(g) + 0.0038, 0.0179, 0.04)
    return 0.0664 * g**3 - 0.1352 * g**2 + 0.0768 * g + 0.0088


def hermes_2_noise(g):
    if g < 0.16:
        return clip(-0.0117 * math.log(g) - 0.0069, 0.015, 0.04)
    return 0.0069 * g**3 - 0.0280 * g**2 + 0.0211 * g + 0.0123


LAWS = {
    "NANDAKUMAR_2019": (n19_spread, n19_mean, n19_sigma, n19_noise),
    "AIHWKIT": (lambda g: -1.1731 * g**2 + 1.9650 * g + 0.26348, n19_mean, n19_sigma, n19_noise),
    "JOSHI_2020": (
        lambda g: -0.00178767 * (25 * g) ** 2 + 0.07585724 * (25 * g) + 0.28638599,
        lambda g: 0.06,
        n19_sigma,
        n19_noise,
    ),
    "HERMES_1": (
        lambda g: 0.15781817 + 2.32443916 * g - 2.16310839 * g**2 + 0.68841818 * g**3,
        hermes_mean,
        hermes_1_sigma,
        hermes_1_noise,
    ),
    "HERMES_2": (
        lambda g: 0.16603222 + 4.71806468 * g - 8.48101252 * g**2 + 4.68961419 * g**3,
        hermes_mean,
        hermes_2_sigma,
        hermes_2_noise,
    ),
}
#: g_max_us, t_c_s, t_read_s, t_offset_s, exponent_absolute, read_noise_of_programmed, programs_zero
NUMBERS = {
    "NANDAKUMAR_2019": (25.0, 20.0, 250e-9, 0.0, False, False, False),
    "AIHWKIT": (25.0, 20.0, 250e-9, 20.0, True, True, True),
    "JOSHI_2020": (25.0, 27.36, 250e-9, 0.0, False, False, False),
    "HERMES_1": (10.35, 200.0, 512e-9, 200.0, True, True, True),
    "HERMES_2": (20.7, 300.0, 512e-9, 300.0, True, True, True),
}


def growth(m, t):
    """Read noise at time t in units of G Q_s."""
    t += m.t_offset_s
    return math.sqrt(math.log((t + m.t_read_s) / (2 * m.t_read_s)))


# Published numbers


def test_every_set_is_listed_under_its_name():
    assert set(LAWS) == set(NUMBERS) == set(MODELS)
    assert all(m.name == name and m.source in REFERENCES for name, m in MODELS.items())
    assert all(getattr(published, name) is model(name) for name in MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_numbers_of_a_set(name):
    m = MODELS[name]
    flags = m.exponent_absolute, m.read_noise_of_programmed, m.programs_zero
    assert (m.g_max_us, m.t_c_s, m.t_read_s, m.t_offset_s, *flags) == NUMBERS[name]
    assert m.nonconverged_share == 0.0
    assert m.g_step_us == 2.0**-9
    assert m.reference_time_s == NUMBERS[name][1] - NUMBERS[name][3]


def law_arguments(law):
    """Conductances from the smallest on, with both sides of a split."""
    splits = [law.split] if isinstance(law, Piecewise) else []
    edges = [g for s in splits for g in (math.nextafter(s, 0), s, math.nextafter(s, 1))]
    return np.array(sorted([*np.geomspace(1e-7, 1, 300), *CONDUCTANCES, *edges]))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("number", range(4), ids=["programming spread", "exponent mean", "exponent spread", "noise"])
def test_laws_of_a_set(name, number):
    m = MODELS[name]
    law = (m.programming_spread_us, m.exponent_mean, m.exponent_spread, m.read_noise)[number]
    g = law_arguments(law)
    assert law(g).tolist() == [pytest.approx(LAWS[name][number](v), **exactly) for v in g.tolist()]


def test_limits_that_no_conductance_reaches():
    """The other half of each piecewise law, so that every number in it counts."""
    for name, low in {"HERMES_1": (0.0720, 0.0124, 0.0179), "HERMES_2": (0.0720, 0.0091, 0.015)}.items():
        m = MODELS[name]
        for law, least in zip((m.exponent_mean, m.exponent_spread, m.read_noise), low, strict=True):
            assert law.below(array(2.0)) == least
            assert law.above(array(0.0)) == law.above.coefficients[0]


# Each equation at hand-computed values


@pytest.mark.parametrize("g", CONDUCTANCES)
@pytest.mark.parametrize("z", [-1.5, 0.0, 2.0])
def test_programming(g, z):
    m = NANDAKUMAR_2019
    assert pcm.programming_spread_us(m, array(g)) == pytest.approx(n19_spread(g), **exactly)
    expected = max(25 * g + n19_spread(g) * z, 0.0)
    assert pcm.programmed_us(m, array(25 * g), array(z)) == pytest.approx(expected, **exactly)


@pytest.mark.parametrize("g", CONDUCTANCES)
@pytest.mark.parametrize("z", [-4.0, 0.0, 1.0])
def test_drift_exponent(g, z):
    nu = n19_mean(g) + n19_sigma(g) * z
    assert pcm.drift_exponent(NANDAKUMAR_2019, array(g), array(z)) == pytest.approx(nu, **exactly)
    assert pcm.drift_exponent(AIHWKIT, array(g), array(z)) == pytest.approx(abs(nu), **exactly)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("t", TIMES)
def test_drift(name, t):
    m = MODELS[name]
    for nu in (-0.02, 0.0, 0.049, 0.1, 0.3):
        expected = 7.0 * ((t + m.t_offset_s) / m.t_c_s) ** -nu
        assert pcm.drifted_us(m, array(7.0), array(nu), t) == pytest.approx(expected, **exactly)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("g", CONDUCTANCES)
def test_read_noise(name, t, g):
    m = MODELS[name]
    q_s = LAWS[name][3](g)
    assert pcm.relative_read_noise(m, array(g)) == pytest.approx(q_s, **exactly)
    drifted = 0.7 * m.g_max_us * g
    spread = pcm.read_noise_spread_us(m, array(drifted), array(q_s), t)
    assert spread == pytest.approx(drifted * q_s * growth(m, t), **exactly)
    for z in (-1.0, 0.5):
        expected = max(drifted + drifted * q_s * growth(m, t) * z, 0.0)
        assert pcm.read_us(array(drifted), spread, array(z)) == pytest.approx(expected, **exactly)


def test_numbers_printed_in_the_literature():
    g = array(0.1, 0.3, 0.5, 1.0)
    m = NANDAKUMAR_2019
    programming = pcm.programming_spread_us(m, g)
    assert programming.round(3).tolist() == [0.448, 0.747, 0.953, 1.055]
    read = pcm.read_noise_spread_us(m, 25 * g, pcm.relative_read_noise(m, g), 27.36)  # the first read
    assert np.hypot(programming, read).round(3).tolist() == [0.611, 0.964, 1.199, 1.406]
    assert np.sqrt(programming**2 - read**2) == pytest.approx([0.170, 0.433, 0.614, 0.501], abs=6e-4)
    factors = [1 / pcm.drifted_us(m, array(1.0), array(0.049), t)[0] for t in (60, HOUR, DAY, 30 * DAY, YEAR)]
    assert [round(f, 2) for f in factors] == [1.06, 1.29, 1.51, 1.78, 2.01]
    corners = {m.exponent_mean: (0.0076, 0.2045), m.exponent_spread: (0.017, 0.329)}
    for law, (low, high) in corners.items():
        assert law(array(low * 0.95)) == law(array(1e-7))
        assert law(array(low * 1.05)) != law(array(1e-7))
        assert law(array(high * 1.001)) == law(array(1.0))
        assert law(array(high * 0.995)) != law(array(1.0))
    assert m.read_noise(array(0.0081)) == 0.2 > m.read_noise(array(0.0083))


# Laws


@given(any_model, st.floats(0, 50), exponent)
def test_drift_is_the_identity_at_t_c(m, g_us, nu):
    assert pcm.drifted_us(m, array(g_us), array(nu), m.reference_time_s) == g_us


@given(any_model, relative, exponent, time, time)
def test_drift_composes(m, g, nu, t_1, t_2):
    m = replace(m, t_offset_s=0.0)
    first = pcm.drifted_us(m, array(g), array(nu), t_1)
    second = pcm.drifted_us(replace(m, t_c_s=t_1), first, array(nu), t_2)
    assert second == pytest.approx(pcm.drifted_us(m, array(g), array(nu), t_2), rel=1e-14)


@given(any_model, relative, st.floats(0.001, 0.4), time, st.floats(1.001, 1000))
def test_drift_and_its_inverse_go_opposite_ways(m, g, nu, t, later):
    now, then = (pcm.drifted_us(m, array(g), array(nu), s) for s in (t, t * later))
    assert then < now
    assert pcm.drifted_us(m, array(g), array(-nu), t * later) > pcm.drifted_us(m, array(g), array(-nu), t)


@given(any_model, relative | st.just(0.0), normal, normal, normal, time)
def test_conductances_are_never_negative(m, g, z_1, z_2, z_3, t):
    programmed = pcm.programmed_us(m, array(m.g_max_us * g), array(z_1))
    drifted = pcm.drifted_us(m, programmed, pcm.drift_exponent(m, array(g), array(z_2)), t)
    spread = pcm.read_noise_spread_us(m, drifted, pcm.relative_read_noise(m, array(g)), t)
    for g_us in (programmed, drifted, spread, pcm.read_us(drifted, spread, array(z_3))):
        assert (g_us >= 0).all()
        assert np.isfinite(g_us).all()


@given(any_model, relative, normal, exponent, time, st.integers(-8, 8))
def test_a_change_of_units_changes_nothing(m, g, z, nu, t, k):
    unit = 2.0**k
    other = replace(
        m,
        g_max_us=m.g_max_us * unit,
        g_step_us=m.g_step_us * unit,
        programming_spread_us=lambda g: m.programming_spread_us(g) * unit,
    )
    g_us = array(m.g_max_us * g)
    programmed = pcm.programmed_us(m, g_us, array(z))
    assert pcm.programmed_us(other, g_us * unit, array(z)) == programmed * unit
    drifted = pcm.drifted_us(m, programmed, array(nu), t)
    assert pcm.drifted_us(other, programmed * unit, array(nu), t) == drifted * unit
    spreads = [pcm.read_noise_spread_us(x, d, array(0.1), t) for x, d in ((m, drifted), (other, drifted * unit))]
    assert spreads[1] == spreads[0] * unit


@given(any_model, relative, normal)
def test_zero_draws_give_targets_and_draws_are_symmetric(m, g, z):
    target = array(m.g_max_us * g)
    assert pcm.programmed_us(m, target, array(0.0)) == target
    both = [pcm.programmed_us(m, target, array(s * z)) for s in (1, -1)]
    if min(both) > 0:
        assert both[0] + both[1] == pytest.approx(2 * target, rel=1e-14)
    assert pcm.read_us(target, array(1.0), array(0.0)) == target


def test_laws_are_the_written_formulae_with_their_limits():
    g = array(1e-9, 1e-7, 0.5, 1.0)
    assert Constant(0.3)(g).tolist() == [0.3] * 4
    assert Polynomial((-1.0, 0.5))(g).tolist() == [0.0] * 4  # at least 0
    assert Polynomial((1.0, 2.0, 4.0))(array(0.5, 1.0)).tolist() == [3.0, 7.0]
    assert Logarithm(-1.0, 1.0, 0.25, 2.0)(array(1e-3, math.exp(-0.5), 4.0)) == pytest.approx([2.0, 1.5, 0.25])
    assert PowerLaw(0.5, -0.5, 2.0)(array(0.25, 1.0, 1e-7)) == pytest.approx([1.0, 0.5, 2.0])
    step = Piecewise(0.5, Constant(1.0), Constant(2.0))
    assert step(array(0.499, 0.5, 0.501)).tolist() == [1.0, 2.0, 2.0]
    # the logarithm and the power see no conductance below 1e-7
    slope, power = Logarithm(1.0, 0.0, -99.0, 99.0), PowerLaw(1.0, -1.0, 1e99)
    assert slope(array(0.0, 1e-9, 1e-7)).tolist() == slope(array(1e-7, 1e-7, 1e-7)).tolist()
    assert slope(array(1e-7)) == pytest.approx(math.log(1e-7))
    assert power(array(0.0)) == power(array(1e-7)) == pytest.approx(1e7)


def test_effects_off_leave_the_targets():
    for m in MODELS.values():
        off = replace(m, nonconverged_share=0.5).ideal()
        g_us = array(0.0, 0.3, m.g_max_us)
        z = array(3.0, -3.0, 1.0)
        assert pcm.programmed_us(off, g_us, z).tolist() == g_us.tolist()
        assert pcm.drift_exponent(off, g_us / m.g_max_us, z).tolist() == [0.0] * 3
        assert pcm.drifted_us(off, g_us, np.zeros(3), YEAR).tolist() == g_us.tolist()
        assert pcm.relative_read_noise(off, g_us / m.g_max_us).tolist() == [0.0] * 3
        assert off.nonconverged_share == 0.0
        assert m.name in off.name
        assert (off.g_max_us, off.t_c_s, off.programs_zero) == (m.g_max_us, m.t_c_s, m.programs_zero)


# Checks


@pytest.mark.parametrize(
    "bad",
    [
        0,
        0.0,
        -1.0,
        -math.inf,
        math.nan,
        math.inf,
        1.0001e12,
        4.99e-7,
        np.float64(math.nan),
        np.int64(0),
        10**400,
        -(10**400),
    ],
    ids=lambda t: repr(t)[:20],
)
def test_times_out_of_range_are_refused(bad):
    with pytest.raises(ParameterError, match="t_s: expected from 5e-07 s to 1e12 s, found"):
        NANDAKUMAR_2019.check_time(bad)


@pytest.mark.parametrize("bad", [True, False, np.True_, "20", "", None, [20.0], 20j, np.array(20.0)], ids=repr)
def test_times_that_are_no_numbers_are_refused(bad):
    with pytest.raises(ParameterError, match="t_s: expected a time in seconds, found"):
        NANDAKUMAR_2019.check_time(bad)


@pytest.mark.parametrize("good", [5e-7, 20, 20.0, np.float32(0.5), np.int32(3), np.float64(YEAR), 1e12, 10**12])
def test_times(good):
    found = NANDAKUMAR_2019.check_time(good)
    assert type(found) is float
    assert found == good
    assert MODELS["HERMES_1"].check_time(good) == good


def test_the_shortest_time_is_the_set_s():
    slow = replace(NANDAKUMAR_2019, t_read_s=512e-9)
    with pytest.raises(ParameterError, match=r"from 1\.02e-06 s to"):
        slow.check_time(1e-6)


@pytest.mark.parametrize("name", ["AIHWKIT", "HERMES_1", "HERMES_2"])
def test_sets_that_count_from_t_c_start_at_0(name):
    assert MODELS[name].check_time(0.0) == MODELS[name].reference_time_s == 0.0
    assert math.copysign(1, MODELS[name].check_time(-0.0)) == 1
    with pytest.raises(ParameterError, match="from 0 s to"):
        MODELS[name].check_time(-1e-9)


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *(
            (name, v)
            for name in ("g_max_us", "t_c_s", "t_read_s", "g_step_us")
            for v in (0.0, -1.0, math.nan, math.inf)
        ),
        *(("nonconverged_share", v) for v in (-0.01, 1.01, math.nan)),
        *(("t_offset_s", v) for v in (-1.0, 20.1, math.nan, math.inf)),
        *(("g_step_us", v) for v in (0.002, 3 * 2.0**-9, 0.1)),  # no powers of two
        ("g_step_us", 2.0**-10),  # 1.5 G_max would not fit
        ("t_c_s", 499e-9),  # less than two reads
        ("t_c_s", "20"),
        ("t_read_s", None),
        ("read_noise", 0.1),
        ("exponent_mean", None),
        *((name, Constant(math.nan)) for name in ("programming_spread_us", "exponent_mean", "exponent_spread")),
        ("read_noise", Constant(math.inf)),
        ("read_noise", lambda g: 0.1),
        ("g_max_us", 43.0),
        ("g_max_us", 10**400),
        *((name, "no") for name in ("exponent_absolute", "read_noise_of_programmed", "programs_zero")),
    ],
)
def test_parameter_sets_check_themselves(field, bad):
    with pytest.raises(ParameterError, match=f"model NANDAKUMAR_2019: {field if bad != 43.0 else 'g_step_us'}"):
        replace(NANDAKUMAR_2019, **{field: bad})


def test_parameter_sets_at_the_edge_of_what_is_allowed():
    for change in (
        {"nonconverged_share": 1.0},
        {"t_offset_s": 20.0},
        {"g_step_us": 2.0**3},
        {"g_max_us": 32767 / 512 / 1.5},
        {"t_c_s": 500e-9},
        {"t_c_s": np.float32(20), "g_max_us": np.int64(25), "t_offset_s": 0},
    ):
        assert replace(NANDAKUMAR_2019, **change).name == "NANDAKUMAR_2019"
    assert type(replace(NANDAKUMAR_2019, g_max_us=np.float32(20)).g_max_us) is float
    with pytest.raises(FrozenInstanceError):
        NANDAKUMAR_2019.g_max_us = 1.0
    with pytest.raises(TypeError):
        MODELS["NANDAKUMAR_2019"] = MODELS["AIHWKIT"]


def test_an_unknown_set_is_refused_with_the_list_of_names():
    with pytest.raises(ParameterError, match="NANDAKUMAR_2019, AIHWKIT, JOSHI_2020, HERMES_1, HERMES_2, found 'x'"):
        model("x")
