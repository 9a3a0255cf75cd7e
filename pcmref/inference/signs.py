"""Which inputs of crossbar layers may be negative: a DAC with unsigned codes takes those for 0."""

from __future__ import annotations

import warnings

from pcmref.crossbar.readout import Readout
from pcmref.errors import PcmrefWarning, listed
from pcmref.network.graph import Network
from pcmref.network.layers import Add, GlobalAveragePool, MaxPool, PadShortcut, Relu

__all__ = ["negative_inputs", "warn_of_lost_signs"]


def negative_inputs(network: Network) -> tuple[str, ...]:
    """Return the crossbar layers that may see a negative input, as far as the graph tells."""
    negative = {"input": any(mean > 0 for mean in network.normalisation.mean)}
    for layer in network.layers:
        if isinstance(layer, Relu):
            negative[layer.name] = False
        elif isinstance(layer, (Add, GlobalAveragePool, MaxPool, PadShortcut)):
            negative[layer.name] = any(negative[name] for name in layer.inputs)
        else:
            negative[layer.name] = True
    return tuple(layer.name for layer in network.crossbar_layers if negative[layer.inputs[0]])


def warn_of_lost_signs(network: Network, readout: Readout) -> None:
    """Warn where a readout with unsigned codes would take negative inputs for 0."""
    if readout.dac.codes == "unsigned" and (names := negative_inputs(network)):
        text = f"readout {readout.name}: unsigned DAC codes take negative inputs for 0; {listed(names)} may have some"
        warnings.warn(text, PcmrefWarning, stacklevel=3)
