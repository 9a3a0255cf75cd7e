"""The door for another technology: a class with these members runs through everything, without a change elsewhere."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import dataclass, make_dataclass, replace

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic.codes import conductance_codes
from pcmref.arithmetic.draws import Purpose, normals
from pcmref.devices.published import MODELS, NANDAKUMAR_2019
from pcmref.devices.technology import DeviceCodes, Technology, check_technology, fields_of
from pcmref.errors import DataError, FileError, ParameterError, PcmrefError, real
from pcmref.studies.document import rows_left, write_document
from tests.helpers import naive
from tests.helpers.nets import samples, tiny

DAY = 86400.0
CHIP8 = pcmref.PRESETS["chip8"]


@dataclass(frozen=True)
class Shifted:
    """A memory whose conductance is the target plus a constant error: no drift, no noise."""

    error_us: float = 0.0
    name: str = "SHIFTED"
    g_max_us: float = 25.0
    g_step_us: float = 2.0**-9
    reference_time_s: float = 0.0

    def check_time(self, t_s):
        return real("t_s", t_s, "a time from 0 on", 0.0)

    def program(self, target_us, words):
        return target_us + self.error_us

    def read(self, state, t_s, words):
        codes = conductance_codes(state, self.g_step_us)
        return DeviceCodes(mean=codes, read=codes, variance=np.zeros(codes.shape, np.int16))

    def ideal(self):
        return replace(self, error_us=0.0)


@dataclass(frozen=True)
class Drawn(Shifted):
    """Another whose devices miss their targets by 1 uS, and every read by 0.1 uS, in standard deviation."""

    name: str = "DRAWN"

    def program(self, target_us, words):
        z = normals(words(Purpose.PROGRAM)[:2]).reshape(target_us.shape)
        return np.maximum(target_us + z, 0.0)

    def read(self, state, t_s, words):
        z = normals(words(Purpose.READ)[:2]).reshape(state.shape)
        mean, read = (conductance_codes(g_us, self.g_step_us) for g_us in (state, np.maximum(state + 0.1 * z, 0.0)))
        return DeviceCodes(mean=mean, read=read, variance=np.full(state.shape, 41, np.int16))


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.h5"
    pcmref.save(path, tiny())
    return pcmref.load(path)


@pytest.fixture(scope="module")
def images():
    return samples(np.random.default_rng(4), 200, (6, 6, 3), 4, "training")


def codes_of(snapshot):
    return [(layer.g_mean_code, layer.g_read_code, layer.g_variance_code) for layer in snapshot.layers]


# It runs through everything


@pytest.mark.parametrize("scale", ["layer", "column"])
def test_without_an_error_it_is_an_ideal_chip(net, images, scale):
    ideal = pcmref.program(net, model=NANDAKUMAR_2019.ideal(), scale=scale)
    chip = pcmref.program(net, model=Shifted(), seed=5, scale=scale)
    for mine, other in ((chip.at(0.0), ideal.reference()), (chip.at(DAY, read=3), ideal.at(DAY))):
        for layer, expected in zip(codes_of(mine), codes_of(other), strict=True):
            assert all(map(np.array_equal, layer, expected))
    expected = pcmref.logits(ideal.at(DAY), images.images)
    assert np.array_equal(pcmref.logits(chip.at(DAY), images.images), expected)
    assert np.array_equal(pcmref.prepare(chip.at(DAY))(images.images), expected)
    assert expected.std() > 0


@pytest.mark.parametrize("scale", ["layer", "column"])
def test_a_constant_error_adds_its_code_to_every_device(net, scale):
    error = 37
    chip = pcmref.program(net, model=Shifted(error_us=error * 2.0**-9), scale=scale)
    plain = pcmref.program(net, model=Shifted(), scale=scale)
    for t_s in (0.0, DAY):
        for (mean, read, variance), (target, _, _) in zip(codes_of(chip.at(t_s)), codes_of(plain.at(t_s)), strict=True):
            assert np.array_equal(mean, target + error)
            assert np.array_equal(read, mean)
            assert not variance.any()
    for layer, mapped in zip(codes_of(plain.reference()), chip.targets(), strict=True):
        assert np.array_equal(layer[0], conductance_codes(mapped.pair_targets_us(), 2.0**-9))


def test_an_error_that_both_devices_have_changes_no_product(net, images):
    chips = [pcmref.program(net, model=Shifted(error_us=e)) for e in (0.0, 1.0)]
    one, other = (pcmref.logits(chip.at(DAY), images.images[:20]) for chip in chips)
    assert np.array_equal(one, other)


def test_another_step_and_another_largest_conductance(net, images):
    model = Shifted(g_max_us=100.0, g_step_us=2.0**-7)
    codes = codes_of(pcmref.program(net, model=model).at(DAY))
    expected = codes_of(pcmref.program(net, model=Shifted()).at(DAY))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(codes, expected, strict=True))
    logits = [pcmref.logits(pcmref.program(net, model=m).at(DAY), images.images[:9]) for m in (model, Shifted())]
    assert np.array_equal(*logits)


@pytest.mark.filterwarnings("ignore:GDC does nothing")
def test_compensation(net, images):
    chip = pcmref.program(net, model=Shifted(error_us=0.5))
    snapshot, reference = chip.at(DAY), chip.reference()
    ideal = pcmref.program(net, model=NANDAKUMAR_2019.ideal()).at(DAY)
    for readout in ("absolute", "ones", "column"):
        gdc = pcmref.calibrate(snapshot, "gdc", reference=reference, gdc_readout=readout)
        assert set(gdc.gain) == {layer.name for layer in net.crossbar_layers}
        assert all((gain == 1.0).all() for gain in gdc.gain.values())  # nothing drifts
    adabs = pcmref.calibrate(snapshot, "adabs", images=images.images)
    expected = pcmref.calibrate(ideal, "adabs", images=images.images)
    for name, found in adabs.statistics.items():
        assert np.array_equal(found.mean, expected.statistics[name].mean)
        assert np.array_equal(found.var, expected.statistics[name].var)
    other = pcmref.program(net, model=Shifted(error_us=0.25)).reference()
    with pytest.raises(ParameterError, match="reference: expected a snapshot of the same chip"):
        pcmref.calibrate(snapshot, "gdc", reference=other)


def test_preset_chip8_with_calibrated_ranges(net, images):
    ranged = pcmref.calibrate_ranges(net, images.images[:50], CHIP8, model=Shifted(error_us=2.0))
    assert ranged == pcmref.calibrate_ranges(net, images.images[:50], CHIP8)  # those of the ideal chip
    chip = pcmref.program(net, model=Shifted(error_us=1.0))
    expected = pcmref.logits(pcmref.program(net, model=NANDAKUMAR_2019.ideal()).at(DAY), images.images, readout=ranged)
    assert np.array_equal(pcmref.logits(chip.at(DAY), images.images, readout=ranged), expected)


def test_corrections_have_a_file(net, images, tmp_path):
    snapshot = pcmref.program(net, model=Shifted(error_us=1.0)).at(DAY)
    corrections = pcmref.calibrate(snapshot, "adabs", images=images.images)
    path = tmp_path / "corrections.h5"
    pcmref.save_corrections(path, corrections, snapshot)
    again = pcmref.load_corrections(path, snapshot)
    assert np.array_equal(again.statistics["bn1"].mean, corrections.statistics["bn1"].mean)
    other = pcmref.program(net, model=Shifted(error_us=2.0)).at(DAY)
    with pytest.raises(FileError, match=r"chip: model\.error_us: expected 2\.0, found 1\.0"):
        pcmref.load_corrections(path, other)


def test_chips_and_snapshots_travel(net, images):
    chip = pcmref.program(net, model=Drawn(), seed=1)
    again, snapshot = pickle.loads(pickle.dumps((chip, chip.at(DAY))))
    assert again.model == chip.model
    expected = pcmref.logits(chip.at(DAY), images.images[:5])
    for other in (again.at(DAY), snapshot):
        assert np.array_equal(pcmref.logits(other, images.images[:5]), expected)
    stuck = replace(snapshot, read=4)
    assert (stuck.read, stuck.t_s) == (4, DAY)
    with pytest.raises(ParameterError, match="t_s: expected a time from 0 on"):
        replace(snapshot, t_s=-1.0)


@pytest.mark.filterwarnings("ignore:readout chip8. .* do the ranges fit")
def test_a_study_and_its_document(net, images, tmp_path):
    study = pcmref.Study(
        network=net,
        samples=images,
        calibration=images,
        model=Drawn(),
        readout=CHIP8,
        times_s=(0.0, DAY),
        seeds=(0, 1),
    )
    kept = []
    whole = pcmref.retention(study, keep=kept.append)
    assert len(whole.rows) == 16
    write_document(tmp_path / "whole", whole)
    found = json.loads((tmp_path / "whole").read_text())
    assert found["model"] == {
        "error_us": 0.0,
        "name": "DRAWN",
        "g_max_us": 25.0,
        "g_step_us": 2.0**-9,
        "reference_time_s": 0.0,
    }
    write_document(tmp_path / "part", kept[6])
    known = rows_left(tmp_path / "part", study)
    assert known == list(whole.rows[:7])
    write_document(tmp_path / "again", pcmref.retention(study, known=known))
    assert (tmp_path / "again").read_bytes() == (tmp_path / "whole").read_bytes()
    for model, place in ((Drawn(error_us=0.5), "model.error_us"), (NANDAKUMAR_2019, "model.name")):
        with pytest.raises(DataError, match=f"part: {place}: expected what this run has"):
            rows_left(tmp_path / "part", replace(study, model=model, times_s=(DAY,)))
    with pytest.raises(ParameterError, match="t_s: expected a time from 0 on, found -1"):
        replace(study, times_s=(-1,))


# Randomness has the addresses of SPEC.md, section 4


@pytest.mark.parametrize("seed", [0, 2**64 - 3])
def test_words_have_the_addresses_of_the_specification(net, seed):
    chip = pcmref.program(net, model=Drawn(), seed=seed)
    snapshots = {(t_s, read): chip.at(t_s, read=read) for t_s, read in ((DAY, 0), (1.5, 2**32 - 1))}
    snapshots[0.0, 0] = chip.reference()
    for address, (layer, mapped) in enumerate(zip(chip.layers, chip.targets(), strict=True)):
        rows, columns = layer.shape
        targets = mapped.pair_targets_us()
        for row, column in ((0, 0), (rows - 1, 1), (rows // 2, columns - 1)):
            weight = [row * columns + column, 0, 0, 0]
            words = naive.philox(weight, naive.stream(seed, 1, address))
            g_us = [max(float(targets[p, row, column]) + naive.normal(words[p]), 0.0) for p in (0, 1)]
            assert layer.state[:, row, column] == pytest.approx(g_us, rel=1e-12, abs=1e-12)
            for (t_s, read), snapshot in snapshots.items():
                words = naive.philox(weight, naive.stream(seed, 3, address, t_s, read))
                noisy = [max(g + 0.1 * naive.normal(w), 0.0) for g, w in zip(g_us, words[:2], strict=True)]
                for codes, expected in (
                    (snapshot.layers[address].g_mean_code, g_us),
                    (snapshot.layers[address].g_read_code, noisy),
                ):
                    assert codes[:, row, column].tolist() == [round(g * 512) for g in expected]


def test_words_are_four_for_each_weight_and_only_those_that_are_asked_for(net):
    seen = []

    @dataclass(frozen=True)
    class Curious(Shifted):
        def program(self, target_us, words):
            seen.append((target_us.shape, words))
            return target_us

    pcmref.program(net, model=Curious(), seed=3)
    for address, ((_, rows, columns), words) in enumerate(seen):
        for purpose in (Purpose.PROGRAM, Purpose.CONVERGENCE):
            found = words(purpose)
            assert (found.dtype, found.shape) == (np.uint32, (4, rows * columns))
            for weight in (0, rows * columns - 1):
                expected = naive.philox([weight, 0, 0, 0], naive.stream(3, int(purpose), address))
                assert found[:, weight].tolist() == expected
        assert np.array_equal(words(Purpose.PROGRAM), words(Purpose.PROGRAM))


# What is refused


@dataclass(frozen=True)
class Unreadable:
    """All but a technology."""

    name: str = "UNREADABLE"
    g_max_us: float = 25.0
    g_step_us: float = 2.0**-9
    reference_time_s: float = 0.0
    check_time = program = ideal = lambda *_: None


class Unwritten:
    """Neither: without fields it could not be written down."""

    name, g_max_us, g_step_us, reference_time_s = "UNWRITTEN", 25.0, 2.0**-9, 0.0
    check_time = program = read = ideal = lambda *_: None


@pytest.mark.parametrize(
    "model",
    [None, "NANDAKUMAR_2019", 25.0, MODELS, Shifted, pcmref.PcmModel, Unreadable(), Unwritten()],
    ids=["None", "a name", "a number", "all of them", "a class", "another class", "no read", "no dataclass"],
)
def test_what_is_no_technology_is_refused(net, model):
    snapshot = pcmref.program(net).at(DAY)
    for attempt in (
        lambda: pcmref.program(net, model=model),
        lambda: replace(pcmref.program(net), model=model),
        lambda: replace(snapshot, model=model),
        lambda: pcmref.Study(network=net, samples=net.evaluation, compensations=("none",), model=model),
        lambda: check_technology(model),
    ):
        with pytest.raises(ParameterError, match=r"^model: expected a Technology \(pcmref\.MODELS\), found "):
            attempt()


def test_technologies():
    for model in (*MODELS.values(), Shifted(), Drawn()):
        check_technology(model)
        assert isinstance(model, Technology)
        assert type(model.ideal()) is type(model)
        assert fields_of(model)["name"] == model.name
        assert fields_of(model.ideal()).keys() == fields_of(model).keys()


def test_a_technology_that_json_cannot_hold_cannot_be_written_down():
    for odd in (object(), np.ones(2), lambda g: g):
        with pytest.raises(ParameterError, match=r"^model: expected dataclasses of numbers and texts all through"):
            fields_of(Shifted(name=odd))


def read_by(**changes):
    """A technology that reads other arrays than it should."""

    def read(self, state, t_s, words):
        found = Shifted.read(self, state, t_s, words)
        return replace(found, **{name: change(getattr(found, name)) for name, change in changes.items()})

    return make_dataclass("Broken", [], bases=(Shifted,), frozen=True, namespace={"read": read})()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            read_by(mean=lambda x: x[:, 1:]),
            "conv1: g_read_code: expected int16 of shape (2, 26, 5), found int16 of sha",
        ),
        (
            read_by(read=lambda x: x[0]),
            "conv1: g_read_code: expected int16 of shape (2, 27, 5), found int16 of shape (",
        ),
        (
            read_by(variance=lambda x: x[..., :0]),
            "conv1: g_variance_code: expected int16 of shape (2, 27, 5), found int16",
        ),
        (
            read_by(variance=lambda x: x.sum(axis=0).astype(np.int16)),
            "conv1: g_variance_code: expected int16 of shape (2, 27, 5), found int16 of shape (27, 5)",
        ),
        (
            read_by(mean=lambda x: x.ravel()),
            "conv1: g_mean_code: expected int16 of shape (2, any, any), found int16",
        ),
        (
            read_by(mean=lambda x: x[..., 1:], read=lambda x: x[..., 1:], variance=lambda x: x[..., 1:]),
            "conv1: weight_per_us: expected float64 of shape (4,), found float64 of shape (5,)",
        ),
        (
            read_by(mean=lambda x: x[:, 1:], read=lambda x: x[:, 1:], variance=lambda x: x[:, 1:]),
            "layers[0]: expected 'conv1' of shape (27, 5), found 'conv1' of shape (26, 5)",
        ),
        (
            read_by(mean=lambda x: x.astype(np.int32)),
            "conv1: g_mean_code: expected int16 of shape (2, any, any), found int",
        ),
        (
            read_by(read=lambda x: x.astype(float)),
            "conv1: g_read_code: expected int16 of shape (2, 27, 5), found float",
        ),
        (
            read_by(variance=lambda x: x.astype("u2")),
            "conv1: g_variance_code: expected int16 of shape (2, 27, 5), found ui",
        ),
        (read_by(mean=lambda x: -x - 1), "conv1: g_mean_code: expected finite numbers from 0 on, found -"),
        (read_by(read=lambda x: -x - 1), "conv1: g_read_code: expected finite numbers from 0 on, found -"),
        (
            read_by(variance=lambda x: x - 1),
            "conv1: g_variance_code: expected finite numbers from 0 on, found -1 at [0, 0, 0]",
        ),
        (read_by(mean=lambda x: x.tolist()), "conv1: g_mean_code: expected int16 of shape (2, any, any), found [[["),
        (read_by(mean=lambda x: None), "conv1: g_mean_code: expected int16 of shape (2, any, any), found None"),
    ],
)
def test_codes_that_are_none_are_refused_with_the_layer(net, model, message):
    for attempt in (lambda chip: chip.at(DAY), lambda chip: chip.reference()):
        with pytest.raises(PcmrefError, match=f"^{re.escape(message)}"):
            attempt(pcmref.program(net, model=model))


@pytest.mark.parametrize("found", [None, (1, 2, 3), {"mean": 1}])
def test_what_is_no_codes_is_refused_with_the_layer(net, found):
    model = make_dataclass("Broken", [], bases=(Shifted,), frozen=True, namespace={"read": lambda *_: found})()
    with pytest.raises(ParameterError, match=r"^conv1: what SHIFTED reads: expected a DeviceCodes, found "):
        pcmref.program(net, model=model).at(DAY)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"g_max_us": float("nan")}, "conv1: g_target_us"), ({"g_max_us": -1.0}, "conv1: weight_per_us")],
)
def test_a_largest_conductance_that_is_none_is_refused_with_the_layer(net, change, message):
    with pytest.raises(ParameterError, match=f"^{message}: expected finite numbers"):
        pcmref.program(net, model=Shifted(**change))
