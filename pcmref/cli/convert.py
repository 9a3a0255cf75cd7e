"""``pcmref convert``: other people's networks as network files."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pcmref
from pcmref.cli.options import add_data, colours
from pcmref.console import progress_bar
from pcmref.errors import DataError, ParameterError, describe
from pcmref.files.atomic import check_outputs
from pcmref.importers.checkpoints import Assumptions
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.recipes import IMAGENET, RECIPES, recipe
from pcmref.studies import report, variants
from pcmref.studies.named import samples_of
from pcmref.studies.variants import Source

__all__ = ["add_convert"]

#: Fewer images tell variants of a network apart by chance.
CHECKED_LEAST = 50


def add_convert(commands: Any) -> None:
    """Add ``convert`` to a parser."""
    command = commands.add_parser("convert", help="turn a PyTorch checkpoint or an ONNX model into a network file")
    command.set_defaults(run=_convert)
    command.add_argument("source", type=Path, metavar="FILE", help="a PyTorch checkpoint, or an ONNX model (.onnx)")
    command.add_argument("output", type=Path, metavar="OUT.h5")
    command.add_argument(
        "--arch",
        metavar="NAME",
        help="joshi-resnetD, he-resnetD (D = 8, 14, 20, 32, ...), resnet18 | 34 | 50 | 101, vgg11_bn | 13 | 16 | 19, "
        "mobilenet_v2 (default: the residual network that the shapes of the tensors say)",
    )
    command.add_argument("--key", metavar="NAME", help="which state dict, if there are several")
    command.add_argument(
        "--mean",
        metavar="R,G,B",
        help="of the training data, pixels 0 to 1; one for all colours, or each (default: ImageNet's)",
    )
    command.add_argument("--std", metavar="R,G,B", help="likewise")
    command.add_argument(
        "--recipe", choices=sorted(RECIPES), help="mean, std and order of colours as a framework has them"
    )
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


def _convert(options: argparse.Namespace) -> None:
    check_outputs([options.output], inputs=[options.source, options.data])
    if options.check is not None and options.check < CHECKED_LEAST:
        raise ParameterError("--check", f"at least {CHECKED_LEAST} images: fewer tell little", str(options.check))
    if options.source.suffix.lower() == ".onnx":
        _convert_onnx(options)
    else:
        _convert_checkpoint(options)


def _convert_onnx(options: argparse.Namespace) -> None:
    from pcmref.importers.onnx_models import assumed, open_onnx

    for name in ("arch", "key", "shortcut"):
        if getattr(options, name) is not None:
            raise ParameterError(f"--{name}", "a PyTorch checkpoint, which leaves it open", "an ONNX model")
    if options.eps:
        raise ParameterError("--eps", "a PyTorch checkpoint, which leaves it open", "an ONNX model")
    given, model = _given(options), open_onnx(options.source, size=_image_size(options.size))
    if model.told:
        given.setdefault("normalisation", model.scale)
    _save(options, model, assumed(model, **given), given, list(model.notes))


def _convert_checkpoint(options: argparse.Namespace) -> None:
    from pcmref.importers import checkpoints

    given = _given(options)
    checkpoint = checkpoints.open_checkpoint(
        options.source, options.arch, key=options.key, eps=_eps(options.eps), size=_image_size(options.size)
    )
    _save(options, checkpoint, checkpoints.Assumptions(**given), given, [checkpoint.report()])


def _save(
    options: argparse.Namespace, source: Source, start: Assumptions, given: dict[str, Any], told: list[str]
) -> None:
    """Write the network under assumptions, or under those that are measured to be right, and say which."""
    network = source.network(start)
    if options.check is None:
        told.append(f"assumed: {variants.assumptions_text(source, start)} (--check N measures)")
    else:
        samples = _images_to_check(network, options)
        with progress_bar("variants", options.interrupted) as progress:
            findings = variants.measured(source, samples, start, fixed=frozenset(given), progress=progress)
        print(*told, variants.findings_text(source, findings, samples), sep="\n")
        variants.refuse_guessing(source, findings, samples)
        network, told = source.network(findings.taken), []
    pcmref.save(options.output, network)
    print(*told, f"{options.output}: {network.weights:,} weights, {_scale(network.normalisation)}", sep="\n")


def _scale(scale: Normalisation) -> str:
    words = f"mean {report.numbers(scale.mean)}, std {report.numbers(scale.std)}"
    return words + (f" of pixels / {scale.full_scale:g}" if scale.full_scale != 255 else "")


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the assumptions that options fix."""
    given: dict[str, Any] = {}
    if options.recipe is not None:
        if options.mean is not None or options.std is not None:
            raise ParameterError("--recipe", "no --mean and --std beside it", options.recipe)
        known = recipe(options.recipe)
        given |= {"normalisation": known.normalisation, "order": known.order}
    if options.mean is not None or options.std is not None:
        mean = IMAGENET.mean if options.mean is None else colours("--mean", options.mean)
        std = IMAGENET.std if options.std is None else colours("--std", options.std)
        given["normalisation"] = _normalisation(mean, std)
    for name in ("shortcut", "order"):
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    return given


def _normalisation(mean: tuple[float, ...], std: tuple[float, ...]) -> Normalisation:
    """Return a normalisation of pixels from 0 to 1; one number serves all colours."""
    mean = mean * len(std) if len(mean) == 1 else mean
    std = std * len(mean) if len(std) == 1 else std
    if len(mean) != len(std):
        raise ParameterError("--mean, --std", "one number for all colours, or as many of each", f"{mean} and {std}")
    return Normalisation(full_scale=255.0, mean=mean, std=std)


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
    samples, training = samples_of(network, options.data, True, genuine=not options.any_cifar)
    found = (samples if training is None else training).first(options.check)
    if len(found) < CHECKED_LEAST:
        raise DataError("--check", f"at least {CHECKED_LEAST} images with labels", f"{len(found)} ({found.where})")
    return found
