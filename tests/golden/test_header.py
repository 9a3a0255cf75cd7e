"""The header that a Verilog bench includes: its numbers are those of the case."""

from __future__ import annotations

import re

import pytest

from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.golden.folders import size_of, write_case
from pcmref.golden.header import loads, tiles_of, verilog_header
from pcmref.golden.memory import read_memory
from tests.golden.setups import READOUTS, case_of


def numbers(text):
    found = {name: int(value) for name, value in re.findall(r"localparam integer (\w+) = (-?\d+);", text)}
    ends = re.search(r"LOAD_END = \{(.*)\};", text)[1]
    return found, [int(end) for end in re.findall(r"32'd(\d+)", ends)][::-1]


@pytest.mark.parametrize("name", READOUTS)
def test_sizes_widths_and_the_adc(name):
    case, readout = case_of(name), READOUTS[name]
    found, ends = numbers(verilog_header(case, "tile0"))
    code = case.arrays["tile0/code"]
    assert (found["VECTORS"], found["ROWS"]) == code.shape
    assert found["CODE_BITS"] == code.bits
    assert found["LOADS"] == len(loads(case, "tile0")) == len(ends)
    assert found["G_BITS"] == max(entry.bits for entry in loads(case, "tile0"))
    assert found["A_BITS"] == case.arrays["tile0/A"].bits
    assert found["CONVERSIONS"] == len(readout.dac.weights) * (1 + (readout.lines == "separate"))
    if readout.adc is not None:
        assert (found["ADC_LOW"], found["ADC_HIGH"]) == readout.adc.limits
        assert ROUNDINGS[found["ROUNDING"]] == readout.adc.rounding
    shifts = set(case.values["tile0/shift"].tolist()) if "tile0/shift" in case.arrays else set()
    assert found["FIXED_POINT"] == (len(shifts) == 1)
    assert found["SHIFT"] == (shifts.pop() if len(shifts) == 1 else 0)
    assert found["CODE_SIGNED"] == (readout.dac.low < 0)
    assert found["CODE_OFFSET"] == readout.dac.offset
    assert found["HAS_NOISE"] == (readout.read_noise == "fresh")
    assert found["HAS_OFFSET"] == ("tile0/offset" in case.arrays)
    assert found["SATURATES"] == (readout.accumulator is not None and readout.accumulator.beyond == "saturate")


@pytest.mark.parametrize("name", ["pair", "fresh"])
def test_every_vector_meets_the_load_of_its_group(name):
    case = case_of(name)
    _, ends = numbers(verilog_header(case, "tile0"))
    names = [entry.name.partition("/g-")[2] for entry in loads(case, "tile0")]
    for group in case.groups:
        load = next(number for number, end in enumerate(ends) if group.first < end)
        assert names[load] == group.conductance
        assert group.last <= ends[load]
    assert ends[-1] == len(case.values["tile0/code"])


def test_the_words_of_all_loads_follow_each_other(tmp_path):
    case = case_of("pair")
    write_case(tmp_path / "case", case, hex=True)
    found, _ = numbers((tmp_path / "case" / "hex" / "tile0.svh").read_text())
    count = found["LOADS"] * found["ROWS"] * found["COLUMNS"]
    path = tmp_path / "case" / "hex" / "prompt" / "tile0" / "g.hex"
    words = read_memory(path, bits=found["G_BITS"], signed=True, count=count)
    assert words.tolist() == [v for entry in loads(case, "tile0") for v in case.values[entry.name].reshape(-1).tolist()]


def test_the_size_that_is_announced_is_that_of_the_folder(tmp_path):
    case = case_of("pair")
    write_case(tmp_path / "case", case, hex=True)
    written = sum(path.stat().st_size for path in (tmp_path / "case").rglob("*") if path.is_file())
    assert size_of(case, hex=True) == written


def test_a_case_names_its_tiles():
    assert tiles_of(case_of("pair")) == ("tile0",)
