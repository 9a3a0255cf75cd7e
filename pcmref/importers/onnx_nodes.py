"""From the nodes of an ONNX graph to layers: one function for each operator, none of which approximates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from pcmref.errors import FileError, PcmrefError, describe
from pcmref.importers.onnx_constants import fold
from pcmref.importers.onnx_elements import (
    add,
    add_all,
    clip,
    concat,
    divide,
    elementwise,
    hard_swish,
    local_response,
    multiply,
    prelu,
    subtract,
)
from pcmref.importers.onnx_file import Graph, Node
from pcmref.importers.onnx_layers import (
    average_pool,
    batch_norm,
    conv,
    gemm,
    global_average,
    global_max,
    matmul,
    max_pool,
    reduce_max,
    reduce_mean,
)
from pcmref.importers.onnx_parts import slice_of, split
from pcmref.importers.onnx_shapes import (
    arg_max,
    cast,
    flatten,
    pad,
    reshape,
    same_value,
    softmax,
    squeeze,
    transpose,
    unsqueeze,
)
from pcmref.importers.onnx_values import NO_PADS, NO_STEPS, ONE_STEP, Array, Attributes, Translation, Translator, Value
from pcmref.network.operations import Flatten, HardSigmoid, LeakyRelu, Relu, Sigmoid, Tanh

__all__ = ["OPERATORS", "cut", "input_axes", "translate"]


#: What is expected of a node with an operator that has no layers.
KNOWN = "an operator that pcmref has (examples/README.md lists them)"
QUANTISED = "a model whose activations are float, not a quantised one"
QUANTISING = ("QuantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul")


def cut(graph: Graph, output: str) -> Graph:
    """Return the part of a graph on which one of its values depends, with that value as its output."""
    return replace(graph, nodes=tuple(_needed(graph, output)), outputs=(output,))


def translate(graph: Graph, input_shape: tuple[int, int, int]) -> Translation:
    """Turn a graph of one output into layers; `input_shape` is (height, width, channels) of an image.

    Raises
    ------
    FileError
        Naming the node that has no counterpart, and the reason.
    """
    axes, (output,) = input_axes(graph), graph.outputs
    lengths = dict(zip("hwc", input_shape, strict=True))
    done = Translation(graph, input_shape)
    source = done.put(Flatten, "features", "input") if axes == "c" else "input"
    done.values[graph.input] = Value(node=source, shape=tuple(lengths[axis] for axis in axes), axes=axes)
    for node in graph.nodes:
        if (found := _folded(done, node)) is not None:
            done.constants[node.outputs[0]] = found
        else:
            done.values |= _translated(done, node)
    if output not in done.values:
        raise FileError(f"output {output!r}", "something that depends on the images", "a constant")
    if done.values[output].pads != NO_PADS:
        raise FileError(f"output {output!r}", "a Pad only before a convolution", "one at the end")
    if done.values[output].steps != NO_STEPS:
        raise FileError(f"output {output!r}", ONE_STEP, describe(done.values[output].steps))
    return done


def _folded(done: Translation, node: Node) -> Array | None:
    """Return what a node computes, if it is the same for all images."""
    if node.op == "Shape" and (value := done.values.get(node.inputs[0])) is not None and not node.attributes:
        return np.array([1, *value.shape], np.int64)
    known = all(name in done.constants for name in node.inputs if name)
    return fold(node, done.constants) if known else None


def _needed(graph: Graph, output: str) -> Iterator[Node]:
    """Yield the nodes on which an output depends, in their order, in which each reads only earlier ones."""
    wanted, found = {output}, []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            wanted |= set(node.inputs) - {""}  # an input that is left out
            found.append(node)
    known = {graph.input, "", *graph.constants}
    for node in reversed(found):
        missing = [name for name in node.inputs if name not in known]
        if missing:
            raise FileError(node.where, "values that are defined before it", describe(missing[0]))
        twice = [name for name, count in Counter(node.outputs).items() if name and (name in known or count > 1)]
        if twice:
            raise FileError(node.where, "names that no other value has", describe(twice[0]))
        known |= set(node.outputs)
        yield node
    if output not in known:
        raise FileError("outputs", "a value of the graph", describe(output))


def input_axes(graph: Graph) -> str:
    """Return "chw", or "hwc" if the channels are brought forward at once; or "c" if the input has no pixels."""
    lengths = graph.input_shape
    if len(lengths) == 2:
        return "c"
    if len(lengths) != 4:
        raise FileError(f"input {graph.input!r}", "images: batch, channels, height, width", f"{len(lengths)} axes")
    forward = [0, 3, 1, 2]
    readers = [node for node in graph.nodes if graph.input in node.inputs]
    brought = all(node.op == "Transpose" and node.attributes.get("perm") == forward for node in readers)
    return "hwc" if readers and brought else "chw"


def _translated(done: Translation, node: Node) -> dict[str, Value]:
    """Return the outputs of a node, by their names, as far as they are activations that something reads."""
    translator = OPERATORS.get(node.op)
    if translator is None:
        raise FileError(node.where, QUANTISED if node.op in QUANTISING else KNOWN, node.op)
    attributes = Attributes(node)
    try:
        found = translator(done, node, attributes)
    except PcmrefError:
        raise
    except Exception as error:  # a foreign file can say anything
        expected = "attributes and inputs of this operator"
        raise FileError(node.where, expected, f"others ({type(error).__name__})") from error
    attributes.expect_all_used()
    values = found if isinstance(found, tuple) else (found,)
    return {name: value for name, value in zip(node.outputs, values, strict=False) if value is not None}


#: Operators, and what makes layers of each.
OPERATORS: Mapping[str, Translator] = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "Relu": elementwise(Relu),
    "LeakyRelu": elementwise(LeakyRelu, slope=("alpha", 0.01)),
    "PRelu": prelu,
    "Clip": clip,
    "Sigmoid": elementwise(Sigmoid),
    "HardSigmoid": elementwise(HardSigmoid, slope=("alpha", 0.2), offset=("beta", 0.5)),
    "HardSwish": hard_swish,
    "Tanh": elementwise(Tanh),
    "LRN": local_response,
    "Add": add,
    "Sub": subtract,
    "Mul": multiply,
    "Div": divide,
    "Sum": add_all,
    "Concat": concat,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average,
    "GlobalMaxPool": global_max,
    "ReduceMean": reduce_mean,
    "ReduceMax": reduce_max,
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Pad": pad,
    "Slice": slice_of,
    "Split": split,
    "Identity": same_value,
    "Dropout": same_value,
    "Cast": cast,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "ArgMax": arg_max,
}
