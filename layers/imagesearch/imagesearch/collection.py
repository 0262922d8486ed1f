"""The statistics of the collection that is searched, as they lie beside its vectors: read when they are first needed.

Whatever goes wrong with them costs a search its confidence, and nothing else.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import TYPE_CHECKING, cast

from imagesearch.statistics import CollectionStatistics, read_statistics
from imagesearch.storage import S3Storage, Storage, open_storage, split_s3_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

MAX_AGE_SECONDS = 3_600.0
MISSING_SECONDS = 60.0
"""How soon is looked again where there were none: a new collection has them at the end of its first run."""
PATIENCE_SECONDS = 2.0
"""How long a search waits for statistics while there are none at all; it does without them then."""


class LatestStatistics:
    """The statistics of the model `fingerprint`, whose vectors have `dim` dimensions, in the output at `url`.

    They are looked at again after an hour, or after a minute where there are none. Safe to share between threads.
    """

    def __init__(self, url: str, fingerprint: str, dim: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._fingerprint = fingerprint
        self._dim = dim
        self._clock = clock
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "statistics")
        self._reading: Future[CollectionStatistics | None] | None = None
        self._due = clock()
        self._known: CollectionStatistics | None = None

    def __call__(self) -> CollectionStatistics | None:
        """The statistics, or None where there are none, or none that can be read, or not in time. Never raises."""
        with self._lock:
            if self._reading is None and self._clock() >= self._due:
                self._reading = self._pool.submit(self._read, self._open())
            if self._reading is not None:
                try:
                    self._known = self._reading.result(0 if self._known else PATIENCE_SECONDS)
                except NotYet:
                    return self._known
                self._reading = None
                self._due = self._clock() + (MAX_AGE_SECONDS if self._known else MISSING_SECONDS)
            return self._known

    def _open(self) -> Storage | Exception:
        """Where they are; what is wrong with it is for the log, like all else."""
        try:
            return _open(self._url)
        except Exception as error:
            return error

    def _read(self, storage: Storage | Exception) -> CollectionStatistics | None:
        """What is there now; what was known before, where it can't be read."""
        try:
            if isinstance(storage, Exception):
                raise storage
            statistics = read_statistics(storage, self._fingerprint)
        except Exception as error:  # whatever it is, nobody's search should fail because of it
            logger.warning("no statistics of the collection: %s", error)
            return self._known
        if statistics is None:
            logger.info("there are no statistics of the collection in %s", self._url)
        elif statistics.mean.shape != (self._dim,):
            logger.warning("the statistics of the collection have %s dimensions", len(statistics.mean))
            return None
        return statistics


def _open(url: str) -> Storage:
    if not url.startswith("s3://"):
        return open_storage(url)
    from botocore.config import Config

    from imagesearch.links import aws_session

    # Not the client of jobs: nobody waits for statistics as long as for photos.
    config = Config(retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=2, read_timeout=5)
    client = aws_session().create_client("s3", config=config)
    return S3Storage(*split_s3_uri(url), client=cast("S3Client", client))
