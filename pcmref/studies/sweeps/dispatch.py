"""Tasks through an executor: a few more at a time than it has workers, and again where one is lost on the way.

When an executor breaks, as one of processes does when any of them dies, the tasks that were under way are tried again
one at a time, and what breaks it alone in halves, so that the row that kills its worker is known: only that one fails.
So it is with a task of which an executor only says that it has failed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

from pcmref.errors import OutputError, PcmrefError, shortened
from pcmref.studies.sweeps.executors import Workers
from pcmref.studies.sweeps.tasks import Answer, Bundle, Failure, Lacking, Task
from pcmref.studies.sweeps.worker import work

__all__ = ["dispatch"]

#: Tasks that are under way for each worker: while one is done, the next is there.
TASKS_A_WORKER = 2
#: Seconds after which `beat` is called at the latest.
BEAT_S = 0.5


def dispatch(
    tasks: Iterator[Task | None], workers: Workers, bundles: Callable[[str], Bundle], beat: Callable[[], None]
) -> Iterator[tuple[Task, Answer]]:
    """Yield each task with its answer, in whatever order they come.

    Parameters
    ----------
    tasks : iterator of Task
        The next is asked for when there is room for it; None says that it depends on an answer which is still to come.
    workers : Workers
    bundles : callable
        ``bundles(digest)`` is what a worker lacks.
    beat : callable
        Called often; what it raises, for example after Ctrl-C, ends the work.

    Raises
    ------
    PcmrefError
        What a worker raises that must not work for this sweep.
    OutputError
        If the executor takes tasks no more.
    """
    executor = workers.start()
    waiting: dict[Future[Any], Task] = {}
    done: SimpleQueue[Future[Any]] = SimpleQueue()
    suspects: deque[Task] = deque()
    alone: Task | None = None

    def send(task: Task, *packed: bytes) -> None:
        future = _sent(executor, task, *packed)
        waiting[future] = task
        future.add_done_callback(done.put)

    while True:
        while len(waiting) < (1 if suspects or alone else TASKS_A_WORKER * max(1, workers.count())):
            if suspects:
                alone = suspects.popleft()
                send(alone)
            elif (task := next(tasks, None)) is not None:
                send(task)
            else:
                break
        if not waiting:
            return
        beat()
        try:
            future = done.get(timeout=BEAT_S)
        except Empty:
            continue
        if future not in waiting:  # it was of an executor that has broken
            continue
        if not future.cancelled() and isinstance(future.exception(), BrokenExecutor):
            executor = workers.start()
            if alone is None:
                suspects.extend(waiting.values())
            elif len(alone.cases) > 1:
                suspects.extend(_halves(alone))
            else:
                yield alone, _lost(alone, "its process ended; was the memory enough?")
            waiting.clear()
            alone = None
            continue
        task = waiting.pop(future)
        answer = _answer(task, future)
        if isinstance(answer, Lacking):
            send(task, bundles(task.bundle).packed())
            continue
        alone = None
        if answer.error and len(task.cases) > 1:
            suspects.extend(_halves(task))
        else:
            yield task, answer


def _halves(task: Task) -> tuple[Task, Task]:
    """Return the two halves of a task of several rows."""
    middle = len(task.cases) // 2
    return replace(task, cases=task.cases[:middle]), replace(task, cases=task.cases[middle:], look=False)


def _sent(executor: Executor, *what: object) -> Future[Any]:
    """Submit a task; a broken executor breaks the future, not the sweep."""
    try:
        return executor.submit(work, *what)  # type: ignore[arg-type]
    except BrokenExecutor as error:
        broken: Future[Any] = Future()
        broken.set_exception(error)
        return broken
    except RuntimeError as error:  # it was shut down
        raise OutputError("executor", "one that takes tasks", str(error)) from None


def _answer(task: Task, future: Future[Any]) -> Answer | Lacking:
    """Return what has come of a task; no answer is a failure of its rows."""
    try:
        answer: Answer | Lacking = future.result()
    except PcmrefError:
        raise
    except CancelledError:
        raise OutputError(
            "executor", "an answer to each task", "tasks that were cancelled; is it still there?"
        ) from None
    except Exception as error:
        return _lost(task, f"{type(error).__name__}: {error}")
    return answer


def _lost(task: Task, why: str) -> Answer:
    failures = tuple(Failure(case=case, error=shortened(why)) for case in task.cases)
    return Answer(worker="", seconds=0.0, failures=failures, error=shortened(why))
