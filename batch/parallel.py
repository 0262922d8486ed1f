"""One batch for all cores of a CPU: each thread encodes images of its own, instead of a part of every layer."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from imagesearch.clip.model import Encoder, Float32, ModelInfo
from imagesearch.clip.preprocess import preprocess_batch

SHARE = 8
"""Images that a thread takes at once, at most: few, so that what their layers hold stays in the cache."""


class ParallelEncoder:
    """An `Encoder` whose images are encoded by `threads` threads with `encoder`, which should use one for each call.

    Threads that share a layer wait for the slowest of them at each of some hundred layers; where the machine decodes
    photos meanwhile, there is always a slow one. Texts are encoded as `encoder` does it.
    """

    def __init__(self, encoder: Encoder, threads: int) -> None:
        self._encoder = encoder
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encode")

    @property
    def info(self) -> ModelInfo:
        """See Encoder."""
        return self._encoder.info

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """See Encoder."""
        return self._encoder.encode_text(texts)

    def encode_images(self, images: Sequence[Image.Image]) -> Float32:
        """See Encoder."""
        return self.encode_pixels(preprocess_batch(images, self.info))

    def encode_pixels(self, pixels: Float32) -> Float32:
        """See Encoder."""
        size = max(1, min(SHARE, math.ceil(len(pixels) / self._threads)))
        shares = [pixels[start : start + size] for start in range(0, len(pixels), size)] or [pixels]
        return np.concatenate(list(self._pool.map(self._encoder.encode_pixels, shares)))

    def best_batch_size(self) -> int:
        """Two shares a thread: whichever ends early has another to go on with."""
        return 2 * SHARE * self._threads
