"""What a Verilog bench must know of a tile's case before it reads words: a header of localparams."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.arrays import Int64
from pcmref.golden.cases import ArrayEntry, Case
from pcmref.golden.readouts import readout_of

__all__ = ["loads", "tiles_of", "verilog_header"]

#: Arrays whose widths are said, and what a bench calls them.
WIDTHS = {
    "code": "CODE",
    "noise": "NOISE",
    "offset": "OFFSET",
    "multiplier": "MULT",
    "A": "A",
    "D": "D",
    "output-code": "OUTPUT",
}


def tiles_of(case: Case) -> tuple[str, ...]:
    """Return the names of the tiles of a case."""
    names = (name.partition("/g-")[0] for name in case.arrays if "/g-" in name)
    return tuple(dict.fromkeys(names))


def loads(case: Case, tile: str) -> tuple[ArrayEntry, ...]:
    """Return the matrices that a tile is loaded with, one after another."""
    return tuple(entry for name, entry in case.arrays.items() if name.startswith(f"{tile}/g-"))


def verilog_header(case: Case, tile: str) -> str:
    """Return SystemVerilog that a bench of one tile includes: sizes, widths, the ADC, and the vectors of each load.

    Word file ``g.hex`` has the matrices of all loads one after another; load i is for the vectors below
    ``LOAD_END[32*i +: 32]`` that no load before it has.
    """
    return "\n".join(_lines(case, tile)) + "\n"


def _lines(case: Case, tile: str) -> Iterator[str]:
    matrices, code = loads(case, tile), case.arrays[f"{tile}/code"]
    readout = readout_of(case.readout)
    yield f"// case {case.digest[:16]}, {tile}: {case.command or 'made in Python'}"
    vectors = code.size // code.shape[-1]
    sizes = {"ROWS": code.shape[-1], "COLUMNS": matrices[0].shape[-1], "VECTORS": vectors, "LOADS": len(matrices)}
    sizes["CONVERSIONS"] = len(readout.dac.weights) * (2 if readout.lines == "separate" else 1)
    sizes["G_BITS"] = max(entry.bits for entry in matrices)
    for name, said in WIDTHS.items():
        if (entry := case.arrays.get(f"{tile}/{name}")) is not None:
            sizes[f"{said}_BITS"] = entry.bits
    if readout.adc is not None:
        sizes |= {"ADC_LOW": readout.adc.limits[0], "ADC_HIGH": readout.adc.limits[1]}
        sizes["ROUNDING"] = ROUNDINGS.index(readout.adc.rounding)
    shift = case.values.get(f"{tile}/shift")
    if shift is not None and len(np.unique(shift)) == 1:
        sizes["SHIFT"] = int(shift.flat[0])
    for name, value in sizes.items():
        said = f"  // {', '.join(f'{n} {name}' for n, name in enumerate(ROUNDINGS))}" if name == "ROUNDING" else ""
        yield f"localparam integer {name} = {value};{said}"
    ends = ", ".join(f"32'd{end}" for end in reversed(_ends(case, tile, vectors).tolist()))
    yield f"localparam [32*LOADS-1:0] LOAD_END = {{{ends}}};"


def _ends(case: Case, tile: str, vectors: int) -> Int64:
    """Return the last vector but one of each load."""
    if not case.groups:
        return np.array([vectors])
    names = [entry.name.partition("/g-")[2] for entry in loads(case, tile)]
    return np.array([max(group.last for group in case.groups if group.conductance == name) for name in names])
