"""Arrays: who may write to them, what they may hold, and work on them part by part."""

from __future__ import annotations

import numpy as np
import pytest

from pcmref.arrays import PART, check_array, frozen, in_parts
from pcmref.errors import ParameterError


@pytest.mark.parametrize("count", [0, 1, PART, PART + 1, 3 * PART - 1])
def test_work_in_parts_is_work_on_the_whole(count):
    rng = np.random.default_rng(count)
    x, y = rng.standard_normal(count), rng.integers(0, 9, count)
    sizes = []

    def compute(x, y):
        sizes.append(len(x))
        return x * y, (x > 0).astype(np.int16)

    product, sign = in_parts(compute, x, y)
    assert product.tobytes() == (x * y).tobytes()
    assert (product.dtype, sign.dtype) == (np.float64, np.int16)
    assert sign.tolist() == (x > 0).tolist()
    assert (sum(sizes), max(sizes)) == (count, min(count, PART))


def test_what_is_frozen_is_a_copy_even_of_what_cannot_be_written_to():
    own = np.arange(3.0)
    view = own[:]
    for writeable in (True, False):
        own.flags.writeable = writeable
        copy = frozen(own)
        view[0] += 9  # taken before
        assert copy.tolist()[1:] == [1, 2]
        assert copy[0] != view[0]
        with pytest.raises(ValueError, match="read-only"):
            copy[0] = 9


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -0.5])
def test_a_number_that_does_not_fit_is_named_with_its_place(bad):
    value = np.ones((2, 3))
    check_array("g", value, np.float64, (2, None), 0.0)
    check_array("g", value[:0], np.float64, (None, None), 0.0)
    value[1, 2] = bad
    with pytest.raises(ParameterError, match=r"g: expected finite numbers from 0 on, found .* at \[1, 2\]"):
        check_array("g", value, np.float64, (None, 3), 0.0)
    if bad == -0.5:
        check_array("g", value, np.float64, (None, 3), -np.inf)
