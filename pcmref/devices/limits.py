"""What the codes and the scale of a snapshot cannot tell, said to whoever takes it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from pcmref.arithmetic.codes import CODE_LIMIT
from pcmref.arrays import Bool, Float64
from pcmref.devices.mapping import Scale
from pcmref.devices.technology import DeviceCodes
from pcmref.errors import PcmrefWarning

__all__ = ["SATURATED_MOST", "saturated_share", "warn_of_saturated_codes", "warn_of_unscaled_noise"]

#: Share of the devices of a layer that may be beyond the grids: the tail of the programming noise.
SATURATED_MOST = 0.001


def saturated_share(codes: DeviceCodes) -> float:
    """Return the share of the devices that conduct whose codes are the largest."""
    is_largest = (codes.mean == CODE_LIMIT) | (codes.read == CODE_LIMIT) | (codes.variance == CODE_LIMIT)
    return int(np.count_nonzero(is_largest)) / max(int(np.count_nonzero(codes.mean)), 1)


def warn_of_saturated_codes(shares: Mapping[str, float], t_s: float) -> None:
    """Warn of the layer of which most devices conduct or fluctuate more than their codes hold."""
    if max(shares.values(), default=0.0) > SATURATED_MOST:
        name, share = max(shares.items(), key=lambda item: item[1])
        text = (
            f"{share:.1%} of the devices of layer {name!r} at {t_s:g} s conduct or fluctuate more than codes hold and "
            "count as the largest code; read them at another time, or with a larger g_step_us of the model"
        )
        warnings.warn(text, PcmrefWarning, stacklevel=4)


def warn_of_unscaled_noise(name: str, zero: Bool, weight_per_us: Float64, codes: DeviceCodes, scale: Scale) -> None:
    """Warn where weights are all 0, so that W_max counts as 1, and yet their devices conduct.

    Where the W_max of other columns is no smaller, theirs is the larger noise.
    """
    if not zero.any() or not codes.read[:, :, zero].any():
        return
    if zero.all() or (scale == "column" and weight_per_us[~zero].max() < weight_per_us[zero][0]):
        text = (
            f"all weights in {int(zero.sum())} of {zero.size} columns of layer {name!r} are 0, but "
            "their devices are programmed: the largest weight counts as 1 there, and noise with it; use scale "
            "'layer', or leave the columns out"
        )
        warnings.warn(text, PcmrefWarning, stacklevel=4)
