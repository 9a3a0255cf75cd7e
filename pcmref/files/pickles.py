"""Pickles read by a machine of our own, which calls what it is given, hashes texts and numbers alone, and stops.

Python's own does what a pickle asks for: a memo of 2^32 places, a hash that never ends, a call.  An object of a class
that is not among those given ends the reading, or, where asked for, is passed over: nothing of it is made.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import IO, Any

__all__ = ["Foreign", "Name", "Recorded", "UnknownNameError", "unpickled"]

#: Most opcodes of a pickle: a genuine batch of CIFAR-10 has 50,000.
OPCODE_LIMIT = 1 << 20
#: Types of the keys of a dict.
KEYS = (str, bytes, int, float, bool, type(None))
#: Opcodes whose argument is a value, and constants.
VALUES = frozenset(
    {
        *("NONE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
        *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"),
    }
)
CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}


class UnknownNameError(UnpicklingError):
    """A class or function that no pickle of this kind has."""


class Name:
    """A class or function that a pickle names; it is called only if it is among those that were given."""

    def __init__(self, name: str) -> None:
        self.name = name


class Recorded:
    """Stands for an object of some class: it records how it would be made, and does nothing."""

    def __init__(self, *args: object) -> None:
        self.args = args
        self.state: object = None


class Foreign:
    """Stands for an object of a class that is not among those given: the name of that class, and nothing else."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Mark:
    """Stands on the stack where several values begin."""


def unpickled(
    stream: IO[bytes],
    calls: Mapping[str, Callable[..., Any]],
    *,
    persistent: Callable[[Any], Any] | None = None,
    foreign: bool = False,
) -> Any:
    """Return the next value of a stream of pickles.

    Parameters
    ----------
    stream : binary file
    calls : mapping of name to callable
        The only classes and functions that may be called, and what is called in place of each.
    persistent : callable, optional
        What makes a value of a persistent identifier.
    foreign : bool
        Whether other classes and functions may be named: what they would make is a `Foreign`.

    Returns
    -------
    object
        Texts of Python 2 are bytes.

    Raises
    ------
    Exception
        Of any kind, if the pickle is damaged or has anything else in it.
    """
    machine = _Machine(calls, persistent, foreign=foreign)
    for number, (opcode, arg, _) in enumerate(pickletools.genops(stream)):
        if number >= OPCODE_LIMIT:
            raise UnpicklingError(f"more than {OPCODE_LIMIT} opcodes")
        if opcode.name == "STOP":
            break
        machine.step(opcode.name, arg)
    return machine.stack.pop()


class _Machine:
    """The stack of values, and those that are kept for later."""

    def __init__(
        self, calls: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any] | None, *, foreign: bool
    ) -> None:
        self.calls, self.persistent, self.foreign = calls, persistent, foreign
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, arg: Any) -> None:
        """Do one opcode: put a value on the stack, or keep one, or make one of others."""
        stack = self.stack
        if opcode in VALUES:
            stack.append(arg)
        elif opcode in CONSTANTS:
            stack.append(CONSTANTS[opcode]())
        elif opcode in ("SHORT_BINSTRING", "BINSTRING", "STRING"):
            stack.append(arg.encode("latin-1"))
        elif opcode in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self.memo[len(self.memo) if arg is None else arg] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[arg])
        elif opcode == "MARK":
            stack.append(_Mark)
        elif opcode not in ("PROTO", "FRAME"):
            self._combine(opcode, arg)

    def _combine(self, opcode: str, arg: Any) -> None:
        """Make one value of those on top of the stack."""
        stack = self.stack
        match opcode:
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "TUPLE":
                stack.append(tuple(_marked(stack)))
            case "LIST":
                stack.append(_marked(stack))
            case "DICT":
                stack.append(_filled({}, _marked(stack)))
            case "APPEND" | "APPENDS":
                values = _marked(stack) if opcode == "APPENDS" else [stack.pop()]
                if not isinstance(stack[-1], Foreign):
                    _expect(stack[-1], list).extend(values)
            case "SETITEM" | "SETITEMS":
                values = _marked(stack) if opcode == "SETITEMS" else [stack.pop(-2), stack.pop()]
                if not isinstance(stack[-1], Foreign):
                    _filled(_expect(stack[-1], dict), values)
            case "GLOBAL" | "STACK_GLOBAL":
                name = arg.replace(" ", ".") if arg else f"{stack.pop(-2)}.{stack.pop()}"
                if name not in self.calls and not self.foreign:
                    raise UnknownNameError(f"the name {name[:100]}")
                stack.append(Name(name))
            case "REDUCE":
                args = _expect(stack.pop(), tuple)
                stack.append(self._made(stack.pop(), args))
            case "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], (dict, Foreign)):  # what is kept beside the items of a dict is passed over
                    _expect(stack[-1], Recorded).state = state
            case "NEWOBJ" | "NEWOBJ_EX" | "EMPTY_SET" | "FROZENSET" | "ADDITEMS" if self.foreign:
                self._pass_over(opcode)
            case "BINPERSID" if self.persistent is not None:
                stack.append(self.persistent(stack.pop()))
            case _:
                raise UnpicklingError(f"the opcode {opcode}")

    def _made(self, named: Any, args: tuple[Any, ...]) -> Any:
        """Return what a call makes: something else in its place, or a `Foreign`."""
        if isinstance(named, Foreign):
            return named
        name = _expect(named, Name).name
        return self.calls[name](*args) if name in self.calls else Foreign(name)

    def _pass_over(self, opcode: str) -> None:
        """Put a `Foreign` on the stack for an object that is made without a call, or for a set."""
        stack = self.stack
        match opcode:
            case "NEWOBJ" | "NEWOBJ_EX":
                del stack[-2 if opcode == "NEWOBJ_EX" else -1 :]
                stack.append(Foreign(_expect(stack.pop(), Name).name))
            case "EMPTY_SET":
                stack.append(Foreign("builtins.set"))
            case "FROZENSET":
                _marked(stack)
                stack.append(Foreign("builtins.frozenset"))
            case "ADDITEMS":
                _marked(stack)
                _expect(stack[-1], Foreign)


def _marked(stack: list[Any]) -> list[Any]:
    """Take the values from the last mark on."""
    values = []
    while (value := stack.pop()) is not _Mark:
        values.append(value)
    return values[::-1]


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise UnpicklingError(f"a {type(value).__name__} in place of a {kind.__name__}")
    return value


def _filled(target: dict[Any, Any], pairs: list[Any]) -> dict[Any, Any]:
    """Put keys and values into a dict, but for keys that are passed over."""
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if isinstance(key, Foreign):
            continue
        if type(key) not in KEYS:
            raise UnpicklingError(f"a {type(key).__name__} as a key")
        target[key] = value
    return target
