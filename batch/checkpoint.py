"""Load CLIP checkpoints of every format into an open_clip module, and name the vector space that they make."""

import hashlib
import json
import logging
import textwrap
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import open_clip
import torch
from open_clip.factory import load_state_dict
from open_clip.transformer import QuickGELU
from torch import Tensor

from batch.text_tower import OpenClipTokenizer, decisive_of_text, describe_text
from imagesearch.clip.model import ModelInfo, ResizeMode
from imagesearch.errors import ModelError

DEFAULT_MODEL, DEFAULT_PRETRAINED = "ViT-B-32-quickgelu", "openai"

_HUB, _FOLDER = "hf-hub:", "local-dir:"
_FROM_HUB = "hub"
_OPENAI_SIZES = {"input_resolution", "context_length", "vocab_size"}
"""What OpenAI's archives hold besides weights."""
_POSITION_IDS = "text.transformer.embeddings.position_ids"
"""0, 1, 2, …: what checkpoints hold that were made with transformers 4.30 or older."""
_TOKENIZER_CONFIG = "tokenizer_config.json"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An open_clip model in fp32 on the CPU, set to inference, and what is known of it."""

    module: open_clip.CLIP | open_clip.CustomTextCLIP
    tokenizer: OpenClipTokenizer
    info: ModelInfo


def load_checkpoint(name: str = DEFAULT_MODEL, pretrained: str = DEFAULT_PRETRAINED) -> LoadedModel:
    """Load the open_clip model `name` with the weights `pretrained`.

    `pretrained` is one of

    - a tag that open_clip knows for the model, such as `openai`, whose weights come from a hub;
    - a checkpoint file: OpenAI's TorchScript archive, a state dict saved by torch, or safetensors;
    - an open_clip folder, `open_clip_config.json` and the weights, and the tokenizer's files where it isn't CLIP's;
      `name` is then only what the model is called.

    `name` may also be `hf-hub:organisation/repository`, and `pretrained` is ignored; `organisation/repository` with
    `hub`, as `model.json` has it, is the same.

    Raises:
        ModelError: no such model or weights, the hub can't be reached, the file is no checkpoint or that of another
            model, or the model is of a kind that the artifact has no room for.
    """
    path, known_as = Path(pretrained), name
    if name.startswith(_HUB) or pretrained == _FROM_HUB:
        known_as = f"{_HUB}{name.removeprefix(_HUB)}"
        module, source = _create(known_as), _FROM_HUB
    elif path.is_dir():
        known_as = f"{_FOLDER}{path}"
        module, source = _create(known_as), path.name
    elif path.is_file():
        module, source = _create_from_file(name, path), path.name
    else:
        module, source = _create_from_tag(name, pretrained), pretrained
    module.eval().requires_grad_(False)
    tokenizer = _create_tokenizer(known_as)
    return LoadedModel(module, tokenizer, _describe(module, tokenizer, name.removeprefix(_HUB), source))


def fingerprint(module: open_clip.CLIP, preprocessing: dict[str, Any]) -> str:
    """Name of the vector space of an open_clip `module`: 12 hexadecimal digits.

    SHA-256 over lines of JSON (sorted keys, no spaces, ending in a newline) and weights, in this order:

    1. a line `{"heads", "preprocessing", "quick_gelu"}`: attention heads by module name, `preprocessing` (size, mean,
       std, interpolation, and resize_mode unless it is `shortest`), and whether the activation is QuickGELU. They embed
       differently with the same weights. A text tower of another kind than CLIP's adds `"text"`: its settings.
    2. for each floating-point tensor of the state dict, by sorted name: a line `[name, shape]`, then the values rounded
       to fp16, little-endian, in C order.

    The rounding makes fp32 and fp16 copies of the same weights agree, and the names are those of open_clip's module,
    whatever format the weights came in. The running statistics of batch norm count, as embeddings depend on them;
    attention masks and the sizes in OpenAI's archives don't.
    """
    parts = dict(module.named_modules())
    decisive = {
        "heads": {name: part.num_heads for name, part in parts.items() if hasattr(part, "num_heads")},
        "preprocessing": preprocessing,
        "quick_gelu": any(isinstance(part, QuickGELU) for part in parts.values()),
    }
    if text := decisive_of_text(module):
        decisive["text"] = text
    digest = hashlib.sha256(_json_line(decisive))
    for name, tensor in sorted(module.state_dict().items()):
        if tensor.is_floating_point():
            digest.update(_json_line([name, list(tensor.shape)]))
            digest.update(tensor.half().contiguous().cpu().numpy().astype("<f2", copy=False).data)
    return digest.hexdigest()[:12]


def _json_line(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _create(name: str, pretrained: str | None = None, **options: Any) -> open_clip.CLIP:
    """open_clip's own factory, with weights or an error; it raises whatever hub, JSON, pickle and torch raise."""
    try:
        return open_clip.create_model(name, pretrained, require_pretrained=True, **options)
    except Exception as error:
        what = f"{name} with weights {pretrained!r}" if pretrained else name
        hint = "" if name.startswith(_FOLDER) else "; the path of a checkpoint does as well"
        raise ModelError(f"can't load {what}: {_short(error)}{_missing(error) or hint}") from error


def _create_tokenizer(name: str) -> OpenClipTokenizer:
    """open_clip's own tokenizer for the model; it raises whatever hub, JSON and Hugging Face's tokenizers raise."""
    try:
        return open_clip.get_tokenizer(name)
    except Exception as error:
        hint = f"; the folder needs its files, such as tokenizer.json and {_TOKENIZER_CONFIG}"
        hint = _missing(error) or (hint if name.startswith(_FOLDER) else "")
        raise ModelError(f"can't load the tokenizer of {name}: {_short(error)}{hint}") from error


def _missing(error: Exception) -> str:
    """What to install, if that is what `error` is about."""
    says = str(error)
    missing = "transformers" in says and (isinstance(error, ImportError) or "pip install" in says)
    return "; it needs the extra `languages`: uv sync --inexact --group torch" if missing else ""


def _create_from_tag(name: str, tag: str) -> open_clip.CLIP:
    _check_name(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise ModelError(f"{tag!r} is no file, no folder, and no weights of {name}, which has: {', '.join(tags)}")
    # a tag knows its activation better than a name does: ViT-B-32 with openai means QuickGELU
    trained_with = open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)
    return _create(name, tag, force_quick_gelu=trained_with)


def _create_from_file(name: str, path: Path) -> open_clip.CLIP:
    _check_name(name)
    weights = _read_weights(path)
    from_openai = not _OPENAI_SIZES.isdisjoint(weights)
    logging.disable(logging.WARNING)  # open_clip warns that the weights are random, as they are for one more line
    try:
        # pretrained_text would fetch the weights that a text tower of Hugging Face began its training with
        module = open_clip.create_model(name, force_quick_gelu=from_openai, pretrained_text=False)
    except Exception as error:  # the configuration of such a tower is on a hub
        raise ModelError(f"can't make a {name}: {_short(error)}{_missing(error)}") from error
    finally:
        logging.disable(logging.NOTSET)
    ignored = _OPENAI_SIZES | ({_POSITION_IDS} - module.state_dict().keys())
    try:
        module.load_state_dict({key: value for key, value in weights.items() if key not in ignored})
    except RuntimeError as error:
        raise ModelError(f"{path} doesn't hold the weights of a {name}: {_short(error)}") from error
    return module


def _short(error: Exception) -> str:
    return textwrap.shorten(str(error), 300, placeholder=" …")


def _check_name(name: str) -> None:
    if name not in open_clip.list_models():
        raise ModelError(f"open_clip has no model {name!r}; it has: {', '.join(open_clip.list_models())}")


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in `path`; torch unpickles nothing but tensors and runs no code of the file's."""
    try:
        if _is_torchscript(path):
            archive = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            weights: dict[str, Tensor] = archive.state_dict()
        else:
            weights = load_state_dict(str(path))
    except Exception as error:  # what torch and safetensors raise has no base in common
        # torch's own message would advise to load without its safeguard
        raise ModelError(f"{path} is no whole checkpoint (TorchScript archive, state dict or safetensors)") from error
    return weights


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _describe(module: open_clip.CLIP, tokenizer: OpenClipTokenizer, name: str, source: str) -> ModelInfo:
    """What `model.json` says of `module`.

    Raises:
        ModelError: a text tower, a tokenizer or a preprocessing that an artifact has no room for.
    """
    text = describe_text(name, module, tokenizer)
    settings = open_clip.get_model_preprocess_cfg(module)
    height, width = size if isinstance(size := settings["size"], tuple | list) else (size, size)
    resize_mode = settings["resize_mode"]
    if height != width or resize_mode not in get_args(ResizeMode):
        how = f"{resize_mode}, {width}x{height}"
        raise ModelError(f"{name} takes its pictures as {how}; an artifact can only say: shortest or squash, square")
    preprocessing = {
        "size": height,
        "mean": [float(value) for value in settings["mean"]],
        "std": [float(value) for value in settings["std"]],
        "interpolation": settings["interpolation"],
    }
    if resize_mode != "shortest":
        preprocessing["resize_mode"] = resize_mode
    try:
        embed_dim = module.encode_text(tokenizer(["a " * tokenizer.context_length])).shape[-1]
    except (IndexError, RuntimeError) as error:
        raise ModelError(
            f"the text tower of {name} can't take {tokenizer.context_length} tokens of its tokenizer: {_short(error)}; "
            "do vocab_size and context_length in text_cfg belong to hf_tokenizer_name?"
        ) from error
    return ModelInfo(
        name=name,
        pretrained=source,
        fingerprint=fingerprint(module, preprocessing),
        embed_dim=embed_dim,
        image_size=height,
        mean=preprocessing["mean"],
        std=preprocessing["std"],
        interpolation=preprocessing["interpolation"],
        resize_mode=resize_mode,
        logit_scale=round(module.logit_scale.exp().item(), 4),
        **text,
    )
