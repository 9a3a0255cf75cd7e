"""The C library as files: a tile in plain C for test benches, by itself or by DPI from SystemVerilog."""

from __future__ import annotations

import os
import secrets
import shutil
from importlib.resources import files
from pathlib import Path

from pcmref.errors import OutputError

__all__ = ["write_library"]


def write_library(path: str | Path) -> tuple[str, ...]:
    """Write the sources of the C library into a new folder.

    Parameters
    ----------
    path : str or Path
        Nothing may be there, or an empty folder.

    Returns
    -------
    tuple of str
        Names of the files: sources, headers, imports for SystemVerilog, a Makefile and a test program.

    Raises
    ------
    OutputError
        If something is there, or the folder cannot be written; nothing has changed then.
    """
    target = Path(path).absolute()
    if os.path.lexists(target) and (target.is_symlink() or not target.is_dir() or any(target.iterdir())):
        raise OutputError(str(path), "nothing, or an empty folder", "something")
    temporary = target.with_name(f".pcmref-{secrets.token_hex(4)}")
    sources = [source for source in (files("pcmref") / "golden" / "c").iterdir() if source.is_file()]
    try:
        temporary.mkdir()
        for source in sources:
            (temporary / source.name).write_bytes(source.read_bytes())
        temporary.rename(target)
    except OSError as error:
        raise OutputError(str(path), "a complete write", error.strerror or str(error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return tuple(sorted(source.name for source in sources))
