"""The index on OpenSearch's k-NN plugin: a domain of Amazon OpenSearch Service, or any other OpenSearch 3.

What the mapping rests on:

- The vector isn't in `_source`, where every hit would have to read and skip several kB of JSON, but it comes back
  bit for bit from its doc values, by a script. A copy made by OpenSearch's own reindex therefore has no vectors:
  index the parts again instead. The plugin's own answer, derived source, is switched off: in 3.5, after a reindex,
  searches of the index that was read from keep failing with "already closed".
- `extra` is kept as it is, unindexed, and its values are indexed as terms `path=value` in `extra_values`. The type made
  for that, flat_object, refuses the whole photo for one value of more than 32,766 bytes.
- `present` names the fields that have a value; a keyword longer than `ignore_above` would pass for absent otherwise.
- A deletion is a document with nothing but its id and its version. OpenSearch forgets the version of a document that is
  really deleted after `index.gc_deletes`, and at each restart; an upsert that came late would bring the photo back.
"""

import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from opensearchpy.exceptions import RequestError
from opensearchpy.helpers import scan

from imagesearch.errors import IndexOverloaded, InvalidFilter, InvalidInput, VectorIndexError
from imagesearch.index.base import (
    MAX_RESULTS,
    Action,
    BulkResult,
    Document,
    Float32,
    Hit,
    Rejection,
    Upsert,
    index_name,
)
from imagesearch.index.documents import check_search, extra_term, to_document, to_metadata, unit, valid_id
from imagesearch.index.filters import EXTRA, AllOf, And, AnyOf, Exists, Filter, Near, Not, Or, Range, Value, known_field
from imagesearch.index.opensearch_server import CONNECT_SECONDS, Server, reason_of

BULK_SECONDS = 60.0
BULK_BYTES = 5 << 20
"""Size of a bulk request; some AWS instance types take 10 MiB at most."""
BULK_ATTEMPTS = 6
"""How often an action that was answered 429 is sent; with the waits between, that is patience for some 8 seconds."""
GET_IDS = 500
"""Ids that one request asks for; a vector of 512 dimensions is 6 kB of JSON."""
SCAN_IDS = 5_000
"""Ids that one answer has when all are asked for."""

CANDIDATES = (100, 1_000, MAX_RESULTS)
"""How many neighbours the graph is asked for: the first that covers offset + k. Fewer than 100 cost recall; and pages
of one query come from the same candidates, so that nothing is repeated or left out between them."""

KEYWORD = {"type": "keyword", "ignore_above": 8_191}  # characters; Lucene takes 32,766 bytes
LOOKUP = {**KEYWORD, "doc_values": False}
LONG, DOUBLE = {"type": "long"}, {"type": "double"}
FILTER_ONLY = ["id", "location", "present", "extra_values"]
METHODS: dict[str, dict[str, Any]] = {
    "lucene": {"mode": "in_memory", "compression_level": "1x"},
    # One bit a component in memory, 0.2 GB a million of 512; the best are then compared at full precision from disk.
    "faiss": {"mode": "on_disk", "compression_level": "32x"},
}


def index_body(dim: int, engine: str, shards: int) -> dict[str, Any]:
    """Settings and mapping of an index for vectors of `dim`; whatever the plugin has a default for is written out."""
    vector = {
        "type": "knn_vector",
        "dimension": dim,
        "data_type": "float",
        "space_type": "cosinesimil",
        **METHODS[engine],
        "method": {"name": "hnsw", "engine": engine, "parameters": {"m": 16, "ef_construction": 100}},
    }
    properties = {
        "id": {"type": "keyword"},
        "vector": vector,
        **dict.fromkeys(("uri", "etag", "format", "color", "credit", "title", "description", "tags"), KEYWORD),
        **dict.fromkeys(("width", "height", "bytes"), LONG),
        "created_at": {"type": "date", "format": "strict_date_optional_time"},
        **dict.fromkeys(("lat", "lon"), DOUBLE),
        "location": {"type": "geo_point"},
        "extra": {"type": "object", "enabled": False},
        "extra_values": LOOKUP,
        "present": LOOKUP,
    }
    settings = {
        "knn": True,
        "knn.derived_source.enabled": False,
        "number_of_shards": shards,
        "auto_expand_replicas": "0-1",
        "max_result_window": MAX_RESULTS,
    }
    mappings = {"dynamic": "strict", "_source": {"excludes": ["vector"]}, "properties": properties}
    return {"settings": {"index": settings}, "mappings": mappings}


class OpenSearchIndex:
    """A VectorIndex on the OpenSearch at `url`. Threads may share it. See Server for how it authenticates."""

    def __init__(self, url: str, fingerprint: str, dim: int, engine: str = "lucene", shards: int = 1) -> None:
        if engine not in METHODS:
            raise InvalidInput(f"the k-NN engine must be one of {', '.join(METHODS)}, not {engine!r}", "engine")
        self.name = index_name(fingerprint)
        self.dim = dim
        self.engine = engine
        self.shards = shards
        self._server = Server(url)
        self._client = self._server.client

    def create(self) -> None:
        """See VectorIndex.

        Raises:
            VectorIndexError: the index is there with another dimension.
        """
        with self._server.errors():
            if not self._client.indices.exists(index=self.name):
                try:
                    self._client.indices.create(index=self.name, body=index_body(self.dim, self.engine, self.shards))
                    return
                except RequestError as error:
                    if error.error != "resource_already_exists_exception":  # by another process, in the meantime
                        raise
            mapping = self._client.indices.get_mapping(index=self.name)[self.name]["mappings"]
        dimension = mapping.get("properties", {}).get("vector", {}).get("dimension")
        if dimension != self.dim:
            raise VectorIndexError(f"the index {self.name} has vectors of dimension {dimension}, not {self.dim}")

    def drop(self) -> None:
        """See VectorIndex."""
        with self._server.errors():
            self._client.indices.delete(index=self.name, params={"ignore_unavailable": "true"})

    def bulk(self, actions: Iterable[Action]) -> BulkResult:
        """See VectorIndex."""
        self.create()  # OpenSearch would too, but with a mapping of its own making
        result = BulkResult()
        chunk: list[tuple[Action, str]] = []
        size = 0
        for action in actions:
            try:
                lines = self._lines(action)
            except InvalidInput as reason:
                result.rejected.append(Rejection(action.id, str(reason)))
                continue
            if chunk and size + len(lines) > BULK_BYTES:
                self._send(chunk, result)
                chunk, size = [], 0
            chunk.append((action, lines))
            size += len(lines)
        if chunk:
            self._send(chunk, result)
        return result

    def search(
        self, vector: Float32, k: int, *, filter: Filter | None = None, offset: int = 0, exact: bool = False
    ) -> list[Hit]:
        """See VectorIndex."""
        query = check_search(vector, k, offset, self.dim).tolist()
        body = {
            "query": self._exact(query, filter) if exact else self._approximate(query, filter, offset + k),
            "from": offset,
            "size": k,
            "sort": [{"_score": "desc"}, {"id": "asc"}],
            "_source": {"excludes": FILTER_ONLY},
        }
        # The score of cosinesimil is (1 + cosine) / 2.
        return [
            Hit(hit["_id"], min(1.0, max(-1.0, 2 * hit["_score"] - 1)), to_metadata(hit["_source"]))
            for hit in self._search(body)
        ]

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """See VectorIndex."""
        wanted = [id for id in ids if valid_id(id)]
        documents = {}
        for start in range(0, len(wanted), GET_IDS):
            chunk = wanted[start : start + GET_IDS]
            body = {
                "query": _matching(AnyOf("id", tuple(chunk))),
                "size": len(chunk),
                "version": True,
                "_source": {"excludes": FILTER_ONLY},
                "script_fields": {"vector": {"script": {"lang": "painless", "source": "doc['vector'].value"}}},
            }
            for hit in self._search(body):
                vector = np.array(hit["fields"]["vector"][0], dtype=np.float32)
                documents[hit["_id"]] = Document(hit["_id"], hit["_version"], vector, to_metadata(hit["_source"]))
        return documents

    def count(self, filter: Filter | None = None) -> int:
        """See VectorIndex."""
        with self._server.errors():
            answer = self._client.count(
                index=self.name, body={"query": _matching(filter)}, params={"ignore_unavailable": "true"}
            )
        return int(answer["count"])

    def versions(self) -> Iterator[tuple[str, int]]:
        """See VectorIndex."""
        body = {"query": _matching(None), "version": True, "_source": False}
        with self._server.errors():
            for hit in scan(self._client, body, index=self.name, size=SCAN_IDS, ignore_unavailable="true"):
                yield hit["_id"], hit["_version"]

    def refresh(self) -> None:
        """See VectorIndex."""
        with self._server.errors():
            self._client.indices.refresh(index=self.name, params={"ignore_unavailable": "true"})

    def _search(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The hits of a search; none where there is no index. A shard that fails is an error, not fewer hits."""
        with self._server.errors():
            answer = self._client.search(
                index=self.name,
                body={**body, "track_total_hits": False},
                params={"ignore_unavailable": "true", "allow_partial_search_results": "false"},
            )
        hits: list[dict[str, Any]] = answer["hits"]["hits"]
        return hits

    def _approximate(self, query: list[float], filter: Filter | None, wanted: int) -> dict[str, Any]:
        candidates = next(number for number in CANDIDATES if number >= wanted)
        knn = {"vector": query, "k": candidates, "method_parameters": {"ef_search": candidates}}
        if filter is not None:
            knn["filter"] = _query(filter)
        return {"knn": {"vector": knn}}

    def _exact(self, query: list[float], filter: Filter | None) -> dict[str, Any]:
        parameters = {"field": "vector", "query_value": query, "space_type": "cosinesimil"}
        script = {"lang": "knn", "source": "knn_score", "params": parameters}
        return {"script_score": {"query": _matching(filter), "script": script}}

    def _lines(self, action: Action) -> str:
        """The two lines of `action` in a bulk request.

        Raises:
            InvalidInput: no index can take it.
        """
        document = json.dumps(to_document(action), ensure_ascii=False)
        if isinstance(action, Upsert):
            vector = ",".join(map("{:.9g}".format, unit(action.vector, self.dim).tolist()))
            document = f'{{"vector":[{vector}],{document[1:]}'
        meta = {"index": {"_id": action.id, "version": action.version, "version_type": "external_gte"}}
        return f"{json.dumps(meta, ensure_ascii=False)}\n{document}\n"

    def _send(self, chunk: list[tuple[Action, str]], result: BulkResult) -> None:
        """Send one bulk request; actions that OpenSearch was too busy for are sent again, after ever longer waits."""
        why = ""
        for attempt in range(BULK_ATTEMPTS):
            if attempt:
                time.sleep(2 ** (attempt - 3) * random.uniform(0.5, 1.0))  # noqa: S311
            with self._server.errors():
                answer = self._client.bulk(
                    index=self.name,
                    body="".join(lines for _, lines in chunk),
                    request_timeout=(CONNECT_SECONDS, BULK_SECONDS),
                )
            busy = []
            for (action, lines), item in zip(chunk, answer["items"], strict=True):
                outcome = item["index"]
                match outcome["status"]:
                    case 200 | 201 if isinstance(action, Upsert):
                        result.upserted += 1
                    case 200 | 201:
                        result.deleted += 1
                    case 409:
                        result.stale += 1
                    case 400:
                        result.rejected.append(Rejection(action.id, reason_of(outcome["error"])))
                    case 429 | 503:
                        busy.append((action, lines))
                        why = reason_of(outcome["error"])
                    case status:  # 403 when its disk is full, 500: no fault of this one document
                        why = reason_of(outcome["error"])
                        raise VectorIndexError(f"OpenSearch at {self._server.where} answers {status} to a write: {why}")
            if not busy:
                return
            chunk = busy
        raise IndexOverloaded(
            f"OpenSearch at {self._server.where} was too busy for {len(chunk)} actions, {BULK_ATTEMPTS} times: {why}"
        )


def _matching(filter: Filter | None) -> dict[str, Any]:
    """A query for the documents that are no deletions, and that match `filter`."""
    live = {"exists": {"field": "vector"}}
    return {"bool": {"filter": [live] if filter is None else [live, _query(filter)]}}


def _query(node: Filter) -> dict[str, Any]:
    match node:
        case And(parts):
            return {"bool": {"filter": [_query(part) for part in parts]}} if parts else {"match_all": {}}
        case Or(parts):
            return {"bool": {"should": [_query(part) for part in parts], "minimum_should_match": 1}}
        case Not(part):
            return {"bool": {"must_not": [_query(part)]}}
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
