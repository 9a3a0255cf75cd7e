"""The door for a device technology: what a chip asks of the devices that hold its weights.

A technology knows one device of a pair: how it is programmed and what is read of it later.  Where the targets come
from, which random words belong to which device and what is multiplied with the codes is decided elsewhere, so another
technology is one class with these members, and nothing else changes.  `pcmref.devices.pcm` is the first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from pcmref.arithmetic.draws import Purpose
from pcmref.arrays import Float64, Int16, UInt32
from pcmref.errors import ParameterError, describe

__all__ = ["DeviceCodes", "State", "Technology", "Words", "check_technology", "fields_of"]

#: ``words(purpose)`` are the random words of a layer for one purpose: uint32, shape (4, rows * columns), four for each
#: weight.  They are drawn outside, and only those that are asked for.
Words: TypeAlias = Callable[[Purpose], UInt32]
#: What a technology remembers of the devices of a layer; only the technology looks inside.  It can be pickled.
State: TypeAlias = Any


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceCodes:
    """The devices of a layer at one time, on the integer grids of SPEC.md, section 7.

    Parameters
    ----------
    mean : int16, shape (2, rows, columns)
        ``n(G_D)`` of every device, + then -: conductance without read noise, in steps of ``g_step_us``.
    read : int16, shape (2, rows, columns)
        ``n(G)``: the same with the noise of this read.
    variance : int16, shape (2, rows, columns)
        ``V``: variance of the read noise of every device, in steps of ``64 g_step_us^2``.
    """

    mean: Int16
    read: Int16
    variance: Int16


@runtime_checkable
class Technology(Protocol):
    """A frozen dataclass of numbers, texts and the like, which can be compared and written as JSON, with these members.

    Attributes
    ----------
    name : str
    g_max_us : float
        Largest target conductance, uS: the weight of largest size in a layer (or column) is mapped to it.
    g_step_us : float
        Step of the integer conductance grid, uS.
    reference_time_s : float
        Time at which nothing has drifted yet, s: that of the reference of GDC.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...  # noqa: D102  (described above)
    @property
    def g_max_us(self) -> float: ...  # noqa: D102
    @property
    def g_step_us(self) -> float: ...  # noqa: D102
    @property
    def reference_time_s(self) -> float: ...  # noqa: D102

    def check_time(self, t_s: object) -> float:
        """Return `t_s`, seconds since the last programming pulse, as a float if devices can be read then.

        Raises
        ------
        ParameterError
            Otherwise.
        """
        ...

    def program(self, target_us: Float64, words: Words) -> State:
        """Program the devices of a layer.

        Parameters
        ----------
        target_us : float64, shape (2, rows, columns)
            Target conductance of every device, + then -, from 0 to `g_max_us`, uS; one of each pair is 0.
        words : Words
        """
        ...

    def read(self, state: State, t_s: float, words: Words) -> DeviceCodes:
        """Return the devices of a layer as they are at a time.

        Parameters
        ----------
        state : State
            What `program` returned.
        t_s : float
            That `check_time` returned, or `reference_time_s`.
        words : Words
        """
        ...

    def ideal(self) -> Technology:
        """Return the same with every effect off: devices keep their targets, and reads are exact."""
        ...


def check_technology(model: object) -> None:
    """Raise `ParameterError` unless `model` has the members of a technology; a class of technologies is none itself."""
    if isinstance(model, type) or not isinstance(model, Technology):
        raise ParameterError("model", "a Technology (pcmref.MODELS)", describe(model))


def fields_of(model: Technology) -> dict[str, Any]:
    """Return all numbers of a technology, as JSON has them.

    Raises
    ------
    ParameterError
        If something in it cannot be written as JSON.
    """
    try:
        return dict(json.loads(json.dumps(asdict(model))))
    except (TypeError, ValueError) as error:
        raise ParameterError("model", "dataclasses of numbers and texts all through", str(error)) from error
