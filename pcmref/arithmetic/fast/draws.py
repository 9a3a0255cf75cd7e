"""The draws of ``draws.py`` as numba loops, with the same bits: words of Philox, and normal numbers of the words."""

from __future__ import annotations

import math

import numpy as np

from pcmref.arithmetic.draws import MULTIPLIERS, WEYL, WORD, Key
from pcmref.arithmetic.elementary import (
    QUANTILE_CENTRE,
    QUANTILE_NEAR,
    QUANTILE_NEAR_SHIFT,
    QUANTILE_SPLIT,
    QUANTILE_SPLIT_SQUARED,
)
from pcmref.arithmetic.fast.compiler import compiled
from pcmref.arithmetic.fast.elementary import fill_ln
from pcmref.arrays import Float64, UInt32

__all__ = ["DRAWS", "fill_normals", "fill_words", "normals", "weight_words"]

#: Draws of read noise made at a time; a multiple of 4.
DRAWS = 1024
#: Words whose normal number comes from the centre of the quantile: ``|u - 1/2| <= 0.425``.
CENTRE_FIRST = np.uint32(math.ceil((0.5 - QUANTILE_SPLIT) / WORD - 0.5))
CENTRE_LAST = np.uint32(0xFFFFFFFF - CENTRE_FIRST)
#: Constants of the generator as the unsigned 64-bit numbers that it computes with.
M0, M1 = (np.uint64(number) for number in MULTIPLIERS)
W0, W1 = (np.uint64(number) for number in WEYL)
MASK, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def weight_words(key: Key, weights: int) -> UInt32:
    """Return one block a weight; see the twin."""
    words = np.empty((4, weights), np.uint32)
    _weight_words(np.uint64(key[0]), np.uint64(key[1]), words)
    return words


@compiled
def _weight_words(k0, k1, words):  # type: ignore[no-untyped-def]
    weights, zero, blocks = words.shape[1], np.uint64(0), np.empty(4 * DRAWS, np.uint32)
    for start in range(0, weights, DRAWS):
        count = min(DRAWS, weights - start)
        fill_words(start, zero, zero, k0, k1, blocks[: 4 * count])
        for word in range(4):
            for i in range(count):
                words[word, start + i] = blocks[4 * i + word]


@compiled
def fill_words(first, tile, image, k0, k1, words):  # type: ignore[no-untyped-def]
    """Fill `words` with the blocks at counters ``(first, tile, image, image >> 32)``, ``(first + 1, ...)``, ..."""
    low, high = image & MASK, image >> HALF
    # the rounds are written out and their keys made beforehand, so that the loop over blocks can be vectorised
    a0, b0 = k0, k1
    a1, b1 = (a0 + W0) & MASK, (b0 + W1) & MASK
    a2, b2 = (a1 + W0) & MASK, (b1 + W1) & MASK
    a3, b3 = (a2 + W0) & MASK, (b2 + W1) & MASK
    a4, b4 = (a3 + W0) & MASK, (b3 + W1) & MASK
    a5, b5 = (a4 + W0) & MASK, (b4 + W1) & MASK
    a6, b6 = (a5 + W0) & MASK, (b5 + W1) & MASK
    a7, b7 = (a6 + W0) & MASK, (b6 + W1) & MASK
    a8, b8 = (a7 + W0) & MASK, (b7 + W1) & MASK
    a9, b9 = (a8 + W0) & MASK, (b8 + W1) & MASK
    for block in range(len(words) // 4):
        c0, c1, c2, c3 = _round(np.uint64(first + block), tile, low, high, a0, b0)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a1, b1)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a2, b2)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a3, b3)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a4, b4)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a5, b5)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a6, b6)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a7, b7)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a8, b8)
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, a9, b9)
        words[4 * block] = np.uint32(c0)
        words[4 * block + 1] = np.uint32(c1)
        words[4 * block + 2] = np.uint32(c2)
        words[4 * block + 3] = np.uint32(c3)


@compiled
def _round(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    # the high halves of the words are never looked at
    even = (c0 & MASK) * M0
    odd = (c2 & MASK) * M1
    return (odd >> HALF) ^ c1 ^ k0, odd, (even >> HALF) ^ c3 ^ k1, even


def normals(words: UInt32) -> Float64:
    """Return one standard normal number a word; see the twin."""
    z = np.empty(words.shape)
    _all_normals(np.ascontiguousarray(words).reshape(-1), z.reshape(-1))
    return z


@compiled
def _all_normals(words, z):  # type: ignore[no-untyped-def]
    tail, place = np.empty((2, DRAWS)), np.empty(DRAWS, np.int64)
    for start in range(0, len(words), DRAWS):
        fill_normals(words[start : start + DRAWS], z[start : start + DRAWS], tail, place)


@compiled
def fill_normals(words, z, tail, place):  # type: ignore[no-untyped-def]
    """Fill `z` with one normal number a word: all as if in the centre, then those of the tails again.

    `tail`, two rows, and `place` are room for as many numbers.  A 32-bit word never reaches the far tail of the
    quantile: ``sqrt(-ln 2^-33) = 4.78 < 5``.
    """
    tails = 0
    for i in range(len(words)):
        q = (np.float64(words[i]) + 0.5) * WORD - 0.5
        t = QUANTILE_SPLIT_SQUARED - q * q
        z[i] = q * (_polynomial(QUANTILE_CENTRE[0], t) / _polynomial(QUANTILE_CENTRE[1], t))
    for i in range(len(words)):
        place[tails] = i
        tails += words[i] < CENTRE_FIRST or words[i] > CENTRE_LAST
    probability, ln = tail[0, :tails], tail[1, :tails]
    for i in range(tails):
        p = (np.float64(words[place[i]]) + 0.5) * WORD
        probability[i] = min(p, 1.0 - p)
    fill_ln(probability, ln)
    for i in range(tails):
        t = math.sqrt(-ln[i]) - QUANTILE_NEAR_SHIFT
        size = _polynomial(QUANTILE_NEAR[0], t) / _polynomial(QUANTILE_NEAR[1], t)
        z[place[i]] = -size if words[place[i]] < CENTRE_FIRST else size


@compiled
def _polynomial(c, x):  # type: ignore[no-untyped-def]
    # written out, so that the loops around it can be vectorised
    return ((((((c[0] * x + c[1]) * x + c[2]) * x + c[3]) * x + c[4]) * x + c[5]) * x + c[6]) * x + c[7]
