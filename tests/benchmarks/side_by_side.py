"""pcmref beside PyTorch and aihwkit on the same network and images: ratios from one run.

    python tests/benchmarks/side_by_side.py [--images 400] [--runs 5] [--threads 2]

ResNet-32 with 16/28/56 channels (random weights, 361,722 of them), random images. The runs of all contenders
alternate, so that a change of the speed of the machine meets all of them; the median counts. What is not
installed is left out and named. aihwkit gets the first 200 images, in a batch.
"""

import argparse
import importlib.metadata
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import pcmref
from pcmref.importers.resnet import architecture, network_from_tensors
from pcmref.network.images import Normalisation
from pcmref.network.layers import Conv


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


def torch_forward(net, threads):
    """Return a function that runs `net` in PyTorch: float32, channels last, 200 images a batch."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    torch.set_num_threads(threads)
    layers = {layer.name: layer for layer in net.layers}

    def weight(layer):
        return torch.from_numpy(layer.weight.copy()).contiguous(memory_format=torch.channels_last)

    folded = {}
    for layer in net.layers:
        if isinstance(layer, Conv):
            norm = next(n for n in net.layers if n.inputs == (layer.name,))
            scale, offset = pcmref.inference.digital.fold(norm, pcmref.inference.corrections.stored_statistics(norm))
            folded[layer.name] = (
                weight(layer) * torch.from_numpy(scale).view(-1, 1, 1, 1),
                torch.from_numpy(offset),
                layer.stride,
                layer.padding,
            )
    last = layers["fc"]
    fc = torch.from_numpy(last.weight.copy()), torch.from_numpy(last.bias.copy())

    def conv(x, name):
        kernel, offset, stride, padding = folded[name]
        return F.conv2d(x, kernel, offset, stride, padding)

    def forward(x):
        x = F.relu_(conv(x, "conv1"))
        for name in folded:
            if name.endswith(".conv1"):
                block = name.removesuffix(".conv1")
                y = conv(F.relu_(conv(x, name)), f"{block}.conv2")
                y += conv(x, f"{block}.shortcut") if f"{block}.shortcut" in folded else x
                x = F.relu_(y)
        return F.linear(x.mean((2, 3)), *fc)

    def run(images):
        with torch.inference_mode():
            x = torch.tensor(images).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.25)
            x = x.contiguous(memory_format=torch.channels_last)
            return torch.cat([forward(part) for part in x.split(200)]).numpy()

    return run


def torch_modules(net):
    """Return `net` as a PyTorch module: convolutions and a linear layer that aihwkit can convert, and batch norms."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    def module(layer):
        if isinstance(layer, Conv):
            out, inputs, kernel, _ = layer.weight.shape
            found = nn.Conv2d(inputs, out, kernel, layer.stride, layer.padding, bias=False)
        elif layer.op == "linear":
            found = nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
            found.bias.data = torch.from_numpy(layer.bias.copy())
        else:
            found = nn.BatchNorm2d(len(layer.mean))
            return found.eval()
        found.weight.data = torch.from_numpy(layer.weight.copy())
        return found

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            kept = [layer for layer in net.layers if layer.op in ("conv", "linear", "batch_norm")]
            self.parts = nn.ModuleDict({layer.name.replace(".", "_"): module(layer) for layer in kept})

        def forward(self, x):
            values = {"input": x}
            for layer in net.layers:
                x, *other = (values[name] for name in layer.inputs)
                if layer.name.replace(".", "_") in self.parts:
                    x = self.parts[layer.name.replace(".", "_")](x)
                elif layer.op == "add":
                    x = x + other[0]
                elif layer.op == "relu":
                    x = F.relu(x)
                else:
                    x = x.mean((2, 3))
                values[layer.name] = x
            return x

    return Net().eval()


def aihwkit_forward(net, *, noisy):
    """Return functions: program and drift to a day; infer all images. Tiles of at most 256 rows, G_max 25 uS.

    `noisy` takes aihwkit's default converters and noise (7-bit DAC, 9-bit ADC, output noise), else they are perfect.
    """
    import torch
    from aihwkit.inference import PCMLikeNoiseModel
    from aihwkit.nn.conversion import convert_to_analog
    from aihwkit.simulator.configs import InferenceRPUConfig

    config = InferenceRPUConfig()
    config.noise_model = PCMLikeNoiseModel(g_max=25.0)
    config.forward.is_perfect = not noisy
    config.mapping.max_input_size = 256
    config.mapping.weight_scaling_omega = 1.0
    model = convert_to_analog(torch_modules(net), config).eval()

    def program():
        model.program_analog_weights()
        model.drift_analog_weights(86_400.0)

    def run(images):
        with torch.inference_mode():
            x = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.25)
            return torch.cat([model(part) for part in x.contiguous().split(200)]).numpy()

    return program, run


def contenders(net, images, threads):
    """Return name -> (function that infers, number of images), and name -> function that makes a chip of a day."""
    chip = pcmref.program(net, seed=0)
    snapshot = chip.at(86_400.0)
    chip8 = pcmref.calibrate_ranges(net, images[:50], pcmref.PRESETS["chip8"], threads=threads)
    count = len(images)
    found, chips = {}, {"pcmref": lambda: pcmref.program(net, seed=0).at(86_400.0)}
    try:
        forward = torch_forward(net, threads)
        theirs, ours = forward(images), pcmref.digital(net, images, threads=threads)
        assert np.allclose(theirs, ours, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())
        found["PyTorch float32"] = lambda: forward(images), count
    except ImportError:
        print("PyTorch is not installed: no ratios")
    for workers in sorted({threads, 1}, reverse=True):
        label = f", {workers} thread" if workers != threads else ""
        found |= {
            f"pcmref digital{label}": (lambda w=workers: pcmref.digital(net, images, threads=w), count),
            f"pcmref paper{label}": (lambda w=workers: pcmref.logits(snapshot, images, threads=w), count),
            f"pcmref chip8{label}": (
                lambda w=workers: pcmref.logits(snapshot, images, readout=chip8, threads=w),
                count,
            ),
        }
    try:
        for name, noisy in (("aihwkit perfect", False), ("aihwkit noisy", True)):
            program, run = aihwkit_forward(net, noisy=noisy)
            program()
            found[name] = lambda run=run: run(images[:200]), len(images[:200])
            chips["aihwkit"] = program
    except ImportError:
        print("aihwkit is not installed: not compared")
    return found, chips


def gemm_peak(threads, size=2048):
    """Return the rate of PyTorch's float32 product of two square matrices, GFLOP/s: the best of ten."""
    import torch

    torch.set_num_threads(threads)
    a, b = torch.rand(2, size, size)
    return max(2 * size**3 / seconds(lambda: a @ b) for _ in range(10)) / 1e9


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
    versions = [f"{name} {installed[name]}" for name in ("numpy", "numba", "torch", "aihwkit") if name in installed]
    processor = found[1] if found else platform.processor()
    return f"{platform.machine()}, {processor}; Python {platform.python_version()}, {', '.join(versions)}"


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


def main():
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, metavar="IMAGES", help="also measure the memory for so many images")
    options = parser.parse_args()
    net = random_network()
    images = np.random.default_rng(1).integers(0, 256, (options.images, 32, 32, 3)).astype(np.uint8)
    work, chips = contenders(net, images, options.threads)
    times = {name: [] for name in [*work, *chips]}
    for run, _ in work.values():
        run()
    for _ in range(options.runs):
        for name, (run, count) in work.items():
            times[name].append(seconds(run) / count)
        for name, run in chips.items():
            times[name].append(seconds(run))

    print(machine())
    print(f"{options.threads} threads unless said, {options.images} images, median (and range) of {options.runs} runs")
    multiply_adds = sum(layer.weight.size * int(np.prod(net.shapes[layer.name][:-1])) for layer in net.crossbar_layers)
    base = statistics.median(times.get("PyTorch float32", [float("nan")]))
    peak = gemm_peak(options.threads) if "PyTorch float32" in work else float("nan")
    print(f"{multiply_adds / 1e6:.1f} million multiply-adds an image; float32 GEMM peak {peak:.0f} GFLOP/s\n")
    print(f"{'':26}{'ms an image':>20}{'x PyTorch':>11}{'of GEMM peak':>14}")
    for name in work:
        middle, least, most = statistics.median(times[name]), min(times[name]), max(times[name])
        rate = 2 * multiply_adds / middle / 1e9
        spread = f"{1000 * middle:.2f} ({1000 * least:.2f}-{1000 * most:.2f})"
        print(f"{name:26}{spread:>20}{middle / base:11.2f}{rate / peak:14.0%}")
    print()
    for name in chips:
        print(f"{name}: program, drift, read {net.devices:,} devices: {statistics.median(times[name]):.3f} s")
    if options.memory:
        for preset in ("paper", "chip8"):
            print(f"{preset}: peak memory of {options.memory:,} images {peak_memory(preset, options.memory):.0f} MB")


if __name__ == "__main__":
    main()
