"""Phase-change memory: the published equations of one device, one a function, and devices that follow them.

``g`` is a conductance relative to G_max, ``g_us`` a conductance in microsiemens, ``t_s`` the time in seconds
since the last programming pulse, ``z`` a standard normal number: randomness is drawn outside.  Everything
works element by element, in float64, in the order written; SPEC.md, section 5.

Equations from [N19]; the numbers are the fields of a `PcmModel`, and ``published.py`` has the published sets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pcmref.arithmetic.choice import kernels
from pcmref.arithmetic.codes import CODE_LIMIT, conductance_codes, variance_codes
from pcmref.arithmetic.draws import Purpose, uniforms
from pcmref.arithmetic.elementary import ln
from pcmref.arrays import Bool, Float64, Int16, Int64, ReadOnly, Scalar, UInt32, check_array, in_parts
from pcmref.devices.laws import Constant, Law
from pcmref.devices.technology import DeviceCodes, Words
from pcmref.errors import ParameterError, describe, instance, real

__all__ = [
    "LATEST_S",
    "PcmModel",
    "PcmState",
    "drift_exponent",
    "drifted_us",
    "programmed_us",
    "programming_spread_us",
    "read_noise_spread_us",
    "read_us",
    "relative_read_noise",
]


#: Latest time that devices can be read at, s: far beyond any retention question.
LATEST_S = 1e12
#: Relative conductances at which a set's laws must be finite; programmed devices exceed 1.
LAW_CHECKED_AT = np.linspace(0.0, 2.0, 201)
#: Programmed conductances up to this multiple of G_max must fit the grid.
PROGRAMMED_MOST = 1.5


def programming_spread_us(model: PcmModel, g_target: Float64) -> Float64:
    """Return the standard deviation of the programmed conductance, uS.

    [N19]: ``sigma_prog = max(-1.1731 g_T^2 + 1.9650 g_T + 0.2635, 0)``.
    """
    return model.programming_spread_us(g_target)


def programmed_us(model: PcmModel, g_target_us: Float64, z: Float64) -> Float64:
    """Return the conductance after programming, uS: ``G_prog = max(G_T + sigma_prog z, 0)`` [N19]."""
    spread = programming_spread_us(model, g_target_us / model.g_max_us)
    return np.maximum(g_target_us + spread * z, 0.0)


def drift_exponent(model: PcmModel, g_target: Float64, z: Float64) -> Float64:
    """Return the drift exponent of each device: ``nu = mu_nu + sigma_nu z`` [N19].

    ``mu_nu = clip(-0.0155 ln g_T + 0.0244, 0.049, 0.1)``, ``sigma_nu = clip(-0.0125 ln g_T - 0.0059, 0.008,
    0.045)``; the sets of aihwkit take the absolute value.
    """
    nu = model.exponent_mean(g_target) + model.exponent_spread(g_target) * z
    return np.abs(nu) if model.exponent_absolute else nu


def drifted_us(model: PcmModel, g_prog_us: Float64, nu: Float64, t_s: float) -> Float64:
    """Return the conductance at time t, uS: ``G(t) = G_prog (t / t_c)^-nu = G_prog exp(-nu ln(t / t_c))`` [N19]."""
    log_time = _ln((t_s + model.t_offset_s) / model.t_c_s)
    return np.asarray(g_prog_us * kernels().exp(-nu * log_time))


def relative_read_noise(model: PcmModel, g: Float64) -> Float64:
    """Return the amplitude of the 1/f noise relative to the conductance: ``Q_s = min(0.0088 / g^0.65, 0.2)`` [N19].

    g is the target or, in aihwkit's sets, the programmed relative conductance.
    """
    return model.read_noise(g)


def read_noise_spread_us(model: PcmModel, g_drift_us: Float64, q_s: Float64, t_s: float) -> Float64:
    """Return the standard deviation of a read at time t, uS [N19].

    ``sigma_nG = G_drift(t) Q_s sqrt(ln((t + t_read) / (2 t_read)))``.
    """
    t_s = t_s + model.t_offset_s
    growth = np.sqrt(_ln((t_s + model.t_read_s) / (2.0 * model.t_read_s)))
    return g_drift_us * (q_s * growth)


def read_us(g_drift_us: Float64, spread_us: Float64, z: Float64) -> Float64:
    """Return the conductance of one frozen read, uS: ``G = max(G_drift + sigma_nG z, 0)`` [N19]."""
    return np.maximum(g_drift_us + spread_us * z, 0.0)


@lru_cache
def _ln(ratio: float) -> Float64:
    """Return the logarithm of a ratio of times, which all devices of a chip share."""
    return ln(np.float64(ratio))


@dataclass(frozen=True, kw_only=True, eq=False)
class PcmState(ReadOnly):
    """The programmed devices of one layer; all others are RESET (0 uS at any time).

    Parameters
    ----------
    programmed : bool, shape (2, rows, columns)
        Which devices, + then -: n of them, in this order.
    g_prog_us : float64, shape (n,)
        Conductance at t_c, uS.
    nu : float64, shape (n,)
        Drift exponent.
    q_s : float64, shape (n,)
        Relative amplitude of the read noise.
    """

    programmed: Bool
    g_prog_us: Float64
    nu: Float64
    q_s: Float64

    def __post_init__(self) -> None:
        check_array("programmed", self.programmed, np.bool_, (2, None, None), 0)
        count = int(np.count_nonzero(self.programmed))
        for field, least in (("g_prog_us", 0.0), ("nu", -np.inf), ("q_s", 0.0)):
            check_array(field, getattr(self, field), np.float64, (count,), least)
        super().__post_init__()

    @property
    def device(self) -> Int64:
        """Where the programmed devices are among all: ``(polarity * rows + row) * columns + column``."""
        return np.flatnonzero(self.programmed)

    def dense(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Spread one value a programmed device to shape ``(2, rows, columns)``: +, then -; else 0."""
        return _spread(values, self.device, self.programmed.shape)


def _spread(values: npt.NDArray[Scalar], device: Int64, shape: tuple[int, ...]) -> npt.NDArray[Scalar]:
    spread = np.zeros(shape, values.dtype)
    spread.reshape(-1)[device] = values
    return spread


@dataclass(frozen=True, kw_only=True)
class PcmModel:
    """The numbers of one published statistical model, with units: a `pcmref.devices.technology.Technology`."""

    name: str
    #: Key of the source in ``references.py``.
    source: str
    #: Largest target conductance, uS: the weight of largest size in a layer (or column) is mapped to it.
    g_max_us: float
    #: Time after the last pulse at which drift is counted from (the first read of the data), s.
    t_c_s: float
    #: Time constant of the 1/f read noise (duration of a read), s.
    t_read_s: float
    #: Added to the time asked for: 0 where t counts from the last programming pulse.
    t_offset_s: float = 0.0
    #: Standard deviation of the programmed conductance, uS.
    programming_spread_us: Law
    #: Mean and standard deviation of the drift exponent nu.
    exponent_mean: Law
    exponent_spread: Law
    #: Whether the size of the drawn nu is taken, so that no device drifts upwards.
    exponent_absolute: bool = False
    #: Relative amplitude Q_s of the 1/f read noise.
    read_noise: Law
    #: Whether Q_s is taken at the programmed instead of the target conductance.
    read_noise_of_programmed: bool = False
    #: Whether a device of target zero is programmed like the others instead of being RESET to 0 uS.
    programs_zero: bool = False
    #: Share of programmed devices that do not converge; theirs is a uniform conductance from 0 to G_max.
    nonconverged_share: float = 0.0
    #: Step of the integer conductance grid, uS, a power of two.
    g_step_us: float = 2.0**-9

    def __post_init__(self) -> None:
        for name in ("g_max_us", "t_c_s", "t_read_s", "g_step_us", "t_offset_s", "nonconverged_share"):
            value = real(f"model {self.name}: {name}", getattr(self, name), "a finite number")
            object.__setattr__(self, name, value)
        for name in ("exponent_absolute", "read_noise_of_programmed", "programs_zero"):
            instance(f"model {self.name}: {name}", getattr(self, name), bool)
        for name, fits, expected in (
            ("g_max_us", self.g_max_us > 0, "a positive number"),
            ("t_read_s", self.t_read_s > 0, "a positive number"),
            ("t_c_s", self.t_c_s >= 2 * self.t_read_s, f"at least 2 t_read_s = {2 * self.t_read_s:g} s"),
            ("t_offset_s", 0 <= self.t_offset_s <= self.t_c_s, "from 0 to t_c_s"),
            ("nonconverged_share", 0 <= self.nonconverged_share <= 1, "from 0 to 1"),
            ("g_step_us", self.g_step_us > 0 and math.frexp(self.g_step_us)[0] == 0.5, "a power of two"),
        ):
            if not fits:
                raise ParameterError(f"model {self.name}: {name}", expected, describe(getattr(self, name)))
        for name in ("programming_spread_us", "exponent_mean", "exponent_spread", "read_noise"):
            law = getattr(self, name)
            values = np.asarray(law(LAW_CHECKED_AT) if callable(law) else np.nan)
            if values.shape != LAW_CHECKED_AT.shape or not np.isfinite(values).all():
                expected = "a law (pcmref.devices.laws.Constant, ...) with a finite value for each relative conductance"
                raise ParameterError(f"model {self.name}: {name}", expected, describe(law))
        least_us = PROGRAMMED_MOST * self.g_max_us / CODE_LIMIT
        if self.g_step_us < least_us:
            raise ParameterError(
                f"model {self.name}: g_step_us",
                f"at least {least_us:.3g} uS, so that {PROGRAMMED_MOST:g} G_max fits 16 bits",
                describe(self.g_step_us),
            )

    @property
    def reference_time_s(self) -> float:
        """Time to ask for so that no drift has happened: t_c, less the offset; the reference of GDC."""
        return self.t_c_s - self.t_offset_s

    def check_time(self, t_s: object) -> float:
        """Return `t_s` as a float if devices can be read then.

        Raises
        ------
        ParameterError
            If it is negative, or not a finite number of seconds up to 1e12 (30,000 years), or if less than two read
            durations have passed since the last pulse, where the 1/f noise has no meaning yet.
        """
        if isinstance(t_s, (bool, str)) or not isinstance(t_s, (int, float, np.integer, np.floating)):
            raise ParameterError("t_s", "a time in seconds", describe(t_s))
        least_s = max(2 * self.t_read_s - self.t_offset_s, 0.0)
        if not least_s <= t_s <= LATEST_S:
            raise ParameterError("t_s", f"from {least_s:.3g} s to 1e12 s", describe(t_s))
        return float(t_s) + 0.0  # -0 s is 0 s, of which a stream is made

    def program(self, target_us: Float64, words: Words) -> PcmState:
        """Program the devices of a layer.

        Parameters
        ----------
        target_us : float64, shape (2, rows, columns)
        words : Words
            Of PROGRAM: programming noise of the + and - device, drift exponent of the + and - device.  Of CONVERGENCE,
            if any device may not converge: convergence of the + and - device; their conductance if they did not.  What
            did not converge drifts and fluctuates as a device that was meant to be where it is.
        """
        chosen = np.full(target_us.shape, True) if self.programs_zero else target_us != 0.0
        device = np.flatnonzero(chosen)
        meant_us = target_us.reshape(-1)[device]
        target = meant_us / self.g_max_us
        noise = words(Purpose.PROGRAM)
        of_prog, of_nu = (part.reshape(-1)[device] for part in (noise[:2], noise[2:]))

        def programmed(meant_us: Float64, word: UInt32) -> tuple[Float64]:
            return (programmed_us(self, meant_us, kernels().normals(word)),)

        (g_prog_us,) = in_parts(programmed, meant_us, of_prog)
        if self.nonconverged_share > 0.0:
            convergence = words(Purpose.CONVERGENCE)
            failed = uniforms(convergence[:2].reshape(-1)[device]) < self.nonconverged_share
            failed &= meant_us > 0.0
            anywhere_us = uniforms(convergence[2:].reshape(-1)[device]) * self.g_max_us
            g_prog_us = np.where(failed, anywhere_us, g_prog_us)
            target = np.where(failed, anywhere_us / self.g_max_us, target)
        read_at = g_prog_us / self.g_max_us if self.read_noise_of_programmed else target

        def drift_and_noise(g: Float64, g_read: Float64, word: UInt32) -> tuple[Float64, Float64]:
            return drift_exponent(self, g, kernels().normals(word)), relative_read_noise(self, g_read)

        nu, q_s = in_parts(drift_and_noise, target, read_at, of_nu)
        return PcmState(programmed=chosen, g_prog_us=g_prog_us, nu=nu, q_s=q_s)

    def read(self, state: PcmState, t_s: float, words: Words) -> DeviceCodes:
        """Let the devices of a layer drift to `t_s` and read them.

        Parameters
        ----------
        state : PcmState
        t_s : float
        words : Words
            Of READ: read noise of the + and - device of each weight (words 0 and 1).
        """

        def codes(g_prog_us: Float64, nu: Float64, q_s: Float64, word: UInt32) -> tuple[Int16, Int16, Int16]:
            drift_us = drifted_us(self, g_prog_us, nu, t_s)
            spread_us = read_noise_spread_us(self, drift_us, q_s, t_s)
            noisy_us = read_us(drift_us, spread_us, kernels().normals(word))
            mean, read = (conductance_codes(g_us, self.g_step_us) for g_us in (drift_us, noisy_us))
            return mean, read, variance_codes(spread_us * spread_us, self.g_step_us)

        device, shape = state.device, state.programmed.shape
        z = words(Purpose.READ)[:2].reshape(-1)[device]
        found = in_parts(codes, state.g_prog_us, state.nu, state.q_s, z)
        mean, read, variance = (_spread(values, device, shape) for values in found)
        return DeviceCodes(mean=mean, read=read, variance=variance)

    def ideal(self) -> PcmModel:
        """Return the same with every effect off: devices keep their targets."""
        nothing = Constant(0.0)
        return replace(
            self,
            name=f"{self.name}, noiseless",
            programming_spread_us=nothing,
            exponent_mean=nothing,
            exponent_spread=nothing,
            read_noise=nothing,
            nonconverged_share=0.0,
        )
