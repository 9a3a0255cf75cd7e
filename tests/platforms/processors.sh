#!/usr/bin/env bash
# The self-check on this machine as other processors and libraries would have it: instructions that are not used,
# kernels that are not compiled, another BLAS.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH=$PWD
dispatched=$(python -c "
import numpy as np
print(' '.join((np._core if hasattr(np, '_core') else np.core)._multiarray_umath.__cpu_dispatch__))")
status=0

check() {
    local name=$1
    shift
    env "$@" python -m pcmref selfcheck > "$work/out" || status=1
    printf '%-40s %s\n' "$name" "$(tail -n 2 "$work/out" | tr '\n' ' ')"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export NUMBA_CACHE_DIR=$work/numba
check "as it is"
check "JIT off" NUMBA_DISABLE_JIT=1
check "NumPy's kernels" PCMREF_KERNELS=numpy
check "AVX-512 off" NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx2,+fma,-avx512f
check "AVX2 and FMA off" NUMBA_CPU_NAME=nehalem NUMBA_CPU_FEATURES=+sse4.2,-avx,-avx2,-fma,-avx512f
check "no vectors but SSE2" NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES=+sse2
check "NumPy's loops without dispatch" PCMREF_KERNELS=numpy "NPY_DISABLE_CPU_FEATURES=$dispatched"
for core in Prescott Nehalem Haswell SkylakeX Zen; do
    check "OpenBLAS for $core" PCMREF_KERNELS=numpy "OPENBLAS_CORETYPE=$core"
done
exit $status
