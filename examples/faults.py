"""Which vectors catch which fault of a tile, and what random vectors alone let pass.

Twelve kinds of tiles, 64 x 16, with 2,000 random vectors each; a row of the table is a fault, of the first
tile that can have it.

    python examples/faults.py
"""

from dataclasses import replace

import pcmref
from pcmref import Accumulator, Adc, Dac, FixedPoint
from pcmref.golden.faults import FAULTS
from pcmref.golden.tiles import tile_case

PLAIN = pcmref.Readout(name="plain", dac=Dac(bits=8), adc=Adc(bits=8, gain=FixedPoint(40_960, 32)))
TILES = {
    "plain": PLAIN,
    "fresh noise": replace(PLAIN, read_noise="fresh"),
    "offsets, other roundings": replace(
        PLAIN, adc=replace(PLAIN.adc, rounding="half-up", offset=tuple(range(-4000, 4000, 500)))
    ),
    "odd multiplier": replace(PLAIN, adc=Adc(bits=8, gain=FixedPoint(40_963, 32))),
    "float64 gain": replace(PLAIN, adc=Adc(bits=8, gain=9.536743e-06)),
    "accumulator saturates": replace(PLAIN, accumulator=Accumulator(bits=26, beyond="saturate")),
    "accumulator wraps": replace(PLAIN, accumulator=Accumulator(bits=26, beyond="wrap")),
    "thresholds": replace(PLAIN, adc=Adc(bits=8, thresholds=tuple(range(-126 * 100_000, 128 * 100_000, 100_000)))),
    "two-phase": replace(PLAIN, dac=Dac(bits=8, drive="two-phase")),
    "bit-serial": replace(PLAIN, dac=Dac(bits=8, codes="signed", drive="bit-serial")),
    "separate lines": replace(PLAIN, lines="separate"),
    "offset codes": replace(PLAIN, dac=Dac(bits=8, codes="offset")),
}


def main():
    rows = {}
    for tile, readout in TILES.items():
        case = tile_case(readout, size=(64, 16), random=2000)
        for fault in case.faults:
            if fault.caught_by or fault.name not in rows:
                found = rows.get(fault.name)
                if found is None or not found[2]:
                    rows[fault.name] = tile, fault.meaning, fault.caught_by
    print("# Faults of a tile, and the vectors that catch them\n\nMade by `python examples/faults.py`.\n")
    print("| fault: the tile | of a tile | caught by | random alone |\n|---|---|---|---|")
    for fault in FAULTS:
        if fault.name in rows:
            tile, meaning, groups = rows[fault.name]
            directed = [group for group in groups if not group.endswith("/random")]
            shown = ", ".join(directed[:4]) + (f" and {len(directed) - 4} more" if len(directed) > 4 else "")
            alone = "caught" if "weights/random" in groups else "**missed**"
            print(f"| {meaning} (`{fault.name}`) | {tile} | {shown or '-'} | {alone} |")
    print(f"\n{len(rows)} of {len(FAULTS)} faults")


if __name__ == "__main__":
    main()
