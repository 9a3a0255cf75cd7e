"""Whose corrections a file has: told by every name and value of its identity, and by the type of each."""

import hashlib
import json
import struct
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pcmref
from pcmref.arithmetic.codes import Range
from pcmref.errors import FileError
from pcmref.files import corrections as format_of
from pcmref.files.hdf5 import fixed_text, written
from pcmref.files.json_text import is_same
from pcmref.network.graph import Network
from pcmref.network.operations import GlobalAveragePool
from tests.helpers.nets import RGB, tiny


def plain_digest(file):
    """The digest of a network, from its file, as the appendix says."""
    graph = json.loads(file["graph"][()])
    found = hashlib.sha256(json.dumps(graph, sort_keys=True).encode("ascii"))
    for name in ("full_scale", "mean", "std"):
        found.update(np.atleast_1d(file[f"normalisation/{name}"][()]).astype("<f8").tobytes())
    for node in graph["nodes"]:
        for tensor in sorted(file["tensors"].get(node["name"], ())):
            values = file[f"tensors/{node['name']}/{tensor}"][()]
            found.update(struct.pack(f"<{values.ndim}q", *values.shape) + values.astype("<f4").tobytes())
    return found.hexdigest()


def ranged():
    net = tiny()
    ranges = {layer.name: Range(input_top=1.0, sum_top_us=2.0) for layer in net.crossbar_layers}
    return replace(net, ranges={"chip8": ranges})


def test_the_digest_of_a_network_is_that_of_the_appendix(tmp_path):
    pcmref.save(tmp_path / "net.h5", ranged())
    with h5py.File(tmp_path / "net.h5") as file:
        digest = plain_digest(file)
        assert json.loads(file["ranges_of"][()]) == {"chip8": digest}
    assert pcmref.load(tmp_path / "net.h5").digest == ranged().digest == digest


def test_ranges_in_a_file_without_a_digest_are_those_of_its_network(tmp_path):
    path = tmp_path / "net.h5"
    pcmref.save(path, ranged())
    with h5py.File(path, "r+") as file:
        del file["ranges_of"]
        del file.attrs["digest"]
    net = pcmref.load(path)
    assert net.ranges["chip8"].network == net.digest


def test_a_network_without_tensors_needs_no_group_of_them(tmp_path):
    path = tmp_path / "net.h5"
    layer = GlobalAveragePool(name="mean", inputs=("input",))
    pcmref.save(path, Network(layers=(layer,), input_shape=(2, 2, 3), normalisation=RGB, classes=("a", "b", "c")))
    with h5py.File(path, "r+") as file:
        assert list(file["tensors"]) == []
        del file["tensors"]
    assert pcmref.load(path).layers[0].name == "mean"
    pcmref.save(path, tiny())
    with h5py.File(path, "r+") as file:
        del file["tensors"]
    with pytest.raises(FileError, match=r"tensors: expected an entry of this name, found none"):
        pcmref.load(path)


@pytest.mark.parametrize(
    ("digests", "place"),
    [
        ({"rtl8": "0" * 64}, "ranges_of/rtl8"),
        ({"chip8": "0" * 63}, "ranges_of/chip8"),
        ({"chip8": "A" * 64}, "ranges_of/chip8"),
        ({"chip8": None}, "ranges_of/chip8"),
        ([], "ranges_of"),
    ],
    ids=str,
)
def test_digests_of_ranges_that_are_none(tmp_path, digests, place):
    path = tmp_path / "net.h5"
    pcmref.save(path, ranged())
    with h5py.File(path, "r+") as file:
        del file["ranges_of"], file.attrs["digest"]
        file["ranges_of"] = np.bytes_(json.dumps(digests))
    with pytest.raises(FileError) as caught:
        pcmref.load(path)
    assert caught.value.where == f"{path}: {place}"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)


def text(value):
    return json.dumps(value, sort_keys=True)


@given(VALUES, VALUES)
def test_values_are_the_same_if_their_texts_are(one, other):
    assert is_same(one, json.loads(json.dumps(one)))
    if text(one) == text(other):
        assert is_same(one, other)
    elif "." not in text(one):
        assert not is_same(one, other)


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        (0, 0.0, False),
        (0, False, False),
        (1, True, False),
        (1.0, True, False),
        (False, 0, False),
        (None, False, False),
        (25.0, 25, True),
        (25.5, 25, False),
        ([1, 2], [1, 2, 3], False),
        ({"a": 1}, {"a": 1, "b": 1}, False),
        ({"a": [1.0, {"b": None}]}, {"a": [1, {"b": None}]}, True),
        ({"a": [1, {"b": None}]}, {"a": [1.0, {"b": None}]}, False),
    ],
    ids=str,
)
def test_numbers_flags_and_names(wanted, found, same):
    assert is_same(wanted, found) is same


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"seed": 0.0}, "chip: seed"),
        ({"seed": False}, "chip: seed"),
        ({"read": False}, "chip: read"),
        ({"significance": [True]}, "chip: significance"),
        ({"further": 1}, "chip: further"),
        ({"model.programs_zero": 0}, "chip: model.programs_zero"),
        ({"readout.dac": {"bits": 12.0, "codes": "symmetric", "drive": "parallel"}}, "chip: readout.dac"),
    ],
    ids=str,
)
def test_an_identity_that_is_almost_right_is_refused(tmp_path, change, place):
    pcmref.save(tmp_path / "net.h5", tiny())
    chip = pcmref.program(pcmref.load(tmp_path / "net.h5"))
    now, path = chip.at(86400.0), tmp_path / "c.h5"
    pcmref.save_corrections(path, pcmref.calibrate(now, "gdc", reference=chip.reference()), now)
    with h5py.File(path) as file:
        said = json.loads(file["chip"][()])
        gains = {name: file["gain"][name][()] for name in file["gain"]}

    def forged(identity):
        def write(file):
            file["chip"] = fixed_text("chip", identity)
            file.create_group("statistics")
            for name, gain in gains.items():
                file[f"gain/{name}"] = gain

        return written(format_of.FORMAT, format_of.VERSION, write)

    path.write_bytes(forged(said | {"t_s": 86400}))
    assert np.array_equal(pcmref.load_corrections(path, now).gain["fc"], gains["fc"])
    path.write_bytes(forged(said | change))
    with pytest.raises(FileError) as caught:
        pcmref.load_corrections(path, now)
    assert caught.value.where == f"{path}: {place}"
