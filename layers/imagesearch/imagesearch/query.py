"""What can be searched for, and what comes of it."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from imagesearch.compact import MAX_WEIGHT
from imagesearch.cursor import Candidate
from imagesearch.errors import InvalidInput
from imagesearch.index.base import Facet, Hit
from imagesearch.index.documents import check_page
from imagesearch.index.facets import check_facets
from imagesearch.index.filters import Filter

Float32 = npt.NDArray[np.float32]
Match = Literal["vector", "words", "hybrid"]

CANDIDATES = 500
"""How many images of each ranking are fused, and what a cursor pages through."""
GROUPED = 200
"""How many of the best are searched for near-duplicates: their vectors must be read, which takes its time."""
WORDS_SHARE = 0.5
"""Where words and vectors are fused, the share of the best BM25 score that a hit must have: with less, it fits only
what is common in the words, and would drown what fits them all. docs/search.md has what that was worth."""


@dataclass(frozen=True, slots=True)
class ByText:
    """What the image shows, in words."""

    text: str


@dataclass(frozen=True, slots=True)
class ByImage:
    """An image that the results should look like: the bytes of a file in any format that `imagesearch.images` opens."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ById:
    """An indexed image that the results should look like; it isn't among them itself."""

    id: str


@dataclass(frozen=True, slots=True, eq=False)
class ByVector:
    """An embedding of the model that filled the index, (embed_dim,) float32; its length doesn't matter."""

    vector: Float32


By = ByText | ByImage | ById | ByVector


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query, and how much it counts; what has a negative weight is unwanted."""

    by: By
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for: the `k` best images, after skipping `offset`, among those that `filter` holds for.

    `terms` are added up to one embedding, see `imagesearch.combine`; `like` and `unlike` are ids of images that were
    found good or bad, and move it by Rocchio's formula. No image that is named by its id is among the results.

    `match` says what makes an image good: `vector`, its cosine with that embedding; `words`, those of the wanted texts
    in its title, tags and description (BM25); `hybrid`, both, by reciprocal rank fusion.

    `facets` are the fields whose values are counted over the results, see `VectorIndex.facets`. With `min_confidence`,
    results that are less sure are left out, where the collection's statistics are known. With `group`, near-duplicates
    stand behind the best of them. `candidates` is how many results to find at once: those beyond the page are in
    `Result.rest`.
    """

    terms: tuple[Term, ...] = ()
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    k: int = 20
    offset: int = 0
    filter: Filter | None = None
    match: Match = "vector"
    facets: tuple[str, ...] = ()
    min_confidence: float | None = None
    group: bool = False
    candidates: int = 0

    @property
    def words(self) -> str:
        """The wanted texts, one after the other."""
        return " ".join(term.by.text for term in self.terms if isinstance(term.by, ByText) and term.weight > 0)

    @property
    def ids(self) -> list[str]:
        """Every id that it names, once."""
        named = [term.by.id for term in self.terms if isinstance(term.by, ById)]
        return list(dict.fromkeys([*named, *self.like, *self.unlike]))

    def check(self) -> None:
        """Nothing, if the query can be answered as far as can be told from itself.

        Raises:
            InvalidInput: it can't.
        """
        check_page(self.k, self.offset)
        for term in self.terms:
            if not 0 < abs(term.weight) <= MAX_WEIGHT:  # NaN neither
                raise InvalidInput(f"a weight must be from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g}, and not 0", "terms")
        check_facets(self.facets, 1, 1)
        if not self.like and not any(term.weight > 0 for term in self.terms):
            if self.terms or self.unlike:
                raise InvalidInput(
                    "all of it is unwanted: add something that is wanted, with a weight above 0", "terms"
                )
            raise InvalidInput("there is nothing to search for", "terms")
        if self.match != "vector" and not self.words:
            raise InvalidInput(f"match {self.match!r} needs words to look for: give a text", "match")
        if self.match == "words" and (self.ids or any(not isinstance(term.by, ByText) for term in self.terms)):
            raise InvalidInput(
                'match "words" looks at words alone: leave out images and ids, or match "hybrid"', "match"
            )
        if self.group and self.offset + self.k > GROUPED:
            raise InvalidInput(f"near-duplicates are grouped among the best {GROUPED}: offset + k is larger", "offset")


@dataclass(frozen=True, slots=True)
class Found:
    """One result. `confidence`, 0 to 1, is None where the collection's statistics, or its cosine, aren't known.

    `similar` are the near-duplicates that stand behind it, best first, where the query asked for groups.
    """

    hit: Hit
    confidence: float | None = None
    similar: tuple[Hit, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What was found, best first: the page, and the `rest` of the candidates after it.

    `no_good_match`: there are images, but none of them reaches `min_confidence`. `encode_ms` and `search_ms`, in
    milliseconds, are how long it took to make the query's vector and to search; of queries that were searched for
    together, all of them.
    """

    found: list[Found]
    rest: tuple[Candidate, ...]
    facets: dict[str, list[Facet]]
    no_good_match: bool
    encode_ms: float
    search_ms: float

    @property
    def hits(self) -> list[Hit]:
        """The hits of the page."""
        return [found.hit for found in self.found]
