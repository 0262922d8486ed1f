"""`imagesearch encode`, stopped in the middle: whatever stops it, the same command goes on and does nothing twice."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imagesearch.index.base import Upsert
from imagesearch.load import part_keys
from imagesearch.parts import read_part
from imagesearch.storage import FolderStorage

MODEL = Path(__file__).parents[2] / "models" / "tiny"
PHOTOS, SHARD_SIZE = 60, 2


def start(photos: Path, output: Path) -> subprocess.Popen[str]:
    options = ["encode", str(photos), "-o", str(output), "--model", str(MODEL), "--shard-size", str(SHARD_SIZE)]
    code = "from batch.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("stop", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_an_encode_that_was_stopped_goes_on_and_does_no_shard_twice(
    tmp_path: Path, stop: signal.Signals, code: int
) -> None:
    photos, output = tmp_path / "photos", FolderStorage(tmp_path / "out")
    photos.mkdir()
    for n in range(PHOTOS):
        shutil.copy(MODEL / "photos" / "cat.webp", photos / f"{n:02d}.webp")

    process = start(photos, output.folder)
    try:
        deadline = time.monotonic() + 120
        while len(ledgers(output)) < 3 and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it could be stopped"
            time.sleep(0.02)
        process.send_signal(stop)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert "Traceback" not in err
    if stop != signal.SIGKILL:
        assert err.endswith("Stopped. The same command goes on from here.\n")

    done = ledgers(output)
    assert 3 <= len(done) < PHOTOS / SHARD_SIZE
    before = {found.key: found for found in output.list()}
    process = start(photos, output.folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "was interrupted; it goes on first" in err
    assert "Nothing has changed since the last run" in err
    assert f"{PHOTOS - SHARD_SIZE * len(done)} images in" in out

    after = {found.key: found for found in output.list()}
    for key in done:
        part = next(part for part in before if part.startswith("vectors/") and part.endswith(key[-14:]))
        assert after[key] == before[key]
        assert after[part] == before[part]
    actions = [action for key in part_keys(output) for action in read_part(output.read(key)).actions]
    assert [action.id for action in actions if isinstance(action, Upsert)] == [f"{n:02d}.webp" for n in range(PHOTOS)]


def ledgers(output: FolderStorage) -> list[str]:
    return [found.key for found in output.list("runs/") if "/ledger/" in found.key]
