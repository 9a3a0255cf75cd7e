"""How crossbars are driven and read: converters, tiles, read noise, and the named presets; SPEC.md, section 8."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from pcmref.arithmetic.codes import Range
from pcmref.crossbar.converters import Accumulator, Adc, Dac, converters_of
from pcmref.errors import ParameterError, instance, integer, one_of

__all__ = ["PRESETS", "Lines", "ReadNoise", "Readout", "preset"]

#: "frozen": one read of every device serves all products, as in the experiment of [J20].
#: "fresh": every product sees new noise.
ReadNoise: TypeAlias = Literal["frozen", "fresh"]
#: "pair": the difference of the + and the - line of a column is converted.  "separate": each line has an ADC of its
#: own, and the codes are subtracted.
Lines: TypeAlias = Literal["pair", "separate"]

#: More rows or columns than any tile has.
SIZE_MOST = 1 << 31


@dataclass(frozen=True, kw_only=True)
class Readout:
    """How crossbars are read.

    Parameters
    ----------
    name : str
    dac : Dac
    adc : Adc, optional
        None hands on the exact sums.
    tile_rows, tile_columns : int, optional
        Most rows and columns of one tile.  Each tile has its own ADC; codes of tiles one below the other are added
        digitally.  None: one tile a layer.  (Columns do not interact, so cutting them matters only to the ranges that
        are found for their ADCs.)
    lines : "pair" or "separate"
        What an ADC converts.
    accumulator : Accumulator, optional
        None: wide enough for every sum.
    read_noise : "frozen" or "fresh"
    ranges : mapping of layer name to Range, optional
        Without them the DAC's full scale is the largest input of each image; an ADC needs them.
    measured : mapping of layer name to Adc or tuple of Adc, optional
        ADCs of a layer as they were measured, one for all of it or one for each line of each tile: they convert, while
        the digital scale stays that of `adc` and the range.
    """

    name: str
    dac: Dac
    adc: Adc | None = None
    tile_rows: int | None = None
    tile_columns: int | None = None
    lines: Lines = "pair"
    accumulator: Accumulator | None = None
    read_noise: ReadNoise = "frozen"
    ranges: Mapping[str, Range] | None = field(default=None, repr=False)
    measured: Mapping[str, Adc | tuple[Adc, ...]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        put, where = object.__setattr__, f"readout {self.name}"
        instance("readout: name", self.name, str)
        instance(f"{where}: dac", self.dac, Dac)
        for name, kind in (("adc", Adc), ("accumulator", Accumulator)):
            if (value := getattr(self, name)) is not None:
                instance(f"{where}: {name}", value, kind)
        for name in ("tile_rows", "tile_columns"):
            if (value := getattr(self, name)) is not None:
                put(self, name, integer(f"{where}: {name}", value, "a positive integer, or None", 1, SIZE_MOST))
        one_of(f"{where}: read_noise", self.read_noise, get_args(ReadNoise))
        one_of(f"{where}: lines", self.lines, get_args(Lines))
        if self.ranges is not None:
            instance(f"{where}: ranges", self.ranges, Mapping)
            for layer, top in self.ranges.items():
                instance(f"{where}: ranges of {layer!r}", top, Range)
            put(self, "ranges", dict(self.ranges))
        if self.measured is not None:
            instance(f"{where}: measured", self.measured, Mapping)
            found = {
                layer: converters_of(f"{where}: measured {layer!r}", adc, self.adc)
                for layer, adc in self.measured.items()
            }
            put(self, "measured", found)

    @property
    def needs_ranges(self) -> bool:
        """Whether converters have a fixed full scale that nobody has set."""
        return self.adc is not None and self.ranges is None

    def check_layers(self, names: Collection[str]) -> None:
        """Raise `ParameterError` if ranges or measured ADCs are those of other layers than these."""
        for what, given in (("ranges", self.ranges), ("measured", self.measured)):
            for layer in given or ():
                if layer not in names:
                    raise ParameterError(
                        f"readout {self.name}: {what}", f"layers out of {', '.join(names)}", repr(layer)
                    )

    def measured_of(self, layer: str) -> tuple[Adc, ...] | None:
        """Return the measured ADCs of `layer`, if there are any."""
        found = None if self.measured is None else self.measured.get(layer)
        return (found,) if isinstance(found, Adc) else found

    def range_of(self, layer: str) -> Range | None:
        """Return the full scale of the converters of `layer`; None where it follows each image.

        Raises
        ------
        ParameterError
            If the layer has none although others have, or an ADC needs one.
        """
        if self.ranges is None and self.adc is None:
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
#: read noise in every product.  "rtl8": the same converters as hardware has them, with integer gains, on tiles
#: of 256 x 256, and one frozen read.
PRESETS: Mapping[str, Readout] = MappingProxyType(
    {
        "paper": Readout(name="paper", dac=Dac(bits=12)),
        "chip8": Readout(name="chip8", dac=Dac(bits=8), adc=Adc(bits=8), tile_rows=256, read_noise="fresh"),
        "rtl8": Readout(name="rtl8", dac=Dac(bits=8), adc=Adc(bits=8, gain_bits=16), tile_rows=256, tile_columns=256),
    }
)


def preset(name: str) -> Readout:
    """Return the preset called `name`; raise `ParameterError` with the list of names otherwise."""
    one_of("preset", name, PRESETS)
    return PRESETS[name]
