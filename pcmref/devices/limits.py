"""What the codes and the scale of a snapshot cannot tell, said to whoever takes it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.devices.mapping import MappedLayer, Scale
from pcmref.devices.technology import DeviceCodes
from pcmref.errors import PcmrefWarning

__all__ = ["SATURATED_MOST", "warn_of_saturated_codes", "warn_of_unscaled_noise"]

#: Share of the devices of a layer that may be beyond the grids: the tail of the programming noise.
SATURATED_MOST = 0.001


def warn_of_saturated_codes(layers: Mapping[str, DeviceCodes], t_s: float) -> None:
    """Warn of the layer of which most devices conduct or fluctuate more than their codes hold."""
    shares = {name: _saturated(codes) for name, codes in layers.items()}
    if max(shares.values(), default=0.0) > SATURATED_MOST:
        name, share = max(shares.items(), key=lambda item: item[1])
        text = (
            f"{share:.1%} of the devices of layer {name!r} at {t_s:g} s conduct or fluctuate more than codes hold and "
            "count as the largest code; read them at another time, or with a larger g_step_us of the model"
        )
        warnings.warn(text, PcmrefWarning, stacklevel=4)


def _saturated(codes: DeviceCodes) -> float:
    """Return the share of the devices that conduct whose codes are the largest."""
    is_largest = (codes.mean == CODE_LIMIT) | (codes.read == CODE_LIMIT) | (codes.variance == CODE_LIMIT)
    return int(np.count_nonzero(is_largest)) / max(int(np.count_nonzero(codes.mean)), 1)


def warn_of_unscaled_noise(targets: Sequence[MappedLayer], layers: Mapping[str, DeviceCodes], scale: Scale) -> None:
    """Warn where weights are all 0, so that W_max counts as 1, and yet their devices conduct.

    Where the W_max of other columns is no smaller, theirs is the larger noise.
    """
    for mapped in targets:
        is_zero = (mapped.g_target_us == 0).all(axis=0)
        others = mapped.weight_per_us[~is_zero]
        if is_zero.all() or (scale == "column" and is_zero.any() and others.max() < mapped.weight_per_us[is_zero][0]):
            if not layers[mapped.name].read[:, :, is_zero].any():
                continue
            text = (
                f"all weights in {int(is_zero.sum())} of {is_zero.size} columns of layer {mapped.name!r} are 0, but "
                "their devices are programmed: the largest weight counts as 1 there, and noise with it; use scale "
                "'layer', or leave the columns out"
            )
            warnings.warn(text, PcmrefWarning, stacklevel=4)
