"""Queries in, results out: makes one vector of what is asked for, asks the index, and sorts out what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from imagesearch.clip.model import Encoder, Float32
from imagesearch.embed import Embedder, Problem
from imagesearch.errors import InvalidInput, NotFound
from imagesearch.fuse import reciprocal_rank_fusion
from imagesearch.groups import group_similar
from imagesearch.index.base import MAX_RESULTS, Document, Facet, Hit, VectorIndex, VectorQuery
from imagesearch.index.filters import And, AnyOf, Filter, Not
from imagesearch.query import CANDIDATES, WORDS_SHARE, ById, ByImage, ByText, ByVector, Found, Query, Result, Term
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

        asked = {i: _asked(queries[i], vector) for i, vector in vectors.items()}
        nearest = dict(zip(asked, self.index.search_many(list(asked.values())) if asked else [], strict=True))
        partial = {
            i: self._result(query, vectors.get(i), nearest.get(i, []))
            for i, query in enumerate(queries)
            if i not in problems
        }
        searched = perf_counter()
        encode_ms, search_ms = (encoded - start) * 1000, (searched - encoded) * 1000
        timed = {i: replace(result, encode_ms=encode_ms, search_ms=search_ms) for i, result in partial.items()}
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

    def _result(self, query: Query, vector: Float32 | None, nearest: list[Hit]) -> Result:
        """The result of one query, `nearest` being what `_asked` brought."""
        sure = self._confidences(vector, nearest)
        ranking = nearest if query.match == "vector" else self._by_words(query, nearest)
        facets = self._facets(query, vector, ranking)
        kept = [hit for hit in ranking if sure.get(hit.id, 1) >= (query.min_confidence or 0)]
        no_good_match = bool(ranking) and not kept and query.offset == 0
        groups = self._groups(kept) if query.group else [[hit] for hit in kept]
        found = [Found(first, sure.get(first.id), tuple(similar)) for first, *similar in groups]
        start = query.offset if _reads_from_the_start(query) else 0
        end = start + query.k
        return Result(found[start:end], found[end:], facets, no_good_match, encode_ms=0, search_ms=0)

    def _by_words(self, query: Query, nearest: list[Hit]) -> list[Hit]:
        depth = min(MAX_RESULTS, max(CANDIDATES, query.offset + max(query.k, query.candidates)))
        worded = self.index.search_words(query.words, depth, filter=_filter(query))
        if query.match == "words":
            return worded
        fitting = [hit for hit in worded if hit.score >= WORDS_SHARE * worded[0].score]
        hits = {hit.id: hit for hit in (*nearest, *fitting)}
        # Words first: of two that are the best in one way each, what is called so is the surer one.
        fused = reciprocal_rank_fusion([[hit.id for hit in ranking] for ranking in (fitting, nearest)])
        return [replace(hits[id], score=score) for id, score in fused]

    def _facets(self, query: Query, vector: Float32 | None, ranking: list[Hit]) -> dict[str, list[Facet]]:
        if not query.facets:
            return {}
        if query.match == "vector":
            return self.index.facets(vector, query.facets, filter=_filter(query))
        if not ranking:
            return {field: [] for field in query.facets}
        found = AnyOf("id", tuple(hit.id for hit in ranking))
        return self.index.facets(None, query.facets, filter=found)

    def _confidences(self, vector: Float32 | None, hits: list[Hit]) -> dict[str, float]:
        """How sure it is that each of `hits` is what `vector` stands for; nothing where there are no statistics."""
        if self.statistics is None or vector is None:
            return {}
        confidences = self.statistics.confidences(vector, [hit.score for hit in hits])
        return {hit.id: confidence for hit, confidence in zip(hits, confidences, strict=True)}

    def _groups(self, hits: list[Hit]) -> list[list[Hit]]:
        documents = self.index.get([hit.id for hit in hits])
        there = [hit for hit in hits if hit.id in documents]  # the others were deleted meanwhile
        groups = group_similar([documents[hit.id].vector for hit in there])
        return [[there[i] for i in group] for group in groups]


def _asked(query: Query, vector: Float32) -> VectorQuery:
    """What the index is asked for."""
    wanted = max(query.k, query.candidates)
    if not _reads_from_the_start(query):
        return VectorQuery(vector, min(wanted, MAX_RESULTS - query.offset), _filter(query), query.offset)
    return VectorQuery(vector, min(max(query.offset + wanted, CANDIDATES), MAX_RESULTS), _filter(query))


def _reads_from_the_start(query: Query) -> bool:
    """Whether even a later page needs the whole ranking: it decides which images fuse, and which are grouped."""
    return query.match != "vector" or query.group


def _filter(query: Query) -> Filter | None:
    if not query.ids:
        return query.filter
    others = Not(AnyOf("id", tuple(query.ids)))
    return And((query.filter, others)) if query.filter else others
