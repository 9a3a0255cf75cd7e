"""CIFAR-style ResNets in PyTorch, with the names that `pcmref.importers.resnet` reads, and a wide teacher for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from pcmref.importers.resnet import Architecture

if TYPE_CHECKING:
    from data import Images


#: What passes between the layers of a `ResNet`: one batch for each chip.
Batches: TypeAlias = Sequence[Tensor]


class Conv(nn.Conv2d):
    """Convolution; the weights of several chips stand one after the other along the first axis."""

    def forward(self, batches: Batches) -> Batches:
        """Return the outputs of each chip."""
        weights = self.weight.split(self.out_channels)
        return [
            functional.conv2d(x, weight, None, self.stride, self.padding)
            for x, weight in zip(batches, weights, strict=True)
        ]


class Linear(nn.Linear):
    """Linear layer; the parameters of several chips stand one after the other along the first axis."""

    def forward(self, batches: Batches) -> Batches:
        """Return the outputs of each chip."""
        weights, biases = self.weight.split(self.out_features), self.bias.split(self.out_features)
        return [functional.linear(*part) for part in zip(batches, weights, biases, strict=True)]


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation over all chips together.

    So a chip whose channels are off from those of the others stays off, as it does on the statistics that are stored.
    The sums go over each image first: PyTorch's compiler makes faster code of that on a CPU.
    """

    def forward(self, batches: Batches) -> Batches:
        """Return the normalised channels; while training, by the mean and the variance of these batches."""
        mean, variance = self.statistics(batches) if self.training else (self.running_mean, self.running_var)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return [scaled(x, scale, shift) for x in batches]

    def statistics(self, batches: Batches) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each channel, and let the running ones follow."""
        values = [x.float() for x in batches]
        mean = torch.cat([x.mean(dim=(2, 3)) for x in values]).mean(dim=0)
        variance = torch.cat([(x * x).mean(dim=(2, 3)) for x in values]).mean(dim=0) - mean * mean
        with torch.no_grad():
            size = sum(x[:, 0].numel() for x in values)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (size / (size - 1)), self.momentum)
        return mean, variance


def scaled(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return ``scale * x + shift`` for each channel."""
    scale, shift = (vector.expand(len(x), -1)[:, :, None, None] for vector in (scale, shift))
    return (x.float() * scale + shift).to(x.dtype)


class PadShortcut(nn.Module):
    """Every `stride`-th pixel; the missing channels are zeros, half of them before and half after."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, batches: Batches) -> Batches:
        """Return the shortcut's output of each chip."""
        padding = (0, 0, 0, 0, self.before, self.after)
        return [functional.pad(x[:, :, :: self.stride, :: self.stride], padding) for x in batches]


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = Conv(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm(outputs)
        self.conv2 = Conv(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = (
                nn.Sequential(Conv(inputs, outputs, 1, stride, bias=False), BatchNorm(outputs))
                if shortcut == "conv"
                else PadShortcut(inputs, outputs, stride)
            )

    def forward(self, batches: Batches) -> Batches:
        """Return the block's output of each chip."""
        inner = [functional.relu(x) for x in self.bn1(self.conv1(batches))]
        pairs = zip(self.bn2(self.conv2(inner)), self.downsample(batches), strict=True)
        return [functional.relu(x + shortcut) for x, shortcut in pairs]


class ResNet(nn.Module):
    """A 3x3 stem, stages of residual blocks that halve the image in between, mean over pixels, linear.

    Parameters
    ----------
    arch : Architecture
    inputs : int
        Channels of the images.
    classes : int
    """

    def __init__(self, arch: Architecture, inputs: int, classes: int) -> None:
        super().__init__()
        width = arch.channels[0]
        self.stages = len(arch.blocks)
        self.conv1 = Conv(inputs, width, 3, 1, 1, bias=False)
        self.bn1 = BatchNorm(width)
        for stage, (blocks, outputs) in enumerate(zip(arch.blocks, arch.channels, strict=True), start=1):
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if block == 0 and stage > 1 else 1
                layer.append(Block(width, outputs, stride, arch.shortcut))
                width = outputs
            self.add_module(f"layer{stage}", layer)
        self.fc = Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch of images, shape ``(n, channels, height, width)``.

        With the parameters of several chips each chip gets an equal part of the images, in order.
        """
        chips = len(self.fc.weight) // self.fc.out_features
        batches = [functional.relu(x) for x in self.bn1(self.conv1(x.tensor_split(chips)))]
        for stage in range(1, self.stages + 1):
            batches = self.get_submodule(f"layer{stage}")(batches)
        return torch.cat(list(self.fc([x.mean(dim=(2, 3)) for x in batches])))


@torch.no_grad()
def revive(model: nn.Module, floor: float = 0.01) -> int:
    """Start inner channels of blocks anew that have died, and return how many.

    A channel counts as dead whose weights are all below `floor` times the largest of its convolution: whatever reached
    the rectifier was negative, so nothing but weight decay moved them any more. Its new weights are normal, with the
    standard deviation of the living ones. The next convolution does not listen to it yet: the network's outputs stay,
    if the channel was silent.
    """
    found = 0
    for block in (module for module in model.modules() if isinstance(module, Block)):
        weight, norm = block.conv1.weight, block.bn1
        largest = weight.abs().amax(dim=(1, 2, 3))
        dead = largest < floor * largest.amax()
        if count := int(dead.sum()):
            weight[dead] = weight[~dead].std() * torch.randn_like(weight[dead])
            norm.weight[dead], norm.bias[dead] = norm.weight[~dead].abs().mean(), 0.0
            norm.running_mean[dead], norm.running_var[dead] = 0.0, norm.running_var[~dead].mean()
            block.conv2.weight[:, dead] = 0.0
            found += count
    return found


class Group(nn.Module):
    """Two 3x3 convolutions or more, the image halved after the first; with more than two, a shortcut around the others.

    Their first outputs begin as copies of the inputs, so that a deep stack passes the image on from the start.
    """

    def __init__(self, inputs: int, outputs: int, depth: int = 2) -> None:
        super().__init__()
        widths = (inputs, *[outputs] * (depth - 1))
        self.convs = nn.ModuleList(nn.Conv2d(width, outputs, 3, 1, 1, bias=False) for width in widths)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs, momentum=0.4) for _ in self.convs)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            nn.init.dirac_(conv.weight.detach()[: conv.in_channels])
            norm.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the group's output."""
        first = functional.gelu(self.norms[0](functional.max_pool2d(self.convs[0](x), 2)))
        x = self.norms[1](self.convs[1](first))
        for conv, norm in zip(self.convs[2:], self.norms[2:], strict=True):
            x = norm(conv(functional.gelu(x)))
        return functional.gelu(x if len(self.convs) == 2 else x + first)


class Teacher(nn.Module):
    """A network that learns fast: few, wide layers behind a fixed convolution that whitens 2x2 patches.

    The shape follows K. Jordan, "94 % on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498.

    Parameters
    ----------
    size : int
        Rows of the images.
    inputs : int
        Channels of the images.
    classes : int
    widths : sequence of int
        Channels of the groups; there are as many groups as leave a pixel.
    depth : int
        Convolutions of a group. The network for 96 % in that paper has three and widths of 128, 384 and 512.
    """

    def __init__(self, size: int, inputs: int, classes: int, widths: Sequence[int], depth: int = 2) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(inputs, 8 * inputs, 2, bias=False).requires_grad_(False)
        widths = (8 * inputs, *widths[: int(math.log2(size - 1))])
        self.groups = nn.Sequential(*(Group(*pair, depth) for pair in itertools.pairwise(widths)))
        self.fc = nn.Linear(widths[-1], classes, bias=False)

    @torch.no_grad()
    def whiten_as(self, images: Images, count: int = 5000, floor: float = 5e-4) -> None:
        """Set the first layer to +- the eigenvectors of the covariance of `images`' 2x2 patches.

        Each is scaled so that its output has unit variance; `floor` is added to the eigenvalues, so that the
        directions of least variance stay small.
        """
        batch, _ = images.batch(slice(count))
        patches = functional.unfold(batch, 2).transpose(1, 2).flatten(0, 1).double()
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (directions / (variances + floor).sqrt()).T.reshape(-1, *self.whiten.weight.shape[1:])
        self.whiten.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch of images, shape ``(n, channels, height, width)``."""
        x = self.groups(functional.gelu(self.whiten(x)))
        return self.fc(x.amax(dim=(2, 3))) / 8
