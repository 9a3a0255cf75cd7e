"""Accuracy over time."""

import dataclasses
import re

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic.codes import Range
from pcmref.errors import ParameterError, PcmrefError
from pcmref.studies.retention import Row, retention
from pcmref.studies.study import DAY_S, Study

pytestmark = pytest.mark.filterwarnings("ignore:readout .* do the ranges fit")  # networks of random numbers

CHIP8 = pcmref.PRESETS["chip8"]


@pytest.fixture(scope="module")
def net():
    return pcmref.load(pcmref.bundled())


def asked(net, images, **options):
    """A study of the first `images` images; without compensation, at 25 s, unless asked for otherwise."""
    options = {"times_s": (25.0,), "compensations": ("none",)} | options
    return Study(network=net, samples=net.evaluation.first(images), **options)


def test_rows_are_every_seed_time_and_compensation(net):
    seen = []
    options = {"times_s": (25.0, 3600.0), "compensations": ("none", "gdc"), "seeds": (3, 1)}
    study = asked(net, 10, calibration=net.calibration, **options)
    result = retention(study, progress=lambda done, total: seen.append((done, total)))
    keys = [(row.seed, row.t_s, row.compensation) for row in result.rows]
    assert keys == [(s, t, c) for s in (3, 1) for t in (25.0, 3600.0) for c in ("none", "gdc")] == study.cases
    assert seen[-1] == (90, 90)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert (result.study, result.images, result.readout) == (study, 10, study.readout)


@pytest.mark.parametrize("compensation", pcmref.COMPENSATIONS)
def test_a_row_is_what_the_parts_give(net, compensation):
    """Every option of a study reaches the part that it is for."""
    readout = pcmref.calibrate_ranges(net, net.calibration.images[:20], CHIP8, model=pcmref.MODELS["HERMES_2"])
    options = {"model": pcmref.MODELS["HERMES_2"], "scale": "column", "seeds": (9,), "times_s": (86400.0,)}
    calibration = net.calibration.first(400)
    study = asked(
        net, 200, compensations=(compensation,), calibration=calibration, readout=readout, gdc_readout="ones", **options
    )
    (row,) = retention(study).rows
    chip = pcmref.program(net, model=options["model"], seed=9, scale="column")
    snapshot = chip.at(86400.0)
    corrections = pcmref.calibrate(
        snapshot,
        compensation,
        reference=chip.reference(),
        images=calibration.images,
        readout=readout,
        gdc_readout="ones",
    )
    scores = pcmref.logits(snapshot, study.samples.images, corrections=corrections, readout=readout)
    assert row.correct == int((scores.argmax(axis=1) == study.samples.labels).sum())
    assert (row.seed, row.t_s, row.compensation, row.images) == (9, 86400.0, compensation, 200)


def test_compensation_is_measured_as_the_study_says(net, monkeypatch):
    """With the very readout of the inference: a chip is not corrected for other converters than it has."""
    seen, calibrate = [], retention.__globals__["calibrate"]
    monkeypatch.setitem(
        retention.__globals__,
        "calibrate",
        lambda *args, **options: seen.append((args, options)) or calibrate(*args, **options),
    )
    options = {"compensations": ("gdc",), "gdc_readout": "column", "readout": CHIP8, "calibration": net.calibration}
    result = retention(asked(net, 2, times_s=(DAY_S,), **options), threads=1)
    (((snapshot, compensation), used),) = seen
    assert (snapshot.t_s, snapshot.read, compensation) == (DAY_S, 0, "gdc")
    assert used["reference"].t_s == pcmref.MODELS["NANDAKUMAR_2019"].reference_time_s
    assert used["images"] is net.calibration.images
    assert (used["readout"], used["gdc_readout"], used["threads"]) == (result.readout, "column", 1)
    assert result.readout.ranges


def test_a_chip_does_not_depend_on_its_company(net):
    options = {"times_s": (86400.0,), "compensations": ("gdc",)}
    both = retention(asked(net, 40, seeds=(0, 1), **options))
    alone = retention(asked(net, 40, seeds=(1,), **options))
    assert both.rows[1:] == alone.rows


def test_known_rows_are_taken_over_and_new_ones_kept(net):
    options = {"times_s": (25.0, 86400.0), "compensations": ("none", "gdc"), "seeds": (0, 1)}
    study = asked(net, 20, **options)
    whole = retention(study)
    marked = [dataclasses.replace(row, correct=-1) for row in whole.rows]
    known = [marked[6], marked[1], dataclasses.replace(marked[0], seed=7)]  # the last one is not asked for
    kept, seen = [], []
    result = retention(
        study, known=iter(known), keep=kept.append, progress=lambda done, total: seen.append((done, total))
    )
    assert result.rows == tuple(marked[k] if k in (1, 6) else whole.rows[k] for k in range(8))
    assert seen[-1] == (20 * 7, 20 * 7)
    assert [len(partial.rows) for partial in kept] == [3, 4, 5, 6, 7, 8]
    assert kept[0].rows == (whole.rows[0], marked[1], marked[6])
    for name in ("study", "rows", "digital_correct", "readout"):
        assert getattr(kept[-1], name) == getattr(result, name)


def test_bundled_network_keeps_its_promise(net):
    """Digital at least 98 %; after a year AdaBS within a point of it, uncompensated clearly lower."""
    year = pcmref.TIMES_S[-1]
    compensations = ("none", "adabs", "gdc+adabs")
    options = {"calibration": net.calibration, "times_s": (year,), "seeds": range(2), "compensations": compensations}
    result = retention(Study(network=net, samples=net.evaluation, **options))
    assert result.digital_accuracy >= 0.98
    assert result.digital_correct == round(result.digital_accuracy * len(net.evaluation))
    assert result.accuracies(year, "adabs").mean() >= result.digital_accuracy - 0.01
    assert result.accuracies(year, "gdc+adabs").mean() >= result.digital_accuracy - 0.01
    assert result.accuracies(year, "none").mean() < 0.5
    assert result.accuracies(year, "none").shape == (2,)


def test_preset_chip8_calibrates_its_ranges(net):
    result = retention(asked(net, 50, calibration=net.calibration, readout=CHIP8))
    assert set(result.readout.ranges) == {layer.name for layer in net.crossbar_layers}
    assert result.readout == pcmref.calibrate_ranges(net, net.calibration.images[:200], CHIP8)
    assert result.study.readout == CHIP8
    assert result.rows[0].accuracy > 0.9


def test_ranges_that_come_with_a_network_are_used(net):
    """Without calibration images; the sums of devices of another size are in proportion."""
    own = pcmref.calibrate_ranges(net, net.calibration.images[:200], CHIP8)
    with_ranges = dataclasses.replace(net, ranges={"chip8": own.ranges})
    calibrated = retention(asked(net, 20, calibration=net.calibration, readout=CHIP8))
    found = retention(asked(with_ranges, 20, readout=CHIP8))
    assert found.rows == calibrated.rows
    assert found.readout == calibrated.readout == own
    with pytest.raises(ParameterError, match=r"^calibration"):
        asked(with_ranges, 20, readout=CHIP8, scale="column")
    other = dataclasses.replace(CHIP8, adc=pcmref.Adc(bits=7), read_noise="frozen")  # its full scales are the same
    assert retention(asked(with_ranges, 1, readout=other)).readout == dataclasses.replace(other, ranges=own.ranges)
    other = dataclasses.replace(CHIP8, tile_rows=128)  # no longer the tiles that they are for
    with pytest.raises(ParameterError, match=r"^calibration"):
        asked(with_ranges, 20, readout=other)
    small = pcmref.MODELS["HERMES_1"]
    ideal = pcmref.calibrate_ranges(net, net.calibration.images[:200], CHIP8, model=small)
    scaled = retention(asked(with_ranges, 1, readout=CHIP8, model=small)).readout
    for name, top in scaled.ranges.items():
        assert top.input_top == pytest.approx(ideal.ranges[name].input_top, rel=0.01)
        assert top.sum_top_us == pytest.approx(ideal.ranges[name].sum_top_us, rel=0.01)
        assert top.sum_top_us == own.ranges[name].sum_top_us * (10.35 / 25)


def test_values_of_another_type(net):
    images = net.evaluation.images[:2]
    chip = pcmref.program(net)
    snapshot = chip.at(25.0)
    for attempt, message in (
        (lambda: retention("net.h5"), r"study: expected a Study (pcmref.Study), found 'net.h5'"),
        (lambda: retention(net), "study: expected a Study"),
        (lambda: retention(asked(net, 2), known=[1]), "known: expected a Row, found 1"),
        (lambda: pcmref.program("net.h5"), "network: expected a Network"),
        (lambda: pcmref.logits(pcmref.program(net), images), "snapshot: expected a Snapshot (Chip.at)"),
        (lambda: pcmref.logits(snapshot, images, corrections={}), "corrections: expected a Corrections"),
        (lambda: pcmref.calibrate_ranges(net, images, "chip8"), "readout: expected a Readout"),
        (lambda: pcmref.calibrate_ranges(net, images, CHIP8, model="HERMES_1"), "model: expected a Technology"),
        (lambda: pcmref.calibrate_ranges("net.h5", images, CHIP8), "network: expected a Network"),
        (lambda: pcmref.with_stored_ranges(net, "chip8"), "readout: expected a Readout"),
        (lambda: pcmref.with_stored_ranges(net, CHIP8, scale="colum"), "scale: expected one of layer, column"),
        (lambda: pcmref.digital(snapshot, images), "network: expected a Network"),
        (lambda: pcmref.calibrate(chip, "none"), "snapshot: expected a Snapshot (Chip.at)"),
        (lambda: pcmref.calibrate(snapshot, "gdc", reference=chip), "reference: expected a Snapshot"),
        (lambda: pcmref.calibrate(snapshot, "adabs", images=images, readout="paper"), "readout: expected a Readout"),
        (lambda: pcmref.save("net.h5", "net"), "network: expected a Network"),
        (lambda: pcmref.save_corrections("c.h5", None, snapshot), "corrections: expected a Corrections"),
        (lambda: pcmref.save_corrections("c.h5", pcmref.Corrections(), chip), "snapshot: expected a Snapshot"),
        (lambda: pcmref.Corrections(gain=None), "corrections: gain: expected a Mapping"),
        (lambda: pcmref.Corrections(statistics=[]), "corrections: statistics: expected a Mapping"),
    ):
        with pytest.raises(ParameterError, match=f"^{re.escape(message)}"):
            attempt()


def test_errors_come_before_the_first_image(net):
    samples = net.evaluation.first(3)
    some = (layer.name for layer in net.crossbar_layers if layer.name != "fc")
    ranges = {name: Range(input_top=1.0, sum_top_us=1.0) for name in some}
    strange = dataclasses.replace(samples, labels=np.array([0, 10, 1]))
    row = Row(t_s=25.0, compensation="none", seed=0, images=1000, correct=999)
    for change, known, message in (
        ({"readout": dataclasses.replace(CHIP8, ranges=ranges)}, [], "calibrated ranges for layer 'fc'"),
        ({"samples": strange}, [], "evaluation/labels: expected labels from 0 to 9, found 10"),
        ({}, [row], "known: expected rows of 3 images, found rows of 1000"),
    ):
        seen = []
        with pytest.raises(PcmrefError, match=message):
            retention(
                Study(network=net, **{"samples": samples, "compensations": ("none",)} | change),
                known=known,
                progress=lambda done, total, seen=seen: seen.append(done),
            )
        assert not seen


def test_accuracies_of_nothing(net):
    result = retention(asked(net, 3))
    assert result.accuracies(25.0, "none").shape == (1,)
    for key in ((25.0, "gdc"), (26.0, "none"), (25.0, "nonsense")):
        with pytest.raises(ParameterError, match="t_s, compensation: expected those of a row, found"):
            result.accuracies(*key)


def test_rows_are_frozen(net):
    result = retention(asked(net, 2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.rows[0].correct = 0
    assert np.isclose(result.rows[0].accuracy, result.rows[0].correct / 2)


def test_threads_change_no_row(net):
    study = asked(net, 40, times_s=(86400.0,), compensations=("gdc",))
    assert retention(study, threads=1).rows == retention(study, threads=3).rows
    with pytest.raises(ParameterError, match="threads"):
        retention(study, threads=0)


def test_the_chip_before_drift_is_read_for_gdc_alone(net, monkeypatch):
    read, reference = [], pcmref.Chip.reference
    monkeypatch.setattr(pcmref.Chip, "reference", lambda chip: read.append(chip.seed) or reference(chip))
    of = {"network": net, "samples": net.evaluation.first(3), "calibration": net.calibration, "times_s": (25.0, DAY_S)}
    retention(Study(**of, compensations=("none", "adabs"), seeds=(0, 1)))
    assert read == []
    retention(Study(**of, compensations=("none", "gdc"), seeds=(0, 1)))
    assert read == [0, 1]
