"""Accuracy over time: the answer to a study, a row for each chip, time and compensation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from pcmref.crossbar.readout import Readout
from pcmref.devices.chip import Snapshot, program
from pcmref.errors import ParameterError, called, describe, instance
from pcmref.inference.accuracy import correct
from pcmref.inference.compensation import calibrate
from pcmref.inference.gdc import GdcReference
from pcmref.inference.run import digital, prepare
from pcmref.studies.study import Case, Study

__all__ = ["Retention", "Row", "retention", "rows_of"]


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Retention:
    """The answer to a study.

    Parameters
    ----------
    study : Study
    rows : tuple of Row
        Every seed, time and compensation.
    digital_correct : int
        Images that the digital baseline classifies correctly.
    readout : Readout
        With the ranges that were used.
    """

    study: Study
    rows: tuple[Row, ...]
    digital_correct: int
    readout: Readout

    @property
    def images(self) -> int:
        """Number of images judged."""
        return len(self.study.samples)

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
    study: Study,
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    known: Iterable[Row] = (),
    keep: Callable[[Retention], None] = lambda result: None,
) -> Retention:
    """Measure how the accuracy of programmed chips holds over time.

    Parameters
    ----------
    study : Study
    threads : int, optional
    progress : callable
        Called with the inferences done and their total.
    known : iterable of Row
        Rows that an earlier run of this study has found: they are taken over.
    keep : callable
        Called after each new row with those of the result that are known by then.

    Returns
    -------
    Retention

    Raises
    ------
    ParameterError
        If a known row is not of this study's images.

    Warns
    -----
    PcmrefWarning
        If full scales do not fit the first case, as of `pcmref.logits`.
    """
    instance("study", study, Study, "pcmref.Study")
    called("progress", progress)
    called("keep", keep)
    known = list(known)
    for found in known:
        instance("known", found, Row)
    rows = {(row.seed, row.t_s, row.compensation): row for row in known}
    images = len(study.samples)
    for other in {row.images for row in rows.values()} - {images}:
        raise ParameterError("known", f"rows of {images} images", f"rows of {other}")
    readout = study.ranged_readout(threads)
    wanted = study.cases
    total = images * (1 + len(set(wanted) - set(rows)))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    def result() -> Retention:
        found = tuple(rows[case] for case in wanted if case in rows)
        return Retention(study=study, rows=found, digital_correct=baseline, readout=readout)

    scores = digital(study.network, study.samples.images, threads=threads, progress=advance)
    baseline = correct(scores, study.samples.labels)
    for row in rows_of(
        study, [case for case in wanted if case not in rows], readout, threads=threads, progress=advance
    ):
        rows[row.seed, row.t_s, row.compensation] = row
        keep(result())
    return result()


def rows_of(
    study: Study,
    cases: Iterable[Case],
    readout: Readout,
    *,
    threads: int | None = None,
    progress: Callable[[int], None] = lambda images: None,
    look: bool = True,
) -> Iterator[Row]:
    """Yield the row of each case; one chip is programmed, and read, once for the cases of it that follow one another.

    Parameters
    ----------
    study : Study
    cases : iterable of Case
    readout : Readout
        That of the study, with its ranges.
    threads : int, optional
    progress : callable
        Called with numbers of images.
    look : bool
        Whether to warn of full scales that do not fit the first case.
    """
    needs_gdc = any("gdc" in compensation for compensation in study.compensations)
    for seed, of_chip in groupby(cases, lambda case: case[0]):
        chip = program(study.network, model=study.model, seed=seed, scale=study.scale, significance=study.significance)
        reference = GdcReference.of(chip.reference(), study.gdc_readout) if needs_gdc else None
        for t_s, at_time in groupby(of_chip, lambda case: case[1]):
            snapshot = chip.at(t_s)
            for _, _, compensation in at_time:
                yield _row(study, snapshot, reference, compensation, readout, threads, progress, look=look)
                look = False


def _row(
    study: Study,
    snapshot: Snapshot,
    reference: GdcReference | None,
    compensation: str,
    readout: Readout,
    threads: int | None,
    progress: Callable[[int], None],
    *,
    look: bool,
) -> Row:
    """Compensate a chip as it is at one time, count what it then gets right; `look` whether full scales fit."""
    corrections = calibrate(
        snapshot,
        compensation,
        reference=reference,
        images=None if study.calibration is None else study.calibration.images,
        readout=readout,
        gdc_readout=study.gdc_readout,
        threads=threads,
    )
    images, labels = study.samples.images, study.samples.labels
    chip = prepare(snapshot, corrections=corrections, readout=readout)
    scores = chip(images, threads=threads, progress=progress)
    if look:
        chip.warn_of_saturation(images, threads=threads)
    return Row(
        t_s=snapshot.t_s,
        compensation=compensation,
        seed=snapshot.seed,
        images=len(images),
        correct=correct(scores, labels),
    )
