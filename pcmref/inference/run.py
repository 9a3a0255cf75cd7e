"""Inference: images through a chip, or through the network itself, in chunks on several threads.

The result of an image depends on the image and its address only: not on the batch, the chunk or the thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from pcmref.arithmetic.draws import Purpose, stream_key
from pcmref.arrays import Float32
from pcmref.crossbar.layer import Crossbar, build
from pcmref.crossbar.readout import PRESETS, Readout
from pcmref.devices.chip import Snapshot
from pcmref.errors import PcmrefError, called, instance
from pcmref.inference.corrections import Corrections
from pcmref.inference.images import batches, normalise
from pcmref.inference.plan import Device, Plan, Tap, Watch, analog_plan, digital_plan, geometry_of, walk
from pcmref.inference.saturation import Saturation, Tally, few, warn_of_saturation
from pcmref.inference.signs import warn_of_lost_signs
from pcmref.inference.threads import each, processors
from pcmref.network.graph import Network
from pcmref.network.images import Images
from pcmref.profiling import stage

__all__ = ["PreparedChip", "crossbars_of", "digital", "logits", "prepare", "run"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedChip:
    """A chip at one time, with all that does not depend on the images done: call it with images.  `prepare` makes it.

    Parameters
    ----------
    network : Network
    crossbars : mapping of crossbar layer to Crossbar
    corrections : Corrections
    readout : str
        What the readout is called.
    """

    network: Network
    crossbars: Mapping[str, Crossbar]
    corrections: Corrections
    readout: str

    def __call__(
        self,
        images: Images,
        *,
        addresses: Sequence[int] | None = None,
        threads: int | None = None,
        tap: Tap | None = None,
        device: Device | None = None,
        progress: Callable[[int], None] = lambda images: None,
    ) -> Float32:
        """Run images through the chip; parameters, result and errors as of `logits`."""
        workers = processors(threads)
        if device is not None:
            called("device", device)
            plan = analog_plan(self.network, self.crossbars, self.corrections, "nodes", device)
        else:
            plan = self.layers if tap is None else self.nodes
        return run(
            plan,
            images,
            addresses=addresses,
            threads=workers if tap is None and device is None else 1,
            watch=tap,
            progress=progress,
        )

    def saturation(self, images: Images, *, threads: int | None = None) -> tuple[Saturation, ...]:
        """Return how the codes of each crossbar layer lie between the limits of its converters, in order.

        Parameters
        ----------
        images : uint8, shape (n, height, width, channels), or StoredImages
            A few are enough: every stage of their products is computed.
        threads : int, optional

        Raises
        ------
        DataError
            If the images do not fit the network.
        """
        pixels = batches(self.network, images, None)[0][:]
        tally = Tally(self.network, self.crossbars, pixels)
        run(self.nodes, pixels, threads=threads, watch=tally)
        return tally.found

    def warn_of_saturation(self, images: Images, *, threads: int | None = None) -> None:
        """Warn, after a look at a few of the images, where the full scale of a converter does not fit."""
        operands = [crossbar.operands for crossbar in self.crossbars.values()]
        if any(o.dac.top > 0 or o.register is not None for o in operands):  # an ADC has ranges, and so has its DAC
            warn_of_saturation(self.readout, self.saturation(few(images), threads=threads))

    def __getstate__(self) -> dict[str, object]:
        """Return what makes the chip again elsewhere: its plans are functions, which are made anew."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def layers(self) -> Plan:
        """The plan of an inference that nobody watches."""
        return analog_plan(self.network, self.crossbars, self.corrections, "layers")

    @cached_property
    def nodes(self) -> Plan:
        """A step for each node, with every stage of its product: what a tap sees."""
        return analog_plan(self.network, self.crossbars, self.corrections, "nodes")


def prepare(
    snapshot: Snapshot, *, corrections: Corrections | None = None, readout: Readout = PRESETS["paper"]
) -> PreparedChip:
    """Prepare a chip for images that come one after another; the first call costs no more than the others.

    Parameters
    ----------
    snapshot : Snapshot
        The chip at one time: `Chip.at`.
    corrections : Corrections, optional
        Drift compensation for this snapshot: `calibrate`.
    readout : Readout
        Converters, tiles and read noise.

    Returns
    -------
    PreparedChip
        ``prepared(images)`` are the logits.

    Raises
    ------
    ParameterError
        If the corrections do not fit the network or are those of another chip, or the readout lacks ranges.

    Warns
    -----
    PcmrefWarning
        If the corrections were measured at another time, or by AdaBS with another readout.
    """
    corrections = Corrections() if corrections is None else corrections
    instance("snapshot", snapshot, Snapshot, "Chip.at")
    instance("corrections", corrections, Corrections)
    instance("readout", readout, Readout, "pcmref.PRESETS")
    corrections.check(snapshot.network)
    corrections.check_origin(snapshot, readout)
    readout.check_layers([layer.name for layer in snapshot.layers])
    warn_of_lost_signs(snapshot.network, readout)
    crossbars = crossbars_of(snapshot, corrections, readout, Purpose.PRODUCT)
    return PreparedChip(network=snapshot.network, crossbars=crossbars, corrections=corrections, readout=readout.name)


def crossbars_of(
    snapshot: Snapshot, corrections: Corrections, readout: Readout, purpose: Purpose
) -> Mapping[str, Crossbar]:
    """Return the crossbar layers of a snapshot, by name; `purpose` is that of the draws of fresh read noise."""
    network, found = snapshot.network, {}
    for layer, read in zip(network.crossbar_layers, snapshot.layers, strict=True):
        address = network.addresses[layer.name]
        with stage("prepare crossbars"):
            found[layer.name] = build(
                read,
                geometry_of(network, layer),
                readout,
                g_step_us=snapshot.model.g_step_us,
                significance=snapshot.significance,
                gain=corrections.gain.get(layer.name, np.ones(1)),
                stream=stream_key(snapshot.seed, purpose, address, t_s=snapshot.t_s, read=snapshot.read),
            )
    return found


def logits(
    snapshot: Snapshot,
    images: Images,
    *,
    corrections: Corrections | None = None,
    readout: Readout = PRESETS["paper"],
    addresses: Sequence[int] | None = None,
    threads: int | None = None,
    tap: Tap | None = None,
    device: Device | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> Float32:
    """Run images through a chip.

    Parameters
    ----------
    snapshot : Snapshot
        The chip at one time: `Chip.at`.
    images : uint8, shape (n, height, width, channels), or StoredImages
    corrections : Corrections, optional
        Drift compensation for this snapshot: `calibrate`.
    readout : Readout
        Converters, tiles and read noise.
    addresses : sequence of int, optional
        Address of each image in the draws of fresh read noise; its position by default.  With it, an image
        gets the same noise in whatever batch it comes.
    threads : int, optional
        All processors by default; one with a tap or a device.
    tap : callable, optional
        Called with a `Trace` of every node, from the thread that called `logits`: the first 48 images with each node in
        the order of `Network.layers`, then the next 48.
    device : callable, optional
        A device under test in place of the tiles, in the thread that called `logits`: given the name of a crossbar
        layer and its `Product`, whose `input_codes` are its stimulus, it returns output codes, integers of shape
        (n, pixels, columns), and the network goes on with those.
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
        If the readout lacks ranges, addresses or threads are out of range, or a device answers with other than integers
        of that shape.
    PcmrefError
        If an activation overflows, with the address of the image.

    Warns
    -----
    PcmrefWarning
        If full scales do not fit: more than a tenth of the codes of a layer are at a limit, or a converter reaches less
        than an eighth of what the one before it does.  `PreparedChip.saturation` counts them.
    """
    prepared = prepare(snapshot, corrections=corrections, readout=readout)
    scores = prepared(images, addresses=addresses, threads=threads, tap=tap, device=device, progress=progress)
    prepared.warn_of_saturation(images, threads=threads)
    return scores


def digital(
    network: Network,
    images: Images,
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
    plan = digital_plan(network, "layers" if tap is None else "nodes")
    return run(plan, images, threads=1 if tap else workers, watch=tap, progress=progress)


def run(
    plan: Plan,
    images: Images,
    *,
    addresses: Sequence[int] | None = None,
    threads: int | None = None,
    watch: Watch | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> Float32:
    """Run images through a plan, in chunks on several threads; `watch` is called from each of them."""
    network = plan.network
    called("progress", progress)
    if watch is not None:
        called("tap", watch)
    x, image = batches(network, images, addresses)
    output = np.empty((len(images), len(network.classes)), np.float32)

    def work(part: slice) -> int:
        output[part] = walk(plan, normalise(network, x[part]), image[part], watch)
        return part.stop - part.start

    for done in each(work, len(images), threads, plan.at_once):
        progress(done)
    if not np.isfinite(output).all():
        place = int(np.argwhere(~np.isfinite(output))[0, 0])
        raise PcmrefError("logits", "finite numbers", f"an overflow for image {image[place]}")
    return output
