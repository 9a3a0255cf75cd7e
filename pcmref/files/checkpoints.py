"""PyTorch checkpoints of residual networks for CIFAR-10 to `Network`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

from pcmref.errors import FileError, NetworkError, describe, require
from pcmref.files.atomic import sha256_of
from pcmref.files.cifar10 import CLASSES
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.resnet import architecture, network_from_tensors

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "convert", "read_checkpoint"]

#: Normalisation that the widely used public checkpoints of He's networks for CIFAR-10 expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Where a PyTorch checkpoint may keep its state dict, if it is not one itself.
STATE_DICT_KEYS = ("state_dict", "model")


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
        Anything to record besides the checkpoint's name and SHA-256, PyTorch's version and `arch`.
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
    MissingExtraError
        If PyTorch is not installed.
    """
    path = Path(path)
    layout = architecture(arch)
    normalisation = Normalisation(
        full_scale=255.0, mean=tuple(float(m) for m in mean), std=tuple(float(s) for s in std)
    )
    tensors = read_checkpoint(path)
    record = {
        "source": path.name,
        "source_sha256": sha256_of(path),
        "torch": str(require("torch", "train").__version__),
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


def read_checkpoint(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """Read the tensors of a PyTorch checkpoint; no code in it is ever run.

    Parameters
    ----------
    path : str or Path
        A file written by ``torch.save``: a state dict, or a dict that holds one as ``"state_dict"`` or
        ``"model"``.

    Returns
    -------
    dict of str to array
        Numbers of any floating-point type as float32, others as they are.  The prefix ``module.`` that
        ``torch.nn.DataParallel`` gives to all names is removed.

    Raises
    ------
    FileError
        If the file is missing or damaged, no checkpoint, without tensors, or holds Python objects.
    MissingExtraError
        If PyTorch is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(str(path), "a PyTorch checkpoint", "a directory" if path.is_dir() else "nothing")
    torch = require("torch", "train")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a failure says it all
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file can fail in any way
        found = f"a foreign or damaged file ({type(error).__name__})"
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            found = f"{code[1]}, which only running code could load"
        raise FileError(str(path), "a PyTorch checkpoint of tensors alone", found) from error
    state = _state_dict(content)
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        found = f"the keys {describe(list(state))}" if state else describe(content)
        raise FileError(str(path), f"a dict of tensors, bare or under one of {list(STATE_DICT_KEYS)}", found)
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {name.removeprefix(prefix): _array(f"{path}: {name}", value) for name, value in tensors.items()}


def _state_dict(content: object) -> dict[str, Any]:
    """Return the dict that should hold the tensors; an empty one if there is none."""
    if isinstance(content, dict):
        content = next((content[key] for key in STATE_DICT_KEYS if key in content), content)
    if not isinstance(content, dict):
        return {}
    return {str(name): value for name, value in content.items()}


def _array(where: str, tensor: Any) -> npt.NDArray[Any]:
    try:
        number = tensor.detach()
        array: npt.NDArray[Any] = (number.float() if number.is_floating_point() else number).numpy()
    except (TypeError, RuntimeError) as error:
        raise FileError(where, "a dense tensor", describe(error)) from error
    return array
