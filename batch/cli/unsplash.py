"""A public collection to start with: download-unsplash."""

from typing import Annotated, Literal

import typer

from batch.cli.options import SOME_FAILED, RetryFailed, until_stopped

app = typer.Typer()


@app.command("download-unsplash", no_args_is_help=True)
def download_unsplash(
    destination: Annotated[str, typer.Argument(help="A folder or s3://bucket/prefix that the photos go to.")],
    dataset: Annotated[
        Literal["lite", "full"], typer.Option(help="lite has 25,000 photos; full is for those whom Unsplash admits.")
    ] = "lite",
    archive: Annotated[
        str | None, typer.Option(help="URL or path of the dataset's zip, or the folder it was unpacked to.")
    ] = None,
    image_width: Annotated[int, typer.Option(min=1, help="Pixels. Unsplash scales the photos down to it.")] = 480,
    threads: Annotated[int, typer.Option(min=1, max=256, help="How many photos are downloaded at once.")] = 32,
    min_confidence: Annotated[
        float,
        typer.Option(min=0, max=100, help="Percent. A keyword found by a model is a tag if it is at least so sure."),
    ] = 80,
    retry_failed: RetryFailed = False,
) -> None:
    """Download the photos of the Unsplash dataset to DESTINATION, with a table photos.parquet that encode takes.

    It can be stopped at any time: the same command goes on where it stopped. Photos that are gone from Unsplash are
    named in failed.csv, and not asked for again. The dataset has terms: see https://unsplash.com/data-terms.

    Exit code: 0 all good, 1 stopped by an error, 2 bad usage, 3 done, but some photos failed.

    Example: imagesearch download-unsplash --image-width 480 --threads 32 ./unsplash
    """
    from batch import report
    from batch.unsplash import FAILED, TABLE, download_unsplash
    from imagesearch.storage import open_storage

    storage = open_storage(destination)
    with until_stopped("The same command goes on from here."):
        done = download_unsplash(
            storage,
            dataset=dataset,
            archive=archive,
            image_width=image_width,
            threads=threads,
            min_confidence=min_confidence,
            retry_failed=retry_failed,
        )
    place = destination.rstrip("/")
    new_failures = len(done.failed) - done.failed_before
    report.console.print(f"{done.table:,} photos are there, {done.fetched:,} of them new; {new_failures:,} failed.")
    report.show_reasons(failure.reason for failure in done.failed)
    if done.failed_before:
        report.messages.print(
            f"{done.failed_before:,} failed before and are not tried again; --retry-failed does, {FAILED} names them."
        )
    report.messages.print(f"Go on with: imagesearch encode {place}/{TABLE} --output …")
    if new_failures:
        typer.echo(f"{new_failures:,} photos failed: {place}/{FAILED} says why.", err=True)
        raise typer.Exit(SOME_FAILED)
