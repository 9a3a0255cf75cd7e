"""The terminal around a command: errors as one line, Ctrl-C, warnings, progress, and readers that go early."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

from pcmref.errors import PcmrefError, PcmrefWarning

__all__ = ["attended", "progress_bar", "say"]


def attended(work: Callable[[threading.Event], int]) -> int:
    """Do the work of a command; return its exit status: that of the work, 1 after an error, 130 after Ctrl-C.

    `work` is given what tells whether Ctrl-C was pressed.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without "±" still gets its table
    _open_descriptors()
    if sys.stdout is None:
        say("error: standard output: expected a place to write to, found it closed")
        return 1
    status = 0
    with warnings.catch_warnings(), _interruptible() as interrupted:
        warnings.simplefilter("default", PcmrefWarning)
        warnings.showwarning = _show_warning
        try:
            status = work(interrupted)
            sys.stdout.flush()
        except PcmrefError as error:
            say(f"error: {error}")
            return 1
        except KeyboardInterrupt:
            say("interrupted")
            return 130
        except BrokenPipeError:  # the reader has seen enough of the table, which comes last
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (OSError, MemoryError) as error:
            say(f"error: {getattr(error, 'strerror', None) or type(error).__name__}")
            return 1
        except Exception:
            if not interrupted.is_set():
                raise
            say("interrupted")
            return 130
    return status


def say(text: str) -> None:
    """Tell the user something beside the results; if nobody listens (any more), the work goes on all the same."""
    if sys.stderr is None:  # which `print` would take for standard output
        return
    with contextlib.suppress(OSError):
        print(f"pcmref: {text}", file=sys.stderr)


def _open_descriptors() -> None:
    """Open what the shell has closed: otherwise the next file would be taken for standard output or error."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Remember Ctrl-C: one that comes while numba compiles may be lost, or become another error."""
    asked = threading.Event()

    def handle(number: int, frame: object) -> None:
        asked.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    say(f"warning: {message}")


@contextlib.contextmanager
def progress_bar(unit: str, interrupted: threading.Event) -> Iterator[Callable[[int, int], None]]:
    """Give a callback ``(done, total)`` that draws a bar on a terminal, if tqdm is there, and stops if asked to."""
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    if sys.stderr is None:
        tqdm = None

    def check() -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt

    if tqdm is None:
        yield lambda done, total: check()
        return
    with tqdm(unit=f" {unit}", unit_scale=True, disable=None, leave=False, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            check()
            bar.total = total or None
            bar.update(done - bar.n)

        yield show
