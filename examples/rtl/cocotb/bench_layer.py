"""A layer of a chip: its images are streamed through pcm_conv, and every output code is that of pcmref."""

from __future__ import annotations

import cocotb
import numpy as np
from chips import chip_readout, images_of
from designs import adc_settings, layer_design, layer_of
from hardware import RtlLayer, told

import pcmref
from pcmref.golden.check import compare
from pcmref.golden.folders import read_case, write_case
from pcmref.golden.header import loads, tiles_of
from pcmref.golden.layers import network_case
from pcmref.golden.verdicts import verdict_text

#: Rows of a tile.
TILE_ROWS = 256


def prepare(options, folder):
    """Return the design for the case of a layer: the one that is named, or one that is made."""
    if (place := options.case) is None:
        place = folder / "case"
        network = pcmref.load(pcmref.bundled(options.network))
        readout = chip_readout(network, TILE_ROWS, options.read_noise)
        snapshot = pcmref.program(network, seed=options.seed).at(t_s=86_400)
        images = images_of(network, options.images)
        write_case(place, network_case(snapshot, images, readout, layer=options.layer, command="bench_layer"))
    return layer_design(read_case(place), {"case": str(place.resolve()), "gaps": options.gaps})


@cocotb.test()
async def the_layer_gives_the_codes_of_the_case(dut):
    parameters, settings = told()
    case = read_case(settings["case"])
    name, tiles, hardware = layer_of(case), tiles_of(case), RtlLayer(dut=dut, parameters=parameters)
    await hardware.start()
    multiplier, offset, _ = adc_settings(case, tiles)
    hardware.set_adcs(multiplier, offset)
    hardware.load(np.concatenate([case.values[matrix.name] for tile in tiles for matrix in loads(case, tile)]))
    inside = slice(parameters["PADDING"], -parameters["PADDING"] or None)
    images = case.values[f"{name}/code"][:, inside, inside, : parameters["CHANNELS"]]
    noise = [case.values.get(f"{tile}/noise") for tile in tiles]
    answers = []
    for image, codes in enumerate(images):
        own = None if noise[0] is None else np.stack([each[image] for each in noise], axis=1)
        answers.append(await hardware.convolve(codes, own, gaps=settings["gaps"]))
    verdict = compare(case, {f"{name}/output-code": np.stack(answers)}, partial=True)
    assert verdict.status == "equal", verdict_text(verdict)
    cocotb.log.info(verdict_text(verdict))
