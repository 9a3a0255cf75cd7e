"""One device: how far programming, drift and read noise spread it, against the published equations.

    python examples/one_device.py [FILE.png]

The crosses are the values that the equations of Nandakumar et al. (ICECS 2019) give; the lines are what a thousand
simulated devices at each target do.
"""

import sys
from pathlib import Path

import numpy as np

from pcmref.arithmetic.draws import Purpose, stream_key, weight_words
from pcmref.devices.published import NANDAKUMAR_2019
from pcmref.studies.plots import figure, save_figure

MODEL = NANDAKUMAR_2019
DEVICES = 1000
TARGETS = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
TIMES_S = np.geomspace(25.0, 3.15e7, 12)

#: What the equations give, calculated by hand: the programming spread at four targets, uS, and what drift of
#: exponent 0.049 leaves of a conductance.
PUBLISHED_SPREAD_US = {0.1: 0.448, 0.3: 0.747, 0.5: 0.953, 1.0: 1.055}
PUBLISHED_DRIFT = {60.0: 1 / 1.06, 3600.0: 1 / 1.29, 86400.0: 1 / 1.51, 2.592e6: 1 / 1.78, 3.1536e7: 1 / 2.01}


def devices(seed=0):
    """Program `DEVICES` pairs at each target, + devices alone: a matrix of one column a target."""
    targets_us = np.zeros((2, DEVICES, len(TARGETS)))
    targets_us[0] = TARGETS * MODEL.g_max_us
    return MODEL.program(targets_us, lambda purpose: weight_words(stream_key(seed, purpose, 0), targets_us[0].size))


def read_us(state, t_s, seed=0):
    """Read all devices once, `t_s` seconds after programming: uS, shape ``(DEVICES, targets)``."""
    words = weight_words(stream_key(seed, Purpose.READ, 0, t_s=t_s), DEVICES * len(TARGETS))
    return MODEL.read(state, t_s, lambda purpose: words).read[0] * MODEL.g_step_us


def main(path):
    """Draw the three plots."""
    state = devices()
    programmed_us = state.dense(state.g_prog_us)[0]
    exponents = state.dense(state.nu)[0]
    drawing, (spread, exponent, drift) = figure(figsize=(12, 4), ncols=3)

    spread.plot(TARGETS, programmed_us.std(axis=0), "o-", label="programmed", color="#0072B2")
    spread.plot(TARGETS, read_us(state, 25.0).std(axis=0), "s-", label="read at 25 s", color="#E69F00")
    spread.plot(list(PUBLISHED_SPREAD_US), list(PUBLISHED_SPREAD_US.values()), "kx", label="equation")
    spread.set(xlabel="target, G / G_max", ylabel="standard deviation, uS", title="spread")

    exponent.errorbar(TARGETS, exponents.mean(axis=0), exponents.std(axis=0), fmt="o-", color="#0072B2", capsize=3)
    exponent.axhline(0.049, color="k", ls=":", lw=1, label="least mean, 0.049")
    exponent.set(xlabel="target, G / G_max", ylabel="drift exponent", title="exponent: mean and spread")

    for column in (2, 6, 11):
        kept = [read_us(state, t_s)[:, column].mean() / programmed_us[:, column].mean() for t_s in TIMES_S]
        drift.plot(TIMES_S, kept, "-", label=f"G / G_max = {TARGETS[column]:g}")
    drift.plot(list(PUBLISHED_DRIFT), list(PUBLISHED_DRIFT.values()), "kx", label="equation, nu = 0.049")
    drift.set(xscale="log", xlabel="time since programming, s", ylabel="G(t) / G programmed", title="drift")
    for axes in (spread, exponent, drift):
        axes.legend()
        axes.grid(color="0.9")
    save_figure(drawing, path)
    print(f"{path}: {DEVICES} devices at each of {len(TARGETS)} targets")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "one_device.png"))
