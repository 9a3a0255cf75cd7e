"""Judge networks by training images that are distorted as none was in training: where no image was held out.

``python examples/training/judge.py c10/noise.pt weights/resnet32-cifar10.h5`` prints the accuracy on the first training
images as they are and under each distortion, and the mean of the latter; with ``--model`` also that mean on chips.  It
tells which of two networks generalises better, not how well: the images themselves are known.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from checkpoint import read_checkpoint, restored
from data import Images, load
from measure import accuracy
from noise import Disturbance, devices
from torch import Tensor
from torch.nn import functional
from train import count, status

import pcmref.devices.published
from pcmref import Samples


def turned(images: Tensor, degrees: float = 0.0, zoom: float = 1.0) -> Tensor:
    """Turn images clockwise about their middle, and show `zoom` times as much of them; reflected at the border."""
    cosine, sine = (zoom * law(math.radians(degrees)) for law in (math.cos, math.sin))
    matrix = torch.tensor([[cosine, sine, 0.0], [-sine, cosine, 0.0]]).expand(len(images), 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def faded(images: Tensor, contrast: float) -> Tensor:
    """Bring each channel closer to its mean over the image."""
    return torch.lerp(images.mean(dim=(2, 3), keepdim=True), images, contrast)


def blurred(images: Tensor) -> Tensor:
    """Replace each pixel by the mean of it and its neighbours to the right and below, reflected at the border."""
    return functional.avg_pool2d(functional.pad(images, (0, 1, 0, 1), mode="reflect"), 2, stride=1)


#: Beyond what `data.crop_and_flip` and `data.wobble` do.
DISTORTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "+12 deg": lambda images: turned(images, degrees=12),
    "-12 deg": lambda images: turned(images, degrees=-12),
    "x0.85": lambda images: turned(images, zoom=0.85),
    "x1.15": lambda images: turned(images, zoom=1.15),
    "faded": lambda images: faded(images, 0.6),
    "blurred": blurred,
}


def distorted(samples: Samples, name: str, full_scale: float) -> Samples:
    """Return the images under a distortion, rounded to whole numbers again."""
    pixels = torch.tensor(samples.images).permute(0, 3, 1, 2) / full_scale
    changed = (DISTORTIONS[name](pixels) * full_scale).round().clamp(0, 255).byte()
    return Samples(images=np.ascontiguousarray(changed.permute(0, 2, 3, 1).numpy()), labels=samples.labels)


def conditions(model: str) -> dict[str, Disturbance]:
    """Return what chips of a PCM model make of the weights: at once, uncompensated, and after a day with GDC."""
    laws = pcmref.devices.published.model(model)
    return {"25 s": devices(laws, 25.0, 25.0, fresh=1), "1 d": devices(laws, 86_400.0, 86_400.0)}


def judged(path: Path, args: argparse.Namespace) -> dict[str, float]:
    """Return the accuracy in percent on the first training images: plain, distorted, and distorted on chips."""
    device = torch.device("cpu")
    state = read_checkpoint(path, device)
    data = load(state["options"]["data"], args.data_dir or state["data_dir"])
    model = restored(state, data)
    first = data.training.first(min(args.images, len(data.training)))
    full_scale = data.normalisation.full_scale
    changed = {name: Images(distorted(first, name, full_scale), data, device) for name in DISTORTIONS}
    found = {"plain": accuracy(model, Images(first, data, device))}
    found |= {name: accuracy(model, images) for name, images in changed.items()}
    found["mean"] = sum(found[name] for name in DISTORTIONS) / len(DISTORTIONS)
    for name, disturbance in (conditions(args.model) if args.model else {}).items():
        total = 0.0
        for chip, images in itertools.product(range(args.chips), changed.values()):
            torch.manual_seed(chip)
            total += accuracy(model, images, disturbance)
        found[name] = total / (args.chips * len(changed))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Judge the networks of a command line and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", nargs="+", type=Path, help="checkpoints and network files")
    parser.add_argument("--images", type=count, default=5000, help="how many, the first ones (5000)")
    parser.add_argument("--model", default="", help="a PCM model of pcmref: judge on chips too, 25 s and a day old")
    parser.add_argument("--chips", type=count, default=5, help="how many of each age, the same for all networks (5)")
    parser.add_argument("--data-dir", help="where CIFAR-10 is (by default where pcmref looks for it)")
    args = parser.parse_args(argv)
    return status(lambda: judge(args))


def judge(args: argparse.Namespace) -> None:
    """Print a line for each network."""
    names = ("plain", *DISTORTIONS, "mean", *(conditions(args.model) if args.model else ()))
    print("".join(f"{name:>9}" for name in names))
    for path in args.networks:
        found = judged(path, args)
        print("".join(f"{found[name]:9.2f}" for name in names), f" {path}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
