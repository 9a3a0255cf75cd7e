"""Codes, conductances, gains, offsets and noise from Hypothesis, which shrinks what differs to a small example."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import cocotb
import numpy as np
from asking import ask_from_thread
from designs import readout_design
from hardware import RtlTile, told
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from readouts import tile_readout

import pcmref
from pcmref.arithmetic.codes import CODE_LIMIT

#: Bits of the multiplier, and the shift, at which sums of a few rows reach all codes.
MULT_BITS, SHIFT = 16, 20
OFFSET_MOST = 1 << 20
#: Most rows and columns of an example: drawing more would take longer than multiplying them.
LIMITS = (("ROWS", 32), ("COLUMNS", 8))


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """Vectors on a block of a tile's rows and columns; the others are 0.

    Parameters
    ----------
    row, column : int
        The first of the block.
    conductance : int64, shape (rows, columns)
    codes : int64, shape (n, rows)
    noise : int64, shape (n, columns)
    multiplier, offset : int64, shape (columns,)
    """

    row: int
    column: int
    conductance: np.ndarray
    codes: np.ndarray
    noise: np.ndarray
    multiplier: np.ndarray
    offset: np.ndarray

    def whole(self, rows, columns):
        """Return the same example on all rows and columns; a multiplier is at least 1."""
        used = self.conductance.shape
        row, column = (self.row, rows - self.row - used[0]), (self.column, columns - self.column - used[1])
        return Example(
            row=0,
            column=0,
            conductance=np.pad(self.conductance, (row, column)),
            codes=np.pad(self.codes, ((0, 0), row)),
            noise=np.pad(self.noise, ((0, 0), column)),
            multiplier=np.pad(self.multiplier, column, constant_values=1),
            offset=np.pad(self.offset, column),
        )


@st.composite
def examples(draw, parameters):
    """Draw an example; some of its noise is such that the sum lies on a tie between two codes, or beside one."""
    n = draw(st.integers(1, 3))
    rows, columns = (draw(st.integers(1, min(parameters[name], most))) for name, most in LIMITS)
    row, column = (
        draw(st.integers(0, parameters[name] - used)) for (name, _), used in zip(LIMITS, (rows, columns), strict=True)
    )
    most = (1 << (parameters["NOISE_BITS"] - 1)) - 1

    def integers(shape, elements):
        return draw(arrays(np.int64, shape, elements=elements))

    conductance = integers((rows, columns), st.integers(-CODE_LIMIT, CODE_LIMIT))
    codes = integers((n, rows), st.integers(-127, 127))
    powers = st.integers(0, MULT_BITS - 1).map(lambda power: 1 << power)
    multiplier = integers(columns, st.one_of(powers, st.integers(1, (1 << MULT_BITS) - 1)))
    offset = integers(columns, st.integers(-OFFSET_MOST, OFFSET_MOST - 1))
    noise = integers((n, columns), st.integers(-most, most))
    aimed = draw(arrays(np.bool_, (n, columns)))
    below, beside = integers((n, columns), st.integers(-129, 128)), integers((n, columns), st.integers(-1, 1))
    ties = -(-((2 * below + 1) << (SHIFT - 1)) // multiplier)
    noise = np.where(aimed, np.clip(ties + beside - codes @ conductance - offset, -most, most), noise)
    return Example(
        row=row,
        column=column,
        conductance=conductance,
        codes=codes,
        noise=noise,
        multiplier=multiplier,
        offset=offset,
    )


def expected(example, readout):
    """Return D of each vector: to an ADC, noise that is known is an offset."""
    gains = tuple(pcmref.FixedPoint(int(each), SHIFT) for each in example.multiplier)

    def of_vector(codes, noise):
        adc = replace(readout.adc, gain=gains, offset=tuple((example.offset + noise).tolist()))
        return pcmref.tile(example.conductance, replace(readout, adc=adc, read_noise="frozen"))(codes).codes

    return np.array([of_vector(*vector) for vector in zip(example.codes, example.noise, strict=True)])


def report(example, right, found):
    """Say which codes differ, and of the example what made them."""
    places = np.argwhere(right != found).tolist()
    lines = [f"pcm_tile differs from pcmref.tile in {len(places)} of {right.size} codes"]
    for vector, column in places:
        codes, conductance = example.codes[vector], example.conductance[:, column]
        noise, offset, multiplier = example.noise[vector, column], example.offset[column], example.multiplier[column]
        total = int(codes @ conductance + noise)
        code = Fraction((total + int(offset)) * int(multiplier), 1 << SHIFT)
        lines += [
            f"  vector {vector}, column {column}: expected {right[vector, column]}, found {found[vector, column]}",
            f"    noise {noise}, offset {offset}, gain {multiplier}/2^{SHIFT}",
            f"    sum {total} = {float(code):.10g} codes{', on a tie' if code.denominator == 2 else ''}",
        ]
        driven = np.flatnonzero(codes * conductance)
        lines += [f"    row {row}: code {codes[row]}, conductance {conductance[row]}" for row in driven]
    return "\n".join(lines)


def prepare(options, folder):
    """Return the design of a tile with read noise and offsets."""
    readout = _readout(options.size[0])
    return readout_design(readout, options.size, {"examples": options.examples, "seed": options.seed})


def _readout(rows):
    widest = pcmref.FixedPoint((1 << MULT_BITS) - 1, SHIFT)
    return tile_readout(rows, "fresh", gain=widest, offset=-OFFSET_MOST)


@cocotb.test()
async def every_example_gives_the_codes_of_pcmref(dut):
    parameters, said = told()
    rows, columns = parameters["ROWS"], parameters["COLUMNS"]
    readout, tile, count = _readout(rows), RtlTile(dut=dut, parameters=parameters), 0
    await tile.start()

    async def answer(example):
        tile.set_adcs(example.multiplier, example.offset)
        tile.load(example.conductance)
        return await tile.multiply(example.codes, example.noise)

    def check(ask):
        @seed(said["seed"])
        @settings(
            max_examples=said["examples"],
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(examples(parameters))
        def law(example):
            nonlocal count
            count += 1
            whole = example.whole(rows, columns)
            right, found = expected(whole, readout), ask(whole)
            assert (right == found).all(), report(whole, right, found)

        law()

    await ask_from_thread(check, answer)
    cocotb.log.info("%d examples on %d x %d, all equal to pcmref.tile", count, rows, columns)
