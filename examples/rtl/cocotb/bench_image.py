"""Images through a whole chip with the RTL in place of every tile: the logits are those of pcmref, to the last bit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from time import perf_counter

import cocotb
import numpy as np
from asking import ask_from_thread
from chips import chip_readout, images_of
from designs import readout_design
from hardware import RtlTile, told
from readouts import tile_readout

import pcmref
from pcmref.crossbar.converters import fixed_point
from pcmref.crossbar.layout import cut


@dataclass(frozen=True, kw_only=True, eq=False)
class Load:
    """What the RTL's tile holds while it stands for a part of a layer's matrix.

    Parameters
    ----------
    rows, columns : slice
        Which part.
    conductance : int16, shape (rows, columns)
    multiplier : int64, shape (columns,)
    """

    rows: slice
    columns: slice
    conductance: np.ndarray
    multiplier: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Chip:
    """A chip that is ready for images, its layers as loads of one tile, and the shift of all gains."""

    prepared: pcmref.PreparedChip
    loads: dict[str, list[Load]]
    shift: int

    @property
    def widest(self):
        """The largest gain."""
        multiplier = max(int(load.multiplier.max()) for loads in self.loads.values() for load in loads)
        return pcmref.FixedPoint(multiplier, self.shift)


def chip_of(network, size, seed):
    """Return a chip whose layers are cut into tiles of a size; gains are brought to one shift, which changes none."""
    rows, columns = size
    readout = chip_readout(network, rows)
    snapshot = pcmref.program(network, seed=seed).at(t_s=25)
    prepared = pcmref.prepare(snapshot, readout=readout)
    gains = {
        layer.name: prepared.crossbars[layer.name].chain.adc.gain[:, : layer.shape[1]] for layer in snapshot.layers
    }
    shift = max(fixed_point(gain, readout.adc.gain_bits).shift for each in gains.values() for gain in each.flat)
    loads = {
        layer.name: [
            Load(
                rows=part,
                columns=group,
                conductance=layer.read_code[part, group],
                multiplier=np.ldexp(gains[layer.name][number, group], shift).astype(np.int64),
            )
            for number, part in enumerate(cut(layer.shape[0], rows))
            for group in cut(layer.shape[1], columns)
        ]
        for layer in snapshot.layers
    }
    return Chip(prepared=prepared, loads=loads, shift=shift)


def prepare(options, folder):
    """Return the design of a tile that serves every layer."""
    said = {name: getattr(options, name) for name in ("network", "size", "seed", "images")}
    chip = chip_of(pcmref.load(pcmref.bundled(options.network)), options.size, options.seed)
    return readout_design(tile_readout(options.size[0], gain=chip.widest), options.size, said)


def device_of(chip, ask, products, differing):
    """Return a device under test for `PreparedChip`: ``ask((load, codes))`` multiplies in place of a layer's tiles.

    It counts the products and the output codes that are not those of pcmref, layer by layer.
    """

    def device(layer, product):
        at, (n, pixels, _) = chip.prepared.crossbars[layer].geometry, product.output_codes.shape
        driven = product.input_codes.reshape(n, -1)[:, at.pixel[:, None] + at.row].reshape(n * pixels, -1)
        codes = np.zeros_like(product.output_codes)
        for load in chip.loads[layer]:
            codes[..., load.columns] += ask((load, driven[:, load.rows])).reshape(n, pixels, -1)
            products[layer] += n * pixels
        differing[layer] += int((codes != product.output_codes).sum())
        return codes

    return device


@cocotb.test()
async def the_logits_are_those_of_pcmref(dut):
    parameters, said = told()
    network = pcmref.load(pcmref.bundled(said["network"]))
    chip, images = chip_of(network, said["size"], said["seed"]), images_of(network, said["images"])
    tile, began = RtlTile(dut=dut, parameters=parameters), perf_counter()
    await tile.start()
    products, differing = Counter(), Counter()

    async def answer(question):
        load, codes = question
        rows, columns = load.conductance.shape
        row, column = (0, parameters["ROWS"] - rows), (0, parameters["COLUMNS"] - columns)
        tile.set_adcs(np.pad(load.multiplier, column), 0)
        tile.load(np.pad(load.conductance, (row, column)))
        return (await tile.multiply(np.pad(codes, ((0, 0), row))))[:, :columns]

    def infer(ask):
        return chip.prepared(images, device=device_of(chip, ask, products, differing))

    found, right = await ask_from_thread(infer, answer), chip.prepared(images)
    took = perf_counter() - began
    if found.tobytes() != right.tobytes():
        first = next(f"{layer}, where {count} codes differ" for layer, count in differing.items() if count)
        raise AssertionError(f"logits expected {right.tolist()}, found {found.tolist()}; it begins in {first}")
    assert len(products) == len(network.crossbar_layers)
    counts = len(images), len(products), sum(products.values()), parameters["ROWS"], parameters["COLUMNS"]
    cocotb.log.info(
        "%d images through %d layers, %d products of %d x %d in %.1f s: all logits are equal", *counts, took
    )
