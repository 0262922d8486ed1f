"""The query function through its Lambda handler, with events as API Gateway makes them."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from functions.query import app
from imagesearch.api import MAX_K
from imagesearch.errors import IndexOverloaded, IndexUnavailable
from imagesearch.fetch import Fetcher
from imagesearch.page import build_page
from imagesearch.search import Searcher
from imagesearch.service import Service

from .conftest import MemoryIndex
from .query_events import BLUE, CONTEXT, Answer, encoded, event, get, invoke, post

pytestmark = pytest.mark.usefixtures("service")


def failing(method: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(MemoryIndex, method, fail)


# --- Searches --------------------------------------------------------------------------------------------------------


def test_words_in_a_body_find_images() -> None:
    answer = post({"text": "red", "k": 2})
    assert answer.titles == ["red", "yellow"]
    assert answer.body["k"] == 2
    assert answer.body["offset"] == 0
    assert answer.body["took"].keys() == {"encode_ms", "search_ms", "sign_ms"}


def test_a_hit_has_all_that_is_known_of_the_image() -> None:
    (hit,) = post({"text": "red", "k": 1}).body["hits"]
    assert hit["score"] == pytest.approx(1)
    assert {name: value for name, value in hit.items() if value not in (None, {}, []) and name != "score"} == {
        "id": "red",
        "url": "https://photos.example/red.jpg",
        "uri": "https://photos.example/red.jpg",
        "title": "red",
        "tags": ["warm"],
        "similar_count": 0,
    }
    absent = {"description", "width", "height", "format", "bytes", "color", "created_at", "lat", "lon", "credit"}
    assert absent < hit.keys()


def test_words_in_a_query_string_find_images() -> None:
    assert get("/search", q="red").titles == post({"text": "red"}).titles
    assert get("/search", q=" red ", k="1", offset="1").titles == ["yellow"]
    assert get("/search", q="blue", filter='{"tags": "warm"}').titles == ["red", "yellow"]
    assert get("/search/", q="red", k="1").titles == ["red"]


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert post('{"text": "red", "k": 2.0, "offset": 0.0}').titles == ["red", "yellow"]


def test_commas_and_pluses_in_words_stay(searcher: Searcher) -> None:
    get("/search", q="two dogs, a cat + 100% sun")
    assert searcher.encoder.seen == ["two dogs, a cat + 100% sun"]


def test_an_image_in_base64_finds_images() -> None:
    for image in (BLUE, f"data:image/png;base64,{BLUE}", "\n".join(re.findall(".{1,76}", BLUE)) + "\n"):
        assert post({"image": image, "k": 1}).titles == ["blue"]


def test_an_image_at_a_url_finds_images(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = []

    def fetch(_: Fetcher, url: str) -> bytes:
        urls.append(url)
        return base64.b64decode(BLUE)

    monkeypatch.setattr(Fetcher, "fetch", fetch)
    assert post({"image_url": "https://photos.example/blue.png", "k": 1}).titles == ["blue"]
    assert urls == ["https://photos.example/blue.png"]


def test_an_indexed_image_finds_others_like_it() -> None:
    assert post({"id": "red", "k": 2}).titles == ["yellow", "grey"]
    assert get("/images/red/similar", k="1", offset="1").titles == ["grey"]


def test_a_filter_narrows_the_search() -> None:
    assert post({"text": "blue", "filter": {"tags": "warm"}}).titles == ["red", "yellow"]


def test_a_text_query_never_touches_the_image_tower(searcher: Searcher) -> None:
    post({"text": "red"})
    get("/images/red/similar")
    assert searcher.encoder.seen == ["red"]


@pytest.mark.parametrize("id", ["a/b c+d.jpg", "ブルー/50%41.jpg", "yellow/similar", "red"])
def test_an_id_may_hold_anything_percent_encoded_wholly_or_but_for_slashes(id: str) -> None:
    for path in {quote(id, safe=""), quote(id, safe="+" if id.endswith("similar") else "/+")}:
        assert get(f"/images/{path}").body["id"] == id
        assert id not in {hit["id"] for hit in get(f"/images/{path}/similar").body["hits"]}


def test_an_image_has_no_score_but_a_url() -> None:
    body = get("/images/a%2Fb%20c+d.jpg").body
    assert body["title"] == "green"
    assert body["url"] == "https://photos.example/green.jpg"
    assert "score" not in body


def test_a_body_in_base64_and_under_any_content_type_is_understood() -> None:
    body = base64.b64encode(b'{"text": "red", "k": 1}').decode()
    assert post(body, isBase64Encoded=True).titles == ["red"]
    for headers in (None, {}, {"content-type": "application/x-www-form-urlencoded"}, {"Content-Type": "text/plain"}):
        assert post({"text": "red", "k": 1}, headers=headers, multiValueHeaders=None).titles == ["red"]


# --- Errors ----------------------------------------------------------------------------------------------------------

INVALID: list[tuple[Any, str | None]] = [
    ({}, None),
    ({"text": "red", "id": "red"}, None),
    ({"text": "red", "image": BLUE, "image_url": "https://photos.example/a.jpg"}, None),
    ({"k": 3}, None),
    ({"text": None}, None),
    ({"text": "red", "limit": 3}, "limit"),
    ({"text": ""}, "text"),
    ({"text": " \n"}, "text"),
    ({"text": 5}, "text"),
    ({"text": ["red"]}, "text"),
    ({"text": "red", "k": 0}, "k"),
    ({"text": "red", "k": -1}, "k"),
    ({"text": "red", "k": MAX_K + 1}, "k"),
    ({"text": "red", "k": 10**9}, "k"),
    ({"text": "red", "k": 10**400}, "k"),
    ({"text": "red", "k": 1.5}, "k"),
    ({"text": "red", "k": "3"}, "k"),
    ({"text": "red", "k": True}, "k"),
    ({"text": "red", "k": None}, "k"),
    ({"text": "red", "offset": -1}, "offset"),
    ({"text": "red", "offset": 9_999}, None),
    ({"text": "red", "filter": "tags:dog"}, "filter"),
    ({"text": "red", "filter": []}, "filter"),
    ({"text": "red", "filter": {"nonsense": 1}}, "filter"),
    ({"image": "nonsense!"}, "image"),
    ({"image": "AAAAA"}, "image"),
    ({"image": "ü"}, "image"),
    ({"image": {"url": "x"}}, "image"),
    ({"image_url": ""}, "image_url"),
    ({"id": ""}, "id"),
    ([], None),
    ([{"text": "red"}], None),
    ("text", None),
    ("", None),
    (None, None),
    ("null", None),
    ('{"text": "red"', None),
    ('{"text": "red", "k": NaN}', None),
    ('{"text": "\\ud800"}', None),
    ("[" * 100_000, None),
    ('{"a":' * 100_000, None),
]


@pytest.mark.parametrize(("body", "field"), INVALID, ids=[str(case[0])[:60] for case in INVALID])
def test_a_body_that_is_not_valid_is_answered_with_400_and_the_field(body: Any, field: str | None) -> None:
    answer = post(body)
    assert answer.status == 400
    code, at = answer.body["error"]["code"], answer.body["error"].get("field")
    assert code in ("invalid_input", "invalid_filter")
    assert at == field or (field == "filter" and at.startswith("filter"))
    assert len(answer.text) < 500


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "q"),
        ({"q": ""}, "q"),
        ({"q": "red", "k": "0"}, "k"),
        ({"q": "red", "k": "three"}, "k"),
        ({"q": "red", "k": ["1", "2"]}, "k"),
        ({"q": "red", "offset": "-1"}, "offset"),
        ({"q": "red", "offset": "9999"}, None),
        ({"q": "red", "filter": "{"}, "filter"),
        ({"q": "red", "filter": "[]"}, "filter"),
        ({"q": "red", "limit": "3"}, "limit"),
    ],
)
def test_a_query_string_that_is_not_valid_is_answered_with_400_and_the_field(
    query: dict[str, str], field: str | None
) -> None:
    assert get("/search", **query).problem == (400, "invalid_input", field)


def test_an_error_says_what_would_be_right() -> None:
    assert "less than or equal to 100" in post({"text": "red", "k": 101}).body["error"]["message"]
    assert "text, image, image_url, id, terms, query and cursor" in post({}).body["error"]["message"]
    assert "not text and id" in post({"text": "red", "id": "red"}).body["error"]["message"]
    assert "10,000" in post({"text": "red", "offset": 9_999}).body["error"]["message"]
    assert "there is no such field" in post({"text": "red", "limit": 3}).body["error"]["message"]


def test_undecodable_bodies_are_answered_with_400() -> None:
    for body in (base64.b64encode(b'{"text": "\xff"}').decode(), "A"):
        assert post(body, isBase64Encoded=True).problem == (400, "invalid_input", None)
    assert invoke(event("POST", "/search")).problem == (400, "invalid_input", None)


def test_too_much_text_is_answered_with_413() -> None:
    assert post({"text": "x" * 2_001}).problem == (413, "too_large", "text")
    assert post({"text": "x" * 1_000_000}).problem == (413, "too_large", "text")
    assert get("/search", q="x" * 2_001).problem == (413, "too_large", "q")


def test_too_large_an_image_is_answered_with_413() -> None:
    assert post({"image": base64.b64encode(bytes(30_000_000)).decode()}).problem[:2] == (413, "invalid_image")


def test_what_is_no_image_is_answered_with_415() -> None:
    for data in (b"this is text", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7"):
        assert post({"image": base64.b64encode(data).decode()}).problem[:2] == (415, "invalid_image")


def test_a_broken_image_is_answered_with_422() -> None:
    noise = Image.effect_noise((64, 64), 50)
    for cut in (-200, -2_000):
        data = base64.b64encode(base64.b64decode(encoded(noise))[:cut]).decode()
        assert post({"image": data}).problem[:2] == (422, "invalid_image")
    assert post({"image": "data:image/png;base64,"}).problem[:2] == (422, "invalid_image")


def test_a_url_that_can_not_be_fetched_is_answered_with_422() -> None:
    for url in ("http://photos.example/a.jpg", "https://127.0.0.1/", "https://169.254.169.254/latest/", "nonsense"):
        assert post({"image_url": url}).problem == (422, "unreachable_url", "image_url")


def test_an_unknown_id_is_answered_with_404() -> None:
    assert get("/images/nothing").problem == (404, "not_found", None)
    assert get("/images/nothing/similar").problem == (404, "not_found", None)
    assert post({"id": "nothing"}).problem == (404, "not_found", None)


@pytest.mark.parametrize("path", ["/nothing", "/search/more", "/images", "/images/", "/health/x", "/index.html"])
def test_an_unknown_route_is_answered_with_404(path: str) -> None:
    assert get(path).problem == (404, "no_such_route", None)


def test_a_wrong_method_is_answered_with_405_and_the_right_ones() -> None:
    for method, path, allowed in (
        ("DELETE", "/search", "GET, POST"),
        ("PUT", "/images/red", "GET"),
        ("POST", "/images/a/b/similar", "GET"),
        ("POST", "/health", "GET"),
        ("POST", "/", "GET"),
    ):
        answer = invoke(event(method, path, body="{}"))
        assert answer.problem == (405, "method_not_allowed", None)
        assert answer.headers["Allow"] == allowed


def test_an_overloaded_index_is_answered_with_429_and_when_to_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    failing("search", IndexOverloaded("vpc-photos.eu-west-1.es.amazonaws.com said 429"), monkeypatch)
    answer = post({"text": "red"})
    assert answer.problem == (429, "index_overloaded", None)
    assert answer.headers["Retry-After"] == "1"
    assert "amazonaws" not in answer.text


def test_an_index_that_is_down_is_answered_with_503(monkeypatch: pytest.MonkeyPatch) -> None:
    failing("get", IndexUnavailable("vpc-photos.eu-west-1.es.amazonaws.com refused"), monkeypatch)
    for answer in (get("/images/red"), get("/images/red/similar"), post({"id": "red"})):
        assert answer.problem == (503, "index_unavailable", None)
        assert "amazonaws" not in answer.text


def test_the_unforeseen_is_answered_with_500_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing("search", RuntimeError("a secret of the inside"), monkeypatch)
    answer = post({"text": "red"})
    assert answer.problem == (500, "internal_error", None)
    assert CONTEXT.aws_request_id in answer.body["error"]["message"]
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "RuntimeError: a secret of the inside" in caplog.text
    assert "Traceback" in caplog.text


def test_an_answer_of_ours_that_is_not_valid_is_no_fault_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "image", lambda *_: {"nonsense": 1})
    assert get("/images/red").problem == (500, "internal_error", None)


# --- The rest --------------------------------------------------------------------------------------------------------


def test_health_tells_of_model_and_index() -> None:
    assert get("/health").status == 200
    assert get("/health").body == {
        "status": "ok",
        "model": {"name": "colours", "pretrained": "none", "fingerprint": "c0104", "embed_dim": 3},
        "index": {"name": "images-c0104", "available": True, "count": 5, "message": None},
    }


def test_health_tells_of_an_index_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    failing("count", IndexUnavailable("connection to 10.0.0.7 refused"), monkeypatch)
    answer = get("/health")
    assert answer.status == 503
    assert answer.body["status"] == "unavailable"
    assert answer.body["model"]["name"] == "colours"
    assert answer.body["index"] == {
        "name": "images-c0104",
        "available": False,
        "count": None,
        "message": "the index doesn't answer: try again later",
    }


class Page(HTMLParser):
    """What is in `<style>` and `<script>`, and what the page would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sources: dict[str, list[str]] = {"style": [], "script": []}
        self.loads: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link"):
            self.loads += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag in self.sources:
            self.sources[tag].append("")

    def handle_data(self, data: str) -> None:
        if self.sources.get(self.lasttag):
            self.sources[self.lasttag][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.lasttag = ""


def test_the_page_is_one_document_whose_policy_names_its_styles_and_scripts() -> None:
    answer = get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Page(answer.text)
    assert all(load.startswith("data:") for load in page.loads)
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    for name, suffix in (("style", "*.css"), ("script", "*.js")):
        files = {file.read_text() for file in (Path(app.__file__).parent / "page").glob(suffix)}
        assert set(page.sources[name]) == files
        digests = [base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() for source in page.sources[name]]
        assert policy[f"{name}-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert policy["default-src"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"


def test_a_page_may_have_several_scripts_and_no_styles(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<script src="a.js" defer></script><script src="b.js" defer></script>')
    (tmp_path / "a.js").write_text('"\\1"')  # which means something where it replaces what was matched
    (tmp_path / "b.js").write_text("2")
    html, policy = build_page(tmp_path)
    assert html == '<script>"\\1"</script><script>2</script>'
    assert "style-src 'none';" in policy


def test_every_answer_has_the_headers_of_a_careful_server() -> None:
    for answer in (get("/"), get("/health"), post({}), get("/nothing"), get("/openapi.json"), post({"text": "red"})):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"


def test_pages_elsewhere_may_call_the_api() -> None:
    origin = {"Origin": "https://elsewhere.example"}
    preflight = invoke(event("OPTIONS", "/search", headers=origin))
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert preflight.headers["Access-Control-Allow-Methods"] == "GET,OPTIONS,POST"
    assert "X-Api-Key" in preflight.headers["Access-Control-Allow-Headers"]
    for body in ('{"text": "red"}', "{}"):
        answer = invoke(event("POST", "/search", body=body, headers=origin))
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_the_openapi_document_knows_the_stage_it_is_served_from() -> None:
    assert get("/openapi.json").body["servers"] == [{"url": "/"}]
    assert invoke(event("GET", "/openapi.json", stage="/prod")).body["servers"] == [{"url": "/prod"}]


def test_the_examples_of_the_openapi_document_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fetcher, "fetch", lambda *_: base64.b64decode(BLUE))
    for example in get("/openapi.json").body["components"]["schemas"]["SearchRequest"]["examples"]:
        assert post(example).status == 200, example


OTHER_FUNCTIONS = {"ingest.json", "part.json"}
EVENTS = sorted(
    file for file in (Path(__file__).parents[2] / "events").glob("*.json") if file.name not in OTHER_FUNCTIONS
)


@pytest.mark.parametrize("file", EVENTS, ids=[file.stem for file in EVENTS])
def test_every_example_event_is_answered(file: Path) -> None:
    answer = app.lambda_handler(json.loads(file.read_text()), CONTEXT)
    assert answer.get("statusCode") == 200 or answer.get("status_code") == 200


# --- Direct invocation -----------------------------------------------------------------------------------------------


def invoke_directly(event: object) -> dict[str, Any]:
    answer = app.lambda_handler(event, CONTEXT)
    assert answer.keys() == {"status_code", "message", "body"}
    json.dumps(answer)
    return answer


def test_a_direct_invocation_is_answered() -> None:
    for direct in (
        {"query": "blue", "input_type": "text", "k": 1},
        {"query": BLUE, "input_type": "image", "k": 1},
        {"query": "blue", "k": 2, "filter": {"tags": "cold"}},
    ):
        answer = invoke_directly(direct)
        assert (answer["status_code"], answer["message"]) == (200, "Success")
        assert answer["body"]["hits"][0]["title"] == "blue"


def test_a_direct_invocation_takes_the_url_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fetcher, "fetch", lambda *_: base64.b64decode(BLUE))
    for input_type in ("image", "image_url"):
        answer = invoke_directly({"query": "https://photos.example/a.png", "input_type": input_type})
        assert answer["body"]["hits"][0]["title"] == "blue"


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({}, 400),
        ({"input_type": "text"}, 400),
        ({"query": 5}, 400),
        ({"query": "red", "input_type": "sound"}, 400),
        ({"query": "red", "k": 0}, 400),
        ({"query": "red", "extra": 1}, 400),
        ({"query": "nonsense!", "input_type": "image"}, 400),
        ({"query": "https://127.0.0.1/", "input_type": "image_url"}, 422),
        ({"query": "x" * 2_001}, 413),
        ("two dogs", 400),
        (["two dogs"], 400),
        (None, 400),
    ],
)
def test_a_direct_invocation_that_is_not_valid_is_answered_with_a_status(event: object, status: int) -> None:
    answer = invoke_directly(event)
    assert answer["status_code"] == status
    assert answer["body"]["error"]["message"] == answer["message"]


def test_the_unforeseen_does_not_end_a_direct_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    failing("search", RuntimeError("a secret of the inside"), monkeypatch)
    answer = invoke_directly({"query": "red"})
    assert answer["status_code"] == 500
    assert CONTEXT.aws_request_id in answer["message"]
    assert "secret" not in json.dumps(answer)


# --- Anything at all -------------------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)
TERM = st.fixed_dictionaries(
    {}, optional={"text": st.text(), "id": st.text(), "weight": st.floats(-10, 10) | st.integers() | ANYTHING}
)
ALMOST = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text() | ANYTHING,
        "image": st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()) | ANYTHING,
        "image_url": st.text() | st.just("https://127.0.0.1/") | ANYTHING,
        "id": st.text() | ANYTHING,
        "k": st.integers() | ANYTHING,
        "offset": st.integers() | ANYTHING,
        "filter": ANYTHING,
        "terms": st.lists(TERM | ANYTHING, max_size=3) | ANYTHING,
        "query": st.text() | st.text(alphabet='ab"+-*01. :id') | ANYTHING,
        "cursor": st.text() | ANYTHING,
        "like": st.lists(st.sampled_from(["red", "blue", "nothing"]) | st.text()) | ANYTHING,
        "unlike": st.lists(st.sampled_from(["red", "blue", "nothing"]) | st.text()) | ANYTHING,
        "match": st.sampled_from(["vector", "words", "hybrid"]) | ANYTHING,
        "facets": st.lists(st.sampled_from(["tags", "year"]) | ANYTHING) | ANYTHING,
        "min_confidence": st.floats() | ANYTHING,
        "group": st.booleans() | ANYTHING,
    },
)
PARAMETER = st.sampled_from(
    ["q", "k", "offset", "filter", "query", "like", "match", "facets", "min_confidence", "group"]
)
quietly = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def is_answered_properly(answer: Answer) -> None:
    assert answer.status in (200, 400, 404, 405, 413, 415, 422)
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text or answer.status == 200
    assert answer.status == 200 or answer.body["error"]["message"]


@quietly
@given(st.text() | ANYTHING.map(json.dumps) | ALMOST.map(json.dumps))
def test_no_body_gives_a_500(body: str) -> None:
    is_answered_properly(invoke(event("POST", "/search", body=body)))


@quietly
@given(st.lists(ALMOST | ANYTHING, max_size=4).map(lambda searches: {"searches": searches}) | ANYTHING)
def test_no_batch_gives_a_500(body: Any) -> None:
    answer = post(json.dumps(body), "/search/batch")
    is_answered_properly(answer)
    if answer.status == 200:
        assert len(answer.body["answers"]) == len(body["searches"])


@quietly
@given(st.binary())
def test_no_bytes_give_a_500(body: bytes) -> None:
    is_answered_properly(post(base64.b64encode(body).decode(), isBase64Encoded=True))


@quietly
@given(st.dictionaries(PARAMETER | st.text(), st.text() | st.lists(st.text(), min_size=1)))
def test_no_query_string_gives_a_500(query: dict[str, Any]) -> None:
    is_answered_properly(invoke(event("GET", "/search", query)))
    is_answered_properly(invoke(event("GET", "/images/red/similar", query)))


@quietly
@given(st.text(), st.sampled_from(["/", "/images/", "/images/x/", "/search"]), st.sampled_from([quote, str]))
def test_no_path_gives_a_500(path: str, start: str, encode: Callable[[str], str]) -> None:
    is_answered_properly(invoke(event("GET", start + encode(path))))


@quietly
@given(ANYTHING | ALMOST | st.fixed_dictionaries({"query": ANYTHING, "input_type": ANYTHING}))
def test_no_direct_invocation_gives_a_500(event: object) -> None:
    if not (isinstance(event, dict) and "httpMethod" in event):
        assert invoke_directly(event)["status_code"] in (200, 400, 404, 413, 415, 422)
