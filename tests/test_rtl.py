"""The tile in SystemVerilog against golden cases, in whatever simulators are installed; no Python while they run."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.readout import Readout
from pcmref.golden.check import check
from pcmref.golden.folders import write_case
from pcmref.golden.tiles import tile_case

RTL = Path(__file__).resolve().parent.parent / "examples" / "rtl"
SOURCES = ["pcm_tile.sv", "pcm_adc.sv", "tile_tb.sv"]
READOUT = Readout(name="rtl", dac=Dac(bits=8), adc=Adc(bits=8, gain=FixedPoint(640, 23)))


def installed(simulator):
    if shutil.which(simulator) is None:
        pytest.skip(f"{simulator} is not installed (examples/rtl/install-simulators)")


def case_of(folder, *, rounding="half-even", **limits):
    readout = replace(READOUT, adc=replace(READOUT.adc, rounding=rounding, **limits))
    write_case(folder / "case", tile_case(readout, size=(12, 4), random=30), hex=True)
    return folder / "case" / "hex"


def build(simulator, words, folder):
    """Compile the bench; return the command that runs it."""
    if simulator == "iverilog":
        command = ["iverilog", "-g2012", "-I", str(words), "-o", str(folder / "tb"), *SOURCES]
        run = ["vvp", "-n", str(folder / "tb")]
    else:
        options = ["--binary", "--timing", "-O1", "--Mdir", str(folder / "v"), "--top", "tile_tb"]
        command = ["verilator", *options, f"-I{words}", *SOURCES]
        run = [str(folder / "v" / "Vtile_tb")]
    done = subprocess.run(command, cwd=RTL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [*run, f"+case={words}"]


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_icarus_gives_the_codes_of_a_case(rounding, tmp_path):
    installed("iverilog")
    done = run(build("iverilog", case_of(tmp_path, rounding=rounding), tmp_path))
    assert done.returncode == 0, done.stdout
    assert "are equal" in done.stdout


def test_icarus_gives_codes_with_other_limits(tmp_path):
    installed("iverilog")
    done = run(build("iverilog", case_of(tmp_path, low=-128, high=100), tmp_path))
    assert done.returncode == 0, done.stdout


def test_icarus_gives_codes_with_offsets_noise_and_a_register_that_wraps(tmp_path):
    installed("iverilog")
    adc = replace(READOUT.adc, offset=(300, -5, 0, 7000))
    readout = replace(READOUT, adc=adc, read_noise="fresh", accumulator=Accumulator(bits=20, beyond="wrap"))
    write_case(tmp_path / "case", tile_case(readout, size=(12, 4), random=30), hex=True)
    done = run(build("iverilog", tmp_path / "case" / "hex", tmp_path))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("simulator", ["iverilog", "verilator"])
def test_words_that_are_missing_or_cut_never_pass(simulator, tmp_path):
    installed(simulator)
    words = case_of(tmp_path)
    command = build(simulator, words, tmp_path)
    assert run([*command[:-1], f"+case={tmp_path / 'nowhere'}"]).returncode != 0
    path = words / "expected" / "tile0" / "D.hex"
    path.write_bytes(path.read_bytes()[:-3])
    assert run(command).returncode != 0


@pytest.mark.parametrize(
    "changes",
    [
        {"dac": Dac(bits=8, codes="unsigned")},
        {"dac": Dac(bits=6, drive="bit-serial")},
        {"accumulator": Accumulator(bits=20, beyond="saturate")},
        {"adc": Adc(bits=8, gain=7.6e-5)},
    ],
)
def test_converters_that_the_tile_does_not_have_are_refused(changes, tmp_path):
    installed("iverilog")
    write_case(tmp_path / "case", tile_case(replace(READOUT, **changes), size=(12, 4), random=5), hex=True)
    done = run(build("iverilog", tmp_path / "case" / "hex", tmp_path))
    assert done.returncode != 0
    assert "no such converters" in done.stdout


def test_the_answers_of_the_rtl_can_be_checked(tmp_path):
    installed("iverilog")
    words = case_of(tmp_path)
    assert run([*build("iverilog", words, tmp_path), f"+got={tmp_path / 'answers.hex'}"]).returncode == 0
    assert check(tmp_path / "case", tmp_path / "answers.hex").status == "equal"


def test_verilator_gives_the_codes_of_a_case(tmp_path):
    installed("verilator")
    done = run(build("verilator", case_of(tmp_path), tmp_path))
    assert done.returncode == 0, done.stdout
    assert "are equal" in done.stdout


def test_an_expected_code_that_is_another_is_found(tmp_path):
    installed("iverilog")
    words = case_of(tmp_path)
    expected = words / "expected" / "tile0" / "D.hex"
    lines = expected.read_text().splitlines()
    lines[-1] = f"{int(lines[-1], 16) ^ 1:02x}"
    expected.write_text("\n".join(lines) + "\n")
    done = run(build("iverilog", words, tmp_path))
    assert done.returncode != 0
    assert f"vector {len(lines) // 4 - 1}, column 3" in done.stdout
    assert f"1 of {len(lines)} codes differ" in done.stdout


def test_a_tile_that_rounds_ties_in_another_way_is_found(tmp_path):
    installed("iverilog")
    words = case_of(tmp_path)
    header = words / "tile0.svh"
    header.write_text(header.read_text().replace("ROUNDING = 0", "ROUNDING = 2"))
    done = run(build("iverilog", words, tmp_path))
    assert done.returncode != 0
    assert "codes differ" in done.stdout


@pytest.mark.parametrize("shift", [0, 33])
def test_verilator_finds_nothing_to_warn_of(shift):
    installed("verilator")
    command = ["verilator", "--lint-only", "-Wall", f"-GSHIFT={shift}", "--top-module", "pcm_tile", *SOURCES[:2]]
    done = subprocess.run(command, cwd=RTL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
