"""The deployed path under a soak: as local.stack, with an OpenSearch that can be killed and an S3 that fails."""

import itertools
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scorecard.instances import instances
from benchmarks.scorecard.pictures import INFO
from imagesearch.index import open_index
from imagesearch.index.base import VectorIndex
from imagesearch.storage import S3Storage
from local.aws import Aws, Bucket, Poller, Queue
from local.context import Handler
from local.demo import MODEL
from local.faults import Fault, FaultProxy, ProxyRequest, Reply
from local.opensearch import LocalOpenSearch
from local.stack import BUCKET, QUIET, environment, without_metrics

RETRY_SECONDS = 30
"""When a part that couldn't be loaded comes back: after 30 minutes as deployed, so a soak is sixty times as fast."""
SLOW_SECONDS = 3.0
JAVA_OPTIONS = "-Xms1g -Xmx1g"
SILENT = {"POWERTOOLS_LOG_LEVEL": "CRITICAL"}
"""Each failure that is made here on purpose would be in the log, with a traceback."""


class S3Faults(FaultProxy):
    """S3 that is well, slow, or failing: then it answers 503 SlowDown and 500 InternalError in turns."""

    state = "well"

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self._replies = itertools.cycle([_error(503, "SlowDown"), _error(500, "InternalError")])

    def fault(self, request: ProxyRequest) -> Fault:  # noqa: ARG002
        """See FaultProxy."""
        match self.state:
            case "slow":
                return SLOW_SECONDS
            case "failing":
                return next(self._replies)
            case _:
                return None


def _error(status: int, code: str) -> Reply:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html."""
    return Reply(
        status, f"<Error><Code>{code}</Code><Message>for a while</Message></Error>".encode(), "application/xml"
    )


class Loader:
    """The loader's handler; counts messages, and those that failed and come back."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.messages = self.failures = 0

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Load what is announced."""
        answer = self._handler(event, context)
        self.messages += len(event["Records"])
        self.failures += len(answer["batchItemFailures"])
        return answer


@dataclass(frozen=True, slots=True)
class World:
    """What runs. Parts that are written to `vectors` reach `index` by `queue` and `loader`; `urls` answer searches."""

    server: LocalOpenSearch
    s3: S3Faults
    vectors: S3Storage
    queue: Queue
    loader: Loader
    index: VectorIndex
    urls: list[str]


@contextmanager
def world() -> Iterator[World]:
    """Bring everything up on loopback, and down again, leaving nothing."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        running.enter_context(environment(**QUIET | SILENT, OPENSEARCH_JAVA_OPTS=JAVA_OPTIONS))
        services = running.enter_context(Aws())
        server = LocalOpenSearch(Path(tempfile.mkdtemp(prefix="opensearch-")))
        running.callback(server.delete)
        index_url = server.start()
        bucket, queue = Bucket(BUCKET, folder), Queue("image-search-parts", RETRY_SECONDS)
        bucket.notify(queue, "vectors/", ".parquet")
        s3 = running.enter_context(S3Faults(services.endpoint))
        running.enter_context(
            environment(
                AWS_ENDPOINT_URL_S3=s3.url,  # the queue doesn't fail
                IMAGESEARCH_INDEX_URL=index_url,
                IMAGESEARCH_MODEL=str(MODEL),
                IMAGESEARCH_FILE_BASE_URL="https://photos.example",
                IMAGESEARCH_VECTORS_URL=f"s3://{BUCKET}",
                IMAGESEARCH_CURSOR_SECRET=secrets.token_hex(),
            )
        )
        from functions.loader import app  # not before its log is quiet

        app.open_index.cache_clear()
        loader = Loader(without_metrics(app))
        running.enter_context(Poller(queue, loader))
        urls = running.enter_context(instances(os.cpu_count() or 1))
        index = open_index(index_url, INFO.fingerprint, INFO.embed_dim)
        yield World(server, s3, S3Storage(BUCKET), queue, loader, index, urls)
