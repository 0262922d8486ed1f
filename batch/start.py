"""The ingest function: starts the plan job, for the schedule and for a person who wants the index brought up to date.

It is made of the batch image, which `sam deploy` pushes for it and the job definitions share.
"""

import os
from typing import Any


def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, str]:
    """Submit the plan job, which submits the encode jobs if there is anything to do.

    `event` may name another `source` than the photos that the stack was deployed for, such as a table on S3.
    """
    import boto3

    source = event.get("source") or os.environ["IMAGESEARCH_SOURCE"]
    answer = boto3.client("batch").submit_job(
        jobName="plan",
        jobQueue=os.environ["IMAGESEARCH_PLAN_QUEUE"],
        jobDefinition=os.environ["IMAGESEARCH_PLAN_JOB"],
        parameters={"source": source},
    )
    return {"job_id": answer["jobId"], "source": source}
