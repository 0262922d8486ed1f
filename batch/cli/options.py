"""What the commands have in common: options, exit codes, and the words for trouble."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imagesearch.errors import InvalidInput

if TYPE_CHECKING:
    from batch.models import OutputModel
    from batch.sources import Source
    from imagesearch.index.base import VectorIndex

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
    Literal["lucene", "lucene-sq", "faiss"],
    typer.Option(envvar="IMAGESEARCH_INDEX_ENGINE", help="k-NN engine of an OpenSearch index that is made."),
]
Shards = Annotated[
    int,
    typer.Option(envvar="IMAGESEARCH_INDEX_SHARDS", min=1, help="Primary shards of an OpenSearch index that is made."),
]
ShardSize = Annotated[
    int, typer.Option(envvar="IMAGESEARCH_SHARD_SIZE", min=1, help="Images a shard: how much a crash can cost.")
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Images that the model encodes at once; by default what is quickest here.")
]
Precision = Annotated[
    Literal["fp32", "fp16", "bf16"] | None, typer.Option(help="That of a GPU's products; fp16 by default.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Have torch compile the model for the GPU: a minute, well spent on long runs.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads that fetch and decode; one a core.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try images again that failed before.")]
AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Remove every image if the source lists none any more.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="FIELD=COLUMN",
        help="Of a table: which column is path, url, uri, id, title, description, tags, color, credit, created_at, lat "
        "or lon, where it isn't named so; once for each. Example: --column url=photo_image_url",
    ),
]
Prefix = Annotated[str, typer.Option(help="Of an S3 Inventory: only what is below this prefix.")]
Suffixes = Annotated[
    list[str] | None,
    typer.Option("--suffix", help="Of an S3 Inventory: only keys that end so, instead of all images; once for each."),
]
Output = Annotated[
    str, typer.Option("--output", "-o", envvar="IMAGESEARCH_OUTPUT", help="s3://bucket/prefix or a folder.")
]


def model_folder(model: Path | None) -> Path:
    """The folder of --model.

    Raises:
        typer.BadParameter: it wasn't given.
    """
    if model is None:
        raise typer.BadParameter("give --model: models/tiny to try things out, or what imagesearch export-model makes")
    return model


def source_at(uri: str, columns: list[str] | None, prefix: str, suffixes: list[str] | None) -> "Source":
    """The source that a command was given.

    Raises:
        typer.BadParameter: a --column that isn't FIELD=COLUMN.
        SourceError: see `open_source`.
    """
    from batch.sources import open_source

    named = {}
    for column in columns or ():
        field, equals, name = column.partition("=")
        if not (field and equals and name) or field in named:
            raise typer.BadParameter(f"--column {column} should be FIELD=COLUMN, a field once: url=photo_image_url")
        named[field] = name
    return open_source(uri, columns=named, prefix=prefix, suffixes=suffixes or ())


def index_of(url: str, model: "OutputModel") -> "VectorIndex":
    """The index at `url` that has the photos encoded with `model`.

    Raises:
        InvalidInput, VectorIndexError: see `open_index`.
    """
    from imagesearch.index import open_index

    return open_index(url, model.info.fingerprint, model.info.embed_dim)


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


@contextmanager
def until_stopped(rest: str) -> Iterator[None]:
    """Have SIGTERM stop what runs inside as Ctrl-C does: nothing is written by halves, and `rest` says how to go on.

    Batch sends it before it takes an instance back; and the first process of a container ignores it otherwise.
    """
    received = signal.SIGINT

    def stop(_number: int, _frame: object) -> None:
        nonlocal received
        received = signal.SIGTERM
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"Stopped. {rest}", err=True)
        raise typer.Exit(128 + received) from None
    finally:
        signal.signal(signal.SIGTERM, before)
