"""Hostile archives, pickles and checkpoints: kinds, each held to the promise of tests/helpers/promise.py."""

import gzip
import io
import os
import pickle
import re
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from tests.helpers.promise import expect

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the readers are measured in forked processes")


# CIFAR-10: archives

PIXELS = 3072


def tar_header(name, size, kind=b"0"):
    """A header; sizes that octal digits cannot say are written as GNU tar does."""
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    header[156:157] = kind
    octal = 0 <= size < 8**11
    header[124:136] = b"%011o\0" % size if octal else (size % 256**12).to_bytes(12, "big")
    header[124] |= 0 if octal else 0x80
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header[:512])


BATCH = "cifar-10-batches-bin/test_batch.bin"
RECORD = bytes(1 + PIXELS)
FILE = tar_header(BATCH, len(RECORD)) + RECORD + bytes(-len(RECORD) % 512)
END = bytes(1024)
NO_BATCH, NO_HEADER = "expected batches in", "an invalid header"
ARCHIVES = {
    "a good one": (gzip.compress(FILE + END), ""),
    "a size of -512": (gzip.compress(tar_header("b", 0) + tar_header("a", -512) + END), NO_HEADER),
    "a size of -512 of the batch": (gzip.compress(tar_header(BATCH, -512) + END), NO_HEADER),
    "a size of 2^64": (gzip.compress(tar_header("a", 1 << 64) + END), NO_HEADER),
    "a size of 8 GB of the batch": (
        gzip.compress(tar_header(BATCH, 8**11 - 1) + END),
        "at most 33554432 bytes, found 8589934591",
    ),
    "a size of 8 GB": (gzip.compress(tar_header("a", 8**11 - 1) + END), "unexpected end of data"),
    "520,000 members": (gzip.compress(tar_header("a", 0) * 520_000 + FILE + END), "at most 1000 members"),
    "999 members": (gzip.compress(tar_header("a", 0) * 999 + FILE + END), ""),
    "the batch twice": (gzip.compress(FILE + FILE + END), "each member once"),
    "headers of headers": (gzip.compress(tar_header("L", 512, b"L") * 2 + END), NO_BATCH),
    "headers that hold headers": (
        gzip.compress((tar_header("L", 512, b"x") + tar_header("a", 0)) * 900 + END),
        NO_BATCH,
    ),
    "a sparse member": (gzip.compress(tar_header(BATCH, 512, b"S") + bytes(512) + END), "no such member"),
    "a link of 8 GB": (gzip.compress(tar_header(BATCH, 8**11 - 1, b"2") + END), "no such member"),
    "no end": (gzip.compress(FILE), "unexpected end of data"),
    "a byte that differs": (gzip.compress(b"x" + FILE[1:] + END), NO_HEADER),
    "2 GB of one member": (b"", "unzipped: expected at most 268435456 bytes"),
    "300 MB after the end": (b"", "unzipped: expected at most 268435456 bytes"),
    "400,000 gzip members": (gzip.compress(b"") * 400_000, "unexpected end of data"),
}


def bomb_of_gzip(start, megabytes):
    """A gzip file that begins like this and goes on with zeros."""
    stream = zlib.compressobj(9, wbits=31)
    head = stream.compress(start) + stream.flush(zlib.Z_FULL_FLUSH)
    again = stream.compress(bytes(1 << 24)) + stream.flush(zlib.Z_FULL_FLUSH)
    return head + again * (megabytes // 16)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives(worker, tmp_path, kind):
    raw, message = ARCHIVES[kind]
    if kind == "2 GB of one member":
        raw = bomb_of_gzip(tar_header("a", 1 << 31), 1 << 11)
    if kind == "300 MB after the end":
        raw = bomb_of_gzip(FILE + END, 304)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(raw)
    expect(worker.read("cifar10", tmp_path / "cifar-10-binary.tar.gz"), message)


# CIFAR-10: pickles


def opcode(name, *values):
    return {"PUT": b"r%b", "GET": b"j%b"}[name] % struct.pack("<I", *values)


def tower(depth):
    """Tuples within tuples, each of the one before twice: its hash takes 2^depth steps."""
    raw = b")" + opcode("PUT", 0)
    for level in range(depth):
        raw += opcode("GET", level) + opcode("GET", level) + b"\x86" + opcode("PUT", level + 1)
    return raw


ARRAY = np.zeros((2, PIXELS), np.uint8)
PICKLE = "a pickle of one uint8 array"
PICKLES = {
    "a good one": (pickle.dumps({b"data": ARRAY, b"labels": [1, 2]}, protocol=4), ""),
    "a memo of 2^32 places": (b"\x80\x02}" + opcode("PUT", (1 << 32) - 1) + b".", "the keys 'data' and 'labels'"),
    "a hash without end": (b"\x80\x02" + tower(60) + b"}" + opcode("GET", 60) + b"Ns.", PICKLE),
    "a hash without end of a set": (b"\x80\x04\x8f(" + tower(60) + b"\x90.", PICKLE),
    "a hash without end of a frozen set": (b"\x80\x04(" + tower(60) + b"\x91.", PICKLE),
    "a repr without end": (
        b"\x80\x02" + tower(60) + b"}U\x04data" + opcode("GET", 60) + b"sU\x06labels" + opcode("GET", 60) + b"s.",
        "data: expected a uint8 array .* found tuple",
    ),
    "two million opcodes": (b"\x80\x02" + b"N" * 2_000_000 + b".", PICKLE),
    "a million marks": (b"\x80\x02" + b"(" * 1_000_000 + b"t.", "expected a pickled dict, found tuple"),
    "lists 300,000 deep": (b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".", "expected a pickled dict, found list"),
    "a list within itself": (b"\x80\x02]" + opcode("PUT", 0) + opcode("GET", 0) + b"a.", "a pickled dict, found list"),
    "bytes of 4 GB": (b"\x80\x03B\xff\xff\xff\xff.", PICKLE),
    "bytes of 2^63": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", PICKLE),
    "an integer of 2 GB": (b"\x80\x02\x8b\xff\xff\xff\x7f.", PICKLE),
    "a million digits": (b"I" + b"9" * 1_000_000 + b"\n.", PICKLE),
    "an array of 2^60": (
        b"\x80\x02}U\x04datacnumpy\nndarray\n\x8a\x08" + b"\0" * 7 + b"\x10\x85Rs.",
        "the keys 'data' and 'labels'",
    ),
    "a call": (b"cos\nsystem\n(S'true'\ntR.", PICKLE),
    "a name of a megabyte": (b"c" + b"a" * 1_000_000 + b"\nb\n.", PICKLE),
    "an object that is built of itself": (
        b"\x80\x02cnumpy\nndarray\n)R" + opcode("PUT", 0) + opcode("GET", 0) + b"b.",
        "expected a pickled dict",
    ),
}


@pytest.mark.parametrize("kind", PICKLES)
def test_pickles(worker, tmp_path, kind):
    raw, message = PICKLES[kind]
    (tmp_path / "test_batch").write_bytes(raw)
    expect(worker.read("cifar10", tmp_path), message)


def test_a_pipe_in_place_of_a_batch(worker, tmp_path):
    """Nobody writes to it."""
    os.mkfifo(tmp_path / "test_batch")
    assert worker.read("cifar10", tmp_path).kind == "refused"


# PyTorch checkpoints


def text_of(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number_of(value):
    raw = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_of(*values):
    return b"(" + b"".join(values) + b"t"


def storage_of(key, count, kind="FloatStorage"):
    return (
        tuple_of(
            text_of("storage"), b"ctorch\n" + kind.encode() + b"\n", text_of(key), text_of("cpu"), number_of(count)
        )
        + b"Q"
    )


def tensor_of(storage, offset, size, stride):
    parts = number_of(offset), tuple_of(*map(number_of, size)), tuple_of(*map(number_of, stride)), b"\x89", b"N"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + tuple_of(storage, *parts) + b"R"


def dict_of(values):
    return b"\x80\x02}(" + b"".join(text_of(name) + value for name, value in values.items()) + b"u."


def checkpoint(pickled, storages, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)
    return buffer.getvalue()


def legacy(pickled, keys, storages=b""):
    begins = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return begins + pickled + pickle.dumps(keys, 2) + storages


def claiming_members(raw, size):
    """A zip file whose members claim to be so large, in its directory and before each."""
    return re.sub(rb"(?s)(PK\x01\x02.{16}).{8}", lambda m: m[1] + struct.pack("<II", size, size), raw)


ONE = storage_of("0", 4)
FOREIGN = "expected a PyTorch checkpoint of tensors alone"
CHECKPOINTS = {
    "a good one": (checkpoint(dict_of({"a": tensor_of(ONE, 0, (2, 2), (2, 1))}), {"0": bytes(16)}), ""),
    "a good one of before": (
        legacy(dict_of({"a": tensor_of(ONE, 0, (4,), (1,))}), ["0"], struct.pack("<q", 4) + bytes(16)),
        "",
    ),
    "stride 0": (
        checkpoint(dict_of({"a": tensor_of(ONE, 0, (1 << 28,), (0,))}), {"0": bytes(16)}),
        "a: expected at most",
    ),
    "stride 0 of 8 axes": (
        checkpoint(dict_of({"a": tensor_of(ONE, 0, (1 << 40,) * 8, (0,) * 8)}), {"0": bytes(16)}),
        "a: expected at most",
    ),
    "a million tensors of one": (
        checkpoint(dict_of({f"a{i}": tensor_of(ONE, 0, (100,), (0,)) for i in range(9000)}), {"0": bytes(16)}),
        "",
    ),
    "beyond the storage": (checkpoint(dict_of({"a": tensor_of(ONE, 1, (4,), (1,))}), {"0": bytes(16)}), FOREIGN),
    "before the storage": (checkpoint(dict_of({"a": tensor_of(ONE, -1, (2,), (1,))}), {"0": bytes(16)}), FOREIGN),
    "backwards": (checkpoint(dict_of({"a": tensor_of(ONE, 3, (2,), (-1,))}), {"0": bytes(16)}), FOREIGN),
    "a storage that is too short": (
        checkpoint(dict_of({"a": tensor_of(ONE, 0, (4,), (1,))}), {"0": bytes(15)}),
        FOREIGN,
    ),
    "a storage of 2^60": (
        checkpoint(dict_of({"a": tensor_of(storage_of("0", 1 << 60), 0, (4,), (1,))}), {"0": bytes(16)}),
        "storages of at most",
    ),
    "a storage of 2^60, before": (
        legacy(dict_of({"a": tensor_of(storage_of("0", 1 << 60), 0, (4,), (1,))}), ["0"], struct.pack("<q", 1 << 60)),
        "storages of at most|foreign or damaged",
    ),
    "a storage of -1": (checkpoint(dict_of({"a": tensor_of(storage_of("0", -1), 0, (4,), (1,))}), {}), FOREIGN),
    "a zip bomb": (
        checkpoint(
            dict_of({"a": tensor_of(storage_of("0", 1 << 26), 0, (4,), (1,))}),
            {"0": bytes(1 << 28)},
            zipfile.ZIP_DEFLATED,
        ),
        FOREIGN,
    ),
    "a deflated pickle": (
        checkpoint(dict_of({"a": tensor_of(ONE, 0, (4,), (1,))}), {"0": bytes(16)}, zipfile.ZIP_DEFLATED),
        FOREIGN,
    ),
    "members that claim 4 GB": (
        claiming_members(checkpoint(dict_of({"a": tensor_of(ONE, 0, (4,), (1,))}), {"0": bytes(16)}), 0xFFFFFFF0),
        FOREIGN,
    ),
    "lists 100,000 deep": (
        checkpoint(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", {}),
        "expected a dict of tensors",
    ),
    "lists 900 deep": (checkpoint(b"\x80\x02" + b"]" * 900 + b"a" * 899 + b".", {}), "expected a dict of tensors"),
    "a hash without end": (checkpoint(b"\x80\x02" + tower(60) + b"}" + opcode("GET", 60) + b"Ns.", {}), FOREIGN),
    "a repr without end": (checkpoint(b"\x80\x02" + tower(60) + b".", {}), "expected a dict of tensors"),
    "a memo of 2^32 places": (
        checkpoint(b"\x80\x02}" + opcode("PUT", (1 << 32) - 1) + b".", {}),
        "expected a dict of tensors",
    ),
    "two million opcodes": (checkpoint(b"\x80\x02" + b"N" * 2_000_000 + b".", {}), FOREIGN),
    "100,000 names": (checkpoint(dict_of({f"{i}": b"N" for i in range(100_000)}), {}), "expected a dict of tensors"),
    "a name of 4 MB": (checkpoint(dict_of({"a" * 4_000_000: b"N"}), {}), "expected a dict of tensors"),
    "50,000 members": (checkpoint(dict_of({}), {str(i): b"" for i in range(50_000)}), "expected a dict of tensors"),
    "code": (
        checkpoint(b"cos\nsystem\n" + tuple_of(text_of("true")) + b"R.", {}),
        "os.system, which only running code",
    ),
    "a TorchScript of nothing": (checkpoint(b"", {}), FOREIGN),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints(worker, tmp_path, kind):
    raw, message = CHECKPOINTS[kind]
    (tmp_path / "net.pt").write_bytes(raw)
    expect(worker.read("checkpoint", tmp_path / "net.pt"), message)
