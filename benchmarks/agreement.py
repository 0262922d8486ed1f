"""How well queries of one artifact find what another one of the same weights encoded: recall, and agreement.

Retrieval is exact, by numpy, since a precision changes vectors and nothing else. A photo is looked for by its title,
where it has one, and by an altered copy of it: mirrored, and its middle alone.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track
from rich.table import Table

from imagesearch.clip.model import Encoder, Float32
from imagesearch.images import open_image

DEPTHS = (1, 5, 10)
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
KEPT = 0.8
"""Share of each side that an altered copy keeps."""

progress = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Photo:
    """A file, and its title, which may be empty."""

    path: Path
    title: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one kind of query does.

    Attributes:
        recall: Share of queries whose photo is among the first 1, 5 and 10.
        same: Share of the first ten that the encoder which encoded the photos finds too; 1 for itself.
        cosine: The lowest cosine of a query to that encoder's.
        queries: How many there were.
    """

    recall: tuple[float, ...]
    same: float
    cosine: float
    queries: int


def read_photos(source: Path, limit: int) -> list[Photo]:
    """The photos of a folder, or of a table with the columns path and title; `limit` of them, spread over all."""
    if source.is_dir():
        photos = [Photo(path, "") for path in sorted(source.rglob("*")) if path.suffix.lower() in SUFFIXES]
    else:
        with source.open(newline="") as file:
            photos = [Photo(source.parent / row["path"], row.get("title") or "") for row in csv.DictReader(file)]
    if not photos:
        raise RuntimeError(f"there are no photos in {source}")
    return photos[:: -(-len(photos) // limit)]


class Search:
    """A search among `photos`, which the first of `encoders` encoded; each of them encodes the queries."""

    def __init__(self, photos: Sequence[Photo], encoders: Mapping[str, Encoder]) -> None:
        spaces = {encoder.info.fingerprint for encoder in encoders.values()}
        if len(spaces) != 1:
            raise RuntimeError(f"these artifacts are of different weights: {', '.join(sorted(spaces))}")
        self.photos = photos
        self.encoders = encoders
        self._first = next(iter(encoders.values()))

    @cached_property
    def vectors(self) -> Float32:
        """Of the photos."""
        return encode_files(self._first, [photo.path for photo in self.photos])

    def by_title(self) -> dict[str, Agreement]:
        """Titles as queries, for each encoder; empty where no photo has one."""
        right = [number for number, photo in enumerate(self.photos) if photo.title]
        titles = [self.photos[number].title for number in right]
        batches = range(0, len(titles), 64)
        queries = {
            name: [encoder.encode_text(titles[start : start + 64]) for start in batches]
            for name, encoder in self.encoders.items()
        }
        return self._agreements(
            {name: np.concatenate(found) for name, found in queries.items()} if right else {}, right
        )

    def by_copy(self) -> dict[str, Agreement]:
        """Altered copies of the photos as queries, for each encoder."""
        return self.by_picture([photo.path for photo in self.photos], range(len(self.photos)), altered=True)

    def by_picture(self, paths: Sequence[Path], right: Sequence[int], altered: bool = False) -> dict[str, Agreement]:
        """Pictures as queries, for each encoder; `right` has the number of the photo that each should find."""
        queries = {name: encode_files(encoder, paths, altered) for name, encoder in self.encoders.items()}
        return self._agreements(queries, right)

    def _agreements(self, queries: Mapping[str, Float32], right: Sequence[int]) -> dict[str, Agreement]:
        first = next(iter(queries.values()))
        expected = np.argsort(-(first @ self.vectors.T), axis=1)[:, :10]
        agreements = {}
        for name, vectors in queries.items():
            scores = vectors @ self.vectors.T
            ranks = (scores > scores[np.arange(len(right)), right][:, np.newaxis]).sum(axis=1)
            found = np.argsort(-scores, axis=1)[:, :10]
            shared = [len({*one} & {*other}) / len(one) for one, other in zip(found, expected, strict=True)]
            agreements[name] = Agreement(
                recall=tuple(float((ranks < depth).mean()) for depth in DEPTHS),
                same=float(np.mean(shared)),
                cosine=float((first * vectors).sum(axis=1).min()),
                queries=len(right),
            )
        return agreements


def encode_files(encoder: Encoder, paths: Sequence[Path], altered: bool = False) -> Float32:
    """Embeddings of the pictures in these files, (n, dim) of length 1; of altered copies of them if `altered`."""
    vectors = []
    for start in track(range(0, len(paths), 32), "encoding", transient=True, console=progress):
        images = [open_image(path, target=encoder.info.image_size).image for path in paths[start : start + 32]]
        vectors.append(encoder.encode_images([alter(image) for image in images] if altered else images))
    return np.concatenate(vectors)


def alter(image: Image.Image) -> Image.Image:
    """The middle of `image`, mirrored."""
    left, top = (round(side * (1 - KEPT) / 2) for side in image.size)
    return ImageOps.mirror(image.crop((left, top, image.width - left, image.height - top)))


def agreement_table(search: Search) -> Table:
    """A row for each kind of query and each encoder."""
    heads = (*(f"R@{depth}" for depth in DEPTHS), "same first 10", "lowest cosine")
    table = Table("queries", "n", "of", *heads)
    for what, found in (("titles", search.by_title()), ("altered copies", search.by_copy())):
        for name, one in found.items():
            figures = (*(f"{share:.3f}" for share in one.recall), f"{one.same:.3f}", f"{one.cosine:.4f}")
            table.add_row(what, f"{one.queries:,}", name, *figures)
    return table
