"""`sam local start-api`: the routes of the template, to the built query function, over a real OpenSearch."""

import contextlib
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from local.containers import ROOT, sam, sam_environment

START_SECONDS = 120
HOST = "host.docker.internal"

http = urllib3.PoolManager(retries=False)


class Forwarder(socketserver.ThreadingTCPServer):
    """Passes what containers send to the machine's address on their network on to a port of loopback."""

    daemon_threads = True

    def __init__(self, address: str, port: int) -> None:
        super().__init__((address, 0), self.RequestHandler)
        self.target = ("127.0.0.1", port)

    class RequestHandler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(self.server.target) as target:
                back = threading.Thread(target=pass_on, args=(target, self.request), daemon=True)
                back.start()
                pass_on(self.request, target)
                back.join()


def pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def index_url(docker: Any, pictures: Any, opensearch_url: str) -> Iterator[str]:
    """OpenSearch's URL for containers on Docker's own network."""
    gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").stdout.strip()
    with Forwarder(gateway, urlsplit(opensearch_url).port) as forwarder:
        threading.Thread(target=forwarder.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{forwarder.server_address[1]}"
        forwarder.shutdown()


@pytest.fixture(scope="module")
def api(engine: Any, built: Any, index_url: str, tmp_path_factory: Any) -> Iterator[str]:
    """URL of the API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = sam(
        "local", "start-api", "--template", str(built.folder / "template.yaml"), "--host", "127.0.0.1",
        "--port", str(port), "--skip-pull-image", "--warm-containers", "LAZY", "--add-host", f"{HOST}:host-gateway",
        "--parameter-overrides", f"SearchEndpoint={index_url}",
    )  # fmt: skip
    log: Path = tmp_path_factory.mktemp("api") / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=ROOT, env=sam_environment(engine), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for(port, server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)  # on which it removes its containers
        server.wait(60)


def wait_for(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    server.kill()
    pytest.fail(f"sam local start-api doesn't listen:\n{log.read_text()}")


def test_it_serves_the_page_and_answers_its_searches(api: str) -> None:
    page = http.request("GET", f"{api}/", timeout=120)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    health = http.request("GET", f"{api}/health", timeout=60)
    assert (health.status, health.json()["index"]["count"]) == (200, 8)
    found = http.request("GET", f"{api}/search", fields={"q": "a guitar", "k": "2"}, timeout=60)
    assert found.status == 200, found.data
    assert found.json()["hits"][0]["title"] == "guitar"
    found = http.request("POST", f"{api}/search", json={"text": "ein Hund, a dog", "k": 2}, timeout=60)
    assert found.json()["hits"][0]["title"] == "dog-face"


def test_an_id_with_a_dot_and_an_error_get_through(api: str) -> None:
    found = http.request("GET", f"{api}/images/rose.webp/similar", fields={"k": "2"}, timeout=60)
    assert (found.status, len(found.json()["hits"])) == (200, 2)
    refused = http.request("POST", f"{api}/search", json={"image": "bm8gcGljdHVyZQ=="}, timeout=60)
    assert (refused.status, refused.json()["error"]["code"]) == (415, "invalid_image")
