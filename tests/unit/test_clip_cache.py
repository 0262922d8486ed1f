"""An encoder that remembers texts is the same encoder, and asked less."""

import threading

import numpy as np
import pytest

from imagesearch.clip.cache import CachedEncoder
from imagesearch.clip.model import Float32

from .conftest import ColourEncoder


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


def test_a_text_is_encoded_once(encoder: ColourEncoder) -> None:
    cached = CachedEncoder(encoder)
    first = cached.encode_text(["red", "blue"])
    assert np.array_equal(cached.encode_text(["blue", "red", "green"])[[1, 0]], first)
    assert encoder.batches == [["red", "blue"], ["green"]]
    assert np.array_equal(first, ColourEncoder().encode_text(["red", "blue"]))


def test_a_text_that_comes_twice_in_one_call_is_encoded_once(encoder: ColourEncoder) -> None:
    vectors = CachedEncoder(encoder).encode_text(["red", "blue", "red"])
    assert encoder.batches == [["red", "blue"]]
    assert np.array_equal(vectors[0], vectors[2])


def test_what_was_asked_for_least_lately_is_forgotten(encoder: ColourEncoder) -> None:
    cached = CachedEncoder(encoder, size=2)
    for text in ("red", "blue", "red", "green", "red", "blue"):
        cached.encode_text([text])
    assert encoder.seen == ["red", "blue", "green", "blue"]


def test_a_call_with_more_texts_than_are_remembered_is_answered(encoder: ColourEncoder) -> None:
    texts = ["red", "green", "blue", "yellow"]
    cached = CachedEncoder(encoder, size=2)
    assert np.array_equal(cached.encode_text(texts), ColourEncoder().encode_text(texts))
    cached.encode_text(["yellow"])
    assert encoder.batches == [texts]


def test_no_texts_have_no_embeddings() -> None:
    class Nothing(ColourEncoder):
        def encode_text(self, texts: object) -> Float32:
            return np.empty((0, 3), dtype=np.float32)

    assert CachedEncoder(Nothing()).encode_text([]).shape == (0, 3)


def test_threads_may_share_it(encoder: ColourEncoder) -> None:
    cached = CachedEncoder(encoder, size=3)
    right = {text: ColourEncoder().encode_text([text])[0] for text in ("red", "green", "blue", "yellow", "grey")}
    wrong: list[str] = []

    def ask(start: int) -> None:
        texts = list(right)
        for step in range(200):
            text = texts[(start + step * 3) % len(texts)]
            if not np.array_equal(cached.encode_text([text])[0], right[text]):
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_images_are_encoded_by_the_encoder(encoder: ColourEncoder) -> None:
    pixels = np.ones((2, 3, 8, 8), dtype=np.float32)
    assert np.array_equal(CachedEncoder(encoder).encode_pixels(pixels), encoder.encode_pixels(pixels))
    assert CachedEncoder(encoder).info is encoder.info
