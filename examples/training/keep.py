"""What a run keeps on disk: its log, the student, and teachers in a byte a weight, so that all of it can travel."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcmref.files.atomic import replacing

#: A row's largest weight as a signed byte.
BYTE = 127


class Log:
    """Lines for people on standard error, and the same as JSON in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, what: str, **figures: float | str) -> None:
        """Write a line."""
        told = [f"{name} {x:.4g}" if isinstance(x, float) else f"{name} {x}" for name, x in figures.items()]
        print(": ".join([what, ", ".join(told)] if told else [what]), file=sys.stderr, flush=True)
        with self.path.open("a") as stream:
            stream.write(json.dumps({"what": what, **figures}) + "\n")


def save_student(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a student: its stage, its progress in it, its tensors, the commands so far."""
    with replacing(path) as temporary:
        torch.save(dict(state), temporary)


def save_teacher(path: Path, tensors: Mapping[str, Tensor], progress: float) -> None:
    """Write a teacher: each row of its convolutions and its last layer in steps of 1/127 of its largest weight."""
    arrays: dict[str, np.ndarray] = {"progress": np.array(progress)}
    for name, tensor in tensors.items():
        arrays[name] = tensor.contiguous().numpy()
        if tensor.dim() > 1 and name != "whiten.weight":
            steps = tensor.flatten(1).abs().amax(dim=1).clamp(min=1e-12) / BYTE
            steps = steps.view(-1, *[1] * (tensor.dim() - 1))
            arrays[name] = (tensor / steps).round().to(torch.int8).contiguous().numpy()
            arrays[f"{name}/step"] = steps.numpy()
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_teacher(path: Path) -> tuple[dict[str, Tensor], float]:
    """Return the tensors that `save_teacher` wrote, and the progress."""
    with path.open("rb") as stream, np.load(stream) as arrays:  # NumPy leaves broken files open
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "progress"}
        progress = float(arrays["progress"])
    for name in [name for name in tensors if name.endswith("/step")]:
        weight = name.removesuffix("/step")
        tensors[weight] = tensors[weight].float() * tensors.pop(name)
    return tensors, progress
