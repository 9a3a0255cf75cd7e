"""One tile, step by step: weights, conductances, codes in, sums, noise, codes out.

    python examples/one_tile.py

The codes and sums are integers that hardware can be checked against, bit for bit.
"""

import numpy as np

import pcmref
from pcmref.converters import Range, Readout
from pcmref.layers import Linear
from pcmref.network import Network, Normalisation


def main():
    """Print the stages of one product."""
    weight = np.array([[0.5, -0.25, 0.0, 0.125], [-0.375, 0.25, 0.5, -0.5]], np.float32)
    net = Network(
        layers=(
            pcmref.layers.GlobalAveragePool(name="pixel", inputs=("input",)),
            Linear(name="tile", inputs=("pixel",), weight=weight),
        ),
        input_shape=(1, 1, 4),
        normalisation=Normalisation(full_scale=255.0, mean=(0.0,) * 4, std=(1.0,) * 4),
        classes=("first", "second"),
    )
    chip = pcmref.program(net, seed=1)
    snapshot = chip.at(3600.0)
    layer = snapshot.layers[0]
    step_us = chip.model.g_step_us
    print("target conductances G+ - G-, uS (rows are inputs, columns outputs)")
    print(chip.layers[0].mapped.g_target_us)
    print("\nprogrammed, uS: + devices, then - devices")
    print(chip.layers[0].dense(chip.layers[0].g_prog_us).round(3))
    print(f"\nafter an hour, in codes of {1000 * step_us:.3f} nS, without and with the noise of one read")
    print(layer.mean_code)
    print(layer.read_code)

    readout = Readout(
        name="8 bits", dac_bits=8, adc_bits=8, read_noise="fresh",
        ranges={"tile": Range(input_top=1.0, sum_top_us=30.0)},
    )  # fmt: skip
    images = np.array([[255, 128, 64, 0], [0, 255, 0, 255]], np.uint8).reshape(2, 1, 1, 4)

    def show(trace):
        if trace.product is not None:
            codes = trace.product.input_codes.reshape(len(trace.image), -1)
            print("\ninput codes\n", codes, sep="")
            print("exact sums of codes\n", trace.product.tiles[0].noise_free[:, 0], sep="")
            print("with fresh read noise\n", trace.product.tiles[0].sums[:, 0], sep="")
            print("ADC codes\n", trace.product.output_codes[:, 0], sep="")
            print("digital values\n", trace.activations, sep="")

    pcmref.logits(snapshot, images, readout=readout, tap=show)
    print("float result of the network itself\n", pcmref.digital(net, images), sep="")


if __name__ == "__main__":
    main()
