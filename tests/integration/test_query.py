"""The query function with the bundled model, on both kinds of index, through its Lambda handler."""

import base64
import json
import logging
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from PIL import Image

from functions.query import app
from imagesearch import links
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.index.base import Delete, Upsert, VectorIndex
from imagesearch.records import ImageMetadata
from imagesearch.settings import get_settings
from imagesearch.statistics import CollectionStatistics, statistics_key
from imagesearch.storage import FolderStorage
from local.context import LambdaContext

PHOTOS = ("dog-face", "cat-face", "pizza", "red-heart", "rocket", "banana")
BUCKET = "photos"

CONTEXT = LambdaContext("query")


def call(method: str, path: str, body: object = None, **query: str) -> tuple[int, Any]:
    """Status and body of the answer to a request."""
    event = {
        "path": path,
        "httpMethod": method,
        "headers": None,
        "queryStringParameters": query or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        "requestContext": {"path": path},
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }
    answer = app.lambda_handler(event, CONTEXT)
    return answer["statusCode"], json.loads(answer["body"])


def found(answer: tuple[int, Any]) -> list[str]:
    status, body = answer
    assert status == 200, body
    return [hit["title"] for hit in body["hits"]]


def id_of(name: str) -> str:
    return f"Förder/{name} & more+100%41.webp"


@pytest.fixture(scope="module")
def photos(tiny_model: Path) -> Path:
    return tiny_model / "photos"


@pytest.fixture(scope="module")
def storage(photos: Path) -> Iterator[str]:
    """S3 with the photos in a bucket; its endpoint."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for cached in (links.aws_session, links._client, links._bucket_url):
            cached.cache_clear()
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for name in PHOTOS:
            client.put_object(Bucket=BUCKET, Key=id_of(name), Body=(photos / f"{name}.webp").read_bytes())
        yield endpoint
    server.stop()


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> OnnxEncoder:
    return OnnxEncoder(tiny_model)


@pytest.fixture(scope="module", params=["duckdb", "opensearch"])
def index(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    encoder: OnnxEncoder,
    photos: Path,
    storage: str,
    tiny_model: Path,
) -> Iterator[VectorIndex]:
    """An index with the photos in it, which the function is set up to search."""
    if request.param == "duckdb":
        url = f"duckdb://{tmp_path_factory.mktemp('index') / 'photos.duckdb'}"
    else:
        url = request.getfixturevalue("opensearch_url")
    output = tmp_path_factory.mktemp("output")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGESEARCH_INDEX_URL", url)
        patch.setenv("IMAGESEARCH_VECTORS_URL", str(output))
        patch.setenv("IMAGESEARCH_MODEL", str(tiny_model))
        patch.setenv("IMAGESEARCH_ALLOW_HTTP", "true")
        patch.setenv("IMAGESEARCH_ALLOW_PRIVATE", "true")
        get_settings.cache_clear()
        app.service.cache_clear()
        index = app.service().searcher.index
        index.drop()
        index.create()
        images = [Image.open(photos / f"{name}.webp").convert("RGBA") for name in PHOTOS]
        white = [Image.alpha_composite(Image.new("RGBA", image.size, "white"), image) for image in images]
        vectors = encoder.encode_images([image.convert("RGB") for image in white])
        result = index.bulk(
            Upsert(
                id_of(name),
                version=1,
                vector=vector,
                metadata=ImageMetadata(
                    uri=f"s3://{BUCKET}/{id_of(name)}", title=name, tags=("animal",) if "face" in name else ("thing",)
                ),
            )
            for name, vector in zip(PHOTOS, vectors, strict=True)
        )
        assert result.upserted == len(PHOTOS)
        index.refresh()
        statistics = CollectionStatistics.of_vectors(vectors)
        FolderStorage(output).write(statistics_key(encoder.info.fingerprint), statistics.to_bytes())
        yield index
        index.drop()
    get_settings.cache_clear()
    app.service.cache_clear()


def test_words_find_the_picture_they_describe(index: VectorIndex) -> None:
    for words, name in (("dog face", "dog-face"), ("pizza", "pizza"), ("rocket", "rocket"), ("banana", "banana")):
        assert found(call("POST", "/search", {"text": words, "k": 1})) == [name]
        assert found(call("GET", "/search", q=words, k="1")) == [name]


def test_a_picture_finds_itself_with_a_cosine_of_about_one(index: VectorIndex, photos: Path) -> None:
    image = base64.b64encode((photos / "rocket.webp").read_bytes()).decode()
    status, body = call("POST", "/search", {"image": image, "k": 2})
    assert status == 200
    assert body["hits"][0]["title"] == "rocket"
    assert body["hits"][0]["score"] == pytest.approx(1, abs=1e-3)
    assert body["hits"][1]["score"] < 0.95


def test_a_picture_at_a_url_finds_itself(index: VectorIndex, photos: Path, storage: str) -> None:
    url = links.image_url(f"s3://{BUCKET}/{id_of('pizza')}", get_settings())
    assert found(call("POST", "/search", {"image_url": url, "k": 1})) == ["pizza"]


def test_every_indexed_picture_is_found_by_its_id_and_has_others_like_it(index: VectorIndex) -> None:
    for name in PHOTOS:
        path = f"/images/{quote(id_of(name), safe='')}"
        status, body = call("GET", path)
        assert (status, body["id"], body["title"]) == (200, id_of(name), name)
        similar = found(call("GET", f"{path}/similar", k="100"))
        assert {*similar} == {*PHOTOS} - {name}


def test_the_url_of_a_hit_leads_to_the_picture(index: VectorIndex, photos: Path) -> None:
    _, body = call("POST", "/search", {"text": "pizza"})
    for hit in body["hits"]:
        response = requests.get(hit["url"], timeout=10)
        assert response.status_code == 200
        assert response.content == (photos / f"{hit['title']}.webp").read_bytes()


def test_a_filter_holds_inside_the_search(index: VectorIndex) -> None:
    for filter in ({"tags": "animal"}, {"tags": {"any_of": ["animal"]}}, {"not": {"tags": "thing"}}):
        assert {*found(call("POST", "/search", {"text": "pizza", "k": 2, "filter": filter}))} == {
            "dog-face",
            "cat-face",
        }
    assert call("POST", "/search", {"text": "pizza", "filter": {"nonsense": 1}})[0] == 400


def test_pages_add_up_to_the_whole(index: VectorIndex) -> None:
    whole = found(call("POST", "/search", {"text": "pizza", "k": 6}))
    pages = [found(call("POST", "/search", {"text": "pizza", "k": 2, "offset": offset})) for offset in (0, 2, 4, 6)]
    assert [name for page in pages for name in page] == whole
    assert pages[3] == []
    assert found(call("POST", "/search", {"text": "pizza", "k": 100, "offset": 9_900})) == []


def test_terms_make_one_query_of_words_and_pictures(index: VectorIndex, photos: Path) -> None:
    image = base64.b64encode((photos / "rocket.webp").read_bytes()).decode()
    both = {"terms": [{"text": "banana"}, {"image": image}], "k": 2}
    assert {*found(call("POST", "/search", both))} == {"banana", "rocket"}
    without = {"terms": [{"text": "banana"}, {"id": id_of("banana"), "weight": -1}], "k": 6}
    assert "banana" not in found(call("POST", "/search", without))
    query = f'banana -0.5*"dog face" -id:"{id_of("dog-face")}"'
    names = found(call("POST", "/search", {"query": query}))
    assert names[0] == "banana"
    assert "dog-face" not in names
    assert found(call("GET", "/search", query=query)) == names


def test_feedback_turns_a_search(index: VectorIndex) -> None:
    turned = found(call("POST", "/search", {"text": "pizza", "like": [id_of("dog-face")], "k": 2}))
    assert {*turned} == {"pizza", "cat-face"}  # what is like the dog, without it
    away = {"text": "dog face", "unlike": [id_of("dog-face")]}
    assert "dog-face" not in found(call("POST", "/search", away))


def test_words_and_both_find_what_is_called_so(index: VectorIndex) -> None:
    assert found(call("POST", "/search", {"text": "rocket", "match": "words"})) == ["rocket"]
    assert found(call("POST", "/search", {"text": "ANIMAL", "match": "words", "k": 1, "offset": 1})) == ["dog-face"]
    assert found(call("POST", "/search", {"text": "nothing like it", "match": "words"})) == []
    hybrid = call("POST", "/search", {"text": "thing with a crust", "match": "hybrid"})
    assert {*found(hybrid)} == {*PHOTOS}
    assert hybrid[1]["hits"][0]["score"] > 1 / 61  # in both rankings


def test_facets_count_tags_over_what_matches_the_filter(index: VectorIndex) -> None:
    for match in ("vector", "hybrid"):
        query = {"text": "pizza", "match": match, "facets": ["tags", "year"], "k": 1}
        _, body = call("POST", "/search", query)
        assert body["facets"] == {
            "tags": [{"value": "thing", "count": 4}, {"value": "animal", "count": 2}],
            "year": [],
        }
    _, body = call("GET", "/search", q="pizza", facets="tags", filter='{"tags": "animal"}')
    assert body["facets"] == {"tags": [{"value": "animal", "count": 2}]}


def test_a_hit_is_the_surer_the_better_it_is(index: VectorIndex) -> None:
    _, body = call("POST", "/search", {"text": "pizza"})
    sure = [hit["confidence"] for hit in body["hits"]]
    assert sure == sorted(sure, reverse=True)
    assert 0 <= sure[-1] < sure[0] <= 1
    kept = found(call("POST", "/search", {"text": "pizza", "min_confidence": sure[1]}))
    assert kept == [hit["title"] for hit in body["hits"][:2]]
    _, body = call("POST", "/search", {"text": "a spreadsheet", "min_confidence": 1})
    assert (body["hits"], body["no_good_match"]) == ([], True)


@pytest.fixture
def copies(index: VectorIndex) -> Iterator[list[str]]:
    """Near-duplicates of the pizza."""
    ids = [f"copy {number} of the pizza" for number in range(3)]
    vector = index.get([id_of("pizza")])[id_of("pizza")].vector
    noise = np.random.default_rng(1).normal(scale=0.01, size=(3, len(vector))).astype(np.float32)
    version = time.time_ns()
    index.bulk(
        Upsert(
            id,
            version,
            (vector + one) / np.linalg.norm(vector + one),
            ImageMetadata(uri=f"s3://{BUCKET}/{id}", title=id),
        )
        for id, one in zip(ids, noise, strict=True)
    )
    index.refresh()
    yield ids
    index.bulk(Delete(id, version + 1) for id in ids)
    index.refresh()


def test_near_duplicates_stand_behind_the_best_of_them(index: VectorIndex, copies: list[str]) -> None:
    status, body = call("POST", "/search", {"text": "pizza", "group": True, "k": 2})
    assert status == 200
    best, second = body["hits"]
    assert {best["id"], *(similar["id"] for similar in best["similar"])} == {id_of("pizza"), *copies}
    assert (best["similar_count"], second["similar_count"]) == (3, 0)
    assert all(similar["url"].startswith("http") for similar in best["similar"])
    assert len(found(call("POST", "/search", {"text": "pizza"}))) == 9


def test_pages_of_a_cursor_add_up_while_documents_come_and_go(index: VectorIndex, copies: list[str]) -> None:
    whole = found(call("POST", "/search", {"text": "rocket"}))
    assert {*copies} < {*whole}
    for query in ({"text": "rocket"}, {"text": "rocket", "match": "hybrid"}):
        _, body = call("POST", "/search", {**query, "k": 2})
        shown = [hit["title"] for hit in body["hits"]]
        version = time.time_ns()
        rocket = index.get([id_of("rocket")])[id_of("rocket")].vector
        index.bulk([Delete(copies[0], version), Upsert("new", version, rocket, META)])
        index.refresh()
        while body["cursor"]:
            status, body = call("POST", "/search", {"cursor": body["cursor"]})
            assert status == 200, body
            shown += [hit["title"] for hit in body["hits"]]
        assert sorted(shown) == sorted({*whole} - {copies[0]})
        assert "new" not in shown
        index.bulk([Delete("new", version)])
        index.refresh()


META = ImageMetadata(uri=f"s3://{BUCKET}/new", title="new")


def test_a_batch_is_what_its_searches_are_one_by_one(index: VectorIndex, photos: Path) -> None:
    image = base64.b64encode((photos / "banana.webp").read_bytes()).decode()
    searches: list[dict[str, Any]] = [
        {"text": "pizza", "k": 2},
        {"image": image, "k": 1},
        {"id": id_of("dog-face"), "k": 2, "filter": {"tags": "animal"}},
        {"text": "rocket", "match": "hybrid", "k": 3, "facets": ["tags"]},
        {"id": "nothing"},
        {"query": "pizza -banana", "group": True, "k": 4},
    ]
    status, body = call("POST", "/search/batch", {"searches": searches})
    assert status == 200, body
    for search, answer in zip(searches, body["answers"], strict=True):
        status, alone = call("POST", "/search", search)
        if status != 200:
            assert answer == alone
            continue
        assert answer["facets"] == alone["facets"]
        # Encoded in a batch, a picture comes out the same but for rounding.
        assert [(hit["id"], pytest.approx(hit["score"], abs=1e-5)) for hit in answer["hits"]] == [
            (hit["id"], hit["score"]) for hit in alone["hits"]
        ]


def test_health_counts_the_pictures(index: VectorIndex) -> None:
    status, body = call("GET", "/health")
    assert status == 200
    assert body["index"] == {"name": index.name, "available": True, "count": len(PHOTOS), "message": None}
    assert body["model"]["fingerprint"] in index.name


@pytest.mark.parametrize("id", ["nothing", "x" * 1_024, "ü" * 1_000, "\x00", "..", ".", "_search", "*", '"', "\\"])
def test_an_unknown_id_is_not_found_whatever_it_looks_like(index: VectorIndex, id: str) -> None:
    assert call("POST", "/search", {"id": id})[0] == 404
    assert call("GET", f"/images/{quote(id, safe='')}")[0] == 404
    assert call("GET", f"/images/{quote(id, safe='')}/similar")[0] == 404


VALUE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
FIELD = st.sampled_from(["tags", "title", "format", "width", "created_at", "location", "id", "extra.a", "and", "not"])
OPERATOR = st.sampled_from(["any_of", "all_of", "gte", "lt", "near", "exists", "lat", "km"])
FILTER = st.recursive(
    VALUE,
    lambda inner: (
        st.dictionaries(FIELD | OPERATOR | st.text(), inner, max_size=3)
        | st.dictionaries(FIELD, st.dictionaries(OPERATOR, inner, max_size=3), max_size=3)
        | st.lists(inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILTER)
def test_no_filter_gives_a_500(index: VectorIndex, filter: Any) -> None:
    status, body = call("POST", "/search", {"text": "pizza", "filter": filter})
    assert status == 200 or (status == 400 and body["error"]["field"].startswith("filter"))


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=2_000))
def test_no_text_gives_a_500(index: VectorIndex, text: str) -> None:
    status, body = call("POST", "/search", {"text": text})
    # Python strips U+001C to U+001F too, which for Unicode, and so for the API, are no white space.
    blank = not text.strip("".join(chr(c) for c in range(0x3001) if chr(c).isspace() and not 0x1C <= c <= 0x1F))
    assert status == (400 if blank else 200), body
    assert status == 400 or all(-1.001 <= hit["score"] <= 1.001 for hit in body["hits"])


# --- When something is missing ---------------------------------------------------------------------------------------


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Iterator[Any]:
    """Set the function up anew, with these settings."""

    def set_up(**changes: str) -> None:
        for name, value in {"model": str(tiny_model), **changes}.items():
            monkeypatch.setenv(f"IMAGESEARCH_{name.upper()}", value)
        get_settings.cache_clear()
        app.service.cache_clear()

    yield set_up
    get_settings.cache_clear()
    app.service.cache_clear()


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_an_opensearch_that_is_down_is_told_soon(set_up: Any) -> None:
    set_up(index_url=f"http://127.0.0.1:{closed_port()}")
    call("GET", "/health")  # loads the model
    start = time.monotonic()
    status, body = call("POST", "/search", {"text": "pizza"})
    assert (status, body["error"]["code"]) == (503, "index_unavailable")
    assert call("GET", "/images/a")[0] == 503
    status, body = call("GET", "/health")
    assert (status, body["status"], body["index"]["available"]) == (503, "unavailable", False)
    assert time.monotonic() - start < 10


def test_an_opensearch_that_is_down_is_one_line_a_request_in_the_log(
    set_up: Any, caplog: pytest.LogCaptureFixture
) -> None:
    port = closed_port()
    set_up(index_url=f"http://127.0.0.1:{port}")
    caplog.set_level(logging.WARNING)
    for method, path, body in (
        ("POST", "/search", {"text": "pizza"}),
        ("GET", "/images/a", None),
        ("GET", "/health", None),
    ):
        caplog.clear()
        assert call(method, path, body)[0] == 503
        (record,) = caplog.records
        assert f"127.0.0.1:{port}" in f"{record.getMessage()} {record.__dict__.get('reason')}"
        assert record.exc_info is None


def test_an_opensearch_that_accepts_but_never_answers_is_told(set_up: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        set_up(index_url=f"http://127.0.0.1:{server.getsockname()[1]}")
        start = time.monotonic()
        status, body = call("POST", "/search", {"text": "pizza"})
        assert (status, body["error"]["code"]) == (503, "index_unavailable")
        assert time.monotonic() - start < 29  # API Gateway waits no longer


def test_an_opensearch_that_asks_for_patience_is_told(set_up: Any) -> None:
    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            body = b'{"error": {"type": "es_rejected_execution_exception"}, "status": 429}'
            self.send_response(429)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        set_up(index_url=f"http://127.0.0.1:{server.server_port}")
        status, body = call("POST", "/search", {"text": "pizza"})
        server.shutdown()
    assert (status, body["error"]["code"]) == (429, "index_overloaded")


def test_an_index_that_is_not_there_yet_has_no_hits(set_up: Any, tmp_path: Path) -> None:
    set_up(index_url=f"duckdb://{tmp_path / 'new.duckdb'}")
    assert found(call("POST", "/search", {"text": "pizza"})) == []
    assert call("GET", "/health")[1]["index"]["count"] == 0


def test_a_text_query_needs_no_image_tower(set_up: Any, tmp_path: Path, tiny_model: Path, photos: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model, ignore=shutil.ignore_patterns("photos", "checkpoint"))
    (model / "image.onnx").write_bytes(b"broken")
    set_up(model=str(model), index_url=f"duckdb://{tmp_path / 'new.duckdb'}")
    assert found(call("POST", "/search", {"text": "pizza"})) == []
    image = base64.b64encode((photos / "pizza.webp").read_bytes()).decode()
    status, body = call("POST", "/search", {"image": image})
    assert (status, body["error"]["code"]) == (500, "internal_error")
    assert str(tmp_path) not in body["error"]["message"]


def test_a_missing_model_is_a_500_that_tells_nothing_of_the_inside(set_up: Any, tmp_path: Path) -> None:
    set_up(model=str(tmp_path / "nowhere"), index_url=f"duckdb://{tmp_path / 'new.duckdb'}")
    status, body = call("POST", "/search", {"text": "pizza"})
    assert (status, body["error"]["code"]) == (500, "internal_error")
    assert "nowhere" not in body["error"]["message"]
