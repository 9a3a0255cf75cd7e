"""One tile by itself: plain integers of SPEC.md, section 8, the stages of a layer's trace, and what it refuses."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcmref
from pcmref.arithmetic.choice import VARIABLE
from pcmref.arithmetic.codes import adc_gain
from pcmref.crossbar.layer import build, multiply
from pcmref.devices.chip import SnapshotLayer
from pcmref.errors import ParameterError
from pcmref.network.geometry import geometry
from pcmref.network.layers import Linear
from tests.helpers import naive

laws = settings(max_examples=settings.default.max_examples // 2)
KERNELS = ["numpy", "numba"]
CODE_LIMIT = 32767
STAGES = ("noise_free", "variance", "sums", "codes")
seeds = st.integers(0, 2**32 - 1)
word = st.integers(0, 2**32 - 1)
addresses = st.integers(0, 2**64 - 1)
KEY = (0x12345678, 0x9ABCDEF0)


@pytest.fixture(params=KERNELS)
def kernels(request, monkeypatch):
    monkeypatch.setenv(VARIABLE, request.param)


def draw_codes(rng, shape, kind, limit=CODE_LIMIT):
    if kind == "largest":
        return rng.choice(np.array([-limit, limit]), shape)
    if kind == "one sign":
        return np.full(shape, limit)
    return rng.integers(-limit, limit + 1, shape)


@dataclass(frozen=True)
class Case:
    """A tile, vectors for it, and all that decides its stages."""

    devices: np.ndarray
    variance: np.ndarray | None
    readout: pcmref.Readout
    gain: float | None
    stream: tuple[int, int]
    number: int
    codes: np.ndarray
    address: list[int]

    def tile(self):
        return pcmref.tile(
            self.devices,
            self.readout,
            variance_code=self.variance,
            adc_gain=self.gain,
            stream=self.stream,
            number=self.number,
        )

    def expected(self):
        """The stages in Python's integers: lists of n rows."""
        codes, devices = self.codes.astype(object), self.devices.astype(object)
        exact = codes.dot(devices)
        found = {"noise_free": exact, "variance": None, "sums": exact}
        if self.variance is not None:
            found["variance"] = (codes**2).dot(self.variance.astype(object))
            noise = [
                [naive.read_noise(b, self.stream, self.number, at, c) for c, b in enumerate(line)]
                for line, at in zip(found["variance"], self.address, strict=True)
            ]
            found["sums"] = exact + np.array(noise, object).reshape(exact.shape)
        found["codes"] = found["sums"]
        if self.gain is not None:
            bits = self.readout.adc_bits
            found["codes"] = np.array([[naive.adc(s, self.gain, bits) for s in line] for line in found["sums"]], object)
        return {name: None if stage is None else stage.tolist() for name, stage in found.items()}


@st.composite
def cases(draw, most=20):
    rng = np.random.default_rng(draw(seeds))
    rows, columns = draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 15, 16, 17, 33]))
    n = draw(st.integers(1, most))
    kind, fresh = draw(st.sampled_from(["any", "largest", "one sign"])), draw(st.booleans())
    dac_bits, adc_bits = draw(st.integers(2, 16)), draw(st.none() | st.integers(2, 24))
    limit = 2 ** (dac_bits - 1) - 1
    # from nearly all sums at the ends of the converter to nearly none
    gain = draw(st.sampled_from([0.1, 1.0, 30.0])) * 2.0 ** ((adc_bits or 2) - 1) / (limit * CODE_LIMIT * rows**0.5)
    return Case(
        devices=draw_codes(rng, (rows, columns), kind),
        variance=np.abs(draw_codes(rng, (rows, columns), kind)) if fresh else None,
        readout=pcmref.Readout(
            name="test", dac_bits=dac_bits, adc_bits=adc_bits, read_noise="fresh" if fresh else "frozen"
        ),
        gain=None if adc_bits is None else gain,
        stream=draw(st.tuples(word, word)),
        number=draw(st.integers(0, 9) | word),
        codes=draw_codes(rng, (n, rows), kind, limit),
        address=draw(st.lists(addresses, min_size=n, max_size=n)),
    )


def check(product, expected):
    """All stages have these integers and the promised type, and cannot be written to."""
    for name in STAGES:
        found = getattr(product, name)
        if expected[name] is None:
            assert found is None
            continue
        assert found.tolist() == expected[name]
        assert found.dtype == np.int64
        assert not found.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            found[...] = 0


def same(one, other):
    for name in STAGES:
        assert np.array_equal(getattr(one, name), getattr(other, name))
        assert (getattr(one, name) is None) == (getattr(other, name) is None)


# Against plain Python


@laws
@given(cases())
def test_every_stage_equals_plain_integers(case):
    expected = case.expected()
    for choice in KERNELS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, choice)
            tile = case.tile()
            check(tile(case.codes, case.address), expected)
            first = {name: None if stage is None else stage[0] for name, stage in expected.items()}
            check(tile(case.codes[0], case.address[0]), first)


@laws
@given(cases(most=3), st.sampled_from([0, 1, 2, 15, 16, 17, 100]), seeds)
def test_a_vector_does_not_depend_on_its_company(case, count, seed):
    rng = np.random.default_rng(seed)
    limit = 2 ** (case.readout.dac_bits - 1) - 1
    codes, at = draw_codes(rng, (count, len(case.devices)), "any", limit), rng.integers(0, 2**64, count, np.uint64)
    tile = case.tile()
    together = tile(codes, at)
    assert together.codes.shape == (count, case.devices.shape[1])
    for i in range(count):
        alone = tile(codes[i], at[i])
        same(together[i], alone)
        same(tile(codes[i : i + 1], at[i : i + 1])[0], alone)
    order = rng.permutation(count)
    same(tile(codes[order], at[order]), together[order])


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("bits", [None, 8])
def test_no_vectors(fresh, bits):
    readout = pcmref.Readout(name="x", dac_bits=8, adc_bits=bits, read_noise="fresh" if fresh else "frozen")
    tile = pcmref.tile(
        np.ones((3, 5), int),
        readout,
        variance_code=np.ones((3, 5), int) if fresh else None,
        adc_gain=bits and 1.0,
        stream=KEY,
    )
    product = tile(np.zeros((0, 3), int))
    for name in STAGES:
        stage = getattr(product, name)
        assert stage is None if name == "variance" and not fresh else stage.shape == (0, 5)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i2", "<i2", ">u4", "list", "tuple"])
def test_integers_of_any_type(kind):
    rng = np.random.default_rng(3)
    devices, codes = rng.integers(0, 100, (5, 3)), rng.integers(0, 100, (4, 5))
    expected = codes.dot(devices)

    def turned(values):
        if kind == "list":
            return values.tolist()
        if kind == "tuple":
            return tuple(map(tuple, values.tolist()))
        return values.astype(kind)

    readout = pcmref.Readout(name="x", dac_bits=8, read_noise="fresh")
    tile = pcmref.tile(turned(devices), readout, variance_code=turned(devices), stream=KEY)
    assert tile(turned(codes)).noise_free.tolist() == expected.tolist()
    assert tile(turned(codes)).variance.tolist() == (codes**2).dot(devices).tolist()
    one = turned(codes)[1]
    assert tile(one, 1).noise_free.tolist() == expected[1].tolist()
    same(tile(turned(codes)), tile(np.asfortranarray(codes)))
    same(tile(turned(codes)), tile(np.repeat(codes, 2, axis=1)[:, ::2]))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("rows", [1, 2, 3, 600])
def test_sums_beyond_32_bits(rows):
    tile = pcmref.tile(
        np.full((rows, 2), -CODE_LIMIT),
        pcmref.Readout(name="x", dac_bits=16, read_noise="fresh"),
        variance_code=np.full((rows, 2), CODE_LIMIT),
        stream=KEY,
    )
    product = tile(np.full(rows, CODE_LIMIT))
    assert product.noise_free.tolist() == [-rows * CODE_LIMIT**2] * 2
    assert product.variance.tolist() == [rows * CODE_LIMIT**3] * 2


@pytest.mark.usefixtures("kernels")
def test_the_worked_numbers_of_the_specification():
    """SPEC.md, section 12: image 7, tile 1, output 10; A = -6789 and B = 12345."""
    devices, variance = np.zeros((2, 11), int), np.zeros((2, 11), int)
    devices[:, 10] = -6789, 0
    variance[:, 10] = 0, 12345
    readout = pcmref.Readout(name="x", dac_bits=8, read_noise="fresh")
    tile = pcmref.tile(devices, readout, variance_code=variance, stream=(0xB15A5DBD, 0x1B3CFB50), number=1)
    product = tile([1, 1], 7)
    assert (product.noise_free[10], product.variance[10], product.sums[10]) == (-6789, 12345, -5774)


def test_both_kernels_give_equal_arrays():
    rng = np.random.default_rng(5)
    for bits, fresh, adc in itertools.product((2, 8, 9, 16), (False, True), (None, 8, 24)):
        case = Case(
            devices=draw_codes(rng, (77, 33), "any"),
            variance=np.abs(draw_codes(rng, (77, 33), "any")) if fresh else None,
            readout=pcmref.Readout(name="x", dac_bits=bits, adc_bits=adc, read_noise="fresh" if fresh else "frozen"),
            gain=adc and 2.0**adc / 2**bits / CODE_LIMIT / 10,
            stream=KEY,
            number=3,
            codes=draw_codes(rng, (100, 77), "any", 2 ** (bits - 1) - 1),
            address=[],
        )
        products = []
        for choice in KERNELS:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(VARIABLE, choice)
                products.append(case.tile()(case.codes))
        same(*products)


# Of a layer


@st.composite
def layers(draw):
    """A linear layer of a snapshot, cut into tiles, and a readout."""
    rng = np.random.default_rng(draw(seeds))
    rows, columns, tile_rows = draw(st.integers(1, 30)), draw(st.sampled_from([1, 3, 17])), draw(st.integers(1, 32))
    kind = draw(st.sampled_from(["any", "largest", "one sign"]))
    pair = (2, rows, columns)
    layer = SnapshotLayer(
        name="layer",
        g_mean_code=np.abs(draw_codes(rng, pair, kind)).astype(np.int16),
        g_read_code=np.abs(draw_codes(rng, pair, kind)).astype(np.int16),
        variance_code=np.abs(draw_codes(rng, pair[1:], kind)).astype(np.int16),
        weight_per_us=np.full(columns, 0.04),
    )
    bits, full = draw(st.none() | st.integers(2, 24)), pcmref.Range(input_top=2.0, sum_top_us=500.0)
    readout = pcmref.Readout(
        name="test",
        dac_bits=draw(st.integers(2, 16)),
        adc_bits=bits,
        tile_rows=draw(st.none() | st.just(tile_rows)),
        read_noise=draw(st.sampled_from(["frozen", "fresh"])),
        ranges={"layer": full} if bits is not None or draw(st.booleans()) else None,
    )
    return rng, layer, readout, draw(st.tuples(word, word))


@laws
@given(layers())
def test_a_tile_has_the_stages_of_the_trace_of_its_layer(case):
    rng, layer, readout, stream = case
    rows, columns = layer.shape
    linear = Linear(name="layer", inputs=("input",), weight=np.ones((columns, rows), np.float32))
    shape = geometry(linear, (rows,), (columns,))
    crossbar = build(layer, shape, readout, g_step_us=2.0**-9, gain=np.ones(1), stream=stream)
    image = rng.integers(0, 2**64, 3, np.uint64)
    product = multiply(crossbar, rng.standard_normal((3, 1, 1, rows)).astype(np.float32), image)
    gain = None
    if readout.adc_bits is not None:
        bits = {"dac_bits": readout.dac_bits, "adc_bits": readout.adc_bits}
        gain = adc_gain(readout.ranges["layer"], **bits, g_step_us=2.0**-9)
    fresh, tile_rows = readout.read_noise == "fresh", readout.tile_rows or rows
    for number, traced in enumerate(product.tiles):
        part = slice(number * tile_rows, (number + 1) * tile_rows)
        codes = product.input_codes[:, 0, 0, :rows][:, part]
        for devices, variance in (
            (layer, None),
            (layer.mean_code[part] if fresh else layer.read_code[part], layer.variance_code[part] if fresh else None),
        ):
            tile = pcmref.tile(devices, readout, variance_code=variance, adc_gain=gain, stream=stream, number=number)
            assert (tile.rows, tile.columns) == (codes.shape[1], columns)
            same(tile(codes, image), traced[:, 0])


def a_layer(rows=10, columns=3):
    rng = np.random.default_rng(6)
    codes = rng.integers(0, 100, (2, 2, rows, columns)).astype(np.int16)
    variance = rng.integers(0, 100, (rows, columns)).astype(np.int16)
    return SnapshotLayer(
        name="fc",
        g_mean_code=codes[0],
        g_read_code=codes[1],
        variance_code=variance,
        weight_per_us=np.full(columns, 0.04),
    )


def test_the_number_selects_rows_of_a_layer():
    layer = a_layer()
    for read_noise, codes in (("frozen", layer.read_code), ("fresh", layer.mean_code)):
        readout = pcmref.Readout(name="x", dac_bits=8, tile_rows=4, read_noise=read_noise)
        for number, rows in enumerate((range(4), range(4, 8), range(8, 10))):
            tile = pcmref.tile(layer, readout, number=number, stream=KEY)
            assert tile.rows == len(rows)
            assert tile(np.eye(len(rows), dtype=int)).noise_free.tolist() == codes[rows].tolist()
            if read_noise == "fresh":
                assert tile(np.eye(len(rows), dtype=int)).variance.tolist() == layer.variance_code[rows].tolist()
        with pytest.raises(ParameterError, match=r"^number: expected one of the 3 tiles of layer 'fc', .* found 3$"):
            pcmref.tile(layer, readout, number=3)
    with pytest.raises(ParameterError, match=r"^number: expected one of the 1 tiles of layer 'fc', from 0, found 1$"):
        pcmref.tile(layer, pcmref.Readout(name="x", dac_bits=8), number=1)


def test_a_tile_keeps_its_own_codes():
    devices = np.ones((2, 2), np.int16)
    tile = pcmref.tile(devices, pcmref.Readout(name="x", dac_bits=8))
    devices[:] = 9
    assert tile([1, 1]).codes.tolist() == [2, 2]
    codes = np.ones((1, 2), np.int16)
    product = tile(codes)
    codes[:] = 5
    assert product.codes.tolist() == [[2, 2]]


# Addresses


@pytest.mark.usefixtures("kernels")
def test_addresses_of_any_type_and_positions_by_default():
    readout = pcmref.Readout(name="x", dac_bits=8, read_noise="fresh")
    tile = pcmref.tile(np.zeros((2, 9), int), readout, variance_code=np.full((2, 9), 999), stream=KEY)
    codes = np.ones((3, 2), int)
    by_default = tile(codes)
    arrays = [np.arange(3).astype(kind) for kind in (np.int8, np.int64, np.uint64)]
    for at in ([0, 1, 2], (0, 1, 2), range(3), *arrays, np.arange(6, dtype=np.uint64)[::2] // 2):
        same(tile(codes, at), by_default)
    for at in ([1], np.array([1]), 1, np.uint64(1), np.int8(1)):
        same(tile(codes[0], at), by_default[1])
        same(tile(codes[:1], at), by_default[1:2])
    same(tile(codes[0]), by_default[0])
    large = [2**64 - 1, 2**63, 2**32]
    same(tile(codes, large), tile(codes, np.array(large, np.uint64)))
    sums = {tuple(tile(codes[0], at).sums) for at in (0, 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1)}
    assert len(sums) == 6


@pytest.mark.usefixtures("kernels")
def test_every_part_of_an_address_draws_other_noise():
    readout = pcmref.Readout(name="x", dac_bits=8, read_noise="fresh")

    def sums(stream=KEY, number=3):
        tile = pcmref.tile(
            np.zeros((2, 9), int), readout, variance_code=np.full((2, 9), 999), stream=stream, number=number
        )
        return tuple(tile([1, 1], 5).sums)

    others = [sums(stream=(KEY[0] ^ 1, KEY[1])), sums(stream=(KEY[0], KEY[1] ^ 1)), sums(stream=KEY[::-1])]
    assert len({sums(), *others, sums(number=4), sums(number=0), sums(number=2**32 - 1)}) == 7
    assert sums() == sums(stream=list(KEY))


# What is refused

FROZEN = pcmref.Readout(name="frozen", dac_bits=4)
FRESH = pcmref.Readout(name="fresh", dac_bits=4, read_noise="fresh")
ADC = pcmref.Readout(name="adc", dac_bits=4, adc_bits=8)
DEVICES = np.arange(6).reshape(3, 2)
MATRIX = r"expected integers of shape \(rows, columns\), found "
INTEGERS = "expected an array of integers, found "


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (DEVICES.astype(float), INTEGERS + r"float64 of shape \(3, 2\)"),
        (DEVICES > 2, INTEGERS + r"bool of shape \(3, 2\)"),
        ([[1.5]], INTEGERS + r"\[\[1\.5\]\]"),
        ([[1, 2], [3]], INTEGERS + r"\[\[1, 2\], \[3\]\]"),
        ("codes", INTEGERS + "'codes'"),
        (None, INTEGERS + "None"),
        ([[2**70]], INTEGERS + r"\[\[1180591620717411303424\]\]"),
        (DEVICES[0], MATRIX + r"int64 of shape \(2,\)"),
        (DEVICES[None], MATRIX + r"int64 of shape \(1, 3, 2\)"),
        (5, MATRIX + "5"),
        (DEVICES[:0], MATRIX + r"int64 of shape \(0, 2\)"),
        (DEVICES[:, :0], MATRIX + r"int64 of shape \(3, 0\)"),
        ([[0, 32768]], r"expected integers from -32767 to 32767, found 32768 at \[0, 1\]"),
        ([[0], [-32768]], r"expected integers from -32767 to 32767, found -32768 at \[1, 0\]"),
        (np.full((1, 1), 2**64 - 1, np.uint64), r"expected integers from -32767 to 32767, found 18446744073709551615"),
    ],
)
def test_devices_that_are_refused(devices, message):
    with pytest.raises(ParameterError, match=f"^devices: {message}"):
        pcmref.tile(devices, FROZEN)


def test_devices_at_the_ends_of_their_range():
    tile = pcmref.tile([[-32767, 32767]], FRESH, variance_code=[[0, 32767]], stream=KEY)
    product = tile([7])
    assert product.noise_free.tolist() == [-7 * 32767, 7 * 32767]
    assert product.variance.tolist() == [0, 49 * 32767]


@pytest.mark.parametrize(
    ("variance", "message"),
    [
        (None, "expected a value, as read noise is fresh, found None"),
        (DEVICES.astype(float), INTEGERS + "float64"),
        (DEVICES[:2], r"expected integers of shape \(3, 2\), found int64 of shape \(2, 2\)"),
        (DEVICES.T, r"expected integers of shape \(3, 2\), found int64 of shape \(2, 3\)"),
        (DEVICES[0], r"expected integers of shape \(3, 2\), found int64 of shape \(2,\)"),
        (DEVICES - 1, r"expected integers from 0 to 32767, found -1 at \[0, 0\]"),
        (DEVICES + 32763, r"expected integers from 0 to 32767, found 32768 at \[2, 1\]"),
    ],
)
def test_variances_that_are_refused(variance, message):
    with pytest.raises(ParameterError, match=f"^variance_code: {message}"):
        pcmref.tile(DEVICES, FRESH, variance_code=variance, stream=KEY)


def test_variances_that_nothing_would_use_are_refused():
    with pytest.raises(ParameterError, match=r"^variance_code: expected None, as read noise is frozen, found array"):
        pcmref.tile(DEVICES, FROZEN, variance_code=DEVICES, stream=KEY)
    for readout in (FROZEN, FRESH):
        with pytest.raises(ParameterError, match=r"^variance_code: expected None, as it is that of the layer, found"):
            pcmref.tile(a_layer(), readout, variance_code=a_layer().variance_code, stream=KEY)


@pytest.mark.parametrize("gain", [0, 0.0, -1.0, float("nan"), float("inf"), "1", True, 5e-324, np.zeros(1)])
def test_gains_that_are_refused(gain):
    with pytest.raises(ParameterError, match=r"^adc_gain: expected a positive number, found "):
        pcmref.tile(DEVICES, ADC, adc_gain=gain)


def test_a_gain_that_is_missing_or_superfluous():
    with pytest.raises(ParameterError, match=r"^adc_gain: expected a value, as the readout has an ADC, found None$"):
        pcmref.tile(DEVICES, ADC)
    with pytest.raises(ParameterError, match=r"^adc_gain: expected None, as the readout has no ADC, found 1\.0$"):
        pcmref.tile(DEVICES, FROZEN, adc_gain=1.0)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("gain", [2.0**-1022, 1, np.float32(0.25), 1e308])
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")  # without JIT
def test_gains_from_one_end_to_the_other(gain):
    tile = pcmref.tile([[5000, -20000]], ADC, adc_gain=gain)
    scale = min(gain, 1e9)  # beyond, all of them are at the end of the converter
    assert tile([7]).codes.tolist() == [naive.adc(35000, scale, 8), naive.adc(-140000, scale, 8)]


@pytest.mark.parametrize(
    "stream",
    [(-1, 0), (0, 2**32), (0.0, 1), ("1", 2), (True, 1), (1,), (1, 2, 3), (), 5, "12", {1, 2}],
    ids=repr,
)
def test_streams_that_are_refused(stream):
    for readout, variance in ((FROZEN, None), (FRESH, DEVICES)):
        with pytest.raises(ParameterError, match=r"^stream: expected two integers from 0 to 2\*\*32 - 1, found "):
            pcmref.tile(DEVICES, readout, variance_code=variance, stream=stream)


def test_fresh_noise_without_its_stream_is_refused():
    expected = r"^stream: expected a value, as read noise is fresh, found None$"
    with pytest.raises(ParameterError, match=expected):
        pcmref.tile(DEVICES, FRESH, variance_code=DEVICES)
    with pytest.raises(ParameterError, match=expected):
        pcmref.tile(a_layer(), pcmref.Readout(name="x", dac_bits=8, read_noise="fresh"))


def test_more_rows_than_a_tile_of_the_readout_has_are_refused():
    readout = pcmref.Readout(name="x", dac_bits=8, tile_rows=2)
    assert pcmref.tile(DEVICES[:2], readout).rows == 2
    with pytest.raises(ParameterError, match=r"^devices: expected at most 2 rows, as tiles have, found 3$"):
        pcmref.tile(DEVICES, readout)


def test_sums_that_might_not_be_exact_are_refused():
    """Of 2^23 + 1 rows a sum may reach 2^53; of fewer, with fresh noise, B may reach 2^63."""
    readout = pcmref.Readout(name="x", dac_bits=16, read_noise="fresh")
    rows = 2**63 // 32767**3
    full = np.full((rows + 1, 1), 32767, np.int16)
    beyond = r"^variance codes of a tile: expected column sums below 2\^63, found up to 9.22"
    with pytest.raises(ParameterError, match=beyond):
        pcmref.tile(full, readout, variance_code=full, stream=KEY)
    tile = pcmref.tile(full[:-1], readout, variance_code=full[:-1], stream=KEY)
    assert tile(full[:-1, 0]).variance.tolist() == [rows * 32767**3]
    many = np.full((2**53 // 32767**2 + 1, 1), 32767, np.int16)
    with pytest.raises(ParameterError, match=r"^conductance codes of a tile: expected column sums below 2\^53, found "):
        pcmref.tile(many, pcmref.Readout(name="x", dac_bits=16))


@pytest.mark.parametrize("number", [-1, 2**32, 1.0, "0", True, None])
def test_numbers_that_are_refused(number):
    with pytest.raises(ParameterError, match=r"^number: expected an integer from 0 to 2\*\*32 - 1, found "):
        pcmref.tile(DEVICES, FROZEN, number=number, stream=KEY)


@pytest.mark.parametrize("readout", [None, "paper", 8, {"dac_bits": 8}, pcmref.Readout])
def test_readouts_that_are_refused(readout):
    with pytest.raises(ParameterError, match=r"^readout: expected a Readout \(pcmref\.PRESETS\), found "):
        pcmref.tile(DEVICES, readout)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([1.0, 2.0, 3.0], INTEGERS + r"\[1\.0, 2\.0, 3\.0\]"),
        (np.zeros(3, np.float32), INTEGERS + r"float32 of shape \(3,\)"),
        (np.zeros(3, bool), INTEGERS + r"bool of shape \(3,\)"),
        ([[1, 2, 3], [4, 5]], INTEGERS),
        ("123", INTEGERS + "'123'"),
        (None, INTEGERS + "None"),
        ([], INTEGERS + r"\[\]"),
        ([1, 2], r"expected integers of shape \(3,\) or \(n, 3\), found \[1, 2\]"),
        (np.zeros(4, int), r"expected integers of shape \(3,\) or \(n, 3\), found int64 of shape \(4,\)"),
        (np.zeros((3, 4), int), r"expected integers of shape \(3,\) or \(n, 3\), found int64 of shape \(3, 4\)"),
        (np.zeros((1, 1, 3), int), r"expected integers of shape \(3,\) or \(n, 3\), found int64 of shape \(1, 1, 3\)"),
        (7, r"expected integers of shape \(3,\) or \(n, 3\), found 7"),
        ([0, 8, 0], r"expected integers from -7 to 7, found 8 at \[1\]$"),
        ([0, 0, -8], r"expected integers from -7 to 7, found -8 at \[2\]$"),
        ([[0, 0, 0], [7, -7, 9], [8, 8, 8]], r"expected integers from -7 to 7, found 9 at \[1, 2\]$"),
        (np.array([[0, 0, 128]], np.uint8), r"expected integers from -7 to 7, found 128 at \[0, 2\]$"),
        (np.array([[0, 0, 2**64 - 1]], np.uint64), r"expected integers from -7 to 7, found 18446744073709551615 at"),
        (np.array([[0, 0, 65535]], np.uint16), r"expected integers from -7 to 7, found 65535 at \[0, 2\]$"),
        (np.array([[0, 0, 2**32]]), r"expected integers from -7 to 7, found 4294967296 at \[0, 2\]$"),
    ],
)
def test_codes_that_are_refused(codes, message):
    with pytest.raises(ParameterError, match=f"^codes: {message}"):
        pcmref.tile(DEVICES, FROZEN)(codes)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ([0, 1], "expected 3 of them, found 2"),
        (5, "expected 3 of them, found 1"),
        (np.arange(4), "expected 3 of them, found 4"),
        (np.arange(4, dtype=np.uint64), "expected 3 of them, found 4"),
        ([], "expected 3 of them, found 0"),
        ([0, 1, -1], "expected integers from 0 to .* found -1"),
        (np.array([0, -5, 1]), r"expected integers from 0 to .* found np\.int64\(-5\)|found -5"),
        ([0, 1, 2**64], "expected integers from 0 to .* found 18446744073709551616"),
        ([0, 1, 2.0], r"expected integers from 0 to .* found 2\.0"),
        (np.zeros(3), r"expected integers from 0 to .* found (np\.float64\()?0\.0"),
        ([0, True, 2], "expected integers from 0 to .* found True"),
        ([0, None, 2], "expected integers from 0 to .* found None"),
        ("123", "expected integers from 0 to .* found '1'"),
        (np.zeros((3, 1), np.uint64), r"expected integers from 0 to .* found array"),
    ],
    ids=repr,
)
def test_addresses_that_are_refused(address, message):
    for readout, variance in ((FROZEN, None), (FRESH, DEVICES)):
        tile = pcmref.tile(DEVICES, readout, variance_code=variance, stream=KEY)
        with pytest.raises(ParameterError, match=f"^address: {message}"):
            tile(np.zeros((3, 3), int), address)


def test_an_address_of_one_vector_is_one():
    tile = pcmref.tile(DEVICES, FRESH, variance_code=DEVICES, stream=KEY)
    for address in ([1, 2], [], np.arange(3)):
        with pytest.raises(ParameterError, match=f"^address: expected 1 of them, found {len(address)}$"):
            tile([1, 2, 3], address)
