"""Networks: a graph of typed layers, checked and with every shape resolved.

Shapes are those of one image: ``(height, width, channels)`` for feature maps, ``(channels,)`` after
the global pooling.  Activations are channels-last everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import ClassVar, TypeAlias

import numpy as np

from pcmref.arrays import Float32, Int64, UInt8
from pcmref.converters import Range
from pcmref.errors import DataError, NetworkFileError, describe

__all__ = [
    "Add",
    "BatchNorm",
    "Conv",
    "CrossbarLayer",
    "GlobalAveragePool",
    "Layer",
    "Linear",
    "MaxPool",
    "Network",
    "Normalisation",
    "PadShortcut",
    "Relu",
    "Samples",
    "number_names",
]

Shape: TypeAlias = tuple[int, ...]

#: Largest stride, padding, window, or number of pixels along one axis of the input.
AXIS_LIMIT = 1 << 16
#: Most elements of a padded feature map of one image.
MAP_LIMIT = 1 << 26


def _positive(where: str, value: object, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= AXIS_LIMIT:
        raise NetworkFileError(where, f"an integer from {least} to {AXIS_LIMIT}", describe(value))


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One node of the graph: its name and the names of the nodes that it reads.

    ``"input"`` names the normalised image.
    """

    name: str
    inputs: tuple[str, ...]

    #: Name of the operation in network files.
    op: ClassVar[str] = ""
    #: How many nodes the operation reads.
    arity: ClassVar[int] = 1
    #: Tensor name -> number of axes; a trailing "?" marks an optional tensor.
    tensors: ClassVar[Mapping[str, int]] = {}

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name.isprintable()) or (
            self.name in ("", ".", "input") or "/" in self.name
        ):
            raise NetworkFileError("graph", "a printable node name without '/', not 'input'", describe(self.name))
        if len(self.inputs) != self.arity or not all(isinstance(i, str) for i in self.inputs):
            raise NetworkFileError(f"graph/{self.name}/inputs", f"{self.arity} node name(s)", describe(self.inputs))
        for tensor, axes in self.tensors.items():
            self._check_tensor(tensor.rstrip("?"), axes, optional=tensor.endswith("?"))

    def _check_tensor(self, tensor: str, axes: int, *, optional: bool) -> None:
        where = f"tensors/{self.name}/{tensor}"
        value = getattr(self, tensor)
        if value is None and optional:
            return
        if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.ndim != axes:
            found = f"{value.dtype} with {value.ndim}" if isinstance(value, np.ndarray) else describe(value)
            raise NetworkFileError(where, f"a float32 array with {axes} axes", found)
        if 0 in value.shape:
            raise NetworkFileError(where, "no empty axis", f"shape {value.shape}")
        if not np.isfinite(value).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            raise NetworkFileError(where, "finite numbers", f"{value[place]} at {list(place)}")
        frozen = np.array(value, order="C")  # a copy: what was checked is what is used
        frozen.flags.writeable = False
        object.__setattr__(self, tensor, frozen)

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return the output shape for the given input shapes, or raise `NetworkFileError`."""
        return shapes[0]

    def _expect_map(self, shape: Shape) -> tuple[int, int, int]:
        if len(shape) != 3:
            raise NetworkFileError(f"graph/{self.name}", "an input of shape (height, width, channels)", str(shape))
        return shape[0], shape[1], shape[2]

    def _window_steps(self, size: int, kernel: int, stride: int, padding: int) -> int:
        steps = (size + 2 * padding - kernel) // stride + 1
        if size + 2 * padding < kernel:
            raise NetworkFileError(
                f"graph/{self.name}", f"an input of at least {kernel - 2 * padding} pixels", str(size)
            )
        return steps


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossbarLayer(Layer):
    """A layer whose weights sit on PCM: a matrix of ``rows`` inputs by ``columns`` outputs."""

    weight: Float32
    bias: Float32 | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bias is not None and self.bias.shape != (self.weight.shape[0],):
            raise NetworkFileError(
                f"tensors/{self.name}/bias", f"shape ({self.weight.shape[0]},)", f"shape {self.bias.shape}"
            )

    @property
    def columns(self) -> int:
        """Number of outputs of the crossbar matrix."""
        return int(self.weight.shape[0])

    @property
    def rows(self) -> int:
        """Number of inputs of the crossbar matrix; a bias is its last row."""
        return self.weight.size // self.columns + (self.bias is not None)

    def matrix(self) -> Float32:
        """Return the crossbar matrix, shape ``(rows, columns)``, float32.

        Row ``(i * kernel_width + j) * channels + c`` is kernel position ``(i, j)``, channel ``c``; a
        bias is the last row.
        """
        kernel_first = np.moveaxis(self.weight, 1, -1)  # (out, kh, kw, in), or (out, in) unchanged
        rows = kernel_first.reshape(self.columns, -1).T
        if self.bias is not None:
            rows = np.concatenate([rows, self.bias[None, :]])
        return np.ascontiguousarray(rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(CrossbarLayer):
    """Convolution; ``weight`` has shape ``(out, in, kernel_height, kernel_width)``."""

    stride: int = 1
    padding: int = 0

    op: ClassVar[str] = "conv"
    tensors: ClassVar[Mapping[str, int]] = {"weight": 4, "bias?": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(f"graph/{self.name}/stride", self.stride)
        _positive(f"graph/{self.name}/padding", self.padding, least=0)

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel height and width in pixels."""
        return self.weight.shape[2], self.weight.shape[3]

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(out_height, out_width, out)``."""
        height, width, channels = self._expect_map(shapes[0])
        if channels != self.weight.shape[1]:
            raise NetworkFileError(
                f"tensors/{self.name}/weight", f"{channels} input channels", str(self.weight.shape[1])
            )
        padded = (height + 2 * self.padding) * (width + 2 * self.padding) * channels
        if padded > MAP_LIMIT:
            raise NetworkFileError(
                f"graph/{self.name}/padding", f"at most {MAP_LIMIT} padded elements an image", str(padded)
            )
        size = [
            self._window_steps(pixels, kernel, self.stride, self.padding)
            for pixels, kernel in zip((height, width), self.kernel, strict=True)
        ]
        return size[0], size[1], self.columns


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(CrossbarLayer):
    """Fully connected layer; ``weight`` has shape ``(out, in)``."""

    op: ClassVar[str] = "linear"
    tensors: ClassVar[Mapping[str, int]] = {"weight": 2, "bias?": 1}

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(out,)``."""
        if shapes[0] != (self.weight.shape[1],):
            raise NetworkFileError(f"tensors/{self.name}/weight", f"{shapes[0]} inputs", f"({self.weight.shape[1]},)")
        return (self.columns,)


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchNorm(Layer):
    """Batch normalisation with stored statistics, one value a channel."""

    gamma: Float32
    beta: Float32
    mean: Float32
    var: Float32
    eps: float = 1e-5

    op: ClassVar[str] = "batch_norm"
    tensors: ClassVar[Mapping[str, int]] = {"gamma": 1, "beta": 1, "mean": 1, "var": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.eps, float) and 0 < self.eps < 1):
            raise NetworkFileError(f"graph/{self.name}/eps", "a number between 0 and 1", describe(self.eps))
        if (self.var < 0).any():
            raise NetworkFileError(f"tensors/{self.name}/var", "no negative variance", str(float(self.var.min())))

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return the input's shape."""
        for tensor in self.tensors:
            found = getattr(self, tensor).shape
            if found != shapes[0][-1:]:
                raise NetworkFileError(f"tensors/{self.name}/{tensor}", f"shape {shapes[0][-1:]}", f"shape {found}")
        return shapes[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Relu(Layer):
    """``max(x, 0)``."""

    op: ClassVar[str] = "relu"


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Layer):
    """Sum of two nodes of one shape (the residual connection)."""

    op: ClassVar[str] = "add"
    arity: ClassVar[int] = 2

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return the common shape of both inputs."""
        if shapes[0] != shapes[1]:
            raise NetworkFileError(f"graph/{self.name}", f"two inputs of shape {shapes[0]}", str(shapes[1]))
        return shapes[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class PadShortcut(Layer):
    """He's option-A shortcut: every `stride`-th pixel, zero channels added before and after."""

    stride: int = 1
    before: int = 0
    after: int = 0

    op: ClassVar[str] = "pad_shortcut"

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(f"graph/{self.name}/stride", self.stride)
        _positive(f"graph/{self.name}/before", self.before, least=0)
        _positive(f"graph/{self.name}/after", self.after, least=0)

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(ceil(height / stride), ceil(width / stride), before + channels + after)``."""
        height, width, channels = self._expect_map(shapes[0])
        return -(-height // self.stride), -(-width // self.stride), self.before + channels + self.after


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Layer):
    """Maximum over a square window; padding never wins."""

    kernel: int
    stride: int
    padding: int = 0

    op: ClassVar[str] = "max_pool"

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(f"graph/{self.name}/kernel", self.kernel)
        _positive(f"graph/{self.name}/stride", self.stride)
        _positive(f"graph/{self.name}/padding", self.padding, least=0)
        if 2 * self.padding > self.kernel:
            raise NetworkFileError(
                f"graph/{self.name}/padding",
                f"at most half the kernel, {self.kernel // 2}",
                str(self.padding),
            )

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(out_height, out_width, channels)``."""
        height, width, channels = self._expect_map(shapes[0])
        size = [self._window_steps(pixels, self.kernel, self.stride, self.padding) for pixels in (height, width)]
        return size[0], size[1], channels


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalAveragePool(Layer):
    """Mean over all pixels of each channel."""

    op: ClassVar[str] = "global_average_pool"

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(channels,)``."""
        return self._expect_map(shapes[0])[2:]


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """``x = (pixel / full_scale - mean) / std`` per channel, for uint8 pixels."""

    full_scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (self.full_scale, *self.mean, *self.std)
        if not all(isinstance(n, float) and np.isfinite(n) for n in numbers):
            raise NetworkFileError("normalisation", "finite numbers", describe(numbers))
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
class Samples:
    """Images and their labels.

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
        """Return a copy of the first `count` samples: the others can be forgotten."""
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
        layer; `pcmref.converters.with_stored_ranges` applies them.
    sha256 : str
        Of the file that it was read from; empty otherwise.

    Raises
    ------
    NetworkFileError
        With the place, if anything does not fit.
    """

    layers: tuple[Layer, ...]
    input_shape: tuple[int, int, int]
    normalisation: Normalisation
    classes: tuple[str, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)
    evaluation: Samples | None = None
    calibration: Samples | None = None
    ranges: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    sha256: str = ""

    def __post_init__(self) -> None:
        if len(self.input_shape) != 3:
            raise NetworkFileError("graph/input", "(height, width, channels)", describe(self.input_shape))
        for size in self.input_shape:
            _positive("graph/input", size)
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
            if sorted(ranges) != sorted(names):
                raise NetworkFileError(f"ranges/{preset}", f"the crossbar layers {names}", describe(list(ranges)))

    def _check_samples(self, where: str, samples: Samples | None) -> None:
        if samples is None:
            return
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
            shapes[layer.name] = layer.shape_after(*(shapes[name] for name in layer.inputs))
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


def number_names(kind: type[Layer]) -> set[str]:
    """Return the names of the numbers, other than tensors, that define a layer (stride, padding, ...)."""
    return {f.name for f in fields(kind)} - {"name", "inputs", *(t.rstrip("?") for t in kind.tensors)}
