"""What travels between a sweep and its workers: tasks there, answers back, and once to each worker a network."""

from __future__ import annotations

import functools
import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pcmref
from pcmref.crossbar.readout import Readout
from pcmref.files.json_text import json_digest
from pcmref.network.graph import Network
from pcmref.network.images import Samples
from pcmref.references import SPEC_VERSION, VERSION
from pcmref.studies.retention import Row
from pcmref.studies.study import Case, Study

__all__ = ["Answer", "Asks", "Bundle", "Failure", "Lacking", "Origin", "Task", "bundle_of", "how", "origin"]


#: What a task asks for: rows; the ranges of a setting's converters; what the network gets right without a chip.
Asks: TypeAlias = Literal["rows", "ranges", "baseline"]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What computes: two that are equal give the same bits."""

    pcmref: str
    spec: int
    sources: str
    numba: str

    def __str__(self) -> str:
        return f"pcmref {self.pcmref} (sources {self.sources[:12]}, SPEC.md {self.spec}) with numba {self.numba}"


@functools.cache  # the files of a process do not change
def origin() -> Origin:
    """Return what computes in this process; ``sources`` is a SHA-256 of the package's own files."""
    folder = Path(pcmref.__file__).parent
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    try:
        numba = installed("numba")
    except PackageNotFoundError:
        numba = "none"
    return Origin(pcmref=VERSION, spec=SPEC_VERSION, sources=found.hexdigest(), numba=numba)


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """What is too large to travel with every task: a network, the images to judge it by and to calibrate with."""

    network: Network
    samples: Samples
    calibration: Samples | None

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, computed from what is there and nothing that was noted before."""
        images = [self.samples, self.calibration] if self.calibration is not None else [self.samples]
        said = {
            "network": replace(self.network).digest,
            "digital": [layer.name for layer in self.network.digital_layers],
            "ranges": {preset: str(stored) for preset, stored in self.network.ranges.items()},
            "images": [[replace(some).sha256, replace(some).labels_sha256] for some in images],
        }
        return json_digest(said)

    def packed(self) -> bytes:
        """Return what unpickles to this."""
        return pickle.dumps(self, protocol=pickle.HIGHEST_PROTOCOL)


def bundle_of(study: Study) -> Bundle:
    """Return the network of a study, without the images that may come in its file, and the images of the study."""
    network = replace(study.network, evaluation=None, calibration=None)
    return Bundle(network=network, samples=study.samples, calibration=study.calibration)


def how(study: Study) -> dict[str, Any]:
    """Return the arguments of a `Study` that are small: all but the network and the images."""
    large = {"network", "samples", "calibration"}
    return {f.name: getattr(study, f.name) for f in fields(Study) if f.name not in large}


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Rows of one setting for one worker; or what all rows of it need.

    Parameters
    ----------
    origin : Origin
        Of the sweep, which the worker's must be.
    bundle : str
        Digest of the `Bundle`.
    setting : str
        Digest of the `Point`.
    how : mapping
        The other arguments of its `Study`.
    asks : "rows", "ranges" or "baseline"
    cases : tuple of Case
        The rows.
    look : bool
        Whether to warn of full scales that do not fit the first row.
    """

    origin: Origin
    bundle: str
    setting: str
    how: Mapping[str, Any]
    asks: Asks = "rows"
    cases: tuple[Case, ...] = ()
    look: bool = False


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A row that could not be found, and why."""

    case: Case
    error: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a task has found.

    Parameters
    ----------
    worker : str
    seconds : float
        That it took.
    rows : tuple of Row
    failures : tuple of Failure
    warnings : tuple of str
    readout : Readout, optional
        With its ranges, if the task asked for them.
    digital_correct : int, optional
        Images that the digital baseline classifies correctly, if the task asked for that.
    error : str
        Why there is no answer, if the worker or its executor gave none.
    """

    worker: str
    seconds: float
    rows: tuple[Row, ...] = ()
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    readout: Readout | None = None
    digital_correct: int | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """A worker has not got the bundle of a task yet: the task is to come again, with it."""

    worker: str
