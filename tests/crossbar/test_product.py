"""Laws of a product: what phases, lines and registers do to its stages, and what they must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcmref
from pcmref.arithmetic import reference
from pcmref.arithmetic.choice import VARIABLE
from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.readout import Readout
from pcmref.devices.chip import program
from pcmref.errors import PcmrefError
from tests.crossbar.hardware import accumulators, adcs, dacs, size_of
from tests.helpers.nets import tiny

pytestmark = pytest.mark.filterwarnings("ignore:readout .* do the ranges fit")  # converters that saturate on purpose

laws = settings(max_examples=settings.default.max_examples // 2)
seeds = st.integers(0, 2**32 - 1)
STAGES = ("noise_free", "variance", "sums", "codes")
KEY = (7, 8)
CODE_LIMIT = 32767


@st.composite
def matrices(draw, columns=(1, 2, 17)):
    """Codes of both lines, and vectors of 4-bit codes that every DAC but an unsigned one has."""
    rng = np.random.default_rng(draw(seeds))
    shape = (2, draw(st.integers(1, 30)), draw(st.sampled_from(columns)))
    lines = rng.integers(0, draw(st.sampled_from([3, 20_000, CODE_LIMIT])), shape, endpoint=True)
    return lines, rng.integers(-7, 7, (draw(st.integers(1, 6)), shape[1]), endpoint=True)


def multiplied(devices, codes, dac, **options):
    """A product with both lines, or with their difference."""
    readout = Readout(name="test", dac=dac, **options)
    devices = devices if readout.lines == "separate" else devices[0] - devices[1]
    return pcmref.tile(devices, readout)(codes)


# Stages


@laws
@given(matrices(), dacs(), st.sampled_from(["pair", "separate"]), seeds)
def test_sums_before_noise_are_linear_in_the_codes(case, dac, lines, seed):
    devices, codes = case
    rng = np.random.default_rng(seed)
    total = rng.integers(dac.low, dac.high, codes.shape, endpoint=True)
    part = rng.integers(np.maximum(dac.low, total - dac.high), np.minimum(dac.high, total - dac.low), endpoint=True)
    whole, one, other = (
        multiplied(devices, vectors, dac, lines=lines).noise_free for vectors in (total, part, total - part)
    )
    assert (whole == one + other).all()
    assert (whole == total @ (devices[0] - devices[1])).all()


@laws
@given(matrices(), dacs(most=15), st.sampled_from(["pair", "separate"]))
def test_without_an_adc_every_wiring_gives_the_sums(case, dac, lines):
    devices, codes = case
    codes = np.clip(codes, dac.low, dac.high)
    product = multiplied(devices, codes, dac, lines=lines)
    for stage in (product.noise_free, product.sums, product.codes):
        assert stage.tolist() == (codes @ (devices[0] - devices[1])).tolist()
    count = len(dac.weights) * (1 if lines == "pair" else 2)
    if count > 1 or not dac.offset:  # else there is one where the devices make something of no input
        assert len(product.parts) == (count if count > 1 else 0)


@laws
@given(matrices(), st.sampled_from([1, 7, 200]))
def test_lines_of_their_own_with_wide_converters_are_as_good_as_their_difference(case, gain):
    """Integer codes of integer gains that nothing saturates."""
    devices, codes = case
    devices, adc = devices % 500, Adc(bits=24, gain=gain)
    one = multiplied(devices, codes % 3, Dac(bits=4), adc=adc)
    two = multiplied(devices, codes % 3, Dac(bits=4), adc=adc, lines="separate")
    assert np.abs(one.codes).max() < 2**23 - 1
    assert two.codes.tolist() == one.codes.tolist() == (gain * one.sums).tolist()


@laws
@given(matrices(), st.sampled_from(["symmetric", "signed", "offset"]), st.sampled_from(["two-phase", "bit-serial"]))
def test_phases_with_wide_converters_are_as_good_as_one(case, codes_of_dac, drive):
    if codes_of_dac == "offset" and drive == "two-phase":
        return
    devices, codes = case
    adc = Adc(bits=24, gain=FixedPoint(3, 0))
    devices = devices % 200
    parallel = multiplied(devices, codes, Dac(bits=4, codes=codes_of_dac), adc=adc)
    phases = multiplied(devices, codes, Dac(bits=4, codes=codes_of_dac, drive=drive), adc=adc)
    assert phases.codes.tolist() == parallel.codes.tolist() == (3 * parallel.sums).tolist()


@laws
@given(matrices(), st.sampled_from(["pair", "separate"]), st.sampled_from([None, Adc(bits=24, gain=2)]))
def test_offset_codes_are_as_good_as_symmetric_ones(case, lines, adc):
    """The code of no input is taken off."""
    devices, codes = case
    devices = devices % 1000
    plain = multiplied(devices, codes, Dac(bits=4), lines=lines, adc=adc)
    offset = multiplied(devices, codes, Dac(bits=4, codes="offset"), lines=lines, adc=adc)
    for name in ("noise_free", "sums", "codes"):
        assert getattr(offset, name).tolist() == getattr(plain, name).tolist()


@laws
@given(matrices(), dacs(most=4, drives=[("offset", "parallel"), ("offset", "bit-serial")]), st.data())
def test_no_input_has_the_output_code_zero_with_offset_codes(case, dac, data):
    """Whatever the ADC and the register."""
    devices, codes = case
    size = size_of(dac, devices.shape[1])
    adc, register = data.draw(adcs(size, devices.shape[2])), data.draw(accumulators(size))
    product = multiplied(devices, codes * 0, dac, adc=adc, accumulator=register, lines="separate")
    for stage in (product.noise_free, product.sums, product.codes):
        assert not stage.any()


@pytest.mark.parametrize("lines", ["pair", "separate"])
def test_no_input_has_the_output_code_zero_where_no_device_conducts(lines):
    """An ADC with an offset makes a code of nothing; it is taken off too."""
    readout = Readout(name="x", dac=Dac(bits=4, codes="offset"), adc=Adc(bits=8, gain=1.0, offset=5), lines=lines)
    devices = np.zeros((2, 3, 2), int) if lines == "separate" else np.zeros((3, 2), int)
    assert pcmref.tile(devices, readout)([0, 3, -8]).codes.tolist() == [0, 0]
    devices[..., 0] = 1
    assert pcmref.tile(devices, readout)([0, 3, -8]).codes.tolist() == [0 if lines == "separate" else -5, 0]


def test_what_the_register_holds_of_no_input_is_taken_off():
    """Without an ADC the codes are the sums, whatever the register made of them."""
    readout = Readout(name="x", dac=Dac(bits=4, codes="offset"), accumulator=Accumulator(bits=8, beyond="saturate"))
    product = pcmref.tile([[30], [1]], readout)([[0, 0], [-8, 0], [-8, 7]])
    assert [part.sums.tolist() for part in product.parts] == [[[127], [8], [15]]]  # 248, 8 and 15
    assert product.codes.tolist() == product.sums.tolist() == [[0], [-119], [-112]]
    assert product.noise_free.tolist() == [[0], [-240], [-233]]


@laws
@given(matrices(), st.sampled_from(ROUNDINGS), st.integers(-999, 999), st.booleans(), st.integers(3, 20))
def test_a_table_of_the_gain_s_own_thresholds_has_its_codes(case, rounding, offset, fixed, width):
    devices, codes = case
    size = 7 * CODE_LIMIT * devices.shape[1] // 2
    gain = FixedPoint(2**width, width + size.bit_length() - 4) if fixed else 9 / size
    adc = Adc(bits=4, low=-8, rounding=rounding, gain=gain, offset=offset)
    table = Adc(bits=4, low=-8, rounding="half-even", thresholds=thresholds_of(adc, 2 * size + 1000))
    for lines in ("pair", "separate"):
        one = multiplied(devices, codes, Dac(bits=4), adc=adc, lines=lines)
        other = multiplied(devices, codes, Dac(bits=4), adc=table, lines=lines)
        assert one.codes.tolist() == other.codes.tolist()


def thresholds_of(adc, size):
    """The least sum that has each code, found by halving."""
    tile = pcmref.tile([[1]], Readout(name="x", dac=Dac(bits=2), adc=adc))

    def code(total):
        return int(reference.digitise(np.array([total]), 1, tile.chain.adc, 0)[0])

    found = []
    for wanted in range(adc.low + 1, adc.high + 1):
        low, high = -size, size + 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if code(middle) >= wanted else (middle + 1, high)
        found.append(low)
    return found


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("gain", [FixedPoint(5, 6), FixedPoint(1, 0), 0.1, 1 / 3], ids=str)
@pytest.mark.parametrize("kernels", ["numpy", "numba"])
def test_a_table_and_a_gain_agree_on_every_sum(rounding, gain, kernels, monkeypatch):
    monkeypatch.setenv(VARIABLE, kernels)
    adc = Adc(bits=4, low=-5, high=9, rounding=rounding, gain=gain, offset=-3)
    table = Adc(bits=4, low=-5, high=9, thresholds=thresholds_of(adc, 300))
    devices = np.arange(-300, 301)[None]
    codes = [
        pcmref.tile(devices, Readout(name="x", dac=Dac(bits=2), adc=one))([1]).codes.tolist() for one in (adc, table)
    ]
    assert codes[0] == codes[1]
    assert set(codes[0]) == set(range(-5, 10))


@laws
@given(matrices(), st.sampled_from(ROUNDINGS), st.sampled_from([0.01, 1.0, 1e-4]), st.integers(-50, 50))
def test_a_converter_that_saturates_never_falls(case, rounding, gain, offset):
    devices, codes = case
    adc = Adc(bits=8, rounding=rounding, gain=gain, offset=offset)
    product = multiplied(devices, codes, Dac(bits=4), adc=adc, accumulator=Accumulator(bits=18, beyond="saturate"))
    order = np.argsort(product.noise_free, axis=None)
    assert (np.diff(product.sums.ravel()[order]) >= 0).all()
    assert (np.diff(product.codes.ravel()[order]) >= 0).all()


@laws
@given(matrices(), st.integers(2, 20), seeds)
def test_a_register_that_wraps_does_not_mind_the_order_of_the_rows(case, bits, seed):
    devices, codes = case
    order = np.random.default_rng(seed).permutation(devices.shape[1])
    register = Accumulator(bits=bits, beyond="wrap")
    one = multiplied(devices, codes, Dac(bits=4), accumulator=register)
    other = multiplied(devices[:, order], codes[:, order], Dac(bits=4), accumulator=register)
    assert one.sums.tolist() == other.sums.tolist()
    half = 2 ** (bits - 1)
    total = np.zeros_like(one.sums)
    for row in order:  # it may wrap at every step
        total = (total + np.outer(codes[:, row], devices[0, row] - devices[1, row]) + half) % (2 * half) - half
    assert one.sums.tolist() == total.tolist()
    assert ((one.sums - one.noise_free) % 2**bits == 0).all()


# Fresh read noise


def noisy(number=0, **options):
    readout = Readout(name="x", read_noise="fresh", **options)
    shape = (2, 3, 40) if readout.lines == "separate" else (3, 40)
    zeros, variance = np.zeros(shape, int), np.full(shape, 999)
    return pcmref.tile(zeros, readout, variance_code=variance, stream=KEY, number=number)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"dac": Dac(bits=4)}, 1),
        ({"dac": Dac(bits=4), "lines": "separate"}, 2),
        ({"dac": Dac(bits=4, drive="two-phase")}, 2),
        ({"dac": Dac(bits=4, drive="bit-serial"), "lines": "separate"}, 8),
    ],
)
def test_every_conversion_draws_noise_of_its_own(options, count):
    """That of the tile of its number, tiles of as many conversions counted."""
    product = noisy(number=3, **options)([7, 7, 7], 5)
    parts = product.parts or (product,)
    assert len(parts) == count
    for number, part in enumerate(parts):
        unit = np.sqrt(part.variance)  # the same draws, whatever the variance
        z = noisy(number=3 * count + number, dac=Dac(bits=4))([7, 7, 7], 5)
        expected = z.sums * unit / np.sqrt(z.variance)
        assert np.abs(part.sums - expected).max() <= 1


def test_variances_add_up_with_the_squares_of_the_weights():
    tile = noisy(dac=Dac(bits=4, drive="bit-serial"), lines="separate")
    product = tile([5, -3, 7])
    squares = [1, 4, 16, 64] * 2
    expected = sum(w * part.variance for w, part in zip(squares, product.parts, strict=True))
    assert product.variance.tolist() == expected.tolist()
    bits = [[5 >> k & 1, 13 >> k & 1, 7 >> k & 1] for k in range(4)]
    assert [part.variance[0] for part in product.parts] == [999 * sum(b) for b in bits] * 2


# A product as a value


def test_a_part_of_a_product_is_that_of_every_stage():
    product = noisy(dac=Dac(bits=4, drive="two-phase"))(np.arange(-6, 6).reshape(4, 3))
    some = product[1:3]
    for name in STAGES:
        assert getattr(some, name).tolist() == getattr(product, name)[1:3].tolist()
    for part, whole in zip(some.parts, product.parts, strict=True):
        assert part.sums.tolist() == whole.sums[1:3].tolist()
    frozen = pcmref.tile([[1]], Readout(name="x", dac=Dac(bits=4)))([[1], [2]])
    assert frozen[0].variance is None
    assert frozen.parts == frozen[0].parts == ()


# Whole networks

NETWORK = tiny()
SNAPSHOTS = {factors: program(NETWORK, seed=3, significance=factors).at(86_400.0) for factors in ((1,), (2, 1))}
IMAGES = np.random.default_rng(4).integers(0, 256, (4, 6, 6, 3), np.uint8)


@st.composite
def readouts(draw):
    """Readouts with ranges that the images of the network found."""
    fresh = draw(st.booleans())
    dac = draw(dacs(most=8, serial=4))
    adc = draw(st.none() | adcs(size_of(dac, 40), None, own=False, most=8))
    found = Readout(
        name="random",
        dac=dac,
        adc=adc,
        tile_rows=draw(st.sampled_from([None, 20])),
        tile_columns=draw(st.sampled_from([None, 4])),
        lines=draw(st.sampled_from(["pair", "separate"])),
        accumulator=draw(accumulators(size_of(dac, 10) // 3)),
        read_noise="fresh" if fresh else "frozen",
    )
    return found if adc is None else pcmref.calibrate_ranges(NETWORK, IMAGES, found)


@pytest.mark.filterwarnings("ignore:readout random")
@given(readouts(), st.sampled_from(sorted(SNAPSHOTS)))
def test_one_call_has_the_bits_of_the_stages_and_of_the_twin(readout, factors):
    prepared = pcmref.prepare(SNAPSHOTS[factors], readout=readout)
    found = prepared(IMAGES, threads=1)
    assert prepared(IMAGES, tap=lambda trace: None).tobytes() == found.tobytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "numpy")
        assert prepared(IMAGES[1:3], addresses=[1, 2], threads=1).tobytes() == found[1:3].tobytes()
        assert prepared(IMAGES[:1], tap=lambda trace: None).tobytes() == found[:1].tobytes()


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("read_noise", ["frozen", "fresh"])
def test_measured_adcs_that_are_the_nominal_one_change_nothing(several, read_noise):
    """Its limits, rounding and offset, and the gain of the range; or its own."""
    snapshot = SNAPSHOTS[1,]
    for adc in (
        Adc(bits=8, low=-128, rounding="half-up", offset=77, gain_bits=12),
        Adc(bits=7, gain=FixedPoint(90, 22)),
    ):
        readout = Readout(name="x", dac=Dac(bits=6), adc=adc, tile_rows=20, lines="separate", read_noise=read_noise)
        readout = pcmref.calibrate_ranges(NETWORK, IMAGES, readout)
        one = replace(adc, gain_bits=None)
        measured = {
            layer.name: [one] * (2 * -(-layer.rows // 20)) if several else one for layer in NETWORK.crossbar_layers
        }
        expected = pcmref.logits(snapshot, IMAGES, readout=readout)
        found = pcmref.logits(snapshot, IMAGES, readout=replace(readout, measured=measured))
        assert found.tobytes() == expected.tobytes()
        other = replace(readout, measured=measured | {"conv1": replace(one, offset=9_999_999)})
        assert pcmref.logits(snapshot, IMAGES, readout=other).tobytes() != expected.tobytes()


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
@pytest.mark.parametrize("read_noise", ["frozen", "fresh"])
def test_a_sum_that_no_register_holds_is_an_error_of_tile_tap_and_inference(kernels, read_noise, monkeypatch):
    """With the address of the first such image and the width of the register; one bit more, and there is none."""
    monkeypatch.setenv(VARIABLE, kernels)
    snapshot = SNAPSHOTS[1,]
    images = np.concatenate([np.full_like(IMAGES[:2], 110), IMAGES[:2]])
    ranges = pcmref.calibrate_ranges(NETWORK, IMAGES, pcmref.PRESETS["rtl8"]).ranges
    readout = Readout(name="x", dac=Dac(bits=6), ranges=ranges, read_noise=read_noise)
    traces = []
    pcmref.logits(snapshot, images, readout=readout, tap=traces.append)
    first = next(trace for trace in traces if trace.layer == "conv1").product.tiles[0]
    largest = np.abs(first.sums).max(axis=(1, 2))
    assert max(largest[:2]) < min(largest[2:])
    bits = int(min(largest[2:])).bit_length()  # one short for those two
    assert max(largest[:2]) < 2 ** (bits - 1) <= min(largest[2:])
    wrong = replace(readout, accumulator=Accumulator(bits=bits))
    addresses = [11, 12, 2**40 + 3, 7]
    for tap in (None, lambda trace: None):
        with pytest.raises(
            PcmrefError, match=rf"expected sums of {bits} bits, found .*for image {2**40 + 3}$"
        ) as caught:
            pcmref.logits(snapshot, images, readout=wrong, addresses=addresses, tap=tap, threads=1)
        assert caught.value.where.startswith("accumulator")
    tile = pcmref.tile_of(snapshot, "conv1", wrong)
    with pytest.raises(
        PcmrefError, match=rf"^accumulator: expected sums of {bits} bits, found -?\d+ for image {2**63}$"
    ):
        tile(np.full((2, tile.rows), 31) * np.sign(snapshot.layers[0].read_code[:, 0]), [2**63, 1])
    wide = replace(readout, accumulator=Accumulator(bits=40))
    found, expected = (pcmref.logits(snapshot, images, readout=one).tobytes() for one in (wide, readout))
    assert found == expected
