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

from imagesearch.errors import ImageSearchError, NotFound
from imagesearch.storage import S3Storage, Storage, open_storage, split_s3_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from imagesearch.statistics import CollectionStatistics

logger = logging.getLogger(__name__)

MAX_AGE_SECONDS = 3_600.0
PATIENCE_SECONDS = 2.0
"""How long a search waits for statistics while there are none at all; it does without them then."""


class LatestStatistics:
    """The statistics of the model `fingerprint`, whose vectors have `dim` dimensions, in the output at `url`.

    They are looked at again after an hour. Safe to share between threads.
    """

    def __init__(self, url: str, fingerprint: str, dim: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._key = f"vectors/{fingerprint}/statistics.npz"
        self._dim = dim
        self._clock = clock
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "statistics")
        self._reading: Future[CollectionStatistics | None] | None = None
        self._due = clock()
        self._known: CollectionStatistics | None = None

    def __call__(self) -> "CollectionStatistics | None":
        """The statistics, or None where there are none, or none that can be read, or not in time. Never raises."""
        with self._lock:
            if self._reading is None and self._clock() >= self._due:
                self._reading = self._pool.submit(self._read)
            if self._reading is not None:
                try:
                    self._known = self._reading.result(0 if self._known else PATIENCE_SECONDS)
                except NotYet:
                    return self._known
                self._reading, self._due = None, self._clock() + MAX_AGE_SECONDS
            return self._known

    def _read(self) -> "CollectionStatistics | None":
        """What is there now; what was known before, where it can't be read."""
        from imagesearch.statistics import CollectionStatistics

        try:
            statistics = CollectionStatistics.from_bytes(_open(self._url).read(self._key))
            if statistics.mean.shape != (self._dim,):
                raise ValueError(f"they are of dimension {statistics.mean.shape}, not {self._dim}")
        except NotFound:
            logger.info("there are no statistics of the collection at %s/%s: no confidence", self._url, self._key)
            return None
        except (ImageSearchError, ValueError) as error:
            logger.warning("the statistics of the collection can't be read: %s", error)
            return self._known
        return statistics


def _open(url: str) -> Storage:
    if not url.startswith("s3://"):
        return open_storage(url)
    from botocore.config import Config
    from botocore.session import Session  # boto3 would only add to the time of a cold start

    # Not the client of jobs: nobody waits for statistics as long as for photos.
    config = Config(retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=2, read_timeout=5)
    client = Session().create_client("s3", config=config)
    return S3Storage(*split_s3_uri(url), client=cast("S3Client", client))
