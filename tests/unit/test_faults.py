"""The proxy that misbehaves: it hands on what comes as it is, and does what it is told to."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import urllib3

from local.faults import Fault, FaultProxy, ProxyRequest, Reply


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = b" ".join([self.command.encode(), self.path.encode(), self.headers.get("X-Word", "-").encode(), body])
        self.send_response(201)
        self.send_header("X-Word", "back")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Proxy(FaultProxy):
    next: Fault = None

    def fault(self, request: ProxyRequest) -> Fault:
        assert request.path.startswith("/a")
        return self.next


@pytest.fixture
def upstream() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def proxy(upstream: str) -> Iterator[Proxy]:
    with Proxy(upstream) as proxy:
        yield proxy


def ask(proxy: Proxy, method: str = "GET", body: bytes | None = None) -> urllib3.BaseHTTPResponse:
    headers = {"X-Word": "there"}
    return urllib3.request(method, f"{proxy.url}/a%20b?c=%2F", body=body, headers=headers, retries=False, timeout=5)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "HEAD"])
def test_what_comes_is_handed_on_as_it_is(proxy: Proxy, method: str) -> None:
    body = b"\0body" if method in ("PUT", "POST") else b""
    reply = ask(proxy, method, body or None)
    expected = method.encode() + b" /a%20b?c=%2F there " + body
    assert (reply.status, reply.headers["X-Word"]) == (201, "back")
    assert reply.headers["Content-Length"] == str(len(expected))
    assert reply.data == (b"" if method == "HEAD" else expected)


def test_faults_befall_requests(proxy: Proxy) -> None:
    proxy.next = Reply(503, b"<Error/>", "application/xml")
    reply = ask(proxy)
    assert (reply.status, reply.data, reply.headers["Content-Type"]) == (503, b"<Error/>", "application/xml")
    proxy.next = "drop"
    with pytest.raises(urllib3.exceptions.ProtocolError):
        ask(proxy)
    proxy.next = 0.3
    start = time.monotonic()
    assert ask(proxy).status == 201
    assert time.monotonic() - start >= 0.3


def test_a_server_that_is_away_is_a_bad_gateway(proxy: Proxy) -> None:
    proxy.upstream = "http://127.0.0.1:9"
    assert ask(proxy).status == 502
