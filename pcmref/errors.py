"""The errors that pcmref raises on purpose: one family, one sentence each."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = [
    "DataError",
    "FileError",
    "MissingExtraError",
    "NetworkError",
    "OutputError",
    "ParameterError",
    "PcmrefError",
    "PcmrefWarning",
    "called",
    "describe",
    "instance",
    "integer",
    "listed",
    "one_of",
    "path_of",
    "real",
    "require",
    "shortened",
]


#: Most characters of each part of a message.
TEXT_MOST = 1000


class PcmrefError(Exception):
    """Any input that pcmref refuses.

    Parameters
    ----------
    where : str
        The place: a file, a path inside it, or the name of a parameter.
    expected, found : str
        What belongs there and what was there instead.
    """

    def __init__(self, where: str, expected: str, found: str) -> None:
        super().__init__(where, expected, found)  # what pickle calls the class with again
        self.where = where
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        where, expected, found = (shortened(part) for part in (self.where, self.expected, self.found))
        text = f"{where}: expected {expected}, found {found}"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)  # names from files


class NetworkError(PcmrefError):
    """A network that cannot be: layers, shapes or numbers that do not fit each other."""


class FileError(PcmrefError):
    """A network or another of pcmref's files, or a checkpoint, that is not what its format says."""


class DataError(PcmrefError):
    """Images or labels that are missing, damaged or of the wrong form."""


class ParameterError(PcmrefError):
    """An argument outside its range or its list of choices."""


class OutputError(PcmrefError):
    """A result that cannot be written where the user asked for it."""


class MissingExtraError(PcmrefError):
    """A command that needs an optional dependency which is not installed."""


class PcmrefWarning(UserWarning):
    """A result that is right as specified but probably not what the user wants."""


def describe(value: object, limit: int = 60) -> str:
    """Return a short, one-line ``repr`` of `value` for an error message."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of more digits than Python prints
        text = f"a large {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def shortened(text: str) -> str:
    """Return a text of a message without its middle, if it is longer than anybody reads: names come from files."""
    return text if len(text) <= TEXT_MOST else f"{text[: TEXT_MOST // 2]}...{text[-TEXT_MOST // 2 :]}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return some names for a message: of many, the first three."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def instance(where: str, value: object, kind: type, source: str = "") -> None:
    """Raise `ParameterError` unless `value` is of type `kind`, which `source` has."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise ParameterError(where, f"{article} {kind.__name__}" + (f" ({source})" if source else ""), describe(value))


def called(where: str, value: object) -> None:
    """Raise `ParameterError` unless `value` can be called."""
    if not callable(value):
        raise ParameterError(where, "a function", describe(value))


def path_of(where: str, value: object) -> Path:
    """Return the name of a file, a str or an object like a Path, as a Path."""
    try:
        name = os.fspath(value)  # type: ignore[call-overload]
    except TypeError:
        name = None
    if not isinstance(name, str):
        raise ParameterError(where, "the name of a file, a str or a Path", describe(value))
    return Path(name)


def one_of(where: str, value: object, choices: Iterable[str]) -> None:
    """Raise `ParameterError` unless `value` is one of these texts."""
    choices = tuple(choices)
    if not (isinstance(value, str) and value in choices):
        raise ParameterError(where, f"one of {', '.join(choices)}", describe(value))


def integer(where: str, value: object, expected: str, least: int, most: int) -> int:
    """Return `value` as an int if it is an integer, NumPy's included, from `least` to `most`.

    Raises
    ------
    ParameterError
        Otherwise, and for True and False.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise ParameterError(where, expected, describe(value))
    return int(value)


def real(where: str, value: object, expected: str, least: float = -math.inf, most: float = math.inf) -> float:
    """Return `value` as a float if it is a finite real number, NumPy's included, from `least` to `most`.

    Raises
    ------
    ParameterError
        Otherwise, and for True and False.
    """
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer beyond float64
        number = math.nan
    if not (math.isfinite(number) and least <= number <= most):
        raise ParameterError(where, expected, describe(value))
    return number


def require(module: str, extra: str) -> Any:
    """Import the optional dependency `module`.

    Parameters
    ----------
    module : str
        Name to import, for example ``"matplotlib.pyplot"``.
    extra : str
        The extra of ``pyproject.toml`` that installs it.

    Returns
    -------
    module
        The imported module (typed as ``Any``: optional dependencies carry no types here).

    Raises
    ------
    MissingExtraError
        If it is not installed; the message names the command that installs it.
    """
    import importlib

    try:
        found: ModuleType = importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            module.partition(".")[0],
            f"the extra {extra!r} (pip install 'pcmref[{extra}]')",
            f"not installed ({error})",
        ) from error
    return found
