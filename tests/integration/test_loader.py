"""The loader function, fed by S3 events through SQS as in the cloud (moto), into the embedded index."""

import json
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import boto3
import numpy as np
import pytest

from functions.loader import app
from imagesearch.errors import IndexOverloaded, IndexUnavailable, VectorIndexError
from imagesearch.index import open_index
from imagesearch.index.base import Action, BulkResult, Upsert, VectorIndex
from imagesearch.parts import Part, part_key, write_part
from imagesearch.records import ImageMetadata
from imagesearch.settings import get_settings
from local.aws import Aws, Bucket, Queue
from local.context import LambdaContext

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import FilterRuleTypeDef, QueueConfigurationTypeDef

MODEL, DIM = "3f2a", 4


class World:
    """A bucket whose events go to a queue, the handler, and the index that it fills."""

    def __init__(self, folder: Path) -> None:
        Bucket("photos", folder / "bucket")
        self.queue = Queue("parts")
        self.s3 = boto3.client("s3")
        # Announced by suffix alone, so that what is no part comes too.
        rules: list[FilterRuleTypeDef] = [{"Name": "suffix", "Value": ".parquet"}]
        announce: QueueConfigurationTypeDef = {
            "QueueArn": self.queue.arn,
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": rules}},
        }
        self.s3.put_bucket_notification_configuration(
            Bucket="photos", NotificationConfiguration={"QueueConfigurations": [announce]}
        )
        self.url = f"duckdb:///{folder}/index.duckdb"

    def put(self, shard: int, *ids: str, run: str = "r", root: str = "", version: int = 1) -> str:
        actions = [Upsert(id, version, np.eye(1, DIM, dtype=np.float32)[0], ImageMetadata(uri=id)) for id in ids]
        key = root + part_key(MODEL, run, shard)
        self.s3.put_object(Bucket="photos", Key=key, Body=write_part(Part(MODEL, DIM, run, actions)))
        return key

    def poison(self, shard: int) -> None:
        self.s3.put_object(Bucket="photos", Key=part_key(MODEL, "r", shard), Body=b"no parquet")

    def deliver(self) -> list[str]:
        """Hand everything in the queue to the handler as one batch; the bodies of the messages that failed."""
        records: list[dict[str, Any]] = []
        deadline = time.monotonic() + 20
        while self.queue.pending() > len(records) and time.monotonic() < deadline:
            records += self.queue.receive()
        return self.invoke(records)

    def invoke(self, records: list[dict[str, Any]]) -> list[str]:
        answer = app.lambda_handler({"Records": records}, LambdaContext("loader"))
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        self.queue.settle(records, failed)
        return [record["body"] for record in records if record["messageId"] in failed]

    @property
    def index(self) -> VectorIndex:
        return open_index(self.url, MODEL, DIM, "lucene")


@pytest.fixture
def world(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    monkeypatch.setenv("IMAGESEARCH_INDEX_URL", world.url)
    get_settings.cache_clear()
    app.open_index.cache_clear()
    yield world
    get_settings.cache_clear()
    app.open_index.cache_clear()


def record(body: str, id: str = "m1") -> dict[str, Any]:
    return {"messageId": id, "receiptHandle": id, "body": body, "eventSource": "aws:sqs", "attributes": {}}


def event(key: str, name: str = "ObjectCreated:Put", bucket: str = "photos") -> str:
    """What S3 sends: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html."""
    s3 = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key)}}
    return json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": name, "s3": s3}]})


def failures(*bodies: str) -> list[str]:
    """The ids of the messages that failed, of those with these bodies: 0, 1, …"""
    records = [record(body, str(n)) for n, body in enumerate(bodies)]
    answer = app.lambda_handler({"Records": records}, LambdaContext("loader"))
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_parts_that_are_written_are_indexed(world: World) -> None:
    world.put(0, "a b+c%20.jpg", "é/🐶.png")
    world.put(1, "c")
    assert world.deliver() == []
    assert world.index.count() == 3
    assert set(world.index.get(["a b+c%20.jpg", "é/🐶.png", "c"])) == {"a b+c%20.jpg", "é/🐶.png", "c"}


def test_keys_with_blanks_plus_and_unicode_are_found(world: World) -> None:
    world.put(0, "a", root="my photos + more/100%/é 🐶/")
    assert world.deliver() == []
    assert world.index.count() == 1


def test_a_poison_part_fails_alone_and_ends_among_the_dead_letters(world: World) -> None:
    world.put(0, "a")
    world.poison(1)
    world.put(2, "b")
    (failed,) = world.deliver()
    assert "00001.parquet" in failed
    assert world.index.count() == 2


def test_doubled_and_late_events_change_nothing(world: World) -> None:
    new = world.put(0, "a", run="r2", version=2)
    old = world.put(0, "a", run="r1", version=1)
    assert failures(event(new), event(old), event(new), event(old)) == []
    assert world.index.get(["a"])["a"].version == 2
    assert world.index.count() == 1


def test_a_part_that_was_deleted_meanwhile_is_no_failure(world: World) -> None:
    key = world.put(0, "a")
    world.s3.delete_object(Bucket="photos", Key=key)
    assert world.deliver() == []
    assert failures(event(key, "ObjectRemoved:Delete")) == []


def test_what_is_no_part_is_let_pass(world: World) -> None:
    world.s3.put_object(Bucket="photos", Key="runs/r/work/00000.parquet", Body=b"other parquet")
    test_event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos", "RequestId": "x", "HostId": "y"}
    assert world.deliver() == []
    assert failures(json.dumps(test_event), event("vectors/x.txt")) == []


def test_a_message_that_is_no_s3_event_fails_alone(world: World) -> None:
    key = world.put(0, "a")
    assert failures("not json", event(key), "{}", "[]") == ["0", "2", "3"]
    assert world.index.count() == 1


def test_a_missing_bucket_fails(world: World) -> None:
    assert failures(event(part_key(MODEL, "r", 0), bucket="nowhere")) == ["0"]


class Away:
    """An index that is away, or busy, for a while."""

    def __init__(self, index: VectorIndex, *troubles: VectorIndexError) -> None:
        self._index = index
        self._troubles = [*troubles]

    def create(self) -> None:
        if self._troubles:
            raise self._troubles.pop(0)

    def bulk(self, actions: Iterable[Action]) -> BulkResult:
        return self._index.bulk(actions)


def test_an_index_that_is_away_for_a_moment_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that failed comes back after half an hour; most outages are over in a minute."""
    waits: list[float] = []
    monkeypatch.setattr(app, "sleep", waits.append)
    away = Away(world.index, IndexUnavailable("it restarts"), IndexUnavailable("it restarts"), IndexOverloaded("busy"))
    monkeypatch.setattr(app, "open_index", cache(lambda fingerprint, dim: away))
    world.put(0, "a")
    assert world.deliver() == []
    assert world.index.count() == 1
    assert waits == sorted(waits)
    assert len(waits) == 3


def test_a_part_that_no_patience_helps_fails_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(app, "sleep", waits.append)
    away = Away(world.index, VectorIndexError("403: the disk is full"))
    monkeypatch.setattr(app, "open_index", cache(lambda fingerprint, dim: away))
    world.put(0, "a")
    assert len(world.deliver()) == 1
    assert waits == []


def test_an_index_that_stays_away_fails_and_is_filled_on_the_next_try(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "PATIENCE_SECONDS", 0)
    world.put(0, "a")
    with monkeypatch.context() as away:
        away.setenv("IMAGESEARCH_INDEX_URL", "http://127.0.0.1:9")  # nobody listens on the discard port
        get_settings.cache_clear()
        app.open_index.cache_clear()
        assert len(world.deliver()) == 1
    get_settings.cache_clear()
    app.open_index.cache_clear()
    deadline = time.monotonic() + 20
    while not (records := world.queue.receive()) and time.monotonic() < deadline:
        pass
    assert world.invoke(records) == []
    assert world.index.count() == 1


def test_counts_are_metrics_and_rejections_are_kept(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    zero = Upsert("zero", 1, np.zeros(DIM, np.float32), ImageMetadata(uri="z"))
    good = Upsert("good", 1, np.eye(1, DIM, dtype=np.float32)[0], ImageMetadata(uri="g"))
    key = part_key(MODEL, "r", 3)
    world.s3.put_object(Bucket="photos", Key=key, Body=write_part(Part(MODEL, DIM, "r", [zero, good])))
    capsys.readouterr()
    assert world.deliver() == []
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (metrics,) = [line for line in lines if "_aws" in line]
    assert (metrics["ImagesUpserted"], metrics["ImagesRejected"]) == ([1.0], [1.0])
    body = world.s3.get_object(Bucket="photos", Key="runs/r/rejected/00003.jsonl")["Body"].read()
    assert json.loads(body)["id"] == "zero"
