"""A sweep: what a study asks for and its database lacks, cut into tasks, done by workers, kept row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from pcmref.errors import ParameterError, called, instance, real
from pcmref.golden.readouts import readout_fields, readout_of
from pcmref.studies.report import time_text
from pcmref.studies.study import Case, Study
from pcmref.studies.sweeps.database import Database
from pcmref.studies.sweeps.dispatch import dispatch
from pcmref.studies.sweeps.executors import Workers
from pcmref.studies.sweeps.grid import Question
from pcmref.studies.sweeps.opening import opened
from pcmref.studies.sweeps.points import Point, points_of, row_key
from pcmref.studies.sweeps.tasks import Answer, Asks, Bundle, Task, bundle_of, how, origin

__all__ = ["FAILURES_MOST", "Outcome", "sweep"]

#: Seconds that a task is to take: long beside what it costs to send, short beside what is lost with a worker.
TASK_S, TASK_LEAST_S, TASK_MOST_S = 10.0, 1.0, 3600.0
#: Failed rows after which a sweep ends: that many have one reason.
FAILURES_MOST = 20


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What has come of a sweep.

    Parameters
    ----------
    wanted : int
        Rows that the study asks for.
    known : int
        Rows of those that were there before.
    new : int
        Rows that have landed now.
    failures : tuple of str
        Each with the row, the error, and the key that repeats it alone.
    """

    wanted: int
    known: int
    new: int
    failures: tuple[str, ...]


def sweep(
    question: Question,
    path: Path,
    workers: Workers,
    *,
    task_s: float = TASK_S,
    progress: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Find every row that a study asks for and its database lacks.

    Parameters
    ----------
    question : Question
    path : Path
        The database; it is made, if there is none.
    workers : Workers
    task_s : float
        Seconds that a task is to take, 1 to 3600.
    progress : callable
        Called often, with the rows that are there and those asked for; what it raises ends the sweep.
    tell : callable
        Given what workers warn of, once each.

    Raises
    ------
    PcmrefError
        If a point of the study cannot be, the database cannot be used, or a worker would find other rows.
    """
    instance("question", question, Question, "read_question")
    instance("workers", workers, Workers, "pcmref.studies.sweeps.executors")
    task_s = real("task_s", task_s, f"{TASK_LEAST_S:g} to {TASK_MOST_S:g} seconds", TASK_LEAST_S, TASK_MOST_S)
    called("progress", progress)
    called("tell", tell)
    points = points_of(question)
    with opened(path, question) as database:
        database.ask(question, points)
        return _Sweep(database, points, workers, task_s, progress, tell).run()


class _Sweep:
    """One run of a sweep: what it has counted and noted so far."""

    def __init__(
        self,
        database: Database,
        points: tuple[Point, ...],
        workers: Workers,
        task_s: float,
        progress: Callable[[int, int], None],
        tell: Callable[[str], None],
    ) -> None:
        self._database, self._points, self._workers = database, points, workers
        self._task_s, self._progress, self._tell = task_s, progress, tell
        self._by_digest = {point.digest: point for point in points}
        self._bundles: dict[tuple[int, ...], str] = {}
        self._of_bundle: dict[str, Study] = {}
        self._wanted = sum(point.wanted for point in points)
        self._known = self._done = sum(1 for asked in database.asked() for _ in database.rows(asked))
        self._left = self._wanted - self._known
        self._pending: set[str] = set()
        self._row_s: dict[str, float] = {}
        self._failures: list[str] = []
        self._warned: set[str] = set()

    def run(self) -> Outcome:
        """Find what is lacking."""
        self._beat()
        tasks = chain(self._baselines(), self._ranges(), self._rows())
        if (first := next(tasks, None)) is not None:  # otherwise no executor need start
            for task, answer in dispatch(chain([first], tasks), self._workers, self._bundle, self._beat):
                self._land(task, answer)
        failures = tuple(self._failures)
        return Outcome(wanted=self._wanted, known=self._known, new=self._done - self._known, failures=failures)

    # What is to be done

    def _baselines(self) -> Iterator[Task]:
        """Yield a task for each network and set of images whose digital baseline is not known."""
        lacking: dict[str, list[Point]] = {}
        known: dict[str, int] = {}
        for point in self._points:
            bundle = self._bundle_of(point)
            if (correct := self._database.baseline(point.digest)) is None:
                lacking.setdefault(bundle, []).append(point)
            else:
                known[bundle] = correct
        for bundle, points in lacking.items():
            if bundle in known:
                self._database.learn_baseline((point.digest for point in points), known[bundle])
            else:
                yield self._task(points[0], points[0].study, asks="baseline")

    def _ranges(self) -> Iterator[Task]:
        """Yield a task for each setting whose converters need ranges that are not known."""
        for point in self._points:
            if point.study.stored_readout().needs_ranges and self._database.ranges(point.digest) is None:
                self._pending.add(point.digest)
                yield self._task(point, point.study, asks="ranges")

    def _rows(self) -> Iterator[Task | None]:
        """Yield rows that are lacking, as many at a time as take `task_s`."""
        for asked, point in zip(tuple(self._database.asked()), self._points, strict=True):
            while point.digest in self._pending:
                yield None
            readout = point.study.stored_readout()
            if readout.needs_ranges:
                if (said := self._database.ranges(point.digest)) is None:
                    continue  # they could not be found
                readout = replace(readout, ranges=readout_of(said).ranges)
            study = replace(point.study, readout=readout)
            found = {row[:3] for row in self._database.rows(asked)}
            left = [case for case in point.cases if case not in found]
            of_chip = sum(len(block.times_s) * len(block.compensations) for block in point.blocks)
            start = 0
            while start < len(left):
                count = self._count(self._bundle_of(point), of_chip)
                yield self._task(point, study, cases=tuple(left[start : start + count]), look=start == 0)
                start += count
                self._left -= count

    def _count(self, bundle: str, of_chip: int) -> int:
        """Return how many rows the next task is to have: of whole chips, if it has several."""
        row_s = self._row_s.get(bundle)
        if row_s is None:
            return 1
        fair = math.ceil(self._left / (2 * max(1, self._workers.count())))  # so that workers end together
        count = max(1, min(fair, int(self._task_s / row_s)))
        return count - count % of_chip if count > of_chip else count

    def _task(
        self, point: Point, study: Study, *, asks: Asks = "rows", cases: tuple[Case, ...] = (), look: bool = False
    ) -> Task:
        bundle = self._bundle_of(point)
        return Task(
            origin=origin(),
            bundle=bundle,
            setting=point.digest,
            how=how(study),
            asks=asks,
            cases=cases,
            look=look,
        )

    # What has been done

    def _land(self, task: Task, answer: Answer) -> None:
        """Keep an answer."""
        setting = task.setting
        if task.asks == "ranges":
            self._pending.discard(setting)
        for text in answer.warnings:
            if text not in self._warned:
                self._warned.add(text)
                self._tell(text)
        if answer.error and task.asks != "rows":
            case = next(self._by_digest[setting].cases)
            self._fail(setting, [(case, f"{task.asks}: {answer.error}")])
        elif answer.digital_correct is not None:
            same = [point.digest for point in self._points if self._bundle_of(point) == task.bundle]
            self._database.learn_baseline(same, answer.digital_correct)
        elif answer.readout is not None:
            self._database.learn_ranges(setting, readout_fields(answer.readout))
        if answer.rows:
            self._row_s[task.bundle] = answer.seconds / len(answer.rows)
            self._database.land(setting, answer.rows, self._row_s[task.bundle])
            self._done += len(answer.rows)
        self._fail(setting, [(failure.case, failure.error) for failure in answer.failures])
        self._beat()

    def _fail(self, setting: str, failures: list[tuple[Case, str]]) -> None:
        """Note rows that failed; after too many, give up."""
        if not failures:
            return
        self._database.fail(setting, failures)
        for case, error in failures:
            seed, t_s, compensation = case
            row = f"row {row_key(setting, case)} (seed {seed}, {time_text(t_s)}, {compensation})"
            self._failures.append(f"{row}: {error}")
        if len(self._failures) >= FAILURES_MOST:
            expected = f"fewer than {FAILURES_MOST} rows that fail"
            raise ParameterError(str(self._database.path), expected, f"{len(self._failures)}: {self._failures[0]}")

    def _beat(self) -> None:
        self._progress(self._done, self._wanted)

    # Networks and images

    def _bundle_of(self, point: Point) -> str:
        """Return the digest of a point's bundle; points share what is the same."""
        study = point.study
        parts = (id(study.network), id(study.samples), id(study.calibration))
        if parts not in self._bundles:
            self._bundles[parts] = digest = bundle_of(study).digest
            self._of_bundle[digest] = study
        return self._bundles[parts]

    def _bundle(self, digest: str) -> Bundle:
        return bundle_of(self._of_bundle[digest])
