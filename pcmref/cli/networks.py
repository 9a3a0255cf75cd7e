"""``pcmref inspect``, ``convert`` and ``fetch``: networks and images as files."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pcmref
from pcmref.cli.options import network_path, triple
from pcmref.console import progress_bar
from pcmref.errors import ParameterError, describe
from pcmref.files.atomic import check_outputs
from pcmref.studies import report

__all__ = ["add_convert", "add_fetch", "add_inspect"]


def add_inspect(commands: Any) -> None:
    """Add ``inspect`` to a parser."""
    command = commands.add_parser("inspect", help="layers, devices and crossbars of a network file")
    command.set_defaults(run=_inspect)
    command.add_argument(
        "network", nargs="?", type=Path, metavar="NETWORK", help="a file, or a bundled name (default: digits-resnet8)"
    )
    command.add_argument("--tile", default="256x256", metavar="RxC", help="tile limit (default: %(default)s)")


def add_convert(commands: Any) -> None:
    """Add ``convert`` to a parser."""
    command = commands.add_parser("convert", help="turn a PyTorch checkpoint into a network file")
    command.set_defaults(run=_convert)
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    command.add_argument("output", type=Path, metavar="OUT.h5")
    command.add_argument(
        "--arch",
        required=True,
        metavar="NAME",
        help="joshi-resnetD (channels 16/28/56) or he-resnetD (16/32/64, option A); D = 8, 14, 20, 32, 44, ...",
    )
    command.add_argument("--mean", metavar="R,G,B", help="of the training data, pixels 0 to 1 (default: ImageNet's)")
    command.add_argument("--std", metavar="R,G,B", help="likewise")


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
    print(report.network_table(pcmref.load(path), path, tile_rows=int(match[1]), tile_columns=int(match[2])))


def _convert(options: argparse.Namespace) -> None:
    from pcmref.files import checkpoints

    check_outputs([options.output], inputs=[options.checkpoint])
    mean = checkpoints.IMAGENET_MEAN if options.mean is None else triple("--mean", options.mean)
    std = checkpoints.IMAGENET_STD if options.std is None else triple("--std", options.std)
    network = checkpoints.convert(options.checkpoint, options.arch, mean=mean, std=std)
    pcmref.save(options.output, network)
    print(f"{options.output}: {network.weights:,} weights, mean {report.numbers(mean)}, std {report.numbers(std)}")


def _fetch(options: argparse.Namespace) -> None:
    from pcmref.files import download

    with progress_bar("bytes", options.interrupted) as progress:
        path = download.fetch_cifar10(options.to, url=options.url or download.CIFAR10_URL, progress=progress)
    print(path)
