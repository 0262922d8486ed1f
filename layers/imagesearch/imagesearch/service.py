"""What the API does, without the web: a request in, an answer out. Raises errors; the edge gives them statuses."""

import logging
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from imagesearch.api import (
    Health,
    HealthIndex,
    HealthModel,
    ImageDocument,
    SearchHit,
    SearchRequest,
    SearchResponse,
    Took,
    explain,
)
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.errors import InvalidInput, VectorIndexError
from imagesearch.fetch import Fetcher
from imagesearch.index import open_index
from imagesearch.index.base import Document, Hit
from imagesearch.index.filters import parse_filter
from imagesearch.links import image_url
from imagesearch.search import ById, ByImage, ByText, Query, Searcher
from imagesearch.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """Answers the requests of the API with `searcher`; `fetcher` gets the images of their URLs."""

    searcher: Searcher
    fetcher: Fetcher
    settings: Settings

    @classmethod
    def open(cls, settings: Settings) -> "Service":
        """The service that `settings` describe. The model's towers wait for a query that needs them.

        Raises:
            ModelError: there is no valid model artifact.
            VectorIndexError: the index can't be opened.
        """
        encoder = OnnxEncoder(settings.model)
        info = encoder.info
        try:
            index = open_index(settings.index_url, info.fingerprint, info.embed_dim, settings.index_engine)
        except InvalidInput as error:  # by whoever set this up, not by the caller
            raise VectorIndexError(str(error)) from error
        searcher = Searcher(encoder, index, settings.max_image_bytes, settings.max_image_pixels)
        fetcher = Fetcher(settings.max_image_bytes, settings.fetch_seconds, settings.allow_http, settings.allow_private)
        return cls(searcher, fetcher, settings)

    def search(self, request: SearchRequest) -> SearchResponse:
        """The images that `request` asks for.

        Raises:
            InvalidInput: a filter that is none, an image that is none, a URL that can't be fetched.
            NotFound: the id isn't indexed.
            VectorIndexError: the index doesn't answer, or is overloaded.
        """
        filter = None if request.filter is None else parse_filter(request.filter)
        result = self.searcher.search(Query(self._by(request), request.k, request.offset, filter))
        start = perf_counter()
        hits = [SearchHit(score=hit.score, **self._fields(hit)) for hit in result.hits]
        sign_ms = (perf_counter() - start) * 1000
        took = Took(encode_ms=result.encode_ms, search_ms=result.search_ms, sign_ms=sign_ms)
        return SearchResponse(hits=hits, k=request.k, offset=request.offset, took=took)

    def image(self, id: str) -> ImageDocument:
        """The indexed image with this id.

        Raises:
            NotFound: there is none.
            VectorIndexError: the index doesn't answer, or is overloaded.
        """
        return ImageDocument(**self._fields(self.searcher.document(id)))

    def health(self) -> Health:
        """Whether searches can be answered; an index that doesn't answer is told of, not raised."""
        index, count, message = self.searcher.index, None, None
        try:
            count = index.count()
        except VectorIndexError as error:
            logger.warning("health: %s", error)
            message = explain(error)[1].message
        return Health(
            status="unavailable" if message else "ok",
            model=HealthModel.of(self.searcher.encoder.info),
            index=HealthIndex(name=index.name, available=message is None, count=count, message=message),
        )

    def _by(self, request: SearchRequest) -> ByText | ByImage | ById:
        if request.text is not None:
            return ByText(request.text)
        if request.id is not None:
            return ById(request.id)
        if request.image is not None:
            return ByImage(request.image)
        return ByImage(self.fetcher.fetch(str(request.image_url)))

    def _fields(self, found: Hit | Document) -> dict[str, Any]:
        url = image_url(found.metadata.uri, self.settings)
        return {"id": found.id, "url": url, **found.metadata.model_dump()}
