"""The convolution layer in SystemVerilog against golden cases of layers."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import pcmref
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.golden.folders import read_case, write_case
from pcmref.golden.layers import network_case
from pcmref.golden.suite import suite_folder
from tests.helpers.rtl import RTL, SOURCES, build, installed, layer_case, run

RTL8 = replace(pcmref.PRESETS["rtl8"], tile_rows=16)
#: Shapes of images, and layers on them; "1x1 on a pixel" is what a linear layer is.
GEOMETRIES = {
    "3x3": ((5, 4, 3), {"kernel": (3, 3), "padding": 1}),
    "3x3 stride 2": ((6, 5, 3), {"kernel": (3, 3), "padding": 1, "stride": 2}),
    "3x3 with a bias": ((4, 4, 3), {"kernel": (3, 3), "padding": 1, "bias": True}),
    "3x3 without padding": ((5, 6, 3), {"kernel": (3, 3)}),
    "5x5 padded by 2": ((5, 5, 2), {"kernel": (5, 5), "padding": 2, "stride": 3}),
    "3x2": ((5, 4, 3), {"kernel": (3, 2), "padding": 1, "stride": 2, "bias": True}),
    "1x3": ((3, 6, 4), {"kernel": (1, 3)}),
    "3x1 stride 4": ((9, 6, 3), {"kernel": (3, 1), "stride": 4}),
    "1x1 stride 2": ((5, 6, 6), {"kernel": (1, 1), "stride": 2}),
    "1x1 with a bias": ((3, 3, 5), {"kernel": (1, 1), "bias": True}),
    "1x1 on a pixel": ((1, 1, 20), {"kernel": (1, 1), "bias": True}),
    "one window": ((4, 4, 2), {"kernel": (3, 3), "stride": 2}),
    "as large as the image": ((3, 4, 3), {"kernel": (3, 4)}),
}


def written(folder, case):
    write_case(folder / "case", case, hex=True)
    return folder / "case" / "hex"


def passes(command, codes):
    done = run(command)
    assert done.returncode == 0, done.stdout
    assert f"all {codes} codes" in done.stdout
    return done.stdout


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_geometry_gives_the_codes_of_the_case(name, tmp_path):
    case = layer_case(*GEOMETRIES[name], RTL8)
    command = build("iverilog", "conv_tb", written(tmp_path, case), tmp_path, header="conv")
    passes(command, case.arrays["conv/output-code"].size)
    passes([*command, "+gaps"], case.arrays["conv/output-code"].size)


@pytest.mark.filterwarnings("ignore:.*unsigned DAC codes take negative inputs for 0")
@pytest.mark.parametrize(
    "changes",
    [
        {"read_noise": "fresh"},
        {"dac": Dac(bits=6, codes="signed")},
        {"dac": Dac(bits=7, codes="unsigned")},
        {"adc": Adc(bits=6, gain_bits=12, low=0, high=63, rounding="half-up")},
        {"tile_columns": 2},
        {"tile_rows": 1},
        {"tile_rows": None},
        {"accumulator": Accumulator(bits=20, beyond="saturate"), "read_noise": "fresh"},
        {"accumulator": Accumulator(bits=20, beyond="wrap")},
    ],
    ids=str,
)
def test_every_converter_of_the_tile_serves_a_layer(changes, tmp_path):
    case = layer_case((4, 4, 3), {"kernel": (3, 3), "padding": 1, "bias": True}, replace(RTL8, **changes))
    command = build("iverilog", "conv_tb", written(tmp_path, case), tmp_path, header="conv")
    passes([*command, "+gaps"], case.arrays["conv/output-code"].size)


@pytest.mark.parametrize(
    "adcs",
    [
        [{"gain": FixedPoint(600 + t, 24 - t), "offset": 2993 >> 6 * t, "rounding": "floor"} for t in range(2)],
        [{"gain": FixedPoint(600, 24)}, {"gain": FixedPoint(77, 20), "offset": -40_000}],
        [{"thresholds": [n * width for n in range(-62, 64)]} for width in (9_001, 301)],
    ],
    ids=["offsets", "an offset in one tile", "thresholds"],
)
def test_each_tile_has_the_adc_that_was_measured(adcs, tmp_path):
    readout = replace(RTL8, adc=Adc(bits=7, low=-63, high=63, gain_bits=16))
    measured = tuple(Adc(bits=7, low=-63, high=63, **each) for each in adcs)
    case = layer_case((3, 3, 3), {"kernel": (3, 3), "padding": 1}, readout, measured=measured)
    assert len(np.unique(case.values["conv/output-code"])) > 20
    command = build("iverilog", "conv_tb", written(tmp_path, case), tmp_path, header="conv")
    passes(command, case.arrays["conv/output-code"].size)


@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv3", "classes"])
def test_the_layers_of_the_conformance_suite(layer, tmp_path):
    case = read_case(suite_folder() / "network-rtl8")
    command = build("iverilog", "conv_tb", written(tmp_path, case), tmp_path, header=layer)
    passes(command, case.arrays[f"{layer}/output-code"].size)


@pytest.mark.parametrize("tile_rows", [16, 1])
def test_a_code_a_clock_and_the_next_image_at_once(tile_rows, tmp_path):
    shape, layer = GEOMETRIES["3x3"]
    case = layer_case(shape, layer, replace(RTL8, tile_rows=tile_rows))
    output = passes(build("iverilog", "conv_tb", written(tmp_path, case), tmp_path, header="conv"), 300)
    vectors, clocks = (int(n) for n in re.search(r"(\d+) vectors in (\d+) clocks", output).groups())
    images, height, width = 3, shape[0] + 2, shape[1] + 2
    assert vectors == images * shape[0] * shape[1]
    # beside the codes, pixels that complete no window: at the start of each line, and the lines above the first window
    others = images * (height * width - shape[0] * shape[1])
    assert vectors * tile_rows < clocks <= vectors * tile_rows + others + 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lines": "separate"}, "no separate lines"),
        ({"dac": Dac(bits=8, drive="two-phase")}, "no two-phase drive"),
        ({"dac": Dac(bits=8, drive="bit-serial")}, "no bit-serial drive"),
        ({"dac": Dac(bits=8, codes="offset")}, "no offset codes"),
        ({"adc": Adc(bits=8)}, "no gains in float64"),
        ({"adc": None, "dac": Dac(bits=4)}, "for tiles with ADCs"),
    ],
)
def test_what_the_tiles_do_not_have_is_refused_by_name(changes, message, tmp_path):
    case = layer_case((3, 3, 2), {"kernel": (3, 3)}, replace(RTL8, **changes), images=1)
    done = run(build("iverilog", "conv_tb", written(tmp_path, case), tmp_path, header="conv"))
    assert done.returncode != 0
    assert message in done.stdout


def test_the_answers_can_be_checked_and_a_wrong_one_is_found(tmp_path):
    words = written(tmp_path, layer_case(*GEOMETRIES["3x3"], RTL8))
    command = build("iverilog", "conv_tb", words, tmp_path, header="conv")
    assert run([*command, f"+got={tmp_path / 'answers.hex'}"]).returncode == 0
    expected = words / "expected" / "conv" / "output-code.hex"
    assert (tmp_path / "answers.hex").read_text() == expected.read_text()
    lines = expected.read_text().splitlines()
    lines[-1] = f"{int(lines[-1], 16) ^ 1:03x}"
    expected.write_text("\n".join(lines) + "\n")
    done = run(command)
    assert done.returncode != 0
    assert "image 2, pixel 19, column 4" in done.stdout
    assert f"1 of {len(lines)} codes differ" in done.stdout


def test_words_that_are_missing_or_cut_never_pass(tmp_path):
    words = written(tmp_path, layer_case(*GEOMETRIES["3x3"], RTL8))
    command = build("iverilog", "conv_tb", words, tmp_path, header="conv")
    for name in (
        "prompt/conv/code",
        "prompt/conv/tile1/g",
        "prompt/conv/tile0/multiplier",
        "expected/conv/output-code",
    ):
        path = words / f"{name}.hex"
        whole = path.read_bytes()
        path.write_bytes(whole[:-3])
        done = run(command)
        assert done.returncode != 0, name
        assert f"{name}.hex: expected" in done.stdout
        path.write_bytes(whole)
    assert run(command).returncode == 0


@pytest.mark.parametrize(
    ("layer", "simulator"),
    [("fc", "iverilog"), ("stage2.block1.shortcut", "iverilog"), ("stage3.block1.conv2", "verilator")],
)
def test_layers_of_the_resnet(layer, simulator, tmp_path):
    network = pcmref.load(pcmref.bundled("resnet32-cifar10"))
    readout = pcmref.with_stored_ranges(network, pcmref.PRESETS["rtl8"])
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    case = network_case(pcmref.program(network, seed=0).at(25.0), pixels, readout, layer=layer)
    command = build(simulator, "conv_tb", written(tmp_path, case), tmp_path, header=layer)
    passes(command, case.arrays[f"{layer}/output-code"].size)
    passes([*command, "+gaps"], case.arrays[f"{layer}/output-code"].size)


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "-GSTRIDE=2 -GTILE_ROWS=100 -GCODE_SIGNED=0 -GHELD_BITS=24",
        "-GKERNEL_HEIGHT=1 -GKERNEL_WIDTH=1 -GPADDING=0 -GBIAS=1 -GHEIGHT=1 -GWIDTH=1",
        "-GKERNEL_HEIGHT=2 -GKERNEL_WIDTH=1 -GPADDING=0 -GCHANNELS=1 -GCOLUMNS=1 -GLOW=0",
        "-GCHANNELS=3 -GTILE_ROWS=9 -GCOLUMNS=4 -GTHRESHOLD_BITS=20 -GMULT_BITS=5080",
    ],
)
def test_verilator_finds_nothing_to_warn_of(parameters):
    installed("verilator")
    modules = [name for name in SOURCES if name != "pcm_bench.sv"]
    command = ["verilator", "--lint-only", "-Wall", *parameters.split(), "--top-module", "pcm_conv", *modules]
    done = subprocess.run(command, cwd=RTL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
