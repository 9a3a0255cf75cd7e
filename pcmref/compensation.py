"""Drift compensation: GDC and AdaBS, both as digital `Corrections`; and the ranges of converters."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from pcmref import pcm, periphery
from pcmref.arrays import Float32, Float64, Int64, UInt8, UInt64
from pcmref.backend import kernels
from pcmref.chip import VARIANCE_STEP, Snapshot, SnapshotLayer, program
from pcmref.converters import PRESETS, Range, Readout
from pcmref.elementary import power
from pcmref.errors import DataError, ParameterError, PcmrefWarning, instance, one_of
from pcmref.layers import BatchNorm
from pcmref.mapping import Scale
from pcmref.network import Network
from pcmref.periphery import Corrections, Statistics
from pcmref.plans import NormStep, Operation, Step, Trace, analog, calibration
from pcmref.profiling import stage
from pcmref.simulate import batches, each, normalise, run

__all__ = [
    "COMPENSATIONS",
    "Compensation",
    "GdcReadout",
    "adabs",
    "calibrate",
    "calibrate_ranges",
    "gdc",
    "with_stored_ranges",
]


Compensation: TypeAlias = Literal["none", "gdc", "adabs", "gdc+adabs"]
COMPENSATIONS: tuple[Compensation, ...] = get_args(Compensation)
#: "absolute": sum of |G+ - G-| over the array, each pair read on its own (one-hot inputs).
#: "ones": sum of G+ + G-, all rows driven at once, + and - lines apart.
#: "column": as "absolute", one factor a column.
GdcReadout: TypeAlias = Literal["absolute", "ones", "column"]

#: AdaBS [J20]: mini-batches, images in each, and what is left of the stored statistics after all of them.
ADABS_BATCHES = 13
ADABS_IMAGES = 200
ADABS_REMAINDER = 0.015
#: G_max that the ranges in network files are for, uS.
STORED_G_MAX_US = 25.0
#: Below this ratio of conductance to read noise a readout of |G+ - G-| measures noise.
LOW_SIGNAL = 1.0


def calibrate(
    snapshot: Snapshot,
    compensation: str,
    *,
    reference: Snapshot | None = None,
    images: UInt8 | None = None,
    readout: Readout = PRESETS["paper"],
    gdc_readout: GdcReadout = "absolute",
    threads: int | None = None,
) -> Corrections:
    """Measure the corrections that a drifted chip needs.

    Parameters
    ----------
    snapshot : Snapshot
        The chip at the time at which it is to be corrected.
    compensation : "none", "gdc", "adabs" or "gdc+adabs"
    reference : Snapshot, optional
        The chip before drift, `Chip.reference`; GDC needs it.
    images : uint8, shape (n, height, width, channels), optional
        Training images, un-augmented; AdaBS needs at least 200 and uses at most 2,600, the first ones.
    readout : Readout
        As used for inference.
    gdc_readout : "absolute", "ones" or "column"
    threads : int, optional

    Returns
    -------
    Corrections

    Raises
    ------
    ParameterError
        If `compensation` is unknown or what it needs is missing.
    DataError
        If AdaBS has less than 200 images, or images that do not fit the network.
    """
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("readout", readout, Readout, "pcmref.PRESETS")
    one_of("compensation", compensation, COMPENSATIONS)
    corrections = Corrections()
    if "gdc" in compensation:
        if reference is None:
            raise ParameterError("reference", "a snapshot before drift (Chip.reference())", "none")
        corrections = gdc(snapshot, reference, gdc_readout)
    if "adabs" in compensation:
        if images is None:
            raise ParameterError("images", "calibration images for AdaBS", "none")
        corrections = adabs(snapshot, images, corrections=corrections, readout=readout, threads=threads)
    return corrections


def gdc(snapshot: Snapshot, reference: Snapshot, readout: GdcReadout = "absolute") -> Corrections:
    """Global drift compensation [L18]: one factor for the outputs of each layer (or column).

    ``gain = R(reference) / R(now)``, where R is the integer sum of conductance codes of one read, read noise
    included; 1 where either is 0.  The quotient is taken in float64.

    Parameters
    ----------
    snapshot, reference : Snapshot
        The chip now, and before drift.
    readout : "absolute", "ones" or "column"
        What is summed.

    Raises
    ------
    ParameterError
        If `reference` is not `Chip.reference` of the same chip.

    Warns
    -----
    PcmrefWarning
        If ``|G+ - G-|`` is smaller than its read noise in a layer (or column), so that a sum of sizes measures noise.
    """
    one_of("gdc_readout", readout, get_args(GdcReadout))
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("reference", reference, Snapshot, "Chip.reference")
    same_file = reference.network.sha256 == snapshot.network.sha256 != ""
    same_network = reference.network is snapshot.network or same_file
    same_chip = all(getattr(reference, name) == getattr(snapshot, name) for name in ("model", "seed", "scale"))
    if not (same_network and same_chip):
        raise ParameterError("reference", "a snapshot of the same chip", "one of another chip")
    if (reference.t_s, reference.read) != (snapshot.model.reference_time_s, 0):
        found = f"one at {reference.t_s:g} s, read {reference.read}"
        raise ParameterError("reference", "the chip before drift (Chip.reference())", found)
    gains = {}
    for now, before in zip(snapshot.layers, reference.layers, strict=True):
        ratio = _signal_to_noise(now, readout)
        if low := int((ratio < LOW_SIGNAL).sum()):
            columns = f" in {low} of {ratio.size} columns" if readout == "column" else ""
            warnings.warn(
                f"GDC of layer {now.name!r} at {snapshot.t_s:g} s: signal-to-noise ratio {ratio.min():.2g}{columns}; "
                "the factor is biased low",
                PcmrefWarning,
                stacklevel=2,
            )
        now_sum, before_sum = _readout_sum(now, readout), _readout_sum(before, readout)
        valid = (now_sum > 0) & (before_sum > 0)
        gains[now.name] = np.where(valid, before_sum / np.where(valid, now_sum, 1), 1.0)
    return Corrections(gain=gains)


def _readout_sum(layer: SnapshotLayer, readout: GdcReadout) -> Int64:
    if readout == "ones":
        return layer.g_read_code.sum(dtype=np.int64, keepdims=True).reshape(1)
    columns = np.abs(layer.read_code.astype(np.int64)).sum(axis=0)
    return columns if readout == "column" else columns.sum(keepdims=True)


def _signal_to_noise(layer: SnapshotLayer, readout: GdcReadout) -> Float64:
    """Return mean ``|G+ - G-|`` over root-mean-square read noise of the pairs that a readout sums: of each sum.

    Pairs without conductance or noise do not count.  Infinity without noise; and for "ones", where noise averages out,
    there being no size in the sum.
    """
    if readout == "ones":
        return np.full(1, np.inf)
    axis = 0 if readout == "column" else None
    size, variance = np.abs(layer.mean_code.astype(np.int64)), VARIANCE_STEP * layer.variance_code.astype(np.int64)
    pairs, noise = ((size > 0) | (variance > 0)).sum(axis), variance.sum(axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = size.sum(axis) / np.sqrt(pairs * noise.astype(np.float64))
    return np.atleast_1d(np.where(noise > 0, ratio, np.inf))


def adabs(
    snapshot: Snapshot,
    images: UInt8,
    *,
    corrections: Corrections | None = None,
    readout: Readout = PRESETS["paper"],
    threads: int | None = None,
) -> Corrections:
    """Adaptive batch-normalisation statistics update [J20].

    The first ``n = min(13, len(images) // 200)`` mini-batches of 200 images run through the chip, each node for
    the whole mini-batch before the next.  Every batch normalisation works with the statistics of the
    mini-batch, and its running statistics, which start from the stored ones, become

        ``stat = p stat + (1 - p) batch_stat,   p = 0.015^(1/n)``

    The batch variance is ``E[x^2] - E[x]^2``, at least 0; sums run in float64 over the pixels of an image in
    raster order, then over the images in order.

    Parameters
    ----------
    snapshot : Snapshot
    images : uint8, shape (at least 200, height, width, channels)
        Un-augmented training images.
    corrections : Corrections, optional
        Gains of GDC to work under.
    readout : Readout
    threads : int, optional

    Returns
    -------
    Corrections
        The same gains, with new statistics.

    Raises
    ------
    DataError
        If there are fewer than 200 images.
    """
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("readout", readout, Readout, "pcmref.PRESETS")
    pixels, image = batches(snapshot.network, images, None)
    count = min(ADABS_BATCHES, len(pixels) // ADABS_IMAGES)
    if count == 0:
        raise DataError("calibration images", f"at least {ADABS_IMAGES} for AdaBS", str(len(pixels)))
    gain = corrections.gain if corrections is not None else {}
    steps = calibration(snapshot, corrections=Corrections(gain=gain), readout=readout)
    keep = float(power(ADABS_REMAINDER, 1.0 / count))
    statistics = {
        layer.name: periphery.stored_statistics(layer)
        for layer in snapshot.network.layers
        if isinstance(layer, BatchNorm)
    }
    for start in range(0, count * ADABS_IMAGES, ADABS_IMAGES):
        part = slice(start, start + ADABS_IMAGES)
        measured = _batch_statistics(steps, normalise(snapshot.network, pixels[part]), image[part], threads)
        statistics = {
            name: Statistics(
                mean=keep * old.mean + (1.0 - keep) * measured[name].mean,
                var=keep * old.var + (1.0 - keep) * measured[name].var,
            )
            for name, old in statistics.items()
        }
    return Corrections(gain=gain, statistics=statistics)


def _batch_statistics(
    steps: Sequence[Step | NormStep], x: Float32, image: UInt64, threads: int | None
) -> Mapping[str, Statistics]:
    """Run every step for the whole mini-batch, each batch normalisation with the mini-batch's statistics."""
    measured: dict[str, Statistics] = {}
    values = {"input": x}
    last_use = {name: step.name for step in steps for name in _reads(step)}
    for step in steps:
        inputs = [values[name] for name in step.inputs]
        if isinstance(step, NormStep):
            received, sums = _in_parts(step.before, inputs, image, threads, moments=True)
            measured[step.norm.name] = statistics = _statistics(sums, received[..., 0].size)
            folded = periphery.fold(step.norm, statistics)
            others = [values[name] for name in step.others]
            values[step.name], _ = _in_parts(_with_norm(step.after, folded), [received, *others], image, threads)
        else:
            values[step.name], _ = _in_parts(step.operation, inputs, image, threads)
        for name in set(_reads(step)):
            if last_use[name] == step.name:
                del values[name]
    return measured


def _reads(step: Step | NormStep) -> tuple[str, ...]:
    return step.inputs if isinstance(step, Step) else (*step.inputs, *step.others)


def _with_norm(after: Operation, folded: tuple[Float32, Float32]) -> Operation:
    return lambda x, *rest: after(x, folded, *rest)


def _in_parts(
    operation: Operation,
    inputs: Sequence[Float32],
    image: UInt64,
    threads: int | None,
    *,
    moments: bool = False,
) -> tuple[Float32, Float64]:
    """Do an operation on several threads; return its output and, for each image, the sums of x and x squared."""

    def work(part: slice) -> tuple[Float32, Float64 | None]:
        output = operation(*(value[part] for value in inputs), image[part])
        if not moments:
            return output, None
        with stage("batch statistics"):
            return output, kernels().moments(output.reshape(len(output), -1, output.shape[-1]))

    outputs, sums = zip(*each(work, len(image), threads), strict=True)
    return np.concatenate(outputs), np.concatenate(sums) if moments else np.zeros(0)


def _statistics(sums: Float64, count: int) -> Statistics:
    """Return mean and variance of `count` values a channel, the sums of the images added in order."""
    total = np.add.accumulate(sums, axis=0)[-1] / count
    return Statistics(mean=total[0], var=np.maximum(total[1] - total[0] * total[0], 0.0))


def with_stored_ranges(
    network: Network, readout: Readout, *, model: pcm.PcmModel = pcm.NANDAKUMAR_2019, scale: Scale = "layer"
) -> Readout:
    """Return a preset with the converter ranges that come with `network`; `readout` as it is where none fit.

    Ranges are stored for presets, with one scale a layer and a G_max of 25 uS; partial sums are in proportion to G_max.

    Parameters
    ----------
    network : Network
    readout : Readout
    model : PcmModel
        Of the devices.
    scale : "layer" or "column"
        As the chip was programmed.
    """
    instance("network", network, Network)
    instance("readout", readout, Readout, "pcmref.PRESETS")
    instance("model", model, pcm.PcmModel, "pcmref.MODELS")
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
    model: pcm.PcmModel = pcm.NANDAKUMAR_2019,
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
    model : PcmModel
    scale : "layer" or "column"
    threads : int, optional

    Returns
    -------
    Readout
    """
    instance("network", network, Network)
    instance("readout", readout, Readout, "pcmref.PRESETS")
    instance("model", model, pcm.PcmModel, "pcmref.MODELS")
    images, _ = batches(network, images, None)
    if len(images) == 0:
        raise DataError("calibration images", "at least one", "none")
    ideal = program(network, model=pcm.without_noise(model), scale=scale).reference()
    tops: dict[str, Float64] = {layer.name: np.empty((2, len(images))) for layer in network.crossbar_layers}

    def note(trace: Trace) -> None:
        product, place = trace.product, trace.image.astype(np.intp)
        if product is not None:
            step = product.input_step.astype(np.float64)
            code = np.abs(product.input_codes.astype(np.int64)).max(axis=(1, 2, 3))
            total = np.max([np.abs(tile.sums).max(axis=(1, 2)) for tile in product.tiles], axis=0)
            tops[trace.layer][:, place] = code * step, total * (step * model.g_step_us)

    fine = dataclasses.replace(PRESETS["paper"], tile_rows=readout.tile_rows)
    run(analog(ideal, readout=fine, tap=note), images, threads=threads)
    medians = {name: np.sort(values, axis=1)[:, len(images) // 2] for name, values in tops.items()}
    return dataclasses.replace(
        readout,
        ranges={
            name: Range(input_top=float(top) or 1.0, sum_top_us=float(total) or 1.0)
            for name, (top, total) in medians.items()
        },
    )
