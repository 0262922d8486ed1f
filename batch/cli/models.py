"""Models: export-model."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from batch.cli.options import need_torch

app = typer.Typer()


@app.command("export-model", no_args_is_help=True)
def export_model(
    folder: Annotated[Path, typer.Argument(help="Folder that the artifact goes into.")],
    model_name: Annotated[str, typer.Option(help="A model of open_clip.")] = "ViT-B-32-quickgelu",
    pretrained: Annotated[str, typer.Option(help="Its weights: a tag of open_clip, a file or a folder.")] = "openai",
    precision: Annotated[Literal["fp32", "fp16"], typer.Option(help="fp16 is half as big.")] = "fp32",
) -> None:
    """Make a model artifact of an open_clip model, for encoding on a CPU and for the query function.

    Example: imagesearch export-model ./model --model-name ViT-B-16 --pretrained laion2b_s34b_b88k
    """
    need_torch()
    from batch.export import export_model

    info = export_model(model_name, pretrained, folder, precision)
    typer.echo(f"{info.name} ({info.pretrained}) is in {folder}; its fingerprint is {info.fingerprint}")
