"""Strategies for one tile and what it is given, half of them aimed at ties and limits; and how answers are compared."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.arithmetic.draws import Key
from pcmref.arrays import Int64
from pcmref.crossbar.converters import Dac
from pcmref.crossbar.product import TileProduct
from pcmref.crossbar.readout import Readout
from pcmref.crossbar.tile import Tile, tile
from pcmref.golden.aimed import ties_within
from pcmref.testing.converters import SIZES, Strategy, readouts

__all__ = ["TileExample", "assert_same_codes", "codes", "conductances", "tile_examples", "variances"]


@st.composite
def conductances(draw: st.DrawFn, rows: int, columns: int, *, lines: str = "pair", most: int | None = None) -> Int64:
    """Draw conductance codes.

    Parameters
    ----------
    rows, columns : int
    lines : "pair" or "separate"
        Differences of pairs, or the + and the - devices, shape (2, rows, columns).
    most : int, optional
        Largest size; drawn by default.
    """
    size = draw(st.sampled_from(SIZES)) if most is None else most
    pair = lines == "pair"
    shape = (rows, columns) if pair else (2, rows, columns)
    return draw(arrays(np.int64, shape, elements=st.integers(-size if pair else 0, size)))


def variances(rows: int, columns: int, *, lines: str = "pair", most: int = CODE_LIMIT) -> Strategy:
    """Draw variance codes of read noise, of the shape of `conductances`."""
    shape = (rows, columns) if lines == "pair" else (2, rows, columns)
    return arrays(np.int64, shape, elements=st.integers(0, most))


def codes(dac: Dac, rows: int, *, most: int = 1) -> Strategy:
    """Draw vectors of codes of a DAC, shape (vectors, rows), at most so many."""
    vector = arrays(np.int64, (rows,), elements=st.integers(dac.low, dac.high))
    return st.lists(vector, min_size=1, max_size=most).map(np.stack)


@dataclass(frozen=True, kw_only=True, eq=False)
class TileExample:
    """Vectors for a tile, and all that makes its answers.

    Parameters
    ----------
    readout : Readout
    conductance : int64, shape (rows, columns), or (2, rows, columns) with an ADC on each line
    variance_code : int64 of that shape, or None
        With fresh read noise.
    stream : (int, int) or None
        Likewise.
    codes : int64, shape (vectors, rows)
    """

    readout: Readout
    conductance: Int64
    variance_code: Int64 | None
    stream: Key | None
    codes: Int64

    @cached_property
    def tile(self) -> Tile:
        """The tile of pcmref."""
        return tile(self.conductance, self.readout, variance_code=self.variance_code, stream=self.stream)

    @cached_property
    def product(self) -> TileProduct:
        """Every stage of its answers."""
        return self.tile(self.codes)

    @property
    def noise(self) -> Int64 | None:
        """Read noise to load, shape (vectors, columns), or (conversions, vectors, columns)."""
        if self.variance_code is None:
            return None
        parts = self.product.parts or (self.product,)
        wide = Readout(name="wide", dac=self.readout.dac, lines=self.readout.lines, read_noise="fresh")
        noisy = tile(self.conductance, wide, variance_code=self.variance_code, stream=self.stream)(self.codes)
        noises = [a.sums - b.noise_free for a, b in zip(noisy.parts or (noisy,), parts, strict=True)]
        return noises[0] if len(noises) == 1 else np.stack(noises)

    def __repr__(self) -> str:
        fields = ("readout", "conductance", "variance_code", "stream", "codes")
        shown = (getattr(self, name) for name in fields)
        each = (value.tolist() if isinstance(value, np.ndarray) else value for value in shown)
        return f"TileExample({', '.join(f'{name}={value!r}' for name, value in zip(fields, each, strict=True))})"


@st.composite
def tile_examples(
    draw: st.DrawFn,
    *,
    readout: Readout | None = None,
    rows: int = 8,
    columns: int = 3,
    vectors: int = 4,
) -> TileExample:
    """Draw vectors on tiles.

    Parameters
    ----------
    readout : Readout, optional
        That of the tile under test; by default any.
    rows, columns, vectors : int
        At most so many.
    """
    height, width = draw(st.integers(1, rows)), draw(st.integers(1, columns))
    chosen = draw(readouts(height, width)) if readout is None else readout
    fresh = chosen.read_noise == "fresh"
    words = st.integers(0, (1 << 32) - 1)
    column = draw(st.integers(0, width - 1))
    targets = _targets(chosen, column)
    # one vector then, and the target before the arrays, so that an example shrinks on its own
    aimed: bool = bool(targets) and draw(st.booleans())
    target: int | None = draw(st.sampled_from(targets)) if aimed else None
    conductance = draw(conductances(height, width, lines=chosen.lines))
    vectors_of_codes = draw(codes(chosen.dac, height, most=vectors if target is None else 1))
    if target is not None:
        levels, cells = _factors(target, height)
        conductance[..., column] = 0
        conductance[..., : len(cells), column] = cells
        vectors_of_codes[0, : len(levels)] = np.array(levels) - chosen.dac.offset
    return TileExample(
        readout=chosen,
        conductance=conductance,
        variance_code=draw(variances(height, width, lines=chosen.lines)) if fresh else None,
        stream=draw(st.tuples(words, words)) if fresh else None,
        codes=vectors_of_codes,
    )


def _targets(readout: Readout, column: int) -> list[int]:
    """Return sums at which an ADC is easily wrong: ties, thresholds and limits, and their neighbours."""
    if (adc := readout.adc) is None:
        return []
    if adc.thresholds is not None:
        steps = adc.thresholds[column if len(adc.thresholds) > 1 else 0]
        found = [*steps[:3], *steps[-3:]]
    else:
        gain = adc.gain[column] if isinstance(adc.gain, tuple) else adc.gain
        if gain is None:
            return []
        exact = Fraction(float(gain))
        ends = [round((end + half) / exact) for end in adc.limits for half in (Fraction(1, 2), Fraction(-1, 2))]
        offset = int(adc.offsets(column + 1 if isinstance(adc.offset, int) else len(adc.offset))[column])
        found = [sum_ - offset for sum_ in (*ties_within(exact, adc.limits, 2 * CODE_LIMIT * CODE_LIMIT), *ends)]
    largest = readout.dac.largest * CODE_LIMIT
    near = [each + step for step in (0, 1, -1) for each in sorted(found, key=abs)]
    return [each for each in near if 0 <= abs(each) <= largest and (readout.lines == "pair" or each >= 0)]


def _factors(target: int, rows: int) -> tuple[list[int], list[int]]:
    """Return levels and conductance codes of the first rows whose sum is `target`, or close to it if one row is all."""
    size = abs(target)
    level = max(1, -(-size // CODE_LIMIT))
    whole, rest = divmod(size, level)
    cells = [whole, rest] if rows > 1 else [-(-size // level)]
    return [level, 1][:rows], cells if target >= 0 else [-each for each in cells]


def assert_same_codes(found: npt.ArrayLike, example: TileExample) -> None:
    """Compare the answers of a tile with those of pcmref.

    Parameters
    ----------
    found : integers, shape (vectors, columns)
        Codes, or output codes where a product takes several conversions.
    example : TileExample
        What they answer.

    Raises
    ------
    AssertionError
        With the first product that differs, all its stages, and how many do.
    """
    answers, product = np.asarray(found), example.product
    if answers.dtype.kind not in "iu" or answers.shape != product.codes.shape:
        raise AssertionError(
            f"expected integers of shape {product.codes.shape}, found {answers.dtype} of shape {answers.shape}"
        )
    wrong = np.argwhere(answers != product.codes)
    if not wrong.size:
        return
    vector, column = (int(i) for i in wrong[0])
    lines = [
        f"vector {vector}, column {column}: expected {product.codes[vector, column]}, found {answers[vector, column]}",
        f"  {len(wrong)} of {answers.size} answers differ",
        f"  codes {example.codes[vector].tolist()}",
        f"  conductance codes {example.conductance[..., column].tolist()}",
    ]
    for number, part in enumerate(product.parts or (product,)):
        which = f"conversion {number}: " if product.parts else ""
        noise_free, held = int(part.noise_free[vector, column]), int(part.sums[vector, column])
        lines.append(f"  {which}sum {noise_free}, as the ADC sees it {held}, code {part.codes[vector, column]}")
    lines.append(f"  {example.readout}")
    raise AssertionError("\n".join(lines))
