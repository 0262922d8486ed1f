"""The index: load, search, reconcile."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch.cli.options import SOME_FAILED, Engine, Index, Model, Output, Shards, complain, index_of, model_folder
from imagesearch.errors import InvalidInput, PartError

if TYPE_CHECKING:
    from imagesearch.index.base import VectorIndex

app = typer.Typer()


@app.command(no_args_is_help=True)
def load(
    parts: Annotated[str, typer.Argument(help="Where encode wrote the parts: s3://bucket/prefix or a folder.")],
    index: Index,
    engine: Engine = "lucene",
    shards: Shards = 1,
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
            opened[fingerprint] = open_index(index, fingerprint, dim, engine, shards)
        return opened[fingerprint]

    total, loaded, damaged = BulkResult(), 0, 0
    for key in part_keys(storage):
        try:
            result = load_part(storage, key, index_of).result
        except PartError as error:
            damaged += 1
            complain(str(error))
            continue
        loaded += 1
        total.add(result)
    if not loaded and not damaged:
        raise InvalidInput(f"there are no vector parts in {storage.uri}: it should have a folder named vectors")
    for one in opened.values():
        one.refresh()
    report.console.print(
        f"{loaded:,} parts loaded: {total.upserted:,} images written, {total.deleted:,} removed, "
        f"{total.stale:,} already newer, {len(total.rejected):,} refused"
    )
    report.show_refused(total)
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
    from imagesearch.search import ByImage, ByText, Query, Searcher, Term

    encoder = OnnxEncoder(model_folder(model))  # torch takes seconds to import, and one query needs no GPU
    opened = open_index(index, encoder.info.fingerprint, encoder.info.embed_dim, "lucene")
    by = ByImage(Reader()(Path(query).absolute().as_uri())) if _is_file(query) else ByText(query)
    hits = Searcher(encoder, opened).search(Query((Term(by),), k=k)).hits
    if as_json:
        for hit in hits:
            metadata = hit.metadata.model_dump(mode="json", exclude_none=True)
            typer.echo(json.dumps({"id": hit.id, "score": round(hit.score, 6), **metadata}, ensure_ascii=False))
    elif hits:
        report.show_hits(hits)
    else:
        report.messages.print(f"Nothing found: {opened.name} has {opened.count():,} images.")


@app.command(no_args_is_help=True)
def reconcile(
    output: Output,
    index: Index,
    fingerprint: Annotated[str | None, typer.Option(help="Only this model, as `imagesearch models` shows it.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Load what is missing, remove what is too much.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="How many images to name.")] = 20,
) -> None:
    """Compare the index with the ledger, and list what is missing or too much; with --fix, mend it.

    What the loader hasn't come to yet counts as missing: wait until no parts are waiting.

    Exit code: 0 they agree (now), 1 an error, 2 bad usage, 3 they don't.

    Example: imagesearch reconcile --output s3://vectors --index https://… --fix
    """
    from batch import report
    from batch.models import read_models
    from batch.reconcile import compare, repair
    from imagesearch.errors import NotFound
    from imagesearch.storage import open_storage

    storage = open_storage(output)
    models = [found for found in read_models(storage) if fingerprint in (None, found.info.fingerprint)]
    if not models:
        raise NotFound(f"nothing in {storage.uri} is encoded" + (f" with a model {fingerprint}" if fingerprint else ""))
    agree = True
    for model in models:
        opened = index_of(index, model)
        difference = compare(storage, opened, model)
        report.show_difference(opened.name, difference, limit)
        if fix and difference:
            result = repair(storage, opened, model, difference)
            report.show_refused(result)
            difference = compare(storage, opened, model)
            report.console.print("They agree now." if not difference else "They still don't agree.")
        agree = agree and not difference
    if not agree:
        raise typer.Exit(SOME_FAILED)


def _is_file(query: str) -> bool:
    try:
        return Path(query).is_file()
    except OSError:  # too long for a path
        return False
