import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref.network.geometry import geometry
from pcmref.network.layers import Conv, Linear
from tests.helpers import naive

laws = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def integers(rng, *shape):
    return rng.integers(-9, 10, shape).astype(np.float32)


@st.composite
def convolutions(draw):
    """A convolution of small integers and an input that it fits."""
    small, pair = st.integers(1, 4), st.tuples(st.integers(1, 3), st.integers(1, 3))
    channels, out, groups, kernel = draw(small), draw(small), draw(st.integers(1, 3)), (draw(small), draw(small))
    stride, dilation = draw(small | pair), draw(st.just(1) | st.integers(1, 2) | pair)
    padding = draw(st.integers(0, 3) | st.tuples(*[st.integers(0, 2)] * 4))
    before, after = (padding[:2], padding[2:]) if isinstance(padding, tuple) else ((padding,) * 2, (padding,) * 2)
    extent = [d * (k - 1) + 1 for d, k in zip(naive.two(dilation), kernel, strict=True)]
    size = [draw(st.integers(max(1, e - b - a), 10)) for e, b, a in zip(extent, before, after, strict=True)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bias = integers(rng, out * groups) if draw(st.booleans()) else None
    weight = integers(rng, out * groups, channels, *kernel)
    numbers = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    layer = Conv(name="n", inputs=("x",), weight=weight, bias=bias, **numbers)
    return layer, integers(rng, *size, channels * groups)


@st.composite
def linears(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs, out = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    bias = integers(rng, out) if draw(st.booleans()) else None
    return Linear(name="n", inputs=("x",), weight=integers(rng, out, inputs), bias=bias), integers(rng, inputs)


def buffer(g, x):
    """The padded input; the constant 1 in every pixel, and what nobody may read elsewhere."""
    padded = np.full(g.padded_shape, np.nan, np.float32)
    padded[..., : g.channels] = 0
    top, left, bottom, right = g.padding
    assert padded.shape[:2] == (top + g.height + bottom, left + g.width + right)
    inside = slice(top, top + g.height), slice(left, left + g.width)
    padded[(*inside, slice(g.channels))] = x
    if g.bias:
        padded[..., g.channels] = 1
    return padded


@laws
@given(st.one_of(convolutions(), linears()))
def test_gathered_rows_times_the_matrix_are_the_convolution(case):
    layer, x = case
    out_shape = layer.shape_after(x.shape)
    g = geometry(layer, x.shape, out_shape)
    flat, row = buffer(g, x).reshape(-1), np.atleast_2d(g.row)
    assert len(row) == g.groups
    each = zip(row, np.split(layer.matrix(), g.groups, axis=1), strict=True)
    found = np.concatenate([flat[g.pixel[:, None] + part] @ matrix for part, matrix in each], axis=1)
    assert np.array_equal(found.reshape(g.out_shape), naive.convolution(layer, x))
    assert g.out_shape == out_shape


@laws
@given(st.one_of(convolutions(), linears()))
def test_offsets(case):
    layer, x = case
    g = geometry(layer, x.shape, layer.shape_after(x.shape))
    height, width, channels = g.padded_shape
    assert channels % 2 == 0
    assert channels - g.channels - g.bias in (0, 1)
    assert (g.row.dtype, g.pixel.dtype) == (np.int64, np.int64)
    assert g.row.shape == ((layer.rows,) if g.groups == 1 else (g.groups, layer.rows))
    assert all(len(set(part)) == layer.rows for part in np.atleast_2d(g.row))
    assert len(g.pixel) == len(set(g.pixel))
    assert not (g.pixel % channels).any()
    assert g.row.min() == min(g.pixel) == 0
    assert g.row.max() + max(g.pixel) < height * width * channels


def test_an_example():
    weight = np.ones((1, 3, 2, 2), np.float32)
    layer = Conv(name="n", inputs=("x",), weight=weight, bias=np.ones(1, np.float32), stride=2, padding=1)
    g = geometry(layer, (4, 3, 3), (3, 2, 1))
    assert g.padded_shape == (6, 5, 4)
    assert g.row.tolist() == [0, 1, 2, 4, 5, 6, 20, 21, 22, 24, 25, 26, 3]
    assert g.pixel.tolist() == [0, 8, 40, 48, 80, 88]


@pytest.mark.parametrize(("bias", "channels"), [(None, 4), (np.ones(2, np.float32), 4)])
def test_a_linear_layer_is_one_pixel(bias, channels):
    g = geometry(Linear(name="n", inputs=("x",), weight=np.ones((2, 3), np.float32), bias=bias), (3,), (2,))
    assert (g.height, g.width, g.channels, g.padding) == (1, 1, 3, (0, 0, 0, 0))
    assert g.padded_shape == (1, 1, channels)
    assert g.row.tolist() == [0, 1, 2] + [3] * (bias is not None)
    assert g.pixel.tolist() == [0]
