"""Encoding while disk, S3 or source fail: a clear error or a ledger row, never half a part, never a silent loss."""

import itertools
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSRequest, AWSResponse

from batch.encode import encode_run
from batch.ledger import Status
from batch.plan import Plan, make_plan, read_plans, waiting_shards
from batch.report import read_totals
from batch.sources import Reader, Source, open_source
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.errors import NotFound
from imagesearch.images import open_image
from imagesearch.load import part_keys
from imagesearch.parts import read_part
from imagesearch.storage import FolderStorage, Storage, open_storage
from local.aws import Aws

MODEL = Path(__file__).parents[2] / "models" / "tiny"
NAMES = ("cat", "dog-face", "pizza", "rocket")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(MODEL / "photos" / f"{name}.webp", folder)
    return folder


@pytest.fixture
def output(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "out")


def run(source: Source, output: Storage, read: Callable[[str], bytes] | None = None) -> tuple[Plan, dict[str, int]]:
    """Encode what has changed; how many rows of each status there are, and of each reason."""
    encoder = OnnxEncoder(MODEL)
    plan = make_plan(source, output, encoder.info.fingerprint, shard_size=2)
    encode_run(output, plan, waiting_shards(output, plan), encoder, read or Reader(), workers=2)
    totals, _, _ = read_totals(output, plan.run)
    return plan, {**totals.statuses, **totals.reasons[Status.FAILED]}


def in_parts(output: Storage) -> list[str]:
    return sorted(action.id for key in part_keys(output) for action in read_part(output.read(key)).actions)


@pytest.mark.parametrize("room", [100, 2_000], ids=lambda room: f"{room}-bytes-of-room")
def test_a_full_disk_is_an_error_and_with_room_again_it_goes_on(photos: Path, output: FolderStorage, room: int) -> None:
    command = (sys.executable, "-c", "from batch.cli import main; main()", "encode", str(photos))
    options = ("--output", str(output.folder), "--model", str(MODEL), "--shard-size", "2")

    def encode(**how: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *options], stderr=subprocess.PIPE, text=True, check=False, **how)

    # No file may grow beyond this: writes fail as on a full disk.
    full = encode(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
    assert full.returncode == 1, full.stderr
    assert "Error: " in full.stderr
    assert "Traceback" not in full.stderr
    for key in part_keys(output):
        read_part(output.read(key))
    assert encode().returncode == 0
    assert in_parts(output) == [f"{name}.webp" for name in NAMES]


class Throttled:
    """S3 that answers some requests with 503 SlowDown, as it does when there are too many a second."""

    def __init__(self, refuse: Callable[[AWSRequest], bool]) -> None:
        self.refuse = refuse
        self.refused = 0

    def __call__(self, request: AWSRequest, **_: Any) -> AWSResponse | None:
        if not self.refuse(request):
            return None
        self.refused += 1
        body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"

        class Raw:
            def stream(self, **_: Any) -> list[bytes]:
                return [body]

        return AWSResponse(request.url, 503, {"Content-Type": "application/xml"}, Raw())


@pytest.fixture
def throttle(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[AWSRequest], bool]], Throttled]:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)

    def start(refuse: Callable[[AWSRequest], bool]) -> Throttled:
        session = boto3.Session()
        throttled = Throttled(refuse)
        session.events.register("before-send.s3", throttled)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
        return throttled

    return start


def bucket(photos: Path) -> Source:
    s3 = boto3.client("s3")
    for name in ("photos", "vectors"):
        s3.create_bucket(Bucket=name)
    for path in photos.iterdir():
        s3.upload_file(str(path), "photos", path.name)
    return open_source("s3://photos")


def test_an_s3_that_asks_to_slow_down_is_asked_again(photos: Path, throttle: Any) -> None:
    source = bucket(photos)
    every_other = itertools.cycle((True, False))
    throttled = throttle(lambda _: next(every_other))
    _, counts = run(source, open_storage("s3://vectors"))
    assert throttled.refused > 10
    assert counts == {"indexed": 4}


def test_a_photo_that_s3_keeps_refusing_has_a_row_and_is_tried_again_by_the_next_run(
    photos: Path, throttle: Any, output: FolderStorage
) -> None:
    source = bucket(photos)
    throttled = throttle(lambda request: request.method == "GET" and "pizza" in request.url)
    plan, counts = run(source, output)
    assert counts == {"indexed": 3, "failed": 1, "storage_error": 1}
    _, (row,), _ = read_totals(output, plan.run, 1)
    assert (row.id, row.reason) == ("pizza.webp", "storage_error")
    assert "SlowDown" in str(row.detail)
    throttled.refuse = lambda _: False
    assert run(source, output)[1] == {"indexed": 1}
    assert in_parts(output) == [f"{name}.webp" for name in NAMES]


def test_parts_that_s3_refuses_end_the_run_and_the_same_run_goes_on_later(photos: Path, throttle: Any) -> None:
    source, output = open_source(str(photos)), open_storage("s3://vectors")
    boto3.client("s3").create_bucket(Bucket="vectors")
    encoder = OnnxEncoder(MODEL)
    plan = make_plan(source, output, encoder.info.fingerprint, shard_size=2)
    throttled = throttle(lambda request: request.method == "PUT" and "00001.parquet" in request.url)
    output = open_storage("s3://vectors")
    with pytest.raises(Exception, match="SlowDown"):
        encode_run(output, plan, [0, 1], encoder, Reader(), workers=2)
    assert waiting_shards(output, plan) == [1]
    throttled.refuse = lambda _: False
    encode_run(output, plan, waiting_shards(output, plan), encoder, Reader(), workers=2)
    assert in_parts(output) == [f"{name}.webp" for name in NAMES]


def test_a_source_that_disappears_half_way_costs_rows_that_the_next_run_makes_good(
    photos: Path, output: FolderStorage
) -> None:
    source, away, asked = open_source(str(photos)), photos.with_name("unmounted"), itertools.count()

    def read(uri: str) -> bytes:
        if next(asked) == 2:
            photos.rename(away)
        return Reader()(uri)

    _, counts = run(source, output, read)
    assert counts["indexed"] + counts["not_found"] == 4
    assert counts["not_found"] >= 1
    with pytest.raises(NotFound):
        Reader()(f"{source.uri}/cat.webp")
    away.rename(photos)
    assert run(source, output)[1] == {"indexed": counts["not_found"]}
    assert in_parts(output) == [f"{name}.webp" for name in NAMES]


def test_a_source_that_can_not_be_listed_removes_nothing(photos: Path, output: FolderStorage) -> None:
    source = open_source(str(photos))
    run(source, output)
    photos.rename(photos.with_name("unmounted"))
    with pytest.raises(Exception, match="can't list"):
        run(source, output)
    assert len(read_plans(output)) == 1


def test_a_photo_replaced_during_the_run_is_encoded_as_it_is_in_the_end(photos: Path, output: FolderStorage) -> None:
    source = open_source(str(photos))

    def read(uri: str) -> bytes:
        data = Reader()(uri)
        if uri.endswith("cat.webp"):  # after it was read
            shutil.copy(MODEL / "photos" / "banana.webp", photos / "cat.webp")
            os.utime(photos / "cat.webp", ns=(1, 1))
        return data

    run(source, output, read)
    assert run(source, output)[1] == {"indexed": 1}
    *_, key = part_keys(output)
    (last,) = read_part(output.read(key)).actions
    banana = open_image((MODEL / "photos" / "banana.webp").read_bytes(), target=64).image
    (expected,) = OnnxEncoder(MODEL).encode_images([banana])
    assert last.id == "cat.webp"
    assert float(last.vector @ expected) > 0.999  # type: ignore[union-attr]
