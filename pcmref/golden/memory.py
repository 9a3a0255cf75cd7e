"""Files for ``$readmemh``: one word a line, in two's complement, in hexadecimal.

Written are words of one width, zero-padded, a newline after each, and nothing else: Verilator drops a last word that no
newline follows, and a header stops some simulators.  Read is what simulators write with ``$writememh``: comments from
``//`` on, addresses that go on where they are, and Windows' line ends are passed over; anything else is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arrays import Int64, IntegerArray, UInt8
from pcmref.errors import FileError, ParameterError, describe, integer
from pcmref.files.atomic import replacing
from pcmref.files.regular import content_of

__all__ = ["memory_size", "memory_words", "read_memory", "write_memory"]

DIGITS = b"0123456789abcdef"
#: What stands for a digit that is none.
NO_DIGIT = 255
#: Comments and addresses take no more bytes a word than this.
EXTRA_BYTES = 32


def digits_of(bits: int) -> int:
    """Return how many hexadecimal digits a word has."""
    return -(-integer("bits", bits, "from 1 to 64", 1, 64) // 4)


def memory_size(count: int, bits: int) -> int:
    """Return the size of a file of so many words, in bytes."""
    return count * (digits_of(bits) + 1)


def memory_words(values: IntegerArray, *, bits: int) -> bytes:
    """Return integers, in C order, as the content of a file.

    Raises
    ------
    ParameterError
        If a value fits `bits` neither as two's complement nor unsigned.
    """
    digits = digits_of(bits)
    flat = np.ascontiguousarray(values).reshape(-1)
    least, most = (0, 0) if flat.size == 0 else (int(flat.min()), int(flat.max()))
    if least < -(1 << (bits - 1)) or most >= 1 << (bits - 1 if least < 0 else bits):
        raise ParameterError("memory", f"integers of {bits} bits", f"{least} to {most}")
    width = next(size for size in (8, 16, 32, 64) if 4 * digits <= size)
    words = flat.astype(f"u{width // 8}") & np.array((1 << bits) - 1, f"u{width // 8}")
    letters = np.frombuffer(DIGITS, np.uint8)
    text = np.full((len(flat), digits + 1), ord("\n"), np.uint8)
    for place in range(digits):
        text[:, place] = letters[(words >> np.array(4 * (digits - 1 - place), words.dtype)) & np.array(15, words.dtype)]
    return text.tobytes()


def write_memory(path: Path, values: IntegerArray, *, bits: int) -> None:
    """Write integers, in C order, as a file of their own; parameters and errors as of `memory_words`."""
    text = memory_words(values, bits=bits)
    with replacing(path) as temporary:
        temporary.write_bytes(text)


def read_memory(path: Path, *, bits: int, signed: bool, count: int) -> Int64:
    """Read a file of words.

    Parameters
    ----------
    path : Path
    bits : int
        Width of a word; each has as many digits as it asks for.
    signed : bool
        Whether words are two's complement.
    count : int
        How many words there must be.

    Returns
    -------
    int64, shape (count,)
        Unsigned words of 64 bits as int64, too.

    Raises
    ------
    FileError
        Naming the line, what belongs there and what was found.
    """
    digits = digits_of(bits)
    try:
        most = (digits + EXTRA_BYTES) * count + 4096
        text = content_of(path, most, f"{count} words of {digits} digits").replace(b"\r\n", b"\n")
    except OSError as error:
        raise FileError(str(path), "a file of hexadecimal words", error.strerror or str(error)) from error
    if not text.endswith(b"\n"):
        expected = "a newline after the last word (Verilator's $readmemh drops a word without one)"
        raise FileError(str(path), expected, "nothing" if not text else "a file that ends without")
    found = _regular(text, digits)
    if found is None:
        found = _regular(_bare(path, text, digits), digits)
    if found is None or found.shape[0] != count:
        number = 0 if found is None else found.shape[0]
        raise FileError(str(path), f"{count} words", f"{number}")
    words = np.zeros(count, np.uint64)
    for place in range(digits):
        words = (words << np.uint64(4)) | found[:, place]
    if bits < 64 and (wide := np.flatnonzero(words >> np.uint64(bits))).size:
        place = int(wide[0])
        raise FileError(f"{path}: word {place}", f"at most {bits} bits", f"{int(words[place]):0{digits}x}")
    if signed and bits < 64:
        half = np.uint64(1 << (bits - 1))
        return ((words ^ half).astype(np.int64)) - np.int64(half)
    return words.astype(np.int64)


def _regular(text: bytes, digits: int) -> UInt8 | None:
    """Return the digits of words that stand one a line, shape (words, digits); None where they do not."""
    if len(text) % (digits + 1):
        return None
    lines = np.frombuffer(text, np.uint8).reshape(-1, digits + 1)
    values = np.full(256, NO_DIGIT, np.uint8)
    for letters in (DIGITS, DIGITS.upper()):
        values[np.frombuffer(letters, np.uint8)] = np.arange(16)
    found: npt.NDArray[Any] = values[lines[:, :-1]]
    if (lines[:, -1] != ord("\n")).any() or (found == NO_DIGIT).any():
        return None
    return found


def _bare(path: Path, text: bytes, digits: int) -> bytes:
    """Return the words alone, one a line, without comments and addresses; refuse whatever is no word."""
    words: list[bytes] = []
    for number, line in enumerate(text.split(b"\n"), 1):
        for token in line.partition(b"//")[0].split():
            where = f"{path}: line {number}"
            if token.startswith(b"@"):
                if not re.fullmatch(rb"@[0-9a-fA-F]{1,16}", token) or int(token[1:], 16) != len(words):
                    raise FileError(where, f"no address, or that of the next word, @{len(words):x}", _shown(token))
                continue
            if re.search(rb"[xXzZ?]", token):
                raise FileError(where, f"{digits} hexadecimal digits", f"{_shown(token)}: a value that is not known")
            if not re.fullmatch(rb"[0-9a-fA-F]+", token) or len(token) != digits:
                raise FileError(where, f"{digits} hexadecimal digits", _shown(token))
            words.append(token)
    return b"\n".join(words) + b"\n" if words else b""


def _shown(token: bytes) -> str:
    return describe(token.decode(errors="replace"))
