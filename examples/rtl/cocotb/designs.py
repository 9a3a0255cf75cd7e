"""What is built for a bench: the top module and its parameters, from what the header of a golden case says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pcmref.errors import ParameterError
from pcmref.golden.header import layer_header, loads, tiles_of, verilog_header
from pcmref.golden.tiles import tile_case

#: Where `run.py` tells a bench what was built and what to do: a variable of the environment.
SETTINGS = "PCMREF_BENCH"
#: Vectors that a tile multiplies at a time: with more, less of the time is Python's.
VECTORS = 64
#: Parameters that have the names of a header.
SAME = (
    *("COLUMNS", "CODE_BITS", "CODE_SIGNED", "G_BITS", "SUM_BITS", "HELD_BITS", "NOISE_BITS", "OFFSET_BITS"),
    *("THRESHOLD_BITS", "D_BITS", "ROUNDING"),
)
GEOMETRY = (
    *("HEIGHT", "WIDTH", "CHANNELS", "KERNEL_HEIGHT", "KERNEL_WIDTH", "STRIDE", "PADDING", "BIAS", "BIAS_CODE"),
    *("PIXELS", "TILES", "TILE_ROWS", "OUT_BITS"),
)
#: What pcm_tile does not have: the name in a header, the only value that it does have, and what to call the others.
REFUSED = (
    ("LINES", 1, "separate lines"),
    ("DRIVE", 0, "two-phase or bit-serial drives"),
    ("CODE_OFFSET", 0, "offset codes"),
    ("HAS_ADC", 1, "sums without an ADC"),
)
INTEGER = re.compile(r"localparam integer (\w+) = (-?\d+);")


@dataclass(frozen=True, kw_only=True)
class Design:
    """A harness with its parameters, and what else the bench must know, as JSON can say it."""

    top: str
    parameters: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)


def tile_design(case, settings):
    """Return the harness for a tile's case."""
    _check_kind(case, "tile")
    said = _said(verilog_header(case, "tile0"))
    parameters = {"VECTORS": VECTORS, "ROWS": said["ROWS"], **_converters(case, ["tile0"], said)}
    return Design(top="tile_harness", parameters=parameters, settings=settings)


def readout_design(readout, size, settings):
    """Return the harness for a tile of this readout and size: that of a case of one vector."""
    case = tile_case(readout, size=size, groups=["random"], matrices=["weights"], random=1)
    return tile_design(case, settings)


def layer_design(case, settings):
    """Return the harness for a layer's case."""
    _check_kind(case, "layer")
    layer = layer_of(case)
    said = _said(layer_header(case, layer))
    if said["SLICES"] != 1:
        raise ParameterError(f"layer {layer}", "one pair of devices a weight, as pcm_conv has", str(said["SLICES"]))
    tiles = tiles_of(case)
    rows = sum(case.arrays[f"{tile}/code"].shape[-1] for tile in tiles)
    own = {"ROWS": rows, **{name: said[name] for name in GEOMETRY}}
    return Design(top="conv_harness", parameters=own | _converters(case, tiles, said), settings=settings)


def layer_of(case):
    """Return the name of the layer of a layer's case."""
    return tiles_of(case)[0].rpartition("/")[0]


def with_parameters(design, changes):
    """Return a design with other parameters, which it must have."""
    if unknown := sorted(set(changes) - set(design.parameters)):
        raise ParameterError("--set", f"one of {', '.join(design.parameters)}", unknown[0])
    return replace(design, parameters={**design.parameters, **changes})


def aligned(multiplier, shift):
    """Return multipliers that give the same gains with one shift, the largest, and that shift."""
    more = shift.max() - shift
    if (bits := int(multiplier.max()).bit_length() + int(more.max())) > 62:
        raise ParameterError("gains", "shifts that a multiplier of 62 bits makes alike", f"{bits} bits")
    return multiplier << more, int(shift.max())


def adc_settings(case, tiles):
    """Return what the ADCs of tiles are set to, column by column: multipliers or thresholds, offsets; and the shift."""
    columns = loads(case, tiles[0])[0].shape[-1]

    def column_by_column(name, none=None):
        found = [case.values.get(f"{tile}/{name}", none) for tile in tiles]
        if any(value is None for value in found):
            raise ParameterError(f"case: {name}", "gains in fixed point, or thresholds, as pcm_tile has", "others")
        return np.concatenate([np.ravel(value) for value in found]).astype(np.int64)

    offset = column_by_column("offset", np.zeros(columns))
    if f"{tiles[0]}/thresholds" in case.values:
        return column_by_column("thresholds"), offset, 0
    multiplier, shift = aligned(column_by_column("multiplier"), column_by_column("shift"))
    return multiplier, offset, shift


def _check_kind(case, kind):
    if case.kind != kind:
        raise ParameterError("case", f"the case of a {kind}", f"that of a {case.kind}")


def _said(header):
    """Return the integers of a header; raise `ParameterError` for converters that pcm_tile does not have."""
    said = {name: int(value) for name, value in INTEGER.findall(header)}
    for name, only, others in REFUSED:
        if said[name] != only:
            raise ParameterError("case", "converters of pcm_tile", others)
    return said


def _converters(case, tiles, said):
    """Return the parameters of converters and widths."""
    multiplier, _, shift = adc_settings(case, tiles)
    low, high = said["ADC_LOW"], said["ADC_HIGH"]
    table = (high - low) * said["THRESHOLD_BITS"]
    own = {"LOW": low, "HIGH": high, "SHIFT": shift, "MULT_BITS": table or int(multiplier.max()).bit_length()}
    return {name: said[name] for name in SAME} | own
