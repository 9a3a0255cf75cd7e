"""ONNX files, read with the package `onnx`: the graph that they hold and its constants, within bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.errors import FileError, describe, require
from pcmref.files.regular import open_regular

__all__ = ["OPSET_LEAST", "Array", "Graph", "Node", "read_graph"]

#: The oldest version of the operators that is read.
OPSET_LEAST = 6
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
        takes_integers=_takes_integers(onnx, path, inputs[0], nodes),
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


def _takes_integers(onnx: Any, path: Path, value: Any, nodes: Sequence[Node]) -> bool:
    """Return whether the input is of integers: pixels, which must become floats before anything is computed of them."""
    kinds, kind = onnx.TensorProto, value.type.tensor_type.elem_type
    if kind in (kinds.FLOAT, kinds.DOUBLE, kinds.FLOAT16, kinds.BFLOAT16):
        return False
    if kind not in (kinds.UINT8, kinds.UINT16, kinds.INT16, kinds.INT32, kinds.INT64):
        expected = "floats, or integers that hold pixels from 0 to 255"
        raise FileError(f"{path}: input {value.name!r}", expected, kinds.DataType.Name(kind))
    for node in nodes:
        if value.name in node.inputs and node.op != "Cast":
            raise FileError(
                f"{path}: {node.where}", "a Cast to float of an input of integers", f"{node.op} of integers"
            )
    return True


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
