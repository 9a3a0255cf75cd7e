"""What a Verilog bench must know of a tile's case before it reads words: a header of localparams."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.arrays import Int64
from pcmref.golden.cases import ArrayEntry, Case
from pcmref.golden.readouts import readout_of

__all__ = ["loads", "tiles_of", "verilog_header"]

#: Arrays whose widths are said, and what a bench calls them; 1 where a case has none.
WIDTHS = {"code": "CODE", "noise": "NOISE", "offset": "OFFSET", "multiplier": "MULT", "A": "A", "D": "D"}


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
    yield f"// case {case.digest[:16]}, {tile}: {case.command or 'made in Python'}"
    for name, value in {**_sizes(case, tile), **_kinds(case, tile)}.items():
        said = f"  // {', '.join(f'{n} {name}' for n, name in enumerate(ROUNDINGS))}" if name == "ROUNDING" else ""
        yield f"localparam integer {name} = {value};{said}"
    vectors = code.size // code.shape[-1]
    ends = ", ".join(f"32'd{end}" for end in reversed(_ends(case, tile, vectors).tolist()))
    yield f"localparam [32*{len(matrices)}-1:0] LOAD_END = {{{ends}}};"


def _sizes(case: Case, tile: str) -> dict[str, int]:
    """Return how many there are of everything, and widths in bits."""
    matrices, code = loads(case, tile), case.arrays[f"{tile}/code"]
    found = {"ROWS": code.shape[-1], "COLUMNS": matrices[0].shape[-1], "VECTORS": code.size // code.shape[-1]}
    found |= {"LOADS": len(matrices), "G_BITS": max(entry.bits for entry in matrices)}
    for name, said in WIDTHS.items():
        entry = case.arrays.get(f"{tile}/{name}")
        found[f"{said}_BITS"] = 1 if entry is None else entry.bits
    return found


def _kinds(case: Case, tile: str) -> dict[str, int]:
    """Return what the converters are, so that a bench can refuse what it does not have."""
    readout, shift = readout_of(case.readout), case.values.get(f"{tile}/shift")
    register, adc = readout.accumulator, readout.adc
    lines = 2 if readout.lines == "separate" else 1
    one_shift = shift is not None and len(np.unique(shift)) == 1
    return {
        "CONVERSIONS": lines * len(readout.dac.weights),
        "CODE_SIGNED": int(readout.dac.low < 0),
        "CODE_OFFSET": readout.dac.offset,
        "HAS_NOISE": int(readout.read_noise == "fresh"),
        "HAS_OFFSET": int(f"{tile}/offset" in case.arrays),
        "SATURATES": int(register is not None and register.beyond == "saturate"),
        "FIXED_POINT": int(one_shift),
        "SHIFT": int(np.min(shift)) if one_shift and shift is not None else 0,
        "ROUNDING": 0 if adc is None else ROUNDINGS.index(adc.rounding),
        "ADC_LOW": 0 if adc is None else adc.limits[0],
        "ADC_HIGH": 0 if adc is None else adc.limits[1],
    }


def _ends(case: Case, tile: str, vectors: int) -> Int64:
    """Return the last vector but one of each load."""
    if not case.groups:
        return np.array([vectors])
    names = [entry.name.partition("/g-")[2] for entry in loads(case, tile)]
    return np.array([max(group.last for group in case.groups if group.conductance == name) for name in names])
