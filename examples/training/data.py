"""Images to train on: where they come from, how they are split, normalised and augmented."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import pcmref
from pcmref import Samples
from pcmref.errors import DataError
from pcmref.files.atomic import sha256_of
from pcmref.files.cifar10 import CLASSES, find_cifar10, load_cifar10
from pcmref.network.images import Normalisation

#: How many of the digits are training images, and the seed of the order that they are the first of.
DIGITS_TRAINING = 1000
DIGITS_SEED = 0
#: Images that are varied at once.
CHUNK = 1000


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set.

    Parameters
    ----------
    training, test : Samples
    validation : int
        How many images, the last ones of `training`, judge a network while its recipe is being chosen.
    normalisation : Normalisation
    classes : tuple of str
    source : str
        What the images are, whose, under which licence.
    files : str
        SHA-256 of each file that they were read from.
    augment : callable
        Random variants of a batch of images with values from 0 to 1.
    cutout : int
        Side of the square that `Images.variants` blanks, in pixels; 0 blanks nothing.
    cutmix : float
        Share of the variants in which a rectangle is taken from another image.
    shipped : bool
        Whether network files may hold the images.
    """

    training: Samples
    test: Samples
    validation: int
    normalisation: Normalisation
    classes: tuple[str, ...]
    source: str
    files: str = ""
    augment: Callable[[Tensor], Tensor]
    cutout: int = 0
    cutmix: float = 0.0
    shipped: bool = False

    def parts(self, *, all_data: bool) -> tuple[Samples, Samples]:
        """Return the training and validation images; with `all_data` the validation part is empty."""
        samples = self.training
        count = len(samples) - (0 if all_data else self.validation)
        return samples.first(count), Samples(images=samples.images[count:], labels=samples.labels[count:])


def load(name: str, location: str | None) -> Data:
    """Return the data set called "digits", or "cifar10" as found at `location`.

    Any other name is the path of a network file that holds the digits.
    """
    if name == "cifar10":
        return _cifar10(location)
    return _digits() if name == "digits" else _from_network(name)


def _cifar10(location: str | None) -> Data:
    return dataclasses.replace(cifar10_training(location), test=load_cifar10(location, split="test"))


def cifar10_training(location: str | None) -> Data:
    """Return CIFAR-10 as found at `location` without its test images, which need not be there."""
    place = find_cifar10(location)
    files = sorted(place.glob("*_batch*")) if place.is_dir() else [place]
    digests = "\n".join(f"{sha256_of(path)}  {path.name}" for path in files)
    return without_test(load_cifar10(location, split="train"), digests)


def without_test(training: Samples, files: str) -> Data:
    """Return training images of CIFAR-10 as a data set; `files` is as in `Data`."""
    return Data(
        training=training,
        test=training.first(0),
        validation=5000,
        normalisation=normalisation_of(training, 255.0),
        classes=CLASSES,
        files=files,
        source="CIFAR-10, A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        augment=crop_and_flip,
        cutout=8,
    )


def _digits() -> Data:
    try:
        from sklearn import __version__ as version
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("digits", "scikit-learn, or a network file with the digits", str(error)) from error
    digits = load_digits()
    order = balanced(digits.target, DIGITS_SEED)
    samples = Samples(
        images=digits.images[order, :, :, None].astype(np.uint8), labels=digits.target[order].astype(np.int64)
    )
    training = samples.first(DIGITS_TRAINING)
    return Data(
        training=training,
        test=Samples(images=samples.images[DIGITS_TRAINING:], labels=samples.labels[DIGITS_TRAINING:]),
        validation=200,
        normalisation=normalisation_of(training, 16.0),
        classes=tuple("0123456789"),
        source='"Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning '
        f"Repository, 1998, doi 10.24432/C50P49, CC BY 4.0, as shipped by scikit-learn {version}",
        augment=wobble,
        shipped=True,
    )


def _from_network(path: str) -> Data:
    network = pcmref.load(path)
    if network.calibration is None or network.evaluation is None:
        raise DataError(path, "a network file with both kinds of images", "none")
    return Data(
        training=network.calibration,
        test=network.evaluation,
        validation=len(network.calibration) // 5,
        normalisation=network.normalisation,
        classes=network.classes,
        source=network.provenance.get("data", f"the images of {path}"),
        augment=wobble,
        shipped=True,
    )


def balanced(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return a random order of `labels` in which every stretch holds each class in its share.

    So any cut of the reordered data is a stratified split.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = labels[order] == label
        place[members] = (np.arange(members.sum()) + 0.5) / members.sum()
    return order[np.argsort(place, kind="stable")]


def normalisation_of(samples: Samples, full_scale: float) -> Normalisation:
    """Return the normalisation that gives `samples` mean 0 and standard deviation 1 in each channel."""
    pixels = samples.images.reshape(-1, samples.images.shape[-1]) / np.float32(full_scale)
    mean, std = (getattr(pixels, law)(axis=0, dtype=np.float64).round(4) for law in ("mean", "std"))
    return Normalisation(full_scale=full_scale, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def wobble(images: Tensor) -> Tensor:
    """Rotate by up to 10 degrees, zoom by up to 10 %, shift by up to a pixel."""
    count, _, height, width = images.shape
    turn, zoom, down, right = torch.rand(4, count, device=images.device) * 2 - 1
    turn, zoom = turn * math.radians(10), 1 + 0.1 * zoom
    across = torch.stack([zoom * turn.cos(), -zoom * turn.sin(), right * 2 / width], dim=1)
    along = torch.stack([zoom * turn.sin(), zoom * turn.cos(), down * 2 / height], dim=1)
    grid = functional.affine_grid(torch.stack([across, along], dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def crop_and_flip(images: Tensor, mirror: float = 0.5) -> Tensor:
    """Shift by up to 4 pixels, mirror a share `mirror` of the images.

    What comes in at the border is the image reflected. Black borders would move the statistics of every layer away from
    those of whole images, with which AdaBS works.
    """
    count, _, height, width = images.shape
    device = images.device
    down, right = torch.randint(9, (2, count, 1), device=device)
    mirrored = torch.rand(count, 1, device=device) < mirror
    column = torch.arange(width, device=device)
    rows = torch.arange(height, device=device) + down
    columns = torch.where(mirrored, column.flip(0), column) + right
    image = torch.arange(count, device=device)[:, None, None]
    padded = functional.pad(images, (4, 4, 4, 4), mode="reflect")
    return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cut_out(images: Tensor, side: int) -> Tensor:
    """Set a square around a random pixel of each image to 0."""
    count, _, height, width = images.shape
    hidden = [
        (torch.arange(size, device=images.device) - torch.randint(size, (count, 1), device=images.device))
        .add(side // 2)
        .div(side, rounding_mode="floor")
        .eq(0)
        for size in (height, width)
    ]
    return images.masked_fill(hidden[0][:, None, :, None] & hidden[1][:, None, None, :], 0)


def cut_mix(images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Replace a rectangle in `share` of the images by that part of another; targets are mixed by area.

    The rectangle's area is even from 0 to 1 before what hangs over the border is lost (Yun et al., arXiv 1905.04899).
    """
    count, _, height, width = images.shape
    device = images.device
    others = torch.randperm(count, device=device)
    mixed = torch.rand(count, 1, device=device) < share
    side = torch.where(mixed, torch.rand(count, 1, device=device).sqrt(), 0.0)
    taken = [
        (torch.arange(size, device=device) - torch.randint(size, (count, 1), device=device)).abs() < side * size / 2
        for size in (height, width)
    ]
    rectangle = taken[0][:, :, None] & taken[1][:, None, :]
    area = rectangle.float().mean(dim=(1, 2))[:, None]
    return torch.where(rectangle[:, None], images[others], images), (1 - area) * targets + area * targets[others]


class Images:
    """Images and labels on the device that computes, given out as normalised batches."""

    def __init__(self, samples: Samples, data: Data, device: torch.device) -> None:
        self.data = data
        self.pixels = torch.tensor(samples.images).permute(0, 3, 1, 2).contiguous().to(device)
        self.labels = torch.tensor(samples.labels, device=device)
        shape = (1, -1, 1, 1)
        self.mean = torch.tensor(data.normalisation.mean, device=device).view(shape)
        self.std = torch.tensor(data.normalisation.std, device=device).view(shape)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return the images and labels at `index`."""
        return self.normalised(self.pixels[index] / self.data.normalisation.full_scale), self.labels[index]

    def variants(self) -> tuple[Tensor, Tensor]:
        """Return a random variant of each image, normalised, and its share of each class."""
        certain = functional.one_hot(self.labels, len(self.data.classes)).float()
        chunks = zip(self.pixels.split(CHUNK), certain.split(CHUNK), strict=True)
        images, shares = (torch.cat(parts) for parts in zip(*itertools.starmap(self.varied, chunks), strict=True))
        return images.contiguous(memory_format=torch.channels_last), shares

    def varied(self, pixels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return random variants of a few images, mixed only with each other."""
        images = self.normalised(self.data.augment(pixels / self.data.normalisation.full_scale))
        if self.data.cutmix:
            images, targets = cut_mix(images, targets, self.data.cutmix)
        return cut_out(images, self.data.cutout) if self.data.cutout else images, targets

    def normalised(self, images: Tensor) -> Tensor:
        """Return images with values from 0 to 1 as the network takes them."""
        return (images - self.mean) / self.std
