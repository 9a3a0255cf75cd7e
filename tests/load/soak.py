"""Random networks, readouts and chips for as long as one likes: python -m tests.load.soak --seconds 3600

First each configuration runs once, so that all machine code that they need is there.  Then they run again and again, in
an order, batches and threads that are drawn, some of them with NumPy's kernels: always the same bits, and the memory of
the process does not grow.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import hashlib
import os
import statistics
import sys
import time
import warnings

import numpy as np

import pcmref
from pcmref.arithmetic.choice import VARIABLE
from tests.fuzz.driver import held
from tests.test_second import package_readout, random_case

#: Largest growth of the memory, a share.
GROWTH = 0.01
#: One run in so many has NumPy's kernels.
TWIN = 5
#: glibc's parameter for the number of arenas, and the one arena that threads then share: those of their own come to
#: hold some megabytes more within the hour, in which a leak would hide.
ARENA_MAX, ARENAS = -8, 1


def answered(seed, rng):
    """Return the digest of the logits of a random configuration, made in random pieces; None where it is refused."""
    network, readout, options = random_case(seed)
    model, scale = pcmref.MODELS[options["model"]], options["scale"]
    images, pairs = network.calibration.images, options["significance"]
    try:
        chip = pcmref.program(network, model=model, seed=seed, scale=scale, significance=pairs)
        snapshot, readout = chip.at(options["t"], read=options["read"]), package_readout(readout)
        if options["calibrated"]:
            readout = pcmref.calibrate_ranges(network, images, readout, model=model, scale=scale)
        name, reading = options["compensation"], options["gdc"]
        fix = pcmref.calibrate(snapshot, name, reference=chip.reference(), gdc_readout=reading, readout=readout)
        prepared = pcmref.prepare(snapshot, corrections=fix, readout=readout)
        found = np.empty((len(images), len(network.classes)), np.float32)
        for some in np.array_split(rng.permutation(len(images)), rng.integers(1, len(images) + 1)):
            found[some] = prepared(images[some], addresses=some, threads=int(rng.integers(1, 4)))
    except pcmref.PcmrefError:
        return None
    return hashlib.sha256(found.tobytes()).hexdigest()


def with_numpy(seed, rng):
    """Return the same, made with NumPy's kernels."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "numpy"
    try:
        return answered(seed, rng)
    finally:
        os.environ.pop(VARIABLE) if before is None else os.environ.update({VARIABLE: before})


def resident():
    """Return the memory that the process holds, after what it could give back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return held()[1]


def soak(seconds, configurations, seed=0):
    """Return how many runs there were, those whose bits differed, and the growth of the memory, thirds compared."""
    rng = np.random.default_rng(seed)
    expected = {number: answered(number, rng) for number in range(configurations)}
    for number in expected:
        with_numpy(number, rng)
    runs, different, memory = 0, [], []
    started = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        number, twin = int(rng.integers(configurations)), runs % TWIN == 0
        if (with_numpy if twin else answered)(number, rng) != expected[number]:
            different.append(number)
        runs += 1
        if runs % 20 == 0:
            memory.append((passed, resident()))
    thirds = ([size for at, size in memory if part * seconds <= 3 * at < (part + 1) * seconds] for part in (1, 2))
    early, late = (statistics.median(sizes or [1]) for sizes in thirds)
    return runs, different, late / early - 1


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3600.0, help="after the first round")
    parser.add_argument("--configurations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", pcmref.PcmrefWarning)
    ctypes.CDLL(None).mallopt(ARENA_MAX, ARENAS)
    runs, different, growth = soak(options.seconds, options.configurations, options.seed)
    print(f"{runs} runs of {options.configurations} configurations, {len(different)} with other bits than the first")
    print(f"memory: {held()[1] >> 20} MB, {growth:+.2%} from the second third of the time to the last")
    for number in different:
        print(f"  configuration {number}")
    return bool(different) or growth >= GROWTH


if __name__ == "__main__":
    sys.exit(main())
