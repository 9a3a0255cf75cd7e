"""The full scale of converters: that of plain Python, of gains that hardware has, and as it comes with a network."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcmref
from pcmref.arithmetic.codes import Range
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint, fixed_point
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.crossbar.wiring import gains_of, lsb_us
from pcmref.devices.chip import program
from pcmref.devices.published import AIHWKIT, MODELS, NANDAKUMAR_2019
from pcmref.errors import DataError, ParameterError
from pcmref.inference import threads as in_threads
from pcmref.inference.ranges import calibrate_ranges, stored_if_any, with_stored_ranges
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation
from pcmref.network.layers import Linear
from pcmref.network.operations import GlobalAveragePool, Relu
from tests.helpers import naive
from tests.helpers.nets import RGB, batch_norm, conv, normal, replace_layer, tiny

pytestmark = pytest.mark.filterwarnings("ignore:readout .* do the ranges fit")  # networks of random numbers

laws = settings(max_examples=settings.default.max_examples // 4)
STEP_US = 2.0**-9


def network():
    """A convolution with its normalisation, and a linear layer, on 3 x 3 pixels."""
    rng = np.random.default_rng(0)
    return Network(
        layers=(
            conv(rng, "conv1", "input", 1, 2, (2, 2)),
            batch_norm(rng, "bn1", "conv1", 2),
            Relu(name="relu1", inputs=("bn1",)),
            GlobalAveragePool(name="pool", inputs=("relu1",)),
            Linear(name="fc", inputs=("pool",), weight=normal(rng, 2, 2), bias=normal(rng, 2)),
        ),
        input_shape=(3, 3, 1),
        normalisation=Normalisation(full_scale=255.0, mean=(0.0,), std=(1.0,)),
        classes=("a", "b"),
    )


def images(count, shape=(3, 3, 1), seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


CHIP8 = PRESETS["chip8"]
STORED = {name: Range(input_top=2.0, sum_top_us=300.0) for name in ("conv1", "fc")}


def stored(preset="chip8", ranges=None):
    return replace(network(), ranges={preset: ranges or STORED})


# Calibrated


@pytest.mark.filterwarnings("ignore:readout chip8.*unsigned")
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tile_rows": None},
        {"scale": "column"},
        {"dac": Dac(bits=5, drive="bit-serial")},
        {"dac": Dac(bits=3, codes="offset", drive="bit-serial"), "lines": "separate"},
        {"dac": Dac(bits=4, codes="signed", drive="two-phase")},
        {"dac": Dac(bits=4, codes="offset"), "lines": "separate", "read_noise": "frozen"},
        {"dac": Dac(bits=4, codes="unsigned"), "tile_columns": 3},
        {"tile_columns": 1, "lines": "separate"},
        {"tile_columns": 2**31, "accumulator": Accumulator(bits=12)},
        {"adc": Adc(bits=8, gain=FixedPoint(1, 20)), "tile_columns": 4},
    ],
    ids=str,
)
def test_ranges_are_the_naive_medians(count, changes):
    """On an ideal chip with exact sums, of what each conversion sees, in each group of columns."""
    net, pixels = tiny(), images(count, (6, 6, 3))
    scale = changes.get("scale", "layer")
    readout = replace(PRESETS["chip8"], **{"tile_rows": 20} | {k: v for k, v in changes.items() if k != "scale"})
    found = calibrate_ranges(net, pixels, readout, scale=scale)
    ideal = program(net, model=NANDAKUMAR_2019.ideal(), scale=scale).at(20.0)
    dac = readout.dac if readout.dac.drive == "bit-serial" else replace(readout.dac, bits=12)
    fine = Readout(name="fine", dac=dac, tile_rows=readout.tile_rows, lines=readout.lines)
    nodes = naive.forward(ideal, pixels, fine)
    assert set(found.ranges) == {layer.name for layer in net.crossbar_layers}
    for layer in net.crossbar_layers:
        steps = [float(n["step"]) for n in nodes[layer.name]]
        inputs = [int(np.abs(n["codes"] - dac.offset).max()) * s for n, s in zip(nodes[layer.name], steps, strict=True)]
        assert found.ranges[layer.name].input_top == pytest.approx(sorted(inputs)[count // 2], rel=1e-12)
        width = min(readout.tile_columns or layer.columns, layer.columns)
        medians = []
        for start in range(0, layer.columns, width):
            each = [abs(n["parts"]["sums"][..., start : start + width]).max() for n in nodes[layer.name]]
            sums = sorted(int(total) * (s * STEP_US) for total, s in zip(each, steps, strict=True))
            medians.append(sums[count // 2])
        tops = found.ranges[layer.name].sum_top_us
        assert tops == pytest.approx(medians[0] if len(set(medians)) == 1 else tuple(medians), rel=1e-12)
    assert replace(found, ranges=None) == readout


@pytest.mark.parametrize("bits", [2, 8, 16, 24])
@pytest.mark.parametrize("low", [None, 0])
def test_full_scales_of_gains_in_fixed_point_are_those_that_such_a_gain_has(bits, low):
    """What is derived from them again is the same multiplier and shift, and they are next to the free ones."""
    net, pixels = tiny(), images(5, (6, 6, 3))
    adc = Adc(bits=8, low=low, high=None if low is None else 255, gain_bits=bits)
    readout = replace(PRESETS["rtl8"], adc=adc, tile_rows=20, tile_columns=3)
    free = calibrate_ranges(net, pixels, replace(readout, adc=replace(adc, gain_bits=None)))
    found = calibrate_ranges(net, pixels, readout)
    for layer in net.crossbar_layers:
        one, other = found.ranges[layer.name], free.ranges[layer.name]
        assert one.input_top == other.input_top
        step = float(np.float32(one.input_top) / np.float32(127))
        groups = -(-layer.columns // 3)
        tops, free_tops = (np.broadcast_to(full.sum_top_us, groups).tolist() for full in (one, other))
        for top, wanted in zip(tops, free_tops, strict=True):
            gain = fixed_point(step * STEP_US / (wanted / adc.high), bits)
            assert fixed_point(step * STEP_US / (top / adc.high), bits) == gain
            assert abs(top / wanted - 1) <= 2.0**-bits * (1 + 1e-9)
            exact = Fraction(step) * Fraction(STEP_US) * adc.high / Fraction(gain.multiplier, 2**gain.shift)
            assert top == pytest.approx(float(exact), rel=1e-15)
    assert calibrate_ranges(net, pixels, found) == found


@settings(max_examples=2 * settings.default.max_examples)
@given(st.floats(0.1, 10), st.floats(-6, 6), st.sampled_from([0, 1, -1, 2, -2]), st.integers(8, 24), st.booleans())
def test_a_gain_of_a_full_scale_in_fixed_point_is_that_gain(top, power, ulps, bits, next_to_two):
    """Also next to a power of two, where the multiplier may have one bit more."""
    unit = float(np.float32(top) / np.float32(127)) * STEP_US
    gain = 2.0 ** (round(power) if next_to_two else power) * 2.0**-18 * (1 + ulps * 2.0**-52)
    ranges = dict.fromkeys(("conv1", "fc"), Range(input_top=top, sum_top_us=127 * unit / gain))
    readout = with_stored_ranges(stored(ranges=ranges), replace(CHIP8, adc=Adc(bits=8, gain_bits=bits)))
    full = readout.ranges["fc"]
    (found,) = gains_of(readout, full, lsb_us(readout, "fc", full, 1, STEP_US), STEP_US)
    expected = naive.snapped(unit / (ranges["fc"].sum_top_us / 127), bits)
    assert Fraction(found) == expected
    assert abs(full.sum_top_us / ranges["fc"].sum_top_us - 1) <= 2.0**-bits * (1 + 1e-9)


@laws
@given(st.permutations(range(9)), st.integers(1, 4), st.integers(1, 5))
def test_ranges_do_not_depend_on_the_order_of_images_or_on_threads(order, threads, chunk):
    net, pixels = network(), images(9)
    expected = calibrate_ranges(net, pixels, PRESETS["chip8"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_threads, "CHUNK", chunk)
        found = calibrate_ranges(net, pixels[list(order)], PRESETS["chip8"], threads=threads)
    assert found == expected
    assert all(r.input_top > 0 and r.sum_top_us > 0 for r in found.ranges.values())


@laws
@given(st.integers(0, 100), st.integers(-3, 8))
def test_ranges_scale_with_the_weights(seed, k):
    """What a layer's conductances see stays; what it hands on scales."""
    rng = np.random.default_rng(seed)
    net = Network(
        layers=(
            GlobalAveragePool(name="pool", inputs=("input",)),
            Linear(name="one", inputs=("pool",), weight=normal(rng, 5, 3)),
            Relu(name="relu", inputs=("one",)),
            Linear(name="two", inputs=("relu",), weight=normal(rng, 2, 5)),
        ),
        input_shape=(2, 2, 3),
        normalisation=RGB,
        classes=("a", "b"),
    )
    pixels = images(7, (2, 2, 3), seed)
    factor = 2.0**k
    scaled = replace_layer(net, "one", weight=net.layers[1].weight * np.float32(factor))
    a, b = (calibrate_ranges(n, pixels, PRESETS["chip8"]).ranges for n in (net, scaled))
    assert b["one"] == a["one"]
    if a["two"].input_top != 1.0:  # 1 stands for images that are all zero
        assert b["two"].input_top == a["two"].input_top * factor
        assert b["two"].sum_top_us == pytest.approx(a["two"].sum_top_us * factor, rel=1e-15)
        assert (b["two"].input_top >= a["two"].input_top) == (k >= 0)


@pytest.mark.parametrize("model", [NANDAKUMAR_2019, AIHWKIT, MODELS["HERMES_1"]], ids=lambda m: m.name)
def test_sum_ranges_are_in_the_model_s_conductances(model):
    pixels = images(3)
    found = calibrate_ranges(network(), pixels, PRESETS["chip8"], model=model).ranges["conv1"]
    base = calibrate_ranges(network(), pixels, PRESETS["chip8"]).ranges["conv1"]
    assert found.input_top == base.input_top
    assert found.sum_top_us == pytest.approx(base.sum_top_us * model.g_max_us / 25.0, rel=2e-3)


def test_black_images_give_ranges_of_one():
    found = calibrate_ranges(network(), np.zeros((3, 3, 3, 1), np.uint8), PRESETS["chip8"]).ranges["conv1"]
    assert (found.input_top, found.sum_top_us) == (1.0, 1.0)


def test_no_images_are_refused():
    with pytest.raises(DataError, match="calibration images: expected at least one, found none"):
        calibrate_ranges(network(), images(0), PRESETS["chip8"])


# Stored


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dac": Dac(bits=5), "adc": Adc(bits=4, low=0, high=15, rounding="floor"), "read_noise": "frozen"},
        {"adc": Adc(bits=8, gain=0.1)},
        {"adc": Adc(bits=2, thresholds=[0, 1])},
        {"accumulator": Accumulator(bits=24), "name": "mine"},
        {"tile_columns": 2},  # all columns of either layer
    ],
    ids=str,
)
def test_stored_ranges_fit_tiles_codes_drive_and_lines(changes):
    readout = replace(CHIP8, **changes)
    for find in (with_stored_ranges, stored_if_any):
        found = find(stored(), readout, model=NANDAKUMAR_2019, scale="layer")
        assert found == replace(readout, ranges=STORED)
    small = MODELS["HERMES_1"]
    scaled = with_stored_ranges(stored(), readout, model=small).ranges["fc"]
    assert (scaled.input_top, scaled.sum_top_us) == (2.0, 300.0 * (small.g_max_us / 25.0))


@pytest.mark.parametrize(
    "changes",
    [
        {"tile_rows": 255},
        {"tile_rows": None},
        {"tile_columns": 1},
        {"lines": "separate"},
        {"dac": Dac(bits=8, codes="signed")},
        {"dac": Dac(bits=8, drive="two-phase")},
        {"dac": Dac(bits=8, drive="bit-serial")},
    ],
    ids=str,
)
def test_stored_ranges_of_another_wiring_are_refused_with_the_reason(changes):
    readout = replace(CHIP8, **changes)
    expected = (
        r"^readout chip8: expected stored ranges that fit \(pcmref\.calibrate_ranges finds others\), "
        r"found those of chip8, whose tiles, codes, drive or lines are others$"
    )
    with pytest.raises(ParameterError, match=expected):
        with_stored_ranges(stored(), readout)
    assert stored_if_any(stored(), readout, model=NANDAKUMAR_2019, scale="layer") is readout


def test_stored_ranges_that_are_not_there_or_of_another_scale():
    for net, options, reason in (
        (network(), {}, "none in the network"),
        (stored(), {"scale": "column"}, "those of scale 'layer', not 'column'"),
        (stored("unheard of"), {}, "those of unheard of, whose tiles, codes, drive or lines are others"),
    ):
        with pytest.raises(ParameterError, match=rf"^readout chip8: expected stored ranges .*, found {reason}$"):
            with_stored_ranges(net, CHIP8, **options)
        options = {"model": NANDAKUMAR_2019, "scale": "layer"} | options
        assert stored_if_any(net, CHIP8, **options) is CHIP8


def test_a_readout_that_needs_no_ranges_stays_as_it_is():
    ranged = replace(CHIP8, ranges={"conv1": STORED["conv1"]})
    for readout in (PRESETS["paper"], ranged, replace(CHIP8, adc=None)):
        for net in (stored(), network()):
            for scale in ("layer", "column"):
                assert with_stored_ranges(net, readout, scale=scale) is readout


def test_stored_ranges_serve_gains_in_fixed_point():
    found = with_stored_ranges(stored(), PRESETS["rtl8"]).ranges["fc"]
    unit = float(np.float32(2.0) / np.float32(127)) * STEP_US
    gain = fixed_point(unit / (300.0 / 127), 16)
    assert found.sum_top_us == 127 * (unit / float(gain)) != 300.0
    assert fixed_point(unit / (found.sum_top_us / 127), 16) == gain
    assert with_stored_ranges(stored(), replace(CHIP8, tile_columns=256)).ranges == STORED


def test_the_first_stored_ranges_that_fit_are_taken():
    other = {name: Range(input_top=1.0, sum_top_us=(1.0, 2.0)) for name in STORED}
    net = replace(network(), ranges={"paper": other, "chip8": STORED, "rtl8": other})
    assert with_stored_ranges(net, CHIP8).ranges == STORED
    assert with_stored_ranges(net, replace(CHIP8, tile_rows=None)).ranges["fc"] == other["fc"]
    assert with_stored_ranges(replace(net, ranges={"rtl8": other}), CHIP8).ranges["fc"] == other["fc"]


def test_ranges_of_groups_of_columns_have_no_place_in_a_file(tmp_path):
    ranges = {"conv1": STORED["conv1"], "fc": Range(input_top=1.0, sum_top_us=(2.0, 3.5))}
    message = r"^ranges/rtl8/fc: expected one sum_top_us for all columns, as files have, found 2 of them$"
    with pytest.raises(ParameterError, match=message):
        pcmref.save(tmp_path / "net.h5", stored("rtl8", ranges))
    assert not list(tmp_path.iterdir())


def test_ranges_and_measured_adcs_of_no_layer_are_refused_before_inference():
    snapshot = program(network()).at(25.0)
    for changes, place in (
        ({"ranges": STORED | {"nowhere": STORED["fc"]}}, "ranges"),
        ({"ranges": STORED, "measured": {"nowhere": Adc(bits=8)}}, "measured"),
    ):
        readout = replace(CHIP8, **changes)
        for use in (
            lambda readout=readout: pcmref.prepare(snapshot, readout=readout),
            lambda readout=readout: pcmref.tile_of(snapshot, "fc", readout),
        ):
            expected = rf"^readout chip8: {place}: expected layers out of conv1, fc, found 'nowhere'$"
            with pytest.raises(ParameterError, match=expected):
                use()
