"""CLIP's tokenizer: well-known ids, truncation, padding, and no text that it can't take.

That it equals open_clip's for any text is proven in tests/integration/test_clip_parity.py.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesearch.clip.tokenize import ClipTokenizer, clean
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


def test_a_batch_is_padded_with_zeros_to_its_longest_text(tokenizer: ClipTokenizer) -> None:
    ids = tokenizer(["two dogs", "a", ""])
    assert ids.dtype == np.int64
    assert ids.tolist() == [[START, 1237, 3255, END], [START, 320, END, 0], [START, END, 0, 0]]


def test_too_long_a_text_loses_its_tail_and_keeps_its_end_token(tokenizer: ClipTokenizer) -> None:
    assert tokenizer(["a " * 1000]).tolist() == [[START, *[320] * 75, END]]


def test_a_shorter_context_truncates_sooner(tiny_model: Path) -> None:
    short = ClipTokenizer(tiny_model / "tokenizer.json", context_length=4)
    assert short(["a a a a"]).tolist() == [[START, 320, 320, END]]


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
