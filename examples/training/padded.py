"""A `model.ResNet` as three tensors, so that a step on all of its parameters is a few large operations.

Launching an operation on a GPU takes longer than computing it for a matrix of this size, and there are 34 of them.
"""

from __future__ import annotations

import math

import torch
from model import BatchNorm, Conv, PadShortcut, ResNet
from torch import Tensor, nn
from torch.nn import functional


class Padded:
    """The tensors of a network with 1x1 convolutions as shortcuts, or none.

    Parameters
    ----------
    net : ResNet
        Whose values they begin with.
    device : torch.device

    Attributes
    ----------
    matrices : Tensor
        Shape ``(crossbars, rows, columns)``, float32: a row for each output, padded with zeros. The columns of a
        convolution are in the order kernel row, kernel column, input; the last of the linear layer is the bias.
    affine : Tensor
        Shape ``(2, channels)``: the factors and the offsets of batch normalisation, layer after layer.
    running : Tensor
        Likewise, the stored means and variances.
    sizes : list of tuple of int
        Rows and columns of each crossbar matrix.
    """

    def __init__(self, net: ResNet, device: torch.device) -> None:
        self.net = net
        self.convs = [module for module in net.modules() if isinstance(module, Conv)]
        self.norms = [module for module in net.modules() if isinstance(module, BatchNorm)]
        self.strides = [conv.stride[0] for conv in self.convs]
        self.kernels = [(conv.out_channels, *conv.kernel_size, conv.in_channels) for conv in self.convs]
        self.channels = [norm.num_features for norm in self.norms]
        self.sizes = [(rows, height * width * inputs) for rows, height, width, inputs in self.kernels]
        self.sizes.append((net.fc.out_features, net.fc.in_features + 1))
        if any(isinstance(module, PadShortcut) for module in net.modules()):
            raise ValueError("shortcuts of another network: expected 1x1 convolutions")
        rows, columns = (max(size) for size in zip(*self.sizes, strict=True))
        self.matrices = torch.zeros(len(self.sizes), rows, columns)
        for matrix, values in zip(self.matrices, self.flat(), strict=True):
            matrix[: values.shape[0], : values.shape[1]] = values
        self.affine = torch.stack([torch.cat([getattr(n, name).detach() for n in self.norms]) for name in AFFINE])
        self.running = torch.stack([torch.cat([getattr(n, name) for n in self.norms]) for name in RUNNING])
        self.matrices, self.affine, self.running = (x.to(device) for x in (self.matrices, self.affine, self.running))
        inside = torch.zeros(self.matrices.shape)
        for mask, (height, width) in zip(inside, self.sizes, strict=True):
            mask[:height, :width] = 1
        self.inside = inside.to(device)
        self.counts = self.inside.sum(dim=(1, 2), keepdim=True)

    def flat(self) -> list[Tensor]:
        """Return the crossbar matrices of the network, not padded."""
        found = [conv.weight.detach().permute(0, 2, 3, 1).flatten(1) for conv in self.convs]
        return [*found, torch.cat([self.net.fc.weight, self.net.fc.bias[:, None]], dim=1).detach()]

    @torch.no_grad()
    def restored(self, matrices: Tensor, affine: Tensor, running: Tensor) -> ResNet:
        """Return the network, on the CPU, with the values of three such tensors."""
        matrices, affine, running = (x.detach().cpu() for x in (matrices, affine, running))
        for conv, kernel, matrix in zip(self.convs, self.kernels, matrices, strict=False):
            values = matrix[: kernel[0], : kernel[1] * kernel[2] * kernel[3]]
            conv.weight.copy_(values.reshape(kernel).permute(0, 3, 1, 2))
        rows, columns = self.sizes[-1]
        self.net.fc.weight.copy_(matrices[-1, :rows, : columns - 1])
        self.net.fc.bias.copy_(matrices[-1, :rows, columns - 1])
        for names, tensor in ((AFFINE, affine), (RUNNING, running)):
            for name, values in zip(names, tensor, strict=True):
                for norm, part in zip(self.norms, values.split(self.channels), strict=True):
                    getattr(norm, name).copy_(part)
        return self.net.eval()

    def logits(self, x: Tensor, matrices: Tensor, affine: Tensor, running: Tensor, *, training: bool) -> Tensor:
        """Return the logits of a batch.

        Parameters
        ----------
        x : Tensor
            Shape ``(n, channels, height, width)``; each chip gets an equal part, in order.
        matrices : Tensor
            Those of each chip, shape ``(chips, crossbars, rows, columns)``, of the dtype of `x`.
        affine, running : Tensor
        training : bool
            Whether to normalise by the statistics of the batch, over all chips, and let the stored ones follow.
        """
        layers = matrices.unbind(1)
        weights = iter(zip(layers, self.kernels, self.strides, strict=False))
        norms = iter(zip(*(pair.split(self.channels) for pair in (*affine.unbind(0), *running.unbind(0))), strict=True))

        def convolved(x: Tensor) -> Tensor:
            matrix, kernel, stride = next(weights)
            factor, offset, mean, variance = next(norms)
            x = convolution(x, matrix, kernel, stride)
            return functional.batch_norm(x, mean, variance, factor, offset, training)

        x = functional.relu(convolved(x))
        for stage in range(1, self.net.stages + 1):
            for block in self.net.get_submodule(f"layer{stage}"):
                inner = convolved(functional.relu(convolved(x)))
                x = functional.relu(inner + (x if isinstance(block.downsample, nn.Identity) else convolved(x)))
        rows, columns = self.sizes[-1]
        last = layers[-1][:, :rows, :columns].float()
        pooled = x.float().mean(dim=(2, 3)).unflatten(0, (len(last), -1))
        return torch.baddbmm(last[:, None, :, -1], pooled, last[:, :, :-1].mT).flatten(0, 1)

    def clip(self, alpha: float) -> None:
        """Clip each crossbar matrix to +- `alpha` times the standard deviation of its weights."""
        if math.isinf(alpha):
            return
        mean = self.matrices.sum(dim=(1, 2), keepdim=True) / self.counts
        variance = ((self.matrices - mean) * self.inside).square().sum(dim=(1, 2), keepdim=True) / self.counts
        limit = alpha * variance.sqrt()
        self.matrices.copy_(self.matrices.clamp(-limit, limit))


#: The tensors of a `BatchNorm`.
AFFINE, RUNNING = ("weight", "bias"), ("running_mean", "running_var")


def convolution(x: Tensor, matrix: Tensor, kernel: tuple[int, ...], stride: int) -> Tensor:
    """Return the convolution of each chip's part of a batch with its weights, padded matrices ``(chips, ...)``."""
    rows, height, width, inputs = kernel
    values = matrix[:, :rows, : height * width * inputs].contiguous()  # and so channels last for each chip
    weights = values.unflatten(2, (height, width, inputs)).permute(0, 1, 4, 2, 3)
    parts = zip(x.chunk(len(weights)), weights.unbind(0), strict=True)
    found = [functional.conv2d(part, weight, None, stride, height // 2) for part, weight in parts]
    return found[0] if len(found) == 1 else torch.cat(found)
