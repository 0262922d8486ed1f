"""Checkpoints of every format load to the same model; what is no checkpoint is refused; the fingerprint tells apart.

The weights are random, but full-size and in OpenAI's own format: half precision in places, three sizes beside them.
"""

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clip
import clip.model
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from batch.checkpoint import fingerprint, load_checkpoint
from batch.export import export_model
from batch.torch_encoder import TorchEncoder
from imagesearch.clip.model import Encoder, Float32
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.errors import ModelError

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit:FutureWarning",  # deprecated, and still what OpenAI's archives are
    "ignore::torch.jit.TracerWarning",
    "ignore:pkg_resources:UserWarning",
    "ignore:Detected pickle protocol:UserWarning",
)

MODEL = "ViT-B-32-quickgelu"
TEXTS = ["a photo of two dogs", "red", "", "größer & 東京 🐶", "a very long text that goes on and on " * 20]


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    shapes = [(300, 200), (224, 224), (99, 640)]
    noise = [Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in shapes]
    return [*noise, Image.new("RGB", (50, 50), "red"), Image.linear_gradient("L").convert("RGB")]


@dataclass(frozen=True)
class Checkpoints:
    """The same random weights in three files."""

    archive: Path
    state_dict: Path
    safetensors: Path

    def __iter__(self) -> Iterator[Path]:
        yield from (self.archive, self.state_dict, self.safetensors)


@pytest.fixture(scope="session")
def openai(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """A ViT-B/32 of random weights, saved as OpenAI saves its models, as a state dict, and as safetensors."""
    folder = tmp_path_factory.mktemp("openai")
    files = Checkpoints(folder / "ViT-B-32.pt", folder / "state.pt", folder / "model.safetensors")
    torch.manual_seed(0)
    model = clip.model.CLIP(512, 224, 12, 768, 32, 77, 49_408, 512, 8, 12).eval()
    with torch.no_grad():  # as initialised, all pictures and all texts would embed nearly the same
        model.visual.class_embedding.mul_(0.1)
        model.token_embedding.weight.mul_(20)
    clip.model.convert_weights(model)
    state = model.state_dict()
    save_file(state, files.safetensors)
    sizes = {"input_resolution": 224, "context_length": 77, "vocab_size": 49_408}
    torch.save(state | {name: torch.tensor(size) for name, size in sizes.items()}, files.state_dict)
    for name, size in sizes.items():
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(size))
    image, text = torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.long)
    methods = {"encode_image": (image,), "encode_text": (text,)}
    torch.jit.trace_module(model, methods, check_trace=False).save(files.archive)
    return files


@pytest.fixture(scope="session")
def reference(openai: Checkpoints) -> tuple[Float32, Float32]:
    """Embeddings of TEXTS and pictures() by OpenAI's package alone: its loader, tokenizer and preprocessing."""
    model, transform = clip.load(str(openai.archive), device="cpu")
    with torch.inference_mode():
        texts = model.encode_text(clip.tokenize(TEXTS, truncate=True))
        images = model.encode_image(torch.stack([transform(picture) for picture in pictures()]))
    return tuple(torch.nn.functional.normalize(x, dim=-1).numpy() for x in (texts, images))


def assert_same(reference: tuple[Float32, Float32], texts: Float32, images: Float32) -> None:
    for expected, found in zip(reference, (texts, images), strict=True):
        assert found.dtype == np.float32
        assert (expected * found).sum(axis=1).min() >= 0.9999


def test_embeddings_of_the_reference_tell_inputs_apart(reference: tuple[Float32, Float32]) -> None:
    for embeddings in reference:
        cosines = embeddings @ embeddings.T
        assert cosines[~np.eye(len(cosines), dtype=bool)].max() < 0.99


def test_torch_encoder_embeds_as_clip_does(openai: Checkpoints, reference: tuple[Float32, Float32]) -> None:
    encoder: Encoder = TorchEncoder(MODEL, str(openai.archive), device="cpu")
    assert_same(reference, encoder.encode_text(TEXTS), encoder.encode_images(pictures()))


def test_open_clip_itself_embeds_as_clip_does(openai: Checkpoints, reference: tuple[Float32, Float32]) -> None:
    model = open_clip.load_openai_model(str(openai.archive), precision="fp32", device="cpu")
    transform = open_clip.image_transform(224, is_train=False)
    with torch.inference_mode():
        texts = model.encode_text(open_clip.tokenize(TEXTS), normalize=True)
        images = model.encode_image(torch.stack([transform(picture) for picture in pictures()]), normalize=True)
    assert_same(reference, texts.numpy(), images.numpy())


def test_onnx_encoder_embeds_as_clip_does(
    openai: Checkpoints, reference: tuple[Float32, Float32], tmp_path: Path
) -> None:
    info = export_model(MODEL, str(openai.state_dict), tmp_path)
    encoder: Encoder = OnnxEncoder(tmp_path)
    assert encoder.info == info
    assert_same(reference, encoder.encode_text(TEXTS), encoder.encode_images(pictures()))


def test_every_format_has_the_same_fingerprint_and_means_quick_gelu(openai: Checkpoints) -> None:
    infos = [load_checkpoint(MODEL, str(path)).info for path in openai]
    assert [info.pretrained for info in infos] == ["ViT-B-32.pt", "state.pt", "model.safetensors"]
    assert len({info.model_copy(update={"pretrained": ""}) for info in infos}) == 1
    assert (infos[0].embed_dim, infos[0].image_size, infos[0].context_length) == (512, 224, 77)
    # OpenAI's own files say which activation they were trained with, bare weights don't
    assert load_checkpoint("ViT-B-32", str(openai.state_dict)).info.fingerprint == infos[0].fingerprint
    assert load_checkpoint("ViT-B-32", str(openai.safetensors)).info.fingerprint != infos[0].fingerprint


class Bomb:
    """Pickled, it creates `path` when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_code_is_refused_unrun(tmp_path: Path) -> None:
    bomb = {"weight": Bomb(tmp_path / "exploded")}
    torch.save(bomb, tmp_path / "torch.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(bomb))
    for name in ("torch.pt", "plain.pt"):
        with pytest.raises(ModelError, match="is no whole checkpoint"):
            load_checkpoint(MODEL, str(tmp_path / name))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 nor a zip"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match="is no whole checkpoint"):
        load_checkpoint(MODEL, str(tmp_path / name))


def test_a_truncated_checkpoint_is_refused(openai: Checkpoints, tmp_path: Path) -> None:
    for path in openai:
        part = tmp_path / path.name
        part.write_bytes(path.read_bytes()[:1_000_000])
        with pytest.raises(ModelError, match="is no whole checkpoint"):
            load_checkpoint(MODEL, str(part))


def test_weights_of_another_model_are_refused(openai: Checkpoints) -> None:
    with pytest.raises(ModelError, match="doesn't hold the weights of a ViT-B-16-quickgelu"):
        load_checkpoint("ViT-B-16-quickgelu", str(openai.safetensors))


def test_unknown_models_and_weights_are_refused_and_the_known_ones_told() -> None:
    with pytest.raises(ModelError, match="ViT-B-32-quickgelu"):
        load_checkpoint("ViT-B-33", "openai")
    with pytest.raises(ModelError, match="laion2b_s34b_b79k"):
        load_checkpoint("ViT-B-32", "no-such-weights")


@pytest.mark.parametrize(
    ("name", "pretrained", "asked"),
    [
        ("ViT-B-32-quickgelu", "openai", "ViT-B-32-quickgelu"),
        ("hf-hub:someone/something", "openai", "hf-hub:someone/something"),
        ("someone/something", "hub", "hf-hub:someone/something"),  # as model.json has it
    ],
)
def test_a_hub_out_of_reach_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, pretrained: str, asked: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=f"can't load {asked}.*the path of a checkpoint does as well"):
        load_checkpoint(name, pretrained)


SMALL = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
    "text_cfg": {"context_length": 8, "vocab_size": 49_408, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESSING = {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic"}


def small(**changes: Any) -> open_clip.CLIP:
    """A small random model, always the same; `changes` go into its text tower's configuration."""
    torch.manual_seed(0)
    return open_clip.CLIP(**(SMALL | {"text_cfg": SMALL["text_cfg"] | changes}))  # type: ignore[operator]


def test_the_fingerprint_is_the_same_for_half_and_full_precision() -> None:
    half = small().half()
    assert fingerprint(half, PREPROCESSING) == fingerprint(half.float(), PREPROCESSING)
    assert fingerprint(small(), PREPROCESSING) == fingerprint(half, PREPROCESSING)


def test_the_fingerprint_changes_with_all_that_changes_embeddings() -> None:
    def changed(tensor: str) -> open_clip.CLIP:
        model = small()
        model.state_dict()[tensor].view(-1)[-1] += 0.01
        return model

    torch.manual_seed(0)
    others = {
        "a weight": fingerprint(changed("text_projection"), PREPROCESSING),
        "a running statistic": fingerprint(changed("visual.bn1.running_mean"), PREPROCESSING),
        "attention heads": fingerprint(small(heads=4), PREPROCESSING),
        "activation": fingerprint(open_clip.CLIP(**SMALL | {"quick_gelu": False}), PREPROCESSING),  # type: ignore[arg-type]
        "interpolation": fingerprint(small(), PREPROCESSING | {"interpolation": "bilinear"}),
        "mean": fingerprint(small(), PREPROCESSING | {"mean": [0.5, 0.5, 0.4]}),
        "resizing": fingerprint(small(), PREPROCESSING | {"resize_mode": "squash"}),
        "pooling": fingerprint(small(pool_type="last"), PREPROCESSING),
    }
    assert len({fingerprint(small(), PREPROCESSING), *others.values()}) == 1 + len(others)


def test_the_fingerprint_ignores_what_changes_no_embedding() -> None:
    model = small()
    model.visual.bn1.num_batches_tracked += 7
    model.attn_mask.fill_(0)
    assert fingerprint(model, PREPROCESSING) == fingerprint(small(), PREPROCESSING)


@pytest.mark.parametrize(
    ("text", "preprocessing", "message"),
    [
        ({"vocab_size": 1000}, {}, "name its own tokenizer"),
        ({}, {"resize_mode": "longest"}, "takes its pictures as longest"),
    ],
)
def test_a_model_that_no_artifact_can_hold_is_refused(
    tmp_path: Path, text: dict[str, Any], preprocessing: dict[str, Any], message: str
) -> None:
    config = SMALL | {"text_cfg": SMALL["text_cfg"] | text, "custom_text": True}  # type: ignore[operator]
    arguments = {key: value for key, value in config.items() if key != "custom_text"}
    save_file(open_clip.CustomTextCLIP(**arguments).state_dict(), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESSING | preprocessing})
    )
    with pytest.raises(ModelError, match=message):
        load_checkpoint("small", str(tmp_path))


@pytest.mark.parametrize("config", [None, "{}", "nonsense"])
def test_a_folder_that_is_no_open_clip_model_is_refused(tmp_path: Path, config: str | None) -> None:
    if config is not None:
        (tmp_path / "open_clip_config.json").write_text(config)
    with pytest.raises(ModelError, match="can't load local-dir:"):
        load_checkpoint("small", str(tmp_path))
