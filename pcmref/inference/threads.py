"""Work on many images in parts, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from pcmref.arrays import overflowing
from pcmref.errors import integer

__all__ = ["CHUNK", "Team", "each", "parts", "processors", "team"]

T = TypeVar("T")
U = TypeVar("U")

#: Most images that a thread works on at a time: enough to hide the interpreter, few enough for the cache.
CHUNK = 48
#: Parts for each of several threads at least, so that one that is held up does not hold up all.
LEAST_PARTS = 2


class Team(Protocol):
    """Some threads: called with a piece of work and what to do it on, they give its results in order."""

    def __call__(self, work: Callable[[T], U], several: Iterable[T], /) -> Iterator[U]:
        """Do the work on each of several."""
        ...


@contextmanager
def team(threads: int | None) -> Iterator[Team]:
    """Provide threads for work that comes piece by piece; one thread is the caller's own."""
    workers = processors(threads)
    if workers == 1:
        yield lambda work, several: map(_quietly(work), several)
    else:
        with ThreadPoolExecutor(workers) as pool:
            yield lambda work, several: pool.map(_quietly(work), several)


def _quietly(work: Callable[[T], U]) -> Callable[[T], U]:
    def quiet(part: T) -> U:
        with overflowing():  # of each thread
            return work(part)

    return quiet


def each(work: Callable[[slice], T], count: int, threads: int | None, most: int = CHUNK) -> Iterator[T]:
    """Do `work` on slices of ``range(count)`` of at most so many, several at a time; yield its results in order."""
    several = parts(count, threads, most)
    with team(threads if len(several) > 1 else 1) as workers:
        yield from workers(work, several)


def parts(count: int, threads: int | None, most: int = CHUNK) -> list[slice]:
    """Return slices of ``range(count)`` of at most so many; for several threads equal ones, as many for each."""
    workers = processors(threads)
    if workers == 1:
        return [slice(start, min(start + most, count)) for start in range(0, count, most)]
    several = min(count, max(LEAST_PARTS, -(-count // (most * workers))) * workers)
    return [slice(count * part // several, count * (part + 1) // several) for part in range(several)]


def processors(threads: int | None) -> int:
    """Return how many threads to use: as asked for, or one a processor."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return integer("threads", threads, "an integer from 1 to 1024", 1, 1024)
