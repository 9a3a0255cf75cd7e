"""Digital compensation as values: what the periphery does differently for one snapshot; SPEC.md, section 10."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from pcmref.arrays import Float64, ReadOnly, frozen, refuse_masked
from pcmref.crossbar.readout import Readout
from pcmref.devices.chip import Snapshot
from pcmref.errors import ParameterError, PcmrefWarning, describe, instance
from pcmref.network.graph import Network
from pcmref.network.layers import BatchNorm

__all__ = ["Corrections", "Origin", "Statistics", "stored_statistics"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics(ReadOnly):
    """Mean and variance of one batch normalisation, shape ``(channels,)``; kept as float64."""

    mean: Float64
    var: Float64

    def __post_init__(self) -> None:
        for name in ("mean", "var"):
            object.__setattr__(self, name, _numbers(f"statistics {name}", getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The chip that corrections were measured on, when, and how it was read.

    Parameters
    ----------
    chip : tuple
        `Snapshot.chip`.
    t_s : float
    read : int
    devices : str
        `Snapshot.devices_sha256`.
    readout : Readout, optional
        Of AdaBS; GDC reads without converters.
    """

    chip: tuple[object, ...]
    t_s: float
    read: int
    devices: str
    readout: Readout | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, readout: Readout | None = None) -> Origin:
        """Return that of what is measured on this snapshot."""
        return cls(
            chip=snapshot.chip,
            t_s=snapshot.t_s,
            read=snapshot.read,
            devices=snapshot.devices_sha256,
            readout=readout,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Corrections:
    """Digital compensation of drift: what the periphery does differently for one snapshot.

    Parameters
    ----------
    gain : mapping of crossbar layer to numbers, shape (1,) or (columns,)
        Factor on the layer's outputs (GDC), kept as float64; 1 where missing.
    statistics : mapping of batch normalisation to Statistics
        In place of the stored ones (AdaBS).
    origin : Origin, optional
        What they were measured on; they serve no other chip.  None: made by hand, for any.
    """

    gain: Mapping[str, Float64] = field(default_factory=dict)
    statistics: Mapping[str, Statistics] = field(default_factory=dict)
    origin: Origin | None = None

    def __post_init__(self) -> None:
        for name in ("gain", "statistics"):
            instance(f"corrections: {name}", getattr(self, name), Mapping)
        gain = {name: _numbers(f"gain/{name}", value) for name, value in self.gain.items()}
        object.__setattr__(self, "gain", gain)
        for name, statistics in self.statistics.items():
            if not isinstance(statistics, Statistics):
                raise ParameterError(f"statistics/{name}", "Statistics", describe(statistics))
        object.__setattr__(self, "statistics", dict(self.statistics))
        if self.origin is not None:
            instance("corrections: origin", self.origin, Origin)

    def check_origin(self, snapshot: Snapshot, readout: Readout) -> None:
        """Raise `ParameterError` if they were measured on another chip; warn if at another time or otherwise read."""
        if (origin := self.origin) is None:
            return
        same_read = (origin.t_s, origin.read) == (snapshot.t_s, snapshot.read)
        if origin.chip != snapshot.chip or (same_read and origin.devices != snapshot.devices_sha256):
            raise ParameterError("corrections", "those of this chip (pcmref.calibrate)", "those of another chip")
        changes = []
        if origin.t_s != snapshot.t_s:
            changes.append(f"at {origin.t_s:g} s, not at {snapshot.t_s:g} s")
        if origin.readout not in (None, readout):
            changes.append(f"with another readout than this {readout.name}")
        if changes:
            text = (
                f"corrections were measured {' and '.join(changes)} (pcmref.calibrate measures those for here and now)"
            )
            warnings.warn(text, PcmrefWarning, stacklevel=4)

    def check(self, network: Network) -> None:
        """Raise `ParameterError`, with the place, if the corrections do not fit `network`."""
        columns = {layer.name: layer.columns for layer in network.crossbar_layers}
        channels = {layer.name: len(layer.mean) for layer in network.layers if isinstance(layer, BatchNorm)}
        _check_names("gain", self.gain, columns)
        _check_names("statistics", self.statistics, channels)
        for name, gain in self.gain.items():
            _check_numbers(f"gain/{name}", gain, {1, columns[name]})
        for name, found in self.statistics.items():
            _check_numbers(f"statistics/{name}/mean", found.mean, {channels[name]})
            _check_numbers(f"statistics/{name}/var", found.var, {channels[name]}, least=0.0)


def _numbers(where: str, values: object) -> Float64:
    """Return real numbers of any type as float64, in a copy that cannot be written to."""
    refuse_masked(where, values)
    try:
        array = np.asarray(values)
    except ValueError:  # rows of several lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "fiu":
        raise ParameterError(where, "real numbers", describe(values))
    return frozen(array.astype(np.float64))


def _check_names(where: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ParameterError(f"{where}/{name}", f"one of {', '.join(known)}", describe(name))


def _check_numbers(where: str, values: Float64, lengths: Collection[int], least: float = -np.inf) -> None:
    if values.ndim != 1 or len(values) not in lengths:
        expected = " or ".join(f"({length},)" for length in sorted(lengths))
        raise ParameterError(where, f"shape {expected}", str(values.shape))
    if (bad := np.flatnonzero(~np.isfinite(values) | (values < least))).size:
        raise ParameterError(where, "finite numbers, no negative variance", f"{values[bad[0]]} at [{bad[0]}]")


def stored_statistics(layer: BatchNorm) -> Statistics:
    """Return the statistics in the network file, as float64."""
    return Statistics(mean=layer.mean.astype(np.float64), var=layer.var.astype(np.float64))
