"""An encoder that remembers the texts it has seen: people search for the same again, page and filter."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from PIL import Image

from imagesearch.clip.model import Encoder, Float32, ModelInfo

TEXTS = 1_000
"""Texts that are remembered; with 512 dimensions, 2 MB."""


class CachedEncoder:
    """An `Encoder` that asks `encoder` only for texts that aren't among the last `size`. Safe to share between threads.

    The texts of one call that have to be encoded are one batch. Images are encoded each time.
    """

    def __init__(self, encoder: Encoder, size: int = TEXTS) -> None:
        self._encoder = encoder
        self._size = size
        self._known: OrderedDict[str, Float32] = OrderedDict()  # the one used last comes last
        self._lock = threading.Lock()

    @property
    def info(self) -> ModelInfo:
        """See Encoder."""
        return self._encoder.info

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """See Encoder."""
        with self._lock:
            found = {text: self._known[text] for text in texts if text in self._known}
        new = list(dict.fromkeys(text for text in texts if text not in found))
        if new:
            found.update(zip(new, self._encoder.encode_text(new), strict=True))
        with self._lock:
            for text in texts:
                self._known[text] = found[text]
                self._known.move_to_end(text)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return np.stack([found[text] for text in texts]) if texts else self._encoder.encode_text([])

    def encode_images(self, images: Sequence[Image.Image]) -> Float32:
        """See Encoder."""
        return self._encoder.encode_images(images)

    def encode_pixels(self, pixels: Float32) -> Float32:
        """See Encoder."""
        return self._encoder.encode_pixels(pixels)
