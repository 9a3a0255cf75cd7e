"""Tiles that the tests of the room share: one of each kind of converter."""

from __future__ import annotations

import functools

import numpy as np

import pcmref
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.golden.tiles import tile_case

ROWS, COLUMNS = 16, 6
#: Ties at odd multiples of 2^15, well within reach, and far from each other.
GAIN = FixedPoint(5, 16)


def thresholds():
    """A measured curve for each column: uneven steps, one of them missing."""
    rng = np.random.default_rng(1)
    table = np.sort(rng.integers(-900_000, 900_000, (COLUMNS, 30)), axis=1)
    table[:, 10] = table[:, 11]
    return table


def readout(**settings):
    return pcmref.Readout(**{"name": "test", "dac": Dac(bits=8), "adc": Adc(bits=8, gain=GAIN), **settings})


#: With two-phase or bit-serial drive and separate lines a tile has several conversions.
READOUTS = {
    "pair": readout(),
    "half-up": readout(adc=Adc(bits=8, gain=GAIN, rounding="half-up", low=-128)),
    "half-away": readout(adc=Adc(bits=8, gain=GAIN, rounding="half-away", offset=-12345)),
    "floor": readout(adc=Adc(bits=8, gain=GAIN, rounding="floor", low=-100, high=90)),
    "toward-zero": readout(adc=Adc(bits=8, gain=GAIN, rounding="toward-zero")),
    "columns": readout(
        adc=Adc(bits=8, gain=tuple(FixedPoint(5 + 2 * c, 16) for c in range(COLUMNS)), offset=tuple(range(COLUMNS)))
    ),
    "float64": readout(adc=Adc(bits=8, gain=1.23e-4)),
    "thresholds": readout(adc=Adc(bits=5, thresholds=thresholds())),
    "no ADC": readout(adc=None),
    "fresh": readout(read_noise="fresh"),
    "saturating register": readout(accumulator=Accumulator(bits=22, beyond="saturate")),
    "wrapping register": readout(accumulator=Accumulator(bits=22, beyond="wrap")),
    "refusing register": readout(accumulator=Accumulator(bits=24)),
    "signed": readout(dac=Dac(bits=8, codes="signed")),
    "unsigned": readout(dac=Dac(bits=6, codes="unsigned")),
    "offset": readout(dac=Dac(bits=6, codes="offset"), adc=Adc(bits=9, gain=GAIN)),
    "two-phase": readout(dac=Dac(bits=8, codes="signed", drive="two-phase")),
    "bit-serial": readout(dac=Dac(bits=6, codes="signed", drive="bit-serial"), adc=Adc(bits=6, gain=FixedPoint(3, 14))),
    "lines": readout(lines="separate"),
    "lines, two-phase, fresh": readout(
        lines="separate",
        dac=Dac(bits=6, drive="two-phase"),
        read_noise="fresh",
        adc=Adc(bits=6, gain=GAIN, offset=7),
        accumulator=Accumulator(bits=21, beyond="saturate"),
    ),
    "lines, bit-serial, offset, wrapping": readout(
        lines="separate",
        dac=Dac(bits=4, codes="offset", drive="bit-serial"),
        adc=Adc(bits=6, gain=FixedPoint(3, 12), low=0, high=63),
        accumulator=Accumulator(bits=18, beyond="wrap"),
    ),
}


@functools.cache
def case_of(name):
    """The case of one of them; a value, so that tests may share it."""
    return tile_case(READOUTS[name], size=(ROWS, COLUMNS), random=100, seed=7, command="test")
