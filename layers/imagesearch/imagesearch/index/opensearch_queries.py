"""Searches of the OpenSearch index as its query DSL: neighbours, words, facets, and the conditions of filters."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from imagesearch.errors import InvalidFilter
from imagesearch.index.base import MAX_RESULTS, Float32
from imagesearch.index.documents import extra_term
from imagesearch.index.filters import EXTRA, AllOf, And, AnyOf, Exists, Filter, Near, Not, Or, Range, Value, known_field

CANDIDATES = (300, 1_000, MAX_RESULTS)
"""How many neighbours the graph is asked for: the first that covers offset + k. Fewer cost recall (a hundred find 0.988
of the ten nearest of 200,000, 300 find 0.995, in the same time); and pages of one query come from the same candidates,
so that nothing is repeated or left out between them."""
WITHOUT_DERIVED = {"excludes": ["id", "location", "orientation", "present", "extra_values", "words"]}
"""What searches need of a document, and no answer does."""
IDS_ALONE = {"_source": False, "stored_fields": "_none_"}
"""For searches whose hits are their ids: to unpack 500 documents takes five times as long as to find them. `_id` is one
of the stored fields; the id is the second of the values that hits are sorted by."""


def nearest(
    vector: Float32, k: int, offset: int, filter: Filter | None, *, exact: bool = False, rescore: bool = False
) -> dict[str, Any]:
    """A search for the `k` images nearest to `vector` (dim,), after `offset`.

    `exact` compares with every image, `rescore` with those that the graph finds: where it has quantised vectors,
    their scores may be rough, and the last of them are uncertain, so it is asked for twice as many.
    """
    wanted = min(2 * (offset + k), MAX_RESULTS) if rescore else offset + k
    query = matching(filter) if exact else _neighbours(vector, _candidates(wanted), filter)
    if exact or rescore:
        parameters = {"field": "vector", "query_value": vector.tolist(), "space_type": "cosinesimil"}
        script = {"lang": "knn", "source": "knn_score", "params": parameters}
        query = {"script_score": {"query": query, "script": script}}
    return _page(query, k, offset)


def best_by_words(words: Sequence[str], k: int, filter: Filter | None) -> dict[str, Any]:
    """A search for the ids of the `k` images that have one of `words` or more, best first."""
    query: dict[str, Any] = {"must": [{"match": {"words": {"query": " ".join(words)}}}]}
    if filter is not None:
        query["filter"] = [_condition(filter)]
    return {**_page({"bool": query}, k, 0), **IDS_ALONE}


def facet_counts(
    vector: Float32 | None, fields: Sequence[str], filter: Filter | None, candidates: int, size: int
) -> dict[str, Any]:
    """A search without hits that counts the values of `fields`, an aggregation each."""
    query = matching(filter) if vector is None else _neighbours(vector, candidates, filter)
    return {"query": query, "size": 0, "aggs": {field: _values(field, size) for field in fields}}


def matching(filter: Filter | None) -> dict[str, Any]:
    """A query for the documents that are no deletions, and that match `filter`."""
    live = {"exists": {"field": "vector"}}
    return {"bool": {"filter": [live] if filter is None else [live, _condition(filter)]}}


def _page(query: dict[str, Any], k: int, offset: int) -> dict[str, Any]:
    sort = [{"_score": "desc"}, {"id": "asc"}]
    return {"query": query, "from": offset, "size": k, "sort": sort, "_source": WITHOUT_DERIVED}


def _candidates(wanted: int) -> int:
    return next(number for number in CANDIDATES if number >= wanted)


def _neighbours(vector: Float32, k: int, filter: Filter | None) -> dict[str, Any]:
    knn = {"vector": vector.tolist(), "k": k, "method_parameters": {"ef_search": _candidates(k)}}
    if filter is not None:
        knn["filter"] = _condition(filter)
    return {"knn": {"vector": knn}}


def _values(field: str, size: int) -> dict[str, Any]:
    """The aggregation for the most frequent values of `field`. Years are few; they come all."""
    order = [{"_count": "desc"}, {"_key": "asc"}]
    if field == "year":
        years = {"field": "created_at", "calendar_interval": "year", "format": "uuuu", "min_doc_count": 1}
        return {"date_histogram": {**years, "order": order}}
    # What a shard leaves out is missing in the sum of all: so each of several tells more than is asked for.
    return {"terms": {"field": field, "size": size, "shard_size": MAX_RESULTS, "order": order}}


def _condition(node: Filter) -> dict[str, Any]:
    match node:
        case And(parts):
            return {"bool": {"filter": [_condition(part) for part in parts]}} if parts else {"match_all": {}}
        case Or(parts):
            return {"bool": {"should": [_condition(part) for part in parts], "minimum_should_match": 1}}
        case Not(part):
            return {"bool": {"must_not": [_condition(part)]}}
        case Exists(field, exists):
            found = {"term": {"present": known_field(field)}}
            return found if exists else {"bool": {"must_not": [found]}}
        case AnyOf(field, values) if field.startswith(EXTRA):
            return {"terms": {"extra_values": [extra_term(field.removeprefix(EXTRA), value) for value in values]}}
        case AnyOf(field, values):
            return {"terms": {known_field(field): [_json_value(value) for value in values]}}
        case AllOf("tags", values):
            return {"bool": {"filter": [{"term": {"tags": value}} for value in values]}}
        case Range(field):
            bounds = {"gt": node.gt, "gte": node.gte, "lt": node.lt, "lte": node.lte}
            given = [{name: _json_value(bound)} for name, bound in bounds.items() if bound is not None]
            # A clause a bound: of gt and gte in one clause, OpenSearch would heed the last only.
            return {"bool": {"filter": [{"range": {known_field(field): bound}} for bound in given]}}
        case Near(lat, lon, km):
            return {"geo_distance": {"distance": f"{km}km", "location": {"lat": lat, "lon": lon}}}
        case _:
            raise InvalidFilter(f"{node} can't be searched for")


def _json_value(value: Value) -> str | int | float:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value
