"""Each kernel on the shapes of ResNet-32: ``python -m pytest tests/benchmarks --benchmark-enable``.

Without that option every case runs once, so that it keeps working; no time is ever asserted.
"""

import numpy as np
import pytest

import pcmref
from pcmref import crossbar
from pcmref.backend import kernels
from pcmref.converters import largest_code
from pcmref.im2col import geometry
from pcmref.layers import Conv

pytest.importorskip("pytest_benchmark")

IMAGES = 16
#: Stage -> pixels along an edge, channels: the 3 x 3 convolutions of the paper's network.
STAGES = {"stage1": (32, 16), "stage2": (16, 28), "stage3": (8, 56)}


@pytest.fixture(params=STAGES)
def layer(request):
    """Input, geometry, and a tile of random codes of one layer."""
    size, channels = STAGES[request.param]
    rng = np.random.default_rng(0)
    weight = np.zeros((channels, channels, 3, 3), np.float32)
    conv = Conv(name="conv", inputs=("input",), weight=weight, padding=1)
    shape = geometry(conv, (size, size, channels), (size, size, channels))
    x = rng.normal(size=(IMAGES, size, size, channels)).astype(np.float32)
    codes = rng.integers(-9000, 9000, (len(shape.row), channels)).astype(np.int16)
    pair, place = np.unique(shape.row // 2, return_inverse=True)
    matrix = crossbar._pack(codes, len(pair), place, shape.row % 2, largest_code(12))
    return x, shape, pair, matrix


def to_codes(x, shape):
    """Convert as a 12-bit DAC does."""
    return kernels().to_codes(x, np.full(IMAGES, 500, np.float32), 2047, None, 1, shape.padded_shape[2])


def test_largest(benchmark, layer):
    benchmark(kernels().largest, layer[0])


def test_to_codes(benchmark, layer):
    benchmark(to_codes, layer[0], layer[1])


def test_accumulate(benchmark, layer):
    x, shape, pair, matrix = layer
    codes = to_codes(x, shape)
    benchmark(kernels().accumulate, codes, shape.pixel, pair, matrix.packed, matrix.segment)
    benchmark.extra_info["multiply-adds"] = IMAGES * len(shape.pixel) * len(shape.row) * x.shape[-1]


def test_accumulate_float(benchmark, layer):
    x, shape, _, _ = layer
    padded = np.zeros((IMAGES, *shape.padded_shape), np.float32)
    matrix = np.ones((len(shape.row), -(-x.shape[-1] // 16) * 16), np.float32)
    benchmark(kernels().accumulate_float, padded, shape.pixel, shape.row, matrix)


def sums(layer):
    """Return sums as `accumulate` gives them."""
    x, shape, pair, matrix = layer
    return kernels().accumulate(to_codes(x, shape), shape.pixel, pair, matrix.packed, matrix.segment)


def test_add_read_noise(benchmark, layer):
    found, image = sums(layer), np.arange(IMAGES, dtype=np.uint64)
    benchmark(kernels().add_read_noise, found, np.abs(found), layer[0].shape[-1], (1, 2), 0, image)


def test_digitise(benchmark, layer):
    benchmark(kernels().digitise, sums(layer).astype(np.int64), 1e-5, 8)


def test_finish(benchmark, layer):
    channels = layer[0].shape[-1]
    unit, other = np.ones(channels, np.float32), layer[0].reshape(IMAGES, -1, channels)
    benchmark(kernels().finish, sums(layer), np.ones(IMAGES, np.float32), unit, (unit, unit), other, True)


def test_moments(benchmark, layer):
    benchmark(kernels().moments, layer[0].reshape(IMAGES, -1, layer[0].shape[-1]))


@pytest.fixture(scope="module")
def net():
    return pcmref.load(pcmref.bundled())


def test_program(benchmark, net):
    benchmark(pcmref.program, net, seed=0)


def test_snapshot(benchmark, net):
    benchmark(pcmref.program(net, seed=0).at, 86_400.0)


@pytest.mark.parametrize("compensation", ["gdc", "adabs"])
def test_calibrate(benchmark, net, compensation):
    chip = pcmref.program(net, seed=0)
    images = net.calibration.images
    benchmark(pcmref.calibrate, chip.at(86_400.0), compensation, reference=chip.reference(), images=images)


@pytest.mark.parametrize("preset", pcmref.PRESETS)
def test_logits(benchmark, net, preset):
    snapshot = pcmref.program(net, seed=0).at(86_400.0)
    readout = pcmref.PRESETS[preset]
    if readout.adc_bits is not None:
        readout = pcmref.calibrate_ranges(net, net.calibration.images[:50], readout)
    benchmark(pcmref.logits, snapshot, net.evaluation.images, readout=readout)
