"""A team's own model of a tile against pcmref: the cases of the conformance suite that it can do.

    python examples/own_model.py

Put your model, in NumPy, PyTorch or C++ behind a binding, in place of `model`; `can_do` says which converters it has.
"""

import sys

import numpy as np

import pcmref
from pcmref.golden.check import compare
from pcmref.golden.folders import read_case
from pcmref.golden.verdicts import verdict_text


def model(code, g, multiplier, shift):
    """Multiply as a tile in a team's repository might: one ADC a pair of lines, codes of 8 bits, ties rounded up."""
    product = code.astype(np.int64) @ g * multiplier
    return np.clip((product + (1 << (shift - 1))) >> shift, -127, 127)


def can_do(case):
    """Whether the model has the converters of a case."""
    adc = case.readout["adc"]
    like = {"rounding": "half-up", "low": -127, "high": 127}
    others = {"tile0/offset", "tile0/noise", "tile0/output-code"} & set(case.arrays)
    return not others and adc is not None and like.items() <= adc.items() and case.readout["accumulator"] is None


def main():
    """Print a verdict for each case that the model can do; return 1 if one is not equal."""
    suite, status = pcmref.bundled().parent / "conformance", 0
    for folder in sorted(suite.glob("tile-*")):
        case = read_case(folder)
        if can_do(case):
            tile = {name.partition("/")[2]: value.astype(np.int64) for name, value in case.values.items()}
            found = np.empty_like(case.values["tile0/D"])
            for group in case.groups:  # the vectors of a group meet the same matrix
                vectors, g = slice(group.first, group.last), tile[f"g-{group.conductance}"]
                found[vectors] = model(tile["code"][vectors], g, tile["multiplier"], tile["shift"])
            verdict = compare(case, {"tile0/D": found})
            print(f"{folder.name}\n{verdict_text(verdict)}")
            status |= verdict.status != "equal"
    return status


if __name__ == "__main__":
    sys.exit(main())
