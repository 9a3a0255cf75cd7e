"""What a study has found as data: CSV, a row for each cell, and a JSON document with all there is."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pcmref.files.atomic import replacing
from pcmref.files.json_text import json_digest
from pcmref.studies.axes import cells_by_place
from pcmref.studies.results import Cell, Results
from pcmref.studies.statistics import summary

__all__ = ["write_csv", "write_json"]

#: Name and version of the JSON document.
FORMAT = {"format": "pcmref-results", "version": 1}
#: Digests of a setting: column -> place in its facts.
DIGESTS = {"network_digest": ("network", "digest"), "images_sha256": ("images", "sha256")}


def write_csv(path: Path, results: Results, *, precision: float) -> None:
    """Write a row for each cell: its coordinates, sums, statistics in full precision, and digests.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    rows = [_row(results, cell, precision) for cell in cells_by_place(results).values()]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, results: Results, *, precision: float) -> None:
    """Write all there is but the chips one by one: settings with their facts, cells with sums and statistics.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    document = {
        **FORMAT,
        "pcmref": results.version,
        "spec": results.spec,
        "name": results.name,
        "asked": results.asked,
        "command": results.command,
        "rows": {"done": results.rows, "wanted": results.wanted, "digest": results.digest},
        "settings": [asdict(setting) for setting in results.settings],
        "cells": [
            {**asdict(cell), **_statistics(results, cell, precision)} for cell in cells_by_place(results).values()
        ],
    }
    document = json.loads(json.dumps(document))
    document["digest"] = json_digest(document)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _row(results: Results, cell: Cell, precision: float) -> dict[str, Any]:
    """Return a row of the CSV by column; a coordinate has a longer name if every study has such a column."""
    setting = results.settings[cell.setting]
    sums = {name: value for name, value in asdict(cell).items() if name != "setting"}
    digests = {name: _at(setting.facts, *place) for name, place in DIGESTS.items()}
    columns = {
        **sums,
        "images": setting.images,
        "digital_correct": setting.digital_correct,
        **_statistics(results, cell, precision),
        "setting_digest": setting.digest,
        **digests,
        "rows_digest": results.digest,
    }
    coordinates = {name: value for name, value in setting.coordinates.items() if name != "images"}
    return {f"setting.{name}" if name in columns else name: value for name, value in coordinates.items()} | columns


def _statistics(results: Results, cell: Cell, precision: float) -> dict[str, float | int | None]:
    """Return the statistics of a cell by name; none of one chip that takes two."""
    of = summary(cell, results.settings[cell.setting].images)
    low, high = of.interval or (None, None)
    return {
        "mean": of.mean,
        "deviation": of.deviation,
        "margin": of.margin,
        "low": low,
        "high": high,
        "by_images": of.by_images,
        "precision": precision,
        "chips_needed": of.needed(precision),
    }


def _at(facts: Mapping[str, Any], *place: str) -> Any:
    """Return what stands at a place in facts, if there is such a place."""
    found: Any = facts
    for name in place:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
