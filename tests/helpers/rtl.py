"""The SystemVerilog of examples/rtl in whatever simulators are installed; no Python while they run."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pcmref
from pcmref.golden.layers import network_case
from pcmref.network.graph import Network
from pcmref.network.operations import GlobalAveragePool
from tests.helpers.nets import RGB, conv

RTL = Path(__file__).resolve().parents[2] / "examples" / "rtl"
#: The package of the benches comes before them.
SOURCES = ["pcm_adc.sv", "pcm_bench.sv", "pcm_conv.sv", "pcm_threshold_adc.sv", "pcm_tile.sv"]


def installed(tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed (examples/rtl/install-simulators)")


def build(simulator, bench, words, folder, *, header=".", sources=RTL):
    """Compile a bench whose header is in a folder of the words; return the command that runs it."""
    installed(simulator)
    files, include = [*SOURCES, f"{bench}.sv"], words / header
    if simulator == "iverilog":
        command = ["iverilog", "-g2012", "-Wall", "-I", str(include), "-s", bench, "-o", str(folder / "tb"), *files]
        run = ["vvp", "-n", str(folder / "tb")]
    else:
        options = ["--binary", "--timing", "-O1", "-MAKEFLAGS", "OPT_FAST=-O0", "--top", bench]
        command = ["verilator", *options, "--Mdir", str(folder / "v"), f"-I{include}", *files]
        run = [str(folder / "v" / f"V{bench}")]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [*run, f"+case={words}"]


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def layer_case(shape, layer, readout, *, measured=None, columns=5, images=3):
    """The golden case of a network that is one convolution, on images of a shape."""
    rng = np.random.default_rng(7)
    layers = (
        conv(rng, "conv", "input", shape[2], columns, **layer),
        GlobalAveragePool(name="mean", inputs=("conv",)),
    )
    normalisation = replace(RGB, mean=(0.4,) * shape[2], std=(0.3,) * shape[2])
    network = Network(input_shape=shape, normalisation=normalisation, classes=tuple("abcde"[:columns]), layers=layers)
    pixels = rng.integers(0, 256, (20, *shape), np.uint8)
    readout = pcmref.calibrate_ranges(network, pixels, readout)
    if measured is not None:
        readout = replace(readout, measured={"conv": measured})
    return network_case(pcmref.program(network, seed=1).at(3600.0), pixels[:images], readout, layer="conv")
