"""Drift compensation: what it restores exactly, and its numbers recomputed in plain Python."""

from __future__ import annotations

import math
import pickle
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcmref
from pcmref.crossbar.converters import Dac
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import program
from pcmref.devices.laws import Constant
from pcmref.devices.published import MODELS, NANDAKUMAR_2019
from pcmref.errors import DataError, ParameterError, PcmrefWarning
from pcmref.inference.adabs import adabs
from pcmref.inference.compensation import COMPENSATIONS, calibrate
from pcmref.inference.corrections import Corrections
from pcmref.inference.gdc import GdcReference, _signal_to_noise, gdc
from pcmref.inference.run import logits
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation
from pcmref.network.layers import BatchNorm, Conv, Linear
from pcmref.network.operations import Add, GlobalAveragePool, Relu
from tests.helpers import naive
from tests.helpers.nets import assert_same, batch_norm, conv, normal, replace_layer, tiny

laws = settings(max_examples=settings.default.max_examples // 4)

HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
READOUTS = ("absolute", "ones", "column")
PAPER = PRESETS["paper"]
FRESH = Readout(name="fresh", dac=Dac(bits=8), read_noise="fresh", tile_rows=3)
UNIT = Normalisation(full_scale=255.0, mean=(0.0,), std=(1.0,))


def drifting(exponent):
    """Devices that meet their targets, without noise, and all drift alike."""
    return replace(NANDAKUMAR_2019.ideal(), exponent_mean=Constant(exponent))


def small(seed=0, eps=1e-5):
    """Two convolutions, each with its normalisation, and a linear layer, on 3 x 3 pixels."""
    rng = np.random.default_rng(seed)
    return Network(
        layers=(
            conv(rng, "conv1", "input", 1, 2, (2, 2)),
            replace(batch_norm(rng, "bn1", "conv1", 2), eps=eps),
            Relu(name="relu1", inputs=("bn1",)),
            conv(rng, "conv2", "relu1", 2, 3, (1, 1), bias=True),
            replace(batch_norm(rng, "bn2", "conv2", 3), eps=eps),
            GlobalAveragePool(name="pool", inputs=("bn2",)),
            Linear(name="fc", inputs=("pool",), weight=normal(rng, 2, 3), bias=normal(rng, 2)),
        ),
        input_shape=(3, 3, 1),
        normalisation=UNIT,
        classes=("a", "b"),
    )


def normalised_first():
    """The same with a batch normalisation of the image."""
    network = small()
    first = batch_norm(np.random.default_rng(5), "bn0", "input", 1)
    return replace(network, layers=(first, replace(network.layers[0], inputs=("bn0",)), *network.layers[1:]))


def images(count, shape=(3, 3, 1), seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def dyadic(network):
    """The same network with weights m / 64 of largest size 1: targets of 200 grid steps each."""
    layers = []
    for layer in network.layers:
        if hasattr(layer, "weight"):
            size = max(np.abs(layer.weight).max(), 0.0 if layer.bias is None else np.abs(layer.bias).max())
            tensors = {"weight": np.rint(layer.weight / size * 64) / np.float32(64)}
            if layer.bias is not None:
                tensors["bias"] = np.rint(layer.bias / size * 64) / np.float32(64)
            layer = replace(layer, **tensors)
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def same_corrections(one, other):
    """Fail unless two corrections agree bit for bit."""
    for part in ("gain", "statistics"):
        a, b = getattr(one, part), getattr(other, part)
        assert a.keys() == b.keys()
        for name in a:
            assert_same(a[name], b[name], f"{part} of {name}")


# GDC


@pytest.mark.parametrize("halvings", [1, 2, 3])
@pytest.mark.parametrize("readout", READOUTS)
def test_gdc_restores_a_uniformly_drifted_network_to_the_last_bit(readout, halvings):
    """All conductances halve without leaving the grid, so that nothing is lost."""
    network = dyadic(tiny())
    chip = program(network, model=drifting(1.0), seed=1)
    reference, drifted = chip.reference(), chip.at(20.0 * 2**halvings)
    corrections = gdc(drifted, reference, readout)
    for layer in network.crossbar_layers:
        assert corrections.gain[layer.name].shape == ((layer.columns,) if readout == "column" else (1,))
        assert (corrections.gain[layer.name] == 2.0**halvings).all()
    pixels = images(3, (6, 6, 3))
    for inference in (PAPER, FRESH):
        expected = logits(reference, pixels, readout=inference)
        found = logits(drifted, pixels, readout=inference, corrections=corrections)
        assert found.tobytes() == expected.tobytes()
        assert not np.allclose(logits(drifted, pixels, readout=inference), expected)


@laws
@given(st.floats(0.001, 0.2), st.floats(20.0, 1e9), st.sampled_from(READOUTS), st.integers(0, 5))
def test_gdc_restores_any_uniform_drift_up_to_the_grid(nu, t, readout, seed):
    rng = np.random.default_rng(seed)
    network = Network(
        layers=(
            GlobalAveragePool(name="pool", inputs=("input",)),
            Linear(name="fc", inputs=("pool",), weight=normal(rng, 4, 9)),
        ),
        input_shape=(1, 1, 9),
        normalisation=Normalisation(full_scale=255.0, mean=(0.5,) * 9, std=(1.0,) * 9),
        classes=tuple("abcd"),
    )
    chip = program(network, model=drifting(nu))
    reference, drifted = chip.reference(), chip.at(t)
    corrections = gdc(drifted, reference, readout)
    factor = (t / 20.0) ** -nu
    # every code is half a step off at most, before drift and after
    exact = np.abs(next(chip.targets()).g_target_us) / chip.model.g_step_us
    total = exact.sum(axis=0) if readout == "column" else exact.sum()
    slack = 0.5 * (len(exact) if readout == "column" else exact.size)
    gain = corrections.gain["fc"]
    assert ((total - slack) / (factor * total + slack) <= gain).all()
    assert (gain <= (total + slack) / (factor * total - slack)).all()

    traces = []
    pixels = images(2, (1, 1, 9), seed)
    before = logits(reference, pixels, tap=traces.append)
    after = logits(drifted, pixels, corrections=corrections)
    codes = np.abs(traces[1].product.input_codes[:, 0, 0, :9].astype(float))
    bound = 0.5 * codes.sum(axis=1)[:, None] * (1 + gain) + np.abs(gain * factor - 1) * (codes @ exact)
    scale = traces[1].product.input_step[:, None] * chip.layers[0].weight_per_us * chip.model.g_step_us
    assert (np.abs(after - before) <= bound * scale * 1.0001 + 1e-6 * np.abs(before)).all()


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("t", [HOUR, YEAR])
def test_gains_are_ratios_of_integer_sums(model, t):
    chip = program(tiny(), model=model, seed=3)
    now, before = chip.at(t), chip.reference()
    for readout in READOUTS:
        gains = gdc(now, before, readout).gain
        assert set(gains) == {layer.name for layer in now.layers}
        for a, b in zip(now.layers, before.layers, strict=True):
            if readout == "ones":
                sums = [[sum(x.g_read_code.reshape(-1).tolist())] for x in (b, a)]
            else:
                columns = [[sum(map(abs, c)) for c in x.read_code.T.tolist()] for x in (b, a)]
                sums = columns if readout == "column" else [[sum(c)] for c in columns]
            assert gains[a.name].tolist() == [x / y for x, y in zip(*sums, strict=True)]
            assert gains[a.name].dtype == np.float64


def test_gains_follow_the_published_drift():
    """About 1.29 after an hour, 1.51 after a day and 2.01 after a year: nu = 0.049 for most of the current."""
    rng = np.random.default_rng(0)
    layer = Linear(name="fc", inputs=("pool",), weight=rng.uniform(0.25, 1, (100, 400)).astype(np.float32))
    network = Network(
        layers=(GlobalAveragePool(name="pool", inputs=("input",)), layer),
        input_shape=(1, 1, 400),
        normalisation=Normalisation(full_scale=255.0, mean=(0.0,) * 400, std=(1.0,) * 400),
        classes=tuple(map(str, range(100))),
    )
    chip = program(network)
    for t, expected in ((60.0, 1.06), (HOUR, 1.29), (DAY, 1.51), (30 * DAY, 1.78), (YEAR, 2.01)):
        for readout in ("absolute", "ones"):
            assert gdc(chip.at(t), chip.reference(), readout).gain["fc"][0] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("readout", READOUTS)
def test_without_drift_every_gain_is_one(readout):
    chip = program(tiny(), seed=4)
    gains = gdc(chip.at(20.0), chip.reference(), readout).gain
    assert all((gain == 1.0).all() for gain in gains.values())


def with_first(snapshot, layer):
    """A snapshot with another first layer."""
    return replace(snapshot, layers=(layer, *snapshot.layers[1:]))


@pytest.mark.filterwarnings("ignore:GDC. devices of conv1 were replaced")
def test_the_smallest_readouts_count():
    """One grid step is a reading."""
    chip = program(tiny(), seed=5)
    now = chip.reference()
    codes = now.layers[0].g_read_code * 0
    codes[1, 0, 0] = 1
    one = with_first(now, replace(now.layers[0], g_read_code=codes))
    for readout in ("absolute", "ones"):
        (there,), (back,) = (gdc(a, b, readout).gain["conv1"] for a, b in ((one, now), (now, one)))
        assert there == 1 / back > 1


@pytest.mark.filterwarnings("ignore:GDC. devices of conv1 were replaced", "ignore:GDC does nothing")
@pytest.mark.parametrize("readout", READOUTS)
def test_what_reads_zero_keeps_a_gain_of_one(readout):
    network = tiny()
    weight = network.layers[0].weight.copy()
    weight[2] = 0
    network = replace_layer(network, "conv1", weight=weight)
    network = replace_layer(network, "conv2", weight=network.layers[4].weight * 0)
    chip = program(network, seed=5)
    gains = gdc(chip.at(DAY), chip.reference(), readout).gain
    assert (gains["conv2"] == 1.0).all()
    assert (gains["conv1"] != 1.0).sum() == (4 if readout == "column" else 1)
    if readout == "column":
        assert gains["conv1"][2] == 1.0
    # nothing now, or nothing before
    now, before = chip.at(DAY), chip.reference()
    empty = replace(now.layers[0], g_read_code=now.layers[0].g_read_code * 0)
    nothing = {"layers": (empty, *now.layers[1:])}
    for pair in ((replace(now, **nothing), before), (now, replace(before, **nothing))):
        assert (gdc(*pair, readout).gain["conv1"] == 1.0).all()


def test_a_readout_below_its_noise_warns():
    chip = program(tiny(), seed=6)
    now = chip.at(DAY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gdc(now, chip.reference())
    quiet, before = (
        replace(s, layers=(s.layers[0], noisy(s.layers[1], 66), *s.layers[2:])) for s in (now, chip.reference())
    )
    with pytest.warns(PcmrefWarning, match=r"GDC of layer 'conv2' at 86400 s: signal-to-noise ratio 0\.98; .* low"):
        gdc(quiet, before)
    with pytest.warns(
        PcmrefWarning, match=r"GDC of layer 'conv2' .* 0\.98 in 7 of 7 columns; the factor is biased low"
    ):
        gdc(quiet, before, "column")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gdc(quiet, before, "ones")  # a sum without sizes


def noisy(layer, variance, columns=slice(None)):
    """A layer whose pairs have 64 codes and, in these columns, a read noise of this variance, 64 codes squared."""
    mean, code = np.zeros_like(layer.g_mean_code), np.zeros_like(layer.g_variance_code)
    mean[0], mean[0, 0] = 64, 0  # pairs at zero do not count
    code[0, 1:, columns] = variance
    return replace(layer, g_mean_code=mean, g_read_code=mean, g_variance_code=code)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["absolute", "column"]))
def test_the_signal_to_noise_ratio_is_that_of_the_pairs_that_have_either(seed, readout):
    """Mean ``|G+ - G-|`` over root-mean-square noise; either counts without the other."""
    rng = np.random.default_rng(seed)
    layer = program(tiny(), seed=6).at(DAY).layers[1]
    mean, variance = (rng.integers(0, 4, layer.g_mean_code.shape).astype(np.int16) for _ in range(2))
    mean[:, :, 0] = 0  # a column without conductance, and one without noise
    variance[:, :, 1] = 0
    found = _signal_to_noise(replace(layer, g_mean_code=mean, g_variance_code=variance), readout)
    size, noise = abs(mean[0].astype(int) - mean[1]), 64 * variance.sum(axis=0, dtype=int)
    columns = [np.s_[:, c] for c in range(size.shape[1])] if readout == "column" else [np.s_[:, :]]
    for ratio, some in zip(found, columns, strict=True):
        counted = int(((size[some] > 0) | (noise[some] > 0)).sum())
        if noise[some].sum():
            wanted = (size[some].sum() / counted) / math.sqrt(noise[some].sum() / counted)
            assert ratio == pytest.approx(wanted, rel=1e-12)
        else:
            assert ratio == math.inf


def test_one_column_below_its_noise_warns_if_columns_are_read():
    chip = program(tiny(), seed=6)
    now = chip.at(DAY)
    quiet, before = (with_first(s, noisy(s.layers[0], 4 * 64, slice(1))) for s in (now, chip.reference()))
    with pytest.warns(PcmrefWarning, match=r"layer 'conv1' .* ratio 0\.5 in 1 of 5 columns; the factor is biased low"):
        gdc(quiet, before, "column")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gdc(quiet, before)  # the layer as a whole is above its noise


def test_a_readout_at_its_noise_does_not_warn_and_a_warning_points_at_the_caller():
    chip = program(tiny(), seed=6)
    now = chip.at(DAY)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for variance in (64, 65):  # a ratio of 1, and less
            gdc(*(with_first(s, noisy(s.layers[0], variance)) for s in (now, chip.reference())))
    assert [w.filename for w in caught] == [__file__]


def test_small_conductances_do_read_below_their_noise():
    """The ratio that the warning looks at, for a layer that deserves it."""
    noisy = replace(NANDAKUMAR_2019, g_max_us=1.0, read_noise=Constant(0.5))
    chip = program(tiny(), model=noisy, seed=6)
    with pytest.warns(PcmrefWarning) as caught:
        gdc(chip.at(YEAR), chip.reference())
    assert len([w for w in caught if "signal-to-noise" in str(w.message)]) == 5


# AdaBS


@pytest.mark.parametrize("count", [200, 399, 400])
@pytest.mark.parametrize("readout", [PAPER, FRESH], ids=lambda r: r.name)
@pytest.mark.parametrize("make", [small, normalised_first], ids=lambda f: f.__name__)
def test_adabs_equals_the_naive_update(make, readout, count):
    network, pixels = make(), images(count)
    snapshot = program(network, seed=7).at(DAY, read=2)
    gain = {"conv1": np.array([1.3]), "conv2": np.array([1.1, 1.2, 1.3])}
    found = adabs(snapshot, pixels, corrections=Corrections(gain=gain), readout=readout)
    batches = count // 200
    keep = 0.015 ** (1 / batches)
    expected = {}
    for layer in network.layers:
        if isinstance(layer, BatchNorm):
            expected[layer.name] = [layer.mean.astype(float), layer.var.astype(float)]
    for start in range(0, 200 * batches, 200):
        part = slice(start, start + 200)
        nodes = naive.forward(
            snapshot,
            pixels[part],
            readout,
            gains=gain,
            addresses=range(start, start + 200),
            purpose=5,
            own_statistics=True,
        )
        for name, old in expected.items():
            for i, new in enumerate(nodes[name, "statistics"]):
                old[i] = keep * old[i] + (1 - keep) * np.array(new)
    assert {name: value.tolist() for name, value in found.gain.items()} == {
        name: value.tolist() for name, value in gain.items()
    }
    assert set(found.statistics) == set(expected)
    for name, (mean, var) in expected.items():
        assert found.statistics[name].mean == pytest.approx(mean, rel=1e-13, abs=1e-15)
        assert found.statistics[name].var == pytest.approx(var, rel=1e-13, abs=1e-15)


@pytest.mark.parametrize("count", [200, 400, 1000, 2599, 2600, 3000])
def test_a_share_of_0_015_of_the_stored_statistics_stays(count):
    """On a layer of zeros every mini-batch has mean and variance 0."""
    network = small()
    network = replace_layer(network, "conv1", weight=network.layers[0].weight * 0)
    chip = program(network, seed=8).at(DAY)
    found = adabs(chip, images(count)).statistics["bn1"]
    stored = network.layers[1]
    assert found.mean == pytest.approx(0.015 * stored.mean.astype(float), rel=1e-13)
    assert found.var == pytest.approx(0.015 * stored.var.astype(float), rel=1e-13)


def test_mini_batches_beyond_the_thirteenth_are_not_used():
    chip = program(small(), seed=8).at(DAY)
    pixels = images(2850)
    same_corrections(adabs(chip, pixels), adabs(chip, pixels[:2600]))
    one = adabs(chip, pixels[:399])
    same_corrections(one, adabs(chip, pixels[:200]))
    assert not np.array_equal(one.statistics["bn1"].mean, adabs(chip, pixels[:400]).statistics["bn1"].mean)


def test_batch_statistics_of_an_image_repeated_are_its_own():
    """With no stored statistics to start from, 200 times one image gives its mean and variance."""
    network = small()
    zero = np.zeros(2, np.float32)
    network = replace_layer(network, "bn1", mean=zero, var=zero)
    chip = program(network, seed=9).at(DAY)
    taps = []
    logits(chip, images(1), tap=taps.append)
    x = taps[0].activations.astype(np.float64).reshape(-1, 2)
    found = adabs(chip, np.repeat(images(1), 200, axis=0)).statistics["bn1"]
    assert found.mean == pytest.approx(0.985 * x.mean(axis=0), rel=1e-12)
    assert found.var == pytest.approx(0.985 * x.var(axis=0), rel=1e-9)


@laws
@given(st.lists(st.integers(-6, 6), min_size=2, max_size=2), st.sampled_from([PAPER, FRESH]))
def test_adabs_removes_a_gain_of_each_channel_to_the_last_bit(powers, readout):
    """Powers of two scale exactly; nothing is stored, and eps is too small to count."""
    network = small(eps=1e-40)
    zero = np.zeros(2, np.float32)
    network = replace_layer(network, "bn1", mean=zero, var=zero)
    plain = program(network, seed=10).at(HOUR)
    gain = 2.0 ** np.array(powers)
    first = replace(plain.layers[0], weight_per_us=plain.layers[0].weight_per_us * gain)
    scaled = replace(plain, layers=(first, *plain.layers[1:]))
    pixels = images(200)
    a, b = (adabs(chip, pixels, readout=readout) for chip in (plain, scaled))
    assert np.array_equal(b.statistics["bn1"].mean, a.statistics["bn1"].mean * gain)
    assert np.array_equal(b.statistics["bn1"].var, a.statistics["bn1"].var * gain**2)
    assert_same(b.statistics["bn2"], a.statistics["bn2"])
    one, other = (logits(chip, pixels[:20], corrections=c, readout=readout) for chip, c in ((plain, a), (scaled, b)))
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("readout", [PAPER, FRESH], ids=lambda r: r.name)
def test_adabs_does_not_depend_on_threads_or_chunks(readout, monkeypatch):
    chip, pixels = program(small(), seed=11).at(DAY), images(400)
    expected = adabs(chip, pixels, readout=readout, threads=1)
    for threads, chunk in ((2, 16), (4, 7), (1, 200), (3, 1)):
        monkeypatch.setattr("pcmref.inference.adabs.CHUNK", chunk)
        same_corrections(adabs(chip, pixels, readout=readout, threads=threads), expected)


@pytest.mark.parametrize("make", [tiny, normalised_first], ids=lambda f: f.__name__)
@pytest.mark.parametrize("readout", [PAPER, FRESH], ids=lambda r: r.name)
def test_adabs_does_not_depend_on_which_maps_are_kept(make, readout, monkeypatch):
    network = make()
    chip, pixels = program(network, seed=11).at(DAY), images(400, network.input_shape)
    expected = adabs(chip, pixels, readout=readout)
    for most in (0, 200 * 4 * 6 * 6 * 5 * 2, 1 << 40):
        monkeypatch.setattr("pcmref.inference.adabs.KEPT_BYTES", most)
        same_corrections(adabs(chip, pixels, readout=readout, threads=3), expected)


def residual():
    """Two maps of the same size, added."""
    rng = np.random.default_rng(0)
    return Network(
        layers=(
            conv(rng, "conv1", "input", 1, 8, (1, 1)),
            batch_norm(rng, "bn1", "conv1", 8),
            conv(rng, "conv2", "bn1", 8, 8, (1, 1)),
            batch_norm(rng, "bn2", "conv2", 8),
            Add(name="add", inputs=("bn2", "bn1")),
            GlobalAveragePool(name="pool", inputs=("add",)),
            Linear(name="fc", inputs=("pool",), weight=normal(rng, 2, 8)),
        ),
        input_shape=(20, 20, 1),
        normalisation=UNIT,
        classes=("a", "b"),
    )


def test_adabs_keeps_no_more_maps_than_it_may(monkeypatch):
    """With room for one and a half maps it has one, the part of another, and little else."""
    network = residual()
    chip, pixels, of_map = program(network).at(DAY), images(200, network.input_shape), 200 * 20 * 20 * 8 * 4
    monkeypatch.setattr("pcmref.inference.adabs.CHUNK", 4)
    peaks = []
    for most in (1.5, 2.5):
        monkeypatch.setattr("pcmref.inference.adabs.KEPT_BYTES", int(most * of_map))
        adabs(chip, pixels, threads=1)  # compiled
        tracemalloc.start()
        adabs(chip, pixels, threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1] / of_map)
        tracemalloc.stop()
    assert 1.0 < peaks[0] < 1.3
    assert 2.0 < peaks[1] < 2.3


@pytest.mark.parametrize("count", [0, 1, 199])
def test_fewer_than_200_images_are_refused(count):
    with pytest.raises(DataError, match=f"calibration images: expected at least 200 for AdaBS, found {count}"):
        adabs(program(small()).at(DAY), images(count))


def test_adabs_refuses_images_of_another_form():
    with pytest.raises(DataError, match="images: expected uint8"):
        adabs(program(small()).at(DAY), images(200, (4, 3, 1)))


def test_the_variance_is_never_negative():
    """One value throughout: the difference of mean square and squared mean may round below 0."""
    weight = np.ones((1, 1, 1, 1), np.float32)
    layers = (
        Conv(name="conv1", inputs=("input",), weight=weight),
        BatchNorm(name="bn1", inputs=("conv1",), **{t: weight.reshape(1) for t in ("gamma", "beta", "mean", "var")}),
        GlobalAveragePool(name="pool", inputs=("bn1",)),
        Linear(name="fc", inputs=("pool",), weight=weight[0, 0]),
    )
    network = Network(layers=layers, input_shape=(3, 3, 1), normalisation=UNIT, classes=("a",))
    network = replace_layer(network, "bn1", var=np.zeros(1, np.float32))
    chip = program(network, seed=1).at(DAY)
    below = 0
    for pixel in range(1, 256, 5):
        pixels = np.full((200, 3, 3, 1), pixel, np.uint8)
        var = adabs(chip, pixels).statistics["bn1"].var[0]
        taps = []
        logits(chip, pixels[:1], tap=taps.append)
        value = float(taps[0].activations[0, 0, 0, 0])
        image, image_squares = (sum([v] * 9) for v in (value, value * value))
        mean, mean_square = (sum([v] * 200) / 1800 for v in (image, image_squares))
        below += mean_square - mean * mean < 0
        assert 0 <= var <= 1e-12 * value**2
    assert below > 0


# All of them


@pytest.mark.parametrize("remembered", [False, True])
def test_calibrate_does_what_it_is_asked(remembered):
    chip = program(small(), seed=12)
    now, before, pixels = chip.at(DAY), chip.reference(), images(200)
    if remembered:
        before = GdcReference.of(before, "column")
    options = {"reference": before, "images": pixels, "readout": FRESH, "gdc_readout": "column", "threads": 2}
    found = {name: calibrate(now, name, **options) for name in COMPENSATIONS}
    assert COMPENSATIONS == ("none", "gdc", "adabs", "gdc+adabs")
    same_corrections(found["none"], Corrections())
    gains = gdc(now, before, "column")
    same_corrections(found["gdc"], gains)
    same_corrections(found["adabs"], adabs(now, pixels, readout=FRESH))
    same_corrections(found["gdc+adabs"], adabs(now, pixels, corrections=gains, readout=FRESH))


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("replaced", [(), ("now",), ("before",), ("now", "before")], ids="-".join)
def test_what_gdc_remembers_of_a_chip_is_as_good_as_the_chip(readout, replaced):
    chip = program(small(), seed=12)
    snapshots = {"now": chip.at(DAY), "before": chip.reference()}
    for name in replaced:
        first = snapshots[name].layers[0]
        codes = np.minimum(first.g_read_code + 1, 32767).astype(np.int16)
        snapshots[name] = with_first(snapshots[name], replace(first, g_read_code=codes))
    found = []
    for remembered in (snapshots["before"], GdcReference.of(snapshots["before"], readout)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found.append(gdc(snapshots["now"], remembered, readout))
        texts = [str(warning.message) for warning in caught]
        assert sum("not in both" in text for text in texts) == (len(replaced) == 1)
    same_corrections(*found)


def test_what_gdc_remembers_holds_for_its_chip_and_readout_alone():
    chip = program(small(), seed=12)
    remembered = GdcReference.of(chip.reference(), "column")
    with pytest.raises(ParameterError, match="reference: expected sums of readout 'ones', found sums of 'column'"):
        gdc(chip.at(DAY), remembered, "ones")
    with pytest.raises(ParameterError, match="one of another chip"):
        gdc(program(small(), seed=13).at(DAY), remembered, "column")
    with pytest.raises(ParameterError, match="the chip before drift"):
        GdcReference.of(chip.at(DAY))
    with pytest.raises(ParameterError, match="gdc_readout: expected one of"):
        GdcReference.of(chip.reference(), "all")
    with pytest.raises(ParameterError, match="reference: expected a Snapshot"):
        GdcReference.of(chip)


def test_calibrate_s_defaults():
    chip = program(small(), seed=12)
    now, before, pixels = chip.at(DAY), chip.reference(), images(200)
    found = calibrate(now, "gdc+adabs", reference=before, images=pixels)
    same_corrections(found, adabs(now, pixels, corrections=gdc(now, before, "absolute"), readout=PAPER))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("GDC", {}, "compensation: expected one of none, gdc, adabs, gdc.adabs, found 'GDC'"),
        ("", {}, "compensation: expected one of"),
        ("gdc", {}, "reference: expected a snapshot before drift"),
        ("gdc+adabs", {"images": images(200)}, "reference: expected a snapshot before drift"),
        ("adabs", {}, "images: expected calibration images for AdaBS, found none"),
    ],
)
def test_calibrate_s_errors(name, options, message):
    with pytest.raises(ParameterError, match=message):
        calibrate(program(small()).at(DAY), name, **options)


def test_an_unknown_way_to_read_is_refused():
    chip = program(small())
    with pytest.raises(ParameterError, match="gdc_readout: expected one of absolute, ones, column, found 'all'"):
        calibrate(chip.at(DAY), "gdc", reference=chip.reference(), gdc_readout="all")


def test_gdc_and_adabs_bring_a_drifted_chip_back():
    """On the bundled network's kind of input: each step moves the logits nearer to those before drift."""
    network = tiny()
    chip = program(network, seed=13)
    pixels = images(250, (6, 6, 3))
    before = logits(chip.reference(), pixels)
    drifted = chip.at(YEAR)
    distance = {}
    for name in ("none", "gdc"):
        corrections = calibrate(drifted, name, reference=chip.reference(), images=pixels)
        distance[name] = np.abs(logits(drifted, pixels, corrections=corrections) - before).mean()
    assert distance["gdc"] < 0.7 * distance["none"]


@pytest.mark.parametrize(
    ("gain", "statistics", "place"),
    [
        ({"nope": np.ones(1)}, {}, "gain/nope"),
        ({"fc": np.ones(3)}, {}, "gain/fc"),
        ({"fc": np.array([np.nan])}, {}, "gain/fc"),
    ],
)
def test_corrections_that_do_not_fit_are_refused(gain, statistics, place):
    net = pcmref.load(pcmref.bundled())
    snapshot = pcmref.program(net, seed=0).at(25.0)
    with pytest.raises(ParameterError, match=place):
        pcmref.logits(
            snapshot, net.evaluation.images[:1], corrections=pcmref.Corrections(gain=gain, statistics=statistics)
        )


def test_statistics_that_do_not_fit_are_refused():
    net = pcmref.load(pcmref.bundled())
    snapshot = pcmref.program(net, seed=0).at(25.0)
    good = pcmref.calibrate(snapshot, "adabs", images=net.calibration.images).statistics
    name, found = next(iter(good.items()))
    for bad in (
        replace(found, mean=found.mean[:-1]),
        replace(found, var=-found.var),
        replace(found, var=found.var * np.inf),
    ):
        with pytest.raises(ParameterError, match=f"statistics/{name}"):
            pcmref.logits(snapshot, net.evaluation.images[:1], corrections=pcmref.Corrections(statistics={name: bad}))


def test_a_reference_of_another_chip_is_refused():
    net = pcmref.load(pcmref.bundled())
    chip = pcmref.program(net, seed=0)
    others = [
        pcmref.program(net, seed=1),
        pcmref.program(net, seed=0, model=pcmref.MODELS["HERMES_1"]),
        pcmref.program(replace_layer(net, "fc", bias=net.layers[-1].bias + np.float32(1)), seed=0),
        pcmref.program(net, seed=0, scale="column"),
        pcmref.program(net, seed=0, significance=(2,)),
    ]
    for other in others:
        with pytest.raises(ParameterError, match="another chip"):
            pcmref.calibrate(chip.at(25.0), "gdc", reference=other.reference())
    for drifted in (chip.at(25.0), chip.at(chip.model.reference_time_s, read=1)):
        with pytest.raises(ParameterError, match="the chip before drift"):
            pcmref.calibrate(chip.at(25.0), "gdc", reference=drifted)
    for same in (pcmref.load(pcmref.bundled()), replace(net), pickle.loads(pickle.dumps(net))):
        pcmref.calibrate(chip.at(25.0), "gdc", reference=pcmref.program(same, seed=0).reference())
