"""The loader function: SQS messages with S3 events in, partial batch failures out.

A message fails, and comes back half an hour later, when one of its parts can't be loaded now (the index stays away or
overloaded) or at all (the part is damaged: after some tries it ends in the dead-letter queue, and holds up no other
part).
"""

from functools import cache
from time import monotonic, sleep
from urllib.parse import unquote_plus

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes import S3Event
from aws_lambda_powertools.utilities.data_classes.s3_event import S3EventRecord
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagesearch import index
from imagesearch.errors import ImageSearchError, IndexOverloaded, IndexUnavailable, NotFound
from imagesearch.index.base import VectorIndex
from imagesearch.load import Loaded, load_part
from imagesearch.parts import parse_part_key
from imagesearch.settings import get_settings
from imagesearch.storage import S3Storage

PATIENCE_SECONDS = 60.0
"""How long an index that is away is waited for. Most outages, as when a node restarts or is replaced, are over by then;
and with the time of a last try, the two messages of a batch stay within the function's 300 seconds."""
LONGEST_WAIT_SECONDS = 16.0

logger = Logger(service="loader")
tracer = Tracer(service="loader")
metrics = Metrics(namespace="ImageSearch", service="loader")
# One bad message fails alone, even when it is the only one: an exception would count as a failure of the function.
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False, logger=logger)  # type: ignore[arg-type]


@cache
def open_index(fingerprint: str, dim: int) -> VectorIndex:
    """The index of a model; a warm function keeps its connections."""
    settings = get_settings()
    engine, shards = settings.index_engine, settings.index_shards
    return index.open_index(settings.index_url, fingerprint, dim, engine, shards)


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def lambda_handler(event: dict[str, object], context: LambdaContext) -> PartialItemFailureResponse:
    """Lambda's entry point."""
    return process_partial_response(event, record_handler, processor, context)


@tracer.capture_method(capture_response=False)
def record_handler(record: SQSRecord) -> None:
    """Load the parts that one message announces."""
    body = record.json_body
    if body.get("Event") == "s3:TestEvent":  # S3 sends it once, when the notification is set up
        metrics.add_metric("PartsSkipped", MetricUnit.Count, 1)
        logger.info("test event of S3")
        return
    for announced in S3Event(body).records:
        _load(announced)


def _load(announced: S3EventRecord) -> None:
    bucket, key = announced.s3.bucket.name, unquote_plus(announced.s3.get_object.key)
    if not announced.event_name.startswith("ObjectCreated") or parse_part_key(key) is None:
        metrics.add_metric("PartsSkipped", MetricUnit.Count, 1)
        logger.info("nothing to load", extra={"bucket": bucket, "key": key, "event_name": announced.event_name})
        return
    try:
        loaded = _load_patiently(bucket, key)
    except NotFound:
        metrics.add_metric("PartsSkipped", MetricUnit.Count, 1)
        logger.warning("the part is gone, nothing to load", extra={"bucket": bucket, "key": key})
        return
    except ImageSearchError:
        metrics.add_metric("PartsFailed", MetricUnit.Count, 1)
        raise
    result = loaded.result
    counts = {
        "PartsLoaded": 1,
        "ImagesUpserted": result.upserted,
        "ImagesDeleted": result.deleted,
        "ImagesStale": result.stale,
        "ImagesRejected": len(result.rejected),
    }
    for name, count in counts.items():
        metrics.add_metric(name, MetricUnit.Count, count)
    logger.info("loaded", extra={"bucket": bucket, "key": key, **counts})


def _load_patiently(bucket: str, key: str) -> Loaded:
    """Load a part: again, after ever longer waits, while the index is away or overloaded."""
    deadline, wait = monotonic() + PATIENCE_SECONDS, 2.0
    while True:
        try:
            return load_part(S3Storage(bucket), key, open_index)
        except (IndexUnavailable, IndexOverloaded) as error:
            if monotonic() + wait > deadline:
                raise
            logger.info("waiting for the index", extra={"key": key, "seconds": wait, "reason": str(error)})
        sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)
