"""Requests of the API into queries of the library: compact queries read, images fetched, filters parsed."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import numpy as np

from imagesearch.api.errors import parse
from imagesearch.api.knn import KnnRequest
from imagesearch.api.requests import KINDS, SearchRequest, SearchTerm
from imagesearch.compact import parse_query
from imagesearch.errors import InvalidInput
from imagesearch.fetch import Fetcher
from imagesearch.index.filters import parse_filter
from imagesearch.query import By, ById, ByImage, ByText, ByVector, Query, Term

P = ParamSpec("P")
T = TypeVar("T")

FETCHES = 4
"""Images that are fetched at the same time; each may have 20 MB."""
MAX_URLS = 16
"""Images by URL of one request, whatever it asks for: they are all in memory at once."""

Fetched = dict[str, bytes | InvalidInput]
"""What is at each URL, or why it can't be had."""


def queries_of(requests: Sequence[SearchRequest], fetcher: Fetcher) -> list[Query | InvalidInput]:
    """The query that each of `requests` asks, or what is wrong with it; the images of all their URLs are fetched.

    None of `requests` may have a cursor.

    Raises:
        InvalidInput: they have more URLs than are fetched.
    """
    termed: list[list[SearchTerm] | InvalidInput] = [_unless_invalid(_terms, request) for request in requests]
    terms = [term for terms in termed if isinstance(terms, list) for term in terms]
    fetched = fetch_all((term.image_url for term in terms if term.image_url is not None), fetcher)
    return [
        terms if isinstance(terms, InvalidInput) else _unless_invalid(_query, request, terms, fetched)
        for request, terms in zip(requests, termed, strict=True)
    ]


def knn_query(request: KnnRequest, fetcher: Fetcher) -> Query:
    """The query that a program written for clip-retrieval asks.

    Raises:
        InvalidInput: the image can't be fetched.
    """
    by: By
    if request.embedding_input:
        by = ByVector(np.array(request.embedding_input, dtype=np.float32))
    elif request.text:
        by = ByText(request.text)
    else:
        by = ByImage(request.image or fetcher.fetch(str(request.image_url)))
    return Query((Term(by),), k=request.num_images, group=bool(request.deduplicate))


def fetch_all(urls: Iterable[str], fetcher: Fetcher) -> Fetched:
    """What is at each of `urls`, a few of them at a time.

    Raises:
        InvalidInput: they are more than are fetched.
    """
    different = list(dict.fromkeys(urls))
    if len(different) > MAX_URLS:
        raise InvalidInput(
            f"there are {len(different)} image URLs: at most {MAX_URLS} may be in one request", "searches"
        )
    if len(different) < 2:  # the usual case needs no threads
        return {url: _unless_invalid(fetcher.fetch, url) for url in different}
    with ThreadPoolExecutor(FETCHES) as pool:
        return dict(zip(different, pool.map(lambda url: _unless_invalid(fetcher.fetch, url), different), strict=True))


def _terms(request: SearchRequest) -> list[SearchTerm]:
    """The terms of a request, however they are given; none of one that is by `like` alone."""
    if request.terms is not None:
        return request.terms
    if request.query is not None:
        written = [{term.kind: term.value, "weight": term.weight} for term in parse_query(request.query)]
        try:
            return parse(SearchRequest, {"terms": written}).terms or []
        except InvalidInput as error:
            raise InvalidInput(f"query: {error}", "query") from None
    given = {name: value for name in KINDS if (value := getattr(request, name)) is not None}
    return [SearchTerm.model_construct(**given)] if given else []


def _query(request: SearchRequest, terms: list[SearchTerm], fetched: Fetched) -> Query:
    return Query(
        terms=tuple(Term(_by(term, fetched), term.weight) for term in terms),
        like=tuple(request.like),
        unlike=tuple(request.unlike),
        k=request.k,
        offset=request.offset,
        filter=None if request.filter is None else parse_filter(request.filter),
        match=request.match,
        facets=tuple(dict.fromkeys(request.facets)),
        min_confidence=request.min_confidence,
        group=request.group,
    )


def _by(term: SearchTerm, fetched: Fetched) -> By:
    if term.text is not None:
        return ByText(term.text)
    if term.id is not None:
        return ById(term.id)
    if term.image is not None:
        return ByImage(term.image)
    data = fetched[str(term.image_url)]
    if isinstance(data, InvalidInput):
        raise data
    return ByImage(data)


def _unless_invalid(make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | InvalidInput:
    """What `make` makes of these, or what is wrong with them."""
    try:
        return make(*args, **kwargs)
    except InvalidInput as error:
        return error
