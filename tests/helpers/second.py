"""A second implementation, written from SPEC.md alone and free of pcmref: Python, NumPy, h5py.

Every function names the section it spells out. Nothing here is fast; everything is meant to be read beside the text.
"""

import hashlib
import json
import math
from collections.abc import Callable
from typing import NamedTuple

import h5py
import numpy as np

STEP_US = 2.0**-9  # g_step of section 7
VARIANCE_STEP = 2.0**-12  # v_step of section 7
PROGRAM, CONVERGE, READ, PRODUCT, CALIBRATE = 1, 2, 3, 4, 5  # purposes of section 4


class Refused(Exception):  # noqa: N818
    """What the text calls an error, or refused."""


# --- section 2 and appendix A.2: the network and its file --------------------------------------------------------

DEFAULTS = {
    "conv": {"dilation": 1, "groups": 1, "digital": False},
    "linear": {"digital": False},
    "max_pool": {"dilation": 1, "ceil": False},
    "average_pool": {"ceil": False, "count_padding": False},
}
FLOATS = ("slope", "offset", "low", "high", "alpha", "beta", "bias")


class Network:
    def __init__(self, path):
        with h5py.File(path, "r") as file:
            graph = json.loads(file["graph"].asstr()[()])
            self.input_shape, self.nodes = graph["input"], graph["nodes"]
            self.full_scale = file["normalisation/full_scale"][()]
            self.mean, self.std = file["normalisation/mean"][()], file["normalisation/std"][()]
            self.tensors = {n["name"]: {} for n in self.nodes}
            for name, group in file["tensors"].items():
                self.tensors[name] = {tensor: data[()] for tensor, data in group.items()}
            self.ranges = json.loads(file["ranges"].asstr()[()]) if "ranges" in file else {}
            self.images = {k: file[k]["images"][()] for k in ("evaluation", "calibration") if k in file}
        layers = [n for n in self.nodes if n["op"] in ("conv", "linear")]
        self.address = {n["name"]: i for i, n in enumerate(layers) if not n.get("digital", False)}

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

    def digest(self):
        graph = {"input": self.input_shape, "nodes": [in_fewest_words(node) for node in self.nodes]}
        found = hashlib.sha256(json.dumps(graph, sort_keys=True).encode())
        for numbers in (self.full_scale, self.mean, self.std):
            found.update(np.asarray(numbers, "<f8").tobytes())
        for node in self.nodes:
            for _, tensor in sorted(self.tensors[node["name"]].items()):
                found.update(np.array(tensor.shape, "<i8").tobytes() + tensor.astype("<f4").tobytes())
        return found.hexdigest()


def in_fewest_words(node):
    """Return a node as the digest has it."""
    said, defaults = {}, DEFAULTS.get(node["op"], {})
    for name, value in node.items():
        if name in FLOATS:
            value = float(value)
        elif name != "inputs" and isinstance(value, list) and len(set(value)) == 1:
            value = value[0]
        if name not in defaults or value != defaults[name]:
            said[name] = value
    return said


def each(value, count):
    """Return a number for each of two axes or four sides."""
    return value if isinstance(value, list) else [value] * count


class Windows(NamedTuple):
    """The pixels that windows see, counted from the input's first: their rows and columns, (outputs, kernel)."""

    rows: np.ndarray
    columns: np.ndarray
    size: tuple  # of the input
    padding: list

    def within(self, padding=(0, 0, 0, 0)):
        """Return what lies within the input and so much around: (height, width, kernel height, kernel width)."""
        (height, width), (top, left, bottom, right) = self.size, padding
        rows = (self.rows >= -top) & (self.rows < height + bottom)
        columns = (self.columns >= -left) & (self.columns < width + right)
        return rows[:, None, :, None] & columns[None, :, None, :]

    def see(self, x, outside):
        """Return what each window sees: (images, height, width, kernel height, kernel width, channels)."""
        rows, columns = (np.clip(p, 0, s - 1) for p, s in zip((self.rows, self.columns), self.size, strict=True))
        seen = x[:, rows[:, None, :, None], columns[None, :, None, :]]
        return np.where(self.within()[..., None], seen, x.dtype.type(outside))


def windows_of(node, kernel, x):
    """Return the windows of a node on its input, (images, height, width, channels)."""
    top, left, bottom, right = padding = each(node["padding"], 4)
    stride, dilation = each(node["stride"], 2), each(node.get("dilation", 1), 2)

    def along(axis, before, after):
        size = x.shape[1 + axis]
        room = before + size + after - (dilation[axis] * (kernel[axis] - 1) + 1)
        if room < 0:
            raise Refused("no window in the padded input")
        count = room // stride[axis] + 1
        if node.get("ceil", False) and room % stride[axis] and count * stride[axis] < before + size:
            count += 1
        return stride[axis] * np.arange(count)[:, None] + dilation[axis] * np.arange(kernel[axis]) - before

    return Windows(along(0, top, bottom), along(1, left, right), x.shape[1:3], padding)


def windows_of_pool(node, x):
    """Return the windows of a pooling, each of which must see a pixel of the input."""
    windows = windows_of(node, each(node["kernel"], 2), x)
    if not windows.within().any(axis=(2, 3)).all():
        raise Refused("a window of padding")
    return windows


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


def product_noise(key, addresses, conversion, outputs):
    """Return z of every output of every image in a conversion with fresh read noise, (images, outputs)."""
    image = np.asarray(addresses, np.uint64)[:, None]
    block = np.arange((outputs + 3) // 4, dtype=np.uint64)[None, :]
    words = philox((block, conversion, image & np.uint64(0xFFFFFFFF), image >> np.uint64(32)), key)
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


def targets(matrix, model, scale, significance=(1,)):
    """Return the targets of the + and the - devices in uS, slice after slice, and the weight of one uS in a column."""
    largest = np.abs(matrix).max(axis=0) if scale == "column" else np.full(matrix.shape[1], np.abs(matrix).max())
    largest = np.where(largest == 0, 1.0, largest)
    G_T = matrix * (model.g_max / largest)
    G_T = np.concatenate([G_T for _ in significance])
    return np.maximum(G_T, 0.0), np.maximum(-G_T, 0.0), largest / (model.g_max * sum(significance))


class Codes(NamedTuple):
    """One crossbar layer at one time, as integers: arrays of the + and of the - devices."""

    mean: tuple  # n(G_D)
    read: tuple  # n(G)
    V: tuple
    weight_per_us: np.ndarray

    @property
    def m(self):
        return self.mean[0] - self.mean[1]

    @property
    def r(self):
        return self.read[0] - self.read[1]

    @property
    def V_of_pairs(self):  # noqa: N802
        return np.minimum(self.V[0] + self.V[1], 32767)


def n(G):
    return np.minimum(np.rint(G / STEP_US), 32767).astype(np.int64)


def variance_code(sigma_R):
    return np.minimum(np.rint(sigma_R * sigma_R / VARIANCE_STEP), 32767).astype(np.int64)


class Chip:
    def __init__(self, network, model, seed, scale="layer", share=0.0, significance=(1,)):
        self.network, self.model, self.seed, self.scale = network, model, seed, scale
        self.layers = {}
        for name, layer in network.address.items():
            plus, minus, weight_per_us = targets(network.matrix(name), model, scale, significance)
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
        plus, minus = (device_at(self.model, *devices[i], normal(words[i]), t) for i in range(2))
        mean, V, read = ((rule(plus[i]), rule(minus[i])) for i, rule in enumerate((n, variance_code, n)))
        return Codes(mean, read, V, weight_per_us)


def ideal_chip(network, model, scale="layer"):
    """Return the codes of a chip without noise and drift."""
    codes = {}
    for name in network.address:
        plus, minus, weight_per_us = targets(network.matrix(name), model, scale)
        exact = n(plus), n(minus)
        nothing = np.zeros_like(exact[0])
        codes[name] = Codes(exact, exact, (nothing, nothing), weight_per_us)
    return codes


# --- section 8: a product ----------------------------------------------------------------------------------------


class Dac(NamedTuple):
    bits: int = 12
    codes: str = "symmetric"
    drive: str = "parallel"


class Fixed(NamedTuple):
    """A fixed-point gain, mult / 2^shift."""

    mult: int
    shift: int


class Adc(NamedTuple):
    """Gains are Fixed or floats; gain, offset and thresholds are one for all columns, or lists of one a column."""

    bits: int
    low: int | None = None
    high: int | None = None
    rounding: str = "half-even"
    gain: object = None
    gain_bits: int | None = None
    offset: object = 0
    thresholds: list | None = None


class Register(NamedTuple):
    bits: int
    beyond: str


class Readout(NamedTuple):
    dac: Dac = Dac()
    adc: Adc | None = None
    tile_rows: int | None = None
    tile_columns: int | None = None
    lines: str = "pair"
    register: Register | None = None
    fresh: bool = False
    ranges: dict | None = None  # layer: (input_top, sum_top), sum_top a number or a list of one a group of columns
    measured: dict | None = None  # layer: [Adc, ...]


PAPER = Readout()
CHIP8 = Readout(Dac(8), Adc(8), 256, fresh=True)
RTL8 = Readout(Dac(8), Adc(8, gain_bits=16), 256, 256)


class Conversion(NamedTuple):
    """One conversion: (images, pixels, columns), but for D0, which is (columns,)."""

    exact: np.ndarray  # A before noise
    spread: np.ndarray | None  # B
    sums: np.ndarray  # A, as the register holds it
    digits: np.ndarray  # D
    D0: np.ndarray
    factor: int


class Product(NamedTuple):
    """What one layer made of its input: images first."""

    input_codes: np.ndarray  # (images, height, width, channels), without padding
    bias_codes: np.ndarray  # (images,)
    step: np.ndarray  # (images,), float32
    conversions: list
    output_codes: np.ndarray  # (images, pixels, columns)
    activations: np.ndarray  # (images, height, width, columns), float32


def dac_limits(dac):
    """Return dac_low, dac_high and dac_offset."""
    half = 2 ** (dac.bits - 1)
    return {
        "symmetric": (1 - half, half - 1, 0),
        "signed": (-half, half - 1, 0),
        "offset": (-half, half - 1, half),
        "unsigned": (0, 2**dac.bits - 1, 0),
    }[dac.codes]


def dac_gain_and_step(dac, top):
    high = np.float32(dac_limits(dac)[1])
    usable = top >= np.float32(2.0**-100)
    safe = np.where(usable, top, np.float32(1))
    return np.where(usable, high / safe, np.float32(0)), np.where(usable, safe / high, np.float32(0))


def codes_of_inputs(x, dac, input_top, bias):
    """Return the codes of the images' inputs, those of the bias row and the steps."""
    images = len(x)
    if input_top is None:
        top = np.abs(x).reshape(images, -1).max(axis=1)
        if bias:
            top = np.maximum(top, np.float32(1))
    else:
        top = np.full(images, np.float32(input_top))
    low, high, _ = dac_limits(dac)
    gain, step = dac_gain_and_step(dac, top)

    def code(values, gains):
        with np.errstate(over="ignore"):
            return np.minimum(np.maximum(np.rint(values * gains), low), high).astype(np.int64)

    return code(x, gain[:, None, None, None]), code(np.ones_like(gain), gain), step


def levels(driven, dac):
    """Return the level and the factor of every phase."""
    if dac.drive == "parallel":
        return [(driven, 1)]
    if dac.drive == "two-phase":
        return [(np.maximum(driven, 0), 1), (np.maximum(-driven, 0), -1)]
    signs = [1] * dac.bits
    if dac.codes in ("symmetric", "signed"):
        signs[-1] = -1
    return [((driven % 2**dac.bits) // 2**phase % 2, sign * 2**phase) for phase, sign in enumerate(signs)]


def hold(A, register):
    """Return what the register holds of A."""
    if register is None:
        return A
    half = 2 ** (register.bits - 1)
    if register.beyond == "saturate":
        return np.clip(A, -half, half - 1)
    if register.beyond == "wrap":
        return (A + half) % (2 * half) - half
    if (np.clip(A, -half, half - 1) != A).any():
        raise Refused("a sum that the register cannot hold")
    return A


def adc_limits(adc):
    limit = 2 ** (adc.bits - 1) - 1
    return -limit if adc.low is None else adc.low, limit if adc.high is None else adc.high


def a_column(value, columns):
    """Return one number a column."""
    return value if isinstance(value, list) else [value] * columns


def value_of(gain):
    return math.ldexp(gain.mult, -gain.shift) if isinstance(gain, Fixed) else gain


def nearest_fixed(gain, adc):
    """Return the nearest mult / 2^shift of gain_bits bits."""
    f, e = math.frexp(gain)
    mult, shift = round(f * 2**adc.gain_bits), adc.gain_bits - e
    if mult == 2**adc.gain_bits:
        mult, shift = 2 ** (adc.gain_bits - 1), shift - 1
    low, high = adc_limits(adc)
    if not 0 <= shift <= 52 or (max(-low, high) + 1) * 2**shift > 2**53:
        raise Refused("a shift")
    return Fixed(mult, shift)


def scale_of(readout, input_top, sum_top, columns):
    """Return lsb[c] and adc_gain[c] of all columns; a gain is Fixed or a float."""
    adc = readout.adc
    step = float(dac_gain_and_step(readout.dac, np.float32(input_top))[1])
    if adc.gain is not None:
        gains = a_column(adc.gain, columns)
        return [step * STEP_US / value_of(gain) for gain in gains], gains
    if isinstance(sum_top, list):
        width = readout.tile_columns or columns
        sum_top = [sum_top[c // width] for c in range(columns)]
    lsb = [top / adc_limits(adc)[1] for top in a_column(sum_top, columns)]
    gains = [step * STEP_US / one for one in lsb]
    if adc.gain_bits is not None:
        gains = [nearest_fixed(gain, adc) for gain in gains]
    return lsb, gains


def rounded_integers(P, shift, rounding):
    """Return P / 2^shift, rounded: Python integers, and what the words of the table say, not its formulas."""
    unit = 2**shift
    down, rest = P // unit, P % unit
    up = {
        "half-even": (2 * rest > unit) | ((2 * rest == unit) & (down % 2 == 1)),
        "half-away": (2 * rest > unit) | ((2 * rest == unit) & (P > 0)),
        "half-up": 2 * rest >= unit,
        "floor": rest < 0,
        "toward-zero": (rest > 0) & (P < 0),
    }[rounding]
    return down + up


def rounded_floats(v, rounding):
    """Return float64 numbers, rounded."""
    whole = np.trunc(v)
    rest = v - whole  # exact
    return {
        "half-even": lambda: np.rint(v),
        "half-away": lambda: whole + (rest >= 0.5) - (rest <= -0.5),
        "half-up": lambda: whole + (rest >= 0.5) - (rest < -0.5),
        "floor": lambda: whole - (rest < 0),
        "toward-zero": lambda: whole,
    }[rounding]()


def convert(A, adc, gains):
    """Return D of A, (..., columns)."""
    if adc is None:
        return A
    low, high = adc_limits(adc)
    D = np.empty(A.shape, np.int64)
    columns = A.shape[-1]
    offsets = a_column(adc.offset, columns)
    for c in range(columns):
        if adc.thresholds is not None:
            table = adc.thresholds[c if len(adc.thresholds) > 1 else 0]
            D[..., c] = low + (A[..., c, None] >= np.array(table, np.int64)).sum(axis=-1)
        elif isinstance(gains[c], Fixed):
            P = (A[..., c].astype(object) + offsets[c]) * gains[c].mult
            D[..., c] = np.clip(rounded_integers(P, gains[c].shift, adc.rounding), low, high).astype(np.int64)
        else:
            v = (A[..., c].astype(np.float64) + float(offsets[c])) * gains[c]
            D[..., c] = np.clip(rounded_floats(v, adc.rounding), low, high).astype(np.int64)
    return D


def conductances(codes, readout):
    """Return the conductance codes and V of every line, and the factors of the lines."""
    if readout.lines == "separate":
        return (codes.mean if readout.fresh else codes.read), codes.V, (1, -1)
    return [codes.m if readout.fresh else codes.r], [codes.V_of_pairs], (1,)


def tiles_of(rows, tile_rows, significance):
    """Return what rows of a slice, what rows of the matrix, and what significance every tile has."""
    return [
        (
            slice(first, min(first + tile_rows, rows)),
            slice(k * rows + first, k * rows + min(first + tile_rows, rows)),
            one,
        )
        for k, one in enumerate(significance)
        for first in range(0, rows, tile_rows)
    ]


def conversions_of(driven, codes, readout, gains, measured, significance, key, addresses):
    """Return the conversions of a layer, of what drives the rows of a slice: (images, groups, pixels, rows)."""
    _, _, dac_offset = dac_limits(readout.dac)
    rows, columns = driven.shape[-1], codes.m.shape[1]
    matrices, variances, line_factors = conductances(codes, readout)
    found = []
    for tile, (inputs, part, one) in enumerate(tiles_of(rows, readout.tile_rows or rows, significance)):
        for line, line_factor in enumerate(line_factors):
            adc, gain = readout.adc, gains
            if measured is not None:
                adc = measured[tile * len(line_factors) + line if len(measured) > 1 else 0]
                gain = gains if adc.gain is None else a_column(adc.gain, columns)
            matrix, variance = matrices[line][part], variances[line][part]
            zeros = levels(np.full(len(matrix), dac_offset), readout.dac)
            for (level, factor), (zero, _) in zip(levels(driven[..., inputs], readout.dac), zeros, strict=True):
                exact, spread = times(level, matrix), None
                A = exact
                if readout.fresh:
                    spread = times(level**2, variance)
                    z = product_noise(key, addresses, len(found), A[0].size).reshape(A.shape)
                    A = A + np.rint(z * np.sqrt(64.0 * spread.astype(np.float64))).astype(np.int64)
                A = hold(A, readout.register)
                D0 = np.zeros(columns, np.int64)
                if readout.dac.codes == "offset":
                    D0 = convert(hold((zero @ matrix)[None], readout.register), adc, gain)[0]
                found.append(Conversion(exact, spread, A, convert(A, adc, gain), D0, one * line_factor * factor))
    return found


def by_group(matrix, groups):
    """Return the crossbars of groups: (groups, rows, columns of a group)."""
    return matrix.reshape(len(matrix), groups, -1).swapaxes(0, 1)


def side_by_side(y):
    """Return the columns of all groups, of (images, groups, pixels, columns of a group)."""
    return y.swapaxes(1, 2).reshape(len(y), y.shape[2], -1)


def times(level, matrix):
    """Return what drives the rows times a matrix, group by group: (images, pixels, columns)."""
    return side_by_side(level @ by_group(matrix, level.shape[1]))


def rows_of(node, tensors, x, bias):
    """Return what of an input comes to the rows of the matrix, (images, groups, pixels, rows), and the output's size.

    `bias` is what comes to the row of a bias, one number an image.
    """
    node = {"stride": 1, "padding": 0, **node}  # a linear layer has neither
    groups = node.get("groups", 1)
    kernel = tensors["weight"].shape[2:] or (1, 1)
    seen = windows_of(node, kernel, x).see(x, 0)
    images, height, width = seen.shape[:3]
    parts = [part.reshape(images, height * width, -1) for part in np.split(seen, groups, axis=-1)]
    rows = np.stack(parts, axis=1)
    if "bias" in tensors:
        constant = np.broadcast_to(bias[:, None, None, None], (images, groups, height * width, 1))
        rows = np.concatenate([rows, constant], axis=-1)
    return rows, (height, width)


def as_map(x):
    """Return vectors as maps of one pixel."""
    return x[:, None, None, :] if x.ndim == 2 else x


def product(node, tensors, x, codes, readout, gain, significance, key, addresses):
    x = as_map(x)
    images, columns = len(x), codes.m.shape[1]
    input_top, sum_top = readout.ranges[node["name"]] if readout.ranges else (None, None)
    input_codes, bias_codes, step = codes_of_inputs(x, readout.dac, input_top, "bias" in tensors)
    row_codes, (height, width) = rows_of(node, tensors, input_codes, bias_codes)

    lsb, gains = np.full(columns, STEP_US), None
    if readout.adc is not None:
        lsb, gains = scale_of(readout, input_top, sum_top, columns)
    measured = readout.measured.get(node["name"]) if readout.measured else None
    driven = row_codes + dac_limits(readout.dac)[2]
    made = conversions_of(driven, codes, readout, gains, measured, significance, key, addresses)
    output_codes = sum(one.factor * (one.digits - one.D0) for one in made)

    exact = np.array(lsb) * codes.weight_per_us * gain
    unit = exact.astype(np.float32)
    if ((np.abs(unit) < np.float32(2.0**-126)) & (exact != 0)).any():
        raise Refused("a unit")
    if readout.adc is None:
        unit = step[:, None, None] * unit
    y = (output_codes.astype(np.float32) * unit).reshape(images, height, width, columns)
    return Product(input_codes, bias_codes, step, made, output_codes, y)


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


def digital(node, tensors, matrix, x):
    """Return the output of a layer that is kept off the crossbar: (images, height, width, columns)."""
    rows, (height, width) = rows_of(node, tensors, x, np.ones(len(x), np.float32))
    weights = by_group(matrix.astype(np.float32), rows.shape[1])
    y = np.float32(0)
    for row in range(len(matrix)):
        y = y + weights[:, None, row] * rows[..., row, None]
    return side_by_side(y).reshape(len(x), height, width, -1)


def periphery(node, tensors, inputs):
    x = inputs[0]
    match node["op"]:
        case "affine":
            return x * tensors["scale"] + tensors["shift"]
        case "relu":
            return np.where(x > 0, x, np.float32(0))
        case "leaky_relu":
            return np.where(x > 0, x, np.float32(node["slope"]) * x)
        case "clip":
            low, high = np.float32(node["low"]), np.float32(node["high"])
            return np.where(x < low, low, np.where(x > high, high, x))
        case "hard_sigmoid":
            y = x * np.float32(node["slope"]) + np.float32(node["offset"])
            return np.where(y < 0, np.float32(0), np.where(y > 1, np.float32(1), y))
        case "sigmoid":
            return (1 / (1 + exp(-x.astype(np.float64)))).astype(np.float32)
        case "tanh":
            return tanh(x.astype(np.float64)).astype(np.float32)
        case "local_response_norm":
            return local_response_norm(node, x.astype(np.float64)).astype(np.float32)
        case "add":
            return x + inputs[1]
        case "multiply":
            return x * (as_map(inputs[1]) if x.ndim == 4 else inputs[1])
        case "concat":
            return np.concatenate(inputs, axis=-1)
        case "channel_shuffle":
            cut = x.reshape(*x.shape[:-1], node["groups"], -1)
            return cut.swapaxes(-1, -2).reshape(x.shape)
        case "take_channels":
            return x[..., node["first"] + np.arange(node["count"])]
        case "flatten":
            return np.moveaxis(x, 3, 1).reshape(len(x), -1)
        case "pad_shortcut":
            x = x[:, :: node["stride"], :: node["stride"]]
            return np.pad(x, ((0, 0), (0, 0), (0, 0), (node["before"], node["after"])))
        case "max_pool":
            best = windows_of_pool(node, x).see(x, -np.inf).max(axis=(3, 4))
            return np.where(best == 0, np.float32(0), best)
        case "average_pool":
            windows = windows_of_pool(node, x)
            seen = windows.see(x.astype(np.float64), 0)
            total = in_order([0.0, *np.moveaxis(seen.reshape(*seen.shape[:3], -1, x.shape[3]), 3, 0)])
            counted = windows.within(windows.padding if node.get("count_padding", False) else (0, 0, 0, 0))
            return (total / counted.sum(axis=(2, 3))[..., None]).astype(np.float32)
        case "global_average_pool":
            values = pixels_of(x)
            return (in_order(values) / len(values)).astype(np.float32)
    raise ValueError(node["op"])


def tanh(x):
    size = np.abs(x)
    e = exp(-2 * size)
    return np.copysign(np.where(size < 2.0**-12, size, (1 - e) / (1 + e)), x)


def local_response_norm(node, x):
    size, alpha, beta, bias = (float(node[number]) for number in ("size", "alpha", "beta", "bias"))
    squares = np.zeros_like(x)
    channels = x.shape[-1]
    for c in range(channels):
        first, last = c - (node["size"] - 1) // 2, c + node["size"] // 2
        for k in range(max(first, 0), min(last, channels - 1) + 1):
            squares[..., c] += x[..., k] * x[..., k]
    return x / power(bias + alpha / size * squares, beta)


# --- the network on a chip ---------------------------------------------------------------------------------------


def run(
    network, codes, x, readout=PAPER, *, seed=0, t=0.0, read=0, gains=None, statistics=None, addresses=None,
    purpose=PRODUCT, batch=None, significance=(1,),
):  # fmt: skip
    """Return the activations of every node and the products of every crossbar layer.

    `statistics` replaces the stored ones of batch normalisations; `batch` computes others from a node and its input.
    """
    addresses = range(len(x)) if addresses is None else addresses
    values, products = {"input": x}, {}
    for node in network.nodes:
        name, tensors = node["name"], network.tensors[node["name"]]
        inputs = [values[i] for i in node["inputs"]]
        if name in network.address:
            key = stream(seed, purpose, network.address[name], read, t)
            gain = 1.0 if gains is None else gains[name]
            made = product(node, tensors, inputs[0], codes[name], readout, gain, significance, key, addresses)
            products[name] = made
            values[name] = made.activations if node["op"] == "conv" else made.activations[:, 0, 0]
        elif node["op"] in ("conv", "linear"):
            y = digital(node, tensors, network.matrix(name), as_map(inputs[0]))
            values[name] = y if node["op"] == "conv" else y[:, 0, 0]
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
            values[name] = periphery(node, tensors, inputs)
    return values, products


# --- section 10: compensation ------------------------------------------------------------------------------------


def gdc(reference, codes, readout="absolute"):
    """Return the gains of every layer: one number, or with "column" one a column."""

    def R(c):  # noqa: N802
        match readout:
            case "absolute":
                return np.abs(c.r).sum()
            case "ones":
                return c.read[0].sum() + c.read[1].sum()
            case "column":
                return np.abs(c.r).sum(axis=0)

    gains = {}
    for name in codes:
        before, now = (np.asarray(R(c[name]), np.float64) for c in (reference, codes))
        missing = (before == 0) | (now == 0)
        gains[name] = np.where(missing, 1.0, before / np.where(now == 0, 1.0, now))
    return gains


def adabs(network, codes, images, readout=PAPER, *, seed=0, t=0.0, read=0, gains=None, significance=(1,)):
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
            purpose=CALIBRATE, batch=batch, significance=significance,
        )  # fmt: skip
    return statistics


# --- section 11: ranges of converters ----------------------------------------------------------------------------


def ranges(network, model, scale, images, readout):
    """Return {layer: (input_top, sum_top)}, sum_top one number or a list of one a group of columns."""
    dac = readout.dac if readout.dac.drive == "bit-serial" else readout.dac._replace(bits=12)
    fine = PAPER._replace(dac=dac, lines=readout.lines, tile_rows=readout.tile_rows)
    codes = ideal_chip(network, model, scale)
    _, products = run(network, codes, network.activation(images), fine)
    tops = {}
    for name, made in products.items():
        step = made.step.astype(np.float64)
        largest = np.abs(made.input_codes).reshape(len(images), -1).max(axis=1)
        if "bias" in network.tensors[name]:
            largest = np.maximum(largest, made.bias_codes)
        input_top = median(largest * step)
        size = np.max([np.abs(one.sums) for one in made.conversions], axis=(0, 2))
        columns = size.shape[1]
        width = readout.tile_columns or columns
        groups = [
            replaced(readout, input_top, median(size[:, c : c + width].max(axis=1) * (step * STEP_US)))
            for c in range(0, columns, width)
        ]
        tops[name] = input_top, groups
    found = readout._replace(ranges=tops, register=None, measured=None)
    run(network, codes, network.activation(images[:1]), found)  # refuses a unit that is too small
    return tops


def median(values):
    return float(np.sort(values)[len(values) // 2]) or 1.0


def replaced(readout, input_top, sum_top):
    """Return the sum_top next to one that a fixed-point gain has."""
    adc = readout.adc
    if adc is None or adc.gain_bits is None:
        return sum_top
    unit_sum = float(dac_gain_and_step(readout.dac, np.float32(input_top))[1]) * STEP_US
    gain = value_of(nearest_fixed(unit_sum / (sum_top / adc_limits(adc)[1]), adc))
    return adc_limits(adc)[1] * (unit_sum / gain)


def stored(network, readout, scale, g_max):
    """Return the ranges that the network file has for a readout, None where none fit."""
    widest = max((network.tensors[name]["weight"].shape[0] for name in network.address), default=0)
    presets = {"paper": PAPER, "chip8": CHIP8, "rtl8": RTL8}
    for name, tops in network.ranges.items():
        if name not in presets or scale != "layer":
            continue
        preset = presets[name]
        whole = all(one.tile_columns is None or one.tile_columns >= widest for one in (readout, preset))
        if (
            (readout.dac.codes, readout.dac.drive) == (preset.dac.codes, preset.dac.drive)
            and (readout.lines, readout.tile_rows) == (preset.lines, preset.tile_rows)
            and (whole or readout.tile_columns == preset.tile_columns)
        ):
            return {k: (i, replaced(readout, i, s * (g_max / 25))) for k, (i, s) in tops.items()}
    return None
