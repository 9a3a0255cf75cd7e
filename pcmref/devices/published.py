"""The published sets of numbers of phase-change devices, each with its source; SPEC.md, section 5."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pcmref.devices.laws import Constant, Logarithm, Piecewise, Polynomial, PowerLaw
from pcmref.devices.pcm import PcmModel
from pcmref.errors import one_of

__all__ = ["AIHWKIT", "HERMES_1", "HERMES_2", "JOSHI_2020", "MODELS", "NANDAKUMAR_2019", "model"]

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


MODELS: Mapping[str, PcmModel] = MappingProxyType(
    {m.name: m for m in (NANDAKUMAR_2019, AIHWKIT, JOSHI_2020, HERMES_1, HERMES_2)}
)


def model(name: str) -> PcmModel:
    """Return the parameter set called `name`; raise `ParameterError` with the list of names otherwise."""
    one_of("model", name, MODELS)
    return MODELS[name]
