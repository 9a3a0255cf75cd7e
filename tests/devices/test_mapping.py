import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pcmref.devices.mapping import map_matrix, map_network
from pcmref.errors import ParameterError
from tests.helpers import naive
from tests.helpers.nets import tiny

laws = settings(max_examples=150, deadline=None, derandomize=True, database=None)

#: Weights: 0, or of a size from 2^-60 to 2^60.
weight = st.floats(2.0**-60, 2.0**60, width=32)
weight = st.one_of(st.just(0.0), weight, weight.map(lambda w: -w))
matrices = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=weight)
any_scale = st.sampled_from(["layer", "column"])
g_max = st.sampled_from([25.0, 10.35, 20.7, 1.0])


def mapped(matrix, g_max_us=25.0, scale="layer"):
    return map_matrix("n", matrix, g_max_us=g_max_us, scale=scale)


@laws
@given(matrices, g_max, any_scale)
def test_round_trip(matrix, g_max_us, scale):
    layer = mapped(matrix, g_max_us, scale)
    assert layer.g_target_us.dtype == layer.weight_per_us.dtype == np.float64
    assert (layer.g_target_us.shape, layer.weight_per_us.shape) == (matrix.shape, matrix.shape[1:])
    np.testing.assert_allclose(layer.g_target_us * layer.weight_per_us, matrix.astype(float), rtol=1e-12, atol=0)


@laws
@given(matrices, g_max, any_scale)
def test_the_sign_of_a_weight_picks_the_device(matrix, g_max_us, scale):
    layer = mapped(matrix, g_max_us, scale)
    assert np.array_equal(np.sign(layer.g_target_us), np.sign(matrix))
    plus, minus = layer.pair_targets_us()
    assert np.array_equal(plus > 0, matrix > 0)
    assert np.array_equal(minus > 0, matrix < 0)
    assert np.array_equal(plus - minus, layer.g_target_us)


@laws
@given(matrices, g_max)
def test_the_largest_weight_is_g_max(matrix, g_max_us):
    size = np.abs(mapped(matrix, g_max_us, "layer").g_target_us).max()
    assert size == pytest.approx(g_max_us, rel=2**-52, abs=0) if matrix.any() else size == 0
    for column, top in zip(matrix.T, np.abs(mapped(matrix, g_max_us, "column").g_target_us).max(axis=0), strict=True):
        assert top == pytest.approx(g_max_us, rel=2**-52, abs=0) if column.any() else top == 0


@laws
@given(matrices, g_max, any_scale, st.integers(-40, 40))
def test_scaling_the_weights_by_a_power_of_two_changes_no_target(matrix, g_max_us, scale, exponent):
    one, other = mapped(matrix, g_max_us, scale), mapped(matrix * np.float32(2.0**exponent), g_max_us, scale)
    assert one.g_target_us.tobytes() == other.g_target_us.tobytes()
    used = np.abs(matrix).max(axis=0) > 0 if scale == "column" else np.full(matrix.shape[1], matrix.any())
    assert np.array_equal((one.weight_per_us * 2.0**exponent)[used], other.weight_per_us[used])


@laws
@given(matrices, g_max, any_scale)
def test_the_plain_loop(matrix, g_max_us, scale):
    layer = mapped(matrix, g_max_us, scale)
    tops = np.abs(matrix).astype(float).max(axis=0 if scale == "column" else None) * np.ones(matrix.shape[1])
    for c, top in enumerate(tops.tolist()):
        assert layer.weight_per_us[c] == (top or 1.0) / g_max_us
        for r, w in enumerate(matrix[:, c].tolist()):
            assert layer.g_target_us[r, c] == w * (g_max_us / (top or 1.0))


def test_an_example():
    matrix = np.array([[0.5, 0.0, -0.125], [-2.0, 0.0, 0.25]], np.float32)
    layer = mapped(matrix)
    assert layer.name == "n"
    assert layer.g_target_us.tolist() == [[6.25, 0, -1.5625], [-25, 0, 3.125]]
    assert layer.weight_per_us.tolist() == [0.08, 0.08, 0.08]
    layer = mapped(matrix, scale="column")
    assert layer.g_target_us.tolist() == [[6.25, 0, -12.5], [-25, 0, 25]]
    assert layer.weight_per_us.tolist() == [0.08, 0.04, 0.01]


@pytest.mark.parametrize("scale", ["layer", "column"])
def test_a_matrix_of_zeros(scale):
    layer = mapped(np.zeros((3, 2), np.float32), scale=scale)
    assert not layer.g_target_us.any()
    assert layer.weight_per_us.tolist() == [0.04, 0.04]


@pytest.mark.parametrize("scale", ["layer", "column"])
def test_weights_at_the_ends_of_float32(scale):
    for w in (1e-45, 3.4028235e38):
        assert mapped(np.array([[w], [-w]], np.float32), scale=scale).g_target_us.tolist() == [[25.0], [-25.0]]


@pytest.mark.parametrize("scale", ["rows", "", "Layer", None])
def test_an_unknown_scale(scale):
    with pytest.raises(ParameterError, match=r"^scale: expected one of layer, column, found "):
        mapped(np.ones((1, 1), np.float32), scale=scale)


@pytest.mark.parametrize("scale", ["layer", "column"])
def test_a_network(scale):
    network = tiny()
    layers = list(map_network(network, g_max_us=25.0, scale=scale))
    assert [layer.name for layer in layers] == ["conv1", "conv2", "short", "conv3", "fc"]
    for layer, mapping in zip(network.crossbar_layers, layers, strict=True):
        targets_us, per_us = naive.targets_us(layer, 25.0, scale)
        np.testing.assert_allclose(mapping.g_target_us, targets_us, rtol=1e-15, atol=0)
        assert mapping.weight_per_us.tolist() == per_us
