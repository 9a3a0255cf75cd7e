"""Adaptive batch normalisation: statistics measured anew on the chip as it is; SPEC.md, section 10."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.draws import Purpose
from pcmref.arithmetic.elementary import power
from pcmref.arrays import Float32, Float64, UInt8, UInt64, overflowing
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import Snapshot
from pcmref.errors import DataError, PcmrefWarning, instance
from pcmref.inference.corrections import Corrections, Origin, Statistics, stored_statistics
from pcmref.inference.digital import fold
from pcmref.inference.images import batches, normalise
from pcmref.inference.plan import Plan, Step, analog_plan, normalising
from pcmref.inference.run import crossbars_of
from pcmref.inference.threads import Team, parts, team
from pcmref.network.layers import BatchNorm
from pcmref.profiling import stage

__all__ = ["ADABS_BATCHES", "ADABS_IMAGES", "adabs"]

#: AdaBS [J20]: mini-batches, images in each, and what is left of the stored statistics after all of them.
ADABS_BATCHES = 13
ADABS_IMAGES = 200
ADABS_REMAINDER = 0.015


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

    Warns
    -----
    PcmrefWarning
        If the network has no batch normalisation, so that nothing is corrected.
    """
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("readout", readout, Readout, "pcmref.PRESETS")
    pixels, image = batches(snapshot.network, images, None)
    count = min(ADABS_BATCHES, len(pixels) // ADABS_IMAGES)
    if count == 0:
        raise DataError("calibration images", f"at least {ADABS_IMAGES} for AdaBS", str(len(pixels)))
    if corrections is not None:
        corrections.check_origin(snapshot, readout)
    gain = corrections.gain if corrections is not None else {}
    gains, origin = Corrections(gain=gain), Origin.of(snapshot, readout)
    if not any(isinstance(layer, BatchNorm) for layer in snapshot.network.layers):
        text = "AdaBS does nothing here: the network has no batch normalisation whose statistics it could measure"
        warnings.warn(text, PcmrefWarning, stacklevel=3)
        return Corrections(gain=gain, origin=origin)
    crossbars = crossbars_of(snapshot, gains, readout, Purpose.CALIBRATION)
    plan = analog_plan(snapshot.network, crossbars, gains, "norms")
    keep = float(power(ADABS_REMAINDER, 1.0 / count))
    statistics = {
        layer.name: stored_statistics(layer) for layer in snapshot.network.layers if isinstance(layer, BatchNorm)
    }
    several = parts(ADABS_IMAGES, threads)
    with team(threads) as workers:
        for start in range(0, count * ADABS_IMAGES, ADABS_IMAGES):
            places = [slice(start + part.start, start + part.stop) for part in several]
            x = [normalise(snapshot.network, pixels[place]) for place in places]
            measured = _batch_statistics(plan, x, [image[place] for place in places], workers)
            statistics = {name: _running(keep, old, measured[name]) for name, old in statistics.items()}
    return Corrections(gain=gain, statistics=statistics, origin=origin)


def _running(keep: float, old: Statistics, new: Statistics) -> Statistics:
    """Return running statistics of which a share is kept."""
    return Statistics(
        mean=keep * old.mean + (1.0 - keep) * new.mean,
        var=keep * old.var + (1.0 - keep) * new.var,
    )


def _batch_statistics(
    plan: Plan, x: Sequence[Float32], image: Sequence[UInt64], workers: Team
) -> Mapping[str, Statistics]:
    """Run every step for the whole mini-batch, each batch normalisation with the mini-batch's statistics.

    The mini-batch stays in the parts in which it comes, each of some of the images.
    """
    measured: dict[str, Statistics] = {}
    normalised = {step.inputs[0] for step in plan.steps if isinstance(step.chain.head, BatchNorm)}
    values = {"input": list(x)}
    sums = {"input": [_sums(part) for part in x]} if "input" in normalised else {}
    for step, last in zip(plan.steps, plan.last_uses, strict=True):
        inputs = [values[name] for name in step.inputs]
        if isinstance(norm := step.chain.head, BatchNorm):
            count = sum(part[..., 0].size for part in inputs[0])
            measured[norm.name] = statistics = _statistics(np.concatenate(sums[step.inputs[0]]), count)
            step = replace(step, compute=normalising(step.chain, *fold(norm, statistics)))
        work = _work(step, inputs, image, [values.pop(name) for name in last], step.name in normalised)
        # nothing but `values` may hold the outputs
        values[step.name], of_parts = map(list, zip(*workers(work, range(len(image))), strict=True))
        if step.name in normalised:
            sums[step.name] = of_parts
    return measured


def _work(
    step: Step, inputs: Sequence[list[Float32]], image: Sequence[UInt64], last: Sequence[list[Float32]], summed: bool
) -> Callable[[int], tuple[Float32, Float64]]:
    """Return what computes a step of a part: the output and, if `summed`, its sums.

    What it is the last to read, it drops part by part: a mini-batch of large maps fills most of the memory.
    """
    nothing = np.empty(0, np.float32)

    def work(part: int) -> tuple[Float32, Float64]:
        with stage(step.label):
            output, _ = step.compute(*(values[part] for values in inputs), image[part])
        for values in last:
            values[part] = nothing
        with stage("batch statistics"):
            return output, _sums(output) if summed else np.empty(0)

    return work


def _sums(x: Float32) -> Float64:
    """Return the sums of x and x squared over the pixels of each image, shape (n, 2, channels)."""
    return np.asarray(kernels().moments(x.reshape(len(x), -1, x.shape[-1])))


@overflowing()
def _statistics(sums: Float64, count: int) -> Statistics:
    """Return mean and variance of `count` values a channel, the sums of the images added in order."""
    total = np.add.accumulate(sums, axis=0)[-1] / count
    return Statistics(mean=total[0], var=np.maximum(total[1] - total[0] * total[0], 0.0))
