"""The index: load, search."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch.cli.options import SOME_FAILED, Engine, Index, Model, Shards, complain, model_folder
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
        complain(f"{rejection.id}: {rejection.reason}")
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

    encoder = OnnxEncoder(model_folder(model))  # torch takes seconds to import, and one query needs no GPU
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


def _is_file(query: str) -> bool:
    try:
        return Path(query).is_file()
    except OSError:  # too long for a path
        return False
