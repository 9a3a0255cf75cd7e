"""A layer in one call: plain Python's numbers, and the bits of the stages one by one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcmref.arithmetic import reference
from pcmref.arithmetic.operands import AnalogLayer, Dac, Digital, filled
from tests.arithmetic.operands import (
    CODE_LIMIT,
    KINDS,
    adc_of,
    addresses,
    both,
    codes,
    fast,
    keys,
    lanes,
    laws,
    noise_of,
    quiet,
    same,
    seeds,
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
    #: Conductance and variance codes by row and column.
    matrix: np.ndarray
    variance: np.ndarray | None
    tile_rows: int
    layer: AnalogLayer
    digital: Digital
    key: tuple[int, int]

    @property
    def arguments(self):
        return self.x, self.other, self.image, self.layer, self.digital


def digital_part(rng, columns):
    """Draw what follows the crossbar: batch normalisation and ReLU, each or not."""
    numbers = [rng.standard_normal(columns).astype(np.float32) for _ in range(3)]
    return Digital(numbers[0], bool(rng.integers(2)), *numbers[1:], bool(rng.integers(2)))


def windows(rng, n):
    """Draw inputs, the size of their buffer, and where rows and pixels lie in it: anywhere, in any order."""
    bias, padding = bool(rng.integers(2)), int(rng.integers(3))
    height, width, channels = rng.integers(1, 5, 3)
    padded = height + 2 * padding, width + 2 * padding, channels + bias + (channels + bias) % 2
    row = rng.permutation(int(np.prod(padded)))[: rng.integers(1, 13)]
    x = rng.standard_normal((n, height, width, channels)) * rng.choice([1.0, 1.0, 1.0, 1e-3, 1e20, 1e-31, 0.0])
    sizes = {"padding": padding, "bias": bias, "height": padded[0], "width": padded[1], "channels": padded[2]}
    return x.astype(np.float32), row, sizes


@st.composite
def cases(draw, fresh, converts):
    # a seed decides nearly all, so that few examples are many different ones
    rng = np.random.default_rng(draw(seeds))
    x, row, sizes = windows(rng, draw(st.integers(1, 3)))
    room = int(np.prod([sizes[name] for name in ("height", "width", "channels")])) // 2 - int(row.max()) // 2
    pixel, columns = rng.integers(0, room, rng.integers(1, 6)), int(rng.choice([1, 2, 3, 17, 50]))
    kind, limit = draw(KINDS), 2 ** (int(rng.choice([rng.integers(2, 17), 8])) - 1) - 1
    matrix = codes(rng, (len(row), columns), kind)
    variance = np.abs(codes(rng, matrix.shape, kind)) if fresh else None
    bits = int(rng.integers(2, 25)) if converts else None
    tile_rows, key = int(rng.integers(-(-len(row) // 3), len(row) + 2)), draw(keys)
    gain = 2 ** ((bits or 2) - 1) / (limit * CODE_LIMIT * len(row) ** 0.5) * rng.choice([0.3, 2.0, 1e3])
    layer = AnalogLayer(
        window=window_of(pixel=pixel, **sizes),
        dac=Dac(np.float32(rng.choice([0.0, 0.5, 3.0])), np.float32(limit)),
        tiles=tiles_of(row, matrix, variance, tile_rows, limit),
        noise=noise_of(key, split=limit * limit >= 2**15) if fresh else None,
        adc=adc_of(float(gain), bits),
    )
    other = rng.standard_normal((len(x), len(pixel), columns)).astype(np.float32) if rng.integers(2) else None
    image = np.array(draw(st.lists(addresses, min_size=len(x), max_size=len(x))), np.uint64)
    return Case(x, other, image, row, matrix, variance, tile_rows, layer, digital_part(rng, columns), key)


def output_codes(case, codes, i):
    """Output codes of image i in Python's integers, by pixel and column."""
    window, tiles, _, adc = case.layer.window, case.layer.tiles, case.layer.noise, case.layer.adc
    total = np.zeros((window.pixels, tiles.columns), object)
    for tile, start in enumerate(range(0, len(case.row), case.tile_rows)):
        part = slice(start, start + case.tile_rows)
        for p, pixel in enumerate(window.pixel[: window.pixels]):
            inputs = codes[i].reshape(-1)[2 * pixel + case.row[part]].astype(object)
            sums = inputs.dot(case.matrix[part].astype(object))
            if case.variance is not None:
                variance = (inputs**2).dot(case.variance[part].astype(object))
                outputs = enumerate(variance, p * tiles.columns)
                noise = [naive.read_noise(v, case.key, tile, int(case.image[i]), o) for o, v in outputs]
                sums = sums + np.array(noise, object)
            if adc is not None:
                sums = np.array([naive.clip(round(s * adc.gain), int(adc.limit)) for s in sums], object)
            total[p] += sums
    return total


readouts = pytest.mark.parametrize(("fresh", "converts"), [(False, False), (False, True), (True, False), (True, True)])


@readouts
@laws
@given(st.data())
def test_a_layer_equals_plain_python_and_its_stages(fresh, converts, data):
    case = data.draw(cases(fresh, converts))
    x, other, _, layer, digital = case.arguments
    codes, step, top = reference.drive(x, layer.window, layer.dac)
    outputs = np.array([output_codes(case, codes, i) for i in range(len(x))], np.int64)
    expected = reference.finish(outputs, step if layer.adc is None else np.ones_like(step), digital, other)
    for kernels in (reference, fast):
        found, found_top = kernels.analog_layer(*case.arguments)
        same(found, expected)
        same(found_top, top)


@readouts
@laws
@given(st.data())
def test_an_image_does_not_depend_on_its_company(fresh, converts, data):
    case = data.draw(cases(fresh, converts))
    order = data.draw(st.permutations(range(len(case.x))))[: data.draw(st.integers(1, len(case.x)))]
    some = dataclasses.replace(
        case, x=case.x[order], other=None if case.other is None else case.other[order], image=case.image[order]
    )
    for kernels in (reference, fast):
        same(kernels.analog_layer(*some.arguments)[0], kernels.analog_layer(*case.arguments)[0][order])


@both
def test_inputs_that_are_views(kernels):
    case = example_case(columns=5, images=4)
    expected, _ = kernels.analog_layer(*case.arguments)

    def turned(array):
        return np.ascontiguousarray(array.transpose(*range(1, array.ndim), 0)).transpose(-1, *range(array.ndim - 1))

    for change in (np.asfortranarray, turned, lambda array: np.repeat(array, 2, axis=-1)[..., ::2]):
        view = dataclasses.replace(case, x=change(case.x), other=change(case.other))
        same(kernels.analog_layer(*view.arguments)[0], expected)
    every_second = dataclasses.replace(case, x=case.x[::2], other=case.other[::2], image=case.image[::2])
    same(kernels.analog_layer(*every_second.arguments)[0], expected[::2])


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
    limit, row, key = 2 ** (dac_bits - 1) - 1, np.arange(rows), (1, 2)
    matrix = codes(rng, (rows, columns)) if matrix is None else matrix
    variance = np.abs(codes(rng, matrix.shape)) if fresh and variance is None else variance
    layer = AnalogLayer(
        window=window_of(height=1, width=1, channels=rows + rows % 2),
        dac=Dac(np.float32(0), np.float32(limit)),
        tiles=tiles_of(row, matrix, variance, tile_rows, limit),
        noise=noise_of(key, split=dac_bits > 8) if fresh else None,
        adc=adc_of(gain, adc_bits),
    )
    one = np.ones(columns, np.float32)
    x = rng.standard_normal((images, 1, 1, rows)).astype(np.float32)
    other = rng.standard_normal((images, 1, columns)).astype(np.float32)
    image = np.arange(images, dtype=np.uint64)
    return Case(x, other, image, row, matrix, variance, tile_rows, layer, Digital(one, False, one, one, False), key)


@both
def test_adc_codes_of_many_tiles_may_need_more_than_32_bits(kernels):
    """Tiles of one row, each at the end of a 24-bit converter."""
    rows = 2**31 // (2**23 - 1) + 1
    matrix = np.full((rows, 1), CODE_LIMIT, np.int16)
    case = example_case(rows=rows, columns=1, tile_rows=1, images=1, adc_bits=24, gain=1e9, fresh=False, matrix=matrix)
    case = dataclasses.replace(case, x=np.ones_like(case.x), other=None)
    total = rows * (2**23 - 1)
    assert total >= 2**31
    assert kernels.analog_layer(*case.arguments)[0].tolist() == [[[float(np.float32(total))]]]


@both
@pytest.mark.parametrize("rows", [1, 2, 64, 600])
@pytest.mark.parametrize("fresh", [False, True])
def test_sums_may_need_more_than_32_bits(kernels, rows, fresh):
    """No tile's sum of one or two rows needs them, but the sum of all tiles does."""
    matrix = np.full((600, 2), CODE_LIMIT, np.int16)
    variance = np.zeros_like(matrix) if fresh else None
    sizes = {"rows": 600, "columns": 2, "tile_rows": rows, "images": 1, "dac_bits": 16, "adc_bits": None}
    case = example_case(**sizes, fresh=fresh, matrix=matrix, variance=variance)
    case = dataclasses.replace(case, x=np.full_like(case.x, CODE_LIMIT), other=None)  # a step of 1
    total = np.float32(600 * CODE_LIMIT**2)
    assert kernels.analog_layer(*case.arguments)[0].tolist() == [[[total, total]]]


@quiet
@both
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("fresh", [False, True])
def test_an_input_that_is_not_finite_shows_in_the_top_of_its_image(kernels, bad, fresh):
    case = example_case(images=3, fresh=fresh)
    expected, _ = kernels.analog_layer(*case.arguments)
    case.x[1, 0, 0, 2] = bad
    found, top = kernels.analog_layer(*case.arguments)
    assert np.isfinite(top).tolist() == [True, False, True]
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
    if digital.normed:
        exact = exact * digital.scale + digital.offset
        sizes = sizes * np.abs(digital.scale) + np.abs(digital.offset)
    if other is not None:
        exact, sizes = exact + other, sizes + np.abs(other)
    if digital.rectify:
        exact = np.maximum(exact, 0)
    for kernels in (reference, fast):
        found = kernels.float_layer(x, other, window, row, matrix, digital)
        assert found.dtype == np.float32
        assert found.shape == exact.shape
        assert (np.abs(found - exact) <= (len(row) + 6) * 2.0**-24 * sizes).all()
        same(kernels.float_layer(np.asfortranarray(x), other, window, row, matrix, digital), found)
        assert np.array_equal(window.pixel, filled(pixel))
