"""Random weights of the full size of OpenAI's ViT-B/32, in the format of each: speed doesn't depend on what they are.

    python -m benchmarks.scorecard.weights FOLDER

needs the packages of the group `torch`. FOLDER gets `ours` and `ours-int8` (artifacts), `open_clip` (a checkpoint),
and `transformers` (the folder of a model and its processor, as `openai/clip-vit-base-patch32` is one).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.scorecard.peers import CACHE
from local.containers import ROOT

NAME = "ViT-B-32-quickgelu"
EXPORTER = ("export.py", "quantize.py")
WEIGHTS = CACHE / "weights"
ARTIFACT, ARTIFACT_INT8 = WEIGHTS / "ours", WEIGHTS / "ours-int8"


def make_weights() -> Path:
    """The folder with the weights, which are made where they aren't there yet or what makes them has changed."""
    made_by = "".join(path.read_text() for path in (Path(__file__), *(ROOT / "batch" / name for name in EXPORTER)))
    mark = WEIGHTS / "made-by.txt"
    if not mark.is_file() or mark.read_text() != made_by:
        print(f"making random weights of {NAME} in {WEIGHTS}", file=sys.stderr)
        shutil.rmtree(WEIGHTS, ignore_errors=True)
        # a process of its own: torch takes much memory, and doesn't give it back
        subprocess.run([sys.executable, "-m", "benchmarks.scorecard.weights", str(WEIGHTS)], cwd=ROOT, check=True)
        mark.write_text(made_by)
    return WEIGHTS


def write(folder: Path) -> None:
    """Make the weights in each format."""
    from batch.export import export_model

    (folder / "transformers").mkdir(parents=True)
    write_checkpoint(checkpoint := folder / "open_clip" / "checkpoint.pt")
    export_model(NAME, str(checkpoint), folder / "ours")
    export_model(NAME, str(checkpoint), folder / "ours-int8", "int8")
    write_transformers(folder / "transformers")


def write_checkpoint(path: Path) -> None:
    """A checkpoint of open_clip."""
    import open_clip
    import torch

    path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(open_clip.create_model(NAME).state_dict(), path)


def write_transformers(folder: Path) -> None:
    """A model of the default sizes of transformers, which are those of ViT-B/32, with CLIP's vocabulary."""
    import torch
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    clip = SimpleTokenizer()
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    # the two ends have other names there, and would else be two tokens more
    theirs = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {theirs.get(token, token): number for token, number in clip.encoder.items()}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=list(clip.bpe_ranks), model_max_length=77)
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    write(Path(sys.argv[1]))
