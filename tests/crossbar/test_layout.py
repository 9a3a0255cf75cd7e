"""How a layer lies in memory: every code once where the kernels look for it, and sums that fit 32 bits."""

from __future__ import annotations

from itertools import pairwise

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref.arithmetic import fast, reference
from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.crossbar.layer import window
from pcmref.crossbar.layout import is_split, lay_out
from pcmref.network.geometry import geometry
from pcmref.network.layers import Conv, Linear

laws = settings(max_examples=settings.default.max_examples // 2)
LANES = 16


def draw_codes(rng, shape, kind="any"):
    if kind == "one sign":
        return np.full(shape, CODE_LIMIT, np.int16)
    if kind == "largest":
        return rng.choice(np.array([-CODE_LIMIT, CODE_LIMIT], np.int16), shape)
    return rng.integers(-CODE_LIMIT, CODE_LIMIT + 1, shape).astype(np.int16)


def check_segments(packed, segment, largest):
    """Bounds from 0 to the last row that rise, between them as many rows as 32 bits allow."""
    size = np.abs(packed.astype(object)).sum(axis=2) * largest
    assert (segment[0], segment[-1]) == (0, len(packed))
    assert (np.diff(segment) > 0).all()
    for position, (first, last) in enumerate(pairwise(segment)):
        assert max(size[first:last].sum(axis=0)) < 2**31
        if position + 2 < len(segment):  # one more row might not fit
            assert max(size[first : last + 1].sum(axis=0)) >= 2**31


@laws
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.sampled_from([1, 2, 15, 16, 17, 40]),
    st.integers(1, 35),
    st.integers(2, 16),
    st.sampled_from(["any", "one sign", "largest"]),
    st.booleans(),
)
def test_every_code_lies_where_its_input_is(seed, rows, columns, tile_rows, bits, kind, fresh):
    rng = np.random.default_rng(seed)
    limit = 2 ** (bits - 1) - 1
    row = rng.permutation(2 * rows + 3)[:rows]
    codes = draw_codes(rng, (rows, columns), kind)
    variance = np.abs(draw_codes(rng, (rows, columns), kind)) if fresh else None
    tiles = lay_out(row, codes, variance, tile_rows=tile_rows, limit=limit)
    assert tiles.columns == columns
    assert len(tiles.bound) - 1 == -(-rows // tile_rows)
    assert tiles.bound[0] == 0
    assert len(tiles.pair) == tiles.bound[-1]
    parts = [(tiles.conductance, codes, limit)]
    if fresh:
        parts.append((tiles.variance, variance, min(limit * limit, 2**15 - 1)))
    else:
        assert tiles.variance is tiles.conductance
    for matrix, values, largest in parts:
        assert matrix.packed.dtype == np.int16
        assert matrix.packed.shape == (len(tiles.pair), -(-columns // LANES) * LANES, 2)
        for number in range(len(tiles.bound) - 1):
            pair, packed, segment = tiles.matrix(number, matrix)
            part = slice(number * tile_rows, (number + 1) * tile_rows)
            assert set(pair.tolist()) == {int(r) // 2 for r in row[part]}
            assert len(pair) == len(set(pair.tolist()))
            wanted = np.zeros(packed.shape, np.int16)
            for r, line in zip(row[part], values[part], strict=True):
                wanted[pair.tolist().index(r // 2), :columns, r % 2] = line
            assert np.array_equal(packed, wanted)
            check_segments(packed, segment, largest)


@pytest.mark.parametrize("last", [1, 2])
def test_a_segment_ends_before_a_sum_of_2_to_the_31(last):
    codes = np.full((65_539, 1), CODE_LIMIT, np.int16)
    codes[-1] = last
    tiles = lay_out(np.arange(65_539), codes, None, tile_rows=65_539, limit=1)
    assert len(tiles.conductance.segment) == 1 + last  # 65,538 * 32767 is 2^31 - 2
    check_segments(tiles.conductance.packed, tiles.conductance.segment, 1)


def test_squares_of_more_than_15_bits_are_split():
    assert [is_split(2 ** (bits - 1) - 1) for bits in range(2, 17)] == [False] * 7 + [True] * 8
    assert not is_split(181)
    assert is_split(182)  # 182^2 = 33,124


# Sums of whole layers: geometry, layout and kernels together

RESNETS = [
    (channels, size, out, kernel, stride)
    for widths in ((16, 28, 56), (16, 32, 64))
    for channels, size, out, kernel, stride in (
        (3, 32, widths[0], 3, 1),
        (widths[0], 32, widths[0], 3, 1),
        (widths[0], 32, widths[1], 3, 2),
        (widths[0], 32, widths[1], 1, 2),
        (widths[1], 16, widths[1], 3, 1),
        (widths[1], 16, widths[2], 3, 2),
        (widths[1], 16, widths[2], 1, 2),
        (widths[2], 8, widths[2], 3, 1),
    )
]
ODD = [(1, 1, 1, 1, 1), (1, 5, 17, 3, 2), (5, 7, 1, 3, 1), (7, 3, 33, 3, 1), (2, 1, 16, 1, 1), (1, 9, 31, 5, 3)]


@pytest.mark.parametrize("layer", sorted({*RESNETS, *ODD}))
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["any", "one sign"])
def test_sums_of_the_layers_of_a_resnet(layer, bias, kind):
    if numba.config.DISABLE_JIT and layer in RESNETS:
        pytest.skip("too slow in plain Python")
    rng = np.random.default_rng(1)
    channels, size, out, kernel, stride = layer
    weight = rng.standard_normal((out, channels, kernel, kernel)).astype(np.float32)
    offset = np.ones(out, np.float32) if bias else None
    conv = Conv(name="c", inputs=("input",), weight=weight, bias=offset, stride=stride, padding=kernel // 2)
    in_shape = (size, size, channels)
    shape = geometry(conv, in_shape, conv.shape_after(in_shape))
    limit = CODE_LIMIT if kind == "one sign" else 2047
    matrix = draw_codes(rng, (conv.rows, conv.columns), kind)
    tiles = lay_out(shape.row, matrix, None, tile_rows=conv.rows, limit=limit)
    x = np.clip(draw_codes(rng, (1 if size > 16 else 2, *shape.padded_shape), kind), -limit, limit)
    if kind == "one sign":
        assert len(tiles.conductance.segment) > conv.rows / 2  # with three rows in a segment, 32 bits would overflow
    pixel = window(shape, shape.pixel // 2).pixel
    operands = pixel, *tiles.matrix(0, tiles.conductance)
    expected = reference.accumulate(x, *operands)
    assert np.array_equal(fast.accumulate(x, *operands), expected)
    assert not expected[:, :, conv.columns :].any()
    for p in (0, len(shape.pixel) - 1):  # in Python integers
        inputs = x[0].reshape(-1)[shape.pixel[p] + shape.row].astype(object)
        assert expected[0, p, : conv.columns].tolist() == inputs.dot(matrix.astype(object)).tolist()


@pytest.mark.parametrize("rows", [1, 2, 3, 64, 577])
@pytest.mark.parametrize("columns", [1, 10, 16, 17])
def test_sums_of_a_linear_layer(rows, columns):
    rng = np.random.default_rng(2)
    layer = Linear(name="l", inputs=("input",), weight=np.ones((columns, rows), np.float32))
    shape = geometry(layer, (rows,), (columns,))
    matrix = draw_codes(rng, (rows, columns), "largest")
    tiles = lay_out(shape.row, matrix, None, tile_rows=rows, limit=CODE_LIMIT)
    x = draw_codes(rng, (3, *shape.padded_shape), "largest")
    operands = window(shape, shape.pixel // 2).pixel, *tiles.matrix(0, tiles.conductance)
    expected = reference.accumulate(x, *operands)
    assert np.array_equal(fast.accumulate(x, *operands), expected)
    exact = x.reshape(3, -1)[:, :rows].astype(object).dot(matrix.astype(object))
    assert expected[:, 0, :columns].tolist() == exact.tolist()
