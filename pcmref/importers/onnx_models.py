"""ONNX models to `Network`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType

from pcmref.errors import FileError, NetworkError, describe, path_of
from pcmref.files.atomic import sha256_of
from pcmref.importers.checkpoints import Assumptions
from pcmref.importers.onnx_file import Graph, read_graph
from pcmref.importers.onnx_nodes import cut, input_axes, translate
from pcmref.importers.onnx_values import Translation, Value
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.layers import BatchNorm, Layer
from pcmref.network.operations import (
    Affine,
    AveragePool,
    ChannelShuffle,
    Concat,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    PadShortcut,
    TakeChannels,
)
from pcmref.network.recipes import IMAGENET, RECIPES, Order, for_channels, on_rgb

__all__ = ["OnnxModel", "assumed", "convert_onnx", "open_onnx"]

#: What a model without batch normalisations misses: programs for inference, and exporters, fold them away.
NO_NORMS = (
    "the model has no batch normalisations, so that AdaBS has nothing to correct (PyTorch exports them with "
    "dynamo=False, do_constant_folding=False, training=TrainingMode.PRESERVE, of a model in eval mode)"
)
#: Operations that put out pixels as they are, or means of them.
KEEPING = (Flatten, TakeChannels, Concat, ChannelShuffle, PadShortcut, MaxPool, AveragePool, GlobalAveragePool)


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxModel:
    """A model that was read, and the layers of its network.

    Parameters
    ----------
    path : Path
    layers : tuple of Layer
    shape : (height, width, channels)
        Of an image.
    classes : int
    notes : tuple of str
        What was left out, and what the model does not have, in words.
    scale : Normalisation or None
        Of the pixels, as far as the model tells; None if it changes them itself and does not.
    told : bool
        Whether the model tells it.
    origin : str
        Format and program.
    """

    path: Path
    layers: tuple[Layer, ...]
    shape: tuple[int, int, int]
    classes: int
    notes: tuple[str, ...]
    scale: Normalisation | None
    told: bool
    origin: str

    @property
    def channels(self) -> int:
        """Of its images."""
        return self.shape[2]

    @property
    def pads(self) -> bool:
        """Whether a file leaves open where channels of zeros lie: not this one."""
        return False

    def network(
        self,
        assumptions: Assumptions,
        *,
        classes: Sequence[str] | None = None,
        provenance: Mapping[str, str] = MappingProxyType({}),
        evaluation: Samples | None = None,
        calibration: Samples | None = None,
    ) -> Network:
        """Return the network under some assumptions.

        Raises
        ------
        FileError
            If they do not fit the model, or the images do not.
        """
        record = {"source": self.path.name, "source_sha256": sha256_of(self.path), "source_format": self.origin}
        try:
            return Network(
                layers=on_rgb(self.layers, assumptions.order),
                input_shape=self.shape,
                normalisation=for_channels(assumptions.normalisation, self.channels),
                classes=tuple(map(str, range(self.classes))) if classes is None else tuple(classes),
                provenance={**provenance, **record},
                evaluation=evaluation,
                calibration=calibration,
            )
        except NetworkError as error:
            raise FileError(f"{self.path}: {error.where}", error.expected, error.found) from None


def open_onnx(path: str | Path, *, size: tuple[int, int] | None = None, output: str | None = None) -> OnnxModel:
    """Read an ONNX model of a convolutional network.

    Every node becomes the layers that compute the same, or is refused by its name: nothing is approximated.  Weights
    and biases of convolutions and linear layers go onto crossbars, batch normalisations stay what they are, constants
    are computed, a softmax or an argmax at the end is left out.  Of a quantised model, weights that are dequantised are
    float again; quantised activations are refused.

    Parameters
    ----------
    path : str or Path
    size : (height, width), optional
        Of an image, where the model leaves it open.
    output : str, optional
        Value of the graph that is the output, one number for each class: what comes after it is left out.

    Returns
    -------
    OnnxModel

    Raises
    ------
    FileError
        If the file is damaged, or has something that a `Network` cannot have: with the node and the reason.
    MissingExtraError
        If the package `onnx` is not installed.
    """
    path = path_of("path", path)
    graph = read_graph(path)
    try:
        graph = cut(graph, _output(graph) if output is None else output)
        shape = _image_shape(graph, size)
        done = translate(graph, shape)
        count = _classes(done, done.values[graph.outputs[0]])
    except (FileError, NetworkError) as error:
        raise FileError(f"{path}: {error.where}", error.expected, error.found) from None
    if output is not None:
        done.notes.append(f"the network ends at {output!r}, as asked for")
    layers = tuple(done.layers.values())
    if not any(isinstance(layer, BatchNorm) for layer in layers):
        done.notes.append(NO_NORMS)
    images = {"input"}  # and what holds nothing but pixels, or means of some
    for layer in layers:
        if isinstance(layer, KEEPING) and images.issuperset(layer.inputs):
            images.add(layer.name)
    changed = any(isinstance(layer, Affine) and layer.inputs[0] in images for layer in layers)
    usual = IMAGENET if shape[2] == len(IMAGENET.mean) else RECIPES["unit"].normalisation
    return OnnxModel(
        path=path,
        layers=layers,
        shape=shape,
        classes=count,
        notes=tuple(done.notes),
        scale=RECIPES["raw"].normalisation if graph.takes_integers else None if changed else usual,
        told=graph.takes_integers,
        origin=f"ONNX, opset {graph.opset}, of {graph.producer or 'an unknown program'}",
    )


def convert_onnx(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    output: str | None = None,
    normalisation: Normalisation | None = None,
    order: Order = "rgb",
    classes: Sequence[str] | None = None,
    provenance: Mapping[str, str] = MappingProxyType({}),
    evaluation: Samples | None = None,
    calibration: Samples | None = None,
) -> tuple[Network, tuple[str, ...]]:
    """Turn an ONNX model of a convolutional network into a `Network`; see `open_onnx`.

    Parameters
    ----------
    path : str or Path
    size : (height, width), optional
        Of an image, where the model leaves it open.
    output : str, optional
        Value of the graph that is the output; the model's own by default.
    normalisation : Normalisation, optional
        By default none (pixels from 0 to 255) of a model that takes integers.  Others do not tell: ImageNet's for three
        channels, otherwise none (pixels from 0 to 1); it must be given for a model that changes the pixels itself.
    order : {"rgb", "bgr"}
        Of the colours that it was trained with; files of pcmref hold RGB images.
    classes : sequence of str, optional
        By default their numbers.
    provenance : mapping of str to str
        Anything to record besides the file's name, its SHA-256, and what made it.
    evaluation, calibration : Samples, optional
        Images to store with the network.

    Returns
    -------
    network : Network
    notes : tuple of str
        What was assumed or left out, in words.

    Raises
    ------
    FileError
        As `open_onnx`, or if the model changes the pixels itself and no normalisation is given.
    """
    model = open_onnx(path, size=size, output=output)
    assumptions = assumed(model, normalisation, order)
    network = model.network(
        assumptions, classes=classes, provenance=provenance, evaluation=evaluation, calibration=calibration
    )
    if normalisation is not None or model.told:
        return network, model.notes
    return network, (*model.notes, _said(network.normalisation))


def assumed(model: OnnxModel, normalisation: Normalisation | None = None, order: Order = "rgb") -> Assumptions:
    """Return what is assumed of a model: what is given, or else what it tells, or what is usual.

    Raises
    ------
    FileError
        If it changes the pixels itself, so that only its author knows which it takes.
    """
    scale = model.scale if normalisation is None else normalisation
    if scale is None:
        expected = "to be told which pixels it takes (--recipe raw: 0 to 255, unit: 0 to 1, or --mean and --std)"
        raise FileError(f"{model.path}: input", expected, "a model that scales or shifts its input itself")
    return Assumptions(normalisation=scale, order=order)


def _output(graph: Graph) -> str:
    if len(graph.outputs) != 1:
        raise FileError("outputs", "one, the classes (or --output NAME)", describe(list(graph.outputs)))
    return graph.outputs[0]


def _image_shape(graph: Graph, size: tuple[int, int] | None) -> tuple[int, int, int]:
    """Return (height, width, channels) of an image."""
    axes = input_axes(graph)
    lengths = dict(zip(axes, graph.input_shape[1:], strict=True))
    if axes == "c":
        lengths |= {"h": 1, "w": 1}
    if size is not None:
        for axis, pixels in zip("hw", size, strict=True):
            if lengths[axis] not in (None, pixels):
                raise FileError(f"input {graph.input!r}", f"{pixels} pixels, as asked for", str(lengths[axis]))
            lengths[axis] = pixels
    missing = [axis for axis in "hwc" if lengths[axis] is None]
    if missing:
        expected = "lengths of its axes, or a size (--size HxW)"
        raise FileError(f"input {graph.input!r}", expected, f"{graph.input_shape}")
    height, width, channels = (int(lengths[axis] or 0) for axis in "hwc")
    return height, width, channels


def _classes(done: Translation, value: Value) -> int:
    """Return the number of classes; an output of one pixel is made a vector."""
    if max(value.shape) != prod(value.shape):
        raise FileError("output", "one number for each class", f"shape {value.shape}")
    if len(done.shapes[value.node]) == 3:
        done.put(Flatten, "classes", value.node)
    elif next(reversed(done.layers), None) != value.node:
        raise FileError("output", "a layer at the end", describe(value.node))
    return prod(value.shape)


def _said(scale: Normalisation) -> str:
    mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in (scale.mean, scale.std))
    return f"the model does not say how pixels are normalised; assumed: (pixel / 255 - {mean}) / {std}"
