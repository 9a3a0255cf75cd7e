"""Where the time goes: seconds a stage, summed over threads.

Stages are marked with ``with stage("name"):`` where the work is done; that costs a fraction of a microsecond and
counts only inside ``with recording() as profile:``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator

__all__ = ["Profile", "recording", "stage"]


class Profile:
    """Seconds spent in each stage so far, by all threads together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds: dict[str, float] = defaultdict(float)

    def add(self, name: str, seconds: float) -> None:
        """Count some seconds for a stage."""
        with self._lock:
            self.seconds[name] += seconds


#: Profiles that are recording now; one list for all threads, since work is spread over a pool of them.
_recording: list[Profile] = []


@contextlib.contextmanager
def recording() -> Iterator[Profile]:
    """Record all stages of all threads until the block ends; blocks at the same time see each other's work."""
    profile = Profile()
    _recording.append(profile)
    try:
        yield profile
    finally:
        _recording.remove(profile)


class stage:  # noqa: N801  (used like a keyword)
    """Mark a block as part of a stage; stages do not nest."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        for profile in _recording:
            profile.add(self.name, time.perf_counter() - self.start)
