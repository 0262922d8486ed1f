"""What an open_clip text tower needs of those who give it text: which tokenizer, how cleaned, how padded."""

import re
from typing import Any, TypeAlias

import open_clip
from open_clip.hf_model import ClsLastHiddenStatePooler, ClsPooler, HFTextEncoder, MeanPooler
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer, get_clean_fn
from open_clip.transformer import TextTransformer
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing

from imagesearch.clip.model import ModelInfo
from imagesearch.errors import ModelError

ClipTextTower: TypeAlias = open_clip.CLIP | TextTransformer
TextTower: TypeAlias = ClipTextTower | HFTextEncoder
OpenClipTokenizer: TypeAlias = SimpleTokenizer | HFTokenizer

_CLIP_VOCABULARY = 49_408
_CLEANING = {get_clean_fn(name): name for name in ("lower", "whitespace", "canonicalize")}
_HUGGING_FACE_SETTINGS = (
    *("model_type", "pad_token_id", "num_attention_heads", "encoder_attention_heads", "num_heads"),
    *("hidden_act", "activation_function", "feed_forward_proj", "layer_norm_eps", "layer_norm_epsilon"),
    *("relative_attention_num_buckets", "relative_attention_max_distance"),
)
"""Of a Hugging Face configuration, what makes the same weights embed otherwise."""


def text_tower(module: open_clip.CLIP | open_clip.CustomTextCLIP) -> TextTower:
    """The part of an open_clip `module` that has the text weights: the module itself in the classic models."""
    return getattr(module, "text", module)


def describe_text(name: str, module: open_clip.CLIP | open_clip.CustomTextCLIP, tokenizer: Any) -> dict[str, Any]:
    """What `model.json` says of text: `tokenizer`, `cleaning`, `padding` and `context_length`.

    Raises:
        ModelError: an artifact can't do what this text tower or this tokenizer does.
    """
    text = text_tower(module)
    _check_tower(name, module, text)
    _check_tokenizer(name, text, tokenizer)
    return {
        "tokenizer": "clip" if isinstance(tokenizer, SimpleTokenizer) else "huggingface",
        "cleaning": _CLEANING[tokenizer.clean_fn],
        "padding": "longest" if _ignores_padding(text, tokenizer) else "context",
        "context_length": tokenizer.context_length,
    }


def decisive_of_text(module: open_clip.CLIP | open_clip.CustomTextCLIP) -> dict[str, Any] | None:
    """What makes the same weights of a text tower embed otherwise; None for CLIP's own kind.

    It goes into the fingerprint. The tokenizer doesn't: with another one texts are embedded wrongly, but in the same
    space.
    """
    text = text_tower(module)
    if isinstance(text, HFTextEncoder):
        settings = {key: getattr(text.config, key, None) for key in _HUGGING_FACE_SETTINGS}
        return {
            "pooler": type(text.pooler).__name__,
            **{key: value for key, value in settings.items() if value is not None},
        }
    causal, pooling = text.attn_mask is not None, pooling_of(text)
    if causal and pooling == ("argmax", None):
        return None
    activations = {getattr(part, "approximate", None) for part in text.modules()} - {None, "none"}
    return {"causal": causal, "pooling": pooling, "activations": sorted(activations)}


def pooling_of(text: ClipTextTower) -> tuple[str, int | None]:
    """Which token's features stand for the text, as `open_clip.transformer.text_global_pool` names it, and its id."""
    kind = text.text_pool_type if isinstance(text, open_clip.CLIP) else text.pool_type
    token = text.text_eos_id if isinstance(text, open_clip.CLIP) else text.eos_id
    return kind, token if kind == "eos" else None


def tokenizer_file(tokenizer: OpenClipTokenizer, info: ModelInfo) -> Tokenizer:
    """What `tokenizer.json` of an artifact holds for open_clip's `tokenizer`."""
    if isinstance(tokenizer, SimpleTokenizer):
        return _clip_vocabulary(tokenizer)
    fast = tokenizer.tokenizer
    file = Tokenizer.from_str(fast.backend_tokenizer.to_str())
    file.enable_truncation(info.context_length, direction=fast.truncation_side)
    file.enable_padding(
        direction=fast.padding_side,
        pad_id=fast.pad_token_id,
        pad_type_id=fast.pad_token_type_id,
        pad_token=fast.pad_token,
        length=info.context_length if info.padding == "context" else None,
    )
    return file


def _check_tower(name: str, module: open_clip.CLIP | open_clip.CustomTextCLIP, text: TextTower) -> None:
    if isinstance(module, open_clip.CoCa) or getattr(text, "cls_emb", None) is not None:
        raise ModelError(f"{name} is a CoCa, whose text tower also writes captions; choose a CLIP or a SigLIP model")
    if not isinstance(text, open_clip.CLIP | TextTransformer | HFTextEncoder):
        raise ModelError(f"{name} has a text tower of an unknown kind, {type(text).__name__}; choose a CLIP model")
    if isinstance(text, HFTextEncoder) and not isinstance(
        text.pooler, MeanPooler | ClsPooler | ClsLastHiddenStatePooler
    ):
        raise ModelError(
            f"{name} pools text by {type(text.pooler).__name__}; mean_pooler and cls_pooler can be exported"
        )
    if getattr(text, "output_tokens", False):
        raise ModelError(f"{name} gives a feature for each token too (output_tokens); set it to false")
    if not isinstance(text, HFTextEncoder) and pooling_of(text)[0] == "none":
        raise ModelError(f"{name} has no one feature for a text (pool_type none); choose a CLIP model")


def _check_tokenizer(name: str, text: TextTower, tokenizer: Any) -> None:
    if isinstance(tokenizer, SimpleTokenizer):
        if not tokenizer.vocab_size == text.vocab_size == _CLIP_VOCABULARY:
            raise ModelError(
                f"{name} has a vocabulary of {text.vocab_size:,} tokens, CLIP's has {_CLIP_VOCABULARY:,}: name its "
                "own tokenizer as hf_tokenizer_name in text_cfg"
            )
        if tokenizer.reduction_fn is not None:
            raise ModelError(f"{name} shortens long texts by chance (reduction_mask), which no search should do")
        return
    if not isinstance(tokenizer, HFTokenizer):
        raise ModelError(f"{name} has a {type(tokenizer).__name__}: name a tokenizer as hf_tokenizer_name in text_cfg")
    if tokenizer.tokenizer_mode or tokenizer.strip_sep_token:
        raise ModelError(f"{name} changes its tokenizer's ids (tokenizer_mode, strip_sep_token), as CLIPA models do")
    if not getattr(tokenizer.tokenizer, "is_fast", False):
        raise ModelError(f"{name} has a slow tokenizer; an artifact needs a fast one, which has a tokenizer.json")
    beyond = [token for token, id in tokenizer.tokenizer.get_vocab().items() if id >= text.vocab_size]
    # mT5's, as SigLIP uses it, goes on with `<extra_id_0>`, … which no text has
    if beyond := [token for token in beyond if not re.fullmatch("▁?<.*>", token)]:
        raise ModelError(
            f"{name} has a tokenizer of {len(beyond):,} tokens more than the {text.vocab_size:,} that its text tower "
            f"knows (such as {beyond[0]!r}): name the right one as hf_tokenizer_name in text_cfg"
        )
    if tokenizer.tokenizer.pad_token is None:
        raise ModelError(f"{name} has a tokenizer without a padding token; set pad_token in tokenizer_config.json")


def _ignores_padding(text: TextTower, tokenizer: OpenClipTokenizer) -> bool:
    """Whether padding at the end of a text can't change its embedding, so that it may be left out.

    It can't where the padding is masked (Hugging Face's towers), nor where attention is causal and a token before the
    padding is what gets pooled. In SigLIP's towers, for one, it can: all tokens attend to it, and it is pooled.
    """
    if isinstance(tokenizer, HFTokenizer) and tokenizer.tokenizer.padding_side != "right":
        return False
    if isinstance(text, HFTextEncoder):
        return isinstance(tokenizer, HFTokenizer) and tokenizer.tokenizer.pad_token_id == text.config.pad_token_id
    pooling, _ = pooling_of(text)
    at_end = pooling == "eos" or (pooling == "argmax" and isinstance(tokenizer, SimpleTokenizer))
    return at_end and text.attn_mask is not None


def _clip_vocabulary(clip: SimpleTokenizer) -> Tokenizer:
    """CLIP's byte-pair encoding, from the vocabulary that open_clip ships, for words that are split already."""
    start, end = special = [clip.decoder[token] for token in clip.all_special_ids]
    tokenizer = Tokenizer(BPE(vocab=clip.encoder, merges=list(clip.bpe_ranks), end_of_word_suffix="</w>"))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(token, clip.encoder[token]) for token in special]
    )
    return tokenizer
