"""Operators of ONNX that take parts of an activation: channels that follow each other, or every n-th pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pcmref.errors import FileError, describe
from pcmref.importers.onnx_file import Node
from pcmref.importers.onnx_values import (
    Attributes,
    Translation,
    Value,
    map_of,
    optional_of,
    pixels_of,
    value_of,
)
from pcmref.network.operations import PadShortcut, TakeChannels

__all__ = ["slice_of", "split"]


#: The opset from which on the last of equal parts may be smaller.
UNEVEN = 18


def split(done: Translation, node: Node, attributes: Attributes) -> tuple[Value | None, ...]:
    """``Split`` of channels; None for a part that nothing reads, so that no layer is made for it."""
    value, axis = value_of(done, node), int(attributes.get("axis", 0))
    place = _place(node, value, axis)
    if value.axes[place : place + 1] != "c":
        raise FileError(node.where, "a Split of channels", f"one along axis {axis} of {value.shape}")
    lengths = _lengths(done, node, attributes, value.shape[place])
    firsts = np.cumsum([0, *lengths[:-1]]).tolist()
    read = {name for other in done.graph.nodes for name in other.inputs if name} | set(done.graph.outputs)
    return tuple(
        _taken(done, name, value, first, count) if name in read else None
        for name, first, count in zip(node.outputs, firsts, lengths, strict=True)
    )


def _lengths(done: Translation, node: Node, attributes: Attributes, channels: int) -> list[int]:
    """Return how many channels each part has."""
    parts = len(node.outputs)
    said, number = (attributes.get(name, None) for name in ("split", "num_outputs"))
    read = optional_of(done, node, 1, "the lengths of the parts")
    if sum(one is not None for one in (said, number, read)) > 1:
        raise FileError(node.where, "lengths of the parts, or their number", "both")
    if number not in (None, parts):
        raise FileError(f"{node.where}: num_outputs", f"{parts}, the number of outputs", describe(number))
    if said is None and read is None:
        most = -(-channels // parts)
        lengths = [most] * (parts - 1) + [channels - most * (parts - 1)]
        if done.graph.opset < UNEVEN and lengths[-1] != most:
            raise FileError(node.where, f"{parts} equal parts", f"{channels} channels")
    else:
        lengths = [int(n) for n in np.ravel(said if read is None else read)]
    if len(lengths) != parts or min(lengths) < 1 or sum(lengths) != channels:
        expected = f"{parts} parts of at least one channel, {channels} channels together"
        raise FileError(node.where, expected, describe(lengths))
    return lengths


def slice_of(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Slice`` that takes channels one after the other, or every so manieth pixel, as shortcuts do."""
    value, steps = value_of(done, node), {"h": 1, "w": 1}
    for axis, start, end, step in _runs(done, node, attributes):
        place = _place(node, value, axis)
        kind, length = ("", 0) if place < 0 else (value.axes[place], value.shape[place])
        taken = range(length)[start : end : max(step, 1)]  # negative and too large numbers mean the same to ONNX
        if kind == "c" and step == 1 and taken:
            value = _taken(done, node.outputs[0], value, taken[0], len(taken))
        elif kind in steps and step >= 1 and taken == range(0, length, step):
            steps[kind] = step
        else:
            expected = "channels one after the other, or every so manieth pixel from the first on"
            raise FileError(node.where, expected, f"{start}:{end}:{step} of axis {axis} of {value.shape}")
    if steps["h"] != steps["w"]:
        raise FileError(node.where, "one step for height and width", describe(list(steps.values())))
    if steps["h"] == 1:
        return value
    map_of(done, node)
    return pixels_of(done, done.put(PadShortcut, node.outputs[0], value.node, stride=steps["h"]))


def _runs(done: Translation, node: Node, attributes: Attributes) -> Iterator[tuple[int, int, int, int]]:
    """Yield axis, start, end and step of each axis that a ``Slice`` names."""
    given = [attributes.get(name, None) for name in ("starts", "ends", "axes", "steps")]
    lists = [
        one if one is not None else optional_of(done, node, place + 1, "a constant") for place, one in enumerate(given)
    ]
    starts, ends, axes, steps = ([] if one is None else [int(n) for n in np.ravel(one)] for one in lists)
    axes, steps = axes or list(range(len(starts))), steps or [1] * len(starts)
    places = [axis % (1 + len(value_of(done, node).shape)) for axis in axes]
    if len(set(places)) < len(places):
        raise FileError(node.where, "each axis once", f"axes {describe(axes)}")
    yield from zip(axes, starts, ends, steps, strict=True)


def _place(node: Node, value: Value, axis: int) -> int:
    """Return the place of an axis, which may be counted from the end, in a value: -1 for the batch."""
    count = 1 + len(value.shape)
    if not -count <= axis < count:
        raise FileError(node.where, f"an axis of {count}", str(axis))
    return axis % count - 1


def _taken(done: Translation, name: str, value: Value, first: int, count: int) -> Value:
    """Return some channels of a value; the value itself if those are all."""
    place = value.axes.index("c")
    if count == value.shape[place]:
        return value
    shape = (*value.shape[:place], count, *value.shape[place + 1 :])
    return replace(value, node=done.put(TakeChannels, name, value.node, first=first, count=count), shape=shape)
