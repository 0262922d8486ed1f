"""The encoder on torch: CLIP on a GPU, for the batch job."""

import logging
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (as everywhere in torch)
from PIL import Image
from torch import Tensor

from batch.checkpoint import DEFAULT_MODEL, DEFAULT_PRETRAINED, load_checkpoint
from imagesearch.clip.model import Float32
from imagesearch.clip.preprocess import preprocess_batch
from imagesearch.errors import ModelError

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "fp16", "bf16"]

_DTYPE = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

CPU_BATCH = 32
GPU_BATCHES = (64, 128, 256, 512, 1024)
WORTH_IT = 1.05
"""A larger batch takes more memory, so it has to encode this much more images a second."""


class TorchEncoder:
    """Encodes with an open_clip model (an `Encoder`).

    What is given in one call runs as one batch, or as several where the GPU lacks the memory.

    Example:
        >>> encoder = TorchEncoder("tiny-clip", "models/tiny/checkpoint")
        >>> encoder.encode_text(["two dogs", "a cat"]).shape
        (2, 128)
    """

    def __init__(
        self,
        name: str = DEFAULT_MODEL,
        pretrained: str = DEFAULT_PRETRAINED,
        device: str | None = None,
        precision: Precision | None = None,
        compile: bool = False,
    ) -> None:
        """Load `name` with the weights `pretrained` (see `load_checkpoint`) on `device`: CUDA where there is one.

        `precision` is that of the matrix products (autocast); fp16 on CUDA and fp32 on a CPU where not given. Weights,
        softmax and normalisation stay fp32. `compile` has torch compile the image tower, which takes a minute or so
        when it is first used, and again for another batch size.

        Raises:
            ModelError: the checkpoint can't be loaded.
        """
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = _DTYPE[precision or ("fp16" if self._device.type == "cuda" else "fp32")]
        model = load_checkpoint(name, pretrained)
        self.info = model.info
        self._module = model.module.to(self._device)
        self._encode_image = torch.compile(self._module.encode_image) if compile else self._module.encode_image
        self._most = GPU_BATCHES[-1]
        self._tokenizer = model.tokenizer

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """Embeddings of `texts`, (n, embed_dim) float32, each of length 1. Too long a text is truncated."""
        return self._run(self._module.encode_text, self._tokenizer(list(texts)))

    def encode_images(self, images: Sequence[Image.Image]) -> Float32:
        """Embeddings of `images`, (n, embed_dim) float32, each of length 1."""
        return self.encode_pixels(preprocess_batch(images, self.info))

    def encode_pixels(self, pixels: Float32) -> Float32:
        """Embeddings of preprocessed `pixels`, (n, 3, image_size, image_size) float32, each of length 1."""
        batches = np.split(pixels, range(self._most, len(pixels), self._most))
        try:
            return np.concatenate([self._run(self._encode_image, torch.from_numpy(batch)) for batch in batches])
        except torch.OutOfMemoryError as error:
            size = min(self._most, len(pixels))
            if size == 1:
                raise ModelError(f"the GPU has too little memory for a single image: {error}") from error
            self._most = size // 2
            logger.warning("the GPU has too little memory for %d images at once: %d from now on", size, self._most)
        torch.cuda.empty_cache()
        return self.encode_pixels(pixels)

    def best_batch_size(self) -> int:
        """The batch size that encodes most images a second on this device, found by trying; CPU_BATCH on a CPU."""
        if self._device.type == "cpu":
            return CPU_BATCH
        best, best_rate = GPU_BATCHES[0], 0.0
        for size in GPU_BATCHES:
            pixels = np.zeros((size, 3, self.info.image_size, self.info.image_size), np.float32)
            self.encode_pixels(pixels)  # the first time takes longer
            started = perf_counter()
            self.encode_pixels(pixels)
            rate = size / (perf_counter() - started)
            if rate < WORTH_IT * best_rate or self._most < size:
                break
            best, best_rate = size, rate
        return best

    @torch.inference_mode()
    def _run(self, tower: Callable[[Tensor], Tensor], batch: Tensor) -> Float32:
        if self._device.type == "cuda":  # from pinned memory the GPU fetches it by itself
            batch = batch.pin_memory()
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            features = tower(batch.to(self._device, non_blocking=True))
        embeddings: Float32 = F.normalize(features.float(), dim=-1).cpu().numpy()
        return embeddings
