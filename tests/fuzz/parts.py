"""Rows of a run that was interrupted: changed, and half of them sealed again as pcmref would."""

import contextlib
import functools
import json
import tempfile
from pathlib import Path

import pcmref
from pcmref.files.json_text import json_digest
from pcmref.studies.document import rows_left, write_document
from pcmref.studies.retention import Retention, Row
from tests.fuzz.mutations import changed_bytes, changed_json
from tests.helpers.nets import tiny


@functools.cache
def study():
    network = tiny()
    object.__setattr__(network, "sha256", "0" * 64)  # as if it had been read from a file
    return pcmref.Study(network=network, samples=network.evaluation, compensations=("gdc",), times_s=(25.0, 60.0))


@functools.cache
def corpus():
    images = len(study().samples)
    rows = tuple(Row(t_s=t_s, compensation="gdc", seed=0, images=images, correct=1) for t_s in study().times_s)
    with tempfile.TemporaryDirectory() as folder:
        result = Retention(study=study(), rows=rows, digital_correct=5, readout=study().readout)
        write_document(Path(folder) / "part", result)
        return (Path(folder) / "part").read_text()


def good():
    return {"part": corpus().encode()}


def changed(rng):
    if rng.random() < 0.3:
        return {"part": changed_bytes(rng, corpus().encode())}
    document = json.loads(corpus())
    if rng.random() < 0.6:
        document["rows"] = changed_json(rng, document["rows"])
    else:
        document = changed_json(rng, document)
    if rng.random() < 0.7 and isinstance(document, dict):
        with contextlib.suppress(ValueError):  # of a number that JSON does not have
            document["digest"] = json_digest(document)
    return {"part": json.dumps(document).encode(errors="replace")}


def read(folder):
    rows_left(folder / "part", study())
