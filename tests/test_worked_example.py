"""Appendix B of SPEC.md: every number of the worked example, from the package and from `second.py`."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import pcmref
from pcmref.arithmetic import codes as rules
from pcmref.arithmetic.draws import Purpose, normals, philox, stream_key
from pcmref.arithmetic.elementary import power
from pcmref.arithmetic.reference import moments
from pcmref.crossbar.converters import fixed_point
from pcmref.crossbar.wiring import gains_of, lsb_us
from pcmref.files.corrections import load_corrections, save_corrections
from pcmref.inference.digital import folded
from pcmref.inference.images import normalise
from pcmref.inference.run import PreparedChip, crossbars_of
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation, Samples
from pcmref.network.layers import BatchNorm, Conv
from pcmref.network.operations import GlobalAveragePool, Relu
from tests.helpers import second

SPEC = (Path(pcmref.__file__).parent / "SPEC.md").read_text(encoding="utf-8")
MODEL = pcmref.MODELS["NANDAKUMAR_2019"]


def appendix():
    return re.search(r"^## Appendix B\. .*?(?=^## |\Z)", SPEC, re.M | re.S)[0]


def tables():
    """The rows of the appendix: the label and the other cells; one label stands once in a table."""
    found, table = {}, ""
    for line in appendix().splitlines():
        if line.startswith("### "):
            table = line.removeprefix("### ").split(" ")[0]
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and not set(line) <= set("|-"):
            assert (table, cells[0]) not in found, cells[0]
            found[table, cells[0]] = cells[1:]
    return {place: cells for place, cells in found.items() if place[1] not in ("given", "quantity")}


class Given(NamedTuple):
    """What the example begins with, as SPEC.md has it."""

    seed: int
    t_s: float
    address: int
    pixels: list
    full_scale: float
    mean: list
    std: list
    weights: list
    norm: dict
    eps: float
    tile_rows: int
    input_top: float
    sum_top: float
    tie_gain: tuple
    tie_offsets: list
    phase_dac_bits: int
    phase_register_bits: int
    phase_adc_bits: int
    phase_gain: tuple


def given():
    cells = {label: cells[0] for (table, label), cells in tables().items() if table == "B.1"}

    def numbers(label):
        return [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", cells.pop(label))]

    def number(label):
        (value,) = numbers(label)
        return value

    def fixed(label):
        return tuple(int(n) for n in re.fullmatch(r"(\d+) / 2\^(\d+)", cells.pop(label)).groups())

    found = Given(
        seed=int(number("seed")),
        t_s=number("t, s"),
        address=int(number("address of the image")),
        pixels=numbers("pixel, channels 0 and 1"),
        full_scale=number("`full_scale`"),
        mean=numbers("`mean` of the normalisation"),
        std=numbers("`std` of the normalisation"),
        weights=[numbers(f"weights of row {row}") for row in ("0", "1", "2, the bias")],
        norm={name: numbers(f"`{name}` of the batch normalisation") for name in ("gamma", "beta", "mean", "var")},
        eps=number("`eps`"),
        tile_rows=int(number("rows of a tile, `chip8` and `rtl8`")),
        input_top=number("`input_top`"),
        sum_top=number("`sum_top`"),
        tie_gain=fixed("gain of the measured ADCs of B.8"),
        tie_offsets=[[int(n) for n in numbers(f"their adc_offset, tile {tile}")] for tile in range(2)],
        phase_dac_bits=int(number("bits of the DAC of B.9")),
        phase_register_bits=int(number("bits of its register")),
        phase_adc_bits=int(number("bits of its ADC")),
        phase_gain=fixed("gain of its ADC"),
    )
    assert not cells  # every row has been read
    return found


def network_of(given):
    weights = np.array(given.weights, np.float32)
    norm = {name: np.array(values, np.float32) for name, values in given.norm.items()}
    ramp = np.array([[i, 255 - i] for i in range(200)], np.uint8).reshape(200, 1, 1, 2)
    image = np.array(given.pixels, np.uint8).reshape(1, 1, 1, 2)
    return Network(
        layers=(
            Conv(name="conv", inputs=("input",), weight=weights[:2].T.copy()[:, :, None, None], bias=weights[2]),
            BatchNorm(name="norm", inputs=("conv",), **norm, eps=given.eps),
            Relu(name="relu", inputs=("norm",)),
            GlobalAveragePool(name="mean", inputs=("relu",)),
        ),
        input_shape=(1, 1, 2),
        normalisation=Normalisation(full_scale=given.full_scale, mean=tuple(given.mean), std=tuple(given.std)),
        classes=("0", "1"),
        evaluation=Samples(images=image, labels=np.zeros(1, np.int64)),
        calibration=Samples(images=ramp, labels=np.zeros(200, np.int64)),
    )


def package(given, path):
    """Every row of the appendix, from the functions of the package."""
    rows = {}
    pcmref.save(path, network_of(given))
    network = pcmref.load(path)
    chip = pcmref.program(network, model=MODEL, seed=given.seed)
    snapshot, reference = chip.at(given.t_s), chip.reference()
    layer, before = snapshot.layers[0], reference.layers[0]
    for table, name, code in (("B.2", "n(G_D)", layer.g_mean_code), ("B.2", "n(G)", layer.g_read_code)):
        for sign, one in zip("+-", code, strict=True):
            rows[table, f"`{name}` of the {sign} devices"] = i16(one)
    for sign, one in zip("+-", layer.g_variance_code, strict=True):
        rows["B.2", f"V of the {sign} devices"] = i16(one)
    rows["B.2", "V of the pairs"] = i16(layer.variance_code)
    rows["B.2", "m"] = i16(layer.mean_code)
    rows["B.2", "r"] = i16(layer.read_code)
    rows["B.2", "`weight_per_us`"] = f64(layer.weight_per_us)
    file = path.with_suffix(".corrections.h5")
    gdc = pcmref.calibrate(snapshot, "gdc", reference=reference)
    save_corrections(file, gdc, snapshot)
    assert load_corrections(file, snapshot).gain["conv"].tolist() == gdc.gain["conv"].tolist()
    rows["B.2", "SHA-256 of the devices"] = ["", re.search(rb'"devices": "(\w+)"', file.read_bytes())[1].decode()]

    image, address = network.evaluation.images, [given.address]
    ranged = {"conv": pcmref.Range(input_top=given.input_top, sum_top_us=given.sum_top)}
    chip8 = replace(pcmref.PRESETS["chip8"], tile_rows=given.tile_rows, ranges=ranged)
    paper = pcmref.PRESETS["paper"]

    def traces(readout, corrections=None, images=image, addresses=address):
        seen = {}
        pcmref.logits(
            snapshot, images, corrections=corrections, readout=readout, addresses=addresses,
            tap=lambda trace: seen.setdefault(trace.layer, trace),
        )  # fmt: skip
        return seen

    seen = traces(chip8)
    product = seen["conv"].product
    rows["B.3", "x of channels 0 and 1"] = f32(normalise(network, image))
    gain, step = rules.dac_gain(np.full(1, given.input_top, np.float32), chip8.dac.high)
    rows["B.3", "`dac_gain`"], rows["B.3", "`step`"] = f32(gain), f32(step)
    assert step == product.input_step
    step8 = step
    rows["B.3", "code of rows 0, 1 and 2"] = i16(product.input_codes[0, 0, 0, :3])
    key = stream_key(given.seed, Purpose.PRODUCT, 0, t_s=given.t_s)
    rows["B.3", "key of stream PRODUCT"] = u32(key)
    for number, tile in enumerate(product.tiles):
        block = philox([0, number, given.address % 2**32, given.address >> 32], key)
        rows["B.3", f"block of tile {number}"] = u32(block)
        rows["B.3", f"z, tile {number}"] = f64(normals(block)[:2])
        rows["B.3", f"A before noise, tile {number}"] = i40(tile.noise_free)
        rows["B.3", f"B, tile {number}"] = i40(tile.variance)
        rows["B.3", f"noise, tile {number}"] = i40(tile.sums - tile.noise_free)
        rows["B.3", f"A, tile {number}"] = i40(tile.sums)
        rows["B.3", f"D, tile {number}"] = i16(tile.codes)
    lsb = lsb_us(chip8, "conv", ranged["conv"], 2, MODEL.g_step_us)
    rows["B.3", "`lsb`"] = f64(lsb[:1])
    rows["B.3", "`adc_gain`"] = f64(gains_of(chip8, ranged["conv"], lsb, MODEL.g_step_us)[:1])
    rows["B.3", "output code"] = i40(product.output_codes)
    rows["B.3", "`unit`"] = f32(pcmref.prepare(snapshot, readout=chip8).crossbars["conv"].unit)
    a, b = folded(network.layers[1], pcmref.Corrections())
    rows["B.3", "a"], rows["B.3", "b"] = f32(a), f32(b)
    for name, node in (("y", "conv"), ("`batch_norm`", "norm"), ("`relu`", "relu")):
        rows["B.3", name] = f32(seen[node].activations)

    seen = traces(paper)
    product = seen["conv"].product
    gain, step = rules.dac_gain(np.array([max(1, abs(normalise(network, image)).max())], np.float32), paper.dac.high)
    rows["B.4", "`dac_gain`"], rows["B.4", "`step`"] = f32(gain), f32(step)
    rows["B.4", "code of rows 0, 1 and 2"] = i16(product.input_codes[0, 0, 0, :3])
    rows["B.4", "A, the output code"] = i40(product.output_codes)
    unit = pcmref.prepare(snapshot, readout=paper).crossbars["conv"].unit
    rows["B.4", "`unit`"], rows["B.4", "`step * unit`"] = f32(unit), f32(product.output_step * unit)
    for name, node in (("y", "conv"), ("`batch_norm`", "norm"), ("`relu`", "relu")):
        rows["B.4", name] = f32(seen[node].activations)

    rows["B.5", "r at t_ref"] = i16(before.read_code)
    for name, one in (("t_ref", before), ("t", layer)):
        rows["B.5", f"R at {name}"] = i40([np.abs(one.read_code.astype(np.int64)).sum()])
    rows["B.5", "gain"] = f64(gdc.gain["conv"])
    rows["B.5", "`unit`"] = f32(pcmref.prepare(snapshot, corrections=gdc, readout=chip8).crossbars["conv"].unit)
    rows["B.5", "y"] = f32(traces(chip8, gdc)["conv"].activations)

    ramp, none = network.calibration.images, pcmref.Corrections()
    measuring = PreparedChip(
        network=network,
        crossbars=crossbars_of(snapshot, none, chip8, Purpose.CALIBRATION),
        corrections=none,
        readout=chip8,
    )
    parts = []
    measuring(ramp, tap=lambda trace: parts.append(trace.activations) if trace.layer == "conv" else None)
    y = np.concatenate(parts).reshape(200, 1, 2)
    rows["B.6", "y of image 0"], rows["B.6", "y of image 199"] = f32(y[0]), f32(y[199])
    sums = np.add.accumulate(moments(y), axis=0)[-1]
    rows["B.6", "sum of x"], rows["B.6", "sum of x * x"] = f64(sums[0]), f64(sums[1])
    mean = sums[0] / 200
    rows["B.6", "mean"], rows["B.6", "var"] = f64(mean), f64(np.maximum(sums[1] / 200 - mean * mean, 0))
    rows["B.6", "keep"] = f64([power(0.015, 1.0)])
    adabs = pcmref.calibrate(snapshot, "adabs", images=ramp, readout=chip8)
    rows["B.6", "new mean"] = f64(adabs.statistics["norm"].mean)
    rows["B.6", "new var"] = f64(adabs.statistics["norm"].var)
    a, b = folded(network.layers[1], adabs)
    rows["B.6", "a"], rows["B.6", "b"] = f32(a), f32(b)
    rows["B.6", "`relu`"] = f32(traces(chip8, adabs)["relu"].activations)

    rtl8 = replace(pcmref.PRESETS["rtl8"], tile_rows=given.tile_rows, ranges=ranged)
    assert lsb_us(rtl8, "conv", ranged["conv"], 2, MODEL.g_step_us).tolist() == lsb.tolist()
    gain = fixed_point(rules.adc_gain(float(step8[0]), MODEL.g_step_us, lsb[0]), rtl8.adc.gain_bits)
    assert float(gain) == gains_of(rtl8, ranged["conv"], lsb, MODEL.g_step_us)[0]
    rows["B.7", "`mult`"], rows["B.7", "`shift`"] = i16([gain.multiplier], unsigned=True), i8([gain.shift])
    seen = traces(rtl8)
    for number, tile in enumerate(seen["conv"].product.tiles):
        rows["B.7", f"A, tile {number}"] = i40(tile.sums)
        rows["B.7", f"P, tile {number}"] = i48(tile.sums * gain.multiplier)
        rows["B.7", f"D, tile {number}"] = i16(tile.codes)
    rows["B.7", "output code"] = i40(seen["conv"].product.output_codes)
    for name, node in (("y", "conv"), ("`batch_norm`", "norm"), ("`relu`", "relu")):
        rows["B.7", name] = f32(seen[node].activations)
    for rounding in rules.ROUNDINGS:
        measured = tuple(
            pcmref.Adc(bits=8, rounding=rounding, gain=pcmref.FixedPoint(*given.tie_gain), offset=offset)
            for offset in given.tie_offsets
        )
        tiles = traces(replace(rtl8, measured={"conv": measured}))["conv"].product.tiles
        for number, tile in enumerate(tiles):
            shifted = tile.sums.reshape(-1) + np.array(given.tie_offsets[number])
            rows["B.8", f"P, tile {number}"] = i48(shifted * given.tie_gain[0])
            rows["B.8", f"D, tile {number}, {rounding}"] = i16(tile.codes)

    most, bits = (1 << given.phase_adc_bits) - 1, given.phase_register_bits
    phases = pcmref.Readout(
        name="B.9",
        dac=pcmref.Dac(bits=given.phase_dac_bits, codes="offset", drive="bit-serial"),
        adc=pcmref.Adc(
            bits=given.phase_adc_bits, low=0, high=most, rounding="half-up", gain=pcmref.FixedPoint(*given.phase_gain)
        ),
        lines="separate",
        accumulator=pcmref.Accumulator(bits=bits, beyond="saturate"),
        ranges=ranged,
    )
    seen = traces(phases)
    product, crossbar = seen["conv"].product, pcmref.prepare(snapshot, readout=phases).crossbars["conv"]
    code = product.input_codes[0, 0, 0, :3] - phases.dac.offset
    gain, step = rules.dac_gain(np.full(1, given.input_top, np.float32), phases.dac.high)
    rows["B.9", "`dac_gain`"], rows["B.9", "`step`"] = f32(gain), f32(step)
    rows["B.9", "code of rows 0, 1 and 2"] = i16(code)
    rows["B.9", "driven of rows 0, 1 and 2"] = i16(product.input_codes[0, 0, 0, :3])
    for number, level in enumerate(rules.bit_planes(product.input_codes[0, 0, 0, :3], given.phase_dac_bits)):
        rows["B.9", f"level of rows 0, 1 and 2, phase {number}"] = i16(level)
    rows["B.9", "factor of conversions 0 to 5"] = i16(crossbar.chain.conversions.weight)
    for number, part in enumerate(product.tiles[0].parts):
        rows["B.9", f"A, conversion {number}, before the register"] = i40(part.noise_free)
        rows["B.9", f"A, conversion {number}"] = i40(part.sums)
        rows["B.9", f"D, conversion {number}"] = i16(part.codes)
        rows["B.9", f"D0, conversion {number}"] = i16(crossbar.chain.conversions.zero[number])
    rows["B.9", "output code"] = i40(product.output_codes)
    rows["B.9", "`lsb`"] = f64(lsb_us(phases, "conv", ranged["conv"], 2, MODEL.g_step_us)[:1])
    rows["B.9", "`unit`"] = f32(crossbar.unit)
    for name, node in (("y", "conv"), ("`batch_norm`", "norm"), ("`relu`", "relu")):
        rows["B.9", name] = f32(seen[node].activations)
    return rows


def independent(given, path):
    """The same from `second.py`, and whatever it does not hand out in plain integers."""
    rows = {}
    pcmref.save(path, network_of(given))
    network = second.Network(path)
    chip = second.Chip(network, second.MODELS["NANDAKUMAR_2019"], given.seed)
    now, before = chip.at(given.t_s)["conv"], chip.reference()["conv"]
    devices, weight, weight_per_us = chip.layers["conv"]
    words = second.philox((weight, 0, 0, 0), second.stream(given.seed, second.READ, 0, 0, given.t_s))
    read = [second.device_at(chip.model, *devices[sign], second.normal(words[sign]), given.t_s) for sign in range(2)]
    means, reads = ([second.n(one[part]) for one in read] for part in (0, 2))
    variances = [second.variance_code(one[1]) for one in read]
    for name, pair in (("n(G_D)", means), ("n(G)", reads)):
        for sign, one in zip("+-", pair, strict=True):
            rows["B.2", f"`{name}` of the {sign} devices"] = i16(one)
    for sign, one in zip("+-", variances, strict=True):
        rows["B.2", f"V of the {sign} devices"] = i16(one)
    m, r, V = (one.tolist() for one in (now.m, now.r, now.V_of_pairs))
    rows["B.2", "V of the pairs"], rows["B.2", "m"], rows["B.2", "r"] = i16(V), i16(m), i16(r)
    rows["B.2", "`weight_per_us`"] = f64(weight_per_us)
    packed = b"".join(struct.pack("<6h", *one.reshape(-1).tolist()) for one in (*means, *reads, *variances))
    packed += struct.pack("<2d", *weight_per_us.tolist())
    rows["B.2", "SHA-256 of the devices"] = ["", hashlib.sha256(packed).hexdigest()]

    x = network.activation(network.images["evaluation"])
    tops = {"conv": (given.input_top, given.sum_top)}
    chip8 = second.CHIP8._replace(tile_rows=given.tile_rows, ranges=tops)
    options = {"seed": given.seed, "t": given.t_s, "addresses": [given.address]}
    values, products = second.run(network, {"conv": now}, x, chip8, **options)
    made = products["conv"]
    rows["B.3", "x of channels 0 and 1"] = f32(x)
    top, limit = np.float32(given.input_top), np.float32(127)
    rows["B.3", "`dac_gain`"], rows["B.3", "`step`"] = f32([limit / top]), f32([top / limit])
    code = [*made.input_codes.reshape(-1).tolist(), *made.bias_codes.tolist()]
    assert code == [max(-127, min(127, round(float(v * (limit / top))))) for v in (*x.reshape(-1), np.float32(1))]
    rows["B.3", "code of rows 0, 1 and 2"], code8 = i16(code), code
    key = second.stream(given.seed, second.PRODUCT, 0, 0, given.t_s)
    rows["B.3", "key of stream PRODUCT"] = u32(key)
    lsb = given.sum_top / 127
    adc_gain = float(made.step[0]) * 2.0**-9 / lsb
    total = [0, 0]
    for tile, part in enumerate((range(2), range(2, 3))):
        block = second.philox((0, tile, given.address % 2**32, given.address >> 32), key)
        z = second.normal(np.array(block))[:2].tolist()
        exact = [sum(code[row] * m[row][c] for row in part) for c in range(2)]
        spread = [sum(code[row] ** 2 * V[row][c] for row in part) for c in range(2)]
        noise = [round(z[c] * (64.0 * float(spread[c])) ** 0.5) for c in range(2)]
        sums = [exact[c] + noise[c] for c in range(2)]
        assert sums == made.conversions[tile].sums[0, 0].tolist()
        digits = [max(-127, min(127, round(sums[c] * adc_gain))) for c in range(2)]
        total = [total[c] + digits[c] for c in range(2)]
        rows["B.3", f"block of tile {tile}"] = u32(block)
        rows["B.3", f"z, tile {tile}"] = f64(z)
        rows["B.3", f"A before noise, tile {tile}"] = i40(exact)
        rows["B.3", f"B, tile {tile}"] = i40(spread)
        rows["B.3", f"noise, tile {tile}"] = i40(noise)
        rows["B.3", f"A, tile {tile}"] = i40(sums)
        rows["B.3", f"D, tile {tile}"] = i16(digits)
    rows["B.3", "`lsb`"], rows["B.3", "`adc_gain`"] = f64([lsb]), f64([adc_gain])
    assert total == made.output_codes.reshape(-1).tolist()
    rows["B.3", "output code"] = i40(total)
    rows["B.3", "`unit`"] = f32((lsb * weight_per_us).astype(np.float32))
    tensors = network.tensors["norm"]
    a, b = second.fold(tensors, given.eps, *second.stored_statistics(tensors))
    rows["B.3", "a"], rows["B.3", "b"] = f32(a), f32(b)
    for name, node in (("y", "conv"), ("`batch_norm`", "norm"), ("`relu`", "relu")):
        rows["B.3", name] = f32(values[node])

    values, products = second.run(network, {"conv": now}, x, second.PAPER, **options)
    made = products["conv"]
    top = max(np.abs(x).max(), np.float32(1))
    step = top / np.float32(2047)
    rows["B.4", "`dac_gain`"], rows["B.4", "`step`"] = f32([np.float32(2047) / top]), f32([step])
    code = [*made.input_codes.reshape(-1).tolist(), *made.bias_codes.tolist()]
    rows["B.4", "code of rows 0, 1 and 2"] = i16(code)
    rows["B.4", "A, the output code"] = i40([sum(code[row] * r[row][c] for row in range(3)) for c in range(2)])
    unit = (2.0**-9 * weight_per_us).astype(np.float32)
    rows["B.4", "`unit`"], rows["B.4", "`step * unit`"] = f32(unit), f32(step * unit)
    for name, node in (("y", "conv"), ("`batch_norm`", "norm"), ("`relu`", "relu")):
        rows["B.4", name] = f32(values[node])

    rows["B.5", "r at t_ref"] = i16(before.r)
    R = [sum(abs(code) for code in one.r.reshape(-1).tolist()) for one in (before, now)]
    rows["B.5", "R at t_ref"], rows["B.5", "R at t"] = i40(R[:1]), i40(R[1:])
    rows["B.5", "gain"] = f64([R[0] / R[1]])
    rows["B.5", "`unit`"] = f32((lsb * weight_per_us * (R[0] / R[1])).astype(np.float32))
    gains = second.gdc({"conv": before}, {"conv": now})
    rows["B.5", "y"] = f32(second.run(network, {"conv": now}, x, chip8, gains=gains, **options)[0]["conv"])

    ramp = network.images["calibration"]
    measured = {"seed": given.seed, "t": given.t_s}
    purpose = {"purpose": second.CALIBRATE}
    y = second.run(network, {"conv": now}, network.activation(ramp), chip8, **measured, **purpose)[0]["conv"]
    rows["B.6", "y of image 0"], rows["B.6", "y of image 199"] = f32(y[0]), f32(y[199])
    totals, squares = [0.0, 0.0], [0.0, 0.0]
    for image in y.reshape(200, 2).tolist():
        totals = [totals[c] + image[c] for c in range(2)]
        squares = [squares[c] + image[c] * image[c] for c in range(2)]
    rows["B.6", "sum of x"], rows["B.6", "sum of x * x"] = f64(totals), f64(squares)
    mean = [totals[c] / 200 for c in range(2)]
    var = [max(squares[c] / 200 - mean[c] * mean[c], 0.0) for c in range(2)]
    keep = float(second.power(0.015, 1.0))
    rows["B.6", "mean"], rows["B.6", "var"], rows["B.6", "keep"] = f64(mean), f64(var), f64([keep])
    new = [
        [keep * given.norm[name][c] + (1 - keep) * batch[c] for c in range(2)]
        for name, batch in (("mean", mean), ("var", var))
    ]
    rows["B.6", "new mean"], rows["B.6", "new var"] = f64(new[0]), f64(new[1])
    statistics = second.adabs(network, {"conv": now}, ramp, chip8, **measured)
    a, b = second.fold(tensors, given.eps, *statistics["norm"])
    rows["B.6", "a"], rows["B.6", "b"] = f32(a), f32(b)
    values, _ = second.run(network, {"conv": now}, x, chip8, statistics=statistics, **options)
    rows["B.6", "`relu`"] = f32(values["relu"])

    rtl8 = second.RTL8._replace(tile_rows=given.tile_rows, ranges=tops)
    values, products = second.run(network, {"conv": now}, x, rtl8, **options)
    f, e = math.frexp(adc_gain)
    mult, shift = round(f * 2**16), 16 - e
    rows["B.7", "`mult`"], rows["B.7", "`shift`"] = i16([mult], unsigned=True), i8([shift])
    code, total = code8, [0, 0]
    for tile, part in enumerate((range(2), range(2, 3))):
        A = [sum(code[row] * r[row][c] for row in part) for c in range(2)]
        D = [max(-127, min(127, round_to("half-even", a * mult, shift))) for a in A]
        total = [total[c] + D[c] for c in range(2)]
        rows["B.7", f"A, tile {tile}"], rows["B.7", f"P, tile {tile}"] = i40(A), i48([a * mult for a in A])
        rows["B.7", f"D, tile {tile}"] = i16(D)
        P = [(a + offset) * given.tie_gain[0] for a, offset in zip(A, given.tie_offsets[tile], strict=True)]
        rows["B.8", f"P, tile {tile}"] = i48(P)
        assert all(p % 2 ** given.tie_gain[1] == 2 ** (given.tie_gain[1] - 1) for p in P)
        for rounding in ("half-even", "half-away", "half-up", "floor", "toward-zero"):
            D = [round_to(rounding, p, given.tie_gain[1]) for p in P]
            rows["B.8", f"D, tile {tile}, {rounding}"] = i16(D)
    assert total == products["conv"].output_codes.reshape(-1).tolist()
    rows["B.7", "output code"] = i40(total)
    for name, node in (("y", "conv"), ("`batch_norm`", "norm"), ("`relu`", "relu")):
        rows["B.7", name] = f32(values[node])

    phases = second.Readout(
        dac=second.Dac(given.phase_dac_bits, "offset", "bit-serial"),
        adc=second.Adc(
            given.phase_adc_bits, 0, 2**given.phase_adc_bits - 1, "half-up", second.Fixed(*given.phase_gain)
        ),
        lines="separate",
        register=second.Register(given.phase_register_bits, "saturate"),
        ranges=tops,
    )
    values, products = second.run(network, {"conv": now}, x, phases, **options)
    made = products["conv"]
    half = 2 ** (given.phase_dac_bits - 1)
    top, high = np.float32(given.input_top), np.float32(half - 1)
    rows["B.9", "`dac_gain`"], rows["B.9", "`step`"] = f32([high / top]), f32([top / high])
    code = [max(-half, min(half - 1, round(float(v * (high / top))))) for v in (*x.reshape(-1), np.float32(1))]
    assert code == [*made.input_codes.reshape(-1).tolist(), *made.bias_codes.tolist()]
    driven = [one + half for one in code]
    rows["B.9", "code of rows 0, 1 and 2"], rows["B.9", "driven of rows 0, 1 and 2"] = i16(code), i16(driven)
    rows["B.9", "factor of conversions 0 to 5"] = i16([1, 2, 4, -1, -2, -4])
    most, (mult, shift) = 2 ** (given.phase_register_bits - 1) - 1, given.phase_gain
    total = [0, 0]
    for number, factor in enumerate((1, 2, 4, -1, -2, -4)):
        line, phase = divmod(number, 3)
        level, idle = ([one >> phase & 1 for one in every] for every in (driven, [half] * 3))
        rows["B.9", f"level of rows 0, 1 and 2, phase {phase}"] = i16(level)
        lines = reads[line].tolist()
        exact, zeros = ([sum(one[row] * lines[row][c] for row in range(3)) for c in range(2)] for one in (level, idle))
        A = [min(a, most) for a in exact]
        D, D0 = ([min(31, round_to("half-up", min(a, most) * mult, shift)) for a in one] for one in (exact, zeros))
        total = [total[c] + factor * (D[c] - D0[c]) for c in range(2)]
        rows["B.9", f"A, conversion {number}, before the register"] = i40(exact)
        rows["B.9", f"A, conversion {number}"] = i40(A)
        rows["B.9", f"D, conversion {number}"], rows["B.9", f"D0, conversion {number}"] = i16(D), i16(D0)
    assert total == made.output_codes.reshape(-1).tolist()
    rows["B.9", "output code"] = i40(total)
    lsb = float(top / high) * 2.0**-9 / (mult / 2**shift)
    rows["B.9", "`lsb`"], rows["B.9", "`unit`"] = f64([lsb]), f32((lsb * weight_per_us).astype(np.float32))
    for name, node in (("y", "conv"), ("`batch_norm`", "norm"), ("`relu`", "relu")):
        rows["B.9", name] = f32(values[node])
    return rows


def round_to(rounding, P, shift):
    """P / 2^shift, rounded as fractions are."""
    v = Fraction(P, 2**shift)
    down, up = math.floor(v), math.ceil(v)
    nearest = round(v) if v - down == Fraction(1, 2) else math.floor(v + Fraction(1, 2))
    tie = v - down == Fraction(1, 2)
    return {
        "half-even": nearest,
        "half-away": (up if v > 0 else down) if tie else nearest,
        "half-up": up if tie else nearest,
        "floor": down,
        "toward-zero": down if v > 0 else up,
    }[rounding]


def i8(values):
    return _integers(values, 8)


def i16(values, unsigned=False):
    return _integers(values, 16, unsigned)


def i40(values):
    return _integers(values, 40)


def i48(values):
    return _integers(values, 48)


def u32(values):
    return _integers(values, 32, unsigned=True)


def _integers(values, bits, unsigned=False):
    """Decimal, and two's complement of so many bits."""
    numbers = [int(v) for v in np.asarray(values).reshape(-1)]
    low, high = (0, 1 << bits) if unsigned else (-(1 << (bits - 1)), 1 << (bits - 1))
    assert all(low <= v < high for v in numbers)
    return [" ".join(map(str, numbers)), " ".join(f"0x{v % (1 << bits):0{bits // 4}x}" for v in numbers)]


def f32(values):
    return _floats(values, np.float32, "<f", "<I", 8)


def f64(values):
    return _floats(values, np.float64, "<d", "<Q", 16)


def _floats(values, dtype, form, word, digits):
    """Shortest decimals that give the number back, and the bits of IEEE 754."""
    array = np.asarray(values)
    assert array.dtype == dtype
    numbers = array.reshape(-1)
    bits = (struct.unpack(word, struct.pack(form, float(v)))[0] for v in numbers)
    return [" ".join(str(v) for v in numbers), " ".join(f"0x{b:0{digits}x}" for b in bits)]


@pytest.mark.parametrize("implementation", [package, independent])
def test_worked_example(implementation, tmp_path):
    written = {place: cells for place, cells in tables().items() if place[0] != "B.1"}
    assert written == implementation(given(), tmp_path / "example.h5")
