"""What a Verilog bench must know of a tile or a layer before it reads words: headers of localparams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

import numpy as np

from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.arrays import Int64
from pcmref.crossbar.converters import Drive
from pcmref.errors import ParameterError
from pcmref.golden.cases import ArrayEntry, Case
from pcmref.golden.datapath import ends_of
from pcmref.golden.plain import width_of
from pcmref.golden.readouts import readout_of

__all__ = ["header_names", "headers", "layer_header", "loads", "tiles_of", "verilog_header"]

#: Arrays of a tile whose widths are said, and what a bench calls them; 1 where a case has none.
WIDTHS = {"code": "CODE", "noise": "NOISE", "offset": "OFFSET", "multiplier": "MULT", "A": "A", "D": "D"}
#: Arrays of a layer whose widths are said of each tile, too: those of the words that are read; 0 where it has none.
OWN_WIDTHS = {"noise": "NOISE", "offset": "OFFSET", "multiplier": "MULT", "thresholds": "THRESHOLD"}
#: What the numbers of a kind stand for.
CHOICES: Mapping[str, tuple[str, ...]] = {"ROUNDING": ROUNDINGS, "DRIVE": get_args(Drive)}
#: Bits of a localparam of the type integer.
INTEGER_BITS = 32


def tiles_of(case: Case) -> tuple[str, ...]:
    """Return the names of the tiles of a case."""
    names = (name.partition("/g-")[0] for name in case.arrays if "/g-" in name)
    return tuple(dict.fromkeys(names))


def loads(case: Case, tile: str) -> tuple[ArrayEntry, ...]:
    """Return the matrices that a tile is loaded with, one after another."""
    return tuple(entry for name, entry in case.arrays.items() if name.startswith(f"{tile}/g-"))


def header_names(tiles: Sequence[str]) -> dict[str, str]:
    """Return the file of each tile's and each layer's header."""
    layers = dict.fromkeys(layer for tile in tiles if (layer := tile.rpartition("/")[0]))
    return {tile: f"{tile}.svh" for tile in tiles} | {layer: f"{layer}/layer.svh" for layer in layers}


def headers(case: Case) -> dict[str, str]:
    """Return all headers of a case: the text of each file."""
    tiles = tiles_of(case)
    names = header_names(tiles).items()
    return {file: (verilog_header if name in tiles else layer_header)(case, name) for name, file in names}


def verilog_header(case: Case, tile: str) -> str:
    """Return SystemVerilog that a bench of one tile includes: sizes, widths, the ADC, and the vectors of each load.

    Word file ``g.hex`` has the matrices of all loads one after another; load i is for the vectors below
    ``LOAD_END[32*i +: 32]`` that no load before it has.
    """
    matrices, code = loads(case, tile), case.arrays[f"{tile}/code"]
    vectors = code.size // code.shape[-1]
    sizes = {
        "ROWS": code.shape[-1],
        "COLUMNS": matrices[0].shape[-1],
        "VECTORS": vectors,
        "LOADS": len(matrices),
    }
    lines = (
        *_title(case, tile),
        *_integers(sizes | _widths(case, [tile]) | _kinds(case, [tile])),
        _numbers("SHIFTS", 6, _shifts(case, [tile])),
        _numbers("LOAD_END", 32, _ends(case, tile, vectors)),
    )
    return "\n".join(lines) + "\n"


def layer_header(case: Case, layer: str) -> str:
    """Return SystemVerilog that a bench of a layer includes: geometry, tiles, widths, the ADCs.

    A case does not say whether zeros around its input are padding, nor whether the last channel of a 1 x 1 kernel, if
    it never changes, is the constant of a bias.  It makes no difference to a code, so they are taken for it.
    """
    tiles = [tile for tile in tiles_of(case) if tile.rpartition("/")[0] == layer]
    rows = [case.arrays[f"{tile}/code"].shape[-1] for tile in tiles]
    output = case.arrays[f"{layer}/output-code"]
    sizes = {
        "COLUMNS": output.shape[-1],
        "PIXELS": output.shape[1],
        "TILES": len(tiles),
        "TILE_ROWS": rows[0],
        "OUT_BITS": output.bits,
    }
    own = {
        f"{said}_BITS_OF": np.array([_bits(case, f"{tile}/{name}", none=0) for tile in tiles])
        for name, said in OWN_WIDTHS.items()
    }
    lines = (
        *_title(case, layer),
        f'localparam LAYER = "{layer}";',
        *_integers(_geometry(case, layer) | sizes | _widths(case, tiles) | _kinds(case, tiles)),
        _numbers("ROWS_OF", 32, np.array(rows)),
        *(_numbers(name, 32, bits) for name, bits in own.items()),
        _numbers("SHIFTS", 6, _shifts(case, tiles)),
    )
    return "\n".join(lines) + "\n"


def _title(case: Case, name: str) -> Iterator[str]:
    yield f"// case {case.digest[:16]}, {name}: {case.command or 'made in Python'}"


def _integers(values: Mapping[str, int]) -> Iterator[str]:
    for name, value in values.items():
        said = f"  // {', '.join(f'{n} {kind}' for n, kind in enumerate(CHOICES[name]))}" if name in CHOICES else ""
        yield f"localparam integer {name} = {value};{said}"


def _numbers(name: str, bits: int, values: Int64) -> str:
    """Return a vector of numbers, number i in its bits ``[bits*i +: bits]``."""
    each = [f"{bits}'d{value}" for value in reversed(values.tolist())]
    said = f"{len(each)}{{{each[0]}}}" if len(set(each)) == 1 else ", ".join(each)
    return f"localparam [{bits}*{len(each)}-1:0] {name} = {{{said}}};"


def _bits(case: Case, name: str, *, none: int = 1) -> int:
    """Return the width of an array, or what stands where a case has none."""
    return case.arrays[name].bits if name in case.arrays else none


def _widths(case: Case, tiles: Sequence[str]) -> dict[str, int]:
    """Return widths in bits: of the widest tile."""
    readout = readout_of(case.readout)
    matrices = [entry for tile in tiles for entry in loads(case, tile)]
    found = {f"{said}_BITS": max(_bits(case, f"{tile}/{name}") for tile in tiles) for name, said in WIDTHS.items()}
    found["G_BITS"] = max(entry.bits for entry in matrices)
    found["THRESHOLD_BITS"] = max(_bits(case, f"{tile}/thresholds", none=0) for tile in tiles)
    lines = 2 if readout.lines == "separate" else 1
    (least, most), noise, _ = ends_of((lines, *matrices[0].shape[-2:]), readout)
    noise = noise if readout.read_noise == "fresh" else 0
    exact, _ = width_of(least - noise, most + noise)
    register = readout.accumulator
    held = exact if register is None else min(exact, register.bits)
    found["SUM_BITS"] = held if register is not None and register.beyond == "wrap" else exact
    found["HELD_BITS"] = held
    return found


def _kinds(case: Case, tiles: Sequence[str]) -> dict[str, int]:
    """Return what the converters are, so that a bench can refuse what it does not have."""
    readout = readout_of(case.readout)
    dac, adc = readout.dac, readout.adc
    lines = 2 if readout.lines == "separate" else 1
    bits = min(INTEGER_BITS, max(_bits(case, f"{tile}/A") for tile in tiles))
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if adc is None else adc.limits
    measured = None if adc is None else readout.measured_of(tiles[0].rpartition("/")[0])
    rounding = (measured[0] if measured else adc).rounding if adc is not None else ROUNDINGS[0]
    shifts = np.unique(_shifts(case, tiles))
    return {
        "CONVERSIONS": lines * len(dac.weights),
        "LINES": lines,
        "DRIVE": CHOICES["DRIVE"].index(dac.drive),
        "CODE_SIGNED": int(dac.low < 0),
        "CODE_OFFSET": dac.offset,
        "HAS_NOISE": int(readout.read_noise == "fresh"),
        "HAS_OFFSET": int(any(f"{tile}/offset" in case.arrays for tile in tiles)),
        "HAS_ADC": int(adc is not None),
        "FIXED_POINT": int(all(f"{tile}/multiplier" in case.arrays for tile in tiles)),
        "SHIFT": int(shifts[0]) if len(shifts) == 1 else 0,
        "ROUNDING": ROUNDINGS.index(rounding),
        "ADC_LOW": low,
        "ADC_HIGH": high,
    }


def _shifts(case: Case, tiles: Sequence[str]) -> Int64:
    """Return the shift of each column of each tile; 0 where there is none."""

    def of_tile(tile: str) -> Int64:
        shift = case.values.get(f"{tile}/shift")
        return np.zeros(loads(case, tile)[0].shape[-1], np.int64) if shift is None else shift.reshape(-1)

    return np.concatenate([of_tile(tile) for tile in tiles])


def _geometry(case: Case, layer: str) -> dict[str, int]:
    """Return what a layer's windows are, from where its rows and pixels read the codes of an image."""
    frame, row, pixel = (case.values[f"{layer}/{name}"].astype(np.int64) for name in ("code", "row", "pixel"))
    images, height, width, filled = frame.shape
    slices = int(np.count_nonzero(row == 0))
    row = row[: len(row) // slices]
    line = width * filled
    kernel = int(row.max()) // line + 1, int((row % line // filled).max()) + 1
    seen = int((row % filled).max()) + 1  # channels, that of a bias among them
    constant = frame[..., seen - 1]
    if kernel == (1, 1):
        bias = seen > 1 and bool((constant == constant.flat[0]).all())
    else:
        bias = len(row) != kernel[0] * kernel[1] * seen
    codes = frame[..., : seen - bias]
    most = min(kernel) // 2
    frames = (p for p in range(most, 0, -1) if np.count_nonzero(codes[:, p:-p, p:-p]) == np.count_nonzero(codes))
    padding = next(frames, 0)
    stride = _stride(pixel, line, filled, (height - kernel[0], width - kernel[1]))
    _expect_windows(layer, frame.shape[1:], (row, pixel), kernel, stride, bias)
    return {
        "IMAGES": images,
        "HEIGHT": height - 2 * padding,
        "WIDTH": width - 2 * padding,
        "CHANNELS": seen - bias,
        "FILLED_CHANNELS": filled,
        "KERNEL_HEIGHT": kernel[0],
        "KERNEL_WIDTH": kernel[1],
        "STRIDE": stride,
        "PADDING": padding,
        "BIAS": int(bias),
        "BIAS_CODE": int(constant.flat[0]) if bias else 0,
        "SLICES": slices,
    }


def _expect_windows(
    layer: str, frame: tuple[int, ...], found: tuple[Int64, Int64], kernel: tuple[int, int], stride: int, bias: bool
) -> None:
    """Raise `ParameterError` unless rows and pixels are those of a convolution of one stride without dilation."""
    height, width, filled = frame
    place = np.arange(height * width * filled).reshape(frame)
    channels = (len(found[0]) - bias) // (kernel[0] * kernel[1])
    row = np.append(place[: kernel[0], : kernel[1], :channels], [channels] * bias)
    pixel = place[: height - kernel[0] + 1 : stride, : width - kernel[1] + 1 : stride, 0].reshape(-1)
    if not (np.array_equal(row, found[0]) and np.array_equal(pixel, found[1])):
        expected = "a convolution with one stride for both axes and without dilation"
        raise ParameterError(f"header of {layer}", expected, "another")


def _stride(pixel: Int64, line: int, filled: int, room: tuple[int, int]) -> int:
    """Return from how many pixels to how many a window moves; of the only one, beyond its room."""
    if len(pixel) == 1:
        return max(room) + 1
    step = int(pixel[1])
    return step // filled if step < line else step // line


def _ends(case: Case, tile: str, vectors: int) -> Int64:
    """Return the last vector but one of each load."""
    if not case.groups:
        return np.array([vectors])
    names = [entry.name.partition("/g-")[2] for entry in loads(case, tile)]
    return np.array([max(group.last for group in case.groups if group.conductance == name) for name in names])
