"""ONNX models to `Network`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from types import MappingProxyType

from pcmref.errors import FileError, NetworkError, describe, path_of
from pcmref.files.atomic import sha256_of
from pcmref.importers.onnx_file import Graph, read_graph
from pcmref.importers.onnx_nodes import input_axes, translate
from pcmref.importers.onnx_values import Translation, Value
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.operations import Flatten
from pcmref.network.recipes import IMAGENET, Order, on_rgb

__all__ = ["convert_onnx"]


def convert_onnx(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    normalisation: Normalisation | None = None,
    order: Order = "rgb",
    classes: Sequence[str] | None = None,
    provenance: Mapping[str, str] = MappingProxyType({}),
    evaluation: Samples | None = None,
    calibration: Samples | None = None,
) -> tuple[Network, tuple[str, ...]]:
    """Turn an ONNX model of a convolutional network into a `Network`.

    Every node becomes the layers that compute the same, or is refused by its name: nothing is approximated.  Weights
    and biases of convolutions and linear layers go onto crossbars, batch normalisations stay what they are, constants
    are computed, a softmax at the end is left out.  Of a quantised model, weights that are dequantised are float again;
    quantised activations are refused.

    Parameters
    ----------
    path : str or Path
    size : (height, width), optional
        Of an image, where the model leaves it open.
    normalisation : Normalisation, optional
        The model does not tell: by default ImageNet's for three channels, none (pixel / 255) otherwise.
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
        If the file is damaged, or has something that a `Network` cannot have: with the node and the reason.
    MissingExtraError
        If the package `onnx` is not installed.
    """
    path = path_of("path", path)
    graph = read_graph(path)
    shape = _image_shape(path, graph, size)
    try:
        done = translate(graph, shape, _output(graph))
        value = done.values[_output(graph)]
        count = _classes(done, value)
        network = Network(
            layers=on_rgb(done.layers.values(), order),
            input_shape=shape,
            normalisation=_normalisation(shape[2]) if normalisation is None else normalisation,
            classes=tuple(map(str, range(count))) if classes is None else tuple(classes),
            provenance={
                **provenance,
                "source": path.name,
                "source_sha256": sha256_of(path),
                "source_format": f"ONNX, opset {graph.opset}, of {graph.producer or 'an unknown program'}",
            },
            evaluation=evaluation,
            calibration=calibration,
        )
    except (FileError, NetworkError) as error:
        raise FileError(f"{path}: {error.where}", error.expected, error.found) from None
    return network, (*done.notes, *([] if normalisation else [_assumed(network.normalisation)]))


def _output(graph: Graph) -> str:
    if len(graph.outputs) != 1:
        raise FileError("outputs", "one, the classes", describe(list(graph.outputs)))
    return graph.outputs[0]


def _image_shape(path: Path, graph: Graph, size: tuple[int, int] | None) -> tuple[int, int, int]:
    """Return (height, width, channels) of an image."""
    axes = input_axes(graph)
    lengths = dict(zip(axes, graph.input_shape[1:], strict=True))
    if axes == "c":
        lengths |= {"h": 1, "w": 1}
    if size is not None:
        for axis, pixels in zip("hw", size, strict=True):
            if lengths[axis] not in (None, pixels):
                raise FileError(f"{path}: input {graph.input!r}", f"{pixels} pixels, as asked for", str(lengths[axis]))
            lengths[axis] = pixels
    missing = [axis for axis in "hwc" if lengths[axis] is None]
    if missing:
        expected = "lengths of its axes, or a size (--size HxW)"
        raise FileError(f"{path}: input {graph.input!r}", expected, f"{graph.input_shape}")
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


def _normalisation(channels: int) -> Normalisation:
    if channels == len(IMAGENET.mean):
        return IMAGENET
    return Normalisation(full_scale=255.0, mean=(0.0,) * channels, std=(1.0,) * channels)


def _assumed(scale: Normalisation) -> str:
    mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in (scale.mean, scale.std))
    return f"the model does not say how pixels are normalised; assumed: (pixel / 255 - {mean}) / {std}"
