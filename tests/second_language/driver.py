"""Builds second.c, runs it, and draws networks and options for it; nothing here knows pcmref."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tests.second_language.flatten import DEFAULTS, FLOATS, network_digest, read

SOURCE = Path(__file__).with_name("second.c")
FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
PRESETS = ("paper", "chip8", "rtl8")
MODELS = ("NANDAKUMAR_2019", "AIHWKIT", "JOSHI_2020", "HERMES_1", "HERMES_2")
COMPENSATIONS = ("none", "gdc", "adabs", "gdc+adabs")
CODES = ("symmetric", "signed", "offset", "unsigned")
ROUNDINGS = ("half-even", "half-away", "half-up", "floor", "toward-zero")
VECTORS = (  # the operations from vectors to vectors; `gate` is one of several nodes
    *("linear", "batch_norm", "affine", "relu", "sigmoid", "tanh", "leaky_relu", "clip", "hard_sigmoid"),
    *("local_response_norm", "add", "multiply", "concat", "channel_shuffle", "take_channels"),
)
MAPS = ("conv", *VECTORS[1:], "gate", "pad_shortcut", "max_pool", "average_pool")  # those from maps to maps


def build(compiler: str, program: Path, *flags: str) -> Path:
    """Compile second.c; any warning is an error."""
    subprocess.run([compiler, *FLAGS, *flags, str(SOURCE), "-o", str(program), "-lm"], check=True)
    return program


@dataclass(frozen=True)
class Answer:
    """What second.c gave: bytes of the codes of all layers, of the corrections, and logits as little-endian float32."""

    logits: bytes
    codes: bytes
    corrections: bytes
    said: str


class RefusedError(Exception):
    """second.c ended with status 1 and this message."""


def run(program: Path, flat: Path, folder: Path, **options: object) -> Answer:
    """Run second.c; options are those of its command line, with underscores for hyphens."""
    command = [str(program), str(flat)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    files = {name: folder / f"{name}.bin" for name in ("out", "codes", "corrections")}
    for name, path in files.items():
        command += [f"--{name}", str(path)]
    done = subprocess.run([*command, "--time-it", "yes"], capture_output=True, text=True, check=False)
    if done.returncode == 1 and done.stderr.startswith("second: "):
        raise RefusedError(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"status {done.returncode}: {done.stderr}")
    return Answer(*(files[name].read_bytes() for name in ("out", "codes", "corrections")), done.stdout)


def functions(program: Path, numbers: np.ndarray, folder: Path) -> np.ndarray:
    """Return ln, exp and quantile of numbers as second.c computes them, shape (numbers, 3)."""
    source, results = folder / "numbers.bin", folder / "results.bin"
    source.write_bytes(numbers.astype("<f8").tobytes())
    subprocess.run([str(program), "functions", str(source), str(results)], check=True)
    return np.fromfile(results, "<f8").reshape(-1, 3)


def random_chip(rng: np.random.Generator) -> dict[str, object]:
    """Draw what a chip, a time and a compensation are asked for, and a preset."""
    options = {
        "preset": _one(rng, *PRESETS),
        "model": _one(rng, *MODELS),
        "seed": int(rng.integers(0, 2**64, dtype=np.uint64)),
        "time": _one(rng, 1e-3, 0.1, 1.0, 25.0, 3600.0, 86400.0, 1e12),
        "read": _one(rng, 0, 1, 2**32 - 1),
        "share": _one(rng, 0.0, 0.01, 0.5, 1.0),
        "scale": _one(rng, "layer", "column"),
        "compensation": _one(rng, *COMPENSATIONS),
        "gdc_readout": _one(rng, "absolute", "ones", "column"),
        "significance": _one(rng, "1", "1", "3", "1,1", "16,4,1"),
        "first_image": _one(rng, 0, 7, 2**32 - 1, 2**63),
        "range_images": int(rng.integers(1, 30)),
    }
    return options


def random_converters(rng: np.random.Generator, preset: str) -> dict[str, object]:
    """Draw what changes in the converters of a preset. Some of it is refused, as it should be."""
    codes = _one(rng, *CODES)
    balanced = codes in ("symmetric", "signed")
    options = {
        "dac_codes": codes,
        "dac_bits": int(rng.integers(2, 17 if codes == "symmetric" else 16)),
        "drive": _one(rng, "parallel", "bit-serial", *(["two-phase"] if balanced else [])),
        "lines": _one(rng, "pair", "separate"),
        "read_noise": _one(rng, "frozen", "fresh"),
        "tile_rows": _one(rng, 0, *range(1, 20)),
        "tile_columns": _one(rng, 0, 0, 1, 2, 3),
    }
    if rng.random() < 0.4:
        options |= {
            "register_bits": int(rng.integers(10, 30)),
            "beyond": _one(rng, "error", "saturate", "saturate", "wrap"),
        }
    if preset != "paper":
        options["rounding"] = _one(rng, *ROUNDINGS)
        options["adc_offset"] = _one(rng, 0, int(rng.integers(-(10**6), 10**6)))
        options["adc_low"], options["adc_high"] = _one(rng, -127, 0, -1, -5000), _one(rng, 127, 127, 1, 5000)
        options["gain_of"] = _one(rng, "range", "range-fixed", "own", "own-fixed")
        options["gain_bits"] = _one(rng, 2, 4, 8, 16, 24, 31)
        options["gain"] = float(np.exp(rng.uniform(-15, -2)))
        options["mult"], options["shift"] = _one(rng, 1, 3, 40001, 2**31 - 1), int(rng.integers(5, 40))
    return options


def _one(rng: np.random.Generator, *choices: object) -> object:
    return choices[rng.integers(len(choices))]


def write_random_network(path: Path, rng: np.random.Generator) -> None:
    """Write a small network that has every operation at least once, with images, by appendix A.2.

    Its logits are those of its end and the numbers of some nodes on the way there, which later ones may hide.
    """
    shape = tuple(int(n) for n in rng.integers((1, 1, 1), (8, 8, 4)))
    graph, seen = _Graph(rng, shape), []
    for op in [*rng.permutation(MAPS), *rng.choice(MAPS, rng.integers(0, 4))]:
        graph.append(str(op))
        if rng.random() < 0.2:
            seen.append((graph.newest, graph.shape))
    graph.to_vector()
    for op in rng.permutation(["linear", *rng.choice(VECTORS, rng.integers(0, 5))]):
        graph.append(str(op))
    logits = [(graph.newest, graph.shape)]
    for graph.newest, graph.shape in seen:
        graph.append("flatten")
        logits.append((graph.newest, graph.shape))
    if seen:
        graph.join(*logits)
    _write_with_images(path, graph, shape, calibration=_one(rng, 200, 201, 450))


def write_wide_network(path: Path, rng: np.random.Generator) -> None:
    """Write a network whose logits are what each operation makes of numbers of many sizes, zeros of both signs, too."""
    shape = tuple(int(n) for n in rng.integers((1, 1, 2), (8, 8, 9)))
    graph = _Graph(rng, shape)
    vectors = []
    for op in (*MAPS, "linear", "global_average_pool"):
        graph.newest, graph.shape = "input", shape
        graph.append("affine")
        if op == "linear" or (op in VECTORS and rng.random() < 0.5):
            graph.append("flatten")
        graph.append(op, **({"digital": True} if op in ("conv", "linear") else {}))
        if len(graph.shape) == 3:
            graph.append("flatten")
        vectors.append((graph.newest, graph.shape))
    graph.newest, graph.shape = vectors[0]
    graph.append("linear", digital=False)
    graph.join(*vectors)
    _write_with_images(path, graph, shape, calibration=5)


def _write_with_images(path: Path, graph: _Graph, shape: tuple[int, ...], *, calibration: int) -> None:
    rng, channels = graph.rng, shape[-1]
    document = {"input": list(shape), "nodes": graph.nodes}
    normalisation = (rng.choice([1.0, 255.0, 100.3]), rng.normal(0.4, 0.3, channels), rng.uniform(0.1, 0.6, channels))
    write_network(path, document, graph.tensors, normalisation, classes=graph.shape[-1])
    with h5py.File(path, "a") as file:
        for group, count in (("evaluation", 3), ("calibration", calibration)):
            file[f"{group}/images"] = rng.integers(0, 256, (count, *shape), np.uint8)
            file[f"{group}/labels"] = np.zeros(count, np.int64)
    if rng.random() < 0.5:
        _add_ranges(path, rng)


def _add_ranges(path: Path, rng: np.random.Generator) -> None:
    """Add ranges of presets, stored for this network or for another one."""
    with h5py.File(path, "a") as file:
        graph, *rest = read(file)
        layers = [n["name"] for n in graph["nodes"] if n["op"] in ("conv", "linear") and not n.get("digital")]
        digest = network_digest(graph, *rest) if rng.random() < 0.8 else "0" * 64
        ranges = {p: {layer: list(10 ** rng.uniform((-1, 1), (2, 4))) for layer in layers} for p in PRESETS[1:]}
        file["ranges"] = np.bytes_(json.dumps(ranges))
        file["ranges_of"] = np.bytes_(json.dumps(dict.fromkeys(ranges, digest)))


def write_network(path: Path, graph: dict, tensors: dict, normalisation: tuple, *, classes: int) -> None:
    """Write a network file without images, by appendix A.2; tensors by NODE/TENSOR."""
    with h5py.File(path, "w") as file:
        file.attrs["format"] = np.bytes_("pcmref-network")
        file.attrs["version"] = 1
        file["graph"] = np.bytes_(json.dumps(graph))
        file["classes"] = np.bytes_(json.dumps([f"class {i}" for i in range(classes)]))
        file["provenance"] = np.bytes_("{}")
        for name, numbers in zip(("full_scale", "mean", "std"), normalisation, strict=True):
            file[f"normalisation/{name}"] = np.asarray(numbers, np.float64)
        for name, tensor in tensors.items():
            file[f"tensors/{name}"] = np.asarray(tensor, np.float32)


class _Graph:
    """A network that grows node by node from its newest node."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        self.rng, self.shape, self.newest = rng, shape, "input"
        self.nodes: list[dict] = []
        self.tensors: dict[str, np.ndarray] = {}

    def append(self, op: str, **settings: bool) -> None:
        getattr(self, f"_{op}")(**settings)

    def to_vector(self) -> None:
        """Append `flatten`, half of the time beside a `global_average_pool`."""
        vectors, before = [], (self.newest, self.shape)
        for op in ("flatten", "global_average_pool")[: self._integer(1, 2)]:
            self.newest, self.shape = before
            self.append(op)
            vectors.append((self.newest, self.shape))
        if len(vectors) > 1:
            self.join(*vectors)

    def join(self, *parts: tuple[str, tuple[int, ...]]) -> None:
        """Append a `concat` of these nodes of these shapes, in any order."""
        parts = [parts[i] for i in self.rng.permutation(len(parts))]
        (self.newest, shape), channels = parts[0], sum(shape[-1] for _, shape in parts)
        self._node("concat", (*shape[:-1], channels), *(name for name, _ in parts[1:]))

    def _node(self, op: str, shape: tuple[int, ...], *more: str, **numbers: float | list[int]) -> str:
        name = f"{op}{len(self.nodes)}"
        written = {key: self._written(key, value) for key, value in numbers.items()}
        defaults = DEFAULTS.get(op, {})
        left_out = {key for key, default in defaults.items() if written[key] == default and self._toss()}
        node = {"name": name, "op": op, "inputs": [self.newest, *more]}
        self.nodes.append(node | {key: value for key, value in written.items() if key not in left_out})
        self.newest, self.shape = name, shape
        return name

    def _written(self, key: str, value: float | list[int]) -> float | list[int]:
        """One of the ways to write a number: equal ones as one, a float without a fraction as an integer."""
        if isinstance(value, list) and len(set(value)) == 1 and self._toss():
            return value[0]
        return int(value) if key in FLOATS and value == int(value) and self._toss() else value

    def _toss(self) -> bool:
        return bool(self.rng.random() < 0.5)

    def _integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def _integers(self, count: int, low: int, high: int) -> list[int]:
        """Half of the time equal ones."""
        return [self._integer(low, high)] * count if self._toss() else [self._integer(low, high) for _ in range(count)]

    def _divisor(self, number: int) -> int:
        return int(self.rng.choice([i for i in range(1, number + 1) if number % i == 0]))

    def _weights(self, name: str, shape: tuple[int, ...]) -> None:
        weight = self.rng.normal(0, 1, shape) * self.rng.choice([0.01, 1, 30])
        weight[self.rng.random(shape) < self.rng.choice([0, 0.3, 0.9])] = 0
        if self.rng.random() < 0.2:
            weight[0] = 0  # a column without devices
        self.tensors[f"{name}/weight"] = weight
        if self._toss():
            self.tensors[f"{name}/bias"] = self.rng.normal(0, 1, shape[0]) * self.rng.choice([0, 0.1, 3])

    def _conv(self, *, digital: bool | None = None) -> None:
        digital = self.rng.random() < 0.25 if digital is None else digital
        channels = self.shape[2]
        rows = columns = 0
        while rows < 1 or columns < 1:
            kernel, stride, dilation = self._integers(2, 1, 4), self._integers(2, 1, 2), self._integers(2, 1, 3)
            padding = self._integers(4, 0, 2)
            rows, columns = self._windows(kernel, stride, padding, dilation, ceil=False)
        groups = self._divisor(channels)
        out = groups * self._integer(1, max(1, 6 // groups))
        numbers = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "digital": digital}
        self._weights(self._node("conv", (rows, columns, out), **numbers), (out, channels // groups, *kernel))

    def _windows(self, kernel: list, stride: list, padding: list, dilation: list, *, ceil: bool) -> list[int]:
        """How many windows there are along each axis; below 1 if not one."""
        counts = []
        for axis in (0, 1):
            size, before = self.shape[axis], padding[axis]
            room = size + before + padding[axis + 2] - dilation[axis] * (kernel[axis] - 1) - 1
            count = room // stride[axis] + 1
            if ceil and room >= 0 and room % stride[axis] and count * stride[axis] < before + size:
                count += 1
            counts.append(count)
        return counts

    def _pool(self, op: str) -> None:
        while True:
            kernel, stride, dilation = self._integers(2, 1, 3), self._integers(2, 1, 3), self._integers(2, 1, 2)
            padding, ceil = self._integers(4, 0, 2), self._toss()
            dilation = dilation if op == "max_pool" else [1, 1]
            rows, columns = self._windows(kernel, stride, padding, dilation, ceil=ceil)
            if min(rows, columns) < 1:
                continue
            windows = zip((rows, columns), self.shape[:2], kernel, stride, padding[:2], dilation, strict=True)
            if all(
                any(0 <= step * window + spread * i - before < size for i in range(positions))
                for count, size, positions, step, before, spread in windows
                for window in range(count)
            ):
                break
        numbers = {"dilation": dilation} if op == "max_pool" else {"count_padding": self._toss()}
        shape = (rows, columns, self.shape[2])
        self._node(op, shape, kernel=kernel, stride=stride, padding=padding, ceil=ceil, **numbers)

    def _max_pool(self) -> None:
        self._pool("max_pool")

    def _average_pool(self) -> None:
        self._pool("average_pool")

    def _linear(self, *, digital: bool | None = None) -> None:
        digital = self.rng.random() < 0.25 if digital is None else digital
        out, channels = self._integer(1, 5), self.shape[0]
        self._weights(self._node("linear", (out,), digital=digital), (out, channels))

    def _batch_norm(self) -> None:
        name = self._node("batch_norm", self.shape, eps=float(self.rng.choice([1e-5, 1e-3, 0.5])))
        for tensor in ("gamma", "beta", "mean"):
            self.tensors[f"{name}/{tensor}"] = self.rng.normal(0, 1, self.shape[-1])
        self.tensors[f"{name}/var"] = np.abs(self.rng.normal(0, 1, self.shape[-1])) * self.rng.choice([0, 1])

    def _affine(self) -> None:
        name, channels = self._node("affine", self.shape), self.shape[-1]
        self.tensors[f"{name}/scale"] = self.rng.normal(0, 1, channels) * self.rng.choice(
            [0, 1e-40, 1e-4, 1, 1, 9], channels
        )
        self.tensors[f"{name}/shift"] = self.rng.normal(0, 1, channels) * self.rng.choice([-0.0, 0, 0, 1], channels)

    def _relu(self) -> None:
        self._node("relu", self.shape)

    def _sigmoid(self) -> None:
        self._node("sigmoid", self.shape)

    def _tanh(self) -> None:
        self._node("tanh", self.shape)

    def _leaky_relu(self) -> None:
        self._node("leaky_relu", self.shape, slope=float(self.rng.choice([0.01, 0.3, 1, 0, -0.7])))

    def _clip(self) -> None:
        low, high = (float(self.rng.choice(numbers)) for numbers in ([0, 0, -1, -0.1, 0.3], [6, 1e3, 0.7, 0, -1]))
        self._node("clip", self.shape, low=low, high=max(low, high))

    def _hard_sigmoid(self) -> None:
        slope, offset = (float(self.rng.choice(numbers)) for numbers in ([1 / 6, 0.2, 1, -0.01], [0.5, -0.0, 1 / 3]))
        self._node("hard_sigmoid", self.shape, slope=slope, offset=offset)

    def _local_response_norm(self) -> None:
        alpha, beta, bias = (
            float(self.rng.choice(numbers))
            for numbers in ([1e-4, 0.3, 2, 0], [0.75, 0.75, 1, 2, 0, -0.3], [1, 2, 1e-3])
        )
        self._node("local_response_norm", self.shape, size=self._integer(1, 6), alpha=alpha, beta=beta, bias=bias)

    def _branch(self) -> tuple[str, tuple[int, ...]]:
        """Append an operation that keeps every shape; what was newest before it, or, now and then, what is after it."""
        before = self.newest, self.shape
        self.append(str(self.rng.choice(["relu", "sigmoid", "tanh", "hard_sigmoid", "leaky_relu", "channel_shuffle"])))
        return before if self.rng.random() < 0.9 else (self.newest, self.shape)

    def _add(self) -> None:
        before, _ = self._branch()
        self._node("add", self.shape, before)

    def _multiply(self) -> None:
        before, _ = self._branch()
        self._node("multiply", self.shape, before)

    def _gate(self) -> None:
        """The product of a map and a vector made from it."""
        before = self.newest, self.shape
        self.append("global_average_pool")
        self.append(str(self.rng.choice(["sigmoid", "tanh", "hard_sigmoid", "affine"])))
        vector, (self.newest, self.shape) = self.newest, before
        self._node("multiply", self.shape, vector)

    def _concat(self) -> None:
        parts = [self._branch(), (self.newest, self.shape)]
        if self.rng.random() < 0.3:
            parts.append(parts[self._integer(0, 1)])
        self.join(*parts)

    def _channel_shuffle(self) -> None:
        self._node("channel_shuffle", self.shape, groups=self._divisor(self.shape[-1]))

    def _take_channels(self) -> None:
        *pixels, channels = self.shape
        count = self._integer(1, channels)
        self._node("take_channels", (*pixels, count), first=self._integer(0, channels - count), count=count)

    def _pad_shortcut(self) -> None:
        stride, before, after = self._integer(1, 3), self._integer(0, 2), self._integer(0, 2)
        height, width, channels = self.shape
        shape = (-(-height // stride), -(-width // stride), before + channels + after)
        self._node("pad_shortcut", shape, stride=stride, before=before, after=after)

    def _flatten(self) -> None:
        self._node("flatten", (int(np.prod(self.shape)),))

    def _global_average_pool(self) -> None:
        self._node("global_average_pool", self.shape[2:])
