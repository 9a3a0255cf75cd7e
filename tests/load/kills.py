"""Kills every command that writes, at random moments, and looks at what it leaves: python -m tests.load.kills

Under the final name there is nothing, or all of it.  The command run again ends with exactly what it ends with when
nothing happens.  Commands are run in forked processes, so that a kill falls into their work and not into imports.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

from pcmref import cli
from pcmref.files import download
from tests.files.test_download import Server

TILE = ("export", "out", "--tile", "48x12", "--gain", "640/2^23", "--hex", "--random", "300")
LAYER = ("export", "out", "--network", "digits-resnet8", "--layer", "fc", "--images", "2")
STUDY = ("retention", "--images", "30", "--times", "25s,1d", "--chips", "2", "--json", "out")
PLOT = ("retention", "--images", "30", "--times", "25s", "--chips", "2", "--plot", "out.png")
#: Commands that do not replace what is there.
REFUSES = {"dpi"}


def digest(path):
    """Return the SHA-256 of a file, or of the names and contents of a folder; None where there is nothing."""
    if not path.exists():
        return None
    found = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            found.update(file.name.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def forked(arguments, folder):
    """Start a command in a process of its own, in `folder`; return its number."""
    if (child := os.fork()) == 0:
        os.chdir(folder)
        os.setpgid(0, 0)
        quiet = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(quiet, descriptor)
        try:
            os._exit(cli.main(list(arguments)))
        finally:
            os._exit(99)
    return child


def finished(arguments, folder):
    """Run a command to its end; return how long it took."""
    started = time.monotonic()
    _, status = os.waitpid(forked(arguments, folder), 0)
    assert os.waitstatus_to_exitcode(status) == 0, arguments
    return time.monotonic() - started


def killed(arguments, folder, after_s):
    """Kill a command `after_s` after its start; return whether it had not ended before."""
    child = forked(arguments, folder)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def kill(arguments, output, times, rng, folder):
    """Kill a command so often; return how often it was hit, how often its output was there, and what went wrong."""
    work = folder / "work"
    work.mkdir()
    took = finished(arguments, work)
    whole, hit, complete, wrong = digest(work / output), 0, 0, []
    for number in range(times):
        if number % 2 == 0 or arguments[0] in REFUSES:  # otherwise what is there is to be replaced, by the same
            shutil.rmtree(work)
            work.mkdir()
        before, after_s = digest(work / output), rng.uniform(0, 1.1 * took)
        hit += killed(arguments, work, after_s)
        left = digest(work / output)
        complete += left == whole
        if left not in (before, whole):
            wrong.append(f"after {after_s:.4f} s a file that is neither the old one nor the new one")
        if left is None or arguments[0] not in REFUSES:
            finished(arguments, work)
        if digest(work / output) != whole:
            wrong.append(f"killed after {after_s:.4f} s and run again: another result")
    return hit, complete, wrong


class Quiet(Server):
    """A server whose clients may go at any moment."""

    def handle_error(self, request, client_address):
        pass


@contextlib.contextmanager
def served(size):
    """Serve so many bytes as CIFAR-10, and have them taken for it."""
    with Quiet() as server:
        server.payload = random.Random(1).randbytes(size)
        known = partial(download.fetch_cifar10, md5=hashlib.md5(server.payload).hexdigest())
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        genuine, download.fetch_cifar10 = download.fetch_cifar10, known
        thread.start()
        try:
            yield server.url
        finally:
            download.fetch_cifar10 = genuine
            server.shutdown()


def commands(url):
    """Return each command that writes: its name, its arguments and its output."""
    yield "export, a tile", TILE, "out"
    yield "export, a layer", LAYER, "out"
    yield "retention --json", STUDY, "out"
    yield "retention --plot", PLOT, "out.png"
    yield "inspect --json", ("inspect", "--json", "out"), "out"
    yield "dpi", ("dpi", "out"), "out"
    yield "fetch", ("fetch", "cifar10", "--to", "to", "--url", url), f"to/{download.ARCHIVE}"
    if pretrained := os.environ.get("PCMREF_PRETRAINED"):
        checkpoint = str(Path(pretrained) / "resnet20-12fca82f.th")
        yield "convert", ("convert", checkpoint, "out.h5", "--arch", "he-resnet20"), "out.h5"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.load.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=200, help="kills of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rng, bad = random.Random(options.seed), 0
    with served(20_000_000) as url:
        several = list(commands(url))
        times = -(-options.times // len(several))
        for name, command, output in several:
            with tempfile.TemporaryDirectory() as folder:
                hit, complete, wrong = kill(command, output, times, rng, Path(folder))
            print(f"{name}: {times} kills, {hit} before the end, {complete} leave a whole output, {len(wrong)} wrong")
            for text in wrong:
                print(f"  {text}")
            bad += len(wrong)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
