import dataclasses

import numpy as np
import pytest

from pcmref.errors import DataError, NetworkFileError
from pcmref.network import (
    Add,
    BatchNorm,
    Conv,
    GlobalAveragePool,
    Linear,
    MaxPool,
    Normalisation,
    PadShortcut,
    Relu,
    Samples,
    number_names,
)
from tests.nets import RGB, replace_layer, tiny


def ones(*shape):
    return np.ones(shape, np.float32)


def bn(channels, **changes):
    tensors = dict.fromkeys(("gamma", "beta", "mean", "var"), ones(channels))
    return BatchNorm(name="n", inputs=("x",), **tensors | changes)


def conv(*shape, **changes):
    return Conv(name="n", inputs=("x",), weight=ones(*shape), **changes)


def linear(*shape, **changes):
    return Linear(name="n", inputs=("x",), weight=ones(*shape), **changes)


def pool(**numbers):
    return MaxPool(name="n", inputs=("x",), **numbers)


def pad(**numbers):
    return PadShortcut(name="n", inputs=("x",), **numbers)


RELU = Relu(name="n", inputs=("x",))
MEAN = GlobalAveragePool(name="n", inputs=("x",))
ADD = Add(name="n", inputs=("x", "y"))


@pytest.mark.parametrize(
    ("layer", "shapes", "expected"),
    [
        (conv(8, 3, 3, 3), [(6, 7, 3)], (4, 5, 8)),
        (conv(8, 3, 3, 3, padding=1), [(6, 7, 3)], (6, 7, 8)),
        (conv(8, 3, 3, 3, padding=1, stride=2), [(6, 7, 3)], (3, 4, 8)),
        (conv(8, 3, 1, 1, stride=2), [(6, 7, 3)], (3, 4, 8)),
        (conv(8, 3, 2, 5, stride=3, padding=2), [(6, 7, 3)], (3, 3, 8)),
        (conv(1, 1, 6, 7), [(6, 7, 1)], (1, 1, 1)),
        (linear(4, 10), [(10,)], (4,)),
        (bn(3), [(6, 7, 3)], (6, 7, 3)),
        (bn(3), [(3,)], (3,)),
        (RELU, [(6, 7, 3)], (6, 7, 3)),
        (RELU, [(3,)], (3,)),
        (ADD, [(6, 7, 3), (6, 7, 3)], (6, 7, 3)),
        (pad(), [(6, 7, 3)], (6, 7, 3)),
        (pad(stride=2, before=1, after=4), [(6, 7, 3)], (3, 4, 8)),
        (pad(stride=9), [(6, 7, 3)], (1, 1, 3)),
        (pool(kernel=2, stride=2), [(6, 7, 3)], (3, 3, 3)),
        (pool(kernel=3, stride=2, padding=1), [(6, 7, 3)], (3, 4, 3)),
        (pool(kernel=2, stride=1, padding=1), [(1, 1, 3)], (2, 2, 3)),
        (MEAN, [(6, 7, 3)], (3,)),
    ],
)
def test_shapes(layer, shapes, expected):
    assert layer.shape_after(*shapes) == expected


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (conv(8, 3, 3, 3), [(6, 7, 4)], "tensors/n/weight: expected 4 input channels, found 3"),
        (conv(8, 3, 3, 3), [(3,)], r"graph/n: expected an input of shape \(height, width, channels\), found \(3,\)"),
        (conv(8, 3, 7, 7), [(6, 7, 3)], "graph/n: expected an input of at least 7 pixels, found 6"),
        (conv(8, 3, 7, 8), [(7, 7, 3)], "graph/n: expected an input of at least 8 pixels, found 7"),
        (conv(8, 3, 9, 9, padding=1), [(6, 7, 3)], "graph/n: expected an input of at least 7 pixels, found 6"),
        (linear(4, 10), [(9,)], r"tensors/n/weight: expected \(9,\) inputs, found \(10,\)"),
        (linear(4, 10), [(1, 1, 10)], "tensors/n/weight"),
        (bn(3), [(6, 7, 4)], r"tensors/n/gamma: expected shape \(4,\), found shape \(3,\)"),
        (bn(3, var=ones(4)), [(6, 7, 3)], "tensors/n/var"),
        (ADD, [(6, 7, 3), (6, 7, 4)], r"graph/n: expected two inputs of shape \(6, 7, 3\), found \(6, 7, 4\)"),
        (pad(), [(3,)], "graph/n"),
        (pool(kernel=3, stride=1), [(2, 9, 3)], "graph/n: expected an input of at least 3 pixels, found 2"),
        (pool(kernel=3, stride=1), [(3,)], "graph/n"),
        (MEAN, [(3,)], "graph/n"),
    ],
)
def test_inputs_that_do_not_fit(layer, shapes, message):
    with pytest.raises(NetworkFileError, match=message):
        layer.shape_after(*shapes)


@pytest.mark.parametrize(
    ("layer", "rows", "columns"),
    [
        (conv(8, 3, 3, 3), 27, 8),
        (conv(8, 3, 3, 3, bias=ones(8)), 28, 8),
        (linear(4, 10), 10, 4),
        (linear(4, 10, bias=ones(4)), 11, 4),
    ],
)
def test_rows_and_columns(layer, rows, columns):
    assert (layer.rows, layer.columns) == (rows, columns) == layer.matrix().shape
    assert type(layer.rows) is type(layer.columns) is int


def test_rows_are_in_the_order_kernel_row_kernel_column_channel_bias():
    weight = np.arange(2 * 3 * 2 * 4, dtype=np.float32).reshape(2, 3, 2, 4)
    layer = Conv(name="n", inputs=("x",), weight=weight, bias=np.array([100, 101], np.float32))
    matrix = layer.matrix()
    assert layer.kernel == (2, 4)
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    for i, j, c, out in np.ndindex(2, 4, 3, 2):
        assert matrix[(i * 4 + j) * 3 + c, out] == weight[out, c, i, j]
    assert matrix[-1].tolist() == [100, 101]


# Whole networks


def test_shapes_of_a_network():
    shapes = tiny().shapes
    assert shapes["input"] == (6, 6, 3)
    assert shapes["pool"] == shapes["conv1"] == (6, 6, 5)
    assert shapes["short"] == shapes["add1"] == (3, 3, 7)
    assert shapes["pad"] == shapes["conv3"] == (2, 2, 10)
    assert (shapes["mean"], shapes["fc"]) == ((10,), (4,))
    assert len(shapes) == 1 + len(tiny().layers)


def test_counts():
    network = tiny()
    assert [layer.name for layer in network.crossbar_layers] == ["conv1", "conv2", "short", "conv3", "fc"]
    assert network.weights == 27 * 5 + 45 * 7 + 6 * 7 + 42 * 10 + 11 * 4
    assert network.devices == 2 * network.weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": (6, 6)}, r"graph/input: expected \(height, width, channels\)"),
        ({"input_shape": (6, 0, 3)}, "graph/input: expected an integer from 1 to 65536, found 0"),
        ({"input_shape": (6, 65537, 3)}, "graph/input"),
        ({"normalisation": Normalisation(full_scale=1.0, mean=(0.0,), std=(1.0,))}, "normalisation/mean: expected 3"),
        ({"layers": ()}, "graph: expected at least one node, found none"),
        ({"classes": ("a", "b")}, r"graph/fc: expected an output of 2 classes, found \(4,\)"),
        ({"layers": tiny().layers[:-1]}, r"graph/mean: expected an output of 4 classes, found \(10,\)"),
        ({"layers": tiny().layers[1:]}, "graph/bn1/inputs: expected nodes that come before it .*, found 'conv1'"),
        ({"layers": tiny().layers[::-1]}, "graph/fc/inputs"),
        ({"layers": (tiny().layers[0], *tiny().layers)}, "graph: expected unique node names, found 'conv1' twice"),
        (
            {"evaluation": Samples(images=np.zeros((1, 6, 6, 1), np.uint8), labels=np.zeros(1, int))},
            "evaluation/images",
        ),
        ({"calibration": Samples(images=np.zeros((1, 6, 6, 3), np.uint8), labels=np.array([4]))}, "calibration/labels"),
    ],
)
def test_networks_that_do_not_fit_together(changes, message):
    with pytest.raises(NetworkFileError, match=message):
        tiny(**changes)


def test_the_largest_label_and_sizes_are_allowed():
    samples = Samples(images=np.zeros((2, 6, 6, 3), np.uint8), labels=np.array([0, 3]))
    assert tiny(evaluation=samples).evaluation is samples
    assert pool(kernel=65536, stride=65536).stride == 65536


@pytest.mark.parametrize("name", ["", ".", "input", "a/b", "/", "a\nb", "\x00", "\x1b[0m", "\ud800", "\u200b", None, 3])
def test_names_that_are_refused(name):
    with pytest.raises(NetworkFileError, match=r"^graph: expected a printable node name"):
        Relu(name=name, inputs=("input",))


@pytest.mark.parametrize(
    "layer", [conv(1, 1, 1, 1), linear(1, 1), bn(1), RELU, ADD, pad(), pool(kernel=1, stride=1), MEAN]
)
def test_every_operation_checks_its_name_and_inputs(layer):
    for changes, place in (({"name": "a/b"}, "graph"), ({"inputs": ("a", "b", "c")}, "graph/n/inputs")):
        with pytest.raises(NetworkFileError) as caught:
            dataclasses.replace(layer, **changes)
        assert caught.value.where == place


@pytest.mark.parametrize("inputs", [(), ("a", "b"), (1,), (None,)])
def test_inputs_that_are_refused(inputs):
    with pytest.raises(NetworkFileError, match=r"^graph/n/inputs: expected 1 node name\(s\)"):
        Relu(name="n", inputs=inputs)


@pytest.mark.parametrize("value", [0, -1, 65537, True, 1.0, None, "1", np.int64(1)], ids=repr)
@pytest.mark.parametrize(
    ("make", "number"), [(conv, "stride"), (pad, "stride"), (pool, "stride"), (pool, "kernel")], ids=str
)
def test_numbers_that_are_refused(make, number, value):
    numbers = {"kernel": 1, "stride": 1} if make is pool else {}
    shape = (1, 1, 1, 1) if make is conv else ()
    with pytest.raises(NetworkFileError, match=f"graph/n/{number}: expected an integer from 1 to 65536"):
        make(*shape, **numbers | {number: value})


@pytest.mark.parametrize("value", [-1, 65537, True, 0.0, None], ids=repr)
@pytest.mark.parametrize(("make", "number"), [(conv, "padding"), (pad, "before"), (pad, "after"), (pool, "padding")])
def test_numbers_from_zero_that_are_refused(make, number, value):
    numbers = {"kernel": 1, "stride": 1} if make is pool else {}
    shape = (1, 1, 1, 1) if make is conv else ()
    with pytest.raises(NetworkFileError, match=f"graph/n/{number}: expected an integer from 0 to 65536"):
        make(*shape, **numbers | {number: value})


@pytest.mark.parametrize(("kernel", "most"), [(1, 0), (2, 1), (3, 1), (4, 2)])
def test_padding_of_a_pool_is_at_most_half_its_kernel(kernel, most):
    assert pool(kernel=kernel, stride=1, padding=most).padding == most
    with pytest.raises(NetworkFileError, match=f"graph/n/padding: expected at most half the kernel, {most}"):
        pool(kernel=kernel, stride=1, padding=most + 1)


@pytest.mark.parametrize("eps", [0.0, 1.0, -1e-5, float("nan"), float("inf"), 0, 1, None, "1e-5"], ids=repr)
def test_eps_that_is_refused(eps):
    with pytest.raises(NetworkFileError, match="graph/n/eps: expected a number between 0 and 1"):
        bn(3, eps=eps)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (None, "tensors/n/weight: expected a float32 array with 2 axes, found None"),
        ([[1.0]], "found .*1.0"),
        (np.ones((1, 1)), "found float64 with 2"),
        (ones(1, 1).astype(">f4"), "found >f4 with 2|found float32 with 2"),
        (ones(1), "found float32 with 1"),
        (ones(0, 1), r"tensors/n/weight: expected no empty axis, found shape \(0, 1\)"),
        (np.array([[0, np.nan]], np.float32), r"tensors/n/weight: expected finite numbers, found nan at \[0, 1\]"),
        (np.array([[0], [-np.inf]], np.float32), r"found -inf at \[1, 0\]"),
    ],
)
def test_tensors_that_are_refused(weight, message):
    with pytest.raises(NetworkFileError, match=message):
        Linear(name="n", inputs=("x",), weight=weight)


def test_a_bias_of_another_length_is_refused():
    with pytest.raises(NetworkFileError, match=r"tensors/n/bias: expected shape \(4,\), found shape \(3,\)"):
        linear(4, 10, bias=ones(3))


def test_a_negative_variance_is_refused_and_zero_is_not():
    assert bn(2, var=np.array([0.0, -0.0], np.float32)).eps == 1e-5
    with pytest.raises(NetworkFileError, match=r"tensors/n/var: expected no negative variance, found -1\.4"):
        bn(2, var=np.array([0.0, -1e-45], np.float32))


def test_arrays_are_frozen_and_the_callers_own_stay_writable():
    mine = ones(4, 10)
    layer = Linear(name="n", inputs=("x",), weight=mine)
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[0, 0] = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.weight = mine
    mine[0, 0] = 3
    for layer in tiny().layers:
        for tensor in layer.tensors:
            value = getattr(layer, tensor.rstrip("?"))
            assert value is None or not value.flags.writeable
            assert value is None or value.flags.c_contiguous


def test_networks_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny().classes = ()


def test_arrays_become_contiguous():
    weight = np.arange(40, dtype=np.float32).reshape(10, 4).T
    layer = Linear(name="n", inputs=("x",), weight=weight)
    assert layer.weight.flags.c_contiguous
    assert np.array_equal(layer.weight, weight)


def test_replaced_layers_are_checked_again():
    with pytest.raises(NetworkFileError, match="tensors/conv1/weight"):
        replace_layer(tiny(), "conv1", weight=ones(5, 4, 3, 3))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Conv, {"stride", "padding"}),
        (Linear, set()),
        (BatchNorm, {"eps"}),
        (Relu, set()),
        (MaxPool, {"kernel", "stride", "padding"}),
        (PadShortcut, {"stride", "before", "after"}),
    ],
)
def test_number_names(kind, names):
    assert number_names(kind) == names


# Normalisation


def test_the_table_holds_every_pixel_value():
    table = RGB.table()
    assert (table.shape, table.dtype) == ((256, 3), np.float32)
    for pixel in range(256):
        for channel, (mean, std) in enumerate(zip(RGB.mean, RGB.std, strict=True)):
            assert table[pixel, channel] == np.float32((pixel / 255.0 - mean) / std)


@pytest.mark.parametrize(
    "changes",
    [
        {"full_scale": 0.0},
        {"full_scale": -1.0},
        {"full_scale": float("nan")},
        {"full_scale": 255},
        {"std": (1.0, 0.0)},
        {"std": (1.0, -1.0)},
        {"std": (1.0, float("inf"))},
        {"mean": (0.0, float("nan"))},
        {"mean": (0.0, None)},
        {"mean": (0.0,)},
        {"mean": (), "std": ()},
    ],
    ids=str,
)
def test_normalisations_that_are_refused(changes):
    good = {"full_scale": 255.0, "mean": (0.0, 0.5), "std": (1.0, 2.0)}
    assert Normalisation(**good).table().shape == (256, 2)
    with pytest.raises(NetworkFileError, match=r"^normalisation: expected"):
        Normalisation(**good | changes)


# Samples


def test_samples():
    samples = Samples(images=np.zeros((5, 2, 2, 1), np.uint8), labels=np.arange(5), where="there")
    first = samples.first(2)
    assert (len(samples), len(first), first.where) == (5, 2, "there")
    assert first.labels.tolist() == [0, 1]
    assert len(samples.first(9)) == 5


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 2, 2, 1)), np.zeros(2, int), "there/images: expected uint8 .* found float64"),
        (np.zeros((2, 2, 2), np.uint8), np.zeros(2, int), r"there/images: .* found uint8 of shape \(2, 2, 2\)"),
        (np.zeros((2, 2, 2, 1), np.uint8), np.zeros(2, np.int32), "there/labels: expected 2 int64 labels, found int32"),
        (
            np.zeros((2, 2, 2, 1), np.uint8),
            np.zeros(3, int),
            r"there/labels: expected 2 .* found int64 of shape \(3,\)",
        ),
        (np.zeros((2, 2, 2, 1), np.uint8), np.array([0, -1]), "there/labels: expected no negative label, found -1"),
    ],
)
def test_samples_that_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        Samples(images=images, labels=labels, where="there")
