"""The image tower's input. That it is bit-equal to open_clip's is proven in tests/integration/test_clip_parity.py."""

import numpy as np
import pytest
from PIL import Image

from imagesearch.clip.model import ModelInfo
from imagesearch.clip.preprocess import preprocess, preprocess_batch

INFO = ModelInfo(
    name="any",
    pretrained="any",
    fingerprint="0123456789ab",
    embed_dim=1,
    image_size=32,
    mean=(0.5, 0.25, 0.0),
    std=(0.5, 0.25, 1.0),
    interpolation="bicubic",
    context_length=77,
    logit_scale=1,
)


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, across * 0], axis=2).astype(np.uint8))


def test_channels_are_scaled_then_normalised_each_by_its_own() -> None:
    pixels = preprocess(Image.new("RGB", (100, 50), (255, 0, 51)), INFO)
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[:, 0, 0], [1.0, -1.0, 0.2], rtol=1e-6)
    assert (pixels == pixels[:, :1, :1]).all()


@pytest.mark.parametrize("size", [(96, 32), (32, 96), (300, 100), (7, 21)])
def test_the_centre_is_kept(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, "black")
    third = max(size) // 3
    picture.paste("red", (third, 0, 2 * third, size[1]) if size[0] > size[1] else (0, third, size[0], 2 * third))
    assert (preprocess(picture, INFO)[0, 4:-4, 4:-4] > 0.9).all()


def test_pixels_are_written_where_they_are_wanted() -> None:
    picture, out = gradient(40, 30), np.full((3, 32, 32), np.nan, dtype=np.float32)
    assert preprocess(picture, INFO, out=out) is out
    np.testing.assert_array_equal(out, preprocess(picture, INFO))


def test_a_batch_is_its_pictures() -> None:
    pictures = [gradient(40, 30), gradient(1, 1), gradient(33, 64)]
    np.testing.assert_array_equal(preprocess_batch(pictures, INFO), [preprocess(picture, INFO) for picture in pictures])
    assert preprocess_batch([], INFO).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("size", [(4, 400), (400, 4), (10, 2000), (2000, 10)])
def test_a_narrow_strip_is_resized_as_a_whole_picture_would_be(size: tuple[int, int]) -> None:
    picture = gradient(*size)
    short, long = sorted(size)
    whole = 32 * long // short
    resized = picture.resize((32, whole) if size[1] > size[0] else (whole, 32), Image.Resampling.BICUBIC)
    left, top = ((side - 32) // 2 for side in resized.size)
    expected = preprocess(resized.crop((left, top, left + 32, top + 32)), INFO)
    np.testing.assert_allclose(preprocess(picture, INFO), expected, atol=2 / 255 / 0.25)  # one or two levels of 255


def test_the_narrowest_strip_needs_no_memory_to_speak_of() -> None:
    # resized as a whole it would be 32 x 320,000,000 pixels, 40 GB
    pixels = preprocess(Image.new("RGB", (1, 10_000_000), "white"), INFO)
    np.testing.assert_allclose(pixels.reshape(3, -1).T, np.tile([1, 3, 1], (32 * 32, 1)), rtol=1e-6)
