"""What a run on a GPU does: the numbers of its stages, at full size and tiny."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from noise import Disturbance, devices

import pcmref


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of training. The rates and what is done to images and weights are those of `README.md`'s stages.

    Parameters
    ----------
    name : str
    share : float
        Of the time for training that is left when it begins, from 0 to 1.
    expected : int
        Epochs that it is thought to have, as long as none has been measured.
    batch : int
        Images in a step; each of the chips has the same number of them.
    lr, muon : float
        Largest learning rates of gradient descent, and of Muon for convolutions, radians.
    weight_decay : float
        Of gradient descent.
    average : float
        Share of the past in the running average of the weights.
    cutout : int
        Side of the blanked square, pixels.
    cutmix : float
        Share of the images with a rectangle of another in them.
    smoothing, distill, temperature : float
        As in `train.loss_of`.
    views, shows : int
        So many variants of all images are made at a time, and shown so often before new ones are made.
    chips, fresh : int
        Chips that share a batch; how many of them have just been programmed. Without chips there are no errors.
    clip : float
        Largest weight, in standard deviations of its crossbar matrix.
    """

    name: str
    share: float
    expected: int
    batch: int = 250
    lr: float
    muon: float
    weight_decay: float = 5e-4
    average: float = 0.998
    cutout: int = 8
    cutmix: float = 0.7
    smoothing: float = 0.0
    distill: float = 0.9
    temperature: float = 4.0
    views: int = 4
    shows: int = 3
    chips: int = 0
    fresh: int = 0
    clip: float = math.inf

    def disturbance(self) -> Disturbance | None:
        """Return what happens to the weights: chips of `MODEL` from 25 s after programming to a day."""
        return devices(pcmref.MODELS[MODEL], FRESH_S, DAY_S, self.fresh) if self.chips else None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run.

    Parameters
    ----------
    arch : str
        Of the student, as in `pcmref.importers.resnet`.
    widths : tuple of int
        Channels of a teacher's groups.
    depth : int
        Convolutions of such a group.
    teachers : tuple of Stage
        One for each.
    plain : Stage
        The student without errors of its weights, the end of the first call.
    hard : tuple of Stage
        The student with errors, the second call.
    images : int or None
        Of how many training images a run takes notice, the first ones; all of them if None.
    validation : int
        Images held out, the last ones: they are looked at after each epoch and never trained on.
    judged : int
        Of these, how many the final table shows.
    judges : int
        Chips in the final table.
    """

    arch: str = "joshi-resnet32"
    widths: tuple[int, ...] = (128, 384, 512)
    depth: int = 3
    teachers: tuple[Stage, ...]
    plain: Stage
    hard: tuple[Stage, ...]
    images: int | None = None
    validation: int = 5000
    judged: int = 2000
    judges: int = 10


#: Devices of the chips, and when they are read: the first read of [J20], and a day, both in seconds.
MODEL, FRESH_S, DAY_S = "NANDAKUMAR_2019", 25.0, 86_400.0

#: A teacher: the rates of `c10/teacher8`, whose network was smaller; little smoothing, since it wipes out what a
#: teacher knows of the wrong classes (Mueller et al., arXiv 1906.02629).
TEACHER = Stage(
    name="teacher",
    share=1 / 8,
    expected=40,
    batch=1000,
    lr=0.17,
    muon=0.17,
    weight_decay=1e-3,
    average=0.99,
    cutout=12,
    cutmix=0.5,
    smoothing=0.05,
    views=1,
    shows=1,
)
#: The student without errors: `c10/mixed` without chips.
PLAIN = Stage(name="plain", share=1.0, expected=250, lr=0.1, muon=0.015)
#: With errors, `c10/patient`; and small steps on whole images, `c10/rested12`.
NOISE = Stage(name="noise", share=0.85, expected=200, lr=0.08, muon=0.012, chips=5, fresh=1, clip=1.6)
SMALL = dataclasses.replace(NOISE, name="small", share=1.0, expected=30, lr=0.01, muon=0.0012, cutout=0, cutmix=0.0)

FULL = Recipe(
    # an eighth of the time each, the student the other five
    teachers=tuple(dataclasses.replace(TEACHER, name=f"teacher-{n}", share=1 / (9 - n)) for n in (1, 2, 3)),
    plain=PLAIN,
    hard=(NOISE, SMALL),
)


def tiny(recipe: Recipe = FULL) -> Recipe:
    """Return a recipe with the same stages for a few images, which a CPU ends in seconds."""
    few = {"batch": 50, "expected": 3, "views": 2, "shows": 2}
    return dataclasses.replace(
        recipe,
        arch="joshi-resnet8",
        widths=(8, 12, 16),
        teachers=tuple(dataclasses.replace(stage, **few) for stage in recipe.teachers[:2]),
        plain=dataclasses.replace(recipe.plain, **few),
        hard=tuple(dataclasses.replace(stage, **few) for stage in recipe.hard),
        images=250,
        validation=50,
        judged=50,
        judges=2,
    )
