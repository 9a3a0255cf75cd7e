"""``pcmref export``, ``check``, ``dpi`` and ``selfcheck``: golden cases for a device under test."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

import pcmref
from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.cli.options import at_least_one
from pcmref.console import say
from pcmref.crossbar.converters import Accumulator, Adc, Beyond, Codes, Dac, Drive, FixedPoint
from pcmref.crossbar.readout import PRESETS, Lines, ReadNoise, Readout, preset
from pcmref.devices.mapping import Scale
from pcmref.devices.published import MODELS, NANDAKUMAR_2019, model
from pcmref.errors import FileError, ParameterError, describe
from pcmref.files.regular import open_regular
from pcmref.golden.cases import Case, Contract
from pcmref.golden.check import check
from pcmref.golden.folders import npy_description, size_of, write_case
from pcmref.golden.layers import network_case
from pcmref.golden.library import write_library
from pcmref.golden.loads import MATRICES
from pcmref.golden.readouts import readout_file
from pcmref.golden.selfcheck import selfcheck, selfcheck_text
from pcmref.golden.tiles import GROUPS, tile_case
from pcmref.golden.verdicts import EXIT, verdict_text
from pcmref.inference.compensation import COMPENSATIONS, calibrate
from pcmref.inference.ranges import RANGE_IMAGES, calibrate_ranges, stored_if_any
from pcmref.studies.named import factors, network_path, samples_of, time_s
from pcmref.studies.study import needs_calibration

__all__ = ["add_check", "add_dpi", "add_export", "add_selfcheck"]

#: Options of the converters of one tile, which a preset of a network has.
TILE_ONLY = ("gain", "random", "conductance", "matrices", *(group.replace("-", "_") for group in GROUPS))
NETWORK_ONLY = ("layer", "images", "at", "compensation", "data", "preset", "model", "scale", "significance")


def add_export(commands: Any) -> None:
    """Add ``export`` to a parser."""
    command = commands.add_parser(
        "export",
        help="write a golden case: stimulus, expected answer and internals of a tile, a layer or a network",
        description="Write a golden case as a folder.  Of one tile: --tile RxC --gain M/2^S.  Of a network: --network.",
    )
    command.set_defaults(run=_export)
    command.add_argument("folder", type=Path, metavar="DIR", help="where to; another case there is replaced")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of all that is drawn (default: 0)")
    command.add_argument("--hex", action="store_true", help="also write words for $readmemh")
    command.add_argument("--lsb", type=int, metavar="N", help="let answers differ by N (default: exact)")
    _add_tile(command.add_argument_group("one tile"))
    _add_network(command.add_argument_group("a network, or one layer of it"))
    _add_readout(command.add_argument_group("converters and read noise"))


def _add_tile(group: Any) -> None:
    group.add_argument("--tile", metavar="RxC", help="rows and columns (default: 256x64)")
    group.add_argument("--gain", metavar="M/2^S", help="of the ADC, or a number; without it there is no ADC")
    group.add_argument("--conductance", type=Path, metavar="FILE.npy", help="codes of the weights (default: drawn)")
    group.add_argument(
        "--matrices", metavar="A,B,...", help=f"of {','.join(MATRICES)}; all but the first have codes of 16 bits"
    )
    group.add_argument("--random", type=int, metavar="N", help="random vectors (default: 1000)")
    for name in GROUPS:
        if name != "random":
            group.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    names = ", ".join(f"--{name}" for name in GROUPS if name != "random")
    group.description = f"Directed vectors: {names}; all of them unless some are named."


def _add_network(group: Any) -> None:
    group.add_argument("--network", metavar="NETWORK", help="a file, or a bundled name")
    group.add_argument("--layer", metavar="NAME", help="a crossbar layer, or all (default: all)")
    group.add_argument("--images", type=int, metavar="N", help="the first N images (default: 1)")
    group.add_argument("--at", metavar="T", help="time since programming, units s min h d y (default: 25s)")
    group.add_argument("--compensation", metavar="NAME", help=f"{' | '.join(COMPENSATIONS)} (default: none)")
    group.add_argument("--model", metavar="NAME", help=f"{' | '.join(MODELS)} (default: {NANDAKUMAR_2019.name})")
    group.add_argument("--scale", metavar="NAME", help="layer | column (default: layer)")
    group.add_argument("--significance", metavar="A,B,...", help="of the pairs of a weight (default: 1)")
    group.add_argument("--data", type=Path, metavar="DIR", help="CIFAR-10, where the network has no images")
    group.add_argument("--preset", metavar="NAME", help=f"{' | '.join(PRESETS)} (default: rtl8)")


def _add_readout(group: Any) -> None:
    group.add_argument("--readout", type=Path, metavar="FILE.json", help="all of it, as in the case.json of a case")
    group.add_argument("--dac-bits", type=int, metavar="B", help="default: 8")
    group.add_argument("--dac-codes", metavar="NAME", help=f"{' | '.join(get_args(Codes))} (default: symmetric)")
    group.add_argument("--drive", metavar="NAME", help=f"{' | '.join(get_args(Drive))} (default: parallel)")
    group.add_argument("--adc-bits", type=int, metavar="B", help="default: 8")
    group.add_argument("--adc-low", type=int, metavar="N", help="smallest code (default: 1 - 2^(B-1))")
    group.add_argument("--adc-high", type=int, metavar="N", help="largest code (default: 2^(B-1) - 1)")
    group.add_argument("--adc-offset", type=int, metavar="N", help="added to the sum (default: 0)")
    group.add_argument("--rounding", metavar="NAME", help=f"{' | '.join(ROUNDINGS)} (default: half-even)")
    group.add_argument("--lines", metavar="NAME", help=f"{' | '.join(get_args(Lines))} (default: pair)")
    group.add_argument("--accumulator", metavar="B:NAME", help=f"bits, and beyond them {' | '.join(get_args(Beyond))}")
    group.add_argument("--read-noise", metavar="NAME", help=f"{' | '.join(get_args(ReadNoise))} (default: frozen)")


def add_check(commands: Any) -> None:
    """Add ``check`` to a parser."""
    command = commands.add_parser(
        "check",
        help="compare answers of a device under test with a golden case",
        description="Exit status: 0 equal, 3 different, 4 an answer is missing, 5 an answer is malformed; 1 after an "
        "error, also if the case itself is damaged.",
    )
    command.set_defaults(run=_check)
    command.add_argument("folder", type=Path, metavar="DIR", help="a case")
    command.add_argument("--partial", action="store_true", help="compare what is there, and say what is not")
    command.add_argument(
        "--got",
        type=Path,
        required=True,
        metavar="PATH",
        help="answers: npy, npz, HDF5, hex words, or a folder of them",
    )


def add_dpi(commands: Any) -> None:
    """Add ``dpi`` to a parser."""
    command = commands.add_parser(
        "dpi",
        help="write a tile in C, for test benches in C, C++ and SystemVerilog (DPI)",
        description="Write the C library as a new folder: sources, pcmref.h, pcmref.svh, a Makefile and a test "
        "program.  It reads golden cases and needs no Python.",
    )
    command.set_defaults(run=_dpi)
    command.add_argument("folder", type=Path, metavar="DIR", help="where to")


def add_selfcheck(commands: Any) -> None:
    """Add ``selfcheck`` to a parser."""
    command = commands.add_parser(
        "selfcheck", help="see that this machine gives the bits that it must; the first thing to run on a new one"
    )
    command.set_defaults(run=_selfcheck)


def _export(options: argparse.Namespace) -> None:
    command = "pcmref export " + shlex.join(_said(options))
    contract = Contract() if options.lsb is None else Contract(kind="lsb", n=options.lsb)
    if options.network is None:
        _refuse(options, NETWORK_ONLY, "as no --network is named")
        case = _tile_case(options, contract, command)
    else:
        _refuse(options, ("tile", *TILE_ONLY), "as a --network is named")
        case = _network_case(options, contract, command)
    size = size_of(case, hex=options.hex)
    say(f"{len(case.arrays)} arrays, {size / 1e6:.1f} MB")
    write_case(options.folder, case, hex=options.hex)
    print(f"{options.folder}: case {case.digest[:16]}, contract: {case.contract}")
    for line in _summary(case):
        print(line)


def _summary(case: Case) -> Iterator[str]:
    """Give what the vectors of a tile reach and catch, and what they do not."""
    if not case.groups:
        return
    groups = ", ".join(f"{group.name} {group.last - group.first:,}" for group in case.groups)
    yield f"  vectors: {case.coverage['vectors']:,} ({groups})"
    if (ties := case.coverage.get("ties")) is not None:
        yield f"  ties: {ties.get('note') or '{sums:,} in {columns} columns'.format(**ties)}"
    missed = [fault.name for fault in case.faults if not fault.caught_by]
    yield f"  faults caught: {len(case.faults) - len(missed)} of {len(case.faults)}"
    if missed:
        yield f"  not by these vectors: {', '.join(missed)}"


def _said(options: argparse.Namespace) -> list[str]:
    """Return the options that differ from their defaults, as they might be typed."""
    said = [str(options.folder.name)]
    for name, value in vars(options).items():
        option = f"--{name.replace('_', '-')}"
        if name not in ("folder", "run", "interrupted", "command", "hex") and value not in (None, False):
            said += [option] if value is True else [option, str(value)]
    return said


def _refuse(options: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(options, name) not in (None, False):
            raise ParameterError(
                f"--{name.replace('_', '-')}", f"not to be given, {why}", describe(getattr(options, name))
            )


def _tile_case(options: argparse.Namespace, contract: Contract, command: str) -> Case:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", options.tile or "256x64")
    if match is None:
        raise ParameterError("--tile", "ROWSxCOLUMNS, for example 256x64", describe(options.tile))
    conductance = None
    if options.conductance is not None:
        conductance = _npy(options.conductance)
        if options.tile is not None:
            raise ParameterError("--tile", "not to be given beside --conductance", options.tile)
    named = [name for name in GROUPS if name != "random" and getattr(options, name.replace("-", "_"))]
    groups = {*named, "random"} if named or options.random == 0 else set(GROUPS)
    return tile_case(
        _tile_readout(options),
        size=(int(match[1]), int(match[2])),
        conductance=conductance,
        groups=groups,
        matrices=MATRICES if options.matrices is None else [name.strip() for name in options.matrices.split(",")],
        random=1000 if options.random is None else options.random,
        seed=options.seed,
        contract=contract,
        command=command,
    )


def _npy(path: Path) -> npt.NDArray[Any]:
    """Return the array of an ``.npy`` file, whose size is what its header says."""
    try:
        with open_regular(path) as file:
            npy_description(str(path), file)
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, OverflowError) as error:
        raise FileError(str(path), "an .npy file", describe(str(error), 100)) from None


def _tile_readout(options: argparse.Namespace) -> Readout:
    """Return the readout of one tile: from a file, or 8 bits with what the options say."""
    base = Readout(name="tile", dac=Dac(bits=8)) if options.readout is None else readout_file(options.readout)
    readout = _with_options(base, options)
    if options.gain is None:
        return readout
    text = options.gain
    try:
        gain: FixedPoint | float = FixedPoint.parse(text) if "/" in text else float(text)
    except ValueError:
        raise ParameterError("--gain", "MULTIPLIER/2^SHIFT or a number", describe(text)) from None
    return replace(readout, adc=replace(readout.adc or _adc(options), gain=gain))


def _adc(options: argparse.Namespace) -> Adc:
    given = {
        "low": options.adc_low,
        "high": options.adc_high,
        "offset": options.adc_offset,
        "rounding": options.rounding,
    }
    return Adc(bits=options.adc_bits or 8, **{name: value for name, value in given.items() if value is not None})


def _with_options(readout: Readout, options: argparse.Namespace) -> Readout:
    """Return a readout with what the options say in place of what it had."""
    dac = {"bits": options.dac_bits, "codes": options.dac_codes, "drive": options.drive}
    own: dict[str, Any] = {"lines": options.lines, "read_noise": options.read_noise}
    own["dac"] = replace(readout.dac, **{name: value for name, value in dac.items() if value is not None})
    adc = {"bits": options.adc_bits, "low": options.adc_low, "high": options.adc_high}
    adc |= {"offset": options.adc_offset, "rounding": options.rounding}
    adc = {name: value for name, value in adc.items() if value is not None}
    if readout.adc is not None and adc:
        if "bits" in adc:  # limits of their own follow the bits
            adc = {"low": None, "high": None, **adc}
        own["adc"] = replace(readout.adc, **adc)
    elif adc and options.gain is None:
        raise ParameterError("--gain", "MULTIPLIER/2^SHIFT, as the ADC of a tile has no range", "none")
    if options.accumulator is not None:
        bits, _, beyond = options.accumulator.partition(":")
        if not bits.isdigit():
            raise ParameterError("--accumulator", "BITS:NAME, for example 32:wrap", describe(options.accumulator))
        own["accumulator"] = Accumulator(bits=int(bits), beyond=beyond or "error")
    return replace(readout, **{name: value for name, value in own.items() if value is not None})


def _network_case(options: argparse.Namespace, contract: Contract, command: str) -> Case:
    path = network_path(Path(options.network))
    network = pcmref.load(path)
    base = preset(options.preset or "rtl8") if options.readout is None else readout_file(options.readout)
    compensation = options.compensation or "none"
    scale: Scale = options.scale or "layer"
    devices = model(options.model or NANDAKUMAR_2019.name)
    readout = stored_if_any(network, _with_options(base, options), model=devices, scale=scale)
    samples, training = samples_of(network, options.data, needs_calibration(readout, [compensation]))
    count = at_least_one("--images", 1 if options.images is None else options.images)
    if count > len(samples):
        raise ParameterError("--images", f"at most {len(samples)}, as there are", str(count))
    if readout.needs_ranges and training is not None:
        images = training.images[:RANGE_IMAGES]
        readout = calibrate_ranges(network, images, readout, model=devices, scale=scale)
    chip = pcmref.program(
        network, model=devices, seed=options.seed, scale=scale, significance=factors(options.significance or "1")
    )
    snapshot = chip.at(time_s(options.at or "25s", "--at"))
    corrections = calibrate(
        snapshot,
        compensation,
        reference=chip.reference(),
        images=None if training is None else training.images,
        readout=readout,
    )
    return network_case(
        snapshot,
        samples.images[:count],
        readout,
        corrections=corrections,
        layer=None if options.layer in (None, "all") else options.layer,
        contract=contract,
        command=command,
    )


def _check(options: argparse.Namespace) -> int:
    verdict = check(options.folder, options.got, partial=options.partial)
    print(verdict_text(verdict))
    return verdict.exit


def _dpi(options: argparse.Namespace) -> None:
    names = write_library(options.folder)
    print(f"{options.folder}: {len(names)} files of the C library")
    print("  interface: pcmref.h, and for SystemVerilog pcmref.svh")
    print(f"  next: make -C {shlex.quote(str(options.folder))} check CASE=a/case")


def _selfcheck(options: argparse.Namespace) -> int:
    result = selfcheck()
    print(selfcheck_text(result))
    return 0 if result.passed else EXIT["different"]
