"""PyTorch checkpoints to `Network`: what the tensors tell, and what has to be assumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pcmref.errors import FileError, NetworkError, listed, one_of, path_of, real
from pcmref.files.atomic import sha256_of
from pcmref.files.cifar10 import CLASSES
from pcmref.importers.modules import EPS
from pcmref.importers.residual_layers import SHORTCUTS, Shortcut
from pcmref.importers.state_dicts import StateDict, read_checkpoint, read_state_dict
from pcmref.importers.structures import Structure, expect_architecture, structure_of
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.recipes import IMAGENET, ORDERS, Order, for_channels, on_rgb

__all__ = [
    "Assumptions",
    "Checkpoint",
    "convert",
    "open_checkpoint",
    "read_checkpoint",
]


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What no tensor tells.

    Parameters
    ----------
    shortcut : {"pad-both", "pad-after", "conv"}
        Where channels of zeros lie: half before and half after those of the input, or all after; or that there are
        none, but convolutions of 1x1.
    order : {"rgb", "bgr"}
        Of colours in the images that the network was trained with.
    normalisation : Normalisation
        Of red, green and blue pixels, whatever the order.
    """

    shortcut: Shortcut = "pad-both"
    order: Order = "rgb"
    normalisation: Normalisation = IMAGENET

    def __post_init__(self) -> None:
        one_of("shortcut", self.shortcut, SHORTCUTS)
        one_of("order", self.order, ORDERS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A checkpoint that was read, and the structure of its network."""

    path: Path
    arch: str | None
    state: StateDict
    structure: Structure
    size: tuple[int, int]
    eps: Mapping[str, float]

    @property
    def channels(self) -> int:
        """Of its images."""
        return self.structure.channels

    @property
    def classes(self) -> int:
        """How many it tells apart."""
        return self.structure.classes

    @property
    def pads(self) -> bool:
        """Whether its shortcuts have channels of zeros."""
        return self.structure.pads

    def report(self) -> str:
        """Return what was read and what was not, and which network it is."""
        where = f" under {self.state.key!r}" if self.state.key else ""
        eps = (f"{value:g}" if name == "*" else f"{name} {value:g}" for name, value in self.eps.items())
        lines = [
            f"{self.path.name}: {len(self.state.tensors)} tensors{where}",
            f"{self.structure.description}, eps {', '.join(eps)}",
        ]
        if self.state.others:
            lines.append(f"other state dicts: {listed(self.state.others)} (--key takes one)")
        if self.state.passed_over:
            objects = [f"{key or 'itself'} ({kind})" for key, kind in self.state.passed_over.items()]
            lines.append(f"passed over, without running code: {listed(objects)}")
        return "\n".join(lines)

    def network(
        self,
        assumptions: Assumptions,
        *,
        provenance: Mapping[str, str] = MappingProxyType({}),
        evaluation: Samples | None = None,
        calibration: Samples | None = None,
    ) -> Network:
        """Return the network under some assumptions.

        Raises
        ------
        FileError
            If they do not fit the tensors, or the images do not.
        """
        shortcut, structure = assumptions.shortcut, self.structure
        if shortcut != "pad-both" and (shortcut == "conv") == structure.pads:
            beside = "channels of zeros" if structure.pads else "convolutions of 1x1, or identities"
            raise FileError(f"{self.path}: shortcuts", f"{shortcut!r}, as asked for", f"tensors of {beside}")
        with _told(self.path, self.state):
            layers = structure.layers(shortcut)
            shape = (*self.size, structure.channels)
            return Network(
                layers=on_rgb(layers, assumptions.order),
                input_shape=shape,
                normalisation=for_channels(assumptions.normalisation, structure.channels),
                classes=_classes(structure.classes, shape),
                provenance={**provenance, **self._record(assumptions)},
                evaluation=evaluation,
                calibration=calibration,
            )

    def _record(self, assumptions: Assumptions) -> dict[str, str]:
        """Return where the network comes from."""
        record = {
            "source": self.path.name,
            "source_sha256": sha256_of(self.path),
            "architecture": self.arch or self.structure.description,
        }
        if self.structure.pads and assumptions.shortcut != "pad-both":
            record["shortcut"] = assumptions.shortcut
        if assumptions.order != "rgb":
            record["order"] = assumptions.order
        if self.state.others:
            record["key"] = self.state.key
        return record


def open_checkpoint(
    path: str | Path,
    arch: str | None = None,
    *,
    key: str | None = None,
    eps: float | Mapping[str, float] = EPS["*"],
    size: tuple[int, int] | None = None,
) -> Checkpoint:
    """Read a PyTorch checkpoint, and find out of which network it is.

    Parameters
    ----------
    path : str or Path
        See `read_state_dict`.
    arch : str, optional
        The architecture's name, see `structure_of`; by default it follows from the shapes of the tensors.
    key : str, optional
        Which state dict, if the file has several.
    eps : float or mapping of pattern to float
        Of batch norms: of all, or of those with such names in the checkpoint.
    size : (height, width), optional
        Of images; by default 224 x 224 for networks that begin as those for ImageNet, else 32 x 32.

    Raises
    ------
    ParameterError
        If there is no such architecture or key, or `eps` is none.
    FileError
        If the file is no checkpoint of such a network; it says what the file has.
    """
    path = path_of("path", path)
    expect_architecture(arch)
    patterns = {"*": eps} if not isinstance(eps, Mapping) else eps
    patterns = {name: real("eps", value, "a number between 0 and 1", 1e-30, 0.999) for name, value in patterns.items()}
    state = read_state_dict(path, key)
    with _told(path, state):
        structure = structure_of(state.tensors, arch, patterns)
    return Checkpoint(
        path=path, arch=arch, state=state, structure=structure, size=size or structure.size, eps={**EPS, **patterns}
    )


def convert(
    path: str | Path,
    arch: str | None = None,
    *,
    mean: Sequence[float] = IMAGENET.mean,
    std: Sequence[float] = IMAGENET.std,
    shortcut: Shortcut = "pad-both",
    order: Order = "rgb",
    eps: float | Mapping[str, float] = EPS["*"],
    provenance: Mapping[str, str] = MappingProxyType({}),
    evaluation: Samples | None = None,
    calibration: Samples | None = None,
) -> Network:
    """Turn a PyTorch checkpoint into a `Network`.

    Parameters
    ----------
    path, arch, eps
        See `open_checkpoint`, which has a choice of state dicts and sizes, too.
    mean, std : sequences of floats
        Of the red, green and blue training pixels, in units of full scale (pixel / 255).
    shortcut, order
        See `Assumptions`.
    provenance : mapping of str to str
        Anything to record besides the checkpoint's name and SHA-256, and its architecture.
    evaluation, calibration : Samples, optional
        Images to store with the network.

    Returns
    -------
    Network
        With CIFAR-10's names of classes if it takes its images and has ten, else their numbers.

    Raises
    ------
    ParameterError
        If there is no such architecture, shortcut or order, or no batch norm as `eps` says.
    FileError
        If the file is no checkpoint of that architecture, or the images do not fit.
    NetworkError
        If `mean` and `std` are no normalisation.
    """
    path = path_of("path", path)
    expect_architecture(arch)
    normalisation = Normalisation(full_scale=255.0, mean=mean, std=std)  # type: ignore[arg-type]  # or any sequence
    assumptions = Assumptions(shortcut=shortcut, order=order, normalisation=normalisation)
    checkpoint = open_checkpoint(path, arch, eps=eps)
    return checkpoint.network(assumptions, provenance=provenance, evaluation=evaluation, calibration=calibration)


def _classes(count: int, shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Return CIFAR-10's names of classes for networks that take its images, else numbers."""
    if (count, shape) == (len(CLASSES), (32, 32, 3)):
        return CLASSES
    return tuple(map(str, range(count)))


@contextmanager
def _told(path: Path, state: StateDict) -> Iterator[None]:
    """Tell of what does not fit in which file, and what that has."""
    try:
        yield
    except NetworkError as error:
        has = f"{len(state.tensors)} tensors, {listed(list(state.tensors))}"
        beside = f"; passed over: {listed(list(state.passed_over.values()))}" if state.passed_over else ""
        found = f"{error.found} (the file has {has}{beside})"
        raise FileError(f"{path}: {error.where}", error.expected, found) from None
