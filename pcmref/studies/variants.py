"""What no tensor of a checkpoint tells: which assumption is right, by the accuracy of the digital network with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from pcmref.arrays import Float64
from pcmref.errors import DataError, FileError
from pcmref.importers.checkpoints import Assumptions
from pcmref.inference.run import digital
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.recipes import IMAGENET, ORDERS
from pcmref.studies.report import numbers

__all__ = ["Findings", "Score", "assumptions_text", "findings_text", "least_accuracy", "measured", "refuse_guessing"]

Values: TypeAlias = tuple[float, ...]

#: Means and standard deviations of the pixels of CIFAR-10; what is often taken for the latter is their mean of images.
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CIFAR10_STD_OF_IMAGES = (0.2023, 0.1994, 0.2010)
#: Normalisations that networks are trained with: name -> full scale, mean and std.
NORMALISATIONS: Mapping[str, tuple[float, Values, Values]] = {
    "ImageNet": (255.0, IMAGENET.mean, IMAGENET.std),
    "CIFAR-10": (255.0, CIFAR10_MEAN, CIFAR10_STD),
    "CIFAR-10, std of images": (255.0, CIFAR10_MEAN, CIFAR10_STD_OF_IMAGES),
    "-1 to 1": (255.0, (0.5,) * 3, (0.5,) * 3),
    "0 to 1": (255.0, (0.0,) * 3, (1.0,) * 3),
    "0 to 255": (1.0, (0.0,) * 3, (1.0,) * 3),
}
#: How often assumptions are tried one after another, as long as one changes.
ROUNDS = 2
#: A network guesses if it is less than this part of the way from guessing to perfect, beyond three standard errors.
GUESSING = 0.25


class Source(Protocol):
    """A network as a file has it, which leaves something open: `Checkpoint`, `OnnxModel`."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def channels(self) -> int:
        """Of its images."""

    @property
    def classes(self) -> int:
        """How many it tells apart."""

    @property
    def pads(self) -> bool:
        """Whether its shortcuts have channels of zeros."""

    def network(self, assumptions: Assumptions) -> Network:
        """Return the network under some assumptions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Score:
    """Share of images that are classified as labelled, and the cross-entropy of each."""

    accuracy: float
    losses: Float64

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return float(self.losses.mean())

    def is_worse_than(self, other: Score) -> bool:
        """Return whether the cross-entropy of the same images is larger, by more than two standard errors."""
        more = self.losses - other.losses
        return bool(more.mean() > 2 * more.std() / sqrt(len(more)))


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The score of each assumption that was tried, in this order; which of them are taken, and which are best."""

    scores: Mapping[Assumptions, Score]
    taken: Assumptions
    best: Assumptions


def measured(
    checkpoint: Source,
    samples: Samples,
    start: Assumptions,
    *,
    fixed: frozenset[str] = frozenset(),
    progress: Callable[[int, int], None] | None = None,
) -> Findings:
    """Try the assumptions that the tensors allow, one kind after another, and take the best of each that is open.

    Parameters
    ----------
    checkpoint : Checkpoint
    samples : Samples
        Images to choose by: not those to judge by.
    start : Assumptions
        What is tried first.
    fixed : set of str
        Fields of `Assumptions` that stay as they are in `start`; others are tried, and not taken.
    progress : callable, optional
        Is told how many were tried, and 0.
    """
    scores: dict[Assumptions, Score] = {}

    def score(assumptions: Assumptions) -> Score:
        if assumptions not in scores:
            scores[assumptions] = _score(checkpoint, assumptions, samples)
            if progress is not None:
                progress(len(scores), 0)
        return scores[assumptions]

    def best(tried: Iterable[Assumptions]) -> Assumptions:
        return _best({each: score(each) for each in tried}, start, len(samples))

    def advance(taken: Assumptions, choices: Iterable[Mapping[str, Any]]) -> Assumptions:
        tried = [taken, *(replace(taken, **choice) for choice in choices)]
        best(tried)  # all are measured, whether they may be taken or not
        return best(each for each in tried if all(getattr(each, name) == getattr(start, name) for name in fixed))

    taken, steps = start, _choices(checkpoint, start)
    for _ in range(ROUNDS):
        before = taken
        for choices in steps:
            taken = advance(taken, choices)
        if taken == before:
            break
    if scores[taken].accuracy < least_accuracy(checkpoint, samples)[1]:
        taken = advance(taken, [{**layout, **scale} for layout, scale in product(*steps)])
    return Findings(scores=scores, taken=taken, best=best(scores))


def _best(scores: Mapping[Assumptions, Score], start: Assumptions, count: int) -> Assumptions:
    """Return what has the least loss among those whose accuracy is within a standard error of the best.

    What was assumed at first stays, unless it is worse by more than chance.
    """
    top = max(score.accuracy for score in scores.values())
    near = [each for each in scores if scores[each].accuracy >= top - sqrt(top * (1 - top) / count)]
    least = min(near, key=lambda each: scores[each].loss)
    return least if start not in near or scores[start].is_worse_than(scores[least]) else start


def _choices(checkpoint: Source, start: Assumptions) -> list[list[dict[str, Any]]]:
    """Return what there is to choose among, the most consequential first."""
    colours = checkpoint.channels == 3
    shortcuts: list[str] = [start.shortcut]
    if checkpoint.pads:
        shortcuts = [kind for kind in ("pad-both", "pad-after") if _fits(checkpoint, start, kind)]
    orders = ORDERS if colours else (start.order,)
    layouts: list[dict[str, Any]] = [{"shortcut": kind, "order": order} for order, kind in product(orders, shortcuts)]
    scales = [start.normalisation, *map(_normalisation, NORMALISATIONS)] if colours else [start.normalisation]
    return [layouts, [{"normalisation": scale} for scale in scales]]


def _normalisation(name: str) -> Normalisation:
    full_scale, mean, std = NORMALISATIONS[name]
    return Normalisation(full_scale=full_scale, mean=mean, std=std)


def _fits(checkpoint: Source, start: Assumptions, shortcut: str) -> bool:
    """Return whether channels of zeros can lie so: half of an odd number cannot."""
    try:
        checkpoint.network(replace(start, shortcut=shortcut))  # type: ignore[arg-type]  # one of them
    except FileError:
        return False
    return True


def _score(checkpoint: Source, assumptions: Assumptions, samples: Samples) -> Score:
    logits = digital(checkpoint.network(assumptions), samples.images).astype(np.float64)
    right = logits.argmax(axis=1) == samples.labels
    below = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(below).sum(axis=1)) - below[np.arange(len(samples)), samples.labels]
    return Score(accuracy=float(right.mean()), losses=losses)


def least_accuracy(checkpoint: Source, samples: Samples) -> tuple[float, float]:
    """Return the accuracy of guessing, and the least of a network that does more.

    Guessing is the most frequent label.  More is a quarter of the way from there to 100 %, and three standard errors.
    """
    count = len(samples)
    chance = max(1 / checkpoint.classes, float(np.bincount(samples.labels).max()) / count)
    return chance, chance + GUESSING * (1 - chance) + 3 * sqrt(chance * (1 - chance) / count)


def refuse_guessing(checkpoint: Source, findings: Findings, samples: Samples) -> None:
    """Raise `DataError` if the network that is taken guesses, see `least_accuracy`."""
    chance, least = least_accuracy(checkpoint, samples)
    taken, best = (findings.scores[each].accuracy for each in (findings.taken, findings.best))
    if taken >= least:
        return
    found = f"{_percent(taken)} with {assumptions_text(checkpoint, findings.taken)}"
    if best >= least:
        found += f", but {_percent(best)} with {assumptions_text(checkpoint, findings.best)}"
    expected = (
        f"an accuracy of at least {_percent(least)} on {len(samples)} images, where guessing gives {_percent(chance)}"
    )
    raise DataError(str(checkpoint.path), expected, found)


# Texts


def assumptions_text(checkpoint: Source, assumptions: Assumptions) -> str:
    """Return assumptions as a line: only those that the tensors leave open."""
    return ", ".join(_open(checkpoint, assumptions).values())


def _open(checkpoint: Source, assumptions: Assumptions) -> dict[str, str]:
    """Return what is assumed of each kind that the tensors leave open."""
    shortcut = {"shortcut": assumptions.shortcut} if checkpoint.pads else {}
    order = {"colours": assumptions.order.upper()} if checkpoint.channels == 3 else {}
    return {**shortcut, **order, "normalisation": _name(assumptions.normalisation)}


def _name(scale: Normalisation) -> str:
    """Return the name of a normalisation, or its numbers."""
    for name, (full_scale, mean, std) in NORMALISATIONS.items():
        if (scale.full_scale, scale.mean, scale.std) == (full_scale, mean, std):
            return name
    return f"mean {numbers(scale.mean)} std {numbers(scale.std)}"


def findings_text(checkpoint: Source, findings: Findings, samples: Samples) -> str:
    """Return what was measured, and what follows."""
    title = f"accuracy and cross-entropy of {len(samples)} images ({samples.where}):"
    lines = [title, _table(checkpoint, findings)]
    if findings.best != findings.taken:
        lines.append(f"as asked for, though {assumptions_text(checkpoint, findings.best)} would be better")
    return "\n".join(lines)


def _table(checkpoint: Source, findings: Findings) -> str:
    """Return the scores as a table, the best first, with a word beside what is taken."""
    ordered = sorted(findings.scores.items(), key=lambda item: (-item[1].accuracy, item[1].loss))
    rows = [[*_open(checkpoint, findings.taken), "accuracy", "loss", ""]]
    for assumptions, score in ordered:
        texts = _open(checkpoint, assumptions).values()
        taken = "taken" if assumptions == findings.taken else ""
        rows.append([*texts, _percent(score.accuracy), f"{score.loss:.3f}", taken])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
