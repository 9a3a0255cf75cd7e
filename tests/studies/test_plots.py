"""What is drawn: the numbers, where they belong."""

from pathlib import Path

import numpy as np
import pytest

import pcmref
from pcmref.studies import plots
from pcmref.studies.retention import Retention, Row
from pcmref.studies.study import Study
from tests.helpers.nets import samples, tiny

DAY = 86400.0
#: Correct images out of 200, at 25 s and after a day, of two chips.
CORRECT = {"none": [(180, 170), (60, 20)], "gdc+adabs": [(190, 188), (186, 178)]}


def answer(rows, *, images, digital_correct, readout):
    """An answer about as many images, whatever they show."""
    shown = samples(np.random.default_rng(0), images, (6, 6, 3), 4, "evaluation")
    study = Study(network=tiny(), samples=shown, compensations=("none",))
    return Retention(study=study, rows=rows, digital_correct=digital_correct, readout=pcmref.PRESETS[readout])


def drawn(monkeypatch, *, correct=CORRECT, title="net"):
    """Return the panels of the figure and what it would be written to."""
    rows = tuple(
        Row(t_s=t_s, compensation=name, seed=seed, images=200, correct=count)
        for name, times in correct.items()
        for t_s, chips in zip((25.0, DAY), times, strict=True)
        for seed, count in enumerate(chips)
    )
    result = answer(rows, images=200, digital_correct=199, readout="chip8")
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda *arguments: figures.append(arguments))
    plots.plot_retention(result, Path("x.png"), title=title)
    ((figure, path),) = figures
    assert path == Path("x.png")
    return figure, figure.axes


def test_a_line_for_the_mean_and_a_band_from_the_worst_to_the_best(monkeypatch):
    figure, panels = drawn(monkeypatch)
    assert len(panels) == 2
    for axes in panels:
        none, both, digital = axes.get_lines()
        assert (none.get_label(), both.get_label(), digital.get_label()) == ("none", "GDC+AdaBS", "digital")
        np.testing.assert_allclose(none.get_xydata(), [(25, 87.5), (DAY, 20)])
        np.testing.assert_allclose(both.get_xydata(), [(25, 94.5), (DAY, 91)])
        np.testing.assert_allclose(digital.get_ydata(), [99.5, 99.5])
        assert none.get_color() != both.get_color()
        bands = [band.get_paths()[0].vertices for band in axes.collections]
        for band, (low, high) in zip(bands, [((85, 10), (90, 30)), ((94, 89), (95, 93))], strict=True):
            for t_s, least, most in zip((25.0, DAY), low, high, strict=True):
                there = band[band[:, 0] == t_s, 1]
                assert (there.min(), there.max()) == pytest.approx((least, most))
        assert axes.get_xscale() == "log"
        assert axes.get_xlim()[0] < 25 < DAY < axes.get_xlim()[1]
        assert [text.get_text() for text in axes.get_xticklabels()] == ["1 min", "1 h", "1 day"]
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == ["none", "GDC+AdaBS", "digital"]
    assert panels[0].get_ylabel() == "accuracy, % of 200 images"
    assert figure.get_suptitle() == "net: 2 chips, preset chip8"


def test_the_close_up_shows_what_compensation_keeps(monkeypatch):
    _, (whole, close) = drawn(monkeypatch)
    low, high = close.get_ylim()
    assert 85 < low < 89
    assert 99.5 < high < 101
    assert whole.get_ylim()[0] < 10


def test_one_chip(monkeypatch):
    figure, _ = drawn(monkeypatch, correct={"gdc": [(180,), (170,)]})
    assert figure.get_suptitle() == "net: 1 chip, preset chip8"


@pytest.mark.parametrize("title", ["cost$^$", "a$b_{$x", "\udcff", "100 %", "\\frac"])
def test_any_name_of_a_file_can_be_a_title(tmp_path, title):
    rows = (Row(t_s=25.0, compensation="gdc", seed=0, images=2, correct=1),)
    result = answer(rows, images=2, digital_correct=2, readout="paper")
    plots.plot_retention(result, tmp_path / "x.svg", title=title)
    assert (tmp_path / "x.svg").stat().st_size > 1000
