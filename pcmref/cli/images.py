"""``pcmref images``: photographs, frozen as pixels."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pcmref.cli.options import at_least_one
from pcmref.console import progress_bar
from pcmref.errors import ParameterError, listed
from pcmref.files.atomic import check_outputs, sha256_of
from pcmref.files.labels import Photograph, class_folders, read_folders, read_labels, shuffled
from pcmref.files.photographs import Framing, framing, freeze

__all__ = ["add_images"]


def add_images(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser("images", help="freeze photographs as pixels, for retention --data")
    command.set_defaults(run=_images)
    command.add_argument(
        "folder", type=Path, metavar="FOLDER", help="JPEG and PNG files, or a folder of them for each class"
    )
    command.add_argument("output", type=Path, metavar="OUT.h5")
    command.add_argument(
        "--labels",
        type=Path,
        metavar="FILE.csv",
        help="name and label of each, with a header or without (default: labels.csv in FOLDER; without it the folders "
        "there are the classes)",
    )
    command.add_argument("--classes", type=int, default=1000, metavar="N", help="labels are below (default: 1000)")
    command.add_argument(
        "--recipe",
        default="torchvision",
        metavar="NAME",
        help="torchvision (--resize 256 --crop 224) | none (default: %(default)s)",
    )
    command.add_argument("--resize", type=int, metavar="N", help="pixels of the shorter side; bilinear, antialiased")
    command.add_argument("--crop", type=int, metavar="N", help="side of a square in the middle")
    command.add_argument(
        "--shuffle", type=int, metavar="SEED", help="order by the SHA-256 of 'SEED NAME' (default: as in the table)"
    )
    command.add_argument(
        "--calibrate", type=int, default=0, metavar="N", help="keep the first N apart, to calibrate with (default: 0)"
    )


def _images(options: argparse.Namespace) -> None:
    photographs, record, told = _labelled(options)
    with progress_bar("images", options.interrupted) as progress:
        frozen = freeze(
            options.folder,
            photographs,
            options.output,
            framing=_framing(options),
            calibration=options.calibrate,
            provenance=record,
            progress=progress,
        )
    height, width, _ = frozen.shape
    print(f"{options.output}: {frozen.images} images, {frozen.calibration} more to calibrate with, {width} x {height}")
    print(*told, f"digest {frozen.digest}", sep="\n")
    print(f"decoded by Pillow {frozen.provenance['pillow']}, libjpeg {frozen.provenance['libjpeg']}")


def _labelled(options: argparse.Namespace) -> tuple[tuple[Photograph, ...], dict[str, str], list[str]]:
    """Return the photographs in order, what to record of their labels, and what to say of them."""
    classes = at_least_one("--classes", options.classes)
    table = options.folder / "labels.csv" if options.labels is None else options.labels
    names = class_folders(options.folder) if options.labels is None and not table.exists() else ()
    check_outputs([options.output], inputs=[] if names else [table])
    if not names:
        photographs, order = read_labels(table, classes=classes), "of the table"
        record, told = {"labels": table.name, "labels_sha256": sha256_of(table)}, []
    else:
        photographs, order = read_folders(options.folder, classes=classes), "of the classes"
        record, told = {"labels": "folders", "classes": json.dumps(names)}, [f"classes from 0 on: {listed(names)}"]
        if options.calibrate and options.shuffle is None:
            expected = "--shuffle SEED beside it: photographs in folders come class by class"
            raise ParameterError("--calibrate", expected, str(options.calibrate))
    if options.shuffle is not None:
        photographs, order = shuffled(photographs, options.shuffle), f"of the SHA-256 of '{options.shuffle} NAME'"
    return photographs, record | {"order": order}, told


def _framing(options: argparse.Namespace) -> Framing:
    """Return the recipe, with what is said in place of its numbers."""
    said = {name: getattr(options, name) for name in ("resize", "crop") if getattr(options, name) is not None}
    return replace(framing(options.recipe), **said)
