"""Where a stage of training begins or goes on: checkpoints and network files, and whether they fit the command."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import torch
from data import Data
from model import ResNet, Teacher
from torch import Tensor, nn

import pcmref
from pcmref import Network
from pcmref.errors import ParameterError
from pcmref.files.atomic import sha256_of
from pcmref.files.cifar10 import CLASSES
from pcmref.importers.resnet import architecture, network_from_tensors
from pcmref.network.layers import BatchNorm, CrossbarLayer, Layer
from pcmref.network.operations import Add, PadShortcut

Options: TypeAlias = Mapping[str, Any]
State: TypeAlias = dict[str, Any]

#: Options that do not define the result of a stage, only where its parts are.
PLACES = {"stage", "run", "out", "start", "device", "data_dir"}
#: What a network file tells of its training that the next one made from it still tells.
TOLD = ("title", "epochs", "hardware", "seed", "split", "validation")
#: Options that a stage takes over from the network that it starts from, and what they are without one.
INHERITED = {"data": "digits", "arch": "joshi-resnet8", "widths": [64, 256, 256]}
#: What random numbers are for.
VARIANTS, STEPS, STATISTICS = range(3)


def starting_point(args: argparse.Namespace, command: str, device: torch.device) -> tuple[State, Path]:
    """Return the state from which a stage goes on or begins, and the directory for its results.

    Raises
    ------
    ParameterError
        If the command contradicts the checkpoint that it starts from, or the one that it would go on from.
    """
    options = {name: value for name, value in vars(args).items() if name not in PLACES}
    starts = args.start or []
    sources = [*starts, *map(Path, options["teacher"])]
    checkpoints = [read_checkpoint(path, device) for path in sources]
    origin = [sha256_of(path) for path in sources]
    state: State = {"epoch": 0, "log": [], "commands": [], "earlier": {}}
    out, data_dir, inherited = args.out, args.data_dir, {}
    if starts:
        begun, checkpoints = checkpoints[: len(starts)], checkpoints[len(starts) :]
        for path, source in zip(starts, begun, strict=True):
            expect_kind(path, source, teacher=args.stage == "teacher")
        inherited = begun[0]["options"]
        options["all_data"] |= any(source["options"]["all_data"] for source in begun)  # seen is seen
        state |= mean(starts, begun)
        out, data_dir = out or directory(starts[0]), data_dir or begun[0]["data_dir"]
    options |= {name: _settled(name, options, inherited) for name in INHERITED if name in {*options, *inherited}}
    path = out / f"{args.stage}.pt"
    if path.resolve() in [start.resolve() for start in starts]:
        raise ParameterError("out", "another directory than that of a checkpoint of the same stage", repr(str(out)))
    if path.exists():
        state = read_checkpoint(path, device)
        _expect_the_same(path, state, options, origin)
    else:
        histories = [*(teacher["commands"] for teacher in checkpoints), state["commands"], [command]]
        commands = list(dict.fromkeys(itertools.chain(*histories)))  # what a command needs stands before it
        state |= {"options": options, "origin": origin, "commands": commands}
    return state | {"data_dir": data_dir}, out


def mean(paths: list[Path], states: list[State]) -> State:
    """Return the state that a stage begins with: the first one's, with the mean of the weights of all.

    The mean of networks along one course of training is often better than each of them (Izmailov et al., arXiv
    1803.05407). The statistics of batch normalisation follow in the first steps.
    """
    for name in INHERITED:
        for path, state in zip(paths, states, strict=True):
            if (found := state["options"].get(name)) != (first := states[0]["options"].get(name)):
                raise ParameterError(f"{name} of {path}", f"{first!r}, as of {paths[0]}", repr(found))
    averages = [state["average"] for state in states]
    weights = {name: _mean([tensors[name] for tensors in averages]) for name in averages[0]}
    commands = list(dict.fromkeys(itertools.chain.from_iterable(state["commands"] for state in states)))
    kept = {"log": states[0]["log"], "earlier": states[0].get("earlier", {})}
    # early checkpoints do not say how images are normalised
    scales = [
        (path, state["normalisation"]) for path, state in zip(paths, states, strict=True) if "normalisation" in state
    ]
    for path, scale in scales:
        if scale != scales[0][1]:
            raise ParameterError(f"normalisation of {path}", f"{scales[0][1]}, as of {scales[0][0]}", str(scale))
    if scales:
        kept["normalisation"] = scales[0][1]
    return kept | {"commands": commands, "model": weights, "average": weights}


def _mean(tensors: list[Tensor]) -> Tensor:
    """Return the mean of numbers, the first of counts."""
    return torch.stack(tensors).mean(dim=0) if tensors[0].is_floating_point() else tensors[0]


def directory(start: Path) -> Path:
    """Return where results go that no other place was named for: beside the checkpoint that a stage starts from."""
    if h5py.is_hdf5(start):
        raise ParameterError("out", "a directory, to start from a network file", "none")
    return start.parent


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
    """Return what a stage saved, or what it would have saved of a network file."""
    if not path.is_file():
        raise ParameterError(str(path), "the checkpoint of an earlier stage", "nothing")
    if h5py.is_hdf5(path):
        return network_state(path, device)
    try:
        state: State = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # whatever the unpickler comes upon
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__  # no advice to load it anyway
        raise ParameterError(str(path), "the checkpoint of an earlier stage", reason) from error
    return state


def network_state(path: Path, device: torch.device) -> State:
    """Return the network in a file as the checkpoint of a complete stage.

    Without images of its own it is one for CIFAR-10. What it was trained on is unknown, so it counts as having seen
    all training images.

    Raises
    ------
    PcmrefError
        If the file is none of a network, or of another than `train.py` trains.
    """
    network = pcmref.load(path)
    blocks = sum(isinstance(layer, Add) for layer in network.layers) // 3
    family = "he" if any(isinstance(layer, PadShortcut) for layer in network.layers) else "joshi"
    name = f"{family}-resnet{6 * blocks + 2}"
    images = network.calibration is not None and network.evaluation is not None
    if not blocks or not (images or network.classes == CLASSES):
        raise ParameterError(str(path), "a residual network for CIFAR-10 or with its images", "another")
    model = ResNet(architecture(name), network.input_shape[-1], len(network.classes))
    names = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    arrays = list(itertools.chain.from_iterable(map(_numbers, network.layers)))
    found = dict(zip(names, arrays, strict=False))
    if len(names) != len(arrays) or not _same_graph(network, found, name):
        raise ParameterError(str(path), f"the layers of {name}", "others")
    tensors = model.state_dict() | {key: torch.tensor(array) for key, array in found.items()}
    tensors = {key: tensor.to(device) for key, tensor in tensors.items()}
    options = {"data": str(path) if images else "cifar10", "arch": name, "all_data": True, "seed": 0}
    return {
        "options": options,
        "normalisation": dataclasses.asdict(network.normalisation),
        "model": tensors,
        "average": tensors,
        "log": [],
        "commands": network.provenance.get("commands", "").splitlines(),
        "earlier": {name: network.provenance.get(name, "unknown") for name in TOLD},
        "data_dir": None,
    }


def restored(state: State, data: Data) -> nn.Module:
    """Return the network of a checkpoint, which must take images of the data's scale."""
    expect_normalisation(state, data)
    model = build(state["options"], data)
    model.load_state_dict(state["average"])
    return model


def build(options: Options, data: Data) -> nn.Module:
    """Return an untrained network."""
    torch.manual_seed(options["seed"])
    channels, classes = data.training.images.shape[-1], len(data.classes)
    if "widths" in options:
        return Teacher(data.training.images.shape[1], channels, classes, options["widths"])
    return ResNet(architecture(options["arch"]), channels, classes)


def expect_normalisation(state: State, data: Data) -> None:
    """Refuse a network that takes images of another scale."""
    own = dataclasses.asdict(data.normalisation)
    if (found := state.get("normalisation", own)) != own:
        raise ParameterError("normalisation of the network", str(own), str(found))


def seed(options: Options, what: int, number: int) -> None:
    """Start the random numbers of `VARIANTS` of images, of the `STEPS` of an epoch, or of chips for `STATISTICS`."""
    state = np.random.SeedSequence([options["seed"], what, number]).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]))


def _numbers(layer: Layer) -> list[Any]:
    """Return the arrays of a layer, in the order of PyTorch's."""
    if isinstance(layer, BatchNorm):
        return [layer.gamma, layer.beta, layer.mean, layer.var]
    if isinstance(layer, CrossbarLayer):
        return [array for array in (layer.weight, layer.bias) if array is not None]
    return []


def _same_graph(network: Network, tensors: Mapping[str, Any], name: str) -> bool:
    """Return whether `tensors` make the layers of `network` again."""
    shape, scale, classes = network.input_shape, network.normalisation, network.classes
    try:
        again = network_from_tensors(
            tensors, architecture(name), input_shape=shape, normalisation=scale, classes=classes
        )
    except pcmref.PcmrefError:
        return False
    return len(again.layers) == len(network.layers) and all(map(_alike, again.layers, network.layers))


def _alike(one: Layer, other: Layer) -> bool:
    """Return whether two layers are the same in all that defines them."""
    ours, theirs = vars(one), vars(other)
    return type(one) is type(other) and all(np.array_equal(ours[name], theirs[name]) for name in ours)
