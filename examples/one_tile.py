"""One tile, step by step: conductance codes and DAC codes in, sums, read noise and ADC codes out.

    python examples/one_tile.py

All of it are integers that hardware can be checked against, bit for bit.
"""

import numpy as np

import pcmref


def main():
    """Print the stages of two products with a tile of four rows and two columns."""
    g_code = np.array([[5120, -4447], [-2488, 4639], [0, 5200], [1280, -5120]])  # n(G+) - n(G-), 1.95 nS each
    variance_code = np.full((4, 2), 20)  # of the read noise of a pair, in squares of 15.6 nS
    readout = pcmref.Readout(
        name="8 bits",
        dac=pcmref.Dac(bits=8),
        adc=pcmref.Adc(bits=8, gain=pcmref.FixedPoint(127, 20)),  # 127/2^20
        read_noise="fresh",
    )
    tile = pcmref.tile(g_code, readout, variance_code=variance_code, stream=(2024, 11))

    codes = np.array([[127, 64, 32, 0], [0, -127, 0, 5]])
    product = tile(codes, address=[7, 8])
    print("input codes", codes, "exact sums of codes", product.noise_free, sep="\n")
    print("with fresh read noise", product.sums, "ADC codes", product.codes, sep="\n")
    assert (product.noise_free == codes @ g_code).all()


if __name__ == "__main__":
    main()
