"""Which nodes of a graph are computed together.

The digital nodes that follow a crossbar layer (batch normalisation, residual addition, ReLU) are applied while its
results are still in the cache.  That changes no bit: each operation is rounded as it would be on its own.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pcmref.network.graph import Network
from pcmref.network.layers import BatchNorm, CrossbarLayer, Layer
from pcmref.network.operations import Add, Relu

__all__ = ["Chain", "Grain", "chains"]

#: What is computed together: "layers": a crossbar layer with all that follows it alone; "norms": the same, but a batch
#: normalisation begins a chain of its own; "nodes": each node on its own.
Grain: TypeAlias = Literal["layers", "norms", "nodes"]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A node and the nodes that are computed with it.

    Parameters
    ----------
    head : Layer
    norm : BatchNorm, optional
    other : str, optional
        Node that is added.
    rectify : bool
        Whether a ReLU ends the chain.
    name : str
        Node whose output the chain computes.
    """

    head: Layer
    norm: BatchNorm | None = None
    other: str | None = None
    rectify: bool = False
    name: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the nodes that the chain reads."""
        return self.head.inputs if self.other is None else (*self.head.inputs, self.other)


def chains(network: Network, grain: Grain = "layers") -> tuple[Chain, ...]:
    """Return the chains of a network in an order of evaluation."""
    position = {"input": -1, **{layer.name: index for index, layer in enumerate(network.layers)}}
    readers = defaultdict(list)
    for layer in network.layers:
        for name in layer.inputs:
            readers[name].append(layer)
    begins = {"layers": (CrossbarLayer,), "norms": (CrossbarLayer, BatchNorm), "nodes": ()}[grain]
    found: list[Chain] = []
    absorbed: set[str] = set()

    def only_reader(name: str) -> Layer | None:
        return readers[name][0] if len(readers[name]) == 1 else None

    for head in network.layers:
        if head.name in absorbed:
            continue
        norm, other, rectify, name = None, None, False, head.name
        if isinstance(head, begins):
            if grain == "layers" and isinstance(reader := only_reader(name), BatchNorm):
                norm, name = reader, reader.name
                absorbed.add(name)
            if isinstance(reader := only_reader(name), Add):
                (addend,) = set(reader.inputs) - {name}
                if position[addend] < position[head.name]:
                    other, name = addend, reader.name
                    absorbed.add(name)
            if isinstance(reader := only_reader(name), Relu):
                rectify, name = True, reader.name
                absorbed.add(name)
        found.append(Chain(head=head, norm=norm, other=other, rectify=rectify, name=name))
    return tuple(found)
