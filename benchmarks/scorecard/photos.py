"""Photos to index: made up, but with what a photo has, each with a vector."""

import random
from collections.abc import Iterable, Iterator

from imagesearch.clip.model import Float32
from imagesearch.index.base import Upsert
from imagesearch.records import ImageMetadata

THINGS = ("dog", "beach", "pizza", "mountain", "train", "flower", "city", "child", "boat", "forest")


def photo(number: int, vector: Float32) -> Upsert:
    """A photo with what a photo has. One of a hundred has the tag `rare`, whatever its vector."""
    chosen = random.Random(number)  # noqa: S311
    thing, other = chosen.sample(THINGS, 2)
    metadata = ImageMetadata(
        uri=f"https://photos.example/holidays/2024/IMG_{number:07}.jpg", etag=f"{number:032x}", width=4000, height=3000,
        format="jpeg", bytes=3_000_000, title=f"IMG_{number:07} a {thing}", description=f"a {thing} and a {other}",
        tags=(thing, other, *(("rare",) if chosen.random() < 0.01 else ())),
        created_at=f"20{number % 20:02}-07-01T12:00:00Z",
    )  # fmt: skip
    return Upsert(photo_id(number), 1, vector, metadata)


def photo_id(number: int) -> str:
    """The id of a photo."""
    return f"holidays/2024/IMG_{number:07}.jpg"


def photos(chunks: Iterable[Float32]) -> Iterator[Upsert]:
    """Photos with these vectors, numbered from 0."""
    return (photo(number, vector) for number, vector in enumerate(vector for chunk in chunks for vector in chunk))
