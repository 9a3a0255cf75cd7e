"""Accuracy against Gaussian noise on the weights: the experiment of Fig. 2 of Joshi et al. (2020).

    python examples/tolerance.py NETWORK.h5... [--plot FILE.png] [--etas 0,1,2,3,4,5,6,7,8] [--draws 5] [--images N]

Every weight of a layer, biases included, gets an independent normal error with a standard deviation of eta percent of
the layer's largest absolute weight; the network then runs in float32, its batch statistics as they are. Images are
those in the network file, or CIFAR-10 from --data (or the variable PCMREF_DATA).
"""

import argparse
import dataclasses
import itertools
from pathlib import Path

import numpy as np

import pcmref
from pcmref.files.cifar10 import load_cifar10
from pcmref.network.layers import CrossbarLayer
from pcmref.studies.plots import figure, save_figure

COLOURS = ("#000000", "#0072B2", "#E69F00", "#009E73", "#CC79A7")


def disturbed(net, eta, rng):
    """Return `net` with noise of relative size `eta` on the weights and biases of its crossbar layers."""

    def changed(layer):
        if not isinstance(layer, CrossbarLayer):
            return layer
        sigma = eta * np.abs(layer.matrix()).max()
        parts = {"weight": layer.weight} if layer.bias is None else {"weight": layer.weight, "bias": layer.bias}
        noisy = {name: (v + sigma * rng.standard_normal(v.shape)).astype(np.float32) for name, v in parts.items()}
        return dataclasses.replace(layer, **noisy)

    return dataclasses.replace(net, layers=tuple(changed(layer) for layer in net.layers))


def curve(net, samples, etas, draws):
    """Return the accuracy in percent, shape ``(len(etas), draws)``; without noise all draws are one."""
    found = np.empty((len(etas), draws))
    for row, eta in enumerate(etas):
        for draw in range(draws if eta else 1):
            logits = pcmref.digital(disturbed(net, eta, np.random.default_rng([row, draw])), samples.images)
            found[row, draw] = 100 * pcmref.accuracy(logits, samples.labels)
        if not eta:
            found[row] = found[row, 0]
    return found


def main():
    """Measure each network, print the table, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", type=Path, default=[pcmref.bundled()], metavar="NETWORK.h5")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--plot", type=Path, default=Path("tolerance.png"))
    parser.add_argument("--etas", default="0,1,2,3,4,5,6,7,8", help="percent")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--images", type=int)
    options = parser.parse_args()
    if options.draws < 1:
        parser.error("--draws: at least 1")
    etas = [float(eta) / 100 for eta in options.etas.split(",")]

    drawing, axes = figure(figsize=(6.5, 4.5), ncols=1)
    curves = []
    for path in options.networks:
        net = pcmref.load(path)
        samples = net.evaluation or load_cifar10(options.data, split="test")
        samples = samples.first(options.images or len(samples))
        curves.append((path.stem, curve(net, samples, etas, options.draws)))
    print(f"{len(samples):,} images, {options.draws} draws; accuracy in %, mean ± standard deviation\n")
    print(f"{'eta':>5}" + "".join(f"{name:>32}" for name, _ in curves))
    for row, eta in enumerate(etas):
        cells = (f"{v[row].mean():.2f} ± {v[row].std(ddof=min(1, options.draws - 1)):.2f}" for _, v in curves)
        print(f"{100 * eta:4.1f}%" + "".join(f"{cell:>32}" for cell in cells))
    for (name, values), colour in zip(curves, itertools.cycle(COLOURS), strict=False):
        percent = 100 * np.array(etas)
        axes.plot(percent, values.mean(axis=1), "o-", color=colour, label=name, markersize=4)
        axes.fill_between(percent, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.2, lw=0)
    axes.set(xlabel="noise on the weights, % of the largest of a layer", ylabel="accuracy, %")
    axes.grid(color="0.9")
    axes.legend()
    save_figure(drawing, options.plot)


if __name__ == "__main__":
    main()
