"""Vectors that give a wanted sum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref.golden.sums import drawn_codes, vectors_of_sums
from pcmref.golden.weights import directed_conductance, drawn_conductance
from tests.helpers import naive

laws = settings(max_examples=settings.default.max_examples // 2)
RANGES = [(-127, 127), (-128, 127), (0, 127), (0, 255), (0, 1), (-7, 7), (-32767, 32767)]


@st.composite
def wishes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns, count = draw(st.integers(1, 40)), draw(st.integers(1, 4)), draw(st.integers(1, 8))
    low, high = draw(st.sampled_from(RANGES))
    conductance = rng.integers(
        -draw(st.sampled_from([1, 9, 32767])), draw(st.sampled_from([1, 32767])) + 1, (rows, columns)
    )
    reach = np.abs(conductance).sum(axis=0) * max(high, -low)
    share = draw(st.sampled_from([0.01, 0.3, 1.5]))
    targets = np.rint(rng.uniform(-share, share, (columns, count)) * reach[:, None]).astype(np.int64)
    return conductance, targets, low, high, draw(st.booleans())


@laws
@given(wishes())
def test_a_vector_that_is_said_to_reach_its_sum_does(wish):
    conductance, targets, low, high, extreme = wish
    vectors, reached = vectors_of_sums(conductance, targets, low, high, extreme=extreme)
    assert vectors.shape == (*targets.shape, len(conductance))
    sums = [[int(x @ g) for x in some] for some, g in zip(vectors, conductance.T, strict=True)]
    assert (np.array(sums)[reached] == targets[reached]).all()
    assert vectors.min() >= low
    assert vectors.max() <= high


@laws
@given(st.lists(st.integers(-6, 6), min_size=1, max_size=3), st.integers(-2, 0), st.integers(1, 3))
def test_few_rows_reach_exactly_the_sums_that_they_can(column, low, high):
    values = itertools.product(range(low, high + 1), repeat=len(column))
    possible = {sum(x * g for x, g in zip(vector, column, strict=True)) for vector in values}
    targets = np.arange(-60, 61)
    _, reached = vectors_of_sums(np.array(column)[:, None], targets[None], low, high)
    assert set(targets[reached[0]].tolist()) == possible


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("rows", [16, 64, 256])
def test_directed_conductances_reach_every_sum(rows, low, high):
    conductance = directed_conductance(rows, 3)
    # of codes of one sign, each column has rows of both signs for sums of both signs
    most = int(np.minimum(np.maximum(conductance, 0).sum(axis=0), np.maximum(-conductance, 0).sum(axis=0)).min())
    most = min(most, 16_000) if high == 1 else most * high // 2
    targets = np.unique(np.concatenate([np.arange(-40, 41), np.linspace(-most, most, 41).astype(np.int64)]))
    _, reached = vectors_of_sums(conductance, np.tile(targets, (3, 1)), low, high)
    assert reached.mean() > (0.9 if rows == 16 and high == 1 else 0.999)


def test_drawn_weights_reach_every_sum_that_is_not_too_large():
    conductance = drawn_conductance(256, 4)
    most = np.abs(conductance).sum(axis=0).min() * 127 * 9 // 10
    _, reached = vectors_of_sums(conductance, np.linspace(-most, most, 400).astype(np.int64).reshape(4, 100), -127, 127)
    assert reached.all()


def test_a_common_factor_leaves_only_its_multiples():
    conductance = 6 * np.arange(1, 30)[:, None]
    _, reached = vectors_of_sums(conductance, np.arange(-30, 31)[None], -127, 127)
    assert np.flatnonzero(reached[0]).tolist() == list(range(0, 61, 6))


def test_nothing_is_reached_without_conductance_but_zero():
    vectors, reached = vectors_of_sums(np.zeros((5, 1), np.int64), np.array([[-1, 0, 1]]), -1, 1)
    assert reached.tolist() == [[False, True, False]]
    assert vectors.shape == (1, 3, 5)


def test_vectors_start_from_drawn_ones_so_that_all_rows_take_part():
    vectors, reached = vectors_of_sums(drawn_conductance(64, 2), np.zeros((2, 3), np.int64), -127, 127, extreme=True)
    assert reached.all()
    assert (np.abs(vectors) == 127).mean() > 0.7
    assert len(np.unique(vectors.reshape(6, 64), axis=0)) == 6


def test_drawn_codes_are_words_of_philox_times_their_number():
    seed, use = 0x123456789ABCDEF0, 32
    found = drawn_codes((3, 3), -127, 127, seed=seed, use=use)
    words = [naive.philox((i // 4, use, 0, 0), (seed % 2**32, seed // 2**32))[i % 4] for i in range(9)]
    assert found.reshape(-1).tolist() == [w * 255 // 2**32 - 127 for w in words]
