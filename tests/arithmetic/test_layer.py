"""A layer in one call: plain Python's numbers, and the bits of the stages one by one."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcmref.arithmetic import reference
from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.arithmetic.operands import AnalogLayer, Conversions, Digital, Register, filled
from tests.arithmetic.operands import (
    CODE_LIMIT,
    KINDS,
    adc_of,
    addresses,
    both,
    codes,
    dac_of,
    digital_of,
    fast,
    keys,
    lanes,
    largest,
    laws,
    noise_of,
    panelled,
    plain_conversions,
    quiet,
    same,
    seeds,
    table_of,
    tiles_of,
    window_of,
)
from tests.helpers import naive


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer with inputs: what its operands are made of beside the operands themselves."""

    x: np.ndarray
    other: np.ndarray | None
    image: np.ndarray
    row: np.ndarray
    #: Conductance and variance codes by line, row and column.
    matrix: np.ndarray
    variance: np.ndarray | None
    #: How codes become what drives the rows, as the readout names it.
    drive: str
    tile_rows: int
    layer: AnalogLayer
    digital: Digital
    key: tuple[int, int]

    def through(self, kernels):
        """What the kernels of one kind make of it."""
        return kernels.analog_layer(self.layer, self.digital)(self.x, self.other, self.image)


def digital_part(rng, columns):
    """Draw what follows the crossbar: batch normalisation and ReLU, each or not."""
    unit, scale, offset = (rng.standard_normal(columns).astype(np.float32) for _ in range(3))
    norm = {"scale": scale, "offset": offset} if rng.integers(2) else {}
    return digital_of(unit, **norm, rectify=bool(rng.integers(2)))


def windows(rng, n):
    """Draw inputs, the size of their buffer, and where rows and pixels lie in it: anywhere, in any order."""
    bias, padding = bool(rng.integers(2)), int(rng.integers(3))
    height, width, channels = rng.integers(1, 5, 3)
    padded = height + 2 * padding, width + 2 * padding, channels + bias + (channels + bias) % 2
    row = rng.permutation(int(np.prod(padded)))[: rng.integers(1, 13)]
    x = rng.standard_normal((n, height, width, channels)) * rng.choice([1.0, 1.0, 1.0, 1e-3, 1e20, 1e-31, 0.0])
    sizes = {"padding": padding, "bias": bias, "height": padded[0], "width": padded[1], "channels": padded[2]}
    return x.astype(np.float32), row, sizes


#: Codes and drive of a DAC.
DRIVES = [
    *[("symmetric", "parallel")] * 3,
    *((coding, "parallel") for coding in ("signed", "offset", "unsigned")),
    *((coding, "bit-serial") for coding in ("symmetric", "signed", "offset", "unsigned")),
    *((coding, "two-phase") for coding in ("symmetric", "signed")),
]


def converters(rng, kind, conversions, columns, size):
    """An ADC or a table for each conversion, or neither; `size` is that of the sums."""
    if kind == "adc":
        bits = int(rng.choice([rng.integers(2, 25), 8]))
        gain = (
            2 ** (bits - 1) / size * rng.choice([0.3, 2.0, 1e3]) * rng.choice([0.5, 1.0, 1.5], (conversions, columns))
        )
        offset = rng.integers(-size, size + 1, gain.shape) // 3 * rng.integers(2)
        low = int(rng.choice([1 - 2 ** (bits - 1), -(2 ** (bits - 1)), 0]))
        return adc_of(gain, bits, columns, offset=offset, low=low, rounding=str(rng.choice(ROUNDINGS))), None
    if kind == "table":
        count = int(rng.integers(1, 20))
        return None, table_of(rng, size, conversions, columns, count, int(rng.choice([0, -1, -(count // 2)])))
    return None, None


@st.composite
def cases(draw, fresh, kind, register=False):
    # a seed decides nearly all, so that few examples are many different ones
    rng = np.random.default_rng(draw(seeds))
    x, row, sizes = windows(rng, draw(st.integers(1, 3)))
    room = int(np.prod([sizes[name] for name in ("height", "width", "channels")])) // 2 - int(row.max()) // 2
    pixel, columns = rng.integers(0, room, rng.integers(1, 6)), int(rng.choice([1, 2, 3, 17, 50]))
    coding, drive = DRIVES[rng.integers(len(DRIVES))]
    bits = int(rng.choice([rng.integers(2, 17 if coding == "symmetric" else 16), 8]))
    dac = dac_of(bits, rng.choice([0.0, 0.5, 3.0]), codes=coding, drive=drive)
    lines = int(rng.choice([1, 1, 2]))
    matrix = codes(rng, (lines, len(row), columns), draw(KINDS))
    matrix = np.abs(matrix) if lines == 2 else matrix
    variance = np.abs(codes(rng, matrix.shape, draw(KINDS))) if fresh else None
    tile_rows, key = int(rng.integers(-(-len(row) // 3), len(row) + 2)), draw(keys)
    phases, weights = weights_of(dac, coding, drive)
    tiles = -(-len(row) // tile_rows)
    tile, line, phase = (grid.ravel() for grid in np.indices((tiles, lines, phases)))
    zero = rng.integers(-50, 50, (len(tile), columns)) * rng.integers(2)
    size = int(largest(dac) * CODE_LIMIT * len(row) ** 0.5)
    adc, table = converters(rng, kind, len(tile), columns, size)
    held = int(np.clip(rng.integers(-4, 2) + size.bit_length(), 2, 60))
    layer = AnalogLayer(
        window=window_of(pixel=pixel, **sizes),
        dac=dac,
        tiles=tiles_of(row, matrix, variance, tile_rows, largest(dac)),
        conversions=Conversions(tile * lines + line, phase, np.array([1, -1])[line] * np.array(weights)[phase], zero),
        noise=noise_of(key, split=largest(dac) ** 2 >= 2**15) if fresh else None,
        register=Register(held, bool(rng.integers(2)), bool(rng.integers(2))) if register else None,
        adc=adc,
        table=table,
    )
    other = rng.standard_normal((len(x), len(pixel), columns)).astype(np.float32) if rng.integers(2) else None
    image = np.array(draw(st.lists(addresses, min_size=len(x), max_size=len(x))), np.uint64)
    return Case(x, other, image, row, matrix, variance, drive, tile_rows, layer, digital_part(rng, columns), key)


def weights_of(dac, coding, drive):
    """Phases of a product, and what each counts."""
    if drive == "bit-serial":
        signed = coding in ("symmetric", "signed")
        return dac.phases, [*(2**k for k in range(dac.phases - 1)), (-1 if signed else 1) * 2 ** (dac.phases - 1)]
    return (2, [1, -1]) if drive == "two-phase" else (1, [1])


def code_of(layer, number, column, total):
    """What converts the sum of a conversion, in Python's integers."""
    if layer.table is not None:
        return layer.table.low + sum(int(t) <= total for t in layer.table.thresholds[number, column])
    if layer.adc is None:
        return total
    adc = layer.adc
    value = (float(total) + adc.offset[number, column]) * adc.gain[number, column]
    return naive.clip(naive.rounded(Fraction(value), ROUNDINGS[adc.rounding]), int(adc.low), int(adc.high))


def output_codes(case, codes, i):
    """Output codes of image i in Python's integers, by pixel and column; and whether the register is too small."""
    layer, lines, beyond = case.layer, len(case.matrix), False
    window, columns, register = layer.window, layer.tiles.columns, layer.register
    total = np.zeros((window.pixels, columns), object)
    for number, (tile, phase, weight, zero) in enumerate(zip(*layer.conversions, strict=True)):
        start = tile // lines * case.tile_rows
        part, line = slice(start, start + case.tile_rows), tile % lines
        for p, pixel in enumerate(window.pixel[: window.pixels]):
            driven = codes[i].reshape(-1)[2 * pixel + case.row[part]].tolist()
            inputs = np.array([in_phase(v, phase, case.drive, layer.dac.phases) for v in driven], object)
            sums = inputs.dot(case.matrix[line, part].astype(object))
            if case.variance is not None:
                variance = (inputs**2).dot(case.variance[line, part].astype(object))
                outputs = enumerate(variance, p * columns)
                noise = [naive.read_noise(v, case.key, number, int(case.image[i]), o) for o, v in outputs]
                sums = sums + np.array(noise, object)
            for c, exact in enumerate(sums.tolist()):
                kept = exact if register is None else in_register(exact, register)
                beyond |= kept != exact
                total[p, c] += int(weight) * (code_of(layer, number, c, kept) - int(zero[c]))
    return total, beyond


def in_phase(driven, phase, drive, bits):
    """What drives a row in a phase."""
    if drive == "bit-serial":
        return driven % 2**bits // 2**phase % 2
    return driven if drive == "parallel" else max(driven if phase == 0 else -driven, 0)


def in_register(total, register):
    half = 2 ** (register.bits - 1)
    return naive.clip(total, -half, half - 1) if register.saturates else (total + half) % (2 * half) - half


readouts = pytest.mark.parametrize("kind", ["sums", "adc", "table"])


@pytest.mark.parametrize("register", [False, True], ids=["wide", "register"])
@pytest.mark.parametrize("fresh", [False, True], ids=["frozen", "fresh"])
@readouts
@laws
@given(st.data())
def test_a_layer_equals_plain_python_and_its_stages(fresh, kind, register, data):
    case = data.draw(cases(fresh, kind, register))
    codes, step, _ = reference.drive(case.x, case.layer.window, case.layer.dac)
    outputs, beyond = zip(*(output_codes(case, codes, i) for i in range(len(case.x))), strict=True)
    factor = step if kind == "sums" else np.ones_like(step)
    expected = reference.finish(np.array(outputs, np.int64), factor, case.digital, case.other)
    for kernels in (reference, fast):
        found, infinite, first_beyond = case.through(kernels)
        same(found, expected)
        assert infinite == -1
        assert first_beyond == (beyond.index(True) if any(beyond) else -1)


@pytest.mark.parametrize(("fresh", "register"), [(False, True), (True, False), (True, True)])
@readouts
@laws
@given(st.data())
def test_an_image_does_not_depend_on_its_company(fresh, kind, register, data):
    case = data.draw(cases(fresh, kind, register))
    order = data.draw(st.permutations(range(len(case.x))))[: data.draw(st.integers(1, len(case.x)))]
    some = dataclasses.replace(
        case, x=case.x[order], other=None if case.other is None else case.other[order], image=case.image[order]
    )
    for kernels in (reference, fast):
        same(some.through(kernels)[0], case.through(kernels)[0][order])


@pytest.mark.parametrize("register", [False, True], ids=["wide", "register"])
@pytest.mark.parametrize("fresh", [False, True], ids=["frozen", "fresh"])
@readouts
@laws
@given(data=st.data(), times=st.integers(20, 90))
def test_many_pixels_are_taken_part_by_part(fresh, kind, register, data, times):
    case = data.draw(cases(fresh, kind, register))
    window, other = case.layer.window, case.other
    pixel = np.tile(window.pixel[: window.pixels], times)
    window = window._replace(pixel=filled(pixel), pixels=len(pixel))
    other = None if other is None else np.tile(other, (1, times, 1))
    many = dataclasses.replace(case, layer=case.layer._replace(window=window), other=other)
    (found, *faults), (expected, *same_faults) = many.through(fast), many.through(reference)
    same(found, expected)
    assert faults == same_faults


@both
def test_inputs_that_are_views(kernels):
    case = example_case(columns=5, images=4)
    expected = case.through(kernels)[0]

    def turned(array):
        return np.ascontiguousarray(array.transpose(*range(1, array.ndim), 0)).transpose(-1, *range(array.ndim - 1))

    for change in (np.asfortranarray, turned, lambda array: np.repeat(array, 2, axis=-1)[..., ::2]):
        view = dataclasses.replace(case, x=change(case.x), other=change(case.other))
        same(view.through(kernels)[0], expected)
    every_second = dataclasses.replace(case, x=case.x[::2], other=case.other[::2], image=case.image[::2])
    same(every_second.through(kernels)[0], expected[::2])


def example_case(
    *,
    rows=12,
    columns=3,
    tile_rows=12,
    images=2,
    dac_bits=8,
    adc_bits=8,
    gain=1e-4,
    fresh=True,
    matrix=None,
    variance=None,
):
    """A vector as input, all of it rows."""
    rng = np.random.default_rng(rows)
    dac, row, key = dac_of(dac_bits), np.arange(rows), (1, 2)
    matrix = codes(rng, (1, rows, columns)) if matrix is None else matrix
    variance = np.abs(codes(rng, matrix.shape)) if fresh and variance is None else variance
    tiles = -(-rows // tile_rows)
    layer = AnalogLayer(
        window=window_of(height=1, width=1, channels=rows + rows % 2),
        dac=dac,
        tiles=tiles_of(row, matrix, variance, tile_rows, largest(dac)),
        conversions=plain_conversions(tiles, columns),
        noise=noise_of(key, split=dac_bits > 8) if fresh else None,
        register=None,
        adc=None if adc_bits is None else adc_of(np.full((tiles, 1), gain), adc_bits, columns),
        table=None,
    )
    one = np.ones(columns, np.float32)
    x = rng.standard_normal((images, 1, 1, rows)).astype(np.float32)
    other = rng.standard_normal((images, 1, columns)).astype(np.float32)
    image = np.arange(images, dtype=np.uint64)
    return Case(x, other, image, row, matrix, variance, "parallel", tile_rows, layer, digital_of(one), key)


@both
def test_adc_codes_of_many_tiles_may_need_more_than_32_bits(kernels):
    """Tiles of one row, each at the end of a 24-bit converter."""
    rows = 2**31 // (2**23 - 1) + 1
    matrix = np.full((1, rows, 1), CODE_LIMIT, np.int16)
    case = example_case(rows=rows, columns=1, tile_rows=1, images=1, adc_bits=24, gain=1e9, fresh=False, matrix=matrix)
    case = dataclasses.replace(case, x=np.ones_like(case.x), other=None)
    total = rows * (2**23 - 1)
    assert total >= 2**31
    assert case.through(kernels)[0].tolist() == [[[float(np.float32(total))]]]


@both
@pytest.mark.parametrize("rows", [1, 2, 64, 600])
@pytest.mark.parametrize("fresh", [False, True])
def test_sums_may_need_more_than_32_bits(kernels, rows, fresh):
    """No tile's sum of one or two rows needs them, but the sum of all tiles does."""
    matrix = np.full((1, 600, 2), CODE_LIMIT, np.int16)
    variance = np.zeros_like(matrix) if fresh else None
    sizes = {"rows": 600, "columns": 2, "tile_rows": rows, "images": 1, "dac_bits": 16, "adc_bits": None}
    case = example_case(**sizes, fresh=fresh, matrix=matrix, variance=variance)
    case = dataclasses.replace(case, x=np.full_like(case.x, CODE_LIMIT), other=None)  # a step of 1
    total = np.float32(600 * CODE_LIMIT**2)
    assert case.through(kernels)[0].tolist() == [[[total, total]]]


@quiet
@both
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("fresh", [False, True])
def test_the_first_image_with_an_input_that_is_not_finite_is_told(kernels, bad, fresh):
    case = example_case(images=4, fresh=fresh)
    expected = case.through(kernels)[0]
    case.x[1::2, 0, 0, 2] = bad
    found, infinite, _ = case.through(kernels)
    assert infinite == 1
    same(found[::2], expected[::2])


# The digital baseline


@laws
@given(seeds, st.integers(1, 3))
def test_a_layer_of_the_baseline_agrees_to_rounding(seed, n):
    rng = np.random.default_rng(seed)
    x, row, sizes = windows(rng, n)
    x = np.sign(x) * np.minimum(np.abs(x), 9)  # overflows are not specified
    _, height, width, channels = x.shape
    padded, padding = (sizes["height"], sizes["width"], sizes["channels"]), sizes["padding"]
    pixel = rng.integers(0, int(np.prod(padded)) - int(row.max()), rng.integers(1, 21))
    columns = int(rng.choice([1, 3, 17, 40]))
    matrix = np.zeros((len(row), lanes(columns)), np.float32)
    matrix[:, :columns] = rng.standard_normal((len(row), columns))
    other = rng.standard_normal((n, len(pixel), columns)).astype(np.float32) if rng.integers(2) else None
    digital, window = digital_part(rng, columns), window_of(pixel=pixel, **sizes)
    buffer = np.zeros((n, *padded), np.float32)
    buffer[:, padding : padding + height, padding : padding + width, :channels] = x
    if window.bias:
        buffer[..., channels] = 1
    patches = buffer.reshape(n, -1)[:, pixel[:, None] + row].astype(np.float64)
    sums, scale = patches @ matrix[:, :columns].astype(np.float64), digital.unit.astype(np.float64)
    sizes = np.abs(patches) @ np.abs(matrix[:, :columns].astype(np.float64)) * np.abs(scale)
    exact = sums * scale
    exact = exact * digital.scale + digital.offset
    sizes = sizes * np.abs(digital.scale) + np.abs(digital.offset)
    if other is not None:
        exact, sizes = exact + other, sizes + np.abs(other)
    if digital.rectify:
        exact = np.maximum(exact, 0)
    for kernels in (reference, fast):
        found = kernels.float_layer(x, other, window, row, panelled(matrix), digital)
        assert found.dtype == np.float32
        assert found.shape == exact.shape
        assert (np.abs(found - exact) <= (len(row) + 6) * 2.0**-24 * sizes).all()
        same(kernels.float_layer(np.asfortranarray(x), other, window, row, panelled(matrix), digital), found)
        assert np.array_equal(window.pixel, filled(pixel))
