"""One stage of a run: epochs until its time is over, each with a line in the log."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from budget import Budget, Pace
from data import CHUNK, Data, Images
from feed import Feed, Views
from keep import Log
from learner import Learner
from recipe import Recipe, Stage
from replay import captured, fastest
from torch import Tensor, nn

from pcmref.network.images import Samples

#: Takes a network's tensors and the progress of its stage.
Keep: TypeAlias = Callable[[dict[str, Tensor], float], None]
#: Seconds between two checkpoints of a stage.
KEEP_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the stages of a run share.

    Parameters
    ----------
    recipe : Recipe
    data : Data
        Without test images, cut to those that the recipe takes notice of.
    device : torch.device
        Where everything is and is computed.
    out : Path
        The folder for results.
    seed : int
    budget : Budget
        Until the end of the call.
    log : Log
    commands : tuple of str
        Those of this and of earlier calls.
    """

    recipe: Recipe
    data: Data
    device: torch.device
    out: Path
    seed: int
    budget: Budget
    log: Log
    commands: tuple[str, ...]

    @property
    def dtype(self) -> torch.dtype:
        """What images, and the weights that they are multiplied with, are computed in."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def parts(self) -> tuple[Samples, Samples]:
        """Return the training and the validation images."""
        return self.data.parts(all_data=False)

    def images(self, samples: Samples) -> Images:
        """Return images on the device."""
        return Images(samples, self.data, self.device)

    def start_numbers(self, purpose: str) -> int:
        """Start the device's random numbers for a purpose; return their seed."""
        state = np.random.SeedSequence([self.seed, *purpose.encode()]).generate_state(1, np.uint32)
        torch.manual_seed(int(state[0]))
        return int(state[0])


def small_data(data: Data, recipe: Recipe) -> Data:
    """Return the part of a data set that a recipe takes notice of."""
    images = len(data.training) if recipe.images is None else recipe.images
    return dataclasses.replace(data, training=data.training.first(images), validation=recipe.validation)


class Validation:
    """The held-out images in the layout of a feed."""

    def __init__(self, run: Run) -> None:
        _, samples = run.parts()
        images = run.images(samples)
        pixels, self.labels = images.batch(slice(None))
        self.batches = pixels.to(run.dtype, memory_format=torch.channels_last).split(CHUNK)

    @torch.no_grad()
    def accuracy(self, learner: Learner) -> float:
        """Return the accuracy of a learner's averaged network in percent."""
        found = torch.cat([learner.answer(batch).argmax(dim=1) for batch in self.batches])
        return 100 * (found == self.labels).float().mean().item()


def train_stage(
    run: Run,
    stage: Stage,
    make: Callable[[Feed], Learner],
    teachers: Sequence[nn.Module],
    *,
    seconds: float,
    progress: float,
    keep: Keep,
) -> None:
    """Train a stage for so many seconds, going on at `progress`; `keep` gets the network after every epoch.

    Raises
    ------
    ArithmeticError
        If the loss is no finite number any more.
    """
    seed = run.start_numbers(f"{stage.name} {progress:.3f}")
    samples, _ = run.parts()
    views = Views(samples, run.data, stage, teachers, run.device, run.dtype)
    shape, classes = samples.images.shape[1:], len(run.data.classes)
    feed = Feed(len(samples), stage.batch, shape, classes, run.device, run.dtype)
    learner = make(feed)
    validation = Validation(run)
    pace = Pace(Budget(seconds, run.budget.now), stage.expected, stage.views * stage.shows, progress)
    feed.fill(views.next(), progress, progress)
    capture = captured if run.device.type == "cuda" else None
    step = fastest(learner, seed, lambda text: run.log(f"{stage.name}, {text}"), capture)
    epoch = 0
    while not pace.over():
        begin, end = pace.progress, pace.following()
        feed.fill(views.next(), begin, end)
        for _ in range(feed.steps):
            step()
        loss = feed.mean_loss()
        if not math.isfinite(loss):
            raise ArithmeticError(f"the loss of {stage.name} became {loss}")
        pace.progress = end
        epoch += 1
        figures = {"progress": end, "loss": loss, "accuracy": validation.accuracy(learner)}
        run.log(f"{stage.name} {epoch}", **figures, left=run.budget.left())
        keep(learner.network(), end)
