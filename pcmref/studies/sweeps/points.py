"""Every point of a sweep's grids as a study of its own, with the digest of all that decides its results."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from pcmref.crossbar.converters import Adc
from pcmref.crossbar.readout import Readout, preset
from pcmref.devices.mapping import Scale
from pcmref.devices.pcm import PcmModel
from pcmref.devices.published import model
from pcmref.errors import ParameterError, PcmrefError, describe
from pcmref.files.json_text import json_digest
from pcmref.files.networks import load
from pcmref.golden.readouts import readout_fields, readout_file, readout_of
from pcmref.inference.gdc import GdcReadout
from pcmref.network.graph import Network, keep_digital
from pcmref.network.images import Samples
from pcmref.studies.named import factors, network_path, samples_of
from pcmref.studies.results import Coordinate
from pcmref.studies.study import Case, Study
from pcmref.studies.sweeps.grid import Grid, Question

__all__ = ["Block", "Point", "points_of", "row_key"]

#: Converters that a preset may lack, as a study that sets one of their fields has them.
ABSENT = {"adc": asdict(Adc(bits=8)), "accumulator": {"bits": 32, "beyond": "error"}}
#: What in the facts of a setting tells where it comes from, but decides no bit.
NAMES = {
    "network": ("file", "sha256", "provenance"),
    "images": ("source",),
    "calibration": ("source",),
    "readout": ("name",),
}
#: Hexadecimal digits of the key of a row.
KEY_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows that are asked of a point: every time, compensation and chip of a grid."""

    times_s: tuple[float, ...]
    compensations: tuple[str, ...]
    seeds: range


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """A point of a grid.

    Parameters
    ----------
    coordinates : mapping of str to Coordinate
        What the study says of it.
    study : Study
        With its first chip only: the others are in the blocks.
    blocks : tuple of Block
    """

    coordinates: Mapping[str, Coordinate]
    study: Study
    blocks: tuple[Block, ...]

    @property
    def cases(self) -> Iterator[Case]:
        """Every row that is asked for, once, chip by chip and time by time."""
        seen: set[Case] = set()
        several = len(self.blocks) > 1
        for block in self.blocks:
            for seed in block.seeds:
                for t_s in block.times_s:
                    for compensation in block.compensations:
                        case = seed, t_s, compensation
                        if several:
                            if case in seen:
                                continue
                            seen.add(case)
                        yield case

    @property
    def wanted(self) -> int:
        """How many rows are asked for."""
        if len(self.blocks) > 1:
            return sum(1 for _ in self.cases)
        (block,) = self.blocks
        return len(block.times_s) * len(block.compensations) * len(block.seeds)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the rows depend on besides seed, time and compensation, as JSON has it; names and origins too."""
        return {**self.study.identity(), "readout": readout_fields(self.study.stored_readout())}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what in the facts decides a bit."""
        said = dict(self.facts)
        for part, names in NAMES.items():
            if said[part] is not None:
                said[part] = {name: value for name, value in said[part].items() if name not in names}
        return json_digest(said)


def row_key(setting: str, case: Case) -> str:
    """Return what names a row anywhere: the first digits of a SHA-256 of all that decides it.

    Parameters
    ----------
    setting : str
        Digest of its `Point`.
    case : Case
    """
    seed, t_s, compensation = case
    said = f"{setting} {seed} {t_s.hex()} {compensation}"
    return hashlib.sha256(said.encode()).hexdigest()[:KEY_DIGITS]


def points_of(question: Question) -> tuple[Point, ...]:
    """Return every point of a question; each digest once, with all that is asked of it.

    Raises
    ------
    PcmrefError
        If a point cannot be, with its coordinates.
    """
    builder = _Builder(question)
    found: dict[str, Point] = {}
    for grid in question.grids:
        for coordinates in grid.points:
            point = builder.point(grid, coordinates)
            if (known := found.get(point.digest)) is not None:
                point = replace(known, blocks=known.blocks + point.blocks)
            found[point.digest] = point
    return tuple(found.values())


class _Builder:
    """Makes points; networks and images that several of them share are read once."""

    def __init__(self, question: Question) -> None:
        self._question = question
        names = [name for grid in question.grids for name in grid.axes]
        self._names = tuple(dict.fromkeys(names))
        self._networks: dict[tuple[str, str], tuple[Network, Path]] = {}
        self._samples: dict[tuple[int, str | None, Coordinate], tuple[Samples, Samples | None]] = {}

    def point(self, grid: Grid, said: Mapping[str, Coordinate]) -> Point:
        try:
            return self._point(grid, said)
        except PcmrefError as error:
            names = [error.where] if error.where in grid.axes else grid.axes  # what one axis has wrong, no other has
            several = {name: said[name] for name in names if len(grid.axes[name]) > 1 or "." in name}
            where = ", ".join(f"{name} = {value}" for name, value in several.items())
            place = f"{self._question.path}: " + (f"{where}: " if where else "") + error.where
            raise type(error)(place, error.expected, error.found) from error

    def _point(self, grid: Grid, said: Mapping[str, Coordinate]) -> Point:
        network, path = self._network(str(said["network"]), str(said["digital"]))
        samples, calibration = self._images(network, grid.data, said["images"])
        readout = self._readout(said)
        devices = _devices(said)
        study = Study(
            network=network,
            samples=samples,
            calibration=calibration,
            times_s=grid.times_s,
            compensations=grid.compensations,
            seeds=(grid.seeds.start,),
            model=devices,
            readout=readout,
            scale=cast(Scale, said["scale"]),  # checked there, as the next
            significance=factors(str(said["significance"]), "significance"),
            gdc_readout=cast(GdcReadout, said["gdc"]),
            title=path.name,
        )
        coordinates = {name: said[name] if name in said else _found(name, readout, devices) for name in self._names}
        coordinates["images"] = len(samples)
        block = Block(times_s=study.times_s, compensations=study.compensations, seeds=grid.seeds)
        return Point(coordinates=coordinates, study=study, blocks=(block,))

    def _network(self, named: str, digital: str) -> tuple[Network, Path]:
        if (named, digital) not in self._networks:
            if digital != "none":
                whole, path = self._network(named, "none")
                kept = keep_digital(whole, [name.strip() for name in digital.split(",")])
                self._networks[named, digital] = kept, path
            else:
                path = self._beside(named) if Path(named).suffix else network_path(Path(named))
                self._networks[named, digital] = load(path), path
        return self._networks[named, digital]

    def _images(self, network: Network, data: str | None, count: Coordinate) -> tuple[Samples, Samples | None]:
        place = None if data is None else self._beside(data)
        key = (id(network), data, count)
        if key not in self._samples:
            if count == "all":
                # to calibrate with as well, so that rows do not depend on what else is asked
                self._samples[key] = samples_of(network, place, True)
            else:
                if isinstance(count, str) or count < 1:
                    raise ParameterError("images", "how many, at least 1, or 'all'", describe(count))
                samples, calibration = self._images(network, data, "all")
                self._samples[key] = samples.first(int(count)), calibration
        return self._samples[key]

    def _readout(self, said: Mapping[str, Coordinate]) -> Readout:
        named = str(said["preset"])
        base = readout_file(self._beside(named)) if named.endswith(".json") else preset(named)
        changes = _under("readout.", said)
        return _changed(base, changes) if changes else base

    def _beside(self, named: str) -> Path:
        return self._question.path.parent / named


def _under(table: str, said: Mapping[str, Coordinate]) -> dict[str, Any]:
    """Return what is said in a table, without its name."""
    return {name.removeprefix(table): value for name, value in said.items() if name.startswith(table)}


def _changed(readout: Readout, changes: Mapping[str, Coordinate]) -> Readout:
    """Return a readout with other values of some fields; ``none`` stands for no value."""
    said = readout_fields(readout)
    for name, value in changes.items():
        converter, _, field = name.rpartition(".")
        if converter and said[converter] is None:
            if f"{converter}.bits" not in changes:
                expected = f"readout.{converter}.bits beside it, as {readout.name} has no {converter}"
                raise ParameterError(f"readout.{name}", expected, "none")
            said[converter] = dict(ABSENT[converter])
        (said[converter] if converter else said)[field] = None if value == "none" else value
    if "adc.bits" in changes:  # whose limits follow from the bits, unless they are said
        said["adc"] |= {limit: None for limit in ("low", "high") if f"adc.{limit}" not in changes}
    return readout_of(said)


def _devices(said: Mapping[str, Coordinate]) -> PcmModel:
    found = model(str(said["model"]))
    changes = _under("devices.", said)
    return replace(found, **changes) if changes else found


def _found(name: str, readout: Readout, devices: PcmModel) -> Coordinate:
    """Return what a point has where its own grid does not say it, but another does."""
    table, _, rest = name.partition(".")
    said: Any = readout_fields(readout) if table == "readout" else asdict(devices)
    for part in rest.split("."):
        said = None if said is None else said[part]
    return "none" if said is None else said
