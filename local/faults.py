"""A proxy on loopback that misbehaves, to see what clients make of it: before OpenSearch, or the stand-in S3."""

import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

import urllib3

HANG_SECONDS = 2.0
HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect", "content-length"}
"""Headers of one connection, which a proxy doesn't hand on: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1"""


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """A request that came to the proxy; `path` has the query string."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the proxy's own, instead of that of the server behind it."""

    status: int
    body: bytes
    kind: str = "application/json"


Fault = Reply | Literal["drop", "hang"] | float | None
"""What befalls a request: an answer of the proxy's own, a connection that is closed (after HANG_SECONDS of silence,
with `hang`), so many seconds of delay, or nothing."""


class FaultProxy:
    """Hands requests on to the server at `upstream`, while entered, but first does to each what `fault` says."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.pool = urllib3.PoolManager(maxsize=32, retries=False)
        self._server = _Server(self)
        self.port: int = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="faults", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.pool.clear()

    def fault(self, request: ProxyRequest) -> Fault:  # noqa: ARG002
        """What befalls `request`: nothing, unless a subclass knows better. Called by many threads."""
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two packets; the second would wait for the first's receipt
    server: _Server

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = ProxyRequest(self.command, self.path, dict(self.headers), body)
        match self.server.proxy.fault(request):
            case "drop":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            case "hang":
                time.sleep(HANG_SECONDS)
                self.close_connection = True
            case Reply(status, content, kind):
                self._answer(status, {"Content-Type": kind}, content)
            case delay:
                time.sleep(delay or 0)
                self._hand_on(request)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def _hand_on(self, request: ProxyRequest) -> None:
        proxy = self.server.proxy
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            reply = proxy.pool.request(
                request.method, proxy.upstream + request.path, body=request.body or None, headers=headers,
                redirect=False, decode_content=False,
            )  # fmt: skip
        except urllib3.exceptions.HTTPError:
            self._answer(502, {}, b"")
            return
        kept = {name: value for name, value in reply.headers.items() if name.lower() not in HOP_BY_HOP}
        if request.method == "HEAD" and (length := reply.headers.get("Content-Length")):
            kept["Content-Length"] = length  # of the body that a GET would have
        self._answer(reply.status, kept, reply.data)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: those who ask tell of their requests."""
