"""The function in template.yaml that tells CloudFormation which image the ingest function has, for Batch to run."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
import yaml

from local.aws import Aws

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/imagesearch/ingest"


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as None: none of them is in the code."""


Loader.add_multi_constructor("!", lambda *_: None)


@pytest.fixture
def handler() -> Callable[[dict[str, Any], object], None]:
    template = yaml.load((Path(__file__).parents[2] / "template.yaml").read_text(), Loader)
    function = template["Resources"]["BatchImageFunction"]["Properties"]
    code: dict[str, Any] = {}
    exec(function["InlineCode"], code)
    return code[function["Handler"].removeprefix("index.")]  # type: ignore[no-any-return]


@pytest.fixture
def version(aws: Aws) -> str:
    """A published version of a function that is an image."""
    role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    functions = boto3.client("lambda")
    functions.create_function(
        FunctionName="ingest", Role=role, PackageType="Image", Code={"ImageUri": f"{IMAGE}:latest"}
    )
    return str(functions.publish_version(FunctionName="ingest")["FunctionArn"])


@pytest.fixture
def cloudformation() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Where CloudFormation waits for answers, and those that it got."""
    answers: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            assert self.headers["Content-Type"] == ""  # the signature of the real URL is without one
            answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/answer?Signature=x", answers
        server.shutdown()


def event(kind: str, url: str, version: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requests.html."""
    asked = {"StackId": "stack", "RequestId": "1", "LogicalResourceId": "BatchImage"}
    return {"RequestType": kind, "ResponseURL": url, "ResourceProperties": {"FunctionVersion": version}, **asked}


@pytest.mark.parametrize("kind", ["Create", "Update"])
def test_it_tells_the_image_by_its_digest_and_its_repository(
    kind: str, handler: Any, version: str, cloudformation: tuple[str, list[dict[str, Any]]]
) -> None:
    url, answers = cloudformation
    handler(event(kind, url, version), None)
    (answer,) = answers
    assert answer["Status"] == "SUCCESS"
    assert answer["Data"]["Uri"].startswith(f"{IMAGE}@sha256:")
    assert answer["Data"]["Repository"] == "imagesearch/ingest"
    assert (answer["StackId"], answer["RequestId"], answer["LogicalResourceId"]) == ("stack", "1", "BatchImage")


def test_it_lets_itself_be_deleted_whatever_has_become_of_the_function(
    handler: Any, aws: Aws, cloudformation: tuple[str, list[dict[str, Any]]]
) -> None:
    url, answers = cloudformation
    handler(event("Delete", url, "gone"), None)
    assert [answer["Status"] for answer in answers] == ["SUCCESS"]


def test_it_says_what_is_wrong_and_leaves_nobody_waiting(
    handler: Any, aws: Aws, cloudformation: tuple[str, list[dict[str, Any]]]
) -> None:
    url, answers = cloudformation
    handler(event("Create", url, "arn:aws:lambda:us-east-1:123456789012:function:gone:1"), None)
    (answer,) = answers
    assert answer["Status"] == "FAILED"
    assert "gone" in answer["Reason"]
