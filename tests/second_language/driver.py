"""Builds second.c, runs it, and draws networks and options for it; nothing here knows pcmref."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

SOURCE = Path(__file__).with_name("second.c")
FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
PRESETS = ("paper", "chip8", "rtl8")
MODELS = ("NANDAKUMAR_2019", "AIHWKIT", "JOSHI_2020", "HERMES_1", "HERMES_2")
COMPENSATIONS = ("none", "gdc", "adabs", "gdc+adabs")
CODES = ("symmetric", "signed", "offset", "unsigned")
ROUNDINGS = ("half-even", "half-away", "half-up", "floor", "toward-zero")
MAPS = ("conv", "batch_norm", "relu", "add", "pad_shortcut", "max_pool")  # the operations from maps to maps


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
    """Write a small network that has every operation at least once, with images, by appendix A.2."""
    height, width, channels = (int(n) for n in rng.integers((1, 1, 1), (8, 8, 4)))
    graph = _Graph(rng, (height, width, channels))
    for op in [*rng.permutation(MAPS), *rng.choice(MAPS, rng.integers(0, 4))]:
        graph.append(str(op))
    graph.append("global_average_pool")
    for op in rng.choice(("batch_norm", "relu", "linear", "add"), rng.integers(0, 4)):
        graph.append(str(op))
    document = {"input": [height, width, channels], "nodes": graph.nodes}
    normalisation = (rng.choice([1.0, 255.0, 100.3]), rng.normal(0.4, 0.3, channels), rng.uniform(0.1, 0.6, channels))
    write_network(path, document, graph.tensors, normalisation, classes=graph.shape[-1])
    with h5py.File(path, "a") as file:
        for group, count in (("evaluation", 3), ("calibration", _one(rng, 200, 201, 450))):
            file[f"{group}/images"] = rng.integers(0, 256, (count, height, width, channels), np.uint8)
            file[f"{group}/labels"] = np.zeros(count, np.int64)


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

    def append(self, op: str) -> None:
        getattr(self, f"_{op}")()

    def _node(self, op: str, shape: tuple[int, ...], *more: str, **numbers: float) -> str:
        name = f"{op}{len(self.nodes)}"
        self.nodes.append({"name": name, "op": op, "inputs": [self.newest, *more], **numbers})
        self.newest, self.shape = name, shape
        return name

    def _integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def _weights(self, name: str, shape: tuple[int, ...]) -> None:
        weight = self.rng.normal(0, 1, shape) * self.rng.choice([0.01, 1, 30])
        weight[self.rng.random(shape) < self.rng.choice([0, 0.3, 0.9])] = 0
        if self.rng.random() < 0.2:
            weight[0] = 0  # a column without devices
        self.tensors[f"{name}/weight"] = weight
        if self.rng.random() < 0.5:
            self.tensors[f"{name}/bias"] = self.rng.normal(0, 1, shape[0]) * self.rng.choice([0, 0.1, 3])

    def _windows(self, kernel: tuple[int, int], stride: int, padding: int) -> tuple[int, int]:
        return tuple((n + 2 * padding - k) // stride + 1 for n, k in zip(self.shape[:2], kernel, strict=True))

    def _conv(self) -> None:
        padding, out = self._integer(0, 2), self._integer(1, 6)
        kernel = tuple(self._integer(1, min(4, n + 2 * padding)) for n in self.shape[:2])
        stride, channels = self._integer(1, 2), self.shape[2]
        name = self._node("conv", (*self._windows(kernel, stride, padding), out), stride=stride, padding=padding)
        self._weights(name, (out, channels, *kernel))

    def _max_pool(self) -> None:
        kernel = self._integer(1, 3)
        low = max(0, -(-(kernel - min(self.shape[:2])) // 2))  # the padded input holds one window
        kernel, low = (kernel, low) if low <= kernel // 2 else (1, 0)
        stride, padding = self._integer(1, 3), self._integer(low, kernel // 2)
        shape = (*self._windows((kernel, kernel), stride, padding), self.shape[2])
        self._node("max_pool", shape, kernel=kernel, stride=stride, padding=padding)

    def _linear(self) -> None:
        out, channels = self._integer(1, 5), self.shape[0]
        self._weights(self._node("linear", (out,)), (out, channels))

    def _batch_norm(self) -> None:
        name = self._node("batch_norm", self.shape, eps=float(self.rng.choice([1e-5, 1e-3, 0.5])))
        for tensor in ("gamma", "beta", "mean"):
            self.tensors[f"{name}/{tensor}"] = self.rng.normal(0, 1, self.shape[-1])
        self.tensors[f"{name}/var"] = np.abs(self.rng.normal(0, 1, self.shape[-1])) * self.rng.choice([0, 1])

    def _relu(self) -> None:
        self._node("relu", self.shape)

    def _add(self) -> None:
        before = self.newest
        self._node(*((op := str(self.rng.choice(["relu", "add"]))), self.shape), *([before] if op == "add" else []))
        self._node("add", self.shape, before)

    def _pad_shortcut(self) -> None:
        stride, before, after = self._integer(1, 3), self._integer(0, 2), self._integer(0, 2)
        height, width, channels = self.shape
        shape = (-(-height // stride), -(-width // stride), before + channels + after)
        self._node("pad_shortcut", shape, stride=stride, before=before, after=after)

    def _global_average_pool(self) -> None:
        self._node("global_average_pool", self.shape[2:])
