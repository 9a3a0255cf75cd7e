"""What several commands read from their options: readouts and numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pcmref.crossbar.readout import PRESETS, Readout, preset
from pcmref.errors import ParameterError, describe
from pcmref.golden.readouts import readout_file

__all__ = [
    "add_data",
    "add_readout",
    "at_least_one",
    "colours",
    "readout_of_options",
]

#: Most chips, images or vectors of one command.
COUNT_LIMIT = 1_000_000


def colours(option: str, text: str) -> tuple[float, ...]:
    """Return numbers, one a colour, or one for all."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ParameterError(option, "numbers, comma-separated, one a colour or one for all", describe(text)) from None


def at_least_one(option: str, value: int) -> int:
    """Return a count if it is one."""
    if not 1 <= value <= COUNT_LIMIT:
        raise ParameterError(option, f"at least 1, at most {COUNT_LIMIT:,}", str(value))
    return value


def add_data(command: Any) -> None:
    """Add the options that say where images are."""
    command.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="CIFAR-10 (a directory or an archive, python or binary format), or FILE.h5 with images and labels",
    )
    command.add_argument(
        "--any-cifar", action="store_true", help="read CIFAR-10 files that are not the published ones, of any length"
    )


def add_readout(command: Any, default: str) -> None:
    """Add the options that choose a readout as a whole."""
    command.add_argument("--preset", metavar="NAME", help=f"converters: {' | '.join(PRESETS)} (default: {default})")
    command.add_argument(
        "--readout", type=Path, metavar="FILE.json", help="all of it, as in the case.json of a case, or from --json"
    )


def readout_of_options(options: argparse.Namespace, default: str) -> Readout:
    """Return the readout that ``--preset`` or ``--readout`` says."""
    if options.readout is None:
        return preset(options.preset or default)
    if options.preset is not None:
        raise ParameterError("--preset", "not to be given beside --readout", options.preset)
    return readout_file(options.readout)
