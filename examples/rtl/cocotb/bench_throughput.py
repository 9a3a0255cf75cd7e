"""How many products a second: random vectors, conductances and read noise, each product compared with pcmref."""

from __future__ import annotations

from time import perf_counter

import cocotb
import numpy as np
from designs import readout_design
from hardware import RtlTile, told
from readouts import tile_readout

import pcmref
from pcmref.golden.weights import drawn_conductance, drawn_variance

#: Vectors that one load of conductances multiplies.
VECTORS = 4096


def prepare(options, folder):
    """Return the design of a tile with read noise."""
    readout = tile_readout(options.size[0], "fresh")
    return readout_design(readout, options.size, {"products": options.products, "seed": options.seed})


@cocotb.test()
async def every_product_is_that_of_pcmref(dut):
    parameters, said = told()
    rows, columns, products = parameters["ROWS"], parameters["COLUMNS"], said["products"]
    readout, tile, rng = (
        tile_readout(rows, "fresh"),
        RtlTile(dut=dut, parameters=parameters),
        np.random.default_rng(said["seed"]),
    )
    await tile.start()
    tile.set_adcs(np.full(columns, readout.adc.gain.multiplier), np.zeros(columns))
    began, simulated = perf_counter(), 0.0
    for first in range(0, products, VECTORS):
        conductance = drawn_conductance(rows, columns, seed=first)
        variance = drawn_variance(rows, columns, seed=first)
        model = pcmref.tile(conductance, readout, variance_code=variance, stream=(said["seed"], first))
        codes = rng.integers(-127, 128, (min(VECTORS, products - first), rows))
        right = model(codes)
        start = perf_counter()
        tile.load(conductance)
        found = await tile.multiply(codes, right.sums - right.noise_free)
        simulated += perf_counter() - start
        for vector, column in np.argwhere(found != right.codes)[:1].tolist():
            place = f"product {first + vector}, column {column}"
            raise AssertionError(f"{place}: expected {right.codes[vector, column]}, found {found[vector, column]}")
    took = perf_counter() - began
    cocotb.log.info(
        "%d products of %d x %d, all equal to pcmref.tile: %.1f products/s, %.1f with the time of pcmref",
        *(products, rows, columns, products / simulated, products / took),
    )
