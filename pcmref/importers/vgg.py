"""VGG networks with batch norms in the layout of torchvision: stages of 3x3 convolutions, each with a max pooling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from pcmref.errors import NetworkError
from pcmref.importers.modules import Modules
from pcmref.network.layers import Layer
from pcmref.network.operations import Flatten, MaxPool, Relu

__all__ = ["VGG", "vgg_layers"]

#: Number of convolutions of each stage.
VGG: Mapping[str, tuple[int, ...]] = {
    "vgg11_bn": (1, 1, 2, 2, 2),
    "vgg13_bn": (2, 2, 2, 2, 2),
    "vgg16_bn": (2, 2, 3, 3, 3),
    "vgg19_bn": (2, 2, 4, 4, 4),
}


def vgg_layers(modules: Modules, stages: Sequence[int]) -> Iterator[Layer]:
    """Yield the layers of a VGG network.

    Its adaptive pooling does nothing at 224 pixels, and is left out; the dropouts likewise.

    Parameters
    ----------
    modules : Modules
    stages : sequence of int
        Number of convolutions of each stage.

    Yields
    ------
    Layer
        ``stage1.conv1``, ``stage1.bn1``, ``stage1.relu1``, ..., ``stage1.pool``, ..., ``flatten``, ``fc1``, ...
    """
    units = modules.units()
    if len(units) != sum(stages) or not modules.head:
        found = f"{len(units)} convolutions, {len(modules.head)} fully connected layers"
        raise NetworkError("tensors", f"{sum(stages)} convolutions and fully connected layers", found)
    reads, left = "input", iter(units)
    for stage, count in enumerate(stages, start=1):
        for number, unit in enumerate(islice(left, count), start=1):
            names = f"stage{stage}.conv{number}", f"stage{stage}.bn{number}"
            yield from unit.conv(*names, reads)
            reads = f"stage{stage}.relu{number}"
            yield Relu(name=reads, inputs=(unit.last(names[1], names[0]),))
        yield MaxPool(name=f"stage{stage}.pool", inputs=(reads,), kernel=2, stride=2)
        reads = f"stage{stage}.pool"
    yield Flatten(name="flatten", inputs=(reads,))
    reads = "flatten"
    for number, unit in enumerate(modules.head, start=1):
        yield unit.linear(f"fc{number}", reads)
        reads = f"relu{number}"
        if number < len(modules.head):
            yield Relu(name=reads, inputs=(f"fc{number}",))
