"""Photographs, JPEG or PNG files with a table of labels, frozen as pixels in an HDF5 file; SPEC.md, appendix A.

Two decoders of JPEG differ in the last bit of a pixel, two resizers in more.  So bits begin with the frozen file, not
with the photographs.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pcmref.arrays import UInt8
from pcmref.errors import (
    DataError,
    PcmrefError,
    PcmrefWarning,
    describe,
    integer,
    listed,
    one_of,
    path_of,
    require,
)
from pcmref.files.labels import SUFFIXES, Photograph
from pcmref.files.regular import open_regular
from pcmref.files.samples import save_samples
from pcmref.references import VERSION

__all__ = ["FRAMINGS", "Framing", "FrozenImages", "framing", "freeze"]

#: Most bytes of a photograph; most pixels, before it is resized and after.
FILE_MOST, PIXELS_MOST = 1 << 26, 1 << 25
#: How Pillow calls pixels of at most 8 bits a channel: grey, of a palette, in colour, and those with alpha.
MODES = ("1", "L", "P", "RGB", "CMYK", "LA", "PA", "RGBA")
#: The ends of names that photographs have.
#: The tag of EXIF that says how the camera was held, and its value for upright.
ORIENTATION, UPRIGHT = 0x0112, 1


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Which pixels a network sees of a photograph: it is resized, then cropped.

    Parameters
    ----------
    resize : int, optional
        Pixels of the shorter side afterwards; the longer side is rounded down.  Bilinear, with antialiasing.
    crop : int, optional
        Side of a square in the middle; where it begins is rounded to nearest, ties to even.
    """

    resize: int | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            if (side := getattr(self, name)) is not None:
                object.__setattr__(self, name, integer(name, side, "an integer from 1 to 8192", 1, 1 << 13))

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height after resizing."""
        if self.resize is None:
            return width, height
        longer = self.resize * max(width, height) // min(width, height)
        return (self.resize, longer) if width <= height else (longer, self.resize)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of what is cut from a resized photograph."""
        if self.crop is None:
            return 0, 0, width, height
        left, top = round((width - self.crop) / 2), round((height - self.crop) / 2)
        return left, top, left + self.crop, top + self.crop


#: By name; "torchvision" is what its networks are evaluated with.
FRAMINGS: Mapping[str, Framing] = {"torchvision": Framing(resize=256, crop=224), "none": Framing()}


@dataclass(frozen=True, kw_only=True)
class FrozenImages:
    """What was written.

    Parameters
    ----------
    images, calibration : int
        How many images there are to judge by, and to calibrate with.
    shape : (height, width, channels)
    digest : str
        SHA-256 of pixels and labels, as files of pcmref have it.
    provenance : mapping of str to str
        How the pixels were made, and by which decoder.
    """

    images: int
    calibration: int
    shape: tuple[int, int, int]
    digest: str
    provenance: Mapping[str, str]


def framing(name: str) -> Framing:
    """Return the framing called `name`, one of `FRAMINGS`."""
    one_of("recipe", name, FRAMINGS)
    return FRAMINGS[name]


def freeze(
    folder: str | Path,
    photographs: Sequence[Photograph],
    output: str | Path,
    *,
    framing: Framing,
    calibration: int = 0,
    provenance: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FrozenImages:
    """Write the pixels of photographs and their labels to a file that `load_samples` reads.

    Colours are converted by Pillow, without colour profiles: grey has three equal channels, CMYK and palettes become
    RGB.  An alpha channel must be opaque.  As in torchvision, photographs are not turned upright where EXIF says how; a
    warning names them.

    Parameters
    ----------
    folder : str or Path
        Where the JPEG and PNG files are.
    photographs : sequence of Photograph
    output : str or Path
        An HDF5 file; replaced only when the new one is complete.
    framing : Framing
        It must make all photographs of one size.
    calibration : int
        How many, of the first, are to calibrate with; the others are to judge by.
    provenance : mapping of str to str, optional
        Anything to record besides the framing and the versions of the decoders.
    progress : callable
        Called with the numbers of photographs done and of all.

    Returns
    -------
    FrozenImages

    Raises
    ------
    DataError
        Naming the photograph, what belongs there and what was found: before any is decoded, where the headers of the
        files tell.
    MissingExtraError
        If Pillow is not installed.
    OutputError
        If the file cannot be written.
    """
    if not photographs:
        raise DataError("photographs", "at least one", "none")
    folder, most = path_of("folder", folder), len(photographs) - 1
    calibration = integer("calibration", calibration, f"an integer from 0 to {most}: one must be left", 0, most)
    decoder = _Decoder(folder=folder, framing=framing, pillow=require("PIL.Image", "images"))
    names = [photograph.name for photograph in photographs]
    _expect_files(folder, names)
    shape = decoder.common_shape(names)
    record = {**(provenance or {}), **_how(framing)}
    digest = save_samples(
        output,
        _watched(map(decoder.pixels, names), len(names), progress),
        np.array([photograph.label for photograph in photographs], np.int64),
        shape=shape,
        calibration=calibration,
        provenance=record,
    )
    decoder.warn_of_turned()
    return FrozenImages(
        images=len(photographs) - calibration, calibration=calibration, shape=shape, digest=digest, provenance=record
    )


def _how(framing: Framing) -> dict[str, str]:
    """Return what the pixels depend on besides the files."""
    features = require("PIL.features", "images")
    return {
        "resize": "no" if framing.resize is None else f"shorter side to {framing.resize}, bilinear with antialiasing",
        "crop": "no" if framing.crop is None else f"{framing.crop} x {framing.crop} in the middle",
        "pillow": str(features.version("pil")),
        "libjpeg": f"{features.version('jpg')}, turbo {features.version('libjpeg_turbo')}",
        "pcmref": VERSION,
    }


def _watched(images: Iterator[UInt8], total: int, progress: Callable[[int, int], None]) -> Iterator[UInt8]:
    for done, image in enumerate(images, start=1):
        progress(done, total)
        yield image


def _expect_files(folder: Path, names: Sequence[str]) -> None:
    """Raise `DataError` unless a folder has all files of these names; warn of photographs of other names."""
    try:
        places = {name.rpartition("/")[0] for name in names}
        there = {f"{place}/{file}".lstrip("/") for place in places for file in os.listdir(folder / place)}
    except OSError as error:
        raise DataError(str(folder), "a folder of photographs", error.strerror or str(error)) from None
    if missing := [name for name in names if name not in there]:
        found = f"no {listed(missing)}" if there else "an empty folder"
        raise DataError(str(folder), f"the {len(names)} files of the table", found)
    others = [name for name in there.difference(names) if name.lower().endswith(SUFFIXES)]
    if others:
        text = f"{folder}: not in the table, and left out: {listed(sorted(others))}"
        warnings.warn(text, PcmrefWarning, stacklevel=3)


@dataclass(frozen=True)
class _Decoder:
    """Photographs of a folder as pixels; `turned` are the names of those that EXIF would turn."""

    folder: Path
    framing: Framing
    pillow: Any
    turned: list[str] = field(default_factory=list)

    def common_shape(self, names: Sequence[str]) -> tuple[int, int, int]:
        """Return the shape that all have in the end; only the headers of the files are read."""
        width, height = self._size(names[0])
        for name in names[1:]:
            if (found := self._size(name)) != (width, height):
                expected = f"{width} x {height} pixels in the end, as {names[0]} has; a crop makes all alike"
                raise DataError(str(self.folder / name), expected, f"{found[0]} x {found[1]}")
        return height, width, 3

    def _size(self, name: str) -> tuple[int, int]:
        """Return the width and height that a photograph has in the end."""
        with self._opened(name) as image:
            left, top, right, bottom = self.framing.box(*self.framing.resized(*image.size))
        return right - left, bottom - top

    def pixels(self, name: str) -> UInt8:
        """Return the pixels of one, of shape (height, width, 3)."""
        with self._opened(name) as image:
            image.load()
            if _orientation(image) != UPRIGHT:
                self.turned.append(name)
            size = self.framing.resized(*image.size)
            resized = self._in_colour(name, image).resize(size, self.pillow.Resampling.BILINEAR)
            return np.array(resized.crop(self.framing.box(*size)))

    def warn_of_turned(self) -> None:
        """Warn of photographs that another program would show another way up."""
        if self.turned:
            text = f"{self.folder}: not upright, and left so: {listed(self.turned)} (EXIF orientation)"
            warnings.warn(text, PcmrefWarning, stacklevel=3)

    def _in_colour(self, name: str, image: Any) -> Any:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            if image.getchannel("A").getextrema()[0] < 255:
                raise DataError(str(self.folder / name), "an opaque photograph", "transparent pixels")
        return image.convert("RGB")

    @contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        """Open a photograph; whatever Pillow then raises becomes a `DataError`."""
        path = self.folder / name
        try:
            with warnings.catch_warnings(), open_regular(path) as file:
                warnings.simplefilter("ignore")  # of bombs, which are checked here, of damaged EXIF, which is not used
                if (size := os.fstat(file.fileno()).st_size) > FILE_MOST:
                    raise DataError(str(path), f"a file of at most {FILE_MOST} bytes", f"{size} bytes")
                with self.pillow.open(file, formats=("JPEG", "PNG")) as image:
                    self._check(path, image)
                    yield image
        except (PcmrefError, MemoryError):
            raise
        except Exception as error:  # a damaged file may raise anything: Pillow promises no list
            reason = describe(getattr(error, "strerror", None) or str(error) or type(error).__name__, 160)
            raise DataError(str(path), "an intact JPEG or PNG file", reason) from None

    def _check(self, path: Path, image: Any) -> None:
        """Refuse what would take too much memory, and what has no 8 bits a channel; nothing is decoded yet."""
        size = self.framing.resized(*image.size)
        for (width, height), when in ((image.size, ""), (size, " after resizing")):
            if width * height > PIXELS_MOST:
                raise DataError(str(path), f"at most {PIXELS_MOST} pixels{when}", f"{width} x {height}")
        if self.framing.crop is not None and min(size) < self.framing.crop:
            expected = f"at least {self.framing.crop} pixels along each side, to crop"
            raise DataError(str(path), expected, f"{size[0]} x {size[1]}")
        if image.mode not in MODES:
            raise DataError(str(path), "8 bits a channel", f"pixels of another kind ({image.mode})")


def _orientation(image: Any) -> int:
    with suppress(Exception):  # damaged EXIF says nothing
        return int(image.getexif().get(ORIENTATION, UPRIGHT))
    return UPRIGHT
