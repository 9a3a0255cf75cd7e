"""Chips: a network programmed once onto PCM, and snapshots of it at any time.

`program` draws what programming decides for every device; `Chip.at` lets the devices drift, draws their read
noise and rounds the conductances to the integer grid on which all sums are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from pcmref import pcm
from pcmref.arrays import Float64, Frozen, Int16, Int64, UInt32, check_array, read_only
from pcmref.backend import kernels
from pcmref.draws import Purpose, check_seed, stream_key, uniforms
from pcmref.errors import ParameterError, describe, instance, integer, one_of
from pcmref.mapping import MappedLayer, Scale, map_network
from pcmref.network import Network
from pcmref.pcm import NANDAKUMAR_2019, PcmModel
from pcmref.profiling import stage

__all__ = ["Chip", "ChipLayer", "Snapshot", "SnapshotLayer", "program", "program_layer", "read_layer"]


#: Largest conductance code and variance code: both are 16-bit integers.
CODE_LIMIT = 32767
#: Step of the variance grid in units of the squared conductance step.
VARIANCE_STEP = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class ChipLayer(Frozen):
    """The programmed devices of one crossbar layer; all others are RESET (0 uS at any time).

    Parameters
    ----------
    mapped : MappedLayer
    device : int64, shape (n,)
        Which devices: ``(polarity * rows + row) * columns + column``, polarity 0 for +, 1 for -.
    g_prog_us : float64, shape (n,)
        Conductance at t_c, uS.
    nu : float64, shape (n,)
        Drift exponent.
    q_s : float64, shape (n,)
        Relative amplitude of the read noise.
    """

    mapped: MappedLayer
    device: Int64
    g_prog_us: Float64
    nu: Float64
    q_s: Float64

    def __post_init__(self) -> None:
        instance("mapped", self.mapped, MappedLayer)
        name, devices = self.mapped.name, 2 * self.mapped.g_target_us.size
        check_array(f"{name}: device", self.device, np.int64, (None,), 0)
        if len(self.device) and not (self.device[-1] < devices and (np.diff(self.device) > 0).all()):
            raise ParameterError(f"{name}: device", f"rising numbers below {devices}", describe(self.device.tolist()))
        for field, least in (("g_prog_us", 0.0), ("nu", -np.inf), ("q_s", 0.0)):
            check_array(f"{name}: {field}", getattr(self, field), np.float64, (len(self.device),), least)
        super().__post_init__()

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.mapped.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns of the crossbar matrix."""
        return self.mapped.g_target_us.shape

    def dense(self, values: Float64) -> Float64:
        """Spread one value a programmed device to shape ``(2, rows, columns)``: +, then -; else 0."""
        rows, columns = self.shape
        spread = np.zeros(2 * rows * columns)
        spread[self.device] = values
        return spread.reshape(2, rows, columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class SnapshotLayer(Frozen):
    """One crossbar layer at one time, on the integer grids.

    Parameters
    ----------
    name : str
    g_mean_code : int16, shape (2, rows, columns)
        Conductance of every device, + then -, after drift, without read noise, in steps of the conductance grid.
    g_read_code : int16, shape (2, rows, columns)
        The same with the read noise of this read event.
    variance_code : int16, shape (rows, columns)
        Variance of the read noise of the pair, in steps of the variance grid.
    weight_per_us : float64, shape (columns,)
        Weight that 1 uS stands for.

    Raises
    ------
    ParameterError
        If a code is negative or an array has another type or shape.
    """

    name: str
    g_mean_code: Int16
    g_read_code: Int16
    variance_code: Int16
    weight_per_us: Float64

    def __post_init__(self) -> None:
        check_array(f"{self.name}: variance_code", self.variance_code, np.int16, (None, None), 0)
        for field in ("g_mean_code", "g_read_code"):
            check_array(f"{self.name}: {field}", getattr(self, field), np.int16, (2, *self.shape), 0)
        check_array(f"{self.name}: weight_per_us", self.weight_per_us, np.float64, self.shape[1:], 0.0)
        super().__post_init__()

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns of the crossbar matrix."""
        return self.variance_code.shape

    @property
    def mean_code(self) -> Int16:
        """``G+ - G-`` without read noise, shape (rows, columns)."""
        return read_only(self.g_mean_code[0] - self.g_mean_code[1])

    @property
    def read_code(self) -> Int16:
        """``G+ - G-`` as read, shape (rows, columns)."""
        return read_only(self.g_read_code[0] - self.g_read_code[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A chip at one time, for one read event.

    Its layers are those of its network, in the same order.  Devices that were measured, or that are stuck, come in with
    `dataclasses.replace`.
    """

    network: Network
    model: PcmModel
    seed: int
    scale: Scale
    t_s: float
    read: int
    layers: tuple[SnapshotLayer, ...]

    def __post_init__(self) -> None:
        _check_origin(self)
        _check_layers(self.network, self.layers, SnapshotLayer)
        if self.t_s != self.model.reference_time_s:
            object.__setattr__(self, "t_s", pcm.check_time(self.model, self.t_s))
        object.__setattr__(self, "read", _read_number(self.read))


@dataclass(frozen=True, kw_only=True, eq=False)
class Chip:
    """A network programmed onto PCM; its layers are those of the network, in the same order."""

    network: Network
    model: PcmModel
    seed: int
    scale: Scale
    layers: tuple[ChipLayer, ...]

    def __post_init__(self) -> None:
        _check_origin(self)
        _check_layers(self.network, self.layers, ChipLayer)

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
        return self._snapshot(pcm.check_time(self.model, t_s), read)

    def reference(self) -> Snapshot:
        """Return the chip before any drift: read at t_c, the reference of GDC."""
        return self._snapshot(self.model.reference_time_s, 0)

    def _snapshot(self, t_s: float, read: int) -> Snapshot:
        read = _read_number(read)
        layers = []
        for address, layer in enumerate(self.layers):
            with stage("drift and read devices"):
                key = stream_key(self.seed, Purpose.READ, address, t_s=t_s, read=read)
                layers.append(read_layer(self.model, layer, t_s, kernels().weight_words(key, _weights(layer))))
        return Snapshot(
            network=self.network,
            model=self.model,
            seed=self.seed,
            scale=self.scale,
            t_s=t_s,
            read=read,
            layers=tuple(layers),
        )


def program(
    network: Network,
    *,
    model: PcmModel = NANDAKUMAR_2019,
    seed: int = 0,
    scale: Scale = "layer",
    progress: Callable[[str], None] = lambda name: None,
) -> Chip:
    """Program every weight of `network` onto a pair of devices.

    Parameters
    ----------
    network : Network
    model : PcmModel
        One of the published sets in `pcmref.pcm`.
    seed : int
        Chooses the chip; 0 to 2**64 - 1.
    scale : "layer" or "column"
        What the largest weight, mapped to G_max, is taken over.
    progress : callable
        Called with the name of each layer when it is done.

    Returns
    -------
    Chip

    Raises
    ------
    ParameterError
        If the seed or the scale is not valid.
    """
    seed = check_seed(seed)
    instance("network", network, Network)
    instance("model", model, PcmModel, "pcmref.MODELS")
    layers = []
    for address, mapped in enumerate(map_network(network, g_max_us=model.g_max_us, scale=scale)):
        weights = mapped.g_target_us.size
        with stage("program devices"):
            noise = kernels().weight_words(stream_key(seed, Purpose.PROGRAM, address), weights)
            convergence = None
            if model.nonconverged_share > 0.0:
                convergence = kernels().weight_words(stream_key(seed, Purpose.CONVERGENCE, address), weights)
            layers.append(program_layer(model, mapped, noise, convergence))
        progress(mapped.name)
    return Chip(network=network, model=model, seed=seed, scale=scale, layers=tuple(layers))


def program_layer(
    model: PcmModel,
    mapped: MappedLayer,
    noise: UInt32,
    convergence: UInt32 | None = None,
) -> ChipLayer:
    """Program one layer with given random words.

    Parameters
    ----------
    model : PcmModel
    mapped : MappedLayer
    noise : uint32, shape (4, rows * columns)
        Programming noise of the + and - device, drift exponent of the + and - device, for each weight.
    convergence : uint32, shape (4, rows * columns), optional
        Convergence of the + and - device; their conductance if they did not converge.  None: all converge.  What did
        not converge drifts and fluctuates as a device that was meant to be where it is.
    """
    signed = mapped.g_target_us.reshape(-1)
    targets = np.concatenate([np.maximum(signed, 0.0), np.maximum(-signed, 0.0)])
    device = np.flatnonzero(np.ones_like(targets) if model.programs_zero else targets).astype(np.int64)
    target_us = targets[device]
    target = target_us / model.g_max_us
    g_prog_us = pcm.programmed_us(model, target_us, kernels().normals(noise[:2].reshape(-1)[device]))
    if convergence is not None:
        failed = uniforms(convergence[:2].reshape(-1)[device]) < model.nonconverged_share
        failed &= target_us > 0.0
        anywhere_us = uniforms(convergence[2:].reshape(-1)[device]) * model.g_max_us
        g_prog_us = np.where(failed, anywhere_us, g_prog_us)
        target = np.where(failed, anywhere_us / model.g_max_us, target)
    nu = pcm.drift_exponent(model, target, kernels().normals(noise[2:].reshape(-1)[device]))
    read_at = g_prog_us / model.g_max_us if model.read_noise_of_programmed else target
    return ChipLayer(
        mapped=mapped,
        device=device,
        g_prog_us=g_prog_us,
        nu=nu,
        q_s=pcm.relative_read_noise(model, read_at),
    )


def read_layer(model: PcmModel, layer: ChipLayer, t_s: float, noise: UInt32) -> SnapshotLayer:
    """Let one layer drift to `t_s` and read it with given random words.

    Parameters
    ----------
    model : PcmModel
    layer : ChipLayer
    t_s : float
    noise : uint32, shape (4, rows * columns)
        Read noise of the + and - device of each weight (words 0 and 1).
    """
    drift_us = pcm.drifted_us(model, layer.g_prog_us, layer.nu, t_s)
    spread_us = pcm.read_noise_spread_us(model, drift_us, layer.q_s, t_s)
    read_us = pcm.read_us(drift_us, spread_us, kernels().normals(noise[:2].reshape(-1)[layer.device]))
    mean, read = (layer.dense(_grid(g_us, model.g_step_us)) for g_us in (drift_us, read_us))
    variance = layer.dense(spread_us * spread_us).sum(axis=0)
    variance_step = VARIANCE_STEP * model.g_step_us**2
    return SnapshotLayer(
        name=layer.name,
        g_mean_code=mean.astype(np.int16),
        g_read_code=read.astype(np.int16),
        variance_code=_grid(variance, variance_step).astype(np.int16),
        weight_per_us=layer.mapped.weight_per_us,
    )


def _grid(values: Float64, step: float) -> Float64:
    """Round to the nearest multiple of `step` (ties to even), saturating: ``min(rint(v / step), 32767)``."""
    return np.minimum(np.rint(values / step), CODE_LIMIT)


def _check_origin(value: Chip | Snapshot) -> None:
    """Raise `ParameterError` unless a chip comes from a model, a seed and a scale."""
    instance("model", value.model, PcmModel, "pcmref.MODELS")
    one_of("scale", value.scale, get_args(Scale))
    object.__setattr__(value, "seed", check_seed(value.seed))


def _read_number(read: object) -> int:
    return integer("read", read, "an integer from 0 to 2**32 - 1", 0, (1 << 32) - 1)


def _check_layers(network: Network, layers: Sequence[ChipLayer | SnapshotLayer], kind: type) -> None:
    """Raise `ParameterError` unless `layers` are the crossbar layers of `network`."""
    instance("network", network, Network)
    instance("layers", layers, tuple)
    expected = [f"{layer.name!r} of shape {(layer.rows, layer.columns)}" for layer in network.crossbar_layers]
    if len(layers) != len(expected):
        raise ParameterError("layers", f"the {len(expected)} crossbar layers of the network", str(len(layers)))
    for number, (layer, wanted) in enumerate(zip(layers, expected, strict=True)):
        instance(f"layers[{number}]", layer, kind)
        if (found := f"{layer.name!r} of shape {layer.shape}") != wanted:
            raise ParameterError(f"layers[{number}]", wanted, found)


def _weights(layer: ChipLayer) -> int:
    return layer.mapped.g_target_us.size
