"""What the C library with Python in it calls: a chip of a network, programmed once, at one time after another.

``pcmref_python.h`` is its interface.  C keeps the chips and hands its memory over for the time of a call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pcmref.arrays import UInt8
from pcmref.crossbar.readout import Readout, preset
from pcmref.devices.chip import Chip, Snapshot, program
from pcmref.devices.published import model
from pcmref.errors import DataError, ParameterError, describe
from pcmref.files.networks import bundled, load
from pcmref.golden.folders import write_case
from pcmref.golden.layers import network_case
from pcmref.inference.compensation import calibrate
from pcmref.inference.corrections import Corrections
from pcmref.inference.ranges import RANGE_IMAGES, calibrate_ranges, stored_if_any
from pcmref.inference.run import PreparedChip, prepare
from pcmref.network.graph import Network
from pcmref.network.images import Images

__all__ = ["EmbeddedChip", "chip_at", "chip_logits", "chip_size", "export_chip", "program_chip"]

#: When a chip is read first, in seconds after programming [J20].
FIRST_READ_S = 25.0


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedChip:
    """A chip at one time, ready for images, and what another time needs."""

    chip: Chip
    compensation: str
    readout: Readout
    snapshot: Snapshot
    corrections: Corrections
    prepared: PreparedChip

    @property
    def network(self) -> Network:
        """What is programmed."""
        return self.snapshot.network


def program_chip(network: str, model_name: str, seed: int, preset_name: str, compensation: str) -> EmbeddedChip:
    """Program a network, with the ranges of its file or of its calibration images, as of `FIRST_READ_S`."""
    loaded, devices = load(network or bundled()), model(model_name)
    readout = stored_if_any(loaded, preset(preset_name), model=devices, scale="layer")
    if readout.needs_ranges:
        images = _calibration(loaded, f"ranges of preset {preset_name}")[:RANGE_IMAGES]
        readout = calibrate_ranges(loaded, images, readout, model=devices)
    return _at(program(loaded, model=devices, seed=seed), compensation, readout, FIRST_READ_S)


def chip_at(chip: EmbeddedChip, t_s: float) -> EmbeddedChip:
    """Return the same chip at another time."""
    return _at(chip.chip, chip.compensation, chip.readout, t_s)


def chip_size(chip: EmbeddedChip, what: int) -> int:
    """Return height, width or channels of an image, or the number of classes."""
    return (*chip.network.input_shape, len(chip.network.classes))[what]


def chip_logits(chip: EmbeddedChip, pixels: memoryview, first: int, logits: memoryview) -> None:
    """Run images through the chip, and put the logits, float32, where C wants them."""
    images, classes = _images(chip.network, pixels), len(chip.network.classes)
    found = np.frombuffer(logits, np.float32)
    if found.size != len(images) * classes:
        raise ParameterError("logits", f"{len(images) * classes} elements", str(found.size))
    found[:] = chip.prepared(images, addresses=range(first, first + len(images))).reshape(-1)


def export_chip(chip: EmbeddedChip, folder: str, layer: str, pixels: memoryview) -> None:
    """Write the golden case of images as a folder: of one layer, or of all."""
    if not folder:
        raise ParameterError("folder", "a name", "none")
    images = _images(chip.network, pixels)
    case = network_case(chip.snapshot, images, chip.readout, corrections=chip.corrections, layer=layer or None)
    write_case(Path(folder), replace(case, command="pcmref_chip_export"))


def _at(chip: Chip, compensation: str, readout: Readout, t_s: float) -> EmbeddedChip:
    snapshot = chip.at(t_s=t_s)
    images = _calibration(snapshot.network, compensation) if "adabs" in compensation else None
    corrections = calibrate(snapshot, compensation, reference=chip.reference(), images=images, readout=readout)
    return EmbeddedChip(
        chip=chip,
        compensation=compensation,
        readout=readout,
        snapshot=snapshot,
        corrections=corrections,
        prepared=prepare(snapshot, corrections=corrections, readout=readout),
    )


def _calibration(network: Network, use: str) -> Images:
    if network.calibration is None:
        raise DataError("network", f"calibration images in its file, for {use}", "none")
    return network.calibration.images


def _images(network: Network, pixels: memoryview) -> UInt8:
    """Return pixels that C has laid out as images, one after another."""
    each = int(np.prod(network.input_shape))
    if len(pixels) == 0 or len(pixels) % each:
        raise ParameterError("pixels", f"{each} for each image", describe(len(pixels)))
    return np.frombuffer(pixels, np.uint8).reshape(-1, *network.input_shape)
