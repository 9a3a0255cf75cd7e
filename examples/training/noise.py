"""What makes a network robust to the spread of PCM devices: noise on its weights, and clipped weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from pcmref.pcm import PcmModel

#: What the devices of several chips make of the weights of a crossbar matrix: of shape (n,) it makes (chips, n).
Disturbance: TypeAlias = Callable[[Tensor, int], Tensor]
#: Cells of the table of a model's laws over the relative conductance.
CELLS = 4096


def crossbars(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters on PCM, one list for each crossbar matrix: a weight, and a bias if any."""
    return [list(module.parameters()) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def flatten(model: nn.Module) -> tuple[list[nn.Parameter], Tensor, tuple[Tensor, ...]]:
    """Return the parameters on PCM, their values as one vector, and its part for each crossbar matrix."""
    matrices = crossbars(model)
    parameters = [parameter for matrix in matrices for parameter in matrix]
    vector = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    return parameters, vector, vector.split([sum(p.numel() for p in matrix) for matrix in matrices])


def gaussian(eta: float) -> Disturbance:
    """Return the noise of [J20]: every weight gets a normal error of `eta` times the largest of its crossbar matrix."""

    def disturbed(weights: Tensor, chips: int) -> Tensor:
        return weights + eta * weights.abs().amax() * torch.randn(chips, len(weights), device=weights.device)

    return disturbed


def devices(model: PcmModel, first_s: float, last_s: float) -> Disturbance:
    """Return the error of PCM devices that were programmed, drifted, were read and scaled back by a global factor.

    The time since programming is drawn anew for each chip at each use, from `first_s` to `last_s`, evenly on a
    logarithmic scale. With ``g = |w| / max |w|`` and independent standard normal numbers z1, z2, z3 for each weight ::

        g_prog = max(g + sigma_prog(g) z1 / G_max, 0)
        g_drift = g_prog (t / t_c)^-(mu_nu(g) + sigma_nu(g) z2)
        g_read = max(g_drift (1 + Q_s(g) sqrt(ln((t + t_read) / (2 t_read))) z3), 0)

    and the sign of w, divided by ``sum(g_read) / sum(g)``. A weight of 0 stays 0. The laws are read off a table.
    """
    g = (np.arange(CELLS + 1) + 0.5) / CELLS
    laws = (model.programming_spread_us(g) / model.g_max_us, model.exponent_mean(g), model.exponent_spread(g))
    table = torch.from_numpy(np.stack([*laws, model.read_noise(g)])).float()

    def disturbed(weights: Tensor, chips: int) -> Tensor:
        t_s = first_s * (last_s / first_s) ** torch.rand(chips, 1, device=weights.device)
        passed = torch.log((t_s + model.t_offset_s) / model.t_c_s)
        reading = torch.log((t_s + model.t_read_s) / (2 * model.t_read_s)).sqrt()
        sizes = weights.abs()
        g = sizes / sizes.amax()
        spread, mean, exponent_spread, noise = table.to(g.device)[:, (g * CELLS).long()]
        z1, z2, z3 = torch.randn(3, chips, len(g), device=g.device)
        decay = torch.exp(-passed * (mean + exponent_spread * z2))
        read = (g + spread * z1).clamp(min=0) * decay * (1 + noise * reading * z3).clamp(min=0)
        return weights.sign() * read * (sizes.sum() / read.sum(dim=1, keepdim=True))

    return disturbed


def noisy(model: nn.Module, disturbance: Disturbance | None, chips: int = 1) -> dict[str, Tensor]:
    """Return the disturbed parameters on PCM, by name: those of all chips, one after the other along the first axis.

    They are what `torch.func.functional_call` puts in the place of the clean ones. A gradient is taken at the disturbed
    parameters and goes to the clean ones, as the sum over the chips. Without a disturbance nothing is returned.
    """
    if disturbance is None:
        return {}
    parameters, vector, matrices = flatten(model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    errors = torch.cat([disturbance(matrix, chips) for matrix in matrices], dim=1) - vector
    parts = errors.split([parameter.numel() for parameter in parameters], dim=1)
    return {
        names[parameter]: (parameter + part.view(chips, *parameter.shape)).flatten(0, 1)
        for parameter, part in zip(parameters, parts, strict=True)
    }


@torch.no_grad()
def put(vector: Tensor, parameters: list[nn.Parameter]) -> None:
    """Copy the parts of `vector` into `parameters`, which stay where they are in memory."""
    parts = vector.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.copy_(part.view_as(parameter))


def clip(model: nn.Module, alpha: float) -> None:
    """Clip each crossbar matrix to +- `alpha` times the standard deviation of its weights."""
    if math.isinf(alpha):
        return
    parameters, vector, matrices = flatten(model)
    limit = alpha * torch.cat([matrix.std(correction=0).expand_as(matrix) for matrix in matrices])
    put(vector.clamp(-limit, limit), parameters)
