"""The package equals `second.py`, which was written from SPEC.md alone, in every code, sum and activation."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import product

import h5py
import numpy as np
import pytest

import pcmref
from pcmref.arithmetic.codes import ROUNDINGS, Range
from pcmref.files.networks import OPERATIONS
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.layers import BatchNorm, Conv, Linear
from pcmref.network.operations import (
    Add,
    Affine,
    AveragePool,
    ChannelShuffle,
    Clip,
    Concat,
    Flatten,
    GlobalAveragePool,
    HardSigmoid,
    LeakyRelu,
    LocalResponseNorm,
    MaxPool,
    Multiply,
    PadShortcut,
    Relu,
    Sigmoid,
    TakeChannels,
    Tanh,
)
from tests.helpers import second

pytestmark = pytest.mark.filterwarnings("ignore::pcmref.PcmrefWarning")  # GDC of a layer of zeros

DEFAULT = "NANDAKUMAR_2019"
DAY = 86_400.0


def small_network():
    """Every operation, odd sizes, nine crossbar layers: with bias and without, of zeros, with pixels not read.

    The widest layer is a digital one.
    """
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
    gate = (
        Conv(
            name="g", inputs=("input",), weight=numbers(6, 1, 3, 2), bias=numbers(6),
            stride=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2), groups=3,
        ),
        Affine(name="g.affine", inputs=("g",), scale=numbers(6), shift=numbers(6)),
        LeakyRelu(name="leaky", inputs=("g.affine",), slope=0.1),
        ChannelShuffle(name="shuffle", inputs=("leaky",), groups=2),
        AveragePool(
            name="average", inputs=("shuffle",),
            kernel=(2, 3), stride=2, padding=(0, 1, 1, 0), ceil=True, count_padding=True,
        ),
        Conv(
            name="digital", inputs=("average",),
            weight=numbers(10, 3, 1, 2), bias=numbers(10), groups=2, digital=True,
        ),
        Tanh(name="tanh", inputs=("digital",)),
        Conv(name="h", inputs=("digital",), weight=numbers(5, 2, 3, 1), padding=(1, 0, 1, 0), groups=5),
        Concat(name="both", inputs=("tanh", "h")),
        LocalResponseNorm(name="lrn", inputs=("both",), size=4, alpha=0.3, beta=0.75, bias=1.0),
        Sigmoid(name="sigmoid", inputs=("lrn",)),
        MaxPool(
            name="pool3", inputs=("sigmoid",),
            kernel=2, stride=(2, 1), padding=(0, 0, 1, 0), dilation=(2, 1), ceil=True,
        ),
        Flatten(name="flat", inputs=("pool3",)),
        Linear(name="flat.digital", inputs=("flat",), weight=numbers(7, 30), bias=numbers(7), digital=True),
        Clip(name="clip", inputs=("flat.digital",), low=-3.0, high=0.5),
        HardSigmoid(name="gate", inputs=("clip",), slope=1 / 6, offset=0.5),
        Multiply(name="gated", inputs=("sum4.relu", "gate")),
    )  # fmt: skip
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
            *gate,
            TakeChannels(name="some", inputs=("gated",), first=1, count=5),
            PadShortcut(name="wide", inputs=("some",), after=4, before=2),
            GlobalAveragePool(name="mean", inputs=("wide",)),
            Linear(name="e", inputs=("mean",), weight=numbers(9, 11), bias=numbers(9)),
            norm("e.norm", "e", 9),
            Relu(name="e.relu", inputs=("e.norm",)),
            Add(name="twice", inputs=("e.relu", "e.relu")),
            TakeChannels(name="last", inputs=("twice",), first=5, count=4),
            TakeChannels(name="first", inputs=("twice",), first=0, count=5),
            Concat(name="turned", inputs=("last", "first")),
            Linear(name="f", inputs=("turned",), weight=numbers(4, 9)),
        ),
        input_shape=(13, 7, 3),
        normalisation=Normalisation(full_scale=256.0, mean=(0.0, 0.25, 0.5), std=(1.5, 1.25, 1.3)),
        classes=("a", "b", "c", "d"),
        evaluation=Samples(images=images[400:], labels=labels[400:]),
        calibration=Samples(images=images[:400], labels=labels[:400]),
    )


def network_of_zeros():
    """A batch normalisation that gives -0 everywhere, and what may take it."""
    zeros, ones, unit = np.zeros(2, np.float32), np.ones(2, np.float32), np.eye(2, dtype=np.float32)
    takers = (
        Affine(name="affine", inputs=("norm",), scale=ones, shift=-zeros),
        LeakyRelu(name="leaky", inputs=("norm",), slope=0.5),
        Clip(name="clip", inputs=("norm",), low=0.0, high=0.0),
        HardSigmoid(name="hard", inputs=("norm",), slope=1.0, offset=-0.0),
        Tanh(name="tanh", inputs=("norm",)),
        LocalResponseNorm(name="lrn", inputs=("norm",), size=2, alpha=1.0, beta=1.0, bias=1.0),
        Multiply(name="product", inputs=("norm", "relu")),
        AveragePool(name="average", inputs=("norm",), kernel=1, stride=1),
        Conv(name="digital", inputs=("norm",), weight=unit[:, :, None, None], bias=-zeros, digital=True),
    )
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
            *takers,
            Concat(name="all", inputs=tuple(layer.name for layer in takers)),
            Flatten(name="flat", inputs=("all",)),
            Linear(name="last", inputs=("flat",), weight=np.ones((2, 162), np.float32), digital=True),
            Add(name="sum4", inputs=("sum3", "last")),
        ),
        input_shape=(3, 3, 1),
        normalisation=Normalisation(full_scale=1.0, mean=(0.0,), std=(1.0,)),
        classes=("a", "b"),
        evaluation=Samples(images=np.ones((3, 3, 3, 1), np.uint8), labels=np.zeros(3, np.int64)),
        calibration=Samples(images=np.ones((1, 3, 3, 1), np.uint8), labels=np.zeros(1, np.int64)),
    )


def test_every_operation_is_compared():
    assert {layer.op for layer in small_network().layers} == set(OPERATIONS)


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
        for sign in range(2):
            same(layer.g_mean_code[sign], other.mean[sign], f"{layer.name} mean, {sign}")
            same(layer.g_read_code[sign], other.read[sign], f"{layer.name} read, {sign}")
            same(layer.g_variance_code[sign], other.V[sign], f"{layer.name} variance, {sign}")
        same(layer.mean_code, other.m, f"{layer.name} m")
        same(layer.read_code, other.r, f"{layer.name} r")
        same(layer.variance_code, other.V_of_pairs, f"{layer.name} V")
        same(layer.weight_per_us, other.weight_per_us, f"{layer.name} weight of a uS")


def same_devices(package, chip):
    """Compare what programming decided, float by float."""
    for layer in package.layers:
        devices = chip.layers[layer.name][0]
        same(layer.shape, devices[0][0].shape, layer.name)
        for position, values in enumerate((layer.state.g_prog_us, layer.state.nu, layer.state.q_s)):
            both = np.stack([devices[0][position], devices[1][position]])
            same(values, both.reshape(-1)[layer.state.device], f"{layer.name} device number {position}")


def same_inference(network, snapshot, images, values, products, dac_offset, **options):
    """Compare every stage of every layer, then the logits without a tap."""
    traces = {}
    logits = pcmref.logits(snapshot, images, tap=lambda t: traces.setdefault(t.layer, []).append(t), **options)
    for node in network.nodes:
        name, parts = node["name"], traces[node["name"]]
        if name in products:
            same_products(node, network, [p.product for p in parts], products[name], dac_offset)
        same(np.concatenate([p.activations for p in parts]), values[name], f"{name} activations")
    same(logits, values[network.nodes[-1]["name"]], "logits")
    same(pcmref.logits(snapshot, images, **options), logits, "logits without a tap")


def same_products(node, network, ours, other, dac_offset):
    """Compare what a layer drives its rows with, every stage of every conversion, and what it puts out."""
    name, (top, left, bottom, right) = node["name"], second.each(node.get("padding", 0), 4)
    channels, sides = other.input_codes.shape[-1], ((0, 0), (top, bottom), (left, right), (0, 0))
    driven = np.pad(other.input_codes, sides) + dac_offset
    codes = np.concatenate([product.input_codes for product in ours])
    same(codes[..., :channels], driven, f"{name} what drives its rows")
    if "bias" in network.tensors[name]:
        same(codes[:, 0, 0, channels], other.bias_codes + dac_offset, f"{name} what drives its bias")
    same(np.concatenate([product.input_step for product in ours]), other.step, f"{name} step")
    made = [[part for tile in product.tiles for part in tile.parts or (tile,)] for product in ours]
    assert {len(parts) for parts in made} == {len(other.conversions)}
    for number, conversion in enumerate(other.conversions):
        stages = {"noise_free": "exact", "variance": "spread", "sums": "sums", "codes": "digits"}
        for stage, letter in stages.items():
            if (values := getattr(conversion, letter)) is not None:
                found = np.concatenate([getattr(parts[number], stage) for parts in made])
                same(found, values, f"{name} {stage}, conversion {number}")
    same(np.concatenate([product.output_codes for product in ours]), other.output_codes, f"{name} output codes")


def package_adc(adc):
    def gain(value):
        return pcmref.FixedPoint(*value) if isinstance(value, second.Fixed) else value

    gains = [gain(one) for one in adc.gain] if isinstance(adc.gain, list) else gain(adc.gain)
    return pcmref.Adc(**adc._asdict() | {"gain": gains})


def package_readout(readout):
    dac, adc, tile_rows, tile_columns, lines, register, fresh, ranges, measured = readout
    return pcmref.Readout(
        name="second",
        dac=pcmref.Dac(**dac._asdict()),
        adc=adc and package_adc(adc),
        tile_rows=tile_rows,
        tile_columns=tile_columns,
        lines=lines,
        accumulator=register and pcmref.Accumulator(**register._asdict()),
        read_noise="fresh" if fresh else "frozen",
        ranges=ranges and {k: Range(input_top=i, sum_top_us=s) for k, (i, s) in ranges.items()},
        measured=measured and {k: tuple(package_adc(one) for one in adcs) for k, adcs in measured.items()},
    )


def plain_ranges(ranges):
    """The same with one number for groups whose sum_top is one, as files have it."""
    tops = {name: (top.input_top, np.atleast_1d(top.sum_top_us).tolist()) for name, top in ranges.items()}
    return {name: (i, s[0] if len(set(s)) == 1 else s) for name, (i, s) in tops.items()}


def refused(action, *others):
    """Whether the text refuses what `action` does; then the package refuses all that `others` do."""
    try:
        action()
    except second.Refused:
        for other in others:
            with pytest.raises(pcmref.PcmrefError):
                other()
        return True
    return False


def check(pair, *, model=DEFAULT, scale="layer", seed=0, t=DAY, read=0, share=0.0, readout=second.PAPER,
          compensation="none", gdc="absolute", calibrated=0, count=9, addresses=None, significance=(1,)):  # fmt: skip
    """Run one chip in both implementations: snapshot, corrections, ranges of the converters, inference.

    Return the products of all layers; None where both refuse the readout.
    """
    ours, network = pair
    package_model = replace(pcmref.MODELS[model], nonconverged_share=share)
    package_chip = pcmref.program(ours, model=package_model, seed=seed, scale=scale, significance=significance)
    chip = second.Chip(network, second.MODELS[model], seed, scale, share, significance)
    same_devices(package_chip, chip)
    snapshot, codes = package_chip.at(t, read=read), chip.at(t, read)
    same_snapshots(snapshot, codes)

    package = package_readout(readout)
    if calibrated:
        images = network.images["calibration"][:calibrated]

        def calibrate():
            return pcmref.calibrate_ranges(ours, images, package, model=package_model, scale=scale)

        found = {}
        if refused(lambda: found.update(second.ranges(network, chip.model, scale, images, readout)), calibrate):
            return None
        readout = readout._replace(ranges=found)
        package = calibrate()
        assert plain_ranges(package.ranges) == plain_ranges(package_readout(readout).ranges)

    gains = statistics = None
    corrections = pcmref.calibrate(
        snapshot,
        compensation,
        reference=package_chip.reference(),
        images=network.images.get("calibration"),
        readout=package,
        gdc_readout=gdc,
    )
    if "gdc" in compensation:
        gains = second.gdc(chip.reference(), codes, gdc)
        for name, gain in gains.items():
            same(corrections.gain[name], np.atleast_1d(gain), f"{name} gain")
    if "adabs" in compensation:
        images = network.images["calibration"]
        statistics = second.adabs(
            network, codes, images, readout, seed=seed, t=t, read=read, gains=gains, significance=significance
        )
        assert corrections.statistics.keys() == statistics.keys()
        for name, (mean, var) in statistics.items():
            same(corrections.statistics[name].mean, mean, f"{name} mean")
            same(corrections.statistics[name].var, var, f"{name} variance")

    images, found = network.images["evaluation"][:count], []
    options = {"corrections": corrections, "readout": package, "addresses": addresses}

    def infer():
        made = second.run(
            network, codes, network.activation(images), readout,
            seed=seed, t=t, read=read, gains=gains, statistics=statistics, addresses=addresses,
            significance=significance,
        )  # fmt: skip
        found.extend(made)

    if refused(
        infer,
        lambda: pcmref.logits(snapshot, images, **options),
        lambda: pcmref.logits(snapshot, images, tap=lambda trace: None, **options),
    ):
        return None
    same_inference(network, snapshot, images, *found, second.dac_limits(readout.dac)[2], **options)
    return found[1]


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


PAPER, CHIP8, RTL8 = second.PAPER, second.CHIP8, second.RTL8
SERIAL = second.Readout(
    dac=second.Dac(3, "offset", "bit-serial"), adc=second.Adc(6, 0, 63, "half-up"), tile_rows=40, tile_columns=4,
    lines="separate", register=second.Register(18, "saturate"), fresh=True,
)  # fmt: skip
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
        {"readout": CHIP8._replace(adc=None, tile_rows=100), "calibrated": 5},
        {"readout": RTL8, "calibrated": 6},
    ],
    ids=lambda case: ", ".join(f"{k}={v}" for k, v in case.items() if k not in ("readout", "addresses")) or "default",
)
def test_inference(networks, network, case):
    check(networks[network], **case)


@pytest.mark.parametrize(
    "case",
    [
        {"readout": RTL8._replace(tile_rows=20, tile_columns=3), "calibrated": 6, "compensation": "gdc+adabs"},
        {"readout": SERIAL, "calibrated": 5, "compensation": "adabs", "seed": 3, "t": 50.0},
        {"readout": CHIP8, "calibrated": 5, "compensation": "gdc+adabs", "significance": (3, 1), "gdc": "column"},
    ],
    ids=["columns in groups", "phases and lines", "slices"],
)
def test_corrections_with_other_readouts(networks, case):
    check(networks["small"], **case)


@pytest.mark.parametrize("bits", range(2, 17))
def test_bits_of_converters(networks, bits):
    """Every DAC, with and without ranges; every third with an ADC of 2 to 24 bits; tiles of 1 to 29 rows."""
    readout = second.Readout(second.Dac(bits), tile_rows=2 * bits - 3, fresh=bits % 2 == 0)
    check(networks["small"], readout=readout, seed=bits, count=4)
    adc = second.Adc((bits - 2) * 22 // 14 + 2)
    check(networks["small"], readout=readout._replace(adc=adc), calibrated=6, seed=bits, count=4)


def test_signs_of_zero(networks):
    check(networks["zeros"])
    _, network = networks["zeros"]
    codes = second.ideal_chip(network, second.MODELS[DEFAULT])
    values, _ = second.run(network, codes, network.activation(network.images["evaluation"]))
    positive = {"a", "pool", "relu", "mean2", "mean3", "average", "digital", "last"} | {"sum2", "sum3", "sum4"}
    assert not any(np.signbit(values[name]).any() for name in positive)
    assert all(np.signbit(values[name]).all() for name in values.keys() - positive - {"input", "all", "flat"})


@pytest.mark.parametrize("kind", [Affine, Clip, HardSigmoid, LeakyRelu, LocalResponseNorm, Sigmoid, Tanh])
def test_operations_of_many_numbers(tmp_path, kind):
    """Of every size from 2^-60 to 2^30 and many a slope, limit and exponent; a size in 8 is one around 1."""
    rng = np.random.default_rng(11)

    def number():
        return float(rng.choice([-1, 1]) * 2.0 ** rng.uniform(-8, 3))

    def settings():
        low, high = sorted((number(), number()))
        tensors = {name: rng.normal(0, 1, channels).astype(np.float32) for name in ("scale", "shift")}
        norm = {"size": int(rng.integers(1, 9)), "alpha": abs(number()), "beta": max(number(), -1.0)}
        drawn = {
            Affine: tensors,
            Clip: {"low": low, "high": high},
            HardSigmoid: {"slope": number(), "offset": number()},
            LeakyRelu: {"slope": number()},
            LocalResponseNorm: {**norm, "bias": abs(number())},
        }
        return drawn.get(kind, {})

    images, channels = 8, 512
    sizes = np.where(rng.random(channels) < 1 / 8, rng.uniform(-13, 5, channels), rng.uniform(-60, 30, channels))
    scale, shift = np.exp2(sizes).astype(np.float32), np.zeros(channels, np.float32)
    layers = [Affine(name="sizes", inputs=("input",), scale=scale, shift=shift)]
    layers += [kind(name=f"{n}", inputs=("sizes",), **settings()) for n in range(10)]
    layers.append(Conv(name="a", inputs=("0",), weight=np.ones((1, channels, 1, 1), np.float32)))
    samples = Samples(
        images=rng.integers(0, 256, (images, 1, 1, channels)).astype(np.uint8), labels=np.zeros(images, np.int64)
    )
    network = Network(
        layers=(*layers, GlobalAveragePool(name="last", inputs=("9",))),
        input_shape=(1, 1, channels),
        normalisation=Normalisation(full_scale=256.0, mean=(0.5,) * channels, std=(0.25,) * channels),
        classes=tuple(f"{n}" for n in range(channels)),
        evaluation=samples,
        calibration=samples,
    )
    pcmref.save(tmp_path / "many.h5", network)
    check((pcmref.load(tmp_path / "many.h5"), second.Network(tmp_path / "many.h5")), count=images)


def test_sums_in_order(tmp_path):
    """Sums of numbers from 2^-102 to 2^17, which another order would round otherwise."""
    rng = np.random.default_rng(14)

    def numbers(*shape):
        return rng.normal(0, 0.4, shape).astype(np.float32)

    network = Network(
        layers=(
            LocalResponseNorm(name="powers", inputs=("input",), size=1, alpha=1.0, beta=-8.0, bias=2.0**-100),
            AveragePool(name="mean3", inputs=("powers",), kernel=3, stride=1, padding=(1, 0, 2, 1)),
            AveragePool(name="mean4", inputs=("mean3",), kernel=4, stride=2, ceil=True, count_padding=True),
            LocalResponseNorm(name="norm", inputs=("powers",), size=6, alpha=1.0, beta=0.5, bias=2.0**-100),
            Conv(name="conv", inputs=("powers",), weight=numbers(4, 4, 3, 2), bias=numbers(4), groups=2, digital=True),
            Flatten(name="flat", inputs=("powers",)),
            Linear(name="linear", inputs=("flat",), weight=numbers(8, 240), digital=True),
            GlobalAveragePool(name="mean", inputs=("powers",)),
            Add(name="sum", inputs=("linear", "mean")),
        ),
        input_shape=(6, 5, 8),
        normalisation=Normalisation(full_scale=256.0, mean=(0.5,) * 8, std=(0.25,) * 8),
        classes=tuple(f"{n}" for n in range(8)),
        evaluation=Samples(images=rng.integers(0, 256, (20, 6, 5, 8)).astype(np.uint8), labels=np.zeros(20, np.int64)),
    )
    pcmref.save(tmp_path / "sums.h5", network)
    check((pcmref.load(tmp_path / "sums.h5"), second.Network(tmp_path / "sums.h5")), count=20)


@pytest.mark.parametrize("kind", [Conv, MaxPool, AveragePool])
def test_windows_that_an_input_does_not_have_are_refused(kind):
    """Windows of any settings have one shape in both implementations, or are refused by both."""
    rng, made = np.random.default_rng(12), {False: 0, True: 0}

    def sizes(count, least, most):
        return [int(size) for size in rng.integers(least, most + 1, count)]

    for _ in range(2000):
        height, width = sizes(2, 1, 7)
        node = {"stride": sizes(2, 1, 4), "padding": sizes(4, 0, 4), "dilation": sizes(2, 1, 3)}
        kernel, ceil = sizes(2, 1, 4), bool(rng.integers(2))
        if kind is AveragePool:
            del node["dilation"]
        if kind is Conv:
            settings = {**node, "weight": np.ones((1, 1, *kernel), np.float32)}
        else:
            settings = node = {**node, "kernel": kernel, "ceil": ceil}
        x, found = np.zeros((1, height, width, 1), np.float32), []

        def there(node=node, kernel=kernel, x=x, found=found):
            windows = second.windows_of(node, kernel, x) if kind is Conv else second.windows_of_pool(node, x)
            found.extend((len(windows.rows), len(windows.columns), 1))

        def here(settings=settings, shape=(height, width, 1)):
            return kind(name="a", inputs=("input",), **settings).shape_after(shape)

        made[refused(there, here)] += 1
        if found:
            assert here() == tuple(found), node
    assert min(made.values()) > 200


def in_more_words(node, rng):
    """A node of a graph that says what it need not, with lists for equal numbers and integers for whole floats."""
    defaults = second.DEFAULTS.get(node["op"], {})
    said = {name: value for name, value in defaults.items() if rng.random() < 0.5} | node
    for name, value in said.items():
        if name in second.FLOATS and float(value).is_integer():
            said[name] = int(value)
        windowed = name in ("kernel", "stride", "padding", "dilation") and node["op"] != "pad_shortcut"
        if windowed and not isinstance(value, list) and rng.random() < 0.5:
            said[name] = [value] * (4 if name == "padding" else 2)
    return said


def rewritten(file, rng):
    """The same network in other words, without a digest of the file."""
    with h5py.File(file, "r+") as stored:
        graph = json.loads(stored["graph"][()])
        graph["nodes"] = [in_more_words(node, rng) for node in graph["nodes"]]
        del stored["graph"], stored.attrs["digest"]
        stored["graph"] = np.bytes_(json.dumps(graph))


def test_digests_are_those_of_networks_in_whatever_words(tmp_path):
    rng = np.random.default_rng(13)
    for number, network in enumerate([small_network(), *(random_case(seed)[0] for seed in range(20))]):
        file = tmp_path / f"{number}.h5"
        pcmref.save(file, network)
        digest = second.Network(file).digest()
        assert network.digest == pcmref.load(file).digest == digest
        before = second.Network(file).nodes
        rewritten(file, rng)
        assert second.Network(file).nodes != before
        assert pcmref.load(file).digest == second.Network(file).digest() == digest
    check((pcmref.load(tmp_path / "0.h5"), second.Network(tmp_path / "0.h5")), count=2)


def test_ranges_by_hand(networks):
    """Ranges that clip everything, and the smallest that count."""
    names = networks["small"][1].address
    for top, total in ((1e-3, 1e-6), (1e-30, 1.0), (1e6, 1e9)):
        ranges = dict.fromkeys(names, (top, total))
        for adc in (None, second.Adc(8)):
            readout = second.Readout(second.Dac(9), adc, tile_rows=10, fresh=True, ranges=ranges)
            check(networks["small"], readout=readout, count=3)


@pytest.fixture(scope="module")
def ranged(tmp_path_factory):
    """A network with ranges for two presets that can have some, and one that cannot be."""
    file, network = tmp_path_factory.mktemp("second") / "ranged.h5", small_network()
    names = [layer.name for layer in network.crossbar_layers]
    tops = {
        preset: {name: Range(input_top=0.3 + i, sum_top_us=first + i / 7) for i, name in enumerate(names)}
        for preset, first in (("else", 1.0), ("rtl8", 30.0), ("chip8", 40.0))
    }
    pcmref.save(file, replace(network, ranges=tops))
    return pcmref.load(file), second.Network(file)


OTHER = second.Readout(
    second.Dac(5), second.Adc(6, -7, 30, gain_bits=9), 256, 64, register=second.Register(30, "wrap"), fresh=True
)


@pytest.mark.parametrize("model", ["NANDAKUMAR_2019", "HERMES_2"])
@pytest.mark.parametrize("readout", [CHIP8, RTL8, RTL8._replace(tile_columns=9, fresh=True), OTHER])
def test_stored_ranges_serve_what_differs_in_bits_adc_register_and_read_noise(ranged, readout, model):
    ours, network = ranged
    assert max(layer.columns for layer in ours.crossbar_layers) == 9
    found = second.stored(network, readout, "layer", second.MODELS[model].g_max)
    package = pcmref.with_stored_ranges(ours, package_readout(readout), model=pcmref.MODELS[model])
    assert plain_ranges(package.ranges) == found
    check(ranged, readout=readout._replace(ranges=found), model=model, count=2)


@pytest.mark.parametrize(
    "change",
    [
        {"tile_rows": 255},
        {"tile_columns": 8},
        {"lines": "separate"},
        {"dac": second.Dac(8, "signed")},
        {"dac": second.Dac(8, drive="two-phase")},
        {},
    ],
    ids=lambda change: " ".join(change) or "scale",
)
def test_stored_ranges_serve_no_other_readout(ranged, change):
    ours, network = ranged
    readout, scale = CHIP8._replace(**change), "layer" if change else "column"
    assert second.stored(network, readout, scale, 25.0) is None
    with pytest.raises(pcmref.PcmrefError, match="stored ranges that fit"):
        pcmref.with_stored_ranges(ours, package_readout(readout), scale=scale)


@pytest.mark.parametrize("lines", ["pair", "separate"])
@pytest.mark.parametrize(
    ("codes", "drive"), [("signed", "two-phase"), ("offset", "bit-serial"), ("unsigned", "parallel")]
)
def test_lines_and_phases_change_nothing_where_sums_are_exact(networks, codes, drive, lines):
    dac = second.Dac(6, codes)
    plain = check(networks["small"], readout=second.Readout(dac), count=3)
    other = check(networks["small"], readout=second.Readout(dac._replace(drive=drive), None, 5, lines=lines), count=3)
    for name, made in plain.items():
        assert len(other[name].conversions) > len(made.conversions)
        same(other[name].output_codes, made.output_codes, name)


def test_units_that_are_too_small_are_refused(networks):
    ranges = dict.fromkeys(networks["small"][1].address, (1.0, 2.0**-120))
    assert check(networks["small"], readout=second.Readout(adc=second.Adc(8), ranges=ranges), count=1) is None


@pytest.mark.parametrize("gain", [0.999, 0.87, 0.5])
def test_fixed_point_gains_whose_multiplier_is_rounded_up_to_a_power_of_two(networks, gain):
    """With 3 bits, 0.999 and nothing else of these; 0.5 is such a power itself."""
    step = float(np.float32(1) / np.float32(7))
    sum_top = 127 * step * second.STEP_US / (gain * 2.0**-11)
    ranges = dict.fromkeys(networks["small"][1].address, (1.0, sum_top))
    adc = second.Adc(8, gain_bits=3)
    assert second.nearest_fixed(gain * 2.0**-11, adc).mult == {0.999: 4, 0.87: 7, 0.5: 4}[gain]
    check(networks["small"], readout=second.Readout(second.Dac(4), adc, ranges=ranges), count=2)


@pytest.mark.parametrize("adc", [None, second.Adc(12, gain=2.0**-5)], ids=["sums", "ADC"])
def test_a_register_refuses_sums_of_an_input_of_zeros_as_those_of_products(tmp_path, adc):
    """Images of the most negative input drive their rows with 1, an input of zeros would with 8."""
    layer = Linear(name="a", inputs=("mean",), weight=np.array([[1.0, 0.25], [-0.5, -0.75]], np.float32))
    dark = Samples(images=np.zeros((2, 1, 1, 2), np.uint8), labels=np.zeros(2, np.int64))
    network = Network(
        layers=(GlobalAveragePool(name="mean", inputs=("input",)), layer),
        input_shape=(1, 1, 2),
        normalisation=Normalisation(full_scale=1.0, mean=(1.0, 1.0), std=(1.0, 1.0)),
        classes=("a", "b"),
        evaluation=dark,
        calibration=dark,
    )
    pcmref.save(tmp_path / "one.h5", network)
    pair = pcmref.load(tmp_path / "one.h5"), second.Network(tmp_path / "one.h5")
    readout = second.Readout(
        second.Dac(4, "offset"), adc, register=second.Register(16, "error"), ranges={"a": (1.0, 1.0)}
    )
    wide = readout._replace(register=second.Register(20, "error"))
    (one,) = check(pair, readout=wide)["a"].conversions
    assert np.abs(one.exact).max() < 2**15 < 8 * np.abs(one.exact).min()  # the products alone would fit
    assert check(pair, readout=readout) is None
    assert check(pair, readout=readout._replace(register=second.Register(12, "error"))) is None


@pytest.mark.parametrize("readout", [CHIP8._replace(tile_rows=9), SERIAL, PAPER], ids=["pairs", "lines", "frozen"])
def test_devices_that_were_measured(networks, readout):
    """Any codes of conductance and variance, those whose pairs saturate among them."""
    ours, network = networks["small"]
    rng = np.random.default_rng(8)
    package, codes = pcmref.program(ours).at(DAY), {}
    layers = []
    for layer in package.layers:
        mean, read, variance = rng.integers(0, 32768, (3, *layer.g_mean_code.shape)).astype(np.int16)
        layers.append(replace(layer, g_mean_code=mean, g_read_code=read, g_variance_code=variance))
        lines = [tuple(one.astype(np.int64)) for one in (mean, read, variance)]
        codes[layer.name] = second.Codes(*lines, layer.weight_per_us)
    snapshot = replace(package, layers=tuple(layers))
    same_snapshots(snapshot, codes)
    assert max(one.V_of_pairs.max() for one in codes.values()) == 32767
    if readout is not PAPER:
        readout = readout._replace(ranges=dict.fromkeys(codes, (1.5, 60.0)))
    images = network.images["evaluation"][:3]
    made = second.run(network, codes, network.activation(images), readout, t=DAY)
    offset = second.dac_limits(readout.dac)[2]
    same_inference(network, snapshot, images, *made, offset, readout=package_readout(readout))


@pytest.mark.parametrize("gain", [second.Fixed(1, 1), second.Fixed(3, 2), 0.5, 0.75])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_ties(networks, rounding, gain):
    """Gains at which every second or fourth sum is a tie, with codes that hold nearly all of them, of either sign."""
    adc = second.Adc(24, rounding=rounding, gain=gain, offset=3)
    ranges = dict.fromkeys(networks["small"][1].address, (1.0, 1.0))
    products = check(networks["small"], readout=second.Readout(second.Dac(4), adc, ranges=ranges), count=2)
    exact = [second.value_of(gain) * (one.sums + 3) for made in products.values() for one in made.conversions]
    ties = np.concatenate([v[(v % 1 == 0.5) & (np.abs(v) < 2**23 - 1)] for v in exact])
    assert min((ties > 0).sum(), (ties < 0).sum()) > 100


# Random networks, read in random ways


def divisors(number):
    return [n for n in range(1, number + 1) if number % n == 0]


class RandomLayers:
    """Nodes that are drawn one after the other, each with settings that its inputs can have."""

    def __init__(self, rng):
        self.rng = rng
        self.alike = self.whole(1, 19) if self.chance(0.6) else None  # columns of every crossbar layer
        self.shapes = {"input": (self.whole(1, 6), self.whole(1, 6), self.whole(1, 4))}
        self.layers, self.source = [], "input"

    def chance(self, share):
        return self.rng.random() < share

    def whole(self, least, most):
        return int(self.rng.integers(least, most + 1))

    def one_of(self, *values):
        return values[self.rng.integers(len(values))]

    def numbers(self, *shape):
        return self.rng.normal(0, 0.4, shape).astype(np.float32)

    def number(self, mean=0.0, spread=0.4):
        return float(self.rng.normal(mean, spread))

    def sizes(self, count, least, most):
        """One for both axes or all sides, or one for each."""
        return self.whole(least, most) if self.chance(0.5) else tuple(self.whole(least, most) for _ in range(count))

    @property
    def shape(self):
        return self.shapes[self.source]

    def add(self, kind, *inputs, **settings):
        inputs = inputs or (self.source,)
        layer = kind(name=f"{kind.op}{len(self.layers)}", inputs=inputs, **settings)
        self.shapes[layer.name] = layer.shape_after(*(self.shapes[name] for name in inputs))
        self.layers.append(layer)
        self.source = layer.name

    def add_fitting(self, kind, draw):
        """Add a node with the first settings whose windows the input has, and few enough of them."""
        for _ in range(1000):
            settings = draw()
            try:
                shape = kind(name="tried", inputs=(self.source,), **settings).shape_after(self.shape)
            except pcmref.PcmrefError:
                continue
            if shape[0] * shape[1] <= 80:
                return self.add(kind, **settings)
        raise AssertionError(f"no {kind.op} fits {self.shape}")

    def weights(self, columns, *rest):
        weight = self.numbers(columns, *rest)
        weight[self.rng.random(weight.shape) < self.one_of(0.0, 0.2, 0.9)] = 0
        return {"weight": weight, "bias": self.numbers(columns) if self.chance(0.5) else None}

    def conv(self):
        digital, channels = self.chance(0.25), self.shape[-1]
        columns = (None if digital else self.alike) or self.one_of(self.whole(1, 19), channels * self.whole(1, 2))
        groups = self.one_of(1, *(n for n in divisors(columns) if channels % n == 0))
        return {
            **self.weights(columns, channels // groups, self.whole(1, 3), self.whole(1, 3)),
            "stride": self.sizes(2, 1, 2),
            "padding": self.sizes(4, 0, 2),
            "dilation": self.sizes(2, 1, 2),
            "groups": groups,
            "digital": digital,
        }

    def max_pool(self):
        kernel, stride, padding = self.sizes(2, 1, 3), self.sizes(2, 1, 3), self.sizes(4, 0, 2)
        return {
            "kernel": kernel, "stride": stride, "padding": padding,
            "dilation": self.sizes(2, 1, 2), "ceil": self.chance(0.5),
        }  # fmt: skip

    def average_pool(self):
        kernel, stride, padding = self.sizes(2, 1, 3), self.sizes(2, 1, 3), self.sizes(4, 0, 2)
        return {
            "kernel": kernel, "stride": stride, "padding": padding,
            "count_padding": self.chance(0.5), "ceil": self.chance(0.5),
        }  # fmt: skip

    def linear(self, columns, digital=False):
        self.add(Linear, **self.weights(columns, self.shape[-1]), digital=digital)

    def activation(self):
        low, high = sorted((self.number(), self.number()))
        norm = {"size": self.whole(1, 5), "alpha": abs(self.number()), "beta": self.number(0.7), "bias": 0.5}
        kind, settings = self.one_of(
            (Relu, {}),
            (Sigmoid, {}),
            (Tanh, {}),
            (LeakyRelu, {"slope": self.number()}),
            (Clip, {"low": low, "high": high}),
            (HardSigmoid, {"slope": self.number(), "offset": self.number(0.5)}),
            (LocalResponseNorm, norm),
        )
        self.add(kind, **settings)

    def norm(self):
        channels = self.shape[-1]
        if self.chance(0.3):
            self.add(Affine, scale=self.numbers(channels), shift=self.numbers(channels))
            return
        gamma, beta, mean = self.numbers(3, channels)
        var = self.rng.uniform(0.3, 2, channels).astype(np.float32)
        self.add(BatchNorm, gamma=gamma, beta=beta, mean=mean, var=var, eps=1e-3)

    def join(self):
        """Add, multiply or concatenate what there is of a fitting shape, itself perhaps."""
        equal = [name for name, shape in self.shapes.items() if shape == self.shape]
        beside = [name for name, shape in self.shapes.items() if shape[:-1] == self.shape[:-1]]
        kind = self.one_of(Add, Multiply, Concat)
        if kind is Concat:
            others = [self.one_of(*beside) for _ in range(self.whole(1, 2))]
            if sum(self.shapes[name][-1] for name in (self.source, *others)) <= 24:
                self.add(Concat, *others, self.source)
        else:
            self.add(kind, *self.rng.permutation([self.source, self.one_of(*equal)]).tolist())

    def gate(self):
        """Multiply a map by a vector that is made of it."""
        whole, channels = self.source, self.shape[-1]
        self.add(GlobalAveragePool)
        if self.chance(0.5):
            self.linear(channels, digital=self.alike not in (None, channels) or self.chance(0.5))
        self.activation()
        self.add(Multiply, whole, self.source)

    def follow(self):
        """What may stand after a layer, of maps or vectors."""
        if self.chance(0.6):
            self.norm()
        if self.chance(0.4):
            self.join()
        if self.chance(0.7):
            self.activation()
        if self.chance(0.2):
            self.add(ChannelShuffle, groups=self.one_of(*divisors(self.shape[-1])))
        if self.chance(0.15):
            first = self.whole(0, self.shape[-1] - 1)
            self.add(TakeChannels, first=first, count=self.whole(1, self.shape[-1] - first))


def random_network(rng):
    """A few convolutions with what may follow them, a mean or a flat map, and one linear layer or two."""
    drawn = RandomLayers(rng)
    shape = drawn.shape
    for _ in range(drawn.whole(1, 3)):
        drawn.add_fitting(Conv, drawn.conv)
        drawn.follow()
        if drawn.chance(0.2):
            drawn.gate()
        if drawn.chance(0.2):
            drawn.add(PadShortcut, stride=drawn.whole(1, 2), before=drawn.whole(0, 2), after=drawn.whole(0, 2))
        if drawn.chance(0.5):
            drawn.add_fitting(*drawn.one_of((MaxPool, drawn.max_pool), (AveragePool, drawn.average_pool)))
    drawn.add(Flatten if math.prod(drawn.shape) <= 100 and drawn.chance(0.6) else GlobalAveragePool)
    if drawn.chance(0.4):
        drawn.linear(drawn.alike or drawn.whole(1, 12), digital=drawn.chance(0.5))
    if drawn.chance(0.4):
        drawn.follow()
    classes = drawn.alike or drawn.whole(2, 7)
    drawn.linear(classes)
    images = rng.integers(0, 256, (9, *shape)).astype(np.uint8)
    images[2] = 64
    labels = np.zeros(len(images), np.int64)
    return Network(
        layers=tuple(drawn.layers),
        input_shape=shape,
        normalisation=Normalisation(full_scale=256.0, mean=(0.25,) * shape[2], std=(1.5,) * shape[2]),
        classes=tuple(f"{n}" for n in range(classes)),
        evaluation=Samples(images=images[:3], labels=labels[:3]),
        calibration=Samples(images=images[3:], labels=labels[3:]),
    )


def random_readout(rng, shapes, slices):
    """Any readout for layers of these numbers of rows and columns in so many slices."""

    def one_of(*values):
        return values[rng.integers(len(values))]

    def whole(least, most):
        return int(rng.integers(least, most + 1))

    codes = one_of("symmetric", "signed", "offset", "unsigned")
    drive = one_of("parallel", "bit-serial", "parallel" if codes in ("offset", "unsigned") else "two-phase")
    dac = second.Dac(whole(2, 16 if codes == "symmetric" else 15), codes, drive)
    most_rows, most_columns = (max(sizes) for sizes in zip(*shapes.values(), strict=True))
    tile_rows, tile_columns = one_of(None, whole(1, most_rows)), one_of(None, whole(1, most_columns))
    lines = one_of("pair", "separate")
    low, high, offset = second.dac_limits(dac)
    largest = 1 if drive == "bit-serial" else max(high, -low) if codes != "offset" else high + offset
    size = 4000 * largest * math.sqrt(min(tile_rows or most_rows, most_rows))  # of many a sum
    register = None
    if rng.random() < 0.5:
        beyond = one_of("wrap", "saturate", "error")
        register = second.Register(max(2, round(math.log2(size)) + whole(3 if beyond == "error" else -3, 4)), beyond)

    def column_wise(value, columns):
        """One number, or one for each column of layers that all have as many."""
        return [value() for _ in range(columns)] if columns and rng.random() < 0.5 else value()

    def gain(adc, high):
        fitting = float(high / (size * math.exp(rng.uniform(-1, 2))))
        fine = whole(-4, -1) if adc.bits > 20 else round(math.log2(fitting))  # ties, where a gain is a power of 2
        fitting = one_of(fitting, math.ldexp(1.0, fine))
        if rng.random() < 0.5:
            return fitting if rng.random() < 0.9 else one_of(2.0**-100, 2.0**100)
        try:
            return second.nearest_fixed(fitting, adc._replace(gain_bits=whole(2, 31)))
        except second.Refused:  # as fine as it can be
            return second.Fixed(1, max(0, -round(math.log2(fitting))))

    def characteristic(adc, kind, columns):
        """The same ADC with a gain, offsets or thresholds."""
        low, high = second.adc_limits(adc)
        if kind == "thresholds":
            rows = columns if columns and rng.random() < 0.5 else 1
            tables = np.sort(np.rint(rng.normal(0, size, (rows, high - low))), axis=1).astype(np.int64)
            tables[:, (high - low) // 2] = np.clip(0, tables[:, 0], tables[:, -1])
            return adc._replace(thresholds=np.sort(tables, axis=1).tolist())
        if kind == "own":
            adc = adc._replace(gain=column_wise(lambda: gain(adc, high), columns))
        if rng.random() < 0.6:
            extreme = one_of(1 - 2**52, 2**52 - 1) if rng.random() < 0.1 else 0
            adc = adc._replace(offset=column_wise(lambda: one_of(round(rng.normal(0, size)), extreme), columns))
        return adc

    alike = {columns for _, columns in shapes.values()}
    columns = alike.pop() if len(alike) == 1 else None
    adc = measured = None
    if rng.random() < 0.9:
        kind = one_of("range", "fixed", "own", "thresholds")
        bits = whole(2, 6 if kind == "thresholds" else 24)
        limits = one_of((None, None), (0, 2**bits - 1), (-(2 ** (bits - 1)), whole(1, 2 ** (bits - 1) - 1)))
        adc = second.Adc(bits, *limits, one_of(*ROUNDINGS))
        gain_bits = whole(2, 31) if kind == "fixed" else None
        adc = characteristic(adc._replace(gain_bits=gain_bits), kind, columns)
    if adc is not None and rng.random() < 0.4:
        measured = {}
        codes_of_adc = np.diff(second.adc_limits(adc))[0]
        kinds = ("own", "offset", "thresholds") if codes_of_adc < 64 else ("own", "offset")
        for name, (rows, columns) in shapes.items():
            tiles = slices * -(-rows // (tile_rows or rows))
            kind, rounding = one_of(*kinds), one_of(*ROUNDINGS)
            plain = second.Adc(adc.bits, *second.adc_limits(adc), rounding)
            count = one_of(1, tiles * (1 + (lines == "separate")))
            measured[name] = [characteristic(plain, kind, columns) for _ in range(count)]
            if rng.random() < 0.3:
                del measured[name]
    ranges, step = None, None
    if rng.random() < 0.6:
        ranges = {}
        for name, (_, columns) in shapes.items():
            input_top = rng.uniform(0.2, 3)
            step = input_top / high

            def sum_top(step=step):
                return float(size * step * second.STEP_US * math.exp(rng.uniform(-1, 2)))

            groups = -(-columns // (tile_columns or columns))
            ranges[name] = float(input_top), one_of(sum_top(), [sum_top() for _ in range(groups)])
    return second.Readout(dac, adc, tile_rows, tile_columns, lines, register, rng.random() < 0.5, ranges, measured)


def random_case(seed):
    """A network, a readout and what else `check` takes."""
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    shapes = {layer.name: (layer.rows, layer.columns) for layer in network.crossbar_layers}
    significance = [(1,), (1,), (1, 1), (7,), (4, 1, 32768)][rng.integers(5)]
    readout = random_readout(rng, shapes, len(significance))
    options = {
        "model": rng.choice(list(second.MODELS)),
        "scale": rng.choice(["layer", "column"]),
        "seed": seed,
        "t": float(rng.choice([27.36, DAY, 1e9])),
        "read": int(rng.integers(3)),
        "compensation": rng.choice(["none", "gdc"]),
        "gdc": rng.choice(["absolute", "ones", "column"]),
        "significance": significance,
        "count": 3,
        "calibrated": 5 if readout.adc is not None and readout.ranges is None else 0,
    }
    return network, readout, options


SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_read_in_random_ways(seed, tmp_path):
    run_random(seed, tmp_path)


@pytest.mark.soak
def test_many_random_networks_read_in_random_ways(tmp_path):
    made = [run_random(seed, tmp_path) for seed in range(len(SEEDS), 600)]
    assert sum(products is not None for products in made) > 0.8 * len(made)


def run_random(seed, folder):
    network, readout, options = random_case(seed)
    file = folder / f"{seed}.h5"
    pcmref.save(file, network)
    return check((pcmref.load(file), second.Network(file)), readout=readout, **options)


def settings(readout):
    """What a readout sets, in words."""
    dac, adc, register = readout.dac, readout.adc, readout.register
    yield from (f"{dac.codes} {dac.drive}", readout.lines, "fresh" if readout.fresh else "frozen")
    yield f"register {register and register.beyond}"
    yield from (f"{name} {getattr(readout, name) is not None}" for name in ("tile_rows", "tile_columns"))
    yield f"ranges {readout.ranges and {type(top).__name__ for _, top in readout.ranges.values()}}"
    if adc is None:
        yield "no ADC"
        return
    measured = [one for adcs in (readout.measured or {}).values() for one in adcs]
    for kind, found in (("adc", [adc]), ("measured", measured)):
        for one in found:
            gains = one.gain if isinstance(one.gain, list) else [one.gain]
            fixed = {"fixed" if isinstance(gain, second.Fixed) else type(gain).__name__ for gain in gains}
            if one.thresholds is None:
                yield f"{kind} {one.rounding}"
                yield from (f"{kind} {word} gain" for word in fixed)
                yield from (
                    f"{kind} {name} a column" for name in ("gain", "offset") if isinstance(getattr(one, name), list)
                )
                yield f"{kind} offset {one.offset != 0}"
            else:
                yield f"{kind} {'several' if len(one.thresholds) > 1 else 'one'} thresholds"
    yield f"gain_bits {adc.gain_bits is not None}"
    yield f"low {'as high' if adc.low is None else 'zero' if adc.low == 0 else 'other'}"
    if readout.measured:
        yield from (f"measured {'one' if len(adcs) == 1 else 'several'}" for adcs in readout.measured.values())


def test_the_random_readouts_have_every_setting():
    found = {word for seed in SEEDS for word in settings(random_case(seed)[1])}
    drives = dict.fromkeys(("symmetric", "signed"), ("parallel", "two-phase", "bit-serial"))
    drives |= dict.fromkeys(("offset", "unsigned"), ("parallel", "bit-serial"))
    expected = {f"{codes} {drive}" for codes, several in drives.items() for drive in several}
    expected |= {"pair", "separate", "fresh", "frozen", "no ADC", "low as high", "low zero", "low other"}
    expected |= {f"register {beyond}" for beyond in (None, "wrap", "saturate", "error")}
    expected |= {f"{name} {said}" for name in ("tile_rows", "tile_columns", "gain_bits") for said in (True, False)}
    expected |= {"ranges None", "ranges {'float'}", "ranges {'list'}", "measured one", "measured several"}
    for kind in ("adc", "measured"):
        expected |= {f"{kind} {rounding}" for rounding in ROUNDINGS}
        expected |= {f"{kind} {gain} gain" for gain in ("fixed", "float", "NoneType")}
        expected |= {f"{kind} gain a column", f"{kind} offset a column", f"{kind} offset True", f"{kind} offset False"}
        expected |= {f"{kind} one thresholds", f"{kind} several thresholds"}
    assert expected - found == set()


def operations(network):
    """The nodes of a network with their settings, in words."""
    shapes = {"input": network.input_shape}
    for layer in network.layers:
        inputs = [shapes[name] for name in layer.inputs]
        shapes[layer.name] = layer.shape_after(*inputs)
        kinds = ["map" if len(shape) == 3 else "vector" for shape in inputs]
        yield f"{layer.op} of {kinds[0]}" if len(set(kinds)) == 1 else f"{layer.op} of {' and '.join(kinds)}"
        for name in ("kernel", "stride", "padding", "dilation"):
            value = getattr(layer, name, None)
            yield f"{layer.op} {name} {'of each' if isinstance(value, tuple) else value}"
        if layer.op in ("conv", "linear"):
            digital = "digital " if layer.digital else ""
            yield f"{digital}{layer.op} {'without' if layer.bias is None else 'with'} bias"
            if layer.op == "conv" and layer.groups > 1:
                depthwise = layer.weight.shape[1] == 1
                yield f"{digital}{layer.op} {'depthwise' if depthwise else 'groups'}"
        if getattr(layer, "ceil", False) and replace(layer, ceil=False).shape_after(*inputs) != shapes[layer.name]:
            yield f"{layer.op} ceil"  # where it matters
        if layer.op == "average_pool":
            yield f"{layer.op} count_padding {layer.count_padding}"
        if layer.op == "concat":
            yield f"{layer.op} of {len(inputs)}"
        if layer.op == "channel_shuffle" and 1 < layer.groups < inputs[0][-1]:
            yield f"{layer.op} that moves channels"


def test_the_random_networks_have_every_operation_and_setting():
    found = {word for seed in SEEDS for word in operations(random_case(seed)[0])}
    either = set(OPERATIONS) - {"conv", "linear", "pad_shortcut", "flatten", "max_pool", "average_pool"}
    either -= {"global_average_pool"}
    expected = {f"{op} of {kind}" for op in either for kind in ("map", "vector")}
    expected |= {f"{op} of map" for op in set(OPERATIONS) - either - {"linear"}}
    expected |= {"linear of vector", "multiply of map and vector", "concat of 2", "concat of 3"}
    expected |= {"channel_shuffle that moves channels"}
    for op, names in {
        "conv": ("stride", "padding", "dilation"),
        "max_pool": ("kernel", "stride", "padding", "dilation"),
        "average_pool": ("kernel", "stride", "padding"),
    }.items():
        expected |= {f"{op} {name} of each" for name in names} | {f"{op} stride 2"}
    expected |= {"conv dilation 2", "max_pool dilation 2", "max_pool ceil", "average_pool ceil"}
    expected |= {f"average_pool count_padding {said}" for said in (True, False)}
    for layer in ("conv", "digital conv", "linear", "digital linear"):
        expected |= {f"{layer} with bias", f"{layer} without bias"}
    for layer in ("conv", "digital conv"):
        expected |= {f"{layer} groups", f"{layer} depthwise"}
    assert expected - found == set()
