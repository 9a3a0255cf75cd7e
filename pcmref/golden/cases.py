"""Golden cases: stimulus, answer and internals of a tile, a layer or a network, with all that says what they are.

A case is a value; `pcmref.golden.folders` writes and reads it.  Its digest stands for all of it: every array by its
SHA-256, and every word about them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from pcmref.arrays import read_only
from pcmref.errors import ParameterError, describe, instance, integer, one_of
from pcmref.files.json_text import json_digest
from pcmref.references import SPEC_VERSION, VERSION

__all__ = [
    "SCHEMA",
    "SCHEMA_VERSION",
    "ArrayEntry",
    "Case",
    "Contract",
    "FaultEntry",
    "GroupEntry",
    "Kind",
    "Section",
    "digest_of",
    "document_of",
    "entry_of",
    "listed",
    "little_endian",
    "stored_type",
]

#: Name and version of the format.
SCHEMA, SCHEMA_VERSION = "pcmref-case", 1

Kind: TypeAlias = Literal["elementary", "devices", "tile", "layer", "network"]
#: What a device under test is given, what it must answer, and what happens in between.
Section: TypeAlias = Literal["prompt", "expected", "internal"]
Number: TypeAlias = Literal["integer", "float"]

#: Most elements of an array.
ELEMENT_LIMIT = 1 << 31
#: Names of arrays: parts of letters, digits and ``_ . + -``, with slashes between them.
NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*(/[A-Za-z0-9_+-][A-Za-z0-9_.+-]*)*")


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What answers are held to.

    Parameters
    ----------
    kind : "exact" or "lsb"
    n : int
        With "lsb", how far an integer may be from the expected one; 0 with "exact".
    """

    kind: Literal["exact", "lsb"] = "exact"
    n: int = 0

    def __post_init__(self) -> None:
        one_of("contract: kind", self.kind, ("exact", "lsb"))
        most = (1 << 31) - 1 if self.kind == "lsb" else 0
        expected = "0, as the contract is exact" if self.kind == "exact" else "an integer from 1 to 2^31 - 1"
        integer("contract: n", self.n, expected, int(self.kind == "lsb"), most)

    def __str__(self) -> str:
        return "exact" if self.kind == "exact" else f"at most {self.n} LSB apart"


@dataclass(frozen=True, kw_only=True)
class ArrayEntry:
    """What is said of an array.

    Parameters
    ----------
    name : str
        Its path below its section, without a suffix: ``tile0/D``.
    section : "prompt", "expected" or "internal"
    letter : str
        The symbol of SPEC.md.
    meaning : str
        A sentence.
    axes : tuple of str
        What is counted along each axis, in C order.
    shape : tuple of int
    number : "integer" or "float"
    bits : int
        Width of an element: of an integer 1 to 64, of a float 32 or 64.
    signed : bool
        Whether integers are two's complement.
    unit : str
        What one unit stands for.
    sha256 : str
        Of the elements in C order, each little-endian in as many bytes as its file has.
    """

    name: str
    section: Section
    letter: str
    meaning: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    number: Number
    bits: int
    signed: bool
    unit: str
    sha256: str

    def __post_init__(self) -> None:
        instance("array: name", self.name, str)
        if len(self.name) > 200 or not NAME.fullmatch(self.name):
            raise ParameterError("array: name", "letters, digits and _ . + - between slashes", describe(self.name))
        where = f"array {self.name}"
        one_of(f"{where}: section", self.section, get_args(Section))
        one_of(f"{where}: number", self.number, get_args(Number))
        for name in ("letter", "meaning", "unit", "sha256"):
            instance(f"{where}: {name}", getattr(self, name), str)
        instance(f"{where}: signed", self.signed, bool)
        integer(f"{where}: bits", self.bits, "an integer from 1 to 64", 1, 64)
        for name in ("axes", "shape"):
            instance(f"{where}: {name}", getattr(self, name), tuple)
        if self.number == "float" and (self.bits not in (32, 64) or not self.signed):
            raise ParameterError(f"{where}: bits", "32 or 64, signed, as it holds floats", describe(self.bits))
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ParameterError(f"{where}: sha256", "64 hexadecimal digits", describe(self.sha256))
        for length in self.shape:
            integer(f"{where}: shape", length, "positive integers", 1, ELEMENT_LIMIT)
        if len(self.axes) != len(self.shape) or not all(isinstance(axis, str) for axis in self.axes):
            raise ParameterError(f"{where}: axes", f"{len(self.shape)} names", describe(self.axes))
        if self.size > ELEMENT_LIMIT:
            raise ParameterError(f"{where}: shape", f"at most {ELEMENT_LIMIT} elements", describe(self.shape))

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod([1, *self.shape], dtype=object))

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest integer that it can hold."""
        return (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) if self.signed else (0, (1 << self.bits) - 1)

    @property
    def format(self) -> str:
        """Its number format as SPEC.md writes it: s8, u15, f32."""
        return f"{'f' if self.number == 'float' else 's' if self.signed else 'u'}{self.bits}"


@dataclass(frozen=True, kw_only=True)
class GroupEntry:
    """Vectors that are there for the same reason: from `first` up to, but not including, `last`."""

    name: str
    #: Which conductances they meet: the array ``TILE/g-CONDUCTANCE``.
    conductance: str
    first: int
    last: int
    catches: str

    def __post_init__(self) -> None:
        for name in ("name", "conductance", "catches"):
            instance(f"group: {name}", getattr(self, name), str)
        integer(f"group {self.name}: first", self.first, "an integer from 0 on", 0, ELEMENT_LIMIT)
        integer(f"group {self.name}: last", self.last, f"more than {self.first}", self.first + 1, ELEMENT_LIMIT)


@dataclass(frozen=True, kw_only=True)
class FaultEntry:
    """Which groups catch a fault: none where no vector of the case shows it."""

    name: str
    meaning: str
    caught_by: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("name", "meaning"):
            instance(f"fault: {name}", getattr(self, name), str)
        instance(f"fault {self.name}: caught_by", self.caught_by, tuple)
        for group in self.caught_by:
            instance(f"fault {self.name}: caught_by", group, str)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A golden case.

    Parameters
    ----------
    kind : "elementary", "devices", "tile", "layer" or "network"
    arrays : mapping of name to ArrayEntry
        In the order of the datapath.
    values : mapping of name to array
        Read-only, of `stored_type`.
    contract : Contract
    groups : tuple of GroupEntry
    readout : mapping
        Fields of the readout, as `pcmref.golden.readouts.readout_fields` gives them.
    coverage : mapping
        What the vectors reach.
    faults : tuple of FaultEntry
    command : str
        What made it.
    seed : int, optional
    t_s : float, optional
        Seconds since programming.
    model : mapping, optional
        Fields of the technology.
    network : str, optional
        SHA-256 of the network's file.
    spec : int
        Version of SPEC.md.
    pcmref : str
        Version of the package.
    """

    kind: Kind
    arrays: Mapping[str, ArrayEntry]
    values: Mapping[str, npt.NDArray[Any]] = field(repr=False)
    contract: Contract = field(default_factory=Contract)
    groups: tuple[GroupEntry, ...] = ()
    readout: Mapping[str, Any] = field(default_factory=dict)
    coverage: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[FaultEntry, ...] = ()
    command: str = ""
    seed: int | None = None
    t_s: float | None = None
    model: Mapping[str, Any] | None = None
    network: str | None = None
    spec: int = SPEC_VERSION
    pcmref: str = VERSION

    def __post_init__(self) -> None:
        one_of("case: kind", self.kind, get_args(Kind))
        instance("case: contract", self.contract, Contract)
        if not self.section("expected"):
            raise ParameterError("case: arrays", "an expected answer", "none")
        folded = [f"{entry.section}/{entry.name}".lower() for entry in self.arrays.values()]
        if len(set(folded)) < len(folded):
            raise ParameterError("case: arrays", "names that differ in more than upper and lower case", "others")
        for name, entry in self.arrays.items():
            value = self.values.get(name)
            if value is None or name != entry.name or value.shape != entry.shape or value.dtype != stored_type(entry):
                found = "none" if value is None else f"{value.dtype} of shape {value.shape}"
                raise ParameterError(f"case: {name}", f"{stored_type(entry)} of shape {entry.shape}", found)
        object.__setattr__(self, "values", {name: read_only(self.values[name]) for name in self.arrays})

    def section(self, name: Section) -> tuple[ArrayEntry, ...]:
        """Return the arrays of a section, in the order of the datapath."""
        return tuple(entry for entry in self.arrays.values() if entry.section == name)

    @property
    def digest(self) -> str:
        """SHA-256 of all that is said of the case, hence of all that it holds."""
        return digest_of(document_of(self))


def entry_of(
    name: str,
    values: npt.NDArray[Any],
    *,
    section: Section,
    letter: str,
    meaning: str,
    axes: tuple[str, ...],
    bits: int,
    signed: bool = True,
    unit: str = "1",
) -> tuple[ArrayEntry, npt.NDArray[Any]]:
    """Return what is said of an array, and the array as it is stored.

    Raises
    ------
    ParameterError
        If an element does not fit the width.
    """
    number: Number = "float" if values.dtype.kind == "f" else "integer"
    entry = ArrayEntry(
        name=name,
        section=section,
        letter=letter,
        meaning=meaning,
        axes=axes,
        shape=values.shape,
        number=number,
        bits=bits,
        signed=signed,
        unit=unit,
        sha256="0" * 64,
    )
    if number == "integer" and not (entry.range[0] <= int(values.min()) and int(values.max()) <= entry.range[1]):
        raise ParameterError(f"array {name}", f"integers of {bits} bits", f"{values.min()} to {values.max()}")
    stored = np.ascontiguousarray(values, stored_type(entry))
    sha256 = hashlib.sha256(little_endian(stored)).hexdigest()
    return ArrayEntry(**{**asdict(entry), "axes": axes, "shape": values.shape, "sha256": sha256}), stored


def stored_type(entry: ArrayEntry) -> np.dtype[Any]:
    """Return the type of an array's elements in memory and, little-endian, in its file."""
    if entry.number == "float":
        return np.dtype(f"f{entry.bits // 8}")
    size = next(size for size in (1, 2, 4, 8) if entry.bits <= 8 * size)
    return np.dtype(f"{'i' if entry.signed else 'u'}{size}")


def little_endian(values: npt.NDArray[Any]) -> memoryview:
    """Return the bytes of an array in C order, each element little-endian."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def document_of(case: Case) -> dict[str, Any]:
    """Return what ``case.json`` says, but for the digest."""
    said = {name: getattr(case, name) for name in Case.__dataclass_fields__ if name not in ("arrays", "values")}
    said |= {
        "contract": asdict(case.contract),
        "groups": [asdict(group) for group in case.groups],
        "faults": [asdict(fault) for fault in case.faults],
        "arrays": [asdict(entry) for entry in case.arrays.values()],
    }
    text = json.dumps({"schema": SCHEMA, "version": SCHEMA_VERSION, **said}, allow_nan=False)
    return dict(json.loads(text))


def listed(names: Sequence[str], most: int = 6) -> str:
    """Return names as they are told to people: the first ones, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def digest_of(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document, digest and command apart: of its JSON with sorted names and no spaces."""
    return json_digest({name: value for name, value in document.items() if name != "command"})
