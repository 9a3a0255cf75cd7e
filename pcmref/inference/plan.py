"""A network as steps in an order of evaluation, each computing one node from others for a few images at a time.

`analog_plan` is a chip, `digital_plan` the float baseline.  A step does not know who watches it: `walk` alone runs
the steps, keeps what later ones read, and shows each result to whoever watches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.operands import Digital, panels
from pcmref.arrays import Float32, Int64, UInt64, read_only
from pcmref.crossbar.layer import Crossbar, Product, activations, multiply, window
from pcmref.errors import ParameterError, describe
from pcmref.inference.chains import Chain, Grain, chains
from pcmref.inference.corrections import Corrections
from pcmref.inference.digital import folded, operation
from pcmref.inference.threads import CHUNK
from pcmref.network.cost import images_at_once
from pcmref.network.geometry import Geometry, geometry
from pcmref.network.graph import Network
from pcmref.network.layers import BatchNorm, CrossbarLayer
from pcmref.profiling import stage

__all__ = [
    "Device",
    "Plan",
    "Step",
    "Tap",
    "Trace",
    "Watch",
    "analog_plan",
    "digital_plan",
    "geometry_of",
    "normalising",
    "walk",
]

#: The activations of n images, and the product that they come from where every stage was computed.
Result: TypeAlias = tuple[Float32, Product | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One computation: ``compute(inputs..., image)`` gives the activations of a chain of nodes.

    It takes the activations of the nodes `inputs`, shape (n, ...) each, and the images' addresses, uint64, shape (n,).
    """

    chain: Chain
    compute: Callable[..., Result]
    #: "analog", "digital" (between crossbars) or "baseline".
    kind: str

    @cached_property
    def label(self) -> str:
        """What a profile calls the step."""
        return f"{self.kind} {self.name}"

    @property
    def name(self) -> str:
        """Name of the node whose activations the step computes."""
        return self.chain.name

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the nodes that it reads."""
        return self.chain.inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """What a tap sees of one node, for n images; nothing in it can be written to.

    Parameters
    ----------
    layer : str
    image : uint64, shape (n,)
        Addresses of the images.
    product : Product, optional
        Every stage of a crossbar layer, from the DAC's codes to the output codes; None for digital nodes.
    activations : float32, shape (n, ...)
        The node's output.
    """

    layer: str
    image: UInt64
    product: Product | None
    activations: Float32


#: A tap is called from the thread that called `logits`: for a chunk of at most 48 images with each node in the order of
#: the network's layers, then for the next chunk; so a node is seen once for each chunk, images in order.
Tap: TypeAlias = Callable[[Trace], None]
#: A device under test in place of the tiles: it is given the name of a crossbar layer and the product as it should be,
#: whose `input_codes` are its stimulus, and returns the output codes that it found, shape (n, pixels, columns).
Device: TypeAlias = Callable[[str, Product], Int64]
#: Whoever watches a walk; from whatever thread walks.
Watch: TypeAlias = Callable[[Trace], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A network as steps in an order of evaluation."""

    network: Network
    steps: tuple[Step, ...]

    @cached_property
    def at_once(self) -> int:
        """How many images a thread takes at a time."""
        return images_at_once(self.network, CHUNK)

    @cached_property
    def last_uses(self) -> tuple[frozenset[str], ...]:
        """Names of the nodes that nobody reads after each step."""
        last = {name: number for number, step in enumerate(self.steps) for name in step.inputs}
        return tuple(frozenset(n for n in step.inputs if last[n] == number) for number, step in enumerate(self.steps))


def walk(plan: Plan, x: Float32, image: UInt64, watch: Watch | None = None) -> Float32:
    """Run all steps for a few images and return the network's output; a node's is dropped after its last use."""
    values = {"input": x}
    for step, last in zip(plan.steps, plan.last_uses, strict=True):
        with stage(step.label):
            result, product = step.compute(*[values[name] for name in step.inputs], image)
        values[step.name] = result
        if watch is not None:  # it must not change what the next node reads
            watch(Trace(layer=step.name, image=read_only(image), product=product, activations=read_only(result)))
        for name in last:
            del values[name]
    return values[plan.network.layers[-1].name]


def analog_plan(
    network: Network,
    crossbars: Mapping[str, Crossbar],
    corrections: Corrections,
    grain: Grain,
    device: Device | None = None,
) -> Plan:
    """Return the plan of a chip: crossbar layers analog, the rest digital.

    Parameters
    ----------
    network : Network
    crossbars : mapping of crossbar layer to Crossbar
    corrections : Corrections
    grain : "layers", "norms" or "nodes"
        What is one step.  With "nodes" every stage of a product is computed and handed out.
    device : Device, optional
        With "nodes": whose output codes take the place of those of every product.
    """

    def step(chain: Chain) -> Step:
        if (crossbar := crossbars.get(chain.head.name)) is None:
            return Step(chain=chain, compute=_computed(network, chain, corrections), kind="digital")
        digital = _digital_part(chain, crossbar.unit, corrections)
        compute = _staged(crossbar, digital, device) if grain == "nodes" else _in_one_call(crossbar, digital)
        return Step(chain=chain, compute=compute, kind="analog")

    return Plan(network=network, steps=tuple(step(chain) for chain in chains(network, grain)))


def digital_plan(network: Network, grain: Grain) -> Plan:
    """Return the plan of the digital baseline."""
    computed = ((chain, _computed(network, chain, Corrections())) for chain in chains(network, grain))
    steps = (Step(chain=chain, compute=compute, kind="baseline") for chain, compute in computed)
    return Plan(network=network, steps=tuple(steps))


def normalising(chain: Chain, scale: Float32, offset: Float32) -> Callable[..., Result]:
    """Return the computation of a chain that begins with a batch normalisation, folded into `scale` and `offset`."""
    unit = np.ones_like(scale)
    digital = Digital(unit=unit, scale=scale, offset=offset, rectify=chain.rectify)

    def compute(x: Float32, *rest: Any) -> Result:
        *other, _ = rest
        flat = x.reshape(len(x), -1, len(unit))
        residual = other[0].reshape(flat.shape) if other else None
        return kernels().finish(flat, np.ones(len(x), np.float32), digital, residual).reshape(x.shape), None

    return compute


def geometry_of(network: Network, layer: CrossbarLayer) -> Geometry:
    """Return where a crossbar layer of a network reads its input."""
    return geometry(layer, network.shapes[layer.inputs[0]], network.shapes[layer.name])


def _digital_part(chain: Chain, unit: Float32, corrections: Corrections) -> Digital:
    """Return what follows the output codes of a layer."""
    scale, offset = np.ones_like(unit), np.full_like(unit, -0.0)  # x 1 + -0 is x, -0 included
    if chain.norm is not None:
        scale, offset = folded(chain.norm, corrections)
    return Digital(unit=unit, scale=scale, offset=offset, rectify=chain.rectify)


def _in_one_call(crossbar: Crossbar, digital: Digital) -> Callable[..., Result]:
    shape, layer = crossbar.geometry, activations(crossbar, digital)

    def compute(x: Float32, *rest: Any) -> Result:
        *other, image = rest
        values = layer(shape.maps(x), _pixels(other, shape), image)
        return values.reshape(len(x), *shape.out_shape), None

    return compute


def _staged(crossbar: Crossbar, digital: Digital, device: Device | None) -> Callable[..., Result]:
    shape = crossbar.geometry

    def compute(x: Float32, image: UInt64) -> Result:
        product = multiply(crossbar, shape.maps(x), image)
        if device is not None:
            product = _answered(crossbar.name, product, device)
        values = kernels().finish(product.output_codes, product.output_step, digital, None)
        return values.reshape(len(x), *shape.out_shape), product

    return compute


def _answered(name: str, product: Product, device: Device) -> Product:
    """Return a product with the output codes that a device under test found in place of its own."""
    found, wanted = np.asarray(device(name, product)), product.output_codes
    if found.dtype.kind not in "iu" or found.shape != wanted.shape:
        expected = f"integers of shape {wanted.shape}"
        raise ParameterError(f"device: {name}", expected, f"{found.dtype} of shape {describe(found.shape)}")
    return replace(product, output_codes=read_only(found.astype(np.int64)))


def _floats(layer: CrossbarLayer, shape: Geometry, digital: Digital) -> Callable[..., Result]:
    """Return a layer in float32: that of the baseline, or, where it is kept off the crossbars, in the order of rows."""
    row, matrix = shape.row, layer.matrix()
    if layer.digital or shape.groups > 1:
        row = np.ascontiguousarray(np.atleast_2d(row).T)
        matrix = matrix.reshape(layer.rows, shape.groups, -1)
    else:
        matrix = panels(matrix)
    reads = window(shape, shape.pixel)

    def compute(x: Float32, *rest: Any) -> Result:
        *other, _ = rest
        values = kernels().float_layer(shape.maps(x), _pixels(other, shape), reads, row, matrix, digital)
        return values.reshape(len(x), *shape.out_shape), None

    return compute


def _computed(network: Network, chain: Chain, corrections: Corrections) -> Callable[..., Result]:
    """Return the computation of a chain that no crossbar takes part in."""
    if isinstance(layer := chain.head, CrossbarLayer):
        digital = _digital_part(chain, np.ones(layer.columns, np.float32), corrections)
        return _floats(layer, geometry_of(network, layer), digital)
    if isinstance(chain.head, BatchNorm):
        return normalising(chain, *folded(chain.head, corrections))
    compute = operation(chain.head)
    return lambda *inputs_and_image: (compute(*inputs_and_image[:-1]), None)


def _pixels(other: list[Float32], shape: Geometry) -> Float32 | None:
    """Return the residual, if any, with one row a pixel."""
    return other[0].reshape(len(other[0]), -1, shape.out_shape[-1]) if other else None
