import dataclasses

import numpy as np
import pytest

from pcmref.errors import NetworkError
from pcmref.network.layers import BatchNorm, Conv, Linear, number_names
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
    TakeChannels,
)
from tests.helpers.nets import tiny


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


def mean(**numbers):
    return AveragePool(name="n", inputs=("x",), **numbers)


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
        (conv(8, 3, 3, 3, padding=(1, 0, 2, 3)), [(6, 7, 3)], (7, 8, 8)),
        (conv(8, 3, 3, 3, stride=(3, 2), dilation=(2, 1)), [(6, 7, 3)], (1, 3, 8)),
        (conv(8, 3, 3, 3, groups=2), [(6, 7, 6)], (4, 5, 8)),
        (conv(6, 1, 3, 3, groups=6), [(6, 7, 6)], (4, 5, 6)),
        (pool(kernel=2, stride=2, ceil=True), [(6, 7, 3)], (3, 4, 3)),
        (pool(kernel=3, stride=2, padding=1, ceil=True), [(6, 7, 3)], (4, 4, 3)),
        (pool(kernel=1, stride=4, padding=(0, 0, 0, 0), ceil=True), [(6, 7, 3)], (2, 2, 3)),
        (pool(kernel=(2, 3), stride=(1, 2), dilation=(3, 1)), [(6, 7, 3)], (3, 3, 3)),
        (mean(kernel=(3, 2), stride=1, padding=(1, 0, 1, 1), count_padding=True), [(6, 7, 3)], (6, 7, 3)),
        (mean(kernel=7, stride=7, ceil=True), [(9, 15, 3)], (2, 3, 3)),
        (Concat(name="n", inputs=("x", "y", "x")), [(6, 7, 3), (6, 7, 1), (6, 7, 3)], (6, 7, 7)),
        (Concat(name="n", inputs=("x", "y")), [(3,), (2,)], (5,)),
        (Multiply(name="n", inputs=("x", "y")), [(6, 7, 3), (6, 7, 3)], (6, 7, 3)),
        (Multiply(name="n", inputs=("x", "y")), [(6, 7, 3), (3,)], (6, 7, 3)),
        (Multiply(name="n", inputs=("x", "y")), [(3,), (3,)], (3,)),
        (Flatten(name="n", inputs=("x",)), [(6, 7, 3)], (126,)),
        (ChannelShuffle(name="n", inputs=("x",), groups=3), [(6, 7, 6)], (6, 7, 6)),
        (TakeChannels(name="n", inputs=("x",), first=2, count=4), [(6, 7, 6)], (6, 7, 4)),
        (TakeChannels(name="n", inputs=("x",), first=0, count=2), [(6,)], (2,)),
        (Affine(name="n", inputs=("x",), scale=ones(3), shift=ones(3)), [(6, 7, 3)], (6, 7, 3)),
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
    with pytest.raises(NetworkError, match=message):
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


@pytest.mark.parametrize("name", ["", ".", "input", "a/b", "/", "a\nb", "\x00", "\x1b[0m", "\ud800", "\u200b", None, 3])
def test_names_that_are_refused(name):
    with pytest.raises(NetworkError, match=r"^graph: expected a printable node name"):
        Relu(name=name, inputs=("input",))


@pytest.mark.parametrize(
    "layer", [conv(1, 1, 1, 1), linear(1, 1), bn(1), RELU, ADD, pad(), pool(kernel=1, stride=1), MEAN]
)
def test_every_operation_checks_its_name_and_inputs(layer):
    for changes, place in (({"name": "a/b"}, "graph"), ({"inputs": ("a", "b", "c")}, "graph/n/inputs")):
        with pytest.raises(NetworkError) as caught:
            dataclasses.replace(layer, **changes)
        assert caught.value.where == place


@pytest.mark.parametrize("inputs", [(), ("a", "b"), (1,), (None,), None, "a", 3, [], {"a"}])
def test_inputs_that_are_refused(inputs):
    with pytest.raises(NetworkError, match=r"^graph/n/inputs: expected a list of 1 node name, found "):
        Relu(name="n", inputs=inputs)


@pytest.mark.parametrize("value", [0, -1, 65537, True, 1.0, None, "1", np.int64(0)], ids=repr)
@pytest.mark.parametrize(
    ("make", "number"),
    [(conv, "stride"), (pad, "stride"), (pool, "stride"), (pool, "kernel")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_numbers_that_are_refused(make, number, value):
    numbers = {"kernel": 1, "stride": 1} if make is pool else {}
    shape = (1, 1, 1, 1) if make is conv else ()
    with pytest.raises(NetworkError, match=f"graph/n/{number}: expected an integer from 1 to 65536"):
        make(*shape, **numbers | {number: value})


@pytest.mark.parametrize("value", [-1, 65537, True, 0.0, None], ids=repr)
@pytest.mark.parametrize(("make", "number"), [(conv, "padding"), (pad, "before"), (pad, "after"), (pool, "padding")])
def test_numbers_from_zero_that_are_refused(make, number, value):
    numbers = {"kernel": 1, "stride": 1} if make is pool else {}
    shape = (1, 1, 1, 1) if make is conv else ()
    with pytest.raises(NetworkError, match=f"graph/n/{number}: expected an integer from 0 to 65536"):
        make(*shape, **numbers | {number: value})


@pytest.mark.parametrize("kernel", [(1, 65537), (65537, 1)])
def test_a_kernel_that_is_too_long_is_refused(kernel):
    with pytest.raises(NetworkError, match="tensors/n/weight: expected an integer from 1 to 65536, found 65537"):
        conv(1, 1, *kernel)


def test_the_largest_size_is_allowed():
    assert pool(kernel=65536, stride=65536).stride == 65536


def test_integers_of_any_type_become_ints():
    """As files hold them."""
    for layer, names in (
        (conv(1, 1, 1, 1, stride=np.int64(2), padding=np.uint8(1)), ("stride", "padding")),
        (pad(stride=np.int32(2), before=np.int64(3), after=np.int8(4)), ("stride", "before", "after")),
        (pool(kernel=np.int64(3), stride=np.int64(2), padding=np.int64(1)), ("kernel", "stride", "padding")),
    ):
        assert all(type(getattr(layer, name)) is int for name in names)


@pytest.mark.parametrize(("numbers", "most"), [
    ({"kernel": 1}, 0), ({"kernel": 2}, 1), ({"kernel": 3}, 2), ({"kernel": 2, "dilation": 3}, 3),
    ({"kernel": 3, "stride": 4}, 2),
])  # fmt: skip
@pytest.mark.parametrize("side", range(4))
def test_every_window_of_a_pool_sees_a_pixel(numbers, most, side):
    def shape(padding):
        sides = tuple(padding if place == side else 0 for place in range(4))
        return pool(**{"stride": 1} | numbers, padding=sides).shape_after((4, 4, 1))

    shape(most)
    if side < 2 or numbers.get("stride", 1) == 1:
        with pytest.raises(NetworkError, match="graph/n/padding: expected a padding with which every window sees"):
            shape(most + 1)


@pytest.mark.parametrize("eps", [0.0, 1.0, -1e-5, float("nan"), float("inf"), 0, 1, None, "1e-5"], ids=repr)
def test_eps_that_is_refused(eps):
    with pytest.raises(NetworkError, match="graph/n/eps: expected a number between 0 and 1"):
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
    with pytest.raises(NetworkError, match=message):
        Linear(name="n", inputs=("x",), weight=weight)


def test_a_bias_of_another_length_is_refused():
    with pytest.raises(NetworkError, match=r"tensors/n/bias: expected shape \(4,\), found shape \(3,\)"):
        linear(4, 10, bias=ones(3))


def test_a_negative_variance_is_refused_and_zero_is_not():
    assert bn(2, var=np.array([0.0, -0.0], np.float32)).eps == 1e-5
    with pytest.raises(NetworkError, match=r"tensors/n/var: expected no negative variance, found -1\.4"):
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


def test_arrays_become_contiguous():
    weight = np.arange(40, dtype=np.float32).reshape(10, 4).T
    layer = Linear(name="n", inputs=("x",), weight=weight)
    assert layer.weight.flags.c_contiguous
    assert np.array_equal(layer.weight, weight)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Conv, {"stride", "padding", "dilation", "groups", "digital"}),
        (Linear, {"digital"}),
        (BatchNorm, {"eps"}),
        (Relu, set()),
        (MaxPool, {"kernel", "stride", "padding", "dilation", "ceil"}),
        (PadShortcut, {"stride", "before", "after"}),
    ],
)
def test_number_names(kind, names):
    assert number_names(kind) == names


# Operations between crossbars


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (lambda: conv(8, 3, 3, 3, groups=3), [], "graph/n/groups: expected a divisor of 8 output channels, found 3"),
        (lambda: conv(8, 3, 3, 3, groups=2), [(6, 7, 3)], "tensors/n/weight: expected 3 input channels, found 6"),
        (lambda: conv(8, 3, 3, 3, groups=0), [], "graph/n/groups: expected an integer from 1 to 65536, found 0"),
        (lambda: conv(8, 3, 3, 3, dilation=3), [(6, 7, 3)], "graph/n: expected an input of at least 7 pixels, found 6"),
        (lambda: conv(8, 3, 3, 3, stride=(1, 2, 1)), [], r"graph/n/stride: expected an integer, or 2 of them"),
        (lambda: conv(8, 3, 3, 3, padding=(1, 2)), [], r"graph/n/padding: expected an integer, or 4 of them"),
        (lambda: conv(8, 3, 3, 3, padding=(1, 2, 0, -1)), [], "graph/n/padding: expected an integer from 0"),
        (lambda: conv(8, 3, 3, 3, digital=1), [], "graph/n/digital: expected true or false, found 1"),
        (lambda: pool(kernel=2, stride=2, ceil="no"), [], "graph/n/ceil: expected true or false"),
        (lambda: mean(kernel=2, stride=2, count_padding=0), [], "graph/n/count_padding: expected true or false"),
        (lambda: node(Concat, "x"), [], "graph/n/inputs: expected a list of two or more node names"),
        (lambda: node(Concat, "x", "y"), [(6, 7, 3), (6, 8, 3)], "graph/n: expected inputs like the first"),
        (lambda: node(Concat, "x", "y"), [(6, 7, 3), (3,)], "graph/n: expected inputs like the first"),
        (lambda: node(Multiply, "x", "y"), [(6, 7, 3), (6, 7, 1)], "graph/n: expected two inputs of one shape"),
        (lambda: node(Flatten, "x"), [(3,)], "graph/n: expected an input of shape"),
        (lambda: node(ChannelShuffle, "x", groups=2), [(6, 7, 3)], "graph/n/groups: expected a divisor of 3 channels"),
        (lambda: take(2, 2), [(6, 7, 3)], r"graph/n/count: expected first \+ count of at most 3, found 4"),
        (lambda: take(3, 1), [(3,)], r"graph/n/count: expected first \+ count of at most 3, found 4"),
        (lambda: take(-1, 2), [], "graph/n/first: expected an integer from 0 to 65536, found -1"),
        (lambda: take(0, 0), [], "graph/n/count: expected an integer from 1 to 65536, found 0"),
        (lambda: take(0, 1.5), [], "graph/n/count: expected an integer"),
        (lambda: node(Affine, "x", scale=ones(3), shift=ones(2)), [(6, 7, 3)], "tensors/n/shift: expected shape"),
        (lambda: node(Clip, "x", low=1.0, high=0.5), [], "graph/n/high: expected at least low, 1.0, found 0.5"),
        (lambda: node(Clip, "x", low=float("nan"), high=1), [], "graph/n/low: expected a number of at most"),
        (lambda: node(Clip, "x", low=0, high=2.0**101), [], "graph/n/high: expected a number of at most"),
        (lambda: node(LeakyRelu, "x", slope=True), [], "graph/n/slope: expected a number of at most .*, found True"),
        (lambda: node(HardSigmoid, "x", slope=1, offset="a"), [], "graph/n/offset: expected a number of at most"),
        (lambda: lrn(alpha=-1.0), [], "graph/n/alpha: expected a number from 0 on"),
        (lambda: lrn(bias=0.0), [], r"graph/n/bias: expected a number from 2\^-100 on"),
        (lambda: lrn(size=0), [], "graph/n/size: expected an integer from 1"),
    ],
)  # fmt: skip
def test_settings_of_operations_that_are_refused(layer, shapes, message):
    with pytest.raises(NetworkError, match=message):
        layer().shape_after(*shapes)


def node(kind, *inputs, **numbers):
    return kind(name="n", inputs=inputs, **numbers)


def take(first, count):
    return node(TakeChannels, "x", first=first, count=count)


def lrn(**changes):
    return node(LocalResponseNorm, "x", **{"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0} | changes)


def test_sizes_that_are_alike_are_one_and_defaults_are_left_out():
    """So that a network has one digest, however it was written."""
    plain = conv(8, 3, 3, 3, stride=2, padding=1)
    same = conv(8, 3, 3, 3, stride=(2, 2), padding=[1, 1, 1, 1], dilation=(1, 1), groups=np.int64(1), digital=False)
    assert plain.as_node() == same.as_node() == {
        "name": "n", "op": "conv", "inputs": ["x"], "stride": 2, "padding": 1,
    }  # fmt: skip
    other = conv(8, 3, 3, 3, stride=(2, 1), padding=(0, 1, 0, 1), dilation=2, groups=4, digital=True)
    expected = {"stride": (2, 1), "padding": (0, 1, 0, 1), "dilation": 2, "groups": 4, "digital": True}
    assert {name: other.as_node()[name] for name in expected} == expected
    assert node(Clip, "x", low=0, high=6).as_node()["high"] == 6.0
    assert type(node(Clip, "x", low=0, high=6).as_node()["high"]) is float
