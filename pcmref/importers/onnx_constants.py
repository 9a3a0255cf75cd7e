"""What nodes of an ONNX graph compute of constants alone: computed once, within bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from pcmref.errors import FileError, PcmrefError, describe, require
from pcmref.importers.onnx_file import Array, Node

__all__ = ["ELEMENTS_MOST", "fold"]

#: Most elements of all constants that a file asks for without holding them: VGG-19 has 1.44e8 weights.
ELEMENTS_MOST = 160_000_000


def fold(node: Node, inputs: Mapping[str, Array]) -> Array | None:
    """Return what a node computes of constants; None if it is none of those that are computed here.

    Raises
    ------
    FileError
        If it fails, or its result is too large.
    """
    if node.op not in FOLDED or len(node.outputs) != 1:
        return None
    given = [inputs[name] for name in node.inputs if name]
    try:
        if node.op in ("ConstantOfShape", "Expand"):
            return _spread(node, given)
        _expect_bounded(node, sum(array.size for array in given), *_result_sizes(node, given))
        with np.errstate(all="ignore"):
            found = np.asarray(FOLDED[node.op](node.attributes, *given))
    except PcmrefError:
        raise
    except Exception as error:
        raise FileError(node.where, "constants of which it can be computed", type(error).__name__) from error
    return found.astype(given[0].dtype, copy=False) if given and node.op in ARITHMETIC else found


def _spread(node: Node, given: list[Array]) -> Array:
    """Return one number, or a small array, in many places: without memory for each."""
    lengths = [int(length) for length in given[-1].ravel()]
    if any(length < 0 for length in lengths):
        raise FileError(node.where, "lengths from 0 on", describe(lengths))
    value = node.attributes.get("value", np.zeros(1, np.float32)).reshape(()) if len(given) == 1 else given[0]
    try:
        shape = np.broadcast_shapes(value.shape, tuple(lengths))
    except ValueError:
        raise FileError(node.where, "a shape that it can be spread to", describe(lengths)) from None
    _expect_bounded(node, prod(shape))
    return np.broadcast_to(value, shape)


def _result_sizes(node: Node, given: list[Array]) -> Iterator[int]:
    """Yield how large the result may be."""
    if node.op in ARITHMETIC and len(given) == 2:
        try:
            yield prod(np.broadcast_shapes(*(array.shape for array in given)))
        except ValueError:
            raise FileError(node.where, "shapes that fit", describe([array.shape for array in given])) from None
    if node.op == "Gather":
        yield given[0].size * given[1].size


def _expect_bounded(node: Node, *sizes: int) -> None:
    for size in sizes:
        if size > ELEMENTS_MOST:
            raise FileError(node.where, f"constants of at most {ELEMENTS_MOST} elements", str(size))


def _constant(said: Mapping[str, Any]) -> Array:
    """Return the value of a ``Constant``, in whichever attribute it stands."""
    ((name, value),) = said.items()
    return np.asarray(value, {"value_float": np.float32, "value_floats": np.float32}.get(name))


def _cast(said: Mapping[str, Any], x: Array) -> Array:
    kind = np.dtype(require("onnx", "onnx").helper.tensor_dtype_to_np_dtype(said["to"]))
    if kind.kind not in "biuf":
        raise TypeError("no real numbers")
    return x.astype(kind)


def _reshape(said: Mapping[str, Any], x: Array, *given: Array) -> Array:
    lengths = [int(n) for n in (given[0].ravel() if given else said["shape"])]
    kept = lengths if said.get("allowzero", 0) else [n or x.shape[k] for k, n in enumerate(lengths)]
    return x.reshape(kept)


def _flatten(said: Mapping[str, Any], x: Array) -> Array:
    return x.reshape(prod(x.shape[: said.get("axis", 1)]), -1)


def _squeeze(said: Mapping[str, Any], x: Array, *given: Array) -> Array:
    return np.squeeze(x, _axes(said, *given))


def _unsqueeze(said: Mapping[str, Any], x: Array, *given: Array) -> Array:
    return np.expand_dims(x, _axes(said, *given) or ())


def _axes(said: Mapping[str, Any], *given: Array) -> tuple[int, ...] | None:
    axes = given[0].ravel().tolist() if given else said.get("axes")
    return None if axes is None else tuple(axes)


def _slice(said: Mapping[str, Any], x: Array, *given: Array) -> Array:
    lists = [one.ravel().tolist() for one in given] or [said[name] for name in ("starts", "ends")]
    starts, ends = lists[:2]
    axes = lists[2] if len(lists) > 2 else said.get("axes", range(len(starts)))
    steps = lists[3] if len(lists) > 3 else [1] * len(starts)
    places = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(places)]


def _divide(said: Mapping[str, Any], x: Array, y: Array) -> Array:
    return np.trunc(x / y) if x.dtype.kind in "iu" else x / y


def _dequantised(said: Mapping[str, Any], x: Array, scale: Array, zero: Array | int = 0) -> Array:
    """``(x - zero point) scale``, for all or along an axis, in float32."""
    axis = said.get("axis", 1)
    lengths = [-1 if place == axis % max(x.ndim, 1) else 1 for place in range(x.ndim)]
    factor, shift = (np.asarray(one).reshape(lengths if np.size(one) > 1 else ()) for one in (scale, zero))
    return (x.astype(np.int64) - shift.astype(np.int64)).astype(np.float32) * factor


#: Operators of which the result has the type of what it is computed of.
ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "Add": lambda _, x, y: x + y,
    "Sub": lambda _, x, y: x - y,
    "Mul": lambda _, x, y: x * y,
    "Div": _divide,
    "Pow": lambda _, x, y: x**y,
    "Neg": lambda _, x: -x,
    "Sqrt": lambda _, x: np.sqrt(x),
    "Floor": lambda _, x: np.floor(x),
    "Ceil": lambda _, x: np.ceil(x),
    "Reciprocal": lambda _, x: 1 / x,
}
#: Operators that are computed here if all that they read is constant: of attributes and inputs.
FOLDED: Mapping[str, Callable[..., Any]] = {
    **ARITHMETIC,
    "Constant": _constant,
    "ConstantOfShape": _spread,
    "Expand": _spread,
    "Identity": lambda _, x: x,
    "Cast": _cast,
    "Shape": lambda _, x: np.array(x.shape, np.int64),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": lambda said, x: np.transpose(x, said.get("perm")),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": lambda said, *several: np.concatenate(several, said["axis"]),
    "Gather": lambda said, x, places: np.take(x, places, said.get("axis", 0)),
    "Slice": _slice,
    "DequantizeLinear": _dequantised,
}
