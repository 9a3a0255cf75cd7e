"""Converters: how a crossbar is driven and read, and the named presets of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import numpy as np

from pcmref.arrays import Float32, Int64
from pcmref.errors import ParameterError, instance, integer, one_of, real

__all__ = [
    "PRESETS",
    "Range",
    "ReadNoise",
    "Readout",
    "adc_codes",
    "input_gain",
    "largest_code",
    "preset",
]

#: "frozen": one read of every device serves all products, as in the experiment of [J20].
#: "fresh": every product sees new noise.
ReadNoise: TypeAlias = Literal["frozen", "fresh"]

#: Inputs that are smaller than this throughout an image count as 0.
SMALLEST_INPUT = np.float32(2.0**-100)
#: Full scales that float32 arithmetic bears: of the activation, as of an input that is heard, and of the sum.
RANGE_LEAST, RANGE_MOST = {"input_top": float(SMALLEST_INPUT), "sum_top_us": 2.0**-126}, 2.0**100
#: More rows than any tile has.
ROWS_MOST = 1 << 31


@dataclass(frozen=True, kw_only=True)
class Range:
    """Full scale of the converters of one layer.

    Parameters
    ----------
    input_top : float
        Activation that the largest DAC code stands for.
    sum_top_us : float
        Partial sum that the largest ADC code stands for: activation times uS.
    """

    input_top: float
    sum_top_us: float

    def __post_init__(self) -> None:
        for name, least in RANGE_LEAST.items():
            expected = f"a number from 2^{math.log2(least):.0f} to 2^100"
            object.__setattr__(self, name, real(f"range {name}", getattr(self, name), expected, least, RANGE_MOST))


@dataclass(frozen=True, kw_only=True)
class Readout:
    """How crossbars are read.

    Parameters
    ----------
    name : str
    dac_bits : int
        2 to 16, sign included: codes from ``-(2^(bits-1) - 1)`` to ``2^(bits-1) - 1``.
    adc_bits : int, optional
        2 to 24 in the same way; None hands on the exact sums.
    tile_rows : int, optional
        Most rows of one tile; each tile has its own ADC, codes are added digitally.  None: one tile a layer.
        (Columns do not interact, so cutting them into tiles changes no result.)
    read_noise : "frozen" or "fresh"
    ranges : mapping of layer name to Range, optional
        Without them the DAC's full scale is the largest input of each image; an ADC needs them.
    """

    name: str
    dac_bits: int
    adc_bits: int | None = None
    tile_rows: int | None = None
    read_noise: ReadNoise = "frozen"
    ranges: Mapping[str, Range] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, expected, least, most in (
            ("dac_bits", "from 2 to 16", 2, 16),
            ("adc_bits", "from 2 to 24", 2, 24),
            ("tile_rows", "a positive integer", 1, ROWS_MOST),
        ):
            value = getattr(self, name)
            if value is not None or name == "dac_bits":
                whole = integer(f"readout {self.name}: {name}", value, expected, least, most)
                object.__setattr__(self, name, whole)
        one_of(f"readout {self.name}: read_noise", self.read_noise, get_args(ReadNoise))
        if self.ranges is not None:
            instance(f"readout {self.name}: ranges", self.ranges, Mapping)
            for layer, top in self.ranges.items():
                instance(f"readout {self.name}: ranges of {layer!r}", top, Range)
            object.__setattr__(self, "ranges", dict(self.ranges))

    def range_of(self, layer: str) -> Range | None:
        """Return the full scale of the converters of `layer`; None where it follows each image.

        Raises
        ------
        ParameterError
            If the layer has none although others have, or an ADC needs one.
        """
        if self.ranges is None and self.adc_bits is None:
            return None
        if self.ranges is None or layer not in self.ranges:
            raise ParameterError(
                f"readout {self.name}",
                f"calibrated ranges for layer {layer!r} (see pcmref.with_stored_ranges and pcmref.calibrate_ranges)",
                "none",
            )
        return self.ranges[layer]


#: "paper": the experiment of [J20], which had no converters in the loop: fine DAC codes that follow each
#: image, exact sums, one frozen read.  "chip8": 8-bit converters with calibrated ranges, 256-row tiles, fresh
#: read noise in every product.
PRESETS: Mapping[str, Readout] = MappingProxyType(
    {
        "paper": Readout(name="paper", dac_bits=12),
        "chip8": Readout(name="chip8", dac_bits=8, adc_bits=8, tile_rows=256, read_noise="fresh"),
    }
)


def preset(name: str) -> Readout:
    """Return the preset called `name`; raise `ParameterError` with the list of names otherwise."""
    one_of("preset", name, PRESETS)
    return PRESETS[name]


def largest_code(bits: int) -> int:
    """Return the largest code of a converter: ``2^(bits-1) - 1``."""
    return (1 << (bits - 1)) - 1


def input_gain(top: Float32, bits: int) -> tuple[Float32, ...]:
    """Return the DAC's codes per unit and units per code: ``limit / top`` and ``top / limit``, in float32.

    Where `top` is below 2^-100 both are 0.
    """
    limit = np.float32(largest_code(bits))
    silent = top < SMALLEST_INPUT
    divisor = np.where(silent, np.float32(1), top)
    zero = np.float32(0)
    return np.where(silent, zero, limit / divisor), np.where(silent, zero, divisor / limit)


def adc_codes(sums: Int64, gain: float, bits: int) -> Int64:
    """Return ``clip(rint(sum gain), -limit, limit)``, computed in float64, ties to even."""
    limit = float(largest_code(bits))
    return np.clip(np.rint(sums * gain), -limit, limit).astype(np.int64)
