"""How the parameters of a network take their steps: stochastic gradient descent, and Muon for convolutions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Images over which Muon averages the gradient. K. Jordan's 0.6 for batches of 2,000 is the same.
MEMORY_IMAGES = 5000


class Optimiser:
    """Nesterov's stochastic gradient descent for everything, or Muon for the weights of convolutions.

    Muon makes each step of a matrix orthogonal (K. Jordan, 2024, https://kellerjordan.github.io/posts/muon). After it
    the matrix is scaled to a mean square norm of its rows of 1, which batch normalisation undoes in the output: so the
    learning rate is the angle of a step.

    Parameters
    ----------
    model : nn.Module
        In PyTorch's channels-last layout: the weights of a convolution are a matrix with a row for each output.
    lr, muon : float
        Largest learning rates. A `muon` of 0 leaves everything to gradient descent.
    weight_decay : float
        Of gradient descent.
    batch : int
        Images in a step.
    """

    def __init__(self, model: nn.Module, *, lr: float, muon: float, weight_decay: float, batch: int) -> None:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.weights = [parameter for parameter in trained if muon and parameter.dim() == 4]
        self.matrices = [nn.Parameter(as_matrix(weight.detach())) for weight in self.weights]
        others = [parameter for parameter in trained if not (muon and parameter.dim() == 4)]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.SGD(others, lr=lr, momentum=0.9, weight_decay=weight_decay, nesterov=True)
        ]
        if self.matrices:
            momentum = max(0.0, 1 - batch / MEMORY_IMAGES)
            self.parts.append(torch.optim.Muon(self.matrices, lr=muon, momentum=momentum, weight_decay=0.0))
        self.largest = (lr, muon)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for tensor in self.weights:
            tensor.grad = None
        self.parts[0].zero_grad()

    def step(self, rate: float) -> None:
        """Take a step with `rate` times the largest learning rates."""
        for matrix, weight in zip(self.matrices, self.weights, strict=True):
            matrix.grad = as_matrix(weight.grad.contiguous(memory_format=torch.channels_last))
        for part, largest in zip(self.parts, self.largest, strict=False):
            part.param_groups[0]["lr"] = rate * largest
            part.step()
        with torch.no_grad():
            for matrix in self.matrices:
                matrix.mul_(math.sqrt(len(matrix)) / matrix.norm())

    def state_dict(self) -> list[dict[str, object]]:
        """Return what `load_state_dict` takes."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, state: list[dict[str, object]]) -> None:
        """Go on from a `state_dict`."""
        for part, saved in zip(self.parts, state, strict=True):
            part.load_state_dict(saved)


def as_matrix(weight: Tensor) -> Tensor:
    """Return the weights of a convolution as a matrix with a row for each output, in the same memory."""
    return weight.permute(0, 2, 3, 1).view(len(weight), -1)
