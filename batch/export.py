"""Export an open_clip model to the artifact that the query path runs: ONNX towers, tokenizer, model.json."""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import open_clip
import torch
import torch.nn.functional as F  # noqa: N812 (as everywhere in torch)
from onnx import TensorProto, helper, numpy_helper
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer, text_global_pool
from PIL import Image
from torch import Tensor, nn

from batch.checkpoint import DEFAULT_MODEL, DEFAULT_PRETRAINED, LoadedModel, load_checkpoint
from batch.quantize import quantize
from batch.text_tower import pooling_of, text_tower, tokenizer_file
from imagesearch.clip.model import IMAGE_FILE, MODEL_FILE, TEXT_FILE, TOKENIZER_FILE, ModelInfo, Precision
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.clip.preprocess import preprocess_batch
from imagesearch.errors import ModelError

MIN_COSINE: dict[Precision, float] = {"fp32": 0.9999, "fp16": 0.9999, "int8": 0.995}
"""How near to torch's an embedding of the exported model must be."""

_WEIGHT_BYTES = 1024
"""Smaller tensors are constants and biases: they stay in the graph, and stay fp32."""

_PROBES = (
    *("", "a", "two dogs on a beach", "a photo of a cat, 1984", "größer & 東京 🐶", "word " * 100),
    *("собака на пляже", "كلب على الشاطئ", "समुद्र तट पर कुत्ता", "e\u0301te\u0301"),
)


def export_model(
    name: str = DEFAULT_MODEL,
    pretrained: str = DEFAULT_PRETRAINED,
    folder: Path = Path("model"),
    precision: Precision = "fp32",
) -> ModelInfo:
    """Export the open_clip model `name` with the weights `pretrained` (see `load_checkpoint`) into `folder`.

    With `precision` fp16 the weights take half the bytes, and are rounded to fp16 if the checkpoint isn't fp16 already,
    as OpenAI's are; computing stays fp32. An fp32 artifact starts faster, as its weights are mapped into memory.

    The export is held against torch before it gets its place; `model.json` comes last, so a folder that has one is
    whole. Other files in `folder` are left alone.

    Raises:
        ModelError: the checkpoint can't be loaded, or the exported model embeds differently.
    """
    model = load_checkpoint(name, pretrained)
    info = model.info.model_copy(update={"precision": precision})
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as scratch:
        draft = Path(scratch)
        _export_text(model, draft / TEXT_FILE, precision)
        _export_image(model, draft / IMAGE_FILE, precision)
        tokenizer_file(model.tokenizer, info).save(str(draft / TOKENIZER_FILE), pretty=False)
        info.save(draft)
        _verify(model, draft)
        (folder / MODEL_FILE).unlink(missing_ok=True)
        for path in sorted(draft.iterdir(), key=lambda path: path.name == MODEL_FILE):
            path.replace(folder / path.name)
    return info


class _Text(nn.Module):
    """The text tower for token ids (n, length), normalised; any length up to the context's where padding is ignored."""

    def __init__(self, module: open_clip.CLIP) -> None:
        super().__init__()
        self.module: Any = module

    def forward(self, tokens: Tensor) -> Tensor:
        embeddings: Tensor = self.module.encode_text(tokens, normalize=True)
        return embeddings


class _CausalText(nn.Module):
    """A text tower whose attention is causal and which pools a token before the padding, for ids (n, length).

    open_clip's takes texts of the context length alone, so here its parts are put together: cutting the padding off
    changes nothing but the time it takes.
    """

    def __init__(self, module: open_clip.CLIP) -> None:
        super().__init__()
        self.tower: Any = text_tower(module)
        self.pooling, self.end = pooling_of(self.tower)

    def forward(self, tokens: Tensor) -> Tensor:
        tower, length = self.tower, tokens.shape[1]
        x = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
        x = text_global_pool(x, tokens, self.pooling, self.end)
        projection = tower.text_projection
        if projection is not None:
            x = projection(x) if isinstance(projection, nn.Linear) else x @ projection
        return F.normalize(x, dim=-1)


class _Image(nn.Module):
    """The image tower, normalised."""

    def __init__(self, module: open_clip.CLIP) -> None:
        super().__init__()
        self.module: Any = module

    def forward(self, pixels: Tensor) -> Tensor:
        embeddings: Tensor = self.module.encode_image(pixels, normalize=True)
        return embeddings


class _ClassTokenImage(nn.Module):
    """A vision transformer that pools its class token, normalised.

    open_clip's computes the last block for every patch, though nothing but the class token is used of it. Here that
    token alone asks the others in it: the embedding is the same, for a fourteenth less work with twelve blocks.
    """

    def __init__(self, tower: VisionTransformer) -> None:
        super().__init__()
        self.tower: Any = tower

    @staticmethod
    def fits(tower: nn.Module) -> bool:
        """Whether `tower` is one of these."""
        return (
            isinstance(tower, VisionTransformer)
            and tower.pool_type == "tok"
            and tower.attn_pool is None
            and tower.transformer.batch_first
            and type(tower.transformer.resblocks[-1]) is ResidualAttentionBlock
        )

    def forward(self, pixels: Tensor) -> Tensor:
        tower = self.tower
        *blocks, last = tower.transformer.resblocks
        x = tower._embeds(pixels)
        for block in blocks:
            x = block(x)
        token, asked = x[:, :1], last.ln_1(x)
        token = token + last.ls_1(last.attention(asked[:, :1], asked, asked))
        token = token + last.ls_2(last.mlp(last.ln_2(token)))
        x = tower.ln_post(token[:, 0])
        if tower.proj is not None:
            x = x @ tower.proj
        return F.normalize(x, dim=-1)


def _export_text(model: LoadedModel, path: Path, precision: Precision) -> None:
    sample = model.tokenizer(["two dogs", "a cat"])
    if model.info.padding == "context":
        _export(_Text(model.module), sample, {}, path, precision)
        return
    of_hugging_face = isinstance(text_tower(model.module), HFTextEncoder)
    tower = _Text(model.module) if of_hugging_face else _CausalText(model.module)
    length = torch.export.Dim("length", min=2, max=model.info.context_length)
    _export(tower, sample[:, : min(20, model.info.context_length)], {1: length}, path, precision)


def _export_image(model: LoadedModel, path: Path, precision: Precision) -> None:
    size, visual = model.info.image_size, model.module.visual
    tower = _ClassTokenImage(visual) if _ClassTokenImage.fits(visual) else _Image(model.module)
    _export(tower, torch.zeros(2, 3, size, size), {}, path, precision)


def _export(tower: nn.Module, sample: Tensor, dynamic: dict[int, object], path: Path, precision: Precision) -> None:
    """Write `tower` as an optimised ONNX graph, weights beside it in one file."""
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it warns of what its optimiser leaves as it is
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.onnx.export(
        tower.eval(),
        (sample,),
        dynamo=True,
        input_names=["input"],
        output_names=["embeddings"],
        dynamic_shapes=({0: batch, **dynamic},),
        verbose=False,
    )
    assert program is not None  # it is None only where torch writes the file
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        raw, optimised = Path(scratch) / "raw.onnx", Path(scratch) / "optimised.onnx"
        program.save(raw, external_data=True)
        if precision == "int8":  # before nodes are fused: of fused ones only some can be quantised
            quantize(raw, quantized := Path(scratch) / "quantized.onnx")
            raw = quantized
        options = ort.SessionOptions()
        # not ORT_ENABLE_ALL: its layouts may be tied to the machine that exports
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(optimised)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimised.data")
        ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        graph = onnx.load(optimised)
    if precision == "fp16":
        _store_as_fp16(graph)
    data = path.with_name(f"{path.name}.data")
    onnx.save(graph, path, save_as_external_data=True, location=data.name, size_threshold=_WEIGHT_BYTES)
    data.chmod(path.stat().st_mode)  # onnx makes it readable for its owner alone


def _store_as_fp16(model: onnx.ModelProto) -> None:
    """Turn the fp32 weights of `model` into fp16 ones, each with a cast to fp32 that ONNX Runtime folds at load."""
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.nbytes >= _WEIGHT_BYTES:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _verify(model: LoadedModel, folder: Path) -> None:
    """Hold the artifact in `folder` against `model` in torch: texts of all lengths, one and several pictures.

    Raises:
        ModelError: an embedding is too far from torch's.
    """
    encoder = OnnxEncoder(folder)
    precision, least = encoder.info.precision, MIN_COSINE[encoder.info.precision]
    pixels = preprocess_batch(_probe_pictures(), model.info)
    tokens = model.tokenizer(list(_PROBES))
    with torch.inference_mode():
        texts = model.module.encode_text(tokens, normalize=True).numpy()
        images = model.module.encode_image(torch.from_numpy(pixels), normalize=True).numpy()
    for what, expected, found in (
        ("text", texts, encoder.encode_text(_PROBES)),
        ("text", texts[2:3], encoder.encode_text(_PROBES[2:3])),
        ("image", images, encoder.encode_pixels(pixels)),
        ("image", images[:1], encoder.encode_pixels(pixels[:1])),
    ):
        worst = float((expected * found).sum(axis=1).min())
        if not worst >= least:  # a NaN fails too
            advice = "; this model loses too much as int8: export it as fp32" if precision == "int8" else ""
            raise ModelError(
                f"the exported {what} tower embeds differently: cosine {worst:.6f} to torch's embedding, below {least}"
                + advice
            )


def _probe_pictures() -> list[Image.Image]:
    """Pictures with what photos have and white noise lacks: large shapes and fine ones, edges, even areas.

    An int8 tower scales what goes through it by its extremes, so it matters that these are like a photo's.
    """
    rng = np.random.default_rng(0)
    pictures = [Image.effect_mandelbrot((256, 256), (-2, -1.5, 1, 1.5), 99), Image.linear_gradient("L")]
    for _ in range(3):
        picture = Image.new("RGB", (256, 192))
        for cells in (96, 24, 6, 2):
            noise = Image.fromarray(rng.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8))
            picture = Image.blend(picture, noise.resize(picture.size, Image.Resampling.BICUBIC), 0.6)
        pictures.append(picture)
    return [*pictures, Image.new("RGB", (64, 64), "orange")]
