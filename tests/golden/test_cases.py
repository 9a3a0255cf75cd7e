"""Golden cases: what they hold, their folders, and what a reader refuses."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import pcmref
from pcmref.crossbar.converters import Adc, Dac, FixedPoint
from pcmref.errors import FileError, OutputError, ParameterError
from pcmref.golden import folders
from pcmref.golden.cases import Case, Contract, digest_of, entry_of, stored_type
from pcmref.golden.datapath import settings_of
from pcmref.golden.folders import read_case, size_of, write_case
from pcmref.golden.memory import read_memory
from pcmref.golden.plain import answers, conversions
from pcmref.golden.readouts import readout_fields, readout_of
from pcmref.golden.tiles import GROUPS, tile_case, trial_of
from tests.golden.setups import COLUMNS, READOUTS, ROWS, case_of, readout


def expected_of(case):
    (entry,) = case.section("expected")
    return case.values[entry.name]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "case"
    write_case(path, case_of("pair"))
    return path


# What a case holds


def test_the_answers_follow_from_the_files_alone(folder):
    """As a stranger computes them: NumPy files, JSON, Python's integers."""
    said = json.loads((folder / "case.json").read_text())
    array = {entry["name"]: np.load(folder / entry["section"] / f"{entry['name']}.npy") for entry in said["arrays"]}
    for group in said["groups"]:
        conductance = array[f"tile0/g-{group['conductance']}"].tolist()
        for v in {group["first"], group["last"] - 1}:
            code = array["tile0/code"][v].tolist()
            for c in range(COLUMNS):
                total = sum(x * row[c] for x, row in zip(code, conductance, strict=True))
                assert array["tile0/A"][v, c] == total
                exact = Fraction(total * int(array["tile0/multiplier"][c]), 1 << int(array["tile0/shift"][c]))
                assert array["tile0/D"][v, c] == min(max(round(exact), -127), 127)


@pytest.mark.parametrize("name", READOUTS)
def test_the_plain_tile_gives_the_same_in_every_stage(name):
    case = case_of(name)
    work = trial_of(case)
    assert (answers(work) == expected_of(case)).all()
    parts = list(conversions(work))
    sums = np.stack([part.sums for part in parts]).reshape(case.values["tile0/A"].shape)
    assert (sums == case.values["tile0/A"]).all()
    if "tile0/A-noise-free" in case.values:
        exact = np.stack([part.noise_free for part in parts]).reshape(sums.shape)
        assert (exact == case.values["tile0/A-noise-free"]).all()
    if len(parts) > 1:
        assert (np.stack([part.codes for part in parts]) == case.values["tile0/D"]).all()


@pytest.mark.parametrize("name", ["pair", "fresh", "lines, two-phase, fresh", "wrapping register"])
def test_the_answers_are_those_of_the_tile_at_the_vectors_places(name):
    case, settings = case_of(name), READOUTS[name]
    for place in case.groups:
        part = slice(place.first, place.last)
        fresh = settings.read_noise == "fresh"
        tile = pcmref.tile(
            case.values[f"tile0/g-{place.conductance}"],
            settings,
            variance_code=case.values[f"tile0/V-{place.conductance}"] if fresh else None,
            stream=pcmref.arithmetic.draws.stream_key(7, pcmref.arithmetic.draws.Purpose.PRODUCT, 0) if fresh else None,
        )
        codes = case.values["tile0/code"][part]
        product = tile(codes, np.arange(place.first, place.last, dtype=np.uint64))
        assert (product.codes == expected_of(case)[part]).all()


FORMATS = {
    "pair": "code s8, g s16, multiplier u3, shift u5, A s27, D s8",
    "half-away": "code s8, g s16, multiplier u3, shift u5, offset s15, A s27, D s8",
    "float64": "code s8, g s16, gain f64, A s27, D s8",
    "thresholds": "code s8, g s16, thresholds s21, A s27, D s5",
    "no ADC": "code s8, g s16, A s27, D s27",
    "fresh": "code s8, g s16, V u15, multiplier u3, shift u5, noise s24, B u33, A-noise-free s27, A s28, D s8",
    "wrapping register": "code s8, g s16, multiplier u3, shift u5, A-noise-free s27, A s22, D s8",
    "unsigned": "code u6, g s16, multiplier u3, shift u5, A s26, D s8",
    "offset": "code s6, g s16, multiplier u3, shift u5, D0 s9, A s26, D s9, output-code s10",
    "two-phase": "code s8, g s16, multiplier u3, shift u5, A s27, D s8, output-code s9",
    "bit-serial": "code s6, g s16, multiplier u2, shift u4, A s20, D s6, output-code s12",
    "lines": "code s8, g u15, multiplier u3, shift u5, A s27, D s8, output-code s9",
}


@pytest.mark.parametrize(("name", "formats"), FORMATS.items())
def test_widths_are_those_of_the_specification_for_any_weights_of_so_many_rows(name, formats):
    arrays = case_of(name).arrays.values()
    several = {entry.name: re.sub("-(weights|directed|full)$", "", entry.name) for entry in arrays}
    found = {f"{several[entry.name].removeprefix('tile0/')} {entry.format}": None for entry in arrays}
    assert ", ".join(found) == formats


@pytest.mark.parametrize("name", READOUTS)
def test_every_group_has_its_vectors_and_its_conductances_and_all_vectors_are_in_one(name):
    case = case_of(name)
    places = [vector for group in case.groups for vector in range(group.first, group.last)]
    assert places == list(range(case.arrays["tile0/code"].shape[0]))
    assert all(f"tile0/g-{group.conductance}" in case.arrays for group in case.groups)
    assert {group.name.partition("/")[2] for group in case.groups} <= set(GROUPS)
    assert {group for entry in case.faults for group in entry.caught_by} <= {group.name for group in case.groups}


def test_coverage_counts_what_the_vectors_reach():
    case = case_of("pair")
    codes, found = case.values["tile0/code"].astype(int), case.coverage
    sums, answer = case.values["tile0/A"].astype(int), case.values["tile0/D"].astype(int)
    assert found["vectors"] == len(codes)
    assert found["conversions"] == answer.size
    assert found["inputs"] == {
        "zero": np.sum(codes == 0),
        "lowest": np.sum(codes == -127),
        "highest": np.sum(codes == 127),
        "reached": len(np.unique(codes)),
        "of": 255,
    }
    tied = sums * 10 % 2**17 == 2**16
    assert found["outputs"] == {
        "zero": np.sum(answer == 0),
        "lowest": np.sum(answer == -127),
        "highest": np.sum(answer == 127),
        "reached": len(np.unique(answer)),
        "of": 255,
        "below": np.sum(np.rint(sums * 5 / 2**16) < -127),
        "above": np.sum(np.rint(sums * 5 / 2**16) > 127),
    }
    assert found["ties"] == {"sums": tied.sum(), "columns": COLUMNS}
    up = np.clip(np.floor(sums * 5 / 2**16 + 0.5), -127, 127)
    assert found["told_from"]["half-up"] == np.sum(up != answer) > 0
    assert found["outputs"]["reached"] == 255
    for name, note in {
        "floor": "this rounding",
        "thresholds": "thresholds",
        "float64": "no sum of this tile ties",
    }.items():
        ties = case_of(name).coverage["ties"]
        assert (ties["sums"], ties["columns"]) == (0, 0)
        assert ties["note"].startswith(note)
    few = tile_case(READOUTS["pair"], size=(20, 3), groups=["random"], random=3)
    assert few.coverage["ties"]["note"] == "there are sums that tie, but none of these vectors gives one"
    assert "outputs" not in case_of("no ADC").coverage


@pytest.mark.parametrize("gain", [2.0**-100, 2.0**-60, 3.0, 2.0**100, FixedPoint(2**31 - 1, 0), FixedPoint(1, 0)])
def test_gains_of_any_size_have_a_case(gain):
    """Where no gain of about the same size ties either, none is recommended."""
    case = tile_case(readout(adc=Adc(bits=8, gain=gain)), size=(3, 2), groups=["random"], random=3)
    assert case.coverage["ties"] == {"sums": 0, "columns": 0, "note": "no sum of this tile ties"}


def test_the_seed_and_nothing_else_decides():
    settings = READOUTS["fresh"]
    case, again, other = (tile_case(settings, size=(9, 3), random=9, seed=seed) for seed in (1, 1, 2**63))
    assert case.digest == again.digest != other.digest
    assert (other.values["tile0/g-weights"] != case.values["tile0/g-weights"]).any()
    assert tile_case(settings, size=(9, 3), random=9, seed=1, command="other").digest == case.digest


def test_no_vector_is_aimed_where_read_noise_moves_the_sums():
    aimed = {"cancelling", "ties", "steps", "boundaries"}
    names = {group.name for group in case_of("fresh").groups}
    assert not {f"weights/{name}" for name in aimed} & names
    assert {f"directed/{name}" for name in aimed} <= names
    assert not case_of("fresh").values["tile0/V-directed"].any()


def test_own_conductances_and_some_groups():
    conductance = np.arange(12).reshape(4, 3) - 5
    case = tile_case(
        readout(read_noise="fresh"),
        conductance=conductance,
        variance_code=np.full((4, 3), 9),
        groups=["random"],
        random=5,
    )
    assert (case.values["tile0/g-weights"] == conductance).all()
    assert (case.values["tile0/V-weights"] == 9).all()
    assert [(group.name, group.last - group.first) for group in case.groups] == [("weights/random", 5)]
    assert "tile0/g-full" not in case.arrays


def test_a_register_that_refuses_gets_only_vectors_that_it_holds():
    case = case_of("refusing register")
    sums = case.values["tile0/A"].astype(int)
    assert 2**22 < np.abs(sums).max() < 2**23
    assert case.coverage["vectors"] < case_of("pair").coverage["vectors"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": ["corner"]}, "groups: expected some of corners, .*, found 'corner'"),
        ({"groups": ["random"], "random": 0}, "groups: expected some whose vectors .*, found none"),
        ({"random": -1}, "random: expected an integer from 0 to 1,000,000, found -1"),
        ({"seed": -1}, "seed: expected an integer from 0"),
        ({"size": (0, 4)}, "size: expected two integers from 1 to 65536, found 0"),
        (
            {"conductance": np.ones((2, 3, 4), int)},
            r"conductance: expected integers of shape \(rows, columns\), found int64",
        ),
        ({"conductance": np.ones((3, 4))}, "conductance: .*found float64"),
        ({"conductance": np.full((3, 4), 40000)}, "devices: expected integers from -32767 to 32767, found 40000"),
        ({"variance_code": np.ones((256, 64), int)}, "variance_code: expected None, as read noise is frozen"),
    ],
)
def test_what_makes_no_case_is_refused(settings, message):
    with pytest.raises(ParameterError, match=message):
        tile_case(READOUTS["pair"], **settings)


def test_an_adc_without_a_gain_is_refused():
    with pytest.raises(ParameterError, match="readout: adc: expected a gain or thresholds"):
        tile_case(readout(adc=Adc(bits=8)), size=(4, 3), groups=["corners"])


@pytest.mark.parametrize(("kind", "n"), [("exact", 1), ("lsb", 0), ("lsb", -1), ("close", 0), ("lsb", 1.0)])
def test_contracts_that_are_none(kind, n):
    with pytest.raises(ParameterError, match="contract"):
        Contract(kind=kind, n=n)


@pytest.mark.parametrize("name", READOUTS)
def test_a_readout_comes_back_from_json(name):
    said = json.loads(json.dumps(readout_fields(READOUTS[name])))
    assert readout_of(said) == READOUTS[name]


def test_a_readout_with_ranges_and_measured_converters_comes_back():
    settings = readout(
        adc=Adc(bits=8, gain_bits=16),
        ranges={
            "a": pcmref.Range(input_top=0.1, sum_top_us=3.0),
            "b": pcmref.Range(input_top=1.0, sum_top_us=(1.0, 2.5)),
        },
        measured={"a": Adc(bits=8, gain=0.1), "b": (Adc(bits=8, gain=0.3), Adc(bits=8, gain=(0.1, 0.7)))},
    )
    assert readout_of(json.loads(json.dumps(readout_fields(settings)))) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: said.pop("adc"), "readout: expected the fields name, dac"),
        (lambda said: said.update(more=1), "readout: expected the fields name, dac"),
        (lambda said: said["dac"].pop("bits"), "readout: dac: expected the fields bits"),
        (lambda said: said.update(adc=3), "readout: adc: expected the fields .*, found 3"),
        (
            lambda said: said["adc"].update(gain={"shift": 3}),
            "readout: adc: gain: expected the fields multiplier, shift",
        ),
        (lambda said: said.update(ranges=[1]), "readout: expected an object of layers"),
    ],
)
def test_fields_that_make_no_readout(change, message):
    said = readout_fields(READOUTS["pair"])
    change(said)
    with pytest.raises(FileError, match=message):
        readout_of(said)


# Folders


@pytest.mark.parametrize("name", READOUTS)
def test_a_case_comes_back_from_its_folder(tmp_path, name):
    case = case_of(name)
    write_case(tmp_path / "case", case)
    found = read_case(tmp_path / "case")
    assert found.digest == case.digest
    assert list(found.arrays.values()) == list(case.arrays.values())
    for entry in case.arrays.values():
        values = found.values[entry.name]
        assert values.dtype == stored_type(entry)
        assert values.tobytes() == case.values[entry.name].tobytes()
        assert not values.flags.writeable
    assert (found.groups, found.faults, found.contract, found.seed) == (case.groups, case.faults, case.contract, 7)
    write_case(tmp_path / "again", found)
    first, again = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "case", tmp_path / "again")
    )
    assert first == again


def test_files_are_little_endian_arrays_and_words_in_the_same_order(tmp_path):
    case = case_of("fresh")
    write_case(tmp_path / "case", case, hex=True)
    for entry in case.arrays.values():
        path = tmp_path / "case" / entry.section / f"{entry.name}.npy"
        values = np.load(path, allow_pickle=False)
        assert values.dtype.byteorder in "<|="
        assert values.flags.c_contiguous
        assert hashlib.sha256(values.tobytes()).hexdigest() == entry.sha256
        words = tmp_path / "case" / "hex" / entry.section / f"{entry.name}.hex"
        found = read_memory(words, bits=entry.bits, signed=entry.signed, count=entry.size)
        assert found.tolist() == values.reshape(-1).tolist()


def test_floats_are_written_as_their_bits(tmp_path):
    write_case(tmp_path / "case", case_of("float64"), hex=True)
    line = (tmp_path / "case/hex/prompt/tile0/gain.hex").read_text().splitlines()[0]
    assert line == f"{np.float64(1.23e-4).view(np.uint64):016x}"


@pytest.mark.parametrize("hex", [False, True])
@pytest.mark.parametrize("name", ["pair", "float64", "lines, bit-serial, offset, wrapping"])
def test_sizes_are_known_before_anything_is_written(tmp_path, name, hex):
    write_case(tmp_path / "case", case_of(name), hex=hex)
    written = sum(path.stat().st_size for path in (tmp_path / "case").rglob("*") if path.is_file())
    assert size_of(case_of(name), hex=hex) == written


def test_a_case_replaces_a_case_and_nothing_is_left_behind(tmp_path, folder):
    write_case(folder, case_of("floor"), hex=True)
    assert read_case(folder).digest == case_of("floor").digest
    write_case(folder, case_of("pair"))
    assert not (folder / "hex").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


@pytest.mark.parametrize("when", ["writing", "replacing"])
def test_an_interrupted_write_leaves_the_old_case_whole(tmp_path, folder, monkeypatch, when):
    def interrupted(*arguments, **options):
        raise OSError(28, "No space left on device")

    if when == "writing":
        monkeypatch.setattr(folders, "memory_words", interrupted)
    else:
        monkeypatch.setattr(folders, "_document_text", interrupted)
    with pytest.raises(OutputError, match="case: expected a complete write, found No space left on device"):
        write_case(folder, case_of("floor"), hex=True)
    assert read_case(folder).digest == case_of("pair").digest
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_an_old_case_comes_back_if_the_new_one_cannot_take_its_place(tmp_path, folder, monkeypatch):
    rename, count = type(folder).rename, []

    def fails_second(path, target):
        count.append(path)
        if len(count) == 2:
            raise OSError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(type(folder), "rename", fails_second)
    with pytest.raises(OutputError, match="Permission denied"):
        write_case(folder, case_of("floor"))
    assert read_case(folder).digest == case_of("pair").digest
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


def test_only_a_case_is_replaced(tmp_path, folder):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "case.json").write_text("{}")
    (tmp_path / "link").symlink_to(folder)
    (folder / "notes.txt").write_text("mine")
    for name, found in {"file": "a file", "folder": "another folder", "link": "a link", "case": "another"}.items():
        with pytest.raises(OutputError, match=f"expected .*, found {found}"):
            write_case(tmp_path / name, case_of("floor"))
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path):
    with pytest.raises(OutputError, match="expected a folder to put it into, found no folder"):
        write_case(tmp_path / "none" / "case", case_of("pair"))


# What a reader refuses


def rewrite(folder, change):
    """Change what case.json says, with the digest of what it then says."""
    path = folder / "case.json"
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said | {"digest": digest_of(said)}))


def entry(said, name="tile0/D"):
    return next(array for array in said["arrays"] if array["name"] == name)


def flip(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


D = "expected/tile0/D.npy"

DAMAGED = {
    "an expected element": (lambda f: flip(f / D), r"D.npy: expected elements with the SHA-256 [0-9a-f]{64}, found"),
    "a stimulus": (lambda f: flip(f / "prompt/tile0/code.npy", 200), r"code.npy: expected elements with the SHA-256"),
    "an internal": (lambda f: flip(f / "internal/tile0/A.npy", 200), r"A.npy: expected elements with the SHA-256"),
    "a missing array": (lambda f: (f / D).unlink(), "D.npy: expected an array, found No such file"),
    "another array": (lambda f: shutil.copy(f / D, f / "expected/tile0/E.npy"), "E.npy: expected only arrays that"),
    "a cut array": (lambda f: (f / D).write_bytes((f / D).read_bytes()[:-1]), "D.npy: expected [0-9]+ bytes after"),
    "a longer array": (
        lambda f: (f / D).write_bytes((f / D).read_bytes() + b"0"),
        "D.npy: expected [0-9]+ bytes after",
    ),
    "another type": (
        lambda f: np.save(f / D, np.load(f / D).astype(np.int16)),
        r"expected int8 of shape \(.*, found int16",
    ),
    "another shape": (
        lambda f: np.save(f / D, np.load(f / D).T),
        r"expected int8 of shape \([0-9]+, 6\), found int8 of shape \(6,",
    ),
    "Fortran order": (lambda f: np.save(f / D, np.asfortranarray(np.load(f / D))), "in Fortran order"),
    "big-endian": (
        lambda f: np.save(f / "internal/tile0/A.npy", np.load(f / "internal/tile0/A.npy").astype(">i4")),
        "A.npy: expected int32 of shape .*, found >i4 of shape",
    ),
    "a pickle": (
        lambda f: np.save(f / D, np.array([print], object), allow_pickle=True),
        "D.npy: expected int8 of shape .*, found object",
    ),
    "no array": (lambda f: (f / D).write_bytes(pickle.dumps(print)), "D.npy: expected an .npy file"),
    "an empty array": (lambda f: (f / D).write_bytes(b""), "D.npy: expected an .npy file"),
    "no description": (lambda f: (f / "case.json").unlink(), "case.json: expected the description of a case"),
    "no JSON": (lambda f: (f / "case.json").write_text("{"), "case.json: expected valid JSON"),
    "deep JSON": (lambda f: (f / "case.json").write_text(100_000 * "["), "case.json: expected valid JSON"),
    "NaN": (lambda f: (f / "case.json").write_text('{"a": NaN}'), "NaN is no number in JSON"),
    "a name twice": (lambda f: (f / "case.json").write_text('{"a": 1, "a": 2}'), "'a' twice in an object"),
    "a list": (lambda f: (f / "case.json").write_text("[]"), "expected a JSON object, found list"),
    "a larger description": (
        lambda f: (f / "case.json").write_bytes(b" " * (1 << 26) + b"{}"),
        "case.json: expected at most 67108864 bytes",
    ),
}

SAID_OTHERWISE = {
    "another schema": (
        lambda said: said.update(schema="other"),
        "case.json: schema: expected 'pcmref-case', found 'other'",
    ),
    "another version": (lambda said: said.update(version=2), "case.json: version: expected 1, found 2"),
    "true": (lambda said: said.update(version=True), "case.json: version: expected 1, found True"),
    "another specification": (lambda said: said.update(spec=1), f"spec: expected {pcmref.SPEC_VERSION}, found 1"),
    "a member less": (lambda said: said.pop("seed"), "case.json: expected the members arrays, .*, version, found"),
    "a member more": (lambda said: said.update(more=1), "case.json: expected the members arrays"),
    "arrays of another kind": (lambda said: said.update(arrays=3), "case.json: arrays: expected a list, found 3"),
    "an array of another kind": (lambda said: said["arrays"].append(3), "ArrayEntry: expected an object of axes"),
    "an array twice": (
        lambda said: said["arrays"].append(entry(said)),
        "arrays: expected names that differ, found one twice",
    ),
    "no answer": (lambda said: entry(said).update(section="internal"), "D.npy"),
    "a name outside": (lambda said: entry(said).update(name="../D"), "array: name: expected letters, digits"),
    "an absolute name": (lambda said: entry(said).update(name="/tmp/D"), "array: name: expected letters, digits"),
    "another section": (lambda said: entry(said).update(section="other"), "section: expected one of prompt, expected"),
    "another shape": (
        lambda said: entry(said).update(shape=[6, 6]),
        r"D.npy: expected int8 of shape \(6, 6\), found int8",
    ),
    "a huge shape": (
        lambda said: entry(said).update(shape=[1 << 30, 1 << 30]),
        "shape: expected at most 2147483648 elements",
    ),
    "a negative shape": (lambda said: entry(said).update(shape=[-1, 6]), "shape: expected positive integers, found -1"),
    "other axes": (lambda said: entry(said).update(axes=["vector"]), "axes: expected 2 names"),
    "another width": (lambda said: entry(said).update(bits=9), "D.npy: expected int16 of shape"),
    "no width": (lambda said: entry(said).update(bits=0), "bits: expected an integer from 1 to 64, found 0"),
    "a float of 8 bits": (lambda said: entry(said).update(number="float"), "bits: expected 32 or 64"),
    "another SHA-256": (
        lambda said: entry(said).update(sha256="0" * 64),
        "D.npy: expected elements with the SHA-256 0000",
    ),
    "no SHA-256": (lambda said: entry(said).update(sha256=""), "sha256: expected 64 hexadecimal digits"),
    "a contract of another kind": (
        lambda said: said.update(contract={"kind": "close", "n": 0}),
        "contract: kind: expected one",
    ),
    "a group without vectors": (lambda said: said["groups"][0].update(last=0), "last: expected more than 0, found 0"),
    "a readout of another kind": (lambda said: said["readout"].update(dac=3), "readout: dac: expected the fields"),
    "another kind": (
        lambda said: said.update(kind="chip"),
        "case: kind: expected one of .*tile, layer, network, found 'chip'",
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_case_is_refused(folder, what):
    damage, message = DAMAGED[what]
    damage(folder)
    with pytest.raises(FileError, match=message):
        read_case(folder)


@pytest.mark.parametrize("what", SAID_OTHERWISE)
def test_a_case_that_says_otherwise_is_refused(folder, what):
    change, message = SAID_OTHERWISE[what]
    rewrite(folder, change)
    with pytest.raises(FileError, match=message):
        read_case(folder)


def test_an_answer_that_is_changed_together_with_its_sha256_is_refused(folder):
    flip(folder / D)
    said = json.loads((folder / "case.json").read_text())
    entry(said)["sha256"] = hashlib.sha256(np.load(folder / D).tobytes()).hexdigest()
    (folder / "case.json").write_text(json.dumps(said))
    with pytest.raises(FileError, match=r"case.json: digest: expected [0-9a-f]{64}, the digest of what it says, found"):
        read_case(folder)
    rewrite(folder, lambda said: None)  # all of it changed: a case, but another one
    assert read_case(folder).digest != case_of("pair").digest


@pytest.mark.parametrize("name", ["seed", "t_s", "model", "coverage", "faults", "pcmref"])
def test_every_word_of_the_description_is_in_the_digest(name):
    case = case_of("pair")
    other = {"seed": 1, "t_s": 1.5, "model": {"a": 1}, "coverage": {}, "faults": (), "pcmref": "0"}
    assert replace(case, **{name: other[name]}).digest != case.digest


# Values


def test_arrays_that_do_not_fit_what_is_said_of_them_make_no_case():
    case = case_of("pair")
    with pytest.raises(ParameterError, match="case: tile0/D: expected int8"):
        replace(case, values={**case.values, "tile0/D": case.values["tile0/D"].astype(int)})
    with pytest.raises(ParameterError, match=r"case: tile0/D: expected int8 .*, found none"):
        replace(case, values={name: v for name, v in case.values.items() if name != "tile0/D"})
    twin = replace(case.arrays["tile0/D"], name="TILE0/d")
    arrays = {**case.arrays, twin.name: twin}
    with pytest.raises(ParameterError, match="names that differ in more than upper and lower case"):
        replace(case, arrays=arrays, values={**case.values, twin.name: case.values["tile0/D"]})


def test_an_element_that_does_not_fit_its_width_makes_no_entry():
    said = {"section": "expected", "letter": "D", "meaning": ".", "axes": ("vector",)}
    entry_of("D", np.array([-128, 127]), bits=8, **said)
    with pytest.raises(ParameterError, match="array D: expected integers of 8 bits, found 0 to 128"):
        entry_of("D", np.array([0, 128]), bits=8, **said)
    with pytest.raises(ParameterError, match="array D: expected integers of 7 bits, found -1 to 3"):
        entry_of("D", np.array([-1, 3]), bits=7, signed=False, **said)


def test_a_case_of_a_layer_has_vectors_by_image_and_pixel():
    """What is general in the format: other names, other axes, floats."""
    rng = np.random.default_rng(0)
    settings = readout(dac=Dac(bits=4))
    code, conductance = rng.integers(-7, 8, (2, 3, 5)), rng.integers(-99, 100, (5, 4))
    answer = pcmref.tile(conductance, settings)(code.reshape(6, 5)).codes.reshape(2, 3, 4)
    axes = ("image", "pixel")
    arrays = [
        entry_of("layer/a/tile0/code", code, section="prompt", letter="code", meaning=".", axes=(*axes, "row"), bits=4),
        entry_of(
            "layer/a/tile0/g-weights",
            conductance,
            section="prompt",
            letter="r",
            meaning=".",
            axes=("row", "column"),
            bits=16,
        ),
        entry_of(
            "layer/a/tile0/D", answer, section="expected", letter="D", meaning=".", axes=(*axes, "column"), bits=8
        ),
        entry_of(
            "layer/a/y",
            answer.astype(np.float32),
            section="internal",
            letter="y",
            meaning=".",
            axes=(*axes, "column"),
            bits=32,
        ),
    ]
    arrays += settings_of("layer/a/tile0", [settings.adc], 4)
    case = Case(
        kind="layer",
        arrays={e.name: e for e, _ in arrays},
        values={e.name: v for e, v in arrays},
        readout=readout_fields(settings),
    )
    assert (answers(trial_of(case, "layer/a/tile0")) == answer.reshape(6, 4)).all()
    assert ROWS > 5
