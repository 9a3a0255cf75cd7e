"""Each kernel on the shapes of ResNet-32: ``python -m pytest tests/benchmarks --benchmark-enable -n 0``.

Without that option every case runs once, so that it keeps working; no time is ever asserted.
"""

from dataclasses import dataclass

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.operands import (
    Adc,
    AnalogLayer,
    Conversions,
    Dac,
    Digital,
    Noise,
    Tiles,
    Window,
    filled_columns,
    panels,
)
from pcmref.crossbar.layer import window
from pcmref.crossbar.layout import cut, lay_out
from pcmref.network.geometry import Geometry, geometry
from pcmref.network.layers import Conv

pytest.importorskip("pytest_benchmark")

IMAGES = 16
#: Stage -> pixels along an edge, channels: the 3 x 3 convolutions of the paper's network.
STAGES = {"stage1": (32, 16), "stage2": (16, 28), "stage3": (8, 56)}
LIMIT = 2047  # of a 12-bit DAC
NOISE = Noise(np.uint64(1), np.uint64(2), False)


def adc(columns):
    """Return an ADC of 8 bits for so many columns."""
    gain = np.zeros((1, filled_columns(columns)))
    gain[:, :columns] = 1e-5
    return Adc(gain, np.zeros_like(gain), -127.0, 127.0, 0)


def dac(limit):
    return Dac(np.float32(0), np.float32(-limit), np.float32(limit), 0, 1, False)


@dataclass
class Layer:
    """Input, geometry, and one tile of random codes of one layer."""

    x: np.ndarray
    geometry: Geometry
    window: Window
    tiles: Tiles

    @property
    def columns(self):
        return self.tiles.columns

    def codes(self):
        return kernels().drive(self.x, self.window, dac(LIMIT))[0]

    def sums(self):
        return kernels().accumulate(self.codes(), self.window.pixel, *self.tiles.matrix(0, self.tiles.conductance))


@pytest.fixture(params=STAGES)
def layer(request):
    size, channels = STAGES[request.param]
    rng = np.random.default_rng(0)
    weight = np.zeros((channels, channels, 3, 3), np.float32)
    conv = Conv(name="conv", inputs=("input",), weight=weight, padding=1)
    shape = geometry(conv, (size, size, channels), (size, size, channels))
    codes = rng.integers(-9000, 9000, (len(shape.row), channels)).astype(np.int16)
    return Layer(
        x=rng.normal(size=(IMAGES, size, size, channels)).astype(np.float32),
        geometry=shape,
        window=window(shape, shape.pixel // 2),
        tiles=lay_out(shape.row, codes[None], None, parts=cut(len(shape.row), None), limit=LIMIT),
    )


def digital(columns):
    """Return a batch normalisation and a ReLU."""
    one = np.ones(columns, np.float32)
    return Digital(unit=one, scale=one, offset=one, rectify=True)


def test_drive(benchmark, layer):
    benchmark(kernels().drive, layer.x, layer.window, dac(LIMIT))


def test_accumulate(benchmark, layer):
    codes, operands = layer.codes(), layer.tiles.matrix(0, layer.tiles.conductance)
    benchmark(kernels().accumulate, codes, layer.window.pixel, *operands)
    benchmark.extra_info["multiply-adds"] = IMAGES * layer.window.pixels * len(layer.geometry.row) * layer.columns


def test_accumulate_float(benchmark, layer):
    padded = np.zeros((IMAGES, *layer.geometry.padded_shape), np.float32)
    matrix = panels(np.ones((len(layer.geometry.row), layer.columns), np.float32))
    pixel = window(layer.geometry, layer.geometry.pixel).pixel
    benchmark(kernels().accumulate_float, padded, pixel, layer.geometry.row, matrix)


def test_add_read_noise(benchmark, layer):
    sums, image = layer.sums(), np.arange(IMAGES, dtype=np.uint64)
    benchmark(kernels().add_read_noise, sums, np.abs(sums), layer.columns, NOISE, 0, image)


def test_digitise(benchmark, layer):
    benchmark(kernels().digitise, layer.sums(), layer.columns, adc(layer.columns), 0)


def test_digitise_noisy(benchmark, layer):
    sums, image = layer.sums(), np.arange(IMAGES, dtype=np.uint64)
    benchmark(kernels().digitise_noisy, sums, np.abs(sums), layer.columns, NOISE, 0, image, adc(layer.columns))


def test_finish(benchmark, layer):
    other = layer.x.reshape(IMAGES, -1, layer.columns)
    sums = layer.sums()[:, : layer.window.pixels]
    benchmark(kernels().finish, sums, np.ones(IMAGES, np.float32), digital(layer.columns), other)


@pytest.mark.parametrize("fresh", [False, True], ids=["frozen", "fresh"])
def test_analog_layer(benchmark, layer, fresh):
    conductance = layer.tiles.conductance
    operands = AnalogLayer(
        window=layer.window,
        dac=dac(127),
        tiles=layer.tiles._replace(variance=conductance._replace(packed=np.abs(conductance.packed))),
        conversions=Conversions(
            *np.zeros((2, 1), np.int64), np.ones(1, np.int64), np.zeros((1, layer.columns), np.int64)
        ),
        noise=NOISE if fresh else None,
        register=None,
        adc=adc(layer.columns),
        table=None,
    )
    other, image = layer.x.reshape(IMAGES, -1, layer.columns), np.arange(IMAGES, dtype=np.uint64)
    benchmark(kernels().analog_layer(operands, digital(layer.columns)), layer.x, other, image)


def test_moments(benchmark, layer):
    benchmark(kernels().moments, layer.x.reshape(IMAGES, -1, layer.columns))


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
    if readout.needs_ranges:
        readout = pcmref.calibrate_ranges(net, net.calibration.images[:50], readout)
    benchmark(pcmref.logits, snapshot, net.evaluation.images, readout=readout)
