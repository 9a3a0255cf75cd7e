"""Crossbars: one product against plain Python, tiles, converters, and the law of fresh read noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pcmref.arithmetic import reference
from pcmref.arithmetic.choice import VARIABLE
from pcmref.arithmetic.codes import CODE_LIMIT, Range
from pcmref.arithmetic.draws import stream_key, weight_words
from pcmref.arithmetic.operands import Digital
from pcmref.crossbar.converters import Accumulator, Adc, Dac
from pcmref.crossbar.layer import activations, build, multiply
from pcmref.crossbar.readout import Readout
from pcmref.devices import pcm
from pcmref.devices.chip import SnapshotLayer
from pcmref.devices.mapping import map_matrix
from pcmref.devices.published import NANDAKUMAR_2019
from pcmref.errors import ParameterError, PcmrefError
from pcmref.network.geometry import geometry
from pcmref.network.layers import Conv, Linear
from tests.crossbar.hardware import DRIVES, accumulators, adcs, dacs, size_of
from tests.helpers import naive

laws = settings(max_examples=settings.default.max_examples // 2)
many = settings(max_examples=2 * settings.default.max_examples)
KERNELS = ["numpy", "numba"]

STEP_US = 2.0**-9
seeds = st.integers(0, 2**32 - 1)
addresses = st.integers(0, 2**64 - 1)


@dataclass(frozen=True)
class Case:
    """A crossbar layer with inputs: everything that a product needs."""

    layer: Conv | Linear
    shape: tuple[int, ...]
    read: SnapshotLayer
    readout: Readout
    x: np.ndarray
    image: np.ndarray
    gain: np.ndarray
    key: tuple[int, int] = (0x12345678, 0x9ABCDEF0)
    significance: tuple[int, ...] = (1,)

    @property
    def geometry(self):
        return geometry(self.layer, self.shape, self.layer.shape_after(self.shape))

    def build(self, **changes):
        readout = replace(self.readout, **changes)
        numbers = {"g_step_us": STEP_US, "significance": self.significance, "gain": self.gain, "stream": self.key}
        return build(self.read, self.geometry, readout, **numbers)

    def naive(self, n=0, **changes):
        """The product of image n, by loops."""
        numbers = {"g_step_us": STEP_US, "significance": self.significance, "gain": self.gain, "key": self.key}
        readout = replace(self.readout, **changes)
        return naive.product(self.layer, self.read, readout, self.x[n], address=int(self.image[n]), **numbers)

    def multiply(self, **changes):
        return multiply(self.build(**changes), self.maps, self.image)

    @property
    def maps(self):
        return self.x.reshape(len(self.x), *(self.shape if len(self.shape) == 3 else (1, 1, *self.shape)))


def values(built, product):
    """Digital values of a product, in float32."""
    scale = product.output_step[:, None, None] * built.unit
    return product.output_codes.astype(np.float32) * scale


def sums(product):
    """What the ADCs of the tiles see."""
    return [tile.sums for tile in product.tiles]


def devices(codes):
    """Conductances of pairs, one device of each at 0."""
    return np.stack([np.maximum(codes, 0), np.maximum(-codes, 0)]).astype(np.int16)


def draw_codes(rng, kind, shape, low=-CODE_LIMIT):
    if kind == "largest":
        return rng.choice(np.array([low, CODE_LIMIT]), shape)
    if kind == "one sign":
        return np.full(shape, CODE_LIMIT)
    if kind == "few":
        return rng.integers(max(low, -2), 3, shape) * (rng.random(shape) < 0.3)
    return rng.integers(low, CODE_LIMIT + 1, shape)


def linear(out, rows, bias=False):
    ones = np.ones(out, np.float32)
    return Linear(name="layer", inputs=("input",), weight=np.ones((out, rows), np.float32), bias=ones if bias else None)


@st.composite
def geometries(draw):
    """A layer and the shape of its input."""
    rng = np.random.default_rng(draw(seeds))
    channels, out = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 3, 17, 50]))
    groups = 1 if out > 17 else draw(st.sampled_from([1, 1, 2, 5]))
    out *= groups
    bias = rng.standard_normal(out).astype(np.float32) if draw(st.booleans()) else None
    if out == 50 or (groups == 1 and draw(st.booleans())):
        shape = (channels * draw(st.integers(1, 5)),)
        weight = np.ones((out, *shape), np.float32)
        return Linear(name="layer", inputs=("input",), weight=weight, bias=bias), shape
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    shape = (draw(st.integers(kernel[0], 5)), draw(st.integers(kernel[1], 5)), channels * groups)
    layer = Conv(
        name="layer",
        inputs=("input",),
        weight=np.ones((out, channels, *kernel), np.float32),
        bias=bias,
        stride=draw(st.integers(1, 3) | st.just((1, 2))),
        padding=draw(st.integers(0, 2) | st.just((2, 0, 1, 3))),
        groups=groups,
    )
    return layer, shape


@st.composite
def readouts(draw, rows, columns, read_noise=("frozen", "fresh"), converters=True, drives=None):
    """A readout for a layer; without `converters` one without an ADC, ranges and register."""
    noise = draw(st.sampled_from(read_noise))
    dac = draw(dacs(serial=16 if noise == "frozen" else 3, drives=drives))
    least = 1 if noise == "frozen" else -(-rows // 3)  # a naive draw takes long
    found = Readout(
        name="test",
        dac=dac,
        tile_rows=draw(st.none() | st.integers(least, rows + 2)),
        tile_columns=draw(st.none() | st.integers(1, columns + 2)),
        lines=draw(st.sampled_from(["pair", "pair", "separate"])),
        read_noise=noise,
    )
    if not converters:
        return found
    size = size_of(dac, rows)
    adc = draw(st.none() | adcs(size, columns, own=draw(st.booleans())))
    ranges, top = None, draw(st.sampled_from([0.1, 1.0, 2.5]))
    if adc is not None or draw(st.booleans()):
        groups = -(-columns // min(found.tile_columns or columns, columns))
        shares = draw(st.lists(st.sampled_from([1e-3, 0.5, 3.0]), min_size=groups, max_size=groups))
        sums = [top / dac.high * STEP_US * size * share for share in shares]
        ranges = {"layer": Range(input_top=top, sum_top_us=draw(st.sampled_from([sums[0], sums])))}
    measured = None
    if adc is not None and draw(st.sampled_from([False, False, True])):
        measured = {"layer": measured_like(adc, draw(st.integers(0, 2**32 - 1)), size, columns)}
    return replace(found, adc=adc, accumulator=draw(accumulators(size)), ranges=ranges, measured=measured)


def measured_like(adc, seed, size, columns):
    """An ADC with the limits of another, but errors of its own."""
    rng = np.random.default_rng(seed)
    shared = {"bits": adc.bits, "low": adc.low, "high": adc.high}
    if adc.bits <= 5:
        table = np.sort(rng.integers(-size, size + 1, (columns, adc.high - adc.low)), axis=1)
        return Adc(**shared, thresholds=table)
    gain = None if rng.integers(2) else rng.uniform(0.5, 2, columns) * adc.high / size
    return Adc(**shared, rounding="floor", offset=rng.integers(-size, size, columns), gain=gain)


def read_of(rng, kind, size, columns=None):
    """Devices as they are read."""
    shape = (2, *size)
    return SnapshotLayer(
        name="layer",
        g_mean_code=np.abs(draw_codes(rng, kind, shape)).astype(np.int16),
        g_read_code=np.abs(draw_codes(rng, kind, shape)).astype(np.int16),
        g_variance_code=draw_codes(rng, kind, shape, low=0).astype(np.int16),
        weight_per_us=rng.uniform(0.001, 0.1, size[1]),
    )


@st.composite
def cases(draw, read_noise=("frozen", "fresh"), converters=True, drives=None, slices=((1,), (1,), (4, 1))):
    rng = np.random.default_rng(draw(seeds))
    layer, shape = draw(geometries())
    significance = draw(st.sampled_from(slices))
    kind = draw(st.sampled_from(["any", "largest", "one sign", "few"]))
    read = read_of(rng, kind, (layer.rows * len(significance), layer.columns))
    readout = draw(readouts(layer.rows, layer.columns, read_noise, converters, drives))
    n = draw(st.integers(1, 2))
    x = rng.standard_normal((n, *shape)) * draw(st.sampled_from([1.0, 1.0, 1e-3, 1e20, 1e-31, 0.0]))
    if draw(st.booleans()):
        x = np.maximum(x, 0)
    image = np.array(draw(st.lists(addresses, min_size=n, max_size=n)), np.uint64)
    gain = np.array(draw(st.sampled_from([[1.0], [1.5], list(rng.uniform(1, 2, layer.columns))])))
    return Case(layer, shape, read, readout, x.astype(np.float32), image, gain, significance=significance)


# Against plain Python


@many
@given(cases())
def test_a_product_equals_the_naive_one(case):
    built = case.build()
    product = multiply(built, case.maps, case.image)
    found = values(built, product)
    channels = case.maps.shape[3] + (case.layer.bias is not None)
    assert (product.input_codes[..., channels:] == case.readout.dac.offset).all()
    for n in range(len(case.x)):
        expected = case.naive(n)
        assert product.input_codes[n, ..., :channels].tolist() == expected["codes"].tolist()
        assert product.input_step[n] == expected["step"]
        naive.check_tiles(product.tiles, n, expected)
        assert product.output_codes[n].tolist() == expected["outputs"].tolist()
        assert found[n].tobytes() == expected["values"].tobytes()


def test_the_stages_are_integers_of_64_bits_in_arrays_that_cannot_be_written_to():
    layer = Linear(name="layer", inputs=("input",), weight=np.ones((2, 3), np.float32), bias=np.ones(2, np.float32))
    case = plain_case(layer, (3,), np.random.default_rng(4), images=2)
    ranges = {"layer": Range(input_top=1.0, sum_top_us=9.0)}
    table = Adc(bits=2, thresholds=[0, 9])
    for changes in (
        {},
        {"read_noise": "fresh"},
        {"read_noise": "fresh", "adc": Adc(bits=8), "ranges": ranges},
        {"read_noise": "fresh", "lines": "separate", "dac": Dac(bits=3, codes="offset", drive="bit-serial")},
        {"adc": table, "ranges": ranges, "dac": Dac(bits=8, drive="two-phase"), "accumulator": Accumulator(bits=40)},
    ):
        product = case.multiply(tile_rows=2, **changes)
        tiles = [*product.tiles, *(part for tile in product.tiles for part in tile.parts)]
        stages = [getattr(tile, n) for tile in tiles for n in ("noise_free", "variance", "sums", "codes")]
        stages = [stage for stage in [*stages, product.output_codes] if stage is not None]
        assert {stage.dtype for stage in stages} == {np.dtype(np.int64)}
        assert (product.input_codes.dtype, product.input_step.dtype) == (np.int16, np.float32)
        for stage in (*stages, product.input_codes, product.input_step, product.output_step):
            assert not stage.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                stage[0] = 0


@many
@given(cases(), st.booleans(), st.booleans(), seeds)
def test_a_layer_in_one_call_has_the_bits_of_its_stages(case, added, rectify, seed):
    built, rng = case.build(), np.random.default_rng(seed)
    pixels, columns = len(case.geometry.pixel), len(built.unit)
    scale, offset = rng.standard_normal((2, columns)).astype(np.float32)
    digital = Digital(unit=built.unit, scale=scale, offset=offset, rectify=rectify)
    other = rng.standard_normal((len(case.x), pixels, columns)).astype(np.float32) if added else None
    for choice in KERNELS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, choice)
            product = multiply(built, case.maps, case.image)
            expected = reference.finish(product.output_codes, product.output_step, digital, other)
            found = activations(built, digital)(case.maps, other, case.image)
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        assert found.tobytes() == expected.tobytes()


@laws
@given(cases())
def test_both_kernels_give_the_same_stages(case):
    products = []
    for choice in KERNELS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, choice)
            products.append(case.multiply())
    one, other = products
    for name in ("input_codes", "input_step", "output_codes", "output_step"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    for a, b in zip(one.tiles, other.tiles, strict=True):
        for mine, theirs in zip((a, *a.parts), (b, *b.parts), strict=True):
            for name in ("noise_free", "variance", "sums", "codes"):
                assert np.array_equal(getattr(mine, name), getattr(theirs, name))


@pytest.mark.parametrize("bits", range(2, 17))
def test_every_width_of_the_dac_uses_its_whole_range(bits):
    limit = 2 ** (bits - 1) - 1
    rng = np.random.default_rng(bits)
    layer = Linear(name="layer", inputs=("input",), weight=np.ones((3, 50), np.float32))
    case = replace(plain_case(layer, (50,), rng), readout=Readout(name="test", dac=Dac(bits=bits)))
    codes = case.multiply().input_codes[0].reshape(-1)
    assert np.abs(codes).max() == limit
    assert codes[np.abs(case.x[0]).argmax()] == limit * np.sign(case.x[0][np.abs(case.x[0]).argmax()])
    for read_noise in ("frozen", "fresh"):
        product = case.multiply(read_noise=read_noise)
        expected = case.naive(read_noise=read_noise)
        naive.check_tiles(product.tiles, 0, expected)


def plain_case(layer, shape, rng, images=1):
    read = replace(read_of(rng, "any", (layer.rows, layer.columns)), weight_per_us=np.full(layer.columns, 0.04))
    x = rng.standard_normal((images, *shape)).astype(np.float32)
    image = np.arange(images, dtype=np.uint64)
    return Case(layer, shape, read, Readout(name="test", dac=Dac(bits=8)), x, image, np.ones(1))


@pytest.mark.parametrize("constant", [False, True])
def test_inputs_below_2_to_the_minus_100_count_as_zero(constant):
    bias = np.ones(2, np.float32) if constant else None
    layer = Linear(name="layer", inputs=("input",), weight=np.ones((2, 3), np.float32), bias=bias)
    case = plain_case(layer, (3,), np.random.default_rng(2))
    least = np.float32(2.0**-100)
    for top, heard in ((least, True), (np.nextafter(least, np.float32(0)), False), (np.float32(0), False)):
        product = replace(case, x=np.array([[top, -top, 0]], np.float32)).multiply()
        limit = 127 if heard and not constant else 0
        assert product.input_codes[0, 0, 0, :3].tolist() == [limit, -limit, 0]
        assert (product.input_step[0] > 0) == (heard or constant)
        assert product.tiles[0].sums.any() == (heard or constant)
        if constant:
            assert product.input_codes[0, 0, 0, 3] == 127


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")  # without JIT
def test_an_input_that_is_not_finite_is_an_error_that_names_the_image(bad, fixed):
    layer = Linear(name="layer", inputs=("input",), weight=np.ones((2, 3), np.float32))
    case = plain_case(layer, (3,), np.random.default_rng(3), images=3)
    case = replace(case, image=np.array([7, 8, 2**63], np.uint64))
    ranges = {"layer": Range(input_top=1.0, sum_top_us=1.0)} if fixed else None
    for place, address in ((0, 7), (2, 2**63)):
        x = case.x.copy()
        x[place, 1] = bad
        wrong = replace(case, x=x)
        built = wrong.build(ranges=ranges)
        one = np.ones(2, np.float32)
        message = f"^input of layer: expected finite numbers, found an overflow for image {address}$"
        with pytest.raises(PcmrefError, match=message):
            multiply(built, wrong.maps, wrong.image)
        with pytest.raises(PcmrefError, match=message):
            activations(built, Digital(one, one, one, False))(wrong.maps, None, wrong.image)


# Tiles


@laws
@given(cases(read_noise=["frozen"], converters=False), st.data())
def test_tiles_change_nothing_without_an_adc(case, data):
    whole = case.multiply(tile_rows=None)
    rows = data.draw(st.integers(1, case.layer.rows + 3))
    tiled = case.multiply(tile_rows=rows)
    assert len(whole.tiles) == len(case.significance)
    assert len(tiled.tiles) == -(-case.layer.rows // rows) * len(case.significance)
    assert np.array_equal(tiled.output_codes, whole.output_codes)
    assert np.array_equal(sum(tile.sums.astype(np.int64) for tile in tiled.tiles), whole.output_codes)
    assert np.array_equal(values(case.build(tile_rows=rows), tiled), values(case.build(tile_rows=None), whole))


@pytest.mark.parametrize("rows", [1, 2, 3, 64])
def test_sums_beyond_32_bits_over_many_tiles(rows):
    """No tile's sum needs more than 32 bits, but their sum does."""
    layer = Linear(name="layer", inputs=("input",), weight=np.ones((2, 600), np.float32))
    case = plain_case(layer, (600,), np.random.default_rng(1))
    codes = np.full((600, 2), CODE_LIMIT, np.int16)
    case = replace(case, read=replace(case.read, g_read_code=devices(codes)), x=np.ones((1, 600), np.float32))
    product = case.multiply(dac=Dac(bits=16), tile_rows=rows)
    assert product.output_codes.tolist() == [[[600 * CODE_LIMIT**2] * 2]]


@pytest.mark.parametrize("last", [1, 2])
def test_a_sum_of_exactly_2_to_the_31(last):
    """65,538 rows of 32767 and one of 2: one more than 32 bits hold."""
    layer = Linear(name="layer", inputs=("input",), weight=np.ones((1, 65_539), np.float32))
    case = plain_case(layer, (65_539,), np.random.default_rng(1))
    codes = np.full((65_539, 1), CODE_LIMIT, np.int16)
    codes[-1] = last
    case = replace(case, read=replace(case.read, g_read_code=devices(codes)), x=np.ones((1, 65_539), np.float32))
    assert case.multiply(dac=Dac(bits=2)).output_codes.tolist() == [[[2**31 - 2 + last]]]


@laws
@given(cases(converters=False), st.integers(-30, 30))
def test_scaling_an_image_by_a_power_of_two_scales_its_step_alone(case, k):
    assume(case.layer.bias is None)  # the constant 1 of a bias does not scale
    assume(1e-6 < np.abs(case.x).max() < 1e6)
    scaled = replace(case, x=np.ldexp(case.x, k)).multiply()
    product = case.multiply()
    assert np.array_equal(scaled.input_codes, product.input_codes)
    assert np.array_equal(scaled.output_codes, product.output_codes)
    assert np.array_equal(scaled.input_step, np.ldexp(product.input_step, k))


# Converters


@laws
@given(cases(read_noise=["frozen"], drives=DRIVES[:1], slices=[(1,)]), st.integers(2, 24))
def test_adc_codes_are_the_sums_to_half_a_step_or_saturated(case, bits):
    assume(case.readout.ranges is not None)
    plain = {"tile_rows": None, "tile_columns": None, "lines": "pair", "accumulator": None, "measured": None}
    full = case.readout.ranges["layer"]
    full = replace(full, sum_top_us=float(np.max(full.sum_top_us)))
    product = case.multiply(adc=Adc(bits=bits), ranges={"layer": full}, **plain)
    limit = 2 ** (bits - 1) - 1
    volts = product.tiles[0].sums * product.input_step[:, None, None].astype(float) * STEP_US
    ideal = volts / (full.sum_top_us / limit)
    assert np.abs(product.output_codes).max() <= limit
    error = np.abs(np.clip(ideal, -limit, limit) - product.output_codes)
    assert (error <= 0.5 * (1 + 1e-9) + np.abs(ideal) * 1e-15).all()
    assert (product.output_step == 1).all()


def test_an_adc_needs_ranges_and_so_does_every_layer():
    layer = Linear(name="layer", inputs=("input",), weight=np.ones((2, 3), np.float32))
    case = plain_case(layer, (3,), np.random.default_rng(1))
    for changes in (
        {"adc": Adc(bits=8)},
        {"adc": Adc(bits=8, gain=1.0)},
        {"adc": Adc(bits=2, thresholds=[0, 1])},
        {"ranges": {}},
        {"adc": Adc(bits=8), "ranges": {"other": Range(input_top=1.0, sum_top_us=1.0)}},
    ):
        with pytest.raises(ParameterError, match="calibrated ranges for layer 'layer'"):
            case.build(**changes)


# Fresh read noise


def test_the_noise_of_an_image_depends_on_its_address_only():
    rng = np.random.default_rng(6)
    layer = Conv(name="layer", inputs=("input",), weight=np.ones((5, 2, 3, 3), np.float32), padding=1)
    case = plain_case(layer, (4, 3, 2), rng, images=8)
    case = replace(case, image=rng.integers(0, 2**64, 8, np.uint64), readout=replace(case.readout, read_noise="fresh"))
    whole = sums(case.multiply(tile_rows=7))
    order = rng.permutation(8)
    for part in (order, order[:3], order[5:6]):
        some = sums(replace(case, x=case.x[part], image=case.image[part]).multiply(tile_rows=7))
        for a, b in zip(whole, some, strict=True):
            assert np.array_equal(a[part], b)
    exact = sums(case.multiply(tile_rows=7, read_noise="frozen"))
    assert all((a != b).any() for a, b in zip(whole, exact, strict=True))


@pytest.mark.parametrize("change", ["address", "high half of the address", "key", "tile"])
def test_another_address_draws_other_noise(change):
    layer = Linear(name="layer", inputs=("input",), weight=np.ones((16, 8), np.float32))
    case = plain_case(layer, (8,), np.random.default_rng(7))
    case = replace(
        case,
        read=replace(
            case.read, g_mean_code=case.read.g_mean_code * 0, g_variance_code=np.full((2, 8, 16), 99, np.int16)
        ),
        x=np.ones((1, 8), np.float32),
        image=np.array([3], np.uint64),
        readout=replace(case.readout, read_noise="fresh"),
    )
    base = sums(case.multiply(tile_rows=4))
    if change == "tile":
        other = base[1]
    elif change == "key":
        other = replace(case, key=(case.key[0], case.key[1] ^ 1)).multiply(tile_rows=4).tiles[0].sums
    else:
        address = 4 if change == "address" else 3 + 2**32
        other = replace(case, image=np.array([address], np.uint64)).multiply(tile_rows=4).tiles[0].sums
    assert (base[0] != other).mean() > 0.9
    assert np.array_equal(base[0], case.multiply(tile_rows=4).tiles[0].sums)


PRODUCTS = 20_000


@pytest.fixture(scope="module", params=[8, 12, 16], ids=lambda bits: f"{bits} bits")
def fresh(request):
    """20,000 products of one input with a small array a day after programming, and what they should be.

    Two pixels, three columns.  The literal way is to draw the noise of every device for every product: 2 devices
    x 5 rows x 3 columns x 2 pixels for each of 20,000 images.
    """
    rng = np.random.default_rng(8)
    model, t, n = NANDAKUMAR_2019, 86400.0, PRODUCTS
    weight = rng.normal(0, 1, (3, 5, 1, 1)).astype(np.float32)
    layer = Conv(name="layer", inputs=("input",), weight=weight)
    mapped = map_matrix("layer", layer.matrix(), g_max_us=model.g_max_us)

    def words(purpose):
        return weight_words(stream_key(1, purpose, 0), 15)

    state = model.program(mapped.pair_targets_us(), words)
    codes = model.read(state, t, words)
    read = SnapshotLayer(
        name="layer",
        g_mean_code=codes.mean,
        g_read_code=codes.read,
        g_variance_code=codes.variance,
        weight_per_us=mapped.weight_per_us,
    )
    x = rng.standard_normal((1, 2, 1, 5)).astype(np.float32)
    case = Case(
        layer,
        (2, 1, 5),
        read,
        Readout(name="test", dac=Dac(bits=request.param), read_noise="fresh"),
        np.repeat(x, n, axis=0),
        np.arange(n, dtype=np.uint64) * np.uint64(2**31 + 1),
        np.ones(1),
    )
    product = case.multiply()
    sums = product.tiles[0].sums.reshape(n, 6)
    codes = product.input_codes[0, :, 0, :5].astype(float)  # (2 pixels, 5 rows)

    drifted = state.dense(pcm.drifted_us(model, state.g_prog_us, state.nu, t)) / STEP_US
    spread = drifted * pcm.read_noise_spread_us(model, np.ones(()), state.dense(state.q_s), t)
    mean = codes @ (drifted[0] - drifted[1])
    noise = np.zeros((n, 2, 3))
    for polarity, sign in ((0, 1), (1, -1)):
        for row in range(5):
            z = rng.standard_normal((n, 2, 3))
            noise += sign * codes[:, row, None] * spread[polarity, row] * z
    variance = (codes**2 @ (spread**2).sum(axis=0)).reshape(6)
    grid = 0.5 * np.abs(codes).sum(axis=1).repeat(3) + 0.5  # conductances and noise are rounded to integers
    return sums, (mean[None] + noise).reshape(n, 6), mean.reshape(6), variance, grid


def test_fresh_noise_has_the_moments_of_noisy_devices(fresh):
    sums, literal, mean, variance, grid = fresh
    n = len(sums)
    for sample in (sums, literal):
        assert (np.abs(sample.mean(axis=0) - mean) <= 5 * np.sqrt(variance / n) + grid).all()
        assert (np.abs(sample.var(axis=0) / variance - 1) <= 5 * math.sqrt(2 / n) + 1e-3).all()


def test_fresh_noise_has_the_distribution_of_noisy_devices(fresh):
    """Kolmogorov-Smirnov, two samples and one, on six outputs: a false alarm once in 100,000."""
    sums, literal, _, variance, _ = fresh
    for i in range(6):
        ours, theirs = sums[:, i] - sums[:, i].mean(), literal[:, i] - literal[:, i].mean()
        assert scipy.stats.ks_2samp(ours, theirs).pvalue > 1e-6
        z = (sums[:, i] - sums[:, i].mean()) / math.sqrt(variance[i])
        assert scipy.stats.kstest(z, "norm").pvalue > 1e-6


def test_fresh_noise_is_independent_between_outputs_and_images(fresh):
    sums, literal, *_ = fresh
    n = len(sums)
    bound = 5 / math.sqrt(n)
    for sample in (sums, literal):
        for power in (1, 2):
            together = np.corrcoef((sample - sample.mean(axis=0)) ** power, rowvar=False)
            assert np.abs(together - np.eye(6)).max() < bound
            neighbours = np.corrcoef(sample[:-1] ** power, sample[1:] ** power, rowvar=False)[:6, 6:]
            assert np.abs(neighbours).max() < bound


# Scales


@pytest.mark.parametrize("k", [-117, -118, -140])
def test_weights_too_small_for_the_digital_scale_are_an_error(k):
    """One code of 2^-9 uS stands for 2^(k - 9), which float32 keeps whole from 2^-126 on."""
    layer = Linear(name="layer", inputs=("input",), weight=np.ones((3, 4), np.float32))
    case = plain_case(layer, (4,), np.random.default_rng(1))
    scale = np.array([1.0, 2.0**k, 0.0])
    case = replace(case, read=replace(case.read, weight_per_us=scale))
    if k == -117:
        assert case.build().unit.tolist() == (scale * 2.0**-9).tolist()
        return
    message = r"layer 'layer': expected weights and full scales .*, found \S+e-\d\d in 1 of 3 columns"
    with pytest.raises(PcmrefError, match=message):
        case.build()
