"""`model.json`: what is written is read again, and what isn't one is refused."""

from pathlib import Path

import pytest

from imagesearch.clip.model import ModelInfo
from imagesearch.errors import ModelError

INFO = ModelInfo(
    name="ViT-B-32-quickgelu",
    pretrained="openai",
    fingerprint="0123456789ab",
    embed_dim=512,
    image_size=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    interpolation="bicubic",
    context_length=77,
    logit_scale=100.0,
    precision="fp16",
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    INFO.save(tmp_path)
    assert ModelInfo.load(tmp_path) == INFO


def test_an_artifact_of_before_there_were_other_tokenizers_is_still_one(tmp_path: Path) -> None:
    newer = {"resize_mode", "tokenizer", "cleaning", "padding"}
    (tmp_path / "model.json").write_text(INFO.model_dump_json(exclude=newer))
    assert ModelInfo.load(tmp_path) == INFO
    assert (INFO.resize_mode, INFO.tokenizer, INFO.cleaning, INFO.padding) == ("shortest", "clip", "lower", "longest")


def test_a_folder_without_model_json_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a model artifact"):
        ModelInfo.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": "x"}', b"\xff\xfe"])
def test_a_file_that_is_no_model_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match="is no valid model"):
        ModelInfo.load(tmp_path)
