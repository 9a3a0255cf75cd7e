"""How the time grows: with images, chips and threads, for the paper's ResNet-32.

    python examples/scaling.py [FILE.png] [--images 100,300,1000,3000,10000] [--chips 1,3,10,30,100]

Random weights and images: the time does not depend on them.
"""

import argparse
import importlib.util
import os
import time
from pathlib import Path

import numpy as np

import pcmref
from pcmref.studies.plots import figure, save_figure


def seconds(work):
    """Return the time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def random_network():
    """Return the network of ``tests/benchmarks/side_by_side.py``."""
    path = Path(__file__).resolve().parent.parent / "tests" / "benchmarks" / "side_by_side.py"
    spec = importlib.util.spec_from_file_location("side_by_side", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.random_network()


def main():
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", type=Path, default=Path("scaling.png"))
    parser.add_argument("--images", default="100,300,1000,3000,10000")
    parser.add_argument("--chips", default="1,3,10,30,100")
    options = parser.parse_args()
    image_counts = [int(count) for count in options.images.split(",")]
    chip_counts = [int(count) for count in options.chips.split(",")]

    net = random_network()
    images = np.random.default_rng(0).integers(0, 256, (max(image_counts), 32, 32, 3)).astype(np.uint8)
    snapshot = pcmref.program(net, seed=0).at(86_400.0)
    chip8 = pcmref.calibrate_ranges(net, images[:50], pcmref.PRESETS["chip8"])
    for readout in (pcmref.PRESETS["paper"], chip8):
        pcmref.logits(snapshot, images[:64], readout=readout)

    drawing, (left, right) = figure(figsize=(10.5, 4.5), ncols=2)
    processors = os.cpu_count() or 1
    for readout, colour in ((pcmref.PRESETS["paper"], "#0072B2"), (chip8, "#E69F00")):
        for threads in sorted({1, min(2, processors)}):
            times = [
                seconds(lambda n=n, r=readout, t=threads: pcmref.logits(snapshot, images[:n], readout=r, threads=t))
                for n in image_counts
            ]
            each = ", ".join(f"{1000 * t / n:.2f}" for t, n in zip(times, image_counts, strict=True))
            print(f"{readout.name:6} {threads} thread(s): {each} ms an image for {options.images} images", flush=True)
            style = "-" if threads > 1 else "--"
            left.plot(image_counts, times, f"o{style}", color=colour, label=f"{readout.name}, {threads} thread(s)")
    times = [seconds(lambda n=n: [pcmref.program(net, seed=s).at(86_400.0) for s in range(n)]) for n in chip_counts]
    each = ", ".join(f"{t / n:.3f}" for t, n in zip(times, chip_counts, strict=True))
    print(f"program and read a day later: {each} s a chip for {options.chips} chips")
    right.plot(chip_counts, times, "o-", color="#009E73", label=f"{net.devices:,} devices a chip")
    left.set(xlabel="images", ylabel="seconds", title="inference")
    right.set(xlabel="chips", ylabel="seconds", title="program, and read a day later")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log")
        axes.grid(color="0.9")
        axes.legend()
    save_figure(drawing, options.path)


if __name__ == "__main__":
    main()
