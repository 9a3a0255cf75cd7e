"""Hostile documents (rows of a run, golden cases, words): kinds, each held to the promise of helpers/promise.py."""

import json
import os
import struct

import pytest

import pcmref
from pcmref.golden.tiles import tile_case
from pcmref.studies.document import write_document
from pcmref.studies.retention import Retention, Row
from tests.helpers.nets import tiny
from tests.helpers.promise import expect

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the readers are measured in forked processes")


NETWORK = tiny()
object.__setattr__(NETWORK, "sha256", "0" * 64)


# Rows of a run that was interrupted


def part_file(path):
    study = pcmref.Study(network=NETWORK, samples=NETWORK.evaluation, compensations=("gdc",), times_s=(25.0,))
    rows = (Row(t_s=25.0, compensation="gdc", seed=0, images=len(study.samples), correct=1),)
    write_document(path, Retention(study=study, rows=rows, digital_correct=5, readout=study.readout))


PARTS = {
    "as it is": (lambda text: text, ""),
    "a forged number": (lambda text: text.replace('"correct": 1,', '"correct": 5,'), "digest: .*the file was changed"),
    "10 MB of lists": (lambda text: "[" + "[]," * 3_000_000 + "[]]", "the rows of an unfinished run"),
    "10 MB of objects": (lambda text: '{"rows": [' + "{}," * 3_000_000 + "{}]}", "the rows of an unfinished run"),
    "a name a million times": (
        lambda text: "{" + '"rows":0,' * 1_000_000 + '"rows":0}',
        "the rows of an unfinished run",
    ),
    "a row 20,000 times": (
        lambda text: json.dumps({**json.loads(text), "rows": json.loads(text)["rows"] * 20_000}),
        "digest: .*the file was changed",
    ),
    "lists 100,000 deep": (lambda text: "[" * 100_000, "the rows of an unfinished run"),
    "a value 900 deep": (
        lambda text: text.replace('"scale": "layer"', f'"scale": {"[" * 900 + "]" * 900}'),
        "scale: expected what this run has",
    ),
    "a number of a million digits": (
        lambda text: text.replace('"correct": 1,', f'"correct": {"9" * 1_000_000},'),
        "the rows of",
    ),
    "a name of a megabyte": (lambda text: text.replace('"scale"', '"' + "s" * 1_000_000 + '"'), "scale: expected"),
    "70 MB": (lambda text: text + " " * (70 << 20), "expected at most 67108864 bytes"),
}


@pytest.mark.parametrize("kind", PARTS)
def test_rows_of_a_run(worker, tmp_path, kind):
    change, message = PARTS[kind]
    part_file(tmp_path / "part")
    (tmp_path / "part").write_text(change((tmp_path / "part").read_text()))
    expect(worker.read("part", tmp_path / "part"), message)


# Golden cases


def with_digest(document):
    from pcmref.golden.cases import digest_of

    return json.dumps({**document, "digest": digest_of(document)})


def array_of(document, name, **changes):
    entry = next(entry for entry in document["arrays"] if entry["name"] == name)
    entry.update(changes)
    return document


def npy(header):
    raw = header.encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(raw)) + raw


def link_to(name, target):
    def change(folder, said):
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return change


def text(make):
    return lambda folder, said: (folder / "case.json").write_text(make(said))


def pipe(name):
    def change(folder, said):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


CODE = "prompt/tile0/code.npy"
CASES = {
    "as it is": (lambda folder, said: None, ""),
    "a description that never ends": (
        link_to("case.json", "/dev/zero"),
        "case.json: expected the description of a case",
    ),
    "a description that never comes": (pipe("case.json"), "case.json: expected the description of a case"),
    "an array that never ends": (link_to(CODE, "/dev/zero"), "code.npy: expected an array, found no regular file"),
    "an array that never comes": (pipe(CODE), "code.npy: expected an array, found no regular file"),
    "words that never end": (
        link_to("hex/prompt/tile0/code.hex", "/dev/zero"),
        "code.hex: expected the words of the array",
    ),
    "words that never come": (pipe("hex/prompt/tile0/code.hex"), "code.hex: expected the words of the array"),
    "words of 4 GB": (
        lambda folder, said: os.truncate(folder / "hex/prompt/tile0/code.hex", 1 << 32),
        "code.hex: expected at most",
    ),
    "a shape of 2^31 elements": (
        text(lambda said: with_digest(array_of(said, "tile0/code", shape=[1 << 15, 1 << 16]))),
        "code.npy: expected int8 of shape",
    ),
    "a shape of 2^62 elements": (
        text(lambda said: with_digest(array_of(said, "tile0/code", shape=[1 << 31, 1 << 31]))),
        "at most 2147483648 elements",
    ),
    "a header of 2^31 elements": (
        lambda folder, said: (folder / CODE).write_bytes(
            npy("{'descr': '|i1', 'fortran_order': False, 'shape': (2147483648,)}\n")
        ),
        "code.npy: expected int8 of shape",
    ),
    "a header of nothing times 2^63": (
        lambda folder, said: (folder / CODE).write_bytes(
            npy("{'descr': '|i1', 'fortran_order': False, 'shape': (0, 9223372036854775808)}\n")
        ),
        "code.npy: expected",
    ),
    "a header nested 3,000 deep": (
        lambda folder, said: (folder / CODE).write_bytes(npy("(" * 3000 + ")" * 3000)),
        "code.npy: expected",
    ),
    "a header of 60,000 bytes": (
        lambda folder, said: (folder / CODE).write_bytes(npy("{'descr': '|i1'" + " " * 60_000)),
        "code.npy: expected",
    ),
    "a header of 4 GB": (
        lambda folder, said: (folder / CODE).write_bytes(b"\x93NUMPY\x02\0\xff\xff\xff\xff" + b" " * 1_000_000),
        "code.npy: expected",
    ),
    "a header with a backslash": (
        lambda folder, said: (folder / CODE).write_bytes(npy("{'\\d': 0}\n")),
        "code.npy: expected",
    ),
    "3,000,000 lists": (text(lambda said: '{"a":[' + "[]," * 3_000_000 + "[]]}"), "case.json: schema"),
    "3,000,000 objects": (text(lambda said: '{"a":[' + "{}," * 3_000_000 + "{}]}"), "case.json: schema"),
    "20,000 arrays": (
        text(lambda said: with_digest({**said, "arrays": said["arrays"] * 1500})),
        "arrays: expected names that differ",
    ),
    "an array of 300,000 axes": (
        text(lambda said: with_digest(array_of(said, "tile0/code", shape=[1] * 300_000, axes=["a"] * 300_000))),
        "code.npy: expected|at most",
    ),
}


@pytest.fixture(scope="module")
def case():
    readout = pcmref.Readout(name="x", dac=pcmref.Dac(bits=8), adc=pcmref.Adc(bits=8, gain=pcmref.FixedPoint(5, 12)))
    return tile_case(readout, size=(4, 3), random=5)


@pytest.mark.parametrize("kind", CASES)
def test_golden_cases(worker, tmp_path, case, kind):
    from pcmref.golden.folders import write_case

    change, message = CASES[kind]
    write_case(tmp_path / "case", case, hex=True)
    change(tmp_path / "case", json.loads((tmp_path / "case" / "case.json").read_text()))
    expect(worker.read("case", tmp_path / "case"), message)


WORDS = {
    "as they should be": (b"00\n" * 1000, ""),
    "20,000 empty lines": (b"\n" * 20_000 + b"00\n" * 1000, ""),
    "a comment of 20,000 bytes": (b"// " + b"x" * 20_000 + b"\n" + b"00\n" * 1000, ""),
    "10 MB": (b"00\n" * 3_000_000, "expected 1000 words of 2 digits, at most"),
    "one word of 30,000 digits": (b"0" * 30_000 + b"\n", "line 1: expected 2 hexadecimal digits"),
    "an address of 30,000 digits": (b"@" + b"0" * 30_000 + b"\n", "line 1: expected no address"),
    "6,000 more words": (b"00\n" * 7000, "expected 1000 words, found 7000"),
}


@pytest.mark.parametrize("kind", WORDS)
def test_words(worker, tmp_path, kind):
    raw, message = WORDS[kind]
    (tmp_path / "words.hex").write_bytes(raw)
    expect(worker.read("words", tmp_path / "words.hex"), message)
