"""Downloading CIFAR-10: resumed where it stopped, checked, and only then given its name."""

from __future__ import annotations

import os
import queue
import re
import stat
import threading
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, TypeAlias
from urllib.error import HTTPError, URLError

from pcmref.errors import DataError, OutputError, ParameterError, describe
from pcmref.files.cifar10 import MD5, md5_of, user_cache

__all__ = ["ARCHIVE", "CIFAR10_MD5", "CIFAR10_URL", "fetch_cifar10"]

#: Name of the archive on disk, as `pcmref.files.cifar10.find_cifar10` looks for it.
ARCHIVE = "cifar-10-python.tar.gz"
CIFAR10_URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
CIFAR10_MD5 = MD5[ARCHIVE]

#: Seconds without an answer or a byte after which a transfer is given up, and how many bytes must come in as many.
TIMEOUT, LEAST = 30.0, 1 << 14
#: No archive has more bytes (the genuine one has 171 MB).
SIZE_LIMIT = 1 << 28
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
        _expect_own(part)
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
    with _answer(url, have) as response:
        begin, total = _extent(response)
        if begin == have or response.status != 206:
            _receive(url, response, part, begin, total, progress)
            return
    if not have:
        raise DataError(url, "the archive from its first byte", "a part of it")
    part.unlink()
    _download(url, part, progress)


def _answer(url: str, begin: int) -> HTTPResponse:
    """Ask for what begins at a byte, and wait for the answer no longer than the time allowed, drip as it may."""
    answers: queue.Queue[HTTPResponse | Exception] = queue.Queue()
    late = threading.Event()

    def ask() -> None:
        try:
            response = _open(url, begin)
        except Exception as error:  # it is raised below, where it is waited for
            answers.put(error)
        else:
            response.close() if late.is_set() else answers.put(response)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=TIMEOUT + 1)
    except queue.Empty:
        late.set()
        raise DataError(url, "a server that answers", f"none within {TIMEOUT:g} s") from None
    if isinstance(answer, HTTPError):
        answer.close()
        if answer.code == 416 and begin:  # nothing begins there: the part is too long
            return _answer(url, 0)
        raise DataError(url, "the archive", f"HTTP {answer.code} {str(answer.reason)[:60]}") from answer
    if isinstance(answer, (OSError, HTTPException, ValueError)):
        raise DataError(url, "a server that answers", _reason(answer)) from answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def _open(url: str, begin: int) -> HTTPResponse:
    """Open an address, and those that it redirects to, by http and https alone."""
    proxies = {kind: proxy for kind, proxy in urllib.request.getproxies().items() if kind in ("http", "https")}
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    headers = {"User-Agent": "pcmref"} | ({"Range": f"bytes={begin}-"} if begin else {})
    response: HTTPResponse = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    return response


def _extent(response: HTTPResponse) -> tuple[int, int]:
    """Return where in the archive the response begins (-1 if it does not say) and the archive's length."""
    if response.status != 206:
        return 0, response.length or 0
    named = re.fullmatch(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15}|\*)", response.headers.get("Content-Range", ""))
    return (int(named[1]), int(named[2].replace("*", "0"))) if named else (-1, 0)


def _receive(url: str, response: HTTPResponse, part: Path, begin: int, total: int, progress: Progress | None) -> None:
    done = since = begin
    checked = time.monotonic()
    if total > SIZE_LIMIT:
        raise DataError(url, f"at most {SIZE_LIMIT} bytes", f"{total}")
    with _writable(part) as file:
        file.seek(begin)
        file.truncate()
        while done <= SIZE_LIMIT and (block := _block(url, response)):
            file.write(block)
            done += len(block)
            if progress is not None:
                progress(done, total)
            if (now := time.monotonic()) - checked >= TIMEOUT:
                if done - since < LEAST:
                    found = f"{done - since}; calling again resumes"
                    raise DataError(url, f"at least {LEAST} bytes in {TIMEOUT:g} s", found)
                checked, since = now, done
    if done > SIZE_LIMIT:
        part.unlink()
        raise DataError(url, f"at most {SIZE_LIMIT} bytes", "more; what was received is removed")
    if done < total:
        raise DataError(url, f"{total} bytes", f"{done}; calling again resumes")


def _block(url: str, response: HTTPResponse) -> bytes:
    try:
        return response.read1(BLOCK)  # what is there, never more: the server may claim chunks of any length
    except (OSError, HTTPException, ValueError) as error:
        raise DataError(url, "a complete transfer", f"{_reason(error)}; calling again resumes") from error


def _writable(part: Path) -> IO[bytes]:
    """Open a file for writing, itself: not what a link of its name points to, nor a device or pipe."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    descriptor = os.open(part, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OutputError(str(part), "a file of its own", "a device or pipe")
    return os.fdopen(descriptor, "r+b")


def _expect_own(part: Path) -> None:
    """Refuse what would be read or written in place of the part: what a link points to, a device or pipe."""
    if part.is_symlink() or (part.exists() and not part.is_file()):
        raise OutputError(str(part), "a file of its own, or none", "a link" if part.is_symlink() else "no file")


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__
