"""Layers: what nodes of a network have in common, and those with trained tensors; SPEC.md, section 2.

Shapes are those of one image: ``(height, width, channels)`` for maps, ``(channels,)`` for vectors.  Activations are
channels-last everywhere.  The operations without weights are in ``operations.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np

from pcmref.arrays import Float32, ReadOnly, frozen, refuse_masked
from pcmref.errors import NetworkError, describe
from pcmref.network.windows import Pair, Sides, Windows, check_size, check_sizes

__all__ = [
    "BatchNorm",
    "Conv",
    "CrossbarLayer",
    "Layer",
    "Linear",
    "Shape",
    "check_input",
    "number_names",
]

Shape: TypeAlias = tuple[int, ...]

#: The arity of an operation that reads two nodes or more.
SEVERAL = 0
#: Largest size of a number that is not an integer: what float32 holds with room to spare.
FLOAT_LIMIT = 2.0**100
#: Equal to no number: one that must be said.
_REQUIRED = object()


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
    #: How many nodes the operation reads; `SEVERAL`: two or more.
    arity: ClassVar[int] = 1
    #: Tensor name -> number of axes; a trailing "?" marks an optional tensor.
    tensors: ClassVar[Mapping[str, int]] = {}
    #: Numbers that a network file leaves out where they have this value.
    defaults: ClassVar[Mapping[str, object]] = {}

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name.isprintable()) or (
            self.name in ("", ".", "input") or "/" in self.name
        ):
            raise NetworkError("graph", "a printable node name without '/', not 'input'", describe(self.name))
        several = isinstance(self.inputs, Sequence) and not isinstance(self.inputs, str)
        names = tuple(self.inputs) if several else ()
        counts = len(names) == self.arity or (self.arity == SEVERAL and len(names) >= 2)
        if not counts or not all(isinstance(name, str) for name in names):
            number = "two or more" if self.arity == SEVERAL else self.arity
            expected = f"a list of {number} node name{'s' if self.arity != 1 else ''}"
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

    def _check_window(self, **least: int) -> None:
        """Make the numbers of a window ints, or tuples of them; `padding` has four sides, the others two axes."""
        for name, smallest in least.items():
            count = 4 if name == "padding" else 2
            sizes = check_sizes(f"graph/{self.name}/{name}", getattr(self, name), count, smallest)
            object.__setattr__(self, name, sizes)

    def _check_switches(self, *names: str) -> None:
        for name in names:
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise NetworkError(f"graph/{self.name}/{name}", "true or false", describe(getattr(self, name)))
            object.__setattr__(self, name, bool(getattr(self, name)))

    def _check_floats(self, **expected: str) -> None:
        """Make the numbers of these names finite floats; `expected` says which are meant, for whoever gets it wrong."""
        for name, words in expected.items():
            value = getattr(self, name)
            number = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)
            if not number or not abs(value) <= FLOAT_LIMIT:
                raise NetworkError(f"graph/{self.name}/{name}", words, describe(value))
            object.__setattr__(self, name, float(value))

    def as_node(self) -> dict[str, Any]:
        """Return what the graph of a network file says of the layer."""
        numbers = {name: getattr(self, name) for name in sorted(number_names(type(self)))}
        said = {name: value for name, value in numbers.items() if self.defaults.get(name, _REQUIRED) != value}
        return {"name": self.name, "op": self.op, "inputs": list(self.inputs), **said}

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return the output shape for the given input shapes, or raise `NetworkError`."""
        return shapes[0]

    def _expect_channel_tensors(self, shape: Shape) -> None:
        """Raise `NetworkError` unless every tensor has one number for each channel of an input."""
        for tensor in self.tensors:
            found = getattr(self, tensor).shape
            if found != shape[-1:]:
                raise NetworkError(f"tensors/{self.name}/{tensor}", f"shape {shape[-1:]}", f"shape {found}")

    def _expect_map(self, shape: Shape) -> tuple[int, int, int]:
        if len(shape) != 3:
            raise NetworkError(f"graph/{self.name}", "an input of shape (height, width, channels)", str(shape))
        return shape[0], shape[1], shape[2]


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossbarLayer(Layer):
    """A layer whose weights sit on PCM: a matrix of ``rows`` inputs by ``columns`` outputs.

    A `digital` one is kept off the crossbars: its products are float32, in the order of the rows.
    """

    weight: Float32
    bias: Float32 | None = None
    digital: bool = False

    defaults: ClassVar[Mapping[str, object]] = {"digital": False}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_switches("digital")
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
        """Number of inputs of each column of the crossbar matrix; a bias is its last row."""
        return self.weight.size // self.columns + (self.bias is not None)

    def matrix(self) -> Float32:
        """Return the crossbar matrix, shape ``(rows, columns)``, float32.

        Row ``(i * kernel_width + j) * channels + c`` is kernel position ``(i, j)``, channel ``c`` of those that the
        column's group reads; a bias is the last row.
        """
        kernel_first = np.moveaxis(self.weight, 1, -1)  # (out, kh, kw, in), or (out, in) unchanged
        rows = kernel_first.reshape(self.columns, -1).T
        if self.bias is not None:
            rows = np.concatenate([rows, self.bias[None, :]])
        return np.ascontiguousarray(rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(CrossbarLayer):
    """Convolution; ``weight`` has shape ``(out, in / groups, kernel_height, kernel_width)``.

    Parameters
    ----------
    stride, dilation : int or (vertical, horizontal)
    padding : int or (top, left, bottom, right)
    groups : int
        Groups of input channels, each of which its own ``out / groups`` columns read, in order.
    """

    stride: Pair = 1
    padding: Sides = 0
    dilation: Pair = 1
    groups: int = 1

    op: ClassVar[str] = "conv"
    tensors: ClassVar[Mapping[str, int]] = {"weight": 4, "bias?": 1}
    defaults: ClassVar[Mapping[str, object]] = {"digital": False, "dilation": 1, "groups": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        for size in self.kernel:
            check_size(f"tensors/{self.name}/weight", size)
        self._check_window(stride=1, padding=0, dilation=1)
        self._check_sizes(groups=1)
        if self.columns % self.groups:
            raise NetworkError(
                f"graph/{self.name}/groups", f"a divisor of {self.columns} output channels", str(self.groups)
            )

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel height and width in pixels."""
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def windows(self) -> Windows:
        """What the pixels of the output see."""
        return Windows.of(self.kernel, self.stride, self.padding, self.dilation)

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(out_height, out_width, out)``."""
        height, width, channels = self._expect_map(shapes[0])
        self.windows.check(self.name, height, width, channels)
        if channels != (wanted := self.weight.shape[1] * self.groups):
            raise NetworkError(f"tensors/{self.name}/weight", f"{channels} input channels", str(wanted))
        return *self.windows.steps(height, width), self.columns


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
        self._expect_channel_tensors(shapes[0])
        return shapes[0]


def number_names(kind: type[Layer]) -> set[str]:
    """Return the names of the numbers, other than tensors, that define a layer (stride, padding, ...)."""
    return {f.name for f in fields(kind)} - {"name", "inputs", *(t.rstrip("?") for t in kind.tensors)}
