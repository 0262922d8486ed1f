"""What every Encoder must do, held against all of them: ONNX Runtime with fp16 and with int8 weights, and torch."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

from batch.cli import app
from batch.torch_encoder import TorchEncoder
from imagesearch.clip.model import Encoder
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.clip.preprocess import preprocess_batch

TEXTS = ["red apple", "a dog", "", "a very long text that goes on and on " * 20, "größer & 東京 🐶"]


@pytest.fixture(scope="module")
def int8_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model, exported as int8 by the command line."""
    folder = tmp_path_factory.mktemp("int8")
    weights = ["--model-name", "tiny-clip", "--pretrained", str(tiny_model / "checkpoint")]
    ran = CliRunner().invoke(app, ["export-model", str(folder), *weights, "--precision", "int8"])
    assert ran.exit_code == 0, ran.output
    assert "its fingerprint is f06b2f336db1" in ran.output
    return folder


@pytest.fixture(scope="module", params=["onnx", "int8", "torch"])
def encoder(request: pytest.FixtureRequest, tiny_model: Path) -> Encoder:
    match request.param:
        case "onnx":
            return OnnxEncoder(tiny_model)
        case "int8":
            return OnnxEncoder(request.getfixturevalue("int8_model"))
        case _:
            return TorchEncoder("tiny-clip", str(tiny_model / "checkpoint"), "cpu")


def pictures() -> list[Image.Image]:
    values = np.random.default_rng(0).integers(0, 256, (4, 30, 50, 3), dtype=np.uint8)
    return [Image.fromarray(value) for value in values] + [Image.new("RGB", (1, 9)), Image.new("L", (200, 200), 255)]


def drawings(folder: Path, names: list[str]) -> list[Image.Image]:
    opened = [Image.open(folder / "photos" / f"{name}.webp").convert("RGBA") for name in names]
    on_white = [Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing) for drawing in opened]
    return [picture.convert("RGB") for picture in on_white]


def test_embeddings_have_length_one_and_the_dimension_of_the_model(encoder: Encoder) -> None:
    for embeddings, count in ((encoder.encode_text(TEXTS), 5), (encoder.encode_images(pictures()), 6)):
        assert embeddings.shape == (count, encoder.info.embed_dim) == (count, 128)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


def test_texts_are_embedded_in_a_batch_as_alone(encoder: Encoder) -> None:
    alone = np.concatenate([encoder.encode_text([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode_text(TEXTS), alone, atol=1e-5)


def test_images_are_embedded_in_a_batch_as_alone(encoder: Encoder) -> None:
    alone = np.concatenate([encoder.encode_images([picture]) for picture in pictures()])
    np.testing.assert_allclose(encoder.encode_images(pictures()), alone, atol=1e-5)


def test_pixels_are_preprocessed_images(encoder: Encoder) -> None:
    pixels = preprocess_batch(pictures(), encoder.info)
    np.testing.assert_array_equal(encoder.encode_pixels(pixels), encoder.encode_images(pictures()))


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    assert encoder.encode_text([]).shape == encoder.encode_images([]).shape == (0, 128)


def test_words_find_what_they_name(encoder: Encoder, tiny_model: Path) -> None:
    names = ["red-apple", "dog-face", "guitar", "sailboat", "soccer-ball", "pizza", "umbrella", "rocket"]
    texts = encoder.encode_text([name.replace("-", " ") for name in names])
    images = encoder.encode_images(drawings(tiny_model, names))
    assert (texts @ images.T).argmax(axis=1).tolist() == list(range(len(names)))


def test_many_threads_embed_as_one_does(encoder: Encoder) -> None:
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(encoder.encode_text, [[text] for text in TEXTS * 4]))
        images = list(pool.map(encoder.encode_images, [pictures()] * 4))
    np.testing.assert_allclose(np.concatenate(texts), np.tile(encoder.encode_text(TEXTS), (4, 1)), atol=1e-5)
    np.testing.assert_allclose(np.stack(images), np.stack([encoder.encode_images(pictures())] * 4), atol=1e-5)


def test_all_make_the_same_vector_space(encoder: Encoder, tiny_model: Path) -> None:
    expected, least = OnnxEncoder(tiny_model), 0.999 if encoder.info.precision == "int8" else 0.9999
    assert encoder.info.fingerprint == expected.info.fingerprint
    some = [*pictures(), *drawings(tiny_model, ["dog-face", "pizza"])]
    assert (encoder.encode_text(TEXTS) * expected.encode_text(TEXTS)).sum(axis=1).min() >= least
    assert (encoder.encode_images(some) * expected.encode_images(some)).sum(axis=1).min() >= least


def test_int8_multiplies_integers_and_takes_less_room(int8_model: Path, tiny_model: Path) -> None:
    for name in ("text.onnx", "image.onnx"):
        graph = onnx.load(int8_model / name, load_external_data=False).graph
        assert {node.op_type for node in graph.node} & {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
        assert {node.domain for node in graph.node} <= {"", "com.microsoft"}
        size, half = ((folder / f"{name}.data").stat().st_size for folder in (int8_model, tiny_model))
        # of the image tower, which is a ResNet, only the pooling is quantised
        assert size < (0.6 if name == "text.onnx" else 1.1) * half
