"""The figures of what a study has found, by name."""

from __future__ import annotations

from pathlib import Path

from pcmref.errors import ParameterError, one_of
from pcmref.studies.axes import shown, swept, time_shown
from pcmref.studies.distributions import over_chips
from pcmref.studies.drawing import Chart, style
from pcmref.studies.heat_maps import over_axes
from pcmref.studies.line_charts import over_axis, over_time
from pcmref.studies.plots import save_figure
from pcmref.studies.results import Results

__all__ = ["charts", "write_chart"]


def charts(results: Results, t_s: float | None = None) -> dict[str, Chart]:
    """Return the figures that these results have, by name; those of one time are of `t_s`.

    Raises
    ------
    ParameterError
        If no cell has that time.
    """
    if not results.cells:
        return {}
    t_s = time_shown(results, t_s)
    axes = swept(results)
    over_settings = [] if not axes else over_axis(results) if len(axes) == 1 else [over_axes(results, t_s)]
    found = [*over_settings, *over_time(results), over_chips(results, t_s)]
    return {chart.name: chart for chart in found}


def write_chart(results: Results, path: Path, name: str | None, t_s: float | None = None) -> None:
    """Draw one figure into a file whose suffix says its format.

    Raises
    ------
    ParameterError
        If there is no figure of that name, or nothing to draw yet.
    MissingExtraError
        Without matplotlib.
    """
    found = charts(results, t_s)
    if not found:
        raise ParameterError(shown(results.name), "rows to draw", "none yet")
    one_of("figure", name, found)
    with style():
        save_figure(found[str(name)].draw(), path)
