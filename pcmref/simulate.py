"""Inference: runs programs over images, in chunks on several threads.

The result of an image depends on the image and its address only: not on the batch, the chunk or the thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from pcmref.arrays import Float32, Int64, UInt8, UInt64
from pcmref.chip import Snapshot
from pcmref.converters import PRESETS, Readout
from pcmref.errors import DataError, ParameterError, PcmrefError, describe, instance, integer
from pcmref.network import Network
from pcmref.periphery import Corrections
from pcmref.plans import Plan, Tap, analog, floats

__all__ = [
    "accuracy",
    "batches",
    "check_labels",
    "correct",
    "digital",
    "each",
    "logits",
    "normalise",
    "processors",
    "run",
    "walk",
]

T = TypeVar("T")

#: Most images that a thread works on at a time: enough to hide the interpreter, few enough for the cache.
CHUNK = 32


def logits(
    snapshot: Snapshot,
    images: UInt8,
    *,
    corrections: Corrections | None = None,
    readout: Readout = PRESETS["paper"],
    addresses: Sequence[int] | None = None,
    threads: int | None = None,
    tap: Tap | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> Float32:
    """Run images through a chip.

    Parameters
    ----------
    snapshot : Snapshot
        The chip at one time: `Chip.at`.
    images : uint8, shape (n, height, width, channels)
    corrections : Corrections, optional
        Drift compensation for this snapshot: `calibrate`.
    readout : Readout
        Converters, tiles and read noise.
    addresses : sequence of int, optional
        Address of each image in the draws of fresh read noise; its position by default.  With it, an image
        gets the same noise in whatever batch it comes.
    threads : int, optional
        All processors by default.  A tap is called from one.
    tap : callable, optional
        Called with a `Trace` of every node, images in order.
    progress : callable
        Called with the number of images done since the last call.

    Returns
    -------
    float32, shape (n, classes)

    Raises
    ------
    DataError
        If the images do not fit the network.
    ParameterError
        If the readout lacks ranges, or addresses or threads are out of range.
    PcmrefError
        If an activation overflows, with the address of the image.
    """
    program = analog(snapshot, corrections=corrections, readout=readout, tap=tap)
    workers = processors(threads)
    return run(program, images, addresses=addresses, threads=1 if tap else workers, progress=progress)


def digital(
    network: Network,
    images: UInt8,
    *,
    threads: int | None = None,
    tap: Tap | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> Float32:
    """Run images through the network itself, in float32: the baseline.

    Parameters and result as in `logits`.  Agrees between machines to rounding, not bit for bit.
    """
    instance("network", network, Network)
    workers = processors(threads)
    return run(floats(network, tap=tap), images, threads=1 if tap else workers, progress=progress)


def accuracy(logits: Float32, labels: Int64) -> float:
    """Return the share of images whose largest logit (the first, if several) is the label's.

    Parameters
    ----------
    logits : float32, shape (n, classes)
    labels : integers, shape (n,)

    Raises
    ------
    DataError
        If there are no images, not one label of a class for each, or logits that are no numbers.
    """
    return correct(logits, labels) / len(logits)


def correct(logits: Float32, labels: Int64) -> int:
    """Return the number of images of which `accuracy` is the share."""
    logits, labels = _array("logits", logits), _array("labels", labels)
    if logits.ndim != 2 or logits.size == 0:
        raise DataError("logits", "shape (n, classes), n at least 1", f"shape {logits.shape}")
    if logits.dtype.kind not in "fiu" or not np.isfinite(logits).all():
        raise DataError("logits", "finite numbers", describe(logits))
    if labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError("labels", f"{len(logits)} integers", f"{labels.dtype} of shape {labels.shape}")
    check_labels("labels", labels, logits.shape[1])
    return int((logits.argmax(axis=1) == labels).sum())


def check_labels(where: str, labels: Int64, classes: int) -> None:
    """Raise `DataError` where a label is that of no class."""
    for label in (labels.min(initial=0), labels.max(initial=0)):
        if not 0 <= label < classes:
            raise DataError(where, f"labels from 0 to {classes - 1}", str(label))


def run(
    program: Plan,
    images: UInt8,
    *,
    addresses: Sequence[int] | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> Float32:
    """Run images through a program, in chunks on several threads."""
    x, image = batches(program.network, images, addresses)
    output = np.empty((len(images), len(program.network.classes)), np.float32)

    def one(part: slice) -> int:
        output[part] = walk(program, normalise(program.network, x[part]), image[part])
        return part.stop - part.start

    for done in each(one, len(images), threads):
        progress(done)
    if not np.isfinite(output).all():
        place = int(np.argwhere(~np.isfinite(output))[0, 0])
        raise PcmrefError("logits", "finite numbers", f"an overflow for image {image[place]}")
    return output


def each(work: Callable[[slice], T], count: int, threads: int | None) -> Iterator[T]:
    """Do `work` on slices of ``range(count)``, several at a time; yield its results in order."""
    workers = processors(threads)
    chunk = CHUNK if workers == 1 else max(1, min(CHUNK, -(-count // (4 * workers))))  # several parts a thread
    parts = [slice(start, min(start + chunk, count)) for start in range(0, count, chunk)]
    if workers == 1 or len(parts) == 1:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(work, parts)


def walk(program: Plan, x: Float32, image: UInt64) -> Float32:
    """Run all steps for a few images; a node's output is dropped after its last use."""
    last_use = {name: step.name for step in program.steps for name in step.inputs}
    values = {"input": x}
    for step in program.steps:
        inputs = [values[name] for name in step.inputs]
        values[step.name] = step.operation(*inputs, image)
        for name in set(step.inputs):
            if last_use[name] == step.name:
                del values[name]
    return values[program.network.layers[-1].name]


def normalise(network: Network, images: UInt8) -> Float32:
    """Return the input of the first layer: a table of 256 values a channel, looked up."""
    table = network.normalisation.table()
    return table[images, np.arange(table.shape[1])]


def batches(network: Network, images: UInt8, addresses: Sequence[int] | None) -> tuple[UInt8, UInt64]:
    """Check images and their addresses."""
    images = _array("images", images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != network.input_shape:
        raise DataError(
            "images",
            f"uint8 of shape (n, {', '.join(map(str, network.input_shape))})",
            f"{images.dtype} of shape {images.shape}",
        )
    if addresses is None:
        return images, np.arange(len(images), dtype=np.uint64)
    if not isinstance(addresses, (Sequence, np.ndarray)) or getattr(addresses, "ndim", 1) != 1:
        raise ParameterError("addresses", "a sequence of integers", describe(addresses))
    if len(addresses) != len(images):
        raise ParameterError("addresses", f"{len(images)} of them", str(len(addresses)))
    expected = "integers from 0 to 2**64 - 1"
    return images, np.array([integer("addresses", a, expected, 0, (1 << 64) - 1) for a in addresses], np.uint64)


def _array(name: str, values: object) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise DataError(name, "an array", describe(values)) from error


def processors(threads: int | None) -> int:
    """Return how many threads to use: as asked for, or one a processor."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return integer("threads", threads, "an integer from 1 to 1024", 1, 1024)
