"""``pcmref inspect`` and ``fetch``: networks and images as files."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pcmref
from pcmref.cli.options import (
    add_data,
    add_readout,
    readout_of_options,
)
from pcmref.console import progress_bar
from pcmref.crossbar.readout import Readout
from pcmref.devices.published import NANDAKUMAR_2019
from pcmref.errors import ParameterError, describe
from pcmref.files.atomic import check_outputs, replacing
from pcmref.inference.ranges import RANGE_IMAGES, calibrate_ranges, stored_if_any
from pcmref.inference.saturation import Saturation
from pcmref.network.graph import Network
from pcmref.studies import report
from pcmref.studies.named import network_path, samples_of

__all__ = ["add_fetch", "add_inspect"]

#: Images among which ``inspect --ranges`` counts codes.
RANGE_IMAGES_SHOWN = 32


def add_inspect(commands: Any) -> None:
    """Add ``inspect`` to a parser."""
    command = commands.add_parser("inspect", help="layers, devices and crossbars of a network file")
    command.set_defaults(run=_inspect)
    command.add_argument(
        "network", nargs="?", type=Path, metavar="NETWORK", help="a file, or a bundled name (default: digits-resnet8)"
    )
    command.add_argument("--tile", default="256x256", metavar="RxC", help="tile limit (default: %(default)s)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    command.add_argument(
        "--ranges", action="store_true", help="full scales of converters, and which share of codes they clip"
    )
    add_readout(command, "chip8")
    add_data(command)


def add_fetch(commands: Any) -> None:
    """Add ``fetch`` to a parser."""
    command = commands.add_parser("fetch", help="download a data set into the user cache")
    command.set_defaults(run=_fetch)
    command.add_argument("dataset", choices=["cifar10"])
    command.add_argument("--to", type=Path, metavar="DIR", help="another directory")
    command.add_argument("--url", help="another server")


def _inspect(options: argparse.Namespace) -> None:
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", options.tile)
    if match is None:
        raise ParameterError("--tile", "ROWSxCOLUMNS, for example 256x256", describe(options.tile))
    path = network_path(options.network)
    check_outputs([options.json], inputs=[path, options.data, options.readout])
    network = pcmref.load(path)
    facts = report.network_facts(network, path, tile_rows=int(match[1]), tile_columns=int(match[2]))
    text = report.network_table(facts)
    if options.ranges:
        readout, found, images = _saturation(network, options)
        facts["saturation"] = report.ranges_facts(readout, found)
        text += "\n\n" + report.ranges_table(facts["saturation"], images)
    if options.json is not None:
        with replacing(options.json) as temporary:
            temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(text)


def _saturation(network: Network, options: argparse.Namespace) -> tuple[Readout, tuple[Saturation, ...], int]:
    """Return a readout with ranges, how codes lie between them on a chip before drift, and for how many images."""
    readout = stored_if_any(network, readout_of_options(options, "chip8"), model=NANDAKUMAR_2019, scale="layer")
    if readout.adc is None and readout.ranges is None:
        raise ParameterError("--ranges", "a readout with full scales (--preset chip8)", f"readout {readout.name}")
    samples, training = samples_of(network, options.data, readout.needs_ranges, genuine=not options.any_cifar)
    if readout.needs_ranges:
        if training is None:
            raise ParameterError("--ranges", "ranges in the file, or calibration images to find them with", "none")
        readout = calibrate_ranges(network, training.images[:RANGE_IMAGES], readout)
    images = samples.images[:RANGE_IMAGES_SHOWN]
    chip = pcmref.prepare(pcmref.program(network).reference(), readout=readout)
    return readout, chip.saturation(images), len(images)


def _fetch(options: argparse.Namespace) -> None:
    from pcmref.files import download

    with progress_bar("bytes", options.interrupted) as progress:
        path = download.fetch_cifar10(options.to, url=options.url or download.CIFAR10_URL, progress=progress)
    print(path)
