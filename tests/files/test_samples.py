"""Images and labels of one's own in an HDF5 file."""

import h5py
import numpy as np
import pytest

from pcmref.errors import FileError
from pcmref.files.hdf5 import opened
from pcmref.files.samples import load_samples

IMAGES = np.random.default_rng(1).integers(0, 256, (7, 4, 5, 3), np.uint8)
LABELS = np.arange(7)


def put(file, group="", images=IMAGES, labels=LABELS):
    file[f"{group}images"], file[f"{group}labels"] = images, labels


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, ">i4", np.uint64])
@pytest.mark.parametrize("calibrates", [False, True])
def test_what_is_written_is_read(tmp_path, kind, calibrates):
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        put(file, labels=LABELS.astype(kind))
        if calibrates:
            put(file, "calibration/", IMAGES[:3], LABELS[:3][::-1])
    samples, calibration = load_samples(str(path))
    assert np.array_equal(samples.images, IMAGES)
    assert np.array_equal(samples.labels, LABELS)
    assert samples.labels.dtype == np.int64
    assert samples.where == f"{path}: images"
    assert (calibration is not None) == calibrates
    if calibration is not None:
        assert np.array_equal(calibration.images, IMAGES[:3])
        assert calibration.labels.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("write", "place"),
    [
        (lambda file: file.create_dataset("images", data=IMAGES), "labels"),
        (lambda file: put(file, images=IMAGES.astype(np.float32)), "images"),
        (lambda file: put(file, images=IMAGES[0]), "images"),
        (lambda file: put(file, labels=LABELS[:5]), "labels"),
        (lambda file: put(file, labels=LABELS / 1.0), "labels"),
        (lambda file: put(file, labels=LABELS[:, None]), "labels"),
        (lambda file: put(file, labels=LABELS.astype(np.uint64) + np.uint64(1 << 63)), "labels"),
        (lambda file: put(file, labels=-LABELS), "images/labels"),
        (lambda file: (put(file), put(file, "other/")), "other"),
        (lambda file: (put(file), file.create_group("calibration")), "calibration/images"),
        (
            lambda file: file.create_dataset("images", (1 << 20, 1 << 10, 1 << 10, 3), np.uint8, chunks=(1, 64, 64, 3)),
            "labels",
        ),
    ],
)
def test_what_is_refused_by_its_place(tmp_path, write, place):
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        write(file)
    with pytest.raises(FileError) as caught:
        load_samples(path)
    assert caught.value.where.startswith(f"{path}: ")
    assert place.split("/")[-1] in str(caught.value)


def test_claims_that_are_not_stored_are_refused(tmp_path):
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (1 << 20, 1 << 10, 1 << 10, 3), np.uint8, chunks=(1, 64, 64, 3))
        file["labels"] = LABELS
    with pytest.raises(FileError, match="at most"):
        load_samples(path)
    for other in (tmp_path, tmp_path / "nothing.h5"):
        with pytest.raises(FileError, match="expected an HDF5 file"):
            load_samples(other)


@pytest.mark.parametrize("chunks", [None, (1, 4, 5, 3), (3, 2, 5, 3), (7, 4, 5, 3)])
@pytest.mark.parametrize("most", [0, 1, 3, 6, 7, 8])
@pytest.mark.parametrize("block", [1, 130, 1 << 20])
def test_no_more_than_asked_is_held_and_all_is_checked(tmp_path, monkeypatch, chunks, most, block):
    monkeypatch.setattr("pcmref.files.datasets.BLOCK", block)
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=IMAGES, chunks=chunks, compression=None if chunks is None else "gzip")
        file["labels"] = LABELS
    with opened(path) as contents:
        for name in ("images", "labels"):
            contents.read(name)
        digest = contents.digest
    with h5py.File(path, "r+") as file:
        file.attrs["digest"] = np.bytes_(digest)
    samples, _ = load_samples(path, images=most)
    assert samples.images.tobytes() == IMAGES[:most].tobytes()
    assert samples.images.base is None or samples.images.base.nbytes <= most * IMAGES[0].nbytes
    assert samples.labels.tolist() == LABELS[:most].tolist()
    with h5py.File(path, "r+") as file:
        file["images"][6, 3, 4, 2] ^= 1  # the last pixel of all
    with pytest.raises(FileError, match="the file was changed"):
        load_samples(path, images=most)
