"""Network files: HDF5 to `Network` and back.

The one gate through which networks enter; the format is section 2 of ``SPEC.md``.  Everything is checked
from the file's own headers before any tensor is read into memory.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcmref.errors import NetworkFileError, describe
from pcmref.files import replacing, sha256_of
from pcmref.network import (
    Add,
    BatchNorm,
    Conv,
    GlobalAveragePool,
    Layer,
    Linear,
    MaxPool,
    Network,
    Normalisation,
    PadShortcut,
    Relu,
    Samples,
    attributes,
)

if TYPE_CHECKING:
    import h5py

__all__ = ["FORMAT", "VERSION", "load", "save"]

#: Name and version of the file format, attributes of the root group.
FORMAT = "pcmref-network"
VERSION = 1

#: No tensor or image set of a file may have more elements than this (2 GiB of float32).
ELEMENT_LIMIT = 1 << 29
#: No text of a file (graph, classes, provenance) may be longer, in bytes.
TEXT_LIMIT = 1 << 22

OPERATIONS: Mapping[str, type[Layer]] = {
    kind.op: kind for kind in (Add, BatchNorm, Conv, GlobalAveragePool, Linear, MaxPool, PadShortcut, Relu)
}


def load(path: str | Path) -> Network:
    """Read and check a network file.

    Parameters
    ----------
    path : str or Path
        An HDF5 file in the format of ``SPEC.md``, section 2.

    Returns
    -------
    Network

    Raises
    ------
    NetworkFileError
        Naming the place in the file, what belongs there and what was found.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise NetworkFileError(str(path), "a network file", "a directory" if path.is_dir() else "nothing")
    try:
        with h5py.File(path, "r") as file:
            return _read(file, sha256_of(path))
    except NetworkFileError as error:
        raise NetworkFileError(f"{path}: {error.where}", error.expected, error.found) from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NetworkFileError(str(path), "an intact HDF5 file", describe(reason, 160)) from error


def save(path: str | Path, network: Network) -> None:
    """Write `network` to `path`; the same network gives the same bytes.

    Parameters
    ----------
    path : str or Path
        Replaced only when the new file is complete.
    network : Network

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        _write(file, network)
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _write(file: h5py.File, network: Network) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["version"] = VERSION
    file["graph"] = json.dumps(
        {
            "input": list(network.input_shape),
            "nodes": [
                {"name": layer.name, "op": layer.op, "inputs": list(layer.inputs), **attributes(layer)}
                for layer in network.layers
            ],
        }
    )
    file["classes"] = json.dumps(list(network.classes), ensure_ascii=False)
    file["provenance"] = json.dumps(dict(network.provenance), ensure_ascii=False)
    for part in fields(Normalisation):
        value = getattr(network.normalisation, part.name)
        file[f"normalisation/{part.name}"] = np.asarray(value, np.float64)
    for layer in network.layers:
        for tensor in layer.tensors:
            value = getattr(layer, tensor.rstrip("?"))
            if value is not None:
                file[f"tensors/{layer.name}/{tensor.rstrip('?')}"] = value
    for name in ("evaluation", "calibration"):
        samples: Samples | None = getattr(network, name)
        if samples is not None:
            file.create_dataset(f"{name}/images", data=samples.images, compression="gzip", shuffle=True)
            file[f"{name}/labels"] = samples.labels


def _read(file: h5py.File, sha256: str) -> Network:
    found_format, found_version = (_attribute(file, name) for name in ("format", "version"))
    if found_format != FORMAT:
        raise NetworkFileError("/ attribute 'format'", repr(FORMAT), describe(found_format))
    if found_version != VERSION:
        raise NetworkFileError("/ attribute 'version'", str(VERSION), describe(found_version))
    _expect_members(
        file,
        required={"graph", "classes", "provenance", "normalisation", "tensors"},
        optional={"evaluation", "calibration"},
    )
    graph = _json(file, "graph", dict)
    if set(graph) != {"input", "nodes"} or not all(isinstance(v, list) for v in graph.values()):
        raise NetworkFileError("graph", "an object with the lists 'input' and 'nodes'", describe(graph))
    tensors = _group(file, "tensors")
    layers = tuple(_layer(tensors, position, node) for position, node in enumerate(graph["nodes"]))
    _expect_members(
        tensors, required={layer.name for layer in layers if layer.tensors}, optional=set(), where="tensors/"
    )
    classes = _json(file, "classes", list)
    if not all(isinstance(name, str) for name in classes):
        raise NetworkFileError("classes", "a list of names", describe(classes))
    provenance = _json(file, "provenance", dict)
    if not all(isinstance(value, str) for value in provenance.values()):
        raise NetworkFileError("provenance", "an object of texts", describe(provenance))
    return Network(
        layers=layers,
        input_shape=tuple(graph["input"]),
        normalisation=_normalisation(_group(file, "normalisation")),
        classes=tuple(classes),
        provenance=provenance,
        evaluation=_samples(file, "evaluation"),
        calibration=_samples(file, "calibration"),
        sha256=sha256,
    )


def _layer(tensors: h5py.Group, position: int, node: object) -> Layer:
    where = f"graph/nodes[{position}]"
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        raise NetworkFileError(where, "an object with a 'name'", describe(node))
    where = f"graph/{node['name']}"
    kind = OPERATIONS.get(str(node.get("op")))
    if kind is None:
        raise NetworkFileError(f"{where}/op", f"one of {sorted(OPERATIONS)}", describe(node.get("op")))
    if not isinstance(node.get("inputs"), list):
        raise NetworkFileError(f"{where}/inputs", "a list of node names", describe(node.get("inputs")))
    numbers = {key: value for key, value in node.items() if key not in ("name", "op", "inputs")}
    values = {f.name for f in fields(kind)} - {"name", "inputs", *(t.rstrip("?") for t in kind.tensors)}
    if set(numbers) != values:
        raise NetworkFileError(where, f"the numbers {sorted(values)}", str(sorted(numbers)))
    arrays = _tensors(tensors, node["name"], kind)
    return kind(name=node["name"], inputs=tuple(node["inputs"]), **numbers, **arrays)


def _tensors(tensors: h5py.Group, name: str, kind: type[Layer]) -> dict[str, np.ndarray]:
    if not kind.tensors:
        return {}
    group = _group(tensors, name)
    required = {tensor for tensor in kind.tensors if not tensor.endswith("?")}
    optional = {tensor.rstrip("?") for tensor in kind.tensors} - required
    _expect_members(group, required=required, optional=optional, where=f"tensors/{name}/")
    return {
        tensor: _array(group, tensor, np.float32, axes=kind.tensors.get(tensor, kind.tensors.get(f"{tensor}?")))
        for tensor in group
    }


def _normalisation(group: h5py.Group) -> Normalisation:
    _expect_members(group, required={"full_scale", "mean", "std"}, optional=set(), where="normalisation/")
    mean, std = (tuple(_array(group, name, np.float64, axes=1).tolist()) for name in ("mean", "std"))
    return Normalisation(
        full_scale=float(_array(group, "full_scale", np.float64, axes=0)), mean=mean, std=std
    )


def _samples(file: h5py.File, name: str) -> Samples | None:
    if name not in file:
        return None
    group = _group(file, name)
    _expect_members(group, required={"images", "labels"}, optional=set(), where=f"{name}/")
    return Samples(
        images=_array(group, "images", np.uint8, axes=4),
        labels=_array(group, "labels", np.int64, axes=1),
        where=name,
    )


def _attribute(file: h5py.File, name: str) -> object:
    value = file.attrs.get(name)
    return value.item() if isinstance(value, np.generic) else value


def _expect_members(group: h5py.Group, *, required: set[str], optional: set[str], where: str = "") -> None:
    members = set(group)
    if missing := sorted(required - members):
        raise NetworkFileError(f"{where}{missing[0]}", "an entry of this name", "none")
    if unknown := sorted(members - required - optional):
        raise NetworkFileError(
            f"{where}{unknown[0]}", f"only {sorted(required | optional)}", "an unknown entry"
        )


def _entry(group: h5py.Group, name: str) -> Any:
    """Return a member that is stored in this very file: no soft or external link."""
    import h5py

    where = f"{group.name}/{name}".lstrip("/")
    link = group.get(name, getlink=True)
    if link is None:
        raise NetworkFileError(where, "an entry of this name", "none")
    if not isinstance(link, h5py.HardLink):
        raise NetworkFileError(where, "data stored in this file", type(link).__name__)
    return group[name]


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    import h5py

    entry = _entry(parent, name)
    if not isinstance(entry, h5py.Group):
        raise NetworkFileError(f"{parent.name}/{name}".lstrip("/"), "a group", type(entry).__name__)
    return entry


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    import h5py

    entry = _entry(group, name)
    where = f"{group.name}/{name}".lstrip("/")
    if not isinstance(entry, h5py.Dataset):
        raise NetworkFileError(where, "a dataset", type(entry).__name__)
    if entry.external is not None or entry.is_virtual:
        raise NetworkFileError(where, "data stored in this file", "external or virtual storage")
    return entry


def _array(group: h5py.Group, name: str, dtype: type[np.generic], axes: int | None) -> np.ndarray:
    entry = _dataset(group, name)
    where = f"{group.name}/{name}".lstrip("/")
    if entry.dtype.newbyteorder("=") != np.dtype(dtype) or entry.shape is None or len(entry.shape) != axes:
        raise NetworkFileError(
            where, f"{np.dtype(dtype)} with {axes} axes", f"{entry.dtype} of shape {entry.shape}"
        )
    if entry.size > ELEMENT_LIMIT:
        raise NetworkFileError(where, f"at most {ELEMENT_LIMIT} elements", f"shape {entry.shape}")
    return np.asarray(entry[()], dtype)


def _json(file: h5py.File, name: str, kind: type) -> Any:
    import h5py

    entry = _dataset(file, name)
    if entry.shape != () or h5py.check_string_dtype(entry.dtype) is None:
        raise NetworkFileError(name, "one text", f"{entry.dtype} of shape {entry.shape}")
    raw = entry[()]
    if len(raw) > TEXT_LIMIT:
        raise NetworkFileError(name, f"at most {TEXT_LIMIT} bytes", f"{len(raw)} bytes")
    try:
        value = json.loads(raw)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise NetworkFileError(name, "valid JSON", str(error)) from None
    if not isinstance(value, kind):
        raise NetworkFileError(name, f"a JSON {kind.__name__}", type(value).__name__)
    return value
