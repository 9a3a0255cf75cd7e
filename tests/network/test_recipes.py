"""Recipes of normalisation, and networks of BGR images on RGB ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pcmref
from pcmref.errors import NetworkError, ParameterError
from pcmref.network.images import Normalisation
from pcmref.network.layers import Conv
from pcmref.network.operations import GlobalAveragePool, Relu
from pcmref.network.recipes import RECIPES, for_channels, on_rgb, recipe

RNG = np.random.default_rng(1)
#: Of each recipe, what red, green and blue of 0 and of 255 become, worked out by hand.
ENDS = {
    "torchvision": ([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]),
    "caffe": ([-123.68, -116.779, -103.939], [131.32, 138.221, 151.061]),
    "tensorflow": ([-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]),
    "unit": ([0.0] * 3, [1.0] * 3),
    "raw": ([0.0] * 3, [255.0] * 3),
}


def conv(**changes):
    weight = RNG.normal(size=(5, 3, 2, 2)).astype(np.float32)
    return Conv(**{"name": "conv", "inputs": ("input",), "weight": weight, **changes})


def network(layers, normalisation):
    layers = (*layers, GlobalAveragePool(name="pool", inputs=(layers[-1].name,)))
    return pcmref.Network(
        layers=layers, input_shape=(4, 6, 3), normalisation=normalisation, classes=tuple("abcde"), provenance={}
    )


@pytest.mark.parametrize("name", RECIPES)
def test_black_and_white(name):
    np.testing.assert_allclose(for_channels(recipe(name).normalisation, 3).table()[[0, 255]], ENDS[name], rtol=1e-6)
    assert set(RECIPES) == set(ENDS)


def test_a_network_of_bgr_images_gives_the_same_on_rgb_images():
    layers = (conv(), Relu(name="relu", inputs=("conv",)))
    caffe = recipe("caffe")
    images = RNG.integers(0, 256, (7, 4, 6, 3)).astype(np.uint8)
    theirs = network(layers, Normalisation(full_scale=1.0, mean=(103.939, 116.779, 123.68), std=(1.0,) * 3))
    ours = network(on_rgb(layers, caffe.order), caffe.normalisation)
    expected = pcmref.digital(theirs, images[..., ::-1])
    np.testing.assert_allclose(pcmref.digital(ours, images), expected, rtol=1e-5, atol=1e-3)
    assert abs(pcmref.digital(ours, images[..., ::-1]) - expected).max() > 1


@pytest.mark.parametrize("name", ["torchvision", "tensorflow"])
def test_a_network_of_rgb_images_stays_as_it_is(name):
    layers = (conv(), Relu(name="relu", inputs=("conv",)))
    assert on_rgb(layers, recipe(name).order) == layers


def test_only_convolutions_that_read_the_image_are_changed():
    first = conv()
    second = replace(first, name="second", inputs=("conv",), weight=RNG.normal(size=(5, 5, 1, 1)).astype(np.float32))
    changed = on_rgb([first, second], "bgr")
    assert (changed[0].weight == first.weight[:, [2, 1, 0]]).all()
    assert changed[1] is second


@pytest.mark.parametrize(
    "layer",
    [Relu(name="odd", inputs=("input",)), conv(name="odd", weight=np.ones((3, 1, 2, 2), np.float32), groups=3)],
    ids=["relu", "groups"],
)
def test_another_layer_cannot_read_a_bgr_image(layer):
    with pytest.raises(NetworkError, match="graph/odd: expected a convolution of one group"):
        on_rgb([layer], "bgr")


def test_unknown_recipes():
    with pytest.raises(ParameterError, match=r"recipe: expected one of torchvision, .*, raw, found 'keras'"):
        recipe("keras")
