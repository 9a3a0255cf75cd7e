"""The readers, each in a process of its own: what came of a file, and what that took.

The promise: of a file of up to 10 MB, whatever is in it, at most 5 s and 1 GB, and one `PcmrefError` if it is refused.
"""

import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SECONDS, MEGABYTES = 5.0, 1024


class Outcome(NamedTuple):
    kind: str  # "read", "refused" or what went wrong
    message: str
    seconds: float  # of CPU
    megabytes: int  # at the peak

    @property
    def kept(self):
        return self.kind in ("read", "refused") and self.seconds <= SECONDS and self.megabytes <= MEGABYTES


def expect(found, message):
    """The promise is kept, and the message is this, or the file is read if there is none."""
    assert found.kept, found
    assert found.kind == ("refused" if message else "read"), found
    assert re.search(message, found.message), found


class Worker:
    """Python with pcmref imported, which makes a copy of itself for each file."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.helpers.promise"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()

    def read(self, reader, path):
        print(json.dumps([reader, str(path)]), file=self.process.stdin, flush=True)
        return Outcome(*json.loads(self.process.stdout.readline()))


def readers():
    import numpy as np

    import pcmref
    from pcmref.files.cifar10 import load_cifar10
    from pcmref.golden.folders import read_case
    from pcmref.golden.memory import read_memory
    from pcmref.importers.checkpoints import read_checkpoint
    from pcmref.studies.document import rows_left
    from tests.helpers.nets import tiny

    network = tiny()
    object.__setattr__(network, "sha256", "0" * 64)
    snapshot = pcmref.program(network).at(100.0)
    study = pcmref.Study(network=network, samples=network.evaluation, compensations=("gdc",), times_s=(25.0,))

    def first_image(path):
        """All that comes before the first image."""
        net = pcmref.load(path)
        pcmref.prepare(pcmref.program(net).at(25.0))

    assert len(np.atleast_1d(pcmref.logits(snapshot, network.evaluation.images[:1]))) == 1  # all is compiled
    return {
        "network": first_image,
        "corrections": lambda path: pcmref.load_corrections(path, snapshot),
        "cifar10": lambda path: load_cifar10(path, split="test", md5=None),
        "checkpoint": read_checkpoint,
        "part": lambda path: rows_left(path, study),
        "case": read_case,
        "words": lambda path: read_memory(path, bits=8, signed=True, count=1000),
    }


def outcome(read, path):
    from pcmref.errors import PcmrefError

    try:
        read(Path(path))
    except PcmrefError as error:
        kind, message = "refused", str(error)
    except BaseException as error:
        kind, message = type(error).__name__, str(error)
    else:
        kind, message = "read", ""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return [kind, message[:1000], used.ru_utime + used.ru_stime, used.ru_maxrss >> 10]


def main():
    every = readers()
    for line in sys.stdin:
        reader, path = json.loads(line)
        begin, end = os.pipe()
        if (child := os.fork()) == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
            os.write(end, json.dumps(outcome(every[reader], path)).encode())
            os._exit(0)
        os.close(end)
        started = time.monotonic()
        with os.fdopen(begin) as pipe:
            answer = pipe.read()
        _, status = os.waitpid(child, 0)
        died = [f"died of signal {os.WTERMSIG(status)}", "", time.monotonic() - started, 0]
        print(answer or json.dumps(died), flush=True)


if __name__ == "__main__":
    main()
