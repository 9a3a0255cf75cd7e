"""From the nodes of an ONNX graph to layers: one function for each operator, none of which approximates.

ONNX has the batch first and channels before pixels.  A `Value` remembers how ONNX sees what a layer of ours puts out,
so that flattening, transposing and padding cost nothing where they change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pcmref.arrays import Float32
from pcmref.errors import FileError, PcmrefError, describe
from pcmref.files.onnx_file import Graph, Node, fold
from pcmref.network.layers import BatchNorm, Conv, CrossbarLayer, Layer, Linear, Shape
from pcmref.network.operations import (
    Add,
    Affine,
    AveragePool,
    ChannelShuffle,
    Clip,
    Concat,
    Flatten,
    GlobalAveragePool,
    HardSigmoid,
    LeakyRelu,
    LocalResponseNorm,
    MaxPool,
    Multiply,
    PadShortcut,
    Relu,
    Sigmoid,
    Tanh,
)

__all__ = ["OPERATORS", "Translation", "Value", "translate"]

Array = npt.NDArray[Any]
Sides: TypeAlias = tuple[int, int, int, int]
NO_PADS = (0, 0, 0, 0)


@dataclass(frozen=True)
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
    """

    node: str
    shape: tuple[int, ...]
    axes: str
    pads: Sides = NO_PADS


@dataclass
class Translation:
    """Layers so far, and what their outputs are to ONNX."""

    graph: Graph
    layers: dict[str, Layer] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    #: What was dropped or assumed, in words.
    notes: list[str] = field(default_factory=list)

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


def translate(graph: Graph, input_shape: tuple[int, int, int], output: str) -> Translation:
    """Turn a graph into layers; `input_shape` is (height, width, channels) of an image.

    Raises
    ------
    FileError
        Naming the node that has no counterpart, and the reason.
    """
    axes = input_axes(graph)
    lengths = dict(zip("hwc", input_shape, strict=True))
    done = Translation(graph, shapes={"input": input_shape}, constants=dict(graph.constants))
    source = done.put(Flatten, "features", "input") if axes == "c" else "input"
    done.values[graph.input] = Value(source, tuple(lengths[axis] for axis in axes), axes)
    for node in _needed(graph, output):
        if (found := _folded(done, node)) is not None:
            done.constants[node.outputs[0]] = found
        else:
            done.values[node.outputs[0]] = _translated(done, node)
    if output not in done.values:
        raise FileError(f"output {output!r}", "something that depends on the images", "a constant")
    if done.values[output].pads != NO_PADS:
        raise FileError(f"output {output!r}", "a Pad only before a convolution", "one at the end")
    return done


def _folded(done: Translation, node: Node) -> Array | None:
    """Return what a node computes, if it is the same for all images."""
    if node.op == "Shape" and (value := done.values.get(node.inputs[0])) is not None and not node.attributes:
        return np.array([1, *value.shape], np.int64)
    known = all(name in done.constants for name in node.inputs if name)
    return fold(node, done.constants) if known else None


def _needed(graph: Graph, output: str) -> Iterator[Node]:
    """Yield the nodes on which an output depends, in their order, in which each reads only earlier ones."""
    wanted, found = {output}, []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            wanted |= set(node.inputs)
            found.append(node)
    known = {graph.input, "", *graph.constants}
    for node in reversed(found):
        missing = [name for name in node.inputs if name not in known]
        if missing:
            raise FileError(node.where, "values of nodes that come before it (no cycle)", describe(missing[0]))
        known |= set(node.outputs)
        yield node
    if output not in known:
        raise FileError("outputs", "a value of the graph", describe(output))


def input_axes(graph: Graph) -> str:
    """Return "chw", or "hwc" if the channels are brought forward at once; or "c" if the input has no pixels."""
    lengths = graph.input_shape
    if len(lengths) == 2:
        return "c"
    if len(lengths) != 4:
        raise FileError(f"input {graph.input!r}", "images: batch, channels, height, width", f"{len(lengths)} axes")
    forward = [0, 3, 1, 2]
    readers = [node for node in graph.nodes if graph.input in node.inputs]
    brought = all(node.op == "Transpose" and node.attributes.get("perm") == forward for node in readers)
    return "hwc" if readers and brought else "chw"


def _translated(done: Translation, node: Node) -> Value:
    translator = OPERATORS.get(node.op)
    if translator is None:
        raise FileError(node.where, "an operator that pcmref has", node.op)
    attributes = _Attributes(node)
    try:
        value = translator(done, node, attributes)
    except PcmrefError:
        raise
    except Exception as error:  # a foreign file can say anything
        expected = "attributes and inputs of this operator"
        raise FileError(node.where, expected, f"others ({type(error).__name__})") from error
    attributes.expect_all_used()
    return value


class _Attributes:
    """Attributes of a node, each of which must be asked for."""

    def __init__(self, node: Node) -> None:
        self.node, self.left = node, dict(node.attributes)

    def get(self, name: str, default: Any) -> Any:
        return self.left.pop(name, default)

    def expect(self, name: str, default: Any, *allowed: Any) -> None:
        """Raise `FileError` unless an attribute has one of the values that mean the usual."""
        if (value := self.get(name, default)) not in allowed:
            raise FileError(f"{self.node.where}: {name}", " or ".join(map(str, allowed)), describe(value))

    def expect_all_used(self) -> None:
        if self.left:
            raise FileError(self.node.where, "attributes that are known", describe(sorted(self.left)))


Translator: TypeAlias = Callable[[Translation, Node, _Attributes], Value]


# What a node reads


def _value(done: Translation, node: Node, place: int = 0, *, padded: bool = False) -> Value:
    """Return an activation that a node reads; with zeros around it only if the node can take them."""
    name = node.inputs[place]
    if name not in done.values:
        raise FileError(node.where, f"an activation as input {place + 1}", f"the constant {name!r}")
    value = done.values[name]
    if value.pads != NO_PADS and not padded:
        raise FileError(node.where, "a Pad only before a convolution or an average of padding too", "one before it")
    return value


def _map(done: Translation, node: Node, *, padded: bool = False) -> Value:
    """Return the activation, if it is a map of ours with channels first."""
    value = _value(done, node, padded=padded)
    if value.axes != "chw" or len(done.shapes[value.node]) != 3:
        raise FileError(node.where, "a map: batch, channels, height, width", f"axes {value.axes} of {value.shape}")
    return value


def _constant(done: Translation, node: Node, place: int, what: str) -> Array:
    name = node.inputs[place] if place < len(node.inputs) else ""
    if name not in done.constants:
        raise FileError(node.where, f"a constant as {what}", "an activation" if name else "none")
    return done.constants[name]


def _optional(done: Translation, node: Node, place: int, what: str) -> Array | None:
    return _constant(done, node, place, what) if place < len(node.inputs) and node.inputs[place] else None


def _floats(node: Node, values: Array, what: str) -> Float32:
    """Return numbers of a constant as float32; of another type only what it holds exactly, and float64 rounded."""
    if values.dtype.kind == "b":
        raise FileError(node.where, f"numbers as {what}", str(values.dtype))
    return np.ascontiguousarray(values, np.float32)


def _number(node: Node, values: Array, what: str) -> float:
    if values.size != 1:
        raise FileError(node.where, f"one number as {what}", f"shape {values.shape}")
    return float(values.reshape(()))


def _each_channel(node: Node, value: Value, constant: Array, what: str) -> Float32:
    """Return a constant that is one number, or one for each channel, as one for each channel."""
    channels = value.shape[value.axes.index("c")]
    lengths = [channels if axis == "c" else 1 for axis in value.axes]
    numbers = _floats(node, constant, what)
    shape = (1,) * (len(lengths) + 1 - numbers.ndim) + numbers.shape
    if len(shape) != len(lengths) + 1 or any(n not in (1, most) for n, most in zip(shape, [1, *lengths], strict=True)):
        raise FileError(node.where, f"one number, or one for each channel, as {what}", f"shape {constant.shape}")
    return np.ascontiguousarray(np.broadcast_to(numbers.reshape(-1), channels))


# Windows


def _windows(node: Node, attributes: _Attributes, value: Value, kernel: Sequence[int]) -> dict[str, Any]:
    """Return stride, padding and dilation of ours; zeros around the value are added to the padding."""
    if len(kernel) != 2:
        raise FileError(node.where, "a kernel of two axes", describe(list(kernel)))
    stride, dilation = (tuple(attributes.get(name, (1, 1))) for name in ("strides", "dilations"))
    pads = tuple(attributes.get("pads", NO_PADS))
    if (len(stride), len(dilation), len(pads)) != (2, 2, 4):
        raise FileError(node.where, "strides, dilations and pads of two axes", describe((stride, dilation, pads)))
    automatic = attributes.get("auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(automatic, value.shape[1:], kernel, stride, dilation)
    elif automatic == "VALID":
        pads = NO_PADS
    elif automatic != "NOTSET":
        raise FileError(f"{node.where}: auto_pad", "NOTSET, VALID, SAME_UPPER or SAME_LOWER", describe(automatic))
    padding = tuple(own + around for own, around in zip(pads, value.pads, strict=True))
    return {"stride": stride, "padding": padding, "dilation": dilation}


def _same(
    rule: str, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Sides:
    """Return the padding that makes ``ceil(size / stride)`` windows; an odd pixel goes to the end, or the start."""
    before, after = [], []
    for pixels, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        missing = max((ceil(pixels / s) - 1) * s + d * (k - 1) + 1 - pixels, 0)
        less, more = missing // 2, missing - missing // 2
        before.append(less if rule == "SAME_UPPER" else more)
        after.append(more if rule == "SAME_UPPER" else less)
    return before[0], before[1], after[0], after[1]


def _pixels(done: Translation, name: str, channels_first: bool = True) -> Value:
    """Return a map of ours as ONNX sees it."""
    height, width, channels = done.shapes[name]
    return Value(name, (channels, height, width), "chw")


# Layers with weights


def _conv(done: Translation, node: Node, attributes: _Attributes) -> Value:
    weight = _floats(node, _constant(done, node, 1, "weight"), "weight")
    bias = _optional(done, node, 2, "bias")
    if weight.ndim != 4:
        raise FileError(node.where, "a two-dimensional convolution", f"a weight of shape {weight.shape}")
    value, name = _value(done, node, padded=True), node.outputs[0]
    attributes.expect("kernel_shape", list(weight.shape[2:]), list(weight.shape[2:]))
    groups = int(attributes.get("group", 1))
    tensors = {"weight": weight, "bias": None if bias is None else _floats(node, bias, "bias")}
    if value.axes == "chw" and len(done.shapes[value.node]) == 1:  # one pixel, after a global pooling
        windows = _windows(node, attributes, value, weight.shape[2:])
        if groups != 1 or weight.shape[2:] != (1, 1) or any(windows["padding"]):
            raise FileError(node.where, "a 1 x 1 convolution of one pixel", f"a kernel of {weight.shape[2:]}")
        tensors["weight"] = weight.reshape(weight.shape[:2])
        return Value(done.put(Linear, name, value.node, **tensors), (len(weight), 1, 1), "chw")
    value = _map(done, node, padded=True)
    windows = _windows(node, attributes, value, weight.shape[2:])
    return _pixels(done, done.put(Conv, name, value.node, **tensors, **windows, groups=groups))


def _gemm(done: Translation, node: Node, attributes: _Attributes) -> Value:
    attributes.expect("transA", 0, 0)
    alpha, beta = (float(attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    weight = _floats(node, _constant(done, node, 1, "B"), "B")
    if weight.ndim != 2:
        raise FileError(node.where, "a matrix as B", f"shape {weight.shape}")
    weight = weight if attributes.get("transB", 0) else weight.T
    bias = _optional(done, node, 2, "C")
    value, outputs = _vector(done, node), len(weight)
    attributes.get("broadcast", 0)
    if bias is not None:
        bias = np.float32(beta) * _each_channel(node, Value("", (outputs,), "c"), bias, "C")
    weight = np.ascontiguousarray(np.float32(alpha) * weight)
    return Value(done.put(Linear, node.outputs[0], value.node, weight=weight, bias=bias), (outputs,), "c")


def _matmul(done: Translation, node: Node, attributes: _Attributes) -> Value:
    weight = _floats(node, _constant(done, node, 1, "B"), "B")
    if weight.ndim != 2:
        raise FileError(node.where, "a matrix as B", f"shape {weight.shape}")
    value = _vector(done, node)
    weight = np.ascontiguousarray(weight.T)
    return Value(done.put(Linear, node.outputs[0], value.node, weight=weight), (len(weight),), "c")


def _vector(done: Translation, node: Node) -> Value:
    value = _value(done, node)
    if value.axes != "c":
        raise FileError(node.where, "a vector: batch, channels", f"axes {value.axes} of {value.shape}")
    return value


def _batch_norm(done: Translation, node: Node, attributes: _Attributes) -> Value:
    attributes.get("momentum", 0.9)  # of training
    attributes.expect("training_mode", 0, 0)
    attributes.expect("spatial", 1, 1)
    attributes.expect("is_test", int(done.graph.opset >= 7), 1)
    epsilon = float(attributes.get("epsilon", 1e-5))
    value = _channels(done, node)
    names = ("gamma", "beta", "mean", "var")
    tensors = {name: _floats(node, _constant(done, node, k + 1, name), name) for k, name in enumerate(names)}
    return done.like(value, BatchNorm, node.outputs[0], value.node, **tensors, eps=epsilon)


def _channels(done: Translation, node: Node, place: int = 0) -> Value:
    """Return an activation whose channels are where batch normalisation and the like expect them."""
    value = _value(done, node, place)
    if not value.axes.startswith("c"):
        raise FileError(node.where, "channels after the batch", f"axes {value.axes} of {value.shape}")
    return value


# Element by element


def _elementwise(kind: type[Layer], **attributes_of: tuple[str, float]) -> Translator:
    """Return the translator of an operator of one activation; number of ours -> attribute of theirs, its default."""

    def translator(done: Translation, node: Node, attributes: _Attributes) -> Value:
        value = _value(done, node)
        numbers = {ours: float(attributes.get(*theirs)) for ours, theirs in attributes_of.items()}
        return done.like(value, kind, node.outputs[0], value.node, **numbers)

    return translator


def _clip(done: Translation, node: Node, attributes: _Attributes) -> Value:
    value, ends = _value(done, node), []
    for place, (name, widest) in enumerate((("min", -(2.0**100)), ("max", 2.0**100))):
        given = _optional(done, node, place + 1, name)
        end = float(attributes.get(name, widest)) if given is None else _number(node, given, name)
        ends.append(min(max(end, -(2.0**100)), 2.0**100))
    if ends == [0.0, 2.0**100]:
        return done.like(value, Relu, node.outputs[0], value.node)
    return done.like(value, Clip, node.outputs[0], value.node, low=ends[0], high=ends[1])


def _hard_swish(done: Translation, node: Node, attributes: _Attributes) -> Value:
    value = _value(done, node)
    gate = done.put(HardSigmoid, f"{node.outputs[0]}.gate", value.node, slope=1 / 6, offset=0.5)
    return done.like(value, Multiply, node.outputs[0], value.node, gate)


def _prelu(done: Translation, node: Node, attributes: _Attributes) -> Value:
    value, slope = _value(done, node), _constant(done, node, 1, "slope")
    if slope.size == 1:
        return done.like(value, LeakyRelu, node.outputs[0], value.node, slope=_number(node, slope, "slope"))
    # slope x where x < 0 is -slope relu(-x), exactly
    factors, name = _slopes(node, value, slope), node.outputs[0]
    none = np.zeros_like(factors)
    positive = done.put(Relu, f"{name}.positive", value.node)
    turned = done.put(Affine, f"{name}.turned", value.node, scale=none - 1, shift=none)
    negative = done.put(Relu, f"{name}.negative", turned)
    back = done.put(Affine, f"{name}.scaled", negative, scale=-factors, shift=none)
    return done.like(value, Add, name, positive, back)


def _slopes(node: Node, value: Value, slope: Array) -> Float32:
    """Return the slopes of the channels: of shape (channels, 1, 1), or (channels,) as PyTorch once wrote them."""
    if slope.shape == value.shape[:1]:
        slope = slope.reshape(-1, *[1] * (len(value.shape) - 1))
    return _each_channel(node, value, slope, "slope")


def _local_response(done: Translation, node: Node, attributes: _Attributes) -> Value:
    value = _channels(done, node)
    defaults = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    numbers = {name: float(attributes.get(name, default)) for name, default in defaults.items()}
    size = int(attributes.get("size", 0))
    return done.like(value, LocalResponseNorm, node.outputs[0], value.node, size=size, **numbers)


# Two activations, or one and a constant


def _add(done: Translation, node: Node, attributes: _Attributes) -> Value:
    first, second, constant = _operands(done, node, attributes)
    name = node.outputs[0]
    if constant is not None:
        shift = _each_channel(node, first, constant, "a term")
        if (layer := _only_reader(done, node, first)) is not None:  # the bias of a MatMul
            done.layers[layer.name] = replace(layer, bias=shift)
            return first
        return done.like(first, Affine, name, first.node, scale=np.ones_like(shift), shift=shift)
    if second is None or done.shapes[first.node] != done.shapes[second.node] or first.axes != second.axes:
        raise FileError(node.where, "two activations of one shape", f"{first.shape} and {second and second.shape}")
    return done.like(first, Add, name, first.node, second.node)


def _only_reader(done: Translation, node: Node, value: Value) -> CrossbarLayer | None:
    """Return the linear layer without a bias whose output nothing else reads."""
    layer = done.layers.get(value.node)
    if not isinstance(layer, Linear) or layer.bias is not None or value.axes != "c":
        return None
    named = {name for name, one in done.values.items() if one.node == layer.name}
    readers = sum(name in named for other in done.graph.nodes for name in other.inputs)
    return layer if readers == 1 and not named & set(done.graph.outputs) else None


def _subtract(done: Translation, node: Node, attributes: _Attributes) -> Value:
    first, second, constant = _operands(done, node, attributes)
    name, turned = node.outputs[0], node.inputs[0] in done.constants
    if constant is not None:
        shift = _each_channel(node, first, constant, "a term")
        sign = np.ones_like(shift)
        numbers = (-sign, shift) if turned else (sign, -shift)
        return done.like(first, Affine, name, first.node, scale=numbers[0], shift=numbers[1])
    if second is None or done.shapes[first.node] != done.shapes[second.node] or first.axes != second.axes:
        raise FileError(node.where, "two activations of one shape", f"{first.shape} and {second and second.shape}")
    ones = np.ones(done.shapes[second.node][-1], np.float32)
    less = done.put(Affine, f"{name}.turned", second.node, scale=-ones, shift=0 * ones)
    return done.like(first, Add, name, first.node, less)


def _multiply(done: Translation, node: Node, attributes: _Attributes) -> Value:
    first, second, constant = _operands(done, node, attributes)
    name = node.outputs[0]
    if constant is not None:
        scale = _each_channel(node, first, constant, "a factor")
        return done.like(first, Affine, name, first.node, scale=scale, shift=np.zeros_like(scale))
    if second is None or first.axes != second.axes:
        raise FileError(node.where, "two activations of the same axes", f"{first.axes} and {second and second.axes}")
    if len(done.shapes[first.node]) < len(done.shapes[second.node]):
        first, second = second, first
    ours, factors = done.shapes[first.node], done.shapes[second.node]
    if factors not in (ours, ours[-1:]):
        raise FileError(node.where, "activations of one shape, or one factor a channel", f"{ours} and {factors}")
    return done.like(first, Multiply, name, first.node, second.node)


def _divide(done: Translation, node: Node, attributes: _Attributes) -> Value:
    value, _, divisor = _operands(done, node, attributes)
    if divisor is None or node.inputs[0] in done.constants:
        raise FileError(node.where, "an activation and a constant divisor", "another")
    numbers = _each_channel(node, value, divisor, "a divisor")
    if not np.abs(numbers).min() >= np.finfo(np.float32).tiny:
        raise FileError(node.where, "divisors other than 0", "one of them")
    scale = (1.0 / numbers.astype(np.float64)).astype(np.float32)
    return done.like(value, Affine, node.outputs[0], value.node, scale=scale, shift=np.zeros_like(scale))


def _operands(done: Translation, node: Node, attributes: _Attributes) -> tuple[Value, Value | None, Array | None]:
    """Return the first activation, and the second one or the constant, with the axes that opset 6 gives it."""
    if len(node.inputs) != 2:
        raise FileError(node.where, "two inputs", str(len(node.inputs)))
    places = [place for place, name in enumerate(node.inputs) if name not in done.constants]
    first = _value(done, node, places[0])
    attributes.get("broadcast", 0)
    axis = attributes.get("axis", None)
    if len(places) == 2:
        return first, _value(done, node, places[1]), None
    constant = done.constants[node.inputs[1 - places[0]]]
    if axis is not None:
        constant = constant.reshape(constant.shape + (1,) * (len(first.shape) + 1 - int(axis) - constant.ndim))
    return first, None, constant


def _sum(done: Translation, node: Node, attributes: _Attributes) -> Value:
    total = _value(done, node)
    for place in range(1, len(node.inputs)):
        other = _value(done, node, place)
        if done.shapes[other.node] != done.shapes[total.node]:
            raise FileError(node.where, "activations of one shape", f"{total.shape} and {other.shape}")
        total = done.like(total, Add, node.outputs[0], total.node, other.node)
    return total


def _concat(done: Translation, node: Node, attributes: _Attributes) -> Value:
    several = [_channels(done, node, place) for place in range(len(node.inputs))]
    first = several[0]
    axis = int(attributes.get("axis", 1))
    if axis not in (1, -len(first.shape)) or any(value.axes != first.axes for value in several):
        raise FileError(node.where, "channels, one after the other", f"axis {axis}")
    if len(several) == 1:
        return first
    shape = (sum(value.shape[0] for value in several), *first.shape[1:])
    return Value(done.put(Concat, node.outputs[0], *(value.node for value in several)), shape, first.axes)


# Pooling


def _max_pool(done: Translation, node: Node, attributes: _Attributes) -> Value:
    attributes.get("storage_order", 0)  # of the places, which nothing reads
    value = _map(done, node)
    kernel = tuple(attributes.get("kernel_shape", ()))
    numbers = _windows(node, attributes, value, kernel) | {"ceil": bool(attributes.get("ceil_mode", 0))}
    return _pixels(done, done.put(MaxPool, node.outputs[0], value.node, kernel=kernel, **numbers))


def _average_pool(done: Translation, node: Node, attributes: _Attributes) -> Value:
    value = _map(done, node, padded=True)
    kernel = tuple(attributes.get("kernel_shape", ()))
    counted, own = bool(attributes.get("count_include_pad", 0)), tuple(attributes.left.get("pads", NO_PADS))
    numbers = _windows(node, attributes, value, kernel) | {"ceil": bool(attributes.get("ceil_mode", 0))}
    if numbers.pop("dilation") != (1, 1):
        raise FileError(node.where, "no dilation", "one")
    if value.pads != NO_PADS:  # zeros are pixels to ONNX, so they count
        if any(own) and not counted:
            raise FileError(node.where, "a Pad, or padding of its own", "both")
        counted = True
    numbers["count_padding"] = counted
    return _pixels(done, done.put(AveragePool, node.outputs[0], value.node, kernel=kernel, **numbers))


def _global_average(done: Translation, node: Node, attributes: _Attributes) -> Value:
    value = _map(done, node)
    return Value(done.put(GlobalAveragePool, node.outputs[0], value.node), (value.shape[0], 1, 1), "chw")


def _global_max(done: Translation, node: Node, attributes: _Attributes) -> Value:
    value = _map(done, node)
    return _pixels(done, done.put(MaxPool, node.outputs[0], value.node, kernel=value.shape[1:], stride=1))


def _reduce_mean(done: Translation, node: Node, attributes: _Attributes) -> Value:
    axes = attributes.get("axes", None)
    if axes is None:
        axes = _constant(done, node, 1, "axes").ravel().tolist()
    attributes.expect("noop_with_empty_axes", 0, 0)
    kept = attributes.get("keepdims", 1)
    value = _map(done, node)
    if sorted(int(axis) % 4 for axis in axes) != [2, 3]:
        raise FileError(node.where, "the mean over height and width", f"axes {list(axes)}")
    mean = done.put(GlobalAveragePool, node.outputs[0], value.node)
    return Value(mean, (value.shape[0], 1, 1), "chw") if kept else Value(mean, (value.shape[0],), "c")


# Where elements lie


def _same_value(done: Translation, node: Node, attributes: _Attributes) -> Value:
    """Of an operator that changes nothing in an inference."""
    attributes.left.clear()
    return _value(done, node, padded=True)


def _cast(done: Translation, node: Node, attributes: _Attributes) -> Value:
    float32 = 1
    attributes.get("saturate", 1)
    attributes.get("round_mode", "up")
    attributes.expect("to", float32, float32)
    return _value(done, node, padded=True)


def _softmax(done: Translation, node: Node, attributes: _Attributes) -> Value:
    axis = int(attributes.get("axis", -1 if done.graph.opset >= 13 else 1))
    value = _value(done, node)
    lengths = [n for n in value.shape if n != 1]
    last = not any(set(node.outputs) & set(other.inputs) for other in done.graph.nodes if other.op not in FINAL)
    if not last or len(lengths) > 1 or axis not in (1, -len(value.shape), *([] if value.axes != "c" else [-1])):
        raise FileError(node.where, f"a {node.op} over the classes at the end, which is left out", "another")
    done.notes.append(f"{node.op} at the end is left out: logits are what comes before it")
    return value


def _flatten(done: Translation, node: Node, attributes: _Attributes) -> Value:
    value = _value(done, node)
    axis = int(attributes.get("axis", 1))
    if axis not in (1, -len(value.shape)):
        raise FileError(f"{node.where}: axis", "1", str(axis))
    return _flat(done, node, value)


def _flat(done: Translation, node: Node, value: Value) -> Value:
    """Return all elements of a value as a vector, in ONNX's order."""
    size = prod(value.shape)
    if len(done.shapes[value.node]) == 1:  # a vector already
        return Value(value.node, (size,), "c")
    if value.axes == "hwc" and value.shape[:2] != (1, 1):
        raise FileError(node.where, "channels before pixels", "pixels before channels")
    return Value(done.put(Flatten, node.outputs[0], value.node), (size,), "c")


def _reshape(done: Translation, node: Node, attributes: _Attributes) -> Value:
    zero_is_zero = int(attributes.get("allowzero", 0))
    wanted = attributes.get("shape", None)
    lengths = [int(n) for n in (_constant(done, node, 1, "shape").ravel() if wanted is None else wanted)]
    value = _value(done, node)
    shape = _resolved(done, node, value, lengths, zero_is_zero=bool(zero_is_zero))
    if shape == value.shape:
        return value
    if len(shape) == 1:
        if value.axes == "kghw":
            raise FileError(node.where, "shuffled channels to be a map again", f"shape {shape}")
        return _flat(done, node, value)
    if value.axes == "c" and shape == (*value.shape, 1, 1):
        return replace(value, shape=shape, axes="chw")
    if value.axes == "chw" and len(shape) == 4 and shape[2:] == value.shape[1:]:
        return replace(value, shape=shape, axes="gkhw")
    if value.axes == "kghw" and shape == (prod(value.shape[:2]), *value.shape[2:]):
        shuffled = done.put(ChannelShuffle, node.outputs[0], value.node, groups=value.shape[1])
        return Value(shuffled, shape, "chw")
    raise FileError(node.where, "a vector, or channels in groups to be shuffled", f"{value.shape} as {shape}")


def _resolved(
    done: Translation, node: Node, value: Value, lengths: list[int], *, zero_is_zero: bool
) -> tuple[int, ...]:
    """Return the shape that is asked for, without the batch."""
    size, batch = prod(value.shape), done.graph.input_shape[0]
    known = [value.shape[k - 1] if n == 0 and not zero_is_zero and 0 < k <= len(value.shape) else n
             for k, n in enumerate(lengths)]  # fmt: skip
    if not known or known[0] not in (-1, 0, 1, batch):
        raise FileError(node.where, "the batch to stay the first axis", describe(lengths))
    shape = known[1:]
    if shape.count(-1) == 1:
        rest = -prod(shape)
        shape[shape.index(-1)] = size // rest if rest > 0 and size % rest == 0 else -1
    if not shape or min(shape) < 1 or prod(shape) != size:
        raise FileError(node.where, f"a shape of {size} elements", describe(lengths))
    return tuple(shape)


def _squeeze(done: Translation, node: Node, attributes: _Attributes) -> Value:
    axes = _axes(done, node, attributes)
    value = _value(done, node)
    if value.shape[1:] != (1, 1) or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise FileError(node.where, "height and width of one pixel", f"axes {axes} of {value.shape}")
    return _flat(done, node, value)


def _unsqueeze(done: Translation, node: Node, attributes: _Attributes) -> Value:
    axes = _axes(done, node, attributes)
    value = _value(done, node)
    if value.axes != "c" or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise FileError(node.where, "a vector as one pixel", f"axes {axes} of {value.shape}")
    return replace(value, shape=(*value.shape, 1, 1), axes="chw")


def _axes(done: Translation, node: Node, attributes: _Attributes) -> list[int]:
    axes = attributes.get("axes", None)
    found = _constant(done, node, 1, "axes").ravel() if axes is None else axes
    return [int(axis) for axis in found]


def _transpose(done: Translation, node: Node, attributes: _Attributes) -> Value:
    value = _value(done, node)
    count = len(value.shape) + 1
    order = [int(axis) for axis in attributes.get("perm", range(count - 1, -1, -1))]
    if sorted(order) != list(range(count)) or order[0] != 0:
        raise FileError(f"{node.where}: perm", "the batch first", describe(order))
    places = [axis - 1 for axis in order[1:]]
    turned = replace(
        value,
        shape=tuple(value.shape[place] for place in places),
        axes="".join(value.axes[place] for place in places),
    )
    if turned.axes not in ("chw", "hwc", "c", "gkhw", "kghw"):
        raise FileError(f"{node.where}: perm", "channels before or after pixels", describe(order))
    return turned


def _pad(done: Translation, node: Node, attributes: _Attributes) -> Value:
    attributes.expect("mode", "constant", "constant")
    value = _map(done, node, padded=True)
    number = _optional(done, node, 2, "the value")
    filling = float(attributes.get("value", 0.0)) if number is None else _number(node, number, "the value")
    if len(node.inputs) > 3 and node.inputs[3]:
        raise FileError(node.where, "pads of all axes", "axes")
    given = attributes.get("pads", None)
    pads = [int(n) for n in (_constant(done, node, 1, "pads").ravel() if given is None else given)]
    if len(pads) != 8 or pads[0] or pads[4] or min(pads) < 0 or filling != 0.0:
        raise FileError(node.where, "zeros around pixels or channels", f"pads {pads} of {filling}")
    before, after, sides = pads[1], pads[5], (*pads[2:4], *pads[6:8])
    if before or after:
        if value.pads != NO_PADS:
            raise FileError(node.where, "a Pad of pixels only before a convolution", "one before it")
        value = _pixels(done, done.put(PadShortcut, node.outputs[0], value.node, before=before, after=after))
    top, left, bottom, right = (old + new for old, new in zip(value.pads, sides, strict=True))
    channels, height, width = value.shape
    shape = channels, height + sides[0] + sides[2], width + sides[1] + sides[3]
    return replace(value, shape=shape, pads=(top, left, bottom, right))


def _slice(done: Translation, node: Node, attributes: _Attributes) -> Value:
    value = _map(done, node)
    given = [attributes.get(name, None) for name in ("starts", "ends", "axes", "steps")]
    lists = [
        one if one is not None else _optional(done, node, place + 1, "a constant") for place, one in enumerate(given)
    ]
    starts, ends = ([int(n) for n in np.ravel(one)] if one is not None else [] for one in lists[:2])
    axes = [int(n) for n in np.ravel(lists[2])] if lists[2] is not None else list(range(len(starts)))
    steps = [int(n) for n in np.ravel(lists[3])] if lists[3] is not None else [1] * len(starts)
    step = {1: 1, 2: 1, 3: 1}
    for start, end, axis, stride in zip(starts, ends, axes, steps, strict=True):
        place = axis % 4
        length = value.shape[place - 1] if place else 1
        if place == 0 or start != 0 or end < length or stride < 1:
            raise FileError(node.where, "every so manieth pixel from the first on", f"{start}:{end}:{stride} of {axis}")
        step[place] = stride
    if step[1] != 1 or step[2] != step[3]:
        raise FileError(node.where, "one step for height and width", describe(list(step.values())))
    if step[2] == 1:
        return value
    return _pixels(done, done.put(PadShortcut, node.outputs[0], value.node, stride=step[2]))


#: What may follow the logits.
FINAL = ("Softmax", "LogSoftmax", "Identity")

#: Operators, and what makes layers of each.
OPERATORS: Mapping[str, Translator] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "Relu": _elementwise(Relu),
    "LeakyRelu": _elementwise(LeakyRelu, slope=("alpha", 0.01)),
    "PRelu": _prelu,
    "Clip": _clip,
    "Sigmoid": _elementwise(Sigmoid),
    "HardSigmoid": _elementwise(HardSigmoid, slope=("alpha", 0.2), offset=("beta", 0.5)),
    "HardSwish": _hard_swish,
    "Tanh": _elementwise(Tanh),
    "LRN": _local_response,
    "Add": _add,
    "Sub": _subtract,
    "Mul": _multiply,
    "Div": _divide,
    "Sum": _sum,
    "Concat": _concat,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "ReduceMean": _reduce_mean,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Pad": _pad,
    "Slice": _slice,
    "Identity": _same_value,
    "Dropout": _same_value,
    "Cast": _cast,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}
