"""The command line, `imagesearch`: encode photos, load vectors into an index, search it, and try it all in a demo."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from imagesearch.errors import ImageSearchError, InvalidInput, PartError

if TYPE_CHECKING:  # what is heavy is imported by the command that needs it: --help should answer at once
    from imagesearch.clip.model import Encoder
    from imagesearch.index.base import VectorIndex

SOME_FAILED = 3
"""Exit code of a command that did its work, but not for every image."""

app = typer.Typer(
    name="imagesearch",
    help="Search photos by words, by picture, or by both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

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
ShardSize = Annotated[int, typer.Option(min=1, help="Images a shard: how much a crash can cost.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images that the model encodes at once.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads that fetch and decode; one a core.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try images again that failed before.")]
AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Remove every image if the source lists none any more.")
]
Output = Annotated[str, typer.Option("--output", "-o", help="s3://bucket/prefix or a folder.")]


@app.command(no_args_is_help=True)
def encode(
    source: Annotated[
        str, typer.Argument(help="A folder, s3://bucket/prefix, or a .csv, .tsv or .parquet with a column path or url.")
    ],
    output: Output,
    model: Model = None,
    model_name: Annotated[
        str | None, typer.Option(help="Instead of --model: an open_clip model for torch, such as ViT-B-32-quickgelu.")
    ] = None,
    pretrained: Annotated[
        str, typer.Option(help="The weights of --model-name: a tag of open_clip, a file or a folder.")
    ] = "openai",
    shard_size: ShardSize = 1_000,
    batch_size: BatchSize = 32,
    workers: Workers = None,
    retry_failed: RetryFailed = False,
    allow_empty: AllowEmpty = False,
) -> None:
    """Encode what is new or has changed in SOURCE; write vector parts and the ledger to the output.

    It can be stopped at any time: the same command goes on where it stopped. Photos that have gone from the source are
    removed from the index. A photo that can't be decoded costs only itself, and has a row in the ledger that says why.

    Exit code: 0 all good, 1 stopped by an error, 2 bad usage, 3 done, but some images failed.

    Example: imagesearch encode ~/photos --output ./encoded --model models/tiny
    """
    from batch.encode import open_encoder
    from batch.ingest import ingest
    from batch.sources import open_source
    from imagesearch.storage import open_storage

    encoder = _torch_encoder(model_name, pretrained) if model_name else open_encoder(_folder(model))
    origin, storage = open_source(source), open_storage(output)
    try:
        failed = ingest(
            origin,
            storage,
            encoder,
            shard_size=shard_size,
            batch_size=batch_size,
            workers=workers,
            retry_failed=retry_failed,
            allow_empty=allow_empty,
        )
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on from here.", err=True)
        raise typer.Exit(130) from None
    if failed:
        typer.echo(f"{failed:,} images failed: imagesearch report --output {output} names them.", err=True)
        raise typer.Exit(SOME_FAILED)


@app.command("plan", no_args_is_help=True)
def plan_run(
    source: Annotated[str, typer.Argument(help="As for encode.")],
    output: Output,
    model: Model = None,
    shard_size: ShardSize = 1_000,
    retry_failed: RetryFailed = False,
    allow_empty: AllowEmpty = False,
    submit: Annotated[bool, typer.Option("--submit", help="Submit the work to AWS Batch.")] = False,
    queue: Annotated[str, typer.Option(envvar="IMAGESEARCH_ENCODE_QUEUE", help="Batch's job queue.")] = "",
    definition: Annotated[str, typer.Option(envvar="IMAGESEARCH_ENCODE_JOB", help="Batch's job definition.")] = "",
) -> None:
    """Plan what has changed in SOURCE as work shards, for `imagesearch work` to encode; encode does both.

    With --submit the shards become the children of an array job of AWS Batch, and so do those of runs that were
    interrupted. If nothing has changed, nothing is started.

    Example: imagesearch plan s3://photos --output s3://vectors --model models/tiny --submit
    """
    from batch import report
    from batch.jobs import submit as submit_job
    from batch.plan import make_plan, unfinished
    from batch.sources import open_source
    from imagesearch.clip.model import ModelInfo
    from imagesearch.storage import open_storage

    if submit and not (queue and definition):
        raise typer.BadParameter("--submit needs --queue and --definition")
    fingerprint = ModelInfo.load(_folder(model)).fingerprint
    origin, storage = open_source(source), open_storage(output)
    plans = unfinished(storage, origin.uri, fingerprint)
    if plans:
        report.messages.print("An earlier run isn't done: it goes on first; plan again when it is.")
    else:
        plan = make_plan(
            origin,
            storage,
            fingerprint,
            shard_size=shard_size,
            retry_failed=retry_failed,
            allow_empty=allow_empty,
        )
        report.show_plan(plan)
        plans = [plan] if plan.shards else []
    for plan in plans:
        typer.echo(f"Run {plan.run} has {plan.shards:,} shards.")
        if submit:
            typer.echo(f"Job {submit_job(plan, output, queue, definition)} encodes it.")


@app.command(no_args_is_help=True)
def work(
    run: Annotated[str, typer.Argument(help="The run, as plan named it.")],
    output: Output,
    model: Model = None,
    shard: Annotated[
        int | None, typer.Option(min=0, help="Which shard; by default that of this child of an array job, or 0.")
    ] = None,
    batch_size: BatchSize = 32,
    workers: Workers = None,
) -> None:
    """Encode one shard of a RUN: what a child of the array job does. A shard that is done isn't done again.

    Images that fail have their rows in the ledger; they don't make the job fail, which Batch would try again.

    Example: imagesearch work 20250101T120000000Z --output s3://vectors --model models/tiny --shard 3
    """
    from batch.encode import open_encoder
    from batch.ingest import encode_shards
    from batch.jobs import shard_of_child
    from batch.plan import read_plan
    from imagesearch.storage import open_storage

    storage = open_storage(output)
    plan = read_plan(storage, run)
    number = shard_of_child() if shard is None else shard
    if number >= plan.shards:
        raise typer.BadParameter(f"run {run} has the shards 0 to {plan.shards - 1}, not {number}")
    encode_shards(plan, storage, open_encoder(_folder(model)), batch_size=batch_size, workers=workers, shards=[number])


@app.command(no_args_is_help=True)
def load(
    parts: Annotated[str, typer.Argument(help="Where encode wrote the parts: s3://bucket/prefix or a folder.")],
    index: Index,
    engine: Engine = "lucene",
) -> None:
    """Load the vector parts in PARTS into an index; doing it twice changes nothing.

    In the cloud the loader function does this for every part that is written.

    Exit code: 0 all good, 1 an error or a damaged part, 2 bad usage, 3 done, but the index refused some images.

    Example: imagesearch load ./encoded --index duckdb:///./photos.duckdb
    """
    from batch import report
    from imagesearch.index import open_index
    from imagesearch.index.base import BulkResult
    from imagesearch.load import load_part, part_keys
    from imagesearch.storage import open_storage

    storage, opened = open_storage(parts), {}

    def index_of(fingerprint: str, dim: int) -> "VectorIndex":
        if fingerprint not in opened:
            opened[fingerprint] = open_index(index, fingerprint, dim, engine)
        return opened[fingerprint]

    total, loaded, damaged = BulkResult(), 0, 0
    for key in part_keys(storage):
        try:
            result = load_part(storage, key, index_of).result
        except PartError as error:
            damaged += 1
            _complain(str(error))
            continue
        loaded += 1
        total.upserted += result.upserted
        total.deleted += result.deleted
        total.stale += result.stale
        total.rejected += result.rejected
    if not loaded and not damaged:
        raise InvalidInput(f"there are no vector parts in {storage.uri}: it should have a folder named vectors")
    for one in opened.values():
        one.refresh()
    report.console.print(
        f"{loaded:,} parts loaded: {total.upserted:,} images written, {total.deleted:,} removed, "
        f"{total.stale:,} already newer, {len(total.rejected):,} refused"
    )
    for rejection in total.rejected[:20]:
        _complain(f"{rejection.id}: {rejection.reason}")
    if damaged or total.rejected:
        raise typer.Exit(1 if damaged else SOME_FAILED)


@app.command(no_args_is_help=True)
def search(
    query: Annotated[str, typer.Argument(help="What the photo shows, in words; or the path of a picture.")],
    index: Index,
    model: Model = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="How many results.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Search by words, or by a picture when QUERY is the path of a file.

    Examples: imagesearch search "two dogs on a beach", imagesearch search ./photo.jpg --k 5 --json
    """
    from batch import report
    from batch.sources import Reader
    from imagesearch.clip.onnx import OnnxEncoder
    from imagesearch.index import open_index
    from imagesearch.search import ByImage, ByText, Query, Searcher

    encoder = OnnxEncoder(_folder(model))  # torch takes seconds to import, and one query needs no GPU
    opened = open_index(index, encoder.info.fingerprint, encoder.info.embed_dim, "lucene")
    by = ByImage(Reader()(Path(query).absolute().as_uri())) if _is_file(query) else ByText(query)
    hits = Searcher(encoder, opened).search(Query(by, k=k)).hits
    if as_json:
        for hit in hits:
            metadata = hit.metadata.model_dump(mode="json", exclude_none=True)
            typer.echo(json.dumps({"id": hit.id, "score": round(hit.score, 6), **metadata}, ensure_ascii=False))
    elif hits:
        report.show_hits(hits)
    else:
        report.messages.print(f"Nothing found: {opened.name} has {opened.count():,} images.")


@app.command()
def report(
    output: Output,
    run: Annotated[
        str | None, typer.Argument(help="A run, such as 20250101T120000000Z; the latest one by default.")
    ] = None,
    failures: Annotated[int, typer.Option(min=0, help="How many of the failed images to name.")] = 20,
) -> None:
    """Show what became of the images of a RUN, and why.

    Example: imagesearch report --output ./encoded
    """
    from batch import report
    from batch.plan import read_plan, read_plans
    from imagesearch.storage import open_storage

    storage = open_storage(output)
    if run:
        plan = read_plan(storage, run)
    elif plans := read_plans(storage):
        plan = plans[-1]
    else:
        raise InvalidInput(f"there are no runs in {storage.uri}: imagesearch encode makes one")
    totals, failed = report.read_totals(storage, plan.run, failures)
    report.console.print(f"Run {plan.run} of {plan.source}, model {plan.fingerprint}")
    report.show_totals(totals, plan.unchanged)
    if failed:
        report.show_failures(failed)
    if (left := plan.upserts + plan.deletes + plan.duplicates - sum(totals.statuses.values())) > 0:
        report.console.print(f"{left:,} images are still to be done: the same encode command goes on with them.")


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
    _need_torch()
    from batch.export import export_model

    info = export_model(model_name, pretrained, folder, precision)
    typer.echo(f"{info.name} ({info.pretrained}) is in {folder}; its fingerprint is {info.fingerprint}")


@app.command()
def demo(
    photos: Annotated[Path | None, typer.Option(help="A folder of photos; sample pictures if none.")] = None,
    model: Model = None,
    index: Annotated[Literal["embedded", "opensearch"], typer.Option(help="Which index.")] = "embedded",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the page is served; 0 is a free one.")] = 8000,
    state: Annotated[Path | None, typer.Option(help="Folder that keeps what was encoded; .demo if none.")] = None,
) -> None:
    """Run the whole path on this machine, and serve its page.

    Example: imagesearch demo --photos ~/Pictures
    """
    from local.demo import MODEL, STATE, demo

    demo(photos, model=model or MODEL, index=index, port=port, state=state or STATE)


def _is_file(query: str) -> bool:
    try:
        return Path(query).is_file()
    except OSError:  # too long for a path
        return False


def _folder(model: Path | None) -> Path:
    if model is None:
        raise typer.BadParameter("give --model: models/tiny to try things out, or what imagesearch export-model makes")
    return model


def _torch_encoder(name: str, pretrained: str) -> "Encoder":
    _need_torch()
    from batch.torch_encoder import TorchEncoder

    return TorchEncoder(name, pretrained)


def _need_torch() -> None:
    try:
        import open_clip  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"this needs {error.name}, which isn't installed: uv sync --group torch brings what runs and exports models"
        ) from error


def _complain(message: str) -> None:
    typer.secho(message, fg=typer.colors.RED, err=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; trouble that was foreseen is a message and exit code 1, not a traceback."""
    try:
        app(arguments)
    except ImageSearchError as error:
        _complain(f"Error: {error}")
        sys.exit(1)
