"""SPEC.md says what the code does: its worked numbers, constants and tables are recomputed here."""

import itertools
import json
import math
import re
import shutil
import struct
from dataclasses import fields, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest

import pcmref
from pcmref.arithmetic import draws, elementary, periphery, reference
from pcmref.arithmetic.codes import (
    CODE_LIMIT,
    ROUNDINGS,
    VARIANCE_STEP,
    Rounding,
    adc_codes,
    adc_gain,
    limited,
    table_codes,
    variance_codes,
)
from pcmref.arithmetic.draws import Purpose
from pcmref.arithmetic.operands import Noise
from pcmref.arithmetic.reference import add_read_noise
from pcmref.crossbar import converters, layout, wiring
from pcmref.crossbar.readout import Lines, ReadNoise
from pcmref.devices import laws, mapping, pcm
from pcmref.devices.chip import SnapshotLayer
from pcmref.devices.published import MODELS, NANDAKUMAR_2019
from pcmref.files import corrections, networks
from pcmref.files.corrections import save_corrections
from pcmref.files.networks import OPERATIONS
from pcmref.inference import ranges as inference_ranges
from pcmref.network.cost import ELEMENTS_MOST, OPERATIONS_MOST
from pcmref.network.layers import FLOAT_LIMIT, BatchNorm, CrossbarLayer, number_names
from pcmref.network.windows import AXIS_LIMIT, MAP_LIMIT
from pcmref.studies import study
from tests.helpers import nets

SPEC = (Path(pcmref.__file__).parent / "SPEC.md").read_text(encoding="utf-8")
SEED, LAYER, WEIGHT = 2020, 3, 5
T_S = 86_400.0
MODEL = NANDAKUMAR_2019


def test_the_version_is_that_of_the_code():
    assert re.search(r"^Version (\d+)\.", SPEC, re.M)[1] == str(pcmref.SPEC_VERSION)


def section(number):
    return re.search(rf"^## {number}\. .*?(?=^## |\Z)", SPEC, re.M | re.S)[0]


def table(text):
    """The cells of the first table in `text`, without its head."""
    lines = iter(text.splitlines())
    rows = itertools.takewhile(lambda line: line.startswith("|"), itertools.dropwhile(lambda x: x[:1] != "|", lines))
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows][2:]


def worked():
    """Recompute the table of section 12, cell by cell, as it is written."""
    matrix = np.zeros((2, 3), np.float32)
    matrix[0, 0], matrix[1, 2] = -0.5, 0.3
    mapped = mapping.map_matrix("layer", matrix, g_max_us=MODEL.g_max_us)
    program, converge = (draws.stream_key(SEED, p, LAYER) for p in (Purpose.PROGRAM, Purpose.CONVERGENCE))
    read, product = (draws.stream_key(SEED, p, LAYER, t_s=T_S) for p in (Purpose.READ, Purpose.PRODUCT))
    words = [draws.weight_words(key, matrix.size) for key in (program, converge)]
    drawn = dict(zip((Purpose.PROGRAM, Purpose.CONVERGENCE), words, strict=True))
    layer = MODEL.program(mapped.pair_targets_us(), drawn.__getitem__)
    noise = draws.weight_words(read, matrix.size)
    codes = MODEL.read(layer, T_S, {Purpose.READ: noise}.__getitem__)
    mean, read_code = codes.mean[:, 1, 2].astype(int), codes.read[:, 1, 2].astype(int)
    place = layer.device.tolist().index(WEIGHT)
    drift = pcm.drifted_us(MODEL, layer.g_prog_us, layer.nu, T_S)
    spread = pcm.read_noise_spread_us(MODEL, drift, layer.q_s, T_S)
    g_us = pcm.read_us(drift, spread, draws.normals(noise[0])[[WEIGHT]])
    block = draws.philox([10 // 4, 1, 7, 0], product)
    sums, variance = np.full((1, 4, 3), -6789), np.full((1, 4, 3), 12345)
    stream = Noise(k0=np.uint64(product[0]), k1=np.uint64(product[1]), split=False)
    noisy = add_read_noise(sums, variance, 3, stream, 1, np.array([7], np.uint64)).reshape(-1)[10]
    first = words[0][:, WEIGHT]
    low, high = struct.unpack("<II", struct.pack("<d", T_S))

    def counter(purpose, low, high):
        return f"({int(purpose) + 256 * LAYER}, 0, {low:#x}, {high:#x})"

    def key_text(key):
        return f"({key[0]:#010x}, {key[1]:#010x})"

    def hexes(values):
        return ", ".join(float(v).hex() for v in values)

    def number(value, unit=""):
        return f"{float(value).hex()} = {value:.9f}{unit}"

    return [
        counter(Purpose.PROGRAM, 0, 0),
        key_text(program),
        " ".join(f"{w:#010x}" for w in first),
        hexes(draws.uniforms(first)),
        hexes(draws.normals(first)),
        number(mapped.g_target_us[1, 2], " uS"),
        number(layer.g_prog_us[place], " uS"),
        number(layer.nu[place]),
        number(layer.q_s[place]),
        counter(Purpose.READ, low, high),
        key_text(read),
        " ".join(f"{w:#010x}" for w in noise[:, WEIGHT]),
        number(drift[place], " uS"),
        number(spread[place], " uS"),
        number(g_us[place], " uS"),
        f"{mean[0] - mean[1]}, {read_code[0] - read_code[1]}, {min(codes.variance[:, 1, 2].sum(), CODE_LIMIT)}",
        key_text(product),
        " ".join(f"{w:#010x}" for w in block),
        float(draws.normals(block)[2]).hex(),
        str(noisy),
    ]


def widths(rows, readout, tiles):
    """The column of the table of widths, as it is written."""
    fresh, adc = readout.read_noise == "fresh", readout.adc
    exact, variance = rows * readout.dac.high * CODE_LIMIT, rows * readout.dac.high**2 * CODE_LIMIT
    noise = round(6.34 * math.sqrt(64 * variance)) if fresh else 0

    def signed(largest):
        return str(largest.bit_length() + 1)

    def unsigned(largest):
        return f"{largest.bit_length()}, unsigned"

    code, mult = exact, None
    if adc is not None:
        code = adc.high
        mult = None if adc.gain_bits is None else (1 << adc.gain_bits) - 1
    return [
        signed(readout.dac.high),
        unsigned(CODE_LIMIT),
        signed(CODE_LIMIT),
        unsigned(CODE_LIMIT) if fresh else "",
        signed(exact),
        unsigned(variance) if fresh else "",
        signed(noise) if fresh else "",
        signed(exact + noise),
        unsigned(mult) if mult else "",
        unsigned(largest_shift(adc)) if mult else "",
        signed(mult * (exact + noise)) if mult else "",
        signed(code),
        signed(tiles * code) + (f" for {tiles} tiles" if tiles > 1 else ""),
    ]


def largest_shift(adc):
    """The largest shift that an ADC may have."""
    return max(shift for shift in range(53) if is_accepted(pcmref.Adc, gain=pcmref.FixedPoint(1, shift), bits=adc.bits))


def is_accepted(kind, **values):
    try:
        kind(**values)
    except pcmref.PcmrefError:
        return False
    return True


def width_columns():
    """The columns of the table of widths by preset, a cell a value."""
    values, _, *columns = zip(*table(section(8).split("**Widths**")[1]), strict=True)
    return {name: dict(zip(values, column, strict=True)) for name, column in zip(WIDTHS, columns, strict=True)}


WIDTHS = ("chip8", "rtl8", "paper")


def test_widths():
    largest = max(pcmref.load(pcmref.bundled("resnet32-cifar10")).crossbar_layers, key=lambda layer: layer.rows)
    assert f"the {largest.rows} rows of the largest layer" in " ".join(section(8).split())
    for preset, size, tiles in (("chip8", 256, 2), ("rtl8", 256, 2), ("paper", largest.rows, 1)):
        assert list(width_columns()[preset].values()) == widths(size, pcmref.PRESETS[preset], tiles)
    assert f"| 0 to {largest_shift(pcmref.PRESETS['rtl8'].adc)} with 8-bit codes |" in section(8)


def test_the_shifts_of_the_stored_ranges():
    network, readout = pcmref.load(pcmref.bundled("resnet32-cifar10")), pcmref.PRESETS["rtl8"]
    ranged = pcmref.with_stored_ranges(network, readout)
    gains = [
        converters.fixed_point(adc_gain(wiring.input_step(ranged, top), MODEL.g_step_us, top.sum_top_us / 127), 16)
        for top in ranged.ranges.values()
    ]
    assert {gain.multiplier.bit_length() for gain in gains} == {16}
    least, most = min(gain.shift for gain in gains), max(gain.shift for gain in gains)
    assert f"`rtl8` shifts from {least} to {most} (default set)" in section(8)


def wire(cell):
    return "-" if not cell else f"{'u' if 'unsigned' in cell else 's'}{re.match(r'[0-9]+', cell)[0]}"


def test_the_figure_has_the_widths_of_the_table():
    one = r"(?:[suf]\d+(?:, [suf]\d+)?|-)"
    wires = re.findall(rf"([A-Za-z_][A-Za-z_, ]*?): ({one}) / ({one}) / ({one})", section(8).split("```")[1])
    wires = {name: tuple(formats) for name, *formats in wires}
    columns = width_columns()
    expected = {name: tuple(wire(columns[preset][name]) for preset in WIDTHS) for name in columns["chip8"]}
    gain = f"{expected.pop('mult')[1]}, {expected.pop('shift')[1]}"
    del expected["n(G)"], expected["P"]
    floats = dict.fromkeys(("x", "dac_gain", "unit", "y"), ("f32",) * 3)
    floats |= {"z": ("f64", "-", "-"), "adc_gain": ("f64", gain, "-")}
    assert wires == expected | floats


def test_the_figure_of_the_adc_has_the_widths_of_the_table():
    figure = section(8).split("```")[3]
    wires = dict(re.findall(r"([A-Za-z0-9_][A-Za-z0-9_,+ ]*?): ([su]\d+|-)", figure))
    found = {name: wire(cell) for name, cell in width_columns()["rtl8"].items()}
    for name, width in {"D": found["D"], "P": found["P"], "mult": found["mult"], "shift": found["shift"]}.items():
        assert wires.pop(name) == width
    for name in ("A", "A with its noise", "A + adc_offset"):
        assert wires.pop(name) == found["A"]
    assert wires.pop("adc_low, adc_high") == found["D"]
    assert wires.pop("output code") == found["output code"]
    assert wires == {"adc_offset": "-", "D0": "-", "factor": "-"}
    # rounding may carry: a |P| below 2^46 may become 2^(46 - shift), which takes 47 - shift bits and a sign
    most = 1 << (int(found["P"][1:]) - 1)
    assert int(re.search(r"s\((\d+) - shift\)", figure)[1]) == most.bit_length() + 1


def test_worked_numbers():
    written = [row.split("|")[2].strip() for row in section(12).splitlines() if row.startswith("|")][2:]
    assert written == worked()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ln 3", elementary.ln(3.0)),
        ("exp(-0.5)", elementary.exp(-0.5)),
        ("quantile(0.025)", elementary.normal_quantile(np.array([0.025]))[0]),
        ("quantile(2^-33)", elementary.normal_quantile(np.array([2.0**-33]))[0]),
    ],
)
def test_worked_functions(text, value):
    assert f"`{text} = {float(value).hex()}`" in section(12)


def test_constants_of_elementary_functions():
    text = section(3)
    for constant in (
        elementary.SQRT_HALF,
        elementary.LN2_HIGH,
        elementary.LN2_LOW,
        elementary.INVERSE_LN2,
    ):
        assert re.sub(r"0+p", "p", constant.hex()) in text.replace("0p", "p")


def test_constants_of_the_quantile():
    """Every coefficient of AS 241, as a float64, and the limits between its pieces."""
    source = Path(elementary.__file__).read_text(encoding="utf-8")
    columns = list(zip(*table(section(3)), strict=True))
    assert columns[0] == tuple("76543210")
    pieces = (elementary.QUANTILE_CENTRE, elementary.QUANTILE_NEAR, elementary.QUANTILE_FAR)
    for written, coefficients in zip(columns[1:], itertools.chain(*pieces), strict=True):
        assert tuple(map(float, written)) == coefficients
        assert all(number in source for number in written)  # the digits beyond float64, too
    for text in (
        f"centre, |h| <= {elementary.QUANTILE_SPLIT}: ",
        f"x = {elementary.QUANTILE_SPLIT_SQUARED} - h * h,",
        f"near, s <= {elementary.QUANTILE_FAR_FROM:.0f}: ",
        f"x = s - {elementary.QUANTILE_NEAR_SHIFT},",
        f"far, s > {elementary.QUANTILE_FAR_FROM:.0f}: ",
        f"x = s - {elementary.QUANTILE_FAR_FROM:.0f},",
    ):
        assert text in section(3)


def test_constants_of_the_generator():
    for constant in (*draws.MULTIPLIERS, *draws.WEYL):
        assert f"0x{constant:X}" in section(4)
    for purpose in Purpose:
        assert re.search(rf"^\| {int(purpose)} \|", section(4), re.M)


def numbers(law):
    """Return every number of a law, in its own notation's order."""
    match law:
        case laws.Constant(value):
            return [value]
        case laws.Polynomial(coefficients):
            return list(coefficients)
        case laws.Logarithm(slope, offset, low, high):
            return [slope, offset, low, high]
        case laws.PowerLaw(factor, exponent, high):
            return [factor, exponent, high]
        case laws.Piecewise(split, below, above):
            return [split, *numbers(below), *numbers(above)]
    raise AssertionError(law)


def test_tables_of_the_models():
    """Every number of every published set stands in section 5."""
    text = section(5)
    found = {float(t) for t in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)}
    for model in MODELS.values():
        assert model.name in text
        laws = (model.programming_spread_us, model.exponent_mean, model.exponent_spread, model.read_noise)
        wanted = [n for law in laws for n in numbers(law)]
        wanted += [model.g_max_us, model.t_c_s, model.t_read_s, model.t_offset_s]
        products = {0.07585724 * 25.0, -0.00178767 * 625.0}
        missing = [n for n in wanted if n not in found and n not in products and abs(n) not in found]
        assert not missing, model.name


def test_presets():
    rows = {name: rest for name, *rest in table(section(8)[section(8).index("| preset |") :])}
    assert set(rows) == set(pcmref.PRESETS)
    for name, readout in pcmref.PRESETS.items():
        adc = readout.adc
        gain = "" if adc is None else f"{adc.gain_bits} bits, fixed point" if adc.gain_bits else "float64"
        assert rows[name] == [
            f"{readout.dac.bits} bits",
            "none" if adc is None else f"{adc.bits} bits",
            gain,
            f"{readout.tile_rows or 'all'}, {readout.tile_columns or 'all'}",
            readout.read_noise,
            "none" if adc is None else "calibrated (section 11)",
        ]
        # what the text says of all of them
        assert readout == pcmref.Readout(
            name=name,
            dac=pcmref.Dac(bits=readout.dac.bits, codes="symmetric", drive="parallel"),
            adc=adc and pcmref.Adc(bits=adc.bits, gain_bits=adc.gain_bits, rounding="half-even", offset=0),
            tile_rows=readout.tile_rows,
            tile_columns=readout.tile_columns,
            lines="pair",
            accumulator=None,
            read_noise=readout.read_noise,
        )


# Section 8: converters


def setting(field):
    """The values of a setting of a readout, as the table has them."""
    (found,) = [values for _, values, place in table(section(8)) if f"`{field}`" in place.split(", ")]
    return found


def test_every_field_of_a_readout_is_a_setting():
    written = {name for *_, place in table(section(8)) for name in re.findall(r"`([\w.\[\]]+)`", place)}
    kinds = {"dac": pcmref.Dac, "adc": pcmref.Adc, "accumulator": pcmref.Accumulator, "ranges[LAYER]": pcmref.Range}
    kinds |= {"adc.gain": pcmref.FixedPoint}
    expected = {f"{name}.{field.name}" for name, kind in kinds.items() for field in fields(kind)}
    plain = {field.name for field in fields(pcmref.Readout)} - {"name", "ranges", "measured"} - set(kinds)
    assert written == expected | plain | {"measured[LAYER]"}


@pytest.mark.parametrize(
    ("field", "kind", "values"),
    [
        ("dac.bits", pcmref.Dac, {}),
        ("accumulator.bits", pcmref.Accumulator, {}),
        ("adc.bits", pcmref.Adc, {}),
        ("adc.gain_bits", pcmref.Adc, {"bits": 8}),
        ("adc.gain.multiplier", pcmref.FixedPoint, {"shift": 20}),
        ("adc.gain.shift", pcmref.FixedPoint, {"multiplier": 1}),
    ],
)
def test_limits_of_integers(field, kind, values):
    name = field.rsplit(".", 1)[1]
    cell = setting(field).split("shift ")[1] if name == "shift" else setting(field)
    least, most = (number(text) for text in re.search(r"(\S+) to (\d+\^\d+ - 1|\d+)", cell).groups())
    assert [is_accepted(kind, **values, **{name: v}) for v in (least - 1, least, most, most + 1)] == [0, 1, 1, 0]


def number(text):
    """An integer that is written with powers and differences."""
    return eval(text.replace("^", "**"), {})


def test_limits_of_codes():
    assert "at most 15 unless codes are symmetric" in setting("dac.bits")
    for codes in re.findall(r"`([\w-]+)`", setting("dac.codes")):
        assert is_accepted(pcmref.Dac, bits=16, codes=codes) == (codes == "symmetric")
        assert is_accepted(pcmref.Dac, bits=15, codes=codes)
        two_phases = is_accepted(pcmref.Dac, bits=8, codes=codes, drive="two-phase")
        assert two_phases == (codes in ("symmetric", "signed"))
    assert "`two-phase` is for symmetric and signed codes only" in " ".join(section(8).split())
    cell = setting("adc.low")
    assert cell.startswith(
        "`adc_low <= 0 < adc_high`, at most 2^bits codes; `-(2^(bits-1) - 1)` and `2^(bits-1) - 1` unless"
    )
    assert pcmref.Adc(bits=5).limits == (-15, 15)
    limits = ((-31, 0), (-31, 1), (-30, 1), (0, 31), (0, 32), (1, 8), (-16, 15), (-16, 16))
    fitting = [is_accepted(pcmref.Adc, bits=5, low=low, high=high) for low, high in limits]
    assert fitting == [low <= 0 < high and high - low < 2**5 for low, high in limits]


def test_limits_of_offsets_thresholds_and_gains():
    assert setting("adc.offset").startswith("below 2^52 in size; 0 unless set")
    assert "integers below 2^52 in size that do not fall" in setting("adc.thresholds")
    for size in (2**52 - 1, 2**52):
        for value in (size, -size):
            assert is_accepted(pcmref.Adc, bits=8, offset=value) == (size < 2**52)
            assert is_accepted(pcmref.Adc, bits=2, thresholds=sorted([0, value])) == (size < 2**52)
    assert not is_accepted(pcmref.Adc, bits=2, thresholds=[1, 0])
    assert setting("adc.gain").startswith("from 2^-100 to 2^100;")
    for power, beyond in ((-100, 0.0), (100, math.inf)):
        for gain in (2.0**power, math.nextafter(2.0**power, beyond)):
            assert is_accepted(pcmref.Adc, bits=8, gain=gain) == (gain == 2.0**power)


def test_words_of_settings():
    choices = {
        "dac.codes": converters.Codes,
        "dac.drive": converters.Drive,
        "lines": Lines,
        "read_noise": ReadNoise,
        "accumulator.beyond": converters.Beyond,
        "adc.rounding": Rounding,
    }
    for field, kind in choices.items():
        assert set(re.findall(r"`([\w-]+)`", setting(field))) == set(get_args(kind)), field
    assert setting("adc.rounding").startswith("`half-even` unless set")
    assert [row[0] for row in table(section(8)[section(8).index("| rounding | round(v)") :])] == list(ROUNDINGS)


@pytest.mark.parametrize("bits", [2, 8, 15])
def test_codes_of_a_dac(bits):
    for codes, *cells in table(section(8)[section(8).index("| codes | dac_low") :]):
        dac = pcmref.Dac(bits=bits, codes=codes)
        values = [eval(cell.strip("`").replace("^", "**"), {"bits": bits}) for cell in cells]
        assert values == [dac.low, dac.high, dac.offset]


DRIVEN = [
    (codes, drive)
    for codes, drive in itertools.product(get_args(converters.Codes), get_args(converters.Drive))
    if drive != "two-phase" or codes in ("symmetric", "signed")
]


@pytest.mark.parametrize(("codes", "drive"), DRIVEN)
def test_levels_and_factors(codes, drive):
    """The table of phases, on all codes of 5 bits; factor times level adds up to what drives the row."""
    rows = {name: rest for name, *rest in table(section(8)[section(8).index("| drive | phases") :])}
    written, dac = rows[drive], pcmref.Dac(bits=5, codes=codes, drive=drive)
    driven = np.arange(dac.low, dac.high + 1) + dac.offset
    made = reference.phases(driven.astype(np.int16), wiring.dac_of(pcmref.Readout(name="", dac=dac), None))
    values = {"driven": driven, "max": np.maximum}
    match drive:
        case "parallel" | "two-phase":
            levels = [eval(text, {}, values) for text in re.findall(r"`([^`]+)`", written[1])]
            factors = [int(text) for text in re.findall(r"-?\d+", written[2])]
            assert int(written[0]) == len(levels)
        case "bit-serial":
            assert written == [
                "bits of the DAC",
                "bit `phase` of driven in two's complement, 0 or 1",
                "`2^phase`; in the last phase `-2^phase` with symmetric and signed codes",
            ]
            levels = [driven // 2**phase % 2 for phase in range(5)]
            factors = [1, 2, 4, 8, -16 if codes in ("symmetric", "signed") else 16]
    assert made.tolist() == [level.tolist() for level in levels]
    assert list(dac.weights) == factors
    assert (np.tensordot(factors, levels, axes=1) == driven).all()


def test_the_order_of_conversions():
    formula = re.search(r"`(\(tile \* lines \+ line\) \* phases \+ phase)`", section(8))[1]
    significance, signs, weights = np.array([3, 3, 5]), (1, -1), (1, 2, -4)
    places, phases, factors = wiring._order(significance, signs, weights)
    for number in range(3 * 2 * 3):
        tile, line, phase = places[number] // 2, places[number] % 2, phases[number]
        assert eval(formula, {}, {"tile": tile, "line": line, "phase": phase, "lines": 2, "phases": 3}) == number
        assert factors[number] == significance[tile] * signs[line] * weights[phase]


def test_sums_that_are_refused():
    assert (layout.SUM_MOST, layout.VARIANCE_MOST) == (2**52, 2**63)
    text = " ".join(section(8).split())
    assert (
        "times the largest level, add up to 2^52 or more, or, with fresh read noise, its V, times the square of that, "
        "to 2^63 or more" in text
    )
    assert (
        "The largest level is 1 (bit-serial), else `max(-dac_low, dac_high)`, with offset codes `2^bits - 1`." in text
    )
    for codes, drive in itertools.product(get_args(converters.Codes), ("parallel", "bit-serial")):
        dac = pcmref.Dac(bits=7, codes=codes, drive=drive)
        plain = 2**7 - 1 if codes == "offset" else max(-dac.low, dac.high)
        assert dac.largest == (1 if drive == "bit-serial" else plain)


@pytest.mark.parametrize("bits", [2, 13, 60])
def test_what_a_register_holds(bits):
    held = dict(re.findall(r"^    (saturate|wrap|error): +(.*)$", section(8), re.M))
    assert held["saturate"] == "clip(A, -2^(bits-1), 2^(bits-1) - 1)"
    assert held["wrap"] == "A modulo 2^bits, from -2^(bits-1) to 2^(bits-1) - 1"
    half = 1 << (bits - 1)
    for A in (0, half - 1, half, -half, -half - 1, 3 * half + 5, -5 * half - 7):
        one = np.array([A])
        assert limited(one, bits, True)[0] == max(-half, min(half - 1, A))
        wrapped = limited(one, bits, False)[0]
        assert -half <= wrapped < half
        assert (wrapped - A) % (1 << bits) == 0


@cache
def rules_of_rounding():
    rows = table(section(8)[section(8).index("| rounding | round(v)") :])
    return {name: compile(formula.strip("`"), "SPEC.md", "eval") for name, _, formula in rows}


def integer_code(P, shift, rounding):
    """What the table says an RTL does before it clips."""
    if shift == 0:
        return P
    return eval(rules_of_rounding()[rounding], {}, {"P": P, "shift": shift, "half": 1 << (shift - 1)})


def exact_code(P, shift, rounding):
    """P / 2^shift, rounded as fractions are."""
    v, half = Fraction(P, 1 << shift), Fraction(1, 2)
    return {
        "half-even": round(v),
        "half-away": math.floor(v + half) if v > 0 else math.ceil(v - half),
        "half-up": math.floor(v + half),
        "floor": math.floor(v),
        "toward-zero": math.trunc(v),
    }[rounding]


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_formulas_of_the_roundings(rounding):
    for P in range(-40, 41):
        for shift in range(5):
            assert integer_code(P, shift, rounding) == exact_code(P, shift, rounding), (P, shift)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("bits", [2, 8, 24])
def test_float64_gives_the_code_of_integers(bits, rounding):
    """At the largest shift that is not refused, around every bound that the proof knows."""
    rng = np.random.default_rng(bits)
    adc = pcmref.Adc(bits=bits)
    most = adc.high
    shift = largest_shift(adc)
    assert (most + 1) << shift <= 2**53 < (most + 1) << (shift + 1)
    limit = "`(max(-adc_low, adc_high) + 1) * 2^shift` is above 2^53, is refused"
    assert limit in " ".join(section(8).split())
    for mult in (1, 3, 2**16 - 1, 2**31 - 1):
        bounds = [2**53, 2**52, most << shift, (2 * most + 1) << (shift - 1), 1 << shift, 1 << (shift - 1), 0]
        near = [bound // mult + d for bound in bounds for d in range(-3, 4)]
        sums = [*near, *rng.integers(0, 2 ** (shift + bits) // mult + 2, 200).tolist(), 2**52 - 1]
        A = np.array([a for a in (*sums, *(-a for a in sums)) if abs(a) < 2**52])
        gain = np.array([math.ldexp(mult, -shift)])
        found = adc_codes(A[:, None], gain, np.zeros(1), float(-most), float(most), rounding)[:, 0]
        exact = [max(-most, min(most, integer_code(int(a) * mult, shift, rounding))) for a in A]
        assert found.tolist() == exact


def test_a_float64_gain_is_another():
    text = " ".join(section(8).split())
    assert "With `adc_gain = 0.1` (0x3fb999999999999a), A = 5 and half-even, the exact product is `0.5 + 2^-55`" in text
    assert struct.pack(">d", 0.1).hex() == "3fb999999999999a"
    assert 5 * Fraction(0.1) == Fraction(1, 2) + Fraction(1, 2**55)
    code = adc_codes(np.array([[5]]), np.array([0.1]), np.zeros(1), -127.0, 127.0, "half-even")[0, 0]
    assert "which would give 1; in float64 it is 0.5, and D is 0." in text
    assert (round(5 * Fraction(0.1)), 5 * 0.1, code) == (1, 0.5, 0)
    gain = converters.fixed_point(0.1, 16)
    P = 5 * gain.multiplier
    D = integer_code(P, gain.shift, "half-even")
    assert f"The nearest gain of 16 bits is `{gain.multiplier} / 2^{gain.shift}`: P is {P} and D is {D}." in text
    assert D == 1


@pytest.mark.parametrize("bits", [2, 16, 31])
def test_the_nearest_fixed_point_gain(bits):
    """By the words of section 8; and no other of so many bits is nearer."""
    text = " ".join(section(8).split())
    for part in (
        "with `adc_gain = f 2^e` and `1/2 <= f < 1`, `mult = rint(f * 2^gain_bits)` and `shift = gain_bits - e`",
        "if mult is then 2^gain_bits, it is `2^(gain_bits-1)` and shift is one less",
    ):
        assert part in text
    for gain in (0.1, 2.0**-17, math.nextafter(1.0, 0.0), 3.7e-5, 1 - 2.0**-20):
        f, e = math.frexp(gain)
        mult, shift = round(f * 2**bits), bits - e
        if mult == 2**bits:
            mult, shift = 2 ** (bits - 1), shift - 1
        found = converters.fixed_point(gain, bits)
        assert (found.multiplier, found.shift) == (mult, shift)
        others = [Fraction(mult + d, 2**shift) for d in (-1, 0, 1)]
        assert min(others, key=lambda other: abs(other - Fraction(gain))) == Fraction(mult, 2**shift)


def formula(cell):
    """A formula of a cell as Python has it."""
    return cell.split("`")[1].replace("[c]", "").replace("^", "**")


def test_lsb_and_gain_of_an_adc():
    """The table, in float64: of a range, in both ways, of one's own and of thresholds."""
    rows = {gain: rest for gain, *rest in table(section(8)[section(8).index("| gain | lsb[c]") :])}
    top = pcmref.Range(input_top=1.1, sum_top_us=(12.5, 7.3))
    values = {"step": float(np.float32(np.float32(1.1) / np.float32(127))), "g_step": MODEL.g_step_us, "adc_high": 100}
    own = pcmref.FixedPoint(45_000, 27)
    adcs = {
        "of its range, float64": {},
        "of its range, fixed point": {"gain_bits": 9},
        "of its own": {"gain": own},
        "thresholds": {"thresholds": range(200)},
    }
    assert rows.keys() == adcs.keys()
    for name, changes in adcs.items():
        adc = pcmref.Adc(bits=8, low=-100, high=100, **changes)
        readout = pcmref.Readout(name="a", dac=pcmref.Dac(bits=8), adc=adc, tile_columns=2, ranges={"a": top})
        lsb = wiring.lsb_us(readout, "a", top, 3, MODEL.g_step_us)
        for column, group in enumerate((0, 0, 1)):
            local = values | {"sum_top": top.sum_top_us[group], "adc_gain": float(own)}
            assert lsb[column] == eval(formula(rows[name][0]), {}, local)
            local["lsb"] = lsb[column]
            if name.startswith("of"):
                gain = float(own) if name == "of its own" else eval(formula(rows[name][1]), {}, local)
                if name == "of its range, fixed point":
                    assert rows[name][1].endswith(", then the nearest `mult / 2^shift`")
                    gain = float(converters.fixed_point(gain, 9))
                assert wiring.gains_of(readout, top, lsb, MODEL.g_step_us)[column] == gain


def test_the_range_next_to_one_of_a_fixed_point_gain():
    text = " ".join(section(11).split())
    unit_sum = eval(re.search(r"`unit_sum = ([^`]*)`", text)[1], {}, {"step": 0.25, "g_step": MODEL.g_step_us})
    ratio = re.search(r"mult and shift from `([^`]*)`", text)[1]
    replaced = re.search(r"^    sum_top = (.*)$", section(11), re.M)[1].replace("^", "**")
    readout = replace(pcmref.PRESETS["rtl8"], dac=pcmref.Dac(bits=3), adc=pcmref.Adc(bits=6, gain_bits=5))
    for sum_top in (1.1, 12.5, 0.37):
        values = {"unit_sum": unit_sum, "sum_top": sum_top, "adc_high": 31}
        gain = converters.fixed_point(eval(ratio, {}, values), 5)
        values |= {"mult": gain.multiplier, "shift": gain.shift}
        found = inference_ranges._range(readout, 0.75, [sum_top], MODEL.g_step_us)
        assert found.sum_top_us == eval(replaced, {}, values) != sum_top


def test_the_code_of_an_input_of_zeros_is_taken_off_with_offset_codes_alone():
    """A layer of one row whose devices cancel: A is 0, and D that of the ADC's offset."""
    adc = pcmref.Adc(bits=8, gain=0.5, offset=20)
    for codes in get_args(converters.Codes):
        readout = pcmref.Readout(name="one", dac=pcmref.Dac(bits=4, codes=codes), adc=adc)
        chain = pcmref.tile([[3], [-2]], readout).chain
        zero = chain.conversions.zero.tolist()
        assert zero == ([[round((8 * 3 + 8 * -2 + 20) * 0.5)]] if codes == "offset" else [[0]])


# Sections 6 and 11: slices, ranges


def test_slices():
    text = " ".join(section(6).split())
    assert f"up to {mapping.SLICES_MOST}, and each has a significance, an integer from 1 to 2^15, 1 unless set" in text
    assert mapping.SIGNIFICANCE_MOST == 2**15
    assert "`weight_per_us[c] = W_max / (G_max * total)`" in text
    matrix = np.array([[0.3, -0.7], [0.1, 0.2]], np.float32)
    mapped = mapping.map_matrix("layer", matrix, g_max_us=25.0, significance=(1, 6))
    assert mapped.weight_per_us.tolist() == [float(np.float32(0.7)) / (25.0 * 7)] * 2
    assert mapped.g_target_us[:2].tolist() == mapped.g_target_us[2:].tolist()


def test_constants_of_ranges():
    text = " ".join(section(11).split())
    assert f"(`retention` takes the first {study.RANGE_IMAGES})" in text
    assert f"a DAC of {inference_ranges.FINE_BITS} bits" in text
    assert pcmref.PRESETS["paper"].dac.bits == inference_ranges.FINE_BITS
    assert f"for a G_max of {inference_ranges.STORED_G_MAX_US:g} uS" in text
    assert f"`sum_top * (G_max / {inference_ranges.STORED_G_MAX_US:g})`" in text


def test_operations():
    for name, kind in OPERATIONS.items():
        assert f"| `{name}` |" in section(2)
        for tensor in kind.tensors:
            assert f"`{tensor.rstrip('?')}`" in section(2)
        line = next(line for line in section(2).splitlines() if line.startswith(f"| `{name}` |"))
        said = dict(re.findall(r"`(\w+)`(?: \((\w+)\))?", line.split("|")[2]))
        assert set(said) == number_names(kind), name
        assert {n: json.loads(value) for n, value in said.items() if value} == dict(kind.defaults), name
        if not issubclass(kind, (CrossbarLayer, BatchNorm)):
            assert f"| `{name}` |" in section(9)


def test_constants_of_operations():
    limits, results = " ".join(section(2).split()), section(9)
    assert f"x if `abs(x) < 2^{math.log2(periphery.TANH_IS_X_BELOW):.0f}`" in results
    assert f"are integers from 1 to {AXIS_LIMIT}, " in limits
    assert f"are numbers of at most 2^{math.log2(FLOAT_LIMIT):.0f} in size" in limits
    assert f"a map, padded or not, has at most 2^{math.log2(MAP_LIMIT):.0f} elements" in limits
    costs = " ".join(SPEC.split())
    assert f"if a map, padded or not, has more than 2^{math.log2(ELEMENTS_MOST):.0f} elements" in costs
    assert f"the operations of all nodes are more than 2^{math.log2(OPERATIONS_MOST):.0f}." in costs


def test_grids():
    assert MODEL.g_step_us == 2.0**-9
    assert "`g_step = 2^-9 uS`" in section(7)
    assert {model.g_step_us for model in MODELS.values()} == {2.0**-9}
    text = " ".join(section(7).split())
    assert f"`v_step = {VARIANCE_STEP} g_step^2`, so `2^-12 uS^2`" in text
    assert f"`{pcm.PROGRAMMED_MOST} * G_max / {CODE_LIMIT}`" in text
    assert VARIANCE_STEP * MODEL.g_step_us**2 == 2.0**-12
    sigma_R, v_step = np.array([0.0, 0.3, 1.7, 2.9]), 2.0**-12
    device = re.search(r"V = (min\(rint\(.*?\), \d+\)) +of a device", text)[1]
    V = eval(device, {}, {"min": np.minimum, "rint": np.rint, "sigma_R": sigma_R, "v_step": v_step})
    assert variance_codes(sigma_R * sigma_R, MODEL.g_step_us).tolist() == V.tolist()
    pair = re.search(r"V = (min\(V\+ \+ V-, \d+\)) +of a pair", text)[1].replace("V+", "plus").replace("V-", "minus")
    codes = np.array([[[4, 20_000]], [[0, 20_000]]], np.int16)
    layer = SnapshotLayer(
        name="a", g_mean_code=codes, g_read_code=codes, g_variance_code=codes, weight_per_us=np.ones(2)
    )
    assert layer.variance_code[0].tolist() == [
        eval(pair, {}, {"plus": plus, "minus": minus}) for plus, minus in codes[:, 0].T.tolist()
    ]
    assert str(CODE_LIMIT) in section(7)
    smallest = min(0.2635, 0.2635 + 1.9650 - 1.1731)
    assert f"1/{smallest / (MODEL.g_step_us / np.sqrt(12)):.0f}" in section(7)


def test_citations_are_in_the_references():
    from pcmref.references import REFERENCES

    assert set(re.findall(r"\[([A-Z]\d\d)\]", SPEC)) <= set(REFERENCES)


# Appendix A: what stands in files


def appendix(part):
    return re.search(rf"^### A\.{part} .*?(?=^##|\Z)", SPEC, re.M | re.S)[0]


def test_versions_of_files():
    assert f"`format` is `{corrections.FORMAT}`, `version` {corrections.VERSION}." in appendix(3)
    assert f"`format` is `{networks.FORMAT}`, `version` {networks.VERSION}." in appendix(2)


def chip_of(folder, model, readout):
    """The object `chip` of a file of corrections."""
    pcmref.save(folder / "network.h5", nets.tiny())
    network = pcmref.load(folder / "network.h5")
    snapshot = pcmref.program(network, model=model).at(100)
    save_corrections(folder / "corrections.h5", pcmref.Corrections(), snapshot, readout=readout)
    with h5py.File(folder / "corrections.h5") as file:
        assert sorted(file) == ["chip", "gain", "statistics"]
        return json.loads(file["chip"][()])


def readouts():
    """Readouts that have every form of their parts."""
    layers = [(layer.name, layer.columns) for layer in nets.tiny().crossbar_layers]
    ranges = {name: pcmref.Range(input_top=1.0, sum_top_us=2.0) for name, _ in layers}
    groups = {name: replace(top, sum_top_us=(2.0, 3.0)) for name, top in ranges.items()}
    rtl8 = pcmref.PRESETS["rtl8"]
    fixed = pcmref.FixedPoint(5, 16)
    own = {
        name: pcmref.Adc(bits=8, gain=(fixed,) * columns, offset=(0,) * columns, rounding="floor")
        for name, columns in layers
    }
    return (
        pcmref.PRESETS["paper"],
        replace(pcmref.PRESETS["chip8"], ranges=ranges),
        replace(rtl8, ranges=groups, measured=own, accumulator=pcmref.Accumulator(bits=30)),
        replace(rtl8, ranges=ranges, adc=pcmref.Adc(bits=2, thresholds=(-5, 7))),
        replace(rtl8, ranges=ranges, adc=pcmref.Adc(bits=2, gain=fixed), measured={layers[0][0]: pcmref.Adc(bits=2)}),
        replace(rtl8, ranges=ranges, adc=pcmref.Adc(bits=2, gain=0.5)),
    )


LAWS = {
    "constant": laws.Constant,
    "polynomial": laws.Polynomial,
    "`L(slope, offset, low, high)`": laws.Logarithm,
    "`min(factor * power(g, exponent), high)`": laws.PowerLaw,
    "below where `g < split`, else above": laws.Piecewise,
}


@pytest.mark.parametrize("name", MODELS)
def test_names_and_forms_in_the_chip_of_corrections(tmp_path, name):
    forms = dict(table(appendix(3)[appendix(3).index("| law | JSON |") :]))
    forms = {law: set(re.findall(r'"(\w+)":', text)) for law, text in forms.items()}
    assert forms == {law: {field.name for field in fields(kind)} for law, kind in LAWS.items()}

    def is_law(value):
        parts = [part for key in ("below", "above") if (part := value.get(key)) is not None]
        return set(value) in forms.values() and all(map(is_law, parts))

    kinds = {
        "integer": lambda v: type(v) is int,
        "number": lambda v: type(v) in (int, float),
        "text": lambda v: isinstance(v, str),
        "true": lambda v: v is True,
        "false": lambda v: v is False,
        "null": lambda v: v is None,
        "law": is_law,
    }
    parts = {part: form for part, form, _ in table(appendix(3)[appendix(3).index("| part of a readout |") :])}

    def is_a(form, value):
        """Whether a value has the form of a cell of a table."""
        form = form.replace("`", "").strip()
        if " or " in form and not form.startswith("{"):
            return any(is_a(one, value) for one in form.split(" or "))
        if form in kinds:
            return kinds[form](value)
        if form in parts:
            return is_a(parts[form], value)
        if form.startswith("["):
            inner = form.removeprefix("[").removesuffix(", ...]")
            return isinstance(value, list) and all(is_a(inner, one) for one in value)
        if form.startswith("{LAYER: "):
            inner = form.removeprefix("{LAYER: ").removesuffix(", ...}")
            return isinstance(value, dict) and all(is_a(inner, one) for one in value.values())
        members = dict(re.findall(r'"(\w+)": ([^"]+?)(?:, (?=")|\}$)', form))
        assert members, form
        return (
            isinstance(value, dict)
            and members.keys() == value.keys()
            and all(is_a(inner, value[key]) for key, inner in members.items())
        )

    rows = table(appendix(3)[appendix(3).index("| name in `chip` |") :])
    written = {entry: kind for names, kind, _ in rows for entry in re.findall(r"`([\w.]+)`", names)}
    for readout in readouts():
        found = chip_of(tmp_path, MODELS[name], readout)
        assert set(written) == set(found)
        for entry, kind in written.items():
            assert is_a(kind, found[entry]), entry
    assert not is_a("adc or null", {"bits": 8})
    assert not is_a("ranges or null", {"a": {"input_top": 1.0, "sum_top_us": "2"}})
    assert not is_a("`[[integer, ...], ...]` or null", [1])


def rewrite(file, name, values, **options):
    del file[name]
    file.create_dataset(name, data=values, **options)


def no_images(file):
    for name in ("images", "labels"):
        rewrite(file, f"evaluation/{name}", file[f"evaluation/{name}"][:0])


def further_attributes(file):
    for place in ("/", "tensors", "graph", "tensors/conv1/weight"):
        file[place].attrs["unit"] = "of variable length"


def padded_text(file):
    text = json.dumps(["ant", "bee", "cat", "d\u00f6g"], ensure_ascii=False).encode()
    rewrite(file, "classes", np.array(text + b"  ", dtype=h5py.string_dtype("ascii", 80)))


@pytest.mark.parametrize(
    "change",
    [
        lambda file: rewrite(file, "tensors/bn1/mean", file["tensors/bn1/mean"][()].astype(">f4")),
        lambda file: rewrite(file, "evaluation/labels", file["evaluation/labels"][()].astype(">i8")),
        lambda file: rewrite(file, "tensors/conv1/weight", file["tensors/conv1/weight"][()], shuffle=True),
        lambda file: rewrite(
            file, "tensors/conv1/weight", file["tensors/conv1/weight"][()], compression="gzip", fletcher32=True
        ),
        lambda file: file.attrs.create("version", 1, dtype=">i2"),
        no_images,
        further_attributes,
        padded_text,
    ],
    ids=["big-endian floats", "big-endian integers", "shuffle", "gzip", "version", "no images", "attributes", "text"],
)
def test_what_a_file_may_contain(tmp_path, change):
    pcmref.save(tmp_path / "network.h5", nets.tiny())
    before = pcmref.load(tmp_path / "network.h5")
    shutil.copy(tmp_path / "network.h5", tmp_path / "changed.h5")
    with h5py.File(tmp_path / "changed.h5", "r+") as file:
        change(file)
        if change in (no_images, padded_text):  # the others leave the content as it is
            del file.attrs["digest"]
    after = pcmref.load(tmp_path / "changed.h5")
    for old, new in zip(before.layers, after.layers, strict=True):
        nets.assert_same(old, new)
    assert after.classes == before.classes
    assert len(after.evaluation) == (0 if change is no_images else len(before.evaluation))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file["tensors"].create_group("relu1"), "tensors/relu1"),
        (lambda file: file["tensors"].pop("bn1"), "tensors/bn1"),
        (lambda file: rewrite(file, "evaluation/labels", np.full(5, 4)), "labels below 4"),
        (lambda file: rewrite(file, "tensors/bn1/mean", np.zeros(5)), "float32"),
        (lambda file: file.attrs.create("version", [1]), "version"),
        (lambda file: rewrite(file, "provenance", np.bytes_(b"\xef\xbb\xbf{}")), "BOM"),
        (lambda file: rewrite(file, "tensors/bn1/mean", np.zeros(5, "f4"), compression="lzf"), "no filters but gzip"),
        (lambda file: rewrite(file, "tensors/bn1/mean", np.ones(5, "f4")), "digest"),
    ],
)
def test_what_a_file_may_not_contain(tmp_path, change, message):
    pcmref.save(tmp_path / "network.h5", nets.tiny())
    with h5py.File(tmp_path / "network.h5", "r+") as file:
        change(file)
    with pytest.raises(pcmref.PcmrefError, match=message):
        pcmref.load(tmp_path / "network.h5")


def test_groups_that_must_be_there_when_empty_and_one_that_need_not(tmp_path):
    pool = nets.GlobalAveragePool(name="mean", inputs=("input",))
    network = nets.tiny(layers=(pool,), classes=("a", "b", "c"), evaluation=None, calibration=None)
    pcmref.save(tmp_path / "network.h5", network)
    with h5py.File(tmp_path / "network.h5", "r+") as file:
        assert not list(file["tensors"])
        del file["tensors"]
    pcmref.load(tmp_path / "network.h5")  # without nodes that have tensors, there need be no group of them
    chip_of(tmp_path, MODEL, pcmref.PRESETS["paper"])
    snapshot = pcmref.program(pcmref.load(tmp_path / "network.h5"), model=MODEL).at(100)
    for name in ("gain", "statistics"):
        shutil.copy(tmp_path / "corrections.h5", tmp_path / "changed.h5")
        with h5py.File(tmp_path / "changed.h5", "r+") as file:
            del file[name]
        with pytest.raises(pcmref.PcmrefError, match=f"{name}: expected an entry of this name"):
            pcmref.load_corrections(tmp_path / "changed.h5", snapshot)


# What the text says and no table has


def test_a_time_of_minus_zero_is_zero():
    chip = pcmref.program(nets.tiny(), model=MODELS["AIHWKIT"])
    for one, other in zip(chip.at(-0.0).layers, chip.at(0.0).layers, strict=True):
        nets.assert_same(one, other)


@pytest.mark.parametrize(
    ("value", "is_an_error"),
    [(2.0**-126, False), (2.0**-126 * (1 - 2.0**-30), False), (2.0**-127, True), (-(2.0**-127), True), (0.0, False)],
)
def test_units_that_are_too_small(value, is_an_error):
    """By size, after rounding; 0 is none of them."""
    from pcmref.crossbar.layer import _unit

    assert "below 2^-126 in size although the float64 value is not 0" in " ".join(section(8).split())
    if is_an_error:
        with pytest.raises(pcmref.PcmrefError, match=r"2\^-126"):
            _unit("layer", np.array([value]))
    else:
        assert _unit("layer", np.array([value])) == np.float32(value)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_thresholds_are_as_good_as_the_product_of_an_adc(rounding):
    sums = np.arange(-40_000, 40_001)[:, None]
    codes = adc_codes(sums, np.array([127 / 30_000.5]), np.zeros(1), -127.0, 127.0, rounding)
    assert (np.diff(codes, axis=0) >= 0).all()
    rises = np.flatnonzero(np.diff(codes[:, 0]))
    assert len(rises) == 2 * 127
    thresholds = sums[rises + 1, 0]
    assert (table_codes(sums, thresholds[None], -127) == codes).all()
