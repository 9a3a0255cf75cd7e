"""The golden case of one tile: vectors, the answers of `pcmref.tile`, and what they reach and catch."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.arithmetic.draws import Purpose, check_seed, stream_key
from pcmref.arrays import Int64
from pcmref.crossbar.readout import Readout
from pcmref.errors import ParameterError, describe, instance, integer
from pcmref.golden.cases import ArrayEntry, Case, Contract, FaultEntry, GroupEntry, Section, entry_of
from pcmref.golden.coverage import coverage_of
from pcmref.golden.datapath import adc_of, ends_of, output_most, settings_of
from pcmref.golden.faults import catches, fault
from pcmref.golden.loads import GROUPS, MATRICES, Load, Stages, loads_of, stages_of
from pcmref.golden.plain import Trial, trial, width_of
from pcmref.golden.readouts import readout_fields, readout_of
from pcmref.golden.weights import drawn_conductance, drawn_variance

__all__ = ["GROUPS", "tile_case", "trial_of"]

#: Name of the tile in those of its arrays.
TILE = "tile0"

Arrays = Iterator[tuple[ArrayEntry, npt.NDArray[Any]]]


def tile_case(
    readout: Readout,
    *,
    size: tuple[int, int] = (256, 64),
    conductance: npt.ArrayLike | None = None,
    variance_code: npt.ArrayLike | None = None,
    groups: Collection[str] = GROUPS,
    matrices: Collection[str] = MATRICES,
    random: int = 1000,
    seed: int = 0,
    contract: Contract | None = None,
    command: str = "",
) -> Case:
    """Make the golden case of one tile.

    Parameters
    ----------
    readout : Readout
        Its ADC, if any, has a gain or thresholds.
    size : (int, int)
        Rows and columns, where no conductances are given.
    conductance : integers, shape (rows, columns) or, with an ADC on each line, (2, rows, columns), optional
        Codes of the weights; drawn by default.
    variance_code : integers, of the shape of `conductance`, optional
        For fresh read noise; drawn by default.
    groups : collection of str
        Which of `GROUPS`.
    matrices : collection of str
        Which of "weights", "directed" and "full"; all but the first have codes of 16 bits.
    random : int
        Vectors of the group "random".
    seed : int
        Of all that is drawn: weights, vectors, read noise.
    contract : Contract, optional
        Exact by default.
    command : str
        What makes the case, for whoever reads it.

    Returns
    -------
    Case

    Raises
    ------
    ParameterError
        If something is missing or out of range, or no vector is left.
    """
    seed, random = check_seed(seed), integer("random", random, "an integer from 0 to 1,000,000", 0, 1_000_000)
    if unknown := sorted(set(groups) - set(GROUPS)):
        raise ParameterError("groups", f"some of {', '.join(GROUPS)}", describe(unknown[0]))
    if unknown := sorted(set(matrices) - set(MATRICES)):
        raise ParameterError("matrices", f"some of {', '.join(MATRICES)}", describe(unknown[0]))
    weights = _weights(readout, size, conductance, seed)
    variance = _variance(readout, weights, variance_code, seed)
    loads = loads_of(readout, weights, variance, set(groups), random, seed, matrices)
    if not loads:
        raise ParameterError("groups", "some whose vectors the tile can be driven with", "none")
    stages = stages_of(loads, readout, stream_key(seed, Purpose.PRODUCT, 0))
    arrays = list(_arrays(loads, readout, stages))
    case = Case(
        kind="tile",
        arrays={entry.name: entry for entry, _ in arrays},
        values={entry.name: values for entry, values in arrays},
        contract=Contract() if contract is None else contract,
        groups=tuple(_places(loads)),
        readout=readout_fields(readout),
        command=command,
        seed=seed,
    )
    work = trial_of(case)
    caught = catches(work, {place.name: slice(place.first, place.last) for place in case.groups})
    faults = (FaultEntry(name=name, meaning=fault(name).meaning, caught_by=by) for name, by in caught.items())
    return replace(case, coverage=coverage_of(work, list(stages.sums)), faults=tuple(faults))


def trial_of(case: Case, tile: str = TILE) -> Trial:
    """Return the vectors of a case on the plain tile; those of a layer count by image, then by pixel.

    Raises
    ------
    ParameterError
        If the case has no such tile, or its arrays do not fit each other.
    """
    prefix, where = f"{tile}/g-", f"case: {tile}"
    names = [name for name in case.arrays if name.startswith(prefix)]
    code = case.arrays.get(f"{tile}/code")
    if code is None or not names or not case.readout:
        raise ParameterError(where, "codes, conductances and a readout", "others")
    readout = readout_of(case.readout)
    if readout.adc is not None:
        readout = replace(readout, adc=adc_of(case, tile, readout.adc), measured=None)
    lines, shape = 2 if readout.lines == "separate" else 1, case.arrays[names[0]].shape
    alike = all(case.arrays[name].shape == shape for name in names)
    if not alike or len(shape) != 1 + lines or code.shape[-1:] != shape[-2:-1]:
        raise ParameterError(where, "matrices of one shape, with a row for each code of a vector", describe(shape))
    conductance = np.stack([case.values[name].astype(np.int64) for name in names])
    codes = case.values[code.name].reshape(-1, code.shape[-1])
    chosen = np.zeros(len(codes), np.int64)
    for group in case.groups:
        if prefix + group.conductance not in names:
            raise ParameterError(f"case: group {group.name}", f"conductances of {tile}", describe(group.conductance))
        chosen[group.first : group.last] = names.index(prefix + group.conductance)
    noise = case.values.get(f"{tile}/noise")
    if noise is not None:
        noise = noise.astype(np.int64).reshape(lines * len(readout.dac.weights), len(codes), shape[-1])
    conductance = conductance.reshape(len(names), lines, *shape[-2:])
    return trial(conductance, readout, codes, chosen=chosen, noise=noise)


def _weights(readout: Readout, size: tuple[int, int], conductance: npt.ArrayLike | None, seed: int) -> Int64:
    """Return the given weights, or drawn ones, shape (lines, rows, columns)."""
    instance("readout", readout, Readout, "pcmref.PRESETS")
    lines = 1 if readout.lines == "pair" else 2
    if conductance is None:
        rows, columns = (integer("size", n, "two integers from 1 to 65536", 1, 1 << 16) for n in size)
        conductance = drawn_conductance(rows, columns, seed=seed, lines=readout.lines)
    array = np.asarray(conductance)
    if array.dtype.kind not in "iu" or array.ndim != 1 + lines or 0 in array.shape or (lines == 2 and len(array) != 2):
        form = "(rows, columns)" if lines == 1 else "(2, rows, columns), as each line has its ADC"
        raise ParameterError("conductance", f"integers of shape {form}", f"{array.dtype} of shape {array.shape}")
    return array.astype(np.int64).reshape(lines, *array.shape[-2:])


def _variance(readout: Readout, weights: Int64, variance_code: npt.ArrayLike | None, seed: int) -> Int64 | None:
    """Return variance codes of the shape of the weights; None where read noise is frozen."""
    if readout.read_noise == "frozen":
        if variance_code is not None:
            raise ParameterError("variance_code", "None, as read noise is frozen", describe(variance_code))
        return None
    if variance_code is None:
        _, rows, columns = weights.shape
        variance_code = drawn_variance(rows, columns, seed=seed, lines=readout.lines)
    array = np.asarray(variance_code)
    if array.dtype.kind not in "iu" or array.size != weights.size:
        found = f"{array.dtype} of shape {array.shape}"
        raise ParameterError("variance_code", "integers of the shape of the conductances", found)
    return array.astype(np.int64).reshape(weights.shape)


def _places(loads: tuple[Load, ...]) -> Iterator[GroupEntry]:
    """Give the groups, and where their vectors are."""
    first = 0
    for load in loads:
        for group in load.groups:
            last = first + len(group.codes)
            name = f"{load.name}/{group.name}"
            yield GroupEntry(name=name, conductance=load.name, first=first, last=last, catches=group.catches)
            first = last


# The arrays, in the order of the datapath


def _entry(
    section: Section, name: str, letter: str, axes: str, values: Int64, ends: tuple[int, int], meaning: str
) -> tuple[ArrayEntry, npt.NDArray[Any]]:
    """Return an array of integers between two ends; an axis of one conversion is left out."""
    names = tuple(axes.split())
    if names[0] == "conversion" and len(values) == 1:
        names, values = names[1:], values[0]
    bits, signed = width_of(*ends)
    return entry_of(
        f"{TILE}/{name}", values, section=section, letter=letter, meaning=meaning, axes=names, bits=bits, signed=signed
    )


def _arrays(loads: tuple[Load, ...], readout: Readout, stages: Stages) -> Arrays:
    yield from _operands(loads, readout)
    yield from _settings(loads, readout, stages)
    dac, stage = readout.dac, "conversion vector column"
    exact, noise, squares = ends_of(loads[0].conductance.shape, readout)
    seen = exact
    if stages.noise is not None and stages.variance is not None:
        what = "Read noise of each conversion: load it, no hardware computes it."
        yield _entry("prompt", "noise", "noise", stage, stages.noise, (-noise, noise), what)
        seen = (exact[0] - noise, exact[1] + noise)
        what = "Sum of squared levels times variance codes."
        yield _entry("internal", "B", "B", stage, stages.variance, (0, squares), what)
    if stages.noise is not None or readout.accumulator is not None:
        what = "Sum of levels times conductance codes."
        yield _entry("internal", "A-noise-free", "A before noise", stage, stages.noise_free, exact, what)
    if (register := readout.accumulator) is not None:
        half = 1 << (register.bits - 1)
        seen = (max(seen[0], -half), min(seen[1], half - 1)) if register.beyond != "wrap" else (-half, half - 1)
    yield _entry("internal", "A", "A", stage, stages.sums, seen, "Sum as the ADC sees it.")
    low, high = seen if readout.adc is None else readout.adc.limits
    if dac.offset == 0 and len(stages.codes) == 1:
        yield _entry("expected", "D", "D", "vector column", stages.answers, (low, high), "Code of the ADC.")
        return
    yield _entry("internal", "D", "D", stage, stages.codes, (low, high), "Code of each conversion.")
    most = output_most(readout, dac.weights * (len(stages.codes) // len(dac.weights)), (low, high))
    what = "Sum of D - D0 of the conversions, each times its factor."
    yield _entry("expected", "output-code", "output code", "vector column", stages.answers, (-most, most), what)


def _operands(loads: tuple[Load, ...], readout: Readout) -> Arrays:
    """Give vectors and matrices."""
    dac, separate, fresh = readout.dac, readout.lines == "separate", readout.read_noise == "fresh"
    codes = np.concatenate([load.codes for load in loads]).astype(np.int64)
    yield _entry("prompt", "code", "code", "vector row", codes, (dac.low, dac.high), "DAC codes of each vector.")
    axes = ("line " if separate else "") + "row column"
    letter = ("n(G_D)" if fresh else "n(G)") if separate else ("m" if fresh else "r")
    for load in loads:
        lines = load.conductance if separate else load.conductance[0]
        ends = (0 if separate else -CODE_LIMIT, CODE_LIMIT)
        what = f"Conductance codes that the groups {load.name}/... meet."
        yield _entry("prompt", f"g-{load.name}", letter, axes, lines, ends, what)
    for load in loads:
        if load.variance is not None:
            lines = load.variance if separate else load.variance[0]
            what = f"Variance codes beside g-{load.name}."
            yield _entry("prompt", f"V-{load.name}", "V", axes, lines, (0, CODE_LIMIT), what)


def _settings(loads: tuple[Load, ...], readout: Readout, stages: Stages) -> Arrays:
    """Give what the registers of the ADCs hold."""
    if (adc := readout.adc) is None:
        return
    yield from settings_of(TILE, (adc,), stages.answers.shape[1])
    if readout.dac.offset:
        for load, zeros in zip(loads, stages.zeros, strict=True):
            what = f"Codes of an input of zeros on g-{load.name}."
            yield _entry("prompt", f"D0-{load.name}", "D0", "conversion column", zeros, adc.limits, what)
