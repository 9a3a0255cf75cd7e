"""Network files: HDF5 to `Network` and back.

The one gate through which networks enter; the format is appendix A of ``SPEC.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcmref.arithmetic.codes import Range
from pcmref.errors import FileError, ParameterError, describe, instance, one_of, path_of
from pcmref.files.atomic import replacing, sha256_of
from pcmref.files.hdf5 import Contents, fixed_text, opened, written
from pcmref.network import operations
from pcmref.network.cost import ELEMENTS_MOST, OPERATIONS_MOST, check_cost
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.layers import BatchNorm, Conv, Layer, Linear, check_input, number_names
from pcmref.network.ranges import StoredRanges

if TYPE_CHECKING:
    import h5py

__all__ = ["FORMAT", "VERSION", "bundled", "load", "save"]

#: Name and version of the file format, attributes of the root group.
FORMAT = "pcmref-network"
VERSION = 1
#: No graph may have more nodes.
NODE_LIMIT = 1 << 13

#: All operations, by their names in files.
OPERATIONS: Mapping[str, type[Layer]] = {
    kind.op: kind for kind in (Conv, Linear, BatchNorm, *(getattr(operations, name) for name in operations.__all__))
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


def load(path: str | Path, *, elements: int = ELEMENTS_MOST, operations: int = OPERATIONS_MOST) -> Network:
    """Read and check a network file.

    Parameters
    ----------
    path : str or Path
        An HDF5 file in the format of ``SPEC.md``, appendix A.
    elements, operations : int
        What one image may cost: elements of the largest map, padded or not, and multiplications and comparisons.

    Returns
    -------
    Network

    Raises
    ------
    FileError
        Naming the place in the file, what belongs there and what was found.
    """
    path = path_of("path", path)
    with opened(path) as contents:
        network = _read(contents)
        check_cost(network, elements=elements, operations=operations)
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
    instance("network", network, Network)
    _expect_nodes(len(network.layers))
    content = written(FORMAT, VERSION, lambda file: _write(file, network), libver=("earliest", "v110"))
    with replacing(path_of("path", path)) as temporary:
        temporary.write_bytes(content)


def _write(file: h5py.File, network: Network) -> None:
    file["graph"] = fixed_text(
        "graph",
        {
            "input": list(network.input_shape),
            "nodes": [layer.as_node() for layer in network.layers],
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
        found_with = {name: r.network for name, r in network.ranges.items() if isinstance(r, StoredRanges)}
        file["ranges_of"] = fixed_text("ranges_of", found_with)
    for part in fields(Normalisation):
        value = getattr(network.normalisation, part.name)
        file[f"normalisation/{part.name}"] = np.asarray(value, np.float64)
    file.create_group("tensors")
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


def _read(contents: Contents) -> Network:
    contents.expect_header(FORMAT, VERSION)
    contents.expect_members(
        "",
        required={"graph", "classes", "provenance", "normalisation"},
        optional={"tensors", "evaluation", "calibration", "ranges", "ranges_of"},
    )
    contents.expect_sizes()
    graph = contents.json("graph", dict)
    if set(graph) != {"input", "nodes"} or not all(isinstance(v, list) for v in graph.values()):
        raise FileError("graph", "an object with the lists 'input' and 'nodes'", describe(graph))
    input_shape = check_input(graph["input"])
    _expect_nodes(len(graph["nodes"]))
    nodes = [_node(position, node) for position, node in enumerate(graph["nodes"])]
    named = {node["name"] for kind, node in nodes if kind.tensors}
    if named or "tensors" in contents.members(""):
        contents.expect_members("tensors", required=named)
    network = Network(
        layers=tuple(kind(**node, **_tensors(contents, node["name"], kind)) for kind, node in nodes),
        input_shape=input_shape,
        normalisation=_normalisation(contents, input_shape[-1]),
        classes=tuple(contents.json("classes", list)),
        provenance=contents.json("provenance", dict),
        evaluation=_samples(contents, "evaluation"),
        calibration=_samples(contents, "calibration"),
        ranges=_ranges(contents),
    )
    contents.expect_digest(required=False)
    return network


def _expect_nodes(count: int) -> None:
    if count > NODE_LIMIT:
        raise FileError("graph/nodes", f"at most {NODE_LIMIT} nodes", str(count))


def _node(position: int, node: object) -> tuple[type[Layer], dict[str, Any]]:
    """Return the operation of a node, and its name, inputs and numbers."""
    where = f"graph/nodes[{position}]"
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        raise FileError(where, "an object with a 'name'", describe(node))
    where = f"graph/{node['name']}"
    kind = OPERATIONS.get(str(node.get("op")))
    if kind is None:
        raise FileError(f"{where}/op", f"one of {sorted(OPERATIONS)}", describe(node.get("op")))
    if not isinstance(node.get("inputs"), list):
        raise FileError(f"{where}/inputs", "a list of node names", describe(node.get("inputs")))
    said = {key: value for key, value in node.items() if key != "op"}
    numbers = number_names(kind)
    if not numbers - set(kind.defaults) <= set(said) - {"name", "inputs"} <= numbers:
        may_be_left_out = f", of which {sorted(kind.defaults)} may be left out" if kind.defaults else ""
        found = sorted(set(said) - {"name", "inputs"})
        raise FileError(where, f"the numbers {sorted(numbers)}{may_be_left_out}", describe(found))
    return kind, said | {"inputs": tuple(node["inputs"])}


def _tensors(contents: Contents, name: str, kind: type[Layer]) -> dict[str, Any]:
    if not kind.tensors:
        return {}
    parent = f"tensors/{name}"
    axes = {tensor.rstrip("?"): number for tensor, number in kind.tensors.items()}
    required = {tensor for tensor in kind.tensors if not tensor.endswith("?")}
    contents.expect_members(parent, required=required, optional=set(axes))
    return {
        tensor: contents.array(f"{parent}/{tensor}", np.float32, shape=(None,) * axes[tensor])
        for tensor in contents.members(parent)
    }


def _normalisation(contents: Contents, channels: int) -> Normalisation:
    where = "normalisation"
    contents.expect_members(where, required={"full_scale", "mean", "std"})
    mean, std = (contents.array(f"{where}/{name}", np.float64, shape=(channels,)).tolist() for name in ("mean", "std"))
    full_scale = contents.array(f"{where}/full_scale", np.float64, shape=())
    return Normalisation(full_scale=float(full_scale), mean=tuple(mean), std=tuple(std))


def _samples(contents: Contents, name: str) -> Samples | None:
    if name not in contents.members(""):
        return None
    contents.expect_members(name, required={"images", "labels"})
    images = contents.array(f"{name}/images", np.uint8, shape=(None,) * 4)
    labels = contents.array(f"{name}/labels", np.int64, shape=(len(images),))
    return Samples(images=images, labels=labels, where=name)


def _pair(where: str, top: Range) -> list[float]:
    """Return a full scale as files have it."""
    if isinstance(top.sum_top_us, tuple):
        raise ParameterError(where, "one sum_top_us for all columns, as files have", f"{len(top.sum_top_us)} of them")
    return [top.input_top, top.sum_top_us]


def _ranges(contents: Contents) -> dict[str, Mapping[str, Range]]:
    """Return the ranges in a file, with the digest of the network that they were found with, where the file has it."""
    there = contents.members("")
    digests = contents.json("ranges_of", dict) if "ranges_of" in there else {}
    found: dict[str, Mapping[str, Range]] = {}
    for preset, tops in (contents.json("ranges", dict) if "ranges" in there else {}).items():
        where = f"ranges/{preset}"
        if not isinstance(tops, dict):
            raise FileError(where, "an object with two numbers for each crossbar layer", describe(tops))
        found[preset] = {name: _range(f"{where}/{name}", pair) for name, pair in tops.items()}
    for preset, digest in digests.items():
        if preset not in found or not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            expected = "a SHA-256 for presets that have ranges"
            raise FileError(f"ranges_of/{preset}", expected, describe(digest))
        found[preset] = StoredRanges(layers=found[preset], network=digest)
    return found


def _range(where: str, pair: object) -> Range:
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(top) in (int, float) for top in pair):
        raise FileError(where, "two numbers", describe(pair))
    try:
        return Range(input_top=pair[0], sum_top_us=pair[1])
    except ParameterError as error:
        expected = "input_top from 2^-100 and sum_top from 2^-126 to 2^100"
        raise FileError(where, expected, describe(pair)) from error
