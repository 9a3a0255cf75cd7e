"""``pcmref report``: what a sweep has found, as a page, a picture, a table."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from pcmref.errors import ParameterError, real
from pcmref.files.atomic import check_outputs
from pcmref.studies.charts import write_chart
from pcmref.studies.named import time_s
from pcmref.studies.page import SUFFIX, check_page, write_page
from pcmref.studies.plots import FORMATS, check_format
from pcmref.studies.sweeps.found import results, write_rows
from pcmref.studies.tables import write_csv, write_json

__all__ = ["add_report"]

#: Percentage points to which ``--precision`` asks for means, if it does not.
PRECISION = 0.1


def add_report(commands: Any) -> None:
    """Add the command to a parser."""
    command = commands.add_parser(
        "report",
        help="what a sweep has found so far, as a page, a picture, a table",
        description=f"OUT is a page ({SUFFIX}) with all figures, or a picture ({', '.join(FORMATS)}) of one.",
    )
    command.set_defaults(run=_report)
    command.add_argument("database", type=Path, metavar="FILE.db", help="of a sweep, which may be running")
    command.add_argument("out", type=Path, metavar="OUT", help=f"a name that ends in {SUFFIX}, {', '.join(FORMATS)}")
    command.add_argument(
        "--figure",
        metavar="NAME",
        help="of a picture: setting, retention, distribution; setting-close, retention-close",
    )
    command.add_argument("--time", metavar="T", help="of figures that show one (default: the last with most chips)")
    command.add_argument(
        "--precision",
        type=float,
        default=PRECISION,
        metavar="P",
        help="say how many chips give means to plus or minus P percentage points (default: %(default)s)",
    )
    command.add_argument("--csv", type=Path, metavar="FILE", help="write all cells, a row each, in full precision")
    command.add_argument(
        "--rows", type=Path, metavar="FILE", help="write all rows, each with its key for `sweep --row`"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write all there is but the chips one by one")


def _report(options: argparse.Namespace) -> None:
    is_page = options.out.suffix.lower() == SUFFIX
    check_outputs([options.out, options.csv, options.rows, options.json], inputs=[options.database])
    if is_page and options.figure is not None:
        raise ParameterError("--figure", f"a picture to be drawn ({', '.join(FORMATS)})", str(options.out))
    (check_page if is_page else check_format)(options.out)
    percent = real("--precision", options.precision, "percentage points, 0.000001 to 100", 1e-6, 100.0)
    t_s = None if options.time is None else time_s(options.time, "--time")
    found, precision = results(options.database), percent / 100
    if options.csv is not None:
        write_csv(options.csv, found, precision=precision)
    if options.rows is not None:
        write_rows(options.database, options.rows)
    if options.json is not None:
        write_json(options.json, found, precision=precision)
    if options.time is not None:
        found = replace(found, command=f"{found.command} --time {options.time}")
    if is_page:
        write_page(options.out, found, precision=precision, t_s=t_s)
    else:
        write_chart(found, options.out, options.figure, t_s)
    print(f"{found.name}: {found.rows:,} of {found.wanted:,} rows, {len(found.cells):,} cells; {options.out}")
