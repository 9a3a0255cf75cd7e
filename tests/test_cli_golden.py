"""``pcmref export``, ``check`` and ``selfcheck`` as they are typed."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from pcmref import cli
from pcmref.golden.folders import read_case
from pcmref.golden.readouts import readout_of

TILE = ["--tile", "12x4", "--gain", "640/2^23", "--random", "30"]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden") / "case"
    assert cli.main(["export", str(folder), *TILE, "--hex"]) == 0
    return folder


def fails(capsys, *arguments):
    assert cli.main([str(argument) for argument in arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


# export


def test_a_tile_says_what_its_vectors_reach_and_catch(tmp_path, capsys):
    assert cli.main(["export", str(tmp_path / "case"), *TILE]) == 0
    out, err = capsys.readouterr()
    said = read_case(tmp_path / "case")
    assert out.startswith(f"{tmp_path / 'case'}: case {said.digest[:16]}, contract: exact\n")
    assert f"vectors: {len(said.values['tile0/code']):,}" in out
    assert "ties: " in out
    assert f"faults caught: {len(said.faults)} of {len(said.faults)}" in out
    assert "MB" in err
    assert said.command == "pcmref export case --tile 12x4 --gain '640/2^23' --random 30"


def test_the_options_are_those_of_the_readout(tmp_path):
    options = (
        "--dac-bits 6 --dac-codes signed --drive two-phase --adc-bits 7 --adc-low -64 --adc-high 50 --lines separate"
    )
    options += " --adc-offset -300 --rounding half-up --accumulator 22:wrap --read-noise fresh --lsb 1 --corners"
    assert cli.main(["export", str(tmp_path / "case"), *TILE, *options.split()]) == 0
    case = read_case(tmp_path / "case")
    found = readout_of(case.readout)
    assert (found.dac.bits, found.dac.codes, found.dac.drive, found.lines) == (6, "signed", "two-phase", "separate")
    assert (found.adc.bits, found.adc.limits, found.adc.offset, found.adc.rounding) == (7, (-64, 50), -300, "half-up")
    assert str(found.adc.gain) == "640/2^23"
    assert (found.accumulator.bits, found.accumulator.beyond, found.read_noise) == (22, "wrap", "fresh")
    assert (case.contract.kind, case.contract.n) == ("lsb", 1)
    assert {group.name for group in case.groups} == {"weights/corners", "weights/random", "full/corners"}


def test_a_readout_comes_from_the_file_of_a_case(case, tmp_path):
    command = [
        "export",
        str(tmp_path / "again"),
        "--readout",
        str(case / "case.json"),
        "--tile",
        "12x4",
        "--random",
        "30",
    ]
    assert cli.main(command) == 0
    one, other = read_case(case), read_case(tmp_path / "again")
    assert one.readout == other.readout
    assert all((one.values[name] == other.values[name]).all() for name in one.arrays)


def test_weights_of_ones_own(tmp_path):
    weights = np.arange(-20, 20).reshape(8, 5)
    np.save(tmp_path / "g.npy", weights)
    command = ["export", str(tmp_path / "case"), "--conductance", str(tmp_path / "g.npy"), "--gain", "0.25"]
    assert cli.main(command) == 0
    assert (read_case(tmp_path / "case").values["tile0/g-weights"] == weights).all()


def test_a_layer_of_a_network(tmp_path, capsys):
    command = (
        "--network digits-resnet8 --layer stage2.block1.shortcut --preset rtl8 --at 1h --seed 3 --compensation gdc"
    )
    assert cli.main(["export", str(tmp_path / "case"), *command.split()]) == 0
    case = read_case(tmp_path / "case")
    assert (case.kind, case.seed, case.t_s, case.readout["name"]) == ("layer", 3, 3600.0, "rtl8")
    assert all(name.startswith("stage2.block1.shortcut/") for name in case.arrays)
    assert "vectors" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--tile 25664", "--tile: expected ROWSxCOLUMNS"),
        ("--tile 0x4", "--tile: expected ROWSxCOLUMNS"),
        ("--gain 0/2^3", "multiplier: expected from 1 to 2^31 - 1, found 0"),
        ("--gain 5/2^60", "shift: expected from 0 to 52, found 60"),
        ("--gain 5/2^50", "times 2^shift are at most 2^53, found 5/2^50"),
        ("--gain some", "--gain: expected MULTIPLIER/2^SHIFT or a number, found 'some'"),
        ("--gain nan", "adc: gain: expected"),
        ("--rounding floor", "--gain: expected MULTIPLIER/2^SHIFT"),
        ("--gain 5/2^9 --adc-low 5", "adc: low: expected from -255 to 0, found 5"),
        ("--gain 5/2^9 --accumulator wide", "--accumulator: expected BITS:NAME"),
        ("--layer conv1", "--layer: expected not to be given, as no --network is named"),
        ("--network digits-resnet8 --gain 1", "--gain: expected not to be given, as a --network is named"),
        ("--network digits-resnet8 --layer nope", "layer: expected one of conv1"),
        ("--network digits-resnet8 --images 5000", "--images: expected at most 797"),
        ("--network nope", "network: expected one of"),
        ("--readout nope.json", "nope.json: expected a readout as JSON"),
        ("--conductance nope.npy", "nope.npy: expected an .npy file"),
        ("--tile 4x4 --random -1", "random: expected an integer from 0"),
        ("--lsb 0", "contract: n: expected an integer from 1"),
    ],
)
def test_a_wrong_option_is_one_clear_line(options, words, tmp_path, capsys):
    assert words in fails(capsys, "export", tmp_path / "case", *options.split())
    assert not (tmp_path / "case").exists()


def test_a_folder_that_is_no_case_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert cli.main(["export", str(tmp_path / "mine"), *TILE]) == 1
    assert "found another folder" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


# check


def test_exit_statuses_tell_equal_different_missing_malformed_and_damaged_apart(case, tmp_path, capsys):
    answers = tmp_path / "answers"
    shutil.copytree(case / "expected", answers)

    def status():
        return cli.main(["check", str(case), "--got", str(answers)])

    assert status() == 0
    path = answers / "tile0" / "D.npy"
    codes = np.load(path)
    codes[-1, -1] ^= 1
    np.save(path, codes)
    assert status() == 3
    assert "DIFFERENT: 1 of" in capsys.readouterr().out
    path.write_bytes(b"")
    assert status() == 5
    path.unlink()
    assert status() == 4
    damaged = tmp_path / "damaged"
    shutil.copytree(case, damaged)
    said = json.loads((damaged / "case.json").read_bytes())
    said["seed"] = 1
    (damaged / "case.json").write_text(json.dumps(said))
    capsys.readouterr()
    assert "digest" in fails(capsys, "check", damaged, "--got", answers)


def test_words_for_readmemh_are_answers_too(case, tmp_path):
    shutil.copytree(case / "hex" / "expected", tmp_path / "words")
    assert cli.main(["check", str(case), "--got", str(tmp_path / "words")]) == 0


def test_a_case_proves_nothing_of_itself(case, capsys):
    assert "a path inside the case itself" in fails(capsys, "check", case, "--got", case / "expected")


# selfcheck


def test_selfcheck_prints_versions_processor_cases_and_one_digest(capsys, monkeypatch):
    from pcmref.golden import selfcheck as module

    monkeypatch.setattr(module, "CASES", {name: module.CASES[name] for name in ("elementary", "tile-floor")})
    assert cli.main(["selfcheck"]) == 3  # not all of the suite
    out = capsys.readouterr().out
    assert out.startswith("pcmref ")
    assert "SPEC.md version 3" in out
    assert "elementary" in out
    assert "digest " in out


# What a newcomer ran into


def test_words_that_were_tampered_with_or_are_missing_damage_the_case(case, tmp_path, capsys):
    answers = tmp_path / "answers"
    shutil.copytree(case / "expected", answers)
    for name, content in (("hex/expected/tile0/D.hex", b"00\n"), ("hex/prompt/tile0/g.hex", None)):
        damaged = tmp_path / name.replace("/", "-")
        shutil.copytree(case, damaged)
        if content is None:
            (damaged / name).unlink()
        else:
            (damaged / name).write_bytes(content)
        assert f"{name}: expected the words of the array" in fails(capsys, "check", damaged, "--got", answers)


@pytest.mark.parametrize("name", ["hex/got.hex", "expected/tile0/mine.npy", "notes.txt"])
def test_a_file_of_ones_own_in_a_case_is_never_deleted(name, tmp_path, capsys):
    folder = tmp_path / "case"
    assert cli.main(["export", str(folder), *TILE, "--hex"]) == 0
    (folder / name).write_text("mine")
    capsys.readouterr()
    assert cli.main(["export", str(folder), *TILE]) == 1
    assert name in capsys.readouterr().err
    assert (folder / name).read_text() == "mine"


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    (tmp_path / "case").mkdir()
    assert cli.main(["export", str(tmp_path / "case"), *TILE]) == 0


def test_a_tile_of_few_bits_takes_its_own_weights_alone(tmp_path, capsys):
    np.save(tmp_path / "g.npy", np.arange(-24, 24).reshape(12, 4) * 80)
    options = ["--conductance", str(tmp_path / "g.npy"), "--gain", "640/2^21", "--matrices", "weights"]
    assert cli.main(["export", str(tmp_path / "case"), *options]) == 0
    case = read_case(tmp_path / "case")
    assert [name for name in case.arrays if "/g-" in name] == ["tile0/g-weights"]
    assert {group.conductance for group in case.groups} == {"weights"}
    capsys.readouterr()
    assert "matrices: expected some of weights, directed, full, found 'all'" in fails(
        capsys, "export", tmp_path / "other", *TILE, "--matrices", "all"
    )


def test_one_wrong_column_is_told(case, tmp_path, capsys):
    codes = np.load(case / "expected" / "tile0" / "D.npy")
    codes[:, 2] ^= 1
    np.save(tmp_path / "answers.npy", codes)
    assert cli.main(["check", str(case), "--got", str(tmp_path / "answers.npy")]) == 3
    assert "all of them in column 2\n" in capsys.readouterr().out


def test_an_empty_file_of_weights_is_one_clear_line(tmp_path, capsys):
    (tmp_path / "g.npy").write_bytes(b"")
    assert "g.npy: expected an .npy file" in fails(
        capsys, "export", tmp_path / "case", "--gain", "5/2^9", "--conductance", tmp_path / "g.npy"
    )


def test_a_wrong_time_names_its_option(tmp_path, capsys):
    assert "--at: expected" in fails(capsys, "export", tmp_path / "case", "--network", "digits-resnet8", "--at", "1w")


def test_a_part_of_the_answers_is_compared_if_asked_for(tmp_path, capsys):
    folder = tmp_path / "case"
    layer = ["--network", "digits-resnet8", "--layer", "stage3.block1.conv2", "--at", "1d"]
    assert cli.main(["export", str(folder), *layer]) == 0
    part = tmp_path / "answers" / "stage3.block1.conv2" / "tile1"
    part.mkdir(parents=True)
    shutil.copy(folder / "expected" / "stage3.block1.conv2" / "tile1" / "D.npy", part)
    command = ["check", str(folder), "--got", str(tmp_path / "answers")]
    assert cli.main(command) == 4
    assert cli.main([*command, "--partial"]) == 0
    assert "not given, hence not compared: stage3.block1.conv2/tile0/D, " in capsys.readouterr().out
    codes = np.load(part / "D.npy")
    codes[0, 0, 0] ^= 1
    np.save(part / "D.npy", codes)
    assert cli.main([*command, "--partial"]) == 3
    (part / "D.npy").unlink()
    assert cli.main([*command, "--partial"]) == 4
