"""Ctrl-C while the command is being imported: it ends as other programs do, without a traceback."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence

__all__ = ["is_command"]


def is_command(program: str, said: Sequence[str]) -> bool:
    """Return whether a process was started as ``pcmref`` or as ``python -m pcmref``.

    Parameters
    ----------
    program : str
        ``sys.argv[0]``.
    said : sequence of str
        ``sys.orig_argv``.
    """
    module = said[said.index("-m") + 1 :] if "-m" in said else []
    return module[:1] == ["pcmref"] or os.path.basename(program).removesuffix(".exe") == "pcmref"


if (
    is_command(sys.argv[0] if sys.argv else "", sys.orig_argv)
    and threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `pcmref.console.attended` takes over
