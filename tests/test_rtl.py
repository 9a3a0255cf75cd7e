"""The tile in SystemVerilog against golden cases."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.readout import Readout
from pcmref.golden.check import check
from pcmref.golden.folders import read_case, write_case
from pcmref.golden.suite import CASES, suite_folder
from pcmref.golden.tiles import tile_case
from tests.helpers.rtl import RTL, SOURCES, build, installed, run

READOUT = Readout(name="rtl", dac=Dac(bits=8), adc=Adc(bits=8, gain=FixedPoint(640, 23)))
SIZE = (12, 4)
#: Cases of the conformance suite whose converters the tile does not have, and what the bench says.
REFUSED = {
    "tile-float64-gain": "no gains in float64",
    "tile-offset-codes": "no offset codes",
    "tile-two-phase": "no two-phase drive",
    "tile-bit-serial": "no bit-serial drive",
    "tile-separate-lines": "no separate lines",
}
SUITE = [name for name in CASES if name.startswith("tile-")]
#: What the suite has not together.
TOGETHER = {
    "offsets, noise, a register that wraps": {
        "adc": Adc(bits=8, gain=FixedPoint(640, 23), low=-128, high=100, offset=(300, -5, 0, 7000)),
        "read_noise": "fresh",
        "accumulator": Accumulator(bits=20, beyond="wrap"),
    },
    "unsigned codes, thresholds, noise, a register that saturates": {
        "dac": Dac(bits=6, codes="unsigned"),
        "adc": Adc(bits=5, low=0, high=31, thresholds=[[20_000 * n - 9_000 * c for n in range(31)] for c in range(4)]),
        "read_noise": "fresh",
        "accumulator": Accumulator(bits=19, beyond="saturate"),
    },
    "shifts and multipliers of columns, a shift of 0": {
        "adc": Adc(bits=24, gain=tuple(FixedPoint(3 + shift, shift) for shift in (0, 1, 5, 20)), rounding="half-away")
    },
    "a register wider than any sum": {"accumulator": Accumulator(bits=60, beyond="saturate")},
    "no ADC, a register": {"adc": None, "accumulator": Accumulator(bits=21, beyond="saturate")},
}


def written(folder, case):
    write_case(folder / "case", case, hex=True)
    return folder / "case" / "hex"


def words_of(folder, **changes):
    return written(folder, tile_case(replace(READOUT, **changes), size=SIZE, random=30))


def passes(command, case):
    done = run(command)
    assert done.returncode == 0, done.stdout
    vectors, columns = case.arrays["tile0/D"].shape
    assert f"all {vectors * columns} codes of {vectors} vectors are equal" in done.stdout


@pytest.mark.parametrize("name", [name for name in SUITE if name not in REFUSED])
def test_every_tile_of_the_conformance_suite(name, tmp_path):
    case = read_case(suite_folder() / name)
    command = build("iverilog", "tile_tb", written(tmp_path, case), tmp_path)
    passes(command, case)
    passes([*command, "+gaps"], case)


@pytest.mark.parametrize("name", REFUSED)
def test_converters_that_the_tile_does_not_have_are_refused_by_name(name, tmp_path):
    words = written(tmp_path, read_case(suite_folder() / name))
    done = run(build("iverilog", "tile_tb", words, tmp_path))
    assert done.returncode != 0
    assert REFUSED[name] in done.stdout


@pytest.mark.parametrize("name", TOGETHER)
def test_converters_serve_together(name, tmp_path):
    case = tile_case(replace(READOUT, **TOGETHER[name]), size=SIZE, random=30)
    passes(build("iverilog", "tile_tb", written(tmp_path, case), tmp_path), case)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 1)])
def test_a_tile_of_any_size(size, tmp_path):
    case = tile_case(READOUT, size=size, random=30)
    passes(build("iverilog", "tile_tb", written(tmp_path, case), tmp_path), case)


@pytest.mark.parametrize("name", ["tile-half-even", "tile-thresholds"])
def test_verilator_gives_the_same_codes(name, tmp_path):
    case = read_case(suite_folder() / name)
    passes(build("verilator", "tile_tb", written(tmp_path, case), tmp_path), case)


@pytest.mark.parametrize("simulator", ["iverilog", "verilator"])
def test_words_that_are_missing_or_cut_never_pass(simulator, tmp_path):
    words = words_of(tmp_path)
    command = build(simulator, "tile_tb", words, tmp_path)
    assert run([*command[:-1], f"+case={tmp_path / 'nowhere'}"]).returncode != 0
    for name in ("prompt/tile0/code", "prompt/tile0/g", "prompt/tile0/multiplier", "expected/tile0/D"):
        path = words / f"{name}.hex"
        whole = path.read_bytes()
        path.write_bytes(whole[:-3])
        done = run(command)
        assert done.returncode != 0, name
        assert f"{name}.hex: expected" in done.stdout
        path.write_bytes(whole)
    assert run(command).returncode == 0


def test_the_answers_of_the_rtl_can_be_checked(tmp_path):
    command = build("iverilog", "tile_tb", words_of(tmp_path), tmp_path)
    assert run([*command, f"+got={tmp_path / 'answers.hex'}"]).returncode == 0
    assert check(tmp_path / "case", tmp_path / "answers.hex").status == "equal"


def test_an_expected_code_that_is_another_is_found(tmp_path):
    words = words_of(tmp_path)
    expected = words / "expected" / "tile0" / "D.hex"
    lines = expected.read_text().splitlines()
    lines[-1] = f"{int(lines[-1], 16) ^ 1:02x}"
    expected.write_text("\n".join(lines) + "\n")
    done = run(build("iverilog", "tile_tb", words, tmp_path))
    assert done.returncode != 0
    assert f"vector {len(lines) // 4 - 1}, column 3" in done.stdout
    assert f"1 of {len(lines)} codes differ" in done.stdout


@pytest.mark.parametrize(
    "parameters",
    [
        "-GSHIFT=0",
        "-GSHIFT=33",
        "-GROWS=1 -GCOLUMNS=1",
        "-GCODE_SIGNED=0 -GHELD_BITS=20",
        "-GCOLUMNS=4 -GTHRESHOLD_BITS=26 -GMULT_BITS=6604",
        "-GCOLUMNS=4 -GTHRESHOLD_BITS=26 -GMULT_BITS=6630 -GLOW=0 -GHIGH=255",
    ],
)
def test_verilator_finds_nothing_to_warn_of(parameters):
    installed("verilator")
    modules = [name for name in SOURCES if name not in ("pcm_bench.sv", "pcm_conv.sv")]
    command = ["verilator", "--lint-only", "-Wall", *parameters.split(), "--top-module", "pcm_tile", *modules]
    done = subprocess.run(command, cwd=RTL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
