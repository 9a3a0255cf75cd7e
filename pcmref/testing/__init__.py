"""For property-based tests: Hypothesis strategies for what pcmref takes, and comparisons whose failures read well.

Whatever a strategy gives is accepted by everything that it is for, up to the logits.  All of it is built of small
numbers, so a failure shrinks to few of them: a rounder that is wrong at a tie to one product of one row.

::

    @given(example=tile_examples(readout=READOUT))
    def test_my_tile(example):
        assert_same_codes(my_tile(example.codes, example.conductance), example)

Needs the extra ``test``.
"""

from __future__ import annotations

from pcmref.errors import MissingExtraError

try:
    import hypothesis.extra.numpy  # noqa: F401
except ImportError as error:
    raise MissingExtraError("hypothesis", "the extra 'test' (pip install 'pcmref[test]')", "not installed") from error

# isort: split
from pcmref.testing.converters import DRIVES, accumulators, adcs, dacs, readouts
from pcmref.testing.networks import (
    assert_same_logits,
    chips,
    images,
    networks,
    ranges,
    snapshots,
    technologies,
    times_s,
    weights,
)
from pcmref.testing.tiles import TileExample, assert_same_codes, codes, conductances, tile_examples, variances

__all__ = [
    "DRIVES",
    "TileExample",
    "accumulators",
    "adcs",
    "assert_same_codes",
    "assert_same_logits",
    "chips",
    "codes",
    "conductances",
    "dacs",
    "images",
    "networks",
    "ranges",
    "readouts",
    "snapshots",
    "technologies",
    "tile_examples",
    "times_s",
    "variances",
    "weights",
]
