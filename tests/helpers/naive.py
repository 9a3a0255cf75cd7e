"""An obvious, slow second implementation: loops over Python numbers, written from the docstrings.

It shares no code with pcmref, only the values that it is given: a network, a parameter set, a snapshot's codes.
Integers are Python's, float32 is rounded once an operation by NumPy's scalars, ln, exp and the normal quantile
are the standard library's.
"""

from __future__ import annotations

import functools
import math
import struct
from fractions import Fraction
from statistics import NormalDist

import numpy as np

f32 = np.float32

# Draws


def philox(counter, key):
    """Philox4x32-10: four words from four words and a key of two."""
    c, k = list(counter), list(key)
    for _ in range(10):
        even, odd = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [
            (odd >> 32) ^ c[1] ^ k[0],
            odd % 2**32,
            (even >> 32) ^ c[3] ^ k[1],
            even % 2**32,
        ]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def stream(seed, purpose, layer, t_s=0.0, read=0):
    """Key of a stream of draws."""
    low, high = struct.unpack("<II", struct.pack("<d", t_s))
    return philox([purpose + 256 * layer, read, low, high], [seed % 2**32, seed // 2**32])[:2]


def uniform(word):
    return (word + 0.5) / 2**32


def normal(word):
    return NormalDist().inv_cdf(uniform(word))


# Chip


def matrix(layer):
    """Weights by crossbar row and column, the bias last."""
    w = layer.weight
    if w.ndim == 2:
        rows = [[float(w[o, c]) for o in range(len(w))] for c in range(w.shape[1])]
    else:
        rows = [
            [float(w[o, c, i, j]) for o in range(len(w))]
            for i in range(w.shape[2])
            for j in range(w.shape[3])
            for c in range(w.shape[1])
        ]
    return rows if layer.bias is None else [*rows, [float(b) for b in layer.bias]]


def targets_us(layer, g_max_us, scale="layer", significance=(1,)):
    """G+ - G- by row, slice by slice, and column; and the weight of 1 uS by column."""
    rows = matrix(layer)
    columns = range(len(rows[0]))
    tops = [max(abs(row[c]) for row in rows) for c in columns]
    if scale == "layer":
        tops = [max(tops)] * len(tops)
    tops = [top or 1.0 for top in tops]
    targets = [[row[c] * g_max_us / tops[c] for c in columns] for _ in significance for row in rows]
    return targets, [top / g_max_us / sum(significance) for top in tops]


def law(function, g):
    return float(function(np.array([g]))[0])


def program(layer, model, seed, address, scale="layer", significance=(1,)):
    """Devices of a layer: (polarity, row, column) -> (g_prog_us, nu, q_s); RESET devices are missing."""
    devices = {}
    rows, _ = targets_us(layer, model.g_max_us, scale, significance)
    noise, convergence = stream(seed, 1, address), stream(seed, 2, address)
    for r, row in enumerate(rows):
        for c, signed in enumerate(row):
            block = [r * len(row) + c, 0, 0, 0]
            words, others = philox(block, noise), philox(block, convergence)
            for polarity in (0, 1):
                target_us = max(-signed if polarity else signed, 0.0)
                if target_us == 0.0 and not model.programs_zero:
                    continue
                g = target_us / model.g_max_us
                g_us = max(target_us + law(model.programming_spread_us, g) * normal(words[polarity]), 0.0)
                if target_us > 0.0 and uniform(others[polarity]) < model.nonconverged_share:
                    g_us = uniform(others[2 + polarity]) * model.g_max_us
                    g = g_us / model.g_max_us
                nu = law(model.exponent_mean, g) + law(model.exponent_spread, g) * normal(words[2 + polarity])
                if model.exponent_absolute:
                    nu = abs(nu)
                q_s = law(model.read_noise, g_us / model.g_max_us if model.read_noise_of_programmed else g)
                devices[polarity, r, c] = g_us, nu, q_s
    return devices


def read(devices, rows, columns, model, seed, address, t_s, number=0):
    """Codes of a layer at a time, by polarity, row and column: mean, read and variance."""
    step, t = model.g_step_us, t_s + model.t_offset_s
    stream_key = stream(seed, 3, address, t_s, number)
    mean, noisy, variance = np.zeros((3, 2, rows, columns), int)
    for r in range(rows):
        for c in range(columns):
            words = philox([r * columns + c, 0, 0, 0], stream_key)
            for polarity in (0, 1):
                if (polarity, r, c) not in devices:
                    continue
                g_us, nu, q_s = devices[polarity, r, c]
                drifted = g_us * (t / model.t_c_s) ** -nu
                spread = drifted * q_s * math.sqrt(math.log((t + model.t_read_s) / (2 * model.t_read_s)))
                seen = max(drifted + spread * normal(words[polarity]), 0.0)
                mean[polarity, r, c] = min(round(drifted / step), 32767)
                noisy[polarity, r, c] = min(round(seen / step), 32767)
                variance[polarity, r, c] = min(round(spread**2 / (64 * step**2)), 32767)
    return mean, noisy, variance


# Product


def clip(value, low, high):
    return max(low, min(high, value))


def code_limits(converter):
    """Smallest and largest code of a DAC, and what is added to a code before it drives its row."""
    half = 2 ** (converter.bits - 1)
    return {
        "symmetric": (1 - half, half - 1, 0),
        "signed": (-half, half - 1, 0),
        "offset": (-half, half - 1, half),
        "unsigned": (0, 2 * half - 1, 0),
    }[converter.codes]


def dac(x, top, low, high):
    """Code of activation x and the activation of one code, for float32 x and full scale."""
    if top < 2.0**-100:
        return 0, f32(0)
    with np.errstate(over="ignore"):
        gain, step = f32(high) / f32(top), f32(top) / f32(high)
        value = float(f32(x) * gain)
    return round(clip(value, low, high)), step


def phases(driven, converter):
    """What drives a row in each phase of a product, and the weight of each phase."""
    if converter.drive == "parallel":
        return [driven], [1]
    if converter.drive == "two-phase":
        return [max(driven, 0), max(-driven, 0)], [1, -1]
    digits = f"{driven % 2**converter.bits:0{converter.bits}b}"[::-1]  # two's complement, the lowest first
    weights = [2**place for place in range(converter.bits)]
    if converter.codes in ("symmetric", "signed"):
        weights[-1] *= -1
    return [int(digit) for digit in digits], weights


def rounded(value, rounding):
    """A fraction as an integer."""
    if rounding == "half-even":
        return round(value)
    if rounding == "half-away":
        size = math.floor(abs(value) + Fraction(1, 2))
        return size if value >= 0 else -size
    if rounding == "half-up":
        return math.floor(value + Fraction(1, 2))
    return {"floor": math.floor, "toward-zero": math.trunc}[rounding](value)


def held(total, register):
    """What a register of two's complement holds of a sum."""
    if register is None:
        return total
    half = 2 ** (register.bits - 1)
    return (total + half) % (2 * half) - half if register.beyond == "wrap" else clip(total, -half, half - 1)


def snapped(gain, bits):
    """The nearest gain m / 2^s with m of so many bits."""
    shift = 0
    while Fraction(gain) * 2**shift < 2 ** (bits - 1):
        shift += 1
    return Fraction(round(Fraction(gain) * 2**shift), 2**shift)


def own(values, column):
    """A value, or that of a column; what is an integer or a fraction is one."""
    value = values[column] if isinstance(values, tuple) else values
    return value if isinstance(value, int | float) else Fraction(value.multiplier, 2**value.shift)


def adc(total, converter, column, gain=None):
    """Code of a sum; `gain` is that of the range, where the converter has none of its own."""
    if converter.thresholds is not None:
        rows = converter.thresholds
        return converter.low + sum(total >= t for t in rows[column if len(rows) > 1 else 0])
    gain = gain if converter.gain is None else own(converter.gain, column)
    total += own(converter.offset, column)
    if isinstance(gain, float):
        value = float(total) * gain  # one rounding, as float64 has it
        if math.isinf(value):
            return converter.high if value > 0 else converter.low
        value = Fraction(value)
    else:  # integers all through
        value = total * gain
    return clip(rounded(value, converter.rounding), converter.low, converter.high)


def read_noise(variance, key, number, address, output):
    """Read noise of one conversion: word ``output % 4`` of its block."""
    word = philox([output // 4, number, address % 2**32, address // 2**32], key)[output % 4]
    return round(normal(word) * math.sqrt(64 * variance))


def pair_variance(layer, row, column):
    return min(sum(int(v) for v in layer.g_variance_code[:, row, column]), 32767)


def pair_difference(codes, row, column):
    return int(codes[0, row, column]) - int(codes[1, row, column])


def lines_of(layer, readout):
    """Of each line: its weight, and functions of row and column to its conductance and its variance code."""
    codes = layer.g_mean_code if readout.read_noise == "fresh" else layer.g_read_code
    if readout.lines == "pair":
        return [(1, lambda r, c: pair_difference(codes, r, c), lambda r, c: pair_variance(layer, r, c))]
    return [
        (1, lambda r, c: int(codes[0, r, c]), lambda r, c: int(layer.g_variance_code[0, r, c])),
        (-1, lambda r, c: int(codes[1, r, c]), lambda r, c: int(layer.g_variance_code[1, r, c])),
    ]


STAGES = ("noise_free", "variance", "sums", "codes")


def conversion(inputs, g, v, column, readout, convert, draw):
    """Stages of one conversion of one column: what drives the rows, times their codes; `draw` is None without noise."""
    exact = total = sum(x * g(r, column) for r, x in inputs.items())
    variance = None
    if draw is not None:
        variance = sum(x**2 * v(r, column) for r, x in inputs.items())
        total += draw(variance)
    total = held(total, readout.accumulator)
    return {"noise_free": exact, "variance": variance, "sums": total, "codes": convert(total)}


def tile_product(inputs, lines, factor, column, readout, converters, draw):
    """Stages of a tile in one column, and those of its conversions, line by line and phase by phase.

    `inputs` maps rows to what drives them in each phase; `factor` is that of the slice; `converters` has a function of
    sums to codes for each line; `draw` maps the number of a conversion in the tile and its variance to noise.
    """
    offset, weights = code_limits(readout.dac)[2], phases(0, readout.dac)[1]
    total, parts = dict.fromkeys(STAGES, 0), []
    for (sign, g, v), convert in zip(lines, converters, strict=True):
        for phase, weight in enumerate(weights):
            driven = {r: x[phase] for r, x in inputs.items()}
            noise = None if draw is None else functools.partial(draw, len(parts))
            part = conversion(driven, g, v, column, readout, convert, noise)
            zero = dict.fromkeys(STAGES, 0)
            if offset:
                nothing = dict.fromkeys(inputs, phases(offset, readout.dac)[0][phase])
                zero = conversion(nothing, g, v, column, readout, convert, None)
            for stage in ("noise_free", "sums", "codes"):
                total[stage] += factor * sign * weight * (part[stage] - zero[stage])
            squared = (factor * weight) ** 2
            total["variance"] = None if draw is None else total["variance"] + squared * part["variance"]
            parts.append(part)
    return total, parts


def value_of_a_code(readout, full, step, column, g_step_us, columns):
    """What one output code stands for, activation times uS."""
    if readout.adc is None:
        return g_step_us
    if readout.adc.gain is not None:
        return float(step) * g_step_us / float(own(readout.adc.gain, column))
    tops = full.sum_top_us
    if isinstance(tops, tuple):
        tops = tops[column // min(readout.tile_columns or columns, columns)] if len(tops) > 1 else tops[0]
    return tops / readout.adc.high


def converters_of(readout, layer, tile, lines, column, gain):
    """A function from sums to codes for each line of a tile."""
    if readout.adc is None:
        return [lambda total: total] * lines
    adcs = (readout.measured or {}).get(layer, (readout.adc,))
    chosen = [adcs[tile * lines + line] if len(adcs) > 1 else adcs[0] for line in range(lines)]
    return [lambda total, one=one: adc(total, one, column, gain) for one in chosen]


def gain_of(readout, value_us, step, column, g_step_us):
    """Codes per unit of the sum of the nominal ADC: its own, or that of the range."""
    if readout.adc is None:
        return None
    if readout.adc.gain is not None:
        return own(readout.adc.gain, column)
    gain = float(step) * g_step_us / value_us
    return gain if readout.adc.gain_bits is None else snapped(gain, readout.adc.gain_bits)


def two(size):
    """One number for both axes, or one for each."""
    return size if isinstance(size, tuple) else (size, size)


def sides(layer):
    """Padding above, left, below and right; none of a linear layer."""
    padding = getattr(layer, "padding", 0)
    return padding if isinstance(padding, tuple) else (padding,) * 4


def steps_of(layer, kernel, height, width):
    """How many windows there are along each axis."""
    top, left, bottom, right = sides(layer)
    found = []
    for size, before, after, k, s, d in zip(
        (height, width),
        (top, left),
        (bottom, right),
        kernel,
        two(getattr(layer, "stride", 1)),
        two(getattr(layer, "dilation", 1)),
        strict=True,
    ):
        room = before + size + after - (d * (k - 1) + 1)
        more = getattr(layer, "ceil", False) and room % s and (room // s + 1) * s < before + size
        found.append(room // s + 1 + bool(more))
    return found


def seen(layer, kernel, i, j, height, width):
    """The window of an output pixel: places in the input, None where there is padding, in raster order."""
    top, left, bottom, right = sides(layer)
    (down, across), (dy, dx) = two(getattr(layer, "stride", 1)), two(getattr(layer, "dilation", 1))
    places = []
    for p in range(kernel[0]):
        for q in range(kernel[1]):
            y, x = i * down + p * dy - top, j * across + q * dx - left
            if -top <= y < height + bottom and -left <= x < width + right:
                places.append((y, x) if 0 <= y < height and 0 <= x < width else None)
    return places


def drive(layer, readout, x):
    """What drives the rows of a layer for one image: (height, width, channels) with padding and constant; the step."""
    height, width, channels = x.shape
    top_side, left_side, bottom_side, right_side = sides(layer)
    constant = layer.bias is not None
    low, high, offset = code_limits(readout.dac)
    top = max([abs(float(v)) for v in x.flat] + [1.0] * constant)
    if readout.ranges is not None:
        top = readout.ranges[layer.name].input_top
    codes = np.zeros((top_side + height + bottom_side, left_side + width + right_side, channels + constant), int)
    for i, j, c in np.ndindex(x.shape):
        codes[i + top_side, j + left_side, c] = dac(x[i, j, c], top, low, high)[0]
    if constant:
        codes[:, :, channels] = dac(1, top, low, high)[0]
    return codes + offset, dac(0, top, low, high)[1]


def tiles_of(rows, tile_rows, significance):
    """Rows of the matrix in each tile, the first row of its slice, and the factor of the slice."""
    each = rows // len(significance)
    size = tile_rows or each
    return [
        (range(first + start, first + min(start + size, each)), first, factor)
        for first, factor in zip(range(0, rows, each), significance, strict=True)
        for start in range(0, each, size)
    ]


def product(layer, snapshot_layer, readout, x, *, g_step_us, gain, key, address, significance=(1,)):
    """One image through one crossbar layer.

    Returns what drives the rows, (height, width, channels) with padding and constant; the stages of all tiles and those
    of their conversions, as dictionaries of (tiles or conversions, pixels, columns); output codes as (pixels, columns);
    values in the output's shape.
    """
    is_conv = layer.weight.ndim == 4
    x = x if x.ndim == 3 else x.reshape(1, 1, -1)
    codes, step = drive(layer, readout, x)
    kernel_height, kernel_width = kernel = layer.weight.shape[2:] if is_conv else (1, 1)
    (down, across), (dy, dx) = two(getattr(layer, "stride", 1)), two(getattr(layer, "dilation", 1))
    groups = layer.groups if is_conv else 1
    channels = x.shape[2] // groups
    full = None if readout.ranges is None else readout.ranges[layer.name]
    lines, fresh = lines_of(snapshot_layer, readout), readout.read_noise == "fresh"
    _, rows, columns = snapshot_layer.g_mean_code.shape
    cut = tiles_of(rows, readout.tile_rows, significance)
    tiles, each = len(cut), len(lines) * len(phases(0, readout.dac)[1])
    out_height, out_width = steps_of(layer, kernel, *x.shape[:2])
    shape = out_height * out_width, columns
    stages = {name: np.zeros((tiles, *shape), object) for name in STAGES}
    parts = {name: np.zeros((tiles * each, *shape), object) for name in STAGES}
    values_us = [value_of_a_code(readout, full, step, c, g_step_us, columns) for c in range(columns)]
    for y, z in np.ndindex(out_height, out_width):
        pixel = y * out_width + z
        for column, tile in np.ndindex(columns, tiles):
            group = column // (columns // groups)
            inputs = [
                int(codes[y * down + i * dy, z * across + j * dx, group * channels + c])
                for i in range(kernel_height)
                for j in range(kernel_width)
                for c in range(channels)
            ]
            if layer.bias is not None:
                inputs.append(int(codes[0, 0, x.shape[2]]))
            some, first, factor = cut[tile]
            some = {r: phases(inputs[r - first], readout.dac)[0] for r in some}
            nominal = gain_of(readout, values_us[column], step, column, g_step_us)
            converters = converters_of(readout, layer.name, tile, len(lines), column, nominal)

            def draw(number, variance, tile=tile, output=pixel * columns + column):
                return read_noise(variance, key, tile * each + number, address, output)

            total, found = tile_product(some, lines, factor, column, readout, converters, draw if fresh else None)
            for name in STAGES:
                stages[name][tile, pixel, column] = total[name]
                for number, part in enumerate(found):
                    parts[name][tile * each + number, pixel, column] = part[name]
    output_codes = stages["codes"].sum(axis=0)
    values = np.zeros(shape, f32)
    for pixel, column in np.ndindex(shape):
        factor = gain[column] if len(gain) > 1 else gain[0]
        scale = f32(values_us[column] * float(snapshot_layer.weight_per_us[column]) * float(factor))
        if readout.adc is None:
            scale = step * scale
        values[pixel, column] = f32(int(output_codes[pixel, column])) * scale
    return {
        "codes": codes,
        "step": step,
        "tiles": stages,
        "parts": parts,
        "outputs": output_codes,
        "values": values.reshape((out_height, out_width, columns) if is_conv else (columns,)),
    }


def check_stages(found, expected, number, place=...):
    """The stages of a tile or conversion, or one place of them, are those of `product`."""
    for name in STAGES:
        stage = getattr(found, name)
        wanted = expected[name][number].tolist()
        if stage is None:
            assert set(np.ravel(wanted)) <= {None}
        else:
            assert stage[place].tolist() == wanted


def check_tiles(tiles, n, expected):
    """Image `n` of the stages of all tiles and their conversions has the integers of `product`."""
    assert len(tiles) == len(expected["tiles"]["sums"])
    parts = [part for tile in tiles for part in tile.parts or (tile,)]
    assert len(parts) == len(expected["parts"]["sums"])
    for kind, several in (("tiles", tiles), ("parts", parts)):
        for number, one in enumerate(several):
            check_stages(one, expected[kind], number, n)


# Digital operations


def fold(layer, mean, var):
    scale = [float(g) / math.sqrt(float(v) + layer.eps) for g, v in zip(layer.gamma, var, strict=True)]
    offset = [float(b) - float(m) * s for b, m, s in zip(layer.beta, mean, scale, strict=True)]
    return np.array(scale, f32), np.array(offset, f32)


def statistics(batch):
    """Mean and variance of each channel: over the pixels of an image, then over the images, in order."""
    channels = batch[0].shape[-1]
    total, squares = [0.0] * channels, [0.0] * channels
    for x in batch:
        pixels = x.reshape(-1, channels)
        for c in range(channels):
            image_total = image_squares = 0.0
            for v in pixels[:, c]:
                image_total += float(v)
                image_squares += float(v) * float(v)
            total[c] += image_total
            squares[c] += image_squares
    count = len(batch) * (batch[0].size // channels)
    mean = [t / count for t in total]
    return mean, [max(s / count - m * m, 0.0) for s, m in zip(squares, mean, strict=True)]


def each(rule, x):
    return np.array([rule(v) for v in x.flat], x.dtype).reshape(x.shape)


def pixels(x):
    return x.reshape(-1, x.shape[-1])


def hyperbolic_tangent(x):
    size = abs(float(x))
    e = math.exp(-2.0 * size)
    return math.copysign(size if size < 2.0**-12 else (1.0 - e) / (1.0 + e), x)


def digital_layer(layer, x):
    """A layer kept off the crossbars, in float32: from 0 on, in the order of its rows."""
    maps = x if x.ndim == 3 else x.reshape(1, 1, -1)
    w = layer.weight.reshape(*layer.weight.shape, *[1] * (4 - layer.weight.ndim))
    out, channels, *kernel = w.shape
    groups = getattr(layer, "groups", 1)
    y = np.zeros((*steps_of(layer, kernel, *maps.shape[:2]), out), f32)
    for i, j, o in np.ndindex(y.shape):
        total, first = f32(0), o // (out // groups) * channels
        places = seen(layer, kernel, i, j, *maps.shape[:2])
        for k, (p, q) in enumerate(np.ndindex(*kernel)):
            for c in range(channels):
                value = f32(0) if places[k] is None else maps[places[k]][first + c]
                total = f32(total + f32(w[o, c, p, q] * value))
        if layer.bias is not None:
            total = f32(total + layer.bias[o])
        y[i, j, o] = total
    return y if layer.weight.ndim == 4 else y.reshape(-1)


def digital_node(layer, *inputs):
    x = inputs[0]
    if layer.op == "relu":
        return np.array([v if v > 0 else 0 for v in x.flat], x.dtype).reshape(x.shape)
    if layer.op == "add":
        return np.array([a + b for a, b in zip(x.flat, inputs[1].flat, strict=True)], x.dtype).reshape(x.shape)
    if layer.op == "pad_shortcut":
        height, width, channels = x.shape
        rows, columns = range(0, height, layer.stride), range(0, width, layer.stride)
        y = np.zeros((len(rows), len(columns), layer.before + channels + layer.after), x.dtype)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                for c in range(channels):
                    y[i, j, layer.before + c] = x[row, column, c]
        return y
    if layer.op in ("max_pool", "average_pool"):
        height, width, channels = x.shape
        kernel = two(layer.kernel)
        y = np.zeros((*steps_of(layer, kernel, height, width), channels), x.dtype)
        for i, j, c in np.ndindex(y.shape):
            window = seen(layer, kernel, i, j, height, width)
            values = [x[place][c] for place in window if place is not None]
            if layer.op == "max_pool":
                y[i, j, c] = max(values)
                continue
            total = 0.0
            for value in values:
                total += float(value)
            y[i, j, c] = total / (len(window) if layer.count_padding else len(values))
        return y
    if layer.op == "leaky_relu":
        return each(lambda v: v if v > 0 else x.dtype.type(layer.slope) * v, x)
    if layer.op == "clip":
        low, high = x.dtype.type(layer.low), x.dtype.type(layer.high)
        return each(lambda v: low if v < low else high if v > high else v, x)
    if layer.op == "hard_sigmoid":
        slope, offset = x.dtype.type(layer.slope), x.dtype.type(layer.offset)
        return each(lambda v: min(max(v * slope + offset, x.dtype.type(0)), x.dtype.type(1)), x)
    if layer.op == "sigmoid":
        return each(lambda v: 1.0 / (1.0 + math.exp(min(-float(v), 700.0))), x)
    if layer.op == "tanh":
        return each(hyperbolic_tangent, x)
    if layer.op == "affine":
        return x * layer.scale.astype(x.dtype) + layer.shift.astype(x.dtype)
    if layer.op == "local_response_norm":
        y = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            *pixel, c = place
            total = 0.0
            for other in range(c - (layer.size - 1) // 2, c + layer.size // 2 + 1):
                if 0 <= other < x.shape[-1]:
                    total += float(x[(*pixel, other)]) ** 2
            y[place] = float(x[place]) / (layer.bias + layer.alpha / layer.size * total) ** layer.beta
        return y
    if layer.op == "multiply":
        y = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            y[place] = x[place] * inputs[1][place if inputs[1].ndim == x.ndim else place[-1]]
        return y
    if layer.op == "concat":
        y = [[v for x in line for v in x] for line in zip(*(pixels(x) for x in inputs), strict=True)]
        return np.array(y, x.dtype).reshape(*x.shape[:-1], -1)
    if layer.op == "channel_shuffle":
        y, size = np.zeros_like(x), x.shape[-1] // layer.groups
        for c in range(x.shape[-1]):
            y[..., c // size + c % size * layer.groups] = x[..., c]
        return y
    if layer.op == "take_channels":
        return np.stack([x[..., layer.first + c] for c in range(layer.count)], axis=-1)
    if layer.op == "flatten":
        height, width, channels = x.shape
        return np.array([x[i, j, c] for c in range(channels) for i in range(height) for j in range(width)], x.dtype)
    if layer.op == "global_average_pool":
        height, width, channels = x.shape
        y = np.zeros(channels, x.dtype)
        for c in range(channels):
            total = 0.0
            for v in x.reshape(-1, channels)[:, c]:
                total += float(v)
            y[c] = total / (height * width)
        return y
    raise AssertionError(layer.op)


def normalise(network, image, dtype=f32):
    rules = network.normalisation
    y = np.zeros(image.shape, dtype)
    for i, j, c in np.ndindex(image.shape):
        y[i, j, c] = (int(image[i, j, c]) / rules.full_scale - rules.mean[c]) / rules.std[c]
    return y


# Networks


def forward(snapshot, images, readout, *, gains=None, replaced=None, addresses=None, purpose=4, own_statistics=False):
    """Run images through a chip; return node -> one entry an image: an array, or a crossbar's product.

    `gains` and `replaced` statistics are those of drift compensation.  With `own_statistics`, every batch
    normalisation works with the statistics of these images, which come back under (name, "statistics").
    """
    network = snapshot.network
    addresses = range(len(images)) if addresses is None else addresses
    values = {"input": [normalise(network, image) for image in images]}
    nodes = {}
    number = 0
    for layer in network.layers:
        inputs = [values[name] for name in layer.inputs]
        if layer.op in ("conv", "linear") and layer.digital:
            nodes[layer.name] = values[layer.name] = [digital_layer(layer, x) for x in inputs[0]]
            number += 1
            continue
        if layer.op in ("conv", "linear"):
            read_layer = next(one for one in snapshot.layers if one.name == layer.name)
            key = stream(snapshot.seed, purpose, number, snapshot.t_s, snapshot.read)
            gain = (gains or {}).get(layer.name, [1.0])
            numbers = {"g_step_us": snapshot.model.g_step_us, "gain": gain, "key": key}
            numbers["significance"] = snapshot.significance
            nodes[layer.name] = [
                product(layer, read_layer, readout, x, address=int(a), **numbers)
                for x, a in zip(inputs[0], addresses, strict=True)
            ]
            values[layer.name] = [node["values"] for node in nodes[layer.name]]
            number += 1
            continue
        if layer.op == "batch_norm":
            mean, var = layer.mean, layer.var
            if own_statistics:
                mean, var = nodes[layer.name, "statistics"] = statistics(inputs[0])
            elif layer.name in (replaced or {}):
                mean, var = replaced[layer.name]
            scale, offset = fold(layer, mean, var)
            values[layer.name] = [x * scale + offset for x in inputs[0]]
        else:
            values[layer.name] = [digital_node(layer, *each) for each in zip(*inputs, strict=True)]
        nodes[layer.name] = values[layer.name]
    return nodes


def digital(network, images):
    """The network itself in float64; node -> one array an image."""
    values = {"input": [normalise(network, image, np.float64) for image in images]}
    for layer in network.layers:
        inputs = [values[name] for name in layer.inputs]
        if layer.op in ("conv", "linear"):
            values[layer.name] = [convolution(layer, x) for x in inputs[0]]
        elif layer.op == "batch_norm":
            sigma = [math.sqrt(float(v) + layer.eps) for v in layer.var]
            factor, offset = (np.array(t, np.float64) for t in (layer.gamma, layer.beta))
            values[layer.name] = [(x - np.array(layer.mean, float)) / sigma * factor + offset for x in inputs[0]]
        else:
            values[layer.name] = [digital_node(layer, *each) for each in zip(*inputs, strict=True)]
    return values


def convolution(layer, x):
    """Seven loops, or three, over float64 numbers."""
    w = layer.weight.reshape(*layer.weight.shape, *[1] * (4 - layer.weight.ndim))
    x = x if x.ndim == 3 else x.reshape(1, 1, -1)
    out, channels, *kernel = w.shape
    groups = getattr(layer, "groups", 1)
    y = np.zeros((*steps_of(layer, kernel, *x.shape[:2]), out))
    for p, q, o in np.ndindex(y.shape):
        total = 0.0 if layer.bias is None else float(layer.bias[o])
        places = seen(layer, kernel, p, q, *x.shape[:2])
        for k, (i, j) in enumerate(np.ndindex(*kernel)):
            if places[k] is not None:
                for c in range(channels):
                    total += float(w[o, c, i, j]) * x[places[k]][o // (out // groups) * channels + c]
        y[p, q, o] = total
    return y if layer.weight.ndim == 4 else y.reshape(out)
