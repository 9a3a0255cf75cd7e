"""Tasks through executors that lose them: every task is answered once, and only the guilty fail."""

import itertools
import random
from collections import Counter
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcmref.errors import OutputError, ParameterError
from pcmref.studies.sweeps import dispatch as module
from pcmref.studies.sweeps.dispatch import dispatch
from pcmref.studies.sweeps.executors import Workers
from pcmref.studies.sweeps.executors import given as given_workers
from pcmref.studies.sweeps.tasks import Answer, Lacking, Task, origin


class Bundle:
    def packed(self):
        return b"bundle"


def task(*numbers):
    """A task of rows whose seeds are these."""
    cases = tuple((number, 25.0, "none") for number in numbers)
    return Task(origin=origin(), bundle="b", setting="s", how={}, cases=cases)


class Unreliable(Executor):
    """Executors that break when a deadly task runs, or by chance; workers that lack the bundle.

    Nothing happens before somebody waits: then the oldest task runs.
    """

    def __init__(self, rng, deadly=(), chance=0.0, lacking=0.0):
        self.rng, self.deadly, self.chance, self.lacking = rng, set(deadly), chance, lacking
        self.queue, self.started, self.most, self.ran, self.is_broken = [], 0, 0, Counter(), False

    def start(self):
        self.queue, self.is_broken = [], False
        self.started += 1
        return self

    def submit(self, function, what, packed=None):
        assert function is module.work
        if self.is_broken:
            raise BrokenExecutor
        future = Future()
        self.queue.append((future, what, packed))
        self.most = max(self.most, len(self.queue))
        return future

    def waited_for(self):
        """A queue of finished futures: who asks it makes the next task run."""
        return Finished(self)

    def run(self):
        future, what, packed = self.queue.pop(self.rng.randrange(len(self.queue)))
        seeds = [case[0] for case in what.cases]
        if self.deadly.intersection(seeds) or self.rng.random() < self.chance:
            self.is_broken = True
            lost, self.queue = [future, *(other for other, *_ in self.queue)], []
            for broken in lost:
                broken.set_exception(BrokenExecutor())
        elif packed is None and self.rng.random() < self.lacking:
            future.set_result(Lacking(worker="w"))
        else:
            self.ran.update(seeds)
            future.set_result(Answer(worker="w", seconds=1.0, rows=what.cases))


class Finished:
    def __init__(self, executor):
        self.executor, self.put_so_far = executor, []

    def put(self, future):
        self.put_so_far.append(future)

    def get(self, timeout):
        assert timeout <= 1
        if not self.put_so_far:
            self.executor.run()
        return self.put_so_far.pop(0)


@given(
    seed=st.integers(0, 2**32),
    lengths=st.lists(st.integers(1, 9), max_size=8),
    deadly=st.sets(st.integers(0, 40), max_size=4),
    workers=st.integers(1, 5),
    lacks=st.booleans(),
)
def test_every_row_is_answered_once_and_only_the_deadly_fail(seed, lengths, deadly, workers, lacks):
    executor = Unreliable(random.Random(seed), deadly, lacking=0.5 if lacks else 0.0)
    numbers = iter(range(100))
    tasks = [task(*itertools.islice(numbers, length)) for length in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SimpleQueue", executor.waited_for)
        pool = Workers(start=executor.start, count=lambda: workers)
        found = list(dispatch(iter(tasks), pool, lambda digest: Bundle(), lambda: None))
    answered = [case[0] for what, _ in found for case in what.cases]
    assert sorted(answered) == list(range(sum(lengths)))
    for what, answer in found:
        if answer.failures:
            ((number, *_),) = what.cases
            assert number in deadly
            assert [failure.case for failure in answer.failures] == list(what.cases)
            assert "memory" in answer.failures[0].error
        else:
            assert answer.rows == what.cases
            assert not deadly.intersection(case[0] for case in what.cases)
    assert executor.most <= 2 * workers


@given(st.integers(0, 2**32))
def test_what_breaks_by_chance_fails_only_if_it_breaks_alone(seed):
    executor = Unreliable(random.Random(seed), chance=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SimpleQueue", executor.waited_for)
        pool = Workers(start=executor.start, count=lambda: 2)
        found = list(dispatch((task(n) for n in range(20)), pool, lambda digest: Bundle(), lambda: None))
    assert sorted(what.cases[0][0] for what, _ in found) == list(range(20))


def test_a_task_that_depends_on_an_answer_waits_for_it():
    rng, seen = random.Random(0), []
    executor = Unreliable(rng)

    def tasks():
        yield task(0)
        yield task(1)
        while len(seen) < 2:
            yield None
        yield task(2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SimpleQueue", executor.waited_for)
        pool = Workers(start=executor.start, count=lambda: 4)
        for what, _ in dispatch(tasks(), pool, lambda digest: Bundle(), lambda: None):
            seen.append(what.cases[0][0])
    assert sorted(seen[:2]) == [0, 1]
    assert seen[2:] == [2]


class Says(Executor):
    """An executor whose workers all say, or raise, the same."""

    def __init__(self, said):
        self.said = said

    def submit(self, *_):
        future = Future()
        if isinstance(self.said, BaseException):
            future.set_exception(self.said)
        elif self.said == "cancel":
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            raise RuntimeError(self.said)
        return future


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (
            ParameterError("worker w", "pcmref 1", "pcmref 2"),
            ParameterError,
            "worker w: expected pcmref 1, found pcmref 2",
        ),
        ("cancel", OutputError, "executor: expected an answer to each task"),
        (CancelledError(), OutputError, "executor: expected an answer to each task"),
        (
            "cannot schedule new futures after shutdown",
            OutputError,
            "executor: expected one that takes tasks, found cannot",
        ),
    ],
)
def test_what_ends_a_sweep(said, error, message):
    pool = Workers(start=lambda: Says(said), count=lambda: 1)
    with pytest.raises(error, match=f"^{message}"):
        list(dispatch(iter([task(0)]), pool, lambda digest: Bundle(), lambda: None))


def test_any_other_error_of_a_worker_is_a_failure_of_its_rows():
    pool = Workers(start=lambda: Says(OSError("no\nsuch thing")), count=lambda: 1)
    ((_, answer),) = dispatch(iter([task(7)]), pool, lambda digest: Bundle(), lambda: None)
    (failure,) = answer.failures
    assert (failure.case, failure.error) == ((7, 25.0, "none"), "OSError: no\nsuch thing")


def test_what_an_executor_gives_up_is_tried_in_halves():
    """As Dask does, which says only that a task has killed too many workers."""

    class GivesUp(Executor):
        def submit(self, _, what):
            future = Future()
            if any(case[0] == 5 for case in what.cases):
                future.set_exception(OSError("killed"))
            else:
                future.set_result(Answer(worker="w", seconds=1.0, rows=what.cases))
            return future

    pool = Workers(start=GivesUp, count=lambda: 1)
    found = list(dispatch(iter([task(*range(8))]), pool, lambda digest: Bundle(), lambda: None))
    assert sorted(case[0] for _, answer in found for case in answer.rows) == [0, 1, 2, 3, 4, 6, 7]
    assert [failure.case[0] for _, answer in found for failure in answer.failures] == [5]


def test_an_executor_that_is_given_and_breaks_ends_the_sweep():
    class Breaks(Executor):
        def submit(self, *_):
            raise BrokenExecutor

    with pytest.raises(OutputError, match="executor: expected one that does its tasks, found one that has broken"):
        list(dispatch(iter([task(0)]), given_workers(Breaks(), 1), lambda digest: Bundle(), lambda: None))


def test_ctrl_c_ends_it():
    def beat():
        raise KeyboardInterrupt

    executor = Unreliable(random.Random(0))
    pool = Workers(start=executor.start, count=lambda: 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SimpleQueue", executor.waited_for)
        with pytest.raises(KeyboardInterrupt):
            list(dispatch(iter([task(0)]), pool, lambda digest: Bundle(), beat))
