"""``pcmref inspect``, ``convert`` and ``fetch``: networks and images as files."""

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
    at_least_one,
    network_path,
    readout_of_options,
    samples_of,
    triple,
)
from pcmref.console import progress_bar
from pcmref.crossbar.readout import Readout
from pcmref.devices.published import NANDAKUMAR_2019
from pcmref.errors import DataError, ParameterError, describe
from pcmref.files.atomic import check_outputs, replacing
from pcmref.inference.ranges import RANGE_IMAGES, calibrate_ranges, stored_if_any
from pcmref.inference.saturation import Saturation
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.studies import report

__all__ = ["add_convert", "add_fetch", "add_inspect"]

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


def add_convert(commands: Any) -> None:
    """Add ``convert`` to a parser."""
    command = commands.add_parser("convert", help="turn a PyTorch checkpoint into a network file")
    command.set_defaults(run=_convert)
    command.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    command.add_argument("output", type=Path, metavar="OUT.h5")
    command.add_argument(
        "--arch",
        metavar="NAME",
        help="joshi-resnetD, he-resnetD (D = 8, 14, 20, 32, ...), resnet18 | 34 | 50 | 101, vgg11_bn | 13 | 16 | 19, "
        "mobilenet_v2 (default: the residual network that the shapes of the tensors say)",
    )
    command.add_argument("--key", metavar="NAME", help="which state dict, if there are several")
    command.add_argument("--mean", metavar="R,G,B", help="of the training data, pixels 0 to 1 (default: ImageNet's)")
    command.add_argument("--std", metavar="R,G,B", help="likewise")
    command.add_argument("--order", choices=["rgb", "bgr"], help="of the colours in training (default: rgb)")
    command.add_argument(
        "--shortcut",
        choices=["pad-both", "pad-after", "conv"],
        help="channels of zeros half before and half after (default), all after, or convolutions",
    )
    command.add_argument(
        "--eps",
        action="append",
        default=[],
        metavar="[NAME=]VALUE",
        help="of batch norms, all or those of this name, as 'layer1.*=1e-3' (default: 1e-5)",
    )
    command.add_argument("--size", metavar="HxW", help="of images (default: 32x32, for networks for ImageNet 224x224)")
    command.add_argument(
        "--check", type=int, metavar="N", help="measure with N images what tensors do not tell, and take the best"
    )
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


def _convert(options: argparse.Namespace) -> None:
    from pcmref.files import checkpoints
    from pcmref.studies import variants

    check_outputs([options.output], inputs=[options.checkpoint, options.data])
    given = _given(options)
    assumed = checkpoints.Assumptions(**given)
    checkpoint = checkpoints.open_checkpoint(
        options.checkpoint, options.arch, key=options.key, eps=_eps(options.eps), size=_image_size(options.size)
    )
    network = checkpoint.network(assumed)
    if options.check is None:
        told = (
            f"{checkpoint.report()}\nassumed: {variants.assumptions_text(checkpoint, assumed)} (--check N measures)\n"
        )
    else:
        samples = _images_to_check(network, options)
        with progress_bar("variants", options.interrupted) as progress:
            findings = variants.measured(checkpoint, samples, assumed, fixed=frozenset(given), progress=progress)
        print(checkpoint.report(), variants.findings_text(checkpoint, findings, samples), sep="\n")
        variants.refuse_guessing(checkpoint, findings, samples)
        network, told = checkpoint.network(findings.taken), ""
    pcmref.save(options.output, network)
    scale = network.normalisation
    words = f"mean {report.numbers(scale.mean)}, std {report.numbers(scale.std)}"
    words += f" of pixels / {scale.full_scale:g}" if scale.full_scale != 255 else ""
    print(f"{told}{options.output}: {network.weights:,} weights, {words}")


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the assumptions that options fix."""
    from pcmref.files.checkpoints import IMAGENET_MEAN, IMAGENET_STD

    given: dict[str, Any] = {}
    if options.mean is not None or options.std is not None:
        mean = IMAGENET_MEAN if options.mean is None else triple("--mean", options.mean)
        std = IMAGENET_STD if options.std is None else triple("--std", options.std)
        given["normalisation"] = Normalisation(full_scale=255.0, mean=mean, std=std)
    for name in ("shortcut", "order"):
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    return given


def _eps(texts: list[str]) -> dict[str, float]:
    """Return the eps of batch norms, by pattern of their names."""
    found = {}
    for text in texts:
        pattern, _, value = text.rpartition("=")
        try:
            found[pattern or "*"] = float(value)
        except ValueError:
            raise ParameterError("--eps", "a number, or NAME=NUMBER", describe(text)) from None
    return found


def _image_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise ParameterError("--size", "HEIGHTxWIDTH, for example 32x32", describe(text))
    return int(match[1]), int(match[2])


def _images_to_check(network: Network, options: argparse.Namespace) -> Samples:
    """Return images to choose assumptions by: those to calibrate with, if there are any, not those to judge by."""
    at_least_one("--check", options.check)
    samples, training = samples_of(network, options.data, True, genuine=not options.any_cifar)
    found = (samples if training is None else training).first(options.check)
    if not len(found):
        raise DataError("--check", "images with labels", "none")
    return found


def _fetch(options: argparse.Namespace) -> None:
    from pcmref.files import download

    with progress_bar("bytes", options.interrupted) as progress:
        path = download.fetch_cifar10(options.to, url=options.url or download.CIFAR10_URL, progress=progress)
    print(path)
