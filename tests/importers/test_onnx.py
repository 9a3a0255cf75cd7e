"""ONNX models: what other people's programs compute of them, and what is refused."""

from __future__ import annotations

from math import prod
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pcmref
from pcmref import cli
from pcmref.errors import FileError, MissingExtraError
from pcmref.importers.onnx_file import read_graph
from pcmref.importers.onnx_models import convert_onnx
from pcmref.importers.onnx_nodes import OPERATORS, cut, translate
from pcmref.inference.plan import digital_plan, walk
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation
from pcmref.network.layers import BatchNorm, Conv, Linear
from pcmref.network.operations import Flatten

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

DATA = Path(onnx.__file__).parent / "backend/test/data"
f32 = np.float32


def computed(path, x, output=None):
    """What the layers of a model put out for float inputs (n, channels, height, width), one row an image."""
    graph = read_graph(Path(path))
    if x.ndim not in (2, 4):
        translate(graph, (1, 1, 1))  # refused
    x = x.reshape(*x.shape, *[1] * (4 - x.ndim))
    n, channels, height, width = x.shape
    done = translate(cut(graph, output or graph.outputs[0]), (height, width, channels))
    value = done.values[output or graph.outputs[0]]
    layers = list(done.layers.values())
    if len(done.shapes[value.node]) == 3:
        layers.append(Flatten(name="all of it", inputs=(value.node,)))
    network = Network(
        layers=tuple(layers),
        input_shape=(height, width, channels),
        normalisation=Normalisation(full_scale=1.0, mean=(0.0,) * channels, std=(1.0,) * channels),
        classes=tuple(map(str, range(prod(value.shape)))),
    )
    maps = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    return walk(digital_plan(network, "layers"), maps, np.arange(n, dtype=np.uint64)), done


# The conformance data of the package itself


#: Cases of two-dimensional networks that compute what they should.
CONFORMING = {
    *("AvgPool2d", "AvgPool2d_stride", "BatchNorm2d_eval", "BatchNorm2d_momentum_eval"),
    *("Conv2d", "Conv2d_depthwise", "Conv2d_depthwise_padded", "Conv2d_depthwise_strided"),
    *("Conv2d_depthwise_with_multiplier", "Conv2d_dilated", "Conv2d_groups", "Conv2d_groups_thnn", "Conv2d_no_bias"),
    *("Conv2d_padding", "Conv2d_strided", "Linear", "Linear_no_bias", "MaxPool2d", "MaxPool2d_stride_padding_dilation"),
    *("GLU", "PReLU_2d", "PReLU_2d_multiparam", "ReLU", "Sigmoid", "Tanh"),
}
#: Of the others those whose softmax at the end is left out; the rest is refused.
SOFTMAX = {"LogSoftmax", "Softmax", "log_softmax_lastdim", "softmax_lastdim"}
CASES = sorted(path.name.removeprefix("test_") for path in (DATA / "pytorch-converted").glob("test_*"))


@pytest.mark.parametrize("name", CASES)
def test_the_conformance_data_of_pytorch(name):
    folder = DATA / f"pytorch-converted/test_{name}"
    (given,) = sorted(folder.glob("test_data_set_0/input_*.pb"))[:1]
    x = numpy_helper.to_array(onnx.load_tensor(given))
    expected = numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0/output_0.pb"))
    if x.ndim not in (2, 4) or name not in CONFORMING | SOFTMAX:
        assert name not in CONFORMING
        with pytest.raises(FileError):
            computed(folder / "model.onnx", x)
        return
    found, done = computed(folder / "model.onnx", x)
    if name in SOFTMAX:
        assert "left out" in done.notes[0]
        found = softmax(found) if "log" not in name.lower() else np.log(softmax(found))
    np.testing.assert_allclose(found, expected.reshape(len(x), -1), rtol=1e-3, atol=1e-7)  # as the suite does


def test_all_the_conforming_cases_are_there():
    assert set(CASES) >= CONFORMING | SOFTMAX


def softmax(x):
    e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


LARGE = {"bvlc_alexnet", "vgg19", "zfnet512"}
LIGHT = [
    pytest.param(path, marks=pytest.mark.soak if path.stem.removeprefix("light_") in LARGE else (), id=path.stem)
    for path in sorted((DATA / "light").glob("*.onnx"))
]


def test_there_are_nine_light_models():
    assert len(LIGHT) == 9


@pytest.mark.parametrize("path", LIGHT)
def test_the_light_models(path):
    """The suite's own input and output; its weights are all alike, and so are most probabilities."""
    expected = numpy_helper.to_array(onnx.load_tensor(path.with_name(f"{path.stem}_output_0.pb")))
    shape = (1, 3, 224, 224)
    found, done = computed(path, (np.arange(prod(shape)).reshape(shape) / prod(shape)).astype(f32))
    if any("left out" in note for note in done.notes):
        found = softmax(found)
    np.testing.assert_allclose(found, expected.reshape(1, -1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("path", LIGHT)
def test_the_light_models_with_random_weights(path, tmp_path):
    """Against another engine, to 1e-4 of the spread: where the weights differ, so does every mistake."""
    runtime = pytest.importorskip("onnxruntime")
    model, rng = onnx.load(path), np.random.default_rng(1)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    variances = {node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"}
    made = [node for node in model.graph.node if node.op_type == "ConstantOfShape"]
    for node in made:
        shape = tensors[node.input[0]].astype(int)
        values = rng.standard_normal(shape) * np.sqrt(2 / max(1, np.prod(shape[1:]))) if len(shape) > 1 else (
            rng.uniform(0.5, 1.5, shape))  # fmt: skip
        values = np.abs(values) if node.output[0] in variances else values
        model.graph.node.remove(node)
        model.graph.initializer.append(numpy_helper.from_array(values.astype(f32), node.output[0]))
    assert made
    final = model.graph.node[-1]
    before = final.input[0] if final.op_type == "Softmax" else final.output[0]  # logits, not probabilities
    model.graph.output[0].name = before
    if final.op_type == "Softmax":
        model.graph.node.remove(final)
    onnx.save(model, file := tmp_path / "random.onnx")
    x = rng.standard_normal((2, 3, 224, 224)).astype(f32)
    session = runtime.InferenceSession(file)
    expected = np.concatenate([session.run(None, {session.get_inputs()[0].name: one[None]})[0] for one in x])
    found, _ = computed(file, x)
    assert expected.std() > 0
    assert np.abs(found - expected.reshape(2, -1)).max() < 1e-4 * expected.std()


# Small models, against the reference that comes with ONNX


def save(path, nodes, constants, shape, *, opset=17, output="y", value_shape=None):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, value_shape)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, path)
    return model


def node(op, *inputs, out="y", **attributes):
    return helper.make_node(op, list(inputs), [out], **attributes)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(f32)


def split(*given, parts, **attributes):
    """Nodes that cut x into parts, and put them together in another order."""
    names = [f"part{number}" for number in range(parts)]
    cut_up = helper.make_node("Split", ["x", *given], names, **attributes)
    return [cut_up, node("Relu", names[0], out="r"), node("Concat", *names[1:], "r", names[0], axis=1)]


C = numbers(6, seed=9)
#: Nodes from x, shape (2, 6, 7, 5), to y; their constants.
GRAPHS = {
    "clip by attributes": ([node("Clip", "x", min=-0.5, max=0.75)], {}, 10),
    "clip by inputs": ([node("Clip", "x", "low", "high")], {"low": f32(0), "high": f32(6)}, 13),
    "clip from below": ([node("Clip", "x", "low")], {"low": f32(0)}, 13),
    "clip from above": ([node("Clip", "x", "", "high")], {"high": f32(0.25)}, 13),
    "hard swish": ([node("HardSwish", "x")], {}, 14),
    "hard sigmoid": ([node("HardSigmoid", "x", alpha=0.3)], {}, 13),
    "leaky relu": ([node("LeakyRelu", "x")], {}, 13),
    "slopes": ([node("PRelu", "x", "s")], {"s": C.reshape(6, 1, 1)}, 13),
    "one slope": ([node("PRelu", "x", "s")], {"s": C[:1]}, 13),
    "local response": ([node("LRN", "x", size=3, alpha=0.5, beta=0.6, bias=2.0)], {}, 13),
    "scale and shift": (
        [node("Mul", "x", "a", out="m"), node("Add", "b", "m")],
        {"a": C.reshape(1, 6, 1, 1), "b": f32(0.5)},
        13,
    ),
    "differences": (
        [node("Sub", "x", "a", out="m"), node("Sub", "b", "m", out="n"), node("Sub", "n", "x")],
        {"a": C.reshape(6, 1, 1), "b": f32(0.5)},
        13,
    ),
    "quotient": ([node("Div", "x", "six")], {"six": f32(6)}, 13),
    "squeeze and excitation": (
        [
            node("GlobalAveragePool", "x", out="g"),
            node("Conv", "g", "w", "b", out="c"),
            node("Sigmoid", "c", out="s"),
            node("Mul", "s", "x"),
        ],
        {"w": numbers(6, 6, 1, 1), "b": C},
        13,
    ),
    "swish": ([node("Sigmoid", "x", out="s"), node("Mul", "x", "s")], {}, 13),
    "sum of three": ([node("Relu", "x", out="r"), node("Sum", "x", "r", "x")], {}, 13),
    "concat": ([node("Relu", "x", out="r"), node("Concat", "x", "r", "x", axis=1)], {}, 13),
    "concat from the end": ([node("Relu", "x", out="r"), node("Concat", "x", "r", axis=-3)], {}, 13),
    "equal parts, opset 7": (split(parts=3, axis=1), {}, 7),
    "parts by an attribute": (split(parts=3, axis=-3, split=[1, 3, 2]), {}, 11),
    "equal parts, opset 13": (split(parts=2, axis=1), {}, 13),
    "parts by an input": (split("p", parts=3, axis=-3), {"p": np.array([2, 1, 3])}, 13),
    "parts by their number": (split(parts=3, axis=1, num_outputs=3), {}, 18),
    "a smaller last part": (
        [
            node("Flatten", "x", out="f"),
            helper.make_node("Split", ["f"], ["a", "b", "c", "d"], axis=1, num_outputs=4),
            node("Concat", "d", "b", "c", "a", axis=1),
        ],
        {},
        18,
    ),
    "one part": ([split(parts=1, axis=1)[0], node("Relu", "part0")], {}, 13),
    "parts of a vector": (
        [
            node("Flatten", "x", out="f"),
            helper.make_node("Split", ["f", "p"], ["a", "b"], axis=-1),
            node("Concat", "b", "a", axis=1),
        ],
        {"p": np.array([100, 110])},
        13,
    ),
    "some channels, opset 9": ([node("Slice", "x", starts=[-5], ends=[-2], axes=[1])], {}, 9),
    "some channels": (
        [node("Slice", "x", "s", "e", "a", "n")],
        {"s": np.array([4, 0]), "e": np.array([2**62, 9]), "a": np.array([-3, 3]), "n": np.array([1, 1])},
        13,
    ),
    "some channels of some pixels": (
        [node("Slice", "x", "s", "e", "a", "n")],
        {"s": np.array([-99, 0, 0]), "e": np.array([-1, 7, 9]), "a": np.array([1, 2, 3]), "n": np.array([1, 3, 3])},
        13,
    ),
    "every other pixel, an axis at a time": (
        [
            node("Slice", "x", "s", "e", "two", "n", out="rows"),
            node("Slice", "rows", "s", "e", "three", "n"),
        ],
        {"s": np.array([0]), "e": np.array([2**62]), "two": np.array([2]), "three": np.array([3]), "n": np.array([2])},
        13,
    ),
    "every fourth pixel, an axis at a time": (
        [
            node("Slice", "x", "s", "e", "two", "n", out="rows"),
            node("Slice", "rows", "s", "e", "two", "n", out="fewer"),
            node("Slice", "fewer", "s", "e", "three", "four"),
        ],
        {
            **{"s": np.array([0]), "e": np.array([2**62]), "two": np.array([2]), "three": np.array([3])},
            **{"n": np.array([2]), "four": np.array([4])},
        },
        13,
    ),
    "all of the batch": (
        [node("Slice", "x", "s", "e")],
        {"s": np.array([0, 2]), "e": np.array([2**63 - 1, 5])},
        13,
    ),
    "channels of a vector": (
        [node("Flatten", "x", out="f"), node("Slice", "f", "s", "e", "a")],
        {"s": np.array([17]), "e": np.array([80]), "a": np.array([1])},
        13,
    ),
    "shuffle": (
        [
            node("Reshape", "x", "groups", out="r"),
            node("Transpose", "r", out="t", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "t", "back"),
        ],
        {"groups": np.array([2, 3, 2, 7, 5]), "back": np.array([2, -1, 7, 5])},
        13,
    ),
    "max pool": ([node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])], {}, 12),
    "max pool up": ([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], {}, 12),
    "max pool apart": ([node("MaxPool", "x", kernel_shape=[2, 2], strides=[1, 1], dilations=[3, 2])], {}, 12),
    "max of all": ([node("GlobalMaxPool", "x")], {}, 12),
    "mean": ([node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {}, 12),
    "mean of padding too": (
        [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 0, 1], count_include_pad=1)],
        {},
        12,
    ),
    "mean of a pad": (
        [node("Pad", "x", "pads", out="p"), node("AveragePool", "p", kernel_shape=[3, 3])],
        {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
        13,
    ),
    "largest of pixels": ([node("ReduceMax", "x", axes=[2, 3], keepdims=0)], {}, 13),
    "largest of pixels, linear": (
        [node("ReduceMax", "x", axes=[2, 3], keepdims=0, out="r"), node("Gemm", "r", "w", transB=1)],
        {"w": numbers(4, 6)},
        13,
    ),
    "largest of pixels, kept": ([node("ReduceMax", "x", "axes")], {"axes": np.array([-2, -1])}, 18),
    "mean over pixels": ([node("ReduceMean", "x", axes=[2, 3], keepdims=0)], {}, 13),
    "mean over pixels, kept": ([node("ReduceMean", "x", axes=[-1, -2])], {}, 13),
    "pad before a convolution": (
        [node("Pad", "x", "pads", out="p"), node("Conv", "p", "w", pads=[0, 1, 0, 1])],
        {"pads": np.array([0, 0, 1, 0, 0, 0, 2, 3]), "w": numbers(4, 6, 3, 3)},
        13,
    ),
    "same, more at the end": (
        [node("Conv", "x", "w", auto_pad="SAME_UPPER", strides=[2, 2])],
        {"w": numbers(4, 6, 4, 3)},
        13,
    ),
    "same, more at the start": ([node("Conv", "x", "w", auto_pad="SAME_LOWER")], {"w": numbers(4, 6, 2, 4)}, 13),
    "valid": ([node("Conv", "x", "w", auto_pad="VALID", dilations=[2, 1])], {"w": numbers(4, 6, 2, 4)}, 13),
    "groups": (
        [node("Conv", "x", "w", "b", group=3, strides=[2, 1], pads=[1, 0, 2, 1])],
        {"w": numbers(9, 2, 3, 2), "b": numbers(9)},
        13,
    ),
    "shortcut with padded channels": (
        [node("Slice", "x", "starts", "ends", "axes", "steps", out="s"), node("Pad", "s", "pads")],
        {
            "starts": np.array([0, 0]),
            "ends": np.array([2**62, 2**62]),
            "axes": np.array([2, 3]),
            "steps": np.array([2, 2]),
            "pads": np.array([0, 1, 0, 0, 0, 2, 0, 0]),
        },
        13,
    ),
    "flattened and linear": (
        [node("Flatten", "x", out="f"), node("Gemm", "f", "w", "b", transB=1, alpha=0.5, beta=2.0)],
        {"w": numbers(4, 210), "b": numbers(4)},
        13,
    ),
    "matrix and bias": (
        [
            node("Reshape", "x", "flat", out="f"),
            node("MatMul", "f", "w", out="m"),
            node("Add", "m", "b"),
        ],
        {"flat": np.array([0, -1]), "w": numbers(210, 4), "b": numbers(4)},
        13,
    ),
    "shape computed": (
        [
            node("Shape", "x", out="s"),
            node("Gather", "s", "zero", out="n"),
            node("Unsqueeze", "n", "axes", out="u"),
            node("Concat", "u", "rest", out="shape", axis=0),
            node("Reshape", "x", "shape"),
        ],
        {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])},
        13,
    ),
    "one pixel": (
        [
            node("GlobalAveragePool", "x", out="g"),
            node("Squeeze", "g", "axes", out="v"),
            node("Unsqueeze", "v", "axes", out="u"),
            node("Flatten", "u"),
        ],
        {"axes": np.array([2, 3])},
        13,
    ),
    "folded": (
        [
            node("DequantizeLinear", "q", "scale", "zero", out="w", axis=0),
            node("Conv", "x", "w", out="c"),
            node("Dropout", "c", out="d"),
            node("Identity", "d", out="i"),
            node("Cast", "i", to=1),
        ],
        {
            "q": np.random.default_rng(2).integers(-128, 128, (4, 6, 1, 1)).astype(np.int8),
            "scale": np.array([0.1, 0.2, 0.3, 0.4], f32),
            "zero": np.array([0, 1, 2, 3], np.int8),
        },
        13,
    ),
    "normalised": (
        [node("BatchNormalization", "x", "g", "b", "m", "v", epsilon=1e-3)],
        {"g": C, "b": numbers(6, seed=1), "m": numbers(6, seed=2), "v": np.abs(numbers(6, seed=3))},
        15,
    ),
    "float16 weights": ([node("Conv", "x", "w32")], {"w32": numbers(4, 6, 1, 1).astype(np.float16)}, 13),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_small_graphs(name, tmp_path):
    nodes, constants, opset = GRAPHS[name]
    model = save(tmp_path / "m.onnx", nodes, constants, [2, 6, 7, 5], opset=opset)
    if name == "float16 weights":  # other programs want all floats alike
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(constants["w32"].astype(f32), "w32"))
    x = numbers(2, 6, 7, 5, seed=4)
    if name == "one slope":
        x[0, 0, 0, 0] = 0.0
    found, _ = computed(tmp_path / "m.onnx", x)
    onnx.save(model, tmp_path / "other.onnx")
    expected = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "other.onnx").run(None, {"x": x})[0]
    np.testing.assert_allclose(found, expected.reshape(2, -1), rtol=1e-5, atol=1e-5)


def test_every_operator_has_a_test():
    tested = {one.op_type for nodes, _, _ in GRAPHS.values() for one in nodes}
    assert set(OPERATORS) - tested <= {"Relu", "Sigmoid", "Tanh", "Softmax", "LogSoftmax", "ArgMax"}  # elsewhere


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_convolutions_and_pools_of_any_window(tmp_path_factory, data):
    """Against the runtime that most people use."""
    runtime = pytest.importorskip("onnxruntime")
    pair = st.lists(st.integers(1, 3), min_size=2, max_size=2)
    kernel, strides = data.draw(pair), data.draw(pair)
    pads = data.draw(st.lists(st.integers(0, 1), min_size=4, max_size=4))
    size = [data.draw(st.integers(3, 9)) for _ in range(2)]
    kind = data.draw(st.sampled_from(["Conv", "MaxPool", "AveragePool"]))
    attributes = {"strides": strides, "pads": pads}
    constants, inputs = {}, ["x"]
    if kind == "Conv":
        groups = data.draw(st.sampled_from([1, 2, 4]))
        attributes |= {"group": groups, "dilations": data.draw(pair)}
        constants, inputs = {"w": numbers(8, 4 // groups, *kernel)}, ["x", "w"]
    else:
        attributes |= {"kernel_shape": kernel, "ceil_mode": data.draw(st.integers(0, 1))}
        assume(all(pad < kernel[k % 2] for k, pad in enumerate(pads)))
    if kind == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    spread = attributes.get("dilations", [1, 1])
    room = [pads[k] + size[k] + pads[k + 2] - spread[k] * (kernel[k] - 1) for k in range(2)]
    assume(min(room) >= 1)
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    save(path, [node(kind, *inputs, **attributes)], constants, [1, 4, *size])
    x = numbers(1, 4, *size, seed=1)
    session = runtime.InferenceSession(path)
    found, _ = computed(path, x)
    expected = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(found, expected.reshape(1, -1), rtol=1e-5, atol=1e-5)


# Whole networks


def resnet(path, *, folded=False, seed=0, batch="n"):
    """A block with batch normalisations, or with those folded into the convolutions, as programs for inference do."""
    rng = np.random.default_rng(seed)
    nodes, constants = [], {}

    def conv(name, source, channels, out):
        weight = (rng.standard_normal((out, channels, 3, 3)) / np.sqrt(9 * channels)).astype(f32)
        gamma, beta, mean = (rng.uniform(0.5, 1.5, out).astype(f32) for _ in range(3))
        var = rng.uniform(0.5, 2, out).astype(f32)
        if folded:
            scale = gamma / np.sqrt(var + f32(1e-5))
            constants[f"{name}.w"], constants[f"{name}.b"] = weight * scale[:, None, None, None], beta - mean * scale
            nodes.append(node("Conv", source, f"{name}.w", f"{name}.b", out=f"{name}.bn", pads=[1] * 4))
            return
        constants.update({f"{name}.w": weight, f"{name}.g": gamma, f"{name}.b": beta})
        constants.update({f"{name}.m": mean, f"{name}.v": var})
        nodes.append(node("Conv", source, f"{name}.w", out=f"{name}.c", pads=[1] * 4))
        names = [f"{name}.{part}" for part in "cgbmv"]
        nodes.append(node("BatchNormalization", *names, out=f"{name}.bn", epsilon=1e-5))

    conv("/stem", "x", 3, 8)
    nodes.append(node("Relu", "/stem.bn", out="r0"))
    conv("one", "r0", 8, 8)
    nodes.append(node("Relu", "one.bn", out="r1"))
    conv("two", "r1", 8, 8)
    nodes.append(node("Add", "two.bn", "r0", out="sum"))
    nodes.append(node("Relu", "sum", out="r2"))
    nodes.append(node("GlobalAveragePool", "r2", out="mean"))
    nodes.append(node("Flatten", "mean", out="flat"))
    constants["fc.w"], constants["fc.b"] = numbers(5, 8), numbers(5)
    nodes.append(node("Gemm", "flat", "fc.w", "fc.b", out="y", transB=1))
    return save(path, nodes, constants, [batch, 3, 12, 10])


@pytest.mark.parametrize("folded", [False, True])
def test_a_network_folded_or_not(folded, tmp_path):
    model = resnet(tmp_path / "net.onnx", folded=folded)
    network, notes = convert_onnx(tmp_path / "net.onnx", classes="abcde")
    kinds = [type(layer) for layer in network.layers]
    assert (kinds.count(Conv), kinds.count(Linear), kinds.count(BatchNorm)) == (3, 1, 0 if folded else 3)
    assert all((layer.bias is not None) == folded for layer in network.layers if isinstance(layer, Conv))
    assert network.classes == ("a", "b", "c", "d", "e")
    assert network.provenance["source_format"].startswith("ONNX, opset 17")
    *rest, note = notes
    assert [("no batch normalisations" in one) for one in rest] == [True] * folded
    assert "assumed: (pixel / 255 - 0.485, 0.456, 0.406) / 0.229, 0.224, 0.225" in note
    images = np.random.default_rng(5).integers(0, 256, (4, 12, 10, 3), np.uint8)
    scale = network.normalisation
    x = ((images / 255.0 - scale.mean) / scale.std).astype(f32)
    expected = ReferenceEvaluator(model).run(None, {"x": np.moveaxis(x, -1, 1)})[0]
    np.testing.assert_allclose(pcmref.digital(network, images), expected, rtol=1e-4, atol=1e-5)
    pcmref.save(tmp_path / "net.h5", network)
    assert pcmref.load(tmp_path / "net.h5").digest == network.digest
    pcmref.logits(pcmref.program(network).at(t_s=25.0), images)


def test_channels_after_the_pixels(tmp_path):
    """As TensorFlow's models have them: transposed at once."""
    nodes = [
        node("Transpose", "x", out="t", perm=[0, 3, 1, 2]),
        node("Conv", "t", "w", out="c"),
        node("GlobalAveragePool", "c", out="g"),
        node("Flatten", "g"),
    ]
    model = save(tmp_path / "m.onnx", nodes, {"w": numbers(4, 3, 3, 3)}, ["n", 8, 9, 3])
    plain = Normalisation(full_scale=255, mean=(0,) * 3, std=(1,) * 3)
    network, _ = convert_onnx(tmp_path / "m.onnx", normalisation=plain)
    assert network.input_shape == (8, 9, 3)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), np.uint8)
    expected = ReferenceEvaluator(model).run(None, {"x": (images / 255).astype(f32)})[0]
    np.testing.assert_allclose(pcmref.digital(network, images), expected, rtol=1e-4, atol=1e-5)


def test_a_size_that_the_model_leaves_open(tmp_path):
    nodes = [node("Conv", "x", "w", out="c"), node("GlobalAveragePool", "c", out="g"), node("Flatten", "g")]
    save(tmp_path / "m.onnx", nodes, {"w": numbers(4, 1, 3, 3)}, ["n", 1, "h", "w"])
    with pytest.raises(FileError, match=r"input 'x': expected lengths of its axes, or a size \(--size HxW\)"):
        convert_onnx(tmp_path / "m.onnx")
    network, notes = convert_onnx(tmp_path / "m.onnx", size=(20, 30))
    assert network.input_shape == (20, 30, 1)
    assert "assumed: (pixel / 255 - 0) / 1" in notes[-1]


def test_a_softmax_at_the_end_is_left_out_and_said(tmp_path):
    nodes = [node("GlobalAveragePool", "x", out="g"), node("Flatten", "g", out="f"), node("Softmax", "f", axis=1)]
    save(tmp_path / "m.onnx", nodes, {}, ["n", 3, 4, 4])
    _, notes = convert_onnx(tmp_path / "m.onnx")
    assert "Softmax at the end is left out" in notes[0]


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("before", [[], [node("Softmax", "f", out="s", axis=1)]])
def test_an_argmax_at_the_end_is_left_out_and_said(tmp_path, kept, before):
    nodes = [node("GlobalAveragePool", "x", out="g"), node("Flatten", "g", out="f"), *before]
    nodes.append(node("ArgMax", nodes[-1].output[0], axis=1, keepdims=kept))
    save(tmp_path / "m.onnx", nodes, {}, ["n", 3, 4, 4])
    network, notes = convert_onnx(tmp_path / "m.onnx")
    assert [note.split(" at the end")[0] for note in notes[: len(before) + 1]] == [
        *(n.op_type for n in before),
        "ArgMax",
    ]
    assert [layer.op for layer in network.layers] == ["global_average_pool"]


def test_a_network_may_end_at_a_value_that_is_named(tmp_path):
    """Whatever follows, and needs not be known."""
    nodes = [
        node("Conv", "x", "w", out="c"),
        node("GlobalAveragePool", "c", out="g"),
        node("Flatten", "g", out="f"),
        node("Gemm", "f", "m", out="logits", transB=1),
        node("Elu", "logits"),
    ]
    constants = {"w": numbers(4, 3, 3, 3), "m": numbers(5, 4)}
    save(path := tmp_path / "m.onnx", nodes, constants, ["n", 3, 8, 9])
    with pytest.raises(FileError, match="found Elu"):
        convert_onnx(path)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), np.uint8)
    plain = Normalisation(full_scale=255, mean=(0,) * 3, std=(1,) * 3)
    x = np.moveaxis(images / 255, -1, 1).astype(f32)
    for end, last, classes in (("logits", 4, 5), ("f", 3, 4), ("g", 2, 4)):
        network, notes = convert_onnx(path, output=end, normalisation=plain)
        assert f"the network ends at {end!r}, as asked for" in notes
        assert len(network.classes) == classes
        model = save(tmp_path / "cut.onnx", nodes[:last], constants, ["n", 3, 8, 9], output=end)
        expected = ReferenceEvaluator(model).run(None, {"x": x})[0].reshape(2, -1)
        np.testing.assert_allclose(pcmref.digital(network, images), expected, rtol=1e-4, atol=1e-5)
    for end, message in (("c", "one number for each class"), ("nothing", "a value of the graph, found 'nothing'")):
        with pytest.raises(FileError, match=message):
            convert_onnx(path, output=end)


def test_the_command_takes_the_name_of_an_output(tmp_path, capsys):
    nodes = [node("GlobalAveragePool", "x", out="g"), node("Flatten", "g", out="f"), node("Elu", "f")]
    save(path := tmp_path / "m.onnx", nodes, {}, ["n", 3, 4, 4])
    command = ["convert", str(path), str(tmp_path / "out.h5"), "--output"]
    assert cli.main([*command, "f"]) == 0
    assert "the network ends at 'f', as asked for" in capsys.readouterr().out
    assert [layer.name for layer in pcmref.load(tmp_path / "out.h5").layers] == ["g"]
    assert cli.main([*command, "e"]) == 1
    assert f"{path}: outputs: expected a value of the graph, found 'e'" in capsys.readouterr().err
    command[1] = "checkpoint.pt"
    assert cli.main([*command, "f"]) == 1
    assert "--output: expected an ONNX model" in capsys.readouterr().err


def test_one_of_several_outputs_may_be_named(tmp_path):
    nodes = [node("GlobalAveragePool", "x", out="g"), node("Flatten", "g"), node("Relu", "y", out="z")]
    model = save(path := tmp_path / "m.onnx", nodes, {}, ["n", 3, 4, 4])
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    onnx.save(model, path)
    with pytest.raises(FileError, match=r"outputs: expected one, the classes \(or --output NAME\), found \['y', 'z'\]"):
        convert_onnx(path)
    assert [len(convert_onnx(path, output=end)[0].layers) for end in "yz"] == [1, 2]


def test_names_stay_recognisable(tmp_path):
    resnet(tmp_path / "net.onnx")
    network, _ = convert_onnx(tmp_path / "net.onnx")
    assert [layer.name for layer in network.layers[:3]] == ["stem.c", "stem.bn", "r0"]


# What is refused

REFUSED = {
    "unknown operator": ([node("Elu", "x")], {}, r"an operator that pcmref has \(.*\), found Elu"),
    "unknown attribute": ([node("Relu", "x", consumed_inputs=[0])], {}, r"attributes that are known.*consumed_inputs"),
    "transposed convolution": ([node("ConvTranspose", "x", "w")], {"w": numbers(6, 4, 3, 3)}, "ConvTranspose"),
    "training": (
        [node("BatchNormalization", "x", "c", "c", "c", "v", training_mode=1)],
        {"c": C, "v": C * C},
        "training_mode: expected 0, found 1",
    ),
    "quantised activations": ([node("QuantizeLinear", "x", "s")], {"s": f32(1)}, "not a quantised one"),
    "padding with ones": ([node("Pad", "x", "p", "one", out="q"), node("Relu", "q")],
        {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "one": f32(1)}, "expected zeros around pixels"),
    "padding before a pool": ([node("Pad", "x", "p", out="q"), node("MaxPool", "q", kernel_shape=[2, 2])],
        {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, "a Pad only before a convolution"),
    "reflected padding": ([node("Pad", "x", "p", mode="reflect")], {"p": np.zeros(8, np.int64)}, "mode: expected c"),
    "softmax of pixels": ([node("Softmax", "x", axis=3)], {}, "over the classes at the end"),
    "softmax in the middle": ([node("GlobalAveragePool", "x", out="g"), node("Flatten", "g", out="f"),
        node("Softmax", "f", out="s"), node("Relu", "s")], {}, "over the classes at the end"),
    "argmax of pixels": ([node("ArgMax", "x", axis=3)], {}, "over the classes at the end"),
    "argmax of the batch": ([node("GlobalAveragePool", "x", out="g"), node("ArgMax", "g")], {}, "over the classes"),
    "the last of the largest": ([node("GlobalAveragePool", "x", out="g"),
        node("ArgMax", "g", axis=1, select_last_index=1)], {}, "select_last_index: expected 0, found 1"),
    "largest channel": ([node("ReduceMax", "x", axes=[1])], {}, "the largest over height and width"),
    "weights that are computed": ([node("Flatten", "x", out="f"), node("MatMul", "f", "f")], {}, "a constant as B"),
    "a bias for each pixel": ([node("Add", "x", "b")], {"b": numbers(6, 7, 5)}, "one for each channel"),
    "sum of other shapes": ([node("GlobalAveragePool", "x", out="g"), node("Add", "x", "g")], {}, "of one shape"),
    "concat of pixels": ([node("Concat", "x", "x", axis=2)], {}, "channels, one after the other"),
    "slice": ([node("Slice", "x", "s", "e")], {"s": np.array([0, 1]), "e": np.array([9, 3])}, "every n-th pixel"),
    "the other pixels": ([node("MaxPool", "x", kernel_shape=[2, 2], out="m"),
        node("Slice", "m", "s", "e", "a", "n")], {"s": np.array([1, 1]), "e": np.array([6, 4]),
        "a": np.array([2, 3]), "n": np.array([2, 2])}, "found 1:6:2 of axis 2"),
    "pixels before channels": ([node("Transpose", "x", perm=[0, 2, 3, 1], out="t"),
        node("Slice", "t", "s", "e", "a", "n"), ], {"s": np.array([0, 0]), "e": np.array([9, 9]),
        "a": np.array([1, 2]), "n": np.array([2, 2])}, "a map: batch, channels, height, width"),
    "every other row": ([node("Slice", "x", "s", "e", "a", "n", out="r"), node("Relu", "r")],
        {"s": np.array([0]), "e": np.array([9]), "a": np.array([2]), "n": np.array([2])},
        r"Relu\): expected one step for height and width, found \(2, 1\) before it"),
    "every other row at the end": ([node("Slice", "x", "s", "e", "a", "n")],
        {"s": np.array([0]), "e": np.array([9]), "a": np.array([2]), "n": np.array([2])},
        r"output 'y': expected one step for height and width, found \(2, 1\)"),
    "channels of every other row": (
        [node("Slice", "x", "s", "e", "a", "n", out="r"), node("Slice", "r", "s", "e", "o")],
        {"s": np.array([0]), "e": np.array([9]), "a": np.array([3]), "n": np.array([4]), "o": np.array([1])},
        "found 0:9:1 of axis 1"),
    "no starts": ([node("Slice", "x")], {}, "starts and ends, found none"),
    "attributes of old": ([node("Slice", "x", "s", "e", axes=[1])], {"s": np.array([0]), "e": np.array([2**31])},
        r"attributes that are known, found \['axes'\]"),
    "starts that are no integers": ([node("Slice", "x", "s", "e", "a")],
        {"s": f32([1.7]), "e": np.array([3]), "a": np.array([1])}, "a list of integers as starts, found float32"),
    "a start that is no list": ([node("Slice", "x", "s", "e")],
        {"s": np.array(0), "e": np.array(3)}, r"a list of integers as starts, found int64 of shape \(\)"),
    "lengths that are no integers": (split("p", parts=2, axis=1), {"p": f32([2.9, 3.1])},
        "a list of integers as lengths of the parts"),
    "a name for two parts": ([helper.make_node("Split", ["x"], ["z", "z"], axis=1), node("Relu", "z")], {},
        "names that no other value has, found 'z'"),
    "every other channel": ([node("Slice", "x", "s", "e", "a", "n")],
        {"s": np.array([0]), "e": np.array([6]), "a": np.array([1]), "n": np.array([2])}, r"0:6:2 of axis 1 of \(6"),
    "channels backwards": ([node("Slice", "x", "s", "e", "a", "n")],
        {"s": np.array([5]), "e": np.array([-9]), "a": np.array([1]), "n": np.array([-1])}, "channels one after the"),
    "no channels": ([node("Slice", "x", starts=[3], ends=[-3], axes=[1])], {}, r"\): .* found 3:-3:1 of axis 1", 9),
    "some pixels": ([node("Slice", "x", starts=[0], ends=[3], axes=[2])], {}, "found 0:3:1 of axis 2", 9),
    "an axis that is not there": ([node("Slice", "x", starts=[0], ends=[3], axes=[4])], {}, "an axis of 4, found 4", 9),
    "an axis twice": ([node("Slice", "x", starts=[0, 0], ends=[3, 2], axes=[1, -3])], {}, "each axis once", 9),
    "a split of pixels": (split(parts=2, axis=2), {}, r"\(Split\): expected a Split of channels, found one along .* 2"),
    "a split of the batch": (split(parts=2), {}, r"a Split of channels, found one along axis 0 of \(6, 7, 5\)"),
    "a split of an axis that is not there": (split(parts=2, axis=-5), {}, "an axis of 4, found -5"),
    "an empty part": (split("p", parts=2, axis=1), {"p": np.array([6, 0])}, r"at least one channel.* found \[6, 0\]"),
    "too few channels": (split("p", parts=2, axis=1), {"p": np.array([2, 3])}, "6 channels together, found"),
    "too few parts": (split("p", parts=2, axis=1), {"p": np.array([2, 2, 2])}, "2 parts of at least one"),
    "parts that are not equal": (split(parts=4, axis=1), {}, "4 equal parts, found 6 channels"),
    "another number of parts": (split(parts=2, axis=1, num_outputs=3), {}, "num_outputs: expected 2, .* found 3", 18),
    "parts said twice": (split("p", parts=2, axis=1, num_outputs=2), {"p": np.array([3, 3])}, "number, found both", 18),
    "parts not said": (split(parts=2, axis=1), {}, "lengths of the parts, or their number, found none", 18),
    "lengths of a later opset": (split("p", parts=2, axis=1), {"p": np.array([3, 3])}, "as an attribute", 11),
    "lengths of an older opset": (split(parts=2, axis=1, split=[3, 3]), {}, r"are known, found \['split'\]"),
    "a number of a later opset": (split(parts=2, axis=1, num_outputs=2), {}, r"are known, found \['num_outputs'\]"),
    "parts that are computed": (split("x", parts=2, axis=1), {}, "a constant as the lengths of the parts"),
    "mean over channels": ([node("ReduceMean", "x", axes=[1])], {}, "the mean over height and width"),
    "batch into pixels": ([node("Reshape", "x", "s")], {"s": np.array([6, -1])}, "the batch to stay the first axis"),
    "division by zero": ([node("Div", "x", "z")], {"z": f32(0)}, "divisors other than 0"),
    "division by an activation": ([node("Div", "z", "x")], {"z": f32(1)}, "a constant divisor"),
    "a constant at the end": ([node("Identity", "z")], {"z": f32(1)}, "depends on the images"),
    "a cycle": ([node("Add", "x", "b", out="a"), node("Relu", "a", out="b"), node("Relu", "b")], {}, "defined before"),
    "another program's operator": ([node("Gelu", "x", domain="com.microsoft")], {}, "com.microsoft.Gelu"),
    "no such input": ([node("Relu", "nothing")], {}, "defined before it, found 'nothing'"),
    "a constant as input": ([node("Relu", "z")], {"z": C}, "an activation as input 1"),
    "weights that do not fit": ([node("Conv", "x", "w")], {"w": numbers(4, 5, 3, 3)}, "weight: expected 6 input"),
    "infinite weights": ([node("Conv", "x", "w")], {"w": np.full((4, 6, 1, 1), np.inf, f32)}, "finite numbers"),
    "a large constant": ([node("ConstantOfShape", "s", out="b"), node("Add", "x", "b")],
        {"s": np.array([10**9])}, "constants of at most 160000000 elements, found 1000000000"),
    "a large sum": ([node("Add", "a", "b", out="c"), node("Add", "x", "c")],
        {"a": np.zeros((20000, 1), f32), "b": np.zeros((1, 20000), f32)}, "constants of at most"),
    "one name twice": ([node("Relu", "x"), node("Sigmoid", "y")], {}, "names that no other value has, found 'y'"),
    "the name of a constant": ([node("Relu", "x", out="z"), node("Add", "x", "z")], {"z": C}, "no other value has"),
    "slopes for the last axis": ([node("PRelu", "x", "s")], {"s": numbers(5)}, "one for each channel, as slope"),
    "text": ([node("Add", "x", "t")], {"t": np.array(["a"])}, "numbers as a term|a tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_counterpart_is_refused_by_its_node(name, tmp_path):
    nodes, constants, message, *opset = REFUSED[name]
    save(tmp_path / "m.onnx", nodes, constants, [2, 6, 7, 5], opset=opset[0] if opset else 17)
    with pytest.raises(FileError, match=message) as caught:
        convert_onnx(tmp_path / "m.onnx")
    assert str(tmp_path / "m.onnx") in str(caught.value)


def test_nothing_is_left_for_the_last_part(tmp_path):
    save(tmp_path / "m.onnx", split(parts=4, axis=1, num_outputs=4), {}, [2, 6, 7, 5], opset=18)
    with pytest.raises(FileError, match=r"\(Split\): expected 4 parts of at least one .* found \[2, 2, 2, 0\]"):
        convert_onnx(tmp_path / "m.onnx")


def test_files_that_are_none(tmp_path):
    resnet(path := tmp_path / "net.onnx")
    content = path.read_bytes()
    for part in (b"", b"\x00" * 100, content[: len(content) // 2], content[:20], b"\x89HDF\r\n" * 50):
        path.write_bytes(part)
        with pytest.raises(FileError):
            convert_onnx(path)
    for place in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(FileError, match="an ONNX file"):
            convert_onnx(place)


@pytest.mark.parametrize("opset", [5, 99])
def test_operators_of_another_age(opset, tmp_path):
    save(tmp_path / "m.onnx", [node("Relu", "x")], {}, [1, 3, 4, 4], opset=opset)
    with pytest.raises(FileError, match=f"opset: expected opset 6 to .*, found {opset}"):
        convert_onnx(tmp_path / "m.onnx")


def test_graphs_within_nodes_and_functions(tmp_path):
    inner = helper.make_graph([node("Relu", "x")], "inner", [], [helper.make_tensor_value_info("y", 1, None)])
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
    model = save(tmp_path / "m.onnx", nodes, {"c": np.array(True)}, [1, 3, 4, 4])
    with pytest.raises(FileError, match="without a graph"):
        convert_onnx(tmp_path / "m.onnx")
    function = helper.make_function("d", "F", ["x"], ["y"], [node("Relu", "x")], [helper.make_opsetid("", 17)])
    del model.graph.node[:]
    model.functions.append(function)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(FileError, match="a graph of operators alone"):
        convert_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize("count", [0, 2])
def test_inputs_and_outputs(count, tmp_path):
    model = save(tmp_path / "m.onnx", [node("Relu", "x")], {}, [1, 3, 4, 4])
    (one,) = model.graph.output
    del model.graph.output[:]
    model.graph.output.extend([one] * count)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(FileError, match="outputs: expected one"):
        convert_onnx(tmp_path / "m.onnx")
    model = save(tmp_path / "m.onnx", [node("Add", "x", "z")], {}, [1, 3, 4, 4])
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3, 4, 4]))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(FileError, match="inputs: expected one, the images"):
        convert_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "", "nothing.bin", "."])
def test_data_beside_the_file_come_from_its_folder_alone(location, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(4 * 4 * 6))
    model = save(folder / "m.onnx", [node("Conv", "x", "w")], {"w": numbers(4, 6, 1, 1)}, [1, 6, 4, 4])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value=location))
    onnx.save(model, folder / "m.onnx")
    with pytest.raises(FileError, match=r"data in the folder of the file|its data in the file .* found no such"):
        convert_onnx(folder / "m.onnx")


def test_data_beside_the_file(tmp_path):
    nodes = [node("Conv", "x", "w", out="c"), node("GlobalAveragePool", "c", out="g"), node("Flatten", "g")]
    model = save(tmp_path / "m.onnx", nodes, {"w": numbers(4, 6, 1, 1)}, [1, 6, 4, 4])
    expected, _ = convert_onnx(tmp_path / "m.onnx")
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    found, _ = convert_onnx(tmp_path / "m.onnx")
    assert found.digest == expected.digest
    (tmp_path / "w.bin").write_bytes(b"short")
    with pytest.raises(FileError, match=r"no more elements than w\.bin has|a tensor"):
        convert_onnx(tmp_path / "m.onnx")


def test_without_the_package(tmp_path, monkeypatch):
    resnet(tmp_path / "net.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError, match="onnx"):
        convert_onnx(tmp_path / "net.onnx")


# The command


def test_the_command(tmp_path, capsys):
    resnet(tmp_path / "net.onnx", batch=1)
    assert cli.main(["convert", str(tmp_path / "net.onnx"), str(tmp_path / "net.h5"), "--mean", "0,0,0"]) == 0
    out = capsys.readouterr().out
    assert "weights, mean 0/0/0, std 0.229/0.224/0.225" in out
    assert pcmref.load(tmp_path / "net.h5").classes == ("0", "1", "2", "3", "4")
    assert cli.main(["convert", str(tmp_path / "net.onnx"), str(tmp_path / "net.h5")]) == 0
    assert "assumed: " in capsys.readouterr().out
    assert cli.main(["inspect", str(tmp_path / "net.h5")]) == 0
    assert "stem.c" in capsys.readouterr().out


@pytest.mark.parametrize("option", [["--arch", "resnet18"], ["--eps", "1e-3"], ["--key", "net"]])
def test_options_that_an_onnx_model_has_no_use_for(option, tmp_path, capsys):
    resnet(tmp_path / "net.onnx")
    assert cli.main(["convert", str(tmp_path / "net.onnx"), str(tmp_path / "net.h5"), *option]) == 1
    assert f"{option[0]}: expected a PyTorch checkpoint, which leaves it open, found an ONNX model" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "net.h5").exists()


def test_checking_a_model_with_images(tmp_path, capsys):
    resnet(tmp_path / "net.onnx")
    network, _ = convert_onnx(tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    images = np.broadcast_to(rng.integers(0, 256, (2000, 1, 1, 3)), (2000, 12, 10, 3)).astype(np.uint8)
    right = pcmref.digital(network, images).argmax(axis=1)
    kept = np.concatenate([np.flatnonzero(right == label)[:40] for label in np.unique(right)])
    images, right = images[kept], right[kept]
    assert len(kept) >= 80
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["images"], file["labels"] = images, right
    command = ["convert", str(tmp_path / "net.onnx"), str(tmp_path / "net.h5")]
    check = ["--check", str(len(kept)), "--data", str(tmp_path / "images.h5")]
    assert cli.main([*command, *check]) == 0
    assert "RGB" in (out := capsys.readouterr().out)
    assert "taken" in out
    assert pcmref.load(tmp_path / "net.h5").normalisation == network.normalisation
    (tmp_path / "net.h5").unlink()
    with h5py.File(tmp_path / "images.h5", "r+") as file:
        file["labels"][...] = rng.permutation(right)
    assert cli.main([*command, *check]) == 1  # it guesses
    assert "where guessing gives" in capsys.readouterr().err
    assert not (tmp_path / "net.h5").exists()


def pixels_of(nodes, tmp_path, kind=TensorProto.FLOAT, channels=3):
    """A model that does something with its input first."""
    nodes = [*nodes, node("GlobalAveragePool", "p", out="g"), node("Flatten", "g")]
    constants = {"k": f32(255), "m": numbers(channels).reshape(-1, 1, 1)}
    model = save(tmp_path / "m.onnx", nodes, constants, ["n", channels, 4, 4])
    model.graph.input[0].type.tensor_type.elem_type = kind
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_a_model_that_takes_integers_takes_pixels_as_they_are(tmp_path):
    nodes = [node("Cast", "x", out="f", to=1), node("Div", "f", "k", out="d"), node("Sub", "d", "m", out="p")]
    network, notes = convert_onnx(pixels_of(nodes, tmp_path, TensorProto.UINT8))
    assert (network.normalisation.full_scale, network.normalisation.mean) == (1.0, (0.0,) * 3)
    assert not any("assumed" in one for one in notes)
    images = np.full((1, 4, 4, 3), 51, np.uint8)
    np.testing.assert_allclose(pcmref.digital(network, images)[0], 0.2 - numbers(3), rtol=1e-5)


def test_a_model_that_changes_its_pixels_itself_must_be_told(tmp_path, capsys):
    path = pixels_of([node("Div", "x", "k", out="p")], tmp_path)
    with pytest.raises(FileError, match=r"input: expected to be told which pixels it takes .*--recipe raw"):
        convert_onnx(path)
    assert cli.main(["convert", str(path), str(tmp_path / "m.h5"), "--recipe", "raw"]) == 0
    assert "mean 0/0/0, std 1/1/1 of pixels / 1" in capsys.readouterr().out


def test_a_model_that_changes_single_channels_must_be_told_too(tmp_path):
    colours = ["red", "green", "blue"]
    nodes = [
        helper.make_node("Split", ["x"], colours, axis=1),
        node("Div", "blue", "k", out="d"),
        node("Concat", "d", "green", "red", out="p", axis=1),
    ]
    with pytest.raises(FileError, match="input: expected to be told which pixels it takes"):
        convert_onnx(pixels_of(nodes, tmp_path))
    nodes[1:] = [node("Concat", *colours[::-1], out="c", axis=1), node("Sub", "c", "m", out="p")]
    with pytest.raises(FileError, match="input: expected to be told which pixels it takes"):
        convert_onnx(pixels_of(nodes, tmp_path))


KEEPING = {
    "every other pixel": [node("Slice", "x", "s", "e", "a", "n", out="p2")],
    "channels": [node("Slice", "x", "s", "e", "one", out="p2")],
    "largest": [node("MaxPool", "x", kernel_shape=[2, 2], out="p2")],
    "mean": [node("AveragePool", "x", kernel_shape=[2, 2], out="p2")],
    "zeros beside": [node("Pad", "x", "z", out="p2")],
    "twice": [node("Concat", "x", "x", axis=1, out="p2")],
}


@pytest.mark.parametrize("name", KEEPING)
def test_a_model_that_changes_its_pixels_after_moving_them_must_be_told_too(name, tmp_path):
    flat = [node("GlobalAveragePool", "y2", out="g"), node("Flatten", "g")]
    nodes = [*KEEPING[name], node("Mul", "p2", "k", out="y2"), *flat]
    constants = {
        **{"s": np.array([0, 0]), "e": np.array([9, 9]), "a": np.array([2, 3]), "n": np.array([2, 2])},
        **{"one": np.array([1, 2]), "z": np.array([0, 1, 0, 0, 0, 0, 0, 0]), "k": f32(3)},
    }
    constants["e"] = np.array([2, 9]) if name == "channels" else constants["e"]
    save(tmp_path / "m.onnx", nodes, constants, ["n", 3, 8, 8])
    with pytest.raises(FileError, match="input: expected to be told which pixels it takes"):
        convert_onnx(tmp_path / "m.onnx")


def test_what_has_no_name_is_not_needed(tmp_path):
    """An input that is left out is not the output that somebody else does not name."""
    nodes = [
        node("NonZero", "x", out=""),
        node("Clip", "x", "", "six", out="r"),
        node("GlobalAveragePool", "r", out="g"),
        node("Flatten", "g"),
    ]
    save(tmp_path / "m.onnx", nodes, {"six": f32(6)}, ["n", 6, 4, 4])
    assert len(convert_onnx(tmp_path / "m.onnx")[0].layers) == 2


@pytest.mark.parametrize("end", range(3))
def test_parts_that_nothing_reads_are_no_layers(end, tmp_path):
    """Not even where one is the output, or has no name."""
    names = ["a", "", ""]
    names[0], names[end] = names[end], "y"
    nodes = [
        node("Clip", "x", "", "six", out="r"),
        node("GlobalAveragePool", "r", out="g"),
        node("Flatten", "g", out="f"),
        helper.make_node("Split", ["f"], names, axis=1),
    ]
    save(tmp_path / "m.onnx", nodes, {"six": f32(6)}, ["n", 6, 4, 4])
    network, _ = convert_onnx(tmp_path / "m.onnx")
    assert [layer.op for layer in network.layers] == ["clip", "global_average_pool", "take_channels"]
    assert (network.layers[-1].first, network.layers[-1].count) == (2 * end, 2)


def test_features_that_a_model_changes_itself_must_be_told_too(tmp_path):
    save(tmp_path / "m.onnx", [node("Div", "x", "k")], {"k": f32(255)}, ["n", 5])
    with pytest.raises(FileError, match="input: expected to be told which pixels it takes"):
        convert_onnx(tmp_path / "m.onnx")


def test_integers_are_not_computed_with(tmp_path):
    """Where ONNX divides without a rest, or wraps."""
    path = pixels_of([node("Div", "x", "k", out="d"), node("Cast", "d", out="p", to=1)], tmp_path, TensorProto.UINT8)
    with pytest.raises(FileError, match=r"\(Div\): expected a Cast to float of an input of integers, found Div of"):
        convert_onnx(path)
    path = pixels_of([node("Cast", "x", out="p", to=1)], tmp_path, TensorProto.INT8)
    with pytest.raises(FileError, match=r"input 'x': expected floats, or integers that hold pixels .*, found INT8"):
        convert_onnx(path)


def test_one_number_for_all_channels(tmp_path, capsys):
    path = pixels_of([node("Relu", "x", out="p")], tmp_path, channels=1)
    assert cli.main(["convert", str(path), str(tmp_path / "m.h5"), "--mean", "0.13", "--std", "0.3"]) == 0
    assert pcmref.load(tmp_path / "m.h5").normalisation.mean == (0.13,)
    path = pixels_of([node("Relu", "x", out="p")], tmp_path, channels=4)
    assert (
        cli.main(["convert", str(path), str(tmp_path / "m.h5"), "--mean", "0.1,0.2,0.3,0.4", "--std", "1,1,1,2"]) == 0
    )
    assert pcmref.load(tmp_path / "m.h5").normalisation.std == (1.0, 1.0, 1.0, 2.0)


def test_a_recipe(tmp_path, capsys):
    """Of Caffe: blue, green, red, minus their means."""
    model = resnet(tmp_path / "net.onnx")
    command = ["convert", str(tmp_path / "net.onnx"), str(tmp_path / "net.h5"), "--recipe", "caffe"]
    assert cli.main(command) == 0
    images = np.random.default_rng(6).integers(0, 256, (3, 12, 10, 3), np.uint8)
    x = (images[..., ::-1] - np.array([103.939, 116.779, 123.68])).astype(f32)
    expected = ReferenceEvaluator(model).run(None, {"x": np.moveaxis(x, -1, 1)})[0]
    found = pcmref.digital(pcmref.load(tmp_path / "net.h5"), images)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * abs(expected).max())
    assert cli.main([*command, "--mean", "0,0,0"]) == 1
    assert "--recipe: expected no --mean and --std beside it" in capsys.readouterr().err
