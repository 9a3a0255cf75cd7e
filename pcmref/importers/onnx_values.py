"""Values of an ONNX graph as layers of ours put them out, and what a node may ask of those that it reads.

ONNX has the batch first and channels before pixels.  A `Value` remembers how ONNX sees what a layer of ours puts out,
so that flattening, transposing and padding cost nothing where they change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from pcmref.arrays import Float32
from pcmref.errors import FileError, describe
from pcmref.importers.onnx_file import Array, Graph, Node
from pcmref.network.layers import Layer, Shape

__all__ = [
    "NO_PADS",
    "NO_STEPS",
    "ONE_STEP",
    "Array",
    "Attributes",
    "Sides",
    "Translation",
    "Translator",
    "Value",
    "axes_of",
    "channels_first",
    "constant_of",
    "each_channel",
    "floats_of",
    "integers_of",
    "map_of",
    "number_of",
    "optional_of",
    "pixels_of",
    "value_of",
    "vector_of",
]

Sides: TypeAlias = tuple[int, int, int, int]
NO_PADS: Sides = (0, 0, 0, 0)
NO_STEPS = (1, 1)
#: What is expected of a Slice, or several, of pixels.
ONE_STEP = "one step for height and width"


@dataclass(frozen=True, kw_only=True)
class Value:
    """An activation as ONNX sees it.

    Parameters
    ----------
    node : str
        The layer that puts it out, or "input".
    shape : tuple of int
        Without the batch.
    axes : str
        What each axis is: "c" for channels, "h" and "w"; of channels that are being shuffled "g" and "k".
    pads : (top, left, bottom, right)
        Zeros around it that no layer has added yet.
    steps : (vertical, horizontal)
        Of which pixels it consists, that no layer has taken yet: PyTorch writes a Slice for each axis.
    """

    node: str
    shape: tuple[int, ...]
    axes: str
    pads: Sides = NO_PADS
    steps: tuple[int, int] = NO_STEPS


class Translation:
    """Layers so far, in order, and what their outputs are to ONNX.

    Parameters
    ----------
    graph : Graph
    input_shape : (height, width, channels)
    """

    def __init__(self, graph: Graph, input_shape: Shape) -> None:
        self.graph = graph
        self.layers: dict[str, Layer] = {}
        self.shapes: dict[str, Shape] = {"input": input_shape}
        self.values: dict[str, Value] = {}
        self.constants: dict[str, Array] = dict(graph.constants)
        #: Names of all values that a node reads, or that are put out.
        self.read = {name for node in graph.nodes for name in node.inputs if name} | set(graph.outputs)
        #: What was dropped or assumed, in words.
        self.notes: list[str] = []

    def put(self, kind: type[Layer], name: str, *inputs: str, **numbers: Any) -> str:
        """Add a layer; return its name: that of the value in ONNX, as far as it can be."""
        plain = re.sub(r"[^ -~]|/", ".", name).strip(".") or kind.op
        chosen, number = plain, 2
        while chosen in self.shapes:
            chosen, number = f"{plain}_{number}", number + 1
        layer = kind(name=chosen, inputs=inputs, **numbers)
        self.shapes[chosen] = layer.shape_after(*(self.shapes[source] for source in inputs))
        self.layers[chosen] = layer
        return chosen

    def like(self, value: Value, kind: type[Layer], name: str, *inputs: str, **numbers: Any) -> Value:
        """Add a layer that keeps the shape of a value."""
        return replace(value, node=self.put(kind, name, *inputs, **numbers))


class Attributes:
    """Attributes of a node, each of which must be asked for."""

    def __init__(self, node: Node) -> None:
        self.node, self.left = node, dict(node.attributes)

    def get(self, name: str, default: Any) -> Any:
        """Return an attribute, or what it is by default."""
        return self.left.pop(name, default)

    def expect(self, name: str, default: Any, *allowed: Any) -> None:
        """Raise `FileError` unless an attribute has one of the values that mean the usual."""
        if (value := self.get(name, default)) not in allowed:
            raise FileError(f"{self.node.where}: {name}", " or ".join(map(str, allowed)), describe(value))

    def expect_all_used(self) -> None:
        """Raise `FileError` if an attribute was not asked for."""
        if self.left:
            raise FileError(self.node.where, "attributes that are known", describe(sorted(self.left)))


def value_of(done: Translation, node: Node, place: int = 0, *, padded: bool = False, stepped: bool = False) -> Value:
    """Return an activation that a node reads; with zeros around it, or steps, only if the node can take them."""
    name = node.inputs[place]
    if name not in done.values:
        raise FileError(node.where, f"an activation as input {place + 1}", f"the constant {name!r}")
    value = done.values[name]
    if value.pads != NO_PADS and not padded:
        raise FileError(node.where, "a Pad only before a convolution or an average of padding too", "one before it")
    if value.steps != NO_STEPS and not stepped:
        raise FileError(node.where, ONE_STEP, f"{describe(value.steps)} before it")
    return value


def map_of(done: Translation, node: Node, *, padded: bool = False, stepped: bool = False) -> Value:
    """Return the activation, if it is a map of ours with channels first."""
    value = value_of(done, node, padded=padded, stepped=stepped)
    if value.axes != "chw" or len(done.shapes[value.node]) != 3:
        raise FileError(node.where, "a map: batch, channels, height, width", f"axes {value.axes} of {value.shape}")
    return value


def vector_of(done: Translation, node: Node) -> Value:
    """Return the activation, if it is a vector."""
    value = value_of(done, node)
    if value.axes != "c":
        raise FileError(node.where, "a vector: batch, channels", f"axes {value.axes} of {value.shape}")
    return value


def channels_first(done: Translation, node: Node, place: int = 0) -> Value:
    """Return an activation whose channels are where batch normalisation and the like expect them."""
    value = value_of(done, node, place)
    if not value.axes.startswith("c"):
        raise FileError(node.where, "channels after the batch", f"axes {value.axes} of {value.shape}")
    return value


def constant_of(done: Translation, node: Node, place: int, what: str) -> Array:
    """Return a constant that a node reads."""
    name = node.inputs[place] if place < len(node.inputs) else ""
    if name not in done.constants:
        raise FileError(node.where, f"a constant as {what}", "an activation" if name else "none")
    return done.constants[name]


def optional_of(done: Translation, node: Node, place: int, what: str) -> Array | None:
    """Return a constant that a node may read, or None."""
    return constant_of(done, node, place, what) if place < len(node.inputs) and node.inputs[place] else None


def floats_of(node: Node, values: Array, what: str) -> Float32:
    """Return numbers of a constant as float32; of another type only what it holds exactly, and float64 rounded."""
    if values.dtype.kind == "b":
        raise FileError(node.where, f"numbers as {what}", str(values.dtype))
    return np.ascontiguousarray(values, np.float32)


def integers_of(node: Node, values: Array, what: str) -> list[int]:
    """Return the integers of a list."""
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise FileError(node.where, f"a list of integers as {what}", f"{values.dtype} of shape {values.shape}")
    return [int(n) for n in values]


def number_of(node: Node, values: Array, what: str) -> float:
    """Return the one number of a constant."""
    if values.size != 1:
        raise FileError(node.where, f"one number as {what}", f"shape {values.shape}")
    return float(values.reshape(()))


def each_channel(node: Node, value: Value, constant: Array, what: str) -> Float32:
    """Return a constant that is one number, or one for each channel, as one for each channel."""
    channels = value.shape[value.axes.index("c")]
    lengths = [channels if axis == "c" else 1 for axis in value.axes]
    numbers = floats_of(node, constant, what)
    shape = (1,) * (len(lengths) + 1 - numbers.ndim) + numbers.shape
    if len(shape) != len(lengths) + 1 or any(n not in (1, most) for n, most in zip(shape, [1, *lengths], strict=True)):
        raise FileError(node.where, f"one number, or one for each channel, as {what}", f"shape {constant.shape}")
    return np.ascontiguousarray(np.broadcast_to(numbers.reshape(-1), channels))


def pixels_of(done: Translation, name: str) -> Value:
    """Return a map of ours as ONNX sees it."""
    height, width, channels = done.shapes[name]
    return Value(node=name, shape=(channels, height, width), axes="chw")


def axes_of(done: Translation, node: Node, attributes: Attributes) -> list[int]:
    """Return the axes that a node names, in an attribute or an input."""
    axes = attributes.get("axes", None)
    found = constant_of(done, node, 1, "axes").ravel() if axes is None else axes
    return [int(axis) for axis in found]


#: Makes layers of a node: of what was translated so far, the node, and its attributes.  Of several outputs that are
#: activations each is a value, or None if nothing reads it.
Translator: TypeAlias = Callable[[Translation, Node, Attributes], Value | tuple[Value | None, ...]]
