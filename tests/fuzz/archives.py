"""Archives of CIFAR-10: headers are changed with their sums made right again, mostly; and the gzip file around them."""

import gzip
import tarfile

from pcmref.files.cifar10 import load_cifar10
from tests.fuzz.mutations import EDGES, changed_bytes

NAME = "cifar-10-batches-bin/test_batch.bin"
RECORD = bytes(3073)


def header(name, size):
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


TAR = header("cifar-10-batches-bin/", 0) + header("a", 10) + b"x" * 10 + bytes(502)
TAR += header(NAME, 3073) + RECORD + bytes(-3073 % 512) + bytes(1024)


def good():
    return {"cifar-10-binary.tar.gz": gzip.compress(TAR, 1)}


def changed(rng):
    tar = bytearray(TAR)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        place = 512 * rng.choice((0, 1, 3, 3, rng.randrange(len(tar) // 512)))
        record = bytearray(tar[place : place + 512])
        match rng.randrange(5):
            case 0:
                record[124:136] = b"%011o\0" % (rng.choice(EDGES) % 8**11)
            case 1:
                record[124:136] = b"\x80" + (rng.choice(EDGES) % 256**11).to_bytes(11, "big")
            case 2:
                record[156:157] = rng.choice((b"0", b"\0", b"1", b"2", b"5", b"L", b"K", b"x", b"g", b"S", b"7"))
            case 3:
                record[:100] = rng.choice((NAME, "./" + NAME, "a" * 100, "")).encode().ljust(100, b"\0")[:100]
            case 4:
                record = bytearray(changed_bytes(rng, bytes(record)))[:512].ljust(512, b"\0")
        if rng.random() < 0.8:
            record[148:156] = b" " * 8
            record[148:156] = b"%06o\0 " % sum(record)
        tar[place : place + 512] = record * rng.choice((1, 1, 1, 2))
    if rng.random() < 0.2:
        tar = bytearray(changed_bytes(rng, bytes(tar), (TAR,)))
    raw = gzip.compress(bytes(tar), 1)
    return {"cifar-10-binary.tar.gz": changed_bytes(rng, raw) if rng.random() < 0.3 else raw}


def read(folder):
    load_cifar10(folder / "cifar-10-binary.tar.gz", split="test", md5=None)
