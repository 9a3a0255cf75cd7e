"""ONNX models: bytes, and attributes, lengths, names and types within them."""

import contextlib
import functools
import math

import numpy as np
from onnx import TensorProto, helper, load_model_from_string, numpy_helper

from pcmref.importers.onnx_models import convert_onnx
from tests.fuzz.mutations import EDGES, changed_bytes

OPERATORS = (
    *("Conv", "Relu", "Clip", "Reshape", "Slice", "Split", "Pad", "Gather", "Expand", "Tile"),
    *("ConstantOfShape", "Gemm"),
)
NUMBERS = [n for n in EDGES if -(1 << 63) <= n < 1 << 63]


@functools.cache
def model():
    """A network with every kind of node that reads lengths, axes or constants; as bytes."""
    rng = np.random.default_rng(0)

    def node(op, *inputs, out, **attributes):
        return helper.make_node(op, list(inputs), [out], **attributes)

    nodes = [
        node("Pad", "x", "pads", out="p"),
        node("Conv", "p", "w", "b", out="c", strides=[2, 1], group=2, pads=[0, 1, 1, 0]),
        node("BatchNormalization", "c", "b", "b", "b", "v", out="n", epsilon=1e-5),
        node("Clip", "n", "zero", "six", out="r"),
        node("MaxPool", "r", out="m", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("AveragePool", "m", out="a", kernel_shape=[2, 2], pads=[1, 0, 1, 0]),
        node("Reshape", "a", "groups", out="g"),
        node("Transpose", "g", out="t", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "t", "back", out="s"),
        node("Slice", "s", "starts", "ends", "axes", "steps", out="u"),
        helper.make_node("Split", ["u", "parts"], ["u1", "u2", "u3"], axis=1),
        node("Slice", "u", "one", "three", "one", out="u4"),
        node("Concat", "u3", "u1", "u4", "u", out="k", axis=1),
        node("GlobalAveragePool", "k", out="h"),
        node("Squeeze", "h", "axes", out="f"),
        node("ConstantOfShape", "shape", out="d", value=numpy_helper.from_array(np.ones(1, np.float32))),
        node("Gemm", "f", "d", "v8", out="l", transB=1, alpha=0.5),
        node("Softmax", "l", out="y", axis=1),
    ]
    constants = {
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "w": rng.standard_normal((4, 1, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(4).astype(np.float32),
        "v": np.ones(4, np.float32),
        "v8": np.ones(3, np.float32),
        "zero": np.float32(0),
        "six": np.float32(6),
        "groups": np.array([0, 2, 2, 4, 3]),
        "back": np.array([0, 4, 4, 3]),
        "starts": np.array([0, 0]),
        "ends": np.array([1 << 40, 1 << 40]),
        "axes": np.array([2, 3]),
        "steps": np.array([2, 2]),
        "parts": np.array([1, 2, 1]),
        "one": np.array([1]),
        "three": np.array([3]),
        "shape": np.array([3, 8]),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 8, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    made.ir_version = 8
    return made.SerializeToString()


def good():
    return {"net.onnx": model()}


def changed(rng):
    if rng.random() < 0.3:
        return {"net.onnx": changed_bytes(rng, model())}
    made = load_model_from_string(model())
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        with contextlib.suppress(ValueError, TypeError):  # of a tensor that is changed already
            _change(rng, made)
    return {"net.onnx": made.SerializeToString()}


def _change(rng, made):
    """Change one thing of a model."""
    graph = made.graph
    node, tensor = rng.choice(graph.node), rng.choice(graph.initializer)
    match rng.randrange(10):
        case 0 if node.attribute:
            attribute = rng.choice(node.attribute)
            for k in range(len(attribute.ints)):
                if rng.random() < 0.5:
                    attribute.ints[k] = rng.choice(NUMBERS)
            attribute.i = rng.choice(NUMBERS)
            attribute.f = rng.choice((0.0, -1.0, 1e30, math.inf, math.nan))
        case 1 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
        case 2:
            values = numpy_helper.to_array(tensor).copy()
            flat = values.reshape(-1)
            if flat.size:
                flat[rng.randrange(flat.size)] = rng.choice(NUMBERS) if values.dtype.kind == "i" else math.nan
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        case 3:
            tensor.data_type = rng.randrange(30)
        case 4 if node.input:
            names = [name for other in graph.node for name in (*other.input, *other.output)]
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        case 5:
            node.op_type = rng.choice(OPERATORS)
        case 6:
            graph.node.remove(node)
        case 7:
            graph.node.append(node)
        case 8:
            for dimension in graph.input[0].type.tensor_type.shape.dim:
                if rng.random() < 0.4:
                    dimension.dim_value = rng.choice(NUMBERS)
        case _:
            node.input.append(rng.choice(graph.node).output[0])


def read(folder):
    convert_onnx(folder / "net.onnx")
