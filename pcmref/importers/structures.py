"""Which network a state dict is of: architectures by name, or what the shapes of its tensors say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from pcmref.errors import NetworkError, ParameterError, describe, instance
from pcmref.importers.mobilenet import mobilenet_layers
from pcmref.importers.modules import EPS, Modules, Tensors, modules_of
from pcmref.importers.preactivation import has_norms_first, preactivation_layers, preactivation_of
from pcmref.importers.residual import Residual, residual_of
from pcmref.importers.residual_layers import Shortcut, residual_layers
from pcmref.importers.resnet import FAMILIES, Architecture, architecture, has_names, residual_by_name
from pcmref.importers.vgg import VGG, vgg_layers
from pcmref.network.layers import Layer

__all__ = ["ARCHITECTURES", "Structure", "structure_of"]

#: Residual networks of torchvision: their blocks.
RESNETS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "resnet18": ("basic blocks", (2, 2, 2, 2)),
    "resnet34": ("basic blocks", (3, 4, 6, 3)),
    "resnet50": ("bottlenecks", (3, 4, 6, 3)),
    "resnet101": ("bottlenecks", (3, 4, 23, 3)),
}
MOBILENET = "mobilenet_v2"
#: Names of architectures; D is a depth.
ARCHITECTURES = (*(f"{family}D" for family in FAMILIES), *RESNETS, *VGG, MOBILENET)
#: Height and width of images, unless one says other ones.
SMALL, IMAGENET = (32, 32), (224, 224)


@dataclass(frozen=True, kw_only=True, eq=False)
class Structure:
    """A network but for what tensors do not tell.

    Parameters
    ----------
    description : str
    size : (height, width)
        Of the images that such networks are made for.
    channels, classes : int
        Of the input and of the output.
    pads : bool
        Whether channels of zeros lie where no tensor tells.
    layers : callable
        Of where they lie; returns the layers.
    """

    description: str
    size: tuple[int, int]
    channels: int
    classes: int
    pads: bool
    layers: Callable[[Shortcut], tuple[Layer, ...]]


def structure_of(tensors: Tensors, arch: str | None = None, eps: Mapping[str, float] = EPS) -> Structure:
    """Return which network a state dict is of.

    Parameters
    ----------
    tensors : mapping of str to float32 array
        In the order of the modules, whatever they are called.
    arch : str, optional
        One of `ARCHITECTURES`; by default a residual network as the shapes say, see `residual_of`.
    eps : mapping of pattern to float
        Of batch norms, see `modules_of`.

    Raises
    ------
    ParameterError
        If there is no such architecture.
    NetworkError
        Naming the place up to which the tensors fit, and what belongs there.
    """
    expect_architecture(arch)
    if arch is not None and arch.startswith(tuple(FAMILIES)) and has_names(tensors):
        return _residual_structure(residual_by_name(tensors, architecture(arch), eps=eps))
    modules = modules_of(tensors, eps)
    if arch is not None and arch in VGG:
        return _structure(modules, arch, vgg_layers(modules, VGG[arch]))
    if arch == MOBILENET:
        return _structure(modules, arch, mobilenet_layers(modules))
    if has_norms_first(modules):
        return _preactivation_structure(modules, arch)
    residual = residual_of(modules)
    if arch is not None:
        _expect_blocks(residual, arch)
    return _residual_structure(residual)


def _residual_structure(residual: Residual) -> Structure:
    return Structure(
        description=str(residual),
        size=IMAGENET if residual.for_imagenet else SMALL,
        channels=residual.stem.inputs,
        classes=residual.head.outputs,
        pads=residual.pads,
        layers=lambda shortcut: tuple(residual_layers(residual, shortcut)),
    )


def _preactivation_structure(modules: Modules, arch: str | None) -> Structure:
    residual, last = preactivation_of(modules)
    description = f"{residual}, batch norms before convolutions"
    if arch is not None:
        raise NetworkError("tensors", f"those of {arch}", description)
    layers = tuple(preactivation_layers(residual, last))
    return replace(_residual_structure(residual), description=description, layers=lambda _: layers)


def expect_architecture(arch: str | None) -> None:
    """Raise `ParameterError` unless there is an architecture of this name."""
    if arch is None:
        return
    instance("arch", arch, str)
    if arch in RESNETS or arch in VGG or arch == MOBILENET:
        return
    if not arch.startswith(tuple(FAMILIES)):
        raise ParameterError("architecture", f"one of {', '.join(ARCHITECTURES)}", describe(arch))
    architecture(arch)


def _structure(modules: Modules, arch: str, layers: Iterable[Layer]) -> Structure:
    """Return the structure of a network of one architecture for ImageNet."""
    made, convs = tuple(layers), modules.units()
    return Structure(
        description=f"{arch}: {len(convs)} convolutions, {modules.head[-1].outputs} classes",
        size=IMAGENET,
        channels=convs[0].inputs,
        classes=modules.head[-1].outputs,
        pads=False,
        layers=lambda _: made,
    )


def _expect_blocks(residual: Residual, arch: str) -> None:
    """Raise `NetworkError` unless a residual network has the blocks of an architecture, for ImageNet of any width."""
    if arch in RESNETS:
        kind, counts = RESNETS[arch]
        expected = f"a first convolution of 7x7 and {_sum(counts)} {kind}, as {arch} has"
        fits = residual.for_imagenet and (residual.kind, residual.counts) == (kind, counts)
    else:
        known = architecture(arch)
        expected = (
            f"{_sum(known.blocks)} blocks, channels {known.channels} and {known.shortcut!r} shortcuts, as {arch} has"
        )
        fits = _is(residual, known)
    if not fits:
        stem = "a first convolution of 7x7 and " if residual.for_imagenet else ""
        raise NetworkError("tensors", expected, f"those of {stem}{residual}")


def _is(residual: Residual, known: Architecture) -> bool:
    channels = tuple(stage[-1].outputs for stage in residual.stages)
    same = (residual.counts, channels, residual.kind) == (known.blocks, known.channels, "basic blocks")
    return same and residual.pads == (known.shortcut == "pad") and not residual.for_imagenet


def _sum(counts: tuple[int, ...]) -> str:
    return " + ".join(map(str, counts))
