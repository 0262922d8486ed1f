"""From a picture to CLIP's input, with Pillow and numpy: bit-equal to open_clip's inference transform."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from imagesearch.clip.model import Float32, ModelInfo

_INTERPOLATION = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

_MAX_ASPECT = 64
"""Beyond this aspect ratio, only what the crop keeps is resized: the whole strip could take gigabytes."""


def preprocess(image: Image.Image, info: ModelInfo, out: Float32 | None = None) -> Float32:
    """The input of the image tower, (3, image_size, image_size) float32, written into `out` where it is given.

    The shorter side is resized to `image_size` and the centre is cut out, or both sides are resized (`resize_mode`);
    then the channels are normalised. EXIF orientation and transparency are the caller's to settle
    (`imagesearch.images` does).
    """
    if out is None:
        out = np.empty((3, info.image_size, info.image_size), dtype=np.float32)
    # channels first before anything else: with three numbers in a row, each step would take ten times as long
    out[:] = np.asarray(_resize_and_crop(image, info)).transpose(2, 0, 1)
    out /= np.float32(255)
    out -= np.asarray(info.mean, dtype=np.float32)[:, None, None]
    out /= np.asarray(info.std, dtype=np.float32)[:, None, None]
    return out


def preprocess_batch(images: Sequence[Image.Image], info: ModelInfo) -> Float32:
    """The input of the image tower for `images`, (n, 3, image_size, image_size) float32."""
    batch = np.empty((len(images), 3, info.image_size, info.image_size), dtype=np.float32)
    for image, row in zip(images, batch, strict=True):
        preprocess(image, info, out=row)
    return batch


def _resize_and_crop(image: Image.Image, info: ModelInfo) -> Image.Image:
    """An RGB picture of image_size x image_size. The roundings are torchvision's (Resize, CenterCrop)."""
    size, resample = info.image_size, _INTERPOLATION[info.interpolation]
    if info.resize_mode == "squash":
        squashed = image if image.size == (size, size) else image.resize((size, size), resample)
        return squashed.convert("RGB")
    width, height = image.size
    short, long = sorted(image.size)
    resized = int(size * long / short)
    offset = round((resized - size) / 2)
    if long > short * _MAX_ASPECT:
        start, stop = (long * edge / resized for edge in (offset, offset + size))
        box = (0, start, width, stop) if height > width else (start, 0, stop, height)
        return image.resize((size, size), resample, box).convert("RGB")
    target, corner = ((size, resized), (0, offset)) if width <= height else ((resized, size), (offset, 0))
    if image.size != target:
        image = image.resize(target, resample)
    left, top = corner
    # RGB comes last, as in open_clip: a palette or a 1-bit picture is resized by nearest neighbour before it
    return image.crop((left, top, left + size, top + size)).convert("RGB")
