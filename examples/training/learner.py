"""The networks of a run while they learn: one step of each, with nothing in it that waits for the device."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import torch
from feed import Feed
from model import ResNet, Teacher
from muon import Descent, Muon
from optimiser import as_matrix
from padded import Padded
from recipe import Stage
from torch import Tensor
from torch.func import functional_call
from train import loss_of


class Learner(ABC):
    """A network in training.

    Parameters
    ----------
    stage : Stage
    feed : Feed
    taught : bool
        Whether the feed has answers of teachers.
    """

    def __init__(self, stage: Stage, feed: Feed, *, taught: bool) -> None:
        self.stage, self.feed, self.taught = stage, feed, taught
        self.options = dataclasses.asdict(stage)
        #: What each step changes, and the running averages of the first of these tensors.
        self.changed: list[Tensor] = []
        self.averages: list[Tensor] = []
        self.count = torch.zeros((), device=feed.images.device)
        self.fine = torch.float32 if feed.images.dtype == torch.float32 else torch.bfloat16

    def follow(self, *tensors: Tensor) -> None:
        """Begin running averages of these tensors."""
        self.averages = [tensor.detach().clone() for tensor in tensors]
        self.changed = [*tensors, *self.averages, self.count, self.feed.step, self.feed.loss]

    def step(self) -> None:
        """Take a step."""
        images, targets, answers, rate = self.feed.take()
        loss = loss_of(self.logits(images).float(), targets, answers if self.taught else None, self.options)
        with torch.no_grad():
            self.update(loss, rate)
            # at first the mean of all steps so far: what a stage begins with is soon forgotten
            share = self.count.add_(1).reciprocal().clamp(min=1 - self.stage.average)
            for average, tensor in zip(self.averages, self.changed, strict=False):
                average.lerp_(tensor, share)
            self.feed.loss.add_(loss)

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of a batch while training."""

    @abstractmethod
    def update(self, loss: Tensor, rate: Tensor) -> None:
        """Change the parameters."""

    @abstractmethod
    def answer(self, images: Tensor) -> Tensor:
        """Return the logits of the averaged network."""

    @abstractmethod
    def network(self) -> dict[str, Tensor]:
        """Return a copy of the averaged network's tensors on the CPU."""


class Student(Learner):
    """A network for crossbars; with chips, their errors are drawn anew for each step."""

    def __init__(self, net: ResNet, stage: Stage, feed: Feed, *, taught: bool) -> None:
        super().__init__(stage, feed, taught=taught)
        self.padded = padded = Padded(net, feed.images.device)
        self.disturbance = stage.disturbance()
        self.muon = Muon(padded.matrices[:-1], padded.sizes[:-1], stage.batch, self.fine)
        self.descents = [Descent(values, stage.weight_decay) for values in (padded.matrices[-1], padded.affine)]
        self.drawn = self.affine = torch.empty(0)
        self.follow(padded.matrices, padded.affine, padded.running)
        self.changed += [self.muon.momentum, *(descent.momentum for descent in self.descents)]

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits on chips with errors of their own."""
        clean = self.padded.matrices
        if self.disturbance is None:
            drawn = clean[None]
        else:
            drawn = self.disturbance(clean.flatten(1), self.stage.chips).unflatten(2, clean.shape[1:])
        self.drawn = drawn.to(images.dtype, copy=True).requires_grad_()
        self.affine = self.padded.affine.clone().requires_grad_()
        return self.padded.logits(images, self.drawn, self.affine, self.padded.running, training=True)

    def update(self, loss: Tensor, rate: Tensor) -> None:
        """Change the clean weights by the gradients at the disturbed ones, and clip them."""
        drawn, affine = torch.autograd.grad(loss, [self.drawn, self.affine])
        gradient = drawn.float().sum(dim=0)
        self.muon.step(gradient[:-1], rate * self.stage.muon)
        for descent, values in zip(self.descents, (gradient[-1], affine), strict=True):
            descent.step(values, rate * self.stage.lr)
        self.padded.clip(self.stage.clip)

    def answer(self, images: Tensor) -> Tensor:
        """Return the logits of the averaged network, without errors."""
        matrices, affine, running = self.averages
        return self.padded.logits(images, matrices[None].to(images.dtype), affine, running, training=False)

    def network(self) -> dict[str, Tensor]:
        """Return a copy of the averaged network's tensors on the CPU."""
        return {name: value.clone() for name, value in self.padded.restored(*self.averages).state_dict().items()}


class Wide(Learner):
    """A teacher."""

    def __init__(self, net: Teacher, stage: Stage, feed: Feed) -> None:
        super().__init__(stage, feed, taught=False)
        device = feed.images.device
        self.net = net.to(device, memory_format=torch.channels_last)
        self.trained = {name: value for name, value in net.named_parameters() if value.requires_grad}
        self.optimisers: list[Muon | Descent] = []
        for value in self.trained.values():
            if value.dim() == 4:
                matrix = as_matrix(value.detach())
                self.optimisers.append(Muon(matrix[None], [tuple(matrix.shape)], stage.batch, self.fine))
            else:
                self.optimisers.append(Descent(value.detach(), stage.weight_decay))
        buffers = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
        self.follow(*(value.detach() for value in self.trained.values()), *buffers)
        self.changed += [optimiser.momentum for optimiser in self.optimisers]
        self.fixed = net.whiten.weight.detach().to(feed.images.dtype)

    def weights(self, values: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the weights of convolutions and of the last layer as they are multiplied."""
        large = {name: value.to(dtype) for name, value in values.items() if value.dim() > 1}
        return {**values, **large, "whiten.weight": self.fixed.to(dtype)}

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of a batch while training."""
        self.net.train()
        return functional_call(self.net, self.weights(self.trained, images.dtype), images)

    def update(self, loss: Tensor, rate: Tensor) -> None:
        """Change the parameters."""
        gradients = torch.autograd.grad(loss, list(self.trained.values()))
        for optimiser, gradient in zip(self.optimisers, gradients, strict=True):
            if isinstance(optimiser, Muon):
                matrix = as_matrix(gradient.contiguous(memory_format=torch.channels_last))
                optimiser.step(matrix[None], rate * self.stage.muon)
            else:
                optimiser.step(gradient, rate * self.stage.lr)

    def averaged(self) -> dict[str, Tensor]:
        """Return the averaged tensors by name."""
        names = [*self.trained, *(name for name, buffer in self.net.named_buffers() if buffer.is_floating_point())]
        return dict(zip(names, self.averages, strict=True))

    def answer(self, images: Tensor) -> Tensor:
        """Return the logits of the averaged network."""
        self.net.eval()
        return functional_call(self.net, self.weights(self.averaged(), images.dtype), images)

    def network(self) -> dict[str, Tensor]:
        """Return a copy of the averaged network's tensors on the CPU."""
        return {name: value.to("cpu", copy=True) for name, value in (self.net.state_dict() | self.averaged()).items()}
