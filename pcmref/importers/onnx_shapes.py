"""Operators of ONNX that change no number: what they say of where elements lie, of padding, of the end."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from pcmref.errors import FileError, describe
from pcmref.importers.onnx_file import Node
from pcmref.importers.onnx_values import (
    NO_PADS,
    Attributes,
    Translation,
    Value,
    axes_of,
    constant_of,
    map_of,
    number_of,
    optional_of,
    pixels_of,
    value_of,
)
from pcmref.network.operations import ChannelShuffle, Flatten, PadShortcut

__all__ = [
    "arg_max",
    "cast",
    "flatten",
    "pad",
    "reshape",
    "same_value",
    "softmax",
    "squeeze",
    "transpose",
    "unsqueeze",
]

#: What may follow the logits.
FINAL = ("Softmax", "LogSoftmax", "ArgMax", "Identity")


def same_value(done: Translation, node: Node, attributes: Attributes) -> Value:
    """Of an operator that changes nothing in an inference."""
    attributes.left.clear()
    return value_of(done, node, padded=True)


def cast(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Cast`` to float32, which activations are."""
    float32 = 1
    attributes.get("saturate", 1)
    attributes.get("round_mode", "up")
    attributes.expect("to", float32, float32)
    return value_of(done, node, padded=True)


def softmax(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Softmax`` at the end, which is left out: it keeps the order of the classes."""
    return _left_out(done, node, int(attributes.get("axis", -1 if done.graph.opset >= 13 else 1)))


def arg_max(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``ArgMax`` at the end, which is left out: the class is found from the logits."""
    attributes.get("keepdims", 1)
    attributes.expect("select_last_index", 0, 0)
    return _left_out(done, node, int(attributes.get("axis", 0)))


def _left_out(done: Translation, node: Node, axis: int) -> Value:
    value = value_of(done, node)
    lengths = [n for n in value.shape if n != 1]
    last = not any(set(node.outputs) & set(other.inputs) for other in done.graph.nodes if other.op not in FINAL)
    if not last or len(lengths) > 1 or axis not in (1, -len(value.shape), *([] if value.axes != "c" else [-1])):
        raise FileError(node.where, f"a {node.op} over the classes at the end, which is left out", "another")
    done.notes.append(f"{node.op} at the end is left out: logits are what comes before it")
    return value


def flatten(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Flatten``."""
    value = value_of(done, node)
    axis = int(attributes.get("axis", 1))
    if axis not in (1, -len(value.shape)):
        raise FileError(f"{node.where}: axis", "1", str(axis))
    return _flat(done, node, value)


def _flat(done: Translation, node: Node, value: Value) -> Value:
    """Return all elements of a value as a vector, in ONNX's order."""
    size = prod(value.shape)
    if len(done.shapes[value.node]) == 1:  # a vector already
        return Value(node=value.node, shape=(size,), axes="c")
    if value.axes == "hwc" and value.shape[:2] != (1, 1):
        raise FileError(node.where, "channels before pixels", "pixels before channels")
    return Value(node=done.put(Flatten, node.outputs[0], value.node), shape=(size,), axes="c")


def reshape(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Reshape``: to a vector, to one pixel, or into groups of channels and, transposed, back: a shuffle."""
    zero_is_zero = int(attributes.get("allowzero", 0))
    wanted = attributes.get("shape", None)
    lengths = [int(n) for n in (constant_of(done, node, 1, "shape").ravel() if wanted is None else wanted)]
    value = value_of(done, node)
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
        return Value(node=shuffled, shape=shape, axes="chw")
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


def squeeze(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Squeeze`` of one pixel."""
    axes = axes_of(done, node, attributes)
    value = value_of(done, node)
    if value.shape[1:] != (1, 1) or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise FileError(node.where, "height and width of one pixel", f"axes {axes} of {value.shape}")
    return _flat(done, node, value)


def unsqueeze(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Unsqueeze`` of a vector to one pixel."""
    axes = axes_of(done, node, attributes)
    value = value_of(done, node)
    if value.axes != "c" or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise FileError(node.where, "a vector as one pixel", f"axes {axes} of {value.shape}")
    return replace(value, shape=(*value.shape, 1, 1), axes="chw")


def transpose(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Transpose``, remembered as the order of axes."""
    value = value_of(done, node)
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


def pad(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Pad`` with zeros: of channels a layer, of pixels the padding of the convolution that follows."""
    attributes.expect("mode", "constant", "constant")
    value = map_of(done, node, padded=True)
    number = optional_of(done, node, 2, "the value")
    filling = float(attributes.get("value", 0.0)) if number is None else number_of(node, number, "the value")
    if len(node.inputs) > 3 and node.inputs[3]:
        raise FileError(node.where, "pads of all axes", "axes")
    given = attributes.get("pads", None)
    pads = [int(n) for n in (constant_of(done, node, 1, "pads").ravel() if given is None else given)]
    if len(pads) != 8 or pads[0] or pads[4] or min(pads) < 0 or filling != 0.0:
        raise FileError(node.where, "zeros around pixels or channels", f"pads {pads} of {filling}")
    before, after, sides = pads[1], pads[5], (*pads[2:4], *pads[6:8])
    if before or after:
        if value.pads != NO_PADS:
            raise FileError(node.where, "a Pad of pixels only before a convolution", "one before it")
        value = pixels_of(done, done.put(PadShortcut, node.outputs[0], value.node, before=before, after=after))
    top, left, bottom, right = (old + new for old, new in zip(value.pads, sides, strict=True))
    channels, height, width = value.shape
    shape = channels, height + sides[0] + sides[2], width + sides[1] + sides[3]
    return replace(value, shape=shape, pads=(top, left, bottom, right))
