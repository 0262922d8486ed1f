"""Open an untrusted image file: bytes in, an upright RGB picture out, or an error that says why not.

What open_clip's own transform leaves undone is done here: EXIF orientation is applied, transparency is laid on white,
16-bit and float pictures are scaled to 8 bits instead of clipped. Of an animation the first frame counts. ICC profiles
are ignored, as open_clip ignores them: that is how CLIP saw its training pictures.

Memory is bounded: by `max_bytes` for the file and by `max_pixels` for the picture, which is checked against the header
before anything is decoded. At its peak, opening takes 4 to 16 bytes a pixel, and 21 for WebP.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import AvifImagePlugin, Image, ImageOps, UnidentifiedImageError, WebPImagePlugin  # noqa: F401
from PIL.ExifTags import GPS, IFD
from PIL.ExifTags import Base as Tag
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from imagesearch.errors import ImageReason, InvalidImage, SourceError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
"""The formats that are opened, as Pillow names them; HEIF is what iPhones write as .heic.

AVIF and WebP are imported above for nothing else, because Pillow would import all its 40 plugins to find them.
"""

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 200_000_000
"""The largest picture by default, which is that of the largest phone cameras (16,320 x 12,240)."""

MAX_SCANS = 100
"""Scans of a progressive JPEG. Encoders write about ten; each costs a pass over all pixels, however few its bytes."""

pillow_heif.register_heif_opener(decode_threads=1)  # whoever opens many images has many threads already

# Pillow's own guard is global. It works while a header is parsed, where some formats allocate already, and raises at
# twice this number; it is set once, high enough to let pass, without a warning, what `max_pixels` allows.
Image.MAX_IMAGE_PIXELS = 2**28

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by EXIF orientation (CIPA DC-008, tag 274); from 5 on, the sides are swapped."""

_NO_PICTURES = {"BUFR", "GRIB", "HDF5", "MPEG"}
"""What Pillow recognises besides pictures: weather and other scientific data, and video."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """A picture, ready for an encoder, and what its file says of it."""

    image: Image.Image
    """RGB, upright; smaller than `width` x `height` where a `target` allowed it."""
    width: int
    """Pixels of the original, upright."""
    height: int
    format: str
    """As Pillow names it, lower case; `jpeg` also for a phone's JPEG with more than one picture."""
    bytes: int
    """Size of the file."""
    created_at: datetime | None
    """When it was taken, by EXIF, in UTC; a camera that gives no offset from UTC is taken to run on it."""
    lat: float | None
    """Degrees north, by EXIF; `None` unless both are there."""
    lon: float | None
    """Degrees east."""


def open_image(
    data: bytes | Path, *, target: int | None = None, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
) -> OpenedImage:
    """Decode an image file.

    `target` is the size that the model sees. With it, a JPEG whose shorter side is at least four times as long is
    decoded at 1/2, 1/4 or 1/8 of its size, which is faster, and scaled to exactly twice what the model sees. What the
    model then sees is within 45 dB (PSNR) of the full decode, and its embedding by the tiny model within a cosine of
    0.9995; tests/unit/images/test_images_draft.py holds both.

    Raises:
        InvalidImage: it is no image that can be used; `reason` says why.
        SourceError: the file at the path can't be read.
    """
    if isinstance(data, Path):
        data = _read(data, max_bytes)
    if not data:
        raise InvalidImage(ImageReason.EMPTY, "the image file is empty")
    if len(data) > max_bytes:
        raise InvalidImage(ImageReason.TOO_MANY_BYTES, f"the image file is too large: the limit is {max_bytes:,} bytes")

    image = None
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
        width, height = image.size
        _check_header(image, data, max_pixels)
        draft = image.draft(None, (2 * target, 2 * target)) if target and isinstance(image, JpegImageFile) else None
        image.load()
        rgb = _to_rgb(image, data)
        if target and draft and rgb.size != (width, height):
            # sides that aren't multiples of the scale end within the last pixel, as `box` says: to leave it out would
            # stretch the picture, which costs more than the reduction does (28 dB, a cosine of 0.98)
            _, box = draft
            short = min(width, height)
            size = (2 * (width * target // short), 2 * (height * target // short))
            rgb = rgb.resize(size, Image.Resampling.LANCZOS, box)
        orientation = _unless_broken(lambda: image.getexif().get(Tag.Orientation))
        if orientation in _UPRIGHT:
            rgb = rgb.transpose(_UPRIGHT[orientation])
            if orientation >= 5:
                width, height = height, width
    except InvalidImage:
        raise
    except Exception as error:  # hostile bytes make decoders raise anything, from struct.error to MemoryError
        raise _explain(error, data, image) from error

    lat, lon = _unless_broken(lambda: _location(image)) or (None, None)
    return OpenedImage(
        image=rgb,
        width=width,
        height=height,
        format="jpeg" if isinstance(image, JpegImageFile) else str(image.format).lower(),
        bytes=len(data),
        created_at=_unless_broken(lambda: _taken_at(image)),
        lat=lat,
        lon=lon,
    )


def jpeg_thumbnail(image: Image.Image, size: int, quality: int = 85) -> bytes:
    """A JPEG file of the RGB `image`, scaled down so that no side is longer than `size` pixels; never scaled up."""
    if max(image.size) > size:
        image = ImageOps.contain(image, (size, size), Image.Resampling.LANCZOS)
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _read(path: Path, max_bytes: int) -> bytes:
    """The file at `path`; of one that is too large, one byte more than the limit."""
    try:
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise SourceError(f"can't read {path}: {error.strerror}") from error


def _check_header(image: ImageFile, data: bytes, max_pixels: int) -> None:
    """Refuse what would take too much memory or time to decode."""
    sizes = [image.size]
    if isinstance(image, TiffImageFile):  # whole tiles are decoded, and a tile may be larger than the picture
        sizes.append((image.tag_v2.get(Tag.TileWidth, 0), image.tag_v2.get(Tag.TileLength, 0)))
    if image.format == "HEIF":  # the picture may be cut out of a larger one; `ispe` boxes tell what is decoded
        sizes += [struct.unpack(">II", size) for size in re.findall(rb"ispe\0{4}(.{8})", data, re.DOTALL)]
    for width, height in sizes:
        if width * height > max_pixels:
            raise _too_many_pixels(f"{width:,} x {height:,} pixels, and the limit is {max_pixels:,} in all")
    if image.info.get("progressive") and data.count(b"\xff\xda") > MAX_SCANS:
        raise InvalidImage(ImageReason.CORRUPT, f"the JPEG has more than {MAX_SCANS} scans, which no encoder writes")


def _to_rgb(image: ImageFile, data: bytes) -> Image.Image:
    """8 bits a channel, on white. `image` is decoded, `data` is its file."""
    if image.mode.startswith("I;16"):
        return _on_white(_high_byte(image))
    if image.mode in ("I", "F"):
        return _stretched(image).convert("RGB")
    if image.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = _in_8_bits(image, depth=data[24])  # of the header, IHDR
    return _on_white(image.convert("LA") if image.mode == "La" else image)


def _on_white(image: Image.Image) -> Image.Image:
    """RGB; where the picture is transparent, white shines through."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba)
    return white


def _in_8_bits(image: ImageFile, depth: int) -> object:
    """The transparent colour of a PNG: the file gives it in its own `depth`, Pillow the pixels in 8 bits."""
    color = image.info["transparency"]
    match image.mode:
        case "L":
            return color * 255 // (2**depth - 1)
        case "RGB" if depth == 16:
            return tuple(value >> 8 for value in color)
    return color


def _high_byte(image: ImageFile) -> Image.Image:
    """A 16-bit grey picture as 8-bit grey, L or LA; Pillow does the same with 16-bit colour, but clips grey."""
    values = np.asarray(image)
    (bits, *_) = image.tag_v2.get(Tag.BitsPerSample, (16,)) if isinstance(image, TiffImageFile) else (16,)  # or 12
    grey = _grey(image, (values >> (bits - 8)).astype(np.uint8))
    if "transparency" in image.info:
        grey.putalpha(Image.fromarray(np.uint8(255) * (values != image.info["transparency"])))
    return grey


def _stretched(image: ImageFile) -> Image.Image:
    """A float or 32-bit picture as 8-bit grey: 0 to 1 is black to white, any other range is stretched to that."""
    values = np.array(image, dtype=np.float32)
    finite = np.isfinite(values)
    low = float(values.min(initial=np.inf, where=finite))
    high = float(values.max(initial=-np.inf, where=finite))
    if not low < high or (image.mode == "F" and low >= 0 and high <= 1):
        low, high = 0.0, 1.0
    with np.errstate(all="ignore"):  # what isn't finite ends as black or white
        values -= np.float32(low)
        values *= np.float32(255 / (high - low))
    np.nan_to_num(values, copy=False)
    values.clip(0, 255, out=values).round(out=values)
    return _grey(image, values.astype(np.uint8))


def _grey(image: ImageFile, values: npt.NDArray[np.uint8]) -> Image.Image:
    """A picture in mode L; a TIFF that counts from white to black is turned round, which Pillow does in 8 bits only."""
    white_is_zero = isinstance(image, TiffImageFile) and image.tag_v2.get(Tag.PhotometricInterpretation) == 0
    return Image.fromarray(255 - values if white_is_zero else values)


def _taken_at(image: ImageFile) -> datetime:
    """DateTimeOriginal, in UTC. Raises anything where it is missing or no date."""
    photo = image.getexif().get_ifd(IFD.Exif)
    date, offset = (str(photo.get(tag, "")).strip("\0 ") for tag in (Tag.DateTimeOriginal, Tag.OffsetTimeOriginal))
    zone = _unless_broken(lambda: datetime.strptime(offset, "%z").tzinfo) or UTC
    return datetime.fromisoformat(date.replace(":", "-", 2)).replace(tzinfo=zone).astimezone(UTC)


def _location(image: ImageFile) -> tuple[float, float]:
    """Latitude and longitude, in degrees. Raises anything where one is missing or no number in range."""
    gps = image.getexif().get_ifd(IFD.GPSInfo)

    def degrees(tag: int, ref: int, limit: int) -> float:
        value = sum((float(part) / 60**power for power, part in enumerate(gps[tag])), 0.0)
        if not 0 <= value <= limit:  # NaN, which a camera without a fix writes, is neither
            raise ValueError(value)
        return -value if str(gps[ref]).startswith(("S", "W")) else value

    return degrees(GPS.GPSLatitude, GPS.GPSLatitudeRef, 90), degrees(GPS.GPSLongitude, GPS.GPSLongitudeRef, 180)


def _unless_broken(read: Callable[[], _T]) -> _T | None:
    """What `read` finds in a file's metadata, if they can be read: broken ones are no reason to refuse a picture."""
    try:
        return read()
    except Exception:
        return None


def _explain(error: Exception, data: bytes, image: ImageFile | None) -> InvalidImage:
    """The error to raise for what Pillow raised, `image` being what it opened before, if anything."""
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return _too_many_pixels(str(error) or "there isn't enough memory to decode it")
    format = _recognised(data)
    if format is None:
        return InvalidImage(ImageReason.NOT_AN_IMAGE, "the file is no image: it doesn't start as any format does")
    if format not in FORMATS:
        return InvalidImage(
            ImageReason.UNSUPPORTED_FORMAT, f"{format} isn't supported; these formats are: {', '.join(FORMATS)}"
        )
    detail = "" if isinstance(error, UnidentifiedImageError) else f": {error}"
    if "truncated" in detail.lower() or _unless_broken(lambda: _ends_early(data, format, image)):
        return InvalidImage(ImageReason.TRUNCATED, f"the {format} file ends too early{detail}")
    return InvalidImage(ImageReason.CORRUPT, f"the {format} file is damaged, or of a kind that isn't supported{detail}")


def _too_many_pixels(detail: str) -> InvalidImage:
    return InvalidImage(ImageReason.TOO_MANY_PIXELS, f"the image is too large: {detail}")


def _recognised(data: bytes) -> str | None:
    """The format that the first bytes announce, among all that Pillow knows and two that it doesn't."""
    Image.init()
    prefix = data[:16].ljust(16)  # what some plugins rely on
    for name in (*FORMATS, *Image.OPEN):
        _, accepts = Image.OPEN[name]
        if accepts is not None and name not in _NO_PICTURES and accepts(prefix):
            return name
    if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL"
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in start:
        return "SVG"
    return None


def _ends_early(data: bytes, format: str, image: ImageFile | None) -> bool:
    """Whether the file is shorter than it says itself; for the formats where Pillow doesn't notice."""
    match format:
        case "GIF":
            return not data.rstrip(b"\0").endswith(b";")
        case "WEBP":
            return 8 + int.from_bytes(data[4:8], "little") > len(data)
        case "TIFF" if isinstance(image, TiffImageFile):
            tags = image.tag_v2
            starts = tags.get(Tag.StripOffsets) or tags.get(Tag.TileOffsets, ())
            lengths = tags.get(Tag.StripByteCounts) or tags.get(Tag.TileByteCounts, ())
            return any(start + length > len(data) for start, length in zip(starts, lengths, strict=False))
        case "TIFF":  # the directory, which tells the rest, lies beyond the end
            return int.from_bytes(data[4:8], "little" if data[:2] == b"II" else "big") >= len(data)
        case "AVIF" | "HEIF":  # a row of boxes, each beginning with its length
            position = 0
            while position < len(data):
                length = int.from_bytes(data[position : position + 4], "big")
                if length < 8:  # 0: to the end of the file; 1: of 4 GiB and more
                    return False
                position += length
            return position > len(data)
    return False
