"""`imagesearch demo` as a person runs it: a process of its own, its output, its page, Ctrl-C."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
import urllib3

IMAGESEARCH = str(Path(sys.executable).with_name("imagesearch"))
SAMPLES = Path(__file__).parents[2] / "models" / "tiny" / "photos"
START_SECONDS = 240  # OpenSearch may have to be installed first

http = urllib3.PoolManager(retries=False)


class Demo:
    """A running demo: what it has said so far, and where it answers."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.output = ""
        self.url = ""
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line
            if found := re.search(r"searched at (http://\S+)", line):
                self.url = found[1]
                self._ready.set()
        self._ready.set()

    def wait(self) -> None:
        assert self._ready.wait(START_SECONDS), f"no address after {START_SECONDS} s:\n{self.output}"
        assert self.url, f"the demo ended:\n{self.output}"

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        code = self.process.wait(60)
        self._reader.join(10)
        return code

    def titles(self, query: str) -> list[str]:
        answer = http.request("GET", f"{self.url}/search", fields={"q": query, "k": "5"})
        assert answer.status == 200, answer.data
        return [hit["title"] or hit["id"] for hit in answer.json()["hits"]]

    def count(self) -> int:
        return int(http.request("GET", f"{self.url}/health").json()["index"]["count"])


@contextmanager
def demo(state: Path, photos: Path, index: Literal["embedded", "opensearch"] = "embedded") -> Iterator[Demo]:
    command = [IMAGESEARCH, "demo", "--port", "0", "--state", str(state), "--index", index]
    process = subprocess.Popen(
        [*command, "--photos", str(photos)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    running = Demo(process)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A person's folder: some pictures, one of them broken, and a file that is no picture."""
    folder = tmp_path / "my photos"
    (folder / "Tiere & mehr").mkdir(parents=True)
    for name in ("red-apple", "automobile", "guitar", "pizza", "rose"):
        shutil.copy(SAMPLES / f"{name}.webp", folder)
    shutil.copy(SAMPLES / "dog-face.webp", folder / "Tiere & mehr" / "Hündchen +1.webp")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.mark.parametrize("index", ["embedded", "opensearch"])
def test_the_demo_searches_a_persons_folder_and_encodes_nothing_twice(
    tmp_path: Path, photos: Path, index: Literal["embedded", "opensearch"]
) -> None:
    state = tmp_path / "state"
    with demo(state, photos, index) as first:
        first.wait()
        assert first.count() == 6
        assert first.titles("dog")[0] == "Tiere & mehr/Hündchen +1.webp"
        assert first.stop() == 0
    assert re.search(r"failed\W+1\b.*(truncated|corrupt)", first.output), first.output

    shutil.copy(SAMPLES / "cat-face.webp", photos)
    (photos / "pizza.webp").unlink()
    with demo(state, photos, index) as second:
        second.wait()
        assert second.count() == 6
        assert "cat-face.webp" in second.titles("cat")
        assert "pizza.webp" not in second.titles("pizza")
        assert second.stop(signal.SIGTERM) == 0
    assert "1 to encode, 1 to remove" in second.output

    with demo(state, photos, index) as third:
        third.wait()
        assert third.count() == 6
        assert third.stop() == 0
    assert "Nothing has changed" in third.output


def test_a_lost_index_is_filled_again_without_encoding(tmp_path: Path, photos: Path) -> None:
    state = tmp_path / "state"
    with demo(state, photos) as first:
        first.wait()
        first.stop()
    for path in state.rglob("index.duckdb*"):
        path.unlink()
    with demo(state, photos) as second:
        second.wait()
        assert second.count() == 6
    assert "Nothing has changed" in second.output


def test_the_pictures_on_the_page_can_be_loaded(tmp_path: Path, photos: Path) -> None:
    with demo(tmp_path / "state", photos) as running:
        running.wait()
        answer = http.request("GET", f"{running.url}/search", fields={"q": "dog", "k": "6"})
        for hit in answer.json()["hits"]:
            picture = http.request("GET", hit["url"])
            assert (picture.status, picture.headers["content-type"]) == (200, "image/webp")


def test_many_searches_leave_the_terminal_alone(tmp_path: Path, photos: Path) -> None:
    with demo(tmp_path / "state", photos) as running:
        running.wait()
        said = running.output
        for _ in range(110):
            running.titles("dog")
        running.stop()
    assert running.output.removeprefix(said).strip() == "Stopped. The next start goes on from here."


def test_a_folder_that_is_not_there_and_a_port_that_is_taken_are_said_plainly(tmp_path: Path, photos: Path) -> None:
    with demo(tmp_path / "state", tmp_path / "nowhere") as missing:
        assert missing.process.wait(60) == 1
        missing._reader.join(10)
        assert "nowhere" in missing.output
        assert "Traceback" not in missing.output
    with demo(tmp_path / "state", photos) as first:
        first.wait()
        port = first.url.rpartition(":")[2]
        command = [IMAGESEARCH, "demo", "--port", port, "--state", str(tmp_path / "other")]
        second = subprocess.run(
            [*command, "--photos", str(photos)], capture_output=True, text=True, timeout=120, env=os.environ
        )
        assert second.returncode == 1
        assert second.stderr.strip() == f"Error: port {port} is taken; give another one with --port"
