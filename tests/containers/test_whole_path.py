"""Photos on S3 → ingest function → Batch: plan, encode → parts on S3 → SQS → loader → OpenSearch → query function.

Everything runs in the containers that are deployed, with the commands that the template gives them; S3, SQS and Batch
are moto's, which doesn't tell the children of an array job their index.
"""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from imagesearch.storage import S3Storage
from local.aws import Bucket, Poller, Queue
from local.containers import LambdaContainer

SOURCE = "s3://photos/family"
JOB_SECONDS = 120
INGEST = {"IMAGESEARCH_PLAN_QUEUE": "jobs", "IMAGESEARCH_PLAN_JOB": "plan", "IMAGESEARCH_SOURCE": SOURCE}
PLAN = {
    "IMAGESEARCH_OUTPUT": "s3://vectors",
    "IMAGESEARCH_SHARD_SIZE": "5000",
    "IMAGESEARCH_ENCODE_QUEUE": "jobs",
    "IMAGESEARCH_ENCODE_JOB": "encode",
}


@pytest.fixture(scope="module")
def photos_bucket(aws: Any, photos: Path) -> str:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="photos")
    for name in ("automobile", "black-cat", "dog-face", "guitar", "pizza"):
        s3.upload_file(str(photos / f"{name}.webp"), "photos", f"family/{name}.webp")
    s3.upload_file(str(photos / "red-apple.webp"), "photos", "family/2024/Äpfel & Birnen +1.webp")
    s3.upload_file(str(photos / "rose.webp"), "photos", "elsewhere/rose.webp")
    s3.put_object(Bucket="photos", Key="family/broken.jpg", Body=b"\xff\xd8\xff\xe0 cut off")
    return "photos"


@pytest.fixture(scope="module")
def jobs(aws: Any, built: Any) -> None:
    """The job definitions of the template, and a queue for both."""
    iam, batch = boto3.client("iam"), boto3.client("batch")
    role = iam.create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    batch.create_compute_environment(computeEnvironmentName="containers", type="UNMANAGED", serviceRole=role)
    order = [{"order": 1, "computeEnvironment": "containers"}]
    batch.create_job_queue(jobQueueName="jobs", state="ENABLED", priority=1, computeEnvironmentOrder=order)
    local = {
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, resource in (("plan", "PlanJob"), ("encode", "EncodeJob")):
        container = built.resources[resource]["ContainerProperties"]
        variables = {one["Name"]: PLAN.get(one["Name"], "") for one in container["Environment"]} | local
        batch.register_job_definition(
            jobDefinitionName=name,
            type="container",
            containerProperties={
                "image": built.batch,
                "command": container["Command"],
                "environment": [{"name": key, "value": value} for key, value in variables.items()],
                "vcpus": 1,
                "memory": 2048,
            },
        )


@pytest.fixture(scope="module")
def ingest(engine: Any, built: Any, aws: Any, jobs: None) -> Iterator[LambdaContainer]:
    properties = built.resources["IngestFunction"]
    names = properties["Environment"]["Variables"]
    with LambdaContainer(
        engine,
        built.batch,
        {name: INGEST[name] for name in names} | {"AWS_ENDPOINT_URL": aws.endpoint},
        command=[*properties["ImageConfig"]["EntryPoint"], *properties["ImageConfig"]["Command"]],
        memory_mb=properties["MemorySize"],
    ) as function:
        yield function


@pytest.fixture(scope="module")
def queue(aws: Any, loader: LambdaContainer, index: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    """The queue between the bucket of vectors and the loader."""
    bucket, queue = Bucket("vectors", tmp_path_factory.mktemp("vectors")), Queue("parts")
    bucket.notify(queue, "vectors/", ".parquet")
    with Poller(queue, loader):
        yield queue


def wait_for_jobs() -> dict[str, str]:
    """Wait until no job is under way; the state of each, by its name up to the run."""
    batch = boto3.client("batch")
    deadline = time.monotonic() + JOB_SECONDS
    while time.monotonic() < deadline:
        found = [
            job
            for state in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
            for job in batch.list_jobs(jobQueue="jobs", jobStatus=state)["jobSummaryList"]
        ]
        if failed := [job for job in found if job["status"] == "FAILED"]:
            pytest.fail(f"{failed[0]['jobName']} failed:\n{job_log(failed[0]['jobId'])}")
        if all(job["status"] == "SUCCEEDED" for job in found):
            return {job["jobName"].partition("-")[0]: job["status"] for job in found}
        time.sleep(0.5)
    pytest.fail(f"jobs are still under way after {JOB_SECONDS} s: {found}")


def job_log(job: str) -> str:
    stream = boto3.client("batch").describe_jobs(jobs=[job])["jobs"][0]["container"].get("logStreamName")
    if not stream:
        return "(no log)"
    events = boto3.client("logs").get_log_events(logGroupName="/aws/batch/job", logStreamName=stream)["events"]
    return "\n".join(event["message"] for event in events)


def wait_for_index(index: Any, queue: Queue, count: int) -> None:
    deadline = time.monotonic() + 30
    while queue.pending() or index.count() != count:
        assert time.monotonic() < deadline, f"{queue.pending()} messages wait, {index.count()} images are indexed"
        time.sleep(0.2)
        index.refresh()
    assert queue.dead() == 0


def search(function: Any, **request: Any) -> list[str]:
    event = {"httpMethod": "POST", "path": "/search", "body": json.dumps(request), "headers": {}, "requestContext": {}}
    answer = function({**event, "resource": "/search", "isBase64Encoded": False})
    assert answer["statusCode"] == 200, answer
    return [hit["id"] for hit in json.loads(answer["body"])["hits"]]


def test_photos_put_on_s3_are_found_by_words_and_by_picture_and_those_taken_away_are_not(
    photos_bucket: str, ingest: Any, queue: Queue, index: Any, start_query: Any, photos: Path
) -> None:
    started = ingest({})
    assert started["job_id"]
    assert wait_for_jobs() == {"plan": "SUCCEEDED", "encode": "SUCCEEDED"}
    wait_for_index(index, queue, 6)
    with start_query() as query:
        assert search(query, text="a dog", k=2)[0].endswith("dog-face.webp")
        assert search(query, text="a slice of pizza", k=2)[0].endswith("pizza.webp")
        apple = base64.b64encode((photos / "red-apple.webp").read_bytes()).decode()
        assert search(query, image=apple, k=2)[0].endswith("2024/Äpfel & Birnen +1.webp")

        s3 = boto3.client("s3")
        s3.delete_object(Bucket="photos", Key="family/pizza.webp")
        s3.upload_file(str(photos / "sailboat.webp"), "photos", "family/sailboat.webp")
        ingest({})
        wait_for_jobs()
        wait_for_index(index, queue, 6)
        assert search(query, text="a sailing boat", k=2)[0].endswith("sailboat.webp")
        assert not any(found.endswith("pizza.webp") for found in search(query, text="a slice of pizza", k=10))


def test_each_child_of_an_array_job_encodes_its_own_shard(
    photos_bucket: str, jobs: None, built: Any, queue: Queue, docker: Any, aws: Any
) -> None:
    environment = ("--env", f"AWS_ENDPOINT_URL={aws.endpoint}", "--env", "AWS_DEFAULT_REGION=us-east-1")
    keys = ("--env", "AWS_ACCESS_KEY_ID=local", "--env", "AWS_SECRET_ACCESS_KEY=local")
    confined = ("--network", "host", "--read-only", "--tmpfs", "/tmp")
    output = ("--output", "s3://vectors/children")
    planned = docker(
        "run", "--rm", *confined, *environment, *keys, built.batch, "plan", SOURCE, *output, "--shard-size", "3"
    ).stdout  # fmt: skip
    run, shards = planned.split("Run ")[1].split()[0], int(planned.split(" has ")[1].split()[0])
    assert shards == 3
    for child in (2, 0, 1):
        override = {"command": ["work", run, *output], "environment": [index_variable(child)]}
        submitted = boto3.client("batch").submit_job(
            jobName=f"child{child}", jobQueue="jobs", jobDefinition="encode", containerOverrides=override
        )
        assert submitted["jobId"]
    wait_for_jobs()
    ledgers = [item.key for item in S3Storage("vectors", "children").list(f"runs/{run}/ledger/")]
    assert [Path(key).name for key in ledgers] == ["00000.parquet", "00001.parquet", "00002.parquet"]


def index_variable(child: int) -> dict[str, str]:
    return {"name": "AWS_BATCH_JOB_ARRAY_INDEX", "value": str(child)}
