"""Kernels: every fast one equals its NumPy twin bit for bit, and the twins equal plain Python."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref import kernels_numpy as twin
from pcmref.chip import CODE_LIMIT
from pcmref.crossbar import _pack
from pcmref.draws import normals
from pcmref.im2col import geometry
from pcmref.layers import Conv, Linear
from tests import naive

numba = pytest.importorskip("numba")
blocks = pytest.importorskip("pcmref.blocks")
doubt = pytest.importorskip("pcmref.doubt")
fast = pytest.importorskip("pcmref.kernels")
fast_draws = pytest.importorskip("pcmref.fast_draws")
fused = pytest.importorskip("pcmref.fused")

laws = settings(max_examples=settings.default.max_examples // 2)
both = pytest.mark.parametrize("kernels", [twin, fast], ids=["twin", "fast"])

LANES = 16
PAIR_LIMIT = 2 * CODE_LIMIT**2  # of one pair of products: just below 2^31
seeds = st.integers(0, 2**32 - 1)
word = st.integers(0, 2**32 - 1)


def same(a, b):
    """Equal values bit for bit; integers may differ in width."""
    assert a.shape == b.shape
    if a.dtype.kind == b.dtype.kind == "i":
        assert np.array_equal(a, b)
    else:
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


def codes(rng, shape, kind="any"):
    """Codes of 16 bits: anything, all of the largest size, or few and small."""
    if kind == "largest":
        return rng.choice(np.array([-CODE_LIMIT, CODE_LIMIT], np.int16), shape)
    if kind == "one sign":
        return np.full(shape, CODE_LIMIT, np.int16)
    if kind == "sparse":
        return (rng.integers(-3, 4, shape) * (rng.random(shape) < 0.2)).astype(np.int16)
    return rng.integers(-CODE_LIMIT, CODE_LIMIT + 1, shape).astype(np.int16)


def test_twins_have_the_same_names_and_signatures():
    assert fast.__all__ == twin.__all__
    for name in twin.__all__:
        ours, theirs = (inspect.signature(getattr(m, name)) for m in (fast, twin))
        assert list(ours.parameters) == list(theirs.parameters)


# accumulate


def segments_for(packed, inputs):
    """Bounds of groups of pairs, cut as late as 32-bit sums of these inputs allow."""
    bounds, size = [0], np.zeros(packed.shape[1], np.int64)
    for pair, line in enumerate(np.abs(packed.astype(np.int64)).sum(axis=2) * inputs):
        if (size + line).max() >= 2**31:
            bounds.append(pair)
            size = np.zeros_like(size)
        size = size + line
    return np.array([*bounds, len(packed)])


def accumulated(x, pixel, pair, packed):
    """The definition, in Python integers."""
    flat = x.reshape(len(x), -1).tolist()
    return [
        [
            [
                sum(
                    image[p + 2 * q + part] * int(packed[k, c, part])
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
def products(draw, pairs=40, pixels=40, images=(1, 3)):
    """Arguments of `accumulate`: any pairs of any buffer, in any order, at any even pixels."""
    rng = np.random.default_rng(draw(seeds))
    kind = draw(st.sampled_from(["any", "largest", "one sign", "sparse"]))
    count = draw(st.integers(1, pairs))
    pair = rng.permutation(count * 2)[:count]
    pixel = 2 * rng.integers(0, 50, draw(st.integers(1, pixels)))
    size = int(pixel.max() + 2 * pair.max() + 2)
    x = codes(rng, (draw(st.integers(*images)), size), kind)
    packed = codes(rng, (count, LANES * draw(st.integers(1, 5)), 2), kind)
    return x, pixel, pair, packed


@laws
@given(products(pairs=6, pixels=4, images=(1, 1)))
def test_the_twin_sums_like_python(product):
    x, pixel, pair, packed = product
    assert twin.accumulate(*product, np.array([0, len(pair)])).tolist() == accumulated(x, pixel, pair, packed)


@laws
@given(products(), st.data())
def test_sums_are_the_same_bits(product, data):
    x, pixel, pair, packed = product
    bounds = segments_for(packed, max(int(np.abs(x).max()), 1))
    expected = twin.accumulate(x, pixel, pair, packed, bounds)
    same(fast.accumulate(x, pixel, pair, packed, bounds), expected)
    more = data.draw(st.sets(st.integers(1, len(pair))))  # cutting more often changes nothing
    same(fast.accumulate(x, pixel, pair, packed, np.unique([*bounds, *more])), expected)
    same(fast.accumulate(x[:1], pixel, pair, packed, bounds), expected[:1])


RESNETS = [
    (channels, size, out, kernel, stride)
    for widths in ((16, 28, 56), (16, 32, 64))
    for channels, size, out, kernel, stride in (
        (3, 32, widths[0], 3, 1),
        (widths[0], 32, widths[0], 3, 1),
        (widths[0], 32, widths[1], 3, 2),
        (widths[0], 32, widths[1], 1, 2),
        (widths[1], 16, widths[1], 3, 1),
        (widths[1], 16, widths[2], 3, 2),
        (widths[1], 16, widths[2], 1, 2),
        (widths[2], 8, widths[2], 3, 1),
    )
]
ODD = [(1, 1, 1, 1, 1), (1, 5, 17, 3, 2), (5, 7, 1, 3, 1), (7, 3, 33, 3, 1), (2, 1, 16, 1, 1), (1, 9, 31, 5, 3)]


def convolution(rng, channels, size, out, kernel, stride, bias):
    weight = rng.standard_normal((out, channels, kernel, kernel)).astype(np.float32)
    offset = rng.standard_normal(out).astype(np.float32) if bias else None
    layer = Conv(name="c", inputs=("input",), weight=weight, bias=offset, stride=stride, padding=kernel // 2)
    shape = (size, size, channels)
    return layer, geometry(layer, shape, layer.shape_after(shape))


def packed(shape, matrix, limit):
    pair, place = np.unique(shape.row // 2, return_inverse=True)
    return pair, _pack(matrix, len(pair), place, shape.row % 2, limit)


@pytest.mark.parametrize("layer", sorted({*RESNETS, *ODD}))
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["any", "one sign"])
def test_sums_of_the_layers_of_a_resnet(layer, bias, kind):
    if numba.config.DISABLE_JIT and layer in RESNETS:
        pytest.skip("too slow in plain Python")
    rng = np.random.default_rng(1)
    conv, shape = convolution(rng, *layer, bias)
    limit = CODE_LIMIT if kind == "one sign" else 2047
    matrix = codes(rng, (conv.rows, conv.columns), kind)
    pair, packing = packed(shape, matrix, limit)
    x = np.clip(codes(rng, (1 if layer[1] > 16 else 2, *shape.padded_shape), kind), -limit, limit)
    if kind == "one sign":
        assert len(packing.segment) > conv.rows / 2  # with three rows in a segment, 32 bits would overflow
    expected = twin.accumulate(x, shape.pixel, pair, packing.packed, packing.segment)
    same(fast.accumulate(x, shape.pixel, pair, packing.packed, packing.segment), expected)
    assert not expected[:, :, conv.columns :].any()
    for p in (0, len(shape.pixel) - 1):  # in Python integers
        inputs = x[0].reshape(-1)[shape.pixel[p] + shape.row].astype(object)
        assert expected[0, p, : conv.columns].tolist() == inputs.dot(matrix.astype(object)).tolist()


@pytest.mark.parametrize("rows", [1, 2, 3, 64, 577])
@pytest.mark.parametrize("columns", [1, 10, 16, 17])
def test_sums_of_a_linear_layer(rows, columns):
    rng = np.random.default_rng(2)
    layer = Linear(name="l", inputs=("input",), weight=np.ones((columns, rows), np.float32))
    shape = geometry(layer, (rows,), (columns,))
    matrix = codes(rng, (rows, columns), "largest")
    pair, packing = packed(shape, matrix, CODE_LIMIT)
    x = codes(rng, (3, *shape.padded_shape), "largest")
    expected = twin.accumulate(x, shape.pixel, pair, packing.packed, packing.segment)
    same(fast.accumulate(x, shape.pixel, pair, packing.packed, packing.segment), expected)
    exact = x.reshape(3, -1)[:, :rows].astype(object).dot(matrix.astype(object))
    assert expected[:, 0, :columns].tolist() == exact.tolist()


def test_one_segment_may_use_all_of_32_bits():
    """The largest sums that one segment may hold, of either sign; one more would not fit."""
    for sign in (1, -1):
        x = np.full((1, 2), CODE_LIMIT, np.int16)
        packed = np.full((1, LANES, 2), sign * CODE_LIMIT, np.int16)
        found = fast.accumulate(x, np.array([0]), np.array([0]), packed, np.array([0, 1]))
        assert found.tolist() == [[[sign * PAIR_LIMIT] * LANES]]
    assert PAIR_LIMIT < 2**31 <= 2 * PAIR_LIMIT


# accumulate_float


@pytest.mark.parametrize("layer", [RESNETS[0], RESNETS[2], RESNETS[3], RESNETS[15], *ODD])
@pytest.mark.parametrize("bias", [False, True])
def test_float_sums_agree_to_rounding(layer, bias):
    if numba.config.DISABLE_JIT and layer in RESNETS:
        pytest.skip("too slow in plain Python")
    rng = np.random.default_rng(3)
    conv, shape = convolution(rng, *layer, bias)
    matrix = np.zeros((conv.rows, -(-conv.columns // LANES) * LANES), np.float32)
    matrix[:, : conv.columns] = conv.matrix()
    x = rng.standard_normal((2, *shape.padded_shape)).astype(np.float32)
    expected, found = (m.accumulate_float(x, shape.pixel, shape.row, matrix) for m in (twin, fast))
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    patches = x.reshape(2, -1)[:, shape.pixel[:, None] + shape.row].astype(np.float64)
    exact = patches @ matrix.astype(np.float64)
    # the textbook bound: rows roundings of terms no larger than the sum of all sizes
    bound = (conv.rows + 1) * 2.0**-24 * (np.abs(patches) @ np.abs(matrix.astype(np.float64)))
    for sums in (expected, found):
        assert (np.abs(sums - exact) <= bound).all()


# largest, to_codes

special = st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 2.0**-100, 3.4e38, -3.4e38, math.inf, -math.inf])
any_float = st.floats(width=32, allow_nan=False) | special


@laws
@given(st.integers(1, 4), st.integers(1, 40), seeds, st.lists(any_float, max_size=5))
def test_largest(n, size, seed, values):
    x = np.random.default_rng(seed).standard_normal((n, size, 1, 2)).astype(np.float32)
    x.reshape(-1)[: len(values)] = values[: x.size]
    same(fast.largest(x), twin.largest(x))
    same(fast.largest(x[:, ::2]), twin.largest(x[:, ::2]))  # strided
    assert twin.largest(x).tolist() == [max(abs(float(v)) for v in image.flat) for image in x]


def test_largest_of_zeros_has_no_sign():
    same(fast.largest(np.full((2, 3), -0.0, np.float32)), np.zeros(2, np.float32))


@laws
@given(
    seeds,
    st.tuples(*[st.integers(1, 5)] * 4),
    st.integers(2, 16),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([1.0, 0.5, 40.0, 1e-40, 0.0]),
)
def test_to_codes(seed, shape, bits, padding, constant, size):
    rng = np.random.default_rng(seed)
    n, _, _, c = shape
    limit = 2 ** (bits - 1) - 1
    x = (rng.standard_normal(shape) * size).astype(np.float32)
    x.reshape(-1)[::3] = np.rint(x.reshape(-1)[::3] * 2) / 2  # ties
    x.reshape(-1)[::7] = -0.0
    gain = rng.choice(np.array([0.0, 1.0, 3.0, limit / 2.0, 1e6], np.float32), n)
    one = rng.integers(-limit, limit + 1, n).astype(np.int16) if constant else None
    channels = (c + constant + 1) // 2 * 2
    arguments = x, gain, limit, one, padding, channels
    expected = twin.to_codes(*arguments)
    same(fast.to_codes(*arguments), expected)
    assert expected.dtype == np.int16
    assert expected.shape == (n, shape[1] + 2 * padding, shape[2] + 2 * padding, channels)
    for i, y, z, k in np.ndindex(expected.shape):
        inside = padding <= y < padding + shape[1] and padding <= z < padding + shape[2]
        code = int(expected[i, y, z, k])
        if k < c and inside:
            value = float(x[i, y - padding, z - padding, k] * gain[i])
            assert code == max(-limit, min(limit, round(value)))
        elif k == c and constant:
            assert code == one[i]
        else:
            assert code == 0


@both
def test_to_codes_rounds_ties_to_even_and_saturates(kernels):
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 1e9, -1e9, 0.49999997], np.float32).reshape(1, 1, -1, 1)
    found = kernels.to_codes(x, np.ones(1, np.float32), 127, None, 0, 2)[0, 0, :, 0]
    assert found.tolist() == [0, 2, 2, 0, -2, 126, 127, 127, -127, 0]


# add_read_noise


@laws
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 20)),
    st.tuples(word, word),
    st.integers(0, 300),
    st.lists(st.integers(0, 2**64 - 1), min_size=3, max_size=3),
    st.sampled_from([np.int32, np.int64]),
    st.sampled_from([0, 1, 3, 2**20, 2**31 - 1, 2**58]),
)
def test_read_noise_is_the_same_bits(seed, shape, key, tile, images, kind, top):
    rng = np.random.default_rng(seed)
    n, pixels, columns = shape
    lanes = (n, pixels, -(-columns // LANES) * LANES)
    size = 2**30 if kind == np.int32 else 2**45
    sums = rng.integers(-size, size, lanes).astype(kind)
    variance = rng.integers(0, top, lanes, endpoint=True)
    if top < 2**31:
        variance = variance.astype(kind)
    image = np.array(images[:n], np.uint64)
    expected = twin.add_read_noise(sums, variance, columns, key, tile, image)
    found = fast.add_read_noise(sums, variance, columns, key, tile, image)
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
    arguments = sums, variance, columns, (5, 6), 7, np.arange(n, dtype=np.uint64)
    found = fast.add_read_noise(*arguments)
    same(found, twin.add_read_noise(*arguments))
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
    lanes = (2, pixels, -(-columns // LANES) * LANES)
    sums = rng.integers(-(2**20), 2**20, lanes).astype(np.int32)
    variance = rng.integers(0, 2**40, lanes)
    arguments = sums, variance, columns, (8, 9), 1, np.array([3, 2**50], np.uint64)
    expected = twin.add_read_noise(*arguments)
    same(fast.add_read_noise(*arguments), expected)
    for output in (0, 1022, 1023, 1024, pixels * columns - 1):
        p, c = divmod(min(output, pixels * columns - 1), columns)
        noise = naive.read_noise(int(variance[1, p, c]), (8, 9), 1, 2**50, p * columns + c)
        assert expected[1, p, c] == int(sums[1, p, c]) + noise


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
@given(st.tuples(word, word), st.integers(0, 3000))
def test_words_of_weights_are_the_same_bits(key, weights):
    words = twin.weight_words(key, weights)
    same(fast.weight_words(key, weights), words)
    assert words.shape == (4, weights)
    z = twin.normals(words[:2])
    same(fast.normals(words[:2]), z)
    same(fast.normals(words[::2, ::3]), twin.normals(words[::2, ::3]))
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
    expected = twin.digitise(sums, gain, bits)
    same(fast.digitise(sums, gain, bits), expected)
    same(fast.digitise(sums[:, :, ::2], gain, bits), expected[:, :, ::2])
    limit = 2 ** (bits - 1) - 1
    assert expected.tolist() == [[[naive.clip(round(v * gain), limit) for v in p] for p in i] for i in sums.tolist()]


# digitise_noisy


def noisy_case(seed, shape, kind, top, spread):
    """Sums and variances with filling columns; noise of about `spread` times the sums."""
    rng = np.random.default_rng(seed)
    n, pixels, columns = shape
    lanes = (n, pixels, -(-columns // LANES) * LANES)
    sums = rng.integers(-top, top, lanes, endpoint=True).astype(kind)
    variance = (rng.random(lanes) * (spread * top / 8) ** 2).astype(kind)
    return sums, variance, rng.integers(0, 2**64, n, np.uint64)


@laws
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 70)),
    st.tuples(word, word),
    st.integers(0, 300),
    st.integers(2, 24),
    st.sampled_from([0.0, 1e-300, 1e-3, 0.5, 1.0, 1 / 3, 3.0, 1e30, 1e300]),
    st.sampled_from([(np.int32, 2**20, 0.1), (np.int64, 2**45, 1e-4), (np.int64, 5, 3.0), (np.int32, 0, 0.0)]),
)
def test_noisy_codes_are_the_same_integers(seed, shape, key, tile, bits, gain, case):
    kind, top, spread = case
    sums, variance, image = noisy_case(seed, shape, kind, top, spread)
    arguments = sums, variance, shape[2], key, tile, image, gain, bits
    same(fast.digitise_noisy(*arguments), twin.digitise_noisy(*arguments))
    gain = 2 ** (bits - 1) / max(top, 1)  # sums from one end of the converter to the other
    arguments = *arguments[:-2], gain, bits
    expected = twin.digitise_noisy(*arguments)
    same(fast.digitise_noisy(*arguments), expected)
    noisy = twin.add_read_noise(*arguments[:-2])
    same(expected, twin.digitise(noisy, gain, bits))


@pytest.mark.parametrize("columns", [10, 16, 28, 56, 64])
def test_a_million_noisy_codes(columns):
    """Where few outputs are in doubt: 8 bits, noise of a few codes."""
    pixels = 2**17 // columns
    sums, variance, image = noisy_case(columns, (8, pixels, columns), np.int32, 2**20, 0.02)
    arguments = sums, variance, columns, (3, 4), 2, image, 127 / 2**20, 8
    expected = twin.digitise_noisy(*arguments)
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
            arguments = sums, variance, LANES, (1, 2), 0, np.zeros(1, np.uint64), scale, bits
            same(fast.digitise_noisy(*arguments), twin.digitise_noisy(*arguments))


needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without JIT every output is in doubt")
#: Words around each power of two and its complement, where the exponent of p changes, and random ones.
WORDS = np.concatenate([near := (2 ** np.arange(32)[:, None] + np.arange(-40, 41)).ravel() % 2**32, 2**32 - 1 - near,
                        np.random.default_rng(7).integers(0, 2**32, 100_000)]).astype(np.uint32)  # fmt: skip


@functools.cache
def approximate_run():
    block = doubt.approximate_codes()

    @numba.njit
    def run(words, sums, variance, out, doubtful, gain, limit):
        for at in range(0, len(out), LANES):
            bits = block(words, at, sums, variance, out, at, np.float32(gain), np.float32(limit))
            for lane in range(LANES):
                doubtful[at + lane] = (bits >> lane) & 1

    return run


def approximated(words, gain, limit):
    """Return the approximate codes of sums 0 and variances 1, and which are in doubt."""
    size = len(words) // LANES * LANES
    run = approximate_run()
    out, doubtful = np.empty(size, np.int32), np.empty(size, np.bool_)
    run(words, np.zeros(size, np.int32), np.ones(size, np.int32), out, doubtful, gain, limit)
    return words[:size], out, doubtful


@needs_jit
def test_approximate_normals_are_as_close_as_they_claim():
    words, out, doubtful = approximated(WORDS, 2.0**15, 2.0**23 - 1)
    p = (np.minimum(words, ~words) + 0.5) * 2.0**-32
    likely = p > 2.0**-doubt.Z_TOP
    error = out / 2.0**18 - normals(words)
    assert np.abs(error[likely]).max() < doubt.Z_ERROR / 2
    assert doubtful[np.abs(out) < 2**22].all()  # none is certain to a part in 2^18


@needs_jit
@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "soak", reason="a minute: HYPOTHESIS_PROFILE=soak")
def test_every_approximate_normal_is_as_close_as_it_claims():
    """All 2^32 words."""
    size, worst = 2**24, 0.0
    for first in range(0, 2**32, size):
        words, out, _ = approximated(
            np.arange(first, first + size, dtype=np.uint64).astype(np.uint32), 2.0**15, 2.0**23 - 1
        )
        likely = np.minimum(words, ~words) + 0.5 > 2.0 ** (32 - doubt.Z_TOP)
        worst = max(worst, np.abs(out / 2.0**18 - fast.normals(words))[likely].max(initial=0.0))
    assert worst < doubt.Z_ERROR / 2


@needs_jit
def test_only_rare_normals_are_in_doubt_where_noise_is_small():
    words, out, doubtful = approximated(WORDS, 1e-3, 127.0)
    p = (np.minimum(words, ~words) + 0.5) * 2.0**-32
    assert doubtful[p < 0.99 * 2.0**-doubt.Z_TOP].all()
    assert not doubtful[p > 1.01 * 2.0**-doubt.Z_TOP].any()
    assert not out.any()


@needs_jit
def test_few_codes_are_in_doubt_where_noise_is_a_code():
    _, _, doubtful = approximated(np.random.default_rng(8).integers(0, 2**32, 2**20).astype(np.uint32), 1 / 8, 127.0)
    assert 0 < doubtful.mean() < 0.3  # with a gain of 1/8, the noise's own rounding leaves a quarter open
    _, _, doubtful = approximated(np.random.default_rng(8).integers(0, 2**32, 2**20).astype(np.uint32), 1e-4, 127.0)
    assert doubtful.mean() < 2.0**-10


# finish


@laws
@given(
    seeds,
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 20)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([np.int32, np.int64]),
)
def test_finish(seed, shape, normed, added, rectify, kind):
    rng = np.random.default_rng(seed)
    n, pixels, columns = shape
    sums = (rng.integers(-(2**30), 2**30, (n, pixels, -(-columns // LANES) * LANES)) >> rng.integers(0, 31)).astype(
        kind
    )
    sums.reshape(-1)[::3] = 0

    def numbers(*shape):
        values = rng.standard_normal(shape).astype(np.float32)
        values.reshape(-1)[::5] = -0.0
        return values

    step, unit = np.abs(numbers(n)), numbers(columns)
    norm = (numbers(columns), numbers(columns)) if normed else None
    other = numbers(n, pixels, columns) if added else None
    arguments = sums, step, unit, norm, other, rectify
    expected = twin.finish(*arguments)
    same(fast.finish(*arguments), expected)
    for i, p, c in np.ndindex(shape):
        y = np.float32(int(sums[i, p, c])) * (step[i] * unit[c])
        if normed:
            y = y * norm[0][c]
            y = y + norm[1][c]
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
    expected = twin.moments(x)
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
def test_moments_are_summed_one_pixel_after_the_other(kernels):
    x = np.array([2.0**60, 1.0, 2.0**10, -(2.0**60)] * 30 + [1.0] * 100, np.float32).reshape(1, -1, 1)
    total = 0.0
    for value in x.reshape(-1).tolist():
        total += value
    assert kernels.moments(x)[0, 0, 0] == total
    assert total not in (math.fsum(x.reshape(-1).tolist()), x.astype(np.float64).reshape(-1).sum())


# register blocks


@pytest.mark.parametrize("pixels", [1, 8, 16])
@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize("kinds", [(np.int32, np.int32), (np.int32, np.int64), (np.float32, np.float32)], ids=str)
def test_interpreted_blocks_equal_compiled_ones(pixels, vectors, kinds):
    if numba.config.DISABLE_JIT:
        pytest.skip("nothing is compiled")
    compiled = blocks._compiled(pixels, vectors)
    interpreted = blocks._interpreted(pixels, vectors)

    @numba.njit
    def call(x, pixel, row, weights, out, p, v, first, last):  # type: ignore[no-untyped-def]
        compiled(x, pixel, row, weights, out, p, v, first, last)

    rng = np.random.default_rng(4)
    inputs, outputs = kinds
    pixel, row = rng.integers(0, 40, 2 * pixels + 3), rng.integers(0, 20, 12)
    width = LANES * (vectors + 2)
    if inputs == np.int32:
        x = codes(rng, (1, 120)).view(np.int32)[0]
        weights = codes(rng, (len(row), 2 * width))
    else:
        # small integers, so that fused and separate roundings agree
        x, weights = (rng.integers(-99, 100, s).astype(np.float32) for s in (60, (len(row), width)))
    for p, v, first, last in ((0, 0, 0, 1), (0, 1, 0, 1), (pixels, 2, 3, 4), (3, 1, 5, 5), (2, 0, 11, 12)):
        start = rng.integers(-1000, 1000, (len(pixel), width)).astype(outputs)
        found, expected = start.copy(), start.copy()
        call(x, pixel, row, weights, found, p, v, first, last)
        interpreted(x, pixel, row, weights, expected, p, v, first, last)
        assert np.array_equal(found, expected)
        touched = np.zeros(start.shape, bool)
        touched[p : p + pixels, LANES * v : LANES * (v + vectors)] = True
        assert np.array_equal(found[~touched], start[~touched])
    if inputs == np.int32:  # all rows at once; small codes, so that 32 bits hold the sums
        x, weights = (x.view(np.int16) >> 8).view(np.int32), weights >> 8
    found, expected = (np.zeros((len(pixel), width), outputs) for _ in range(2))
    call(x, pixel, row, weights, found, 1, 0, 0, len(row))
    interpreted(x, pixel, row, weights, expected, 1, 0, 0, len(row))
    assert np.array_equal(found, expected)
    assert expected.any()


def test_cached_machine_code_depends_on_all_its_sources():
    """Whoever changes one of these files must paste the new digests into those that use it: numba's cache needs it."""
    folder = Path(fast.__file__).parent
    for module, sources in (
        (fast_draws, ("draws", "elementary", "jit")),
        (fast, ("fast_draws", "blocks", "doubt", "converters")),
        (fused, ("kernels",)),
    ):
        text = "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in sources)
        assert hashlib.sha256(text.encode()).hexdigest() == module.SOURCES, module.__name__
