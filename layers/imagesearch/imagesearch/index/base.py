"""The vector index that search and loader rely on: one protocol, and one contract suite for every implementation."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from imagesearch.index.filters import Filter
from imagesearch.records import ImageMetadata

Float32 = npt.NDArray[np.float32]

MAX_RESULTS = 10_000
"""offset + k may not exceed this; OpenSearch's own limit for k and for a result window."""


def index_name(fingerprint: str) -> str:
    """Name of the index that holds the vectors of the model with `fingerprint`."""
    return f"images-{fingerprint}"


@dataclass(frozen=True, slots=True)
class Upsert:
    """Write this document, unless a newer version of the id is there. `vector`: (dim,) float32, length 1."""

    id: str
    version: int
    vector: Float32
    metadata: ImageMetadata


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the id, unless a newer version of it is there. Remembered: an older upsert that comes later is stale."""

    id: str
    version: int


Action = Upsert | Delete


@dataclass(frozen=True, slots=True)
class Rejection:
    """One action that the index refused for good, and why."""

    id: str
    reason: str


@dataclass(slots=True)
class BulkResult:
    """What became of a bulk: `stale` actions met a newer version and changed nothing, which is no error."""

    upserted: int = 0
    deleted: int = 0
    stale: int = 0
    rejected: list[Rejection] = field(default_factory=list)

    def add(self, other: "BulkResult") -> None:
        """Count in what became of further actions."""
        self.upserted += other.upserted
        self.deleted += other.deleted
        self.stale += other.stale
        self.rejected += other.rejected


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """One search of several: the `k` images nearest to `vector` (dim,) that match `filter`, after skipping `offset`."""

    vector: Float32
    k: int
    filter: Filter | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Ranked:
    """One result: `score` is the cosine of query and image, -1 to 1; of a search by words, its BM25 score."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Hit(Ranked):
    """One result, with what is known of the image."""

    metadata: ImageMetadata


@dataclass(frozen=True, slots=True)
class Facet:
    """One value of a field, and how many images have it."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class Document:
    """One indexed image, with its vector (dim,) float32."""

    id: str
    version: int
    vector: Float32
    metadata: ImageMetadata


class VectorIndex(Protocol):
    """Documents with a vector each, searched by cosine.

    Every method raises IndexUnavailable when the index doesn't answer, and IndexOverloaded when it keeps asking for
    patience after retries.
    """

    @property
    def name(self) -> str:
        """Name of the index, `images-<fingerprint>`."""
        ...

    def create(self) -> None:
        """Create the index if it isn't there. Safe to call twice, and at the same time from two processes."""
        ...

    def drop(self) -> None:
        """Remove the index and all its documents; nothing happens if it isn't there."""
        ...

    def bulk(self, actions: Iterable[Action]) -> BulkResult:
        """Apply `actions`, creating the index if it isn't there.

        Idempotent: an action whose version is older than the document's changes nothing, the same version rewrites. An
        action that the index refuses (a wrong dimension, a zero or NaN vector) is in `rejected`; all others go in.
        """
        ...

    def search(
        self, vector: Float32, k: int, *, filter: Filter | None = None, offset: int = 0, exact: bool = False
    ) -> list[Hit]:
        """The `k` images nearest to `vector` (dim,) by cosine, best first, after skipping `offset`.

        Equal scores are ordered by id. `filter` applies inside the search, so k hits come back whenever k match.
        `exact` compares with every matching document instead of walking the graph. A missing index has no hits.

        Raises:
            InvalidInput: k < 1, offset < 0, offset + k > MAX_RESULTS, or a vector of a wrong dimension.
        """
        ...

    def search_many(self, queries: Sequence[VectorQuery]) -> list[list[Hit]]:
        """What `search` answers to each of `queries`, in their order, in one request.

        Raises:
            InvalidInput: one of them isn't right, as in `search`; none is answered then.
        """
        ...

    def rank_many(self, queries: Sequence[VectorQuery]) -> list[list[Ranked]]:
        """What `search_many` answers, without the metadata: hundreds of results cost little more than a few.

        Raises:
            InvalidInput: as `search_many`.
        """
        ...

    def search_words(self, text: str, k: int, *, filter: Filter | None = None) -> list[Ranked]:
        """The `k` images whose title, description and tags fit the words of `text` best, by BM25; see words.py.

        An image without any of the words is no hit, so there may be fewer than k, or none. The score is the sum of what
        the words are worth, above 0, and not bounded: it orders the hits of one answer, and means nothing across
        answers, nor beside a cosine. Equal scores are ordered by id. A missing index has no hits.

        Raises:
            InvalidInput: k < 1 or k > MAX_RESULTS.
        """
        ...

    def facets(
        self,
        vector: Float32 | None,
        fields: Sequence[str],
        *,
        filter: Filter | None = None,
        candidates: int = 1_000,
        size: int = 20,
    ) -> dict[str, list[Facet]]:
        """For each of `fields`, its `size` most frequent values among images, most frequent first, then by value.

        The images are the `candidates` nearest to `vector` (dim,) that match `filter`, or all that match where it is
        None. Each field of `facets.FIELDS` may be asked for: an image counts once for each of its tags, and not at all
        where the field has no value; `year` is that of `created_at`, in UTC. A missing index has empty lists.

        Raises:
            InvalidInput: a field that has no facets, candidates or size out of bounds, a vector of a wrong dimension.
        """
        ...

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """The documents with these ids, as of the last refresh; those that don't exist are absent."""
        ...

    def describe(self, ids: Sequence[str], *, filter: Filter | None = None) -> dict[str, ImageMetadata]:
        """What is known of those images with these ids that match `filter`: `get` for less, without the vectors."""
        ...

    def count(self, filter: Filter | None = None) -> int:
        """How many documents match, or there are; 0 for a missing index."""
        ...

    def versions(self) -> Iterator[tuple[str, int]]:
        """Id and version of every image, in no order, as of the last refresh; none for a missing index."""
        ...

    def refresh(self) -> None:
        """Make everything written so far visible to searches."""
        ...
