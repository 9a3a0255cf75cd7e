"""Network files: small ones of several kinds."""

import dataclasses
import functools
import tempfile
from pathlib import Path

import numpy as np

import pcmref
from pcmref.network.images import Samples
from pcmref.network.layers import Conv
from pcmref.network.operations import GlobalAveragePool, MaxPool
from tests.fuzz.hdf5_changes import changed_hdf5
from tests.helpers.nets import tiny


@functools.cache
def corpus():
    """Files whose bytes are structure for the greater part, and one with every operation."""
    layers = (
        MaxPool(name="pool", inputs=("input",), kernel=2, stride=2),
        Conv(name="conv", inputs=("pool",), weight=np.ones((2, 1, 1, 1), np.float32), bias=np.ones(2, np.float32)),
        GlobalAveragePool(name="mean", inputs=("conv",)),
    )
    images = Samples(images=np.zeros((2, 2, 2, 1), np.uint8), labels=np.zeros(2, np.int64), where="evaluation")
    grey = dataclasses.replace(tiny().normalisation, mean=(0.0,), std=(1.0,))
    small = {"layers": layers, "input_shape": (2, 2, 1), "normalisation": grey, "classes": ("a", "b")}
    ranges = {"chip8": {"conv": pcmref.Range(input_top=1.0, sum_top_us=2.0)}}
    networks = (
        tiny(**small, evaluation=None, calibration=None),
        tiny(**small, evaluation=images, calibration=None, ranges=ranges),
        tiny(),
    )
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            pcmref.save(Path(folder) / "net.h5", network)
            files.append((Path(folder) / "net.h5").read_bytes())
    return files


def good():
    return {"net.h5": corpus()[-1]}


def changed(rng):
    return {"net.h5": changed_hdf5(rng, rng.choice(corpus()))}


def read(folder):
    pcmref.load(folder / "net.h5")
