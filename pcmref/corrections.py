"""Files of corrections: the digital compensation of one chip at one time, HDF5."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcmref.errors import NetworkFileError
from pcmref.files import replacing
from pcmref.hdf5 import array, expect_header, expect_members, group, header, opened
from pcmref.network import BatchNorm, Network
from pcmref.periphery import Corrections, Statistics

if TYPE_CHECKING:
    import h5py

__all__ = ["FORMAT", "VERSION", "load_corrections", "save_corrections"]

#: Name and version of the file format, attributes of the root group.
FORMAT = "pcmref-corrections"
VERSION = 1


def save_corrections(path: str | Path, corrections: Corrections) -> None:
    """Write corrections to `path`: ``gain/LAYER`` and ``statistics/NODE/mean``, ``.../var``, all float64.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        header(file, FORMAT, VERSION)
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


def load_corrections(path: str | Path, network: Network) -> Corrections:
    """Read corrections and check that they fit `network`.

    Raises
    ------
    NetworkFileError
        Naming the place in the file, what belongs there and what was found.
    """
    columns = {layer.name: layer.columns for layer in network.crossbar_layers}
    channels = {layer.name: len(layer.mean) for layer in network.layers if isinstance(layer, BatchNorm)}
    with opened(Path(path)) as file:
        expect_header(file, FORMAT, VERSION)
        expect_members(file, required={"gain", "statistics"})
        gains, statistics = group(file, "gain"), group(file, "statistics")
        expect_members(gains, optional=set(columns))
        expect_members(statistics, optional=set(channels))
        return Corrections(
            gain={name: _values(gains, name, {1, columns[name]}) for name in gains},
            statistics={name: _statistics(group(statistics, name), channels[name]) for name in statistics},
        )


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
