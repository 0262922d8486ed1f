"""Servers for the tests: S3 and SQS by moto, on loopback."""

from collections.abc import Iterator

import pytest

from local.aws import Aws


@pytest.fixture
def aws() -> Iterator[Aws]:
    """S3 and SQS; boto3 clients that are made in the test talk to them."""
    with Aws() as services:
        yield services
