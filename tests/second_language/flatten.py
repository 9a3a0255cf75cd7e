"""Writes a network file (HDF5, appendix A.2 of SPEC.md) as the flat bytes that second.c reads.

The layout stands at the head of second.c. Nothing is computed here but which stored ranges belong to this network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
from pathlib import Path

import h5py
import numpy as np

OPERATIONS = {  # op: its numbers, its tensors, both in the order of the table in section 2
    "conv": (("stride", "padding", "dilation", "groups", "digital"), ("weight", "bias")),
    "linear": (("digital",), ("weight", "bias")),
    "batch_norm": (("eps",), ("gamma", "beta", "mean", "var")),
    "affine": ((), ("scale", "shift")),
    "relu": ((), ()),
    "sigmoid": ((), ()),
    "tanh": ((), ()),
    "leaky_relu": (("slope",), ()),
    "clip": (("low", "high"), ()),
    "hard_sigmoid": (("slope", "offset"), ()),
    "local_response_norm": (("size", "alpha", "beta", "bias"), ()),
    "add": ((), ()),
    "multiply": ((), ()),
    "concat": ((), ()),
    "pad_shortcut": (("stride", "before", "after"), ()),
    "channel_shuffle": (("groups",), ()),
    "take_channels": (("first", "count"), ()),
    "flatten": ((), ()),
    "max_pool": (("kernel", "stride", "padding", "dilation", "ceil"), ()),
    "average_pool": (("kernel", "stride", "padding", "ceil", "count_padding"), ()),
    "global_average_pool": ((), ()),
}
DEFAULTS = {  # op: the numbers that may be left out
    "conv": {"dilation": 1, "groups": 1, "digital": False},
    "linear": {"digital": False},
    "max_pool": {"dilation": 1, "ceil": False},
    "average_pool": {"ceil": False, "count_padding": False},
}
LISTS = {"kernel": 2, "stride": 2, "dilation": 2, "padding": 4}  # one for each axis or each side
FLOATS = ("eps", "slope", "offset", "low", "high", "alpha", "beta", "bias")
TILES = {"paper": (0, 0), "chip8": (256, 0), "rtl8": (256, 256)}  # rows and columns of a tile, 0 for all


def flatten(network_h5: Path, out: Path, *, images: np.ndarray | None = None, calibration: np.ndarray | None = None):
    """Write the network, the images to infer and the calibration images; by default those in the network file."""
    with h5py.File(network_h5, "r") as file:
        graph, normalisation, tensors = read(file)
        ranges = _json(file["ranges"]) if "ranges" in file else {}
        ranges_of = _json(file["ranges_of"]) if "ranges_of" in file else {}
        images = _images(file, "evaluation", graph) if images is None else images
        calibration = _images(file, "calibration", graph) if calibration is None else calibration

    digest = network_digest(graph, normalisation, tensors)
    layers = [node["name"] for node in graph["nodes"] if node["op"] in ("conv", "linear") and not node.get("digital")]
    fitting = [name for name in ranges if name in TILES and ranges_of.get(name, digest) == digest]
    number = {"input": 0, **{node["name"]: i for i, node in enumerate(graph["nodes"], 1)}}

    parts = [b"pcmflat1", _u32(*graph["input"]), *(array.astype("<f8").tobytes() for array in normalisation)]
    parts.append(_u32(len(graph["nodes"])))
    for node in graph["nodes"]:
        numbers, names = OPERATIONS[node["op"]]
        inputs = [number[name] for name in node["inputs"]]
        parts.append(_u32(list(OPERATIONS).index(node["op"]), len(inputs), *inputs))
        node = DEFAULTS.get(node["op"], {}) | node
        parts += [_number(key, node[key]) for key in numbers]
        for name in names:
            tensor = tensors.get(node["name"], {}).get(name)
            parts.append(
                _u32(0) if tensor is None else _u32(tensor.ndim, *tensor.shape) + tensor.astype("<f4").tobytes()
            )
    parts.append(_u32(len(fitting)))
    for preset in fitting:
        parts.append(_u32(*TILES[preset]))
        parts += [struct.pack("<dd", *ranges[preset][layer]) for layer in layers]
    for stack in (images, calibration):
        parts.append(_u32(len(stack)) + np.ascontiguousarray(stack, np.uint8).tobytes())
    Path(out).write_bytes(b"".join(parts))


def read(file: h5py.File) -> tuple[dict, list[np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """The graph of a network file, full_scale, mean and std, and the tensors of each node that has some."""
    groups = file["tensors"].items() if "tensors" in file else ()
    tensors = {node: {name: array[()] for name, array in group.items()} for node, group in groups}
    normalisation = [np.asarray(file["normalisation"][key][()]) for key in ("full_scale", "mean", "std")]
    return _json(file["graph"]), normalisation, tensors


def network_digest(graph: dict, normalisation: list[np.ndarray], tensors: dict[str, dict[str, np.ndarray]]) -> str:
    """The digest of a network (appendix A.2), which says whose the stored ranges are."""
    shortest = {**graph, "nodes": [_shortest(node) for node in graph["nodes"]]}
    digest = hashlib.sha256(json.dumps(shortest, sort_keys=True).encode())
    for array in normalisation:
        digest.update(array.astype("<f8").tobytes())
    for node in graph["nodes"]:
        for _, tensor in sorted(tensors.get(node["name"], {}).items()):
            digest.update(np.asarray(tensor.shape, "<i8").tobytes() + tensor.astype("<f4").tobytes())
    return digest.hexdigest()


def _shortest(node: dict) -> dict:
    """The node with one integer for equal ones, floats as floats and without numbers that may be left out."""
    equal = {key: node[key][0] for key in LISTS if isinstance(node.get(key), list) and len(set(node[key])) == 1}
    node = {**node, **equal, **{key: float(node[key]) for key in FLOATS if key in node}}
    defaults = DEFAULTS.get(node["op"], {})
    return {key: value for key, value in node.items() if key not in defaults or value != defaults[key]}


def _number(key: str, value: float | list[int]) -> bytes:
    if key in FLOATS:
        return struct.pack("<d", value)
    if key in LISTS:
        return _u32(*(value if isinstance(value, list) else [value] * LISTS[key]))
    return _u32(value)


def _u32(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def _json(text: h5py.Dataset) -> dict:
    return json.loads(bytes(text[()]).rstrip(b"\0"))


def _images(file: h5py.File, group: str, graph: dict) -> np.ndarray:
    return file[group]["images"][()] if group in file else np.zeros((0, *graph["input"]), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=Path, help=".npy of uint8 (images, height, width, channels)")
    parser.add_argument("--calibration", type=Path, help="the same for the calibration images")
    args = parser.parse_args()
    stacks = {key: np.load(path) for key in ("images", "calibration") if (path := getattr(args, key))}
    flatten(args.network, args.out, **stacks)


if __name__ == "__main__":
    main()
