"""What is measured of a network: its accuracy, and the statistics that its batch normalisation stores."""

from __future__ import annotations

import torch
from data import CHUNK, Images
from model import BatchNorm
from noise import Disturbance, noisy
from torch import nn
from torch.func import functional_call

#: Chips that share a batch when statistics are measured.
CHIPS = 5


@torch.no_grad()
def accuracy(model: nn.Module, images: Images, disturbance: Disturbance | None = None, *, bf16: bool = False) -> float:
    """Return the accuracy in percent, under a disturbance of the weights."""
    model.eval()
    device = images.labels.device
    weights = noisy(model, disturbance)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        right = 0
        for start in range(0, len(images), CHUNK):
            batch, labels = images.batch(slice(start, start + CHUNK))
            right += int((functional_call(model, weights, batch).argmax(dim=1) == labels).sum())
    return 100 * right / len(images)


@torch.no_grad()
def measure_statistics(model: nn.Module, images: Images, disturbance: Disturbance | None = None) -> None:
    """Set the stored mean and variance of each channel to those of `images`, as `CHIPS` chips share them.

    They are means over batches. Every layer works with the statistics of the batch meanwhile, and the disturbance makes
    other chips for each.
    """
    model.train()
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    for number, start in enumerate(range(0, len(images), CHUNK), start=1):
        for norm in norms:
            norm.momentum = 1 / number
        batch, _ = images.batch(slice(start, start + CHUNK))
        functional_call(model, noisy(model, disturbance, CHIPS), batch)
