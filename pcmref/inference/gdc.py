"""Global drift compensation: one factor for the outputs of each layer, as the chip measures it; SPEC.md, section 10."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from pcmref.arithmetic.codes import VARIANCE_STEP
from pcmref.arrays import Float64, Int64
from pcmref.devices.chip import Snapshot, SnapshotLayer
from pcmref.errors import ParameterError, PcmrefWarning, instance, listed, one_of
from pcmref.inference.corrections import Corrections, Origin

__all__ = ["GdcReadout", "GdcReference", "gdc"]

#: "absolute": sum of |G+ - G-| over the array, each pair read on its own (one-hot inputs).
#: "ones": sum of G+ + G-, all rows driven at once, + and - lines apart.
#: "column": as "absolute", one factor a column.
GdcReadout: TypeAlias = Literal["absolute", "ones", "column"]

#: Below this ratio of conductance to read noise a readout of |G+ - G-| measures noise.
LOW_SIGNAL = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class GdcReference:
    """What GDC remembers of a chip before drift, as hardware does: sums, not devices.  `GdcReference.of` measures it.

    Parameters
    ----------
    chip : tuple
        `Snapshot.chip`: which chip it is.
    t_s : float
        Time of the reference, s.
    readout : "absolute", "ones" or "column"
        What was summed.
    sums : mapping of str to int64, shape (1,) or (columns,)
        Of each layer.
    replaced : frozenset of str
        Layers whose devices were not those of the chip.
    """

    chip: tuple[object, ...]
    t_s: float
    readout: GdcReadout
    sums: Mapping[str, Int64]
    replaced: frozenset[str]

    @classmethod
    def of(cls, reference: Snapshot, readout: GdcReadout = "absolute") -> GdcReference:
        """Measure a chip before drift, `Chip.reference`; `ParameterError` for one at another time."""
        one_of("gdc_readout", readout, get_args(GdcReadout))
        instance("reference", reference, Snapshot, "Chip.reference; or a GdcReference")
        if (reference.t_s, reference.read) != (reference.model.reference_time_s, 0):
            found = f"one at {reference.t_s:g} s, read {reference.read}"
            raise ParameterError("reference", "the chip before drift (Chip.reference())", found)
        return cls(
            chip=reference.chip,
            t_s=reference.t_s,
            readout=readout,
            sums={layer.name: _readout_sum(layer, readout) for layer in reference.layers},
            replaced=_replaced(reference),
        )


def gdc(snapshot: Snapshot, reference: Snapshot | GdcReference, readout: GdcReadout = "absolute") -> Corrections:
    """Global drift compensation [L18]: one factor for the outputs of each layer (or column).

    ``gain = R(reference) / R(now)``, where R is the integer sum of conductance codes of one read, read noise
    included; 1 where either is 0.  The quotient is taken in float64.

    Parameters
    ----------
    snapshot : Snapshot
        The chip now.
    reference : Snapshot or GdcReference
        The chip before drift, or what is remembered of it.
    readout : "absolute", "ones" or "column"
        What is summed.

    Raises
    ------
    ParameterError
        If `reference` is not `Chip.reference` of the same chip, or was measured with another readout.

    Warns
    -----
    PcmrefWarning
        If ``|G+ - G-|`` is smaller than its read noise in a layer (or column), so that a sum of sizes measures noise;
        if all factors are 1; if devices were replaced in one of the two snapshots alone.
    """
    one_of("gdc_readout", readout, get_args(GdcReadout))
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    before = reference if isinstance(reference, GdcReference) else GdcReference.of(reference, readout)
    if before.chip != snapshot.chip:
        raise ParameterError("reference", "a snapshot of the same chip", "one of another chip")
    if before.readout != readout:
        raise ParameterError("reference", f"sums of readout {readout!r}", f"sums of {before.readout!r}")
    _warn_of_other_devices(snapshot, before)
    gains = {}
    for now in snapshot.layers:
        ratio = _signal_to_noise(now, readout)
        if low := int((ratio < LOW_SIGNAL).sum()):
            columns = f" in {low} of {ratio.size} columns" if readout == "column" else ""
            warnings.warn(
                f"GDC of layer {now.name!r} at {snapshot.t_s:g} s: signal-to-noise ratio {ratio.min():.2g}{columns}; "
                "the factor is biased low",
                PcmrefWarning,
                stacklevel=2,
            )
        now_sum, before_sum = _readout_sum(now, readout), before.sums[now.name]
        valid = (now_sum > 0) & (before_sum > 0)
        gains[now.name] = np.where(valid, before_sum / np.where(valid, now_sum, 1), 1.0)
    if snapshot.t_s != before.t_s and all((gain == 1.0).all() for gain in gains.values()):
        warnings.warn("GDC does nothing here: all of its factors are 1", PcmrefWarning, stacklevel=3)
    return Corrections(gain=gains, origin=Origin.of(snapshot))


def _warn_of_other_devices(snapshot: Snapshot, reference: GdcReference) -> None:
    """Warn of layers whose devices were replaced in one of the two."""
    now = _replaced(snapshot)
    if other := [layer.name for layer in snapshot.layers if (layer.name in now) != (layer.name in reference.replaced)]:
        text = (
            f"GDC: devices of {listed(other)} were replaced in the snapshot or in its reference, not in both; "
            "the factors hold only if they changed in between"
        )
        warnings.warn(text, PcmrefWarning, stacklevel=4)


def _replaced(snapshot: Snapshot) -> frozenset[str]:
    """Return the names of the layers whose devices were replaced, as GDC reads them."""
    return frozenset(layer.name for layer in snapshot.layers if "g_read_code" in layer.replaced)


def _readout_sum(layer: SnapshotLayer, readout: GdcReadout) -> Int64:
    """Return R of a layer, or of each column."""
    layer.check_replaced(("g_read_code",), "GDC")
    if readout == "ones":
        return layer.g_read_code.sum(dtype=np.int64, keepdims=True).reshape(1)
    columns = np.abs(layer.read_code.astype(np.int64)).sum(axis=0)
    return columns if readout == "column" else columns.sum(keepdims=True)


def _signal_to_noise(layer: SnapshotLayer, readout: GdcReadout) -> Float64:
    """Return mean ``|G+ - G-|`` over root-mean-square read noise of the pairs that a readout sums: of each sum.

    Pairs without conductance or noise do not count.  Infinity without noise; and for "ones", where noise averages out,
    there being no size in the sum.
    """
    if readout == "ones":
        return np.full(1, np.inf)
    axis = 0 if readout == "column" else None
    size, variance = np.abs(layer.mean_code.astype(np.int64)), VARIANCE_STEP * layer.variance_code.astype(np.int64)
    pairs, noise = ((size > 0) | (variance > 0)).sum(axis), variance.sum(axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = size.sum(axis) / np.sqrt(pairs * noise.astype(np.float64))
    return np.atleast_1d(np.where(noise > 0, ratio, np.inf))
