"""pcmref in C called from SystemVerilog, in Verilator: by the library, and by its sources compiled as C++."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.readout import Readout
from pcmref.golden.folders import write_case
from pcmref.golden.library import write_library
from pcmref.golden.tiles import tile_case

RTL = Path(__file__).resolve().parent.parent / "examples" / "rtl"
#: What is no part of the library.
PROGRAMS = ("pcmref_check", "pcmref_python")
READOUT = Readout(name="rtl", dac=Dac(bits=8), adc=Adc(bits=8, gain=FixedPoint(640, 23)))
NOISY = replace(
    READOUT,
    read_noise="fresh",
    accumulator=Accumulator(bits=20, beyond="saturate"),
    adc=replace(READOUT.adc, offset=(300, -5, 0, 7000)),
)

pytestmark = pytest.mark.skipif(
    shutil.which("verilator") is None, reason="verilator is not installed (examples/rtl/install-simulators)"
)


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)


def built(folder, readout, *, sources=False, rounding=None):
    """Build the bench for a readout; return what runs it."""
    write_case(folder / "case", tile_case(readout, size=(12, 4), random=30), hex=True)
    write_library(folder / "dpi")
    header = folder / "case" / "hex" / "tile0.svh"
    if rounding is not None:
        header.write_text(header.read_text().replace("ROUNDING = 0", f"ROUNDING = {rounding}"))
    library = [path for path in (folder / "dpi").glob("pcmref*.c") if path.stem not in PROGRAMS]
    if not sources:
        assert run("make", "-C", folder / "dpi", "libpcmref.a").returncode == 0
        library = [folder / "dpi" / "libpcmref.a"]
    options = ["--binary", "--timing", "-O1", "--Mdir", folder / "v", "--top", "dpi_tb"]
    own = [*sorted(path.name for path in RTL.glob("pcm_*.sv")), "dpi_tb.sv", *library]
    done = run("verilator", *options, f"-I{header.parent}", f"-I{folder / 'dpi'}", *own, cwd=RTL)
    assert done.returncode == 0, done.stderr
    return folder / "v" / "Vdpi_tb"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A tile with noise, offsets and a register that saturates, beside the library; and its case."""
    folder = tmp_path_factory.mktemp("bench")
    return built(folder, NOISY), folder / "case"


def test_the_rtl_and_the_library_agree_on_the_vectors_of_a_case_and_on_random_ones(bench):
    program, case = bench
    done = run(program, f"+case={case}", "+random=2000", "+seed=7")
    assert done.returncode == 0, done.stdout
    assert "are equal" in done.stdout


def test_a_case_that_is_not_there_is_named(bench):
    program, _ = bench
    done = run(program, "+case=/nowhere")
    assert done.returncode != 0
    assert "/nowhere/case.json: expected a file of a case, found No such file or directory" in done.stdout


def test_a_tile_that_rounds_ties_in_another_way_is_found_by_the_vectors_of_the_case(tmp_path):
    """With the library's sources given to Verilator, which compiles them as C++."""
    done = run(built(tmp_path, READOUT, sources=True, rounding=2), f"+case={tmp_path / 'case'}", "+random=0")
    assert done.returncode != 0
    assert "codes differ" in done.stdout
