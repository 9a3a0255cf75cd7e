"""A readout as JSON has it, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pcmref.arithmetic.codes import Range
from pcmref.crossbar.converters import Accumulator, Adc, Dac, FixedPoint
from pcmref.crossbar.readout import Readout
from pcmref.errors import FileError, describe
from pcmref.files.json_text import parsed
from pcmref.files.regular import content_of

__all__ = ["readout_fields", "readout_file", "readout_of"]

#: Most bytes of a file with a readout.
READOUT_LIMIT = 1 << 26


def readout_fields(readout: Readout) -> dict[str, Any]:
    """Return all fields of a readout as JSON has them; numbers keep every bit."""
    return dict(json.loads(json.dumps(asdict(readout))))


def readout_of(said: Mapping[str, Any]) -> Readout:
    """Return the readout of these fields.

    Raises
    ------
    FileError
        If there are others, or fewer.
    ParameterError
        If one of them is out of range.
    """
    own = _fields("readout", said, Readout)
    ranges, measured = own["ranges"], own["measured"]
    return Readout(
        **own
        | {
            "dac": Dac(**_fields("readout: dac", own["dac"], Dac)),
            "adc": None if own["adc"] is None else _adc("readout: adc", own["adc"]),
            "accumulator": None
            if own["accumulator"] is None
            else Accumulator(**_fields("readout: accumulator", own["accumulator"], Accumulator)),
            "ranges": None if ranges is None else {name: _range(name, top) for name, top in _items(ranges)},
            "measured": None if measured is None else {name: _measured(name, adcs) for name, adcs in _items(measured)},
        }
    )


def readout_file(path: Path) -> Readout:
    """Return the readout in a JSON file: all of it, or under the name ``readout``."""
    try:
        said = parsed(content_of(path, READOUT_LIMIT))
    except (OSError, ValueError) as error:
        raise FileError(str(path), "a readout as JSON", describe(str(error), 100)) from None
    return readout_of(said["readout"] if isinstance(said, dict) and "readout" in said else said)


def _adc(where: str, said: object) -> Adc:
    own = _fields(where, said, Adc)
    gain = own["gain"]
    own["gain"] = [_gain(where, each) for each in gain] if isinstance(gain, list) else _gain(where, gain)
    return Adc(**own)


def _gain(where: str, said: object) -> object:
    return FixedPoint(**_fields(f"{where}: gain", said, FixedPoint)) if isinstance(said, dict) else said


def _range(name: str, said: object) -> Range:
    return Range(**_fields(f"readout: ranges of {name!r}", said, Range))


def _measured(name: str, said: object) -> Adc | tuple[Adc, ...]:
    where = f"readout: measured {name!r}"
    return tuple(_adc(where, each) for each in said) if isinstance(said, list) else _adc(where, said)


def _items(said: object) -> Any:
    if not isinstance(said, dict):
        raise FileError("readout", "an object of layers", describe(said))
    return said.items()


def _fields(where: str, said: object, kind: type[Any]) -> dict[str, Any]:
    """Return the fields of a value, if they are those of its kind."""
    names = [field.name for field in fields(kind)]
    if not isinstance(said, Mapping) or sorted(said) != sorted(names):
        found = ", ".join(sorted(said)) if isinstance(said, Mapping) else describe(said)
        raise FileError(where, f"the fields {', '.join(names)}", found)
    return dict(said)
