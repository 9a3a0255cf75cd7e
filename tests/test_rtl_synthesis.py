"""The SystemVerilog is synthesised by yosys, and its gates give the codes that it gives itself."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from pcmref.crossbar.converters import Adc, Dac, FixedPoint
from pcmref.crossbar.readout import Readout
from pcmref.golden.folders import write_case
from pcmref.golden.header import layer_header, verilog_header
from pcmref.golden.tiles import tile_case
from tests.helpers.rtl import RTL, build, layer_case, run


def numbers(header):
    return {name: int(value) for name, value in re.findall(r"localparam integer (\w+) = (-?\d+);", header)}


def synthesised(module, netlist, parameters):
    """Synthesise a module; return its gates, flip-flops and bits of memory."""
    if shutil.which("yosys") is None:
        pytest.skip("yosys is not installed (apt-get install yosys)")
    command = [str(RTL / "synthesise"), module, *(f"{name}={value}" for name, value in parameters.items())]
    done = subprocess.run([*command, f"netlist={netlist}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(int(n) for n in re.search(r"(\d+) gates, (\d+) flip-flops, (\d+) bits", done.stdout).groups())


def gates_pass(module, bench, netlist, words, folder, header="."):
    """Run a bench on gates in place of the module."""
    sources = folder / "rtl"
    shutil.copytree(RTL, sources, ignore=lambda folder, names: [name for name in names if not name.endswith(".sv")])
    shutil.copy(netlist, sources / f"{module}.sv")
    text = (sources / f"{bench}.sv").read_text()
    text, count = re.subn(rf"{module} #\(.*?\n    \) (\w+) \(", rf"{module} \1 (", text, flags=re.DOTALL)
    assert count == 1
    (sources / f"{bench}.sv").write_text(text)
    done = run(build("iverilog", bench, words, folder, header=header, sources=sources))
    assert done.returncode == 0, done.stdout
    assert "are equal" in done.stdout


def test_the_gates_of_a_tile_give_the_codes_of_the_case(tmp_path):
    readout = Readout(name="rtl", dac=Dac(bits=4), adc=Adc(bits=8, gain=FixedPoint(5, 13)))
    case = tile_case(readout, size=(5, 2), random=10)
    write_case(tmp_path / "case", case, hex=True)
    said = numbers(verilog_header(case, "tile0"))
    names = ("ROWS", "COLUMNS", "CODE_BITS", "SUM_BITS", "NOISE_BITS", "OFFSET_BITS", "MULT_BITS", "SHIFT")
    netlist = tmp_path / "netlist.v"
    gates, flops, memory = synthesised("pcm_tile", netlist, {name: said[name] for name in names})
    assert memory == 5 * 2 * 16
    # a register of the sum and one of D in each column; the row's number; whether D is there
    assert flops == 2 * (said["SUM_BITS"] + 8) + 3 + 1
    assert 1_000 < gates < 20_000
    gates_pass("pcm_tile", "tile_tb", netlist, tmp_path / "case" / "hex", tmp_path)


def test_the_gates_of_a_layer_give_the_codes_of_the_case(tmp_path):
    readout = Readout(name="rtl", dac=Dac(bits=3), adc=Adc(bits=8, gain_bits=3), tile_rows=2)
    case = layer_case((3, 3, 1), {"kernel": (2, 2)}, readout, columns=2)
    write_case(tmp_path / "case", case, hex=True)
    said = numbers(layer_header(case, "conv"))
    names = (
        *("HEIGHT", "WIDTH", "CHANNELS", "KERNEL_HEIGHT", "KERNEL_WIDTH", "STRIDE", "PADDING", "COLUMNS", "TILE_ROWS"),
        *("CODE_BITS", "SUM_BITS", "NOISE_BITS", "OFFSET_BITS", "MULT_BITS", "SHIFT", "OUT_BITS"),
    )
    netlist = tmp_path / "netlist.v"
    _, flops, memory = synthesised("pcm_conv", netlist, {name: said[name] for name in names})
    window, line = 2 * 2 * 3, said["WIDTH"] * 3
    assert memory == 4 * 2 * 16 + line
    assert flops > window + 2 * 2 * (said["SUM_BITS"] + 8)
    gates_pass("pcm_conv", "conv_tb", netlist, tmp_path / "case" / "hex", tmp_path, header="conv")


def test_what_is_no_setting_is_refused():
    done = subprocess.run([str(RTL / "synthesise"), "pcm_tile", "ROWS"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "yosys is not installed" in done.stderr or "expected PARAMETER=VALUE, found ROWS" in done.stderr
