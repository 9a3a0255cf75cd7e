"""The C library: its answers are those of pcmref, whatever a tile's converters; what is wrong is refused by name."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcmref
from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.crossbar.converters import Accumulator, Adc, FixedPoint
from pcmref.errors import OutputError
from pcmref.files.networks import bundled
from pcmref.golden.folders import read_case, write_case
from pcmref.golden.header import tiles_of
from pcmref.golden.library import write_library
from pcmref.golden.tiles import tile_case
from tests.crossbar.hardware import accumulators, adcs, dacs
from tests.golden.setups import COLUMNS, READOUTS, ROWS, readout

SUITE = bundled().parent / "conformance"
CASES = sorted(path.parent.name for path in SUITE.glob("*/case.json") if not path.parent.name.startswith(("el", "dev")))
PROGRAMS = Path(__file__).parent / "programs"
STRICT = "-std=c99 -Wall -Wextra -Wconversion -pedantic -Werror"
SANITIZED = f"{STRICT} -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
BAD_HANDLE, BAD_ARGUMENT, BAD_FILE, REFUSED = -1, -2, -3, -5

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("cc") is None, reason="no C compiler (examples/rtl/install-simulators)"
)


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)


def made(folder, *targets, flags=STRICT + " -O3"):
    """Write the library into a folder, and make it."""
    write_library(folder)
    done = run("make", "-C", folder, f"CFLAGS={flags}", *targets)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made(tmp_path_factory.mktemp("library") / "dpi")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    return made(tmp_path_factory.mktemp("sanitized") / "dpi", "libpcmref.a", "pcmref_check", flags=SANITIZED)


class Library:
    """The shared library, with arrays of NumPy."""

    def __init__(self, path):
        self.c = ctypes.CDLL(str(path))
        self.c.pcmref_error.restype = ctypes.c_char_p
        for name in ("size", "replay"):
            getattr(self.c, f"pcmref_{name}").restype = ctypes.c_longlong

    @property
    def error(self):
        return self.c.pcmref_error().decode()

    def open(self, path, tile=""):
        return self.c.pcmref_open(str(path).encode(), tile.encode())

    def opened(self, path, tile=""):
        handle = self.open(path, tile)
        assert handle > 0, self.error
        return handle

    def load(self, handle, g):
        return self.c.pcmref_load(handle, *flat(g, np.int16))

    def product(self, handle, codes, noise, vectors, columns):
        d = np.zeros((vectors, columns), np.int64)
        noises = (None, ctypes.c_longlong(0)) if noise is None else flat(noise, np.int64)
        return self.c.pcmref_product(handle, *flat(codes, np.int16), *noises, *flat(d, np.int64)), d

    def replay(self, path, tile=""):
        handle = self.opened(path, tile)
        differ = self.c.pcmref_replay(handle)
        assert self.c.pcmref_close(handle) == 0
        return differ


def flat(values, kind):
    array = np.ascontiguousarray(values, kind)
    return array.ctypes.data_as(ctypes.c_void_p), ctypes.c_longlong(array.size)  # the pointer keeps the array


@pytest.fixture(scope="module")
def library(folder):
    return Library(folder / "libpcmref.so")


@pytest.fixture
def plain(library, tmp_path):
    """A tile of 16 x 6, and its case."""
    case = tile_case(readout(), size=(ROWS, COLUMNS), random=5)
    write_case(tmp_path / "case", case)
    handle = library.opened(tmp_path / "case")
    yield handle, case, tmp_path / "case"
    library.c.pcmref_close(handle)


# laws


@pytest.mark.parametrize("name", CASES)
def test_every_tile_of_the_conformance_suite_is_answered_as_expected(name, library):
    tiles = tiles_of(read_case(SUITE / name))
    assert tiles
    for tile in tiles:
        assert library.replay(SUITE / name, tile) == 0, library.error


@st.composite
def cases(draw):
    rows, columns = draw(st.integers(1, 70)), draw(st.sampled_from([1, 2, 5]))
    dac = draw(dacs(16, serial=5))
    size = rows * 20_000 * dac.largest
    return tile_case(
        pcmref.Readout(
            name="test",
            dac=dac,
            adc=draw(st.none() | adcs(size, columns)),
            lines=draw(st.sampled_from(["pair", "separate"])),
            accumulator=draw(accumulators(size)),
            read_noise=draw(st.sampled_from(["frozen", "fresh"])),
        ),
        size=(rows, columns),
        random=draw(st.integers(1, 6)),
        seed=draw(st.integers(0, 100)),
        groups={"random", "corners", "widest"},
    )


@settings(max_examples=max(20, settings.default.max_examples // 2))
@given(case=cases())
def test_whatever_the_converters_answers_are_those_of_the_kernels(case, library, tmp_path_factory):
    path = tmp_path_factory.mktemp("case") / "case"
    write_case(path, case)
    assert library.replay(path) == 0, library.error


@pytest.mark.parametrize("name", READOUTS)
def test_each_stage_is_that_of_the_case(name, library, tmp_path):
    case = tile_case(READOUTS[name], size=(ROWS, COLUMNS), random=30, groups={"random"}, matrices=["weights"])
    write_case(tmp_path / "case", case)
    handle = library.opened(tmp_path / "case")
    values = {key.partition("/")[2]: value for key, value in case.values.items()}
    shape = values["A"].reshape(-1, len(values["code"]), COLUMNS).shape
    a, d = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    noise = (None, ctypes.c_longlong(0)) if "noise" not in values else flat(values["noise"], np.int64)
    arguments = (*flat(values["code"], np.int16), *noise, *flat(a, np.int64), *flat(d, np.int64))
    assert library.c.pcmref_trace(handle, *arguments) == 0, library.error
    assert np.array_equal(a, values["A"].reshape(shape))
    assert np.array_equal(d, values["D"].reshape(shape))
    status, found = library.product(handle, values["code"], values.get("noise"), *shape[1:])
    assert status == 0
    assert np.array_equal(found, values["output-code" if "output-code" in values else "D"])


@pytest.mark.parametrize("name", ["pair", "offset", "lines", "bit-serial", "no ADC"])
def test_a_matrix_of_the_users_own_is_that_of_a_tile(name, library, tmp_path):
    rng, chosen = np.random.default_rng(3), READOUTS[name]
    shape = (2, ROWS, COLUMNS) if chosen.lines == "separate" else (ROWS, COLUMNS)
    g = rng.integers(0 if chosen.lines == "separate" else -32767, 32768, shape)
    codes = rng.integers(chosen.dac.low, chosen.dac.high + 1, (50, ROWS))
    write_case(tmp_path / "case", tile_case(chosen, size=(ROWS, COLUMNS), random=1))
    handle = library.opened(tmp_path / "case")
    assert library.load(handle, g) == 0
    status, found = library.product(handle, codes, None, 50, COLUMNS)
    assert status == 0
    assert np.array_equal(found, pcmref.tile(g, chosen)(codes).codes)
    kept = np.zeros(shape, np.int64)
    assert library.c.pcmref_array(handle, b"g", ctypes.c_longlong(0), *flat(kept, np.int64)) == 0
    assert np.array_equal(kept, g)


#: Gains that tie often; offsets with which products reach beyond 64 bits.
STEPS = [
    *((FixedPoint(3 << max(0, shift - 2), shift), 0) for shift in (0, 1, 2, 28)),
    *((gain, 0) for gain in (0.5, 0.75, 3.0, 2.0**-40)),
    *((FixedPoint(2**31 - 1, 28), offset) for offset in (2**52 - 1, 1 - 2**52)),
    *((2.0**99, offset) for offset in (2**52 - 1, 1 - 2**52)),
]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("gain", "offset"), STEPS)
def test_every_sum_around_zero_is_rounded_as_by_a_tile(gain, offset, rounding, library, tmp_path):
    """One cell and one row: sums from -127 to 127."""
    chosen = readout(adc=Adc(bits=16, gain=gain, rounding=rounding, offset=offset))
    write_case(tmp_path / "case", tile_case(chosen, size=(1, 1), random=1, groups={"random"}))
    handle = library.opened(tmp_path / "case")
    assert library.load(handle, [[1]]) == 0
    codes = np.arange(-127, 128)[:, None]
    _, found = library.product(handle, codes, None, len(codes), 1)
    assert np.array_equal(found, pcmref.tile([[1]], chosen)(codes).codes)
    assert library.c.pcmref_close(handle) == 0


def test_a_batch_is_its_vectors_one_by_one_and_two_tiles_do_not_know_of_each_other(library, plain):
    handle, case, path = plain
    codes = case.values["tile0/code"]
    other = library.opened(path)
    assert other != handle
    assert library.c.pcmref_select(other, 1) == 0
    _, batch = library.product(handle, codes, None, len(codes), COLUMNS)
    single = [library.product(handle, vector, None, 1, COLUMNS)[1][0] for vector in codes]
    assert np.array_equal(batch, single)
    _, elsewhere = library.product(other, codes, None, len(codes), COLUMNS)
    assert not np.array_equal(batch, elsewhere)
    assert library.c.pcmref_close(other) == 0
    assert np.array_equal(library.product(handle, codes, None, len(codes), COLUMNS)[1], batch)


def test_sizes_and_matrices_are_those_of_the_case(library, tmp_path):
    write_case(tmp_path / "case", tile_case(READOUTS["lines, two-phase, fresh"], size=(ROWS, COLUMNS), random=3))
    case, handle = read_case(tmp_path / "case"), library.opened(tmp_path / "case")
    matrices = [name for name in case.arrays if "/g-" in name]
    found = [library.c.pcmref_size(handle, what) for what in range(9)]
    assert found == [ROWS, COLUMNS, 2, 4, 1, 31, 31, len(matrices), len(case.values["tile0/code"])]
    for group in case.groups:
        for vector in (group.first, group.last - 1):
            number = library.c.pcmref_matrix_of(handle, ctypes.c_longlong(vector))
            assert matrices[number] == f"tile0/g-{group.conductance}"


def test_arrays_of_the_case_can_be_read_in_parts(library, plain):
    handle, case, _ = plain
    for name in ("code", "multiplier", "shift", "D", "A", "g-weights", "g-full"):
        wanted = case.values[f"tile0/{name}"].reshape(-1)
        found = np.zeros(wanted.size - 2, np.int64)
        status = library.c.pcmref_array(handle, name.encode(), ctypes.c_longlong(2), *flat(found, np.int64))
        assert status == 0, library.error
        assert np.array_equal(found, wanted[2:])
    last = ctypes.c_longlong()
    arguments = (b"answer", ctypes.c_longlong(case.values["tile0/D"].size - 1), ctypes.byref(last))
    assert library.c.pcmref_element(handle, *arguments) == 0
    assert last.value == case.values["tile0/D"][-1, -1]


def test_an_expected_answer_that_is_another_is_found(library, tmp_path):
    case = tile_case(readout(), size=(ROWS, COLUMNS), random=5)
    wrong = case.values["tile0/D"].copy()
    wrong[7, 2] ^= 1
    entry = replace(case.arrays["tile0/D"], sha256=hashlib.sha256(wrong.tobytes()).hexdigest())
    values = {**case.values, "tile0/D": wrong}
    write_case(tmp_path / "case", replace(case, arrays={**case.arrays, "tile0/D": entry}, values=values))
    handle = library.opened(tmp_path / "case")
    assert library.c.pcmref_replay(handle) == 1
    assert library.error == f"vector 7, column 2: expected {wrong[7, 2]}, found {case.values['tile0/D'][7, 2]}"


# what is wrong


@pytest.mark.parametrize("handle", [0, -1, 5, 2**31 - 1, -(2**31)])
def test_a_handle_that_nobody_opened_is_refused(handle, library):
    assert library.c.pcmref_close(handle) == BAD_HANDLE
    assert library.error == f"handle: expected that of an open tile, found {handle}"
    assert library.c.pcmref_size(handle, 0) == BAD_HANDLE
    assert library.c.pcmref_replay(handle) == BAD_HANDLE
    assert library.product(handle, [1], None, 1, 1)[0] == BAD_HANDLE


def test_a_closed_handle_is_not_taken_for_the_next_one(library, plain):
    _, _, path = plain
    closed = library.opened(path)
    assert library.c.pcmref_close(closed) == 0
    following = library.opened(path)
    assert library.c.pcmref_close(closed) == BAD_HANDLE
    assert library.c.pcmref_close(following) == 0


def test_many_tiles_can_be_open_and_one_too_many_is_refused(library):
    handles = [library.open(SUITE / "tile-floor") for _ in range(1025)]
    reason = library.error
    opened = [handle for handle in handles if handle > 0]
    assert len(set(opened)) == len(opened)
    assert [library.c.pcmref_close(handle) for handle in opened] == [0] * len(opened)
    assert handles[-1] < 0
    assert reason == "tiles: expected at most 1024 open, found more"


def test_other_numbers_of_elements_codes_beyond_the_dac_and_no_arrays_are_refused(library, plain):
    handle, _, _ = plain
    good, d = np.zeros(ROWS, np.int16), np.zeros(COLUMNS, np.int64)
    none, zero, codes, answers = None, ctypes.c_longlong(0), flat(good, np.int16), flat(d, np.int64)
    high = np.full(ROWS, 128, np.int16)
    for arguments, reason in (
        ((none, codes[1], none, zero, *answers), "code: expected an array, found NULL"),
        ((*codes, none, zero, none, answers[1]), "d: expected an array, found NULL"),
        ((codes[0], ctypes.c_longlong(ROWS + 1), none, zero, *answers), "code: expected 16 elements, found 17"),
        ((codes[0], zero, none, zero, *answers), "code: expected 16 elements, found 0"),
        ((codes[0], ctypes.c_longlong(-(2**62)), none, zero, *answers), "code: expected 16 elements, found -46"),
        ((*codes, none, zero, answers[0], ctypes.c_longlong(COLUMNS - 1)), "d: expected 6 elements, found 5"),
        ((*codes, *answers, *answers), "noise: expected 0 elements, found 6"),
        ((*flat(high, np.int16), none, zero, *answers), "code: expected -127 to 127, found 0 to 128"),
    ):
        assert library.c.pcmref_product(handle, *arguments) == BAD_ARGUMENT
        assert library.error.startswith(reason)


def test_unsigned_codes_have_no_negative_ones(library):
    handle = library.opened(SUITE / "tile-unsigned-codes")
    status, _ = library.product(handle, np.full(12, -1), None, 1, 4)
    assert status == BAD_ARGUMENT
    assert library.error == "code: expected 0 to 127, found -1 to 0"
    assert library.c.pcmref_close(handle) == 0


def test_other_matrices_vectors_and_arrays_are_refused(library, plain):
    handle, case, _ = plain
    n, c, far = ctypes.byref(ctypes.c_longlong()), library.c, ctypes.c_longlong(2**62)
    size = case.values["tile0/code"].size
    one, end = ctypes.c_longlong(1), ctypes.c_longlong(size)
    for call, reason in (
        (lambda: c.pcmref_select(handle, 3), "matrix: expected a number from 0 to 2, found 3"),
        (lambda: c.pcmref_matrix_of(handle, ctypes.c_longlong(-1)), "vector: expected a number from 0 to "),
        (lambda: library.load(handle, np.zeros(5)), "g: expected 96 elements, found 5"),
        (lambda: library.load(handle, np.full(96, -32768)), "g: expected -32767 to 32767, found -32768 to 0"),
        (lambda: c.pcmref_size(handle, 9), "what: expected a number from 0 to 8, found 9"),
        (
            lambda: c.pcmref_element(handle, b"none", one, n),
            "name: expected an array of integers of the tile, found none",
        ),
        (lambda: c.pcmref_element(handle, None, one, n), "name: expected an array, found NULL"),
        (lambda: c.pcmref_element(handle, b"code", one, None), "n: expected an array, found NULL"),
        (lambda: c.pcmref_element(handle, b"code", end, n), f"code: expected some of {size} elements, found 1 from"),
        (lambda: c.pcmref_array(handle, b"g", far, n, far), "g: expected some of 96 elements"),
    ):
        assert call() == BAD_ARGUMENT
        assert library.error.startswith(reason)


def test_sums_that_a_register_refuses_are_refused_with_the_vector(library, tmp_path):
    chosen = readout(accumulator=Accumulator(bits=24))
    write_case(tmp_path / "case", tile_case(chosen, size=(ROWS, COLUMNS), random=3))
    handle = library.opened(tmp_path / "case")
    assert library.load(handle, np.full((ROWS, COLUMNS), 32767)) == 0
    codes = np.zeros((3, ROWS))
    codes[1] = 127
    status, _ = library.product(handle, codes, None, 3, COLUMNS)
    assert status == REFUSED
    assert library.error == "accumulator: expected sums of 24 bits, found an overflow in vector 1"


@pytest.mark.parametrize("name", ["code", "D", "A", "multiplier", "g-full"])
def test_an_array_that_was_changed_is_refused(name, library, plain):
    *_, path = plain
    section = read_case(path).arrays[f"tile0/{name}"].section
    array = path / section / "tile0" / f"{name}.npy"
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    assert library.open(path) == BAD_FILE
    assert f"{name}.npy: expected elements with the SHA-256" in library.error
    array.write_bytes(content[:-1])
    assert library.open(path) == BAD_FILE
    array.unlink()
    assert library.open(path) == BAD_FILE
    assert library.error.endswith("found No such file or directory")


def test_every_number_of_a_document_is_under_its_digest(library, plain):
    *_, path = plain
    document = path / "case.json"
    text = document.read_text()
    for old, new in (
        ('"shift": 16', '"shift": 17'),
        ('"rounding": "half-even"', '"rounding": "half-up"'),
        ('"seed": 0', '"seed": 1'),
    ):
        assert old in text
        document.write_text(text.replace(old, new))
        assert library.open(path) == BAD_FILE
        assert library.error == f"{document}: expected the digest of what it says, found another: the file was changed"
    document.write_text(text.replace('"spec": 3', '"spec": 2'))
    assert library.open(path) == BAD_FILE
    assert library.error.endswith("expected a case of SPEC.md, version 3, found another version")
    document.write_text(" ".join(text.split("\n")) + "\n")  # the same document, otherwise set
    assert library.opened(path)


def test_what_is_no_case_is_refused(library, tmp_path):
    assert library.open(tmp_path / "nothing") == BAD_FILE
    assert library.c.pcmref_open(None, None) == BAD_ARGUMENT
    assert library.open(SUITE / "tile-floor", "tile1") == BAD_ARGUMENT
    assert library.open(SUITE / "elementary") < 0
    (tmp_path / "case").mkdir()
    for text in ("", "{", "[" * 100_000, '{"schema": "pcmref-case"}', "\0", '{"a": 1} x', "nul", '"\\', "1e", "-"):
        (tmp_path / "case" / "case.json").write_text(text)
        assert library.open(tmp_path / "case") == BAD_FILE
        assert library.error


# with Python


def test_chips_of_networks_are_those_of_python(tmp_path):
    """From C: programmed, a year of drift, logits, a golden case that the C library then opens; and misuse."""
    folder = tmp_path / "dpi"
    write_library(folder)
    done = run("make", "-C", folder, f"CFLAGS={SANITIZED}", "python", "pcmref_check", f"PYTHON={sys.executable}")
    if done.returncode != 0 and "-lpython" in done.stderr:
        pytest.skip("this Python has no shared library to embed")
    assert done.returncode == 0, done.stderr
    program = tmp_path / "chips"
    linked = [f"-L{folder}", f"-Wl,-rpath,{folder}", "-lpcmref_python"]
    assert run("cc", *SANITIZED.split(), f"-I{folder}", "-o", program, PROGRAMS / "chips.c", *linked).stderr == ""
    net = pcmref.load(pcmref.bundled())
    images = net.evaluation.images[:3]
    (tmp_path / "pixels").write_bytes(images.tobytes())
    # what the interpreter does not free is its own
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    done = run(program, tmp_path / "pixels", tmp_path / "case", tmp_path / "logits", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    chip = pcmref.program(net, seed=7)
    snapshot = chip.at(t_s=31_536_000.0)
    ranged = pcmref.calibrate_ranges(net, net.calibration.images[:200], pcmref.PRESETS["chip8"])
    fix = pcmref.calibrate(snapshot, "gdc", reference=chip.reference(), readout=ranged)
    wanted = pcmref.prepare(snapshot, corrections=fix, readout=ranged)(images, addresses=range(5, 8))
    assert np.fromfile(tmp_path / "logits", np.float32).tobytes() == wanted.tobytes()
    assert read_case(tmp_path / "case").kind == "layer"
    checked = run("make", "-C", folder, "check", f"CASE={tmp_path / 'case'} conv1/tile0")
    assert "are equal" in checked.stdout


# tools


def test_sanitizers_find_nothing_in_the_conformance_suite(sanitized):
    for name in CASES:
        done = run(sanitized / "pcmref_check", SUITE / name, tiles_of(read_case(SUITE / name))[-1])
        assert (done.returncode, done.stderr) == (0, "")


def test_sanitizers_find_nothing_in_damaged_documents(sanitized, tmp_path):
    """Bytes of case.json replaced, cut out or doubled: refused, never believed, never a crash."""
    shutil.copytree(SUITE / "tile-floor", tmp_path / "case")
    document = tmp_path / "case" / "case.json"
    text, rng = document.read_bytes(), np.random.default_rng(5)
    for _ in range(40):
        place, size = int(rng.integers(len(text))), int(rng.integers(1, 40))
        part = rng.choice([b"", text[place : place + size] * 2, rng.bytes(size), b'{"a":[', b"99999999999999999999"])
        document.write_bytes(text[:place] + bytes(part) + text[place + size :])
        done = run(sanitized / "pcmref_check", tmp_path / "case")
        assert done.returncode in (0, 2), done.stderr
        assert "Sanitizer" not in done.stderr
        assert "runtime error" not in done.stderr


def test_sanitizers_and_valgrind_find_nothing_in_misuse(folder, sanitized, tmp_path):
    write_case(tmp_path / "case", tile_case(READOUTS["offset"], size=(ROWS, COLUMNS), random=3))
    for library, flags in ((sanitized, SANITIZED), (folder, STRICT)):
        program = tmp_path / f"misuse-{library.parent.name}"
        source = PROGRAMS / "misuse.c"
        done = run("cc", *flags.split(), f"-I{library}", "-o", program, source, library / "libpcmref.a")
        assert done.returncode == 0, done.stderr
        done = run(program, tmp_path / "case")
        assert (done.returncode, done.stderr) == (0, "")
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed (examples/rtl/install-simulators)")
    done = run("valgrind", "-q", "--error-exitcode=9", "--leak-check=full", program, tmp_path / "case")
    assert (done.returncode, done.stderr) == (0, "")


def test_it_compiles_as_c_plus_plus_too(tmp_path):
    """As Verilator does."""
    write_library(tmp_path / "dpi")
    sources = sorted(path for path in (tmp_path / "dpi").glob("pcmref*.c") if path.stem != "pcmref_python")
    command = ["c++", "-x", "c++", "-Wall", "-Wextra", "-Werror", "-O3", *sources, "-o", tmp_path / "check"]
    assert run(*command).stderr == ""
    done = run(tmp_path / "check", SUITE / "tile-half-even")
    assert done.stdout == "all answers of 1026 vectors are equal\n"


def test_the_shared_library_shows_its_interface_alone(folder):
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    shown = {
        line.split()[-1] for line in run("nm", "-D", "--defined-only", folder / "libpcmref.so").stdout.splitlines()
    }
    header = (folder / "pcmref.h").read_text()
    assert len(shown) == header.count("PCMREF_API ") - header.count("#define PCMREF_API ")
    assert all(f" {name}(" in header or f"*{name}(" in header for name in shown)


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "dpi").mkdir()
    names = write_library(tmp_path / "dpi")
    assert {"pcmref.c", "pcmref.h", "pcmref.svh", "Makefile", "pcmref_check.c"} <= set(names)
    assert sorted(path.name for path in (tmp_path / "dpi").iterdir()) == sorted(names)
    with pytest.raises(OutputError, match="expected nothing, or an empty folder, found something"):
        write_library(tmp_path / "dpi")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError):
        write_library(tmp_path / "file")
    with pytest.raises(OutputError, match="No such file"):
        write_library(tmp_path / "no" / "dpi")
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dpi", "file"]
