"""The golden case of a network of a chip, or of one of its layers: every stage of every tile, image by image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.arrays import Float32, Int16, Int64, UInt8, UInt64
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
from pcmref.golden.datapath import ends_of, output_most, settings_of, with_gains
from pcmref.golden.plain import width_of
from pcmref.golden.readouts import readout_fields
from pcmref.inference.corrections import Corrections
from pcmref.inference.plan import Trace
from pcmref.inference.run import PreparedChip, prepare
from pcmref.network.layers import Conv

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
        If there is no such layer, its convolution has groups, or something does not fit the network.
    """
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    names = [found.name for found in snapshot.layers]
    if layer is not None and layer not in names:
        raise ParameterError("layer", f"one of {', '.join(names)}", describe(layer))
    grouped = [one.name for one in snapshot.network.layers if isinstance(one, Conv) and one.groups > 1]
    if grouped and layer in (None, *grouped):
        raise ParameterError(
            f"layer {grouped[0]!r}", "a layer without groups in a golden case", "a grouped convolution"
        )
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
    flat, image = codes.reshape(len(codes), -1), np.concatenate([trace.image for trace in traces])
    (matrix, spread), most = codes_of(devices, readout), 0
    for number, part in enumerate(cut(len(row), readout.tile_rows, len(significance))):
        tile = _Tile(
            prefix=f"{name}/tile{number}",
            number=number,
            crossbar=crossbar,
            readout=readout,
            codes=flat[:, geometry.pixel[:, None] + row[part]],
            conductance=matrix[:, part],
            variance=None if spread is None else spread[:, part],
            products=[product.tiles[number] for product in products],
            image=image,
        )
        weights = crossbar.chain.conversions.weight[tile.conversions].tolist()
        most += output_most(readout, weights, tile.limits)
        yield from _operands(tile)
        yield from _stages(tile)
        if tile.combined:
            # the factor of the slice is that of the sum
            factor = significance[number * len(significance) // crossbar.tiles]
            total = np.concatenate([product.codes for product in tile.products]) // factor
            size = output_most(readout, weights, tile.limits) // factor
            what = "Sum of D - D0 of the conversions, each times its factor; that of the slice is left out."
            yield _entry("expected", f"{tile.prefix}/output-code", "output code", PLACE, total, (-size, size), what)
    total = np.concatenate([product.output_codes for product in products])
    what = "Sum over the tiles."
    yield _entry("expected", f"{name}/output-code", "output code", PLACE, total, (-most, most), what)
    step = np.concatenate([product.output_step for product in products])
    for letter, values, axis, what in (
        ("unit", crossbar.unit, "column", "Activation per output code at a step of 1."),
        ("step", step, "image", "Factor on the unit; 1 with an ADC."),
    ):
        yield entry_of(f"{name}/{letter}", values, section="prompt", letter=letter, meaning=what, axes=(axis,), bits=32)
    yield _activations(name, "y", "expected", traces)


@dataclass(frozen=True, eq=False)
class _Tile:
    """A tile of a layer, and what it did; its vectors are counted by image and pixel."""

    prefix: str
    number: int
    crossbar: Crossbar
    readout: Readout
    codes: Int64
    conductance: Int16
    variance: Int16 | None
    products: Sequence[TileProduct]
    image: UInt64

    @property
    def conversions(self) -> range:
        """Numbers of its conversions."""
        each = len(self.crossbar.chain.conversions.tile) // self.crossbar.tiles
        return range(self.number * each, (self.number + 1) * each)

    @property
    def combined(self) -> bool:
        """Whether its answer is a sum of codes, or a difference."""
        return len(self.conversions) > 1 or self.readout.dac.offset != 0

    @property
    def seen(self) -> tuple[int, int]:
        """Ends of the sums that an ADC sees."""
        (least, most), noise, _ = ends_of(self.conductance.shape, self.readout)
        return (least - noise, most + noise) if self.crossbar.chain.noise is not None else (least, most)

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest D."""
        return self.seen if self.readout.adc is None else self.readout.adc.limits

    def stage(self, field: str) -> Int64:
        """Return a stage of all conversions, shape (conversions, n, pixels, columns)."""
        each = [product.parts or (product,) for product in self.products]
        joined = (np.concatenate([getattr(parts[k], field) for parts in each]) for k in range(len(self.conversions)))
        return np.stack(list(joined))


def _operands(tile: _Tile) -> Arrays:
    """Give what a tile is given, but for the noise."""
    dac, adc, chain = tile.readout.dac, tile.readout.adc, tile.crossbar.chain
    separate, fresh = tile.readout.lines == "separate", tile.readout.read_noise == "fresh"
    axes, ends = ("image", "pixel", "row"), (dac.low, dac.high)
    yield _entry("prompt", f"{tile.prefix}/code", "code", axes, tile.codes, ends, "DAC codes of each vector.")
    letter = ("n(G_D)" if fresh else "n(G)") if separate else ("m" if fresh else "r")
    for name, symbol, values, what in (
        ("g-layer", letter, tile.conductance, "Conductance codes."),
        ("V-layer", "V", tile.variance, "Variance codes."),
    ):
        if values is not None:
            ends = (0 if separate or symbol == "V" else -CODE_LIMIT, CODE_LIMIT)
            shown, places = (values, ("line", "row", "column")) if separate else (values[0], ("row", "column"))
            yield _entry("prompt", f"{tile.prefix}/{name}", symbol, places, shown.astype(np.int64), ends, what)
    yield from settings_of(tile.prefix, _adcs(tile), tile.conductance.shape[2])
    if dac.offset and adc is not None:
        zero, what = chain.conversions.zero[tile.conversions], "Codes of an input of zeros."
        yield _entry("prompt", f"{tile.prefix}/D0", "D0", ("conversion", "column"), zero, adc.limits, what)


def _stages(tile: _Tile) -> Arrays:
    """Give the noise, the stages up to D, and D, which is the answer unless codes are combined."""
    chain, prefix = tile.crossbar.chain, tile.prefix
    exact, noise, squares = ends_of(tile.conductance.shape, tile.readout)
    noise_free = tile.stage("noise_free")
    if chain.noise is not None:
        variance = tile.stage("variance")
        what = "Read noise of each conversion: load it, no hardware computes it."
        yield _conversions(
            "prompt", f"{prefix}/noise", "noise", _noise(tile, noise_free, variance), (-noise, noise), what
        )
        what = "Sum of squared levels times variance codes."
        yield _conversions("internal", f"{prefix}/B", "B", variance, (0, squares), what)
    if chain.noise is not None or chain.register is not None:
        what = "Sum of levels times conductance codes."
        yield _conversions("internal", f"{prefix}/A-noise-free", "A before noise", noise_free, exact, what)
    yield _conversions("internal", f"{prefix}/A", "A", tile.stage("sums"), tile.seen, "Sum as the ADC sees it.")
    section: Section = "internal" if tile.combined else "expected"
    yield _conversions(section, f"{prefix}/D", "D", tile.stage("codes"), tile.limits, "Code of each conversion.")


def _noise(tile: _Tile, noise_free: Int64, variance: Int64) -> Int64:
    """Return the noise of each conversion: what is added before a register might hold less."""
    columns, noise = noise_free.shape[-1], tile.crossbar.chain.noise
    each = zip(tile.conversions, noise_free, variance, strict=True)
    noisy = (kernels().add_read_noise(exact, b, columns, noise, number, tile.image) for number, exact, b in each)
    return np.stack(list(noisy)) - noise_free


def _adcs(tile: _Tile) -> tuple[Adc, ...]:
    """Return the ADCs of a tile: one, or one for each line if they differ; none where sums are handed on."""
    if tile.readout.adc is None:
        return ()
    lines, chain = len(tile.conductance), tile.crossbar.chain
    measured = tile.readout.measured_of(tile.crossbar.name) or (tile.readout.adc,)
    own = measured if len(measured) == 1 else measured[tile.number * lines : (tile.number + 1) * lines]
    if chain.adc is not None:
        gains = chain.adc.gain[tile.conversions[0], : tile.conductance.shape[2]]
        own = tuple(with_gains(adc, gains) for adc in own)
    return own[:1] if len(set(own)) == 1 else own


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
