"""Tokenizers without torch: text in, token ids out, equal to open_clip's for any string."""

import html
import string
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import regex
from tokenizers import Tokenizer

from imagesearch.clip.model import MODEL_FILE, Cleaning, ModelInfo, Padding
from imagesearch.errors import ModelError

TokenIds = npt.NDArray[np.int64]
Tokenize = Callable[[Sequence[str]], TokenIds]
"""From n texts to their token ids, (n, length) int64."""

_WORD = regex.compile(
    r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)
"""CLIP's split into words (Radford et al. 2021, published code).

Done here and not in `tokenizer.json`, because the Rust engine behind `tokenizers` knows another Unicode version than
`regex`, with which the models' vocabulary is used everywhere else: the two disagree on newly assigned code points.
"""
_PLAIN = regex.compile(r"[\t\n\x20-\x25\x27-\x7e]*")
"""ASCII without control characters, and without the & of HTML entities: in such a text there is nothing to repair."""
_NO_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))


def clean(text: str, how: Cleaning = "lower") -> str:
    """Repair mojibake, resolve HTML entities twice, make every run of whitespace one space.

    `lower` (CLIP's) also lowers the case, and `canonicalize` (SigLIP's) moreover leaves out ASCII punctuation, but for
    the underscore, which becomes a space; `whitespace` does neither. The names are open_clip's.
    """
    if not _PLAIN.fullmatch(text):
        import ftfy  # a tenth of a second, which a first query in plain words needn't wait for

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    if how == "canonicalize":
        text = text.translate(_NO_PUNCTUATION)
    text = " ".join(text.split())
    return text if how == "whitespace" else text.lower()


def open_tokenizer(path: Path, info: ModelInfo) -> Tokenize:
    """The tokenizer of a model artifact: its `tokenizer.json` at `path`, used as `info` says.

    Raises:
        ModelError: the file is missing, isn't one, or is that of another model.
    """
    if info.tokenizer == "huggingface":
        return HuggingFaceTokenizer(path, info.context_length, info.cleaning, info.padding)
    return ClipTokenizer(path, info.context_length, info.cleaning, info.padding)


class ClipTokenizer:
    """Byte-pair encoding with the vocabulary of a model artifact's `tokenizer.json`. Safe to share between threads."""

    def __init__(
        self, path: Path, context_length: int, cleaning: Cleaning = "lower", padding: Padding = "longest"
    ) -> None:
        """Load the vocabulary in `path`; token ids are cut to `context_length`, begin and end token included.

        Raises:
            ModelError: the file is missing or isn't one.
        """
        self._tokenizer = _load(path)
        self._cleaning = cleaning
        self._tokenizer.enable_truncation(context_length)
        length = context_length if padding == "context" else None
        self._tokenizer.enable_padding(pad_id=0, pad_token="", length=length)
        self._max_words = context_length - 2  # a word has at least one token, so more of them can't matter

    def __call__(self, texts: Sequence[str]) -> TokenIds:
        """Token ids of `texts`, (n, longest) or (n, context_length) int64: begin token, text, end token, then zeros.

        With the padding `longest` the longest text decides the width, at most `context_length`; a text that doesn't
        fit loses its tail. Where attention is causal and the end token is what gets pooled, zeros after it can't
        change an embedding.
        """
        words = [
            [word[0] for word in islice(_WORD.finditer(clean(text, self._cleaning)), self._max_words)] for text in texts
        ]
        encodings = self._tokenizer.encode_batch(words, is_pretokenized=True)
        return np.array([encoding.ids for encoding in encodings], dtype=np.int64)


class HuggingFaceTokenizer:
    """A tokenizer that is all in its `tokenizer.json`: SentencePiece, WordPiece, …; truncation and padding too.

    Safe to share between threads.
    """

    def __init__(self, path: Path, context_length: int, cleaning: Cleaning, padding: Padding) -> None:
        """Load the tokenizer in `path`.

        Raises:
            ModelError: the file is missing, isn't one, or truncates or pads to another length.
        """
        self._tokenizer = _load(path)
        self._cleaning = cleaning
        truncated, padded = self._tokenizer.truncation, self._tokenizer.padding
        length = context_length if padding == "context" else None
        if not truncated or not padded or (truncated["max_length"], padded["length"]) != (context_length, length):
            raise ModelError(f"{path} doesn't belong to its {MODEL_FILE}: export the model again")
        self._padding_id = padded["pad_id"]

    def __call__(self, texts: Sequence[str]) -> TokenIds:
        """Token ids of `texts`, (n, length) int64; `length` is the longest text's and at least 2, or the context's."""
        encodings = self._tokenizer.encode_batch([clean(text, self._cleaning) for text in texts])
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        too_narrow = max(0, 2 - ids.shape[1])  # exported graphs take two tokens or more
        return np.pad(ids, ((0, 0), (0, too_narrow)), constant_values=self._padding_id)


def _load(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(f"{path} is no tokenizer: {error}") from error
