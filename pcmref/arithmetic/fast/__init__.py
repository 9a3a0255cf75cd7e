"""The fast twins of `pcmref.arithmetic.reference`: numba loops with its names, signatures and bits.

They run serially and release the interpreter lock; `pcmref.inference.run` runs several at a time, on different images.
Sums are exact integers, so blocking and vector width change nothing.
"""

from pcmref.arithmetic.fast.conversion import add_read_noise, compare, digitise, digitise_noisy, hold
from pcmref.arithmetic.fast.draws import normals, weight_words
from pcmref.arithmetic.fast.elementary import exp, ln, power
from pcmref.arithmetic.fast.layer import analog_layer, float_layer
from pcmref.arithmetic.fast.stages import (
    accumulate,
    accumulate_float,
    accumulate_squares,
    drive,
    finish,
    load_codes,
    moments,
    phases,
)

__all__ = [
    "accumulate",
    "accumulate_float",
    "accumulate_squares",
    "add_read_noise",
    "analog_layer",
    "compare",
    "digitise",
    "digitise_noisy",
    "drive",
    "exp",
    "finish",
    "float_layer",
    "hold",
    "ln",
    "load_codes",
    "moments",
    "normals",
    "phases",
    "power",
    "weight_words",
]
