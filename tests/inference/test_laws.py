"""Laws of whole networks: what may be exchanged, rescaled or turned round without a change, or with a known one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref.arithmetic.codes import Range
from pcmref.crossbar.converters import Adc, Dac, FixedPoint
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import program
from pcmref.devices.published import AIHWKIT, NANDAKUMAR_2019
from pcmref.inference.ranges import calibrate_ranges
from pcmref.inference.run import logits
from pcmref.network.graph import Network
from pcmref.network.layers import BatchNorm, Linear
from pcmref.network.operations import GlobalAveragePool, Relu
from tests.helpers.nets import RGB, batch_norm, conv, normal

pytestmark = pytest.mark.filterwarnings("ignore:readout .* do the ranges fit")  # networks of random numbers
laws = settings(max_examples=settings.default.max_examples // 4)

DAY = 86400.0
RNG = np.random.default_rng(3)
#: Two layers in a row, ReLU between them, and batch normalisation in front.
NETWORK = Network(
    input_shape=(5, 5, 3),
    normalisation=RGB,
    classes=("a", "b", "c", "d"),
    layers=(
        conv(RNG, "first", "input", 3, 6, bias=True),
        batch_norm(RNG, "norm", "first", 6),
        Relu(name="relu", inputs=("norm",)),
        conv(RNG, "second", "relu", 6, 7),
        Relu(name="relu2", inputs=("second",)),
        GlobalAveragePool(name="mean", inputs=("relu2",)),
        Linear(name="fc", inputs=("mean",), weight=normal(RNG, 4, 7)),
    ),
)
IMAGES = RNG.integers(0, 256, (9, 5, 5, 3), np.uint8)
#: No noise: a device is at the same place whichever channel it serves.
IDEAL = AIHWKIT.ideal()
CHIP8 = calibrate_ranges(NETWORK, IMAGES, replace(PRESETS["chip8"], tile_rows=20, read_noise="frozen"))
READOUTS = {
    "paper": PRESETS["paper"],
    "chip8": CHIP8,
    "bits": Readout(
        name="bits",
        dac=Dac(bits=5, codes="signed", drive="bit-serial"),
        adc=Adc(bits=9, gain=FixedPoint(5, 12), rounding="half-away"),
        ranges={name: Range(input_top=one.input_top, sum_top_us=1.0) for name, one in CHIP8.ranges.items()},
    ),
}


def run(network, readout, scale="layer"):
    return logits(program(network, model=IDEAL, scale=scale).at(DAY), IMAGES, readout=READOUTS[readout])


def reordered(layer, outputs=None, inputs=None):
    """A layer with its output or input channels in another order."""
    if isinstance(layer, BatchNorm):
        return replace(layer, **{name: getattr(layer, name)[outputs] for name in ("gamma", "beta", "mean", "var")})
    weight = layer.weight if outputs is None else layer.weight[outputs]
    bias = layer.bias if outputs is None or layer.bias is None else layer.bias[outputs]
    return replace(layer, weight=weight if inputs is None else weight[:, inputs], bias=bias)


def with_layers(**layers):
    """The network with other layers, and as many classes as its last one has columns."""
    several = tuple(layers.get(layer.name, layer) for layer in NETWORK.layers)
    return replace(NETWORK, layers=several, classes=tuple(map(str, range(several[-1].columns))))


def layer_of(name):
    return next(layer for layer in NETWORK.layers if layer.name == name)


@pytest.mark.parametrize("readout", READOUTS)
def test_the_logits_tell_images_and_classes_apart(readout):
    assert len(np.unique(run(NETWORK, readout))) > 20


@laws
@given(st.sampled_from(sorted(READOUTS)), st.permutations(range(4)))
def test_classes_in_another_order_have_their_logits_in_that_order(readout, order):
    network = with_layers(fc=reordered(layer_of("fc"), outputs=order))
    assert np.array_equal(run(network, readout), run(NETWORK, readout)[:, order])


@laws
@given(st.sampled_from(["paper", "bits"]), st.permutations(range(6)))
def test_the_order_of_channels_between_two_layers_changes_no_bit(readout, order):
    """Neither the layer that makes them nor the one that reads them knows it; no tile divides them."""
    first, norm, second = (layer_of(name) for name in ("first", "norm", "second"))
    network = with_layers(
        first=reordered(first, outputs=order),
        norm=reordered(norm, outputs=order),
        second=reordered(second, inputs=order),
    )
    assert np.array_equal(run(network, readout), run(NETWORK, readout))


@laws
@given(st.integers(-20, 20), st.sampled_from(["layer", "column"]), st.integers(0, 2**64 - 1))
def test_a_layer_and_its_successor_may_share_a_power_of_two(power, scale, seed):
    """The devices, their noise and the DAC's codes are the same; only the digital scales are others."""

    def found(network):
        chip = program(network, model=NANDAKUMAR_2019, seed=seed, scale=scale)
        return logits(chip.at(DAY), IMAGES, readout=PRESETS["paper"])

    second, fc = layer_of("second"), layer_of("fc")
    up, down = np.float32(2.0**power), np.float32(2.0**-power)
    network = with_layers(second=replace(second, weight=second.weight * up), fc=replace(fc, weight=fc.weight * down))
    assert found(network).tobytes() == found(NETWORK).tobytes()


@laws
@given(st.sampled_from(["paper", "chip8"]))
def test_weights_of_the_other_sign_give_logits_of_the_other_sign(readout):
    """Converters that are symmetric, and pairs of devices that change places."""
    fc = layer_of("fc")
    network = with_layers(fc=replace(fc, weight=-fc.weight))
    assert np.array_equal(run(network, readout), -run(NETWORK, readout))


@laws
@given(st.sampled_from(sorted(READOUTS)), st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
def test_a_class_does_not_know_the_others(readout, left):
    """With a scale for each column, so that none depends on the largest weight of all."""
    fewer = with_layers(fc=reordered(layer_of("fc"), outputs=left))
    assert np.array_equal(run(fewer, readout, "column"), run(NETWORK, readout, "column")[:, left])
