"""Statistics of chips: those of NumPy and SciPy, and what they promise, by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from pcmref.studies.statistics import chips_needed, student_quantile, summary
from tests.helpers.findings import cell_of

RNG = np.random.default_rng(20)


def cell(counts):
    return cell_of(0, 25.0, "gdc", counts)


@pytest.mark.parametrize("chips", [2, 3, 20, 1000])
@pytest.mark.parametrize("images", [1, 10, 10_000, 50_000_000])
def test_mean_and_deviation_are_those_of_the_chips(chips, images):
    counts = RNG.integers(max(0, images - 20), images, chips, endpoint=True)
    found = summary(cell(counts), images)
    assert (found.chips, found.least, found.most) == (chips, counts.min() / images, counts.max() / images)
    assert found.mean == pytest.approx(counts.mean() / images, rel=1e-12)
    assert found.deviation == pytest.approx(counts.std(ddof=1) / images, rel=1e-12)


def test_deviation_has_no_cancellation():
    counts = [10**15, 10**15 + 2]
    assert summary(cell(counts), 10**16).deviation == pytest.approx(math.sqrt(2) / 10**16, rel=1e-15)


def test_chips_come_in_any_order():
    counts = RNG.integers(0, 1000, 50)
    assert summary(cell(counts), 1000) == summary(cell(RNG.permutation(counts)), 1000)


def test_one_chip_has_no_spread():
    found = summary(cell([7]), 10)
    assert found.mean == 0.7
    assert (found.deviation, found.margin, found.interval, found.needed(0.1)) == (None,) * 4
    assert found.by_images == pytest.approx(math.sqrt(0.7 * 0.3 / 10))


def test_equal_chips_do_not_tell_how_many_are_needed():
    found = summary(cell([7, 7]), 10)
    assert (found.deviation, found.margin, found.interval, found.needed(0.1)) == (0.0, 0.0, (0.7, 0.7), None)


@pytest.mark.parametrize("degrees", [*range(1, 301), 1000, 10**4, 10**6, 10**9])
def test_quantile_is_that_of_scipy(degrees):
    rel = 1e-13 if degrees <= 100 else 1e-10
    assert student_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=rel)


def test_interval_is_that_of_scipy():
    counts = RNG.integers(400, 600, 7)
    low, high = stats.t.interval(0.95, 6, loc=counts.mean() / 1000, scale=stats.sem(counts / 1000))
    assert summary(cell(counts), 1000).interval == pytest.approx((low, high), rel=1e-12)


def test_interval_stays_within_what_can_be():
    assert summary(cell([0, 3]), 1000).interval[0] == 0.0
    assert summary(cell([997, 1000]), 1000).interval[1] == 1.0


@pytest.mark.parametrize("chips", [2, 5, 30])
def test_intervals_hold_the_mean_in_95_of_100_cases(chips):
    cases, images, mean = 4000, 10**6, 0.9
    counts = np.rint(images * np.random.default_rng(chips).normal(mean, 0.01, (cases, chips))).astype(int)
    found = [summary(cell(row), images).interval for row in counts]
    held = sum(low <= mean <= high for low, high in found)
    assert abs(held - 0.95 * cases) < 5 * math.sqrt(cases * 0.95 * 0.05)


@pytest.mark.parametrize("deviation", [1e-4, 3e-3, 0.02, 0.4])
@pytest.mark.parametrize("precision", [1e-4, 1e-3, 0.05])
def test_chips_needed_are_the_fewest(deviation, precision):
    def margin(chips):
        return stats.t.ppf(0.975, chips - 1) * deviation / math.sqrt(chips)

    needed = chips_needed(deviation, precision)
    assert needed >= 2
    assert margin(needed) <= precision
    assert needed == 2 or margin(needed - 1) > precision


# What images alone explain: each with its own difficulty, the chance that a chip classifies it correctly


CHANCES = np.clip(RNG.normal(0.8, 0.25, 400), 0, 1)


def test_another_draw_of_images_moves_a_chip_by_its_standard_error():
    draws, n = 20_000, len(CHANCES)
    right = RNG.random(100_000) < 0.85  # what a chip makes of all images there are
    counts = RNG.choice(right, (draws, n)).sum(axis=1)
    expected = summary(cell([round(right.mean() * n)]), n).by_images
    assert (counts / n).std() == pytest.approx(expected, rel=5 / math.sqrt(2 * draws) + 0.01)  # of rounding


def test_more_chips_do_not_help_against_few_images_and_their_mean_moves_by_no_more():
    draws, chips, n = 2000, 50, 100
    moved = {}
    for count in (1, chips):
        chances = RNG.choice(CHANCES, (draws, n))
        means = [(RNG.random((count, n)) < of).mean() for of in chances]
        moved[count] = np.std(means)
    p = CHANCES.mean()
    bound = math.sqrt(p * (1 - p) / n)
    tolerance = 1 + 5 / math.sqrt(2 * draws)
    assert moved[chips] < bound * tolerance
    assert moved[1] == pytest.approx(bound, rel=tolerance - 1)
    assert moved[chips] > CHANCES.std() / math.sqrt(n) / tolerance  # which no number of chips goes below


def test_chips_of_one_quality_spread_by_no_more_than_images_explain():
    chips, n = 5000, len(CHANCES)
    found = summary(cell((RNG.random((chips, n)) < CHANCES).sum(axis=1)), n)
    expected = math.sqrt((CHANCES * (1 - CHANCES)).mean() / n)
    assert found.deviation == pytest.approx(expected, rel=5 / math.sqrt(2 * chips))
    assert found.deviation < found.by_images
