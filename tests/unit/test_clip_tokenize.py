"""Tokenizers: well-known ids, truncation, padding, and no text that they can't take.

That they equal open_clip's for any text is proven in tests/integration/test_clip_parity.py and test_clip_languages.py.
"""

import html
from pathlib import Path

import ftfy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from imagesearch.clip.model import Cleaning, Padding
from imagesearch.clip.tokenize import ClipTokenizer, HuggingFaceTokenizer, clean
from imagesearch.errors import ModelError

START, END = 49406, 49407


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> ClipTokenizer:
    return ClipTokenizer(tiny_model / "tokenizer.json", context_length=77)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("a", [320]),
        ("two dogs on a beach", [1237, 3255, 525, 320, 2117]),
        ("Two  DOGS\ton a\nbeach ", [1237, 3255, 525, 320, 2117]),
        ("it's 1984!", [585, 568, 272, 280, 279, 275, 256]),
        ("<end_of_text>", [END]),
    ],
)
def test_ids_are_those_of_clip(tokenizer: ClipTokenizer, text: str, ids: list[int]) -> None:
    assert tokenizer([text]).tolist() == [[START, *ids, END]]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Caf&eacute; &amp;amp; Bar", "café & bar"),
        ("schÃ¶n", "schön"),
        ("  a\u2003b\r\n", "a b"),
        ("\ud83d\udc36 alone \ud83d", "🐶 alone \ufffd"),
    ],
)
def test_cleaning_resolves_entities_mojibake_whitespace_and_case(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(text=st.text(alphabet=st.characters(max_codepoint=0x7F)))
def test_ascii_is_cleaned_as_any_text(text: str) -> None:
    assert clean(text, "whitespace") == " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


@pytest.mark.parametrize(
    ("how", "cleaned"),
    [
        ("lower", "schön: it's & über_all!"),
        ("whitespace", "Schön: it's & Über_all!"),
        ("canonicalize", "schön its über all"),
    ],
)
def test_cleaning_may_keep_the_case_or_leave_out_punctuation(how: Cleaning, cleaned: str) -> None:
    assert clean(" SchÃ¶n:\u3000it's &amp;amp;  Über_all! ", how) == cleaned


def test_a_batch_is_padded_with_zeros_to_its_longest_text(tokenizer: ClipTokenizer) -> None:
    ids = tokenizer(["two dogs", "a", ""])
    assert ids.dtype == np.int64
    assert ids.tolist() == [[START, 1237, 3255, END], [START, 320, END, 0], [START, END, 0, 0]]


def test_too_long_a_text_loses_its_tail_and_keeps_its_end_token(tokenizer: ClipTokenizer) -> None:
    assert tokenizer(["a " * 1000]).tolist() == [[START, *[320] * 75, END]]


def test_a_shorter_context_truncates_sooner(tiny_model: Path) -> None:
    short = ClipTokenizer(tiny_model / "tokenizer.json", context_length=4)
    assert short(["a a a a"]).tolist() == [[START, 320, 320, END]]


def test_a_tower_that_sees_padding_gets_all_of_it(tiny_model: Path) -> None:
    padding = ClipTokenizer(tiny_model / "tokenizer.json", context_length=5, padding="context")
    assert padding(["a"]).tolist() == [[START, 320, END, 0, 0]]


@given(text=st.text(alphabet=st.characters(codec=None)))
@settings(max_examples=300, deadline=None)
def test_any_text_has_ids_that_fit(tokenizer: ClipTokenizer, text: str) -> None:
    (ids,) = tokenizer([text]).tolist()
    assert ids[0] == START
    assert END in ids[1:]
    assert len(ids) <= 77


def test_a_long_hostile_text_takes_no_time(tokenizer: ClipTokenizer) -> None:
    assert tokenizer(["x" * 100_000, "&" * 100_000, "é" * 100_000]).shape == (3, 77)


@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="is no tokenizer"):
        ClipTokenizer(path, context_length=77)


def word_tokenizer(path: Path, longest: int = 4, length: int | None = None) -> Path:
    """A tokenizer that knows two words, saved with truncation to `longest` and padding to `length` or the longest."""
    tokenizer = Tokenizer(WordLevel({"<pad>": 0, "<unk>": 1, "Hund": 2, "собака": 3}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding(pad_id=0, pad_token="<pad>", length=length)
    tokenizer.save(str(path / "tokenizer.json"))
    return path / "tokenizer.json"


def test_a_tokenizer_of_its_own_does_all_but_the_cleaning(tmp_path: Path) -> None:
    tokenizer = HuggingFaceTokenizer(word_tokenizer(tmp_path), 4, "whitespace", "longest")
    ids = tokenizer(["Hund &nbsp; собака", "hund", "Hund " * 9])
    assert ids.dtype == np.int64
    assert ids.tolist() == [[2, 3, 0, 0], [1, 0, 0, 0], [2, 2, 2, 2]]


@pytest.mark.parametrize(("texts", "ids"), [([""], [[0, 0]]), (["Hund"], [[2, 0]]), (["", "Hund"], [[0, 0], [2, 0]])])
def test_a_text_of_less_than_two_tokens_is_padded_to_two(
    tmp_path: Path, texts: list[str], ids: list[list[int]]
) -> None:
    tokenizer = HuggingFaceTokenizer(word_tokenizer(tmp_path), 4, "whitespace", "longest")
    assert tokenizer(texts).tolist() == ids


@pytest.mark.parametrize(("context", "padding"), [(5, "longest"), (4, "context")])
def test_a_tokenizer_that_cuts_or_pads_otherwise_is_refused(tmp_path: Path, context: int, padding: Padding) -> None:
    with pytest.raises(ModelError, match="doesn't belong to its model"):
        HuggingFaceTokenizer(word_tokenizer(tmp_path), context, "whitespace", padding)


def test_a_tokenizer_that_neither_cuts_nor_pads_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="doesn't belong to its model"):
        HuggingFaceTokenizer(tiny_model / "tokenizer.json", 77, "whitespace", "longest")
