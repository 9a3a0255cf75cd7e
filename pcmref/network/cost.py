"""What one image costs a network: elements of its largest map, operations; SPEC.md, appendix A."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from pcmref.errors import NetworkError
from pcmref.network.graph import Network
from pcmref.network.layers import Conv, CrossbarLayer, Layer, Shape
from pcmref.network.operations import AveragePool, LocalResponseNorm, MaxPool

__all__ = ["ELEMENTS_MOST", "OPERATIONS_MOST", "check_cost", "images_at_once"]

#: What an image may cost unless the caller allows more: about 300 MB, and about a second of exact sums.
ELEMENTS_MOST, OPERATIONS_MOST = 1 << 22, 1 << 35
#: Most elements of a map, and operations, that a thread works on at a time if it takes more than one image.
ELEMENTS_AT_ONCE, OPERATIONS_AT_ONCE = 1 << 22, 1 << 36


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one image costs in a node: elements of the map that it reads, padded, or puts out; operations."""

    node: str
    elements: int
    operations: int


def check_cost(network: Network, *, elements: int, operations: int) -> None:
    """Raise `NetworkError` at the node with which an image costs more than so much."""
    total = 0
    for cost in _costs(network):
        total += cost.operations
        if cost.elements > elements:
            expected = f"maps of at most {elements} elements, padded or not, unless load(elements=...) allows more"
            raise NetworkError(f"graph/{cost.node}", expected, str(cost.elements))
        if total > operations:
            expected = f"at most {operations} operations an image, unless load(operations=...) allows more"
            raise NetworkError(f"graph/{cost.node}", expected, f"{total} with this node")


def images_at_once(network: Network, most: int) -> int:
    """Return how many images may go through a network at a time, at most so many."""
    costs = _costs(network)
    elements, operations = max(cost.elements for cost in costs), sum(cost.operations for cost in costs)
    return max(1, min(most, ELEMENTS_AT_ONCE // elements, OPERATIONS_AT_ONCE // operations))


def _costs(network: Network) -> list[Cost]:
    shapes = network.shapes
    return [_cost(layer, [shapes[name] for name in layer.inputs], shapes[layer.name]) for layer in network.layers]


def _cost(layer: Layer, inputs: list[Shape], output: Shape) -> Cost:
    elements = max(prod(output), *map(prod, inputs))
    operations = elements
    if isinstance(layer, (Conv, MaxPool, AveragePool)):
        height, width, channels = inputs[0]
        padded = layer.windows.padded(height, width)
        elements = max(elements, prod(padded) * channels)
    if isinstance(layer, CrossbarLayer):
        operations = prod(output) * layer.rows
    if isinstance(layer, MaxPool):  # along columns of pixels, then along rows
        down, right = layer.windows.kernel
        operations = (down * padded[1] + right * output[1]) * output[0] * channels
    if isinstance(layer, AveragePool):
        operations = prod(layer.windows.kernel) * prod(output)
    if isinstance(layer, LocalResponseNorm):
        operations = layer.size * elements
    return Cost(node=layer.name, elements=elements, operations=operations)
