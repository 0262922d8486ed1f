"""AWS Batch: submit what a plan has to do as an array job, and know which shard a child of it is for."""

import os
from typing import TYPE_CHECKING

from batch.plan import Plan
from imagesearch.errors import InvalidInput

if TYPE_CHECKING:
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_batch.type_defs import SubmitJobRequestTypeDef

MAX_CHILDREN = 10_000
"""Children of an array job: https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html"""


def submit(plan: Plan, output: str, queue: str, definition: str, report_definition: str = "") -> str:
    """Submit a job that encodes the shards of `plan`, one child each, and return its id.

    `definition` takes the parameters `run` and `output`. A single shard is an ordinary job, since an array job has two
    children at least. With `report_definition`, a job that depends on the first writes to its log what became of the
    run, and renews the statistics of the collection; it goes to the queue that the caller runs in, if it is itself a
    job, since that needs no GPU.

    Raises:
        InvalidInput: the plan has more shards than an array job may have children.
    """
    if plan.shards > MAX_CHILDREN:
        raise InvalidInput(
            f"the run has {plan.shards:,} shards, and an array job {MAX_CHILDREN:,} children at most: "
            f"plan it with a --shard-size of {-(-plan.shards * plan.shard_size // MAX_CHILDREN):,} or more"
        )
    batch = _client()
    request: SubmitJobRequestTypeDef = {
        "jobName": _job_name(plan),
        "jobQueue": queue,
        "jobDefinition": definition,
        "parameters": {"run": plan.run, "output": output},
    }
    if plan.shards > 1:
        request["arrayProperties"] = {"size": plan.shards}
    job = batch.submit_job(**request)["jobId"]
    if report_definition:
        batch.submit_job(
            jobName=f"report-{plan.run}",
            jobQueue=os.environ.get("AWS_BATCH_JQ_NAME", queue),
            jobDefinition=report_definition,
            containerOverrides={"command": ["report", plan.run, "--output", output, "--statistics"]},
            dependsOn=[{"jobId": job}],
        )
    return job


def is_under_way(plan: Plan, queue: str) -> bool:
    """Whether a job that encodes `plan` waits in `queue` or runs."""
    pages = _client().get_paginator("list_jobs")
    found = pages.paginate(jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [_job_name(plan)]}])
    return any(job["status"] not in ("SUCCEEDED", "FAILED") for page in found for job in page["jobSummaryList"])


def shard_of_child() -> int:
    """The shard of this process: its index in the array job, or 0 in an ordinary one.

    https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
    """
    return int(os.environ.get("AWS_BATCH_JOB_ARRAY_INDEX", "0"))


def _client() -> "BatchClient":
    import boto3

    return boto3.client("batch")


def _job_name(plan: Plan) -> str:
    return f"encode-{plan.run}"
