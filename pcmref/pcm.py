"""The statistical model of one PCM device: the published equations, one a function.

``g`` is a conductance relative to G_max, ``g_us`` a conductance in microsiemens, ``t_s`` the time in seconds
since the last programming pulse, ``z`` a standard normal number: randomness is drawn outside.  Everything
works element by element, in float64, in the order written.

Equations from [N19]; the numbers are the fields of a `PcmModel`, and `MODELS` lists the published sets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np

from pcmref.arrays import Float64
from pcmref.elementary import exp, ln, power
from pcmref.errors import ParameterError, describe, instance, one_of, real

__all__ = [
    "AIHWKIT",
    "HERMES_1",
    "HERMES_2",
    "JOSHI_2020",
    "MODELS",
    "NANDAKUMAR_2019",
    "Constant",
    "Law",
    "Logarithm",
    "PcmModel",
    "Piecewise",
    "Polynomial",
    "PowerLaw",
    "check_time",
    "drift_exponent",
    "drifted_us",
    "model",
    "programmed_us",
    "programming_spread_us",
    "read_noise_spread_us",
    "read_us",
    "relative_read_noise",
    "without_noise",
]


#: Latest time that devices can be read at, s: far beyond any retention question.
LATEST_S = 1e12
#: Smallest relative conductance that the logarithm and the power law see (aihwkit's limit).  It keeps ln 0 away; every
#: published law is clipped there.
G_SMALLEST = 1e-7
#: Relative conductances at which a set's laws must be finite; programmed devices exceed 1.
LAW_CHECKED_AT = np.linspace(0.0, 2.0, 201)


class Law(Protocol):
    """A published dependence on the relative conductance g."""

    def __call__(self, g: Float64) -> Float64:
        """Return the value at each g."""
        ...


@dataclass(frozen=True)
class Constant:
    """``value``, whatever g."""

    value: float

    def __call__(self, g: Float64) -> Float64:
        """Return `value` at each g."""
        return np.full_like(g, self.value)


@dataclass(frozen=True)
class Polynomial:
    """``max(c0 + c1 g + c2 g^2 + ..., 0)``, computed by Horner's rule; `coefficients` in rising powers."""

    coefficients: tuple[float, ...]

    def __call__(self, g: Float64) -> Float64:
        """Return the polynomial at each g, at least 0."""
        value = np.full_like(g, self.coefficients[-1])
        for coefficient in reversed(self.coefficients[:-1]):
            value = value * g + coefficient
        return np.maximum(value, 0.0)


@dataclass(frozen=True)
class Logarithm:
    """``clip(slope ln g + offset, low, high)``."""

    slope: float
    offset: float
    low: float
    high: float

    def __call__(self, g: Float64) -> Float64:
        """Return the clipped logarithm at each g."""
        return np.clip(self.slope * ln(np.maximum(g, G_SMALLEST)) + self.offset, self.low, self.high)


@dataclass(frozen=True)
class PowerLaw:
    """``min(factor g^exponent, high)``."""

    factor: float
    exponent: float
    high: float

    def __call__(self, g: Float64) -> Float64:
        """Return the capped power at each g."""
        return np.minimum(self.factor * power(np.maximum(g, G_SMALLEST), self.exponent), self.high)


@dataclass(frozen=True)
class Piecewise:
    """`below` where ``g < split``, `above` elsewhere."""

    split: float
    below: Law
    above: Law

    def __call__(self, g: Float64) -> Float64:
        """Return the law that holds at each g."""
        return np.where(g < self.split, self.below(g), self.above(g))


@dataclass(frozen=True, kw_only=True)
class PcmModel:
    """The numbers of one published statistical model, with units."""

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
                expected = "a law (pcmref.pcm.Constant, ...) with a finite value for each relative conductance"
                raise ParameterError(f"model {self.name}: {name}", expected, describe(law))
        if 1.5 * self.g_max_us > 32767 * self.g_step_us:
            raise ParameterError(
                f"model {self.name}: g_step_us",
                f"at least {1.5 * self.g_max_us / 32767:.3g} uS, so that 1.5 G_max fits 16 bits",
                describe(self.g_step_us),
            )

    @property
    def reference_time_s(self) -> float:
        """Time to ask for so that no drift has happened: t_c, less the offset; the reference of GDC."""
        return self.t_c_s - self.t_offset_s


_N19_PROGRAMMING = Polynomial((0.2635, 1.9650, -1.1731))
_N19_EXPONENT_MEAN = Logarithm(slope=-0.0155, offset=0.0244, low=0.049, high=0.1)
_N19_EXPONENT_SPREAD = Logarithm(slope=-0.0125, offset=-0.0059, low=0.008, high=0.045)
_N19_READ_NOISE = PowerLaw(factor=0.0088, exponent=-0.65, high=0.2)

#: The default: mushroom-type doped Ge2Sb2Te5, 90 nm, a million devices.
NANDAKUMAR_2019 = PcmModel(
    name="NANDAKUMAR_2019",
    source="N19",
    g_max_us=25.0,
    t_c_s=20.0,
    t_read_s=250e-9,
    programming_spread_us=_N19_PROGRAMMING,
    exponent_mean=_N19_EXPONENT_MEAN,
    exponent_spread=_N19_EXPONENT_SPREAD,
    read_noise=_N19_READ_NOISE,
)

#: The same equations as the code of aihwkit has them: time from t_c on, |nu|, Q_s at the programmed
#: conductance, both devices of a pair programmed.  The pair stays a pair (aihwkit merges it).
AIHWKIT = PcmModel(
    name="AIHWKIT",
    source="R21",
    g_max_us=25.0,
    t_c_s=20.0,
    t_read_s=250e-9,
    t_offset_s=20.0,
    programming_spread_us=Polynomial((0.26348, 1.9650, -1.1731)),
    exponent_mean=_N19_EXPONENT_MEAN,
    exponent_spread=_N19_EXPONENT_SPREAD,
    exponent_absolute=True,
    read_noise=_N19_READ_NOISE,
    read_noise_of_programmed=True,
    programs_zero=True,
)

#: Spread of [J20]'s Fig. 3b as CrossSim fits it (in G, here in g = G / 25 uS) and its mean drift exponent.
#: [J20] prints neither the spread of the exponent nor the read noise: those of [N19] stand in.
JOSHI_2020 = PcmModel(
    name="JOSHI_2020",
    source="J20",
    g_max_us=25.0,
    t_c_s=27.36,
    t_read_s=250e-9,
    programming_spread_us=Polynomial((0.28638599, 0.07585724 * 25.0, -0.00178767 * 625.0)),
    exponent_mean=Constant(0.06),
    exponent_spread=_N19_EXPONENT_SPREAD,
    read_noise=_N19_READ_NOISE,
)

#: The 14 nm HERMES chip, one device per polarity, as the code of aihwkit has it.
HERMES_1 = PcmModel(
    name="HERMES_1",
    source="L23",
    g_max_us=10.35,
    t_c_s=200.0,
    t_read_s=512e-9,
    t_offset_s=200.0,
    programming_spread_us=Polynomial((0.15781817, 2.32443916, -2.16310839, 0.68841818)),
    exponent_mean=Piecewise(0.0945, Logarithm(-0.0387, -0.0182, 0.0720, 0.13), Polynomial((0.0736, -0.0126, -0.0436))),
    exponent_spread=Piecewise(0.3039, Logarithm(-0.0120, -0.0023, 0.0124, 0.04), Polynomial((0.0104, 0.0116, -0.0165))),
    exponent_absolute=True,
    read_noise=Piecewise(
        0.1591, Logarithm(-0.0078, 0.0038, 0.0179, 0.04), Polynomial((0.0088, 0.0768, -0.1352, 0.0664))
    ),
    read_noise_of_programmed=True,
    programs_zero=True,
)

#: The same chip with two devices per polarity, counted as one device of twice the conductance.
HERMES_2 = PcmModel(
    name="HERMES_2",
    source="L23",
    g_max_us=20.7,
    t_c_s=300.0,
    t_read_s=512e-9,
    t_offset_s=300.0,
    programming_spread_us=Polynomial((0.16603222, 4.71806468, -8.48101252, 4.68961419)),
    exponent_mean=HERMES_1.exponent_mean,
    exponent_spread=Piecewise(0.3055, Logarithm(-0.0117, -0.0057, 0.0091, 0.04), Polynomial((0.0073, 0.0093, -0.0118))),
    exponent_absolute=True,
    read_noise=Piecewise(0.16, Logarithm(-0.0117, -0.0069, 0.015, 0.04), Polynomial((0.0123, 0.0211, -0.0280, 0.0069))),
    read_noise_of_programmed=True,
    programs_zero=True,
)


def without_noise(model: PcmModel) -> PcmModel:
    """Return `model` with every effect off: devices keep their targets."""
    nothing = Constant(0.0)
    return replace(
        model,
        name=f"{model.name}, noiseless",
        programming_spread_us=nothing,
        exponent_mean=nothing,
        exponent_spread=nothing,
        read_noise=nothing,
        nonconverged_share=0.0,
    )


MODELS: Mapping[str, PcmModel] = MappingProxyType(
    {m.name: m for m in (NANDAKUMAR_2019, AIHWKIT, JOSHI_2020, HERMES_1, HERMES_2)}
)


def model(name: str) -> PcmModel:
    """Return the parameter set called `name`; raise `ParameterError` with the list of names otherwise."""
    one_of("model", name, MODELS)
    return MODELS[name]


def check_time(model: PcmModel, t_s: object) -> float:
    """Return `t_s` as a float if devices can be read then.

    Raises
    ------
    ParameterError
        If it is negative, or not a finite number of seconds up to 1e12 (30,000 years), or if less than two read
        durations have passed since the last pulse, where the 1/f noise has no meaning yet.
    """
    if isinstance(t_s, (bool, str)) or not isinstance(t_s, (int, float, np.integer, np.floating)):
        raise ParameterError("t_s", "a time in seconds", describe(t_s))
    least_s = max(2 * model.t_read_s - model.t_offset_s, 0.0)
    if not least_s <= t_s <= LATEST_S:
        raise ParameterError("t_s", f"from {least_s:.3g} s to 1e12 s", describe(t_s))
    return float(t_s) + 0.0  # -0 s is 0 s, of which a stream is made


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
    log_time = ln(np.float64((t_s + model.t_offset_s) / model.t_c_s))
    return g_prog_us * exp(-nu * log_time)


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
    growth = np.sqrt(ln(np.float64((t_s + model.t_read_s) / (2.0 * model.t_read_s))))
    return g_drift_us * (q_s * growth)


def read_us(g_drift_us: Float64, spread_us: Float64, z: Float64) -> Float64:
    """Return the conductance of one frozen read, uS: ``G = max(G_drift + sigma_nG z, 0)`` [N19]."""
    return np.maximum(g_drift_us + spread_us * z, 0.0)
