"""Modules of a PyTorch state dict in the order of its tensors: what they are follows from shapes, not from their names.

Only the last part of a tensor's name is read, which PyTorch's own classes give: ``weight``, ``running_mean``, ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pcmref.arrays import Float32
from pcmref.errors import NetworkError, ParameterError, describe, listed
from pcmref.network.layers import BatchNorm, Conv, Layer, Linear

__all__ = [
    "EPS",
    "STATISTICS",
    "UNUSED",
    "Modules",
    "Norm",
    "Tensors",
    "Unit",
    "eps_of",
    "expect_patterns",
    "modules_of",
    "parent",
]

Tensors: TypeAlias = Mapping[str, npt.NDArray[Any]]

#: PyTorch's default eps of a batch norm, and the pattern of all names.
EPS: Mapping[str, float] = {"*": 1e-5}
#: Tensors of a batch norm, and what it counts, which no inference needs.
STATISTICS = ("weight", "bias", "running_mean", "running_var")
UNUSED = "num_batches_tracked"


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm:
    """A batch norm, and the name that it has in the state dict."""

    source: str
    gamma: Float32
    beta: Float32
    mean: Float32
    var: Float32
    eps: float

    def layer(self, name: str, reads: str) -> BatchNorm:
        """Return the layer that normalises another one's output."""
        tensors = {"gamma": self.gamma, "beta": self.beta, "mean": self.mean, "var": self.var}
        return BatchNorm(name=name, inputs=(reads,), **tensors, eps=self.eps)


@dataclass(frozen=True, kw_only=True, eq=False)
class Unit:
    """A convolution with the batch norm that belongs to it, or a fully connected layer; its name in the state dict."""

    source: str
    weight: Float32
    bias: Float32 | None = None
    norm: Norm | None = None

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return int(self.weight.shape[0])

    @property
    def inputs(self) -> int:
        """Number of input channels, of each group."""
        return int(self.weight.shape[1])

    @property
    def kernel(self) -> tuple[int, ...]:
        """Height and width of a convolution's kernel."""
        return self.weight.shape[2:]

    def __str__(self) -> str:
        if self.weight.ndim == 2:
            return f"a fully connected layer {self.inputs} -> {self.outputs}"
        return f"a {'x'.join(map(str, self.kernel))} convolution {self.inputs} -> {self.outputs}"

    def conv(self, name: str, norm: str, reads: str, *, stride: int = 1, groups: int = 1) -> Iterator[Layer]:
        """Yield a convolution that keeps its input's size (over `stride`), and the batch norm if there is one."""
        top, left = (size // 2 for size in self.kernel)
        yield Conv(
            name=name,
            inputs=(reads,),
            weight=self.weight,
            bias=self.bias,
            stride=stride,
            padding=top if top == left else (top, left, top, left),
            groups=groups,
        )
        if self.norm is not None:
            yield self.norm.layer(norm, name)

    def last(self, norm: str, name: str) -> str:
        """Return the name of the last layer that `conv` yields."""
        return name if self.norm is None else norm

    def linear(self, name: str, reads: str) -> Linear:
        """Return the fully connected layer."""
        return Linear(name=name, inputs=(reads,), weight=self.weight, bias=self.bias)


@dataclass(frozen=True, kw_only=True, eq=False)
class Modules:
    """The modules of a network: convolutions and batch norms in order, and the fully connected layers."""

    body: tuple[Unit | Norm, ...]
    head: tuple[Unit, ...]

    def units(self) -> tuple[Unit, ...]:
        """Return the convolutions, each with the batch norm that follows it.

        After several convolutions at once come as many batch norms, in the same order.

        Raises
        ------
        NetworkError
            If some have none, or of another number of channels.
        """
        if not any(isinstance(module, Norm) for module in self.body):
            return tuple(module for module in self.body if isinstance(module, Unit))
        runs: list[tuple[list[Unit], list[Norm]]] = [([], [])]
        for module in self.body:
            if isinstance(module, Norm):
                runs[-1][1].append(module)
                continue
            if runs[-1][1]:
                runs.append(([], []))
            runs[-1][0].append(module)
        return tuple(unit for convs, norms in runs for unit in _with_norms(convs, norms))

    def units_after_norms(self) -> tuple[tuple[Unit, ...], Norm | None]:
        """Return the convolutions, each with the batch norm before it if there is one; and a batch norm after all.

        Raises
        ------
        NetworkError
            If there are two batch norms at a time.
        """
        found: list[Unit] = []
        waiting: Norm | None = None
        for module in self.body:
            if isinstance(module, Unit):
                found.append(replace(module, norm=waiting))
                waiting = None
            elif waiting is None:
                waiting = module
            else:
                raise NetworkError(module.source, "a convolution after each batch norm", f"none after {waiting.source}")
        return tuple(found), waiting


def _with_norms(convs: Sequence[Unit], norms: Sequence[Norm]) -> Iterator[Unit]:
    """Yield convolutions with the batch norms that come after them."""
    if len(convs) != len(norms):
        names = [*(conv.source for conv in convs), *(norm.source for norm in norms)]
        where, found = names[-1 if len(norms) > len(convs) else 0], f"{len(norms)} after {len(convs)}: {listed(names)}"
        raise NetworkError(where, "a batch norm after each convolution, or none at all", found)
    for conv, norm in zip(convs, norms, strict=True):
        if len(norm.gamma) != conv.outputs:
            raise NetworkError(norm.source, f"{conv.outputs} channels, as {conv.source} has", str(len(norm.gamma)))
        yield replace(conv, norm=norm)


def modules_of(tensors: Tensors, eps: Mapping[str, float] = EPS) -> Modules:
    """Return the modules of a state dict.

    Parameters
    ----------
    tensors : mapping of str to float32 array
    eps : mapping of pattern to float
        Of the batch norms with such names (``"layer1.*"``); the last pattern that fits counts, PyTorch's default
        where none does.

    Raises
    ------
    NetworkError
        Naming a module that is neither a convolution, nor a batch norm, nor a fully connected layer.
    ParameterError
        If a pattern fits no batch norm.
    """
    parts: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name, tensor in tensors.items():
        source, _, leaf = name.rpartition(".")
        parts.setdefault(source, {})[leaf] = tensor
    modules = [_module(source, members, eps) for source, members in parts.items()]
    expect_patterns(eps, [module.source for module in modules if isinstance(module, Norm)])
    return Modules(
        body=tuple(module for module in modules if not _is_linear(module)),
        head=tuple(module for module in modules if isinstance(module, Unit) and _is_linear(module)),
    )


def _is_linear(module: Unit | Norm) -> bool:
    return isinstance(module, Unit) and module.weight.ndim == 2


def _module(source: str, members: dict[str, npt.NDArray[Any]], eps: Mapping[str, float]) -> Unit | Norm:
    """Return the module that has these tensors."""
    for leaf, tensor in members.items():
        _check(f"{source}.{leaf}".lstrip("."), tensor)
    leaves = members.keys() - {UNUSED}
    if "running_mean" in leaves or "running_var" in leaves:
        return _norm(source, members, eps)
    weight = members.get("weight")
    if weight is None or weight.ndim not in (2, 4) or not leaves <= {"weight", "bias"}:
        shapes = listed([f"{leaf} {members[leaf].shape}" for leaf in members])
        raise NetworkError(
            source or "tensors",
            "the tensors of a two-dimensional convolution, batch norm or fully connected layer",
            shapes,
        )
    return Unit(source=source, weight=weight, bias=members.get("bias"))


def _norm(source: str, members: dict[str, npt.NDArray[Any]], eps: Mapping[str, float]) -> Norm:
    for leaf in STATISTICS:
        if leaf not in members:
            raise NetworkError(f"{source}.{leaf}", "a tensor, as batch norms with statistics have", "none")
        if members[leaf].shape != members["weight"].shape or members[leaf].ndim != 1:
            expected = f"one number a channel, {members['weight'].shape}"
            raise NetworkError(f"{source}.{leaf}", expected, f"shape {members[leaf].shape}")
    if unknown := members.keys() - {*STATISTICS, UNUSED}:
        raise NetworkError(f"{source}.{min(unknown)}", "no other tensor of a batch norm", "one")
    gamma, beta, mean, var = (members[leaf] for leaf in STATISTICS)
    return Norm(source=source, gamma=gamma, beta=beta, mean=mean, var=var, eps=eps_of(source, eps))


def eps_of(norm: str, eps: Mapping[str, float]) -> float:
    """Return the eps of the last pattern that fits the name of a batch norm."""
    return [value for pattern, value in {**EPS, **eps}.items() if fnmatchcase(norm, pattern)][-1]


def expect_patterns(eps: Mapping[str, float], norms: Sequence[str]) -> None:
    """Raise `ParameterError` unless each pattern fits the name of a batch norm."""
    for pattern in eps:
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in norms):
            raise ParameterError("eps", f"the name of a batch norm: {listed(norms)}", describe(pattern))


def _check(name: str, tensor: npt.NDArray[Any]) -> None:
    """Refuse numbers that no weights can be."""
    if name.endswith(UNUSED):
        return
    if tensor.dtype != np.float32:
        raise NetworkError(name, "floating-point numbers", str(tensor.dtype))
    if 0 in tensor.shape:
        raise NetworkError(name, "no empty axis", f"shape {tensor.shape}")
    if not np.isfinite(tensor).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(tensor))[0])
        raise NetworkError(name, "finite numbers", f"{tensor[place]} at {list(place)}")


def parent(module: Unit | Norm) -> str:
    """Return the name of the module that holds a module."""
    return module.source.rpartition(".")[0]
