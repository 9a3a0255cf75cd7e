"""``pcmref sweep``: a grid of questions on all processors, or on a cluster; interrupted and gone on with."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

from pcmref.console import progress_bar, say
from pcmref.errors import ParameterError, shortened
from pcmref.files.atomic import check_outputs
from pcmref.inference.threads import processors
from pcmref.studies.report import time_text
from pcmref.studies.sweeps import executors
from pcmref.studies.sweeps.found import results
from pcmref.studies.sweeps.grid import Question, read_question
from pcmref.studies.sweeps.opening import is_running, read
from pcmref.studies.sweeps.points import row_key
from pcmref.studies.sweeps.repeat import repeat
from pcmref.studies.sweeps.sweep import TASK_S, sweep

__all__ = ["add_sweep"]

#: Rows of which a sweep asks whether they are meant.
ROWS_UNASKED = 1_000_000
#: Seconds over which ``--status`` takes the rate.
RATE_S = 300.0
#: Failed rows that are shown.
SHOWN = 5


def add_sweep(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "sweep",
        help="a grid of networks, converters, models, times and chips",
        description="Find every row that a study asks for and its database lacks; the same command goes on.",
    )
    command.set_defaults(run=_sweep)
    command.add_argument("study", nargs="?", type=Path, metavar="STUDY.toml", help="what is asked")
    command.add_argument("--out", type=Path, metavar="FILE.db", help="the database that rows land in")
    where = command.add_mutually_exclusive_group()
    where.add_argument("--processes", type=int, metavar="N", help="of this machine (default: all processors)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster (extra 'dask')")
    where.add_argument("--executor", metavar="MODULE:CALLABLE", help="what makes any other executor")
    command.add_argument("--workers", type=int, metavar="N", help="of the executor")
    command.add_argument(
        "--task-seconds",
        type=float,
        default=TASK_S,
        metavar="S",
        help=f"that a task is to take, 1 to 3600 (default: {TASK_S:g})",
    )
    command.add_argument("--yes", action="store_true", help=f"begin a grid of more than {ROWS_UNASKED:,} rows unasked")
    command.add_argument("--status", type=Path, metavar="FILE.db", help="say how far a sweep is, which may be running")
    command.add_argument("--row", metavar="KEY", help="find one row alone, and compare it with that of --out")


def _sweep(options: argparse.Namespace) -> int:
    if options.status is not None:
        return _status(options.status)
    if options.study is None:
        raise ParameterError("STUDY.toml", "a study", "none")
    question = read_question(options.study)
    if options.row is not None:
        print(repeat(question, options.row, options.out))
        return 0
    if options.out is None:
        raise ParameterError("--out", "the database that rows land in", "none")
    if options.executor is not None and options.workers is None:
        raise ParameterError("--workers", f"how many tasks {options.executor} runs at a time", "none")
    check_outputs([options.out], inputs=[options.study])
    _confirm(question, options)
    start, began = time.monotonic(), False
    try:
        with _workers(options) as workers, progress_bar("rows", options.interrupted) as bar:

            def progress(done: int, wanted: int) -> None:
                nonlocal began
                began = True
                bar(done, wanted)

            outcome = sweep(
                question,
                options.out,
                workers,
                task_s=options.task_seconds,
                progress=progress,
                tell=lambda text: say(f"warning: {text}"),
            )
    except BaseException:
        if began:
            say(f"what is finished is in {options.out}; the same command goes on from there")
        raise
    print(
        f"{question.name}: {outcome.wanted:,} rows, {outcome.new:,} of them new ({time.monotonic() - start:.0f} s); "
        f"`pcmref report {options.out} OUT.html` shows them"
    )
    for text in outcome.failures[:SHOWN]:
        say(f"failed: {text}")
    if outcome.failures:
        say(f"{len(outcome.failures)} failed; `pcmref sweep {options.study} --row KEY` repeats one alone")
    return 1 if outcome.failures else 0


def _workers(options: argparse.Namespace) -> contextlib.AbstractContextManager[executors.Workers]:
    if options.scheduler is not None:
        return executors.dask(options.scheduler)
    if options.executor is not None:
        return executors.named(options.executor, options.workers)
    return executors.processes(options.processes if options.processes is not None else processors(None))


def _confirm(question: Question, options: argparse.Namespace) -> None:
    """Ask whether so many rows are meant."""
    if question.rows <= ROWS_UNASKED or options.yes:
        return
    settings = sum(grid.settings for grid in question.grids)
    text = f"{question.path} asks for {question.rows:,} rows ({settings:,} settings)"
    if not sys.stdin.isatty():
        raise ParameterError("--yes", f"this option, as {text}", "none")
    print(f"{text}. Begin? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ParameterError(str(question.path), "a grid that is meant", "another answer than yes")


def _status(path: Path) -> int:
    """Print how far a sweep is."""
    found = results(path)
    with read(path) as database:
        count, first_s, last_s = database.landed(time.time() - RATE_S)
        failures = list(database.failures())
    running = is_running(path)
    share = f" ({found.rows / found.wanted:.1%})" if found.wanted else ""
    print(f"{found.name}: {found.rows:,} of {found.wanted:,} rows{share}, {'running' if running else 'not running'}")
    print(f"{len(found.settings):,} settings, pcmref {found.version}, SPEC.md {found.spec}")
    left = found.wanted - found.rows
    if running and count > 1 and last_s > first_s:
        rate = count / (last_s - first_s)
        text = f"; about {_duration(left / rate)} left" if left else ""
        print(f"in the last {_duration(RATE_S)}: {rate:.2g} rows a second{text}")
    print(f"digest of the rows {found.digest}")
    for failed in failures[:SHOWN]:
        seed, t_s, compensation = failed.case
        row = f"{row_key(failed.setting, failed.case)} (seed {seed}, {time_text(t_s)}, {compensation})"
        print(f"failed: row {row}: {shortened(failed.error)}")
    if len(failures) > SHOWN:
        print(f"failed: {len(failures) - SHOWN:,} more")
    return 0


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
