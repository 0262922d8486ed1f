"""What the soak (benchmarks/scorecard/soak) judges by: the truth, what is a right answer, and when a search is well."""

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scorecard.mix import SHARES, Answer, Ask, K, Mix, improper, put, server_timing
from benchmarks.scorecard.pictures import INFO, Picture
from benchmarks.scorecard.soak.report import Findings, Phase, recovered, rows, table
from benchmarks.scorecard.soak.truth import Difference, Truth
from benchmarks.scorecard.soak.writer import as_part, marker, parts
from imagesearch.index import open_index
from imagesearch.index.base import Action, Delete, Upsert
from imagesearch.parts import read_part
from imagesearch.records import ImageMetadata

VECTOR = np.eye(1, INFO.embed_dim, dtype=np.float32)[0]
PHOTOS = Path(__file__).parents[2] / "models" / "tiny" / "photos"
PICTURES = tuple(
    Picture(PHOTOS / f"{name}.webp", name, ("animal", name), "brown", VECTOR) for name in ("cat", "dog-face", "ant")
)


def upsert(id: str, version: int) -> Upsert:
    return Upsert(id, version, VECTOR, ImageMetadata(uri=f"file:///{id}"))


def test_differences_are_told_apart() -> None:
    truth = Truth()
    truth.add([upsert("a", 1), upsert("b", 1), upsert("c", 1), Delete("d", 2)])
    truth.add([upsert("b", 2), Delete("c", 2), upsert("d", 1)])
    assert truth.compare([("a", 1), ("b", 2)]) == Difference([], [], [])
    assert truth.compare([("b", 1), ("c", 1), ("x", 1)]) == Difference(["a"], ["c", "x"], ["b"])
    assert [truth.knows(id) for id in "abcdx"] == [True, True, True, True, False]


actions = st.builds(
    lambda id, version, delete: Delete(id, version) if delete else upsert(id, version),
    st.sampled_from("abc"),
    st.integers(1, 9),
    st.booleans(),
)


@given(st.lists(actions, max_size=30, unique_by=lambda action: (action.id, action.version)), st.randoms())
def test_the_order_of_parts_does_not_matter(some: list[Action], shuffle: random.Random) -> None:
    one, other = Truth(), Truth()
    one.add(some)
    other.add(shuffle.sample(some, len(some)))
    assert one.versions == other.versions


def test_the_truth_is_what_an_index_makes_of_the_parts() -> None:
    truth, index = Truth(), open_index("duckdb://", INFO.fingerprint, INFO.embed_dim, "lucene")
    some = list(itertools.islice(parts(PICTURES), 12))
    for part in some:
        truth.add(part)
    stale = 0
    for part in [*some, *some[:3]]:
        read = read_part(as_part(part)).actions
        assert [(type(a), a.id, a.version) for a in read] == [(type(a), a.id, a.version) for a in part]
        stale += index.bulk(read).stale
    assert stale
    assert truth.compare(index.versions()) == Difference([], [], [])
    assert {marker(number) for number in range(12)} <= truth.versions.keys()


def answer(ended: float, status: int = 200, problem: str = "") -> Answer:
    return Answer("text", ended - 0.5, ended, status, problem, {})


def test_a_search_is_well_when_so_many_answers_in_a_row_are_right() -> None:
    answers = [
        answer(1),
        answer(2),
        answer(3, 503),
        answer(4),
        answer(5),
        answer(6, 200, "wrong"),
        answer(8),
        answer(7),
    ]
    assert recovered(answers, 0, 1) == 1
    assert recovered(answers, 2.5, 1) == 1.5
    assert recovered(answers, 2.5, 2) == 2.5
    assert recovered(answers, 5.5, 2) == 2.5
    assert recovered(answers, 2.5, 3) is None


def hits(*ids: str, tags: tuple[str, ...] = ("animal",)) -> dict[str, Any]:
    return {"hits": [{"id": id, "tags": [*tags]} for id in ids]}


@pytest.fixture(scope="module")
def asks() -> dict[str, Ask]:
    """A request of each kind."""
    found: dict[str, Ask] = {}
    for ask in Mix(PICTURES, lambda picture: picture.title, lambda id: id.startswith(("cat", "dog", "x")), seed=1):
        found.setdefault(ask.kind, ask)
        if len(found) == len(SHARES):
            return found
    raise AssertionError


FULL = [f"x{number}" for number in range(K)]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (hits(*FULL), ""),
        (hits(*FULL[1:]), "19 hits instead of 20"),
        (hits(), "0 hits"),
        ({}, "0 hits"),
        (hits(*FULL, "x"), "21 hits"),
        (hits(*FULL[1:], "y"), "unknown id: y"),
        (hits(*FULL[1:], "x1"), "an id twice"),
    ],
)
def test_answers_are_right_or_it_is_told_what_is_wrong(
    asks: dict[str, Ask], body: dict[str, Any], problem: str
) -> None:
    for kind in ("text", "repeated text", "hybrid", "image", "similar"):
        told = asks[kind].check(body)
        assert problem in told if problem else not told


def test_answers_to_filters_and_of_ids_are_checked(asks: dict[str, Ask]) -> None:
    assert asks["filter"].body is not None
    tag = asks["filter"].body["filter"]["tags"]
    assert asks["filter"].check(hits("x", "x1", "x2", tags=(tag, "y"))) == ""
    assert "hits instead of" in asks["filter"].check(hits())
    assert f"without the tag {tag}" in asks["filter"].check(hits("x", "x1", "x2", tags=("y",)))
    itself = asks["similar"].path.split("/")[2]
    known = Mix(PICTURES, lambda picture: "cat", lambda _: True, seed=1)
    similar = next(ask for ask in known if ask.kind == "similar")
    assert "the image itself" in similar.check(hits(*FULL[1:], "cat"))
    document = asks["document"]
    assert document.check({"id": document.path.rpartition("/")[2]}) == ""
    assert "another image" in document.check({"id": "?"})
    assert itself in {picture.title for picture in PICTURES}


@pytest.mark.parametrize(
    ("status", "body", "proper"),
    [
        (503, {"error": {"code": "index_unavailable", "message": "try again later"}}, True),
        (429, {"error": {"code": "index_overloaded", "message": "try again in a second"}}, True),
        (503, {"message": "Service Unavailable"}, False),
        (503, [], False),
        (500, {"error": {"code": "internal_error", "message": "in the log"}}, False),
        (404, {"error": {"code": "not_found", "message": "no such image"}}, False),
    ],
)
def test_only_errors_that_a_client_can_make_something_of_are_proper(status: int, body: Any, proper: bool) -> None:
    assert bool(improper(status, body)) is not proper


def test_what_becomes_of_a_request_is_told(search_api: Any, asks: dict[str, Ask]) -> None:
    header = {"Server-Timing": "encode;dur=1.5, search;dur=20.0"}
    search_api.reply(body=hits(*FULL), headers=header).reply(503, {"error": {"code": "a", "message": "b"}})
    search_api.reply(body=b"<html>").reply(0)
    with urllib3.PoolManager(retries=False) as pool:
        right, away, page, nothing = (put(pool, search_api.url, asks["text"]) for _ in range(4))
    assert (right.status, right.problem, right.parts) == (200, "", {"encode": 1.5, "search": 20.0})
    assert (away.status, away.problem, page.problem) == (503, "", "no JSON")
    assert nothing.status == 0
    assert "no answer" in nothing.problem
    assert server_timing("") == {}


def findings(*answers: Answer, **changes: Any) -> Findings:
    found = Findings(
        answers=list(answers),
        phases=[Phase("calm", 0, 10), Phase("kill", 10, 20, answered=12)],
        delays={5: 2.0},
        written={5: 1.0},
        drained=1.0,
    )
    return replace(found, **changes)


WELL = [answer(second) for second in range(1, 30)]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda: findings(*WELL), ""),
        (lambda: findings(*WELL, answer(15.2, 503)), ""),
        (lambda: findings(*WELL, difference=Difference(["a"], [], [])), "1 documents lost: a"),
        (lambda: findings(*WELL, difference=Difference([], ["a"], [])), "1 documents too many: a"),
        (lambda: findings(*WELL, difference=Difference([], [], ["a"])), "1 documents outdated: a"),
        (lambda: findings(*WELL, answer(15.2, 500, "status 500")), "1 answers: status 500"),
        (lambda: findings(*WELL, dead=1), "1 parts were given up"),
        (lambda: findings(*WELL, drained=None), "the queue was never empty"),
        (lambda: findings(*WELL, unseen=[7]), "never found: [7]"),
        (lambda: findings(*WELL[:18]), "after the kill, the search was never well again"),
    ],
)
def test_whatever_must_not_be_is_a_problem(change: Callable[[], Findings], problem: str) -> None:
    problems = list(change().problems())
    assert [problem] == [problem if problem in one else one for one in problems] if problem else not problems


def test_the_report_has_the_figures() -> None:
    found = findings(*WELL, answer(15.2, 503))
    figures = {row.key: row.ours for row in rows(found)}
    assert figures["soak-errors-kill"] == pytest.approx(100 / 12)
    assert figures["soak-errors-calm"] == figures["soak-lost"] == 0
    assert figures["soak-first-kill"] == 0
    assert figures["soak-recovery-kill"] == 13  # after the failure at 15.2, from 16 to 25
    assert json.dumps(figures)
    assert table(found).row_count == 2
