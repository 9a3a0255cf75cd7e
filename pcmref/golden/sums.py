"""Vectors that give a wanted sum: ``sum over rows of x[row] g[row] = target``, for x from `low` to `high`.

A start, drawn, is corrected row by row, the largest conductance first, until what is missing is small; a few of the
smallest conductances then make it exact: all their sums are known, half of them sorted, and looked up in pairs.
Whether a vector was found is said for each: what few rows cannot reach is not reached.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.draws import MASK32, philox
from pcmref.arrays import Int64

__all__ = ["drawn_codes", "vectors_of_sums"]

#: Sums of the fine rows: those that are tried in turn, those that are looked up, and tries at once.
TRIED, SORTED, AT_ONCE = 1 << 10, 1 << 14, 1 << 7
#: Starts that are tried before a sum counts as out of reach.
STARTS = 3


def drawn_codes(shape: tuple[int, int], low: int, high: int, *, seed: int, use: int) -> Int64:
    """Return integers from `low` to `high`, all as likely to within 2^-16.

    Integer i is word ``i mod 4`` of the block of Philox4x32-10 at counter ``(floor(i / 4), use, 0, 0)`` under the key
    of the seed, times ``high - low + 1``, over 2^32.
    """
    count = shape[0] * shape[1]
    counter = np.zeros((-(-count // 4), 4), np.uint32)
    counter[:, 0], counter[:, 1] = np.arange(len(counter)), use
    words = philox(counter, (seed & MASK32, seed >> 32)).reshape(-1)[:count].astype(np.uint64)
    return ((words * np.uint64(high - low + 1)) >> np.uint64(32)).astype(np.int64).reshape(shape) + low


def vectors_of_sums(
    conductance: Int64, targets: Int64, low: int, high: int, *, use: int = 0, extreme: bool = False
) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """Find a vector for each wanted sum.

    Parameters
    ----------
    conductance : int64, shape (rows, columns)
    targets : int64, shape (columns, k)
        Sums that are wanted in each column.
    low, high : int
        Range of what drives a row, ``low <= 0 < high``.
    use : int
        Vectors to start from are drawn: which they are.
    extreme : bool
        Start from rows at `low` and `high` instead of anything between.

    Returns
    -------
    vectors : int64, shape (columns, k, rows)
    reached : bool, shape (columns, k)
        Whether the vector gives the sum.
    """
    columns, count = targets.shape
    vectors = np.zeros((columns, count, len(conductance)), np.int64)
    reached = np.zeros(targets.shape, np.bool_)
    fine = [_fine_rows(column, high - low + 1) for column in conductance.T]
    for start in range(STARTS):
        if reached.all():
            break
        drawn = drawn_codes((columns * count, len(conductance)), low, high, seed=start, use=use).reshape(vectors.shape)
        if extreme:
            drawn = np.where(2 * drawn >= low + high, high, low)
        for column, (tried, kept) in enumerate(fine):
            drawn[column][:, [*tried, *kept]] = 0
        _approach(drawn, conductance, targets, fine, low, high)
        for column, rows in enumerate(fine):
            missing = np.flatnonzero(~reached[column])
            found, exact = drawn[column, missing], conductance[:, column]
            hit = _complete(found, exact, targets[column, missing], rows, low, high)
            vectors[column, missing[hit]], reached[column, missing[hit]] = found[hit], True
    return vectors, reached


def _fine_rows(column: Int64, values: int) -> tuple[list[int], list[int]]:
    """Return the rows whose sums are tried, and those whose sums are looked up: small ones without a common factor."""
    half = max(2, int(math.log2(TRIED) / math.log2(values)))
    rising = [int(row) for row in np.argsort(np.abs(column), kind="stable") if column[row]]
    chosen: list[int] = []
    common = 0
    for row in rising:  # those that the greatest common factor needs come first
        if (smaller := math.gcd(common, int(column[row]))) != common and len(chosen) < 2 * half:
            chosen.append(row)
            common = smaller
    chosen += [row for row in rising if row not in set(chosen)][: 2 * half - len(chosen)]
    return chosen[1::2], chosen[::2]


def _window(rows: int, most: int, low: int, high: int) -> Int64:
    """Return the values that each of so many rows takes, so that there are at most `most` sums: those in the middle."""
    each = min(high - low + 1, int(most ** (1 / rows) + 1e-9)) if rows else 1
    first = max(low, min((low + high - each + 1) // 2, high - each + 1))
    return np.arange(first, first + each)


def _approach(
    vectors: Int64, conductance: Int64, targets: Int64, fine: list[tuple[list[int], list[int]]], low: int, high: int
) -> None:
    """Correct vectors, but for their fine rows, until what is missing lies in the middle of what those can add."""
    columns, count = targets.shape
    missing = targets - np.einsum("ckr,rc->ck", vectors, conductance)
    order = np.argsort(-np.abs(conductance), axis=0, kind="stable")
    held = np.zeros(conductance.shape, np.bool_)
    for column, both in enumerate(fine):
        for rows, most in zip(both, (TRIED, SORTED), strict=True):
            window = _window(len(rows), most, low, high)
            missing[column] -= int(conductance[rows, column].sum()) * int(window[0] + window[-1]) // 2
            held[rows, column] = True
    every, each = np.arange(columns), np.arange(count)
    for rows in order:
        size = conductance[rows, every]
        use = (size != 0) & ~held[rows, every]
        now = vectors[every[:, None], each, rows[:, None]]
        step = np.rint(missing / np.where(use, size, 1)[:, None]).astype(np.int64)
        step = np.where(use[:, None], np.clip(step, low - now, high - now), 0)
        vectors[every[:, None], each, rows[:, None]] = now + step
        missing -= step * size[:, None]


def _sums(sizes: list[int], window: Int64) -> tuple[Int64, Int64]:
    """Return all sums of rows of these conductances, and the values of the rows, shape (sums, rows)."""
    grids = np.meshgrid(*([window] * len(sizes)), indexing="ij") if sizes else []
    values = np.stack([grid.reshape(-1) for grid in grids], axis=-1) if sizes else np.zeros((1, 0), np.int64)
    return values @ np.array(sizes, np.int64), values


def _complete(
    vectors: Int64, column: Int64, targets: Int64, rows: tuple[list[int], list[int]], low: int, high: int
) -> npt.NDArray[np.bool_]:
    """Set the fine rows of vectors so that the sums are exact; return for which that was possible."""
    missing = targets - vectors @ column
    (tried, values), (known, others) = (
        _sums([int(column[row]) for row in part], _window(len(part), most, low, high))
        for part, most in zip(rows, (TRIED, SORTED), strict=True)
    )
    order = np.argsort(known, kind="stable")
    known, others = known[order], others[order]
    done = np.zeros(len(targets), np.bool_)
    for first in range(0, len(tried), AT_ONCE):
        left = np.flatnonzero(~done)
        if not len(left):
            break
        wanted = missing[left, None] - tried[None, first : first + AT_ONCE]
        place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        hits = known[place] == wanted
        hit, at = hits.any(axis=1), hits.argmax(axis=1)
        found = left[hit]
        vectors[np.ix_(found, rows[0])] = values[first + at[hit]]
        vectors[np.ix_(found, rows[1])] = others[place[hit, at[hit]]]
        done[found] = True
    return done
