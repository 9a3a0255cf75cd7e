"""Train a network for phase-change memory: a teacher, pretraining, training with weight noise, export.

``python examples/training/train.py STAGE --help`` lists the options of a stage.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from checkpoint import (
    STEPS,
    VARIANTS,
    Options,
    build,
    expect_normalisation,
    read_checkpoint,
    restored,
    seed,
    starting_point,
)
from data import CHUNK, Data, Images, load
from export import export
from measure import accuracy
from model import ResNet, Teacher, revive
from noise import Disturbance, clip, devices, gaussian, noisy
from optimiser import Optimiser
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import pcmref.devices.published
from pcmref.errors import ParameterError, PcmrefError
from pcmref.files.atomic import replacing

#: Part of a stage in which the learning rate rises, before its cosine fall.
RISE = 0.05
#: What --from is.
STARTS = "checkpoint of an earlier stage, or a network file, to go on from; several: from the mean of their weights"


def rate(progress: float) -> float:
    """Return the learning rate, relative to its maximum, at `progress` from 0 to 1."""
    if progress < RISE:
        return progress / RISE
    return 0.5 + 0.5 * math.cos(math.pi * (progress - RISE) / (1 - RISE))


def disturbance_of(options: Options) -> Disturbance | None:
    """Return what happens to the weights in each step, if anything."""
    if options["fresh"] > (options["chips"] if options["model"] else 0):
        raise ParameterError("fresh", "no more than --chips, with --model", str(options["fresh"]))
    if options["model"]:
        return devices(pcmref.devices.published.model(options["model"]), *options["times"], options["fresh"])
    return gaussian(options["eta"]) if options["eta"] else None


def loss_of(logits: Tensor, targets: Tensor, taught: Tensor | None, options: Options) -> Tensor:
    """Return the mean loss of a batch.

    Without a teacher it is the cross entropy CE with the smoothed `targets`.  With one it is
    ``(1 - a) CE + a T^2 KL(softmax(taught / T), softmax(logits / T))``, where a is ``options["distill"]`` and T
    is ``options["temperature"]`` (Hinton, Vinyals and Dean, arXiv 1503.02531).
    """
    labelled = functional.cross_entropy(logits, targets, label_smoothing=options["smoothing"])
    if taught is None:
        return labelled
    share, temperature = options["distill"], options["temperature"]
    told, heard = ((values / temperature).log_softmax(dim=1) for values in (taught, logits))
    distance = functional.kl_div(heard, told, log_target=True, reduction="batchmean")
    return (1 - share) * labelled + share * temperature**2 * distance


class Training:
    """A network while it is trained: with its running average, its optimiser and its teachers, if any."""

    def __init__(self, model: nn.Module, teachers: list[nn.Module], options: Options, device: torch.device) -> None:
        self.options = options
        self.model = model.to(device, memory_format=torch.channels_last)
        average = get_ema_multi_avg_fn(options["average"])
        self.average = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.optimiser = Optimiser(
            self.model, **{name: options[name] for name in ("lr", "muon", "weight_decay", "batch")}
        )
        self.disturbance = disturbance_of(options)
        self.teachers = [teacher.to(device, memory_format=torch.channels_last).eval() for teacher in teachers]
        self.answers: dict[int, Tensor] = {}
        if options["compile"]:  # in place, so that the names of the parameters stay
            self.model.compile(dynamic=False)
            self.average.module.compile(dynamic=False)
            for teacher in self.teachers:
                if isinstance(teacher, ResNet):  # a compiled GELU in bfloat16 gives NaN on a CPU
                    teacher.compile(dynamic=False)

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context in which networks are evaluated."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.options["bf16"])

    def epoch(self, images: Images, epoch: int) -> float:
        """Train for one epoch and return the mean loss."""
        options, device = self.options, images.labels.device
        view = epoch % options["views"] if options["views"] else epoch
        seed(options, VARIANTS, view)
        variants, targets = images.variants()
        answers = self.taught(variants, view)
        seed(options, STEPS, epoch)
        self.model.train()
        total = torch.zeros((), device=device)
        batches = torch.randperm(len(images), device=device).split(options["batch"])
        for step, index in enumerate(batches):
            progress = (epoch + step / len(batches)) / options["epochs"]
            self.optimiser.zero_grad()
            weights = noisy(self.model, self.disturbance, options["chips"])
            with self.autocast(device):
                logits = functional_call(self.model, weights, variants[index])
            taught = None if answers is None else answers[index]
            loss = loss_of(logits.float(), targets[index], taught, options)
            loss.backward()
            self.optimiser.step(rate(progress))
            clip(self.model, options["clip"])
            self.average.update_parameters(self.model)
            total += loss.detach() * len(index)
        return total.item() / len(images)

    @torch.no_grad()
    def taught(self, variants: Tensor, view: int) -> Tensor | None:
        """Return the mean logits of all teachers for each image; kept where a view comes again."""
        if not self.teachers:
            return None
        if view not in self.answers:
            if not self.options["views"]:
                self.answers.clear()
            with self.autocast(variants.device):
                parts = [self.answer(part) for part in variants.split(CHUNK)]
            self.answers[view] = torch.cat(parts)
        return self.answers[view]

    def answer(self, batch: Tensor) -> Tensor:
        """Return the mean logits of all teachers for each image of a batch."""
        return torch.stack([teacher(batch).float() for teacher in self.teachers]).mean(dim=0)


def train(args: argparse.Namespace, command: str) -> None:
    """Train one stage; go on after its last complete epoch if there is one.

    All that is random in an epoch follows from the seed and the epoch's number, so an interrupted stage
    ends with the same weights as an uninterrupted one.
    """
    device = torch.device(args.device)
    if args.bf16 and emulates_bf16(device):
        print(f"{args.stage}: this processor emulates bfloat16; it is faster without --bf16", file=sys.stderr)
    state, out = starting_point(args, command, device)
    options = state["options"]
    data = load(options["data"], state["data_dir"])
    expect_normalisation(state, data)
    data = dataclasses.replace(data, cutmix=options["cutmix"])
    if options["cutout"] is not None:
        data = dataclasses.replace(data, cutout=options["cutout"])
    training, validation = (Images(part, data, device) for part in data.parts(all_data=options["all_data"]))
    model = build(options, data)
    if isinstance(model, Teacher):
        model.whiten_as(training)
    if "model" in state:
        model.load_state_dict(state["average"] if state["epoch"] == 0 else state["model"])
    if options["revive"] and state["epoch"] == 0:
        print(f"{args.stage}: {revive(model)} dead channels start anew", file=sys.stderr)
    teachers = [read_teacher(Path(path), options, data, device) for path in options["teacher"]]
    work = Training(model, teachers, options, device)
    if state["epoch"]:
        work.average.module.load_state_dict(state["average"])
        work.average.n_averaged.fill_(state["averaged"])
        work.optimiser.load_state_dict(state["optimiser"])

    out.mkdir(parents=True, exist_ok=True)
    for epoch in range(state["epoch"], args.epochs):
        begin = time.perf_counter()
        figures = {"loss": work.epoch(training, epoch)}
        if not math.isfinite(figures["loss"]):  # nothing that follows would learn
            cure = "a number (earlier epochs are kept; try lower rates, or neither --compile nor --bf16)"
            raise ParameterError(f"loss of {args.stage} {epoch + 1}/{args.epochs}", cure, str(figures["loss"]))
        if len(validation):
            average = work.average.module
            figures["accuracy"] = accuracy(average, validation, bf16=args.bf16)
            if compensated := disturbance_of(options | {"fresh": 0}):
                figures["accuracy with noise"] = accuracy(average, validation, compensated, bf16=args.bf16)
        figures["seconds"] = time.perf_counter() - begin
        progress = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        print(f"{args.stage} {epoch + 1}/{args.epochs}: {progress}", file=sys.stderr, flush=True)
        state |= {
            "epoch": epoch + 1,
            "log": [*state["log"], {"stage": args.stage, "epoch": epoch + 1, **figures}],
            "model": model.state_dict(),
            "average": work.average.module.state_dict(),
            "averaged": int(work.average.n_averaged),
            "optimiser": work.optimiser.state_dict(),
            "hardware": hardware(device),
            "normalisation": dataclasses.asdict(data.normalisation),
        }
        with replacing(out / "log.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in state["log"]))
        with replacing(out / f"{args.stage}.pt") as temporary:
            torch.save(state, temporary)


def emulates_bf16(device: torch.device) -> bool:
    """Return whether bfloat16 is slow there: PyTorch has no fast kernels for it on x86 processors without AVX-512."""
    return device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"


def hardware(device: torch.device) -> str:
    """Return what trains."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def read_teacher(path: Path, options: Options, data: Data, device: torch.device) -> nn.Module:
    """Return a network that teaches a stage: the result of any other stage."""
    state = read_checkpoint(path, device)
    if state["options"]["data"] != options["data"]:
        raise ParameterError("data of the teacher", repr(options["data"]), repr(state["options"]["data"]))
    if state["options"]["all_data"] and not options["all_data"]:
        raise ParameterError("all_data of the teacher", "False, for a validation that tells something", "True")
    return restored(state, data)


def count(text: str) -> int:
    """Return a number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def natural(text: str) -> int:
    """Return a number of at least 0."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def past(text: str) -> float:
    """Return a number from 0 to 1, less than 1."""
    if share(text) == 1:
        raise ValueError
    return share(text)


def taking_steps(
    *, lr: float, muon: float = 0.0, batch: int = 128, weight_decay: float = 5e-4
) -> argparse.ArgumentParser:
    """Return the options of `Optimiser`, with the defaults of a stage."""
    group = argparse.ArgumentParser(add_help=False)
    group.add_argument("--lr", type=float, default=lr, help=f"largest learning rate ({lr})")
    group.add_argument("--muon", type=float, default=muon, help=f"that of Muon for convolutions, 0: no Muon ({muon})")
    group.add_argument("--batch", type=count, default=batch, help=f"images in a step ({batch})")
    group.add_argument("--weight-decay", type=float, default=weight_decay, help=f"({weight_decay})")
    return group


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    stages = top.add_subparsers(dest="stage", required=True)

    places = argparse.ArgumentParser(add_help=False)
    places.add_argument("--data-dir", help="where CIFAR-10 is (by default where pcmref looks for it)")
    common = argparse.ArgumentParser(add_help=False, parents=[places])
    common.add_argument("--epochs", type=count, default=200, help="(200)")
    common.add_argument("--all-data", action="store_true", help="train on the validation images too")
    common.add_argument("--smoothing", type=share, default=0.1, help="label smoothing (0.1)")
    common.add_argument(
        "--average", type=past, default=0.0, help="share of the past in the running average of weights (0)"
    )
    common.add_argument(
        "--cutout", type=natural, help="side of the square that is blanked, pixels (CIFAR-10 8, digits 0)"
    )
    common.add_argument("--cutmix", type=share, default=0.0, help="share of images with a part of another in them (0)")
    common.add_argument("--views", type=natural, default=0, help="epochs after which variants come again (0: never)")
    common.add_argument("--seed", type=int, default=0, help="of all that is random (0)")
    cuda = torch.cuda.is_available()
    common.add_argument("--device", default="cuda" if cuda else "cpu")
    common.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=cuda, help="autocast")
    common.add_argument("--compile", action="store_true", help="compile the networks: faster, needs a C++ compiler")
    begin = argparse.ArgumentParser(add_help=False, parents=[common])
    begin.add_argument("--from", dest="start", type=Path, nargs="+", help=STARTS)
    begin.add_argument("--data", help="digits, cifar10 or a network file with digits (digits)")
    begin.add_argument("--out", type=Path, required=True, help="directory for the checkpoint and log.jsonl")
    begin.set_defaults(run=train, eta=0.0, model="", chips=1, fresh=0, clip=math.inf, revive=False)
    taught = argparse.ArgumentParser(add_help=False)
    taught.add_argument("--teacher", nargs="+", default=[], help="checkpoints: learn from their mean logits too")
    taught.add_argument("--distill", type=share, default=0.9, help="share of the teachers in the loss (0.9)")
    taught.add_argument("--temperature", type=float, default=4.0, help="of the softmax that is compared (4)")

    steps = taking_steps(lr=0.2, muon=0.17, batch=1000, weight_decay=1e-3)
    zeroth = stages.add_parser("teacher", parents=[begin, steps], help="train a wide network to learn from")
    zeroth.add_argument("--widths", type=count, nargs="+", help="channels (64 256 256)")
    zeroth.set_defaults(teacher=[])

    first = stages.add_parser("pretrain", parents=[begin, taught, taking_steps(lr=0.05)], help="train without noise")
    first.add_argument("--arch", help="as in pcmref.importers.resnet (joshi-resnet8)")

    steps = taking_steps(lr=0.005)
    second = stages.add_parser("noise", parents=[common, taught, steps], help="train on with noise on the weights")
    second.add_argument("--from", dest="start", type=Path, nargs="+", required=True, help=STARTS)
    second.add_argument("--eta", type=float, default=0.038, help="noise / largest weight (0.038)")
    second.add_argument("--model", default="", help="instead: the errors of the devices of this model of pcmref")
    second.add_argument(
        "--times", type=float, nargs=2, default=[25.0, 3.15e7], help="seconds after programming (25 to 3.15e7)"
    )
    second.add_argument("--chips", type=count, default=1, help="chips that share each batch and its statistics (1)")
    second.add_argument("--fresh", type=natural, default=0, help="of them, at the first time and uncompensated (0)")
    second.add_argument("--clip", type=float, default=2.0, help="largest weight / standard deviation (2)")
    second.add_argument("--revive", action="store_true", help="start inner channels of blocks anew that have died")
    second.add_argument("--out", type=Path, help="directory for noise.pt and log.jsonl (that of --from)")
    second.set_defaults(run=train)

    last = stages.add_parser("export", parents=[places], help="write a network file and test it")
    last.add_argument("checkpoint", type=Path, help="noise.pt, or a network file")
    last.add_argument("network", type=Path, help="the file to write, .h5")
    last.add_argument(
        "--statistics", default="", metavar="MODEL", help="measure those of batch normalisation anew, on this PCM model"
    )
    last.set_defaults(run=export)
    return top


def recorded(argv: Sequence[str]) -> str:
    """Return a command as checkpoints and network files keep it: without where the data is on this machine."""
    places = argparse.ArgumentParser(add_help=False, allow_abbrev=False)  # --data is no abbreviation
    places.add_argument("--data-dir")
    _, others = places.parse_known_args(argv)
    return shlex.join(["train.py", *others])


def status(work: Callable[[], None]) -> int:
    """Return the exit status of some work; an error of pcmref's is printed."""
    try:
        work()
    except PcmrefError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one stage and return the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parser().parse_args(argv)
    return status(lambda: args.run(args, recorded(argv)))


if __name__ == "__main__":
    sys.exit(main())
