"""Every way of storing a picture gives the same picture."""

from typing import Any

import numpy as np

from imagesearch.images import open_image


def test_it_opens_upright_on_white_and_at_full_range(golden: Any) -> None:
    opened = open_image(golden.data)
    assert opened.image.mode == "RGB"
    assert (opened.width, opened.height) == opened.image.size == (64, 32)
    assert (opened.format, opened.bytes) == (golden.format, len(golden.data))
    difference = np.abs(np.asarray(opened.image).astype(int) - golden.expected)
    assert difference.mean() <= golden.tolerance
