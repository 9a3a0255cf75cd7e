"""The command ``pcmref sweep``."""

import io
import re
import sys

import pytest

from pcmref.cli import main
from pcmref.cli import sweep as module
from pcmref.studies import retention
from pcmref.studies.sweeps.opening import opened
from pcmref.studies.sweeps.points import points_of, row_key
from tests.studies.sweeps.asking import SMALL, question

THREADS = ("--executor", "concurrent.futures:ThreadPoolExecutor", "--workers", "2")


@pytest.fixture
def asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return question(tmp_path)


def swept(*options):
    return main(["sweep", "study.toml", "--out", "s.db", *THREADS, *options])


def test_a_sweep_and_what_is_said_of_it(asked, capsys):
    assert swept() == 0
    said = capsys.readouterr().out
    assert re.fullmatch(r"small: 8 rows, 8 of them new \(\d+ s\); `pcmref report s.db OUT.html` shows them\n", said)
    assert swept() == 0
    assert capsys.readouterr().out.startswith("small: 8 rows, 0 of them new")
    assert main(["sweep", "--status", "s.db"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["small: 8 of 8 rows (100.0%), not running", "1 settings, pcmref 0.1.0, SPEC.md 3"]
    assert re.fullmatch(r"digest of the rows [0-9a-f]{64}", said[2])
    assert len(said) == 3


def test_the_rate_of_a_sweep_that_runs(asked, capsys, monkeypatch):
    assert swept() == 0
    more = question(asked.path.parent, SMALL.replace("chips = 2", "chips = 4"))
    with opened(asked.path.parent / "s.db", more) as database:
        database.ask(more, points_of(more))
        capsys.readouterr()
        monkeypatch.setattr(type(database), "landed", lambda self, since_s: (8, 100.0, 104.0))
        assert main(["sweep", "--status", "s.db"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "small: 8 of 16 rows (50.0%), running"
    assert said[2] == "in the last 5 minutes: 2 rows a second; about 4 seconds left"


def test_one_row_alone(asked, capsys):
    (point,) = points_of(asked)
    key = row_key(point.digest, (1, 86400.0, "gdc"))
    assert main(["sweep", "study.toml", "--row", key]) == 0
    said = capsys.readouterr().out
    assert re.search(r"gdc absolute, images 5, seed 1, 1 d, gdc\n\d of 5 images \(\d+\.00%\)\n$", said)
    assert swept() == 0
    capsys.readouterr()
    assert main(["sweep", "study.toml", "--row", key, "--out", "s.db"]) == 0
    assert capsys.readouterr().out == said.rstrip() + ", as in s.db\n"


def test_failures_are_named_and_the_status_is_1(asked, capsys, monkeypatch):
    real = retention.calibrate

    def failing(snapshot, compensation, **options):
        if (snapshot.seed, compensation) == (1, "gdc"):
            raise ValueError("too hot")
        return real(snapshot, compensation, **options)

    monkeypatch.setattr(retention, "calibrate", failing)
    assert swept() == 1
    said = capsys.readouterr()
    assert said.out.startswith("small: 8 rows, 6 of them new")
    (point,) = points_of(asked)
    for t_s, text in ((25.0, "25 s"), (86400.0, "1 d")):
        row = f"row {row_key(point.digest, (1, t_s, 'gdc'))} (seed 1, {text}, gdc): ValueError: too hot"
        assert f"pcmref: failed: {row}\n" in said.err
    assert "pcmref: 2 failed; `pcmref sweep study.toml --row KEY` repeats one alone\n" in said.err
    assert main(["sweep", "--status", "s.db"]) == 0
    assert capsys.readouterr().out.count("failed: row ") == 2


def test_a_large_grid_is_asked_about(tmp_path, capsys, monkeypatch):
    """Before anything is read or written."""
    monkeypatch.chdir(tmp_path)
    axis = f"images = {list(range(1, 2501))}"
    question(tmp_path, SMALL.replace("chips = 2", "chips = 100000").replace("images = 5", axis))
    assert swept() == 1
    expected = "--yes: expected this option, as study.toml asks for 1,000,000,000 rows (2,500 settings), found none"
    assert expected in capsys.readouterr().err
    for answer, said in (("n\n", True), ("\n", True), ("", True), ("yes\n", False)):
        terminal = io.StringIO(answer)
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(module, "sweep", lambda *_, **__: 1 / 0)
        if said:
            assert swept() == 1
            assert "Begin? [y/N]" in (error := capsys.readouterr().err)
            assert "expected a grid that is meant, found another answer than yes" in error
        else:
            with pytest.raises(ZeroDivisionError):
                swept()
    assert not (tmp_path / "s.db").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "STUDY.toml: expected a study, found none"),
        (["study.toml"], "--out: expected the database that rows land in, found none"),
        (["none.toml", "--out", "s.db"], "none.toml: expected a study as TOML, found"),
        (["study.toml", "--out", "study.toml"], "study.toml: expected a file that is no input"),
        (["study.toml", "--out", "."], ".: expected the name of a file, found a directory"),
        (["study.toml", "--out", "no/s.db"], "no/s.db: expected a place to write to"),
        (["study.toml", "--out", "s.db", "--processes", "0"], "processes: expected from 1 to"),
        (["study.toml", "--out", "s.db", "--executor", "a:b"], "--workers: expected how many tasks a:b runs at a time"),
        (["study.toml", "--out", "s.db", "--executor", "a:b", "--workers", "1"], "executor: expected MODULE:CALLABLE"),
        (["study.toml", "--row", "123"], "--row: expected 6 to 16 hexadecimal digits of the key of a row, found '123'"),
        (["--status", "s.db"], "s.db: expected a database of a sweep, found nothing"),
        (["--status", "study.toml"], "study.toml: expected a database of a sweep, found "),
    ],
)
def test_commands_that_cannot_be(asked, capsys, options, message):
    assert main(["sweep", *options]) == 1
    said = capsys.readouterr()
    assert "pcmref: error: " in said.err
    assert message in said.err
    assert "what is finished" not in said.err
    assert sorted(path.name for path in asked.path.parent.iterdir()) == ["study.toml"]
