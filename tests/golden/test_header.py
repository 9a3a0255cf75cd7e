"""The header that a Verilog bench includes: its numbers are those of the case."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.golden.folders import read_case, size_of, write_case
from pcmref.golden.header import headers, layer_header, loads, tiles_of, verilog_header
from pcmref.golden.layers import network_case
from pcmref.golden.memory import read_memory
from pcmref.golden.specimen import specimen
from pcmref.golden.suite import suite_folder
from tests.golden.setups import READOUTS, case_of
from tests.helpers.rtl import layer_case


def numbers(text):
    """The integers of a header, and its vectors of numbers, number 0 first."""
    found = {name: int(value) for name, value in re.findall(r"localparam integer (\w+) = (-?\d+);", text)}
    vectors = {}
    for count, name, said in re.findall(r"localparam \[\d+\*(\d+)-1:0\] (\w+) = \{(.*)\};", text):
        each = [int(value) for value in re.findall(r"'d(\d+)", said)][::-1]
        vectors[name] = each * int(count) if re.match(r"\d+\{", said) else each
        assert len(vectors[name]) == int(count)
    return found, vectors


@pytest.mark.parametrize("name", READOUTS)
def test_sizes_widths_and_the_adc(name):
    case, readout = case_of(name), READOUTS[name]
    found, vectors = numbers(verilog_header(case, "tile0"))
    code, ends = case.arrays["tile0/code"], vectors["LOAD_END"]
    assert (found["VECTORS"], found["ROWS"]) == code.shape
    assert found["CODE_BITS"] == code.bits
    assert found["LOADS"] == len(loads(case, "tile0")) == len(ends)
    assert found["G_BITS"] == max(entry.bits for entry in loads(case, "tile0"))
    assert found["A_BITS"] == case.arrays["tile0/A"].bits
    assert found["CONVERSIONS"] == len(readout.dac.weights) * (1 + (readout.lines == "separate"))
    if readout.adc is not None:
        assert (found["ADC_LOW"], found["ADC_HIGH"]) == readout.adc.limits
        assert ROUNDINGS[found["ROUNDING"]] == readout.adc.rounding
    shifts = case.values.get("tile0/shift", np.zeros(found["COLUMNS"], int)).reshape(-1).tolist()
    assert vectors["SHIFTS"] == shifts
    assert found["SHIFT"] == shifts[0]
    assert found["FIXED_POINT"] == ("tile0/multiplier" in case.arrays)
    table = case.arrays.get("tile0/thresholds")
    assert found["THRESHOLD_BITS"] == (0 if table is None else table.bits)
    assert found["HAS_ADC"] == (readout.adc is not None)
    assert found["LINES"] == 1 + (readout.lines == "separate")
    assert found["DRIVE"] == ["parallel", "two-phase", "bit-serial"].index(readout.dac.drive)
    assert found["CODE_SIGNED"] == (readout.dac.low < 0)
    assert found["CODE_OFFSET"] == readout.dac.offset
    assert found["HAS_NOISE"] == (readout.read_noise == "fresh")
    assert found["HAS_OFFSET"] == ("tile0/offset" in case.arrays)


@pytest.mark.parametrize("name", [name for name in READOUTS if READOUTS[name].lines == "pair"])
def test_an_accumulator_that_is_announced_holds_every_sum_that_it_must(name):
    case, register = case_of(name), READOUTS[name].accumulator
    found, _ = numbers(verilog_header(case, "tile0"))
    half, held = 1 << (found["SUM_BITS"] - 1), 1 << (found["HELD_BITS"] - 1)
    exact = case.values.get("tile0/A-noise-free", case.values["tile0/A"]) + case.values.get("tile0/noise", 0)
    wrapped = (exact + half) % (2 * half) - half
    assert (np.clip(wrapped, -held, held - 1) == case.values["tile0/A"]).all()
    assert found["HELD_BITS"] <= found["SUM_BITS"]
    if register is None:
        assert found["SUM_BITS"] == found["A_BITS"]


@pytest.mark.parametrize("name", ["pair", "fresh"])
def test_every_vector_meets_the_load_of_its_group(name):
    case = case_of(name)
    ends = numbers(verilog_header(case, "tile0"))[1]["LOAD_END"]
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


@pytest.mark.parametrize("case", [case_of("pair"), read_case(suite_folder() / "network-rtl8")], ids=["tile", "layers"])
def test_the_size_that_is_announced_is_that_of_the_folder(case, tmp_path):
    write_case(tmp_path / "case", case, hex=True)
    written = sum(path.stat().st_size for path in (tmp_path / "case").rglob("*") if path.is_file())
    assert size_of(case, hex=True) == written


def test_a_case_names_its_tiles():
    assert tiles_of(case_of("pair")) == ("tile0",)


#: Shape of the images, and the layer.
LAYERS = {
    "3x3": ((5, 4, 3), {"kernel": (3, 3), "padding": 1}),
    "3x3 with a bias, stride 2": ((6, 5, 3), {"kernel": (3, 3), "padding": 1, "stride": 2, "bias": True}),
    "3x3 without padding": ((5, 6, 3), {"kernel": (3, 3)}),
    "3x2 padded": ((5, 4, 3), {"kernel": (3, 2), "padding": 1, "stride": 2}),
    "5x5 padded by 2": ((5, 5, 2), {"kernel": (5, 5), "padding": 2, "stride": 3}),
    "one window": ((4, 4, 2), {"kernel": (3, 3), "stride": 2}),
    "a column of outputs": ((9, 3, 2), {"kernel": (3, 3), "stride": 2}),
    "1x1 with a bias, stride 2": ((5, 6, 5), {"kernel": (1, 1), "stride": 2, "bias": True}),
    "1x1": ((3, 3, 4), {"kernel": (1, 1)}),
}


RTL8 = replace(pcmref.PRESETS["rtl8"], tile_rows=16)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_has_the_geometry_that_it_has_in_the_network(name):
    (height, width, channels), layer = LAYERS[name]
    case = layer_case((height, width, channels), layer, RTL8)
    found, vectors = numbers(layer_header(case, "conv"))
    assert (found["HEIGHT"], found["WIDTH"], found["CHANNELS"]) == (height, width, channels)
    assert (found["KERNEL_HEIGHT"], found["KERNEL_WIDTH"]) == layer["kernel"]
    assert found["STRIDE"] == layer.get("stride", 1)
    assert found["PADDING"] == layer.get("padding", 0)
    assert found["BIAS"] == layer.get("bias", False)
    if found["BIAS"]:
        assert (case.values["conv/code"][..., channels] == found["BIAS_CODE"]).all()
    rows = [case.arrays[f"{tile}/code"].shape[-1] for tile in tiles_of(case)]
    assert vectors["ROWS_OF"] == rows
    assert sum(rows) == layer["kernel"][0] * layer["kernel"][1] * channels + found["BIAS"]
    assert (found["TILES"], found["TILE_ROWS"]) == (len(rows), max(rows))
    assert (found["IMAGES"], found["PIXELS"], found["COLUMNS"]) == case.arrays["conv/output-code"].shape
    assert found["OUT_BITS"] == case.arrays["conv/output-code"].bits


def test_a_frame_of_zeros_is_padding_and_a_channel_that_never_changes_a_bias():
    case = layer_case((4, 4, 2), {"kernel": (1, 1)}, RTL8)
    assert numbers(layer_header(case, "conv"))[0]["BIAS"] == 0
    codes = case.values["conv/code"].copy()
    codes[..., 1] = 3
    same = replace(case, values={**case.values, "conv/code": codes})
    found, _ = numbers(layer_header(same, "conv"))
    assert (found["CHANNELS"], found["BIAS"], found["BIAS_CODE"]) == (1, 1, 3)
    found, _ = numbers(layer_header(layer_case((1, 1, 1), {"kernel": (1, 1)}, RTL8, images=1), "conv"))
    assert (found["CHANNELS"], found["BIAS"]) == (1, 0)

    case = layer_case((5, 5, 2), {"kernel": (3, 3)}, RTL8)
    codes = case.values["conv/code"].copy()
    codes[:, [0, -1]] = codes[:, :, [0, -1]] = 0
    same = replace(case, values={**case.values, "conv/code": codes})
    found, _ = numbers(layer_header(same, "conv"))
    assert (found["HEIGHT"], found["PADDING"]) == (3, 1)
    codes[:, [1, -2]] = codes[:, :, [1, -2]] = 0  # no more than half a kernel is
    same = replace(case, values={**case.values, "conv/code": codes})
    found, _ = numbers(layer_header(same, "conv"))
    assert (found["HEIGHT"], found["PADDING"]) == (3, 1)
    codes[0, 0, 0, 0] = 1
    found, _ = numbers(layer_header(replace(case, values={**case.values, "conv/code": codes}), "conv"))
    assert (found["HEIGHT"], found["PADDING"]) == (5, 0)


def test_the_words_of_each_tile_have_widths_of_their_own():
    case = layer_case((4, 4, 3), {"kernel": (3, 3)}, replace(RTL8, read_noise="fresh"))
    found, vectors = numbers(layer_header(case, "conv"))
    bits = [case.arrays[f"{tile}/noise"].bits for tile in tiles_of(case)]
    assert vectors["NOISE_BITS_OF"] == bits
    assert len(set(bits)) > 1
    assert found["NOISE_BITS"] == max(bits)
    assert vectors["OFFSET_BITS_OF"] == [0, 0]
    assert vectors["MULT_BITS_OF"] == [case.arrays[f"{tile}/multiplier"].bits for tile in tiles_of(case)]
    shifts = [shift for tile in tiles_of(case) for shift in case.values[f"{tile}/shift"].tolist()]
    assert vectors["SHIFTS"] == shifts


def test_slices_of_a_weight_are_counted():
    network = specimen(7)
    snapshot = pcmref.program(network, seed=5, significance=(3, 1)).at(3600.0)
    images = network.calibration.images
    readout = pcmref.calibrate_ranges(network, images[:40], pcmref.PRESETS["rtl8"])
    for layer, bias in (("conv1", 0), ("conv2", 1)):
        found, _ = numbers(layer_header(network_case(snapshot, images[:2], readout, layer=layer), layer))
        assert (found["SLICES"], found["BIAS"]) == (2, bias)


def test_a_network_has_a_header_for_each_layer_and_tile(tmp_path):
    case = read_case(suite_folder() / "network-rtl8")
    write_case(tmp_path / "case", case, hex=True)
    files = {path.relative_to(tmp_path / "case" / "hex").as_posix() for path in tmp_path.rglob("*.svh")}
    assert files == set(headers(case))
    assert {f"{layer}/layer.svh" for layer in ("conv1", "conv2", "conv3", "classes")} < files
    assert "conv2/tile2.svh" in files
    write_case(tmp_path / "case", case)  # a case with its headers may be replaced
    assert not list(tmp_path.rglob("*.svh"))
