"""Golden reference for neural-network inference on phase-change-memory crossbars.

::

    net = pcmref.load("network.h5")              # a checked network file
    chip = pcmref.program(net, seed=0)           # every weight on two devices
    snapshot = chip.at(t_s=86_400)               # a day later
    logits = pcmref.logits(snapshot, images)     # uint8 images, exact to the last bit

``SPEC.md``, beside this file, specifies every bit.
"""

from __future__ import annotations

import pcmref.startup  # noqa: F401  (first, as what follows takes a while)

# isort: split
from pcmref.arithmetic.codes import Range
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.product import TileProduct
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.crossbar.tile import Tile, tile, tile_of
from pcmref.devices.chip import Chip, Snapshot, program
from pcmref.devices.pcm import PcmModel
from pcmref.devices.published import MODELS
from pcmref.devices.technology import Technology
from pcmref.errors import PcmrefError, PcmrefWarning
from pcmref.files.corrections import load_corrections, save_corrections
from pcmref.files.networks import bundled, load, save
from pcmref.golden import stimuli
from pcmref.inference.accuracy import accuracy
from pcmref.inference.compensation import COMPENSATIONS, calibrate
from pcmref.inference.corrections import Corrections
from pcmref.inference.plan import Trace
from pcmref.inference.ranges import calibrate_ranges, with_stored_ranges
from pcmref.inference.run import PreparedChip, digital, logits, prepare
from pcmref.network.graph import Network, keep_digital
from pcmref.network.images import Samples
from pcmref.references import SPEC_VERSION, VERSION
from pcmref.studies.retention import Retention, retention
from pcmref.studies.study import TIMES_S, Study

__version__ = VERSION

__all__ = [
    "COMPENSATIONS",
    "MODELS",
    "PRESETS",
    "SPEC_VERSION",
    "TIMES_S",
    "Accumulator",
    "Adc",
    "Chip",
    "Corrections",
    "Dac",
    "FixedPoint",
    "Network",
    "PcmModel",
    "PcmrefError",
    "PcmrefWarning",
    "PreparedChip",
    "Range",
    "Readout",
    "Retention",
    "Samples",
    "Snapshot",
    "Study",
    "Technology",
    "Tile",
    "TileProduct",
    "Trace",
    "accuracy",
    "bundled",
    "calibrate",
    "calibrate_ranges",
    "digital",
    "keep_digital",
    "load",
    "load_corrections",
    "logits",
    "prepare",
    "program",
    "retention",
    "save",
    "save_corrections",
    "stimuli",
    "tile",
    "tile_of",
    "with_stored_ranges",
]
