"""The converters of a tile that comes from no case."""

from __future__ import annotations

from pcmref import Adc, Dac, FixedPoint, Readout


def tile_readout(rows, read_noise="frozen", *, gain=None, **adc):
    """Return 8-bit converters; without a gain of their own, with one of 10 bits that suits the sums of so many rows."""
    gain = FixedPoint(640, 18 + rows.bit_length()) if gain is None else gain
    return Readout(name="rtl", dac=Dac(bits=8), adc=Adc(bits=8, gain=gain, **adc), read_noise=read_noise)
