import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pcmref.arithmetic.choice import VARIABLE
from pcmref.arithmetic.periphery import added, hyperbolic_tangent, normalised, rectified, sigmoid
from pcmref.errors import ParameterError
from pcmref.inference import digital
from pcmref.inference.corrections import Corrections, Statistics, stored_statistics
from pcmref.network.layers import BatchNorm
from pcmref.network.operations import (
    Affine,
    AveragePool,
    ChannelShuffle,
    Clip,
    Concat,
    Flatten,
    HardSigmoid,
    LeakyRelu,
    LocalResponseNorm,
    MaxPool,
    Multiply,
    PadShortcut,
    Sigmoid,
    TakeChannels,
    Tanh,
)
from tests.helpers import naive

laws = settings(max_examples=100, deadline=None, derandomize=True, database=None)
small = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)
f32 = np.float32


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    monkeypatch.setenv(VARIABLE, "numpy")


def random(seed, *shape):
    """Numbers of many sizes, zeros of both signs among them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-20, 20, shape)
    return np.where(rng.random(shape) < 0.1, rng.choice([0.0, -0.0], shape), x).astype(f32)


def same(one, other):
    """Equal, down to the signs of zeros."""
    assert (one.dtype, one.shape) == (other.dtype, other.shape) == (f32, one.shape)
    assert one.tobytes() == other.tobytes()


def each_image(layer, *inputs):
    return np.stack([naive.digital_node(layer, *images) for images in zip(*inputs, strict=True)])


class Op:
    """A node for `naive.digital_node`."""

    def __init__(self, op):
        self.op = op


# Element by element


def test_relu_by_sign_and_size():
    x = np.array([-np.inf, -1, -1e-45, -0.0, 0.0, 1e-45, 1, 3.4e38], f32)
    same(rectified(x), np.array([0, 0, 0, 0, 0, 1e-45, 1, 3.4e38], f32))


@pytest.mark.parametrize("length", range(1, 40))
def test_relu_never_returns_minus_zero(length):
    """Whatever the position: vector units and remainders of loops may choose another zero."""
    assert not np.signbit(rectified(np.full(length, -0.0, f32))).any()


@laws
@given(seeds, small)
def test_relu_and_add(seed, size):
    x, y = random(seed, 2, size, size, 3), random(seed + 1, 2, size, size, 3)
    same(rectified(x), each_image(Op("relu"), x))
    same(added(x, y), each_image(Op("add"), x, y))


def test_inputs_are_left_alone():
    x, y = random(0, 2, 3, 3, 4), random(1, 2, 3, 3, 4)
    copies = x.copy(), y.copy()
    rectified(x)
    added(x, y)
    normalised(x, y[0, 0, 0], y[0, 0, 1])
    digital.max_pool(MaxPool(name="n", inputs=("x",), kernel=2, stride=1), x)
    digital.global_average_pool(x)
    same(x, copies[0])
    same(y, copies[1])


def rounded(exact):
    """A Fraction to the nearest float32, ties to even; within its normal range."""
    nearest = f32(float(exact))
    around = [np.nextafter(nearest, f32(side)) for side in (-np.inf, np.inf)]
    return min((nearest, *around), key=lambda v: (abs(Fraction(float(v)) - exact), v.view(np.uint32) & 1))


def test_batch_norm_rounds_after_the_product_and_after_the_sum():
    rng = np.random.default_rng(0)
    x, scale, offset = (rng.standard_normal(shape).astype(f32) for shape in ((20, 3, 3, 5), 5, 5))
    y, fused = normalised(x, scale, offset), 0
    assert (y.dtype, y.shape) == (f32, x.shape)
    for place in np.ndindex(x.shape):
        a, b, c = (Fraction(float(v)) for v in (x[place], scale[place[-1]], offset[place[-1]]))
        assert y[place] == rounded(Fraction(float(rounded(a * b))) + c)
        fused += y[place] != rounded(a * b + c)
    assert fused > 50  # with one rounding many would differ


def layer_of(kind, *inputs, **numbers):
    return kind(name="n", inputs=inputs or ("x",), **numbers)


ELEMENTWISE = {
    "leaky_relu": layer_of(LeakyRelu, slope=0.1),
    "leaky_relu, negative": layer_of(LeakyRelu, slope=-3.0),
    "clip": layer_of(Clip, low=0, high=6),
    "clip, one number": layer_of(Clip, low=0.1, high=0.1),
    "hard_sigmoid": layer_of(HardSigmoid, slope=0.2, offset=0.5),
    "sigmoid": layer_of(Sigmoid),
    "tanh": layer_of(Tanh),
    "affine": layer_of(Affine, scale=random(1, 6), shift=random(2, 6)),
    "local_response_norm": layer_of(LocalResponseNorm, size=5, alpha=1e-4, beta=0.75, bias=1.0),
    "local_response_norm, even": layer_of(LocalResponseNorm, size=4, alpha=2.0, beta=-0.5, bias=2.0**-100),
    "local_response_norm, wide": layer_of(LocalResponseNorm, size=30, alpha=1.0, beta=1.0, bias=0.3),
    "channel_shuffle": layer_of(ChannelShuffle, groups=2),
    "take_channels": layer_of(TakeChannels, first=1, count=3),
    "take_channels, the last": layer_of(TakeChannels, first=5, count=1),
}


@pytest.mark.parametrize("layer", ELEMENTWISE.values(), ids=ELEMENTWISE)
@laws
@given(seed=seeds, vector=st.booleans())
def test_operations_element_by_element(layer, seed, vector):
    x = random(seed, 2, *(() if vector else (2, 3)), 6)
    copy = x.copy()
    same(digital.operation(layer)(x), each_image(layer, x))
    same(x, copy)


@laws
@given(seeds, small, small)
def test_operations_of_two_nodes_and_more(seed, height, width):
    x, y, v = random(seed, 2, height, width, 4), random(seed + 1, 2, height, width, 4), random(seed + 2, 2, 4)
    multiply, concat, flatten = layer_of(Multiply, "x", "y"), layer_of(Concat, "x", "y", "z"), layer_of(Flatten)
    for inputs in ((x, y), (x, v), (v, v)):
        same(digital.operation(multiply)(*inputs), each_image(multiply, *inputs))
    for inputs in ((x, y, x), (v, v, v)):
        same(digital.operation(concat)(*inputs), each_image(concat, *inputs))
    same(digital.operation(flatten)(x), each_image(flatten, x))


@laws
@given(seeds, st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans())
def test_the_parts_of_a_split_are_the_whole_again(seed, counts, vector):
    x = random(seed, 2, *(() if vector else (2, 3)), sum(counts))
    firsts = np.cumsum([0, *counts[:-1]]).tolist()
    layers = [layer_of(TakeChannels, first=first, count=count) for first, count in zip(firsts, counts, strict=True)]
    parts = [digital.operation(layer)(x) for layer in layers]
    assert [part.shape[1:] for part in parts] == [layer.shape_after(x.shape[1:]) for layer in layers]
    same(digital.concatenated(*parts), x)


EXTREMES = np.array([0.0, 1e-45, 1e-30, 2.0**-12, 0.3, 1.0, 9.0, 88.0, 1e3, 3e38], f32)


def test_curves_at_their_ends():
    x = np.concatenate([-EXTREMES[::-1], EXTREMES])
    for compute, function in ((sigmoid, lambda v: 1 / (1 + np.exp(-v))), (hyperbolic_tangent, np.tanh)):
        found = compute(x)
        with np.errstate(over="ignore"):
            expected = function(x.astype(np.float64))
        assert np.allclose(found, expected, rtol=1e-7, atol=1e-300)
        assert (np.diff(found) >= 0).all()
    same(hyperbolic_tangent(-x), -hyperbolic_tangent(x))


def test_the_tangent_is_as_good_on_both_sides_of_its_seam():
    """Within half a unit in the last place of float32 and a little."""
    x = np.concatenate([2.0**-12 * (1 + np.arange(-2000, 2000) * 2.0**-20), np.geomspace(2.0**-20, 2.0**-4, 4000)])
    x = x.astype(f32)
    exact = np.tanh(x.astype(np.float64))
    assert (np.abs(hyperbolic_tangent(x) - exact) <= 0.5001 * np.spacing(x)).all()


# Batch normalisation


def batch_norm(seed, channels, eps=1e-5):
    rng = np.random.default_rng(seed)
    tensors = {name: rng.standard_normal(channels).astype(f32) for name in ("gamma", "beta", "mean")}
    return BatchNorm(name="n", inputs=("x",), **tensors, var=rng.uniform(0, 2, channels).astype(f32), eps=eps)


@laws
@given(seeds, small, st.sampled_from([1e-5, 1e-3, 0.5, 1e-12]))
def test_fold(seed, channels, eps):
    layer = batch_norm(seed, channels, eps)
    statistics = stored_statistics(layer)
    for one, other in zip(digital.fold(layer, statistics), naive.fold(layer, layer.mean, layer.var), strict=True):
        same(one, other)


def test_fold_takes_the_statistics_it_is_given():
    layer = batch_norm(0, 3)
    mean, var = np.array([0.1, -2.0, 1e-9]), np.array([0.3, 0.0, 1e9])
    scale, offset = digital.fold(layer, Statistics(mean=mean, var=var))
    exact = layer.gamma.astype(float) / np.sqrt(var + 1e-5)
    same(scale, exact.astype(f32))
    same(offset, (layer.beta - mean * exact).astype(f32))


def test_the_offset_uses_the_scale_before_it_is_rounded():
    layers = [batch_norm(seed, 5) for seed in range(20)]
    differ = 0
    for layer in layers:
        scale, offset = digital.fold(layer, stored_statistics(layer))
        differ += (offset != (layer.beta - layer.mean.astype(float) * scale).astype(f32)).sum()
    assert differ > 5


def test_stored_statistics():
    layer = batch_norm(0, 4)
    statistics = stored_statistics(layer)
    for part in ("mean", "var"):
        value = getattr(statistics, part)
        assert value.dtype == np.float64
        assert np.array_equal(value, getattr(layer, part))


def test_corrections_are_empty_by_default():
    assert (dict(Corrections().gain), dict(Corrections().statistics)) == ({}, {})


# Over pixels


@laws
@given(seeds, small, small, small, st.integers(0, 3), st.integers(0, 3))
def test_pad_shortcut(seed, height, width, stride, before, after):
    layer = PadShortcut(name="n", inputs=("x",), stride=stride, before=before, after=after)
    x = random(seed, 2, height, width, 3)
    same(digital.pad_shortcut(layer, x), each_image(layer, x))
    assert digital.pad_shortcut(layer, x).shape[1:] == layer.shape_after(x.shape[1:])


@st.composite
def pools(draw, kind, **numbers):
    """A pooling and the size of an input that it fits."""
    pair = st.integers(1, 3) | st.tuples(st.integers(1, 4), st.integers(1, 4))
    padding = st.integers(0, 2) | st.tuples(*[st.integers(0, 2)] * 4)
    settings = {name: draw(values) for name, values in numbers.items()}
    layer = kind(name="n", inputs=("x",), kernel=draw(pair), stride=draw(pair), padding=draw(padding), **settings)
    size = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    padded = layer.windows.padded(*size)
    assume(all(pixels >= extent for pixels, extent in zip(padded, layer.windows.extent, strict=True)))
    assume(layer.windows.see_pixels(*size))
    return layer, size


@laws
@given(seeds, pools(MaxPool, ceil=st.booleans(), dilation=st.integers(1, 2) | st.just((1, 3))))
def test_max_pool(seed, case):
    layer, size = case
    x = random(seed, 2, *size, 3)
    same(digital.max_pool(layer, x), each_image(layer, x) + f32(0))
    assert digital.max_pool(layer, x).shape[1:] == layer.shape_after((*size, 3))


@laws
@given(seeds, pools(AveragePool, ceil=st.booleans(), count_padding=st.booleans()))
def test_average_pool(seed, case):
    layer, size = case
    x = random(seed, 2, *size, 3)
    same(digital.average_pool(layer, x), each_image(layer, x))
    assert digital.average_pool(layer, x).shape[1:] == layer.shape_after((*size, 3))


@laws
@given(seeds, pools(AveragePool, ceil=st.booleans()))
def test_the_mean_of_a_constant_is_the_constant(seed, case):
    layer, size = case
    x = np.full((1, *size, 2), random(seed, 1)[0])
    assert np.allclose(digital.average_pool(layer, x), x[0, 0, 0, 0], rtol=1e-6, atol=0)


@pytest.mark.parametrize("torch_of", ["max", "mean"])
def test_pools_are_those_of_pytorch(torch_of):
    """Sizes with `ceil` are easy to get wrong: every small setting that PyTorch takes."""
    torch = pytest.importorskip("torch")
    seen = set()
    for size, kernel, stride, padding, ceil in itertools.product(
        range(3, 8), range(1, 4), range(1, 5), range(2), (0, 1)
    ):
        if 2 * padding > kernel:
            continue
        x = random(size, 1, size, size, 2)
        given, numbers = torch.from_numpy(np.moveaxis(x, -1, 1).copy()), (kernel, stride, padding)
        sizes = {"kernel": kernel, "stride": stride, "padding": padding, "ceil": bool(ceil)}
        for counted in (False, True):
            if torch_of == "max":
                expected = torch.nn.functional.max_pool2d(given, *numbers, ceil_mode=bool(ceil))
                found = digital.max_pool(MaxPool(name="n", inputs=("x",), **sizes), x)
            else:
                layer = AveragePool(name="n", inputs=("x",), **sizes, count_padding=counted)
                expected = torch.nn.functional.avg_pool2d(given, *numbers, bool(ceil), counted)
                found = digital.average_pool(layer, x)
            expected = np.moveaxis(expected.numpy(), 1, -1)
            assert found.shape == expected.shape
            assert np.allclose(found, expected, rtol=1e-5, atol=1e-6 * abs(x).max())
            seen.add(found.shape)
    assert len(seen) > 5


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_a_zero_out_of_a_pool_is_plus_zero(kernel):
    layer = MaxPool(name="n", inputs=("x",), kernel=kernel, stride=1)
    for zeros in itertools.product([0.0, -0.0], repeat=kernel**2):
        x = np.array(zeros, f32).reshape(1, kernel, kernel, 1)
        assert not np.signbit(digital.max_pool(layer, x)).any()


def test_padding_never_wins():
    layer = MaxPool(name="n", inputs=("x",), kernel=2, stride=1, padding=1)
    x = np.full((1, 1, 1, 2), -3e38, f32)
    same(digital.max_pool(layer, x), np.full((1, 2, 2, 2), -3e38, f32))


@pytest.mark.parametrize("choice", ["numpy", "numba"])
@pytest.mark.parametrize("height", [1, 2, 5, 16])
@pytest.mark.parametrize("width", [1, 3, 16])
def test_global_average_pool(monkeypatch, choice, height, width):
    monkeypatch.setenv(VARIABLE, choice)
    x = random(height * width, 3, height, width, 5)
    same(digital.global_average_pool(x), each_image(Op("global_average_pool"), x))


@pytest.mark.parametrize("choice", ["numpy", "numba"])
def test_the_mean_of_minus_zeros_is_minus_zero(monkeypatch, choice):
    monkeypatch.setenv(VARIABLE, choice)
    x = np.full((2, 3, 2, 5), -0.0, f32)
    same(digital.global_average_pool(x), x[:, 0, 0])


@pytest.mark.parametrize("choice", ["numpy", "numba"])
def test_global_average_pool_sums_in_raster_order(monkeypatch, choice):
    monkeypatch.setenv(VARIABLE, choice)
    huge = 2.0**60
    column = np.array([huge, 1, -huge, 3], f32)  # the 1 is lost in float64, in this order only
    same(digital.global_average_pool(column.reshape(1, 2, 2, 1)), np.array([[0.75]], f32))
    same(digital.global_average_pool(column[[0, 2, 1, 3]].reshape(1, 2, 2, 1)), np.array([[1.0]], f32))
    same(digital.global_average_pool(column.reshape(1, 4, 1, 1)), np.array([[0.75]], f32))


def test_corrections_are_float64_copies_that_cannot_be_written_to():
    own = np.array([0.1, 0.2, 0.3], np.float32)
    corrections = Corrections(gain={"fc": own}, statistics={"bn": Statistics(mean=own, var=[1, 2, 3])})
    kept = corrections.gain["fc"], corrections.statistics["bn"].mean, corrections.statistics["bn"].var
    own += 1
    for values, expected in zip(kept, ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [1, 2, 3]), strict=True):
        assert values.dtype == np.float64
        assert not values.flags.writeable
        assert np.array_equal(values, np.float32(expected))


@pytest.mark.parametrize("values", [[1j], ["1"], [True], None, [None], [[1.0], [1.0, 2.0]]], ids=repr)
def test_corrections_that_are_no_numbers(values):
    for make in (
        lambda: Corrections(gain={"fc": values}),
        lambda: Statistics(mean=values, var=[1.0]),
        lambda: Statistics(mean=[1.0], var=values),
    ):
        with pytest.raises(ParameterError, match="expected real numbers"):
            make()
    with pytest.raises(ParameterError, match="statistics/bn: expected Statistics"):
        Corrections(statistics={"bn": values})
