"""Approximate codes of a noisy ADC: as close as they claim, and rarely in doubt."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest

from pcmref.arithmetic.draws import normals
from tests.arithmetic.operands import LANES, fast

numba = pytest.importorskip("numba")
noisy_adc = pytest.importorskip("pcmref.arithmetic.fast.noisy_adc")

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="without JIT every output is in doubt")
#: Words around each power of two and its complement, where the exponent of p changes, and random ones.
WORDS = np.concatenate([near := (2 ** np.arange(32)[:, None] + np.arange(-40, 41)).ravel() % 2**32, 2**32 - 1 - near,
                        np.random.default_rng(7).integers(0, 2**32, 100_000)]).astype(np.uint32)  # fmt: skip


@functools.cache
def approximate_run(plain):
    normals_of, block = noisy_adc.approximate_normals(), noisy_adc.approximate_codes(plain=plain)

    @numba.njit
    def run(words, sums, variance, out, doubtful, scales, limits):
        z = np.empty(len(out), np.float32)
        for at in range(0, len(out), LANES):
            normals_of(words, at, z)
            bits = block(z, at, sums, variance, out, at, scales, 0, limits)
            for lane in range(LANES):
                doubtful[at + lane] = (bits >> lane) & 1

    return run


def approximated(words, gain, limit):
    """Return the approximate codes of sums 0 and variances 1, and which are in doubt."""
    size = len(words) // LANES * LANES
    found = []
    for plain in (True, False):  # without an offset, and to the nearest: both say the same
        out, doubtful = np.empty(size, np.int32), np.empty(size, np.bool_)
        scales, limits = np.repeat([gain, 0], LANES).astype(np.float32), np.array([-limit, limit, 0, 0], np.float32)
        approximate_run(plain)(words, np.zeros(size, np.int32), np.ones(size, np.int32), out, doubtful, scales, limits)
        found.append((out, doubtful))
    (out, doubtful), (other, more) = found
    assert np.array_equal(out, other)
    assert (more | ~doubtful).all()  # the one that could have an offset has the wider bound
    return words[:size], out, doubtful


def test_approximate_normals_are_as_close_as_they_claim():
    words, out, doubtful = approximated(WORDS, 2.0**15, 2.0**23 - 1)
    p = (np.minimum(words, ~words) + 0.5) * 2.0**-32
    likely = p > 2.0**-noisy_adc.Z_TOP
    error = out / 2.0**18 - normals(words)
    assert np.abs(error[likely]).max() < noisy_adc.Z_ERROR / 2
    assert doubtful[np.abs(out) < 2**22].all()  # none is certain to a part in 2^18


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "soak", reason="a minute: HYPOTHESIS_PROFILE=soak")
def test_every_approximate_normal_is_as_close_as_it_claims():
    """All 2^32 words."""
    size, worst = 2**24, 0.0
    for first in range(0, 2**32, size):
        words, out, _ = approximated(
            np.arange(first, first + size, dtype=np.uint64).astype(np.uint32), 2.0**15, 2.0**23 - 1
        )
        likely = np.minimum(words, ~words) + 0.5 > 2.0 ** (32 - noisy_adc.Z_TOP)
        worst = max(worst, np.abs(out / 2.0**18 - fast.normals(words))[likely].max(initial=0.0))
    assert worst < noisy_adc.Z_ERROR / 2


def test_only_rare_normals_are_in_doubt_where_noise_is_small():
    words, out, doubtful = approximated(WORDS, 1e-3, 127.0)
    p = (np.minimum(words, ~words) + 0.5) * 2.0**-32
    assert doubtful[p < 0.99 * 2.0**-noisy_adc.Z_TOP].all()
    assert not doubtful[p > 1.01 * 2.0**-noisy_adc.Z_TOP].any()
    assert not out[~doubtful].any()


def test_few_codes_are_in_doubt_where_noise_is_a_code():
    _, _, doubtful = approximated(np.random.default_rng(8).integers(0, 2**32, 2**20).astype(np.uint32), 1 / 8, 127.0)
    assert 0 < doubtful.mean() < 0.3  # with a gain of 1/8, the noise's own rounding leaves a quarter open
    _, _, doubtful = approximated(np.random.default_rng(8).integers(0, 2**32, 2**20).astype(np.uint32), 1e-4, 127.0)
    assert doubtful.mean() < 2.0**-10
