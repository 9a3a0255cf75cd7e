"""Directed and random vectors: a golden case is replayed, and what differs is diagnosed as by `pcmref check`."""

from __future__ import annotations

import cocotb
import numpy as np
from designs import adc_settings, tile_design
from hardware import RtlTile, told
from readouts import tile_readout

from pcmref.golden.check import compare
from pcmref.golden.folders import read_case, write_case
from pcmref.golden.tiles import tile_case
from pcmref.golden.verdicts import verdict_text


def prepare(options, folder):
    """Return the design for a case: the one that is named, or one that is made."""
    if (place := options.case) is None:
        place = folder / "case"
        readout = tile_readout(options.size[0], options.read_noise)
        write_case(place, tile_case(readout, size=options.size, random=options.random, command="bench_tile"))
    return tile_design(read_case(place), {"case": str(place.resolve())})


@cocotb.test()
async def the_tile_gives_the_codes_of_the_case(dut):
    parameters, settings = told()
    case = read_case(settings["case"])
    tile = RtlTile(dut=dut, parameters=parameters)
    await tile.start()
    multiplier, offset, _ = adc_settings(case, ["tile0"])
    tile.set_adcs(multiplier, offset)
    codes, noise = case.values["tile0/code"], case.values.get("tile0/noise")
    loaded, answers = None, []
    for group in case.groups:
        if group.conductance != loaded:
            loaded = group.conductance
            tile.load(case.values[f"tile0/g-{loaded}"])
        vectors = slice(group.first, group.last)
        answers.append(await tile.multiply(codes[vectors], None if noise is None else noise[vectors]))
    verdict = compare(case, {"tile0/D": np.concatenate(answers)})
    assert verdict.status == "equal", verdict_text(verdict)
    cocotb.log.info(verdict_text(verdict))
