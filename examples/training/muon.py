"""The steps of `optimiser.Optimiser` in plain tensor operations, which a CUDA graph can hold.

The learning rate is a number on the device, and nothing depends on the values of gradients.
"""

from __future__ import annotations

import torch
from optimiser import MEMORY_IMAGES
from torch import Tensor

#: The quintic that pushes singular values towards 1, how often it is applied, and the least norm, of K. Jordan's Muon.
QUINTIC, TIMES, EPS = (3.4445, -4.7750, 2.0315), 5, 1e-7
#: Momentum of gradient descent.
MOMENTUM = 0.9


def orthogonal(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Return about the nearest matrices with orthogonal rows or columns; zeros around a matrix stay.

    Parameters
    ----------
    matrices : Tensor
        Shape ``(k, rows, columns)``.
    dtype : torch.dtype
        What the products are computed in.
    """
    linear, cubic, quintic = QUINTIC
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    x = x.to(dtype)
    for _ in range(TIMES):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return x.to(matrices.dtype)


class Muon:
    """Steps for a stack of matrices, some of which may be smaller and padded with zeros.

    Parameters
    ----------
    matrices : Tensor
        Shape ``(k, rows, columns)``; changed in place.
    sizes : list of tuple of int
        Rows and columns of each that are not padding.
    batch : int
        Images in a step.
    dtype : torch.dtype
        What `orthogonal` computes in.
    """

    def __init__(self, matrices: Tensor, sizes: list[tuple[int, int]], batch: int, dtype: torch.dtype) -> None:
        self.matrices = matrices
        self.dtype = dtype
        self.past = max(0.0, 1 - batch / MEMORY_IMAGES)
        self.momentum = torch.zeros_like(matrices)
        factors = [(max(1.0, rows / columns) ** 0.5, rows**0.5) for rows, columns in sizes]
        self.tall, self.norms = torch.tensor(factors, device=matrices.device).T[:, :, None, None]

    def step(self, gradient: Tensor, rate: Tensor) -> None:
        """Turn the matrices by about `rate` radians against the gradient; scale their rows to a mean square of 1."""
        self.momentum.lerp_(gradient, 1 - self.past)
        step = orthogonal(gradient.lerp(self.momentum, self.past), self.dtype)
        self.matrices.sub_(rate * self.tall * step)
        self.matrices.mul_(self.norms / self.matrices.norm(dim=(1, 2), keepdim=True))


class Descent:
    """Nesterov's steps for any other parameter, changed in place."""

    def __init__(self, values: Tensor, weight_decay: float) -> None:
        self.values = values
        self.weight_decay = weight_decay
        self.momentum = torch.zeros_like(values)

    def step(self, gradient: Tensor, rate: Tensor) -> None:
        """Take a step of `rate`."""
        gradient = gradient + self.weight_decay * self.values
        self.momentum.mul_(MOMENTUM).add_(gradient)
        self.values.sub_(rate * (gradient + MOMENTUM * self.momentum))
