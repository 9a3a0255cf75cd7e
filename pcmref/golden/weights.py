"""Conductance codes to test with: drawn ones, ones with which every sum can be made, and the largest there are."""

from __future__ import annotations

import numpy as np

from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.arithmetic.draws import MASK32, normals, philox
from pcmref.arrays import Int64
from pcmref.crossbar.readout import Lines
from pcmref.golden.sums import drawn_codes

__all__ = ["directed_conductance", "drawn_conductance", "drawn_variance", "full_conductance"]

#: Spread and largest size of drawn weights: 25 uS is code 12800 where the grid's step is 2^-9 uS.
SPREAD, LARGEST = 4000, 12800
#: Largest code of a device that should be 0, and of the variance of read noise.
REST, VARIANCE = 63, 100
#: Largest ratio of one power to the next in few rows.
RATIO = 16
#: Which integers are drawn under the key of the seed.
WEIGHTS, RESTS, VARIANCES, FILLING, SIGNS = 1, 2, 3, 4, 5


def drawn_conductance(rows: int, columns: int, *, seed: int = 0, lines: Lines = "pair") -> Int64:
    """Return codes as trained weights have them, roughly normal: of the pairs, or of the + and the - line.

    Returns
    -------
    int64, shape (rows, columns) or (2, rows, columns)
    """
    counter = np.zeros((-(-rows * columns // 4), 4), np.uint32)
    counter[:, 0], counter[:, 1] = np.arange(len(counter)), WEIGHTS
    z = normals(philox(counter, (seed & MASK32, seed >> 32)).reshape(-1)[: rows * columns])
    pairs = np.clip(np.rint(SPREAD * z), -LARGEST, LARGEST).astype(np.int64).reshape(rows, columns)
    if lines == "pair":
        return pairs
    rest = drawn_codes((2 * rows, columns), 0, REST, seed=seed, use=RESTS).reshape(2, rows, columns)
    return np.stack([np.maximum(pairs, 0), np.maximum(-pairs, 0)]) + rest


def drawn_variance(rows: int, columns: int, *, seed: int = 0, lines: Lines = "pair") -> Int64:
    """Return variance codes for fresh read noise, of the shape of `drawn_conductance`."""
    several = 1 if lines == "pair" else 2
    drawn = drawn_codes((several * rows, columns), 0, VARIANCE, seed=seed, use=VARIANCES)
    return drawn if lines == "pair" else drawn.reshape(2, rows, columns)


def directed_conductance(rows: int, columns: int, *, lines: Lines = "pair") -> Int64:
    """Return codes with which every sum can be made: powers of 2 in each column, at rows of its own; the rest is drawn.

    The powers are 1, 2, 4, ..., 16384, with both signs in the pairs; fewer than 15 rows have those of a larger number.
    """
    if lines != "pair":
        halves = (directed_conductance(rows, columns), directed_conductance(rows, 2 * columns)[:, columns:])
        return np.abs(np.stack(halves))
    count = min(rows, 15)
    ratio = 2 if rows >= 15 else min(RATIO, int(CODE_LIMIT ** (1 / max(count - 1, 1))))
    codes = drawn_codes((rows, columns), -CODE_LIMIT, CODE_LIMIT, seed=0, use=FILLING)
    power, column = np.indices((count, columns))
    codes[(power + 7 * column) % rows, column] = np.where((power + column) % 2, -1, 1) * ratio**power
    return codes


def full_conductance(rows: int, columns: int, *, lines: Lines = "pair") -> Int64:
    """Return codes of the largest size: a column of positive ones, a column of negative ones, then drawn signs."""
    signs = 2 * drawn_codes((rows, columns), 0, 1, seed=0, use=SIGNS) - 1
    for column, sign in enumerate((1, -1)[:columns]):
        signs[:, column] = sign
    if lines == "pair":
        return CODE_LIMIT * signs
    return CODE_LIMIT * np.stack([signs > 0, signs < 0]).astype(np.int64)
