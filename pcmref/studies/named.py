"""What users name: a network, the images that judge it, a time, a significance."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pcmref.errors import DataError, FileError, ParameterError, describe
from pcmref.files.cifar10 import MD5, load_cifar10
from pcmref.files.networks import bundled
from pcmref.files.samples import load_samples
from pcmref.inference.adabs import ADABS_BATCHES, ADABS_IMAGES
from pcmref.network.graph import Network
from pcmref.network.images import Samples
from pcmref.studies.report import UNITS_S

__all__ = ["factors", "network_path", "samples_of", "time_s"]

#: Endings of other people's files, of which `pcmref convert` makes networks.
CONVERTED = (".onnx", ".pt", ".pth", ".th", ".tar", ".ckpt")


def network_path(named: Path | None) -> Path:
    """Return the path of a network file: as named, or else of the network of this name that comes with pcmref."""
    if named is None:
        return bundled()
    if named.suffix.lower() in CONVERTED:
        raise FileError(str(named), f"a network file; `pcmref convert {named} NETWORK.h5` writes one", named.suffix)
    if os.path.isfile(named) or named.suffix or named.parent != Path():
        return named
    return bundled(str(named))


def time_s(text: str, option: str = "--times") -> float:
    """Return a time like ``1d`` in seconds."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\s*(s|min|h|d|y)\s*", text)
    if match is None:
        raise ParameterError(option, f"numbers with a unit ({', '.join(UNITS_S)})", describe(text))
    return float(match[1]) * UNITS_S[match[2]]


def factors(text: str, option: str = "--significance") -> tuple[int, ...]:
    """Return the significance of slices, like ``1,1``."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ParameterError(option, "integers, comma-separated", describe(text)) from None


def samples_of(
    network: Network, data: Path | None, calibrate: bool, *, genuine: bool = True
) -> tuple[Samples, Samples | None]:
    """Return the images to judge by and to calibrate with: in the network file, in a file of one's own, or CIFAR-10.

    Parameters
    ----------
    network : Network
    data : Path, optional
        An HDF5 file, or a place of CIFAR-10.
    calibrate : bool
        Whether there is need to calibrate.
    genuine : bool
        Whether CIFAR-10 must be the published one.
    """
    if data is None and network.evaluation is not None:
        return network.evaluation, network.calibration
    if data is not None and not data.exists():
        raise DataError("--data", "CIFAR-10, or an HDF5 file of images and labels", f"nothing at {data}")
    if data is not None and data.suffix in (".h5", ".hdf5"):
        samples, calibration = load_samples(data)
        return samples, calibration or network.calibration
    if network.input_shape != (32, 32, 3) or len(network.classes) != 10:
        raise DataError(
            "images",
            "an evaluation set in the network file, or --data FILE.h5; CIFAR-10 takes inputs of shape (32, 32, 3)",
            f"inputs of shape {network.input_shape} and {len(network.classes)} classes",
        )
    md5 = MD5 if genuine else None
    test = load_cifar10(data, split="test", md5=md5)
    if not calibrate:
        return test, None
    return test, load_cifar10(data, split="train", md5=md5).first(ADABS_BATCHES * ADABS_IMAGES)
