"""Residual networks of basic blocks for small images: architectures by name, and a `Network` from their tensors.

The graph follows from the architecture; only numbers are taken from the tensors, under the names that PyTorch
modules give them. Every tensor must be used, and none may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy.typing as npt

from pcmref.errors import NetworkError, ParameterError, describe, instance
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.layers import Add, BatchNorm, Conv, GlobalAveragePool, Layer, Linear, PadShortcut, Relu

__all__ = ["Architecture", "architecture", "network_from_tensors"]

Tensors: TypeAlias = Mapping[str, npt.NDArray[Any]]
Shortcut: TypeAlias = Literal["conv", "pad"]

#: Family -> channels of its three stages, and its shortcuts where a stage begins.
FAMILIES: Mapping[str, tuple[tuple[int, ...], Shortcut]] = {
    "joshi-resnet": ((16, 28, 56), "conv"),
    "he-resnet": ((16, 32, 64), "pad"),
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A residual network of basic blocks, as for CIFAR.

    ``conv1`` (3x3), batch norm, relu; stages of blocks, each after the first at half the resolution;
    global average pooling; a fully connected layer with bias.  A block is
    ``relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))``, all its convolutions 3x3.

    Parameters
    ----------
    blocks : tuple of int
        Number of blocks of each stage.
    channels : tuple of int
        Number of channels of each stage; ``conv1`` has those of the first.
    shortcut : {"conv", "pad"}
        The shortcut of the first block of the second and later stages: a strided 1x1 convolution with
        batch norm, or every other pixel with zero channels added, half before and half after.  All others
        are the identity.

    Raises
    ------
    ParameterError
        If the stages do not fit each other, or a "pad" shortcut cannot join two of them.
    """

    blocks: tuple[int, ...]
    channels: tuple[int, ...]
    shortcut: Shortcut

    def __post_init__(self) -> None:
        for where, values in (("blocks", self.blocks), ("channels", self.channels)):
            if not values or not all(isinstance(value, int) and value >= 1 for value in values):
                raise ParameterError(where, "positive integers, one a stage", describe(values))
        if len(self.blocks) != len(self.channels):
            raise ParameterError("channels", f"{len(self.blocks)} stages, as blocks", str(len(self.channels)))
        if self.shortcut not in ("conv", "pad"):
            raise ParameterError("shortcut", "'conv' or 'pad'", describe(self.shortcut))
        growth = [after - before for before, after in pairwise(self.channels)]
        if self.shortcut == "pad" and any(step < 0 or step % 2 for step in growth):
            raise ParameterError(
                "channels", "stages that grow by even numbers, for 'pad' shortcuts", describe(self.channels)
            )


def architecture(name: str) -> Architecture:
    """Return the architecture called `name`.

    Parameters
    ----------
    name : str
        ``joshi-resnetD`` (Joshi et al. 2020: channels 16, 28, 56; convolution shortcuts) or
        ``he-resnetD`` (He et al. 2016: channels 16, 32, 64; padded shortcuts), where the depth
        D = 6 n + 2 counts the layers with weights except shortcuts: n blocks of two in each stage.

    Returns
    -------
    Architecture

    Raises
    ------
    ParameterError
        If there is no such family or depth.
    """
    instance("arch", name, str)
    match = re.fullmatch(r"(.*?)([1-9][0-9]{0,3})", name)
    family, depth = (match[1], int(match[2])) if match else (name, 0)
    blocks, rest = divmod(depth - 2, 6)
    if family not in FAMILIES or blocks < 1 or rest:
        families = " or ".join(f"{known}D" for known in FAMILIES)
        raise ParameterError("architecture", f"{families} with D = 6n + 2: 8, 14, 20, ...", describe(name))
    channels, shortcut = FAMILIES[family]
    return Architecture(blocks=(blocks,) * len(channels), channels=channels, shortcut=shortcut)


def network_from_tensors(
    tensors: Tensors,
    arch: Architecture,
    *,
    input_shape: tuple[int, int, int],
    normalisation: Normalisation,
    classes: tuple[str, ...],
    provenance: Mapping[str, str] = MappingProxyType({}),
    evaluation: Samples | None = None,
    calibration: Samples | None = None,
) -> Network:
    """Build a `Network` from the tensors of a PyTorch state dict.

    Parameters
    ----------
    tensors : mapping of str to float32 array
        ``conv1.weight``; ``bn1`` with ``.weight``, ``.bias``, ``.running_mean`` and ``.running_var``;
        ``layer1.0.conv1.weight`` and so on for every block; ``layer2.0.downsample.0`` and ``.1`` (or
        ``shortcut.0`` and ``.1``) for the convolution and batch norm of a shortcut; ``linear`` (or ``fc``)
        with ``.weight`` and ``.bias``.  A batch norm's ``num_batches_tracked`` is ignored.
    arch : Architecture
        All shapes follow from it, `input_shape` and `classes`; the tensors must fit.
    input_shape : (height, width, channels)
    normalisation : Normalisation
    classes : tuple of str
    provenance : mapping of str to str
    evaluation, calibration : Samples, optional

    Returns
    -------
    Network
        Nodes ``conv1``, ``bn1``, ``relu1``, ``stage1.block1.conv1``, ..., ``pool``, ``fc`` in the order of
        evaluation, the shortcut of a block after its second convolution.  Batch norms have PyTorch's
        default ``eps``, 1e-5: a state dict does not tell it.

    Raises
    ------
    NetworkError
        Naming the tensor that is missing, unknown, of a wrong shape or type, or not finite.
    """
    left = dict(tensors)
    layers = tuple(_layers(left, arch, inputs=input_shape[-1], outputs=len(classes)))
    if left:
        raise NetworkError(next(iter(left)), f"only tensors of {arch}", f"{len(left)} unknown tensor(s)")
    return Network(
        layers=layers,
        input_shape=input_shape,
        normalisation=normalisation,
        classes=classes,
        provenance=dict(provenance),
        evaluation=evaluation,
        calibration=calibration,
    )


# The functions below remove from `left` every tensor that they use.
Left: TypeAlias = dict[str, npt.NDArray[Any]]


def _layers(left: Left, arch: Architecture, *, inputs: int, outputs: int) -> Iterator[Layer]:
    """Yield the layers of the whole network."""
    width = arch.channels[0]
    stem = ("conv1", "bn1")
    yield from _conv_bn(left, stem, stem, reads="input", shape=(width, inputs, 3, 3))
    yield Relu(name="relu1", inputs=("bn1",))
    reads = "relu1"
    for stage, (blocks, channels) in enumerate(zip(arch.blocks, arch.channels, strict=True), start=1):
        for block in range(1, blocks + 1):
            name = f"stage{stage}.block{block}"
            yield from _block(
                left,
                f"layer{stage}.{block - 1}",
                name=name,
                reads=reads,
                widths=(width, channels),
                shortcut=arch.shortcut if stage > 1 and block == 1 else None,
            )
            reads, width = f"{name}.relu2", channels
    yield GlobalAveragePool(name="pool", inputs=(reads,))
    source = _spelling(left, "linear", "fc")
    yield Linear(
        name="fc",
        inputs=("pool",),
        weight=_take(left, f"{source}.weight", (outputs, width)),
        bias=_take(left, f"{source}.bias", (outputs,)),
    )


def _block(
    left: Left, source: str, *, name: str, reads: str, widths: tuple[int, int], shortcut: Shortcut | None
) -> Iterator[Layer]:
    """Yield the layers of one block; it halves the resolution if it has a `shortcut`."""
    before, after = widths
    stride = 1 if shortcut is None else 2
    yield from _conv_bn(
        left,
        (f"{source}.conv1", f"{source}.bn1"),
        (f"{name}.conv1", f"{name}.bn1"),
        reads=reads,
        shape=(after, before, 3, 3),
        stride=stride,
    )
    yield Relu(name=f"{name}.relu1", inputs=(f"{name}.bn1",))
    yield from _conv_bn(
        left,
        (f"{source}.conv2", f"{source}.bn2"),
        (f"{name}.conv2", f"{name}.bn2"),
        reads=f"{name}.relu1",
        shape=(after, after, 3, 3),
    )
    other = reads
    if shortcut == "conv":
        module = _spelling(left, f"{source}.downsample", f"{source}.shortcut")
        other = f"{name}.shortcut_bn"
        yield from _conv_bn(
            left,
            (f"{module}.0", f"{module}.1"),
            (f"{name}.shortcut", other),
            reads=reads,
            shape=(after, before, 1, 1),
            stride=stride,
        )
    elif shortcut == "pad":
        half = (after - before) // 2
        other = f"{name}.shortcut"
        yield PadShortcut(name=other, inputs=(reads,), stride=stride, before=half, after=half)
    yield Add(name=f"{name}.add", inputs=(f"{name}.bn2", other))
    yield Relu(name=f"{name}.relu2", inputs=(f"{name}.add",))


def _conv_bn(
    left: Left,
    sources: tuple[str, str],
    names: tuple[str, str],
    *,
    reads: str,
    shape: tuple[int, ...],
    stride: int = 1,
) -> Iterator[Layer]:
    """Yield a convolution whose output has its input's size (over `stride`), and its batch norm."""
    weight = _take(left, f"{sources[0]}.weight", shape)
    yield Conv(name=names[0], inputs=(reads,), weight=weight, stride=stride, padding=shape[-1] // 2)
    gamma, beta, mean, var = (
        _take(left, f"{sources[1]}.{part}", shape[:1]) for part in ("weight", "bias", "running_mean", "running_var")
    )
    yield BatchNorm(name=names[1], inputs=names[:1], gamma=gamma, beta=beta, mean=mean, var=var)
    left.pop(f"{sources[1]}.num_batches_tracked", None)


def _spelling(left: Left, *prefixes: str) -> str:
    """Return the first of the prefixes that any tensor has, or else the first of all."""
    used = (prefix for prefix in prefixes if any(name.startswith(f"{prefix}.") for name in left))
    return next(used, prefixes[0])


def _take(left: Left, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if name not in left:
        raise NetworkError(name, f"a tensor of shape {shape}", "none")
    tensor = left.pop(name)
    if tensor.shape != shape:
        raise NetworkError(name, f"shape {shape}", f"shape {tensor.shape}")
    return tensor
