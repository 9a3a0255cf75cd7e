"""Integers as a packed bus holds them: element i is bits ``[i*bits +: bits]``, in two's complement if signed."""

from __future__ import annotations

import numpy as np


def packed(values, bits):
    """Return integers of any shape, in C order, as the one that a bus is set to."""
    each = (np.asarray(values, np.int64).reshape(-1, 1) >> np.minimum(np.arange(bits), 63)) & 1
    return int.from_bytes(np.packbits(each.astype(np.uint8), bitorder="little").tobytes(), "little")


def unpacked(word, count, bits, *, signed=True):
    """Return the first `count` elements of a bus as int64."""
    kept = (word & ((1 << count * bits) - 1)).to_bytes(-(-count * bits // 8), "little")
    each = np.unpackbits(np.frombuffer(kept, np.uint8), count=count * bits, bitorder="little").reshape(count, bits)
    values = each.astype(np.int64) @ (1 << np.arange(bits))
    return values - ((values >> (bits - 1)) << bits) if signed else values
