"""Readouts: the presets, what a readout refuses, and the ranges and measured ADCs of its layers."""

import pytest

from pcmref.arithmetic.codes import Range
from pcmref.crossbar.converters import Accumulator, Adc, Dac
from pcmref.crossbar.readout import PRESETS, Readout, preset
from pcmref.errors import ParameterError

DAC = Dac(bits=8)
RANGE = Range(input_top=1.0, sum_top_us=2.0)


def test_presets():
    assert set(PRESETS) == {"paper", "chip8", "rtl8"}
    for name, readout in PRESETS.items():
        assert preset(name) is readout
        assert readout.name == name
        assert (readout.ranges, readout.measured, readout.accumulator, readout.lines) == (None, None, None, "pair")
    paper, chip8, rtl8 = PRESETS.values()
    assert (paper.dac, paper.adc, paper.tile_rows, paper.read_noise) == (Dac(bits=12), None, None, "frozen")
    assert (chip8.dac, chip8.adc, chip8.tile_rows, chip8.read_noise) == (DAC, Adc(bits=8), 256, "fresh")
    assert (rtl8.dac, rtl8.adc, rtl8.read_noise) == (DAC, Adc(bits=8, gain_bits=16), "frozen")
    assert [(r.tile_rows, r.tile_columns) for r in (paper, chip8, rtl8)] == [(None, None), (256, None), (256, 256)]
    assert [readout.needs_ranges for readout in PRESETS.values()] == [False, True, True]


@pytest.mark.parametrize("name", ["Paper", "", "chip"])
def test_an_unknown_preset(name):
    with pytest.raises(ParameterError, match=r"^preset: expected one of paper, chip8, rtl8, found "):
        preset(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({"dac": dac}, "dac: expected a Dac, found") for dac in (None, 8, Adc(bits=8), Dac)),
        *(({"adc": adc}, "adc: expected an Adc, found") for adc in (8, DAC, Adc)),
        *(({"accumulator": bits}, "accumulator: expected an Accumulator, found") for bits in (24, DAC)),
        *(({"tile_rows": rows}, "tile_rows: expected a positive integer") for rows in (0, -1, 1.0, "1", True)),
        *(({"tile_columns": n}, "tile_columns: expected a positive integer") for n in (0, -1, 1.0, "1", 2**31 + 1)),
        *(({"read_noise": x}, "read_noise: expected one of frozen, fresh") for x in ("none", "", None, True)),
        *(({"lines": x}, "lines: expected one of pair, separate") for x in ("both", "", None, 2)),
        *(({"ranges": x}, "ranges: expected a Mapping") for x in ([RANGE], RANGE)),
        ({"ranges": {"a": (1, 2)}}, "ranges of 'a': expected a Range"),
        ({"adc": Adc(bits=8), "measured": [Adc(bits=8)]}, "measured: expected a Mapping"),
        ({"adc": Adc(bits=8), "measured": {"a": 8}}, "measured 'a': expected an Adc"),
    ],
    ids=str,
)
def test_readouts_that_are_refused(changes, message):
    with pytest.raises(ParameterError, match=f"^readout mine: {message}"):
        Readout(**{"name": "mine", "dac": DAC} | changes)
    with pytest.raises(ParameterError, match=r"^readout: name: expected a str, found 8"):
        Readout(name=8, dac=DAC)


@pytest.mark.parametrize("changes", [{"tile_rows": 1}, {"tile_columns": 2**31}, {"accumulator": Accumulator(bits=2)}])
def test_readouts_at_the_ends_of_their_ranges(changes):
    ((name, value),) = changes.items()
    assert getattr(Readout(**{"name": "mine", "dac": DAC} | changes), name) == value


@pytest.mark.parametrize("adc", [None, Adc(bits=8)])
def test_range_of(adc):
    readout = Readout(name="mine", dac=DAC, adc=adc, ranges={"a": RANGE})
    assert readout.range_of("a") is RANGE
    assert not readout.needs_ranges
    with pytest.raises(ParameterError, match="readout mine: expected calibrated ranges for layer 'b'"):
        readout.range_of("b")


def test_presets_cannot_be_changed():
    with pytest.raises(TypeError):
        PRESETS["paper"] = PRESETS["chip8"]


def test_range_of_a_readout_without_ranges():
    assert Readout(name="mine", dac=DAC).range_of("a") is None
    for adc in (Adc(bits=8), Adc(bits=8, gain=1.0), Adc(bits=2, thresholds=[0, 1])):
        readout = Readout(name="mine", dac=DAC, adc=adc)
        assert readout.needs_ranges  # the digital scale is theirs
        expected = r"readout mine: expected calibrated ranges for layer 'a' .*, found none"
        with pytest.raises(ParameterError, match=expected):
            readout.range_of("a")


def test_a_readout_keeps_its_own_ranges_and_measured_adcs():
    ranges, measured = {"a": RANGE}, {"a": [Adc(bits=8, offset=1)]}
    readout = Readout(name="mine", dac=DAC, adc=Adc(bits=8), ranges=ranges, measured=measured)
    ranges["a"] = Range(input_top=9.0, sum_top_us=9.0)
    measured["a"].append(Adc(bits=8))
    measured["b"] = Adc(bits=8)
    assert readout.range_of("a") is RANGE
    assert readout.measured_of("a") == (Adc(bits=8, offset=1),)
    assert readout.measured_of("b") is None


def test_measured_adcs_are_one_or_one_a_tile():
    one, two = Adc(bits=8, offset=1), Adc(bits=8, gain=None, offset=2)
    readout = Readout(name="mine", dac=DAC, adc=Adc(bits=8), measured={"a": one, "b": (one, two), "c": [two]})
    assert [readout.measured_of(name) for name in "abcd"] == [(one,), (one, two), (two,), None]
    assert Readout(name="mine", dac=DAC, adc=Adc(bits=8)).measured_of("a") is None


SHAPES = "the limits of the readout's ADC; thresholds for all tiles or for none"
RULES = "one rounding for all tiles; gains for all tiles or for none"


@pytest.mark.parametrize(
    ("nominal", "measured", "message"),
    [
        (None, Adc(bits=8), SHAPES),
        (Adc(bits=8), Adc(bits=7), SHAPES),
        (Adc(bits=8), Adc(bits=8, low=-128), SHAPES),
        (Adc(bits=8, low=0, high=255), Adc(bits=8), SHAPES),
        (Adc(bits=2), (Adc(bits=2), Adc(bits=2, thresholds=[0, 1])), SHAPES),
        (Adc(bits=2), (Adc(bits=2, thresholds=[0, 1]), Adc(bits=2)), SHAPES),
        (Adc(bits=8), (Adc(bits=8), Adc(bits=8, rounding="floor")), RULES),
        (Adc(bits=8), (Adc(bits=8, gain=1.0), Adc(bits=8)), RULES),
        (Adc(bits=8), (Adc(bits=8), Adc(bits=8, gain=1.0)), RULES),
        (Adc(bits=8), (), "an Adc, or one a tile"),
        (Adc(bits=8, gain_bits=8), Adc(bits=8, gain_bits=8), "ADCs as measured, without gain_bits"),
    ],
)
def test_measured_adcs_that_are_refused(nominal, measured, message):
    with pytest.raises(ParameterError) as caught:
        Readout(name="mine", dac=DAC, adc=nominal, measured={"a": measured})
    assert (caught.value.where, caught.value.expected) == ("readout mine: measured 'a'", message)


def test_ranges_and_measured_adcs_of_other_layers_are_refused():
    readout = Readout(name="mine", dac=DAC, adc=Adc(bits=8), ranges={"a": RANGE}, measured={"b": Adc(bits=8)})
    readout.check_layers(["b", "c", "a"])
    Readout(name="mine", dac=DAC).check_layers([])
    for layers, place, other in ((["b", "c"], "ranges", "a"), (["a", "c"], "measured", "b")):
        expected = rf"^readout mine: {place}: expected layers out of {', '.join(layers)}, found '{other}'$"
        with pytest.raises(ParameterError, match=expected):
            readout.check_layers(layers)


def test_a_readout_can_be_compared_and_hashed_without_ranges():
    assert Readout(name="x", dac=DAC) == Readout(name="x", dac=Dac(bits=8))
    assert Readout(name="x", dac=DAC) != Readout(name="x", dac=Dac(bits=8, codes="signed"))
    assert len({DAC, Dac(bits=8), Adc(bits=8), Adc(bits=8, low=-127), Accumulator(bits=8)}) == 3
