"""How crossbars are driven and read: converters, tiles, read noise, and the named presets; SPEC.md, section 8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from pcmref.arithmetic.codes import Range
from pcmref.errors import ParameterError, instance, integer, one_of

__all__ = ["PRESETS", "ReadNoise", "Readout", "preset"]

#: "frozen": one read of every device serves all products, as in the experiment of [J20].
#: "fresh": every product sees new noise.
ReadNoise: TypeAlias = Literal["frozen", "fresh"]

#: More rows than any tile has.
ROWS_MOST = 1 << 31


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
