"""The stages of a layer: each kernel equals plain Python, and the fast ones equal the reference bit for bit."""

from __future__ import annotations

import inspect
import math

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pcmref.arithmetic import operands, reference
from pcmref.arithmetic.draws import normals
from pcmref.arithmetic.fast import draws as fast_draws
from pcmref.arithmetic.operands import Dac, Digital, filled, filled_columns
from tests.arithmetic.operands import (
    CODE_LIMIT,
    KINDS,
    LANES,
    PIXELS,
    adc_of,
    addresses,
    both,
    codes,
    fast,
    finite,
    keys,
    lanes,
    laws,
    noise_of,
    quiet,
    same,
    seeds,
    segments_for,
    window_of,
)
from tests.helpers import naive

PAIR_LIMIT = 2 * CODE_LIMIT**2  # of one pair of products: just below 2^31


def test_twins_have_the_same_names_and_signatures():
    assert sorted(fast.__all__) == sorted(reference.__all__)
    for name in reference.__all__:
        ours, theirs = (inspect.signature(getattr(m, name)) for m in (fast, reference))
        assert list(ours.parameters) == list(theirs.parameters)


# operands


def test_what_is_filled_up():
    assert (operands.LANES, operands.PIXELS) == (LANES, PIXELS)
    assert [filled_columns(n) for n in (1, 15, 16, 17, 32, 33)] == [16, 16, 16, 32, 32, 48]
    for count in (1, 2, 15, 16, 17, 40):
        pixel = np.arange(count) * 3
        found = filled(pixel)
        assert len(found) % PIXELS == 0
        assert len(found) - count < PIXELS
        assert found[:count].tolist() == pixel.tolist()
        assert (found[count:] == pixel[-1]).all()


# load_codes

INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


@both
@pytest.mark.parametrize("kind", INTEGERS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("limit", [1, 127, 2047, CODE_LIMIT])
def test_codes_are_loaded_or_the_first_bad_one_is_found(kernels, kind, limit):
    most, least = min(np.iinfo(kind).max, limit), max(np.iinfo(kind).min, -limit)
    rng = np.random.default_rng(limit)
    vectors = rng.integers(least, most, (3, 5), dtype=kind, endpoint=True)
    vectors[0, :2] = least, most
    buffer = np.full((4, 6), 7, np.int16)
    assert kernels.load_codes(vectors, limit, buffer) == -1
    assert buffer[:3, :5].tolist() == vectors.tolist()
    assert (buffer[3:] == 7).all()
    assert (buffer[:, 5:] == 7).all()
    for bad in (limit + 1, -limit - 1, np.iinfo(kind).max, np.iinfo(kind).min):
        if np.iinfo(kind).min <= bad <= np.iinfo(kind).max and abs(bad) > limit:
            wrong = vectors.copy()
            wrong[1, 3] = wrong[2, 4] = bad
            assert kernels.load_codes(wrong, limit, buffer.copy()) == 8
            assert kernels.load_codes(np.asfortranarray(wrong)[2:], limit, buffer.copy()) == 4


# drive


@st.composite
def driven(draw):
    """Arguments of `drive`."""
    rng = np.random.default_rng(draw(seeds))
    n, height, width, channels = draw(st.tuples(*[st.integers(1, 4)] * 4))
    bias, padding = draw(st.booleans()), draw(st.integers(0, 3))
    limit = 2 ** (draw(st.integers(2, 16)) - 1) - 1
    size = draw(st.sampled_from([1.0, 0.5, 40.0, 2.0**-100, 1e-40, 0.0, 1e30]))
    x = rng.standard_normal((n, height, width, channels)) * size
    x.reshape(-1)[::3] = np.rint(x.reshape(-1)[::3] * 2) / 2  # ties where a code is 1
    x.reshape(-1)[::7] = -0.0
    x = x.astype(np.float32)
    values = draw(st.lists(finite, max_size=4))
    x.reshape(-1)[: len(values)] = values[: x.size]
    top = draw(st.sampled_from([0.0, limit, 2.0 * limit, 1.0, 0.3, 1e-30, 2.0**-100, 1e30]))
    window = window_of(
        padding=padding,
        bias=bias,
        height=height + 2 * padding,
        width=width + 2 * padding,
        channels=-(-(channels + bias) // 2) * 2,
    )
    return x, window, Dac(np.float32(top), np.float32(limit))


def code_of(x, top, limit):
    """The code of one number at this full scale, and the step."""
    if top < np.float32(2.0**-100):
        return 0, np.float32(0)
    with np.errstate(over="ignore"):
        value = float(np.float32(x) * (np.float32(limit) / top))
    return round(max(-limit, min(limit, value))), top / np.float32(limit)


@laws
@given(driven())
def test_dac_codes_steps_and_tops(case):
    x, window, dac = case
    limit, padding = int(dac.limit), window.padding
    expected = reference.drive(*case)
    for ours, theirs in zip(fast.drive(*case), expected, strict=True):
        same(ours, theirs)
    found, step, top = expected
    assert (found.dtype, step.dtype, top.dtype) == (np.int16, np.float32, np.float32)
    assert found.shape == (len(x), window.height, window.width, window.channels)
    for i, image in enumerate(x):
        largest = max(abs(v) for v in image.flat)
        assert top[i] == largest
        full = dac.top if dac.top > 0 else max(largest, np.float32(1)) if window.bias else largest
        assert step[i] == code_of(0, full, limit)[1]
        wanted = np.zeros(found.shape[1:], int)
        for y, z, c in np.ndindex(image.shape):
            wanted[y + padding, z + padding, c] = code_of(image[y, z, c], full, limit)[0]
        if window.bias:
            wanted[..., x.shape[3]] = code_of(1, full, limit)[0]
        assert found[i].tolist() == wanted.tolist()


def flat(x, **changes):
    """Numbers as one image of one row, and its window."""
    x = np.asarray(x, np.float32).reshape(1, 1, -1, 1)
    return x, window_of(height=1, width=x.size, channels=2, **changes)


@both
def test_the_dac_rounds_ties_to_even_and_saturates(kernels):
    x, window = flat([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 1e9, -1e9, 0.49999997])
    found, step, top = kernels.drive(x, window, Dac(np.float32(127), np.float32(127)))
    assert found[0, 0, :, 0].tolist() == [0, 2, 2, 0, -2, 126, 127, 127, -127, 0]
    assert (step[0], top[0]) == (1, 1e9)


@quiet
@both
def test_numbers_that_are_too_large_for_float32_once_scaled_saturate(kernels):
    x, window = flat([3e38, -3e38, 1e-30])
    found, *_ = kernels.drive(x, window, Dac(np.float32(2.0**-100), np.float32(127)))
    assert found[0, 0, :, 0].tolist() == [127, -127, 127]


@quiet
@both
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("top", [0.0, 1.0])
def test_what_is_not_finite_shows_in_the_top_alone(kernels, bad, top):
    x = np.ones((3, 2, 2, 2), np.float32)
    x[1, 1, 0, 1] = bad
    window = window_of(height=2, width=2, channels=2)
    found, _, tops = kernels.drive(x, window, Dac(np.float32(top), np.float32(7)))
    assert np.isfinite(tops).tolist() == [True, False, True]
    assert found[[0, 2]].tolist() == np.full((2, 2, 2, 2), 7).tolist()


@both
def test_the_largest_of_zeros_has_no_sign(kernels):
    x = np.full((2, 3, 1, 2), -0.0, np.float32)
    for part in kernels.drive(x, window_of(height=3, width=1, channels=2), Dac(np.float32(0), np.float32(7)))[1:]:
        assert part.tobytes() == np.zeros(2, np.float32).tobytes()


@both
def test_inputs_of_the_dac_may_be_views(kernels):
    x = np.random.default_rng(1).standard_normal((3, 4, 6, 2)).astype(np.float32)
    window, dac = window_of(height=6, width=5, channels=2, padding=1), Dac(np.float32(0), np.float32(127))
    for ours, theirs in zip(
        kernels.drive(x[:, :, ::2], window, dac), kernels.drive(x[:, :, ::2].copy(), window, dac), strict=True
    ):
        same(ours, theirs)
    turned = np.ascontiguousarray(x.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
    window = window_of(height=4, width=6, channels=2)
    for ours, theirs in zip(kernels.drive(turned, window, dac), kernels.drive(x, window, dac), strict=True):
        same(ours, theirs)


# accumulate


def accumulated(x, pixel, pair, packed):
    """The definition, in Python integers."""
    flat = x.reshape(len(x), -1).tolist()
    return [
        [
            [
                sum(
                    image[2 * (p + q) + part] * int(packed[k, c, part])
                    for k, q in enumerate(pair.tolist())
                    for part in (0, 1)
                )
                for c in range(packed.shape[1])
            ]
            for p in pixel.tolist()
        ]
        for image in flat
    ]


@st.composite
def products(draw, pairs=40, pixels=40, images=(1, 3), limit=CODE_LIMIT, signed=True):
    """Arguments of `accumulate`: any pairs of any buffer, in any order, at any pixels."""
    rng = np.random.default_rng(draw(seeds))
    kind = draw(KINDS)
    count = draw(st.integers(1, pairs))
    pair = rng.permutation(count * 2)[:count]
    pixel = filled(rng.integers(0, 50, draw(st.integers(1, pixels))))
    size = 2 * int(pixel.max() + pair.max() + 1)
    x = codes(rng, (draw(st.integers(*images)), size), kind, limit)
    packed = codes(rng, (count, LANES * draw(st.integers(1, 5)), 2), kind)
    return x, pixel, pair, packed if signed else np.abs(packed)


@laws
@given(products(pairs=6, pixels=4, images=(1, 1)))
def test_the_reference_sums_like_python(product):
    _, _, pair, _ = product
    assert reference.accumulate(*product, np.array([0, len(pair)])).tolist() == accumulated(*product)


@laws
@given(products(), st.data())
def test_sums_are_the_same_bits(product, data):
    x, pixel, pair, packed = product
    bounds = segments_for(packed, max(int(np.abs(x).max()), 1))
    expected = reference.accumulate(x, pixel, pair, packed, bounds)
    assert expected.dtype == np.int64
    same(fast.accumulate(x, pixel, pair, packed, bounds), expected)
    more = data.draw(st.sets(st.integers(1, len(pair))))  # cutting more often changes nothing
    same(fast.accumulate(x, pixel, pair, packed, np.unique([*bounds, *more])), expected)
    same(fast.accumulate(x[:1], pixel, pair, packed, bounds), expected[:1])


@both
def test_one_segment_may_use_all_of_32_bits(kernels):
    """The largest sums that one segment may hold, of either sign; one more would not fit."""
    for sign in (1, -1):
        x = np.full((1, 2), CODE_LIMIT, np.int16)
        packed = np.full((1, LANES, 2), sign * CODE_LIMIT, np.int16)
        found = kernels.accumulate(x, np.zeros(PIXELS, np.int64), np.array([0]), packed, np.array([0, 1]))
        assert found.tolist() == [[[sign * PAIR_LIMIT] * LANES] * PIXELS]
    assert PAIR_LIMIT < 2**31 <= 2 * PAIR_LIMIT


@both
def test_segments_add_up_beyond_32_bits(kernels):
    x = np.full((1, 6), CODE_LIMIT, np.int16)
    packed = np.full((3, LANES, 2), CODE_LIMIT, np.int16)
    found = kernels.accumulate(x, np.zeros(PIXELS, np.int64), np.arange(3), packed, np.arange(4))
    assert found.tolist() == [[[3 * PAIR_LIMIT] * LANES] * PIXELS]


# accumulate_squares


@laws
@given(st.integers(2, 16), st.booleans(), st.data())
def test_sums_of_squares_equal_python_s(bits, more, data):
    limit = 2 ** (bits - 1) - 1
    product = data.draw(products(pairs=6, pixels=20, images=(1, 2), limit=limit, signed=False))
    x, pixel, pair, packed = product
    split = bits > 8 or more  # splitting squares that do not need it changes nothing
    bounds = segments_for(packed, min(limit * limit, 2**15 - 1))
    expected = accumulated((x.astype(object)) ** 2, pixel, pair, packed)
    for kernels in (reference, fast):
        found = kernels.accumulate_squares(x, pixel, pair, packed, bounds, split)
        assert found.tolist() == expected


@both
def test_the_largest_sums_of_squares(kernels):
    for limit, split in ((127, False), (181, False), (255, True), (CODE_LIMIT, True)):  # 181^2 < 2^15 <= 182^2
        x = np.array([[limit, -limit] * 2], np.int16)
        packed = np.full((2, LANES, 2), CODE_LIMIT, np.int16)
        found = kernels.accumulate_squares(x, np.zeros(PIXELS, np.int64), np.arange(2), packed, np.arange(3), split)
        assert found.tolist() == [[[4 * limit**2 * CODE_LIMIT] * LANES] * PIXELS]


# accumulate_float


@pytest.mark.parametrize("rows", [1, 2, 27, 144, 504])
@pytest.mark.parametrize("columns", [1, 16, 17, 33, 64])
@pytest.mark.parametrize("pixels", [1, 16, 100])
def test_float_sums_agree_to_rounding(rows, columns, pixels):
    if numba.config.DISABLE_JIT and rows * columns > 2000:
        pytest.skip("too slow in plain Python")
    rng = np.random.default_rng(3)
    matrix = np.zeros((rows, lanes(columns)), np.float32)
    matrix[:, :columns] = rng.standard_normal((rows, columns))
    row, pixel = rng.permutation(2 * rows)[:rows], filled(rng.integers(0, 50, pixels))
    x = rng.standard_normal((2, 2 * rows + 50)).astype(np.float32)
    expected, found = (m.accumulate_float(x, pixel, row, matrix) for m in (reference, fast))
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape == (2, len(pixel), lanes(columns))
    patches = x[:, pixel[:, None] + row].astype(np.float64)
    exact = patches @ matrix.astype(np.float64)
    # the textbook bound: rows roundings of terms no larger than the sum of all sizes
    bound = (rows + 1) * 2.0**-24 * (np.abs(patches) @ np.abs(matrix.astype(np.float64)))
    for sums in (expected, found):
        assert (np.abs(sums - exact) <= bound).all()


# add_read_noise


@laws
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 20)),
    keys,
    st.integers(0, 300) | st.just(2**32 - 1),
    st.lists(addresses, min_size=3, max_size=3),
    st.sampled_from([np.int32, np.int64]),
    st.sampled_from([0, 1, 3, 2**20, 2**31 - 1, 2**58]),
)
def test_read_noise_is_the_same_bits(seed, shape, key, tile, images, kind, top):
    rng = np.random.default_rng(seed)
    n, pixels, columns = shape
    size = 2**30 if kind == np.int32 else 2**45
    sums = rng.integers(-size, size, (n, pixels, lanes(columns))).astype(kind)
    variance = rng.integers(0, top, sums.shape, endpoint=True)
    if top < 2**31:
        variance = variance.astype(kind)
    image = np.array(images[:n], np.uint64)
    arguments = sums, variance, columns, noise_of(key), tile, image
    expected, found = reference.add_read_noise(*arguments), fast.add_read_noise(*arguments)
    same(found, expected)
    assert found.dtype == expected.dtype == np.int64
    assert expected.shape == shape
    for i, p, c in ((0, 0, 0), (n - 1, pixels - 1, columns - 1), (n // 2, pixels // 2, columns // 2)):
        noise = naive.read_noise(int(variance[i, p, c]), key, tile, images[i], p * columns + c)
        assert expected[i, p, c] == int(sums[i, p, c]) + noise


def test_read_noise_passes_every_branch_of_the_quantile_with_the_same_bits():
    n, pixels, columns = 4, 128, 64
    sums = np.zeros((n, pixels, columns), np.int64)
    variance = np.full_like(sums, 2**46)  # a grid of 2^-26 sigma
    arguments = sums, variance, columns, noise_of((5, 6)), 7, np.arange(n, dtype=np.uint64)
    found = fast.add_read_noise(*arguments)
    same(found, reference.add_read_noise(*arguments))
    z = found / 2.0**26
    assert np.abs(z).max() > 3.5
    assert np.abs(z).min() < 1e-3
    assert abs(z.mean()) < 5 / math.sqrt(z.size)
    assert abs((z**2).mean() - 1) < 5 * math.sqrt(2 / z.size)


@pytest.mark.parametrize("shape", [(31, 33), (32, 32), (25, 41), (1, 1025), (1025, 1), (3, 1024), (2049, 1), (700, 3)])
def test_read_noise_of_many_outputs_is_the_same_bits(shape):
    """Around the powers of two at which a kernel that works in portions would go on."""
    pixels, columns = shape
    rng = np.random.default_rng(5)
    sums = rng.integers(-(2**20), 2**20, (2, pixels, lanes(columns))).astype(np.int32)
    variance = rng.integers(0, 2**40, sums.shape)
    arguments = sums, variance, columns, noise_of((8, 9)), 1, np.array([3, 2**50], np.uint64)
    expected = reference.add_read_noise(*arguments)
    same(fast.add_read_noise(*arguments), expected)
    for output in (0, 1022, 1023, 1024, pixels * columns - 1):
        p, c = divmod(min(output, pixels * columns - 1), columns)
        noise = naive.read_noise(int(variance[1, p, c]), (8, 9), 1, 2**50, p * columns + c)
        assert expected[1, p, c] == int(sums[1, p, c]) + noise


@both
def test_no_images_have_no_noise(kernels):
    none = np.zeros((0, 3, LANES), np.int64)
    image = np.zeros(0, np.uint64)
    assert kernels.add_read_noise(none, none, 5, noise_of((1, 2)), 0, image).shape == (0, 3, 5)
    assert kernels.digitise_noisy(none, none, 5, noise_of((1, 2)), 0, image, adc_of(1.0, 8)).shape == (0, 3, 5)
    assert kernels.digitise(none, adc_of(1.0, 8)).shape == none.shape


def test_the_fast_kernel_s_quantile_of_any_word():
    """Extreme words come once in 2^32 draws, so the function inside the kernel meets them here."""
    near = np.arange(-50, 50)
    splits = [int(p * 2**32) + near for p in (0.075, 0.5, 0.925)]
    random = np.random.default_rng(6).integers(0, 2**32, 4000)
    words = np.concatenate([np.arange(100), 2**32 - 1 - np.arange(100), *splits, 2 ** np.arange(32), random])
    words = words.astype(np.uint32)
    for some in (words, words[:100], words[100:200], words[:1]):  # mixed, only tails, one
        z, tail, place = np.empty(len(some)), np.empty(len(some)), np.empty(len(some), np.int64)
        fast_draws.fill_normals(some, z, tail, place)
        assert z.tobytes() == normals(some).tobytes()


@laws
@given(keys, st.integers(0, 3000))
def test_words_of_weights_are_the_same_bits(key, weights):
    words = reference.weight_words(key, weights)
    same(fast.weight_words(key, weights), words)
    assert words.shape == (4, weights)
    z = reference.normals(words[:2])
    same(fast.normals(words[:2]), z)
    same(fast.normals(words[::2, ::3]), reference.normals(words[::2, ::3]))
    assert z.dtype == np.float64


# digitise


@laws
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 20)),
    st.integers(2, 24),
    st.sampled_from([0.0, 1e-9, 1e-3, 0.5, 1.0, 1 / 3, 1e3]),
    st.sampled_from([np.int32, np.int64]),
)
def test_digitise(seed, shape, bits, gain, kind):
    rng = np.random.default_rng(seed)
    sums = (rng.integers(-(2**31) + 1, 2**31, shape) >> rng.integers(0, 31, shape)).astype(kind)
    adc, limit = adc_of(gain, bits), 2 ** (bits - 1) - 1
    wanted = [[[naive.clip(round(v * gain), limit) for v in p] for p in i] for i in sums.tolist()]
    for kernels in (reference, fast):
        found = kernels.digitise(sums, adc)
        assert found.tolist() == wanted
        same(kernels.digitise(sums[:, :, ::2], adc), found[:, :, ::2])


@quiet
@both
def test_sums_that_are_too_large_for_float64_once_scaled_saturate(kernels):
    sums = np.array([2**45, -(2**45), 0])
    assert kernels.digitise(sums, adc_of(1e300, 8)).tolist() == [127, -127, 0]


# digitise_noisy


def noisy_case(seed, shape, kind, top, spread):
    """Sums and variances with filling columns; noise of about `spread` times the sums."""
    rng = np.random.default_rng(seed)
    n, pixels, columns = shape
    sums = rng.integers(-top, top, (n, pixels, lanes(columns)), endpoint=True).astype(kind)
    variance = (rng.random(sums.shape) * (spread * top / 8) ** 2).astype(kind)
    return sums, variance, rng.integers(0, 2**64, n, np.uint64)


@laws
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 70)),
    keys,
    st.integers(0, 300),
    st.integers(2, 24),
    st.sampled_from([0.0, 1e-300, 1e-3, 0.5, 1.0, 1 / 3, 3.0, 1e30, 1e300]),
    st.sampled_from([(np.int32, 2**20, 0.1), (np.int64, 2**45, 1e-4), (np.int64, 5, 3.0), (np.int32, 0, 0.0)]),
)
def test_noisy_codes_are_the_same_integers(seed, shape, key, tile, bits, gain, case):
    kind, top, spread = case
    sums, variance, image = noisy_case(seed, shape, kind, top, spread)
    arguments = sums, variance, shape[2], noise_of(key), tile, image
    same(fast.digitise_noisy(*arguments, adc_of(gain, bits)), reference.digitise_noisy(*arguments, adc_of(gain, bits)))
    adc = adc_of(2 ** (bits - 1) / max(top, 1), bits)  # sums from one end of the converter to the other
    expected = reference.digitise_noisy(*arguments, adc)
    same(fast.digitise_noisy(*arguments, adc), expected)
    same(expected, reference.digitise(reference.add_read_noise(*arguments), adc))


@pytest.mark.parametrize("columns", [10, 16, 28, 56, 64])
def test_a_million_noisy_codes(columns):
    """Where few outputs are in doubt: 8 bits, noise of a few codes."""
    pixels = 2**17 // columns
    sums, variance, image = noisy_case(columns, (8, pixels, columns), np.int32, 2**20, 0.02)
    arguments = sums, variance, columns, noise_of((3, 4)), 2, image, adc_of(127 / 2**20, 8)
    expected = reference.digitise_noisy(*arguments)
    same(fast.digitise_noisy(*arguments), expected)
    assert (np.abs(expected) == 127).any()


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_sums_at_the_bound_between_two_codes(bits):
    """Single precision cannot tell on which side they are."""
    rng = np.random.default_rng(bits)
    limit = 2 ** (bits - 1) - 1
    for scale in (2.0**-22, 1e-6, 1e-5 / 3):
        code = rng.integers(-limit - 2, limit + 2, (1, 4096, LANES)) + 0.5
        sums = np.rint(code / scale).astype(np.int64) + rng.integers(-1, 2, code.shape)
        for variance in (np.zeros_like(sums), rng.integers(0, 2, sums.shape)):
            arguments = sums, variance, LANES, noise_of((1, 2)), 0, np.zeros(1, np.uint64), adc_of(scale, bits)
            same(fast.digitise_noisy(*arguments), reference.digitise_noisy(*arguments))


# finish


@laws
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 20)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([np.int32, np.int64, np.float32]),
)
@example(0, (1, 1, 1), False, False, True, np.float32)
def test_finish(seed, shape, normed, added, rectify, kind):
    rng = np.random.default_rng(seed)
    n, pixels, columns = shape
    sums = rng.integers(-(2**30), 2**30, (n, pixels, lanes(columns))) >> rng.integers(0, 31)
    sums = sums.astype(kind)
    sums.reshape(-1)[::3] = -0.0 if kind == np.float32 else 0

    def numbers(*shape):
        values = rng.standard_normal(shape).astype(np.float32)
        values.reshape(-1)[::5] = -0.0
        return values

    step = np.abs(numbers(n))
    digital = Digital(
        unit=numbers(columns), normed=normed, scale=numbers(columns), offset=numbers(columns), rectify=rectify
    )
    other = numbers(n, pixels, columns) if added else None
    expected = reference.finish(sums, step, digital, other)
    same(fast.finish(sums, step, digital, other), expected)
    if added:  # a residual may be a view
        turned = np.asfortranarray(other)
        same(fast.finish(sums, step, digital, turned), expected)
        same(reference.finish(sums, step, digital, turned), expected)
    for i, p, c in np.ndindex(shape):
        y = np.float32(sums[i, p, c]) * (step[i] * digital.unit[c])
        if normed:
            y = y * digital.scale[c]
            y = y + digital.offset[c]
        if added:
            y = y + other[i, p, c]
        if rectify:
            y = y if y > 0 else np.float32(0)
        assert y.tobytes() == expected[i, p, c].tobytes()


# moments


@laws
@given(seeds, st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(1, 20)), st.integers(-20, 20))
def test_moments_are_the_same_bits(seed, shape, spread):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(shape) * 2.0 ** rng.integers(-abs(spread), abs(spread) + 1, shape)).astype(np.float32)
    expected = reference.moments(x)
    same(fast.moments(x), expected)
    same(fast.moments(np.asfortranarray(x)), expected)
    assert expected.shape == (shape[0], 2, shape[2])
    for i, c in np.ndindex(shape[0], shape[2]):
        total = squares = 0.0
        for value in x[i, :, c].tolist():
            total += value
            squares += value * value
        assert expected[i, :, c].tolist() == [total, squares]


@both
def test_moments_start_from_the_first_number(kernels):
    """A sum of -0 alone is -0."""
    assert np.signbit(kernels.moments(np.full((1, 3, 2), -0.0, np.float32))).tolist() == [[[True] * 2, [False] * 2]]


@both
def test_moments_are_summed_one_pixel_after_the_other(kernels):
    x = np.array([2.0**60, 1.0, 2.0**10, -(2.0**60)] * 30 + [1.0] * 100, np.float32).reshape(1, -1, 1)
    total = 0.0
    for value in x.reshape(-1).tolist():
        total += value
    assert kernels.moments(x)[0, 0, 0] == total
    assert total not in (math.fsum(x.reshape(-1).tolist()), x.astype(np.float64).reshape(-1).sum())
