"""Full scales that do not fit: counted against a plain count, and told to whoever might believe the result."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pcmref
from pcmref.arithmetic.codes import Range
from pcmref.crossbar.converters import Accumulator, Adc, Dac
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import program
from pcmref.errors import DataError, PcmrefWarning
from pcmref.inference.saturation import SATURATION_MOST, Saturation, few, warn_of_saturation
from pcmref.network.graph import Network
from pcmref.network.layers import Linear
from pcmref.network.operations import GlobalAveragePool, Relu
from pcmref.studies.retention import retention
from pcmref.studies.study import Study
from tests.helpers.nets import RGB, batch_norm, conv, normal, replace_layer

RNG = np.random.default_rng(3)
PIXELS = np.random.default_rng(4).integers(0, 256, (40, 8, 8, 3), np.uint8)
READ = replace(PRESETS["chip8"], read_noise="frozen")


def network():
    """Wide enough that the largest code of an image is a small share of all; ReLU makes it positive homogeneous."""
    rng = np.random.default_rng(0)
    return Network(
        layers=(
            conv(rng, "conv1", "input", 3, 12, padding=1),
            batch_norm(rng, "bn1", "conv1", 12),
            Relu(name="relu1", inputs=("bn1",)),
            conv(rng, "conv2", "relu1", 12, 12, bias=True),
            Relu(name="relu2", inputs=("conv2",)),
            GlobalAveragePool(name="mean", inputs=("relu2",)),
            Linear(name="fc", inputs=("mean",), weight=normal(rng, 20, 12), bias=None),
        ),
        input_shape=(8, 8, 3),
        normalisation=RGB,
        classes=tuple(map(str, range(20))),
    )


NETWORK = network()
RANGED = pcmref.calibrate_ranges(NETWORK, PIXELS, READ)
CHIP = program(NETWORK, seed=1).at(25.0)


def by_factor(readout, name, *, input_top=1.0, sum_top=1.0):
    """The same readout with one layer's full scales times these."""
    top = readout.ranges[name]
    changed = Range(input_top=top.input_top * input_top, sum_top_us=top.sum_top_us * sum_top)
    return replace(readout, ranges={**readout.ranges, name: changed})


def rescaled(net, factor):
    """The same function: a batch normalisation gives `factor` times as much, the next layer's weights take it back."""
    bn1, conv2 = net.layers[1], net.layers[3]
    net = replace_layer(net, "bn1", gamma=bn1.gamma * np.float32(factor), beta=bn1.beta * np.float32(factor))
    return replace_layer(net, "conv2", weight=conv2.weight / np.float32(factor))


# The count


@pytest.mark.parametrize("codes", ["symmetric", "signed", "offset", "unsigned"])
@pytest.mark.parametrize("lines", ["pair", "separate"])
def test_the_count_is_that_of_the_codes_in_the_trace(codes, lines):
    adc = Adc(bits=6, low=0, high=63) if lines == "separate" else Adc(bits=6)
    readout = Readout(
        name="mine", dac=Dac(bits=6, codes=codes), adc=adc, lines=lines, tile_rows=50, ranges=RANGED.ranges
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chip = pcmref.prepare(CHIP, readout=readout)
    traces = []
    chip(PIXELS, tap=lambda trace: traces.append(trace) if trace.product is not None else None)
    for found in chip.saturation(PIXELS):
        limit = {"high": readout.dac.high, "low": readout.dac.low or -(10**9)}
        at_limit, total, top = 0, 0, np.float32(readout.ranges[found.layer].input_top)
        sums = of = 0
        for trace in (t for t in traces if t.layer == found.layer):
            padding = 1 if found.layer == "conv1" else 0
            channels = {"conv1": 3, "conv2": 12, "fc": 12}[found.layer]
            levels = (trace.product.input_codes.astype(int) - readout.dac.offset).tolist()
            for image, codes in zip(trace.image, levels, strict=True):
                rows = codes[padding : len(codes) - padding]
                values = [v for row in rows for pixel in row[padding : len(row) - padding] for v in pixel[:channels]]
                pixels = [top + 1] * len(values)
                if found.layer == "conv1":
                    pixels = np.abs(NETWORK.normalisation.table()[PIXELS[image], range(3)]).reshape(-1).tolist()
                at_limit += sum(v in limit.values() and x > top for v, x in zip(values, pixels, strict=True))
                total += len(values)
            for tile in trace.product.tiles:
                for part in tile.parts or (tile,):
                    values = part.codes.reshape(-1).tolist()
                    sums += sum(v == adc.limits[1] or v == (adc.limits[0] or None) for v in values)
                    of += len(values)
        assert (found.dac, found.adc) == (at_limit / total, sums / of)
        assert found.register == 0.0
    assert [found.layer for found in chip.saturation(PIXELS)] == ["conv1", "conv2", "fc"]


def test_shares_do_not_depend_on_threads_or_on_who_counts_first():
    chip = pcmref.prepare(CHIP, readout=RANGED)
    assert chip.saturation(PIXELS) == chip.saturation(PIXELS, threads=2) == chip.saturation(PIXELS[::-1], threads=1)


def test_without_full_scales_nothing_saturates():
    for readout in (PRESETS["paper"], Readout(name="fresh", dac=Dac(bits=4), read_noise="fresh")):
        for found in pcmref.prepare(CHIP, readout=readout).saturation(PIXELS):
            assert (found.dac, found.register, found.adc, found.excess, found.reach) == (0.0, 0.0, 0.0, 0.0, 1.0)


def test_white_pixels_at_full_scale_are_not_beyond_it():
    white = np.full_like(PIXELS, 255)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        readout = pcmref.calibrate_ranges(NETWORK, white, READ)
        first, *_ = pcmref.prepare(CHIP, readout=readout).saturation(white)
        assert first.dac == 0.0
        (first, *_) = pcmref.prepare(CHIP, readout=by_factor(readout, "conv1", input_top=0.99)).saturation(white)
        assert first.dac == pytest.approx(1 / 3)  # of one colour


def test_sums_that_a_register_cannot_hold_are_counted():
    codes = []
    pcmref.logits(CHIP, PIXELS, tap=lambda trace: codes.append(trace.product) if trace.layer == "conv1" else None)
    sums = np.abs(np.concatenate([product.tiles[0].sums for product in codes]))
    bits = int(np.median(sums)).bit_length()
    register = Accumulator(bits=bits, beyond="wrap")
    found = pcmref.prepare(CHIP, readout=replace(PRESETS["paper"], accumulator=register)).saturation(PIXELS)[0]
    beyond = float((sums >= 1 << (bits - 1)).mean())
    assert found.register == pytest.approx(beyond, abs=1e-3)
    assert found.register > SATURATION_MOST


@given(st.integers(1, 60))
def test_a_few_images_are_spread_over_all(count):
    found = few(PIXELS[:count] if count <= 40 else np.concatenate([PIXELS, PIXELS])[:count])
    assert len(found) == min(count, 4)
    assert (found[0] == PIXELS[0]).all()


def test_images_of_another_shape_are_refused():
    with pytest.raises(DataError, match="images"):
        pcmref.prepare(CHIP, readout=RANGED).saturation(PIXELS[:, :4])


# The warning


def test_ranges_that_fit_say_nothing():
    pcmref.logits(CHIP, PIXELS, readout=RANGED)
    pcmref.calibrate_ranges(NETWORK, PIXELS, READ)


def test_one_extreme_an_image_is_what_medians_clip_however_few_codes_there_are():
    """Two of four images reach the full scale of four columns: an eighth of the codes."""
    fc = replace(NETWORK.layers[-1], weight=NETWORK.layers[-1].weight[:4])
    net = replace(NETWORK, layers=(*NETWORK.layers[:-1], fc), classes=tuple("abcd"))
    readout = pcmref.calibrate_ranges(net, PIXELS[:4], replace(READ, adc=Adc(bits=4)))
    ideal = program(net, model=pcmref.MODELS["NANDAKUMAR_2019"].ideal()).reference()
    found = pcmref.prepare(ideal, readout=readout).saturation(PIXELS[:4])[-1]
    assert found.adc > SATURATION_MOST > found.excess
    pcmref.logits(ideal, PIXELS[:4], readout=readout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_top": 1 / 16}, r"readout chip8: \d+\.\d% of the codes saturate in layer 'conv2'"),
        ({"sum_top": 1 / 100}, r"readout chip8: \d+\.\d% of the codes saturate in layer 'conv2'"),
        ({"input_top": 16.0}, r"readout chip8: codes reach \d+\.\d% of full scale in layer 'conv2'"),
        ({"sum_top": 100.0}, r"readout chip8: codes reach \d+\.\d% of full scale in layer 'conv2'"),
    ],
    ids=str,
)
def test_a_full_scale_that_does_not_fit_warns_with_layer_number_and_advice(change, message):
    readout = by_factor(RANGED, "conv2", **change)
    with pytest.warns(PcmrefWarning, match=message + r"; do the .*calibrate_ranges finds others") as caught:
        pcmref.logits(CHIP, PIXELS, readout=readout)
    assert caught[0].filename == __file__
    study = Study(
        network=NETWORK,
        samples=pcmref.Samples(images=PIXELS, labels=np.zeros(len(PIXELS), np.int64)),
        readout=readout,
        compensations=("none", "gdc"),
        times_s=(25.0, 60.0),
    )
    with pytest.warns(PcmrefWarning, match=message) as caught:
        retention(study)
    assert len(caught) == 1


def test_a_register_that_wraps_warns():
    with pytest.warns(PcmrefWarning, match="of the codes saturate in layer"):
        pcmref.logits(CHIP, PIXELS, readout=replace(PRESETS["paper"], accumulator=Accumulator(bits=18, beyond="wrap")))


def test_several_layers_are_counted():
    readout = by_factor(by_factor(RANGED, "conv2", sum_top=1 / 100), "conv1", sum_top=1 / 10)
    with pytest.warns(PcmrefWarning, match=r"in layer 'conv2' \(and so in \d more\);"):
        pcmref.logits(CHIP, PIXELS, readout=readout)


def test_images_unlike_each_other_warn_when_ranges_are_found():
    """The median is that of dark images, which most of them are."""
    dark = np.concatenate([PIXELS // 64 + 118 for _ in range(3)] + [PIXELS])
    net = replace(NETWORK, normalisation=replace(RGB, mean=(0.47, 0.47, 0.47)))
    net = replace_layer(net, "conv1", bias=None)
    with pytest.warns(PcmrefWarning, match="do the ranges fit this network and these images"):
        pcmref.calibrate_ranges(net, dark, READ)


@pytest.mark.parametrize(
    ("reaches", "told"),
    [
        ([(1.0, 0.6), (0.5, 0.3), (0.2, 0.1), (0.08, 0.05), (0.03, 0.02)], None),  # what drift takes
        ([(1.0, 0.6), (0.07, 0.07)], "b"),
        ([(1.0, 1.0), (1.0, 0.12), (0.12, 0.02)], "b"),
        ([(0.12, 0.12), (0.12, 0.12)], "a"),
        ([(1.0, 1.0), (0.0, 0.0), (0.0, 0.0)], "b"),
    ],
)
def test_full_scales_are_idle_where_a_converter_reaches_much_less_than_the_one_before(reaches, told):
    shares = {"dac": 0.0, "register": 0.0, "adc": 0.0, "excess": 0.0}
    found = [
        Saturation(layer=name, dac_reach=dac, adc_reach=adc, **shares)
        for name, (dac, adc) in zip("abcde", reaches, strict=False)
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_saturation("mine", found)
    assert [str(w.message).split("layer ")[1][:3] for w in caught] == ([] if told is None else [repr(told)])


def test_prepared_chips_do_not_look():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pcmref.prepare(CHIP, readout=by_factor(RANGED, "conv2", sum_top=1 / 100))(PIXELS)


# The digest of the network


def test_ranges_of_a_network_that_was_changed_since_are_not_used(tmp_path):
    chip8 = PRESETS["chip8"]
    made = replace(NETWORK, ranges={"chip8": RANGED.ranges})
    assert pcmref.with_stored_ranges(made, chip8).ranges == RANGED.ranges
    changed = rescaled(made, 16)
    pcmref.save(tmp_path / "made.h5", made)
    pcmref.save(tmp_path / "changed.h5", changed)
    assert pcmref.with_stored_ranges(pcmref.load(tmp_path / "made.h5"), chip8).ranges == RANGED.ranges
    for net in (
        changed,
        pcmref.load(tmp_path / "changed.h5"),
        replace(made, normalisation=replace(RGB, std=(1.0,) * 3)),
    ):
        with pytest.raises(pcmref.PcmrefError, match="found those of chip8, found with another network"):
            pcmref.with_stored_ranges(net, chip8)


def test_new_ranges_are_those_of_the_network_as_it_is():
    made = replace(NETWORK, ranges={"chip8": RANGED.ranges})
    again = replace(rescaled(made, 16), ranges={"chip8": RANGED.ranges})
    assert pcmref.with_stored_ranges(again, PRESETS["chip8"]).ranges == RANGED.ranges
    both = replace(again, ranges={"rtl8": RANGED.ranges, **made.ranges})
    with pytest.raises(pcmref.PcmrefError, match="those of rtl8, whose tiles"):
        pcmref.with_stored_ranges(both, replace(PRESETS["chip8"], tile_rows=100))


def test_a_rescaled_network_with_the_old_ranges_warns():
    """The function is the same; what its converters see is not."""
    net = rescaled(NETWORK, 16)
    assert np.array_equal(pcmref.digital(net, PIXELS).argmax(axis=1), pcmref.digital(NETWORK, PIXELS).argmax(axis=1))
    with pytest.warns(PcmrefWarning, match="of the codes saturate in layer 'conv2'"):
        pcmref.logits(program(net, seed=1).at(25.0), PIXELS, readout=RANGED)
    with pytest.warns(PcmrefWarning, match="codes reach .* of full scale in layer 'conv2'"):
        pcmref.logits(program(rescaled(NETWORK, 1 / 16), seed=1).at(25.0), PIXELS, readout=RANGED)
