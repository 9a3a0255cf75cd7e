"""What several commands read from their options: a network, times, numbers."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pcmref.errors import ParameterError, describe
from pcmref.files.networks import bundled
from pcmref.studies.report import UNITS_S

__all__ = ["at_least_one", "factors", "network_path", "time_s", "triple"]

#: Most chips, images or vectors of one command.
COUNT_LIMIT = 1_000_000


def network_path(named: Path | None) -> Path:
    """Return the path of a network file: as named, or else of the network of this name that comes with pcmref."""
    if named is None:
        return bundled()
    if os.path.isfile(named) or named.suffix or named.parent != Path():
        return named
    return bundled(str(named))


def time_s(text: str) -> float:
    """Return a time like ``1d`` in seconds."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\s*(s|min|h|d|y)\s*", text)
    if match is None:
        raise ParameterError("--times", f"numbers with a unit ({', '.join(UNITS_S)})", describe(text))
    return float(match[1]) * UNITS_S[match[2]]


def factors(text: str) -> tuple[int, ...]:
    """Return the significance of slices, like ``1,1``."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ParameterError("--significance", "integers, comma-separated", describe(text)) from None


def triple(option: str, text: str) -> tuple[float, float, float]:
    """Return three numbers, one a colour."""
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise ParameterError(option, "three numbers, comma-separated", describe(text)) from None
    return red, green, blue


def at_least_one(option: str, value: int) -> int:
    """Return a count if it is one."""
    if not 1 <= value <= COUNT_LIMIT:
        raise ParameterError(option, f"at least 1, at most {COUNT_LIMIT:,}", str(value))
    return value
