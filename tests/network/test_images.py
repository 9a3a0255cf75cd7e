"""Means and standard deviations in other units than the pixels."""

import warnings
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pcmref
from pcmref.errors import PcmrefWarning
from pcmref.network.images import Normalisation
from tests.helpers.nets import tiny

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
#: The same for pixels that were not divided by 255.
UNDIVIDED = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        (UNDIVIDED, r"-2\.118 to -2\.101"),
        ({"std": UNDIVIDED["std"]}, r"-0\.008306 to 0\.008819"),
        ({"mean": UNDIVIDED["mean"]}, r"-540\.1 to -535\.7"),
        ({"mean": UNDIVIDED["mean"], "std": (1.0,) * 3}, r"-123\.7 to -122\.7"),
        ({"mean": (0.485, 0.456, 103.53)}, r"-460\.1 to -455\.7"),
        ({"std": (0.229 / 255,) * 3}, r"-540\.1 to 573\.5"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_units_warn_with_the_inputs_that_they_make(changes, numbers, tmp_path):
    net = tiny()
    with pytest.warns(PcmrefWarning, match=f"^normalisation: pixels from 0 to 255 become inputs from {numbers}; mean"):
        scale = Normalisation(full_scale=255.0, **IMAGENET | changes)
    pcmref.save(tmp_path / "net.h5", replace(net, normalisation=scale))
    with pytest.warns(PcmrefWarning, match="^normalisation: "):
        pcmref.load(tmp_path / "net.h5")


@pytest.mark.parametrize(
    "scale",
    [
        {"full_scale": 255.0, **IMAGENET},
        {"full_scale": 1.0, **UNDIVIDED},
        {"full_scale": 255.0, "mean": (0.0,), "std": (1.0,)},
        {"full_scale": 1.0, "mean": (0.0,), "std": (1.0,)},
        {"full_scale": 255.0, "mean": (0.5,), "std": (0.5,)},
        {"full_scale": 16.0, "mean": (0.3,), "std": (0.37,)},
    ],
)
def test_what_networks_are_trained_with_says_nothing(scale):
    Normalisation(**scale)


@given(st.floats(0.0, 1.0), st.floats(0.01, 5.0))
def test_means_of_divided_pixels_say_nothing(mean, std):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Normalisation(full_scale=255.0, mean=(mean,), std=(std,))
