"""An obvious, slow second implementation: loops over Python numbers, written from the docstrings.

It shares no code with pcmref, only the values that it is given: a network, a parameter set, a snapshot's codes.
Integers are Python's, float32 is rounded once an operation by NumPy's scalars, ln, exp and the normal quantile
are the standard library's.
"""

from __future__ import annotations

import math
import struct
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


def targets_us(layer, g_max_us, scale="layer"):
    """G+ - G- by row and column, and the weight of 1 uS by column."""
    rows = matrix(layer)
    columns = range(len(rows[0]))
    tops = [max(abs(row[c]) for row in rows) for c in columns]
    if scale == "layer":
        tops = [max(tops)] * len(tops)
    tops = [top or 1.0 for top in tops]
    return [[row[c] * g_max_us / tops[c] for c in columns] for row in rows], [top / g_max_us for top in tops]


def law(function, g):
    return float(function(np.array([g]))[0])


def program(layer, model, seed, address, scale="layer"):
    """Devices of a layer: (polarity, row, column) -> (g_prog_us, nu, q_s); RESET devices are missing."""
    devices = {}
    rows, _ = targets_us(layer, model.g_max_us, scale)
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
    """Codes of a layer at a time: mean and read by polarity, row and column, variance by row and column."""
    step, t = model.g_step_us, t_s + model.t_offset_s
    stream_key = stream(seed, 3, address, t_s, number)
    mean, noisy, variance = (
        np.zeros((2, rows, columns), int),
        np.zeros((2, rows, columns), int),
        np.zeros((rows, columns), int),
    )
    for r in range(rows):
        for c in range(columns):
            words = philox([r * columns + c, 0, 0, 0], stream_key)
            squares = 0.0
            for polarity in (0, 1):
                if (polarity, r, c) not in devices:
                    continue
                g_us, nu, q_s = devices[polarity, r, c]
                drifted = g_us * (t / model.t_c_s) ** -nu
                spread = drifted * q_s * math.sqrt(math.log((t + model.t_read_s) / (2 * model.t_read_s)))
                seen = max(drifted + spread * normal(words[polarity]), 0.0)
                squares += spread**2
                mean[polarity, r, c] = min(round(drifted / step), 32767)
                noisy[polarity, r, c] = min(round(seen / step), 32767)
            variance[r, c] = min(round(squares / (64 * step**2)), 32767)
    return mean, noisy, variance


# Product


def clip(value, limit):
    return max(-limit, min(limit, value))


def dac(x, top, bits):
    """Code of activation x and the activation of one code, for float32 x and full scale."""
    limit = 2 ** (bits - 1) - 1
    if top < 2.0**-100:
        return 0, f32(0)
    gain, step = f32(limit) / f32(top), f32(top) / f32(limit)
    return clip(round(float(f32(x) * gain)), limit), step


def adc(total, gain, bits):
    return clip(round(total * gain), 2 ** (bits - 1) - 1)


def read_noise(variance, key, tile, address, output):
    """Noise of one product: word ``output % 4`` of its block."""
    word = philox([output // 4, tile, address % 2**32, address // 2**32], key)[output % 4]
    return round(normal(word) * math.sqrt(64 * variance))


def product(layer, snapshot_layer, readout, x, *, g_step_us, gain, key, address):
    """One image through one crossbar layer.

    Returns codes (height, width, channels) with padding and constant; noise-free sums, their variances, sums and
    codes as (tiles, pixels, columns), output codes as (pixels, columns), values in the output's shape.
    """
    height, width, channels = x.shape if x.ndim == 3 else (1, 1, *x.shape)
    x = x.reshape(height, width, channels)
    is_conv = layer.weight.ndim == 4
    kernel_height, kernel_width = layer.weight.shape[2:] if is_conv else (1, 1)
    stride, padding = (layer.stride, layer.padding) if is_conv else (1, 0)
    constant = layer.bias is not None

    full = None if readout.ranges is None else readout.ranges[layer.name]
    top = max([abs(float(v)) for v in x.flat] + [1.0] * constant) if full is None else full.input_top
    bits = readout.dac_bits
    _, step = dac(0, top, bits)

    codes = np.zeros((height + 2 * padding, width + 2 * padding, channels + constant), int)
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                codes[i + padding, j + padding, c] = dac(x[i, j, c], top, bits)[0]
    if constant:
        codes[:, :, channels] = dac(1, top, bits)[0]

    fresh = readout.read_noise == "fresh"
    conductance = snapshot_layer.mean_code if fresh else snapshot_layer.read_code
    rows, columns = conductance.shape
    tile_rows = readout.tile_rows or rows
    tiles = -(-rows // tile_rows)
    out_height = (height + 2 * padding - kernel_height) // stride + 1
    out_width = (width + 2 * padding - kernel_width) // stride + 1
    noise_free, variances, sums = np.zeros((3, tiles, out_height * out_width, columns), int)
    for y in range(out_height):
        for z in range(out_width):
            inputs = [
                int(codes[y * stride + i, z * stride + j, c])
                for i in range(kernel_height)
                for j in range(kernel_width)
                for c in range(channels)
            ]
            if constant:
                inputs.append(int(codes[y * stride, z * stride, channels]))
            pixel = y * out_width + z
            for column in range(columns):
                for tile in range(tiles):
                    some = range(tile * tile_rows, min((tile + 1) * tile_rows, rows))
                    total = sum(inputs[r] * int(conductance[r, column]) for r in some)
                    if fresh:
                        variance = sum(inputs[r] ** 2 * int(snapshot_layer.variance_code[r, column]) for r in some)
                        variances[tile, pixel, column] = variance
                        noise_free[tile, pixel, column] = total
                        total += read_noise(variance, key, tile, address, pixel * columns + column)
                    sums[tile, pixel, column] = total

    value_us, outputs = g_step_us, sums
    if readout.adc_bits is not None:
        value_us = full.sum_top_us / (2 ** (readout.adc_bits - 1) - 1)
        adc_gain = float(step) * g_step_us / value_us
        outputs = np.array([[[adc(int(s), adc_gain, readout.adc_bits) for s in p] for p in tile] for tile in sums])
    output_codes = outputs.sum(axis=0)
    values = np.zeros(output_codes.shape, f32)
    for column in range(columns):
        factor = gain[column] if len(gain) > 1 else gain[0]
        scale = f32(value_us * float(snapshot_layer.weight_per_us[column]) * float(factor))
        if readout.adc_bits is None:
            scale = step * scale
        for pixel in range(len(values)):
            values[pixel, column] = f32(int(output_codes[pixel, column])) * scale
    shape = (out_height, out_width, columns) if is_conv else (columns,)
    return {
        "codes": codes,
        "step": step,
        "noise_free": noise_free if fresh else sums,
        "variances": variances if fresh else None,
        "sums": sums,
        "tile_codes": outputs,
        "outputs": output_codes,
        "values": values.reshape(shape),
    }


def check_tiles(tiles, n, expected):
    """Image `n` of the stages of all tiles has the integers of `product`."""
    assert len(tiles) == len(expected["sums"])
    for number, tile in enumerate(tiles):
        assert tile.noise_free[n].tolist() == expected["noise_free"][number].tolist()
        assert tile.sums[n].tolist() == expected["sums"][number].tolist()
        assert tile.codes[n].tolist() == expected["tile_codes"][number].tolist()
        if tile.variance is not None or expected["variances"] is not None:
            assert tile.variance[n].tolist() == expected["variances"][number].tolist()


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
    if layer.op == "max_pool":
        height, width, channels = x.shape
        steps = [(size + 2 * layer.padding - layer.kernel) // layer.stride + 1 for size in (height, width)]
        y = np.zeros((*steps, channels), x.dtype)
        for i, j, c in np.ndindex(y.shape):
            top, left = i * layer.stride - layer.padding, j * layer.stride - layer.padding
            y[i, j, c] = max(
                x[p, q, c]
                for p in range(max(top, 0), min(top + layer.kernel, height))
                for q in range(max(left, 0), min(left + layer.kernel, width))
            )
        return y
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
        if layer.op in ("conv", "linear"):
            read_layer = snapshot.layers[number]
            key = stream(snapshot.seed, purpose, number, snapshot.t_s, snapshot.read)
            gain = (gains or {}).get(layer.name, [1.0])
            numbers = {"g_step_us": snapshot.model.g_step_us, "gain": gain, "key": key}
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
    stride, padding = (layer.stride, layer.padding) if layer.weight.ndim == 4 else (1, 0)
    height, width, channels = x.shape if x.ndim == 3 else (1, 1, *x.shape)
    x = x.reshape(height, width, channels)
    out, _, kernel_height, kernel_width = w.shape
    steps = [(size + 2 * padding - k) // stride + 1 for size, k in ((height, kernel_height), (width, kernel_width))]
    y = np.zeros((*steps, out))
    for p, q, o in np.ndindex(y.shape):
        total = 0.0 if layer.bias is None else float(layer.bias[o])
        for i, j, c in np.ndindex(kernel_height, kernel_width, channels):
            row, column = p * stride + i - padding, q * stride + j - padding
            if 0 <= row < height and 0 <= column < width:
                total += float(w[o, c, i, j]) * x[row, column, c]
        y[p, q, o] = total
    return y if layer.weight.ndim == 4 else y.reshape(out)
