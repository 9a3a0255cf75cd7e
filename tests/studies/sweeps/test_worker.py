"""What a worker does, and what it refuses to do."""

import dataclasses
import pickle
import re
import warnings

import pytest

import pcmref
from pcmref.errors import ParameterError
from pcmref.studies.retention import retention
from pcmref.studies.sweeps import tasks, worker
from pcmref.studies.sweeps.points import points_of
from pcmref.studies.sweeps.tasks import Lacking, Task, bundle_of, how, origin
from pcmref.studies.sweeps.worker import work
from tests.studies.sweeps.asking import SMALL, question


@pytest.fixture
def point(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "_bundles", type(worker._bundles)())
    (only,) = points_of(question(tmp_path, SMALL))
    return only


def task(point, **options):
    options = {"asks": "rows", "cases": tuple(point.cases)} | options
    bundle = bundle_of(point.study)
    return Task(origin=origin(), bundle=bundle.digest, setting=point.digest, how=how(point.study), **options)


def packed(point):
    return bundle_of(point.study).packed()


def test_rows_are_those_of_a_retention_run(point):
    answer = work(pickle.loads(pickle.dumps(task(point))), packed(point))
    expected = retention(dataclasses.replace(point.study, seeds=(0, 1)))
    assert answer.rows == expected.rows
    assert (answer.failures, answer.warnings, answer.error, answer.readout, answer.digital_correct) == (
        (),
        (),
        "",
        None,
        None,
    )
    assert answer.seconds > 0
    assert re.fullmatch(r".+:\d+", answer.worker)


def test_a_bundle_comes_once(point):
    assert isinstance(work(task(point)), Lacking)
    assert isinstance(work(task(point)), Lacking)
    first = work(task(point), packed(point))
    assert work(task(point)).rows == first.rows


def test_a_worker_keeps_the_bundles_that_it_used_last(point, monkeypatch):
    monkeypatch.setattr(worker, "BUNDLES_MOST", 2)
    several = [
        dataclasses.replace(
            point.study, samples=point.study.samples.first(count), calibration=None, compensations=("none",)
        )
        for count in (1, 2, 3)
    ]

    def ask(study, content=None):
        bundle = bundle_of(study)
        asked = Task(origin=origin(), bundle=bundle.digest, setting="s", how=how(study), cases=((0, 25.0, "none"),))
        return work(asked, bundle.packed() if content else None)

    ask(several[0], True)
    ask(several[1], True)
    assert not isinstance(ask(several[0]), Lacking)
    ask(several[2], True)  # in place of the second, which was used longest ago
    assert [isinstance(ask(study), Lacking) for study in several] == [False, True, False]


def test_baseline_and_ranges(point):
    net = point.study.network
    answer = work(task(point, asks="baseline", cases=()), packed(point))
    scores = pcmref.digital(net, point.study.samples.images)
    assert answer.digital_correct == (scores.argmax(axis=1) == point.study.samples.labels).sum()
    assert (answer.rows, answer.readout) == ((), None)
    study = dataclasses.replace(point.study, readout=pcmref.PRESETS["chip8"])
    asked = dataclasses.replace(task(point, asks="ranges", cases=()), how=how(study))
    assert work(asked).readout == study.ranged_readout()


@pytest.mark.parametrize("change", [{"pcmref": "9.9"}, {"spec": 99}, {"sources": "0" * 64}, {"numba": "0.1"}])
def test_another_pcmref_is_refused_by_name(point, change):
    other = dataclasses.replace(task(point), origin=dataclasses.replace(origin(), **change))
    with pytest.raises(
        ParameterError, match=rf"^worker .+:\d+: expected pcmref {re.escape(other.origin.pcmref)} "
    ) as caught:
        work(other, packed(point))
    assert caught.value.found == str(origin())
    if "spec" in change or "numba" in change or "pcmref" in change:
        assert str(*change.values()) in caught.value.expected


def test_another_network_is_refused(point):
    """Whatever was noted of its digest: it is computed anew from what has come."""
    net = point.study.network
    first = net.crossbar_layers[0]
    other = dataclasses.replace(first, weight=-first.weight)
    layers = tuple(other if layer is first else layer for layer in net.layers)
    changed = dataclasses.replace(bundle_of(point.study), network=dataclasses.replace(net, layers=layers, ranges={}))
    changed.network.__dict__["digest"] = net.digest
    own = bundle_of(point.study)
    ranges = {layer.name: pcmref.Range(input_top=1.0, sum_top_us=1.0) for layer in net.crossbar_layers}
    for bundle in (
        changed,
        dataclasses.replace(own, samples=point.study.samples.first(4)),
        dataclasses.replace(own, calibration=point.study.calibration.first(200)),
        dataclasses.replace(own, calibration=None),
        dataclasses.replace(own, network=dataclasses.replace(own.network, ranges={"chip8": ranges})),
    ):
        with pytest.raises(ParameterError, match=r"^worker .+: network and images: expected those of digest"):
            work(task(point), bundle.packed())
    assert isinstance(work(task(point)), Lacking)


def test_a_row_that_fails_takes_no_other_with_it(point, monkeypatch):
    """Neither those before it, nor those after it."""
    calibrate = retention.__globals__["calibrate"]

    def failing(snapshot, compensation, **options):
        if (snapshot.seed, snapshot.t_s, compensation) == (0, 86400.0, "none"):
            raise ParameterError("here", "this", "that")
        if (snapshot.seed, compensation) == (1, "gdc"):
            raise MemoryError
        return calibrate(snapshot, compensation, **options)

    whole = work(task(point), packed(point)).rows
    monkeypatch.setitem(retention.__globals__, "calibrate", failing)
    answer = work(task(point))
    assert [(f.case, f.error) for f in answer.failures] == [
        ((0, 86400.0, "none"), "here: expected this, found that"),
        ((1, 25.0, "gdc"), "MemoryError: "),
        ((1, 86400.0, "gdc"), "MemoryError: "),
    ]
    failed = {failure.case for failure in answer.failures}
    assert answer.rows == tuple(row for row in whole if (row.seed, row.t_s, row.compensation) not in failed)


def test_ranges_that_cannot_be_found(point, monkeypatch):
    monkeypatch.setattr(type(point.study), "ranged_readout", lambda *_, **__: 1 / 0)
    answer = work(task(point, asks="ranges", cases=()), packed(point))
    assert (answer.error, answer.readout) == ("ZeroDivisionError: division by zero", None)


def test_warnings_come_back(point):
    tops = {layer.name: pcmref.Range(input_top=1e-3, sum_top_us=1e-3) for layer in point.study.network.crossbar_layers}
    study = dataclasses.replace(point.study, readout=dataclasses.replace(pcmref.PRESETS["chip8"], ranges=tops))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked = dataclasses.replace(task(point), how=how(study))
        quiet = work(asked, packed(point))
        loud = work(dataclasses.replace(asked, look=True))
    assert quiet.warnings == ()
    assert quiet.rows == loud.rows
    (text,) = loud.warnings
    assert "of the codes saturate" in text


def test_the_sources_are_all_files_of_the_package(tmp_path, monkeypatch):
    """A change of one byte of any of them is another origin."""
    import shutil

    folder = tmp_path / "pcmref"
    shutil.copytree(pcmref.__path__[0], folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(tasks.references, "__file__", str(folder / "references.py"))
    fresh = origin.__wrapped__
    assert fresh() == origin()
    with (folder / "arithmetic" / "codes.py").open("a") as file:
        file.write("\n")
    assert fresh().sources != origin().sources
