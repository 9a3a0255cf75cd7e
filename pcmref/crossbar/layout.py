"""How the codes of a layer lie in memory for the kernels: tile by tile, in pairs of neighbouring inputs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pcmref.arithmetic.operands import LANES, SQUARE_BITS, Matrix, Tiles, panels
from pcmref.arrays import Int16, Int64
from pcmref.errors import ParameterError

__all__ = ["cut", "is_split", "lay_out"]

#: What sums of codes must stay below, so that float64 holds them with their noise and the offset of an ADC; and those
#: of squares, so that 64 bits do.
SUM_MOST, VARIANCE_MOST = 1 << 52, 1 << 63


def is_split(limit: int) -> bool:
    """Return whether squares of codes up to `limit` have more bits than are multiplied at a time."""
    return limit * limit >> SQUARE_BITS > 0


def cut(rows: int, tile_rows: int | None, slices: int = 1) -> list[slice]:
    """Return the rows of each tile: slice by slice, each cut into tiles of `tile_rows` and what is left."""
    each = rows // slices
    size = min(tile_rows or each, each)
    starts = (s * each + first for s in range(slices) for first in range(0, each, size))
    return [slice(start, min(start + size, (start // each + 1) * each)) for start in starts]


def lay_out(row: Int64, codes: Int16, variance: Int16 | None, *, parts: Sequence[slice], limit: int) -> Tiles:
    """Cut a matrix into tiles and lay them out.

    Parameters
    ----------
    row : int64, shape (rows,), or (groups, rows) of several groups of columns
        Offset of each row's input in the buffer, relative to a pixel.
    codes : int16, shape (lines, rows, columns)
        Conductance codes of the pairs, or of the + and the - line.
    variance : int16, shape (lines, rows, columns), or None
        Variance codes likewise, for fresh read noise.
    parts : sequence of slice
        The rows of each tile: `cut`.
    limit : int
        Largest size of what drives a row at once.

    Returns
    -------
    Tiles
        Tile by tile, and of each line by line.

    Raises
    ------
    ParameterError
        If sums of a tile might not be exact.
    """
    for part in parts:
        _expect_to_fit("conductance codes of a tile", codes[:, part], limit, SUM_MOST)
        if variance is not None:
            _expect_to_fit("variance codes of a tile", variance[:, part], limit * limit, VARIANCE_MOST)
    if row.ndim == 2:
        return _lay_out_groups(row, codes, variance, parts=parts, limit=limit)
    places = [np.unique(row[part] // 2, return_inverse=True) for part in parts]
    lines = len(codes)
    bound = np.cumsum([0, *(len(pair) for pair, _ in places for _ in range(lines))])

    def matrix(values: Int16, largest: int) -> Matrix:
        packed, segments = [], []
        for number, (first, last) in enumerate(pairwise(bound)):
            part, (_, place) = parts[number // lines], places[number // lines]
            tile = np.zeros((last - first, values.shape[2], 2), np.int16)
            tile[place, :, row[part] % 2] = values[number % lines, part]
            packed.append(panels(tile).reshape(-1, LANES, 2))
            segments.append(_segments(np.abs(tile.astype(np.int64)).sum(axis=2) * largest))
        cut = np.cumsum([0, *(len(segment) for segment in segments)])
        return Matrix(packed=np.concatenate(packed), segment=np.concatenate(segments), cut=cut)

    conductance = matrix(codes, limit)
    return Tiles(
        bound=bound,
        pair=np.concatenate([pair for pair, _ in places for _ in range(lines)]),
        columns=codes.shape[2],
        conductance=conductance,
        variance=conductance if variance is None else matrix(variance, _largest_square(limit)),
    )


def _lay_out_groups(row: Int64, codes: Int16, variance: Int16 | None, *, parts: Sequence[slice], limit: int) -> Tiles:
    """Lay out a matrix whose groups of columns read inputs of their own: row by row, as pairs would be half empty."""
    groups, (lines, _, columns) = len(row), codes.shape

    def matrix(values: Int16, largest: int) -> Matrix:
        tiles = [values[line, part] for part in parts for line in range(lines)]
        segments = [_segments(np.abs(tile.astype(np.int64)) * largest) for tile in tiles]
        return Matrix(
            packed=np.concatenate(tiles).reshape(-1, groups, columns // groups),
            segment=np.concatenate(segments),
            cut=np.cumsum([0, *(len(segment) for segment in segments)]),
        )

    conductance = matrix(codes, limit)
    return Tiles(
        bound=np.cumsum([0, *(part.stop - part.start for part in parts for _ in range(lines))]),
        pair=np.concatenate([np.ascontiguousarray(row[:, part].T) for part in parts for _ in range(lines)]),
        columns=columns,
        conductance=conductance,
        variance=conductance if variance is None else matrix(variance, _largest_square(limit)),
    )


def _largest_square(limit: int) -> int:
    """Return the largest part of a square of a code that is multiplied at a time."""
    return min(limit * limit, (1 << SQUARE_BITS) - 1)


def _expect_to_fit(where: str, codes: Int16, largest: int, most: int) -> None:
    """Raise `ParameterError` where a column's sum of codes times inputs up to `largest` might reach `most`."""
    size = int(np.abs(codes.astype(np.int64)).sum(axis=1).max()) * largest
    if size >= most:
        raise ParameterError(where, f"column sums below 2^{most.bit_length() - 1}", f"up to {size:.3g}")


def _segments(size: Int64) -> Int64:
    """Return the bounds of groups of rows of `size`, as long as possible, whose column sums stay below 2^31."""
    total = np.cumsum(size, axis=0)
    bounds, before = [0], np.zeros(size.shape[1], np.int64)

    def is_beyond(row: int) -> bool:
        return bool((total[row] - before).max() >= 1 << 31)

    while is_beyond(-1):
        low = high = bounds[-1]
        while not is_beyond(high):  # twice as far each time: most groups are short
            low, high = high, min(2 * high - bounds[-1] + 1, len(total) - 1)
        bounds.append(bisect_left(range(len(total)), True, lo=low, hi=high, key=is_beyond))
        before = total[bounds[-1] - 1]
    return np.array([*bounds, len(size)])
