"""``pcmref retention``: accuracy of programmed chips over time."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pcmref
from pcmref.cli.options import (
    add_data,
    add_readout,
    at_least_one,
    readout_of_options,
)
from pcmref.console import progress_bar, say
from pcmref.devices.published import MODELS, NANDAKUMAR_2019, model
from pcmref.errors import ParameterError
from pcmref.files.atomic import check_outputs
from pcmref.inference.compensation import COMPENSATIONS
from pcmref.inference.ranges import stored_if_any
from pcmref.inference.threads import processors
from pcmref.profiling import Profile, recording
from pcmref.studies import report
from pcmref.studies.document import part_of, rows_left, write_document
from pcmref.studies.named import factors, network_path, samples_of, time_s
from pcmref.studies.page import check_page, write_page
from pcmref.studies.plots import check_format, plot_retention
from pcmref.studies.retention import Retention, Row, retention
from pcmref.studies.retention_results import results_of
from pcmref.studies.study import TIMES_S, Study, needs_calibration

__all__ = ["add_retention"]


def add_retention(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser("retention", help="accuracy of programmed chips over time")
    command.set_defaults(run=_retention)

    def choice(option: str, default: str, text: str) -> None:
        command.add_argument(option, default=default, metavar="NAME", help=f"{text} (default: {default})")

    def several(option: str, default: Iterable[str], text: str) -> None:
        joined = ",".join(default)
        command.add_argument(option, default=joined, metavar="A,B,...", help=f"{text} (default: {joined})")

    command.add_argument(
        "network", nargs="?", type=Path, metavar="NETWORK", help="a file, or a bundled name (default: digits-resnet8)"
    )
    add_data(command)
    command.add_argument("--images", type=int, metavar="N", help="judge by the first N images (default: all)")
    several("--times", (report.time_text(t).replace(" ", "") for t in TIMES_S), "since programming, units s min h d y")
    several("--compensation", COMPENSATIONS, "digital compensation of drift")
    command.add_argument("--chips", type=int, default=1, metavar="K", help="chips to program (default: 1)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the first chip (default: 0)")
    add_readout(command, "paper")
    command.add_argument("--read-noise", metavar="NAME", help="frozen | fresh (default: that of the readout)")
    choice("--model", NANDAKUMAR_2019.name, f"statistics of the devices: {' | '.join(MODELS)}")
    choice("--scale", "layer", "layer | column: what the largest weight is taken over")
    several("--significance", ["1"], "of each pair of devices of a weight; 1,1 averages over two pairs")
    choice("--gdc", "absolute", "absolute | ones | column: what GDC reads")
    command.add_argument(
        "--nonconverged", type=float, default=0.0, metavar="SHARE", help="of devices, 0 to 1 (default: 0)"
    )
    command.add_argument(
        "--digital", metavar="A,B,...", help="layers kept off the crossbars, in float32: names, or first,last"
    )
    command.add_argument("--threads", type=int, metavar="T", help="default: all processors")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves")
    command.add_argument("--report", type=Path, metavar="FILE.html", help="figures, tables and their sources as a page")
    command.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write rows and configuration; those of an interrupted run are in FILE.part, and it goes on from there",
    )
    command.add_argument("--profile", action="store_true", help="print where the time went, layer by layer")


def _retention(options: argparse.Namespace) -> None:
    path = network_path(options.network)
    part = None if options.json is None else part_of(options.json)
    check_outputs([options.plot, options.report, options.json, part], inputs=[path, options.data, options.readout])
    if options.plot is not None:
        check_format(options.plot)
    if options.report is not None:
        check_page(options.report)
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
        if options.report is not None:
            write_page(options.report, results_of(result, options.command))
    finally:  # last, as its reader may go early; but always
        print(report.retention_table(result))
        if options.profile:
            print("\n" + report.profile_table(profile, elapsed_s, processors(options.threads)))


def _study(options: argparse.Namespace, path: Path) -> Study:
    """Return what a command asks for."""
    devices = replace(model(options.model), nonconverged_share=options.nonconverged)
    readout = readout_of_options(options, "paper")
    if options.read_noise is not None:
        readout = replace(readout, read_noise=options.read_noise)
    times_s = [time_s(text) for text in options.times.split(",")]
    compensations = [name.strip() for name in options.compensation.split(",")]
    chips = at_least_one("--chips", options.chips)
    network = pcmref.load(path)
    if options.digital is not None:
        network = pcmref.keep_digital(network, [name.strip() for name in options.digital.split(",")])
    stored = stored_if_any(network, readout, model=devices, scale=options.scale)
    images = None if options.images is None else at_least_one("--images", options.images)
    samples, calibration = samples_of(
        network, options.data, needs_calibration(stored, compensations), genuine=not options.any_cifar, images=images
    )
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
        significance=factors(options.significance),
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
