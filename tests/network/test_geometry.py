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
    small = st.integers(1, 4)
    channels, out, kernel, stride = draw(small), draw(small), (draw(small), draw(small)), draw(small)
    padding = draw(st.integers(0, 3))
    size = [draw(st.integers(max(1, k - 2 * padding), 7)) for k in kernel]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bias = integers(rng, out) if draw(st.booleans()) else None
    weight = integers(rng, out, channels, *kernel)
    layer = Conv(name="n", inputs=("x",), weight=weight, bias=bias, stride=stride, padding=padding)
    return layer, integers(rng, *size, channels)


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
    inside = slice(g.padding, g.padding + g.height), slice(g.padding, g.padding + g.width)
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
    patches = buffer(g, x).reshape(-1)[g.pixel[:, None] + g.row]
    assert np.array_equal((patches @ layer.matrix()).reshape(g.out_shape), naive.convolution(layer, x))
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
    assert len(g.row) == layer.rows == len(set(g.row))
    assert len(g.pixel) == len(set(g.pixel))
    assert not (g.pixel % channels).any()
    assert min(g.row) == min(g.pixel) == 0
    assert max(g.row) + max(g.pixel) < height * width * channels


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
    assert (g.height, g.width, g.channels, g.padding) == (1, 1, 3, 0)
    assert g.padded_shape == (1, 1, channels)
    assert g.row.tolist() == [0, 1, 2] + [3] * (bias is not None)
    assert g.pixel.tolist() == [0]
