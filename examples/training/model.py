"""CIFAR-style ResNets in PyTorch, with the parameter names that `pcmref.convert` reads."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from pcmref.convert import Architecture


class PadShortcut(nn.Module):
    """Every `stride`-th pixel; the missing channels are zeros, half of them before and half after."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        """Return the shortcut's output."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = (
                nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
                if shortcut == "conv"
                else PadShortcut(inputs, outputs, stride)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


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
        self.conv1 = nn.Conv2d(inputs, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        for stage, (blocks, outputs) in enumerate(zip(arch.blocks, arch.channels, strict=True), start=1):
            layer = nn.Sequential()
            for block in range(blocks):
                stride = 2 if block == 0 and stage > 1 else 1
                layer.append(Block(width, outputs, stride, arch.shortcut))
                width = outputs
            self.add_module(f"layer{stage}", layer)
        self.fc = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch of images, shape ``(n, channels, height, width)``."""
        x = functional.relu(self.bn1(self.conv1(x)))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.mean(dim=(2, 3)))
