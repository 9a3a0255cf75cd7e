"""Work on many images in parts, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pcmref.arrays import overflowing
from pcmref.errors import integer

__all__ = ["CHUNK", "each", "processors"]

T = TypeVar("T")

#: Most images that a thread works on at a time: enough to hide the interpreter, few enough for the cache.
CHUNK = 48


def each(work: Callable[[slice], T], count: int, threads: int | None, most: int = CHUNK) -> Iterator[T]:
    """Do `work` on slices of ``range(count)`` of at most so many, several at a time; yield its results in order."""

    def quietly(part: slice) -> T:
        with overflowing():  # of each thread
            return work(part)

    workers = processors(threads)
    chunk = most if workers == 1 else max(1, min(most, -(-count // (4 * workers))))  # several parts a thread
    parts = [slice(start, min(start + chunk, count)) for start in range(0, count, chunk)]
    if workers == 1 or len(parts) == 1:
        yield from map(quietly, parts)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(quietly, parts)


def processors(threads: int | None) -> int:
    """Return how many threads to use: as asked for, or one a processor."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return integer("threads", threads, "an integer from 1 to 1024", 1, 1024)
