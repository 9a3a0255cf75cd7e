"""The command line: ``pcmref retention | inspect | convert | fetch``."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import pcmref
from pcmref import pcm
from pcmref.compensation import ADABS_BATCHES, ADABS_IMAGES, COMPENSATIONS
from pcmref.converters import PRESETS, preset
from pcmref.datasets import load_cifar10
from pcmref.errors import DataError, ParameterError, PcmrefError, PcmrefWarning, describe
from pcmref.evaluate import DAY_S, HOUR_S, TIMES_S, YEAR_S, Retention, retention, stored
from pcmref.files import check_outputs, replacing
from pcmref.network import Conv, Network, Samples
from pcmref.plots import LABELS, check_format, plot_retention
from pcmref.profiling import Profile, recording
from pcmref.simulate import processors
from pcmref.weights import bundled

__all__ = ["main"]

UNITS_S = {"s": 1.0, "min": 60.0, "h": HOUR_S, "d": DAY_S, "y": YEAR_S}
#: Most chips or images of one command.
COUNT_LIMIT = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 1 after an error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without "±" still gets its table
    with warnings.catch_warnings(), _interruptible() as options.interrupted:
        warnings.simplefilter("default", PcmrefWarning)
        warnings.showwarning = _show_warning
        try:
            options.run(options)
            if sys.stdout is not None:
                sys.stdout.flush()
        except PcmrefError as error:
            print(f"pcmref: error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("pcmref: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
        except (OSError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            print(f"pcmref: error: {reason}", file=sys.stderr)
            return 1
        except Exception:
            if not options.interrupted.is_set():
                raise
            print("pcmref: interrupted", file=sys.stderr)
            return 130
    return 0


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Remember Ctrl-C: one that comes while numba compiles may be lost, or become another error."""
    asked = threading.Event()

    def handle(number: int, frame: object) -> None:
        asked.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"pcmref: warning: {message}", file=sys.stderr)


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
    several("--times", (_time_text(t).replace(" ", "") for t in TIMES_S), "since programming, units s min h d y")
    several("--compensation", COMPENSATIONS, "digital compensation of drift")
    command.add_argument("--chips", type=int, default=1, metavar="K", help="chips to program (default: 1)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the first chip (default: 0)")
    choice("--preset", "paper", f"converters, tiles and read noise: {' | '.join(PRESETS)}")
    choice("--model", pcm.NANDAKUMAR_2019.name, f"statistics of the devices: {' | '.join(pcm.MODELS)}")
    choice("--scale", "layer", "layer | column: what the largest weight is taken over")
    choice("--gdc", "absolute", "absolute | ones | column: what GDC reads")
    command.add_argument(
        "--nonconverged", type=float, default=0.0, metavar="SHARE", help="of devices, 0 to 1 (default: 0)"
    )
    command.add_argument("--threads", type=int, metavar="T", help="default: all processors")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves")
    command.add_argument("--json", type=Path, metavar="FILE", help="write rows and configuration")
    command.add_argument("--profile", action="store_true", help="print where the time went, stages running one by one")


def _network(named: Path | None) -> Path:
    """Return the path of a network file: as named, or else of the network of this name that comes with pcmref."""
    if named is None:
        return bundled()
    if named.exists() or named.suffix or named.parent != Path():
        return named
    return bundled(str(named))


def _retention(options: argparse.Namespace) -> None:
    path = _network(options.network)
    check_outputs([options.plot, options.json], inputs=[path])
    if options.plot is not None:
        check_format(options.plot)
    model = replace(pcm.model(options.model), nonconverged_share=options.nonconverged)
    readout = preset(options.preset)
    times_s = [_time(text) for text in options.times.split(",")]
    compensations = [name.strip() for name in options.compensation.split(",")]
    chips = _at_least_one("--chips", options.chips)
    network = pcmref.load(path)
    readout = stored(network, readout, model=model, scale=options.scale)
    needs_ranges = readout.adc_bits is not None and readout.ranges is None
    needs_calibration = needs_ranges or any("adabs" in c for c in compensations)
    samples, calibration = _samples(network, options.data, needs_calibration)
    if options.images is not None:
        samples = samples.first(_at_least_one("--images", options.images))
    start = time.perf_counter()
    profiled = recording() if options.profile else contextlib.nullcontext(Profile())
    with _progress("images", options.interrupted) as progress, profiled as profile:
        result = retention(
            network,
            samples,
            calibration=calibration,
            times_s=times_s,
            compensations=compensations,
            seeds=range(options.seed, options.seed + chips),
            model=model,
            readout=readout,
            scale=options.scale,
            gdc_readout=options.gdc,
            threads=options.threads,
            progress=progress,
        )
    elapsed_s = time.perf_counter() - start
    if options.json is not None:
        document = _document(result, network, path, model, samples, options)
        with replacing(options.json) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.plot is not None:
        plot_retention(result, options.plot, title=path.stem)
    print(_table(result, network, path, model.name))
    if options.profile:
        print("\n" + _profile_table(profile, elapsed_s, processors(options.threads)))


def _samples(network: Network, data: Path | None, needs_calibration: bool) -> tuple[Samples, Samples | None]:
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
    if not needs_calibration:
        return test, None
    return test, load_cifar10(data, split="train").first(ADABS_BATCHES * ADABS_IMAGES)


def _table(result: Retention, network: Network, path: Path, model: str) -> str:
    seeds = sorted({row.seed for row in result.rows})
    chips = f"chip {seeds[0]}" if len(seeds) == 1 else f"chips {seeds[0]}-{seeds[-1]}"
    compensations = list(dict.fromkeys(row.compensation for row in result.rows))
    width = 15 if len(seeds) > 1 else 11
    lines = [
        f"{path.name}: {network.weights:,} weights on {network.devices:,} PCM devices",
        f"preset {result.readout.name}, model {model}, {chips}, {result.images:,} images",
        "",
        f"{'digital':>8}  {100 * result.digital_accuracy:.2f} %",
        "",
        f"{'time':>8}" + "".join(f"{LABELS[c]:>{width}}" for c in compensations),
    ]
    for time_s in dict.fromkeys(row.time_s for row in result.rows):
        cells = []
        for compensation in compensations:
            values = 100 * result.accuracies(time_s, compensation)
            cell = f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")
            cells.append(f"{cell:>{width}}")
        lines.append(f"{_time_text(time_s):>8}" + "".join(cells))
    lines.append("")
    lines.append("accuracy in %" + (", mean ± standard deviation over chips" if len(seeds) > 1 else ""))
    return "\n".join(lines)


def _profile_table(profile: Profile, elapsed_s: float, threads: int) -> str:
    available_s = elapsed_s * threads
    stages = dict(sorted(profile.seconds.items(), key=lambda item: -item[1]))
    stages["Python, waiting, the rest"] = available_s - sum(stages.values())
    lines = [f"{'stage':28}{'thread seconds':>16}{'share':>9}"]
    lines += [f"{name:28}{seconds:16.3f}{seconds / available_s:9.1%}" for name, seconds in stages.items()]
    lines.append(f"{'all':28}{available_s:16.3f}   ({elapsed_s:.3f} s on {threads} threads)")
    return "\n".join(lines)


def _document(
    result: Retention,
    network: Network,
    path: Path,
    model: pcm.PcmModel,
    samples: Samples,
    options: argparse.Namespace,
) -> dict[str, Any]:
    return {
        "format": "pcmref-retention",
        "version": 1,
        "pcmref": pcmref.__version__,
        "network": {"file": path.name, "sha256": network.sha256, "provenance": dict(network.provenance)},
        "images": {
            "source": samples.where,
            "count": len(samples),
            "sha256": hashlib.sha256(samples.images.tobytes()).hexdigest(),
        },
        "model": asdict(model),
        "readout": asdict(result.readout),
        "scale": options.scale,
        "gdc_readout": options.gdc,
        "digital": {
            "images": result.images,
            "correct": result.digital_correct,
            "accuracy": result.digital_accuracy,
        },
        "rows": [{**asdict(row), "accuracy": row.accuracy} for row in result.rows],
    }


def _inspect(options: argparse.Namespace) -> None:
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", options.tile)
    if match is None:
        raise ParameterError("--tile", "ROWSxCOLUMNS, for example 256x256", describe(options.tile))
    tile_rows, tile_columns = map(int, match.groups())
    path = _network(options.network)
    network = pcmref.load(path)
    print(f"{path.name}  sha256 {network.sha256}")
    scale = network.normalisation
    print(f"input {'x'.join(map(str, network.input_shape))} uint8, (pixel / {scale.full_scale:g} - mean) / std,")
    print(f"  mean {_numbers(scale.mean)}, std {_numbers(scale.std)}")
    print(f"classes {', '.join(network.classes)}")
    for name in ("evaluation", "calibration"):
        samples = getattr(network, name)
        if samples is not None:
            print(f"{name} {len(samples):,} images in the file")
    for name in network.ranges:
        print(f"ranges of converters for preset {name} in the file")
    for key, text in sorted(network.provenance.items()):
        print(f"{key}: {text}")
    print(f"\n{'layer':28}{'kernel':>8}{'stride':>8}{'output':>12}{'crossbar':>12}{'weights':>11}{'tiles':>7}")
    total = 0
    for layer in network.crossbar_layers:
        kernel, stride = ("x".join(map(str, layer.kernel)), layer.stride) if isinstance(layer, Conv) else ("-", "-")
        tiles = math.ceil(layer.rows / tile_rows) * math.ceil(layer.columns / tile_columns)
        total += tiles
        output = "x".join(map(str, network.shapes[layer.name]))
        crossbar = f"{layer.rows}x{layer.columns}"
        weights = layer.rows * layer.columns
        print(f"{layer.name:28}{kernel:>8}{stride:>8}{output:>12}{crossbar:>12}{weights:>11,}{tiles:>7}")
    print(f"\n{network.weights:,} weights, {network.devices:,} PCM devices, {total} tiles of {options.tile} or less")


def _convert(options: argparse.Namespace) -> None:
    from pcmref import convert

    check_outputs([options.output], inputs=[options.checkpoint])
    mean = convert.IMAGENET_MEAN if options.mean is None else _triple("--mean", options.mean)
    std = convert.IMAGENET_STD if options.std is None else _triple("--std", options.std)
    network = convert.convert(options.checkpoint, options.arch, mean=mean, std=std)
    pcmref.save(options.output, network)
    print(f"{options.output}: {network.weights:,} weights, mean {_numbers(mean)}, std {_numbers(std)}")


def _fetch(options: argparse.Namespace) -> None:
    from pcmref import fetch

    with _progress("bytes", options.interrupted) as progress:
        path = fetch.fetch_cifar10(options.to, url=options.url or fetch.CIFAR10_URL, progress=progress)
    print(path)


@contextlib.contextmanager
def _progress(unit: str, interrupted: threading.Event) -> Iterator[Callable[[int, int], None]]:
    """Give a callback ``(done, total)`` that draws a bar on a terminal, if tqdm is there, and stops if asked to."""
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None

    def check() -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt

    if tqdm is None:
        yield lambda done, total: check()
        return
    with tqdm(unit=f" {unit}", unit_scale=True, disable=None, leave=False, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            check()
            bar.total = total or None
            bar.update(done - bar.n)

        yield show


def _time(text: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\s*(s|min|h|d|y)\s*", text)
    if match is None:
        raise ParameterError("--times", f"numbers with a unit ({', '.join(UNITS_S)})", describe(text))
    return float(match[1]) * UNITS_S[match[2]]


def _time_text(time_s: float) -> str:
    for unit, seconds in reversed(UNITS_S.items()):
        if time_s >= seconds and (time_s / seconds).is_integer():
            return f"{time_s / seconds:.0f} {unit}"
    return f"{time_s:g} s"


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


def _numbers(values: Sequence[float]) -> str:
    return "/".join(f"{value:g}" for value in np.asarray(values))
