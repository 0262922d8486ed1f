"""Runs of the encoder: encode, plan, work, report."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from batch.cli.options import (
    SOME_FAILED,
    AllowEmpty,
    BatchSize,
    Columns,
    Compile,
    Model,
    Output,
    Precision,
    Prefix,
    RetryFailed,
    ShardSize,
    Suffixes,
    Workers,
    model_folder,
    need_torch,
    source_at,
    until_stopped,
)
from imagesearch.errors import InvalidInput

if TYPE_CHECKING:
    from imagesearch.clip.model import Encoder

app = typer.Typer()


@app.command(no_args_is_help=True)
def encode(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, s3://bucket/prefix, a .csv, .tsv or .parquet with a column path or url, or the "
            "s3://…/manifest.json of an S3 Inventory."
        ),
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
    batch_size: BatchSize = None,
    precision: Precision = None,
    compile: Compile = False,
    workers: Workers = None,
    retry_failed: RetryFailed = False,
    allow_empty: AllowEmpty = False,
    column: Columns = None,
    prefix: Prefix = "",
    suffix: Suffixes = None,
) -> None:
    """Encode what is new or has changed in SOURCE; write vector parts and the ledger to the output.

    It can be stopped at any time: the same command goes on where it stopped. Photos that have gone from the source are
    removed from the index. A photo that can't be decoded costs only itself, and has a row in the ledger that says why.

    Exit code: 0 all good, 1 stopped by an error, 2 bad usage, 3 done, but some images failed.

    Example: imagesearch encode ~/photos --output ./encoded --model models/tiny
    """
    from batch.encode import open_encoder
    from batch.ingest import ingest
    from imagesearch.storage import open_storage

    if model_name:
        encoder = _torch_encoder(model_name, pretrained, precision, compile)
    else:
        encoder = open_encoder(model_folder(model), precision, compile)
    origin, storage = source_at(source, column, prefix, suffix), open_storage(output)
    with until_stopped("The same command goes on from here."):
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
    column: Columns = None,
    prefix: Prefix = "",
    suffix: Suffixes = None,
    submit: Annotated[bool, typer.Option("--submit", help="Submit the work to AWS Batch.")] = False,
    queue: Annotated[str, typer.Option(envvar="IMAGESEARCH_ENCODE_QUEUE", help="Batch's job queue.")] = "",
    definition: Annotated[str, typer.Option(envvar="IMAGESEARCH_ENCODE_JOB", help="Batch's job definition.")] = "",
    report_definition: Annotated[
        str, typer.Option(envvar="IMAGESEARCH_REPORT_JOB", help="That of a job which reports when all is encoded.")
    ] = "",
) -> None:
    """Plan what has changed in SOURCE as work shards, for `imagesearch work` to encode; encode does both.

    With --submit the shards become the children of an array job of AWS Batch, and so do those of runs that were
    interrupted, unless a job is still at them. If nothing has changed, nothing is started.

    Example: imagesearch plan s3://photos --output s3://vectors --model models/tiny --submit
    """
    from batch import jobs, report
    from batch.plan import make_plan, unfinished
    from imagesearch.clip.model import ModelInfo
    from imagesearch.storage import open_storage

    if submit and not (queue and definition):
        raise typer.BadParameter("--submit needs --queue and --definition")
    fingerprint = ModelInfo.load(model_folder(model)).fingerprint
    origin, storage = source_at(source, column, prefix, suffix), open_storage(output)
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
        if submit and jobs.is_under_way(plan, queue):
            typer.echo("A job is at it already; nothing is started.")
        elif submit:
            typer.echo(f"Job {jobs.submit(plan, output, queue, definition, report_definition)} encodes it.")


@app.command(no_args_is_help=True)
def work(
    run: Annotated[str, typer.Argument(help="The run, as plan named it.")],
    output: Output,
    model: Model = None,
    shard: Annotated[
        int | None, typer.Option(min=0, help="Which shard; by default that of this child of an array job, or 0.")
    ] = None,
    batch_size: BatchSize = None,
    precision: Precision = None,
    compile: Compile = False,
    workers: Workers = None,
) -> None:
    """Encode one shard of a RUN: what a child of the array job does. A shard that is done isn't done again.

    The last line on stdout is JSON: the shard, its images, failures and rate, and the stage that was the slowest.
    Images that fail have their rows in the ledger; they don't make the job fail, which Batch would try again.

    Example: imagesearch work 20250101T120000000Z --output s3://vectors --model models/tiny --shard 3
    """
    from batch import report
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
    encoder = open_encoder(model_folder(model), precision, compile)
    with until_stopped(f"Shard {number} is to be done again."):
        encode_shards(plan, storage, encoder, batch_size=batch_size, workers=workers, shards=[number])
    typer.echo(json.dumps(report.log_line(storage, plan, number)))


@app.command()
def report(
    output: Output,
    run: Annotated[
        str | None, typer.Argument(help="A run, such as 20250101T120000000Z; the latest one by default.")
    ] = None,
    failures: Annotated[int, typer.Option(min=0, help="How many of the failed images to name.")] = 20,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Also compute those of its model anew, as `imagesearch statistics`.")
    ] = False,
) -> None:
    """Show what became of the images of a RUN, and why.

    Example: imagesearch report --output ./encoded
    """
    from batch import report
    from batch.plan import read_plan, read_plans
    from batch.statistics import write_statistics
    from imagesearch.storage import open_storage

    storage = open_storage(output)
    if run:
        plan = read_plan(storage, run)
    elif plans := read_plans(storage):
        plan = plans[-1]
    else:
        raise InvalidInput(f"there are no runs in {storage.uri}: imagesearch encode makes one")
    totals, failed, took = report.read_totals(storage, plan.run, failures)
    report.console.print(f"Run {plan.run} of {plan.source}, model {plan.fingerprint}")
    report.show_totals(totals, plan.unchanged)
    report.show_throughput(took)
    if failed:
        report.show_failures(failed)
    if (left := plan.upserts + plan.deletes + plan.duplicates - sum(totals.statuses.values())) > 0:
        report.console.print(f"{left:,} images are still to be done: the same encode command goes on with them.")
    if statistics:
        write_statistics(storage, plan.fingerprint)


def _torch_encoder(name: str, pretrained: str, precision: Precision, compile: bool) -> "Encoder":
    need_torch()
    from batch.torch_encoder import TorchEncoder

    return TorchEncoder(name, pretrained, None, precision, compile)
