"""Layers: the operations of a network, their tensors and the shapes that come out of them; SPEC.md, section 2.

Shapes are those of one image: ``(height, width, channels)`` for feature maps, ``(channels,)`` after
the global pooling.  Activations are channels-last everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np

from pcmref.arrays import Float32, ReadOnly, frozen, refuse_masked
from pcmref.errors import NetworkError, ParameterError, describe, integer

__all__ = [
    "MAP_LIMIT",
    "Add",
    "BatchNorm",
    "Conv",
    "CrossbarLayer",
    "GlobalAveragePool",
    "Layer",
    "Linear",
    "MaxPool",
    "PadShortcut",
    "Relu",
    "Shape",
    "check_input",
    "check_size",
    "number_names",
]

Shape: TypeAlias = tuple[int, ...]

#: Largest stride, padding, window, or number of pixels along one axis of the input.
AXIS_LIMIT = 1 << 16
#: Most elements of a feature map of one image, padded or not.
MAP_LIMIT = 1 << 26


def check_size(where: str, value: object, least: int = 1) -> int:
    """Return `value` as an int if it is an integer from `least` to `AXIS_LIMIT`."""
    expected = f"an integer from {least} to {AXIS_LIMIT}"
    try:
        return integer(where, value, expected, least, AXIS_LIMIT)
    except ParameterError as error:
        raise NetworkError(where, expected, error.found) from None


def check_input(shape: Sequence[object]) -> tuple[int, int, int]:
    """Return the shape of an image as ints if it is one: (height, width, channels)."""
    if len(shape) != 3:
        raise NetworkError("graph/input", "(height, width, channels)", describe(tuple(shape)))
    height, width, channels = (check_size("graph/input", size) for size in shape)
    return height, width, channels


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer(ReadOnly):
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
            raise NetworkError("graph", "a printable node name without '/', not 'input'", describe(self.name))
        several = isinstance(self.inputs, Sequence) and not isinstance(self.inputs, str)
        names = tuple(self.inputs) if several else ()
        if len(names) != self.arity or not all(isinstance(name, str) for name in names):
            expected = f"a tuple of {self.arity} node name{'s' if self.arity > 1 else ''}"
            raise NetworkError(f"graph/{self.name}/inputs", expected, describe(self.inputs))
        object.__setattr__(self, "inputs", names)
        for tensor, axes in self.tensors.items():
            self._check_tensor(tensor.rstrip("?"), axes, optional=tensor.endswith("?"))

    def _check_tensor(self, tensor: str, axes: int, *, optional: bool) -> None:
        where = f"tensors/{self.name}/{tensor}"
        value = getattr(self, tensor)
        if value is None and optional:
            return
        refuse_masked(where, value)
        if not isinstance(value, np.ndarray) or value.dtype != np.float32 or value.ndim != axes:
            found = f"{value.dtype} with {value.ndim}" if isinstance(value, np.ndarray) else describe(value)
            raise NetworkError(where, f"a float32 array with {axes} axes", found)
        if 0 in value.shape:
            raise NetworkError(where, "no empty axis", f"shape {value.shape}")
        if not np.isfinite(value).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            raise NetworkError(where, "finite numbers", f"{value[place]} at {list(place)}")
        object.__setattr__(self, tensor, frozen(value))  # a copy: what was checked is what is used

    def _check_sizes(self, **least: int) -> None:
        """Make the numbers of these names ints, each of at least so much."""
        for name, smallest in least.items():
            size = check_size(f"graph/{self.name}/{name}", getattr(self, name), smallest)
            object.__setattr__(self, name, size)

    def as_node(self) -> dict[str, Any]:
        """Return what the graph of a network file says of the layer."""
        numbers = {name: getattr(self, name) for name in sorted(number_names(type(self)))}
        return {"name": self.name, "op": self.op, "inputs": list(self.inputs), **numbers}

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return the output shape for the given input shapes, or raise `NetworkError`."""
        return shapes[0]

    def _expect_map(self, shape: Shape) -> tuple[int, int, int]:
        if len(shape) != 3:
            raise NetworkError(f"graph/{self.name}", "an input of shape (height, width, channels)", str(shape))
        return shape[0], shape[1], shape[2]

    def _expect_padded_map(self, shape: Shape, padding: int) -> tuple[int, int, int]:
        height, width, channels = self._expect_map(shape)
        padded = (height + 2 * padding) * (width + 2 * padding) * channels
        if padded > MAP_LIMIT:
            raise NetworkError(
                f"graph/{self.name}/padding", f"at most {MAP_LIMIT} padded elements an image", str(padded)
            )
        return height, width, channels

    def _window_steps(self, size: int, kernel: int, stride: int, padding: int) -> int:
        steps = (size + 2 * padding - kernel) // stride + 1
        if size + 2 * padding < kernel:
            raise NetworkError(f"graph/{self.name}", f"an input of at least {kernel - 2 * padding} pixels", str(size))
        return steps


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossbarLayer(Layer):
    """A layer whose weights sit on PCM: a matrix of ``rows`` inputs by ``columns`` outputs."""

    weight: Float32
    bias: Float32 | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bias is not None and self.bias.shape != (self.weight.shape[0],):
            raise NetworkError(
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
        for size in self.kernel:
            check_size(f"tensors/{self.name}/weight", size)
        self._check_sizes(stride=1, padding=0)

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel height and width in pixels."""
        return self.weight.shape[2], self.weight.shape[3]

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(out_height, out_width, out)``."""
        height, width, channels = self._expect_padded_map(shapes[0], self.padding)
        if channels != self.weight.shape[1]:
            raise NetworkError(f"tensors/{self.name}/weight", f"{channels} input channels", str(self.weight.shape[1]))
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
            raise NetworkError(f"tensors/{self.name}/weight", f"{shapes[0]} inputs", f"({self.weight.shape[1]},)")
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
        if not (isinstance(self.eps, (float, np.floating)) and 0 < self.eps < 1):
            raise NetworkError(f"graph/{self.name}/eps", "a number between 0 and 1", describe(self.eps))
        object.__setattr__(self, "eps", float(self.eps))
        if (self.var < 0).any():
            raise NetworkError(f"tensors/{self.name}/var", "no negative variance", str(float(self.var.min())))

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return the input's shape."""
        for tensor in self.tensors:
            found = getattr(self, tensor).shape
            if found != shapes[0][-1:]:
                raise NetworkError(f"tensors/{self.name}/{tensor}", f"shape {shapes[0][-1:]}", f"shape {found}")
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
            raise NetworkError(f"graph/{self.name}", f"two inputs of shape {shapes[0]}", str(shapes[1]))
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
        self._check_sizes(stride=1, before=0, after=0)

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
        self._check_sizes(kernel=1, stride=1, padding=0)
        if 2 * self.padding > self.kernel:
            raise NetworkError(
                f"graph/{self.name}/padding",
                f"at most half the kernel, {self.kernel // 2}",
                str(self.padding),
            )

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(out_height, out_width, channels)``."""
        height, width, channels = self._expect_padded_map(shapes[0], self.padding)
        size = [self._window_steps(pixels, self.kernel, self.stride, self.padding) for pixels in (height, width)]
        return size[0], size[1], channels


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalAveragePool(Layer):
    """Mean over all pixels of each channel."""

    op: ClassVar[str] = "global_average_pool"

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(channels,)``."""
        return self._expect_map(shapes[0])[2:]


def number_names(kind: type[Layer]) -> set[str]:
    """Return the names of the numbers, other than tensors, that define a layer (stride, padding, ...)."""
    return {f.name for f in fields(kind)} - {"name", "inputs", *(t.rstrip("?") for t in kind.tensors)}
