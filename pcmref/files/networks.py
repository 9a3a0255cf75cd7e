"""Network files: HDF5 to `Network` and back.

The one gate through which networks enter; the format is appendix A of ``SPEC.md``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcmref.arithmetic.codes import Range
from pcmref.errors import FileError, ParameterError, describe, instance, one_of
from pcmref.files.atomic import replacing, sha256_of
from pcmref.files.hdf5 import (
    array,
    expect_header,
    expect_members,
    fixed_text,
    group,
    header,
    json_text,
    opened,
    put_array,
)
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.layers import (
    Add,
    BatchNorm,
    Conv,
    GlobalAveragePool,
    Layer,
    Linear,
    MaxPool,
    PadShortcut,
    Relu,
    number_names,
)

if TYPE_CHECKING:
    import h5py

__all__ = ["FORMAT", "VERSION", "bundled", "load", "save"]

#: Name and version of the file format, attributes of the root group.
FORMAT = "pcmref-network"
VERSION = 1

OPERATIONS: Mapping[str, type[Layer]] = {
    kind.op: kind for kind in (Add, BatchNorm, Conv, GlobalAveragePool, Linear, MaxPool, PadShortcut, Relu)
}


def bundled(name: str = "digits-resnet8") -> Path:
    """Return the path of a network that comes with pcmref; ``weights/README.md`` describes each.

    Parameters
    ----------
    name : str
        By default a small ResNet for handwritten digits, with its images.

    Raises
    ------
    ParameterError
        With the list of names, if there is no such network.
    """
    package = Path(__file__).resolve().parent.parent
    installed, checkout = package / "data", package.parent / "weights"
    networks = {path.stem: path for path in sorted((installed if installed.exists() else checkout).glob("*.h5"))}
    one_of("network", name, networks)
    return networks[name]


def load(path: str | Path) -> Network:
    """Read and check a network file.

    Parameters
    ----------
    path : str or Path
        An HDF5 file in the format of ``SPEC.md``, appendix A.

    Returns
    -------
    Network

    Raises
    ------
    FileError
        Naming the place in the file, what belongs there and what was found.
    """
    path = Path(path)
    with opened(path) as file:
        network = _read(file)
        object.__setattr__(network, "sha256", sha256_of(path))
        return network


def save(path: str | Path, network: Network) -> None:
    """Write `network` to `path`; the same network gives the same bytes.

    Parameters
    ----------
    path : str or Path
        Replaced only when the new file is complete.
    network : Network

    Raises
    ------
    FileError
        If something in it is larger than `load` takes.
    OutputError
        If it cannot be written.
    """
    import h5py

    instance("network", network, Network)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v110")) as file:
        _write(file, network)
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _write(file: h5py.File, network: Network) -> None:
    header(file, FORMAT, VERSION)
    file["graph"] = fixed_text(
        "graph",
        {
            "input": list(network.input_shape),
            "nodes": [
                {
                    "name": layer.name,
                    "op": layer.op,
                    "inputs": list(layer.inputs),
                    **{n: getattr(layer, n) for n in sorted(number_names(type(layer)))},
                }
                for layer in network.layers
            ],
        },
    )
    file["classes"] = fixed_text("classes", list(network.classes))
    file["provenance"] = fixed_text("provenance", dict(network.provenance))
    if network.ranges:
        file["ranges"] = fixed_text(
            "ranges",
            {
                preset: {name: _pair(f"ranges/{preset}/{name}", top) for name, top in ranges.items()}
                for preset, ranges in network.ranges.items()
            },
        )
    for part in fields(Normalisation):
        value = getattr(network.normalisation, part.name)
        file[f"normalisation/{part.name}"] = np.asarray(value, np.float64)
    file.create_group("tensors")
    for layer in network.layers:
        for tensor in layer.tensors:
            value = getattr(layer, tensor.rstrip("?"))
            if value is not None:
                put_array(file, f"tensors/{layer.name}/{tensor.rstrip('?')}", value)
    for name in ("evaluation", "calibration"):
        samples: Samples | None = getattr(network, name)
        if samples is not None:
            put_array(file, f"{name}/images", samples.images, compression="gzip", shuffle=True)
            file[f"{name}/labels"] = samples.labels


def _read(file: h5py.File) -> Network:
    expect_header(file, FORMAT, VERSION)
    expect_members(
        file,
        required={"graph", "classes", "provenance", "normalisation", "tensors"},
        optional={"evaluation", "calibration", "ranges"},
    )
    graph = json_text(file, "graph", dict)
    if set(graph) != {"input", "nodes"} or not all(isinstance(v, list) for v in graph.values()):
        raise FileError("graph", "an object with the lists 'input' and 'nodes'", describe(graph))
    tensors = group(file, "tensors")
    layers = tuple(_layer(tensors, position, node) for position, node in enumerate(graph["nodes"]))
    expect_members(tensors, required={layer.name for layer in layers if layer.tensors})
    classes = json_text(file, "classes", list)
    provenance = json_text(file, "provenance", dict)
    return Network(
        layers=layers,
        input_shape=tuple(graph["input"]),
        normalisation=_normalisation(group(file, "normalisation")),
        classes=tuple(classes),
        provenance=provenance,
        evaluation=_samples(file, "evaluation"),
        calibration=_samples(file, "calibration"),
        ranges=_ranges(file),
    )


def _layer(tensors: h5py.Group, position: int, node: object) -> Layer:
    where = f"graph/nodes[{position}]"
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        raise FileError(where, "an object with a 'name'", describe(node))
    where = f"graph/{node['name']}"
    kind = OPERATIONS.get(str(node.get("op")))
    if kind is None:
        raise FileError(f"{where}/op", f"one of {sorted(OPERATIONS)}", describe(node.get("op")))
    if not isinstance(node.get("inputs"), list):
        raise FileError(f"{where}/inputs", "a list of node names", describe(node.get("inputs")))
    numbers = {key: value for key, value in node.items() if key not in ("name", "op", "inputs")}
    if set(numbers) != number_names(kind):
        raise FileError(where, f"the numbers {sorted(number_names(kind))}", str(sorted(numbers)))
    arrays = _tensors(tensors, node["name"], kind) if kind.tensors else {}
    return kind(name=node["name"], inputs=tuple(node["inputs"]), **numbers, **arrays)


def _tensors(tensors: h5py.Group, name: str, kind: type[Layer]) -> dict[str, np.ndarray[Any, Any]]:
    expect_members(tensors, required={name}, optional=set(tensors))
    parent = group(tensors, name)
    axes = {tensor.rstrip("?"): number for tensor, number in kind.tensors.items()}
    required = {tensor for tensor in kind.tensors if not tensor.endswith("?")}
    expect_members(parent, required=required, optional=set(axes))
    return {tensor: array(parent, tensor, np.float32, axes=axes[tensor]) for tensor in parent}


def _normalisation(parent: h5py.Group) -> Normalisation:
    expect_members(parent, required={"full_scale", "mean", "std"})
    mean, std = (tuple(array(parent, name, np.float64, axes=1).tolist()) for name in ("mean", "std"))
    return Normalisation(full_scale=float(array(parent, "full_scale", np.float64, axes=0)), mean=mean, std=std)


def _samples(file: h5py.File, name: str) -> Samples | None:
    if name not in file:
        return None
    parent = group(file, name)
    expect_members(parent, required={"images", "labels"})
    return Samples(
        images=array(parent, "images", np.uint8, axes=4),
        labels=array(parent, "labels", np.int64, axes=1),
        where=name,
    )


def _pair(where: str, top: Range) -> list[float]:
    """Return a full scale as files have it."""
    if isinstance(top.sum_top_us, tuple):
        raise ParameterError(where, "one sum_top_us for all columns, as files have", f"{len(top.sum_top_us)} of them")
    return [top.input_top, top.sum_top_us]


def _ranges(file: h5py.File) -> dict[str, dict[str, Range]]:
    if "ranges" not in file:
        return {}
    found = {}
    for preset, tops in json_text(file, "ranges", dict).items():
        where = f"ranges/{preset}"
        if not isinstance(tops, dict):
            raise FileError(where, "an object with two numbers for each crossbar layer", describe(tops))
        found[preset] = {name: _range(f"{where}/{name}", pair) for name, pair in tops.items()}
    return found


def _range(where: str, pair: object) -> Range:
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(top) in (int, float) for top in pair):
        raise FileError(where, "two numbers", describe(pair))
    try:
        return Range(input_top=pair[0], sum_top_us=pair[1])
    except ParameterError as error:
        expected = "input_top from 2^-100 and sum_top from 2^-126 to 2^100"
        raise FileError(where, expected, describe(pair)) from error
