"""Members of a ``.tar.gz`` archive that may be damaged or hostile: one pass, in limits, and only what is asked for.

Python's tarfile follows whatever a header says: sizes below zero for ever, half a million members for minutes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

from pcmref.errors import DataError
from pcmref.files.regular import open_regular

__all__ = ["members_of"]

#: Most bytes of an archive, unzipped (the genuine ones of CIFAR-10 have 186 MB), and most members.
ARCHIVE_LIMIT, MEMBER_LIMIT = 1 << 28, 1000
#: Bytes of a header, and of what sizes are rounded up to.
RECORD = 512
#: Bytes unzipped at a time.
BLOCK = 1 << 20
#: Types of members without content, whatever size they claim: links, devices, folders; and those of files.
EMPTY_TYPES, FILE_TYPES = b"123456", b"0\0"


def members_of(path: Path, wanted: Collection[str], *, most: int) -> tuple[list[str], dict[str, bytes]]:
    """Return the names of all files in an archive, and the contents of those that are wanted.

    Parameters
    ----------
    path : Path
    wanted : collection of str
        Names, without "./" before them; of at most 100 bytes, so that any archive has them in their own header.
    most : int
        Most bytes of one that is wanted.

    Raises
    ------
    OSError, EOFError, ValueError, zlib.error
        If the archive cannot be read or is damaged.
    DataError
        If it is larger than the limits, or has a wanted member twice.
    """
    names: list[str] = []
    contents: dict[str, bytes] = {}
    with open_regular(path) as file:
        stream = _Unzipped(path, file)
        while any(header := stream.take(RECORD)):
            if len(names) == MEMBER_LIMIT:
                raise DataError(str(path), f"at most {MEMBER_LIMIT} members", "more")
            name, size, kind = _header(header)
            names.append(name)
            if kind in EMPTY_TYPES:
                continue
            if kind in FILE_TYPES and name in wanted:
                if name in contents:
                    raise DataError(f"{path}: {name}", "each member once", "another one")
                if size > most:
                    raise DataError(f"{path}: {name}", f"at most {most} bytes", f"{size} bytes")
                contents[name] = stream.take(size)
            else:
                stream.skip(size)
            stream.skip(-size % RECORD)
        stream.finish()
    return names, contents


def _header(header: bytes) -> tuple[str, int, bytes]:
    """Return name, size and type of the member that a header describes."""
    size = re.fullmatch(rb"[ \0]*([0-7]{1,12})[ \0]*", header[124:136])
    said = re.fullmatch(rb"[ \0]*([0-7]{1,8})[ \0]*", header[148:156])
    found = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if size is None or said is None or int(said[1], 8) != found:
        raise ValueError("an invalid header")
    first, last = (part.partition(b"\0")[0].decode(errors="replace") for part in (header[345:500], header[:100]))
    name = f"{first}/{last}" if header[257:263] == b"ustar\0" and first else last
    return name.removeprefix("./"), int(size[1], 8), header[156:157]


class _Unzipped:
    """What a gzip file holds, piece by piece."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.file = path, file
        self.stream = zlib.decompressobj(wbits=31)
        self.held = memoryview(b"")
        self.left = ARCHIVE_LIMIT

    def take(self, count: int) -> bytes:
        """Return so many bytes."""
        pieces: list[memoryview] = []
        while count:
            if not self.held and not self._fill():
                raise EOFError("unexpected end of data")
            pieces.append(self.held[:count])
            self.held, count = self.held[count:], count - len(pieces[-1])
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        """Pass over so many bytes."""
        while count:
            count -= len(self.take(min(count, BLOCK)))

    def finish(self) -> None:
        """Unzip the rest: that checks the sum at the end."""
        while self._fill():
            pass

    def _fill(self) -> bool:
        """Unzip some more; return whether there was any."""
        self.held = memoryview(b"")
        while not self.held and not self.stream.eof:
            raw = self.stream.unconsumed_tail or self.file.read(BLOCK)
            if not raw:
                raise EOFError("the file ends before the end-of-stream marker")
            self.held = memoryview(self.stream.decompress(raw, BLOCK))
            self.left -= len(self.held)
            if self.left < 0:
                raise DataError(f"{self.path}, unzipped", f"at most {ARCHIVE_LIMIT} bytes", "more")
        return bool(self.held)
