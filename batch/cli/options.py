"""What the commands have in common: options, exit codes, and the words for trouble."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from imagesearch.errors import InvalidInput

SOME_FAILED = 3
"""Exit code of a command that did its work, but not for every image."""

Model = Annotated[
    Path | None,
    typer.Option(
        envvar="IMAGESEARCH_MODEL",
        help="Folder of a model artifact: models/tiny to try things out, or what export-model makes.",
    ),
]
Index = Annotated[
    str,
    typer.Option(
        envvar="IMAGESEARCH_INDEX_URL",
        help="duckdb:///path/to/file for the embedded index, or https://… of an OpenSearch.",
    ),
]
Engine = Annotated[
    Literal["lucene", "faiss"],
    typer.Option(envvar="IMAGESEARCH_INDEX_ENGINE", help="k-NN engine of an OpenSearch index that is made."),
]
Shards = Annotated[
    int,
    typer.Option(envvar="IMAGESEARCH_INDEX_SHARDS", min=1, help="Primary shards of an OpenSearch index that is made."),
]
ShardSize = Annotated[int, typer.Option(min=1, help="Images a shard: how much a crash can cost.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images that the model encodes at once.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads that fetch and decode; one a core.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try images again that failed before.")]
AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Remove every image if the source lists none any more.")
]
Output = Annotated[str, typer.Option("--output", "-o", help="s3://bucket/prefix or a folder.")]


def model_folder(model: Path | None) -> Path:
    """The folder of --model.

    Raises:
        typer.BadParameter: it wasn't given.
    """
    if model is None:
        raise typer.BadParameter("give --model: models/tiny to try things out, or what imagesearch export-model makes")
    return model


def need_torch() -> None:
    """Check that torch and open_clip are installed.

    Raises:
        InvalidInput: one isn't.
    """
    try:
        import open_clip  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"this needs {error.name}, which isn't installed: uv sync --group torch brings what runs and exports models"
        ) from error


def complain(message: str) -> None:
    """Say on stderr, in red, what went wrong."""
    typer.secho(message, fg=typer.colors.RED, err=True)
