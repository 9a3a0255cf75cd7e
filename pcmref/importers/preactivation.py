"""Residual networks whose batch norms and ReLUs come before the convolutions (He et al. 2016, arXiv 1603.05027).

Wide residual networks (Zagoruyko and Komodakis 2016) are of this kind.  Their shapes are those of other residual
networks: what tells is that the first batch norm is a part of the first block, as the names of modules are grouped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pcmref.errors import NetworkError
from pcmref.importers.modules import Modules, Norm, Unit, parent
from pcmref.importers.residual import Block, Residual, residual_of_units
from pcmref.network.layers import Layer
from pcmref.network.operations import Add, GlobalAveragePool, MaxPool, Relu

__all__ = ["has_norms_first", "preactivation_layers", "preactivation_of"]


def has_norms_first(modules: Modules) -> bool:
    """Return whether the first batch norm is a part of the first block, not of what comes before it."""
    match modules.body[:3]:
        case [Unit() as before, Norm() as norm, Unit() as after]:
            return parent(before) != parent(norm) == parent(after)
    return False


def preactivation_of(modules: Modules) -> tuple[Residual, Norm | None]:
    """Return the structure of a residual network with batch norms first, and the batch norm after its blocks, if any.

    Raises
    ------
    NetworkError
        Naming the module up to which the tensors are those of such a network, and what belongs there.
    """
    units, last = modules.units_after_norms()
    residual = residual_of_units(units, modules.head)
    for block in residual.blocks:
        for conv in block.convs:
            if conv.norm is None:
                raise NetworkError(conv.source, "a batch norm before it", f"none before {conv}")
        if block.shortcut is not None and block.shortcut.norm is not None:
            raise NetworkError(block.shortcut.norm.source, "no batch norm before a shortcut", "one")
        if block.pads:
            raise NetworkError(block.convs[0].source, "a convolution of 1x1 beside it", "none")
    return residual, last


def preactivation_layers(residual: Residual, last: Norm | None) -> Iterator[Layer]:
    """Yield the layers of a residual network with batch norms first.

    Yields
    ------
    Layer
        ``conv1``, ``stage1.block1.bn1``, ``.relu1``, ``.conv1``, ..., ``bn`` and ``relu`` if there is a `last` batch
        norm, ``pool``, ``fc``.
    """
    reads = "conv1"
    yield from residual.stem.conv("conv1", "", "input", stride=2 if residual.for_imagenet else 1)
    if residual.for_imagenet:
        reads = "maxpool"
        yield MaxPool(name=reads, inputs=("conv1",), kernel=3, stride=2, padding=1)
    for stage, blocks in enumerate(residual.stages, start=1):
        for number, block in enumerate(blocks, start=1):
            yield from _block(block, f"stage{stage}.block{number}", reads)
            reads = f"stage{stage}.block{number}.add"
    if last is not None:
        yield last.layer("bn", reads)
        yield Relu(name="relu", inputs=("bn",))
        reads = "relu"
    yield GlobalAveragePool(name="pool", inputs=(reads,))
    yield residual.head.linear("fc", "pool")


def _block(block: Block, name: str, reads: str) -> Iterator[Layer]:
    """Yield ``convs(x) + x``, each convolution after its batch norm and ReLU; a convolution beside after the first."""
    last = reads
    for number, (conv, stride, groups) in enumerate(block.steps, start=1):
        if conv.norm is not None:
            yield conv.norm.layer(f"{name}.bn{number}", last)
        yield Relu(name=f"{name}.relu{number}", inputs=(f"{name}.bn{number}",))
        bare = replace(conv, norm=None)
        yield from bare.conv(f"{name}.conv{number}", "", f"{name}.relu{number}", stride=stride, groups=groups)
        last = f"{name}.conv{number}"
    other = reads
    if block.shortcut is not None:
        other = f"{name}.shortcut"
        yield from block.shortcut.conv(other, "", f"{name}.relu1", stride=block.stride)
    yield Add(name=f"{name}.add", inputs=(last, other))
