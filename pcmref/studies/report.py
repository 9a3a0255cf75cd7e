"""What the commands say: tables as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pcmref.devices.pcm import PcmModel
from pcmref.network.graph import Network
from pcmref.network.layers import Conv
from pcmref.profiling import Profile
from pcmref.studies.plots import LABELS
from pcmref.studies.retention import Retention
from pcmref.studies.study import DAY_S, HOUR_S, YEAR_S

__all__ = [
    "UNITS_S",
    "network_table",
    "numbers",
    "profile_table",
    "retention_table",
    "time_text",
]

#: Units of time, seconds.
UNITS_S = {"s": 1.0, "min": 60.0, "h": HOUR_S, "d": DAY_S, "y": YEAR_S}
#: Stages that a profile lists one by one.
STAGES_SHOWN = 20


def retention_table(result: Retention) -> str:
    """Return the accuracies of a run: a row for each time, a column for each compensation."""
    network = result.study.network
    devices = network.devices * len(result.study.significance)
    kind = "PCM devices" if isinstance(result.study.model, PcmModel) else "devices"
    seeds = sorted({row.seed for row in result.rows})
    chips = f"chip {seeds[0]}" if len(seeds) == 1 else f"chips {seeds[0]}-{seeds[-1]}"
    compensations = list(dict.fromkeys(row.compensation for row in result.rows))
    width = 15 if len(seeds) > 1 else 11
    lines = [
        f"{result.study.title}: {network.weights:,} weights on {devices:,} {kind}",
        f"preset {result.readout.name}, model {result.study.model.name}, {chips}, {result.images:,} images",
        "",
        f"{'digital':>8}  {100 * result.digital_accuracy:.2f} %",
        "",
        f"{'time':>8}" + "".join(f"{LABELS[c]:>{width}}" for c in compensations),
    ]
    for t_s in dict.fromkeys(row.t_s for row in result.rows):
        cells = []
        for compensation in compensations:
            values = 100 * result.accuracies(t_s, compensation)
            cell = f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")
            cells.append(f"{cell:>{width}}")
        lines.append(f"{time_text(t_s):>8}" + "".join(cells))
    lines.append("")
    lines.append("accuracy in %" + (", mean ± standard deviation over chips" if len(seeds) > 1 else ""))
    return "\n".join(lines)


def profile_table(profile: Profile, elapsed_s: float, threads: int) -> str:
    """Return where the time of a run went: a row for each stage or layer, the largest first."""
    available_s = elapsed_s * threads
    ordered = sorted(profile.seconds.items(), key=lambda item: -item[1])
    rows, others = ordered[:STAGES_SHOWN], ordered[STAGES_SHOWN:]
    if others:
        rows.append((f"{len(others)} more", sum(seconds for _, seconds in others)))
    rows.append(("Python, waiting, the rest", available_s - sum(seconds for _, seconds in ordered)))
    lines = [f"{'stage':36}{'thread seconds':>16}{'share':>9}"]
    lines += [f"{name:36}{seconds:16.3f}{seconds / available_s:9.1%}" for name, seconds in rows]
    lines.append(f"{'all':36}{available_s:16.3f}   ({elapsed_s:.3f} s on {threads} threads)")
    return "\n".join(lines)


def network_table(network: Network, path: Path, *, tile_rows: int, tile_columns: int) -> str:
    """Return what a network file holds, and a row for each crossbar layer."""
    scale = network.normalisation
    lines = [
        f"{path.name}  sha256 {network.sha256}",
        f"input {'x'.join(map(str, network.input_shape))} uint8, (pixel / {scale.full_scale:g} - mean) / std,",
        f"  mean {numbers(scale.mean)}, std {numbers(scale.std)}",
        f"classes {', '.join(network.classes)}",
    ]
    images = {"evaluation": network.evaluation, "calibration": network.calibration}
    lines += [f"{name} {len(samples):,} images in the file" for name, samples in images.items() if samples is not None]
    lines += [f"ranges of converters for preset {name} in the file" for name in network.ranges]
    lines += [f"{key}: {text}" for key, text in sorted(network.provenance.items())]
    lines += ["", f"{'layer':28}{'kernel':>8}{'stride':>8}{'output':>12}{'crossbar':>12}{'weights':>11}{'tiles':>7}"]
    total = 0
    for layer in network.crossbar_layers:
        kernel, stride = ("x".join(map(str, layer.kernel)), layer.stride) if isinstance(layer, Conv) else ("-", "-")
        tiles = math.ceil(layer.rows / tile_rows) * math.ceil(layer.columns / tile_columns)
        total += tiles
        output = "x".join(map(str, network.shapes[layer.name]))
        crossbar = f"{layer.rows}x{layer.columns}"
        weights = layer.rows * layer.columns
        lines.append(f"{layer.name:28}{kernel:>8}{stride:>8}{output:>12}{crossbar:>12}{weights:>11,}{tiles:>7}")
    tile = f"{tile_rows}x{tile_columns}"
    lines += ["", f"{network.weights:,} weights, {network.devices:,} PCM devices, {total} tiles of {tile} or less"]
    return "\n".join(lines)


def time_text(t_s: float) -> str:
    """Return a time in the largest unit that it is a whole number of."""
    for unit, seconds in reversed(UNITS_S.items()):
        if t_s >= seconds and (t_s / seconds).is_integer():
            return f"{t_s / seconds:.0f} {unit}"
    return f"{t_s:g} s"


def numbers(values: Sequence[float]) -> str:
    """Return numbers with strokes in between."""
    return "/".join(f"{value:g}" for value in values)
