"""Full scales of converters as they come with a network, and which network they were found with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pcmref.arithmetic.codes import Range

__all__ = ["StoredRanges"]


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredRanges(Mapping[str, Range]):
    """The full scales of the converters of all crossbar layers, found for one preset.

    Parameters
    ----------
    layers : mapping of crossbar layer to Range
    network : str
        `Network.digest` of the network that they were found with: other weights have other sums.
    """

    layers: Mapping[str, Range]
    network: str

    def __getitem__(self, layer: str) -> Range:
        return self.layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)
