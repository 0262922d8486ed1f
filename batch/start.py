"""The ingest function: starts the plan job, for the schedule and for a person who wants the index brought up to date.

It is made of the batch image, which `sam deploy` pushes for it and the job definitions share.
"""

import os
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Ingest(BaseModel):
    """What the function may be sent; `{}` brings the index up to date with the photos that the stack was deployed for.

    Example:
        `{"source": "s3://lists/photos.tsv", "columns": {"url": "photo_image_url"}}`
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    source: str = Field(default_factory=lambda: os.environ["IMAGESEARCH_SOURCE"], pattern="^s3://")
    columns: dict[str, str] = Field({}, description="Of a table: see `imagesearch encode --column`")
    prefix: str = Field("", description="Of an S3 Inventory: only what is below it")
    suffixes: list[str] = Field([], description="Of an S3 Inventory: only keys that end so")
    retry_failed: bool = Field(False, description="Try images again that failed before")
    allow_empty: bool = Field(False, description="Remove every image if the source lists none any more")

    def command(self) -> list[str]:
        """The words of the command line that the plan job runs."""
        return [
            "plan",
            self.source,
            "--submit",
            *(f"--column={field}={column}" for field, column in self.columns.items()),
            *([f"--prefix={self.prefix}"] if self.prefix else []),
            *(f"--suffix={suffix}" for suffix in self.suffixes),
            *(["--retry-failed"] if self.retry_failed else []),
            *(["--allow-empty"] if self.allow_empty else []),
        ]


def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, str]:
    """Submit the plan job, which submits the encode jobs if there is anything to do.

    Raises:
        ValidationError: `event` is no Ingest.
    """
    import boto3

    ingest = Ingest.model_validate(event)
    answer = boto3.client("batch").submit_job(
        jobName="plan",
        jobQueue=os.environ["IMAGESEARCH_PLAN_QUEUE"],
        jobDefinition=os.environ["IMAGESEARCH_PLAN_JOB"],
        containerOverrides={"command": ingest.command()},
    )
    return {"job_id": answer["jobId"], "source": ingest.source}
