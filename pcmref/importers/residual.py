"""Residual networks whose structure follows from the shapes of their tensors, in the order of the state dict.

A convolution of 3x3 begins a network for small images, one of 7x7 with stride 2 and a max pooling one for ImageNet.
Blocks follow [H16], basic (3x3, 3x3) or bottlenecks (1x1, 3x3, 1x1), each with an identity, a convolution of 1x1 or
channels of zeros beside it; then global average pooling and a fully connected layer.  No shape tells strides, which are
2 where a stage begins, for a bottleneck in its 3x3 convolution; nor where channels of zeros lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product, takewhile

from pcmref.errors import NetworkError
from pcmref.importers.modules import Modules, Unit

__all__ = ["Block", "Residual", "residual_of", "residual_of_units"]

#: Kernel sizes of the convolutions of each kind of block.
KINDS = {"basic blocks": (3, 3), "bottlenecks": (1, 3, 1)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Convolutions one after another, the shortcut beside them if it is a convolution, and the stride of both."""

    convs: tuple[Unit, ...]
    inputs: int
    stride: int
    shortcut: Unit | None = None

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return self.convs[-1].outputs

    @property
    def steps(self) -> Iterator[tuple[Unit, int, int]]:
        """The convolutions, the stride of each (the first of 3x3 has that of the block), and its groups."""
        left, width = self.stride, self.inputs
        for conv in self.convs:
            stride, left = (left, 1) if conv.kernel == (3, 3) else (1, left)
            yield conv, stride, width // conv.inputs
            width = conv.outputs

    @property
    def pads(self) -> bool:
        """Whether the shortcut adds channels of zeros."""
        return self.shortcut is None and (self.stride > 1 or self.inputs != self.outputs)


@dataclass(frozen=True, kw_only=True, eq=False)
class Residual:
    """A residual network: its first convolution, its blocks, and its fully connected layer."""

    stem: Unit
    blocks: tuple[Block, ...]
    head: Unit

    @property
    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The blocks of each resolution."""
        stages: list[list[Block]] = []
        for block in self.blocks:
            if block.stride > 1 or not stages:
                stages.append([])
            stages[-1].append(block)
        return tuple(map(tuple, stages))

    @property
    def kind(self) -> str:
        """What the blocks are."""
        return "bottlenecks" if len(self.blocks[0].convs) == 3 else "basic blocks"

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""
        return tuple(map(len, self.stages))

    @property
    def pads(self) -> bool:
        """Whether any shortcut adds channels of zeros."""
        return any(block.pads for block in self.blocks)

    @property
    def for_imagenet(self) -> bool:
        """Whether the first convolution and a pooling quarter the resolution."""
        return self.stem.kernel == (7, 7)

    def __str__(self) -> str:
        depth = 2 + sum(len(block.convs) for block in self.blocks)
        channels = ", ".join(str(stage[-1].outputs) for stage in self.stages)
        counts = " + ".join(map(str, self.counts))
        shortcut = "padded shortcuts" if self.pads else "shortcuts of 1x1 convolutions"
        return f"ResNet-{depth}: {counts} {self.kind}, channels {channels}, {shortcut}, {self.head.outputs} classes"


class _MismatchError(Exception):
    """A convolution that does not go on as blocks do: its place, and what belongs there."""

    def __init__(self, place: int, expected: str) -> None:
        super().__init__(place, expected)
        self.place, self.expected = place, expected


def residual_of(modules: Modules) -> Residual:
    """Return the structure of a residual network.

    Raises
    ------
    NetworkError
        Naming the module up to which the tensors are those of a residual network, and what belongs there.
    """
    return residual_of_units(modules.units(), modules.head)


def residual_of_units(units: Sequence[Unit], head: Sequence[Unit]) -> Residual:
    """Return the structure of convolutions and one fully connected layer."""
    if not units or not head:
        missing = "no fully connected layer" if units else "no convolutions"
        raise NetworkError("tensors", "those of convolutions and a fully connected layer", missing)
    stem = units[0]
    if stem.kernel not in ((3, 3), (7, 7)):
        raise NetworkError(stem.source, "a first convolution of 3x3, or of 7x7 for ImageNet", str(stem))
    blocks = _blocks(units)
    return Residual(stem=stem, blocks=blocks, head=_head(head, blocks[-1].outputs))


def _head(head: Sequence[Unit], inputs: int) -> Unit:
    """Return the only fully connected layer."""
    if len(head) != 1:
        raise NetworkError(head[1].source, "one fully connected layer", f"{len(head)}")
    if head[0].inputs != inputs:
        turned = ": transposed?" if head[0].outputs == inputs else ""
        expected = f"a fully connected layer of {inputs} inputs, the channels of the last block"
        raise NetworkError(head[0].source, expected, f"{head[0]}{turned}")
    return head[0]


def _blocks(units: Sequence[Unit]) -> tuple[Block, ...]:
    """Return the blocks: of the kind, with shortcuts before or after the other convolutions, that takes all of them."""
    found = [_attempt(units, kernels, first=first) for kernels, first in product(KINDS.values(), (False, True))]
    if fitting := [blocks for blocks in found if not isinstance(blocks, _MismatchError)]:
        return max(fitting, key=_likeness)
    furthest = max((each for each in found if isinstance(each, _MismatchError)), key=lambda each: each.place)
    if furthest.place == len(units):
        raise NetworkError(f"after {units[-1].source}", furthest.expected, "no more convolutions")
    raise NetworkError(units[furthest.place].source, furthest.expected, str(units[furthest.place]))


def _likeness(blocks: Sequence[Block]) -> int:
    """Return how much of their names shortcuts share with those of their blocks: what tells where widths do not."""
    pairs = [(block.shortcut.source, block.convs[0].source) for block in blocks if block.shortcut is not None]
    return sum(_shared(*(name.split(".") for name in pair)) for pair in pairs)


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many parts two names have in common, from the first on."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _attempt(units: Sequence[Unit], kernels: Sequence[int], *, first: bool) -> tuple[Block, ...] | _MismatchError:
    try:
        return tuple(_walk(units, kernels, first=first))
    except _MismatchError as mismatch:
        return mismatch


def _walk(units: Sequence[Unit], kernels: Sequence[int], *, first: bool) -> Iterator[Block]:
    """Yield blocks of one kind, their shortcuts before (`first`) or after the others, or raise `_MismatchError`."""
    place, width = 1, units[0].outputs
    while place < len(units) or place == 1:
        convs, shortcut = _cut(units[place : place + len(kernels) + 2], kernels, width, first=first)
        if shortcut is None:
            _expect_block(convs, kernels, width, place)
        begins = shortcut is not None or convs[-1].outputs != width
        yield Block(convs=convs, inputs=width, shortcut=shortcut, stride=2 if begins and place > 1 else 1)
        place += len(convs) + (shortcut is not None)
        width = convs[-1].outputs


def _cut(
    rest: Sequence[Unit], kernels: Sequence[int], width: int, *, first: bool
) -> tuple[tuple[Unit, ...], Unit | None]:
    """Return the convolutions of the next block, and its shortcut if one that fits is there."""
    size = len(kernels)
    convs, others = tuple(rest[first : size + first]), rest[:1] if first else rest[size : size + 1]
    for shortcut in others:
        beside = (shortcut.kernel, shortcut.inputs) == ((1, 1), width) and _misfit(convs, kernels, width) is None
        if beside and shortcut.outputs == convs[-1].outputs and (first or not _begins(rest[size:], kernels)):
            return convs, shortcut
    return tuple(rest[:size]), None


def _begins(rest: Sequence[Unit], kernels: Sequence[int]) -> bool:
    """Return whether a convolution of 1x1 begins a bottleneck: one of 3x3 comes next."""
    return kernels[0] == 1 and len(rest) > 1 and rest[1].kernel == (3, 3)


def _misfit(convs: Sequence[Unit], kernels: Sequence[int], width: int) -> tuple[int, str] | None:
    """Return the place of the first convolution that does not follow the one before it, and what belongs there."""
    for place, size in enumerate(kernels):
        grouped = len(kernels) == 3 and place == 1
        conv = convs[place] if place < len(convs) else None
        follows = conv is not None and (conv.inputs == width or (grouped and width % conv.inputs == 0))
        if conv is None or conv.kernel != (size, size) or not follows:
            return place, f"a {size}x{size} convolution of {width} inputs, number {place + 1} of a block"
        width = conv.outputs
    return None


def _expect_block(convs: Sequence[Unit], kernels: Sequence[int], width: int, place: int) -> None:
    """Raise `_MismatchError` unless convolutions are those of a block without a convolution beside them."""
    if (misfit := _misfit(convs, kernels, width)) is not None:
        raise _MismatchError(place + misfit[0], misfit[1])
    if len(kernels) == 2 and convs[1].outputs not in (convs[0].outputs, width):
        expected = f"a block with {convs[0].outputs} outputs, or a convolution of 1x1 beside it"
        raise _MismatchError(place + 1, expected)
