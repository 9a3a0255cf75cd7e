"""Folders of golden cases: one of their files is changed, and half of the documents are sealed again."""

import contextlib
import functools
import json
import tempfile
from pathlib import Path

import numpy as np

import pcmref
from pcmref.golden.cases import digest_of
from pcmref.golden.folders import read_case, write_case
from pcmref.golden.tiles import tile_case
from tests.fuzz.mutations import changed_bytes, changed_json


@functools.cache
def corpus():
    readout = pcmref.Readout(name="x", dac=pcmref.Dac(bits=4), adc=pcmref.Adc(bits=4, gain=pcmref.FixedPoint(5, 12)))
    case = tile_case(readout, conductance=np.array([[5, -4], [-2, 4]]), random=2, groups=["random"])
    with tempfile.TemporaryDirectory() as folder:
        write_case(Path(folder) / "case", case, hex=True)
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*.*")}
    return files


def good():
    return dict(corpus())


def changed(rng):
    files = dict(corpus())
    if rng.random() < 0.5:
        name = rng.choice(sorted(files))
        files[name] = changed_bytes(rng, files[name])
        return files
    document = json.loads(files["case/case.json"])
    if rng.random() < 0.7:
        name = rng.choice(("arrays", "groups", "faults", "readout", "contract"))
        document[name] = changed_json(rng, document[name])
    else:
        document = changed_json(rng, document)
    if rng.random() < 0.8 and isinstance(document, dict):
        with contextlib.suppress(ValueError):  # of a number that JSON does not have
            document["digest"] = digest_of(document)
    files["case/case.json"] = json.dumps(document).encode(errors="replace")
    return files


def read(folder):
    read_case(folder / "case")
