"""The database of a sweep: nothing lost, nothing doubled, nothing believed that was changed."""

import dataclasses
import random
import re
import sqlite3
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcmref.errors import DataError, OutputError, PcmrefError
from pcmref.studies.results import row_digests
from pcmref.studies.retention import Row
from pcmref.studies.sweeps.found import results
from pcmref.studies.sweeps.opening import is_running, opened, read
from pcmref.studies.sweeps.points import points_of
from tests.studies.sweeps.asking import SMALL, question

TEXT = SMALL + "readout.dac.bits = [8, 12]"


def row(case, images=5):
    """A row with a number that only this case has."""
    seed, t_s, compensation = case
    return Row(seed=seed, t_s=t_s, compensation=compensation, images=images, correct=hash((seed, t_s)) % 6)


def filled(asked, path, cases=None, rng=None):
    """Write rows, in any order, in parts of any size; return what is found."""
    points = points_of(asked)
    every = [(point, case) for point in points for case in point.cases]
    if rng is not None:
        rng.shuffle(every)
    with opened(path, asked) as database:
        database.ask(asked, points)
        for point, case in every:
            if cases is None or case in cases:
                database.land(point.digest, [row(case)], 0.5)
    return results(path)


def test_what_lands_is_there(tmp_path):
    asked = question(tmp_path, TEXT)
    found = filled(asked, tmp_path / "s.db")
    assert (found.name, found.asked, found.rows, found.wanted) == ("small", TEXT, 16, 16)
    assert [setting.coordinates["readout.dac.bits"] for setting in found.settings] == [8, 12]
    assert [setting.digest for setting in found.settings] == [point.digest for point in points_of(asked)]
    assert [(c.setting, c.t_s, c.compensation) for c in found.cells] == [
        (setting, t_s, compensation)
        for setting in (0, 1)
        for t_s in (25.0, 86400.0)
        for compensation in ("none", "gdc")
    ]
    for cell in found.cells:
        chips = [row((seed, cell.t_s, cell.compensation)).correct for seed in (0, 1)]
        assert found.chips(cell).tolist() == chips
        assert (cell.chips, cell.correct, cell.squares) == (2, sum(chips), sum(c**2 for c in chips))
        assert (cell.least, cell.most) == (min(chips), max(chips))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.db", "study.toml"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    asked = question(folder, TEXT)
    return asked, filled(asked, folder / "s.db")


@given(seed=st.integers(0, 2**32))
def test_the_order_in_which_rows_land_changes_nothing(tmp_path_factory, whole, seed):
    asked, expected = whole
    found = filled(asked, tmp_path_factory.mktemp("order") / "s.db", rng=random.Random(seed))
    assert found.digest == expected.digest
    assert found.cells == expected.cells


def test_a_row_that_is_there_stays(tmp_path):
    asked = question(tmp_path)
    path = tmp_path / "s.db"
    expected = filled(asked, path)
    (point,) = points_of(asked)
    with opened(path, asked) as database:
        database.land(point.digest, [dataclasses.replace(row((0, 25.0, "gdc")), correct=1)], 9.0)
    assert results(path).digest == expected.digest


@pytest.mark.parametrize("column", ["seed", "t_s", "compensation", "correct", "digest"])
def test_a_row_that_was_changed_is_refused(tmp_path, column):
    path = tmp_path / "s.db"
    filled(question(tmp_path), path)
    change = {"seed": "99", "t_s": "'late'", "compensation": "'adabs'", "correct": "correct + 1", "digest": "'0'"}[
        column
    ]
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE rows SET {column} = {change} WHERE seed = 1 AND t_s = 25 AND compensation = 'gdc'")
    connection.close()
    with pytest.raises(DataError, match=r"row of seed \d+, .+: expected the digest of what it says, .+ it was changed"):
        results(path)


def test_the_digest_is_of_every_row_that_is_asked_for(tmp_path):
    asked = question(tmp_path)
    cases = list(points_of(asked)[0].cases)
    found = {filled(asked, tmp_path / "all.db").digest}
    for number in range(len(cases)):
        found.add(filled(asked, tmp_path / f"{number}.db", cases[:number] + cases[number + 1 :]).digest)
    assert len(found) == 9


def test_the_digest_of_all_is_that_of_settings_in_any_order(tmp_path):
    asked = question(tmp_path, TEXT)
    turned = question(tmp_path, TEXT.replace("[8, 12]", "[12, 8]"))
    first, second = filled(asked, tmp_path / "1.db"), filled(turned, tmp_path / "2.db")
    assert first.digest == second.digest
    assert [s.digest for s in first.settings] == [s.digest for s in second.settings][::-1]


def test_the_digest_of_a_row_has_all_that_decides_it():
    rows = [("s", 5, 0, 25.0, "gdc", 3), ("t", 5, 0, 25.0, "gdc", 3), ("s", 6, 0, 25.0, "gdc", 3)]
    rows += [("s", 5, 1, 25.0, "gdc", 3), ("s", 5, 0, 26.0, "gdc", 3), ("s", 5, 0, 25.0, "none", 3)]
    rows += [("s", 5, 0, 25.0, "gdc", 4)]
    assert len({row_digests(setting, images)(*row) for setting, images, *row in rows}) == len(rows)


def test_a_changed_study_asks_for_less_or_more_and_rows_stay(tmp_path):
    path = tmp_path / "s.db"
    expected = filled(question(tmp_path, TEXT), path)
    less = question(tmp_path, SMALL.replace("chips = 2", "chips = 1") + "readout.dac.bits = [12]")
    with opened(path, less) as database:
        database.ask(less, points_of(less))
    found = results(path)
    assert (found.rows, found.wanted, len(found.settings)) == (4, 4, 1)
    more = question(tmp_path, TEXT.replace("[8, 12]", "[8, 12, 10]"))
    with opened(path, more) as database:
        database.ask(more, points_of(more))
    found = results(path)
    assert (found.rows, found.wanted, len(found.settings)) == (16, 24, 3)
    assert found.cells == expected.cells


def test_what_rows_need_is_kept(tmp_path):
    asked, path = question(tmp_path), tmp_path / "s.db"
    (point,) = points_of(asked)
    with opened(path, asked) as database:
        database.ask(asked, [point])
        assert (database.ranges(point.digest), database.baseline(point.digest)) == (None, None)
        database.learn_ranges(point.digest, {"name": "a"})
        database.learn_baseline([point.digest], 3)
        database.ask(asked, [point])
        assert (database.ranges(point.digest), database.baseline(point.digest)) == ({"name": "a"}, 3)
    assert results(path).settings[0].digital_correct == 3


def test_a_failure_stands_until_its_row_lands(tmp_path):
    asked, path = question(tmp_path), tmp_path / "s.db"
    (point,) = points_of(asked)
    case = (0, 25.0, "gdc")
    with opened(path, asked) as database:
        database.ask(asked, [point])
        database.fail(point.digest, [(case, "first"), ((1, 25.0, "gdc"), "other")])
        database.fail(point.digest, [(case, "again")])
        found = {(f.setting, f.case): f.error for f in database.failures()}
        assert found == {(point.digest, case): "again", (point.digest, (1, 25.0, "gdc")): "other"}
        database.land(point.digest, [row(case)], 0.1)
        assert [failed.error for failed in database.failures()] == ["other"]


def test_another_study_and_another_specification_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "s.db"
    filled(question(tmp_path), path)
    other = question(tmp_path, SMALL.replace('"small"', '"other"'), "other.toml")
    with pytest.raises(
        DataError, match=r"s.db: name: expected 'other', the study that this run is of .+, found 'small'"
    ):
        opened(path, other).__enter__()
    monkeypatch.setattr("pcmref.studies.sweeps.opening.SPEC_VERSION", 99)
    with pytest.raises(DataError, match=r"s.db: spec: expected '99', the version of SPEC.md .+, found '3'"):
        opened(path, question(tmp_path)).__enter__()
    assert not is_running(path)


def test_one_writer_at_a_time_and_any_readers(tmp_path):
    asked, path = question(tmp_path), tmp_path / "s.db"
    with opened(path, asked) as database:
        database.ask(asked, points_of(asked))
        assert is_running(path)
        with pytest.raises(OutputError, match=r"s\.db: expected no other sweep that writes to it, found one that runs"):
            opened(path, asked).__enter__()
        with read(path) as reader:
            database.land(points_of(asked)[0].digest, [row((0, 25.0, "gdc"))], 0.1)
            assert reader.facts()["name"] == "small"
        assert results(path).rows == 1
    assert not is_running(path)
    assert results(path).rows == 1


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("PRAGMA application_id = 7", "one of application_id 7"),
        ("PRAGMA user_version = 2", "one of user_version 2"),
        ("DROP TABLE failures", "the tables of a sweep"),
        ("CREATE VIEW more AS SELECT 1", "the tables of a sweep"),
        ("CREATE TRIGGER t AFTER INSERT ON rows BEGIN SELECT 1; END", "the tables of a sweep"),
        ("ALTER TABLE rows ADD COLUMN more", "the tables of a sweep"),
        ("UPDATE facts SET value = 'x' WHERE name = 'spec'", "the facts of a sweep"),
        ("DELETE FROM facts WHERE name = 'text'", "the facts of a sweep"),
        ("UPDATE asked SET blocks = '['", "it was changed"),
        ("UPDATE asked SET coordinates = '[1]'", "it was changed"),
        ("UPDATE asked SET wanted = 9", "it was changed"),
        ("UPDATE settings SET facts = x'00ff'", "it was changed"),
        ("UPDATE settings SET images = 6", "it was changed"),
        ("UPDATE settings SET digest = 7", "it was changed"),
        ("UPDATE settings SET digital_correct = 6", "0 to 5 images, found 6"),
        ("UPDATE settings SET digital_correct = 'all'", "0 to 5 images, found 'all'"),
    ],
)
def test_databases_of_others(tmp_path, statement, found):
    path = tmp_path / "s.db"
    filled(question(tmp_path), path)
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(DataError, match=re.escape(found)):
        results(path)


def test_files_that_are_no_databases(tmp_path):
    asked = question(tmp_path)
    whole = tmp_path / "whole.db"
    filled(asked, whole)
    content = whole.read_bytes()
    path = tmp_path / "s.db"
    for text in (b"not a database, but a text of some length", content[:3000], content[: len(content) // 2]):
        path.write_bytes(text)
        for attempt in (lambda: results(path), lambda: opened(path, asked).__enter__()):
            with pytest.raises(PcmrefError, match=r"s\.db"):
                attempt()
    path.unlink()
    with pytest.raises(DataError, match="a database of a sweep, found nothing"):
        results(path)
    with pytest.raises(DataError, match="found no regular file"):
        results(tmp_path)
    with pytest.raises(OutputError, match="a folder to write to"):
        opened(tmp_path / "no" / "s.db", asked).__enter__()


def test_damage_is_found_or_changes_nothing(tmp_path):
    asked, path = question(tmp_path, TEXT), tmp_path / "s.db"
    expected = filled(asked, path)
    content = path.read_bytes()
    refused = 0
    for start in range(0, len(content), 512):
        for damage in (bytes(64), bytes(255 - byte for byte in content[start : start + 64])):
            path.write_bytes(content[:start] + damage + content[start + 64 :])
            try:
                found = results(path)
            except PcmrefError:
                refused += 1
            else:
                for name in ("settings", "cells", "rows", "wanted", "digest"):
                    assert getattr(found, name) == getattr(expected, name)
    assert refused > 10


def test_a_database_that_somebody_else_has_locked(tmp_path, monkeypatch):
    monkeypatch.setattr("pcmref.studies.sweeps.opening.BUSY_S", 0.1)
    asked, path = question(tmp_path), tmp_path / "s.db"
    filled(asked, path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OutputError, match="a database to read and write, found database is locked"):
        opened(path, asked).__enter__()
    other.close()
    assert results(path).rows == 8


def test_a_full_disk_loses_nothing_that_was_there(tmp_path):
    """SQLite's own limit stands for the disk: what does not fit is refused, and the rows of before are whole."""
    asked, path = question(tmp_path), tmp_path / "s.db"
    (point,) = points_of(asked)

    def fill():
        with opened(path, asked) as database:
            database.ask(asked, [point])
            database.land(point.digest, [row((0, 25.0, "gdc"))], 0.1)
            database._connection.execute("PRAGMA max_page_count = 1")
            for first in range(0, 1_000_000, 100):
                database.land(point.digest, [row((seed, 25.0, "none")) for seed in range(first, first + 100)], 0.1)

    with pytest.raises(OutputError, match="database or disk is full"):
        fill()
    found = results(path)
    assert found.rows >= 1
    with opened(path, asked) as database:
        database.land(point.digest, [row(case) for case in point.cases], 0.1)
    assert results(path).digest == filled(asked, tmp_path / "other.db").digest


def test_readers_in_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    filled(question(tmp_path), tmp_path / "s.db")
    monkeypatch.setattr("os.access", lambda *_: False)
    assert results(tmp_path / "s.db").rows == 8


def test_names_with_signs_that_mean_something_to_sqlite(tmp_path):
    path = tmp_path / "a b?mode=ro#%41.db"
    assert filled(question(tmp_path), path).rows == 8
    assert path.exists()


def test_rows_are_read_while_they_land(tmp_path):
    """A reader sees whole transactions, and never stops the writer."""
    asked, path = question(tmp_path, SMALL.replace("chips = 2", "chips = 200")), tmp_path / "s.db"
    (point,) = points_of(asked)
    cases, seen, ended = list(point.cases), [], threading.Event()

    def watch():
        while not ended.is_set():
            seen.append(results(path).rows)

    with opened(path, asked) as database:
        database.ask(asked, [point])
        reader = threading.Thread(target=watch)
        reader.start()
        for start in range(0, len(cases), 4):
            database.land(point.digest, [row(case) for case in cases[start : start + 4]], 0.1)
        ended.set()
        reader.join()
    assert seen == sorted(seen)
    assert all(count % 4 == 0 for count in seen)
    assert results(path).rows == 800
