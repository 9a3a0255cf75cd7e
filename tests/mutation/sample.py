"""Tests a sample of mutmut's mutants: python -m tests.mutation.sample, in the folder ``mutants`` that mutmut makes

mutmut plants every mutant of a function beside it, and the environment variable MUTANT_UNDER_TEST chooses one.  Each is
tested in a forked process, which imports the tests anew (what they compute when they are imported is the mutant's,
too), first by the tests of its own file, then by all others that reach it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

# what the tests import anyway, once for all processes
import hypothesis.extra.numpy  # noqa: F401  isort: skip
import mpmath  # noqa: F401  isort: skip
import scipy.stats  # noqa: F401  isort: skip
import pcmref  # isort: skip

#: Ends that say nothing about a mutant.
NO_VERDICT = {4: "wrong usage", 5: "no tests", 99: "an exception", -signal.SIGKILL: "too long"}


class Chosen:
    """Lets pytest run some of the tests that it finds, the fastest first."""

    def __init__(self, tests, seconds):
        self.tests, self.seconds = tests, seconds

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        chosen = (item for item in items if item.nodeid in self.tests)
        items[:] = sorted(chosen, key=lambda item: self.seconds.get(item.nodeid, 9.0))


def stages(name, tests):
    """Return the files of tests for a mutant, in the order in which they are run."""
    files = sorted({test.partition("::")[0] for test in tests})
    _, room, file, *_ = name.split(".")
    own = f"tests/{room}/test_{file}.py"
    return [[own], [file for file in files if file != own]] if own in files else [files]


def start(name, stats, arguments):
    """Test a mutant in a forked process; return its number, or None where no test reaches the function."""
    tests = set(stats["tests_by_mangled_function_name"].get(name.rpartition("__mutmut_")[0], ()))
    if not tests:
        return None
    if (child := os.fork()) == 0:
        os.setpgid(0, 0)
        for descriptor in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        os.environ["MUTANT_UNDER_TEST"] = name
        chosen, status = Chosen(tests, stats["duration_by_test"]), 99
        try:
            for files in filter(None, stages(name, tests)):
                if status := int(pytest.main(["-x", "-n0", "-p", "no:cacheprovider", *arguments, *files], [chosen])):
                    break
        finally:
            os._exit(status)
    return child


def verdict(status):
    """Return what the end of a process says of its mutant."""
    if status == 0:
        return "survived"
    return NO_VERDICT.get(status, "killed")


def tested(names, stats, arguments, processes, seconds):
    """Yield each mutant with its verdict."""
    waiting, running = list(reversed(names)), {}
    while waiting or running:
        while waiting and len(running) < processes:
            name = waiting.pop()
            if (child := start(name, stats, arguments)) is None:
                yield name, "no tests"
            else:
                running[child] = name, time.monotonic() + seconds
        child, status = os.waitpid(-1, os.WNOHANG) if running else (0, 0)
        if child:
            yield running.pop(child)[0], verdict(os.waitstatus_to_exitcode(status))
        for child, (_, end) in running.items():
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
        time.sleep(0.02)


def mutants():
    """Return the names of all mutants in this folder."""
    found = []
    for path in Path().rglob("*.py.meta"):
        found += json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return sorted(found)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.sample", description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=700)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300.0, help="time of one mutant")
    parser.add_argument("-k", default="", help="of pytest: tests that a trampoline disturbs are left out with it")
    options = parser.parse_args(arguments)
    if not Path(pcmref.__file__).is_relative_to(Path.cwd()):
        parser.error("run it in the folder that mutmut made")
    stats = json.loads(Path("mutmut-stats.json").read_text(encoding="utf-8"))
    names = mutants()
    random.Random(options.seed).shuffle(names)
    ignored = "ignore::pytest.PytestAssertRewriteWarning"
    more = ["-W", ignored, *(["-k", options.k] if options.k else [])]
    for name, found in tested(names[: options.mutants], stats, more, options.processes, options.seconds):
        print(f"{found:<10} {name}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
