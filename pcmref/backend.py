"""Choice of the kernels: numba's where it is installed, else the NumPy twins; same bits."""

from __future__ import annotations

import os
from functools import lru_cache
from types import ModuleType

from pcmref.errors import ParameterError, describe

__all__ = ["VARIABLE", "kernels"]

#: Environment variable that chooses: "numba" or "numpy".
VARIABLE = "PCMREF_KERNELS"


def kernels() -> ModuleType:
    """Return the module of kernels to use: ``PCMREF_KERNELS``, or numba's if numba is installed."""
    return _load(os.environ.get(VARIABLE, ""))


@lru_cache
def _load(choice: str) -> ModuleType:
    if choice not in ("", "numba", "numpy"):
        raise ParameterError(VARIABLE, "'numba' or 'numpy'", describe(choice))
    if choice != "numpy":
        try:
            from pcmref import kernels as fast
        except ImportError:
            if choice == "numba":
                raise
        else:
            return fast
    from pcmref import kernels_numpy

    return kernels_numpy
