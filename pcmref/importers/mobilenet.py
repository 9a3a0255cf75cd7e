"""MobileNetV2 (Sandler et al. 2018) in the layout of torchvision: inverted residuals, depthwise convolutions, ReLU6."""

from __future__ import annotations

from collections.abc import Iterator

from pcmref.errors import NetworkError
from pcmref.importers.modules import Modules, Unit
from pcmref.network.layers import Layer
from pcmref.network.operations import Add, Clip, GlobalAveragePool

__all__ = ["mobilenet_layers"]

#: Number of blocks, and stride of the first, of each stage.
STAGES = ((1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1))


def mobilenet_layers(modules: Modules) -> Iterator[Layer]:
    """Yield the layers of MobileNetV2, of any width; blocks widen their input where the shapes say so.

    Yields
    ------
    Layer
        ``conv1``, ``bn1``, ``relu1``, ``block1.depthwise``, ..., ``block17.project``, ``conv2``, ``pool``, ``fc``.
    """
    units = list(modules.units())
    if not units or len(modules.head) != 1:
        raise NetworkError(
            "tensors", "those of convolutions and one fully connected layer", f"{len(modules.head)} of those"
        )
    yield from _activated(units.pop(0), "conv1", "bn1", "relu1", "input", stride=2)
    reads, number = "relu1", 0
    for count, first in STAGES:
        for place in range(count):
            number += 1
            yield from (layers := list(_block(units, f"block{number}", reads, stride=1 if place else first)))
            reads = layers[-1].name
    last = _take(units, "conv2")
    if units:
        raise NetworkError(units[0].source, f"no more convolutions after {number} blocks", f"{len(units)}")
    yield from _activated(last, "conv2", "bn2", "relu2", reads)
    yield GlobalAveragePool(name="pool", inputs=("relu2",))
    yield modules.head[0].linear("fc", "pool")


def _block(units: list[Unit], name: str, reads: str, *, stride: int) -> Iterator[Layer]:
    """Yield one block: 1x1 (unless the depthwise one comes first), depthwise 3x3, 1x1; and take its convolutions."""
    depthwise, last = _take(units, name), reads
    inputs = depthwise.outputs
    if depthwise.kernel == (1, 1):
        expand, depthwise, last = depthwise, _take(units, name), f"{name}.relu1"
        inputs = expand.inputs
        yield from _activated(expand, f"{name}.expand", f"{name}.bn1", last, reads)
    if depthwise.kernel != (3, 3) or depthwise.inputs != 1:
        raise NetworkError(depthwise.source, f"the depthwise 3x3 convolution of {name}", str(depthwise))
    names, after = (f"{name}.depthwise", f"{name}.bn2"), f"{name}.relu2"
    yield from _activated(depthwise, *names, after, last, stride=stride, groups=depthwise.outputs)
    project, names = _take(units, name), (f"{name}.project", f"{name}.bn3")
    yield from project.conv(*names, after)
    if stride == 1 and inputs == project.outputs:
        yield Add(name=f"{name}.add", inputs=(project.last(names[1], names[0]), reads))


def _activated(
    unit: Unit, conv: str, norm: str, relu: str, reads: str, *, stride: int = 1, groups: int = 1
) -> Iterator[Layer]:
    """Yield a convolution, its batch norm, and ReLU6."""
    yield from unit.conv(conv, norm, reads, stride=stride, groups=groups)
    yield Clip(name=relu, inputs=(unit.last(norm, conv),), low=0.0, high=6.0)


def _take(units: list[Unit], name: str) -> Unit:
    """Take the next convolution."""
    if not units:
        raise NetworkError(name, "its convolutions", "no more")
    return units.pop(0)
