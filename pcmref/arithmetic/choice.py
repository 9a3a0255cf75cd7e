"""Choice of the kernels: numba's where it is installed, else the NumPy reference; same names, same bits."""

from __future__ import annotations

import importlib
import importlib.util
import os
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy.typing as npt

from pcmref.errors import ParameterError, describe

__all__ = ["VARIABLE", "kernels", "kernels_for"]

#: Environment variable that chooses: "numba" or "numpy".
VARIABLE = "PCMREF_KERNELS"
#: Numbers that the plain functions compute before a compiler would be loaded.
FEW = 1000
#: Where the kernels are.
MODULES = {"numba": "pcmref.arithmetic.fast", "numpy": "pcmref.arithmetic.reference"}


def kernels() -> ModuleType:
    """Return the module of kernels to use: ``PCMREF_KERNELS``, or numba's if numba is installed.

    The layers of a chip keep theirs from its first images on.
    """
    return _load(os.environ.get(VARIABLE, ""))


def kernels_for(values: npt.NDArray[Any]) -> ModuleType:
    """Return the module for functions of each value: for a few the plain one, which loads no compiler."""
    return kernels() if values.size > FEW else _load("numpy")


@lru_cache
def _load(choice: str) -> ModuleType:
    if choice not in ("", *MODULES):
        raise ParameterError(VARIABLE, "'numba' or 'numpy'", describe(choice))
    installed = importlib.util.find_spec("numba") is not None
    if choice == "numba" and not installed:
        raise ParameterError(VARIABLE, "numba to be installed", "that it is not")
    return importlib.import_module(MODULES[choice or ("numba" if installed else "numpy")])
