"""Tokenizer and preprocessing equal open_clip's, id for id and bit for bit."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import image_transform
from PIL import Image

from imagesearch.clip.model import ModelInfo
from imagesearch.clip.preprocess import preprocess
from imagesearch.clip.tokenize import ClipTokenizer

PHRASES = [
    *[
        "a photo of two dogs",
        "don't",
        "I'LL",
        "we'VE",
        "'s",
        "3.14",
        "_",
        "`",
        "~",
        "<b>",
        "|",
        "\t",
        "\r\n",
        "\x1b[31m",
    ],
    *[
        "été",
        "größer",
        "İstanbul ıİ",
        "東京",
        "नमस्ते",
        "مرحبا",
        "½",
        "①",
        "ﬁ",
        "\x00",
        "\x85",
        "\u2028",
        "\u3000",
        "\ufeff",
    ],
    *[
        "&amp;",
        "&amp;lt;",
        "&amp;amp;amp;",
        "&#128054;",
        "&#xD800;",
        "&eacute",
        "&nbsp;",
        "Ã©",
        "schÃ¶n",
        "â€œquotedâ€\x9d",
    ],
    *["🐶", "👍🏽", "👩\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "\u200b", "\ud83d", "\udc36"],
    *["<start_of_text>", "<END_OF_TEXT>", "!<end_of_text>", "<|endoftext|>", "<\u017ftart_of_text>", "'\u017f"],
]

reference_tokenizer = SimpleTokenizer()


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> ClipTokenizer:
    return ClipTokenizer(tiny_model / "tokenizer.json", context_length=77)


def random_text(rng: random.Random) -> str:
    """A few phrases, any code points, both mixed, or many words: more than fit."""

    def character() -> str:
        return chr(rng.randrange(rng.choice([0x80, 0x250, 0x3000, 0x20000, 0x110000])))

    match rng.randrange(4):
        case 0:
            return rng.choice(["", " "]).join(rng.choices(PHRASES, k=rng.randrange(12)))
        case 1:
            return "".join(character() for _ in range(rng.randrange(40)))
        case 2:
            return "".join(rng.choice([rng.choice(PHRASES), character()]) for _ in range(rng.randrange(30)))
        case _:
            return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz     ", k=rng.randrange(rng.choice([20, 800]))))


def padded(ids: np.ndarray) -> np.ndarray:
    return np.pad(ids, ((0, 0), (0, 77 - ids.shape[1])))


def test_ids_equal_those_of_open_clip_on_25_000_random_texts(tokenizer: ClipTokenizer) -> None:
    rng = random.Random(1984)
    texts = [random_text(rng) for _ in range(25_000)]
    expected = reference_tokenizer(texts).numpy()
    different = (padded(tokenizer(texts)) != expected).any(axis=1)
    assert [texts[row] for row in np.flatnonzero(different)] == []
    lengths = (expected != 0).sum(axis=1)
    assert (lengths == 77).sum() > 500  # truncation is among what was compared


@given(text=st.text(alphabet=st.characters(codec=None)) | st.lists(st.sampled_from(PHRASES)).map("".join))
@settings(max_examples=1000, deadline=None)
def test_ids_equal_those_of_open_clip_on_any_text(tokenizer: ClipTokenizer, text: str) -> None:
    assert padded(tokenizer([text])).tolist() == reference_tokenizer(text).tolist()


def picture(mode: str, width: int, height: int) -> Image.Image:
    """A noisy picture in any of Pillow's modes."""
    rng = np.random.default_rng([width, height])
    noise = Image.fromarray(rng.integers(0, 256, (height, width, 4), dtype=np.uint8))
    match mode:
        case "I;16":
            return Image.fromarray(rng.integers(0, 65_536, (height, width), dtype=np.uint16))
        case "LAB":
            return Image.frombytes(mode, (width, height), rng.bytes(width * height * 3))
        case "RGBa" | "LA" | "RGBA":
            return noise.convert(mode)
        case "PA":
            return noise.convert("LA").convert(mode)
        case _:
            return noise.convert("RGB").convert(mode)


MODES = ["RGB", "L", "1", "P", "PA", "LA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"]
SIZES = [
    *[(1, 1), (1, 7), (3, 2), (320, 240), (241, 321), (101, 333), (999, 117), (5, 160), (300, 7), (7, 448)],
    *[(63, 63), (63, 64), (64, 63), (224, 224), (224, 225), (225, 224)],
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("size", "interpolation"), [(224, "bicubic"), (63, "bilinear")])
@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
def test_pixels_equal_those_of_open_clip_bit_for_bit(
    mode: str, size: int, interpolation: str, resize_mode: str
) -> None:
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    info = ModelInfo(
        name="any",
        pretrained="any",
        fingerprint="0123456789ab",
        embed_dim=1,
        image_size=size,
        mean=mean,
        std=std,
        interpolation=interpolation,
        resize_mode=resize_mode,
        context_length=77,
        logit_scale=1,
    )
    transform = image_transform(
        size, is_train=False, mean=mean, std=std, interpolation=interpolation, resize_mode=resize_mode
    )
    for width, height in SIZES:
        image = picture(mode, width, height)
        np.testing.assert_array_equal(preprocess(image, info), transform(image).numpy(), f"{width} x {height}")
