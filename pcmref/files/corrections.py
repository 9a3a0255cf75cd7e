"""Files of corrections: the digital compensation of one chip at one time under one readout; SPEC.md, appendix A."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import Snapshot
from pcmref.devices.technology import fields_of
from pcmref.errors import FileError, ParameterError, describe, instance
from pcmref.files.atomic import replacing
from pcmref.files.hdf5 import array, expect_header, expect_members, group, header, json_text, opened
from pcmref.inference.corrections import Corrections, Statistics
from pcmref.references import SPEC_VERSION

if TYPE_CHECKING:
    import h5py

__all__ = ["FORMAT", "VERSION", "load_corrections", "save_corrections"]

#: Name and version of the file format, attributes of the root group.
FORMAT = "pcmref-corrections"
VERSION = 5


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
    import h5py

    instance("corrections", corrections, Corrections)
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("readout", readout, Readout, "pcmref.PRESETS")
    corrections.check(snapshot.network)
    identity = json.dumps(_identity(snapshot, readout))
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        header(file, FORMAT, VERSION)
        file["chip"] = np.bytes_(identity)
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
    with opened(Path(path)) as file:
        expect_header(file, FORMAT, VERSION)
        expect_members(file, required={"chip", "gain", "statistics"})
        found = json_text(file, "chip", dict)
        for name, value in wanted.items():
            if found.get(name) != value:
                raise FileError(f"chip: {name}", describe(value, 66), describe(found.get(name), 66))
        gains, statistics = group(file, "gain"), group(file, "statistics")
        corrections = Corrections(
            gain={name: array(gains, name, np.float64, axes=1) for name in gains},
            statistics={name: _statistics(group(statistics, name)) for name in statistics},
        )
        corrections.check(snapshot.network)
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
        "devices": _sha256_of_devices(snapshot),
        **{f"readout.{name}": value for name, value in asdict(readout).items()},
    }
    return dict(json.loads(json.dumps(identity)))


def _sha256_of_devices(snapshot: Snapshot) -> str:
    """Return the SHA-256 of all codes and scales: with measured or stuck devices a chip of the same seed is another."""
    digest = hashlib.sha256()
    for layer in snapshot.layers:
        for values in (layer.g_mean_code, layer.g_read_code, layer.g_variance_code, layer.weight_per_us):
            digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _statistics(parent: h5py.Group) -> Statistics:
    expect_members(parent, required={"mean", "var"})
    return Statistics(mean=array(parent, "mean", np.float64, axes=1), var=array(parent, "var", np.float64, axes=1))
