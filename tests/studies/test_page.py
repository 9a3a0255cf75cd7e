"""The page of a study: whole, of itself alone, and the same for the same results."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from pcmref.errors import ParameterError
from pcmref.studies.page import CELLS, check_page, write_page
from pcmref.studies.plots import LABELS
from pcmref.studies.report import time_text
from pcmref.studies.statistics import summary
from tests.helpers.findings import findings

VOID = {"meta", "br", "hr", "link", "img", "input", "col", "wbr"}
TWO = {"readout.adc.bits": [6, 8], "readout.tile_rows": [64, 128]}
HOSTILE = '<script>alert(1)</script> & "$x_1$" \u00b5\udcff'


class Parsed(HTMLParser):
    """Tags that are open, texts, and whatever a page asks for from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.asked, self.ids = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "srcset", "data", "action") and not value.startswith(
                ("#", "data:image/png;base64,")
            ):
                self.asked.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)


def page(folder, results, **options):
    path = folder / "page.html"
    write_page(path, results, **options)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "results",
    [
        findings(chips=3),
        findings(TWO, chips=2),
        findings(chips=1),
        findings(times_s=(0.0,), compensations=("gdc",), chips=2),
        findings(TWO, chips=2, missing=lambda setting, *_: setting > 1),
        findings(missing=lambda *place: True),
        findings({"network": [HOSTILE, "b"]}, name=HOSTILE, asked=HOSTILE, chips=2),
        findings(digital=False, chips=2),
    ],
    ids=["one", "grid", "chip", "zero", "unfinished", "nothing", "hostile", "baseline"],
)
def test_a_page_is_whole_and_asks_for_nothing(tmp_path, results):
    text = page(tmp_path, results)
    parsed = Parsed(text)
    assert parsed.asked == []
    assert not {"script", "iframe", "object", "link", "img"} & {tag for tag, _ in parsed.tags}
    assert not re.search(r"url\((?!#)|@import", text)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert dict(parsed.tags)["html"] == {"lang": "en"}
    assert page(tmp_path, dataclasses.replace(results, cells=results.cells[::-1])) == text


def test_what_a_page_says(tmp_path):
    results = findings(TWO, chips=4)
    text = page(tmp_path, results)
    said = " ".join(Parsed(text).texts)
    for part in (results.name, "4 programmed chips of each of 4 settings", results.digest, results.asked.strip()):
        assert part in said
    for setting in results.settings:
        assert setting.facts["network"]["digest"][:12] in said
    assert "pcmref report sweep.db setting.svg --figure setting" in said
    assert "Unfinished" not in said
    rows = text.count('<th scope="row"')
    assert rows in (0, len(results.cells)) or rows >= len(results.cells)
    unfinished = findings(TWO, chips=4, missing=lambda setting, *_: setting == 3)
    assert "Unfinished: 240 of 320 rows (75.0 %)" in " ".join("".join(Parsed(page(tmp_path, unfinished)).texts).split())


def test_of_many_cells_the_page_has_some_and_says_where_the_others_are(tmp_path):
    axes = {"readout.adc.bits": list(range(4, 14)), "readout.tile_rows": [64, 128, 256]}
    results = findings(axes, chips=2)
    assert len(results.cells) == 600 > CELLS
    text = page(tmp_path, results)
    assert "--csv" in text
    assert str(CELLS) in " ".join(Parsed(text).texts)
    assert len(table(text)) == CELLS


def test_bad_arguments(tmp_path):
    with pytest.raises(ParameterError, match=r"x.pdf: expected the suffix .html"):
        check_page(tmp_path / "x.pdf")
    with pytest.raises(ParameterError, match="time: expected one of"):
        page(tmp_path, findings(chips=2), t_s=7.0)
    assert not (tmp_path / "page.html").exists()


def table(text):
    """The rows of the table of cells: a list of texts each."""
    body = text.split('<table class="cells">')[1].split("<tbody>")[1].split("</tbody>")[0]
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in body.split("<tr>")[1:]]


def test_a_row_has_the_statistics_of_its_cell(tmp_path):
    results = findings(TWO, chips=5)
    rows = table(page(tmp_path, results, precision=0.002))
    assert len(rows) == len(results.cells)
    for row, cell in zip(rows, results.cells, strict=True):
        setting, percents = results.settings[cell.setting], results.chips(cell) / 100
        of = summary(cell, setting.images)
        heads = [*map(str, setting.coordinates.values()), time_text(cell.t_s), LABELS[cell.compensation]]
        shares = [percents.mean(), percents.std(ddof=1), 100 * of.margin, 100 * of.by_images]
        numbers = [f"{share:.2f}" for share in shares]
        ends = [f"{percent:.2f}" for percent in (percents.min(), percents.max(), 99.8)]
        assert row == [*heads, "5", *numbers, str(of.needed(0.002)), *ends]


def test_what_one_chip_does_not_tell_is_a_stroke(tmp_path):
    row, *_ = table(page(tmp_path, findings(chips=1, digital=False)))
    assert (row[2], row[4], row[5], row[7], row[10]) == ("1", "-", "-", "-", "-")
