"""Hostile network files and corrections: kinds, each held to the promise of tests/helpers/promise.py."""

import itertools
import json
import os
import zlib

import h5py
import numpy as np
import pytest

import pcmref
from pcmref.files.corrections import save_corrections
from pcmref.inference.corrections import Statistics
from tests.helpers.nets import tiny
from tests.helpers.promise import expect

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the readers are measured in forked processes")


# Network files


def network_file(path, *, graph=None, tensors=None, change=None, **texts):
    """A network of one convolution and a linear layer, as a user's own tool would write it, changed."""
    nodes = [
        {"name": "c", "op": "conv", "inputs": ["input"], "stride": 1, "padding": 1},
        {"name": "m", "op": "global_average_pool", "inputs": ["c"]},
        {"name": "l", "op": "linear", "inputs": ["m"]},
    ]
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        file.attrs["format"], file.attrs["version"] = np.bytes_("pcmref-network"), 1
        texts = {
            "graph": graph or {"input": [4, 4, 3], "nodes": nodes},
            "classes": ["x", "y"],
            "provenance": {},
        } | texts
        for name, value in texts.items():
            file[name] = np.bytes_(value if isinstance(value, str) else json.dumps(value))
        channels = texts["graph"]["input"][2] if isinstance(texts["graph"], dict) else 3
        for name, value in {"full_scale": 255.0, "mean": np.zeros(channels), "std": np.ones(channels)}.items():
            file[f"normalisation/{name}"] = value
        file.require_group("tensors")
        given = {"c/weight": np.ones((8, 3, 3, 3)), "l/weight": np.ones((2, 8))} if tensors is None else tensors
        for name, value in given.items():
            file[f"tensors/{name}"] = np.asarray(value, np.float32)
        if change is not None:
            change(file)


def nodes_of(count, op, **numbers):
    """A chain of nodes of one kind, then a mean over pixels."""
    names = ["input", *(f"n{i}" for i in range(count))]
    chain = [{"name": b, "op": op, "inputs": [a], **numbers} for a, b in itertools.pairwise(names)]
    return [*chain, {"name": "m", "op": "global_average_pool", "inputs": [names[-1]]}]


def claimed(name, shape, dtype="<f4", **layout):
    """An array that is said to be there and was never written."""

    def change(file):
        if name in file:
            del file[name]
        file.create_dataset(name, shape, dtype, **layout)

    return change


def samples(shape, labels, **layout):
    def change(file):
        file.create_dataset("evaluation/images", shape, "u1", **layout)
        file.create_dataset("evaluation/labels", labels, "i8")

    return change


def bomb(megabytes):
    """Zeros, deflated: the same 16 MB again and again (but for the sum at the end, which nobody should reach)."""
    stream = zlib.compressobj(9)
    start = stream.compress(bytes(1 << 24)) + stream.flush(zlib.Z_FULL_FLUSH)
    again = stream.compress(bytes(1 << 24)) + stream.flush(zlib.Z_FULL_FLUSH)
    return start + again * (megabytes // 16 - 1) + stream.flush()


def one_chunk(raw, shape=(2, 8), chunks=(2, 8), mask=0, **options):
    def change(file):
        del file["tensors/l/weight"]
        options.setdefault("compression", "gzip")
        made = file.create_dataset("tensors/l/weight", shape, "<f4", chunks=chunks, maxshape=(None, None), **options)
        made.id.write_direct_chunk((0, 0), raw, mask)

    return change


def twice_deflated(file):
    del file["tensors/l/weight"]
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((2, 8))
    layout.set_filter(h5py.h5z.FILTER_DEFLATE, 0, (9,))
    layout.set_filter(h5py.h5z.FILTER_DEFLATE, 0, (9,))
    space = h5py.h5s.create_simple((2, 8))
    made = h5py.h5d.create(file.id, b"tensors/l/weight", h5py.h5t.IEEE_F32LE, space, layout)
    made.write_direct_chunk((0, 0), zlib.compress(bomb(1 << 10)))


def nested(depth, make):
    def change(file):
        del file["tensors/l/weight"]
        kind = h5py.h5t.NATIVE_INT8
        for _ in range(depth):
            kind = make(kind)
        h5py.h5d.create(file.id, b"tensors/l/weight", kind, h5py.h5s.create_simple((1,)))

    return change


def attribute(name, make):
    def change(file):
        del file.attrs[name]
        make(file.attrs)

    return change


def nested_attribute(attributes):
    kind = h5py.h5t.NATIVE_INT8
    for _ in range(1000):
        kind = h5py.h5t.vlen_create(kind)
    h5py.h5a.create(attributes._id, b"version", kind, h5py.h5s.create_simple((1,)))


def links(count, target):
    def change(file):
        for i in range(count):
            file[f"tensors/c{i}"] = file[target]

    return change


MEAN = {"name": "m", "op": "global_average_pool", "inputs": ["input"]}
CONV = {"name": "c", "op": "conv", "inputs": ["input"], "stride": 1}
POOL = {"name": "p", "op": "max_pool", "inputs": ["input"], "stride": 1, "padding": 0}
SIZES = "expected arrays of (numbers|bytes) that take at most"
NETWORKS = {
    # claims of what is not there
    "a convolution of 2 GB": ({"change": claimed("tensors/c/weight", (1 << 12, 1 << 11, 8, 8))}, SIZES),
    "a linear layer of 2^62 weights": (
        {"change": claimed("tensors/l/weight", (1 << 31, 1 << 31), chunks=(1 << 10, 1 << 10))},
        SIZES,
    ),
    "a mean of 2^25": ({"change": claimed("normalisation/mean", (1 << 25,), "<f8")}, SIZES),
    "a mean of 2^17": ({"change": claimed("normalisation/mean", (1 << 17,), "<f8")}, r"mean: .* of shape \(3,\)"),
    "2^28 labels": ({"change": samples((5, 4, 4, 3), 1 << 28)}, SIZES),
    "2^20 labels of five images": ({"change": samples((5, 4, 4, 3), 1 << 20)}, r"labels: .* of shape \(5,\)"),
    "2^29 bytes of images": ({"change": samples((1 << 24, 4, 4, 3), 1 << 10)}, SIZES),
    "2^26 bytes of images": ({"change": samples((1 << 19, 8, 8, 2), 1 << 19)}, "images of shape"),
    "40 links to one tensor": (
        {
            "graph": {"input": [4, 4, 3], "nodes": nodes_of(40, "conv", stride=1, padding=0)},
            "tensors": {},
            "change": lambda file: (
                claimed("tensors/n0/weight", (3, 3, 300, 300))(file),
                [file["tensors"].__setitem__(f"n{i}", file["tensors/n0"]) for i in range(1, 40)],
            ),
        },
        SIZES,
    ),
    "chunks without end": ({"change": claimed("tensors/l/weight", (1 << 20, 1 << 4), chunks=(1, 1))}, SIZES),
    "a chunk of 2 GB": (
        {"change": one_chunk(bomb(1 << 11), chunks=(1 << 15, 1 << 14))},
        SIZES,
    ),
    "a chunk of 2 GB, never written": (
        {"change": claimed("tensors/l/weight", (2, 8), chunks=(1 << 15, 1 << 14), maxshape=(None, None))},
        SIZES,
    ),
    "an array in chunks of 1 GB each": (
        {"change": claimed("tensors/l/weight", (2, 8), chunks=(1, 1 << 28), maxshape=(None, None))},
        SIZES,
    ),
    "a text of 1 GB": ({"change": claimed("classes", (), f"S{1 << 30}")}, "classes: expected at most"),
    "texts without end": ({"change": claimed("classes", (1 << 30,), "S1")}, "classes: expected one text"),
    # filters
    "64 bytes that inflate to 1 GB": ({"change": one_chunk(bomb(1 << 10))}, "one of more"),
    "64 bytes that inflate to 65": (
        {"change": one_chunk(zlib.compress(bytes(65)))},
        "chunks of 64 bytes, found one of more",
    ),
    "64 bytes that inflate to 63": (
        {"change": one_chunk(zlib.compress(bytes(63)))},
        "chunks of 64 bytes, found one of 63",
    ),
    "64 bytes that do not inflate": ({"change": one_chunk(b"\0" * 50)}, "found one damaged"),
    "a chunk cut short": ({"change": one_chunk(zlib.compress(os.urandom(64))[:-20])}, "found one damaged"),
    "a chunk that is not deflated": ({"change": one_chunk(bytes(10), mask=1)}, "of 64 bytes, found one of 10 "),
    "a chunk without filters, too short": ({"change": one_chunk(bytes(10), compression=None)}, "found one of 10 "),
    "a sum inside that is missing": (
        {"change": one_chunk(zlib.compress(bytes(64)), fletcher32=True, mask=4)},
        "loaded|read|intact|chunks of",
    ),
    "deflated twice": ({"change": twice_deflated}, "no filters but gzip, shuffle, fletcher32, each once"),
    "LZF": ({"change": one_chunk(bytes(64), compression="lzf")}, "no filters but"),
    "scale and offset": (
        {"change": claimed("tensors/l/weight", (2, 8), chunks=(2, 8), scaleoffset=2)},
        "no filters but",
    ),
    # types
    "vlen nested 1,000 deep": ({"change": nested(1000, h5py.h5t.vlen_create)}, "found elements of another kind"),
    "arrays nested 500 deep": (
        {"change": nested(500, lambda kind: h5py.h5t.array_create(kind, (1,)))},
        "found elements of another kind",
    ),
    "a version nested 1,000 deep": ({"change": attribute("version", nested_attribute)}, "attribute 'version'"),
    "a format of 60,000 bytes": (
        {"change": attribute("format", lambda a: a.create("format", np.bytes_("x" * 60_000)))},
        "attribute 'format'",
    ),
    # names
    "16,000 unknown names": ({"change": links(16_000, "tensors/c")}, "10000 groups and datasets"),
    "3,000 unknown names": ({"change": links(3000, "tensors/c/weight")}, "tensors/c0: expected only"),
    "groups within themselves": ({"change": links(30, "tensors")}, "10000 groups and datasets"),
    "groups 300 deep": ({"change": lambda file: file.create_group("tensors/" + "/".join("a" * 300))}, "8 deep"),
    # JSON
    "250,000 names, one twice": (
        {"provenance": "{" + ",".join(f'"{i:x}":"0"' for i in range(250_000)) + ',"zz":"1","zz":"2"}'},
        "provenance: expected valid JSON, found 'zz' twice",
    ),
    "one name 700,000 times": ({"provenance": "{" + '"a":0,' * 690_000 + '"a":0}'}, "'a' twice in an object"),
    "250,000 texts": (
        {"provenance": "{" + ",".join(f'"{i:x}":"0"' for i in range(250_000)) + "}"},
        "",
    ),
    "a list nested 990 deep": ({"provenance": "[" * 990 + "]" * 990}, "provenance: expected"),
    "a list nested a million deep": ({"provenance": "[" * 1_000_000}, "provenance: expected valid JSON"),
    "1,300,000 lists": ({"provenance": "[" + "[]," * 1_300_000 + "[]]"}, "expected a JSON dict, found list"),
    "1,300,000 objects": ({"classes": "[" + "{}," * 1_300_000 + "{}]"}, "classes: expected a list of printable names"),
    "a number of four million digits": ({"provenance": "1" * 4_000_000}, "provenance: expected valid JSON"),
    "a graph that is one name of 4 MB": ({"graph": json.dumps({"x" * 4_000_000: 0})}, "graph: expected an object"),
    "8,191 nodes": ({"graph": {"input": [4, 4, 2], "nodes": nodes_of(8191, "relu")}, "tensors": {}}, ""),
    "60,000 nodes": (
        {"graph": {"input": [4, 4, 2], "nodes": nodes_of(60_000, "relu")}, "tensors": {}},
        "graph/nodes: expected at most 8192 nodes, found 60001",
    ),
    "8,000 nodes whose tensors are missing": (
        {"graph": {"input": [4, 4, 2], "nodes": nodes_of(8000, "batch_norm", eps=1e-5)}, "tensors": {}},
        "tensors/n0: expected an entry of this name",
    ),
    "1,900 nodes with tensors": (
        {
            "graph": {"input": [4, 4, 2], "nodes": nodes_of(1900, "batch_norm", eps=1e-5)},
            "tensors": {f"n{i}/{t}": np.ones(2) for i in range(1900) for t in ("gamma", "beta", "mean", "var")},
        },
        "",
    ),
    # what SPEC.md allows, and nobody can compute
    "a window of a million pixels": (
        {
            "graph": {"input": [2000, 2000, 2], "nodes": [POOL | {"kernel": 1000}, MEAN | {"inputs": ["p"]}]},
            "tensors": {},
        },
        "graph/p: expected maps of at most",
    ),
    "windows of 700 pixels": (
        {
            "graph": {"input": [1400, 1400, 2], "nodes": [POOL | {"kernel": 700}, MEAN | {"inputs": ["p"]}]},
            "tensors": {},
        },
        "",
    ),
    "padding of 4,000": (
        {
            "graph": {"input": [1, 1, 2], "nodes": [CONV | {"padding": 1999}, MEAN | {"inputs": ["c"]}]},
            "tensors": {"c/weight": np.ones((2, 2, 1, 1))},
        },
        "graph/c: expected maps of at most",
    ),
    "padding of 65,536": (
        {
            "graph": {"input": [1, 1, 2], "nodes": [CONV | {"padding": 1 << 16}, MEAN | {"inputs": ["c"]}]},
            "tensors": {"c/weight": np.ones((2, 2, 1, 1))},
        },
        "graph/c/padding: expected at most",
    ),
    "10,000 channels of zeros": (
        {
            "graph": {
                "input": [60, 60, 1],
                "nodes": [
                    {
                        "name": "s",
                        "op": "pad_shortcut",
                        "inputs": ["input"],
                        "stride": 1,
                        "before": 4999,
                        "after": 5000,
                    },
                    MEAN | {"inputs": ["s"]},
                ],
            },
            "classes": [""] * 10_000,
            "tensors": {},
        },
        "graph/s: expected maps of at most",
    ),
    "a convolution of 2^36 products": (
        {
            "graph": {"input": [1024, 1024, 2], "nodes": [CONV | {"padding": 50}, MEAN | {"inputs": ["c"]}]},
            "tensors": {"c/weight": np.ones((2, 2, 101, 101))},
        },
        "graph/c: expected at most .* operations",
    ),
    "4 million weights": (
        {
            "graph": {"input": [1, 1, 2000], "nodes": [MEAN, {"name": "l", "op": "linear", "inputs": ["m"]}]},
            "classes": [""] * 2000,
            "tensors": {},
            "change": lambda file: file.create_dataset(
                "tensors/l/weight", data=np.ones((2000, 2000), "f4"), chunks=(500, 2000), compression="gzip"
            ),
        },
        "",
    ),
    "5 million weights in 50 kB": (
        {
            "graph": {"input": [1, 1, 2300], "nodes": [MEAN, {"name": "l", "op": "linear", "inputs": ["m"]}]},
            "classes": [""] * 2300,
            "tensors": {},
            "change": lambda file: file.create_dataset(
                "tensors/l/weight", data=np.ones((2300, 2300), "f4"), compression="gzip"
            ),
        },
        SIZES,
    ),
}


#: Those that take long to make.
SLOW = ("1,900 nodes with tensors",)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.soak] * (kind in SLOW)) for kind in NETWORKS])
def test_network_files(worker, tmp_path, kind):
    options, message = NETWORKS[kind]
    network_file(tmp_path / "net.h5", **options)
    assert (tmp_path / "net.h5").stat().st_size <= 10 << 20
    expect(worker.read("network", tmp_path / "net.h5"), message)


# Files of corrections

NETWORK = tiny()
object.__setattr__(NETWORK, "sha256", "0" * 64)
SNAPSHOT = pcmref.program(NETWORK).at(100.0)
FULL = pcmref.Corrections(
    gain={"conv2": np.linspace(1, 2, 7)},
    statistics={"bn1": Statistics(mean=np.zeros(5), var=np.ones(5))},
)


def many_gains(count):
    def change(file):
        for i in range(count):
            file[f"gain/g{i}"] = file["gain/conv2"]

    return change


CORRECTIONS = {
    "as it is": (lambda file: None, ""),
    "a gain of 2^28": (claimed("gain/conv2", (1 << 28,), "<f8"), SIZES),
    "a gain of 2^20": (claimed("gain/conv2", (1 << 20,), "<f8"), "gain/conv2: expected shape"),
    "a mean of 2^40": (claimed("statistics/bn1/mean", (1 << 40,), "<f8", chunks=(1 << 10,)), SIZES),
    "11,000 unknown gains": (many_gains(11_000), "10000 groups and datasets"),
    "2,000 unknown gains": (many_gains(2000), "gain/g0: expected only"),
    "a chip of 5 MB": (claimed("chip", (), "S5000000"), "chip: expected at most"),
    "a chip of 4 MB of lists": (
        lambda file: (
            file.__delitem__("chip"),
            file.__setitem__("chip", np.bytes_('{"a":[' + "[]," * 1_300_000 + "[]]}")),
        ),
        "chip: spec",
    ),
}


@pytest.mark.parametrize("kind", CORRECTIONS)
def test_files_of_corrections(worker, tmp_path, kind):
    change, message = CORRECTIONS[kind]
    save_corrections(tmp_path / "c.h5", FULL, SNAPSHOT)
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        change(file)
    expect(worker.read("corrections", tmp_path / "c.h5"), message)
