#!/usr/bin/env bash
# The self-check with other versions of CPython and of what pcmref imports, in a virtual environment of their own.
#
#   tests/platforms/versions.sh python3.10 numpy==1.26.0 numba==0.60.0 h5py==3.10.0
#   tests/platforms/versions.sh python3.13                   the newest of all three
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1
shift
[ $# -gt 0 ] || set -- numpy numba h5py

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --only-binary :all: "$@"
export PYTHONPATH=$PWD PYTHONDONTWRITEBYTECODE=1 NUMBA_CACHE_DIR=$work/numba
"$work/venv/bin/python" -m pcmref selfcheck
PCMREF_KERNELS=numpy "$work/venv/bin/python" -m pcmref selfcheck | tail -n 2
