"""Adaptive batch normalisation: statistics measured anew on the chip as it is; SPEC.md, section 10."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod

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
from pcmref.inference.threads import CHUNK, Team, parts, team
from pcmref.network.images import Images
from pcmref.network.layers import BatchNorm
from pcmref.profiling import stage

__all__ = ["ADABS_BATCHES", "ADABS_IMAGES", "adabs"]

#: AdaBS [J20]: mini-batches, images in each, and what is left of the stored statistics after all of them.
ADABS_BATCHES = 13
ADABS_IMAGES = 200
ADABS_REMAINDER = 0.015

#: Most bytes of the maps of a mini-batch that are kept to be normalised; those beyond are computed twice.
KEPT_BYTES = 1 << 30


def adabs(
    snapshot: Snapshot,
    images: Images,
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
    images : uint8, shape (at least 200, height, width, channels), or StoredImages
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
    # of large maps the parts have 32 MiB or more: smaller ones glibc would keep when they are freed
    several = parts(ADABS_IMAGES, threads, min(CHUNK, 3 * plan.at_once))
    with team(threads) as workers:
        for start in range(0, count * ADABS_IMAGES, ADABS_IMAGES):
            places = [slice(start + part.start, start + part.stop) for part in several]
            batch = [pixels[place] for place in places], [image[place] for place in places]
            measured = _batch_statistics(plan, *batch, workers)
            statistics = {name: _running(keep, old, measured[name]) for name, old in statistics.items()}
    return Corrections(gain=gain, statistics=statistics, origin=origin)


def _running(keep: float, old: Statistics, new: Statistics) -> Statistics:
    """Return running statistics of which a share is kept."""
    return Statistics(
        mean=keep * old.mean + (1.0 - keep) * new.mean,
        var=keep * old.var + (1.0 - keep) * new.var,
    )


def _batch_statistics(
    plan: Plan, pixels: Sequence[UInt8], image: Sequence[UInt64], workers: Team
) -> Mapping[str, Statistics]:
    """Run every step for the whole mini-batch, each batch normalisation with the mini-batch's statistics.

    The mini-batch stays in the parts in which it comes, each of some of the images.  Of a map that is only normalised,
    no more than the sums are kept where the maps would fill more than `KEPT_BYTES`.
    """
    measured: dict[str, Statistics] = {}
    readers = Counter(name for step in plan.steps for name in step.inputs)
    normalised = {step.inputs[0] for step in plan.steps if isinstance(step.chain.head, BatchNorm)}
    maps = {"input": _Map(lambda number: normalise(plan.network, pixels[number]))}
    sums = {}
    if "input" in normalised:
        sums["input"] = [_sums(maps["input"].part(number)) for number in range(len(image))]
    for step, last in zip(plan.steps, plan.last_uses, strict=True):
        values = sum(map(len, image)) * prod(plan.network.shapes[step.name])
        inputs = [maps[name] for name in step.inputs]
        if isinstance(norm := step.chain.head, BatchNorm):
            statistics = _statistics(np.concatenate(sums[step.inputs[0]]), values // len(norm.gamma))
            measured[norm.name] = statistics
            step = replace(step, compute=normalising(step.chain, *fold(norm, statistics)))
        output = _Map(_computing(step, inputs, image), [maps.pop(name) for name in last])
        full = sum(each.nbytes for each in maps.values()) + 4 * values > KEPT_BYTES
        summed = step.name in normalised
        kept = not (full and summed and readers[step.name] == 1)
        sums[step.name] = list(workers(partial(_made, output, kept, summed), range(len(image))))
        maps[step.name] = output
    return measured


class _Map:
    """What a node puts out for a mini-batch, part by part: kept, or else computed again for whoever reads it.

    Parameters
    ----------
    compute : callable
        Gives the part of a number.
    last : sequence of _Map
        What nobody else reads any more: it is dropped, part by part, once it is not needed for this one.
    """

    def __init__(self, compute: Callable[[int], Float32], last: Sequence[_Map] = ()) -> None:
        self._compute, self._last = compute, last
        self._kept: dict[int, Float32] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept, here or to compute this."""
        return sum(part.nbytes for part in self._kept.values()) or sum(each.nbytes for each in self._last)

    def part(self, number: int) -> Float32:
        """Return a part."""
        return self._kept[number] if number in self._kept else self._compute(number)

    def keep(self, number: int, values: Float32) -> None:
        """Keep a part."""
        self.drop(number)
        self._kept[number] = values

    def drop(self, number: int) -> None:
        """Forget a part, or else what it would be computed from."""
        if self._kept.pop(number, None) is None:
            for each in self._last:
                each.drop(number)


def _computing(step: Step, inputs: Sequence[_Map], image: Sequence[UInt64]) -> Callable[[int], Float32]:
    """Return what computes a part of the output of a step."""

    def compute(number: int) -> Float32:
        given = [each.part(number) for each in inputs]
        with stage(step.label):
            return step.compute(*given, image[number])[0]

    return compute


def _made(output: _Map, kept: bool, summed: bool, number: int) -> Float64:
    """Compute a part of a map, keep it or not, and return its sums, if they are wanted."""
    values = output.part(number)
    if kept:
        output.keep(number, values)
    with stage("batch statistics"):
        return _sums(values) if summed else np.empty(0)


def _sums(x: Float32) -> Float64:
    """Return the sums of x and x squared over the pixels of each image, shape (n, 2, channels)."""
    return np.asarray(kernels().moments(x.reshape(len(x), -1, x.shape[-1])))


@overflowing()
def _statistics(sums: Float64, count: int) -> Statistics:
    """Return mean and variance of `count` values a channel, the sums of the images added in order."""
    total = np.add.accumulate(sums, axis=0)[-1] / count
    return Statistics(mean=total[0], var=np.maximum(total[1] - total[0] * total[0], 0.0))
