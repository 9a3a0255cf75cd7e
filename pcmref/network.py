"""Networks: a graph of layers, checked and with every shape resolved; images and how they become inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np

from pcmref.arrays import Float32, Int64, ReadOnly, UInt8, read_only
from pcmref.converters import Range
from pcmref.errors import DataError, NetworkFileError, ParameterError, describe, instance, integer, real
from pcmref.layers import MAP_LIMIT, CrossbarLayer, Layer, Shape, check_size

__all__ = ["Network", "Normalisation", "Samples"]


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """``x = (pixel / full_scale - mean) / std`` per channel, for uint8 pixels."""

    full_scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "full_scale", real("full_scale", self.full_scale, "a finite number"))
            for name in ("mean", "std"):
                numbers = tuple(real(name, number, "finite numbers") for number in getattr(self, name))
                object.__setattr__(self, name, numbers)
        except (ParameterError, TypeError) as error:
            found = describe((self.full_scale, self.mean, self.std))
            raise NetworkFileError("normalisation", "finite numbers", found) from error
        numbers = (self.full_scale, *self.mean, *self.std)
        if self.full_scale <= 0 or not self.std or min(self.std) <= 0:
            raise NetworkFileError("normalisation", "a positive full_scale and std", describe(numbers))
        if len(self.mean) != len(self.std):
            raise NetworkFileError("normalisation", "as many means as stds", f"{len(self.mean)} and {len(self.std)}")

    def table(self) -> Float32:
        """Return the normalised value of every pixel value and channel, shape ``(256, channels)``.

        Computed in float64, rounded once to float32.
        """
        pixel = np.arange(256.0)[:, None] / self.full_scale
        return np.asarray((pixel - np.array(self.mean)) / np.array(self.std), np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples(ReadOnly):
    """Images and their labels, in views that cannot be written to.

    Parameters
    ----------
    images : uint8, shape (n, height, width, channels)
    labels : int64, shape (n,)
    where : str
        Where they come from, for messages.
    """

    images: UInt8
    labels: Int64
    where: str = "samples"

    def __post_init__(self) -> None:
        for name in ("images", "labels"):
            instance(f"{self.where}/{name}", getattr(self, name), np.ndarray)
            object.__setattr__(self, name, read_only(getattr(self, name)))
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise DataError(
                f"{self.where}/images",
                "uint8 images of shape (n, height, width, channels)",
                f"{self.images.dtype} of shape {self.images.shape}",
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"{self.where}/labels",
                f"{len(self.images)} int64 labels",
                f"{self.labels.dtype} of shape {self.labels.shape}",
            )
        if len(self.labels) and self.labels.min() < 0:
            raise DataError(f"{self.where}/labels", "no negative label", str(int(self.labels.min())))

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> Samples:
        """Return a copy of the first `count` samples, or of all if there are fewer: the others can be forgotten."""
        count = integer("count", count, "an integer from 0", 0, 1 << 62)
        return Samples(images=self.images[:count].copy(), labels=self.labels[:count].copy(), where=self.where)


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
        layer; `pcmref.with_stored_ranges` applies them.
    sha256 : str
        Of the file that `pcmref.load` read it from; empty otherwise, also in what `dataclasses.replace` makes of it.

    Raises
    ------
    NetworkFileError
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
        if len(self.input_shape) != 3:
            raise NetworkFileError("graph/input", "(height, width, channels)", describe(self.input_shape))
        object.__setattr__(self, "input_shape", tuple(check_size("graph/input", size) for size in self.input_shape))
        if len(self.normalisation.mean) != self.input_shape[2]:
            raise NetworkFileError(
                "normalisation/mean", f"{self.input_shape[2]} channels", str(len(self.normalisation.mean))
            )
        if not self.layers:
            raise NetworkFileError("graph", "at least one node", "none")
        if not all(isinstance(name, str) and name.isprintable() for name in self.classes):
            raise NetworkFileError("classes", "a list of printable names", describe(self.classes))
        for text in [*self.provenance, *self.provenance.values()]:
            if not isinstance(text, str) or not text.replace("\n", "").isprintable():
                raise NetworkFileError("provenance", "an object of printable texts", describe(text))
        output = self.shapes[self.layers[-1].name]
        if output != (len(self.classes),):
            raise NetworkFileError(
                f"graph/{self.layers[-1].name}", f"an output of {len(self.classes)} classes", str(output)
            )
        self._check_samples("evaluation", self.evaluation)
        self._check_samples("calibration", self.calibration)
        names = [layer.name for layer in self.crossbar_layers]
        for preset, ranges in self.ranges.items():
            if not (isinstance(preset, str) and preset.isprintable()):
                raise NetworkFileError("ranges", "printable names of presets", describe(preset))
            instance(f"ranges/{preset}", ranges, Mapping)
            if sorted(ranges) != sorted(names):
                raise NetworkFileError(f"ranges/{preset}", f"the crossbar layers {names}", describe(list(ranges)))
            for name, top in ranges.items():
                instance(f"ranges/{preset}/{name}", top, Range)
        object.__setattr__(self, "ranges", {preset: dict(ranges) for preset, ranges in self.ranges.items()})

    def _check_samples(self, where: str, samples: Samples | None) -> None:
        if samples is None:
            return
        instance(where, samples, Samples)
        if samples.images.shape[1:] != self.input_shape:
            raise NetworkFileError(
                f"{where}/images", f"images of shape {self.input_shape}", str(samples.images.shape[1:])
            )
        if len(samples) and samples.labels.max() >= len(self.classes):
            raise NetworkFileError(
                f"{where}/labels", f"labels below {len(self.classes)}", str(int(samples.labels.max()))
            )

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Output shape of every node, ``"input"`` included."""
        shapes: dict[str, Shape] = {"input": self.input_shape}
        for layer in self.layers:
            if layer.name in shapes:
                raise NetworkFileError("graph", "unique node names", f"{layer.name!r} twice")
            missing = [name for name in layer.inputs if name not in shapes]
            if missing:
                raise NetworkFileError(
                    f"graph/{layer.name}/inputs", "nodes that come before it (no cycle)", describe(missing[0])
                )
            shape = shapes[layer.name] = layer.shape_after(*(shapes[name] for name in layer.inputs))
            if prod(shape) > MAP_LIMIT:
                raise NetworkFileError(f"graph/{layer.name}", f"an output of at most {MAP_LIMIT} elements", str(shape))
        return shapes

    @property
    def crossbar_layers(self) -> tuple[CrossbarLayer, ...]:
        """The layers on PCM, in file order; the position here is the layer's address in draws."""
        return tuple(layer for layer in self.layers if isinstance(layer, CrossbarLayer))

    @property
    def weights(self) -> int:
        """Number of weights on PCM, biases of crossbar layers included."""
        return sum(layer.rows * layer.columns for layer in self.crossbar_layers)

    @property
    def devices(self) -> int:
        """Number of PCM devices: two a weight."""
        return 2 * self.weights
