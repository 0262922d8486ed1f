"""The encoder on ONNX Runtime, with the bundled model; what all encoders share is in test_encoder_contract."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagesearch.clip.model import Encoder, ModelInfo
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.errors import ModelError

TEXTS = ["red apple", "a dog", "", "a very long text that goes on and on " * 20, "größer & 東京 🐶"]
ARTIFACT = ("model.json", "text.onnx", "text.onnx.data", "image.onnx", "image.onnx.data", "tokenizer.json")


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return OnnxEncoder(tiny_model)


@pytest.fixture
def copied(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the bundled artifact, to be damaged."""
    for name in ARTIFACT:
        shutil.copy(tiny_model / name, tmp_path)
    return tmp_path


def pictures() -> list[Image.Image]:
    values = np.random.default_rng(0).integers(0, 256, (4, 30, 50, 3), dtype=np.uint8)
    return [Image.fromarray(value) for value in values] + [Image.new("RGB", (1, 9)), Image.new("L", (200, 200), 255)]


def test_many_threads_share_an_encoder_from_its_first_use_on(encoder: Encoder, tiny_model: Path) -> None:
    fresh = OnnxEncoder(tiny_model, threads=1)
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(fresh.encode_text, [[text] for text in TEXTS * 4]))
        images = list(pool.map(fresh.encode_images, [pictures()] * 4))
    np.testing.assert_allclose(np.concatenate(texts), np.tile(encoder.encode_text(TEXTS), (4, 1)), atol=1e-5)
    np.testing.assert_allclose(np.stack(images), np.stack([encoder.encode_images(pictures())] * 4), atol=1e-5)


def test_queries_need_neither_torch_nor_open_clip(tiny_model: Path) -> None:
    script = """
import sys
from pathlib import Path
from PIL import Image
from imagesearch.clip.onnx import OnnxEncoder
encoder = OnnxEncoder(Path(sys.argv[1]))
encoder.encode_text(["two dogs"])
encoder.encode_images([Image.new("RGB", (9, 9))])
print(sorted({"torch", "torchvision", "open_clip", "clip", "transformers", "onnx"} & sys.modules.keys()))
"""
    result = subprocess.run([sys.executable, "-c", script, tiny_model], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["text.onnx", "image.onnx", "tokenizer.json"])
def test_an_artifact_that_lacks_a_file_is_refused(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(ModelError, match=f"lacks {name}"):
        OnnxEncoder(copied)


@pytest.mark.parametrize("bytes_left", [0, 1000])
def test_lost_image_weights_are_told_and_leave_text_alone(copied: Path, bytes_left: int) -> None:
    os.truncate(copied / "image.onnx.data", bytes_left)
    encoder = OnnxEncoder(copied)
    assert encoder.encode_text(["a"]).shape == (1, 128)
    with pytest.raises(ModelError, match=r"image\.onnx can't be loaded"):
        encoder.encode_images(pictures())


def test_missing_text_weights_are_told_and_leave_images_alone(copied: Path) -> None:
    (copied / "text.onnx.data").unlink()
    encoder = OnnxEncoder(copied)
    assert encoder.encode_images(pictures()).shape == (6, 128)
    with pytest.raises(ModelError, match=r"text\.onnx can't be loaded"):
        encoder.encode_text(["a"])


@pytest.mark.parametrize("changes", [{"embed_dim": 512}, {"image_size": 224}])
def test_towers_of_another_model_are_refused(copied: Path, changes: dict[str, int]) -> None:
    info = json.loads((copied / "model.json").read_text()) | changes
    ModelInfo(**info).save(copied)
    with pytest.raises(ModelError, match="doesn't belong to its model"):
        OnnxEncoder(copied).encode_images(pictures())
