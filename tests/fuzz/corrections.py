"""Files of corrections."""

import functools
import tempfile
from pathlib import Path

import numpy as np

import pcmref
from pcmref.files.corrections import load_corrections, save_corrections
from pcmref.inference.corrections import Corrections, Statistics
from tests.fuzz.hdf5_changes import changed_hdf5
from tests.helpers.nets import tiny


@functools.cache
def snapshot():
    network = tiny()
    object.__setattr__(network, "sha256", "0" * 64)  # as if it had been read from a file
    return pcmref.program(network).at(100.0)


@functools.cache
def corpus():
    full = Corrections(
        gain={"conv1": np.array([1.5]), "conv2": np.linspace(1, 2, 7)},
        statistics={"bn1": Statistics(mean=np.zeros(5), var=np.ones(5))},
    )
    with tempfile.TemporaryDirectory() as folder:
        save_corrections(Path(folder) / "c.h5", full, snapshot())
        return (Path(folder) / "c.h5").read_bytes()


def good():
    return {"c.h5": corpus()}


def changed(rng):
    return {"c.h5": changed_hdf5(rng, corpus())}


def read(folder):
    load_corrections(folder / "c.h5", snapshot())
