"""Accuracy over time: chips, times and compensations, one row each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, get_args

import numpy as np

from pcmref.arrays import UInt8
from pcmref.chip import Snapshot, program
from pcmref.compensation import (
    ADABS_IMAGES,
    COMPENSATIONS,
    GdcReadout,
    calibrate,
    calibrate_ranges,
    with_stored_ranges,
)
from pcmref.converters import PRESETS, Readout
from pcmref.draws import check_seed
from pcmref.errors import ParameterError, describe, instance, one_of
from pcmref.mapping import Scale
from pcmref.network import Network, Samples
from pcmref.pcm import NANDAKUMAR_2019, PcmModel, check_time
from pcmref.simulate import batches, check_labels, correct, digital, logits

__all__ = ["DAY_S", "HOUR_S", "TIMES_S", "YEAR_S", "Retention", "Row", "needs_calibration", "retention"]

T = TypeVar("T")

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
YEAR_S = 365 * DAY_S
#: The times of the default table: the first read of [J20], and what readers ask next.
TIMES_S = (25.0, HOUR_S, DAY_S, 30 * DAY_S, YEAR_S)
#: Calibration images that set the ranges of converters.
RANGE_IMAGES = 200


@dataclass(frozen=True, kw_only=True)
class Row:
    """Accuracy of one chip at one time under one compensation."""

    t_s: float
    compensation: str
    seed: int
    images: int
    correct: int

    @property
    def accuracy(self) -> float:
        """Share of images classified correctly."""
        return self.correct / self.images


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The result of `retention`.

    Parameters
    ----------
    rows : tuple of Row
        Every seed, time and compensation.
    images, digital_correct : int
        Images judged, and how many of them the digital baseline classifies correctly.
    readout : Readout
        With the ranges that were used.
    """

    rows: tuple[Row, ...]
    images: int
    digital_correct: int
    readout: Readout

    @property
    def digital_accuracy(self) -> float:
        """Share of images that the digital baseline classifies correctly."""
        return self.digital_correct / self.images

    def accuracies(self, t_s: float, compensation: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the accuracy of every chip at one time under one compensation; `ParameterError` if there is none."""
        wanted = (t_s, compensation)
        found = [row.accuracy for row in self.rows if (row.t_s, row.compensation) == wanted]
        if not found:
            raise ParameterError("t_s, compensation", "those of a row", describe(wanted))
        return np.array(found)


def retention(
    network: Network,
    samples: Samples,
    *,
    calibration: Samples | None = None,
    times_s: Sequence[float] = TIMES_S,
    compensations: Sequence[str] = COMPENSATIONS,
    seeds: Sequence[int] = (0,),
    model: PcmModel = NANDAKUMAR_2019,
    readout: Readout = PRESETS["paper"],
    scale: Scale = "layer",
    gdc_readout: GdcReadout = "absolute",
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    known: Iterable[Row] = (),
    keep: Callable[[Retention], None] = lambda result: None,
) -> Retention:
    """Measure how the accuracy of programmed chips holds over time.

    Parameters
    ----------
    network : Network
    samples : Samples
        Images to judge by; the position of an image is its address.
    calibration : Samples, optional
        Training images: for AdaBS, and for the ranges of a readout whose converters need some and for which the
        network has none.
    times_s : sequence of float
    compensations : sequence of str
        Out of "none", "gdc", "adabs", "gdc+adabs".
    seeds : sequence of int
        One chip each.
    model : PcmModel
    readout : Readout
    scale : "layer" or "column"
    gdc_readout : "absolute", "ones" or "column"
    threads : int, optional
    progress : callable
        Called with the inferences done and their total.
    known : iterable of Row
        Rows that an earlier call with these arguments has found: they are taken over.
    keep : callable
        Called after each new row with those of the result that are known by then.

    Returns
    -------
    Retention

    Raises
    ------
    PcmrefError
        Before any image is run, if an argument is out of range or calibration images are missing.
    """
    _check_types(network, samples, calibration, model, readout)
    times_s = [check_time(model, t_s) for t_s in _each_once("times_s", times_s)]
    seeds = [check_seed(seed) for seed in _each_once("seeds", seeds)]
    compensations = _each_once("compensations", compensations)
    images = None if calibration is None else calibration.images
    _check(network, samples, images, compensations, scale, gdc_readout)
    readout = with_stored_ranges(network, readout, model=model, scale=scale)
    if needs_calibration(readout, compensations) and images is None:
        raise ParameterError("calibration", "training images (for AdaBS or converter ranges)", "none")
    if images is not None and needs_ranges(readout):
        readout = calibrate_ranges(network, images[:RANGE_IMAGES], readout, model=model, scale=scale, threads=threads)
    for layer in network.crossbar_layers:
        readout.range_of(layer.name)

    known = list(known)
    for found in known:
        instance("known", found, Row)
    wanted = list(itertools.product(seeds, times_s, compensations))
    rows = {(row.seed, row.t_s, row.compensation): row for row in known}
    for other in {row.images for row in rows.values()} - {len(samples)}:
        raise ParameterError("known", f"rows of {len(samples)} images", f"rows of {other}")
    total = len(samples) * (1 + len(set(wanted) - set(rows)))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    def result() -> Retention:
        return Retention(
            rows=tuple(rows[key] for key in wanted if key in rows),
            images=len(samples),
            digital_correct=baseline,
            readout=readout,
        )

    row = partial(
        _row,
        samples=samples,
        images=images,
        readout=readout,
        gdc_readout=gdc_readout,
        threads=threads,
        progress=advance,
    )
    baseline = correct(digital(network, samples.images, threads=threads, progress=advance), samples.labels)
    for seed in seeds:
        chip = program(network, model=model, seed=seed, scale=scale)
        reference = chip.reference()
        for t_s in times_s:
            snapshot = chip.at(t_s)
            for compensation in compensations:
                if (seed, t_s, compensation) not in rows:
                    rows[seed, t_s, compensation] = row(snapshot, reference, compensation)
                    keep(result())
    return result()


def _row(
    snapshot: Snapshot,
    reference: Snapshot,
    compensation: str,
    *,
    samples: Samples,
    images: UInt8 | None,
    readout: Readout,
    gdc_readout: GdcReadout,
    threads: int | None,
    progress: Callable[[int], None],
) -> Row:
    """Compensate a chip as it is at one time, with calibration `images`, and count what it then gets right."""
    corrections = calibrate(
        snapshot,
        compensation,
        reference=reference,
        images=images,
        readout=readout,
        gdc_readout=gdc_readout,
        threads=threads,
    )
    scores = logits(
        snapshot, samples.images, corrections=corrections, readout=readout, threads=threads, progress=progress
    )
    return Row(
        t_s=snapshot.t_s,
        compensation=compensation,
        seed=snapshot.seed,
        images=len(samples),
        correct=correct(scores, samples.labels),
    )


def needs_ranges(readout: Readout) -> bool:
    """Return whether a readout has converters with a fixed full scale that nobody has set."""
    return readout.adc_bits is not None and readout.ranges is None


def needs_calibration(readout: Readout, compensations: Iterable[str]) -> bool:
    """Return whether calibration images are needed: for AdaBS, or to find ranges."""
    return needs_ranges(readout) or any("adabs" in name for name in compensations)


def _each_once(name: str, values: Iterable[T]) -> list[T]:
    """Return `values` as a list if it is one, not empty, of values that differ."""
    try:
        found = [] if isinstance(values, str) else list(values)
        differ = len(set(found)) == len(found)
    except TypeError:
        found, differ = [], False
    if not (found and differ):
        raise ParameterError(name, "a list of one or more, each once", describe(values))
    return found


def _check_types(
    network: Network, samples: Samples, calibration: Samples | None, model: PcmModel, readout: Readout
) -> None:
    """Refuse values of another type."""
    instance("network", network, Network)
    instance("samples", samples, Samples)
    if calibration is not None:
        instance("calibration", calibration, Samples)
    instance("model", model, PcmModel, "pcmref.MODELS")
    instance("readout", readout, Readout, "pcmref.PRESETS")


def _check(
    network: Network,
    samples: Samples,
    images: UInt8 | None,
    compensations: Sequence[str],
    scale: str,
    gdc_readout: str,
) -> None:
    """Refuse what would fail only after minutes of work."""
    for name, value, choices in (
        *(("compensation", compensation, COMPENSATIONS) for compensation in compensations),
        ("scale", scale, get_args(Scale)),
        ("gdc_readout", gdc_readout, get_args(GdcReadout)),
    ):
        one_of(name, value, choices)
    if len(samples) == 0:
        raise ParameterError("images", "at least one", "none")
    batches(network, samples.images[:1], None)
    check_labels(f"{samples.where}/labels", samples.labels, len(network.classes))
    if images is not None:
        batches(network, images[:1], None)
        if any("adabs" in name for name in compensations) and len(images) < ADABS_IMAGES:
            raise ParameterError("calibration", f"at least {ADABS_IMAGES} images for AdaBS", str(len(images)))
