"""Register blocks: the compiled one does what the interpreted one does, and touches nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from pcmref.arithmetic import reference
from pcmref.arithmetic.operands import PIXELS, filled
from tests.arithmetic.operands import LANES, codes, panelled, segments_for

numba = pytest.importorskip("numba")
multiply_add = pytest.importorskip("pcmref.arithmetic.fast.multiply_add")


@pytest.mark.parametrize("pixels", [1, 6, 10])
@pytest.mark.parametrize("panels", [1, 2])
@pytest.mark.parametrize("kinds", [(np.int32, np.int32), (np.int32, np.int64), (np.float32, np.float32)], ids=str)
def test_interpreted_blocks_equal_compiled_ones(pixels, panels, kinds):
    if numba.config.DISABLE_JIT:
        pytest.skip("nothing is compiled")
    compiled = multiply_add._compiled(pixels, panels)
    interpreted = multiply_add._interpreted(pixels, panels)

    @numba.njit
    def call(x, pixel, row, weights, out, p, v, first, last):
        compiled(x, pixel, row, weights, out, p, v, first, last)

    rng = np.random.default_rng(4)
    inputs, outputs = kinds
    pixel, row = rng.integers(0, 40, 2 * pixels + 3), rng.integers(0, 20, 12)
    width = LANES * (panels + 2)
    shape = panels + 2, len(row), LANES
    if inputs == np.int32:
        x = codes(rng, (1, 120)).view(np.int32)[0]
        weights = codes(rng, (*shape[:2], 2 * LANES))
    else:
        # small integers, so that fused and separate roundings agree
        x, weights = (rng.integers(-99, 100, s).astype(np.float32) for s in (60, shape))
    for p, v, first, last in ((0, 0, 0, 1), (0, 1, 0, 1), (pixels, 2, 3, 4), (3, 1, 5, 5), (2, 0, 11, 12)):
        start = rng.integers(-1000, 1000, (len(pixel), width)).astype(outputs)
        found, expected = start.copy(), start.copy()
        call(x, pixel, row, weights, found, p, v, first, last)
        interpreted(x, pixel, row, weights, expected, p, v, first, last)
        assert np.array_equal(found, expected)
        touched = np.zeros(start.shape, bool)
        touched[p : p + pixels, LANES * v : LANES * (v + panels)] = True
        assert np.array_equal(found[~touched], start[~touched])
    if inputs == np.int32:  # all rows at once; small codes, so that 32 bits hold the sums
        x, weights = (x.view(np.int16) >> 8).view(np.int32), weights >> 8
    found, expected = (np.zeros((len(pixel), width), outputs) for _ in range(2))
    call(x, pixel, row, weights, found, 1, 0, 0, len(row))
    interpreted(x, pixel, row, weights, expected, 1, 0, 0, len(row))
    assert np.array_equal(found, expected)
    assert expected.any()


def test_there_are_pixels_enough_for_every_block():
    assert max(multiply_add.BLOCK_1, multiply_add.BLOCK_2) <= PIXELS


@pytest.mark.parametrize(("single", "double"), [(10, 8), (6, 0), (16, 16), (1, 1)])
@pytest.mark.parametrize("columns", [1, 2, 3, 5])
@pytest.mark.parametrize("pixels", [1, 5, 9, 16, 23])
def test_blocks_of_any_processor_give_the_same_sums(single, double, columns, pixels, monkeypatch):
    """Those that this processor does not have run as Python."""
    stages = pytest.importorskip("pcmref.arithmetic.fast.stages")
    for name, number, panels in (("BLOCK_1", single, 1), ("BLOCK_2", double, 2)):
        monkeypatch.setattr(stages, name, number)
        monkeypatch.setattr(stages, f"_{name.lower()}", multiply_add._interpreted(number, panels))
    rng = np.random.default_rng(pixels)
    pixel, row = rng.integers(0, 30, pixels), rng.permutation(20)[:7]
    x, packed = codes(rng, (1, 100), "largest"), codes(rng, (len(row), LANES * columns, 2), "largest")
    panels, segment, place = panelled(packed), segments_for(packed, 32767), filled(pixel)
    assert len(segment) > 2
    out = np.full((len(place), LANES * columns), 7, np.int64)
    summed = getattr(stages.sum_products, "py_func", stages.sum_products)
    weights = panels.reshape(*panels.shape[:2], -1)
    summed(x[0].view(np.int32), place, pixels, row, weights, segment, out)
    expected = reference.accumulate(x, place, row, panels, segment)[0]
    assert np.array_equal(out[:pixels], expected[:pixels])
