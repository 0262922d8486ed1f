"""The stand-ins for S3, SQS and Lambda's poller, together, as the demo uses them."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import boto3
import pytest

from local import aws


@pytest.fixture
def services() -> Iterator[aws.Aws]:
    with aws.Aws() as services:
        yield services


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether `condition` came true in time."""
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return met


def keys_in(body: str) -> list[str]:
    """The keys that an S3 event names; none in the test event that S3 sends when notifications are set up."""
    return [unquote_plus(item["s3"]["object"]["key"]) for item in json.loads(body).get("Records", [])]


def test_an_object_under_the_prefix_reaches_the_handler_and_others_do_not(services: aws.Aws, tmp_path: Path) -> None:
    bucket, queue = aws.Bucket("vectors", tmp_path), aws.Queue("parts")
    bucket.notify(queue, "vectors/", ".parquet")
    seen: list[str] = []

    def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
        for record in event["Records"]:
            seen.extend(keys_in(record["body"]))
        return {"batchItemFailures": []}

    s3 = boto3.client("s3")
    for key in ("runs/1/plan.json", "vectors/f/1/00000.txt", "vectors/f/1/00000.parquet"):
        s3.put_object(Bucket="vectors", Key=key, Body=b"x")
    with aws.Poller(queue, handler):
        assert until(lambda: queue.pending() == 0)
    assert seen == ["vectors/f/1/00000.parquet"]


def test_only_the_message_that_failed_comes_again_and_a_hopeless_one_ends_among_the_dead(services: aws.Aws) -> None:
    queue = aws.Queue("parts", retry_seconds=0)
    sqs = boto3.client("sqs")
    for body in ("good", "poison", "good"):
        sqs.send_message(QueueUrl=queue.url, MessageBody=body)
    handled: list[str] = []

    def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
        handled.extend(record["body"] for record in event["Records"])
        failed = [record["messageId"] for record in event["Records"] if record["body"] == "poison"]
        return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}

    with aws.Poller(queue, handler):
        assert until(lambda: queue.dead() == 1)
    assert queue.pending() == 0
    assert handled.count("good") == 2
    assert handled.count("poison") == aws.MAX_RECEIVES


def test_a_handler_that_raises_fails_its_whole_batch(services: aws.Aws) -> None:
    queue = aws.Queue("parts", retry_seconds=0)
    boto3.client("sqs").send_message(QueueUrl=queue.url, MessageBody="x")

    def handler(_event: dict[str, Any], _context: Any) -> dict[str, Any]:
        raise RuntimeError("broken")

    with aws.Poller(queue, handler):
        assert until(lambda: queue.dead() == 1)


def test_what_a_bucket_holds_outlives_the_process(services: aws.Aws, tmp_path: Path) -> None:
    first = aws.Bucket("vectors", tmp_path)
    boto3.client("s3").put_object(Bucket="vectors", Key="runs/1/ä b+c.json", Body=b"{}")
    first.persist()
    with aws.Aws():
        second = aws.Bucket("vectors", tmp_path)
        assert second.keys() == []
        second.restore()
        assert second.keys("runs/") == ["runs/1/ä b+c.json"]


def test_an_object_announced_again_sends_its_event_again(services: aws.Aws, tmp_path: Path) -> None:
    bucket, queue = aws.Bucket("vectors", tmp_path), aws.Queue("parts")
    boto3.client("s3").put_object(Bucket="vectors", Key="vectors/p.parquet", Body=b"x")
    bucket.notify(queue, "vectors/", ".parquet")
    while records := queue.receive():
        assert [keys_in(record["body"]) for record in records] == [[]]
        queue.settle(records, set())
    bucket.announce("vectors/p.parquet")
    assert [keys_in(record["body"]) for record in queue.receive()] == [["vectors/p.parquet"]]


def test_clients_of_this_process_talk_to_the_stand_in_alone_and_the_environment_is_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    with aws.Aws() as services:
        client = boto3.client("s3")
        assert client.meta.endpoint_url == services.endpoint
        assert client.list_buckets()["Buckets"] == []
    assert os.environ["AWS_PROFILE"] == "production"
    assert "AWS_ENDPOINT_URL" not in os.environ
