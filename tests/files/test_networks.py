"""The gate: good files come back bit for bit; each bad file has one defect and is refused by its place."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pcmref.arithmetic.codes import Range
from pcmref.errors import FileError, NetworkError, OutputError, ParameterError
from pcmref.files import hdf5, networks
from pcmref.files.atomic import sha256_of
from pcmref.network.images import Samples
from pcmref.network.layers import Conv
from pcmref.network.operations import GlobalAveragePool, MaxPool
from tests.helpers.nets import assert_same, replace_layer, tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "tiny.h5"
    networks.save(path, tiny())
    return path.read_bytes()


@pytest.fixture
def path(good, tmp_path):
    path = tmp_path / "net.h5"
    path.write_bytes(good)
    return path


def refused(path, place=None):
    """The message, without its beginning: the path, and the place inside the file."""
    with pytest.raises(FileError) as caught:
        networks.load(path)
    where = str(path) if place is None else f"{path}: {place}"
    message = str(caught.value)
    assert message.startswith(f"{where}: expected ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{where}: expected ")


def ranges_of(network):
    """Ranges of all sizes that converters bear, each different."""
    names = [layer.name for layer in network.crossbar_layers]
    tops = np.geomspace(2.0**-100, 2.0**100, 2 * len(names)).reshape(-1, 2).clip(2.0**-100, 2.0**100)
    tops[0] = 2.0**-100, 2.0**-126
    return {name: Range(input_top=a, sum_top_us=b) for name, (a, b) in zip(names, tops.tolist(), strict=True)}


# Round trip


def test_round_trip(tmp_path):
    network = tiny()
    networks.save(tmp_path / "net.h5", network)
    again = networks.load(tmp_path / "net.h5")
    assert_same(dataclasses.replace(again), network)


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation": None},
        {"calibration": None},
        {"evaluation": None, "calibration": None, "provenance": {}},
        {"provenance": {"": "", "é": "a\nb\n"}, "classes": ("", " ", '"', "語")},
        {"ranges": {"chip8": ranges_of(tiny()), "other": ranges_of(tiny())}},
        {"evaluation": Samples(images=np.zeros((0, 6, 6, 3), np.uint8), labels=np.zeros(0, int), where="evaluation")},
    ],
    ids=["no evaluation", "no calibration", "no samples", "odd texts", "ranges", "zero samples"],
)
def test_round_trip_of_the_optional_parts(tmp_path, changes):
    network = tiny(**changes)
    networks.save(tmp_path / "net.h5", network)
    assert_same(dataclasses.replace(networks.load(str(tmp_path / "net.h5"))), network)


def test_round_trip_of_extreme_numbers(tmp_path):
    extremes = np.array([0.0, -0.0, 1e-45, -3.4028235e38], np.float32)
    network = replace_layer(tiny(), "fc", bias=extremes)
    network = replace_layer(network, "bn1", var=np.zeros(5, np.float32), eps=5e-324)
    networks.save(tmp_path / "net.h5", network)
    assert_same(dataclasses.replace(networks.load(tmp_path / "net.h5")), network)


def test_a_network_without_tensors(tmp_path):
    layers = (GlobalAveragePool(name="mean", inputs=("input",)),)
    network = tiny(layers=layers, classes=("r", "g", "b"), evaluation=None, calibration=None)
    networks.save(tmp_path / "net.h5", network)
    assert_same(dataclasses.replace(networks.load(tmp_path / "net.h5")), network)


@pytest.mark.parametrize("name", ["..", "tensors", "a b", "größe", "conv1.0-x", "0"])
def test_names_of_nodes(tmp_path, name):
    layers = (Conv(name=name, inputs=("input",), weight=np.ones((4, 3, 1, 1), np.float32)),)
    network = tiny(layers=(*layers, GlobalAveragePool(name="mean", inputs=(name,))))
    networks.save(tmp_path / "net.h5", network)
    assert networks.load(tmp_path / "net.h5").layers[0].name == name


def test_the_same_network_gives_the_same_bytes(tmp_path, good):
    networks.save(tmp_path / "again.h5", tiny())
    assert (tmp_path / "again.h5").read_bytes() == good
    networks.save(tmp_path / "loaded.h5", networks.load(tmp_path / "again.h5"))
    assert (tmp_path / "loaded.h5").read_bytes() == good


def test_no_time_is_stored(path):
    times = []
    with h5py.File(path) as file:
        file.visititems(lambda name, entry: times.append(h5py.h5g.get_objinfo(entry.id).mtime))
    assert len(times) > 30
    assert set(times) == {0}


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_bytes_in_other_processes(tmp_path, good, hash_seed):
    code = f"import pcmref; from tests.helpers.nets import tiny; pcmref.save({str(tmp_path / 'x.h5')!r}, tiny())"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": hash_seed}, check=True)
    assert (tmp_path / "x.h5").read_bytes() == good


def test_the_digest_is_the_files(path, good):
    assert networks.load(path).sha256 == hashlib.sha256(good).hexdigest() == sha256_of(path)


def test_big_endian_files_are_read(path):
    with h5py.File(path, "r+") as file:
        value = file["tensors/fc/weight"][()]
        put(file, "tensors/fc/weight", value.astype(">f4"))
    assert_same(networks.load(path).layers[-1], tiny().layers[-1])


def test_save_needs_a_directory(tmp_path):
    with pytest.raises(OutputError):
        networks.save(tmp_path / "no" / "net.h5", tiny())


def test_the_bundled_network():
    network = networks.load(networks.bundled())
    assert network.evaluation is not None
    assert network.calibration is not None
    assert network.input_shape == (8, 8, 1)
    assert len(network.classes) == 10
    assert set(network.provenance) >= {"commands", "licence"}


def test_the_bundled_network_of_an_installation(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "__file__", str(tmp_path / "pcmref" / "files" / "networks.py"))
    for folder in (tmp_path / "weights", tmp_path / "pcmref" / "data"):
        folder.mkdir(parents=True)
        for name in ("digits-resnet8", "other"):
            (folder / f"{name}.h5").touch()
            assert networks.bundled(name) == folder / f"{name}.h5"
        assert networks.bundled() == folder / "digits-resnet8.h5"
    with pytest.raises(ParameterError, match=r"^network: expected one of digits-resnet8, other, found 'x'$"):
        networks.bundled("x")


# Not a file, not HDF5


def test_a_file_that_does_not_exist(tmp_path):
    assert refused(tmp_path / "no.h5") == "an HDF5 file, found nothing"
    assert refused(tmp_path / "no" / "no.h5") == "an HDF5 file, found nothing"


def test_a_directory(tmp_path):
    assert refused(tmp_path) == "an HDF5 file, found a directory"


def test_a_name_that_is_too_long(tmp_path):
    assert refused(tmp_path / ("x" * 300)) == "an HDF5 file, found nothing"


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04" + bytes(100), b"\x89HDF\r\n\x1a\n"], ids=repr)
def test_not_hdf5(tmp_path, content):
    (tmp_path / "net.h5").write_bytes(content)
    assert refused(tmp_path / "net.h5").startswith("an intact HDF5 file, found ")


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file(path, good, share):
    path.write_bytes(good[: int(share * len(good))])
    assert refused(path).startswith("an intact HDF5 file, found ")


def test_a_file_without_its_last_byte(path, good):
    path.write_bytes(good[:-1])
    assert refused(path).startswith("an intact HDF5 file, found ")


# The zoo: name -> (place, how to make the defect); each of an open file


def put(file, name, value, **options):
    """Replace an entry; texts have a fixed length."""
    if name in file:
        del file[name]
    file.create_dataset(name, data=np.bytes_(value) if isinstance(value, str) else value, **options)


def drop(name):
    return lambda file: file.__delitem__(name)


def entry(name, value, **options):
    return lambda file: put(file, name, value, **options)


def attribute(name, value):
    return lambda file: file.attrs.create(name, value)


def link(name, target):
    def edit(file):
        if name in file:
            del file[name]
        file[name] = target

    return edit


def named(graph, name):
    return next(node for node in graph["nodes"] if node["name"] == name)


def graph(change):
    def edit(file):
        graph = json.loads(file["graph"][()])
        replaced = change(graph)
        put(file, "graph", json.dumps(graph if replaced is None else replaced))

    return edit


def text_with(old, new):
    """A graph whose text has `new` in place of the first `old`."""

    def edit(file):
        text = file["graph"][()].decode()
        assert old in text
        put(file, "graph", text.replace(old, new, 1))

    return edit


def node(name, /, **changes):
    return graph(lambda graph: named(graph, name).update(changes))


def node_without(name, key):
    return graph(lambda graph: named(graph, name).__delitem__(key))


def tensor(name, change):
    return lambda file: put(file, f"tensors/{name}", change(file[f"tensors/{name}"][()]))


def element(name, place, value):
    return lambda file: file[name].__setitem__(place, value)


def group_for(name):
    def edit(file):
        del file[name]
        file.create_group(name)

    return edit


def declared(name, shape, dtype="f4", side=1 << 10):
    """An entry of this shape that holds no data, in chunks of this side, if any."""

    def edit(file):
        del file[name]
        layout = {"chunks": (side,) * len(shape), "compression": "gzip"} if side else {}
        file.create_dataset(name, shape, dtype, **layout)

    return edit


def external(file):
    value = file["tensors/fc/bias"][()]
    raw = Path(file.filename).with_suffix(".raw")
    raw.write_bytes(value.tobytes())
    del file["tensors/fc/bias"]
    file.create_dataset("tensors/fc/bias", value.shape, value.dtype, external=[(str(raw), 0, value.nbytes)])


def virtual(file):
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "bias", shape=(4,))
    del file["tensors/fc/bias"]
    file.create_virtual_dataset("tensors/fc/bias", layout)


def variable(name):
    def edit(file):
        value = file[name][()].decode()
        del file[name]
        file[name] = value

    return edit


def twice(name):
    return graph(lambda graph: graph["nodes"].append(named(graph, name)))


ZOO = {
    # header
    "no format": ("/ attribute 'format'", lambda file: file.attrs.__delitem__("format")),
    "another format": ("/ attribute 'format'", attribute("format", np.bytes_("pcmref-networks"))),
    "format of bytes that are no text": ("/ attribute 'format'", attribute("format", np.bytes_(b"\xff"))),
    "format is a number": ("/ attribute 'format'", attribute("format", 1)),
    "format is an array": ("/ attribute 'format'", attribute("format", [1, 2])),
    "format is empty": ("/ attribute 'format'", attribute("format", h5py.Empty("f4"))),
    "no version": ("/ attribute 'version'", lambda file: file.attrs.__delitem__("version")),
    "version 0": ("/ attribute 'version'", attribute("version", 0)),
    "version 2": ("/ attribute 'version'", attribute("version", 2)),
    "version is a float": ("/ attribute 'version'", attribute("version", 1.0)),
    "version is a bool": ("/ attribute 'version'", attribute("version", True)),
    "version is a text": ("/ attribute 'version'", attribute("version", np.bytes_("1"))),
    "version is an array": ("/ attribute 'version'", attribute("version", [1])),
    "format is of variable length": ("/ attribute 'format'", attribute("format", "pcmref-network")),
    # entries
    "no graph": ("graph", drop("graph")),
    "no classes": ("classes", drop("classes")),
    "no provenance": ("provenance", drop("provenance")),
    "no normalisation": ("normalisation", drop("normalisation")),
    "no mean": ("normalisation/mean", drop("normalisation/mean")),
    "no tensors": ("tensors", drop("tensors")),
    "no tensors of a node": ("tensors/conv2", drop("tensors/conv2")),
    "no weight": ("tensors/conv2/weight", drop("tensors/conv2/weight")),
    "no variance": ("tensors/bn2/var", drop("tensors/bn2/var")),
    "no images": ("evaluation/images", drop("evaluation/images")),
    "no labels": ("calibration/labels", drop("calibration/labels")),
    "unknown entry": ("extra", entry("extra", 1)),
    "unknown group": ("extra", lambda file: file.create_group("extra")),
    "unknown normalisation": ("normalisation/max", entry("normalisation/max", 1.0)),
    "tensors of an unknown node": ("tensors/conv9", lambda file: file.copy("tensors/conv1", "tensors/conv9")),
    "tensors of a node without any": ("tensors/relu1", lambda file: file.create_group("tensors/relu1")),
    "unknown tensor": ("tensors/fc/scale", entry("tensors/fc/scale", np.float32(1))),
    "unknown samples": ("evaluation/names", entry("evaluation/names", 1)),
    "unknown dangling link": ("extra", link("extra", h5py.SoftLink("/nowhere"))),
    # kinds of entries
    "graph is a group": ("graph", group_for("graph")),
    "classes are a group": ("classes", group_for("classes")),
    "normalisation is a dataset": ("normalisation", entry("normalisation", 1.0)),
    "tensors are a dataset": ("tensors", entry("tensors", 1.0)),
    "tensors of a node are a dataset": ("tensors/fc", entry("tensors/fc", np.zeros(4, np.float32))),
    "weight is a group": ("tensors/fc/weight", group_for("tensors/fc/weight")),
    "weight is a datatype": ("tensors/fc/weight", link("tensors/fc/weight", np.dtype("f4"))),
    "evaluation is a dataset": ("evaluation", entry("evaluation", 1.0)),
    # texts
    "graph is not JSON": ("graph", entry("graph", "{")),
    "graph is an empty text": ("graph", entry("graph", " ")),
    "graph is not UTF-8": ("graph", entry("graph", np.bytes_(b'{"\xff": 1}'))),
    "graph is nested too deep": ("graph", entry("graph", "[" * 100_000)),
    "graph has a number of too many digits": ("graph", entry("graph", "9" * 10_000)),
    "graph is of variable length": ("graph", variable("graph")),
    "graph is UTF-16": (
        "graph",
        lambda file: put(file, "graph", np.bytes_(file["graph"][()].decode().encode("utf-16"))),
    ),
    "graph is a list": ("graph", graph(lambda graph: [graph])),
    "graph is null": ("graph", entry("graph", "null")),
    "graph is a number": ("graph", entry("graph", 7)),
    "graph is two texts": ("graph", entry("graph", np.array([b"{}", b"{}"]))),
    "graph is too long": ("graph", entry("graph", " " * (1 << 22) + "{}")),
    "classes are an object": ("classes", entry("classes", "{}")),
    "classes hold a number": ("classes", entry("classes", '["a", "b", "c", 4]')),
    "provenance is a list": ("provenance", entry("provenance", "[]")),
    "provenance holds a number": ("provenance", entry("provenance", '{"seed": 1}')),
    "provenance holds null": ("provenance", entry("provenance", '{"seed": null}')),
    # graph
    "no nodes": ("graph", graph(lambda graph: graph.__delitem__("nodes"))),
    "nodes are an object": ("graph", graph(lambda graph: graph.update(nodes={}))),
    "input is a number": ("graph", graph(lambda graph: graph.update(input=6))),
    "graph has another key": ("graph", graph(lambda graph: graph.update(more=[]))),
    "input has two sizes": ("graph/input", graph(lambda graph: graph.update(input=[6, 6]))),
    "input has four sizes": ("graph/input", graph(lambda graph: graph.update(input=[1, 6, 6, 3]))),
    "input of size 0": ("graph/input", graph(lambda graph: graph.update(input=[0, 6, 3]))),
    "input of a float size": ("graph/input", graph(lambda graph: graph.update(input=[6.0, 6, 3]))),
    "input of a huge size": ("graph/input", graph(lambda graph: graph.update(input=[6, 1 << 17, 3]))),
    "input of another size": ("evaluation/images", graph(lambda graph: graph.update(input=[6, 5, 3]))),
    "input of other channels": ("normalisation/mean", graph(lambda graph: graph.update(input=[6, 6, 1]))),
    "node is a text": ("graph/nodes[1]", graph(lambda graph: graph["nodes"].__setitem__(1, "relu"))),
    "node is null": ("graph/nodes[0]", graph(lambda graph: graph["nodes"].insert(0, None))),
    "node without name": ("graph/nodes[2]", node_without("relu1", "name")),
    "node name is a number": ("graph/nodes[2]", node("relu1", name=3)),
    "node name is empty": ("graph", node("relu3", name="")),
    "node name is a dot": ("graph", node("relu3", name=".")),
    "node name is input": ("graph", node("relu3", name="input")),
    "node name has a slash": ("graph", node("relu3", name="a/b")),
    "node name has a line break": ("graph", node("relu3", name="a\nb")),
    "node name has an escape": ("graph", node("relu3", name="\x1b[2J")),
    "node name has half a character": ("graph", node("relu3", name="\ud800")),
    "node name climbs out": ("tensors/../tensors/fc", node("fc", name="../tensors/fc")),
    "node without op": ("graph/relu1/op", node_without("relu1", "op")),
    "unknown op": ("graph/relu1/op", node("relu1", op="gelu")),
    "op is a list": ("graph/relu1/op", node("relu1", op=["relu"])),
    "node without inputs": ("graph/relu1/inputs", node_without("relu1", "inputs")),
    "inputs are a text": ("graph/relu1/inputs", node("relu1", inputs="bn1")),
    "input is no text": ("graph/relu1/inputs", node("relu1", inputs=[1])),
    "input is a list": ("graph/relu1/inputs", node("relu1", inputs=[["bn1"]])),
    "no input": ("graph/relu1/inputs", node("relu1", inputs=[])),
    "two inputs of one": ("graph/relu1/inputs", node("relu1", inputs=["bn1", "bn1"])),
    "one input of two": ("graph/add1/inputs", node("add1", inputs=["bn2"])),
    "three inputs of two": ("graph/add1/inputs", node("add1", inputs=["bn2", "short", "short"])),
    "unknown input": ("graph/relu1/inputs", node("relu1", inputs=["bn9"])),
    "cycle": ("graph/relu1/inputs", node("relu1", inputs=["pool"])),
    "self loop": ("graph/relu1/inputs", node("relu1", inputs=["relu1"])),
    "duplicate name": ("graph", twice("relu1")),
    "duplicate name of a crossbar": ("graph", twice("fc")),
    "no node at all": ("tensors/bn1", graph(lambda graph: graph.update(nodes=[]))),
    "unknown number": ("graph/conv1", node("conv1", slope=1)),
    "tensor among the numbers": ("graph/conv1", node("conv1", weight=1)),
    "number of another op": ("graph/relu1", node("relu1", stride=1)),
    "missing number": ("graph/conv1", node_without("conv1", "stride")),
    "missing eps": ("graph/bn1", node_without("bn1", "eps")),
    # numbers
    "stride 0": ("graph/conv1/stride", node("conv1", stride=0)),
    "stride -1": ("graph/conv1/stride", node("conv1", stride=-1)),
    "stride huge": ("graph/conv1/stride", node("conv1", stride=1 << 16 | 1)),
    "stride beyond 64 bits": ("graph/conv1/stride", node("conv1", stride=10**100)),
    "stride is a bool": ("graph/conv1/stride", node("conv1", stride=True)),
    "stride is a float": ("graph/conv1/stride", node("conv1", stride=1.0)),
    "stride is a text": ("graph/conv1/stride", node("conv1", stride="1")),
    "stride is null": ("graph/conv1/stride", node("conv1", stride=None)),
    "padding -1": ("graph/conv1/padding", node("conv1", padding=-1)),
    "padding huge": ("graph/conv1/padding", node("conv1", padding=1 << 17)),
    "pool kernel 0": ("graph/pool/kernel", node("pool", kernel=0)),
    "pool stride 0": ("graph/pool/stride", node("pool", stride=0)),
    "pool padding -1": ("graph/pool/padding", node("pool", padding=-1)),
    "pool window without a pixel": ("graph/pool/padding", node("pool", padding=3)),
    "pool kernel beyond the input": ("graph/pool", node("pool", kernel=9)),
    "shortcut stride 0": ("graph/pad/stride", node("pad", stride=0)),
    "shortcut of fewer channels before": ("graph/pad/before", node("pad", before=-1)),
    "shortcut of fewer channels after": ("graph/pad/after", node("pad", after=-1)),
    "eps 0": ("graph/bn1/eps", node("bn1", eps=0.0)),
    "eps 1": ("graph/bn1/eps", node("bn1", eps=1.0)),
    "eps negative": ("graph/bn1/eps", node("bn1", eps=-1e-5)),
    "eps NaN": ("graph/bn1/eps", node("bn1", eps=float("nan"))),
    "eps infinite": ("graph/bn1/eps", node("bn1", eps=float("inf"))),
    "eps is a text": ("graph/bn1/eps", node("bn1", eps="1e-5")),
    # shapes
    "sum of two shapes": ("graph/add1", node("add1", inputs=["bn2", "conv1"])),
    "linear of a map": ("tensors/fc/weight", node("fc", inputs=["relu3"])),
    "map needed": (
        "graph/mean2",
        graph(lambda g: g["nodes"].append({**g["nodes"][-2], "name": "mean2", "inputs": ["fc"]})),
    ),
    "output is a map": (
        "graph/relu3",
        lambda file: (graph(lambda g: g["nodes"].__delitem__(slice(-2, None)))(file), drop("tensors/fc")(file)),
    ),
    "too few classes": ("graph/fc", entry("classes", '["a", "b", "c"]')),
    "no classes at all": ("graph/fc", entry("classes", "[]")),
    "weight of other channels": ("tensors/conv2/weight", tensor("conv2/weight", lambda w: w[:, :-1])),
    "weight of other outputs": ("tensors/bn2/gamma", tensor("conv2/weight", lambda w: w[:-1])),
    "kernel beyond the input": ("graph/conv1", tensor("conv1/weight", lambda w: np.tile(w, (1, 1, 3, 1)))),
    "linear weight of other inputs": ("tensors/fc/weight", tensor("fc/weight", lambda w: w[:, :-1])),
    "bias of another length": ("tensors/fc/bias", tensor("fc/bias", lambda b: b[:-1])),
    "bias of length 1": ("tensors/short/bias", tensor("short/bias", lambda b: b[:1])),
    "gamma of another length": ("tensors/bn1/gamma", tensor("bn1/gamma", lambda t: t[:-1])),
    "beta of another length": ("tensors/bn1/beta", tensor("bn1/beta", lambda t: t[:-1])),
    "mean of another length": ("tensors/bn1/mean", tensor("bn1/mean", lambda t: t[:-1])),
    "variance of another length": ("tensors/bn1/var", tensor("bn1/var", lambda t: t[:-1])),
    # tensors
    "float64 weight": ("tensors/conv1/weight", tensor("conv1/weight", lambda w: w.astype(np.float64))),
    "float16 weight": ("tensors/conv1/weight", tensor("conv1/weight", lambda w: w.astype(np.float16))),
    "integer weight": ("tensors/conv1/weight", tensor("conv1/weight", lambda w: w.astype(np.int32))),
    "complex weight": ("tensors/conv1/weight", tensor("conv1/weight", lambda w: w.astype(np.complex64))),
    "weight of texts": ("tensors/fc/bias", tensor("fc/bias", lambda w: w.astype(bytes))),
    "weight of records": ("tensors/fc/bias", tensor("fc/bias", lambda w: w.view([("x", "f4")]))),
    "weight of three axes": ("tensors/conv1/weight", tensor("conv1/weight", lambda w: w[0])),
    "weight of five axes": ("tensors/conv1/weight", tensor("conv1/weight", lambda w: w[None])),
    "weight of no axis": ("tensors/fc/bias", tensor("fc/bias", lambda w: w[0])),
    "weight without a shape": ("tensors/fc/bias", entry("tensors/fc/bias", h5py.Empty("f4"))),
    "empty axis of a weight": ("tensors/conv1/weight", tensor("conv1/weight", lambda w: w[:, :, :, :0])),
    "empty axis of a bias": ("tensors/fc/bias", tensor("fc/bias", lambda b: b[:0])),
    "NaN in a weight": ("tensors/conv1/weight", element("tensors/conv1/weight", (4, 2, 0, 1), np.nan)),
    "infinite bias": ("tensors/fc/bias", element("tensors/fc/bias", 3, -np.inf)),
    "NaN in a variance": ("tensors/bn1/var", element("tensors/bn1/var", 2, np.nan)),
    "negative variance": ("tensors/bn1/var", element("tensors/bn1/var", 2, -1e-9)),
    # storage
    "soft link": ("tensors/fc/weight", link("tensors/fc/weight", h5py.SoftLink("/tensors/fc/bias"))),
    "dangling soft link": ("graph", link("graph", h5py.SoftLink("/nowhere"))),
    "soft link to a group": ("tensors/bn1", link("tensors/bn1", h5py.SoftLink("/tensors/bn2"))),
    "external link": ("tensors/fc/weight", link("tensors/fc/weight", h5py.ExternalLink("other.h5", "/w"))),
    "external link to the file itself": ("graph", link("graph", h5py.ExternalLink("net.h5", "/classes"))),
    "external link for optional samples": ("evaluation", link("evaluation", h5py.ExternalLink("other.h5", "/e"))),
    "dangling link for optional samples": ("evaluation", link("evaluation", h5py.SoftLink("/nowhere"))),
    "dangling link for a bias": ("tensors/fc/bias", link("tensors/fc/bias", h5py.SoftLink("/nowhere"))),
    "external storage": ("tensors/fc/bias", external),
    "virtual dataset": ("tensors/fc/bias", virtual),
    "2^40 weights declared": ("tensors/fc/weight", declared("tensors/fc/weight", (1 << 20, 1 << 20))),
    "2^64 weights declared": ("tensors/fc/weight", declared("tensors/fc/weight", (1 << 32, 1 << 32))),
    "2^30 weights declared": ("tensors/fc/weight", declared("tensors/fc/weight", (1 << 20, 1 << 10), side=None)),
    "more chunks than memory": ("tensors/fc/weight", declared("tensors/fc/weight", ((1 << 15) + 1, 2), side=2)),
    "2^40 images declared": (
        "evaluation/images",
        declared("evaluation/images", (1 << 37, 2, 2, 2), "u1", side=None),
    ),
    "text of 1 GiB declared": ("graph", declared("graph", (), f"S{1 << 30}", side=None)),
    # normalisation and samples
    "mean of float32": ("normalisation/mean", entry("normalisation/mean", np.zeros(3, np.float32))),
    "full scale is an array": ("normalisation/full_scale", entry("normalisation/full_scale", [255.0])),
    "full scale 0": ("normalisation", entry("normalisation/full_scale", 0.0)),
    "full scale negative": ("normalisation", entry("normalisation/full_scale", -255.0)),
    "full scale NaN": ("normalisation", entry("normalisation/full_scale", np.nan)),
    "std 0": ("normalisation", element("normalisation/std", 1, 0.0)),
    "std negative": ("normalisation", element("normalisation/std", 1, -0.1)),
    "std infinite": ("normalisation", element("normalisation/std", 1, np.inf)),
    "mean NaN": ("normalisation", element("normalisation/mean", 1, np.nan)),
    "two means of three": ("normalisation/mean", entry("normalisation/mean", np.zeros(2))),
    "no channel": (
        "normalisation/mean",
        lambda f: [entry(f"normalisation/{n}", np.zeros(0))(f) for n in ("mean", "std")],
    ),
    "label beyond the classes": ("evaluation/labels", element("evaluation/labels", 2, 4)),
    "label negative": ("evaluation/labels", element("evaluation/labels", 2, -1)),
    "labels of int32": ("calibration/labels", entry("calibration/labels", np.zeros(3, np.int32))),
    "labels of two axes": ("calibration/labels", entry("calibration/labels", np.zeros((3, 1), np.int64))),
    "label missing": ("calibration/labels", entry("calibration/labels", np.zeros(2, np.int64))),
    "stride twice": ("graph", text_with('"stride": 1', '"stride": 1, "stride": 2')),
    "ranges of a list": ("ranges", entry("ranges", np.bytes_("[]"))),
    "ranges of a number": ("ranges/chip8", entry("ranges", np.bytes_('{"chip8": 1}'))),
    "ranges of some layers": ("ranges/chip8", entry("ranges", np.bytes_('{"chip8": {"fc": [1, 2]}}'))),
    "one range": ("ranges/chip8/fc", entry("ranges", np.bytes_('{"chip8": {"fc": [1]}}'))),
    "range of text": ("ranges/chip8/fc", entry("ranges", np.bytes_('{"chip8": {"fc": [1, "2"]}}'))),
    "range true": ("ranges/chip8/fc", entry("ranges", np.bytes_('{"chip8": {"fc": [1, true]}}'))),
    "range 0": ("ranges/chip8/fc", entry("ranges", np.bytes_('{"chip8": {"fc": [1, 0.0]}}'))),
    "range NaN": ("ranges/chip8/fc", entry("ranges", np.bytes_('{"chip8": {"fc": [NaN, 1]}}'))),
    "range of 400 digits": (
        "ranges/chip8/fc",
        entry("ranges", np.bytes_('{"chip8": {"fc": [1' + "0" * 400 + ", 1]}}")),
    ),
    "images of float32": ("calibration/images", entry("calibration/images", np.zeros((3, 6, 6, 3), np.float32))),
    "images of three axes": ("calibration/images", entry("calibration/images", np.zeros((3, 6, 6), np.uint8))),
    "images of another size": ("calibration/images", entry("calibration/images", np.zeros((3, 6, 5, 3), np.uint8))),
    "images channels first": ("calibration/images", entry("calibration/images", np.zeros((3, 3, 6, 6), np.uint8))),
}


@pytest.mark.parametrize("defect", ZOO)
def test_a_bad_file_is_refused_by_its_place(path, defect):
    place, damage = ZOO[defect]
    with h5py.File(path, "r+") as file:
        damage(file)
    assert refused(path, place)


@pytest.mark.parametrize("defect", [name for name in ZOO if name.endswith(" declared")])
def test_what_a_file_declares_is_not_allocated(path, defect):
    place, damage = ZOO[defect]
    with h5py.File(path, "r+") as file:
        damage(file)
    tracemalloc.start()
    try:
        refused(path, place)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("defect", "found"),
    [
        ("another format", "'pcmref-network', found "),
        ("version 2", "1, found 2"),
        ("no graph", "an entry of this name, found none"),
        ("no tensors of a node", "an entry of this name, found none"),
        ("unknown tensor", "only ['bias', 'weight'], found an unknown entry"),
        ("unknown op", "one of ['add', 'affine', 'average_pool', 'batch_norm', 'channel_shuffle', 'clip', "),
        (
            "missing number",
            "the numbers ['digital', 'dilation', 'groups', 'padding', 'stride'], of which ['digital', 'dilation', "
            "'groups'] may be left out, found ['padding']",
        ),
        ("cycle", "nodes that come before it (no cycle), found 'pool'"),
        ("duplicate name", "unique node names, found 'relu1' twice"),
        ("stride 0", "an integer from 1 to 65536, found 0"),
        ("float64 weight", "float32 with 4 axes, found float64 of shape (5, 3, 3, 3)"),
        ("weight of three axes", "float32 with 4 axes, found float32 of shape (3, 3, 3)"),
        ("empty axis of a weight", "no empty axis, found shape (5, 3, 3, 0)"),
        ("NaN in a weight", "finite numbers, found nan at [4, 2, 0, 1]"),
        ("infinite bias", "finite numbers, found -inf at [3]"),
        ("negative variance", "no negative variance, found -9.99"),
        ("soft link", "data stored in this file, found a soft link"),
        ("external link", "data stored in this file, found an external link"),
        ("virtual dataset", "data stored in this file, found external or virtual storage"),
        ("2^40 weights declared", "arrays of numbers that take at most 16777216 bytes, in a file of "),
        ("text of 1 GiB declared", "at most 4194304 bytes, found 1073741824 bytes"),
        ("graph is of variable length", "one text of fixed length, found elements of another kind of shape ()"),
        ("weight is a group", "a dataset, found a group"),
        ("tensors are a dataset", "a group, found a dataset"),
        ("weight of other channels", "5 input channels, found 4"),
        ("gamma of another length", "shape (5,), found shape (4,)"),
        ("label beyond the classes", "labels below 4, found 4"),
        ("label missing", "int64 of shape (3,), found int64 of shape (2,)"),
        ("images of another size", "images of shape (6, 6, 3), found (6, 5, 3)"),
        ("stride twice", "valid JSON, found 'stride' twice in an object"),
        ("ranges of some layers", "the crossbar layers ['conv1', "),
        ("range 0", "input_top from 2^-100 and sum_top from 2^-126 to 2^100, found [1, 0.0]"),
        ("too few classes", "an output of 3 classes, found (4,)"),
    ],
)
def test_a_message_says_what_was_expected_and_found(path, defect, found):
    place, damage = ZOO[defect]
    with h5py.File(path, "r+") as file:
        damage(file)
    assert refused(path, place).startswith(found)


def test_a_graph_without_nodes(path):
    with h5py.File(path, "r+") as file:
        graph(lambda graph: graph.update(nodes=[]))(file)
        for name in list(file["tensors"]):
            del file["tensors"][name]
    assert refused(path, "graph") == "at least one node, found none"


def one_layer():
    layers = (Conv(name="c", inputs=("input",), weight=np.ones((4, 3, 1, 1), np.float32)),)
    return tiny(layers=(*layers, GlobalAveragePool(name="m", inputs=("c",))))


#: Bytes of the arrays of `one_layer`: five and three images of 6 x 6 x 3; weights, their labels, a mean, std and scale.
IMAGES, NUMBERS = 8 * 6 * 6 * 3, 4 * 12 + 8 * 8 + 8 * 7


@pytest.mark.parametrize(
    ("limit", "largest", "place", "message"),
    [
        ("IMAGES_MOST", IMAGES, "evaluation/images", r"arrays of bytes that take at most 863 bytes, .* 864 bytes with"),
        ("NUMBERS_MOST", NUMBERS, "tensors/c/weight", "arrays of numbers that take at most 167 bytes, .* 168 bytes w"),
        ("TEXT_LIMIT", len("{}") + 1000, "provenance", "at most 1001 bytes, found 1002 bytes"),
    ],
)
def test_limits(path, monkeypatch, limit, largest, place, message):
    """The largest arrays and text are still read."""
    networks.save(path, one_layer())
    with h5py.File(path, "r+") as file:
        put(file, "provenance", "{" + " " * 1000 + "}")
        del file.attrs["digest"]
        for name in ("evaluation/images", "calibration/images"):  # no chunks, which would cost more
            put(file, name, file[name][()])
    monkeypatch.setattr(hdf5, "IMAGES_RATIO", 0)
    monkeypatch.setattr(hdf5, "NUMBERS_RATIO", 0)
    monkeypatch.setattr(hdf5, limit, largest)
    networks.load(path)
    monkeypatch.setattr(hdf5, limit, largest - 1)
    assert re.match(message, refused(path, place))


def test_a_large_file_may_hold_more(path, monkeypatch):
    size = path.stat().st_size
    monkeypatch.setattr(hdf5, "NUMBERS_MOST", 1)
    networks.load(path)
    monkeypatch.setattr(hdf5, "NUMBERS_RATIO", 1 / size)
    assert f"at most 1 bytes, in a file of {size}" in refused(path, "calibration/labels")


def test_entries_and_nodes_are_counted(path, monkeypatch):
    with h5py.File(path) as file:
        names = []
        file.visit(names.append)
    nodes = len(networks.load(path).layers)
    for module, limit, count, message in (
        (hdf5, "ENTRY_LIMIT", len(names), f"at most {len(names) - 1} groups and datasets, 8 deep, found more"),
        (networks, "NODE_LIMIT", nodes, f"graph/nodes: expected at most {nodes - 1} nodes, found {nodes}"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, count)
            networks.load(path)
            patch.setattr(module, limit, count - 1)
            with pytest.raises(FileError, match=message):
                networks.load(path)


def test_what_load_refuses_for_its_size_is_not_saved(tmp_path, monkeypatch):
    """And what was there before stays."""
    path = tmp_path / "net.h5"
    network = tiny()
    networks.save(path, network)
    before = path.read_bytes()
    text = len(json.dumps(dict(network.provenance)))
    for module, limit, value, message in (
        (hdf5, "TEXT_LIMIT", text, r"graph: expected at most \d+ bytes, found \d+ bytes"),
        (hdf5, "NUMBERS_MOST", 100, r"normalisation/std: expected arrays of numbers that take at most 100 b"),
        (hdf5, "IMAGES_MOST", 100, r"/images: expected arrays of bytes that take at most 100 bytes"),
        (networks, "NODE_LIMIT", 3, r"graph/nodes: expected at most 3 nodes"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(hdf5, "IMAGES_RATIO", 0)
            patch.setattr(hdf5, "NUMBERS_RATIO", 0)
            patch.setattr(module, limit, value)
            with pytest.raises(FileError, match=message):
                networks.save(path, network)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


# The digest


def lines_of(path):
    """The lines of the digest, as appendix A has them."""
    lines = {}

    def line(name, entry):
        if isinstance(entry, h5py.Dataset):
            value = entry[()]
            if entry.dtype.kind == "S":
                content, form = value.rstrip(b"\0"), "text"
            else:
                content = np.asarray(value, entry.dtype.newbyteorder("<")).tobytes()
                form = f"{entry.dtype.name}({','.join(map(str, entry.shape))})"
            lines[name.encode()] = f"{hashlib.sha256(content).hexdigest()} {form} {name}\n"

    with h5py.File(path) as file:
        file.visititems(line)
    return "".join(lines[name] for name in sorted(lines))


def test_the_digest_of_a_file_is_that_of_its_content(tmp_path):
    network = tiny(provenance={"ö": "ü"}, ranges={"chip8": ranges_of(tiny())})
    networks.save(tmp_path / "net.h5", network)
    with h5py.File(tmp_path / "net.h5") as file:
        assert file.attrs["digest"].decode() == hashlib.sha256(lines_of(tmp_path / "net.h5").encode()).hexdigest()


CHANGES = {
    "a weight by a bit": lambda file: element(
        "tensors/conv1/weight", (0, 0, 0, 0), file["tensors/conv1/weight"][0, 0, 0, 0] * (1 + 2**-23)
    )(file),
    "a weight of 0 by its sign": lambda file: element("tensors/bn1/mean", 0, -0.0)(file),
    "a pixel": lambda file: element("evaluation/images", (0, 0, 0, 0), file["evaluation/images"][0, 0, 0, 0] ^ 1)(file),
    "a label": lambda file: element("evaluation/labels", 0, (file["evaluation/labels"][0] + 1) % 4)(file),
    "a word": entry("provenance", "{}"),
    "a mean": element("normalisation/mean", 0, 0.25),
    "a bias taken away": drop("tensors/fc/bias"),
    "images taken away": drop("calibration"),
    "the digest": attribute("digest", np.bytes_("0" * 64)),
    "the digest is a number": attribute("digest", 1),
    "the digest is empty": attribute("digest", np.bytes_("")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_was_changed_is_refused_while_it_has_its_digest(tmp_path, change):
    path = tmp_path / "net.h5"
    networks.save(path, replace_layer(tiny(), "bn1", mean=np.zeros(5, np.float32)))
    with h5py.File(path, "r+") as file:
        CHANGES[change](file)
    assert refused(path, "/ attribute 'digest'").endswith(": the file was changed")
    with h5py.File(path, "r+") as file:
        del file.attrs["digest"]
    networks.load(path)


def test_files_of_before_have_no_digest():
    """And are read as they are."""
    with h5py.File(networks.bundled()) as file:
        assert "digest" not in file.attrs


def test_an_outer_file_is_never_opened(path, tmp_path):
    """Neither a readable one nor one that would be created or waited for."""
    networks.save(tmp_path / "other.h5", tiny(seed=1))
    with h5py.File(path, "r+") as file:
        link("tensors", h5py.ExternalLink(str(tmp_path / "other.h5"), "/tensors"))(file)
    assert refused(path, "tensors").endswith("found an external link")


@pytest.mark.parametrize("pair", [[1.0], [1.0, 1.0, 1.0], [], [True, 1.0], [1.0, "1"], [None, 1.0], 1.0, {}])
def test_ranges_that_are_no_two_numbers(tmp_path, pair):
    path = tmp_path / "net.h5"
    networks.save(path, tiny(ranges={"chip8": ranges_of(tiny())}))
    with h5py.File(path, "r+") as file:
        tops = json.loads(file["ranges"][()])
        tops["chip8"]["conv2"] = pair
        del file["ranges"]
        file["ranges"] = np.bytes_(json.dumps(tops))
    assert refused(path, "ranges/chip8/conv2") == f"two numbers, found {pair!r}"


# Damage at random, in a process of its own: the HDF5 library may crash or hang

WORKER = """
import sys
import pcmref
from pcmref.errors import FileError
for line in sys.stdin:
    path = line.strip()
    try:
        pcmref.load(path)
        print("loaded", flush=True)
    except FileError as error:
        print("refused" if path in str(error) else f"no path in {error}", flush=True)
"""


class Worker:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKER],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def load(self, path):
        """What came of it: "loaded", "refused", or a failure."""
        watch = threading.Timer(30, self.process.kill)
        watch.start()
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        watch.cancel()
        return answer or f"ended with {self.process.wait()}: {self.process.stderr.read()}"


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.process.communicate()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A good file whose bytes are structure for the greater part."""
    layers = (
        MaxPool(name="pool", inputs=("input",), kernel=2, stride=2),
        Conv(name="conv", inputs=("pool",), weight=np.ones((2, 1, 1, 1), np.float32), bias=np.ones(2, np.float32)),
        GlobalAveragePool(name="mean", inputs=("conv",)),
    )
    images = Samples(images=np.zeros((2, 2, 2, 1), np.uint8), labels=np.zeros(2, np.int64), where="evaluation")
    grey = dataclasses.replace(tiny().normalisation, mean=(0.0,), std=(1.0,))
    changes = {"layers": layers, "input_shape": (2, 2, 1), "normalisation": grey, "classes": ("a", "b")}
    path = tmp_path_factory.mktemp("small") / "net.h5"
    networks.save(path, tiny(**changes, evaluation=images, calibration=None))
    return path.read_bytes()


damage = st.one_of(
    st.tuples(st.floats(0, 1, exclude_max=True), st.just([])),
    st.tuples(
        st.just(1.0),
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8),
    ),
)


@settings(max_examples=100, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
@given(damage=damage)
def test_random_damage_is_refused_or_harmless(small, worker, tmp_path_factory, damage):
    length, flips = damage
    content = bytearray(small[: int(length * len(small))])
    for position, change in flips:
        content[int(position * len(content))] ^= change
    path = tmp_path_factory.getbasetemp() / "damaged.h5"
    path.write_bytes(content)
    assert worker.load(path) in ("loaded", "refused")


@pytest.mark.parametrize("text", ["a\x00b", "\x1b[31m", "\ud800"])
def test_texts_that_would_act_on_a_terminal_are_refused(text):
    net = tiny()
    classes = (text, *net.classes[1:])
    for change in ({"provenance": {"key": text}}, {"provenance": {text: "value"}}, {"classes": classes}):
        with pytest.raises(NetworkError, match="printable"):
            dataclasses.replace(net, **change)
