"""What is wrong with a tile, from its answers: faults planted on the plain tile, and mix-ups of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pcmref.arrays import Int64
from pcmref.errors import PcmrefError
from pcmref.golden.cases import ArrayEntry, Case
from pcmref.golden.faults import FAULTS
from pcmref.golden.plain import multiplied
from pcmref.golden.tiles import trial_of
from pcmref.golden.verdicts import Diagnosis

__all__ = ["diagnose"]

#: Vectors that are looked at before all are: of those that differ, and of all.
LOOKED_AT = 512
#: What a guess must explain at least.
SHARE_LEAST = 0.5

#: A mix-up of answers, shape (n, columns): name, meaning, and what it makes of the right ones, given the found ones.
MixUp: TypeAlias = tuple[str, str, Callable[[Int64, Int64, ArrayEntry], Int64]]


def diagnose(case: Case, entry: ArrayEntry, found: Int64) -> Diagnosis | None:
    """Return what explains an answer that differs; None where nothing known does.

    Parameters
    ----------
    case : Case
    entry : ArrayEntry
        The expected array: integers, the columns along the last axis.
    found : int64, of its shape
    """
    right = case.values[entry.name].astype(np.int64).reshape(-1, entry.shape[-1])
    found = np.clip(found.reshape(right.shape), -(1 << 62), 1 << 62)  # so that differences fit 64 bits
    wrong = np.abs(found - right) > case.contract.n
    exact: list[tuple[str, str]] = []
    best: tuple[int, tuple[tuple[str, str], ...]] = (0, ())
    for name, meaning, explained in _explanations(case, entry, right, found, wrong):
        spoiled = int((~explained & ~wrong).sum())
        if explained.all():
            exact.append((name, meaning))
        elif (score := int((explained & wrong).sum()) - spoiled) > best[0]:
            best = score, ((name, meaning),)
    mismatches = int(wrong.sum())
    if exact:
        return Diagnosis(faults=tuple(exact), exact=True, explained=mismatches, mismatches=mismatches)
    if best[0] < SHARE_LEAST * mismatches:
        return None
    return Diagnosis(faults=best[1], exact=False, explained=best[0], mismatches=mismatches)


Explanation: TypeAlias = tuple[str, str, npt.NDArray[np.bool_]]


def _explanations(
    case: Case, entry: ArrayEntry, right: Int64, found: Int64, wrong: npt.NDArray[np.bool_]
) -> Iterator[Explanation]:
    """Give what might be wrong, and which answers would then be as they were found."""
    n = case.contract.n
    for name, meaning, mixed in MIX_UPS:
        made = mixed(right, found, entry)
        if (made != right).any() and not (name == "constant" and not made.any()):
            yield name, meaning, np.abs(made - found) <= n
    try:
        work = multiplied(trial_of(case, entry.name.rpartition("/")[0]))
    except PcmrefError:  # no tile by itself: nothing to plant a fault on
        return
    if len(work.codes) != len(right):
        return
    wrong_vectors = np.flatnonzero(wrong.any(axis=1))
    spread = np.linspace(0, len(right) - 1, min(LOOKED_AT, len(right))).astype(np.int64)
    some = np.unique(np.concatenate([wrong_vectors[:LOOKED_AT], spread]))
    for fault in FAULTS:
        if not fault.applies(work):
            continue
        if not fault.remembers and not _promising(fault.answers(work[some]), found[some], wrong[some], n):
            continue
        yield fault.name, fault.meaning, np.abs(fault.answers(work) - found) <= n


def _promising(made: Int64, found: Int64, wrong: npt.NDArray[np.bool_], n: int) -> bool:
    """Whether a fault explains more of some answers than it spoils."""
    explained = np.abs(made - found) <= n
    return int((explained & wrong).sum()) - int((~explained & ~wrong).sum()) >= SHARE_LEAST * wrong.sum()


def _early(right: Int64, found: Int64) -> Int64:
    """Return the answers of the vectors after; that of the last is taken as it was found."""
    return np.concatenate([right[1:], found[-1:]])


def _swapped_bytes(right: Int64, entry: ArrayEntry) -> Int64:
    size = next(size for size in (1, 2, 4, 8) if entry.bits <= 8 * size)
    return right.astype(f"i{size}").byteswap().astype(np.int64)


def _unsigned(right: Int64, entry: ArrayEntry) -> Int64:
    return right & ((1 << entry.bits) - 1) if entry.bits < 63 else right


#: What else can be wrong with an answer than the tile.
MIX_UPS: tuple[MixUp, ...] = (
    ("all-zero", "answers 0 to everything", lambda right, found, entry: np.zeros_like(right)),
    ("constant", "answers the same to everything", lambda right, found, entry: np.full_like(right, found[0, 0])),
    ("one-early", "answers with the codes of the vector after", lambda right, found, entry: _early(right, found)),
    ("negated", "answers with the other sign", lambda right, found, entry: -right),
    ("read-unsigned", "has its answers read without a sign", lambda right, found, entry: _unsigned(right, entry)),
    ("bytes-swapped", "has the bytes of its answers swapped", lambda right, found, entry: _swapped_bytes(right, entry)),
    (
        "transposed",
        "has its answers written column by column",
        lambda right, found, entry: np.ascontiguousarray(right.T).reshape(right.shape),
    ),
)
