"""Global drift compensation: one factor for the outputs of each layer, as the chip measures it; SPEC.md, section 10."""

from __future__ import annotations

import warnings
from typing import Literal, TypeAlias, get_args

import numpy as np

from pcmref.arithmetic.codes import VARIANCE_STEP
from pcmref.arrays import Float64, Int64
from pcmref.devices.chip import Snapshot, SnapshotLayer
from pcmref.errors import ParameterError, PcmrefWarning, instance, listed, one_of
from pcmref.inference.corrections import Corrections, Origin

__all__ = ["GdcReadout", "gdc"]

#: "absolute": sum of |G+ - G-| over the array, each pair read on its own (one-hot inputs).
#: "ones": sum of G+ + G-, all rows driven at once, + and - lines apart.
#: "column": as "absolute", one factor a column.
GdcReadout: TypeAlias = Literal["absolute", "ones", "column"]

#: Below this ratio of conductance to read noise a readout of |G+ - G-| measures noise.
LOW_SIGNAL = 1.0


def gdc(snapshot: Snapshot, reference: Snapshot, readout: GdcReadout = "absolute") -> Corrections:
    """Global drift compensation [L18]: one factor for the outputs of each layer (or column).

    ``gain = R(reference) / R(now)``, where R is the integer sum of conductance codes of one read, read noise
    included; 1 where either is 0.  The quotient is taken in float64.

    Parameters
    ----------
    snapshot, reference : Snapshot
        The chip now, and before drift.
    readout : "absolute", "ones" or "column"
        What is summed.

    Raises
    ------
    ParameterError
        If `reference` is not `Chip.reference` of the same chip.

    Warns
    -----
    PcmrefWarning
        If ``|G+ - G-|`` is smaller than its read noise in a layer (or column), so that a sum of sizes measures noise;
        if all factors are 1; if devices were replaced in one of the two snapshots alone.
    """
    one_of("gdc_readout", readout, get_args(GdcReadout))
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("reference", reference, Snapshot, "Chip.reference")
    if reference.chip != snapshot.chip:
        raise ParameterError("reference", "a snapshot of the same chip", "one of another chip")
    if (reference.t_s, reference.read) != (snapshot.model.reference_time_s, 0):
        found = f"one at {reference.t_s:g} s, read {reference.read}"
        raise ParameterError("reference", "the chip before drift (Chip.reference())", found)
    _warn_of_other_devices(snapshot, reference)
    gains = {}
    for now, before in zip(snapshot.layers, reference.layers, strict=True):
        ratio = _signal_to_noise(now, readout)
        if low := int((ratio < LOW_SIGNAL).sum()):
            columns = f" in {low} of {ratio.size} columns" if readout == "column" else ""
            warnings.warn(
                f"GDC of layer {now.name!r} at {snapshot.t_s:g} s: signal-to-noise ratio {ratio.min():.2g}{columns}; "
                "the factor is biased low",
                PcmrefWarning,
                stacklevel=2,
            )
        for layer in (now, before):
            layer.check_replaced(("g_read_code",), "GDC")
        now_sum, before_sum = _readout_sum(now, readout), _readout_sum(before, readout)
        valid = (now_sum > 0) & (before_sum > 0)
        gains[now.name] = np.where(valid, before_sum / np.where(valid, now_sum, 1), 1.0)
    if snapshot.t_s != reference.t_s and all((gain == 1.0).all() for gain in gains.values()):
        warnings.warn("GDC does nothing here: all of its factors are 1", PcmrefWarning, stacklevel=3)
    return Corrections(gain=gains, origin=Origin.of(snapshot))


def _warn_of_other_devices(snapshot: Snapshot, reference: Snapshot) -> None:
    """Warn of layers whose devices were replaced in one of the two."""
    pairs = zip(snapshot.layers, reference.layers, strict=True)
    other = [now.name for now, before in pairs if ("g_read_code" in now.replaced) != ("g_read_code" in before.replaced)]
    if other:
        text = (
            f"GDC: devices of {listed(other)} were replaced in the snapshot or in its reference, not in both; "
            "the factors hold only if they changed in between"
        )
        warnings.warn(text, PcmrefWarning, stacklevel=4)


def _readout_sum(layer: SnapshotLayer, readout: GdcReadout) -> Int64:
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
