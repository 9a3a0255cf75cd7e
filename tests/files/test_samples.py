"""Images and labels of one's own in an HDF5 file."""

import pickle
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest

import pcmref
from pcmref.errors import FileError, ParameterError
from pcmref.files import samples as samples_module
from pcmref.files.hdf5 import opened
from pcmref.files.samples import load_samples
from pcmref.network.images import Samples, StoredImages

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


# Images that stay in their file


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A file of the digits, and what `load_samples` makes of it when there is no room for images."""
    net = pcmref.load(pcmref.bundled())
    path = tmp_path / "digits.h5"
    with h5py.File(path, "w") as file:
        put(file, images=net.evaluation.images[:70], labels=net.evaluation.labels[:70])
        put(file, "calibration/", net.calibration.images[:200], net.calibration.labels[:200])
    held = load_samples(path)
    monkeypatch.setattr("pcmref.files.samples.HELD_MOST", 0)
    monkeypatch.setattr("pcmref.files.samples.SMALL", 0)
    found = load_samples(path)
    assert all(isinstance(samples.images, np.ndarray) for samples in held)
    assert all(isinstance(samples.images, StoredImages) for samples in found)
    return net, path, held, found


@pytest.mark.parametrize(
    "part",
    [
        slice(None),
        slice(3),
        slice(2, 9),
        slice(-4, None),
        slice(60, 99),
        slice(9, 2),
        slice(None, None, 17),
        slice(None, None, -30),
        slice(99, None, 2),
    ],
    ids=str,
)
def test_a_slice_of_stored_images_is_that_of_an_array(stored, part):
    _, _, (held, _), (found, _) = stored
    assert (found.images.shape, found.images.dtype, found.images.ndim) == (held.images.shape, np.uint8, 4)
    assert found.images[part].dtype == np.uint8
    assert found.images[part].shape == held.images[part].shape
    assert np.array_equal(found.images[part], held.images[part])


def test_stored_images_give_the_bits_of_an_array(stored):
    net, _, held, found = stored
    study = {"network": net, "times_s": (25.0, 86400.0), "compensations": pcmref.COMPENSATIONS, "seeds": (3,)}
    of = [
        pcmref.Study(**study, samples=samples, calibration=calibration, readout=pcmref.PRESETS["chip8"])
        for samples, calibration in (held, found)
    ]
    assert of[0].ranged_readout() == of[1].ranged_readout()
    rows = [pcmref.retention(each).rows for each in of]
    assert rows[0] == rows[1]
    assert len({row.correct for row in rows[0]}) > 1
    snapshot = pcmref.program(net).at(86400.0)
    for option in ({}, {"tap": lambda trace: None}, {"addresses": range(70, 0, -1)}):
        logits = [pcmref.logits(snapshot, samples.images, threads=2, **option) for samples, _ in (held, found)]
        assert logits[0].tobytes() == logits[1].tobytes()
    saturation = [pcmref.prepare(snapshot).saturation(samples.images) for samples, _ in (held, found)]
    assert saturation[0] == saturation[1]


def test_stored_samples_are_the_same_samples(stored):
    _, _, (held, _), (found, _) = stored
    assert found.sha256 == held.sha256
    assert replace(found).labels_sha256 == held.labels_sha256
    assert np.array_equal(np.asarray(found.images), held.images)
    for again in (pickle.loads(pickle.dumps(found)), found.first(70), found.first(7), found.first(0)):
        assert np.array_equal(again.images, held.images[: len(again)])
        assert np.array_equal(again.labels, held.labels[: len(again)])
        assert not isinstance(again.images, np.ndarray) or not again.images.flags.writeable
    assert isinstance(pickle.loads(pickle.dumps(found)).images, np.ndarray)
    assert found.first(70).images is found.images
    with pytest.raises(pcmref.PcmrefError, match="labels: expected 70 int64 labels"):
        Samples(images=found.images, labels=found.labels[:3])


def test_no_more_stored_images_than_asked_for(stored):
    _, path, (held, _), _ = stored
    for count in (1, 69, 70, 71):
        samples, _ = load_samples(path, images=count)
        assert isinstance(samples.images, StoredImages)
        assert np.array_equal(samples.images[:], held.images[:count])
        assert np.array_equal(samples.images[-5:], held.images[:count][-5:])


def test_what_is_held(tmp_path, monkeypatch):
    """What takes no more than 64 MiB together, or less than 1 KiB an image."""
    assert (samples_module.HELD_MOST, samples_module.SMALL) == (64 << 20, 1 << 10)
    image = IMAGES[0].nbytes
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        put(file)
    for most, small, count, stays in (
        (7 * image, 0, None, False),
        (7 * image - 1, 0, None, True),
        (7 * image - 1, image, None, True),
        (7 * image - 1, image + 1, None, False),
        (3 * image, 0, 3, False),
        (3 * image, 0, 4, True),
    ):
        monkeypatch.setattr(samples_module, "HELD_MOST", most)
        monkeypatch.setattr(samples_module, "SMALL", small)
        samples, _ = load_samples(path, images=count)
        assert isinstance(samples.images, StoredImages) == stays
        assert np.array_equal(samples.images, IMAGES[:count])


@pytest.mark.parametrize(
    "part", [0, -1, np.int64(2), [1, 2], (slice(2), slice(3)), ..., None, np.array([True])], ids=str
)
def test_nothing_but_slices_of_stored_images(stored, part):
    _, _, _, (samples, _) = stored
    with pytest.raises(ParameterError, match="images: expected a slice of them"):
        samples.images[part]
    with pytest.raises(ParameterError, match="images: expected a slice of them"):
        list(samples.images)


@pytest.mark.parametrize("shape", [(7, 4, 5), [7, 4, 5, 3], (7, 4, 5, -1), (7, 4, 5, 3.0), None], ids=str)
def test_stored_images_of_no_shape_are_refused(shape):
    with pytest.raises(ParameterError, match=r"shape: expected \(n, height, width, channels\)"):
        StoredImages(shape=shape, read=lambda start, stop: IMAGES[start:stop])
    with pytest.raises(ParameterError, match="read: expected"):
        StoredImages(shape=IMAGES.shape, read=None)


def test_stored_images_are_what_is_read():
    images = StoredImages(shape=IMAGES.shape, read=lambda start, stop: IMAGES[start:stop])
    assert np.array_equal(np.asarray(images), IMAGES)
    assert np.array(images, np.int16).dtype == np.int16
    with pytest.raises(ValueError, match="makes a copy"):
        images.__array__(copy=False)


def test_images_in_chunks_are_held(tmp_path, monkeypatch):
    monkeypatch.setattr("pcmref.files.samples.HELD_MOST", 0)
    monkeypatch.setattr("pcmref.files.samples.SMALL", 0)
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file.create_dataset("images", data=IMAGES, chunks=(1, 4, 5, 3), compression="gzip")
        file["labels"] = LABELS
    samples, _ = load_samples(tmp_path / "mine.h5")
    assert samples.images.tobytes() == IMAGES.tobytes()
    assert isinstance(samples.images, np.ndarray)


def test_images_are_found_from_another_folder(stored, tmp_path, monkeypatch):
    _, path, (held, _), _ = stored
    monkeypatch.chdir(tmp_path)
    samples, _ = load_samples(path.name)
    monkeypatch.chdir("/")
    assert np.array_equal(samples.images[5:9], held.images[5:9])


def change(path):
    with h5py.File(path, "r+") as file:
        file["images"][61, 3, 3, 0] ^= 1


def cut(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def other(path):
    with h5py.File(path, "w") as file:
        put(file)


def packed(path):
    """The same images, in a chunk that may inflate to anything."""
    with h5py.File(path, "r+") as file:
        images = file["images"][:]
        del file["images"]
        file.create_dataset("images", data=images, chunks=images.shape, compression="gzip")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change, r"images\[61\]: expected the image that was there when the file was opened, found another"),
        (cut, "expected an intact HDF5 file"),
        (other, r"images: expected uint8 of shape \(70, 8, 8, 1\), found uint8 of shape \(7, 4, 5, 3\)"),
        (lambda path: path.unlink(), "expected an HDF5 file, found nothing"),
        (packed, "images that lie one after the other, as before, found chunks"),
    ],
    ids=["changed", "cut", "other", "gone", "packed"],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_that_changes_meanwhile_gives_no_numbers(stored, spoil, message, threads):
    net, path, _, (samples, _) = stored
    shutil.copy(path, path.with_suffix(".copy"))
    spoil(path)
    with pytest.raises(FileError, match=message):
        pcmref.digital(net, samples.images, threads=threads)
    shutil.move(path.with_suffix(".copy"), path)
    assert len(pcmref.digital(net, samples.images, threads=threads)) == 70
