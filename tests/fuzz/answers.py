"""Answers to a golden case: ``.npy``, ``.npz``, HDF5."""

import functools
import io

import h5py
import numpy as np

from pcmref.golden.answers import read_answers
from pcmref.golden.folders import read_case
from tests.fuzz import cases
from tests.fuzz.hdf5_changes import changed_hdf5
from tests.fuzz.mutations import changed_bytes


@functools.cache
def corpus():
    """The right answers in each form, and their case."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        for name, raw in cases.good().items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
        case = read_case(Path(folder) / "case")
    values = {entry.name: case.values[entry.name] for entry in case.section("expected")}
    files = {}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **values)
    files["got.npz"] = buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, next(iter(values.values())))
    files["got.npy"] = buffer.getvalue()
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in values.items():
            file.create_dataset(name, data=array, chunks=array.shape, compression="gzip")
    files["got.h5"] = buffer.getvalue()
    return case, files


def good():
    return {"got.h5": corpus()[1]["got.h5"]}


def changed(rng):
    _, files = corpus()
    name = rng.choice(sorted(files))
    if name == "got.h5":
        return {name: changed_hdf5(rng, files[name])}
    return {name: changed_bytes(rng, files[name], (files[name],))}


def read(folder):
    """Whatever is there, and is changed."""
    case, _ = corpus()
    (path,) = folder.glob("got.*")
    read_answers(path, case)
