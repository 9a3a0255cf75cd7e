"""Random networks, readouts and chips for as long as one likes: python -m tests.load.soak --seconds 3600

Logits are made in batches, threads and an order that are drawn too, now and then again with NumPy's kernels, and must
be the same bits.  The memory of the process is watched: after the first quarter of the time it does not grow.
"""

from __future__ import annotations

import argparse
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
#: One configuration in so many is made again with NumPy's kernels.
TWIN = 5
SECTIONS = 40


def answered(seed):
    """Make the logits of a random configuration in random pieces; return None where it is refused."""
    network, readout, options = random_case(seed)
    rng = np.random.default_rng(seed)
    model = pcmref.MODELS[options["model"]]
    images = network.calibration.images
    try:
        chip = pcmref.program(
            network, model=model, seed=seed, scale=options["scale"], significance=options["significance"]
        )
        snapshot, readout = chip.at(options["t"], read=options["read"]), package_readout(readout)
        if options["calibrated"]:
            readout = pcmref.calibrate_ranges(network, images, readout, model=model, scale=options["scale"])
        name, reading = options["compensation"], options["gdc"]
        fix = pcmref.calibrate(snapshot, name, reference=chip.reference(), gdc_readout=reading, readout=readout)
        prepared = pcmref.prepare(snapshot, corrections=fix, readout=readout)
        order, found = rng.permutation(len(images)), np.empty((len(images), len(network.classes)), np.float32)
        for some in np.array_split(order, rng.integers(1, len(images) + 1)):
            found[some] = prepared(images[some], addresses=some, threads=int(rng.integers(1, 4)))
    except pcmref.PcmrefError:
        return None
    return found


def with_numpy(seed):
    """The same with NumPy's kernels."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "numpy"
    try:
        return answered(seed)
    finally:
        os.environ.pop(VARIABLE) if before is None else os.environ.update({VARIABLE: before})


def soak(seconds, first=0):
    """Return how many configurations ran, were refused and were compared, those that differed, and the growth."""
    ran = refused = compared = 0
    different, memory = [], [[] for _ in range(SECTIONS)]
    started, seed = time.monotonic(), first
    while (passed := time.monotonic() - started) < seconds:
        found = answered(seed)
        ran, refused = ran + 1, refused + (found is None)
        if seed % TWIN == 0:
            compared += 1
            twin = with_numpy(seed)
            if (found is None) != (twin is None) or (found is not None and found.tobytes() != twin.tobytes()):
                different.append(seed)
        memory[int(SECTIONS * passed / seconds)].append(held()[1])
        seed += 1
    early, late = (
        statistics.median(size for section in memory[begin : begin + SECTIONS // 4] for size in section)
        for begin in (SECTIONS // 4, 3 * SECTIONS // 4)
    )
    return ran, refused, compared, different, late / early - 1


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--first", type=int, default=0, help="seed of the first configuration")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", pcmref.PcmrefWarning)
    ran, refused, compared, different, growth = soak(options.seconds, options.first)
    print(f"{ran} configurations, {refused} refused, {compared} again with NumPy's kernels, {len(different)} different")
    print(f"memory: {held()[1] >> 20} MB, {growth:+.2%} from the second quarter of the time to the last")
    for seed in different:
        print(f"  seed {seed}: other bits with NumPy's kernels")
    return bool(different) or growth >= GROWTH


if __name__ == "__main__":
    sys.exit(main())
