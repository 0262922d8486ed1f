"""OpenSearch through a proxy that misbehaves, and without one that answers."""

import http.server
import json
import logging
import secrets
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from imagesearch.errors import IndexOverloaded, IndexUnavailable, VectorIndexError
from imagesearch.index import open_index
from imagesearch.index.base import Upsert, VectorIndex, VectorQuery
from imagesearch.records import ImageMetadata

VECTOR = np.array([1, 0, 0], dtype=np.float32)


class Proxy(http.server.ThreadingHTTPServer):
    """Hands requests on to an OpenSearch, but first does to them, one by one, what `faults` says.

    A fault is a status to answer with, `drop` (close the connection), `hang` (say nothing for a while), `html` (answer
    200 with a page), or `busy` and `full` (answer 429 or 403 for each item of a bulk, or each search of several).
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = upstream
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.faults: list[int | str] = []
        self.aim = ""
        """Faults befall only requests whose path has this."""
        self.requests: list[dict[str, str]] = []
        """The headers of every request."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(dict(self.headers))
        struck = self.server.faults and self.server.aim in self.path
        fault = self.server.faults.pop(0) if struck else None
        if fault == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif fault == "hang":
            time.sleep(2)
            self.close_connection = True
        elif fault == "html":
            self.answer(200, b"<html>gateway</html>", "text/html")
        elif isinstance(fault, int):
            error = {"type": "rejected_execution_exception", "reason": "queue is full"}
            self.answer(fault, json.dumps({"error": error, "status": fault}).encode())
        elif fault in ("busy", "full"):
            status = 429 if fault == "busy" else 403
            error = {"type": "some_exception", "reason": f"the node is {fault}"}
            heads = [json.loads(line) for line in body.splitlines()[::2]]
            if "_msearch" in self.path:
                told: dict[str, Any] = {"responses": [{"status": status, "error": error} for _ in heads]}
            else:
                ids = [head["index"]["_id"] for head in heads]
                told = {"errors": True, "items": [{"index": {"_id": i, "status": status, "error": error}} for i in ids]}
            self.answer(200, json.dumps(told).encode())
        else:
            request = urllib.request.Request(self.server.upstream + self.path, body or None, method=self.command)
            request.add_header("Content-Type", self.headers.get("Content-Type", "application/json"))
            try:
                with urllib.request.urlopen(request) as reply:
                    self.answer(reply.status, reply.read())
            except urllib.error.HTTPError as error:
                self.answer(error.code, error.read())

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def proxy(opensearch_url: str) -> Iterator[Proxy]:
    with Proxy(opensearch_url) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


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


@pytest.mark.parametrize("fault", [429, "drop", "busy"])
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
    with pytest.raises(expected, match=str(proxy.server_port)):
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
