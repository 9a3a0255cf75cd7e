"""Opening the database of a sweep: one writer, any readers, and nothing that is damaged or of another study."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from pcmref.errors import DataError, OutputError, describe
from pcmref.references import SPEC_VERSION, VERSION
from pcmref.studies.sweeps.database import TABLES, Database
from pcmref.studies.sweeps.grid import Question

__all__ = ["is_running", "opened", "read"]

#: "pcmr", which SQLite keeps in the head of the file, and the version of the tables.
APPLICATION, FORMAT = 0x70636D72, 1
#: Seconds to wait for another process that is writing.
BUSY_S = 20.0
#: What is found where another sweep writes.
RUNNING = "one that runs"


@contextlib.contextmanager
def opened(path: Path, question: Question) -> Iterator[Database]:
    """Give the database of a study to the one sweep that writes to it; it is made, if there is none.

    Raises
    ------
    OutputError
        If it cannot be written, or another sweep is writing to it.
    DataError
        If it is damaged, no database of a sweep, or one of another study or another version of SPEC.md.
    """
    with _alone(path), _told(path), _connected(path, f"file:{quote(str(path))}") as connection:
        new = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if new:
            _make(connection, question)
        _check(path, connection)
        database = Database(path, connection)
        facts = database.facts()
        for name, wanted in (("name", question.name), ("spec", str(SPEC_VERSION))):
            if facts.get(name) != wanted:
                what = {"name": "the study", "spec": "the version of SPEC.md"}[name]
                expected = f"{describe(wanted)}, {what} that this run is of (another --out begins anew)"
                raise DataError(f"{path}: {name}", expected, describe(facts.get(name)))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        try:
            yield database
        finally:  # one file again, unless somebody is reading
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA journal_mode = DELETE")


@contextlib.contextmanager
def read(path: Path, *, again: bool = False) -> Iterator[Database]:
    """Give a database to read, while a sweep may write to it; `again`, if it was found to be whole a moment ago.

    Raises
    ------
    DataError
        If there is none, or it is damaged or no database of a sweep.
    OutputError
        If it cannot be read.
    """
    if not path.is_file():
        raise DataError(str(path), "a database of a sweep", "nothing" if not path.exists() else "no regular file")
    with _told(path):
        name = f"file:{quote(str(path))}?mode=ro"
        if not (os.access(path.parent, os.W_OK) or Path(f"{path}-wal").exists()):
            name += "&immutable=1"  # nobody writes, and there is no place for what readers of WAL share
        with _connected(path, name) as connection:
            if not again:
                _check(path, connection)
            yield Database(path, connection)


def is_running(path: Path) -> bool:
    """Return whether a sweep is writing to a database."""
    try:
        with _alone(path):
            return False
    except OutputError as error:
        return error.found == RUNNING


@contextlib.contextmanager
def _connected(path: Path, name: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(name, uri=True, timeout=BUSY_S, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute("PRAGMA trusted_schema = OFF")
        yield connection


def _make(connection: sqlite3.Connection, question: Question) -> None:
    """Make the tables, all of them or none."""
    connection.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT};")
    facts = {"name": question.name, "spec": str(SPEC_VERSION), "pcmref": VERSION, "text": question.text}
    for statement in TABLES.split(";")[:-1]:
        connection.execute(statement)
    connection.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
    connection.execute("COMMIT")


def _check(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse a database that is not one of a sweep, or is damaged."""
    for pragma, wanted in (("application_id", APPLICATION), ("user_version", FORMAT)):
        ((found,),) = connection.execute(f"PRAGMA {pragma}")
        if found != wanted:
            raise DataError(str(path), "a database of a sweep", f"one of {pragma} {found}, not {wanted}")
    schema = "SELECT name, sql FROM sqlite_master ORDER BY name"
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        model.executescript(TABLES)
        if connection.execute(schema).fetchall() != model.execute(schema).fetchall():
            raise DataError(str(path), "the tables of a sweep", "others")
    ((verdict, *_), *_) = connection.execute("PRAGMA quick_check(1)")
    if verdict != "ok":
        raise DataError(str(path), "a database that is whole", describe(verdict, 200))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only sweep that writes to a database.

    A second database beside it is locked meanwhile: the system unlocks it whenever and however this process ends.
    """
    place = Path(f"{path}-lock")
    try:
        connection = sqlite3.connect(place, timeout=0.0, isolation_level=None)
    except sqlite3.Error as error:
        raise OutputError(str(path), "a folder to write to", str(error)) from None
    with contextlib.closing(connection):
        try:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise OutputError(str(path), "no other sweep that writes to it", RUNNING) from None
            raise OutputError(str(path), "a folder to write to", str(error)) from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                place.unlink()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what SQLite complains of into errors of pcmref."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(str(path), "a database to read and write", str(error)) from error
    except sqlite3.DatabaseError as error:
        raise DataError(str(path), "a database of a sweep", str(error)) from error
