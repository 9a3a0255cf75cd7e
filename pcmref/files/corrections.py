"""Files of corrections: the digital compensation of one chip at one time under one readout; SPEC.md, appendix A."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcmref.arrays import Float64
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import Snapshot
from pcmref.devices.technology import fields_of
from pcmref.errors import FileError, ParameterError, describe, instance, path_of
from pcmref.files.atomic import replacing
from pcmref.files.hdf5 import Contents, fixed_text, opened, written
from pcmref.files.json_text import is_same
from pcmref.inference.corrections import Corrections, Origin, Statistics
from pcmref.network.layers import BatchNorm
from pcmref.references import SPEC_VERSION

if TYPE_CHECKING:
    import h5py

__all__ = ["FORMAT", "VERSION", "load_corrections", "save_corrections"]

#: Name and version of the file format, attributes of the root group.
FORMAT = "pcmref-corrections"
VERSION = 6


def save_corrections(
    path: str | Path, corrections: Corrections, snapshot: Snapshot, *, readout: Readout = PRESETS["paper"]
) -> None:
    """Write the corrections of `snapshot` to `path`.

    Parameters
    ----------
    path : str or Path
    corrections : Corrections
    snapshot : Snapshot
        What they were measured on; its network must come from a file.
    readout : Readout
        What they were measured with.

    Raises
    ------
    ParameterError
        If they do not fit the network.
    OutputError
        If the file cannot be written.
    """
    instance("corrections", corrections, Corrections)
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("readout", readout, Readout, "pcmref.PRESETS")
    corrections.check(snapshot.network)
    if corrections.origin not in (None, Origin.of(snapshot), Origin.of(snapshot, readout)):
        raise ParameterError("corrections", "those of this snapshot and readout", "those of others")
    identity = _identity(snapshot, readout)
    content = written(FORMAT, VERSION, lambda file: _write(file, corrections, identity))
    with replacing(path_of("path", path)) as temporary:
        temporary.write_bytes(content)


def _write(file: h5py.File, corrections: Corrections, identity: Mapping[str, Any]) -> None:
    file["chip"] = fixed_text("chip", identity)
    for name in ("gain", "statistics"):
        file.create_group(name)
    for layer, gain in corrections.gain.items():
        file["gain"][layer] = gain
    for node, statistics in corrections.statistics.items():
        file[f"statistics/{node}/mean"] = statistics.mean
        file[f"statistics/{node}/var"] = statistics.var


def load_corrections(path: str | Path, snapshot: Snapshot, *, readout: Readout = PRESETS["paper"]) -> Corrections:
    """Read corrections and check that they are those of `snapshot`: of its chip, its time and its read event.

    Parameters
    ----------
    path : str or Path
    snapshot : Snapshot
        What they are for.
    readout : Readout
        What it is read with.

    Raises
    ------
    FileError
        Naming the place in the file, what belongs there and what was found.
    """
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("readout", readout, Readout, "pcmref.PRESETS")
    wanted = _identity(snapshot, readout)
    layers = {layer.name for layer in snapshot.network.crossbar_layers}
    norms = {layer.name for layer in snapshot.network.layers if isinstance(layer, BatchNorm)}
    with opened(path_of("path", path)) as contents:
        contents.expect_header(FORMAT, VERSION)
        contents.expect_members("", required={"chip", "gain", "statistics"})
        contents.expect_members("gain", optional=layers)
        contents.expect_members("statistics", optional=norms)
        contents.expect_sizes()
        found = contents.json("chip", dict)
        for name in {**wanted, **found}:
            if name not in wanted:
                raise FileError(f"chip: {name}", "no such name", describe(found[name], 66))
            if not is_same(wanted[name], found.get(name)):
                raise FileError(f"chip: {name}", describe(wanted[name], 66), describe(found.get(name), 66))
        corrections = Corrections(
            gain={name: _numbers(contents, f"gain/{name}") for name in contents.members("gain")},
            statistics={name: _statistics(contents, f"statistics/{name}") for name in contents.members("statistics")},
            origin=Origin.of(snapshot, readout),
        )
        corrections.check(snapshot.network)
        contents.expect_digest(required=True)
        return corrections


def _identity(snapshot: Snapshot, readout: Readout) -> dict[str, Any]:
    """Return what corrections depend on, as JSON has it."""
    if not snapshot.network.sha256:
        raise ParameterError(
            "network", "one that was read from a file (pcmref.save, pcmref.load)", "one made in memory"
        )
    identity = {
        "spec": SPEC_VERSION,
        "network": snapshot.network.sha256,
        **{f"model.{name}": value for name, value in fields_of(snapshot.model).items()},
        "seed": snapshot.seed,
        "scale": snapshot.scale,
        "significance": list(snapshot.significance),
        "t_s": snapshot.t_s,
        "read": snapshot.read,
        "devices": snapshot.devices_sha256,
        **{f"readout.{name}": value for name, value in asdict(readout).items()},
    }
    return dict(json.loads(json.dumps(identity)))


def _statistics(contents: Contents, name: str) -> Statistics:
    contents.expect_members(name, required={"mean", "var"})
    return Statistics(mean=_numbers(contents, f"{name}/mean"), var=_numbers(contents, f"{name}/var"))


def _numbers(contents: Contents, name: str) -> Float64:
    return contents.array(name, np.float64, shape=(None,))
