"""pcmref beside PyTorch, ONNX Runtime and aihwkit on the same network and images: ratios from one run.

    python tests/benchmarks/side_by_side.py [--images 400] [--runs 5] [--threads 2] [--json FILE]
        [--adabs] [--start] [--memory IMAGES]

ResNet-32 with 16/28/56 channels (random weights, 361,722 of them), random images. The runs of all contenders
alternate, so that a change of the speed of the machine meets all of them; the median counts. Ratios are between equal
numbers of threads: those asked for, and one. What is not installed is left out and named; `peers.py` runs it. aihwkit
gets the first 200 images, in a batch. A chip is prepared once (`pcmref.prepare`); then come the images, together and,
for the latency, one alone.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import pcmref
from pcmref.importers.resnet import architecture, network_from_tensors
from pcmref.network.images import Normalisation

#: How many images AdaBS takes, and how often one image is inferred alone, at least.
ADABS_IMAGES, ONE_IMAGE_RUNS = 2600, 30
#: Pause before each action, s: threads of PyTorch and of ONNX Runtime wait for more work in a busy loop.
PAUSE_S = 0.3
DAY = 86_400.0
#: What the ratios are called, and the contender that each is a ratio to.
BASES = {"x PyTorch": "PyTorch float32", "x ONNX Runtime": "ONNX Runtime float32"}


@dataclass(frozen=True, kw_only=True)
class Action:
    """What is timed: a function, how many threads it takes and images it infers, how often it runs in its turn."""

    run: Callable[[], object]
    threads: int
    images: int = 1
    repeats: int = 1


def random_network(name="joshi-resnet32", seed=0):
    """Return the paper's network with random weights, scaled so that activations stay of order 1."""
    rng = np.random.default_rng(seed)
    arch = architecture(name)
    tensors = {}

    def conv(name, out, inputs, kernel):
        scale = np.sqrt(2 / (inputs * kernel * kernel))
        tensors[f"{name}.weight"] = rng.normal(0, scale, (out, inputs, kernel, kernel)).astype(np.float32)

    def norm(name, channels):
        for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            tensors[f"{name}.{part}"] = np.full(channels, value, np.float32)

    channels = arch.channels[0]
    conv("conv1", channels, 3, 3)
    norm("bn1", channels)
    for stage, (blocks, width) in enumerate(zip(arch.blocks, arch.channels, strict=True), start=1):
        for block in range(blocks):
            place = f"layer{stage}.{block}"
            conv(f"{place}.conv1", width, channels, 3)
            norm(f"{place}.bn1", width)
            conv(f"{place}.conv2", width, width, 3)
            norm(f"{place}.bn2", width)
            if channels != width:
                conv(f"{place}.downsample.0", width, channels, 1)
                norm(f"{place}.downsample.1", width)
            channels = width
    tensors["fc.weight"] = rng.normal(0, 0.1, (10, channels)).astype(np.float32)
    tensors["fc.bias"] = rng.normal(0, 0.1, 10).astype(np.float32)
    return network_from_tensors(
        tensors,
        arch,
        input_shape=(32, 32, 3),
        normalisation=Normalisation(full_scale=255.0, mean=(0.5,) * 3, std=(0.25,) * 3),
        classes=tuple("0123456789"),
    )


def prepared_chips(net, images, threads):
    """Return a chip of a day, prepared for each preset."""
    snapshot = pcmref.program(net, seed=0).at(DAY)
    readouts = {"paper": pcmref.PRESETS["paper"]}
    for name in ("chip8", "rtl8"):
        readouts[name] = pcmref.calibrate_ranges(net, images[:50], pcmref.PRESETS[name], threads=threads)
    return {name: pcmref.prepare(snapshot, readout=readout) for name, readout in readouts.items()}


def contenders(net, chips, images, workers):
    """Return the rows of the table, (name, threads) -> action, and name -> action that makes a chip of a day."""
    import peers  # it lies beside this file; `random_network`, which others import, does without it

    forwards = peers.forwards(net, images, workers)
    forwards["pcmref digital"] = lambda images, threads: pcmref.digital(net, images, threads=threads)
    for preset, chip in chips.items():
        forwards[f"pcmref {preset}"] = lambda images, threads, chip=chip: chip(images, threads=threads)
    table = {
        (name, count): Action(run=lambda f=forward, c=count: f(images, c), threads=count, images=len(images))
        for count in workers
        for name, forward in forwards.items()
    }
    programs = {"pcmref": Action(run=lambda: pcmref.program(net, seed=0).at(DAY), threads=workers[0])}
    try:
        for name, noisy in (("aihwkit perfect", False), ("aihwkit noisy", True)):
            program, run = peers.aihwkit_forward(net, workers[0], noisy=noisy)
            program()
            few = images[: peers.AIHWKIT_BATCH]
            table[name, workers[0]] = Action(run=lambda r=run, x=few: r(x), threads=workers[0], images=len(few))
            programs["aihwkit"] = Action(run=program, threads=workers[0])
    except ImportError as error:
        print(f"no aihwkit: {error}")
    return table, programs


def single_images(chips, images, workers, runs):
    """Return (preset, threads) -> action that infers one image."""
    repeats = -(-ONE_IMAGE_RUNS // runs)
    return {
        (preset, count): Action(
            run=lambda chip=chip, count=count: chip(images[:1], threads=count), threads=count, repeats=repeats
        )
        for preset, chip in chips.items()
        for count in workers
    }


def adabs(net, chips, threads):
    """Return the actions of AdaBS: its measurement, and an inference of the same images."""
    images = np.random.default_rng(2).integers(0, 256, (ADABS_IMAGES, 32, 32, 3)).astype(np.uint8)
    snapshot = pcmref.program(net, seed=0).at(DAY)
    return {
        "adabs": Action(
            run=lambda: pcmref.calibrate(snapshot, "adabs", images=images, threads=threads), threads=threads
        ),
        "inference": Action(run=lambda: chips["paper"](images, threads=threads), threads=threads),
    }


def measure(groups, runs):
    """Run the actions of all groups in turns; return the same groups with the seconds of each: an image's share."""
    times = {group: {name: [] for name in actions} for group, actions in groups.items()}
    each = [(action, times[group][name]) for group, actions in groups.items() for name, action in actions.items()]
    for action, _ in each:
        action.run()
    for _ in range(runs):
        for action, found in each:
            time.sleep(PAUSE_S)
            found += [seconds(action.run) / action.images for _ in range(action.repeats)]
    return {
        group: {
            name: {"median": statistics.median(found), "min": min(found), "max": max(found)}
            for name, found in actions.items()
        }
        for group, actions in times.items()
    }


def seconds(work):
    """Return the time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def machine():
    """Return the processor and the versions that matter."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    installed = {distribution.name: distribution.version for distribution in importlib.metadata.distributions()}
    names = ("numpy", "numba", "torch", "onnx", "onnxruntime", "aihwkit")
    return {
        "architecture": platform.machine(),
        "processor": found[1] if found else platform.processor(),
        "processors": os.cpu_count(),
        "versions": {"Python": platform.python_version(), "pcmref": pcmref.__version__}
        | {name: installed[name] for name in names if name in installed},
    }


def peak_memory(preset, count):
    """Return the largest resident memory of a process that infers `count` images, MB; on Linux only."""
    code = f"""
import re, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np, pcmref, side_by_side
net = side_by_side.random_network()
images = np.zeros(({count}, 32, 32, 3), np.uint8)
images[:50] = np.random.default_rng(1).integers(0, 256, (50, 32, 32, 3))
readout = pcmref.PRESETS[{preset!r}]
if readout.needs_ranges:
    readout = pcmref.calibrate_ranges(net, images[:50], readout)
pcmref.logits(pcmref.program(net, seed=0).at(86_400.0), images, readout=readout)
# not getrusage, which counts the process that started this one too
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1000)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout)


def start_seconds():
    """Return the time of `pcmref retention` in a new process: the first, which compiles, and one after it."""
    command = [sys.executable, "-m", "pcmref", "retention"]
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        first, warm = (
            seconds(lambda: subprocess.run(command, env=environment, capture_output=True, check=True)) for _ in range(2)
        )
    return {"first": first, "warm": warm}


def rows(table, times, flops, peaks):
    """Return the rows of the table: times in ms, and ratios to the peers at the same number of threads."""

    def ratio(name, count, base):
        return times[name, count]["median"] / times[base, count]["median"] if (base, count) in times else None

    return [
        {
            "name": name,
            "threads": count,
            "images": action.images,
            "ms": {key: 1000 * value for key, value in times[name, count].items()},
            **{words: ratio(name, count, base) for words, base in BASES.items()},
            "of GEMM peak": peaks[count] and flops / times[name, count]["median"] / 1e9 / peaks[count],
        }
        for (name, count), action in table.items()
    ]


def latencies(times, presets, threads):
    """Return what one image takes alone, of each preset: ms, and what a batch and the threads change."""
    found = {}
    for preset in presets:
        alone, several = (times["one image"][preset, count]["median"] for count in (1, threads))
        share = times["table"][f"pcmref {preset}", 1]["median"]
        found[preset] = {"ms": 1000 * alone, "x in a batch": alone / share, "threads": threads, "x 1": several / alone}
    return found


def figures(options):
    """Measure; return all figures, as they are written to the JSON file."""
    import peers

    net = random_network()
    images = np.random.default_rng(1).integers(0, 256, (options.images, 32, 32, 3)).astype(np.uint8)
    workers = sorted({options.threads, 1}, reverse=True)
    chips = prepared_chips(net, images, options.threads)
    table, programs = contenders(net, chips, images, workers)
    groups = {
        "table": table,
        "program": programs,
        "one image": single_images(chips, images, workers, options.runs),
        "adabs": adabs(net, chips, options.threads) if options.adabs else {},
    }
    times = measure(groups, options.runs)
    multiply_adds = sum(layer.weight.size * int(np.prod(net.shapes[layer.name][:-1])) for layer in net.crossbar_layers)
    peaks = {count: peers.gemm_peak(count) for count in workers}
    found = {
        "machine": machine(),
        "arguments": {name: str(value) if name == "json" else value for name, value in vars(options).items()},
        "multiply-adds an image": multiply_adds,
        "devices": net.devices,
        "GEMM peak, GFLOP/s": peaks,
        "contenders": rows(table, times["table"], 2 * multiply_adds, peaks),
        "one image": latencies(times, chips, options.threads),
        "program, drift, read, s": times["program"],
    }
    if options.adabs:
        ratio = times["adabs"]["adabs"]["median"] / times["adabs"]["inference"]["median"]
        found["AdaBS"] = {"images": ADABS_IMAGES, "s": times["adabs"]["adabs"], "x inference": ratio}
    if options.start:
        found["pcmref retention, s"] = start_seconds()
    if options.memory:
        found["peak memory, MB"] = {preset: peak_memory(preset, options.memory) for preset in chips}
    return found


def show(found):
    """Print the figures."""
    arguments, computer = found["arguments"], found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in computer["versions"].items())
    print(f"{computer['architecture']}, {computer['processor']}, {computer['processors']} processors; {versions}")
    print(f"{arguments['images']} images, median (and range) of {arguments['runs']} runs")
    peaks = [f"{peak:.0f} with {n} thread{'s' * (n > 1)}" for n, peak in found["GEMM peak, GFLOP/s"].items() if peak]
    print(f"{found['multiply-adds an image'] / 1e6:.1f} million multiply-adds an image", end="")
    print(f"; float32 GEMM peak, GFLOP/s: {', '.join(peaks)}\n" if peaks else "\n")
    print(f"{'':25}threads{'ms an image':>20}{'x PyTorch':>11}{'x ONNX Runtime':>16}{'of GEMM peak':>14}")
    for row in found["contenders"]:
        spread = "{median:.2f} ({min:.2f}-{max:.2f})".format(**row["ms"])
        ratios = ("x PyTorch", 11, ".2f"), ("x ONNX Runtime", 16, ".2f"), ("of GEMM peak", 14, ".0%")
        shown = [f"{'-' if row[name] is None else format(row[name], form):>{width}}" for name, width, form in ratios]
        print(f"{row['name']:25}{row['threads']:7}{spread:>20}{''.join(shown)}")
    print()
    for preset, one in found["one image"].items():
        words = "one image, {}: {ms:.2f} ms with 1 thread, {x in a batch:.2f} x its share of a batch"
        words += "; {threads} threads take {x 1:.2f} x 1" if one["threads"] > 1 else ""
        print(words.format(preset, **one))
    for name, times in found["program, drift, read, s"].items():
        print(f"{name}: program, drift, read {found['devices']:,} devices: {times['median']:.3f} s")
    if "AdaBS" in found:
        images, median, ratio = found["AdaBS"]["images"], found["AdaBS"]["s"]["median"], found["AdaBS"]["x inference"]
        print(f"AdaBS of {images:,} images, paper: {median:.2f} s, {ratio:.2f} x their inference")
    if start := found.get("pcmref retention, s"):
        print(f"pcmref retention: {start['first']:.1f} s the first time, which compiles; then {start['warm']:.1f} s")
    for preset, memory in found.get("peak memory, MB", {}).items():
        print(f"{preset}: peak memory of {arguments['memory']:,} images {memory:.0f} MB")


def main():
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400, help="default: 400")
    parser.add_argument("--runs", type=int, default=5, help="default: 5")
    parser.add_argument("--threads", type=int, default=2, help="beside one; default: 2")
    parser.add_argument("--adabs", action="store_true", help=f"also time AdaBS with {ADABS_IMAGES:,} images")
    parser.add_argument("--start", action="store_true", help="also time `pcmref retention`, first and warm")
    parser.add_argument("--memory", type=int, metavar="IMAGES", help="also measure the memory for so many images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args()
    if options.json and not options.json.parent.is_dir():
        parser.error(f"no directory {options.json.parent}")
    found = figures(options)
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
