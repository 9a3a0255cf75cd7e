"""Programs: a network as steps, each computing one node from others for a few images at a time.

`analog` is a chip, `floats` the digital baseline, `calibration` a chip whose batch normalisations are given the
statistics of what they receive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pcmref import crossbar, periphery, profiling
from pcmref.arrays import Float32, UInt64, read_only
from pcmref.backend import fused, kernels
from pcmref.chip import Snapshot
from pcmref.converters import PRESETS, Readout
from pcmref.draws import Purpose, stream_key
from pcmref.errors import ParameterError, describe, instance
from pcmref.im2col import Geometry, geometry
from pcmref.kernels_numpy import LANES
from pcmref.layers import Add, BatchNorm, CrossbarLayer, GlobalAveragePool, Layer, MaxPool, PadShortcut, Relu
from pcmref.network import Network
from pcmref.periphery import Corrections
from pcmref.profiling import stage
from pcmref.schedule import Chain, chains

__all__ = ["NormStep", "Operation", "Plan", "Step", "Tap", "Trace", "analog", "calibration", "floats"]

#: An operation of the graph on n images, with their addresses.
Operation: TypeAlias = Callable[..., Float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """What a tap sees of one node, for n images; nothing in it can be written to.

    A call of `logits` goes through its images in chunks, so a node is seen once for each chunk, in order.

    Parameters
    ----------
    layer : str
    image : uint64, shape (n,)
        Addresses of the images.
    product : crossbar.Product, optional
        Every stage of a crossbar layer, from the DAC's codes to the output codes; None for digital nodes.
    activations : float32, shape (n, ...)
        The node's output.
    """

    layer: str
    image: UInt64
    product: crossbar.Product | None
    activations: Float32


Tap: TypeAlias = Callable[[Trace], None]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation, ``operation(inputs..., image)``, that computes node `name` from nodes `inputs`."""

    name: str
    inputs: tuple[str, ...]
    operation: Operation


@dataclass(frozen=True, kw_only=True)
class NormStep:
    """A step in two parts, so that a batch normalisation can be given the statistics of what it receives.

    ``before(inputs..., image)`` gives the input of `norm`; ``after(that, folded, others..., image)`` applies the
    folded normalisation and what follows it.
    """

    name: str
    inputs: tuple[str, ...]
    others: tuple[str, ...]
    norm: BatchNorm
    before: Operation
    after: Operation


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A network as steps in an order of evaluation."""

    network: Network
    steps: tuple[Step, ...]


def analog(
    snapshot: Snapshot,
    *,
    corrections: Corrections | None = None,
    readout: Readout = PRESETS["paper"],
    tap: Tap | None = None,
) -> Plan:
    """Return the program of a chip: crossbar layers analog, the rest digital; with a tap, a step for each node."""
    corrections = Corrections() if corrections is None else corrections
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("corrections", corrections, Corrections)
    instance("readout", readout, Readout, "pcmref.PRESETS")
    corrections.check(snapshot.network)
    crossbars = _crossbars(snapshot, corrections, readout, Purpose.PRODUCT)
    steps = []
    for chain in chains(snapshot.network, fused=tap is None):
        if matrix := crossbars.get(chain.head.name):
            norm = None if chain.norm is None else _folded(chain.norm, corrections)
            operation = _crossbar_node(chain, matrix.geometry, matrix.unit, _analog_sums(matrix, tap), norm, tap)
            if tap is None:
                operation = _fused_analog(chain, matrix, norm, operation)
        else:
            operation = _digital_node(chain.head, corrections, tap)
        steps.append(Step(name=chain.name, inputs=chain.inputs, operation=operation))
    return Plan(network=snapshot.network, steps=tuple(steps))


def floats(network: Network, *, tap: Tap | None = None) -> Plan:
    """Return the program of the digital baseline."""
    steps = []
    for chain in chains(network, fused=tap is None):
        if isinstance(layer := chain.head, CrossbarLayer):
            shape = _geometry(network, layer)
            norm = None if chain.norm is None else _folded(chain.norm, Corrections())
            unit = np.ones(layer.columns, np.float32)
            filled = _filled(layer)
            operation = _crossbar_node(chain, shape, unit, _float_sums(filled, shape), norm, tap)
            if tap is None:
                operation = _fused_floats(chain, shape, filled, norm, operation)
        else:
            operation = _digital_node(layer, Corrections(), tap)
        steps.append(Step(name=chain.name, inputs=chain.inputs, operation=operation))
    return Plan(network=network, steps=tuple(steps))


def calibration(snapshot: Snapshot, *, corrections: Corrections, readout: Readout) -> tuple[Step | NormStep, ...]:
    """Return the steps of a chip that sees calibration images: every batch normalisation is a `NormStep`."""
    crossbars = _crossbars(snapshot, corrections, readout, Purpose.CALIBRATION)
    steps: list[Step | NormStep] = []
    for chain in chains(snapshot.network):
        norm, matrix = chain.norm, crossbars.get(chain.head.name)
        if isinstance(chain.head, BatchNorm):
            norm, before = chain.head, _identity
        elif matrix is not None:
            alone = Chain(head=chain.head, name=chain.head.name) if norm is not None else chain
            before = _crossbar_node(alone, matrix.geometry, matrix.unit, _analog_sums(matrix, None), None, None)
            before = _fused_analog(alone, matrix, None, before)
        else:
            before = _digital_node(chain.head, corrections, None)
        if norm is None:
            steps.append(Step(name=chain.name, inputs=chain.inputs, operation=before))
            continue
        others = () if chain.other is None else (chain.other,)
        steps.append(
            NormStep(
                name=chain.name,
                inputs=chain.head.inputs,
                others=others,
                norm=norm,
                before=before,
                after=_after_norm(chain),
            )
        )
    return tuple(steps)


def _crossbars(
    snapshot: Snapshot, corrections: Corrections, readout: Readout, purpose: Purpose
) -> dict[str, crossbar.Crossbar]:
    return {
        layer.name: crossbar.build(
            read,
            _geometry(snapshot.network, layer),
            readout,
            g_step_us=snapshot.model.g_step_us,
            gain=corrections.gain.get(layer.name, np.ones(1)),
            key=stream_key(snapshot.seed, purpose, address, t_s=snapshot.t_s, read=snapshot.read),
        )
        for address, (layer, read) in enumerate(zip(snapshot.network.crossbar_layers, snapshot.layers, strict=True))
    }


#: What a crossbar layer hands to the digital side: output codes, their step, and the product for taps.
Sums: TypeAlias = tuple[npt.NDArray[Any], Float32, crossbar.Product | None]


def _analog_sums(matrix: crossbar.Crossbar, tap: Tap | None) -> Callable[[Float32, UInt64], Sums]:
    def sums(x: Float32, image: UInt64) -> Sums:
        product = crossbar.multiply(matrix, x, image, keep_tiles=tap is not None)
        return product.output_codes, product.output_step, product

    return sums


def _filled(layer: CrossbarLayer) -> Float32:
    """Return the weights of a float layer, filled up with columns of 0."""
    matrix = np.zeros((layer.rows, -(-layer.columns // LANES) * LANES), np.float32)
    matrix[:, : layer.columns] = layer.matrix()
    return matrix


def _float_sums(matrix: Float32, shape: Geometry) -> Callable[[Float32, UInt64], Sums]:
    def sums(x: Float32, image: UInt64) -> Sums:
        with stage("digital baseline"):
            found = kernels().accumulate_float(_padded(x, shape), shape.pixel, shape.row, matrix)
        return found, np.ones(len(x), np.float32), None

    return sums


def _crossbar_node(
    chain: Chain,
    shape: Geometry,
    unit: Float32,
    sums: Callable[[Float32, UInt64], Sums],
    norm: tuple[Float32, Float32] | None,
    tap: Tap | None,
) -> Operation:
    def operation(x: Float32, *rest: Any) -> Float32:
        *other, image = rest
        codes, step, product = sums(x.reshape(len(x), shape.height, shape.width, shape.channels), image)
        with stage("digital periphery"):
            addend = other[0].reshape(len(x), -1, len(unit)) if other else None
            flat = kernels().finish(codes, step, unit, norm, addend, chain.rectify)
        values = flat.reshape(len(x), *shape.out_shape)
        if tap is not None:
            tap(_trace(chain.name, image, values, None if product is None else product.seen()))
        return values

    return operation


def _fused_analog(
    chain: Chain, matrix: crossbar.Crossbar, norm: tuple[Float32, Float32] | None, staged: Operation
) -> Operation:
    """Return a layer in one call where there is one; with the same bits as `staged`."""
    module = fused()
    layer = None if module is None else module.analog(matrix, norm, chain.rectify)
    if layer is None:
        return staged

    def checked(x: Float32, other: Float32 | None, image: UInt64) -> Float32:
        values, top = layer(x, other, image)
        crossbar.check_finite(matrix, top, image)
        return np.asarray(values)

    return _fused_node(matrix.geometry, checked, staged)


def _fused_floats(
    chain: Chain, shape: Geometry, matrix: Float32, norm: tuple[Float32, Float32] | None, staged: Operation
) -> Operation:
    module = fused()
    if module is None:
        return staged
    return _fused_node(shape, module.floats(shape, matrix, shape.out_shape[-1], norm, chain.rectify), staged)


def _fused_node(
    shape: Geometry, layer: Callable[[Float32, Float32 | None, UInt64], Float32], staged: Operation
) -> Operation:
    def operation(x: Float32, *rest: Any) -> Float32:
        if profiling.active():
            return staged(x, *rest)
        *other, image = rest
        addend = other[0].reshape(len(x), -1, shape.out_shape[-1]) if other else None
        values = layer(x.reshape(len(x), shape.height, shape.width, shape.channels), addend, image)
        return values.reshape(len(x), *shape.out_shape)

    return operation


def _after_norm(chain: Chain) -> Operation:
    def operation(x: Float32, folded: tuple[Float32, Float32], *rest: Any) -> Float32:
        *other, _ = rest
        one = np.ones(max(len(x), x.shape[-1]), np.float32)
        with stage("digital periphery"):
            flat = x.reshape(len(x), -1, x.shape[-1])
            addend = other[0].reshape(flat.shape) if other else None
            values = kernels().finish(flat, one[: len(x)], one[: x.shape[-1]], folded, addend, chain.rectify)
        return values.reshape(x.shape)

    return operation


def _identity(x: Float32, image: UInt64) -> Float32:
    return x


def _geometry(network: Network, layer: CrossbarLayer) -> Geometry:
    return geometry(layer, network.shapes[layer.inputs[0]], network.shapes[layer.name])


def _padded(x: Float32, shape: Geometry) -> Float32:
    """Return the input of a float layer in a padded buffer, with the constant 1 of a bias."""
    padded = np.zeros((len(x), *shape.padded_shape), np.float32)
    rows, columns = (slice(shape.padding, shape.padding + size) for size in (shape.height, shape.width))
    padded[:, rows, columns, : shape.channels] = x
    if shape.bias:
        padded[..., shape.channels] = 1
    return padded


def _folded(norm: BatchNorm, corrections: Corrections) -> tuple[Float32, Float32]:
    return periphery.fold(norm, corrections.statistics.get(norm.name) or periphery.stored_statistics(norm))


def _digital_node(layer: Layer, corrections: Corrections, tap: Tap | None) -> Operation:
    compute = _function(layer, corrections)

    def operation(*inputs_and_image: Any) -> Float32:
        *inputs, image = inputs_and_image
        with stage("digital periphery"):
            values = compute(*inputs)
        if tap is not None:
            tap(_trace(layer.name, image, values, None))
        return values

    return operation


def _trace(layer: str, image: UInt64, values: Float32, product: crossbar.Product | None) -> Trace:
    """Return what a tap gets: it must not change what the next node reads."""
    return Trace(layer=layer, image=read_only(image), product=product, activations=read_only(values))


def _function(layer: Layer, corrections: Corrections) -> Callable[..., Float32]:
    match layer:
        case BatchNorm():
            scale, offset = _folded(layer, corrections)
            return lambda x: periphery.batch_norm(x, scale, offset)
        case Relu():
            return periphery.relu
        case Add():
            return periphery.add
        case PadShortcut():
            return lambda x: periphery.pad_shortcut(layer, x)
        case MaxPool():
            return lambda x: periphery.max_pool(layer, x)
        case GlobalAveragePool():
            return periphery.global_average_pool
    raise ParameterError(f"graph/{layer.name}", "a known operation", describe(layer.op))
