"""pcmref beside PyTorch on the same network and images: ratios from one run.

    python tests/benchmarks/side_by_side.py [--images 400] [--runs 5] [--threads 2]

ResNet-32 with 16/28/56 channels (random weights, 361,722 of them), random images. The runs of all contenders
alternate, so that a change of the speed of the machine meets all of them; the median counts. What is not
installed is left out and named.
"""

import argparse
import platform
import statistics
import time

import numpy as np

import pcmref
from pcmref.convert import architecture, network_from_tensors
from pcmref.network import Conv, Normalisation


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
            scale, offset = pcmref.periphery.fold(norm, pcmref.periphery.stored_statistics(norm))
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
            x = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.25)
            x = x.contiguous(memory_format=torch.channels_last)
            return torch.cat([forward(part) for part in x.split(200)]).numpy()

    return run


def contenders(net, images, threads):
    """Return name -> function that infers all images."""
    chip = pcmref.program(net, seed=0)
    snapshot = chip.at(86_400.0)
    chip8 = pcmref.calibrate_ranges(net, images[:50], pcmref.PRESETS["chip8"], threads=threads)
    found = {
        "digital": lambda: pcmref.digital(net, images, threads=threads),
        "paper": lambda: pcmref.logits(snapshot, images, threads=threads),
        "chip8": lambda: pcmref.logits(snapshot, images, readout=chip8, threads=threads),
    }
    try:
        forward = torch_forward(net, threads)
    except ImportError:
        print("PyTorch is not installed: no ratios")
        return found
    theirs, ours = forward(images), found["digital"]()
    assert np.allclose(theirs, ours, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())
    return {"PyTorch float32": lambda: forward(images), **found}


def main():
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    net = random_network()
    images = np.random.default_rng(1).integers(0, 256, (options.images, 32, 32, 3)).astype(np.uint8)
    work = contenders(net, images, options.threads)
    seconds = {name: [] for name in work}
    for name in work:
        work[name]()
    for _ in range(options.runs):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    devices = []
    for seed in range(options.runs):
        start = time.perf_counter()
        pcmref.program(net, seed=seed).at(86_400.0)
        devices.append(time.perf_counter() - start)

    print(f"{platform.machine()}, {options.threads} threads, {options.images} images, median of {options.runs} runs")
    base = statistics.median(seconds.get("PyTorch float32", [float("nan")]))
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"{name:18}{1000 * middle / options.images:8.2f} ms an image{middle / base:8.2f} x PyTorch")
    print(f"program + snapshot of {net.devices:,} devices: {statistics.median(devices):.3f} s")


if __name__ == "__main__":
    main()
