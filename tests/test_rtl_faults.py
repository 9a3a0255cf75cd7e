"""Every known fault that the tile in SystemVerilog can have is found by the vectors that are said to find it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache

import pytest

from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.readout import Readout
from pcmref.golden.faults import FAULTS, fault
from pcmref.golden.folders import write_case
from pcmref.golden.memory import read_memory
from pcmref.golden.tiles import tile_case
from tests.helpers.rtl import RTL, SOURCES, build, run
from tests.helpers.rtl_faults import IMPOSSIBLE, MUTANTS

GAIN = FixedPoint(160, 23)
PLAIN = Readout(name="rtl", dac=Dac(bits=8), adc=Adc(bits=6, gain=GAIN))
TILES = {
    "plain": PLAIN,
    "odd multiplier": replace(PLAIN, adc=Adc(bits=6, gain=FixedPoint(161, 23))),
    "offsets, half-up": replace(PLAIN, adc=Adc(bits=6, gain=GAIN, rounding="half-up", offset=(-40_000, 9_000, 0, 333))),
    "thresholds": replace(PLAIN, adc=Adc(bits=5, thresholds=range(-14 * 90_000, 16 * 90_000, 90_000))),
    "signed codes": replace(PLAIN, dac=Dac(bits=8, codes="signed")),
    "fresh noise": replace(PLAIN, read_noise="fresh"),
    "register saturates": replace(PLAIN, accumulator=Accumulator(bits=22, beyond="saturate")),
    "register wraps": replace(PLAIN, accumulator=Accumulator(bits=22, beyond="wrap")),
}


@cache
def case_of(tile):
    return tile_case(TILES[tile], size=(16, 4), random=20)


@pytest.fixture(scope="module")
def words_of(tmp_path_factory):
    """The words of each kind of tile, written once."""
    folder = tmp_path_factory.mktemp("cases")

    def words(tile):
        path = folder / tile.replace(" ", "-").replace(",", "")
        if not path.exists():
            write_case(path, case_of(tile), hex=True)
        return path / "hex"

    return words


def planted(mutant, folder):
    """A copy of the sources with the fault in it."""
    for name in (*SOURCES, "tile_tb.sv"):
        shutil.copy(RTL / name, folder)
    text = (folder / mutant.file).read_text()
    for right, wrong in mutant.changes.items():
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    (folder / mutant.file).write_text(text)
    return folder


def test_every_fault_is_a_mutant_or_cannot_be():
    assert sorted([*(mutant.fault for mutant in MUTANTS), *IMPOSSIBLE]) == sorted(each.name for each in FAULTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.fault for mutant in MUTANTS])
def test_a_fault_is_found_by_the_groups_that_are_said_to_find_it(mutant, words_of, tmp_path):
    case, words = case_of(mutant.tile), words_of(mutant.tile)
    command = build("iverilog", "tile_tb", words, tmp_path, sources=planted(mutant, tmp_path))
    done = run([*command, f"+got={tmp_path / 'answers.hex'}"])
    assert done.returncode != 0, "the bench passes"
    assert "codes differ" in done.stdout
    entry, expected = case.arrays["tile0/D"], case.values["tile0/D"]
    found = read_memory(tmp_path / "answers.hex", bits=entry.bits, signed=entry.signed, count=entry.size)
    wrong = (found.reshape(expected.shape) != expected).any(axis=1)
    groups = [group.name for group in case.groups if wrong[group.first : group.last].any()]
    (said,) = (list(entry.caught_by) for entry in case.faults if entry.name == mutant.fault)
    if fault(mutant.fault).remembers:
        # the first vector of a group meets what is left of the group before, which the group alone would not
        alone = [group.name for group in case.groups if wrong[group.first + 1 : group.last].any()]
        assert set(alone) <= set(said) <= set(groups)
    else:
        assert groups == said
