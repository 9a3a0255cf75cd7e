"""Which inputs of crossbar layers may be negative: a DAC with unsigned codes takes those for 0."""

from __future__ import annotations

import warnings

from pcmref.crossbar.readout import Readout
from pcmref.errors import PcmrefWarning, listed
from pcmref.network.graph import Network
from pcmref.network.layers import Layer
from pcmref.network.operations import (
    Add,
    AveragePool,
    ChannelShuffle,
    Clip,
    Concat,
    Flatten,
    GlobalAveragePool,
    HardSigmoid,
    LeakyRelu,
    LocalResponseNorm,
    MaxPool,
    Multiply,
    PadShortcut,
    Relu,
    Sigmoid,
    TakeChannels,
)

__all__ = ["negative_inputs", "warn_of_lost_signs"]

#: Operations whose output is negative nowhere; those with a negative output only where an input is.
POSITIVE = (Relu, Sigmoid, HardSigmoid)
FAITHFUL = (
    *(Add, Multiply, Concat, PadShortcut, ChannelShuffle, TakeChannels, Flatten, Clip, LeakyRelu),
    *(MaxPool, AveragePool, GlobalAveragePool, LocalResponseNorm),
)


def negative_inputs(network: Network) -> tuple[str, ...]:
    """Return the crossbar layers that may see a negative input, as far as the graph tells."""
    negative = {"input": any(mean > 0 for mean in network.normalisation.mean)}
    for layer in network.layers:
        negative[layer.name] = _may_be_negative(layer, any(negative[name] for name in layer.inputs))
    return tuple(layer.name for layer in network.crossbar_layers if negative[layer.inputs[0]])


def _may_be_negative(layer: Layer, an_input: bool) -> bool:
    """Return whether a node may put out a negative number, if an input may have one or not."""
    if isinstance(layer, POSITIVE) or (isinstance(layer, Clip) and layer.low >= 0):
        return False
    if isinstance(layer, Clip) and layer.high < 0:
        return True
    if isinstance(layer, LeakyRelu) and layer.slope <= 0:  # negative inputs come out positive
        return False
    return an_input if isinstance(layer, FAITHFUL) else True


def warn_of_lost_signs(network: Network, readout: Readout) -> None:
    """Warn where a readout with unsigned codes would take negative inputs for 0."""
    if readout.dac.codes == "unsigned" and (names := negative_inputs(network)):
        text = f"readout {readout.name}: unsigned DAC codes take negative inputs for 0; {listed(names)} may have some"
        warnings.warn(text, PcmrefWarning, stacklevel=3)
