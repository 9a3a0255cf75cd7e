"""SPEC.md says what the code does: its worked numbers, constants and tables are recomputed here."""

import itertools
import json
import math
import re
import shutil
import struct
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import pcmref
from pcmref.arithmetic import draws, elementary
from pcmref.arithmetic.codes import CODE_LIMIT, VARIANCE_STEP, adc_codes
from pcmref.arithmetic.draws import Purpose
from pcmref.arithmetic.operands import Noise
from pcmref.arithmetic.reference import add_read_noise
from pcmref.devices import laws, mapping, pcm
from pcmref.devices.published import MODELS, NANDAKUMAR_2019
from pcmref.files.corrections import save_corrections
from pcmref.files.networks import OPERATIONS
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
    found = [list(column) for column in zip(*table(section(8).split("**Widths.**")[1]), strict=True)][2:]
    for preset, size, tiles, written in (("chip8", 256, 2, found[0]), ("paper", largest.rows, 1, found[1])):
        readout = pcmref.PRESETS[preset]
        assert written == widths(size, readout.dac_bits, readout.adc_bits, tiles, readout.read_noise == "fresh")


def test_the_figure_has_the_widths_of_the_table():
    text = section(8)
    wires = re.findall(r"([A-Za-z_][A-Za-z_, ]*?): ([suf]\d+) / ([suf]\d+|-)", text.split("```")[1])
    wires = {name: (chip8, paper) for name, chip8, paper in wires}

    def wire(cell):
        return "-" if not cell else f"{'u' if 'unsigned' in cell else 's'}{re.match(r'[0-9]+', cell)[0]}"

    rows = table(text.split("**Widths.**")[1])
    expected = {name: (wire(chip8), wire(paper)) for name, _, chip8, paper in rows if name != "n(G)"}
    assert {name: widths for name, widths in wires.items() if not widths[0].startswith("f")} == expected
    floats = {"x": ("f32", "f32"), "dac_gain": ("f32", "f32"), "z": ("f64", "-"), "adc_gain": ("f64", "-")}
    floats |= {"unit": ("f32", "f32"), "y": ("f32", "f32")}
    assert {name: widths for name, widths in wires.items() if widths[0].startswith("f")} == floats


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
    assert "`g_step = 2^-9 uS`" in section(7)
    assert {model.g_step_us for model in MODELS.values()} == {2.0**-9}
    text = " ".join(section(7).split())
    assert f"`v_step = {VARIANCE_STEP} g_step^2`, so `2^-12 uS^2`" in text
    assert f"`{pcm.PROGRAMMED_MOST} * G_max / {CODE_LIMIT}`" in text
    assert VARIANCE_STEP * MODEL.g_step_us**2 == 2.0**-12
    assert str(CODE_LIMIT) in section(7)
    smallest = min(0.2635, 0.2635 + 1.9650 - 1.1731)
    assert f"1/{smallest / (MODEL.g_step_us / np.sqrt(12)):.0f}" in section(7)


def test_citations_are_in_the_references():
    from pcmref.references import REFERENCES

    assert set(re.findall(r"\[([A-Z]\d\d)\]", SPEC)) <= set(REFERENCES)


# Appendix A: what stands in files


def appendix(part):
    return re.search(rf"^### A\.{part} .*?(?=^##|\Z)", SPEC, re.M | re.S)[0]


def chip_of(folder, model, readout):
    """The object `chip` of a file of corrections."""
    pcmref.save(folder / "network.h5", nets.tiny())
    network = pcmref.load(folder / "network.h5")
    snapshot = pcmref.program(network, model=model).at(100)
    save_corrections(folder / "corrections.h5", pcmref.Corrections(), snapshot, readout=readout)
    with h5py.File(folder / "corrections.h5") as file:
        assert sorted(file) == ["chip", "gain", "statistics"]
        return json.loads(file["chip"][()])


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

    def is_ranges(value):
        written = re.search(r"`\{LAYER: (\{.*?\})", appendix(3))[1]
        return all(set(top) == set(re.findall(r'"(\w+)":', written)) for top in value.values())

    kinds = {
        "integer": lambda v: type(v) is int,
        "integer or null": lambda v: v is None or type(v) is int,
        "number": lambda v: type(v) in (int, float),
        "text": lambda v: isinstance(v, str),
        "true or false": lambda v: isinstance(v, bool),
        "law": is_law,
        "object or null": lambda v: v is None or is_ranges(v),
    }
    rows = table(appendix(3)[appendix(3).index("| name in `chip` |") :])
    written = {entry: kind for names, kind, _ in rows for entry in re.findall(r"`([\w.]+)`", names)}
    top = pcmref.Range(input_top=1.0, sum_top_us=2.0)
    ranges = {layer.name: top for layer in nets.tiny().crossbar_layers}
    for readout in (pcmref.PRESETS["paper"], replace(pcmref.PRESETS["chip8"], ranges=ranges)):
        found = chip_of(tmp_path, MODELS[name], readout)
        assert set(written) == set(found)
        for entry, kind in written.items():
            assert kinds[kind](found[entry]), entry


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
        lambda file: rewrite(file, "tensors/conv1/weight", file["tensors/conv1/weight"][()], compression="lzf"),
        lambda file: rewrite(
            file, "tensors/conv1/weight", file["tensors/conv1/weight"][()], compression="gzip", fletcher32=True
        ),
        lambda file: file.attrs.create("version", 1, dtype=">i2"),
        no_images,
        further_attributes,
        padded_text,
    ],
    ids=["big-endian floats", "big-endian integers", "LZF", "gzip", "version", "no images", "attributes", "text"],
)
def test_what_a_file_may_contain(tmp_path, change):
    pcmref.save(tmp_path / "network.h5", nets.tiny())
    before = pcmref.load(tmp_path / "network.h5")
    shutil.copy(tmp_path / "network.h5", tmp_path / "changed.h5")
    with h5py.File(tmp_path / "changed.h5", "r+") as file:
        change(file)
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
    ],
)
def test_what_a_file_may_not_contain(tmp_path, change, message):
    pcmref.save(tmp_path / "network.h5", nets.tiny())
    with h5py.File(tmp_path / "network.h5", "r+") as file:
        change(file)
    with pytest.raises(pcmref.PcmrefError, match=message):
        pcmref.load(tmp_path / "network.h5")


def test_groups_that_must_be_there_when_empty(tmp_path):
    pool = nets.GlobalAveragePool(name="mean", inputs=("input",))
    network = nets.tiny(layers=(pool,), classes=("a", "b", "c"), evaluation=None, calibration=None)
    pcmref.save(tmp_path / "network.h5", network)
    with h5py.File(tmp_path / "network.h5", "r+") as file:
        assert not list(file["tensors"])
        del file["tensors"]
    with pytest.raises(pcmref.PcmrefError, match="tensors: expected an entry of this name"):
        pcmref.load(tmp_path / "network.h5")
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


def test_thresholds_are_as_good_as_the_product_of_an_adc():
    sums = np.arange(-40_000, 40_001)
    codes = adc_codes(sums, 127 / 30_000.5, 127.0)
    assert (np.diff(codes) >= 0).all()
    assert np.count_nonzero(np.diff(codes)) == 2 * 127
