"""What a photo's file tells of when and where it was taken; and the thumbnail."""

from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational

from imagesearch.images import jpeg_thumbnail, open_image

LATITUDE: dict[int, Any] = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (47, 22, 30)}
ZURICH = LATITUDE | {GPS.GPSLongitudeRef: "E", GPS.GPSLongitude: (8, 33, 0)}


def photo(format: str = "JPEG", *, date: Any = None, offset: Any = None, gps: dict[int, Any] | None = None) -> bytes:
    exif = Image.Exif()
    exif[Base.Make] = "Camera"
    taken = {Base.DateTimeOriginal: date, Base.OffsetTimeOriginal: offset}
    exif.get_ifd(IFD.Exif).update({tag: value for tag, value in taken.items() if value is not None})
    exif.get_ifd(IFD.GPSInfo).update(gps or {})
    file = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, format, exif=exif.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_date_and_place_are_read_from_every_format_that_has_exif(format: str) -> None:
    opened = open_image(photo(format, date="2024:05:06 07:08:09", offset="+02:00", gps=ZURICH))
    assert opened.created_at == datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC)
    assert (opened.lat, opened.lon) == (47.375, 8.55)


def test_a_date_without_an_offset_is_taken_as_utc() -> None:
    assert open_image(photo(date="2024:05:06 07:08:09")).created_at == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    broken_offset = photo(date="2024:05:06 07:08:09\0", offset="   :  ")
    assert open_image(broken_offset).created_at == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize("date", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", "", b"\xff\xfe", 7])
def test_what_is_no_date_is_none(date: Any) -> None:
    assert open_image(photo(date=date, offset="+14:00")).created_at is None


def test_a_date_before_the_first_year_in_utc_is_none() -> None:
    assert open_image(photo(date="0001:01:01 00:00:00", offset="+14:00")).created_at is None


def test_south_and_west_are_negative() -> None:
    rio = ZURICH | {GPS.GPSLatitudeRef: "S", GPS.GPSLongitudeRef: "W"}
    assert (open_image(photo(gps=rio)).lat, open_image(photo(gps=rio)).lon) == (-47.375, -8.55)


@pytest.mark.parametrize(
    "change",
    [
        {GPS.GPSLatitude: (91, 0, 0)},
        {GPS.GPSLongitude: (IFDRational(0, 0), 0, 0)},
        {GPS.GPSLongitude: ()},
    ],
    ids=["out-of-range", "not-a-number", "nothing"],
)
def test_a_place_that_is_none_is_none_in_both(change: dict[int, Any]) -> None:
    opened = open_image(photo(gps=ZURICH | change))
    assert (opened.lat, opened.lon) == (None, None)


def test_a_place_with_one_coordinate_is_none() -> None:
    opened = open_image(photo(gps=LATITUDE))
    assert (opened.lat, opened.lon) == (None, None)


def test_a_thumbnail_keeps_the_proportions_and_is_never_larger_than_the_picture() -> None:
    for size, expected in [(100, (100, 50)), (1000, (300, 150))]:
        with Image.open(BytesIO(jpeg_thumbnail(Image.new("RGB", (300, 150), "navy"), size))) as thumbnail:
            assert (thumbnail.format, thumbnail.size) == ("JPEG", expected)
