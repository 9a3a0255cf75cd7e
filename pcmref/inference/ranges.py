"""The full scale of converters: found with calibration images, or as it comes with a network; SPEC.md, section 11."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import get_args

import numpy as np

from pcmref.arithmetic.codes import Range
from pcmref.arithmetic.draws import Purpose
from pcmref.arrays import Float64
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.crossbar.wiring import input_step
from pcmref.devices.chip import Snapshot, program
from pcmref.devices.mapping import Scale
from pcmref.devices.published import NANDAKUMAR_2019
from pcmref.devices.technology import Technology, check_technology
from pcmref.errors import DataError, ParameterError, instance, one_of
from pcmref.inference.corrections import Corrections
from pcmref.inference.images import batches
from pcmref.inference.plan import Trace
from pcmref.inference.run import PreparedChip, crossbars_of, prepare, run
from pcmref.network.graph import Network
from pcmref.network.images import Images
from pcmref.network.ranges import StoredRanges

__all__ = ["RANGE_IMAGES", "calibrate_ranges", "stored_if_any", "with_stored_ranges"]

#: How many calibration images set the ranges of converters.
RANGE_IMAGES = 200

#: G_max that the ranges in network files are for, uS.
STORED_G_MAX_US = 25.0
#: Bits of the DAC with which ranges are found: that of preset "paper".
FINE_BITS = 12


def with_stored_ranges(
    network: Network, readout: Readout, *, model: Technology = NANDAKUMAR_2019, scale: Scale = "layer"
) -> Readout:
    """Return a readout with the converter ranges that come with `network`; as it is, if it needs none.

    Ranges are stored with one scale a layer and a G_max of 25 uS, for the very network that they were found with;
    partial sums are in proportion to G_max.  They fit a readout whose tiles, drive and lines are those of the preset
    that they were found for, whatever its ADC and its read noise.

    Parameters
    ----------
    network : Network
    readout : Readout
    model : Technology
        Of the devices.
    scale : "layer" or "column"
        As the chip was programmed.

    Raises
    ------
    ParameterError
        If no stored ranges fit, with the reason.
    """
    found = stored_if_any(network, readout, model=model, scale=scale)
    if found.needs_ranges:
        advice = "stored ranges that fit (pcmref.calibrate_ranges finds others)"
        raise ParameterError(f"readout {readout.name}", advice, _why_none(network, readout, scale))
    return found


def stored_if_any(network: Network, readout: Readout, *, model: Technology, scale: Scale) -> Readout:
    """Return a readout with the ranges that come with `network`, as it is where none fit or are needed."""
    instance("network", network, Network)
    instance("readout", readout, Readout, "pcmref.PRESETS")
    check_technology(model)
    one_of("scale", scale, get_args(Scale))
    fitting = [name for name in _of_this(network) if _fits(network, readout, name)]
    if not readout.needs_ranges or scale != "layer" or not fitting:
        return readout
    ratio = model.g_max_us / STORED_G_MAX_US
    ranges = {}
    for name, stored in network.ranges[fitting[0]].items():
        tops = [top * ratio for top in np.atleast_1d(stored.sum_top_us).tolist()]
        ranges[name] = _range(readout, stored.input_top, tops, model.g_step_us)
    return dataclasses.replace(readout, ranges=ranges)


def _of_this(network: Network) -> list[str]:
    """Return the presets whose stored ranges were found with this network, and not before it was changed."""
    found = network.ranges.items()
    return [name for name, of in found if isinstance(of, StoredRanges) and of.network == network.digest]


def _fits(network: Network, readout: Readout, stored: str) -> bool:
    """Return whether ranges found for the preset `stored` are those of a readout too."""
    if (preset := PRESETS.get(stored)) is None:
        return False
    widest = max((layer.columns for layer in network.crossbar_layers), default=0)
    drives = [(r.dac.codes, r.dac.drive, r.lines, r.tile_rows) for r in (readout, preset)]
    whole = [r.tile_columns is None or r.tile_columns >= widest for r in (readout, preset)]
    return drives[0] == drives[1] and (all(whole) or readout.tile_columns == preset.tile_columns)


def _why_none(network: Network, readout: Readout, scale: Scale) -> str:
    if not network.ranges:
        return "none in the network"
    if scale != "layer":
        return f"those of scale 'layer', not {scale!r}"
    if not (found := _of_this(network)):
        return f"those of {', '.join(network.ranges)}, found with another network"
    return f"those of {', '.join(found)}, whose tiles, codes, drive or lines are others"


def _range(readout: Readout, input_top: float, sum_tops_us: Sequence[float], g_step_us: float) -> Range:
    """Return a full scale for an ADC, whose gain is then one that it can have."""
    found = Range(input_top=input_top, sum_top_us=tuple(sum_tops_us))
    adc = readout.adc
    if adc is not None and adc.gain_bits is not None:
        high, unit_us = adc.limits[1], input_step(readout, found) * g_step_us
        sum_tops_us = [high * (unit_us / adc.derived(unit_us / (top / high))) for top in sum_tops_us]
    tops = tuple(sum_tops_us)
    return dataclasses.replace(found, sum_top_us=tops[0] if len(set(tops)) == 1 else tops)


def calibrate_ranges(
    network: Network,
    images: Images,
    readout: Readout,
    *,
    model: Technology = NANDAKUMAR_2019,
    scale: Scale = "layer",
    threads: int | None = None,
) -> Readout:
    """Choose the full scale of all converters from calibration images.

    The images run through an ideal chip (targets exactly met, no noise, fine converters, the readout's tiles, codes and
    drive).  The DAC's full scale of a layer is the median over images of the largest input, the ADC's the median of the
    largest sum that is converted, in each group of columns that share tiles.  Where the readout has gains of a width
    (`Adc.gain_bits`), the full scale is the one next to it that such a gain has.

    Parameters
    ----------
    network : Network
    images : uint8, shape (n, height, width, channels), or StoredImages
    readout : Readout
        Its ranges are replaced.
    model : Technology
    scale : "layer" or "column"
    threads : int, optional

    Returns
    -------
    Readout

    Warns
    -----
    PcmrefWarning
        If they do not fit a few of the images, as of `pcmref.logits`.
    """
    instance("network", network, Network)
    instance("readout", readout, Readout, "pcmref.PRESETS")
    check_technology(model)
    images, _ = batches(network, images, None)
    if len(images) == 0:
        raise DataError("calibration images", "at least one", "none")
    ideal = program(network, model=model.ideal(), scale=scale).reference()
    ranges = {}
    for name, (inputs, sums_us) in _largest(ideal, images, readout, threads).items():
        tops_us = [_median(group) for group in sums_us]
        ranges[name] = _range(readout, _median(inputs), tops_us, model.g_step_us)
    found = dataclasses.replace(readout, ranges=ranges)
    # neither a register, which may refuse what is converted here, nor ADCs of a chip that was measured
    unbounded = dataclasses.replace(found, accumulator=None, measured=None)
    crossbars = crossbars_of(ideal, Corrections(), unbounded, Purpose.PRODUCT)
    chip = PreparedChip(network=network, crossbars=crossbars, corrections=Corrections(), readout=readout.name)
    chip.warn_of_saturation(images, threads=threads)
    return found


def _largest(
    ideal: Snapshot, images: Images, readout: Readout, threads: int | None
) -> dict[str, tuple[Float64, Float64]]:
    """Return the largest input of each layer for each image, and the largest sum, uS, in each group of columns."""
    bits = FINE_BITS if readout.dac.drive != "bit-serial" else readout.dac.bits
    fine = dataclasses.replace(
        PRESETS["paper"],
        name=readout.name,
        dac=dataclasses.replace(readout.dac, bits=bits),
        tile_rows=readout.tile_rows,
        lines=readout.lines,
    )
    layers = ideal.network.crossbar_layers
    starts = {layer.name: np.arange(0, layer.columns, readout.tile_columns or layer.columns) for layer in layers}
    found = {name: (np.empty(len(images)), np.empty((len(start), len(images)))) for name, start in starts.items()}

    def note(trace: Trace) -> None:
        product, place = trace.product, trace.image.astype(np.intp)
        if product is not None:
            inputs, sums_us = found[trace.layer]
            step = product.input_step.astype(np.float64)
            code = np.abs(product.input_codes.astype(np.int64) - fine.dac.offset).max(axis=(1, 2, 3))
            parts = [part for tile in product.tiles for part in tile.parts or (tile,)]
            column = np.max([np.abs(part.sums).max(axis=1) for part in parts], axis=0)
            inputs[place] = code * step
            total = np.maximum.reduceat(column, starts[trace.layer], axis=1).T
            sums_us[:, place] = total * (step * ideal.model.g_step_us)

    run(prepare(ideal, readout=fine).nodes, images, threads=threads, watch=note)
    return found


def _median(values: Float64) -> float:
    """Return the upper median; 1 in place of 0."""
    return float(np.sort(values)[len(values) // 2]) or 1.0
