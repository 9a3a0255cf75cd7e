"""Operators of ONNX with weights or windows: convolutions, linear layers, batch normalisations, poolings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np

from pcmref.errors import FileError, describe
from pcmref.importers.onnx_file import Node
from pcmref.importers.onnx_values import (
    NO_PADS,
    Attributes,
    Sides,
    Translation,
    Value,
    channels_first,
    constant_of,
    each_channel,
    floats_of,
    map_of,
    optional_of,
    pixels_of,
    value_of,
    vector_of,
)
from pcmref.network.layers import BatchNorm, Conv, Linear
from pcmref.network.operations import AveragePool, Flatten, GlobalAveragePool, MaxPool

__all__ = [
    "average_pool",
    "batch_norm",
    "conv",
    "gemm",
    "global_average",
    "global_max",
    "matmul",
    "max_pool",
    "reduce_max",
    "reduce_mean",
]


def conv(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Conv``: of a map, or of the one pixel after a global pooling, where it is a linear layer."""
    weight = floats_of(node, constant_of(done, node, 1, "weight"), "weight")
    bias = optional_of(done, node, 2, "bias")
    if weight.ndim != 4:
        raise FileError(node.where, "a two-dimensional convolution", f"a weight of shape {weight.shape}")
    value, name = value_of(done, node, padded=True), node.outputs[0]
    attributes.expect("kernel_shape", list(weight.shape[2:]), list(weight.shape[2:]))
    groups = int(attributes.get("group", 1))
    tensors = {"weight": weight, "bias": None if bias is None else floats_of(node, bias, "bias")}
    if value.axes == "chw" and len(done.shapes[value.node]) == 1:  # one pixel, after a global pooling
        windows = _windows(node, attributes, value, weight.shape[2:])
        if groups != 1 or weight.shape[2:] != (1, 1) or any(windows["padding"]):
            raise FileError(node.where, "a 1 x 1 convolution of one pixel", f"a kernel of {weight.shape[2:]}")
        tensors["weight"] = weight.reshape(weight.shape[:2])
        return Value(node=done.put(Linear, name, value.node, **tensors), shape=(len(weight), 1, 1), axes="chw")
    value = map_of(done, node, padded=True)
    windows = _windows(node, attributes, value, weight.shape[2:])
    return pixels_of(done, done.put(Conv, name, value.node, **tensors, **windows, groups=groups))


def gemm(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Gemm`` with a constant matrix: a linear layer."""
    attributes.expect("transA", 0, 0)
    alpha, beta = (float(attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    weight = floats_of(node, constant_of(done, node, 1, "B"), "B")
    if weight.ndim != 2:
        raise FileError(node.where, "a matrix as B", f"shape {weight.shape}")
    weight = weight if attributes.get("transB", 0) else weight.T
    bias = optional_of(done, node, 2, "C")
    value, outputs = vector_of(done, node), len(weight)
    attributes.get("broadcast", 0)
    if bias is not None:
        bias = np.float32(beta) * each_channel(node, Value(node="", shape=(outputs,), axes="c"), bias, "C")
    weight = np.ascontiguousarray(np.float32(alpha) * weight)
    return Value(
        node=done.put(Linear, node.outputs[0], value.node, weight=weight, bias=bias), shape=(outputs,), axes="c"
    )


def matmul(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``MatMul`` with a constant matrix: a linear layer without a bias."""
    weight = floats_of(node, constant_of(done, node, 1, "B"), "B")
    if weight.ndim != 2:
        raise FileError(node.where, "a matrix as B", f"shape {weight.shape}")
    value = vector_of(done, node)
    weight = np.ascontiguousarray(weight.T)
    return Value(node=done.put(Linear, node.outputs[0], value.node, weight=weight), shape=(len(weight),), axes="c")


def batch_norm(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``BatchNormalization`` with its stored statistics."""
    attributes.get("momentum", 0.9)  # of training
    attributes.expect("training_mode", 0, 0)
    attributes.expect("spatial", 1, 1)
    attributes.expect("is_test", int(done.graph.opset >= 7), 1)
    epsilon = float(attributes.get("epsilon", 1e-5))
    value = channels_first(done, node)
    names = ("gamma", "beta", "mean", "var")
    tensors = {name: floats_of(node, constant_of(done, node, k + 1, name), name) for k, name in enumerate(names)}
    return done.like(value, BatchNorm, node.outputs[0], value.node, **tensors, eps=epsilon)


def max_pool(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``MaxPool``."""
    attributes.get("storage_order", 0)  # of the places, which nothing reads
    value = map_of(done, node)
    kernel = tuple(attributes.get("kernel_shape", ()))
    numbers = _windows(node, attributes, value, kernel) | {"ceil": bool(attributes.get("ceil_mode", 0))}
    return pixels_of(done, done.put(MaxPool, node.outputs[0], value.node, kernel=kernel, **numbers))


def average_pool(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``AveragePool``; zeros that a ``Pad`` put around its input count as pixels."""
    value = map_of(done, node, padded=True)
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
    return pixels_of(done, done.put(AveragePool, node.outputs[0], value.node, kernel=kernel, **numbers))


def global_average(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``GlobalAveragePool``."""
    value = map_of(done, node)
    return Value(
        node=done.put(GlobalAveragePool, node.outputs[0], value.node), shape=(value.shape[0], 1, 1), axes="chw"
    )


def global_max(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``GlobalMaxPool``: a window of the whole map."""
    value = map_of(done, node)
    return pixels_of(done, done.put(MaxPool, node.outputs[0], value.node, kernel=value.shape[1:], stride=1))


def reduce_mean(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``ReduceMean`` over height and width."""
    kept = _reduces_pixels(done, node, attributes, "the mean")
    value = global_average(done, node, attributes)
    return value if kept else replace(value, shape=value.shape[:1], axes="c")


def reduce_max(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``ReduceMax`` over height and width."""
    kept = _reduces_pixels(done, node, attributes, "the largest")
    value = global_max(done, node, attributes)
    if kept:
        return value
    return Value(node=done.put(Flatten, node.outputs[0], value.node), shape=value.shape[:1], axes="c")


def _reduces_pixels(done: Translation, node: Node, attributes: Attributes, what: str) -> bool:
    """Return whether height and width, over which a node must reduce, stay as axes of length 1."""
    axes = attributes.get("axes", None)
    if axes is None:
        axes = constant_of(done, node, 1, "axes").ravel().tolist()
    attributes.expect("noop_with_empty_axes", 0, 0)
    map_of(done, node)
    if sorted(int(axis) % 4 for axis in axes) != [2, 3]:
        raise FileError(node.where, f"{what} over height and width", f"axes {list(axes)}")
    return bool(attributes.get("keepdims", 1))


def _windows(node: Node, attributes: Attributes, value: Value, kernel: Sequence[int]) -> dict[str, Any]:
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
