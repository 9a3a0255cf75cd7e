"""The conformance suite: small golden cases of everything that decides a bit, and settings that must be refused.

It comes with pcmref as data, ``weights/conformance`` in a clone, for whoever implements SPEC.md in another language;
`pcmref.golden.selfcheck` makes it again and compares.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pcmref.arithmetic.draws import Purpose, stream_key
from pcmref.arithmetic.reference import weight_words
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import program
from pcmref.errors import FileError, describe
from pcmref.files.atomic import replacing
from pcmref.files.json_text import parsed
from pcmref.files.networks import bundled, load
from pcmref.files.regular import content_of
from pcmref.golden.cases import Case, digest_of
from pcmref.golden.folders import DOCUMENT_LIMIT, write_case
from pcmref.golden.layers import network_case
from pcmref.golden.readouts import readout_fields
from pcmref.golden.rules import devices_case, elementary_case
from pcmref.golden.tiles import GROUPS, tile_case
from pcmref.inference.compensation import calibrate
from pcmref.inference.ranges import calibrate_ranges
from pcmref.references import SPEC_VERSION

__all__ = ["CASES", "NETWORK", "REFUSED", "arrays_digest", "read_suite", "suite_folder", "write_suite"]

#: Name and version of the format of ``suite.json``.
SCHEMA = {"schema": "pcmref-conformance", "version": 1}
DOCUMENT, NETWORK = "suite.json", "network.h5"
SEED = 2020
DAY_S, YEAR_S = 86_400.0, 31_536_000.0
#: Rows and columns of the tiles.
SIZE = (12, 4)
#: A gain whose multiplier is even, so that sums can tie: codes of 8 bits for a 12 x 4 tile.
GAIN = FixedPoint(640, 23)


#: Groups of vectors of the tiles that differ from the first in one setting.
SHORT = ("corners", "widest", "ties", "boundaries", "random")


def _tile(adc: Adc | None = None, groups: Collection[str] = SHORT, **others: Any) -> Callable[[Path], Case]:
    """Return what makes the case of a tile."""
    fields = {"dac": Dac(bits=8), "adc": adc, **others}

    def make(folder: Path) -> Case:
        return tile_case(Readout(name="tile", **fields), size=SIZE, groups=groups, random=20, seed=SEED)

    return make


def _adc(**fields: Any) -> Adc:
    return Adc(**{"bits": 8, "gain": GAIN, **fields})


def _thresholds() -> tuple[tuple[int, ...], ...]:
    """Return thresholds for each column, not evenly spaced: those of a gain, bent."""
    steps = np.arange(-126, 128, dtype=np.int64)
    return tuple(tuple((13_107 * steps + (7 + column) * steps**2 - 6_500).tolist()) for column in range(SIZE[1]))


def _devices(folder: Path) -> Case:
    words = weight_words(stream_key(SEED, Purpose.PROGRAM, 1), 60)[0].astype(np.float64)
    weights = ((words / 2.0**32 - 0.5) ** 3 * 8).astype(np.float32).reshape(12, 5)
    weights[3, 2] = weights[0, 0] = 0
    return devices_case(weights, seed=SEED, times_s=(600.0, DAY_S, YEAR_S), share=0.1)


def _network(name: str, compensation: str, **fields: Any) -> Callable[[Path], Case]:
    """Return what makes the case of a network with a preset."""

    def make(folder: Path) -> Case:
        network = load(folder / NETWORK)
        if network.calibration is None:
            raise FileError(NETWORK, "calibration images", "none")
        images = network.calibration.images
        readout = PRESETS[name]
        if readout.adc is not None:
            readout = Readout(**{**vars(readout), **fields})
            readout = calibrate_ranges(network, images, readout)
        chip = program(network, seed=SEED)
        snapshot = chip.at(DAY_S)
        fix = calibrate(snapshot, compensation, reference=chip.reference(), images=images, readout=readout)
        return network_case(snapshot, images[:1], readout, corrections=fix)

    return make


#: What makes each case, from the folder of the suite.
CASES: Mapping[str, Callable[[Path], Case]] = {
    "elementary": lambda folder: elementary_case(count=40, seed=SEED),
    "devices": _devices,
    "tile-half-even": _tile(_adc(), GROUPS),
    "tile-half-away": _tile(_adc(rounding="half-away", low=-128)),
    "tile-half-up": _tile(_adc(rounding="half-up")),
    "tile-floor": _tile(_adc(rounding="floor")),
    "tile-toward-zero": _tile(_adc(rounding="toward-zero")),
    "tile-unsigned-adc": _tile(_adc(low=0, high=255)),
    "tile-offset": _tile(_adc(offset=tuple(1000 * column - 2500 for column in range(SIZE[1])))),
    "tile-gain-per-column": _tile(_adc(gain=tuple(FixedPoint(512 + 64 * column, 23) for column in range(SIZE[1])))),
    "tile-float64-gain": _tile(_adc(gain=7.6e-5)),
    "tile-thresholds": _tile(_adc(gain=None, thresholds=_thresholds()), GROUPS),
    "tile-exact-sums": _tile(),
    "tile-fresh-noise": _tile(_adc(), read_noise="fresh"),
    "tile-accumulator-wraps": _tile(_adc(), accumulator=Accumulator(bits=22, beyond="wrap")),
    "tile-accumulator-saturates": _tile(_adc(), accumulator=Accumulator(bits=22, beyond="saturate")),
    "tile-signed-codes": _tile(_adc(), dac=Dac(bits=8, codes="signed")),
    "tile-unsigned-codes": _tile(_adc(), dac=Dac(bits=7, codes="unsigned")),
    "tile-offset-codes": _tile(_adc(), dac=Dac(bits=7, codes="offset")),
    "tile-two-phase": _tile(_adc(), dac=Dac(bits=8, drive="two-phase")),
    "tile-bit-serial": _tile(_adc(gain=FixedPoint(640, 18)), dac=Dac(bits=8, codes="signed", drive="bit-serial")),
    "tile-separate-lines": _tile(_adc(), lines="separate", read_noise="fresh"),
    "network-paper": _network("paper", "gdc"),
    "network-chip8": _network("chip8", "gdc+adabs"),
    "network-rtl8": _network("rtl8", "none", tile_rows=16, tile_columns=4),
}


def _changed(path: str, value: object) -> dict[str, Any]:
    """Return the fields of a good readout with one of them changed."""
    fields = readout_fields(Readout(name="tile", dac=Dac(bits=8), adc=_adc(), accumulator=Accumulator(bits=24)))
    place = fields
    *outer, last = path.split(".")
    for name in outer:
        place = place[name]
    place[last] = value
    return fields


#: Readouts that must be refused, and why.
REFUSED: Mapping[str, dict[str, Any]] = {
    "a DAC of 1 bit": _changed("dac.bits", 1),
    "a DAC of 17 bits": _changed("dac.bits", 17),
    "a DAC of 8.0 bits": _changed("dac.bits", 8.0),
    "codes that are not known": _changed("dac.codes", "twos-complement"),
    "a drive that is not known": _changed("dac.drive", "serial"),
    "an ADC of 25 bits": _changed("adc.bits", 25),
    "a smallest code above 0": _changed("adc.low", 1),
    "a largest code of 0": _changed("adc.high", 0),
    "more codes than the bits have": _changed("adc.high", 129),
    "a rounding that is not known": _changed("adc.rounding", "nearest"),
    "a multiplier of 0": _changed("adc.gain.multiplier", 0),
    "a multiplier of 32 bits": _changed("adc.gain.multiplier", 1 << 31),
    "a shift below 0": _changed("adc.gain.shift", -1),
    "a shift at which products are not exact": _changed("adc.gain.shift", 47),
    "a gain of 0": _changed("adc.gain", 0.0),
    "a gain that is no text": _changed("adc.gain", "640/2^23"),
    "a gain beside a width of gains": _changed("adc.gain_bits", 16),
    "an offset that is no integer": _changed("adc.offset", 0.5),
    "an offset of 2^52": _changed("adc.offset", 1 << 52),
    "thresholds beside a gain": _changed("adc.thresholds", [[*range(254)]]),
    "an accumulator of 1 bit": _changed("accumulator.bits", 1),
    "an accumulator of no such kind": _changed("accumulator.beyond", "clip"),
    "tiles of no rows": _changed("tile_rows", 0),
    "lines that are not known": _changed("lines", "both"),
    "read noise that is not known": _changed("read_noise", "none"),
    "a field that is not known": {**_changed("lines", "pair"), "columns": 8},
}


def suite_folder() -> Path:
    """Return the folder of the suite as it came with pcmref."""
    return bundled().parent / "conformance"


def arrays_digest(cases: Mapping[str, Case]) -> str:
    """Return one SHA-256 of all arrays of some cases: of the JSON of their names and digests."""
    return digest_of({name: {array: e.sha256 for array, e in case.arrays.items()} for name, case in cases.items()})


def write_suite(folder: Path, network: Path) -> str:
    """Write the suite.

    Parameters
    ----------
    folder : Path
        What was there is replaced, case by case.
    network : Path
        Network of the cases "network-...", with calibration images.

    Returns
    -------
    str
        Digest of its arrays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / NETWORK).exists() or not (folder / NETWORK).samefile(network):
        with replacing(folder / NETWORK) as temporary:
            shutil.copyfile(network, temporary)
    cases = {name: make(folder) for name, make in CASES.items()}
    for name, case in cases.items():
        write_case(folder / name, case)
    document = {
        **SCHEMA,
        "spec": SPEC_VERSION,
        "digest": arrays_digest(cases),
        "network": NETWORK,
        "cases": [{"folder": name, "kind": case.kind, "digest": case.digest} for name, case in cases.items()],
        "refused": [{"what": what, "readout": readout} for what, readout in REFUSED.items()],
    }
    with replacing(folder / DOCUMENT) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return arrays_digest(cases)


def read_suite(folder: Path) -> dict[str, Any]:
    """Return what ``suite.json`` says.

    Raises
    ------
    FileError
        If it is missing, damaged or of another version.
    """
    path = folder / DOCUMENT
    try:
        said = parsed(content_of(path, DOCUMENT_LIMIT))
        found = {**{name: said[name] for name in SCHEMA}, "spec": said["spec"]}
    except (OSError, FileError, ValueError, KeyError, TypeError) as error:
        raise FileError(str(path), "the contents of a conformance suite", describe(str(error), 100)) from None
    if found != {**SCHEMA, "spec": SPEC_VERSION}:
        raise FileError(str(path), describe({**SCHEMA, "spec": SPEC_VERSION}), describe(found))
    return dict(said)
