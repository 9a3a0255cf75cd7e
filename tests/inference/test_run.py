"""Inference: whole networks against plain Python, and what a result may not depend on."""

from __future__ import annotations

import itertools
import math
import threading
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pcmref import testing
from pcmref.arithmetic.choice import VARIABLE
from pcmref.arithmetic.codes import Range
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import program
from pcmref.devices.published import AIHWKIT
from pcmref.errors import DataError, ParameterError, PcmrefError
from pcmref.inference import threads as in_threads
from pcmref.inference.accuracy import accuracy
from pcmref.inference.adabs import adabs
from pcmref.inference.chains import chains
from pcmref.inference.corrections import Corrections, Statistics
from pcmref.inference.ranges import calibrate_ranges
from pcmref.inference.run import digital, logits
from pcmref.network.graph import Network, keep_digital
from pcmref.network.layers import BatchNorm, Linear
from pcmref.network.operations import Add, GlobalAveragePool, MaxPool, PadShortcut, Relu
from tests.helpers import naive
from tests.helpers.nets import RGB, batch_norm, conv, normal, replace_layer, tiny

pytestmark = pytest.mark.filterwarnings("ignore:readout .* do the ranges fit")  # networks of random numbers

laws = settings(max_examples=settings.default.max_examples // 4)

DAY = 86400.0
NETWORK = tiny()
LAYERS = [layer.name for layer in NETWORK.layers]
IMAGES = np.random.default_rng(1).integers(0, 256, (20, 6, 6, 3), np.uint8)
SNAPSHOT = program(NETWORK, seed=2).at(DAY)
RANGES = calibrate_ranges(NETWORK, IMAGES, Readout(name="x", dac=Dac(bits=8), tile_rows=20)).ranges
SMALL = {name: Range(input_top=r.input_top / 3, sum_top_us=r.sum_top_us / 3) for name, r in RANGES.items()}

READOUTS = {
    "paper": PRESETS["paper"],
    "fine": Readout(name="fine", dac=Dac(bits=16), tile_rows=5),
    "coarse": Readout(name="coarse", dac=Dac(bits=2)),
    "fresh": Readout(name="fresh", dac=Dac(bits=12), tile_rows=20, read_noise="fresh"),
    "chip8": replace(PRESETS["chip8"], ranges=RANGES),
    "chip8 in tiles": replace(PRESETS["chip8"], ranges=RANGES, tile_rows=20),
    "frozen chip8, saturating": replace(PRESETS["chip8"], ranges=SMALL, read_noise="frozen"),
    "fixed DAC alone": Readout(name="fixed", dac=Dac(bits=6), ranges=RANGES),
    "rtl8": replace(PRESETS["rtl8"], ranges=RANGES),
    "bit by bit, line by line": calibrate_ranges(
        NETWORK,
        IMAGES,
        Readout(
            name="lines",
            dac=Dac(bits=4, codes="signed", drive="bit-serial"),
            adc=Adc(bits=7, low=0, high=100, rounding="floor", gain_bits=6, offset=99),
            tile_rows=20,
            tile_columns=4,
            lines="separate",
            accumulator=Accumulator(bits=17, beyond="wrap"),
            read_noise="fresh",
        ),
    ),
    "offset codes": Readout(
        name="offset",
        dac=Dac(bits=5, codes="offset"),
        adc=Adc(bits=6, low=-32, gain_bits=12, rounding="toward-zero", offset=-7),
        tile_rows=20,
        accumulator=Accumulator(bits=23),
        ranges=RANGES,
    ),
    "unsigned codes": Readout(
        name="unsigned",
        dac=Dac(bits=3, codes="unsigned", drive="bit-serial"),
        adc=Adc(bits=8, rounding="half-up"),
        lines="separate",
        ranges={n: Range(input_top=r.input_top / 3, sum_top_us=r.input_top * 5) for n, r in RANGES.items()},
    ),
    "two phases, measured": Readout(
        name="phases",
        dac=Dac(bits=6, codes="signed", drive="two-phase"),
        adc=Adc(bits=3, low=-4, gain=FixedPoint(33, 22), rounding="half-away"),
        accumulator=Accumulator(bits=17, beyond="saturate"),
        ranges=RANGES,
        measured={
            "conv1": Adc(
                bits=3, low=-4, gain=tuple(FixedPoint(30 + c, 22) for c in range(5)), offset=(1, -2, 3, -9999, 5)
            ),
            "conv2": Adc(bits=3, low=-4, thresholds=np.cumsum(np.arange(49).reshape(7, 7) * 999, axis=1) - 99_999),
        },
    ),
}
CORRECTIONS = Corrections(
    gain={"conv1": np.array([1.25]), "conv3": np.linspace(0.9, 1.7, 10), "fc": np.array([0.7])},
    statistics={"bn2": Statistics(mean=np.linspace(-1, 1, 7), var=np.linspace(0.0, 2, 7))},
)


class Taps:
    """Collects traces: (node, first image) -> trace, in order."""

    def __init__(self):
        self.traces = []

    def __call__(self, trace):
        self.traces.append(trace)

    def of(self, name):
        return [t for t in self.traces if t.layer == name]

    def stack(self, name):
        return np.concatenate([t.activations for t in self.of(name)])

    def check(self, network, addresses):
        """Every node in order, again and again, until all images have come, in order."""
        names = [layer.name for layer in network.layers]
        assert [t.layer for t in self.traces] == names * (len(self.traces) // len(names))
        for name in names:
            assert np.concatenate([t.image for t in self.of(name)]).tolist() == list(addresses)


# Against plain Python


@pytest.mark.filterwarnings("ignore:readout unsigned")
@pytest.mark.parametrize("corrections", [Corrections(), CORRECTIONS], ids=["as it is", "corrected"])
@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
def test_a_network_equals_the_naive_one(readout, corrections):
    check_a_network(SNAPSHOT, readout, corrections)


@pytest.mark.parametrize("name", ["fresh", "rtl8", "bit by bit, line by line", "offset codes"])
def test_a_network_of_several_pairs_a_weight_equals_the_naive_one(name):
    check_a_network(program(NETWORK, seed=2, significance=(4, 1)).at(DAY), READOUTS[name], CORRECTIONS)


@pytest.mark.filterwarnings("ignore:normalisation", "ignore:layer .* saturate", "ignore:.*columns of layer")
@settings(max_examples=settings.default.max_examples // 4, suppress_health_check=[HealthCheck.too_slow])
@given(testing.networks(nodes=4), st.data(), st.sampled_from(["numpy", "numba"]), st.sampled_from(["paper", "fresh"]))
def test_networks_of_every_operation_equal_the_naive_ones(network, data, kernels, readout):
    images = np.concatenate([data.draw(testing.images(network, most=1)) for _ in range(2)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, kernels)
        check_a_network(
            program(network, seed=1).at(DAY), replace(READOUTS[readout], tile_rows=4), Corrections(), images
        )


def check_a_network(snapshot, readout, corrections, images=IMAGES[:2]):
    """Every stage of every node is that of plain Python, with a tap and without."""
    network, addresses = snapshot.network, [5, 2**40 + 3]
    expected = naive.forward(
        snapshot,
        images,
        readout,
        gains=corrections.gain,
        replaced={name: (s.mean, s.var) for name, s in corrections.statistics.items()},
        addresses=addresses,
    )
    taps = Taps()
    found = logits(snapshot, images, readout=readout, corrections=corrections, addresses=addresses, tap=taps)
    taps.check(network, addresses)
    for trace in taps.traces:
        assert trace.activations.dtype == np.float32
        for n, address in enumerate(trace.image.tolist()):
            node = expected[trace.layer][addresses.index(address)]
            values = node
            if trace.product is not None:
                values, product = node["values"], trace.product
                channels = node["codes"].shape[2]
                assert product.input_codes[n, ..., :channels].tolist() == node["codes"].tolist()
                assert product.input_step[n] == node["step"]
                naive.check_tiles(product.tiles, n, node)
                assert product.output_codes[n].tolist() == node["outputs"].tolist()
            assert trace.activations[n].tobytes() == values.tobytes()
    last = np.stack([node["values"] for node in expected[network.layers[-1].name]])
    assert found.tobytes() == last.tobytes()
    untapped = logits(snapshot, images, readout=readout, corrections=corrections, addresses=addresses)
    assert untapped.tobytes() == last.tobytes()


@pytest.mark.parametrize("names", [["first"], ["last"], ["first", "last"], ["conv2", "short"]])
def test_layers_that_are_kept_digital(names):
    """They are float32, exactly; the others have the devices, and the draws, that they had."""
    network = keep_digital(NETWORK, names)
    chosen = {"first": "conv1", "last": "fc"}
    off = {chosen.get(name, name) for name in names}
    assert {layer.name for layer in NETWORK.crossbar_layers} - {layer.name for layer in network.crossbar_layers} == off
    snapshot = program(network, seed=2).at(DAY)
    before = {layer.name: layer for layer in SNAPSHOT.layers}
    for layer in snapshot.layers:
        assert np.array_equal(layer.g_read_code, before[layer.name].g_read_code)
    readout = READOUTS["fresh"]
    taps, all_analog = Taps(), Taps()
    found = logits(snapshot, IMAGES, readout=readout, tap=taps)
    logits(SNAPSHOT, IMAGES, readout=readout, tap=all_analog)
    values = naive.forward(snapshot, IMAGES[:2], readout)
    for name in off:
        assert all(trace.product is None for trace in taps.of(name))
        assert np.array_equal(taps.stack(name)[:2], np.stack(values[name]))
    assert np.array_equal(found, logits(snapshot, IMAGES, readout=readout))
    if off == {"fc"}:  # all before it is as it was, fresh noise too
        assert np.array_equal(taps.stack("mean"), all_analog.stack("mean"))


def is_digital(layer):
    return getattr(layer, "digital", False)


def test_layers_to_keep_digital_are_named():
    with pytest.raises(ParameterError, match="digital: expected one of conv1, conv2, short, conv3, fc, found 'relu1'"):
        keep_digital(NETWORK, ["relu1"])
    renamed = {"conv3": {"name": "last"}, "bn3": {"inputs": ("last",)}}
    layers = tuple(replace(layer, **renamed.get(layer.name, {})) for layer in NETWORK.layers)
    assert [one.name for one in keep_digital(replace(NETWORK, layers=layers), ["last"]).layers if is_digital(one)] == [
        "last"
    ]
    with pytest.raises(ParameterError, match="digital: expected a sequence of names, found 'first'"):
        keep_digital(NETWORK, "first")
    assert keep_digital(NETWORK, []).digest == NETWORK.digest
    ranged = replace(NETWORK, ranges={"chip8": RANGES})
    assert keep_digital(ranged, ["first"]).ranges == {}


@pytest.mark.parametrize("change", ["seed", "time", "read"])
def test_fresh_noise_belongs_to_the_read_event(change):
    other = {"seed": {"seed": 3}, "time": {"t_s": DAY + 1e-6}, "read": {"read": 1}}[change]
    noisy = [logits(s, IMAGES[:1], readout=READOUTS["fresh"]) for s in (SNAPSHOT, replace(SNAPSHOT, **other))]
    assert not np.array_equal(*noisy)
    frozen = [logits(s, IMAGES[:1]) for s in (SNAPSHOT, replace(SNAPSHOT, **other))]
    assert np.array_equal(*frozen)


def test_the_digital_network_agrees_with_float64_to_rounding():
    taps = Taps()
    found = digital(NETWORK, IMAGES, tap=taps)
    expected = naive.digital(NETWORK, IMAGES)
    taps.check(NETWORK, range(20))
    assert all(t.product is None for t in taps.traces)
    for name in LAYERS:
        exact = np.stack(expected[name])
        # hundreds of operations of relative error 2^-24 each
        assert np.abs(taps.stack(name) - exact).max() <= 500 * 2.0**-24 * np.abs(exact).max()
    assert np.array_equal(found, taps.stack("fc"))
    assert digital(NETWORK, IMAGES) == pytest.approx(found, rel=1e-6, abs=1e-6)


def test_an_ideal_chip_with_fine_converters_agrees_with_the_digital_network():
    ideal = program(NETWORK, model=AIHWKIT.ideal()).at(DAY)
    expected = digital(NETWORK, IMAGES)
    error = np.abs(logits(ideal, IMAGES, readout=READOUTS["fine"]) - expected).max()
    assert error <= 1e-3 * np.abs(expected).max()


# What a result may not depend on


@laws
@given(
    st.sampled_from(["paper", "chip8 in tiles"]),
    st.permutations(range(20)),
    st.integers(1, 20),
    st.integers(1, 7),
    st.integers(1, 4),
)
@example("chip8 in tiles", list(range(20)), 20, 16, 2)
def test_an_image_s_logits_do_not_depend_on_its_company(name, order, size, chunk, threads):
    """Batch, chunk, number of threads and order, with the images' addresses."""
    readout = READOUTS[name]
    addresses = np.arange(20) + 2**33
    expected = logits(SNAPSHOT, IMAGES, readout=readout, addresses=addresses, threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_threads, "CHUNK", chunk)
        some = list(order)[:size]
        found = logits(SNAPSHOT, IMAGES[some], readout=readout, addresses=addresses[some].tolist(), threads=threads)
    assert found.tobytes() == expected[some].tobytes()


def test_addresses_are_positions_by_default():
    readout = READOUTS["fresh"]
    whole = logits(SNAPSHOT, IMAGES[:4], readout=readout)
    assert np.array_equal(logits(SNAPSHOT, IMAGES[:4], readout=readout, addresses=range(4)), whole)
    assert np.array_equal(logits(SNAPSHOT, IMAGES[2:4], readout=readout, addresses=[2, 3]), whole[2:])
    assert not np.array_equal(logits(SNAPSHOT, IMAGES[2:4], readout=readout), whole[2:])
    twice = logits(SNAPSHOT, IMAGES[[0, 0]], readout=readout)
    assert not np.array_equal(twice[0], twice[1])


def test_several_threads_work_at_once_and_in_order():
    first_two, names = iter(range(2)), set()
    both = threading.Barrier(2, timeout=60)

    def work(part):
        names.add(threading.current_thread().name)
        if next(first_two, None) is not None:
            both.wait()  # passes only if two parts are worked on at the same time
        return part.start, part.stop

    parts = list(in_threads.each(work, 500, 2))
    assert len(names) == 2
    assert parts[0][0] == 0
    assert parts[-1][1] == 500
    assert all(a[1] == b[0] for a, b in itertools.pairwise(parts))


@pytest.mark.parametrize("threads", [1, 3])
def test_progress_tells_every_image(threads):
    for function, chip in ((logits, SNAPSHOT), (digital, NETWORK)):
        done = []
        function(chip, IMAGES, threads=threads, progress=done.append)
        assert sum(done) == 20
        assert min(done) >= 1


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_one_part_ends_the_run(threads):
    def work(part):
        if part.start > 0:
            raise ZeroDivisionError
        return part.start

    with pytest.raises(ZeroDivisionError):
        list(in_threads.each(work, 500, threads))


@st.composite
def graphs(draw):
    """Networks wired at random behind one reduction: any node may be added to any, or go unused."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stem = draw(
        st.sampled_from(
            [
                MaxPool(name="stem", inputs=("input",), kernel=3, stride=2, padding=1),
                PadShortcut(name="stem", inputs=("input",), stride=2),
                conv(rng, "stem", "input", 3, 3, stride=2, padding=1),
            ]
        )
    )
    layers, maps, vectors = [stem], ["stem"], []

    def pick(names):
        return draw(st.sampled_from(names[-3:]))

    def grow(names, kinds):
        name, kind = f"n{len(layers)}", draw(st.sampled_from(kinds))
        if kind == "conv":
            layers.append(conv(rng, name, pick(names), 3, 3, padding=1, bias=draw(st.booleans())))
        elif kind == "linear":
            layers.append(Linear(name=name, inputs=(pick(names),), weight=normal(rng, 3, 3), bias=normal(rng, 3)))
        elif kind == "batch_norm":
            layers.append(batch_norm(rng, name, pick(names), 3))
        elif kind == "relu":
            layers.append(Relu(name=name, inputs=(pick(names),)))
        else:
            layers.append(Add(name=name, inputs=(pick(names), pick(names))))
        names.append(name)

    for _ in range(draw(st.integers(1, 9))):
        grow(maps, ["conv", "conv", "batch_norm", "relu", "add"])
    layers.append(GlobalAveragePool(name="pool", inputs=(pick(maps),)))
    vectors.append("pool")
    for _ in range(draw(st.integers(1, 5))):
        grow(vectors, ["linear", "linear", "batch_norm", "relu", "add"])
    return Network(layers=tuple(layers), input_shape=(7, 5, 3), normalisation=RGB, classes=("a", "b", "c"))


@pytest.mark.parametrize("readout", [PRESETS["paper"], READOUTS["chip8 in tiles"]], ids=["paper", "chip8"])
def test_a_device_that_answers_as_it_should_changes_nothing(readout):
    asked = []

    def device(name, product):
        asked.append((name, len(product.output_codes)))
        return sum(tile.codes for tile in product.tiles).astype(np.int32)

    images = np.tile(IMAGES, (3, 1, 1, 1))
    found = logits(SNAPSHOT, images, readout=readout, device=device, threads=2)
    assert found.tobytes() == logits(SNAPSHOT, images, readout=readout).tobytes()
    assert asked == [(layer.name, n) for n in (48, 12) for layer in NETWORK.crossbar_layers]


def test_the_network_goes_on_with_what_a_device_answers():
    """Codes of another chip in place of this one's are that chip's activations, up to the digital scale they share."""
    other = program(NETWORK, seed=3).at(DAY)
    codes = {}

    def keep(trace):
        if trace.product is not None:
            codes[trace.layer] = trace.product.output_codes

    taps = Taps()
    wanted = logits(other, IMAGES, readout=READOUTS["rtl8"], tap=lambda trace: (keep(trace), taps(trace)))
    found = logits(SNAPSHOT, IMAGES, readout=READOUTS["rtl8"], device=lambda name, _: codes[name])
    assert found.tobytes() == wanted.tobytes()
    assert found.tobytes() != logits(SNAPSHOT, IMAGES, readout=READOUTS["rtl8"]).tobytes()


def test_a_tap_sees_what_a_device_answered():
    taps = Taps()

    def device(name, product):
        return (product.output_codes + (name == "fc")).astype(np.int32)

    logits(SNAPSHOT, IMAGES, tap=taps, device=device)
    for trace in taps.traces:
        if trace.product is not None:
            assert trace.product.output_codes.dtype == np.int64
            difference = trace.product.output_codes - sum(tile.codes for tile in trace.product.tiles)
            assert np.array_equal(np.unique(difference), [trace.layer == "fc"])


@pytest.mark.parametrize(
    "answer",
    [lambda codes: codes[:, :-1], lambda codes: codes.astype(float), lambda codes: None, lambda codes: codes[0]],
)
def test_a_device_with_other_answers_than_integers_of_the_right_shape_is_refused(answer):
    first = NETWORK.crossbar_layers[0].name
    with pytest.raises(ParameterError, match=f"device: {first}: expected integers of shape \\(20, "):
        logits(SNAPSHOT, IMAGES, device=lambda name, product: answer(product.output_codes))


@settings(max_examples=settings.default.max_examples // 2)
@given(graphs())
def test_taps_change_nothing_whatever_the_graph(network):
    """With a tap every node is computed on its own, without one some are computed together."""
    images = np.random.default_rng(2).integers(0, 256, (2, *network.input_shape), np.uint8)
    chip = program(network, seed=1).at(DAY)
    for readout in (READOUTS["paper"], READOUTS["fresh"]):
        taps = Taps()
        found = logits(chip, images, readout=readout, tap=taps)
        taps.check(network, range(2))
        assert found.tobytes() == taps.stack(network.layers[-1].name).tobytes()
        assert logits(chip, images, readout=readout).tobytes() == found.tobytes()
    taps = Taps()
    found = digital(network, images, tap=taps)
    assert found.tobytes() == taps.stack(network.layers[-1].name).tobytes()
    assert digital(network, images).tobytes() == found.tobytes()
    exact = naive.digital(network, images[:1])
    for layer in network.layers:
        size = max(np.abs(exact[name][0]).max() for name in exact)
        assert np.abs(taps.stack(layer.name)[0] - exact[layer.name][0]).max() <= 500 * 2.0**-24 * size


def test_digital_nodes_are_computed_with_the_crossbar_before_them():
    """As many as are read by nothing else: what makes the results above worth checking."""
    names = ["relu1", "pool", "bn2", "relu2", "bn3", "pad", "add2", "relu3", "mean", "fc"]
    assert [chain.name for chain in chains(NETWORK)] == names
    assert [chain.name for chain in chains(NETWORK, "nodes")] == LAYERS


def pair(layer):
    """Mean and variance in float64."""
    return layer.mean.astype(np.float64), layer.var.astype(np.float64)


@pytest.mark.filterwarnings("ignore:AdaBS does nothing")
@laws
@given(graphs())
def test_calibration_equals_one_pass_for_each_normalisation_whatever_the_graph(network):
    """AdaBS on one mini-batch: with the statistics known so far, the next normalisation's input is measured."""
    images = np.random.default_rng(2).integers(0, 256, (200, *network.input_shape), np.uint8)
    chip = program(network, seed=1).at(DAY)
    found = adabs(chip, images).statistics
    measured = {}
    for layer in network.layers:
        if not isinstance(layer, BatchNorm):
            continue
        taps = Taps()
        logits(chip, images, corrections=Corrections(statistics=measured), tap=taps)
        mean, var = map(np.array, naive.statistics(list(taps.stack(layer.inputs[0]))))
        measured[layer.name] = Statistics(mean=mean, var=var)
        for now, batch, stored in zip(pair(found[layer.name]), (mean, var), pair(layer), strict=True):
            assert now == pytest.approx(0.015 * stored + 0.985 * batch, rel=1e-13, abs=1e-13)
    assert found.keys() == measured.keys()


# Taps


def test_taps_deliver_every_node_in_order_for_all_images():
    taps = Taps()
    found = logits(SNAPSHOT, IMAGES, readout=READOUTS["chip8"], tap=taps, threads=2)
    taps.check(NETWORK, range(20))
    for name in LAYERS:
        assert taps.stack(name).shape == (20, *NETWORK.shapes[name])
    assert taps.stack("fc").tobytes() == found.tobytes()
    assert {t.layer for t in taps.traces if t.product} == {layer.name for layer in NETWORK.crossbar_layers}


def test_what_taps_deliver_recomputes_the_logits():
    """From the output codes on, node by node, with the digital operations of plain Python."""
    readout = READOUTS["chip8"]
    taps = Taps()
    found = logits(SNAPSHOT, IMAGES[:1], readout=readout, tap=taps)
    values = {"input": naive.normalise(NETWORK, IMAGES[0])}
    read = {layer.name: layer for layer in SNAPSHOT.layers}
    for layer in NETWORK.layers:
        inputs = [values[name] for name in layer.inputs]
        (trace,) = taps.of(layer.name)
        if trace.product is not None:
            code_us = RANGES[layer.name].sum_top_us / 127
            scale = (code_us * read[layer.name].weight_per_us).astype(np.float32)
            values[layer.name] = (trace.product.output_codes[0].astype(np.float32) * scale).reshape(
                NETWORK.shapes[layer.name]
            )
            step = np.float32(RANGES[layer.name].input_top) / np.float32(127)
            codes = [
                np.rint(tile.sums[0] * (float(step) * 2.0**-9 / code_us)).clip(-127, 127)
                for tile in trace.product.tiles
            ]
            for tile, expected in zip(trace.product.tiles, codes, strict=True):
                assert np.array_equal(tile.codes[0], expected)
            assert np.array_equal(sum(codes), trace.product.output_codes[0])
        elif isinstance(layer, BatchNorm):
            scale, offset = naive.fold(layer, layer.mean, layer.var)
            values[layer.name] = inputs[0] * scale + offset
        else:
            values[layer.name] = naive.digital_node(layer, *inputs)
        assert values[layer.name].tobytes() == trace.activations[0].tobytes()
    assert values["fc"].tobytes() == found[0].tobytes()


# Edges and errors


@pytest.mark.parametrize("tap", [None, Taps()], ids=["no tap", "tap"])
@pytest.mark.parametrize("threads", [1, 2])
def test_no_images_give_no_logits(tap, threads):
    for found in (
        logits(SNAPSHOT, IMAGES[:0], tap=tap, threads=threads),
        logits(SNAPSHOT, IMAGES[:0], readout=READOUTS["chip8"], addresses=[]),
        digital(NETWORK, IMAGES[:0], tap=tap, threads=threads),
    ):
        assert found.shape == (0, 4)
        assert found.dtype == np.float32


@pytest.mark.parametrize(
    "bad",
    [
        IMAGES.astype(np.float32),
        IMAGES.astype(np.int8),
        IMAGES[0],
        IMAGES[:, :5],
        IMAGES[..., :1],
        IMAGES.transpose(0, 3, 1, 2),
        [1, 2],
        None,
    ],
    ids=["float32", "int8", "one image", "rows", "channels", "channels first", "list", "none"],
)
def test_images_of_another_form_are_refused(bad):
    for function, chip in ((logits, SNAPSHOT), (digital, NETWORK)):
        with pytest.raises(DataError, match=r"images: expected uint8 of shape \(n, 6, 6, 3\), found"):
            function(chip, bad)


@pytest.mark.parametrize("bad", [0, -1, 1025, True, 1.0, "2"], ids=repr)
def test_thread_numbers_out_of_range_are_refused(bad):
    for function, chip in ((logits, SNAPSHOT), (digital, NETWORK)):
        with pytest.raises(ParameterError, match="threads: expected an integer from 1 to 1024, found"):
            function(chip, IMAGES, threads=bad)


@pytest.mark.parametrize("bad", [-1, 2**64, "x", None, math.nan, math.inf, 1.5, [1], True], ids=repr)
def test_addresses_out_of_range_are_refused(bad):
    with pytest.raises(ParameterError, match=r"addresses: expected integers from 0 to 2\*\*64 - 1, found"):
        logits(SNAPSHOT, IMAGES[:2], addresses=[0, bad])


@pytest.mark.parametrize(
    "bad", [3, np.array(3), np.ones((2, 1), int), iter([0, 1])], ids=lambda bad: type(bad).__name__
)
def test_addresses_that_are_no_sequence_are_refused(bad):
    with pytest.raises(ParameterError, match=r"^addresses: expected a sequence of integers, found"):
        logits(SNAPSHOT, IMAGES[:2], addresses=bad)


def test_rows_of_several_lengths_are_refused():
    ragged = [[1.0], [1.0, 2.0]]
    for attempt, name in (
        (lambda: logits(SNAPSHOT, ragged), "images"),
        (lambda: accuracy(ragged, [0, 1]), "logits"),
        (lambda: accuracy(np.ones((2, 2)), ragged), "labels"),
    ):
        with pytest.raises(DataError, match=f"^{name}: expected an array, found "):
            attempt()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_addresses_is_refused(count):
    with pytest.raises(ParameterError, match=f"addresses: expected 2 of them, found {count}"):
        logits(SNAPSHOT, IMAGES[:2], addresses=range(count))


def test_addresses_of_any_integer_type():
    readout, images = READOUTS["fresh"], IMAGES[:2]
    expected = logits(SNAPSHOT, images, readout=readout, addresses=[3, 2**63])
    for addresses in (np.array([3, 2**63], np.uint64), (np.int8(3), np.uint64(2**63))):
        assert np.array_equal(logits(SNAPSHOT, images, readout=readout, addresses=addresses), expected)


def test_a_readout_without_the_ranges_that_it_needs_is_refused():
    with pytest.raises(ParameterError, match=r"readout chip8: expected calibrated ranges for layer 'conv1'"):
        logits(SNAPSHOT, IMAGES, readout=PRESETS["chip8"])
    some = {name: r for name, r in RANGES.items() if name != "short"}
    with pytest.raises(ParameterError, match=r"readout chip8: expected calibrated ranges for layer 'short'"):
        logits(SNAPSHOT, IMAGES, readout=replace(PRESETS["chip8"], ranges=some))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("image", [0, 18])
def test_an_overflow_to_infinity_is_an_error_that_names_the_image(image):
    weight = NETWORK.layers[0].weight * np.float32(1e19)
    network = replace_layer(NETWORK, "conv1", weight=weight)
    network = replace_layer(network, "bn1", gamma=np.full(5, 3e19, np.float32), mean=np.zeros(5, np.float32))
    images = np.full_like(IMAGES, 0)
    black = digital(replace_layer(network, "bn1", gamma=np.zeros(5, np.float32)), images)
    assert np.isfinite(black).all()
    zero = tiny(normalisation=replace(RGB, mean=(0.0, 0.0, 0.0)))  # a black image is zero throughout
    network = replace(network, normalisation=zero.normalisation)
    images[image] = IMAGES[image]
    for run_it in (lambda: logits(program(network).at(DAY), images), lambda: digital(network, images)):
        with pytest.raises(PcmrefError, match=f"expected finite numbers, found an overflow for image {image}$"):
            run_it()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_overflow_of_one_logit_names_the_first_image():
    weight = np.zeros((4, 10), np.float32)
    weight[2] = 3e38
    network = replace_layer(NETWORK, "fc", weight=weight, bias=None)
    with pytest.raises(PcmrefError, match=r"logits: expected finite numbers, found an overflow for image 0$"):
        digital(network, IMAGES[:4])
    with pytest.raises(PcmrefError, match=r"logits: expected finite numbers, found an overflow for image 7$"):
        logits(program(network).at(DAY), IMAGES[:4], addresses=[7, 3, 8, 1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kernels", ["numba", "numpy"])
def test_an_overflow_does_not_hide_behind_a_saturating_dac(kernels, monkeypatch):
    monkeypatch.setenv("PCMREF_KERNELS", kernels)
    network = replace_layer(NETWORK, "bn3", gamma=np.full(10, 3e38, np.float32), var=np.full(10, 1e-9, np.float32))
    with pytest.raises(PcmrefError, match="an overflow for image 0"):
        logits(program(network).at(DAY), IMAGES[:2], readout=READOUTS["fixed DAC alone"])


def test_black_images_are_no_special_case():
    network = tiny(normalisation=replace(RGB, mean=(0.0, 0.0, 0.0)))
    chip = program(network).at(DAY)
    taps = Taps()
    found = logits(chip, np.zeros_like(IMAGES[:1]), tap=taps)
    assert np.isfinite(found).all()
    assert not taps.of("conv1")[0].activations.any()
    assert not taps.of("conv1")[0].product.input_step.any()


def test_accuracy_counts_the_first_of_equal_logits():
    scores = np.array([[1, 2, 0], [3, 3, 1], [0, 0, 0], [1, 0, 2]], np.float32)
    assert accuracy(scores, np.array([1, 0, 0, 2])) == 1.0
    assert accuracy(scores, np.array([1, 1, 0, 0])) == 0.5
    assert accuracy(scores, [1, 1, 0, 0]) == 0.5


@pytest.mark.parametrize(
    "labels", [0, [0], [[1], [0], [0], [2]], [1, 0, 0], [1, 0, 0, 2, 2], [1.0, 0.0, 0.0, 2.0], ["1", "0", "0", "2"]]
)
def test_labels_that_do_not_fit(labels):
    with pytest.raises(DataError, match="labels: expected 4 integers, found "):
        accuracy(np.zeros((4, 3), np.float32), labels)


@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 2, 2), (2, 0)])
def test_logits_that_do_not_fit(shape):
    with pytest.raises(DataError, match="logits: expected shape"):
        accuracy(np.zeros(shape, np.float32), np.zeros(shape[0], np.int64))


@pytest.mark.parametrize("readout", ["paper", "chip8"])
def test_a_tap_cannot_change_what_follows(readout):
    def arrays(value):
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from itertools.chain.from_iterable(map(arrays, value))
        elif is_dataclass(value):
            yield from itertools.chain.from_iterable(arrays(getattr(value, field.name)) for field in fields(value))

    seen = []

    def meddle(trace):
        found = list(arrays(trace))
        seen.append(len(found))
        for array in found:
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 0

    logits(SNAPSHOT, IMAGES, readout=READOUTS[readout], tap=meddle)
    whole = 2 + 4 + (4 if readout == "chip8" else 3)  # of the node, of its product, of a tile
    assert min(seen) == 2
    assert max(seen) >= whole


def test_a_tap_sees_the_images_in_chunks():
    images, seen = np.repeat(IMAGES[:1], 70, axis=0), {}
    logits(SNAPSHOT, images, tap=lambda trace: seen.setdefault(trace.layer, []).append(trace.image.tolist()))
    assert set(seen) == set(LAYERS)
    for chunks in seen.values():
        assert list(itertools.chain.from_iterable(chunks)) == list(range(70))
        assert max(map(len, chunks)) == in_threads.CHUNK


def test_the_default_number_of_threads_is_positive(monkeypatch):
    assert in_threads.processors(None) >= 1
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    assert in_threads.processors(None) >= 1
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert in_threads.processors(None) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_have_no_accuracy(bad):
    scores = np.ones((3, 2), np.float32)
    scores[1, 1] = bad
    with pytest.raises(DataError, match="logits: expected finite numbers, found"):
        accuracy(scores, np.zeros(3, int))


@pytest.mark.parametrize("label", [-1, 3, 2**40])
def test_labels_of_no_class(label):
    assert accuracy(np.eye(3), np.array([0, 1, 0])) == 2 / 3
    with pytest.raises(DataError, match=f"labels: expected labels from 0 to 2, found {label}"):
        accuracy(np.eye(3), np.array([0, label, 2]))


def test_threads_are_checked_with_a_tap_too():
    for function, chip in ((logits, SNAPSHOT), (digital, NETWORK)):
        with pytest.raises(ParameterError, match="threads"):
            function(chip, IMAGES, threads=0, tap=lambda trace: None)


def test_addresses_that_are_no_sequence():
    for bad in (5, None.__class__, iter([1, 2])):
        with pytest.raises(ParameterError, match="addresses: expected a sequence of integers, found"):
            logits(SNAPSHOT, IMAGES[:2], addresses=bad)
