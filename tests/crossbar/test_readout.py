"""Readouts: the presets, what a readout refuses, and the ranges of its layers."""

import pytest

from pcmref.arithmetic.codes import Range
from pcmref.crossbar.readout import PRESETS, Readout, preset
from pcmref.errors import ParameterError


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


RANGE = Range(input_top=1.0, sum_top_us=2.0)


@pytest.mark.parametrize("adc_bits", [None, 8])
def test_range_of(adc_bits):
    readout = Readout(name="mine", dac_bits=8, adc_bits=adc_bits, ranges={"a": RANGE})
    assert readout.range_of("a") is RANGE
    with pytest.raises(ParameterError, match="readout mine: expected calibrated ranges for layer 'b'"):
        readout.range_of("b")


def test_presets_cannot_be_changed():
    with pytest.raises(TypeError):
        PRESETS["paper"] = PRESETS["chip8"]


def test_range_of_a_readout_without_ranges():
    assert Readout(name="mine", dac_bits=8).range_of("a") is None
    with pytest.raises(ParameterError, match=r"readout mine: expected calibrated ranges for layer 'a' .*, found none"):
        Readout(name="mine", dac_bits=8, adc_bits=8).range_of("a")


def test_a_readout_keeps_its_own_ranges():
    ranges = {"a": RANGE}
    readout = Readout(name="mine", dac_bits=8, ranges=ranges)
    ranges["a"] = Range(input_top=9.0, sum_top_us=9.0)
    assert readout.range_of("a") is RANGE
    for bad, message in (([RANGE], "ranges: expected a Mapping"), ({"a": (1, 2)}, "ranges of 'a': expected a Range")):
        with pytest.raises(ParameterError, match=message):
            Readout(name="mine", dac_bits=8, ranges=bad)
