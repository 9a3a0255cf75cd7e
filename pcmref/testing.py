"""For property-based tests: Hypothesis strategies for what pcmref takes, and comparisons whose failures read well.

Whatever a strategy gives is accepted by everything that it is for, up to the logits.  All of it is built of small
numbers, so a failure shrinks to few of them: a rounder that is wrong at a tie to one product of one row.

::

    @given(example=tile_examples(readout=READOUT))
    def test_my_tile(example):
        assert_same_codes(my_tile(example.codes, example.conductance), example)

Needs the extra ``test``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import count
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.codes import CODE_LIMIT, ROUNDINGS, Range
from pcmref.arithmetic.draws import Key
from pcmref.arrays import Float32, Int64
from pcmref.crossbar.converters import Accumulator, Adc, Beyond, Dac, FixedPoint
from pcmref.crossbar.product import TileProduct
from pcmref.crossbar.readout import Readout
from pcmref.crossbar.tile import Tile, tile
from pcmref.devices.chip import Chip, Snapshot, program
from pcmref.devices.published import MODELS
from pcmref.devices.technology import Technology
from pcmref.errors import MissingExtraError
from pcmref.golden.aimed import ties_within
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation
from pcmref.network.layers import (
    Add,
    BatchNorm,
    Conv,
    GlobalAveragePool,
    Layer,
    Linear,
    MaxPool,
    PadShortcut,
    Relu,
    Shape,
)

try:
    from hypothesis import strategies as st
    from hypothesis.extra.numpy import arrays
except ImportError as error:
    raise MissingExtraError("hypothesis", "the extra 'test' (pip install 'pcmref[test]')", "not installed") from error

__all__ = [
    "TileExample",
    "accumulators",
    "adcs",
    "assert_same_codes",
    "assert_same_logits",
    "chips",
    "codes",
    "conductances",
    "dacs",
    "images",
    "networks",
    "ranges",
    "readouts",
    "snapshots",
    "technologies",
    "tile_examples",
    "times_s",
    "variances",
    "weights",
]

Strategy: TypeAlias = st.SearchStrategy[Any]

#: Codes and drives that go together: the usual ones first, as Hypothesis shrinks to them.
DRIVES = (
    ("symmetric", "parallel"),
    *((codes, "parallel") for codes in ("signed", "unsigned", "offset")),
    *((codes, "two-phase") for codes in ("symmetric", "signed")),
    *((codes, "bit-serial") for codes in ("symmetric", "signed", "unsigned", "offset")),
)
#: Sizes of conductance codes: small ones, with which sums meet ties and steps, first.
SIZES = (1, 3, 100, CODE_LIMIT)
#: Steps of the weights and tensors that are drawn: their sums are exact, and none is tiny.
STEP = 1 / 16
#: Most pixels of an image along one axis.
PIXELS = 7


# converters


@st.composite
def dacs(draw: st.DrawFn, most: int = 16, *, serial: int = 8, drives: Sequence[tuple[str, str]] = DRIVES) -> Dac:
    """Draw DACs.

    Parameters
    ----------
    most, serial : int
        Most bits; of those that drive bit by bit.
    drives : sequence of (codes, drive)
        Which kinds.
    """
    kind, drive = draw(st.sampled_from(drives))
    limits = (most, serial if drive == "bit-serial" else 16, 16 if kind == "symmetric" else 15)
    return Dac(bits=draw(st.integers(2, min(limits))), codes=kind, drive=drive)  # type: ignore[arg-type]


@st.composite
def adcs(draw: st.DrawFn, largest: int, columns: int | None = None, *, most: int = 24, own: bool = True) -> Adc:
    """Draw ADCs.

    Parameters
    ----------
    largest : int
        Size of the largest sum that they see; smaller ones are seen too, and far larger ones saturate.
    columns : int, optional
        Draw numbers for each column, too; by default all columns are alike.
    most : int
        Most bits.
    own : bool
        With a gain or thresholds of their own; else those of a range, as in a network.
    """
    bits = draw(st.integers(2, most))
    half = 1 << (bits - 1)
    low = draw(st.sampled_from((1 - half, -half, 0, -1)))
    high = draw(st.just(half - 1) | st.integers(1, 2 * half - 1 + low))
    shared: dict[str, Any] = {
        "bits": bits,
        "low": low,
        "high": max(high, 1),
        "rounding": draw(st.sampled_from(ROUNDINGS)),
    }

    def column_of(each: Strategy) -> Any:
        several = columns is not None and draw(st.booleans())
        return tuple(draw(each) for _ in range(columns or 1)) if several else draw(each)

    if bits <= 5 and own and draw(st.integers(0, 3)) == 3:
        steps = high - low
        table = st.lists(st.integers(-largest, largest), min_size=steps, max_size=steps).map(sorted).map(tuple)
        rows = column_of(table)
        shared |= {"rounding": ROUNDINGS[0], "thresholds": rows if rows and isinstance(rows[0], tuple) else (rows,)}
        return Adc(**shared)
    shared["offset"] = column_of(st.just(0) | st.integers(-largest, largest))
    if own:
        return Adc(**shared, gain=column_of(_gains(largest, max(-low, high))))
    return Adc(**shared, gain_bits=draw(st.none() | st.integers(8, 12)) if bits <= 12 else None)


@st.composite
def _gains(draw: st.DrawFn, largest: int, most: int) -> FixedPoint | float:
    """Gains with which some sums up to `largest` have codes up to `most`, ties among them."""
    shifts = min(52, 53 - (most + 1).bit_length())
    shift = draw(st.integers(1, max(1, min(shifts, largest.bit_length() + 8))))
    multiplier = draw(st.integers(1, max(1, min((1 << 31) - 1, (most << shift) // max(1, largest) * 4 + 4))))
    return FixedPoint(multiplier, shift) if draw(st.integers(0, 3)) < 3 else multiplier / 3 * 2.0**-shift


@st.composite
def accumulators(draw: st.DrawFn, largest: int) -> Accumulator | None:
    """Draw no register, or one about as wide as sums up to `largest` need, which saturates or wraps."""
    choices: tuple[Beyond | None, ...] = (None, "saturate", "wrap")
    beyond = draw(st.sampled_from(choices))
    if beyond is None:
        return None
    bits = max(2, min(60, largest.bit_length() + draw(st.integers(-3, 3))))
    return Accumulator(bits=bits, beyond=beyond)


@st.composite
def readouts(draw: st.DrawFn, rows: int, columns: int | None = None, *, most: int = 16, serial: int = 5) -> Readout:
    """Draw readouts of one tile of so many rows, with converters of their own."""
    dac = draw(dacs(most, serial=serial))
    largest = rows * dac.largest * CODE_LIMIT
    return Readout(
        name="drawn",
        dac=dac,
        adc=draw(st.none() | st.sampled_from(SIZES).flatmap(lambda size: adcs(rows * dac.largest * size, columns))),
        lines=draw(st.sampled_from(("pair", "separate"))),
        accumulator=draw(accumulators(largest)),
        read_noise=draw(st.sampled_from(("frozen", "fresh"))),
    )


# one tile


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
    aimed = bool(targets) and draw(st.booleans())  # one vector then, so that it shrinks on its own
    conductance = draw(conductances(height, width, lines=chosen.lines))
    vectors_of_codes = draw(codes(chosen.dac, height, most=1 if aimed else vectors))
    if aimed:
        levels, cells = _factors(draw(st.sampled_from(targets)), height)
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


# devices


def technologies() -> Strategy:
    """Draw the published models of devices."""
    return st.sampled_from([MODELS[name] for name in sorted(MODELS)])


@st.composite
def times_s(draw: st.DrawFn, technology: Technology) -> float:
    """Draw times at which devices can be read: from the reference of GDC to 30 years."""
    later = draw(st.sampled_from((0.0, 1.0, 25.0, 3600.0, 86_400.0, 31_536_000.0)) | st.integers(0, 10**9).map(float))
    return technology.check_time(technology.reference_time_s + later)


# networks


def _tensors(shape: Shape, least: int, most: int) -> Strategy:
    """Draw float32 multiples of `STEP`."""
    return arrays(np.int64, shape, elements=st.integers(least, most)).map(lambda n: (n * STEP).astype(np.float32))


@st.composite
def weights(draw: st.DrawFn, *shape: int) -> Float32:
    """Draw weights of a crossbar layer, outputs first: from -2 to 2, with one in each column that is not 0."""
    found = draw(_tensors(shape, -32, 32)).reshape(shape[0], -1)
    found[:, 0] = np.where((found == 0).all(axis=1), STEP, found[:, 0])
    return found.reshape(shape)


@st.composite
def networks(draw: st.DrawFn, *, nodes: int = 8, classes: int = 3) -> Network:
    """Draw networks: any operation, wired at random, with feature maps first and vectors after a global pooling.

    Parameters
    ----------
    nodes : int
        At most so many operations besides those that every network has.
    classes : int
        At most so many, at least 2.
    """
    height, width, channels = draw(st.integers(1, PIXELS)), draw(st.integers(1, PIXELS)), draw(st.integers(1, 3))
    layers: list[Layer] = []
    shapes: dict[str, Shape] = {"input": (height, width, channels)}
    names = (f"n{number}" for number in count(1))

    def put(layer: Layer) -> str:
        layers.append(layer)
        shapes[layer.name] = layer.shape_after(*(shapes[name] for name in layer.inputs))
        return layer.name

    last = "input"
    for _ in range(draw(st.integers(0, nodes))):
        last = put(draw(_nodes(next(names), last, shapes)))
    if len(shapes[last]) == 3:
        last = put(GlobalAveragePool(name=next(names), inputs=(last,)))
    number = draw(st.integers(2, max(2, classes)))
    last = put(draw(_linears(next(names), last, shapes, number)))
    return Network(
        layers=tuple(layers),
        input_shape=(height, width, channels),
        normalisation=Normalisation(full_scale=255.0, mean=(0.5,) * channels, std=(0.25,) * channels),
        classes=tuple("abcdefghijklmnopqrstuvwxyz"[:number]),
    )


@st.composite
def _linears(draw: st.DrawFn, name: str, source: str, shapes: dict[str, Shape], columns: int) -> Linear:
    weight = draw(weights(columns, shapes[source][0]))
    return Linear(name=name, inputs=(source,), weight=weight, bias=draw(st.none() | _tensors((columns,), -32, 32)))


@st.composite
def _convs(draw: st.DrawFn, name: str, source: str, shapes: dict[str, Shape], columns: int) -> Conv:
    height, width, channels = shapes[source]
    padding = draw(st.integers(0, 1))
    kernel = tuple(draw(st.integers(1, min(3, size + 2 * padding))) for size in (height, width))
    return Conv(
        name=name,
        inputs=(source,),
        weight=draw(weights(columns, channels, *kernel)),
        bias=draw(st.none() | _tensors((columns,), -32, 32)),
        stride=draw(st.integers(1, 2)),
        padding=padding,
    )


def _batch_norms(name: str, source: str, channels: int) -> Strategy:
    each = {tensor: _tensors((channels,), -32, 32) for tensor in ("gamma", "beta", "mean")}
    return st.builds(BatchNorm, name=st.just(name), inputs=st.just((source,)), var=_tensors((channels,), 1, 32), **each)


@st.composite
def _nodes(draw: st.DrawFn, name: str, source: str, shapes: dict[str, Shape]) -> Layer:
    """Draw an operation that reads the last node, or adds another one to it."""
    shape = shapes[source]
    alike = [other for other, found in shapes.items() if found == shape and other != "input"]
    kinds = ["relu", "batch_norm", "crossbar", *(["add"] if alike else [])]
    if len(shape) == 3:
        kinds += ["max_pool", "pad_shortcut", "global_average_pool"]
    kind, inputs = draw(st.sampled_from(kinds)), (source,)
    if kind == "crossbar":
        layer = _convs if len(shape) == 3 else _linears
        return draw(layer(name, source, shapes, draw(st.integers(1, 4))))
    if kind == "batch_norm":
        return draw(_batch_norms(name, source, shape[-1]))
    if kind == "add":
        return Add(name=name, inputs=(source, draw(st.sampled_from(alike))))
    if kind == "max_pool":
        kernel = draw(st.integers(1, min(3, *shape[:2])))
        padding = draw(st.integers(0, kernel // 2))
        return MaxPool(name=name, inputs=inputs, kernel=kernel, stride=draw(st.integers(1, 2)), padding=padding)
    if kind == "pad_shortcut":
        before, after = draw(st.integers(0, 1)), draw(st.integers(0, 1))
        return PadShortcut(name=name, inputs=inputs, stride=draw(st.integers(1, 2)), before=before, after=after)
    return (GlobalAveragePool if kind == "global_average_pool" else Relu)(name=name, inputs=inputs)


def images(network: Network, *, most: int = 3) -> Strategy:
    """Draw images of a network, shape (n, height, width, channels), n from 1 to `most`."""
    number = st.integers(1, most)
    return number.flatmap(lambda n: arrays(np.uint8, (n, *network.input_shape), elements=st.integers(0, 255)))


@st.composite
def ranges(draw: st.DrawFn, network: Network) -> dict[str, Range]:
    """Draw the ranges of converters: of each crossbar layer, one for all groups of columns."""
    tops = st.sampled_from((0.5, 1.0, 4.0, 20.0))
    sums_us = st.sampled_from((1.0, 20.0, 400.0))
    return {layer.name: Range(input_top=draw(tops), sum_top_us=draw(sums_us)) for layer in network.crossbar_layers}


@st.composite
def chips(draw: st.DrawFn, network: Network | None = None) -> Chip:
    """Draw programmed chips: of a network, or of any; each published model, any seed."""
    chosen = draw(networks()) if network is None else network
    return program(chosen, model=draw(technologies()), seed=draw(st.integers(0, 1000)))


@st.composite
def snapshots(draw: st.DrawFn, network: Network | None = None) -> Snapshot:
    """Draw chips at a time."""
    chip = draw(chips(network))
    return chip.at(t_s=draw(times_s(chip.model)))


# comparisons


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


def assert_same_logits(found: npt.ArrayLike, expected: npt.ArrayLike) -> None:
    """Compare logits bit for bit.

    Raises
    ------
    AssertionError
        With the first that differs, its bits, and how many differ.
    """
    left, right = np.asarray(found), np.asarray(expected)
    if left.dtype != np.float32 or right.dtype != np.float32 or left.shape != right.shape:
        raise AssertionError(f"expected {right.dtype} of shape {right.shape}, found {left.dtype} of shape {left.shape}")
    a, b = (np.ascontiguousarray(each).view(np.uint32) for each in (left, right))
    wrong = np.argwhere(a != b)
    if wrong.size:
        place = tuple(int(i) for i in wrong[0])
        expected_bits, found_bits = f"{right[place]!r} (0x{b[place]:08x})", f"{left[place]!r} (0x{a[place]:08x})"
        raise AssertionError(
            f"logit {list(place)}: expected {expected_bits}, found {found_bits}\n  {len(wrong)} of {left.size} differ"
        )
