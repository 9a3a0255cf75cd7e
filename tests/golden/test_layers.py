"""Golden cases of layers and networks: what is in them, that it is what an inference has, and what a check says."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import pcmref
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.errors import ParameterError
from pcmref.golden.check import compare
from pcmref.golden.faults import fault
from pcmref.golden.folders import read_case, write_case
from pcmref.golden.header import layer_header
from pcmref.golden.layers import network_case
from pcmref.golden.plain import answers, multiplied
from pcmref.golden.specimen import specimen
from pcmref.golden.tiles import trial_of
from pcmref.network.layers import Conv
from pcmref.network.operations import GlobalAveragePool

pytestmark = pytest.mark.filterwarnings("ignore:readout .* do the ranges fit")  # converters that saturate on purpose

DAY_S = 86_400.0
NETWORK = specimen(7)
IMAGES = NETWORK.calibration.images
RTL8 = replace(pcmref.PRESETS["rtl8"], tile_rows=16, tile_columns=4)
READOUTS = {
    "paper": pcmref.PRESETS["paper"],
    "rtl8": RTL8,
    "chip8": replace(pcmref.PRESETS["chip8"], tile_rows=20),
    "bit-serial": replace(RTL8, dac=Dac(bits=6, drive="bit-serial")),
    "two-phase": replace(RTL8, dac=Dac(bits=8, codes="signed", drive="two-phase"), read_noise="fresh"),
    "separate lines": replace(RTL8, lines="separate", read_noise="fresh"),
    "offset codes": replace(RTL8, dac=Dac(bits=8, codes="offset")),
    "narrow register": replace(RTL8, accumulator=Accumulator(bits=20, beyond="wrap")),
    "narrow register, noise": replace(RTL8, accumulator=Accumulator(bits=20, beyond="saturate"), read_noise="fresh"),
}


@cache
def snapshot(significance=(1,)):
    return pcmref.program(NETWORK, seed=5, significance=significance).at(DAY_S)


@cache
def ranged(name):
    readout = READOUTS[name]
    return pcmref.calibrate_ranges(NETWORK, IMAGES[:40], readout) if readout.needs_ranges else readout


@cache
def case_of(name, layer=None):
    return network_case(snapshot(), IMAGES[:3], ranged(name), layer=layer)


def tiles(case):
    return sorted({name.rpartition("/")[0] for name in case.arrays if name.rpartition("/")[2] == "g-layer"})


@pytest.mark.parametrize("name", READOUTS)
def test_logits_and_activations_are_those_of_an_inference(name):
    case, seen = case_of(name), {}
    logits = pcmref.logits(snapshot(), IMAGES[:3], readout=ranged(name), tap=lambda t: seen.setdefault(t.layer, t))
    assert (case.values["logits"] == logits).all()
    for layer in NETWORK.layers:
        product = seen[layer.name].product
        array = case.values[f"{layer.name}/{'output' if product is None else 'y'}"]
        assert (array == seen[layer.name].activations).all()
        if product is not None:
            assert (case.values[f"{layer.name}/output-code"] == product.output_codes).all()


@pytest.mark.parametrize("name", READOUTS)
def test_a_plain_tile_gives_the_answers_of_every_tile(name):
    case = case_of(name)
    assert len(tiles(case)) > len(NETWORK.crossbar_layers) or name == "paper"
    for tile in tiles(case):
        found = answers(multiplied(trial_of(case, tile)))
        expected = case.values.get(f"{tile}/D" if f"{tile}/output-code" not in case.arrays else f"{tile}/output-code")
        assert (found == expected.reshape(found.shape)).all(), tile


@pytest.mark.parametrize("name", READOUTS)
def test_activations_follow_from_output_codes_units_and_steps(name):
    case = case_of(name)
    for layer in NETWORK.crossbar_layers:
        codes = case.values[f"{layer.name}/output-code"].astype(np.float32)
        factor = case.values[f"{layer.name}/step"][:, None, None] * case.values[f"{layer.name}/unit"]
        assert (codes * factor == case.values[f"{layer.name}/y"].reshape(codes.shape)).all()


@pytest.mark.parametrize("name", ["rtl8", "offset codes"])
def test_rows_read_the_padded_input_where_the_case_says(name):
    case = case_of(name)
    codes = case.values["conv2/code"].reshape(3, -1)
    places = case.values["conv2/pixel"][:, None].astype(int) + case.values["conv2/row"].astype(int)
    parts = [case.values[f"{tile}/code"] for tile in tiles(case) if tile.startswith("conv2/")]
    assert (np.concatenate(parts, axis=2) == codes[:, places]).all()


def test_one_layer_has_the_arrays_that_it_has_in_the_network():
    whole, one = case_of("rtl8"), case_of("rtl8", "conv2")
    assert {name for name in whole.arrays if name.startswith("conv2/")} == set(one.arrays)
    assert all((whole.values[name] == value).all() for name, value in one.values.items())
    assert (one.kind, whole.kind) == ("layer", "network")


def test_slices_count_in_the_sum_but_not_in_their_tiles():
    case = network_case(snapshot((3, 1)), IMAGES[:2], ranged("rtl8"), layer="conv3")
    first, second = (case.values[f"conv3/tile{number}/D"].astype(int) for number in range(2))
    assert (3 * first + second == case.values["conv3/output-code"]).all()


def test_measured_adcs_of_each_line_are_in_the_case():
    adcs = tuple(Adc(bits=8, gain=FixedPoint(200 + n, 22)) for n in range(6))
    readout = replace(ranged("separate lines"), measured={"conv2": adcs})
    case = network_case(snapshot(), IMAGES[:2], readout, layer="conv2")
    assert [case.values[f"conv2/tile{t}/multiplier"][:, 0].tolist() for t in range(3)] == [
        [200, 201],
        [202, 203],
        [204, 205],
    ]


@pytest.mark.parametrize("name", ["rtl8", "chip8", "separate lines"])
def test_a_fault_in_one_tile_of_a_layer_is_named(name):
    case = case_of(name)
    tile = "conv2/tile1"
    wrong = fault("last-row-missing").answers(multiplied(trial_of(case, tile)))
    letter = "output-code" if f"{tile}/output-code" in case.arrays else "D"
    found = {entry.name: case.values[entry.name] for entry in case.section("expected")}
    found[f"{tile}/{letter}"] = wrong.reshape(found[f"{tile}/{letter}"].shape)
    verdict = compare(case, found)
    assert verdict.status == "different"
    assert verdict.stage.name == f"{tile}/{letter}"
    assert verdict.diagnosis.exact
    assert "last-row-missing" in [name for name, _ in verdict.diagnosis.faults]


def test_a_case_is_written_and_read(tmp_path):
    case = case_of("chip8")
    write_case(tmp_path / "case", case, hex=True)
    again = read_case(tmp_path / "case")
    assert again.digest == case.digest
    assert all((again.values[name] == value).all() for name, value in case.values.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": "conv9"}, "layer: expected one of conv1, conv2, conv3, classes, found 'conv9'"),
        ({"images": IMAGES[:0]}, "images: expected at least one, found none"),
        ({"readout": READOUTS["rtl8"]}, "calibrated ranges for layer 'conv1'"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    arguments = {"images": IMAGES[:1], "readout": ranged("paper"), **changes}
    images, readout = arguments.pop("images"), arguments.pop("readout")
    with pytest.raises(ParameterError) as caught:
        network_case(snapshot(), images, readout, **arguments)
    assert message in str(caught.value)


def with_conv(**changes):
    """The specimen with another convolution in place of the second: what follows it takes any size."""
    network = specimen(7)
    layers = network.layers[: [layer.name for layer in network.layers].index("conv2")]
    conv = Conv(name="odd", inputs=(layers[-1].name,), **changes)
    mean = GlobalAveragePool(name="mean", inputs=("odd",))
    classes = tuple(map(str, range(conv.columns)))
    return replace(network, layers=(*layers, conv, mean), classes=classes, ranges={}, evaluation=None, calibration=None)


def test_groups_have_no_golden_case_and_say_so():
    snapshot = pcmref.program(with_conv(weight=np.ones((10, 1, 3, 3), np.float32), groups=5)).at(DAY_S)
    for layer in ("odd", None):
        with pytest.raises(ParameterError, match="layer 'odd': expected a layer without groups in a golden case"):
            network_case(snapshot, IMAGES[:1], pcmref.PRESETS["paper"], layer=layer)
    assert network_case(snapshot, IMAGES[:1], pcmref.PRESETS["paper"], layer="conv1").kind == "layer"


@pytest.mark.parametrize("changes", [{"dilation": (1, 2)}, {"stride": (1, 2)}, {"padding": (0, 1, 2, 0)}])
def test_windows_of_any_kind_have_a_golden_case(changes):
    """And a header, or it is said that they have none."""
    snapshot = pcmref.program(with_conv(weight=np.ones((3, 5, 2, 3), np.float32), **changes)).at(DAY_S)
    case = network_case(snapshot, IMAGES[:2], pcmref.PRESETS["paper"], layer="odd")
    code, row, pixel = (case.values[f"odd/{name}"].astype(int) for name in ("code", "row", "pixel"))
    seen = code.reshape(len(code), -1)[:, pixel[:, None] + row]
    assert np.array_equal(seen @ case.values["odd/tile0/g-layer"].astype(int), case.values["odd/tile0/A"])
    if "padding" in changes:
        assert "STRIDE = 1" in layer_header(case, "odd")
    else:
        with pytest.raises(ParameterError, match="one stride for both axes and without dilation"):
            layer_header(case, "odd")
