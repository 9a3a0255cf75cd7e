"""A sweep as a whole: the rows of the plain loop, whatever runs them, once each."""

import dataclasses
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcmref
from pcmref.errors import ParameterError
from pcmref.studies.retention import Row, retention
from pcmref.studies.sweeps import sweep as module
from pcmref.studies.sweeps.executors import given as given_workers
from pcmref.studies.sweeps.found import results
from pcmref.studies.sweeps.opening import opened
from pcmref.studies.sweeps.points import points_of, row_key
from pcmref.studies.sweeps.repeat import repeat
from pcmref.studies.sweeps.sweep import sweep
from pcmref.studies.sweeps.tasks import Answer, Failure
from pcmref.studies.sweeps.worker import work
from tests.studies.sweeps.asking import SMALL, question, swept

TEXT = SMALL + 'preset = ["paper", "chip8"]\n'


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study of two presets, one of which needs ranges, and what a sweep finds."""
    folder = tmp_path_factory.mktemp("whole")
    asked = question(folder, TEXT)
    outcome, found = swept(asked, folder / "s.db")
    assert (outcome.wanted, outcome.known, outcome.new, outcome.failures) == (16, 0, 16, ())
    return asked, found


def test_rows_are_those_of_the_plain_loop(whole):
    asked, found = whole
    for position, point in enumerate(points_of(asked)):
        expected = retention(dataclasses.replace(point.study, seeds=(0, 1)))
        assert found.settings[position].digital_correct == expected.digital_correct
        for cell in (cell for cell in found.cells if cell.setting == position):
            accuracies = expected.accuracies(cell.t_s, cell.compensation)
            assert found.chips(cell).tolist() == (5 * accuracies).round().tolist()


class Serial(Executor):
    """An executor that does each task when it is submitted, and notes what came."""

    def __init__(self, change=lambda answer: answer):
        self.tasks, self.change = [], change

    def submit(self, function, task, *packed):
        assert function is work
        future = Future()
        answer = work(task, *packed)
        if isinstance(answer, Answer):
            self.tasks.append(task)
            answer = self.change(answer)
        future.set_result(answer)
        return future


def test_what_is_there_is_not_done_again(tmp_path, whole):
    asked, _ = whole
    path = tmp_path / "s.db"
    points = points_of(asked)
    cases = list(points[0].cases)
    with opened(path, asked) as database:
        database.ask(asked, points)
        for case in cases[1:4]:
            correct = 3  # known to be wrong: it stays
            row = Row(seed=case[0], t_s=case[1], compensation=case[2], images=5, correct=correct)
            database.land(points[0].digest, [row], 0.1)
    executor = Serial()
    outcome = sweep(asked, path, given_workers(executor, 1))
    done = [case for task in executor.tasks if task.setting == points[0].digest for case in task.cases]
    assert done == [cases[0], *cases[4:]]
    assert (outcome.known, outcome.new) == (3, 13)
    assert [task.asks for task in executor.tasks].count("baseline") == 1
    assert [task.asks for task in executor.tasks].count("ranges") == 1
    again = Serial()
    assert sweep(asked, path, given_workers(again, 1)).new == 0
    assert again.tasks == []


def test_a_baseline_that_was_lost_is_found_though_no_row_is_lacking(tmp_path, whole):
    asked, expected = whole
    path = tmp_path / "s.db"
    swept(asked, path)
    with opened(path, asked) as database:
        database._connection.execute("UPDATE settings SET baseline = NULL WHERE id = 1")
    assert results(path).settings[0].digital_correct is None
    executor = Serial()
    sweep(asked, path, given_workers(executor, 1))
    assert executor.tasks == []  # the other setting has the same network and images
    with opened(path, asked) as database:
        database._connection.execute("UPDATE settings SET baseline = NULL")
    sweep(asked, path, given_workers(executor, 1))
    assert [task.asks for task in executor.tasks] == ["baseline"]
    assert results(path).settings == expected.settings


def test_a_changed_study_adds_what_is_new(tmp_path, whole):
    asked, expected = whole
    path = tmp_path / "s.db"
    swept(asked, path)
    more = question(tmp_path, TEXT.replace("chips = 2", "chips = 3").replace('"chip8"', '"chip8", "rtl8"'))
    executor = Serial()
    outcome = sweep(more, path, given_workers(executor, 1))
    assert (outcome.wanted, outcome.known, outcome.new) == (36, 16, 20)
    assert [task.asks for task in executor.tasks].count("baseline") == 0
    assert results(path).settings[2].digital_correct == expected.settings[0].digital_correct
    assert sweep(asked, path, given_workers(Serial(), 1)).new == 0
    assert results(path).digest == expected.digest


@settings(max_examples=200)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    of_chip=st.integers(1, 7),
    row_s=st.lists(st.floats(1e-4, 100.0), min_size=1, max_size=10),
    workers=st.integers(1, 50),
    task_s=st.floats(1.0, 3600.0),
)
def test_tasks_are_every_row_once_and_of_whole_chips(lengths, of_chip, row_s, workers, task_s):
    """However fast rows turn out to be."""
    state = module._Sweep.__new__(module._Sweep)
    state._row_s, state._left, state._task_s = {}, sum(lengths), task_s
    state._workers = given_workers(Serial(), workers)
    pace = iter(row_s * 1000)
    for length in lengths:
        left = length
        while left > 0:
            count = state._count("b", of_chip)
            assert count >= 1
            assert count == 1 or count * state._row_s["b"] <= task_s
            assert count <= of_chip or count % of_chip == 0
            assert count <= max(1, -(-state._left // (2 * workers)))
            left, state._left = left - count, state._left - min(count, left)
            state._row_s["b"] = next(pace)
    assert state._left == 0


def test_a_row_that_fails_is_told_and_tried_again(tmp_path, whole):
    asked, expected = whole
    path = tmp_path / "s.db"
    bad = (1, 86400.0, "gdc")

    def change(answer):
        rows = tuple(row for row in answer.rows if (row.seed, row.t_s, row.compensation) != bad)
        lost = len(rows) < len(answer.rows)
        return dataclasses.replace(answer, rows=rows, failures=(Failure(case=bad, error="too hot"),) * lost)

    outcome = sweep(asked, path, given_workers(Serial(change), 1))
    key = row_key(points_of(asked)[0].digest, bad)
    assert outcome.new == 14
    assert outcome.failures[0] == f"row {key} (seed 1, 1 d, gdc): too hot"
    text = repeat(asked, key, path)
    assert text.startswith(f"row {key}: network digits-resnet8, ")
    assert text.endswith(f"not in {path} yet")
    outcome = sweep(asked, path, given_workers(Serial(), 1))
    assert (outcome.new, outcome.failures) == (2, ())
    assert results(path).digest == expected.digest
    assert repeat(asked, key[:8].upper(), path).endswith(f", as in {path}")


def test_too_many_failures_end_a_sweep(tmp_path):
    asked = question(tmp_path, SMALL.replace("chips = 2", "chips = 50"))

    def change(answer):
        failures = tuple(Failure(case=(row.seed, row.t_s, row.compensation), error="no") for row in answer.rows)
        return dataclasses.replace(answer, rows=(), failures=failures)

    executor = Serial(change)
    with pytest.raises(
        ParameterError, match=r"s.db: expected fewer than 20 rows that fail, found 20: row \w{16} \(seed 0"
    ):
        sweep(asked, tmp_path / "s.db", given_workers(executor, 1))
    assert len(executor.tasks) < 25


def test_ranges_that_cannot_be_found_fail_their_setting_only(tmp_path, whole):
    asked, expected = whole
    path = tmp_path / "s.db"
    hide = lambda answer: dataclasses.replace(answer, readout=None, error="no ranges" if answer.readout else "")  # noqa: E731
    outcome = sweep(asked, path, given_workers(Serial(hide), 1))
    assert outcome.new == 8
    (text,) = outcome.failures
    assert text.endswith("(seed 0, 25 s, none): ranges: no ranges")
    sweep(asked, path, given_workers(Serial(), 1))
    assert results(path).digest == expected.digest


def test_warnings_are_told_once(tmp_path):
    loud = lambda answer: dataclasses.replace(answer, warnings=("a", "b"))  # noqa: E731
    told = []
    sweep(question(tmp_path), tmp_path / "s.db", given_workers(Serial(loud), 1), tell=told.append)
    assert told == ["a", "b"]


def test_the_first_row_of_each_setting_looks_whether_full_scales_fit(tmp_path, whole):
    asked, _ = whole
    executor = Serial()
    sweep(asked, tmp_path / "s.db", given_workers(executor, 1))
    rows = [task for task in executor.tasks if task.asks == "rows"]
    assert [task.cases[0] for task in rows if task.look] == [(0, 25.0, "none")] * 2
    assert len({task.setting for task in rows if task.look}) == 2


def test_ranges_that_come_with_the_network_are_used(tmp_path):
    net = pcmref.load(pcmref.bundled())
    own = pcmref.calibrate_ranges(net, net.calibration.images[:20], pcmref.PRESETS["chip8"])
    pcmref.save(tmp_path / "own.h5", dataclasses.replace(net, ranges={"chip8": own.ranges}))
    asked = question(tmp_path, SMALL.replace('"digits-resnet8"', '"own.h5"') + 'preset = "chip8"')
    outcome, found = swept(asked, tmp_path / "s.db")
    assert (outcome.new, outcome.failures) == (8, ())
    (point,) = points_of(asked)
    expected = retention(dataclasses.replace(point.study, seeds=(0, 1)))
    for cell in found.cells:
        accuracies = expected.accuracies(cell.t_s, cell.compensation)
        assert found.chips(cell).tolist() == (5 * accuracies).round().tolist()


def test_progress_can_end_it_and_what_was_found_stays(tmp_path, whole):
    asked, expected = whole
    path, seen = tmp_path / "s.db", []

    def progress(done, wanted):
        seen.append((done, wanted))
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(1) as executor:
        sweep(asked, path, given_workers(executor, 1), progress=progress)
    assert seen[0] == (0, 16)
    assert results(path).rows == seen[-1][0]
    outcome, found = swept(asked, path)
    assert (outcome.known, outcome.new) == (seen[-1][0], 16 - seen[-1][0])
    assert found.digest == expected.digest


def test_rows_that_are_changed_are_found_by_repeating_one(tmp_path, whole):
    asked, _ = whole
    path = tmp_path / "s.db"
    point = points_of(asked)[0]
    case = (0, 25.0, "none")
    key = row_key(point.digest, case)
    with opened(path, asked) as database:
        database.ask(asked, points_of(asked))
        row = Row(seed=0, t_s=25.0, compensation="none", images=5, correct=1)
        database.land(point.digest, [row], 0.1)
    with pytest.raises(pcmref.PcmrefError, match=rf"row {key}: expected 5 correct images, found 1"):
        repeat(asked, key, path)
    for wrong, message in (("12345", "6 to 16 hexadecimal digits"), ("000000", "found 0 rows of 000000")):
        with pytest.raises(ParameterError, match=message):
            repeat(asked, wrong)


def test_values_of_another_type(tmp_path):
    asked, workers = question(tmp_path), given_workers(Serial(), 1)
    for arguments, message in (
        (("study.toml", tmp_path / "s.db", workers), "question: expected a Question"),
        ((asked, tmp_path / "s.db", Serial()), "workers: expected a Workers"),
    ):
        with pytest.raises(ParameterError, match=message):
            sweep(*arguments)
    with pytest.raises(ParameterError, match="task_s: expected 1 to 3600 seconds, found 0"):
        sweep(asked, tmp_path / "s.db", workers, task_s=0)
    for executor, count, message in (
        ("x", 1, "executor: expected"),
        (Serial(), 0, "workers: expected"),
        (Serial(), True, "workers"),
    ):
        with pytest.raises(ParameterError, match=message):
            given_workers(executor, count)
