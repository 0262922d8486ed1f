"""The demo's pictures as documents: encoded by the bundled model, with their names and tags."""

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.agreement import encode_files
from imagesearch.clip.model import Float32, ModelInfo
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.index.base import Upsert
from imagesearch.records import ImageMetadata
from local.demo import MODEL, SAMPLES

INFO = ModelInfo.load(MODEL)
SPREAD = 0.35
"""Length of what is added to a vector for a variant of its picture: its cosine with the picture is about 0.94."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One of the demo's pictures, and its vector (dim,) float32."""

    path: Path
    title: str
    tags: tuple[str, ...]
    color: str
    vector: Float32


@cache
def pictures(count: int) -> tuple[Picture, ...]:
    """`count` of the demo's pictures, spread over all of them."""
    with (SAMPLES / "photos.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    rows = [rows[i] for i in np.linspace(0, len(rows) - 1, min(count, len(rows)), dtype=int)]
    paths = [SAMPLES / row["path"] for row in rows]
    vectors = encode_files(OnnxEncoder(MODEL), paths)
    return tuple(
        Picture(path, row["title"], tuple(row["tags"].split("|")), row["color"], vector)
        for path, row, vector in zip(paths, rows, vectors, strict=True)
    )


def document(id: str, version: int, picture: Picture, vector: Float32) -> Upsert:
    """What the index keeps of `picture`, with `vector`, under `id`."""
    metadata = ImageMetadata(
        uri=picture.path.as_uri(), title=picture.title, tags=picture.tags, color=picture.color, width=144, height=144,
        format="webp", bytes=3_000, created_at=datetime(2015 + len(picture.title) % 10, 6, 15, 12, tzinfo=UTC),
    )  # fmt: skip
    return Upsert(id, version, vector, metadata)


def documents(some: tuple[Picture, ...], count: int) -> Iterator[Upsert]:
    """`count` documents: `some` pictures, over and over, each time with a vector that lies near the picture's own."""
    generator = np.random.default_rng(1)
    version = time.time_ns() // 1_000_000
    for number in range(count):
        turn, which = divmod(number, len(some))
        picture, vector = some[which], some[which].vector
        if turn:
            noise = generator.normal(size=len(vector))
            vector = vector + SPREAD * noise / np.linalg.norm(noise)
            vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        yield document(f"{turn}/{picture.path.name}", version, picture, vector)
