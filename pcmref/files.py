"""Writing files: to a temporary name, then renamed, so that no half-written file is ever seen."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pcmref.errors import OutputError

__all__ = ["check_writable", "replacing", "sha256_of"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well.

    Parameters
    ----------
    path : Path
        The final name.  Whatever is there stays until the new file is complete.

    Yields
    ------
    Path
        A name in the same directory, with the same suffix, to write to.

    Raises
    ------
    OutputError
        If the directory is missing or not writable, or the disk is full.  The temporary file is removed
        then, and on any other exception, Ctrl-C included.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))  # permissions follow the umask
    except OSError as error:
        raise OutputError(str(path), "a place to write to", error.strerror or str(error)) from error
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(str(path), "a complete write", error.strerror or str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise `OutputError` now rather than after hours of work if `path` cannot be written."""
    if path.is_dir():
        raise OutputError(str(path), "the name of a file", "a directory")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(str(path), "a place to write to", error.strerror or str(error)) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
