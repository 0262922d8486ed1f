"""Models: export-model, models, reindex, statistics, prune."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from batch.cli.options import (
    SOME_FAILED,
    Index,
    Model,
    Output,
    Workers,
    index_of,
    model_folder,
    need_torch,
    until_stopped,
)

app = typer.Typer()


@app.command("export-model", no_args_is_help=True)
def export_model(
    folder: Annotated[Path, typer.Argument(help="Folder that the artifact goes into.")],
    model_name: Annotated[str, typer.Option(help="A model of open_clip.")] = "ViT-B-32-quickgelu",
    pretrained: Annotated[str, typer.Option(help="Its weights: a tag of open_clip, a file or a folder.")] = "openai",
    precision: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option(help="fp16 is half as big; int8 a quarter, and quicker, for queries: nearly the same embeddings."),
    ] = "fp32",
) -> None:
    """Make a model artifact of an open_clip model, for encoding on a CPU and for the query function.

    Example: imagesearch export-model ./model --model-name ViT-B-16 --pretrained laion2b_s34b_b88k
    """
    need_torch()
    from batch.export import export_model

    info = export_model(model_name, pretrained, folder, precision)
    typer.echo(f"{info.name} ({info.pretrained}) is in {folder}; its fingerprint is {info.fingerprint}")


@app.command(no_args_is_help=True)
def models(output: Output, index: Index) -> None:
    """Show the models that photos are encoded with, and how much of each the index has.

    Example: imagesearch models --output s3://vectors --index https://…
    """
    from batch import report
    from batch.models import count_encoded, read_models
    from imagesearch.storage import open_storage

    storage = open_storage(output)
    found = read_models(storage)
    if not found:
        report.messages.print(f"Nothing is encoded in {output} yet.")
        return
    report.show_models([(model, count_encoded(storage, model), index_of(index, model).count()) for model in found])


@app.command(no_args_is_help=True)
def reindex(
    output: Output,
    model: Model = None,
    workers: Workers = None,
) -> None:
    """Encode all photos once more, with another MODEL, beside those of the models before.

    The index of the new model fills up while searches go on with the old one: each asks that of its own model only.
    On AWS, deploy with the new model and start an ingest instead: docs/operations.md, "Change the model".

    Exit code: 0 all good, 1 stopped by an error, 2 bad usage, 3 done, but some images failed.

    Example: imagesearch reindex --output ./encoded --model ./new-model
    """
    from batch.encode import open_encoder
    from batch.ingest import ingest
    from batch.models import read_models
    from batch.sources import open_source
    from imagesearch.errors import InvalidInput
    from imagesearch.storage import open_storage

    storage, encoder = open_storage(output), open_encoder(model_folder(model))
    plans = {plan.source: plan for found in read_models(storage) for plan in found.plans}
    if not plans:
        raise InvalidInput(f"there are no runs in {storage.uri}: imagesearch encode makes one")
    failed = 0
    with until_stopped("The same command goes on from here."):
        for plan in plans.values():
            typer.echo(f"{plan.source}, with the model {encoder.info.fingerprint}:", err=True)
            failed += ingest(open_source(plan.source, columns=plan.columns), storage, encoder, workers=workers)
    if failed:
        raise typer.Exit(SOME_FAILED)


@app.command(no_args_is_help=True)
def statistics(output: Output) -> None:
    """Compute the statistics of what each model encoded anew; searches tell by them how sure they are of a hit.

    encode, reindex and the report job of AWS do it at the end of a run.

    Example: imagesearch statistics --output s3://vectors
    """
    from batch import report
    from batch.models import read_models
    from batch.statistics import write_statistics
    from imagesearch.statistics import statistics_key
    from imagesearch.storage import open_storage

    storage = open_storage(output)
    written = {
        found.info.fingerprint: write_statistics(storage, found.info.fingerprint) for found in read_models(storage)
    }
    for fingerprint, computed in written.items():
        if computed:
            report.console.print(f"{statistics_key(fingerprint)}: of {computed.count:,} photos")
    if not any(written.values()):
        report.messages.print(f"Nothing is encoded in {output} yet.")


@app.command(no_args_is_help=True)
def prune(
    fingerprint: Annotated[str, typer.Argument(help="The model, as `imagesearch models` shows it.")],
    output: Output,
    index: Index,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Remove what was encoded with a model, from the index and from the output: vectors, runs and all.

    Example: imagesearch prune 3f2a81c09d4e --output s3://vectors --index https://…
    """
    from batch.models import count_encoded, read_models, remove_model
    from imagesearch.errors import NotFound
    from imagesearch.storage import open_storage

    storage = open_storage(output)
    found = {model.info.fingerprint: model for model in read_models(storage)}
    if fingerprint not in found:
        raise NotFound(f"there is no model {fingerprint} in {storage.uri}; its models: {', '.join(found) or 'none'}")
    opened = index_of(index, found[fingerprint])
    if not yes:
        only = " It is the only model there is: nothing will be left to search." if len(found) == 1 else ""
        typer.confirm(
            f"Remove {opened.count():,} photos of {opened.name} from the index, and what was encoded of "
            f"{count_encoded(storage, found[fingerprint]):,} from {storage.uri}?{only} It can't be undone",
            abort=True,
        )
    opened.drop()
    remove_model(storage, found[fingerprint])
    typer.echo(f"The model {fingerprint} is gone.")
