"""What a step is fed with: variants of all images, what teachers say of them, and an order to take them in."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import torch
from data import CHUNK, Data, Images, crop_and_flip
from recipe import Stage
from torch import Tensor, nn
from train import rate

from pcmref.network.images import Samples


class Feed:
    """The images of an epoch in buffers that stay in place, so that a CUDA graph can read them.

    Parameters
    ----------
    images : int
        How many; what does not fill a batch is left out of an epoch.
    batch : int
    shape : tuple of int
        Rows, columns and channels of an image.
    classes : int
    device : torch.device
    dtype : torch.dtype
        Of the images.
    """

    def __init__(
        self, images: int, batch: int, shape: tuple[int, ...], classes: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.steps = images // batch
        self.images = torch.zeros(images, *shape, device=device, dtype=dtype)
        self.targets, self.answers = torch.zeros(2, images, classes, device=device)
        self.order = torch.zeros(self.steps, batch, device=device, dtype=torch.long)
        self.rates = torch.zeros(self.steps, device=device)
        self.step = torch.zeros(1, device=device, dtype=torch.long)
        self.loss = torch.zeros((), device=device)

    def fill(self, view: tuple[Tensor, Tensor, Tensor], begin: float, end: float) -> None:
        """Begin an epoch with a view of the images, which takes a stage from progress `begin` to `end`."""
        for buffer, values in zip((self.images, self.targets, self.answers), view, strict=True):
            buffer.copy_(values)
        order = torch.randperm(len(self.images), device=self.images.device)[: self.order.numel()]
        self.order.copy_(order.view_as(self.order))
        rates = [rate(begin + (end - begin) * step / self.steps) for step in range(self.steps)]
        self.rates.copy_(torch.tensor(rates))
        self.step.zero_()
        self.loss.zero_()

    def take(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return a batch of images, shape ``(n, channels, height, width)``, targets, answers, and the learning rate."""
        index = self.order.index_select(0, self.step)[0]
        learning_rate = self.rates.index_select(0, self.step)[0]
        self.step.add_(1).remainder_(self.steps)
        images, targets, answers = (x.index_select(0, index) for x in (self.images, self.targets, self.answers))
        return images.permute(0, 3, 1, 2), targets, answers, learning_rate

    def mean_loss(self) -> float:
        """Return the mean loss of the epoch."""
        return self.loss.item() / self.steps


class Views:
    """Variants of all images, made a few at a time, each shown several times before new ones are made.

    Parameters
    ----------
    samples : Samples
    data : Data
        What `samples` is a part of.
    stage : Stage
    teachers : sequence of nn.Module
    device : torch.device
    dtype : torch.dtype
        What the teachers compute in.
    """

    def __init__(
        self,
        samples: Samples,
        data: Data,
        stage: Stage,
        teachers: Sequence[nn.Module],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.stage, self.teachers, self.dtype = stage, teachers, dtype
        # without teachers mirror images take turns: each image is seen as it is in one epoch, mirrored in the next
        augment = crop_and_flip if teachers else functools.partial(crop_and_flip, mirror=0.0)
        data = dataclasses.replace(data, augment=augment, cutout=stage.cutout, cutmix=stage.cutmix)
        self.images = Images(samples, data, device)
        mirrored = torch.rand(len(self.images), 1, 1, 1, device=device) < 0.5
        self.images.pixels = torch.where(mirrored, self.images.pixels.flip(3), self.images.pixels)
        self.kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self.epoch = 0

    def next(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the images of the next epoch, shape ``(n, height, width, channels)``, with targets and answers."""
        place = self.epoch % (self.stage.views * self.stage.shows)
        self.epoch += 1
        if place == 0:
            self.kept.clear()
        if place < self.stage.views:
            self.kept.append(self.made())
        return self.kept[place % self.stage.views]

    def made(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return new variants."""
        self.images.pixels = self.images.pixels.flip(3)
        variants, targets = self.images.variants()
        variants = variants.permute(0, 2, 3, 1).to(self.dtype)
        return variants, targets, answers(self.teachers, variants) if self.teachers else torch.zeros_like(targets)


@torch.no_grad()
def answers(teachers: Sequence[nn.Module], images: Tensor) -> Tensor:
    """Return the mean logits of all teachers for each image and its mirror image.

    Parameters
    ----------
    teachers : sequence of nn.Module
        In evaluation mode, with weights of the images' dtype.
    images : Tensor
        Shape ``(n, height, width, channels)``.
    """
    found = []
    for part in images.split(CHUNK):
        batch = part.permute(0, 3, 1, 2)
        both = [teacher(x).float() for teacher in teachers for x in (batch, batch.flip(3))]
        found.append(torch.stack(both).mean(dim=0))
    return torch.cat(found)
