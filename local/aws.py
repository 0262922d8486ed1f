"""Stand-ins for the AWS services on the path: S3 and SQS by moto, and Lambda's poller for a queue.

moto keeps everything in memory, so `Bucket.persist` copies what is new to a folder and `Bucket.restore` brings it back.
"""

import json
import logging
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import boto3
import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from moto.server import ThreadedMotoServer

from local.context import Handler, LambdaContext

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import QueueConfigurationTypeDef
    from mypy_boto3_sqs import SQSClient

logger = logging.getLogger(__name__)

REGION = "us-east-1"
VISIBILITY_SECONDS = 1_800
MAX_RECEIVES = 5
BATCH_SIZE = 2
"""All three as in template.yaml."""
RETRY_SECONDS = 2


class Aws:
    """S3 and SQS on loopback, while entered; boto3 clients made in this process meanwhile talk to them alone."""

    def __enter__(self) -> Self:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        urllib3.request("POST", f"{self.endpoint}/moto-api/reset")  # moto's state is the process's, not the server's
        self._saved = dict(os.environ)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ |= {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",  # moto takes any; a real key must not leave the machine
            "AWS_DEFAULT_REGION": REGION,
        }
        boto3.DEFAULT_SESSION = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.environ.clear()
        os.environ.update(self._saved)
        boto3.DEFAULT_SESSION = None
        self._server.stop()


class Bucket:
    """A bucket of the stand-in S3, with a copy of its objects in `folder` that outlives the process."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.uri = f"s3://{name}"
        self._folder = folder
        self._s3: S3Client = boto3.client("s3")
        self._s3.create_bucket(Bucket=name)
        self._saved: set[str] = set()

    def restore(self) -> None:
        """Bring back the objects that an earlier process persisted."""
        for path in sorted(p for p in self._folder.rglob("*") if p.is_file()):
            key = path.relative_to(self._folder).as_posix()
            self._s3.put_object(Bucket=self.name, Key=key, Body=path.read_bytes())
            self._saved.add(key)

    def persist(self) -> None:
        """Copy objects that aren't in the folder yet. Keys are written once, so what is there needs no second look."""
        for key in self.keys():
            if key not in self._saved:
                path = self._folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f".{path.name}.partial")
                self._s3.download_file(self.name, key, str(partial))
                partial.replace(path)
                self._saved.add(key)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with `prefix`."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def announce(self, key: str) -> None:
        """Put an object again as it is, so that S3 sends its event once more."""
        body = self._s3.get_object(Bucket=self.name, Key=key)["Body"].read()
        self._s3.put_object(Bucket=self.name, Key=key, Body=body)

    def notify(self, queue: "Queue", prefix: str, suffix: str) -> None:
        """Send an event to `queue` for each object created from now on under `prefix` with `suffix`."""
        configuration: QueueConfigurationTypeDef = {
            "QueueArn": queue.arn,
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {
                "Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}, {"Name": "suffix", "Value": suffix}]}
            },
        }
        self._s3.put_bucket_notification_configuration(
            Bucket=self.name, NotificationConfiguration={"QueueConfigurations": [configuration]}
        )


class Queue:
    """A queue of the stand-in SQS with its dead-letter queue, as the template makes them.

    What failed comes back after `retry_seconds`; from the template's, when its visibility ends, after half an hour.
    """

    def __init__(self, name: str, retry_seconds: int = RETRY_SECONDS) -> None:
        self._retry_seconds = retry_seconds
        self._sqs: SQSClient = boto3.client("sqs")
        dead = self._sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
        self.dead_letters = dead
        redrive = {"deadLetterTargetArn": self._attribute(dead, "QueueArn"), "maxReceiveCount": MAX_RECEIVES}
        self.url = self._sqs.create_queue(
            QueueName=name,
            Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS), "RedrivePolicy": json.dumps(redrive)},
        )["QueueUrl"]
        self.arn = self._attribute(self.url, "QueueArn")

    def _attribute(self, url: str, name: Any) -> str:
        return self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]

    def pending(self) -> int:
        """Messages that wait or are being worked on."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        return sum(int(self._attribute(self.url, name)) for name in names)

    def dead(self) -> int:
        """Messages that were given up."""
        return int(self._attribute(self.dead_letters, "ApproximateNumberOfMessages"))

    def receive(self, most: int = 10) -> list[dict[str, Any]]:
        """Messages as records of the event that Lambda makes of them.

        https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event
        """
        answer = self._sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=most, WaitTimeSeconds=1, AttributeNames=["All"]
        )
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message.get("Attributes", {}),
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": self.arn,
                "awsRegion": REGION,
            }
            for message in answer.get("Messages", [])
        ]

    def settle(self, records: list[dict[str, Any]], failed: set[str]) -> None:
        """Delete what succeeded; what `failed` (message ids) comes back soon, or goes to the dead letters."""
        for record in records:
            handle = record["receiptHandle"]
            if record["messageId"] in failed:
                self._sqs.change_message_visibility(
                    QueueUrl=self.url, ReceiptHandle=handle, VisibilityTimeout=self._retry_seconds
                )
            else:
                self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=handle)


class Poller:
    """Lambda's side of a queue: hands batches to a handler that answers with its partial failures, while entered."""

    def __init__(self, queue: Queue, handler: Handler) -> None:
        self._queue = queue
        self._handler = handler
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if records := self._queue.receive(BATCH_SIZE):
                    self._queue.settle(records, self._invoke(records))
            except (BotoCoreError, ClientError):
                # Also when the loader took longer than the message stays invisible: then it comes once more.
                logger.exception("the queue refuses")
                self._stop.wait(RETRY_SECONDS)

    def _invoke(self, records: list[dict[str, Any]]) -> set[str]:
        """The ids of the messages that failed: those that the handler names, or all when it raises."""
        try:
            answer = self._handler({"Records": records}, LambdaContext("loader"))
        except Exception:
            logger.exception("the loader failed")
            return {record["messageId"] for record in records}
        return {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
