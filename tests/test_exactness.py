"""Contract 1: the same bits whatever the batch, the threads, the kernels, the BLAS and the processor."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

CASE = Path(__file__).parent / "helpers" / "exactness.py"
#: Processor features that NumPy chooses its loops by (a private name, in another place in NumPy 1).
DISPATCHED = (np._core if hasattr(np, "_core") else np.core)._multiarray_umath.__cpu_dispatch__

#: SHA-256 of what `exactness` prints, but for networks that came later, which have their own.  Another value is another
#: version of the specification.
GOLDEN = "82d8a78d223aa3dd009fd0e8442ba2f80fc70e6b8cfe72158367947f4da9a28f"
GOLDEN_SPLIT = "e1310fb2f81c21d4738769ebbe6a61221043c0ff9739993a0f7c7ca2d5f73fc6"

VARIANTS = {
    "batch 1, 1 thread": (["--batch", "1", "--threads", "1"], {}),
    "batch 7": (["--batch", "7"], {}),
    "other order": (["--shuffle", "--batch", "16"], {}),
    "no JIT": ([], {"NUMBA_DISABLE_JIT": "1"}),
    "NumPy twin": ([], {"PCMREF_KERNELS": "numpy"}),
    "NumPy twin, plain CPU": (
        [],
        {"PCMREF_KERNELS": "numpy", "NPY_DISABLE_CPU_FEATURES": " ".join(DISPATCHED)},
    ),
    "plain CPU": ([], {"NPY_DISABLE_CPU_FEATURES": " ".join(DISPATCHED), "NUMBA_CPU_NAME": "generic"}),
    "OpenBLAS Prescott": ([], {"PCMREF_KERNELS": "numpy", "OPENBLAS_CORETYPE": "Prescott"}),
    "OpenBLAS Haswell": ([], {"PCMREF_KERNELS": "numpy", "OPENBLAS_CORETYPE": "Haswell"}),
    "numba AVX2": ([], {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,-avx512f"}),
}


def run(arguments, environment):
    command = [sys.executable, "-W", "error", str(CASE), *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def results():
    with ThreadPoolExecutor(2) as pool:
        plain = pool.submit(run, [], {})
        others = {name: pool.submit(run, *variant) for name, variant in VARIANTS.items()}
        return plain.result(), {name: future.result() for name, future in others.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_same_bits(results, name):
    plain, others = results
    different = [key for key in plain if plain[key] != others[name][key]]
    assert not different
    assert plain.keys() == others[name].keys()


def test_golden(results):
    """The bits of version 3 of the specification, on any machine."""
    plain, _ = results
    later = {key: value for key, value in plain.items() if key.startswith("split network")}
    first = {key: value for key, value in plain.items() if key not in later}
    assert hashlib.sha256(json.dumps(first).encode()).hexdigest() == GOLDEN
    assert hashlib.sha256(json.dumps(later).encode()).hexdigest() == GOLDEN_SPLIT


def test_case_is_alive(results):
    plain, _ = results
    assert len(plain) > 40
    assert len({value for key, value in plain.items() if key.endswith(("none", "gdc", "gdc+adabs"))}) == 9


def test_variants_reach_their_targets():
    """The environment variables do what the variants claim."""
    code = "from pcmref.arithmetic.choice import kernels; print(kernels().__name__)"
    out = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PCMREF_KERNELS": "numpy"}, capture_output=True, text=True
    ).stdout
    assert out.strip() == "pcmref.arithmetic.reference"
