"""What tests of every kind share: a real OpenSearch, and the bundled model."""

import contextlib
import io
import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from local.opensearch import LocalOpenSearch

# Some tests stop a process of their own with Ctrl-C. What is started in the background of a script ignores that signal,
# and so would everything that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def opensearch_url() -> Iterator[str]:
    """A real OpenSearch: the one at $OPENSEARCH_URL, else one of its own, which takes some ten seconds to start."""
    if url := os.environ.get("OPENSEARCH_URL"):
        yield url
        return
    server = LocalOpenSearch(Path(tempfile.mkdtemp(prefix="opensearch-")))
    try:
        yield server.start()
    finally:
        server.delete()


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """Folder of the bundled model artifact."""
    return Path(__file__).parents[1] / "models" / "tiny"


class PhotoServer:
    """A web server on loopback with the bundled pictures as JPEG, at `/<what it does>/<name>`.

    It does well (`ok`), or badly for ever (`gone`, `page`, `huge`, `slow`, `cut`, `loop`, `banned`, `status-418`), or
    badly at first: `busy` (429 with Retry-After), `broken` (500 twice), `cut-once`, `short-once` (the same, without
    saying how long it should have been), `moved` (a redirect to what is well). `hits` counts the requests by path.
    """

    def __init__(self, pictures: Path) -> None:
        self.pictures = pictures
        self.hits: Counter[str] = Counter()
        self.queries: set[str] = set()
        self.at_once = self.most_at_once = self.connections = 0
        self.delay = 0.0
        self._lock = threading.Lock()

    def photo(self, name: str) -> bytes:
        file = io.BytesIO()
        with Image.open(self.pictures / f"{name}.webp") as image:
            image.convert("RGB").save(file, "JPEG")
        return file.getvalue()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        _, does, name = path.split("/", 2)
        with self._lock:
            self.hits[path] += 1
            hits = self.hits[path]
            self.queries.add(query)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.delay)
        with self._lock:  # the client may send its next request as soon as it has the answer
            self.at_once -= 1
        match does, hits:
            case ("busy", 1):
                self._send(request, 429, b"", {"Retry-After": "1"})
            case ("banned", _):
                self._send(request, 503, b"", {"Retry-After": "20000"})
            case ("broken", 1 | 2):
                self._send(request, 500, b"trouble")
            case ("gone", _):
                self._send(request, 404, b"no such photo")
            case ("status-418", _):
                self._send(request, 418, b"")
            case ("page", _):
                self._send(request, 200, b"<html>Are you a robot?</html>", {"Content-Type": "text/html"})
            case ("huge", _):
                self._send(request, 200, b"", {"Content-Length": str(10**9)}, close=True)
            case ("moved", _):
                self._send(request, 302, b"over there", {"Location": f"/ok/{name}"})
            case ("loop", _):
                self._send(request, 302, b"", {"Location": path})
            case ("cut", _) | ("cut-once", 1):
                data = self.photo(name)
                self._send(request, 200, data[: len(data) // 2], {"Content-Length": str(len(data))}, close=True)
            case ("short-once", 1):
                data = self.photo(name)
                self._send(request, 200, data[: len(data) // 2], {"Content-Length": ""}, close=True)
            case ("slow", _):
                self._send(request, 200, b"", {"Content-Length": "10000"}, close=True)
                for _ in range(100):
                    request.wfile.write(b".")
                    time.sleep(0.05)
            case _:
                self._send(request, 200, self.photo(name))

    @staticmethod
    def _send(
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        close: bool = False,
    ) -> None:
        request.send_response(status)
        for name, value in ({"Content-Type": "image/jpeg", "Content-Length": str(len(body))} | (headers or {})).items():
            if value:
                request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = request.close_connection or close


@pytest.fixture
def photo_server(tiny_model: Path) -> Iterator[tuple[PhotoServer, str]]:
    """A web server for photos that can misbehave, and its URL."""
    photos = PhotoServer(tiny_model / "photos")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            photos.connections += 1

        def do_GET(self) -> None:
            try:
                photos.answer(self)
            except (BrokenPipeError, ConnectionResetError):  # the client has had enough
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield photos, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class SearchApi:
    """A search API on loopback that does as it is told, one reply after the other, and stays with the last.

    `requests` are those that came: path, headers, body.
    """

    def __init__(self) -> None:
        self.url = ""
        self.replies: list[tuple[int, Any, dict[str, str], float]] = []
        self.requests: list[tuple[str, dict[str, str], Any]] = []

    def reply(
        self, status: int = 200, body: Any = None, headers: dict[str, str] | None = None, after: float = 0
    ) -> Any:
        """Reply so to one more request, `after` so many seconds; with status 0 hang up without a word."""
        self.replies.append((status, body, headers or {}, after))
        return self

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        self.requests.append((request.path, {name.lower(): value for name, value in request.headers.items()}, body))
        status, answer, headers, after = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        time.sleep(after)
        if not status:
            return
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        request.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)


@pytest.fixture
def search_api() -> Iterator[SearchApi]:
    """A search API that does as it is told."""
    api = SearchApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has had enough
                api.answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        api.url = f"http://127.0.0.1:{server.server_port}"
        yield api
        server.shutdown()
