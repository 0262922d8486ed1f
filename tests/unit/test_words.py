"""What counts as a word, and how often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesearch.index.words import MAX_WORD, stored_length, weighted_words, words_of
from imagesearch.records import ImageMetadata


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Früh am Strand, mit dem Hund (IMG_0042.jpg)", "fruh am strand mit dem hund img 0042 jpg"),
        ("fru\u0308h FRÜH", "fruh fruh"),
        (
            "Straße STRASSE Ærøskøbing Łódź İstanbul ﬁn \uff12\uff10\uff12\uff14",
            "strasse strasse aeroskobing lodz istanbul fin 2024",
        ),
        ("don't golden-retriever", "don t golden retriever"),
        ("海边的狗", "海 边 的 狗"),
        ("がぎ カメラ", "が ぎ カメラ"),
        ("한국어 हिन्दी ไทย", "한국어 हिन्दी ไทย"),
        ("ЁЛКА ѝ", "елка и"),
        (" \u00ad-_*\U0001f600\n", ""),
        ("x" * 1_000, "x" * MAX_WORD),
    ],
)
def test_words_are_runs_of_letters_and_digits_without_case_and_accents(text: str, words: str) -> None:
    assert words_of(text) == words.split()


@given(st.text())
def test_words_of_words_are_the_same_words(text: str) -> None:
    words = words_of(text)
    assert words_of(" ".join(words)) == words
    assert all(len(" ".join(words).split()) == len(words) and 1 <= len(word) <= MAX_WORD for word in words)


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_words_of_ascii_are_those_of_any_text(text: str) -> None:
    assert [*words_of(text), "e"] == words_of(f"{text} é")


def test_title_and_tags_count_more_often() -> None:
    metadata = ImageMetadata(uri="x", title="Two dogs", description="a dog", tags=("Old Town", "sea"))
    assert weighted_words(metadata) == [*["two", "dogs"] * 3, *["old", "town", "sea"] * 2, "a", "dog"]
    assert weighted_words(ImageMetadata(uri="x")) == []


@given(st.integers(0, 2**31 - 1))
def test_a_stored_length_is_exact_below_40_and_an_eighth_off_at_most(words: int) -> None:
    stored = stored_length(words)
    assert stored == words if words < 40 else words * 7 / 8 < stored <= words
    assert stored_length(stored) == stored
