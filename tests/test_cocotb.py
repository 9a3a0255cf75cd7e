"""The cocotb bench: with the cocotb of this environment in Icarus, with cocotb 1.9.2 in Verilator."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.readout import Readout
from pcmref.errors import ParameterError
from pcmref.golden.folders import write_case
from pcmref.golden.tiles import tile_case

ROOT = Path(__file__).resolve().parent.parent
RTL = ROOT / "examples" / "rtl"
RUN = RTL / "cocotb" / "run.py"
ADC = Adc(bits=8, gain=FixedPoint(640, 22))
GAINS = (FixedPoint(640, 22), FixedPoint(7, 16), FixedPoint(40_001, 29), FixedPoint(1, 12))
#: Python of an environment with pcmref's dependencies and cocotb 1.9.2.
OLDER = "PCMREF_COCOTB_1_9"


def needs(simulator):
    if shutil.which(simulator) is None:
        pytest.skip(f"{simulator} is not installed (examples/rtl/install-simulators)")


def bench(*arguments, python=sys.executable, environment=()):
    """Run a bench; return its exit status and its output with single spaces."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [python, str(RUN), *arguments],
        env={**os.environ, "PYTHONPATH": paths, **dict(environment)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, " ".join(done.stdout.split())


@pytest.fixture
def icarus(tmp_path):
    if find_spec("cocotb") is None:
        pytest.skip("cocotb is not installed (pip install '.[testbench]')")
    needs("iverilog")
    return lambda *arguments: bench(*arguments, "--simulator", "icarus", "--build", str(tmp_path))


@pytest.fixture
def verilator(tmp_path):
    if OLDER not in os.environ:
        pytest.skip(f"{OLDER} names no Python with cocotb 1.9.2, which Debian's Verilator needs")
    needs("verilator")
    arguments = ("--simulator", "verilator", "--build", str(tmp_path))
    return lambda *own: bench(*own, *arguments, python=os.environ[OLDER])


def test_icarus_gives_the_codes_of_a_case_of_hypothesis_and_of_random_products(icarus):
    benches = ["tile", "properties", "throughput"]
    status, said = icarus(*benches, "--size", "12x4", "--random", "30", "--examples", "100", "--products", "300")
    assert status == 0, said
    assert "EQUAL: all" in said
    assert re.search(r"1\d\d examples on 12 x 4, all equal", said)
    assert "300 products of 12 x 4, all equal" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"adc": Adc(bits=8, gain=GAINS, offset=(300, -5, 0, 7000), rounding="half-away"), "read_noise": "fresh"},
        {"adc": Adc(bits=4, thresholds=tuple(range(-70_000, 70_000, 10_000)))},
        {"dac": Dac(bits=8, codes="unsigned"), "accumulator": Accumulator(bits=20, beyond="saturate")},
    ],
    ids=["noise, gains, offsets", "thresholds", "unsigned codes and a register that saturates"],
)
def test_icarus_gives_the_codes_of_an_exported_case(changes, icarus, tmp_path):
    own = {"dac": Dac(bits=8), "adc": ADC, **changes}
    write_case(tmp_path / "case", tile_case(Readout(name="rtl", **own), size=(12, 4), random=30))
    status, said = icarus("tile", "--case", str(tmp_path / "case"))
    assert status == 0, said
    assert "EQUAL: all" in said


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lines": "separate"}, "separate lines"),
        ({"dac": Dac(bits=6, drive="bit-serial")}, "bit-serial drives"),
        ({"dac": Dac(bits=8, codes="offset")}, "offset codes"),
        ({"adc": None}, "sums without an ADC"),
        ({"adc": Adc(bits=8, gain=7.6e-5)}, "gains in fixed point"),
    ],
)
def test_converters_that_the_tile_does_not_have_are_refused(changes, named, monkeypatch):
    monkeypatch.syspath_prepend(str(RUN.parent))
    own = {"dac": Dac(bits=8), "adc": ADC, **changes}
    case = tile_case(Readout(name="rtl", **own), size=(4, 2), groups=["random"], random=5)
    with pytest.raises(ParameterError, match=named):
        import_module("designs").tile_design(case, {})


def test_a_fault_is_diagnosed_as_check_does_and_shrunk_to_one_tie_in_one_column(icarus):
    size = ["--size", "12x4", "--random", "30"]
    status, said = icarus("tile", "properties", *size, "--set", "ROUNDING=2")
    assert status == 1
    assert "on a tie, within the limits" in said
    assert "diagnosis: the tile rounds to the nearest code, ties up (rounds-half-up)" in said
    report = (
        "pcm_tile differs from pcmref.tile in 1 of 4 codes vector 0, column 0: expected 0, found 1 "
        "noise 524288, offset 0, gain 1/2^20 sum 524288 = 0.5 codes, on a tie"
    )
    assert report in said


def changed(source, text, other, folder):
    """Copy the RTL with another text in a source; return the options that name the copy."""
    for path in RTL.glob("pcm_*.sv"):
        shutil.copy(path, folder)
    right = (folder / source).read_text()
    assert text in right
    (folder / source).write_text(right.replace(text, other))
    return "--rtl", str(folder)


def test_what_stays_from_the_vector_before_is_found_by_every_bench(icarus, tmp_path):
    fault = changed("pcm_tile.sv", "row == '0 ? '0 : sum", "sum", tmp_path)
    benches = ("tile", "properties", "throughput")
    status, said = icarus(*benches, *fault, "--size", "12x4", "--random", "5", "--products", "50")
    assert status == 1
    assert said.count("FAIL=1") == len(benches), said


@pytest.mark.parametrize(
    ("source", "valid", "name", "count"),
    [
        ("pcm_tile.sv", "d_valid <= !rst && code_valid && last;", "throughput", 50),
        ("pcm_conv.sv", "out_valid = &d_valid || waiting;", "layer", 4),
    ],
)
def test_hardware_that_does_not_answer_is_found(source, valid, name, count, icarus, tmp_path):
    fault = changed(source, valid, f"{valid.split()[0]} {valid.split()[1]} 1'b0;", tmp_path)
    layer = ("--network", "digits-resnet8", "--layer", "stage3.block1.shortcut")
    status, said = icarus(name, *fault, *layer, "--size", "12x4", "--products", "50")
    assert status == 1
    assert f"expected {count} answers, found 0" in said


@pytest.mark.parametrize(
    "options",
    [
        (
            "--network",
            "digits-resnet8",
            "--layer",
            "stage3.block1.conv2",
            "--read-noise",
            "fresh",
            "--gaps",
        ),  # two tiles
        ("--network", "digits-resnet8", "--layer", "fc", "--images", "3"),  # a bias
        ("--layer", "stage3.block1.shortcut", "--read-noise", "fresh"),  # of the ResNet-32
    ],
)
def test_icarus_streams_a_layer_of_a_chip(options, icarus):
    status, said = icarus("layer", *options)
    assert status == 0, said
    assert "EQUAL: all" in said


def test_a_layer_whose_tiles_round_otherwise_is_found(icarus):
    status, said = icarus(
        "layer", "--network", "digits-resnet8", "--layer", "stage3.block1.conv2", "--set", "ROUNDING=3"
    )
    assert status == 1
    assert "DIFFERENT: " in said


#: A network of whose layers most take several tiles and groups of columns.
DIGITS = ("--network", "digits-resnet8", "--size", "64x16")


@pytest.mark.soak
def test_icarus_takes_an_image_through_a_network_tile_by_tile(icarus):
    status, said = icarus("image", *DIGITS)
    assert status == 0, said
    assert "1 images through 10 layers, 913 products of 64 x 16" in said


def test_the_logits_of_an_image_depend_on_the_rtl(icarus):
    status, said = icarus("image", *DIGITS, "--set", "ROUNDING=3")
    assert status == 1
    assert re.search(r"logits expected .* found .* begins in conv1, where \d+ codes differ", said)


def test_verilator_gives_a_hundred_thousand_products(verilator):
    status, said = verilator("throughput", "--products", "100000")
    assert status == 0, said
    assert "100000 products of 32 x 8, all equal" in said


def test_verilator_takes_an_image_through_the_resnet_32(verilator):
    status, said = verilator("image")
    assert status == 0, said
    assert "1 images through 34 layers, 15361 products of 256 x 64" in said
    assert "all logits are equal" in said


@pytest.mark.soak
@pytest.mark.parametrize("noise", [("--read-noise", "frozen"), ("--read-noise", "fresh", "--gaps")])
def test_verilator_streams_a_layer_of_the_resnet_32_and_replays_a_tile(noise, verilator):
    status, said = verilator("layer", "tile", "properties", *noise)
    assert status == 0, said
    assert "elements of stage3.block1.conv2/output-code" in said


def test_a_parameter_that_the_design_does_not_have_is_refused(icarus):
    status, said = icarus("throughput", "--set", "ROUNDINGS=2")
    assert status == 2
    assert "ROUNDINGS" in said


def test_a_case_of_another_kind_and_rtl_that_does_not_compile_are_refused(icarus, tmp_path):
    write_case(tmp_path / "case", tile_case(Readout(name="rtl", dac=Dac(bits=8), adc=ADC), size=(4, 2), random=5))
    status, said = icarus("layer", "--case", str(tmp_path / "case"))
    assert status == 2
    assert "expected the case of a layer, found that of a tile" in said
    fault = changed("pcm_tile.sv", "endmodule", "", tmp_path)
    status, said = icarus("tile", "--case", str(tmp_path / "case"), *fault)
    assert status == 2
    assert "expected RTL that icarus takes" in said


def test_without_cocotb_it_says_what_to_install(tmp_path):
    for name in ("cocotb", "cocotb_tools"):
        (tmp_path / f"{name}.py").write_text("raise ImportError\n")
    status, said = bench("tile", environment={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert status == 2
    assert "pip install 'pcmref[testbench]'" in said


def test_without_a_simulator_it_says_what_to_install(icarus, tmp_path):
    status, said = bench("tile", environment={"PATH": str(tmp_path)})
    assert status == 2
    assert "install-simulators" in said


def test_a_verilator_that_is_too_old_for_cocotb_2_is_refused(icarus, tmp_path):
    import cocotb

    if not cocotb.__version__.startswith("2"):
        pytest.skip("this cocotb takes any Verilator")
    (tmp_path / "verilator").write_text("#!/bin/sh\necho Verilator 5.006 2023-01-22\n")
    (tmp_path / "verilator").chmod(0o755)
    status, said = bench("tile", "--simulator", "verilator", environment={"PATH": f"{tmp_path}{os.pathsep}/bin"})
    assert status == 2
    assert "5.036 or later" in said
    assert "Verilator 5.006" in said
