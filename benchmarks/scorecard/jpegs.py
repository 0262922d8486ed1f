"""Photos for benchmarks: noise of several scales, which JPEG compresses about as well as photos."""

from pathlib import Path

import numpy as np
from PIL import Image

SMALL, LARGE = (480, 360), (4000, 3000)
"""What a web page shows, and what a phone takes."""


def make_photos(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write `count` JPEGs of noise in several scales into the new `folder`; they are the same each time."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(count):
        image = Image.new("RGB", size)
        for scale in (2, 8, 32, 128):
            small = noise.integers(0, 256, (max(2, size[1] // scale), max(2, size[0] // scale), 3), dtype=np.uint8)
            image = Image.blend(image, Image.fromarray(small).resize(size, Image.Resampling.BICUBIC), 0.6)
        image.save(folder / f"{number:06d}.jpg", quality=85)
