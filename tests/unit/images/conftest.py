"""The golden corpus: one small file for each way in which a picture can be stored, and the pixels to expect of it.

The picture is always the same, four rectangles of different colours, so that every flip, rotation, inversion and
scaling of values shows. What Pillow can't write is put together by hand, from the specifications of PNG and TIFF.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

Pixels = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 64, 32


def rectangles(*colors: int | tuple[int, ...]) -> npt.NDArray[Any]:
    """Four rectangles, row by row; their edges are where the blocks of a JPEG end, so that none holds two colours."""
    top, bottom = np.array(colors[:2]), np.array(colors[2:])
    return np.stack([top, bottom]).repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1)


RGB = rectangles((220, 30, 30), (30, 160, 60), (40, 60, 200), (250, 220, 90)).astype(np.uint8)
GREY = rectangles(20, 90, 160, 240).astype(np.uint8)
ALPHA = rectangles(255, 255, 255, 0).astype(np.uint8)
HALF = rectangles(255, 255, 255, 128).astype(np.uint8)
BLACK_OR_WHITE = rectangles(0, 255, 255, 0).astype(np.uint8)


@dataclass(frozen=True)
class Golden:
    name: str
    data: bytes
    format: str
    expected: Pixels
    """(height, width, 3)"""
    tolerance: float = 0
    """Mean absolute difference of a value, 0 to 255: 0 for what is stored without loss"""


@cache
def corpus() -> dict[str, Golden]:
    cases = [*jpegs(), *pngs(), *gifs(), *webps(), *tiffs(), *bmps(), *avifs(), *heifs()]
    return {case.name: case for case in cases}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument `golden` runs once for each file of the corpus."""
    if "golden" in metafunc.fixturenames:
        metafunc.parametrize("golden", corpus().values(), ids=list(corpus()))


@pytest.fixture(scope="session")
def golden_files() -> dict[str, bytes]:
    return {name: golden.data for name, golden in corpus().items()}


def grey_rgb(grey: Pixels) -> Pixels:
    return np.stack([grey] * 3, axis=-1)


def on_white(rgb: Pixels, alpha: Pixels) -> Pixels:
    share = alpha[..., None] / 255
    return np.round(rgb * share + 255 * (1 - share)).astype(np.uint8)


def stored(upright: Pixels, orientation: int) -> Pixels:
    """What a camera stores of an upright picture. By EXIF's definition: 6 means that row 0 of what is stored is the
    right side of the picture and column 0 its top, and so on."""
    turned = upright.swapaxes(0, 1)
    return {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: turned,  # left, top
        6: turned[::-1],  # right, top
        7: turned[::-1, ::-1],  # right, bottom
        8: turned[:, ::-1],  # left, bottom
    }[orientation]


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def save(pixels: npt.NDArray[Any] | Image.Image, format: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def rgba(alpha: Pixels) -> Pixels:
    return np.dstack([RGB, alpha])


def palette(pixels: Pixels = RGB) -> Image.Image:
    """Mode P; the four colours have the indices 0 to 3."""
    image = Image.fromarray(rectangles(0, 1, 2, 3).astype(np.uint8), mode="L")
    image.putpalette([int(value) for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1)) for value in pixels[y, x]])
    return image


def frames(format: str, **options: Any) -> bytes:
    """An animation whose first frame is the picture."""
    second = Image.fromarray(255 - RGB)
    return save(RGB, format, save_all=True, append_images=[second], duration=100, **options)


def jpegs() -> Iterator[Golden]:
    best = {"quality": 95, "subsampling": 0}
    yield Golden("jpeg", save(RGB, "JPEG", **best), "jpeg", RGB, 2)
    yield Golden("jpeg-subsampled", save(RGB, "JPEG", quality=90), "jpeg", RGB, 4)
    yield Golden("jpeg-progressive", save(RGB, "JPEG", progressive=True, **best), "jpeg", RGB, 2)
    yield Golden("jpeg-grey", save(GREY, "JPEG", **best), "jpeg", grey_rgb(GREY), 2)
    cmyk = Image.fromarray(RGB).convert("CMYK")  # which Pillow stores inverted, as Adobe does
    yield Golden("jpeg-cmyk", save(cmyk, "JPEG", **best), "jpeg", RGB, 2)
    yield Golden("jpeg-two-pictures", frames("MPO", **best), "jpeg", RGB, 2)
    for orientation in range(1, 9):
        data = save(stored(RGB, orientation), "JPEG", exif=exif(orientation), **best)
        yield Golden(f"jpeg-orientation-{orientation}", data, "jpeg", RGB, 2)


def png(
    pixels: npt.NDArray[Any], depth: int, color_type: int, *chunks: tuple[bytes, bytes], adam7: bool = False
) -> bytes:
    """A PNG by hand. `pixels` are whole rows of samples (height, width) or (height, width, channels)."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    raw = b""
    for x, y, dx, dy in passes if adam7 else [(0, 0, 1, 1)]:
        for row in pixels[y::dy, x::dx]:
            samples = row.reshape(-1)
            bits = (samples[:, None] >> np.arange(depth)[::-1] & 1).astype(np.uint8)
            raw += b"\0" + np.packbits(bits).tobytes()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, color_type, 0, 0, adam7)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in parts)


def pngs() -> Iterator[Golden]:
    grey, corner = grey_rgb(GREY), RGB[-1, -1]
    yield Golden("png", save(RGB, "PNG"), "png", RGB)
    yield Golden("png-alpha", save(rgba(ALPHA), "PNG"), "png", on_white(RGB, ALPHA))
    yield Golden("png-half-alpha", save(rgba(HALF), "PNG"), "png", on_white(RGB, HALF), 0.2)
    yield Golden("png-grey", save(GREY, "PNG"), "png", grey)
    grey_alpha = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(HALF)])
    yield Golden("png-grey-half-alpha", save(grey_alpha, "PNG"), "png", on_white(grey, HALF), 0.2)
    yield Golden("png-palette", save(palette(), "PNG"), "png", RGB)
    yield Golden("png-palette-clear", save(palette(), "PNG", transparency=3), "png", on_white(RGB, ALPHA))
    shades = bytes([255, 255, 255, 128])
    yield Golden("png-palette-half", save(palette(), "PNG", transparency=shades), "png", on_white(RGB, HALF), 0.2)
    key = tuple(int(value) for value in corner)
    yield Golden("png-clear-color", save(RGB, "PNG", transparency=key), "png", on_white(RGB, ALPHA))
    yield Golden("png-clear-grey", save(GREY, "PNG", transparency=240), "png", on_white(grey, ALPHA))
    yield Golden("png-interlaced", png(RGB, 8, 2, adam7=True), "png", RGB)
    yield Golden("png-animated", frames("PNG"), "png", RGB)
    yield Golden("png-orientation-6", save(stored(RGB, 6), "PNG", exif=exif(6)), "png", RGB)

    yield Golden(
        "png-1-bit", save(Image.fromarray(BLACK_OR_WHITE).convert("1"), "PNG"), "png", grey_rgb(BLACK_OR_WHITE)
    )
    for depth in (2, 4):
        most = 2**depth - 1
        samples = rectangles(0, 2, most, 1)
        expected = grey_rgb((samples * 255 // most).astype(np.uint8))
        yield Golden(f"png-{depth}-bit", png(samples, depth, 0), "png", expected)
        clear = (b"tRNS", struct.pack(">H", 1))
        yield Golden(f"png-{depth}-bit-clear", png(samples, depth, 0, clear), "png", on_white(expected, ALPHA))

    deep_grey, deep = GREY.astype(np.uint16) * 257, RGB.astype(np.uint16) * 256 + 99
    yield Golden("png-16-bit-grey", png(deep_grey, 16, 0), "png", grey)
    clear = (b"tRNS", struct.pack(">H", 240 * 257))
    yield Golden("png-16-bit-grey-clear", png(deep_grey, 16, 0, clear), "png", on_white(grey, ALPHA))
    yield Golden("png-16-bit", png(deep, 16, 2), "png", RGB)
    clear = (b"tRNS", struct.pack(">HHH", *deep[-1, -1]))
    yield Golden("png-16-bit-clear", png(deep, 16, 2, clear), "png", on_white(RGB, ALPHA))
    deep_alpha = np.dstack([deep, ALPHA.astype(np.uint16) * 257])
    yield Golden("png-16-bit-alpha", png(deep_alpha, 16, 6), "png", on_white(RGB, ALPHA))
    deep_grey_alpha = np.dstack([deep_grey, ALPHA.astype(np.uint16) * 257])
    yield Golden("png-16-bit-grey-alpha", png(deep_grey_alpha, 16, 4), "png", on_white(grey, ALPHA))


def gifs() -> Iterator[Golden]:
    yield Golden("gif", save(palette(), "GIF"), "gif", RGB)
    yield Golden("gif-not-interlaced", save(palette(), "GIF", interlace=False), "gif", RGB)
    yield Golden("gif-clear", save(palette(), "GIF", transparency=3), "gif", on_white(RGB, ALPHA))
    yield Golden("gif-grey", save(GREY, "GIF"), "gif", grey_rgb(GREY))
    animation = save(palette(), "GIF", save_all=True, append_images=[palette(255 - RGB)], duration=100)
    yield Golden("gif-animated", animation, "gif", RGB)


def webps() -> Iterator[Golden]:
    yield Golden("webp", save(RGB, "WEBP", quality=95), "webp", RGB, 4)
    yield Golden("webp-lossless", save(RGB, "WEBP", lossless=True), "webp", RGB)
    yield Golden("webp-alpha", save(rgba(HALF), "WEBP", lossless=True), "webp", on_white(RGB, HALF), 0.2)
    yield Golden("webp-animated", frames("WEBP", lossless=True), "webp", RGB)
    rotated = save(stored(RGB, 8), "WEBP", lossless=True, exif=exif(8))
    yield Golden("webp-orientation-8", rotated, "webp", RGB)


def tiff(
    samples: bytes, bits: tuple[int, ...], photometric: int, tags: dict[int, int] | None = None, order: str = "<"
) -> bytes:
    """A TIFF by hand, of one uncompressed strip; `tags` are more tags, of type LONG."""
    entries: dict[int, tuple[int, ...]] = {
        256: (WIDTH,),
        257: (HEIGHT,),
        258: bits,
        259: (1,),  # no compression
        262: (photometric,),
        273: (8,),  # the strip follows the header
        277: (len(bits),),
        278: (HEIGHT,),
        279: (len(samples),),
    } | {tag: (value,) for tag, value in (tags or {}).items()}
    start = 8 + len(samples) + len(samples) % 2
    outside = start + 2 + 12 * len(entries) + 4
    directory, rest = struct.pack(order + "H", len(entries)), b""
    for tag, values in sorted(entries.items()):
        body = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            body, rest = struct.pack(order + "I", outside + len(rest)), rest + body
        directory += struct.pack(order + "HHI", tag, 4, len(values)) + body
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)
    return head + samples.ljust(start - 8, b"\0") + directory + bytes(4) + rest


def tiffs() -> Iterator[Golden]:
    grey = grey_rgb(GREY)
    yield Golden("tiff", save(RGB, "TIFF"), "tiff", RGB)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield Golden(f"tiff-{compression}", save(RGB, "TIFF", compression=compression), "tiff", RGB)
    yield Golden("tiff-jpeg", save(RGB, "TIFF", compression="jpeg", quality=95), "tiff", RGB, 4)
    yield Golden("tiff-alpha", save(rgba(HALF), "TIFF"), "tiff", on_white(RGB, HALF), 0.2)
    yield Golden("tiff-grey", save(GREY, "TIFF"), "tiff", grey)
    yield Golden("tiff-palette", save(palette(), "TIFF"), "tiff", RGB)
    yield Golden("tiff-cmyk", save(Image.fromarray(RGB).convert("CMYK"), "TIFF"), "tiff", RGB, 1)
    yield Golden("tiff-lab", save(Image.fromarray(RGB).convert("LAB"), "TIFF"), "tiff", RGB, 2)
    bilevel = Image.fromarray(BLACK_OR_WHITE).convert("1")
    yield Golden("tiff-fax", save(bilevel, "TIFF", compression="group4"), "tiff", grey_rgb(BLACK_OR_WHITE))
    yield Golden("tiff-two-pages", frames("TIFF"), "tiff", RGB)
    yield Golden("tiff-orientation-6", save(stored(RGB, 6), "TIFF", exif=exif(6)), "tiff", RGB)

    premultiplied = np.dstack([RGB * (HALF > 128)[..., None] + RGB // 2 * (HALF == 128)[..., None], HALF])
    data = tiff(premultiplied.astype(np.uint8).tobytes(), (8, 8, 8, 8), 2, {338: 1})
    yield Golden("tiff-premultiplied", data, "tiff", on_white(RGB, HALF), 0.5)
    premultiplied = np.dstack([np.where(HALF == 128, GREY // 2, GREY), HALF])
    data = tiff(premultiplied.astype(np.uint8).tobytes(), (8, 8), 1, {338: 1})
    yield Golden("tiff-grey-premultiplied", data, "tiff", on_white(grey, HALF), 0.5)

    deep = GREY.astype(np.uint16) * 257
    yield Golden("tiff-16-bit-grey", tiff(deep.tobytes(), (16,), 1), "tiff", grey)
    yield Golden("tiff-16-bit-big-endian", tiff(deep.byteswap().tobytes(), (16,), 1, order=">"), "tiff", grey)
    yield Golden("tiff-16-bit-white-is-0", tiff((65535 - deep).tobytes(), (16,), 0), "tiff", grey)
    yield Golden("tiff-16-bit-grey-lzw", save(deep, "TIFF", compression="tiff_lzw"), "tiff", grey)
    yield Golden("tiff-16-bit", tiff((RGB.astype(np.uint16) * 257).tobytes(), (16,) * 3, 2), "tiff", RGB)
    twelve = (GREY.astype(np.uint16) << 4).reshape(-1, 2)
    packed = np.stack([twelve[:, 0] >> 4, (twelve[:, 0] & 15) << 4 | twelve[:, 1] >> 8, twelve[:, 1] & 255], axis=1)
    yield Golden("tiff-12-bit-grey", tiff(packed.astype(np.uint8).tobytes(), (12,), 1), "tiff", grey)
    yield Golden("tiff-float", save(GREY.astype(np.float32) / 255, "TIFF"), "tiff", grey)
    stretched = grey_rgb(np.round((GREY - 20.0) * 255 / 220).astype(np.uint8))
    yield Golden("tiff-float-any-range", save((GREY - 100.0).astype(np.float32) * 1e6, "TIFF"), "tiff", stretched, 1)
    holes = np.where(GREY == 90, np.nan, GREY / 255).astype(np.float32)
    yield Golden("tiff-float-holes", save(holes, "TIFF"), "tiff", grey_rgb(np.where(GREY == 90, 0, GREY)))
    yield Golden("tiff-32-bit", save(GREY.astype(np.int32) * 1000, "TIFF"), "tiff", stretched, 1)


def bmps() -> Iterator[Golden]:
    yield Golden("bmp", save(RGB, "BMP"), "bmp", RGB)
    yield Golden("bmp-grey", save(GREY, "BMP"), "bmp", grey_rgb(GREY))
    yield Golden("bmp-palette", save(palette(), "BMP"), "bmp", RGB)
    bilevel = Image.fromarray(BLACK_OR_WHITE).convert("1")
    yield Golden("bmp-1-bit", save(bilevel, "BMP"), "bmp", grey_rgb(BLACK_OR_WHITE))


def avifs() -> Iterator[Golden]:
    best = {"quality": 95, "subsampling": "4:4:4", "speed": 10}
    yield Golden("avif", save(RGB, "AVIF", **best), "avif", RGB, 4)
    yield Golden("avif-alpha", save(rgba(HALF), "AVIF", **best), "avif", on_white(RGB, HALF), 4)
    yield Golden("avif-animated", frames("AVIF", **best), "avif", RGB, 4)
    yield Golden("avif-orientation-5", save(stored(RGB, 5), "AVIF", exif=exif(5), **best), "avif", RGB, 4)


def heifs() -> Iterator[Golden]:
    best = {"quality": 95, "chroma": 444}
    data = save(RGB, "HEIF", **best)
    yield Golden("heif", data, "heif", RGB, 4)
    yield Golden("heif-brand-mif1", data.replace(b"ftypheic", b"ftypmif1", 1), "heif", RGB, 4)
    yield Golden("heif-alpha", save(rgba(HALF), "HEIF", **best), "heif", on_white(RGB, HALF), 4)
    yield Golden("heif-grey", save(GREY, "HEIF", quality=95), "heif", grey_rgb(GREY), 4)
    yield Golden("heif-orientation-6", save(stored(RGB, 6), "HEIF", exif=exif(6), **best), "heif", RGB, 4)
