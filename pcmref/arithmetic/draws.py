"""The only source of randomness: every draw has an address.

A draw is word ``w`` of the block that the counter-based generator Philox4x32-10 [S11] gives for a counter and
a key.  The key belongs to a *stream* (seed, purpose, layer, read event), the counter to a weight or to an
output of a product.  Nothing depends on the order of calls.  ``SPEC.md``, section 4.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.elementary import normal_quantile
from pcmref.arrays import Float64, UInt32
from pcmref.errors import integer

__all__ = ["Key", "Purpose", "check_seed", "normals", "philox", "stream_key", "uniforms", "weight_words"]

Key: TypeAlias = tuple[int, int]

#: Multipliers and key increments (golden ratio, sqrt(3) - 1) of Philox4x32 [S11].
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
MASK32 = 0xFFFFFFFF
#: Weight of one unit of a 32-bit word in a uniform number.
WORD = 2.0**-32


class Purpose(IntEnum):
    """What a stream of draws is for: bits 0-7 of word 0 of the stream's counter."""

    #: One block a weight: programming noise of the + and - device, drift exponent of the + and - device.
    PROGRAM = 1
    #: One block a weight: convergence of the + and - device, their conductance if they did not converge.
    CONVERGENCE = 2
    #: One block a weight: frozen read noise of the + and - device; words 2 and 3 are unused.
    READ = 3
    #: One word an output: fresh read noise of a product during inference.
    PRODUCT = 4
    #: The same for products of calibration images.
    CALIBRATION = 5


def check_seed(seed: object) -> int:
    """Return `seed` if it is an integer from 0 to 2**64 - 1; raise `ParameterError` otherwise."""
    return integer("seed", seed, "an integer from 0 to 2**64 - 1", 0, (1 << 64) - 1)


def philox(counter: npt.ArrayLike, key: Key) -> UInt32:
    """Philox4x32-10 [S11].

    Each of ten rounds maps ``(c0, c1, c2, c3)`` to ``(hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1,
    lo(M0 c0))`` and then adds the Weyl constants to the key.

    Parameters
    ----------
    counter : array_like of uint32, shape (..., 4)
    key : (int, int)
        Two 32-bit words.

    Returns
    -------
    ndarray of uint32, shape (..., 4)
    """
    counters = np.asarray(counter, np.uint64)
    words = _philox(*counters.reshape(-1, 4).T, key=key)
    return np.stack(words, axis=-1).astype(np.uint32).reshape(counters.shape)


def _philox(c0: Any, c1: Any, c2: Any, c3: Any, *, key: Key) -> tuple[Any, Any, Any, Any]:
    """Return the words of blocks: of arrays of uint64, or of one block in integers of Python."""
    k0, k1 = key
    for _ in range(ROUNDS):
        even, odd = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (odd >> 32) ^ c1 ^ k0, odd & MASK32, (even >> 32) ^ c3 ^ k1, even & MASK32
        k0, k1 = (k0 + WEYL[0]) & MASK32, (k1 + WEYL[1]) & MASK32
    return c0, c1, c2, c3


def stream_key(seed: int, purpose: Purpose, layer: int, *, t_s: float = 0.0, read: int = 0) -> Key:
    """Return the key of a stream: words 0 and 1 of the block at counter ``(purpose + 256 layer, read, t, t)``.

    Parameters
    ----------
    seed : int
        0 to 2**64 - 1; its low and high halves are the generator's key.
    purpose : Purpose
    layer : int
        Position among the crossbar layers, from 0.
    t_s : float
        Time of the read event in seconds (its IEEE-754 bits, low word first); 0.0 for programming.
    read : int
        Number of the read at that time, 0 to 2**32 - 1.

    Returns
    -------
    (int, int)
    """
    t_low, t_high = struct.unpack("<II", struct.pack("<d", t_s))
    k0, k1, *_ = _philox(int(purpose) + 256 * layer, read, t_low, t_high, key=(int(seed) & MASK32, int(seed) >> 32))
    return k0, k1


def weight_words(key: Key, weights: int) -> UInt32:
    """Return one block a weight, shape ``(4, weights)``: weight i has the counter ``(i, 0, 0, 0)``."""
    counter = np.zeros((weights, 4), np.uint32)
    counter[:, 0] = np.arange(weights, dtype=np.uint32)
    return np.ascontiguousarray(philox(counter, key).T)


def uniforms(words: UInt32) -> Float64:
    """Return ``u = (word + 1/2) 2^-32``: exact, strictly between 0 and 1."""
    return (words.astype(np.float64) + 0.5) * WORD


def normals(words: UInt32) -> Float64:
    """Return one standard normal number a word: ``z = quantile(u)``, at most 6.34 in size."""
    return normal_quantile(uniforms(words))
