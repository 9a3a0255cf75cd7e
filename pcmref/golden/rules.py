"""Golden cases below the tile: elementary functions and draws, and devices from weights to codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.draws import Purpose, stream_key
from pcmref.arithmetic.elementary import exp, ln, normal_quantile, power
from pcmref.arrays import Float32, Float64
from pcmref.devices.chip import program
from pcmref.devices.pcm import PcmModel
from pcmref.devices.published import MODELS
from pcmref.golden.cases import ArrayEntry, Case, Section, entry_of
from pcmref.network.graph import Network
from pcmref.network.images import Normalisation
from pcmref.network.layers import Conv
from pcmref.network.operations import GlobalAveragePool

__all__ = ["devices_case", "elementary_case", "one_layer"]

Arrays = Iterator[tuple[ArrayEntry, npt.NDArray[Any]]]


def elementary_case(*, count: int, seed: int) -> Case:
    """Make the case of the elementary functions and the draws: `count` arguments of each, and the words of streams.

    SPEC.md, sections 3 and 4.
    """
    words = kernels().weight_words(stream_key(seed, Purpose.PROGRAM, 0), count)
    u = (words[0].astype(np.float64) + 0.5) * 2.0**-32
    size = np.ldexp(u + 1.0, (words[1] % 600).astype(np.int32) - 300)  # over all magnitudes
    near = np.concatenate([1.0 + np.ldexp(u - 0.5, -(words[2] % 50).astype(np.int32)), size])
    x = (u - 0.5) * 1500.0
    arguments = {"ln": near, "exp": x, "quantile": np.concatenate([u, np.ldexp(u, -60)])}
    results = {"ln": ln(near), "exp": exp(x), "quantile": normal_quantile(arguments["quantile"])}
    exponent = (u - 0.5) * 4.0

    def arrays() -> Arrays:
        for name, values in arguments.items():
            yield _floats("prompt", f"{name}/x", "x", values, "Arguments.")
            yield _floats("expected", f"{name}/result", name, results[name], f"{name} x.")
        yield _floats("prompt", "power/base", "base", u, "Bases.")
        yield _floats("prompt", "power/exponent", "exponent", exponent, "Exponents.")
        yield _floats("expected", "power/result", "power", power(u, exponent), "power(base, exponent).")
        yield from _streams(seed, count)

    return _case("elementary", list(arrays()), seed=seed)


def _streams(seed: int, count: int) -> Arrays:
    """Give the keys of some streams, the first words of each, and their normal numbers."""
    named = [(purpose, layer, t_s, read) for purpose in Purpose for layer, t_s, read in ((0, 25.0, 0), (5, 3.15e7, 9))]
    fresh = {Purpose.PROGRAM, Purpose.CONVERGENCE}
    keys = [
        stream_key(seed, purpose, layer, t_s=0.0 if purpose in fresh else t_s, read=0 if purpose in fresh else read)
        for purpose, layer, t_s, read in named
    ]
    table = np.array([[purpose, layer, read] for purpose, layer, _, read in named], np.int64)
    what = "Purpose, layer address and read number of each stream; streams 1 and 2 have no time and no read number."
    axes = ("stream", "number")
    yield entry_of("streams/name", table, section="prompt", letter="", meaning=what, axes=axes, bits=32, signed=False)
    yield _floats("prompt", "streams/t", "t", np.array([t_s for _, _, t_s, _ in named]), "Time of each stream, s.")
    words = np.stack([kernels().weight_words(key, count) for key in keys]).astype(np.int64)
    for name, values, counted, what in (
        ("key", np.array(keys, np.int64), ("stream", "word"), "Key of each stream."),
        ("words", words, ("stream", "word", "block"), "Blocks (0, 0, 0, 0), (1, 0, 0, 0) and so on of each stream."),
    ):
        yield entry_of(
            f"streams/{name}",
            values,
            section="expected",
            letter=name,
            meaning=what,
            axes=counted,
            bits=32,
            signed=False,
        )
    z = kernels().normals(words.astype(np.uint32))
    yield _floats("expected", "streams/z", "z", z, "Normal number of each word.", ("stream", "word", "block"))


def devices_case(weights: Float32, *, seed: int, times_s: Sequence[float], share: float = 0.0) -> Case:
    """Make the case of devices: a matrix programmed with every published set, read at some times.

    SPEC.md, sections 4 to 7; layer address 0, scale "layer", read number 0.

    Parameters
    ----------
    weights : float32, shape (rows, columns)
    seed : int
    times_s : sequence of float
    share : float
        Of devices that do not converge.
    """
    network = one_layer(weights)

    def arrays() -> Arrays:
        what = "Weights of the crossbar."
        yield entry_of("W", weights, section="prompt", letter="W", meaning=what, axes=("row", "column"), bits=32)
        yield _floats("prompt", "t", "t", np.array(times_s), "Times, s.")
        yield _floats("prompt", "share", "share", np.array([share]), "Share of devices that do not converge.")
        for name, model in MODELS.items():
            yield from _devices(name, network, model, seed, times_s, share)

    return _case("devices", list(arrays()), seed=seed)


def _devices(name: str, network: Network, model: PcmModel, seed: int, times_s: Sequence[float], share: float) -> Arrays:
    chip = program(network, model=replace(model, nonconverged_share=share), seed=seed)
    state = chip.layers[0].state
    axes = ("polarity", "row", "column")
    for letter, values, what in (
        ("G_P", state.g_prog_us, "Programmed conductance of the + and the - devices, uS."),
        ("nu", state.nu, "Drift exponent."),
        ("Q", state.q_s, "Relative read noise."),
    ):
        yield _floats("internal", f"{name}/{letter}", letter, state.dense(values), what, axes)
    layers = [chip.at(t_s).layers[0] for t_s in times_s]
    for file, letter, field, what in (
        ("n-G_D", "n(G_D)", "g_mean_code", "Conductance codes after drift, at each time."),
        ("n-G", "n(G)", "g_read_code", "The same as read."),
        ("V", "V", "g_variance_code", "Variance codes."),
    ):
        codes = np.stack([getattr(layer, field) for layer in layers]).astype(np.int64)
        yield entry_of(
            f"{name}/{file}",
            codes,
            section="expected",
            letter=letter,
            meaning=what,
            axes=("time", *axes),
            bits=15,
            signed=False,
        )


def one_layer(weights: Float32) -> Network:
    """Return a network of one crossbar: a 1 x 1 convolution without bias, shape (rows, columns)."""
    rows, columns = weights.shape
    return Network(
        input_shape=(1, 1, rows),
        normalisation=Normalisation(full_scale=255.0, mean=(0.0,) * rows, std=(1.0,) * rows),
        classes=tuple(f"column {c}" for c in range(columns)),
        layers=(
            Conv(name="crossbar", inputs=("input",), weight=np.ascontiguousarray(weights.T)[:, :, None, None]),
            GlobalAveragePool(name="output", inputs=("crossbar",)),
        ),
    )


def _floats(
    section: Section,
    name: str,
    letter: str,
    values: Float64,
    meaning: str,
    axes: tuple[str, ...] = ("number",),
) -> tuple[ArrayEntry, npt.NDArray[Any]]:
    return entry_of(name, values, section=section, letter=letter, meaning=meaning, axes=axes, bits=64)


def _case(kind: Any, arrays: Sequence[tuple[ArrayEntry, npt.NDArray[Any]]], seed: int) -> Case:
    return Case(
        kind=kind,
        arrays={entry.name: entry for entry, _ in arrays},
        values={entry.name: values for entry, values in arrays},
        seed=seed,
    )
