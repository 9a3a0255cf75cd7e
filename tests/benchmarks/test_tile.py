"""One tile of 256 rows and 64 columns: ``python -m pytest tests/benchmarks/test_tile.py --benchmark-enable -n 0``.

A call beside the bare kernels that it consists of: the difference is what `pcmref.tile` costs on top.
"""

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.operands import filled

pytest.importorskip("pytest_benchmark")

ROWS, COLUMNS = 256, 64
RNG = np.random.default_rng(0)
DEVICES = RNG.integers(-9000, 9000, (ROWS, COLUMNS))
VARIANCE = RNG.integers(0, 2000, (ROWS, COLUMNS))
CODES = RNG.integers(-127, 128, (20_000, ROWS)).astype(np.int8)


@pytest.fixture(params=["frozen", "fresh"])
def tile(request):
    readout = pcmref.Readout(
        name="chip", dac=pcmref.Dac(bits=8), adc=pcmref.Adc(bits=8, gain=1e-5), read_noise=request.param
    )
    variance = VARIANCE if request.param == "fresh" else None
    return pcmref.tile(DEVICES, readout, variance_code=variance, stream=(1, 2))


def bare(tile, vectors):
    """Return a function that runs the kernels of some vectors, on arguments that are ready."""
    n = len(vectors)
    buffer, pixel = vectors.astype(np.int16)[None], filled(np.arange(n) * (ROWS // 2))
    conductance = tile.tiles.matrix(0, tile.tiles.conductance)
    variance = tile.tiles.matrix(0, tile.tiles.variance)
    image = np.arange(n, dtype=np.uint64)
    loaded = np.zeros((n, ROWS), np.int16)
    k, noise = kernels(), tile.chain.noise

    def run():
        k.load_codes(vectors, tile.dac, loaded)
        sums = k.accumulate(buffer, pixel, *conductance)[0, :n, None]
        if noise is not None:
            squares = k.accumulate_squares(buffer, pixel, *variance, noise.split)[0, :n, None]
            sums = k.add_read_noise(sums, squares, COLUMNS, noise, 0, image)
        return k.digitise(sums, COLUMNS, tile.chain.adc, 0)

    return run


def test_the_kernels_of_one_vector(benchmark, tile):
    benchmark(bare(tile, CODES[:1]))


def test_one_vector(benchmark, tile):
    benchmark(tile, CODES[0])


def test_one_vector_at_an_address(benchmark, tile):
    benchmark(tile, CODES[0], 7)


@pytest.mark.parametrize("count", [10_000, 20_000])
def test_the_kernels_of_many_vectors(benchmark, tile, count):
    benchmark(bare(tile, CODES[:count]))


@pytest.mark.parametrize("count", [10_000, 20_000])
def test_many_vectors(benchmark, tile, count):
    benchmark(tile, CODES[:count])


def test_many_vectors_at_addresses(benchmark, tile):
    benchmark(tile, CODES[:10_000], np.arange(10_000, dtype=np.uint64))


def test_preparing_a_tile(benchmark):
    readout = pcmref.Readout(name="chip", dac=pcmref.Dac(bits=8))
    benchmark(pcmref.tile, DEVICES, readout)
