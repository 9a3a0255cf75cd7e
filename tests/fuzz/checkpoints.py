"""PyTorch checkpoints of both formats, made without PyTorch."""

import io
import pickle
import struct
import zipfile

from pcmref.importers.state_dicts import read_checkpoint
from tests.fuzz.mutations import changed_bytes
from tests.fuzz.opcodes import changed_pickle

STORAGE = b"(X\x07\0\0\0storagectorch\n%s\nX\x01\0\0\0%sX\x03\0\0\0cpuK%ctQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(%sK%c(K%cK\x02t(K\x02K\x01t\x89ccollections\nOrderedDict\n)RtR"
STATE = b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\0\0\0a%sX\x01\0\0\0b%su}X\x09\0\0\0_metadata}sb."
A = TENSOR % (STORAGE % (b"FloatStorage", b"0", 4), 0, 2)
B = TENSOR % (STORAGE % (b"BFloat16Storage", b"1", 6), 2, 2)
PICKLE = STATE % (A, B)
STORAGES = {"0": bytes(range(16)), "1": bytes(range(12))}


def zipped(pickled, storages, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)
    return buffer.getvalue()


def legacy(pickled, storages):
    begins = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    counts = {"0": 4, "1": 6}
    raw = b"".join(struct.pack("<q", counts[key]) + storage for key, storage in storages.items())
    return b"".join([*begins, pickled, pickle.dumps(list(storages), 2), raw])


def good():
    return {"net.pt": zipped(PICKLE, STORAGES)}


def changed(rng):
    pickled = changed_pickle(rng, PICKLE) if rng.random() < 0.7 else PICKLE
    storages = {key: changed_bytes(rng, raw) if rng.random() < 0.1 else raw for key, raw in STORAGES.items()}
    if rng.random() < 0.5:
        raw = zipped(pickled, storages, zipfile.ZIP_STORED if rng.random() < 0.9 else zipfile.ZIP_DEFLATED)
    else:
        raw = legacy(pickled, storages)
    return {"net.pt": changed_bytes(rng, raw) if rng.random() < 0.3 else raw}


def read(folder):
    read_checkpoint(folder / "net.pt")
