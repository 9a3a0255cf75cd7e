"""Photographs as frozen pixels: which pixels, which labels, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pcmref.errors import DataError, FileError, MissingExtraError, OutputError, ParameterError, PcmrefWarning
from pcmref.files.labels import Photograph, read_labels, shuffled
from pcmref.files.photographs import FRAMINGS, Framing, framing, freeze
from pcmref.files.samples import load_samples

RNG = np.random.default_rng(1)
NONE = FRAMINGS["none"]
PIXELS = RNG.integers(0, 256, (5, 6, 8, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Five photographs, lossless."""
    place = tmp_path / "photos"
    place.mkdir()
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(place / f"{number}.png")
    return place


def photographs(*names):
    return [Photograph(name=name, label=label) for label, name in enumerate(names)]


ALL = photographs(*(f"{number}.png" for number in range(5)))


def frozen(folder, *names, size=NONE, **options):
    """The pixels of photographs."""
    freeze(folder, photographs(*names), folder.parent / "out.h5", framing=size, **options)
    return load_samples(folder.parent / "out.h5")[0].images


# The table of labels


def table(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "a.jpg,3\nb.png,0\n",
        "file,label\na.jpg,3\nb.png,0\n",
        "author,Class_Index , NAME\nme,3,a.jpg\nyou,0,b.png",
        'file,class_index,author\r\na.jpg,3,"one, two"\r\n\r\nb.png,0,"three\nlines"\r\n',
        b"\xef\xbb\xbfimage,class\n a.jpg , 3\n b.png,0\n",
        "a.jpg,3,4\nb.png,0,1\n",
    ],
)
def test_tables_of_several_forms(tmp_path, content):
    expected = (Photograph(name="a.jpg", label=3), Photograph(name="b.png", label=0))
    assert read_labels(table(tmp_path, content), classes=4) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "labels.csv: expected a row for each photograph, found none"),
        ("file,label\n", "expected a row for each photograph, found none"),
        ("a.jpg,4\n", "line 1: expected a label from 0 to 3, found '4'"),
        ("a.jpg,0\nb.jpg,-1\n", "line 2: expected a label from 0 to 3, found '-1'"),
        ("a.jpg,0\nb.jpg,\n", "line 2: expected a label from 0 to 3, found ''"),
        ("a.jpg,0\nb.jpg,1.0\n", "line 2: expected a label"),
        ("a.jpg,0\nb.jpg,1_0\n", "line 2: expected a label"),
        ("a.jpg,0\nb.jpg,\N{ARABIC-INDIC DIGIT ONE}\n", "line 2: expected a label"),
        ("a.jpg,0\nb.jpg," + "9" * 5000, "line 2: expected a label"),
        ("a.jpg,0\nb.jpg\n", "line 2: expected the name of a file and a label"),
        ("a.jpg,0\nb.jpg,1\n a.jpg,2\n", "line 3: expected each file once, found 'a.jpg' again"),
        ("file,title\na.jpg,0\n", "line 1: expected columns called file or .* and label or .*, found"),
        ("a.jpg\nb.jpg\n", "line 1: expected columns called"),
        ("x/a.jpg,0\n", "line 1: expected the name of a file in the folder, without a path, found 'x/a.jpg'"),
        ("..\\a.jpg,0\n", "without a path"),
        ("/etc/passwd,0\n", "without a path"),
        ("c:a.jpg,0\n", "without a path"),
        ("..,0\n", r"without a path, found '\.\.'"),
        (".,0\n", "without a path"),
        (",0\n", "without a path"),
        ("a\0.jpg,0\n", "expected .*"),
        ("a\x1b.jpg,0\n", "without a path"),
        ('"a.jpg,0\n', "expected a table of names and labels as CSV"),
        ('"a"b,0\n', "expected a table of names and labels as CSV"),
        ("a" * 200_000 + ",0\n", "expected a table of names and labels as CSV"),
        (b"\xff\xfe\x00", "expected a table of names and labels as CSV"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_labels(table(tmp_path, content), classes=4)


def test_no_table(tmp_path):
    with pytest.raises(
        DataError, match=r"none\.csv: expected a table of names and labels as CSV, found .*No such file"
    ):
        read_labels(tmp_path / "none.csv", classes=4)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"a table of names and labels as CSV, found .*no regular file"):
        read_labels(tmp_path / "pipe", classes=4)
    with pytest.raises(ParameterError, match="classes"):
        read_labels(tmp_path / "none.csv", classes=0)


def test_a_seed_decides_the_order_whatever_it_was():
    order = shuffled(ALL, 7)
    assert shuffled(ALL[::-1], 7) == order != shuffled(ALL, 8)
    assert sorted(order, key=lambda photo: photo.name) == ALL
    hashes = [hashlib.sha256(f"7 {photo.name}".encode()).hexdigest() for photo in order]
    assert hashes == sorted(hashes)


# Pixels


def test_pixels_of_png_files_are_those_that_they_hold(folder, tmp_path):
    found = freeze(folder, ALL, tmp_path / "out.h5", framing=NONE, calibration=2, provenance={"mine": "yes"})
    samples, calibration = load_samples(tmp_path / "out.h5")
    assert (calibration.images == PIXELS[:2]).all()
    assert (samples.images == PIXELS[2:]).all()
    assert (calibration.labels.tolist(), samples.labels.tolist()) == ([0, 1], [2, 3, 4])
    assert (found.images, found.calibration, found.shape) == (3, 2, (6, 8, 3))
    assert {"mine", "resize", "crop", "pillow", "libjpeg", "pcmref"} == set(found.provenance)
    with h5py.File(tmp_path / "out.h5") as file:
        assert json.loads(file.attrs["provenance"].decode()) == found.provenance


def test_the_digest_is_that_of_the_specification_and_is_checked(folder, tmp_path):
    path = tmp_path / "out.h5"
    found = freeze(folder, ALL, path, framing=NONE, calibration=2)
    parts = {
        "calibration/images": ("uint8(2,6,8,3)", PIXELS[:2]),
        "calibration/labels": ("int64(2)", np.array([0, 1], "<i8")),
        "images": ("uint8(3,6,8,3)", PIXELS[2:]),
        "labels": ("int64(3)", np.array([2, 3, 4], "<i8")),
    }
    lines = [f"{hashlib.sha256(v.tobytes()).hexdigest()} {form} {name}\n" for name, (form, v) in parts.items()]
    assert found.digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    with h5py.File(path, "r+") as file:
        assert file.attrs["digest"].decode() == found.digest
        file["images"][1, 2, 3, 0] ^= 1
    with pytest.raises(FileError, match="the digest of what the file holds"):
        load_samples(path)


def test_progress_is_told(folder, tmp_path):
    seen = []
    freeze(folder, ALL, tmp_path / "out.h5", framing=NONE, calibration=2, progress=lambda *count: seen.append(count))
    assert seen == [(done, 5) for done in range(1, 6)]


def test_an_interrupted_run_leaves_nothing(folder, tmp_path):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        freeze(folder, ALL, tmp_path / "out.h5", framing=NONE, progress=interrupt)
    assert list(tmp_path.iterdir()) == [folder]


def test_the_same_photographs_give_the_same_bytes(folder, tmp_path):
    for name in ("a.h5", "b.h5"):
        freeze(folder, ALL, tmp_path / name, framing=Framing(resize=5, crop=4))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([1, 224, 256, 257]))
def test_sizes_are_those_of_torchvision(width, height, side):
    short, long = (width, height) if width <= height else (height, width)
    longer = int(side * long / short)  # torchvision.transforms.functional._compute_resized_output_size
    wide, high = Framing(resize=side).resized(width, height)
    assert (wide, high) == ((side, longer) if width <= height else (longer, side))
    left, top, right, bottom = Framing(crop=side).box(wide, high)
    assert (top, left) == (round((high - side) / 2.0), round((wide - side) / 2.0))  # center_crop
    assert (right - left, bottom - top) == (side, side)
    assert 0 <= left <= right <= wide
    assert 0 <= top <= bottom <= high
    assert Framing().resized(width, height) == (width, height)
    assert Framing().box(width, height) == (0, 0, width, height)


def triangles(count, wanted):
    """Bilinear weights with antialiasing: of each pixel of `wanted`, those of `count`."""
    scale = count / wanted
    centre = (np.arange(wanted)[:, None] + 0.5) * scale
    weights = np.maximum(0, 1 - abs(np.arange(count) + 0.5 - centre) / max(scale, 1.0))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("height", "width", "resize", "crop"), [(40, 63, 17, 13), (63, 40, 17, 14), (9, 7, 21, 20)])
def test_resized_bilinearly_with_antialiasing_then_cropped_in_the_middle(folder, height, width, resize, crop):
    pixels = RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "one.png")
    with pytest.warns(PcmrefWarning, match=r"not in the table, and left out: 0\.png, 1\.png, 2\.png and 2 more"):
        found = frozen(folder, "one.png", size=Framing(resize=resize, crop=crop))[0]
    wide, high = Framing(resize=resize).resized(width, height)
    smooth = np.einsum("ih,hwc,jw->ijc", triangles(height, high), pixels, triangles(width, wide))
    left, top, right, bottom = Framing(crop=crop).box(wide, high)
    assert abs(found - smooth[top:bottom, left:right]).max() < 1.1


def test_named_framings():
    assert framing("torchvision") == Framing(resize=256, crop=224)
    assert framing("none") == Framing()
    with pytest.raises(ParameterError, match="recipe: expected one of torchvision, none, found 'keras'"):
        framing("keras")
    for side in (0, 1 << 14, 2.5, True):
        with pytest.raises(ParameterError, match="resize: expected an integer from 1 to 8192"):
            Framing(resize=side)


def alone(folder, image, name, **options):
    """The pixels of one image, in a folder of its own."""
    place = folder.parent / f"with-{name}"
    place.mkdir()
    image.save(place / name, **options)
    return frozen(place, name)[0]


def test_colours(folder):
    colour = Image.fromarray(PIXELS[0])
    grey = colour.convert("L")
    assert (alone(folder, grey, "grey.png") == np.array(grey)[..., None]).all()
    assert (alone(folder, grey.convert("1"), "one.png") == np.array(grey.convert("1"))[..., None] * 255).all()
    palette = colour.quantize(200)
    assert (alone(folder, palette, "palette.png") == np.array(palette.convert("RGB"))).all()
    cmyk = Image.fromarray(np.full((16, 16, 4), (10, 20, 30, 0), np.uint8), "CMYK")
    assert abs(alone(folder, cmyk, "cmyk.jpg", quality=100).astype(int) - [245, 235, 225]).max() <= 2
    opaque = colour.convert("RGBA")
    assert (alone(folder, opaque, "opaque.png") == PIXELS[0]).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_has_no_eight_bits_or_is_transparent_is_refused(folder):
    with pytest.raises(DataError, match=r"deep\.png: expected 8 bits a channel, found pixels of another kind \(I"):
        alone(folder, Image.fromarray(np.full((4, 4), 40_000, np.uint16)), "deep.png")
    glass = Image.fromarray(PIXELS[0]).convert("RGBA")
    glass.putpixel((1, 1), (1, 2, 3, 254))
    with pytest.raises(DataError, match=r"glass\.png: expected an opaque photograph, found transparent pixels"):
        alone(folder, glass, "glass.png")
    palette = Image.fromarray(PIXELS[0]).quantize(16)
    with pytest.raises(DataError, match=r"hole\.png: expected an opaque photograph"):
        alone(folder, palette, "hole.png", transparency=palette.getpixel((0, 0)))


def test_what_is_not_upright_stays_so_with_a_warning(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    with pytest.warns(PcmrefWarning, match=r"not upright, and left so: turned\.png \(EXIF orientation\)"):
        found = alone(folder, Image.fromarray(PIXELS[0]), "turned.png", exif=exif)
    assert (found == PIXELS[0]).all()


# What is refused


def test_files_that_are_not_there(folder, tmp_path):
    out = tmp_path / "out.h5"
    with pytest.raises(DataError, match=r"photos: expected the 3 files of the table, found no x\.jpg, y\.jpg"):
        freeze(folder, photographs("x.jpg", "1.png", "y.jpg"), out, framing=NONE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: expected the 5 files of the table, found an empty folder"):
        freeze(tmp_path / "empty", ALL, out, framing=NONE)
    with pytest.raises(DataError, match="nowhere: expected a folder of photographs, found No such file"):
        freeze(tmp_path / "nowhere", ALL, out, framing=NONE)
    assert not out.exists()


@pytest.mark.parametrize("count", [-1, 5, 6, 1.0])
def test_one_image_is_left_to_judge_by(folder, tmp_path, count):
    with pytest.raises(ParameterError, match="calibration: expected an integer from 0 to 4"):
        freeze(folder, ALL, tmp_path / "out.h5", framing=NONE, calibration=count)


def test_no_photographs(folder, tmp_path):
    with pytest.raises(DataError, match="photographs: expected at least one, found none"):
        freeze(folder, [], tmp_path / "out.h5", framing=NONE)


def png(width, height, data=b""):
    """A PNG file that says so much of itself."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def truncated(kind):
    """Half a file: of noise, so that half of it is missing."""

    def write(path):
        Image.fromarray(RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(path, kind)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return write


@pytest.mark.parametrize(
    ("write", "size", "message"),
    [
        (lambda path: path.write_bytes(b""), NONE, "expected an intact JPEG or PNG file"),
        (
            lambda path: path.write_text("no picture"),
            NONE,
            "expected an intact JPEG or PNG file, found .*cannot identify",
        ),
        (truncated("jpeg"), Framing(crop=5), "expected an intact JPEG or PNG file, found .*truncated"),
        (truncated("png"), Framing(crop=5), "expected an intact JPEG or PNG file, found .*truncated"),
        (lambda path: Image.fromarray(PIXELS[0]).save(path, "gif"), NONE, "expected an intact JPEG or PNG file"),
        (lambda path: path.write_bytes(png(6000, 6000)), NONE, "expected at most 33554432 pixels, found 6000 x 6000"),
        (lambda path: path.write_bytes(png(10_000, 10_000)), NONE, "expected at most 33554432 pixels, found 10000 x"),
        (
            lambda path: path.write_bytes(png(60_000, 60_000)),
            NONE,
            "expected an intact JPEG or PNG file, found .*exceeds",
        ),
        (
            lambda path: path.write_bytes(png(1, 1_000_000)),
            Framing(resize=256),
            "expected at most 33554432 pixels after resizing, found 256 x 256000000",
        ),
        (lambda path: path.write_bytes(png(0, 5)), NONE, "expected an intact JPEG or PNG file"),
        (lambda path: path.write_bytes(png(8, 6)), NONE, "expected an intact JPEG or PNG file"),
        (
            lambda path: path.write_bytes(png(8, 6)),
            Framing(crop=7),
            "at least 7 pixels along each side, .* found 8 x 6",
        ),
        (lambda path: path.mkdir(), NONE, "expected an intact JPEG or PNG file, found .*"),
        (lambda path: os.mkfifo(path), NONE, "expected an intact JPEG or PNG file, found .*no regular file"),
        (
            lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 27),
            NONE,
            "a file of at most 67108864 bytes",
        ),
    ],
)
def test_files_that_are_no_photographs(folder, tmp_path, write, size, message):
    write(folder / "bad.png")
    out = tmp_path / "out.h5"
    out.write_bytes(b"as before")
    with pytest.raises(DataError, match=rf"bad\.png: .*{message}") as caught:
        freeze(folder, [Photograph(name="bad.png", label=0), *ALL], out, framing=size)
    assert "\n" not in str(caught.value)
    assert out.read_bytes() == b"as before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5", "photos"]


def test_headers_are_looked_at_before_anything_is_decoded(folder, tmp_path, monkeypatch):
    (folder / "bad.png").write_bytes(png(6000, 6000))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    with pytest.raises(DataError, match="at most 33554432 pixels"):
        freeze(folder, [*ALL, Photograph(name="bad.png", label=0)], tmp_path / "out.h5", framing=NONE)


def test_photographs_of_several_sizes_need_a_crop(folder, tmp_path):
    Image.fromarray(PIXELS[0, :5]).save(folder / "other.png")
    these = [*ALL, Photograph(name="other.png", label=0)]
    with pytest.raises(DataError, match=r"other\.png: expected 8 x 6 pixels in the end, as 0\.png has; .* found 8 x 5"):
        freeze(folder, these, tmp_path / "out.h5", framing=NONE)
    assert freeze(folder, these, tmp_path / "out.h5", framing=Framing(crop=5)).shape == (5, 5, 3)


def test_what_cannot_be_written(folder, tmp_path):
    with pytest.raises(OutputError, match="expected a place to write to"):
        freeze(folder, ALL, tmp_path / "nowhere" / "out.h5", framing=NONE)


def test_without_pillow(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"PIL: expected the extra 'images' \(pip install 'pcmref\[images\]'\)"):
        freeze(folder, ALL, tmp_path / "out.h5", framing=NONE)
