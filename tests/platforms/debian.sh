#!/usr/bin/env bash
# The self-check on another architecture: Debian's CPython, NumPy and h5py under QEMU's user emulation, without numba.
#
#   tests/platforms/debian.sh arm64|i386|s390x [trixie] [COMMAND...]
#
# COMMAND is what `python -m` gets, by default `pcmref selfcheck`.  Needs Debian's mmdebstrap and qemu-user-static.
# The packages are unpacked in build/platforms, 140 MB each; nothing is installed, no script of theirs runs.
set -euo pipefail
cd "$(dirname "$0")/../.."
arch=$1 suite=${2:-trixie}
shift $(($# < 2 ? $# : 2))
[ $# -gt 0 ] || set -- pcmref selfcheck

root=$PWD/build/platforms/$suite-$arch
if [ ! -d "$root" ]; then
    mkdir -p "$(dirname "$root")"
    mmdebstrap --quiet --variant=extract --architectures="$arch" --include=python3-numpy,python3-h5py \
        "$suite" "$root.part" http://deb.debian.org/debian
    ln -s usr/lib "$root.part/lib"
    mv "$root.part" "$root"
fi

declare -A emulators=([arm64]=aarch64 [i386]=i386 [s390x]=s390x [armhf]=arm [riscv64]=riscv64 [ppc64el]=ppc64le)
libraries=$(echo "$root"/usr/lib/*-linux-gnu*)
python=$(echo "$root"/usr/bin/python3.[0-9]*)
# no alternative is chosen where nothing is installed, so BLAS and LAPACK are named
exec "qemu-${emulators[$arch]}-static" -L "$root" \
    -E LD_LIBRARY_PATH="$libraries:$libraries/blas:$libraries/lapack" -E PYTHONHOME="$root/usr" \
    -E PYTHONPATH="$PWD:$root/usr/lib/python3/dist-packages" -E PYTHONDONTWRITEBYTECODE=1 \
    "$python" -m "$@"
