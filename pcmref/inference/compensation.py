"""Drift compensation by name: GDC, AdaBS, or both; SPEC.md, section 10."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import Snapshot
from pcmref.errors import ParameterError, instance, one_of
from pcmref.inference.adabs import adabs
from pcmref.inference.corrections import Corrections
from pcmref.inference.gdc import GdcReadout, GdcReference, gdc
from pcmref.network.images import Images

__all__ = ["COMPENSATIONS", "Compensation", "calibrate"]

Compensation: TypeAlias = Literal["none", "gdc", "adabs", "gdc+adabs"]
COMPENSATIONS: tuple[Compensation, ...] = get_args(Compensation)


def calibrate(
    snapshot: Snapshot,
    compensation: str,
    *,
    reference: Snapshot | GdcReference | None = None,
    images: Images | None = None,
    readout: Readout = PRESETS["paper"],
    gdc_readout: GdcReadout = "absolute",
    threads: int | None = None,
) -> Corrections:
    """Measure the corrections that a drifted chip needs.

    Parameters
    ----------
    snapshot : Snapshot
        The chip at the time at which it is to be corrected.
    compensation : "none", "gdc", "adabs" or "gdc+adabs"
    reference : Snapshot or GdcReference, optional
        The chip before drift, `Chip.reference`, or what GDC remembers of it; GDC needs it.
    images : uint8, shape (n, height, width, channels), or StoredImages, optional
        Training images, un-augmented; AdaBS needs at least 200 and uses at most 2,600, the first ones.
    readout : Readout
        As used for inference.
    gdc_readout : "absolute", "ones" or "column"
    threads : int, optional

    Returns
    -------
    Corrections

    Raises
    ------
    ParameterError
        If `compensation` is unknown or what it needs is missing.
    DataError
        If AdaBS has less than 200 images, or images that do not fit the network.
    """
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("readout", readout, Readout, "pcmref.PRESETS")
    one_of("compensation", compensation, COMPENSATIONS)
    corrections = Corrections()
    if "gdc" in compensation:
        if reference is None:
            raise ParameterError("reference", "a snapshot before drift (Chip.reference())", "none")
        corrections = gdc(snapshot, reference, gdc_readout)
    if "adabs" in compensation:
        if images is None:
            raise ParameterError("images", "calibration images for AdaBS", "none")
        corrections = adabs(snapshot, images, corrections=corrections, readout=readout, threads=threads)
    return corrections
