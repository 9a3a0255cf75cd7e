"""PyTorch checkpoints of residual networks for CIFAR-10 to `Network`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pcmref.errors import FileError, NetworkError, path_of
from pcmref.files.atomic import sha256_of
from pcmref.files.cifar10 import CLASSES
from pcmref.files.state_dicts import read_checkpoint
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.resnet import architecture, network_from_tensors

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "convert", "read_checkpoint"]

#: Normalisation that the widely used public checkpoints of He's networks for CIFAR-10 expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def convert(
    path: str | Path,
    arch: str,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    provenance: Mapping[str, str] = MappingProxyType({}),
    evaluation: Samples | None = None,
    calibration: Samples | None = None,
) -> Network:
    """Turn a PyTorch checkpoint of a CIFAR-10 network into a `Network`.

    Parameters
    ----------
    path : str or Path
        The checkpoint, see `read_checkpoint`.
    arch : str
        The architecture's name, see `architecture`.
    mean, std : sequences of three floats
        Of the red, green and blue training pixels, in units of full scale (pixel / 255).
    provenance : mapping of str to str
        Anything to record besides the checkpoint's name and SHA-256, and `arch`.
    evaluation, calibration : Samples, optional
        Images to store with the network.

    Returns
    -------
    Network
        With inputs of shape ``(32, 32, 3)`` and CIFAR-10's ten classes.

    Raises
    ------
    ParameterError
        If there is no such architecture.
    FileError
        If the file is no checkpoint of that architecture, or the images do not fit.
    NetworkError
        If `mean` and `std` are no normalisation.
    """
    path = path_of("path", path)
    layout = architecture(arch)
    normalisation = Normalisation(full_scale=255.0, mean=mean, std=std)  # type: ignore[arg-type]  # or any sequence
    tensors = read_checkpoint(path)
    record = {
        "source": path.name,
        "source_sha256": sha256_of(path),
        "architecture": arch,
    }
    try:
        return network_from_tensors(
            tensors,
            layout,
            input_shape=(32, 32, 3),
            normalisation=normalisation,
            classes=CLASSES,
            provenance={**provenance, **record},
            evaluation=evaluation,
            calibration=calibration,
        )
    except NetworkError as error:
        raise FileError(f"{path}: {error.where}", error.expected, error.found) from None
