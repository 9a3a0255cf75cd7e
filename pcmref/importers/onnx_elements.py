"""Operators of ONNX that work element by element: of one activation, of two, or of one and a constant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pcmref.arrays import Float32
from pcmref.errors import FileError
from pcmref.importers.onnx_file import Node
from pcmref.importers.onnx_values import (
    Array,
    Attributes,
    Translation,
    Translator,
    Value,
    channels_first,
    constant_of,
    each_channel,
    number_of,
    optional_of,
    value_of,
)
from pcmref.network.layers import CrossbarLayer, Layer, Linear
from pcmref.network.operations import (
    Add,
    Affine,
    Clip,
    Concat,
    HardSigmoid,
    LeakyRelu,
    LocalResponseNorm,
    Multiply,
    Relu,
)

__all__ = [
    "add",
    "add_all",
    "clip",
    "concat",
    "divide",
    "elementwise",
    "hard_swish",
    "local_response",
    "multiply",
    "prelu",
    "subtract",
]


#: The opset from which on shapes are aligned as in NumPy, at their ends.
BROADCASTING = 7


def elementwise(kind: type[Layer], **attributes_of: tuple[str, float]) -> Translator:
    """Return the translator of an operator of one activation; number of ours -> attribute of theirs, its default."""

    def translator(done: Translation, node: Node, attributes: Attributes) -> Value:
        value = value_of(done, node)
        numbers = {ours: float(attributes.get(*theirs)) for ours, theirs in attributes_of.items()}
        return done.like(value, kind, node.outputs[0], value.node, **numbers)

    return translator


def clip(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Clip``: ends from attributes or inputs; from 0 on it is a ReLU."""
    value, ends = value_of(done, node), []
    for place, (name, widest) in enumerate((("min", -(2.0**100)), ("max", 2.0**100))):
        given = optional_of(done, node, place + 1, name)
        end = float(attributes.get(name, widest)) if given is None else number_of(node, given, name)
        ends.append(min(max(end, -(2.0**100)), 2.0**100))
    if ends == [0.0, 2.0**100]:
        return done.like(value, Relu, node.outputs[0], value.node)
    return done.like(value, Clip, node.outputs[0], value.node, low=ends[0], high=ends[1])


def hard_swish(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``HardSwish``: x times ``HardSigmoid`` with 1/6 and 1/2."""
    value = value_of(done, node)
    gate = done.put(HardSigmoid, f"{node.outputs[0]}.gate", value.node, slope=1 / 6, offset=0.5)
    return done.like(value, Multiply, node.outputs[0], value.node, gate)


def prelu(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``PRelu``: one slope, or one for each channel."""
    value, slope = value_of(done, node), constant_of(done, node, 1, "slope")
    if slope.size == 1:
        return done.like(value, LeakyRelu, node.outputs[0], value.node, slope=number_of(node, slope, "slope"))
    # slope x where x < 0 is -slope relu(-x), exactly
    factors, name = _slopes(done, node, value, slope), node.outputs[0]
    none = np.zeros_like(factors)
    positive = done.put(Relu, f"{name}.positive", value.node)
    turned = done.put(Affine, f"{name}.turned", value.node, scale=none - 1, shift=none)
    negative = done.put(Relu, f"{name}.negative", turned)
    back = done.put(Affine, f"{name}.scaled", negative, scale=-factors, shift=none)
    return done.like(value, Add, name, positive, back)


def _slopes(done: Translation, node: Node, value: Value, slope: Array) -> Float32:
    """Return the slopes of the channels: of shape (channels, 1, 1), in opset 6 (channels,)."""
    if done.graph.opset < BROADCASTING and slope.shape == value.shape[:1]:
        slope = slope.reshape(-1, *[1] * (len(value.shape) - 1))
    return each_channel(node, value, slope, "slope")


def local_response(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``LRN``, over channels."""
    value = channels_first(done, node)
    defaults = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    numbers = {name: float(attributes.get(name, default)) for name, default in defaults.items()}
    size = int(attributes.get("size", 0))
    return done.like(value, LocalResponseNorm, node.outputs[0], value.node, size=size, **numbers)


def add(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Add``: of two activations, or of one and a constant, which may be the bias of a ``MatMul``."""
    first, second, constant = _operands(done, node, attributes)
    name = node.outputs[0]
    if constant is not None:
        shift = each_channel(node, first, constant, "a term")
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


def subtract(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Sub``, either way round."""
    first, second, constant = _operands(done, node, attributes)
    name, turned = node.outputs[0], node.inputs[0] in done.constants
    if constant is not None:
        shift = each_channel(node, first, constant, "a term")
        sign = np.ones_like(shift)
        numbers = (-sign, shift) if turned else (sign, -shift)
        return done.like(first, Affine, name, first.node, scale=numbers[0], shift=numbers[1])
    if second is None or done.shapes[first.node] != done.shapes[second.node] or first.axes != second.axes:
        raise FileError(node.where, "two activations of one shape", f"{first.shape} and {second and second.shape}")
    ones = np.ones(done.shapes[second.node][-1], np.float32)
    less = done.put(Affine, f"{name}.turned", second.node, scale=-ones, shift=0 * ones)
    return done.like(first, Add, name, first.node, less)


def multiply(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Mul``: of two activations, one of which may have one factor a channel, or of one and a constant."""
    first, second, constant = _operands(done, node, attributes)
    name = node.outputs[0]
    if constant is not None:
        scale = each_channel(node, first, constant, "a factor")
        return done.like(first, Affine, name, first.node, scale=scale, shift=np.zeros_like(scale))
    if second is None or first.axes != second.axes:
        raise FileError(node.where, "two activations of the same axes", f"{first.axes} and {second and second.axes}")
    if len(done.shapes[first.node]) < len(done.shapes[second.node]):
        first, second = second, first
    ours, factors = done.shapes[first.node], done.shapes[second.node]
    if factors not in (ours, ours[-1:]):
        raise FileError(node.where, "activations of one shape, or one factor a channel", f"{ours} and {factors}")
    return done.like(first, Multiply, name, first.node, second.node)


def divide(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Div`` by a constant: times its reciprocal, rounded to float32."""
    value, _, divisor = _operands(done, node, attributes)
    if divisor is None or node.inputs[0] in done.constants:
        raise FileError(node.where, "an activation and a constant divisor", "another")
    numbers = each_channel(node, value, divisor, "a divisor")
    if not np.abs(numbers).min() >= np.finfo(np.float32).tiny:
        raise FileError(node.where, "divisors other than 0", "one of them")
    scale = (1.0 / numbers.astype(np.float64)).astype(np.float32)
    return done.like(value, Affine, node.outputs[0], value.node, scale=scale, shift=np.zeros_like(scale))


def _operands(done: Translation, node: Node, attributes: Attributes) -> tuple[Value, Value | None, Array | None]:
    """Return the first activation, and the second one or the constant, with the axes that opset 6 gives it."""
    if len(node.inputs) != 2:
        raise FileError(node.where, "two inputs", str(len(node.inputs)))
    places = [place for place, name in enumerate(node.inputs) if name not in done.constants]
    first = value_of(done, node, places[0])
    attributes.get("broadcast", 0)
    axis = attributes.get("axis", None)
    if len(places) == 2:
        return first, value_of(done, node, places[1]), None
    constant = done.constants[node.inputs[1 - places[0]]]
    if axis is not None:
        constant = constant.reshape(constant.shape + (1,) * (len(first.shape) + 1 - int(axis) - constant.ndim))
    return first, None, constant


def add_all(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Sum`` of activations of one shape."""
    total = value_of(done, node)
    for place in range(1, len(node.inputs)):
        other = value_of(done, node, place)
        if done.shapes[other.node] != done.shapes[total.node]:
            raise FileError(node.where, "activations of one shape", f"{total.shape} and {other.shape}")
        total = done.like(total, Add, node.outputs[0], total.node, other.node)
    return total


def concat(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Concat`` of channels."""
    several = [channels_first(done, node, place) for place in range(len(node.inputs))]
    first = several[0]
    axis = int(attributes.get("axis", 1))
    if axis not in (1, -len(first.shape)) or any(value.axes != first.axes for value in several):
        raise FileError(node.where, "channels, one after the other", f"axis {axis}")
    if len(several) == 1:
        return first
    shape = (sum(value.shape[0] for value in several), *first.shape[1:])
    return Value(
        node=done.put(Concat, node.outputs[0], *(value.node for value in several)), shape=shape, axes=first.axes
    )
