"""What a text query costs with the text towers of many languages, side by side with CLIP's.

    uv run --group torch benchmarks/languages.py [--rounds 3]

Models of full size with random weights, which take the time and the memory that trained ones take; and a tokenizer of
250,000 invented pieces in the place of XLM-RoBERTa's. Each round is a process of its own, on one thread: it loads the
artifact and embeds a first text, then more of them. Rounds alternate; the medians count.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import Unigram
from tokenizers.processors import TemplateProcessing

from imagesearch.clip.model import Precision
from imagesearch.clip.onnx import OnnxEncoder

REFERENCE = "ViT-B-32-quickgelu fp32"
ARTIFACTS: dict[str, tuple[str, Precision]] = {
    REFERENCE: ("ViT-B-32-quickgelu", "fp32"),
    "xlm-roberta-base-ViT-B-32 fp32": ("xlm-roberta-base-ViT-B-32", "fp32"),
    "xlm-roberta-base-ViT-B-32 fp16": ("xlm-roberta-base-ViT-B-32", "fp16"),
    "ViT-B-16-SigLIP-i18n-256 fp16": ("ViT-B-16-SigLIP-i18n-256", "fp16"),
}
TEXT = "two dogs on a beach at sunset"
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]

console = Console(highlight=False, width=120)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", metavar="ARTIFACT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one))))
        return
    with tempfile.TemporaryDirectory() as folder:
        artifacts = {title: make_artifact(Path(folder), *of) for title, of in ARTIFACTS.items()}
        console.print(table(artifacts, options.rounds))


def make_artifact(folder: Path, name: str, precision: Precision) -> Path:
    """The artifact of a model of random weights."""
    from batch.export import export_model  # torch would count as memory of the processes that are measured

    checkpoint, artifact = folder / name, folder / f"{name}-{precision}"
    if not checkpoint.exists():
        make_checkpoint(checkpoint, name)
    export_model(name, str(checkpoint), artifact, precision)
    return artifact


def make_checkpoint(folder: Path, name: str) -> None:
    """A local folder with open_clip's model `name`, and with a tokenizer where it isn't CLIP's."""
    import open_clip
    import torch
    from safetensors.torch import save_file
    from transformers import XLMRobertaConfig

    folder.mkdir()
    config: dict[str, Any] = open_clip.get_model_config(name)
    text = config["text_cfg"]
    if "hf_tokenizer_name" in text:
        make_tokenizer(folder, text.get("vocab_size", 250_002))
    if "hf_model_name" in text:
        XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514).save_pretrained(folder)
        text |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    parts = {key: value for key, value in config.items() if key != "custom_text"}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**parts) if "hf_tokenizer_name" in text else open_clip.CLIP(**parts)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


def make_tokenizer(folder: Path, size: int) -> None:
    """A Hugging Face folder with a tokenizer of SentencePiece's kind and `size` pieces, which nobody trained."""
    from transformers import PreTrainedTokenizerFast

    letters, rng = list("abcdefghijklmnopqrstuvwxyz"), np.random.default_rng(0)
    pieces = {*letters, "▁"}
    while len(pieces) < size - len(SPECIAL):
        pieces.add("▁" * int(rng.integers(2)) + "".join(rng.choice(letters, rng.integers(2, 9))))
    scores = rng.uniform(-15, -5, len(pieces))
    vocabulary = [*((token, 0.0) for token in SPECIAL), *zip(sorted(pieces), scores.tolist(), strict=True)]
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


def measure(artifact: Path) -> dict[str, float]:
    """Seconds to the first embedding, milliseconds of each after it, and megabytes at the peak."""
    started = time.perf_counter()
    encoder = OnnxEncoder(artifact, threads=1)
    encoder.encode_text([TEXT])
    first = time.perf_counter() - started
    rounds = 30
    started = time.perf_counter()
    for number in range(rounds):
        encoder.encode_text([f"{TEXT} {number}"])
    warm = 1000 * (time.perf_counter() - started) / rounds
    return {"first": first, "warm": warm, "memory": peak_memory()}


def peak_memory() -> float:
    """Megabytes that this process had at most; `ru_maxrss` would be those of its parent, where that is larger."""
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(peak) / 1024


def table(artifacts: dict[str, Path], rounds: int) -> Table:
    """A row for each artifact: medians, and the ratio of a warm query to the reference's."""
    measured: dict[str, list[dict[str, float]]] = {title: [] for title in artifacts}
    for _ in range(rounds):
        for title, artifact in artifacts.items():
            command = [sys.executable, __file__, "--one", str(artifact)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            measured[title].append(json.loads(done.stdout.splitlines()[-1]))
    median = {
        title: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for title, runs in measured.items()
    }
    made = Table("one text, one thread", "files, MB", "load and first, s", "then, ms", "ratio", "peak memory, MB")
    for title, of in median.items():
        size = sum(path.stat().st_size for path in artifacts[title].iterdir() if not path.name.startswith("image"))
        ratio = of["warm"] / median[REFERENCE]["warm"]
        row = f"{size / 1e6:.0f}", f"{of['first']:.1f}", f"{of['warm']:.0f}", f"{ratio:.1f}", f"{of['memory']:.0f}"
        made.add_row(title, *row)
    return made


if __name__ == "__main__":
    main()
