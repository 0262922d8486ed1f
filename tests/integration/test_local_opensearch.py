"""The OpenSearch that demo and tests bring up: its data last, it ends with its owner, and it can be removed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imagesearch.errors import IndexUnavailable
from imagesearch.index import open_index
from imagesearch.index.base import Upsert
from imagesearch.records import ImageMetadata
from local.opensearch import LocalOpenSearch


def answers(url: str) -> bool:
    try:
        open_index(url, "a", 3).count()
    except IndexUnavailable:
        return False
    return True


def test_it_ends_with_its_owner_keeps_its_data_and_can_be_removed(tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from local.opensearch import LocalOpenSearch
print(LocalOpenSearch(Path({str(tmp_path)!r})).start(), flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        url = owner.stdout.readline().strip()
        open_index(url, "a", 3).bulk([Upsert("a", 1, np.ones(3, dtype=np.float32), ImageMetadata(uri="file:///a"))])
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while answers(url):
        assert time.monotonic() < deadline, "the server outlives its owner"

    server = LocalOpenSearch(tmp_path)
    try:
        url = server.start()
        assert server.start() == url
        assert open_index(url, "a", 3).get(["a"]).keys() == {"a"}
        server.kill()
        assert not answers(url)
        server.kill()  # again, which is no error
        assert server.start() == url
        assert open_index(url, "a", 3).get(["a"]).keys() == {"a"}
    finally:
        server.delete()
    assert not answers(url)
    assert not tmp_path.exists()
    server.stop()  # again, which is no error


def test_a_server_that_cannot_start_says_so_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_JAVA_OPTS", "-XX:NoSuchOption")
    server = LocalOpenSearch(tmp_path)
    try:
        with pytest.raises(IndexUnavailable, match=r"ended at once.*\n.*NoSuchOption"):
            server.start()
    finally:
        server.delete()
