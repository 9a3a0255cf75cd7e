"""SPEC.md says what the code does: its worked numbers, constants and tables are recomputed here."""

import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic import draws, elementary
from pcmref.arithmetic.codes import CODE_LIMIT, VARIANCE_STEP
from pcmref.arithmetic.draws import Purpose
from pcmref.arithmetic.operands import Noise
from pcmref.arithmetic.reference import add_read_noise
from pcmref.devices import laws, mapping, pcm
from pcmref.devices.published import MODELS, NANDAKUMAR_2019
from pcmref.files.networks import OPERATIONS

SPEC = (Path(pcmref.__file__).parent / "SPEC.md").read_text(encoding="utf-8")
SEED, LAYER, WEIGHT = 2020, 3, 5
T_S = 86_400.0
MODEL = NANDAKUMAR_2019


def test_the_version_is_that_of_the_code():
    assert re.search(r"^Version (\d+)\.", SPEC, re.M)[1] == str(pcmref.SPEC_VERSION)


def section(number):
    return re.search(rf"^## {number}\. .*?(?=^## |\Z)", SPEC, re.M | re.S)[0]


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
    mean, read_code = codes.mean[:, 1, 2], codes.read[:, 1, 2]
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
        f"{mean[0] - mean[1]}, {read_code[0] - read_code[1]}, {codes.variance[1, 2]}",
        key_text(product),
        " ".join(f"{w:#010x}" for w in block),
        float(draws.normals(block)[2]).hex(),
        str(noisy),
    ]


def widths(rows, dac_bits, adc_bits, tiles, fresh):
    """The column of the table of widths, as it is written."""
    limit = 2 ** (dac_bits - 1) - 1
    exact, variance = rows * limit * CODE_LIMIT, rows * limit**2 * CODE_LIMIT
    noise = round(6.34 * math.sqrt(64 * variance)) if fresh else 0

    def signed(largest):
        return str(largest.bit_length() + 1)

    code = 2 ** (adc_bits - 1) - 1 if adc_bits else exact
    return [
        signed(limit),
        f"{CODE_LIMIT.bit_length()}, unsigned",
        signed(CODE_LIMIT),
        f"{CODE_LIMIT.bit_length()}, unsigned" if fresh else "",
        signed(exact),
        f"{variance.bit_length()}, unsigned" if fresh else "",
        signed(noise) if fresh else "",
        signed(exact + noise),
        signed(code),
        signed(tiles * code) + (f" for {tiles} tiles" if tiles > 1 else ""),
    ]


def test_widths():
    largest = max(pcmref.load(pcmref.bundled("resnet32-cifar10")).crossbar_layers, key=lambda layer: layer.rows)
    assert f"the {largest.rows} rows of the largest layer" in section(8)
    rows = [row.split("|")[1:-1] for row in section(8).split("**Widths.**")[1].splitlines() if row.startswith("|")][2:]
    found = [[cell.strip() for cell in column] for column in list(zip(*rows, strict=True))[2:]]
    for preset, size, tiles, written in (("chip8", 256, 2, found[0]), ("paper", largest.rows, 1, found[1])):
        readout = pcmref.PRESETS[preset]
        assert written == widths(size, readout.dac_bits, readout.adc_bits, tiles, readout.read_noise == "fresh")


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
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in section(8).splitlines() if row.startswith("|")]
    rows = {name: rest for name, *rest in cells}
    for name, readout in pcmref.PRESETS.items():
        assert rows[name] == [
            f"{readout.dac_bits} bits",
            "none" if readout.adc_bits is None else f"{readout.adc_bits} bits",
            str(readout.tile_rows or "all"),
            readout.read_noise,
            "none" if readout.adc_bits is None else "calibrated (section 11)",
        ]


def test_operations():
    for name, kind in OPERATIONS.items():
        assert f"| `{name}` |" in section(2)
        for tensor in kind.tensors:
            assert f"`{tensor.rstrip('?')}`" in section(2)


def test_grids():
    assert MODEL.g_step_us == 2.0**-9
    assert f"`v = {VARIANCE_STEP} d^2 = 2^-12 uS^2`" in section(7)
    assert VARIANCE_STEP * MODEL.g_step_us**2 == 2.0**-12
    assert str(CODE_LIMIT) in section(7)
    smallest = min(0.2635, 0.2635 + 1.9650 - 1.1731)
    assert f"1/{smallest / (MODEL.g_step_us / np.sqrt(12)):.0f}" in section(7)


def test_citations_are_in_the_references():
    from pcmref.references import REFERENCES

    assert set(re.findall(r"\[([A-Z]\d\d)\]", SPEC)) <= set(REFERENCES)
