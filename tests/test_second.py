"""The package equals `second.py`, which was written from SPEC.md alone, in every code, sum and activation."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic.codes import ROUNDINGS, Range
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
        devices = chip.layers[layer.mapped.name][0]
        same(layer.mapped.g_target_us.shape, devices[0][0].shape, layer.mapped.name)
        for position, values in enumerate((layer.state.g_prog_us, layer.state.nu, layer.state.q_s)):
            both = np.stack([devices[0][position], devices[1][position]])
            same(values, both.reshape(-1)[layer.state.device], f"{layer.mapped.name} device number {position}")


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
    name, padding = node["name"], node.get("padding", 0)
    images, height, width, channels = other.input_codes.shape
    driven = np.full((images, height + 2 * padding, width + 2 * padding, channels), dac_offset)
    driven[:, padding : padding + height, padding : padding + width] += other.input_codes
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
    assert [np.signbit(values[n]).all() for n in ("norm", "sum", "mean", "pool", "relu")] == [True] * 3 + [False] * 2


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


def random_network(rng):
    """A few convolutions with what may follow them, sums, a mean and a linear layer."""
    alike = int(rng.integers(1, 20)) if rng.random() < 0.6 else None
    height, width, channels = (int(n) for n in rng.integers(1, (7, 7, 5)))
    shape, layers, source = (height, width, channels), [], "input"

    def numbers(*shape):
        return rng.normal(0, 0.4, shape).astype(np.float32)

    def norm(name, channels):
        gamma, beta, mean = numbers(3, channels)
        var = rng.uniform(0.3, 2, channels).astype(np.float32)
        return BatchNorm(name=name, inputs=(source,), gamma=gamma, beta=beta, mean=mean, var=var, eps=1e-3)

    def add(layer):
        nonlocal source
        layers.append(layer)
        source = layer.name

    for number in range(int(rng.integers(1, 4))):
        padding, stride = int(rng.integers(0, 3)), int(rng.integers(1, 3))
        kernel = [int(rng.integers(1, min(3, size + 2 * padding) + 1)) for size in (height, width)]
        columns = alike or int(rng.integers(1, 20))
        weight = numbers(columns, channels, *kernel)
        weight[rng.random(weight.shape) < rng.choice([0.0, 0.2, 0.9])] = 0
        bias = numbers(columns) if rng.random() < 0.5 else None
        add(Conv(name=f"c{number}", inputs=(source,), weight=weight, bias=bias, stride=stride, padding=padding))
        height, width = ((s + 2 * padding - k) // stride + 1 for s, k in zip((height, width), kernel, strict=True))
        channels, before = columns, source
        if rng.random() < 0.6:
            add(norm(f"n{number}", channels))
        if rng.random() < 0.3:
            add(Add(name=f"a{number}", inputs=(source, before)))
        if rng.random() < 0.6:
            add(Relu(name=f"r{number}", inputs=(source,)))
    add(GlobalAveragePool(name="mean", inputs=(source,)))
    classes = alike or int(rng.integers(2, 8))
    bias = numbers(classes) if rng.random() < 0.5 else None
    add(Linear(name="last", inputs=(source,), weight=numbers(classes, channels), bias=bias))
    images = rng.integers(0, 256, (9, *shape)).astype(np.uint8)
    images[2] = 64
    labels = np.zeros(len(images), np.int64)
    return Network(
        layers=tuple(layers),
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
