"""The model artifact: what a folder with a CLIP model holds, and what every encoder answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from imagesearch.errors import ModelError

Float32 = npt.NDArray[np.float32]
Precision = Literal["fp32", "fp16", "int8"]
ResizeMode = Literal["shortest", "squash"]
TokenizerKind = Literal["clip", "huggingface"]
Cleaning = Literal["lower", "whitespace", "canonicalize"]
Padding = Literal["longest", "context"]

MODEL_FILE, TEXT_FILE, IMAGE_FILE, TOKENIZER_FILE = "model.json", "text.onnx", "image.onnx", "tokenizer.json"


class ModelInfo(BaseModel):
    """`model.json` of an artifact.

    `fingerprint` names the vector space: it is computed from the weights and from what else decides an embedding
    (activation, preprocessing), so it is the same for every runtime and precision of the same weights, and differs
    whenever embeddings can't be compared. `logit_scale` is what the model multiplies a cosine with before a softmax
    (about 100 for OpenAI's). `precision` is how the weights are stored. With fp32 and fp16 computing is fp32; with int8
    products with a weight are of integers, and an embedding is near the others' (see `batch.export.MIN_COSINE`), near
    enough to search what they encoded.

    `resize_mode` says how a picture becomes a square: `shortest` resizes its shorter side and cuts out the centre,
    `squash` resizes both sides. What is done with text is told by `tokenizer` (`clip`: tokenizer.json has the
    vocabulary, and the words are split as CLIP splits them; `huggingface`: tokenizer.json does everything but the
    cleaning), by `cleaning` (see `imagesearch.clip.tokenize.clean`) and by `padding`: to the `longest` text of a call,
    where the text tower pays no attention to padding, else to the whole `context`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    pretrained: str
    fingerprint: str
    embed_dim: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"]
    context_length: int
    logit_scale: float
    precision: Precision = "fp32"
    resize_mode: ResizeMode = "shortest"
    tokenizer: TokenizerKind = "clip"
    cleaning: Cleaning = "lower"
    padding: Padding = "longest"

    @classmethod
    def load(cls, folder: Path) -> "ModelInfo":
        """Read `model.json` in `folder`.

        Raises:
            ModelError: it is missing or isn't one.
        """
        path = folder / MODEL_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise ModelError(
                f"no {MODEL_FILE} in {folder}: not a model artifact; make one with `imagesearch export-model`"
            ) from None
        except ValidationError as error:
            raise ModelError(f"{path} is no valid {MODEL_FILE}: {error}") from error

    def save(self, folder: Path) -> None:
        """Write `model.json` into `folder`."""
        (folder / MODEL_FILE).write_text(self.model_dump_json(indent=2) + "\n")


class Encoder(Protocol):
    """Text and images in, embeddings out; the same contract on ONNX Runtime (CPU) and torch (GPU)."""

    @property
    def info(self) -> ModelInfo:
        """The model that encodes."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """Embeddings of `texts`, (n, embed_dim) float32, each of length 1. Too long a text is truncated."""
        ...

    def encode_images(self, images: Sequence[Image.Image]) -> Float32:
        """Embeddings of `images`, (n, embed_dim) float32, each of length 1."""
        ...

    def encode_pixels(self, pixels: Float32) -> Float32:
        """Embeddings of preprocessed `pixels`, (n, 3, image_size, image_size) float32; for callers that preprocess."""
        ...
