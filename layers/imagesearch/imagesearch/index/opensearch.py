"""The index on OpenSearch's k-NN plugin: a domain of Amazon OpenSearch Service, or any other OpenSearch 3."""

import json
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import orjson
from opensearchpy.exceptions import RequestError
from opensearchpy.helpers import scan

from imagesearch.errors import IndexOverloaded, IndexUnavailable, InvalidInput, VectorIndexError
from imagesearch.index.base import (
    Action,
    BulkResult,
    Document,
    Facet,
    Float32,
    Hit,
    Ranked,
    Rejection,
    Upsert,
    VectorQuery,
    index_name,
)
from imagesearch.index.documents import check_page, check_search, to_document, to_metadata, unit, valid_id
from imagesearch.index.facets import check_facets
from imagesearch.index.filters import And, AnyOf, Filter
from imagesearch.index.opensearch_mapping import METHODS, index_body
from imagesearch.index.opensearch_queries import (
    IDS_ALONE,
    WITHOUT_DERIVED,
    best_by_words,
    facet_counts,
    matching,
    nearest,
)
from imagesearch.index.opensearch_server import CONNECT_SECONDS, Server, reason_of
from imagesearch.index.words import MAX_QUERY_WORDS, words_of
from imagesearch.records import ImageMetadata

BULK_SECONDS = 60.0
BULK_BYTES = 2 << 20
"""Size of a bulk request, some 300 images of 512 dimensions; some AWS instance types take 10 MiB at most."""
IN_FLIGHT = 2
"""Bulk requests that OpenSearch works on at once; each is one thread there."""
ATTEMPTS = 6
"""How often an action, or a search of several, that was answered 429 or 503 is sent; with the waits between, that is
patience for some 8 seconds."""
PASSING: dict[int, type[VectorIndexError]] = {429: IndexOverloaded, 503: IndexUnavailable}
"""Statuses of single actions and searches that are sent again, and what they mean when they last. OpenSearch answers
503 while it starts, and a shard isn't open yet."""
GET_IDS = 500
"""Ids that one request asks for; a vector of 512 dimensions is 6 kB of JSON."""
COPY_OF_VECTOR = (
    "float[] all = doc['vector'].value; float[] own = new float[all.length]; "
    "for (int i = 0; i < all.length; i++) { own[i] = all[i]; } return own"
)
"""The plugin reads the vectors of a segment into one array: returned as it is, each document has the last one's."""
SCAN_IDS = 5_000
"""Ids that one answer has when all are asked for."""
COMPLETE = {"ignore_unavailable": "true", "allow_partial_search_results": "false"}
"""How searches are asked for: a missing index has no hits, and a shard that fails is an error, not fewer hits."""


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
        self._nearest = partial(nearest, rescore=METHODS[engine].rescore)

    def create(self) -> None:
        """See VectorIndex. What the mapping of an index made earlier lacks is added; images in it don't have it yet.

        Raises:
            VectorIndexError: the index is there with another dimension.
        """
        body = index_body(self.dim, self.engine, self.shards)
        with self._server.errors():
            if not self._client.indices.exists(index=self.name):
                try:
                    self._client.indices.create(index=self.name, body=body)
                    return
                except RequestError as error:
                    if error.error != "resource_already_exists_exception":  # by another process, in the meantime
                        raise
            mapping = self._client.indices.get_mapping(index=self.name)[self.name]["mappings"]
            there = mapping.get("properties", {})
            dimension = there.get("vector", {}).get("dimension")
            if dimension != self.dim:
                raise VectorIndexError(f"the index {self.name} has vectors of dimension {dimension}, not {self.dim}")
            properties = body["mappings"]["properties"]
            if missing := {field: properties[field] for field in properties.keys() - there.keys()}:
                self._client.indices.put_mapping(index=self.name, body={"properties": missing})

    def drop(self) -> None:
        """See VectorIndex."""
        with self._server.errors():
            self._client.indices.delete(index=self.name, params={"ignore_unavailable": "true"})

    def bulk(self, actions: Iterable[Action]) -> BulkResult:
        """See VectorIndex. While OpenSearch works on some requests, the next is made; memory holds IN_FLIGHT + 1."""
        self.create()  # OpenSearch would too, but with a mapping of its own making
        result = BulkResult()
        sent: deque[tuple[Future[BulkResult], set[str]]] = deque()
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            for request in self._requests(actions):
                ids = {action.id for action, _ in request.items}
                # An id's actions go one after the other: of two with the same version, the last has to win.
                while sent and (len(sent) == IN_FLIGHT or not all(ids.isdisjoint(others) for _, others in sent)):
                    result.add(sent.popleft()[0].result())
                sent.append((pool.submit(self._send, request), ids))
            for answer, _ in sent:
                result.add(answer.result())
        return result

    def search(
        self, vector: Float32, k: int, *, filter: Filter | None = None, offset: int = 0, exact: bool = False
    ) -> list[Hit]:
        """See VectorIndex."""
        query = check_search(vector, k, offset, self.dim)
        return _cosine_hits(self._search(self._nearest(query, k, offset, filter, exact=exact)))

    def search_many(self, queries: Sequence[VectorQuery]) -> list[list[Hit]]:
        """See VectorIndex."""
        bodies = [self._body(query) for query in queries]
        return [_cosine_hits(answer) for answer in self._search_many(bodies)]

    def rank_many(self, queries: Sequence[VectorQuery]) -> list[list[Ranked]]:
        """See VectorIndex."""
        bodies = [{**self._body(query), **IDS_ALONE} for query in queries]
        return [
            [Ranked(hit["sort"][1], _cosine(hit["_score"])) for hit in answer] for answer in self._search_many(bodies)
        ]

    def search_words(self, text: str, k: int, *, filter: Filter | None = None) -> list[Ranked]:
        """See VectorIndex.

        Scores differ a little from those of the embedded index while there are images that were written again: Lucene
        counts what they were before, until it merges.
        """
        check_page(k, 0)
        words = words_of(text)[:MAX_QUERY_WORDS]
        found = self._search(best_by_words(words, k, filter), {"search_type": "dfs_query_then_fetch"})
        return [Ranked(hit["sort"][1], hit["_score"]) for hit in found]

    def facets(
        self,
        vector: Float32 | None,
        fields: Sequence[str],
        *,
        filter: Filter | None = None,
        candidates: int = 1_000,
        size: int = 20,
    ) -> dict[str, list[Facet]]:
        """See VectorIndex. Of an index with several shards, the candidates are those of each."""
        check_facets(fields, candidates, size)
        query = None if vector is None else unit(vector, self.dim)
        if not fields:
            return {}
        answer = self._ask(facet_counts(query, fields, filter, candidates, size))
        counted = answer.get("aggregations", {})  # none where there is no index
        return {
            field: [
                Facet(bucket.get("key_as_string", bucket["key"]), bucket["doc_count"])
                for bucket in counted.get(field, {"buckets": []})["buckets"][:size]
            ]
            for field in fields
        }

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """See VectorIndex."""
        script = {"lang": "painless", "source": COPY_OF_VECTOR}
        documents = {}
        for hit in self._look_up(ids, {"version": True, "script_fields": {"vector": {"script": script}}}):
            vector = np.array(hit["fields"]["vector"][0], dtype=np.float32)
            documents[hit["_id"]] = Document(hit["_id"], hit["_version"], vector, to_metadata(hit["_source"]))
        return documents

    def describe(self, ids: Sequence[str], *, filter: Filter | None = None) -> dict[str, ImageMetadata]:
        """See VectorIndex."""
        return {hit["_id"]: to_metadata(hit["_source"]) for hit in self._look_up(ids, {}, filter)}

    def count(self, filter: Filter | None = None) -> int:
        """See VectorIndex."""
        with self._server.errors():
            answer = self._client.count(
                index=self.name, body={"query": matching(filter)}, params={"ignore_unavailable": "true"}
            )
        shards = answer["_shards"]
        if shards["failed"]:  # a count can't be told, as searches are, to fail then
            why = f"{shards['failed']} of {shards['total']} shards don't answer"
            reason = reason_of(shards["failures"][0]["reason"])
            raise IndexUnavailable(f"OpenSearch at {self._server.where}: {why}: {reason}")
        return int(answer["count"])

    def versions(self) -> Iterator[tuple[str, int]]:
        """See VectorIndex."""
        body = {"query": matching(None), "version": True, "_source": False}
        with self._server.errors():
            for hit in scan(self._client, body, index=self.name, size=SCAN_IDS, ignore_unavailable="true"):
                yield hit["_id"], hit["_version"]

    def refresh(self) -> None:
        """See VectorIndex."""
        with self._server.errors():
            self._client.indices.refresh(
                index=self.name,
                params={"ignore_unavailable": "true"},
                request_timeout=(CONNECT_SECONDS, BULK_SECONDS),  # it writes what bulk requests left in memory
            )

    def _body(self, query: VectorQuery) -> dict[str, Any]:
        """One search of several, checked."""
        vector = check_search(query.vector, query.k, query.offset, self.dim)
        return self._nearest(vector, query.k, query.offset, query.filter)

    def _look_up(
        self, ids: Sequence[str], wanted: dict[str, Any], filter: Filter | None = None
    ) -> Iterator[dict[str, Any]]:
        """What there is of these ids and matches; `wanted` is what is asked for besides the metadata."""
        valid = [id for id in ids if valid_id(id)]
        for start in range(0, len(valid), GET_IDS):
            chunk = valid[start : start + GET_IDS]
            these = AnyOf("id", tuple(chunk))
            query = matching(And((these, filter)) if filter else these)
            yield from self._search({"query": query, "size": len(chunk), "_source": WITHOUT_DERIVED, **wanted})

    def _search(self, body: dict[str, Any], options: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """The hits of a search; none where there is no index."""
        hits: list[dict[str, Any]] = self._ask(body, options)["hits"]["hits"]
        return hits

    def _ask(self, body: dict[str, Any], options: dict[str, str] | None = None) -> dict[str, Any]:
        """The answer to a search. A shard that fails is an error, not fewer hits."""
        with self._server.errors():
            answer: dict[str, Any] = self._client.search(
                index=self.name, body={**body, "track_total_hits": False}, params={**COMPLETE, **(options or {})}
            )
        return answer

    def _search_many(self, bodies: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """The hits of each search, all asked for in one request; those that OpenSearch was too busy for, again."""
        answers: dict[int, list[dict[str, Any]]] = {}
        waiting = list(range(len(bodies)))
        for _ in _patiently():
            lines = [line for i in waiting for line in (COMPLETE, {**bodies[i], "track_total_hits": False})]
            with self._server.errors():
                responses = self._client.msearch(index=self.name, body=lines)["responses"] if lines else []
            busy = []
            for i, response in zip(waiting, responses, strict=True):
                if "error" not in response:
                    answers[i] = response["hits"]["hits"]
                    continue
                status = response["status"]
                why = f"{status} to a search: {reason_of(response['error'])}"
                if status not in PASSING:
                    raise VectorIndexError(f"OpenSearch at {self._server.where} answers {why}")
                busy.append(i)
            if not busy:
                return [answers[i] for i in range(len(bodies))]
            waiting = busy
        raise PASSING[status](f"OpenSearch at {self._server.where} answers {why}, {ATTEMPTS} times")

    def _requests(self, actions: Iterable[Action]) -> Iterator["_BulkRequest"]:
        """The bulk requests that apply `actions`; one may hold nothing but what can't be sent."""
        request = _BulkRequest()
        for action in actions:
            try:
                lines = self._lines(action)
            except InvalidInput as reason:
                request.rejected.append(Rejection(action.id, str(reason)))
                continue
            if request.items and request.size + len(lines) > BULK_BYTES:
                yield request
                request = _BulkRequest()
            request.items.append((action, lines))
            request.size += len(lines)
        yield request

    def _lines(self, action: Action) -> bytes:
        """The two lines of `action` in a bulk request.

        Raises:
            InvalidInput: no index can take it.
        """
        document = json.dumps(to_document(action), ensure_ascii=False).encode()
        if isinstance(action, Upsert):
            # The shortest digits that give the same float32 again, ten times as fast as Python's formatting.
            vector = orjson.dumps(unit(action.vector, self.dim), option=orjson.OPT_SERIALIZE_NUMPY)
            document = b'{"vector":%b,%b' % (vector, document[1:])
        meta = {"index": {"_id": action.id, "version": action.version, "version_type": "external_gte"}}
        return b"%b\n%b\n" % (json.dumps(meta, ensure_ascii=False).encode(), document)

    def _send(self, request: "_BulkRequest") -> BulkResult:
        """Send one bulk request; actions that OpenSearch was too busy for are sent again, after ever longer waits."""
        result = BulkResult(rejected=request.rejected)
        if not request.items:
            return result
        waiting, why, passing = request.items, "", 429
        for _ in _patiently():
            with self._server.errors():
                answer = self._client.bulk(
                    index=self.name,
                    body=b"".join(lines for _, lines in waiting),
                    request_timeout=(CONNECT_SECONDS, BULK_SECONDS),
                )
            busy = []
            for (action, lines), item in zip(waiting, answer["items"], strict=True):
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
                    case 429 | 503 as passing:
                        busy.append((action, lines))
                        why = reason_of(outcome["error"])
                    case status:  # 403 when its disk is full, 500: no fault of this one document
                        why = reason_of(outcome["error"])
                        raise VectorIndexError(f"OpenSearch at {self._server.where} answers {status} to a write: {why}")
            if not busy:
                return result
            waiting = busy
        raise PASSING[passing](
            f"OpenSearch at {self._server.where} took no {len(waiting)} actions, {ATTEMPTS} times: {passing} {why}"
        )


@dataclass(slots=True)
class _BulkRequest:
    """Actions with their lines, in `size` bytes, and those before the last of them that can't be sent."""

    items: list[tuple[Action, bytes]] = field(default_factory=list)
    size: int = 0
    rejected: list[Rejection] = field(default_factory=list)


def _patiently() -> Iterator[int]:
    """The numbers of the attempts, with ever longer waits between them."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2 ** (attempt - 3) * random.uniform(0.5, 1.0))  # noqa: S311
        yield attempt


def _cosine_hits(found: list[dict[str, Any]]) -> list[Hit]:
    return [Hit(hit["_id"], _cosine(hit["_score"]), to_metadata(hit["_source"])) for hit in found]


def _cosine(score: float) -> float:
    """The cosine that OpenSearch's score of cosinesimil, (1 + cosine) / 2, stands for."""
    return min(1.0, max(-1.0, 2 * score - 1))
