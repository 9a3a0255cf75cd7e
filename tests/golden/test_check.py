"""The checker: what passes, what must never pass, and whether its diagnosis is right."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcmref
from pcmref.errors import FileError, ParameterError
from pcmref.golden import diagnosis
from pcmref.golden.cases import Case, Contract, GroupEntry, entry_of
from pcmref.golden.check import check, compare
from pcmref.golden.datapath import settings_of
from pcmref.golden.faults import FAULTS
from pcmref.golden.folders import write_case
from pcmref.golden.memory import write_memory
from pcmref.golden.readouts import readout_fields
from pcmref.golden.tiles import trial_of
from pcmref.golden.verdicts import EXIT, verdict_text
from tests.golden.setups import COLUMNS, READOUTS, case_of, readout

CASE = case_of("pair")
ANSWER = CASE.values["tile0/D"].astype(np.int64)
VECTORS = len(ANSWER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "case"
    write_case(path, CASE)
    return path


def npy(path, arrays):
    np.save(path / "got.npy", arrays["tile0/D"])
    return path / "got.npy"


def npz(path, arrays):
    np.savez(path / "got.npz", **arrays)
    return path / "got.npz"


def compressed(path, arrays):
    np.savez_compressed(path / "got.npz", **{name.rpartition("/")[2]: values for name, values in arrays.items()})
    return path / "got.npz"


def hdf5(path, arrays):
    with h5py.File(path / "got.h5", "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip")
    return path / "got.h5"


def words(path, arrays):
    write_memory(path / "got.hex", arrays["tile0/D"], bits=8)
    return path / "got.hex"


def folder_of_arrays(path, arrays):
    for name, values in arrays.items():
        target = path / "got" / CASE.arrays[name].section / f"{name}.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, values)
    return path / "got"


def folder_of_words(path, arrays):
    (path / "got").mkdir()
    for name, values in arrays.items():
        write_memory(path / "got" / f"{name.rpartition('/')[2]}.mem", values, bits=CASE.arrays[name].bits)
    return path / "got"


FORMS = [npy, npz, compressed, hdf5, words, folder_of_arrays, folder_of_words]
SEVERAL = [npz, compressed, hdf5, folder_of_arrays, folder_of_words]


# What passes


@pytest.mark.parametrize("form", FORMS)
def test_the_right_answer_passes_in_every_format(folder, tmp_path, form):
    verdict = check(folder, form(tmp_path, {"tile0/D": ANSWER}))
    assert (verdict.status, verdict.exit) == ("equal", 0)
    assert verdict.case == CASE.digest
    assert verdict_text(verdict) == (
        f"EQUAL: all {ANSWER.size:,} elements of tile0/D\ncase {CASE.digest[:16]}, contract: exact"
    )


@pytest.mark.parametrize("form", SEVERAL)
def test_internals_are_compared_where_they_are_given(folder, tmp_path, form):
    arrays = {"tile0/D": ANSWER, "tile0/A": CASE.values["tile0/A"].astype(np.int64)}
    verdict = check(folder, form(tmp_path, arrays))
    assert verdict.status == "equal"
    assert [array.name for array in verdict.arrays] == ["tile0/A", "tile0/D"]


@pytest.mark.parametrize("dtype", ["i1", ">i2", "i4", "i8", ">i8"])
def test_integers_of_any_type_and_order_pass(folder, tmp_path, dtype):
    np.save(tmp_path / "got.npy", np.asfortranarray(ANSWER.astype(dtype)))
    assert check(folder, tmp_path / "got.npy").status == "equal"


@pytest.mark.parametrize("name", READOUTS)
def test_the_answers_of_every_tile_pass(tmp_path, name):
    case = case_of(name)
    write_case(tmp_path / "case", case)
    shutil.copytree(tmp_path / "case" / "expected", tmp_path / "got")
    assert check(tmp_path / "case", tmp_path / "got").status == "equal"
    shutil.copytree(tmp_path / "case" / "internal", tmp_path / "got" / "internal")
    verdict = check(tmp_path / "case", tmp_path / "got")
    assert verdict.status == "equal"
    assert len(verdict.arrays) == len(case.section("expected")) + len(case.section("internal"))


# What must never pass


def last(change):
    def made(values):
        wrong = values.copy()
        wrong[-1, -1] = change(wrong[-1, -1])
        return wrong

    return made


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "wrong",
    {
        "one more at the very end": last(lambda v: v + 1),
        "one less at the very end": last(lambda v: v - 1 if v > -128 else v + 1),
        "all zero": lambda values: 0 * values,
        "all the same": lambda values: 0 * values + 5,
        "the other sign": lambda values: -values,
        "columns in another order": lambda values: values[:, ::-1],
        "vectors in another order": lambda values: values[::-1],
    }.items(),
    ids=lambda item: item[0],
)
def test_a_wrong_answer_never_passes(folder, tmp_path, form, wrong):
    verdict = check(folder, form(tmp_path, {"tile0/D": wrong[1](ANSWER)}))
    assert (verdict.status, verdict.exit) == ("different", 3)


@settings(max_examples=settings.default.max_examples // 2)
@given(st.integers(0, ANSWER.size - 1), st.integers(-(2**63), 2**63 - 1).filter(bool), st.booleans())
def test_no_single_wrong_element_passes(place, value, internal):
    name = "tile0/A" if internal else "tile0/D"
    found = {n: CASE.values[n].astype(np.int64) for n in ("tile0/A", "tile0/D")}
    found[name].reshape(-1)[place] ^= value
    verdict = compare(CASE, found)
    assert verdict.status == "different"
    assert verdict.stage.name == name
    assert verdict.stage.mismatches == 1
    vector, column = divmod(place, COLUMNS)
    assert verdict.stage.first.place == (("vector", vector), ("column", column))
    assert verdict.group.first <= vector < verdict.group.last


def test_a_difference_that_64_bits_cannot_hold_is_one():
    vector, column = np.argwhere(ANSWER == 0)[0]
    for value in (-(2**63), 2**63 - 1):
        wrong = ANSWER.copy()
        wrong[vector, column] = value
        for contract in (Contract(), Contract(kind="lsb", n=5)):
            verdict = compare(replace(CASE, contract=contract), {"tile0/D": wrong})
            assert verdict.stage.differences == ((value, 1),)


def saved(values, name="got.npy"):
    def made(path):
        np.save(path / name, values)
        return path / name

    return made


def text(content, name="got.hex"):
    def made(path):
        (path / name).write_bytes(content)
        return path / name

    return made


def arrays_named(**arrays):
    def made(path):
        np.savez(path / "got.npz", **arrays)
        return path / "got.npz"

    return made


def link_to(path):
    with h5py.File(path / "other.h5", "w") as file:
        file["D"] = ANSWER
    with h5py.File(path / "got.h5", "w") as file:
        file["D"] = h5py.ExternalLink("other.h5", "D")
    return path / "got.h5"


def virtual(path):
    with h5py.File(path / "other.h5", "w") as file:
        file["D"] = ANSWER
    with h5py.File(path / "got.h5", "w") as file:
        layout = h5py.VirtualLayout(ANSWER.shape, np.int64)
        layout[:] = h5py.VirtualSource(path / "other.h5", "D", ANSWER.shape)
        file.create_virtual_dataset("D", layout)
    return path / "got.h5"


def two_of_a_kind(path):
    (path / "got").mkdir()
    np.save(path / "got" / "D.npy", ANSWER)
    write_memory(path / "got" / "D.hex", ANSWER, bits=8)
    return path / "got"


def a_case(path):
    write_case(path / "copy", CASE)
    return path / "copy"


def an_empty_folder(path):
    (path / "got").mkdir()
    return path / "got"


def a_pipe(path):
    os.mkfifo(path / "got.npy")
    return path / "got.npy"


RIGHT_WORDS = b"".join(b"%02x\n" % (v % 256) for v in ANSWER.reshape(-1).tolist())
SHAPE = rf"expected shape \({VECTORS}, {COLUMNS}\): vector, column, found"

NO_ANSWERS = {
    "nothing": (lambda path: path / "got.npy", "missing", "got.npy: expected answers, found nothing"),
    "an empty folder": (an_empty_folder, "missing", "expected the array tile0/D, found no array"),
    "an internal alone": (
        arrays_named(A=CASE.values["tile0/A"]),
        "missing",
        "expected the array tile0/D, found tile0/A",
    ),
    "an internal by its name": (saved(CASE.values["tile0/A"], "A.npy"), "missing", "expected the array tile0/D"),
    "a pipe": (a_pipe, "missing", "expected answers, found no regular file"),
    "an external link": (link_to, "missing", "expected the array tile0/D, found no array"),
    "a virtual dataset": (virtual, "malformed", "expected data stored in this file, found external or virtual storage"),
    "a case": (a_case, "malformed", r"expected answers, found a case \(it has a case.json\)"),
    "an unknown array": (
        arrays_named(D=ANSWER, E=ANSWER),
        "malformed",
        "E.npy: expected one of the arrays tile0/D, tile0/A",
    ),
    "a stimulus": (
        arrays_named(D=ANSWER, code=CASE.values["tile0/code"]),
        "malformed",
        "code.npy: expected one of the arrays",
    ),
    "an array twice": (two_of_a_kind, "malformed", "expected each array once, found tile0/D again"),
    "an empty array": (saved(ANSWER[:0]), "malformed", SHAPE + r" \(0, 6\)"),
    "a vector less": (saved(ANSWER[:-1]), "malformed", SHAPE),
    "a column more": (saved(np.hstack([ANSWER, ANSWER[:, :1]])), "malformed", SHAPE),
    "a flat array": (saved(ANSWER.reshape(-1)), "malformed", SHAPE),
    "the transposed": (saved(ANSWER.T.copy()), "malformed", SHAPE + r" \(6, [0-9]+\), the axes in the opposite order"),
    "floats": (saved(ANSWER.astype(float)), "malformed", r"expected integers \(a float might hide .*, found float64"),
    "NaN": (saved(np.full(ANSWER.shape, np.nan)), "malformed", "expected integers .*, found float64"),
    "booleans": (saved(ANSWER > 0), "malformed", "expected integers .*, found bool"),
    "complex": (saved(ANSWER * 1j), "malformed", "expected integers .*, found complex128"),
    "objects": (saved(ANSWER.astype(object)), "malformed", "expected integers .*, found object"),
    "beyond 64 bits": (saved(ANSWER.astype(np.uint64)), "malformed", "expected integers of 8 bits, found some above"),
    "a cut file": (
        lambda path: text(saved(ANSWER)(path).read_bytes()[:-3], "got.npy")(path),
        "malformed",
        "expected [0-9]+ bytes after the header",
    ),
    "no npy": (text(b"12", "got.npy"), "malformed", "expected an .npy file"),
    "no npz": (text(b"12", "got.npz"), "malformed", "expected an .npz file"),
    "no HDF5": (text(b"12", "got.h5"), "malformed", "expected an intact HDF5 file"),
    "another suffix": (text(b"12", "got.txt"), "malformed", "expected a folder or a file .npy"),
    "an empty file of words": (text(b""), "malformed", "expected a newline after the last word"),
    "a word less": (text(RIGHT_WORDS[:-3]), "malformed", f"expected {ANSWER.size} words, found {ANSWER.size - 1}"),
    "a word more": (text(RIGHT_WORDS + b"00\n"), "malformed", f"expected {ANSWER.size} words, found {ANSWER.size + 1}"),
    "no last newline": (text(RIGHT_WORDS[:-1]), "malformed", "expected a newline after the last word"),
    "an unknown value": (text(b"xx\n" + RIGHT_WORDS[3:]), "malformed", "line 1: .*a value that is not known"),
}


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_what_is_no_answer_never_passes(folder, tmp_path, what):
    make, status, message = NO_ANSWERS[what]
    verdict = check(folder, make(tmp_path))
    assert (verdict.status, verdict.exit) == (status, {"missing": 4, "malformed": 5}[status])
    assert verdict_text(verdict).startswith(f"{status.upper()}: no answer was compared\n")
    assert re.search(message, verdict.message)


def test_a_short_name_that_two_arrays_have_and_no_name_at_all_are_refused(tmp_path):
    values = np.array([1, 2])
    said = {"section": "expected", "letter": "D", "meaning": ".", "axes": ("column",), "bits": 8}
    arrays = [entry_of(f"tile{number}/D", values, **said) for number in range(2)]
    case = Case(kind="layer", arrays={e.name: e for e, _ in arrays}, values={e.name: v for e, v in arrays})
    write_case(tmp_path / "case", case)
    for name in ("D.npy", "other.npy"):
        np.save(tmp_path / name, values)
        verdict = check(tmp_path / "case", tmp_path / name)
        assert verdict.status == "malformed"
        assert "expected one of the arrays tile0/D, tile1/D" in verdict.message
    np.savez(tmp_path / "got.npz", **{"tile0/D": values, "tile1/D": values})
    assert check(tmp_path / "case", tmp_path / "got.npz").status == "equal"


def test_a_member_of_an_npz_that_claims_more_than_it_should_is_not_unpacked(folder, tmp_path):
    np.savez_compressed(tmp_path / "got.npz", D=np.zeros((VECTORS, COLUMNS * 10_000), np.int8))
    assert "shape" in check(folder, tmp_path / "got.npz").message


def test_the_answer_of_another_case_does_not_pass(folder, tmp_path):
    other = case_of("toward-zero")
    assert other.values["tile0/D"].shape == ANSWER.shape or len(other.values["tile0/D"]) > 100
    some = other.values["tile0/D"][:VECTORS]
    np.save(tmp_path / "got.npy", np.concatenate([some, ANSWER[len(some) :]]))
    assert check(folder, tmp_path / "got.npy").status == "different"


@pytest.mark.parametrize("inside", ["", "expected", "expected/tile0/D.npy", "expected/../expected"])
def test_the_golden_answers_themselves_are_no_answer(folder, inside):
    with pytest.raises(ParameterError, match="got: expected answers of a device under test, found a path inside"):
        check(folder, folder / inside)


def test_a_link_into_the_case_is_no_answer(folder, tmp_path):
    (tmp_path / "got.npy").symlink_to(folder / "expected/tile0/D.npy")
    with pytest.raises(ParameterError, match="a path inside the case itself"):
        check(folder, tmp_path / "got.npy")


def test_a_tampered_case_passes_nothing(tmp_path):
    write_case(tmp_path / "case", CASE)
    wrong = last(lambda v: v + 1)(ANSWER).astype(np.int8)
    np.save(tmp_path / "case/expected/tile0/D.npy", wrong)
    np.save(tmp_path / "got.npy", wrong)
    with pytest.raises(FileError, match="SHA-256"):
        check(tmp_path / "case", tmp_path / "got.npy")


def test_a_missing_internal_is_no_fault_but_a_missing_expected_array_is():
    with pytest.raises(ParameterError, match="found: expected the array tile0/D, found tile0/A"):
        compare(CASE, {"tile0/A": CASE.values["tile0/A"]})
    with pytest.raises(ParameterError, match="found: tile0/D: expected shape"):
        compare(CASE, {"tile0/D": ANSWER[1:]})


# The contract


@pytest.mark.parametrize(
    ("n", "by", "status"), [(1, 1, "equal"), (1, -1, "equal"), (1, 2, "different"), (3, -4, "different")]
)
def test_answers_may_be_as_far_off_as_the_contract_says(n, by, status):
    case = replace(CASE, contract=Contract(kind="lsb", n=n))
    verdict = compare(case, {"tile0/D": ANSWER + by, "tile0/A": CASE.values["tile0/A"] + by})
    assert verdict.status == status
    assert f"contract: at most {n} LSB apart" in verdict_text(verdict)


def test_equal_within_a_contract_says_how_many_differ():
    case = replace(CASE, contract=Contract(kind="lsb", n=1))
    answer = ANSWER.copy()
    answer[0, 0] += 1 if answer[0, 0] < 0 else -1
    answer[2, 1] += 1 if answer[2, 1] < 0 else -1
    text = verdict_text(compare(case, {"tile0/D": answer}))
    assert text.startswith(f"EQUAL: all {ANSWER.size:,} elements of tile0/D, of which 2 differ\n")
    assert "differ" not in verdict_text(compare(case, {"tile0/D": ANSWER}))
    internal = {"tile0/D": answer, "tile0/A": CASE.values["tile0/A"] + 1}
    assert f"of which {2 + CASE.values['tile0/A'].size:,} differ" in verdict_text(compare(case, internal))


def test_an_internal_that_differs_under_a_contract_of_some_lsb_says_where_it_begins_and_no_more():
    case = replace(CASE, contract=Contract(kind="lsb", n=1))
    shifted = CASE.values["tile0/A"] + 1
    assert compare(case, {"tile0/D": ANSWER, "tile0/A": shifted}).status == "equal"
    verdict = compare(case, {"tile0/D": ANSWER + 9, "tile0/A": shifted})
    assert verdict.status == "different"
    assert verdict.stage.name == "tile0/A"


def test_floats_are_compared_bit_by_bit():
    values = np.array([0.0, 1.5, np.nan], np.float32)
    entry, stored = entry_of("y", values, section="expected", letter="y", meaning=".", axes=("column",), bits=32)
    case = Case(kind="layer", arrays={"y": entry}, values={"y": stored})
    assert compare(case, {"y": values}).status == "equal"
    for wrong in ([-0.0, 1.5, np.nan], [0.0, 1.5, 0.0], [0.0, np.nextafter(np.float32(1.5), np.float32(2)), np.nan]):
        verdict = compare(case, {"y": np.array(wrong, np.float32)})
        assert verdict.status == "different"
        assert verdict.stage.mismatches == 1
    assert verdict.stage.first.expected_hex == "0x3fc00000"
    assert verdict.stage.first.found_hex == "0x3fc00001"


def test_floats_are_read_as_such_and_as_their_bits(tmp_path):
    values = np.array([0.5, -1.5], np.float32)
    entry, stored = entry_of("y", values, section="expected", letter="y", meaning=".", axes=("column",), bits=32)
    write_case(tmp_path / "case", Case(kind="layer", arrays={"y": entry}, values={"y": stored}))
    np.save(tmp_path / "a.npy", values.astype(">f4"))
    np.save(tmp_path / "b.npy", values.astype(float))
    np.save(tmp_path / "c.npy", values.astype(int))
    (tmp_path / "d.hex").write_text("3f000000\nbfc00000\n")
    found = {name: check(tmp_path / "case", tmp_path / name).status for name in ("a.npy", "b.npy", "c.npy", "d.hex")}
    assert found == {"a.npy": "equal", "b.npy": "malformed", "c.npy": "malformed", "d.hex": "equal"}


# What a verdict says


def test_it_says_the_first_mismatch_its_sum_its_group_and_its_stage():
    place = next(group for group in CASE.groups if group.name == "directed/ties")
    work = trial_of(CASE)
    fault = next(each for each in FAULTS if each.name == "rounds-half-up")
    wrong = ANSWER.copy()
    wrong[place.first : place.last] = fault.answers(work)[place.first : place.last]
    verdict = compare(CASE, {"tile0/D": wrong, "tile0/A": CASE.values["tile0/A"].astype(np.int64)})
    (vector, column) = np.argwhere(wrong != ANSWER)[0]
    (converted,) = verdict.converted
    total = int(CASE.values["tile0/A"][vector, column])
    assert verdict.stage.first.place == (("vector", vector), ("column", column))
    assert verdict.group == place
    assert (converted.sum, converted.code, converted.edge, converted.ties) == (total, 5 * total / 2**16, 0.0, True)
    assert converted.below == converted.code + 127.5
    assert converted.above == 127.5 - converted.code
    right = ANSWER[vector, column]
    report = verdict_text(verdict)
    for line in (
        f"first: tile0/D at vector {vector}, column {column}",
        f"expected  {right}  0x{right % 256:02x}",
        f"found     {right + 1}  0x{(right + 1) % 256:02x}",
        f"sum {total} = {5 * total / 2**16:.10g} codes: on a tie, within the limits by",
        "in the group directed/ties, which catches",
        f"found minus expected: +1 in {np.sum(wrong != ANSWER)}",
        "earliest stage that differs: D (tile0/D); A agrees",
    ):
        assert line in report


def test_it_says_how_far_beyond_the_limit_a_sum_is():
    vector, column = np.argwhere(CASE.values["tile0/A"] * 5 > 140 * 2**16)[0]
    wrong = ANSWER.copy()
    wrong[vector, column] = 3
    (place,) = compare(CASE, {"tile0/D": wrong}).converted
    code = int(CASE.values["tile0/A"][vector, column]) * 5 / 2**16
    assert place.above == 127.5 - code < 0
    assert f"beyond the limit by {code - 127.5:.4g}" in verdict_text(compare(CASE, {"tile0/D": wrong}))


@pytest.mark.parametrize(
    ("name", "count", "unit"),
    [("thresholds", 1, "of the sum"), ("floor", 1, "from a step"), ("bit-serial", 6, "conversion 5")],
)
def test_it_says_so_for_every_kind_of_converter(name, count, unit):
    case = case_of(name)
    (entry,) = case.section("expected")
    wrong = case.values[entry.name].astype(np.int64)
    wrong[100, 2] += 1
    verdict = compare(case, {entry.name: wrong})
    assert len(verdict.converted) == count
    sums = case.values["tile0/A"]
    assert [place.sum for place in verdict.converted] == np.atleast_1d(sums[..., 100, 2]).tolist()
    assert unit in verdict_text(verdict) or "on a step" in verdict_text(verdict)


def test_the_offset_of_the_adc_counts():
    case = case_of("half-away")
    wrong = case.values["tile0/D"].astype(np.int64)
    wrong[100, 2] += 1
    (place,) = compare(case, {"tile0/D": wrong}).converted
    assert place.code == (place.sum - 12345) * 5 / 2**16


def test_the_distance_from_a_threshold_is_in_units_of_the_sum():
    case = case_of("thresholds")
    table = np.array(READOUTS["thresholds"].adc.thresholds)
    wrong = case.values["tile0/D"].astype(np.int64)
    wrong[300, 1] += 1
    (place,) = compare(case, {"tile0/D": wrong}).converted
    total = int(case.values["tile0/A"][300, 1])
    assert place.edge == np.abs(table[1] - total).min()
    assert (place.below, place.above) == (total - table[1, 0], table[1, -1] - 1 - total)


def test_the_histogram_has_the_most_frequent_differences_first():
    wrong = ANSWER.copy()
    for number, by in enumerate([5] * 3 + [-2] * 9 + [1] * 4 + list(range(10, 20))):
        wrong[number, 0] += by
    array = compare(CASE, {"tile0/D": wrong}).stage
    assert array.differences[:3] == ((-2, 9), (1, 4), (5, 3))
    assert array.mismatches == 26
    assert array.others == 26 - sum(count for _, count in array.differences) > 0


def test_an_answer_wider_than_the_array_is_marked():
    wrong = ANSWER.copy()
    wrong[0, 0] = 200
    assert compare(CASE, {"tile0/D": wrong}).stage.first.found_hex == "beyond 8 bits"


def test_statuses_have_exit_statuses_of_their_own_beside_1_and_2():
    assert dict(EXIT) == {"equal": 0, "different": 3, "missing": 4, "malformed": 5}


# Diagnosis


def faults_shown(name):
    case = case_of(name)
    (entry,) = case.section("expected")
    work, right = trial_of(case), case.values[entry.name]
    for fault in FAULTS:
        if fault.applies(work) and ((wrong := fault.answers(work)) != right).any():
            yield case, entry, fault, wrong


#: Tiles that have every fault between them; the others take their time.
DIAGNOSED = {
    "pair",
    "half-away",
    "columns",
    "float64",
    "thresholds",
    "fresh",
    "saturating register",
    "lines, two-phase, fresh",
    "lines, bit-serial, offset, wrapping",
}


def test_some_tiles_have_every_fault_between_them():
    assert {each.name for each in FAULTS} == {entry.name for name in DIAGNOSED for entry in case_of(name).faults}


@pytest.mark.parametrize(
    "name", [name if name in DIAGNOSED else pytest.param(name, marks=pytest.mark.soak) for name in READOUTS]
)
def test_every_fault_is_found_from_its_answers_or_one_that_gives_the_same(name):
    for case, entry, fault, wrong in faults_shown(name):
        told = compare(case, {entry.name: wrong}).diagnosis
        assert told.exact, fault.name
        names = [found for found, _ in told.faults]
        assert fault.name in names
        assert told.explained == told.mismatches == np.sum(wrong != case.values[entry.name])
        work = trial_of(case)
        for other in FAULTS:  # whatever else is named gives these very answers
            if other.name in names:
                assert (other.answers(work) == wrong).all()


@pytest.mark.parametrize("name", [each.name for each in FAULTS if each.remembers and each.name != "noise-stale"])
def test_a_fault_that_remembers_is_found_from_few_vectors_too(monkeypatch, name):
    monkeypatch.setattr(diagnosis, "LOOKED_AT", 1)
    fault = next(each for each in FAULTS if each.name == name)
    found = compare(CASE, {"tile0/D": fault.answers(trial_of(CASE))}).diagnosis
    assert found.exact
    assert name in dict(found.faults)


def test_faults_are_told_apart_on_the_tile_of_pairs():
    alone = {
        fault.name: compare(case, {entry.name: wrong}).diagnosis.faults
        for case, entry, fault, wrong in faults_shown("pair")
    }
    assert {name for name, found in alone.items() if len(found) > 1} == {"lines-swapped", "multiplier-low-byte-lost"}
    assert [name for name, _ in alone["lines-swapped"]] == ["negated", "lines-swapped"]
    assert [name for name, _ in alone["multiplier-low-byte-lost"]] == ["all-zero", "multiplier-low-byte-lost"]


MIXED_UP = {
    "all-zero": lambda d: 0 * d,
    "constant": lambda d: 0 * d - 9,
    "one-early": lambda d: np.concatenate([d[1:], d[:1]]),
    "negated": lambda d: -d,
    "read-unsigned": lambda d: d % 256,
    "transposed": lambda d: d.T.reshape(d.shape),
}


@pytest.mark.parametrize(("name", "mix_up"), MIXED_UP.items())
def test_mixed_up_answers_are_found_out(name, mix_up):
    told = compare(CASE, {"tile0/D": mix_up(ANSWER)}).diagnosis
    assert told.exact
    assert name in [found for found, _ in told.faults]
    assert f"({name})" in verdict_text(compare(CASE, {"tile0/D": mix_up(ANSWER)}))


def test_swapped_bytes_are_found_out():
    case = case_of("bit-serial")
    wrong = case.values["tile0/output-code"].byteswap().astype(np.int64)
    assert [name for name, _ in compare(case, {"tile0/output-code": wrong}).diagnosis.faults] == ["bytes-swapped"]


def test_a_fault_with_something_else_wrong_is_a_guess_and_said_to_be_one():
    fault = next(each for each in FAULTS if each.name == "rounds-floor")
    wrong = fault.answers(trial_of(CASE))
    wrong[5:9] += 7
    told = compare(CASE, {"tile0/D": wrong}).diagnosis
    assert not told.exact
    assert [name for name, _ in told.faults] == ["rounds-floor"]
    assert 0 < told.explained < told.mismatches
    report = verdict_text(compare(CASE, {"tile0/D": wrong}))
    assert "diagnosis, a guess: the tile rounds down (rounds-floor)" in report
    share = 100 * told.explained / told.mismatches
    assert f"It explains {told.explained:,} of {told.mismatches:,} mismatches, {share:.3g} %." in report


def test_a_fault_is_found_under_a_contract_of_some_lsb():
    case = replace(CASE, contract=Contract(kind="lsb", n=2))
    fault = next(each for each in FAULTS if each.name == "rows-reversed")
    noisy = fault.answers(trial_of(CASE)) + np.resize([0, 1, -2, 2], ANSWER.shape)
    told = compare(case, {"tile0/D": noisy}).diagnosis
    assert [name for name, _ in told.faults] == ["rows-reversed"]
    assert told.mismatches == np.sum(np.abs(noisy - ANSWER) > 2)


def test_what_nothing_explains_is_said_to_be_unexplained():
    wrong = np.random.default_rng(0).integers(-128, 128, ANSWER.shape)
    verdict = compare(CASE, {"tile0/D": wrong})
    assert verdict.diagnosis is None
    assert "diagnosis: none of the known faults explains it" in verdict_text(verdict)


def test_a_tile_of_a_layer_is_diagnosed_by_image_and_pixel(tmp_path):
    rng = np.random.default_rng(0)
    code, conductance = rng.integers(-127, 128, (20, 3, 9)), rng.integers(-9999, 10_000, (9, 4))
    product = pcmref.tile(conductance, readout())(code.reshape(60, 9))
    axes = ("image", "pixel")
    said = {"letter": "x", "meaning": "."}
    arrays = [
        entry_of("layer/a/tile1/code", code, section="prompt", axes=(*axes, "row"), bits=8, **said),
        entry_of("layer/a/tile1/g-weights", conductance, section="prompt", axes=("row", "column"), bits=16, **said),
        entry_of(
            "layer/a/tile1/A",
            product.sums.reshape(20, 3, 4),
            section="internal",
            axes=(*axes, "column"),
            bits=32,
            **said,
        ),
        entry_of(
            "layer/a/tile1/D",
            product.codes.reshape(20, 3, 4),
            section="expected",
            axes=(*axes, "column"),
            bits=8,
            **said,
        ),
    ]
    arrays += settings_of("layer/a/tile1", [readout().adc], 4)
    case = Case(
        kind="layer",
        arrays={e.name: e for e, _ in arrays},
        values={e.name: v for e, v in arrays},
        readout=readout_fields(readout()),
        groups=tuple(
            GroupEntry(name=str(first), conductance="weights", first=first, last=first + 20, catches=".")
            for first in (0, 20, 40)
        ),
    )
    wrong = pcmref.tile(-conductance, readout())(code.reshape(60, 9)).codes.reshape(20, 3, 4)
    verdict = compare(case, {"layer/a/tile1/D": wrong})
    index = tuple(int(i) for i in np.argwhere(wrong != case.values["layer/a/tile1/D"])[0])
    assert verdict.stage.first.place == tuple(zip((*axes, "column"), index, strict=True))
    assert verdict.converted[0].sum == product.sums.reshape(20, 3, 4)[index]
    assert "lines-swapped" in dict(verdict.diagnosis.faults)
    late = case.values["layer/a/tile1/D"].astype(np.int64)
    late[7, 1] += 1  # vector 22
    assert compare(case, {"layer/a/tile1/D": late}).group.name == "20"
    # and without vectors to plant faults on, mix-ups are still found
    answers = {name: case.arrays[name] for name in ("layer/a/tile1/A", "layer/a/tile1/D")}
    bare = Case(kind="layer", arrays=answers, values={name: case.values[name] for name in answers})
    assert [name for name, _ in compare(bare, {"layer/a/tile1/D": -wrong * 0}).diagnosis.faults] == ["all-zero"]
    write_case(tmp_path / "case", bare)
    assert json.loads(Path(tmp_path / "case/case.json").read_text())["readout"] == {}
