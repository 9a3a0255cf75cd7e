"""A second implementation, written from SPEC.md alone and free of pcmref: Python, NumPy, h5py.

Every function names the section it spells out. Nothing here is fast; everything is meant to be read beside the text.
"""

import json
import math
from collections.abc import Callable
from typing import NamedTuple

import h5py
import numpy as np

STEP_US = 2.0**-9  # d of section 7
VARIANCE_STEP = 2.0**-12  # v of section 7
PROGRAM, CONVERGE, READ, PRODUCT, CALIBRATE = 1, 2, 3, 4, 5  # purposes of section 4


# --- section 2: the network file ---------------------------------------------------------------------------------


class Network:
    def __init__(self, path):
        with h5py.File(path, "r") as file:
            graph = json.loads(file["graph"].asstr()[()])
            self.nodes = graph["nodes"]
            self.full_scale = file["normalisation/full_scale"][()]
            self.mean, self.std = file["normalisation/mean"][()], file["normalisation/std"][()]
            self.tensors = {n["name"]: {} for n in self.nodes}
            for name, group in file["tensors"].items():
                self.tensors[name] = {tensor: data[()] for tensor, data in group.items()}
            self.images = {k: file[k]["images"][()] for k in ("evaluation", "calibration") if k in file}
        crossbars = [n["name"] for n in self.nodes if n["op"] in ("conv", "linear")]
        self.address = {name: i for i, name in enumerate(crossbars)}

    def activation(self, images):
        return ((images.astype(np.float64) / self.full_scale - self.mean) / self.std).astype(np.float32)

    def matrix(self, name):
        """Return the crossbar matrix of section 6: a row a kernel row, kernel column and channel, then the bias."""
        weight = self.tensors[name]["weight"].astype(np.float64)
        if weight.ndim == 2:
            weight = weight[:, :, None, None]
        outputs, channels, kh, kw = weight.shape
        matrix = np.zeros((kh * kw * channels, outputs))
        for i in range(kh):
            for j in range(kw):
                for c in range(channels):
                    matrix[(i * kw + j) * channels + c] = weight[:, c, i, j]
        if "bias" in self.tensors[name]:
            matrix = np.vstack([matrix, self.tensors[name]["bias"].astype(np.float64)])
        return matrix


# --- section 3: elementary functions -----------------------------------------------------------------------------


def horner(highest_first, x):
    p = highest_first[0]
    for c in highest_first[1:]:
        p = p * x + c
    return p


def ln(x):
    m, e = np.frexp(np.asarray(x, np.float64))
    small = m < float.fromhex("0x1.6a09e667f3bcdp-1")
    m, e = np.where(small, m + m, m), np.where(small, e - 1, e).astype(np.float64)
    s = (m - 1) / (m + 1)
    q = s * s
    T = (s * q) * horner([1 / n for n in range(23, 1, -2)], q)
    return e * float.fromhex("0x1.62e42feep-1") + ((s + s) + ((T + T) + e * float.fromhex("0x1.a39ef35793c76p-33")))


def exp(x):
    x = np.minimum(np.maximum(np.asarray(x, np.float64), -700.0), 700.0)
    k = np.rint(x * float.fromhex("0x1.71547652b82fep+0"))
    r = (x - k * float.fromhex("0x1.62e42feep-1")) - k * float.fromhex("0x1.a39ef35793c76p-33")
    return np.ldexp(horner([1 / math.factorial(n) for n in range(14, -1, -1)], r), k.astype(np.int64))


def power(b, y):
    return exp(y * ln(b))


# AS 241, PPND16; each polynomial from the highest power to the constant.
A = (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
     1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0)  # fmt: skip
B = (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
     5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0)  # fmt: skip
C = (7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e0,
     3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0,
     1.42343711074968357734e0)  # fmt: skip
D = (1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0, 1.0)  # fmt: skip
E = (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
     2.96560571828504891230e-1, 1.78482653991729133580e0, 5.46378491116411436990e0,
     6.65790464350110377720e0)  # fmt: skip
F = (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
     1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1.0)  # fmt: skip


def quantile(p):
    p = np.asarray(p, np.float64)
    q = p - 0.5
    t = 0.180625 - q * q
    centre = q * (horner(A, t) / horner(B, t))
    r = np.sqrt(-ln(np.minimum(p, 1 - p)))
    near = horner(C, r - 1.6) / horner(D, r - 1.6)
    far = horner(E, r - 5) / horner(F, r - 5)
    tail = np.where(r <= 5, near, far)
    return np.where(np.abs(q) <= 0.425, centre, np.where(q < 0, -tail, tail))


# --- section 4: draws --------------------------------------------------------------------------------------------


def philox(counter, key):
    """Return the four words of Philox4x32-10, of counters that are integers or arrays."""
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(c, np.uint64) for c in counter))
    k0, k1 = key
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (p1 >> shift) ^ c1 ^ np.uint64(k0),
            p1 & low,
            (p0 >> shift) ^ c3 ^ np.uint64(k1),
            p0 & low,
        )
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def stream(seed, purpose, layer, read=0, t=0.0):
    """Return the key of a stream."""
    bits = int(np.float64(t).view(np.uint64))
    words = philox((purpose + 256 * layer, read, bits % 2**32, bits >> 32), (seed % 2**32, seed >> 32))
    return int(words[0]), int(words[1])


def uniform(word):
    return (word.astype(np.float64) + 0.5) * 2.0**-32


def normal(word):
    return quantile(uniform(word))


def product_noise(key, addresses, tile, outputs):
    """Return z of every output of every image of a product with fresh read noise, (images, outputs)."""
    image = np.asarray(addresses, np.uint64)[:, None]
    block = np.arange((outputs + 3) // 4, dtype=np.uint64)[None, :]
    words = philox((block, tile, image & np.uint64(0xFFFFFFFF), image >> np.uint64(32)), key)
    return normal(np.stack(words, axis=-1).reshape(len(image), -1)[:, :outputs])


# --- section 5: the device ---------------------------------------------------------------------------------------


def clipped_line(a, b, low, high):
    """Return L(a, b, low, high)."""
    return lambda g: np.minimum(np.maximum(a * ln(np.maximum(g, 1e-7)) + b, low), high)


def polynomial(*rising):
    return lambda g: np.maximum(horner(rising[::-1], g), 0.0)


def split(limit, below, above):
    return lambda g: np.where(g < limit, below(g), above(g))


class Model(NamedTuple):
    g_max: float
    t_c: float
    t_read: float
    t_offset: float
    sigma_p: Callable
    mu: Callable
    sigma_nu: Callable
    absolute_nu: bool
    q: Callable
    q_of_programmed: bool
    reset: bool


MU, SIGMA_NU = clipped_line(-0.0155, 0.0244, 0.049, 0.1), clipped_line(-0.0125, -0.0059, 0.008, 0.045)
MU_HERMES = split(0.0945, clipped_line(-0.0387, -0.0182, 0.0720, 0.13), polynomial(0.0736, -0.0126, -0.0436))


def Q(g):  # noqa: N802
    return np.minimum(0.0088 * power(np.maximum(g, 1e-7), -0.65), 0.2)


MODELS = {
    "NANDAKUMAR_2019": Model(
        25.0, 20.0, 250e-9, 0.0, polynomial(0.2635, 1.9650, -1.1731), MU, SIGMA_NU, False, Q, False, True
    ),
    "AIHWKIT": Model(
        25.0, 20.0, 250e-9, 20.0, polynomial(0.26348, 1.9650, -1.1731), MU, SIGMA_NU, True, Q, True, False
    ),
    "JOSHI_2020": Model(
        25.0,
        27.36,
        250e-9,
        0.0,
        polynomial(0.28638599, 0.07585724 * 25, -0.00178767 * 625),
        lambda g: np.full_like(g, 0.06),
        SIGMA_NU,
        False,
        Q,
        False,
        True,
    ),
    "HERMES_1": Model(
        10.35,
        200.0,
        512e-9,
        200.0,
        polynomial(0.15781817, 2.32443916, -2.16310839, 0.68841818),
        MU_HERMES,
        split(0.3039, clipped_line(-0.0120, -0.0023, 0.0124, 0.04), polynomial(0.0104, 0.0116, -0.0165)),
        True,
        split(0.1591, clipped_line(-0.0078, 0.0038, 0.0179, 0.04), polynomial(0.0088, 0.0768, -0.1352, 0.0664)),
        True,
        False,
    ),
    "HERMES_2": Model(
        20.7,
        300.0,
        512e-9,
        300.0,
        polynomial(0.16603222, 4.71806468, -8.48101252, 4.68961419),
        MU_HERMES,
        split(0.3055, clipped_line(-0.0117, -0.0057, 0.0091, 0.04), polynomial(0.0073, 0.0093, -0.0118)),
        True,
        split(0.16, clipped_line(-0.0117, -0.0069, 0.015, 0.04), polynomial(0.0123, 0.0211, -0.0280, 0.0069)),
        True,
        False,
    ),
}


def programmed_device(model, target, z, z_nu, u, u_conductance, share):
    """Return G_P, nu and Q of devices; `target` in uS, `share` of those that did not converge."""
    g = target / model.g_max
    G_P = np.maximum(target + model.sigma_p(g) * z, 0.0)
    missed = (target > 0) & (u < share)
    G_P = np.where(missed, u_conductance * model.g_max, G_P)
    g = np.where(missed, G_P / model.g_max, g)
    nu = model.mu(g) + model.sigma_nu(g) * z_nu
    if model.absolute_nu:
        nu = np.abs(nu)
    q = model.q(G_P / model.g_max if model.q_of_programmed else g)
    if model.reset:
        G_P = np.where(target == 0, 0.0, G_P)
    return G_P, nu, q


def device_at(model, G_P, nu, q, z, t):
    """Return G_D, sigma_R and G of devices."""
    late = t + model.t_offset
    G_D = G_P * exp(-nu * ln(late / model.t_c))
    sigma_R = G_D * (q * np.sqrt(ln((late + model.t_read) / (2 * model.t_read))))
    return G_D, sigma_R, np.maximum(G_D + sigma_R * z, 0.0)


# --- sections 6 and 7: mapping, chips, snapshots -----------------------------------------------------------------


def targets(matrix, model, scale):
    """Return the targets of the + and the - devices in uS, and the weight of one uS in each column."""
    largest = np.abs(matrix).max(axis=0) if scale == "column" else np.full(matrix.shape[1], np.abs(matrix).max())
    largest = np.where(largest == 0, 1.0, largest)
    G_T = matrix * (model.g_max / largest)
    return np.maximum(G_T, 0.0), np.maximum(-G_T, 0.0), largest / model.g_max


class Codes(NamedTuple):
    """One crossbar layer at one time, as integers; `pair` is n(G+) + n(G-)."""

    mean: np.ndarray
    read: np.ndarray
    variance: np.ndarray
    pair: np.ndarray
    weight_per_us: np.ndarray


def n(G):
    return np.minimum(np.rint(G / STEP_US), 32767).astype(np.int64)


class Chip:
    def __init__(self, network, model, seed, scale="layer", share=0.0):
        self.network, self.model, self.seed, self.scale = network, model, seed, scale
        self.layers = {}
        for name, layer in network.address.items():
            plus, minus, weight_per_us = targets(network.matrix(name), model, scale)
            weight = np.arange(plus.size).reshape(plus.shape)
            w = philox((weight, 0, 0, 0), stream(seed, PROGRAM, layer))
            v = philox((weight, 0, 0, 0), stream(seed, CONVERGE, layer))
            devices = [
                programmed_device(
                    model, target, normal(w[i]), normal(w[2 + i]), uniform(v[i]), uniform(v[2 + i]), share
                )
                for i, target in enumerate((plus, minus))
            ]
            self.layers[name] = devices, weight, weight_per_us

    def at(self, t, read=0):
        return {name: self._layer_at(name, t, read) for name in self.layers}

    def reference(self):
        return self.at(self.model.t_c - self.model.t_offset)

    def _layer_at(self, name, t, read):
        devices, weight, weight_per_us = self.layers[name]
        words = philox((weight, 0, 0, 0), stream(self.seed, READ, self.network.address[name], read, t))
        (D_plus, s_plus, G_plus), (D_minus, s_minus, G_minus) = (
            device_at(self.model, *devices[i], normal(words[i]), t) for i in range(2)
        )
        variance = np.minimum(np.rint((s_plus * s_plus + s_minus * s_minus) / VARIANCE_STEP), 32767).astype(np.int64)
        return Codes(n(D_plus) - n(D_minus), n(G_plus) - n(G_minus), variance, n(G_plus) + n(G_minus), weight_per_us)


def ideal_chip(network, model, scale="layer"):
    """Return the codes of a chip without noise and drift."""
    codes = {}
    for name in network.address:
        plus, minus, weight_per_us = targets(network.matrix(name), model, scale)
        m = n(plus) - n(minus)
        codes[name] = Codes(m, m, np.zeros_like(m), n(plus) + n(minus), weight_per_us)
    return codes


# --- section 8: a product ----------------------------------------------------------------------------------------


class Readout(NamedTuple):
    dac_bits: int = 12
    adc_bits: int | None = None
    tile_rows: int | None = None
    fresh: bool = False
    ranges: dict | None = None  # layer: (input_top, sum_top)


PAPER = Readout()
CHIP8 = Readout(8, 8, 256, True)


class Product(NamedTuple):
    """What one layer made of its input: images first."""

    input_codes: np.ndarray  # (images, height, width, channels), without padding
    bias_codes: np.ndarray  # (images,)
    step: np.ndarray  # (images,), float32
    sums: np.ndarray  # (images, tiles, pixels, columns), read noise included
    output_codes: np.ndarray  # (images, pixels, columns)
    activations: np.ndarray  # (images, height, width, columns), float32


def limit(bits):
    return 2 ** (bits - 1) - 1


def dac(x, bits, input_top, bias):
    """Return the codes of the images' inputs, those of the bias row and the steps."""
    images = len(x)
    if input_top is None:
        top = np.abs(x).reshape(images, -1).max(axis=1)
        if bias:
            top = np.maximum(top, np.float32(1))
    else:
        top = np.full(images, np.float32(input_top))
    limit32 = np.float32(limit(bits))
    usable = top >= np.float32(2.0**-100)
    safe = np.where(usable, top, np.float32(1))
    gain = np.where(usable, limit32 / safe, np.float32(0))
    step = np.where(usable, safe / limit32, np.float32(0))

    def code(values, gains):
        return np.minimum(np.maximum(np.rint(values * gains), -limit32), limit32).astype(np.int64)

    return code(x, gain[:, None, None, None]), code(np.ones_like(gain), gain), step


def rows_of(codes, bias_codes, kernel, stride, padding, bias):
    """Return the codes that drive the rows of the matrix, (images, pixels, rows), and the shape of the output."""
    (kh, kw), (images, h, w, channels) = kernel, codes.shape
    height, width = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    padded = np.zeros((images, h + 2 * padding, w + 2 * padding, channels), np.int64)
    padded[:, padding : padding + h, padding : padding + w] = codes
    windows = [
        padded[:, i : i + stride * height : stride, j : j + stride * width : stride][:, :height, :width]
        for i in range(kh)
        for j in range(kw)
    ]
    rows = np.concatenate(windows, axis=-1).reshape(images, height * width, kh * kw * channels)
    if bias:
        constant = np.broadcast_to(bias_codes[:, None, None], (images, height * width, 1))
        rows = np.concatenate([rows, constant], axis=-1)
    return rows, (height, width)


def product(node, tensors, x, codes, readout, gain, key, addresses):
    if node["op"] == "linear":
        kernel, stride, padding = (1, 1), 1, 0
        x = x[:, None, None, :]
    else:
        kernel, stride, padding = tensors["weight"].shape[2:], node["stride"], node["padding"]
    images, bias = len(x), "bias" in tensors
    input_top, sum_top = readout.ranges[node["name"]] if readout.ranges else (None, None)
    input_codes, bias_codes, step = dac(x, readout.dac_bits, input_top, bias)
    drive, (height, width) = rows_of(input_codes, bias_codes, kernel, stride, padding, bias)
    rows, columns = codes.mean.shape
    step64 = step.astype(np.float64)[:, None, None]

    sums, digits = [], []
    tile_rows = readout.tile_rows or rows
    for tile, start in enumerate(range(0, rows, tile_rows)):
        part = slice(start, start + tile_rows)
        if readout.fresh:
            total = drive[..., part] @ codes.mean[part]
            spread = drive[..., part] ** 2 @ codes.variance[part]
            z = product_noise(key, addresses, tile, height * width * columns).reshape(total.shape)
            total = total + np.rint(z * np.sqrt(64.0 * spread.astype(np.float64))).astype(np.int64)
        else:
            total = drive[..., part] @ codes.read[part]
        sums.append(total)
        if readout.adc_bits is None:
            digits.append(total)
        else:
            top = limit(readout.adc_bits)
            adc_gain = step64 * STEP_US / (sum_top / top)
            digits.append(np.minimum(np.maximum(np.rint(total * adc_gain), -top), top).astype(np.int64))
    output_codes = np.sum(digits, axis=0)

    lsb = STEP_US if readout.adc_bits is None else sum_top / limit(readout.adc_bits)
    unit = (lsb * codes.weight_per_us * gain).astype(np.float32)
    if readout.adc_bits is None:
        unit = step[:, None, None] * unit
    y = (output_codes.astype(np.float32) * unit).reshape(images, height, width, columns)
    return Product(input_codes, bias_codes, step, np.stack(sums, axis=1), output_codes, y)


# --- section 9: digital periphery --------------------------------------------------------------------------------


def stored_statistics(tensors):
    return tensors["mean"].astype(np.float64), tensors["var"].astype(np.float64)


def fold(tensors, eps, mean, var):
    a = tensors["gamma"].astype(np.float64) / np.sqrt(var + eps)
    b = tensors["beta"].astype(np.float64) - mean * a
    return a.astype(np.float32), b.astype(np.float32)


def pixels_of(x):
    """Return the pixels in raster order, each an array (images, channels)."""
    x = x.reshape(len(x), -1, x.shape[-1]).astype(np.float64)
    return [x[:, p] for p in range(x.shape[1])]


def in_order(values):
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def periphery(node, inputs):
    x = inputs[0]
    match node["op"]:
        case "relu":
            return np.where(x > 0, x, np.float32(0))
        case "add":
            return x + inputs[1]
        case "pad_shortcut":
            x = x[:, :: node["stride"], :: node["stride"]]
            return np.pad(x, ((0, 0), (0, 0), (0, 0), (node["before"], node["after"])))
        case "max_pool":
            k, s, p = node["kernel"], node["stride"], node["padding"]
            height, width = ((size + 2 * p - k) // s + 1 for size in x.shape[1:3])
            padded = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)), constant_values=-np.inf)
            best = np.full((len(x), height, width, x.shape[3]), -np.inf, np.float32)
            for i in range(k):
                for j in range(k):
                    window = padded[:, i : i + s * height : s, j : j + s * width : s]
                    best = np.maximum(best, window[:, :height, :width])
            return np.where(best == 0, np.float32(0), best)
        case "global_average_pool":
            values = pixels_of(x)
            return (in_order(values) / len(values)).astype(np.float32)
    raise ValueError(node["op"])


# --- the network on a chip ---------------------------------------------------------------------------------------


def run(
    network, codes, x, readout=PAPER, *, seed=0, t=0.0, read=0, gains=None, statistics=None, addresses=None,
    purpose=PRODUCT, batch=None,
):  # fmt: skip
    """Return the activations of every node and the products of every crossbar layer.

    `statistics` replaces the stored ones of batch normalisations; `batch` computes others from a node and its input.
    """
    addresses = range(len(x)) if addresses is None else addresses
    values, products = {"input": x}, {}
    for node in network.nodes:
        name, tensors = node["name"], network.tensors[node["name"]]
        inputs = [values[i] for i in node["inputs"]]
        if node["op"] in ("conv", "linear"):
            key = stream(seed, purpose, network.address[name], read, t)
            gain = 1.0 if gains is None else gains[name]
            made = product(node, tensors, inputs[0], codes[name], readout, gain, key, addresses)
            products[name] = made
            values[name] = made.activations if node["op"] == "conv" else made.activations[:, 0, 0]
        elif node["op"] == "batch_norm":
            if batch is not None:
                mean, var = batch(node, inputs[0])
            elif statistics is not None:
                mean, var = statistics[name]
            else:
                mean, var = stored_statistics(tensors)
            a, b = fold(tensors, node["eps"], mean, var)
            values[name] = inputs[0] * a + b
        else:
            values[name] = periphery(node, inputs)
    return values, products


# --- section 10: compensation ------------------------------------------------------------------------------------


def gdc(reference, codes, readout="absolute"):
    """Return the gains of every layer: one number, or with "column" one a column."""

    def R(c):  # noqa: N802
        match readout:
            case "absolute":
                return np.abs(c.read).sum()
            case "ones":
                return c.pair.sum()
            case "column":
                return np.abs(c.read).sum(axis=0)

    gains = {}
    for name in codes:
        before, now = (np.asarray(R(c[name]), np.float64) for c in (reference, codes))
        missing = (before == 0) | (now == 0)
        gains[name] = np.where(missing, 1.0, before / np.where(now == 0, 1.0, now))
    return gains


def adabs(network, codes, images, readout=PAPER, *, seed=0, t=0.0, read=0, gains=None):
    """Return the statistics (mean, var) of every batch normalisation."""
    norms = [node["name"] for node in network.nodes if node["op"] == "batch_norm"]
    statistics = {name: stored_statistics(network.tensors[name]) for name in norms}
    batches = min(13, len(images) // 200)
    p = power(0.015, 1 / batches)

    def batch(node, x):
        pixels = pixels_of(x)
        N = 200 * len(pixels)
        S1 = in_order(list(in_order(pixels)))
        S2 = in_order(list(in_order([v * v for v in pixels])))
        mean = S1 / N
        var = np.maximum(S2 / N - mean * mean, 0.0)
        old_mean, old_var = statistics[node["name"]]
        statistics[node["name"]] = p * old_mean + (1 - p) * mean, p * old_var + (1 - p) * var
        return mean, var

    for k in range(batches):
        addresses = range(200 * k, 200 * (k + 1))
        x = network.activation(images[200 * k : 200 * (k + 1)])
        run(
            network, codes, x, readout, seed=seed, t=t, read=read, gains=gains, addresses=addresses,
            purpose=CALIBRATE, batch=batch,
        )  # fmt: skip
    return statistics


# --- section 11: ranges of converters ----------------------------------------------------------------------------


def ranges(network, model, scale, images, tile_rows):
    """Return {layer: (input_top, sum_top)}."""
    codes = ideal_chip(network, model, scale)
    _, products = run(network, codes, network.activation(images), PAPER._replace(tile_rows=tile_rows))
    tops = {}
    for name, made in products.items():
        step = made.step.astype(np.float64)
        largest = np.abs(made.input_codes).reshape(len(images), -1).max(axis=1)
        if "bias" in network.tensors[name]:
            largest = np.maximum(largest, made.bias_codes)
        i = np.sort(largest * step)
        s = np.sort(np.abs(made.sums).reshape(len(images), -1).max(axis=1) * (step * STEP_US))
        middle = len(images) // 2
        tops[name] = (float(i[middle]) or 1.0, float(s[middle]) or 1.0)
    return tops
