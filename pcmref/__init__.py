"""Golden reference for neural-network inference on phase-change-memory crossbars.

::

    net = pcmref.load("network.h5")              # a checked network file
    chip = pcmref.program(net, seed=0)           # every weight on two devices
    snapshot = chip.at(t_s=86_400)               # a day later
    logits = pcmref.logits(snapshot, images)     # uint8 images, exact to the last bit

``SPEC.md``, beside this file, specifies every bit.
"""

from __future__ import annotations

from pcmref.chip import Chip, Snapshot, program
from pcmref.compensation import COMPENSATIONS, calibrate, calibrate_ranges, with_stored_ranges
from pcmref.converters import PRESETS, Readout
from pcmref.corrections import load_corrections, save_corrections
from pcmref.errors import PcmrefError, PcmrefWarning
from pcmref.evaluate import TIMES_S, retention
from pcmref.network import Network
from pcmref.pcm import MODELS, PcmModel
from pcmref.periphery import Corrections
from pcmref.references import SPEC_VERSION
from pcmref.simulate import accuracy, digital, logits
from pcmref.weights import bundled, load, save

__version__ = "0.1.0"

__all__ = [
    "COMPENSATIONS",
    "MODELS",
    "PRESETS",
    "SPEC_VERSION",
    "TIMES_S",
    "Chip",
    "Corrections",
    "Network",
    "PcmModel",
    "PcmrefError",
    "PcmrefWarning",
    "Readout",
    "Snapshot",
    "accuracy",
    "bundled",
    "calibrate",
    "calibrate_ranges",
    "digital",
    "load",
    "load_corrections",
    "logits",
    "program",
    "retention",
    "save",
    "save_corrections",
    "with_stored_ranges",
]
