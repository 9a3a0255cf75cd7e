"""A question about chips over time, as one value: what is run, written to JSON, and compared when a run goes on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, get_args

from pcmref.arithmetic.draws import check_seed
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.mapping import Scale, check_significance
from pcmref.devices.published import NANDAKUMAR_2019
from pcmref.devices.technology import Technology, check_technology, fields_of
from pcmref.errors import ParameterError, describe, instance, one_of
from pcmref.inference.accuracy import check_labels
from pcmref.inference.adabs import ADABS_IMAGES
from pcmref.inference.compensation import COMPENSATIONS
from pcmref.inference.gdc import GdcReadout
from pcmref.inference.images import batches
from pcmref.inference.ranges import RANGE_IMAGES, calibrate_ranges, stored_if_any
from pcmref.network.graph import Network
from pcmref.network.images import Samples
from pcmref.references import SPEC_VERSION

__all__ = ["DAY_S", "HOUR_S", "TIMES_S", "YEAR_S", "Case", "Study", "needs_calibration"]

T = TypeVar("T")
#: What a row is of: a seed, a time, a compensation.
Case: TypeAlias = tuple[int, float, str]

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
YEAR_S = 365 * DAY_S
#: The times of the default table: the first read of [J20], and what readers ask next.
TIMES_S = (25.0, HOUR_S, DAY_S, 30 * DAY_S, YEAR_S)


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """A question: how accurate are these chips of a network, at these times, under these compensations.

    Parameters
    ----------
    network : Network
    samples : Samples
        Images to judge by; the position of an image is its address.
    calibration : Samples, optional
        Training images: for AdaBS, and for the ranges of a readout whose converters need some and for which the
        network has none.
    times_s : sequence of float
    compensations : sequence of str
        Out of "none", "gdc", "adabs", "gdc+adabs".
    seeds : sequence of int
        One chip each.
    model : Technology
    readout : Readout
        As asked for; `ranged_readout` has the ranges of its converters too.
    scale : "layer" or "column"
    significance : sequence of int
        Of the pairs of devices of a weight, as `program` takes it.
    gdc_readout : "absolute", "ones" or "column"
    title : str
        What the network is called, in tables.

    Raises
    ------
    PcmrefError
        If an argument is out of range or calibration images are missing.
    """

    network: Network
    samples: Samples
    calibration: Samples | None = None
    times_s: tuple[float, ...] = TIMES_S
    compensations: tuple[str, ...] = COMPENSATIONS
    seeds: tuple[int, ...] = (0,)
    model: Technology = NANDAKUMAR_2019
    readout: Readout = field(default=PRESETS["paper"])
    scale: Scale = "layer"
    significance: tuple[int, ...] = (1,)
    gdc_readout: GdcReadout = "absolute"
    title: str = ""

    def __post_init__(self) -> None:
        instance("network", self.network, Network)
        instance("samples", self.samples, Samples)
        if self.calibration is not None:
            instance("calibration", self.calibration, Samples)
        check_technology(self.model)
        instance("readout", self.readout, Readout, "pcmref.PRESETS")
        instance("title", self.title, str)
        times_s = [self.model.check_time(t_s) for t_s in _each_once("times_s", self.times_s)]
        seeds = [check_seed(seed) for seed in _each_once("seeds", self.seeds)]
        compensations = _each_once("compensations", self.compensations)
        for compensation in compensations:
            one_of("compensation", compensation, COMPENSATIONS)
        one_of("scale", self.scale, get_args(Scale))
        one_of("gdc_readout", self.gdc_readout, get_args(GdcReadout))
        object.__setattr__(self, "significance", check_significance(self.significance))
        for name, values in (("times_s", times_s), ("seeds", seeds), ("compensations", compensations)):
            object.__setattr__(self, name, tuple(values))
        self._check_images()
        readout = self.stored_readout()
        if needs_calibration(readout, compensations) and self.calibration is None:
            raise ParameterError("calibration", "training images (for AdaBS or converter ranges)", "none")
        if not readout.needs_ranges:
            for layer in self.network.crossbar_layers:
                readout.range_of(layer.name)

    def _check_images(self) -> None:
        """Refuse images that would fail only after minutes of work."""
        if len(self.samples) == 0:
            raise ParameterError("images", "at least one", "none")
        batches(self.network, self.samples.images[:1], None)
        check_labels(f"{self.samples.where}/labels", self.samples.labels, len(self.network.classes))
        if self.calibration is not None:
            batches(self.network, self.calibration.images[:1], None)
            if any("adabs" in name for name in self.compensations) and len(self.calibration) < ADABS_IMAGES:
                found = str(len(self.calibration))
                raise ParameterError("calibration", f"at least {ADABS_IMAGES} images for AdaBS", found)

    @property
    def cases(self) -> list[Case]:
        """Seed, time and compensation of every row of the answer, in order."""
        return list(itertools.product(self.seeds, self.times_s, self.compensations))

    def ranged_readout(self, threads: int | None = None) -> Readout:
        """Return the readout with the ranges of its converters.

        They are its own; or those that come with the network, where they fit; or else, if it needs some, they are found
        with the calibration images.
        """
        readout = self.stored_readout()
        if self.calibration is None or not readout.needs_ranges:
            return readout
        images = self.calibration.images[:RANGE_IMAGES]
        return calibrate_ranges(self.network, images, readout, model=self.model, scale=self.scale, threads=threads)

    def stored_readout(self) -> Readout:
        """Return the readout with the ranges that come with the network, where those fit and it needs some."""
        # never kept: `dataclasses.replace` may bring another network, model or scale
        return stored_if_any(self.network, self.readout, model=self.model, scale=self.scale)

    def identity(self) -> dict[str, Any]:
        """Return what the rows depend on besides readout, seed, time and compensation, as JSON has it."""
        network = self.network
        return {
            "spec": SPEC_VERSION,
            "network": {
                "file": self.title,
                "sha256": network.sha256,
                "digest": network.digest,
                "digital": [layer.name for layer in network.digital_layers],
                "provenance": dict(network.provenance),
            },
            "images": _identity(self.samples),
            "calibration": None if self.calibration is None else _identity(self.calibration),
            "model": fields_of(self.model),
            "scale": self.scale,
            "significance": list(self.significance),
            "gdc_readout": self.gdc_readout,
        }


def needs_calibration(readout: Readout, compensations: Iterable[str]) -> bool:
    """Return whether calibration images are needed: for AdaBS, or to find ranges."""
    return readout.needs_ranges or any("adabs" in name for name in compensations)


def _identity(samples: Samples) -> dict[str, Any]:
    return {
        "source": samples.where,
        "count": len(samples),
        "sha256": samples.sha256,
        "labels_sha256": samples.labels_sha256,
    }


def _each_once(name: str, values: Iterable[T]) -> list[T]:
    """Return `values` as a list if it is one, not empty, of values that differ."""
    try:
        found = [] if isinstance(values, str) else list(values)
        differ = len(set(found)) == len(found)
    except TypeError:
        found, differ = [], False
    if not (found and differ):
        raise ParameterError(name, "a list of one or more, each once", describe(values))
    return found
