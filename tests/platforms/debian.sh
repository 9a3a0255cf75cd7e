#!/usr/bin/env bash
# The self-check on another architecture: Debian's CPython, NumPy and h5py under QEMU's user emulation.
#
#   tests/platforms/debian.sh ARCHITECTURE [SUITE]     arm64, i386, s390x, ...; trixie
#
# NUMBA=yes takes Debian's numba too; without it, NumPy's kernels run.
# APT_OPTIONS="[trusted=yes check-valid-until=no]" takes a suite whose keys or dates this machine does not know.
# Needs Debian's mmdebstrap and qemu-user-static.  The packages are unpacked in build/platforms, 140 MB each, 600 MB
# with numba; nothing is installed, and no script of theirs runs.  Exit status 3: they could not be had.
set -euo pipefail
cd "$(dirname "$0")/../.."
arch=$1 suite=${2:-trixie}

packages=python3-numpy,python3-h5py${NUMBA:+,python3-numba}
root=$PWD/build/platforms/$suite-$arch${NUMBA:+-numba}
if [ ! -d "$root" ]; then
    mkdir -p "$(dirname "$root")"
    rm -rf "$root.part"
    echo "deb ${APT_OPTIONS:-} http://deb.debian.org/debian $suite main" |
        mmdebstrap --quiet --variant=extract --architectures="$arch" --include="$packages" "$suite" "$root.part" - ||
        exit 3
    for folder in lib lib64; do # where /usr has not been merged by a script of the packages
        [ ! -d "$root.part/usr/$folder" ] || [ -e "$root.part/$folder" ] || ln -s "usr/$folder" "$root.part/$folder"
    done
    mv "$root.part" "$root"
fi

declare -A emulators=(
    [amd64]=x86_64 [arm64]=aarch64 [armhf]=arm [i386]=i386 [ppc64el]=ppc64le [riscv64]=riscv64 [s390x]=s390x
)
libraries=$(echo "$root"/usr/lib/*-linux-gnu*)
python=$(echo "$root"/usr/bin/python3.[0-9]*)
# no alternative is chosen where nothing is installed, so BLAS and LAPACK are named
exec "qemu-${emulators[$arch]}-static" -L "$root" \
    -E LD_LIBRARY_PATH="$libraries:$libraries/blas:$libraries/lapack" -E PYTHONHOME="$root/usr" \
    -E PYTHONPATH="$PWD:$root/usr/lib/python3/dist-packages" -E PYTHONDONTWRITEBYTECODE=1 \
    -E NUMBA_CACHE_DIR="$root/tmp" "$python" -m pcmref selfcheck
