"""What a study has found as one page of HTML: it needs no network and no script, and suits any screen, and paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pcmref.errors import ParameterError, require
from pcmref.files.atomic import replacing
from pcmref.studies.axes import cells_by_place, compensations_of, coordinate, shown, swept, times_of, value_text
from pcmref.studies.charts import charts
from pcmref.studies.drawing import Chart, style, svg
from pcmref.studies.page_style import STYLE
from pcmref.studies.plots import LABELS
from pcmref.studies.report import time_text
from pcmref.studies.results import Results
from pcmref.studies.statistics import Statistics, summary

__all__ = ["SUFFIX", "check_page", "write_page"]

#: What the name of a page ends in.
SUFFIX = ".html"
#: Most cells in the table, and most values of a kind that are listed.
CELLS, LISTED = 300, 30
#: What has no value.
NONE = "-"


def check_page(path: Path) -> None:
    """Raise `ParameterError` now rather than after hours of work if `path` is no name of a page.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    require("matplotlib", "cli")
    if path.suffix.lower() != SUFFIX:
        raise ParameterError(str(path), f"the suffix {SUFFIX}", repr(path.suffix))


def write_page(path: Path, results: Results, *, precision: float = 0.001, t_s: float | None = None) -> None:
    """Write a page with figures, a table and what they come from.

    Parameters
    ----------
    path : Path
    results : Results
    precision : float
        Share of images: the page says how many chips would give each mean to plus or minus that.
    t_s : float, optional
        The time of figures that show one.

    Raises
    ------
    ParameterError
        If no cell has that time.
    MissingExtraError
        Without matplotlib.
    OutputError
        If it cannot be written.
    """
    with style():
        parts = [*_head(results), *_figures(results, t_s), *_table(results, precision), *_sources(results)]
    with replacing(path) as temporary:
        temporary.write_text("\n".join([*parts, "</main>", "</body>", "</html>", ""]), encoding="utf-8", newline="\n")


def _head(results: Results) -> Iterator[str]:
    """Yield the beginning of the page: its name, and in one sentence what it shows."""
    title = _text(results.name)
    yield f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>{title}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
<p class="lead">{_text(_sentence(results))}</p>"""
    if results.rows < results.wanted:
        share = 100 * results.rows / results.wanted
        yield (
            f'<p class="unfinished"><strong>Unfinished:</strong> {results.rows:,} of {results.wanted:,} rows '
            f"({share:.1f} %). What follows is what there is so far.</p>"
        )
    yield "</header>"


def _sentence(results: Results) -> str:
    """Return in one sentence what the page shows."""
    if not results.cells:
        return "No chip has been measured yet."
    times, counts = times_of(results), sorted({cell.chips for cell in results.cells})
    chips = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    when = time_text(times[0])
    if len(times) > 1:
        when = f"{len(times)} times from {when} to {time_text(times[-1])}"
    settings = len({cell.setting for cell in results.cells})
    under = ", ".join(LABELS[name] for name in compensations_of(results))
    plural = "s" if counts[-1] > 1 else ""
    return (
        f"Accuracy of neural networks on phase-change-memory crossbars: {chips} programmed chip{plural} of "
        + ("one setting" if settings == 1 else f"each of {settings:,} settings")
        + f", {when} after programming, with compensation {under}."
    )


def _figures(results: Results, t_s: float | None) -> Iterator[str]:
    """Yield the figures, each with its caption and the command that makes it again."""
    found = charts(results, t_s)
    if not found:
        return
    yield '<section aria-labelledby="figures">\n<h2 id="figures">Figures</h2>'
    for number, chart in enumerate(found.values(), start=1):
        yield _figure(results, chart, number)
    yield "</section>"


def _figure(results: Results, chart: Chart, number: int) -> str:
    picture = svg(chart.draw(), chart.name, f"{chart.title}. {chart.caption}")
    command = ""
    if "{figure}" in results.command:
        again = results.command.replace("{figure}", chart.name)
        command = f"\n<br><code>{_text(again)}</code>"
    return f"""<figure id="figure-{_text(chart.name)}">
<div class="wide" tabindex="0" role="group" aria-label="Figure {number}">{picture}</div>
<figcaption><strong>Figure {number}. {_text(chart.title)}.</strong> {_text(chart.caption)}{command}</figcaption>
</figure>"""


# The table


def _table(results: Results, precision: float) -> Iterator[str]:
    """Yield the table of cells, and what its columns mean."""
    if not results.cells:
        return
    axes, cells = list(swept(results)), list(cells_by_place(results).values())
    points = f"{100 * precision:.10g}"
    digits = max(2, 1 - math.floor(math.log10(100 * precision)))
    names = [*map(value_text, axes), "time", "compensation"]
    spread = ["chips", "mean", "s. d.", "95 % ±", "s. e. of images", f"chips for ±{points}"]
    numbers = [*spread, "worst", "best", "digital"]
    yield '<section aria-labelledby="numbers">\n<h2 id="numbers">Numbers</h2>'
    left = ""
    if len(cells) > CELLS:
        left = f" The first {CELLS:,} of {len(cells):,} cells; <code>--csv FILE</code> writes all of them."
    yield f"<p>Accuracies in %.{left}</p>"
    yield '<div class="wide" tabindex="0" role="group" aria-labelledby="numbers">\n<table class="cells">\n<thead>\n<tr>'
    yield "".join(f'<th scope="col">{_text(name).replace(".", ".<wbr>")}</th>' for name in names)
    yield "".join(f'<th scope="col" class="n">{_text(name)}</th>' for name in numbers)
    yield "</tr>\n</thead>\n<tbody>"
    for cell in cells[:CELLS]:
        setting = results.settings[cell.setting]
        where = [value_text(coordinate(setting, name)) for name in axes]
        of = summary(cell, setting.images)
        digital = None if setting.digital_correct is None else setting.digital_correct / setting.images
        values = [*_numbers(of, precision, digits), _percent(digital, digits)]
        row = [f'<th scope="row">{_text(head)}</th>' for head in where]
        row += [
            f'<th scope="row" class="short">{head}</th>' for head in (time_text(cell.t_s), LABELS[cell.compensation])
        ]
        row += [f'<td class="n">{text}</td>' for text in values]
        yield f"<tr>{''.join(row)}</tr>"
    yield "</tbody>\n</table>\n</div>"
    yield _notes(points)
    yield "</section>"


def _numbers(of: Statistics, precision: float, digits: int) -> list[str]:
    """Return what a row of the table has of the chips of a cell."""
    needed = of.needed(precision)
    shares = [_percent(share, digits) for share in (of.mean, of.deviation, of.margin, of.by_images)]
    return [
        str(of.chips),
        *shares,
        NONE if needed is None else str(needed),
        _percent(of.least, digits),
        _percent(of.most, digits),
    ]


def _percent(share: float | None, digits: int) -> str:
    return NONE if share is None else f"{100 * share:.{digits}f}"


def _notes(points: str) -> str:
    """Return what the columns mean."""
    notes = {
        "mean, s. d.": "mean and sample standard deviation over chips. One chip has no deviation, and no interval.",
        "95 % ±": "half of the 95 % interval of the mean over all chips that could be made, on these images. It is "
        "Student's, which takes the accuracies of chips to be about normal.",
        "s. e. of images": "standard error √(p(1-p)/n): about how far another draw of n images moves the accuracy p "
        "of a chip. It moves the mean over chips by no more, but more chips do not help, as all see the same "
        "images. Chips of one quality, right or wrong independently from image to image, would have no larger s. d.: "
        "if theirs is clearly larger, chips differ. Where all images are right it is 0, and tells nothing.",
        f"chips for ±{points}": f"how many chips would give a 95 % interval of ±{points} percentage points, if their "
        "s. d. was the one found here, which few chips tell badly, and chips that are all alike do not tell.",
        "worst, best": "of the chips that were measured; the more there are, the further they lie apart.",
        "digital": "the network without devices and converters, in float32, on the same images.",
    }
    items = "\n".join(f"<dt>{_text(term)}</dt>\n<dd>{_text(text)}</dd>" for term, text in notes.items())
    return f"""<h3>What the columns mean</h3>
<dl class="notes">
{items}
</dl>
<p>Within a setting the chips at all times and under all compensations are the same ones. Differences between such rows
are often known better than their two intervals suggest.</p>"""


# Where it comes from


def _sources(results: Results) -> Iterator[str]:
    """Yield what was asked, on what, and what tells whether somebody else has found the same."""
    yield '<section aria-labelledby="asked">\n<h2 id="asked">What was asked</h2>'
    yield f'<pre class="wide" tabindex="0">{_lines(results.asked)}</pre>\n</section>'
    yield '<section aria-labelledby="sources">\n<h2 id="sources">On what</h2>'
    yield '<div class="wide" tabindex="0" role="group" aria-labelledby="sources">\n<table>\n<thead>\n<tr>'
    yield '<th scope="col">what</th><th scope="col">which</th><th scope="col">digest</th></tr>\n</thead>\n<tbody>'
    for kind, which, digest in _ingredients(results):
        cells = f'<td>{_text(which)}</td><td class="digest">{_text(digest)}</td>'
        yield f'<tr><th scope="row">{_text(kind)}</th>{cells}</tr>'
    yield "</tbody>\n</table>\n</div>"
    done = f"{results.rows:,} of {results.wanted:,} rows"
    yield f"""<p>Rows are exact: the same study gives the same digest of all rows on every machine, in whatever
order they are computed.</p>
<dl>
<dt>rows</dt>
<dd>{done}</dd>
<dt>digest of all rows</dt>
<dd class="digest">{_text(results.digest)}</dd>
<dt>versions</dt>
<dd>pcmref {_text(results.version)}, SPEC.md {_text(results.spec)}</dd>
</dl>
</section>"""


def _ingredients(results: Results) -> Iterator[tuple[str, str, str]]:
    """Yield what the settings are made of: its kind, its name and, if it has one, its digest; each once."""
    kinds = {
        "network": ("network", "file", "digest"),
        "images": ("images", "source", "sha256"),
        "calibration": ("calibration", "source", "sha256"),
        "devices": ("model", "name", ""),
        "readout": ("readout", "name", ""),
    }
    for kind, (place, name, digest) in kinds.items():
        facts = [setting.facts.get(place) for setting in results.settings]
        found = [_ingredient(of, name, digest) for of in facts if isinstance(of, Mapping)]
        yield from _first((kind, *each) for each in dict.fromkeys(found))


def _ingredient(facts: Mapping[str, Any], name: str, digest: str) -> tuple[str, str]:
    """Return what a part of the facts is called, with how many images it has, and its digest."""
    count = f", {facts['count']:,} images" if isinstance(facts.get("count"), int) else ""
    return f"{facts.get(name, '')}{count}", str(facts.get(digest, NONE))


def _first(rows: Iterable[tuple[str, str, str]]) -> Sequence[tuple[str, str, str]]:
    """Return the first rows, and one that says how many more there are."""
    found = list(rows)
    more = [(found[0][0], f"and {len(found) - LISTED:,} more", NONE)] if len(found) > LISTED else []
    return found[:LISTED] + more


def _text(text: object) -> str:
    """Return a text as HTML has it."""
    return escape(shown(text))


def _lines(text: str) -> str:
    """Return a text of several lines as HTML has it."""
    return "\n".join(_text(line.expandtabs(4)) for line in text.rstrip().splitlines())
