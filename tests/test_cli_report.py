"""The command ``pcmref report``, and ``pcmref retention --report``."""

import csv
import json

import pytest

from pcmref.cli import main
from pcmref.studies.statistics import summary
from tests.studies.sweeps.asking import SMALL, question, swept


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    _, found = swept(question(folder, SMALL), folder / "s.db")
    return folder / "s.db", found


@pytest.fixture
def database(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return str(made[0])


def test_a_page_a_table_and_a_document(database, tmp_path, capsys, made):
    assert main(["report", database, "x.html", "--csv", "x.csv", "--json", "x.json", "--precision", "1"]) == 0
    assert capsys.readouterr().out == "small: 8 of 8 rows, 4 cells; x.html\n"
    assert made[1].digest in (tmp_path / "x.html").read_text()
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 5
    cells = json.loads((tmp_path / "x.json").read_text())["cells"]
    assert [cell["mean"] for cell in cells] == [summary(cell, 5).mean for cell in made[1].cells]


def test_every_row_with_its_key(database, tmp_path, capsys, made):
    """The key repeats it."""
    assert main(["report", database, "x.html", "--rows", "rows.csv"]) == 0
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    for cell in made[1].cells:
        mine = [row for row in rows if (float(row["t_s"]), row["compensation"]) == (cell.t_s, cell.compensation)]
        assert [int(row["seed"]) for row in mine] == [0, 1]
        assert [int(row["correct"]) for row in mine] == made[1].chips(cell).tolist()
    capsys.readouterr()
    study = str(made[0].parent / "study.toml")
    assert main(["sweep", study, "--row", rows[5]["key"], "--out", database]) == 0
    said = capsys.readouterr().out
    assert f"seed {rows[5]['seed']}, " in said
    assert said.endswith(f", as in {database}\n")


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_a_picture(database, tmp_path, suffix):
    assert main(["report", database, f"x{suffix}", "--figure", "retention"]) == 0
    assert (tmp_path / f"x{suffix}").stat().st_size > 1000


def test_the_command_below_a_figure_makes_it_again(database, tmp_path):
    """Word for word."""
    assert main(["report", database, "x.html"]) == 0
    command = f"report {database} distribution.svg --figure distribution"
    assert f"pcmref {command}" in (tmp_path / "x.html").read_text()
    assert main(command.split()) == 0
    assert (tmp_path / "distribution.svg").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["x.txt"], "x.txt: expected a suffix out of .pdf, .png, .svg, found '.txt'"),
        (["x.html", "--figure", "retention"], "--figure: expected a picture to be drawn"),
        (["x.svg", "--figure", "x"], "figure: expected one of retention"),
        (["x.html", "--precision", "0"], "--precision: expected percentage points"),
        (["x.html", "--precision", "nan"], "--precision: expected percentage points"),
        (["x.html", "--time", "1h"], "time: expected one of 25 s, 1 d"),
        (["x.html", "--time", "soon"], "--time: expected numbers with a unit"),
        (["x.html", "--csv", "x.html"], "x.html: expected a file that is no input and no other output"),
    ],
)
def test_commands_that_cannot_be(database, tmp_path, capsys, options, message):
    assert main(["report", database, *options]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_output_takes_the_place_of_the_database(database, capsys, made):
    assert main(["report", database, database]) == 1
    assert "expected a file that is no input" in capsys.readouterr().err
    assert made[0].stat().st_size > 10_000


def test_a_retention_run_as_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["retention", "--images", "5", "--times", "25s,1d", "--compensation", "none,gdc", "--chips", "2"]
    assert main([*options, "--report", "x.html"]) == 0
    assert "digits-resnet8.h5: 60,762 weights" in capsys.readouterr().out
    text = (tmp_path / "x.html").read_text()
    assert "pcmref retention --images 5 --times 25s,1d --compensation none,gdc --chips 2 --report x.html" in text
    assert main([*options, "--report", "x.txt"]) == 1
    assert "x.txt: expected the suffix .html, found &#x27;" not in (said := capsys.readouterr().err)
    assert "expected the suffix .html" in said
