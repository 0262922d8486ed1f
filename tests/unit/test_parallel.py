"""The encoder of the batch job on a CPU: shares of a batch, in threads."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from batch.parallel import SHARE, ParallelEncoder
from imagesearch.clip.model import Float32
from imagesearch.clip.onnx import OnnxEncoder


@pytest.fixture(scope="module")
def single(tiny_model: Path) -> OnnxEncoder:
    return OnnxEncoder(tiny_model, threads=1)


@pytest.mark.parametrize("count", [0, 1, 3, SHARE, 3 * SHARE + 1])
def test_images_get_the_embeddings_that_one_thread_gives_them(single: OnnxEncoder, count: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (count, 30, 50, 3), dtype=np.uint8)
    images = [Image.fromarray(value) for value in values]
    embeddings = ParallelEncoder(single, 3).encode_images(images)
    assert embeddings.shape == (count, single.info.embed_dim)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, single.encode_images(images), atol=1e-5)


def test_texts_and_the_model_are_those_of_the_encoder(single: OnnxEncoder) -> None:
    parallel = ParallelEncoder(single, 2)
    assert parallel.info == single.info
    np.testing.assert_array_equal(parallel.encode_text(["a dog", "two"]), single.encode_text(["a dog", "two"]))


def test_every_thread_has_a_share_of_a_small_batch_at_the_same_time(tiny_model: Path) -> None:
    together = threading.Barrier(4, timeout=30)  # broken, if fewer than four come

    class Waiting(OnnxEncoder):
        def encode_pixels(self, pixels: Float32) -> Float32:
            together.wait()
            return super().encode_pixels(pixels)

    waiting = Waiting(tiny_model, threads=1)
    pixels = np.zeros((7, 3, waiting.info.image_size, waiting.info.image_size), np.float32)
    assert len(ParallelEncoder(waiting, 4).encode_pixels(pixels)) == 7
