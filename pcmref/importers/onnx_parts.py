"""Operators of ONNX that take parts of an activation: channels that follow each other, or every n-th pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pcmref.errors import FileError, describe
from pcmref.importers.onnx_file import Node
from pcmref.importers.onnx_values import (
    NO_STEPS,
    Attributes,
    Translation,
    Value,
    integers_of,
    map_of,
    optional_of,
    pixels_of,
    value_of,
)
from pcmref.network.operations import PadShortcut, TakeChannels

__all__ = ["slice_of", "split"]


#: The opsets from which on lengths of a Split are an input; the last of equal parts may be smaller; runs of a Slice are
#: inputs.
LENGTHS_READ, UNEVEN, RUNS_READ = 13, 18, 10
#: The end of a run that takes all of the batch, whatever its length.
WHATEVER = (1 << 31) - 1


def split(done: Translation, node: Node, attributes: Attributes) -> tuple[Value | None, ...]:
    """``Split`` of channels; None for a part that nothing reads, so that no layer is made for it."""
    value, axis = value_of(done, node), int(attributes.get("axis", 0))
    place = _place(node, value, axis)
    if value.axes[place : place + 1] != "c":
        raise FileError(node.where, "a Split of channels", f"one along axis {axis} of {value.shape}")
    lengths = _lengths(done, node, attributes, value.shape[place])
    firsts = np.cumsum([0, *lengths[:-1]]).tolist()
    return tuple(
        _taken(done, name, value, first, count) if name in done.read else None
        for name, first, count in zip(node.outputs, firsts, lengths, strict=True)
    )


def _lengths(done: Translation, node: Node, attributes: Attributes, channels: int) -> list[int]:
    """Return how many channels each part has."""
    parts, opset = len(node.outputs), done.graph.opset
    count = attributes.get("num_outputs", None) if opset >= UNEVEN else None
    if opset < LENGTHS_READ:
        said = attributes.get("split", None)
        if len(node.inputs) > 1:
            raise FileError(node.where, "the lengths of the parts as an attribute", "an input")
    else:
        said = optional_of(done, node, 1, "the lengths of the parts")
    if opset >= UNEVEN and (said is None) == (count is None):
        raise FileError(node.where, "lengths of the parts, or their number", "none" if said is None else "both")
    if count not in (None, parts):
        raise FileError(f"{node.where}: num_outputs", f"{parts}, the number of outputs", describe(count))
    if said is not None:
        lengths = integers_of(node, np.asarray(said), "lengths of the parts")
    else:
        most = -(-channels // parts)
        lengths = [most] * (parts - 1) + [channels - most * (parts - 1)]
        if opset < UNEVEN and lengths[-1] != most:
            raise FileError(node.where, f"{parts} equal parts", f"{channels} channels")
    if len(lengths) != parts or min(lengths) < 1 or sum(lengths) != channels:
        expected = f"{parts} parts of at least one channel, {channels} channels together"
        raise FileError(node.where, expected, describe(lengths))
    return lengths


def slice_of(done: Translation, node: Node, attributes: Attributes) -> Value:
    """``Slice`` that takes channels one after the other, or every n-th pixel, as shortcuts do."""
    value = value_of(done, node, stepped=True)
    steps = dict(zip("hw", value.steps, strict=True))
    for axis, start, end, step in _runs(done, node, attributes):
        place = _place(node, value, axis)
        kind, length = ("", 0) if place < 0 else (value.axes[place], value.shape[place])
        taken = range(length)[start : end : max(step, 1)]  # negative and too large numbers mean the same to ONNX
        if kind == "c" and step == 1 and taken and value.steps == NO_STEPS:
            value = _taken(done, node.outputs[0], value, taken[0], len(taken))
        elif kind in steps and step >= 1 and taken == range(0, length, step):
            steps[kind] *= step
        elif place >= 0 or (start, step) != (0, 1) or end < WHATEVER:
            expected = "channels one after the other, or every n-th pixel from the first on"
            raise FileError(node.where, expected, f"{start}:{end}:{step} of axis {axis} of {value.shape}")
    return _stepped(done, node, value, (steps["h"], steps["w"]))


def _stepped(done: Translation, node: Node, value: Value, steps: tuple[int, int]) -> Value:
    """Return every n-th pixel of a map; where the steps of both axes differ, they wait for another ``Slice``."""
    if steps == value.steps:
        return value
    map_of(done, node, stepped=True)
    whole = pixels_of(done, value.node)
    if steps[0] == steps[1]:
        return pixels_of(done, done.put(PadShortcut, node.outputs[0], value.node, stride=steps[0]))
    channels, *lengths = whole.shape
    height, width = (-(-length // step) for length, step in zip(lengths, steps, strict=True))
    return replace(whole, shape=(channels, height, width), steps=steps)


def _runs(done: Translation, node: Node, attributes: Attributes) -> list[tuple[int, int, int, int]]:
    """Return axis, start, end and step of each axis that a ``Slice`` names."""
    names = ("starts", "ends", "axes", "steps")
    if done.graph.opset < RUNS_READ:
        given = [attributes.get(name, None) for name in names[:3]] + [None]
    else:
        given = [optional_of(done, node, place, f"its {name}") for place, name in enumerate(names, 1)]
    if given[0] is None or given[1] is None:
        raise FileError(node.where, "starts and ends", "none")
    lists = [
        [] if one is None else integers_of(node, np.asarray(one), name) for name, one in zip(names, given, strict=True)
    ]
    starts, ends, axes, steps = lists
    axes, steps = axes or list(range(len(starts))), steps or [1] * len(starts)
    places = [axis % (1 + len(value_of(done, node, stepped=True).shape)) for axis in axes]
    if len(set(places)) < len(places):
        raise FileError(node.where, "each axis once", f"axes {describe(axes)}")
    return list(zip(axes, starts, ends, steps, strict=True))


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
