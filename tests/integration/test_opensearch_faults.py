"""OpenSearch through a proxy that misbehaves, and without one that answers."""

import json
import logging
import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from imagesearch.errors import IndexOverloaded, IndexUnavailable, VectorIndexError
from imagesearch.index import open_index
from imagesearch.index.base import Upsert, VectorIndex, VectorQuery
from imagesearch.records import ImageMetadata
from local.faults import Fault, FaultProxy, ProxyRequest, Reply

VECTOR = np.array([1, 0, 0], dtype=np.float32)


class Proxy(FaultProxy):
    """Does to requests, one by one, what `faults` says.

    A fault is a reply or a status to answer with, `drop` or `hang` (see FaultProxy), `html` (answer 200 with a page),
    or `busy`, `full` and `closed` (answer 429, 403 or 503 for each item of a bulk, or each search of several).
    """

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self.faults: list[int | str | Reply] = []
        self.aim = ""
        """Faults befall only requests whose path has this."""
        self.requests: list[dict[str, str]] = []
        """The headers of every request."""

    def fault(self, request: ProxyRequest) -> Fault:
        self.requests.append(request.headers)
        struck = self.faults and self.aim in request.path
        match self.faults.pop(0) if struck else None:
            case "drop":
                return "drop"
            case "hang":
                return "hang"
            case "html":
                return Reply(200, b"<html>gateway</html>", "text/html")
            case int(status):
                error = {"type": "rejected_execution_exception", "reason": "queue is full"}
                return Reply(status, json.dumps({"error": error, "status": status}).encode())
            case Reply() as reply:
                return reply
            case str(state):
                return Reply(200, json.dumps(each_refused(request, state)).encode())
            case _:
                return None


def each_refused(request: ProxyRequest, state: str) -> dict[str, Any]:
    """What a node that is `state` answers to a bulk, or to several searches: an error for each."""
    status = {"busy": 429, "full": 403, "closed": 503}[state]
    error = {"type": "some_exception", "reason": f"the node is {state}"}
    heads = [json.loads(line) for line in request.body.splitlines()[::2]]
    if "_msearch" in request.path:
        return {"responses": [{"status": status, "error": error} for _ in heads]}
    ids = [head["index"]["_id"] for head in heads]
    return {"errors": True, "items": [{"index": {"_id": i, "status": status, "error": error}} for i in ids]}


@pytest.fixture
def proxy(opensearch_url: str) -> Iterator[Proxy]:
    with Proxy(opensearch_url) as server:
        yield server


@pytest.fixture
def index(proxy: Proxy) -> Iterator[VectorIndex]:
    """An index with one image, behind the proxy."""
    index = open_index(proxy.url, secrets.token_hex(6), 3)
    index.bulk([photo("a")])
    index.refresh()
    proxy.requests.clear()
    yield index
    proxy.faults = []
    index.drop()


def photo(id: str, version: int = 1) -> Upsert:
    return Upsert(id, version, VECTOR, ImageMetadata(uri=f"file:///{id}"))


@pytest.mark.parametrize("fault", [429, 502, 503, "drop"])
def test_a_passing_fault_is_sat_out(proxy: Proxy, index: VectorIndex, fault: int | str) -> None:
    proxy.faults = [fault, fault]
    assert [hit.id for hit in index.search(VECTOR, 1)] == ["a"]
    assert len(proxy.requests) == 3


@pytest.mark.parametrize("fault", [429, "drop", "busy"])
def test_a_write_that_met_a_passing_fault_is_repeated(proxy: Proxy, index: VectorIndex, fault: int | str) -> None:
    proxy.aim, proxy.faults = "/_bulk", [fault, fault]
    result = index.bulk([photo(f"b{i}") for i in range(5)])
    assert (result.upserted, result.rejected, proxy.faults) == (5, [], [])
    index.refresh()
    assert index.count() == 6


def test_several_requests_of_one_write_each_sit_their_faults_out(
    proxy: Proxy, index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagesearch.index.opensearch.BULK_BYTES", 1_000)  # some five images
    proxy.aim, proxy.faults = "/_bulk", [429, "busy", "drop", "busy", 503]
    result = index.bulk([photo(f"b{i}") for i in range(50)])
    assert (result.upserted, result.rejected, proxy.faults) == (50, [], [])
    index.refresh()
    assert index.count() == 51


def test_one_of_several_requests_that_fails_fails_the_write(
    proxy: Proxy, index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagesearch.index.opensearch.BULK_BYTES", 1_000)
    proxy.aim, proxy.faults = "/_bulk", ["full"]
    with pytest.raises(VectorIndexError, match=r"403.*the node is full"):
        index.bulk([photo(f"b{i}") for i in range(50)])


@pytest.mark.parametrize("fault", [429, "drop", "busy", "closed"])
def test_several_searches_that_met_a_passing_fault_are_repeated(
    proxy: Proxy, index: VectorIndex, fault: int | str
) -> None:
    proxy.faults = [fault, fault]
    answers = index.search_many([VectorQuery(VECTOR, 1), VectorQuery(VECTOR, 2)])
    assert [[hit.id for hit in hits] for hits in answers] == [["a"], ["a"]]
    assert len(proxy.requests) == 3


@pytest.mark.parametrize(
    ("fault", "expected"), [(429, IndexOverloaded), (503, IndexUnavailable), ("drop", IndexUnavailable)]
)
def test_a_lasting_fault_is_told_after_a_few_seconds(
    proxy: Proxy, index: VectorIndex, fault: int | str, expected: type[VectorIndexError]
) -> None:
    proxy.faults = [fault] * 100
    began = time.monotonic()
    with pytest.raises(expected, match=str(proxy.port)):
        index.search(VECTOR, 1)
    assert len(proxy.requests) == 6
    assert 2 < time.monotonic() - began < 10  # 3 seconds of waiting, and jitter


def test_a_node_that_stays_busy_is_told_as_overloaded(proxy: Proxy, index: VectorIndex) -> None:
    proxy.aim, proxy.faults = "/_bulk", ["busy"] * 100
    with pytest.raises(IndexOverloaded, match="the node is busy"):
        index.bulk([photo("b")])
    proxy.aim, proxy.faults = "/_msearch", ["busy"] * 100
    with pytest.raises(IndexOverloaded, match="the node is busy"):
        index.search_many([VectorQuery(VECTOR, 1)])


def test_shards_that_stay_closed_are_told_as_unavailable(proxy: Proxy, index: VectorIndex) -> None:
    """As they are while OpenSearch starts: it is there, and answers each search with 503."""
    proxy.aim, proxy.faults = "/_msearch", ["closed"] * 100
    with pytest.raises(IndexUnavailable, match=r"503.*the node is closed"):
        index.search_many([VectorQuery(VECTOR, 1)])
    proxy.aim, proxy.faults = "/_bulk", ["closed"] * 100
    with pytest.raises(IndexUnavailable, match="the node is closed"):
        index.bulk([photo("b")])


def test_images_are_not_counted_in_some_shards_alone(proxy: Proxy, index: VectorIndex) -> None:
    """A search that lacks a shard fails: so should the count, by which /health knows whether searches are answered."""
    failure = {"shard": 1, "index": index.name, "reason": {"type": "x", "reason": "the shard is closed"}}
    shards = {"total": 2, "successful": 1, "skipped": 0, "failed": 1, "failures": [failure]}
    proxy.aim, proxy.faults = "/_count", [Reply(200, json.dumps({"count": 1, "_shards": shards}).encode())]
    with pytest.raises(IndexUnavailable, match="1 of 2 shards don't answer: the shard is closed"):
        index.count()
    assert index.count() == 1


def test_a_search_refused_for_another_reason_is_an_index_error(proxy: Proxy, index: VectorIndex) -> None:
    proxy.faults = ["full"]
    with pytest.raises(VectorIndexError, match=r"403.*the node is full"):
        index.search_many([VectorQuery(VECTOR, 1), VectorQuery(VECTOR, 2)])


def test_a_write_refused_for_no_fault_of_the_image_is_no_rejection(proxy: Proxy, index: VectorIndex) -> None:
    proxy.aim, proxy.faults = "/_bulk", ["full"]
    with pytest.raises(VectorIndexError, match=r"403.*the node is full"):
        index.bulk([photo("b")])


def test_an_answer_that_is_no_json_is_an_index_error(proxy: Proxy, index: VectorIndex) -> None:
    proxy.faults = ["html"]
    with pytest.raises(VectorIndexError):
        index.search(VECTOR, 1)


def test_a_request_without_an_answer_is_given_up_and_not_repeated(
    proxy: Proxy, index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagesearch.index.opensearch_server.READ_SECONDS", 0.5)
    impatient = open_index(proxy.url, "x", 3)
    proxy.faults = ["hang"]
    with pytest.raises(IndexUnavailable, match="doesn't answer"):
        impatient.count()
    assert len(proxy.requests) == 1


def test_a_refused_login_is_no_outage_and_shows_no_password(
    proxy: Proxy, index: VectorIndex, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = proxy.url.replace("://", "://ada:s3cr%40t@")
    proxy.faults = [401]
    with pytest.raises(VectorIndexError, match="401") as caught:
        open_index(url, "x", 3).count()
    assert not isinstance(caught.value, IndexUnavailable)
    assert proxy.requests[0]["Authorization"] == "Basic YWRhOnMzY3JAdA=="  # ada:s3cr@t
    for secret in ("s3cr", "YWRhOnMzY3JAdA"):
        assert secret not in str(caught.value) + caplog.text


def test_an_opensearch_that_is_down_is_unavailable_within_seconds() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        index = open_index(f"http://ada:s3cret@127.0.0.1:{closed.getsockname()[1]}", "x", 3)
        began = time.monotonic()
        for attempt in (
            lambda: index.search(VECTOR, 1),
            lambda: index.search_many([VectorQuery(VECTOR, 1)]),
            lambda: index.search_words("dog", 1),
            lambda: index.facets(VECTOR, ["tags"]),
            lambda: index.bulk([photo("a")]),
            lambda: index.get(["a"]),
            index.count,
            index.create,
            index.refresh,
            index.drop,
        ):
            with pytest.raises(IndexUnavailable, match=r"http://127\.0\.0\.1:\d+ doesn't answer") as caught:
                attempt()
            assert "s3cret" not in str(caught.value)
        assert time.monotonic() - began < 10 * 3
