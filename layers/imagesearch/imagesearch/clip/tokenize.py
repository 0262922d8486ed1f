"""CLIP's tokenizer without torch: text in, token ids out, equal to open_clip's for any string."""

import html
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import ftfy
import numpy as np
import numpy.typing as npt
import regex
from tokenizers import Tokenizer

from imagesearch.errors import ModelError

_WORD = regex.compile(
    r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)
"""CLIP's split into words (Radford et al. 2021, published code).

Done here and not in `tokenizer.json`, because the Rust engine behind `tokenizers` knows another Unicode version than
`regex`, with which the models' vocabulary is used everywhere else: the two disagree on newly assigned code points.
"""


def clean(text: str) -> str:
    """Repair mojibake, resolve HTML entities twice, make every run of whitespace one space, lower the case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


class ClipTokenizer:
    """Byte-pair encoding with the vocabulary of a model artifact's `tokenizer.json`. Safe to share between threads."""

    def __init__(self, path: Path, context_length: int) -> None:
        """Load the vocabulary in `path`; token ids are cut to `context_length`, begin and end token included.

        Raises:
            ModelError: the file is missing or isn't one.
        """
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelError(f"{path} is no tokenizer: {error}") from error
        self._tokenizer.enable_truncation(context_length)
        self._tokenizer.enable_padding(pad_id=0, pad_token="")
        self._max_words = context_length - 2  # a word has at least one token, so more of them can't matter

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Token ids of `texts`, (n, longest) int64: begin token, text, end token, then zeros.

        The longest text decides the width, at most `context_length`; a text that doesn't fit loses its tail. Zeros
        after the end token can't change an embedding: attention is causal and the end token is what gets pooled.
        """
        words = [[word[0] for word in islice(_WORD.finditer(clean(text)), self._max_words)] for text in texts]
        encodings = self._tokenizer.encode_batch(words, is_pretokenized=True)
        return np.array([encoding.ids for encoding in encodings], dtype=np.int64)
