"""Plan and work as AWS Batch runs them: an array job submitted to moto's Batch, and a child of it."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import typer
from pydantic import ValidationError

from batch.cli import app, main
from batch.plan import read_plans
from imagesearch.load import part_keys
from imagesearch.storage import FolderStorage
from local.aws import Aws

MODEL = Path(__file__).parents[2] / "models" / "tiny"


@pytest.fixture
def definition() -> Iterator[str]:
    """A queue and a job definition, both named encode, and a second definition named plan."""
    with Aws():
        iam, batch = boto3.client("iam"), boto3.client("batch")
        role = iam.create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        batch.create_compute_environment(computeEnvironmentName="compute", type="UNMANAGED", serviceRole=role)
        order = [{"order": 1, "computeEnvironment": "compute"}]
        batch.create_job_queue(jobQueueName="encode", state="ENABLED", priority=1, computeEnvironmentOrder=order)  # type: ignore[arg-type]
        for name in ("encode", "plan"):
            batch.register_job_definition(
                jobDefinitionName=name,
                type="container",
                containerProperties={"image": "none", "vcpus": 1, "memory": 128, "command": []},
            )
        yield "encode"


def photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    for n in range(count):
        shutil.copy(MODEL / "photos" / "cat.webp", folder / f"{n}.webp")
    return folder


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit:
        main([*arguments, "--model", str(MODEL)])
    return int(exit.value.code or 0)


def submitted() -> list[str]:
    """Names of the jobs that were submitted; moto lists the children of array jobs, whose ids have a colon, too."""
    batch = boto3.client("batch")
    states = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
    jobs = [job for state in states for job in batch.list_jobs(jobQueue="encode", jobStatus=state)["jobSummaryList"]]  # type: ignore[arg-type]
    return [job["jobName"] for job in jobs if ":" not in job["jobId"]]


def wait_for_jobs() -> None:
    """Wait until no job is under way. (There are no containers for them here, so they fail.)"""
    batch = boto3.client("batch")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        jobs = batch.list_jobs(jobQueue="encode", filters=[{"name": "JOB_NAME", "values": ["*"]}])["jobSummaryList"]
        if all(job["status"] in ("SUCCEEDED", "FAILED") for job in jobs):
            return
        time.sleep(0.1)
    pytest.fail("a job doesn't end")


def test_a_plan_submits_an_array_job_whose_children_encode_a_shard_each(
    tmp_path: Path, definition: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = photos(tmp_path / "photos", 5), FolderStorage(tmp_path / "out")
    options = ["--output", str(output.folder), "--shard-size", "2"]
    code = run("plan", str(source), *options, "--submit", "--queue", definition, "--definition", definition)
    assert code == 0
    (plan,) = read_plans(output)
    assert plan.shards == 3
    assert submitted() == [f"encode-{plan.run}"]
    assert "3 shards" in capsys.readouterr().out

    for child in range(3):
        monkeypatch.setitem(os.environ, "AWS_BATCH_JOB_ARRAY_INDEX", str(child))
        assert run("work", plan.run, "--output", str(output.folder)) == 0
        assert len(list(part_keys(output))) == child + 1
    before = [(found.key, found.modified) for found in output.list()]
    assert run("work", plan.run, "--output", str(output.folder)) == 0
    assert [(found.key, found.modified) for found in output.list()] == before


def test_nothing_is_started_when_nothing_has_changed(tmp_path: Path, definition: str) -> None:
    source, output = photos(tmp_path / "photos", 1), str(tmp_path / "out")
    job = ("--submit", "--queue", definition, "--definition", definition)
    assert run("plan", str(source), "--output", output, *job) == 0
    (plan,) = read_plans(FolderStorage(Path(output)))
    assert run("work", plan.run, "--output", output) == 0
    assert run("plan", str(source), "--output", output, *job) == 0
    assert submitted() == [f"encode-{plan.run}"]


def test_a_run_that_was_interrupted_is_submitted_again_before_a_new_one(tmp_path: Path, definition: str) -> None:
    source, output = photos(tmp_path / "photos", 3), str(tmp_path / "out")
    job = ("--submit", "--queue", definition, "--definition", definition)
    assert run("plan", str(source), "--output", output, *job) == 0
    (plan,) = read_plans(FolderStorage(Path(output)))
    wait_for_jobs()
    assert run("plan", str(source), "--output", output, *job) == 0
    assert submitted() == [f"encode-{plan.run}"] * 2
    assert read_plans(FolderStorage(Path(output))) == [plan]


def test_a_run_that_a_job_is_still_at_is_not_submitted_twice(
    tmp_path: Path, definition: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = photos(tmp_path / "photos", 3), str(tmp_path / "out")
    job = ("--shard-size", "1", "--submit", "--queue", definition, "--definition", definition)
    assert run("plan", str(source), "--output", output, *job) == 0
    (plan,) = read_plans(FolderStorage(Path(output)))
    assert run("plan", str(source), "--output", output, *job) == 0
    assert submitted() == [f"encode-{plan.run}"]
    assert "A job is at it already" in capsys.readouterr().out


def test_a_report_follows_when_all_children_are_done(tmp_path: Path, definition: str) -> None:
    source, output = photos(tmp_path / "photos", 3), str(tmp_path / "out")
    job = ("--submit", "--queue", definition, "--definition", definition, "--report-definition", "plan")
    assert run("plan", str(source), "--output", output, "--shard-size", "2", *job) == 0
    (plan,) = read_plans(FolderStorage(Path(output)))
    assert sorted(submitted()) == [f"encode-{plan.run}", f"report-{plan.run}"]
    batch = boto3.client("batch")
    jobs = batch.list_jobs(jobQueue="encode", filters=[{"name": "JOB_NAME", "values": ["*"]}])["jobSummaryList"]
    ids = {job["jobName"]: job["jobId"] for job in jobs if ":" not in job["jobId"]}
    (report,) = batch.describe_jobs(jobs=[ids[f"report-{plan.run}"]])["jobs"]
    assert report["dependsOn"] == [{"jobId": ids[f"encode-{plan.run}"]}]
    assert report["container"]["command"] == ["report", plan.run, "--output", output, "--statistics"]


def test_a_shard_that_the_run_does_not_have_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = photos(tmp_path / "photos", 1), str(tmp_path / "out")
    assert run("plan", str(source), "--output", output) == 0
    (plan,) = read_plans(FolderStorage(Path(output)))
    assert run("work", plan.run, "--output", output, "--shard", "7") == 2
    assert "not 7" in capsys.readouterr().err


def test_the_ingest_function_starts_the_plan_job(definition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from batch.start import lambda_handler

    for name, value in (("SOURCE", "s3://photos"), ("PLAN_QUEUE", definition), ("PLAN_JOB", "plan")):
        monkeypatch.setenv(f"IMAGESEARCH_{name}", value)
    assert lambda_handler({}, None)["source"] == "s3://photos"
    event = {"source": "s3://other/a table.csv", "columns": {"url": "image link"}, "retry_failed": True}
    answer = lambda_handler(event, None)
    (job,) = boto3.client("batch").describe_jobs(jobs=[answer["job_id"]])["jobs"]
    command = job["container"]["command"]
    assert command == ["plan", "s3://other/a table.csv", "--submit", "--column=url=image link", "--retry-failed"]


@pytest.mark.parametrize(
    ("event", "names"),
    [
        ({"sources": "s3://photos"}, "sources"),
        ({"source": "/etc"}, "source"),
        ({"columns": ["url"]}, "columns"),
        ({"allow_empty": "yes"}, "allow_empty"),
    ],
)
def test_what_the_ingest_function_can_not_be_sent_is_named(
    event: dict[str, object], names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batch.start import lambda_handler

    monkeypatch.setenv("IMAGESEARCH_SOURCE", "s3://photos")
    with pytest.raises(ValidationError, match=names):
        lambda_handler(event, None)


def test_what_the_ingest_function_submits_is_a_command(tmp_path: Path, definition: str) -> None:
    from batch.start import Ingest

    everything = Ingest(
        source="s3://lists/photos/daily/manifest.json",
        prefix="--2024",
        suffixes=[".jpg", ".png"],
        retry_failed=True,
        allow_empty=True,
    )
    name, *arguments = [*everything.command(), "--output", str(tmp_path)]
    with typer.main.get_group(app).commands[name].make_context(name, arguments) as context:
        given = everything.model_dump(exclude={"columns", "suffixes"}) | {"suffix": [".jpg", ".png"], "submit": True}
        assert given.items() <= context.params.items()
