"""Runs a reader on changed files, in a process that may die, and tells what it did with them.

An input is a dict of names of files to their bytes.  Input number k of a seed is always the same: what is found can be
made again.
"""

import argparse
import importlib
import mmap
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

#: Longest time for one input, in seconds of CPU, and largest memory of a process, in bytes.
SECONDS, MEMORY = 5.0, 1 << 30
#: Of it, what the interpreter and its libraries have; a process forked from a larger one holds more before it begins.
INTERPRETER = 256 << 20
#: Inputs that one process reads.
BATCH = 20_000
DEATHS = {"SIGPROF": f"more than {SECONDS:g} s of CPU", "SIGKILL": "no end"}
STATE = struct.Struct("<qdqqq")  # number of the input, when it began, and how many were read, refused, made

READERS = (
    *("networks", "corrections", "archives", "pickles", "checkpoints", "onnx_models"),
    *("parts", "cases", "words", "answers"),
)


def make(reader, seed, number):
    """Input `number` of a seed."""
    return reader.changed(random.Random(f"{seed}/{number}"))


def read(reader, files, folder):
    """Have an input read; return "read" or "refused", or raise what should not have been."""
    from pcmref.errors import PcmrefError

    for path in folder.rglob("*"):  # of the input before
        if path.is_file() and path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, raw in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    try:
        reader.read(folder)
    except PcmrefError as error:
        text = str(error)
        assert text.isprintable(), text
        assert len(text) < 10_000, f"a message of {len(text)} characters"
        return "refused"
    return "read"


def held():
    """Return the address space and the resident memory of this process, in bytes."""
    size, resident, *_ = Path("/proc/self/statm").read_text().split()
    return int(size) * resource.getpagesize(), int(resident) * resource.getpagesize()


def work(reader, seed, first, until, last, shared, folder):
    """Read inputs one after another; the shared memory tells which one."""
    count = Counter()
    for number in range(first, last):
        STATE.pack_into(shared, 0, number, time.monotonic(), count["read"], count["refused"], number + 1 - first)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # whose signal ends the process
        files = make(reader, seed, number)
        try:
            count[read(reader, files, folder)] += 1
        except BaseException as error:
            sys.stdout.write(f"input {number}: {type(error).__name__}: {str(error)[:300]}\n")
            sys.stdout.flush()
            os._exit(3)
        if time.monotonic() > until:
            break
    STATE.pack_into(shared, 0, number, 0.0, count["read"], count["refused"], number + 1 - first)
    os._exit(0)


def fuzz(reader, *, seed, first, runs, seconds, folder):
    """Return how many inputs were read and refused, and the numbers of those with which something else happened."""
    shared = mmap.mmap(-1, STATE.size)
    count, found = Counter(), []
    until, number, end = time.monotonic() + seconds, first, first + runs
    while number < end and time.monotonic() < until and len(found) < 20:
        size, resident = held()
        STATE.pack_into(shared, 0, number, 0.0, 0, 0, 0)
        if (child := os.fork()) == 0:
            resource.setrlimit(resource.RLIMIT_AS, (size + 4 * MEMORY,) * 2)
            work(reader, seed, number, until, min(end, number + BATCH), shared, folder)
        status, used = None, None
        while status is None:
            time.sleep(0.01)
            pid, ended, used = os.wait4(child, os.WNOHANG)
            status = ended if pid else None
            at, began, *_ = STATE.unpack_from(shared)
            if status is None and began and time.monotonic() - began > 20 * SECONDS:  # on a machine with other work
                os.kill(child, signal.SIGKILL)
                _, status, used = os.wait4(child, 0)
        at, _, accepted, refused, made = STATE.unpack_from(shared)
        count.update(read=accepted, refused=refused, made=made)
        if status:
            found.append(at)
            if os.WIFSIGNALED(status):
                name = signal.Signals(os.WTERMSIG(status)).name
                print(f"input {at}: " + DEATHS.get(name, f"died of {name}"))
        if (more := (used.ru_maxrss << 10) - resident) > MEMORY - INTERPRETER:
            print(f"inputs {number} to {at}: {more >> 20} MB more than before")
            found.append(at)
        number = at + 1
    return count, found


def guided(name, seconds, folder):
    """Have atheris (pip install atheris) change the file of a reader, guided by what it reaches; never returns."""
    import atheris

    with atheris.instrument_imports(include=["pcmref.files", "pcmref.golden"]):
        reader = importlib.import_module(f"tests.fuzz.{name}")
    ((file, raw),) = reader.good().items()
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / file).write_bytes(raw)
    limits = [f"-max_total_time={seconds:.0f}", f"-timeout={SECONDS:.0f}", f"-rss_limit_mb={MEMORY >> 20}"]
    target = folder / "target"
    atheris.Setup([name, *limits, str(corpus)], lambda data: read(reader, {file: data}, target))
    atheris.Fuzz()


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"all by default: {', '.join(READERS)}")
    parser.add_argument("--runs", type=int, default=1 << 40, help="inputs of each reader")
    parser.add_argument("--seconds", type=float, default=20.0, help="time of each reader")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--keep", type=Path, help="a folder for inputs that should not have done what they did")
    parser.add_argument("--atheris", action="store_true", help="one reader of one file, guided by atheris")
    parser.add_argument("--show", type=int, help="read this input alone, in this process")
    options = parser.parse_args(arguments)
    if options.atheris:
        with tempfile.TemporaryDirectory() as folder:
            guided(*options.readers, options.seconds, Path(folder))
    bad = 0
    for name in options.readers or READERS:
        reader = importlib.import_module(f"tests.fuzz.{name}")
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
            if options.show is not None:
                files = make(reader, options.seed, options.show)
                print({name: len(raw) for name, raw in files.items()}, read(reader, files, Path(folder)))
                continue
            read(reader, reader.good(), Path(folder))  # all is imported and compiled
            limits = {"seed": options.seed, "first": options.first, "runs": options.runs, "seconds": options.seconds}
            count, found = fuzz(reader, **limits, folder=Path(folder))
        print(
            f"{name}: {count['made']} inputs, {count['read']} read, {count['refused']} refused, {len(found)} findings"
        )
        bad += len(found)
        for number in found if options.keep else ():
            for file, raw in make(reader, options.seed, number).items():
                path = options.keep / name / str(number) / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(raw)
    return bool(bad)
