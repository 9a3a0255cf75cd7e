"""What vectors reach of a tile: ties, limits, codes; counted over all conversions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from pcmref.arithmetic.codes import ROUNDINGS
from pcmref.arrays import Int64
from pcmref.crossbar.converters import fixed_point
from pcmref.errors import ParameterError
from pcmref.golden.aimed import TIED, reach_of, ties_within
from pcmref.golden.plain import PlainAdc, Trial, codes_of_sums, on_tie

__all__ = ["coverage_of"]

#: Bits of the multiplier of a gain that ties within reach, without its factors of 2.
NEAR_BITS = 3

#: Why a tile might have no ties.
NO_TIES = {
    "thresholds": "thresholds have no ties",
    "rounding": "this rounding treats a half like any other fraction",
    "gain": "no sum of this tile ties",
    "vectors": "there are sums that tie, but none of these vectors gives one",
}


def coverage_of(work: Trial, sums: Sequence[Int64]) -> dict[str, Any]:
    """Return how many of what the vectors reach.

    Parameters
    ----------
    work : Trial
    sums : sequence of int64, shape (n, columns)
        What the ADC sees in each conversion.

    Returns
    -------
    dict
        ``vectors``, ``conversions``; of the DAC codes the zeros, those at the ends, and how many of all occur; with an
        ADC of its codes the zeros, those at the limits, those that saturate, and how many of all occur; the ties, the
        columns that have some, and why if there are none; and how many codes tell the rounding from each other one.
    """
    dac, codes = work.dac, work.codes
    found: dict[str, Any] = {
        "vectors": len(codes),
        "conversions": len(codes) * work.conductance.shape[-1] * len(sums),
        "inputs": {
            "zero": int((codes == 0).sum()),
            "lowest": int((codes == dac.low).sum()),
            "highest": int((codes == dac.high).sum()),
            "reached": int(np.count_nonzero(np.bincount(codes.reshape(-1) - dac.low))),
            "of": dac.high - dac.low + 1,
        },
    }
    if work.adc is not None:
        seen = np.concatenate(sums)
        found |= {"outputs": _outputs(seen, work.adc), "ties": _ties(work, work.adc, seen)}
        found["told_from"] = _told_from(seen, work.adc)
    return found


def _outputs(seen: Int64, adc: PlainAdc) -> dict[str, int]:
    codes = codes_of_sums(seen, adc)
    found = {
        "zero": int((codes == 0).sum()),
        "lowest": int((codes == adc.low).sum()),
        "highest": int((codes == adc.high).sum()),
        "reached": int(np.count_nonzero(np.bincount(codes.reshape(-1) - adc.low))),
        "of": adc.high - adc.low + 1,
    }
    if adc.thresholds is None:
        free = codes_of_sums(seen, replace(adc, low=adc.low - 1, high=adc.high + 1))
        found |= {"below": int((free < adc.low).sum()), "above": int((free > adc.high).sum())}
    return found


def _ties(work: Trial, adc: PlainAdc, seen: Int64) -> dict[str, Any]:
    if adc.thresholds is not None or adc.rounding not in TIED:
        return {"sums": 0, "columns": 0, "note": NO_TIES["rounding" if adc.thresholds is None else "thresholds"]}
    tied = on_tie(seen, adc)
    found: dict[str, Any] = {"sums": int(tied.sum()), "columns": int(tied.any(axis=0).sum())}
    if found["sums"]:
        return found
    return found | {"note": _why_none(work, adc)}


def _why_none(work: Trial, adc: PlainAdc) -> str:
    """Say why no sum ties, and with which gain of about the same size some would."""
    reach = reach_of(work.conductance.reshape(-1, *work.conductance.shape[2:]), work.dac) + np.abs(adc.offset)
    gains = adc.gain if adc.multiplier is None or adc.shift is None else np.ldexp(adc.multiplier, -adc.shift)
    columns = [] if gains is None else [(float(gain), int(most)) for gain, most in zip(gains, reach, strict=True)]
    if any(ties_within(Fraction(gain), (adc.low, adc.high), most) for gain, most in columns):
        return NO_TIES["vectors"]
    gain, most = columns[0]
    try:
        near = fixed_point(gain, NEAR_BITS)
    except ParameterError:  # too large or too small for a shift
        return NO_TIES["gain"]
    if not ties_within(Fraction(float(near)), (adc.low, adc.high), most):
        return NO_TIES["gain"]
    places = 0 if adc.shift is None else max(int(adc.shift[0]) - near.shift, 0)
    return f"{NO_TIES['gain']}; with the gain {near.multiplier << places}/2^{near.shift + places} some would"


def _told_from(seen: Int64, adc: PlainAdc) -> dict[str, int]:
    """Return how many codes each other rounding would have wrong."""
    if adc.thresholds is not None:
        return {}
    right = codes_of_sums(seen, adc)
    others = (rounding for rounding in ROUNDINGS if rounding != adc.rounding)
    return {rounding: int((codes_of_sums(seen, replace(adc, rounding=rounding)) != right).sum()) for rounding in others}
