"""The golden case of a network of a chip, or of one of its layers: every stage of every tile, image by image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.arrays import Float32, Int64, UInt8
from pcmref.crossbar.converters import Adc
from pcmref.crossbar.layer import Crossbar
from pcmref.crossbar.layout import cut
from pcmref.crossbar.product import TileProduct
from pcmref.crossbar.readout import Readout
from pcmref.crossbar.wiring import codes_of
from pcmref.devices.chip import Snapshot, SnapshotLayer
from pcmref.devices.technology import fields_of
from pcmref.errors import ParameterError, describe, instance
from pcmref.golden.cases import ArrayEntry, Case, Contract, Section, entry_of
from pcmref.golden.datapath import ends_of, settings_of, with_gains
from pcmref.golden.plain import width_of
from pcmref.golden.readouts import readout_fields
from pcmref.inference.corrections import Corrections
from pcmref.inference.plan import Trace
from pcmref.inference.run import PreparedChip, prepare

__all__ = ["network_case"]

Arrays = Iterator[tuple[ArrayEntry, npt.NDArray[Any]]]
#: Axes of what is one number a pixel and column of an image.
PLACE = ("image", "pixel", "column")


def network_case(
    snapshot: Snapshot,
    images: UInt8,
    readout: Readout,
    *,
    corrections: Corrections | None = None,
    layer: str | None = None,
    contract: Contract | None = None,
    command: str = "",
) -> Case:
    """Make the golden case of a network, or of one of its crossbar layers.

    Parameters
    ----------
    snapshot : Snapshot
        The chip at one time.
    images : uint8, shape (n, height, width, channels)
        Their addresses are their positions.
    readout : Readout
        With ranges, if its converters need some.
    corrections : Corrections, optional
    layer : str, optional
        A crossbar layer; by default the whole network, which has its digital nodes and logits too.
    contract : Contract, optional
        Exact by default.
    command : str
        What makes the case, for whoever reads it.

    Raises
    ------
    ParameterError
        If there is no such layer, or something does not fit the network.
    """
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    names = [found.name for found in snapshot.layers]
    if layer is not None and layer not in names:
        raise ParameterError("layer", f"one of {', '.join(names)}", describe(layer))
    if len(images) == 0:
        raise ParameterError("images", "at least one", "none")
    prepared = prepare(snapshot, corrections=corrections, readout=readout)
    traces: dict[str, list[Trace]] = defaultdict(list)

    def tap(trace: Trace) -> None:
        if layer in (None, trace.layer):
            traces[trace.layer].append(trace)

    logits = prepared(images, tap=tap)
    arrays = list(_arrays(prepared, snapshot, readout, traces))
    if layer is None:
        arrays = [_images(images), *arrays, _logits(logits)]
    return Case(
        kind="network" if layer is None else "layer",
        arrays={entry.name: entry for entry, _ in arrays},
        values={entry.name: values for entry, values in arrays},
        contract=Contract() if contract is None else contract,
        readout=readout_fields(readout),
        command=command,
        seed=snapshot.seed,
        t_s=snapshot.t_s,
        model=fields_of(snapshot.model),
        network=snapshot.network.sha256 or None,
    )


def _arrays(
    prepared: PreparedChip, snapshot: Snapshot, readout: Readout, traces: Mapping[str, Sequence[Trace]]
) -> Arrays:
    """Give the arrays of all nodes that were traced."""
    devices = {layer.name: layer for layer in snapshot.layers}
    for name in traces:
        if (crossbar := prepared.crossbars.get(name)) is not None:
            yield from _layer(crossbar, devices[name], snapshot.significance, readout, traces[name])
        else:
            yield _activations(name, "output", "expected", traces[name])


def _images(images: UInt8) -> tuple[ArrayEntry, npt.NDArray[Any]]:
    axes, what = ("image", "row", "column", "channel"), "Pixels of each image."
    return entry_of("images", images, section="prompt", letter="pixel", meaning=what, axes=axes, bits=8, signed=False)


def _logits(logits: Float32) -> tuple[ArrayEntry, npt.NDArray[Any]]:
    axes, what = ("image", "class"), "Output of the network."
    return entry_of("logits", logits, section="expected", letter="y", meaning=what, axes=axes, bits=32)


def _layer(
    crossbar: Crossbar,
    devices: SnapshotLayer,
    significance: tuple[int, ...],
    readout: Readout,
    traces: Sequence[Trace],
) -> Arrays:
    """Give the arrays of a layer, in the order of the datapath."""
    name, geometry, dac = crossbar.name, crossbar.geometry, readout.dac
    products = [trace.product for trace in traces if trace.product is not None]
    codes = np.concatenate([product.input_codes for product in products]).astype(np.int64) - dac.offset
    axes = ("image", "row", "column", "channel")
    what = "DAC codes of the layer's input, padding and the constant of a bias included."
    yield _entry("prompt", f"{name}/code", "code", axes, codes, (dac.low, dac.high), what)
    row = np.tile(geometry.row, len(significance))
    what = "Where each row of the crossbar reads an image's codes in C order, relative to a pixel's place."
    yield _entry("prompt", f"{name}/row", "", ("row",), row, (0, int(row.max())), what)
    what = "Place of each output pixel in an image's codes."
    yield _entry("prompt", f"{name}/pixel", "", ("pixel",), geometry.pixel, (0, int(geometry.pixel.max())), what)
    flat = codes.reshape(len(codes), -1)
    for number, part in enumerate(cut(len(row), readout.tile_rows, len(significance))):
        parts = [product.tiles[number] for product in products]
        driven = flat[:, geometry.pixel[:, None] + row[part]]
        factor = significance[number * len(significance) // crossbar.tiles]
        yield from _tile(f"{name}/tile{number}", number, crossbar, devices, part, driven, readout, parts, factor)
    total = np.concatenate([product.output_codes for product in products])
    size = max(int(np.abs(total).max()), 1)
    what = "Sum over the tiles."
    yield _entry("expected", f"{name}/output-code", "output code", PLACE, total, (-size, size), what)
    step = np.concatenate([product.output_step for product in products])
    for letter, values, axis, what in (
        ("unit", crossbar.unit, "column", "Activation per output code at a step of 1."),
        ("step", step, "image", "Factor on the unit; 1 with an ADC."),
    ):
        yield entry_of(f"{name}/{letter}", values, section="prompt", letter=letter, meaning=what, axes=(axis,), bits=32)
    yield _activations(name, "y", "expected", traces)


def _tile(
    prefix: str,
    number: int,
    crossbar: Crossbar,
    devices: SnapshotLayer,
    part: slice,
    codes: Int64,
    readout: Readout,
    products: Sequence[TileProduct],
    factor: int,
) -> Arrays:
    """Give the arrays of a tile, whose vectors are counted by image and pixel."""
    dac, chain = readout.dac, crossbar.chain
    matrix, spread = codes_of(devices, readout)
    conductance, variance = matrix[:, part], None if spread is None else spread[:, part]
    separate, fresh = readout.lines == "separate", readout.read_noise == "fresh"
    axes = ("image", "pixel", "row")
    yield _entry("prompt", f"{prefix}/code", "code", axes, codes, (dac.low, dac.high), "DAC codes of each vector.")
    letter = ("n(G_D)" if fresh else "n(G)") if separate else ("m" if fresh else "r")
    for name, symbol, values, least in (("g-layer", letter, conductance, -CODE_LIMIT), ("V-layer", "V", variance, 0)):
        if values is not None:
            ends = (0 if separate else least, CODE_LIMIT)
            what = "Conductance codes." if symbol != "V" else "Variance codes."
            shown, matrix_axes = (values, ("line", "row", "column")) if separate else (values[0], ("row", "column"))
            yield _entry("prompt", f"{prefix}/{name}", symbol, matrix_axes, shown.astype(np.int64), ends, what)
    each = len(chain.conversions.tile) // crossbar.tiles
    yield from settings_of(prefix, _adcs(crossbar, readout, number, len(conductance)), conductance.shape[2])
    if dac.offset and readout.adc is not None:
        zero = chain.conversions.zero[number * each : (number + 1) * each]
        what = "Codes of an input of zeros."
        yield _entry("prompt", f"{prefix}/D0", "D0", ("conversion", "column"), zero, readout.adc.limits, what)
    stages = [product.parts or (product,) for product in products]
    exact, noise, squares = ends_of((len(conductance), part.stop - part.start), readout)

    def stage(field: str) -> Int64:
        joined = [np.concatenate([getattr(parts[k], field) for parts in stages]) for k in range(each)]
        return np.stack(joined)

    seen, sums = exact, stage("sums")
    if fresh:
        seen = (exact[0] - noise, exact[1] + noise)
        if chain.register is None:
            drawn = sums - stage("noise_free")
            what = "Read noise of each conversion: load it, no hardware computes it."
            yield _conversions("prompt", f"{prefix}/noise", "noise", drawn, (-noise, noise), what)
        what = "Sum of squared levels times variance codes."
        yield _conversions("internal", f"{prefix}/B", "B", stage("variance"), (0, squares), what)
        what = "Sum of levels times conductance codes."
        yield _conversions("internal", f"{prefix}/A-noise-free", "A before noise", stage("noise_free"), exact, what)
    yield _conversions("internal", f"{prefix}/A", "A", sums, seen, "Sum as the ADC sees it.")
    limits = seen if readout.adc is None else readout.adc.limits
    if each == 1 and dac.offset == 0:
        yield _conversions("expected", f"{prefix}/D", "D", stage("codes"), limits, "Code of the ADC.")
        return
    yield _conversions("internal", f"{prefix}/D", "D", stage("codes"), limits, "Code of each conversion.")
    total = np.concatenate([product.codes for product in products]) // factor
    size = max(int(np.abs(total).max()), 1)
    what = "Sum of D - D0 of the conversions, each times its factor; that of the slice is left out."
    yield _entry("expected", f"{prefix}/output-code", "output code", PLACE, total, (-size, size), what)


def _adcs(crossbar: Crossbar, readout: Readout, number: int, lines: int) -> tuple[Adc, ...]:
    """Return the ADCs of a tile: one, or one for each line if they differ; none where sums are handed on."""
    if readout.adc is None:
        return ()
    measured = readout.measured_of(crossbar.name) or (readout.adc,)
    own = measured if len(measured) == 1 else measured[number * lines : (number + 1) * lines]
    gains = np.zeros(0) if crossbar.chain.adc is None else crossbar.chain.adc.gain
    first = number * len(crossbar.chain.conversions.tile) // crossbar.tiles
    found = tuple(with_gains(adc, gains[first, : len(crossbar.unit)]) if len(gains) else adc for adc in own)
    return found[:1] if len(set(found)) == 1 else found


def _conversions(
    section: Section, name: str, letter: str, values: Int64, ends: tuple[int, int], meaning: str
) -> tuple[ArrayEntry, npt.NDArray[Any]]:
    """Return an array of shape (conversions, n, pixels, columns), without its first axis if it has one conversion."""
    if len(values) == 1:
        return _entry(section, name, letter, PLACE, values[0], ends, meaning)
    return _entry(section, name, letter, ("conversion", *PLACE), values, ends, meaning)


def _entry(
    section: Section,
    name: str,
    letter: str,
    axes: tuple[str, ...],
    values: Int64,
    ends: tuple[int, int],
    meaning: str,
) -> tuple[ArrayEntry, npt.NDArray[Any]]:
    bits, signed = width_of(*ends)
    return entry_of(name, values, section=section, letter=letter, meaning=meaning, axes=axes, bits=bits, signed=signed)


def _activations(
    node: str, name: str, section: Section, traces: Sequence[Trace]
) -> tuple[ArrayEntry, npt.NDArray[Any]]:
    values = np.concatenate([trace.activations for trace in traces])
    axes = ("image", "row", "column", "channel")[: values.ndim] if values.ndim == 4 else ("image", "channel")
    what = "Activations that the node puts out."
    return entry_of(f"{node}/{name}", values, section=section, letter="y", meaning=what, axes=axes, bits=32)
