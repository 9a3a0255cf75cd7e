"""The stages of a layer: each kernel equals plain Python, and the fast ones equal the reference bit for bit."""

from __future__ import annotations

import inspect
import math
from fractions import Fraction

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pcmref.arithmetic import operands, reference
from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.arithmetic.draws import normals
from pcmref.arithmetic.fast import draws as fast_draws
from pcmref.arithmetic.operands import Register, filled, filled_columns
from tests.arithmetic.operands import (
    CODE_LIMIT,
    KINDS,
    LANES,
    PIXELS,
    ROUNDING,
    adc_of,
    addresses,
    both,
    codes,
    dac_of,
    digital_of,
    fast,
    filled_table,
    finite,
    keys,
    lanes,
    laws,
    lows,
    noise_of,
    panelled,
    quiet,
    same,
    seeds,
    segments_for,
    table_of,
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
@pytest.mark.parametrize(
    ("coding", "low", "high", "offset"),
    [
        (dac_of(2), -1, 1, 0),
        (dac_of(8), -127, 127, 0),
        (dac_of(12), -2047, 2047, 0),
        (dac_of(16), -CODE_LIMIT, CODE_LIMIT, 0),
        (dac_of(8, codes="signed"), -128, 127, 0),
        (dac_of(8, codes="unsigned"), 0, 255, 0),
        (dac_of(15, codes="unsigned"), 0, CODE_LIMIT, 0),
        (dac_of(8, codes="offset"), -128, 127, 128),
        (dac_of(15, codes="offset"), -16384, 16383, 16384),
    ],
    ids=["2", "8", "12", "16", "signed 8", "unsigned 8", "unsigned 15", "offset 8", "offset 15"],
)
def test_codes_are_loaded_or_the_first_bad_one_is_found(kernels, kind, coding, low, high, offset):
    most, least = min(np.iinfo(kind).max, high), max(np.iinfo(kind).min, low)
    rng = np.random.default_rng(high)
    vectors = rng.integers(least, most, (3, 5), dtype=kind, endpoint=True)
    vectors[0, :2] = least, most
    buffer = np.full((4, 6), 7, np.int16)
    assert kernels.load_codes(vectors, coding, buffer) == -1
    assert buffer[:3, :5].tolist() == [[code + offset for code in vector] for vector in vectors.tolist()]
    assert (buffer[3:] == 7).all()
    assert (buffer[:, 5:] == 7).all()
    for bad in (high + 1, low - 1, np.iinfo(kind).max, np.iinfo(kind).min):
        if np.iinfo(kind).min <= bad <= np.iinfo(kind).max and not low <= bad <= high:
            wrong = vectors.copy()
            wrong[1, 3] = wrong[2, 4] = bad
            assert kernels.load_codes(wrong, coding, buffer.copy()) == 8
            assert kernels.load_codes(np.asfortranarray(wrong)[2:], coding, buffer.copy()) == 4


# drive


@st.composite
def driven(draw):
    """Arguments of `drive`."""
    rng = np.random.default_rng(draw(seeds))
    n, height, width, channels = draw(st.tuples(*[st.integers(1, 4)] * 4))
    bias, padding = draw(st.booleans()), draw(st.integers(0, 3))
    coding = draw(st.sampled_from(["symmetric", "symmetric", "signed", "unsigned", "offset"]))
    dac = dac_of(draw(st.integers(2, 16 if coding == "symmetric" else 15)), codes=coding)
    limit = int(dac.high)
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
    return x, window, dac._replace(top=np.float32(top))


@quiet
@laws
@given(driven())
def test_dac_codes_steps_and_tops(case):
    x, window, dac = case
    limits, padding = (int(dac.low), int(dac.high)), window.top
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
        assert step[i] == naive.dac(0, full, *limits)[1]
        wanted = np.zeros(found.shape[1:], int)
        for y, z, c in np.ndindex(image.shape):
            wanted[y + padding, z + padding, c] = naive.dac(image[y, z, c], full, *limits)[0]
        if window.bias:
            wanted[..., x.shape[3]] = naive.dac(1, full, *limits)[0]
        assert found[i].tolist() == (wanted + dac.offset).tolist()


def flat(x, **changes):
    """Numbers as one image of one row, and its window."""
    x = np.asarray(x, np.float32).reshape(1, 1, -1, 1)
    return x, window_of(height=1, width=x.size, channels=2, **changes)


@both
def test_the_dac_rounds_ties_to_even_and_saturates(kernels):
    x, window = flat([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 1e9, -1e9, 0.49999997])
    found, step, top = kernels.drive(x, window, dac_of(8, 127))
    assert found[0, 0, :, 0].tolist() == [0, 2, 2, 0, -2, 126, 127, 127, -127, 0]
    assert (step[0], top[0]) == (1, 1e9)


@quiet
@both
def test_numbers_that_are_too_large_for_float32_once_scaled_saturate(kernels):
    x, window = flat([3e38, -3e38, 1e-30])
    found, *_ = kernels.drive(x, window, dac_of(8, 2.0**-100))
    assert found[0, 0, :, 0].tolist() == [127, -127, 127]


@quiet
@both
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("top", [0.0, 1.0])
def test_what_is_not_finite_shows_in_the_top_alone(kernels, bad, top):
    x = np.ones((3, 2, 2, 2), np.float32)
    x[1, 1, 0, 1] = bad
    window = window_of(height=2, width=2, channels=2)
    found, _, tops = kernels.drive(x, window, dac_of(4, top))
    assert np.isfinite(tops).tolist() == [True, False, True]
    assert found[[0, 2]].tolist() == np.full((2, 2, 2, 2), 7).tolist()


@both
def test_the_largest_of_zeros_has_no_sign(kernels):
    x = np.full((2, 3, 1, 2), -0.0, np.float32)
    for part in kernels.drive(x, window_of(height=3, width=1, channels=2), dac_of(4))[1:]:
        assert part.tobytes() == np.zeros(2, np.float32).tobytes()


@both
def test_inputs_of_the_dac_may_be_views(kernels):
    x = np.random.default_rng(1).standard_normal((3, 4, 6, 2)).astype(np.float32)
    window, dac = window_of(height=6, width=5, channels=2, padding=1), dac_of(8)
    for ours, theirs in zip(
        kernels.drive(x[:, :, ::2], window, dac), kernels.drive(x[:, :, ::2].copy(), window, dac), strict=True
    ):
        same(ours, theirs)
    turned = np.ascontiguousarray(x.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
    window = window_of(height=4, width=6, channels=2)
    for ours, theirs in zip(kernels.drive(turned, window, dac), kernels.drive(x, window, dac), strict=True):
        same(ours, theirs)


@both
def test_an_offset_drives_padding_and_zeros_too(kernels):
    x, window = flat([-1.0, 0.0, 1.0], padding=1)
    window = window._replace(height=3, width=5)
    found, *_ = kernels.drive(x, window, dac_of(4, 1.0, codes="offset"))
    assert found[0, 1, :, 0].tolist() == [8, 1, 8, 15, 8]
    found[0, 1, 1:4, 0] = 8
    assert (found == 8).all()
    with_bias, *_ = kernels.drive(x, window._replace(bias=True), dac_of(4, 1.0, codes="offset"))
    assert (with_bias[..., 1] == 15).all()


@both
def test_unsigned_codes_know_no_negative_input(kernels):
    x, window = flat([-1.0, -0.6, 0.0, 0.6, 1.0])
    found, step, _ = kernels.drive(x, window, dac_of(4, codes="unsigned"))
    assert found[0, 0, :, 0].tolist() == [0, 0, 0, 9, 15]
    assert step[0] == np.float32(1) / np.float32(15)


# phases


@laws
@given(
    seeds,
    st.integers(2, 16),
    st.sampled_from(["symmetric", "signed", "unsigned", "offset"]),
    st.sampled_from(["parallel", "two-phase", "bit-serial"]),
)
def test_the_phases_of_a_drive(seed, bits, coding, how):
    rng = np.random.default_rng(seed)
    dac = dac_of(min(bits, 16 if coding == "symmetric" else 15), codes=coding, drive=how)
    low, high = int(dac.low) + dac.offset, int(dac.high) + dac.offset
    driven = rng.integers(low, high, (2, 3, 4, 2), endpoint=True).astype(np.int16)
    driven.reshape(-1)[:2] = low, high
    expected = reference.phases(driven, dac)
    same(fast.phases(driven, dac), expected)
    assert expected.dtype == np.int16
    assert expected.shape == (dac.phases, *driven.shape)
    if how == "parallel":
        assert np.array_equal(expected[0], driven)
    elif how == "two-phase":
        assert expected.min() >= 0
        assert not (expected[0] & expected[1]).any()  # one of them drives nothing
        assert np.array_equal(expected[0] - expected[1], driven)
    else:
        assert set(expected.ravel().tolist()) <= {0, 1}
        digits = [f"{int(v) % 2**dac.phases:0{dac.phases}b}"[::-1] for v in driven.ravel()]
        assert expected.reshape(dac.phases, -1).T.tolist() == [[int(d) for d in text] for text in digits]


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
    found = reference.accumulate(*product[:3], panelled(product[3]), np.array([0, len(pair)]))
    assert found.tolist() == accumulated(*product)


@laws
@given(products(), st.data())
def test_sums_are_the_same_bits(product, data):
    x, pixel, pair, packed = product
    bounds = segments_for(packed, max(int(np.abs(x).max()), 1))
    panels = panelled(packed)
    expected = reference.accumulate(x, pixel, pair, panels, bounds)
    assert expected.dtype == np.int64
    same(fast.accumulate(x, pixel, pair, panels, bounds), expected)
    more = data.draw(st.sets(st.integers(1, len(pair))))  # cutting more often changes nothing
    same(fast.accumulate(x, pixel, pair, panels, np.unique([*bounds, *more])), expected)
    same(fast.accumulate(x[:1], pixel, pair, panels, bounds), expected[:1])


@both
def test_one_segment_may_use_all_of_32_bits(kernels):
    """The largest sums that one segment may hold, of either sign; one more would not fit."""
    for sign in (1, -1):
        x = np.full((1, 2), CODE_LIMIT, np.int16)
        packed = np.full((1, 1, LANES, 2), sign * CODE_LIMIT, np.int16)
        found = kernels.accumulate(x, np.zeros(PIXELS, np.int64), np.array([0]), packed, np.array([0, 1]))
        assert found.tolist() == [[[sign * PAIR_LIMIT] * LANES] * PIXELS]
    assert PAIR_LIMIT < 2**31 <= 2 * PAIR_LIMIT


@both
def test_segments_add_up_beyond_32_bits(kernels):
    x = np.full((1, 6), CODE_LIMIT, np.int16)
    packed = np.full((1, 3, LANES, 2), CODE_LIMIT, np.int16)
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
        found = kernels.accumulate_squares(x, pixel, pair, panelled(packed), bounds, split)
        assert found.tolist() == expected


@both
def test_the_largest_sums_of_squares(kernels):
    for limit, split in ((127, False), (181, False), (255, True), (CODE_LIMIT, True)):  # 181^2 < 2^15 <= 182^2
        x = np.array([[limit, -limit] * 2], np.int16)
        packed = np.full((1, 2, LANES, 2), CODE_LIMIT, np.int16)
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
    expected, found = (m.accumulate_float(x, pixel, row, panelled(matrix)) for m in (reference, fast))
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
    assert kernels.digitise_noisy(none, none, 5, noise_of((1, 2)), 0, image, adc_of(1.0, 8, 5)).shape == (0, 3, 5)
    assert kernels.digitise(none, 5, adc_of(1.0, 8, 5), 0).shape == (0, 3, 5)
    assert kernels.compare(none, 5, table_of(np.random.default_rng(1), 9, 1, 5, 3), 0).shape == (0, 3, 5)
    assert kernels.hold(none, Register(8, True, False)).shape == none.shape


def test_the_fast_kernel_s_quantile_of_any_word():
    """Extreme words come once in 2^32 draws, so the function inside the kernel meets them here."""
    near = np.arange(-50, 50)
    splits = [int(p * 2**32) + near for p in (0.075, 0.5, 0.925)]
    random = np.random.default_rng(6).integers(0, 2**32, 4000)
    words = np.concatenate([np.arange(100), 2**32 - 1 - np.arange(100), *splits, 2 ** np.arange(32), random])
    words = words.astype(np.uint32)
    for some in (words, words[:100], words[100:200], words[:1]):  # mixed, only tails, one
        z, tail, place = np.empty(len(some)), np.empty((2, len(some))), np.empty(len(some), np.int64)
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


# hold


@laws
@given(seeds, st.integers(2, 60), st.booleans(), st.sampled_from([np.int32, np.int64]))
def test_a_register_holds_what_fits_its_two_s_complement(seed, bits, saturates, kind):
    rng, half = np.random.default_rng(seed), 2 ** (bits - 1)
    size = np.iinfo(kind).bits - 1
    sums = (rng.integers(-(2 ** (size - 1)), 2 ** (size - 1), (2, 3, 5)) >> rng.integers(0, size, (2, 3, 5))).astype(
        kind
    )
    ends = [v for v in (half - 1, half, half + 1, -half, -half - 1, 3 * half) if abs(v) < 2**size]
    sums.reshape(-1)[: len(ends)] = ends
    wanted = [
        [[max(-half, min(half - 1, v)) if saturates else (v + half) % (2 * half) - half for v in p] for p in image]
        for image in sums.tolist()
    ]
    before = sums.copy()
    for kernels in (reference, fast):
        found = kernels.hold(sums, Register(bits, saturates, False))
        assert found.tolist() == wanted
        assert found.dtype == np.int64
        assert np.array_equal(sums, before)
        same(kernels.hold(sums[..., ::2], Register(bits, saturates, False)), found[..., ::2])


# digitise


@st.composite
def converters(draw, columns):
    """ADCs of three conversions: gain and offset of each column."""
    rng = np.random.default_rng(draw(seeds))
    bits, shape = draw(st.integers(2, 24)), (3, columns)
    gain = draw(st.sampled_from([0.5, 1 / 3, 1e-3, 1e3, 1e-9, 2.0**-100])) * rng.choice([0.5, 1.0, 1.5], shape)
    offset = rng.integers(-draw(st.sampled_from([300, 10**5, 0, 2**40])), 1, shape) * rng.choice([-1, 1], shape)
    return adc_of(gain, bits, columns, offset=offset, low=draw(lows(bits)), rounding=draw(ROUNDING))


@laws
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.sampled_from([1, 3, 16, 20])),
    st.sampled_from([np.int32, np.int64]),
    st.integers(0, 2),
    st.data(),
)
def test_digitise(seed, shape, kind, number, data):
    rng, columns = np.random.default_rng(seed), shape[2]
    sums = (rng.integers(-(2**31) + 1, 2**31, shape) >> rng.integers(0, 31, shape)).astype(kind)
    adc = data.draw(converters(columns))
    rule, limits = ROUNDINGS[adc.rounding], (int(adc.low), int(adc.high))

    def code(total, column):
        value = (float(total) + adc.offset[number, column]) * adc.gain[number, column]
        return naive.clip(naive.rounded(Fraction(value), rule), *limits)

    wanted = [[[code(v, c) for c, v in enumerate(p)] for p in image] for image in sums.tolist()]
    for kernels in (reference, fast):
        found = kernels.digitise(sums, columns, adc, number)
        assert found.tolist() == wanted
        more = np.concatenate([sums, sums], axis=2)  # columns that fill up are not looked at
        same(kernels.digitise(more, columns, adc, number), found)
        same(kernels.digitise(sums[0, 0], columns, adc, number), found[0, 0])


@both
def test_every_conversion_and_column_has_its_gain_offset_and_thresholds(kernels):
    adc = adc_of([[1, 2], [3, 4]], 16, 2, offset=[[0, 10], [20, 30]])
    table = filled_table([[[0, 1, 2], [0, 2, 3]], [[5, 6, 7], [1, 1, 9]]], 0)
    for number, codes_of, reached in ((0, [1, 22], [2, 1]), (1, [63, 124], [0, 2])):
        assert kernels.digitise(np.ones((1, 2), np.int64), 2, adc, number).tolist() == [codes_of]
        assert kernels.compare(np.ones((1, 2), np.int64), 2, table, number).tolist() == [reached]


@quiet
@both
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_sums_that_are_too_large_for_float64_once_scaled_saturate(kernels, rounding):
    sums = np.array([[2**45, -(2**45), 0]])
    adc = adc_of(1e300, 8, 3, rounding=rounding)
    assert kernels.digitise(sums, 3, adc, 0).tolist() == [[127, -127, 0]]


# compare


@laws
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.sampled_from([1, 3, 17])),
    st.integers(1, 70),
    st.sampled_from([0, -1]),
    st.sampled_from([(np.int32, 2**20), (np.int64, 2**51), (np.int64, 3)]),
    st.integers(0, 2),
)
def test_a_table_counts_the_thresholds_that_a_sum_reaches(seed, shape, count, low, case, number):
    rng, columns, (kind, size) = np.random.default_rng(seed), shape[2], case
    table = table_of(rng, size, 3, columns, count, low)
    sums = rng.integers(-size, size, shape, endpoint=True).astype(kind)
    near = table.thresholds[number, 0, rng.integers(count)] + rng.integers(-1, 2, shape)  # at a threshold, or beside it
    sums = np.where(rng.random(shape) < 0.5, sums, near).astype(kind)
    wanted = [
        [[low + sum(int(t) <= v for t in table.thresholds[number, c]) for c, v in enumerate(p)] for p in image]
        for image in sums.tolist()
    ]
    for kernels in (reference, fast):
        found = kernels.compare(sums, columns, table, number)
        assert found.tolist() == wanted
        same(kernels.compare(np.concatenate([sums, sums], axis=2), columns, table, number), found)


@both
def test_a_table_of_equal_thresholds_jumps(kernels):
    for count in (1, 2, 3, 4, 7, 8):
        table = filled_table([[[5] * count]], -1)
        assert kernels.compare(np.array([[4], [5], [6]]), 1, table, 0).tolist() == [[-1], [count - 1], [count - 1]]
        assert kernels.compare(np.array([[-(2**62)], [2**62]]), 1, table, 0).tolist() == [[-1], [count - 1]]


# digitise_noisy


def noisy_case(seed, shape, kind, top, spread):
    """Sums and variances with filling columns; noise of about `spread` times the sums."""
    rng = np.random.default_rng(seed)
    n, pixels, columns = shape
    sums = rng.integers(-top, top, (n, pixels, lanes(columns)), endpoint=True).astype(kind)
    variance = (rng.random(sums.shape) * (spread * top / 8) ** 2).astype(kind)
    return sums, variance, rng.integers(0, 2**64, n, np.uint64)


@quiet
@laws
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 70)),
    keys,
    st.integers(0, 300),
    st.sampled_from([1e-9, 1e-3, 0.5, 1.0, 1 / 3, 3.0, 1e30]),
    st.sampled_from([(np.int32, 2**20, 0.1), (np.int64, 2**45, 1e-4), (np.int64, 5, 3.0), (np.int32, 0, 0.0)]),
    st.data(),
)
def test_noisy_codes_are_the_same_integers(seed, shape, key, number, gain, case, data):
    kind, top, spread = case
    rng = np.random.default_rng(seed)
    sums, variance, image = noisy_case(seed, shape, kind, top, spread)
    bits, columns = data.draw(st.integers(2, 24)), shape[2]
    settings_of = {"low": data.draw(lows(bits)), "rounding": data.draw(ROUNDING)}
    conversion = data.draw(st.integers(0, 2))
    for each in (gain, 2 ** (bits - 1) / max(top, 1)):  # sums from one end of the converter to the other
        gains = each * rng.choice([0.5, 1.0, 1.3], (3, columns))
        offset = rng.integers(-1 - top // 4, 1 + top // 4, (3, columns)) * data.draw(st.sampled_from([0, 1, 1, 2**20]))
        adc = adc_of(gains, bits, columns, offset=offset, **settings_of)
        # the number of the conversion is that of the draws, too
        arguments = sums, variance, columns, noise_of(key), conversion, image
        expected = reference.digitise_noisy(*arguments, adc)
        same(fast.digitise_noisy(*arguments, adc), expected)
        same(expected, reference.digitise(reference.add_read_noise(*arguments), columns, adc, conversion))
    alone = adc_of(gain, bits, columns, **settings_of)
    alone = alone._replace(gain=np.repeat(alone.gain, 301, axis=0), offset=np.repeat(alone.offset, 301, axis=0))
    arguments = sums, variance, columns, noise_of(key), number, image, alone
    same(fast.digitise_noisy(*arguments), reference.digitise_noisy(*arguments))


@pytest.mark.parametrize("columns", [10, 16, 28, 56, 64])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_many_noisy_codes(columns, rounding):
    """Where few outputs are in doubt: 8 bits, noise of a few codes; a million of those that are rounded as usual."""
    images = 8 if rounding == "half-even" else 1
    pixels = 2**17 // columns
    sums, variance, image = noisy_case(columns, (images, pixels, columns), np.int32, 2**20, 0.02)
    usual = adc_of(127 / 2**20, 8, columns, rounding=rounding)
    shifted = adc_of(127 / 2**20, 8, columns, rounding=rounding, low=-128, offset=54321)
    for adc in (usual, shifted)[: 1 if images > 1 else 2]:
        arguments = sums, variance, columns, noise_of((3, 4)), 0, image, adc
        expected = reference.digitise_noisy(*arguments)
        same(fast.digitise_noisy(*arguments), expected)
        assert (np.abs(expected) >= 127).any()
        assert len(set(expected.ravel().tolist())) > 250


@pytest.mark.parametrize("bits", [4, 8, 12])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_sums_at_the_bound_between_two_codes(bits, rounding):
    """Single precision cannot tell on which side they are."""
    rng = np.random.default_rng(bits)
    limit = 2 ** (bits - 1) - 1
    place = 0.0 if rounding in ("floor", "toward-zero") else 0.5
    for scale, offset in ((2.0**-22, 0), (1e-6, 0), (1e-5 / 3, 123_456_789)):
        code = rng.integers(-limit - 2, limit + 2, (1, 2048, LANES)) + place
        sums = np.rint(code / scale).astype(np.int64) + rng.integers(-1, 2, code.shape) - offset
        adc = adc_of(scale, bits, LANES, rounding=rounding, offset=offset)
        low = adc_of(scale, bits, LANES, rounding=rounding, offset=offset, low=0)
        for variance in (np.zeros_like(sums), rng.integers(0, 2, sums.shape)):
            for each in (adc, low):
                arguments = sums, variance, LANES, noise_of((1, 2)), 0, np.zeros(1, np.uint64), each
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
    norm = {"scale": numbers(columns), "offset": numbers(columns)} if normed else {}
    digital = digital_of(numbers(columns), **norm, rectify=rectify)
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
