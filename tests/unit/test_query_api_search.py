"""What a search can do besides finding what is nearest to one thing, through the Lambda handler."""

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from functions.query import app
from imagesearch import cursor, rest
from imagesearch.errors import IndexUnavailable, UnreachableUrl
from imagesearch.fetch import Fetcher
from imagesearch.index.base import Document
from imagesearch.records import ImageMetadata
from imagesearch.service import Service
from imagesearch.statistics import CollectionStatistics

from .conftest import MemoryIndex, embedding
from .query_events import BLUE, Answer, get, post

pytestmark = pytest.mark.usefixtures("service")


def set_up(monkeypatch: pytest.MonkeyPatch, service: Service, **changes: Any) -> None:
    """Have the function answer with `service`, changed so."""
    changed = replace(service, **changes)
    monkeypatch.setattr(app, "service", lambda: changed)


def message(answer: Answer) -> str:
    return str(answer.body["error"]["message"])


# --- Terms -----------------------------------------------------------------------------------------------------------


def test_terms_are_added_up() -> None:
    assert post({"terms": [{"text": "red"}, {"text": "green"}], "k": 1}).titles == ["yellow"]
    assert post({"terms": [{"text": "red"}, {"image": BLUE}], "k": 3}).titles == ["grey", "red", "blue"]
    assert post({"terms": [{"text": "yellow"}, {"text": "red", "weight": -0.9}], "k": 1}).titles == ["green"]


def test_a_weight_says_how_much_a_term_counts() -> None:
    for weight, first in ((10, "green"), (0.1, "red")):
        answer = post({"terms": [{"text": "red"}, {"text": "green", "weight": weight}], "k": 2})
        assert first in answer.titles
        assert answer.body["hits"][0]["score"] > 0.9


def test_an_indexed_image_may_be_a_term_and_is_not_among_the_results() -> None:
    answer = post({"terms": [{"id": "red"}, {"text": "green"}]})
    assert answer.titles[0] == "yellow"
    assert "red" not in answer.titles


def test_the_images_of_all_urls_are_fetched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def fetch(_: Fetcher, url: str) -> bytes:
        fetched.append(url)
        if url.endswith("gone.png"):
            raise UnreachableUrl("the URL answers with status 404", field="image_url")
        return app.api.parse(app.api.SearchTerm, {"image": BLUE}).image or b""

    monkeypatch.setattr(Fetcher, "fetch", fetch)
    urls = [f"https://photos.example/{name}.png" for name in ("a", "b", "a")]
    assert post({"terms": [{"image_url": url} for url in urls], "k": 1}).titles == ["blue"]
    assert sorted(fetched) == urls[:2]
    terms = [{"text": "red"}, {"image_url": "https://photos.example/gone.png"}]
    assert post({"terms": terms}).problem == (422, "unreachable_url", "image_url")


def test_a_compact_query_is_terms_in_one_line() -> None:
    assert post({"query": "red +green", "k": 1}).titles == ["yellow"]
    assert post({"query": "yellow -0.9*red", "k": 1}).titles == ["green"]
    assert get("/search", query="id:red +green", k="1").titles == ["yellow"]


def test_text_is_taken_literally() -> None:
    for answer in (post({"text": "red +green"}), get("/search", q="red +green")):
        assert answer.titles[0] == "grey"  # what the encoder makes of words that it doesn't know


def test_feedback_moves_the_query() -> None:
    assert post({"text": "red", "k": 3}).titles == ["red", "yellow", "grey"]
    liked = post({"text": "red", "like": ["ブルー/50%41.jpg"], "k": 4})
    assert liked.titles == ["grey", "red", "yellow", "green"]
    unliked = post({"text": "grey", "unlike": ["red"]})
    assert "red" not in unliked.titles
    blue = unliked.body["hits"][unliked.titles.index("blue")]["score"]
    assert blue > post({"text": "grey"}).body["hits"][-1]["score"] + 0.04


def test_feedback_is_a_query_by_itself() -> None:
    answer = post({"like": ["red", "a/b c+d.jpg"], "k": 1})
    assert answer.titles == ["yellow"]
    assert get("/search", like=["red", "a/b c+d.jpg"], k="1").titles == ["yellow"]
    assert get("/search", q="red", like="a/b c+d.jpg", unlike="ブルー/50%41.jpg", k="1").titles == ["yellow"]


# --- Words -----------------------------------------------------------------------------------------------------------


def test_words_find_what_has_them_in_its_title_or_tags() -> None:
    answer = post({"text": "blue cold", "match": "words"})
    assert answer.titles == ["blue", "green", "grey"]
    assert [hit["score"] for hit in answer.body["hits"]] == [2, 1, 1]
    assert post({"text": "blue cold", "match": "words", "k": 1, "offset": 1}).titles == ["green"]


def test_hybrid_fuses_words_and_vectors() -> None:
    by_vector = post({"text": "red"}).titles
    by_words = post({"text": "red", "match": "words"}).titles
    assert (by_vector, by_words) == (["red", "yellow", "grey", "green", "blue"], ["red"])
    answer = post({"query": "grey +cold", "match": "hybrid", "k": 3})
    assert answer.titles[0] == "grey"
    assert {*answer.titles} == {"grey", "green", "blue"}  # cold, and not nearest by colour
    assert answer.body["hits"][0]["score"] == pytest.approx(2 / 61)


def test_unwanted_words_are_not_looked_for() -> None:
    answer = post({"query": "blue -cold", "match": "words"})
    assert answer.titles == ["blue"]


# --- Facets, confidence, groups --------------------------------------------------------------------------------------


def test_facets_count_values_over_what_is_found() -> None:
    answer = post({"text": "red", "facets": ["tags", "year", "tags"], "k": 1})
    counts = [{"value": "cold", "count": 3}, {"value": "warm", "count": 2}]
    assert answer.body["facets"] == {"tags": counts, "year": []}
    filtered = get("/search", q="red", facets=["tags", "year"], filter='{"tags": "warm"}')
    assert filtered.body["facets"] == {"tags": counts[1:], "year": []}
    assert post({"text": "red"}).body["facets"] == {}


def test_facets_of_words_count_what_has_the_words() -> None:
    answer = post({"text": "red", "match": "words", "facets": ["tags"]})
    assert answer.body["facets"] == {"tags": [{"value": "warm", "count": 1}]}
    answer = post({"text": "nothing", "match": "words", "facets": ["tags"]})
    assert (answer.titles, answer.body["facets"]) == ([], {"tags": []})


STATISTICS = CollectionStatistics(10, np.full(3, 0.3, dtype=np.float32), np.eye(3, dtype=np.float32) * 0.04)
"""Of ten images, whose cosines have a mean of 0.3 and a deviation of 0.2 along each axis."""


def test_hits_tell_how_sure_they_are_where_the_collection_is_known(
    monkeypatch: pytest.MonkeyPatch, service: Service
) -> None:
    assert {hit["confidence"] for hit in post({"text": "red"}).body["hits"]} == {None}
    set_up(monkeypatch, service, statistics=lambda: STATISTICS)
    sure = [hit["confidence"] for hit in post({"text": "red"}).body["hits"]]
    assert sure == sorted(sure, reverse=True)
    assert sure[0] > 0.99
    assert sure[-1] < 0.01
    words = post({"text": "red", "match": "words"}).body["hits"]
    assert [hit["confidence"] for hit in words] == [None]
    hybrid = post({"text": "red", "match": "hybrid"}).body["hits"]
    assert hybrid[0]["confidence"] == pytest.approx(sure[0])


def test_what_is_not_sure_enough_is_left_out(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    set_up(monkeypatch, service, statistics=lambda: STATISTICS)
    answer = post({"text": "red", "min_confidence": 0.9})
    assert answer.titles == ["red"]
    assert answer.body["no_good_match"] is False
    nothing = get("/search", query="red +green +blue -0.9*grey", min_confidence="1")
    assert nothing.titles == []
    assert nothing.body["no_good_match"] is True


def test_without_statistics_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    for statistics in (None, lambda: None):
        set_up(monkeypatch, service, statistics=statistics)
        answer = post({"text": "red", "min_confidence": 1})
        assert len(answer.titles) == 5
        assert answer.body["no_good_match"] is False


def test_an_empty_index_has_no_bad_matches_either(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    set_up(monkeypatch, service, statistics=lambda: STATISTICS)
    answer = post({"text": "red", "filter": {"tags": "nothing"}, "min_confidence": 1})
    assert (answer.titles, answer.body["no_good_match"]) == ([], False)


def test_terms_are_balanced_by_the_statistics(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    mixed = {"terms": [{"text": "red"}, {"text": "green"}], "k": 2}
    assert post(mixed).body["hits"][0]["score"] == pytest.approx(1)
    spread = np.diag([0.0001, 0.01, 0.01]).astype(np.float32)
    set_up(monkeypatch, service, statistics=lambda: replace(STATISTICS, covariance=spread))
    answer = post(mixed)  # red varies a tenth as much, and is scaled up
    assert answer.titles == ["red", "yellow"]


def add(index: MemoryIndex, id: str, colour: tuple[int, int, int]) -> None:
    metadata = ImageMetadata(uri=f"https://photos.example/{id}", title=id)
    index.documents[id] = Document(id, 1, embedding(colour), metadata)


def test_near_duplicates_stand_behind_the_best_of_them(index: MemoryIndex) -> None:
    for number in range(30):
        add(index, f"red-{number:02}", (250, number, 0))
    answer = post({"text": "red", "group": True, "k": 2})
    assert answer.titles == ["red", "yellow"]
    first, second = answer.body["hits"]
    assert first["similar_count"] == 30
    assert len(first["similar"]) == 24
    assert first["similar"][0] == {
        "id": "red-00",
        "score": pytest.approx(1),
        "url": "https://photos.example/red-00",
    }
    assert (second["similar"], second["similar_count"]) == ([], 0)
    assert len(post({"text": "red", "k": 100}).titles) == 35
    assert get("/search", q="red", group="true", k="1", offset="1").titles == ["yellow"]


# --- Pages -----------------------------------------------------------------------------------------------------------


def pages(first: Answer, **beside: Any) -> list[Answer]:
    found = [first]
    while following := found[-1].body["cursor"]:
        found.append(post({"cursor": following, **beside}))
        assert found[-1].status == 200, found[-1].body
    return found


def test_a_cursor_gives_the_next_page_until_there_is_none() -> None:
    first = post({"text": "red", "k": 2})
    turned = pages(first)
    assert [answer.titles for answer in turned] == [["red", "yellow"], ["grey", "green"], ["blue"]]
    assert [(answer.body["offset"], answer.body["k"]) for answer in turned] == [(0, 2), (2, 2), (4, 2)]
    assert post({"text": "red", "k": 5}).body["cursor"] is None
    assert post({"text": "red", "k": 2, "offset": 4}).body["cursor"] is None


def test_pages_have_what_one_page_has(monkeypatch: pytest.MonkeyPatch, service: Service, index: MemoryIndex) -> None:
    set_up(monkeypatch, service, statistics=lambda: STATISTICS)
    for name in ("red", "blue"):
        add(index, f"another {name}", {"red": (255, 1, 0), "blue": (0, 1, 255)}[name])
    for query in (
        {"text": "red"},
        {"text": "red", "group": True},
        {"text": "red cold", "match": "words"},
        {"text": "red", "match": "hybrid", "filter": {"not": {"tags": "warm"}}},
        {"text": "red", "min_confidence": 0.001},
        {"text": "red", "offset": 1},
    ):
        whole = post({**query, "k": 100}).body["hits"]
        paged = [hit for answer in pages(post({**query, "k": 2})) for hit in answer.body["hits"]]
        assert len(whole) > 2
        for hit in (*whole, *paged):
            hit["confidence"] = hit["confidence"] and pytest.approx(hit["confidence"], abs=1e-6)
            for scored in (hit, *hit["similar"]):
                scored["score"] = pytest.approx(scored["score"], rel=1e-5, abs=1e-7)
        assert paged == whole


def test_another_size_of_page_may_be_asked_for_with_a_cursor() -> None:
    first = post({"text": "red", "k": 1})
    second = post({"cursor": first.body["cursor"], "k": 3})
    assert (second.titles, second.body["k"]) == (["yellow", "grey", "green"], 3)
    assert post({"cursor": second.body["cursor"]}).titles == ["blue"]


def test_what_is_written_and_deleted_meanwhile_makes_no_holes_and_no_repeats(index: MemoryIndex) -> None:
    first = post({"text": "red", "k": 1})
    add(index, "new", (255, 0, 0))
    del index.documents["yellow/similar"]
    following = pages(first)[1:]
    assert [answer.titles for answer in following] == [["grey"], ["green"], ["blue"]]
    for id in ("a/b c+d.jpg", "ブルー/50%41.jpg"):
        del index.documents[id]
    last = post({"cursor": following[0].body["cursor"]})
    assert (last.titles, last.body["cursor"]) == ([], None)


def test_the_next_of_a_group_stands_for_one_that_was_deleted(index: MemoryIndex) -> None:
    add(index, "yellow too", (254, 255, 0))
    first = post({"text": "red", "k": 1, "group": True})
    del index.documents["yellow too"]
    assert post({"cursor": first.body["cursor"], "k": 1}).titles == ["yellow"]
    (hit,) = post({"cursor": post({"text": "yellow", "k": 1, "offset": 1}).body["cursor"], "k": 1}).body["hits"]
    assert hit["similar_count"] == 0


def test_a_page_is_no_new_search(searcher: Any, index: MemoryIndex) -> None:
    first = post({"text": "red", "k": 1})
    seen, searches = list(searcher.encoder.seen), list(index.searches)
    assert post({"cursor": first.body["cursor"]}).body["took"]["encode_ms"] == 0
    assert (searcher.encoder.seen, index.searches) == (seen, searches)


def test_a_cursor_that_is_none_is_refused_and_says_why(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    text = post({"text": "red", "k": 1}).body["cursor"]
    broken = ("A" if text[50] != "A" else "B").join((text[:50], text[51:]))
    for bad, why in (("nonsense!", "no cursor"), (broken, "was changed"), (text[:-8], "was changed")):
        answer = post({"cursor": bad})
        assert answer.problem == (400, "invalid_input", "cursor")
        assert why in message(answer)
    other = cursor.seal(cursor.unseal(text, service.secret, "c0104"), service.secret, "another")
    assert "another model" in message(post({"cursor": other}))
    now = time.time()
    monkeypatch.setattr(cursor.time, "time", lambda: now + 3_601)
    assert "has expired" in message(post({"cursor": text}))
    monkeypatch.undo()
    set_up(monkeypatch, service, secret=b"another secret")
    assert "comes from another server" in message(post({"cursor": text}))


@pytest.mark.parametrize(
    "beside",
    [
        {"text": "red"},
        {"terms": [{"text": "blue"}]},
        {"query": "blue"},
        {"like": ["red"]},
        {"filter": {}},
        {"offset": 2},
        {"match": "words"},
        {"facets": ["tags"]},
        {"group": True},
        {"min_confidence": 0},
    ],
)
def test_a_cursor_stands_alone(beside: dict[str, Any]) -> None:
    answer = post({"cursor": post({"text": "red", "k": 1}).body["cursor"], **beside})
    assert answer.problem == (400, "invalid_input", None)
    assert f"leave out {next(iter(beside))}" in message(answer)


# --- Batches ---------------------------------------------------------------------------------------------------------


def batch(*searches: Any, **changes: Any) -> Answer:
    return post({"searches": list(searches), **changes}, "/search/batch")


def test_a_batch_answers_each_of_its_searches() -> None:
    searches = [
        {"text": "red", "k": 2},
        {"image": BLUE, "k": 1},
        {"id": "red", "k": 2},
        {"query": "red +green", "k": 1, "facets": ["tags"]},
        {"text": "blue", "match": "hybrid", "k": 3},
        {"text": "cold", "match": "words", "offset": 1},
        {"like": ["red"], "group": True, "k": 2},
    ]
    answer = batch(*searches)
    assert answer.status == 200
    assert answer.body["took"].keys() == {"encode_ms", "search_ms", "sign_ms"}
    for search, one in zip(searches, answer.body["answers"], strict=True):
        alone = post(search).body
        assert {**one, "cursor": alone["cursor"]} == {name: alone[name] for name in one}
        assert one["cursor"] is None


def test_a_batch_is_one_batch_of_texts_and_one_search(searcher: Any, index: MemoryIndex) -> None:
    batch({"text": "red"}, {"text": "red"}, {"query": "red -blue"}, {"image": BLUE}, {"image": BLUE, "k": 1})
    assert searcher.encoder.batches == [["red", "blue"]]
    assert searcher.encoder.seen == ["red", "blue", "pixels"]
    assert index.searches == [5]


def test_a_bad_search_costs_a_batch_only_its_own_answer() -> None:
    bad: list[tuple[Any, str, str | None]] = [
        ({"text": "red", "id": "red"}, "invalid_input", None),
        ({"nonsense": 1}, "invalid_input", "nonsense"),
        ({"text": "red", "k": 101}, "invalid_input", "k"),
        ({"text": "red", "filter": {"nonsense": 1}}, "invalid_filter", "filter"),
        ({"text": "red", "filter": {"created_at": {"gte": "soon"}}}, "invalid_filter", "filter.created_at.gte"),
        ({"id": "nothing"}, "not_found", None),
        ({"query": 'red "'}, "invalid_input", "query"),
        ({"terms": [{"text": "red", "weight": -1}]}, "invalid_input", "terms"),
        ({"image": "AAAA"}, "invalid_image", None),
        ({"image_url": "http://127.0.0.1/"}, "unreachable_url", "image_url"),
        ({"text": "red", "offset": 9_990}, "invalid_input", None),
        ({"terms": [{"text": "red"}, {"text": "red", "weight": -1}]}, "invalid_input", None),
        ({"cursor": "abc"}, "invalid_input", "cursor"),
    ]
    answer = batch({"text": "red"}, *(search for search, _, _ in bad), {"text": "blue"})
    assert answer.status == 200, answer.body
    first, *rest, last = answer.body["answers"]
    assert (first["hits"][0]["title"], last["hits"][0]["title"]) == ("red", "blue")
    for (search, code, field), one in zip(bad, rest, strict=True):
        assert one.keys() == {"error"}, search
        assert (one["error"]["code"], one["error"].get("field")) == (code, field), search


def test_a_batch_has_from_one_to_a_hundred_searches() -> None:
    red = {"text": "red", "k": 1}
    assert len(batch(*[red] * 100).body["answers"]) == 100
    too_many = batch(*[red] * 101)
    assert too_many.problem == (400, "invalid_input", "searches")
    assert "at most 100" in message(too_many)
    assert batch().problem == (400, "invalid_input", "searches")
    assert post({}, "/search/batch").problem == (400, "invalid_input", "searches")
    assert batch("red").problem[:2] == (400, "invalid_input")
    assert batch(red, k=3).problem == (400, "invalid_input", "k")


def test_a_batch_that_asks_for_too_much_together_is_refused() -> None:
    results = batch(*[{"text": "red", "k": 100}] * 21)
    assert results.problem == (400, "invalid_input", "searches")
    assert "add up to 2,100: at most 2,000" in message(results)
    urls = batch(*[{"image_url": f"https://photos.example/{n}.jpg"} for n in range(17)])
    assert urls.problem == (400, "invalid_input", "searches")
    assert "at most 16" in message(urls)


def test_a_batch_fails_when_the_index_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise IndexUnavailable("gone")

    monkeypatch.setattr(MemoryIndex, "search_many", fail)
    assert batch({"text": "red"}, {"nonsense": 1}).problem == (503, "index_unavailable", None)


# --- What is refused -------------------------------------------------------------------------------------------------

IDS = [f"id {n}" for n in range(51)]


@pytest.mark.parametrize(
    ("body", "field", "why"),
    [
        ({"terms": []}, "terms", "at least 1 item"),
        ({"terms": [{"text": "red"}] * 17}, "terms", "at most 16 items"),
        ({"terms": [{}]}, "terms.0", "exactly one of text, image, image_url and id; there is none"),
        ({"terms": [{"text": "red", "id": "red"}]}, "terms.0", "not text and id"),
        ({"terms": [{"text": "red", "weight": 0}]}, "terms.0", "a weight of 0 says nothing: leave the term out"),
        ({"terms": [{"text": "red", "weight": 1e9}]}, "terms.0.weight", "less than or equal to 10"),
        ({"terms": [{"text": "red", "weight": -1e9}]}, "terms.0.weight", "greater than or equal to -10"),
        ({"terms": [{"text": "red", "weight": "1"}]}, "terms.0.weight", "valid number"),
        ('{"terms": [{"text": "red", "weight": NaN}]}', None, "isn't JSON"),
        ({"terms": [{"text": "red", "weight": -1}]}, "terms", "all of it is unwanted: add something that is wanted"),
        ({"query": "-red -blue"}, "terms", "all of it is unwanted"),
        ({"terms": [{"text": "red"}, {"text": "red", "weight": -1}]}, None, "cancel each other out: change a weight"),
        ({"terms": [{"text": "red"}], "text": "red"}, None, "not text and terms"),
        ({"query": "red", "like": IDS}, "like", "at most 50 items"),
        ({"unlike": ["red"]}, None, "give exactly one of"),
        ({"query": 'red -"blue'}, "query", "at character 6, this quote is never closed"),
        ({"query": "red 0*blue"}, "query", "at character 5, a weight must be more than 0 and at most 10"),
        ({"query": " ".join(["+red"] * 17)}, "query", "at most 16 items"),
        ({"query": f"id:{'x' * 1_025}"}, "query", "at most 1024 characters"),
        ({"query": " "}, "query", "the query is empty"),
        ({"text": "red", "match": "sounds"}, "match", "'vector', 'words' or 'hybrid'"),
        ({"id": "red", "match": "hybrid"}, "match", "needs words to look for: give a text"),
        ({"like": ["red"], "match": "words"}, "match", "needs words to look for"),
        ({"query": "id:red -blue", "match": "hybrid"}, "match", "needs words to look for"),
        ({"text": "red", "like": ["red"], "match": "words"}, "match", "looks at words alone"),
        ({"terms": [{"text": "red"}, {"image": BLUE}], "match": "words"}, "match", "looks at words alone"),
        ({"text": "red", "facets": ["colour"]}, "facets.0", "'tags', 'color', 'credit'"),
        ({"text": "red", "facets": "tags"}, "facets", "valid list"),
        ({"text": "red", "min_confidence": 1.1}, "min_confidence", "less than or equal to 1"),
        ({"text": "red", "min_confidence": -0.1}, "min_confidence", "greater than or equal to 0"),
        ({"text": "red", "group": "yes"}, "group", "valid boolean"),
        ({"text": "red", "group": True, "offset": 190}, "offset", "grouped among the best 200"),
        ({"text": "red", "filter": {"colour": "red"}}, "filter", "there is no field 'colour'"),
        ({"text": "red", "filter": {"created_at": "yesterday"}}, "filter.created_at", "must be a date such as"),
    ],
)
def test_what_is_not_valid_is_refused_with_what_would_be_right(body: Any, field: str | None, why: str) -> None:
    answer = post(body)
    assert answer.problem[0] == 400, answer.text
    assert answer.problem[2] == field
    assert why in message(answer)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"q": "red", "query": "blue"}, "q"),
        ({"unlike": "red"}, "q"),
        ({"query": "-red"}, "terms"),
        ({"q": "red", "match": "sounds"}, "match"),
        ({"q": "red", "facets": ["tags", "colour"]}, "facets.1"),
        ({"q": "red", "min_confidence": "2"}, "min_confidence"),
        ({"q": "red", "group": "perhaps"}, "group"),
        ({"q": "red", "cursor": "abc"}, "cursor"),
    ],
)
def test_a_query_string_is_refused_in_the_same_way(query: dict[str, Any], field: str) -> None:
    assert get("/search", **query).problem == (400, "invalid_input", field)


@pytest.mark.parametrize(
    "body", [{"like": ["red", "nothing"]}, {"text": "red", "unlike": ["nothing"]}, {"query": "red -id:nothing"}]
)
def test_an_id_that_does_not_exist_is_not_found(body: Any) -> None:
    answer = post(body)
    assert answer.problem == (404, "not_found", None)
    assert "no image has the id 'nothing'" in message(answer)


# --- The answer itself -----------------------------------------------------------------------------------------------


def test_a_header_tells_where_the_time_went() -> None:
    for answer in (post({"text": "red"}), get("/search", q="red"), get("/images/red/similar"), batch({"text": "red"})):
        names = [part.partition(";dur=") for part in answer.headers["Server-Timing"].split(", ")]
        took = answer.body["took"]
        assert {name: float(value) for name, _, value in names} == {
            name: pytest.approx(took[f"{name}_ms"], abs=0.06) for name in ("encode", "search", "sign")
        }


def test_an_answer_that_would_be_too_large_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MAX_ANSWER_BYTES", 1_000)
    answer = post({"text": "red", "k": 5})
    assert answer.problem == (400, "answer_too_large", None)
    assert "ask for fewer results" in message(answer)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# --- As clip-retrieval -----------------------------------------------------------------------------------------------


def knn(**fields: Any) -> Answer:
    nothing = {"text": None, "image": None, "image_url": None, "embedding_input": None}
    options = {
        "deduplicate": True,
        "use_safety_model": True,
        "use_violence_detector": True,
        "indice_name": "laion5B",
        "use_mclip": False,
        "aesthetic_score": 9,
        "aesthetic_weight": 0.5,
        "modality": "image",
        "num_images": 2,
        "num_result_ids": 2,
    }
    return post({**nothing, **options, **fields}, "/knn-service")


def test_clip_retrievals_request_has_clip_retrievals_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = knn(text="red")
    assert answer.body == [
        {"id": "red", "similarity": pytest.approx(1), "url": "https://photos.example/red.jpg", "caption": "red"},
        {
            "id": "yellow/similar",
            "similarity": pytest.approx(0.5**0.5),
            "url": "https://photos.example/yellow.jpg",
            "caption": "yellow",
        },
    ]
    monkeypatch.setattr(Fetcher, "fetch", lambda *_: b"GIF89a")
    assert [hit["id"] for hit in knn(image=BLUE, num_images=1).body] == ["ブルー/50%41.jpg"]
    assert knn(image_url="https://photos.example/a.gif").problem[:2] == (422, "invalid_image")
    assert [hit["id"] for hit in knn(embedding_input=[3, 0.1, 0], text="").body] == ["red", "yellow/similar"]


def test_near_duplicates_are_left_out_where_clip_retrieval_would(index: MemoryIndex) -> None:
    add(index, "red too", (255, 1, 0))
    assert [hit["id"] for hit in knn(text="red").body] == ["red", "yellow/similar"]
    assert [hit["id"] for hit in knn(text="red", deduplicate=False).body] == ["red", "red too"]


@pytest.mark.parametrize(
    ("fields", "field", "why"),
    [
        ({}, None, "exactly one of text, image, image_url and embedding_input; there is none"),
        ({"text": "red", "image": BLUE}, None, "not text and image"),
        ({"text": "red", "modality": "text"}, "modality", "'image'"),
        ({"text": "red", "num_images": 201}, "num_images", "200"),
        ({"embedding_input": [1, 2]}, "vector", "has shape (2,), where this index takes (3,)"),
        ({"embedding_input": [0, 0, 0]}, "vector", "is zero"),
        ({"embedding_input": ["a"]}, "embedding_input.0", "valid number"),
    ],
)
def test_what_clip_retrievals_form_can_not_ask_is_refused(fields: dict[str, Any], field: str | None, why: str) -> None:
    answer = knn(**fields)
    assert answer.problem == (400, "invalid_input", field)
    assert why in message(answer)


def test_a_batch_of_the_examples_is_answered() -> None:
    schemas = get("/openapi.json").body["components"]["schemas"]
    for name, path in (("BatchRequest", "/search/batch"), ("KnnRequest", "/knn-service")):
        for example in schemas[name]["examples"]:
            answer = post(json.dumps(example), path)
            assert answer.status == 200
            assert "error" not in answer.text
