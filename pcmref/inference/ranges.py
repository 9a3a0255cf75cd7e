"""The full scale of converters: found with calibration images, or as it comes with a network; SPEC.md, section 11."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np

from pcmref.arithmetic.codes import Range
from pcmref.arrays import Float64, UInt8
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import program
from pcmref.devices.mapping import Scale
from pcmref.devices.published import NANDAKUMAR_2019
from pcmref.devices.technology import Technology, check_technology
from pcmref.errors import DataError, instance, one_of
from pcmref.inference.images import batches
from pcmref.inference.plan import Trace
from pcmref.inference.run import prepare, run
from pcmref.network.graph import Network

__all__ = ["calibrate_ranges", "with_stored_ranges"]

#: G_max that the ranges in network files are for, uS.
STORED_G_MAX_US = 25.0


def with_stored_ranges(
    network: Network, readout: Readout, *, model: Technology = NANDAKUMAR_2019, scale: Scale = "layer"
) -> Readout:
    """Return a preset with the converter ranges that come with `network`; `readout` as it is where none fit.

    Ranges are stored for presets, with one scale a layer and a G_max of 25 uS; partial sums are in proportion to G_max.

    Parameters
    ----------
    network : Network
    readout : Readout
    model : Technology
        Of the devices.
    scale : "layer" or "column"
        As the chip was programmed.
    """
    instance("network", network, Network)
    instance("readout", readout, Readout, "pcmref.PRESETS")
    check_technology(model)
    one_of("scale", scale, get_args(Scale))
    if readout.name not in network.ranges or PRESETS.get(readout.name) != readout or scale != "layer":
        return readout
    ratio = model.g_max_us / STORED_G_MAX_US
    ranges = {
        name: dataclasses.replace(r, sum_top_us=r.sum_top_us * ratio)
        for name, r in network.ranges[readout.name].items()
    }
    return dataclasses.replace(readout, ranges=ranges)


def calibrate_ranges(
    network: Network,
    images: UInt8,
    readout: Readout,
    *,
    model: Technology = NANDAKUMAR_2019,
    scale: Scale = "layer",
    threads: int | None = None,
) -> Readout:
    """Choose the full scale of all converters from calibration images.

    The images run through an ideal chip (targets exactly met, no noise, fine converters, the readout's tiles).
    The DAC's full scale of a layer is the median over images of the largest input, the ADC's the median of the
    largest partial sum.

    Parameters
    ----------
    network : Network
    images : uint8, shape (n, height, width, channels)
    readout : Readout
        Its ranges are replaced.
    model : Technology
    scale : "layer" or "column"
    threads : int, optional

    Returns
    -------
    Readout
    """
    instance("network", network, Network)
    instance("readout", readout, Readout, "pcmref.PRESETS")
    check_technology(model)
    images, _ = batches(network, images, None)
    if len(images) == 0:
        raise DataError("calibration images", "at least one", "none")
    ideal = program(network, model=model.ideal(), scale=scale).reference()
    tops: dict[str, Float64] = {layer.name: np.empty((2, len(images))) for layer in network.crossbar_layers}

    def note(trace: Trace) -> None:
        product, place = trace.product, trace.image.astype(np.intp)
        if product is not None:
            step = product.input_step.astype(np.float64)
            code = np.abs(product.input_codes.astype(np.int64)).max(axis=(1, 2, 3))
            total = np.max([np.abs(tile.sums).max(axis=(1, 2)) for tile in product.tiles], axis=0)
            tops[trace.layer][:, place] = code * step, total * (step * model.g_step_us)

    fine = dataclasses.replace(PRESETS["paper"], tile_rows=readout.tile_rows)
    run(prepare(ideal, readout=fine).nodes, images, threads=threads, watch=note)
    medians = {name: np.sort(values, axis=1)[:, len(images) // 2] for name, values in tops.items()}
    return dataclasses.replace(
        readout,
        ranges={
            name: Range(input_top=float(top) or 1.0, sum_top_us=float(total) or 1.0)
            for name, (top, total) in medians.items()
        },
    )
