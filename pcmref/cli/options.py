"""What several commands read from their options: a network, times, numbers."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pcmref.errors import DataError, ParameterError, describe
from pcmref.files.cifar10 import load_cifar10
from pcmref.files.networks import bundled
from pcmref.inference.adabs import ADABS_BATCHES, ADABS_IMAGES
from pcmref.network.graph import Network
from pcmref.network.images import Samples
from pcmref.studies.report import UNITS_S

__all__ = ["at_least_one", "factors", "network_path", "samples_of", "time_s", "triple"]

#: Most chips, images or vectors of one command.
COUNT_LIMIT = 1_000_000


def network_path(named: Path | None) -> Path:
    """Return the path of a network file: as named, or else of the network of this name that comes with pcmref."""
    if named is None:
        return bundled()
    if os.path.isfile(named) or named.suffix or named.parent != Path():
        return named
    return bundled(str(named))


def time_s(text: str, option: str = "--times") -> float:
    """Return a time like ``1d`` in seconds."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\s*(s|min|h|d|y)\s*", text)
    if match is None:
        raise ParameterError(option, f"numbers with a unit ({', '.join(UNITS_S)})", describe(text))
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


def samples_of(network: Network, data: Path | None, calibrate: bool) -> tuple[Samples, Samples | None]:
    """Return the images to judge by and to calibrate with: those in the network file, or CIFAR-10."""
    if data is None and network.evaluation is not None:
        return network.evaluation, network.calibration
    if network.input_shape != (32, 32, 3) or len(network.classes) != 10:
        raise DataError(
            "images",
            "an evaluation set in the network file; --data is CIFAR-10, which takes inputs of shape (32, 32, 3)",
            f"inputs of shape {network.input_shape} and {len(network.classes)} classes",
        )
    test = load_cifar10(data, split="test")
    if not calibrate:
        return test, None
    return test, load_cifar10(data, split="train").first(ADABS_BATCHES * ADABS_IMAGES)
