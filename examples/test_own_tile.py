"""Property tests of a team's own tile against pcmref, and a law of its own.

python -m pytest examples/test_own_tile.py
"""

import numpy as np
from hypothesis import given, settings

import pcmref
from pcmref.testing import assert_same_codes, tile_examples

READOUT = pcmref.Readout(name="ours", dac=pcmref.Dac(bits=8), adc=pcmref.Adc(bits=8, gain=pcmref.FixedPoint(640, 23)))
unhurried = settings(deadline=None)  # the first product of a process is compiled


def our_tile(codes, g):
    """Multiply, and round ties to even: put your model here."""
    product = codes.astype(np.int64) @ g * 640
    return np.clip((product + (1 << 22) - 1 + (product >> 23 & 1)) >> 23, -127, 127)


@unhurried
@given(tile_examples(readout=READOUT))
def test_our_tile_gives_the_codes_of_pcmref(example):
    assert_same_codes(our_tile(example.codes, example.conductance), example)


@unhurried
@given(tile_examples(readout=READOUT))
def test_minus_the_vector_gives_minus_the_codes(example):
    assert (our_tile(-example.codes, example.conductance) == -our_tile(example.codes, example.conductance)).all()
