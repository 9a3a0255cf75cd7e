"""The width of the multiplier in an ADC's gain, and what it costs.

For each width: the share of ADC codes that are not those of a gain in float64, from the same sums and, as differences
spread, anywhere in the network; and the accuracy of one chip a day after programming, with GDC and AdaBS.  Preset rtl8
and its variants with other widths, on the same devices, with the same measured ranges.

    python examples/gain_width.py [NETWORK] [--images N] [--widths 8,12,16,20,24]
"""

import argparse
from dataclasses import replace

import numpy as np

import pcmref
from pcmref.arithmetic.choice import kernels
from pcmref.files.cifar10 import load_cifar10

DAY_S = 86_400.0
PROBED = 100


def with_width(readout, bits):
    """Return a readout whose ADC gains have multipliers of so many bits; None: float64."""
    return replace(readout, adc=replace(readout.adc, gain_bits=bits))


def adc_codes(prepared, images, other):
    """Return the codes of all ADCs of one chip, and those that the ADCs of the other make of the same sums."""
    found, same_sums = [], []

    def tap(trace):
        if trace.product is not None:
            adc = other.crossbars[trace.layer].chain.adc
            for number, tile in enumerate(trace.product.tiles):
                found.append(tile.codes.reshape(-1))
                same_sums.append(kernels().digitise(tile.sums, tile.sums.shape[-1], adc, number).reshape(-1))

    prepared(images, tap=tap)
    return np.concatenate(found), np.concatenate(same_sums)


def main():
    parser = argparse.ArgumentParser(description="ADC codes and accuracy against the width of the gain's multiplier.")
    parser.add_argument("network", nargs="?", default="resnet32-cifar10")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--widths", default="8,12,16,20,24")
    options = parser.parse_args()
    network = pcmref.load(pcmref.bundled(options.network))
    samples, training = network.evaluation, network.calibration
    if samples is None:
        samples, training = load_cifar10(None, split="test"), load_cifar10(None, split="train").first(2600)
    samples = samples.first(min(options.images, len(samples)))
    chip = pcmref.program(network, seed=0)
    snapshot = chip.at(DAY_S)
    exact = pcmref.calibrate_ranges(network, training.images[:200], with_width(pcmref.PRESETS["rtl8"], None))
    reference = pcmref.prepare(snapshot, readout=exact)
    probed = samples.images[:PROBED]

    print("| bits | codes that differ, same sums, % | in the network, % | accuracy after a day, % |")
    print("|---|---|---|---|")
    for bits in [*(int(text) for text in options.widths.split(",")), None]:
        readout = with_width(exact, bits)
        codes, same_sums = adc_codes(reference, probed, pcmref.prepare(snapshot, readout=readout))
        in_network, _ = adc_codes(pcmref.prepare(snapshot, readout=readout), probed, reference)
        options_of_fix = {"reference": chip.reference(), "images": training.images, "readout": readout}
        fix = pcmref.calibrate(snapshot, "gdc+adabs", **options_of_fix)
        accuracy = pcmref.accuracy(
            pcmref.logits(snapshot, samples.images, corrections=fix, readout=readout), samples.labels
        )
        shares = [100 * (other != codes).mean() for other in (same_sums, in_network)]
        print(f"| {bits or 'float64'} | {shares[0]:.4f} | {shares[1]:.4f} | {100 * accuracy:.2f} |", flush=True)


if __name__ == "__main__":
    main()
