"""Strategies for networks, images, chips and times; logits are compared here, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pcmref.arithmetic.codes import Range
from pcmref.arrays import Float32
from pcmref.devices.chip import Chip, Snapshot, program
from pcmref.devices.published import MODELS
from pcmref.devices.technology import Technology
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation
from pcmref.network.layers import BatchNorm, Conv, Layer, Linear, Shape
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
    TakeChannels,
    Tanh,
)
from pcmref.testing.converters import Strategy

__all__ = [
    "assert_same_logits",
    "chips",
    "images",
    "networks",
    "ranges",
    "snapshots",
    "technologies",
    "times_s",
    "weights",
]

#: Steps of the weights and tensors that are drawn: their sums are exact, and none is tiny.
STEP = 1 / 16
#: Operations of one node that keep its shape, and their numbers.
ELEMENTWISE: Mapping[str, tuple[Callable[..., Layer], Mapping[str, float]]] = {
    "relu": (Relu, {}),
    "leaky_relu": (LeakyRelu, {"slope": 0.125}),
    "clip": (Clip, {"low": -0.5, "high": 6.0}),
    "hard_sigmoid": (HardSigmoid, {"slope": 0.25, "offset": 0.5}),
    "sigmoid": (Sigmoid, {}),
    "tanh": (Tanh, {}),
}
#: Most pixels of an image along one axis.
PIXELS = 7


def technologies() -> Strategy:
    """Draw the published models of devices."""
    return st.sampled_from([MODELS[name] for name in sorted(MODELS)])


@st.composite
def times_s(draw: st.DrawFn, technology: Technology) -> float:
    """Draw times at which devices can be read: from the reference of GDC to 30 years."""
    later = draw(st.sampled_from((0.0, 1.0, 25.0, 3600.0, 86_400.0, 31_536_000.0)) | st.integers(0, 10**9).map(float))
    return technology.check_time(technology.reference_time_s + later)


def _tensors(shape: Shape, least: int, most: int) -> Strategy:
    """Draw float32 multiples of `STEP`."""
    return arrays(np.int64, shape, elements=st.integers(least, most)).map(lambda n: (n * STEP).astype(np.float32))


@st.composite
def weights(draw: st.DrawFn, *shape: int) -> Float32:
    """Draw weights of a crossbar layer, outputs first: from -2 to 2, with one in each column that is not 0."""
    found = draw(_tensors(shape, -32, 32)).reshape(shape[0], -1)
    found[:, 0] = np.where((found == 0).all(axis=1), STEP, found[:, 0])
    return found.reshape(shape)


@st.composite
def networks(draw: st.DrawFn, *, nodes: int = 8, classes: int = 3) -> Network:
    """Draw networks: any operation, wired at random, with feature maps first and vectors after a global pooling.

    Parameters
    ----------
    nodes : int
        At most so many operations besides those that every network has.
    classes : int
        At most so many, at least 2.
    """
    height, width, channels = draw(st.integers(1, PIXELS)), draw(st.integers(1, PIXELS)), draw(st.integers(1, 3))
    layers: list[Layer] = []
    shapes: dict[str, Shape] = {"input": (height, width, channels)}
    names = (f"n{number}" for number in count(1))

    def put(layer: Layer) -> str:
        layers.append(layer)
        shapes[layer.name] = layer.shape_after(*(shapes[name] for name in layer.inputs))
        return layer.name

    last = "input"
    for _ in range(draw(st.integers(0, nodes))):
        last = put(draw(_nodes(next(names), last, shapes)))
    if len(shapes[last]) == 3:
        last = put(GlobalAveragePool(name=next(names), inputs=(last,)))
    number = draw(st.integers(2, max(2, classes)))
    last = put(draw(_linears(next(names), last, shapes, number)))
    return Network(
        layers=tuple(layers),
        input_shape=(height, width, channels),
        normalisation=Normalisation(full_scale=255.0, mean=(0.5,) * channels, std=(0.25,) * channels),
        classes=tuple("abcdefghijklmnopqrstuvwxyz"[:number]),
    )


@st.composite
def _linears(draw: st.DrawFn, name: str, source: str, shapes: dict[str, Shape], columns: int) -> Linear:
    weight = draw(weights(columns, shapes[source][0]))
    return Linear(name=name, inputs=(source,), weight=weight, bias=draw(st.none() | _tensors((columns,), -32, 32)))


@st.composite
def _windows(draw: st.DrawFn, shape: Shape, *, dilations: bool = True) -> dict[str, Any]:
    """Draw kernel, stride, padding and dilation of windows that fit a map: alike on both axes, or not."""
    height, width, _ = shape
    padding = draw(st.integers(0, 1) | st.tuples(*[st.integers(0, 1)] * 4))
    top, left, bottom, right = padding if isinstance(padding, tuple) else (padding,) * 4
    dilation = draw(st.integers(1, 2)) if dilations else 1
    room = (height + top + bottom - 1) // dilation + 1, (width + left + right - 1) // dilation + 1
    return {
        "kernel": tuple(draw(st.integers(1, min(3, most))) for most in room),
        "stride": draw(st.integers(1, 2) | st.tuples(st.integers(1, 2), st.integers(1, 2))),
        "padding": padding,
        **({"dilation": dilation} if dilations else {}),
    }


@st.composite
def _convs(draw: st.DrawFn, name: str, source: str, shapes: dict[str, Shape], columns: int) -> Conv:
    *_, channels = shapes[source]
    numbers = draw(_windows(shapes[source]))
    groups = draw(st.sampled_from([number for number in range(1, channels + 1) if channels % number == 0]))
    columns *= groups
    return Conv(
        name=name,
        inputs=(source,),
        weight=draw(weights(columns, channels // groups, *numbers.pop("kernel"))),
        bias=draw(st.none() | _tensors((columns,), -32, 32)),
        groups=groups,
        digital=draw(_seldom()),
        **numbers,
    )


def _seldom() -> Strategy:
    return st.integers(0, 7).map(lambda number: number == 7)


def _batch_norms(name: str, source: str, channels: int) -> Strategy:
    each = {tensor: _tensors((channels,), -32, 32) for tensor in ("gamma", "beta", "mean")}
    return st.builds(BatchNorm, name=st.just(name), inputs=st.just((source,)), var=_tensors((channels,), 1, 32), **each)


@st.composite
def _nodes(draw: st.DrawFn, name: str, source: str, shapes: dict[str, Shape]) -> Layer:
    """Draw an operation that reads the last node, or joins another one to it."""
    shape = shapes[source]
    others = [other for other in shapes if other != "input"]
    alike = [other for other in others if shapes[other] == shape]
    joined = [other for other in others if shapes[other][:-1] == shape[:-1]]
    factors = [other for other in others if shapes[other] in (shape, shape[-1:])]
    kinds = ["crossbar", "batch_norm", "affine", "local_response_norm", "channel_shuffle", "take_channels"]
    kinds += [*ELEMENTWISE]
    kinds += ["add"] * bool(alike) + ["concat"] * bool(joined) + ["multiply"] * bool(factors)
    if len(shape) == 3:
        kinds += ["max_pool", "average_pool", "pad_shortcut", "global_average_pool", "flatten"]
    kind: str = draw(st.sampled_from(kinds))
    said: dict[str, Any] = {"name": name, "inputs": (source,)}
    match kind:
        case "crossbar":
            layers = _convs if len(shape) == 3 else _linears
            return draw(layers(name, source, shapes, draw(st.integers(1, 4))))
        case "batch_norm":
            return draw(_batch_norms(name, source, shape[-1]))
        case "affine":
            scale, shift = draw(_tensors(shape[-1:], -32, 32)), draw(_tensors(shape[-1:], -32, 32))
            return Affine(**said, scale=scale, shift=shift)
        case "local_response_norm":
            return LocalResponseNorm(**said, size=draw(st.integers(1, 5)), alpha=0.5, beta=0.75, bias=1.0)
        case "channel_shuffle":
            groups = [number for number in range(1, shape[-1] + 1) if shape[-1] % number == 0]
            return ChannelShuffle(**said, groups=draw(st.sampled_from(groups)))
        case "take_channels":
            first = draw(st.integers(0, shape[-1] - 1))
            return TakeChannels(**said, first=first, count=draw(st.integers(1, shape[-1] - first)))
        case "add":
            return Add(name=name, inputs=(source, draw(st.sampled_from(alike))))
        case "concat":
            return Concat(name=name, inputs=(source, draw(st.sampled_from(joined))))
        case "multiply":
            return Multiply(name=name, inputs=(source, draw(st.sampled_from(factors))))
        case "max_pool" | "average_pool":
            return draw(_pools(said, shape, MaxPool if kind == "max_pool" else AveragePool))
        case "pad_shortcut":
            before, after = draw(st.integers(0, 1)), draw(st.integers(0, 1))
            return PadShortcut(**said, stride=draw(st.integers(1, 2)), before=before, after=after)
        case "global_average_pool" | "flatten":
            return (GlobalAveragePool if kind == "global_average_pool" else Flatten)(**said)
    layer, numbers = ELEMENTWISE[kind]
    return layer(**said, **numbers)


@st.composite
def _pools(draw: st.DrawFn, said: dict[str, Any], shape: Shape, kind: type[MaxPool | AveragePool]) -> Layer:
    """Draw a pooling whose windows all see a pixel; without padding where they would not."""
    numbers = draw(_windows(shape, dilations=kind is MaxPool)) | {"ceil": draw(st.booleans())}
    if kind is AveragePool:
        numbers["count_padding"] = draw(st.booleans())
    layer = kind(**said, **numbers)
    if layer.windows.see_pixels(*shape[:2]):
        return layer
    return kind(**said, **numbers | {"kernel": 1, "padding": 0})


def images(network: Network, *, most: int = 3) -> Strategy:
    """Draw images of a network, shape (n, height, width, channels), n from 1 to `most`."""
    number = st.integers(1, most)
    return number.flatmap(lambda n: arrays(np.uint8, (n, *network.input_shape), elements=st.integers(0, 255)))


@st.composite
def ranges(draw: st.DrawFn, network: Network) -> dict[str, Range]:
    """Draw the ranges of converters: of each crossbar layer, one for all groups of columns."""
    tops = st.sampled_from((0.5, 1.0, 4.0, 20.0))
    sums_us = st.sampled_from((1.0, 20.0, 400.0))
    return {layer.name: Range(input_top=draw(tops), sum_top_us=draw(sums_us)) for layer in network.crossbar_layers}


@st.composite
def chips(draw: st.DrawFn, network: Network | None = None) -> Chip:
    """Draw programmed chips: of a network, or of any; each published model, any seed."""
    chosen = draw(networks()) if network is None else network
    return program(chosen, model=draw(technologies()), seed=draw(st.integers(0, 1000)))


@st.composite
def snapshots(draw: st.DrawFn, network: Network | None = None) -> Snapshot:
    """Draw chips at a time."""
    chip = draw(chips(network))
    return chip.at(t_s=draw(times_s(chip.model)))


def assert_same_logits(found: npt.ArrayLike, expected: npt.ArrayLike) -> None:
    """Compare logits bit for bit.

    Raises
    ------
    AssertionError
        With the first that differs, its bits, and how many differ.
    """
    left, right = np.asarray(found), np.asarray(expected)
    if left.dtype != np.float32 or right.dtype != np.float32 or left.shape != right.shape:
        raise AssertionError(f"expected {right.dtype} of shape {right.shape}, found {left.dtype} of shape {left.shape}")
    a, b = (np.ascontiguousarray(each).view(np.uint32) for each in (left, right))
    wrong = np.argwhere(a != b)
    if wrong.size:
        place = tuple(int(i) for i in wrong[0])
        expected_bits, found_bits = f"{right[place]!r} (0x{b[place]:08x})", f"{left[place]!r} (0x{a[place]:08x})"
        raise AssertionError(
            f"logit {list(place)}: expected {expected_bits}, found {found_bits}\n  {len(wrong)} of {left.size} differ"
        )
