"""What a sweep has found, in one SQLite file: rows land in transactions, so that no end, however sudden, loses any."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pcmref.errors import DataError, describe
from pcmref.studies.results import DIGEST_DIGITS, row_digests
from pcmref.studies.retention import Row
from pcmref.studies.study import Case
from pcmref.studies.sweeps.grid import Question
from pcmref.studies.sweeps.points import Point

__all__ = ["TABLES", "Asked", "Database", "Failed"]


TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE settings (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, facts TEXT NOT NULL, images INTEGER NOT NULL,
    ranges TEXT, digital_correct INTEGER
);
CREATE TABLE rows (
    setting INTEGER NOT NULL REFERENCES settings, seed INTEGER NOT NULL, t_s REAL NOT NULL, compensation TEXT NOT NULL,
    correct INTEGER NOT NULL, digest TEXT NOT NULL, seconds REAL NOT NULL, landed_s REAL NOT NULL,
    PRIMARY KEY (setting, seed, t_s, compensation)
) WITHOUT ROWID;
CREATE TABLE failures (
    setting INTEGER NOT NULL, seed INTEGER NOT NULL, t_s REAL NOT NULL, compensation TEXT NOT NULL, error TEXT NOT NULL,
    PRIMARY KEY (setting, seed, t_s, compensation)
) WITHOUT ROWID;
CREATE TABLE asked (
    position INTEGER PRIMARY KEY, setting INTEGER NOT NULL REFERENCES settings, coordinates TEXT NOT NULL,
    blocks TEXT NOT NULL, wanted INTEGER NOT NULL, digest TEXT NOT NULL
);
"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A setting that the last study asks for."""

    id: int
    digest: str
    facts: Mapping[str, Any]
    images: int
    digital_correct: int | None
    coordinates: Mapping[str, Any]
    blocks: Sequence[Mapping[str, Any]]
    wanted: int

    @property
    def wants(self) -> Callable[[int, float, str], bool]:
        """``wants(seed, t_s, compensation)`` says whether the study asks for a row."""
        blocks = [
            (
                range(block["first"], block["first"] + block["chips"]),
                set(product(block["times_s"], block["compensations"])),
            )
            for block in self.blocks
        ]
        if len(blocks) == 1:
            ((seeds, pairs),) = blocks
            return lambda seed, t_s, compensation: seed in seeds and (t_s, compensation) in pairs
        return lambda seed, t_s, compensation: any(
            seed in seeds and (t_s, compensation) in pairs for seeds, pairs in blocks
        )


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A row that a worker could not find, the last time that it tried."""

    setting: str
    case: Case
    error: str


class Database:
    """An open database; `opened` and `read` of `pcmref.studies.sweeps.opening` make it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._ids: dict[str, int] = {}

    # What is asked

    def facts(self) -> dict[str, str]:
        """Return the name and the text of the study, the versions of SPEC.md and of pcmref that began it."""
        return dict(self._connection.execute("SELECT name, value FROM facts"))

    def ask(self, question: Question, points: Iterable[Point]) -> None:
        """Note what a study asks for, in place of what was asked before; rows that are there stay."""
        with self._transaction() as execute:
            execute("UPDATE facts SET value = ? WHERE name = 'text'", (question.text,))
            execute("DELETE FROM asked")
            for point in points:
                facts, images = json.dumps(point.facts), len(point.study.samples)
                execute(
                    "INSERT INTO settings (digest, facts, images) VALUES (?, ?, ?)"
                    " ON CONFLICT (digest) DO UPDATE SET facts = excluded.facts",
                    (point.digest, facts, images),
                )
                blocks = [
                    {
                        "first": block.seeds.start,
                        "chips": len(block.seeds),
                        "times_s": block.times_s,
                        "compensations": block.compensations,
                    }
                    for block in point.blocks
                ]
                said = (facts, json.dumps(dict(point.coordinates)), json.dumps(blocks))
                digest = _checked(point.digest, images, point.wanted, *said)
                execute(
                    "INSERT INTO asked (setting, coordinates, blocks, wanted, digest)"
                    " SELECT id, ?, ?, ?, ? FROM settings WHERE digest = ?",
                    (*said[1:], point.wanted, digest, point.digest),
                )

    def asked(self) -> Iterator[Asked]:
        """Yield the settings of the last study, in its order.

        Raises
        ------
        DataError
            If one is not what was written.
        """
        for values in self._connection.execute(
            "SELECT settings.id, asked.digest, digital_correct, settings.digest, images, wanted, facts, coordinates,"
            " blocks FROM asked JOIN settings ON settings.id = setting ORDER BY position"
        ):
            number, found, baseline, digest, images, wanted, facts, coordinates, blocks = values
            if found != _checked(digest, images, wanted, facts, coordinates, blocks):
                where = f"{self.path}: setting {describe(digest, 16)}"
                raise DataError(where, "the digest of what it says", f"{describe(found)}: it was changed")
            if baseline is not None and not (type(baseline) is int and 0 <= baseline <= images):
                where = f"{self.path}: digital baseline of setting {digest[:12]}"
                raise DataError(where, f"0 to {images} images", describe(baseline))
            yield Asked(
                id=number,
                digest=digest,
                facts=json.loads(facts),
                images=images,
                digital_correct=baseline,
                coordinates=json.loads(coordinates),
                blocks=json.loads(blocks),
                wanted=wanted,
            )

    # What is found

    def ranges(self, setting: str) -> Any:
        """Return the readout of a setting with its ranges, as JSON has it; None if they are not known yet."""
        ((said,),) = self._connection.execute("SELECT ranges FROM settings WHERE digest = ?", (setting,))
        return None if said is None else json.loads(said)

    def learn_ranges(self, setting: str, readout: Mapping[str, Any]) -> None:
        """Note the readout of a setting with its ranges."""
        with self._transaction() as execute:
            execute("UPDATE settings SET ranges = ? WHERE digest = ?", (json.dumps(readout), setting))

    def baseline(self, setting: str) -> int | None:
        """Return how many images the digital baseline of a setting classifies correctly, if that is known."""
        ((correct,),) = self._connection.execute("SELECT digital_correct FROM settings WHERE digest = ?", (setting,))
        return None if correct is None else int(correct)

    def learn_baseline(self, settings: Iterable[str], correct: int) -> None:
        """Note how many images the digital baseline of some settings classifies correctly."""
        with self._transaction() as execute:
            for setting in settings:
                execute("UPDATE settings SET digital_correct = ? WHERE digest = ?", (correct, setting))

    def rows(self, asked: Asked, at: tuple[float, str] | None = None) -> Iterator[tuple[int, float, str, int, str]]:
        """Yield what a study asks for of a setting and is there: seed, time, compensation, correct images and digest.

        By seed, time and compensation, or those of one time and compensation by seed.  Plain tuples, as there may be
        millions.

        Raises
        ------
        DataError
            If one is not what was written.
        """
        wants, digest_of = asked.wants, row_digests(asked.digest, asked.images)
        for row in self._connection.execute(
            "SELECT seed, t_s, compensation, correct, digest FROM rows WHERE setting = ?"
            + (" AND t_s = ? AND compensation = ?" if at is not None else "")
            + " ORDER BY seed, t_s, compensation",
            (asked.id, *(at or ())),
        ):
            seed, t_s, compensation, correct, found = row
            if type(t_s) is not float or found != digest_of(seed, t_s, compensation, correct):
                where = f"{self.path}: row of seed {seed}, {t_s} s, {compensation} of setting {asked.digest[:12]}"
                raise DataError(where, "the digest of what it says", f"{describe(found)}: it was changed")
            if wants(seed, t_s, compensation):
                yield row

    def land(self, setting: str, rows: Iterable[Row], seconds: float) -> None:
        """Keep rows, all of them or none; one that is there already stays as it is.

        Parameters
        ----------
        setting : str
            Digest of its point.
        rows : iterable of Row
        seconds : float
            That each row took.
        """
        number, now_s = self._id(setting), time.time()
        with self._transaction() as execute:
            for row in rows:
                case = row.seed, row.t_s, row.compensation
                digest = row_digests(setting, row.images)(*case, row.correct)
                execute(
                    "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (number, *case, row.correct, digest, seconds, now_s),
                )
                execute(
                    "DELETE FROM failures WHERE setting = ? AND seed = ? AND t_s = ? AND compensation = ?",
                    (number, *case),
                )

    def fail(self, setting: str, failures: Iterable[tuple[Case, str]]) -> None:
        """Note rows that could not be found, and why."""
        with self._transaction() as execute:
            for case, error in failures:
                execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?)", (self._id(setting), *case, error))

    def failures(self) -> Iterator[Failed]:
        """Yield the rows that could not be found."""
        for digest, *case, error in self._connection.execute(
            "SELECT digest, seed, t_s, compensation, error FROM failures JOIN settings ON settings.id = setting"
        ):
            seed, t_s, compensation = case
            yield Failed(setting=digest, case=(seed, t_s, compensation), error=error)

    def landed(self, since_s: float) -> tuple[int, float, float]:
        """Return how many rows have landed since a time, and the times of the first and the last of them."""
        ((count, first_s, last_s),) = self._connection.execute(
            "SELECT count(*), min(landed_s), max(landed_s) FROM rows WHERE landed_s > ?", (since_s,)
        )
        return count, first_s or 0.0, last_s or 0.0

    def _id(self, setting: str) -> int:
        if setting not in self._ids:
            self._ids |= dict(self._connection.execute("SELECT digest, id FROM settings"))
        return self._ids[setting]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Give what executes statements that happen together, or not at all."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection.execute
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def _checked(*said: object) -> str:
    """Return the digest of what is asked of a setting."""
    return hashlib.sha256(repr(said).encode()).hexdigest()[:DIGEST_DIGITS]
