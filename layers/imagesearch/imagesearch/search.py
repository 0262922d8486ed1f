"""Queries in, results out: makes one vector of what is asked for, asks the index, and sorts out what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from imagesearch.clip.model import Encoder, Float32
from imagesearch.cursor import Candidate
from imagesearch.embed import Embedder, Problem
from imagesearch.errors import InvalidInput, NotFound
from imagesearch.fuse import reciprocal_rank_fusion
from imagesearch.groups import group_similar
from imagesearch.index.base import MAX_RESULTS, Document, Facet, Hit, Ranked, VectorIndex, VectorQuery
from imagesearch.index.filters import And, AnyOf, Filter, Not
from imagesearch.paging import look_up
from imagesearch.query import (
    CANDIDATES,
    GROUPED,
    WORDS_SHARE,
    ById,
    ByImage,
    ByText,
    ByVector,
    Found,
    Query,
    Result,
    Term,
)
from imagesearch.statistics import CollectionStatistics

__all__ = ["ById", "ByImage", "ByText", "ByVector", "Found", "Query", "Result", "Searcher", "Term"]


@dataclass(frozen=True, slots=True)
class Searcher:
    """Searches `index` with the model that filled it; `statistics` are those of its vectors, where they are known.

    ```python
    encoder = OnnxEncoder(Path("models/tiny"))
    index = open_index("duckdb:///photos.duckdb", encoder.info.fingerprint, encoder.info.embed_dim, "lucene")
    terms = Term(ByText("a dog")), Term(ByText("a beach"), weight=0.5)
    for hit in Searcher(encoder, index).search(Query(terms)).hits:
        print(hit.score, hit.metadata.uri)
    ```
    """

    encoder: Encoder
    index: VectorIndex
    max_image_bytes: int = 20_000_000
    max_image_pixels: int = 100_000_000
    statistics: CollectionStatistics | None = None

    def search(self, query: Query) -> Result:
        """The images that `query` asks for.

        Raises:
            InvalidInput: a query that can't be answered: see `Query.check`; terms that cancel each other out; bytes of
                `ByImage` that are no usable image, or a larger one than allowed; `ByVector` of a wrong dimension.
            NotFound: an id that isn't indexed.
            VectorIndexError: the index doesn't answer, or is overloaded.
        """
        (answer,) = self.search_many([query])
        if isinstance(answer, Result):
            return answer
        raise answer

    def search_many(self, queries: Sequence[Query]) -> list[Result | Problem]:
        """What `search` gives for each of `queries`, or raises because of it; all of them in one go.

        Raises:
            VectorIndexError: the index doesn't answer, or is overloaded.
        """
        start = perf_counter()
        problems: dict[int, Problem] = {}
        for i, query in enumerate(queries):
            try:
                query.check()
            except InvalidInput as problem:
                problems[i] = problem
        vectors = self._vectors({i: query for i, query in enumerate(queries) if i not in problems}, problems)
        encoded = perf_counter()

        ranked = self._nearest({i: queries[i] for i in vectors}, vectors)
        results = {
            i: self._result(query, vectors.get(i), ranked.get(i, []))
            for i, query in enumerate(queries)
            if i not in problems
        }
        searched = perf_counter()
        encode_ms, search_ms = (encoded - start) * 1000, (searched - encoded) * 1000
        timed = {i: replace(result, encode_ms=encode_ms, search_ms=search_ms) for i, result in results.items()}
        return [problems[i] if i in problems else timed[i] for i in range(len(queries))]

    def document(self, id: str) -> Document:
        """The indexed image with this id.

        Raises:
            NotFound: there is none.
            VectorIndexError: the index doesn't answer, or is overloaded.
        """
        try:
            return self.index.get([id])[id]
        except KeyError:
            raise NotFound(f"no image has the id {id[:200]!r}") from None

    def _vectors(self, queries: dict[int, Query], problems: dict[int, Problem]) -> dict[int, Float32]:
        """The vectors of those `queries` that need one; what is wrong with others goes to `problems`."""
        needed = {i: query for i, query in queries.items() if query.match != "words"}
        embed = Embedder(self.encoder, self.index, self.statistics, self.max_image_bytes, self.max_image_pixels)
        vectors = {}
        for i, vector in zip(needed, embed(list(needed.values())), strict=True):
            if isinstance(vector, InvalidInput | NotFound):
                problems[i] = vector
            else:
                vectors[i] = vector
        return vectors

    def _nearest(self, queries: dict[int, Query], vectors: dict[int, Float32]) -> dict[int, Sequence[Ranked]]:
        """What is nearest to the vectors of `queries`: hits where all are shown, ids and scores elsewhere."""
        asked = {i: _asked(query, vectors[i]) for i, query in queries.items()}
        shown = [i for i in asked if not _looks_further(queries[i])]
        others = [i for i in asked if _looks_further(queries[i])]
        nearest: dict[int, Sequence[Ranked]] = {}
        if shown:
            nearest.update(zip(shown, self.index.search_many([asked[i] for i in shown]), strict=True))
        if others:
            nearest.update(zip(others, self.index.rank_many([asked[i] for i in others]), strict=True))
        return nearest

    def _result(self, query: Query, vector: Float32 | None, nearest: Sequence[Ranked]) -> Result:
        """The result of one query, `nearest` being what is nearest to its vector."""
        sure = self._confidences(vector, nearest)
        ranking = nearest if query.match == "vector" else self._by_words(query, nearest)
        facets = self._facets(query, vector, ranking)
        kept = [one for one in ranking if sure.get(one.id, 1) >= (query.min_confidence or 0)]
        no_good_match = bool(ranking) and not kept and query.offset == 0
        rest: tuple[Candidate, ...] = ()
        if _looks_further(query):
            groups = self._groups(kept[:GROUPED]) if query.group else [[one] for one in kept]
            candidates = [
                Candidate(tuple((one.id, one.score) for one in group), sure.get(group[0].id)) for group in groups
            ]
            start = query.offset if _reads_from_the_start(query) else 0
            found, rest = look_up(candidates[start:], query.k, self.index, query.filter)
        else:
            found = [Found(hit, sure.get(hit.id)) for hit in kept if isinstance(hit, Hit)]
        return Result(found, rest, facets, no_good_match, encode_ms=0, search_ms=0)

    def _by_words(self, query: Query, nearest: Sequence[Ranked]) -> Sequence[Ranked]:
        worded = self.index.search_words(query.words, _depth(query), filter=_filter(query))
        if query.match == "words":
            return worded
        fitting = [hit for hit in worded if hit.score >= WORDS_SHARE * worded[0].score]
        # Words first: of two that are the best in one way each, what is called so is the surer one.
        fused = reciprocal_rank_fusion([[hit.id for hit in ranking] for ranking in (fitting, nearest)])
        return [Ranked(id, score) for id, score in fused]

    def _facets(self, query: Query, vector: Float32 | None, ranking: Sequence[Ranked]) -> dict[str, list[Facet]]:
        if not query.facets:
            return {}
        if query.match == "vector":
            return self.index.facets(vector, query.facets, filter=_filter(query))
        if not ranking:
            return {field: [] for field in query.facets}
        found = AnyOf("id", tuple(hit.id for hit in ranking))
        return self.index.facets(None, query.facets, filter=found)

    def _confidences(self, vector: Float32 | None, hits: Sequence[Ranked]) -> dict[str, float]:
        """How sure it is that each of `hits` is what `vector` stands for; nothing where there are no statistics."""
        if self.statistics is None or vector is None:
            return {}
        confidences = self.statistics.confidences(vector, [hit.score for hit in hits])
        return {hit.id: confidence for hit, confidence in zip(hits, confidences, strict=True)}

    def _groups(self, ranking: Sequence[Ranked]) -> list[list[Ranked]]:
        documents = self.index.get([one.id for one in ranking])
        there = [one for one in ranking if one.id in documents]  # the others were deleted meanwhile
        groups = group_similar([documents[one.id].vector for one in there])
        return [[there[i] for i in group] for group in groups]


def _asked(query: Query, vector: Float32) -> VectorQuery:
    """What the index is asked for."""
    filter = _filter(query)
    if query.group:
        return VectorQuery(vector, GROUPED, filter)
    if query.match == "hybrid":
        return VectorQuery(vector, _depth(query), filter)
    wanted = max(query.k, query.candidates)
    return VectorQuery(vector, min(wanted, MAX_RESULTS - query.offset), filter, query.offset)


def _depth(query: Query) -> int:
    """How many images of each ranking are fused."""
    return min(MAX_RESULTS, max(CANDIDATES, query.offset + max(query.k, query.candidates)))


def _reads_from_the_start(query: Query) -> bool:
    """Whether even a later page needs the whole ranking: it decides which images fuse, and which are grouped."""
    return query.match != "vector" or query.group


def _looks_further(query: Query) -> bool:
    """Whether more images are asked for than are shown."""
    return _reads_from_the_start(query) or query.candidates > query.k


def _filter(query: Query) -> Filter | None:
    if not query.ids:
        return query.filter
    others = Not(AnyOf("id", tuple(query.ids)))
    return And((query.filter, others)) if query.filter else others
