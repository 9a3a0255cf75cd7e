"""Along what settings differ, and what they are called."""

import dataclasses

import pytest

from pcmref.errors import ParameterError
from pcmref.studies.axes import cells_by_place, compensations_of, label, shown, swept, time_shown, times_of, value_text
from tests.helpers.findings import DAY_S, findings


def settings(results, **coordinates):
    """The same results with more coordinates: a list of values for each name, one a setting."""
    changed = [
        dataclasses.replace(of, coordinates={**of.coordinates, **{name: each[n] for name, each in coordinates.items()}})
        for n, of in enumerate(results.settings)
    ]
    return dataclasses.replace(results, settings=tuple(changed))


def test_axes_are_what_varies_numbers_in_order_names_as_met():
    results = findings({"network": ["z"], "preset": ["rtl8", "chip8"], "readout.adc.bits": [8, 4, 6]}, chips=1)
    assert swept(results) == {"preset": ["rtl8", "chip8"], "readout.adc.bits": [4, 6, 8]}
    assert swept(findings(chips=1)) == {}
    assert swept(dataclasses.replace(findings(chips=1), settings=(), cells=())) == {}


def test_what_another_axis_decides_is_none():
    results = findings({"network": ["a", "b", "c"], "gdc": ["ones", "column"]}, chips=1)
    counted = settings(results, images=[797, 797, 100, 100, 100, 100], file=[*"ppqqrr"])
    assert swept(counted) == {"network": ["a", "b", "c"], "gdc": ["ones", "column"]}


def test_settings_with_the_same_coordinates_are_told_apart_all_the_same():
    results = findings({"network": ["a", "a", "b"]}, chips=1)
    digests = [digest * 64 for digest in "xyz"]
    known = [dataclasses.replace(of, digest=digest) for of, digest in zip(results.settings, digests, strict=True)]
    results = dataclasses.replace(results, settings=tuple(known))
    axes = swept(results)
    assert axes == {"network": ["a", "b"], "setting": ["x" * 12, "y" * 12, "z" * 12]}
    texts = [f"{network}, setting {12 * digit}" for network, digit in (("a", "x"), ("a", "y"), ("b", "z"))]
    assert [label(of, axes) for of in known] == texts


def test_labels_are_short_but_tell_apart():
    axes = {"network": ["a"], "readout.adc.bits": [4, 5], "readout.dac.bits": [6, 7], "digital": ["none", "first,last"]}
    results = findings(axes, chips=1)
    assert label(results.settings[1], swept(results)) == "adc.bits 4, dac.bits 6, digital first,last"
    assert label(results.settings[0], []) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (False, "no"), (8, "8"), (0.1, "0.1"), (1e-9, "1e-09"), ("a\n\x00\udcff", "a ��")],
)
def test_values_as_texts(value, text):
    assert value_text(value) == text


def test_any_text_can_be_shown():
    assert shown("$<&漢é") == "$<&漢é"
    shown("\ud800\u202e\x1b[0m").encode()


def test_cells_are_in_order_whatever_order_they_came_in():
    results = findings({"network": ["a", "b"]}, chips=1)
    turned = dataclasses.replace(results, cells=results.cells[::-1])
    assert list(cells_by_place(turned).values()) == list(results.cells)
    assert compensations_of(turned) == ["none", "gdc", "adabs", "gdc+adabs"]
    assert times_of(turned) == sorted({cell.t_s for cell in results.cells})


def test_the_time_shown_is_the_last_with_the_most_chips():
    results = findings(chips=3)
    assert time_shown(results) == 365 * DAY_S
    fewer = [dataclasses.replace(c, chips=2) if c.t_s > DAY_S else c for c in results.cells]
    unequal = dataclasses.replace(results, cells=tuple(fewer))
    assert time_shown(unequal) == DAY_S
    assert time_shown(unequal, 365 * DAY_S) == 365 * DAY_S
    with pytest.raises(ParameterError, match="time: expected one of 25 s, 1 h, 1 d, 30 d, 1 y, found 2 d"):
        time_shown(results, 2 * DAY_S)
