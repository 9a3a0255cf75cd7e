"""One case of everything, as SHA-256 digests: run by `test_exactness` on other machines, so to speak.

``python exactness.py [--batch N] [--threads T] [--shuffle]`` prints a JSON object of digests, which must be
the same for all options and environments.
"""

import argparse
import hashlib
import json
from dataclasses import replace

import numpy as np

import pcmref
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation
from pcmref.network.layers import BatchNorm, Conv, Linear
from pcmref.network.operations import (
    Add,
    Affine,
    AveragePool,
    ChannelShuffle,
    Clip,
    Concat,
    Flatten,
    GlobalAveragePool,
    HardSigmoid,
    LeakyRelu,
    LocalResponseNorm,
    MaxPool,
    Multiply,
    PadShortcut,
    Relu,
    Sigmoid,
    TakeChannels,
    Tanh,
)


def network():
    """A small residual network, odd sizes and several tiles."""
    rng = np.random.default_rng(7)

    def weight(*shape):
        return rng.normal(0, 0.3, shape).astype(np.float32)

    def norm(name, source, channels):
        numbers = rng.uniform(0.5, 1.5, (4, channels)).astype(np.float32)
        return BatchNorm(
            name=name, inputs=(source,), gamma=numbers[0], beta=numbers[1] - 1, mean=numbers[2] - 1, var=numbers[3]
        )

    return Network(
        layers=(
            Conv(name="conv1", inputs=("input",), weight=weight(5, 3, 3, 3), padding=1),
            norm("bn1", "conv1", 5),
            Relu(name="relu1", inputs=("bn1",)),
            MaxPool(name="pool1", inputs=("relu1",), kernel=3, stride=2, padding=1),
            Conv(name="conv2", inputs=("pool1",), weight=weight(17, 5, 3, 3), bias=weight(17), stride=2, padding=1),
            norm("bn2", "conv2", 17),
            PadShortcut(name="shortcut", inputs=("pool1",), stride=2, before=6, after=6),
            Add(name="add", inputs=("bn2", "shortcut")),
            Relu(name="relu2", inputs=("add",)),
            GlobalAveragePool(name="pool2", inputs=("relu2",)),
            Linear(name="fc", inputs=("pool2",), weight=weight(4, 17), bias=weight(4)),
        ),
        input_shape=(9, 7, 3),
        normalisation=Normalisation(full_scale=255.0, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)),
        classes=("a", "b", "c", "d"),
    )


def other_network():
    """The operations that a residual network has not, among them groups and a layer kept digital."""
    rng = np.random.default_rng(8)

    def weight(*shape):
        return rng.normal(0, 0.3, shape).astype(np.float32)

    pools = {"inputs": ("conv",), "kernel": (2, 3), "stride": 2, "padding": (0, 1, 1, 0), "ceil": True}
    sides = {"stride": (2, 1), "padding": (1, 0, 2, 1), "dilation": (1, 2)}
    layers = (
        Conv(name="conv", inputs=("input",), weight=weight(8, 2, 3, 2), bias=weight(8), groups=2, **sides),
        AveragePool(name="mean", **pools, count_padding=True),
        MaxPool(name="top", **pools),
        Conv(name="each", inputs=("mean",), weight=weight(8, 1, 3, 3), padding=1, groups=8),
        LeakyRelu(name="leaky", inputs=("each",), slope=0.1),
        Concat(name="both", inputs=("leaky", "top")),
        ChannelShuffle(name="shuffle", inputs=("both",), groups=4),
        LocalResponseNorm(name="norm", inputs=("shuffle",), size=5, alpha=0.5, beta=0.75, bias=1.0),
        GlobalAveragePool(name="squeeze", inputs=("norm",)),
        Linear(name="gate", inputs=("squeeze",), weight=weight(16, 16), digital=True),
        Sigmoid(name="sigmoid", inputs=("gate",)),
        Multiply(name="excited", inputs=("norm", "sigmoid")),
        Affine(name="affine", inputs=("excited",), scale=weight(16), shift=weight(16)),
        Tanh(name="tanh", inputs=("affine",)),
        HardSigmoid(name="hard", inputs=("tanh",), slope=0.7, offset=0.4),
        Clip(name="clip", inputs=("hard",), low=0.1, high=0.9),
        Flatten(name="flat", inputs=("clip",)),
        Linear(name="fc", inputs=("flat",), weight=weight(4, 192), bias=weight(4)),
    )
    return replace(network(), layers=layers, input_shape=(11, 9, 4), normalisation=RGBA)


def split_network():
    """Units that take some of the channels of a map or a vector, and shuffle them, as ShuffleNetV2 does."""
    rng = np.random.default_rng(9)

    def weight(*shape):
        return rng.normal(0, 0.3, shape).astype(np.float32)

    layers = (
        Conv(name="conv", inputs=("input",), weight=weight(10, 3, 3, 3), stride=2, padding=1),
        TakeChannels(name="kept", inputs=("conv",), first=0, count=4),
        TakeChannels(name="taken", inputs=("conv",), first=4, count=6),
        Conv(name="branch", inputs=("taken",), weight=weight(6, 6, 1, 1), bias=weight(6)),
        Relu(name="relu", inputs=("branch",)),
        Concat(name="both", inputs=("kept", "relu")),
        ChannelShuffle(name="shuffle", inputs=("both",), groups=2),
        Flatten(name="flat", inputs=("shuffle",)),
        TakeChannels(name="middle", inputs=("flat",), first=33, count=101),
        Linear(name="fc", inputs=("middle",), weight=weight(4, 101), bias=weight(4)),
    )
    return replace(network(), layers=layers)


RGBA = Normalisation(full_scale=255.0, mean=(0.5, 0.4, 0.3, 0.6), std=(0.2, 0.25, 0.3, 0.2))


def digest(*arrays):
    sha = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
        sha.update(f"{little.dtype.str}{little.shape}".encode())
        sha.update(little.tobytes())
    return sha.hexdigest()


def batched(snapshot, images, addresses, batch, **options):
    parts = [slice(start, start + batch) for start in range(0, len(images), batch)]
    return np.concatenate([pcmref.logits(snapshot, images[p], addresses=addresses[p], **options) for p in parts])


def parts(trace):
    """The arrays of a trace, codes and sums as int64 whatever width a kernel chose."""
    product = trace.product
    codes = (
        () if product is None else (product.input_codes, product.output_codes, *(tile.sums for tile in product.tiles))
    )
    return [code.astype(np.int64) for code in codes] + [trace.activations]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shuffle", action="store_true")
    options = parser.parse_args()

    net = network()
    rng = np.random.default_rng(11)
    images = rng.integers(0, 256, (200, *net.input_shape)).astype(np.uint8)
    count = 35
    order = rng.permutation(count) if options.shuffle else np.arange(count)
    back = np.argsort(order)

    found = {}
    chip = pcmref.program(net, seed=2**63 + 5)
    states = [layer.state for layer in chip.layers]
    found["chip"] = digest(*(a for state in states for a in (state.device, state.g_prog_us, state.nu, state.q_s)))
    snapshot, reference = chip.at(86_400.0), chip.reference()
    for layer in snapshot.layers:
        found[f"{layer.name} codes"] = digest(
            layer.mean_code, layer.read_code, layer.variance_code, layer.g_read_code.sum((0, 1))
        )
    chip8 = pcmref.calibrate_ranges(net, images[:20], pcmref.PRESETS["chip8"], threads=options.threads)
    small = pcmref.Readout(
        name="small",
        dac=pcmref.Dac(bits=10),
        adc=pcmref.Adc(bits=7),
        tile_rows=13,
        read_noise="fresh",
        ranges=chip8.ranges,
    )
    for readout in (pcmref.PRESETS["paper"], chip8, small):
        for compensation in ("none", "gdc", "gdc+adabs"):
            corrections = pcmref.calibrate(
                snapshot, compensation, reference=reference, images=images, readout=readout, threads=options.threads
            )
            logits = batched(
                snapshot, images[order], order, options.batch,
                corrections=corrections, readout=readout, threads=options.threads,
            )  # fmt: skip
            found[f"{readout.name} {compensation}"] = digest(logits[back])
        found |= traced(snapshot, images[:3], readout)
    for title, net in (("other network", other_network()), ("split network", split_network())):
        images = np.random.default_rng(12).integers(0, 256, (4, *net.input_shape)).astype(np.uint8)
        snapshot = pcmref.program(net, seed=3).at(3600.0)
        for readout in (pcmref.PRESETS["paper"], pcmref.calibrate_ranges(net, images, pcmref.PRESETS["chip8"])):
            name = f"{title}, {readout.name}"
            logits = batched(snapshot, images, np.arange(4), options.batch, readout=readout, threads=options.threads)
            found[name] = digest(logits)
            found |= {f"{name}, {node}": value for node, value in traced(snapshot, images, readout).items()}
    print(json.dumps(found))


def traced(snapshot, images, readout):
    """A digest of every stage of every node."""
    stages = {}
    pcmref.logits(
        snapshot,
        images,
        readout=readout,
        tap=lambda trace: stages.setdefault(trace.layer, []).append(parts(trace)),
    )
    return {
        f"{readout.name} {name}": digest(*(np.concatenate(part) for part in zip(*traces, strict=True)))
        for name, traces in stages.items()
    }


if __name__ == "__main__":
    main()
