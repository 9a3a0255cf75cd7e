"""Strategies for users: what they draw is taken by all that it is for, is of every kind, and shrinks to little."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import pcmref
from pcmref import testing
from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.files.networks import OPERATIONS
from pcmref.network.layers import Conv
from pcmref.testing import assert_same_codes, assert_same_logits, tile_examples

READOUT = pcmref.Readout(name="ours", dac=pcmref.Dac(bits=8), adc=pcmref.Adc(bits=8, gain=pcmref.FixedPoint(640, 23)))
few = settings(max_examples=max(20, settings.default.max_examples // 3))
#: Ranges that do not fit, and signs that unsigned codes lose, are right as specified and not what the user wants.
drawn_at_random = pytest.mark.filterwarnings("ignore::pcmref.PcmrefWarning")
#: As a user's test run looks for a failure and shrinks it, the same in every run.
search = settings(
    max_examples=500, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def seen(strategy, examples=300):
    """Some of what a strategy draws."""
    found = []

    @settings(max_examples=examples, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(value):
        found.append(value)

    collect()
    return found


# what is drawn is taken


@given(example=tile_examples())
def test_every_tile_multiplies_and_its_noise_is_what_stands_between_the_sums(example):
    product = example.product
    assert product.codes.shape == (len(example.codes), example.conductance.shape[-1])
    if example.noise is not None and example.readout.accumulator is None:
        for part, noise in zip(product.parts or (product,), np.atleast_3d(example.noise.T).T, strict=True):
            assert np.array_equal(part.sums, part.noise_free + noise)


@few
@given(data=st.data())
@drawn_at_random
def test_every_network_runs_through_every_chip_at_every_time(data):
    network = data.draw(testing.networks())
    images, snapshot = data.draw(testing.images(network)), data.draw(testing.snapshots(network))
    ranges = data.draw(testing.ranges(network))
    for name in ("paper", "chip8", "rtl8"):
        readout = pcmref.PRESETS[name]
        readout = replace(readout, ranges=ranges) if name != "paper" else readout
        assert np.isfinite(pcmref.logits(snapshot, images, readout=readout)).all()
    assert np.isfinite(pcmref.digital(network, images)).all()


@few
@given(data=st.data())
@drawn_at_random
def test_every_converter_fits_a_network(data):
    network = data.draw(testing.networks(nodes=3))
    readout = pcmref.Readout(
        name="drawn",
        dac=data.draw(testing.dacs(serial=4)),
        adc=data.draw(st.none() | testing.adcs(10**6, own=False)),
        ranges=data.draw(testing.ranges(network)),
    )
    found = pcmref.logits(data.draw(testing.snapshots(network)), data.draw(testing.images(network)), readout=readout)
    assert np.isfinite(found).all()


# every kind is drawn


def test_tiles_of_every_kind_are_drawn():
    examples = seen(tile_examples(), 600)
    dacs = Counter((e.readout.dac.codes, e.readout.dac.drive) for e in examples)
    assert set(dacs) == set(testing.DRIVES)
    assert {e.readout.lines for e in examples} == {"pair", "separate"}
    assert {e.readout.read_noise for e in examples} == {"frozen", "fresh"}
    assert {None if (r := e.readout.accumulator) is None else r.beyond for e in examples} == {None, "saturate", "wrap"}
    converters = [e.readout.adc for e in examples if e.readout.adc is not None]
    assert len(converters) < len(examples)
    assert {adc.rounding for adc in converters} == set(ROUNDINGS)
    kinds = Counter("table" if adc.thresholds else type(adc.gain).__name__ for adc in converters)
    assert set(kinds) == {"table", "FixedPoint", "float", "tuple"}
    assert {type(adc.offset) for adc in converters} == {int, tuple}


def test_networks_of_every_operation_are_drawn():
    operations = Counter(layer.op for network in seen(testing.networks()) for layer in network.layers)
    assert set(operations) == set(OPERATIONS)
    convs = [layer for network in seen(testing.networks()) for layer in network.layers if isinstance(layer, Conv)]
    for name in ("stride", "padding", "dilation", "groups", "digital"):
        assert len({str(getattr(layer, name)) for layer in convs}) > 1, name


def test_answers_meet_ties_and_both_limits():
    """Else a wrong rounder, or a limit that is missing, would pass."""
    met = Counter()
    for example in seen(tile_examples(readout=READOUT)):
        twice = example.product.sums * 1280
        met["ties"] += int((twice % (2 << 23) == 1 << 23).sum())
        met["low"] += int((example.product.codes == -127).sum())
        met["high"] += int((example.product.codes == 127).sum())
    assert all(met[name] > 5 for name in ("ties", "low", "high")), met


# what fails shrinks


def our_tile(codes, g, *, add=(1 << 22) - 1, odd=1, low=-127, high=127):
    product = codes @ g * 640
    return np.clip((product + add + (product >> 23 & odd)) >> 23, low, high)


#: Ties up and down; limits that are one off, whose sums may take several rows.
FAULTS = [({"add": 1 << 22, "odd": 0}, 1), ({"add": 0, "odd": 0}, 1), ({"high": 128}, 8), ({"low": -128}, 8)]


@pytest.mark.parametrize(("fault", "rows"), FAULTS)
def test_a_planted_fault_shrinks_to_one_vector_and_at_a_tie_to_one_row(fault, rows):
    def differs(example):
        return not np.array_equal(our_tile(example.codes, example.conductance, **fault), example.product.codes)

    example = find(tile_examples(readout=READOUT), differs, settings=search)
    assert len(example.codes) == 1
    assert example.codes.shape[1] <= rows


def test_rows_that_are_swapped_shrink_to_two():
    example = find(
        tile_examples(readout=READOUT),
        lambda e: not np.array_equal(our_tile(e.codes[:, ::-1], e.conductance), e.product.codes),
        settings=search,
    )
    assert example.codes.shape == (1, 2)


def test_the_smallest_network_is_one_linear_layer():
    network = find(testing.networks(), lambda network: True, settings=settings(search, max_examples=50))
    assert [layer.op for layer in network.layers] == ["global_average_pool", "linear"]
    assert network.input_shape == (1, 1, 1)


# comparisons


def test_other_codes_are_shown_with_every_stage():
    readout = replace(READOUT, adc=pcmref.Adc(bits=8, gain=pcmref.FixedPoint(1, 1)))
    example = testing.TileExample(
        readout=readout,
        conductance=np.array([[3, 1], [0, 1]]),
        variance_code=None,
        stream=None,
        codes=np.array([[0, 0], [1, 2]]),
    )
    assert_same_codes(example.product.codes, example)
    with pytest.raises(AssertionError) as failure:
        assert_same_codes([[0, 0], [1, 1]], example)
    assert str(failure.value).splitlines()[:5] == [
        "vector 1, column 0: expected 2, found 1",
        "  2 of 4 answers differ",
        "  codes [1, 2]",
        "  conductance codes [3, 0]",
        "  sum 3, as the ADC sees it 3, code 2",
    ]
    for wrong in ([[0, 0]], [[0.0, 0.0], [2.0, 2.0]]):
        with pytest.raises(AssertionError, match=r"expected integers of shape \(2, 2\), found "):
            assert_same_codes(wrong, example)
    assert repr(example).startswith("TileExample(readout=Readout(name='ours'")


def test_other_logits_are_shown_bit_by_bit():
    logits = np.array([[1.0, 0.0]], np.float32)
    assert_same_logits(logits, logits.copy())
    with pytest.raises(AssertionError, match=r"logit \[0, 1\]: expected .*0x00000000\), found .*0x80000000\)"):
        assert_same_logits(logits * np.float32([1, -1]), logits)
    with pytest.raises(AssertionError, match="float64"):
        assert_same_logits(logits.astype(float), logits)


def test_without_hypothesis_the_extra_is_named():
    program = "import sys; sys.modules['hypothesis'] = None; import pcmref.testing"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "hypothesis: expected the extra 'test' (pip install 'pcmref[test]')" in done.stderr
