"""`imagesearch download-unsplash`, stopped in the middle, and straight to S3."""

import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import boto3
import pytest

from batch import unsplash
from batch.cli import main
from batch.sources import Reader, open_source
from local.aws import Aws

PHOTOS, THREADS = 60, 4


@pytest.fixture
def archive(photo_server: Any, tmp_path: Path) -> Path:
    """A dataset of photos that are well; each takes a while."""
    server, url = photo_server
    server.delay = 0.05
    rows = [f"p{n:02d}\t{url}/ok/{('cat', 'dog')[n % 2]}\n" for n in range(PHOTOS)]
    path = tmp_path / "lite.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("photos.tsv000", "photo_id\tphoto_image_url\n" + "".join(rows))
    return path


def start(archive: Path, folder: Path) -> subprocess.Popen[str]:
    # The command, but for photos that aren't on unsplash.com.
    code = "from batch import unsplash; unsplash.DOMAIN = None; from batch.cli import main; main()"
    options = ["download-unsplash", str(folder), "--archive", str(archive), "--threads", str(THREADS)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_download_that_was_stopped_goes_on_with_what_is_missing(
    photo_server: Any, archive: Path, tmp_path: Path, stop: signal.Signals, code: int
) -> None:
    server, _ = photo_server
    folder = tmp_path / "out"
    process = start(archive, folder)
    try:
        deadline = time.monotonic() + 60
        while len(list(folder.glob("photos-480/*.jpg"))) < 5 and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it could be stopped"
            time.sleep(0.01)
        process.send_signal(stop)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert "Traceback" not in err
    if stop == signal.SIGINT:
        assert err.endswith("Stopped. The same command goes on from here.\n")
    there = {path: path.stat().st_mtime_ns for path in folder.glob("photos-480/*.jpg")}
    assert 5 <= len(there) < PHOTOS
    for path in there:
        assert path.read_bytes() in (server.photo("cat"), server.photo("dog"))

    process = start(archive, folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"{PHOTOS} photos are there, {PHOTOS - len(there)} of them new; 0 failed." in out
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert len(list(open_source(str(folder / "photos.parquet")).list())) == PHOTOS
    assert server.most_at_once <= THREADS


def test_photos_go_straight_to_s3(
    photo_server: Any, archive: Path, aws: Aws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = photo_server
    server.delay = 0
    monkeypatch.setattr(unsplash, "DOMAIN", None)
    boto3.client("s3").create_bucket(Bucket="photos")
    command = ["download-unsplash", "s3://photos/unsplash", "--archive", str(archive)]
    for new in (PHOTOS, 0):
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 0
        assert f"{PHOTOS} photos are there, {new} of them new; 0 failed." in capsys.readouterr().out
    photo, *others = open_source("s3://photos/unsplash/photos.parquet").list()
    assert photo.metadata.uri == "s3://photos/unsplash/photos-480/p00.jpg"
    assert Reader()(photo.metadata.uri) == server.photo("cat")
    assert len(others) == PHOTOS - 1
