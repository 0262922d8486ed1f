"""AWS Batch: submit what a plan has to do as an array job, and know which shard a child of it is for."""

import os
from typing import TYPE_CHECKING

from batch.plan import Plan
from imagesearch.errors import InvalidInput

if TYPE_CHECKING:
    from mypy_boto3_batch.type_defs import SubmitJobRequestTypeDef

MAX_CHILDREN = 10_000
"""Children of an array job: https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html"""


def submit(plan: Plan, output: str, queue: str, definition: str) -> str:
    """Submit a job that encodes the shards of `plan`, one child each, and return its id.

    `definition` takes the parameters `run` and `output`. A single shard is an ordinary job, since an array job has two
    children at least.

    Raises:
        InvalidInput: the plan has more shards than an array job may have children.
    """
    import boto3

    if plan.shards > MAX_CHILDREN:
        raise InvalidInput(
            f"the run has {plan.shards:,} shards, and an array job {MAX_CHILDREN:,} children at most: "
            f"plan it with a --shard-size of {-(-plan.shards * plan.shard_size // MAX_CHILDREN):,} or more"
        )
    request: SubmitJobRequestTypeDef = {
        "jobName": f"encode-{plan.run}",
        "jobQueue": queue,
        "jobDefinition": definition,
        "parameters": {"run": plan.run, "output": output},
    }
    if plan.shards > 1:
        request["arrayProperties"] = {"size": plan.shards}
    return boto3.client("batch").submit_job(**request)["jobId"]


def shard_of_child() -> int:
    """The shard of this process: its index in the array job, or 0 in an ordinary one.

    https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
    """
    return int(os.environ.get("AWS_BATCH_JOB_ARRAY_INDEX", "0"))
