"""Images and labels of one's own, in an HDF5 file; SPEC.md, appendix A."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pcmref.arrays import Int64, UInt8
from pcmref.errors import FileError, path_of
from pcmref.files.hdf5 import Contents, opened
from pcmref.network.images import Samples

__all__ = ["load_samples"]


def load_samples(path: str | Path) -> tuple[Samples, Samples | None]:
    """Read images to judge by and, if there are some, to calibrate with.

    Parameters
    ----------
    path : str or Path
        An HDF5 file with ``images``, uint8 of shape (n, height, width, channels), and ``labels``, integers of shape
        (n,); and with ``calibration/images`` and ``calibration/labels`` likewise.

    Returns
    -------
    (Samples, Samples or None)

    Raises
    ------
    FileError
        Naming the place in the file, what belongs there and what was found.
    """
    path = path_of("path", path)
    with opened(path) as contents:
        contents.expect_members("", required={"images", "labels"}, optional={"calibration"})
        contents.expect_sizes()
        calibration = None
        if "calibration" in contents.members(""):
            contents.expect_members("calibration", required={"images", "labels"})
            calibration = _samples(contents, "calibration/", str(path))
        return _samples(contents, "", str(path)), calibration


def _samples(contents: Contents, group: str, where: str) -> Samples:
    images: UInt8 = contents.array(f"{group}images", np.uint8, shape=(None,) * 4)
    return Samples(
        images=images, labels=_labels(contents, f"{group}labels", len(images)), where=f"{where}: {group}images"
    )


def _labels(contents: Contents, name: str, count: int) -> Int64:
    """Return labels of any type of integer as int64."""
    found = contents.dataset(name)
    if found.dtype is None or found.dtype.kind not in "iu" or found.shape != (count,):
        raise FileError(name, f"{count} integers", f"{found.dtype} of shape {found.shape}")
    return contents.read(name).astype(np.int64)  # beyond 2^63 they are negative, which no label is
