"""Where a stage of training begins or goes on: checkpoints, and whether they fit the command."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch

from pcmref.errors import ParameterError
from pcmref.files import sha256_of

Options: TypeAlias = Mapping[str, Any]
State: TypeAlias = dict[str, Any]

#: Options that do not define the result of a stage, only where its parts are.
PLACES = {"stage", "run", "out", "start", "device", "data_dir"}
#: Options that a stage takes over from the network that it starts from, and what they are without one.
INHERITED = {"data": "digits", "arch": "joshi-resnet8", "widths": [64, 256, 256]}


def starting_point(args: argparse.Namespace, command: str, device: torch.device) -> tuple[State, Path]:
    """Return the state from which a stage goes on or begins, and the directory for its results.

    Raises
    ------
    ParameterError
        If the command contradicts the checkpoint that it starts from, or the one that it would go on from.
    """
    options = {name: value for name, value in vars(args).items() if name not in PLACES}
    sources = [*filter(None, [args.start]), *map(Path, options["teacher"])]
    checkpoints = [read_checkpoint(path, device) for path in sources]
    origin = [sha256_of(path) for path in sources]
    state: State = {"epoch": 0, "log": [], "commands": []}
    out, data_dir, inherited = args.out, args.data_dir, {}
    if args.start:
        source = checkpoints.pop(0)
        expect_kind(args.start, source, teacher=args.stage == "teacher")
        inherited = source["options"]
        options["all_data"] |= inherited["all_data"]  # who has seen the validation images has seen them
        state |= {name: source[name] for name in ("log", "commands", "model", "average")}
        out, data_dir = out or args.start.parent, data_dir or source["data_dir"]
    options |= {name: _settled(name, options, inherited) for name in INHERITED if name in {*options, *inherited}}
    path = out / f"{args.stage}.pt"
    if args.start and path.resolve() == args.start.resolve():
        raise ParameterError("out", "another directory than that of a checkpoint of the same stage", repr(str(out)))
    if path.exists():
        state = read_checkpoint(path, device)
        _expect_the_same(path, state, options, origin)
    else:
        histories = [*(teacher["commands"] for teacher in checkpoints), state["commands"], [command]]
        commands = list(dict.fromkeys(itertools.chain(*histories)))  # what a command needs stands before it
        state |= {"options": options, "origin": origin, "commands": commands}
    return state | {"data_dir": data_dir}, out


def _settled(name: str, options: Options, inherited: Options) -> object:
    """Return an option as asked for, as inherited, or its default."""
    asked = options.get(name)
    if asked is None:
        return inherited.get(name, INHERITED[name])
    if inherited.get(name, asked) != asked:
        raise ParameterError(name, f"{inherited[name]!r}, that of the checkpoint to start from", repr(asked))
    return asked


def _expect_the_same(path: Path, state: State, options: Options, origin: list[str]) -> None:
    """Refuse to go on with other options or from other checkpoints than a stage was begun with."""
    for name, value in options.items():
        if value != (begun := state["options"].get(name)):
            raise ParameterError(name, f"{begun!r}, with which {path} was begun", repr(value))
    if state.get("origin") != origin:
        raise ParameterError("from and teacher", f"the checkpoints with which {path} was begun", "others")


def expect_kind(path: Path, state: State, *, teacher: bool) -> None:
    """Refuse a teacher where a network for crossbars is expected, and the other way round."""
    kinds = ("a network for crossbars", "a teacher")
    if (found := "widths" in state["options"]) != teacher:
        raise ParameterError(str(path), kinds[teacher], kinds[found])


def read_checkpoint(path: Path, device: torch.device) -> State:
    """Return what a stage saved."""
    if not path.is_file():
        raise ParameterError(str(path), "the checkpoint of an earlier stage", "nothing")
    try:
        state: State = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # whatever the unpickler comes upon
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ParameterError(str(path), "the checkpoint of an earlier stage", reason) from error
    return state
