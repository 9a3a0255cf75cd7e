"""What makes a network robust to the spread of PCM devices: noise on its weights, and clipped weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters


def crossbars(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters on PCM, one list for each crossbar matrix: a weight, and a bias if any."""
    return [list(module.parameters()) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def flatten(model: nn.Module) -> tuple[list[nn.Parameter], Tensor, tuple[Tensor, ...]]:
    """Return the parameters on PCM, their values as one vector, and its part for each crossbar matrix."""
    matrices = crossbars(model)
    parameters = [parameter for matrix in matrices for parameter in matrix]
    vector = parameters_to_vector(parameters).detach()
    return parameters, vector, vector.split([sum(p.numel() for p in matrix) for matrix in matrices])


@contextlib.contextmanager
def noisy(model: nn.Module, eta: float) -> Iterator[None]:
    """Add Gaussian noise to the weights on PCM for as long as the block runs.

    Its standard deviation is `eta` times the largest absolute weight of each crossbar matrix.  Because
    the noise is additive, a gradient that is computed inside the block is the gradient for the clean
    weights, which come back when the block ends.
    """
    parameters, clean, matrices = flatten(model)
    largest = torch.cat([matrix.abs().amax().expand_as(matrix) for matrix in matrices])
    vector_to_parameters(clean + eta * largest * torch.randn_like(clean), parameters)
    try:
        yield
    finally:
        vector_to_parameters(clean, parameters)


def clip(model: nn.Module, alpha: float) -> None:
    """Clip each crossbar matrix to +- `alpha` times the standard deviation of its weights."""
    parameters, vector, matrices = flatten(model)
    limit = alpha * torch.cat([matrix.std(correction=0).expand_as(matrix) for matrix in matrices])
    vector_to_parameters(vector.clamp(-limit, limit), parameters)
