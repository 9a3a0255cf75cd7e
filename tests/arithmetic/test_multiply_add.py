"""Register blocks: the compiled one does what the interpreted one does, and touches nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.arithmetic.operands import LANES, codes

numba = pytest.importorskip("numba")
multiply_add = pytest.importorskip("pcmref.arithmetic.fast.multiply_add")


@pytest.mark.parametrize("pixels", [1, 6, 16])
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
