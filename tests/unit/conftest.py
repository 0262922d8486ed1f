"""A model and an index small enough to see through: images are colours, and words are the names of colours."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from PIL import Image

from imagesearch.clip.model import Float32, ModelInfo
from imagesearch.errors import InvalidInput
from imagesearch.fetch import Fetcher
from imagesearch.index.base import MAX_RESULTS, Action, BulkResult, Document, Facet, Hit, Ranked, VectorQuery
from imagesearch.index.filters import And, AnyOf, Filter, Not
from imagesearch.records import ImageMetadata
from imagesearch.search import Searcher
from imagesearch.service import Service
from imagesearch.settings import Settings

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "grey": (90, 90, 90)}


def embedding(colour: tuple[int, ...]) -> Float32:
    vector = np.array(colour, dtype=np.float32)
    return vector / np.linalg.norm(vector)


class ColourEncoder:
    """An `Encoder` whose embedding of an image is its mean colour. `seen` holds what it was given."""

    info = ModelInfo(
        name="colours",
        pretrained="none",
        fingerprint="c0104",
        embed_dim=3,
        image_size=8,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        interpolation="bicubic",
        context_length=77,
        logit_scale=1,
    )

    def __init__(self) -> None:
        self.seen: list[str | Image.Image] = []
        self.batches: list[list[str]] = []

    def encode_text(self, texts: Sequence[str]) -> Float32:
        self.seen += texts
        self.batches.append([*texts])
        return np.stack([embedding(COLOURS.get(text, COLOURS["grey"])) for text in texts])

    def encode_images(self, images: Sequence[Image.Image]) -> Float32:
        self.seen += images
        means = [np.asarray(image.convert("RGB")).reshape(-1, 3).mean(axis=0) + 1 for image in images]
        return np.stack([embedding(tuple(mean)) for mean in means])

    def encode_pixels(self, pixels: Float32) -> Float32:
        self.seen += ["pixels"] * len(pixels)
        return np.stack([embedding(tuple(mean)) for mean in pixels.mean(axis=(2, 3)) * 255 + 1])


class MemoryIndex:
    """A `VectorIndex` in a dictionary, as far as searches need one."""

    name = "images-c0104"

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents = {document.id: document for document in documents}
        self.searches: list[int] = []

    def search(
        self, vector: Float32, k: int, *, filter: Filter | None = None, offset: int = 0, exact: bool = False
    ) -> list[Hit]:
        if k < 1 or offset < 0 or offset + k > MAX_RESULTS:
            raise InvalidInput("k or offset out of range")
        hits = [
            Hit(document.id, float(vector @ document.vector), document.metadata)
            for document in self.documents.values()
            if filter is None or matches(document, filter)
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))[offset : offset + k]

    def search_many(self, queries: Sequence[VectorQuery]) -> list[list[Hit]]:
        self.searches.append(len(queries))
        return [self.search(one.vector, one.k, filter=one.filter, offset=one.offset) for one in queries]

    def rank_many(self, queries: Sequence[VectorQuery]) -> list[list[Ranked]]:
        return [[Ranked(hit.id, hit.score) for hit in hits] for hits in self.search_many(queries)]

    def search_words(self, text: str, k: int, *, filter: Filter | None = None) -> list[Ranked]:
        """By how many of the words are in title and tags."""
        hits = [
            Ranked(document.id, float(count))
            for document in self.documents.values()
            if (filter is None or matches(document, filter))
            and (count := len({*text.split()} & {document.metadata.title, *document.metadata.tags}))
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:k]

    def facets(
        self,
        vector: Float32 | None,
        fields: Sequence[str],
        *,
        filter: Filter | None = None,
        candidates: int = 1_000,
        size: int = 20,
    ) -> dict[str, list[Facet]]:
        """Of tags; other fields have no values here."""
        query = np.ones(3, dtype=np.float32) if vector is None else vector
        found = self.search(query, candidates, filter=filter)
        tags = Counter(tag for hit in found for tag in hit.metadata.tags)
        ordered = sorted(tags.items(), key=lambda counted: (-counted[1], counted[0]))
        return {field: [Facet(*counted) for counted in ordered] if field == "tags" else [] for field in fields}

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        return {id: self.documents[id] for id in ids if id in self.documents}

    def describe(self, ids: Sequence[str], *, filter: Filter | None = None) -> dict[str, ImageMetadata]:
        found = self.get(ids)
        return {id: one.metadata for id, one in found.items() if filter is None or matches(one, filter)}

    def count(self, filter: Filter | None = None) -> int:
        return len(self.documents)

    def create(self) -> None: ...
    def drop(self) -> None: ...
    def refresh(self) -> None: ...
    def bulk(self, actions: Iterable[Action]) -> BulkResult:
        raise NotImplementedError


def matches(document: Document, filter: Filter) -> bool:
    match filter:
        case And(filters):
            return all(matches(document, part) for part in filters)
        case Not(part):
            return not matches(document, part)
        case AnyOf("id", values):
            return document.id in values
        case AnyOf("tags", values):
            return bool({*values} & {*document.metadata.tags})
        case _:
            raise NotImplementedError(filter)


@pytest.fixture
def index() -> MemoryIndex:
    ids = {
        "red": "red",
        "green": "a/b c+d.jpg",
        "blue": "ブルー/50%41.jpg",
        "yellow": "yellow/similar",
        "grey": "holidays/2024/dog.jpg",  # of the example events
    }
    return MemoryIndex(
        Document(
            ids[name],
            version=1,
            vector=embedding(colour),
            metadata=ImageMetadata(
                uri=f"https://photos.example/{name}.jpg", title=name, tags=("warm",) if colour[0] > 200 else ("cold",)
            ),
        )
        for name, colour in COLOURS.items()
    )


@pytest.fixture
def searcher(index: MemoryIndex) -> Searcher:
    return Searcher(ColourEncoder(), index, max_image_bytes=100_000)


@pytest.fixture
def service(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The query function searches those images."""
    from functions.query import app  # a second, which other tests needn't pay

    settings = Settings(index_url="duckdb:///unused", max_image_bytes=100_000)
    service = Service(searcher, Fetcher(max_bytes=100_000), settings)
    monkeypatch.setattr(app, "service", lambda: service)
    return service
