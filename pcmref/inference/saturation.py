"""How well full scales fit: which codes of converters are at their limits, and how far the others reach."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pcmref.arrays import Float32, UInt8
from pcmref.crossbar.layer import Crossbar, Product
from pcmref.errors import PcmrefWarning
from pcmref.inference.images import normalise
from pcmref.inference.plan import Trace
from pcmref.network.graph import Network
from pcmref.network.images import Images

__all__ = ["REACH_LEAST", "SATURATION_IMAGES", "SATURATION_MOST", "Saturation", "Tally", "few", "warn_of_saturation"]

#: Share of codes at a limit above which a layer is warned of.  Ranges that are medians of largest values clip extremes:
#: up to 4 % of the codes of an ADC in the networks that come with pcmref.
SATURATION_MOST = 0.1
#: Where the largest code, relative to full scale, falls below this share of that of the converter before it, three bits
#: or more are idle.  (What drift takes falls step by step.)
REACH_LEAST = 0.125
#: Images whose codes are counted beside an inference.
SATURATION_IMAGES = 4


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """How the codes of a crossbar layer lie between the limits of its converters.

    Parameters
    ----------
    layer : str
    dac, register, adc : float
        Share of codes at a limit of the DAC, of sums that the register cannot hold (read noise apart), of codes at a
        limit of the ADC.  A limit of 0 does not count, nor a full scale that follows each image, nor pixels that are at
        full scale but not beyond.
    excess : float
        The largest of these shares without the largest code of each image: ranges that are medians clip half of those.
    dac_reach, adc_reach : float
        Largest code relative to full scale; 1 where no full scale is fixed.
    """

    layer: str
    dac: float
    register: float
    adc: float
    excess: float
    dac_reach: float
    adc_reach: float

    @property
    def reach(self) -> float:
        """That of the converter that is used least."""
        return min(self.dac_reach, self.adc_reach)


class Tally:
    """A tap that counts the products of some images; `found` is what they come to.

    Parameters
    ----------
    network : Network
    crossbars : mapping of crossbar layer to Crossbar
    images : uint8, shape (n, height, width, channels)
        With their positions as addresses.
    """

    def __init__(self, network: Network, crossbars: Mapping[str, Crossbar], images: UInt8) -> None:
        self._network, self._crossbars, self._images = network, crossbars, images
        self._first = {layer.name for layer in network.crossbar_layers if layer.inputs == ("input",)}
        self._counts: dict[str, list[tuple[_Count, _Count, _Count]]] = {name: [] for name in crossbars}

    def __call__(self, trace: Trace) -> None:
        """Count the codes of a node."""
        if trace.product is None:
            return
        pixels = None
        if trace.layer in self._first:
            pixels = np.abs(normalise(self._network, self._images[trace.image.astype(np.intp)]))
        self._counts[trace.layer].append(_counted(self._crossbars[trace.layer], trace.product, pixels))

    @property
    def found(self) -> tuple[Saturation, ...]:
        """What was counted so far, of each layer."""
        return tuple(_saturation(name, counts) for name, counts in self._counts.items() if counts)


class _Count(NamedTuple):
    """Codes at a limit, the same less one an image, all codes, and the largest relative to full scale."""

    at_limit: int = 0
    excess: int = 0
    codes: int = 0
    reach: float = 1.0


def _counted(crossbar: Crossbar, product: Product, pixels: Float32 | None) -> tuple[_Count, _Count, _Count]:
    """Count the codes of DAC, register and ADC; `pixels` are the sizes of the inputs of a layer that reads images."""
    shape, dac, chain = crossbar.geometry, crossbar.operands.dac, crossbar.chain
    parts = [part for tile in product.tiles for part in tile.parts or (tile,)]
    drive = register = adc = _Count()
    if dac.top > 0:
        top, left, _, _ = shape.padding
        inside = product.input_codes[:, top : top + shape.height, left : left + shape.width, : shape.channels]
        code = inside.astype(np.int64) - dac.offset
        beyond_top = True if pixels is None else pixels > dac.top
        drive = _count([code], int(dac.low), int(dac.high), beyond_top)
    if chain.register is not None:
        beyond = 1 << (chain.register.bits - 1)
        register = _count([part.noise_free for part in parts], -beyond - 1, beyond)
    if (converter := chain.adc or chain.table) is not None:
        adc = _count([part.codes for part in parts], int(converter.low), int(converter.high))
    return drive, register, adc


def _count(
    several: Sequence[npt.NDArray[np.int64]], low: int, high: int, counts: npt.NDArray[np.bool_] | bool = True
) -> _Count:
    """Count the codes of several conversions, of the same images each; at a limit, those that count."""
    is_limit = [((codes >= high) | ((codes <= low) & (low < 0))) & counts for codes in several]
    of_image = np.sum([at.reshape(len(at), -1).sum(axis=1) for at in is_limit], axis=0)
    largest = max(int(np.abs(codes).max(initial=0)) for codes in several)
    return _Count(
        at_limit=int(of_image.sum()),
        excess=int(np.maximum(of_image - 1, 0).sum()),
        codes=sum(codes.size for codes in several),
        reach=largest / high,
    )


def _saturation(layer: str, counts: Sequence[tuple[_Count, _Count, _Count]]) -> Saturation:
    dac, register, adc = (_total(each) for each in zip(*counts, strict=True))
    limited = [count for count in (dac, register, adc) if count.codes]
    return Saturation(
        layer=layer,
        dac=dac.at_limit / max(dac.codes, 1),
        register=register.at_limit / max(register.codes, 1),
        adc=adc.at_limit / max(adc.codes, 1),
        excess=max((count.excess / count.codes for count in limited), default=0.0),
        dac_reach=dac.reach,
        adc_reach=adc.reach,
    )


def _total(counts: Sequence[_Count]) -> _Count:
    """Add up the counts of one converter."""
    at_limit, excess, codes, reach = zip(*counts, strict=True)
    return _Count(sum(at_limit), sum(excess), sum(codes), max(reach))


def few(images: Images) -> UInt8:
    """Return `SATURATION_IMAGES` images, evenly spaced; all of them, if there are fewer."""
    return images[:: max(1, len(images) // SATURATION_IMAGES)][:SATURATION_IMAGES]


def warn_of_saturation(readout: str, found: Sequence[Saturation]) -> None:
    """Warn of full scales that do not fit: too small for many codes, or too large for all of them.

    Parameters
    ----------
    readout : str
        Its name.
    found : sequence of Saturation
    """
    small = [layer for layer in found if layer.excess > SATURATION_MOST]
    large = _idle(found)
    if small:
        worst = max(small, key=lambda layer: layer.excess)
        most = max(worst.dac, worst.register, worst.adc)
        what = f"{most:.1%} of the codes saturate in layer {worst.layer!r}{_others(len(small) - 1)}"
    elif large:
        worst = min(large, key=lambda layer: layer.reach)
        what = f"codes reach {worst.reach:.1%} of full scale in layer {worst.layer!r}{_others(len(large) - 1)}"
    else:
        return
    advice = "do the ranges fit this network and these images? (pcmref.calibrate_ranges finds others)"
    warnings.warn(f"readout {readout}: {what}; {advice}", PcmrefWarning, stacklevel=4)


def _idle(found: Sequence[Saturation]) -> list[Saturation]:
    """Return the layers of which a converter reaches much less of its full scale than the converter before it."""
    idle, before = [], 1.0
    for layer in found:
        if layer.dac_reach < REACH_LEAST * before or layer.adc_reach < REACH_LEAST * layer.dac_reach:
            idle.append(layer)
        before = layer.reach
    return idle


def _others(count: int) -> str:
    return f" (and so in {count} more)" if count else ""
