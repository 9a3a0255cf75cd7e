"""Residual networks of basic blocks for small images: architectures by name, and a `Network` from their tensors.

The structure follows from the architecture; only numbers are taken from the tensors, under the names that PyTorch
modules give them. Every tensor must be used, and none may be missing.  Other names: `residual.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, TypeAlias

from pcmref.arrays import Float32
from pcmref.errors import NetworkError, ParameterError, describe, instance
from pcmref.importers.modules import EPS, STATISTICS, UNUSED, Norm, Tensors, Unit, eps_of, expect_patterns
from pcmref.importers.residual import Block, Residual
from pcmref.importers.residual_layers import residual_layers
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples

__all__ = ["FAMILIES", "Architecture", "architecture", "has_names", "network_from_tensors", "residual_by_name"]

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
        ``conv1.weight`` (and ``.bias``, if there is one); ``bn1`` with ``.weight``, ``.bias``, ``.running_mean``
        and ``.running_var``; ``layer1.0.conv1.weight`` and so on for every block; ``layer2.0.downsample.0`` and
        ``.1`` (or ``shortcut.0`` and ``.1``) for the convolution and batch norm of a shortcut; ``linear`` (or
        ``fc``) with ``.weight`` and ``.bias``.  A batch norm's ``num_batches_tracked`` is ignored.
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
    residual = residual_by_name(tensors, arch, inputs=input_shape[-1], outputs=len(classes))
    return Network(
        layers=tuple(residual_layers(residual)),
        input_shape=input_shape,
        normalisation=normalisation,
        classes=classes,
        provenance=dict(provenance),
        evaluation=evaluation,
        calibration=calibration,
    )


def has_names(tensors: Tensors) -> bool:
    """Return whether tensors have the names that `network_from_tensors` reads."""
    return {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight"} <= tensors.keys()


def residual_by_name(
    tensors: Tensors,
    arch: Architecture,
    *,
    inputs: int | None = None,
    outputs: int | None = None,
    eps: Mapping[str, float] = EPS,
) -> Residual:
    """Return the residual network whose tensors have the names that `network_from_tensors` reads, in any order.

    Parameters
    ----------
    tensors, arch
    inputs, outputs : int, optional
        Number of channels and of classes, by default as the tensors say.
    eps : mapping of pattern to float
        Of batch norms, see `modules_of`.

    Raises
    ------
    NetworkError
        Naming the tensor that is missing, unknown or of a wrong shape.
    """
    left = dict(tensors)
    if inputs is None:
        inputs = _size(tensors["conv1.weight"], axis=1)
    expect_patterns(eps, [name.rpartition(".")[0] for name in tensors if name.endswith(STATISTICS[-1])])
    residual = _residual(left, arch, inputs, outputs, eps)
    if left:
        raise NetworkError(next(iter(left)), f"only tensors of {arch}", f"{len(left)} unknown tensor(s)")
    return residual


# The functions below remove from `left` every tensor that they use.
Left: TypeAlias = dict[str, Float32]


def _residual(left: Left, arch: Architecture, inputs: int, outputs: int | None, eps: Mapping[str, float]) -> Residual:
    """Return the whole network."""
    width = arch.channels[0]
    stem = _unit(left, "conv1", "bn1", (width, inputs, 3, 3), eps)
    blocks = []
    for stage, (count, channels) in enumerate(zip(arch.blocks, arch.channels, strict=True), start=1):
        for number in range(count):
            shortcut = arch.shortcut if stage > 1 and number == 0 else None
            blocks.append(_block(left, f"layer{stage}.{number}", (width, channels), shortcut, eps))
            width = channels
    source = _spelling(left, "linear", "fc")
    if outputs is None and f"{source}.weight" in left:
        outputs = _size(left[f"{source}.weight"], axis=0)
    weight = _take(left, f"{source}.weight", (outputs or 1, width))
    head = Unit(source=source, weight=weight, bias=_take(left, f"{source}.bias", weight.shape[:1]))
    return Residual(stem=stem, blocks=tuple(blocks), head=head)


def _block(
    left: Left, source: str, widths: tuple[int, int], shortcut: Shortcut | None, eps: Mapping[str, float]
) -> Block:
    """Return one block; it halves the resolution if it has a `shortcut`."""
    before, after = widths
    convs = (
        _unit(left, f"{source}.conv1", f"{source}.bn1", (after, before, 3, 3), eps),
        _unit(left, f"{source}.conv2", f"{source}.bn2", (after, after, 3, 3), eps),
    )
    projection = None
    if shortcut == "conv":
        module = _spelling(left, f"{source}.downsample", f"{source}.shortcut")
        projection = _unit(left, f"{module}.0", f"{module}.1", (after, before, 1, 1), eps)
    return Block(convs=convs, inputs=before, stride=1 if shortcut is None else 2, shortcut=projection)


def _unit(left: Left, conv: str, norm: str, shape: tuple[int, ...], eps: Mapping[str, float]) -> Unit:
    """Return a convolution with its batch norm."""
    weight = _take(left, f"{conv}.weight", shape)
    bias = _take(left, f"{conv}.bias", shape[:1]) if f"{conv}.bias" in left else None
    gamma, beta, mean, var = (_take(left, f"{norm}.{part}", shape[:1]) for part in STATISTICS)
    left.pop(f"{norm}.{UNUSED}", None)
    statistics = Norm(source=norm, gamma=gamma, beta=beta, mean=mean, var=var, eps=eps_of(norm, eps))
    return Unit(source=conv, weight=weight, bias=bias, norm=statistics)


def _spelling(left: Left, *prefixes: str) -> str:
    """Return the first of the prefixes that any tensor has, or else the first of all."""
    used = (prefix for prefix in prefixes if any(name.startswith(f"{prefix}.") for name in left))
    return next(used, prefixes[0])


def _size(tensor: Float32, axis: int) -> int:
    """Return the size of one axis: 1 if there is none, for a message."""
    return int(tensor.shape[axis]) if tensor.ndim > axis else 1


def _take(left: Left, name: str, shape: tuple[int, ...]) -> Float32:
    if name not in left:
        raise NetworkError(name, f"a tensor of shape {shape}", "none")
    tensor = left.pop(name)
    if tensor.shape != shape:
        raise NetworkError(name, f"shape {shape}", f"shape {tensor.shape}")
    return tensor
