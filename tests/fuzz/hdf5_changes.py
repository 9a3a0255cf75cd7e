"""Changes of HDF5 files: of entries, as a tool would make them, or of bytes."""

import contextlib
import io
import json

import h5py
import numpy as np

from tests.fuzz.mutations import EDGES, changed_bytes, changed_json

TYPES = ["<f4", ">f4", "<f8", "<f2", "u1", "<i8", "<i4", "S7", "?", "<c8", [("a", "<f4")]]
FILTERS = [{}, {}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True, "fletcher32": True}]
FILTERS += [{"fletcher32": True}, {"compression": "lzf"}, {"shuffle": True}]


def changed_hdf5(rng, raw):
    """Change a file."""
    if rng.random() < 0.5:
        return changed_bytes(rng, raw, (raw,))
    buffer = io.BytesIO(raw)
    with h5py.File(buffer, "r+") as file:
        names = []
        file.visit(names.append)
        for _ in range(rng.choice((1, 1, 2, 3))):
            with contextlib.suppress(Exception):  # where HDF5 or NumPy cannot
                _change_entry(rng, file, rng.choice(names), names)
        if rng.random() < 0.5 and "digest" in file.attrs:
            del file.attrs["digest"]
    changed = buffer.getvalue()
    return changed_bytes(rng, changed, (raw,)) if rng.random() < 0.2 else changed


def _change_entry(rng, file, name, names):
    entry = file[name]
    match rng.randrange(7):
        case 0:
            del file[name]
        case 1:
            file[f"{name}{rng.choice(('2', '/a', ''))}"] = rng.choice(
                (file[rng.choice(names)], h5py.SoftLink(f"/{rng.choice(names)}"), h5py.ExternalLink("x.h5", "/"), 1.0)
            )
        case 2:
            file.attrs[rng.choice(("format", "version", "digest", "more"))] = rng.choice((1, 2.0, "a", b"b", [1, 2]))
        case 3 if isinstance(entry, h5py.Dataset) and entry.dtype.kind == "S":
            value = changed_json(rng, json.loads(entry[()]))
            text = json.dumps(value).encode(errors="replace")
            del file[name]
            file[name] = np.bytes_(changed_bytes(rng, text) if rng.random() < 0.2 else text)
        case 4 if isinstance(entry, h5py.Dataset) and entry.nbytes < 1 << 20 and not entry.chunks:
            # HDF5 would read chunks unchecked, and whatever a size claims
            values = entry[()]
            if values.dtype.kind in "fiu" and values.size:
                flat = np.array(values).reshape(-1)
                flat[rng.randrange(flat.size)] = rng.choice((0, 1, 255, np.nan, np.inf, -1e30, 3e38))
                entry[...] = flat.reshape(values.shape)
        case _ if isinstance(entry, h5py.Dataset):
            _declare(rng, file, name, entry)


def _declare(rng, file, name, entry):
    """Another shape, type or layout, with or without data."""
    shape = list(entry.shape)
    if shape and rng.random() < 0.7:
        shape[rng.randrange(len(shape))] = abs(rng.choice(EDGES))
    else:
        shape = rng.choice(([], [1], [2, 2], [0], [1, 1, 1, 1, 1], [1 << 20, 1 << 20]))
    kind = rng.choice(TYPES) if rng.random() < 0.5 else entry.dtype
    layout = dict(rng.choice(FILTERS))
    if layout or rng.random() < 0.3:
        layout["chunks"] = tuple(max(1, min(n, abs(rng.choice(EDGES)))) for n in shape)
        layout["maxshape"] = (None,) * len(shape)
    del file[name]
    made = file.create_dataset(name, shape, kind, **layout)
    if "chunks" in layout and rng.random() < 0.7:
        made.id.write_direct_chunk((0,) * len(shape), rng.randbytes(rng.choice((0, 1, 64, 200))), rng.randrange(8))
