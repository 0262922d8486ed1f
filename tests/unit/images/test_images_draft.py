"""A large JPEG decoded at reduced size gives the encoder the same picture, within a bound."""

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.clip.preprocess import preprocess
from imagesearch.images import open_image

TINY = Path(__file__).parents[3] / "models/tiny"


@cache
def photo(width: int, height: int, seed: int) -> Image.Image:
    """Like a photo in what matters here: detail at every scale, less of it at each finer one, and sharp edges."""
    random = np.random.default_rng(seed)
    octaves = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 10):
        grid = random.integers(0, 256, (2**octave, 2**octave, 3), dtype=np.uint8)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        octaves += np.asarray(layer) / np.float32(octave)
    octaves = (octaves - octaves.min()) * (255 / np.ptp(octaves))
    image = Image.fromarray(octaves.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, size = random.uniform(0, width), random.uniform(0, height), random.uniform(0.01, 0.2) * height
        color = tuple(int(value) for value in random.integers(0, 256, 3))
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((x, y, x + size, y + size), fill=color)
    return image


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def encoder() -> OnnxEncoder:
    return OnnxEncoder(TINY, threads=1)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    ("width", "height"), [(1600, 1200), (1601, 1199), (997, 613), (613, 997), (901, 900), (2000, 300), (300, 257)]
)
def test_what_the_model_sees_is_within_the_stated_bound(
    encoder: OnnxEncoder, width: int, height: int, mode: str
) -> None:
    data = jpeg(photo(width, height, seed=width).convert(mode))
    target = encoder.info.image_size
    whole, reduced = open_image(data), open_image(data, target=target)
    assert (whole.width, whole.height) == (reduced.width, reduced.height) == whole.image.size == (width, height)
    assert min(reduced.image.size) == 2 * target

    std = np.array(encoder.info.std)[:, None, None] * 255
    seen, expected = (preprocess(opened.image, encoder.info) for opened in (reduced, whole))
    error = np.mean(((seen - expected) * std) ** 2)
    assert 10 * np.log10(255**2 / error) >= 45
    one, other = encoder.encode_images([whole.image, reduced.image])
    assert one @ other >= 0.9995


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_reduced_picture_is_upright_too_and_tells_its_original_size(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(jpeg(photo(903, 601, seed=1), exif=exif), target=100)
    sizes = (903, 601), (300, 200)
    if orientation >= 5:
        sizes = (601, 903), (200, 300)
    assert ((opened.width, opened.height), opened.image.size) == sizes


def test_a_picture_that_is_not_much_larger_than_the_target_stays_as_it_is() -> None:
    data = jpeg(photo(600, 399, seed=2))
    assert open_image(data, target=100).image == open_image(data).image
    assert open_image(data, target=99).image.size == (2 * 148, 2 * 99)


def test_only_jpegs_are_reduced() -> None:
    file = BytesIO()
    Image.new("RGB", (1000, 800)).save(file, "PNG")
    assert open_image(file.getvalue(), target=50).image.size == (1000, 800)
