"""Unsigned codes and negative inputs: which layers may have some, and the warning."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

import pcmref
from pcmref.crossbar.converters import Dac
from pcmref.crossbar.readout import Readout
from pcmref.devices.chip import program
from pcmref.errors import PcmrefWarning
from pcmref.inference.signs import negative_inputs
from pcmref.network.graph import Network
from pcmref.network.operations import Add, GlobalAveragePool, MaxPool, PadShortcut, Relu, TakeChannels
from tests.helpers.nets import RGB, batch_norm, conv, tiny

BLACK = replace(RGB, mean=(0.0, 0.0, 0.0))
UNSIGNED = Readout(name="mine", dac=Dac(bits=8, codes="unsigned"))


def reads(*layers, normalisation=BLACK):
    """Whether a convolution that reads the last of these layers may see a negative input."""
    rng = np.random.default_rng(1)
    last = layers[-1].name if layers else "input"
    net = Network(
        layers=(*layers, conv(rng, "last", last, 3, 2), GlobalAveragePool(name="mean", inputs=("last",))),
        input_shape=(4, 4, 3),
        normalisation=normalisation,
        classes=("a", "b"),
    )
    return "last" in negative_inputs(net)


def test_images_are_negative_where_a_mean_is_taken_off():
    assert not reads()
    assert reads(normalisation=RGB)
    assert reads(normalisation=replace(RGB, mean=(0.0, 0.1, 0.0)))


def test_what_each_layer_makes_of_signs():
    rng, relu = np.random.default_rng(1), Relu(name="relu", inputs=("conv",))
    first = conv(rng, "conv", "input", 3, 3, padding=1)
    norm = batch_norm(rng, "norm", "relu", 3)
    assert reads(first)
    assert not reads(first, relu)
    assert reads(first, relu, norm)
    assert not reads(first, relu, norm, Relu(name="again", inputs=("norm",)))
    for keeps in (
        MaxPool(name="keeps", inputs=("relu",), kernel=2, stride=1),
        PadShortcut(name="keeps", inputs=("relu",), stride=1),
        TakeChannels(name="keeps", inputs=("relu",), first=0, count=3),
        Add(name="keeps", inputs=("relu", "input")),
    ):
        assert not reads(first, relu, keeps)
        assert reads(first, relu, replace(keeps, inputs=("conv",) * len(keeps.inputs)))
    for inputs in (("relu", "conv"), ("conv", "relu")):
        assert reads(first, relu, Add(name="sum", inputs=inputs))


def test_a_mean_over_pixels_keeps_its_sign():
    assert negative_inputs(tiny()) == ("conv1",)
    assert negative_inputs(tiny(normalisation=BLACK)) == ()


@pytest.mark.filterwarnings("ignore:readout mine. .* do the ranges fit")  # one black image
def test_unsigned_codes_warn_of_the_layers_that_may_lose_signs():
    snapshot = program(tiny()).at(25.0)
    message = r"^readout mine: unsigned DAC codes take negative inputs for 0; conv1 may have some$"
    for use in (
        lambda: pcmref.prepare(snapshot, readout=UNSIGNED),
        lambda: pcmref.logits(snapshot, np.zeros((1, 6, 6, 3), np.uint8), readout=UNSIGNED),
        lambda: pcmref.calibrate_ranges(tiny(), np.zeros((1, 6, 6, 3), np.uint8), UNSIGNED),
    ):
        with pytest.warns(PcmrefWarning, match=message):
            use()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pcmref.prepare(program(tiny(normalisation=BLACK)).at(25.0), readout=UNSIGNED)
        pcmref.prepare(snapshot, readout=replace(UNSIGNED, dac=Dac(bits=8, codes="offset")))


def test_of_many_layers_the_first_three_are_named():
    layers = [layer for layer in tiny().layers if not isinstance(layer, Relu)]
    names = {"relu1": "bn1", "relu2": "add1", "relu3": "add2"}
    layers = [replace(layer, inputs=tuple(names.get(name, name) for name in layer.inputs)) for layer in layers]
    snapshot = program(tiny(layers=tuple(layers))).at(25.0)
    with pytest.warns(PcmrefWarning, match=r"; conv1, conv2, short and 2 more may have some$"):
        pcmref.prepare(snapshot, readout=UNSIGNED)
