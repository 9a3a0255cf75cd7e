"""Layers in one call: the bits of the stages one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcmref import backend, crossbar, kernels_numpy, plans, profiling
from pcmref.converters import Range, Readout
from pcmref.errors import PcmrefError
from pcmref.simulate import digital, logits
from tests.nets import tiny
from tests.test_crossbar import cases
from tests.test_simulate import READOUTS, SNAPSHOT

fused = pytest.importorskip("pcmref.fused")

laws = settings(max_examples=settings.default.max_examples // 2)
IMAGES = np.random.default_rng(4).integers(0, 256, (5, 6, 6, 3), np.uint8)


def digital_part(draw, columns, outputs, n):
    """Draw what follows the crossbar: batch normalisation, a residual, a ReLU, each or not."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    norm = tuple(rng.standard_normal((2, columns)).astype(np.float32)) if draw(st.booleans()) else None
    other = rng.standard_normal((n, outputs, columns)).astype(np.float32) if draw(st.booleans()) else None
    return norm, other, draw(st.booleans())


@laws
@given(cases(), st.data())
def test_a_layer_of_a_chip_has_the_bits_of_its_stages(case, data):
    built = case.build()
    norm, other, rectify = digital_part(data.draw, built.columns, len(built.geometry.pixel), len(case.x))
    layer = fused.analog(built, norm, rectify)
    if layer is None:
        readout = case.readout
        assert readout.read_noise == "fresh"
        assert readout.adc_bits is None or readout.dac_bits > 8
        return
    found, top = layer(case.maps, other, case.image)
    for keep_tiles in (True, False):
        product = crossbar.multiply(built, case.maps, case.image, keep_tiles=keep_tiles)
        codes, step = product.output_codes, product.output_step
        expected = kernels_numpy.finish(codes, step, built.unit, norm, other, rectify)
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()
    assert top.tobytes() == kernels_numpy.largest(case.maps).tobytes()


def test_one_by_one_where_codes_might_overflow():
    bits, rows = 24, 3
    readout = Readout(name="x", dac_bits=8, adc_bits=bits, tile_rows=1, read_noise="fresh")
    readout = replace(readout, ranges={n: Range(input_top=1.0, sum_top_us=1.0) for n in READOUTS["chip8"].ranges})
    names = [layer.name for layer in SNAPSHOT.network.crossbar_layers]
    built = plans._crossbars(SNAPSHOT, plans.Corrections(), readout, plans.Purpose.PRODUCT)[names[0]]
    assert len(built.tiles) > rows
    assert fused.analog(built, None, False) is not None
    many = replace(built, tiles=built.tiles * (2**31 // 2 ** (bits - 1) // len(built.tiles) + 1))
    assert fused.analog(many, None, False) is None


@pytest.mark.parametrize("name", list(READOUTS))
@pytest.mark.parametrize("threads", [1, 2])
def test_a_network_has_the_same_bits_while_a_profile_is_recorded(name, threads):
    """A profile is of the stages one by one."""
    found = logits(SNAPSHOT, IMAGES, readout=READOUTS[name], threads=threads)
    baseline = digital(SNAPSHOT.network, IMAGES, threads=threads)
    with profiling.recording() as profile:
        assert logits(SNAPSHOT, IMAGES, readout=READOUTS[name], threads=threads).tobytes() == found.tobytes()
        assert digital(SNAPSHOT.network, IMAGES, threads=threads).tobytes() == baseline.tobytes()
    assert {"DAC", "product", "digital periphery", "digital baseline"} <= set(profile.seconds)


def test_layers_are_fused(monkeypatch):
    """Unless something else is asked for, no stage runs on its own."""

    def refuse(*arguments, **options):
        raise AssertionError("a stage ran on its own")

    expected = logits(SNAPSHOT, IMAGES, readout=READOUTS["chip8"])
    monkeypatch.setattr(crossbar, "multiply", refuse)
    assert logits(SNAPSHOT, IMAGES, readout=READOUTS["chip8"]).tobytes() == expected.tobytes()
    with pytest.raises(AssertionError):
        logits(SNAPSHOT, IMAGES, readout=READOUTS["chip8"], tap=lambda trace: None)
    monkeypatch.setenv(backend.VARIABLE, "numpy")
    with pytest.raises(AssertionError):
        logits(SNAPSHOT, IMAGES, readout=READOUTS["chip8"])


def test_an_overflow_names_the_image():
    built = plans._crossbars(SNAPSHOT, plans.Corrections(), READOUTS["paper"], plans.Purpose.PRODUCT)
    step = next(s for s in plans.analog(SNAPSHOT).steps if s.name == "relu1" or s.name in built)
    x = np.zeros((3, 6, 6, 3), np.float32)
    x[1, 2, 3, 1] = np.nan
    with pytest.raises(PcmrefError, match="finite numbers, found an overflow for image 8"):
        step.operation(x, np.array([7, 8, 9], np.uint64))


def test_inputs_that_are_views():
    network = tiny()
    matrix = plans._crossbars(SNAPSHOT, plans.Corrections(), READOUTS["paper"], plans.Purpose.PRODUCT)["conv1"]
    layer = fused.analog(matrix, None, False)
    x = np.random.default_rng(5).standard_normal((4, *network.input_shape)).astype(np.float32)
    image = np.arange(4, dtype=np.uint64)
    found, _ = layer(x, None, image)
    turned = np.ascontiguousarray(x.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
    assert np.array_equal(layer(turned, None, image)[0], found)
    assert np.array_equal(layer(x[::2], None, image[::2])[0], found[::2])
