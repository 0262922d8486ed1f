"""What the API does, without the web: a request in, an answer out. Raises errors; the edge gives them statuses."""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from imagesearch import api
from imagesearch.api.requests import MAX_BATCH_K
from imagesearch.clip.cache import CachedEncoder
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.collection import LatestStatistics
from imagesearch.cursor import Candidate, Cursor, seal, unseal
from imagesearch.errors import ImageSearchError, InvalidInput, VectorIndexError
from imagesearch.fetch import Fetcher
from imagesearch.index import open_index
from imagesearch.index.base import Document, Facet, Hit
from imagesearch.links import image_url
from imagesearch.paging import look_up
from imagesearch.queries import knn_query, queries_of
from imagesearch.query import CANDIDATES, Found, Query, Result
from imagesearch.search import Searcher
from imagesearch.settings import Settings
from imagesearch.statistics import CollectionStatistics

logger = logging.getLogger(__name__)

MAX_SIMILAR = 24
"""Near-duplicates of a hit that an answer tells of; it counts them all."""


@dataclass(frozen=True, slots=True)
class Service:
    """Answers the requests of the API with `searcher`; `fetcher` gets the images of their URLs.

    `secret` signs cursors. `statistics`, where there may be some, are looked up anew for each search.
    """

    searcher: Searcher
    fetcher: Fetcher
    settings: Settings
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    statistics: Callable[[], CollectionStatistics | None] | None = None

    @classmethod
    def open(cls, settings: Settings) -> "Service":
        """The service that `settings` describe. The model's towers wait for a query that needs them.

        Raises:
            ModelError: there is no valid model artifact.
            VectorIndexError: the index can't be opened.
        """
        encoder = CachedEncoder(OnnxEncoder(settings.model))
        info = encoder.info
        try:
            index = open_index(settings.index_url, info.fingerprint, info.embed_dim, settings.index_engine)
        except InvalidInput as error:  # by whoever set this up, not by the caller
            raise VectorIndexError(str(error)) from error
        searcher = Searcher(encoder, index, settings.max_image_bytes, settings.max_image_pixels)
        fetcher = Fetcher(settings.max_image_bytes, settings.fetch_seconds, settings.allow_http, settings.allow_private)
        given = settings.cursor_secret.get_secret_value().encode() if settings.cursor_secret else None
        statistics = None
        if settings.vectors_url:
            statistics = LatestStatistics(settings.vectors_url, info.fingerprint, info.embed_dim)
        return cls(searcher, fetcher, settings, given or secrets.token_bytes(32), statistics)

    def search(self, request: api.SearchRequest) -> api.SearchResponse:
        """The images that `request` asks for.

        Raises:
            InvalidInput: a query, a filter, an image or a cursor that is none, a URL that can't be fetched.
            NotFound: an id isn't indexed.
            VectorIndexError: the index doesn't answer, or is overloaded.
        """
        if request.cursor is not None:
            return self._next_page(request)
        (query,) = queries_of([request], self.fetcher)
        if isinstance(query, InvalidInput):
            raise query
        result = self._searcher().search(replace(query, candidates=CANDIDATES))
        start = perf_counter()
        answer = self._answer(query, result, self._cursor(result.rest, query.offset + len(result.found), query.k))
        return api.SearchResponse(**dict(answer), took=_took(start, result.encode_ms, result.search_ms))

    def search_batch(self, request: api.BatchRequest) -> api.BatchResponse:
        """The answers to many searches; one that can't be answered has an error for its answer.

        Raises:
            InvalidInput: they ask for too much together.
            VectorIndexError: the index doesn't answer, or is overloaded.
        """
        problems: dict[int, ImageSearchError] = {}
        requests: dict[int, api.SearchRequest] = {}
        for i, search in enumerate(request.searches):
            try:
                requests[i] = _of_batch(search)
            except InvalidInput as problem:
                problems[i] = problem
        if (wanted := sum(one.k for one in requests.values())) > MAX_BATCH_K:
            raise InvalidInput(f"the k of all searches add up to {wanted:,}: at most {MAX_BATCH_K:,}", "searches")
        queries: dict[int, Query] = {}
        for i, query in zip(requests, queries_of(list(requests.values()), self.fetcher), strict=True):
            if isinstance(query, InvalidInput):
                problems[i] = query
            else:
                queries[i] = query
        results = dict(zip(queries, self._searcher().search_many(list(queries.values())), strict=True))
        start, encode_ms, search_ms = perf_counter(), 0.0, 0.0
        answers: list[api.Answer | api.ErrorAnswer] = []
        for i in range(len(request.searches)):
            result = problems.get(i) or results[i]
            if isinstance(result, Result):
                answers.append(self._answer(queries[i], result, None))
                encode_ms, search_ms = result.encode_ms, result.search_ms
            else:
                answers.append(api.ErrorAnswer(error=api.explain(result)[1]))
        return api.BatchResponse(answers=answers, took=_took(start, encode_ms, search_ms))

    def knn(self, request: api.KnnRequest) -> tuple[list[api.KnnHit], api.Took]:
        """What clip-retrieval's service would answer to `request`, and how long it took. Raises as `search` does."""
        result = self._searcher().search(knn_query(request, self.fetcher))
        start = perf_counter()
        hits = [
            api.KnnHit(
                id=hit.id,
                similarity=hit.score,
                url=image_url(hit.metadata.uri, self.settings),
                caption=hit.metadata.title or hit.metadata.description or "",
            )
            for hit in result.hits
        ]
        return hits, _took(start, result.encode_ms, result.search_ms)

    def image(self, id: str) -> api.ImageDocument:
        """The indexed image with this id.

        Raises:
            NotFound: there is none.
            VectorIndexError: the index doesn't answer, or is overloaded.
        """
        return api.ImageDocument(**self._fields(self.searcher.document(id)))

    def health(self) -> api.Health:
        """Whether searches can be answered; an index that doesn't answer is told of, not raised."""
        index, count, message = self.searcher.index, None, None
        try:
            count = index.count()
        except VectorIndexError as error:
            logger.warning("health: %s", error)
            message = api.explain(error)[1].message
        return api.Health(
            status="unavailable" if message else "ok",
            model=api.HealthModel.of(self.searcher.encoder.info),
            index=api.HealthIndex(name=index.name, available=message is None, count=count, message=message),
        )

    def _next_page(self, request: api.SearchRequest) -> api.SearchResponse:
        start = perf_counter()
        cursor = unseal(str(request.cursor), self.secret, self.searcher.encoder.info.fingerprint)
        k = request.k if "k" in request.model_fields_set else cursor.k
        page, rest = look_up(cursor.candidates, k, self.searcher.index)
        searched = perf_counter()
        return api.SearchResponse(
            hits=[self._hit(found) for found in page],
            k=k,
            offset=cursor.offset,
            cursor=self._cursor(rest, cursor.offset + len(page), k),
            took=_took(searched, 0.0, (searched - start) * 1000),
        )

    def _searcher(self) -> Searcher:
        """With the statistics of the collection, as far as they are known now."""
        return replace(self.searcher, statistics=self.statistics()) if self.statistics else self.searcher

    def _answer(self, query: Query, result: Result, cursor: str | None) -> api.Answer:
        return api.Answer(
            hits=[self._hit(found) for found in result.found],
            k=query.k,
            offset=query.offset,
            cursor=cursor,
            facets={field: _counts(facets) for field, facets in result.facets.items()},
            no_good_match=result.no_good_match,
        )

    def _cursor(self, rest: tuple[Candidate, ...], offset: int, k: int) -> str | None:
        fingerprint = self.searcher.encoder.info.fingerprint
        return seal(Cursor(rest, offset, k), self.secret, fingerprint) if rest else None

    def _hit(self, found: Found) -> api.SearchHit:
        similar = [
            api.SimilarImage(id=hit.id, score=hit.score, url=image_url(hit.metadata.uri, self.settings))
            for hit in found.similar[:MAX_SIMILAR]
        ]
        return api.SearchHit(
            score=found.hit.score,
            confidence=found.confidence,
            similar=similar,
            similar_count=len(found.similar),
            **self._fields(found.hit),
        )

    def _fields(self, found: Hit | Document) -> dict[str, Any]:
        url = image_url(found.metadata.uri, self.settings)
        return {"id": found.id, "url": url, **found.metadata.model_dump()}


def _of_batch(search: api.SearchRequest | dict[str, Any]) -> api.SearchRequest:
    """One search of a batch.

    Raises:
        InvalidInput: it isn't valid, or goes on with another.
    """
    request = search if isinstance(search, api.SearchRequest) else api.parse(api.SearchRequest, search)
    if request.cursor is not None:
        raise InvalidInput("a search of a batch has no pages: send its cursor to /search", "cursor")
    return request


def _counts(facets: Sequence[Facet]) -> list[api.FacetCount]:
    return [api.FacetCount(value=facet.value, count=facet.count) for facet in facets]


def _took(signing_since: float, encode_ms: float, search_ms: float) -> api.Took:
    return api.Took(encode_ms=encode_ms, search_ms=search_ms, sign_ms=(perf_counter() - signing_since) * 1000)
