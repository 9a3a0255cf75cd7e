"""Accuracy of a network on chips over time, and how often a chip gives the answer of the float network.

    python examples/imagenet/study.py NETWORK.h5 IMAGES.h5 ROWS.jsonl [--images N] [--chips K] [--presets paper,chip8]

A row is written as soon as it is known, and the same command goes on from the rows that are there.  The table comes
last; ``--table`` prints that of the rows so far and runs nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import numpy as np

import pcmref
from pcmref.errors import DataError, PcmrefError
from pcmref.files.samples import load_samples
from pcmref.inference.gdc import GdcReference
from pcmref.studies.named import time_s
from pcmref.studies.report import time_text


@dataclass(frozen=True, kw_only=True)
class Row:
    """How many of so many images a chip classifies correctly, and how many as the float network does."""

    seed: int
    preset: str
    t_s: float
    compensation: str
    images: int
    correct: int
    agree: int
    seconds: float

    @property
    def case(self) -> tuple[int, str, float, str]:
        """What the row is about."""
        return self.seed, self.preset, self.t_s, self.compensation


def answers_of(logits: np.ndarray) -> np.ndarray:
    """Return the class of each image."""
    return logits.argmax(axis=1)


def float_answers(path: Path, network: pcmref.Network, images: np.ndarray) -> np.ndarray:
    """Return the answers of the float network, from a file of which they are kept beside the rows."""
    if path.exists():
        found = np.array(json.loads(path.read_text()))
        if len(found) != len(images):
            raise DataError(str(path), f"{len(images)} answers", str(len(found)))
        return found
    found = answers_of(pcmref.digital(network, images))
    path.write_text(json.dumps(found.tolist()))
    return found


def rows_of(
    network: pcmref.Network,
    samples: pcmref.Samples,
    calibration: pcmref.Samples,
    expected: np.ndarray,
    cases: Sequence[tuple[int, str, float, str]],
) -> Iterator[Row]:
    """Yield the row of each case: of one chip and time together, so that devices are programmed and read once."""
    readouts = {
        preset: pcmref.calibrate_ranges(network, calibration.images[:200], readout) if readout.needs_ranges else readout
        for preset, readout in pcmref.PRESETS.items()
        if any(case[1] == preset for case in cases)
    }
    for seed in sorted({case[0] for case in cases}):
        chip = pcmref.program(network, seed=seed)
        reference = GdcReference.of(chip.reference())
        for t_s in sorted({case[2] for case in cases if case[0] == seed}):
            snapshot = chip.at(t_s)
            for _, preset, _, compensation in [case for case in cases if (case[0], case[2]) == (seed, t_s)]:
                start = time.perf_counter()
                options = {"images": calibration.images, "readout": readouts[preset]}
                corrections = pcmref.calibrate(snapshot, compensation, reference=reference, **options)
                chip_now = pcmref.prepare(snapshot, corrections=corrections, readout=readouts[preset])
                found = answers_of(chip_now(samples.images))
                yield Row(
                    seed=seed,
                    preset=preset,
                    t_s=t_s,
                    compensation=compensation,
                    images=len(samples),
                    correct=int((found == samples.labels).sum()),
                    agree=int((found == expected).sum()),
                    seconds=round(time.perf_counter() - start, 1),
                )


def table(rows: Iterable[Row]) -> str:
    """Return accuracy and agreement in %, the mean over chips, as Markdown."""
    lines = ["| preset | time | chips | " + " | ".join(pcmref.COMPENSATIONS) + " |", "|---" * (3 + 4) + "|"]
    grouped: dict[tuple[str, float], dict[str, list[Row]]] = {}
    for row in rows:
        grouped.setdefault((row.preset, row.t_s), {}).setdefault(row.compensation, []).append(row)
    for (preset, t_s), found in sorted(grouped.items(), key=lambda item: (item[0][0] != "paper", item[0][1])):
        cells = [cell(found.get(name, [])) for name in pcmref.COMPENSATIONS]
        chips = max(len(each) for each in found.values())
        lines.append(f"| `{preset}` | {time_text(t_s)} | {chips} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(rows: Sequence[Row]) -> str:
    """Return what a table says of the chips of one case."""
    if not rows:
        return ""
    accuracy, agreement = (mean(getattr(row, name) / row.images for row in rows) for name in ("correct", "agree"))
    return f"{100 * accuracy:.1f} / {100 * agreement:.1f}"


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", type=Path)
    parser.add_argument("data", type=Path, help="the file of pcmref images")
    parser.add_argument("rows", type=Path, help="where rows are kept, one a line")
    parser.add_argument("--images", type=int, default=600, help="judge by the first N (default: 600)")
    parser.add_argument("--chips", type=int, default=2)
    parser.add_argument("--presets", default="paper,chip8")
    parser.add_argument("--times", default="25s,1h,1d,1y")
    parser.add_argument("--compensations", default=",".join(pcmref.COMPENSATIONS))
    parser.add_argument("--table", action="store_true", help="print the table of the rows that there are")
    options = parser.parse_args()
    known = [Row(**json.loads(line)) for line in options.rows.read_text().splitlines()] if options.rows.exists() else []
    try:
        if not options.table:
            known += study(options, known)
    except PcmrefError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(known))
    return 0


def study(options: argparse.Namespace, known: Sequence[Row]) -> list[Row]:
    """Find the rows that are missing, and write each when it is known."""
    network = pcmref.load(options.network)
    samples, calibration = load_samples(options.data, images=options.images)
    if calibration is None:
        raise DataError(str(options.data), "calibration images (pcmref images --calibrate)", "none")
    expected = float_answers(options.rows.with_suffix(".float.json"), network, samples.images)
    correct = (expected == samples.labels).sum()
    print(f"float: {correct} of {len(samples)}, {100 * correct / len(samples):.1f} %", flush=True)
    done = {row.case for row in known}
    cases = [
        (seed, preset, t_s, compensation)
        for seed in range(options.chips)
        for t_s in map(time_s, options.times.split(","))
        for preset in options.presets.split(",")
        for compensation in options.compensations.split(",")
    ]
    found = []
    for row in rows_of(network, samples, calibration, expected, [case for case in cases if case not in done]):
        with options.rows.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        print(row, flush=True)
        found.append(row)
    return found


if __name__ == "__main__":
    sys.exit(main())
