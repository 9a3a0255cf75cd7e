"""Train the network of CIFAR-10 for PCM in two calls of a few minutes on one GPU, without a network connection.

``python examples/training/on_gpu.py first --data PACKED --out ONE`` trains teachers and a student without errors,
``python examples/training/on_gpu.py second --data PACKED --start ONE --out TWO`` goes on with errors of its weights.
Both end within ``--seconds`` with ``network.h5``, whatever fails on the way; a call that is repeated goes on from what
it kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))  # pcmref need not be installed

import numpy as np
import torch
from budget import Budget, TimeUpError, alarm
from data import Images
from finish import export, table
from keep import Log, read_teacher, save_student, save_teacher
from learner import Learner, Student, Wide
from model import ResNet, Teacher
from pack import training_data
from recipe import FULL, Recipe, Stage
from stages import KEEP_S, Run, small_data, train_stage
from torch import Tensor, nn

from pcmref.errors import ParameterError, PcmrefError
from pcmref.importers.resnet import architecture

#: The oldest PyTorch that has all that is used here.
OLDEST = (2, 9)
#: Seconds that a call's start takes before its budget can be counted: Python's imports.
START_S = 20.0
#: What is kept of the budget for the end, in the time of the rehearsal of the export, and in seconds.
RESERVE, RESERVE_S = 1.5, 15.0
#: How much longer than its share a stage may take before it is stopped, for its last epoch; and in seconds.
LATE, LATE_S = 1.2, 5.0
#: Progress from which a teacher is worth asking.
ENOUGH = 0.5


def check(args: argparse.Namespace) -> None:
    """Refuse what would fail later."""
    found = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if found < OLDEST:
        raise ParameterError("PyTorch", f"{OLDEST[0]}.{OLDEST[1]} or later", torch.__version__)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device", "a GPU that PyTorch sees (or --device cpu)", "none")
    if args.call == "second" and not any((place / "student.pt").is_file() for place in (args.out, args.start)):
        raise ParameterError("start", "the folder with student.pt of the first call", repr(str(args.start)))


class Course:
    """A call: its stages, what is kept of the student and of teachers, and the end.

    Parameters
    ----------
    run : Run
    start : Path
        Where the first call's results are.
    """

    def __init__(self, run: Run, start: Path) -> None:
        self.run = run
        self.places = [run.out, start]
        self.student: dict[str, Any] = {"stage": "", "progress": 0.0, "network": self.untrained().state_dict()}
        for path in (place / "student.pt" for place in reversed(self.places)):
            if path.is_file():
                self.student = torch.load(path, map_location="cpu", weights_only=True)
        commands = [*self.student.get("commands", []), *run.commands]
        self.run = dataclasses.replace(run, commands=tuple(dict.fromkeys(commands)))
        self.exported: ResNet | None = None
        self.reserve_s = RESERVE_S

    def untrained(self) -> ResNet:
        """Return a student that has learnt nothing."""
        self.run.start_numbers("student")
        data = self.run.data
        return ResNet(architecture(self.run.recipe.arch), data.training.images.shape[-1], len(data.classes))

    def attempt(self, what: str, seconds: float, work: Callable[[], None]) -> None:
        """Do some work for no longer than some seconds; say what fails, and go on."""
        try:
            with alarm(seconds):
                work()
        except (Exception, TimeUpError) as error:
            self.run.log(f"FAILED: {what}", error=f"{type(error).__name__}: {error}")
            traceback.print_exc()

    def time_for(self, stage: Stage) -> float:
        """Return the seconds that a stage gets."""
        return stage.share * (self.run.budget.left() - self.reserve_s)

    def train(self, stage: Stage, work: Callable[[float], None]) -> None:
        """Train a stage in its time, if there is any."""
        seconds = self.time_for(stage)
        if seconds > 0:
            limit = min(LATE * seconds + LATE_S, self.run.budget.left() - self.reserve_s + LATE_S)
            self.attempt(stage.name, limit, lambda: work(seconds))

    def teach(self, stage: Stage) -> None:
        """Train a teacher, or go on with one."""
        tensors, progress = self.kept_teacher(stage.name) or (None, 0.0)
        path, last = self.run.out / f"{stage.name}.npz", self.run.budget.now()

        def keep(found: dict[str, Tensor], progress: float) -> None:
            nonlocal last
            if progress == 1 or self.run.budget.now() > last + KEEP_S:
                save_teacher(path, found, progress)
                last = self.run.budget.now()

        def work(seconds: float) -> None:
            self.run.start_numbers(stage.name)
            net = self.teacher(tensors)
            train_stage(
                self.run, stage, lambda feed: Wide(net, stage, feed), [], seconds=seconds, progress=progress, keep=keep
            )

        if progress < 1:
            self.train(stage, work)

    def teacher(self, tensors: dict[str, Tensor] | None) -> Teacher:
        """Return a teacher with some tensors, or a new one."""
        run = self.run
        _, size, _, channels = run.data.training.images.shape
        net = Teacher(size, channels, len(run.data.classes), run.recipe.widths, run.recipe.depth)
        if tensors is None:
            net.whiten_as(Images(run.parts()[0], run.data, torch.device("cpu")))
        else:
            net.load_state_dict(tensors)
        return net

    def kept_teacher(self, name: str) -> tuple[dict[str, Tensor], float] | None:
        """Return the tensors and the progress of a teacher that was kept, if its file can be read."""
        for path in (place / f"{name}.npz" for place in self.places):
            if path.is_file():
                try:
                    return read_teacher(path)
                except Exception as error:  # whatever reading comes upon
                    self.run.log(f"FAILED: {path.name}", error=f"{type(error).__name__}: {error}")
        return None

    def teachers(self) -> list[nn.Module]:
        """Return the teachers that have come far enough, as they are asked."""
        kept = [self.kept_teacher(stage.name) for stage in self.run.recipe.teachers]
        nets = [self.teacher(pair[0]).eval() for pair in kept if pair and pair[1] >= ENOUGH]
        if len(nets) < len(self.run.recipe.teachers):
            self.run.log(f"ATTENTION: {len(nets)} teachers instead of {len(self.run.recipe.teachers)}")
        for net in nets:
            net.to(self.run.device, memory_format=torch.channels_last)
            for module in net.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    module.to(self.run.dtype)
        return list(nets)

    def learn(self, stages: Sequence[Stage]) -> None:
        """Train the student through some stages, from where it was left."""
        names = [stage.name for stage in stages]
        teachers = self.teachers()
        begun = names.index(self.student["stage"]) if self.student["stage"] in names else 0
        for stage in stages[begun:]:
            progress = self.student["progress"] if stage.name == self.student["stage"] else 0.0
            if progress == 1:
                continue
            self.train(stage, lambda seconds, s=stage, p=progress: self.harden(s, teachers, seconds, p))
            save_student(self.run.out / "student.pt", self.student)

    def harden(self, stage: Stage, teachers: list[nn.Module], seconds: float, progress: float) -> None:
        """Train the student for one stage."""
        net = self.untrained()
        net.load_state_dict(self.student["network"])
        last = self.run.budget.now()

        def make(feed: Any) -> Learner:
            return Student(net, stage, feed, taught=bool(teachers))

        def keep(found: dict[str, Tensor], progress: float) -> None:
            nonlocal last
            commands = list(self.run.commands)
            self.student = {"stage": stage.name, "progress": progress, "network": found, "commands": commands}
            if self.run.budget.now() > last + KEEP_S:
                save_student(self.run.out / "student.pt", self.student)
                last = self.run.budget.now()

        train_stage(self.run, stage, make, teachers, seconds=seconds, progress=progress, keep=keep)

    def export(self) -> None:
        """Write the network as it is now, and note how long that takes."""
        begin = self.run.budget.now()
        told = f"stage {self.student['stage'] or 'none'}, to {100 * self.student['progress']:.0f} %"
        self.exported = export(self.run, self.student["network"], told, self.run.out / "network.h5")
        seconds = self.run.budget.now() - begin
        self.run.log("network.h5", trained=told, seconds=seconds)
        self.reserve_s = RESERVE * seconds + RESERVE_S

    def judge(self) -> None:
        """Write the table of the exported network."""
        for name, values in table(self.run, self.exported).items() if self.exported else ():
            self.run.log(f"table, {name}", accuracy=float(np.mean(values)), deviation=float(np.std(values)))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    top.add_argument("call", choices=("first", "second"), help="teachers and a plain student; or errors of its weights")
    top.add_argument("--seconds", type=float, default=480.0, help="the call's time, from its start to its end (480)")
    top.add_argument("--data", type=Path, required=True, help="what pack.py wrote, or the CIFAR-10 files")
    top.add_argument("--out", type=Path, required=True, help="folder for network.h5 and what the second call needs")
    top.add_argument("--start", type=Path, help="that of the first call (that of --out)")
    top.add_argument("--device", default="cuda", help="(cuda)")
    top.add_argument("--seed", type=int, default=0, help="of all that is random (0)")
    return top


def course(args: argparse.Namespace, recipe: Recipe) -> Course:
    """Return a call that is ready to begin."""
    budget = Budget(args.seconds - START_S)
    args.start = args.start or args.out
    check(args)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True  # the sizes stay the same
    torch.set_float32_matmul_precision("high")
    data = small_data(training_data(args.data), recipe)
    command = shlex.join(["on_gpu.py", args.call, "--seconds", f"{args.seconds:g}", "--seed", str(args.seed)])
    run = Run(
        recipe=recipe,
        data=data,
        device=torch.device(args.device),
        out=args.out,
        seed=args.seed,
        budget=budget,
        log=Log(args.out / "log.jsonl"),
        commands=(command,),
    )
    return Course(run, args.start)


def main(argv: Sequence[str] | None = None, recipe: Recipe = FULL) -> int:
    """Make one of the two calls and return the exit status: 0 if there is a network."""
    args = parser().parse_args(argv)
    try:
        whole = course(args, recipe)
    except PcmrefError as error:
        print(error, file=sys.stderr)
        return 2
    for _ in range(2):  # the first compiles, the second tells how long the last will take
        whole.attempt("rehearsal of the export", whole.run.budget.left(), whole.export)
    if args.call == "first":
        for stage in recipe.teachers:
            whole.teach(stage)
        whole.attempt("student", whole.run.budget.left(), lambda: whole.learn([recipe.plain]))
    else:
        whole.attempt("student", whole.run.budget.left(), lambda: whole.learn(recipe.hard))
    # rather a little late than without what was learnt
    whole.attempt("export", max(whole.run.budget.left(), whole.reserve_s), whole.export)
    whole.attempt("table", whole.run.budget.left(), whole.judge)
    return 0 if whole.exported else 1


if __name__ == "__main__":
    sys.exit(main())
