"""What the soak writes reaches S3 through the proxy that makes S3 slow or failing."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scorecard.pictures import INFO, Picture
from benchmarks.scorecard.soak import writer as soak
from benchmarks.scorecard.soak.truth import Truth
from benchmarks.scorecard.soak.world import S3Faults
from benchmarks.scorecard.soak.writer import Writer
from imagesearch.errors import StorageError
from imagesearch.index.base import Upsert
from imagesearch.load import part_keys
from imagesearch.parts import read_part
from imagesearch.storage import S3Storage
from local.aws import Aws, Bucket

PHOTOS = Path(__file__).parents[2] / "models" / "tiny" / "photos"
VECTOR = np.eye(1, INFO.embed_dim, dtype=np.float32)[0]
PICTURES = [Picture(PHOTOS / f"{name}.webp", name, (name,), "brown", VECTOR) for name in ("cat", "ant")]


@pytest.fixture
def s3(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Faults]:
    """S3 with a bucket, whose clients don't wait long between their tries."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    Bucket("vectors", tmp_path)
    with S3Faults(aws.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        yield proxy


def test_s3_is_well_failing_and_slow(s3: S3Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = S3Storage("vectors")
    storage.write("a b/é+.txt", b"\0data")
    assert storage.read("a b/é+.txt") == b"\0data"
    assert [found.key for found in storage.list()] == ["a b/é+.txt"]
    assert storage.exists("a b/é+.txt")
    s3.state = "failing"
    with pytest.raises(StorageError, match=r"SlowDown|InternalError"):
        storage.read("a b/é+.txt")
    s3.state = "slow"
    monkeypatch.setattr("benchmarks.scorecard.soak.world.SLOW_SECONDS", 0.5)
    start = time.monotonic()
    assert storage.read("a b/é+.txt") == b"\0data"
    assert time.monotonic() - start >= 0.5


def test_parts_that_s3_refuses_are_written_in_the_end(s3: S3Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "EVERY_SECONDS", 0.02)
    truth, storage = Truth(), S3Storage("vectors")
    s3.state = "failing"
    with Writer(storage, truth, PICTURES, first=3) as writer:
        while not writer.refused:
            time.sleep(0.01)
        assert not writer.written
        s3.state = "well"
        while len(writer.written) < 8:
            time.sleep(0.01)
    written = [read_part(storage.read(key)).actions for key in part_keys(storage)]
    assert len(written) == len(writer.written)
    other = Truth()
    other.add(itertools.chain(*written))
    assert other.versions == truth.versions
    assert {action.id for part in written for action in part if isinstance(action, Upsert)} >= {"marker/3", "marker/8"}
