"""Mapping: weights to target conductances of differential pairs, and back to digital scales; SPEC.md, section 6.

[J20]: ``G_T = W G_max / W_max``; the sign picks the device of the pair, the other one stays at 0 uS.  A weight may have
several pairs, one in each *slice*, all with its target; what they carry is added up with the slices' significance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from pcmref.arrays import Bool, Float32, Float64, Frozen, check_array
from pcmref.errors import ParameterError, describe, integer, one_of
from pcmref.network.graph import Network

__all__ = ["MappedLayer", "Scale", "check_significance", "map_matrix", "map_network"]

#: One W_max for the whole layer, or one for each column (output).
Scale: TypeAlias = Literal["layer", "column"]
#: Most slices, and largest factor of one.
SLICES_MOST, SIGNIFICANCE_MOST = 16, 1 << 15


@dataclass(frozen=True, kw_only=True, eq=False)
class MappedLayer(Frozen):
    """Targets of one crossbar layer.

    Parameters
    ----------
    name : str
    g_target_us : float64, shape (rows, columns)
        ``G+ - G-`` of each pair; its sign picks the device.  Slices follow each other, each with all rows.
    weight_per_us : float64, shape (columns,)
        Weight that 1 uS stands for: ``W_max / (G_max total)``, total the sum of the significance of the slices.
    """

    name: str
    g_target_us: Float64
    weight_per_us: Float64

    def __post_init__(self) -> None:
        check_array(f"{self.name}: g_target_us", self.g_target_us, np.float64, (None, None), -np.inf)
        columns = self.g_target_us.shape[1]
        check_array(f"{self.name}: weight_per_us", self.weight_per_us, np.float64, (columns,), 0.0)
        super().__post_init__()

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, of all slices, and columns of the crossbar matrix."""
        return self.g_target_us.shape

    @property
    def zero(self) -> Bool:
        """Columns whose weights are all 0, shape (columns,)."""
        return (self.g_target_us == 0).all(axis=0)

    def pair_targets_us(self) -> Float64:
        """Return the target of every device, + then -, uS, shape ``(2, rows, columns)``: one of each pair is 0."""
        return np.stack([np.maximum(self.g_target_us, 0.0), np.maximum(-self.g_target_us, 0.0)])


def check_significance(value: Any) -> tuple[int, ...]:
    """Return the significance of each slice as a tuple of positive integers; raise `ParameterError` otherwise."""
    expected = f"1 to {SLICES_MOST} integers from 1 to {SIGNIFICANCE_MOST}, one a slice"
    try:
        several = tuple(value)
    except TypeError:
        raise ParameterError("significance", expected, describe(value)) from None
    if not 1 <= len(several) <= SLICES_MOST:
        raise ParameterError("significance", expected, describe(value))
    return tuple(integer("significance", factor, expected, 1, SIGNIFICANCE_MOST) for factor in several)


def map_matrix(
    name: str, matrix: Float32, *, g_max_us: float, scale: Scale = "layer", significance: tuple[int, ...] = (1,)
) -> MappedLayer:
    """Map one crossbar matrix: ``G_T = W (G_max / W_max)``, in float64.

    Parameters
    ----------
    name : str
    matrix : float32, shape (rows, columns)
    g_max_us : float
    scale : "layer" or "column"
        What W_max, the largest size of a weight, is taken over.  Where it is 0, it counts as 1.
    significance : tuple of int
        Of each slice.

    Raises
    ------
    ParameterError
        If `scale` is unknown.
    """
    one_of("scale", scale, get_args(Scale))
    weights = matrix.astype(np.float64)
    size = np.abs(weights)
    w_max = np.broadcast_to(size.max() if scale == "layer" else size.max(axis=0), weights.shape[1:])
    w_max = np.where(w_max > 0.0, w_max, 1.0)
    return MappedLayer(
        name=name,
        g_target_us=np.tile(weights * (g_max_us / w_max), (len(significance), 1)),
        weight_per_us=w_max / (g_max_us * sum(significance)),
    )


def map_network(
    network: Network, *, g_max_us: float, scale: Scale = "layer", significance: tuple[int, ...] = (1,)
) -> Iterator[MappedLayer]:
    """Map every crossbar layer of `network`, in the order of their addresses, one after another."""
    options: dict[str, Any] = {"g_max_us": g_max_us, "scale": scale, "significance": significance}
    for layer in network.crossbar_layers:
        yield map_matrix(layer.name, layer.matrix(), **options)
