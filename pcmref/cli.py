"""The command line: ``pcmref retention | inspect | convert | fetch``."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pcmref
from pcmref.console import attended, progress_bar, say
from pcmref.crossbar.readout import PRESETS, preset
from pcmref.devices.published import MODELS, NANDAKUMAR_2019, model
from pcmref.errors import DataError, ParameterError, describe
from pcmref.files.atomic import check_outputs
from pcmref.files.cifar10 import load_cifar10
from pcmref.files.networks import bundled
from pcmref.inference.adabs import ADABS_BATCHES, ADABS_IMAGES
from pcmref.inference.compensation import COMPENSATIONS
from pcmref.inference.ranges import stored_if_any
from pcmref.inference.threads import processors
from pcmref.network.graph import Network
from pcmref.network.images import Samples
from pcmref.profiling import Profile, recording
from pcmref.studies import report
from pcmref.studies.document import part_of, rows_left, write_document
from pcmref.studies.plots import check_format, plot_retention
from pcmref.studies.retention import Retention, Row, retention
from pcmref.studies.study import TIMES_S, Study, needs_calibration

__all__ = ["main"]

#: Most chips or images of one command.
COUNT_LIMIT = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 1 after an error, 130 after Ctrl-C, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)

    def work(interrupted: threading.Event) -> None:
        options.interrupted = interrupted
        options.run(options)

    return attended(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pcmref",
        description="Golden reference for neural-network inference on phase-change-memory crossbars.",
    )
    parser.add_argument("--version", action="version", version=f"pcmref {pcmref.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    _add_retention(commands.add_parser("retention", help="accuracy of programmed chips over time"))

    command = commands.add_parser("inspect", help="layers, devices and crossbars of a network file")
    command.set_defaults(run=_inspect)
    command.add_argument(
        "network", nargs="?", type=Path, metavar="NETWORK", help="a file, or a bundled name (default: digits-resnet8)"
    )
    command.add_argument("--tile", default="256x256", metavar="RxC", help="tile limit (default: %(default)s)")

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

    command = commands.add_parser("fetch", help="download a data set into the user cache")
    command.set_defaults(run=_fetch)
    command.add_argument("dataset", choices=["cifar10"])
    command.add_argument("--to", type=Path, metavar="DIR", help="another directory")
    command.add_argument("--url", help="another server")
    return parser


def _add_retention(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=_retention)

    def choice(option: str, default: str, text: str) -> None:
        command.add_argument(option, default=default, metavar="NAME", help=f"{text} (default: {default})")

    def several(option: str, default: Iterable[str], text: str) -> None:
        joined = ",".join(default)
        command.add_argument(option, default=joined, metavar="A,B,...", help=f"{text} (default: {joined})")

    command.add_argument(
        "network", nargs="?", type=Path, metavar="NETWORK", help="a file, or a bundled name (default: digits-resnet8)"
    )
    command.add_argument(
        "--data", type=Path, metavar="DIR", help="CIFAR-10, a directory or an archive, python or binary format"
    )
    command.add_argument("--images", type=int, metavar="N", help="judge by the first N images (default: all)")
    several("--times", (report.time_text(t).replace(" ", "") for t in TIMES_S), "since programming, units s min h d y")
    several("--compensation", COMPENSATIONS, "digital compensation of drift")
    command.add_argument("--chips", type=int, default=1, metavar="K", help="chips to program (default: 1)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the first chip (default: 0)")
    choice("--preset", "paper", f"converters, tiles and read noise: {' | '.join(PRESETS)}")
    command.add_argument("--read-noise", metavar="NAME", help="frozen | fresh (default: that of the preset)")
    choice("--model", NANDAKUMAR_2019.name, f"statistics of the devices: {' | '.join(MODELS)}")
    choice("--scale", "layer", "layer | column: what the largest weight is taken over")
    several("--significance", ["1"], "of each pair of devices of a weight; 1,1 averages over two pairs")
    choice("--gdc", "absolute", "absolute | ones | column: what GDC reads")
    command.add_argument(
        "--nonconverged", type=float, default=0.0, metavar="SHARE", help="of devices, 0 to 1 (default: 0)"
    )
    command.add_argument("--threads", type=int, metavar="T", help="default: all processors")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves")
    command.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write rows and configuration; those of an interrupted run are in FILE.part, and it goes on from there",
    )
    command.add_argument("--profile", action="store_true", help="print where the time went, layer by layer")


def _network(named: Path | None) -> Path:
    """Return the path of a network file: as named, or else of the network of this name that comes with pcmref."""
    if named is None:
        return bundled()
    if os.path.isfile(named) or named.suffix or named.parent != Path():
        return named
    return bundled(str(named))


def _retention(options: argparse.Namespace) -> None:
    path = _network(options.network)
    part = None if options.json is None else part_of(options.json)
    check_outputs([options.plot, options.json, part], inputs=[path, options.data])
    if options.plot is not None:
        check_format(options.plot)
    study = _study(options, path)
    if options.plot is not None and 0.0 in study.times_s:
        raise ParameterError("--times", "times above 0 for a plot", options.times)
    start = time.perf_counter()
    profiled = recording() if options.profile else contextlib.nullcontext(Profile())
    with (
        _going_on(options.json, study, options.threads) as (known, keep),
        progress_bar("images", options.interrupted) as progress,
        profiled as profile,
    ):
        result = retention(study, threads=options.threads, progress=progress, known=known, keep=keep)
    elapsed_s = time.perf_counter() - start
    if options.json is not None:
        write_document(options.json, result)
        if set(known) <= set(result.rows):
            part_of(options.json).unlink(missing_ok=True)
    try:
        if options.plot is not None:
            plot_retention(result, options.plot, title=path.stem)
    finally:  # last, as its reader may go early; but always
        print(report.retention_table(result))
        if options.profile:
            print("\n" + report.profile_table(profile, elapsed_s, processors(options.threads)))


def _study(options: argparse.Namespace, path: Path) -> Study:
    """Return what a command asks for."""
    devices = replace(model(options.model), nonconverged_share=options.nonconverged)
    readout = preset(options.preset)
    if options.read_noise is not None:
        readout = replace(readout, read_noise=options.read_noise)
    times_s = [_time(text) for text in options.times.split(",")]
    compensations = [name.strip() for name in options.compensation.split(",")]
    chips = _at_least_one("--chips", options.chips)
    network = pcmref.load(path)
    stored = stored_if_any(network, readout, model=devices, scale=options.scale)
    samples, calibration = _samples(network, options.data, needs_calibration(stored, compensations))
    if options.images is not None:
        samples = samples.first(_at_least_one("--images", options.images))
    return Study(
        network=network,
        samples=samples,
        calibration=calibration,
        times_s=tuple(times_s),
        compensations=tuple(compensations),
        seeds=tuple(range(options.seed, options.seed + chips)),
        model=devices,
        readout=readout,
        scale=options.scale,
        significance=_factors(options.significance),
        gdc_readout=options.gdc,
        title=path.name,
    )


@contextlib.contextmanager
def _going_on(
    path: Path | None, study: Study, threads: int | None
) -> Iterator[tuple[list[Row], Callable[[Retention], None]]]:
    """Give the rows that an interrupted run has left, and what keeps those of this one until it is complete."""
    if path is None:
        yield [], lambda result: None
        return
    part = part_of(path)
    known = rows_left(part, study, threads=threads)
    if known:
        say(f"{len(known)} rows are in {part} already")

    def keep(result: Retention) -> None:
        others = tuple(row for row in known if row not in result.rows)
        write_document(part, replace(result, rows=result.rows + others))

    try:
        yield known, keep
    except BaseException:
        if part.exists():
            say(f"what is finished is in {part}; the same command goes on from there")
        raise


def _samples(network: Network, data: Path | None, calibrate: bool) -> tuple[Samples, Samples | None]:
    """Return the images to judge by and to calibrate with: those in the network file, or CIFAR-10."""
    if data is None and network.evaluation is not None:
        return network.evaluation, network.calibration
    if network.input_shape != (32, 32, 3) or len(network.classes) != 10:
        raise DataError(
            "images",
            "an evaluation set in the network file; --data is CIFAR-10, which takes inputs of shape (32, 32, 3)",
            f"inputs of shape {network.input_shape} and {len(network.classes)} classes",
        )
    test = load_cifar10(data, split="test")
    if not calibrate:
        return test, None
    return test, load_cifar10(data, split="train").first(ADABS_BATCHES * ADABS_IMAGES)


def _inspect(options: argparse.Namespace) -> None:
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", options.tile)
    if match is None:
        raise ParameterError("--tile", "ROWSxCOLUMNS, for example 256x256", describe(options.tile))
    path = _network(options.network)
    print(report.network_table(pcmref.load(path), path, tile_rows=int(match[1]), tile_columns=int(match[2])))


def _convert(options: argparse.Namespace) -> None:
    from pcmref.files import checkpoints

    check_outputs([options.output], inputs=[options.checkpoint])
    mean = checkpoints.IMAGENET_MEAN if options.mean is None else _triple("--mean", options.mean)
    std = checkpoints.IMAGENET_STD if options.std is None else _triple("--std", options.std)
    network = checkpoints.convert(options.checkpoint, options.arch, mean=mean, std=std)
    pcmref.save(options.output, network)
    print(f"{options.output}: {network.weights:,} weights, mean {report.numbers(mean)}, std {report.numbers(std)}")


def _fetch(options: argparse.Namespace) -> None:
    from pcmref.files import download

    with progress_bar("bytes", options.interrupted) as progress:
        path = download.fetch_cifar10(options.to, url=options.url or download.CIFAR10_URL, progress=progress)
    print(path)


def _time(text: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\s*(s|min|h|d|y)\s*", text)
    if match is None:
        raise ParameterError("--times", f"numbers with a unit ({', '.join(report.UNITS_S)})", describe(text))
    return float(match[1]) * report.UNITS_S[match[2]]


def _factors(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ParameterError("--significance", "integers, comma-separated", describe(text)) from None


def _triple(option: str, text: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise ParameterError(option, "three numbers, comma-separated", describe(text)) from None
    return red, green, blue


def _at_least_one(option: str, value: int) -> int:
    if not 1 <= value <= COUNT_LIMIT:
        raise ParameterError(option, f"at least 1, at most {COUNT_LIMIT:,}", str(value))
    return value
