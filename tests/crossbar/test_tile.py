"""One tile by itself: plain integers of SPEC.md, section 8, the stages of a layer's trace, and what it refuses."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcmref
from pcmref.arithmetic.choice import VARIABLE
from pcmref.arithmetic.draws import Purpose, stream_key
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.devices.chip import program
from pcmref.errors import ParameterError, PcmrefError
from tests.crossbar.hardware import accumulators, adcs, dacs, size_of
from tests.helpers import naive
from tests.helpers.nets import tiny

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
    stream: tuple[int, int]
    number: int
    codes: np.ndarray
    address: list[int]

    def tile(self, **changes):
        return pcmref.tile(
            self.devices,
            replace(self.readout, **changes),
            variance_code=self.variance,
            stream=self.stream,
            number=self.number,
        )

    def expected(self):
        """The stages in Python's integers, of the tile and of its conversions: lists of n rows."""
        readout, columns = self.readout, self.devices.shape[-1]
        devices = self.devices if readout.lines == "separate" else self.devices[None]
        lines = []
        for line, sign in zip(range(len(devices)), (1, -1), strict=False):
            variance = None if self.variance is None else np.reshape(self.variance, devices.shape)[line]
            lines.append((sign, *(lambda r, c, m=m: int(m[r, c]) for m in (devices[line], variance))))
        each = len(lines) * len(naive.phases(0, readout.dac)[1])
        _, _, offset = naive.code_limits(readout.dac)
        found = {name: [] for name in STAGES}
        parts = [{name: [] for name in STAGES} for _ in range(each)]
        for vector, at in zip(self.codes.tolist(), self.address, strict=True):
            inputs = {r: naive.phases(code + offset, readout.dac)[0] for r, code in enumerate(vector)}
            for stages in (found, *parts):
                for name in STAGES:
                    stages[name].append([])
            for column in range(columns):

                def draw(number, variance, at=at, column=column):
                    return naive.read_noise(variance, self.stream, self.number * each + number, at, column)

                convert = naive.converters_of(readout, "", 0, len(lines), column, None)
                noise = None if self.variance is None else draw
                total, several = naive.tile_product(inputs, lines, 1, column, readout, convert, noise)
                for stages, values in ((found, total), *zip(parts, several, strict=True)):
                    for name in STAGES:
                        stages[name][-1].append(values[name])
        return found, parts


@st.composite
def readouts(draw, rows, columns, fresh, most=16):
    dac = draw(dacs(most, serial=5))
    size = size_of(dac, rows)
    return pcmref.Readout(
        name="test",
        dac=dac,
        adc=draw(st.none() | adcs(size, columns)),
        lines=draw(st.sampled_from(["pair", "pair", "separate"])),
        accumulator=draw(accumulators(size)),
        read_noise="fresh" if fresh else "frozen",
    )


@st.composite
def cases(draw, most=20):
    rng = np.random.default_rng(draw(seeds))
    rows, columns = draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 15, 16, 17, 33]))
    n, fresh = draw(st.integers(1, most)), draw(st.booleans())
    kind = draw(st.sampled_from(["any", "largest", "one sign"]))
    readout = draw(readouts(rows, columns, fresh))
    shape = (2, rows, columns) if readout.lines == "separate" else (rows, columns)
    devices = draw_codes(rng, shape, kind)
    dac = readout.dac
    codes = rng.integers(dac.low, dac.high, (n, rows), endpoint=True)
    if kind == "largest":
        codes = rng.choice([dac.low, dac.high], (n, rows))
    return Case(
        devices=np.abs(devices) if readout.lines == "separate" else devices,
        variance=np.abs(draw_codes(rng, shape, kind)) if fresh else None,
        readout=readout,
        stream=draw(st.tuples(word, word)),
        number=draw(st.integers(0, 9) | st.integers(0, 2**26 - 1)),
        codes=codes,
        address=draw(st.lists(addresses, min_size=n, max_size=n)),
    )


def check(product, expected):
    """All stages have these integers and the promised type, and cannot be written to."""
    for name in STAGES:
        found = getattr(product, name)
        if found is None:
            assert set(np.ravel(expected[name])) <= {None}
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
    for mine, theirs in zip(one.parts, other.parts, strict=True):
        same(mine, theirs)


# Against plain Python


@laws
@given(cases())
def test_every_stage_equals_plain_integers(case):
    expected, parts = case.expected()
    first = {name: stage[0] for name, stage in expected.items()}
    for choice in KERNELS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, choice)
            tile = case.tile()
            product = tile(case.codes, case.address)
            check(product, expected)
            for part, wanted in zip(product.parts or (product,), parts, strict=True):
                check(part, wanted)
            check(tile(case.codes[0], case.address[0]), first)


@laws
@given(cases(most=3), st.sampled_from([0, 1, 2, 15, 16, 17, 100]), seeds)
def test_a_vector_does_not_depend_on_its_company(case, count, seed):
    rng, dac = np.random.default_rng(seed), case.readout.dac
    codes = rng.integers(dac.low, dac.high, (count, case.devices.shape[-2]), endpoint=True)
    at = rng.integers(0, 2**64, count, np.uint64)
    tile = case.tile()
    together = tile(codes, at)
    assert together.codes.shape == (count, case.devices.shape[-1])
    for i in range(count):
        alone = tile(codes[i], at[i])
        same(together[i], alone)
        same(tile(codes[i : i + 1], at[i : i + 1])[0], alone)
    order = rng.permutation(count)
    same(tile(codes[order], at[order]), together[order])


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    "adc", [None, Adc(bits=8, gain=1.0), Adc(bits=2, thresholds=[0, 1])], ids=["sums", "adc", "table"]
)
@pytest.mark.parametrize("drive", ["parallel", "bit-serial"])
def test_no_vectors(fresh, adc, drive):
    readout = pcmref.Readout(
        name="x",
        dac=Dac(bits=8, drive=drive),
        adc=adc,
        accumulator=Accumulator(bits=2),
        read_noise="fresh" if fresh else "frozen",
    )
    tile = pcmref.tile(np.ones((3, 5), int), readout, variance_code=np.ones((3, 5), int) if fresh else None, stream=KEY)
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

    readout = pcmref.Readout(name="x", dac=Dac(bits=8), read_noise="fresh")
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
        pcmref.Readout(name="x", dac=Dac(bits=16), read_noise="fresh"),
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
    readout = pcmref.Readout(name="x", dac=Dac(bits=8), read_noise="fresh")
    tile = pcmref.tile(devices, readout, variance_code=variance, stream=(0xB15A5DBD, 0x1B3CFB50), number=1)
    product = tile([1, 1], 7)
    assert (product.noise_free[10], product.variance[10], product.sums[10]) == (-6789, 12345, -5774)


def test_both_kernels_give_equal_arrays():
    rng = np.random.default_rng(5)
    for bits, fresh, adc in itertools.product((2, 8, 9, 16), (False, True), (None, 8, 24)):
        gain = None if adc is None else 2.0**adc / 2**bits / CODE_LIMIT / 10
        case = Case(
            devices=draw_codes(rng, (77, 33), "any"),
            variance=np.abs(draw_codes(rng, (77, 33), "any")) if fresh else None,
            readout=pcmref.Readout(
                name="x",
                dac=Dac(bits=bits),
                adc=None if adc is None else Adc(bits=adc, gain=gain),
                read_noise="fresh" if fresh else "frozen",
            ),
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


# Of a chip

NETWORK = tiny()
IMAGES = np.random.default_rng(1).integers(0, 256, (3, 6, 6, 3), np.uint8)
RANGES = pcmref.calibrate_ranges(NETWORK, IMAGES, pcmref.Readout(name="x", dac=Dac(bits=8), tile_rows=20)).ranges


def measured_adcs(network, tiles, lines=1):
    """One of its own for each tile and line of every layer."""
    numbers = itertools.count(1)
    return {
        layer.name: [Adc(bits=8, offset=100 * next(numbers)) for _ in range(tiles[layer.name] * lines)]
        for layer in network.crossbar_layers
    }


TILES = {layer.name: -(-layer.rows // 20) for layer in NETWORK.crossbar_layers}
READOUTS = {
    "paper": pcmref.PRESETS["paper"],
    "chip8": replace(pcmref.PRESETS["chip8"], ranges=RANGES, tile_rows=20),
    "rtl8": replace(pcmref.PRESETS["rtl8"], ranges=RANGES, tile_rows=20),
    "one by one": pcmref.Readout(
        name="one by one",
        dac=Dac(bits=4, codes="offset", drive="bit-serial"),
        adc=Adc(bits=8, gain_bits=9, rounding="half-up"),
        lines="separate",
        read_noise="fresh",
        tile_rows=20,
        ranges=RANGES,
    ),
    "measured": replace(pcmref.PRESETS["chip8"], ranges=RANGES, tile_rows=20, measured=measured_adcs(NETWORK, TILES)),
    "measured lines": pcmref.Readout(
        name="lines",
        dac=Dac(bits=6, drive="two-phase"),
        adc=Adc(bits=8, gain_bits=12),
        lines="separate",
        tile_rows=20,
        ranges=RANGES,
        measured=measured_adcs(NETWORK, TILES, 2),
    ),
}


@pytest.mark.parametrize("significance", [(1,), (3, 1)], ids=str)
@pytest.mark.parametrize("name", READOUTS)
def test_a_tile_of_a_chip_has_the_stages_of_inference(name, significance):
    """At the first pixel of each image, of every layer and tile."""
    readout, addresses = READOUTS[name], np.array([5, 2**40 + 3, 0], np.uint64)
    if readout.measured is not None:  # one for each tile of every slice
        tiles = {layer: count * len(significance) for layer, count in TILES.items()}
        lines = 2 if readout.lines == "separate" else 1
        readout = replace(readout, measured=measured_adcs(NETWORK, tiles, lines))
    snapshot = program(NETWORK, seed=2, significance=significance).at(86_400.0)
    traces = []
    pcmref.logits(snapshot, IMAGES, readout=readout, addresses=addresses, tap=traces.append)
    seen = 0
    for trace in traces:
        if trace.product is None:
            continue
        layer = next(layer for layer in NETWORK.layers if layer.name == trace.layer)
        inputs = window_of(layer, trace.product.input_codes) - readout.dac.offset
        for number, traced in enumerate(trace.product.tiles):
            tile = pcmref.tile_of(snapshot, trace.layer, readout, number)
            first = number % (len(trace.product.tiles) // len(significance)) * (readout.tile_rows or 0)
            assert tile.columns == layer.columns
            same(tile(inputs[:, first : first + tile.rows], addresses), traced[:, 0])
            seen += 1
    assert seen == len(significance) * (sum(TILES.values()) if readout.tile_rows else 5)


def window_of(layer, codes):
    """What drives the rows of a layer at the first pixel."""
    height, width = layer.weight.shape[2:] if layer.weight.ndim == 4 else (1, 1)
    channels = layer.weight.shape[1]
    inputs = codes[:, :height, :width, :channels].reshape(len(codes), -1)
    return inputs if layer.bias is None else np.concatenate([inputs, codes[:, 0, 0, channels : channels + 1]], axis=1)


def test_a_tile_of_a_chip_has_the_devices_and_the_stream_of_its_layer():
    snapshot = program(NETWORK, seed=2).at(86_400.0, read=6)
    layer = snapshot.layers[3]
    assert layer.name == "conv3"
    for read_noise, codes in (("frozen", layer.read_code), ("fresh", layer.mean_code)):
        readout = pcmref.Readout(name="x", dac=Dac(bits=8), tile_rows=20, read_noise=read_noise)
        for number, rows in enumerate((range(20), range(20, 40), range(40, 42))):
            tile = pcmref.tile_of(snapshot, "conv3", readout, number)
            assert (tile.rows, tile.number) == (len(rows), number)
            one = np.eye(len(rows), dtype=int)
            assert tile(one).noise_free.tolist() == codes[rows].tolist()
            if read_noise == "fresh":
                assert tile(one).variance.tolist() == layer.variance_code[rows].tolist()
                key = stream_key(2, Purpose.PRODUCT, 3, t_s=86_400.0, read=6)
                other = pcmref.tile(
                    codes[rows], readout, variance_code=layer.variance_code[rows], stream=key, number=number
                )
                same(tile(one, range(len(rows))), other(one, range(len(rows))))


def test_tiles_of_a_chip_that_are_refused():
    snapshot, readout = program(NETWORK).at(86_400.0), pcmref.Readout(name="x", dac=Dac(bits=8), tile_rows=20)
    for number in (3, -1, 1.0, True, None):
        with pytest.raises(
            ParameterError, match=r"^number: expected one of the 3 tiles of layer 'conv3', from 0, found"
        ):
            pcmref.tile_of(snapshot, "conv3", readout, number)
    whole = replace(readout, tile_rows=None)
    with pytest.raises(ParameterError, match=r"^number: expected one of the 1 tiles of layer 'fc', from 0, found 1$"):
        pcmref.tile_of(snapshot, "fc", whole, 1)
    for name in ("relu1", "", None, 0):
        with pytest.raises(ParameterError, match=r"^layer: expected one of conv1, conv2, short, conv3, fc, found "):
            pcmref.tile_of(snapshot, name, readout)
    with pytest.raises(ParameterError, match=r"^snapshot: expected a Snapshot \(Chip.at\), found"):
        pcmref.tile_of(program(NETWORK), "fc", readout)
    with pytest.raises(ParameterError, match=r"^readout: expected a Readout \(pcmref\.PRESETS\), found 'paper'"):
        pcmref.tile_of(snapshot, "fc", "paper")
    with pytest.raises(ParameterError, match=r"^readout chip8: expected calibrated ranges for layer 'fc'"):
        pcmref.tile_of(snapshot, "fc", pcmref.PRESETS["chip8"])


@pytest.mark.parametrize("count", [2, 4])
def test_another_number_of_measured_adcs_is_refused_for_every_tile(count):
    measured = {"conv3": [Adc(bits=8, offset=k) for k in range(count)]}
    readout = replace(READOUTS["chip8"], measured=measured)
    snapshot = program(NETWORK).at(86_400.0)
    message = rf"^layer 'conv3': measured: expected 1 ADC, or 3, one for each tile and line, found {count}$"
    with pytest.raises(ParameterError, match=message):
        pcmref.prepare(snapshot, readout=readout)
    for number in range(3):
        with pytest.raises(ParameterError, match=r"measured: expected 1 ADC, or 3"):
            pcmref.tile_of(snapshot, "conv3", readout, number)


def test_a_tile_keeps_its_own_codes():
    devices = np.ones((2, 2), np.int16)
    tile = pcmref.tile(devices, pcmref.Readout(name="x", dac=Dac(bits=8)))
    devices[:] = 9
    assert tile([1, 1]).codes.tolist() == [2, 2]
    codes = np.ones((1, 2), np.int16)
    product = tile(codes)
    codes[:] = 5
    assert product.codes.tolist() == [[2, 2]]


# Addresses


@pytest.mark.usefixtures("kernels")
def test_addresses_of_any_type_and_positions_by_default():
    readout = pcmref.Readout(name="x", dac=Dac(bits=8), read_noise="fresh")
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
    readout = pcmref.Readout(name="x", dac=Dac(bits=8), read_noise="fresh")

    def sums(stream=KEY, number=3):
        tile = pcmref.tile(
            np.zeros((2, 9), int), readout, variance_code=np.full((2, 9), 999), stream=stream, number=number
        )
        return tuple(tile([1, 1], 5).sums)

    others = [sums(stream=(KEY[0] ^ 1, KEY[1])), sums(stream=(KEY[0], KEY[1] ^ 1)), sums(stream=KEY[::-1])]
    assert len({sums(), *others, sums(number=4), sums(number=0), sums(number=2**26 - 1)}) == 7
    assert sums() == sums(stream=list(KEY))


# What is refused

FROZEN = pcmref.Readout(name="frozen", dac=Dac(bits=4))
FRESH = pcmref.Readout(name="fresh", dac=Dac(bits=4), read_noise="fresh")
LINES = pcmref.Readout(name="lines", dac=Dac(bits=4), lines="separate")
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


BOTH = r"expected integers of shape \(2, rows, columns\), as each line has its ADC, found "


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (DEVICES, BOTH + r"int64 of shape \(3, 2\)"),
        (DEVICES[None], BOTH + r"int64 of shape \(1, 3, 2\)"),
        (np.zeros((3, 3, 2), int), BOTH + r"int64 of shape \(3, 3, 2\)"),
        (np.zeros((2, 0, 2), int), BOTH + r"int64 of shape \(2, 0, 2\)"),
        ([[[1]], [[-1]]], r"expected integers from 0 to 32767, found -1 at \[1, 0, 0\]"),
        ([[[0, 32768]], [[0, 0]]], r"expected integers from 0 to 32767, found 32768 at \[0, 0, 1\]"),
    ],
)
def test_devices_of_lines_that_are_refused(devices, message):
    with pytest.raises(ParameterError, match=f"^devices: {message}"):
        pcmref.tile(devices, LINES)


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
        (DEVICES[0], r"expected integers of shape \(rows, columns\), found int64 of shape \(2,\)"),
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


def test_variances_of_lines_have_their_shape():
    fresh, devices = replace(LINES, read_noise="fresh"), np.ones((2, 3, 2), int)
    assert pcmref.tile(devices, fresh, variance_code=devices, stream=KEY)([1, 0, 7]).variance.tolist() == [100, 100]
    with pytest.raises(
        ParameterError, match=r"^variance_code: expected integers of shape \(2, rows, columns\), as each"
    ):
        pcmref.tile(devices, fresh, variance_code=devices[0], stream=KEY)
    with pytest.raises(ParameterError, match=r"^variance_code: expected integers of shape \(2, 3, 2\), found int64"):
        pcmref.tile(devices, fresh, variance_code=devices[:, 1:], stream=KEY)


def test_an_adc_of_a_tile_has_a_gain_or_thresholds():
    for adc in (Adc(bits=8), Adc(bits=8, gain_bits=16)):
        readout = replace(FROZEN, adc=adc)
        expected = r"^readout: adc: expected a gain or thresholds, as a tile has no ranges, found Adc\("
        with pytest.raises(ParameterError, match=expected):
            pcmref.tile(DEVICES, readout)
        ranged = replace(readout, ranges={"fc": pcmref.Range(input_top=1.0, sum_top_us=1.0)})
        with pytest.raises(ParameterError, match=expected):
            pcmref.tile(DEVICES, ranged)
    for adc in (
        Adc(bits=2, gain=[1.0, 2.0, 3.0]),
        Adc(bits=2, thresholds=[[0, 1]] * 3),
        Adc(bits=2, gain=1, offset=[1] * 3),
    ):
        with pytest.raises(
            ParameterError, match=r"^adc: (gain|thresholds|offset): expected .*2.*, one a column, found 3$"
        ):
            pcmref.tile(DEVICES, replace(FROZEN, adc=adc))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("gain", [2.0**-100, 1, np.float32(0.25), 2.0**100, FixedPoint(3, 12)])
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")  # without JIT
def test_gains_from_one_end_to_the_other(gain):
    tile = pcmref.tile([[5000, -20000]], replace(FROZEN, adc=Adc(bits=8, gain=gain)))
    exact = Fraction(float(gain))
    assert tile([7]).codes.tolist() == [max(-127, min(127, round(total * exact))) for total in (35_000, -140_000)]


# Registers


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("lines", ["pair", "separate"])
def test_a_sum_that_the_register_cannot_hold_is_an_error_with_the_address(lines):
    """The largest that it holds, and one more, of either sign."""
    readout = replace(FROZEN, lines=lines, accumulator=Accumulator(bits=8))
    devices = np.array([[1, 100], [0, 10]])
    tile = pcmref.tile(np.stack([devices, devices * 0]) if lines == "separate" else devices, readout)
    # 7 * 1, 100 + 27; -100 - 28
    assert tile([[1, 2], [-1, -2]], [9, 8]).sums.tolist() == [[1, 120], [-1, -120]]
    message = r"^accumulator: expected sums of 8 bits, found 130 for image 7$"
    with pytest.raises(PcmrefError, match=message):
        tile([[1, 2], [1, 3], [-1, -3]], [9, 7, 8])
    with pytest.raises(PcmrefError, match=r"^accumulator: expected sums of 8 bits, found -130 for image 0$"):
        tile([-1, -3])


@pytest.mark.usefixtures("kernels")
def test_a_register_holds_exactly_its_two_s_complement():
    devices, readout = [[127, -128, 128, -129]], replace(FROZEN, accumulator=Accumulator(bits=8, beyond="saturate"))
    assert pcmref.tile(devices, readout)([1]).sums.tolist() == [127, -128, 127, -128]
    assert pcmref.tile(devices, readout)([-1]).sums.tolist() == [-127, 127, -128, 127]
    wraps = replace(readout, accumulator=Accumulator(bits=8, beyond="wrap"))
    assert pcmref.tile(devices, wraps)([1]).sums.tolist() == [127, -128, -128, 127]
    assert pcmref.tile(devices, wraps)([-2]).sums.tolist() == [2, 0, 0, 2]
    refuses = pcmref.tile(devices, replace(readout, accumulator=Accumulator(bits=8)))
    with pytest.raises(PcmrefError, match=r"^accumulator: expected sums of 8 bits, found 128 for image 0$"):
        refuses([1])


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


def test_more_rows_or_columns_than_a_tile_of_the_readout_has_are_refused():
    readout = pcmref.Readout(name="x", dac=Dac(bits=8), tile_rows=2, tile_columns=1)
    assert pcmref.tile(DEVICES[:2, :1], readout).rows == 2
    with pytest.raises(ParameterError, match=r"^devices: expected at most 2 rows, as tiles have, found 3$"):
        pcmref.tile(DEVICES[:, :1], readout)
    with pytest.raises(ParameterError, match=r"^devices: expected at most 1 columns, as tiles have, found 2$"):
        pcmref.tile(DEVICES[:2], readout)


def test_sums_that_might_not_be_exact_are_refused():
    """Of 2^22 + 1 rows a sum may reach 2^52; of fewer, with fresh noise, B may reach 2^63."""
    readout = pcmref.Readout(name="x", dac=Dac(bits=16), read_noise="fresh")
    rows = 2**63 // 32767**3
    full = np.full((rows + 1, 1), 32767, np.int16)
    beyond = r"^variance codes of a tile: expected column sums below 2\^63, found up to 9.22"
    with pytest.raises(ParameterError, match=beyond):
        pcmref.tile(full, readout, variance_code=full, stream=KEY)
    tile = pcmref.tile(full[:-1], readout, variance_code=full[:-1], stream=KEY)
    assert tile(full[:-1, 0]).variance.tolist() == [rows * 32767**3]
    many = np.full((2**52 // 32767**2 + 1, 1), 32767, np.int16)
    with pytest.raises(ParameterError, match=r"^conductance codes of a tile: expected column sums below 2\^52, found "):
        pcmref.tile(many, pcmref.Readout(name="x", dac=Dac(bits=16)))


@pytest.mark.parametrize("number", [-1, 2**26, 1.0, "0", True, None])
def test_numbers_that_are_refused(number):
    with pytest.raises(ParameterError, match=r"^number: expected an integer from 0 to 2\*\*26 - 1, found "):
        pcmref.tile(DEVICES, FROZEN, number=number, stream=KEY)


@pytest.mark.parametrize("readout", [None, "paper", 8, {"dac": Dac(bits=8)}, pcmref.Readout])
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


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("codes", "low", "high"), [("signed", -8, 7), ("offset", -8, 7), ("unsigned", 0, 15)])
def test_codes_of_each_kind_of_dac(codes, low, high):
    tile = pcmref.tile(DEVICES, pcmref.Readout(name="x", dac=Dac(bits=4, codes=codes)))
    vectors = [[low, 0, high], [high, low, 1]]
    assert tile(vectors).codes.tolist() == (np.array(vectors) @ DEVICES).tolist()
    for bad in (low - 1, high + 1):
        with pytest.raises(
            ParameterError, match=rf"^codes: expected integers from {low} to {high}, found {bad} at \[1\]$"
        ):
            tile([0, bad, 0])


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
