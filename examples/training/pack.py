"""Pack the training images of CIFAR-10 small, without loss, for a machine that nothing can be downloaded to.

``python examples/training/pack.py DATA PACKED`` writes ``PACKED/part-1`` and ``PACKED/part-2``, each with all labels
and half of the images, which can travel one after the other. The test images stay at home.

Lossless WebP takes 86 MB where xz takes 116 and PNG 108. Nothing lossy will do: JPEG of quality 95 (38 MB, 39.8 dB)
costs `weights/resnet32-cifar10-clean.h5` 0.8 points on its 5,000 validation images, so a network trained on such images
would not be at its best on those of the test set.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from data import Data, cifar10_training, without_test
from numpy.typing import NDArray
from PIL import Image

from pcmref.errors import DataError
from pcmref.network.images import Samples

#: Images in a file: 100 across and 50 down, so that the mosaic stays below WebP's 16,383 pixels a side.
ACROSS, DOWN = 100, 50
#: WebP's effort, 0 to 6: 6 saves another 1 % and takes 25 times as long.
EFFORT = 4


def mosaic(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images of shape ``(n, height, width, 3)``, n a multiple of `ACROSS`, as one of rows of `ACROSS`."""
    _, height, width, channels = images.shape
    rows = images.reshape(-1, ACROSS, height, width, channels).swapaxes(1, 2)
    return np.ascontiguousarray(rows).reshape(-1, ACROSS * width, channels)


def tiles(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Undo `mosaic`; `size` is the side of an image in pixels."""
    rows = picture.reshape(-1, size, ACROSS, size, picture.shape[-1]).swapaxes(1, 2)
    return np.ascontiguousarray(rows).reshape(-1, size, size, picture.shape[-1])


def encoded(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture as lossless WebP."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "WEBP", lossless=True, method=EFFORT)
    return stream.getvalue()


def pack(data: Data, place: Path, parts: int = 2) -> Iterator[int]:
    """Write the training images of `data` in `parts` folders of `place`; yield the bytes of each folder."""
    images, labels = data.training.images, data.training.labels
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    pieces = [images[start : start + ACROSS * DOWN] for start in range(0, len(images), ACROSS * DOWN)]
    for part in range(parts):
        folder = place / f"part-{part + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "labels.npz", labels=labels.astype(np.uint8), sha256=digest, files=data.files)
        for number in range(part * len(pieces) // parts, (part + 1) * len(pieces) // parts):
            (folder / f"images-{number:02}.webp").write_bytes(encoded(mosaic(pieces[number])))
        yield sum(path.stat().st_size for path in folder.iterdir())


def packed(place: Path) -> Data:
    """Return the data set that `pack` wrote to the folders of `place`, with no test images.

    Raises
    ------
    DataError
        If an image is missing or differs from what was packed.
    """
    described = min(place.glob("part-*/labels.npz"))
    with np.load(described) as arrays:
        labels, digest, files = arrays["labels"].astype(np.int64), str(arrays["sha256"]), str(arrays["files"])
    paths = sorted(place.glob("part-*/images-*.webp"), key=lambda path: path.name)
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    images = np.concatenate([tiles(picture, picture.shape[1] // ACROSS) for picture in pictures])
    found = hashlib.sha256(images.tobytes()).hexdigest()
    if len(images) != len(labels) or found != digest:
        expected = f"the {len(labels)} images that were packed (all parts)"
        raise DataError(str(place), expected, f"{len(images)} in {len(paths)} files, SHA-256 {found[:8]}")
    return without_test(Samples(images=images, labels=labels), files)


def training_data(place: Path) -> Data:
    """Return packed training images, or those of the CIFAR-10 files."""
    return packed(place) if any(place.glob("part-*/labels.npz")) else cifar10_training(str(place))


def main(argv: Sequence[str] | None = None) -> int:
    """Pack the images of a command line and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="where the CIFAR-10 files are")
    parser.add_argument("packed", type=Path, help="the folder to write")
    args = parser.parse_args(argv)
    for number, size in enumerate(pack(cifar10_training(str(args.data)), args.packed), start=1):
        print(f"{args.packed}/part-{number}: {size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
