"""Where the tasks of a sweep may run: processes of this machine, a Dask cluster, or any other executor."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from pcmref.errors import OutputError, ParameterError, describe, integer, require

__all__ = ["Workers", "dask", "given", "named", "processes"]

#: Seconds that a scheduler has to answer.
ANSWER_S = 10.0
#: Seconds for which the number of its workers is believed.
COUNTED_S = 1.0
#: Most workers that are asked for.
WORKERS_MOST = 1 << 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Workers:
    """What runs tasks.

    Parameters
    ----------
    start : callable
        ``start()`` is an executor: the first, or another one after that has broken.
    count : callable
        ``count()`` is how many tasks run at a time, by now.
    """

    start: Callable[[], Executor]
    count: Callable[[], int]


def given(executor: Executor, workers: int) -> Workers:
    """Return workers of an executor that is there already and runs so many tasks at a time."""
    if not isinstance(executor, Executor):
        raise ParameterError("executor", "a concurrent.futures.Executor", describe(executor))
    workers = integer("workers", workers, f"from 1 to {WORKERS_MOST}", 1, WORKERS_MOST)
    left = [executor]

    def start() -> Executor:
        if not left:
            raise OutputError("executor", "one that does its tasks", "one that has broken")
        return left.pop()

    return Workers(start=start, count=lambda: workers)


@contextlib.contextmanager
def processes(count: int) -> Iterator[Workers]:
    """Give workers that are so many processes of this machine; they end with the block, or with this process.

    A process that dies breaks the executor; `Workers.start` then makes another.
    """
    integer("processes", count, f"from 1 to {WORKERS_MOST}", 1, WORKERS_MOST)
    context = multiprocessing.get_context("spawn")  # the same on every system; and no thread is forked
    running: list[tuple[Executor, Connection]] = []

    def stop() -> None:
        while running:
            executor, alive = running.pop()
            alive.close()  # which ends the processes, whatever they do
            executor.shutdown(wait=True, cancel_futures=True)

    def start() -> Executor:
        stop()
        ends, alive = context.Pipe(duplex=False)
        executor = ProcessPoolExecutor(count, mp_context=context, initializer=_live, initargs=(ends,))
        running.append((executor, alive))
        with _deaf():
            for _ in range(count):
                executor.submit(os.getpid)  # starts a process
        return executor

    try:
        yield Workers(start=start, count=lambda: count)
    finally:
        stop()


def _live(ends: Connection) -> None:
    """Prepare a process: it leaves Ctrl-C to the sweep, and ends when the other end of a pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            ends.recv()
        os._exit(0)  # as nobody waits for what it does

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that do not hear Ctrl-C, not even before `_live`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def dask(address: str) -> Iterator[Workers]:
    """Give the workers of a Dask cluster; those may come and go.

    Raises
    ------
    ParameterError
        If no scheduler answers at the address.
    MissingExtraError
        Without `distributed`.
    """
    distributed = require("distributed", "dask")
    try:
        client = distributed.Client(address, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        expected = "the address of a Dask scheduler, such as tcp://127.0.0.1:8786"
        raise ParameterError(f"scheduler {address}", expected, describe(str(error), 100)) from None

    def start() -> Executor:
        executor: Executor = client.get_executor(pure=False)
        return executor

    counted: list[tuple[float, int]] = []

    def count() -> int:
        now_s = time.monotonic()
        if not counted or now_s - counted[-1][0] > COUNTED_S:
            try:
                counted[:] = [(now_s, sum(client.nthreads().values()))]
            except (OSError, TimeoutError) as error:
                raise OutputError(f"scheduler {address}", "an answer", describe(str(error), 100)) from None
        return counted[-1][1]

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # a bundle, once to a worker
            yield Workers(start=start, count=count)
    finally:
        client.close(timeout=ANSWER_S)


@contextlib.contextmanager
def named(name: str, count: int) -> Iterator[Workers]:
    """Give the workers of any executor, named as ``module:callable``, for example ``mpi4py.futures:MPIPoolExecutor``.

    The callable is called with how many workers there are to be.

    Raises
    ------
    ParameterError
        If there is no such callable, or it makes no executor.
    """
    module, _, attribute = name.partition(":")
    try:
        make: Any = getattr(importlib.import_module(module), attribute)
        made = make(count)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        expected = "MODULE:CALLABLE that makes a concurrent.futures.Executor"
        raise ParameterError("executor", expected, describe(f"{name} ({error})", 200)) from None
    first = given(made, count).start()
    several = _one_after_another(first, lambda: make(count))
    try:
        yield Workers(start=lambda: next(several), count=lambda: count)
    finally:
        several.close()
        first.shutdown(cancel_futures=True)


def _one_after_another(executor: Executor, make: Callable[[], Executor]) -> Generator[Executor, None, None]:
    """Yield an executor, and another one whenever it is asked for, when the last has broken."""
    while True:
        try:
            yield executor
        finally:
            executor.shutdown(cancel_futures=True)
        executor = make()
