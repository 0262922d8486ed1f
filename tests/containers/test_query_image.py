"""The query function in its image, as Lambda runs it: over a real OpenSearch, with the bundled model."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.gateway import Gateway

EVENTS = Path(__file__).parents[2] / "events"
Request = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def function(start_query: Any, pictures: Any) -> Iterator[Any]:
    with start_query(memory_mb=1024) as running:
        yield running


@pytest.fixture(scope="module")
def request_(function: Any) -> Iterator[Request]:
    """Sends a request through the gateway to the function; returns the status, and the body if it is JSON."""
    import urllib3

    http = urllib3.PoolManager(retries=False)
    with Gateway(function) as gateway:

        def send(method: str, path: str, **options: Any) -> tuple[int, Any]:
            answer = http.request(method, gateway.url + path, **options)
            return answer.status, answer.json() if "json" in answer.headers["content-type"] else answer.data.decode()

        yield send


def titles(answer: dict[str, Any]) -> list[str]:
    return [hit["title"] for hit in answer["hits"]]


def test_it_says_which_model_it_has_and_how_many_images_there_are(request_: Request) -> None:
    status, health = request_("GET", "/health")
    assert (status, health["status"]) == (200, "ok")
    assert (health["model"]["name"], health["index"]["count"]) == ("tiny-clip", 8)


@pytest.mark.parametrize(("words", "title"), [("a dog", "dog-face"), ("pizza", "pizza"), ("guitar", "guitar")])
def test_words_find_the_picture_that_they_describe(request_: Request, words: str, title: str) -> None:
    status, answer = request_("POST", "/search", json={"text": words, "k": 3})
    assert status == 200
    assert titles(answer)[0] == title


def test_a_picture_finds_itself_and_has_a_signed_url(request_: Request, photos: Path) -> None:
    image = base64.b64encode((photos / "rose.webp").read_bytes()).decode()
    status, answer = request_("POST", "/search", json={"image": image, "k": 2})
    assert status == 200
    assert titles(answer)[0] == "rose"
    assert answer["hits"][0]["score"] > 0.999
    assert "X-Amz-Signature=" in answer["hits"][0]["url"]


def test_an_indexed_picture_finds_others(request_: Request) -> None:
    status, answer = request_("GET", "/images/black-cat.webp/similar?k=3")
    assert status == 200, answer
    assert len(answer["hits"]) == 3
    assert "black-cat" not in titles(answer)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/search", "{", 400, "invalid_input"),
        ("POST", "/search", '{"image": "bm8gcGljdHVyZQ=="}', 415, "invalid_image"),
        ("POST", "/search", '{"image_url": "http://169.254.169.254/latest/meta-data"}', 422, "unreachable_url"),
        ("GET", "/images/nothing.jpg", None, 404, "not_found"),
        ("GET", "/nowhere", None, 404, "no_such_route"),
        ("DELETE", "/search", None, 405, "method_not_allowed"),
    ],
)
def test_what_can_not_be_answered_gets_a_status_and_a_reason(
    request_: Request, method: str, path: str, body: str | None, status: int, code: str
) -> None:
    found, answer = request_(method, path, body=body)
    assert (found, answer["error"]["code"]) == (status, code)
    assert answer["error"]["message"]


def test_it_serves_the_page_and_the_openapi_document(request_: Request) -> None:
    status, page = request_("GET", "/")
    assert status == 200
    assert "<script>" in page
    status, document = request_("GET", "/openapi.json")
    assert status == 200
    assert "/search" in document["paths"]


def test_it_answers_a_direct_invocation(function: Any) -> None:
    answer = function(json.loads((EVENTS / "direct.json").read_text()))
    assert (answer["status_code"], answer["message"]) == (200, "Success")
    assert len(answer["body"]["hits"]) == 8


def test_it_answers_503_while_the_index_is_away(start_query: Any) -> None:
    with start_query(index_url="http://127.0.0.1:9") as function:
        answer = function(json.loads((EVENTS / "search-words.json").read_text()))
        assert answer["statusCode"] == 503
        assert json.loads(answer["body"])["error"]["code"] == "index_unavailable"


def test_it_is_small_and_needs_neither_torch_nor_a_place_to_write(function: Any, docker: Any, built: Any) -> None:
    inspected = json.loads(docker("image", "inspect", built.query).stdout)[0]
    base = json.loads(
        docker("image", "inspect", inspected["Id"] if not built.on else built.on[1].partition("=")[2]).stdout
    )
    assert inspected["Size"] - (base[0]["Size"] if built.on else 0) < 300e6
    for module in ("torch", "open_clip", "duckdb", "grpc", "huggingface_hub"):
        found = docker("run", "--rm", "--entrypoint", "python", built.query, "-c", f"import {module}", check=False)
        assert f"No module named '{module}'" in found.stderr
    assert function.peak_mb() < 400
    # Both have complained in the past: the file system is read-only, and telemetry would keep an identifier there.
    assert "Read-only" not in function.log()
    assert "telemetry" not in function.log().lower()
