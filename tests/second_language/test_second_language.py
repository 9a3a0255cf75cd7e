"""The text of SPEC.md is enough: a second implementation in C99, written from it alone, gives the same bits.

`second.c` shares no line and no language with the package. Compared are the conductance and variance codes of every
device, the digital scales, the gains and statistics of the compensations, and the logits.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import pcmref
from pcmref.arithmetic import elementary
from tests.second_language.driver import (
    COMPENSATIONS,
    MODELS,
    PRESETS,
    ROUNDINGS,
    Answer,
    RefusedError,
    build,
    functions,
    random_chip,
    random_converters,
    run,
    write_network,
    write_random_network,
    write_wide_network,
)
from tests.second_language.flatten import flatten, network_digest, read

DIGITS = Path(pcmref.bundled())
REFUSED = (1, 33, 39)  # random networks whose sums or gains their random converters do not hold
RESNET = DIGITS.with_name("resnet32-cifar10.h5")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """second.c, compiled without a warning."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler `cc`")
    return build(compiler, tmp_path_factory.mktemp("second") / "second")


def test_elementary_functions_have_the_same_bits(program: Path, tmp_path: Path) -> None:
    """What they give is mostly rounded to a grid afterwards, which hides their last bits."""
    rng = np.random.default_rng(3)
    words = (rng.integers(0, 2**32, 50_000) + 0.5) * 2.0**-32
    extremes = np.concatenate([2.0 ** -np.arange(1.0, 1000), 1 - 2.0 ** -np.arange(2.0, 53), np.arange(1.0, 1000)])
    numbers = np.concatenate([words, 10 ** rng.uniform(-307, 307, 20_000), rng.uniform(-750, 750, 20_000), extremes])
    got = functions(program, numbers, tmp_path)
    positive, inside = numbers > 0, (numbers > 0) & (numbers < 1)
    np.testing.assert_array_equal(got[positive, 0], elementary.ln(numbers[positive]))
    np.testing.assert_array_equal(got[:, 1], elementary.exp(numbers))
    np.testing.assert_array_equal(got[inside, 2], elementary.normal_quantile(numbers[inside]))


def asked_readout(o: dict) -> pcmref.Readout:
    """The preset of the options, with what they change in it."""
    preset = pcmref.PRESETS[o["preset"]]
    adc = preset.adc
    if adc:
        changes = {field: o[field] for field in ("rounding",) if field in o}
        if "adc_low" in o:
            changes |= {"bits": 24, "low": o["adc_low"], "high": o["adc_high"], "offset": o["adc_offset"]}
        if kind := o.get("gain_of"):
            changes["gain_bits"] = o["gain_bits"] if kind == "range-fixed" else None
            own = {"own": o["gain"], "own-fixed": pcmref.FixedPoint(o["mult"], o["shift"])}
            changes["gain"] = own.get(kind)
        adc = dataclasses.replace(adc, **changes)
    return pcmref.Readout(
        name="compared",
        dac=pcmref.Dac(
            bits=o.get("dac_bits", preset.dac.bits),
            codes=o.get("dac_codes", "symmetric"),
            drive=o.get("drive", "parallel"),
        ),
        adc=adc,
        accumulator=pcmref.Accumulator(bits=o["register_bits"], beyond=o["beyond"]) if "beyond" in o else None,
        lines=o.get("lines", "pair"),
        read_noise=o.get("read_noise", preset.read_noise),
        tile_rows=o.get("tile_rows", preset.tile_rows) or None,
        tile_columns=o.get("tile_columns", preset.tile_columns) or None,
    )


def expected(network: pcmref.Network, o: dict, images: np.ndarray, calibration: np.ndarray) -> Answer:
    """What pcmref gives for the options of second.c, as the bytes that second.c writes."""
    model = dataclasses.replace(
        pcmref.MODELS[o.get("model", "NANDAKUMAR_2019")], nonconverged_share=o.get("share", 0.0)
    )
    scale, significance = o.get("scale", "layer"), tuple(int(s) for s in str(o.get("significance", "1")).split(","))
    chip = pcmref.program(network, model=model, seed=o.get("seed", 0), scale=scale, significance=significance)
    snapshot = chip.at(t_s=o.get("time", 25.0), read=o.get("read", 0))
    readout = asked_readout(o)
    if readout.adc:
        try:
            readout = pcmref.with_stored_ranges(network, readout, model=model, scale=scale)
        except pcmref.PcmrefError:
            first = calibration[: o.get("range_images", 200)]
            readout = pcmref.calibrate_ranges(network, first, readout, model=model, scale=scale)
    corrections = pcmref.calibrate(
        snapshot,
        o.get("compensation", "none"),
        reference=chip.reference(),
        images=calibration,
        readout=readout,
        gdc_readout=o.get("gdc_readout", "absolute"),
    )
    codes = b"".join(
        b"".join(kind.astype("<u2").tobytes() for kind in (layer.g_mean_code, layer.g_read_code, layer.g_variance_code))
        + layer.weight_per_us.astype("<f8").tobytes()
        for layer in snapshot.layers
    )
    gains = [
        np.broadcast_to(corrections.gain.get(layer.name, 1.0), network.shapes[layer.name][-1:])
        for layer in network.crossbar_layers
    ]
    statistics = []
    for node in network.layers:
        if (now := corrections.statistics.get(node.name)) is not None:
            statistics += [now.mean, now.var]
        elif node.op == "batch_norm":
            statistics += [node.mean, node.var]
    first = o.get("first_image", 0)
    logits = pcmref.logits(
        snapshot,
        images,
        corrections=corrections,
        readout=readout,
        addresses=range(first, first + len(images)),
        threads=1,
    )
    return Answer(
        logits=logits.astype("<f4").tobytes(),
        codes=codes,
        corrections=b"".join(np.asarray(a, "<f8").tobytes() for a in (*gains, *statistics)),
        said="",
    )


def assert_same_bits(got: Answer, want: Answer) -> None:
    """Codes before corrections before logits: the first stage that differs is the one to look at."""
    for stage, kind in (("codes", "<u2"), ("corrections", "<f8"), ("logits", "<u4")):
        one, other = getattr(got, stage), getattr(want, stage)
        assert len(one) == len(other), f"{stage}: {len(one)} bytes, not {len(other)}"
        if one != other:
            at = int(np.flatnonzero(np.frombuffer(one, kind) != np.frombuffer(other, kind))[0])
            pytest.fail(f"{stage} differ, first at element {at}")


def compare(program: Path, folder: Path, h5: Path, o: dict, images: np.ndarray, calibration: np.ndarray) -> bool:
    """Whether both answer, with the same bits; False if both refuse."""
    flat = folder / "network.flat"
    flatten(h5, flat, images=images, calibration=calibration)
    try:
        want = expected(pcmref.load(h5), o, images, calibration)
    except pcmref.PcmrefError as error:
        with pytest.raises(RefusedError):
            pytest.fail(f"only pcmref refuses, {error}: {run(program, flat, folder, **o).said}")
        return False
    assert_same_bits(run(program, flat, folder, **o), want)
    return True


# Every preset with every compensation; models, scales, times and seeds take turns.
DIGITS_CASES = [
    {"preset": preset, "compensation": compensation, "model": model, "scale": scale, "time": t, "seed": seed}
    for (preset, compensation), model, scale, t, seed in zip(
        itertools.product(PRESETS, COMPENSATIONS),
        itertools.cycle(MODELS),
        itertools.cycle(("layer", "column", "column")),
        itertools.cycle((25.0, 86400.0)),
        itertools.cycle((0, 0, 2**63 + 5, 2**63 + 5)),
        strict=False,
    )
]


@pytest.mark.parametrize("options", DIGITS_CASES, ids=lambda o: "-".join((o["preset"], o["compensation"], o["model"])))
def test_the_digits_have_the_same_bits(program: Path, tmp_path: Path, options: dict) -> None:
    network = pcmref.load(DIGITS)
    assert network.evaluation is not None
    assert network.calibration is not None
    images, calibration = network.evaluation.images[:20], network.calibration.images[:450]
    assert compare(program, tmp_path, DIGITS, options, images, calibration)


@pytest.mark.parametrize(
    ("preset", "model"), [("paper", "NANDAKUMAR_2019"), ("chip8", "HERMES_2"), ("rtl8", "HERMES_1")]
)
def test_the_resnet32_has_the_same_bits(program: Path, tmp_path: Path, preset: str, model: str) -> None:
    """It comes with ranges of `chip8`, stored for another G_max than that of the HERMES chips."""
    images = np.random.default_rng(32).integers(0, 256, (2, 32, 32, 3), np.uint8)
    options = {"preset": preset, "model": model, "compensation": "gdc", "time": 86400.0, "seed": 3, "share": 0.01}
    assert compare(program, tmp_path, RESNET, options, images, images[:0])


@pytest.mark.filterwarnings("ignore::pcmref.PcmrefWarning")
@pytest.mark.parametrize("number", range(40))
def test_random_networks_have_the_same_bits(program: Path, tmp_path: Path, number: int) -> None:
    """Each has every operation; every second one has converters of its own instead of a preset's.

    2, 14 and 16 have stored ranges that fit.
    """
    rng = np.random.default_rng([2020, number])
    h5 = tmp_path / "network.h5"
    write_random_network(h5, rng)
    options = random_chip(rng)
    if number % 2:
        options |= random_converters(rng, options["preset"])
    network = pcmref.load(h5)
    assert network.evaluation is not None
    assert network.calibration is not None
    answered = compare(program, tmp_path, h5, options, network.evaluation.images, network.calibration.images)
    assert answered == (number not in REFUSED)


@pytest.mark.filterwarnings("ignore::pcmref.PcmrefWarning")
@pytest.mark.parametrize("number", range(20))
def test_what_each_operation_gives_has_the_same_bits(program: Path, tmp_path: Path, number: int) -> None:
    """With no operation behind it that would hide a bit; the digest of the network is the same, too."""
    rng = np.random.default_rng([2021, number])
    h5 = tmp_path / "network.h5"
    write_wide_network(h5, rng)
    network = pcmref.load(h5)
    assert network.evaluation is not None
    with h5py.File(h5) as file:
        assert network.digest == network_digest(*read(file))
    images = network.evaluation.images
    assert compare(program, tmp_path, h5, {"preset": "paper", "seed": number}, images, images[:0])


@pytest.mark.filterwarnings("ignore::pcmref.PcmrefWarning")
@pytest.mark.parametrize(
    "node",
    [
        {"op": "relu"},
        {"op": "leaky_relu", "slope": 0.01},
        {"op": "clip", "low": 0, "high": 6},
        {"op": "clip", "low": -1, "high": 0},
        {"op": "hard_sigmoid", "slope": 1 / 6, "offset": 0.5},
        {"op": "hard_sigmoid", "slope": 1, "offset": -0.0},
        {"op": "sigmoid"},
        {"op": "tanh"},
        {"op": "local_response_norm", "size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1},
    ],
    ids=lambda node: node["op"],
)
def test_what_functions_give_has_the_same_bits(program: Path, tmp_path: Path, node: dict) -> None:
    """Of 65,536 numbers from 1e-10 to 1e3 in size and both zeros, since only a few show which formula it was."""
    rng = np.random.default_rng(4)
    h5 = tmp_path / "network.h5"
    nodes = [
        {"name": "affine", "op": "affine", "inputs": ["input"]},
        {"name": "function", "inputs": ["affine"]} | node,
        {"name": "flat", "op": "flatten", "inputs": ["function"]},
    ]
    scale = 10 ** rng.uniform(-10, 2.5, 256)
    scale[0] = 0
    tensors = {"affine/scale": scale, "affine/shift": np.full(256, -0.0)}
    graph = {"input": [16, 16, 256], "nodes": nodes}
    write_network(h5, graph, tensors, (255.0, [0.5] * 256, [0.25] * 256), classes=2**16)
    images = rng.integers(0, 256, (1, 16, 16, 256), np.uint8)
    assert compare(program, tmp_path, h5, {"preset": "paper"}, images, images)


POOL = {"op": "max_pool", "inputs": ["input"], "kernel": 2, "stride": 2, "padding": 0}
REFUSED_NODES = {
    "no pixel before": [POOL | {"padding": [2, 0, 0, 0]}],
    "no pixel after": [POOL | {"op": "average_pool", "padding": [0, 0, 0, 4]}],
    "no pixel between": [POOL | {"kernel": [2, 1], "dilation": [5, 1], "padding": [1, 0, 1, 0]}],
    "no window": [POOL | {"dilation": [5, 1]}],
    "groups": [{"op": "channel_shuffle", "inputs": ["input"], "groups": 4}],
    "first and count": [{"op": "take_channels", "inputs": ["input"], "first": 3, "count": 4}],
    "no channel": [{"op": "take_channels", "inputs": ["input"], "first": 6, "count": 0}],
    "order of the factors": [
        {"op": "global_average_pool", "inputs": ["input"]},
        {"op": "multiply", "inputs": ["node0", "input"]},
    ],
    "sizes": [POOL, {"op": "concat", "inputs": ["input", "node0"]}],
    "one input": [{"op": "concat", "inputs": ["input"]}],
    "three inputs": [{"op": "add", "inputs": ["input", "input", "input"]}],
    "low and high": [{"op": "clip", "inputs": ["input"], "low": 1, "high": 0.5}],
    "alpha": [{"op": "local_response_norm", "inputs": ["input"], "size": 1, "alpha": -0.1, "beta": 1, "bias": 1}],
    "bias": [{"op": "local_response_norm", "inputs": ["input"], "size": 1, "alpha": 1, "beta": 1, "bias": 2.0**-101}],
    "slope": [{"op": "leaky_relu", "inputs": ["input"], "slope": 2.0**101}],
}


@pytest.mark.parametrize("case", ["nothing", *REFUSED_NODES])
def test_what_the_text_forbids_is_refused(program: Path, tmp_path: Path, case: str) -> None:
    """No later node reads the forbidden ones, so that nothing else is wrong."""
    h5 = tmp_path / "network.h5"
    nodes = [{"name": f"node{i}", **node} for i, node in enumerate(REFUSED_NODES.get(case, [POOL]))]
    nodes += [
        {"name": "pool", "op": "global_average_pool", "inputs": ["input"]},
        {"name": "linear", "op": "linear", "inputs": ["pool"]},
    ]
    weight = {"linear/weight": np.ones((1, 6))}
    write_network(h5, {"input": [4, 4, 6], "nodes": nodes}, weight, (255.0, [0.5] * 6, [0.25] * 6), classes=1)
    images = np.ones((1, 4, 4, 6), np.uint8)
    assert compare(program, tmp_path, h5, {"preset": "paper"}, images, images) == (case == "nothing")


@pytest.mark.filterwarnings("ignore::pcmref.PcmrefWarning")
@pytest.mark.parametrize("gain", ["own", "own-fixed"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_ties_have_the_same_bits(program: Path, tmp_path: Path, rounding: str, gain: str) -> None:
    """With a gain of 2^-6 one sum in 64 is a tie; logits come right behind the ADC, so that no DAC hides a code."""
    rng = np.random.default_rng(64)
    h5 = tmp_path / "network.h5"
    nodes = [
        {"name": "pool", "op": "global_average_pool", "inputs": ["input"]},
        {"name": "linear", "op": "linear", "inputs": ["pool"]},
    ]
    weight = {"linear/weight": rng.normal(0, 1, (100, 4))}
    write_network(h5, {"input": [1, 1, 4], "nodes": nodes}, weight, (255.0, [0.5] * 4, [0.25] * 4), classes=100)
    images = rng.integers(0, 256, (20, 1, 1, 4), np.uint8)
    limits = {"adc_low": -(2**22), "adc_high": 2**22 - 1, "adc_offset": 5}
    gains = {"gain_of": gain, "gain": 2.0**-6, "gain_bits": 16, "mult": 2, "shift": 7}
    assert compare(program, tmp_path, h5, {"preset": "rtl8", "rounding": rounding} | limits | gains, images, images)


@pytest.mark.filterwarnings("ignore::pcmref.PcmrefWarning")
@pytest.mark.parametrize("beyond", ["saturate", "wrap"])
def test_registers_have_the_same_bits(program: Path, tmp_path: Path, beyond: str) -> None:
    """Without an ADC, the logits show what a register that is far too narrow holds."""
    network = pcmref.load(DIGITS)
    assert network.evaluation is not None
    options = {"preset": "paper", "register_bits": 20, "beyond": beyond}
    assert compare(program, tmp_path, DIGITS, options, network.evaluation.images[:3], network.evaluation.images[:0])


def test_the_worked_example_of_the_text(program: Path, tmp_path: Path) -> None:
    """Appendix B needs no pcmref: devices of B.2 and preset `paper` of B.4."""
    h5 = tmp_path / "network.h5"
    nodes = [
        {"name": "conv", "op": "conv", "inputs": ["input"], "stride": 1, "padding": 0},
        {"name": "bn", "op": "batch_norm", "inputs": ["conv"], "eps": 0.001},
        {"name": "relu", "op": "relu", "inputs": ["bn"]},
        {"name": "pool", "op": "global_average_pool", "inputs": ["relu"]},
    ]
    tensors = {
        "conv/weight": np.reshape([0.5, -0.75, -0.25, 1], (2, 2, 1, 1)),
        "conv/bias": [0.125, 0],
        "bn/gamma": [1.5, -0.5],
        "bn/beta": [0.25, -0.125],
        "bn/mean": [0.5, -0.25],
        "bn/var": [0.75, 2],
    }
    write_network(h5, {"input": [1, 1, 2], "nodes": nodes}, tensors, (255.0, [0.5, 0.25], [0.25, 0.5]), classes=2)
    flat = tmp_path / "network.flat"
    flatten(h5, flat, images=np.reshape([200, 31], (1, 1, 1, 2)).astype(np.uint8))
    got = run(program, flat, tmp_path, seed=2020, time=86400, first_image=7)
    digest = hashlib.sha256(got.codes).hexdigest()
    assert digest == "d3519b52c5e825e522e0cb611ce0fdd30cfa01183a1ffa1febfd6ff44c00ad2c"
    assert np.frombuffer(got.logits, "<u4").tolist() == [0x3EE9B44E, 0]


@pytest.mark.parametrize("kept", [0, 7, 8, 40, 100, 1000, -1])
def test_a_truncated_network_is_refused(program: Path, tmp_path: Path, kept: int) -> None:
    flat = tmp_path / "network.flat"
    flatten(DIGITS, flat)
    flat.write_bytes(flat.read_bytes()[:kept])
    with pytest.raises(RefusedError, match=r"the network ends|no flat network|larger than the file"):
        run(program, flat, tmp_path)
