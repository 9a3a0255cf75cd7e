"""For property-based tests: Hypothesis strategies for what pcmref takes, and comparisons whose failures read well.

Imports the ground and every room above but `files` and `studies`; needs the extra ``test``.
Never knows the command line.
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
