"""Every point of a sweep, and what names it."""

import dataclasses
import json
import re

import pytest

import pcmref
from pcmref.arithmetic.codes import Range
from pcmref.errors import PcmrefError
from pcmref.golden.readouts import readout_fields
from pcmref.studies.sweeps import points
from pcmref.studies.sweeps.points import Block, points_of, row_key
from tests.studies.sweeps.asking import SMALL, question


def test_a_point_is_a_study_as_anybody_would_make_it(tmp_path):
    net = pcmref.load(pcmref.bundled())
    text = SMALL + (
        'model = "HERMES_2"\nscale = "column"\nsignificance = "1,1"\ngdc = "ones"\npreset = "rtl8"\nseed = 4\n'
        "readout.adc.bits = 6\nreadout.tile_rows = 32\nreadout.tile_columns = 'none'\ndevices.nonconverged_share = 0.25"
    )
    (point,) = points_of(question(tmp_path, text))
    study = point.study
    assert study.network.digest == net.digest
    assert (study.samples.sha256, len(study.samples)) == (net.evaluation.first(5).sha256, 5)
    assert study.calibration.sha256 == net.calibration.sha256
    assert study.model == dataclasses.replace(pcmref.MODELS["HERMES_2"], nonconverged_share=0.25)
    assert (study.scale, study.significance, study.gdc_readout) == ("column", (1, 1), "ones")
    assert study.readout == dataclasses.replace(
        pcmref.PRESETS["rtl8"], adc=pcmref.Adc(bits=6, gain_bits=16), tile_rows=32, tile_columns=None
    )
    assert point.blocks == (Block(times_s=(25.0, 86400.0), compensations=("none", "gdc"), seeds=range(4, 6)),)
    assert list(point.cases) == [(s, t, c) for s in (4, 5) for t in (25.0, 86400.0) for c in ("none", "gdc")]
    assert point.wanted == 8


@pytest.mark.parametrize(
    ("said", "readout"),
    [
        ("readout.adc.bits = 5", pcmref.Readout(name="paper", dac=pcmref.Dac(bits=12), adc=pcmref.Adc(bits=5))),
        (
            "readout.accumulator.bits = 20",
            pcmref.Readout(name="paper", dac=pcmref.Dac(bits=12), accumulator=pcmref.Accumulator(bits=20)),
        ),
        ("readout.read_noise = 'fresh'", dataclasses.replace(pcmref.PRESETS["paper"], read_noise="fresh")),
        (
            "preset = 'chip8'\nreadout.adc.bits = 6\nreadout.adc.high = 30",
            dataclasses.replace(pcmref.PRESETS["chip8"], adc=pcmref.Adc(bits=6, high=30)),
        ),
        (
            "readout.adc.bits = 6\nreadout.adc.gain_bits = 4",
            pcmref.Readout(name="paper", dac=pcmref.Dac(bits=12), adc=pcmref.Adc(bits=6, gain_bits=4)),
        ),
        (
            "preset = 'chip8'\nreadout.adc.offset = 3",
            dataclasses.replace(pcmref.PRESETS["chip8"], adc=pcmref.Adc(bits=8, offset=3)),
        ),
    ],
    ids=["adc", "accumulator", "noise", "limits", "whole", "offset"],
)
def test_changes_of_a_preset(tmp_path, said, readout):
    (point,) = points_of(question(tmp_path, SMALL + said))
    assert point.study.readout == readout


def test_coordinates_have_the_same_names_everywhere(tmp_path):
    """What a grid does not say, but another does, is there as its preset has it."""
    text = (
        SMALL
        + "[[grid]]\npreset = ['paper', 'chip8']\n"
        + "[[grid]]\npreset = 'chip8'\nreadout.adc.bits = 6\ndigital = 'first,last'"
    )
    points = points_of(question(tmp_path, text))
    assert [(p.coordinates["preset"], p.coordinates["readout.adc.bits"]) for p in points] == [
        ("paper", "none"),
        ("chip8", 8),
        ("chip8", 6),
    ]
    assert [p.coordinates["digital"] for p in points] == ["none", "none", "first,last"]
    assert len(points[2].study.network.digital_layers) == 2
    assert len({tuple(p.coordinates) for p in points}) == 1


def test_a_point_of_two_grids_is_one(tmp_path):
    text = SMALL + '[[grid]]\n[[grid]]\nchips = 3\ntimes = "1d"\n[[grid]]\nscale = "column"\n'
    first, second = points_of(question(tmp_path, text))
    cases = list(first.cases)
    assert len(cases) == len(set(cases)) == first.wanted == 8 + 2
    assert set(cases[8:]) == {(2, 86400.0, "none"), (2, 86400.0, "gdc")}
    assert second.wanted == 8


def digest(tmp_path, text):
    (point,) = points_of(question(tmp_path, text))
    return point.digest


def test_the_digest_is_of_what_decides_a_bit_and_of_nothing_else(tmp_path):
    """Names, places, times, compensations and chips are not in it: other rows of a setting may be asked for later."""
    own = digest(tmp_path, SMALL)
    copy = tmp_path / "copy.h5"
    copy.write_bytes(pcmref.bundled().read_bytes())
    same = [
        SMALL.replace('"digits-resnet8"', '"copy.h5"'),
        SMALL.replace("chips = 2", "chips = 9\nseed = 3"),
        SMALL.replace('["25s", "1d"]', '"1h"'),
        SMALL.replace('["none", "gdc"]', '"adabs"'),
        SMALL.replace('"small"', '"other"'),
        SMALL + "readout.read_noise = 'frozen'",
    ]
    assert [digest(tmp_path, text) for text in same] == [own] * len(same)
    others = [
        SMALL.replace("images = 5", "images = 6"),
        SMALL + "model = 'HERMES_1'",
        SMALL + "preset = 'chip8'",
        SMALL + "preset = 'rtl8'",
        SMALL + "scale = 'column'",
        SMALL + "significance = '1,1'",
        SMALL + "gdc = 'ones'",
        SMALL + "digital = 'first'",
        SMALL + "digital = 'last'",
        SMALL + "devices.nonconverged_share = 0.1",
        SMALL + "readout.tile_rows = 64",
        SMALL + "readout.dac.bits = 8",
    ]
    found = [own, *(digest(tmp_path, text) for text in others)]
    assert len(set(found)) == len(found)


def test_the_digest_has_the_ranges_and_the_images_to_calibrate_with(tmp_path):
    net = pcmref.load(pcmref.bundled())
    ranges = {layer.name: Range(input_top=1.5, sum_top_us=9.0) for layer in net.crossbar_layers}
    pcmref.save(tmp_path / "ranges.h5", dataclasses.replace(net, ranges={"chip8": ranges}))
    layers = [dataclasses.replace(net.layers[0], weight=-net.layers[0].weight), *net.layers[1:]]

    def darker(samples):
        return dataclasses.replace(samples, images=samples.images // 2)

    several = {
        "fewer": dataclasses.replace(net, calibration=net.calibration.first(300)),
        "calibration": dataclasses.replace(net, calibration=darker(net.calibration)),
        "evaluation": dataclasses.replace(net, evaluation=darker(net.evaluation)),
        "weights": dataclasses.replace(net, layers=tuple(layers)),
    }
    for name, changed in several.items():
        pcmref.save(tmp_path / f"{name}.h5", changed)
    text = SMALL + "preset = 'chip8'"
    found = [digest(tmp_path, text.replace('"digits-resnet8"', f'"{name}.h5"')) for name in ("ranges", *several)]
    assert len({digest(tmp_path, text), *found}) == 6


def test_images_to_calibrate_with_are_there_though_nothing_asks_for_them(tmp_path, monkeypatch):
    """So that a row has the same digest whatever else a study asks for."""
    seen, find = [], points.samples_of
    monkeypatch.setattr(points, "samples_of", lambda *asked: seen.append(asked) or find(*asked))
    (point,) = points_of(question(tmp_path, SMALL.replace('["none", "gdc"]', '"none"')))
    ((network, place, calibrate),) = seen
    assert (network.digest, place, calibrate) == (point.study.network.digest, None, True)


def test_keys_of_rows():
    found = {row_key(setting, case) for setting in ("a", "b") for case in ((0, 25.0, "gdc"), (1, 25.0, "gdc"))}
    found |= {row_key("a", (0, 26.0, "gdc")), row_key("a", (0, 25.0, "none"))}
    assert len(found) == 6
    assert row_key("a", (0, 25.0, "gdc")) == "b62422d05b8376c1"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('network = ["digits-resnet8", "nothing.h5"]', "network = nothing.h5: "),
        ("preset = 'chip9'", "study.toml: preset: expected one of paper, chip8, rtl8, found 'chip9'"),
        ("preset = ['paper', 'a.json']", "preset = a.json: "),
        ("model = 'X'", "study.toml: model: expected one of NANDAKUMAR_2019"),
        ("digital = 'third'", "study.toml: digital: expected one of "),
        ("scale = 'row'", "study.toml: scale: expected one of layer, column, found 'row'"),
        ("significance = 'a'", "study.toml: significance: expected integers"),
        ("gdc = 'x'", "study.toml: gdc_readout: expected one of "),
        ("compensation = 'x'", "study.toml: compensation: expected one of none, gdc"),
        ("images = 'some'", "images: expected how many, at least 1, or 'all', found 'some'"),
        ("images = [5, 0]", "images = 0: images: expected how many, at least 1, or 'all', found 0"),
        ("readout.adc.bits = [8, 1]", "readout.adc.bits = 1: adc: bits: expected from 2 to 24, or no ADC"),
        (
            "readout.adc.gain_bits = 4",
            "readout.adc.gain_bits: expected readout.adc.bits beside it, as paper has no adc",
        ),
        (
            "readout.accumulator.beyond = 'wrap'",
            "expected readout.accumulator.bits beside it, as paper has no accumulator",
        ),
        ("readout.dac.bits = 'none'", "readout.dac.bits = none: dac: bits: expected from 2 to 16"),
        ("preset = 'rtl9'\nreadout.dac.bits = [4, 5]", "study.toml: preset: expected one of paper, chip8, rtl8"),
        ("devices.g_max_us = nan", "devices.g_max_us = nan: "),
        ("times = '1e9y'", "study.toml: t_s: expected"),
        ("data = 'nowhere.h5'", "study.toml: --data: expected CIFAR-10, or an HDF5 file"),
    ],
)
def test_points_that_cannot_be(tmp_path, said, message):
    key = said.partition(" ")[0]
    text = "\n".join(line for line in SMALL.splitlines() if not line.startswith(f"{key} "))
    with pytest.raises(PcmrefError, match=re.escape(message)):
        points_of(question(tmp_path, f"{text}\n{said}"))


def test_a_readout_in_a_file_beside_the_study(tmp_path):
    readout = dataclasses.replace(pcmref.PRESETS["paper"], dac=pcmref.Dac(bits=7))
    (tmp_path / "mine.json").write_text(json.dumps(readout_fields(readout)))
    (point,) = points_of(question(tmp_path, SMALL + "preset = 'mine.json'"))
    assert point.study.readout == readout
