"""What is no usable image is refused, for the right reason, and before it costs much."""

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagesearch.errors import ImageReason, InvalidImage, SourceError
from imagesearch.images import MAX_SCANS, open_image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged TIFF tags

HUGE = 60_000

STARTS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"MM\0*", b"MM\0+\0\x08\0\0", b"BM"]
STARTS += [b"RIFF\xff\0\0\0WEBPVP8 ", b"RIFF\xff\0\0\0WEBPVP8L", b"RIFF\xff\0\0\0WEBPVP8X"]
STARTS += [b"\0\0\0\x18ftyp" + brand for brand in (b"avif", b"heic", b"mif1")]


def reason(data: bytes | Path, **limits: int) -> ImageReason:
    with pytest.raises(InvalidImage) as caught:
        open_image(data, **limits)
    assert len(str(caught.value)) > 10
    return caught.value.reason


def patched(data: bytes, position: int, value: bytes) -> bytes:
    return data[:position] + value + data[position + len(value) :]


def test_an_empty_file_is_refused_as_empty() -> None:
    assert reason(b"") == "empty"


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"hello, I am a text",
        b"<!DOCTYPE html><html><body><svg></svg></body></html>",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        b"\0\0\1\xb3" + bytes(30),
        b"\x89HDF\r\n\x1a\n" + bytes(30),
        b"PK\x03\x04" + bytes(30),
    ],
    ids=["null", "text", "html", "pdf", "mp4", "mpeg", "hdf5", "zip"],
)
def test_what_is_no_image_is_told_as_that(data: bytes) -> None:
    assert reason(data) == "not_an_image"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("PSD", b"8BPS\0\1" + bytes(20)),
        ("ICO", b"\0\0\1\0\1\0\x10\x10" + bytes(20)),
        ("JPEG2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
        ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
        ("JPEG XL", b"\xff\x0a" + bytes(20)),
        ("SVG", b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("PPM", b"P6 2 2 255\n" + bytes(12)),
    ],
)
def test_an_image_of_another_format_is_named(name: str, data: bytes) -> None:
    with pytest.raises(InvalidImage, match=f"^{name} .*JPEG, PNG") as caught:
        open_image(data)
    assert caught.value.reason == "unsupported_format"


@pytest.fixture(scope="module")
def noise() -> dict[str, bytes]:
    """A picture that doesn't compress, so that most of each file is pixels."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    options: dict[str, dict[str, Any]] = {
        "jpeg-progressive": {"progressive": True},
        "tiff-lzw": {"compression": "tiff_lzw"},
    }
    files = {}
    for name in FILES:
        file = BytesIO()
        image.save(file, name.partition("-")[0], **options.get(name, {}))
        files[name] = file.getvalue()
    return files


FILES = ["jpeg", "jpeg-progressive", "png", "gif", "webp", "tiff", "tiff-lzw", "bmp", "avif", "heif"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
def test_half_a_download_is_told_as_truncated(noise: dict[str, bytes], name: str, share: float) -> None:
    data = noise[name]
    assert reason(data[: int(len(data) * share)]) == "truncated"


def test_half_a_tiff_whose_directory_comes_first_is_told_as_truncated(noise: dict[str, bytes]) -> None:
    data = noise["tiff-lzw"]
    start = data.index(struct.pack("<HHI", 273, 4, 1)) + 8
    moved = patched(data, start, struct.pack("<I", len(data))) + data[8:]
    assert open_image(moved).width == 128
    assert reason(moved[: len(data) + 1000]) == "truncated"


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("gif", "bmp", "tiff")])
def test_a_damaged_file_of_the_right_length_is_told_as_corrupt(noise: dict[str, bytes], name: str) -> None:
    data = noise[name]
    start, length = len(data) // 2, len(data) // 2 - 100
    if name in ("avif", "heif"):  # whose decoders conceal damaged pixels, but not where the pixels are
        start, length = data.index(b"iloc") + 4, 20
    assert reason(patched(data, start, b"\xff" * length)) == "corrupt"


def test_too_large_a_file_is_refused_unread(golden_files: dict[str, bytes], tmp_path: Path) -> None:
    data = golden_files["png"]
    assert open_image(data, max_bytes=len(data)).bytes == len(data)
    assert reason(data, max_bytes=len(data) - 1) == "too_many_bytes"
    sparse = tmp_path / "sparse.png"
    with sparse.open("wb") as file:
        file.truncate(2**40)
    assert reason(sparse, max_bytes=1000) == "too_many_bytes"


def test_a_file_is_opened_by_its_path(golden_files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "no-suffix"
    path.write_bytes(golden_files["webp"])
    assert open_image(path).format == "webp"
    with pytest.raises(SourceError, match="no-such-file"):
        open_image(tmp_path / "no-such-file")
    with pytest.raises(SourceError):
        open_image(tmp_path)


def test_the_pixel_limit_is_inclusive(golden_files: dict[str, bytes]) -> None:
    data = golden_files["png"]
    assert open_image(data, max_pixels=64 * 32).width == 64
    assert reason(data, max_pixels=64 * 32 - 1) == "too_many_pixels"


def header_lies(golden_files: dict[str, bytes]) -> dict[str, bytes]:
    """Small files that claim to be 60,000 pixels wide and high, or to hold a tile or a frame as large."""
    jpeg, png, gif, bmp = (golden_files[name] for name in ("jpeg", "png", "gif", "bmp"))
    files = {
        "jpeg": patched(jpeg, jpeg.index(b"\xff\xc0") + 5, struct.pack(">HH", HUGE, HUGE)),
        "gif": patched(gif, 6, struct.pack("<HH", HUGE, HUGE)),
        "gif-frame": patched(gif, gif.index(b",\0\0\0\0") + 5, struct.pack("<HH", HUGE, HUGE)),
        "bmp": patched(bmp, 18, struct.pack("<ii", HUGE, HUGE)),
    }
    header = patched(png[12:29], 4, struct.pack(">II", HUGE, HUGE))
    files["png"] = patched(png, 12, header + struct.pack(">I", zlib.crc32(header)))
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (HUGE - 1).to_bytes(3, "little") * 2
    webp = b"WEBP" + extended + golden_files["webp"][12:]
    files["webp"] = b"RIFF" + struct.pack("<I", len(webp)) + webp
    for name, side in {"avif": 16_000, "heif": 30_000}.items():  # their libraries refuse more themselves
        data = golden_files[name]
        files[name] = patched(data, data.index(b"ispe") + 8, struct.pack(">II", side, side))
    # a LONG of 60,000 in place of width and height; or of rows per strip and planes, renamed to the size of a tile
    for name, tags in {"tiff": {256: 256, 257: 257}, "tiff-tile": {278: 322, 284: 323}}.items():
        data = golden_files["tiff-tiff_lzw"]
        for tag, new in tags.items():
            data = patched(data, data.index(struct.pack("<HHI", tag, 3, 1)), struct.pack("<HHII", new, 4, 1, HUGE))
        files[name] = data
    return files


@pytest.mark.parametrize(
    "name", ["jpeg", "png", "gif", "gif-frame", "webp", "bmp", "tiff", "tiff-tile", "avif", "heif"]
)
def test_a_small_file_that_claims_to_be_huge_is_refused_before_it_is_decoded(
    golden_files: dict[str, bytes], name: str
) -> None:
    data = header_lies(golden_files)[name]
    assert len(data) < 10_000
    assert reason(data) == "too_many_pixels"


def test_a_png_with_a_text_bomb_is_refused(golden_files: dict[str, bytes]) -> None:
    text = b"zTXt" + b"comment\0\0" + zlib.compress(bytes(50_000_000))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    png = golden_files["png"]
    assert reason(png[:33] + chunk + png[33:]) == "corrupt"


def test_a_progressive_jpeg_of_very_many_scans_is_refused(golden_files: dict[str, bytes]) -> None:
    data = golden_files["jpeg-progressive"]
    last = data.rindex(b"\xff\xda")
    many = data[:-2] + data[last:-2] * (MAX_SCANS - data.count(b"\xff\xda"))
    assert open_image(many + b"\xff\xd9").width == 64
    assert reason(many + data[last:]) == "corrupt"


def test_broken_exif_is_no_reason_to_refuse(golden_files: dict[str, bytes]) -> None:
    data = golden_files["jpeg-orientation-6"]
    start = data.index(b"Exif\0\0") + 6
    opened = open_image(patched(data, start, b"\xff" * 12))
    assert (opened.width, opened.height, opened.created_at, opened.lat) == (32, 64, None, None)


def test_a_large_picture_within_the_limit_opens_without_a_warning() -> None:
    file = BytesIO()
    Image.new("1", (10_000, 9_999)).save(file, "PNG")  # more than Pillow's own default
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(file.getvalue()).width == 10_000


def test_threads_open_images_side_by_side(golden_files: dict[str, bytes]) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = [name for name in golden_files for _ in range(4)]
        alone = {name: open_image(data).image.tobytes() for name, data in golden_files.items()}
        for name, opened in zip(names, pool.map(lambda name: open_image(golden_files[name]), names), strict=True):
            assert opened.image.tobytes() == alone[name]


@given(st.data())
@settings(max_examples=300, deadline=timedelta(seconds=5))
def test_whatever_is_done_to_a_file_it_opens_or_is_refused(golden_files: dict[str, bytes], data: st.DataObject) -> None:
    damaged = bytearray(golden_files[data.draw(st.sampled_from(sorted(golden_files)), "file")])
    for position, value in data.draw(
        st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8), "bytes"
    ):
        damaged[int(position * len(damaged))] = value
    del damaged[data.draw(st.integers(0, len(damaged)), "length") :]
    opens_or_is_refused(bytes(damaged))


@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=300))
@settings(max_examples=200, deadline=timedelta(seconds=5))
def test_whatever_follows_a_format_s_first_bytes_it_opens_or_is_refused(start: bytes, rest: bytes) -> None:
    opens_or_is_refused(start + rest)


def opens_or_is_refused(data: bytes) -> None:
    try:
        opened = open_image(data, target=16, max_pixels=1_000_000)
    except InvalidImage:
        return
    assert opened.image.mode == "RGB"
    assert opened.width * opened.height <= 1_000_000
