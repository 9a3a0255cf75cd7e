import contextlib
import errno
import hashlib
import io
import itertools
import os
import random
import re
import socket
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pcmref.errors import DataError, OutputError, ParameterError
from pcmref.files import download
from pcmref.files.cifar10 import find_cifar10, user_cache
from pcmref.files.download import ARCHIVE, fetch_cifar10

PAYLOAD = random.Random(0).randbytes(1000)
PAYLOAD_MD5 = hashlib.md5(PAYLOAD).hexdigest()


class Server(HTTPServer):
    """Serves `payload`; its attributes say how well."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.payload = PAYLOAD
        self.ranges = True  # does it answer Range requests?
        self.cut = None  # stop after so many bytes of the body ...
        self.stall = False  # ... and leave the connection open
        self.status = None  # answer with this and nothing else
        self.redirect = False  # first answer with a redirect
        self.length = True  # send Content-Length, or else chunks
        self.content_range = None  # send this instead of the right one
        self.always_206 = False
        self.silent = False  # never answer
        self.over = threading.Event()
        self.asked = []  # the Range header of every request

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/{ARCHIVE}"

    def fetch(self, destination, **options):
        return fetch_cifar10(destination, **{"url": self.url, "md5": PAYLOAD_MD5} | options)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        asked = self.headers["Range"]
        server.asked.append(asked)
        self.close_connection = True
        if server.silent:
            server.over.wait()
            return
        if server.redirect:
            server.redirect = False
            self.answer(302, b"", [("Location", server.url)])
        elif server.status is not None:
            self.answer(server.status, b"no")
        elif server.ranges and asked:
            begin, size = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]), len(server.payload)
            if begin >= size:
                self.answer(416, b"", [("Content-Range", f"bytes */{size}")])
            else:
                right = f"bytes {begin}-{size - 1}/{size}"
                named = right if server.content_range is None else server.content_range
                self.answer(206, server.payload[begin:], [("Content-Range", named)] if named else [])
        elif server.always_206:
            self.answer(206, server.payload, [("Content-Range", server.content_range)])
        else:
            self.answer(200, server.payload)

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.server.length:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: self.server.cut])
            if self.server.stall:
                self.server.over.wait()
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            sent = body[: self.server.cut]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(sent), sent))
            if sent == body:
                self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path_factory):
    """An empty home, no proxy, and blocks smaller than the payload."""
    home = tmp_path_factory.mktemp("home")
    for variable in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.delenv("PCMREF_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "BLOCK", 300)


@pytest.fixture
def part(tmp_path):
    return tmp_path / f"{ARCHIVE}.part"


def expect_complete(archive, directory):
    assert archive == directory / ARCHIVE
    assert archive.read_bytes() == PAYLOAD
    assert list(directory.iterdir()) == [archive]


def refused(kind, *arguments, **options):
    with pytest.raises(kind) as caught:
        fetch_cifar10(*arguments, **{"md5": PAYLOAD_MD5} | options)
    return caught.value


# Whole transfers


def test_the_archive_lands_in_the_user_cache_where_it_is_found(server):
    with pytest.raises(DataError):
        find_cifar10()
    archive = server.fetch(None)
    expect_complete(archive, user_cache())
    assert find_cifar10() == archive
    assert server.asked == [None]


def test_another_destination_is_made(server, tmp_path):
    archive = server.fetch(str(tmp_path / "new" / "place"))
    expect_complete(archive, tmp_path / "new" / "place")


def test_progress(server, tmp_path):
    reports = []
    server.fetch(tmp_path, progress=lambda done, total: reports.append((done, total)))
    assert reports == [(300, 1000), (600, 1000), (900, 1000), (1000, 1000)]


def test_a_server_that_does_not_say_the_length(server, tmp_path):
    server.length = False
    reports = []
    archive = server.fetch(tmp_path, progress=lambda done, total: reports.append((done, total)))
    expect_complete(archive, tmp_path)
    assert reports[-1] == (1000, 0)


def test_a_redirect_is_followed(server, tmp_path):
    server.redirect = True
    expect_complete(server.fetch(tmp_path), tmp_path)


def test_what_is_there_is_not_asked_for_again(server, tmp_path):
    (tmp_path / ARCHIVE).write_bytes(PAYLOAD)
    expect_complete(server.fetch(tmp_path), tmp_path)
    assert server.asked == []


def test_a_wrong_archive_is_replaced(server, tmp_path):
    (tmp_path / ARCHIVE).write_bytes(b"wrong")
    expect_complete(server.fetch(tmp_path), tmp_path)


# Resumed transfers


def test_a_transfer_is_resumed_where_it_stopped(server, tmp_path, part):
    part.write_bytes(PAYLOAD[:400])
    reports = []
    archive = server.fetch(tmp_path, progress=lambda done, total: reports.append((done, total)))
    expect_complete(archive, tmp_path)
    assert server.asked == ["bytes=400-"]
    assert reports == [(700, 1000), (1000, 1000)]


def test_an_empty_part_is_no_range(server, tmp_path, part):
    part.touch()
    expect_complete(server.fetch(tmp_path), tmp_path)
    assert server.asked == [None]


@pytest.mark.parametrize("held", [PAYLOAD[:400], b"other" * 300])
def test_a_server_without_ranges_starts_over(server, tmp_path, part, held):
    server.ranges = False
    part.write_bytes(held)
    reports = []
    archive = server.fetch(tmp_path, progress=lambda done, total: reports.append((done, total)))
    expect_complete(archive, tmp_path)
    assert server.asked == [f"bytes={len(held)}-"]
    assert reports[0] == (300, 1000)


@pytest.mark.parametrize(
    "content_range",
    ["bytes 0-999/1000", "bytes 500-999/1000", "bytes 399-999/1000", "bytes 401-999/1000", "nonsense", ""],
)
def test_another_range_than_asked_for_starts_over(server, tmp_path, part, content_range):
    server.content_range = content_range
    part.write_bytes(PAYLOAD[:400])
    expect_complete(server.fetch(tmp_path), tmp_path)
    assert server.asked == ["bytes=400-", None]


def test_a_range_of_unknown_total(server, tmp_path, part):
    server.content_range = "bytes 400-999/*"
    part.write_bytes(PAYLOAD[:400])
    expect_complete(server.fetch(tmp_path), tmp_path)


@pytest.mark.parametrize("held", [b"x" * 1000, PAYLOAD + b"x"])
def test_a_part_that_is_too_long_starts_over(server, tmp_path, part, held):
    part.write_bytes(held)
    expect_complete(server.fetch(tmp_path), tmp_path)
    assert server.asked == [f"bytes={len(held)}-", None]


def test_a_part_that_is_complete_only_gets_its_name(server, tmp_path, part):
    part.write_bytes(PAYLOAD)
    expect_complete(server.fetch(tmp_path), tmp_path)
    assert server.asked == []


@pytest.mark.parametrize("length", [True, False])
def test_a_cut_transfer_says_that_calling_again_resumes(server, tmp_path, part, length):
    server.cut, server.length = 650, length
    error = refused(DataError, tmp_path, url=server.url)
    assert error.where == server.url
    assert error.expected == ("1000 bytes" if length else "a complete transfer")
    assert "calling again resumes" in error.found
    held = part.read_bytes()
    assert 600 <= len(held) <= 650
    assert held == PAYLOAD[: len(held)]
    assert list(tmp_path.iterdir()) == [part]
    server.cut, server.length = None, True
    expect_complete(server.fetch(tmp_path), tmp_path)
    assert server.asked == [None, f"bytes={len(held)}-"]


def test_a_transfer_that_stalls(server, tmp_path, part, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    server.cut, server.stall = 650, True
    error = refused(DataError, tmp_path, url=server.url)
    assert (error.where, error.expected) == (server.url, "a complete transfer")
    assert error.found == "timed out; calling again resumes"
    assert part.read_bytes() == PAYLOAD[:650]


def test_a_resumed_transfer_that_is_cut_again(server, tmp_path, part):
    part.write_bytes(PAYLOAD[:400])
    server.cut = 100
    error = refused(DataError, tmp_path, url=server.url)
    assert (error.expected, error.found) == ("1000 bytes", "500; calling again resumes")
    assert part.read_bytes() == PAYLOAD[:500]


def test_ctrl_c_keeps_the_part(server, tmp_path, part):
    def interrupt(done, total):
        if done >= 600:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        server.fetch(tmp_path, progress=interrupt)
    assert list(tmp_path.iterdir()) == [part]
    assert part.read_bytes() == PAYLOAD[:600]
    expect_complete(server.fetch(tmp_path), tmp_path)
    assert server.asked == [None, "bytes=600-"]


# Wrong content


@pytest.mark.parametrize("held", [b"", b"x" * 400])
def test_a_wrong_md5_leaves_nothing(server, tmp_path, part, held):
    part.write_bytes(held)
    if not held:
        server.payload = PAYLOAD[:-1] + b"x"
    error = refused(DataError, tmp_path, url=server.url)
    found = hashlib.md5(held + server.payload[len(held) :]).hexdigest()
    assert error.where == server.url
    assert error.expected == f"a file with the MD5 {PAYLOAD_MD5}"
    assert error.found == f"{found}; what was received is removed"
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_md5_does_not_replace_what_is_there(server, tmp_path):
    archive = tmp_path / ARCHIVE
    archive.write_bytes(b"mine")
    server.payload = b"tampered"
    refused(DataError, tmp_path, url=server.url)
    assert archive.read_bytes() == b"mine"


@pytest.mark.parametrize("content_range", ["bytes 400-999/1000", "bytes */1000", "nonsense"])
def test_a_server_that_sends_a_part_only(server, tmp_path, content_range):
    server.always_206, server.content_range = True, content_range
    error = refused(DataError, tmp_path, url=server.url)
    assert str(error) == f"{server.url}: expected the archive from its first byte, found a part of it"
    assert server.asked == [None]


# No transfer


@pytest.mark.parametrize(("status", "name"), [(404, "Not Found"), (503, "Service Unavailable")])
def test_an_http_error(server, tmp_path, part, status, name):
    server.status = status
    part.write_bytes(b"held")
    error = refused(DataError, tmp_path, url=server.url)
    assert str(error) == f"{server.url}: expected the archive, found HTTP {status} {name}"
    assert part.read_bytes() == b"held"


def test_416_without_a_range_is_an_error(server, tmp_path, part):
    server.status = 416
    part.write_bytes(b"held")
    error = refused(DataError, tmp_path, url=server.url)
    assert "HTTP 416" in error.found
    assert server.asked == ["bytes=4-", None]


def test_nobody_listens(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    error = refused(DataError, tmp_path, url=url)
    assert (error.where, error.expected) == (url, "a server that answers")
    assert "refused" in error.found
    assert "urlopen" not in error.found  # the cause itself


def test_a_server_that_never_answers(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    server.silent = True
    error = refused(DataError, tmp_path, url=server.url)
    assert (error.where, error.expected) == (server.url, "a server that answers")
    assert "timed out" in error.found


@pytest.mark.parametrize("url", ["http://127.0.0.1:port/", "http://[", "http://", "http://a b/"])
def test_a_malformed_url(tmp_path, url):
    error = refused(DataError, tmp_path, url=url)
    assert (error.where, error.expected) == (url, "a server that answers")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/", ARCHIVE, ""])
def test_only_http(tmp_path, url):
    error = refused(ParameterError, tmp_path, url=url)
    assert (error.where, error.expected, error.found) == ("url", "an http or https address", repr(url))


# Bad servers: what each sends after the request, piece after piece


@contextlib.contextmanager
def bad_server(pieces, pause=0.0):
    """Serve one connection; give its address."""
    over = threading.Event()

    def serve():
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            for piece in pieces:
                connection.sendall(piece)
                if over.wait(pause):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/{ARCHIVE}"
        over.set()
        thread.join()


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
A_LOT = itertools.repeat(bytes(1 << 16))
DRIP = itertools.repeat(b"x")
BAD = {
    "a chunk of negative size": ([CHUNKED, b"-5\r\n", *[b"x" * 3000] * 9], "a complete transfer"),
    "a chunk of negative size, endless": (itertools.chain([CHUNKED, b"-5\r\n"], A_LOT), "at most 65536 bytes"),
    "a chunk of 5,000 digits": ([CHUNKED, b"f" * 5000 + b"\r\n", b"x" * 1000], "a complete transfer"),
    "a chunk of no number": ([CHUNKED, b"zz\r\n", b"x" * 1000], "a complete transfer"),
    "an endless body": (itertools.chain([OK + b"\r\n"], A_LOT), "at most 65536 bytes"),
    "endless chunks": (itertools.chain([CHUNKED], itertools.repeat(b"1\r\nx\r\n" * 9000)), "at most 65536 bytes"),
    "a length above the limit": ([OK + b"Content-Length: 65537\r\n\r\n", b"x"], "at most 65536 bytes"),
    "a length of 5,000 digits": (
        itertools.chain([OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"], A_LOT),
        "at most 65536 bytes",
    ),
    "no answer but noise": ([b"\0" * 100], "a server that answers"),
    "endless headers": (itertools.chain([OK], itertools.repeat(b"A: b\r\n" * 1000)), "a server that answers"),
    "endless line": (itertools.chain([OK], itertools.repeat(b"A" * 70000)), "a server that answers"),
}
SLOW = {
    "a drip": (itertools.chain([OK + b"\r\n"], DRIP), "at least 16384 bytes in 0.2 s"),
    "a drip of a header": (itertools.chain([OK], DRIP), "a server that answers"),
    "endless promises to go on": (itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"), "a server that answers"),
}


@pytest.mark.parametrize("kind", [*BAD, *SLOW])
def test_a_bad_server_takes_neither_memory_nor_disk_nor_time(tmp_path, monkeypatch, kind):
    pieces, expected = (BAD | SLOW)[kind]
    monkeypatch.setattr(download, "SIZE_LIMIT", 1 << 16)
    monkeypatch.setattr(download, "TIMEOUT", 0.2 if kind in SLOW else 5.0)
    monkeypatch.setattr(download, "BLOCK", 1 << 13)
    with bad_server(pieces, pause=0.01 if kind in SLOW else 0.0) as url:
        received = [0]
        tracemalloc.start()
        error = refused(DataError, tmp_path, url=url, progress=lambda done, total: received.append(done))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (error.where, error.expected) == (url, expected)
    assert peak < 5 << 20
    assert max(received) <= (1 << 16) + (1 << 13)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1 << 16


def test_a_range_of_5000_digits_is_none(server, tmp_path, part):
    server.content_range = f"bytes {'9' * 5000}-999/1000"
    part.write_bytes(PAYLOAD[:400])
    expect_complete(server.fetch(tmp_path), tmp_path)


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/a", "file:///etc/passwd", "data:,x", "gopher://127.0.0.1/"])
def test_a_redirect_away_from_http_is_not_followed(tmp_path, monkeypatch, target):
    monkeypatch.setenv("ftp_proxy", "http://127.0.0.1:1/")
    monkeypatch.setenv("gopher_proxy", "http://127.0.0.1:1/")
    answer = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
    with bad_server([answer.encode()]) as url:
        error = refused(DataError, tmp_path, url=url)
    assert "unknown url type: ftp" in error.found or "HTTP 302" in error.found
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["victim", "missing"])
def test_a_link_in_place_of_the_part_is_not_followed(server, tmp_path, part, target):
    (tmp_path / "victim").write_bytes(b"precious")
    part.symlink_to(tmp_path / target)
    error = refused(OutputError, tmp_path, url=server.url)
    assert (error.where, error.found) == (str(part), "a link")
    assert sorted(tmp_path.iterdir()) == [part, tmp_path / "victim"]
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_link_that_takes_the_place_of_the_part_meanwhile_is_not_followed(server, tmp_path, part, monkeypatch):
    (tmp_path / "victim").write_bytes(b"precious")
    monkeypatch.setattr(download, "_expect_own", lambda part: part.symlink_to(tmp_path / "victim"))
    refused(OutputError, tmp_path, url=server.url)
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_pipe_in_place_of_the_part_is_not_waited_for(server, tmp_path, part):
    os.mkfifo(part)
    assert refused(OutputError, tmp_path, url=server.url).where == str(part)


# Nowhere to write


@pytest.mark.parametrize("vanishes", [True, False])
def test_an_archive_that_another_process_completes_meanwhile(server, tmp_path, part, vanishes, monkeypatch):
    """Both write to the same part: whatever becomes of it here, the archive is there."""
    complete = download._download

    def overtaken(*arguments):
        complete(*arguments)
        (tmp_path / ARCHIVE).write_bytes(PAYLOAD)
        if vanishes:
            part.unlink()
        else:
            part.write_bytes(b"of both")

    monkeypatch.setattr(download, "_download", overtaken)
    assert server.fetch(tmp_path).read_bytes() == PAYLOAD


def test_a_destination_that_is_a_file(server, tmp_path):
    file = tmp_path / "file"
    file.touch()
    error = refused(OutputError, file, url=server.url)
    assert (error.where, error.expected) == (str(file / ARCHIVE), "a complete write")
    assert server.asked == []


def test_an_archive_that_cannot_be_replaced(server, tmp_path, part):
    (tmp_path / ARCHIVE / "something").mkdir(parents=True)
    error = refused(OutputError, tmp_path, url=server.url)
    assert error.where == str(tmp_path / ARCHIVE)
    assert part.read_bytes() == PAYLOAD


def test_a_full_disk(server, tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, block):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "_writable", lambda part: Full())
    error = refused(OutputError, tmp_path, url=server.url)
    assert error.where == str(tmp_path / ARCHIVE)
    assert error.found == "No space left on device"
    assert not (tmp_path / ARCHIVE).exists()
