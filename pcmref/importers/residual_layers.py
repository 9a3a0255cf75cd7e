"""The layers of a residual network, in the order of evaluation, from its structure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias, get_args

from pcmref.errors import NetworkError
from pcmref.importers.residual import Block, Residual
from pcmref.network.layers import Layer
from pcmref.network.operations import Add, GlobalAveragePool, MaxPool, PadShortcut, Relu

__all__ = ["SHORTCUTS", "Shortcut", "residual_layers"]

#: Channels of zeros half before and half after, or all after; or a convolution of 1x1.
Shortcut: TypeAlias = Literal["pad-both", "pad-after", "conv"]
SHORTCUTS: tuple[Shortcut, ...] = get_args(Shortcut)


def residual_layers(residual: Residual, shortcut: Shortcut = "pad-both") -> Iterator[Layer]:
    """Yield the layers of a residual network.

    Parameters
    ----------
    residual : Residual
    shortcut : {"pad-both", "pad-after", "conv"}
        Where channels of zeros are, if there are any.

    Yields
    ------
    Layer
        ``conv1``, ``bn1``, ``relu1``, ``stage1.block1.conv1``, ..., ``pool``, ``fc``; the shortcut of a block after
        its last convolution.
    """
    reads = "relu1"
    yield from residual.stem.conv("conv1", "bn1", "input", stride=2 if residual.for_imagenet else 1)
    yield Relu(name=reads, inputs=(residual.stem.last("bn1", "conv1"),))
    if residual.for_imagenet:
        reads = "maxpool"
        yield MaxPool(name=reads, inputs=("relu1",), kernel=3, stride=2, padding=1)
    for stage, blocks in enumerate(residual.stages, start=1):
        for number, block in enumerate(blocks, start=1):
            name = f"stage{stage}.block{number}"
            yield from _block(block, name, reads, shortcut)
            reads = f"{name}.relu{len(block.convs)}"
    yield GlobalAveragePool(name="pool", inputs=(reads,))
    yield residual.head.linear("fc", "pool")


def _block(block: Block, name: str, reads: str, shortcut: Shortcut) -> Iterator[Layer]:
    """Yield ``relu(convs(x) + shortcut(x))``, with a ReLU between two convolutions."""
    last = reads
    for number, (conv, stride, groups) in enumerate(block.steps, start=1):
        if number > 1:
            yield Relu(name=f"{name}.relu{number - 1}", inputs=(last,))
            last = f"{name}.relu{number - 1}"
        names = f"{name}.conv{number}", f"{name}.bn{number}"
        yield from conv.conv(*names, last, stride=stride, groups=groups)
        last = conv.last(names[1], names[0])
    other = reads
    if block.shortcut is not None:
        names = f"{name}.shortcut", f"{name}.shortcut_bn"
        yield from block.shortcut.conv(*names, reads, stride=block.stride)
        other = block.shortcut.last(names[1], names[0])
    elif block.pads:
        other = f"{name}.shortcut"
        before, after = _padding(block, shortcut)
        yield PadShortcut(name=other, inputs=(reads,), stride=block.stride, before=before, after=after)
    yield Add(name=f"{name}.add", inputs=(last, other))
    yield Relu(name=f"{name}.relu{len(block.convs)}", inputs=(f"{name}.add",))


def _padding(block: Block, shortcut: Shortcut) -> tuple[int, int]:
    """Return how many channels of zeros there are before and after those of the input."""
    growth = block.outputs - block.inputs
    where = block.convs[-1].source
    if growth < 0:
        raise NetworkError(
            where, f"at least {block.inputs} outputs, or a convolution of 1x1 beside", str(block.outputs)
        )
    if shortcut == "conv":
        raise NetworkError(where, "a convolution of 1x1 beside its block", "none")
    if shortcut == "pad-after":
        return 0, growth
    if growth % 2:
        raise NetworkError(where, f"an even number of channels beyond {block.inputs}, for pad-both", str(block.outputs))
    return growth // 2, growth // 2
