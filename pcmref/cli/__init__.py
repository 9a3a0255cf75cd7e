"""The command line: ``pcmref retention | sweep | report | inspect | convert | fetch | export | check | dpi | ...``.

Imports all rooms: a file has one kind of command, its options and what it prints.
Never knows an equation, a format of a file or a rule of a stage.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import threading
from collections.abc import Sequence

import pcmref
from pcmref.cli.convert import add_convert
from pcmref.cli.golden import add_check, add_dpi, add_export, add_selfcheck
from pcmref.cli.images import add_images
from pcmref.cli.networks import add_fetch, add_inspect
from pcmref.cli.report import add_report
from pcmref.cli.retention import add_retention
from pcmref.cli.sweep import add_sweep
from pcmref.console import attended

__all__ = ["main"]

#: What adds each command to the parser, in the order of the help.
COMMANDS = (
    add_retention,
    add_sweep,
    add_report,
    add_inspect,
    add_convert,
    add_images,
    add_fetch,
    add_export,
    add_check,
    add_dpi,
    add_selfcheck,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 1 after an error, 130 after Ctrl-C, 2 for a wrong command line.

    A check has further ones.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    options.command = shlex.join(["pcmref", *arguments])

    def work(interrupted: threading.Event) -> int:
        options.interrupted = interrupted
        return options.run(options) or 0

    return attended(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pcmref",
        description="Golden reference for neural-network inference on phase-change-memory crossbars.",
    )
    parser.add_argument("--version", action="version", version=f"pcmref {pcmref.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return parser
