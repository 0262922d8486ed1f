"""An exported artifact embeds as its checkpoint does in torch, and takes its place whole or not at all."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.modules.module import register_module_forward_pre_hook

from batch import export
from batch.encode import batch_size_for
from batch.export import export_model
from batch.torch_encoder import TorchEncoder
from imagesearch.clip.model import Float32, ModelInfo
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.errors import ModelError

FILES = {"model.json", "text.onnx", "text.onnx.data", "image.onnx", "image.onnx.data", "tokenizer.json"}
TEXTS = ["two dogs", "red apple", "", "größer & 東京 🐶", "a very long text that goes on and on " * 20]


def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (4, 90, 120, 3), dtype=np.uint8)
    return [*map(Image.fromarray, noise), Image.new("RGB", (50, 50), "red"), Image.linear_gradient("L").convert("RGB")]


def assert_same(expected: Float32, found: Float32, within: float = 1e-4) -> None:
    assert (expected * found).sum(axis=1).min() >= 1 - within


def save_small_model(folder: Path, **changes: Any) -> Path:
    """An open_clip folder with a small model of random weights that is unlike the bundled one where it can be."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 12, "vocab_size": 49_408, "width": 32, "heads": 2, "layers": 1},
    } | changes
    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    torch.manual_seed(0)
    model = kind(**{key: value for key, value in config.items() if key != "custom_text"})
    preprocessing = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.25, 0.5], "interpolation": "bilinear"}
    folder.mkdir()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    config_file = folder / "open_clip_config.json"
    config_file.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocessing}))
    return folder


def test_the_bundled_artifact_is_what_its_checkpoint_exports_to(tiny_model: Path, tmp_path: Path) -> None:
    bundled, exported = OnnxEncoder(tiny_model), tmp_path / "exported"
    info = export_model("tiny-clip", str(tiny_model / "checkpoint"), exported, precision="fp16")
    assert info == bundled.info == ModelInfo.load(exported)
    assert {path.name for path in exported.iterdir()} == FILES
    fresh = OnnxEncoder(exported)
    assert_same(fresh.encode_text(TEXTS), bundled.encode_text(TEXTS))
    assert_same(fresh.encode_images(pictures()), bundled.encode_images(pictures()))
    assert (exported / "tokenizer.json").read_bytes() == (tiny_model / "tokenizer.json").read_bytes()


def test_the_bundled_artifact_embeds_as_its_checkpoint_does(tiny_model: Path) -> None:
    bundled, torch_encoder = OnnxEncoder(tiny_model), TorchEncoder("tiny-clip", str(tiny_model / "checkpoint"), "cpu")
    assert torch_encoder.info == bundled.info.model_copy(update={"precision": "fp32"})
    for expected, found in (
        (torch_encoder.encode_text(TEXTS), bundled.encode_text(TEXTS)),
        (torch_encoder.encode_images(pictures()), bundled.encode_images(pictures())),
    ):
        assert_same(expected, found)
        cosines = expected @ expected.T
        assert cosines[~np.eye(len(cosines), dtype=bool)].min() < 0.9  # so that being alike means something


def test_the_bundled_graphs_are_portable(tiny_model: Path) -> None:
    for name in ("text.onnx", "image.onnx"):
        graph = onnx.load(tiny_model / name, load_external_data=False).graph
        assert {node.domain for node in graph.node} <= {"", "com.microsoft"}
        assert b"site-packages" not in (tiny_model / name).read_bytes()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_torch_encodes_in_half_precision_nearly_the_same(tiny_model: Path, precision: Any) -> None:
    checkpoint = str(tiny_model / "checkpoint")
    half, full = TorchEncoder("x", checkpoint, "cpu", precision), TorchEncoder("x", checkpoint, "cpu")
    for expected, found in (
        (full.encode_text(TEXTS), half.encode_text(TEXTS)),
        (full.encode_images(pictures()), half.encode_images(pictures())),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
        assert_same(expected, found, within=2e-3)


def test_torch_makes_nothing_of_nothing(tiny_model: Path) -> None:
    encoder = TorchEncoder("tiny-clip", str(tiny_model / "checkpoint"))
    assert encoder.encode_text([]).shape == encoder.encode_images([]).shape == (0, 128)


def test_a_model_with_a_text_module_of_its_own_is_exported_in_half_the_bytes(tmp_path: Path) -> None:
    text = {"context_length": 12, "vocab_size": 49_408, "width": 32, "heads": 2, "layers": 1, "proj_bias": True}
    checkpoint = str(save_small_model(tmp_path / "small", custom_text=True, text_cfg=text))
    info = export_model("small", checkpoint, tmp_path / "artifact", "fp16")
    assert (info.interpolation, info.std, info.precision) == ("bilinear", (0.5, 0.25, 0.5), "fp16")
    encoder, expected = OnnxEncoder(tmp_path / "artifact"), TorchEncoder("small", checkpoint, "cpu")
    assert_same(expected.encode_text(TEXTS), encoder.encode_text(TEXTS))
    assert_same(expected.encode_images(pictures()), encoder.encode_images(pictures()))


def test_an_export_replaces_the_old_one_and_nothing_else(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, checkpoint = tmp_path / "artifact", str(save_small_model(tmp_path / "small"))
    artifact.mkdir()
    for name in FILES:
        shutil.copy(tiny_model / name, artifact)
    (artifact / "README.md").write_text("mine")

    monkeypatch.setitem(export.MIN_COSINE, "fp32", 2)  # more than any cosine can be
    with pytest.raises(ModelError, match="the exported text tower embeds differently"):
        export_model("small", checkpoint, artifact)
    assert {path.name for path in artifact.iterdir()} == FILES | {"README.md"}
    assert all((artifact / name).read_bytes() == (tiny_model / name).read_bytes() for name in FILES)

    monkeypatch.undo()
    info = export_model("small", checkpoint, artifact)
    assert {path.name for path in artifact.iterdir()} == FILES | {"README.md"}
    assert OnnxEncoder(artifact).info == info
    assert OnnxEncoder(artifact).encode_text(TEXTS).shape == (len(TEXTS), 24)
    assert (artifact / "README.md").read_text() == "mine"


def test_a_model_that_loses_too_much_as_int8_is_refused(tmp_path: Path) -> None:
    checkpoint = save_small_model(tmp_path / "small")
    weights = load_file(checkpoint / "open_clip_model.safetensors")
    # one feature that is far larger than all others, and that nothing comes of: 8 bits that hold it hold no other
    weights["ln_final.weight"][0], weights["text_projection"][0] = 1e4, 0
    save_file(weights, checkpoint / "open_clip_model.safetensors")
    refusal = r"the exported text tower embeds differently: cosine .*below 0\.995; .* as int8: export it as fp32"
    with pytest.raises(ModelError, match=refusal):
        export_model("small", str(checkpoint), tmp_path / "artifact", "int8")
    assert list((tmp_path / "artifact").iterdir()) == []
    assert export_model("small", str(checkpoint), tmp_path / "artifact").precision == "fp32"


def test_a_batch_that_the_gpu_has_no_memory_for_is_encoded_in_smaller_ones(
    tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = TorchEncoder("tiny-clip", str(tiny_model / "checkpoint"), "cpu")
    size = encoder.info.image_size
    pixels = np.random.default_rng(0).standard_normal((11, 3, size, size), dtype=np.float32)
    expected, seen = encoder.encode_pixels(pixels), []

    def short_of_memory(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, torch.nn.Conv2d) and module.in_channels == 3:
            seen.append(len(inputs[0]))
            if len(inputs[0]) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")

    with register_module_forward_pre_hook(short_of_memory):
        assert np.abs(encoder.encode_pixels(pixels) - expected).max() < 1e-6
        encoder.encode_pixels(pixels)
    assert seen == [11, 5, *[2, 2, 2, 2, 2, 1], *[2, 2, 2, 2, 2, 1]]
    assert "too little memory for 11 images at once: 5 from now on" in caplog.text


def test_a_gpu_without_memory_for_one_image_is_an_error(tiny_model: Path) -> None:
    encoder = TorchEncoder("tiny-clip", str(tiny_model / "checkpoint"), "cpu")

    def no_memory(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    size = encoder.info.image_size
    with register_module_forward_pre_hook(no_memory), pytest.raises(ModelError, match="too little memory for a single"):
        encoder.encode_pixels(np.zeros((2, 3, size, size), np.float32))


def test_without_a_gpu_the_batch_size_is_not_tried_out(tiny_model: Path) -> None:
    encoder = TorchEncoder("tiny-clip", str(tiny_model / "checkpoint"), "cpu")
    assert batch_size_for(encoder) == batch_size_for(OnnxEncoder(tiny_model)) == 32
