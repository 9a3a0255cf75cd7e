"""Operations without weights: what happens digitally between crossbar layers; SPEC.md, sections 2 and 9."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from pcmref.arrays import Float32
from pcmref.errors import NetworkError
from pcmref.network.layers import SEVERAL, Layer, Shape
from pcmref.network.windows import Pair, Sides, Windows

__all__ = [
    "Add",
    "Affine",
    "AveragePool",
    "ChannelShuffle",
    "Clip",
    "Concat",
    "Flatten",
    "GlobalAveragePool",
    "HardSigmoid",
    "LeakyRelu",
    "LocalResponseNorm",
    "MaxPool",
    "Multiply",
    "PadShortcut",
    "Relu",
    "Sigmoid",
    "TakeChannels",
    "Tanh",
]


#: What settings that are no integers may be, in words.
NUMBER = "a number of at most 2^100 in size"


# Element by element


@dataclass(frozen=True, kw_only=True, eq=False)
class Relu(Layer):
    """``max(x, 0)``."""

    op: ClassVar[str] = "relu"


@dataclass(frozen=True, kw_only=True, eq=False)
class LeakyRelu(Layer):
    """x where it is positive, else ``slope x``."""

    slope: float

    op: ClassVar[str] = "leaky_relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_floats(slope=NUMBER)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip(Layer):
    """x between `low` and `high`: ReLU6 with 0 and 6."""

    low: float
    high: float

    op: ClassVar[str] = "clip"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_floats(low=NUMBER, high=NUMBER)
        if self.low > self.high:
            raise NetworkError(f"graph/{self.name}/high", f"at least low, {self.low}", str(self.high))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sigmoid(Layer):
    """``1 / (1 + exp(-x))``."""

    op: ClassVar[str] = "sigmoid"


@dataclass(frozen=True, kw_only=True, eq=False)
class HardSigmoid(Layer):
    """``slope x + offset`` between 0 and 1."""

    slope: float
    offset: float

    op: ClassVar[str] = "hard_sigmoid"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_floats(slope=NUMBER, offset=NUMBER)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tanh(Layer):
    """Hyperbolic tangent."""

    op: ClassVar[str] = "tanh"


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Layer):
    """``x scale + shift`` with constants of each channel, which no compensation touches."""

    scale: Float32
    shift: Float32

    op: ClassVar[str] = "affine"
    tensors: ClassVar[Mapping[str, int]] = {"scale": 1, "shift": 1}

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return the input's shape."""
        self._expect_channel_tensors(shapes[0])
        return shapes[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalResponseNorm(Layer):
    """``x / (bias + alpha / size * sum of x^2 over size neighbouring channels)^beta``."""

    size: int
    alpha: float
    beta: float
    bias: float

    op: ClassVar[str] = "local_response_norm"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_sizes(size=1)
        self._check_floats(alpha=NUMBER, beta=NUMBER, bias=NUMBER)
        if self.alpha < 0:
            raise NetworkError(f"graph/{self.name}/alpha", "a number from 0 on", str(self.alpha))
        if self.bias < 2.0**-100:
            raise NetworkError(f"graph/{self.name}/bias", "a number from 2^-100 on", str(self.bias))


# Two nodes or more


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
class Multiply(Layer):
    """Product of two nodes of one shape, or of a map and a vector with a factor for each channel."""

    op: ClassVar[str] = "multiply"
    arity: ClassVar[int] = 2

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return the shape of the first input."""
        if shapes[1] not in (shapes[0], shapes[0][-1:]):
            expected = "two inputs of one shape, or a map and then a vector of its channels"
            raise NetworkError(f"graph/{self.name}", expected, f"{shapes[0]} and {shapes[1]}")
        return shapes[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Layer):
    """The channels of two nodes or more, one after the other."""

    op: ClassVar[str] = "concat"
    arity: ClassVar[int] = SEVERAL

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return the common shape of the inputs with all their channels."""
        for shape in shapes[1:]:
            if len(shape) != len(shapes[0]) or shape[:-1] != shapes[0][:-1]:
                raise NetworkError(
                    f"graph/{self.name}", f"inputs like the first, {shapes[0]}, but for channels", str(shape)
                )
        return *shapes[0][:-1], sum(shape[-1] for shape in shapes)


# Where elements lie


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
class ChannelShuffle(Layer):
    """Channels of all `groups` in turn: the first of each, then the second of each, and so on."""

    groups: int

    op: ClassVar[str] = "channel_shuffle"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_sizes(groups=1)

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return the input's shape."""
        if shapes[0][-1] % self.groups:
            expected = f"a divisor of {shapes[0][-1]} channels"
            raise NetworkError(f"graph/{self.name}/groups", expected, str(self.groups))
        return shapes[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class TakeChannels(Layer):
    """Channels `first` to ``first + count - 1``."""

    first: int
    count: int

    op: ClassVar[str] = "take_channels"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_sizes(first=0, count=1)

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return the input's shape with `count` channels."""
        *pixels, channels = shapes[0]
        if (end := self.first + self.count) > channels:
            raise NetworkError(f"graph/{self.name}/count", f"first + count of at most {channels}", str(end))
        return *pixels, self.count


@dataclass(frozen=True, kw_only=True, eq=False)
class Flatten(Layer):
    """A map as a vector, channel by channel and in each row by row."""

    op: ClassVar[str] = "flatten"

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(channels height width,)``."""
        return (prod(self._expect_map(shapes[0])),)


# Pooling


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Layer):
    """A pooling over windows.

    Parameters
    ----------
    kernel, stride : int or (vertical, horizontal)
    padding : int or (top, left, bottom, right)
    ceil : bool
        Whether a last window that only begins in the input counts as well.
    """

    kernel: Pair
    stride: Pair
    padding: Sides = 0
    ceil: bool = False

    @property
    def windows(self) -> Windows:
        """What the pixels of the output see."""
        return Windows.of(self.kernel, self.stride, self.padding, ceil=self.ceil)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_window(kernel=1, stride=1, padding=0)
        self._check_switches("ceil")

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(out_height, out_width, channels)``."""
        height, width, channels = self._expect_map(shapes[0])
        self.windows.check(self.name, height, width, channels)
        if not self.windows.see_pixels(height, width):
            expected = "a padding with which every window sees a pixel"
            raise NetworkError(f"graph/{self.name}/padding", expected, str(self.padding))
        return *self.windows.steps(height, width), channels


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Pool):
    """Maximum over a window, whose elements are `dilation` apart; padding never wins."""

    dilation: Pair = 1

    op: ClassVar[str] = "max_pool"
    defaults: ClassVar[Mapping[str, object]] = {"ceil": False, "dilation": 1}

    @property
    def windows(self) -> Windows:
        """What the pixels of the output see."""
        return Windows.of(self.kernel, self.stride, self.padding, self.dilation, ceil=self.ceil)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_window(dilation=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool(Pool):
    """Mean over a window: of its pixels, or, with `count_padding`, of its padding too."""

    count_padding: bool = False

    op: ClassVar[str] = "average_pool"
    defaults: ClassVar[Mapping[str, object]] = {"ceil": False, "count_padding": False}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_switches("count_padding")


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalAveragePool(Layer):
    """Mean over all pixels of each channel."""

    op: ClassVar[str] = "global_average_pool"

    def shape_after(self, *shapes: Shape) -> Shape:
        """Return ``(channels,)``."""
        return self._expect_map(shapes[0])[2:]
