"""The encoder on torch: CLIP on a GPU, for the batch job."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 (as everywhere in torch)
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch import Tensor

from batch.checkpoint import DEFAULT_MODEL, DEFAULT_PRETRAINED, load_checkpoint
from imagesearch.clip.model import Float32
from imagesearch.clip.preprocess import preprocess_batch

_DTYPE = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchEncoder:
    """Encodes with an open_clip model (an `Encoder`). What is given in one call runs as one batch.

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
        precision: Literal["fp32", "fp16", "bf16"] | None = None,
    ) -> None:
        """Load `name` with the weights `pretrained` (see `load_checkpoint`) on `device`: CUDA where there is one.

        `precision` is that of the matrix products (autocast); fp16 on CUDA and fp32 on a CPU where not given. Weights,
        softmax and normalisation stay fp32.

        Raises:
            ModelError: the checkpoint can't be loaded.
        """
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = _DTYPE[precision or ("fp16" if self._device.type == "cuda" else "fp32")]
        model = load_checkpoint(name, pretrained)
        self.info = model.info
        self._module = model.module.to(self._device)
        self._tokenizer = SimpleTokenizer(context_length=model.info.context_length)

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """Embeddings of `texts`, (n, embed_dim) float32, each of length 1. Too long a text is truncated."""
        return self._run("encode_text", self._tokenizer(list(texts)))

    def encode_images(self, images: Sequence[Image.Image]) -> Float32:
        """Embeddings of `images`, (n, embed_dim) float32, each of length 1."""
        return self.encode_pixels(preprocess_batch(images, self.info))

    def encode_pixels(self, pixels: Float32) -> Float32:
        """Embeddings of preprocessed `pixels`, (n, 3, image_size, image_size) float32, each of length 1."""
        return self._run("encode_image", torch.from_numpy(pixels))

    @torch.inference_mode()
    def _run(self, tower: str, batch: Tensor) -> Float32:
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            features = getattr(self._module, tower)(batch.to(self._device))
        embeddings: Float32 = F.normalize(features.float(), dim=-1).cpu().numpy()
        return embeddings
