"""Chips: a network programmed once onto devices, and snapshots of it at any time.

`program` gives every weight a pair of devices and lets the technology program them; `Chip.at` reads them all at one
time, on the integer grid on which all sums are exact.  SPEC.md, sections 4 to 7.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import get_args

import numpy as np

from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.arithmetic.draws import Purpose, check_seed, stream_key
from pcmref.arrays import Bool, Float64, Frozen, Int16, UInt32, check_array, read_only
from pcmref.devices.limits import saturated_share, warn_of_saturated_codes, warn_of_unscaled_noise
from pcmref.devices.mapping import MappedLayer, Scale, check_significance, map_network
from pcmref.devices.published import NANDAKUMAR_2019
from pcmref.devices.technology import DeviceCodes, State, Technology, Words, check_technology
from pcmref.errors import ParameterError, called, instance, integer, one_of
from pcmref.network.graph import Network
from pcmref.profiling import stage

__all__ = ["Chip", "ChipLayer", "Snapshot", "SnapshotLayer", "program"]


#: The codes of the devices of a layer, by the names that `SnapshotLayer` has for them.
CODES = ("g_mean_code", "g_read_code", "g_variance_code")


@dataclass(frozen=True, kw_only=True, eq=False)
class ChipLayer(Frozen):
    """The programmed devices of one crossbar layer.

    Parameters
    ----------
    name : str
    shape : (int, int)
        Rows, of all slices, and columns of the crossbar matrix.
    weight_per_us : float64, shape (columns,)
        Weight that 1 uS stands for.
    zero : bool, shape (columns,)
        Columns whose weights are all 0.
    state : State
        What the technology remembers of them; of PCM a `pcmref.devices.pcm.PcmState`.
    """

    name: str
    shape: tuple[int, ...]
    weight_per_us: Float64
    zero: Bool
    state: State

    def __post_init__(self) -> None:
        check_array(f"{self.name}: weight_per_us", self.weight_per_us, np.float64, self.shape[1:], 0.0)
        check_array(f"{self.name}: zero", self.zero, np.bool_, self.shape[1:], 0)
        super().__post_init__()


@dataclass(frozen=True, kw_only=True, eq=False)
class SnapshotLayer(Frozen):
    """One crossbar layer at one time, on the integer grids of SPEC.md, section 7.

    Parameters
    ----------
    name : str
    g_mean_code : int16, shape (2, rows, columns)
        Conductance of every device, + then -, after drift, without read noise, in steps of the conductance grid.
    g_read_code : int16, shape (2, rows, columns)
        The same with the read noise of this read event.
    g_variance_code : int16, shape (2, rows, columns)
        Variance of the read noise of every device, in steps of the variance grid.
    weight_per_us : float64, shape (columns,)
        Weight that 1 uS stands for.
    as_read : tuple of int
        Check sums of the three as the chip gave them: they tell what was replaced.  None for codes from elsewhere.

    Raises
    ------
    ParameterError
        If a code is negative or an array has another type or shape.
    """

    name: str
    g_mean_code: Int16
    g_read_code: Int16
    g_variance_code: Int16
    weight_per_us: Float64
    as_read: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_array(f"{self.name}: g_mean_code", self.g_mean_code, np.int16, (2, None, None), 0)
        for field in ("g_read_code", "g_variance_code"):
            check_array(f"{self.name}: {field}", getattr(self, field), np.int16, (2, *self.shape), 0)
        check_array(f"{self.name}: weight_per_us", self.weight_per_us, np.float64, self.shape[1:], 0.0)
        super().__post_init__()

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, of all slices, and columns of the crossbar matrix."""
        return self.g_mean_code.shape[1:]

    @cached_property
    def replaced(self) -> tuple[str, ...]:
        """Names of the codes that are not those that the chip gave."""
        sums = self.as_read or (-1, -1, -1)
        return tuple(name for name, given in zip(CODES, sums, strict=True) if _check_sum(getattr(self, name)) != given)

    def check_replaced(self, used: Collection[str], use: str) -> None:
        """Raise `ParameterError` where codes were replaced, but none of those that `use` reads."""
        if self.replaced and not set(self.replaced) & set(used):
            names = " and ".join(used)
            raise ParameterError(
                f"layer {self.name!r}", f"{names} replaced, which {use} reads", f"{' and '.join(self.replaced)} alone"
            )

    @property
    def mean_code(self) -> Int16:
        """``m = n(G_D+) - n(G_D-)``, without read noise, shape (rows, columns)."""
        return read_only(self.g_mean_code[0] - self.g_mean_code[1])

    @property
    def read_code(self) -> Int16:
        """``r = n(G+) - n(G-)``, as read, shape (rows, columns)."""
        return read_only(self.g_read_code[0] - self.g_read_code[1])

    @property
    def variance_code(self) -> Int16:
        """``V = min(V+ + V-, 32767)`` of the pairs, shape (rows, columns)."""
        both = self.g_variance_code[0].astype(np.int32) + self.g_variance_code[1]
        return read_only(np.minimum(both, CODE_LIMIT).astype(np.int16))


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A chip at one time, for one read event; parameters as of `program`.

    Its layers are those of its network, in the same order.  Devices that were measured, or that are stuck, come in with
    `dataclasses.replace`: as g_read_code for frozen read noise and GDC, as g_mean_code and g_variance_code for fresh.
    """

    network: Network
    model: Technology
    seed: int
    scale: Scale
    t_s: float
    read: int
    layers: tuple[SnapshotLayer, ...]
    significance: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        _check_origin(self)
        _check_layers(self, SnapshotLayer)
        if self.t_s != self.model.reference_time_s:
            object.__setattr__(self, "t_s", self.model.check_time(self.t_s))
        object.__setattr__(self, "read", _read_number(self.read))

    @property
    def chip(self) -> tuple[str, Technology, int, Scale, tuple[int, ...]]:
        """What makes the chip the one that it is."""
        return self.network.digest, self.model, self.seed, self.scale, self.significance

    @cached_property
    def devices_sha256(self) -> str:
        """SHA-256 of all codes and scales; SPEC.md, appendix A."""
        digest = hashlib.sha256()
        for layer in self.layers:
            for values in (layer.g_mean_code, layer.g_read_code, layer.g_variance_code, layer.weight_per_us):
                digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Chip:
    """A programmed network; its layers are those of the network, in the same order."""

    network: Network
    model: Technology
    seed: int
    scale: Scale
    layers: tuple[ChipLayer, ...]
    significance: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        _check_origin(self)
        _check_layers(self, ChipLayer)

    def at(self, t_s: float, *, read: int = 0) -> Snapshot:
        """Return the chip `t_s` seconds after its last programming pulse.

        Parameters
        ----------
        t_s : float
            Time in seconds (aihwkit's parameter sets count from t_c on instead).
        read : int
            Number of the read event at that time: another number draws other read noise.

        Raises
        ------
        ParameterError
            If the time or the number is out of range.
        """
        return self._snapshot(self.model.check_time(t_s), _read_number(read))

    def targets(self) -> Iterator[MappedLayer]:
        """Yield what the devices of each layer were meant to be: mapped anew, since a chip does not keep it."""
        return map_network(self.network, g_max_us=self.model.g_max_us, scale=self.scale, significance=self.significance)

    def reference(self) -> Snapshot:
        """Return the chip before any drift, the reference of GDC."""
        return self._snapshot(self.model.reference_time_s, 0)

    def _snapshot(self, t_s: float, read: int) -> Snapshot:
        layers: list[SnapshotLayer] = []
        shares: dict[str, float] = {}
        for layer in self.layers:
            address = self.network.addresses[layer.name]
            with stage("drift and read devices"):
                codes = self.model.read(layer.state, t_s, _words(self.seed, address, layer.shape, t_s, read))
                instance(f"{layer.name}: what {self.model.name} reads", codes, DeviceCodes)
                layers.append(
                    SnapshotLayer(
                        name=layer.name,
                        g_mean_code=codes.mean,
                        g_read_code=codes.read,
                        g_variance_code=codes.variance,
                        weight_per_us=layer.weight_per_us,
                        as_read=tuple(_check_sum(values) for values in (codes.mean, codes.read, codes.variance)),
                    )
                )
            shares[layer.name] = saturated_share(codes)
            warn_of_unscaled_noise(layer.name, layer.zero, layer.weight_per_us, codes, self.scale)
        warn_of_saturated_codes(shares, t_s)
        return Snapshot(
            network=self.network,
            model=self.model,
            seed=self.seed,
            scale=self.scale,
            t_s=t_s,
            read=read,
            layers=tuple(layers),
            significance=self.significance,
        )


def program(
    network: Network,
    *,
    model: Technology = NANDAKUMAR_2019,
    seed: int = 0,
    scale: Scale = "layer",
    significance: Sequence[int] = (1,),
    progress: Callable[[str], None] = lambda name: None,
) -> Chip:
    """Program every weight of `network` onto a pair of devices, or several.

    Parameters
    ----------
    network : Network
    model : Technology
        One of the published sets of PCM, `pcmref.MODELS`, or another technology.
    seed : int
        Chooses the chip; 0 to 2**64 - 1.
    scale : "layer" or "column"
        What the largest weight, mapped to G_max, is taken over.
    significance : sequence of int
        One factor for each pair of a weight: (1, 1) averages over two pairs.  All pairs have the weight's target; each
        slice of pairs is converted on its own, and its codes count so much.
    progress : callable
        Called with the name of each layer when it is done.

    Returns
    -------
    Chip

    Raises
    ------
    ParameterError
        If the seed, the scale or the significance is not valid.
    """
    seed = check_seed(seed)
    instance("network", network, Network)
    check_technology(model)
    called("progress", progress)
    factors, layers = check_significance(significance), []
    for mapped in map_network(network, g_max_us=model.g_max_us, scale=scale, significance=factors):
        name, shape = mapped.name, mapped.shape
        with stage("program devices"):
            state = model.program(mapped.pair_targets_us(), _words(seed, network.addresses[name], shape))
        layers.append(
            ChipLayer(name=name, shape=shape, weight_per_us=mapped.weight_per_us, zero=mapped.zero, state=state)
        )
        progress(name)
    return Chip(network=network, model=model, seed=seed, scale=scale, layers=tuple(layers), significance=factors)


def _words(seed: int, address: int, shape: tuple[int, ...], t_s: float = 0.0, read: int = 0) -> Words:
    """Return the random words of a layer, four a weight: those of the streams of SPEC.md, section 4."""

    def words(purpose: Purpose) -> UInt32:
        key = stream_key(seed, purpose, address, t_s=t_s, read=read)
        return np.asarray(kernels().weight_words(key, prod(shape)))

    return words


def _check_sum(codes: Int16) -> int:
    return zlib.crc32(np.ascontiguousarray(codes).data)


def _check_origin(value: Chip | Snapshot) -> None:
    """Raise `ParameterError` unless a chip comes from a model, a seed and a scale."""
    check_technology(value.model)
    one_of("scale", value.scale, get_args(Scale))
    object.__setattr__(value, "seed", check_seed(value.seed))
    object.__setattr__(value, "significance", check_significance(value.significance))


def _read_number(read: object) -> int:
    return integer("read", read, "an integer from 0 to 2**32 - 1", 0, (1 << 32) - 1)


def _check_layers(value: Chip | Snapshot, kind: type) -> None:
    """Raise `ParameterError` unless the layers are the crossbar layers of the network."""
    network, slices = value.network, len(value.significance)
    layers: tuple[ChipLayer | SnapshotLayer, ...] = value.layers
    instance("network", network, Network)
    instance("layers", layers, tuple)
    expected = [f"{layer.name!r} of shape {(layer.rows * slices, layer.columns)}" for layer in network.crossbar_layers]
    if len(layers) != len(expected):
        raise ParameterError("layers", f"the {len(expected)} crossbar layers of the network", str(len(layers)))
    for number, (layer, wanted) in enumerate(zip(layers, expected, strict=True)):
        instance(f"layers[{number}]", layer, kind)
        if (found := f"{layer.name!r} of shape {layer.shape}") != wanted:
            raise ParameterError(f"layers[{number}]", wanted, found)
