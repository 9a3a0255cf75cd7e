"""Files of corrections: the digital compensation of one chip at one time, HDF5."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcmref.chip import Snapshot
from pcmref.errors import NetworkFileError, describe
from pcmref.files import replacing
from pcmref.hdf5 import array, expect_header, expect_members, group, header, json_text, opened
from pcmref.layers import BatchNorm
from pcmref.periphery import Corrections, Statistics

if TYPE_CHECKING:
    import h5py

__all__ = ["FORMAT", "VERSION", "load_corrections", "save_corrections"]

#: Name and version of the file format, attributes of the root group.
FORMAT = "pcmref-corrections"
VERSION = 2


def save_corrections(path: str | Path, corrections: Corrections, snapshot: Snapshot) -> None:
    """Write the corrections of `snapshot` to `path`.

    ``chip`` says whose they are; ``gain/LAYER`` and ``statistics/NODE/mean``, ``.../var`` are float64.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        header(file, FORMAT, VERSION)
        file["chip"] = np.bytes_(json.dumps(_identity(snapshot)))
        for name in ("gain", "statistics"):
            file.create_group(name)
        for layer, gain in corrections.gain.items():
            file["gain"][layer] = gain
        for node, statistics in corrections.statistics.items():
            file["statistics"].create_group(node)
            file["statistics"][node]["mean"] = statistics.mean
            file["statistics"][node]["var"] = statistics.var
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load_corrections(path: str | Path, snapshot: Snapshot) -> Corrections:
    """Read corrections and check that they are those of `snapshot`: of its chip, its time and its read event.

    Raises
    ------
    NetworkFileError
        Naming the place in the file, what belongs there and what was found.
    """
    network = snapshot.network
    columns = {layer.name: layer.columns for layer in network.crossbar_layers}
    channels = {layer.name: len(layer.mean) for layer in network.layers if isinstance(layer, BatchNorm)}
    with opened(Path(path)) as file:
        expect_header(file, FORMAT, VERSION)
        expect_members(file, required={"chip", "gain", "statistics"})
        found = json_text(file, "chip", dict)
        for name, value in _identity(snapshot).items():
            if found.get(name) != value:
                raise NetworkFileError(f"chip: {name}", describe(value, 66), describe(found.get(name), 66))
        gains, statistics = group(file, "gain"), group(file, "statistics")
        expect_members(gains, optional=set(columns))
        expect_members(statistics, optional=set(channels))
        return Corrections(
            gain={name: _values(gains, name, {1, columns[name]}) for name in gains},
            statistics={name: _statistics(group(statistics, name), channels[name]) for name in statistics},
        )


def _identity(snapshot: Snapshot) -> dict[str, Any]:
    """Return what tells a snapshot from others, as JSON has it."""
    identity = {
        "network": snapshot.network.sha256,
        **{f"model.{name}": value for name, value in asdict(snapshot.model).items()},
        "seed": snapshot.seed,
        "scale": snapshot.scale,
        "t_s": snapshot.t_s,
        "read": snapshot.read,
    }
    return dict(json.loads(json.dumps(identity)))


def _statistics(parent: h5py.Group, channels: int) -> Statistics:
    expect_members(parent, required={"mean", "var"})
    return Statistics(
        mean=_values(parent, "mean", {channels}),
        var=_values(parent, "var", {channels}, least=0.0),
    )


def _values(
    parent: h5py.Group, name: str, lengths: set[int], least: float = -np.inf
) -> np.ndarray[Any, np.dtype[np.float64]]:
    value = array(parent, name, np.float64, axes=1)
    where = f"{parent.name}/{name}".lstrip("/")
    if len(value) not in lengths:
        raise NetworkFileError(where, f"length {' or '.join(map(str, sorted(lengths)))}", str(len(value)))
    if (bad := np.flatnonzero(~np.isfinite(value) | (value < least))).size:
        raise NetworkFileError(where, "finite numbers, no negative variance", f"{value[bad[0]]} at [{bad[0]}]")
    return value
