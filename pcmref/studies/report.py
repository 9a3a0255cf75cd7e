"""What the commands say: tables as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pcmref.crossbar.readout import Readout
from pcmref.devices.pcm import PcmModel
from pcmref.errors import listed
from pcmref.inference.saturation import Saturation
from pcmref.network.graph import Network
from pcmref.network.layers import Conv, CrossbarLayer
from pcmref.profiling import Profile
from pcmref.studies.plots import LABELS
from pcmref.studies.retention import Retention
from pcmref.studies.study import DAY_S, HOUR_S, YEAR_S

__all__ = [
    "UNITS_S",
    "network_facts",
    "network_table",
    "numbers",
    "profile_table",
    "ranges_facts",
    "ranges_table",
    "retention_table",
    "time_text",
]

#: Units of time, seconds.
UNITS_S = {"s": 1.0, "min": 60.0, "h": HOUR_S, "d": DAY_S, "y": YEAR_S}
#: Stages that a profile lists one by one.
STAGES_SHOWN = 20
#: Classes of a network that its table names.
SHOWN_CLASSES = 20


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
        *([f"digital: {_named(network.digital_layers)}"] if network.digital_layers else []),
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


def network_facts(network: Network, path: Path, *, tile_rows: int, tile_columns: int) -> dict[str, Any]:
    """Return what a network file holds, as JSON has it."""
    images = {"evaluation": network.evaluation, "calibration": network.calibration}
    return {
        "file": path.name,
        "sha256": network.sha256,
        "digest": network.digest,
        "input": list(network.input_shape),
        "normalisation": asdict(network.normalisation),
        "classes": list(network.classes),
        "images": {name: len(samples) for name, samples in images.items() if samples is not None},
        "ranges": list(network.ranges),
        "layers": [_layer_facts(network, layer, tile_rows, tile_columns) for layer in network.crossbar_layers],
        "digital": [layer.name for layer in network.digital_layers],
        "weights": network.weights,
        "devices": network.devices,
        "tile": [tile_rows, tile_columns],
        "provenance": dict(network.provenance),
    }


def _layer_facts(network: Network, layer: CrossbarLayer, tile_rows: int, tile_columns: int) -> dict[str, Any]:
    groups = layer.groups if isinstance(layer, Conv) else 1
    return {
        "layer": layer.name,
        "kernel": list(layer.kernel) if isinstance(layer, Conv) else None,
        "stride": layer.stride if isinstance(layer, Conv) else None,
        "groups": groups,
        "output": list(network.shapes[layer.name]),
        "rows": layer.rows,
        "columns": layer.columns,
        "weights": layer.rows * layer.columns,
        "tiles": groups * math.ceil(layer.rows / tile_rows) * math.ceil(layer.columns / groups / tile_columns),
    }


def network_table(facts: Mapping[str, Any]) -> str:
    """Return the `network_facts` as text: a row for each crossbar layer, and how the network came to be."""
    scale = facts["normalisation"]
    lines = [
        f"{facts['file']}  sha256 {facts['sha256']}",
        f"input {_size(facts['input'])} uint8, (pixel / {scale['full_scale']:g} - mean) / std,",
        f"  mean {numbers(scale['mean'])}, std {numbers(scale['std'])}",
        f"classes {listed(facts['classes'], SHOWN_CLASSES)}",
    ]
    lines += [f"{name} {count:,} images in the file" for name, count in facts["images"].items()]
    lines += [f"ranges of converters for preset {name} in the file" for name in facts["ranges"]]
    lines += ["", f"{'layer':28}{'kernel':>8}{'stride':>8}{'output':>12}{'crossbar':>12}{'weights':>11}{'tiles':>7}"]
    for layer in facts["layers"]:
        kernel, stride = ("-", "-") if layer["kernel"] is None else (_size(layer["kernel"]), _stride(layer["stride"]))
        crossbar = f"{layer['rows']}x{layer['columns']}" + (f"/{layer['groups']}" if layer["groups"] > 1 else "")
        lines.append(
            f"{layer['layer']:28}{kernel:>8}{stride:>8}{_size(layer['output']):>12}{crossbar:>12}"
            f"{layer['weights']:>11,}{layer['tiles']:>7}"
        )
    if facts["digital"]:
        lines.append(f"kept digital: {listed(facts['digital'], SHOWN_CLASSES)}")
    tiles = sum(layer["tiles"] for layer in facts["layers"])
    devices, tile = f"{facts['devices']:,} PCM devices", _size(facts["tile"])
    lines += ["", f"{facts['weights']:,} weights, {devices}, {tiles} tiles of {tile} or less"]
    if facts["provenance"]:
        lines.append("")
    lines += [f"{key}: {text}" for key, text in sorted(facts["provenance"].items())]
    return "\n".join(lines)


def ranges_table(ranges: Sequence[Mapping[str, Any]], images: int) -> str:
    """Return the full scales of each layer and what they do to codes, as `ranges_facts` has them."""
    lines = [f"{'layer':28}{'input_top':>12}{'sum_top, uS':>14}{'DAC':>9}{'ADC':>9}{'reach':>9}"]
    for row in ranges:
        tops = row["sum_top_us"]
        top = f"{tops[0]:.4g}" if len(set(tops)) == 1 else f"{min(tops):.4g}-{max(tops):.4g}"
        lines.append(
            f"{row['layer']:28}{row['input_top']:>12.4g}{top:>14}{row['dac']:>9.2%}{row['adc']:>9.2%}{row['reach']:>9.0%}"
        )
    lines += [
        "",
        f"DAC, ADC: codes at a limit; reach: largest code of full scale; of {images:,} images, chip 0 before drift",
    ]
    return "\n".join(lines)


def ranges_facts(readout: Readout, found: Sequence[Saturation]) -> list[dict[str, Any]]:
    """Return the full scales of each layer and how codes lie between them, as JSON has it."""
    return [
        {
            "layer": of.layer,
            "input_top": top.input_top,
            "sum_top_us": np.atleast_1d(top.sum_top_us).tolist(),
            **{name: value for name, value in asdict(of).items() if name != "layer"},
            "reach": of.reach,
        }
        for of in found
        if (top := readout.range_of(of.layer)) is not None
    ]


def _size(lengths: Sequence[int]) -> str:
    return "x".join(map(str, lengths))


def _named(layers: Sequence[CrossbarLayer]) -> str:
    return listed([layer.name for layer in layers], SHOWN_CLASSES)


def _stride(stride: int | Sequence[int]) -> str:
    return str(stride) if isinstance(stride, int) else _size(stride)


def time_text(t_s: float) -> str:
    """Return a time in the largest unit that it is a whole number of."""
    for unit, seconds in reversed(UNITS_S.items()):
        if t_s >= seconds and (t_s / seconds).is_integer():
            return f"{t_s / seconds:.0f} {unit}"
    return f"{t_s:g} s"


def numbers(values: Sequence[float]) -> str:
    """Return numbers with strokes in between."""
    return "/".join(f"{value:g}" for value in values)
