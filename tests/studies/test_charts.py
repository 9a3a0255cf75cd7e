"""Figures of results: the numbers, where they belong; every shape of results; equal results, equal bytes."""

import dataclasses
import sys

import matplotlib
import numpy as np
import pytest

from pcmref.errors import MissingExtraError, ParameterError
from pcmref.studies import plots
from pcmref.studies.charts import charts, write_chart
from pcmref.studies.drawing import limits, positions, style, svg, within
from pcmref.studies.statistics import summary
from tests.helpers.findings import DAY_S, TIMES_S, cell_of, findings

HOSTILE = "a$_{<b> & é漢\x00\udcff]]>"
BITS = {"network": ["digits-resnet8"], "readout.adc.bits": [8, 4, 6]}
TWO = {"network": ["a", "b"], "readout.adc.bits": [4, 6, 8]}
THREE = {**TWO, "scale": ["layer", "column"]}
#: Results of every shape, small.
SHAPES = {
    "one chip": lambda: findings(chips=1),
    "one time": lambda: findings(times_s=(25.0,), chips=3),
    "at once": lambda: findings(times_s=(0.0,), compensations=("gdc",), digital=False, chips=2),
    "from 0 s": lambda: findings(times_s=(0.0, 25.0, DAY_S), compensations=("none", "gdc"), chips=2),
    "times": lambda: findings(times_s=tuple(np.logspace(0, 8, 30)), compensations=("gdc",), chips=2),
    "only none": lambda: findings(compensations=("none",), chips=2),
    "many chips": lambda: findings(chips=100, times_s=(25.0, 3600.0)),
    "numbers": lambda: findings(BITS, chips=2),
    "wide": lambda: findings({"devices.read_scale": [0.0, 0.01, 1.0, 100.0]}, chips=2),
    "names": lambda: findings({"preset": ["paper", "chip8", HOSTILE, "a very long name of a preset " * 3]}, chips=2),
    "mixed": lambda: findings({"readout.adc.bits": ["none", 4, True]}, chips=2),
    "two axes": lambda: findings(TWO, chips=2),
    "three axes": lambda: findings(THREE, chips=2),
    "unfinished": lambda: findings(TWO, chips=2, missing=lambda n, t_s, c: n in (0, 4) or (n == 2 and c == "gdc")),
    "all right": lambda: findings(images=10, chips=3),
    "alike": lambda: findings({"network": ["a", "a"]}, chips=2),
}


def drawn(results, name, **options):
    with style():
        return charts(results, **options)[name].draw()


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines() if not line.get_label().startswith("_")}


def percents(results, compensation, t_s, setting=0):
    cell = next(c for c in results.cells if (c.setting, c.t_s, c.compensation) == (setting, t_s, compensation))
    return 100 * results.chips(cell) / results.settings[setting].images


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_every_shape_is_drawn_and_twice_the_same(shape, suffix, tmp_path):
    if suffix != ".svg" and shape not in ("names", "unfinished"):
        pytest.skip("drawn once")
    results = SHAPES[shape]()
    turned = dataclasses.replace(results, cells=results.cells[::-1])
    names = list(charts(results))
    assert {"retention", "distribution"} <= set(names)
    for name in names:
        first, second = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
        write_chart(results, first, name)
        write_chart(turned, second, name)
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        (None, {"retention", "retention-close", "distribution"}),
        (BITS, {"setting", "setting-close", "retention", "retention-close", "distribution"}),
        (TWO, {"setting", "retention", "retention-close", "distribution"}),
    ],
)
def test_figures_that_results_have(axes, names):
    assert set(charts(findings(axes, chips=2))) == names
    kept = charts(findings(axes, chips=2, compensations=("gdc", "adabs")))
    assert set(kept) == {name for name in names if "close" not in name}


def test_no_cells_no_figures(tmp_path):
    results = findings(missing=lambda *place: True)
    assert charts(results) == {}
    with pytest.raises(ParameterError, match="A sweep: expected rows to draw, found none yet"):
        write_chart(results, tmp_path / "x.svg", "retention")


def test_lines_over_time_are_means_with_intervals_and_bands():
    results = findings(chips=5)
    (axes,) = drawn(results, "retention").axes
    found = lines(axes)
    assert list(found) == ["none", "GDC", "AdaBS", "GDC+AdaBS", "digital"]
    means = [percents(results, "gdc", t).mean() for t in TIMES_S]
    np.testing.assert_allclose(found["GDC"], np.column_stack([np.log10(TIMES_S), means]))
    np.testing.assert_allclose(np.unique(found["digital"][:, 1]), 99.8)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1 y", "30 d", "1 d", "1 h", "25 s"]
    band = axes.collections[-1].get_paths()[0].vertices  # of GDC+AdaBS, after its bars
    for t_s in TIMES_S:
        at = band[np.isclose(band[:, 0], np.log10(t_s)), 1]
        chips = percents(results, "gdc+adabs", t_s)
        assert (at.min(), at.max()) == pytest.approx((chips.min(), chips.max()))
    bars = axes.containers[1].lines[2][0].get_segments()
    for t_s, ((_, low), (_, high)) in zip(TIMES_S, bars, strict=True):
        cell = next(c for c in results.cells if (c.t_s, c.compensation) == (t_s, "gdc"))
        assert (low, high) == pytest.approx(tuple(100 * end for end in summary(cell, 10_000).interval))


def test_lines_are_told_apart_in_grey():
    (axes,) = drawn(findings(chips=2), "retention").axes
    looks = {(line.get_marker(), line.get_linestyle()) for line in axes.get_lines() if line.get_label()[0] != "_"}
    assert len(looks) == 5


def test_the_close_up_has_what_compensation_keeps():
    results = findings(chips=2)
    (whole,), (close,) = drawn(results, "retention").axes, drawn(results, "retention-close").axes
    kept = [percents(results, c, t) for c in ("gdc", "adabs", "gdc+adabs") for t in TIMES_S]
    assert 50 < close.get_ylim()[0] < np.min(kept)
    assert whole.get_ylim()[0] < 10
    assert 99.8 < close.get_ylim()[1] < 101


def test_lines_over_an_axis():
    results = findings(BITS, chips=2)
    found = drawn(results, "setting").axes
    assert [axes.get_title(loc="left") for axes in found] == ["25 s", "1 h", "1 d", "30 d", "1 y"]
    for axes, t_s in zip(found, TIMES_S, strict=True):
        means = [percents(results, "adabs", t_s, setting).mean() for setting in (1, 2, 0)]  # 4, 6, 8 bits
        np.testing.assert_allclose(lines(axes)["AdaBS"], np.column_stack([(4, 6, 8), means]))


def test_a_field_for_each_pair_of_values():
    results = findings(THREE, chips=3, missing=lambda n, t_s, c: n == 3)
    found = drawn(results, "setting", t_s=DAY_S).axes
    assert len(found) == 8
    for axes in found:
        network, compensation = (
            axes.get_title(loc="left").split(", ")[0],
            {label: name for name, label in plots.LABELS.items()}[axes.get_title(loc="left").split(", ")[1]],
        )
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "6", "8"]
        rows = [tick.get_text() for tick in axes.get_yticklabels()]
        texts = {text.get_position(): text.get_text() for text in axes.texts}
        for n, of in enumerate(results.settings):
            place = of.coordinates["network"], of.coordinates["readout.adc.bits"], of.coordinates["scale"]
            if f"scale {place[2]}" == network or place[2] == network or place[0] == network:
                other = place[2] if rows == ["layer", "column"] else place[0]
                at = ((4, 6, 8).index(place[1]), rows.index(other))
                mean = None if n == 3 else f"{percents(results, compensation, DAY_S, n).mean():.2f}"
                assert texts.get(at) == mean
        assert len(texts) in (5, 6)


def test_the_distribution_shows_every_chip_or_a_histogram_of_all():
    few = findings(chips=7)
    _, kept = drawn(few, "distribution", t_s=DAY_S).axes
    strokes = kept.collections[0].get_segments()
    np.testing.assert_allclose([segment[0][0] for segment in strokes], percents(few, "gdc", DAY_S))
    assert [tick.get_text() for tick in kept.get_yticklabels()] == ["GDC", "AdaBS", "GDC+AdaBS"]
    many = findings(chips=500)
    none, _ = drawn(many, "distribution").axes
    (stairs,) = none.patches
    values, edges, base = stairs.get_data()
    counts, _ = np.histogram(percents(many, "none", TIMES_S[-1]), edges)
    assert counts.sum() == 500
    np.testing.assert_allclose(values - base, 0.6 * counts / counts.max())


def test_what_is_left_out_is_said():
    many = findings({"readout.adc.bits": list(range(2, 16)), "readout.dac.bits": list(range(2, 19))}, chips=1)
    found = charts(many)
    assert "9 of 238 settings" in found["retention"].caption
    assert "6 of 238 settings" in found["distribution"].caption
    assert "2 of 4 panels" in found["setting"].caption
    long = charts(findings({"readout.adc.bits": list(range(30)), "readout.dac.bits": list(range(40))}, chips=1))
    assert "14 of 40 values" in long["setting"].caption
    assert "20 of 30 values" in long["setting"].caption
    names = charts(findings({"network": [f"net{n}" for n in range(30)]}, chips=1, times_s=tuple(range(1, 10))))
    assert "24 of 30 values" in names["setting"].caption
    assert "6 of 9 times" in names["setting"].caption
    whole = charts(findings(TWO, chips=1, compensations=("gdc",)))
    assert not any("Shown" in chart.caption for chart in whole.values())


def test_an_unknown_figure_is_refused_with_the_names_of_all(tmp_path):
    with pytest.raises(ParameterError, match=r"figure: expected one of retention, .*, distribution, found 'x'"):
        write_chart(findings(chips=1), tmp_path / "x.svg", "x")
    with pytest.raises(ParameterError, match=r"time: expected one of 25 s, .*, found 2 s"):
        write_chart(findings(chips=1), tmp_path / "x.svg", "retention", t_s=2.0)


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="pip install 'pcmref\\[cli\\]'"):
        write_chart(findings(chips=1), tmp_path / "x.svg", "retention")


def test_the_user_s_own_style_is_neither_used_nor_changed(tmp_path):
    write_chart(findings(chips=1), tmp_path / "1.svg", "retention")
    with matplotlib.rc_context({"font.size": 30.0, "svg.fonttype": "path"}):
        write_chart(findings(chips=1), tmp_path / "2.svg", "retention")
        assert (matplotlib.rcParams["font.size"], matplotlib.rcParams["svg.fonttype"]) == (30.0, "path")
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()


# Parts


def test_numbers_that_span_decades_stand_at_their_logarithms_and_0_before_them():
    assert positions([1.0, 100.0]) == {1.0: 0.0, 100.0: 2.0}
    assert positions([0.0, 1.0, 100.0]) == {0.0: pytest.approx(-0.3), 1.0: 0.0, 100.0: 2.0}
    assert positions([4.0, 8.0]) == {4.0: 4.0, 8.0: 8.0}
    assert positions([-1.0, 1.0, 100.0]) == {-1.0: -1.0, 1.0: 1.0, 100.0: 100.0}
    assert positions([0.0]) == {0.0: 0.0}


def test_limits_hold_all_values_and_little_that_cannot_be():
    for values in ([50.0], [0.0, 100.0], [99.9, 100.0], [0.0], [100.0, 100.0]):
        low, high = limits(values)
        assert low < min(values) <= max(values) < high
        assert low > -6
        assert high < 106


def test_a_long_name_keeps_its_ends():
    assert within("abcdefghij", 10) == "abcdefghij"
    assert within("abcdefghijk", 7) == "abc…ijk"


def test_ids_of_a_drawing_begin_with_its_name():
    with style():
        text = svg(charts(findings(chips=2))["retention"].draw(), "mine", "what it is")
    ids = [part.split('"')[0] for part in text.split(' id="')[1:]]
    assert ids
    assert all(name.startswith("mine-") for name in ids)
    used = {part.split('"')[0] for part in text.split('href="#')[1:]}
    used |= {part.split(")")[0] for part in text.split("url(#")[1:]}
    assert used
    assert used <= set(ids)
    assert 'role="img"' in text
    assert 'aria-label="what it is"' in text


def test_a_cell_of_the_helper_is_the_sum_of_its_chips():
    cell = cell_of(1, 2.0, "gdc", [3, 4])
    assert (cell.chips, cell.correct, cell.squares, cell.least, cell.most) == (2, 7, 25, 3, 4)
