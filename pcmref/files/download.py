"""Downloading CIFAR-10: resumed where it stopped, checked, and only then given its name."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeAlias
from urllib.error import HTTPError, URLError

from pcmref.errors import DataError, OutputError, ParameterError, describe
from pcmref.files.cifar10 import MD5, md5_of, user_cache

__all__ = ["ARCHIVE", "CIFAR10_MD5", "CIFAR10_URL", "fetch_cifar10"]

#: Name of the archive on disk, as `pcmref.files.cifar10.find_cifar10` looks for it.
ARCHIVE = "cifar-10-python.tar.gz"
CIFAR10_URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
CIFAR10_MD5 = MD5[ARCHIVE]

#: Seconds without a byte after which a transfer is given up.
TIMEOUT = 30.0
#: Bytes read, written and reported at a time.
BLOCK = 1 << 16

Progress: TypeAlias = Callable[[int, int], None]


def fetch_cifar10(
    destination: str | Path | None = None,
    *,
    url: str = CIFAR10_URL,
    md5: str = CIFAR10_MD5,
    progress: Progress | None = None,
) -> Path:
    """Download the CIFAR-10 archive (170 MB), unless it is there already.

    A transfer that stops, Ctrl-C included, leaves a ``.part`` file that the next call resumes.

    Parameters
    ----------
    destination : str or Path, optional
        The directory for the archive, made if missing; by default the user cache.
    url : str
        An http or https address.
    md5 : str
        What the archive must have.
    progress : callable, optional
        Called with the bytes so far and in total (0 if the server does not say) after every block.

    Returns
    -------
    Path
        The archive, complete and with the right MD5.

    Raises
    ------
    DataError
        If the server cannot be reached, refuses, stops half-way or sends something else.
    OutputError
        If the archive cannot be written.
    ParameterError
        If `url` is neither http nor https.
    """
    if not url.startswith(("http://", "https://")):
        raise ParameterError("url", "an http or https address", describe(url))
    archive = (user_cache() if destination is None else Path(destination)) / ARCHIVE
    part = archive.with_name(f"{ARCHIVE}.part")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        if archive.is_file() and md5_of(archive) == md5:
            return archive
        if not (part.is_file() and md5_of(part) == md5):
            _download(url, part, progress)
        found = md5_of(part)
        if found != md5:
            part.unlink()
            raise DataError(url, f"a file with the MD5 {md5}", f"{found}; what was received is removed")
        part.replace(archive)
    except (OSError, DataError) as error:
        if archive.is_file() and md5_of(archive) == md5:
            return archive  # another process has fetched it meanwhile
        if isinstance(error, DataError):
            raise
        raise OutputError(str(archive), "a complete write", error.strerror or str(error)) from error
    return archive


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Append to `part` what is missing, or write it anew if the server does not send just that."""
    have = part.stat().st_size if part.exists() else 0
    with _open(url, have) as response:
        begin, total = _extent(response)
        if begin == have or response.status != 206:
            _receive(url, response, part, begin, total, progress)
            return
    if not have:
        raise DataError(url, "the archive from its first byte", "a part of it")
    part.unlink()
    _download(url, part, progress)


def _open(url: str, begin: int) -> HTTPResponse:
    headers = {"User-Agent": "pcmref"} | ({"Range": f"bytes={begin}-"} if begin else {})
    try:
        response: HTTPResponse = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and begin:  # nothing begins there: the part is too long
            return _open(url, 0)
        raise DataError(url, "the archive", f"HTTP {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise DataError(url, "a server that answers", _reason(error)) from error
    return response


def _extent(response: HTTPResponse) -> tuple[int, int]:
    """Return where in the archive the response begins (-1 if it does not say) and the archive's length."""
    if response.status != 206:
        return 0, response.length or 0
    named = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return (int(named[1]), int(named[2].replace("*", "0"))) if named else (-1, 0)


def _receive(url: str, response: HTTPResponse, part: Path, begin: int, total: int, progress: Progress | None) -> None:
    done = begin
    with part.open("r+b" if begin else "wb") as file:
        file.seek(begin)
        while block := _block(url, response):
            file.write(block)
            done += len(block)
            if progress is not None:
                progress(done, total)
    if done < total:
        raise DataError(url, f"{total} bytes", f"{done}; calling again resumes")


def _block(url: str, response: HTTPResponse) -> bytes:
    try:
        return response.read(BLOCK)
    except (OSError, HTTPException) as error:
        raise DataError(url, "a complete transfer", f"{_reason(error)}; calling again resumes") from error


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__
