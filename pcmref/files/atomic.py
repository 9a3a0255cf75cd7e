"""Writing files: to a temporary name, then renamed, so that no half-written file is ever seen."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pcmref.errors import OutputError

__all__ = ["check_outputs", "replacing", "sha256_of"]


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
    _check_regular(path)
    path = Path(os.path.realpath(path))  # a link stays a link: what it points to is replaced
    temporary = _temporary(path)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(str(path), "a complete write", error.strerror or str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None] = ()) -> None:
    """Raise `OutputError` now rather than after hours of work if a file cannot be written.

    Parameters
    ----------
    outputs, inputs : paths, or None for a file that was not asked for
        No output may be an input or another output.
    """
    taken = {os.path.realpath(path) for path in inputs if path is not None}
    for path in outputs:
        if path is None:
            continue
        target = os.path.realpath(path)
        if target in taken:
            raise OutputError(str(path), "a file that is no input and no other output", "one that is")
        taken.add(target)
        _check_regular(path)
        _temporary(Path(target)).unlink()


def _temporary(path: Path) -> Path:
    """Make an empty file beside `path`, with the same suffix."""
    temporary = path.with_name(f".pcmref-{secrets.token_hex(4)}{path.suffix}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))  # permissions follow the umask
    except OSError as error:
        raise OutputError(str(path), "a place to write to", error.strerror or str(error)) from error
    return temporary


def _check_regular(path: Path) -> None:
    """Refuse what a rename would replace, directories, devices, pipes and standard output, and names that cannot be."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise OutputError(str(path), "the name of a file", str(error)) from error
    if not stat.S_ISREG(mode):
        raise OutputError(str(path), "the name of a file", "a directory" if stat.S_ISDIR(mode) else "a device or pipe")
    with contextlib.suppress(OSError):  # closed
        if os.path.samestat(os.stat(path), os.fstat(1)):
            raise OutputError(str(path), "another file than standard output", "that one")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
