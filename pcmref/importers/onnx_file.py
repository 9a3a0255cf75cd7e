"""ONNX files, read with the package `onnx`: the graph that they hold and its constants, within bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.errors import FileError, PcmrefError, describe, require
from pcmref.files.regular import open_regular

__all__ = ["ELEMENTS_MOST", "OPSET_LEAST", "Graph", "Node", "fold", "read_graph"]

#: The oldest version of the operators that is read.
OPSET_LEAST = 6
#: Most elements of all constants that a file asks for without holding them: VGG-19 has 1.44e8 weights.
ELEMENTS_MOST = 160_000_000
#: Types of numbers that NumPy does not have itself.
SMALL_FLOATS = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
#: Most bytes of a file: the limit of its format.
BYTES_MOST = 1 << 31
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """A node: `inputs` and `outputs` are names of values, "" for one that is left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: Any

    @property
    def where(self) -> str:
        """What an error calls the node."""
        return f"node {self.name!r} ({self.op})" if self.name else f"node of {self.outputs[0]!r} ({self.op})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A graph: one input that is no constant, one output or more.

    Parameters
    ----------
    nodes : tuple of Node
    constants : mapping of str to array
        What the file holds.
    input : str
    input_shape : tuple of int or None
        With the batch first; None where the file leaves a length open.
    takes_integers : bool
        Whether the input is of integers: pixels as they are.
    outputs : tuple of str
    opset : int
    producer : str
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    input: str
    input_shape: tuple[int | None, ...]
    takes_integers: bool
    outputs: tuple[str, ...]
    opset: int
    producer: str


def read_graph(path: Path) -> Graph:
    """Read the graph of an ONNX file.

    Raises
    ------
    FileError
        If the file is damaged or has what no network has, or data beside it are not in its folder.
    MissingExtraError
        If the package `onnx` is not installed.
    """
    onnx = require("onnx", "onnx")
    if not path.is_file():
        raise FileError(str(path), "an ONNX file", "a directory" if path.is_dir() else "nothing")
    if path.stat().st_size > BYTES_MOST:
        raise FileError(str(path), f"an ONNX file of at most {BYTES_MOST} bytes", str(path.stat().st_size))
    with open_regular(path) as file:
        content = file.read()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors are many
        raise FileError(str(path), "an ONNX file", f"a foreign or damaged file ({type(error).__name__})") from error
    graph = model.graph
    opset = _opset(onnx, path, model)
    if model.functions:
        raise FileError(f"{path}: functions", "a graph of operators alone", describe(model.functions[0].name))
    constants = {tensor.name: _tensor(onnx, path, tensor) for tensor in graph.initializer}
    if graph.sparse_initializer:
        raise FileError(f"{path}: initializers", "dense tensors", "a sparse one")
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise FileError(f"{path}: inputs", "one, the images", describe([value.name for value in inputs]))
    if not graph.output:
        raise FileError(f"{path}: outputs", "one at least", "none")
    nodes = tuple(_node(onnx, path, node) for node in graph.node)
    return Graph(
        nodes=nodes,
        constants=constants,
        input=inputs[0].name,
        input_shape=_shape(path, inputs[0]),
        takes_integers=inputs[0].type.tensor_type.elem_type in (onnx.TensorProto.UINT8, onnx.TensorProto.INT32),
        outputs=tuple(value.name for value in graph.output),
        opset=opset,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
    )


def _opset(onnx: Any, path: Path, model: Any) -> int:
    """Return the version of the operators."""
    newest = onnx.defs.onnx_opset_version()
    found = [int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx")]
    if len(found) != 1 or not OPSET_LEAST <= found[0] <= newest:
        expected = f"opset {OPSET_LEAST} to {newest} (of onnx {onnx.__version__})"
        raise FileError(f"{path}: opset", expected, describe(found[0] if len(found) == 1 else found))
    return found[0]


def _shape(path: Path, value: Any) -> tuple[int | None, ...]:
    """Return the shape of the input."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise FileError(f"{path}: {value.name}", "an input with a shape", "none")
    return tuple(int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)


def _node(onnx: Any, path: Path, proto: Any) -> Node:
    """Return a node with its attributes as Python values, tensors among them as arrays."""
    where = f"{path}: node {proto.name or (proto.output[0] if proto.output else '')!r}"
    if proto.domain not in ("", "ai.onnx"):
        raise FileError(where, "an operator of ONNX", describe(f"{proto.domain}.{proto.op_type}"))
    if not proto.output:
        raise FileError(where, "an output", "none")
    attributes = {}
    for attribute in proto.attribute:
        kinds = onnx.AttributeProto
        if attribute.type in (kinds.GRAPH, kinds.GRAPHS, kinds.SPARSE_TENSOR, kinds.SPARSE_TENSORS):
            raise FileError(where, "an operator without a graph or sparse tensor in it", describe(proto.op_type))
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == kinds.TENSOR:
            value = _tensor(onnx, path, value)
        attributes[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return Node(
        name=proto.name,
        op=proto.op_type,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
        proto=proto,
    )


def _tensor(onnx: Any, path: Path, tensor: Any) -> Array:
    """Return a tensor as an array; one whose data lie beside the file only from its folder."""
    where = f"{path}: {tensor.name or 'a constant'}"
    if any(length < 0 for length in tensor.dims):
        raise FileError(where, "lengths from 0 on", describe(list(tensor.dims)))
    said: dict[str, str] = {}
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        said = {entry.key: entry.value for entry in tensor.external_data}
        folder, location = path.resolve().parent, said.get("location", "")
        place = (folder / location).resolve()
        if not location or not place.is_relative_to(folder):
            raise FileError(where, "data in the folder of the file", describe(location))
        if not place.is_file():
            raise FileError(where, f"its data in the file {describe(location)} beside the model", "no such file")
        size = place.stat().st_size
        if prod(tensor.dims) > 8 * size:
            raise FileError(where, f"no more elements than {place.name} has", str(prod(tensor.dims)))
    try:
        found = np.asarray(onnx.numpy_helper.to_array(tensor, str(path.resolve().parent)))
    except Exception as error:  # damaged in whatever way
        beside = f", whose data are in {describe(said['location'])}" if said else ""
        raise FileError(where, f"a tensor{beside}", f"a damaged one ({type(error).__name__})") from error
    if found.dtype.kind not in "biuf" and found.dtype.name not in SMALL_FLOATS:
        raise FileError(where, "a tensor of real numbers", str(found.dtype))
    return found


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
