"""A chip whose tiles are those of the RTL, and images for it."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

import pcmref
from pcmref.files.cifar10 import load_cifar10

#: Images that ranges are found with, where a network has none stored.
RANGE_IMAGES = 100


def chip_readout(network, tile_rows, read_noise="frozen"):
    """Return the readout of preset `rtl8` with tiles of so many rows, and the network's ranges, stored or found."""
    readout = replace(pcmref.PRESETS["rtl8"], tile_rows=tile_rows, read_noise=read_noise)
    if network.calibration is None:
        return pcmref.with_stored_ranges(network, readout)
    return pcmref.calibrate_ranges(network, network.calibration.images[:RANGE_IMAGES], readout)


def images_of(network, count):
    """Return images: the network's own, or of CIFAR-10 where it is at hand, or random pixels, which are as good."""
    if network.evaluation is not None:
        return network.evaluation.images[:count]
    if os.environ.get("PCMREF_DATA"):
        return load_cifar10(split="test").images[:count]
    return np.random.default_rng(0).integers(0, 256, (count, *network.input_shape), np.uint8)
