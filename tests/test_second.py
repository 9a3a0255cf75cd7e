"""The package equals `second.py`, which was written from SPEC.md alone, in every code, sum and activation."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic.codes import Range
from pcmref.files.networks import OPERATIONS
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.layers import Add, BatchNorm, Conv, GlobalAveragePool, Linear, MaxPool, PadShortcut, Relu
from tests.helpers import second
from tests.helpers.nets import tiny

pytestmark = pytest.mark.filterwarnings("ignore::pcmref.PcmrefWarning")  # GDC of a layer of zeros

DEFAULT = "NANDAKUMAR_2019"
DAY = 86_400.0


def small_network():
    """Every operation, odd sizes, seven crossbar layers: with bias and without, of zeros, with pixels not read."""
    rng = np.random.default_rng(5)

    def numbers(*shape):
        return rng.normal(0, 0.4, shape).astype(np.float32)

    def norm(name, source, channels):
        var = rng.uniform(0.3, 2, channels).astype(np.float32)
        gamma, beta, mean = numbers(3, channels)
        return BatchNorm(name=name, inputs=(source,), gamma=gamma, beta=beta, mean=mean, var=var, eps=1e-3)

    first = numbers(5, 3, 3, 3)
    first[0, 0, 0] = 1e-12, 0.0, -1e-9
    columns = numbers(7, 7, 2, 2)
    columns[2] = 0
    images = rng.integers(0, 256, (410, 13, 7, 3)).astype(np.uint8)
    images[[0, 401]] = 0, 64, 128  # an activation of 0 throughout
    labels = np.zeros(410, np.int64)
    return Network(
        layers=(
            Conv(name="a", inputs=("input",), weight=first, bias=numbers(5), padding=1),
            norm("a.norm", "a", 5),
            Relu(name="a.relu", inputs=("a.norm",)),
            MaxPool(name="pool", inputs=("a.relu",), kernel=3, stride=2, padding=1),
            Conv(name="b", inputs=("pool",), weight=numbers(7, 5, 2, 3), stride=2, padding=1),
            PadShortcut(name="short", inputs=("pool",), stride=2, before=2),
            Add(name="sum", inputs=("b", "short")),
            Relu(name="sum.relu", inputs=("sum",)),
            Conv(name="c", inputs=("input",), weight=numbers(7, 3, 2, 4), stride=3),
            norm("c.norm", "c", 7),
            Add(name="sum2", inputs=("c.norm", "sum.relu")),
            Conv(name="zero", inputs=("sum2",), weight=np.zeros((7, 7, 1, 1), np.float32)),
            Add(name="sum3", inputs=("zero", "sum2")),
            MaxPool(name="pool2", inputs=("sum3",), kernel=2, stride=1),
            Conv(name="d", inputs=("sum3",), weight=columns, bias=numbers(7)),
            norm("d.norm", "d", 7),
            Add(name="sum4", inputs=("d.norm", "pool2")),
            Relu(name="sum4.relu", inputs=("sum4",)),
            PadShortcut(name="wide", inputs=("sum4.relu",), after=3, before=1),
            GlobalAveragePool(name="mean", inputs=("wide",)),
            Linear(name="e", inputs=("mean",), weight=numbers(9, 11), bias=numbers(9)),
            norm("e.norm", "e", 9),
            Relu(name="e.relu", inputs=("e.norm",)),
            Add(name="twice", inputs=("e.relu", "e.relu")),
            Linear(name="f", inputs=("twice",), weight=numbers(4, 9)),
        ),
        input_shape=(13, 7, 3),
        normalisation=Normalisation(full_scale=256.0, mean=(0.0, 0.25, 0.5), std=(1.5, 1.25, 1.3)),
        classes=("a", "b", "c", "d"),
        evaluation=Samples(images=images[400:], labels=labels[400:]),
        calibration=Samples(images=images[:400], labels=labels[:400]),
    )


def network_of_zeros():
    """A batch normalisation that gives -0 everywhere, and what may take it."""
    zeros, ones = np.zeros(2, np.float32), np.ones(2, np.float32)
    return Network(
        layers=(
            Conv(name="a", inputs=("input",), weight=np.zeros((2, 1, 1, 1), np.float32)),
            BatchNorm(name="norm", inputs=("a",), gamma=-ones, beta=-zeros, mean=-zeros, var=ones),
            MaxPool(name="pool", inputs=("norm",), kernel=2, stride=1, padding=1),
            Relu(name="relu", inputs=("norm",)),
            Add(name="sum", inputs=("norm", "norm")),
            GlobalAveragePool(name="mean", inputs=("sum",)),
            GlobalAveragePool(name="mean2", inputs=("pool",)),
            GlobalAveragePool(name="mean3", inputs=("relu",)),
            Add(name="sum2", inputs=("mean2", "mean3")),
            Add(name="sum3", inputs=("sum2", "mean")),
        ),
        input_shape=(3, 3, 1),
        normalisation=Normalisation(full_scale=1.0, mean=(0.0,), std=(1.0,)),
        classes=("a", "b"),
        evaluation=Samples(images=np.ones((3, 3, 3, 1), np.uint8), labels=np.zeros(3, np.int64)),
        calibration=Samples(images=np.ones((1, 3, 3, 1), np.uint8), labels=np.zeros(1, np.int64)),
    )


def test_every_operation_is_compared():
    assert {layer.op for layer in small_network().layers} == set(OPERATIONS) == {layer.op for layer in tiny().layers}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Networks as the package and as the second implementation read them."""
    folder = tmp_path_factory.mktemp("second")
    files = {"digits": pcmref.bundled(), "small": folder / "small.h5", "zeros": folder / "zeros.h5"}
    pcmref.save(files["small"], small_network())
    pcmref.save(files["zeros"], network_of_zeros())
    return {name: (pcmref.load(file), second.Network(file)) for name, file in files.items()}


def same(ours, theirs, where):
    """Fail unless two arrays are equal: integers by value, floats by their bits."""
    theirs = np.asarray(theirs)
    if theirs.dtype.kind == "f":
        assert ours.dtype == theirs.dtype, where
        ours, theirs = (np.ascontiguousarray(a).view(f"u{a.dtype.itemsize}") for a in (ours, theirs))
    np.testing.assert_array_equal(ours, theirs, err_msg=where)


def same_snapshots(snapshot, codes):
    assert [layer.name for layer in snapshot.layers] == list(codes)
    for layer in snapshot.layers:
        other = codes[layer.name]
        same(layer.mean_code, other.mean, f"{layer.name} mean")
        same(layer.read_code, other.read, f"{layer.name} read")
        same(layer.variance_code, other.variance, f"{layer.name} variance")
        same(layer.g_read_code.sum(axis=0), other.pair, f"{layer.name} pairs")
        same(layer.weight_per_us, other.weight_per_us, f"{layer.name} weight of a uS")


def same_devices(package, chip):
    """Compare what programming decided, float by float."""
    for layer in package.layers:
        devices = chip.layers[layer.mapped.name][0]
        same(layer.mapped.g_target_us.shape, devices[0][0].shape, layer.mapped.name)
        for position, values in enumerate((layer.state.g_prog_us, layer.state.nu, layer.state.q_s)):
            both = np.stack([devices[0][position], devices[1][position]])
            same(values, both.reshape(-1)[layer.state.device], f"{layer.mapped.name} device number {position}")


def same_inference(network, snapshot, images, values, products, **options):
    """Compare every stage of every layer, then the logits without a tap."""
    traces = {}
    logits = pcmref.logits(snapshot, images, tap=lambda t: traces.setdefault(t.layer, []).append(t), **options)
    for node in network.nodes:
        name, parts = node["name"], traces[node["name"]]
        if name in products:
            other, padding = products[name], node.get("padding", 0)
            height, width, channels = other.input_codes.shape[1:]
            expected = np.zeros((len(images), height + 2 * padding, width + 2 * padding, channels), np.int64)
            expected[:, padding : padding + height, padding : padding + width] = other.input_codes
            codes = np.concatenate([p.product.input_codes for p in parts])
            same(codes[..., :channels], expected, f"{name} input codes")
            if "bias" in network.tensors[name]:
                same(codes[:, 0, 0, channels], other.bias_codes, f"{name} bias codes")
            same(np.concatenate([p.product.input_step for p in parts]), other.step, f"{name} step")
            sums = np.concatenate([np.stack([tile.sums for tile in p.product.tiles], axis=1) for p in parts])
            same(sums, other.sums, f"{name} sums")
            same(np.concatenate([p.product.output_codes for p in parts]), other.output_codes, f"{name} output codes")
        same(np.concatenate([p.activations for p in parts]), values[name], f"{name} activations")
    same(logits, values[network.nodes[-1]["name"]], "logits")
    same(pcmref.logits(snapshot, images, **options), logits, "logits without a tap")


def package_readout(readout):
    return pcmref.Readout(
        name="second",
        dac_bits=readout.dac_bits,
        adc_bits=readout.adc_bits,
        tile_rows=readout.tile_rows,
        read_noise="fresh" if readout.fresh else "frozen",
        ranges=readout.ranges and {k: Range(input_top=i, sum_top_us=s) for k, (i, s) in readout.ranges.items()},
    )


def check(pair, *, model=DEFAULT, scale="layer", seed=0, t=DAY, read=0, share=0.0, readout=second.PAPER,
          compensation="none", gdc="absolute", calibrated=0, count=9, addresses=None):  # fmt: skip
    """Run one chip in both implementations: snapshot, corrections, ranges of the converters, inference."""
    ours, network = pair
    package_model = replace(pcmref.MODELS[model], nonconverged_share=share)
    package_chip = pcmref.program(ours, model=package_model, seed=seed, scale=scale)
    chip = second.Chip(network, second.MODELS[model], seed, scale, share)
    same_devices(package_chip, chip)
    snapshot, codes = package_chip.at(t, read=read), chip.at(t, read)
    same_snapshots(snapshot, codes)

    package = package_readout(readout)
    if calibrated:
        images = network.images["calibration"][:calibrated]
        readout = readout._replace(ranges=second.ranges(network, chip.model, scale, images, readout.tile_rows))
        package = pcmref.calibrate_ranges(ours, images, package, model=package_model, scale=scale)
        assert package.ranges == package_readout(readout).ranges

    gains = statistics = None
    corrections = pcmref.calibrate(
        snapshot,
        compensation,
        reference=package_chip.reference(),
        images=network.images["calibration"],
        readout=package,
        gdc_readout=gdc,
    )
    if "gdc" in compensation:
        gains = second.gdc(chip.reference(), codes, gdc)
        for name, gain in gains.items():
            same(corrections.gain[name], np.atleast_1d(gain), f"{name} gain")
    if "adabs" in compensation:
        images = network.images["calibration"]
        statistics = second.adabs(network, codes, images, readout, seed=seed, t=t, read=read, gains=gains)
        assert corrections.statistics.keys() == statistics.keys()
        for name, (mean, var) in statistics.items():
            same(corrections.statistics[name].mean, mean, f"{name} mean")
            same(corrections.statistics[name].var, var, f"{name} variance")

    images = network.images["evaluation"][:count]
    values, products = second.run(
        network, codes, network.activation(images), readout,
        seed=seed, t=t, read=read, gains=gains, statistics=statistics, addresses=addresses,
    )  # fmt: skip
    same_inference(
        network, snapshot, images, values, products,
        corrections=corrections, readout=package, addresses=addresses,
    )  # fmt: skip


EDGES = ((0, DAY, 0), (2**32 + 1, 5.2e-7 * 2, 1), (2**64 - 1, 1e12, 2**32 - 1), (2020, 27.36, 5))


@pytest.mark.parametrize("scale", ["layer", "column"])
@pytest.mark.parametrize("model", second.MODELS)
def test_snapshots(networks, model, scale):
    for name, (seed, t, read) in product(("digits", "small"), EDGES):
        if name == "digits" and seed != EDGES[1][0]:
            continue
        ours, network = networks[name]
        package = pcmref.program(ours, model=pcmref.MODELS[model], seed=seed, scale=scale)
        chip = second.Chip(network, second.MODELS[model], seed, scale)
        same_devices(package, chip)
        same_snapshots(package.at(t, read=read), chip.at(t, read))
        same_snapshots(package.reference(), chip.reference())


@pytest.mark.parametrize("share", [1e-3, 0.3, 1.0])
@pytest.mark.parametrize("model", second.MODELS)
def test_devices_that_did_not_converge(networks, model, share):
    check(networks["small"], model=model, share=share, seed=2**40, count=2)


PAPER, CHIP8 = second.PAPER, second.CHIP8
HUGE = (*(2**32 * k + 7 * k for k in range(8)), 2**64 - 1)


@pytest.mark.parametrize("network", ["digits", "small"])
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"compensation": "gdc", "seed": 2**63 + 5, "t": 3600.0, "read": 2},
        {"compensation": "gdc", "gdc": "ones", "model": "HERMES_2", "scale": "column"},
        {"compensation": "gdc", "gdc": "column", "model": "AIHWKIT", "t": 3.0},
        {"compensation": "adabs", "model": "JOSHI_2020", "read": 1},
        {"compensation": "gdc+adabs", "t": 31_536_000, "scale": "column"},
        {"readout": CHIP8, "calibrated": 40},
        {"readout": CHIP8, "calibrated": 3, "model": "HERMES_1", "scale": "column", "compensation": "gdc"},
        {"readout": CHIP8, "calibrated": 20, "compensation": "gdc+adabs", "gdc": "column", "seed": 9, "read": 4},
        {"readout": CHIP8, "calibrated": 7, "addresses": HUGE, "seed": 2**33, "t": 1e8},
        {"readout": PAPER._replace(fresh=True), "addresses": HUGE[::-1], "compensation": "gdc"},
        {"readout": CHIP8._replace(tile_rows=13, fresh=False), "calibrated": 10},
        {"readout": CHIP8._replace(adc_bits=None, tile_rows=100), "calibrated": 5},
    ],
    ids=lambda case: ", ".join(f"{k}={v}" for k, v in case.items() if k not in ("readout", "addresses")) or "default",
)
def test_inference(networks, network, case):
    check(networks[network], **case)


@pytest.mark.parametrize("bits", range(2, 17))
def test_bits_of_converters(networks, bits):
    """Every DAC, with and without ranges; every third with an ADC of 2 to 24 bits; tiles of 1 to 29 rows."""
    readout = second.Readout(dac_bits=bits, tile_rows=2 * bits - 3, fresh=bits % 2 == 0)
    check(networks["small"], readout=readout, seed=bits, count=4)
    adc = (bits - 2) * 22 // 14 + 2
    check(networks["small"], readout=readout._replace(adc_bits=adc), calibrated=6, seed=bits, count=4)


def test_signs_of_zero(networks):
    check(networks["zeros"])
    _, network = networks["zeros"]
    codes = second.ideal_chip(network, second.MODELS[DEFAULT])
    values, _ = second.run(network, codes, network.activation(network.images["evaluation"]))
    assert [np.signbit(values[n]).all() for n in ("norm", "sum", "mean", "pool", "relu")] == [True] * 3 + [False] * 2


def test_ranges_by_hand(networks):
    """Ranges that clip everything, and the smallest that count."""
    names = networks["small"][1].address
    for top, total in ((1e-3, 1e-6), (1e-30, 1.0), (1e6, 1e9)):
        ranges = dict.fromkeys(names, (top, total))
        for adc_bits in (None, 8):
            readout = second.Readout(dac_bits=9, adc_bits=adc_bits, tile_rows=10, fresh=True, ranges=ranges)
            check(networks["small"], readout=readout, count=3)
