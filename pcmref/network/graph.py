"""Networks: a graph of layers, checked and with every shape resolved; SPEC.md, section 2."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np

from pcmref.arithmetic.codes import Range
from pcmref.errors import NetworkError, ParameterError, describe, instance, one_of
from pcmref.network.images import Normalisation, Samples
from pcmref.network.layers import CrossbarLayer, Layer, Shape, check_input
from pcmref.network.ranges import StoredRanges
from pcmref.network.windows import MAP_LIMIT

__all__ = ["Network", "keep_digital"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A checked network: layers in an order in which each reads only earlier ones.

    Parameters
    ----------
    layers : tuple of Layer
        The last one is the output; its shape is ``(len(classes),)``.
    input_shape : (height, width, channels)
    normalisation : Normalisation
    classes : tuple of str
    provenance : mapping of str to str
        Recipe, data, software, date, accuracies: whatever the author recorded.
    evaluation, calibration : Samples, optional
        Held-out images to judge the network by, and training images for AdaBS and converter ranges.
    ranges : mapping of preset to mapping of crossbar layer to Range
        Full scales of converters that were calibrated when the network was made, for a G_max of 25 uS and one scale a
        layer; `pcmref.with_stored_ranges` applies them.  They are kept as `StoredRanges`, which remember the network
        that they were found with: this one, unless they are that already.
    sha256 : str
        Of the file that `pcmref.load` read it from; empty otherwise, also in what `dataclasses.replace` makes of it.

    Raises
    ------
    NetworkError
        With the place, if anything does not fit.
    ParameterError
        If a value is of another type.
    """

    layers: tuple[Layer, ...]
    input_shape: tuple[int, int, int]
    normalisation: Normalisation
    classes: tuple[str, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)
    evaluation: Samples | None = None
    calibration: Samples | None = None
    ranges: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    sha256: str = field(init=False, default="")

    def __post_init__(self) -> None:
        for name in ("layers", "input_shape", "classes"):
            if not isinstance(values := getattr(self, name), (list, tuple, np.ndarray)):
                raise ParameterError(name, "a tuple", describe(values))
            object.__setattr__(self, name, tuple(values))
        for name in ("provenance", "ranges"):
            instance(name, getattr(self, name), Mapping)
        object.__setattr__(self, "provenance", dict(self.provenance))
        for layer in self.layers:
            instance("layers", layer, Layer)
        instance("normalisation", self.normalisation, Normalisation)
        object.__setattr__(self, "input_shape", check_input(self.input_shape))
        if len(self.normalisation.mean) != self.input_shape[2]:
            raise NetworkError(
                "normalisation/mean", f"{self.input_shape[2]} channels", str(len(self.normalisation.mean))
            )
        if not self.layers:
            raise NetworkError("graph", "at least one node", "none")
        if not all(isinstance(name, str) and name.isprintable() for name in self.classes):
            raise NetworkError("classes", "a list of printable names", describe(self.classes))
        for text in [*self.provenance, *self.provenance.values()]:
            if not isinstance(text, str) or not text.replace("\n", "").isprintable():
                raise NetworkError("provenance", "an object of printable texts", describe(text))
        output = self.shapes[self.layers[-1].name]
        if output != (len(self.classes),):
            raise NetworkError(
                f"graph/{self.layers[-1].name}", f"an output of {len(self.classes)} classes", str(output)
            )
        self._check_samples("evaluation", self.evaluation)
        self._check_samples("calibration", self.calibration)
        names = [layer.name for layer in self.crossbar_layers]
        for preset, ranges in self.ranges.items():
            if not (isinstance(preset, str) and preset.isprintable()):
                raise NetworkError("ranges", "printable names of presets", describe(preset))
            instance(f"ranges/{preset}", ranges, Mapping)
            if sorted(ranges) != sorted(names):
                raise NetworkError(f"ranges/{preset}", f"the crossbar layers {names}", describe(list(ranges)))
            for name, top in ranges.items():
                instance(f"ranges/{preset}/{name}", top, Range)
        stored = {preset: self._stored(ranges) for preset, ranges in self.ranges.items()}
        object.__setattr__(self, "ranges", stored)

    def _stored(self, ranges: Mapping[str, Range]) -> StoredRanges:
        if isinstance(ranges, StoredRanges):
            return ranges
        return StoredRanges(layers=dict(ranges), network=self.digest)

    def _check_samples(self, where: str, samples: Samples | None) -> None:
        if samples is None:
            return
        instance(where, samples, Samples)
        if samples.images.shape[1:] != self.input_shape:
            raise NetworkError(f"{where}/images", f"images of shape {self.input_shape}", str(samples.images.shape[1:]))
        if len(samples) and samples.labels.max() >= len(self.classes):
            raise NetworkError(f"{where}/labels", f"labels below {len(self.classes)}", str(int(samples.labels.max())))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides a result: graph, normalisation and tensors, from a file or not; appendix A."""
        graph = {"input": list(self.input_shape), "nodes": [layer.as_node() for layer in self.layers]}
        found = hashlib.sha256(json.dumps(graph, sort_keys=True).encode())
        scale = self.normalisation
        found.update(np.array([scale.full_scale, *scale.mean, *scale.std], "<f8").tobytes())
        for layer in self.layers:
            for tensor in sorted(name.rstrip("?") for name in layer.tensors):
                if (values := getattr(layer, tensor)) is not None:
                    found.update(np.array(values.shape, "<i8").tobytes())
                    found.update(values.astype("<f4").tobytes())
        return found.hexdigest()

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Output shape of every node, ``"input"`` included."""
        shapes: dict[str, Shape] = {"input": self.input_shape}
        for layer in self.layers:
            if layer.name in shapes:
                raise NetworkError("graph", "unique node names", f"{layer.name!r} twice")
            missing = [name for name in layer.inputs if name not in shapes]
            if missing:
                raise NetworkError(
                    f"graph/{layer.name}/inputs", "nodes that come before it (no cycle)", describe(missing[0])
                )
            shape = shapes[layer.name] = layer.shape_after(*(shapes[name] for name in layer.inputs))
            if prod(shape) > MAP_LIMIT:
                raise NetworkError(f"graph/{layer.name}", f"an output of at most {MAP_LIMIT} elements", str(shape))
        return shapes

    @property
    def crossbar_layers(self) -> tuple[CrossbarLayer, ...]:
        """The layers on PCM, in file order."""
        return tuple(layer for layer in self.layers if isinstance(layer, CrossbarLayer) and not layer.digital)

    @property
    def digital_layers(self) -> tuple[CrossbarLayer, ...]:
        """The layers with weights that are kept off the crossbars, in file order."""
        return tuple(layer for layer in self.layers if isinstance(layer, CrossbarLayer) and layer.digital)

    @cached_property
    def addresses(self) -> Mapping[str, int]:
        """Address of each layer with weights in draws: its position among them, digital ones included."""
        return {layer.name: i for i, layer in enumerate(x for x in self.layers if isinstance(x, CrossbarLayer))}

    @property
    def weights(self) -> int:
        """Number of weights on PCM, biases of crossbar layers included."""
        return sum(layer.rows * layer.columns for layer in self.crossbar_layers)

    @property
    def devices(self) -> int:
        """Number of PCM devices: two a weight."""
        return 2 * self.weights


def keep_digital(network: Network, names: Sequence[str]) -> Network:
    """Return a network some of whose layers with weights are kept off the crossbars, in float32 [J20].

    Parameters
    ----------
    network : Network
    names : sequence of str
        Of convolutions or linear layers; ``"first"`` and ``"last"`` are those, unless a layer is called so.

    Returns
    -------
    Network
        The other layers have the devices that they had.  Without ranges: those were found with all layers.

    Raises
    ------
    ParameterError
        If there is no such layer.
    """
    instance("network", network, Network)
    if isinstance(names, str):
        raise ParameterError("digital", "a sequence of names", describe(names))
    known = list(network.addresses)
    places = dict(zip(("first", "last"), (known[0], known[-1]), strict=True)) if known else {}
    chosen = {name if name in known else places.get(name, name) for name in names}
    for name in chosen:
        one_of("digital", name, known)
    layers = (dataclasses.replace(layer, digital=True) if layer.name in chosen else layer for layer in network.layers)  # type: ignore[call-arg]
    return dataclasses.replace(network, layers=tuple(layers), ranges={})
