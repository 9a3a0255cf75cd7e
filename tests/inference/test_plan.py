"""Plans: what runs in one call, what a profile sees, and that neither changes a bit."""

from __future__ import annotations

import numpy as np
import pytest

from pcmref import profiling
from pcmref.arithmetic.choice import VARIABLE
from pcmref.errors import PcmrefError
from pcmref.inference import plan as plans
from pcmref.inference.corrections import Corrections
from pcmref.inference.plan import analog_plan, walk
from pcmref.inference.run import digital, logits, prepare
from tests.inference.test_run import READOUTS, SNAPSHOT

pytestmark = pytest.mark.filterwarnings("ignore:readout (unsigned|.* do the ranges fit)")
IMAGES = np.random.default_rng(4).integers(0, 256, (5, 6, 6, 3), np.uint8)


@pytest.mark.parametrize("name", list(READOUTS))
@pytest.mark.parametrize("threads", [1, 2])
def test_a_network_has_the_same_bits_while_a_profile_is_recorded(name, threads):
    found = logits(SNAPSHOT, IMAGES, readout=READOUTS[name], threads=threads)
    baseline = digital(SNAPSHOT.network, IMAGES, threads=threads)
    with profiling.recording() as profile:
        assert logits(SNAPSHOT, IMAGES, readout=READOUTS[name], threads=threads).tobytes() == found.tobytes()
        assert digital(SNAPSHOT.network, IMAGES, threads=threads).tobytes() == baseline.tobytes()
    assert {"analog relu1", "digital pool", "analog fc", "baseline relu1", "baseline fc"} <= set(profile.seconds)


@pytest.mark.parametrize("choice", ["numba", "numpy"])
def test_layers_run_in_one_call(monkeypatch, choice):
    """Unless somebody looks, no stage runs on its own."""

    def refuse(*arguments, **options):
        raise AssertionError("a stage ran on its own")

    expected = logits(SNAPSHOT, IMAGES, readout=READOUTS["chip8"])
    monkeypatch.setenv(VARIABLE, choice)
    monkeypatch.setattr(plans, "multiply", refuse)
    chip = prepare(SNAPSHOT, readout=READOUTS["chip8"])
    assert chip(IMAGES).tobytes() == expected.tobytes()
    with profiling.recording():
        assert chip(IMAGES).tobytes() == expected.tobytes()
    with pytest.raises(AssertionError, match="a stage ran on its own"):
        chip(IMAGES, tap=lambda trace: None)


@pytest.mark.parametrize("name", list(READOUTS))
def test_the_grain_of_a_plan_changes_no_bit(name):
    prepared = prepare(SNAPSHOT, readout=READOUTS[name])
    x = np.random.default_rng(5).standard_normal((4, *SNAPSHOT.network.input_shape)).astype(np.float32)
    image = np.array([3, 1, 2**40, 2**64 - 1], np.uint64)
    found = [
        walk(analog_plan(SNAPSHOT.network, prepared.crossbars, Corrections(), grain), x, image)
        for grain in ("layers", "norms", "nodes")
    ]
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


@pytest.mark.parametrize("grain", ["layers", "norms", "nodes"])
def test_an_overflow_names_the_image(grain):
    prepared = prepare(SNAPSHOT)
    plan = analog_plan(SNAPSHOT.network, prepared.crossbars, Corrections(), grain)
    x = np.zeros((3, *SNAPSHOT.network.input_shape), np.float32)
    x[1, 2, 3, 1] = np.nan
    with pytest.raises(PcmrefError, match=r"input of conv1: expected finite numbers, found an overflow for image 8$"):
        walk(plan, x, np.array([7, 8, 9], np.uint64))


def test_inputs_that_are_views():
    prepared = prepare(SNAPSHOT)
    plan = analog_plan(SNAPSHOT.network, prepared.crossbars, Corrections(), "layers")
    x = np.random.default_rng(5).standard_normal((4, *SNAPSHOT.network.input_shape)).astype(np.float32)
    image = np.arange(4, dtype=np.uint64)
    found = walk(plan, x, image)
    turned = np.ascontiguousarray(x.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
    assert np.array_equal(walk(plan, turned, image), found)
    assert np.array_equal(walk(plan, x[::2], image[::2]), found[::2])
