"""Converters drawn by Hypothesis: every kind that a readout may have."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint

CODE_LIMIT = 32767
#: Codes and drives that go together, the usual ones more often.
DRIVES = [
    *[("symmetric", "parallel")] * 4,
    *((codes, "parallel") for codes in ("signed", "offset", "unsigned")),
    *((codes, "bit-serial") for codes in ("symmetric", "signed", "offset", "unsigned")),
    *((codes, "two-phase") for codes in ("symmetric", "signed")),
]


@st.composite
def dacs(draw, most=16, serial=16, drives=None):
    """DACs of at most so many bits, those that drive bit by bit of at most `serial`."""
    codes, drive = draw(st.sampled_from(drives or DRIVES))
    most = min(most, serial if drive == "bit-serial" else 16, 16 if codes == "symmetric" else 15)
    return Dac(bits=draw(st.integers(2, most)), codes=codes, drive=drive)


@st.composite
def limits(draw, most=24):
    """Bits, smallest and largest code of an ADC."""
    bits = draw(st.integers(2, most))
    half = 2 ** (bits - 1)
    low = draw(st.sampled_from([None, None, -half, 0, -1]))
    high = st.integers(1, 2 * half - 1 + (1 - half if low is None else low))
    return bits, low, draw(high if low in (0, -1) else st.none() | high)


def fixed(gain, bits, most):
    """A gain next to this one, with a multiplier of about so many bits, that codes up to `most` allow."""
    shift = max(0, min(52, 53 - most.bit_length(), bits - math.frexp(gain)[1]))
    return FixedPoint(max(1, min(2**31 - 1, round(gain * 2**shift))), shift)


@st.composite
def adcs(draw, size, columns, own=True, most=24):
    """ADCs for sums of about this size: with a gain or thresholds of their own, or else for ranges.

    Without a number of columns all of them are alike.
    """
    bits, low, high = draw(limits(most))
    found = Adc(bits=bits, low=low, high=high, rounding=draw(st.sampled_from(ROUNDINGS)))
    rng, top = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), max(-found.low, found.high)
    shape = draw(st.sampled_from([(), (columns,)])) if columns else ()
    offset = draw(st.sampled_from([0, 0, 3, size // 2])) * rng.integers(-3, 4, shape)
    shared = {"bits": bits, "low": found.low, "high": found.high, "rounding": found.rounding}
    if not own:
        gain_bits = draw(st.none() | st.integers(8, 12)) if bits <= 12 else None
        return Adc(**shared, offset=offset, gain_bits=gain_bits)
    if bits <= 5 and draw(st.booleans()):
        count = found.high - found.low
        table = np.sort(rng.integers(-size, size + 1, (*shape, count)), axis=-1)
        return Adc(**shared | {"rounding": "half-even"}, thresholds=table)
    gains = top / size * draw(st.sampled_from([0.3, 1.0, 30.0])) * rng.choice([0.5, 1.0, 1.5], shape)
    if draw(st.booleans()):
        width = draw(st.integers(2, 20))
        gains = [fixed(float(gain), width, top) for gain in np.atleast_1d(gains)]
        gains = gains if shape else gains[0]
    return Adc(**shared, gain=gains, offset=offset)


@st.composite
def accumulators(draw, size):
    """Registers around what sums of this size need; None in between."""
    bits = max(2, min(60, size.bit_length() + draw(st.integers(-3, 3))))
    beyond = draw(st.sampled_from(["saturate", "wrap"]))
    return draw(st.sampled_from([None, Accumulator(bits=bits, beyond=beyond)]))


def size_of(dac, rows):
    """About the largest sum of so many rows."""
    return int(dac.largest * CODE_LIMIT * rows**0.5)
