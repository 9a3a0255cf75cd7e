"""Draws: the published known answers, the address of every word, and the laws of the numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st

from pcmref.arithmetic.draws import Purpose, check_seed, normals, philox, stream_key, uniforms, weight_words
from pcmref.errors import ParameterError
from tests.helpers import naive

word = st.integers(0, 2**32 - 1)
seed = st.integers(0, 2**64 - 1)
address = st.fixed_dictionaries(
    {
        "seed": seed,
        "purpose": st.sampled_from(Purpose),
        "layer": st.integers(0, 2**24 - 1),
        "t_s": st.floats(0.0, 1e12),
        "read": word,
    }
)


def words_of(text):
    return [int(part, 16) for part in text.split()]


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_published_known_answers(counter, key, answer):
    counter, key, answer = map(words_of, (counter, key, answer))
    assert philox(counter, tuple(key)).tolist() == answer
    assert naive.philox(counter, key) == answer


@given(st.lists(st.lists(word, min_size=4, max_size=4), min_size=1, max_size=5), st.tuples(word, word))
def test_philox_equals_the_naive_one_for_every_counter(counters, key):
    assert philox(counters, key).tolist() == [naive.philox(c, key) for c in counters]
    assert philox(np.array([counters, counters], np.uint32), key).shape == (2, len(counters), 4)


# Addresses


@given(address)
@example({"seed": 2**64 - 1, "purpose": Purpose.READ, "layer": 2**24 - 1, "t_s": 86400.0, "read": 2**32 - 1})
def test_the_key_of_a_stream_is_a_block_at_its_address(address):
    expected = naive.stream(address["seed"], int(address["purpose"]), *(address[k] for k in ("layer", "t_s", "read")))
    names = ("seed", "purpose", "layer")
    key = stream_key(*(address[n] for n in names), t_s=address["t_s"], read=address["read"])
    assert list(key) == expected


def test_purposes_have_fixed_numbers():
    assert {p.name: int(p) for p in Purpose} == {
        "PROGRAM": 1,
        "CONVERGENCE": 2,
        "READ": 3,
        "PRODUCT": 4,
        "CALIBRATION": 5,
    }


@given(address, st.data())
def test_every_part_of_an_address_makes_another_stream(first, data):
    part = data.draw(st.sampled_from(sorted(first)))
    second = data.draw(address)
    second = {**first, part: second[part]}
    keys = [stream_key(a["seed"], a["purpose"], a["layer"], t_s=a["t_s"], read=a["read"]) for a in (first, second)]
    assert (keys[0] == keys[1]) == (
        first == second and math.copysign(1, first["t_s"]) == math.copysign(1, second["t_s"])
    )


def test_neighbouring_addresses_make_different_streams():
    keys = {
        stream_key(seed, purpose, layer, t_s=t_s, read=read)
        for seed in (0, 1, 2**32, 2**63)
        for purpose in Purpose
        for layer in (0, 1, 255, 256)
        for t_s in (0.0, 20.0, math.nextafter(20.0, 21.0))
        for read in (0, 1)
    }
    assert len(keys) == 4 * 5 * 4 * 3 * 2


@given(st.tuples(word, word), st.integers(0, 50))
def test_the_words_of_a_weight_are_the_block_of_its_number(key, weights):
    words = weight_words(key, weights)
    assert words.shape == (4, weights)
    assert words.dtype == np.uint32
    assert words.T.tolist() == [naive.philox([i, 0, 0, 0], key) for i in range(weights)]


@given(st.tuples(word, word), st.integers(0, 40), st.integers(0, 40))
def test_words_do_not_depend_on_how_many_are_drawn(key, few, more):
    assert (weight_words(key, few) == weight_words(key, few + more)[:, :few]).all()


# Numbers


@given(word)
@example(0)
@example(2**32 - 1)
def test_uniforms_are_exact_and_strictly_inside(word):
    u = float(uniforms(np.array([word], np.uint32))[0])
    assert 0.0 < u < 1.0
    assert Fraction(u) == (Fraction(word) + Fraction(1, 2)) / 2**32


@given(word)
@example(0)
@example(2**31)
@example(2**32 - 1)
def test_normals_are_the_quantiles_of_the_uniforms(word):
    assert normals(np.array([word], np.uint32))[0] == pytest.approx(naive.normal(word), rel=2e-15)


def test_extreme_words_are_at_most_6_34():
    z = normals(np.array([0, 2**32 - 1], np.uint32))
    assert z[0] == -z[1]
    assert 6.33 < z[1] < 6.34


N = 100_000


@pytest.fixture(scope="module")
def samples():
    """Normal numbers, one row a word of the block: 4 N of them."""
    return normals(weight_words(stream_key(2026, Purpose.PROGRAM, 3), N))


def test_moments_of_normals(samples):
    n = samples.size
    assert abs(samples.mean()) < 5 / math.sqrt(n)
    assert abs((samples**2).mean() - 1) < 5 * math.sqrt(2 / n)
    assert abs((samples**3).mean()) < 5 * math.sqrt(15 / n)
    assert abs((samples**4).mean() - 3) < 5 * math.sqrt(96 / n)


@pytest.mark.parametrize("z", [0.5, 1, 2, 3, 4])
def test_tails_of_normals(samples, z):
    count = scipy.stats.binom(samples.size, scipy.stats.norm.sf(z))
    five_sigma = scipy.stats.norm.sf(5)
    for tail in ((samples > z).sum(), (samples < -z).sum()):
        assert count.ppf(five_sigma) <= tail <= count.isf(five_sigma)


def test_normals_follow_the_normal_law(samples):
    assert scipy.stats.kstest(samples.reshape(-1), "norm").pvalue > 1e-6  # one false alarm in a million


def correlation(x, y):
    return abs(np.corrcoef(x.reshape(-1), y.reshape(-1))[0, 1])


def test_neighbouring_words_are_independent(samples):
    bound = 5 / math.sqrt(N)
    pairs = [(samples[i], samples[j]) for i in range(4) for j in range(i)]  # words of a block
    pairs += [(line[:-1], line[1:]) for line in samples]  # neighbouring weights
    pairs += [(samples[i][:-1], samples[j][1:]) for i in range(4) for j in range(4) if i != j]
    for x, y in pairs:
        assert correlation(x, y) < bound
        assert correlation(x**2, y**2) < bound


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 2027},
        {"seed": 2026 + 2**32},
        {"purpose": Purpose.CONVERGENCE},
        {"layer": 4},
        {"read": 1},
        {"t_s": 20.0},
    ],
    ids=str,
)
def test_neighbouring_streams_are_independent(samples, other):
    names = {"seed": 2026, "purpose": Purpose.PROGRAM, "layer": 3, **other}
    z = normals(weight_words(stream_key(**names), N))
    assert correlation(samples, z) < 5 / math.sqrt(4 * N)


# Seeds


@pytest.mark.parametrize("good", [0, 1, 2**64 - 1, np.int64(7), np.uint64(2**64 - 1)], ids=repr)
def test_seeds(good):
    found = check_seed(good)
    assert type(found) is int
    assert found == good


@pytest.mark.parametrize(
    "bad", [-1, 2**64, True, False, np.True_, 1.0, np.float64(3), math.nan, "1", None, [1], np.int64(-1)], ids=repr
)
def test_seeds_out_of_range_or_of_another_type_are_refused(bad):
    with pytest.raises(ParameterError, match=r"seed: expected an integer from 0 to 2\*\*64 - 1"):
        check_seed(bad)
