"""PyTorch checkpoints: where in them a state dict is, and its tensors as arrays.

What lies beside the tensors, of whatever class, is named and passed over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pcmref.errors import FileError, ParameterError, describe, instance, listed, path_of
from pcmref.files.pickles import Foreign, Recorded, UnknownNameError
from pcmref.files.regular import open_regular
from pcmref.importers.torch_files import Saved, Tensor, array_of, read_saved

__all__ = ["StateDict", "read_checkpoint", "read_state_dict"]

#: Names under which checkpoints keep their tensors, in the order of preference; and parts of names of averages.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "state")
AVERAGES = ("ema", "swa", "avg", "average")
#: What wrappers of PyTorch put before all names, each once.
PREFIXES = ("module.", "model.", "_orig_mod.")
#: What `torch.optim.swa_utils.AveragedModel` counts beside the tensors.
COUNT = "n_averaged"
#: Dicts and lists within each other, as deep as tensors are looked for.
DEPTH = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class StateDict:
    """The tensors of a network, and what was beside them.

    Parameters
    ----------
    tensors : mapping of str to array
        In the order of the file: numbers of any floating-point type as float32, others as they are.
    key : str
        Where in the checkpoint, ``"model"`` or ``"state.net"``; empty if it is nothing else.
    others : tuple of str
        Keys of other state dicts in it.
    passed_over : mapping of key to class
        Objects that only running code could load.
    """

    tensors: Mapping[str, npt.NDArray[Any]]
    key: str
    others: tuple[str, ...]
    passed_over: Mapping[str, str]


def read_checkpoint(path: str | Path, key: str | None = None) -> dict[str, npt.NDArray[Any]]:
    """Read the tensors of a PyTorch checkpoint: those of `read_state_dict`."""
    return dict(read_state_dict(path, key).tensors)


def read_state_dict(path: str | Path, key: str | None = None) -> StateDict:
    """Read a PyTorch checkpoint; no code in it is ever run, and PyTorch is not needed.

    Parameters
    ----------
    path : str or Path
        A file written by ``torch.save``: a state dict, or a dict that holds one under any key, also further within.
    key : str, optional
        Which one: by default the file itself, or else under the first of `WRAPPERS` that there is, or any other; an
        average of networks (``"ema"``) only if there is nothing else.

    Returns
    -------
    StateDict
        Without the prefixes that ``torch.nn.DataParallel``, ``torch.compile`` and the like give to all names.

    Raises
    ------
    FileError
        If the file is missing or damaged, no checkpoint, without tensors, or holds tensors with more elements than it
        has bytes.
    ParameterError
        If there is no state dict under `key`.
    """
    path = path_of("path", path)
    if key is not None:
        instance("key", key, str)
    if not path.is_file():
        raise FileError(str(path), "a PyTorch checkpoint", "a directory" if path.is_dir() else "nothing")
    try:
        with open_regular(path) as file:
            return _state_dict(path, read_saved(file), key)
    except (FileError, ParameterError):
        raise
    except UnknownNameError as error:
        raise _needs_code(path, _shown(str(error).removeprefix("the name "))) from error
    except Exception as error:  # a foreign file can fail in any way
        found = f"a foreign or damaged file ({type(error).__name__})"
        raise FileError(str(path), "a PyTorch checkpoint of tensors alone", found) from error


def _needs_code(path: Path, name: str) -> FileError:
    expected = "a PyTorch checkpoint of tensors alone, as torch.save(model.state_dict(), PATH) writes it"
    return FileError(str(path), expected, f"{name}, which only running code could load")


def _shown(text: str) -> str:
    """Return a name from a file: no longer than names are, and of nothing that a terminal would obey."""
    text = text if len(text) <= 100 else f"{text[:97]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _state_dict(path: Path, saved: Saved, key: str | None) -> StateDict:
    """Return the tensors under a key as arrays."""
    size = path.stat().st_size
    if (claimed := sum(storage.size for storage in saved.storages.values())) > size:
        raise FileError(str(path), f"storages of at most {size} bytes, as the file has", f"{claimed} bytes")
    places = dict(_places(saved.content))
    passed_over = {place: _shown(value.name) for place, value in places.items() if isinstance(value, Foreign)}
    keys = _candidates(places)
    if not keys or (passed_over and not _has_weights(places[keys[0]])):
        raise _without_tensors(path, saved.content, passed_over)
    if key is not None and key not in keys:
        raise ParameterError("key", f"one of {listed(keys)}, which hold tensors in {path}", describe(key))
    taken = keys[0] if key is None else key
    others = tuple(other for other in keys if other != taken)
    state = {str(name): value for name, value in places[taken].items()}
    tensors = {name: value for name, value in state.items() if isinstance(value, (Tensor, Recorded))}
    arrays = _arrays(path, saved, tensors)
    return StateDict(tensors=arrays, key=taken, others=others, passed_over=passed_over)


def _without_tensors(path: Path, content: object, passed_over: Mapping[str, str]) -> FileError:
    if passed_over:
        return _needs_code(path, listed(list(dict.fromkeys(passed_over.values()))))
    found = describe(type(content).__name__)
    if isinstance(content, dict) and content:
        found = f"{len(content)} keys, none with tensors: {describe(list(content))}"
    return FileError(str(path), "a dict of tensors, bare or under one of the keys of a dict", found)


def _places(content: object) -> Iterator[tuple[str, Any]]:
    """Yield what a checkpoint holds, dicts and lists once, and where: keys with dots between them."""
    seen, queue = set(), deque([("", content, 0)])
    while queue:
        place, value, depth = queue.popleft()
        yield place, value
        if not isinstance(value, (dict, list, tuple)) or id(value) in seen or depth == DEPTH:
            continue
        seen.add(id(value))
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        within = f"{place}." if place else ""
        queue.extend((within + _shown(str(name)), part, depth + 1) for name, part in pairs if _may_hold(part))


def _may_hold(value: object) -> bool:
    """Return whether a value can be, or hold, a state dict or an object to be passed over."""
    return isinstance(value, (dict, list, tuple, Foreign))


def _candidates(places: Mapping[str, Any]) -> list[str]:
    """Return the keys of state dicts, best first: those with tensors called ``weight``, if there are any."""
    holding = [
        place
        for place, state in places.items()
        if isinstance(state, dict) and any(isinstance(value, (Tensor, Recorded)) for value in state.values())
    ]
    return sorted([place for place in holding if _has_weights(places[place])] or holding, key=_rank)


def _has_weights(state: Mapping[Any, object]) -> bool:
    """Return whether any tensor has the name that PyTorch gives those of a network; an optimiser has others."""
    return any(
        str(name).rpartition(".")[2] == "weight"
        for name, value in state.items()
        if isinstance(value, (Tensor, Recorded))
    )


def _rank(place: str) -> tuple[bool, int]:
    """Return what says which state dict is meant: averages last, then the names that are used most first."""
    words = place.lower().replace("_", ".").split(".")
    last = place.rpartition(".")[2]
    rank = WRAPPERS.index(last) if last in WRAPPERS else len(WRAPPERS)
    return any(word in AVERAGES for word in words), rank if place else -1


def _arrays(path: Path, saved: Saved, tensors: Mapping[str, object]) -> dict[str, npt.NDArray[Any]]:
    """Return tensors as arrays, together not of more elements than the file has bytes."""
    arrays, left = {}, (size := path.stat().st_size)
    prefix = _prefix([name for name in tensors if not name.endswith(COUNT)])
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise FileError(f"{path}: {name}", "a dense tensor", "another object")
        if (left := left - prod(tensor.size)) < 0:
            raise FileError(f"{path}: {name}", f"at most {size} elements, as the file has bytes", "more with this one")
        if not name.endswith(COUNT):
            arrays[name.removeprefix(prefix)] = array_of(tensor, saved.bytes_of(tensor.storage))
    return arrays


def _prefix(names: list[str]) -> str:
    """Return what wrappers have put before all names."""
    prefix, left = "", set(PREFIXES)
    while more := [part for part in left if names and all(name.startswith(prefix + part) for name in names)]:
        prefix += more[0]
        left.remove(more[0])
    return prefix
