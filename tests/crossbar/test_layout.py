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
from pcmref.crossbar import layout
from pcmref.crossbar.layer import window
from pcmref.crossbar.layout import cut, is_split, lay_out
from pcmref.errors import ParameterError
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


def test_rows_are_cut_slice_by_slice():
    def bounds(*arguments):
        return [(part.start, part.stop) for part in cut(*arguments)]

    assert bounds(10, None) == bounds(10, 10) == bounds(10, 2**31) == [(0, 10)]
    assert bounds(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert bounds(10, None, 2) == bounds(10, 99, 2) == [(0, 5), (5, 10)]
    assert bounds(10, 3, 2) == [(0, 3), (3, 5), (5, 8), (8, 10)]
    assert bounds(6, 1, 3) == [(i, i + 1) for i in range(6)]


@laws
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.sampled_from([1, 2, 15, 16, 17, 40]),
    st.integers(1, 35),
    st.sampled_from([1, 3, 127, 181, 182, 255, 2047, 32767]),
    st.sampled_from(["any", "one sign", "largest"]),
    st.booleans(),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 1, 2]),
)
def test_every_code_lies_where_its_input_is(seed, rows, columns, tile_rows, limit, kind, fresh, lines, slices):
    rng = np.random.default_rng(seed)
    row = np.tile(rng.permutation(2 * rows + 3)[:rows], slices)
    codes = draw_codes(rng, (lines, rows * slices, columns), kind)
    variance = np.abs(draw_codes(rng, codes.shape, kind)) if fresh else None
    cuts = cut(rows * slices, tile_rows, slices)
    tiles = lay_out(row, codes, variance, parts=cuts, limit=limit)
    assert tiles.columns == columns
    assert len(tiles.bound) - 1 == len(cuts) * lines
    assert tiles.bound[0] == 0
    assert len(tiles.pair) == tiles.bound[-1]
    parts = [(tiles.conductance, codes, limit)]
    if fresh:
        parts.append((tiles.variance, variance, min(limit * limit, 2**15 - 1)))
    else:
        assert tiles.variance is tiles.conductance
    for matrix, values, largest in parts:
        assert matrix.packed.dtype == np.int16
        assert matrix.packed.shape == (len(tiles.pair) * -(-columns // LANES), LANES, 2)
        for number in range(len(tiles.bound) - 1):
            pair, panels, segment = tiles.matrix(number, matrix)
            packed = np.concatenate(list(panels), axis=1)
            part = cuts[number // lines]
            assert set(pair.tolist()) == {int(r) // 2 for r in row[part]}
            assert len(pair) == len(set(pair.tolist()))
            wanted = np.zeros(packed.shape, np.int16)
            for r, line in zip(row[part], values[number % lines, part], strict=True):
                wanted[pair.tolist().index(r // 2), :columns, r % 2] = line
            assert np.array_equal(packed, wanted)
            check_segments(packed, segment, largest)


@pytest.mark.parametrize("last", [1, 2])
def test_a_segment_ends_before_a_sum_of_2_to_the_31(last):
    codes = np.full((1, 65_539, 1), CODE_LIMIT, np.int16)
    codes[0, -1] = last
    tiles = lay_out(np.arange(65_539), codes, None, parts=[slice(0, 65_539)], limit=1)
    assert len(tiles.conductance.segment) == 1 + last  # 65,538 * 32767 is 2^31 - 2
    check_segments(tiles.conductance.packed.reshape(-1, LANES, 2), tiles.conductance.segment, 1)


@pytest.mark.parametrize("line", [0, 1])
def test_columns_whose_sums_might_not_be_exact_are_refused(line, monkeypatch):
    """By the sizes of their codes, in each tile and line of its own; the bounds are smaller here."""
    assert (layout.SUM_MOST, layout.VARIANCE_MOST) == (2**52, 2**63)
    monkeypatch.setattr(layout, "SUM_MOST", 2**32)
    monkeypatch.setattr(layout, "VARIANCE_MOST", 2**39)
    codes = np.zeros((2, 6, 2), np.int16)
    codes[line, :, 1] = [32767, -32767, 32767, -32767, 4, 0]  # 2^17

    def laid(codes, variance=None, limit=2**15, parts=(slice(0, 6),)):
        return lay_out(np.arange(6), codes, variance, parts=parts, limit=limit)

    message = r"^conductance codes of a tile: expected column sums below 2\^32, found up to 4\.29e\+09$"
    with pytest.raises(ParameterError, match=message):
        laid(codes)
    laid(codes, limit=2**15 - 1)
    laid(codes, parts=[slice(0, 5), slice(5, 6)][::-1], limit=2**15 - 1)
    with pytest.raises(ParameterError, match=message):
        laid(codes, parts=[slice(5, 6), slice(0, 5)])
    laid(codes, parts=[slice(0, 4), slice(4, 6)])
    few, variance = np.zeros_like(codes), np.abs(codes)
    message = r"^variance codes of a tile: expected column sums below 2\^39, found up to 5\.5e\+11$"
    with pytest.raises(ParameterError, match=message):
        laid(few, variance, limit=2**11)
    laid(few, variance, limit=2**11 - 1)


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
    tiles = lay_out(shape.row, matrix[None], None, parts=cut(conv.rows, None), limit=limit)
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
    tiles = lay_out(shape.row, matrix[None], None, parts=cut(rows, None), limit=CODE_LIMIT)
    x = draw_codes(rng, (3, *shape.padded_shape), "largest")
    operands = window(shape, shape.pixel // 2).pixel, *tiles.matrix(0, tiles.conductance)
    expected = reference.accumulate(x, *operands)
    assert np.array_equal(fast.accumulate(x, *operands), expected)
    exact = x.reshape(3, -1)[:, :rows].astype(object).dot(matrix.astype(object))
    assert expected[:, 0, :columns].tolist() == exact.tolist()
