"""A chip that is prepared once and called with images as often as one likes."""

from __future__ import annotations

import dataclasses
import pickle
import threading

import numpy as np
import pytest

import pcmref
from pcmref.errors import DataError, ParameterError, PcmrefError
from pcmref.inference.corrections import Corrections
from pcmref.inference.threads import CHUNK
from tests.helpers.nets import tiny
from tests.inference.test_run import READOUTS, SNAPSHOT

pytestmark = pytest.mark.filterwarnings("ignore:readout (unsigned|.* do the ranges fit)")
IMAGES = np.random.default_rng(8).integers(0, 256, (2 * CHUNK + 6, 6, 6, 3), np.uint8)


@pytest.fixture(params=list(READOUTS))
def readout(request):
    return READOUTS[request.param]


def test_each_call_has_the_bits_of_logits(readout):
    prepared = pcmref.prepare(SNAPSHOT, readout=readout)
    expected = pcmref.logits(SNAPSHOT, IMAGES, readout=readout)
    for _ in range(2):
        assert prepared(IMAGES).tobytes() == expected.tobytes()
    for i in (0, 1, len(IMAGES) - 1):
        assert prepared(IMAGES[i : i + 1], addresses=[i]).tobytes() == expected[i : i + 1].tobytes()


def test_corrections_are_those_of_logits(readout):
    gain = {layer.name: np.array([1.25]) for layer in SNAPSHOT.network.crossbar_layers}
    corrections = Corrections(gain=gain)
    prepared = pcmref.prepare(SNAPSHOT, corrections=corrections, readout=readout)
    expected = pcmref.logits(SNAPSHOT, IMAGES, corrections=corrections, readout=readout)
    assert prepared(IMAGES).tobytes() == expected.tobytes()
    assert expected.tobytes() != pcmref.logits(SNAPSHOT, IMAGES, readout=readout).tobytes()


def test_a_tap_sees_nodes_in_order_chunk_by_chunk_from_the_thread_that_calls(readout):
    prepared = pcmref.prepare(SNAPSHOT, readout=readout)
    seen = []

    def tap(trace):
        seen.append((trace.layer, trace.image.tolist(), threading.get_ident()))

    plain = prepared(IMAGES)
    assert prepared(IMAGES, tap=tap, threads=2).tobytes() == plain.tobytes()
    names = [layer.name for layer in SNAPSHOT.network.layers]
    parts = [list(range(start, min(start + CHUNK, len(IMAGES)))) for start in range(0, len(IMAGES), CHUNK)]
    assert [(name, image) for name, image, _ in seen] == [(name, part) for part in parts for name in names]
    assert {thread for _, _, thread in seen} == {threading.get_ident()}


def test_one_prepared_chip_serves_several_threads(readout):
    prepared, expected, found = pcmref.prepare(SNAPSHOT, readout=readout), [], [None] * 4
    expected = prepared(IMAGES, threads=1)

    def work(i):
        found[i] = prepared(IMAGES, threads=1 + i % 2)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(logits.tobytes() == expected.tobytes() for logits in found)


def test_it_can_be_sent_to_another_process_before_and_after_a_call(readout):
    prepared = pcmref.prepare(SNAPSHOT, readout=readout)
    fresh = pickle.loads(pickle.dumps(prepared))
    expected = prepared(IMAGES[:3])
    used = pickle.loads(pickle.dumps(prepared))
    assert fresh(IMAGES[:3]).tobytes() == used(IMAGES[:3]).tobytes() == expected.tobytes()


def test_it_cannot_be_changed():
    prepared = pcmref.prepare(SNAPSHOT)
    with pytest.raises(dataclasses.FrozenInstanceError):
        prepared.corrections = Corrections()


def test_what_does_not_fit_is_refused_when_it_is_prepared():
    with pytest.raises(ParameterError, match=r"^snapshot: expected a Snapshot \(Chip.at\)"):
        pcmref.prepare(tiny())
    with pytest.raises(ParameterError, match=r"^corrections: expected a Corrections"):
        pcmref.prepare(SNAPSHOT, corrections={})
    with pytest.raises(ParameterError, match=r"^readout: expected a Readout \(pcmref.PRESETS\), found 'paper'"):
        pcmref.prepare(SNAPSHOT, readout="paper")
    with pytest.raises(ParameterError, match="calibrated ranges for layer 'conv1'"):
        pcmref.prepare(SNAPSHOT, readout=pcmref.PRESETS["chip8"])
    with pytest.raises(ParameterError, match="gain/nowhere"):
        pcmref.prepare(SNAPSHOT, corrections=Corrections(gain={"nowhere": np.ones(1)}))


def test_what_does_not_fit_is_refused_when_it_is_called():
    prepared = pcmref.prepare(SNAPSHOT)
    with pytest.raises(DataError, match=r"^images: expected uint8 of shape \(n, 6, 6, 3\)"):
        prepared(IMAGES[:, :5])
    with pytest.raises(PcmrefError, match="threads"):
        prepared(IMAGES, threads=0)
    with pytest.raises(ParameterError, match="addresses: expected 102 of them, found 1"):
        prepared(IMAGES, addresses=[0])


def test_no_images_are_no_logits(readout):
    assert pcmref.prepare(SNAPSHOT, readout=readout)(IMAGES[:0]).shape == (0, 4)
