"""Tasks through an executor: a few more at a time than it has workers, and again where one is lost on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
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
    tasks: Iterator[Task], workers: Workers, bundles: Callable[[str], Bundle], beat: Callable[[], None]
) -> Iterator[tuple[Task, Answer]]:
    """Yield each task with its answer, in whatever order they come.

    When the executor breaks, as one of processes does when any of them dies, the tasks that were under way are tried
    again one at a time, so that the one that kills its worker is known: only its rows fail.

    Parameters
    ----------
    tasks : iterator of Task
        The next is asked for when there is room for it.
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
    suspects: deque[Task] = deque()
    alone: Task | None = None
    while True:
        while len(waiting) < (1 if suspects or alone else TASKS_A_WORKER * max(1, workers.count())):
            if suspects:
                task = alone = suspects.popleft()
            elif (following := next(tasks, None)) is not None:
                task = following
            else:
                break
            waiting[_sent(executor, task)] = task
        if not waiting:
            return
        done, _ = wait(waiting, timeout=BEAT_S, return_when=FIRST_COMPLETED)
        beat()
        for future in done:
            if not future.cancelled() and isinstance(future.exception(), BrokenExecutor):
                executor = workers.start()
                if alone is not None:
                    waiting.clear()
                    yield alone, _lost(alone, "its process ended; was the memory enough?")
                    alone = None
                suspects.extend(waiting.values())
                waiting.clear()
                break
            task = waiting.pop(future)
            answer = _answer(task, future)
            if isinstance(answer, Lacking):
                waiting[_sent(executor, task, bundles(task.bundle).packed())] = task
                continue
            alone = None
            yield task, answer


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
