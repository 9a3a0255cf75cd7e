"""What the chips of a cell tell: mean, spread, how well the mean is known, what the images alone explain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from pcmref.studies.results import Cell

__all__ = ["Statistics", "chips_needed", "student_quantile", "summary"]

#: Two-sided level of the intervals, and the quantile of the standard normal distribution that goes with it.
LEVEL, NORMAL_QUANTILE = 0.95, 1.959963984540054
#: From here on the expansion of the quantile has ten digits.
MANY_DEGREES = 100


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Accuracies of the chips of a cell, as shares of the images.

    Parameters
    ----------
    chips : int
    mean : float
    deviation, margin : float, optional
        Standard deviation over chips, and half of the 95 % interval of their mean.  One chip has neither.
    by_images : float
        Standard error of the accuracy of a chip, as there are no more images.
    least, most : float
        Of the worst and the best chip.
    """

    chips: int
    mean: float
    deviation: float | None
    margin: float | None
    by_images: float
    least: float
    most: float

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean: no accuracy is below 0 or above 1."""
        if self.margin is None:
            return None
        return max(0.0, self.mean - self.margin), min(1.0, self.mean + self.margin)

    def needed(self, precision: float) -> int | None:
        """Return how many chips would give the mean to plus or minus `precision`; chips without spread do not tell."""
        return chips_needed(self.deviation, precision) if self.deviation else None


def summary(cell: Cell, images: int) -> Statistics:
    """Return the statistics of a cell that was judged by as many images.

    All follow from its integers, which have no rounding.  What few images leave open is sqrt(p (1 - p) / n), the
    standard error of the share p of n images: how far another draw of n would move the figure of a chip.  The mean over
    chips moves by no more, but more chips do not help, as all see the same images.
    """
    chips, correct = cell.chips, cell.correct
    deviation = margin = None
    if chips > 1:
        deviation = math.sqrt((chips * cell.squares - correct**2) / (chips * (chips - 1))) / images
        margin = _margin(deviation, chips)
    total = chips * images
    return Statistics(
        chips=chips,
        mean=correct / total,
        deviation=deviation,
        margin=margin,
        by_images=math.sqrt(correct * (total - correct) / images) / total,
        least=cell.least / images,
        most=cell.most / images,
    )


def _margin(deviation: float, chips: int) -> float:
    """Return half of Student's 95 % interval of a mean."""
    return student_quantile(chips - 1) * deviation / math.sqrt(chips)


def chips_needed(deviation: float, precision: float) -> int:
    """Return the least number of chips, 2 or more, whose mean has a 95 % interval of plus or minus `precision`.

    Parameters
    ----------
    deviation : float
        Standard deviation over chips, as if it was known.
    precision : float
        Above 0.
    """
    enough = 2
    while _margin(deviation, enough) > precision:
        enough *= 2
    few = enough // 2
    while enough - few > 1:  # the margin falls with every chip
        middle = (few + enough) // 2
        few, enough = (middle, enough) if _margin(deviation, middle) > precision else (few, middle)
    return max(enough, 2)


@lru_cache(maxsize=4096)
def student_quantile(degrees: int) -> float:
    """Return what Student's t stays below, in size, with a probability of 95 %: its 97.5 % quantile.

    Up to a hundred degrees of freedom the distribution is a sum of as many terms [H70], which is searched; beyond, the
    expansion in 1 / degrees around the normal quantile [F60] is exact to 1e-10.
    """
    if degrees > MANY_DEGREES:
        z, n = NORMAL_QUANTILE, degrees
        terms = (
            (z**3 + z) / 4,
            (5 * z**5 + 16 * z**3 + 3 * z) / 96,
            (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
            (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
        )
        return z + sum(term / n**power for power, term in enumerate(terms, start=1))
    low, high = 0.0, 13.0  # one degree has 12.7, more have less
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _student(middle, degrees) < LEVEL else (low, middle)
    return high


def _student(t: float, degrees: int) -> float:
    """Return the probability that Student's t is within plus or minus `t`: the series of [H70] in cos(theta)**2."""
    theta = math.atan(t / math.sqrt(degrees))
    cosine, sine = math.cos(theta), math.sin(theta)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(odd + 1, degrees, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    return 2 / math.pi * (theta + sine * total) if odd else sine * total
