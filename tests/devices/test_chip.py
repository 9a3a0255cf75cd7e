"""Chips: closed forms of what a million devices do, the addresses of their draws, and the integer grids."""

from __future__ import annotations

import copy
import math
import pickle
import re
import warnings
from dataclasses import fields, replace
from functools import lru_cache

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.devices import pcm
from pcmref.devices.chip import SnapshotLayer, program
from pcmref.devices.laws import Constant
from pcmref.devices.mapping import MappedLayer
from pcmref.devices.published import AIHWKIT, MODELS, NANDAKUMAR_2019
from pcmref.errors import ParameterError, PcmrefWarning
from pcmref.inference.run import logits
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation
from pcmref.network.layers import Conv, Linear
from pcmref.network.operations import GlobalAveragePool
from tests.helpers import naive, nets

laws = settings(max_examples=settings.default.max_examples // 4)

HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
TIMES = (20.0, HOUR, DAY, YEAR)
TARGETS = (0.0, 0.01, 0.1, 0.3, 0.5, 1.0)
SIGNS = (1, -1)
COLUMNS = 8_000
NORMAL = scipy.stats.norm


def linear_network(weight, bias=None):
    """One crossbar layer behind a pooling of one pixel."""
    weight = np.asarray(weight, np.float32)
    return Network(
        layers=(
            GlobalAveragePool(name="pool", inputs=("input",)),
            Linear(name="fc", inputs=("pool",), weight=weight, bias=bias),
        ),
        input_shape=(1, 1, weight.shape[1]),
        normalisation=Normalisation(full_scale=255.0, mean=(0.0,) * weight.shape[1], std=(1.0,) * weight.shape[1]),
        classes=tuple(map(str, range(len(weight)))),
    )


def two_layers(seed=0):
    rng = np.random.default_rng(seed)

    def weight(*shape):
        return (rng.normal(0, 1, shape) * (rng.random(shape) > 0.2)).astype(np.float32)

    return Network(
        layers=(
            Conv(name="conv", inputs=("input",), weight=weight(3, 2, 2, 3), bias=weight(3)),
            GlobalAveragePool(name="pool", inputs=("conv",)),
            Linear(name="fc", inputs=("pool",), weight=weight(5, 3)),
        ),
        input_shape=(4, 4, 2),
        normalisation=Normalisation(full_scale=255.0, mean=(0.0, 0.0), std=(1.0, 1.0)),
        classes=tuple("abcde"),
    )


def equal(a, b):
    """Every field of two layers of a snapshot agrees bit for bit."""
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(SnapshotLayer))


# Closed forms


def rectified(mean, spread):
    """First and second moment of max(mean + spread z, 0)."""
    inside, density = NORMAL.cdf(mean / spread), NORMAL.pdf(mean / spread)
    return mean * inside + spread * density, (mean**2 + spread**2) * inside + mean * spread * density


def decay(model, g, log_time, order):
    """E[exp(-order nu L)] of a normal nu, or of its size."""
    mu, sigma = law(model.exponent_mean, g), law(model.exponent_spread, g)
    length = order * log_time

    def half(mean):
        tail = NORMAL.cdf(mean / sigma - sigma * length) if model.exponent_absolute else 1.0
        return math.exp(-mean * length + (sigma * length) ** 2 / 2) * tail

    return half(mu) + (half(-mu) if model.exponent_absolute else 0.0)


def law(function, g):
    return float(function(np.array([g]))[0])


@lru_cache
def closed_form(model, g, t):
    """Mean and variance of one device of target g: (programmed, drifted, read), in uS."""
    if g == 0 and not model.programs_zero:
        return ((0.0, 0.0),) * 3
    target, spread = model.g_max_us * g, law(model.programming_spread_us, g)
    t += model.t_offset_s
    factors = [decay(model, g, math.log(t / model.t_c_s), order) for order in (1, 2)]
    growth = math.sqrt(math.log((t + model.t_read_s) / (2 * model.t_read_s)))
    programmed = rectified(target, spread)
    drifted = [p * f for p, f in zip(programmed, factors, strict=True)]
    if model.read_noise_of_programmed:
        z = np.linspace(max(-target / spread, -8.0), 8.0, 40_001)
        g_us = target + spread * z
        noise = growth * model.read_noise(g_us / model.g_max_us)
        moments = rectified(1.0, noise)
        density = NORMAL.pdf(z)
        seen = [scipy.integrate.trapezoid(density * g_us ** (i + 1) * moments[i], z) for i in (0, 1)]
        read = [s * f for s, f in zip(seen, factors, strict=True)]
    else:
        noise = rectified(1.0, growth * law(model.read_noise, g))
        read = [d * n for d, n in zip(drifted, noise, strict=True)]
    return [(first, second - first**2) for first, second in (programmed, drifted, read)]


def check_moments(sample, mean, variance):
    """Mean and variance within 5 sigma; the fourth moment, which the variance's error needs, is the sample's."""
    n = sample.size
    assert abs(sample.mean() - mean) <= 5 * math.sqrt(variance / n)
    squares = (sample - mean) ** 2
    assert abs(squares.mean() - variance) <= 5 * math.sqrt(squares.var() / n)


@pytest.fixture(scope="module", params=MODELS)
def many(request):
    """A chip with 8,000 devices of each target and sign, and its snapshots at all times."""
    model = MODELS[request.param]
    weights = np.array([sign * g for g in TARGETS for sign in SIGNS], np.float32)
    network = linear_network(np.tile(weights, (COLUMNS, 1)))
    chip = program(network, model=model, seed=11)
    return chip, {t: chip.at(t) for t in TIMES}


def rows_of(g):
    """The two crossbar rows of a target, with their signs."""
    first = 2 * TARGETS.index(g)
    return ((first, 1), (first + 1, -1))


def test_closed_forms_of_programming(many):
    chip, _ = many
    state = chip.layers[0].state
    dense = state.dense(state.g_prog_us)
    for g in TARGETS:
        exact = float(np.float32(g))
        mean, variance = closed_form(chip.model, exact, 20.0)[0]
        sample = np.concatenate([dense[0 if sign > 0 else 1, row] for row, sign in rows_of(g)])
        check_moments(sample, mean, variance)
        other = np.concatenate([dense[1 if sign > 0 else 0, row] for row, sign in rows_of(g)])
        check_moments(other, *closed_form(chip.model, 0.0, 20.0)[0])


def test_closed_forms_of_drift_exponents(many):
    chip, _ = many
    state, model = chip.layers[0].state, chip.model
    dense, programmed = state.dense(state.nu), state.dense(state.g_prog_us)
    for g in TARGETS[1:]:
        exact = float(np.float32(g))
        mu, sigma = law(model.exponent_mean, exact), law(model.exponent_spread, exact)
        if model.exponent_absolute:
            mean = rectified(mu, sigma)[0] + rectified(-mu, sigma)[0]
            sigma = math.sqrt(mu**2 + sigma**2 - mean**2)
            mu = mean
        place = [(0 if sign > 0 else 1, row) for row, sign in rows_of(g)]
        sample = np.concatenate([dense[p] for p in place])
        check_moments(sample, mu, sigma**2)
        conductance = np.concatenate([programmed[p] for p in place])
        assert abs(np.corrcoef(sample, conductance)[0, 1]) < 5 / math.sqrt(sample.size)


@pytest.mark.parametrize("t", TIMES)
def test_closed_forms_of_drift_and_read(many, t):
    chip, snapshots = many
    layer, model = snapshots[t].layers[0], chip.model
    for codes, stage in ((layer.mean_code, 1), (layer.read_code, 2)):
        zero = closed_form(model, 0.0, t)[stage]
        for g in TARGETS:
            mean, variance = closed_form(model, float(np.float32(g)), t)[stage]
            pairs = [codes[row] * (sign * model.g_step_us) for row, sign in rows_of(g)]
            check_moments(np.concatenate(pairs), mean - zero[0], variance + zero[1])


@pytest.mark.parametrize("t", TIMES)
def test_closed_form_of_pair_sums(many, t):
    chip, snapshots = many
    zero = closed_form(chip.model, 0.0, t)[2]
    moments = [closed_form(chip.model, float(np.float32(g)), t)[2] for g in TARGETS for _ in SIGNS]
    mean, variance = (sum(m[i] + zero[i] for m in moments) for i in (0, 1))
    sums = snapshots[t].layers[0].g_read_code.sum(axis=(0, 1))
    check_moments(sums * chip.model.g_step_us, mean, variance)


def test_read_noise_is_independent_from_read_to_read():
    n = 40_000
    model = replace(NANDAKUMAR_2019, read_noise=Constant(0.02))  # no floor
    chip = program(linear_network(np.full((n, 1), 0.5)), model=model, seed=3)
    noises = []
    for snapshot in (chip.at(HOUR), chip.at(HOUR, read=1), chip.at(HOUR, read=2), chip.at(DAY)):
        layer = snapshot.layers[0]
        noises.append((layer.read_code[0].astype(float) - layer.mean_code[0]) / np.sqrt(64.0 * layer.variance_code[0]))
    programmed = chip.layers[0].state.g_prog_us
    for i, noise in enumerate(noises):
        check_moments(noise, 0.0, 1.0)
        for other in [*noises[:i], programmed]:
            assert abs(np.corrcoef(noise, other)[0, 1]) < 5 / math.sqrt(n)


def test_the_mean_of_a_reset_device_that_is_programmed_is_0_105_us():
    """A number that the documentation of aihwkit's law implies."""
    assert round(closed_form(AIHWKIT, 0.0, 20.0)[0][0], 3) == 0.105


# Targets of zero


def test_reset_devices_stay_at_zero():
    weight = np.zeros((3, 4), np.float32)
    weight[1, 2] = -1.0
    chip = program(linear_network(weight), seed=5)
    assert chip.layers[0].state.device.tolist() == [12 + 2 * 3 + 1]  # polarity -, row 2, column 1
    for t in TIMES:
        layer = chip.at(t).layers[0]
        for codes in (layer.mean_code, layer.read_code, layer.variance_code):
            assert (codes != 0).sum() == 1
        assert layer.mean_code[2, 1] < 0 < layer.variance_code[2, 1]
        for codes in (layer.g_mean_code, layer.g_read_code, layer.g_variance_code):
            assert np.flatnonzero(codes).tolist() == [12 + 2 * 3 + 1]
            assert codes[1, 2, 1] > 0


def test_a_layer_of_zeros_stays_zero():
    chip = program(linear_network(np.zeros((3, 4), np.float32)))
    layer = chip.at(DAY).layers[0]
    assert not any(c.any() for c in (layer.g_mean_code, layer.g_read_code, layer.g_variance_code))
    assert layer.weight_per_us.tolist() == [1 / 25.0] * 3
    assert layer.mean_code.shape == (4, 3)


def test_aihwkit_s_sets_program_both_devices():
    chip = program(linear_network(np.zeros((200, 4), np.float32)), model=AIHWKIT)
    assert chip.layers[0].state.device.tolist() == list(range(1600))
    assert (chip.layers[0].state.g_prog_us > 0).mean() == pytest.approx(0.5, abs=5 * 0.5 / 40)


# Convergence


def test_devices_that_do_not_converge_are_uniform():
    n, share = 40_000, 0.3
    model = replace(NANDAKUMAR_2019.ideal(), nonconverged_share=share)
    weight = np.tile(np.array([0.5, -0.5, 0.0, 1.0], np.float32), (n, 1))
    state = program(linear_network(weight), model=model, seed=8).layers[0].state
    g_us = state.dense(state.g_prog_us)
    for polarity, row, target in ((0, 0, 12.5), (1, 1, 12.5), (0, 3, 25.0)):
        failed = g_us[polarity, row] != target
        assert abs(failed.mean() - share) < 5 * math.sqrt(share * (1 - share) / n)
        found = scipy.stats.kstest(g_us[polarity, row][failed] / 25.0, "uniform")
        assert found.pvalue > 1e-6  # one false alarm in a million
        order = np.corrcoef(failed[:-1], failed[1:])[0, 1]
        assert abs(order) < 5 / math.sqrt(n)
    assert not g_us[:, 2].any()
    assert not g_us[1, 0].any()
    together = np.corrcoef(g_us[0, 0] != 12.5, g_us[1, 1] != 12.5)[0, 1]
    assert abs(together) < 5 / math.sqrt(n)


@pytest.mark.parametrize("model", [NANDAKUMAR_2019, AIHWKIT], ids=lambda m: m.name)
def test_share_of_nonconverged_devices_at_its_limits(model):
    network = linear_network(np.array([[0.5, -0.25, 0.0]] * 50, np.float32))
    all_fail = program(network, model=replace(model, nonconverged_share=1.0)).layers[0].state
    chip = program(network, model=model)
    (mapped,), normal = chip.targets(), chip.layers[0].state
    few = program(network, model=replace(model, nonconverged_share=1e-12)).layers[0].state
    assert np.array_equal(normal.g_prog_us, few.g_prog_us)
    programmed = mapped.pair_targets_us().reshape(-1)[normal.device] > 0
    assert (all_fail.g_prog_us != normal.g_prog_us)[programmed].all()
    assert (all_fail.g_prog_us == normal.g_prog_us)[~programmed].all()
    assert np.array_equal(all_fail.nu[~programmed], normal.nu[~programmed])


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.name)
def test_what_did_not_converge_drifts_and_fluctuates_as_a_device_meant_to_be_there(model):
    rng = np.random.default_rng(3)
    weight = np.append(rng.uniform(0.0, 0.01, 50), 1.0).astype(np.float32)  # 0.25 uS at most, and the largest one
    chip = program(linear_network(weight[:, None]), model=replace(model, nonconverged_share=1.0), seed=5)
    (mapped,), state = chip.targets(), chip.layers[0].state
    g_prog_us, nu, q_s = (state.dense(values)[0, 0] for values in (state.g_prog_us, state.nu, state.q_s))
    assert g_prog_us[:-1].max() > 20 * mapped.g_target_us[0, :-1].max()
    there = g_prog_us / model.g_max_us
    z = [naive.normal(naive.philox([column, 0, 0, 0], naive.stream(5, 1, 0))[2]) for column in range(len(weight))]
    assert nu == pytest.approx(pcm.drift_exponent(model, there, np.array(z)), rel=1e-12)
    assert q_s == pytest.approx(pcm.relative_read_noise(model, there), rel=1e-12)


@pytest.mark.parametrize("share", [0.009, 0.05])
@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.name)
def test_no_variance_code_of_a_published_set_saturates(model, share):
    weight = np.random.default_rng(1).normal(0, 1, (300, 100)).astype(np.float32)
    chip = program(linear_network(weight), model=replace(model, nonconverged_share=share))
    for t_s in (25.0, DAY, 365 * DAY):
        layer = chip.at(t_s).layers[0]
        assert layer.g_variance_code.astype(int).sum(axis=0).max() < CODE_LIMIT


def test_a_device_fails_to_converge_if_its_uniform_number_is_below_the_share():
    network = linear_network(np.array([[0.001, -0.5, 1.0]], np.float32))  # a target of 0.025 uS, too
    for row, polarity in ((0, 0), (1, 1), (2, 0)):
        words = naive.philox([row, 0, 0, 0], naive.stream(1, 2, 0))
        u = naive.uniform(words[polarity])
        for share, fails in ((u, False), (math.nextafter(u, 1.0), True)):
            model = replace(NANDAKUMAR_2019, nonconverged_share=share)
            state = program(network, model=model, seed=1).layers[0].state
            uniform_us = naive.uniform(words[2 + polarity]) * 25.0
            assert (state.dense(state.g_prog_us)[polarity, row, 0] == uniform_us) == fails


# Addresses


@pytest.mark.parametrize("scale", ["layer", "column"])
@pytest.mark.parametrize("seed", [0, 2**64 - 3])
@pytest.mark.parametrize(
    "model",
    [
        NANDAKUMAR_2019,
        AIHWKIT,
        replace(NANDAKUMAR_2019, nonconverged_share=0.1),
        replace(MODELS["HERMES_2"], nonconverged_share=0.3),
    ],
    ids=lambda m: f"{m.name}, {m.nonconverged_share}",
)
@pytest.mark.parametrize("significance", [(1,), (1, 3)], ids=str)
def test_a_chip_equals_the_naive_one(model, seed, scale, significance):
    network = two_layers()
    chip = program(network, model=model, seed=seed, scale=scale, significance=significance)
    snapshots = {(t, read): chip.at(t, read=read) for t, read in ((HOUR, 0), (DAY, 2**32 - 1))}
    for address, layer in enumerate(network.crossbar_layers):
        rows, columns = layer.rows * len(significance), layer.columns
        targets, weight_per_us = naive.targets_us(layer, model.g_max_us, scale, significance)
        found = chip.layers[address]
        meant = list(chip.targets())[address]
        assert found.name == meant.name == layer.name
        assert found.shape == meant.shape == (rows, columns)
        assert meant.g_target_us == pytest.approx(np.array(targets), rel=1e-14)
        assert found.weight_per_us == pytest.approx(weight_per_us, rel=1e-14)
        assert found.weight_per_us.tobytes() == meant.weight_per_us.tobytes()
        devices = naive.program(layer, model, seed, address, scale, significance)
        assert found.state.device.tolist() == sorted((p * rows + r) * columns + c for p, r, c in devices)
        expected = np.array([devices[key] for key in sorted(devices)]).T
        for name, values in zip(("g_prog_us", "nu", "q_s"), expected, strict=True):
            assert getattr(found.state, name) == pytest.approx(values, rel=1e-12, abs=1e-12)
        for (t, read), snapshot in snapshots.items():
            codes = naive.read(devices, rows, columns, model, seed, address, t, read)
            for name, values in zip(("g_mean_code", "g_read_code", "g_variance_code"), codes, strict=True):
                assert getattr(snapshot.layers[address], name).tolist() == values.tolist()


def test_the_draws_of_a_layer_do_not_depend_on_other_layers():
    one, two = two_layers(0), two_layers(1)
    mixed = replace(one, layers=(two.layers[0], *one.layers[1:]))
    chips = [program(network, seed=4) for network in (one, mixed)]
    assert equal(chips[0].at(DAY).layers[1], chips[1].at(DAY).layers[1])
    assert not np.array_equal(chips[0].at(DAY).layers[0].mean_code, chips[1].at(DAY).layers[0].mean_code)


@laws
@given(st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1), st.floats(1.0, 1e10), st.integers(0, 2**32 - 2))
def test_a_seed_is_enough(seed, other, t, read):
    network = two_layers()
    chip, again = (program(network, seed=seed) for _ in range(2))
    another = program(network, seed=(seed + other) % 2**64)
    for address, layer in enumerate(chip.layers):
        mine, same, others = layer.state, again.layers[address].state, another.layers[address].state
        assert np.array_equal(mine.g_prog_us, same.g_prog_us)
        assert np.array_equal(mine.nu, same.nu)
        assert not np.isin(mine.g_prog_us, others.g_prog_us).all()
        assert not np.isin(mine.nu, others.nu).all()
    again.at(t, read=read + 1)  # the order of calls does not matter
    again.reference()
    late, early = again.at(t, read=read), again.at(20.0)
    assert all(map(equal, chip.at(20.0).layers, early.layers))
    assert all(map(equal, chip.at(t, read=read).layers, late.layers))
    assert (late.t_s, late.read, late.seed, late.network) == (t, read, seed, network)
    other_read = chip.at(t, read=read + 1)
    for a, b in zip(late.layers, other_read.layers, strict=True):
        assert np.array_equal(a.mean_code, b.mean_code)
        assert np.array_equal(a.g_variance_code, b.g_variance_code)
        assert not np.array_equal(a.read_code, b.read_code)


# Grids


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("t", TIMES)
def test_grid_errors_are_at_most_half_a_step(model, t):
    chip = program(two_layers(), model=model, seed=9)
    for devices, read in zip((layer.state for layer in chip.layers), chip.at(t).layers, strict=True):
        drifted = pcm.drifted_us(model, devices.g_prog_us, devices.nu, t)
        spread = pcm.read_noise_spread_us(model, drifted, devices.q_s, t)
        dense = devices.dense(drifted)
        half = model.g_step_us / 2
        error = np.abs(read.mean_code * model.g_step_us - (dense[0] - dense[1]))
        one_device = (dense == 0).any(axis=0)
        assert (error <= np.where(one_device, half, 2 * half) * (1 + 1e-12)).all()
        variance, step = np.square(devices.dense(spread)), 64 * model.g_step_us**2
        assert (np.abs(read.g_variance_code * step - variance) <= step / 2 * (1 + 1e-12)).all()


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_reference_has_no_drift(model):
    chip = program(two_layers(), model=model, seed=6)
    reference = chip.reference()
    assert reference.t_s == model.t_c_s - model.t_offset_s
    for layer, read in zip(chip.layers, reference.layers, strict=True):
        dense = layer.state.dense(layer.state.g_prog_us)
        codes = np.rint(dense / model.g_step_us)
        assert np.array_equal(read.mean_code, codes[0] - codes[1])
    if model.t_offset_s == 0:
        assert all(map(equal, reference.layers, chip.at(model.t_c_s).layers))


def test_a_network_without_crossbars_has_nothing_to_say():
    network = nets.tiny()
    mean = GlobalAveragePool(name="mean", inputs=("input",))
    network = replace(network, layers=(mean,), classes=("a", "b", "c"), evaluation=None, calibration=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert program(network).at(DAY).layers == ()


def test_the_significance_of_a_chip_is_a_tuple_whatever_it_was():
    chip = program(nets.tiny(), significance=[2, 1])
    assert chip.significance == replace(chip, significance=[2, 1]).significance == (2, 1)


def test_codes_saturate_at_16_bits():
    weight = np.random.default_rng(1).choice([-1.0, 1.0], (30, 20)).astype(np.float32)
    wild = replace(NANDAKUMAR_2019, programming_spread_us=Constant(500.0), read_noise=Constant(50.0))
    with pytest.warns(PcmrefWarning, match=r"of the devices of layer 'fc' at 20 s conduct or fluctuate more"):
        layer = program(linear_network(weight), model=wild).at(20.0).layers[0]
    for codes in (layer.mean_code, layer.read_code, layer.g_mean_code, layer.g_read_code):
        assert codes.dtype == np.int16
        assert codes.max() == 32767
    assert layer.mean_code.min() == layer.read_code.min() == -32767
    assert layer.g_mean_code.min() == layer.g_read_code.min() == 0
    for codes in (layer.variance_code, layer.g_variance_code):
        assert codes.dtype == np.int16
        assert codes.max() == 32767
        assert codes.min() == 0


def test_the_variance_of_a_pair_is_the_sum_of_its_devices_and_saturates():
    codes = np.array([[[1, 32767, 16384, 32766, 0]], [[2, 32767, 16383, 2, 32767]]], np.int16)
    layer = SnapshotLayer(
        name="x", g_mean_code=codes, g_read_code=codes, g_variance_code=codes, weight_per_us=np.ones(5)
    )
    assert layer.variance_code.tolist() == [[3, 32767, 32767, 32767, 32767]]
    assert layer.variance_code.dtype == np.int16
    with pytest.raises(ValueError, match="read-only"):
        layer.variance_code[0, 0] = 0


@laws
@given(st.integers(0, 2**32), st.integers(-6, 6))
def test_scaling_all_weights_changes_only_the_digital_scale(seed, k):
    network = two_layers(seed % 7)
    layers = tuple(
        replace(x, weight=x.weight * np.float32(2.0**k), bias=None if x.bias is None else x.bias * np.float32(2.0**k))
        if isinstance(x, Conv | Linear)
        else x
        for x in network.layers
    )
    pair = [program(net, seed=seed).at(HOUR).layers for net in (network, replace(network, layers=layers))]
    for a, b in zip(*pair, strict=True):
        assert np.array_equal(a.read_code, b.read_code)
        assert np.array_equal(a.weight_per_us * 2.0**k, b.weight_per_us)


# Checks


def test_defaults():
    network = two_layers()
    chip, expected = program(network), program(network, model=NANDAKUMAR_2019, seed=0, scale="layer")
    assert (chip.model, chip.seed) == (NANDAKUMAR_2019, 0)
    assert all(map(equal, chip.at(DAY).layers, expected.at(DAY, read=0).layers))


@pytest.mark.parametrize("scale", ["layer", "column"])
def test_a_chip_and_its_snapshots_know_where_they_come_from(scale):
    network, model = two_layers(), MODELS["HERMES_2"]
    chip = program(network, model=model, seed=7, scale=scale)
    for value in (chip, chip.at(DAY), chip.reference()):
        assert (value.network, value.model, value.seed, value.scale) == (network, model, 7, scale)
        assert [layer.name for layer in value.layers] == ["conv", "fc"]


def test_progress_names_every_layer():
    names = []
    program(two_layers(), progress=names.append)
    assert names == ["conv", "fc"]


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "0", None])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(ParameterError, match="seed"):
        program(two_layers(), seed=seed)


def test_bad_scales_are_refused():
    with pytest.raises(ParameterError, match="scale: expected one of layer, column, found 'row'"):
        program(two_layers(), scale="row")


@pytest.mark.parametrize("t", [0.0, -1.0, math.nan, math.inf, "1", True])
def test_bad_times_are_refused(t):
    with pytest.raises(ParameterError, match="t_s"):
        program(two_layers()).at(t)


@pytest.mark.parametrize("read", [-1, 2**32, 0.0, True, "0", None])
def test_bad_read_numbers_are_refused(read):
    with pytest.raises(ParameterError, match=r"read: expected an integer from 0 to 2\*\*32 - 1"):
        program(two_layers()).at(DAY, read=read)


def test_the_values_between_stages_cannot_be_written_to():
    chip = program(nets.tiny())
    snapshot = chip.at(86400.0)
    mapped, states = list(chip.targets()), [layer.state for layer in chip.layers]
    for layers in (mapped, chip.layers, states, snapshot.layers):
        for layer in layers:
            arrays = [value for value in vars(layer).values() if isinstance(value, np.ndarray)]
            assert len(arrays) >= 2
            assert not any(array.flags.writeable for array in arrays)
    own = np.zeros((2, 2))
    views = MappedLayer(name="x", g_target_us=own[:1], weight_per_us=own[1])
    own += 1  # still the caller's
    assert not views.g_target_us.any()
    assert not views.weight_per_us.any()
    codes = snapshot.layers[0].read_code
    with pytest.raises(ValueError, match="read-only"):
        codes[0, 0] += 1
    stuck = snapshot.layers[0].g_read_code.copy()
    stuck[:, 0, 0] = 100, 0
    assert replace(snapshot.layers[0], g_read_code=stuck).read_code[0, 0] == 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"g_read_code": np.full((2, 27, 5), 40000)}, "g_read_code: expected int16 of shape (2, 27, 5), found int64"),
        ({"g_mean_code": np.zeros((2, 28, 5), np.int16)}, "g_read_code: expected int16 of shape (2, 28, 5), found"),
        ({"g_read_code": np.zeros((2, 28, 5), np.int16)}, "g_read_code: expected int16 of shape (2, 27, 5), found"),
        ({"g_mean_code": np.zeros((27, 5), np.int16)}, "g_mean_code: expected int16 of shape (2, any, any), found"),
        ({"g_mean_code": [[1]]}, "g_mean_code: expected int16 of shape (2, any, any), found [[1]]"),
        (
            {"g_read_code": np.full((2, 27, 5), -1, np.int16)},
            "g_read_code: expected finite numbers from 0 on, found -1",
        ),
        (
            {"g_variance_code": np.full((2, 27, 5), -1, np.int16)},
            "g_variance_code: expected finite numbers from 0 on, found",
        ),
        (
            {"g_variance_code": np.zeros((27, 5), np.int16)},
            "g_variance_code: expected int16 of shape (2, 27, 5), found",
        ),
        ({"weight_per_us": np.full(5, np.nan)}, "weight_per_us: expected finite numbers from 0 on, found nan at [0]"),
        ({"weight_per_us": np.ones(4)}, "weight_per_us: expected float64 of shape (5,), found float64 of shape (4,)"),
    ],
)
def test_codes_that_are_none_are_refused(change, message):
    layer = program(nets.tiny()).at(DAY).layers[0]
    assert layer.shape == (27, 5)
    with pytest.raises(ParameterError, match=re.escape(f"{layer.name}: {message}")):
        replace(layer, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"programmed": np.ones(270, bool)},
            "programmed: expected bool of shape (2, any, any), found bool of shape (270,)",
        ),
        ({"programmed": np.ones((2, 27, 5))}, "programmed: expected bool of shape (2, any, any), found float64"),
        ({"programmed": np.ones((2, 27, 5), bool)}, "g_prog_us: expected float64 of shape (270,), found float64"),
        ({"g_prog_us": np.ones(2)}, "g_prog_us: expected float64 of shape (3,), found float64 of shape (2,)"),
        ({"g_prog_us": np.array([1.0, -0.1, 2.0])}, "g_prog_us: expected finite numbers from 0 on, found -0.1 at [1]"),
        ({"nu": np.array([0.1, np.inf, 0.1])}, "nu: expected finite numbers, found inf at [1]"),
        ({"q_s": np.array([0.1, 0.1, np.nan])}, "q_s: expected finite numbers from 0 on, found nan at [2]"),
        ({"q_s": np.array([0.1, 0.1, -0.1])}, "q_s: expected finite numbers from 0 on, found -0.1 at [2]"),
    ],
)
def test_devices_that_are_none_are_refused(change, message):
    state = program(nets.tiny()).layers[0].state
    programmed = np.zeros((2, 27, 5), bool)
    programmed.flat[[0, 5, 269]] = True
    three = replace(state, programmed=programmed, g_prog_us=np.ones(3), nu=-np.ones(3), q_s=np.zeros(3))
    assert three.device.tolist() == [0, 5, 269]
    assert three.dense(np.array([1, 2, 3]))[[0, 0, 1], [0, 1, 26], [0, 0, 4]].tolist() == [1, 2, 3]
    with pytest.raises(ParameterError, match=f"^{re.escape(message)}"):
        replace(three, **change)


@pytest.mark.parametrize("make", [lambda chip: chip, lambda chip: chip.at(DAY)], ids=["chip", "snapshot"])
def test_layers_of_another_network_are_refused(make):
    value = make(program(nets.tiny()))
    for layers, message in (
        ((), "layers: expected the 5 crossbar layers of the network, found 0"),
        (value.layers[:-1], "layers: expected the 5 crossbar layers of the network, found 4"),
        (list(value.layers), "layers: expected a tuple, found "),
        ((value.layers[1], value.layers[0], *value.layers[2:]), "layers[0]: expected 'conv1' of shape (27, 5), found "),
        ((*value.layers[:-1], 7), "layers[4]: expected a "),
    ):
        with pytest.raises(ParameterError, match=re.escape(message)):
            replace(value, layers=layers)


@pytest.mark.parametrize("make", [lambda chip: chip, lambda chip: chip.at(DAY)], ids=["chip", "snapshot"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model: expected a Technology (pcmref.MODELS), found None"),
        ({"seed": 2**64}, "seed: expected an integer from 0 to 2**64 - 1"),
        ({"seed": -1}, "seed: expected an integer from 0"),
        ({"scale": "tile"}, "scale: expected one of layer, column, found 'tile'"),
        ({"scale": np.array(["layer", "x"])}, "scale: expected one of layer, column"),
        ({"network": None}, "network: expected a Network"),
    ],
)
def test_chips_and_snapshots_of_nothing_are_refused(make, change, message):
    value = make(program(nets.tiny()))
    with pytest.raises(ParameterError, match=re.escape(message)):
        replace(value, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t_s": math.nan}, "t_s: expected from"),
        ({"t_s": "x"}, "t_s: expected a time in seconds"),
        ({"t_s": -1.0}, "t_s: expected from"),
        ({"read": -1}, "read: expected an integer from 0 to 2**32 - 1"),
        ({"read": 2**32}, "read: expected an integer"),
    ],
)
def test_snapshots_of_no_time_are_refused(change, message):
    with pytest.raises(ParameterError, match=re.escape(message)):
        replace(program(nets.tiny()).at(DAY), **change)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.name)
def test_a_snapshot_of_any_allowed_time_can_be_changed(model):
    chip = program(nets.tiny(), model=model)
    for snapshot in (chip.reference(), chip.at(DAY)):
        assert replace(snapshot, read=np.int64(3)).t_s == snapshot.t_s
        assert type(replace(snapshot, seed=np.uint64(3)).seed) is int


def test_targets_that_are_none_are_refused():
    chip = program(nets.tiny())
    mapped, layer = next(chip.targets()), chip.layers[0]
    with pytest.raises(ParameterError, match=r"conv1: g_target_us: expected finite numbers, found nan at \[0, 0\]"):
        replace(mapped, g_target_us=mapped.g_target_us * np.nan)
    with pytest.raises(ParameterError, match=r"conv1: weight_per_us: expected float64 of shape \(5,\), found"):
        replace(mapped, weight_per_us=np.ones(6))
    with pytest.raises(ParameterError, match=r"conv1: zero: expected bool of shape \(5,\), found None"):
        replace(layer, zero=None)
    with pytest.raises(ParameterError, match=r"conv1: weight_per_us: expected .*, found -1.0 at \[0\]"):
        replace(layer, weight_per_us=-np.ones(5))


def test_what_travels_between_processes_cannot_be_written_to_there_either():
    chip = program(nets.tiny())
    for again in (pickle.loads(pickle.dumps((chip, chip.at(DAY)))), copy.deepcopy((chip, chip.at(DAY)))):
        network = again[0].network
        devices = [part for layer in again[0].layers for part in (layer, layer.state)]
        values = [*devices, *again[1].layers, *network.layers, network.evaluation, network.calibration]
        arrays = [array for value in values for array in vars(value).values() if isinstance(array, np.ndarray)]
        assert len(arrays) > 60
        assert not any(array.flags.writeable for array in arrays)
        assert np.array_equal(
            logits(again[1], network.evaluation.images), logits(chip.at(DAY), network.evaluation.images)
        )


def test_chips_and_snapshots_can_be_compared_and_hashed():
    chip = program(nets.tiny())
    snapshot = chip.at(25.0)
    assert snapshot != chip.at(25.0)
    assert len({chip, snapshot, snapshot.layers[0], chip.layers[0]}) == 4
