"""Results as CSV and JSON: every cell, in full precision."""

import csv
import dataclasses
import json
import math

import pytest

from pcmref.errors import OutputError
from pcmref.files.json_text import json_digest
from pcmref.studies.statistics import summary
from pcmref.studies.tables import write_csv, write_json
from tests.helpers.findings import findings

AXES = {"network": ["a,b", 'c"d'], "readout.adc.bits": [6, 8]}


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_for_each_cell(tmp_path):
    results = findings(AXES, chips=7)
    write_csv(tmp_path / "x.csv", results, precision=0.002)
    rows = rows_of(tmp_path / "x.csv")
    assert len(rows) == len(results.cells) == 80
    for row, cell in zip(rows, results.cells, strict=True):
        setting = results.settings[cell.setting]
        assert (row["network"], row["readout.adc.bits"]) == tuple(map(str, setting.coordinates.values()))
        assert (float(row["t_s"]), row["compensation"]) == (cell.t_s, cell.compensation)
        for name in ("chips", "correct", "squares", "least", "most"):
            assert int(row[name]) == getattr(cell, name)
        found = summary(cell, setting.images)
        assert float(row["mean"]) == found.mean
        assert float(row["deviation"]) == found.deviation
        assert (float(row["low"]), float(row["high"])) == found.interval
        assert int(row["chips_needed"]) == found.needed(0.002)
        assert (row["setting_digest"], row["rows_digest"]) == (setting.digest, results.digest)


def test_the_order_of_cells_changes_nothing(tmp_path):
    results = findings(AXES, chips=3)
    turned = dataclasses.replace(results, cells=results.cells[::-1])
    for write, suffix in ((write_csv, "csv"), (write_json, "json")):
        for name, of in (("1", results), ("2", turned)):
            write(tmp_path / f"{name}.{suffix}", of, precision=0.001)
        assert (tmp_path / f"1.{suffix}").read_bytes() == (tmp_path / f"2.{suffix}").read_bytes()


def test_json_has_all_there_is(tmp_path):
    results = findings(AXES, chips=4)
    write_json(tmp_path / "x.json", results, precision=0.001)
    document = json.loads((tmp_path / "x.json").read_text())
    assert document["digest"] == json_digest(document)
    assert (document["name"], document["asked"], document["spec"]) == (results.name, results.asked, results.spec)
    assert document["rows"] == {"done": results.rows, "wanted": results.wanted, "digest": results.digest}
    assert document["settings"] == json.loads(json.dumps([dataclasses.asdict(s) for s in results.settings]))
    for said, cell in zip(document["cells"], results.cells, strict=True):
        assert dataclasses.asdict(cell).items() <= said.items()
        assert math.isclose(said["mean"], summary(cell, 10_000).mean, rel_tol=0)


def test_one_chip_has_no_spread_and_an_unfinished_sweep_no_rows(tmp_path):
    write_csv(tmp_path / "x.csv", findings(chips=1), precision=0.001)
    for row in rows_of(tmp_path / "x.csv"):
        assert row["deviation"] == row["margin"] == row["low"] == row["high"] == row["chips_needed"] == ""
    nothing = findings(missing=lambda *place: True)
    write_csv(tmp_path / "x.csv", nothing, precision=0.001)
    write_json(tmp_path / "x.json", nothing, precision=0.001)
    assert rows_of(tmp_path / "x.csv") == []
    assert json.loads((tmp_path / "x.json").read_text())["cells"] == []


def test_a_place_that_cannot_be_written(tmp_path):
    for write in (write_csv, write_json):
        with pytest.raises(OutputError):
            write(tmp_path / "no" / "x", findings(chips=1), precision=0.001)


def test_coordinates_that_are_called_like_other_columns(tmp_path):
    results = findings({"images": [10_000], "chips": ["many", "few"]}, chips=3)
    write_csv(tmp_path / "x.csv", results, precision=0.002)
    header, *_ = (tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()
    assert header.split(",")[:2] == ["setting.chips", "t_s"]
    assert header.split(",").count("images") == 1
    row, *_ = rows_of(tmp_path / "x.csv")
    assert (row["setting.chips"], row["chips"], row["images"]) == ("many", "3", "10000")
