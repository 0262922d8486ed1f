"""The client of the Streamlit app against a real server: what it waits for, and what it tells."""

import base64
import time
from email.utils import formatdate
from typing import Any

import pytest

import streamlit_client
from imagesearch.errors import ApiError, InvalidInput
from streamlit_client import Hit, SearchClient

FOUND = {"hits": [{"id": "a.jpg", "score": 0.5, "title": "A", "news": "of a later version"}], "took": {"encode_ms": 1}}


def error(code: str, message: str = "because") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def search(api: Any, **options: Any) -> tuple[list[Hit], list[tuple[int | None, float]]]:
    """What is found, and the waits before it."""
    waits: list[tuple[int | None, float]] = []
    hits = SearchClient(api.url, **options).search(
        {"text": "dog", "k": 3}, lambda error, seconds: waits.append((error.status, seconds))
    )
    return hits, waits


def refused(api: Any, patience: float = 60) -> ApiError:
    with pytest.raises(ApiError) as raised:
        search(api, patience=patience)
    return raised.value


def test_a_search_sends_the_body_and_the_key_and_reads_the_hits(search_api: Any) -> None:
    search_api.reply(body=FOUND)
    search_api.url += "/prod/"
    assert search(search_api, api_key="open-sesame") == ([Hit(id="a.jpg", score=0.5, title="A")], [])
    ((path, headers, body),) = search_api.requests
    assert (path, headers["x-api-key"], body) == ("/prod/search", "open-sesame", {"text": "dog", "k": 3})


def test_without_a_key_none_is_sent(search_api: Any) -> None:
    assert search(search_api.reply(body={"hits": []})) == ([], [])
    assert "x-api-key" not in search_api.requests[0][1]


@pytest.mark.parametrize("status", [503, 504])
def test_a_function_that_warms_up_is_waited_for_a_little_longer_each_time(search_api: Any, status: int) -> None:
    search_api.reply(status, error("unavailable")).reply(status, b"<html>").reply(body=FOUND)
    started = time.monotonic()
    hits, waits = search(search_api)
    assert [hit.id for hit in hits] == ["a.jpg"]
    assert [told for told, _ in waits] == [status, status]
    assert 0.5 <= waits[0][1] <= 1 <= waits[1][1] <= 1.5
    assert time.monotonic() - started >= sum(seconds for _, seconds in waits)
    assert [body for _, _, body in search_api.requests] == [{"text": "dog", "k": 3}] * 3


@pytest.mark.parametrize("retry_after", ["2", "in 2 seconds"])
def test_busy_is_waited_for_as_long_as_the_answer_asks(search_api: Any, retry_after: str) -> None:
    when = retry_after if retry_after.isdigit() else formatdate(time.time() + 3, usegmt=True)  # whole seconds
    search_api.reply(429, error("too_many_requests"), {"Retry-After": when}).reply(body=FOUND)
    hits, ((status, seconds),) = search(search_api)
    assert (len(hits), status) == (1, 429)
    assert 1.5 <= seconds <= 3


def test_a_retry_after_that_is_none_is_passed_over(search_api: Any) -> None:
    search_api.reply(429, error("busy"), {"Retry-After": "soon"}).reply(body=FOUND)
    assert search(search_api)[1][0][1] <= 1


def test_an_answer_that_asks_for_more_patience_than_there_is_ends_it_at_once(search_api: Any) -> None:
    refusal = refused(search_api.reply(429, error("too_many_requests"), {"Retry-After": "3600"}))
    assert (refusal.status, refusal.retry_after) == (429, 3600)
    assert len(search_api.requests) == 1


def test_patience_ends(search_api: Any) -> None:
    started = time.monotonic()
    refusal = refused(search_api.reply(503, error("index_unavailable", "the index is away")), patience=2)
    assert (refusal.status, refusal.code, str(refusal)) == (503, "index_unavailable", "the index is away")
    assert 2 <= len(search_api.requests) <= 4
    assert time.monotonic() - started < 4


def test_a_used_up_quota_is_not_waited_for(search_api: Any) -> None:
    assert refused(search_api.reply(429, error("quota_exceeded"))).code == "quota_exceeded"
    assert len(search_api.requests) == 1


def test_a_connection_that_breaks_is_made_again(search_api: Any) -> None:
    search_api.reply(0).reply(body=FOUND)
    hits, waits = search(search_api)
    assert (len(hits), [status for status, _ in waits]) == (1, [None])


def test_an_answer_that_breaks_off_is_asked_for_again(search_api: Any) -> None:
    search_api.reply(body=b'{"hits"', headers={"Content-Length": "5000"}).reply(body=FOUND)
    assert len(search(search_api)[0]) == 1


def test_an_answer_that_does_not_come_is_asked_for_again(search_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamlit_client, "TIMEOUTS", (1, 0.3))
    search_api.reply(after=1).reply(body=FOUND)
    hits, waits = search(search_api)
    assert (len(hits), [status for status, _ in waits]) == (1, [None])


def test_where_nothing_listens_the_reason_is_told() -> None:
    with pytest.raises(ApiError, match=r"http://127\.0\.0\.1:9/search doesn't answer") as raised:
        SearchClient("http://127.0.0.1:9", patience=0).search({}, lambda *_: None)
    assert (raised.value.status, raised.value.passing) == (None, True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 422, 500, 502])
def test_a_refusal_is_told_as_the_api_words_it_and_not_tried_again(search_api: Any, status: int) -> None:
    refusal = refused(search_api.reply(status, error("some_code", "what would be right")))
    assert (refusal.status, refusal.code, str(refusal)) == (status, "some_code", "what would be right")
    assert len(search_api.requests) == 1


@pytest.mark.parametrize("body", [b"", b"<html>no</html>", [], {"message": "Forbidden"}, {"error": "Forbidden"}])
def test_a_refusal_in_a_form_of_its_own_is_told_by_its_status(search_api: Any, body: Any) -> None:
    assert str(refused(search_api.reply(403, body))) == "the answer had status 403 Forbidden"


@pytest.mark.parametrize("body", [b"<html>Hello</html>", [], {}, {"hits": [{"title": "no id"}]}])
def test_an_answer_of_something_else_than_the_api_asks_for_the_endpoint(search_api: Any, body: Any) -> None:
    assert "is the endpoint right?" in str(refused(search_api.reply(body=body)))


def test_a_redirect_is_not_followed_with_the_key(search_api: Any) -> None:
    refusal = refused(search_api.reply(302, headers={"Location": f"{search_api.url}/elsewhere"}))
    assert str(refusal).endswith(f"has moved to {search_api.url}/elsewhere")
    assert len(search_api.requests) == 1


def test_a_certificate_that_nobody_vouches_for_is_not_tried_again(search_api: Any) -> None:
    client = SearchClient(search_api.url.replace("http:", "https:"))  # not TLS at all
    with pytest.raises(ApiError, match="no certificate that can be trusted"):
        client.search({}, lambda *_: pytest.fail("waited"))


@pytest.mark.parametrize(
    ("endpoint", "key", "says"),
    [
        ("", "", "is no https:// URL"),
        ("abc.execute-api.eu-west-1.amazonaws.com/prod", "", "is no https:// URL"),
        ("file:///etc/passwd", "", "is no https:// URL"),
        ("http://search.example.com/prod", "key", "use https://search.example.com"),
        ("https://search.example.com", "ké\ny", "copy it anew"),
    ],
)
def test_an_endpoint_or_a_key_that_can_not_be_is_refused(endpoint: str, key: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        SearchClient(endpoint, key)


@pytest.mark.parametrize(
    ("known", "name", "link"),
    [
        ({"title": "T", "description": "D"}, "T", None),
        ({"description": "D", "uri": "s3://b/dir/a.jpg"}, "D", None),
        ({"uri": "s3://b/dir/a.jpg", "url": "https://b/a.jpg?x=1"}, "a.jpg", "https://b/a.jpg?x=1"),
        ({"url": "/etc/passwd"}, "1", None),
        ({"url": "javascript:alert(1)"}, "1", None),
        ({"url": "data:" + base64.b64encode(b"x").decode()}, "1", None),
    ],
)
def test_a_hit_has_a_name_and_perhaps_a_link(known: dict[str, str], name: str, link: str | None) -> None:
    hit = Hit(id="1", score=0, **known)
    assert (hit.name, hit.link) == (name, link)
