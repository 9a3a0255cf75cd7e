"""Time: a budget in seconds, and how fast a stage goes so that it ends with its share of it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator

#: How much longer than its time a stage may have taken and still begin its last epoch, relative to that time.
LATE = 0.1
#: A timer set to 0 seconds would never ring.
AT_ONCE_S = 0.001


class TimeUpError(BaseException):
    """What `alarm` raises; nothing that copes with errors takes it for one."""


class Budget:
    """So many seconds from now on.

    Parameters
    ----------
    seconds : float
    now : callable
        The clock, in seconds.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.now = now
        self.end = now() + seconds

    def left(self) -> float:
        """Return how many seconds are left."""
        return self.end - self.now()


class Pace:
    """How far a stage has come, from 0 to 1, and how far its next epoch takes it.

    The learning rate follows this progress. What is left of it is dealt out anew after each epoch, by what the last
    ones took: so it ends at 1, and the learning rate at 0, when the time is over, however long an epoch takes.

    Parameters
    ----------
    budget : Budget
        That of the stage.
    expected : int
        Epochs that the stage is thought to have, as long as none has been measured.
    cycle : int
        Epochs over which the cost is averaged: dear ones, with new variants of the images, and cheap ones take turns.
    progress : float
        Where the stage goes on.
    """

    def __init__(self, budget: Budget, expected: int, cycle: int, progress: float = 0.0) -> None:
        self.budget = budget
        self.expected = expected
        self.costs: deque[float] = deque(maxlen=cycle)
        self.progress = progress
        self.begin: float | None = None

    def over(self) -> bool:
        """Return whether the stage has come to its end, or is so late that even a last epoch would be too long."""
        return self.progress == 1 or self.budget.left() < -LATE * self.budget.seconds

    def epochs_left(self) -> int:
        """Return how many epochs fit in the time that is left, at least one."""
        if not self.costs:
            return self.expected
        return max(1, int(self.budget.left() / (sum(self.costs) / len(self.costs))))

    def following(self) -> float:
        """Return the progress after the next epoch, which begins now; the one before has cost the time until now."""
        now = self.budget.now()
        if self.begin is not None:
            self.costs.append(now - self.begin)
        self.begin = now
        left = self.epochs_left()
        return 1.0 if left == 1 else self.progress + (1 - self.progress) / left


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise `TimeUpError` in what is done here for longer, whatever it is.

    For the main thread only. An alarm within an alarm is no later than that.
    """

    def ring(*_: object) -> None:
        raise TimeUpError(f"not done after {seconds:.0f} s")

    begin = time.monotonic()
    outer_s, _ = signal.getitimer(signal.ITIMER_REAL)
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(min(seconds, outer_s or seconds), AT_ONCE_S))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer_s:
            signal.setitimer(signal.ITIMER_REAL, max(outer_s - (time.monotonic() - begin), AT_ONCE_S))
