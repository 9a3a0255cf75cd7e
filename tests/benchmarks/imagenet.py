"""Networks of ImageNet's size beside PyTorch float32: ratios from one run, and what 51 million devices take.

    python tests/benchmarks/imagenet.py [resnet50 | mobilenet_v2] [--images 32] [--runs 3] [--threads 2]

Random weights, random images of 224 x 224 pixels.  The runs of all contenders alternate, so that a change of the speed
of the machine meets all of them; the median counts.  Memory is the peak of this process.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import pcmref
from pcmref.importers.checkpoints import convert
from tests.helpers import torch_nets


def torch_model(name):
    if name == "mobilenet_v2":
        return torch_nets.randomised(torch_nets.MobileNetV2())
    widths = (256, 512, 1024, 2048)
    return torch_nets.randomised(
        torch_nets.ResNet((3, 4, 6, 3), widths, stem=64, bottleneck=True, imagenet=True, projected=True, classes=1000)
    )


def timed(words, action):
    start = time.perf_counter()
    found = action()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{words:40}{time.perf_counter() - start:8.2f} s   peak {peak:.2f} GB", flush=True)
    return found


def contenders(model, network, images, threads):
    """What is compared, by name: each a function without arguments that gives logits."""
    scale = network.normalisation
    x = ((images / 255 - scale.mean) / scale.std).astype(np.float32)
    given = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))

    def by_torch():
        with torch.inference_mode():
            return model(given).numpy()

    chip = timed("program", lambda: pcmref.program(network, seed=0))
    snapshot = timed("snapshot at 25 s", lambda: chip.at(t_s=25.0))
    chip8 = timed("ranges for chip8", lambda: pcmref.calibrate_ranges(network, images[:4], pcmref.PRESETS["chip8"]))
    found = {"PyTorch float32": by_torch, "digital": lambda: pcmref.digital(network, images, threads=threads)}
    for name, readout in (("paper", pcmref.PRESETS["paper"]), ("chip8", chip8)):
        prepared = timed(f"prepare {name}", lambda readout=readout: pcmref.prepare(snapshot, readout=readout))
        found[name] = lambda prepared=prepared: prepared(images, threads=threads)
    return found


def main():
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    top.add_argument("network", nargs="?", default="resnet50", choices=["resnet50", "mobilenet_v2"])
    for option, default in (("--images", 32), ("--runs", 3), ("--threads", 2)):
        top.add_argument(option, type=int, default=default)
    args = top.parse_args()
    torch.set_num_threads(args.threads)
    model = torch_model(args.network)
    images = np.random.default_rng(0).integers(0, 256, (args.images, 224, 224, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(model.state_dict(), checkpoint := Path(folder) / "model.pt")
        network = timed("convert", lambda: convert(checkpoint, args.network))
        pcmref.save(file := Path(folder) / "net.h5", network)
        timed("load", lambda: pcmref.load(file))
    print(f"{network.weights:,} weights")
    runs = contenders(model, network, images, args.threads)
    results = {name: timed(f"first run of {name}", action) for name, action in runs.items()}
    ours, theirs = results["digital"], results["PyTorch float32"]
    print(f"digital differs by {np.abs(ours - theirs).max() / theirs.std():.1e} of the spread of the logits")
    seconds = {name: [] for name in runs}
    for _ in range(args.runs):
        for name, action in runs.items():
            start = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - start)
    base = statistics.median(seconds["PyTorch float32"])
    for name, each in seconds.items():
        median = statistics.median(each)
        print(f"{name:24}{1e3 * median / args.images:8.1f} ms an image{median / base:8.2f} x")


if __name__ == "__main__":
    main()
