"""What makes a network robust to the spread of PCM devices: noise on its weights, and clipped weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from pcmref import PcmModel
from pcmref.errors import ParameterError

#: What the devices of several chips make of the weights of a crossbar matrix: of shape (n,) it makes (chips, n), of
#: several matrices, (matrices, n), it makes (chips, matrices, n).
Disturbance: TypeAlias = Callable[[Tensor, int], Tensor]
#: Cells of the table of a model's laws over the relative conductance.
CELLS = 4096


def crossbars(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters on PCM, one list for each crossbar matrix: a weight, and a bias if any."""
    return [list(module.parameters()) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def gaussian(eta: float) -> Disturbance:
    """Return the noise of [J20]: every weight gets a normal error of `eta` times the largest of its crossbar matrix."""

    def disturbed(weights: Tensor, chips: int) -> Tensor:
        return weights + eta * weights.abs().amax() * torch.randn(chips, len(weights), device=weights.device)

    return disturbed


def devices(model: PcmModel, first_s: float, last_s: float, fresh: int = 0) -> Disturbance:
    """Return the error of PCM devices that were programmed, drifted, were read and scaled back by a global factor.

    The time since programming is drawn anew for each chip at each use, from `first_s` to `last_s`, evenly on a
    logarithmic scale. With ``g = |w| / max |w|``, ``t' = t + t_offset`` and independent standard normal numbers z1, z2,
    z3 for each device ::

        g_prog = max(g + sigma_prog(g) z1 / G_max, 0)
        g_drift = g_prog (t' / t_c)^-(mu_nu(g) + sigma_nu(g) z2)
        g_read = max(g_drift (1 + Q_s(g) sqrt(ln((t' + t_read) / (2 t_read))) z3), 0)

    with the size of the exponent and Q_s(g_prog) where the model has it so. A weight becomes ``+-g_read``, less the
    partner device's where the model programs that to 0 (else it is 0 uS, and so is the pair of a weight of 0), divided
    by ``sum(|g_read|) / sum(g)``. The first `fresh` chips are read at `first_s` and not divided, like chips
    that are used before anything is compensated. The laws are read off a table.

    Raises
    ------
    ParameterError
        If devices cannot be read at these times, or the first is 0 or later than the last.
    """
    first_s, last_s = (model.check_time(t_s) for t_s in (first_s, last_s))
    if not 0 < first_s <= last_s:
        raise ParameterError("times", "a first above 0 and a last no earlier", f"{first_s:g} and {last_s:g}")
    cells = (np.arange(CELLS + 1) + 0.5) / CELLS
    laws = (model.programming_spread_us(cells) / model.g_max_us, model.exponent_mean(cells))
    laws = (*laws, model.exponent_spread(cells), model.read_noise(cells))
    tables = {torch.device("cpu"): torch.from_numpy(np.stack(laws)).float()}

    def table(device: torch.device) -> Tensor:
        if device not in tables:
            tables[device] = tables[torch.device("cpu")].to(device)
        return tables[device]

    def cell(g: Tensor) -> Tensor:
        return (g * CELLS).long().clamp(max=CELLS)

    def read(g: Tensor, t_s: Tensor) -> Tensor:
        """Return what devices of target `g` are read as, at one time for each chip."""
        spread, exponent, exponent_spread, noise = table(g.device)[:, cell(g)]
        z1, z2, z3 = torch.randn(3, len(t_s), *g.shape, device=g.device)
        programmed = (g + spread * z1).clamp(min=0)
        nu = exponent + exponent_spread * z2
        if model.exponent_absolute:
            nu = nu.abs()
        if model.read_noise_of_programmed:
            noise = table(g.device)[3, cell(programmed)]
        growth = torch.log((t_s + model.t_read_s) / (2 * model.t_read_s)).sqrt()
        return programmed * torch.exp(-nu * torch.log(t_s / model.t_c_s)) * (1 + noise * growth * z3).clamp(min=0)

    def disturbed(weights: Tensor, chips: int) -> Tensor:
        age = torch.rand(chips, *weights.shape[:-1], 1, device=weights.device)
        age[:fresh] = 0
        t_s = first_s * (last_s / first_s) ** age + model.t_offset_s
        sizes = weights.abs()
        largest = sizes.amax(dim=-1, keepdim=True)
        found = read(sizes / largest, t_s)
        if model.programs_zero:
            found = found - read(torch.zeros_like(sizes), t_s)
        else:
            found = torch.where(sizes > 0, found, 0.0)
        factor = sizes.sum(dim=-1, keepdim=True) / found.abs().sum(dim=-1, keepdim=True)
        factor[:fresh] = largest
        return torch.where(weights < 0, -1.0, 1.0) * found * factor

    return disturbed


def noisy(model: nn.Module, disturbance: Disturbance | None, chips: int = 1) -> dict[str, Tensor]:
    """Return the disturbed parameters on PCM, by name: those of all chips, one after the other along the first axis.

    They are what `torch.func.functional_call` puts in the place of the clean ones. A gradient is taken at the disturbed
    parameters and goes to the clean ones, as the sum over the chips. Without a disturbance nothing is returned.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    disturbed = {}
    for matrix in crossbars(model) if disturbance else ():
        vector = flat(matrix)
        errors = (disturbance(vector, chips) - vector).split([parameter.numel() for parameter in matrix], dim=1)
        for parameter, error in zip(matrix, errors, strict=True):
            disturbed[names[parameter]] = (parameter + error.view(chips, *parameter.shape)).flatten(0, 1)
    return disturbed


@torch.no_grad()
def clip(model: nn.Module, alpha: float) -> None:
    """Clip each crossbar matrix to +- `alpha` times the standard deviation of its weights."""
    if math.isinf(alpha):
        return
    for matrix in crossbars(model):
        limit = alpha * flat(matrix).std(correction=0)
        for parameter in matrix:
            parameter.clamp_(-limit, limit)


def flat(matrix: list[nn.Parameter]) -> Tensor:
    """Return the values of a crossbar matrix as one vector."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in matrix])
