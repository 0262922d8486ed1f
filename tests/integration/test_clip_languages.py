"""Models with tokenizers and text towers of their own: exported, they embed texts of any script as they do in torch.

The models are small and random, and made here: tokenizers trained on a few sentences, towers of every kind that
open_clip has for them.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import HFTokenizer
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers
from tokenizers.models import Unigram, WordPiece
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from batch.checkpoint import load_checkpoint
from batch.export import export_model
from batch.text_tower import tokenizer_file
from batch.torch_encoder import TorchEncoder
from imagesearch.clip.model import Cleaning, Float32, ModelInfo, Padding
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.clip.tokenize import HuggingFaceTokenizer
from imagesearch.errors import ModelError
from imagesearch.index import open_index
from imagesearch.index.base import Upsert
from imagesearch.records import ImageMetadata

TEXTS = [
    "two dogs on a beach",
    "Zwei Hunde am Strand, größer & schöner!",
    "две собаки на пляже",
    "كلبان على الشاطئ",
    "海滩上的两只狗",
    "समुद्र तट पर दो कुत्ते",
    "두 마리의 개",
    "🐶🐶🏖️ 👩\u200d👩\u200d👧",
    "e\u0301te\u0301 a\u030a",  # combining marks
    "a",
    "",
    "a very long text that goes on and on " * 20,
]
CONTEXT = 32
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def train_unigram(folder: Path, template: str = "<s> $A </s>", **special: str) -> int:
    """Save a SentencePiece-like tokenizer as a local Hugging Face folder; how many tokens it has."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=[("<s>", 0), ("</s>", 2)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"} | special
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return int(tokenizer.get_vocab_size())


def train_wordpiece(folder: Path) -> int:
    """Save a tokenizer such as BERT's as a local Hugging Face folder; how many tokens it has."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return int(tokenizer.get_vocab_size())


VISION = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
SQUASHED = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


@dataclass
class Recipe:
    """A kind of model: `config` is what Hugging Face's tower is made of, `text` what stands in open_clip's text_cfg."""

    padding: Padding
    config: Any = None
    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=lambda: VISION)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    template: str = "<s> $A </s>"
    special: dict[str, str] = field(default_factory=dict)
    wordpiece: bool = False
    own_tokenizer: bool = True


def xlm_roberta(vocabulary: int) -> transformers.PretrainedConfig:
    return transformers.XLMRobertaConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=CONTEXT + 2, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip


def bert(vocabulary: int) -> transformers.PretrainedConfig:
    return transformers.BertConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=CONTEXT, pad_token_id=0,
    )  # fmt: skip


def mt5(vocabulary: int) -> transformers.PretrainedConfig:
    return transformers.MT5Config(
        vocab_size=vocabulary, d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, pad_token_id=1,
        decoder_start_token_id=1,
    )  # fmt: skip


def m2m_100(vocabulary: int) -> transformers.PretrainedConfig:
    return transformers.M2M100Config(
        vocab_size=vocabulary, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=CONTEXT + 2,
    )  # fmt: skip


SIGLIP = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True, "norm_kwargs": {"eps": 1e-6}}
RECIPES = {
    "xlm-roberta": Recipe("longest", xlm_roberta, {"hf_pooler_type": "mean_pooler"}),
    "unmasked": Recipe("context", xlm_roberta, {"hf_pooler_type": "mean_pooler"}, special={"pad_token": "<mask>"}),
    "bert": Recipe("longest", bert, {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"}, wordpiece=True),
    "mt5": Recipe("longest", mt5, {"hf_pooler_type": "mean_pooler"}, template="$A </s>"),
    "nllb": Recipe("longest", m2m_100, {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"}),
    "siglip": Recipe(
        "context",
        text=SIGLIP | {"tokenizer_kwargs": {"clean": "canonicalize"}, "act_kwargs": {"approximate": "tanh"}},
        vision={"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
        preprocessing=SQUASHED,
        template="$A </s>",
        special={"pad_token": "</s>"},
    ),
    "worldwide": Recipe("longest", text={"pool_type": "eos", "eos_id": 2}),
    "mobileclip": Recipe("context", text={"no_causal_mask": True}, own_tokenizer=False),
}  # fmt: skip


def save_model(folder: Path, kind: str, embed_dim: int = 24, **text_changes: Any) -> Path:
    """An open_clip folder with a small random model of a kind, its tokenizer and its configuration in it."""
    recipe = RECIPES[kind]
    folder.mkdir()
    text: dict[str, Any] = {"context_length": CONTEXT}
    vocabulary = 49_408
    if recipe.own_tokenizer:
        vocabulary = (
            train_wordpiece(folder) if recipe.wordpiece else train_unigram(folder, recipe.template, **recipe.special)
        )
        text["hf_tokenizer_name"] = str(folder)
    if recipe.config:
        recipe.config(vocabulary).save_pretrained(folder)
        text |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
    else:
        text |= {"vocab_size": vocabulary, "width": 32, "heads": 2, "layers": 2}
    text |= recipe.text | text_changes
    if kind == "siglip":
        embed_dim = 64  # test_vit's, as it has no projection
    config = {"embed_dim": embed_dim, "vision_cfg": recipe.vision, "text_cfg": text, "custom_text": True}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(embed_dim, dict(recipe.vision), dict(text))
    with torch.no_grad():  # as initialised, all texts would embed nearly the same
        for name, weights in model.text.named_parameters():
            if weights.ndim == 2:
                embedding = any(part in name for part in ("embedding", "embed_tokens", "shared"))
                weights.normal_(std=1 if embedding else 1.5 * weights.shape[1] ** -0.5)
    save_file(
        {name: tensor.clone() for name, tensor in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": recipe.preprocessing})
    )
    return folder


@dataclass
class Exported:
    """A model of a kind, in both runtimes."""

    kind: str
    checkpoint: Path
    artifact: Path
    info: ModelInfo
    torch: TorchEncoder
    onnx: OnnxEncoder


@pytest.fixture(scope="module", params=list(RECIPES))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    kind: str = request.param
    checkpoint = save_model(tmp_path_factory.mktemp(kind) / "checkpoint", kind)
    artifact = checkpoint.parent / "artifact"
    info = export_model(kind, str(checkpoint), artifact)
    return Exported(kind, checkpoint, artifact, info, TorchEncoder(kind, str(checkpoint), "cpu"), OnnxEncoder(artifact))


def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (4, 90, 120, 3), dtype=np.uint8)
    return [*map(Image.fromarray, noise), Image.new("RGB", (50, 50), "red"), Image.linear_gradient("L").convert("RGB")]


def assert_same(expected: Float32, found: Float32) -> None:
    assert found.dtype == np.float32
    assert (expected * found).sum(axis=1).min() >= 0.9999


def test_texts_of_any_script_are_embedded_as_in_torch(exported: Exported) -> None:
    expected = exported.torch.encode_text(TEXTS)
    assert_same(expected, exported.onnx.encode_text(TEXTS))
    cosines = expected @ expected.T
    assert cosines[~np.eye(len(cosines), dtype=bool)].max() < 0.999  # so that being alike means something


def test_a_text_alone_is_embedded_as_among_others(exported: Exported) -> None:
    alone = np.concatenate([exported.onnx.encode_text([text]) for text in TEXTS])
    assert_same(exported.onnx.encode_text(TEXTS), alone)


def test_pictures_are_embedded_as_in_torch(exported: Exported) -> None:
    assert_same(exported.torch.encode_images(pictures()), exported.onnx.encode_images(pictures()))


def test_model_json_says_what_the_text_needs(exported: Exported) -> None:
    recipe, info = RECIPES[exported.kind], exported.info
    assert info == exported.torch.info == ModelInfo.load(exported.artifact)
    assert info.context_length == CONTEXT
    assert info.padding == recipe.padding
    assert info.tokenizer == ("huggingface" if recipe.own_tokenizer else "clip")
    assert info.cleaning == {"siglip": "canonicalize", "mobileclip": "lower"}.get(exported.kind, "whitespace")
    assert info.resize_mode == ("squash" if recipe.preprocessing else "shortest")


def test_padding_is_left_out_only_where_it_changes_nothing(exported: Exported) -> None:
    short = ["a", ""]
    model = load_checkpoint(exported.kind, str(exported.checkpoint))
    padded = model.tokenizer(short)
    assert padded.shape == (2, CONTEXT)
    width = exported.onnx._tokenizer(short).shape[1]
    if exported.info.padding == "longest":
        assert width in (3, 4)  # a or ▁a, and one or two that mark begin and end
        (found,) = exported.onnx._text.run(None, {"input": padded.numpy()})  # the graph takes padded texts too
        assert_same(found, np.concatenate([exported.onnx.encode_text([text]) for text in short]))
    else:
        assert width == CONTEXT
        half = CONTEXT // 2
        otherwise = torch.nn.functional.pad(padded[:, :half], (0, half), value=int(padded[0, -1]) + 1)
        with torch.inference_mode():
            one, other = (model.module.encode_text(ids, normalize=True) for ids in (padded, otherwise))
        assert (one * other).sum(dim=1).max() < 0.9999  # other padding, another embedding


def test_a_search_finds_by_a_text_of_any_script_what_torch_finds(exported: Exported, tmp_path: Path) -> None:
    index = open_index(
        f"duckdb://{tmp_path / 'index.duckdb'}", exported.info.fingerprint, exported.info.embed_dim, "lucene"
    )
    index.create()
    vectors = exported.onnx.encode_images(pictures())
    index.bulk(
        Upsert(id=str(number), version=1, vector=vector, metadata=ImageMetadata(uri=f"file:///{number}"))
        for number, vector in enumerate(vectors)
    )
    cosines = exported.torch.encode_text(TEXTS) @ exported.torch.encode_images(pictures()).T
    for vector, expected in zip(exported.onnx.encode_text(TEXTS), cosines, strict=True):
        scores = {int(hit.id): hit.score for hit in index.search(vector, k=6)}
        np.testing.assert_allclose([scores[number] for number in range(6)], expected, atol=1e-3)


@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.999), ("int8", 0.995)])
def test_fewer_bytes_embed_nearly_the_same(tmp_path: Path, precision: Any, least: float) -> None:
    checkpoint = str(save_model(tmp_path / "checkpoint", "xlm-roberta"))
    export_model("small", checkpoint, tmp_path / "artifact", precision)
    found = OnnxEncoder(tmp_path / "artifact").encode_text(TEXTS)
    assert (TorchEncoder("small", checkpoint, "cpu").encode_text(TEXTS) * found).sum(axis=1).min() > least


@pytest.fixture(scope="module", params=["unigram", "wordpiece"])
def tokenizers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """For each cleaning, open_clip's tokenizer and that of an artifact."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_wordpiece(folder) if request.param == "wordpiece" else train_unigram(folder)
    info = ModelInfo(
        name="any", pretrained="any", fingerprint="0123456789ab", embed_dim=1, image_size=1, mean=(0, 0, 0),
        std=(1, 1, 1), interpolation="bicubic", context_length=CONTEXT, logit_scale=1, padding="context",
    )  # fmt: skip
    pairs = {}
    for how in ("lower", "whitespace", "canonicalize"):
        reference = HFTokenizer(str(folder), context_length=CONTEXT, clean=how)
        tokenizer_file(reference, info).save(str(folder / "tokenizer-of-artifact.json"))
        pairs[how] = reference, HuggingFaceTokenizer(folder / "tokenizer-of-artifact.json", CONTEXT, how, "context")
    return pairs


@given(
    text=st.text(alphabet=st.characters(codec=None))
    | st.lists(st.sampled_from([*TEXTS, *SPECIAL, "&amp;", "_"])).map(" ".join)
)
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("how", ["lower", "whitespace", "canonicalize"])
def test_ids_equal_those_of_open_clip_on_any_text(tokenizers: dict[str, Any], how: Cleaning, text: str) -> None:
    reference, tokenizer = tokenizers[how]
    assert tokenizer([text]).tolist() == reference(text).tolist()


def test_the_fingerprint_tells_text_towers_apart(tmp_path: Path) -> None:
    kinds = {
        "mean": ("xlm-roberta", {}),
        "class": ("xlm-roberta", {"hf_pooler_type": "cls_last_hidden_state_pooler"}),
        "both ways": ("worldwide", {"no_causal_mask": True}),
        "causal": ("worldwide", {}),
        "of the end": ("worldwide", {"eos_id": 3}),
    }
    found = {
        name: load_checkpoint("x", str(save_model(tmp_path / name, kind, **changes))).info.fingerprint
        for name, (kind, changes) in kinds.items()
    }
    assert len(set(found.values())) == len(kinds)


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        ("xlm-roberta", {"hf_pooler_type": "max_pooler"}, "mean_pooler and cls_pooler can be exported"),
        ("xlm-roberta", {"output_tokens": True}, "set it to false"),
        ("xlm-roberta", {"context_length": 400}, "can't take 400 tokens"),
        ("siglip", {"tokenizer_mode": "clips"}, "changes its tokenizer's ids"),
        ("siglip", {"tokenizer_kwargs": {"strip_sep_token": True}}, "changes its tokenizer's ids"),
        ("siglip", {"vocab_size": 50}, "tokens more than the 50 that its text tower knows"),
        ("worldwide", {"pool_type": "none"}, "no one feature for a text"),
        ("mobileclip", {"vocab_size": 1000}, "name its own tokenizer as hf_tokenizer_name"),
        ("mobileclip", {"tokenizer_kwargs": {"reduction_mask": "random"}}, "shortens long texts by chance"),
        ("mobileclip", {"embed_cls": True}, "is a CoCa"),
    ],
)
def test_a_model_that_no_artifact_can_hold_is_refused_with_what_would_be_right(
    tmp_path: Path, kind: str, changes: dict[str, Any], says: str
) -> None:
    checkpoint = save_model(tmp_path / "checkpoint", kind, **changes)
    with pytest.raises(ModelError, match=says):
        export_model("small", str(checkpoint), tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


def test_a_folder_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    checkpoint = save_model(tmp_path / "checkpoint", "worldwide")
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"can't load the tokenizer of .* the folder needs its files"):
        load_checkpoint("small", str(checkpoint))


@pytest.mark.parametrize("kind", ["worldwide", "xlm-roberta"])
def test_without_transformers_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    checkpoint = save_model(tmp_path / "checkpoint", kind)
    monkeypatch.setattr("open_clip.hf_model.transformers", None)
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ModelError, match="uv sync --inexact --group torch"):
        load_checkpoint("small", str(checkpoint))
