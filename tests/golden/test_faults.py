"""Faulty tiles: what each does, which vectors catch it, and which random vectors alone let pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pcmref
from pcmref.crossbar.converters import Accumulator, Adc, FixedPoint
from pcmref.golden.faults import FAULTS, catches, fault
from pcmref.golden.plain import answers
from pcmref.golden.tiles import tile_case, trial_of
from tests.golden.setups import COLUMNS, GAIN, READOUTS, ROWS, case_of, readout


def conductance_of(case):
    return {name: case.values[f"tile0/g-{name}"].astype(int) for name in ("weights", "directed", "full")}


def with_engine(case, settings, *, codes=lambda x: x, conductance=lambda g: g):
    """What `pcmref.tile` answers to the vectors of a case, with other settings or operands."""
    found = []
    for name, matrix in conductance_of(case).items():
        groups = [group for group in case.groups if group.conductance == name]
        vectors = codes(case.values["tile0/code"].astype(int))[groups[0].first : groups[-1].last]
        found.append(pcmref.tile(conductance(matrix), settings)(vectors).codes)
    return np.concatenate(found)


def wrong_answers(name, case):
    return fault(name).answers(trial_of(case))


# What a fault is


def test_there_are_more_than_twenty_each_with_a_name_and_a_meaning_of_its_own():
    assert len(FAULTS) > 40
    assert len({each.name for each in FAULTS}) == len({each.meaning for each in FAULTS}) == len(FAULTS)
    for each in FAULTS:
        assert each.meaning[0].islower()
        assert not each.meaning.endswith(".")


def changed(**settings):
    return replace(READOUTS["pair"], adc=replace(READOUTS["pair"].adc, **settings))


SAME_AS_THE_TILE_WITH = {
    "rounds-half-away": changed(rounding="half-away"),
    "rounds-half-up": changed(rounding="half-up"),
    "rounds-floor": changed(rounding="floor"),
    "rounds-toward-zero": changed(rounding="toward-zero"),
    "high-limit-one-less": changed(high=126),
    "low-limit-one-less": changed(low=-128),
    "low-limit-one-more": changed(low=-126),
    "gain-doubled": changed(gain=FixedPoint(5, 15)),
    "gain-halved": changed(gain=FixedPoint(5, 17)),
    "multiplier-low-bit-lost": changed(gain=FixedPoint(4, 16)),
    "accumulator-one-bit-narrow": replace(READOUTS["pair"], accumulator=Accumulator(bits=26, beyond="wrap")),
    "accumulator-four-bits-narrow": replace(READOUTS["pair"], accumulator=Accumulator(bits=23, beyond="wrap")),
}


@pytest.mark.parametrize(("name", "settings"), SAME_AS_THE_TILE_WITH.items())
def test_a_fault_of_a_setting_answers_like_the_tile_with_that_setting(name, settings):
    case = case_of("pair")
    assert (wrong_answers(name, case) == with_engine(case, settings)).all()


def test_a_fault_of_a_register_answers_like_the_tile_with_that_register():
    wraps, saturates = READOUTS["wrapping register"], READOUTS["saturating register"]
    assert (
        wrong_answers("accumulator-saturates", case_of("wrapping register"))
        == with_engine(case_of("wrapping register"), saturates)
    ).all()
    assert (
        wrong_answers("accumulator-wraps", case_of("saturating register"))
        == with_engine(case_of("saturating register"), wraps)
    ).all()


def low_byte(values):
    return ((values + 128) & 255) - 128


def rows(*order):
    return lambda g: g[list(order)]


def only(keep):
    return lambda g: np.where(keep(np.arange(ROWS))[:, None], g, 0)


SAME_AS_THE_TILE_LOADED_WITH = {
    "conductance-8-bits": low_byte,
    "lines-swapped": lambda g: -g,
    "plus-line-only": lambda g: np.where(g > 0, g, 0),
    "minus-line-only": lambda g: np.where(g < 0, g, 0),
    "rows-reversed": rows(*range(ROWS - 1, -1, -1)),
    "first-rows-swapped": rows(1, 0, *range(2, ROWS)),
    "first-row-missing": only(lambda row: row > 0),
    "last-row-missing": only(lambda row: row < ROWS - 1),
    "columns-reversed": lambda g: g[:, ::-1],
    "columns-shifted": lambda g: g[:, [COLUMNS - 1, *range(COLUMNS - 1)]],
}


@pytest.mark.parametrize(("name", "conductance"), SAME_AS_THE_TILE_LOADED_WITH.items())
def test_a_fault_of_the_matrix_answers_like_the_tile_loaded_so(name, conductance):
    case = case_of("pair")
    assert (wrong_answers(name, case) == with_engine(case, READOUTS["pair"], conductance=conductance)).all()


def late(values):
    return np.concatenate([0 * values[:1], values[:-1]])


SAME_AS_THE_TILE_DRIVEN_WITH = {
    "code-low-bit-lost": lambda x: x // 2 * 2,
    "vector-stale": late,
    "first-row-stale": lambda x: np.concatenate([late(x[:, :1]), x[:, 1:]], axis=1),
}


@pytest.mark.parametrize(("name", "codes"), SAME_AS_THE_TILE_DRIVEN_WITH.items())
def test_a_fault_of_the_vectors_answers_like_the_tile_driven_so(name, codes):
    # the smallest even code below -127 is -128, which symmetric codes do not have
    case, settings = case_of("pair"), replace(READOUTS["pair"], dac=READOUTS["signed"].dac)
    assert (wrong_answers(name, case) == with_engine(case, settings, codes=codes)).all()


def test_other_faults_in_python_integers():
    case = case_of("pair")
    codes, matrices = case.values["tile0/code"].astype(object), conductance_of(case)
    group = [next(g for g in case.groups if g.first <= v < g.last).conductance for v in range(len(codes))]
    some = [0, 3, 7, 40, 99, *range(120, 130), len(codes) - 1]

    def limited(value):
        return min(max(round(5 * value / 2**16), -127), 127)  # exact in float64: value is below 2^40

    def expected(product=lambda x, g: x * g, code=lambda value: limited(value)):
        return [
            [
                code(sum(product(int(x), int(g)) for x, g in zip(codes[v], column, strict=True)))
                for column in matrices[group[v]].T
            ]
            for v in some
        ]

    for name, made in {
        "codes-unsigned": expected(lambda x, g: x % 256 * g),
        "conductance-unsigned": expected(lambda x, g: x * (g % 65536)),
        "products-cut": expected(lambda x, g: x * g // 4 * 4),
        "conductance-low-bit-lost": expected(lambda x, g: x * (g // 2 * 2)),
        "saturation-missing": expected(code=lambda value: (round(5 * value / 2**16) + 128) % 256 - 128),
        "high-limit-one-more": expected(code=lambda value: min(max(round(5 * value / 2**16), -127), 128)),
    }.items():
        assert wrong_answers(name, case)[some].tolist() == made, name
    running = np.cumsum([x @ matrices[g] for x, g in zip(codes, group, strict=True)], axis=0)
    assert wrong_answers("accumulator-not-cleared", case)[some].tolist() == [
        [limited(s) for s in running[v]] for v in some
    ]
    assert (wrong_answers("answer-stale", case)[1:] == answers(trial_of(case))[:-1]).all()


def test_what_a_product_loses_adds_up():
    case = case_of("no ADC")
    group = next(group for group in case.groups if group.name == "weights/random")
    codes = case.values["tile0/code"][group.first : group.last].astype(int)
    products = codes[:, :, None] * case.values["tile0/g-weights"].astype(int)
    wrong = wrong_answers("products-cut", case)[group.first : group.last]
    assert (wrong == (products // 4 * 4).sum(axis=1)).all()


def test_low_bits_of_the_multiplier_are_lost():
    case = tile_case(changed_gain(0x1235), size=(9, COLUMNS), random=100)
    for name, multiplier in {"multiplier-low-bit-lost": 0x1234, "multiplier-low-byte-lost": 0x1200}.items():
        assert (wrong_answers(name, case) == with_engine(case, changed_gain(multiplier))).all()


def changed_gain(multiplier):
    return changed(gain=FixedPoint(multiplier, 26))


def test_faults_of_the_noise_add_other_noise():
    case = case_of("fresh")
    work = trial_of(case)
    exact = case.values["tile0/A-noise-free"].astype(int)
    noise = case.values["tile0/noise"].astype(int)

    def limited(sums):
        return np.clip(np.rint(5 * sums / 2**16), -127, 127)

    for name, added in {
        "noise-missing": 0,
        "noise-twice": 2 * noise,
        "noise-subtracted": -noise,
        "noise-of-neighbour": np.roll(noise, 1, axis=1),
        "noise-stale": late(noise),
    }.items():
        assert (fault(name).answers(work) == limited(exact + added)).all(), name
    running = np.concatenate([0 * exact[:1], np.cumsum(exact, axis=0)[:-1]])
    assert (fault("accumulator-not-cleared").answers(work) == limited(exact + running + noise)).all()
    assert (fault("noise-after-adc").answers(work) == np.clip(limited(exact) + noise, -127, 127)).all()


def test_faults_of_conversions_weigh_their_codes_otherwise():
    two, serial, lines, offset = (
        case_of(name) for name in ("two-phase", "bit-serial", "lines", "lines, bit-serial, offset, wrapping")
    )
    plus, minus = two.values["tile0/D"].astype(int)
    assert (wrong_answers("sign-of-phase-lost", two) == plus + minus).all()
    planes = serial.values["tile0/D"].astype(int)
    assert (wrong_answers("sign-of-phase-lost", serial) == sum(planes[b] << b for b in range(6))).all()
    reverse = sum(planes[b] * (-32 if b == 0 else 1 << (5 - b)) for b in range(6))
    assert (wrong_answers("planes-reversed", serial) == reverse).all()
    plus, minus = lines.values["tile0/D"].astype(int)
    assert (wrong_answers("lines-added", lines) == plus + minus).all()
    parts = offset.values["tile0/D"].astype(int)
    assert (wrong_answers("zero-kept", offset) == sum((1 - 2 * (n > 3)) * parts[n] << n % 4 for n in range(8))).all()


def test_faults_of_columns_and_thresholds():
    case = case_of("columns")
    adc = READOUTS["columns"].adc
    shifted = replace(adc, gain=(adc.gain[-1], *adc.gain[:-1]), offset=(adc.offset[-1], *adc.offset[:-1]))
    settings = replace(READOUTS["columns"], adc=shifted)
    assert (wrong_answers("converter-of-neighbour", case) == with_engine(case, settings)).all()
    case, settings = case_of("thresholds"), READOUTS["thresholds"]
    later = replace(settings, adc=replace(settings.adc, thresholds=np.array(settings.adc.thresholds) + 1))
    assert (wrong_answers("threshold-exceeded", case) == with_engine(case, later)).all()
    right = answers(trial_of(case))
    assert (wrong_answers("high-limit-one-less", case) == np.minimum(right, 14)).all()
    assert (wrong_answers("low-limit-one-more", case) == np.maximum(right, -14)).all()
    case, settings = case_of("half-away"), READOUTS["half-away"]
    for name, offset in {"offset-ignored": 0, "offset-subtracted": 12345}.items():
        changed_offset = replace(settings, adc=replace(settings.adc, offset=offset))
        assert (wrong_answers(name, case) == with_engine(case, changed_offset)).all()
    case, settings = case_of("float64"), READOUTS["float64"]
    rounded = replace(settings, adc=replace(settings.adc, gain=float(np.float32(1.23e-4))))
    assert (wrong_answers("gain-in-float32", case) == with_engine(case, rounded)).all()
    lowest = with_engine(case_of("signed"), READOUTS["signed"], codes=lambda x: np.maximum(x, -127))
    assert (wrong_answers("lowest-code-lost", case_of("signed")) == lowest).all()


# What catches it


def test_every_fault_shows_on_some_tile():
    shown = {entry.name for name in READOUTS for entry in case_of(name).faults if entry.caught_by}
    assert shown == {each.name for each in FAULTS}


#: What no vector can show: no sum times this gain ends in a half; no line has a negative current in either phase.
CANNOT_SHOW = {
    "float64": {"rounds-half-away", "rounds-half-up"},
    "lines, two-phase, fresh": {"low-limit-one-less", "low-limit-one-more"},
}


@pytest.mark.parametrize("name", READOUTS)
def test_every_fault_that_a_tile_can_have_is_caught(name):
    missed = {entry.name for entry in case_of(name).faults if not entry.caught_by}
    assert missed == CANNOT_SHOW.get(name, set())


def test_what_random_vectors_alone_let_pass():
    """256 x 64 as an RTL has it, 2,000 random vectors: a tie is one sum in 2^20, and no sum comes near a limit."""
    case = tile_case(readout(adc=Adc(bits=8, gain=FixedPoint(5, 20))), size=(256, 64), random=2000)
    assert all(entry.caught_by for entry in case.faults)
    missed = {entry.name for entry in case.faults if "weights/random" not in entry.caught_by}
    assert missed == {
        "rounds-half-away",
        "rounds-half-up",
        "saturation-missing",
        "high-limit-one-more",
        "high-limit-one-less",
        "low-limit-one-less",
        "low-limit-one-more",
        "accumulator-one-bit-narrow",
        "accumulator-four-bits-narrow",
    }
    by = {entry.name: set(entry.caught_by) for entry in case.faults}
    assert by["rounds-half-up"] == {"weights/ties", "weights/steps", "directed/ties", "directed/steps"}
    assert by["accumulator-one-bit-narrow"] == {"full/corners", "full/widest"}


def test_with_an_odd_gain_of_many_bits_a_wrong_rounding_of_ties_shows_nowhere_and_the_case_says_so():
    case = tile_case(readout(adc=Adc(bits=8, gain=FixedPoint(40001, 33))), size=(64, 4), random=100)
    missed = {entry.name for entry in case.faults if not entry.caught_by}
    assert missed == {"rounds-half-away", "rounds-half-up"}
    note = "no sum of this tile ties; with the gain 40960/2^33 some would"
    assert case.coverage["ties"] == {"sums": 0, "columns": 0, "note": note}
    assert case.coverage["told_from"]["half-up"] == 0
    other = tile_case(readout(adc=Adc(bits=8, gain=FixedPoint(40960, 33))), size=(64, 4), random=100)
    assert other.coverage["ties"]["sums"] > 0
    assert all(entry.caught_by for entry in other.faults)


def test_only_faults_that_a_tile_can_have_are_asked_for():
    work = trial_of(case_of("no ADC"))
    found = catches(work, {"all": slice(0, len(work.codes))})
    assert not {name for name in found if name.startswith(("rounds", "gain", "offset", "noise", "high", "threshold"))}
    assert "rounds-half-even" not in {entry.name for entry in case_of("pair").faults}
    assert GAIN.multiplier == 5
