"""The deployed path on one machine: bucket → queue → loader → index → query function → HTTP."""

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from imagesearch.clip.model import ModelInfo
from imagesearch.index import open_index
from imagesearch.index.base import VectorIndex
from imagesearch.settings import get_settings
from imagesearch.storage import S3Storage, Storage
from local.aws import Aws, Bucket, Poller, Queue
from local.context import Handler
from local.gateway import Gateway
from local.opensearch import LocalOpenSearch

IndexKind = Literal["embedded", "opensearch"]

BUCKET = "image-search-vectors"
QUIET = {
    "POWERTOOLS_TRACE_DISABLED": "true",
    "POWERTOOLS_METRICS_DISABLED": "true",
    "POWERTOOLS_LOG_LEVEL": "WARNING",
}
"""Powertools reads these when a handler is imported."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs: `vectors` takes parts and ledgers, whose arrival in `queue` fills `index`; `url` answers searches."""

    url: str
    fingerprint: str
    bucket: Bucket
    queue: Queue
    index: VectorIndex
    vectors: Storage


@contextmanager
def stack(
    state: Path,
    model: Path,
    files: Path,
    kind: IndexKind = "embedded",
    port: int = 0,
    api_key: str | None = None,
) -> Iterator[Stack]:
    """Bring everything up on loopback, and down again.

    `state` keeps the bucket and the index from run to run, `model` is the artifact's folder, `files` the folder whose
    images are served, `port` the one to answer searches on (0: a free one), and `api_key` what searches need, if any.

    Raises:
        IndexUnavailable: the index can't be opened, or OpenSearch can't be started.
        InvalidInput: the port is taken, or this user may not use it.
    """
    info = ModelInfo.load(model)
    state.mkdir(parents=True, exist_ok=True)
    with ExitStack() as running:
        running.enter_context(Aws())
        running.enter_context(environment(**QUIET))
        from functions.loader import app as loader
        from functions.query import app as query

        gateway = Gateway(without_metrics(query), port, files, api_key=api_key)
        if kind == "opensearch":
            server = LocalOpenSearch(state)
            running.callback(server.stop)
            index_url = server.start()
        else:
            index_url = f"duckdb:///{(state / 'index.duckdb').resolve()}"
        running.enter_context(
            environment(
                IMAGESEARCH_INDEX_URL=index_url,
                IMAGESEARCH_MODEL=str(model.resolve()),
                IMAGESEARCH_FILE_BASE_URL=f"{gateway.url}/files",
                IMAGESEARCH_VECTORS_URL=f"s3://{BUCKET}",
                IMAGESEARCH_CURSOR_SECRET=secrets.token_hex(),
            )
        )
        query.service.cache_clear()
        loader.open_index.cache_clear()
        running.enter_context(gateway)
        index = open_index(index_url, info.fingerprint, info.embed_dim)
        bucket, queue = Bucket(BUCKET, state / "bucket"), Queue("image-search-parts")
        bucket.restore()
        bucket.notify(queue, "vectors/", ".parquet")
        running.callback(bucket.persist)
        running.enter_context(Poller(queue, without_metrics(loader)))
        yield Stack(gateway.url, info.fingerprint, bucket, queue, index, S3Storage(BUCKET))


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables meanwhile; the settings are read anew on both sides of it."""
    saved = dict(os.environ)
    os.environ |= variables
    get_settings.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)
        get_settings.cache_clear()


def without_metrics(app: ModuleType) -> Handler:
    """The handler of `app`. Powertools keeps metrics that it may not publish, and prints a hundred of them then."""

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = app.lambda_handler(event, context)
            return answer
        finally:
            app.metrics.clear_metrics()

    return handler
