"""The encoder on ONNX Runtime: CLIP on a CPU without torch, quick to start and small in memory."""

import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image

from imagesearch.clip.model import IMAGE_FILE, MODEL_FILE, TEXT_FILE, TOKENIZER_FILE, Float32, ModelInfo
from imagesearch.clip.preprocess import preprocess_batch
from imagesearch.clip.tokenize import Tokenize, open_tokenizer
from imagesearch.errors import ModelError


class OnnxEncoder:
    """Encodes with a model artifact (an `Encoder`). Safe to share between threads.

    Each tower is loaded on first use, so a process that only sees text never pays for the image tower. What is given
    in one call runs as one batch, but for an int8 artifact's, where it runs one by one.

    Example:
        >>> encoder = OnnxEncoder(Path("models/tiny"))
        >>> encoder.encode_text(["two dogs", "a cat"]).shape
        (2, 128)
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        """Open the artifact in `folder`, to encode with `threads` threads, or on every core.

        Raises:
            ModelError: `model.json` is not valid, or another file of the artifact is missing. Damage inside those
                is met, as a ModelError too, when they are first used.
        """
        self.info = ModelInfo.load(folder)
        if missing := [name for name in (TEXT_FILE, IMAGE_FILE, TOKENIZER_FILE) if not (folder / name).is_file()]:
            raise ModelError(f"{folder} is no whole model artifact, it lacks {', '.join(missing)}: export it again")
        self._folder = folder
        self._threads = threads or 0
        self._loading = threading.Lock()

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """Embeddings of `texts`, (n, embed_dim) float32, each of length 1. Too long a text is truncated."""
        with self._loading:
            tokenizer, session = self._tokenizer, self._text
        batches = [[text] for text in texts] if self._one_by_one else [texts]
        return self._run(session, map(tokenizer, batches)) if texts else self._nothing()

    def encode_images(self, images: Sequence[Image.Image]) -> Float32:
        """Embeddings of `images`, (n, embed_dim) float32, each of length 1."""
        return self.encode_pixels(preprocess_batch(images, self.info))

    def encode_pixels(self, pixels: Float32) -> Float32:
        """Embeddings of preprocessed `pixels`, (n, 3, image_size, image_size) float32, each of length 1."""
        with self._loading:
            session = self._image
        batches = pixels[:, np.newaxis] if self._one_by_one else [pixels]
        return self._run(session, batches) if len(pixels) else self._nothing()

    def _run(self, session: ort.InferenceSession, batches: Iterable[npt.NDArray[np.int64] | Float32]) -> Float32:
        name = session.get_inputs()[0].name
        return np.concatenate([session.run(None, {name: batch})[0] for batch in batches])

    @property
    def _one_by_one(self) -> bool:
        """Whether a batch has to be taken apart: int8 scales it as a whole, so its members would change each other."""
        return self.info.precision == "int8"

    def _nothing(self) -> Float32:
        return np.empty((0, self.info.embed_dim), dtype=np.float32)

    @cached_property
    def _tokenizer(self) -> Tokenize:
        return open_tokenizer(self._folder / TOKENIZER_FILE, self.info)

    @cached_property
    def _text(self) -> ort.InferenceSession:
        return self._load(TEXT_FILE, [self.info.context_length] if self.info.padding == "context" else [])

    @cached_property
    def _image(self) -> ort.InferenceSession:
        return self._load(IMAGE_FILE, [3, self.info.image_size, self.info.image_size])

    def _load(self, name: str, input_sizes: list[int]) -> ort.InferenceSession:
        """A session on the tower in `name`, whose input has the fixed sizes `input_sizes`.

        The graph was optimised at export, so it is taken as it is; only fp16 weights have to be unfolded to fp32.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        # Threads that wait in a busy loop take the time of those that work, where a container has less than its cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.graph_optimization_level = (
            ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
            if self.info.precision == "fp16"
            else ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        )
        path = self._folder / name
        try:
            session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            raise ModelError(f"{path} can't be loaded: {error}; export the model again") from error
        expected = [*input_sizes, self.info.embed_dim]
        shapes = session.get_inputs()[0].shape + session.get_outputs()[0].shape
        if (found := [size for size in shapes if isinstance(size, int)]) != expected:
            raise ModelError(f"{path} doesn't belong to its {MODEL_FILE}: has sizes {found}, should have {expected}")
        return session
