"""What a tile is loaded with in a case, and the vectors that meet it.

The weights that the case is for; a matrix with which every sum can be made, since a tie that those weights cannot reach
proves nothing; and one of the largest conductances, which alone fill the accumulator.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.draws import Key
from pcmref.arrays import Frozen, Int64
from pcmref.crossbar.product import TileProduct
from pcmref.crossbar.readout import Readout
from pcmref.crossbar.tile import tile
from pcmref.golden.datapath import NOISE_MOST
from pcmref.golden.stimuli import Group, aimed, corners, drawn, one_hot, patterns, widest
from pcmref.golden.weights import directed_conductance, full_conductance

__all__ = ["GROUPS", "MATRICES", "Load", "Stages", "loads_of", "stages_of"]

#: Names of the groups that a case of a tile may have.
GROUPS = (
    "corners",
    "one-hot",
    "walking-ones",
    "alternating",
    "widest",
    "cancelling",
    "ties",
    "steps",
    "boundaries",
    "random",
)
#: What a tile is loaded with: its own weights; codes of 16 bits with which every sum can be made; the largest codes.
MATRICES = ("weights", "directed", "full")


@dataclass(frozen=True, kw_only=True, eq=False)
class Load(Frozen):
    """A matrix, and the vectors that meet it.

    Parameters
    ----------
    name : str
    conductance : int64, shape (lines, rows, columns)
    variance : int64, of the same shape, or None
    groups : tuple of Group
    """

    name: str
    conductance: Int64
    variance: Int64 | None
    groups: tuple[Group, ...]

    @property
    def codes(self) -> npt.NDArray[np.int16]:
        """All vectors."""
        return np.concatenate([group.codes for group in self.groups])


@dataclass(frozen=True, kw_only=True, eq=False)
class Stages:
    """What `pcmref.tile` makes of the vectors of all loads.

    Parameters
    ----------
    noise_free, sums, codes : int64, shape (conversions, n, columns)
    variance, noise : int64, of the same shape, or None
    answers : int64, shape (n, columns)
    zeros : int64, shape (loads, conversions, columns)
        Codes of an input of zeros.
    """

    noise_free: Int64
    variance: Int64 | None
    noise: Int64 | None
    sums: Int64
    codes: Int64
    answers: Int64
    zeros: Int64


def loads_of(
    readout: Readout,
    weights: Int64,
    variance: Int64 | None,
    names: Collection[str],
    random: int,
    seed: int,
    matrices: Collection[str] = MATRICES,
) -> tuple[Load, ...]:
    """Return the loads of a case that have vectors, with the groups and matrices of these names.

    Vectors are aimed at sums where no read noise moves them.
    """
    lines, rows, columns = weights.shape
    dac, own = readout.dac, [*patterns(weights.shape[1], readout.dac), widest(_shown(weights), readout)]
    if variance is None:
        own += aimed(_shown(weights), readout)
    if random:
        own.append(drawn(rows, dac, random, seed=seed))
    directed = directed_conductance(rows, columns, lines=readout.lines)
    full = full_conductance(rows, columns, lines=readout.lines)
    quiet = None if variance is None else np.zeros_like(variance)
    made = (
        ("weights", weights, variance, own),
        ("directed", directed, quiet, [one_hot(rows, dac), *aimed(directed, readout)]),
        ("full", full, quiet, [corners(rows, dac), widest(full, readout)]),
    )
    found = []
    for name, conductance, spread, groups in made:
        if name not in matrices:
            continue
        kept = tuple(group for group in groups if group.name in names)
        load = Load(name=name, conductance=conductance.reshape(lines, rows, columns), variance=spread, groups=kept)
        found.append(_without_overflow(load, readout))
    return tuple(load for load in found if load.groups)


def _without_overflow(load: Load, readout: Readout) -> Load:
    """Return a load without vectors that its register refuses."""
    register = readout.accumulator
    if register is None or register.beyond != "error" or not load.groups:
        return load
    most, groups = (1 << (register.bits - 1)) - 1, []
    for group in load.groups:
        fits = np.ones(len(group.codes), np.bool_)
        for part in _parts(_product(load, replace(readout, accumulator=None), group.codes, 0, (0, 0))):
            spread = 0.0 if part.variance is None else NOISE_MOST * np.sqrt(64.0 * part.variance) + 1
            fits &= (np.abs(part.noise_free) + spread <= most).all(axis=1)
        if fits.any():
            groups.append(replace(group, codes=group.codes[fits]))
    return replace(load, groups=tuple(groups))


def stages_of(loads: tuple[Load, ...], readout: Readout, key: Key) -> Stages:
    """Return all stages of all vectors; a vector's address is its place in the case."""
    free = replace(readout, accumulator=None)
    products, noises, zeros, first = [], [], [], 0
    for load in loads:
        codes = load.codes
        product = _product(load, readout, codes, first, key)
        if load.variance is not None:
            noisy = product if readout.accumulator is None else _product(load, free, codes, first, key)
            noises.append(np.stack([part.sums - part.noise_free for part in _parts(noisy)]))
        products.append(product)
        zeros.append(_tile(load, readout, key).chain.conversions.zero)
        first += len(codes)

    def joined(stage: str) -> Int64:
        each = (np.stack([getattr(part, stage) for part in _parts(product)]) for product in products)
        return np.concatenate(list(each), axis=1)

    return Stages(
        noise_free=joined("noise_free"),
        variance=joined("variance") if noises else None,
        noise=np.concatenate(noises, axis=1) if noises else None,
        sums=joined("sums"),
        codes=joined("codes"),
        answers=np.concatenate([product.codes for product in products]),
        zeros=np.stack(zeros),
    )


def _product(load: Load, readout: Readout, codes: npt.NDArray[Any], first: int, key: Key) -> TileProduct:
    return _tile(load, readout, key)(codes, np.arange(first, first + len(codes), dtype=np.uint64))


def _tile(load: Load, readout: Readout, key: Key) -> Any:
    variance = None if load.variance is None else _shown(load.variance)
    return tile(_shown(load.conductance), readout, variance_code=variance, stream=None if variance is None else key)


def _parts(product: TileProduct) -> tuple[TileProduct, ...]:
    return product.parts or (product,)


def _shown(values: Int64) -> Int64:
    """Return matrices as `pcmref.tile` takes them: of pairs, without an axis of lines."""
    return values[0] if len(values) == 1 else values
