"""Networks as others write them, in plain PyTorch: random weights, random statistics, several habits."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def randomised(model, seed=0):
    """Give every batch norm four tensors that differ in each channel, so that none can be mistaken for another."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor, low, high):
        tensor.data.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            uniform(module.weight, 0.5, 1.5)
            uniform(module.bias, -0.3, 0.3)
            uniform(module.running_mean, -0.3, 0.3)
            uniform(module.running_var, 0.5, 1.5)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            uniform(module.weight, -((6 / fan_in) ** 0.5), (6 / fan_in) ** 0.5)
            if module.bias is not None:
                uniform(module.bias, -0.5, 0.5)
    return model.eval()


class Pad(nn.Module):
    """Every other pixel, zero channels before and after."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.sides, self.stride = (0, 0, 0, 0, before, after), stride

    def forward(self, x):
        return functional.pad(x[:, :, :: self.stride, :: self.stride], self.sides)


def shortcut_of(kind, before, after, stride, eps):
    if kind == "conv":
        return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after, eps))
    half = (after - before) // 2 if kind == "pad-both" else 0
    return Pad(half, after - before - half, stride)


class Block(nn.Module):
    """Basic or bottleneck; `habit` says in which order an author writes down its modules."""

    def __init__(self, before, after, stride, *, kind, bottleneck, bias, habit, eps, groups, joined):
        super().__init__()
        convs = [(before, after, 3, stride, 1), (after, after, 3, 1, 1)]
        if bottleneck:
            middle = after // 4 * (2 if groups > 1 else 1)
            convs = [(before, middle, 1, 1, 1), (middle, middle, 3, stride, groups), (middle, after, 1, 1, 1)]
        joined = joined or before != after or stride > 1
        shortcut = shortcut_of(kind, before, after, stride, eps) if joined else None
        if habit == "shortcut first" and shortcut is not None:
            self.shortcut = shortcut
        for number, (i, o, size, step, parts) in enumerate(convs, start=1):
            setattr(self, f"conv{number}", nn.Conv2d(i, o, size, step, size // 2, groups=parts, bias=bias))
            if habit != "convolutions first":
                setattr(self, f"bn{number}", nn.BatchNorm2d(o, eps))
        if habit == "convolutions first":
            for number, (_, o, *_) in enumerate(convs, start=1):
                setattr(self, f"bn{number}", nn.BatchNorm2d(o, eps))
        if habit != "shortcut first" and shortcut is not None:
            self.shortcut = shortcut
        self.count, self.identity = len(convs), shortcut is None

    def forward(self, x):
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = functional.relu(y) if number < self.count else y
        return functional.relu(y + (x if self.identity else self.shortcut(x)))


class ResNet(nn.Module):
    """For small images, or with the beginning for ImageNet."""

    def __init__(
        self,
        counts,
        channels,
        *,
        kind="conv",
        stem=None,
        bottleneck=False,
        imagenet=False,
        bias=False,
        habit="usual",
        eps=1e-5,
        classes=10,
        inputs=3,
        groups=1,
        projected=False,
    ):
        super().__init__()
        width = stem or channels[0]
        self.imagenet = imagenet
        size, stride = (7, 2) if imagenet else (3, 1)
        self.conv1 = nn.Conv2d(inputs, width, size, stride, size // 2, bias=bias)
        self.bn1 = nn.BatchNorm2d(width, eps)
        blocks = []
        for stage, (count, after) in enumerate(zip(counts, channels, strict=True)):
            for number in range(count):
                step = 2 if stage and not number else 1
                blocks.append(
                    Block(
                        width,
                        after,
                        step,
                        kind=kind,
                        bottleneck=bottleneck,
                        bias=bias,
                        habit=habit,
                        eps=eps,
                        groups=groups,
                        joined=projected and not stage and not number,
                    )
                )
                width = after
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        if self.imagenet:
            x = functional.max_pool2d(x, 3, 2, 1)
        return self.fc(self.blocks(x).mean((2, 3)))


class NormsFirst(nn.Module):
    """One block of a wide residual network."""

    def __init__(self, before, after, stride, bias):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=bias)
        self.bn2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=bias)
        same = before == after and stride == 1
        self.shortcut = None if same else nn.Conv2d(before, after, 1, stride, bias=bias)

    def forward(self, x):
        y = functional.relu(self.bn1(x))
        z = self.conv2(functional.relu(self.bn2(self.conv1(y))))
        return z + (x if self.shortcut is None else self.shortcut(y))


class WideResNet(nn.Module):
    def __init__(self, count, channels, *, classes=10, bias=False, last=True):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 1, 1, bias=bias)
        width, blocks = 4, []
        for stage, after in enumerate(channels):
            for number in range(count):
                blocks.append(NormsFirst(width, after, 2 if stage and not number else 1, bias))
                width = after
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(width) if last else None
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        x = self.blocks(self.conv1(x))
        x = x if self.bn is None else functional.relu(self.bn(x))
        return self.fc(x.mean((2, 3)))


class VGG(nn.Module):
    """torchvision's layout: `features`, an adaptive pooling to 7 x 7, `classifier`."""

    def __init__(self, counts, channels, *, hidden=32, classes=10):
        super().__init__()
        layers, width = [], 3
        for count, after in zip(counts, channels, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(width, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
                width = after
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(width * 49, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def activated(before, after, size, stride=1, groups=1):
    conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, before, after, stride, expansion):
        super().__init__()
        hidden = before * expansion
        layers = [] if expansion == 1 else [activated(before, hidden, 1)]
        layers += [activated(hidden, hidden, 3, stride, hidden)]
        layers += [nn.Conv2d(hidden, after, 1, bias=False), nn.BatchNorm2d(after)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and before == after

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """torchvision's layout."""

    def __init__(self, scale=1.0, classes=1000):
        super().__init__()
        settings = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)]
        settings.append((6, 320, 1, 1))
        width = int(32 * scale)
        layers = [activated(3, width, 3, 2)]
        for expansion, channels, count, stride in settings:
            for number in range(count):
                after = int(channels * scale)
                layers.append(InvertedResidual(width, after, 1 if number else stride, expansion))
                width = after
        last = int(1280 * scale)
        self.features = nn.Sequential(*layers, activated(width, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def shuffled(x):
    """The channels of two groups in turn."""
    n, channels, height, width = x.shape
    return x.view(n, 2, channels // 2, height, width).transpose(1, 2).reshape(n, channels, height, width)


class Unit(nn.Module):
    """Of ShuffleNetV2: one half of the channels passes by, or, with a stride, a second branch has all of them."""

    def __init__(self, before, after, stride):
        super().__init__()
        half = after // 2
        ahead = before if stride > 1 else half
        self.branch1 = None
        if stride > 1:
            self.branch1 = nn.Sequential(*self.depthwise(before, stride), *self.pointwise(before, half))
        self.branch2 = nn.Sequential(
            *self.pointwise(ahead, half), *self.depthwise(half, stride), *self.pointwise(half, half)
        )

    @staticmethod
    def depthwise(channels, stride):
        return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), nn.BatchNorm2d(channels)

    @staticmethod
    def pointwise(before, after):
        return nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()

    def forward(self, x):
        if self.branch1 is None:
            kept, x = x.chunk(2, dim=1)
        else:
            kept = self.branch1(x)
        return shuffled(torch.cat((kept, self.branch2(x)), dim=1))


class ShuffleNetV2(nn.Module):
    """torchvision's layout."""

    def __init__(self, counts=(4, 8, 4), channels=(24, 116, 232, 464, 1024), classes=1000):
        super().__init__()
        first, *stages, last = channels
        self.conv1 = nn.Sequential(nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        units, width = [], first
        for count, after in zip(counts, stages, strict=True):
            for number in range(count):
                units.append(Unit(width, after, 1 if number else 2))
                width = after
        self.units = nn.Sequential(*units)
        self.conv5 = nn.Sequential(*Unit.pointwise(width, last))
        self.fc = nn.Linear(last, classes)

    def forward(self, x):
        x = functional.max_pool2d(self.conv1(x), 3, 2, 1)
        return self.fc(self.conv5(self.units(x)).mean((2, 3)))
