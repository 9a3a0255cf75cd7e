"""Runs of ``pcmref retention`` that are interrupted and go on."""

import json

import pytest

import pcmref
from pcmref import cli, evaluate
from pcmref.files import check_outputs
from pcmref.references import SPEC_VERSION

RUN = ["retention", "--images", "20", "--times", "25s,1d", "--compensation", "none,adabs", "--chips", "3"]


@pytest.fixture
def until_seed_1(monkeypatch):
    """Ctrl-C when the second chip is programmed; `undo` takes that back."""
    program = evaluate.program

    def interrupted(*arguments, **options):
        if options["seed"] == 1:
            raise KeyboardInterrupt
        return program(*arguments, **options)

    monkeypatch.setattr(evaluate, "program", interrupted)
    return monkeypatch


def interrupted_run(path, *options):
    assert cli.main([*RUN, *options, "--json", str(path)]) == 130
    return path.with_name(path.name + ".part")


def test_a_run_goes_on_and_ends_as_if_nothing_had_happened(tmp_path, capsys, until_seed_1):
    path = tmp_path / "out.json"
    part = interrupted_run(path)
    assert not path.exists()
    assert f"what is finished is in {part}; the same command goes on from there\n" in capsys.readouterr().err
    left = json.loads(part.read_text())
    assert [(row["seed"], row["t_s"], row["compensation"]) for row in left["rows"]] == [
        (0, t_s, name) for t_s in (25.0, 86400.0) for name in ("none", "adabs")
    ]

    until_seed_1.undo()
    run, asked = evaluate.logits, []
    until_seed_1.setattr(
        evaluate, "logits", lambda *args, **options: asked.append(args[0].seed) or run(*args, **options)
    )
    assert cli.main([*RUN, "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == f"pcmref: 4 rows are in {part} already\n"
    assert asked == [1] * 4 + [2] * 4
    assert not part.exists()

    other = tmp_path / "whole.json"
    assert cli.main([*RUN, "--json", str(other)]) == 0
    assert path.read_bytes() == other.read_bytes()
    assert capsys.readouterr() == (out, "")


def test_ranges_that_the_run_finds_itself_do_not_stop_it(tmp_path, capsys, until_seed_1):
    path = tmp_path / "out.json"
    part = interrupted_run(path, "--preset", "chip8", "--scale", "column")
    assert json.loads(part.read_text())["readout"]["ranges"]
    until_seed_1.undo()
    assert cli.main([*RUN, "--preset", "chip8", "--scale", "column", "--json", str(path)]) == 0
    assert "4 rows are in" in capsys.readouterr().err


def test_more_chips_and_other_times_can_be_asked_for(tmp_path, until_seed_1):
    path = tmp_path / "out.json"
    part = interrupted_run(path)
    until_seed_1.undo()
    assert (
        cli.main(["retention", "--images", "20", "--times", "1d,1y", "--compensation", "none", "--json", str(path)])
        == 0
    )

    def rows(file):
        return [(row["seed"], row["t_s"], row["compensation"]) for row in json.loads(file.read_text())["rows"]]

    found = [(0, 86400.0, "none"), (0, 31536000.0, "none")]
    assert rows(path) == found
    # those that were not asked for this time are still there
    assert rows(part) == [*found, (0, 25.0, "none"), (0, 25.0, "adabs"), (0, 86400.0, "adabs")]
    assert cli.main([*RUN, "--json", str(path)]) == 0
    assert len(rows(path)) == 12
    assert rows(part) == [*rows(path), (0, 31536000.0, "none")]


@pytest.mark.parametrize(
    ("options", "place"),
    [
        (["--images", "19"], "images.count"),
        (["--model", "HERMES_1"], "model.name"),
        (["--nonconverged", "0.1"], "model.nonconverged_share"),
        (["--preset", "chip8"], "readout.name"),
        (["--scale", "column"], "scale"),
        (["--gdc", "ones"], "gdc_readout"),
    ],
)
def test_rows_of_another_run_are_refused(tmp_path, capsys, until_seed_1, options, place):
    path = tmp_path / "out.json"
    part = interrupted_run(path)
    until_seed_1.undo()
    before = part.read_bytes()
    assert cli.main([*RUN, *options, "--json", str(path)]) == 1
    assert f"{part}: {place}: expected what this run has" in capsys.readouterr().err
    assert part.read_bytes() == before
    assert not path.exists()


def test_rows_of_another_version_of_the_specification_are_refused(tmp_path, capsys, until_seed_1):
    path = tmp_path / "out.json"
    part = interrupted_run(path)
    until_seed_1.undo()
    until_seed_1.setattr(pcmref, "SPEC_VERSION", 99)
    assert cli.main([*RUN, "--json", str(path)]) == 1
    expected = f"what this run has: 99 (without the file it begins anew), found {SPEC_VERSION}\n"
    assert capsys.readouterr().err.endswith(f"{part}: spec: expected {expected}")


@pytest.mark.parametrize(
    "change",
    [
        lambda document: "",
        lambda document: json.dumps(document)[:-20],
        lambda document: "[1]",
        lambda document: json.dumps({**document, "rows": [{"seed": 0}]}),
        lambda document: json.dumps({**document, "rows": 3}),
        lambda document: json.dumps({**document, "rows": [{**document["rows"][0], "correct": 21}]}),
        lambda document: json.dumps({**document, "rows": [{**document["rows"][0], "correct": -1}]}),
        lambda document: json.dumps({**document, "rows": [{**document["rows"][0], "correct": "3"}]}),
        lambda document: json.dumps({**document, "rows": [{**document["rows"][0], "correct": 1.5}]}),
        lambda document: json.dumps({**document, "rows": [{**document["rows"][0], "correct": True}]}),
        lambda document: json.dumps({**document, "rows": [{**document["rows"][0], "images": 20.0}]}),
        lambda document: json.dumps({**document, "rows": [{**document["rows"][0], "t_s": [1]}]}),
        lambda document: json.dumps({**document, "rows": [{**document["rows"][0], "seed": {}}]}),
        lambda document: json.dumps({**document, "rows": [{**document["rows"][0], "compensation": 1}]}),
        lambda document: "[" * 100_000,
        lambda document: json.dumps({**document, "readout": None}),
        lambda document: b"\xff\xfe\x00",
    ],
)
def test_damaged_rows_are_refused(tmp_path, capsys, until_seed_1, change):
    path = tmp_path / "out.json"
    part = interrupted_run(path)
    until_seed_1.undo()
    changed = change(json.loads(part.read_text()))
    part.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    assert cli.main([*RUN, "--json", str(path)]) == 1
    assert f"{part}: expected the rows of an unfinished run" in capsys.readouterr().err


def test_the_name_of_the_unfinished_file_is_taken(tmp_path, capsys):
    path = tmp_path / "out.json"
    (tmp_path / "out.json.part").mkdir()
    assert cli.main([*RUN, "--json", str(path)]) == 1
    assert "out.json.part: expected the name of a file, found a directory" in capsys.readouterr().err
    check_outputs([path])
