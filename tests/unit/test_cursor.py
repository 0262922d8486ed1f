"""Cursors: what goes in comes out, and nothing else gets in."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesearch.cursor import LIFETIME, Candidate, Cursor, seal, unseal
from imagesearch.errors import InvalidInput

SECRET, OTHER = b"s" * 32, b"t" * 32
CURSOR = Cursor(
    (Candidate((("a/b.jpg", 0.25), ("ブルー.jpg", 0.125)), 0.75), Candidate((("c", -0.5),))), offset=20, k=10
)


def test_what_is_sealed_comes_back() -> None:
    assert unseal(seal(CURSOR, SECRET, "f00d"), SECRET, "f00d") == CURSOR


def test_a_cursor_of_five_hundred_candidates_is_short_enough_to_be_sent_around() -> None:
    candidates = tuple(Candidate(((f"holidays/2024/IMG_{i:04}.jpg", 0.3 - i / 7_000),)) for i in range(500))
    text = seal(Cursor(candidates, 20, 20), SECRET, "0123456789ab")
    assert len(text) < 10_000
    assert text.replace("-", "").replace("_", "").isalnum()  # safe in a URL, and in JSON


def test_scores_are_as_exact_as_they_are_in_the_index() -> None:
    for score in (1 / 3, -0.9999999, 1 / 61 + 1 / 62, 17.123456):
        (candidate,) = unseal(
            seal(Cursor((Candidate((("a", score),), 1 / 7),), 0, 1), SECRET, "f"), SECRET, "f"
        ).candidates
        assert candidate.images[0][1] == pytest.approx(score, abs=1e-7)
        assert candidate.confidence == pytest.approx(1 / 7, abs=1e-7)


def test_a_cursor_expires_after_an_hour() -> None:
    text = seal(CURSOR, SECRET, "f", now=1_000)
    assert unseal(text, SECRET, "f", now=1_000 + LIFETIME - 1) == CURSOR
    with pytest.raises(InvalidInput, match="has expired, as it does after 60 minutes") as caught:
        unseal(text, SECRET, "f", now=1_000 + LIFETIME)
    assert caught.value.field == "cursor"


def test_a_cursor_of_another_model_is_refused() -> None:
    with pytest.raises(InvalidInput, match="another model"):
        unseal(seal(CURSOR, SECRET, "f00d"), SECRET, "beef")


def test_a_cursor_of_another_secret_is_refused() -> None:
    with pytest.raises(InvalidInput, match="was changed, or comes from another server"):
        unseal(seal(CURSOR, OTHER, "f"), SECRET, "f")


@pytest.mark.parametrize("text", ["nonsense!", "é", "A", "a b", "\x00", "A" * 5])
def test_what_is_no_base64_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidInput, match="no cursor"):
        unseal(text, SECRET, "f")


@given(st.integers(0), st.integers(1, 255))
def test_no_byte_can_be_changed(place: int, change: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(seal(CURSOR, SECRET, "f") + "=="))
    raw[place % len(raw)] ^= change
    with pytest.raises(InvalidInput, match="was changed"):
        unseal(base64.urlsafe_b64encode(raw).decode(), SECRET, "f")


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        unseal(text, SECRET, "f")


SCORED = st.tuples(st.text(max_size=20), st.integers(-99_999, 99_999).map(lambda n: n / 100_000))
CANDIDATE = st.builds(
    Candidate, st.lists(SCORED, min_size=1).map(tuple), st.none() | st.integers(0, 1_000).map(lambda n: n / 1_000)
)


@given(st.builds(Cursor, st.lists(CANDIDATE).map(tuple), st.integers(0, 10_000), st.integers(1, 100)))
def test_any_cursor_comes_back(cursor: Cursor) -> None:
    assert unseal(seal(cursor, SECRET, "f"), SECRET, "f") == cursor
