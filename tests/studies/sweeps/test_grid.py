"""What a study asks for."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcmref.errors import PcmrefError
from pcmref.studies.study import TIMES_S
from pcmref.studies.sweeps import grid
from tests.studies.sweeps.asking import question

HEAD = 'name = "a"\nnetwork = "digits-resnet8"\n'


def test_what_is_not_said(tmp_path):
    asked = question(tmp_path, HEAD)
    (only,) = asked.grids
    assert (asked.name, asked.text, asked.path) == ("a", HEAD, tmp_path / "study.toml")
    assert (only.times_s, only.compensations, only.seeds) == (TIMES_S, ("none", "gdc", "adabs", "gdc+adabs"), range(1))
    assert only.axes == {
        "network": ("digits-resnet8",),
        "digital": ("none",),
        "preset": ("paper",),
        "model": ("NANDAKUMAR_2019",),
        "scale": ("layer",),
        "significance": ("1",),
        "gdc": ("absolute",),
        "images": ("all",),
    }
    assert (only.settings, only.rows, asked.rows, only.data) == (1, 20, 20, None)


def test_a_list_is_an_axis_and_a_table_a_prefix(tmp_path):
    text = HEAD + 'preset = ["paper", "chip8"]\nchips = 3\nseed = 7\ntimes = "1h"\ncompensation = "gdc"\nimages = 100\n'
    asked = question(tmp_path, text + "readout.adc.bits = [6, 8]\n[readout.dac]\nbits = 4\n[devices]\ng_max_us = 20.0")
    (only,) = asked.grids
    assert only.axes["readout.adc.bits"] == (6, 8)
    assert (only.axes["readout.dac.bits"], only.axes["devices.g_max_us"]) == ((4,), (20.0,))
    assert (only.times_s, only.compensations, only.seeds) == ((3600.0,), ("gdc",), range(7, 10))
    assert [(p["preset"], p["readout.adc.bits"]) for p in only.points] == [
        ("paper", 6),
        ("paper", 8),
        ("chip8", 6),
        ("chip8", 8),
    ]
    assert (only.settings, only.rows) == (4, 12)


def test_every_grid_has_what_stands_before_it_and_what_it_says_itself(tmp_path):
    text = (
        HEAD
        + 'chips = 5\ntimes = ["1h"]\n[[grid]]\nscale = ["layer", "column"]\n[[grid]]\nchips = 9\npreset = "rtl8"\n'
    )
    first, second = question(tmp_path, text).grids
    assert (first.axes["scale"], first.axes["preset"], first.seeds) == (("layer", "column"), ("paper",), range(5))
    assert (second.axes["scale"], second.axes["preset"], second.seeds) == (("layer",), ("rtl8",), range(9))
    assert first.times_s == second.times_s == (3600.0,)


@given(st.dictionaries(st.sampled_from(grid.CHANGES), st.integers(1, 4), max_size=4), st.integers(1, 100_000))
def test_points_are_every_combination_once(tmp_path_factory, lengths, chips):
    axes = {name: tuple(range(count)) for name, count in lengths.items()}
    text = HEAD + f"chips = {chips}\n" + "".join(f"{name} = {list(values)}\n" for name, values in axes.items())
    (only,) = question(tmp_path_factory.mktemp("grid"), text).grids
    found = [tuple(point[name] for name in axes) for point in only.points]
    order = sorted(axes, key=grid.CHANGES.index)
    assert sorted(found) == sorted(itertools.product(*axes.values()))
    assert found == [
        tuple(dict(zip(order, values, strict=True))[name] for name in axes)
        for values in itertools.product(*(axes[name] for name in order))
    ]
    assert only.settings == len(found)
    assert only.rows == len(found) * 20 * chips


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name: expected a name of the study, which its database keeps, found none"),
        ('name = "a"', "network: expected a network file, or a name that comes with pcmref, found none"),
        (HEAD + "chip = 3", "chip: expected a key that is known, such as chips, found one that is not"),
        (HEAD + "readout.adc.bit = 3", "readout.adc.bit: expected a key that is known, such as readout.adc.bits,"),
        (HEAD + "[readuot]\nx = 1", "readuot: expected a key that is known, such as "),
        (HEAD + "images = []", "images: expected how many images, or 'all', or a list of one or more, found an empty"),
        (HEAD + "images = [1, 1]", "images: expected each value once, found [1, 1]"),
        (HEAD + "images = 1.5", "images: expected how many images, or 'all', or a list of such, found 1.5"),
        (HEAD + "scale = 1", "scale: expected a text, or a list of such, found 1"),
        (HEAD + "chips = 0", "chips: expected one integer from 1 to 100000, found 0"),
        (HEAD + "chips = [1, 2]", "chips: expected one integer from 1 to 100000, found [1, 2]"),
        (HEAD + "chips = true", "chips: expected an integer, or a list of such, found True"),
        (HEAD + "seed = -1", "seed: expected one integer from 0 to"),
        (HEAD + "seed = 9223372036854775807\nchips = 2", "seed: expected seeds below 2^63 for 2 chips, found 92233"),
        (HEAD + "times = 25", "times: expected a time with its unit, such as '25s', or a list of such, found 25"),
        (HEAD + 'times = "25"', "times: expected numbers with a unit (s, min, h, d, y), found '25'"),
        (HEAD + "data = 1", "data: expected one place of images, found 1"),
        (HEAD + "grid = 1", "grid: expected tables [[grid]], found 1"),
        (HEAD + "grid = []", "grid: expected tables [[grid]], found []"),
        (HEAD + '[[grid]]\nname = "b"', "name: expected one for the study, before its grids, found one in a grid"),
        (HEAD + 'name = "b"', "study.toml: expected a study as TOML, found 'Cannot overwrite a value"),
        ("x = [" * 1000, "study.toml: expected a study as TOML, found "),
        ('name = "a\\u0007"', "name: expected a name of the study"),
    ],
)
def test_bad_studies(tmp_path, text, message):
    with pytest.raises(PcmrefError, match=re.escape(message)):
        question(tmp_path, text)


def test_files_that_are_no_studies(tmp_path):
    path = tmp_path / "study.toml"
    for content, found in (
        (b"\xff", "utf-8"),
        (b" " * (grid.STUDY_LIMIT + 1), "1048577 bytes"),
        (None, "No such file"),
    ):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(PcmrefError, match=found):
            grid.read_question(path)
    with pytest.raises(PcmrefError, match="a study as TOML"):
        grid.read_question(tmp_path)
