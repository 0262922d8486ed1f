"""What is known of an image besides its embedding: one type, from the source to the search result."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ImageMetadata(BaseModel):
    """Metadata of one image. Every field but `uri` may be absent; absent is `None`, or no tags.

    The field names are those of the vector part, of the index and of the API (DESIGN.md, section 3).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str = Field(description="Where the image is: s3://bucket/key, https://…, or file:///…")
    etag: str | None = Field(None, description="Changes when the bytes change; opaque")
    width: int | None = Field(None, ge=0, description="Pixels, after EXIF orientation")
    height: int | None = Field(None, ge=0, description="Pixels, after EXIF orientation")
    format: str | None = Field(None, description="As Pillow names it, lower case: jpeg, png, webp, heif, …")
    bytes: int | None = Field(None, ge=0, description="Size of the file")
    title: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    color: str | None = Field(None, description="Dominant colour, as the source gives it")
    created_at: datetime | None = Field(None, description="When the photo was taken; UTC where no zone is given")
    lat: float | None = Field(None, ge=-90, le=90)
    lon: float | None = Field(None, ge=-180, le=180)
    credit: str | None = Field(None, description="Who is to be credited")
    extra: dict[str, Any] = Field(default_factory=dict, description="Whatever else the source knows")
