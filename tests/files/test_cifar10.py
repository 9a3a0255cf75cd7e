import gzip
import hashlib
import io
import os
import pickle
import re
import struct
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pcmref.errors import DataError, ParameterError
from pcmref.files import archives, cifar10
from pcmref.files.cifar10 import CLASSES, MD5, find_cifar10, load_cifar10, md5_of, user_cache

GENUINE = os.environ.get("PCMREF_DATA")
needs_genuine = pytest.mark.skipif(not GENUINE, reason="PCMREF_DATA does not name the genuine CIFAR-10")

BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path_factory):
    """An empty home and no PCMREF_DATA: nothing of the machine is seen."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.delenv("PCMREF_DATA", raising=False)
    for variable in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(home))
    return home


# Made-up batches: {batch name: (planes, labels)}


def made_up(count=3):
    rng = np.random.default_rng(0)
    return {
        batch: (rng.integers(0, 256, (count, 3072), np.uint8), rng.integers(0, 10, count).tolist()) for batch in BATCHES
    }


def text(value):
    return b"T" + struct.pack("<i", len(value)) + value


def integer(value):
    return b"J" + struct.pack("<i", value)


def pickled_array(raw, shape, dtype=b"u1", order=b"\x89", module=b"numpy.core.multiarray"):
    """An array as Python 2 and the NumPy of 2009 pickled it: the genuine files' opcodes."""
    size = b"".join(map(integer, shape))
    kind = b"cnumpy\ndtype\n" + text(dtype) + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN"
    kind += integer(-1) + integer(-1) + b"K\x00tb"
    made = b"c" + module + b"\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    return made + b"(K\x01(" + size + b"t" + kind + order + text(raw) + b"tb"


def pickled_dict(**items):
    return b"\x80\x02}(" + b"".join(text(key.encode()) + value for key, value in items.items()) + b"u."


def pickled_list(*items):
    return b"](" + b"".join(items) + b"e"


def python_batch(planes, labels, **options):
    return pickled_dict(
        batch_label=text(b"training batch 1 of 5"),
        labels=pickled_list(*map(integer, labels)),
        data=pickled_array(planes.tobytes(), planes.shape, **options),
        filenames=pickled_list(text(b"a.png"), text(b"b.png")),
    )


def binary_batch(planes, labels):
    return np.column_stack([np.array(labels, np.uint8), planes]).tobytes()


def files(form, batches):
    """Return {file name: content} of a whole data set in one format."""
    if form == "py":
        return {name: python_batch(*batch) for name, batch in batches.items()}
    return {f"{name}.bin": binary_batch(*batch) for name, batch in batches.items()}


def write_folder(folder, contents):
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def prefixed(folder, contents):
    return {f"{folder}/{name}": content for name, content in contents.items()}


def images_of(planes):
    image = np.empty((len(planes), 32, 32, 3), np.uint8)
    for channel in range(3):
        for row in range(32):
            image[:, row, :, channel] = planes[:, channel * 1024 + row * 32 :][:, :32]
    return image


def only_test(folder, content, name="test_batch"):
    return write_folder(folder / "made-up", {name: content})


def refused(location, **options):
    with pytest.raises(DataError) as caught:
        load_cifar10(location, split="test", **{"md5": None} | options)
    return caught.value


# Formats


def lay_out(tmp_path, form, layout):
    contents = files(form, made_up())
    folder = f"cifar-10-batches-{form}"
    if layout == "archive":
        return write_archive(tmp_path / "renamed.tgz", prefixed(folder, contents))
    if layout == "archive with ./":
        return write_archive(tmp_path / "renamed.tgz", prefixed(f"./{folder}", contents))
    if layout == "parent of archive":
        name = {"py": "cifar-10-python.tar.gz", "bin": "cifar-10-binary.tar.gz"}[form]
        return write_archive(tmp_path / name, prefixed(folder, contents)).parent
    if layout == "renamed":
        return write_folder(tmp_path / "mine", contents)
    return write_folder(tmp_path / folder, contents).parent


@pytest.mark.parametrize("form", ["py", "bin"])
@pytest.mark.parametrize("layout", ["parent", "renamed", "archive", "archive with ./", "parent of archive"])
def test_both_formats_in_every_place_give_the_same_samples(tmp_path, form, layout):
    location = lay_out(tmp_path, form, layout)
    batches = made_up()
    test, train = (load_cifar10(location, split=split, md5=None) for split in ("test", "train"))
    for samples, names in ((test, BATCHES[5:]), (train, BATCHES[:5])):
        expected = images_of(np.concatenate([batches[name][0] for name in names]))
        np.testing.assert_array_equal(samples.images, expected, strict=True)
        labels = [label for name in names for label in batches[name][1]]
        np.testing.assert_array_equal(samples.labels, np.array(labels, np.int64), strict=True)
        assert samples.images.flags.c_contiguous
    assert test.where.startswith(f"CIFAR-10 test in {tmp_path}")


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_a_batch_pickled_by_todays_numpy_under_either_name(tmp_path, protocol, module):
    planes, labels = made_up()["test_batch"]
    raw = pickle.dumps({"data": planes, "labels": labels}, protocol=protocol)
    if protocol == 3:  # names are plain lines there, as in protocol 2
        raw = raw.replace(b"numpy._core.", b"numpy.core.").replace(b"numpy.core.multiarray", module)
        assert module in raw
    samples = load_cifar10(only_test(tmp_path, raw), split="test", md5=None)
    np.testing.assert_array_equal(samples.images, images_of(planes))
    assert samples.labels.tolist() == labels


def test_classes():
    assert len(CLASSES) == 10
    assert (CLASSES[0], CLASSES[6], CLASSES[9]) == ("airplane", "frog", "truck")


def test_no_such_split():
    with pytest.raises(ParameterError, match=r"^split: expected 'train' or 'test', found 'valid'$"):
        load_cifar10(split="valid")


# Checksums


def test_a_batch_with_the_md5_that_is_asked_for(tmp_path):
    planes, labels = made_up()["test_batch"]
    raw = python_batch(planes, labels)
    location = only_test(tmp_path, raw)
    samples = load_cifar10(location, split="test", md5={"test_batch": hashlib.md5(raw).hexdigest()})
    assert samples.labels.tolist() == labels


@pytest.mark.parametrize("altered", [0, 200, -1])
def test_one_altered_bit_is_refused(tmp_path, altered):
    raw = bytearray(python_batch(*made_up()["test_batch"]))
    md5 = {"test_batch": hashlib.md5(raw).hexdigest()}
    raw[altered] ^= 1
    location = only_test(tmp_path, raw)
    error = refused(location, md5=md5)
    assert error.where == str(location / "test_batch")
    assert error.expected == f"the MD5 {md5['test_batch']}"
    assert error.found == f"{hashlib.md5(raw).hexdigest()}: a damaged or incomplete file"


@pytest.mark.parametrize("batch", BATCHES)
def test_by_default_every_python_batch_must_be_the_published_one(tmp_path, batch):
    contents = files("py", made_up())
    location = write_folder(tmp_path / "mine", contents)
    published = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    published[batch] = MD5[batch]
    with pytest.raises(DataError) as caught:
        load_cifar10(location, split="test" if batch == "test_batch" else "train", md5=published)
    assert caught.value.where == str(location / batch)
    assert refused(location, md5=MD5).expected == f"the MD5 {MD5['test_batch']}"
    with pytest.raises(DataError, match=MD5["test_batch"]):
        load_cifar10(location, split="test")


@pytest.mark.parametrize("archive", ["cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"])
def test_by_default_an_archive_must_be_the_published_one(tmp_path, archive):
    location = write_archive(tmp_path / archive, {"cifar-10-batches-bin/test_batch.bin": b""})
    error = refused(location, md5=MD5)
    assert error.where == str(location)
    assert error.expected == f"the MD5 {MD5[archive]}"
    assert error.found.startswith(md5_of(location))


def test_a_batch_in_a_renamed_archive_is_checked_too(tmp_path):
    members = prefixed("cifar-10-batches-py", files("py", made_up()))
    location = write_archive(tmp_path / "renamed.tgz", members)
    error = refused(location, md5=MD5)
    assert error.where == f"{location}: cifar-10-batches-py/test_batch"
    assert error.expected == f"the MD5 {MD5['test_batch']}"


def test_a_binary_batch_must_have_the_genuine_size(tmp_path):
    location = only_test(tmp_path, bytes(30_730_000), "test_batch.bin")
    assert len(load_cifar10(location, split="test")) == 10_000
    (location / "test_batch.bin").write_bytes(bytes(30_730_000 - 3073))
    error = refused(location, md5=MD5)
    assert error.where == str(location / "test_batch.bin")
    assert error.expected == "30730000 bytes (10,000 records)"
    assert error.found == "30726927 bytes"


# Pickles that would do something


class Command:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("echo ran > {}",), f"{os.name}.system"),
        (eval, ("__import__('os').mkdir('{}')",), "eval"),
        (os.mkdir, ("{}",), f"{os.name}.mkdir"),
        (np.save, ("{}", 1), "numpy.save"),
    ],
)
def test_a_pickle_that_would_run_code_runs_nothing(tmp_path, protocol, function, arguments, name):
    trace = tmp_path / "trace"
    arguments = [a.format(trace) if isinstance(a, str) else a for a in arguments]
    raw = pickle.dumps({"data": Command(function, *arguments), "labels": []}, protocol=protocol)
    location = only_test(tmp_path, raw)
    error = refused(location)
    assert error.where == str(location / "test_batch")
    assert name in error.found
    assert list(tmp_path.iterdir()) == [location]
    pickle.loads(raw)  # it is what it claims to be
    assert trace.exists() or trace.with_suffix(".npy").exists()


def test_the_name_that_a_pickle_may_not_use_is_told(tmp_path):
    error = refused(only_test(tmp_path, b"cos.path\njoin\n(U\x01atR."))
    assert str(error) == (
        f"{tmp_path / 'made-up' / 'test_batch'}: expected a pickle of one uint8 array, dict, list, bytes and"
        " int, found UnknownNameError('the name os.path.join')"
    )


def test_numpy_itself_is_never_called(tmp_path):
    hostile = b"cnumpy\nndarray\n(" + integer(1 << 30) + integer(1 << 30) + b"tR"
    error = refused(only_test(tmp_path, pickled_dict(data=hostile, labels=pickled_list())))
    assert error.found == "an array of another type or order"


# Damaged and odd batches

PLANES, LABELS = made_up()["test_batch"]
RAW = PLANES.tobytes()
THREE = pickled_list(*map(integer, LABELS))
ARRAY = pickled_array(RAW, (3, 3072))
OF_ARRAY = "a uint8 array of shape (n, 3072)"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not a pickle",
        b"\x80\x02}}K\x01s.",  # an unhashable key
        b"\x80\x02NK\x01b.",  # state for None
        b"\x80\x02h\x07.",  # nothing was memorised
        b"\x80\x02P1\n.",
        b"\x80\x02X\x01\x00\x00\x00\xff.",
        python_batch(PLANES, LABELS)[:-1],
        python_batch(PLANES, LABELS)[:-4000],
    ],
    ids=["empty", "text", "unhashable", "state", "memory", "persistent", "utf-8", "stop", "cut"],
)
def test_a_damaged_pickle(tmp_path, raw):
    location = only_test(tmp_path, raw)
    error = refused(location)
    assert error.where == str(location / "test_batch")
    assert error.expected == "a pickle of one uint8 array, dict, list, bytes and int"
    assert re.match(r"\w+\(.+\)$", error.found)  # the exception and its reason


@pytest.mark.parametrize(
    ("raw", "where", "expected", "found"),
    [
        (b"\x80\x02].", "", "a pickled dict", "list"),
        (pickled_dict(data=ARRAY), "", "the keys 'data' and 'labels'", "['data']"),
        (pickled_dict(labels=THREE), "", "the keys 'data' and 'labels'", "['labels']"),
        (pickled_dict(data=ARRAY, fine_labels=THREE), "", "the keys 'data' and 'labels'", "'fine_labels'"),
        (pickled_dict(data=text(RAW), labels=THREE), ": data", OF_ARRAY, "bytes"),
        (
            pickled_dict(data=pickled_array(RAW, (3, 3072), dtype=b"i1"), labels=THREE),
            ": data",
            OF_ARRAY,
            "an array of another type or order",
        ),
        (
            pickled_dict(data=pickled_array(RAW, (3, 3072), order=b"\x88"), labels=THREE),
            ": data",
            OF_ARRAY,
            "an array of another type or order",
        ),
        (
            pickled_dict(data=pickled_array(RAW, (3, 32, 96)), labels=THREE),
            ": data",
            OF_ARRAY,
            "an array of another type or order",
        ),
        (
            pickled_dict(data=pickled_array(RAW, (9, 1024)), labels=THREE),
            ": data",
            OF_ARRAY,
            "9216 bytes for shape (9, 1024)",
        ),
        (
            pickled_dict(data=pickled_array(RAW[:-1], (3, 3072)), labels=THREE),
            ": data",
            OF_ARRAY,
            "9215 bytes for shape (3, 3072)",
        ),
        (
            pickled_dict(data=pickled_array(b"", (0, 3072)), labels=pickled_list()),
            ": data",
            OF_ARRAY,
            "0 bytes for shape (0, 3072)",
        ),
        (pickled_dict(data=ARRAY, labels=text(b"abc")), ": labels", "a list of 3 labels", "bytes"),
        (
            pickled_dict(data=ARRAY, labels=pickled_list(integer(1), integer(2))),
            ": labels",
            "a list of 3 labels",
            "2 labels",
        ),
        (python_batch(PLANES, [0, 10, 1]), ": labels[1]", "an integer from 0 to 9", "10"),
        (python_batch(PLANES, [0, 1, -1]), ": labels[2]", "an integer from 0 to 9", "-1"),
        (
            pickled_dict(data=ARRAY, labels=pickled_list(integer(1), b"\x88", integer(1))),
            ": labels[1]",
            "an integer from 0 to 9",
            "bool",
        ),
        (
            pickled_dict(data=ARRAY, labels=pickled_list(text(b"7"), integer(1), integer(1))),
            ": labels[0]",
            "an integer from 0 to 9",
            "bytes",
        ),
    ],
    ids=lambda value: "batch" if isinstance(value, bytes) else None,
)
def test_a_python_batch_that_is_not_one(tmp_path, raw, where, expected, found):
    location = only_test(tmp_path, raw)
    error = refused(location)
    assert error.where == f"{location / 'test_batch'}{where}"
    assert error.expected == expected
    assert found in error.found


@pytest.mark.parametrize(
    ("raw", "where", "expected", "found"),
    [
        (b"", "", "whole records of 3073 bytes", "0 bytes"),
        (bytes(3072), "", "whole records of 3073 bytes", "3072 bytes"),
        (bytes(3074), "", "whole records of 3073 bytes", "3074 bytes"),
        (binary_batch(PLANES, [9, 0, 10]), ": labels[2]", "an integer from 0 to 9", "10"),
        (binary_batch(PLANES, [255, 0, 0]), ": labels[0]", "an integer from 0 to 9", "255"),
    ],
    ids=lambda value: "batch" if isinstance(value, bytes) else None,
)
def test_a_binary_batch_that_is_not_one(tmp_path, raw, where, expected, found):
    location = only_test(tmp_path, raw, "test_batch.bin")
    error = refused(location)
    assert error.where == f"{location / 'test_batch.bin'}{where}"
    assert error.expected == expected
    assert error.found == found


@pytest.mark.parametrize(("form", "suffix"), [("py", ""), ("bin", ".bin")])
@pytest.mark.parametrize("missing", BATCHES)
def test_a_missing_batch_is_named(tmp_path, form, suffix, missing):
    contents = files(form, made_up(count=1))
    del contents[missing + suffix]
    folder = write_folder(tmp_path / f"cifar-10-batches-{form}", contents)
    archive = write_archive(tmp_path / "some.tar.gz", prefixed(folder.name, contents))
    split = "test" if missing == "test_batch" else "train"
    for location, where, found in (
        (folder, str(folder / (missing + suffix)), "No such file or directory"),
        (archive, f"{archive}: {folder.name}/{missing}{suffix}", "no such member"),
    ):
        with pytest.raises(DataError) as caught:
            load_cifar10(location, split=split, md5=None)
        assert (caught.value.where, caught.value.expected) == (where, "a readable file")
        assert caught.value.found == found


def test_a_batch_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    contents = files("bin", {"test_batch": (PLANES, LABELS)})
    folder = write_folder(tmp_path / "cifar-10-batches-bin", contents)
    archive = write_archive(tmp_path / "some.tar.gz", prefixed(folder.name, contents))
    size = len(contents["test_batch.bin"])
    monkeypatch.setattr(cifar10, "BATCH_LIMIT", size)
    assert len(load_cifar10(folder, split="test", md5=None)) == 3
    monkeypatch.setattr(cifar10, "BATCH_LIMIT", size - 1)
    for location, where in (
        (folder, str(folder / "test_batch.bin")),
        (archive, f"{archive}: cifar-10-batches-bin/test_batch.bin"),
    ):
        error = refused(location)
        assert (error.where, error.expected) == (where, f"at most {size - 1} bytes")


# Damaged and odd archives


def test_an_archive_that_unzips_to_more_than_the_limit_is_not_read(tmp_path, monkeypatch):
    archive = write_archive(tmp_path / "bomb.tar.gz", {"zeros": bytes(1 << 20)})
    assert archive.stat().st_size < 1 << 12
    monkeypatch.setattr(archives, "ARCHIVE_LIMIT", 1 << 20)
    error = refused(archive)
    assert (error.where, error.expected) == (f"{archive}, unzipped", f"at most {1 << 20} bytes")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda raw: raw[: len(raw) // 2], "end-of-stream"),
        (lambda raw: raw[:-9], "end-of-stream"),
        (lambda raw: raw[:-8] + bytes([raw[-8] ^ 1]) + raw[-7:], "incorrect data check"),
        (lambda raw: raw[:20] + b"\xff" * 20 + raw[40:], "Error -3"),
        (lambda raw: gzip.decompress(raw), "incorrect header check"),
        (lambda raw: b"", "end-of-stream"),
        (lambda raw: gzip.compress(b""), "unexpected end of data"),
        (lambda raw: gzip.compress(b"text " * 1000), "invalid header"),
        (lambda raw: gzip.compress(gzip.decompress(raw)[:5000]), "unexpected end of data"),
    ],
)
def test_a_damaged_archive(tmp_path, damage, found):
    archive = tmp_path / "some.tar.gz"
    write_archive(archive, prefixed("cifar-10-batches-py", files("py", made_up())))
    archive.write_bytes(damage(archive.read_bytes()))
    error = refused(archive)
    assert (error.where, error.expected) == (str(archive), "a readable file")
    assert found in error.found


@pytest.mark.parametrize(
    ("kind", "content", "repeated", "expected"),
    [
        (b"x", b"21 GNU.sparse.map=x,\n", 1, "batches in cifar-10-batches-py or cifar-10-batches-bin"),
        (b"L", b"name", 2000, "at most 1000 members"),
    ],
    ids=["sparse map", "nested names"],
)
def test_headers_on_which_tarfile_gives_up_are_passed_over(tmp_path, kind, content, repeated, expected):
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, len(content)
    member = header.tobuf() + content.ljust(512, b"\0")
    archive = tmp_path / "some.tar.gz"
    archive.write_bytes(gzip.compress(member * repeated + tarfile.TarInfo("file").tobuf() + bytes(1024)))
    error = refused(archive)
    assert (error.where, error.expected) == (str(archive), expected)


def test_an_archive_of_something_else(tmp_path):
    archive = write_archive(tmp_path / "cifar-100.tar.gz", {"cifar-100-python/test": b""})
    error = refused(archive)
    assert error.where == str(archive)
    assert error.expected == "batches in cifar-10-batches-py or cifar-10-batches-bin"
    assert error.found == "['cifar-100-python/test']"


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    path = tmp_path / "links.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, target in (("cifar-10-batches-bin/data_batch_1.bin", ""), ("test", "/etc/passwd")):
            member = tarfile.TarInfo(name)
            member.linkname = target
            member.type = tarfile.SYMTYPE if target else tarfile.REGTYPE
            archive.addfile(member)
        member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "data_batch_1.bin"
        archive.addfile(member)
    error = refused(path)
    assert error.where == f"{path}: cifar-10-batches-bin/test_batch.bin"
    assert error.found == "no such member"


# Finding


def test_the_explicit_location_wins_then_the_variable_then_the_cache(tmp_path, monkeypatch):
    contents = files("py", {"test_batch": (PLANES, LABELS)})
    archive = user_cache() / "cifar-10-python.tar.gz"
    archive.parent.mkdir(parents=True)
    write_archive(archive, prefixed("cifar-10-batches-py", contents))
    assert find_cifar10() == archive
    named, explicit = (write_folder(tmp_path / name, contents) for name in ("named", "explicit"))
    monkeypatch.setenv("PCMREF_DATA", str(named))
    assert find_cifar10() == named
    assert load_cifar10(split="test", md5=None).where == f"CIFAR-10 test in {named}"
    assert find_cifar10(explicit) == explicit
    assert find_cifar10(str(explicit)) == explicit
    monkeypatch.setenv("PCMREF_DATA", "")
    assert find_cifar10() == archive


def test_batches_on_disk_come_before_archives(tmp_path):
    binary = write_archive(tmp_path / "cifar-10-binary.tar.gz", {})
    assert find_cifar10(tmp_path) == binary
    python = write_archive(tmp_path / "cifar-10-python.tar.gz", {})
    assert find_cifar10(tmp_path) == python
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert find_cifar10(tmp_path) == python  # an empty directory holds nothing
    folder = write_folder(tmp_path / "cifar-10-batches-bin", {"test_batch.bin": b""})
    assert find_cifar10(tmp_path) == folder


def test_what_was_looked_for_and_how_to_get_it(tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    cache = user_cache()

    def where(location=None):
        with pytest.raises(DataError) as caught:
            find_cifar10(location)
        assert caught.value.expected == (
            "cifar-10-batches-py or cifar-10-batches-bin or cifar-10-python.tar.gz or cifar-10-binary.tar.gz"
        )
        assert "'pcmref fetch cifar10'" in caught.value.found
        return caught.value.where

    assert where() == f"CIFAR-10 in the user cache {cache}"
    assert where(empty) == f"CIFAR-10 in {empty}"
    assert where(empty / "missing") == f"CIFAR-10 in {empty / 'missing'}"
    assert where("x" * 5000) == f"CIFAR-10 in {'x' * 5000}"
    monkeypatch.setenv("PCMREF_DATA", str(empty))
    assert where() == f"CIFAR-10 in PCMREF_DATA={empty}"
    with pytest.raises(DataError, match="PCMREF_DATA="):
        load_cifar10(split="test")


@pytest.mark.parametrize(
    ("platform", "variable", "below_home"),
    [
        ("linux", "XDG_CACHE_HOME", ".cache"),
        ("win32", "LOCALAPPDATA", "AppData/Local"),
        ("darwin", None, "Library/Caches"),
    ],
)
def test_the_user_cache_is_where_the_system_wants_it(monkeypatch, home, platform, variable, below_home):
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(home / name))
    assert user_cache() == home / (variable or below_home) / "pcmref"
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name)
    assert user_cache() == home / below_home / "pcmref"


def test_no_home(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(DataError, match=r"^the user cache: expected a home directory, found Could not"):
        find_cifar10()


def test_md5_of(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"abc" * 1_000_000)
    assert md5_of(file) == hashlib.md5(b"abc" * 1_000_000).hexdigest()
    with pytest.raises(DataError) as caught:
        md5_of(tmp_path / "missing")
    assert caught.value.where == str(tmp_path / "missing")


# The genuine data set


@needs_genuine
def test_the_genuine_test_split():
    samples = load_cifar10(GENUINE, split="test")
    assert samples.images.shape == (10_000, 32, 32, 3)
    assert np.bincount(samples.labels).tolist() == [1000] * 10
    assert [CLASSES[label] for label in samples.labels[:4]] == ["cat", "ship", "ship", "airplane"]


@needs_genuine
def test_the_genuine_training_split():
    samples = load_cifar10(GENUINE, split="train")
    assert samples.images.shape == (50_000, 32, 32, 3)
    assert np.bincount(samples.labels).tolist() == [5000] * 10
    mean = samples.images.mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=5e-5)  # as everyone normalises
