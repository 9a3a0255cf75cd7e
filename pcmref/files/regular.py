"""Whole files, read within a limit: no pipe that never answers, no device that never ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

from pcmref.errors import FileError

__all__ = ["content_of", "open_regular"]


def content_of(path: Path, most: int, what: str = "") -> bytes:
    """Return what a file holds; messages say what it should be.

    Raises
    ------
    OSError
        If it cannot be read or is no regular file.
    FileError
        If it has more than `most` bytes.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
        size = os.fstat(file.fileno()).st_size
    if len(content) > most:
        raise FileError(str(path), f"{what}{', ' * bool(what)}at most {most} bytes", f"{size} bytes")
    return content


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading; `OSError` if it is a directory, a device or a pipe, which might never answer."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(descriptor, "rb")
